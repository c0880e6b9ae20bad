//! The public key of an X.509 certificate (RFC 5280 section 4.1). Nothing else of it matters here:
//! FairPlay and content key policies require neither an issuer nor a validity.

use der::asn1::{AnyRef, BitStringRef};
use der::{Decode, Reader, SliceReader, Tag, Tagged};
use pkcs1::RsaPublicKeyRef;

/// Why bytes are not a certificate with an RSA key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// Not X.509 in DER.
    Malformed,
    /// The key is not RSA.
    NotRsa,
}

/// A certificate at the front of DER: its own bytes, and its key.
pub struct Certificate<'a> {
    /// The whole of it.
    pub der: &'a [u8],
    /// The key.
    pub public_key: RsaPublicKeyRef<'a>,
}

impl<'a> Certificate<'a> {
    /// Reads the certificate at the front, and returns what follows it.
    ///
    /// # Errors
    /// [`Error`]
    pub fn split_from(der: &'a [u8]) -> Result<(Self, &'a [u8]), Error> {
        let (key, length) = subject_public_key(der).map_err(|_| Error::Malformed)?;
        let public_key = RsaPublicKeyRef::from_der(key).map_err(|_| Error::NotRsa)?;
        let (der, rest) = der.split_at_checked(length).ok_or(Error::Malformed)?;
        Ok((Self { der, public_key }, rest))
    }
}

/// `tbsCertificate.subjectPublicKeyInfo.subjectPublicKey`, and the length of the certificate.
fn subject_public_key(der: &[u8]) -> der::Result<(&[u8], usize)> {
    let mut reader = SliceReader::new(der)?;
    let certificate = sequence(&mut reader)?;
    let length = der.len() - usize::try_from(reader.remaining_len())?;

    let mut certificate = SliceReader::new(certificate)?;
    let mut tbs = SliceReader::new(sequence(&mut certificate)?)?;
    // The signature is not verified, but has to be there.
    sequence(&mut certificate)?;
    BitStringRef::decode(&mut certificate)?;
    certificate.finish()?;

    let mut field = AnyRef::decode(&mut tbs)?;
    if field.tag().is_context_specific() {
        // `version`, which the first one leaves out.
        field = AnyRef::decode(&mut tbs)?;
    }
    field.tag().assert_eq(Tag::Integer)?;
    for _signature_issuer_validity_subject in 0..4 {
        sequence(&mut tbs)?;
    }
    let mut info = SliceReader::new(sequence(&mut tbs)?)?;
    sequence(&mut info)?;
    let key = BitStringRef::decode(&mut info)?;
    info.finish()?;
    Ok((key.raw_bytes(), length))
}

/// The content of the SEQUENCE that comes next.
fn sequence<'a>(reader: &mut SliceReader<'a>) -> der::Result<&'a [u8]> {
    let any = AnyRef::decode(reader)?;
    any.tag().assert_eq(Tag::Sequence)?;
    Ok(any.value())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_read_whole_or_not_at_all() {
        let der: &[u8] = include_bytes!("../fixtures/credentials/sdk4.cer");
        let (certificate, rest) = Certificate::split_from(der).unwrap();
        assert_eq!((certificate.der, rest), (der, &[][..]));
        assert_eq!(certificate.public_key.modulus.as_bytes().len(), 128);

        let two = [der, der].concat();
        let (first, rest) = Certificate::split_from(&two).unwrap();
        assert_eq!((first.der, rest), (der, der));

        for length in 0..der.len() {
            let read = Certificate::split_from(&der[..length]);
            assert_eq!(read.err(), Some(Error::Malformed), "{length} bytes");
        }
        for index in 0..der.len() {
            let mut other = der.to_vec();
            other[index] ^= 0x80;
            // Whatever it is taken for, it ends where its length says.
            if let Ok((certificate, rest)) = Certificate::split_from(&other) {
                assert_eq!(certificate.der.len() + rest.len(), der.len());
            }
        }
    }
}
