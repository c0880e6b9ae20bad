//! What a reply leaves as it came.

use rand_core::{TryCryptoRng, TryRng};

use super::*;
use crate::cpix::ProtectionSystem;
use crate::cpix::xml::{self, Element};
use crate::secret::Key128;

/// Numbers that do not differ.
struct Constant;

impl TryRng for Constant {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(7)
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(7)
    }

    fn try_fill_bytes(&mut self, buffer: &mut [u8]) -> Result<(), Self::Error> {
        buffer.fill(7);
        Ok(())
    }
}

impl TryCryptoRng for Constant {}

const DOCUMENTS: [(&str, Version); 3] = [
    (
        include_str!("../../../fixtures/packaging/speke-1.0.xml"),
        Version::V1_0,
    ),
    (
        include_str!("../../../fixtures/packaging/speke-2.0.xml"),
        Version::V2_0,
    ),
    (
        include_str!("../../../fixtures/packaging/speke-2.1.xml"),
        Version::V2_1,
    ),
];

fn answered(text: &str, version: Version) -> String {
    let request = Request::read(text.as_bytes(), version).unwrap();
    let filled = request.keys().iter().map(|key| Filled {
        key: Key128::from(*key.kid.as_bytes()),
        iv: Some([9; 16]),
        fairplay_uri: format!("skd://{}", key.kid),
        aes128_url: Some(format!("https://k.example/aes128/{}", key.kid)),
        output: Output::default(),
    });
    let filled: Vec<Filled> = filled.collect();
    let urls = Urls::default();
    request
        .answer(&filled, urls, &mut Constant)
        .unwrap()
        .to_string()
}

/// Whether an element of a reply is that of the request, but for what is put in and what is taken out.
fn assert_filled(request: &Element, reply: &Element) {
    const FILLED: [&str; 4] = ["explicitIV", "robustness", "HLSHDCPLevel", "HLSAllowedCPC"];
    const NEW: [&str; 3] = ["Data", "DocumentKey", "MACMethod"];
    const REMOVABLE: [&str; 8] = [
        "PSSH",
        "ContentProtectionData",
        "HLSSignalingData",
        "SmoothStreamingProtectionHeaderData",
        "URIExtXKey",
        "KeyFormat",
        "KeyFormatVersions",
        "ProtectionHeader",
    ];
    let local = |element: &Element| element.name().rsplit(':').next().unwrap().to_owned();
    assert_eq!(request.name(), reply.name());
    let kept = |element: &Element| -> Vec<(String, String)> {
        let attributes = element.attributes().iter();
        let attributes = attributes.filter(|(name, _)| !FILLED.contains(&name.as_str()));
        attributes.cloned().collect()
    };
    assert_eq!(kept(request), kept(reply), "{}", reply.name());
    let mut old = request.all_children().iter();
    for child in reply.all_children() {
        if NEW.contains(&local(child).as_str()) {
            continue;
        }
        let same = old.find(|old| {
            let is_same = old.name() == child.name() && kept(old) == kept(child);
            assert!(
                is_same || REMOVABLE.contains(&local(old).as_str()),
                "{}",
                old.name()
            );
            is_same
        });
        assert_filled(
            same.unwrap_or_else(|| panic!("{} is new", child.name())),
            child,
        );
    }
    for rest in old {
        assert!(
            REMOVABLE.contains(&local(rest).as_str()),
            "{} is gone",
            rest.name()
        );
    }
}

#[test]
fn a_reply_is_the_request_but_for_what_is_put_in() {
    for (text, version) in DOCUMENTS {
        let in_other_words = [
            text.to_owned(),
            text.replace('\n', "\r\n"),
            text.replace("cpix:", "a:").replace("xmlns:cpix", "xmlns:a"),
            text.replace("pskc", "pksc"),
            text.replace("<cpix:", "<")
                .replace("</cpix:", "</")
                .replace("xmlns:cpix", "xmlns"),
            text.replace(r#" xmlns:pskc="urn:ietf:params:xml:ns:keyprov:pskc""#, ""),
        ];
        for text in in_other_words {
            let reply = answered(&text, version);
            let [before, after] = [&text, &reply].map(|text| xml::read(text.as_bytes()).unwrap());
            assert_filled(&before, &after);
            let document = crate::cpix::Document::read(reply.as_bytes()).unwrap();
            for key in document.keys().unwrap() {
                assert_eq!(key.value(None).unwrap().expose(), key.kid.as_bytes());
            }
            // Comments and what stands between elements are no less.
            assert_eq!(
                text.contains("as an encoder"),
                reply.contains("as an encoder")
            );
            // A reply that is sent back as a request is filled again.
            assert_eq!(answered(&reply, version), reply);
        }
    }
}

#[test]
fn what_was_signed_or_filled_before_is_put_right() {
    let (text, version) = DOCUMENTS[1];
    let signature = r#"<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:SignedInfo/></ds:Signature></cpix:CPIX>"#;
    let signed = text.replace("</cpix:CPIX>", signature);
    assert_eq!(answered(&signed, version), answered(text, version));
    let old = text.replace("<cpix:PSSH/>", "<cpix:PSSH>b2xk</cpix:PSSH>");
    assert_ne!(old, text);
    assert_eq!(answered(&old, version), answered(text, version));
}

#[test]
fn aes128_has_its_url_alone_and_in_another_version_the_other_id() {
    let of = |id: &str, text: &str| {
        let mut text = text.to_owned();
        for system in ProtectionSystem::ALL {
            text = text.replace(&system.system_id().to_string(), id);
        }
        text.replace("cbcs", "cbc1")
    };
    let (text, version) = DOCUMENTS[1];
    let only = of("3ea8778f-7742-4bf9-b18b-e834b2acbd47", text);
    // One system a key.
    let reply = answered(&only, version);
    let tag = r#"#EXT-X-KEY:METHOD=AES-128,URI="https://k.example/aes128/98ee5596-cd3e-a20d-163a-e382420c6eff""#;
    use base64::Engine;
    let tag = crate::encoding::BASE64.encode(tag);
    // Base64 of a prefix is a prefix but for its last group.
    assert!(reply.contains(&tag[..tag.len() - 4]), "{reply}");
    let (text, version) = DOCUMENTS[0];
    let only = of("81376844-f976-481e-a84e-cc25d39b0b33", text);
    let reply = answered(&only, version);
    let uri = "https://k.example/aes128/98ee5596-cd3e-a20d-163a-e382420c6eff";
    assert!(
        reply.contains(&crate::encoding::BASE64.encode(uri)),
        "{reply}"
    );
    assert!(reply.contains(&crate::encoding::BASE64.encode("identity")));
    // Beside other systems the key does not leave in the clear.
    assert!(!answered(text, version).contains(&crate::encoding::BASE64.encode(uri)));
    let mixed = DOCUMENTS[1].0.replacen(
        "94ce86fb-07ff-4f43-adb8-93d2fa968ca2",
        "3ea8778f-7742-4bf9-b18b-e834b2acbd47",
        1,
    );
    let mixed = Request::read(mixed.replace("cbcs", "cbc1").as_bytes(), Version::V2_0);
    assert!(mixed.is_err());
}
