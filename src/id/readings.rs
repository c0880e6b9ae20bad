//! Other readings of an asset id: what services, packagers and players write around the id of a key.
//!
//! | asset id, without `skd://` | who writes it | reading |
//! |---|---|---|
//! | `<KID>`, with dashes or without | most | the KID itself: no other reading |
//! | `<KID>:<IV>` | Axinom | the KID |
//! | `fps.ezdrm.com/;<KID>` | EZDRM | the KID |
//! | `<account>.keydelivery.<region>.media.azure.net/FairPlay/?kid=<KID>` | Azure Media Services | the KID |
//! | `drmtoday?assetId=<id>&variantId=<id>&keyId=<KID>` | `DRMtoday` | the KID |
//! | `<host>?contentId=<id>&keyId=<KID>` | Irdeto | the KID |
//! | `<KID>/…`, `…/<KID>` | services that put it into a path | the KID |
//! | `<KID in base64>` | Shaka Packager, where no URI is given (`packager/hls/base/media_playlist.cc`) | the KID |
//! | `<base64 of {"ContentId", "KeyId": KID, "IV"}>` | AWS Elemental `MediaPackage` | the KID |
//! | `<base64>?…`, `<base64>` | Conax, Nagra | the base64 without the query, then what it holds |
//! | `<host>/license/<id>` | VUDRM | the id |
//! | a length of 4 bytes, and the id | initialisation data of legacy EME | the id |
//! | any of these, percent-encoded | players | the id without it |
//!
//! `<id>?cek=<key>` has the content key itself (Bento4's tests). It is never read: the id is what it is as a whole.

use std::borrow::Cow;

use zeroize::Zeroizing;

use super::{Id, Kid};
use crate::encoding;

/// How many readings lead one to another. Each is shorter than the last one; none that exists in the field has more
/// than four.
const LONGEST_CHAIN: usize = 8;

/// The least base64 that is read as text, in characters. Shorter words are base64 by accident.
const LEAST_BASE64: usize = 8;

impl Id {
    /// Its other readings, in the order in which they are tried; a KID as its digits. Every reading of a reading is in
    /// the list, too.
    pub(crate) fn readings(&self) -> Vec<Self> {
        let mut readings = Vec::new();
        let mut add = |reading: &Self| {
            if reading != self && !readings.contains(reading) {
                readings.push(reading.clone());
            }
        };
        let mut current = Cow::Borrowed(self);
        for _ in 0..LONGEST_CHAIN {
            let kid = current.embedded_kid();
            if let Some(kid) = kid {
                let [digits, _] = Self::from_kid(kid);
                add(&digits);
            }
            let spelled = current
                .behind_length()
                .or_else(|| current.percent_decoded());
            // Where there is a KID, it is the reference, and not the text around it.
            let next = match kid {
                None => spelled.or_else(|| current.inner()),
                Some(_) => spelled,
            };
            let Some(next) = next else { break };
            add(&next);
            current = Cow::Owned(next);
        }
        readings
    }

    /// The KID that it has beside other text, or whose 16 bytes it is where they are not text.
    pub fn embedded_kid(&self) -> Option<Kid> {
        let Ok(text) = std::str::from_utf8(&self.0) else {
            return Some(Kid::from_bytes(self.0.as_slice().try_into().ok()?));
        };
        if self.is_kid() {
            return None;
        }
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        let is_kid = |name: &str| ["kid", "keyid"].contains(&name.to_ascii_lowercase().as_str());
        let in_query = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| is_kid(name));
        let behind = |text, separator| str::rsplit_once(text, separator).map(|(_, last)| last);
        let first_segment = path.split_once('/').map_or(path, |(first, _)| first);
        let last_segment = behind(path, '/').unwrap_or(path);
        [
            in_query.map(|(_, kid)| kid),
            behind(text, ';').map(Cow::Borrowed),
            behind(path, ';').map(Cow::Borrowed),
            Some(Cow::Borrowed(first_segment)),
            Some(Cow::Borrowed(last_segment)),
        ]
        .into_iter()
        .flatten()
        .find_map(|kid| Kid::from_text(before_iv(&kid)))
        .or_else(|| kid_in_base64(path))
    }

    /// The id behind its own length, as initialisation data has it: 4 bytes in either order that count bytes or UTF-16
    /// units, then the id. `None` when this is not that.
    fn behind_length(&self) -> Option<Self> {
        let (length, id) = self.0.split_first_chunk::<4>()?;
        let counts = [u32::from_le_bytes(*length), u32::from_be_bytes(*length)];
        let size = u32::try_from(id.len()).ok()?;
        let fits = |count: u32| count > 0 && (count == size || count.checked_mul(2) == Some(size));
        counts.into_iter().any(fits).then(|| Self::from_bytes(id))
    }

    /// The id without the percent-encoding of its text. `None` when nothing in it is encoded so.
    fn percent_decoded(&self) -> Option<Self> {
        encoding::percent_decoded(&self.0).map(|decoded| Self::from_bytes(&decoded))
    }

    /// The id of a key in an id that has no KID.
    fn inner(&self) -> Option<Self> {
        let text = std::str::from_utf8(&self.0).ok()?;
        let path = text.split_once('?').map_or(text, |(path, _)| path);
        let inner = match path.split_once("/license/") {
            Some((host, id)) if host.contains('.') && !host.contains('/') => {
                Self::from_bytes(id.as_bytes())
            }
            _ => {
                let held = held_by_base64(path)?;
                match path.len() < text.len() {
                    true => Self::from_bytes(path.as_bytes()),
                    false => Self::from_bytes(&held),
                }
            }
        };
        (!inner.0.is_empty()).then_some(inner)
    }
}

/// A reference without the IV behind it.
fn before_iv(text: &str) -> &str {
    match text.split_once(':') {
        Some((kid, iv)) if Kid::from_text(iv).is_some() => kid,
        _ => text,
    }
}

/// The KID that base64 holds: as its 16 bytes, or as a member of JSON.
fn kid_in_base64(text: &str) -> Option<Kid> {
    // 16 bytes have 22 characters, and 24 with padding. `{` and what may follow it in JSON begin so.
    let is_sixteen = matches!(text.len(), 22 | 24);
    let is_json = ["ey", "ew"].iter().any(|start| text.starts_with(start));
    if !is_sixteen && !is_json {
        return None;
    }
    let bytes = encoding::base64(text)?;
    if is_sixteen && let Ok(bytes) = bytes.as_slice().try_into() {
        return Some(Kid::from_bytes(bytes));
    }
    let members = encoding::json_object(&bytes).ok()?;
    let mut members = members.iter();
    let (_, kid) = members.find(|(name, _)| name.eq_ignore_ascii_case("KeyId"))?;
    kid.as_str().and_then(Kid::from_text)
}

/// What base64 holds: ASCII, or where the padding shows that it is base64, any bytes, each as a character, which is how
/// Conax's players widen them. `None` for what may be a word that is base64 by accident.
fn held_by_base64(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    if text.len() < LEAST_BASE64 {
        return None;
    }
    let held = encoding::base64(text)?;
    if held.iter().all(u8::is_ascii_graphic) {
        return Some(held);
    }
    let is_padded = text.ends_with('=') && text.len().is_multiple_of(4);
    let widened = held.iter().flat_map(|byte| [*byte, 0]);
    is_padded.then(|| Zeroizing::new(widened.collect()))
}

#[cfg(test)]
mod tests {
    use base64::Engine;

    use super::*;
    use crate::content_key::KeyQuery;
    use crate::encoding::{BASE64, BASE64_URL};

    const KID: &str = "339c45b5-fb6d-4bd9-994c-eabd9d41c95b";

    fn utf16(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    fn with_length(length: usize, id: &[u8], big_endian: bool) -> Vec<u8> {
        let length = u32::try_from(length).unwrap();
        let length = match big_endian {
            true => length.to_be_bytes(),
            false => length.to_le_bytes(),
        };
        [&length, id].concat()
    }

    fn percent_encoded(text: &str) -> String {
        form_urlencoded::byte_serialize(text.as_bytes()).collect()
    }

    /// A reference as players have it: with and without its scheme, in UTF-8 and UTF-16, behind a length, encoded.
    fn spellings(reference: &str) -> Vec<Vec<u8>> {
        let mut spellings = Vec::new();
        for text in [
            reference.to_owned(),
            format!("skd://{reference}"),
            format!("SDK://{reference}\0"),
            percent_encoded(&format!("skd://{reference}")),
            format!("skd://{}", percent_encoded(reference)),
            percent_encoded(&percent_encoded(reference)),
        ] {
            let wide = utf16(&text);
            for big_endian in [false, true] {
                spellings.push(with_length(text.len(), text.as_bytes(), big_endian));
                spellings.push(with_length(wide.len(), &wide, big_endian));
                spellings.push(with_length(wide.len() / 2, &wide, big_endian));
            }
            spellings.extend([text.into_bytes(), wide]);
        }
        spellings
    }

    #[test]
    fn a_kid_is_found_in_every_form_and_spelling() {
        let kid = Kid::from_text(KID).unwrap();
        let digits = KID.replace('-', "");
        let json =
            format!(r#"{{"ContentId":"101","KeyId":"{KID}","IV":"M5xFtfttS9mZTOq9nUHJWw=="}}"#);
        let spaced = format!("{{\n  \"KeyId\": \"{digits}\"\n}}");
        let with_slash = format!(r#"{{"ContentId":"??>?","KeyId":"{KID}"}}"#);
        assert!(BASE64.encode(&with_slash).contains('/'));
        let mut forms = vec![
            KID.to_owned(),
            digits.clone(),
            KID.to_uppercase(),
            format!("{{{KID}}}"),
            format!("{KID}:24242424242424242424242424242424"),
            format!("fps.ezdrm.com/;{KID}"),
            format!(
                "a.keydelivery.b.media.azure.net/FairPlay/?kid={}",
                KID.to_uppercase()
            ),
            format!("drmtoday?assetId=a&variantId=b&keyId={digits}&keyRotationId=1"),
            format!("irdeto.example?contentId=a&keyId={KID}"),
            format!("{KID}/hd"),
            format!("{KID}?quality=hd"),
            format!("host.example/key/{digits}"),
            format!("host.example/key/{KID}:24242424242424242424242424242424?x=y"),
            format!("fairplay-license.vudrm.tech/license/{KID}"),
        ];
        for bytes in [
            kid.as_bytes().as_slice(),
            json.as_bytes(),
            spaced.as_bytes(),
            with_slash.as_bytes(),
        ] {
            let padded = BASE64.encode(bytes);
            forms.push(format!("{padded}?rotation=1"));
            forms.push(padded.trim_end_matches('=').to_owned());
            forms.push(padded);
            forms.push(BASE64_URL.encode(bytes));
        }
        let [expected, bytes] = Id::from_kid(kid);
        for form in &forms {
            for spelling in spellings(form) {
                let query = KeyQuery::from_id(Id::from_bytes(&spelling));
                assert_eq!(query.index_name(), expected, "{form} {}", query.id());
            }
        }
        assert_eq!(KeyQuery::from_id(bytes).index_name(), expected);
        let behind_length = Id::from_bytes(&with_length(16, kid.as_bytes(), false));
        assert_eq!(KeyQuery::from_id(behind_length).index_name(), expected);
    }

    #[test]
    fn an_id_without_a_kid_is_found_in_every_form_and_spelling() {
        let binary = [0x93, 0x00, 0x12, 0xff, 0x7e, 0x01, 0xe0];
        let widened: Vec<u8> = binary.iter().flat_map(|byte| [*byte, 0]).collect();
        for (form, expected) in [
            ("movie-42".to_owned(), b"movie-42".to_vec()),
            ("twelve".to_owned(), b"twelve".to_vec()),
            ("key/SD".to_owned(), b"key/SD".to_vec()),
            (
                "itunes.apple.com/p1/c1".to_owned(),
                b"itunes.apple.com/p1/c1".to_vec(),
            ),
            (
                "fairplay-license.vudrm.tech/license/movie-42".to_owned(),
                b"movie-42".to_vec(),
            ),
            ("drm.example/license/a/b?x=y".to_owned(), b"a/b".to_vec()),
            (BASE64.encode("content-1"), b"content-1".to_vec()),
            (
                format!("{}?a=b", BASE64.encode("content-1")),
                b"content-1".to_vec(),
            ),
            (format!("{}?a=b", BASE64.encode(binary)), widened.clone()),
            (BASE64.encode(binary), widened),
            (
                "one?cek=339c45b5fb6d4bd9994ceabd9d41c95b&iv=24242424242424242424242424242424"
                    .to_owned(),
                b"one?cek=339c45b5fb6d4bd9994ceabd9d41c95b&iv=24242424242424242424242424242424"
                    .to_vec(),
            ),
            (
                "drmtoday?assetId=a&variantId=b".to_owned(),
                b"drmtoday?assetId=a&variantId=b".to_vec(),
            ),
        ] {
            let expected = Id::from_bytes(&expected);
            for spelling in spellings(&form) {
                let query = KeyQuery::from_id(Id::from_bytes(&spelling));
                assert_eq!(query.index_name(), expected, "{form} {}", query.id());
            }
            let whole = Id::from_bytes(form.as_bytes());
            assert_eq!(
                KeyQuery::from_id(whole.clone()).names().next(),
                Some(&whole)
            );
        }
    }

    #[test]
    fn words_that_are_base64_by_accident_and_halves_of_forms_have_no_other_reading() {
        for text in [
            "movie",
            "movie-42",
            "drmtoday",
            "drmtoday?assetId=a",
            "channel1",
            "Movies/2024/Content1?variant=hd",
            "one?cek=339c45b5fb6d4bd9994ceabd9d41c95b",
            "339c45b5fb6d4bd9994ceabd9d41c95b",
            "339c45b5fb6d4bd9994ceabd9d41c95b:443",
            "a;b",
            "a?kid=b",
            "M5xFtfttS9mZTOq9nUHJW",
            "M5xFtfttS9mZTOq9nUHJWwAA",
            "license/movie-42",
            "a/b.c/license/movie-42",
            "drm.example/license/",
            "drm.example/license/?kid=a",
        ] {
            assert_eq!(Id::from_bytes(text.as_bytes()).readings(), [], "{text}");
        }
    }

    #[test]
    fn every_reading_has_the_index_name_of_the_id() {
        let pieces = [
            "skd://",
            "movie",
            "%2F",
            "/",
            "?",
            "kid=",
            KID,
            ";",
            ":",
            "=",
            "drm.example",
            "/license/",
            "%25",
            "Y29udGVudC0x",
            "M5xFtfttS9mZTOq9nUHJWw==",
            "cek=",
            "eyJLZXlJZCI6Im5vcGUifQ==",
            "\0",
        ];
        let mut state = 7_u64;
        let mut next = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            usize::try_from((state >> 33) % below).unwrap()
        };
        let mut with_readings = 0;
        for _ in 0..20_000 {
            let text: String = (0..=next(5)).map(|_| pieces[next(18)]).collect();
            let query = KeyQuery::from_id(Id::from_bytes(text.as_bytes()));
            let name = query.index_name();
            let names: Vec<&Id> = query.names().collect();
            let [first, others @ ..] = names.as_slice() else {
                panic!()
            };
            assert!(!others.contains(first), "{text}");
            with_readings += usize::from(!others.is_empty());
            // The name stands for itself, so what was stored under it is found under it.
            assert_eq!(KeyQuery::from_id(name.clone()).index_name(), name, "{text}");
            let is_of_one_kid = others.iter().filter(|name| name.is_kid()).count() < 2;
            for other in others.iter().filter(|_| is_of_one_kid) {
                assert_eq!(
                    KeyQuery::from_id((*other).clone()).index_name(),
                    name,
                    "{text} {other}"
                );
            }
        }
        assert!(with_readings > 5_000, "{with_readings}");
    }
}
