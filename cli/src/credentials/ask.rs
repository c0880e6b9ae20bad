//! Application secret keys as people write them.

use keylet::encoding;
use zeroize::Zeroizing;

/// Digits of an ASk in hexadecimal.
const DIGITS: usize = 32;

/// An application secret key: 16 bytes.
pub type Ask = Zeroizing<[u8; 16]>;

/// Reads an ASk: 32 hexadecimal digits, also in quotes, with spaces, colons or dashes between them, or behind a label
/// such as `ASk:`; or base64.
///
/// # Errors
/// A sentence that says what is wrong, without the text.
pub fn read(text: &str) -> Result<Ask, String> {
    let text = without_label(text);
    encoding::fixed::<16>(text)
        .map(Zeroizing::new)
        .ok_or_else(|| wrong(text))
}

/// Without `ASk:` or `ask =` before it.
fn without_label(text: &str) -> &str {
    let label = |text: &str| text.trim().eq_ignore_ascii_case("ask");
    match text.split_once([':', '=']) {
        Some((name, value)) if label(name) => value,
        _ => text,
    }
}

/// Why a text is no ASk.
fn wrong(text: &str) -> String {
    let whole = encoding::unquoted(text);
    let text = encoding::without_separators(whole);
    let count = text.chars().count();
    let is_digit = |c: &char| c.is_ascii_hexdigit();
    let mut others = text.chars().zip(1..).filter(|(c, _)| !is_digit(c));
    if let Some((character, place)) = others.next() {
        // Two characters that are no digits are no slip of the hand.
        if count.abs_diff(DIGITS) <= 1 && others.next().is_none() {
            return format!(
                "an ASk is {DIGITS} hexadecimal digits (0 to 9, a to f), and character {place} of this is {character:?}"
            );
        }
        return match encoding::base64(whole) {
            Some(bytes) => format!("an ASk has 16 bytes, and this is base64 of {}", bytes.len()),
            None => {
                format!("an ASk is {DIGITS} hexadecimal digits, or base64, and this is neither")
            }
        };
    }
    match count {
        0 => "it is empty, where an ASk should be".to_owned(),
        _ => format!("an ASk has {DIGITS} hexadecimal digits, and this has {count}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_an_ask_is_told_without_it() {
        let right = "00112233445566778899aabbccddeeff";
        for text in [
            right,
            "ASk: 00112233445566778899AABBCCDDEEFF",
            "ABEiM0RVZneImaq7zN3u/w==",
        ] {
            assert_eq!(hex::encode(read(text).unwrap().as_slice()), right);
        }
        for (text, expected) in [
            ("00112233445566778899aabbccddeef", "and this has 31"),
            ("00:11:22", "and this has 6"),
            (
                "0O112233445566778899aabbccddeeff",
                "character 2 of this is 'O'",
            ),
            ("ABEiM0RVZneImaq7zN3u/wAA", "base64 of 18"),
            ("ask=ABEiM0RVZneImaq7zN3u!!!!", "neither"),
            ("", "empty"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
