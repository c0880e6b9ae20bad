//! FairPlay credentials as providers have them: files in, variables out.
//!
//! What Apple's portal, OpenSSL and other services write is read by [`files`], made to belong together
//! here, and written for the places that Spin reads variables from by [`export`]. [`request`] makes what
//! the portal asks for.

pub mod ask;
mod assemble;
pub(crate) mod ber;
pub mod decrypt;
pub mod export;
pub mod files;
pub mod group;
mod kind;
mod pkcs12;
pub mod request;

use anyhow::{Result, ensure};
use base64::Engine;
use der::Decode;
use keylet::encoding::BASE64;
use keylet::fairplay::credentials as variables;
use pkcs8::PrivateKeyInfoRef;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

pub use assemble::{Assembled, assemble};

use crate::random;
use keylet_host::Provided;

/// Rounds of PBKDF2 for a key that this program encrypts for a store. OpenSSL's own default: the
/// password lies beside the key there, and every cold start of the server pays for the rounds.
const ROUNDS_IN_STORE: u32 = 2048;

/// An RSA private key that was found.
#[derive(Clone)]
pub struct PrivateKey {
    /// PKCS#8, not encrypted.
    pub pkcs8: Zeroizing<Vec<u8>>,
    /// Modulus, big-endian, without leading zeros.
    pub modulus: Vec<u8>,
    /// The password that it was found encrypted with.
    pub password: Option<Zeroizing<String>>,
    /// As it was found, where the server can read that: PKCS#8 encrypted with PBES2.
    pub encrypted: Option<Vec<u8>>,
}

impl PrivateKey {
    /// A key in PKCS#1 or PKCS#8, not encrypted.
    ///
    /// # Errors
    /// What is no RSA key.
    pub fn from_der(der: &[u8]) -> Result<Self> {
        let (pkcs8, pkcs1) = match PrivateKeyInfoRef::from_der(der) {
            Ok(info) => {
                ensure!(
                    info.algorithm.oid == rsa::pkcs1::ALGORITHM_OID,
                    "the private key is not an RSA key"
                );
                (Zeroizing::new(der.to_vec()), info.private_key.as_bytes())
            }
            Err(_) => (to_pkcs8(der)?, der),
        };
        let key = rsa::pkcs1::RsaPrivateKeyRef::from_der(pkcs1)
            .map_err(|_| anyhow::anyhow!("it is not an RSA private key in PKCS#1 or PKCS#8"))?;
        let modulus = key.modulus.as_bytes().to_vec();
        Ok(Self {
            pkcs8,
            modulus,
            password: None,
            encrypted: None,
        })
    }

    /// Size in bits.
    pub fn bits(&self) -> usize {
        self.modulus.len() * 8
    }

    /// PKCS#8 as it is to be stored: encrypted when the key was, unless it is to be decrypted.
    fn stored(&self, password: Option<&str>) -> Result<Zeroizing<Vec<u8>>> {
        let Some(password) = password else {
            return Ok(self.pkcs8.clone());
        };
        if let (Some(encrypted), Some(own)) = (&self.encrypted, &self.password)
            && own.as_str() == password
        {
            return Ok(Zeroizing::new(encrypted.clone()));
        }
        encrypt(&self.pkcs8, password, ROUNDS_IN_STORE)
    }
}

/// Wraps a PKCS#1 key in PKCS#8 (RFC 5958).
fn to_pkcs8(pkcs1: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let info = PrivateKeyInfoRef::new(
        rsa::pkcs1::ALGORITHM_ID,
        der::asn1::OctetStringRef::new(pkcs1)?,
    );
    Ok(Zeroizing::new(der::Encode::to_der(&info)?))
}

/// Encrypts PKCS#8 with PBES2: PBKDF2 with HMAC-SHA-256, and AES-256-CBC.
///
/// # Errors
/// None that a caller can mend.
pub fn encrypt(pkcs8: &[u8], password: &str, rounds: u32) -> Result<Zeroizing<Vec<u8>>> {
    use rand_core::Rng;
    let (mut salt, mut iv) = ([0; 16], [0; 16]);
    random::system().fill_bytes(&mut salt);
    random::system().fill_bytes(&mut iv);
    let parameters =
        pkcs8::pkcs5::pbes2::Parameters::generate_pbkdf2_sha256_aes256cbc(rounds, &salt, iv)?;
    let info = PrivateKeyInfoRef::try_from(pkcs8)?;
    let encrypted = info.encrypt_with_params(parameters, password)?;
    Ok(Zeroizing::new(encrypted.as_bytes().to_vec()))
}

/// A credential: a certificate or a bundle, its keys, its application secret key.
pub struct Credential {
    /// Its name in `fairplay_credentials`.
    pub name: String,
    /// DER, or a bundle.
    pub certificate: Vec<u8>,
    /// One for each certificate, the one of 1024 bits first.
    pub keys: Vec<PrivateKey>,
    /// The application secret key.
    pub ask: Option<ask::Ask>,
}

impl Credential {
    /// Its members as the variables have them: name, certificate, private key, password, ASk.
    fn members(&self, decrypt: bool) -> Result<Members> {
        let password = match decrypt {
            true => None,
            // A credential has room for one password.
            false => self.keys.iter().find_map(|key| key.password.as_deref()),
        }
        .map(String::as_str);
        let stored = self.keys.iter().map(|key| key.stored(password));
        Ok(Members {
            certificate: BASE64.encode(&self.certificate),
            private_keys: stored.collect::<Result<_>>()?,
            password: password.map(|password| Zeroizing::new(password.to_owned())),
            ask: self
                .ask
                .as_ref()
                .map(|ask| Zeroizing::new(hex::encode(ask.as_slice()))),
        })
    }
}

/// The values of a credential in variables.
struct Members {
    certificate: String,
    private_keys: Vec<Zeroizing<Vec<u8>>>,
    password: Option<Zeroizing<String>>,
    ask: Option<Zeroizing<String>>,
}

/// The `fairplay_…` variables for credentials: those of one by itself, or the list of several.
///
/// # Errors
/// None that a caller can mend.
pub fn to_variables(credentials: &[Credential], decrypt: bool) -> Result<Provided> {
    let mut output = Provided::new();
    if let [only] = credentials {
        let members = only.members(decrypt)?;
        output.insert(variables::CERTIFICATE.to_owned(), members.certificate);
        let private_keys = match members.private_keys.as_slice() {
            [one] => BASE64.encode(one.as_slice()),
            // A variable takes several as PEM, and base64 keeps that on one line.
            several => BASE64.encode(pem_blocks(several, members.password.is_some())?.as_bytes()),
        };
        output.insert(variables::PRIVATE_KEY.to_owned(), private_keys);
        for (name, value) in [
            (variables::PRIVATE_KEY_PASSWORD, members.password),
            (variables::ASK, members.ask),
        ] {
            if let Some(value) = value {
                output.insert(name.to_owned(), value.to_string());
            }
        }
        return Ok(output);
    }
    let mut list = Vec::new();
    for credential in credentials {
        let members = credential.members(decrypt)?;
        let mut entry = Map::new();
        entry.insert("name".into(), credential.name.as_str().into());
        entry.insert("certificate".into(), members.certificate.into());
        for (name, key) in ["private_key", "private_key_2048"]
            .iter()
            .zip(&members.private_keys)
        {
            entry.insert((*name).into(), BASE64.encode(key.as_slice()).into());
        }
        for (name, value) in [
            ("private_key_password", members.password),
            ("ask", members.ask),
        ] {
            if let Some(value) = value {
                entry.insert(name.into(), value.as_str().into());
            }
        }
        list.push(Value::Object(entry));
    }
    output.insert(
        variables::CREDENTIALS.to_owned(),
        Value::from(list).to_string(),
    );
    Ok(output)
}

fn pem_blocks(keys: &[Zeroizing<Vec<u8>>], encrypted: bool) -> Result<Zeroizing<String>> {
    let label = if encrypted {
        decrypt::ENCRYPTED_PRIVATE_KEY
    } else {
        decrypt::PRIVATE_KEY
    };
    let mut text = Zeroizing::new(String::new());
    for key in keys {
        let block = der::pem::encode_string(label, der::pem::LineEnding::LF, key)
            .map_err(|error| anyhow::anyhow!("{error}"))?;
        text.push_str(&Zeroizing::new(block));
    }
    Ok(text)
}

/// What is wrong with files, without any secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Problem {
    /// What it is about.
    pub part: CredentialPart,
    /// A sentence, with the file.
    pub text: String,
}

/// The part of a credential that a problem is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialPart {
    /// The certificate, or the file as a whole.
    Certificate,
    /// A private key.
    PrivateKey,
    /// The password of a private key.
    Password,
    /// The application secret key.
    Ask,
}

impl Problem {
    /// A problem.
    pub fn new(part: CredentialPart, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { part, text }
    }

    /// The error as a problem with this subject, unless it has one.
    fn about(part: CredentialPart, error: anyhow::Error) -> anyhow::Error {
        match error.is::<Self>() {
            true => error,
            false => Self::new(part, format!("{error:#}")).into(),
        }
    }
}
