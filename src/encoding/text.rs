//! Text as editors and shells write it to files.

use zeroize::Zeroizing;

/// The text of a file: UTF-8, or UTF-16 of either byte order as Windows PowerShell's `>` writes it. A byte-order mark
/// (Unicode Standard, section 23.8) is left away. UTF-16 is seen without a mark, too, where its first character is
/// of ASCII. `None` when it is neither.
///
/// ```
/// let text = keylet::encoding::text(b"\xff\xfeA\0S\0k\0").unwrap();
/// assert_eq!(*text, "ASk");
/// ```
pub fn text(bytes: &[u8]) -> Option<Zeroizing<String>> {
    match bytes {
        [0xff, 0xfe, units @ ..] => utf16(units, u16::from_le_bytes),
        [0xfe, 0xff, units @ ..] => utf16(units, u16::from_be_bytes),
        [1..=0x7f, 0, ..] => utf16(bytes, u16::from_le_bytes),
        [0, 1..=0x7f, ..] => utf16(bytes, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, text @ ..] | text => {
            let text = std::str::from_utf8(text).ok()?;
            Some(Zeroizing::new(text.to_owned()))
        }
    }
}

/// RFC 2781 section 4.3, without the mark.
fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Option<Zeroizing<String>> {
    let (pairs, []) = bytes.as_chunks::<2>() else {
        return None;
    };
    // One allocation of the greatest size: growing would leave copies of a secret behind.
    let mut text = Zeroizing::new(String::with_capacity(pairs.len().checked_mul(3)?));
    for character in char::decode_utf16(pairs.iter().copied().map(unit)) {
        text.push(character.ok()?);
    }
    Some(text)
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
            little,
            big,
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
}
