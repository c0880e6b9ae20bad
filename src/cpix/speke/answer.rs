//! The reply: the request with values put in.

use base64::Engine;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::{Refusal, Request, RequestedKey, Version};
use crate::cpix::delivery::{Delivery, Prefixes};
use crate::cpix::edits::{Content, Edits};
use crate::cpix::xml::{Element, Namespace};
use crate::cpix::{
    ContentProtection, HlsKey, PlayReadyHeader, ProtectionSystem, PsshBox, Scheme, WidevineData,
};
use crate::encoding::BASE64;
use crate::id::Kid;
use crate::secret::Key128;

use Namespace::{Cpix, Pskc, Signature, Speke};

/// What is put in for a key.
pub struct Filled {
    /// The key.
    pub key: Key128,
    /// Its IV, where it has one.
    pub iv: Option<[u8; 16]>,
    /// What FairPlay's tags say in `URI`.
    pub fairplay_uri: String,
    /// The URL of the key for HLS AES-128, where this server has one.
    pub aes128_url: Option<String>,
    /// What outputs and devices it needs.
    pub output: Output,
}

/// What a key needs of outputs and devices, as SPEKE 2.1 asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Output {
    /// `HDCPData@HLSHDCPLevel`: the attribute `HDCP-LEVEL` of HLS.
    pub hdcp: &'static str,
    /// `ContentProtectionData@robustness` for Widevine.
    pub widevine: Option<&'static str>,
    /// The same for PlayReady.
    pub playready: Option<&'static str>,
    /// `DRMSystem@HLSAllowedCPC` for FairPlay: the attribute `ALLOWED-CPC` of HLS.
    pub fairplay: Option<&'static str>,
}

/// Where licences are, as documents tell players.
#[derive(Debug, Clone, Copy, Default)]
pub struct Urls<'a> {
    /// Of Clear Key.
    pub clearkey: Option<&'a str>,
    /// Of PlayReady.
    pub playready: Option<&'a str>,
}

impl Default for Output {
    /// Nothing is needed.
    fn default() -> Self {
        Self {
            hdcp: "NONE",
            widevine: None,
            playready: None,
            fairplay: None,
        }
    }
}

impl Request {
    /// The reply. `filled` has as many entries as [`Request::keys`], in their order.
    ///
    /// # Errors
    /// [`Refusal::Delivery`] where a certificate was asked for that nothing can be encrypted for.
    pub fn answer(
        &self,
        filled: &[Filled],
        urls: Urls<'_>,
        rng: &mut dyn CryptoRng,
    ) -> Result<Zeroizing<String>, Refusal> {
        let mut edits = Edits::new(&self.text, self.document.root());
        // The signature is of the document without values.
        for signature in self.document.root().children(Signature, "Signature") {
            edits.remove(signature);
        }
        let names = Prefixes {
            cpix: self.document.root().prefix().to_owned(),
            pskc: edits.prefix(Pskc, "pskc"),
            encryption: edits.prefix(Namespace::Encryption, "enc"),
        };
        let recipients = self.recipients()?;
        let delivery = match recipients.is_empty() {
            true => None,
            false => Some(Delivery::new(rng)),
        };
        if let Some(delivery) = &delivery {
            let elements = self.document.in_list("DeliveryDataList", "DeliveryData");
            for (element, recipient) in elements.zip(&recipients) {
                let has_algorithm = self.version != Version::V2_1;
                let xml = delivery.for_recipient(&recipient.key, &names, has_algorithm, rng);
                let xml = xml.map_err(|_| Refusal::Delivery("nothing can be encrypted for it"))?;
                for name in ["DocumentKey", "MACMethod"] {
                    element
                        .children(Cpix, name)
                        .for_each(|old| edits.remove(old));
                }
                if let Some(certificate) = element.children(Cpix, "DeliveryKey").next() {
                    edits.insert_after(certificate, Zeroizing::new(xml));
                }
            }
        }
        let elements = self.document.in_list("ContentKeyList", "ContentKey");
        for ((element, key), filled) in elements.zip(self.keys()).zip(filled) {
            let value = match &delivery {
                Some(delivery) => Zeroizing::new(delivery.sealed(&filled.key, &names, rng)),
                None => {
                    let value = Zeroizing::new(BASE64.encode(filled.key.expose()));
                    let (p, _) = &names.pskc;
                    Zeroizing::new(format!("<{p}PlainValue>{}</{p}PlainValue>", *value))
                }
            };
            fill_key(&mut edits, element, key, filled, &value, &names);
        }
        for element in self.document.in_list("DRMSystemList", "DRMSystem") {
            let of = |name| element.attribute(name).and_then(Kid::from_text);
            let system = of("systemId").and_then(ProtectionSystem::from_system_id);
            let mut keys = self.keys().iter().zip(filled);
            let key = keys.find(|(key, _)| Some(key.kid) == of("kid"));
            if let (Some(system), Some((key, filled))) = (system, key) {
                let signalling = Signalling {
                    system,
                    kid: key.kid,
                    scheme: key.scheme,
                    iv: key.iv,
                    is_clear: key.is_clear(),
                    filled,
                    urls,
                };
                fill_system(&mut edits, element, &signalling);
            }
        }
        Ok(edits.finish())
    }
}

/// Puts the value into a `ContentKey`, behind `HDCPData`, and the IV where one belongs to the key.
fn fill_key(
    edits: &mut Edits<'_>,
    element: &Element,
    key: &RequestedKey,
    filled: &Filled,
    value: &str,
    names: &Prefixes,
) {
    let c = element.prefix();
    let (p, declared) = &names.pskc;
    let data = Zeroizing::new(format!(
        "<{c}Data><{p}Secret{declared}>{value}</{p}Secret></{c}Data>"
    ));
    element
        .children(Cpix, "Data")
        .for_each(|old| edits.remove(old));
    for hdcp in element.children(Cpix, "HDCPData") {
        let level = [("HLSHDCPLevel", Some(filled.output.hdcp))];
        edits.set(hdcp, &level, Content::Stays);
        // What it holds is for DASH, in a form that nobody has published.
        let empty = hdcp.all_children().iter();
        let empty = empty.filter(|child| child.text().trim().is_empty());
        empty.for_each(|child| edits.remove(child));
    }
    let uses_iv =
        |system: &ProtectionSystem| system.is_aes128() || *system == ProtectionSystem::FairPlay;
    let has_fixed_iv = matches!(key.scheme, Some(Scheme::Cbcs | Scheme::Cbc1));
    let is_asked = element.attribute("explicitIV").is_some();
    let iv = filled.iv.filter(|_| {
        key.iv.is_none() && (is_asked || has_fixed_iv || key.systems.iter().any(uses_iv))
    });
    let iv = iv.map(|iv| BASE64.encode(iv));
    let attributes: &[_] = match &iv {
        Some(iv) => &[("explicitIV", Some(iv.as_str()))],
        None if is_asked && key.iv.is_none() => &[("explicitIV", None)],
        None => &[],
    };
    edits.set(element, attributes, Content::With(data));
}

/// What players of a system are told of a key. Documents, manifests and playlists all say the same.
pub struct Signalling<'a> {
    /// The system.
    pub system: ProtectionSystem,
    /// The KID.
    pub kid: Kid,
    /// The scheme. Documents of SPEKE 1.0 may have none.
    pub scheme: Option<Scheme>,
    /// The IV that the encoder chose.
    pub iv: Option<[u8; 16]>,
    /// Whether it is only for systems whose players get the key itself.
    pub is_clear: bool,
    /// The key, and what goes with it.
    pub filled: &'a Filled,
    /// Where licences are.
    pub urls: Urls<'a>,
}

/// Fills the elements of a `DRMSystem`, and takes those out that have no meaning for the system.
fn fill_system(edits: &mut Edits<'_>, element: &Element, system: &Signalling<'_>) {
    if element
        .attribute("HLSAllowedCPC")
        .is_some_and(str::is_empty)
    {
        let allowed = match system.system {
            ProtectionSystem::FairPlay => system.filled.output.fairplay,
            _ => None,
        };
        edits.set(element, &[("HLSAllowedCPC", allowed)], Content::Stays);
    }
    for child in element.all_children() {
        let Some(value) = system.value(child) else {
            continue;
        };
        match value {
            Some(value) => {
                let value = Zeroizing::new(BASE64.encode(value));
                let robustness = child
                    .attribute("robustness")
                    .filter(|found| found.is_empty());
                let attributes: &[_] = match robustness {
                    Some(_) => &[("robustness", system.robustness())],
                    None => &[],
                };
                edits.set(child, attributes, Content::Replaced(value));
            }
            None => edits.remove(child),
        }
    }
}

impl Signalling<'_> {
    /// What goes into an element, before base64. `Some(None)`: it has no meaning here. `None`: it is not one of SPEKE's.
    fn value(&self, element: &Element) -> Option<Option<Vec<u8>>> {
        let is = |namespace, name| element.is(namespace, name);
        let text = |text: Option<String>| text.map(String::into_bytes);
        if is(Cpix, "PSSH") {
            Some(self.pssh())
        } else if is(Cpix, "ContentProtectionData") {
            Some(text(self.protection_data()))
        } else if is(Cpix, "HLSSignalingData") {
            let is_media = matches!(element.attribute("playlist"), None | Some("" | "media"));
            Some(text(match is_media {
                true => self.media_tag(),
                false => self.session_tag(),
            }))
        } else if is(Cpix, "SmoothStreamingProtectionHeaderData") || is(Speke, "ProtectionHeader") {
            Some(self.playready_object())
        } else if is(Cpix, "URIExtXKey") {
            Some(text(self.uri()))
        } else if is(Speke, "KeyFormat") {
            let format = match self.system {
                ProtectionSystem::FairPlay => Some("com.apple.streamingkeydelivery"),
                system if system.is_aes128() && self.is_clear => Some("identity"),
                _ => None,
            };
            Some(text(format.map(ToOwned::to_owned)))
        } else if is(Speke, "KeyFormatVersions") {
            Some(self.uri().map(|_| b"1".to_vec()))
        } else {
            None
        }
    }

    /// The PSSH box. `None` for a system that has none.
    pub fn pssh(&self) -> Option<Vec<u8>> {
        let kids = [self.kid];
        let of = |kids: &[Kid], data: &[u8]| {
            let (system_id, kids) = (self.system.system_id(), kids.to_vec());
            Some(
                PsshBox {
                    system_id,
                    kids,
                    data,
                }
                .to_bytes(),
            )
        };
        match self.system {
            ProtectionSystem::Widevine => {
                let scheme = self.scheme;
                let data = WidevineData {
                    scheme,
                    ..WidevineData::of(&kids)
                };
                of(&[], &data.to_bytes())
            }
            ProtectionSystem::PlayReady => of(&[], &self.playready_object()?),
            ProtectionSystem::Common | ProtectionSystem::ClearKey => of(&kids, &[]),
            ProtectionSystem::FairPlay | ProtectionSystem::Aes128 | ProtectionSystem::Aes128V1 => {
                None
            }
        }
    }

    /// The PlayReady Object. `None` for another system.
    pub fn playready_object(&self) -> Option<Vec<u8>> {
        if self.system != ProtectionSystem::PlayReady {
            return None;
        }
        let header = PlayReadyHeader {
            keys: &[(self.kid, &self.filled.key)],
            scheme: self.scheme.unwrap_or(Scheme::Cenc),
            license_url: self.urls.playready,
        };
        header.to_object()
    }

    /// What stands in the element of a manifest ([`ContentProtection::data`]).
    pub fn protection_data(&self) -> Option<String> {
        self.content_protection(false)
    }

    /// The element of a manifest ([`ContentProtection::element`]). `None` for AES-128, which only HLS has.
    pub fn protection_element(&self) -> Option<String> {
        self.content_protection(true)
    }

    fn content_protection(&self, is_element: bool) -> Option<String> {
        let written = |system: &ContentProtection<'_>| match is_element {
            true => system.element(),
            false => system.data(),
        };
        let pssh = &self.pssh().unwrap_or_default();
        let license_url = self.urls.clearkey;
        match self.system {
            ProtectionSystem::Widevine => written(&ContentProtection::Widevine { pssh }),
            ProtectionSystem::PlayReady => {
                let object = &self.playready_object()?;
                written(&ContentProtection::PlayReady { pssh, object })
            }
            ProtectionSystem::FairPlay => written(&ContentProtection::FairPlay),
            ProtectionSystem::Common => written(&ContentProtection::Common { pssh }),
            ProtectionSystem::ClearKey => {
                written(&ContentProtection::ClearKey { license_url, pssh })
            }
            ProtectionSystem::Aes128 | ProtectionSystem::Aes128V1 => None,
        }
    }

    /// The line of a media playlist ([`HlsKey::media_tag`]). `None` for a system that playlists do not name.
    pub fn media_tag(&self) -> Option<String> {
        self.hls(true)
    }

    /// The line of a multivariant playlist ([`HlsKey::session_tag`]).
    pub fn session_tag(&self) -> Option<String> {
        self.hls(false)
    }

    fn hls(&self, is_media: bool) -> Option<String> {
        let tag = |key: &HlsKey<'_>| match is_media {
            true => key.media_tag(),
            false => key.session_tag(),
        };
        // SPEKE 1.0 has no scheme; what HLS plays then is encrypted by samples in CBC.
        let scheme = self.scheme.unwrap_or(Scheme::Cbcs);
        match self.system {
            ProtectionSystem::FairPlay => {
                let uri = &self.filled.fairplay_uri;
                tag(&HlsKey::FairPlay { uri })
            }
            ProtectionSystem::Widevine => {
                let (kid, pssh) = (self.kid, &self.pssh()?);
                tag(&HlsKey::Widevine { kid, scheme, pssh })
            }
            ProtectionSystem::PlayReady => {
                let object = &self.playready_object()?;
                tag(&HlsKey::PlayReady { scheme, object })
            }
            ProtectionSystem::Aes128 | ProtectionSystem::Aes128V1 => {
                let uri = &self.uri()?;
                let iv = self.iv.or(self.filled.iv);
                tag(&HlsKey::Aes128 { uri, iv })
            }
            ProtectionSystem::Common | ProtectionSystem::ClearKey => None,
        }
    }

    /// The URI of the key, for systems whose tags have one of their own.
    fn uri(&self) -> Option<String> {
        match self.system {
            ProtectionSystem::FairPlay => Some(self.filled.fairplay_uri.clone()),
            // Beside another system, which SPEKE 1.0 may ask for, the key does not leave in the clear.
            system if system.is_aes128() && self.is_clear => self.filled.aes128_url.clone(),
            _ => None,
        }
    }

    fn robustness(&self) -> Option<&'static str> {
        match self.system {
            ProtectionSystem::Widevine => self.filled.output.widevine,
            ProtectionSystem::PlayReady => self.filled.output.playready,
            _ => None,
        }
    }
}
