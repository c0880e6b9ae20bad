//! The deployment's own secret, and the pseudonyms that are made with it.

use aes_gcm_siv::aead::{AeadInOut, Nonce, Tag};
use aes_gcm_siv::{Aes256GcmSiv, Key};
use base64::Engine;
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::configuration::{self, SettingsError};
use crate::encoding::BASE64_URL;
use crate::platform::Platform;

/// The variable that holds it: any text of 32 bytes or more, or a JSON list of such texts.
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
    /// A device, an address or a country that is counted.
    Abuse,
    /// A token of a viewer, by what identifies it where its uses are counted.
    TokenId,
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
            Self::Abuse => b"keylet abuse pseudonym",
            Self::TokenId => b"keylet token pseudonym",
        }
    }
}

/// The secret, or several of them while one is exchanged for another: the first makes tokens and tickets, each verifies and
/// opens them, and the last makes pseudonyms. Keys are derived by HKDF-SHA256 (RFC 5869), one label each.
pub struct ServerSecret {
    first: Zeroizing<String>,
    others: Vec<Zeroizing<String>>,
}

impl ServerSecret {
    /// Reads the secret. `None` when it is not configured.
    ///
    /// # Errors
    /// What is no list of secrets, and a secret that is too short.
    pub async fn load(platform: &impl Platform) -> Result<Option<Self>, SettingsError> {
        let wrong = |secret: &str| {
            let length = secret.len();
            let is_short = length < LEAST;
            is_short.then(|| format!("it has {length} bytes, and at least {LEAST} are needed"))
        };
        let mut secrets = configuration::secrets(VARIABLE, platform, wrong).await?;
        let others = secrets.split_off(secrets.len().min(1));
        Ok(secrets.pop().map(|first| Self { first, others }))
    }

    /// Each of the secrets, the first one first.
    fn all(&self) -> impl Iterator<Item = &str> {
        let all = std::iter::once(&self.first).chain(&self.others);
        all.map(|secret| secret.as_str())
    }

    /// What stands for a value in logs and terms: 32 hexadecimal digits, the same for the same
    /// value, and nothing to learn the value from.
    pub fn pseudonym(&self, label: Label, value: &[u8]) -> String {
        let secret = self.others.last().unwrap_or(&self.first);
        hex::encode(tag(secret, label, value).split_at(16).0)
    }

    /// A JWS in compact serialisation (RFC 7515 section 7.1): a header and claims, both JSON, under the
    /// HMAC-SHA256 of a label's key.
    pub fn sign(&self, label: Label, header: &str, claims: &str) -> String {
        let [header, claims] = [header, claims].map(|part| BASE64_URL.encode(part));
        let signed = format!("{header}.{claims}");
        let tag = BASE64_URL.encode(tag(&self.first, label, signed.as_bytes()));
        format!("{signed}.{tag}")
    }

    /// Whether this is the HMAC-SHA256 of what is signed, under a label's key of one of the secrets.
    pub fn verifies(&self, label: Label, signed: &str, tag: &[u8]) -> bool {
        let mut tags = self
            .all()
            .map(|secret| self::tag(secret, label, signed.as_bytes()));
        tags.any(|own| own.ct_eq(tag).into())
    }

    /// Encrypts what only this server reads, under a label's key: a random nonce of 12 bytes, the bytes under
    /// AES-256-GCM-SIV (RFC 8452), and the tag of 16. `None` for more bytes than the cipher takes.
    pub fn seal(&self, label: Label, plain: &[u8], platform: &impl Platform) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE];
        platform.fill_random(&mut nonce);
        let mut sealed = plain.to_vec();
        let cipher = cipher(&self.first, label);
        let tag = cipher.encrypt_inout_detached(
            &Nonce::<Aes256GcmSiv>::from(nonce),
            &[],
            sealed.as_mut_slice().into(),
        );
        Some([nonce.as_slice(), &sealed, tag.ok()?.as_slice()].concat())
    }

    /// Opens what [`Self::seal`] made under one of the secrets. `None` for anything else.
    pub fn open(&self, label: Label, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let mut ciphers = self.all().map(|secret| cipher(secret, label));
        ciphers.find_map(|cipher| opened(&cipher, sealed))
    }
}

/// The key for one purpose: as long as a block of SHA-256, so that HMAC takes it as it is.
fn key(secret: &str, label: Label) -> Zeroizing<[u8; 64]> {
    let mut key = Zeroizing::new([0; 64]);
    let derived = Hkdf::<Sha256>::new(None, secret.as_bytes()).expand(label.info(), &mut *key);
    debug_assert!(derived.is_ok(), "64 bytes are no more than HKDF gives");
    key
}

fn cipher(secret: &str, label: Label) -> Aes256GcmSiv {
    let key = key(secret, label);
    let half = key.first_chunk::<32>().copied().unwrap_or_default();
    Aes256GcmSiv::new(&Key::<Aes256GcmSiv>::from(*Zeroizing::new(half)))
}

fn opened(cipher: &Aes256GcmSiv, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, rest) = sealed.split_first_chunk::<NONCE>()?;
    let (encrypted, tag) = rest.split_last_chunk::<TAG>()?;
    let mut opened = Zeroizing::new(encrypted.to_vec());
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

fn tag(secret: &str, label: Label, value: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new(&(*key(secret, label)).into());
    mac.update(value);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pseudonym_depends_on_secret_label_and_value() {
        let of = |first: &str| ServerSecret {
            first: Zeroizing::new(first.to_owned()),
            others: Vec::new(),
        };
        let one = of("0123456789abcdef0123456789abcdef");
        let two = of("0123456789abcdef0123456789abcdeF");
        let pseudonym = one.pseudonym(Label::Device, b"value");
        assert_eq!(pseudonym.len(), 32);
        assert_eq!(pseudonym, one.pseudonym(Label::Device, b"value"));
        assert_ne!(pseudonym, one.pseudonym(Label::Subject, b"value"));
        assert_ne!(pseudonym, one.pseudonym(Label::Device, b"valuf"));
        assert_ne!(pseudonym, two.pseudonym(Label::Device, b"value"));
    }
}
