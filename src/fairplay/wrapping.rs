//! SPCs that were wrapped or converted once more on their way, as players and proxies do.
//!
//! This is looked at only where the usual readings find no SPC. A layer is taken off at a time, and each has one
//! meaning; what has none is a [`Mistake`]. The work is linear in the size of the message, for each of at most
//! [`LAYERS`] layers, and no layer is larger than twice the one around it: nothing is decompressed.

use std::borrow::Cow;

use serde_json::Value;

use crate::encoding;
use crate::fairplay::mistake::Mistake;
use crate::fairplay::spc::SpcContainer;

/// How many layers are taken off.
const LAYERS: usize = 6;

/// The longest delimiter of a multipart form (RFC 2046 section 5.1.1), with the two dashes in front.
const LONGEST_DELIMITER: usize = 72;

/// The SPC in a message that is none itself. `None`: nothing is known of what this is.
///
/// | layer | |
/// |---|---|
/// | UTF-16 | with a byte-order mark or without |
/// | bytes as characters | UTF-8 of ISO 8859-1, windows-1252, `x-user-defined`, or of UTF-16 units |
/// | multipart form | the part `spc`, or the one that is an SPC |
/// | numbers | a list in JSON or text, an object with a member for each byte, a `Buffer` of Node.js |
/// | hexadecimal | with `0x`, `\x`, white space, `:` or `-` between the digits, or not |
/// | percent-encoding, `data:` URL, quotes, `<spc>` | |
/// | form | with the bytes themselves in `spc=` |
/// | base64 | once |
///
/// # Errors
/// The [`Mistake`] that has no meaning as an SPC.
pub fn unwrap(message: &[u8]) -> Result<Option<Vec<u8>>, Mistake> {
    let mut bytes = Cow::Borrowed(message);
    let mut was_base64 = false;
    for layer in 0..LAYERS {
        if SpcContainer::fits(&bytes) {
            return Ok(Some(bytes.into_owned()));
        }
        // A form with the bytes themselves, which nothing has encoded.
        let field = bytes.strip_prefix(b"spc=");
        if let Some(field) = field.filter(|field| begins_like_an_spc(field)) {
            bytes = Cow::Owned(field.to_vec());
            continue;
        }
        if let Some(mistake) = Mistake::at_sight(&bytes) {
            return Err(mistake);
        }
        match peeled(&bytes, &mut was_base64)? {
            Some(inner) => bytes = Cow::Owned(inner),
            // What is wrong with it as an SPC says more than that it was wrapped.
            None if layer > 0 && begins_like_an_spc(&bytes) => return Ok(Some(bytes.into_owned())),
            None => return Ok(None),
        }
    }
    Ok(None)
}

/// The bytes that a JSON value lists: an array of numbers, an object with a member for each, as JavaScript writes a
/// `Uint8Array`, or a `Buffer` of Node.js. Numbers may be signed, as Java's are.
pub fn listed(value: &Value) -> Option<Vec<u8>> {
    let byte = |value: &Value| number(value.as_i64()?);
    match value {
        Value::Array(list) if !list.is_empty() => list.iter().map(byte).collect(),
        Value::Object(members) if members.get("type").is_some_and(|kind| kind == "Buffer") => {
            listed(members.get("data")?)
        }
        Value::Object(members) if !members.is_empty() => {
            let mut bytes = vec![None; members.len()];
            for (index, value) in members {
                *bytes.get_mut(index.parse::<usize>().ok()?)? = Some(byte(value)?);
            }
            bytes.into_iter().collect()
        }
        _ => None,
    }
}

/// Base64 whose `+` a decoder of forms took for spaces. No base64 has spaces, so each of them was a `+`, at the end too
/// as long as four characters are not whole without it.
pub fn with_pluses(text: &str) -> String {
    let text = text.trim_ascii_start().trim_end_matches(['\r', '\n']);
    let bare = text.trim_ascii_end();
    let lost = match bare.len() % 4 {
        0 => 0,
        rest => (4 - rest).min(text.len() - bare.len()),
    };
    bare.replace(' ', "+") + &"+".repeat(lost)
}

/// Whether bytes begin with a version of the container.
pub fn begins_like_an_spc(bytes: &[u8]) -> bool {
    matches!(bytes, [0, 0, 0, 1..=3, ..])
}

/// What is inside the outermost layer.
fn peeled(bytes: &[u8], was_base64: &mut bool) -> Result<Option<Vec<u8>>, Mistake> {
    if let Some(text) = encoding::utf16(bytes) {
        return Ok(Some(text.into_bytes()));
    }
    if bytes.starts_with(b"--") {
        return multipart(bytes).map(Some);
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Ok(None);
    };
    let whole = text.strip_prefix('\u{feff}').unwrap_or(text);
    if !whole.is_ascii() {
        return Ok(encoding::single_bytes(whole).or_else(|| utf16_units(whole)));
    }
    let text = whole.trim_ascii();
    if text.starts_with(['{', '[']) {
        let value = encoding::json(text.as_bytes()).ok();
        let bytes = value.as_ref().and_then(listed);
        return bytes.map(Some).ok_or(Mistake::Json);
    }
    let inner = unquoted(text)
        .or_else(|| data_url(text))
        .or_else(|| encoding::percent_decoded(text.as_bytes()))
        .or_else(|| numbers(text))
        .or_else(|| hexadecimal(text));
    if inner.is_some() {
        return Ok(inner);
    }
    let without_escapes = whole.replace("\\r", "").replace("\\n", "");
    match encoding::base64(&with_pluses(&without_escapes)) {
        Some(inner) if *was_base64 && inner.starts_with(&[0, 0, 0]) => Err(Mistake::Base64),
        Some(_) if *was_base64 => Ok(None),
        Some(inner) => {
            *was_base64 = true;
            Ok(Some(inner.to_vec()))
        }
        None => Ok(None),
    }
}

/// What stands in quotes, or in `<spc>`.
fn unquoted(text: &str) -> Option<Vec<u8>> {
    let pairs = [("\"", "\""), ("'", "'"), ("`", "`"), ("<spc>", "</spc>")];
    let inner = pairs
        .iter()
        .find_map(|(open, close)| text.strip_prefix(open)?.strip_suffix(close))?;
    Some(inner.as_bytes().to_vec())
}

/// What a `data:` URL holds (RFC 2397), still in base64 where it is that.
fn data_url(text: &str) -> Option<Vec<u8>> {
    let (scheme, rest) = text.split_at_checked("data:".len())?;
    let (_, data) = rest.split_once(',')?;
    (scheme.eq_ignore_ascii_case("data:")).then(|| data.as_bytes().to_vec())
}

/// Decimal numbers with commas or white space between them.
fn numbers(text: &str) -> Option<Vec<u8>> {
    let separators = |c: char| c == ',' || c.is_ascii_whitespace();
    let words = text.split(separators).filter(|word| !word.is_empty());
    let bytes = words.map(|word| {
        // `00 01` is hexadecimal.
        let is_decimal = word == "0" || !word.starts_with('0');
        number(word.parse().ok().filter(|_| is_decimal)?)
    });
    let bytes: Vec<u8> = bytes.collect::<Option<_>>()?;
    (bytes.len() > 1).then_some(bytes)
}

fn number(number: i64) -> Option<u8> {
    let signed = i8::try_from(number).map(i8::cast_unsigned);
    u8::try_from(number).or(signed).ok()
}

/// Hexadecimal digits of what is like an SPC, or like a known mistake: they are base64 too.
fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let text = text.replace("0x", "").replace("\\x", "");
    let digits: String = text
        .chars()
        .filter(|c| !c.is_ascii_whitespace() && !":-,<>".contains(*c))
        .collect();
    let bytes = hex::decode(digits).ok()?;
    (begins_like_an_spc(&bytes) || Mistake::at_sight(&bytes).is_some()).then_some(bytes)
}

/// Bytes that were taken for UTF-16LE, two for a character.
fn utf16_units(text: &str) -> Option<Vec<u8>> {
    let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    begins_like_an_spc(&bytes).then_some(bytes)
}

/// The part `spc` of a multipart form (RFC 7578), or the one whose content is an SPC.
fn multipart(bytes: &[u8]) -> Result<Vec<u8>, Mistake> {
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let (delimiter, mut rest) = bytes.split_at(end.unwrap_or(bytes.len()));
    let delimiter = delimiter.trim_ascii_end();
    if delimiter.len() > LONGEST_DELIMITER {
        return Err(Mistake::Multipart);
    }
    let mut contents: Vec<&[u8]> = Vec::new();
    while let Some(end) = find(rest, delimiter) {
        let (part, after) = rest.split_at(end);
        rest = after.strip_prefix(delimiter).unwrap_or_default();
        let (head, content) = match find(part, b"\r\n\r\n") {
            Some(at) => (part.get(..at), part.get(at + 4..)),
            None => match find(part, b"\n\n") {
                Some(at) => (part.get(..at), part.get(at + 2..)),
                None => continue,
            },
        };
        let (head, content) = (head.unwrap_or_default(), content.unwrap_or_default());
        let content = content.strip_suffix(b"\n").unwrap_or(content);
        let content = content.strip_suffix(b"\r").unwrap_or(content);
        let head = String::from_utf8_lossy(head).to_ascii_lowercase();
        let is_named = [r#"name="spc""#, "name=spc"]
            .iter()
            .any(|name| head.contains(name));
        match is_named {
            true => return Ok(content.to_vec()),
            false => contents.push(content),
        }
    }
    let is_spc = |content: &&&[u8]| {
        let text = std::str::from_utf8(content).ok();
        let decoded = text.and_then(encoding::base64);
        SpcContainer::fits(decoded.as_ref().map_or(**content, |decoded| decoded))
    };
    let found = contents.iter().find(is_spc);
    found
        .map(|content| content.to_vec())
        .ok_or(Mistake::Multipart)
}

/// Where the needle begins.
fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes
        .windows(needle.len().max(1))
        .position(|window| window == needle)
}
