//! What Apple's portal asks for: private keys and certificate signing requests (PKCS#10, RFC 2986); and
//! whole credentials of an authority of one's own, for tests.

use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result};
use der::asn1::{GeneralizedTime, OctetString};
use der::oid::AssociatedOid;
use der::pem::LineEnding;
use der::{Encode, EncodePem};
use keylet::platform;
use rand_core::CryptoRng;
use rsa::PrivateKey as RsaPrivateKey;
use rsa::pkcs1v15::{Signature, SigningKey};
use rsa::pkcs8::EncodePrivateKey;
use sha1::Sha1;
use sha2::Sha256;
use x509_cert::TbsCertificate;
use x509_cert::builder::profile::BuilderProfile;
use x509_cert::builder::{Builder, CertificateBuilder};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, KeyUsages};
use x509_cert::name::Name;
use x509_cert::request::RequestBuilder;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{ObjectIdentifier, SubjectPublicKeyInfo, SubjectPublicKeyInfoRef};
use x509_cert::time::{Time, Validity};
use zeroize::Zeroizing;

use super::{decrypt, encrypt};

/// Rounds of PBKDF2 for a key that lies in a file: what a guess of the password costs.
const ROUNDS_IN_FILE: u32 = 210_000;

/// The version of the server SDK that a 2048-bit certificate was issued for.
pub const SDK_VERSION: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.113635.100.6.13.1.22");

/// How long a certificate for tests is valid: two years.
const VALID_SECONDS: u64 = 2 * 365 * 24 * 3600;

/// Common name of the authority of development credentials.
pub const DEVELOPMENT_AUTHORITY: &str = "Keylet development";

/// The hash that a request is signed with. It says nothing about the certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Digest {
    /// As the portal has always asked for.
    Sha1,
    /// The one that is not broken.
    Sha256,
}

/// A private key that was made here.
pub struct NewKey(RsaPrivateKey);

impl NewKey {
    /// Makes a key.
    ///
    /// # Errors
    /// A size that no key has.
    pub fn generate(bits: usize, rng: &mut impl CryptoRng) -> Result<Self> {
        Ok(Self(RsaPrivateKey::new(rng, bits)?))
    }

    /// PKCS#8 in PEM, encrypted if there is a password.
    ///
    /// # Errors
    /// None that a caller can mend.
    pub fn pem(&self, password: Option<&str>) -> Result<Zeroizing<String>> {
        let Some(password) = password else {
            return Ok(self.0.to_pkcs8_pem(LineEnding::LF)?);
        };
        let encrypted = encrypt(self.0.to_pkcs8_der()?.as_bytes(), password, ROUNDS_IN_FILE)?;
        let pem =
            der::pem::encode_string(decrypt::ENCRYPTED_PRIVATE_KEY, LineEnding::LF, &encrypted);
        Ok(Zeroizing::new(
            pem.map_err(|error| anyhow::anyhow!("{error}"))?,
        ))
    }

    /// A certificate signing request in PEM.
    ///
    /// # Errors
    /// None that a caller can mend.
    pub fn request(&self, subject: &Subject, digest: Digest) -> Result<String> {
        let builder = RequestBuilder::new(subject.name()?)?;
        let request = match digest {
            Digest::Sha1 => builder.build::<_, Signature>(&SigningKey::<Sha1>::new(self.0.clone())),
            Digest::Sha256 => {
                builder.build::<_, Signature>(&SigningKey::<Sha256>::new(self.0.clone()))
            }
        };
        Ok(request?.to_pem(LineEnding::LF)?)
    }

    /// A certificate that the key has signed itself, in DER: somebody else encrypts for it.
    ///
    /// # Errors
    /// None that a caller can mend.
    pub fn self_signed(&self, name: &str, rng: &mut impl CryptoRng) -> Result<Vec<u8>> {
        let name = Name::from_str(&format!("CN={}", escaped(name)))?;
        let usage = KeyUsage(KeyUsages::KeyEncipherment.into());
        let authority = Authority {
            key: self.0.clone(),
            name,
        };
        authority.issue(&authority.name, &self.0, false, usage, &[], rng)
    }
}

/// Who asks for a certificate.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Subject {
    /// Common name, such as the service's
    #[arg(long, value_name = "TEXT")]
    pub common_name: String,
    /// Organization, as the developer account has it
    #[arg(long, value_name = "TEXT")]
    pub organization: Option<String>,
    /// Organizational unit
    #[arg(long, value_name = "TEXT")]
    pub organizational_unit: Option<String>,
    /// Country, two letters (ISO 3166-1)
    #[arg(long, value_name = "CODE", value_parser = country)]
    pub country: Option<String>,
}

impl Subject {
    fn name(&self) -> Result<Name> {
        let parts = [
            ("CN", Some(&self.common_name)),
            ("OU", self.organizational_unit.as_ref()),
            ("O", self.organization.as_ref()),
            ("C", self.country.as_ref()),
        ];
        let parts = parts
            .into_iter()
            .filter_map(|(kind, value)| Some(format!("{kind}={}", escaped(value?))));
        Name::from_str(&parts.collect::<Vec<_>>().join(",")).context("the subject")
    }
}

fn country(text: &str) -> Result<String> {
    anyhow::ensure!(
        text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase()),
        "a country is two capital letters, such as US"
    );
    Ok(text.to_owned())
}

/// A value of a distinguished name as text (RFC 4514 section 2.4).
fn escaped(value: &str) -> String {
    let mut text = String::new();
    for character in value.chars() {
        if "\"+,;<>\\=#".contains(character) {
            text.push('\\');
        }
        text.push(character);
    }
    text
}

/// An authority that signs certificates for tests.
pub struct Authority {
    key: RsaPrivateKey,
    name: Name,
}

impl Authority {
    /// Makes one, and its certificate in DER.
    ///
    /// # Errors
    /// None that a caller can mend.
    pub fn generate(rng: &mut impl CryptoRng) -> Result<(Self, Vec<u8>)> {
        let key = RsaPrivateKey::new(rng, 2048)?;
        let name = Name::from_str(&format!("CN={DEVELOPMENT_AUTHORITY}"))?;
        let this = Self { key, name };
        let usage = KeyUsage(KeyUsages::KeyCertSign.into());
        let certificate = this.issue(&this.name, &this.key, true, usage, &[], rng)?;
        Ok((this, certificate))
    }

    /// Signs the certificate of a key, as an application certificate of FairPlay, in DER. One of 2048
    /// bits names the version of the SDK.
    ///
    /// # Errors
    /// None that a caller can mend.
    pub fn sign(&self, key: &NewKey, name: &str, rng: &mut impl CryptoRng) -> Result<Vec<u8>> {
        use rsa::traits::PublicKeyParts;
        let version = Extension {
            extn_id: SDK_VERSION,
            critical: false,
            // INTEGER 0x1a00: version 26.0.
            extn_value: OctetString::new([2, 2, 26, 0])?,
        };
        let further = if key.0.size() == 256 {
            vec![version]
        } else {
            Vec::new()
        };
        let name = Name::from_str(&format!("CN={}", escaped(name)))?;
        let usage = KeyUsage(KeyUsages::KeyEncipherment.into());
        self.issue(&name, &key.0, false, usage, &further, rng)
    }

    fn issue(
        &self,
        subject: &Name,
        key: &RsaPrivateKey,
        is_authority: bool,
        usage: KeyUsage,
        further: &[Extension],
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<u8>> {
        let mut serial = [0; 16];
        rng.fill_bytes(&mut serial);
        // Positive, and never zero (RFC 5280 section 4.1.2.2).
        serial[0] = serial[0] & 0x7f | 1;
        let constraints = BasicConstraints {
            ca: is_authority,
            path_len_constraint: None,
        };
        let mut extensions = vec![
            extension(BasicConstraints::OID, &constraints)?,
            extension(KeyUsage::OID, &usage)?,
        ];
        extensions.extend_from_slice(further);
        let profile = Issued {
            issuer: self.name.clone(),
            subject: subject.clone(),
            extensions,
        };
        let now = platform::system_time();
        let validity = Validity::new(time(now)?, time(now + VALID_SECONDS)?);
        let spki = SubjectPublicKeyInfo::from_key(&key.to_public_key())?;
        let signer = SigningKey::<Sha256>::new(self.key.clone());
        let certificate =
            CertificateBuilder::new(profile, SerialNumber::new(&serial)?, validity, spki)?
                .build::<_, Signature>(&signer)?;
        Ok(certificate.to_der()?)
    }
}

fn time(seconds: u64) -> Result<Time> {
    Ok(Time::GeneralTime(GeneralizedTime::from_unix_duration(
        Duration::from_secs(seconds),
    )?))
}

fn extension(oid: ObjectIdentifier, value: &impl Encode) -> Result<Extension> {
    Ok(Extension {
        extn_id: oid,
        critical: true,
        extn_value: OctetString::new(value.to_der()?)?,
    })
}

/// Everything that a certificate states.
pub struct Issued {
    /// Who signs it.
    pub issuer: Name,
    /// Whose it is.
    pub subject: Name,
    /// What it says beside that.
    pub extensions: Vec<Extension>,
}

impl BuilderProfile for Issued {
    fn get_issuer(&self, _: &Name) -> Name {
        self.issuer.clone()
    }

    fn get_subject(&self) -> Name {
        self.subject.clone()
    }

    fn build_extensions(
        &self,
        _: SubjectPublicKeyInfoRef<'_>,
        _: SubjectPublicKeyInfoRef<'_>,
        _: &TbsCertificate,
    ) -> x509_cert::builder::Result<Vec<Extension>> {
        Ok(self.extensions.clone())
    }
}
