//! The use case: token → entitlement → key → DRM module → audit record. No HTTP in it.

mod audit;
mod fairplay;
mod mint;
mod sessions;
mod stream;

use std::cell::OnceCell;
use std::future::Future;

use audit::Audit;
pub use fairplay::{CheckIn, Ckc, FairplayLicence, FairplayRequest, Purpose};
pub use mint::Minted;
pub use sessions::{Listed, Session};
pub use stream::SessionRequest;

use crate::configuration::SettingsError;
use crate::content_key::{ContentKey, KeySources};
use crate::entitlement;
use crate::error::Code;
use crate::fairplay::credentials::Credentials;
use crate::fairplay::rules::Rules;
use crate::platform::Platform;
use crate::server_secret::{Label, ServerSecret};
use crate::session::challenge::{self, Challenge};
use crate::session::{self, Period};
use crate::token::callback;
use crate::token::{self, Admission, Policies};

/// What the audit calls FairPlay.
pub const FAIRPLAY: &str = "fairplay";

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
    /// The SPC, or what is asked for its device.
    #[error(transparent)]
    Fairplay(#[from] crate::fairplay::Error),
    /// There is no key for the asset.
    #[error("there is no key for this asset id")]
    KeyNotFound,
    /// The request is not of the documented shape.
    #[error("{0}")]
    Request(&'static str),
    /// There is no secret to sign tokens with.
    #[error("there is no secret to sign tokens with")]
    TokensOff,
    /// There is no secret to keep sessions with.
    #[error("there is no secret to keep sessions with")]
    SessionsOff,
    /// No session token came.
    #[error("no session token came with the request")]
    SessionMissing,
    /// No FairPlay credential is configured.
    #[error("no FairPlay credential is configured")]
    FairplayOff,
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
            Self::TokensOff => Code::TOKENS_OFF,
            Self::SessionsOff => Code::SESSIONS_OFF,
            Self::SessionMissing => Code::SESSION_MISSING,
            Self::Entitlement(error) => error.code(),
            Self::Session(error) => error.code(),
            Self::Fairplay(error) => error.code(),
            Self::KeyNotFound => Code::KEY_NOT_FOUND,
            Self::FairplayOff => Code::FAIRPLAY_OFF,
            Self::Settings(error) => error.code(),
        }
    }

    /// The status number of the FairPlay server SDK, where there is one.
    pub fn fps_status(&self) -> Option<i32> {
        match self {
            Self::Fairplay(error) => Some(error.fps_status()),
            _ => None,
        }
    }

    /// What a client may read beyond the code: nothing that was learned by decrypting, and nothing
    /// of the configuration.
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::Token(error) => Some(error.to_string()),
            Self::Entitlement(error) => Some(error.to_string()),
            Self::Fairplay(error) => error.is_public().then(|| error.to_string()),
            Self::Request(_) => Some(self.to_string()),
            Self::Session(error) => error.is_public().then(|| error.to_string()),
            Self::Callback(callback::Error::Refused(reason)) => reason.clone(),
            Self::Callback(_)
            | Self::KeyNotFound
            | Self::TokensOff
            | Self::SessionsOff
            | Self::SessionMissing
            | Self::FairplayOff
            | Self::Settings(_) => None,
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

/// Whom the policies let in, and how.
pub struct Principal<'p> {
    /// The options that let him in, at least one; which one holds, the key that is asked for says.
    admissions: Vec<Admission<'p>>,
    /// Pseudonym of the token's subject.
    subject: Option<String>,
}

impl Principal<'_> {
    /// Refuses whom nothing entitles, whichever key is asked for.
    ///
    /// # Errors
    /// [`Error::Entitlement`]
    pub fn check(&self) -> Result<(), Error> {
        let first = self.admissions.first().map(Admission::entitlement);
        first.transpose()?;
        Ok(())
    }

    /// The options that let him in, at least one, the first one first.
    pub fn admissions(&self) -> &[Admission<'_>] {
        &self.admissions
    }

    /// Pseudonym of the subject whose streams are counted.
    ///
    /// # Errors
    /// [`entitlement::Error::Needs`] where the token has none, or the server no secret.
    pub fn subject_to_count(&self) -> Result<&str, entitlement::Error> {
        let needs = "`sub` in the token, and `server_secret`";
        let subject = self.subject.as_deref();
        subject.ok_or(entitlement::Error::Needs("max_streams", needs))
    }

    /// The option that holds for a key.
    ///
    /// # Errors
    /// [`Error::Entitlement`] when none does.
    pub fn admission_to(&self, key: &ContentKey) -> Result<&Admission<'_>, Error> {
        let access = self.admissions.iter().find(|access| access.is_for(key));
        access.ok_or_else(|| entitlement::Error::NotEntitled.into())
    }
}

/// The rooms' settings, each read on first use and kept for the life of the instance.
///
/// Only what loaded is kept: after a failure the next request tries again.
pub struct LicenceServer<P> {
    platform: P,
    policies: OnceCell<Policies>,
    credentials: OnceCell<Option<Credentials>>,
    keys: KeySources,
    rules: OnceCell<Rules>,
    server_secret: OnceCell<Option<ServerSecret>>,
    session_period: OnceCell<Period>,
}

impl<P: Platform> LicenceServer<P> {
    /// Nothing is read yet.
    pub fn new(platform: P) -> Self {
        Self {
            platform,
            policies: OnceCell::new(),
            credentials: OnceCell::new(),
            keys: KeySources::new(),
            rules: OnceCell::new(),
            server_secret: OnceCell::new(),
            session_period: OnceCell::new(),
        }
    }

    /// The host.
    pub fn platform(&self) -> &P {
        &self.platform
    }

    /// Who is let in.
    ///
    /// # Errors
    /// What is wrong with `policies`, or with the `token_…` variables, and with `dialects`.
    pub async fn policies(&self) -> Result<&Policies, SettingsError> {
        once(&self.policies, Policies::load(&self.platform)).await
    }

    /// The FairPlay credentials; `None` when FairPlay is off.
    ///
    /// # Errors
    /// What is wrong with the `fairplay_…` variables.
    pub async fn credentials(&self) -> Result<Option<&Credentials>, SettingsError> {
        Ok(once(&self.credentials, Credentials::load(&self.platform))
            .await?
            .as_ref())
    }

    /// The sources of keys.
    pub fn keys(&self) -> &KeySources {
        &self.keys
    }

    /// The rules that hold for every FairPlay licence.
    ///
    /// # Errors
    /// What is wrong with `fairplay_rules`.
    pub async fn rules(&self) -> Result<&Rules, SettingsError> {
        once(&self.rules, Rules::load(&self.platform)).await
    }

    /// The deployment's own secret; `None` when there is none.
    ///
    /// # Errors
    /// What is wrong with `server_secret`.
    pub async fn server_secret(&self) -> Result<Option<&ServerSecret>, SettingsError> {
        let secret = ServerSecret::load(&self.platform);
        Ok(once(&self.server_secret, secret).await?.as_ref())
    }

    /// Gives the bearer of a token a challenge for a check-in.
    ///
    /// # Errors
    /// [`Error::Token`], [`Error::Settings`], and [`Error::Session`] when there is no store to
    /// remember it.
    pub async fn challenge(&self, tokens: &token::Found) -> Result<Challenge, Error> {
        let now = self.platform.now();
        self.admit(FAIRPLAY, tokens, now).await?;
        Ok(challenge::issue(&self.platform, now).await?)
    }

    /// Verifies the one token of a request. A refusal is written to the audit, as a decision of the
    /// DRM system that it was sent for.
    ///
    /// # Errors
    /// [`Error::Token`], [`Error::Entitlement`] and [`Error::Settings`].
    pub async fn authenticate(
        &self,
        drm: &'static str,
        request_id: &str,
        tokens: &token::Found,
    ) -> Result<Principal<'_>, Error> {
        let mut audit = Audit::of(drm, self.platform.now(), request_id);
        let result = match self.admit(drm, tokens, audit.time).await {
            Ok(principal) => {
                audit.subject.clone_from(&principal.subject);
                principal.check().map(|()| principal)
            }
            Err(error) => Err(error),
        };
        if let Err(error) = &result {
            audit.refused(error);
            self.platform.log(&audit.line());
        }
        result
    }

    /// Writes what was decided.
    fn audited<T>(&self, mut audit: Audit<'_>, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &result {
            audit.refused(error);
        }
        self.platform.log(&audit.line());
        result
    }

    /// Verifies the one token of a request, and writes nothing.
    ///
    /// # Errors
    /// [`Error::Token`], [`Error::Entitlement`] and [`Error::Settings`].
    pub async fn admit(
        &self,
        drm: &str,
        tokens: &token::Found,
        now: u64,
    ) -> Result<Principal<'_>, Error> {
        let secret = self.server_secret().await?;
        let admissions = self
            .policies()
            .await?
            .accept(tokens, drm, secret, &self.platform, now)
            .await?;
        let token = admissions.iter().find_map(|access| access.token.as_ref());
        let subject = token
            .and_then(|token| token.subject.as_deref())
            .zip(secret)
            .map(|(subject, secret)| secret.pseudonym(Label::Subject, subject.as_bytes()));
        Ok(Principal {
            admissions,
            subject,
        })
    }
}

/// The value, read at most once. Two requests at a time may both read; the first one's is kept.
async fn once<T, E>(cell: &OnceCell<T>, load: impl Future<Output = Result<T, E>>) -> Result<&T, E> {
    match cell.get() {
        Some(value) => Ok(value),
        None => {
            let value = load.await?;
            Ok(cell.get_or_init(|| value))
        }
    }
}
