//! Encrypted private keys, in every form that OpenSSL writes or has written.
//!
//! | form | in a PEM file | encryption |
//! |---|---|---|
//! | traditional | `RSA PRIVATE KEY` with `Proc-Type: 4,ENCRYPTED` and `DEK-Info` (RFC 1421) | DES, 3DES, AES in CBC; key by `EVP_BytesToKey` with MD5 |
//! | PKCS#8, PBES2 | `ENCRYPTED PRIVATE KEY` | RFC 8018 section 6.2: PBKDF2 or scrypt; AES, 3DES |
//! | PKCS#8, PBES1 | likewise | RFC 8018 section 6.1: DES with MD5 or SHA-1 |
//! | PKCS#8, PKCS#12 scheme | likewise | RFC 7292 appendix C: 3DES, RC2 |

use aes::{Aes128, Aes192, Aes256};
use anyhow::{Context, Result, bail, ensure};
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockCipherDecrypt, BlockModeDecrypt, KeyInit, KeyIvInit};
use der::asn1::{ObjectIdentifier, OctetStringRef};
use der::{Decode, Sequence};
use des::{Des, TdesEde2, TdesEde3};
use keylet::encoding;
use md5::Md5;
use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs12::kdf::{Pkcs12KeyType, derive_key_utf8};
use rc2::Rc2;
use sha1::{Digest, Sha1};
use x509_cert::spki::AlgorithmIdentifierRef;
use zeroize::Zeroizing;

/// PEM label of PKCS#8 (RFC 7468 section 10).
pub const PRIVATE_KEY: &str = "PRIVATE KEY";
/// PEM label of encrypted PKCS#8 (RFC 7468 section 11).
pub const ENCRYPTED_PRIVATE_KEY: &str = "ENCRYPTED PRIVATE KEY";

/// The password does not decrypt it.
pub const WRONG_PASSWORD: &str = "the password does not decrypt it";

/// Rounds that are waited for: a file that asks for more is not from here.
const MOST_ROUNDS: u32 = 50_000_000;

const PBES2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.13");
const PBE_MD5_DES: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.3");
const PBE_SHA1_DES: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.10");
const PBE_SHA1_3DES: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.1.3");
const PBE_SHA1_2DES: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.1.4");
const PBE_SHA1_RC2_128: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.1.5");
const PBE_SHA1_RC2_40: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.1.6");

type Secret = Zeroizing<Vec<u8>>;

/// Decrypts PKCS#8. What comes back is PKCS#8 again.
///
/// # Errors
/// [`WRONG_PASSWORD`], or an encryption that is not in the table.
pub fn pkcs8(der: &[u8], password: &str) -> Result<Secret> {
    let encrypted = EncryptedPrivateKeyInfo::from_der(der)
        .map_err(|_| anyhow::anyhow!("it is not an encrypted private key in PKCS#8"))?;
    let scheme = encrypted.encryption_algorithm.oid;
    let data = encrypted.encrypted_data.as_bytes();
    if scheme == PBES2 {
        let info = EncryptedPrivateKeyInfoRef::from_der(der)
            .map_err(|_| anyhow::anyhow!("it is encrypted in a way that is not read here"))?;
        let decrypted = info
            .decrypt(password)
            .map_err(|_| anyhow::anyhow!(WRONG_PASSWORD))?;
        return Ok(Zeroizing::new(decrypted.as_bytes().to_vec()));
    }
    let parameters = encrypted.encryption_algorithm.parameters_any();
    let parameters =
        parameters.and_then(|any| any.decode_as::<Parameters<'_>>().map_err(Into::into));
    let parameters = parameters.map_err(|_| anyhow::anyhow!("its encryption has no parameters"))?;
    let rounds = parameters.iterations;
    ensure!(
        rounds <= MOST_ROUNDS,
        "its encryption asks for {rounds} rounds"
    );
    let pbe = Pbe {
        password,
        salt: parameters.salt.as_bytes(),
        rounds,
    };
    let decrypted = match scheme {
        PBE_MD5_DES => pbe.pbes1::<Md5>(data),
        PBE_SHA1_DES => pbe.pbes1::<Sha1>(data),
        PBE_SHA1_3DES => pbe.pkcs12::<TdesEde3>(24, data),
        PBE_SHA1_2DES => pbe.pkcs12::<TdesEde2>(16, data),
        PBE_SHA1_RC2_128 => pbe.pkcs12::<Rc2>(16, data),
        PBE_SHA1_RC2_40 => pbe.pkcs12::<Rc2>(5, data),
        other => bail!(
            "its encryption ({other}) is not read here; convert it with `openssl pkcs8 -topk8 -v2 aes-256-cbc`"
        ),
    }?;
    // A wrong password passes the padding once in 256 times.
    ensure!(
        pkcs8::PrivateKeyInfoRef::from_der(&decrypted).is_ok(),
        WRONG_PASSWORD
    );
    Ok(decrypted)
}

/// Whether this is encrypted PKCS#8, by whatever scheme.
pub fn is_encrypted_pkcs8(der: &[u8]) -> bool {
    EncryptedPrivateKeyInfo::from_der(der).is_ok()
}

/// Whether it is encrypted with PBES2, the scheme that the server reads.
pub fn is_pbes2(der: &[u8]) -> bool {
    EncryptedPrivateKeyInfo::from_der(der).is_ok_and(|info| info.encryption_algorithm.oid == PBES2)
}

/// Decrypts the body of a traditional PEM block: its headers, then base64. What comes back is PKCS#1.
///
/// # Errors
/// [`WRONG_PASSWORD`], or an encryption that is not in the table.
pub fn traditional(body: &str, password: &str) -> Result<Secret> {
    let mut algorithm = None;
    let mut text = Zeroizing::new(String::new());
    for line in body.lines().map(str::trim) {
        match line.split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("DEK-Info") => {
                algorithm = value.split_once(',');
            }
            Some(_) => {}
            None => text.push_str(line),
        }
    }
    let (cipher, iv) = algorithm.context("it has headers, and none of them is DEK-Info")?;
    let iv = hex::decode(iv.trim())
        .context("the initialisation vector of DEK-Info is not hexadecimal")?;
    let data = encoding::base64(&text).context("it is not base64")?;
    let (cipher, password) = (cipher.trim(), password.as_bytes());
    let decrypted = match cipher.to_ascii_uppercase().as_str() {
        "DES-CBC" => bytes_to_key::<Des>(8, password, &iv, &data),
        "DES-EDE3-CBC" => bytes_to_key::<TdesEde3>(24, password, &iv, &data),
        "AES-128-CBC" => bytes_to_key::<Aes128>(16, password, &iv, &data),
        "AES-192-CBC" => bytes_to_key::<Aes192>(24, password, &iv, &data),
        "AES-256-CBC" => bytes_to_key::<Aes256>(32, password, &iv, &data),
        _ => bail!(
            "its encryption, {cipher}, is not read here; convert it with `openssl pkcs8 -topk8`"
        ),
    }?;
    ensure!(
        rsa::pkcs1::RsaPrivateKeyRef::from_der(&decrypted).is_ok()
            || pkcs8::PrivateKeyInfoRef::from_der(&decrypted).is_ok(),
        WRONG_PASSWORD
    );
    Ok(decrypted)
}

/// `EVP_BytesToKey` of OpenSSL with MD5 and one round: the salt is the first eight bytes of the IV.
fn bytes_to_key<C: BlockCipherDecrypt + KeyInit>(
    size: usize,
    password: &[u8],
    iv: &[u8],
    data: &[u8],
) -> Result<Secret> {
    let salt = iv
        .get(..8)
        .context("the initialisation vector of DEK-Info is too short")?;
    let mut key = Zeroizing::new(Vec::with_capacity(size + 16));
    let mut last = Zeroizing::new(Vec::new());
    while key.len() < size {
        let digest = Md5::new()
            .chain_update(&*last)
            .chain_update(password)
            .chain_update(salt);
        last = Zeroizing::new(digest.finalize().to_vec());
        key.extend_from_slice(&last);
    }
    key.truncate(size);
    cbc::<C>(&key, iv, data)
}

fn cbc<C: BlockCipherDecrypt + KeyInit>(key: &[u8], iv: &[u8], data: &[u8]) -> Result<Secret> {
    let cipher = cbc::Decryptor::<C>::new_from_slices(key, iv)
        .map_err(|_| anyhow::anyhow!("the initialisation vector has a wrong size"))?;
    let decrypted = cipher.decrypt_padded_vec::<Pkcs7>(data);
    Ok(Zeroizing::new(
        decrypted.map_err(|_| anyhow::anyhow!(WRONG_PASSWORD))?,
    ))
}

/// A scheme of the two older kinds.
struct Pbe<'a> {
    password: &'a str,
    salt: &'a [u8],
    rounds: u32,
}

impl Pbe<'_> {
    /// RFC 8018 section 6.1.2, with PBKDF1: eight bytes of key, eight of IV.
    fn pbes1<D: Digest>(&self, data: &[u8]) -> Result<Secret> {
        let first = D::new()
            .chain_update(self.password)
            .chain_update(self.salt)
            .finalize();
        let mut derived = Zeroizing::new(first.to_vec());
        for _ in 1..self.rounds {
            derived = Zeroizing::new(D::digest(&*derived).to_vec());
        }
        let (key, rest) = derived.split_at(8);
        let iv = rest.get(..8).context("the hash is too short")?;
        cbc::<Des>(key, iv, data)
    }

    /// RFC 7292 appendix C.
    fn pkcs12<C: BlockCipherDecrypt + KeyInit>(&self, size: usize, data: &[u8]) -> Result<Secret> {
        let rounds = i32::try_from(self.rounds)?;
        let derive = |what, size| {
            derive_key_utf8::<Sha1>(self.password, self.salt, what, rounds, size)
                .map(Zeroizing::new)
        };
        let key = derive(Pkcs12KeyType::EncryptionKey, size)?;
        let iv = derive(Pkcs12KeyType::Iv, 8)?;
        cbc::<C>(&key, &iv, data)
    }
}

/// `EncryptedPrivateKeyInfo` (RFC 5958 section 3), whatever the scheme.
#[derive(Sequence)]
struct EncryptedPrivateKeyInfo<'a> {
    encryption_algorithm: AlgorithmIdentifierRef<'a>,
    encrypted_data: &'a OctetStringRef,
}

/// `PBEParameter` (RFC 8018 appendix A.3), `pkcs-12PbeParams` (RFC 7292 appendix C).
#[derive(Sequence)]
struct Parameters<'a> {
    salt: &'a OctetStringRef,
    iterations: u32,
}
