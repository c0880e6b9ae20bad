//! The keys of `key_encryption_keys`, under which content keys are stored.

use std::cell::OnceCell;
use std::rc::Rc;

use aes_gcm_siv::aead::{AeadInOut, KeyInit, Nonce, Tag};
use aes_gcm_siv::{Aes256GcmSiv, Key};
use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::configuration::{SettingError, SettingErrorKind, SettingsError};
use crate::encoding;
use crate::platform::{Platform, once};
use crate::secret::{Key128, Secret};

/// The variable with a JWKS (RFC 7517) of `oct` keys of 32 bytes, each with a `kid` of its own. The first key
/// encrypts, and each decrypts.
pub const VARIABLE: &str = "key_encryption_keys";

/// The longest `kid`, in bytes: its length is stored in one.
const MAX_KID: usize = 255;

/// Bytes of a nonce (RFC 8452 section 4).
pub const NONCE: usize = 12;

/// Bytes of an encrypted content key: the key, and the tag of 16 bytes.
pub const ENCRYPTED: usize = 32;

/// The keys, in their order. There is at least one.
pub struct EncryptionKeys(Vec<EncryptionKey>);

/// The keys as an instance has them: the variable is read once, for every source that keeps something under them.
#[derive(Clone, Default)]
pub struct SharedKeys(Rc<OnceCell<Option<EncryptionKeys>>>);

impl SharedKeys {
    /// The keys. `None` when the variable is not set.
    ///
    /// # Errors
    /// As [`EncryptionKeys::load`].
    pub async fn get(
        &self,
        platform: &impl Platform,
    ) -> Result<Option<&EncryptionKeys>, SettingsError> {
        Ok(once(&self.0, EncryptionKeys::load(platform))
            .await?
            .as_ref())
    }
}

/// A key that encrypts content keys.
pub struct EncryptionKey {
    /// Its `kid`.
    pub id: String,
    key: Secret<32>,
}

impl EncryptionKeys {
    /// Reads [`VARIABLE`]. `None` when it is not set.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn load(platform: &impl Platform) -> Result<Option<Self>, SettingsError> {
        let json = platform.variable(VARIABLE).await?;
        json.map(|json| Self::from_json(&json))
            .transpose()
            .map_err(SettingsError::Invalid)
    }

    /// Reads a JWKS, or one JWK.
    ///
    /// # Errors
    /// Every key that is wrong; never a value.
    pub fn from_json(json: &str) -> Result<Self, Vec<SettingError>> {
        let document = encoding::json_object(json.as_bytes());
        let mut document =
            document.map_err(|error| vec![SettingError::from_json_error(VARIABLE, &error)])?;
        let keys = match document.remove("keys") {
            Some(Value::Array(keys)) => keys,
            Some(_) => return Err(vec![malformed("it is not a list").in_member("keys")]),
            None => vec![Value::Object(document)],
        };
        let mut problems = Vec::new();
        let mut read = Vec::with_capacity(keys.len());
        for (index, key) in keys.into_iter().enumerate() {
            match EncryptionKey::from_json(key) {
                Ok(key) if read.iter().any(|other: &EncryptionKey| other.id == key.id) => {
                    let reason = "another key has the same `kid`";
                    let error = SettingError::new(VARIABLE, SettingErrorKind::Collision, reason);
                    problems.push(error.at(index).in_member("kid"));
                }
                Ok(key) => read.push(key),
                Err(error) => problems.push(error.at(index)),
            }
        }
        if problems.is_empty() && read.is_empty() {
            problems.push(malformed("the set has no key"));
        }
        if problems.is_empty() {
            Ok(Self(read))
        } else {
            Err(problems)
        }
    }

    /// The key that encrypts.
    pub fn first(&self) -> Option<&EncryptionKey> {
        self.0.first()
    }

    /// The key with this `kid`.
    pub fn find(&self, id: &[u8]) -> Option<&EncryptionKey> {
        self.0.iter().find(|key| key.id.as_bytes() == id)
    }
}

impl EncryptionKey {
    fn from_json(jwk: Value) -> Result<Self, SettingError> {
        // A JWK may have members that are not for this server (RFC 7517 section 4).
        #[derive(Deserialize)]
        struct Jwk {
            kty: String,
            kid: Option<String>,
            k: Option<Zeroizing<String>>,
        }
        let jwk: Jwk = encoding::from_value(jwk)
            .map_err(|error| SettingError::from_json_error(VARIABLE, &error))?;
        if jwk.kty != "oct" {
            return Err(malformed("it is not `oct`: a symmetric key is needed").in_member("kty"));
        }
        let id = jwk.kid.filter(|id| (1..=MAX_KID).contains(&id.len()));
        let id = id.ok_or_else(|| {
            malformed(
                "each key needs one of 1 to 255 bytes: it is stored with what the key encrypts",
            )
            .in_member("kid")
        })?;
        let key = jwk.k.as_deref().and_then(|key| encoding::base64(key));
        let key = key.and_then(|key| Secret::try_from(key.as_slice()).ok());
        let key = key.ok_or_else(|| malformed("it is not 32 bytes in base64url").in_member("k"))?;
        Ok(Self { id, key })
    }

    /// Encrypts a content key, and authenticates `data` with it, by `AEAD_AES_256_GCM_SIV` (RFC 8452 section 5).
    /// `None` for data that is longer than the algorithm takes.
    pub fn encrypt(
        &self,
        nonce: &[u8; NONCE],
        data: &[u8],
        key: &Key128,
    ) -> Option<[u8; ENCRYPTED]> {
        let mut encrypted = [0; ENCRYPTED];
        let (ciphertext, tag) = encrypted.split_at_mut(16);
        ciphertext.copy_from_slice(key.expose());
        let made = self.cipher().encrypt_inout_detached(
            &Nonce::<Aes256GcmSiv>::from(*nonce),
            data,
            ciphertext.into(),
        );
        tag.copy_from_slice(&made.ok()?);
        Some(encrypted)
    }

    /// Decrypts a content key. `None` when it or the data is not as it was encrypted.
    pub fn decrypt(
        &self,
        nonce: &[u8; NONCE],
        data: &[u8],
        encrypted: &[u8; ENCRYPTED],
    ) -> Option<Key128> {
        let (ciphertext, tag) = encrypted.split_first_chunk::<16>()?;
        let tag: [u8; 16] = tag.try_into().ok()?;
        let mut key = Zeroizing::new(*ciphertext);
        self.cipher()
            .decrypt_inout_detached(
                &Nonce::<Aes256GcmSiv>::from(*nonce),
                data,
                key.as_mut_slice().into(),
                &Tag::<Aes256GcmSiv>::from(tag),
            )
            .ok()?;
        Some((*key).into())
    }

    fn cipher(&self) -> Aes256GcmSiv {
        Aes256GcmSiv::new(&Key::<Aes256GcmSiv>::from(*self.key.expose()))
    }
}

fn malformed(reason: impl Into<String>) -> SettingError {
    SettingError::new(VARIABLE, SettingErrorKind::Malformed, reason)
}
