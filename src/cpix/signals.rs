//! What a document says of its keys for players, as an encoder reads it.

use super::document::Document;
use super::xml::{self, Element, Namespace};
use super::{Error, ProtectionSystem};
use crate::encoding;
use crate::id::Kid;

use Namespace::{Cenc, Cpix, Speke};

/// What a document says of one key for one system (`DRMSystem`).
pub struct Signals<'a>(&'a Element);

/// A place in a `DRMSystem`. All hold base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// `PSSH`: a PSSH box.
    Pssh,
    /// `ContentProtectionData`: what stands in the element of a DASH manifest.
    ProtectionData,
    /// `HLSSignalingData` for a media playlist.
    MediaTag,
    /// `HLSSignalingData` for a multivariant playlist.
    SessionTag,
    /// `SmoothStreamingProtectionHeaderData`: a PlayReady Object.
    SmoothHeader,
    /// `URIExtXKey` of SPEKE 1.0: the URI of a tag of HLS.
    Uri,
    /// `speke:KeyFormat` of SPEKE 1.0.
    KeyFormat,
    /// `speke:KeyFormatVersions` of SPEKE 1.0.
    KeyFormatVersions,
    /// `speke:ProtectionHeader` of SPEKE 1.0: a PlayReady Object.
    ProtectionHeader,
}

impl Signal {
    /// The name of the element.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pssh => "PSSH",
            Self::ProtectionData => "ContentProtectionData",
            Self::MediaTag | Self::SessionTag => "HLSSignalingData",
            Self::SmoothHeader => "SmoothStreamingProtectionHeaderData",
            Self::Uri => "URIExtXKey",
            Self::KeyFormat => "KeyFormat",
            Self::KeyFormatVersions => "KeyFormatVersions",
            Self::ProtectionHeader => "ProtectionHeader",
        }
    }

    fn is(self, element: &Element) -> bool {
        let namespace = match self {
            Self::KeyFormat | Self::KeyFormatVersions | Self::ProtectionHeader => Speke,
            _ => Cpix,
        };
        let is_media = || matches!(element.attribute("playlist"), None | Some("" | "media"));
        element.is(namespace, self.name())
            && match self {
                Self::MediaTag => is_media(),
                Self::SessionTag => !is_media(),
                _ => true,
            }
    }
}

impl<'a> Signals<'a> {
    /// The KID. `None` for one that is missing or not a GUID.
    pub fn kid(&self) -> Option<Kid> {
        self.0.attribute("kid").and_then(Kid::from_text)
    }

    /// The system. `None` for one that is missing or not known.
    pub fn system(&self) -> Option<ProtectionSystem> {
        let id = self.0.attribute("systemId").and_then(Kid::from_text)?;
        ProtectionSystem::from_system_id(id)
    }

    /// What stands in a place, in base64. `None` where the place is missing or empty.
    pub fn text(&self, signal: Signal) -> Option<&'a str> {
        let mut children = self.0.all_children().iter();
        let text = children.find(|child| signal.is(child))?.text().trim();
        (!text.is_empty()).then_some(text)
    }

    /// The same, decoded.
    ///
    /// # Errors
    /// What is not base64.
    pub fn value(&self, signal: Signal) -> Result<Option<Vec<u8>>, Error> {
        let Some(text) = self.text(signal) else {
            return Ok(None);
        };
        let value = encoding::base64(text).map(|value| value.to_vec());
        let wrong = Error::At(signal.name(), "it is not base64");
        value.map(Some).ok_or(wrong)
    }
}

impl Document {
    /// What it says of each key for each system.
    pub fn signals(&self) -> impl Iterator<Item = Signals<'_>> {
        self.in_list("DRMSystemList", "DRMSystem").map(Signals)
    }

    /// The first element of a request that this reply does not have with the same attributes, where there is one.
    /// Attributes that are empty in the request may have any value. The order does not matter.
    pub fn missing_of(&self, request: &Self) -> Option<String> {
        let (reply, request) = (self.root(), request.root());
        match has_attributes(reply, request) {
            true => missing(reply, request),
            false => Some(described(request)),
        }
    }
}

/// The text of `pssh` in `ContentProtectionData`, decoded. `None` where there is none.
///
/// # Errors
/// What is not well-formed XML.
pub fn pssh_of_protection_data(data: &[u8]) -> Result<Option<String>, Error> {
    // Several elements stand side by side.
    let document = [b"<data>", data, b"</data>"].concat();
    let root = xml::read(&document)?;
    let pssh = root.children(Cenc, "pssh").next();
    Ok(pssh.map(|pssh| pssh.text().trim().to_owned()))
}

fn missing(reply: &Element, request: &Element) -> Option<String> {
    request.all_children().iter().find_map(|asked| {
        let candidates = reply.all_children().iter();
        let mut candidates = candidates.filter(|found| has_attributes(found, asked));
        let Some(first) = candidates.next() else {
            return Some(described(asked));
        };
        let reason = missing(first, asked)?;
        match candidates.any(|found| missing(found, asked).is_none()) {
            true => None,
            false => Some(reason),
        }
    })
}

fn has_attributes(found: &Element, asked: &Element) -> bool {
    let is_declaration = |name: &str| name == "xmlns" || name.starts_with("xmlns:");
    let mut attributes = asked.attributes().iter();
    found.is_named_as(asked)
        && attributes.all(|(name, value)| {
            is_declaration(name)
                || found.attribute(name).is_some_and(|found| {
                    let is_same_guid = || {
                        let kid = Kid::from_text(value);
                        kid.is_some() && kid == Kid::from_text(found)
                    };
                    value.is_empty() || value == found || is_same_guid()
                })
        })
}

/// An element by its name and attributes.
fn described(element: &Element) -> String {
    let is_told = |name: &str| !name.starts_with("xmlns");
    let attributes = element.attributes().iter();
    let attributes = attributes.filter(|(name, _)| is_told(name));
    let attributes = attributes.map(|(name, value)| format!(r#" {name}="{value}""#));
    let attributes: String = attributes.collect();
    let name = element.name();
    let name = name.strip_prefix(element.prefix()).unwrap_or(name);
    format!("{name}{attributes}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpix::speke::{Filled, Output, Request, Urls, Version};
    use crate::cpix::{BlankDocument, BlankKey, Scheme};
    use crate::platform::Random;
    use crate::platform::test_host::TestHost;
    use crate::secret::Key128;

    const KID: Kid = Kid::from_u128(0x339c45b5_fb6d_4bd9_994c_eabd9d41c95b);

    fn blank(version: Version) -> String {
        let keys = [BlankKey {
            kid: KID,
            track_type: "HD",
        }];
        let systems = ProtectionSystem::usual(Scheme::Cbcs);
        let document = BlankDocument {
            content_id: "movie-42",
            version,
            scheme: Scheme::Cbcs,
            keys: &keys,
            systems: &systems,
            certificate: None,
        };
        document.to_xml().unwrap()
    }

    fn answer(blank: &str, version: Version) -> Document {
        let request = Request::read(blank.as_bytes(), version);
        let request = request.unwrap_or_else(|refusal| panic!("{refusal}"));
        let filled = [Filled {
            key: Key128::from([7; 16]),
            iv: None,
            fairplay_uri: "skd://movie-42".to_owned(),
            aes128_url: None,
            output: Output::default(),
        }];
        let host = TestHost::default();
        let reply = request.answer(&filled, Urls::default(), &mut Random(&host));
        let reply = reply.unwrap_or_else(|refusal| panic!("{refusal}"));
        Document::read(reply.as_bytes()).unwrap()
    }

    #[test]
    fn a_reply_says_of_each_system_what_the_request_has_a_place_for() {
        use Signal::{MediaTag, ProtectionData, Pssh, SessionTag, SmoothHeader};
        let reply = answer(&blank(Version::V2_0), Version::V2_0);
        let signals: Vec<_> = reply.signals().collect();
        let systems: Vec<_> = signals.iter().filter_map(Signals::system).collect();
        assert_eq!(systems, ProtectionSystem::usual(Scheme::Cbcs));
        let all = [Pssh, ProtectionData, MediaTag, SessionTag, SmoothHeader];
        for (signals, expected) in signals.iter().zip([
            [false, false, true, true, false],
            [true, true, true, true, false],
            [true, true, true, true, true],
        ]) {
            assert_eq!(signals.kid(), Some(KID));
            let found = all.map(|signal| signals.value(signal).unwrap().is_some());
            assert_eq!(found, expected, "{:?}", signals.system());
        }
        let [_, widevine, _] = &signals[..] else {
            panic!("{}", signals.len());
        };
        let data = widevine.value(ProtectionData).unwrap().unwrap();
        let pssh = pssh_of_protection_data(&data).unwrap();
        assert_eq!(pssh.as_deref(), widevine.text(Pssh));
        assert!(pssh_of_protection_data(b"<pssh>").is_err());
        assert_eq!(pssh_of_protection_data(b"<pssh>AAAA</pssh>"), Ok(None));
    }

    #[test]
    fn a_request_of_1_0_is_answered_by_its_own_elements() {
        use Signal::{KeyFormat, KeyFormatVersions, ProtectionHeader, Pssh, Uri};
        let reply = answer(&blank(Version::V1_0), Version::V1_0);
        let all = [Uri, KeyFormat, KeyFormatVersions, Pssh, ProtectionHeader];
        for (signals, expected) in reply.signals().zip([
            [true, true, true, false, false],
            [false, false, false, true, false],
            [false, false, false, true, true],
        ]) {
            let found = all.map(|signal| signals.value(signal).unwrap().is_some());
            assert_eq!(found, expected, "{:?}", signals.system());
        }
    }

    #[test]
    fn what_a_reply_leaves_out_of_the_request_is_named() {
        let text = blank(Version::V2_0);
        let request = Document::read(text.as_bytes()).unwrap();
        assert_eq!(answer(&text, Version::V2_0).missing_of(&request), None);
        let upper = text.replace(&KID.to_string(), &KID.to_string().to_uppercase());
        for (name, reply, missing) in [
            ("itself", text.clone(), None),
            ("the KID in upper case", upper, None),
            (
                "another content",
                text.replace("movie-42", "movie-43"),
                Some(r#"CPIX contentId="movie-42" version="2.3""#),
            ),
            (
                "no filter",
                text.replace("<cpix:VideoFilter/>", ""),
                Some("VideoFilter"),
            ),
            (
                "another type",
                text.replace("\"HD\"", "\"SD\""),
                Some(
                    r#"ContentKeyUsageRule kid="339c45b5-fb6d-4bd9-994c-eabd9d41c95b" intendedTrackType="HD""#,
                ),
            ),
            (
                "no tag for multivariant playlists",
                text.replacen(r#"<cpix:HLSSignalingData playlist="master"/>"#, "", 1),
                Some(r#"HLSSignalingData playlist="master""#),
            ),
        ] {
            let reply = Document::read(reply.as_bytes()).unwrap();
            assert_eq!(reply.missing_of(&request).as_deref(), missing, "{name}");
        }
    }
}
