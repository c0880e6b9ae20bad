//! ECDSA on P-256 with SHA-256: the project's own kernel accepts signatures where it is at home; the `p256` crate
//! reads keys, and it alone refuses. ECDSA on P-384 with SHA-384, which few issuers use, is the `p384` crate's alone.

use p256::Scalar;
use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::{Signature, VerifyingKey};
use p256::elliptic_curve::ops::{Invert, Reduce};
use sha2::{Digest, Sha256};

/// Whether the kernel is faster than the crate, which it is in WebAssembly.
const USE_KERNEL: bool = cfg!(target_family = "wasm");

/// The first byte of a point in full (SEC 1 section 2.3.3).
const UNCOMPRESSED: u8 = 4;

/// The coordinates are not those of a point on the curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a point on the curve")]
pub struct InvalidKey;

/// A public key on P-256.
pub struct PublicKey {
    coordinates: [[u8; 32]; 2],
    reference: VerifyingKey,
}

impl PublicKey {
    /// Takes the coordinates of a point, big-endian (SEC 1 section 2.3.4).
    ///
    /// # Errors
    /// [`InvalidKey`]
    pub fn from_coordinates(x: [u8; 32], y: [u8; 32]) -> Result<Self, InvalidKey> {
        let point = [&[UNCOMPRESSED][..], &x, &y].concat();
        Ok(Self {
            coordinates: [x, y],
            reference: VerifyingKey::from_sec1_bytes(&point).map_err(|_| InvalidKey)?,
        })
    }

    /// Whether a signature of a message holds (FIPS 186-5 section 6.4.2): `r` and `s`, 32 bytes each (RFC 7518
    /// section 3.4).
    pub fn verify_sha256(&self, message: &[u8], signature: &[u8]) -> bool {
        let Ok(signature) = Signature::from_slice(signature) else {
            return false;
        };
        (USE_KERNEL && self.kernel_accepts(message, &signature))
            || self.reference.verify(message, &signature).is_ok()
    }

    fn kernel_accepts(&self, message: &[u8], signature: &Signature) -> bool {
        let (r, s) = signature.split_scalars();
        let inverse = s.invert_vartime();
        let hash = <Scalar as Reduce<_>>::reduce(&Sha256::digest(message));
        let [u1, u2] = [hash * *inverse, *r * *inverse].map(|u| u.to_bytes().into());
        let [x, y] = &self.coordinates;
        let r = r.to_bytes().into();
        keylet_kernel::p256::has_x([&u1, &u2], [x, y], &r) == Some(true)
    }
}

/// A public key on P-384.
pub struct P384PublicKey(p384::ecdsa::VerifyingKey);

impl P384PublicKey {
    /// Takes the coordinates of a point, big-endian (SEC 1 section 2.3.4).
    ///
    /// # Errors
    /// [`InvalidKey`]
    pub fn from_coordinates(x: [u8; 48], y: [u8; 48]) -> Result<Self, InvalidKey> {
        let point = [&[UNCOMPRESSED][..], &x, &y].concat();
        p384::ecdsa::VerifyingKey::from_sec1_bytes(&point)
            .map(Self)
            .map_err(|_| InvalidKey)
    }

    /// Whether a signature of a message holds (FIPS 186-5 section 6.4.2): `r` and `s`, 48 bytes each (RFC 7518
    /// section 3.4).
    pub fn verify_sha384(&self, message: &[u8], signature: &[u8]) -> bool {
        p384::ecdsa::Signature::from_slice(signature)
            .is_ok_and(|signature| self.0.verify(message, &signature).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use p256::ecdsa::SigningKey;
    use p256::ecdsa::signature::Signer;

    use super::*;

    #[test]
    fn the_kernel_accepts_what_the_crate_accepts() {
        for seed in 1..20_u8 {
            let key = SigningKey::from_slice(&[seed; 32]).unwrap();
            let signature: Signature = key.sign(&[seed]);
            let point = key.verifying_key().to_sec1_point(false);
            let [x, y] = [point.x(), point.y()].map(|half| half.unwrap()[..].try_into().unwrap());
            let public = PublicKey::from_coordinates(x, y).unwrap();
            assert!(public.kernel_accepts(&[seed], &signature));
            assert!(!public.kernel_accepts(&[seed, 0], &signature));
            assert!(public.verify_sha256(&[seed], &signature.to_bytes()));
            assert!(!public.verify_sha256(&[seed, 0], &signature.to_bytes()));
        }
        assert!(PublicKey::from_coordinates([1; 32], [2; 32]).is_err());
    }
}
