//! Makes Common Access Tokens (CTA-5007): CBOR (RFC 8949) in COSE (RFC 9052).

use std::net::IpAddr;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ipnet::IpNet;
use keylet::token::cat::{MAX_BYTES, label_of};
use serde_json::Value;

use crate::jwt::Signer;
use crate::random;

/// Claims whose maps have numbers for keys: `cnf`, `catu`, `cath`, `catif` and `catr`.
const NUMBERED: [i128; 5] = [8, 312, 315, 322, 323];

/// A token with claims under their names in a JWT; `jti` is hexadecimal, and `catv` is 1 where it is not said.
///
/// # Errors
/// A key for another algorithm than HS256, ES256 and PS256, and a claim that CBOR does not hold.
pub fn token(signer: &Signer, kid: Option<&str>, claims: &Value) -> Result<String> {
    let (tag, context, algorithm): (u8, &[u8], i64) = match signer {
        Signer::Hs256(_) => (0xd1, b"\x84\x64MAC0", 5),
        Signer::Es256(_) => (0xd2, b"\x84\x6aSignature1", -7),
        Signer::Ps256(_) => (0xd2, b"\x84\x6aSignature1", -37),
        _ => bail!(
            "a Common Access Token is signed by HS256, ES256 or PS256, and the key is for {}",
            signer.algorithm()
        ),
    };
    let mut protected = vec![0xa1, 0x01];
    integer(algorithm, &mut protected);
    let payload = payload(claims)?;
    let mut signed = context.to_vec();
    for part in [&protected[..], &[], &payload] {
        string(0x40, part, &mut signed)?;
    }
    let signature = signer.signature(&signed, &mut random::system())?;
    // The tag of a CWT (RFC 8392 section 6) stands before that of COSE.
    let mut token = vec![0xd8, 0x3d, tag, 0x84];
    string(0x40, &protected, &mut token)?;
    match kid {
        Some(kid) => {
            token.extend([0xa1, 0x04]);
            string(0x40, kid.as_bytes(), &mut token)?;
        }
        None => token.push(0xa0),
    }
    string(0x40, &payload, &mut token)?;
    string(0x40, &signature, &mut token)?;
    ensure!(
        token.len() <= MAX_BYTES,
        "the token has {} bytes before base64, and servers take {MAX_BYTES}",
        token.len()
    );
    Ok(URL_SAFE_NO_PAD.encode(token))
}

fn payload(claims: &Value) -> Result<Vec<u8>> {
    let claims = claims.as_object().context("the claims are no object")?;
    let is_versioned = claims.contains_key("catv");
    let mut bytes = Vec::new();
    head(0xa0, claims.len() + usize::from(!is_versioned), &mut bytes)?;
    for (name, value) in claims {
        let label = label_of(name).or_else(|| name.parse().ok());
        match label {
            Some(label) => integer(i64::try_from(label)?, &mut bytes),
            None => string(0x60, name.as_bytes(), &mut bytes)?,
        }
        match value {
            Value::String(id) if name == "jti" => {
                let id =
                    hex::decode(id).context("`jti` of a Common Access Token is hexadecimal")?;
                string(0x40, &id, &mut bytes)?;
            }
            Value::Array(networks) if name == "catnip" => {
                head(0x80, networks.len(), &mut bytes)?;
                for text in networks {
                    network(text.as_str().unwrap_or_default(), &mut bytes)?;
                }
            }
            value => write(
                value,
                label.is_some_and(|l| NUMBERED.contains(&l)),
                &mut bytes,
            )?,
        }
    }
    if !is_versioned {
        integer(310, &mut bytes);
        integer(1, &mut bytes);
    }
    Ok(bytes)
}

/// Writes a value. In `numbered` maps, keys that are numbers are written as such.
fn write(value: &Value, numbered: bool, to: &mut Vec<u8>) -> Result<()> {
    match value {
        Value::Null => to.push(0xf6),
        Value::Bool(flag) => to.push(if *flag { 0xf5 } else { 0xf4 }),
        Value::Number(number) => match number.as_i64() {
            Some(number) => integer(number, to),
            None => {
                let number = number.as_f64().context("a number has no value")?;
                to.push(0xfb);
                to.extend(number.to_be_bytes());
            }
        },
        Value::String(text) => string(0x60, text.as_bytes(), to)?,
        Value::Array(items) => {
            head(0x80, items.len(), to)?;
            for item in items {
                write(item, numbered, to)?;
            }
        }
        Value::Object(members) => {
            head(0xa0, members.len(), to)?;
            for (name, value) in members {
                match name.parse().ok().filter(|_| numbered) {
                    Some(number) => integer(number, to),
                    None => string(0x60, name.as_bytes(), to)?,
                }
                write(value, numbered, to)?;
            }
        }
    }
    Ok(())
}

/// Writes an address or a network with its tag (RFC 9164).
fn network(text: &str, to: &mut Vec<u8>) -> Result<()> {
    let net = match text.contains('/') {
        true => text.parse::<IpNet>()?.trunc(),
        false => text.parse::<IpAddr>()?.into(),
    };
    let (tag, mut bytes) = match net.addr() {
        IpAddr::V4(address) => (52, address.octets().to_vec()),
        IpAddr::V6(address) => (54, address.octets().to_vec()),
    };
    to.extend([0xd8, tag]);
    if text.contains('/') {
        to.push(0x82);
        integer(net.prefix_len().into(), to);
        // A prefix leaves zeros at its end away.
        while bytes.last() == Some(&0) {
            bytes.pop();
        }
    }
    string(0x40, &bytes, to)
}

fn integer(number: i64, to: &mut Vec<u8>) {
    let (major, argument) = match u64::try_from(number) {
        Ok(number) => (0x00, number),
        // -1 - n (RFC 8949 section 3.1).
        Err(_) => (0x20, (!number).unsigned_abs()),
    };
    argument_of(major, argument, to);
}

fn string(major: u8, bytes: &[u8], to: &mut Vec<u8>) -> Result<()> {
    head(major, bytes.len(), to)?;
    to.extend(bytes);
    Ok(())
}

fn head(major: u8, length: usize, to: &mut Vec<u8>) -> Result<()> {
    argument_of(major, u64::try_from(length)?, to);
    Ok(())
}

/// The head of an item, in its shortest form.
fn argument_of(major: u8, argument: u64, to: &mut Vec<u8>) {
    let bytes = argument.to_be_bytes();
    match bytes {
        [0, 0, 0, 0, 0, 0, 0, one @ 0..=23] => to.push(major | one),
        [0, 0, 0, 0, 0, 0, 0, one] => to.extend([major | 24, one]),
        [0, 0, 0, 0, 0, 0, a, b] => to.extend([major | 25, a, b]),
        [0, 0, 0, 0, a, b, c, d] => to.extend([major | 26, a, b, c, d]),
        _ => {
            to.push(major | 27);
            to.extend(bytes);
        }
    }
}
