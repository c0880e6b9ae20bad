//! Keys that are encrypted for a recipient (CPIX 2.3 section 6.3; XML Encryption 1.1; RFC 6030 section 6).
//!
//! ```text
//! DeliveryData      for one recipient
//!   DocumentKey     32 bytes, by RSAES-OAEP under the recipient's certificate
//!   MACMethod       a key for HMAC-SHA-512, by RSAES-OAEP too
//! ContentKey
//!   EncryptedValue  [16] IV, [32] AES-256-CBC of the content key, with PKCS#7 padding
//!   ValueMAC        [64] HMAC-SHA-512 of these 48 bytes
//! ```

use aes::Aes256;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, KeyIvInit};
use hmac::{Hmac, KeyInit, Mac};
use rand_core::CryptoRng;
use sha2::Sha512;
use zeroize::Zeroizing;

use super::Error;
use super::xml::{Element, Namespace};
use crate::encoding;
use crate::rsa_key::{OaepHash, PrivateKey};
use crate::secret::{Key128, Secret};

use Namespace::{Cpix, Encryption, Pskc, Signature};

/// RSAES-OAEP with SHA-1 (XML Encryption 1.1 section 5.5.2).
pub(super) const RSA_OAEP: &str = "http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p";
const SHA1: &str = "http://www.w3.org/2000/09/xmldsig#sha1";
pub(super) const AES_256_CBC: &str = "http://www.w3.org/2001/04/xmlenc#aes256-cbc";
pub(super) const HMAC_SHA512: &str = "http://www.w3.org/2001/04/xmldsig-more#hmac-sha512";

/// How many parts of a document are tried: each costs an operation with the private key.
const MAX_DELIVERIES: usize = 4;

/// The fewest bytes that a MAC key has.
const LEAST_MAC_KEY: usize = 32;

/// What opens the encrypted keys of a document.
pub struct DocumentKeys {
    document_key: Secret<32>,
    mac_key: Zeroizing<Vec<u8>>,
}

/// The keys of the first part that is for the recipient.
pub(super) fn unlock<'a>(
    deliveries: impl Iterator<Item = &'a Element>,
    private_key: &PrivateKey,
    certificate: Option<&[u8]>,
    rng: &mut dyn CryptoRng,
) -> Result<DocumentKeys, Error> {
    let is_for_us = |delivery: &&Element| match (certificate, recipient(delivery)) {
        (Some(own), Some(named)) => own == named.as_slice(),
        _ => true,
    };
    let mut why = Error::NotForUs;
    for delivery in deliveries.filter(is_for_us).take(MAX_DELIVERIES) {
        match DocumentKeys::read(delivery, private_key, rng) {
            Ok(keys) => return Ok(keys),
            Err(error) => why = error,
        }
    }
    Err(why)
}

/// The certificate of a recipient, when the document names it.
pub(super) fn recipient(delivery: &Element) -> Option<Zeroizing<Vec<u8>>> {
    let path = [
        (Cpix, "DeliveryKey"),
        (Signature, "X509Data"),
        (Signature, "X509Certificate"),
    ];
    encoding::base64(delivery.at(&path)?.text())
}

impl DocumentKeys {
    fn read(
        delivery: &Element,
        private_key: &PrivateKey,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self, Error> {
        let mut open = |wrapped: &Element| {
            let ciphertext = wrapped_key(wrapped)?;
            let opened = private_key.decrypt_oaep(OaepHash::Sha1, &ciphertext, rng);
            opened.map(|(key, _)| key).map_err(|_| Error::NotForUs)
        };
        let path = [
            (Cpix, "DocumentKey"),
            (Cpix, "Data"),
            (Pskc, "Secret"),
            (Pskc, "EncryptedValue"),
        ];
        let wrapped = delivery.at(&path);
        let document_key = open(wrapped.ok_or(Error::At("DocumentKey", "it is missing"))?)?;
        let document_key = Secret::try_from(document_key.as_slice())
            .map_err(|_| Error::At("DocumentKey", "it is not 32 bytes"))?;

        let method = delivery.children(Cpix, "MACMethod").next();
        let method = method.ok_or(Error::At("MACMethod", "it is missing"))?;
        if method.attribute("Algorithm") != Some(HMAC_SHA512) {
            return Err(Error::At(
                "MACMethod@Algorithm",
                "only HMAC-SHA-512 is read here",
            ));
        }
        // The first form is that of AWS and shaka-packager, the others follow RFC 6030.
        let wrapped = method
            .at(&[(Cpix, "Key"), (Pskc, "EncryptedValue")])
            .or_else(|| method.at(&[(Pskc, "MACKey")]))
            .or_else(|| method.at(&[(Cpix, "MACKey")]));
        let mac_key = open(wrapped.ok_or(Error::At("MACMethod", "it has no key"))?)?;
        if mac_key.len() < LEAST_MAC_KEY {
            return Err(Error::At("MACMethod", "its key has fewer than 32 bytes"));
        }
        Ok(Self {
            document_key,
            mac_key,
        })
    }

    /// Opens an `EncryptedValue`, once its MAC verifies.
    pub(super) fn open(&self, encrypted: &Element, mac: Option<&str>) -> Result<Key128, Error> {
        if algorithm(encrypted) != Some(AES_256_CBC) {
            let reason = "only AES-256-CBC is read here";
            return Err(Error::At("EncryptionMethod@Algorithm", reason));
        }
        let mac = mac.and_then(encoding::base64).ok_or(Error::Mac)?;
        self.open_bytes(&cipher_value(encrypted)?, &mac)
    }

    fn open_bytes(&self, ciphertext: &[u8], mac: &[u8]) -> Result<Key128, Error> {
        let mut expected = Hmac::<Sha512>::new_from_slice(&self.mac_key).map_err(|_| Error::Mac)?;
        expected.update(ciphertext);
        expected.verify_slice(mac).map_err(|_| Error::Mac)?;
        let (iv, blocks) = ciphertext
            .split_first_chunk::<16>()
            .ok_or(Error::Undecryptable)?;
        let mut blocks = Zeroizing::new(blocks.to_vec());
        let cipher = cbc::Decryptor::<Aes256>::new(self.document_key.expose().into(), iv.into());
        let key = cipher.decrypt_padded::<Pkcs7>(&mut blocks);
        let key = key.map_err(|_| Error::Undecryptable)?;
        Key128::try_from(key).map_err(|_| Error::Undecryptable)
    }
}

/// The ciphertext of a key under RSA.
fn wrapped_key(wrapped: &Element) -> Result<Zeroizing<Vec<u8>>, Error> {
    let method = wrapped.children(Encryption, "EncryptionMethod").next();
    let digest = method.and_then(|method| method.children(Signature, "DigestMethod").next());
    let digest = digest.and_then(|digest| digest.attribute("Algorithm"));
    if algorithm(wrapped) != Some(RSA_OAEP) || digest.is_some_and(|digest| digest != SHA1) {
        let reason = "only RSA-OAEP with SHA-1 is read here";
        return Err(Error::At("EncryptionMethod@Algorithm", reason));
    }
    cipher_value(wrapped)
}

fn algorithm(encrypted: &Element) -> Option<&str> {
    let method = encrypted.children(Encryption, "EncryptionMethod").next();
    method?.attribute("Algorithm")
}

fn cipher_value(encrypted: &Element) -> Result<Zeroizing<Vec<u8>>, Error> {
    let value = encrypted.at(&[(Encryption, "CipherData"), (Encryption, "CipherValue")]);
    let bytes = value.and_then(|value| encoding::base64(value.text()));
    bytes.ok_or(Error::At("CipherValue", "it is missing or not base64"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Document key `00 01 …`, MAC key `00 01 …`, IV `00 01 …`.
    #[test]
    fn an_encrypted_key_opens_only_when_its_mac_verifies() {
        let count = |length: u8| (0..length).collect::<Vec<u8>>();
        let keys = DocumentKeys {
            document_key: Secret::try_from(count(32).as_slice()).unwrap(),
            mac_key: Zeroizing::new(count(64)),
        };
        let ciphertext =
            encoding::base64("AAECAwQFBgcICQoLDA0OD7nCNF+U88n1rQ7XB6hh9BPrAnM36pSdGU3Oc8IMhirP");
        let ciphertext = ciphertext.unwrap();
        let mac = encoding::base64(
            "gxGDlHGlDEGST7t+ZVfSM7ZKZ6SgvoVc58OfUnj5vVm0QH59MiMO6HHc1QXAeMF3Ri+LaO88wEuRavygcDP2EA==",
        );
        let mac = mac.unwrap();
        let key = keys.open_bytes(&ciphertext, &mac).ok().unwrap();
        assert_eq!(
            hex::encode(key.expose()),
            "a537cdc0ca65841406d525e7bf22d754"
        );
        for index in 0..ciphertext.len() {
            let mut changed = ciphertext.clone();
            changed[index] ^= 1;
            assert_eq!(keys.open_bytes(&changed, &mac).err(), Some(Error::Mac));
        }
        for length in 0..mac.len() {
            let short = &mac[..length];
            assert_eq!(keys.open_bytes(&ciphertext, short).err(), Some(Error::Mac));
        }
        // What its sender made of the wrong size has a right MAC.
        for length in [0, 15, 16, 31, 32, 47] {
            let mut made = Hmac::<Sha512>::new_from_slice(&keys.mac_key).unwrap();
            made.update(&ciphertext[..length]);
            let mac = made.finalize().into_bytes();
            let opened = keys.open_bytes(&ciphertext[..length], &mac);
            assert_eq!(opened.err(), Some(Error::Undecryptable), "{length}");
        }
    }
}
