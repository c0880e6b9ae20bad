//! The use case: token → entitlement → key → DRM module → audit record. No HTTP in it.

mod audit;
mod issue;
mod keys;
mod license_data;
mod mint;
mod modules;
mod renewal;
mod sessions;
mod store;
mod stream;

use std::cell::OnceCell;

use futures_util::future::join4;
use serde_json::Value;

use audit::Audit;
pub use issue::{CheckIn, Issued, License, LicenseRequest, Renewal};
#[cfg(feature = "schema")]
pub use keys::{KeyDeleted, KeyImport, KeyList, KeyPut, KeyRotation, StoredKey};
pub use keys::{KeyRotationRequest, MOST_KEYS, Page};
pub use license_data::{LicenseData, LicenseDataRequest};
pub use mint::Minted;
#[cfg(feature = "schema")]
pub use mint::{OperatorTokenRequest, ViewerTokenRequest};
pub use modules::Modules;
pub use renewal::{PARAMETER as RENEWAL, RenewalTicket};
#[cfg(feature = "schema")]
pub use sessions::OpenSessionRequest;
pub use sessions::{Listed, Session};
pub use stream::SessionRequest;

use crate::configuration::{Configured, SettingsError};
use crate::content_key::store::PutError;
use crate::content_key::{KeyError, KeyRecord, KeySources, SkdRules};
use crate::drm::{self, DrmSystem};
use crate::entitlement;
use crate::error::Code;
use crate::fairplay::FPS_STATUS;
use crate::fairplay::credentials::Credentials;
use crate::platform::{Platform, once};
use crate::policy::callback;
use crate::policy::{Admission, Policies};
use crate::server_secret::{Label, ServerSecret};
use crate::session::challenge::{self, Challenge};
use crate::session::{self, Abuse, Handovers, Period};
use crate::token::{self};

/// Why there is no licence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The token is not accepted.
    #[error(transparent)]
    Token(token::Error),
    /// The operator's back end does not agree.
    #[error(transparent)]
    Callback(#[from] callback::Error),
    /// The token entitles to nothing here.
    #[error(transparent)]
    Entitlement(#[from] entitlement::Error),
    /// The token's uses, the session, the store.
    #[error(transparent)]
    Session(#[from] session::Error),
    /// The message of the DRM system, or what its device can do.
    #[error(transparent)]
    Drm(drm::Error),
    /// There is no key for the asset.
    #[error("there is no key for this asset id")]
    KeyNotFound,
    /// The request is not of the documented shape.
    #[error("{0}")]
    Request(&'static str),
    /// The ticket of a renewal is not accepted.
    #[error("the ticket of the renewal: {0}")]
    RenewalTicket(&'static str),
    /// There is no secret to sign tokens with.
    #[error("there is no secret to sign tokens with")]
    TokensOff,
    /// Something is not configured that licence data needs.
    #[error("{0}")]
    LicenseDataOff(&'static str),
    /// There is no secret to keep sessions with.
    #[error("there is no secret to keep sessions with")]
    SessionsOff,
    /// The request has no session token.
    #[error("no session token came with the request")]
    SessionMissing,
    /// The key record does not allow the DRM system.
    #[error("the key record does not allow {}", .0.title())]
    KeySystem(DrmSystem),
    /// There is no key to store keys under.
    #[error("there is no key to store keys under")]
    KeysOff,
    /// A record is not stored.
    #[error(transparent)]
    Put(PutError),
    /// A source of keys does not answer.
    #[error(transparent)]
    Key(KeyError),
    /// The configuration does not load.
    #[error(transparent)]
    Settings(#[from] SettingsError),
}

impl Error {
    /// The code of this error.
    pub fn code(&self) -> Code {
        match self {
            Self::Token(error) => error.code(),
            Self::Callback(error) => error.code(),
            Self::Request(_) => Code::REQUEST_MALFORMED,
            Self::RenewalTicket(_) => Code::RENEWAL_TICKET,
            Self::TokensOff => Code::TOKENS_OFF,
            Self::LicenseDataOff(_) => Code::LICENSE_DATA_OFF,
            Self::SessionsOff => Code::SESSIONS_OFF,
            Self::SessionMissing => Code::SESSION_MISSING,
            Self::Entitlement(error) => error.code(),
            Self::Session(error) => error.code(),
            Self::Drm(error) => error.code(),
            Self::KeyNotFound => Code::KEY_NOT_FOUND,
            Self::KeySystem(_) => Code::KEY_SYSTEM_NOT_ALLOWED,
            Self::Key(error) => error.code(),
            Self::KeysOff => Code::KEYS_OFF,
            Self::Put(error) => error.code(),
            Self::Settings(error) => error.code(),
        }
    }

    /// The status number of the FairPlay server SDK, where there is one.
    pub fn fps_status(&self) -> Option<i32> {
        let status = self.details().iter().find(|(name, _)| *name == FPS_STATUS);
        status.and_then(|(_, status)| i32::try_from(status.as_i64()?).ok())
    }

    /// What the DRM system adds.
    pub fn details(&self) -> &[(&'static str, Value)] {
        match self {
            Self::Drm(error) => error.details(),
            _ => &[],
        }
    }

    /// What goes to the device in place of a problem document.
    pub fn answer(&self) -> Option<&drm::ServiceAnswer> {
        match self {
            Self::Drm(error) => error.answer(),
            _ => None,
        }
    }

    /// After how many seconds the same request may be answered.
    pub fn retry_after(&self) -> Option<u32> {
        match self {
            Self::Session(session::Error::Abuse { retry_after, .. }) => Some(*retry_after),
            _ => None,
        }
    }

    /// Whether it refuses one key of a request, and not all of them.
    fn is_of_one_key(&self) -> bool {
        match self {
            Self::Entitlement(_) | Self::KeyNotFound | Self::KeySystem(_) | Self::Key(_) => true,
            Self::Drm(error) => matches!(error, drm::Error::Refused { .. }),
            Self::Callback(error) => !matches!(error, callback::Error::Failed(_)),
            Self::Token(_)
            | Self::Session(_)
            | Self::Request(_)
            | Self::RenewalTicket(_)
            | Self::TokensOff
            | Self::LicenseDataOff(_)
            | Self::SessionsOff
            | Self::SessionMissing
            | Self::KeysOff
            | Self::Put(_)
            | Self::Settings(_) => false,
        }
    }

    /// What the audit and who runs the deployment read.
    pub fn for_operator(&self) -> String {
        match self {
            Self::Token(error) => error.for_operator(),
            error => error.to_string(),
        }
    }

    /// What a client may read beyond the code: nothing that decryption revealed, and nothing of the
    /// configuration.
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::Token(error) => Some(error.to_string()),
            Self::Entitlement(error) => Some(error.to_string()),
            Self::Drm(error) => error.public_reason().map(ToOwned::to_owned),
            Self::Request(_) | Self::RenewalTicket(_) | Self::LicenseDataOff(_) | Self::Put(_) => {
                Some(self.to_string())
            }
            Self::Session(error) => error.is_public().then(|| error.to_string()),
            Self::Callback(callback::Error::Refused(reason)) => reason.clone(),
            Self::Callback(_)
            | Self::KeyNotFound
            | Self::TokensOff
            | Self::SessionsOff
            | Self::SessionMissing
            | Self::KeySystem(_)
            | Self::Key(_)
            | Self::KeysOff
            | Self::Settings(_) => None,
        }
    }
}

impl From<drm::Error> for Error {
    fn from(error: drm::Error) -> Self {
        match error {
            drm::Error::Settings(error) => Self::Settings(error),
            error => Self::Drm(error),
        }
    }
}

impl From<KeyError> for Error {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Settings(error) => Self::Settings(error),
            error => Self::Key(error),
        }
    }
}

impl From<token::Error> for Error {
    fn from(error: token::Error) -> Self {
        match error {
            token::Error::Settings(error) => Self::Settings(error),
            token::Error::Entitlement(error) => Self::Entitlement(error),
            error => Self::Token(error),
        }
    }
}

/// An authenticated viewer and the policy options that admit him.
pub struct Principal<'p> {
    /// The options that admit him, at least one. The requested key decides which one applies.
    admissions: Vec<Admission<'p>>,
    /// Pseudonym of the token's subject.
    subject: Option<String>,
    /// Pseudonym of his token.
    token: Option<String>,
}

impl Principal<'_> {
    /// Refuses a principal without any entitlement, for every key.
    ///
    /// # Errors
    /// [`Error::Entitlement`]
    pub fn check(&self) -> Result<(), Error> {
        let first = self.admissions.first().map(Admission::entitlement);
        first.transpose()?;
        Ok(())
    }

    /// The options that admit him, at least one, in their order.
    pub fn admissions(&self) -> &[Admission<'_>] {
        &self.admissions
    }

    /// Pseudonym of the subject whose streams are counted.
    ///
    /// # Errors
    /// [`entitlement::Error::Needs`] when the token has no subject, or the server has no secret.
    pub fn subject_to_count(&self) -> Result<&str, entitlement::Error> {
        let needs = "`sub` in the token, and `server_secret`";
        let subject = self.subject.as_deref();
        subject.ok_or(entitlement::Error::Needs("max_streams", needs))
    }

    /// The option that applies to a key.
    ///
    /// # Errors
    /// [`Error::Entitlement`] when none does.
    pub fn admission_to(&self, key: &KeyRecord) -> Result<&Admission<'_>, Error> {
        let admission = self
            .admissions
            .iter()
            .find(|admission| admission.is_for(key));
        admission.ok_or_else(|| entitlement::Error::NotEntitled.into())
    }
}

/// The pseudonym of a subject. Where several issuers are accepted, the same subject of each is another viewer.
fn pseudonym_of(scope: &str, subject: &str, secret: &ServerSecret) -> String {
    let text = match scope {
        "" => subject.to_owned(),
        scope => format!("{scope}\0{subject}"),
    };
    secret.pseudonym(Label::Subject, text.as_bytes())
}

/// The settings of every part, each read on first use and kept for the life of the instance.
///
/// Only settings that loaded are kept: after a failure the next request tries again.
pub struct LicenceServer<P> {
    platform: Configured<P>,
    policies: OnceCell<Policies>,
    keys: KeySources,
    skd_rules: OnceCell<SkdRules>,
    modules: Modules,
    server_secret: OnceCell<Option<ServerSecret>>,
    session_period: OnceCell<Period>,
    stream_handovers: OnceCell<Handovers>,
    abuse: OnceCell<Option<Abuse>>,
}

impl<P: Platform> LicenceServer<P> {
    /// Nothing is read yet.
    pub fn new(platform: P) -> Self {
        Self {
            platform: Configured::new(platform),
            policies: OnceCell::new(),
            keys: KeySources::new(),
            skd_rules: OnceCell::new(),
            modules: Modules::default(),
            server_secret: OnceCell::new(),
            session_period: OnceCell::new(),
            stream_handovers: OnceCell::new(),
            abuse: OnceCell::new(),
        }
    }

    /// The host, with the variables as they are configured.
    pub fn platform(&self) -> &Configured<P> {
        &self.platform
    }

    /// The policies.
    ///
    /// # Errors
    /// What is wrong with `policies`, or with the `token_…` variables, and with `dialects`.
    pub async fn policies(&self) -> Result<&Policies, SettingsError> {
        once(&self.policies, Policies::load(&self.platform)).await
    }

    /// The DRM systems.
    pub fn modules(&self) -> &Modules {
        &self.modules
    }

    /// The FairPlay credentials.
    pub fn credentials(&self) -> &Credentials {
        self.modules.fairplay.credentials()
    }

    /// The sources of keys.
    pub fn keys(&self) -> &KeySources {
        &self.keys
    }

    /// The rules for asset ids that no key has.
    ///
    /// # Errors
    /// What is wrong with `skd_rules`.
    pub async fn skd_rules(&self) -> Result<&SkdRules, SettingsError> {
        once(&self.skd_rules, SkdRules::load(&self.platform)).await
    }

    /// The deployment's own secret; `None` when it is not configured.
    ///
    /// # Errors
    /// What is wrong with `server_secret`.
    pub async fn server_secret(&self) -> Result<Option<&ServerSecret>, SettingsError> {
        let secret = ServerSecret::load(&self.platform);
        Ok(once(&self.server_secret, secret).await?.as_ref())
    }

    /// The limits on what one token and one viewer ask for; `None` where nothing is counted.
    ///
    /// # Errors
    /// What is wrong with `abuse`.
    pub async fn abuse(&self) -> Result<Option<&Abuse>, SettingsError> {
        let abuse = Abuse::load(&self.platform);
        Ok(once(&self.abuse, abuse).await?.as_ref())
    }

    /// Issues a challenge for a check-in to the bearer of a token.
    ///
    /// # Errors
    /// [`Error::Token`], [`Error::Settings`], and [`Error::Session`] when no store keeps it.
    pub async fn challenge(
        &self,
        system: DrmSystem,
        tokens: &token::Found,
    ) -> Result<Challenge, Error> {
        let now = self.platform.now();
        let principal = self.admit(system, tokens, now).await?;
        // The store keeps each challenge. Without a token, anybody could fill it.
        let mut tokens = principal
            .admissions
            .iter()
            .map(|admission| &admission.token);
        if tokens.all(Option::is_none) {
            return Err(Error::Token(token::Error::Missing));
        }
        Ok(challenge::issue(&self.platform, now).await?)
    }

    /// Explains an SPC: every block, and what it states about the device.
    ///
    /// # Errors
    /// Why the SPC cannot be opened.
    pub async fn inspect(&self, spc: &[u8]) -> Result<Value, Error> {
        let secret = self.server_secret().await?;
        let pseudonym = |hu: &[u8]| Some(secret?.pseudonym(Label::Device, hu));
        let explained = self
            .modules
            .fairplay
            .inspect(spc, &self.platform, pseudonym);
        Ok(explained.await?)
    }

    /// Reads what a licence needs beside the token, where the host reads several variables at a time. What is wrong is
    /// said where it is needed.
    pub async fn read_ahead(&self, system: DrmSystem) {
        if !Configured::<P>::READS_AT_ONCE {
            return;
        }
        let credentials = self.modules.read_ahead(system, &self.platform);
        let keys = self.keys.read_ahead(&self.platform);
        drop(join4(credentials, keys, self.server_secret(), self.abuse()).await);
    }

    /// Verifies the one token of a request. A refusal is written to the audit, as a decision of the
    /// DRM system that it was sent for.
    ///
    /// # Errors
    /// [`Error::Token`], [`Error::Entitlement`] and [`Error::Settings`].
    pub async fn authenticate(
        &self,
        system: DrmSystem,
        request_id: &str,
        tokens: &token::Found,
    ) -> Result<Principal<'_>, Error> {
        self.authenticate_at(self.platform.now(), system, request_id, tokens)
            .await
    }

    /// The same for a token that was verified at `time` before, in seconds since 1970: it may have expired since.
    ///
    /// # Errors
    /// As [`Self::authenticate`].
    pub async fn authenticate_at(
        &self,
        time: u64,
        system: DrmSystem,
        request_id: &str,
        tokens: &token::Found,
    ) -> Result<Principal<'_>, Error> {
        let mut audit = Audit::for_system(system, self.platform.now(), request_id);
        let result = match self.admit(system, tokens, time).await {
            Ok(principal) => {
                audit.asked_by(&principal);
                principal.check().map(|()| principal)
            }
            Err(error) => Err(error),
        };
        if let Err(error) = &result {
            audit.refused(error);
            self.platform.log(&audit.line(&self.platform));
        }
        result
    }

    /// Writes what was decided.
    fn audited<T>(&self, mut audit: Audit<'_>, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &result {
            audit.refused(error);
        }
        self.platform.log(&audit.line(&self.platform));
        result
    }

    /// Verifies the one token of a request, and writes nothing.
    ///
    /// # Errors
    /// [`Error::Token`], [`Error::Entitlement`] and [`Error::Settings`].
    pub async fn admit(
        &self,
        system: DrmSystem,
        tokens: &token::Found,
        now: u64,
    ) -> Result<Principal<'_>, Error> {
        let secret = self.server_secret().await?;
        let policies = self.policies().await?;
        let admissions = policies
            .accept(tokens, system, secret, &self.platform, now)
            .await?;
        let named = admissions.iter().find_map(|admission| {
            let subject = admission.token.as_ref()?.subject.as_deref()?;
            Some((policies.scope_of(admission), subject))
        });
        let subject = named
            .zip(secret)
            .map(|((scope, subject), secret)| pseudonym_of(scope, subject, secret));
        let token = secret.and_then(|secret| {
            let token = admissions.iter().find_map(|one| one.token.as_ref())?;
            Some(secret.pseudonym(Label::TokenId, &token.identity))
        });
        Ok(Principal {
            admissions,
            subject,
            token,
        })
    }
}
