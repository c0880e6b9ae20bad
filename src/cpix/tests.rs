use std::panic::catch_unwind;

use super::*;
use crate::id::Kid;
use crate::platform::Random;
use crate::platform::test_host::TestHost;
use crate::private_key::EncodedKeys;
use crate::track::Track;

use speke::Version;

const KID: &str = "339c45b5-fb6d-4bd9-994c-eabd9d41c95b";
const KEY: &str = "a537cdc0ca65841406d525e7bf22d754";
const ENCRYPTED: [&str; 2] = [
    include_str!("../../fixtures/cpix/encrypted-2.3.xml"),
    include_str!("../../fixtures/cpix/encrypted-2.4.xml"),
];

/// A document with these lists, in prefixes of their own.
fn document(lists: &str) -> String {
    format!(
        r#"<?xml version="1.0"?><a:CPIX xmlns:a="urn:dashif:org:cpix" xmlns:b="urn:ietf:params:xml:ns:keyprov:pskc" contentId="movie">{lists}</a:CPIX>"#
    )
}

/// One with this key.
fn with_key(attributes: &str, secret: &str) -> String {
    document(&format!(
        "<a:ContentKeyList><a:ContentKey {attributes}><a:Data><b:Secret>{secret}</b:Secret></a:Data></a:ContentKey></a:ContentKeyList>"
    ))
}

/// The value and the IV of the first key, in hexadecimal.
fn first(text: &str) -> Result<(String, Option<String>), Error> {
    let document = Document::read(text.as_bytes())?;
    let keys = document.keys()?;
    let key = keys.first().ok_or(Error::NoValue)?;
    let unlocked = match key.is_encrypted() {
        true => Some(unlock(&document, true)?),
        false => None,
    };
    let value = key.value(unlocked.as_ref())?;
    Ok((hex::encode(value.expose()), key.iv()?.map(hex::encode)))
}

fn unlock(document: &Document, has_certificate: bool) -> Result<DocumentKeys, Error> {
    let pem = include_str!("../../fixtures/cpix/recipient.pem");
    let keys = EncodedKeys::read(pem).unwrap().decode(None).unwrap();
    let certificate = include_str!("../../fixtures/cpix/recipient.cer");
    let certificate = crate::encoding::pem(certificate).unwrap().remove(0).der;
    let certificate = has_certificate.then_some(certificate.as_slice());
    let host = TestHost::default();
    document.unlock(keys[0].get().unwrap(), certificate, &mut Random(&host))
}

#[test]
fn a_plain_key_is_read_whatever_prefixes_and_line_breaks_the_document_has() {
    let plain = "<b:PlainValue>\r\n  pTfNwMplhBQG1SXnvyLXVA==\r\n</b:PlainValue>";
    let expected = Ok((KEY.to_owned(), None));
    for attributes in [
        format!(r#"kid="{KID}""#),
        format!(
            r#"kid="{}" commonEncryptionScheme="cbcs""#,
            KID.to_uppercase()
        ),
        format!(r#"kid='{KID}' explicitIV="""#),
    ] {
        assert_eq!(first(&with_key(&attributes, plain)), expected);
    }
    let kid = format!(r#"kid="{KID}""#);
    let text = with_key(&kid, plain);
    for other in [
        format!("\u{feff}{text}\n"),
        text.replace("<b:PlainValue>", "<!-- here --><b:PlainValue>"),
        text.replace("pTfN", "<![CDATA[pTfN]]>"),
        text.replace("pTfN", "&#112;TfN"),
        text.replace("<a:Data>", "<a:HDCPData HLSHDCPLevel='TYPE-0'/><a:Data>"),
        text.replace("a:", "")
            .replace("xmlns:CPIX", "")
            .replace("xmlns:a", "xmlns"),
    ] {
        let other = other
            .replace(r#"xmlns="urn:dashif:org:cpix""#, "")
            .replace("<CPIX ", r#"<CPIX xmlns="urn:dashif:org:cpix" "#);
        assert_eq!(first(&other), expected, "{other}");
    }
    let iv = format!(r#"kid="{KID}" explicitIV="AAECAwQFBgcICQoLDA0ODw==""#);
    let iv = first(&with_key(&iv, plain)).unwrap().1;
    assert_eq!(iv.as_deref(), Some("000102030405060708090a0b0c0d0e0f"));
}

#[test]
fn a_key_that_another_program_encrypted_opens() {
    for text in ENCRYPTED {
        let iv = "000102030405060708090a0b0c0d0e0f".to_owned();
        assert_eq!(first(text), Ok((KEY.to_owned(), Some(iv))));
        let document = Document::read(text.as_bytes()).unwrap();
        assert_eq!(document.content_id(), Some("movie-42"));
        assert!(unlock(&document, false).is_ok());
        let keys = document.keys().unwrap();
        assert_eq!(keys[0].value(None).err(), Some(Error::Encrypted));
        assert_eq!(document.track_of(keys[0].kid), Some(Track::Hd));
    }
}

#[test]
fn an_encrypted_key_is_refused_when_its_protection_is_not_whole() {
    let [text, _] = ENCRYPTED;
    let between = |from: &str, to: &str| {
        let start = text.find(from).unwrap();
        let end = start + text[start..].find(to).unwrap() + to.len();
        text[start..end].to_owned()
    };
    let key = between("<cpix:ContentKeyList>", "</cpix:ContentKeyList>");
    let without_mac = {
        let start = key.find("<pksc:ValueMAC>").unwrap();
        let end = key.find("</pksc:ValueMAC>").unwrap() + "</pksc:ValueMAC>".len();
        text.replace(&key, &format!("{}{}", &key[..start], &key[end..]))
    };
    let method = between("<cpix:MACMethod", "</cpix:MACMethod>");
    let algorithm = |reason| Error::At("EncryptionMethod@Algorithm", reason);
    for (changed, error) in [
        (without_mac, Error::Mac),
        (
            text.replace(&method, ""),
            Error::At("MACMethod", "it is missing"),
        ),
        (
            text.replace("xmldsig-more#hmac-sha512", "xmldsig-more#hmac-sha256"),
            Error::At("MACMethod@Algorithm", "only HMAC-SHA-512 is read here"),
        ),
        (
            text.replace("aes256-cbc", "aes128-cbc"),
            algorithm("only AES-256-CBC is read here"),
        ),
        (
            text.replace("rsa-oaep-mgf1p", "rsa-1_5"),
            algorithm("only RSA-OAEP with SHA-1 is read here"),
        ),
        (text.replace("MIICqzCC", "MIICqzCD"), Error::NotForUs),
        (
            text.replace("cpix:DeliveryData ", "cpix:Other ")
                .replace("cpix:DeliveryData>", "cpix:Other>"),
            Error::NotForUs,
        ),
        (
            text.replace(r#"xmlns:enc="http://www.w3.org/2001/04/xmlenc#""#, ""),
            algorithm("only RSA-OAEP with SHA-1 is read here"),
        ),
    ] {
        assert_ne!(changed, text);
        assert_eq!(first(&changed), Err(error));
    }
}

#[test]
fn what_is_no_document_with_keys_is_refused() {
    let kid = format!(r#"kid="{KID}""#);
    let plain = "<b:PlainValue>pTfNwMplhBQG1SXnvyLXVA==</b:PlainValue>";
    let good = with_key(&kid, plain);
    let keys = |count: u128| {
        let keys =
            (0..count).map(|number| format!(r#"<a:ContentKey kid="{}"/>"#, Kid::from_u128(number)));
        document(&format!(
            "<a:ContentKeyList>{}</a:ContentKeyList>",
            keys.collect::<String>()
        ))
    };
    let nested = |depth: usize| {
        document(&format!(
            "{}{}",
            "<a:x>".repeat(depth),
            "</a:x>".repeat(depth)
        ))
    };
    let attributes: String = (0..65).map(|number| format!(" a{number}='1'")).collect();
    for (text, error) in [
        (String::new(), Error::Xml),
        ("garbage".to_owned(), Error::Xml),
        ("{}".to_owned(), Error::Xml),
        (
            "<!doctype html><title>Sign in</title>".to_owned(),
            Error::DocumentType,
        ),
        (
            format!("<!DOCTYPE x [<!ENTITY e \"pTfN\">]>{good}"),
            Error::DocumentType,
        ),
        (good.replace("pTfN", "&e;"), Error::DocumentType),
        (good.replace(KID, "&e;"), Error::DocumentType),
        (format!("{good}{good}"), Error::Xml),
        (format!("{good}more"), Error::Xml),
        (good.replace("</a:CPIX>", ""), Error::Xml),
        (
            good.replace("a:Data", "a:Date")
                .replacen("a:Date", "a:Data", 1),
            Error::Xml,
        ),
        (
            good.replace("urn:dashif:org:cpix", "urn:other"),
            Error::Root,
        ),
        ("<CPIX/>".to_owned(), Error::Root),
        (
            good.replace(KID, "movie"),
            Error::At("ContentKey@kid", "it is not a GUID"),
        ),
        (
            with_key("", plain),
            Error::At("ContentKey@kid", "it is not a GUID"),
        ),
        (good.replace("kid=", "kid='1' kid="), Error::Xml),
        (good.replace("kid=", "x='1'kid="), Error::Xml),
        (good.replace("kid=", "x=\"'\":y='1' kid="), Error::Xml),
        (good.replace("kid=", ":x='1' kid="), Error::Xml),
        (good.replace("kid=", "a:x:y='1' kid="), Error::Xml),
        (good.replace("kid=", "\u{d7}='1' kid="), Error::Xml),
        (with_key(&kid, ""), Error::NoValue),
        (
            with_key(&kid, "<b:PlainValue/>"),
            Error::At("PlainValue", "it is not 16 bytes in base64"),
        ),
        (
            good.replace("pTfN", "AAAApTfN"),
            Error::At("PlainValue", "it is not 16 bytes in base64"),
        ),
        (
            with_key(&format!("{kid} explicitIV='AAEC'"), plain),
            Error::At("ContentKey@explicitIV", "it is not 16 bytes in base64"),
        ),
        (
            with_key(&kid, "<PlainValue>pTfNwMplhBQG1SXnvyLXVA==</PlainValue>"),
            Error::NoValue,
        ),
        (with_key(&kid, "<b:EncryptedValue/>"), Error::NotForUs),
        (keys(65), Error::TooManyKeys),
        (
            document(&format!(
                "<a:ContentKeyList><a:ContentKey {kid}/><a:ContentKey {kid}/></a:ContentKeyList>"
            )),
            Error::SameKid,
        ),
        (nested(16), Error::TooDeep),
        (
            with_key(&format!("{kid}{attributes}"), plain),
            Error::Attributes,
        ),
        (
            good.replace("movie", &"x".repeat(MAX_DOCUMENT)),
            Error::TooLarge,
        ),
    ] {
        assert_eq!(first(&text).err(), Some(error), "{text:.300}");
    }
    assert_eq!(Document::read(b"\xff\xfe<").err(), Some(Error::Encoding));
    assert!(Document::read(nested(15).as_bytes()).is_ok());
    assert_eq!(
        Document::read(keys(64).as_bytes())
            .unwrap()
            .keys()
            .unwrap()
            .len(),
        64
    );
    assert!(
        Document::read(document("").as_bytes())
            .unwrap()
            .keys()
            .unwrap()
            .is_empty()
    );
}

#[test]
fn the_rules_of_a_document_say_which_track_a_key_is_for() {
    let track = |rules: &[&str]| {
        let rules = rules
            .iter()
            .map(|types| format!(r#"<a:ContentKeyUsageRule kid="{KID}" {types}/>"#));
        let other = r#"<a:ContentKeyUsageRule kid="00000000-0000-0000-0000-000000000001" intendedTrackType="SD"/>"#;
        let text = document(&format!(
            "<a:ContentKeyUsageRuleList>{other}{}</a:ContentKeyUsageRuleList>",
            rules.collect::<String>()
        ));
        let document = Document::read(text.as_bytes()).unwrap();
        document.track_of(Kid::from_text(KID).unwrap())
    };
    use Track::*;
    for (rules, expected) in [
        (&[][..], None),
        (&[r#"intendedTrackType="AUDIO""#], Some(Audio)),
        (
            &[r#"intendedTrackType="MULTICHANNEL_AUDIO_3_6""#],
            Some(Audio),
        ),
        (&[r#"intendedTrackType="SD""#], Some(Sd)),
        (&[r#"intendedTrackType="SD+HD1""#], Some(Hd)),
        (
            &[r#"intendedTrackType="HD1""#, r#"intendedTrackType="HD2""#],
            Some(Hd),
        ),
        (&[r#"intendedTrackType="UHD2""#], Some(Uhd)),
        (
            &[r#"intendedTrackType="HD""#, r#"intendedTrackType="UHD""#],
            None,
        ),
        (&[r#"intendedTrackType="HD""#, ""], None),
        (&[r#"intendedTrackType="VIDEO""#], None),
        (&[r#"intendedTrackType="ALL""#], None),
        (&[""], None),
    ] {
        assert_eq!(track(rules), expected, "{rules:?}");
    }
}

fn blank<'a>(
    content_id: &'a str,
    keys: &'a [BlankKey<'a>],
    certificate: Option<&'a [u8]>,
) -> BlankDocument<'a> {
    BlankDocument {
        content_id,
        version: Version::V2_0,
        scheme: Scheme::Cbcs,
        keys,
        systems: &[ProtectionSystem::FairPlay],
        certificate,
    }
}

/// What a document answers is of no interest here: only that it does.
#[test]
fn no_document_that_is_cut_or_changed_makes_the_reader_panic() {
    let plain = with_key(
        &format!(r#"kid="{KID}""#),
        "<b:PlainValue>pTfNwMplhBQG1SXnvyLXVA==</b:PlainValue>",
    );
    let keys = [BlankKey {
        kid: Kid::from_u128(1),
        track_type: "ALL",
    }];
    let request = blank("movie & more", &keys, Some(&[0x30, 0][..]));
    let read = |bytes: &[u8]| {
        let Ok(document) = Document::read(bytes) else {
            return;
        };
        for key in document.keys().into_iter().flatten() {
            let _ = (key.iv(), key.is_encrypted(), document.track_of(key.kid));
            let _ = key.value(None).map(drop);
        }
    };
    let [aws, pskc] = ENCRYPTED;
    for text in [plain.as_str(), &request.to_xml().unwrap(), aws, pskc] {
        let bytes = text.as_bytes();
        for index in 0..bytes.len() {
            let result = catch_unwind(|| {
                read(&bytes[..index]);
                for bit in [1, 0x20, 0x80] {
                    let mut changed = bytes.to_vec();
                    changed[index] ^= bit;
                    read(&changed);
                }
                for character in *b"<>&\"'/ \0" {
                    let mut changed = bytes.to_vec();
                    changed[index] = character;
                    read(&changed);
                }
            });
            assert!(result.is_ok(), "{index} of {text}");
        }
    }
}

#[test]
fn a_request_names_key_content_and_recipient() {
    let kid = Kid::from_text(KID).unwrap();
    let keys = [BlankKey {
        kid,
        track_type: "ALL",
    }];
    let request = blank("a<\"&'é", &keys, Some(&[0x30, 0][..]));
    let text = request.to_xml().unwrap();
    let document = Document::read(text.as_bytes()).unwrap();
    assert_eq!(document.content_id(), Some("a<\"&'é"));
    let keys = document.keys().unwrap();
    assert_eq!((keys.len(), keys[0].kid), (1, kid));
    assert_eq!(keys[0].value(None).err(), Some(Error::NoValue));
    assert_eq!(document.track_of(kid), None);
    for part in [
        r#"version="2.3""#,
        r#"commonEncryptionScheme="cbcs""#,
        r#"systemId="94ce86fb-07ff-4f43-adb8-93d2fa968ca2""#,
        r#"intendedTrackType="ALL"><cpix:VideoFilter/><cpix:AudioFilter/>"#,
        "<ds:X509Certificate>MAA=</ds:X509Certificate>",
    ] {
        assert!(text.contains(part), "{part}");
    }
    for content_id in ["", "a\nb", "a\u{1}", "a\u{ffff}"] {
        let request = BlankDocument {
            content_id,
            certificate: None,
            ..request
        };
        assert!(request.to_xml().is_none(), "{content_id:?}");
    }
}
