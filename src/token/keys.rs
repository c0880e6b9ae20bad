//! Verification keys: a JWKS (RFC 7517), each key bound to one algorithm.

use std::cell::{OnceCell, RefCell};
use std::collections::VecDeque;
use std::fmt::{self, Display};

use base64::Engine;
use der::asn1::UintRef;
use ed25519_dalek::Verifier as _;
use hmac::digest::block_api::EagerHash;
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256, Sha384, Sha512};
use zeroize::Zeroizing;

use crate::ecdsa_key;
use crate::encoding::{self, BASE64, JsonError, PEM_BEGIN, Pem, PemOrDer};
use crate::rsa_key::{PublicKey, SignatureHash};
use crate::token::Error;
use crate::token::dialect::Secrets;
use crate::token::vendor;
use crate::x509;

/// The algorithms that are verified, by their names in RFC 7518 section 3.1 and RFC 8037. `Ed25519` (RFC 9864) is another
/// name of `EdDSA` here.
pub const ALGORITHMS: [&str; 12] = [
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256",
    "ES384", "EdDSA",
];

const PEM_INSTEAD: &str = "it is PEM, and should be a JWKS: `keylet token jwks FILE` turns a public key or a certificate into one";

/// How many keys are tried for a token that names none.
const MOST_TRIED: usize = 8;

/// How many tokens a key remembers.
const REMEMBERED: usize = 256;

/// What is wrong with a set of keys. It holds nothing of their content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyError {
    /// The index of the key, counted from 0; `None` for the set as a whole.
    pub index: Option<usize>,
    /// What is wrong with it, in a sentence.
    pub reason: String,
}

impl KeyError {
    fn of_set(reason: String) -> Self {
        let index = None;
        Self { index, reason }
    }

    fn of_key(index: usize, reason: String) -> Self {
        let index = Some(index);
        Self { index, reason }
    }
}

impl Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index {
            // People count from 1.
            Some(index) => write!(f, "key {}: {}", index.saturating_add(1), self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

/// Why a document is no set of keys. It holds nothing of the document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotKeys {
    /// It is not JSON.
    #[error("it is no JSON: {0}")]
    Json(JsonError),
    /// It has no `keys`.
    #[error("the member `keys` is missing or no list, so it is no JWKS")]
    NoSet,
    /// It is a map from key ids to X.509 certificates, as Google publishes for other libraries than those of JWT.
    #[error(
        "it is a map of X.509 certificates, and no JWKS. Give the URL of the issuer's JWKS. For Firebase that is {FIREBASE_KEYS}"
    )]
    Certificates,
    /// It is the document of `OpenID` discovery.
    #[error(
        "it is a document of OpenID discovery, and no JWKS. Give the URL that its `jwks_uri` has"
    )]
    Discovery,
    /// The set is empty.
    #[error("the set has no key")]
    Empty,
    /// No key of the set can be used.
    #[error(
        "the set has no key that verifies signatures: of {count}, the first is not used because {first}"
    )]
    Unread {
        /// How many there are.
        count: usize,
        /// What is wrong with the first one, in a sentence.
        first: String,
    },
}

/// The JWKS with the keys of Firebase's tokens. The documentation of Firebase names the X.509 certificates of the same keys.
const FIREBASE_KEYS: &str =
    "https://www.googleapis.com/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com";

/// The keys of a JWKS, of a bare list, or the one key.
fn keys_of(document: Value) -> Result<Vec<Value>, NotKeys> {
    let mut document = match document {
        Value::Array(keys) if keys.iter().all(|key| key.get("kty").is_some()) => return Ok(keys),
        Value::Object(document) => document,
        _ => return Err(NotKeys::NoSet),
    };
    if let Some(Value::Array(keys)) = document.remove("keys") {
        return Ok(keys);
    }
    let is_certificate =
        |value: &Value| value.as_str().is_some_and(|text| text.contains(PEM_BEGIN));
    Err(match document {
        document if document.contains_key("kty") => return Ok(vec![Value::Object(document)]),
        document if document.contains_key("jwks_uri") => NotKeys::Discovery,
        document if document.values().any(is_certificate) => NotKeys::Certificates,
        _ => NotKeys::NoSet,
    })
}

/// A token as its issuer signed it, whatever its form.
pub trait Signed {
    /// The name of its algorithm, one of [`ALGORITHMS`] or another.
    fn algorithm(&self) -> &str;
    /// The id of the key that signed it, where it names one.
    fn key_id(&self) -> Option<&str>;
    /// The bytes that are signed.
    fn message(&self) -> &[u8];
    /// The signature, or the MAC.
    fn signature(&self) -> &[u8];

    /// Whether it is signed with a secret that both sides have (RFC 7518 section 3.2).
    fn has_mac(&self) -> bool {
        self.algorithm().starts_with("HS")
    }
}

/// A key of a set that verifies nothing here: it is for another purpose, of a type or curve, or for an algorithm, that
/// this server does not verify. [`Display`] has it in a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOver {
    /// Its index in the set, counted from 0.
    pub index: usize,
    /// Its `kid`.
    pub kid: Option<String>,
    /// Its `kty`.
    pub kty: String,
    /// Its `alg`.
    pub alg: Option<String>,
    /// Why it is not used, in a sentence.
    pub reason: String,
}

impl PassedOver {
    fn new(index: usize, jwk: &Jwk, reason: String) -> Self {
        Self {
            index,
            kid: jwk.kid.clone(),
            kty: jwk.kty.clone(),
            alg: jwk.alg.clone(),
            reason,
        }
    }
}

impl Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // People count from 1.
        write!(
            f,
            "key {} (kty {:?}",
            self.index.saturating_add(1),
            self.kty
        )?;
        for (name, value) in [("alg", &self.alg), ("kid", &self.kid)] {
            if let Some(value) = value {
                write!(f, ", {name} {value:?}")?;
            }
        }
        write!(f, "): {}", self.reason)
    }
}

/// Keys that verify what an issuer signs.
#[derive(Default)]
pub struct VerificationKeys {
    keys: Vec<VerificationKey>,
    /// Keys that verify nothing here.
    passed_over: Vec<PassedOver>,
    /// Symmetric keys for messages that are not JWTs.
    others: Vec<Jwk>,
    /// Whether keys that turn out to be invalid are skipped.
    is_published: bool,
}

impl VerificationKeys {
    /// Reads a JWKS, its keys as a bare list, or one JWK. Keys that are not for what this server verifies are
    /// [passed over](Self::passed_over).
    ///
    /// # Errors
    /// What is wrong with the set, or with each of its other keys; never its content. A set without any such key is
    /// wrong, too.
    pub fn from_json(json: &str) -> Result<Self, Vec<KeyError>> {
        let of_set = |reason: String| vec![KeyError::of_set(reason)];
        let document = encoding::json(json.as_bytes());
        let document = document.map_err(|error| match json.contains(PEM_BEGIN) {
            true => of_set(PEM_INSTEAD.to_owned()),
            false => of_set(error.to_string()),
        })?;
        let keys = keys_of(document).map_err(|error| of_set(error.to_string()))?;
        let keys = Jwk::read_each(keys).map_err(|error| vec![error])?;
        let this = Self::from_jwks(keys)?;
        match this.is_empty() {
            true => Err(of_set(this.nothing().to_string())),
            false => Ok(this),
        }
    }

    /// Reads a JWKS that its issuer publishes, or its keys as a bare list, or one JWK: each has one meaning. Keys that
    /// cannot be read are skipped, and so is every symmetric key: a published secret must verify nothing.
    ///
    /// # Errors
    /// A document that is not a JWKS, or has no key that verifies signatures.
    pub fn from_published(json: &[u8]) -> Result<Self, NotKeys> {
        let document = encoding::json(json).map_err(NotKeys::Json)?;
        let mut this = Self {
            is_published: true,
            ..Self::default()
        };
        for (index, key) in keys_of(document)?.into_iter().enumerate() {
            let key = match encoding::from_value::<Jwk>(key) {
                Ok(key) => key,
                Err(error) => {
                    this.pass_over(index, &Jwk::default(), error.to_string());
                    continue;
                }
            };
            let about = PassedOver::new(index, &key, String::new());
            let read = key.check_published();
            match read.and_then(|()| VerificationKey::read(index, key)) {
                Ok(key) => this.keys.push(key),
                Err(reason) => this.passed_over.push(PassedOver { reason, ..about }),
            }
        }
        match this.is_empty() {
            true => Err(this.nothing()),
            false => Ok(this),
        }
    }

    /// Takes keys one by one.
    ///
    /// # Errors
    /// As [`Self::from_json`].
    pub(crate) fn from_jwks(jwks: Vec<Jwk>) -> Result<Self, Vec<KeyError>> {
        let mut this = Self::default();
        let mut errors = Vec::new();
        for (index, jwk) in jwks.into_iter().enumerate() {
            if let Err(reason) = jwk.is_for_signatures() {
                this.pass_over(index, &jwk, reason);
                continue;
            }
            let alg = jwk.alg.as_deref().unwrap_or_default();
            if jwk.kty == "oct" && vendor::is_key_algorithm(alg) {
                match jwk.symmetric(1) {
                    Ok(_) => this.others.push(jwk),
                    Err(reason) => errors.push(KeyError::of_key(index, reason)),
                }
                continue;
            }
            if let Err(reason) = jwk.algorithm() {
                this.pass_over(index, &jwk, reason);
                continue;
            }
            match VerificationKey::read(index, jwk) {
                Ok(key) => this.keys.push(key),
                Err(reason) => errors.push(KeyError::of_key(index, reason)),
            }
        }
        if errors.is_empty() {
            Ok(this)
        } else {
            Err(errors)
        }
    }

    /// Prepares every key, which otherwise happens on its first use.
    ///
    /// # Errors
    /// What is wrong with each invalid key, as in [`Self::from_json`].
    pub fn check(&self) -> Result<(), Vec<KeyError>> {
        let errors: Vec<KeyError> = self
            .keys
            .iter()
            .filter_map(|key| Some(KeyError::of_key(key.index, key.ready().err()?)))
            .collect();
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.others.is_empty()
    }

    /// The keys of the set that verify nothing here.
    pub fn passed_over(&self) -> &[PassedOver] {
        &self.passed_over
    }

    /// Why there is no key.
    pub(crate) fn nothing(&self) -> NotKeys {
        match self.passed_over.first() {
            None => NotKeys::Empty,
            Some(first) => NotKeys::Unread {
                count: self.passed_over.len(),
                first: first.reason.clone(),
            },
        }
    }

    fn pass_over(&mut self, index: usize, jwk: &Jwk, reason: String) {
        self.passed_over.push(PassedOver::new(index, jwk, reason));
    }

    /// Verifies a token with the keys that fit: those of its `alg` that have its `kid`, else those
    /// without a `kid`. Without `kid` in the token, the first eight keys of its
    /// `alg` fit.
    ///
    /// Its claims are not read.
    ///
    /// # Errors
    /// [`Error::Algorithm`], [`Error::KeyUnknown`], [`Error::KeyUnusable`] or [`Error::Signature`].
    pub(crate) fn verify(&self, token: &impl Signed) -> Result<(), Error> {
        self.verifying(token).map(|_| ())
    }

    /// Which key verifies a token: its index in the set, counted from 0, and its `kid`.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub(crate) fn signer(&self, token: &impl Signed) -> Result<(usize, Option<&str>), Error> {
        let key = self.verifying(token)?;
        Ok((key.index, key.jwk.kid.as_deref()))
    }

    fn verifying(&self, token: &impl Signed) -> Result<&VerificationKey, Error> {
        let algorithm = match token.algorithm() {
            // RFC 9864 section 2.2 names what EdDSA is on this curve.
            "Ed25519" => "EdDSA",
            algorithm => algorithm,
        };
        if !ALGORITHMS.contains(&algorithm) {
            return Err(Error::Algorithm);
        }
        let of_algorithm = || self.keys.iter().filter(|key| key.algorithm == algorithm);
        let fitting: Vec<&VerificationKey> = match token.key_id() {
            None => of_algorithm().take(MOST_TRIED).collect(),
            Some(kid) => {
                let named: Vec<_> = of_algorithm()
                    .filter(|key| key.jwk.kid.as_deref() == Some(kid))
                    .collect();
                if named.is_empty() {
                    of_algorithm().filter(|key| key.jwk.kid.is_none()).collect()
                } else {
                    named
                }
            }
        };
        let mut result = Err(Error::KeyUnknown);
        for key in fitting {
            result = match key.ready() {
                Ok(verifier) => key.verify(verifier, token).map(|()| key),
                Err(_) if self.is_published => continue,
                Err(_) => Err(Error::KeyUnusable),
            };
            if result.is_ok() {
                break;
            }
        }
        result
    }
}

impl VerificationKeys {
    /// The `kid` of the first symmetric key for messages of this algorithm that are not JWTs.
    pub(crate) fn first_for(&self, algorithm: &str) -> Option<&str> {
        let mut keys = self.others.iter();
        keys.find_map(|key| {
            key.kid
                .as_deref()
                .filter(|_| key.alg.as_deref() == Some(algorithm))
        })
    }
}

impl Secrets for VerificationKeys {
    fn secret(&self, kid: &str, alg: Option<&str>) -> Option<Zeroizing<Vec<u8>>> {
        let fits = |(key, own): &(&Jwk, Option<&str>)| {
            let named = key
                .kid
                .as_deref()
                .is_some_and(|k| k.eq_ignore_ascii_case(kid));
            key.kty == "oct" && named && alg.is_none_or(|alg| *own == Some(alg))
        };
        let verifying = self.keys.iter();
        let verifying = verifying.map(|key| (&key.jwk, Some(key.algorithm)));
        let others = self.others.iter().map(|key| (key, key.alg.as_deref()));
        let (key, _) = verifying.chain(others).find(fits)?;
        key.symmetric(1).ok()
    }
}

/// A key. Its algorithm is read at once; the rest is prepared on first use. Reading the point of an
/// elliptic curve costs more than reading the rest of a small key set.
struct VerificationKey {
    /// Its index in the set, counted from 0.
    index: usize,
    algorithm: &'static str,
    jwk: Jwk,
    verifier: OnceCell<Verifier>,
    /// The last tokens whose signature was valid: SHA-256 of the signed part and the signature. An
    /// instance gets the same token for renewals and for several keys, and to verify a signature costs
    /// more than a licence.
    verified: RefCell<VecDeque<[u8; 32]>>,
}

impl VerificationKey {
    fn read(index: usize, jwk: Jwk) -> Result<Self, String> {
        let this = Self {
            index,
            algorithm: jwk.algorithm()?,
            jwk: jwk.with_certificate()?,
            verifier: OnceCell::new(),
            verified: RefCell::default(),
        };
        if this.jwk.kty == "oct" {
            // This is cheap, and a key that is too short must never be used.
            this.ready()?;
        }
        Ok(this)
    }

    fn ready(&self) -> Result<&Verifier, String> {
        if let Some(verifier) = self.verifier.get() {
            return Ok(verifier);
        }
        let verifier = self.jwk.verifier(self.algorithm)?;
        Ok(self.verifier.get_or_init(|| verifier))
    }

    /// Verifies the signature, only once when the same token is sent again. Nothing else is remembered:
    /// claims and times are checked each time.
    fn verify(&self, verifier: &Verifier, token: &impl Signed) -> Result<(), Error> {
        if verifier.is_cheap() {
            return verifier.verify(token);
        }
        let digest: [u8; 32] = Sha256::new()
            .chain_update(token.message())
            .chain_update([0])
            .chain_update(token.signature())
            .finalize()
            .into();
        if self.verified.borrow().contains(&digest) {
            return Ok(());
        }
        verifier.verify(token)?;
        let mut verified = self.verified.borrow_mut();
        verified.truncate(REMEMBERED - 1);
        verified.push_front(digest);
        Ok(())
    }
}

/// A key, ready for use by the one algorithm that it is for (RFC 7518 section 3, RFC 8037 section 3.1).
enum Verifier {
    /// HMAC.
    Hmac(SignatureHash, Zeroizing<Vec<u8>>),
    /// RSASSA-PKCS1-v1_5.
    Rsa(SignatureHash, PublicKey),
    /// RSASSA-PSS.
    Pss(SignatureHash, PublicKey),
    /// ECDSA with P-256 and SHA-256.
    P256(ecdsa_key::PublicKey),
    /// ECDSA with P-384 and SHA-384.
    P384(Box<ecdsa_key::P384PublicKey>),
    /// Ed25519.
    EdDsa(ed25519_dalek::VerifyingKey),
}

impl Verifier {
    /// Whether verifying costs no more than remembering.
    fn is_cheap(&self) -> bool {
        matches!(self, Self::Hmac(..))
    }

    fn verify(&self, token: &impl Signed) -> Result<(), Error> {
        let (message, signature) = (token.message(), token.signature());
        let holds = match self {
            Self::Hmac(SignatureHash::Sha256, key) => hmac::<Sha256>(key, message, signature),
            Self::Hmac(SignatureHash::Sha384, key) => hmac::<Sha384>(key, message, signature),
            Self::Hmac(SignatureHash::Sha512, key) => hmac::<Sha512>(key, message, signature),
            Self::Rsa(hash, key) => key.verify_pkcs1v15(*hash, message, signature),
            Self::Pss(hash, key) => key.verify_pss(*hash, message, signature),
            Self::P256(key) => key.verify_sha256(message, signature),
            Self::P384(key) => key.verify_sha384(message, signature),
            Self::EdDsa(key) => ed25519_dalek::Signature::from_slice(signature)
                .and_then(|signature| key.verify(message, &signature))
                .is_ok(),
        };
        holds.then_some(()).ok_or(Error::Signature)
    }
}

/// Whether a message has this complete MAC; in constant time.
fn hmac<H: EagerHash>(key: &[u8], message: &[u8], tag: &[u8]) -> bool {
    // HMAC accepts a key of any length.
    Hmac::<H>::new_from_slice(key)
        .is_ok_and(|mac| mac.chain_update(message).verify_slice(tag).is_ok())
}

/// The members of a JWK that matter here (RFC 7517, RFC 7518 section 6, RFC 8037).
#[derive(Deserialize, Default)]
pub(crate) struct Jwk {
    pub(crate) kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    use_: Option<String>,
    crv: Option<String>,
    pub(crate) k: Option<Zeroizing<String>>,
    pub(crate) n: Option<String>,
    pub(crate) e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    /// Certificates in base64, the key's own first (RFC 7517 section 4.7).
    x5c: Option<Value>,
}

impl Jwk {
    /// Reads keys one by one.
    ///
    /// # Errors
    /// What is wrong with the first invalid key, by its index counted from 0.
    pub(crate) fn read_each(keys: Vec<Value>) -> Result<Vec<Self>, KeyError> {
        let keys = keys.into_iter().enumerate().map(|(index, key)| {
            encoding::from_value(key).map_err(|error| KeyError::of_key(index, error.to_string()))
        });
        keys.collect()
    }

    /// Whether it may verify what its issuer signs, of a set that the issuer publishes.
    ///
    /// # Errors
    /// Why it verifies nothing, in a sentence.
    fn check_published(&self) -> Result<(), String> {
        if self.kty == "oct" {
            return Err("it is symmetric, and a published secret verifies nothing".to_owned());
        }
        self.is_for_signatures()
    }

    /// Whether it is meant for signatures (RFC 7517 section 4.2).
    ///
    /// # Errors
    /// That it is not, in a sentence.
    fn is_for_signatures(&self) -> Result<(), String> {
        match self.use_.as_deref() {
            Some("enc") => Err("it is for encryption".to_owned()),
            _ => Ok(()),
        }
    }

    /// The same with the key of its first certificate, where it has no other public half (RFC 7517 section 4.7).
    fn with_certificate(mut self) -> Result<Self, String> {
        const NONE: &str = "it has only `x5c`, whose first certificate has no RSA key";
        let certificate = self.x5c.as_ref().and_then(|chain| chain.get(0)?.as_str());
        if let Some(certificate) = certificate
            && self.kty != "oct"
            && self.n.is_none()
            && self.x.is_none()
        {
            let key = Self::of_certificate(certificate).ok();
            let key = key.filter(|key| key.kty == self.kty).ok_or(NONE)?;
            (self.n, self.e) = (key.n, key.e);
        }
        Ok(self)
    }

    /// A symmetric key in base64, for HS256.
    pub(crate) fn symmetric_key(key: Zeroizing<String>) -> Self {
        Self {
            kty: "oct".to_owned(),
            k: Some(key),
            ..Self::default()
        }
    }

    /// An RSA key in base64, for RS256.
    pub(crate) fn rsa_key(modulus: String, exponent: String) -> Self {
        Self {
            kty: "RSA".to_owned(),
            n: Some(modulus),
            e: Some(exponent),
            ..Self::default()
        }
    }

    /// The RSA key of an X.509 certificate, PEM or base64 DER, for RS256.
    pub(crate) fn of_certificate(text: &str) -> Result<Self, String> {
        const NONE: &str = "`rawBody` is no X.509 certificate with an RSA key";
        let der = match encoding::pem_or_der(text) {
            Some(PemOrDer::Der(der)) => der,
            Some(PemOrDer::Pem(blocks)) => {
                let mut blocks = blocks.into_iter();
                blocks.find(Pem::is_certificate).ok_or(NONE)?.der
            }
            None => return Err(NONE.to_owned()),
        };
        let Ok((certificate, [])) = x509::Certificate::split_from(&der) else {
            return Err(NONE.to_owned());
        };
        let key = certificate.public_key;
        let text = |number: UintRef<'_>| BASE64.encode(number.as_bytes());
        Ok(Self::rsa_key(text(key.modulus), text(key.public_exponent)))
    }

    /// The algorithm that the key is for: the one that it names, or the usual one of its type.
    fn algorithm(&self) -> Result<&'static str, String> {
        let curve = self.crv.as_deref();
        let (usual, others, reason): (_, &[_], _) = match self.kty.as_str() {
            "oct" => (
                "HS256",
                &["HS384", "HS512"],
                "`alg` is none of HS256, HS384 and HS512",
            ),
            "RSA" => (
                "RS256",
                &["RS384", "RS512", "PS256", "PS384", "PS512"],
                "`alg` is none of RS256, RS384, RS512, PS256, PS384 and PS512",
            ),
            "EC" if curve == Some("P-256") => ("ES256", &[], "a key on P-256 is for ES256"),
            "EC" if curve == Some("P-384") => ("ES384", &[], "a key on P-384 is for ES384"),
            "EC" => return Err("an EC key is for ES256 on P-256 or ES384 on P-384".to_owned()),
            "OKP" if curve == Some("Ed25519") => {
                ("EdDSA", &[], "an OKP key is for EdDSA on Ed25519")
            }
            "OKP" => return Err("an OKP key is for EdDSA on Ed25519".to_owned()),
            _ => return Err("`kty` is none of oct, RSA, EC and OKP".to_owned()),
        };
        match self.alg.as_deref() {
            None => Ok(usual),
            Some("Ed25519") if usual == "EdDSA" => Ok(usual),
            Some(named) => std::iter::once(usual)
                .chain(others.iter().copied())
                .find(|known| *known == named)
                .ok_or_else(|| reason.to_owned()),
        }
    }

    fn verifier(&self, algorithm: &str) -> Result<Verifier, String> {
        let hmac = |hash, length| Ok(Verifier::Hmac(hash, self.symmetric(length)?));
        let rsa = |hash| Ok(Verifier::Rsa(hash, self.rsa()?));
        let pss = |hash| Ok(Verifier::Pss(hash, self.rsa()?));
        match algorithm {
            "HS256" => hmac(SignatureHash::Sha256, 32),
            "HS384" => hmac(SignatureHash::Sha384, 48),
            "HS512" => hmac(SignatureHash::Sha512, 64),
            "RS256" => rsa(SignatureHash::Sha256),
            "RS384" => rsa(SignatureHash::Sha384),
            "RS512" => rsa(SignatureHash::Sha512),
            "PS256" => pss(SignatureHash::Sha256),
            "PS384" => pss(SignatureHash::Sha384),
            "PS512" => pss(SignatureHash::Sha512),
            "ES256" => self.p256(),
            "ES384" => self.p384(),
            _ => self.octet_key_pair(),
        }
    }

    /// A key at least as long as the hash, in bytes (RFC 7518 section 3.2).
    fn symmetric(&self, least: usize) -> Result<Zeroizing<Vec<u8>>, String> {
        let key = member("k", self.k.as_deref().map(String::as_str))?;
        if key.len() < least {
            return Err(format!(
                "`k` has {} bytes, and its algorithm needs {least}",
                key.len()
            ));
        }
        Ok(key)
    }

    fn rsa(&self) -> Result<PublicKey, String> {
        PublicKey::from_components(
            &member("n", self.n.as_deref())?,
            &member("e", self.e.as_deref())?,
        )
        .map_err(|_| "it is not an RSA key of 2048 to 4096 bits".to_owned())
    }

    fn p256(&self) -> Result<Verifier, String> {
        const NONE: &str = "it is not a point on P-256";
        let [x, y] = self.coordinates(NONE)?;
        ecdsa_key::PublicKey::from_coordinates(x, y)
            .map(Verifier::P256)
            .map_err(|_| NONE.to_owned())
    }

    fn p384(&self) -> Result<Verifier, String> {
        const NONE: &str = "it is not a point on P-384";
        let [x, y] = self.coordinates(NONE)?;
        ecdsa_key::P384PublicKey::from_coordinates(x, y)
            .map(|key| Verifier::P384(Box::new(key)))
            .map_err(|_| NONE.to_owned())
    }

    /// The coordinates of a point, in full length (RFC 7518 sections 6.2.1.2 and 6.2.1.3).
    fn coordinates<const N: usize>(&self, none: &str) -> Result<[[u8; N]; 2], String> {
        let coordinate = |name, value: &Option<String>| {
            let bytes = member(name, value.as_deref())?;
            <[u8; N]>::try_from(bytes.as_slice()).map_err(|_| none.to_owned())
        };
        Ok([coordinate("x", &self.x)?, coordinate("y", &self.y)?])
    }

    fn octet_key_pair(&self) -> Result<Verifier, String> {
        let x = member("x", self.x.as_deref())?;
        ed25519_dalek::VerifyingKey::try_from(x.as_slice())
            .map(Verifier::EdDsa)
            .map_err(|_| "it is not an Ed25519 public key".to_owned())
    }
}

fn member(name: &str, value: Option<&str>) -> Result<Zeroizing<Vec<u8>>, String> {
    value
        .and_then(encoding::base64)
        .ok_or_else(|| format!("`{name}` is missing or not base64url"))
}

#[cfg(test)]
mod tests {
    use p256::ecdsa::signature::Signer;
    use p256::ecdsa::{Signature, SigningKey};
    use serde_json::json;

    use super::*;
    use crate::encoding::BASE64_URL;
    use crate::token::UntrustedToken;

    fn signing_key() -> SigningKey {
        SigningKey::from_slice(&[7; 32]).unwrap()
    }

    /// The public half of [`signing_key`] as a JWK.
    fn jwk() -> Value {
        let point = signing_key().verifying_key().to_sec1_point(false);
        let [x, y] = [point.x(), point.y()].map(|number| BASE64_URL.encode(number.unwrap()));
        json!({"kty": "EC", "crv": "P-256", "kid": "a", "x": x, "y": y})
    }

    /// A token that [`signing_key`] signed.
    fn mint(number: usize) -> String {
        let header = json!({"alg": "ES256", "kid": "a"});
        let [header, claims] =
            [header, json!({"number": number})].map(|part| BASE64_URL.encode(part.to_string()));
        let signed = format!("{header}.{claims}");
        let signature: Signature = signing_key().sign(signed.as_bytes());
        format!("{signed}.{}", BASE64_URL.encode(signature.to_bytes()))
    }

    #[test]
    fn the_coordinates_of_a_point_have_their_full_length() {
        let mut jwk = jwk();
        let check = |jwk: &Value| {
            let set = json!({"keys": [jwk]}).to_string();
            VerificationKeys::from_json(&set).unwrap().check()
        };
        assert_eq!(check(&jwk), Ok(()));
        // The same bytes, cut in another place.
        let bytes = |name| encoding::base64(jwk[name].as_str().unwrap()).unwrap();
        let point = [&bytes("x")[..], &bytes("y")].concat();
        for cut in [31, 33] {
            let (x, y) = point.split_at(cut);
            jwk["x"] = BASE64_URL.encode(x).into();
            jwk["y"] = BASE64_URL.encode(y).into();
            assert!(check(&jwk).is_err());
        }
    }

    #[test]
    fn keys_for_what_is_not_verified_are_passed_over_in_every_set() {
        let others = [
            (
                json!({"kty": "EC", "crv": "P-521", "kid": "b", "alg": "ES512"}),
                "an EC key is for ES256",
            ),
            (
                json!({"kty": "EC", "crv": "secp256k1", "kid": "b", "alg": "ES256K"}),
                "an EC key is for ES256",
            ),
            (
                json!({"kty": "EC", "crv": "P-384", "kid": "b", "x5c": ["AAAA"], "alg": "ECDH-ES"}),
                "a key on P-384 is for ES384",
            ),
            (
                json!({"kty": "OKP", "crv": "X25519", "kid": "b", "x": "AA"}),
                "an OKP key is for EdDSA",
            ),
            (
                json!({"kty": "OKP", "crv": "Ed25519", "kid": "b", "x": "AA", "alg": "Ed448"}),
                "an OKP key is for EdDSA",
            ),
            (
                json!({"kty": "AKP", "kid": "b", "pub": "AA", "alg": "ML-DSA-44"}),
                "`kty` is none of",
            ),
            (
                json!({"kty": "RSA", "kid": "b", "alg": "RSA-OAEP", "n": "AA", "e": "AQAB"}),
                "`alg` is none of",
            ),
            (
                json!({"kty": "RSA", "kid": "b", "use": "enc", "n": "AA", "e": "AQAB"}),
                "it is for encryption",
            ),
        ];
        for (other, why) in others {
            let set = json!({"keys": [other, jwk()]}).to_string();
            let published = VerificationKeys::from_published(set.as_bytes()).unwrap();
            let inline = VerificationKeys::from_json(&set).unwrap();
            let token = mint(1);
            let token = UntrustedToken::parse(&token).unwrap();
            for keys in [inline, published] {
                assert_eq!(keys.signer(&token), Ok((1, Some("a"))));
                let [passed_over] = keys.passed_over() else {
                    panic!("{other}: {:?}", keys.passed_over());
                };
                let named = [Some(&passed_over.kty), passed_over.alg.as_ref()];
                assert_eq!(
                    named,
                    [other["kty"].as_str(), other["alg"].as_str()]
                        .map(|text| text.map(str::to_owned))
                        .each_ref()
                        .map(Option::as_ref)
                );
                assert_eq!(
                    (passed_over.index, passed_over.kid.as_deref()),
                    (0, Some("b"))
                );
                let text = passed_over.to_string();
                assert!(
                    text.starts_with("key 1 (kty ") && text.contains(why),
                    "{text}"
                );
            }
            let alone = json!({"keys": [other]}).to_string();
            let inline = VerificationKeys::from_json(&alone).err().unwrap();
            let published = VerificationKeys::from_published(alone.as_bytes())
                .err()
                .unwrap();
            assert_eq!(inline[0].to_string(), published.to_string());
            assert!(inline[0].reason.contains(why), "{inline:?}");
        }
        // What is meant for a signature and is not sound stays an error where the operator wrote it.
        let unsound = json!({"keys": [{"kty": "oct", "k": "AAAA"}, jwk()]}).to_string();
        let errors = VerificationKeys::from_json(&unsound).err().unwrap();
        assert_eq!(errors[0].index, Some(0));
    }

    #[test]
    fn a_signature_that_held_is_remembered_for_its_token_alone() {
        let set = json!({"keys": [jwk()]}).to_string();
        let keys = VerificationKeys::from_json(&set).unwrap();
        let remembered = || keys.keys[0].verified.borrow().len();
        let verify = |token: &str| keys.verify(&UntrustedToken::parse(token).unwrap());

        let (one, other) = (mint(1), mint(2));
        assert_eq!((verify(&one), remembered()), (Ok(()), 1));
        assert_eq!((verify(&one), remembered()), (Ok(()), 1));
        // Parts of two valid tokens make one that is not valid.
        assert_eq!(verify(&other), Ok(()));
        let (signed, _) = one.rsplit_once('.').unwrap();
        let (_, signature) = other.rsplit_once('.').unwrap();
        let mixed = format!("{signed}.{signature}");
        assert_eq!(verify(&mixed), Err(Error::Signature));
        let wrong = format!("{signed}.{}", BASE64_URL.encode([1; 64]));
        assert_eq!(verify(&wrong), Err(Error::Signature));
        assert_eq!((verify(&one), remembered()), (Ok(()), 2));

        for number in 0..REMEMBERED {
            assert_eq!(verify(&mint(number)), Ok(()));
        }
        assert_eq!(remembered(), REMEMBERED);
    }
}
