//! Encrypted files: `EnvelopedData` of the Cryptographic Message Syntax (RFC 5652 section 6), as `openssl cms` reads and
//! writes it.
//!
//! The content is encrypted by AES-256-CBC (RFC 3565) under a random key, and that key for each recipient by RSAES-OAEP
//! with SHA-256 (RFC 3560). What is read may have AES of another size or Triple DES, OAEP with SHA-1, or
//! PKCS #1 v1.5.

use aes::cipher::{BlockCipherDecrypt, KeyInit};
use aes::{Aes128, Aes192, Aes256};
use anyhow::{Context, Result, anyhow, bail, ensure};
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use cms::cert::IssuerAndSerialNumber;
use cms::content_info::{CmsVersion, ContentInfo};
use cms::enveloped_data::{
    EncryptedContentInfo, EnvelopedData, KeyTransRecipientInfo, RecipientIdentifier, RecipientInfo,
    RecipientInfos,
};
use der::asn1::{Any, AnyRef, ObjectIdentifier, OctetString, SetOfVec};
use der::{Decode, Encode};
use des::TdesEde3;
use keylet::encoding::{self, PEM_BEGIN, PemOrDer};
use rsa::pkcs1::{DecodeRsaPublicKey, RsaOaepParams};
use rsa::{PrivateKey, PublicKey};
use sha1::Sha1;
use sha2::Sha256;
use x509_cert::Certificate;
use x509_cert::spki::AlgorithmIdentifierOwned;
use zeroize::Zeroizing;

use crate::credentials::ber;
use crate::random;
use crate::signing_key::{RSA, rsa_private_key};

const DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
const ENVELOPED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.3");
const RSAES_OAEP: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.7");
const SHA_1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
const SHA_256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const AES_128_CBC: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.1.2");
const AES_192_CBC: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.1.22");
/// The default of OpenSSL 3.0 to 3.4.
const DES_EDE3_CBC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.3.7");
const AES_256_CBC: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.1.42");

/// Labels of PEM (RFC 7468 section 8 and 9): what is written, and what OpenSSL also writes.
const LABELS: [&str; 2] = ["CMS", "PKCS7"];

/// Who may decrypt a file.
#[derive(Clone)]
pub struct Recipient {
    id: IssuerAndSerialNumber,
    key: PublicKey,
}

/// The recipients of a file with certificates, in PEM or DER.
///
/// # Errors
/// A file without a certificate, and a certificate whose key is not RSA.
pub fn recipients(content: &[u8]) -> Result<Vec<Recipient>> {
    const NONE: &str = "it is no certificate, neither in PEM nor in DER";
    let certificates: Vec<Vec<u8>> = match content.starts_with(&[0x30]) {
        true => vec![content.to_vec()],
        false => {
            let text = encoding::text(content).context(NONE)?;
            let Some(PemOrDer::Pem(blocks)) = encoding::pem_or_der(&text) else {
                bail!(NONE);
            };
            let certificates = blocks.iter().filter(|block| block.is_certificate());
            certificates.map(|block| block.der.to_vec()).collect()
        }
    };
    ensure!(!certificates.is_empty(), NONE);
    let recipients = certificates.iter().map(|der| {
        let certificate = Certificate::from_der(der).map_err(|_| anyhow!(NONE))?;
        let certificate = certificate.tbs_certificate();
        let key = certificate.subject_public_key_info();
        ensure!(
            key.algorithm.oid == RSA,
            "the certificate's key is not RSA. Only RSA recipients are supported"
        );
        let key = PublicKey::from_pkcs1_der(key.subject_public_key.raw_bytes());
        let key = key.map_err(|_| anyhow!("the key of its certificate is malformed"))?;
        Ok(Recipient {
            id: IssuerAndSerialNumber {
                issuer: certificate.issuer().clone(),
                serial_number: certificate.serial_number().clone(),
            },
            key,
        })
    });
    recipients.collect()
}

/// Encrypts a content for recipients, as PEM.
///
/// # Errors
/// A content of more than 256 MB, which DER does not take here.
pub fn encrypt(content: Zeroizing<Vec<u8>>, recipients: &[Recipient]) -> Result<String> {
    let key = Zeroizing::new(random::bytes::<32>());
    let iv = random::bytes::<16>();
    let cipher = cbc::Encryptor::<Aes256>::new(&(*key).into(), &iv.into());
    let encrypted = cipher.encrypt_padded_vec::<Pkcs7>(&content);
    drop(content);
    let enveloped = || -> der::Result<Vec<u8>> {
        let oaep = RsaOaepParams::<AnyRef<'_>>::new::<Sha256>();
        let oaep = AlgorithmIdentifierOwned {
            oid: RSAES_OAEP,
            parameters: Some(Any::encode_from(&oaep)?),
        };
        let mut infos = SetOfVec::new();
        for recipient in recipients {
            let key = recipient
                .key
                .oaep_encrypt_with_rng::<Sha256, _>(&mut random::system(), key.as_slice());
            // The key is shorter than any modulus takes.
            let key = key.map_err(|_| der::ErrorKind::Failed)?;
            infos.insert(RecipientInfo::Ktri(KeyTransRecipientInfo {
                version: CmsVersion::V0,
                rid: RecipientIdentifier::IssuerAndSerialNumber(recipient.id.clone()),
                key_enc_alg: oaep.clone(),
                enc_key: OctetString::new(key)?,
            }))?;
        }
        let data = EnvelopedData {
            version: CmsVersion::V0,
            originator_info: None,
            recip_infos: RecipientInfos(infos),
            encrypted_content: EncryptedContentInfo {
                content_type: DATA,
                content_enc_alg: AlgorithmIdentifierOwned {
                    oid: AES_256_CBC,
                    parameters: Some(Any::encode_from(&OctetString::new(iv)?)?),
                },
                encrypted_content: Some(OctetString::new(encrypted)?),
            },
            unprotected_attrs: None,
        };
        ContentInfo {
            content_type: ENVELOPED_DATA,
            content: Any::encode_from(&data)?,
        }
        .to_der()
    };
    let der = enveloped().map_err(|_| {
        anyhow!("what is to be encrypted does not fit into one file in CMS, which takes 256 MB")
    })?;
    let [label, _] = LABELS;
    let pem = der::pem::encode_string(label, der::pem::LineEnding::LF, &der);
    pem.map_err(|_| anyhow!("the file in CMS cannot be written as PEM"))
}

/// Whether a file begins as one in CMS.
pub fn is_cms(start: &[u8]) -> bool {
    let is_labelled = |label| start.starts_with(format!("{PEM_BEGIN}{label}-").as_bytes());
    start.starts_with(&[0x30, 0x80])
        || start.starts_with(&[0x30]) && start.get(1).is_some_and(|length| *length > 0x80)
        || LABELS.into_iter().any(is_labelled)
}

/// Decrypts a file in PEM or DER with the private key of a recipient, in PEM.
///
/// # Errors
/// A file that is not `EnvelopedData`, that is encrypted in another way, or for somebody else.
pub fn decrypt(content: &[u8], private_key: &str) -> Result<Zeroizing<Vec<u8>>> {
    let key = rsa_private_key(private_key).context("--key")?;
    let binary = match content.starts_with(&[0x30]) {
        true => content.to_vec(),
        false => {
            let text = encoding::text(content).context("it is neither PEM nor DER")?;
            let mut blocks = encoding::pem(&text).context("it is no whole PEM")?;
            ensure!(blocks.len() == 1, "it must have exactly one PEM block");
            blocks.remove(0).der.to_vec()
        }
    };
    // OpenSSL writes BER where it does not know the length beforehand.
    const OTHER: &str = "it is not EnvelopedData of CMS, or is cut short";
    let der = ber::to_der(&binary).context(OTHER)?;
    drop(binary);
    let info = ContentInfo::from_der(&der).map_err(|_| anyhow!(OTHER))?;
    ensure!(info.content_type == ENVELOPED_DATA, OTHER);
    let data: EnvelopedData = info.content.decode_as().map_err(|_| anyhow!(OTHER))?;
    let content = data.encrypted_content;
    let encrypted = content.encrypted_content.context("it has no content")?;
    let algorithm = content.content_enc_alg;
    let iv = algorithm.parameters.as_ref();
    let iv = iv.and_then(|iv| iv.decode_as::<OctetString>().ok());
    let iv = iv.context("its initialisation vector is missing")?;
    for info in data.recip_infos.0.iter() {
        let RecipientInfo::Ktri(info) = info else {
            continue;
        };
        let Some(content_key) = content_key(info, &key) else {
            continue;
        };
        let (iv, encrypted) = (iv.as_bytes(), encrypted.as_bytes());
        let decrypted = match algorithm.oid {
            AES_128_CBC => cbc::<Aes128>(&content_key, iv, encrypted),
            AES_192_CBC => cbc::<Aes192>(&content_key, iv, encrypted),
            AES_256_CBC => cbc::<Aes256>(&content_key, iv, encrypted),
            DES_EDE3_CBC => cbc::<TdesEde3>(&content_key, iv, encrypted),
            other => bail!(
                "it is encrypted by {other}, and AES and Triple DES in CBC are read here; `openssl cms -decrypt` may decrypt it"
            ),
        };
        if let Some(decrypted) = decrypted {
            return Ok(decrypted);
        }
    }
    bail!("the private key does not decrypt it: it is for another certificate, or was changed")
}

/// The key of the content, when it is for this private key.
fn content_key(info: &KeyTransRecipientInfo, key: &PrivateKey) -> Option<Zeroizing<Vec<u8>>> {
    let encrypted = info.enc_key.as_bytes();
    let decrypted = match info.key_enc_alg.oid {
        RSA => key.pkcs1v15_decrypt(encrypted),
        RSAES_OAEP => {
            let parameters = info.key_enc_alg.parameters.as_ref()?;
            let parameters: RsaOaepParams<Any> = parameters.decode_as().ok()?;
            match parameters.hash.oid {
                SHA_1 => key.oaep_decrypt::<Sha1>(encrypted),
                SHA_256 => key.oaep_decrypt::<Sha256>(encrypted),
                _ => return None,
            }
        }
        _ => return None,
    };
    decrypted.ok().map(Zeroizing::new)
}

fn cbc<C: BlockCipherDecrypt + KeyInit>(
    key: &[u8],
    iv: &[u8],
    encrypted: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let cipher = cbc::Decryptor::<C>::new_from_slices(key, iv).ok()?;
    let decrypted = cipher.decrypt_padded_vec::<Pkcs7>(encrypted).ok()?;
    Some(Zeroizing::new(decrypted))
}
