//! PKCS#12 containers (RFC 7292), in DER or BER.

use anyhow::{Context, Result, anyhow, bail, ensure};
use der::asn1::{Any, OctetString};
use der::{Decode, Encode};
use hmac::digest::block_api::{BlockSizeUser, EagerHash};
use hmac::digest::{Digest, FixedOutputReset, OutputSizeUser};
use hmac::{Hmac, KeyInit, Mac};
use p12_keystore::Pkcs12Archive;
use p12_keystore::error::Error;
use pkcs12::kdf::{Pkcs12KeyType, derive_key_utf8};
use pkcs12::{AuthenticatedSafe, MacData, Pfx};
use sha1::Sha1;
use sha2::{Sha224, Sha256, Sha384, Sha512};
use x509_cert::spki::ObjectIdentifier;
use zeroize::Zeroizing;

use super::ber;
use super::decrypt::WRONG_PASSWORD;

/// Rounds that are waited for, as of a container in DER.
const MOST_ROUNDS: i32 = 1_000_000;

const SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
const SHA224: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.4");
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
const SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3");

/// Opens a container.
///
/// # Errors
/// [`WRONG_PASSWORD`], or what is not read here.
pub fn open(container: &[u8], password: &str) -> Result<Pkcs12Archive> {
    let opened = match with_der_inside(container, password)? {
        Some(container) => Pkcs12Archive::from_pkcs12(&container, password),
        None => Pkcs12Archive::from_pkcs12(container, password),
    };
    opened.map_err(|error| match error {
        Error::MacError(_) | Error::UnpadError => anyhow!(WRONG_PASSWORD),
        error => anyhow!(
            "it is a PKCS#12 container that is not read here ({error}); take certificate and key out with \
             `openssl pkcs12 -legacy -nodes`"
        ),
    })
}

/// A container in BER as one in DER. `None` where it is in DER already.
///
/// Its MAC is that of the octets as they were: it is checked here, and left out.
fn with_der_inside(container: &[u8], password: &str) -> Result<Option<Zeroizing<Vec<u8>>>> {
    const NONE: &str = "it is no whole PKCS#12 container";
    let outer = ber::to_der(container).context(NONE)?;
    let mut pfx = Pfx::from_der(&outer).map_err(|_| anyhow!(NONE))?;
    let safe = OctetString::from_der(&pfx.auth_safe.content.to_der()?);
    let safe = Zeroizing::new(safe.map_err(|_| anyhow!(NONE))?.into_bytes().to_vec());
    if AuthenticatedSafe::from_der(&safe).is_ok() {
        return Ok((*outer != container).then_some(outer));
    }
    if let Some(mac) = pfx.mac_data.take() {
        check(&mac, password, &safe)?;
    }
    let safe = ber::to_der(&safe).context(NONE)?;
    pfx.auth_safe.content = Any::encode_from(&OctetString::new(safe.to_vec())?)?;
    Ok(Some(Zeroizing::new(pfx.to_der()?)))
}

/// Checks the MAC of a container (RFC 7292 appendix A).
fn check(mac: &MacData, password: &str, content: &[u8]) -> Result<()> {
    ensure!(
        mac.iterations <= MOST_ROUNDS,
        "its MAC asks for {} rounds",
        mac.iterations
    );
    match mac.mac.algorithm.oid {
        SHA1 => check_with::<Sha1>(mac, password, content),
        SHA224 => check_with::<Sha224>(mac, password, content),
        SHA256 => check_with::<Sha256>(mac, password, content),
        SHA384 => check_with::<Sha384>(mac, password, content),
        SHA512 => check_with::<Sha512>(mac, password, content),
        other => bail!("its MAC is of a kind that is not read here ({other})"),
    }
}

fn check_with<H>(mac: &MacData, password: &str, content: &[u8]) -> Result<()>
where
    H: Digest + EagerHash + FixedOutputReset + BlockSizeUser,
{
    let salt = mac.mac_salt.as_bytes();
    let size = <H as OutputSizeUser>::output_size();
    let key = derive_key_utf8::<H>(password, salt, Pkcs12KeyType::Mac, mac.iterations, size)?;
    let mut own = Hmac::<H>::new_from_slice(&Zeroizing::new(key))?;
    own.update(content);
    let is_right = own.verify_slice(mac.mac.digest.as_bytes()).is_ok();
    ensure!(is_right, WRONG_PASSWORD);
    Ok(())
}
