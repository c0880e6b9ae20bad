//! Keys that sign tokens, in the forms in which people keep them.

use anyhow::{Context, Result, bail, ensure};
use der::asn1::{ContextSpecific, ObjectIdentifier, OctetStringRef};
use der::{Decode, Reader, SliceReader, TagNumber};
use keylet::encoding::{self, PEM_BEGIN, Pem};
use pkcs8::PrivateKeyInfoRef;
use rsa::pkcs1::DecodeRsaPrivateKey;
use rsa::{BoxedUint, PrivateKey as RsaPrivateKey};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::jwt::Signer;

pub(crate) const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
pub(crate) const ELLIPTIC_CURVE: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
pub(crate) const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
pub(crate) const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
pub(crate) const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// The form of a secret that is neither a JWK nor PEM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Secret {
    /// As it is; one line break at its end is ignored
    Raw,
    /// In base64, as Azure Media Services shows it
    Base64,
    /// In hexadecimal
    Hex,
}

/// A key, and what tokens call it.
pub struct SigningKey {
    /// The key, for the one algorithm that it is used with.
    pub signer: Signer,
    /// Its key id, where its document says one.
    pub kid: Option<String>,
}

impl SigningKey {
    /// Reads a JWK; a JWKS, in which `kid` names the key; PEM; or a secret, whose form `secret` states.
    ///
    /// # Errors
    /// A sentence without anything of the key.
    pub fn read(
        content: &[u8],
        secret: Option<Secret>,
        algorithm: Option<&str>,
        kid: Option<&str>,
    ) -> Result<Self> {
        if let Some(secret) = secret {
            let key = Material::Secret(secret.read(content)?);
            let signer = key.signer(algorithm)?;
            return Ok(Self { signer, kid: None });
        }
        const NONE: &str =
            "the key is neither a JWK nor PEM. If it is a secret, say so with --hmac";
        let text = encoding::text(content).context(NONE)?;
        let text = text.trim();
        if text.contains(PEM_BEGIN) {
            return Self::of_block(&private_key_block(text)?, algorithm);
        }
        ensure!(text.starts_with('{'), NONE);
        let key = JsonWebKey::choose(text, kid)?;
        let algorithm = algorithm.or(key.alg.as_deref());
        Ok(Self {
            signer: key.material()?.signer(algorithm)?,
            kid: key.kid,
        })
    }

    /// The private key of a PEM block: PKCS#8, PKCS#1, or SEC 1.
    ///
    /// # Errors
    /// A sentence without anything of the key.
    pub fn of_block(block: &Pem, algorithm: Option<&str>) -> Result<Self> {
        let signer = of_pem(block)?.signer(algorithm)?;
        Ok(Self { signer, kid: None })
    }
}

impl Secret {
    fn read(self, content: &[u8]) -> Result<Vec<u8>> {
        let text = || std::str::from_utf8(content).unwrap_or_default();
        match self {
            Self::Raw => {
                let line = content.strip_suffix(b"\n").unwrap_or(content);
                Some(line.strip_suffix(b"\r").unwrap_or(line).to_vec())
            }
            Self::Base64 => encoding::base64(text()).map(|key| key.to_vec()),
            Self::Hex => encoding::hex(text()).map(|key| key.to_vec()),
        }
        .context("the secret is not written as --hmac says")
    }
}

/// A private key, or a secret.
enum Material {
    Secret(Vec<u8>),
    Rsa(Box<RsaPrivateKey>),
    /// The scalar.
    P256([u8; 32]),
    /// The scalar.
    P384([u8; 48]),
    /// The seed.
    Ed25519([u8; 32]),
}

impl Material {
    /// The key for an algorithm, or the usual one of its kind.
    fn signer(self, algorithm: Option<&str>) -> Result<Signer> {
        let long_enough = |key: Vec<u8>, least: usize| {
            ensure!(
                key.len() >= least,
                "the secret has {} bytes, and its algorithm needs {least}",
                key.len()
            );
            Ok(key)
        };
        Ok(match (self, algorithm) {
            (Self::Secret(key), None | Some("HS256")) => Signer::Hs256(long_enough(key, 32)?),
            (Self::Secret(key), Some("HS384")) => Signer::Hs384(long_enough(key, 48)?),
            (Self::Secret(key), Some("HS512")) => Signer::Hs512(long_enough(key, 64)?),
            (Self::Rsa(key), None | Some("RS256")) => Signer::Rs256(*key),
            (Self::Rsa(key), Some("RS384")) => Signer::Rs384(*key),
            (Self::Rsa(key), Some("RS512")) => Signer::Rs512(*key),
            (Self::Rsa(key), Some("PS256")) => Signer::Ps256(*key),
            (Self::Rsa(key), Some("PS384")) => Signer::Ps384(*key),
            (Self::Rsa(key), Some("PS512")) => Signer::Ps512(*key),
            (Self::P256(key), None | Some("ES256")) => Signer::Es256(key),
            (Self::P384(key), None | Some("ES384")) => Signer::Es384(key),
            (Self::Ed25519(key), None | Some("EdDSA" | "Ed25519")) => Signer::EdDsa(key),
            (Self::Secret(_), _) => bail!("a secret is for HS256, HS384 or HS512"),
            (Self::Rsa(_), _) => {
                bail!("an RSA key is for RS256, RS384, RS512, PS256, PS384 or PS512")
            }
            (Self::P256(_), _) => bail!("a key on P-256 is for ES256"),
            (Self::P384(_), _) => bail!("a key on P-384 is for ES384"),
            (Self::Ed25519(_), _) => bail!("an Ed25519 key is for EdDSA"),
        })
    }
}

/// The RSA private key of a text in PEM: PKCS#8 or PKCS#1.
///
/// # Errors
/// A sentence without anything of the key.
pub(crate) fn rsa_private_key(text: &str) -> Result<Box<RsaPrivateKey>> {
    match of_pem(&private_key_block(text)?)? {
        Material::Rsa(key) => Ok(key),
        _ => bail!("the key is not RSA"),
    }
}

/// The first private key among PEM blocks.
fn private_key_block(text: &str) -> Result<Pem> {
    let blocks = encoding::pem(text).context("the key is no whole PEM")?;
    let mut blocks = blocks.into_iter();
    let key = blocks.find(|block| block.label.ends_with("PRIVATE KEY"));
    key.context("the PEM has no private key")
}

/// The private key of a PEM block: PKCS#8, PKCS#1, or SEC 1.
fn of_pem(key: &Pem) -> Result<Material> {
    if key.with_headers.is_some() || key.label.starts_with("ENCRYPTED") {
        bail!("the key is encrypted; `openssl pkcs8 -topk8 -nocrypt` decrypts it");
    }
    let material = match key.label.as_str() {
        "RSA PRIVATE KEY" => rsa_key(&key.der),
        "EC PRIVATE KEY" => elliptic_curve_key(&key.der, None),
        _ => pkcs8_key(&key.der),
    };
    material.context("the key is none of RSA, P-256, P-384 and Ed25519")
}

fn rsa_key(der: &[u8]) -> Option<Material> {
    let key = RsaPrivateKey::from_pkcs1_der(der).ok()?;
    Some(Material::Rsa(Box::new(key)))
}

fn pkcs8_key(der: &[u8]) -> Option<Material> {
    let info = PrivateKeyInfoRef::from_der(der).ok()?;
    let key = info.private_key.as_bytes();
    match info.algorithm.oid {
        RSA => rsa_key(key),
        ELLIPTIC_CURVE => {
            let curve = info.algorithm.parameters_oid().ok();
            elliptic_curve_key(key, curve)
        }
        // RFC 8410 section 7: an OCTET STRING in an OCTET STRING.
        ED25519 => {
            let seed = <&OctetStringRef>::from_der(key).ok()?;
            seed.as_bytes().try_into().ok().map(Material::Ed25519)
        }
        _ => None,
    }
}

/// `ECPrivateKey` (RFC 5915 section 3): version, scalar, `[0]` curve, `[1]` public key.
fn elliptic_curve_key(der: &[u8], curve: Option<ObjectIdentifier>) -> Option<Material> {
    let mut reader = SliceReader::new(der).ok()?;
    let (scalar, own) = reader
        .sequence(|reader| -> der::Result<_> {
            u8::decode(reader)?;
            let scalar = <&OctetStringRef>::decode(reader)?.as_bytes().to_vec();
            let curve = ContextSpecific::<ObjectIdentifier>::decode_explicit(reader, TagNumber(0))?;
            reader.read_slice(reader.remaining_len())?;
            Ok((Zeroizing::new(scalar), curve.map(|curve| curve.value)))
        })
        .ok()?;
    let scalar = scalar.as_slice();
    match curve.or(own)? {
        P256 => scalar.try_into().ok().map(Material::P256),
        P384 => scalar.try_into().ok().map(Material::P384),
        _ => None,
    }
}

/// The members of a JWK that make up a private key (RFC 7518 section 6, RFC 8037 section 2).
#[derive(Deserialize)]
struct JsonWebKey {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    k: Option<Zeroizing<String>>,
    n: Option<String>,
    e: Option<String>,
    d: Option<Zeroizing<String>>,
    p: Option<Zeroizing<String>>,
    q: Option<Zeroizing<String>>,
}

impl JsonWebKey {
    /// A JWK, or of a JWKS the one with a key id, or the only one.
    fn choose(text: &str, kid: Option<&str>) -> Result<Self> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<JsonWebKey>,
        }
        let Ok(set) = encoding::from_json::<Set>(text.as_bytes()) else {
            return encoding::from_json(text.as_bytes())
                .map_err(anyhow::Error::msg)
                .context("the JWK");
        };
        let is_meant = |key: &Self| kid.is_none() || key.kid.as_deref() == kid;
        let mut keys = set.keys.into_iter().filter(is_meant);
        let key = keys.next().context("the set has no such key")?;
        ensure!(
            keys.next().is_none(),
            "the set has several keys; --kid says which one signs"
        );
        Ok(key)
    }

    fn material(&self) -> Result<Material> {
        let part = |name: &str, value: Option<&str>| {
            value
                .and_then(encoding::base64)
                .with_context(|| format!("`{name}` of the JWK is missing or not base64url"))
        };
        let secret = |name: &str, value: &Option<Zeroizing<String>>| {
            part(name, value.as_ref().map(|value| value.as_str()))
        };
        let private = || secret("d", &self.d).context("a private key is needed to sign");
        match (self.kty.as_str(), self.crv.as_deref()) {
            ("oct", _) => Ok(Material::Secret(secret("k", &self.k)?.to_vec())),
            ("EC", Some("P-256")) => Ok(Material::P256(of_length(&private()?)?)),
            ("EC", Some("P-384")) => Ok(Material::P384(of_length(&private()?)?)),
            ("OKP", Some("Ed25519")) => Ok(Material::Ed25519(of_length(&private()?)?)),
            ("RSA", _) => {
                let integer = |bytes: &[u8]| BoxedUint::from_be_slice_vartime(bytes);
                let primes = match (&self.p, &self.q) {
                    (Some(_), Some(_)) => vec![
                        integer(&secret("p", &self.p)?),
                        integer(&secret("q", &self.q)?),
                    ],
                    _ => Vec::new(),
                };
                let d = private()?;
                let key = RsaPrivateKey::from_components(
                    integer(&part("n", self.n.as_deref())?),
                    integer(&part("e", self.e.as_deref())?),
                    integer(&d),
                    primes,
                );
                // What the crate says is of no key's content, and of little help.
                let key = key
                    .ok()
                    .context("the parts of the RSA key do not belong together")?;
                Ok(Material::Rsa(Box::new(key)))
            }
            _ => bail!("the JWK is none of oct, RSA, EC on P-256 or P-384, and OKP on Ed25519"),
        }
    }
}

/// The private part of a key on a curve.
fn of_length<const N: usize>(d: &[u8]) -> Result<[u8; N]> {
    let length = d.len();
    d.try_into()
        .ok()
        .with_context(|| format!("`d` of the JWK has {length} bytes and not {N}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use rsa::pkcs8::{EncodePrivateKey, LineEnding};
    use rsa::traits::{PrivateKeyParts, PublicKeyParts};
    use serde_json::{Value, json};

    fn jwk(content: &[u8], algorithm: Option<&str>) -> Result<Value> {
        SigningKey::read(content, None, algorithm, None)?
            .signer
            .jwk("k")
    }

    fn base64url(bytes: &[u8]) -> String {
        encoding::BASE64_URL.encode(bytes)
    }

    fn pem(label: &str, der: &[u8]) -> String {
        let body = encoding::BASE64.encode(der);
        format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
    }

    #[test]
    fn an_rsa_key_is_the_same_in_every_form() {
        let key = RsaPrivateKey::new(&mut crate::random::system(), 2048).unwrap();
        let expected = Signer::Ps256(key.clone()).jwk("k").unwrap();
        let pkcs1 = rsa::pkcs1::EncodeRsaPrivateKey::to_pkcs1_der(&key).unwrap();
        let bytes = |number: &BoxedUint| base64url(&number.to_be_bytes_trimmed_vartime());
        let mut document = json!({
            "kty": "RSA", "n": base64url(&key.n_bytes()), "e": base64url(&key.e_bytes()), "d": bytes(key.d()),
        });
        let without_primes = document.to_string();
        document["p"] = json!(bytes(&key.primes()[0]));
        document["q"] = json!(bytes(&key.primes()[1]));
        for content in [
            key.to_pkcs8_pem(LineEnding::LF).unwrap().to_string(),
            pem("RSA PRIVATE KEY", pkcs1.as_bytes()),
            document.to_string(),
            without_primes,
        ] {
            assert_eq!(jwk(content.as_bytes(), Some("PS256")).unwrap(), expected);
        }
        assert!(jwk(document.to_string().as_bytes(), Some("HS256")).is_err());
    }

    #[test]
    fn keys_on_curves_are_the_same_in_every_form() {
        let scalar = [7; 32];
        let expected = Signer::Es256(scalar).jwk("k").unwrap();
        let octets = |bytes: &[u8]| [&[4, 32][..], bytes].concat();
        let curve = [0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
        let sec1 = [
            &[0x30, 49, 2, 1, 1][..],
            &octets(&scalar),
            &[0xa0, 10],
            &curve,
        ]
        .concat();
        let bare = [&[0x30, 37, 2, 1, 1][..], &octets(&scalar)].concat();
        let algorithm = [
            &[0x30, 19, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1][..],
            &curve,
        ]
        .concat();
        let pkcs8 = [&[0x30, 65, 2, 1, 0][..], &algorithm, &[4, 39], &bare].concat();
        for content in [
            json!({"kty": "EC", "crv": "P-256", "d": base64url(&scalar)}).to_string(),
            pem("EC PRIVATE KEY", &sec1),
            pem("PRIVATE KEY", &pkcs8),
        ] {
            assert_eq!(jwk(content.as_bytes(), None).unwrap(), expected);
        }

        let scalar_384 = [7; 48];
        let expected = Signer::Es384(scalar_384).jwk("k").unwrap();
        let octets_384 = [&[4, 48][..], &scalar_384].concat();
        let curve = [0x06, 5, 0x2b, 0x81, 4, 0, 0x22];
        let sec1 = [&[0x30, 62, 2, 1, 1][..], &octets_384, &[0xa0, 7], &curve].concat();
        let bare = [&[0x30, 53, 2, 1, 1][..], &octets_384].concat();
        let algorithm = [
            &[0x30, 16, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1][..],
            &curve,
        ]
        .concat();
        let pkcs8 = [&[0x30, 78, 2, 1, 0][..], &algorithm, &[4, 55], &bare].concat();
        for content in [
            json!({"kty": "EC", "crv": "P-384", "d": base64url(&scalar_384)}).to_string(),
            pem("EC PRIVATE KEY", &sec1),
            pem("PRIVATE KEY", &pkcs8),
        ] {
            assert_eq!(jwk(content.as_bytes(), None).unwrap(), expected);
        }

        let expected = Signer::EdDsa(scalar).jwk("k").unwrap();
        let head = [0x30, 46, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 34];
        let pkcs8 = [&head[..], &octets(&scalar)].concat();
        for content in [
            json!({"kty": "OKP", "crv": "Ed25519", "d": base64url(&scalar)}).to_string(),
            pem("PRIVATE KEY", &pkcs8),
        ] {
            assert_eq!(jwk(content.as_bytes(), None).unwrap(), expected);
        }
    }

    #[test]
    fn of_a_set_the_key_is_named() {
        let key = |kid: &str, byte| json!({"kty": "oct", "kid": kid, "k": base64url(&[byte; 48])});
        let set = json!({"keys": [key("a", 1), key("b", 2)]}).to_string();
        assert!(SigningKey::read(set.as_bytes(), None, None, None).is_err());
        let key = SigningKey::read(set.as_bytes(), None, Some("HS384"), Some("b")).unwrap();
        assert_eq!(key.kid.as_deref(), Some("b"));
        assert!(matches!(key.signer, Signer::Hs384(key) if key == [2; 48]));
    }

    #[test]
    fn a_secret_is_read_as_it_is_said_to_be_written() {
        let secret =
            |text: String, form| match SigningKey::read(text.as_bytes(), Some(form), None, None)
                .unwrap()
                .signer
            {
                Signer::Hs256(key) => key,
                _ => panic!("another algorithm"),
            };
        let raw = "an-example-of-a-secret-of-36-letters";
        assert_eq!(secret(format!("{raw}\r\n"), Secret::Raw), raw.as_bytes());
        let base64 = encoding::BASE64.encode(raw);
        assert_eq!(secret(base64, Secret::Base64), raw.as_bytes());
        assert_eq!(secret(hex::encode(raw), Secret::Hex), raw.as_bytes());
    }

    #[test]
    fn what_cannot_sign_is_refused_without_its_content() {
        for (content, secret) in [
            ("secretive", None),
            ("secretive", Some(Secret::Raw)),
            ("secretive!", Some(Secret::Base64)),
            (r#"{"kty":"oct","k":"c2VjcmV0aXZl"}"#, None),
            (r#"{"kty":"EC","crv":"P-384","d":"secretive"}"#, None),
            (r#"{"kty":"EC","crv":"P-521","d":"secretive"}"#, None),
            (r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#, None),
            (r#"{"kty":"secretive"}"#, None),
            (
                "-----BEGIN PRIVATE KEY-----\nc2VjcmV0aXZl\n-----END PRIVATE KEY-----",
                None,
            ),
            (
                "-----BEGIN CERTIFICATE-----\nc2VjcmV0aXZl\n-----END CERTIFICATE-----",
                None,
            ),
            (
                "-----BEGIN ENCRYPTED PRIVATE KEY-----\nc2VjcmV0aXZl\n-----END ENCRYPTED PRIVATE KEY-----",
                None,
            ),
        ] {
            let error = SigningKey::read(content.as_bytes(), secret, None, None).err();
            let error = format!("{:#}", error.unwrap());
            assert!(
                !error.contains("secretive") && !error.contains("c2Vj"),
                "{error}"
            );
        }
    }
}
