//! Keys encrypted for a recipient, as a reply has them: the writing side of [`encrypted`](super::encrypted).

use aes::Aes256;
use base64::Engine;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeEncrypt, KeyIvInit};
use hmac::{Hmac, KeyInit, Mac};
use rand_core::CryptoRng;
use sha2::Sha512;
use zeroize::Zeroizing;

use super::encrypted::{AES_256_CBC, HMAC_SHA512, RSA_OAEP};
use crate::encoding::BASE64;
use crate::rsa_key::{InvalidKey, PublicKey};
use crate::secret::{Key128, Secret};

/// The keys of one reply, drawn at random: every recipient has the same.
pub struct Delivery {
    document_key: Secret<32>,
    mac_key: Secret<64>,
}

/// How the elements that are put in are named in a document: each prefix with its colon, and the declarations that it
/// does not have.
pub struct Prefixes {
    /// Of CPIX.
    pub cpix: String,
    /// Of PSKC, and its declaration where the root has none.
    pub pskc: (String, String),
    /// Of XML Encryption, and its declaration where the root has none.
    pub encryption: (String, String),
}

impl Delivery {
    /// Draws the keys.
    pub fn new(rng: &mut dyn CryptoRng) -> Self {
        let (mut document_key, mut mac_key) = (Zeroizing::new([0; 32]), Zeroizing::new([0; 64]));
        rng.fill_bytes(&mut *document_key);
        rng.fill_bytes(&mut *mac_key);
        Self {
            document_key: Secret::from(*document_key),
            mac_key: Secret::from(*mac_key),
        }
    }

    /// `DocumentKey` and `MACMethod` for one recipient. CPIX 2.4 has no `DocumentKey@Algorithm`, and 2.3 has it.
    ///
    /// # Errors
    /// [`InvalidKey`] when nothing can be encrypted for the recipient.
    pub fn for_recipient(
        &self,
        recipient: &PublicKey,
        names: &Prefixes,
        has_algorithm: bool,
        rng: &mut dyn CryptoRng,
    ) -> Result<String, InvalidKey> {
        let document_key = recipient.encrypt_oaep_sha1(self.document_key.expose(), rng)?;
        let mac_key = recipient.encrypt_oaep_sha1(self.mac_key.expose(), rng)?;
        let c = &names.cpix;
        let (p, declared) = &names.pskc;
        let algorithm = match has_algorithm {
            true => format!(r#" Algorithm="{AES_256_CBC}""#),
            false => String::new(),
        };
        let document_key = self.value(&document_key, RSA_OAEP, names);
        let mac_key = self.value(&mac_key, RSA_OAEP, names);
        Ok(format!(
            r#"<{c}DocumentKey{algorithm}><{c}Data><{p}Secret{declared}>{document_key}</{p}Secret></{c}Data></{c}DocumentKey><{c}MACMethod Algorithm="{HMAC_SHA512}"><{c}Key>{mac_key}</{c}Key></{c}MACMethod>"#,
        ))
    }

    /// `EncryptedValue` and `ValueMAC` of a content key.
    pub fn sealed(&self, key: &Key128, names: &Prefixes, rng: &mut dyn CryptoRng) -> String {
        let mut iv = [0; 16];
        rng.fill_bytes(&mut iv);
        self.value(&self.encrypted(key, iv), AES_256_CBC, names)
    }

    /// The IV, and the key under AES-256-CBC.
    fn encrypted(&self, key: &Key128, iv: [u8; 16]) -> Vec<u8> {
        let cipher = cbc::Encryptor::<Aes256>::new(self.document_key.expose().into(), &iv.into());
        let mut blocks = Zeroizing::new([0; 32]);
        let (plain, _) = blocks.split_at_mut(key.expose().len());
        plain.copy_from_slice(key.expose());
        let encrypted = cipher.encrypt_padded::<Pkcs7>(&mut *blocks, key.expose().len());
        debug_assert!(encrypted.is_ok(), "there is room for the padding");
        [&iv[..], &*blocks].concat()
    }

    fn value(&self, ciphertext: &[u8], algorithm: &str, names: &Prefixes) -> String {
        let (p, pskc) = &names.pskc;
        let (e, encryption) = &names.encryption;
        let (value, mac) = (
            BASE64.encode(ciphertext),
            BASE64.encode(self.mac(ciphertext)),
        );
        format!(
            r#"<{p}EncryptedValue{pskc}{encryption}><{e}EncryptionMethod Algorithm="{algorithm}"/><{e}CipherData><{e}CipherValue>{value}</{e}CipherValue></{e}CipherData></{p}EncryptedValue><{p}ValueMAC{pskc}>{mac}</{p}ValueMAC>"#,
        )
    }

    fn mac(&self, ciphertext: &[u8]) -> [u8; 64] {
        let mut mac = Hmac::<Sha512>::new((&*hmac_block(self.mac_key.expose())).into());
        mac.update(ciphertext);
        mac.finalize().into_bytes().into()
    }
}

/// A key of HMAC, filled with zeros to a block of SHA-512 (RFC 2104 section 2).
fn hmac_block(key: &[u8; 64]) -> Zeroizing<[u8; 128]> {
    let mut block = Zeroizing::new([0; 128]);
    for (to, byte) in block.iter_mut().zip(key) {
        *to = *byte;
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding;

    #[test]
    fn a_key_is_encrypted_as_the_published_layout_has_it() {
        let count = |index: usize| u8::try_from(index).unwrap();
        let delivery = Delivery {
            document_key: Secret::from(std::array::from_fn(count)),
            mac_key: Secret::from(std::array::from_fn(count)),
        };
        let key = encoding::fixed("a537cdc0ca65841406d525e7bf22d754").map(Key128::from);
        let encrypted = delivery.encrypted(&key.unwrap(), std::array::from_fn(count));
        assert_eq!(
            BASE64.encode(&encrypted),
            "AAECAwQFBgcICQoLDA0OD7nCNF+U88n1rQ7XB6hh9BPrAnM36pSdGU3Oc8IMhirP"
        );
        assert_eq!(
            BASE64.encode(delivery.mac(&encrypted)),
            "gxGDlHGlDEGST7t+ZVfSM7ZKZ6SgvoVc58OfUnj5vVm0QH59MiMO6HHc1QXAeMF3Ri+LaO88wEuRavygcDP2EA=="
        );
    }
}
