//! A request for keys: a document of SPEKE whose keys have no value yet.

use base64::Engine;
use quick_xml::escape::escape;

use super::speke::Version;
use super::xml::Namespace;
use super::{ProtectionSystem, Scheme, characters};
use crate::encoding::BASE64;
use crate::id::Kid;

/// A document without values. It is valid by the schema of CPIX, but for what SPEKE has otherwise.
pub struct BlankDocument<'a> {
    /// The id of the content.
    pub content_id: &'a str,
    /// The version of SPEKE: its documents differ in a few names.
    pub version: Version,
    /// The protection scheme of every key.
    pub scheme: Scheme,
    /// The keys.
    pub keys: &'a [BlankKey<'a>],
    /// The systems that each key is for.
    pub systems: &'a [ProtectionSystem],
    /// The certificate for which the keys are to be encrypted, in DER; without one they come in the clear.
    pub certificate: Option<&'a [u8]>,
}

/// A key without a value.
#[derive(Clone, Copy)]
pub struct BlankKey<'a> {
    /// The KID.
    pub kid: Kid,
    /// `intendedTrackType`: what it is for.
    pub track_type: &'a str,
}

/// Where a type of video begins and ends, in pixels of a frame: those of AWS Elemental `MediaPackage`.
const PIXELS: [(&str, Option<u32>, Option<u32>); 5] = [
    ("SD", None, Some(589_824)),
    ("HD", Some(589_825), Some(2_073_600)),
    ("UHD", Some(2_073_601), None),
    ("UHD1", Some(2_073_601), Some(8_847_360)),
    ("UHD2", Some(8_847_361), None),
];

impl BlankDocument<'_> {
    /// The document. `None` when the content id is empty or holds a character that XML does not have (XML 1.0 section
    /// 2.2).
    ///
    /// ```
    /// use keylet::cpix::speke::{Request, Version};
    /// use keylet::cpix::{BlankDocument, BlankKey, ProtectionSystem, Scheme};
    /// use keylet::id::Kid;
    ///
    /// let keys = [BlankKey { kid: Kid::from_u128(42), track_type: "HD" }];
    /// let blank = BlankDocument {
    ///     content_id: "movie & more",
    ///     version: Version::V2_0,
    ///     scheme: Scheme::Cbcs,
    ///     keys: &keys,
    ///     systems: &[ProtectionSystem::FairPlay],
    ///     certificate: None,
    /// };
    /// let request = Request::read(blank.to_xml().unwrap().as_bytes(), Version::V2_0).unwrap();
    /// assert_eq!((request.content_id(), request.keys()[0].kid), ("movie & more", keys[0].kid));
    /// assert!(BlankDocument { content_id: "\0", ..blank }.to_xml().is_none());
    /// ```
    pub fn to_xml(&self) -> Option<String> {
        if self.content_id.is_empty() || !characters::are_xml(self.content_id) {
            return None;
        }
        let [cpix, pskc, signature, encryption] = [
            Namespace::Cpix,
            Namespace::Pskc,
            Namespace::Signature,
            Namespace::Encryption,
        ]
        .map(Namespace::uri);
        let content_id = escape(self.content_id);
        let speke = Namespace::Speke.uri();
        let attributes = match self.version.cpix() {
            Some(version) => format!(r#"contentId="{content_id}" version="{version}""#),
            None => format!(r#"xmlns:speke="{speke}" id="{content_id}""#),
        };
        let delivery = self.certificate.map(|certificate| {
            let certificate = BASE64.encode(certificate);
            format!(
                r#"<cpix:DeliveryDataList><cpix:DeliveryData id="keylet"><cpix:DeliveryKey><ds:X509Data><ds:X509Certificate>{certificate}</ds:X509Certificate></ds:X509Data></cpix:DeliveryKey></cpix:DeliveryData></cpix:DeliveryDataList>"#
            )
        });
        let delivery = delivery.unwrap_or_default();
        let is_v1 = self.version == Version::V1_0;
        let scheme = match is_v1 {
            true => String::new(),
            false => format!(r#" commonEncryptionScheme="{}""#, self.scheme.name()),
        };
        let keys = self.each(|key| {
            let kid = key.kid;
            format!(r#"<cpix:ContentKey kid="{kid}"{scheme}/>"#)
        });
        let systems = self.each(|key| {
            let systems = self.systems.iter();
            systems
                .map(|system| self.system(*system, key.kid))
                .collect()
        });
        let rules = self.each(|key| {
            let (kid, track_type) = (key.kid, escape(key.track_type));
            let filters = self.filters(key.track_type);
            format!(
                r#"<cpix:ContentKeyUsageRule kid="{kid}" intendedTrackType="{track_type}">{filters}</cpix:ContentKeyUsageRule>"#
            )
        });
        let rules = match is_v1 {
            true => String::new(),
            false => {
                format!("<cpix:ContentKeyUsageRuleList>{rules}</cpix:ContentKeyUsageRuleList>")
            }
        };
        Some(format!(
            r#"<?xml version="1.0" encoding="UTF-8"?>
<cpix:CPIX xmlns:cpix="{cpix}" xmlns:pskc="{pskc}" xmlns:ds="{signature}" xmlns:enc="{encryption}" {attributes}>{delivery}<cpix:ContentKeyList>{keys}</cpix:ContentKeyList><cpix:DRMSystemList>{systems}</cpix:DRMSystemList>{rules}</cpix:CPIX>
"#
        ))
    }

    fn each(&self, xml: impl Fn(&BlankKey<'_>) -> String) -> String {
        self.keys.iter().map(xml).collect()
    }

    /// The places that the system has something for, in the order of the schema.
    fn system(&self, system: ProtectionSystem, kid: Kid) -> String {
        let system_id = system.system_id();
        let places = match self.version {
            Version::V1_0 => first_places(system).to_owned(),
            Version::V2_0 => places(system),
            Version::V2_1 => {
                places(system).replace(r#"playlist="master""#, r#"playlist="multiVariant""#)
            }
        };
        format!(r#"<cpix:DRMSystem kid="{kid}" systemId="{system_id}">{places}</cpix:DRMSystem>"#)
    }

    /// The filters of a type of track. A type of video has bounds where there are others beside it.
    fn filters(&self, track_type: &str) -> String {
        let is_audio = |name: &str| name.contains("AUDIO");
        if track_type == "ALL" {
            return "<cpix:VideoFilter/><cpix:AudioFilter/>".to_owned();
        }
        if is_audio(track_type) {
            return "<cpix:AudioFilter/>".to_owned();
        }
        let videos = self.keys.iter().filter(|key| !is_audio(key.track_type));
        let bounds = PIXELS.iter().find(|(name, ..)| *name == track_type);
        let Some((_, least, most)) = bounds.filter(|_| videos.count() > 1) else {
            return "<cpix:VideoFilter/>".to_owned();
        };
        let bound = |name: &str, pixels: &Option<u32>| {
            pixels.map_or(String::new(), |pixels| format!(r#" {name}="{pixels}""#))
        };
        let (least, most) = (bound("minPixels", least), bound("maxPixels", most));
        format!("<cpix:VideoFilter{least}{most}/>")
    }
}

/// The places of a system in SPEKE 1.0, whose tags of HLS are in parts.
const fn first_places(system: ProtectionSystem) -> &'static str {
    match system {
        ProtectionSystem::FairPlay | ProtectionSystem::Aes128 | ProtectionSystem::Aes128V1 => {
            "<cpix:URIExtXKey/><speke:KeyFormat/><speke:KeyFormatVersions/>"
        }
        ProtectionSystem::Common | ProtectionSystem::ClearKey | ProtectionSystem::Widevine => {
            "<cpix:PSSH/><cpix:ContentProtectionData/>"
        }
        ProtectionSystem::PlayReady => {
            "<cpix:PSSH/><cpix:ContentProtectionData/><speke:ProtectionHeader/>"
        }
    }
}

fn places(system: ProtectionSystem) -> String {
    // CPIX 2.4 has another name for the playlist; encoders of SPEKE have kept this one.
    let tags =
        r#"<cpix:HLSSignalingData playlist="media"/><cpix:HLSSignalingData playlist="master"/>"#;
    match system {
        ProtectionSystem::FairPlay | ProtectionSystem::Aes128 | ProtectionSystem::Aes128V1 => {
            tags.to_owned()
        }
        ProtectionSystem::Common | ProtectionSystem::ClearKey => {
            "<cpix:PSSH/><cpix:ContentProtectionData/>".to_owned()
        }
        ProtectionSystem::Widevine => format!("<cpix:PSSH/><cpix:ContentProtectionData/>{tags}"),
        ProtectionSystem::PlayReady => format!(
            "<cpix:PSSH/><cpix:ContentProtectionData/>{tags}<cpix:SmoothStreamingProtectionHeaderData/>"
        ),
    }
}
