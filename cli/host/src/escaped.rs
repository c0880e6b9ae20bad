//! Text of others on its way to a terminal.
//!
//! A terminal obeys control characters: with them, whoever wrote a text that is printed can erase lines, forge others,
//! set the window's title, or turn the reading direction. They leave as `\u` and four hexadecimal digits, which shows
//! them to people, and within a string of JSON means the same character.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};

use keylet::encoding::is_obeyed;

/// The most bytes of a character that can be at the end of what was written, waiting for the rest of it.
const LONGEST_BEGINNING: usize = 2;

/// Text on one line: everything that is obeyed is escaped, line breaks and tabs too.
pub fn in_one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            character => push(&mut escaped, character),
        }
    }
    Cow::Owned(escaped)
}

fn push(escaped: &mut String, character: char) {
    if is_obeyed(character) {
        let _ = write!(escaped, "\\u{:04x}", u32::from(character));
    } else {
        escaped.push(character);
    }
}

/// A writer that escapes what is obeyed, except for line breaks and tabs. Bytes that are no UTF-8 pass.
pub struct Escaped<W: Write> {
    to: W,
    /// The beginning of a character, whose rest has not been written.
    begun: Vec<u8>,
}

impl<W: Write> Escaped<W> {
    /// What is written to this goes there.
    pub fn new(to: W) -> Self {
        Self {
            to,
            begun: Vec::with_capacity(LONGEST_BEGINNING),
        }
    }

    /// What is behind it, for bytes that are obeyed on purpose. What was begun is written before.
    ///
    /// # Errors
    /// What the writer behind it says.
    pub fn behind(&mut self) -> io::Result<&mut W> {
        let begun = std::mem::take(&mut self.begun);
        self.to.write_all(&begun)?;
        Ok(&mut self.to)
    }
}

impl<W: Write> Write for Escaped<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let text = [&std::mem::take(&mut self.begun), buffer].concat();
        let mut escaped = Vec::with_capacity(text.len());
        let mut rest = text.as_slice();
        while let Some((first, after)) = rest.split_first() {
            let length = obeyed(rest);
            match length {
                Length::Begun => {
                    self.begun = rest.to_vec();
                    break;
                }
                Length::Bytes(length) => {
                    let (bytes, after) = rest.split_at(length);
                    for character in String::from_utf8_lossy(bytes).chars() {
                        escaped.extend(format!("\\u{:04x}", u32::from(character)).bytes());
                    }
                    rest = after;
                }
                Length::Shown => {
                    escaped.push(*first);
                    rest = after;
                }
            }
        }
        self.to.write_all(&escaped)?;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.behind()?.flush()
    }
}

impl<W: Write> Drop for Escaped<W> {
    fn drop(&mut self) {
        let _ = self.behind();
    }
}

/// What a text begins with.
enum Length {
    /// A byte that is shown, or a part of a character that is.
    Shown,
    /// A character of so many bytes that is obeyed.
    Bytes(usize),
    /// The beginning of a character that may be one.
    Begun,
}

fn obeyed(text: &[u8]) -> Length {
    let length = match text {
        [b'\n' | b'\t', ..] => return Length::Shown,
        [..=0x7f, ..] => 1,
        [0xc2 | 0xd8, ..] => 2,
        // U+2000 to U+207F, and U+FEC0 to U+FEFF.
        [0xe2 | 0xef] | [0xe2, 0x80 | 0x81, ..] | [0xef, 0xbb, ..] => 3,
        _ => return Length::Shown,
    };
    let Some(bytes) = text.get(..length) else {
        return Length::Begun;
    };
    let character = std::str::from_utf8(bytes)
        .unwrap_or_default()
        .chars()
        .next();
    match character.is_some_and(is_obeyed) {
        true => Length::Bytes(length),
        false => Length::Shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every character that is obeyed, and some that are not.
    fn characters() -> impl Iterator<Item = char> {
        (0..=0x2_ffff).filter_map(char::from_u32)
    }

    #[test]
    fn what_is_obeyed_is_escaped_and_nothing_else() {
        for character in characters() {
            let text = format!("a{character}b");
            let mut shown = Vec::new();
            Escaped::new(&mut shown).write_all(text.as_bytes()).unwrap();
            let shown = String::from_utf8(shown).unwrap();
            let is_kept = !is_obeyed(character) || ['\n', '\t'].contains(&character);
            match is_kept {
                true => assert_eq!(shown, text),
                false => {
                    let parsed: String = serde_json::from_str(&format!("\"{shown}\"")).unwrap();
                    assert_eq!(parsed, text, "within JSON it is the same");
                    assert!(!shown.contains(is_obeyed), "{shown:?}");
                }
            }
            assert!(!in_one_line(&text).contains(is_obeyed), "{text:?}");
        }
        for obeyed in [
            '\u{1b}', '\u{7f}', '\u{9b}', '\u{202e}', '\u{2066}', '\u{2029}',
        ] {
            assert!(is_obeyed(obeyed), "{obeyed:?}");
        }
        assert_eq!(in_one_line("ä\r\n\t\u{1b}["), "ä\\r\\n\\t\\u001b[");
    }

    #[test]
    fn it_does_not_matter_where_writes_are_cut() {
        let text = "é\u{9b}1m\u{202e}\u{2066}€\u{2028}\u{61c}Ø".as_bytes();
        let mut whole = Vec::new();
        Escaped::new(&mut whole).write_all(text).unwrap();
        let mut bytes = Vec::new();
        {
            let mut escaped = Escaped::new(&mut bytes);
            for byte in text {
                escaped.write_all(&[*byte]).unwrap();
            }
        }
        assert_eq!(bytes, whole);
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            "é\\u009b1m\\u202e\\u2066€\\u2028\\u061cØ"
        );
    }

    #[test]
    fn what_is_no_utf_8_passes() {
        let mut bytes = Vec::new();
        Escaped::new(&mut bytes)
            .write_all(b"\xff\xc2\xe2\x80\xe2")
            .unwrap();
        assert_eq!(bytes, b"\xff\xc2\xe2\x80\xe2");
    }
}
