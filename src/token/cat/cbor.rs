//! CBOR (RFC 8949), as much of it as tokens have.
//!
//! ```text
//! [3 bits] major type  [5 bits] argument, or how many bytes of it follow  [0, 1, 2, 4 or 8 bytes] argument
//! ```

use crate::reader::Reader;

/// How deep arrays, maps and tags may be nested.
const MAX_DEPTH: u8 = 8;

/// The tags that tokens have: dates (RFC 8949 section 3.4.2), COSE (RFC 9052 section 2), addresses (RFC 9164), CWT
/// (RFC 8392 section 6).
const TAGS: [u64; 6] = [1, 17, 18, 52, 54, 61];

/// An item.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// An integer from -2^64 to 2^64-1.
    Int(i128),
    /// A byte string.
    Bytes(&'a [u8]),
    /// A text string.
    Text(&'a str),
    /// An array.
    Array(Vec<Value<'a>>),
    /// A map. No key occurs twice.
    Map(Vec<(Value<'a>, Value<'a>)>),
    /// A tag and its content.
    Tag(u64, Box<Value<'a>>),
    /// `false` or `true`.
    Bool(bool),
    /// `null`.
    Null,
    /// A floating-point number.
    Float(f64),
}

/// Why bytes are not read, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("CBOR at byte {offset}: {reason}")]
pub struct Error {
    /// What is wrong.
    pub reason: &'static str,
    /// The offset of the byte behind what was read, counted from 0.
    pub offset: usize,
}

impl<'a> Value<'a> {
    /// Reads one item, which is all that there is.
    ///
    /// # Errors
    /// What is cut off, of indefinite length, nested deeper than eight times, or has a tag or simple value that no token
    /// has; a key that occurs twice; bytes after the item.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader(bytes);
        let read = item(&mut reader, MAX_DEPTH).and_then(|value| match reader.0 {
            [] => Ok(value),
            _ => Err("bytes follow the item"),
        });
        read.map_err(|reason| Error {
            reason,
            offset: bytes.len().saturating_sub(reader.0.len()),
        })
    }

    /// The entries of a map.
    pub fn as_map(&self) -> Option<&[(Value<'a>, Value<'a>)]> {
        match self {
            Self::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// An integer.
    pub fn as_int(&self) -> Option<i128> {
        match self {
            Self::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// A byte string.
    pub fn as_bytes(&self) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// A text string.
    pub fn as_text(&self) -> Option<&'a str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The items of an array.
    pub fn as_array(&self) -> Option<&[Value<'a>]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }
}

const CUT: &str = "it is cut off";

fn item<'a>(reader: &mut Reader<'a>, depth: u8) -> Result<Value<'a>, &'static str> {
    let deeper = || depth.checked_sub(1).ok_or("it is nested too deep");
    let [first] = *reader.array().ok_or(CUT)?;
    let (major, information) = (first >> 5, first & 0x1f);
    if major == 7 {
        return simple(reader, information);
    }
    let argument = argument(reader, information)?;
    let bytes = |reader: &mut Reader<'a>| {
        let length = usize::try_from(argument).map_err(|_| CUT)?;
        reader.bytes(length).ok_or(CUT)
    };
    Ok(match major {
        0 => Value::Int(i128::from(argument)),
        1 => Value::Int(-1 - i128::from(argument)),
        2 => Value::Bytes(bytes(reader)?),
        3 => {
            let text = std::str::from_utf8(bytes(reader)?);
            Value::Text(text.map_err(|_| "a text is not UTF-8")?)
        }
        4 => {
            let depth = deeper()?;
            // The number is a stranger's: items are counted as they come.
            let mut items = Vec::new();
            for _ in 0..argument {
                items.push(item(reader, depth)?);
            }
            Value::Array(items)
        }
        5 => {
            let depth = deeper()?;
            let mut entries: Vec<(Value<'a>, Value<'a>)> = Vec::new();
            for _ in 0..argument {
                let key = item(reader, depth)?;
                if !matches!(key, Value::Int(_) | Value::Text(_)) {
                    return Err("a key of a map is neither a number nor text");
                }
                if entries.iter().any(|(known, _)| *known == key) {
                    return Err("a key of a map occurs twice");
                }
                entries.push((key, item(reader, depth)?));
            }
            Value::Map(entries)
        }
        _ if TAGS.contains(&argument) => Value::Tag(argument, Box::new(item(reader, deeper()?)?)),
        _ => return Err("no token has this tag"),
    })
}

fn argument(reader: &mut Reader<'_>, information: u8) -> Result<u64, &'static str> {
    match information {
        0..=23 => Ok(u64::from(information)),
        24 => reader.array().map(|[byte]| u64::from(*byte)).ok_or(CUT),
        25 => {
            let bytes = reader.array().ok_or(CUT)?;
            Ok(u64::from(u16::from_be_bytes(*bytes)))
        }
        26 => reader.u32().map(u64::from).ok_or(CUT),
        27 => reader.u64().ok_or(CUT),
        31 => Err("its length is indefinite"),
        _ => Err("it is not well-formed"),
    }
}

/// Simple values and floating-point numbers (RFC 8949 section 3.3). Those of 16 bits are not read: no date fits in.
fn simple<'a>(reader: &mut Reader<'a>, information: u8) -> Result<Value<'a>, &'static str> {
    match information {
        20 => Ok(Value::Bool(false)),
        21 => Ok(Value::Bool(true)),
        22 => Ok(Value::Null),
        26 => {
            let bits = reader.u32().ok_or(CUT)?;
            Ok(Value::Float(f64::from(f32::from_bits(bits))))
        }
        27 => reader
            .u64()
            .map(f64::from_bits)
            .map(Value::Float)
            .ok_or(CUT),
        _ => Err("no token has this simple value"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(hex: &str) -> Result<String, &'static str> {
        let bytes = hex::decode(hex).unwrap();
        let value = Value::read(&bytes).map_err(|error| error.reason)?;
        Ok(format!("{value:?}"))
    }

    #[test]
    fn examples_of_rfc_8949_are_read() {
        for (hex, expected) in [
            ("00", "Int(0)"),
            ("17", "Int(23)"),
            ("1818", "Int(24)"),
            ("1903e8", "Int(1000)"),
            ("1bffffffffffffffff", "Int(18446744073709551615)"),
            ("3bffffffffffffffff", "Int(-18446744073709551616)"),
            ("20", "Int(-1)"),
            ("3903e7", "Int(-1000)"),
            ("fa47c35000", "Float(100000.0)"),
            ("fb3ff199999999999a", "Float(1.1)"),
            ("f4", "Bool(false)"),
            ("f6", "Null"),
            ("c11a514b67b0", "Tag(1, Int(1363896240))"),
            ("4401020304", "Bytes([1, 2, 3, 4])"),
            ("62c3bc", "Text(\"ü\")"),
            ("83010203", "Array([Int(1), Int(2), Int(3)])"),
            ("a201020304", "Map([(Int(1), Int(2)), (Int(3), Int(4))])"),
        ] {
            assert_eq!(read(hex).as_deref(), Ok(expected), "{hex}");
        }
    }

    #[test]
    fn what_no_token_has_is_refused_with_its_place() {
        for (hex, reason) in [
            ("", CUT),
            ("18", CUT),
            ("4401", CUT),
            ("9bffffffffffffffff", CUT),
            ("5bffffffffffffffff00", CUT),
            ("0000", "bytes follow the item"),
            ("9f01ff", "its length is indefinite"),
            ("5f4101ff", "its length is indefinite"),
            ("1c", "it is not well-formed"),
            ("61ff", "a text is not UTF-8"),
            ("a201020103", "a key of a map occurs twice"),
            ("a20102180103", "a key of a map occurs twice"),
            ("a1410102", "a key of a map is neither a number nor text"),
            (
                "c074323031332d30332d32315432303a30343a30305a",
                "no token has this tag",
            ),
            ("f7", "no token has this simple value"),
            ("f93c00", "no token has this simple value"),
            ("818181818181818180", "it is nested too deep"),
        ] {
            assert_eq!(read(hex), Err(reason), "{hex}");
        }
        assert!(read("8181818181818180").is_ok());
        let error = Value::read(&[0x82, 0x00, 0xf7]).unwrap_err();
        assert_eq!(error.offset, 3);
    }
}
