//! FairPlay credentials as providers have them: files in, variables out.
//!
//! What Apple's portal, OpenSSL and other services write is read by [`files`], made to belong together
//! here, and written for the places that Spin reads variables from by [`export`]. [`request`] makes what
//! the portal asks for.

pub mod ask;
mod ber;
pub mod decrypt;
pub mod export;
pub mod files;
mod pkcs12;
pub mod request;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use base64::Engine;
use der::Decode;
use keylet::encoding::BASE64;
use keylet::fairplay::certificate::ApplicationCertificate;
use keylet::fairplay::credentials as variables;
use pkcs8::PrivateKeyInfoRef;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

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
    pub ask: Option<Zeroizing<[u8; 16]>>,
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

/// Everything that was found in files, and what became of it.
#[derive(Default)]
pub struct Assembled {
    /// The credentials that are complete enough to be written.
    pub credentials: Vec<Credential>,
    /// Lines for a person: what was taken, what was left, without any secret.
    pub report: Vec<String>,
    /// What is wrong, without any secret.
    pub problems: Vec<Problem>,
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

/// Makes credentials of groups of files: the files of a group belong together.
pub fn assemble(groups: &[files::Group]) -> Assembled {
    let mut assembled = Assembled::default();
    for group in groups {
        assembled.add(group);
    }
    assembled.join_equal();
    let mut names: Vec<String> = Vec::new();
    for credential in &mut assembled.credentials {
        let mut name = credential.name.clone();
        let mut number = 2;
        while names.contains(&name) {
            name = format!("{}-{number}", credential.name);
            number += 1;
        }
        credential.name.clone_from(&name);
        names.push(name);
    }
    assembled
}

impl Assembled {
    fn add(&mut self, group: &files::Group) {
        self.report.extend(group.notes.iter().cloned());
        self.problems.extend(group.problems.iter().cloned());
        let mut keys: Vec<&files::Found<PrivateKey>> = Vec::new();
        for key in &group.keys {
            // The same key is often there in two forms.
            match keys
                .iter()
                .find(|other| other.value.modulus == key.value.modulus)
            {
                Some(other) => self
                    .report
                    .push(format!("{}: the same key as in {}", key.file, other.file)),
                None => keys.push(key),
            }
        }
        let certificates = self.distinct(&group.certificates);
        let fits = |certificate: &&files::Found<ApplicationCertificate>| {
            let mut each = certificate.value.certificates.iter();
            each.any(|one| keys.iter().any(|key| key.value.modulus == one.modulus))
        };
        let some_fit = certificates.iter().any(fits);
        // What a file that could not be read may have held is not told to be missing.
        let is_whole = |parts: &[CredentialPart]| {
            !group
                .problems
                .iter()
                .any(|problem| parts.contains(&problem.part))
        };
        let has_every_key = is_whole(&[CredentialPart::PrivateKey, CredentialPart::Password]);
        let has_every_file = has_every_key && is_whole(&[CredentialPart::Certificate]);
        let mut used = BTreeSet::new();
        let mut found = Vec::new();
        for certificate in &certificates {
            let mut own = Vec::new();
            let mut missing = Vec::new();
            for one in &certificate.value.certificates {
                match keys.iter().position(|key| key.value.modulus == one.modulus) {
                    Some(index) => own.push(index),
                    None => missing.push(one.bits()),
                }
            }
            if own.is_empty() && some_fit {
                self.report.push(format!(
                    "{}: left out, no private key here belongs to this certificate",
                    certificate.file
                ));
                continue;
            }
            for bits in missing.iter().filter(|_| has_every_key) {
                let text = match keys.is_empty() {
                    true => format!(
                        "{}: there is no private key for the {bits}-bit certificate",
                        certificate.file
                    ),
                    false => format!(
                        "{}: none of the private keys belongs to the {bits}-bit certificate: their moduli differ. \
                         Apple issues a certificate for one signing request, and only the key of that request fits",
                        certificate.file
                    ),
                };
                self.problems
                    .push(Problem::new(CredentialPart::PrivateKey, text));
            }
            used.extend(own.iter().copied());
            if missing.is_empty() {
                found.push((*certificate, own));
            }
        }
        if certificates.is_empty() && has_every_file && !(keys.is_empty() && group.asks.is_empty())
        {
            let text = format!("{}: there is no certificate", group.name);
            self.problems
                .push(Problem::new(CredentialPart::Certificate, text));
        }
        let left_out = keys.iter().enumerate();
        for (_, key) in left_out.filter(|(index, _)| !used.contains(index)) {
            self.report.push(format!(
                "{}: left out, this {}-bit key belongs to no certificate here",
                key.file,
                key.value.bits()
            ));
        }
        let asks: Vec<&files::Found<Zeroizing<[u8; 16]>>> = group.asks.iter().collect();
        let ask = match asks.as_slice() {
            [] => None,
            [first, rest @ ..] => {
                if rest.iter().any(|other| *other.value != *first.value) {
                    let files: Vec<&str> = asks.iter().map(|ask| ask.file.as_str()).collect();
                    let text = format!("{}: these hold different ASks", files.join(", "));
                    self.problems.push(Problem::new(CredentialPart::Ask, text));
                }
                Some(first)
            }
        };
        if let (Some(ask), true) = (ask, found.len() > 1) {
            let text = format!(
                "{}: there are {} certificates, and nothing says whose ASk this is. Give each credential a \
                 directory of its own, or use certificates.json",
                ask.file,
                found.len()
            );
            self.problems.push(Problem::new(CredentialPart::Ask, text));
            return;
        }
        let several = found.len() > 1;
        for (certificate, own) in found {
            let name = match several {
                true => format!("{}-{}", group.name, certificate.value.certificates.len()),
                false => group.name.clone(),
            };
            let credential = Credential {
                name,
                certificate: certificate.value.der.clone(),
                keys: own
                    .iter()
                    .filter_map(|index| keys.get(*index))
                    .map(|key| key.value.clone())
                    .collect(),
                ask: ask.map(|ask| ask.value.clone()),
            };
            self.report
                .push(describe(&credential, &certificate.value, &certificate.file));
            self.credentials.push(credential);
        }
    }
}

impl Assembled {
    /// Of certificates that are there several times, in DER, PEM and PKCS#12, the first one. One that a bundle holds is
    /// left to the bundle, by which the server knows it too.
    fn distinct<'a>(
        &mut self,
        all: &'a [files::Found<ApplicationCertificate>],
    ) -> Vec<&'a files::Found<ApplicationCertificate>> {
        let mut distinct: Vec<&files::Found<ApplicationCertificate>> = Vec::new();
        for (index, certificate) in all.iter().enumerate() {
            let der = &certificate.value.der;
            let equal = all.iter().take(index).find(|other| other.value.der == *der);
            let bundle = all.iter().find(|other| {
                let mut parts = other.value.certificates.iter();
                other.value.der.len() > der.len() && parts.any(|part| part.der == *der)
            });
            match (equal, bundle) {
                (Some(other), _) => self.report.push(format!(
                    "{}: the same certificate as in {}",
                    certificate.file, other.file
                )),
                (None, Some(bundle)) => self.report.push(format!(
                    "{}: this certificate is in the bundle {}",
                    certificate.file, bundle.file
                )),
                (None, None) => distinct.push(certificate),
            }
        }
        distinct
    }

    /// Makes one credential of those with the same certificate.
    fn join_equal(&mut self) {
        let mut distinct: Vec<Credential> = Vec::new();
        // The names of those that have another ASk than the first one.
        let mut others: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for credential in std::mem::take(&mut self.credentials) {
            let mut before = distinct.iter_mut();
            let Some(first) = before.find(|one| one.certificate == credential.certificate) else {
                distinct.push(credential);
                continue;
            };
            match (&first.ask, &credential.ask) {
                (Some(one), Some(other)) if one != other => {
                    let others = others.entry(first.name.clone()).or_default();
                    others.push(credential.name);
                    continue;
                }
                (None, Some(_)) => first.ask = credential.ask,
                _ => {}
            }
            let text = format!("{}: the same credential as {}", credential.name, first.name);
            self.report.push(text);
        }
        for (first, others) in others {
            let text = format!(
                "{first} and {}: two different ASks for one certificate. Apple issues one ASk with a certificate",
                others.join(", ")
            );
            self.problems.push(Problem::new(CredentialPart::Ask, text));
        }
        self.credentials = distinct;
    }
}

fn describe(credential: &Credential, certificate: &ApplicationCertificate, file: &str) -> String {
    let sizes: Vec<String> = certificate
        .certificates
        .iter()
        .map(|one| one.bits().to_string())
        .collect();
    let what = match sizes.as_slice() {
        [one] => format!("certificate of {one} bits"),
        several => format!("bundle of certificates of {} bits", several.join(" and ")),
    };
    let encrypted = credential.keys.iter().any(|key| key.password.is_some());
    format!(
        "{file}: {what}, with {}{}",
        if encrypted {
            "its private key (encrypted)"
        } else {
            "its private key"
        },
        if credential.ask.is_some() {
            " and an ASk"
        } else {
            ", without an ASk"
        },
    )
}
