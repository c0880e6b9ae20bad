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

use crate::host::{Host, NOW, fixture_variables, run};

const SECRET: &[u8] = b"a secret of the issuer, 32 bytes";

/// A server that accepts tokens under the secret.
static VARIABLES: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
    let keys = json!({"keys": [{"kty": "oct", "k": URL_SAFE_NO_PAD.encode(SECRET)}]});
    let mut variables = fixture_variables();
    for (name, value) in [
        ("token_keys", keys.to_string()),
        ("token_issuer", "https://issuer.example".to_owned()),
        ("token_audience", "keylet".to_owned()),
    ] {
        variables.insert(name.to_owned(), value);
    }
    variables
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
