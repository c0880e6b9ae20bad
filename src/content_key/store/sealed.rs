//! A key record as it is stored: everything in it is authenticated, and its key is encrypted.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | version of the layout, `01`; `81` is that of a key that a key server gave ([`FETCHED`]) |
//! | 1 | length *n* of the next field |
//! | *n* | `kid` of the encrypting key in `key_encryption_keys`, UTF-8 |
//! | 12 | nonce, random |
//! | 16 | the content key, encrypted |
//! | 16 | tag |
//! | the rest | the record without its key, a JSON object in UTF-8 ([`Description`]) |
//!
//! The algorithm is `AEAD_AES_256_GCM_SIV` (RFC 8452). The plaintext is the content key; the associated data is the
//! version, the length, the `kid`, and the JSON, one behind the other, as they are stored. A nonce that comes twice
//! shows no more than that the same key was stored with the same record.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::encryption_keys::{ENCRYPTED, EncryptionKeys, NONCE};
use crate::encoding;
use crate::platform::Platform;
use crate::secret::Key128;

const VERSION: u8 = 1;

/// The version of the layout for keys of a key server. Their JSON is another one. It is authenticated, so none of them
/// passes for a record of the operator's.
pub const FETCHED: u8 = 0x81;

/// What is wrong with a stored record. It never holds a part of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// It is cut short, or of another layout.
    #[error("the stored record is cut short, or not of a layout that this version reads")]
    Layout,
    /// It is encrypted by a key that is not configured.
    #[error(
        "the stored record is encrypted by the key `{0}`, which `key_encryption_keys` does not hold"
    )]
    EncryptionKey(String),
    /// It is not as it was encrypted.
    #[error("the stored record is not as this server wrote it")]
    Altered,
    /// It stands where another record or no record belongs.
    #[error("a name in the store leads to a record that does not have it")]
    Misplaced,
}

/// A record without its key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// The members of the record, as in `content_keys`, but for `key`.
    pub record: Map<String, Value>,
    /// When it was deleted and until when it can be restored, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<Deleted>,
}

/// A deletion, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Deleted {
    /// When no licence had the key any more.
    pub at: u64,
    /// Until when it can be restored.
    pub until: u64,
}

impl Deleted {
    /// Whether the time for restoring is over, at a time in seconds since 1970: the record counts as gone.
    pub fn is_over(&self, now: u64) -> bool {
        self.until <= now
    }
}

/// A record that was opened.
pub struct Opened<'a> {
    /// The `kid` of the key that encrypted it.
    pub encryption_key: &'a str,
    /// The content key.
    pub key: Key128,
    /// The rest of the record.
    pub description: Description,
}

/// Encrypts a record under the first key. `None` when it is too long to be encrypted.
pub fn seal(
    keys: &EncryptionKeys,
    key: &Key128,
    description: &Description,
    platform: &impl Platform,
) -> Option<Vec<u8>> {
    let json = serde_json::to_vec(description).ok()?;
    seal_as(VERSION, keys, key, &json, platform)
}

/// Encrypts a key under the first key, and authenticates its JSON. `None` when that is too long.
pub fn seal_as(
    version: u8,
    keys: &EncryptionKeys,
    key: &Key128,
    json: &[u8],
    platform: &impl Platform,
) -> Option<Vec<u8>> {
    let encryption_key = keys.first()?;
    let id = encryption_key.id.as_bytes();
    let mut nonce = [0; NONCE];
    platform.fill_random(&mut nonce);
    let head = [&[version, u8::try_from(id.len()).ok()?], id].concat();
    let data = [head.as_slice(), json].concat();
    let encrypted = encryption_key.encrypt(&nonce, &data, key)?;
    Some([head.as_slice(), &nonce, &encrypted, json].concat())
}

/// The parts of a sealed record.
struct Parts<'a> {
    head: &'a [u8],
    encryption_key: &'a [u8],
    nonce: &'a [u8; NONCE],
    encrypted: &'a [u8; ENCRYPTED],
    json: &'a [u8],
}

impl<'a> Parts<'a> {
    fn read(sealed: &'a [u8], of: u8) -> Option<Self> {
        let (&[version, length], rest) = sealed.split_first_chunk::<2>()?;
        let (encryption_key, rest) = rest.split_at_checked(usize::from(length))?;
        let (nonce, rest) = rest.split_first_chunk()?;
        let (encrypted, json) = rest.split_first_chunk()?;
        let (head, _) = sealed.split_at_checked(2 + encryption_key.len())?;
        (version == of).then_some(Self {
            head,
            encryption_key,
            nonce,
            encrypted,
            json,
        })
    }
}

/// Opens a sealed record.
///
/// # Errors
/// [`Fault`], but [`Fault::Misplaced`].
pub fn open<'k>(keys: &'k EncryptionKeys, sealed: &[u8]) -> Result<Opened<'k>, Fault> {
    let (encryption_key, key, json) = open_as(VERSION, keys, sealed)?;
    let description = encoding::from_json(json).map_err(|_| Fault::Layout)?;
    Ok(Opened {
        encryption_key,
        key,
        description,
    })
}

/// Opens what [`seal_as`] made: the `kid` of the key that encrypted it, the content key, and the JSON.
///
/// # Errors
/// As [`open`].
pub fn open_as<'k, 's>(
    version: u8,
    keys: &'k EncryptionKeys,
    sealed: &'s [u8],
) -> Result<(&'k str, Key128, &'s [u8]), Fault> {
    let parts = Parts::read(sealed, version).ok_or(Fault::Layout)?;
    let encryption_key = keys.find(parts.encryption_key).ok_or_else(|| {
        let id: String = String::from_utf8_lossy(parts.encryption_key)
            .chars()
            .take(64)
            .collect();
        Fault::EncryptionKey(id)
    })?;
    let data = [parts.head, parts.json].concat();
    let key = encryption_key
        .decrypt(parts.nonce, &data, parts.encrypted)
        .ok_or(Fault::Altered)?;
    Ok((&encryption_key.id, key, parts.json))
}
