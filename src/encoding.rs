//! Tolerant readers for what people paste into variables and players put on the wire:
//! base64, hex, PEM, and JSON that must not repeat a member.

mod json;
mod json_error;
mod text;
mod value;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use der::{Decode, Reader};
use serde_json::Value;
use zeroize::Zeroizing;

pub use json::{from_json, from_value, json, json_list, json_object, members};
pub use json_error::{JsonError, JsonErrorKind, PathStep, TextErrorKind};
pub use text::{is_obeyed, json_line, percent_decoded, percent_encoded, single_bytes, text, utf16};

/// Base64 (RFC 4648 section 4) as this server writes it: padded.
pub use base64::engine::general_purpose::STANDARD as BASE64;
/// Base64 in the URL-safe alphabet, unpadded, as JOSE has it (RFC 7515 section 2).
pub use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64_URL;

const TOLERANT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Decodes base64 in the standard or the URL-safe alphabet (RFC 4648 sections 4 and 5), padded or
/// not, with white space anywhere. `None` when it is not that.
pub fn base64(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let decode = |text: &[u8]| {
        let mut bytes = Zeroizing::new(vec![0; base64::decoded_len_estimate(text.len())]);
        let length = TOLERANT.decode_slice(text, &mut bytes).ok()?;
        bytes.truncate(length);
        Some(bytes)
    };
    // Certificates, keys and SPCs on one line are in the standard alphabet and have no white space.
    decode(text.as_bytes()).or_else(|| {
        let mut compact = Zeroizing::new(Vec::with_capacity(text.len()));
        compact.extend(text.bytes().filter_map(|byte| match byte {
            b'-' => Some(b'+'),
            b'_' => Some(b'/'),
            other => (!other.is_ascii_whitespace()).then_some(other),
        }));
        decode(&compact)
    })
}

/// Decodes hexadecimal text of either case, with or without `0x`. `None` when it is not that.
pub fn hex(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let text = text.trim();
    let digits = text
        .strip_prefix("0x")
        .or_else(|| text.strip_prefix("0X"))
        .unwrap_or(text);
    hex::decode(digits).ok().map(Zeroizing::new)
}

/// Decodes exactly `N` bytes from hex or base64, in quotes or not. Hex is tried first: 32 hex digits are base64 too.
/// There may be spaces, colons and dashes between its digits.
pub fn fixed<const N: usize>(text: &str) -> Option<[u8; N]> {
    let decode = |bytes: Option<Zeroizing<Vec<u8>>>| <[u8; N]>::try_from(bytes?.as_slice()).ok();
    let text = unquoted(text);
    decode(hex(text))
        .or_else(|| decode(base64(text)))
        .or_else(|| decode(hex(&without_separators(text))))
}

/// Text without the white space and the pair of quotes around it.
pub fn unquoted(text: &str) -> &str {
    let text = text.trim();
    ['"', '\'']
        .into_iter()
        .find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))
        .unwrap_or(text)
}

/// Hexadecimal text without what stands between its digits: white space, colons, dashes.
pub fn without_separators(text: &str) -> Zeroizing<String> {
    let is_separator = |c: &char| c.is_whitespace() || [':', '-'].contains(c);
    let mut digits = Zeroizing::new(String::with_capacity(text.len()));
    digits.extend(text.chars().filter(|c| !is_separator(c)));
    digits
}

/// One PEM block (RFC 7468).
pub struct Pem {
    /// What stands after `BEGIN`, such as `PRIVATE KEY`.
    pub label: String,
    /// The whole body, where it begins with the encapsulated headers of the older form (RFC 1421),
    /// such as `DEK-Info`.
    pub with_headers: Option<Zeroizing<String>>,
    /// The decoded content; empty when it has headers.
    pub der: Zeroizing<Vec<u8>>,
}

impl Pem {
    /// Whether it is an X.509 certificate, by its label or an older one (RFC 7468 section 5.1).
    pub fn is_certificate(&self) -> bool {
        ["CERTIFICATE", "X509 CERTIFICATE"].contains(&self.label.as_str())
    }
}

/// Reads every PEM block of `text`. Text around the blocks is skipped, and line breaks may have
/// become spaces or the two characters `\n`, as happens in environment variables.
///
/// # Errors
/// `None` when a block does not end or does not decode.
pub fn pem(text: &str) -> Option<Vec<Pem>> {
    let text = Zeroizing::new(text.replace("\\r", "").replace("\\n", "\n"));
    let mut blocks = Vec::new();
    let mut rest = text.as_str();
    while let Some((_, after)) = rest.split_once(PEM_BEGIN) {
        let (label, after) = after.split_once("-----")?;
        let (body, after) = after.split_once("-----END ")?;
        rest = after.strip_prefix(label)?.strip_prefix("-----")?;
        let with_headers = body.contains(':').then(|| Zeroizing::new(body.to_owned()));
        blocks.push(Pem {
            label: label.to_owned(),
            der: match with_headers {
                Some(_) => Zeroizing::default(),
                None => without_rest(base64(body)?),
            },
            with_headers,
        });
    }
    Some(blocks)
}

/// What a variable holds that takes PEM or base64 of DER.
pub enum PemOrDer {
    /// PEM blocks.
    Pem(Vec<Pem>),
    /// The bytes of one base64 text.
    Der(Zeroizing<Vec<u8>>),
}

/// Reads PEM, base64 of DER, or base64 of PEM, which is how some stores keep files. `None` when it
/// is none of them.
pub fn pem_or_der(text: &str) -> Option<PemOrDer> {
    if text.contains(PEM_BEGIN) {
        return pem(text).map(PemOrDer::Pem);
    }
    let der = base64(text)?;
    match std::str::from_utf8(&der) {
        Ok(inner) if inner.contains(PEM_BEGIN) => pem(inner).map(PemOrDer::Pem),
        _ => Some(PemOrDer::Der(without_rest(der))),
    }
}

/// DER without what editors, `echo` and secret stores leave behind it.
fn without_rest(mut der: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    let length = whole_der(&der).len();
    der.truncate(length);
    der
}

/// The values of DER that stand one behind the other, without line breaks, white space and NULs behind the last one.
/// What ends otherwise is returned as it is.
pub fn whole_der(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while rest.first() == Some(&0x30) {
        let Some((_, after)) = first_der(rest) else {
            return bytes;
        };
        rest = after;
    }
    let is_rest = |byte: &u8| *byte == 0 || byte.is_ascii_whitespace();
    match rest.iter().all(is_rest) {
        true => bytes.strip_suffix(rest).unwrap_or(bytes),
        false => bytes,
    }
}

/// The value of DER at the front, and what follows it.
pub fn first_der(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut reader = der::SliceReader::new(bytes).ok()?;
    der::asn1::AnyRef::decode(&mut reader).ok()?;
    let rest = usize::try_from(reader.remaining_len()).ok()?;
    bytes.split_at_checked(bytes.len().checked_sub(rest)?)
}

/// How a PEM block begins (RFC 7468 section 2).
pub const PEM_BEGIN: &str = "-----BEGIN ";

/// The words of a setting that is a list: separated by commas or white space, or JSON. `None` when it
/// begins like JSON but is not a list of strings.
pub fn words(text: &str) -> Option<Vec<String>> {
    if text.trim_start().starts_with('[') {
        return from_json(text.as_bytes()).ok();
    }
    let words = text.split(|c: char| c == ',' || c.is_whitespace());
    let words = words.filter(|word| !word.is_empty());
    Some(words.map(ToOwned::to_owned).collect())
}

/// A `NumericDate` (RFC 7519 section 2) in whole seconds since 1970: a number that may have a fraction,
/// which is left away.
pub fn numeric_date(value: &Value) -> Option<u64> {
    let Value::Number(number) = value else {
        return None;
    };
    number.as_u64().or_else(|| {
        let text = number.to_string();
        let (seconds, fraction) = text.split_once('.')?;
        let is_plain = fraction.bytes().all(|byte| byte.is_ascii_digit());
        seconds.parse().ok().filter(|_| is_plain)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_in_every_form_that_people_paste() {
        for text in ["+/+/", "-_-_", " +/\n+/ ", "+/+/\r\n"] {
            assert_eq!(
                base64(text).unwrap().as_slice(),
                [0xfb, 0xff, 0xbf],
                "{text:?}"
            );
        }
        for text in ["AQ==", "AQ", "AQ="] {
            assert_eq!(base64(text).unwrap().as_slice(), [1], "{text:?}");
        }
        assert!(base64("not base64!").is_none());
    }

    #[test]
    fn what_stands_behind_der_is_left_out() {
        let two = [0x30, 3, 2, 1, 5, 0x30, 0];
        for rest in [&b""[..], b"\n", b"\r\n", b"\0\0\0", b" \n"] {
            let text = BASE64.encode([&two, rest].concat());
            let Some(PemOrDer::Der(der)) = pem_or_der(&text) else {
                panic!("{rest:?}");
            };
            assert_eq!(der.as_slice(), two, "{rest:?}");
            let text = format!("-----BEGIN A-----\n{text}\n-----END A-----");
            assert_eq!(pem(&text).unwrap()[0].der.as_slice(), two, "{rest:?}");
        }
        for other in [
            &b"\x30\x05\n"[..],
            b"\x30\x00a",
            b"\x30\x00\n\x30\x00",
            b"\n",
        ] {
            let kept = if other == b"\n" { &other[..0] } else { other };
            assert_eq!(whole_der(other), kept, "{other:02x?}");
        }
    }

    #[test]
    fn hex_wins_over_base64_when_both_fit() {
        assert_eq!(
            fixed::<16>("000102030405060708090a0b0c0d0e0f").unwrap()[15],
            15
        );
        assert_eq!(fixed::<16>("AAECAwQFBgcICQoLDA0ODw==").unwrap()[15], 15);
        assert!(fixed::<16>("0001").is_none());
        let expected = fixed::<16>("000102030405060708090a0b0c0d0e0f");
        for text in [
            "00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F",
            "00010203-0405-0607-0809-0a0b0c0d0e0f",
            " '0001020304050607 08090a0b0c0d0e0f' \n",
            "\"AAECAwQFBgcICQoLDA0ODw==\"",
        ] {
            assert_eq!(fixed::<16>(text), expected, "{text}");
        }
    }

    #[test]
    fn pem_survives_what_environment_variables_do_to_line_breaks() {
        for text in [
            "-----BEGIN A B-----\nAQID\n-----END A B-----\n",
            "junk -----BEGIN A B-----\\nAQID\\n-----END A B-----",
            "-----BEGIN A B----- AQ ID -----END A B-----",
        ] {
            let blocks = pem(text).unwrap();
            assert_eq!(
                (blocks[0].label.as_str(), blocks[0].der.as_slice()),
                ("A B", &[1, 2, 3][..])
            );
        }
        assert!(pem("-----BEGIN A-----\nAQID").is_none());
        assert!(pem("-----BEGIN A-----\nAQID\n-----END B-----").is_none());
    }
}
