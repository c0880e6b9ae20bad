//! Asset ids and key ids, compared the way that players and packagers spell them.

mod names;
mod readings;

use std::borrow::Cow;
use std::ops::RangeInclusive;

use uuid::Uuid;

pub use names::{Content, ContentDigest, Names};

use crate::encoding;

/// How many bytes an asset id of FairPlay has.
pub const ASSET_ID_SIZES: RangeInclusive<usize> = 2..=200;

/// A key id (KID): 16 bytes, as in the `tenc` box (ISO/IEC 23001-7 section 8.2). Its text is that of a GUID
/// in lower case with dashes (RFC 9562 section 4), in the order of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kid(Uuid);

impl Kid {
    /// The KID with this number, big-endian.
    pub const fn from_u128(number: u128) -> Self {
        Self(Uuid::from_u128(number))
    }

    /// The KID with these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// Reads `8-4-4-4-12` or 32 hexadecimal digits, of either case, in braces or not, with white space
    /// around them. `None` for anything else.
    ///
    /// ```
    /// use keylet::id::Kid;
    ///
    /// let kid = Kid::from_text("{339C45B5-FB6D-4BD9-994C-EABD9D41C95B}");
    /// assert_eq!(kid, Kid::from_text("339c45b5fb6d4bd9994ceabd9d41c95b"));
    /// assert_eq!(kid.unwrap().to_string(), "339c45b5-fb6d-4bd9-994c-eabd9d41c95b");
    /// assert_eq!(Kid::from_text("movie-42"), None);
    /// ```
    pub fn from_text(text: &str) -> Option<Self> {
        let text = text.trim();
        let braced = text.strip_prefix('{').and_then(|t| t.strip_suffix('}'));
        let digits = braced.unwrap_or(text);
        // `Uuid` reads other forms too, such as URNs, by their length.
        let is_plain = matches!(digits.len(), 32 | 36);
        is_plain.then(|| Uuid::try_parse(digits).ok().map(Self))?
    }

    /// The 16 bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The KID whose bytes are these in the order of a GUID in memory: its first three fields little-endian. PlayReady
    /// has KIDs so (.NET's `Guid.ToByteArray`), and some packagers write the text of one order with the bytes of the
    /// other.
    ///
    /// ```
    /// use keylet::id::Kid;
    ///
    /// let kid = Kid::from_text("339c45b5-fb6d-4bd9-994c-eabd9d41c95b").unwrap();
    /// assert_eq!(kid.in_guid_order().to_string(), "b5459c33-6dfb-d94b-994c-eabd9d41c95b");
    /// assert_eq!(kid.in_guid_order().in_guid_order(), kid);
    /// ```
    #[must_use]
    pub fn in_guid_order(self) -> Self {
        Self::from_bytes(self.0.to_bytes_le())
    }

    /// Whether its bytes are text that can be read: UTF-8, or UTF-16LE in an alphabet (characters below U+0800). An
    /// asset id with such bytes is a name of 16 bytes rather than a KID: of random KIDs, one in a million is text.
    pub fn is_text(&self) -> bool {
        match text(self.as_bytes()) {
            None => false,
            Some(Cow::Borrowed(text)) => !text.chars().any(char::is_control),
            Some(Cow::Owned(text)) => text.chars().all(|character| character < '\u{800}'),
        }
    }
}

impl std::fmt::Display for Kid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// An asset id, alias or key id (KID) in the one spelling in which ids are compared.
///
/// An id is bytes: usually text, sometimes not. What is done to text, in this order:
/// 1. UTF-16LE becomes UTF-8 (the legacy `com.apple.fps.1_0` initialisation data is UTF-16LE);
/// 2. NULs at the end and white space at both ends are removed;
/// 3. the scheme `skd://` (and the common misspelling `sdk://`) is removed, in any case;
/// 4. a GUID loses its case, dashes and braces.
///
/// Normalising is idempotent, so two ids that share any spelling are equal here.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Id(Vec<u8>);

impl Id {
    /// Normalises an id from the wire.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let Some(text) = text(bytes) else {
            return Self(bytes.to_vec());
        };
        let mut text = text.trim();
        while let Some(rest) = strip_scheme(text) {
            text = rest.trim();
        }
        Self(Kid::from_text(text).map_or_else(|| text.as_bytes().to_vec(), guid_digits))
    }

    /// Normalises an id from a document: text, or `hex:` and the bytes in hexadecimal.
    ///
    /// `None` when it is empty or what follows `hex:` is not hexadecimal.
    pub fn from_text(text: &str) -> Option<Self> {
        let id = match text.strip_prefix("hex:") {
            Some(digits) => Self::from_bytes(&encoding::hex(digits)?),
            None => Self::from_bytes(text.as_bytes()),
        };
        (!id.0.is_empty()).then_some(id)
    }

    /// The two ids under which a KID is found: its digits, and its 16 bytes, as players with Media
    /// Source Extensions have them from `tenc`.
    pub fn from_kid(kid: Kid) -> [Self; 2] {
        [Self(guid_digits(kid)), Self::from_bytes(kid.as_bytes())]
    }

    /// Whether it is the digits of a KID.
    pub(crate) fn is_kid(&self) -> bool {
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        self.0.len() == 32 && self.0.iter().all(is_digit)
    }

    /// The KID that the id is, as 32 digits. An id of 16 bytes may be a KID or text; it is not one here.
    pub fn kid(&self) -> Option<Kid> {
        Kid::from_text(std::str::from_utf8(&self.0).ok()?)
    }

    /// The normalised bytes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Display for Id {
    /// Text as it is, anything else as `hex:` and digits: [`Id::from_text`] reads both.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match std::str::from_utf8(&self.0) {
            Ok(text) if !text.chars().any(char::is_control) && !text.starts_with("hex:") => {
                f.write_str(text)
            }
            _ => write!(f, "hex:{}", hex::encode(&self.0)),
        }
    }
}

/// The id as text, when it is text. A NUL between characters means UTF-16LE, else it is UTF-8.
fn text(bytes: &[u8]) -> Option<Cow<'_, str>> {
    let end = bytes.iter().rposition(|b| *b != 0)? + 1;
    let (body, _) = bytes.split_at_checked(end)?;
    if !body.contains(&0) {
        return std::str::from_utf8(body).ok().map(Cow::Borrowed);
    }
    let units = body.chunks(2).map(|unit| match unit {
        [low, high] => u16::from_le_bytes([*low, *high]),
        [low, ..] => u16::from(*low),
        [] => 0,
    });
    let text: String = char::decode_utf16(units).collect::<Result<_, _>>().ok()?;
    (!text.chars().any(char::is_control)).then_some(Cow::Owned(text))
}

/// The text behind `skd://` or its misspelling, in any case. `None` where neither stands in front.
pub(crate) fn strip_scheme(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_at_checked("skd://".len())?;
    (scheme.eq_ignore_ascii_case("skd://") || scheme.eq_ignore_ascii_case("sdk://")).then_some(rest)
}

/// The 32 lower-case digits of a GUID.
fn guid_digits(kid: Kid) -> Vec<u8> {
    kid.0.simple().to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    #[test]
    fn sixteen_bytes_are_text_or_a_kid() {
        let is_text = |bytes: &[u8]| Kid::from_bytes(bytes.try_into().unwrap()).is_text();
        for name in [
            "movie-number-042",
            "m\u{e4}dchen-film-42",
            "film-number-42\0\0",
        ] {
            assert!(is_text(name.as_bytes()), "{name}");
        }
        for name in ["movie-42", "\u{444}\u{438}\u{43b}\u{44c}\u{43c}-42"] {
            assert!(is_text(&utf16(name)), "{name}");
        }
        // One that is not UTF-8, one with a NUL in it, and one of ASCII with a control character.
        for kid in [
            0x339c_45b5_fb6d_4bd9_994c_eabd_9d41_c95b_u128,
            0x1200_45b5_fb6d_4bd9_994c_eabd_9d41_1122,
            0x6d6f_7669_652d_6e75_6d62_6572_2d30_340a,
        ] {
            assert!(!is_text(&kid.to_be_bytes()), "{kid:x}");
        }
    }

    #[test]
    fn every_spelling_of_one_id_is_equal() {
        let expected = Id::from_text("movie-42").unwrap();
        for bytes in [
            b"movie-42".to_vec(),
            b"skd://movie-42".to_vec(),
            b"SKD://movie-42\0".to_vec(),
            b"sdk://movie-42".to_vec(),
            utf16("movie-42"),
            utf16("skd://movie-42"),
            utf16("skd://movie-42\0"),
        ] {
            assert_eq!(Id::from_bytes(&bytes), expected, "{bytes:02x?}");
        }
        let kid = Kid::from_text("339C45B5-FB6D-4BD9-994C-EABD9D41C95B").unwrap();
        let [guid, _] = Id::from_kid(kid);
        for text in [
            "skd://339c45b5fb6d4bd9994ceabd9d41c95b",
            "{339c45b5-fb6d-4bd9-994c-eabd9d41c95b}",
        ] {
            assert_eq!(Id::from_text(text).unwrap(), guid);
        }
    }

    #[test]
    fn different_ids_stay_different() {
        let ids = [
            "movie-42",
            "Movie-42",
            "movie-42/",
            "hex:aabbccddeeff",
            "skd",
            "339c45b5-fb6d4bd9994ceabd9d41c95b",
        ];
        for (i, a) in ids.iter().enumerate() {
            for b in &ids[i + 1..] {
                assert_ne!(Id::from_text(a), Id::from_text(b));
            }
        }
    }

    #[test]
    fn normalising_is_idempotent() {
        let mut state = 1_u64;
        for round in 0..20_000_u32 {
            let bytes: Vec<u8> = (0..round % 24)
                .map(|_| {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    b"skd:/\0\0aA1{}- \xff\x30"[(state >> 60) as usize % 17]
                })
                .collect();
            let once = Id::from_bytes(&bytes);
            assert_eq!(Id::from_bytes(&once.0), once, "{bytes:02x?}");
        }
    }

    #[test]
    fn text_that_is_no_id_is_refused() {
        assert!(Id::from_text("").is_none());
        assert!(Id::from_text("skd://").is_none());
        assert!(Id::from_text("hex:zz").is_none());
        assert!(Kid::from_text("movie-42").is_none());
        assert!(Kid::from_text("urn:uuid:339c45b5-fb6d-4bd9-994c-eabd9d41c95b").is_none());
    }
}
