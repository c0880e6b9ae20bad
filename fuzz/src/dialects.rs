//! Tokens of other services. A MAC and encryption hide what is inside: both are made after it was altered.

use std::sync::LazyLock;

use aes::Aes256;
use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeEncrypt, KeyIvInit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keylet::token::Dialects;
use keylet::token::dialect::{Error, Grant, Secrets};
use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::host::NOW;

static DIALECTS: LazyLock<Dialects> = LazyLock::new(Dialects::all);

/// The secret of every key id, of 32 bytes.
const SECRET: &[u8; 32] = b"the secret of each key: 32 bytes";

/// A deployment where each key has one secret.
struct OneSecret;

impl Secrets for OneSecret {
    fn secret(&self, _: &str, _: Option<&str>) -> Option<Zeroizing<Vec<u8>>> {
        Some(Zeroizing::new(SECRET.to_vec()))
    }
}

/// Claims of a JWT, a message of Kaltura, a policy of DoveRunner, and a message of any of them.
pub fn dialects(data: &[u8]) {
    if let Ok(Value::Object(claims)) = keylet::encoding::json(data)
        && let Some(read) = DIALECTS.of_claims(&claims, &OneSecret, NOW)
    {
        assert!(DIALECTS.name_of_claims(&claims).is_some());
        judge(read);
    }
    text(&STANDARD.encode(data), Some(&kaltura_signature(data)));
    text(&doverunner(data), None);
    if let Ok(data) = std::str::from_utf8(data) {
        text(data, None);
    }
}

fn text(text: &str, signature: Option<&str>) {
    if let Some(read) = DIALECTS.of_text(text, signature, &OneSecret, NOW) {
        assert!(DIALECTS.name_of_text(text).is_some());
        judge(read);
    }
}

/// A refusal has a reason of one line.
fn judge(read: Result<Grant, Error>) {
    if let Err(error) = read {
        let reason = error.to_string();
        assert!(!reason.is_empty() && !reason.contains('\n'), "{reason:?}");
    }
}

/// The signature of Kaltura's message, as it documents it.
fn kaltura_signature(message: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(SECRET);
    hash.update(message);
    STANDARD.encode(hash.finalize())
}

/// A token of DoveRunner with this policy, as it documents it.
fn doverunner(policy: &[u8]) -> String {
    let encryptor = cbc::Encryptor::<Aes256>::new(SECRET.into(), b"0123456789abcdef".into());
    let policy = STANDARD.encode(encryptor.encrypt_padded_vec::<Pkcs7>(policy));
    let timestamp = "2027-01-15T08:00:00Z";
    let mut hash = Sha256::new();
    hash.update(SECRET);
    for part in ["FairPlay", "site", "user", "movie", &policy, timestamp] {
        hash.update(part);
    }
    let token = json!({
        "drm_type": "FairPlay", "site_id": "site", "user_id": "user", "cid": "movie",
        "policy": policy, "timestamp": timestamp, "hash": STANDARD.encode(hash.finalize()),
    });
    STANDARD.encode(token.to_string())
}
