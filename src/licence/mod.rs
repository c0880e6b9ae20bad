//! The use case: token → entitlement → key → DRM module → audit record. No HTTP in it.

mod audit;
mod mint;

use std::cell::OnceCell;
use std::future::Future;

use audit::Audit;
pub use mint::Minted;
use serde::Serialize;
use serde_json::{Value, json};

use crate::content_key::{ContentKey, ContentKeys};
use crate::entitlement::{self, Granted, Place, Terms};
use crate::error::{Code, SettingsError};
use crate::fairplay;
use crate::fairplay::check_in::Report;
use crate::fairplay::credentials::Credentials;
use crate::fairplay::duration::Duration;
use crate::fairplay::inspect;
use crate::fairplay::ksm;
use crate::fairplay::rules::Rules;
use crate::fairplay::spc::SpcContainer;
use crate::id::Id;
use crate::platform::{Platform, Random};
use crate::server_secret::{Label, ServerSecret};
use crate::session;
use crate::session::challenge::{self, Challenge};
use crate::token::callback::{self, Question};
use crate::token::{self, Access, Policies};

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
    /// The token's uses.
    #[error(transparent)]
    Session(#[from] session::Error),
    /// The SPC, or what is asked for its device.
    #[error(transparent)]
    Fairplay(#[from] fairplay::Error),
    /// There is no key for the asset.
    #[error("there is no key for this asset id")]
    KeyNotFound,
    /// There is no secret to sign tokens with.
    #[error("there is no secret to sign tokens with")]
    TokensOff,
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
            Self::TokensOff => Code::TOKENS_OFF,
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
            Self::Session(session::Error::Spent(_)) => Some(self.to_string()),
            Self::Callback(callback::Error::Refused(reason)) => reason.clone(),
            Self::Callback(_)
            | Self::Session(_)
            | Self::KeyNotFound
            | Self::TokensOff
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

/// What an SPC is sent for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A licence; a sync SPC is taken for a check-in all the same.
    Licence,
    /// A check-in.
    CheckIn,
}

/// Whom the policies let in, and how.
pub struct Viewer<'p> {
    /// The options that let him in, at least one; which one holds, the key that is asked for says.
    accesses: Vec<Access<'p>>,
    /// Pseudonym of the token's subject.
    subject: Option<String>,
}

impl Viewer<'_> {
    /// Refuses whom nothing entitles, whichever key is asked for.
    ///
    /// # Errors
    /// [`Error::Entitlement`]
    pub fn check(&self) -> Result<(), Error> {
        let first = self.accesses.first().map(Access::entitlement);
        first.transpose()?;
        Ok(())
    }

    /// The options that let him in, at least one, the first one first.
    pub fn accesses(&self) -> &[Access<'_>] {
        &self.accesses
    }

    /// The option that holds for a key.
    ///
    /// # Errors
    /// [`Error::Entitlement`] when none does.
    pub fn access_to(&self, key: &ContentKey) -> Result<&Access<'_>, Error> {
        let access = self.accesses.iter().find(|access| access.is_for(key));
        access.ok_or_else(|| entitlement::Error::NotEntitled.into())
    }
}

/// What a player sends.
pub struct FairplayRequest<'a> {
    /// What it is sent for.
    pub purpose: Purpose,
    /// What logs and answers call the request.
    pub id: &'a str,
    /// The Server Playback Context.
    pub spc: &'a [u8],
}

/// What a player gets for its SPC.
#[derive(Debug, PartialEq, Eq)]
pub enum FairplayLicence {
    /// A Content Key Context.
    Ckc(Ckc),
    /// Nothing: the player reported that playback stopped.
    Stopped,
    /// The device reported what it has stored.
    CheckedIn(CheckIn),
}

/// A Content Key Context, and what an app asks about it that cannot open it.
#[derive(Debug, PartialEq, Eq)]
pub struct Ckc {
    /// The message.
    pub bytes: Vec<u8>,
    /// When playback stops or may start no more, in seconds since 1970, unless the key is renewed.
    pub expires_at: Option<u64>,
    /// When to ask for a renewal, in seconds from now. `None` for what a renewal would not prolong.
    pub renew_after: Option<u32>,
    /// How long the key may be stored before it is played, in seconds.
    pub persistence_duration: Option<u32>,
}

/// A check-in: what the device reports, and whether it answers a challenge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckIn {
    /// Whether it answers a challenge.
    pub challenge: challenge::Answer,
    /// Pseudonym of the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    /// What the device reports.
    #[serde(flatten)]
    pub report: Report,
}

/// The rooms' settings, each read on first use and kept for the life of the instance.
///
/// Only what loaded is kept: after a failure the next request tries again.
pub struct Licensing<P> {
    platform: P,
    policies: OnceCell<Policies>,
    credentials: OnceCell<Option<Credentials>>,
    content_keys: OnceCell<ContentKeys>,
    rules: OnceCell<Rules>,
    server_secret: OnceCell<Option<ServerSecret>>,
}

impl<P: Platform> Licensing<P> {
    /// Nothing is read yet.
    pub fn new(platform: P) -> Self {
        Self {
            platform,
            policies: OnceCell::new(),
            credentials: OnceCell::new(),
            content_keys: OnceCell::new(),
            rules: OnceCell::new(),
            server_secret: OnceCell::new(),
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

    /// The key records.
    ///
    /// # Errors
    /// What is wrong with `content_keys`.
    pub async fn content_keys(&self) -> Result<&ContentKeys, SettingsError> {
        once(&self.content_keys, ContentKeys::load(&self.platform)).await
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

    /// Explains an SPC: every block, and what it says of the device. Nothing that [SK..R1] protects is
    /// told but whether it is whole, and the device's pseudonym.
    ///
    /// # Errors
    /// [`Error::FairplayOff`], [`Error::Settings`], and [`Error::Fairplay`] for an SPC that does not
    /// open.
    pub async fn inspect(&self, spc: &[u8]) -> Result<Value, Error> {
        let credentials = self.credentials().await?.ok_or(Error::FairplayOff)?;
        let secret = self.server_secret().await?;
        let opened = SpcContainer::parse(spc)?.open(credentials, &mut Random(&self.platform))?;
        let explained = inspect::explain(&opened);
        let (integrity, device_id) = match opened.verify() {
            Ok(verified) => {
                let hu = verified.session_key.hu.expose();
                let id = secret.map(|secret| secret.pseudonym(Label::Device, hu));
                ("confirmed".to_owned(), id)
            }
            Err(error) => (error.to_string(), None),
        };
        Ok(json!({"integrity": integrity, "device_id": device_id, "spc": explained}))
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
    pub async fn viewer(
        &self,
        drm: &'static str,
        request_id: &str,
        tokens: &token::Found,
    ) -> Result<Viewer<'_>, Error> {
        let mut audit = Audit::of(drm, self.platform.now(), request_id);
        let result = match self.admit(drm, tokens, audit.time).await {
            Ok(viewer) => {
                audit.subject.clone_from(&viewer.subject);
                viewer.check().map(|()| viewer)
            }
            Err(error) => Err(error),
        };
        if let Err(error) = &result {
            audit.refused(error);
            self.platform.log(&audit.line());
        }
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
    ) -> Result<Viewer<'_>, Error> {
        let secret = self.server_secret().await?;
        let accesses = self
            .policies()
            .await?
            .accept(tokens, drm, secret, &self.platform, now)
            .await?;
        let token = accesses.iter().find_map(|access| access.token.as_ref());
        let subject = token
            .and_then(|token| token.subject.as_deref())
            .zip(secret)
            .map(|(subject, secret)| secret.pseudonym(Label::Subject, subject.as_bytes()));
        Ok(Viewer { accesses, subject })
    }

    /// Answers an SPC for a viewer, and writes the audit record. `place` is asked only when the terms
    /// look at where the request comes from.
    ///
    /// # Errors
    /// [`Error`], which the audit record names by its code.
    pub async fn fairplay(
        &self,
        viewer: &Viewer<'_>,
        request: FairplayRequest<'_>,
        place: impl AsyncFnOnce() -> Result<Place, SettingsError>,
    ) -> Result<FairplayLicence, Error> {
        let mut audit = Audit::of(FAIRPLAY, self.platform.now(), request.id);
        audit.subject.clone_from(&viewer.subject);
        let result = self
            .decide_fairplay(viewer, request, place, &mut audit)
            .await;
        if let Err(error) = &result {
            audit.refused(error);
        }
        self.platform.log(&audit.line());
        result
    }

    /// The key record that an asset id reaches. A viewer's token may bring its keys along; those of the
    /// server need not even be there then.
    ///
    /// # Errors
    /// [`Error::KeyNotFound`] and [`Error::Settings`].
    pub async fn key_for<'a>(
        &'a self,
        viewer: &'a Viewer<'_>,
        id: &Id,
    ) -> Result<&'a ContentKey, Error> {
        let mut tokens = viewer.accesses.iter().filter_map(|a| a.token.as_ref());
        match tokens.find_map(|token| token.content_keys.as_ref()?.find(id)) {
            Some(key) => Ok(key),
            None => {
                let keys = self.content_keys().await?;
                keys.find(id).ok_or(Error::KeyNotFound)
            }
        }
    }

    /// The terms for a key before a back end is asked: those of the viewer's access, the key record's
    /// and [`Self::rules`].
    ///
    /// # Errors
    /// [`Error::Entitlement`] and [`Error::Settings`].
    pub async fn fairplay_terms(
        &self,
        access: &Access<'_>,
        key: &ContentKey,
    ) -> Result<Terms, Error> {
        let rules = self.rules().await?;
        Ok(access
            .terms_for(key)?
            .and(key.terms.for_track(key.track)?)
            .and(rules.terms.for_track(key.track)?))
    }

    async fn decide_fairplay(
        &self,
        viewer: &Viewer<'_>,
        request: FairplayRequest<'_>,
        place: impl AsyncFnOnce() -> Result<Place, SettingsError>,
        audit: &mut Audit<'_>,
    ) -> Result<FairplayLicence, Error> {
        let now = audit.time;
        let mut rng = Random(&self.platform);

        let secret = self.server_secret().await?;
        let credentials = self.credentials().await?.ok_or(Error::FairplayOff)?;
        let spc = ksm::open(request.spc, credentials, &mut rng)?;
        let device_id =
            secret.map(|secret| secret.pseudonym(Label::Device, spc.session_key.hu.expose()));
        let device_id = device_id.as_deref();
        audit.requested(&spc.opened, device_id);

        let sync = spc.opened.client.offline_sync.as_ref();
        let report = sync.and_then(Report::of);
        // A report of version 1 also comes with requests for a licence.
        let report = match (request.purpose, report) {
            (Purpose::CheckIn, None) => return Err(fairplay::Error::NoReport.into()),
            (Purpose::Licence, Some(report)) if report.version == 1 => None,
            (_, report) => report,
        };
        if let Some(report) = report {
            let challenge = challenge::redeem(&self.platform, report.challenge, now).await?;
            let check_in = CheckIn {
                challenge,
                device_id: device_id.map(ToOwned::to_owned),
                report,
            };
            audit.check_in = Some(check_in.clone());
            return Ok(FairplayLicence::CheckedIn(check_in));
        }

        let id = Id::from_bytes(&spc.opened.asset_id);
        let key = self.key_for(viewer, &id).await?;
        audit.found(key);
        let access = viewer.access_to(key)?;
        audit.policy = access.option.map(|option| option.name.clone());
        let mut terms = self.fairplay_terms(access, key).await?;
        // Who stopped asks for nothing.
        let callback = access.callback().filter(|_| !ksm::is_stopped(&spc));
        if let Some((option, callback)) = callback {
            let question = Question {
                purpose: "licence",
                request_id: request.id,
                time: now,
                policy: &option.name,
                claims: access.claims(),
                drm: Some(FAIRPLAY),
                asset: Some(id.to_string()),
                key: Some(key.id.to_string()),
                device_class: Some(spc.opened.client.device_class().name()),
                device_id,
                wanted: None,
            };
            let more = callback.ask(&question, &self.platform).await?;
            terms = terms.and(more.for_track(key.track)?);
        }
        let granted = terms.granted_at(now)?;
        let limits = &granted.limits;
        if limits.concern_place() {
            limits.check_place(&place().await?)?;
        }
        if !limits.device_ids.is_empty() && device_id.is_none() {
            // Without a secret of its own, the server has no pseudonyms to compare.
            return Err(entitlement::Error::Unsupported("device_ids".to_owned()).into());
        }
        if ksm::is_stopped(&spc) {
            return Ok(FairplayLicence::Stopped);
        }
        let passes = self.rules().await?.unreported_passes;
        let answer = ksm::respond(&spc, key, &granted, device_id, passes, &mut rng)?;
        // Counted once nothing else can refuse, and before anything is sent.
        if let Some(limit) = limits.max_uses {
            let Some(token) = &access.token else {
                return Err(entitlement::Error::Unsupported("max_uses".to_owned()).into());
            };
            let claim = session::Claim {
                token: &token.identity,
                expires: token.accepted_until,
                device: &spc.session_key.hu,
                key: &key.id,
                limit,
                now,
            };
            audit.use_ = Some(claim.make(&self.platform).await?);
        }
        audit.granted(&granted);
        Ok(FairplayLicence::Ckc(Ckc::of(answer, &granted, now)))
    }
}

impl Ckc {
    fn of(answer: ksm::Answer, granted: &Granted, now: u64) -> Self {
        let duration = answer.duration.as_ref();
        let lease = duration.and_then(Duration::lease_seconds);
        let stored = duration.and_then(Duration::storage_seconds);
        let ends_in = lease
            .or(stored)
            .or_else(|| duration.and_then(Duration::rental_seconds));
        // A third is left for attempts that fail.
        let renew_after = |lease: u32| lease - lease / 3;
        Self {
            bytes: answer.ckc,
            expires_at: ends_in.map(|seconds| now.saturating_add(seconds.into())),
            renew_after: lease
                .filter(|lease| granted.remaining.is_none_or(|remaining| *lease < remaining))
                .map(renew_after),
            persistence_duration: stored,
        }
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
