//! What DASH manifests say of keys (ISO/IEC 23009-1 section 5.8.4.1; DASH-IF Interoperability Points, part 6).

use base64::Engine;
use quick_xml::escape::partial_escape;

use super::xml::Namespace;
use super::{ProtectionSystem, Scheme, characters};
use crate::encoding::BASE64;
use crate::id::Kid;

const CENC: &str = Namespace::Cenc.uri();
const PLAYREADY: &str = "urn:microsoft:playready";
const DASH_IF: &str = "https://dashif.org/CPS";
const CLEAR_KEY_VALUE: &str = r#" value="ClearKey1.0""#;

/// What a manifest says of one system.
///
/// ```
/// use keylet::cpix::ContentProtection;
///
/// let system = ContentProtection::ClearKey { license_url: Some("https://k.example/clearkey"), pssh: &[] };
/// assert_eq!(
///     system.data().unwrap(),
///     r#"<Laurl xmlns="https://dashif.org/CPS">https://k.example/clearkey</Laurl>"#
/// );
/// ```
#[derive(Debug, Clone, Copy)]
pub enum ContentProtection<'a> {
    /// Widevine.
    Widevine {
        /// The PSSH box.
        pssh: &'a [u8],
    },
    /// PlayReady.
    PlayReady {
        /// The PSSH box.
        pssh: &'a [u8],
        /// The PlayReady Object.
        object: &'a [u8],
    },
    /// FairPlay, of which a manifest says nothing but that it can be used.
    FairPlay,
    /// The common PSSH box of W3C.
    Common {
        /// The PSSH box.
        pssh: &'a [u8],
    },
    /// Clear Key as the DASH-IF has it.
    ClearKey {
        /// Where players ask for the keys.
        license_url: Option<&'a str>,
        /// The PSSH box.
        pssh: &'a [u8],
    },
}

impl ContentProtection<'_> {
    /// The system.
    pub const fn system(&self) -> ProtectionSystem {
        match self {
            Self::Widevine { .. } => ProtectionSystem::Widevine,
            Self::PlayReady { .. } => ProtectionSystem::PlayReady,
            Self::FairPlay => ProtectionSystem::FairPlay,
            Self::Common { .. } => ProtectionSystem::Common,
            Self::ClearKey { .. } => ProtectionSystem::ClearKey,
        }
    }

    /// What stands in the element of the system: `ContentProtectionData` of CPIX, before it is put into base64. Names
    /// have no prefix: some packagers refuse one. `None` for FairPlay, and for a URL that is empty or that XML cannot
    /// hold.
    ///
    /// Clear Key has the URL where there is one, else the box. It never has both: dash.js does not play content whose
    /// manifest has the box of Clear Key.
    pub fn data(&self) -> Option<String> {
        match *self {
            Self::PlayReady { pssh, object } => {
                let (pssh, object) = (box_element(pssh), BASE64.encode(object));
                Some(format!(r#"{pssh}<pro xmlns="{PLAYREADY}">{object}</pro>"#))
            }
            Self::FairPlay => None,
            Self::ClearKey {
                license_url: Some(url),
                ..
            } => url_element(url, ""),
            Self::Widevine { pssh } | Self::Common { pssh } | Self::ClearKey { pssh, .. } => {
                Some(box_element(pssh))
            }
        }
    }

    /// The whole element for a manifest. `None` for a URL that is empty or that XML cannot hold.
    ///
    /// That of Clear Key has no box, even without a URL, and its URL has the prefix by which dash.js knows it: it does
    /// not read the namespace. That of [`Self::Common`] keeps dash.js from playing with Clear Key.
    pub fn element(&self) -> Option<String> {
        let id = self.system().system_id();
        let (value, content) = match self {
            Self::FairPlay => ("", None),
            Self::ClearKey {
                license_url: None, ..
            } => (CLEAR_KEY_VALUE, None),
            Self::ClearKey {
                license_url: Some(url),
                ..
            } => (CLEAR_KEY_VALUE, Some(url_element(url, "dashif")?)),
            Self::Widevine { .. } | Self::PlayReady { .. } | Self::Common { .. } => {
                ("", Some(self.data()?))
            }
        };
        let start = format!(r#"<ContentProtection schemeIdUri="urn:uuid:{id}"{value}"#);
        Some(match content {
            None => format!("{start}/>"),
            Some(content) => format!("{start}>{content}</ContentProtection>"),
        })
    }
}

/// The element that names the scheme and the KID. It comes before those of the systems.
pub fn mp4_protection(kid: Kid, scheme: Scheme) -> String {
    let scheme = scheme.name();
    format!(
        r#"<ContentProtection xmlns:cenc="{CENC}" schemeIdUri="urn:mpeg:dash:mp4protection:2011" value="{scheme}" cenc:default_KID="{kid}"/>"#
    )
}

fn box_element(pssh: &[u8]) -> String {
    let pssh = BASE64.encode(pssh);
    format!(r#"<pssh xmlns="{CENC}">{pssh}</pssh>"#)
}

/// The element with the URL; an empty prefix is the default namespace.
fn url_element(url: &str, prefix: &str) -> Option<String> {
    let is_url = !url.is_empty() && characters::are_xml(url);
    let colon = if prefix.is_empty() { "" } else { ":" };
    is_url.then(|| {
        let (name, url) = (format!("{prefix}{colon}Laurl"), partial_escape(url));
        format!(r#"<{name} xmlns{colon}{prefix}="{DASH_IF}">{url}</{name}>"#)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOX: &str = r#"<pssh xmlns="urn:mpeg:cenc:2013">Ym94</pssh>"#;

    #[test]
    fn a_system_has_its_boxes_and_its_url() {
        let pssh = b"box".as_slice();
        let object = b"object".as_slice();
        let url = Some("https://k.example/clearkey?a=b&c=d");
        let laurl = r#"<Laurl xmlns="https://dashif.org/CPS">https://k.example/clearkey?a=b&amp;c=d</Laurl>"#;
        let prefixed = r#"<dashif:Laurl xmlns:dashif="https://dashif.org/CPS">https://k.example/clearkey?a=b&amp;c=d</dashif:Laurl>"#;
        let playready = format!(r#"{BOX}<pro xmlns="urn:microsoft:playready">b2JqZWN0</pro>"#);
        for (system, data, id, value, content) in [
            (
                ContentProtection::Widevine { pssh },
                Some(BOX),
                "edef8ba9-79d6-4ace-a3c8-27dcd51d21ed",
                "",
                BOX,
            ),
            (
                ContentProtection::PlayReady { pssh, object },
                Some(playready.as_str()),
                "9a04f079-9840-4286-ab92-e65be0885f95",
                "",
                playready.as_str(),
            ),
            (
                ContentProtection::FairPlay,
                None,
                "94ce86fb-07ff-4f43-adb8-93d2fa968ca2",
                "",
                "",
            ),
            (
                ContentProtection::Common { pssh },
                Some(BOX),
                "1077efec-c0b2-4d02-ace3-3c1e52e2fb4b",
                "",
                BOX,
            ),
            (
                ContentProtection::ClearKey {
                    license_url: url,
                    pssh,
                },
                Some(laurl),
                "e2719d58-a985-b3c9-781a-b030af78d30e",
                r#" value="ClearKey1.0""#,
                prefixed,
            ),
            (
                ContentProtection::ClearKey {
                    license_url: None,
                    pssh,
                },
                Some(BOX),
                "e2719d58-a985-b3c9-781a-b030af78d30e",
                r#" value="ClearKey1.0""#,
                "",
            ),
        ] {
            assert_eq!(system.data().as_deref(), data, "{id}");
            let start = format!(r#"<ContentProtection schemeIdUri="urn:uuid:{id}"{value}"#);
            let element = match content {
                "" => format!("{start}/>"),
                content => format!("{start}>{content}</ContentProtection>"),
            };
            assert_eq!(system.element(), Some(element));
        }
    }

    #[test]
    fn a_url_that_xml_cannot_hold_makes_no_element() {
        for url in ["", "https://k.example/\0", "https://k.example/\u{ffff}"] {
            let license_url = Some(url);
            let system = ContentProtection::ClearKey {
                license_url,
                pssh: b"box",
            };
            assert!(system.data().is_none(), "{url:?}");
            assert!(system.element().is_none(), "{url:?}");
        }
    }

    #[test]
    fn the_scheme_and_the_kid_have_an_element_of_their_own() {
        let kid = Kid::from_u128(0x339c45b5_fb6d_4bd9_994c_eabd9d41c95b);
        assert_eq!(
            mp4_protection(kid, Scheme::Cbcs),
            r#"<ContentProtection xmlns:cenc="urn:mpeg:cenc:2013" schemeIdUri="urn:mpeg:dash:mp4protection:2011" value="cbcs" cenc:default_KID="339c45b5-fb6d-4bd9-994c-eabd9d41c95b"/>"#
        );
    }
}
