//! COSE messages with one MAC or one signature (RFC 9052 sections 6.2 and 4.2).
//!
//! ```text
//! [61 (] 17 or 18 ( [ protected: bstr of a map, unprotected: map, payload: bstr, tag or signature: bstr ] ) [ ) ]
//! ```

use super::cbor::Value;
use super::claims::{self, Claims};
use super::place::Asked;
use super::uri::UriRule;
use crate::encoding;
use crate::token::{self, Error, MAX_TOKEN, Signed};

/// The longest token in bytes, before base64.
pub const MAX_BYTES: usize = 4 * 1024;

/// The tag of a CWT (RFC 8392 section 6).
const TAG_CWT: u64 = 61;
/// `COSE_Mac0`
const TAG_MAC0: u64 = 17;
/// `COSE_Sign1`
const TAG_SIGN1: u64 = 18;

/// Header parameters (RFC 9052 section 3.1).
const ALG: i128 = 1;
const CRIT: i128 = 2;
const KID: i128 = 4;

/// What the first bytes of a token are in base64: the tags 61, 17 and 18, and an array of four.
const BEGINNINGS: [&str; 4] = ["0Y", "0o", "2D3R", "2D3S"];

/// Whether a text begins as a Common Access Token does. A JWT begins with `ey`.
pub fn is_shaped(text: &str) -> bool {
    BEGINNINGS.iter().any(|start| text.starts_with(start))
}

/// A Common Access Token whose envelope is read. Nothing in it is verified.
pub struct UntrustedCat {
    algorithm: &'static str,
    key_id: Option<String>,
    payload: Vec<u8>,
    signed: Vec<u8>,
    signature: Vec<u8>,
}

impl UntrustedCat {
    /// Reads the envelope of a token in base64url, padded or not.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Malformed`], [`Error::Critical`] and [`Error::Algorithm`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > MAX_TOKEN {
            return Err(Error::TooLarge(text.len()));
        }
        let bytes = encoding::base64(text).ok_or_else(|| malformed("it is not base64url"))?;
        if bytes.len() > MAX_BYTES {
            return Err(malformed("it has more than 4096 bytes before base64"));
        }
        let value = read(&bytes)?;
        let (is_mac, message) = match value {
            Value::Tag(TAG_CWT, inner) => envelope(*inner)?,
            value => envelope(value)?,
        };
        let Value::Array(parts) = message else {
            return Err(malformed("it is no array"));
        };
        let [
            Value::Bytes(protected),
            Value::Map(unprotected),
            Value::Bytes(payload),
            Value::Bytes(signature),
        ] = parts.as_slice()
        else {
            return Err(malformed(
                "it is not protected header, unprotected header, payload and signature",
            ));
        };
        let Value::Map(header) = read(protected)? else {
            return Err(malformed("the protected header is no map"));
        };
        if [&header, unprotected]
            .iter()
            .any(|map| find(map, CRIT).is_some())
        {
            return Err(Error::Critical);
        }
        // A MAC of 64 bits is none that a signature's place is good for.
        let algorithm = match (is_mac, find(&header, ALG).and_then(Value::as_int)) {
            (true, Some(5)) => "HS256",
            (false, Some(-7)) => "ES256",
            (false, Some(-37)) => "PS256",
            _ => return Err(Error::Algorithm),
        };
        if find(unprotected, ALG).is_some() {
            return Err(malformed("`alg` is not in the protected header alone"));
        }
        let key_id = match (find(&header, KID), find(unprotected, KID)) {
            (Some(one), Some(another)) if one != another => {
                return Err(malformed("it has two key ids that differ"));
            }
            (one, another) => one.or(another),
        };
        let key_id = key_id.map(|id| id.as_bytes().ok_or_else(|| malformed("`kid` is not bytes")));
        Ok(Self {
            algorithm,
            key_id: key_id.transpose()?.map(key_id_text),
            payload: payload.to_vec(),
            signed: signed(is_mac, protected, payload),
            signature: signature.to_vec(),
        })
    }

    /// The claims, for a request. Call this only after a signature has been verified.
    ///
    /// # Errors
    /// As [`Claims::read`].
    pub(crate) fn claims(&self, rule: &UriRule, asked: Option<&Asked>) -> Result<Claims, Error> {
        Claims::read(&self.entries()?, rule, asked)
    }

    /// The claims as a JWT would have them, and nothing of them checked.
    ///
    /// # Errors
    /// [`Error::Claims`]
    pub fn registered(&self) -> Result<token::Claims, Error> {
        claims::members(&self.entries()?).map(token::Claims)
    }

    fn entries(&self) -> Result<Vec<(Value<'_>, Value<'_>)>, Error> {
        match Value::read(&self.payload) {
            Ok(Value::Map(claims)) => Ok(claims),
            Ok(_) => Err(Error::Claims("they are no map".to_owned())),
            Err(error) => Err(Error::Claims(error.to_string())),
        }
    }
}

impl Signed for UntrustedCat {
    fn algorithm(&self) -> &str {
        self.algorithm
    }

    fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    fn message(&self) -> &[u8] {
        &self.signed
    }

    fn signature(&self) -> &[u8] {
        &self.signature
    }
}

fn malformed(reason: &str) -> Error {
    Error::Malformed(reason.to_owned())
}

fn read(bytes: &[u8]) -> Result<Value<'_>, Error> {
    Value::read(bytes).map_err(|error| malformed(&error.to_string()))
}

fn envelope(value: Value<'_>) -> Result<(bool, Value<'_>), Error> {
    match value {
        Value::Tag(TAG_MAC0, message) => Ok((true, *message)),
        Value::Tag(TAG_SIGN1, message) => Ok((false, *message)),
        _ => Err(malformed(
            "it is neither COSE_Mac0 nor COSE_Sign1 with its tag",
        )),
    }
}

fn find<'a, 'v>(map: &'a [(Value<'v>, Value<'v>)], label: i128) -> Option<&'a Value<'v>> {
    let entry = map.iter().find(|(key, _)| *key == Value::Int(label));
    entry.map(|(_, value)| value)
}

/// The key id as JWKs write it: text, or else hexadecimal.
fn key_id_text(id: &[u8]) -> String {
    match std::str::from_utf8(id) {
        Ok(text) => text.to_owned(),
        Err(_) => hex::encode(id),
    }
}

/// What the MAC or the signature is over (RFC 9052 sections 6.3 and 4.4), of the bytes as they came:
/// `[context, protected, h'', payload]`.
fn signed(is_mac: bool, protected: &[u8], payload: &[u8]) -> Vec<u8> {
    let context: &[u8] = match is_mac {
        true => b"\x84\x64MAC0",
        false => b"\x84\x6aSignature1",
    };
    let mut signed = context.to_vec();
    byte_string(protected, &mut signed);
    byte_string(&[], &mut signed);
    byte_string(payload, &mut signed);
    signed
}

/// Writes a byte string in its shortest form. It has at most [`MAX_BYTES`] bytes.
fn byte_string(bytes: &[u8], to: &mut Vec<u8>) {
    match u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes() {
        [0, length @ 0..=23] => to.push(0x40 | length),
        [0, length] => to.extend([0x58, length]),
        [high, low] => to.extend([0x59, high, low]),
    }
    to.extend(bytes);
}
