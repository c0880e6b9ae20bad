//! Signs JWTs (RFC 7519), well-formed ones and others.

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jwt_compact::alg::{
    Ed25519, Es256, Hs256, Hs256Key, Hs384, Hs384Key, Hs512, Hs512Key, SigningKey,
};
use jwt_compact::{Algorithm, AlgorithmSignature};
use rand_core::CryptoRng;
use rsa::traits::PublicKeyParts;
use rsa::{Pkcs1v15Sign, Pss, RsaPrivateKey};
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
    /// ECDSA on P-256: the secret scalar.
    Es256([u8; 32]),
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
            Self::Es256(_) => "ES256",
            Self::EdDsa(_) => "EdDSA",
        }
    }

    /// The key that verifies, as a JWK (RFC 7517). That of an HMAC is the secret itself.
    ///
    /// # Errors
    /// A scalar or seed that is no key.
    pub fn jwk(&self, kid: &str) -> Result<Value> {
        let mut jwk = match self {
            Self::Hs256(key) | Self::Hs384(key) | Self::Hs512(key) => {
                json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode(key)})
            }
            Self::Rs256(key) | Self::Rs384(key) | Self::Rs512(key) | Self::Ps256(key) => json!({
                "kty": "RSA",
                "n": URL_SAFE_NO_PAD.encode(key.n_bytes()),
                "e": URL_SAFE_NO_PAD.encode(key.e_bytes()),
            }),
            Self::Es256(scalar) => {
                let key = es256_key(scalar)?.to_verifying_key();
                serde_json::to_value(jwt_compact::jwk::JsonWebKey::from(&key))?
            }
            Self::EdDsa(seed) => {
                let key: &[u8; 32] = seed;
                let key = <Ed25519 as Algorithm>::SigningKey::from_bytes(key).verifying_key();
                serde_json::to_value(jwt_compact::jwk::JsonWebKey::from(&key))?
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
        let bytes = message.as_bytes();
        let signature = match self {
            Self::Hs256(key) => Hs256
                .sign(&Hs256Key::new(key), bytes)
                .as_bytes()
                .into_owned(),
            Self::Hs384(key) => Hs384
                .sign(&Hs384Key::new(key), bytes)
                .as_bytes()
                .into_owned(),
            Self::Hs512(key) => Hs512
                .sign(&Hs512Key::new(key), bytes)
                .as_bytes()
                .into_owned(),
            Self::Rs256(key) => key.sign(Pkcs1v15Sign::new::<Sha256>(), &Sha256::digest(bytes))?,
            Self::Rs384(key) => key.sign(Pkcs1v15Sign::new::<Sha384>(), &Sha384::digest(bytes))?,
            Self::Rs512(key) => key.sign(Pkcs1v15Sign::new::<Sha512>(), &Sha512::digest(bytes))?,
            Self::Ps256(key) => {
                key.sign_with_rng(rng, Pss::<Sha256>::new(), &Sha256::digest(bytes))?
            }
            Self::Es256(scalar) => {
                let key = es256_key(scalar)?;
                AlgorithmSignature::as_bytes(&Es256.sign(&key, bytes)).into_owned()
            }
            Self::EdDsa(seed) => {
                let key = <Ed25519 as Algorithm>::SigningKey::from_bytes(seed);
                AlgorithmSignature::as_bytes(&Ed25519.sign(&key, bytes)).into_owned()
            }
        };
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

fn es256_key(scalar: &[u8; 32]) -> Result<<Es256 as Algorithm>::SigningKey> {
    <<Es256 as Algorithm>::SigningKey as SigningKey<Es256>>::from_slice(scalar)
}
