//! A request: what is checked of it, in the order in which SPEKE 2.0 names the errors.

use zeroize::Zeroizing;

use super::contract::{self, Rule};
use super::{Refusal, Version};
use crate::cpix::document::Document;
use crate::cpix::xml::{Element, text_of};
use crate::cpix::{ProtectionSystem, Scheme, track_from_type};
use crate::encoding;
use crate::id::Kid;
use crate::rsa_key::PublicKey;
use crate::track::Track;
use crate::x509::Certificate;

/// The method of HLS that encrypts whole segments, which SPEKE 2.1 takes in place of a scheme.
const WHOLE_SEGMENTS: &str = "AES-128";

/// A request that may be answered.
pub struct Request {
    pub(super) text: Zeroizing<String>,
    pub(super) document: Document,
    pub(super) version: Version,
    content_id: String,
    keys: Vec<RequestedKey>,
}

/// A key that is asked for.
pub struct RequestedKey {
    /// Its KID: the encoder has chosen it.
    pub kid: Kid,
    /// Its protection scheme. Documents of SPEKE 1.0 may have none.
    pub scheme: Option<Scheme>,
    is_of_whole_segments: bool,
    /// The IV that the encoder uses (`explicitIV`), where it says one.
    pub iv: Option<[u8; 16]>,
    /// The systems that are to be told of it.
    pub systems: Vec<ProtectionSystem>,
    /// The kinds of track that it is for, each once: `None` is one that stands for several.
    tracks: Vec<Option<Track>>,
}

/// Who keys are encrypted for.
pub struct Recipient {
    /// The certificate, in DER.
    pub certificate: Vec<u8>,
    pub(super) key: PublicKey,
}

impl RequestedKey {
    /// Whether it is only for systems whose players get the key itself.
    pub fn is_clear(&self) -> bool {
        !self.systems.is_empty() && self.systems.iter().all(|system| system.is_clear())
    }

    /// The kind of track that it is for. `None` where it is for several.
    pub fn track(&self) -> Option<Track> {
        match self.tracks[..] {
            [track] => track,
            _ => None,
        }
    }

    /// Whether the contract says what tracks it is for. SPEKE 1.0 has no contract.
    pub fn names_tracks(&self) -> bool {
        !self.tracks.is_empty()
    }

    /// Whether it is for several kinds of track that have names of their own, so that no rule for one of them can be kept.
    pub fn mixes_tracks(&self) -> bool {
        self.tracks.len() > 1
    }
}

impl Request {
    /// Reads a request, and checks all of it.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn read(bytes: &[u8], version: Version) -> Result<Self, Refusal> {
        let document = Document::read(bytes)?;
        let root = document.root();
        let (name, missing) = match version {
            Version::V1_0 => ("id", Refusal::Id),
            Version::V2_0 | Version::V2_1 => ("contentId", Refusal::ContentId),
        };
        let content_id = root.attribute(name).map(str::trim);
        let content_id = content_id.filter(|id| !id.is_empty()).ok_or(missing)?;
        if let Some(expected) = version.cpix() {
            match root.attribute("version").map(str::trim) {
                None | Some("") => return Err(Refusal::MissingVersion),
                Some(found) if found != expected => return Err(Refusal::CpixVersion),
                Some(_) => {}
            }
        }
        let content_id = content_id.to_owned();
        let mut keys = Vec::new();
        for key in document.keys()? {
            keys.push(read_key(key.kid, key.element(), version)?);
        }
        if keys.is_empty() {
            return Err(Refusal::Empty("ContentKeyList"));
        }
        let one_scheme = |pair: &[RequestedKey]| match pair {
            [a, b] => a.scheme == b.scheme,
            _ => true,
        };
        if !keys.windows(2).all(one_scheme) {
            return Err(Refusal::Schemes);
        }
        let mut has_systems = false;
        for system in document.in_list("DRMSystemList", "DRMSystem") {
            has_systems = true;
            add_system(system, &mut keys, version)?;
        }
        if !has_systems {
            return Err(Refusal::Empty("DRMSystemList"));
        }
        if version != Version::V1_0 {
            let is_mixed = |key: &RequestedKey| {
                !key.is_clear() && key.systems.iter().any(|system| system.is_clear())
            };
            if keys.iter().any(is_mixed) {
                let reason = "AES-128 and Clear Key hand out the key itself: ask for a key of their own, without other systems";
                return Err(Refusal::Other(reason.to_owned()));
            }
            for Rule { kid, track_type } in contract::read(&document)? {
                let key = keys.iter_mut().find(|key| key.kid == kid);
                let key = key.ok_or(Refusal::MalformedContract)?;
                let track = track_from_type(track_type);
                if !key.tracks.contains(&track) {
                    key.tracks.push(track);
                }
            }
        }
        let text = Zeroizing::new(text_of(bytes)?.to_owned());
        Ok(Self {
            text,
            document,
            version,
            content_id,
            keys,
        })
    }

    /// The id of the content.
    pub fn content_id(&self) -> &str {
        &self.content_id
    }

    /// The keys, in the order of the document.
    pub fn keys(&self) -> &[RequestedKey] {
        &self.keys
    }

    /// Who the keys are to be encrypted for. Without anybody, they travel in the clear.
    ///
    /// # Errors
    /// [`Refusal::Delivery`] for a certificate that is none, or whose key is not RSA of 2048 to 4096 bits.
    pub fn recipients(&self) -> Result<Vec<Recipient>, Refusal> {
        let deliveries = self.document.in_list("DeliveryDataList", "DeliveryData");
        let read = |delivery: &Element| {
            let der = super::super::encrypted::recipient(delivery)
                .ok_or(Refusal::Delivery("there is no certificate in base64"))?;
            let key = Certificate::split_from(&der)
                .ok()
                .and_then(|(certificate, _)| {
                    let key = certificate.public_key;
                    PublicKey::from_components(
                        key.modulus.as_bytes(),
                        key.public_exponent.as_bytes(),
                    )
                    .ok()
                });
            let key = key.ok_or(Refusal::Delivery(
                "it is not a certificate with an RSA key of 2048 to 4096 bits",
            ))?;
            Ok(Recipient {
                certificate: der.to_vec(),
                key,
            })
        };
        deliveries.map(read).collect()
    }
}

fn read_key(kid: Kid, element: &Element, version: Version) -> Result<RequestedKey, Refusal> {
    let scheme = match element.attribute("commonEncryptionScheme").map(str::trim) {
        None | Some("") if version == Version::V1_0 => None,
        None | Some("") => {
            let written = element.attribute("kid").unwrap_or_default();
            return Err(Refusal::MissingScheme(written.to_owned()));
        }
        Some(name) => {
            let method = || match (version, name) {
                (Version::V2_1, "SAMPLE-AES") => Some(Scheme::Cbcs),
                (Version::V2_1, "SAMPLE-AES-CTR") => Some(Scheme::Cenc),
                (Version::V2_1, WHOLE_SEGMENTS) => Some(Scheme::Cbc1),
                _ => None,
            };
            let expected = "one of cenc, cens, cbc1 and cbcs";
            let wrong = Refusal::Attribute("ContentKey@commonEncryptionScheme", expected);
            Some(Scheme::from_name(name).or_else(method).ok_or(wrong)?)
        }
    };
    let is_of_whole_segments =
        element.attribute("commonEncryptionScheme").map(str::trim) == Some(WHOLE_SEGMENTS);
    let iv = match element.attribute("explicitIV").map(str::trim) {
        None | Some("") => None,
        Some(text) => {
            let expected = "16 bytes in base64";
            let wrong = Refusal::Attribute("ContentKey@explicitIV", expected);
            Some(encoding::fixed(text).ok_or(wrong)?)
        }
    };
    Ok(RequestedKey {
        kid,
        scheme,
        is_of_whole_segments,
        iv,
        systems: Vec::new(),
        tracks: Vec::new(),
    })
}

/// Adds a `DRMSystem` to its key.
fn add_system(
    element: &Element,
    keys: &mut [RequestedKey],
    version: Version,
) -> Result<(), Refusal> {
    let kid = element.attribute("kid").and_then(Kid::from_text);
    let kid = kid.ok_or(Refusal::Attribute("DRMSystem@kid", "a GUID"))?;
    let system_id = element.attribute("systemId").and_then(Kid::from_text);
    let system_id = system_id.ok_or(Refusal::Attribute("DRMSystem@systemId", "a GUID"))?;
    let system = ProtectionSystem::from_system_id(system_id);
    let system = system.ok_or_else(|| Refusal::System(system_id.to_string()))?;
    let key = keys.iter_mut().find(|key| key.kid == kid);
    let Some(key) = key else {
        return Err(match version {
            Version::V1_0 => Refusal::Attribute("DRMSystem@kid", "the KID of a ContentKey"),
            Version::V2_0 | Version::V2_1 => Refusal::MalformedContract,
        });
    };
    let is_allowed =
        |scheme| system.allows(scheme) && (system.is_aes128() || !key.is_of_whole_segments);
    if version != Version::V1_0 && !key.scheme.is_none_or(is_allowed) {
        return Err(Refusal::SchemeOfSystem(system_id.to_string()));
    }
    if !key.systems.contains(&system) {
        key.systems.push(system);
    }
    Ok(())
}
