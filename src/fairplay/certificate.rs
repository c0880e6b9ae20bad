//! Application certificates: one certificate, or the bundle `fps_certificate.bin`.

use std::cell::OnceCell;

use sha1::{Digest, Sha1};
use sha2::Sha256;

use crate::encoding::{self, PemOrDer};
use crate::x509;

pub use crate::x509::is_authority;

/// Why bytes are not an application certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Neither base64 nor PEM.
    #[error("it is neither base64 nor PEM")]
    Encoding,
    /// Not X.509 in DER.
    #[error("it is not an X.509 certificate")]
    Malformed,
    /// The key is not RSA.
    #[error("its key is not an RSA key")]
    NotRsa,
    /// The key has a size that no SPC has room for.
    #[error("its key has {0} bits; FairPlay has 1024 and 2048")]
    KeySize(usize),
    /// More than one certificate, and not a bundle.
    #[error("a bundle is a 1024-bit certificate followed by a 2048-bit one")]
    Bundle,
}

/// One X.509 certificate. Each of its hashes is calculated when it is first asked for.
pub struct Certificate {
    /// RSA modulus, big-endian, without leading zeros.
    pub modulus: Vec<u8>,
    /// The DER encoding.
    pub der: Vec<u8>,
    sha1: OnceCell<[u8; 20]>,
    sha256: OnceCell<[u8; 32]>,
}

impl Certificate {
    /// Reads one certificate from the front of `der` and returns what follows it.
    ///
    /// Its validity dates are not looked at: FairPlay does not enforce them.
    fn split_from_der(der: &[u8]) -> Result<(Self, &[u8]), Error> {
        let (x509::Certificate { der, public_key }, rest) = x509::Certificate::split_from(der)
            .map_err(|error| match error {
                x509::Error::Malformed => Error::Malformed,
                x509::Error::NotRsa => Error::NotRsa,
            })?;
        let this = Self {
            modulus: public_key.modulus.as_bytes().to_vec(),
            der: der.to_vec(),
            sha1: OnceCell::new(),
            sha256: OnceCell::new(),
        };
        match this.bits() {
            1024 | 2048 => Ok((this, rest)),
            other => Err(Error::KeySize(other)),
        }
    }

    /// SHA-1 of the DER encoding: what an SPC of version 1 or 2 names it by.
    pub fn sha1(&self) -> &[u8; 20] {
        self.sha1.get_or_init(|| Sha1::digest(&self.der).into())
    }

    /// SHA-256 of the DER encoding: what an SPC of version 3 names it by.
    pub fn sha256(&self) -> &[u8; 32] {
        self.sha256.get_or_init(|| Sha256::digest(&self.der).into())
    }

    /// The hash of so many bytes, 20 or 32, that an SPC may name this by.
    pub fn hash(&self, length: usize) -> Option<&[u8]> {
        match length {
            20 => Some(self.sha1()),
            32 => Some(self.sha256()),
            _ => None,
        }
    }

    /// Size of the key: 1024 or 2048.
    pub fn bits(&self) -> usize {
        let top = self
            .modulus
            .first()
            .map_or(0, |byte| byte.checked_ilog2().map_or(0, |log| log + 1));
        self.modulus.len().saturating_sub(1) * 8 + usize::try_from(top).unwrap_or(0)
    }
}

/// What a provider gives to players: one certificate, or a bundle of a 1024-bit and a 2048-bit one.
pub struct ApplicationCertificate {
    /// The bytes to hand out.
    pub der: Vec<u8>,
    /// The certificate, or the two of a bundle.
    pub certificates: Vec<Certificate>,
}

impl ApplicationCertificate {
    /// Reads PEM, or base64 of DER or of `fps_certificate.bin`. Certificates of authorities beside it are left out:
    /// players need only the application's.
    ///
    /// # Errors
    /// [`Error`] says what it is instead.
    pub fn from_text(text: &str) -> Result<Self, Error> {
        let der = match encoding::pem_or_der(text).ok_or(Error::Encoding)? {
            PemOrDer::Der(der) => der.to_vec(),
            PemOrDer::Pem(blocks) => blocks
                .iter()
                .filter(|pem| pem.is_certificate())
                .flat_map(|pem| pem.der.to_vec())
                .collect(),
        };
        Self::from_der(without_authorities(der))
    }

    /// Reads DER: one certificate, or two back to back, the 1024-bit one first.
    ///
    /// # Errors
    /// [`Error`] says what it is instead.
    pub fn from_der(der: Vec<u8>) -> Result<Self, Error> {
        let (first, rest) = Certificate::split_from_der(&der)?;
        let certificates = if rest.is_empty() {
            vec![first]
        } else {
            let (second, rest) = Certificate::split_from_der(rest)?;
            if (first.bits(), second.bits(), rest.len()) != (1024, 2048, 0) {
                return Err(Error::Bundle);
            }
            vec![first, second]
        };
        Ok(Self { der, certificates })
    }

    /// Whether an SPC names the whole file of a bundle by this hash: so does a system that reads only
    /// the first certificate, and encrypts to that one.
    pub fn has_bundle_hash(&self, hash: &[u8]) -> bool {
        self.certificates.len() > 1
            && match hash.len() {
                20 => *Sha1::digest(&self.der) == *hash,
                32 => *Sha256::digest(&self.der) == *hash,
                _ => false,
            }
    }
}

/// Certificates back to back without those of authorities, and each of them once. Where there are only authorities,
/// one of them may be the application certificate, in tests.
fn without_authorities(der: Vec<u8>) -> Vec<u8> {
    // Nearly always there is one, which stays whatever it is.
    if matches!(encoding::first_der(&der), Some((_, []))) {
        return der;
    }
    let mut own: Vec<&[u8]> = Vec::new();
    let mut rest = der.as_slice();
    while let Some((one, after)) = encoding::first_der(rest) {
        if !is_authority(one) && !own.contains(&one) {
            own.push(one);
        }
        rest = after;
    }
    match own.is_empty() || !rest.is_empty() {
        true => der,
        false => own.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::BASE64;
    use crate::x509::tests::authorities;
    use base64::Engine;

    #[test]
    fn the_certificates_of_authorities_are_left_out_of_a_chain() {
        let own: &[u8] = include_bytes!("../../fixtures/credentials/sdk4.cer");
        let bundle: &[u8] = include_bytes!("../../fixtures/credentials/fps_certificate.bin");
        let [root, intermediate, other, _] = authorities();
        let pem = |der: &[u8]| {
            let base64 = BASE64.encode(der);
            format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n")
        };
        for (chain, expected) in [
            (vec![own], own),
            (vec![own, &root], own),
            (vec![own, &intermediate, &root], own),
            (vec![&root, own, &intermediate], own),
            (vec![own, own], own),
            (vec![bundle, &root], bundle),
        ] {
            let text: String = chain.iter().map(|der| pem(der)).collect();
            let der = chain.concat();
            let spaced = [&der[..], b"\r\n\0"].concat();
            for text in [text, BASE64.encode(der), BASE64.encode(spaced)] {
                let read = ApplicationCertificate::from_text(&text).ok();
                assert_eq!(read.map(|one| one.der).as_deref(), Some(expected), "{text}");
            }
        }
        // A certificate that is no authority's is none that may be left out.
        let text = BASE64.encode([own, &other].concat());
        assert!(ApplicationCertificate::from_text(&text).is_err());
        // What a server hands out is read as it is.
        assert!(ApplicationCertificate::from_der([own, &root].concat()).is_err());
    }
}
