//! Signed requests, as shaka-packager and its kin send them.
//!
//! By AES: AES-CBC of SHA-1(message) and 12 bytes of padding, which some clients fill as PKCS#7 and others with zeros. By
//! RSA: RSASSA-PSS with SHA-1 and a salt of 20 bytes. What is signed is the decoded bytes of `request`.

use aes::{Aes128, Aes256};
use cbc::cipher::block_padding::NoPadding;
use cbc::cipher::{BlockModeDecrypt, KeyIvInit};
use serde::Deserialize;
use serde_json::Value;
use sha1::{Digest, Sha1};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::encoding::{self, PemOrDer};
use crate::rsa_key::PublicKey;
use crate::secret::Secret;
use crate::x509;

/// The key that Widevine's documents and every packager's examples have for `widevine_test`.
const PUBLISHED_KEY: &str = "1ae8ccd0e7985cc0b6203a55855a1034afc252980e970ca90e5202689f947ab9";

/// How many bytes SHA-1 has.
const SHA1: usize = 20;

/// What verifies the requests of a packager.
pub enum Signer {
    /// AES-CBC: a key of 16 or 32 bytes, and the IV.
    Aes(Zeroizing<Vec<u8>>, Secret<16>),
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
                let bytes = encoding::hex(&key).or_else(|| encoding::base64(&key));
                let bytes = bytes.filter(|bytes| matches!(bytes.len(), 16 | 32));
                let bytes = bytes
                    .ok_or_else(|| wrong("aes_key", "it is not 16 or 32 bytes in hex or base64"))?;
                if hex::encode(&*bytes) == PUBLISHED_KEY && !config.test {
                    let reason = "it is the published test key, with which everybody can sign; add `\"test\": true` to use it in development";
                    return Err(wrong("aes_key", reason));
                }
                let iv = config.aes_iv.and_then(|iv| encoding::fixed(&iv));
                let iv =
                    iv.ok_or_else(|| wrong("aes_iv", "it is not 16 bytes in hex or base64"))?;
                Ok(Self::Aes(bytes, Secret::from(iv)))
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
            Self::Aes(key, iv) => {
                let mut block = Zeroizing::new(signature.to_vec());
                let iv = iv.expose().as_slice();
                let opened = match key.len() {
                    16 => cbc::Decryptor::<Aes128>::new_from_slices(key, iv)
                        .ok()
                        .and_then(|cipher| cipher.decrypt_padded::<NoPadding>(&mut block).ok()),
                    _ => cbc::Decryptor::<Aes256>::new_from_slices(key, iv)
                        .ok()
                        .and_then(|cipher| cipher.decrypt_padded::<NoPadding>(&mut block).ok()),
                };
                // The padding is not compared: clients differ in it.
                let digest = opened.filter(|opened| opened.len() == 32);
                let digest = digest.and_then(|opened| opened.first_chunk::<SHA1>());
                let expected: [u8; SHA1] = Sha1::digest(message).into();
                digest.is_some_and(|digest| digest.ct_eq(&expected).into())
            }
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
                for index in 0..SHA1 {
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
