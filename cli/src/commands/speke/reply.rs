//! What an encoder needs of a reply (AWS, "SPEKE API specification" 1.0, 2.0 and 2.1).

use base64::Engine;
use http::header::CONTENT_TYPE;
use keylet::cpix::speke::Version;
use keylet::cpix::{
    Document, ProtectionSystem, Scheme, Signal, Signals, pssh_boxes, pssh_of_protection_data,
    widevine_kids,
};
use keylet::encoding::BASE64;
use keylet::id::Kid;
use keylet::secret::Key128;

use super::checks::Checks;
use super::encoder::{Answer, SPEKE_VERSION, Wanted};
use super::tag;
use crate::random;

/// The name of a tag in a media playlist, and in a multivariant one.
const TAGS: [&str; 2] = ["#EXT-X-KEY:", "#EXT-X-SESSION-KEY:"];

/// Checks the media type.
pub(super) fn content_type(answer: &Answer) -> Result<(), String> {
    let found = answer.headers.get(CONTENT_TYPE);
    let found = found.map(|value| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase());
    let found = found.ok_or("there is none")?;
    let (media_type, parameters) = found.split_once(';').unwrap_or((&found, ""));
    let charset = parameters.split(';').find_map(|parameter| {
        let charset = parameter.trim().strip_prefix("charset=")?;
        Some(charset.trim_matches('"'))
    });
    match (media_type.trim(), charset) {
        ("application/xml", None | Some("utf-8")) => Ok(()),
        _ => Err(format!("it is {found}")),
    }
}

/// The headers of a reply, and what they hold where that is fixed.
pub(super) fn expected_headers(
    version: Version,
) -> impl Iterator<Item = (&'static str, Option<&'static str>)> {
    let (user_agent, version) = match version.header() {
        None => ("speke-user-agent", None),
        Some(version) => ("x-speke-user-agent", Some((SPEKE_VERSION, Some(version)))),
    };
    [(user_agent, None)].into_iter().chain(version)
}

/// Checks a header.
pub(super) fn header(answer: &Answer, name: &str, expected: Option<&str>) -> Result<(), String> {
    let found = answer.headers.get(name).ok_or("it is missing")?;
    let found = String::from_utf8_lossy(found.as_bytes());
    match expected {
        Some(expected) if found.trim() != expected => Err(format!("it is {found}, not {expected}")),
        None if found.trim().is_empty() => Err("it is empty".to_owned()),
        _ => Ok(()),
    }
}

/// The keys of a reply, in the order in which they are wanted.
pub(super) fn keys(document: &Document, wanted: &Wanted) -> Vec<Result<Key128, String>> {
    let unlocked = wanted.recipient.as_ref().map(|recipient| {
        let key = recipient.key.get().map_err(|error| error.to_string())?;
        let certificate = Some(recipient.certificate.as_slice());
        let unlocked = document.unlock(key, certificate, &mut random::system());
        unlocked.map_err(|error| error.to_string())
    });
    let keys = wanted.keys.iter().map(|wanted| {
        let keys = document.keys().map_err(|error| error.to_string())?;
        let mut keys = keys.into_iter();
        let key = keys.find(|key| key.kid == wanted.kid);
        let key = key.ok_or("the reply has no key with its KID")?;
        let document_keys = match (&unlocked, key.is_encrypted()) {
            (Some(unlocked), true) => Some(unlocked.as_ref().map_err(ToOwned::to_owned)?),
            (Some(_), false) => return Err("it is not encrypted".to_owned()),
            (None, _) => None,
        };
        key.value(document_keys).map_err(|error| error.to_string())
    });
    keys.collect()
}

/// Checks the keys, and returns those that are right.
pub(super) fn check_keys(
    document: &Document,
    wanted: &Wanted,
    checks: &mut Checks,
) -> Vec<Option<Key128>> {
    let what = match wanted.recipient {
        Some(_) => "is encrypted, its MAC verifies, and it has 16 bytes",
        None => "is there and has 16 bytes",
    };
    let mut found = Vec::new();
    for (wanted, key) in wanted.keys.iter().zip(keys(document, wanted)) {
        let what = format!("the key of {} {what}", wanted.track);
        match key {
            Ok(key) => {
                checks.add(&what, Ok(()));
                found.push(Some(key));
            }
            Err(reason) => {
                checks.add(&what, Err(reason));
                found.push(None);
            }
        }
    }
    if wanted.keys.len() > 1 {
        checks.add(
            "every track has a key of its own",
            are_different(&found, wanted),
        );
    }
    found
}

fn are_different(keys: &[Option<Key128>], wanted: &Wanted) -> Result<(), String> {
    let known: Vec<_> = keys
        .iter()
        .zip(&wanted.keys)
        .filter_map(|(key, wanted)| Some((key.as_ref()?, wanted)))
        .collect();
    for (index, (key, one)) in known.iter().enumerate() {
        let mut others = known.iter().take(index);
        if let Some((_, other)) = others.find(|(other, _)| other.expose() == key.expose()) {
            return Err(format!("{} and {} have the same", other.track, one.track));
        }
    }
    Ok(())
}

/// Checks what a reply says to the players of a system, of every key.
pub(super) fn check_system(
    document: &Document,
    system: ProtectionSystem,
    wanted: &Wanted,
    version: Version,
    checks: &mut Checks,
) {
    let name = title(system);
    let mut told = Vec::new();
    for key in &wanted.keys {
        let of_key = |signals: &Signals<'_>| {
            signals.kid() == Some(key.kid) && signals.system() == Some(system)
        };
        let Some(signals) = document.signals().find(of_key) else {
            let reason = format!("{}: there is no DRMSystem", key.track);
            checks.add(&format!("{name}: every key has its DRMSystem"), Err(reason));
            return;
        };
        told.push(Told {
            signals,
            system,
            kid: key.kid,
            track: &key.track,
            scheme: wanted.scheme,
        });
    }
    let told = told.as_slice();
    let has_pssh = !matches!(
        system,
        ProtectionSystem::FairPlay | ProtectionSystem::Aes128 | ProtectionSystem::Aes128V1
    );
    if has_pssh {
        checks.add(
            &format!("{name}: the PSSH box is for the KID"),
            each(told, Told::pssh),
        );
        checks.add(
            &format!("{name}: ContentProtectionData goes with the PSSH box"),
            each(told, Told::protection_data),
        );
    }
    if system == ProtectionSystem::PlayReady {
        checks.add(
            &format!("{name}: the header of Smooth Streaming is that of the PSSH box"),
            each(told, |told| told.playready_header(version)),
        );
    }
    match (version, system) {
        (_, ProtectionSystem::Common | ProtectionSystem::ClearKey)
        | (Version::V1_0, ProtectionSystem::Widevine | ProtectionSystem::PlayReady) => {}
        (Version::V1_0, _) => {
            checks.add(
                &format!("{name}: URIExtXKey, KeyFormat and KeyFormatVersions are there"),
                each(told, Told::parts_of_a_tag),
            );
        }
        (Version::V2_0 | Version::V2_1, _) => {
            checks.add(
                &format!("{name}: the tags of both playlists have the same attributes"),
                each(told, Told::tags),
            );
        }
    }
    if !has_pssh {
        checks.add(
            &format!("{name}: there is no PSSH box and no ContentProtectionData"),
            each(told, |told| {
                for signal in [Signal::Pssh, Signal::ProtectionData] {
                    if told.signals.text(signal).is_some() {
                        return Err(format!("{} is there", signal.name()));
                    }
                }
                Ok(())
            }),
        );
    }
}

/// Checks each key, up to the first with a fault.
fn each<'a>(
    told: &[Told<'a>],
    check: impl Fn(&Told<'a>) -> Result<(), String>,
) -> Result<(), String> {
    told.iter()
        .try_for_each(|told| check(told).map_err(|reason| format!("{}: {reason}", told.track)))
}

/// What a reply says of a key for a system.
struct Told<'a> {
    signals: Signals<'a>,
    system: ProtectionSystem,
    kid: Kid,
    track: &'a str,
    scheme: Scheme,
}

impl Told<'_> {
    fn required(&self, signal: Signal) -> Result<Vec<u8>, String> {
        let value = self.signals.value(signal);
        let value = value.map_err(|error| error.to_string())?;
        value.ok_or_else(|| format!("{} is missing or empty", signal.name()))
    }

    fn pssh(&self) -> Result<(), String> {
        let bytes = self.required(Signal::Pssh)?;
        let boxes = pssh_boxes(&bytes).map_err(|error| format!("PSSH: {error}"))?;
        let [pssh] = boxes.as_slice() else {
            return Err(format!("PSSH has {} boxes, not one", boxes.len()));
        };
        if pssh.system_id != self.system.system_id() {
            return Err(format!("the box is of the system {}", pssh.system_id));
        }
        let is_for_kid = match self.system {
            ProtectionSystem::Widevine => {
                let kids = widevine_kids(pssh.data);
                let kids = kids.map_err(|error| format!("the data of the box: {error}"))?;
                kids.contains(&self.kid) || pssh.kids.contains(&self.kid)
            }
            ProtectionSystem::PlayReady => self.is_header(pssh.data)?,
            _ => pssh.kids.contains(&self.kid),
        };
        match is_for_kid {
            true => Ok(()),
            false => Err(format!("the box does not name the KID {}", self.kid)),
        }
    }

    /// Whether a PlayReady Object is for the KID, which it has as a GUID in memory.
    fn is_header(&self, object: &[u8]) -> Result<bool, String> {
        let size = object.first_chunk().map(|size| u32::from_le_bytes(*size));
        let is_whole = size.is_some_and(|size| usize::try_from(size) == Ok(object.len()));
        if !is_whole {
            return Err("the data of the box is no PlayReady Object".to_owned());
        }
        let kid = BASE64.encode(self.kid.in_guid_order().as_bytes());
        let kid: Vec<u8> = kid.encode_utf16().flat_map(u16::to_le_bytes).collect();
        Ok(object.windows(kid.len()).any(|part| part == kid))
    }

    fn protection_data(&self) -> Result<(), String> {
        let data = self.required(Signal::ProtectionData)?;
        let found = pssh_of_protection_data(&data);
        let found = found.map_err(|error| format!("ContentProtectionData: {error}"))?;
        match (found, self.system) {
            // It may have the URL of its licences in place of the box.
            (None, ProtectionSystem::ClearKey) => Ok(()),
            (None, _) => Err("ContentProtectionData has no pssh of urn:mpeg:cenc:2013".to_owned()),
            (Some(found), _) if Some(found.as_str()) == self.signals.text(Signal::Pssh) => Ok(()),
            (Some(_), _) => Err(
                "pssh in ContentProtectionData is not the text of PSSH, so encoders stop"
                    .to_owned(),
            ),
        }
    }

    fn playready_header(&self, version: Version) -> Result<(), String> {
        let bytes = self.required(Signal::Pssh)?;
        let boxes = pssh_boxes(&bytes).map_err(|error| format!("PSSH: {error}"))?;
        let signal = match version {
            Version::V1_0 => Signal::ProtectionHeader,
            Version::V2_0 | Version::V2_1 => Signal::SmoothHeader,
        };
        let header = self.required(signal)?;
        match boxes.iter().any(|pssh| pssh.data == header) {
            true => Ok(()),
            false => Err(format!("{} is another one", signal.name())),
        }
    }

    fn tags(&self) -> Result<(), String> {
        let [media, session] = [Signal::MediaTag, Signal::SessionTag].map(|signal| {
            let text = self.required(signal).map_err(|error| {
                let playlist = match signal {
                    Signal::MediaTag => "media",
                    _ => "master",
                };
                format!("{error} for the {playlist} playlist")
            });
            let text = text?;
            String::from_utf8(text).map_err(|_| "HLSSignalingData is not text".to_owned())
        });
        let (media, session) = (media?, session?);
        let [in_media, in_session] = TAGS;
        let attributes = tag::attributes(&media, in_media)?;
        if attributes != tag::attributes(&session, in_session)? {
            return Err("the attributes differ".to_owned());
        }
        self.tag(&attributes)
    }

    fn tag(&self, attributes: &[(&str, &str)]) -> Result<(), String> {
        let system_id = format!("urn:uuid:{}", self.system.system_id());
        let (method, key_format) = match self.system {
            ProtectionSystem::FairPlay => ("SAMPLE-AES", "com.apple.streamingkeydelivery"),
            ProtectionSystem::PlayReady => (self.scheme.hls_method(), "com.microsoft.playready"),
            ProtectionSystem::Aes128 | ProtectionSystem::Aes128V1 => ("AES-128", "identity"),
            ProtectionSystem::Widevine | ProtectionSystem::Common | ProtectionSystem::ClearKey => {
                (self.scheme.hls_method(), system_id.as_str())
            }
        };
        for (name, expected) in [("METHOD", method), ("KEYFORMAT", key_format)] {
            match tag::value(attributes, name) {
                Some(found) if found == expected => {}
                // RFC 8216 section 4.3.2.4 has it as the default.
                None if expected == "identity" => {}
                Some(found) => return Err(format!("{name} is {found}, not {expected}")),
                None => return Err(format!("{name} is missing")),
            }
        }
        let uri = tag::value(attributes, "URI").unwrap_or_default();
        let start = match self.system {
            ProtectionSystem::FairPlay => "skd://",
            ProtectionSystem::Aes128 | ProtectionSystem::Aes128V1 => "http",
            _ => "data:",
        };
        match uri.starts_with(start) {
            true => Ok(()),
            false => Err(format!("URI does not begin with {start}")),
        }
    }

    /// What a tag has in parts in SPEKE 1.0.
    fn parts_of_a_tag(&self) -> Result<(), String> {
        let [uri, format, versions] = [Signal::Uri, Signal::KeyFormat, Signal::KeyFormatVersions]
            .map(|signal| {
                let text = String::from_utf8(self.required(signal)?);
                text.map_err(|_| format!("{} is not text", signal.name()))
            });
        let (uri, format, _) = (uri?, format?, versions?);
        let attributes = [
            (
                "METHOD",
                match self.system {
                    ProtectionSystem::FairPlay => "SAMPLE-AES",
                    _ => "AES-128",
                },
            ),
            ("KEYFORMAT", format.as_str()),
            ("URI", uri.as_str()),
        ];
        self.tag(&attributes)
    }
}

/// A system as people write it.
const fn title(system: ProtectionSystem) -> &'static str {
    match system {
        ProtectionSystem::Widevine => "Widevine",
        ProtectionSystem::PlayReady => "PlayReady",
        ProtectionSystem::FairPlay => "FairPlay",
        ProtectionSystem::Common => "common PSSH box",
        ProtectionSystem::ClearKey => "Clear Key",
        ProtectionSystem::Aes128 | ProtectionSystem::Aes128V1 => "AES-128",
    }
}
