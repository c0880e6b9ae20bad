//! The Server Playback Context: container, contents, verification (specification sections 2 to 6).

use rand_core::CryptoRng;

use crate::fairplay::cipher;
use crate::fairplay::client::Client;
use crate::fairplay::credentials::{ApplicationSecret, Credential};
use crate::fairplay::d_function;
use crate::fairplay::error::Error;
use crate::fairplay::error::status::{PARAM, PARSER};
use crate::fairplay::mistake::Mistake;
use crate::fairplay::session_key::{self, SessionKeyR1};
use crate::fairplay::tag::Tag;
use crate::fairplay::tllv::{Tllv, Tllvs};
use crate::id::ASSET_ID_SIZES;
use crate::reader::Reader;
use crate::rsa_key::{Arithmetic, OaepHash, PrivateKey};
use crate::secret::Key128;

/// The one protocol version whose meaning is public.
pub const PROTOCOL_VERSION: u32 = 1;

/// Transport UUID of a version 3 container.
pub const TRANSPORT_V3: [u8; 16] = 0x6644_ff2b_a87c_99b6_ff96_5527_0cd0_68a6_u128.to_be_bytes();

/// Blocks that a version 3 master key encrypts to derive its keys.
pub mod derivation {
    /// Payload key.
    pub const ENCRYPTION: [u8; 16] = 0x70d1_e6c3_4f07_e849_b3a6_2434_0f4f_176d_u128.to_be_bytes();
    /// Payload IV.
    pub const IV: [u8; 16] = 0xc11b_3ed1_a380_3f4e_1322_a088_0314_5ac6_u128.to_be_bytes();
    /// CMAC key.
    pub const MAC: [u8; 16] = 0x96d3_435f_6ef0_8d7d_121f_a86b_253e_4ac9_u128.to_be_bytes();
}

/// The container versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// RSA-1024, OAEP with SHA-1, SHA-1 certificate hash.
    V1,
    /// RSA-2048, OAEP with SHA-256, SHA-1 certificate hash.
    V2,
    /// RSA-2048, OAEP with SHA-256, SHA-256 certificate hash, authenticated.
    V3,
}

impl Version {
    /// The number on the wire.
    pub fn number(self) -> u32 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
            Self::V3 => 3,
        }
    }
}

/// The container of an SPC, before anything is decrypted.
///
/// ```text
///        version 1              version 2              version 3
/// [  4]  version                version                version
/// [  4]  reserved               reserved               reserved
/// [ 16]  IV                     IV                     transport UUID
/// [...]  wrapped key (128)      wrapped key (256)      wrapped master key (256)
/// [...]  SHA-1 of certificate   SHA-1 of certificate   SHA-256 of certificate
/// [...]  payload length N (4)   payload length N (4)   12 bytes unread, N (4)
/// [  N]  payload                payload                payload
/// [ 16]                                                CMAC
/// ```
pub struct SpcContainer<'a> {
    /// The container version.
    pub version: Version,
    /// IV, or in version 3 the transport UUID.
    iv: &'a [u8; 16],
    /// The payload key (SPCK), or in version 3 the master key, under the certificate's RSA key.
    wrapped_key: &'a [u8],
    /// SHA-1 (20 bytes) or in version 3 SHA-256 (32 bytes) of the certificate.
    pub certificate_hash: &'a [u8],
    payload: &'a [u8],
    tag: &'a [u8],
}

impl<'a> SpcContainer<'a> {
    /// Reads a container. The message ends where the container does.
    ///
    /// # Errors
    /// [`Error::NotAnSpc`] for what is known not to be one; else [`Error::Truncated`],
    /// [`Error::ContainerVersion`], [`Error::Transport`] or [`Error::PayloadLength`].
    pub fn parse(message: &'a [u8]) -> Result<Self, Error> {
        let container = Self::read(message)
            .map_err(|error| Mistake::recognise(message).map_or(error, Error::NotAnSpc))?;
        match message.is_ascii() {
            true => Err(Error::NotAnSpc(Mistake::LossyText)),
            false => Ok(container),
        }
    }

    /// Whether a message is a container as far as lengths say, and has bytes that no text in ASCII has. Nothing is
    /// copied.
    pub fn fits(message: &'a [u8]) -> bool {
        !message.is_ascii() && Self::read(message).is_ok()
    }

    fn read(message: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader(message);
        let version = match reader.u32() {
            Some(1) => Version::V1,
            Some(2) => Version::V2,
            Some(3) => Version::V3,
            Some(other) => return Err(Error::ContainerVersion(other)),
            None => {
                return Err(Error::Truncated {
                    expected: 4,
                    actual: message.len(),
                });
            }
        };
        let (key, hash, unread, tag) = match version {
            Version::V1 => (128, 20, 0, 0),
            Version::V2 => (256, 20, 0, 0),
            Version::V3 => (256, 32, 12, 16),
        };
        let header = 24 + key + hash + unread + 4;
        let mut fields = || {
            let _reserved = reader.u32()?;
            let iv = reader.array::<16>()?;
            let wrapped_key = reader.bytes(key)?;
            let certificate_hash = reader.bytes(hash)?;
            reader.bytes(unread)?;
            Some((iv, wrapped_key, certificate_hash, reader.u32()?))
        };
        let (iv, wrapped_key, certificate_hash, length) = fields().ok_or(Error::Truncated {
            expected: header,
            actual: message.len(),
        })?;
        if version == Version::V3 && *iv != TRANSPORT_V3 {
            return Err(Error::Transport);
        }
        let available = reader.0.len().saturating_sub(tag);
        let declared = usize::try_from(length).unwrap_or(usize::MAX);
        if declared == 0 || declared % 16 != 0 || declared.checked_add(tag) != Some(reader.0.len())
        {
            return Err(Error::PayloadLength {
                offset: header - 4,
                declared: length,
                available,
            });
        }
        let (payload, tag) = reader.0.split_at_checked(declared).unwrap_or_default();
        Ok(Self {
            version,
            iv,
            wrapped_key,
            certificate_hash,
            payload,
            tag,
        })
    }

    /// Decrypts the payload with the credential and the private key that the certificate hash names
    /// ([`Credentials::find`](crate::fairplay::credentials::Credentials::find)), and reads it.
    ///
    /// # Errors
    /// [`Error::SpcKey`], one answer for every failure of the RSA
    /// decryption; [`Error::ContainerIntegrity`]; and what [`OpenedSpc`] finds wrong in the payload.
    pub fn open<'c>(
        &self,
        credential: &'c Credential,
        private_key: &PrivateKey,
        rng: &mut dyn CryptoRng,
    ) -> Result<OpenedSpc<'c>, Error> {
        let hash = match self.version {
            Version::V1 => OaepHash::Sha1,
            Version::V2 | Version::V3 => OaepHash::Sha256,
        };
        let (spck, arithmetic) = private_key
            .decrypt_oaep(hash, self.wrapped_key, rng)
            .ok()
            .and_then(|(key, by)| Some((Key128::try_from(key.as_slice()).ok()?, by)))
            .ok_or(Error::SpcKey)?;

        let mut payload = self.payload.to_vec();
        match self.version {
            Version::V1 | Version::V2 => cipher::cbc_decrypt(&spck, self.iv, &mut payload),
            Version::V3 => {
                self.verify_tag(&spck)?;
                let key = cipher::ecb_encrypt(&spck, &derivation::ENCRYPTION).into();
                let iv = cipher::ecb_encrypt(&spck, &derivation::IV);
                cipher::cbc_decrypt(&key, &iv, &mut payload);
            }
        }
        let tllvs = Tllvs::parse(payload)?;
        OpenedSpc::read(self.version, credential, arithmetic, tllvs)
    }

    /// The CMAC covers the wrapped key, the certificate hash, the payload length as a 16-byte
    /// integer, and the encrypted payload.
    fn verify_tag(&self, master: &Key128) -> Result<(), Error> {
        let key = Key128::from(cipher::ecb_encrypt(master, &derivation::MAC));
        let length = u128::try_from(self.payload.len()).unwrap_or(u128::MAX);
        let message = [
            self.wrapped_key,
            self.certificate_hash,
            &length.to_be_bytes(),
            self.payload,
        ];
        cipher::cmac_verifies(&key, &message, self.tag)
            .then_some(())
            .ok_or(Error::ContainerIntegrity)
    }
}

/// An SPC whose payload is decrypted and well-formed. Nothing in it is confirmed yet.
pub struct OpenedSpc<'c> {
    /// The container version.
    pub version: Version,
    /// The credential whose certificate the client used.
    pub credential: &'c Credential,
    /// Who calculated the private operation.
    pub arithmetic: Arithmetic,
    /// Every block, unknown tags included.
    pub tllvs: Tllvs,
    /// What the device says of itself.
    pub client: Client,
    /// Asset id, 2 to 200 bytes, not always text.
    pub asset_id: Vec<u8>,
    /// Protocol version used.
    pub protocol_version: u32,
    /// Protocol versions supported.
    pub protocol_versions: Vec<u32>,
    /// The tags to return, each once, all present.
    pub return_tags: Vec<Tag>,
}

impl<'c> OpenedSpc<'c> {
    fn read(
        version: Version,
        credential: &'c Credential,
        arithmetic: Arithmetic,
        tllvs: Tllvs,
    ) -> Result<Self, Error> {
        const MOST_VERSIONS: usize = 100;

        let client = Client::read(&tllvs)?;
        // Sizes are checked for every tag that is there before any is missed.
        for (tag, size) in [
            (Tag::SESSION_KEY_R1, session_key::LENGTH),
            (Tag::SESSION_KEY_R1_INTEGRITY, 16),
            (Tag::ANTI_REPLAY_SEED, 16),
            (Tag::R2, 21),
            (Tag::TRANSACTION_ID, 8),
            (Tag::PROTOCOL_VERSION_USED, 4),
        ] {
            if let Some(tllv) = tllvs.find(tag).filter(|tllv| tllv.value.len() != size) {
                return Err(tllv.wrong_size(PARSER));
            }
        }
        let return_tags = return_tags(&tllvs)?;
        for tag in [
            Tag::SESSION_KEY_R1,
            Tag::SESSION_KEY_R1_INTEGRITY,
            Tag::ANTI_REPLAY_SEED,
            Tag::R2,
            Tag::TRANSACTION_ID,
        ] {
            tllvs.require(tag)?;
        }

        let asset_id = tllvs.require(Tag::ASSET_ID)?;
        if !ASSET_ID_SIZES.contains(&asset_id.value.len()) {
            return Err(asset_id.wrong_size(PARSER));
        }
        let asset_id = asset_id.value.to_vec();
        let used = tllvs.require(Tag::PROTOCOL_VERSION_USED)?;
        let protocol_version = u32::from_be_bytes(*used.exactly(PARSER)?);
        let supported = tllvs.require(Tag::PROTOCOL_VERSIONS_SUPPORTED)?;
        let (versions, []) = supported.value.as_chunks::<4>() else {
            return Err(supported.wrong_size(PARSER));
        };
        if versions.len() >= MOST_VERSIONS {
            return Err(supported.wrong_size(PARAM));
        }
        let protocol_versions = versions
            .iter()
            .map(|version| u32::from_be_bytes(*version))
            .collect();

        Ok(Self {
            version,
            credential,
            arithmetic,
            client,
            asset_id,
            protocol_version,
            protocol_versions,
            return_tags,
            tllvs,
        })
    }

    /// Confirms the protocol version and the integrity of \[SK..R1\].
    ///
    /// # Errors
    /// [`Error::ProtocolVersion`]; [`Error::AskMissing`] when the credential has no secret to
    /// confirm with; [`Error::Integrity`].
    pub fn verify(self) -> Result<VerifiedSpc<'c>, Error> {
        if self.protocol_version != PROTOCOL_VERSION
            || !self.protocol_versions.contains(&PROTOCOL_VERSION)
        {
            return Err(Error::ProtocolVersion(self.protocol_version));
        }
        let r2 = self.tllvs.require(Tag::R2)?;
        let derived;
        let dask = match &self.credential.secret {
            ApplicationSecret::Ask(ask) => {
                derived = d_function::dask(r2.value, ask).ok_or(r2.wrong_size(PARSER))?;
                &derived
            }
            ApplicationSecret::Development(dask) => dask,
            ApplicationSecret::Missing => {
                return Err(Error::AskMissing(self.credential.name.clone()));
            }
        };
        let session_key = SessionKeyR1::open(
            self.tllvs.require(Tag::SESSION_KEY_R1)?.exactly(PARSER)?,
            self.tllvs
                .require(Tag::SESSION_KEY_R1_INTEGRITY)?
                .exactly(PARSER)?,
            dask,
        )?;
        let anti_replay_seed = *self.tllvs.require(Tag::ANTI_REPLAY_SEED)?.exactly(PARSER)?;
        Ok(VerifiedSpc {
            opened: self,
            session_key,
            anti_replay_seed,
        })
    }
}

/// The tags that the return request names: each once, each present, none of the server's own.
fn return_tags(tllvs: &Tllvs) -> Result<Vec<Tag>, Error> {
    let request = tllvs.require(Tag::RETURN_REQUEST)?;
    let (tags, []) = request.value.as_chunks::<8>() else {
        return Err(request.wrong_size(PARSER));
    };
    let mut requested: Vec<Tag> = tags
        .iter()
        .map(|tag| Tag(u64::from_be_bytes(*tag)))
        .collect();
    requested.sort_unstable();
    requested.dedup();
    for tag in &requested {
        if Tag::CKC.contains(tag) {
            return Err(Error::ReturnRequest(*tag));
        }
    }
    let mut present: Vec<Tag> = tllvs.iter().map(|tllv| tllv.tag).collect();
    present.sort_unstable();
    match requested
        .iter()
        .find(|tag| present.binary_search(tag).is_err())
    {
        Some(absent) => Err(Error::MissingTag(*absent)),
        None => Ok(requested),
    }
}

/// An SPC whose integrity is confirmed: the client holds the DASk. Only this makes a CKC.
pub struct VerifiedSpc<'c> {
    /// What the SPC holds. Of a version 1 or 2 container only \[SK..R1\] is authenticated.
    pub opened: OpenedSpc<'c>,
    /// SK, HU and R1.
    pub session_key: SessionKeyR1,
    /// Anti-replay seed.
    pub anti_replay_seed: [u8; 16],
}

impl VerifiedSpc<'_> {
    /// The blocks to send back unchanged.
    pub fn returned(&self) -> impl Iterator<Item = Tllv<'_>> {
        self.opened
            .tllvs
            .iter()
            .filter(|tllv| self.opened.return_tags.binary_search(&tllv.tag).is_ok())
    }
}
