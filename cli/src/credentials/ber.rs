//! BER as DER (ITU-T X.690): lengths that are definite, and strings in one piece. NSS, Java and older Windows write
//! PKCS#12 in BER.

use zeroize::Zeroizing;

/// How deep values may be nested: PKCS#12 has some ten levels.
const DEEPEST: usize = 32;

const CONSTRUCTED: u8 = 0x20;
const OBJECT_IDENTIFIER: u8 = 0x06;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;
/// `[0]`, primitive.
const CONTEXT_0: u8 = 0x80;

/// The first value of these bytes in DER, as far as PKCS#12 needs it: definite lengths, and octet strings in one piece
/// (section 10.1 and 10.2). What follows the value is left away. `None` when it is not BER.
pub fn to_der(bytes: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (value, _) = Value::read(bytes, DEEPEST)?;
    let mut der = Zeroizing::new(Vec::with_capacity(bytes.len()));
    value.write(&mut der);
    Some(der)
}

/// A value: `[identifier octets] [length octets] [contents octets]`, and of an indefinite length `[00 00]` at the end.
struct Value<'a> {
    identifier: &'a [u8],
    contents: Contents<'a>,
}

enum Contents<'a> {
    Primitive(&'a [u8]),
    Constructed(Vec<Value<'a>>),
}

impl<'a> Value<'a> {
    /// Reads a value, and returns it with what follows.
    fn read(bytes: &'a [u8], depth: usize) -> Option<(Self, &'a [u8])> {
        let depth = depth.checked_sub(1)?;
        let first = *bytes.first()?;
        let size = match first & 0x1f {
            // Section 8.1.2.4: the last octet of a long tag number has no bit 8.
            0x1f => bytes.iter().skip(1).position(|octet| octet & 0x80 == 0)? + 2,
            _ => 1,
        };
        let (identifier, rest) = bytes.split_at_checked(size)?;
        let (length, rest) = rest.split_first()?;
        let is_constructed = first & CONSTRUCTED != 0;
        if *length == 0x80 {
            let (values, rest) = Self::read_all(rest, true, depth)?;
            let contents = is_constructed.then_some(Contents::Constructed(values))?;
            return Some((
                Self {
                    identifier,
                    contents,
                },
                rest,
            ));
        }
        let (length, rest) = match length {
            0..0x80 => (usize::from(*length), rest),
            _ => {
                let (octets, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
                let length = octets.iter().try_fold(0_usize, |length, octet| {
                    length.checked_mul(0x100)?.checked_add(usize::from(*octet))
                })?;
                (length, rest)
            }
        };
        let (contents, rest) = rest.split_at_checked(length)?;
        let contents = match is_constructed {
            true => Contents::Constructed(Self::read_all(contents, false, depth)?.0),
            false => Contents::Primitive(contents),
        };
        Some((
            Self {
                identifier,
                contents,
            },
            rest,
        ))
    }

    /// Reads values up to the end of the bytes, or up to the end-of-contents octets.
    fn read_all(
        mut bytes: &'a [u8],
        is_indefinite: bool,
        depth: usize,
    ) -> Option<(Vec<Self>, &'a [u8])> {
        let mut values = Vec::new();
        loop {
            match bytes {
                [0, 0, rest @ ..] if is_indefinite => return Some((values, rest)),
                [] => return (!is_indefinite).then_some((values, bytes)),
                _ => {
                    let (value, rest) = Self::read(bytes, depth)?;
                    values.push(value);
                    bytes = rest;
                }
            }
        }
    }

    fn is(&self, identifier: u8) -> bool {
        self.identifier == [identifier]
    }

    fn is_octet_string(&self) -> bool {
        self.is(OCTET_STRING) || self.is(OCTET_STRING | CONSTRUCTED)
    }

    fn children(&self) -> &[Self] {
        match &self.contents {
            Contents::Primitive(_) => &[],
            Contents::Constructed(values) => values,
        }
    }

    /// The octets of a string in pieces.
    fn join(&self, octets: &mut Vec<u8>) {
        match &self.contents {
            Contents::Primitive(contents) => octets.extend_from_slice(contents),
            Contents::Constructed(values) => values.iter().for_each(|value| value.join(octets)),
        }
    }

    fn write(&self, der: &mut Vec<u8>) {
        if self.is(OCTET_STRING | CONSTRUCTED) {
            return self.write_string(OCTET_STRING, der);
        }
        let mut contents = Zeroizing::new(Vec::new());
        match &self.contents {
            Contents::Primitive(octets) => contents.extend_from_slice(octets),
            Contents::Constructed(values) => {
                for (index, value) in values.iter().enumerate() {
                    match index == 2 && self.is_encrypted_content_info() {
                        true => value.write_string(CONTEXT_0, &mut contents),
                        false => value.write(&mut contents),
                    }
                }
            }
        }
        write(self.identifier, &contents, der);
    }

    fn write_string(&self, identifier: u8, der: &mut Vec<u8>) {
        let mut octets = Zeroizing::new(Vec::new());
        self.join(&mut octets);
        write(&[identifier], &octets, der);
    }

    /// Whether this is `EncryptedContentInfo` (RFC 2315 section 10.1) whose string, `[0] IMPLICIT`, is in pieces: by
    /// its tag alone it would not differ from an `[0] EXPLICIT` with a string in it.
    fn is_encrypted_content_info(&self) -> bool {
        match self.children() {
            [kind, algorithm, content] => {
                self.is(SEQUENCE)
                    && kind.is(OBJECT_IDENTIFIER)
                    && algorithm.is(SEQUENCE)
                    && content.is(CONTEXT_0 | CONSTRUCTED)
                    && content.children().iter().all(Self::is_octet_string)
            }
            _ => false,
        }
    }
}

/// Writes a value with its length in the shortest form.
fn write(identifier: &[u8], contents: &[u8], der: &mut Vec<u8>) {
    der.extend_from_slice(identifier);
    let length = contents.len().to_be_bytes();
    let significant: Vec<u8> = length.into_iter().skip_while(|octet| *octet == 0).collect();
    match (significant.as_slice(), u8::try_from(significant.len())) {
        ([], _) => der.push(0),
        ([short @ 0..0x80], _) => der.push(*short),
        (octets, count) => {
            der.push(0x80 | count.unwrap_or_default());
            der.extend_from_slice(octets);
        }
    }
    der.extend_from_slice(contents);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_become_definite_and_strings_whole() {
        for (ber, der) in [
            // A SEQUENCE of indefinite length with a string in two pieces.
            (
                "3080 2480040201020401030000 020105 0000",
                "3008 0403010203 020105",
            ),
            // EncryptedContentInfo with pieces; and an explicit [0] with one string, which stays.
            (
                "3080 06012a 3000 a0800401aa0401bb0000 0000",
                "3009 06012a 3000 8002aabb",
            ),
            ("3080 06012a a0800401aa0000 0000", "3008 06012a a0030401aa"),
            // A length in a longer form than it needs, and something behind.
            ("0482000101 0a", "040101"),
        ] {
            let bytes = |text: &str| hex::decode(text.replace(' ', "")).unwrap();
            assert_eq!(to_der(&bytes(ber)).unwrap().as_slice(), bytes(der), "{ber}");
        }
    }

    #[test]
    fn what_is_no_ber_is_none() {
        let deep = "3080".repeat(40) + &"0000".repeat(40);
        for text in [
            "", "30", "3080", "300402", "308404", "04800000", "30ff", "1fffff", &deep,
        ] {
            assert!(to_der(&hex::decode(text).unwrap()).is_none(), "{text}");
        }
    }
}
