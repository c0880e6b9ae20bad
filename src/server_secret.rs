//! The deployment's own secret, and the pseudonyms that are made with it.

use aes_gcm_siv::aead::{AeadInOut, Nonce, Tag};
use aes_gcm_siv::{Aes256GcmSiv, Key};
use base64::Engine;
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::configuration::{SettingError, SettingErrorKind, SettingsError};
use crate::encoding::BASE64_URL;
use crate::platform::Platform;

/// The variable that holds it: any text of 32 bytes or more.
pub const VARIABLE: &str = "server_secret";

const LEAST: usize = 32;

/// The sizes of a nonce and a tag of AES-256-GCM-SIV.
const NONCE: usize = 12;
const TAG: usize = 16;

/// What a derived key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// A device, by its anonymised identifier (HU).
    Device,
    /// A viewer, by the `sub` of a token.
    Subject,
    /// No pseudonym: tokens that this server makes itself.
    Token,
    /// Sessions: their ids, and what marks their claims.
    Session,
    /// No pseudonym: the tokens of sessions.
    SessionToken,
    /// No pseudonym: the tickets of renewals.
    Renewal,
}

impl Label {
    fn info(self) -> &'static [u8] {
        match self {
            Self::Device => b"keylet device pseudonym",
            Self::Subject => b"keylet subject pseudonym",
            Self::Token => b"keylet token",
            Self::Session => b"keylet session",
            Self::SessionToken => b"keylet session token",
            Self::Renewal => b"keylet renewal",
        }
    }
}

/// The secret. Keys are derived from it by HKDF-SHA256 (RFC 5869), one label each.
pub struct ServerSecret(Zeroizing<String>);

impl ServerSecret {
    /// Reads the secret. `None` when it is not configured.
    ///
    /// # Errors
    /// A secret that is too short.
    pub async fn load(platform: &impl Platform) -> Result<Option<Self>, SettingsError> {
        match platform.variable(VARIABLE).await? {
            Some(secret) if secret.len() < LEAST => Err(SettingError::new(
                VARIABLE,
                SettingErrorKind::Malformed,
                format!(
                    "it has {} bytes, and at least {LEAST} are needed",
                    secret.len()
                ),
            )
            .into()),
            secret => Ok(secret.map(Self)),
        }
    }

    /// The key for one purpose: as long as a block of SHA-256, so that HMAC takes it as it is.
    pub fn key(&self, label: Label) -> Zeroizing<[u8; 64]> {
        let mut key = Zeroizing::new([0; 64]);
        let derived = Hkdf::<Sha256>::new(None, self.0.as_bytes()).expand(label.info(), &mut *key);
        debug_assert!(derived.is_ok(), "64 bytes are no more than HKDF gives");
        key
    }

    /// What stands for a value in logs and terms: 32 hexadecimal digits, the same for the same
    /// value, and nothing to learn the value from.
    pub fn pseudonym(&self, label: Label, value: &[u8]) -> String {
        hex::encode(self.tag(label, value).split_at(16).0)
    }

    /// A JWS in compact serialisation (RFC 7515 section 7.1): a header and claims, both JSON, under the
    /// HMAC-SHA256 of a label's key.
    pub fn sign(&self, label: Label, header: &str, claims: &str) -> String {
        let [header, claims] = [header, claims].map(|part| BASE64_URL.encode(part));
        let signed = format!("{header}.{claims}");
        let tag = BASE64_URL.encode(self.tag(label, signed.as_bytes()));
        format!("{signed}.{tag}")
    }

    /// Whether this is the HMAC-SHA256 of what is signed, under a label's key.
    pub fn verifies(&self, label: Label, signed: &str, tag: &[u8]) -> bool {
        self.tag(label, signed.as_bytes()).ct_eq(tag).into()
    }

    /// Encrypts what only this server reads, under a label's key: a random nonce of 12 bytes, the bytes under
    /// AES-256-GCM-SIV (RFC 8452), and the tag of 16. `None` for more bytes than the cipher takes.
    pub fn seal(&self, label: Label, plain: &[u8], platform: &impl Platform) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE];
        platform.fill_random(&mut nonce);
        let mut sealed = plain.to_vec();
        let cipher = self.cipher(label);
        let tag = cipher.encrypt_inout_detached(
            &Nonce::<Aes256GcmSiv>::from(nonce),
            &[],
            sealed.as_mut_slice().into(),
        );
        Some([nonce.as_slice(), &sealed, tag.ok()?.as_slice()].concat())
    }

    /// Opens what [`Self::seal`] made. `None` for anything else.
    pub fn open(&self, label: Label, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE>()?;
        let (encrypted, tag) = rest.split_last_chunk::<TAG>()?;
        let mut opened = Zeroizing::new(encrypted.to_vec());
        let cipher = self.cipher(label);
        cipher
            .decrypt_inout_detached(
                &Nonce::<Aes256GcmSiv>::from(*nonce),
                &[],
                opened.as_mut_slice().into(),
                &Tag::<Aes256GcmSiv>::from(*tag),
            )
            .ok()?;
        Some(opened)
    }

    fn cipher(&self, label: Label) -> Aes256GcmSiv {
        let key = self.key(label);
        let half = key.first_chunk::<32>().copied().unwrap_or_default();
        Aes256GcmSiv::new(&Key::<Aes256GcmSiv>::from(*Zeroizing::new(half)))
    }

    fn tag(&self, label: Label, value: &[u8]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new(&(*self.key(label)).into());
        mac.update(value);
        mac.finalize().into_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pseudonym_depends_on_secret_label_and_value() {
        let one = ServerSecret(Zeroizing::new(
            "0123456789abcdef0123456789abcdef".to_owned(),
        ));
        let two = ServerSecret(Zeroizing::new(
            "0123456789abcdef0123456789abcdeF".to_owned(),
        ));
        let pseudonym = one.pseudonym(Label::Device, b"value");
        assert_eq!(pseudonym.len(), 32);
        assert_eq!(pseudonym, one.pseudonym(Label::Device, b"value"));
        assert_ne!(pseudonym, one.pseudonym(Label::Subject, b"value"));
        assert_ne!(pseudonym, one.pseudonym(Label::Device, b"valuf"));
        assert_ne!(pseudonym, two.pseudonym(Label::Device, b"value"));
    }
}
