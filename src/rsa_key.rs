//! RSA behind one small interface, so that a faster kernel can take its place.
//!
//! The arithmetic is the `rsa` crate's on `crypto-bigint`: private operations are blinded.

use ::rsa::traits::PublicKeyParts;
use ::rsa::{BoxedUint, Oaep, Pkcs1v15Sign, Pss, RsaPrivateKey, RsaPublicKey};
use der::Decode;
use rand_core::CryptoRng;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};
use zeroize::Zeroizing;

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

/// An RSA private key.
pub struct PrivateKey(RsaPrivateKey);

impl PrivateKey {
    /// Reads an `RSAPrivateKey` (PKCS#1, RFC 8017 appendix A.1.2) in DER.
    ///
    /// # Errors
    /// [`InvalidKey`] when it is malformed, has more than two primes, or its parts do not belong
    /// together.
    pub fn from_pkcs1_der(der: &[u8]) -> Result<Self, InvalidKey> {
        let key = pkcs1::RsaPrivateKeyRef::from_der(der).map_err(|_| InvalidKey)?;
        if key.other_prime_infos.is_some() {
            return Err(InvalidKey);
        }
        let integer =
            |part: der::asn1::UintRef<'_>| BoxedUint::from_be_slice_vartime(part.as_bytes());
        RsaPrivateKey::from_components(
            integer(key.modulus),
            integer(key.public_exponent),
            integer(key.private_exponent),
            vec![integer(key.prime1), integer(key.prime2)],
        )
        .map(Self)
        .map_err(|_| InvalidKey)
    }

    /// The modulus, big-endian, without leading zeros.
    pub fn modulus(&self) -> Vec<u8> {
        self.0.n().as_ref().to_be_bytes_trimmed_vartime().into()
    }

    /// RSAES-OAEP decryption with an empty label (RFC 8017 section 7.1.2).
    ///
    /// # Errors
    /// [`DecryptionFailed`] for every cause alike, a ciphertext of another size included.
    pub fn decrypt_oaep(
        &self,
        hash: OaepHash,
        ciphertext: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<Zeroizing<Vec<u8>>, DecryptionFailed> {
        match hash {
            OaepHash::Sha1 => self.0.decrypt_blinded(rng, Oaep::<Sha1>::new(), ciphertext),
            OaepHash::Sha256 => self
                .0
                .decrypt_blinded(rng, Oaep::<Sha256>::new(), ciphertext),
        }
        .map(Zeroizing::new)
        .map_err(|_| DecryptionFailed)
    }
}

/// An RSA public key for signatures.
pub struct PublicKey(RsaPublicKey);

impl PublicKey {
    /// A key from big-endian modulus and public exponent. Moduli of 2048 to 4096 bits are taken
    /// (RFC 7518 section 3.3 asks for at least 2048).
    ///
    /// # Errors
    /// [`InvalidKey`] when the size or the exponent is out of range.
    pub fn from_components(modulus: &[u8], exponent: &[u8]) -> Result<Self, InvalidKey> {
        let key = RsaPublicKey::new(
            BoxedUint::from_be_slice_vartime(modulus),
            BoxedUint::from_be_slice_vartime(exponent),
        )
        .map_err(|_| InvalidKey)?;
        if key.n().as_ref().bits_vartime() < 2048 {
            return Err(InvalidKey);
        }
        Ok(Self(key))
    }

    /// Verifies an RSASSA-PKCS1-v1_5 signature (RFC 8017 section 8.2.2).
    pub fn verify_pkcs1v15(&self, hash: SignatureHash, message: &[u8], signature: &[u8]) -> bool {
        match hash {
            SignatureHash::Sha256 => self.0.verify(
                Pkcs1v15Sign::new::<Sha256>(),
                &Sha256::digest(message),
                signature,
            ),
            SignatureHash::Sha384 => self.0.verify(
                Pkcs1v15Sign::new::<Sha384>(),
                &Sha384::digest(message),
                signature,
            ),
            SignatureHash::Sha512 => self.0.verify(
                Pkcs1v15Sign::new::<Sha512>(),
                &Sha512::digest(message),
                signature,
            ),
        }
        .is_ok()
    }

    /// Verifies an RSASSA-PSS signature with SHA-256 and a salt of 32 bytes (RFC 7518 section 3.5).
    pub fn verify_pss_sha256(&self, message: &[u8], signature: &[u8]) -> bool {
        self.0
            .verify(Pss::<Sha256>::new(), &Sha256::digest(message), signature)
            .is_ok()
    }
}
