//! Private keys in the forms in which providers store them.

use std::cell::OnceCell;

use der::{Decode, SliceReader};
use pkcs8::{EncryptedPrivateKeyInfoRef, PrivateKeyInfoRef};
use zeroize::Zeroizing;

use crate::configuration::SettingErrorKind;
use crate::encoding::{self, PemOrDer};
use crate::rsa_key::{InvalidKey, PrivateKey};

/// A private key as stored: checked against its certificate at once, made ready on first use.
pub struct StoredKey {
    /// RSA modulus, big-endian, without leading zeros.
    pub modulus: Vec<u8>,
    /// How many rounds of PBKDF2 it takes to decrypt it; 0 when it is not encrypted so.
    pub rounds: u32,
    pkcs1: Zeroizing<Vec<u8>>,
    ready: OnceCell<PrivateKey>,
}

/// Why a private key is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable {
    /// What kind of problem.
    pub kind: SettingErrorKind,
    /// Whether it is the password that is wrong.
    pub is_password: bool,
    /// A sentence.
    pub reason: &'static str,
}

impl Unreadable {
    fn key(kind: SettingErrorKind, reason: &'static str) -> Self {
        Self {
            kind,
            is_password: false,
            reason,
        }
    }
}

/// Private keys in DER, taken out of the text of a setting. None is decrypted or read yet.
pub struct EncodedKeys(Vec<Zeroizing<Vec<u8>>>);

impl EncodedKeys {
    /// Takes apart PEM blocks in any number, or base64 of one key in DER. Empty text has none.
    ///
    /// # Errors
    /// [`Unreadable`] when it is neither, and for OpenSSL's traditional encryption.
    pub fn read(text: &str) -> Result<Self, Unreadable> {
        if text.is_empty() {
            return Ok(Self(Vec::new()));
        }
        match encoding::pem_or_der(text) {
            None => Err(Unreadable::key(
                SettingErrorKind::Malformed,
                "it is neither whole PEM blocks nor base64",
            )),
            Some(PemOrDer::Der(der)) => Ok(Self(vec![der])),
            Some(PemOrDer::Pem(blocks)) => blocks
                .into_iter()
                .filter(|pem| pem.label.ends_with("PRIVATE KEY"))
                .map(|pem| match pem.with_headers {
                    Some(_) => Err(Unreadable::key(
                        SettingErrorKind::Unsupported,
                        "it has the traditional encryption of OpenSSL (`DEK-Info`), which is not \
                         read here; convert it with `openssl pkcs8 -topk8`",
                    )),
                    None => Ok(pem.der),
                })
                .collect::<Result<_, _>>()
                .map(Self),
        }
    }

    /// Whether one is encrypted with a password.
    pub fn are_encrypted(&self) -> bool {
        let mut keys = self.0.iter();
        keys.any(|der| EncryptedPrivateKeyInfoRef::from_der(der).is_ok())
    }

    /// Reads the keys.
    ///
    /// # Errors
    /// [`Unreadable`] for the first that is not an RSA key in PKCS#1, PKCS#8, or PKCS#8 encrypted
    /// with PBES2.
    pub fn decode(&self, password: Option<&str>) -> Result<Vec<StoredKey>, Unreadable> {
        let keys = self.0.iter();
        keys.map(|der| StoredKey::from_der(der, password)).collect()
    }
}

impl StoredKey {
    fn from_der(der: &[u8], password: Option<&str>) -> Result<Self, Unreadable> {
        if is_pfx(der) {
            return Err(Unreadable::key(
                SettingErrorKind::Unsupported,
                "it is a PKCS#12 (PFX) container, which is not read here; take the key out with \
                 `openssl pkcs12`",
            ));
        }
        if let Ok(encrypted) = EncryptedPrivateKeyInfoRef::from_der(der) {
            let password = password.ok_or(Unreadable::key(
                SettingErrorKind::Missing,
                "it is encrypted, and `fairplay_private_key_password` is not set",
            ))?;
            // A space at an end of a password is its own, or was left there by who stored it.
            let decrypted = encrypted
                .decrypt(password)
                .or_else(|error| match password.trim() {
                    trimmed if trimmed.len() < password.len() => encrypted.decrypt(trimmed),
                    _ => Err(error),
                });
            let decrypted = decrypted.map_err(|_| Unreadable {
                kind: SettingErrorKind::Mismatch,
                is_password: true,
                reason: "the password does not decrypt it",
            })?;
            let parameters = encrypted.encryption_algorithm.pbes2();
            let derivation = parameters.and_then(|parameters| parameters.kdf.pbkdf2());
            return Ok(Self {
                rounds: derivation.map_or(0, |parameters| parameters.iteration_count),
                ..Self::from_der(decrypted.as_bytes(), None)?
            });
        }
        let pkcs1 = match PrivateKeyInfoRef::from_der(der) {
            Ok(info) => info.private_key.as_bytes(),
            Err(_) => der,
        };
        let key = pkcs1::RsaPrivateKeyRef::from_der(pkcs1).map_err(|_| {
            Unreadable::key(
                SettingErrorKind::Malformed,
                "it is not an RSA private key in PKCS#1 or PKCS#8",
            )
        })?;
        if bits(key.prime1.as_bytes()) != bits(key.prime2.as_bytes()) {
            return Err(Unreadable::key(
                SettingErrorKind::Unsupported,
                "its two primes differ in length, and such a key is not read here; make a key with `openssl genrsa`, \
                 and a certificate for it",
            ));
        }
        Ok(Self {
            modulus: key.modulus.as_bytes().to_vec(),
            rounds: 0,
            pkcs1: Zeroizing::new(pkcs1.to_vec()),
            ready: OnceCell::new(),
        })
    }

    /// The key, ready for use.
    ///
    /// # Errors
    /// [`InvalidKey`] when it is not sound, as far as that is seen at once.
    pub fn get(&self) -> Result<&PrivateKey, InvalidKey> {
        if let Some(key) = self.ready.get() {
            return Ok(key);
        }
        let key = PrivateKey::from_pkcs1_der(&self.pkcs1)?;
        Ok(self.ready.get_or_init(|| key))
    }
}

/// How many bits a number has, big-endian and without leading zeros.
fn bits(number: &[u8]) -> usize {
    let top = number.first().map_or(0, |byte| byte.leading_zeros());
    number.len() * 8 - usize::try_from(top).unwrap_or(0)
}

/// Whether this is a PKCS#12 `PFX`: a SEQUENCE that begins with INTEGER 3 (RFC 7292 section 4). It may be BER of
/// indefinite length, as NSS writes it.
pub fn is_pfx(der: &[u8]) -> bool {
    if der.starts_with(&[0x30, 0x80, 2, 1, 3]) {
        return true;
    }
    let version = || -> der::Result<u8> {
        let mut reader = SliceReader::new(der)?;
        der::Header::decode(&mut reader)?;
        u8::decode(&mut reader)
    };
    version() == Ok(3)
}
