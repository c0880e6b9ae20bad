//! RSA signatures of JWTs, on the [`Algorithm`] trait, over [`crate::rsa_key`]. Verification only.

use std::borrow::Cow;
use std::convert::Infallible;

use jwt_compact::{Algorithm, AlgorithmSignature};

use crate::rsa_key::{PublicKey, SignatureHash};

/// The RSA algorithms of RFC 7518 sections 3.3 and 3.5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rsa {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
}

/// The bytes of a signature.
pub struct Signature(Vec<u8>);

impl AlgorithmSignature for Signature {
    fn try_from_slice(bytes: &[u8]) -> anyhow::Result<Self> {
        Ok(Self(bytes.to_vec()))
    }

    fn as_bytes(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.0)
    }
}

impl Algorithm for Rsa {
    type SigningKey = Infallible;
    type VerifyingKey = PublicKey;
    type Signature = Signature;

    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
        })
    }

    fn sign(&self, signing_key: &Infallible, _message: &[u8]) -> Signature {
        match *signing_key {}
    }

    fn verify_signature(&self, signature: &Signature, key: &PublicKey, message: &[u8]) -> bool {
        match self {
            Self::Rs256 => key.verify_pkcs1v15(SignatureHash::Sha256, message, &signature.0),
            Self::Rs384 => key.verify_pkcs1v15(SignatureHash::Sha384, message, &signature.0),
            Self::Rs512 => key.verify_pkcs1v15(SignatureHash::Sha512, message, &signature.0),
            Self::Ps256 => key.verify_pss_sha256(message, &signature.0),
        }
    }
}
