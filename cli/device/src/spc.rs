//! Builds SPCs: the client's side of specification sections 2 to 7.

use aes::Aes128;
use anyhow::{Context, Result};
use cmac::{Cmac, KeyInit, Mac};
use der::{Decode, Encode};
use keylet::fairplay::certificate::ApplicationCertificate;
use keylet::fairplay::d_function;
use keylet::fairplay::spc::{TRANSPORT_V3, Version, derivation};
use keylet::fairplay::tag::Tag;
use keylet::platform::system_time;
use keylet::secret::Key128;
use rand_core::CryptoRng;
use rsa::pkcs1::DecodeRsaPublicKey;
use rsa::{Oaep, PublicKey as RsaPublicKey};
use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};
use sha2::Sha256;

use super::{crypto, tllv};

/// What a device knows of a provider: the application certificate, and where DASks come from.
#[derive(Clone)]
pub struct ApplicationKey {
    /// The bytes that the app hands to the system: a certificate or a bundle.
    pub certificate: Vec<u8>,
    /// The application secret key, or the fixed DASk of the development certificate.
    pub ask: Key128,
    /// `ask` is the DASk itself.
    pub is_dask: bool,
}

/// How a payload is wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrapping {
    /// As this version of the container, for the certificate whose key has its size.
    Version(Version),
    /// Version 1 from a system that knows no bundles: it hashes the whole file.
    WholeBundle,
}

/// What an SPC is to hold.
#[derive(Debug, Clone)]
pub struct SpcOptions {
    /// Asset id.
    pub asset_id: Vec<u8>,
    /// Anonymised device identifier (HU); `None`: a device that is like no other.
    pub hu: Option<[u8; 20]>,
    /// Further TLLVs; one with the tag of a TLLV that is there anyway replaces it.
    pub tllvs: Vec<(Tag, Vec<u8>)>,
    /// Tags to leave out.
    pub omit: Vec<Tag>,
    /// What the return request names.
    pub return_request: Vec<Tag>,
}

impl SpcOptions {
    /// A plain request for an asset: the asset id and the transaction id are to be returned.
    pub fn new(asset_id: impl Into<Vec<u8>>) -> Self {
        Self {
            asset_id: asset_id.into(),
            hu: None,
            tllvs: Vec::new(),
            omit: Vec::new(),
            return_request: vec![Tag::ASSET_ID, Tag::TRANSACTION_ID],
        }
    }

    /// Adds or replaces a TLLV.
    #[must_use]
    pub fn with(mut self, tag: Tag, value: impl Into<Vec<u8>>) -> Self {
        self.tllvs.push((tag, value.into()));
        self
    }

    /// Adds the media playback state of a [`Playback::SAMPLE`], so that the SPC is the same each time.
    #[must_use]
    pub fn playing(self, state: u32) -> Self {
        self.playing_in(Playback::SAMPLE, state)
    }

    /// Adds the media playback state: date u32 ‖ state u32 ‖ playback session id u64.
    #[must_use]
    pub fn playing_in(self, playback: Playback, state: u32) -> Self {
        let value = [
            &playback.date.to_be_bytes()[..],
            &state.to_be_bytes(),
            &playback.session.to_be_bytes(),
        ]
        .concat();
        self.with(Tag::MEDIA_PLAYBACK_STATE, value)
    }

    /// Whether the SPC is to have a TLLV that was added.
    pub fn has(&self, tag: Tag) -> bool {
        self.tllvs.iter().any(|(present, _)| *present == tag)
    }

    /// Adds capabilities: the low word.
    #[must_use]
    pub fn capable(self, low: u64) -> Self {
        self.with(Tag::CAPABILITIES, [[0; 8], low.to_be_bytes()].concat())
    }
}

/// A playback, which goes on over renewals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Playback {
    /// The playback session's id: each renewal has the same.
    pub session: u64,
    /// When the SPC is made, in seconds since 1970.
    pub date: u32,
}

/// What an SPC says of the device that decides on what a CKC may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    /// It has a media playback state: without one, the device is not prepared for a duration.
    pub playback_state: bool,
    /// The low word of its capabilities; zero where it has none.
    pub capabilities: u64,
}

/// What a device keeps to open the CKC with; in JSON, all bytes are hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secrets {
    /// SK.
    #[serde(with = "hex")]
    pub session_key: Vec<u8>,
    /// R1.
    #[serde(with = "hex")]
    pub r1: Vec<u8>,
    /// Anti-replay seed.
    #[serde(with = "hex")]
    pub anti_replay_seed: Vec<u8>,
    /// What must come back: tags and values.
    pub returned: Vec<Returned>,
    /// What else the SPC says of what may come; where it is not known, as in files of older versions, everything may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub announced: Option<Announced>,
}

/// A TLLV that the CKC must return.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Returned {
    /// The tag, as 16 hexadecimal digits.
    pub tag: String,
    /// The value.
    #[serde(with = "hex")]
    pub value: Vec<u8>,
}

/// The TLLVs of an SPC before they are encrypted, open to every change.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The TLLVs, in order.
    pub tllvs: Vec<(Tag, Vec<u8>)>,
    /// What opens the CKC.
    pub secrets: Secrets,
}

impl Playback {
    /// One that is the same each time.
    pub const SAMPLE: Self = Self {
        session: 0x0707_0707_0707_0707,
        date: 1_700_000_000,
    };

    /// One that begins now.
    pub fn begin(rng: &mut dyn CryptoRng) -> Self {
        Self {
            session: rng.next_u64(),
            date: 0,
        }
        .now()
    }

    /// The same one at the present time, as a renewal has it.
    #[must_use]
    pub fn now(self) -> Self {
        // The field ends in the year 2106.
        let date = u32::try_from(system_time()).unwrap_or(u32::MAX);
        Self { date, ..self }
    }
}

impl ApplicationKey {
    /// Makes up the TLLVs of an SPC.
    ///
    /// # Panics
    /// Never: R2 has the length that the D function takes.
    pub fn draft(&self, options: &SpcOptions, rng: &mut dyn CryptoRng) -> Draft {
        let session_key: [u8; 16] = random(rng);
        let hu: [u8; 20] = options.hu.unwrap_or_else(|| random(rng));
        let r1: [u8; 44] = random(rng);
        let integrity: [u8; 16] = random(rng);
        let r2: [u8; 21] = random(rng);
        let seed: [u8; 16] = random(rng);
        let transaction: [u8; 8] = random(rng);

        let dask = if self.is_dask {
            self.ask.clone()
        } else {
            d_function::dask(&r2, &self.ask).expect("R2 has 21 bytes")
        };
        let iv: [u8; 16] = random(rng);
        let mut sealed = [&session_key[..], &hu, &r1, &integrity].concat();
        crypto::cbc_encrypt(dask.expose(), &iv, &mut sealed);

        let mut tllvs = vec![
            (Tag::SESSION_KEY_R1, [&iv[..], &sealed].concat()),
            (Tag::SESSION_KEY_R1_INTEGRITY, integrity.to_vec()),
            (Tag::ANTI_REPLAY_SEED, seed.to_vec()),
            (Tag::R2, r2.to_vec()),
            (
                Tag::RETURN_REQUEST,
                options
                    .return_request
                    .iter()
                    .flat_map(|tag| tag.0.to_be_bytes())
                    .collect(),
            ),
            (Tag::ASSET_ID, options.asset_id.clone()),
            (Tag::TRANSACTION_ID, transaction.to_vec()),
            (
                Tag::PROTOCOL_VERSIONS_SUPPORTED,
                1_u32.to_be_bytes().to_vec(),
            ),
            (Tag::PROTOCOL_VERSION_USED, 1_u32.to_be_bytes().to_vec()),
            (Tag::STREAMING_INDICATOR, vec![0; 8]),
            // Real SPCs carry tags that no specification names.
            (Tag(0xc392_ec58_91ef_a7d0), random::<8>(rng).to_vec()),
        ];
        for (tag, value) in &options.tllvs {
            match tllvs.iter_mut().find(|(present, _)| present == tag) {
                Some((_, present)) => present.clone_from(value),
                None => tllvs.push((*tag, value.clone())),
            }
        }
        tllvs.retain(|(tag, _)| !options.omit.contains(tag));

        let returned = options
            .return_request
            .iter()
            .filter_map(|tag| tllvs.iter().find(|(present, _)| present == tag))
            .map(|(tag, value)| Returned {
                tag: tag.to_string(),
                value: value.clone(),
            })
            .collect();
        let secrets = Secrets {
            session_key: session_key.to_vec(),
            r1: r1.to_vec(),
            anti_replay_seed: seed.to_vec(),
            returned,
            announced: Some(announced(&tllvs)),
        };
        Draft { tllvs, secrets }
    }

    /// Encrypts a payload, whose length is a multiple of 16, and writes the container.
    ///
    /// # Errors
    /// A certificate that has no key of the size that the version needs.
    pub fn seal(
        &self,
        wrapping: Wrapping,
        payload: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<u8>> {
        let (version, whole_bundle) = match wrapping {
            Wrapping::Version(version) => (version, false),
            Wrapping::WholeBundle => (Version::V1, true),
        };
        let (key, der) = self.recipient(if version == Version::V1 { 1024 } else { 2048 })?;
        let hashed = if whole_bundle {
            &self.certificate
        } else {
            &der
        };
        let spck = Key128::from(random(rng));
        let wrapped = match version {
            Version::V1 => key.encrypt(rng, Oaep::<Sha1>::new(), spck.expose())?,
            Version::V2 | Version::V3 => key.encrypt(rng, Oaep::<Sha256>::new(), spck.expose())?,
        };
        let mut payload = payload.to_vec();
        let length = u32::try_from(payload.len())?;
        let mut spc = [version.number().to_be_bytes(), [0; 4]].concat();
        match version {
            Version::V1 | Version::V2 => {
                let iv = random(rng);
                crypto::cbc_encrypt(spck.expose(), &iv, &mut payload);
                spc.extend(iv);
                spc.extend(wrapped);
                spc.extend(Sha1::digest(hashed));
                spc.extend(length.to_be_bytes());
                spc.extend(payload);
            }
            Version::V3 => {
                let derive = |block| crypto::ecb_encrypt(spck.expose(), block);
                crypto::cbc_encrypt(
                    &derive(&derivation::ENCRYPTION),
                    &derive(&derivation::IV),
                    &mut payload,
                );
                let hash = Sha256::digest(hashed);
                let long = u128::from(length).to_be_bytes();
                let mut mac = Cmac::<Aes128>::new(&derive(&derivation::MAC).into());
                for part in [&wrapped[..], &hash, &long, &payload] {
                    mac.update(part);
                }
                spc.extend(TRANSPORT_V3);
                spc.extend(wrapped);
                spc.extend(hash);
                spc.extend(long);
                spc.extend(payload);
                spc.extend(mac.finalize().into_bytes());
            }
        }
        Ok(spc)
    }

    /// An SPC for an asset, and what opens the CKC.
    ///
    /// # Errors
    /// As [`Self::seal`].
    pub fn spc(
        &self,
        wrapping: Wrapping,
        options: &SpcOptions,
        rng: &mut dyn CryptoRng,
    ) -> Result<(Vec<u8>, Secrets)> {
        let draft = self.draft(options, rng);
        let spc = self.seal(wrapping, &draft.payload(rng)?, rng)?;
        Ok((spc, draft.secrets))
    }

    /// The public key of the certificate with this size, and that certificate's DER.
    fn recipient(&self, bits: usize) -> Result<(RsaPublicKey, Vec<u8>)> {
        let application = ApplicationCertificate::from_der(self.certificate.clone())?;
        let index = application
            .certificates
            .iter()
            .position(|certificate| certificate.bits() == bits)
            .with_context(|| {
                format!("there is no {bits}-bit certificate, which this SPC version needs")
            })?;
        let mut rest = self.certificate.as_slice();
        let mut certificate = None;
        for _ in 0..=index {
            let (next, after) = x509_cert::Certificate::from_der_partial(rest)?;
            let length = rest.len() - after.len();
            certificate = Some((next, rest[..length].to_vec()));
            rest = after;
        }
        let (certificate, der) = certificate.context("a certificate")?;
        let spki = certificate
            .tbs_certificate()
            .subject_public_key_info()
            .to_der()?;
        let spki = pkcs8::SubjectPublicKeyInfoRef::from_der(&spki)?;
        Ok((
            RsaPublicKey::from_pkcs1_der(spki.subject_public_key.raw_bytes())?,
            der,
        ))
    }
}

impl Draft {
    /// The TLLVs as bytes, padded like a device's.
    ///
    /// # Errors
    /// A value of more bytes than its length field can state.
    pub fn payload(&self, rng: &mut dyn CryptoRng) -> Result<Vec<u8>> {
        let mut payload = Vec::new();
        for (tag, value) in &self.tllvs {
            tllv::write(&mut payload, *tag, value, rng)?;
        }
        Ok(payload)
    }
}

fn announced(tllvs: &[(Tag, Vec<u8>)]) -> Announced {
    let value = |tag| {
        let found = tllvs.iter().find(|(present, _)| *present == tag);
        found.map(|(_, value)| value.as_slice())
    };
    let low = |value: &[u8]| value.last_chunk().copied().map(u64::from_be_bytes);
    Announced {
        playback_state: value(Tag::MEDIA_PLAYBACK_STATE).is_some(),
        capabilities: value(Tag::CAPABILITIES).and_then(low).unwrap_or_default(),
    }
}

fn random<const N: usize>(rng: &mut dyn CryptoRng) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill_bytes(&mut bytes);
    bytes
}
