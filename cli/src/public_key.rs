//! Public keys that verify tokens, as JWKs (RFC 7517).

use anyhow::{Context, Result, anyhow, bail, ensure};
use base64::Engine;
use der::Decode;
use keylet::encoding::{self, BASE64_URL, Pem, PemOrDer};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use x509_cert::Certificate;
use x509_cert::der::Encode;
use x509_cert::spki::SubjectPublicKeyInfoRef;

use crate::signing_key::{ED25519, ELLIPTIC_CURVE, P256, P384, RSA, SigningKey};

/// The keys of a file: PEM with public keys, certificates or private keys, of which the public part is taken; a JWK, or
/// a JWKS.
///
/// # Errors
/// A sentence without anything of the keys.
pub fn read(content: &[u8]) -> Result<Vec<Value>> {
    let text = encoding::text(content);
    let text = text.as_ref().map(|text| text.trim()).unwrap_or_default();
    if text.starts_with(['{', '[']) {
        return of_json(text);
    }
    let blocks = match encoding::pem_or_der(text) {
        Some(PemOrDer::Pem(blocks)) if !blocks.is_empty() => blocks,
        _ => bail!("it is neither PEM nor a JWK"),
    };
    let keys = blocks
        .iter()
        .filter(|block| !block.label.ends_with("PARAMETERS"))
        .map(of_pem);
    keys.map(|key| key.and_then(with_kid)).collect()
}

/// The keys of a JWK, a JWKS, or a list of keys.
fn of_json(text: &str) -> Result<Vec<Value>> {
    let document = encoding::json(text.as_bytes()).map_err(|reason| anyhow!(reason))?;
    let keys = match document.get("keys").cloned().unwrap_or(document) {
        Value::Array(keys) => keys,
        key => vec![key],
    };
    let keys = keys.into_iter().map(|key| {
        let Value::Object(mut key) = key else {
            bail!("a key is not a JSON object");
        };
        ensure!(
            key.contains_key("kty"),
            "a key has no `kty`, so it is no JWK"
        );
        // RFC 7518 section 6: what is private in a key pair.
        if key["kty"] != "oct" {
            for member in ["d", "p", "q", "dp", "dq", "qi", "oth"] {
                key.remove(member);
            }
        }
        with_kid(Value::Object(key))
    });
    keys.collect()
}

fn of_pem(block: &Pem) -> Result<Value> {
    const NONE: &str = "the public key is none of RSA, P-256, P-384 and Ed25519";
    match block.label.as_str() {
        label if label.ends_with("PRIVATE KEY") => {
            let mut key = SigningKey::of_block(block, None)?.signer.jwk("")?;
            key.as_object_mut().context(NONE)?.remove("kid");
            Ok(key)
        }
        "PUBLIC KEY" => of_info(&block.der).context(NONE),
        "RSA PUBLIC KEY" => of_rsa(&block.der).context(NONE),
        _ if block.is_certificate() => {
            let certificate = Certificate::from_der(&block.der)
                .map_err(|_| anyhow!("it is not an X.509 certificate"))?;
            let info = certificate.tbs_certificate().subject_public_key_info();
            of_info(&info.to_der()?).context(NONE)
        }
        label => bail!("a PEM block of a {label} is no public key"),
    }
}

/// `SubjectPublicKeyInfo` (RFC 5280 section 4.1).
fn of_info(der: &[u8]) -> Option<Value> {
    let info = SubjectPublicKeyInfoRef::from_der(der).ok()?;
    let key = info.subject_public_key.as_bytes()?;
    let base64url = |bytes: &[u8]| BASE64_URL.encode(bytes);
    match info.algorithm.oid {
        RSA => of_rsa(key),
        ELLIPTIC_CURVE => {
            let (curve, alg, length) = match info.algorithm.parameters_oid().ok()? {
                P256 => ("P-256", "ES256", 32),
                P384 => ("P-384", "ES384", 48),
                _ => return None,
            };
            // SEC 1 section 2.3.3: an uncompressed point.
            let (4, point) = key.split_first().map(|(form, point)| (*form, point))? else {
                return None;
            };
            let (x, y) = point.split_at_checked(length)?;
            let is_whole = y.len() == length;
            is_whole.then(|| {
                json!({"kty": "EC", "crv": curve, "x": base64url(x), "y": base64url(y), "alg": alg})
            })
        }
        ED25519 => {
            Some(json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(key), "alg": "EdDSA"}))
        }
        _ => None,
    }
}

/// `RSAPublicKey` (RFC 8017 appendix A.1.1).
fn of_rsa(der: &[u8]) -> Option<Value> {
    let key = rsa::pkcs1::RsaPublicKeyRef::from_der(der).ok()?;
    Some(json!({
        "kty": "RSA",
        "n": BASE64_URL.encode(key.modulus.as_bytes()),
        "e": BASE64_URL.encode(key.public_exponent.as_bytes()),
        "alg": "RS256",
    }))
}

/// With its thumbprint (RFC 7638) as key id, where it has none. A symmetric key is left without.
fn with_kid(mut key: Value) -> Result<Value> {
    let required: &[&str] = match key["kty"].as_str() {
        Some("RSA") => &["e", "kty", "n"],
        Some("EC") => &["crv", "kty", "x", "y"],
        Some("OKP") => &["crv", "kty", "x"],
        _ => return Ok(key),
    };
    if key.get("kid").is_none() {
        // Section 3.3: the members in order, without white space.
        let members: Option<Map<String, Value>> = required
            .iter()
            .map(|name| Some(((*name).to_owned(), key.get(*name)?.clone())))
            .collect();
        let members = Value::Object(members.context("the JWK lacks a member of its kind of key")?);
        key["kid"] = json!(BASE64_URL.encode(Sha256::digest(members.to_string())));
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thumbprint_of_the_standard_is_the_kid() {
        // RFC 7638 section 3.1.
        let key = r#"{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256"}"#;
        let keys = read(key.as_bytes()).unwrap();
        assert_eq!(
            keys[0]["kid"],
            "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
        );
    }
}
