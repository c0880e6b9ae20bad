//! Signed requests, as shaka-packager and its kin send them.
//!
//! By AES, as [`AesSigner`] has it. By
//! RSA: RSASSA-PSS with SHA-1 and a salt of 20 bytes. What is signed is the decoded bytes of `request`.

use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::encoding::{self, PemOrDer};
use crate::rsa_key::PublicKey;
use crate::widevine::signature::AesSigner;
use crate::x509;

/// The key that Widevine's documents and every packager's examples have for `widevine_test`.
const PUBLISHED_KEY: &str = "1ae8ccd0e7985cc0b6203a55855a1034afc252980e970ca90e5202689f947ab9";

/// What verifies the requests of a packager.
pub enum Signer {
    /// AES-CBC.
    Aes(AesSigner),
    /// RSASSA-PSS.
    Rsa(Box<PublicKey>),
}

/// A signer in JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignerConfig {
    aes_key: Option<Zeroizing<String>>,
    aes_iv: Option<Zeroizing<String>>,
    rsa_public_key: Option<String>,
    /// Whether the published test key is accepted.
    #[serde(default)]
    test: bool,
}

impl Signer {
    /// Reads a signer: an object with `aes_key` and `aes_iv`, or with `rsa_public_key`.
    ///
    /// # Errors
    /// The member that is wrong, and how.
    pub fn read(value: Value) -> Result<Self, (&'static str, String)> {
        let wrong = |member, reason: &str| (member, reason.to_owned());
        let config: SignerConfig =
            encoding::from_value(value).map_err(|error| ("signer", error.to_string()))?;
        match (config.aes_key, config.rsa_public_key) {
            (Some(key), None) => {
                let signer = AesSigner::read(&key, &config.aes_iv.unwrap_or_default());
                let signer = signer.map_err(|(member, reason)| match member {
                    "iv" => wrong("aes_iv", reason),
                    _ => wrong("aes_key", reason),
                })?;
                if hex::encode(signer.key()) == PUBLISHED_KEY && !config.test {
                    let reason = "it is the published test key, with which everybody can sign; add `\"test\": true` to use it in development";
                    return Err(wrong("aes_key", reason));
                }
                Ok(Self::Aes(signer))
            }
            (None, Some(key)) => {
                let reason =
                    "it is not an RSA public key of 2048 to 4096 bits in PEM or base64 of DER";
                let key = rsa_public_key(&key);
                Ok(Self::Rsa(Box::new(
                    key.ok_or_else(|| wrong("rsa_public_key", reason))?,
                )))
            }
            (Some(_), Some(_)) => Err(wrong(
                "signer",
                "there are both `aes_key` and `rsa_public_key`",
            )),
            (None, None) => Err(wrong(
                "signer",
                "there is neither `aes_key` nor `rsa_public_key`",
            )),
        }
    }

    /// Whether a signature is of this message.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Aes(signer) => signer.verify(message, signature),
            Self::Rsa(key) => key.verify_pss_sha1(message, signature),
        }
    }
}

fn rsa_public_key(text: &str) -> Option<PublicKey> {
    let der = match encoding::pem_or_der(text)? {
        PemOrDer::Pem(blocks) => blocks.into_iter().next()?.der,
        PemOrDer::Der(der) => der,
    };
    let key = x509::rsa_public_key(&der)?;
    PublicKey::from_components(key.modulus.as_bytes(), key.public_exponent.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    /// The file that holds requests as clients sign them.
    #[derive(Deserialize)]
    struct Vectors {
        aes_key: String,
        aes_iv: String,
        signed: Vec<Signed>,
    }

    #[derive(Deserialize)]
    struct Signed {
        message: String,
        signatures: Vec<String>,
    }

    #[test]
    fn a_signature_by_aes_verifies_with_either_padding_and_for_its_message_alone() {
        let vectors: Vectors =
            serde_json::from_str(include_str!("../../fixtures/packaging/signatures.json")).unwrap();
        let config = serde_json::json!({
            "aes_key": vectors.aes_key, "aes_iv": vectors.aes_iv, "test": true
        });
        let signer = Signer::read(config).unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!(vectors.signed.len(), 2);
        for signed in &vectors.signed {
            assert_eq!(signed.signatures.len(), 2);
            for signature in &signed.signatures {
                let signature = encoding::base64(signature).unwrap();
                assert!(signer.verify(signed.message.as_bytes(), &signature));
                assert!(!signer.verify(b"{}", &signature));
                for index in 0..20 {
                    let mut changed = signature.clone();
                    changed[index] ^= 1;
                    assert!(!signer.verify(signed.message.as_bytes(), &changed));
                }
                for length in [0, 16, 31] {
                    assert!(!signer.verify(signed.message.as_bytes(), &signature[..length]));
                }
                let longer = [&signature[..], &signature].concat();
                assert!(!signer.verify(signed.message.as_bytes(), &longer));
            }
        }
    }
}
