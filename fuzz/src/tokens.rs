//! Tokens, the keys that verify them, and what they entitle to.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use http::Request;
use keylet::entitlement::Entitlement;
use keylet::service::{CODE_HEADER, Service};
use keylet::token::VerificationKeys;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::host::{Host, NOW, run, variables_with};

const SECRET: &[u8] = b"a secret of the issuer, 32 bytes";

/// A server that accepts tokens under the secret.
static VARIABLES: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
    let keys = json!({"keys": [{"kty": "oct", "k": URL_SAFE_NO_PAD.encode(SECRET)}]});
    variables_with(&[
        ("token_keys", &keys.to_string()),
        ("token_issuer", "https://issuer.example"),
        ("token_audience", "keylet"),
    ])
});

/// A header and claims, with a zero between them, which are signed. What is accepted here is accepted by another library.
pub fn jwt(data: &[u8]) {
    let end = data
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(data.len());
    let (header, claims) = (&data[..end], data.get(end + 1..).unwrap_or_default());
    let header = match header {
        [] => &br#"{"alg":"HS256"}"#[..],
        header => header,
    };
    let signed = [header, claims]
        .map(|part| URL_SAFE_NO_PAD.encode(part))
        .join(".");
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET).unwrap();
    mac.update(signed.as_bytes());
    let token = format!(
        "{signed}.{}",
        URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
    );
    if is_accepted(&token) {
        let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::HS256);
        validation.set_issuer(&["https://issuer.example"]);
        validation.set_audience(&["keylet"]);
        // Its clock is the system's: times are compared below.
        validation.validate_exp = false;
        validation.required_spec_claims = ["iss", "aud", "exp"].map(str::to_owned).into();
        let key = jsonwebtoken::DecodingKey::from_secret(SECRET).unwrap();
        let other = jsonwebtoken::decode::<Value>(&token, &key, &validation);
        let claims = other.expect("another library accepts it").claims;
        let expires = claims["exp"].as_f64().unwrap();
        assert!(
            expires + 61.0 > std::time::Duration::from_secs(NOW).as_secs_f64(),
            "it is over"
        );
    }
    // Any other text as a token.
    if let Ok(text) = std::str::from_utf8(data)
        && http::HeaderValue::from_str(text).is_ok()
    {
        assert!(!is_accepted(text) || text.contains(token.split('.').next().unwrap_or_default()));
    }
}

/// Whether a token is not what a request is refused for.
fn is_accepted(token: &str) -> bool {
    let Ok(request) = Request::post("/fairplay/check-in/challenge")
        .header("authorization", format!("Bearer {token}"))
        .body(Vec::new())
    else {
        return false;
    };
    let reply = run(Service::new(Host::new(VARIABLES.clone())).handle(request));
    let code = reply
        .headers()
        .get(CODE_HEADER)
        .map(|code| code.to_str().unwrap());
    let is_of_token = |code: &str| code.starts_with("token_") || code.starts_with("claim");
    !code.is_some_and(is_of_token)
}

/// A server that accepts Common Access Tokens under the secret.
static CAT_VARIABLES: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
    let key = json!({"kty": "oct", "kid": "cdn", "k": URL_SAFE_NO_PAD.encode(SECRET)});
    let policies = json!([{
        "name": "viewers",
        "restriction": {"issuer": "*", "audience": "*", "jwks": {"keys": [key]}},
        "terms": {},
    }]);
    variables_with(&[
        ("policies", &policies.to_string()),
        ("dialects", "cat"),
        ("public_url", "https://drm.example"),
        (
            "server_secret",
            "a secret of the server, long enough to be one",
        ),
        ("client_ip_header", "x-client"),
        ("client_country_header", "x-country"),
    ])
});

/// The length of a protected header, that header, and claims, which get a MAC (RFC 9052 section 6.3). Without a header it says
/// HS256. What is accepted, another library reads as a map, and it is not over.
pub fn cat(data: &[u8]) {
    let (length, rest) = data.split_first().unwrap_or((&0, &[]));
    let (header, claims) = rest.split_at(rest.len().min((*length).into()));
    let header = match header {
        [] => b"\xa1\x01\x05",
        header => header,
    };
    let mut signed = b"\x84\x64MAC0".to_vec();
    for part in [header, b"", claims] {
        signed.extend(byte_string(part));
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET).unwrap();
    mac.update(&signed);
    let mac = mac.finalize().into_bytes();
    let parts = [header, claims, &mac].map(byte_string);
    let token = [b"\xd1\x84", &parts[0][..], b"\xa0", &parts[1], &parts[2]].concat();
    if is_accepted_as_cat(&token) {
        let other = ciborium::from_reader(claims).expect("another library reads it");
        let ciborium::Value::Map(members) = other else {
            panic!("claims that are no map are accepted");
        };
        for (number, (label, _)) in members.iter().enumerate() {
            let again = members[..number].iter().any(|(known, _)| known == label);
            assert!(!again, "a claim twice");
        }
        let exp = members.iter().find(|(label, _)| *label == 4.into());
        let is_good = exp.is_some_and(|(_, exp)| match exp {
            ciborium::Value::Float(exp) => {
                exp + 61.0 > std::time::Duration::from_secs(NOW).as_secs_f64()
            }
            exp => i128::from(exp.as_integer().unwrap()) + 61 > i128::from(NOW),
        });
        assert!(is_good, "it is over");
    }
    assert!(!is_accepted_as_cat(data), "a MAC was guessed");
}

/// A byte string of CBOR (RFC 8949 section 3.1).
fn byte_string(bytes: &[u8]) -> Vec<u8> {
    let head = match (u8::try_from(bytes.len()), u16::try_from(bytes.len())) {
        (Ok(length @ 0..24), _) => vec![0x40 | length],
        (Ok(length), _) => vec![0x58, length],
        (_, length) => {
            let [high, low] = length.unwrap_or(u16::MAX).to_be_bytes();
            vec![0x59, high, low]
        }
    };
    [&head, bytes].concat()
}

/// Whether a viewer with a token is let in.
fn is_accepted_as_cat(token: &[u8]) -> bool {
    let token = URL_SAFE_NO_PAD.encode(token);
    let request = Request::post("/fairplay/check-in/challenge")
        .header("authorization", format!("Bearer {token}"))
        .header("x-client", "192.0.2.1")
        .header("x-country", "DE");
    let service = Service::new(Host::new(CAT_VARIABLES.clone()));
    let reply = run(service.handle(request.body(Vec::new()).unwrap()));
    reply.status().is_success()
}

/// Sets of keys, inline and published.
pub fn jwk_set(data: &[u8]) {
    let published = VerificationKeys::from_published(data);
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(keys) = VerificationKeys::from_json(text)
    {
        assert!(!keys.is_empty(), "a set without a key is an error");
        let _ = keys.check();
    }
    if let Ok(keys) = published {
        for key in keys.passed_over() {
            assert!(!key.to_string().is_empty());
        }
    }
}

/// Entitlements of a token, and their terms.
pub fn entitlements(data: &[u8]) {
    let Ok(claim) = keylet::encoding::json(data) else {
        return;
    };
    let _ = Entitlement::from_claim(&claim);
    let _ = Entitlement::from_token(&claim);
}
