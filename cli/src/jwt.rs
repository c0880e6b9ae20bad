//! Signs JWTs (RFC 7519), well-formed ones and others.

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::Signer as _;
use hmac::digest::block_api::EagerHash;
use hmac::{Hmac, KeyInit, Mac};
use rand_core::CryptoRng;
use rsa::traits::PublicKeyParts;
use rsa::{Pkcs1v15Sign, PrivateKey as RsaPrivateKey, Pss};
use serde_json::{Value, json};
use sha2::{Digest, Sha256, Sha384, Sha512};

/// A signing key and its algorithm.
#[derive(Clone)]
pub enum Signer {
    /// HMAC with SHA-256.
    Hs256(Vec<u8>),
    /// HMAC with SHA-384.
    Hs384(Vec<u8>),
    /// HMAC with SHA-512.
    Hs512(Vec<u8>),
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256(RsaPrivateKey),
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384(RsaPrivateKey),
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512(RsaPrivateKey),
    /// RSASSA-PSS with SHA-256.
    Ps256(RsaPrivateKey),
    /// RSASSA-PSS with SHA-384.
    Ps384(RsaPrivateKey),
    /// RSASSA-PSS with SHA-512.
    Ps512(RsaPrivateKey),
    /// ECDSA on P-256: the secret scalar.
    Es256([u8; 32]),
    /// ECDSA on P-384: the secret scalar.
    Es384([u8; 48]),
    /// Ed25519: the seed.
    EdDsa([u8; 32]),
}

impl Signer {
    /// The name of the algorithm.
    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::Hs256(_) => "HS256",
            Self::Hs384(_) => "HS384",
            Self::Hs512(_) => "HS512",
            Self::Rs256(_) => "RS256",
            Self::Rs384(_) => "RS384",
            Self::Rs512(_) => "RS512",
            Self::Ps256(_) => "PS256",
            Self::Ps384(_) => "PS384",
            Self::Ps512(_) => "PS512",
            Self::Es256(_) => "ES256",
            Self::Es384(_) => "ES384",
            Self::EdDsa(_) => "EdDSA",
        }
    }

    /// The key that verifies, as a JWK (RFC 7517). That of an HMAC is the secret itself.
    ///
    /// # Errors
    /// A scalar or seed that is not a key.
    pub fn jwk(&self, kid: &str) -> Result<Value> {
        let mut jwk = match self {
            Self::Hs256(key) | Self::Hs384(key) | Self::Hs512(key) => {
                json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode(key)})
            }
            Self::Rs256(key)
            | Self::Rs384(key)
            | Self::Rs512(key)
            | Self::Ps256(key)
            | Self::Ps384(key)
            | Self::Ps512(key) => json!({
                "kty": "RSA",
                "n": URL_SAFE_NO_PAD.encode(key.n_bytes()),
                "e": URL_SAFE_NO_PAD.encode(key.e_bytes()),
            }),
            Self::Es256(scalar) => {
                let key = p256::ecdsa::SigningKey::from_slice(scalar)?;
                let point = key.verifying_key().to_sec1_point(false);
                elliptic_curve("P-256", point.x().zip(point.y()))?
            }
            Self::Es384(scalar) => {
                let key = p384::ecdsa::SigningKey::from_slice(scalar)?;
                let point = key.verifying_key().to_sec1_point(false);
                elliptic_curve("P-384", point.x().zip(point.y()))?
            }
            Self::EdDsa(seed) => {
                let key = ed25519_dalek::SigningKey::from_bytes(seed).verifying_key();
                let x = URL_SAFE_NO_PAD.encode(key.as_bytes());
                json!({"kty": "OKP", "crv": "Ed25519", "x": x})
            }
        };
        jwk["kid"] = kid.into();
        jwk["alg"] = self.algorithm().into();
        Ok(jwk)
    }

    /// Signs claims under a header with `alg` and, when given, `kid`.
    ///
    /// # Errors
    /// A key that does not sign.
    pub fn token(
        &self,
        kid: Option<&str>,
        claims: &Value,
        rng: &mut dyn CryptoRng,
    ) -> Result<String> {
        let mut header = json!({"typ": "JWT", "alg": self.algorithm()});
        if let Some(kid) = kid {
            header["kid"] = kid.into();
        }
        self.sign(&header.to_string(), &claims.to_string(), rng)
    }

    /// Signs any two texts as header and claims.
    ///
    /// # Errors
    /// A key that does not sign.
    pub fn sign(&self, header: &str, claims: &str, rng: &mut dyn CryptoRng) -> Result<String> {
        let message = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(claims)
        );
        let signature = self.signature(message.as_bytes(), rng)?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The signature, or the MAC, of a message.
    ///
    /// # Errors
    /// A key that does not sign.
    pub fn signature(&self, bytes: &[u8], rng: &mut dyn CryptoRng) -> Result<Vec<u8>> {
        Ok(match self {
            Self::Hs256(key) => hmac::<Sha256>(key, bytes)?,
            Self::Hs384(key) => hmac::<Sha384>(key, bytes)?,
            Self::Hs512(key) => hmac::<Sha512>(key, bytes)?,
            Self::Rs256(key) => key.sign(Pkcs1v15Sign::new::<Sha256>(), &Sha256::digest(bytes))?,
            Self::Rs384(key) => key.sign(Pkcs1v15Sign::new::<Sha384>(), &Sha384::digest(bytes))?,
            Self::Rs512(key) => key.sign(Pkcs1v15Sign::new::<Sha512>(), &Sha512::digest(bytes))?,
            Self::Ps256(key) => {
                key.sign_with_rng(rng, Pss::<Sha256>::new(), &Sha256::digest(bytes))?
            }
            Self::Ps384(key) => {
                key.sign_with_rng(rng, Pss::<Sha384>::new(), &Sha384::digest(bytes))?
            }
            Self::Ps512(key) => {
                key.sign_with_rng(rng, Pss::<Sha512>::new(), &Sha512::digest(bytes))?
            }
            Self::Es256(scalar) => {
                let key = p256::ecdsa::SigningKey::from_slice(scalar)?;
                let signature: p256::ecdsa::Signature = key.sign(bytes);
                signature.to_bytes().to_vec()
            }
            Self::Es384(scalar) => {
                let key = p384::ecdsa::SigningKey::from_slice(scalar)?;
                let signature: p384::ecdsa::Signature = key.sign(bytes);
                signature.to_bytes().to_vec()
            }
            Self::EdDsa(seed) => {
                let key = ed25519_dalek::SigningKey::from_bytes(seed);
                key.sign(bytes).to_bytes().to_vec()
            }
        })
    }
}

/// A point as a JWK (RFC 7518 section 6.2.1).
fn elliptic_curve(
    curve: &str,
    point: Option<(impl AsRef<[u8]>, impl AsRef<[u8]>)>,
) -> Result<Value> {
    let (x, y) = point.context("the key has no public half")?;
    Ok(json!({
        "kty": "EC",
        "crv": curve,
        "x": URL_SAFE_NO_PAD.encode(x),
        "y": URL_SAFE_NO_PAD.encode(y),
    }))
}

fn hmac<H: EagerHash>(key: &[u8], message: &[u8]) -> Result<Vec<u8>> {
    let mac = Hmac::<H>::new_from_slice(key)?.chain_update(message);
    Ok(mac.finalize().into_bytes().to_vec())
}
