//! FairPlay credentials: certificate, private keys, application secret key.

use std::cell::OnceCell;
use std::rc::Rc;

use futures_util::future::join;
use rand_core::CryptoRng;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::configuration::{SettingError, SettingErrorKind, SettingsError};
use crate::drm;
use crate::encoding;
use crate::fairplay::certificate::{self, ApplicationCertificate};
use crate::fairplay::error::{self, Error};
use crate::platform::{self, Platform, once};
use crate::private_key::{EncodedKeys, StoredKey, Unreadable};
use crate::rsa_key::PrivateKey;
use crate::secret::Key128;

/// Variables of the single credential.
pub const CERTIFICATE: &str = "fairplay_certificate";
/// Its private keys.
pub const PRIVATE_KEY: &str = "fairplay_private_key";
/// The password of encrypted private keys.
pub const PRIVATE_KEY_PASSWORD: &str = platform::PASSWORD;
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
    pub certificate: Rc<ApplicationCertificate>,
    /// What opens \[SK..R1\].
    pub secret: ApplicationSecret,
    /// One for each certificate, in the same order.
    private_keys: Vec<StoredKey>,
}

impl Credential {
    /// How many rounds of PBKDF2 it takes to decrypt the private keys, which each cold start does anew.
    pub fn rounds(&self) -> u64 {
        let rounds = self.private_keys.iter().map(|key| u64::from(key.rounds));
        rounds.sum()
    }

    /// Does the work that is otherwise left until a key is used. Whether every key is sound.
    fn is_sound(&self, rng: &mut dyn CryptoRng) -> bool {
        let mut keys = self.private_keys.iter();
        keys.all(|key| key.get().and_then(|key| key.check(rng)).is_ok())
    }
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

/// All credentials of a deployment. Variables are read, and credentials decoded, when a request needs them: what is
/// wrong with one credential refuses the licences of its own certificate.
#[derive(Default)]
pub struct Credentials {
    /// The one that has variables of its own.
    single: OnceCell<Option<Entry>>,
    /// Those of [`CREDENTIALS`].
    list: OnceCell<Option<List>>,
}

/// The value of [`CREDENTIALS`].
#[derive(Default)]
struct List {
    entries: Vec<Entry>,
    /// What is no credential at all.
    problems: Vec<SettingError>,
}

impl Credentials {
    async fn single(&self, platform: &impl Platform) -> Result<Option<&Entry>, SettingsError> {
        let read = async {
            let certificate = platform.variable(CERTIFICATE).await?;
            Ok::<_, SettingsError>(certificate.map(Entry::single))
        };
        Ok(once(&self.single, read).await?.as_ref())
    }

    async fn list(&self, platform: &impl Platform) -> Result<Option<&List>, SettingsError> {
        let read = async {
            let list = platform.variable(CREDENTIALS).await?;
            Ok::<_, SettingsError>(list.map(|text| List::read(&text)))
        };
        Ok(once(&self.list, read).await?.as_ref())
    }

    /// Reads the variables. What is wrong is said where they are needed.
    pub async fn read_ahead(&self, platform: &impl Platform) {
        let (single, list) = join(self.single(platform), self.list(platform)).await;
        drop(list);
        if let Ok(Some(single)) = single {
            drop(single.secrets(platform).await);
        }
    }

    /// Whether a credential is configured. Nothing of it is read: anybody may ask.
    ///
    /// # Errors
    /// The host does not answer.
    pub async fn are_configured(&self, platform: &impl Platform) -> Result<bool, SettingsError> {
        Ok(self.single(platform).await?.is_some() || self.list(platform).await?.is_some())
    }

    /// The credential that an SPC names by hash, and the private key that opens it.
    ///
    /// # Errors
    /// [`Error::UnknownCertificate`] names the hash and those that are known; both are public.
    /// What is wrong with the credential, a private key that is not sound included, or, when none has the hash, with any.
    /// `fairplay_off` when there is none.
    pub async fn find(
        &self,
        hash: &[u8],
        platform: &impl Platform,
    ) -> Result<(&Credential, &PrivateKey), drm::Error> {
        let mut found = None;
        let single = self.single(platform).await?;
        if let Some(single) = single {
            found = single.position(hash).map(|index| (single, index));
        }
        if found.is_none() {
            let list = self.list(platform).await?;
            found = entries(single, list)
                .find_map(|entry| Some((entry, entry.position(hash)?)))
                .or_else(|| {
                    let mut entries = entries(single, list);
                    Some((entries.find(|entry| entry.has_bundle_hash(hash))?, 0))
                });
        }
        let Some((entry, index)) = found else {
            let all = self.all(platform).await?;
            if all.is_empty() {
                return Err(error::off());
            }
            let certificates = all.iter().flat_map(|one| &one.certificate.certificates);
            let known = certificates.filter_map(|certificate| certificate.hash(hash.len()));
            return Err(Error::UnknownCertificate {
                requested: hex::encode(hash),
                known: known.map(hex::encode).collect(),
            }
            .into());
        };
        let credential = entry.credential(platform).await?;
        let key = credential.private_keys.get(index);
        let key = key.and_then(|key| key.get().ok());
        let key = key.ok_or_else(|| SettingsError::from(entry.unsound()))?;
        Ok((credential, key))
    }

    /// The credential with this name, or the first.
    ///
    /// # Errors
    /// What is wrong with it, or, when none has the name, with any. `fairplay_off` when there is none.
    pub async fn named(
        &self,
        name: Option<&str>,
        platform: &impl Platform,
    ) -> Result<Option<&Credential>, drm::Error> {
        let has_name = |entry: &&Entry| name.is_none_or(|name| entry.name == name);
        let mut found = self.single(platform).await?.filter(has_name);
        if found.is_none() {
            let list = self.list(platform).await?;
            found = list.and_then(|list| list.entries.iter().find(has_name));
        }
        match found {
            Some(entry) => Ok(Some(entry.credential(platform).await?)),
            None if self.all(platform).await?.is_empty() => Err(error::off()),
            None => Ok(None),
        }
    }

    /// Every credential, in the order of the configuration. None when FairPlay is off.
    ///
    /// # Errors
    /// Every setting that is wrong, by variable.
    pub async fn all(&self, platform: &impl Platform) -> Result<Vec<&Credential>, SettingsError> {
        let (single, list) = join(self.single(platform), self.list(platform)).await;
        let (single, list) = (single?, list?);
        let mut problems = list.map(|list| list.problems.clone()).unwrap_or_default();
        if single.is_none()
            && list.is_some_and(|list| list.entries.is_empty() && problems.is_empty())
        {
            problems.push(SettingError::new(
                CREDENTIALS,
                SettingErrorKind::Malformed,
                "the list is empty, so there is nothing to serve",
            ));
        }
        let mut all: Vec<&Credential> = Vec::new();
        for entry in entries(single, list) {
            match entry.credential(platform).await {
                Ok(credential) => {
                    problems.extend(entry.collisions(credential, &all));
                    all.push(credential);
                }
                Err(SettingsError::Invalid(found)) => problems.extend(found),
                Err(error) => return Err(error),
            }
        }
        if problems.is_empty() {
            Ok(all)
        } else {
            Err(SettingsError::Invalid(problems))
        }
    }

    /// Does all the work that is otherwise left until a credential is used. Returns every credential, as
    /// [`all`](Self::all) does.
    ///
    /// # Errors
    /// Every setting that is wrong, private keys whose parts do not belong together among them.
    pub async fn check(
        &self,
        platform: &impl Platform,
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<&Credential>, SettingsError> {
        let all = self.all(platform).await?;
        let single = self.single(platform).await?;
        let list = self.list(platform).await?;
        let mut problems = Vec::new();
        for entry in entries(single, list) {
            if !entry.credential(platform).await?.is_sound(rng) {
                problems.push(entry.unsound());
            }
        }
        if problems.is_empty() {
            Ok(all)
        } else {
            Err(SettingsError::Invalid(problems))
        }
    }
}

/// In the order of the configuration.
fn entries<'c>(
    single: Option<&'c Entry>,
    list: Option<&'c List>,
) -> impl Iterator<Item = &'c Entry> {
    let listed = list.into_iter().flat_map(|list| &list.entries);
    single.into_iter().chain(listed)
}

impl List {
    fn read(text: &str) -> Self {
        let mut this = Self::default();
        match encoding::json_list(text.as_bytes()) {
            Ok(list) => {
                for (index, entry) in list.into_iter().enumerate() {
                    match encoding::from_value(entry) {
                        Ok(config) => this.entries.push(Entry::from_list(index, config)),
                        Err(error) => {
                            let error = SettingError::from_json_error(CREDENTIALS, &error);
                            this.problems.push(error.at(index));
                        }
                    }
                }
            }
            Err(error) => this
                .problems
                .push(SettingError::from_json_error(CREDENTIALS, &error)),
        }
        this
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

/// A credential as the list has it.
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

/// The secrets of a credential as they are configured.
struct Secrets {
    private_keys: Zeroizing<String>,
    private_key_2048: Option<Zeroizing<String>>,
    /// `None` where it is a variable of its own, which is read when a key is encrypted.
    password: Option<Zeroizing<String>>,
    ask: Option<Zeroizing<String>>,
}

/// A credential as it is configured, decoded part by part.
struct Entry {
    source: Source,
    name: String,
    certificate_text: String,
    certificate: OnceCell<Result<Rc<ApplicationCertificate>, certificate::Error>>,
    secrets: OnceCell<Secrets>,
    credential: OnceCell<Credential>,
}

impl Entry {
    /// The credential that has variables of its own: all but the certificate is read when it is needed.
    fn single(certificate: Zeroizing<String>) -> Self {
        Self {
            source: Source::Variables,
            name: "default".to_owned(),
            certificate_text: certificate.to_string(),
            certificate: OnceCell::new(),
            secrets: OnceCell::new(),
            credential: OnceCell::new(),
        }
    }

    fn from_list(index: usize, config: CredentialConfig) -> Self {
        let value = |name: &str, text: Zeroizing<String>| platform::value(name, text.to_string());
        let password = config.private_key_password;
        let secrets = Secrets {
            private_keys: value(PRIVATE_KEY, config.private_key).unwrap_or_default(),
            private_key_2048: config
                .private_key_2048
                .and_then(|key| value(PRIVATE_KEY, key)),
            password: password.and_then(|password| value(PRIVATE_KEY_PASSWORD, password)),
            ask: config.ask.and_then(|ask| value(ASK, ask)),
        };
        Self {
            source: Source::List(index),
            name: config.name,
            certificate_text: value(CERTIFICATE, config.certificate.into())
                .map(|text| text.to_string())
                .unwrap_or_default(),
            certificate: OnceCell::new(),
            secrets: OnceCell::from(secrets),
            credential: OnceCell::new(),
        }
    }

    fn certificate(&self) -> &Result<Rc<ApplicationCertificate>, certificate::Error> {
        self.certificate
            .get_or_init(|| ApplicationCertificate::from_text(&self.certificate_text).map(Rc::new))
    }

    /// Which of its certificates has this hash.
    fn position(&self, hash: &[u8]) -> Option<usize> {
        let mut certificates = self.certificate().as_ref().ok()?.certificates.iter();
        certificates.position(|certificate| certificate.hash(hash.len()) == Some(hash))
    }

    fn has_bundle_hash(&self, hash: &[u8]) -> bool {
        let certificate = self.certificate().as_ref();
        certificate.is_ok_and(|certificate| certificate.has_bundle_hash(hash))
    }

    async fn secrets(&self, platform: &impl Platform) -> Result<&Secrets, SettingsError> {
        let read = async {
            let (private_keys, ask) =
                join(platform.variable(PRIVATE_KEY), platform.variable(ASK)).await;
            Ok::<_, SettingsError>(Secrets {
                private_keys: private_keys?.unwrap_or_default(),
                private_key_2048: None,
                password: None,
                ask: ask?,
            })
        };
        once(&self.secrets, read).await
    }

    async fn credential(&self, platform: &impl Platform) -> Result<&Credential, SettingsError> {
        once(&self.credential, self.decode(platform)).await
    }

    fn problem(
        &self,
        variable: &'static str,
        kind: SettingErrorKind,
        message: impl Into<String>,
    ) -> SettingError {
        self.source.problem(variable, kind, message)
    }

    fn unreadable(&self, error: Unreadable) -> SettingError {
        let variable = match error.is_password {
            true => PRIVATE_KEY_PASSWORD,
            false => PRIVATE_KEY,
        };
        self.problem(variable, error.kind, error.reason)
    }

    fn unsound(&self) -> SettingError {
        let reason = "it is not a sound RSA key";
        self.problem(PRIVATE_KEY, SettingErrorKind::Malformed, reason)
    }

    async fn decode(&self, platform: &impl Platform) -> Result<Credential, SettingsError> {
        let secrets = self.secrets(platform).await?;
        let mut problems = Vec::new();
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if self.name.is_empty() || !self.name.bytes().all(is_plain) {
            problems.push(self.problem(
                NAME,
                SettingErrorKind::Malformed,
                "the name is not made of letters, digits, `-`, `_` and `.`",
            ));
        }

        let mut keys = Vec::new();
        let texts = [
            Some(&secrets.private_keys),
            secrets.private_key_2048.as_ref(),
        ];
        for text in texts.into_iter().flatten() {
            match EncodedKeys::read(text) {
                Ok(encoded) => {
                    let own;
                    let password = match (self.source, encoded.are_encrypted()) {
                        (Source::Variables, true) => {
                            own = platform.variable(PRIVATE_KEY_PASSWORD).await?;
                            own.as_ref()
                        }
                        _ => secrets.password.as_ref(),
                    };
                    match encoded.decode(password.map(|password| password.as_str())) {
                        Ok(found) => keys.extend(found),
                        Err(error) => problems.push(self.unreadable(error)),
                    }
                }
                Err(error) => problems.push(self.unreadable(error)),
            }
        }
        let keys_are_readable = problems.is_empty();

        let certificate = match self.certificate() {
            Ok(certificate) => certificate,
            Err(error) => {
                let kind = SettingErrorKind::Malformed;
                problems.push(self.problem(CERTIFICATE, kind, error.to_string()));
                return Err(SettingsError::Invalid(problems));
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
                None if keys_are_readable => problems.push(self.problem(
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
            problems.push(self.problem(
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
            match secrets
                .ask
                .as_deref()
                .filter(|ask| !ask.is_empty())
                .map(|ask| encoding::fixed::<16>(ask))
            {
                Some(Some(ask)) => ApplicationSecret::Ask(ask.into()),
                Some(None) => {
                    problems.push(self.problem(
                        ASK,
                        SettingErrorKind::Malformed,
                        "it is not 16 bytes in hex or base64",
                    ));
                    ApplicationSecret::Missing
                }
                None => ApplicationSecret::Missing,
            }
        };

        if is_development {
            match test_credentials_allowed(platform).await {
                Ok(true) => {}
                Ok(false) => problems.push(self.problem(
                    CERTIFICATE,
                    SettingErrorKind::Refused,
                    "this is the development certificate of the FairPlay SDK, whose private key is public; \
                     it is refused unless `fairplay_test_credentials` is `true`",
                )),
                Err(SettingsError::Invalid(found)) => problems.extend(found),
                Err(error) => return Err(error),
            }
        }
        if !problems.is_empty() {
            return Err(SettingsError::Invalid(problems));
        }
        Ok(Credential {
            name: self.name.clone(),
            certificate: Rc::clone(certificate),
            secret,
            private_keys,
        })
    }

    /// What it has in common with those before it, and may not.
    fn collisions(&self, credential: &Credential, before: &[&Credential]) -> Vec<SettingError> {
        let mut problems = Vec::new();
        if before.iter().any(|other| other.name == credential.name) {
            problems.push(self.problem(
                NAME,
                SettingErrorKind::Collision,
                "another credential has the same name",
            ));
        }
        let mut taken = before
            .iter()
            .flat_map(|other| &other.certificate.certificates);
        let own = &credential.certificate.certificates;
        if taken.any(|taken| own.iter().any(|own| own.der == taken.der)) {
            problems.push(self.problem(
                CERTIFICATE,
                SettingErrorKind::Collision,
                "another credential has the same certificate",
            ));
        }
        problems
    }
}
