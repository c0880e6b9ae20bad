//! RSA behind one small interface: the project's own kernel where it is at home, and the `rsa` crate for
//! all else, and as its judge.

use std::cell::OnceCell;

use ::rsa::traits::PublicKeyParts;
use ::rsa::{
    BoxedUint, Oaep, Pkcs1v15Sign, PrivateKey as RsaPrivateKey, Pss, PublicKey as RsaPublicKey,
};
use der::Decode;
use keylet_kernel::{CrtParts, DecryptError, Kernel, KeyError, oaep};
use rand_core::CryptoRng;
use sha1::Sha1;
use sha2::digest::FixedOutputReset;
use sha2::{Digest, Sha256, Sha384, Sha512};
use zeroize::Zeroizing;

/// Whether the kernel is faster than the crate, which it is in WebAssembly.
const USE_KERNEL: bool = cfg!(target_family = "wasm");

/// The hash of an OAEP padding, which is also the hash of its MGF1 (RFC 8017 section 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OaepHash {
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

/// The hash of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureHash {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// The input is no RSA key, or one that is not sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid RSA key")]
pub struct InvalidKey;

/// The ciphertext does not decrypt. There is one answer for every cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("RSA decryption failed")]
pub struct DecryptionFailed;

/// Who calculated a private operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
    /// The kernel, by fused multiply-adds of the host.
    Fused,
    /// The kernel, exactly: the host does not fuse, or its result was not right.
    Exact,
    /// The `rsa` crate: the key has another size, or no kernel's result was right.
    Crate,
}

impl Arithmetic {
    /// What the audit calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fused => "fused",
            Self::Exact => "exact",
            Self::Crate => "crate",
        }
    }
}

/// An RSA private key.
///
/// In WebAssembly the kernel calculates with keys of 1024 and 2048 bits. With others, where the kernel
/// vouches for no result, and in a program for a machine, the `rsa` crate does.
pub struct PrivateKey {
    pkcs1: Zeroizing<Vec<u8>>,
    kernel: Option<keylet_kernel::PrivateKey>,
    reference: OnceCell<RsaPrivateKey>,
}

impl PrivateKey {
    /// Reads an `RSAPrivateKey` (PKCS#1, RFC 8017 appendix A.1.2) in DER. Whether all its parts belong
    /// together, [`Self::check`] says.
    ///
    /// # Errors
    /// [`InvalidKey`] when it is malformed, has more than two primes, or these are not those of the
    /// modulus.
    pub fn from_pkcs1_der(der: &[u8]) -> Result<Self, InvalidKey> {
        let key = parts(der)?;
        let kernel = if USE_KERNEL {
            let kernel = keylet_kernel::PrivateKey::new(&CrtParts {
                n: key.modulus.as_bytes(),
                e: key.public_exponent.as_bytes(),
                p: key.prime1.as_bytes(),
                q: key.prime2.as_bytes(),
                dp: key.exponent1.as_bytes(),
                dq: key.exponent2.as_bytes(),
                qinv: key.coefficient.as_bytes(),
            });
            match kernel {
                Ok(kernel) => Some(kernel),
                Err(KeyError::Unsupported) => None,
                Err(KeyError::Invalid) => return Err(InvalidKey),
            }
        } else {
            None
        };
        let this = Self {
            pkcs1: Zeroizing::new(der.to_vec()),
            kernel,
            reference: OnceCell::new(),
        };
        if this.kernel.is_none() {
            this.reference_key()?;
        }
        Ok(this)
    }

    /// Whether the parts of the key belong together, and open what is encrypted for it: factors that are equal, or
    /// that are no primes, do not. An operation does without this work, since its result is checked.
    ///
    /// # Errors
    /// [`InvalidKey`]
    pub fn check(&self, rng: &mut dyn CryptoRng) -> Result<(), InvalidKey> {
        const MESSAGE: [u8; 16] = [0x55; 16];
        let public = RsaPublicKey::from(self.reference_key()?);
        let encrypted = public.encrypt(rng, Oaep::<Sha1>::new(), &MESSAGE);
        let encrypted = encrypted.map_err(|_| InvalidKey)?;
        match self.decrypt_oaep(OaepHash::Sha1, &encrypted, rng) {
            Ok((message, _)) if *message == MESSAGE => Ok(()),
            _ => Err(InvalidKey),
        }
    }

    /// RSAES-OAEP decryption with an empty label (RFC 8017 section 7.1.2), and who did it.
    ///
    /// # Errors
    /// [`DecryptionFailed`] for every cause alike, a ciphertext of another size included.
    pub fn decrypt_oaep(
        &self,
        hash: OaepHash,
        ciphertext: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<(Zeroizing<Vec<u8>>, Arithmetic), DecryptionFailed> {
        let decrypted = match &self.kernel {
            Some(kernel) => kernel.decrypt(ciphertext, rng),
            None => Err(DecryptError::Unverified),
        };
        let (block, arithmetic) = match decrypted {
            Ok(decrypted) => {
                let arithmetic = match decrypted.kernel {
                    Kernel::Fused => Arithmetic::Fused,
                    Kernel::Exact => Arithmetic::Exact,
                };
                (decrypted.block, arithmetic)
            }
            Err(DecryptError::OutOfRange) => return Err(DecryptionFailed),
            Err(DecryptError::Unverified) => {
                (self.reference_block(ciphertext, rng)?, Arithmetic::Crate)
            }
        };
        let message = match hash {
            OaepHash::Sha1 => oaep::unpad::<Sha1>(&block, b""),
            OaepHash::Sha256 => oaep::unpad::<Sha256>(&block, b""),
        };
        Ok((message.map_err(|_| DecryptionFailed)?, arithmetic))
    }

    /// What the `rsa` crate decrypts, as long as the modulus. Its own reader of OAEP takes blocks that do not begin with
    /// zero (RFC 8017 section 7.1.2, step 3.g).
    fn reference_block(
        &self,
        ciphertext: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<Zeroizing<Vec<u8>>, DecryptionFailed> {
        let key = self.reference_key().map_err(|_| DecryptionFailed)?;
        if ciphertext.len() != key.size() {
            return Err(DecryptionFailed);
        }
        let number = BoxedUint::from_be_slice(ciphertext, key.n_bits_precision());
        let number = number.map_err(|_| DecryptionFailed)?;
        let decrypted = rsa::hazmat::rsa_decrypt_and_check(key, Some(rng), &number);
        let decrypted = Zeroizing::new(decrypted.map_err(|_| DecryptionFailed)?);
        let bytes = Zeroizing::new(decrypted.to_be_bytes());
        let block = bytes.len().checked_sub(ciphertext.len());
        let block = block.and_then(|start| bytes.get(start..));
        Ok(Zeroizing::new(block.ok_or(DecryptionFailed)?.to_vec()))
    }

    /// The key of the `rsa` crate, which checks all parts.
    fn reference_key(&self) -> Result<&RsaPrivateKey, InvalidKey> {
        if let Some(key) = self.reference.get() {
            return Ok(key);
        }
        let parts = parts(&self.pkcs1)?;
        let integer =
            |part: der::asn1::UintRef<'_>| BoxedUint::from_be_slice_vartime(part.as_bytes());
        let key = RsaPrivateKey::from_components(
            integer(parts.modulus),
            integer(parts.public_exponent),
            integer(parts.private_exponent),
            vec![integer(parts.prime1), integer(parts.prime2)],
        );
        let key = key.map_err(|_| InvalidKey)?;
        Ok(self.reference.get_or_init(|| key))
    }
}

/// The parts of a key of two primes.
fn parts(der: &[u8]) -> Result<pkcs1::RsaPrivateKeyRef<'_>, InvalidKey> {
    let key = pkcs1::RsaPrivateKeyRef::from_der(der).map_err(|_| InvalidKey)?;
    match key.other_prime_infos {
        Some(_) => Err(InvalidKey),
        None => Ok(key),
    }
}

/// An RSA public key: of a signer, or of a recipient.
pub struct PublicKey {
    modulus: Vec<u8>,
    exponent: Vec<u8>,
    kernel: Option<keylet_kernel::PublicKey>,
    reference: OnceCell<RsaPublicKey>,
}

impl PublicKey {
    /// A key from big-endian modulus and public exponent. Moduli of 2048 to 4096 bits are taken
    /// (RFC 7518 section 3.3 asks for at least 2048), and exponents below 2^33.
    ///
    /// # Errors
    /// [`InvalidKey`] when the size or the exponent is out of range.
    pub fn from_components(modulus: &[u8], exponent: &[u8]) -> Result<Self, InvalidKey> {
        let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
        let kernel = match modulus.len() - zeros {
            256 if USE_KERNEL => keylet_kernel::PublicKey::new(modulus, exponent).ok(),
            _ => None,
        };
        let this = Self {
            modulus: modulus.to_vec(),
            exponent: exponent.to_vec(),
            kernel: kernel.filter(|_| exponent.len() <= 4),
            reference: OnceCell::new(),
        };
        if this.kernel.is_none() && this.reference_key()?.n().as_ref().bit_width_vartime() < 2048 {
            return Err(InvalidKey);
        }
        Ok(this)
    }

    /// The key of the `rsa` crate.
    fn reference_key(&self) -> Result<&RsaPublicKey, InvalidKey> {
        if let Some(key) = self.reference.get() {
            return Ok(key);
        }
        let key = RsaPublicKey::new(
            BoxedUint::from_be_slice_vartime(&self.modulus),
            BoxedUint::from_be_slice_vartime(&self.exponent),
        );
        let key = key.map_err(|_| InvalidKey)?;
        Ok(self.reference.get_or_init(|| key))
    }

    /// Verifies an RSASSA-PKCS1-v1_5 signature (RFC 8017 section 8.2.2).
    pub fn verify_pkcs1v15(&self, hash: SignatureHash, message: &[u8], signature: &[u8]) -> bool {
        let digest = match hash {
            SignatureHash::Sha256 => Sha256::digest(message).to_vec(),
            SignatureHash::Sha384 => Sha384::digest(message).to_vec(),
            SignatureHash::Sha512 => Sha512::digest(message).to_vec(),
        };
        let padding = match hash {
            SignatureHash::Sha256 => Pkcs1v15Sign::new::<Sha256>(),
            SignatureHash::Sha384 => Pkcs1v15Sign::new::<Sha384>(),
            SignatureHash::Sha512 => Pkcs1v15Sign::new::<Sha512>(),
        };
        if let Some(kernel) = &self.kernel {
            let encoded = kernel.apply(signature);
            return encoded
                .is_ok_and(|encoded| encoded == emsa_pkcs1v15(&padding, &digest, encoded.len()));
        }
        self.reference_key()
            .is_ok_and(|key| key.verify(padding, &digest, signature).is_ok())
    }

    /// Verifies an RSASSA-PSS signature with a salt as long as the hash (RFC 7518 section 3.5).
    pub fn verify_pss(&self, hash: SignatureHash, message: &[u8], signature: &[u8]) -> bool {
        match hash {
            SignatureHash::Sha256 => self.verify_pss_with::<Sha256>(message, signature),
            SignatureHash::Sha384 => self.verify_pss_with::<Sha384>(message, signature),
            SignatureHash::Sha512 => self.verify_pss_with::<Sha512>(message, signature),
        }
    }

    /// Verifies an RSASSA-PSS signature with SHA-1 and a salt of 20 bytes (RFC 8017 section 8.1.2), as shaka-packager
    /// signs its requests.
    pub fn verify_pss_sha1(&self, message: &[u8], signature: &[u8]) -> bool {
        self.verify_pss_with::<Sha1>(message, signature)
    }

    fn verify_pss_with<D: Digest + FixedOutputReset>(
        &self,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        let digest = D::digest(message);
        self.reference_key()
            .is_ok_and(|key| key.verify(Pss::<D>::new(), &digest, signature).is_ok())
    }

    /// RSAES-OAEP encryption with SHA-1 and an empty label (RFC 8017 section 7.1.1).
    ///
    /// # Errors
    /// [`InvalidKey`] when the key is none, or too small for the message.
    pub fn encrypt_oaep_sha1(
        &self,
        message: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<u8>, InvalidKey> {
        let encrypted = self
            .reference_key()?
            .encrypt(rng, Oaep::<Sha1>::new(), message);
        encrypted.map_err(|_| InvalidKey)
    }
}

/// EMSA-PKCS1-v1_5 (RFC 8017 section 9.2): `00 01 FF … FF 00`, then the `DigestInfo` of the digest, in
/// so many bytes.
fn emsa_pkcs1v15(padding: &Pkcs1v15Sign, digest: &[u8], length: usize) -> Vec<u8> {
    let filler = length.saturating_sub(3 + padding.prefix.len() + digest.len());
    [
        &[0, 1][..],
        &vec![0xff; filler],
        &[0],
        &padding.prefix,
        digest,
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    #[test]
    fn factors_that_are_equal_or_no_primes_make_no_sound_key() {
        let keys: BTreeMap<String, String> =
            serde_json::from_str(include_str!("../fixtures/keys/unsound-rsa.json")).unwrap();
        assert_eq!(keys.len(), 6);
        let mut rng = ChaCha20Rng::seed_from_u64(0);
        for (name, der) in keys {
            let der = hex::decode(der).unwrap();
            let key = PrivateKey::from_pkcs1_der(&der);
            let is_sound = key.is_ok_and(|key| key.check(&mut rng).is_ok());
            assert_eq!(is_sound, name == "sound", "{name}");
        }
    }
}
