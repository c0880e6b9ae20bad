//! The request for a key as SPEKE 2.0 has it: a CPIX 2.3 document whose key has no value yet.

use base64::Engine;
use quick_xml::escape::escape;

use super::characters;
use super::xml::Namespace;
use crate::drm_system::DrmSystem;
use crate::encoding::BASE64;
use crate::id::Kid;

/// A request for one key, for FairPlay: scheme `cbcs`, tracks of every kind.
pub struct KeyRequest<'a> {
    /// The id of the content.
    pub content_id: &'a str,
    /// The KID.
    pub kid: Kid,
    /// The certificate for which the key is to be encrypted, in DER; without one it comes in the clear.
    pub certificate: Option<&'a [u8]>,
}

impl KeyRequest<'_> {
    /// The document. `None` when the content id is empty or holds a character that XML does not have (XML 1.0 section
    /// 2.2).
    ///
    /// ```
    /// use keylet::cpix::{Document, KeyRequest};
    /// use keylet::id::Kid;
    ///
    /// let kid = Kid::from_u128(42);
    /// let request = KeyRequest { content_id: "movie & more", kid, certificate: None };
    /// let document = request.to_xml().unwrap();
    /// let read = Document::read(document.as_bytes()).unwrap();
    /// assert_eq!((read.content_id(), read.keys().unwrap()[0].kid), (Some("movie & more"), kid));
    /// assert!(KeyRequest { content_id: "\0", ..request }.to_xml().is_none());
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
        let (content_id, kid) = (escape(self.content_id), self.kid);
        let system = DrmSystem::FairPlay.system_id()?;
        let delivery = self.certificate.map(|certificate| {
            let certificate = BASE64.encode(certificate);
            format!(
                r#"<cpix:DeliveryDataList><cpix:DeliveryData id="keylet"><cpix:DeliveryKey><ds:X509Data><ds:X509Certificate>{certificate}</ds:X509Certificate></ds:X509Data></cpix:DeliveryKey></cpix:DeliveryData></cpix:DeliveryDataList>"#
            )
        });
        let delivery = delivery.unwrap_or_default();
        Some(format!(
            r#"<?xml version="1.0" encoding="UTF-8"?>
<cpix:CPIX xmlns:cpix="{cpix}" xmlns:pskc="{pskc}" xmlns:ds="{signature}" xmlns:enc="{encryption}" contentId="{content_id}" version="2.3">{delivery}<cpix:ContentKeyList><cpix:ContentKey kid="{kid}" commonEncryptionScheme="cbcs"/></cpix:ContentKeyList><cpix:DRMSystemList><cpix:DRMSystem kid="{kid}" systemId="{system}"><cpix:HLSSignalingData playlist="media"/><cpix:HLSSignalingData playlist="master"/></cpix:DRMSystem></cpix:DRMSystemList><cpix:ContentKeyUsageRuleList><cpix:ContentKeyUsageRule kid="{kid}" intendedTrackType="ALL"><cpix:VideoFilter/><cpix:AudioFilter/></cpix:ContentKeyUsageRule></cpix:ContentKeyUsageRuleList></cpix:CPIX>
"#
        ))
    }
}
