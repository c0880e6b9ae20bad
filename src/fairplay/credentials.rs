//! FairPlay credentials: certificate, private keys, application secret key.

use futures_util::future::join;
use rand_core::CryptoRng;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::configuration::{SettingError, SettingErrorKind, SettingsError};
use crate::encoding;
use crate::fairplay::certificate::{ApplicationCertificate, Certificate};
use crate::fairplay::error::Error;
use crate::fairplay::private_key::{self, StoredKey};
use crate::platform::Platform;
use crate::rsa_key::PrivateKey;
use crate::secret::Key128;

/// Variables of the single credential.
pub const CERTIFICATE: &str = "fairplay_certificate";
/// Its private keys.
pub const PRIVATE_KEY: &str = "fairplay_private_key";
/// The password of encrypted private keys.
pub const PRIVATE_KEY_PASSWORD: &str = "fairplay_private_key_password";
/// Its application secret key.
pub const ASK: &str = "fairplay_ask";
/// A JSON array of further credentials.
pub const CREDENTIALS: &str = "fairplay_credentials";
/// Allows the SDK's development certificate.
pub const TEST_CREDENTIALS: &str = "fairplay_test_credentials";

/// Bytes of the development certificate that the FairPlay SDK publishes with its private key.
const DEVELOPMENT_CERTIFICATE_LENGTH: usize = 897;

/// Its SHA-256.
const DEVELOPMENT_CERTIFICATE_SHA256: [u8; 32] = [
    0xe5, 0xb7, 0x62, 0xea, 0x35, 0x35, 0x05, 0x90, 0xe5, 0x56, 0xf6, 0xe7, 0xf3, 0xfc, 0xbc, 0x39,
    0x2f, 0xed, 0xa6, 0x63, 0x61, 0x83, 0x42, 0x1b, 0xaf, 0x10, 0x4c, 0x2f, 0x40, 0xee, 0xa6, 0x71,
];

/// The one DASk that the SDK's own SPCs use for every R2; no ASk is published for them.
const DEVELOPMENT_DASK: [u8; 16] = 0xd87c_e7a2_6081_de2e_8eb8_acef_3a6d_c179_u128.to_be_bytes();

/// One credential.
pub struct Credential {
    /// Its name: `default`, or the one in `fairplay_credentials`.
    pub name: String,
    /// What players get.
    pub certificate: ApplicationCertificate,
    /// What opens \[SK..R1\].
    pub secret: ApplicationSecret,
    /// One for each certificate, in the same order.
    private_keys: Vec<StoredKey>,
    source: Source,
}

/// Where the DASk of a credential comes from.
pub enum ApplicationSecret {
    /// The ASk, through the D function.
    Ask(Key128),
    /// The development certificate's fixed DASk.
    Development(Key128),
    /// It is missing: SPCs are opened and checked as far as they can be, and get no CKC.
    Missing,
}

/// Every credential of a deployment.
pub struct Credentials {
    credentials: Vec<Credential>,
}

impl Credentials {
    /// Reads the credentials from the variable store. `None` when FairPlay is off.
    ///
    /// # Errors
    /// Every setting that is wrong, by variable.
    pub async fn load(platform: &impl Platform) -> Result<Option<Self>, SettingsError> {
        let (certificate, list) = join(
            platform.variable(CERTIFICATE),
            platform.variable(CREDENTIALS),
        )
        .await;
        let (certificate, list) = (certificate?, list?);
        if certificate.is_none() && list.is_none() {
            return Ok(None);
        }
        let mut problems = Vec::new();
        let mut configs = Vec::new();
        if let Some(certificate) = certificate {
            let (private_key, ask) =
                join(platform.variable(PRIVATE_KEY), platform.variable(ASK)).await;
            let private_key = private_key?.unwrap_or_default();
            let private_key_password = match private_key::is_encrypted(&private_key) {
                true => platform.variable(PRIVATE_KEY_PASSWORD).await?,
                false => None,
            };
            let credential = CredentialConfig {
                name: "default".to_owned(),
                certificate: certificate.to_string(),
                private_key,
                private_key_2048: None,
                private_key_password,
                ask: ask?,
            };
            configs.push((Source::Variables, credential));
        }
        if let Some(list) = list {
            match encoding::json_list(list.as_bytes()) {
                Ok(list) if list.is_empty() && configs.is_empty() => {
                    let reason = "the list is empty, so there is nothing to serve";
                    problems.push(SettingError::new(
                        CREDENTIALS,
                        SettingErrorKind::Malformed,
                        reason,
                    ));
                }
                Ok(list) => {
                    for (index, entry) in list.into_iter().enumerate() {
                        match encoding::from_value(entry) {
                            Ok(credential) => configs.push((Source::List(index), credential)),
                            Err(error) => {
                                let error = SettingError::from_json_error(CREDENTIALS, &error);
                                problems.push(error.at(index));
                            }
                        }
                    }
                }
                Err(error) => problems.push(SettingError::from_json_error(CREDENTIALS, &error)),
            }
        }

        let mut this = Self {
            credentials: Vec::new(),
        };
        for (source, config) in configs {
            match config.read(source) {
                Ok(credential) => this.add(credential, source, &mut problems),
                Err(found) => problems.extend(found),
            }
        }
        let is_for_tests = |credential: &&Credential| {
            matches!(credential.secret, ApplicationSecret::Development(_))
        };
        let for_tests: Vec<&Credential> = this.iter().filter(is_for_tests).collect();
        let allowed = match for_tests.is_empty() {
            true => Ok(true),
            false => test_credentials_allowed(platform).await,
        };
        match allowed {
            Ok(true) => {}
            Ok(false) => problems.extend(for_tests.iter().map(|credential| {
                credential.source.problem(
                    CERTIFICATE,
                    SettingErrorKind::Refused,
                    "this is the development certificate of the FairPlay SDK, whose private key is public; \
                     it is refused unless `fairplay_test_credentials` is `true`",
                )
            })),
            Err(SettingsError::Invalid(found)) => problems.extend(found),
            Err(error) => return Err(error),
        }
        if problems.is_empty() {
            Ok(Some(this))
        } else {
            Err(SettingsError::Invalid(problems))
        }
    }

    fn add(&mut self, credential: Credential, source: Source, problems: &mut Vec<SettingError>) {
        if self.named(Some(&credential.name)).is_some() {
            problems.push(source.problem(
                NAME,
                SettingErrorKind::Collision,
                "another credential has the same name",
            ));
        }
        let is_taken = self.certificates().any(|(_, taken, _)| {
            let mut own = credential.certificate.certificates.iter();
            own.any(|own| own.der == taken.der)
        });
        if is_taken {
            problems.push(source.problem(
                CERTIFICATE,
                SettingErrorKind::Collision,
                "another credential has the same certificate",
            ));
        }
        self.credentials.push(credential);
    }

    /// The credential that an SPC names by hash, and the private key that opens it.
    ///
    /// # Errors
    /// [`Error::UnknownCertificate`] names the hash and those that are known; both are public.
    /// [`Error::SpcKey`] when the private key is not sound.
    pub fn find(&self, hash: &[u8]) -> Result<(&Credential, &PrivateKey), Error> {
        let (credential, key) = self
            .certificates()
            .find(|(_, certificate, _)| certificate.hash(hash.len()) == Some(hash))
            .map(|(credential, _, key)| (credential, key))
            .or_else(|| {
                let credential = self.iter().find(|c| c.certificate.has_bundle_hash(hash))?;
                Some((credential, credential.private_keys.first()?))
            })
            .ok_or_else(|| Error::UnknownCertificate {
                requested: hex::encode(hash),
                known: self
                    .certificates()
                    .filter_map(|(_, certificate, _)| certificate.hash(hash.len()))
                    .map(hex::encode)
                    .collect(),
            })?;
        Ok((credential, key.get().map_err(|_| Error::SpcKey)?))
    }

    /// Every certificate, with its credential and its private key.
    fn certificates(&self) -> impl Iterator<Item = (&Credential, &Certificate, &StoredKey)> {
        self.iter().flat_map(|credential| {
            let certificates = credential.certificate.certificates.iter();
            certificates
                .zip(&credential.private_keys)
                .map(move |(certificate, key)| (credential, certificate, key))
        })
    }

    /// The credential with this name, or the first.
    pub fn named(&self, name: Option<&str>) -> Option<&Credential> {
        self.iter()
            .find(|credential| name.is_none_or(|name| credential.name == name))
    }

    /// Every credential, in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &Credential> {
        self.credentials.iter()
    }

    /// How many rounds of PBKDF2 it takes to decrypt the private keys, which each cold start does anew.
    pub fn rounds(&self) -> u64 {
        let keys = self.iter().flat_map(|credential| &credential.private_keys);
        keys.map(|key| u64::from(key.rounds)).sum()
    }

    /// Does the work that is otherwise left until a key is used.
    ///
    /// # Errors
    /// Each credential with a private key whose parts do not belong together.
    pub fn check(&self, rng: &mut dyn CryptoRng) -> Result<(), SettingsError> {
        let problems: Vec<SettingError> = self
            .iter()
            .filter(|credential| {
                let mut keys = credential.private_keys.iter();
                keys.any(|key| key.get().and_then(|key| key.check(rng)).is_err())
            })
            .map(|credential| {
                let reason = "it is not a sound RSA key";
                let kind = SettingErrorKind::Malformed;
                credential.source.problem(PRIVATE_KEY, kind, reason)
            })
            .collect();
        if problems.is_empty() {
            Ok(())
        } else {
            Err(SettingsError::Invalid(problems))
        }
    }
}

/// Whether the development certificate is accepted: the variable `fairplay_test_credentials`.
///
/// # Errors
/// A value that is neither `true` nor `false`.
pub async fn test_credentials_allowed(platform: &impl Platform) -> Result<bool, SettingsError> {
    let setting = platform.variable(TEST_CREDENTIALS).await?;
    match setting.as_deref().map(String::as_str) {
        Some("true") => Ok(true),
        None | Some("false") => Ok(false),
        Some(_) => Err(SettingError::new(
            TEST_CREDENTIALS,
            SettingErrorKind::Malformed,
            "it is neither `true` nor `false`",
        )
        .into()),
    }
}

/// The member with the name of a credential. The single credential, which has no such variable, is
/// always called `default` and comes first: neither a malformed name nor a collision is its.
const NAME: &str = "name";

/// Where a credential is configured: problems name it.
#[derive(Clone, Copy)]
enum Source {
    Variables,
    List(usize),
}

impl Source {
    fn problem(
        self,
        variable: &'static str,
        problem: SettingErrorKind,
        message: impl Into<String>,
    ) -> SettingError {
        match self {
            Self::Variables => SettingError::new(variable, problem, message),
            Self::List(index) => {
                let member = variable.strip_prefix("fairplay_").unwrap_or(variable);
                SettingError::new(CREDENTIALS, problem, message)
                    .at(index)
                    .in_member(member)
            }
        }
    }
}

/// A credential as it is configured, in variables or in the list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CredentialConfig {
    name: String,
    certificate: String,
    #[serde(default)]
    private_key: Zeroizing<String>,
    private_key_2048: Option<Zeroizing<String>>,
    private_key_password: Option<Zeroizing<String>>,
    ask: Option<Zeroizing<String>>,
}

impl CredentialConfig {
    fn read(self, source: Source) -> Result<Credential, Vec<SettingError>> {
        let mut problems = Vec::new();
        if self.name.is_empty()
            || !self
                .name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        {
            problems.push(source.problem(
                NAME,
                SettingErrorKind::Malformed,
                "the name is not made of letters, digits, `-`, `_` and `.`",
            ));
        }

        let mut keys = Vec::new();
        let password = self.private_key_password.as_deref().map(String::as_str);
        for text in [Some(&self.private_key), self.private_key_2048.as_ref()]
            .into_iter()
            .flatten()
        {
            match StoredKey::read_all(text, password) {
                Ok(found) => keys.extend(found),
                Err(error) => {
                    let variable = match error.is_password {
                        true => PRIVATE_KEY_PASSWORD,
                        false => PRIVATE_KEY,
                    };
                    problems.push(source.problem(variable, error.kind, error.reason));
                }
            }
        }
        let keys_are_readable = problems.is_empty();

        let certificate = match ApplicationCertificate::from_text(&self.certificate) {
            Ok(certificate) => certificate,
            Err(e) => {
                problems.push(source.problem(
                    CERTIFICATE,
                    SettingErrorKind::Malformed,
                    e.to_string(),
                ));
                return Err(problems);
            }
        };
        let mut private_keys = Vec::new();
        for wanted in &certificate.certificates {
            match keys.iter().position(|key| key.modulus == wanted.modulus) {
                Some(index) => {
                    private_keys.push(keys.swap_remove(index));
                    // What stands there twice is one key.
                    keys.retain(|key| key.modulus != wanted.modulus);
                }
                None if keys_are_readable => problems.push(source.problem(
                    PRIVATE_KEY,
                    SettingErrorKind::Mismatch,
                    format!(
                        "no private key belongs to the {}-bit certificate",
                        wanted.bits()
                    ),
                )),
                None => {}
            }
        }
        if !keys.is_empty() {
            problems.push(source.problem(
                PRIVATE_KEY,
                SettingErrorKind::Mismatch,
                "a private key belongs to no certificate of this credential",
            ));
        }

        // No other has to be hashed for this.
        let is_development = certificate.certificates.iter().any(|c| {
            c.der.len() == DEVELOPMENT_CERTIFICATE_LENGTH
                && *c.sha256() == DEVELOPMENT_CERTIFICATE_SHA256
        });
        let secret = if is_development {
            ApplicationSecret::Development(DEVELOPMENT_DASK.into())
        } else {
            match self
                .ask
                .as_deref()
                .filter(|ask| !ask.is_empty())
                .map(|ask| encoding::fixed::<16>(ask))
            {
                Some(Some(ask)) => ApplicationSecret::Ask(ask.into()),
                Some(None) => {
                    problems.push(source.problem(
                        ASK,
                        SettingErrorKind::Malformed,
                        "it is not 16 bytes in hex or base64",
                    ));
                    ApplicationSecret::Missing
                }
                None => ApplicationSecret::Missing,
            }
        };

        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Credential {
            name: self.name,
            certificate,
            secret,
            private_keys,
            source,
        })
    }
}
