//! The public key of an X.509 certificate (RFC 5280 section 4.1). Nothing else of it matters here:
//! FairPlay and content key policies require neither an issuer nor a validity.

use der::asn1::{AnyRef, BitStringRef, ObjectIdentifier, OctetStringRef};
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

/// An RSA public key: of a certificate, of a `SubjectPublicKeyInfo` (RFC 5280 section 4.1), or an `RSAPublicKey` alone
/// (RFC 8017 appendix A.1.1). `None` for anything else.
pub fn rsa_public_key(der: &[u8]) -> Option<RsaPublicKeyRef<'_>> {
    let info = || -> der::Result<&[u8]> {
        let mut reader = SliceReader::new(der)?;
        let mut info = SliceReader::new(sequence(&mut reader)?)?;
        sequence(&mut info)?;
        let key = BitStringRef::decode(&mut info)?;
        info.finish()?;
        Ok(key.raw_bytes())
    };
    if let Ok((certificate, [])) = Certificate::split_from(der) {
        return Some(certificate.public_key);
    }
    let key = info().unwrap_or(der);
    RsaPublicKeyRef::from_der(key).ok()
}

/// Whether a certificate says that it is one of an authority, by its basic constraints (RFC 5280 section 4.2.1.9).
pub fn is_authority(der: &[u8]) -> bool {
    /// 2.5.29.19
    const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
    let read = || -> der::Result<bool> {
        let mut tbs = split_at_key(der)?.behind_key;
        while !tbs.is_finished() {
            let field = AnyRef::decode(&mut tbs)?;
            if field.tag().number().value() != 3 || !field.tag().is_context_specific() {
                continue;
            }
            let mut outer = SliceReader::new(field.value())?;
            let mut extensions = SliceReader::new(sequence(&mut outer)?)?;
            while !extensions.is_finished() {
                let mut extension = SliceReader::new(sequence(&mut extensions)?)?;
                if ObjectIdentifier::decode(&mut extension)? != BASIC_CONSTRAINTS {
                    continue;
                }
                Option::<bool>::decode(&mut extension)?;
                let value = <&OctetStringRef>::decode(&mut extension)?;
                let mut value = SliceReader::new(value.as_bytes())?;
                let mut constraints = SliceReader::new(sequence(&mut value)?)?;
                return Ok(Option::<bool>::decode(&mut constraints)? == Some(true));
            }
        }
        Ok(false)
    };
    read().unwrap_or(false)
}

/// `tbsCertificate.subjectPublicKeyInfo.subjectPublicKey`, and the length of the certificate.
fn subject_public_key(der: &[u8]) -> der::Result<(&[u8], usize)> {
    split_at_key(der).map(|parts| (parts.key, parts.length))
}

/// A certificate, as far as it is looked at.
struct Parts<'a> {
    key: &'a [u8],
    /// The unique identifiers and the extensions.
    behind_key: SliceReader<'a>,
    /// The length of the certificate.
    length: usize,
}

fn split_at_key(der: &[u8]) -> der::Result<Parts<'_>> {
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
    Ok(Parts {
        key: key.raw_bytes(),
        behind_key: tbs,
        length,
    })
}

/// The content of the SEQUENCE that comes next.
fn sequence<'a>(reader: &mut SliceReader<'a>) -> der::Result<&'a [u8]> {
    let any = AnyRef::decode(reader)?;
    any.tag().assert_eq(Tag::Sequence)?;
    Ok(any.value())
}

#[cfg(test)]
pub mod tests {
    use super::*;

    fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let length = u8::try_from(content.len()).unwrap();
        [&[tag, length][..], &content].concat()
    }

    /// A certificate with an EC key and these extensions.
    fn with_extensions(extensions: &[&[u8]]) -> Vec<u8> {
        let empty = tlv(0x30, &[]);
        let key = tlv(0x30, &[&empty, &tlv(3, &[&[0, 4, 1, 2]])]);
        let extensions = tlv(0xa3, &[&tlv(0x30, extensions)]);
        let version = tlv(0xa0, &[&[2, 1, 2]]);
        let serial = tlv(2, &[&[5]]);
        let fields: [&[u8]; 8] = [
            &version,
            &serial,
            &empty,
            &empty,
            &empty,
            &empty,
            &key,
            &extensions,
        ];
        tlv(0x30, &[&tlv(0x30, &fields), &empty, &tlv(3, &[&[0, 1]])])
    }

    /// What authorities have, and two that are none.
    pub fn authorities() -> [Vec<u8>; 4] {
        let constraints = |critical: &[u8], content: &[u8]| {
            let value = tlv(4, &[&tlv(0x30, &[content])]);
            tlv(0x30, &[&[6, 3, 0x55, 0x1d, 0x13], critical, &value])
        };
        let is_critical = [1, 1, 0xff];
        let other = tlv(
            0x30,
            &[&[6, 3, 0x55, 0x1d, 0x0f], &tlv(4, &[&[3, 2, 1, 6]])],
        );
        [
            with_extensions(&[&constraints(&is_critical, &[1, 1, 0xff])]),
            with_extensions(&[&other, &constraints(&[], &[1, 1, 0xff, 2, 1, 0])]),
            with_extensions(&[&constraints(&is_critical, &[])]),
            with_extensions(&[&other]),
        ]
    }

    #[test]
    fn an_authority_is_known_by_its_basic_constraints() {
        assert_eq!(
            authorities().map(|der| is_authority(&der)),
            [true, true, false, false]
        );
        assert!(!is_authority(include_bytes!(
            "../fixtures/credentials/sdk4.cer"
        )));
        assert!(!is_authority(b""));
        let [authority, ..] = authorities();
        for length in 0..authority.len() {
            assert!(!is_authority(&authority[..length]), "{length} bytes");
        }
    }

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
