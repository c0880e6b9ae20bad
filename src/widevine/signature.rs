//! Signatures of Widevine's interfaces by AES: AES-CBC of SHA-1(message) and 12 bytes of padding, which some clients fill
//! as PKCS#7 and others with zeros, as Google's own samples do.

use aes::{Aes128, Aes256};
use cbc::cipher::block_padding::NoPadding;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use sha1::{Digest, Sha1};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::encoding;
use crate::secret::Secret;

/// How many bytes SHA-1 has.
const SHA1: usize = 20;

/// How many bytes a signature has.
const SIGNATURE: usize = 32;

/// A key and an IV that requests are signed with.
pub struct AesSigner {
    /// 16 or 32 bytes.
    key: Zeroizing<Vec<u8>>,
    iv: Secret<16>,
}

impl AesSigner {
    /// Reads a key of 16 or 32 bytes and an IV of 16, each in hex or base64.
    ///
    /// # Errors
    /// Which of both is wrong (`key` or `iv`), and how.
    pub fn read(key: &str, iv: &str) -> Result<Self, (&'static str, &'static str)> {
        let bytes = encoding::hex(key).or_else(|| encoding::base64(key));
        let bytes = bytes.filter(|bytes| matches!(bytes.len(), 16 | 32));
        let key = bytes.ok_or(("key", "it is not 16 or 32 bytes in hex or base64"))?;
        let iv = encoding::fixed(iv).ok_or(("iv", "it is not 16 bytes in hex or base64"))?;
        Ok(Self {
            key,
            iv: Secret::from(iv),
        })
    }

    /// The key.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// The signature of a message, 32 bytes.
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE] {
        let mut block = [0; SIGNATURE];
        let (digest, _zeros) = block.split_at_mut(SHA1);
        digest.copy_from_slice(&Sha1::digest(message));
        let iv = self.iv.expose().as_slice();
        let signed = match self.key.len() {
            16 => encrypted::<cbc::Encryptor<Aes128>>(&self.key, iv, &mut block),
            _ => encrypted::<cbc::Encryptor<Aes256>>(&self.key, iv, &mut block),
        };
        debug_assert!(signed.is_some(), "the sizes were checked");
        block
    }

    /// Whether a signature is of this message. The padding is not compared: clients differ in it.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let mut block = Zeroizing::new(signature.to_vec());
        let iv = self.iv.expose().as_slice();
        let opened = match self.key.len() {
            16 => opened::<cbc::Decryptor<Aes128>>(&self.key, iv, &mut block),
            _ => opened::<cbc::Decryptor<Aes256>>(&self.key, iv, &mut block),
        };
        let digest = opened.filter(|opened| opened.len() == SIGNATURE);
        let digest = digest.and_then(|opened| opened.first_chunk::<SHA1>());
        let expected: [u8; SHA1] = Sha1::digest(message).into();
        digest.is_some_and(|digest| digest.ct_eq(&expected).into())
    }
}

fn encrypted<C: KeyIvInit + BlockModeEncrypt>(
    key: &[u8],
    iv: &[u8],
    block: &mut [u8; SIGNATURE],
) -> Option<()> {
    let cipher = C::new_from_slices(key, iv).ok()?;
    let encrypted = cipher.encrypt_padded::<NoPadding>(block, SIGNATURE);
    encrypted.ok().map(drop)
}

fn opened<'b, C: KeyIvInit + BlockModeDecrypt>(
    key: &[u8],
    iv: &[u8],
    block: &'b mut [u8],
) -> Option<&'b [u8]> {
    let cipher = C::new_from_slices(key, iv).ok()?;
    cipher.decrypt_padded::<NoPadding>(block).ok()
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use serde::Deserialize;

    use super::*;
    use crate::encoding::BASE64;

    #[derive(Deserialize)]
    struct Vectors {
        key: String,
        iv: String,
        signatures: Vec<Vector>,
    }

    #[derive(Deserialize)]
    struct Vector {
        message: String,
        zeros: String,
        pkcs7: Option<String>,
    }

    #[test]
    fn signatures_are_those_of_two_other_implementations() {
        let vectors: Vectors =
            serde_json::from_str(include_str!("../../fixtures/widevine/signatures.json")).unwrap();
        let signer = AesSigner::read(&vectors.key, &vectors.iv).unwrap();
        for Vector {
            message,
            zeros,
            pkcs7,
        } in &vectors.signatures
        {
            let message = message.as_bytes();
            assert_eq!(BASE64.encode(signer.sign(message)), *zeros);
            for signature in [Some(zeros), pkcs7.as_ref()].into_iter().flatten() {
                let signature = BASE64.decode(signature).unwrap();
                assert!(signer.verify(message, &signature));
                assert!(!signer.verify(b"another", &signature));
                assert!(!signer.verify(message, &signature[..16]));
            }
        }
    }
}
