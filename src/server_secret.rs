//! The deployment's own secret, and the pseudonyms that are made with it.

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
}

impl Label {
    fn info(self) -> &'static [u8] {
        match self {
            Self::Device => b"keylet device pseudonym",
            Self::Subject => b"keylet subject pseudonym",
            Self::Token => b"keylet token",
            Self::Session => b"keylet session",
            Self::SessionToken => b"keylet session token",
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
