//! Content keys as Azure Media Services exports them: the answer of `listContentKeys` of a streaming locator (REST API
//! 2022-08-01), which `az ams streaming-locator list-content-keys` prints.
//!
//! | Azure | a record |
//! |---|---|
//! | `id` | `id` and `kid` |
//! | `value` | `key` |
//! | `type`: `CommonEncryptionCenc` | `systems`: Widevine, PlayReady |
//! | `CommonEncryptionCbcs` | FairPlay, Widevine, PlayReady |
//! | `EnvelopeEncryption` | AES-128 |
//!
//! `policyName`, `labelReferenceInStreamingPolicy` and `tracks` say which policy and which tracks had the key. They are
//! left out. Azure does not export the initialisation vector that FairPlay needs.

use keylet::drm_system::DrmSystem;
use keylet::id::Kid;
use serde_json::{Map, Value, json};

/// The member of an answer with the keys.
const KEYS: &str = "contentKeys";

/// The keys of an answer, or a key alone; the object itself when it is neither.
pub fn entries(mut object: Map<String, Value>) -> Result<Vec<Value>, Map<String, Value>> {
    match object.remove(KEYS) {
        Some(Value::Array(entries)) => Ok(entries),
        Some(other) => {
            object.insert(KEYS.to_owned(), other);
            Err(object)
        }
        None if object.contains_key("value") && !object.contains_key("key") => {
            Ok(vec![Value::Object(object)])
        }
        None => Err(object),
    }
}

/// The record of a key.
///
/// # Errors
/// What is wrong with it, in a sentence.
pub fn record(entry: Value) -> Result<Map<String, Value>, String> {
    let text = |name: &str| {
        let text = entry.get(name).and_then(Value::as_str);
        text.ok_or_else(|| {
            format!("`{name}` is missing. The answer of `listContentKeys` of a streaming locator has the keys")
        })
    };
    let kid = Kid::from_text(text("id")?).ok_or("`id` is not a GUID")?;
    let systems = match text("type")? {
        "CommonEncryptionCenc" => vec![DrmSystem::Widevine, DrmSystem::PlayReady],
        "CommonEncryptionCbcs" => vec![
            DrmSystem::FairPlay,
            DrmSystem::Widevine,
            DrmSystem::PlayReady,
        ],
        "EnvelopeEncryption" => vec![DrmSystem::Aes128],
        _ => {
            let reason = "`type` is none of CommonEncryptionCenc, CommonEncryptionCbcs and EnvelopeEncryption";
            return Err(reason.to_owned());
        }
    };
    let systems: Vec<&str> = systems.into_iter().map(DrmSystem::name).collect();
    let members = [
        ("id", json!(kid.to_string())),
        ("kid", json!(kid.to_string())),
        ("key", json!(text("value")?)),
        ("systems", json!(systems)),
    ];
    Ok(keylet::encoding::members(members))
}
