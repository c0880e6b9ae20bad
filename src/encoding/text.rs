//! Text in other encodings than UTF-8, and text that was encoded once more.

use zeroize::Zeroizing;

/// The text of a file: UTF-8 without its byte-order mark, or UTF-16 as [`utf16`] reads it, which Windows PowerShell's `>`
/// writes. `None` when it is neither.
///
/// ```
/// let text = keylet::encoding::text(b"\xff\xfeA\0S\0k\0").unwrap();
/// assert_eq!(*text, "ASk");
/// ```
pub fn text(bytes: &[u8]) -> Option<Zeroizing<String>> {
    if let Some(text) = utf16(bytes) {
        return Some(Zeroizing::new(text));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).ok()?;
    Some(Zeroizing::new(text.to_owned()))
}

/// Whether a terminal, or the layout of text, obeys this character rather than shows it: C0, DEL and C1, the marks,
/// embeddings, overrides and isolates of bidirectional text (Unicode Annex 9), the separators of lines and paragraphs,
/// and what has no width. The audit trail and the command line escape these.
pub fn is_obeyed(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'
        )
}

/// A record as one line of JSON. Characters that a reader of logs takes for the end of a line, or that change how it is
/// shown, are escaped.
pub fn json_line(record: &impl serde::Serialize) -> String {
    let line = serde_json::to_string(record).unwrap_or_default();
    if line.is_ascii() && !line.contains('\x7f') {
        return line;
    }
    let mut escaped = String::with_capacity(line.len());
    for character in line.chars() {
        if is_obeyed(character) {
            escaped.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// Reads UTF-16 with a byte-order mark in either order, or without one where every character is one of Latin-1, so
/// that each second byte is 0. `None` when it is not that.
pub fn utf16(bytes: &[u8]) -> Option<String> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    let is_little = match (first, second) {
        (0xff, 0xfe) => true,
        (0xfe, 0xff) => false,
        (_, 0) if has_zeros(bytes, 1) => true,
        (0, _) if has_zeros(bytes, 0) => false,
        _ => return None,
    };
    let (pairs, rest) = bytes.as_chunks::<2>();
    if pairs.len() < 2 || !rest.is_empty() {
        return None;
    }
    let units = pairs.iter().map(|pair| match is_little {
        true => u16::from_le_bytes(*pair),
        false => u16::from_be_bytes(*pair),
    });
    let mut units = units.peekable();
    units.next_if_eq(&0xfeff);
    // It may be a secret: a string that grew would leave copies of it behind.
    let mut text = String::with_capacity(pairs.len().checked_mul(3)?);
    for character in char::decode_utf16(units) {
        text.push(character.ok()?);
    }
    Some(text)
}

/// Whether each second byte is 0, from this one on.
fn has_zeros(bytes: &[u8], from: usize) -> bool {
    bytes.iter().skip(from).step_by(2).all(|byte| *byte == 0)
}

/// The bytes that became the characters of a text, one each: as ISO 8859-1 or, which browsers read for it,
/// windows-1252 (WHATWG Encoding, section 9.1), or as `x-user-defined` (section 14.5). Both are one to one. `None`
/// when a character is of none of them.
pub fn single_bytes(text: &str) -> Option<Vec<u8>> {
    text.chars().map(single_byte).collect()
}

fn single_byte(character: char) -> Option<u8> {
    /// What windows-1252 has from 0x80 on, where it is not ISO 8859-1.
    const WINDOWS: [(u32, u8); 27] = [
        (0x20ac, 0x80),
        (0x201a, 0x82),
        (0x0192, 0x83),
        (0x201e, 0x84),
        (0x2026, 0x85),
        (0x2020, 0x86),
        (0x2021, 0x87),
        (0x02c6, 0x88),
        (0x2030, 0x89),
        (0x0160, 0x8a),
        (0x2039, 0x8b),
        (0x0152, 0x8c),
        (0x017d, 0x8e),
        (0x2018, 0x91),
        (0x2019, 0x92),
        (0x201c, 0x93),
        (0x201d, 0x94),
        (0x2022, 0x95),
        (0x2013, 0x96),
        (0x2014, 0x97),
        (0x02dc, 0x98),
        (0x2122, 0x99),
        (0x0161, 0x9a),
        (0x203a, 0x9b),
        (0x0153, 0x9c),
        (0x017e, 0x9e),
        (0x0178, 0x9f),
    ];
    let code = u32::from(character);
    let code = match code {
        0xf780..=0xf7ff => code - 0xf700,
        code => code,
    };
    let own = || u8::try_from(code).ok();
    let windows = WINDOWS.iter().find(|(known, _)| *known == code);
    windows.map_or_else(own, |(_, byte)| Some(*byte))
}

/// Percent-encodes all but unreserved characters (RFC 3986 sections 2.1 and 2.3), so that text stays within a segment of a
/// path or a value of a query.
pub fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Undoes percent-encoding (RFC 3986 section 2.1). `None` when nothing is encoded so.
pub fn percent_decoded(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((byte, after)) = rest.split_first() {
        let digits = after.split_first_chunk::<2>();
        let octet = digits
            .filter(|_| *byte == b'%')
            .and_then(|(digits, after)| {
                let mut octet = [0];
                hex::decode_to_slice(digits, &mut octet).ok()?;
                Some((octet, after))
            });
        match octet {
            Some(([octet], after)) => {
                decoded.push(octet);
                rest = after;
            }
            None => {
                decoded.push(*byte);
                rest = after;
            }
        }
    }
    (decoded.len() < bytes.len()).then_some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_in_every_encoding_that_editors_write() {
        let expected = "ASk: 00\u{e4}\u{1f511}\r\n";
        let units: Vec<u16> = expected.encode_utf16().collect();
        let little: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        let big: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
        for bytes in [
            expected.as_bytes().to_vec(),
            [b"\xef\xbb\xbf", expected.as_bytes()].concat(),
            [b"\xff\xfe", little.as_slice()].concat(),
            [b"\xfe\xff", big.as_slice()].concat(),
        ] {
            assert_eq!(*text(&bytes).unwrap(), expected, "{bytes:02x?}");
        }
        assert_eq!(*text(b"").unwrap(), "");
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        for bytes in [&b"\x30\x82\x01\xff"[..], b"\xff\xfeA", b"\xff\xfe\x00\xd8"] {
            assert!(text(bytes).is_none(), "{bytes:02x?}");
        }
    }

    #[test]
    fn utf16_is_read_in_both_orders_with_a_mark_or_without() {
        let units = |text: &str, bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
            text.encode_utf16().flat_map(bytes).collect()
        };
        for order in [u16::to_le_bytes, u16::to_be_bytes] {
            for text in ["{\"spc\":1}", "né"] {
                assert_eq!(utf16(&units(text, order)).as_deref(), Some(text));
                let marked = units(&format!("\u{feff}{text}"), order);
                assert_eq!(utf16(&marked).as_deref(), Some(text));
            }
            let wide = units("\u{feff}日本", order);
            assert_eq!(utf16(&wide).as_deref(), Some("日本"));
            assert_eq!(utf16(&units("日本", order)), None);
        }
        for other in [
            &b""[..],
            b"a",
            b"ab",
            b"abc\0",
            &[0, 0, 0, 1, 9, 9],
            &[b'a', 0, b'b'],
        ] {
            assert_eq!(utf16(other), None, "{other:02x?}");
        }
    }

    #[test]
    fn every_byte_comes_back_from_each_encoding_of_single_bytes() {
        let all: Vec<u8> = (0..=255).collect();
        let latin: String = all.iter().copied().map(char::from).collect();
        let windows = latin.replace('\u{80}', "€").replace('\u{99}', "™");
        let user: String = all
            .iter()
            .map(|byte| match byte {
                0x80.. => char::from_u32(0xf700 + u32::from(*byte)).unwrap(),
                byte => char::from(*byte),
            })
            .collect();
        for text in [latin, windows, user] {
            assert_eq!(single_bytes(&text).unwrap(), all);
        }
        assert_eq!(single_bytes("日"), None);
        assert_eq!(single_bytes("\u{fffd}"), None);
    }

    #[test]
    fn percent_encoding_is_undone_where_it_is_whole() {
        let decoded = |text: &str| percent_decoded(text.as_bytes());
        assert_eq!(decoded("a%2Fb%3d%ff").unwrap(), b"a/b=\xff");
        assert_eq!(decoded("100%25%2").unwrap(), b"100%%2");
        for plain in ["", "a", "100%", "%2", "%zz"] {
            assert_eq!(decoded(plain), None, "{plain}");
        }
    }
}
