//! Axinom's licence service message (version 1) with an entitlement message (version 2), which says what a licence may.
//!
//! A JWT under the communication key (HS256), in the header `x-axdrm-message`. Documented (`docs.axinom.com`, "Entitlement
//! Message"): the members of both messages and of `license.playready`, `min_device_security_level`, and how keys are
//! encrypted. Inferred: that the members for output protection have the names that version 1 of the message gave them.

use aes::Aes256;
use base64::Engine;
use cbc::cipher::{BlockModeEncrypt, KeyIvInit};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Map, Value, json};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::rights::{LicensedKey, Protection, Rights, date};
use crate::encoding::{BASE64, BASE64_URL, members};
use crate::id::Kid;
use crate::secret::{Key128, Secret};

/// How long a message is good, in seconds. It is made for one request; clocks differ.
const LIFE: u64 = 300;

/// A communication key.
pub struct CommunicationKey {
    /// Its id.
    pub id: String,
    /// The key, for AES-256 and HMAC-SHA256.
    pub key: Secret<32>,
}

impl CommunicationKey {
    /// The message for these keys at `now`, in seconds since 1970. `None` without a key.
    ///
    /// A message has one set of durations: of several keys, the stricter counts.
    pub fn message(&self, keys: &[LicensedKey<'_>], now: u64) -> Option<Zeroizing<String>> {
        let all = keys.iter().map(|key| key.rights.clone());
        let all = all.reduce(Rights::and)?;
        let is_here = keys.iter().any(|key| key.key.is_some());
        let source = if is_here { "inline" } else { "stored" };
        let ids: Vec<Value> = keys.iter().map(|key| self.content_key(key)).collect();
        let policies: Vec<Value> = keys.iter().filter_map(usage_policy).collect();
        let claims = json!({
            "version": 1,
            "com_key_id": self.id,
            "expiration_date": rfc3339(now.saturating_add(LIFE)),
            "message": {
                "type": "entitlement_message",
                "version": 2,
                "license": license(&all),
                "content_keys_source": members([(source, ids.into())]),
                "content_key_usage_policies": policies,
            },
        });
        let header = BASE64_URL.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
        let signed = format!("{header}.{}", BASE64_URL.encode(claims.to_string()));
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.expose()).ok()?;
        mac.update(signed.as_bytes());
        let tag = BASE64_URL.encode(mac.finalize().into_bytes());
        Some(Zeroizing::new(format!("{signed}.{tag}")))
    }

    fn content_key(&self, licensed: &LicensedKey<'_>) -> Value {
        let id = licensed.kid.to_string();
        let mut entry = members([("id", id.clone().into())]);
        if let Some(key) = licensed.key {
            entry.insert(
                "encrypted_key".to_owned(),
                self.encrypted(licensed.kid, &key.key).into(),
            );
        }
        if usage_policy(licensed).is_some() {
            entry.insert("usage_policy".to_owned(), id.into());
        }
        Value::Object(entry)
    }

    /// A key under AES-256-CBC without padding; the IV is the KID in the order of its digits.
    fn encrypted(&self, kid: Kid, key: &Key128) -> String {
        let mut block = (*key.expose()).into();
        cbc::Encryptor::<Aes256>::new(self.key.expose().into(), kid.as_bytes().into())
            .encrypt_block(&mut block);
        BASE64.encode(block)
    }
}

fn license(rights: &Rights) -> Map<String, Value> {
    let mut license = members([("allow_persistence", rights.persist.into())]);
    if let Some(end) = rights.end {
        license.insert("expiration_datetime".to_owned(), rfc3339(end).into());
    }
    let mut playready = members([("real_time_expiration", rights.stops.into())]);
    if let Some(seconds) = rights.playback_seconds {
        playready.insert("playback_duration".to_owned(), seconds.into());
    }
    license.insert("playready".to_owned(), playready.into());
    license
}

/// What a key requires of outputs and devices, under the key's id; `None` for a key that requires nothing.
fn usage_policy(key: &LicensedKey<'_>) -> Option<Value> {
    let rights = &key.rights;
    let mut playready = Map::new();
    if let Some(level) = rights.security_level() {
        playready.insert("min_device_security_level".to_owned(), level.into());
    }
    let outputs = &rights.play_right;
    for (name, level) in [
        (
            "uncompressed_digital_video_opl",
            outputs.uncompressed_digital_video,
        ),
        (
            "compressed_digital_video_opl",
            outputs.compressed_digital_video,
        ),
        ("analog_video_opl", outputs.analog_video),
        (
            "compressed_digital_audio_opl",
            outputs.compressed_digital_audio,
        ),
        (
            "uncompressed_digital_audio_opl",
            outputs.uncompressed_digital_audio,
        ),
    ] {
        if let Some(level) = level {
            playready.insert(name.to_owned(), level.into());
        }
    }
    for (name, protection) in [
        (
            "digital_video_output_protections",
            rights.digital_video_protection(),
        ),
        (
            "digital_audio_output_protections",
            rights.digital_audio_protection(),
        ),
        (
            "analog_video_output_protections",
            rights.analog_video_protection(),
        ),
    ] {
        if let Some(Protection { id, data }) = protection {
            playready.insert(name.to_owned(), json!([{"id": id, "config_data": data}]));
        }
    }
    if let Some(id) = rights.play_enabler() {
        playready.insert("play_enablers".to_owned(), json!([id]));
    }
    (!playready.is_empty()).then(|| json!({"name": key.kid.to_string(), "playready": playready}))
}

/// A date as RFC 3339 has it, in UTC.
fn rfc3339(time: u64) -> String {
    let [year, month, day, hour, minute, second] = date(time);
    format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z")
}
