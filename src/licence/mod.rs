//! The use case: token → entitlement → key → DRM module → audit record. No HTTP in it.

mod audit;

use std::cell::OnceCell;
use std::future::Future;

use audit::Audit;
use serde::Serialize;
use serde_json::{Value, json};

use crate::content_key::ContentKeys;
use crate::entitlement::{self, Entitlement, Granted, Place};
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
use crate::token::{self, Acceptance, UntrustedToken, VerifiedToken};

/// What the audit calls FairPlay.
pub const FAIRPLAY: &str = "fairplay";

/// Why there is no licence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The token is not accepted.
    #[error(transparent)]
    Token(#[from] token::Error),
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
            Self::Session(_) | Self::KeyNotFound | Self::FairplayOff | Self::Settings(_) => None,
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

/// The bearer of a token that is accepted, and what it entitles to.
pub struct Viewer<'a> {
    token: VerifiedToken<'a>,
    entitlement: Entitlement,
    /// Pseudonym of the token's subject.
    subject: Option<String>,
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
    acceptance: OnceCell<Acceptance>,
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
            acceptance: OnceCell::new(),
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

    /// Which tokens are accepted.
    ///
    /// # Errors
    /// What is wrong with the `token_…` variables.
    pub async fn acceptance(&self) -> Result<&Acceptance, SettingsError> {
        once(&self.acceptance, Acceptance::load(&self.platform)).await
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
        UntrustedToken::parse(tokens.one(&self.platform).await??)?
            .verify(self.acceptance().await?, now)?;
        Ok(challenge::issue(&self.platform, now).await?)
    }

    /// Verifies the one token of a request. A refusal is written to the audit, as a decision of the
    /// DRM system that it was sent for.
    ///
    /// # Errors
    /// [`Error::Token`], [`Error::Entitlement`] and [`Error::Settings`].
    pub async fn viewer<'a>(
        &self,
        drm: &'static str,
        request_id: &str,
        tokens: &'a token::Found,
    ) -> Result<Viewer<'a>, Error> {
        let mut audit = Audit::of(drm, self.platform.now(), request_id);
        let result = self.verify(tokens, &mut audit).await;
        if let Err(error) = &result {
            audit.refused(error);
            self.platform.log(&audit.line());
        }
        result
    }

    async fn verify<'a>(
        &self,
        tokens: &'a token::Found,
        audit: &mut Audit<'_>,
    ) -> Result<Viewer<'a>, Error> {
        let token = UntrustedToken::parse(tokens.one(&self.platform).await??)?
            .verify(self.acceptance().await?, audit.time)?;
        let secret = self.server_secret().await?;
        audit.subject = token
            .subject()
            .zip(secret)
            .map(|(subject, secret)| secret.pseudonym(Label::Subject, subject.as_bytes()));
        Ok(Viewer {
            entitlement: token.entitlement()?,
            subject: audit.subject.clone(),
            token,
        })
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

        let content_keys = self.content_keys().await?;
        let key = content_keys
            .find(&Id::from_bytes(&spc.opened.asset_id))
            .ok_or(Error::KeyNotFound)?;
        audit.found(key);
        let rules = self.rules().await?;
        let terms = viewer
            .entitlement
            .terms_for(&key.names)?
            .for_track(key.track)?
            .and(key.terms.for_track(key.track)?)
            .and(rules.terms.for_track(key.track)?);
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
        let passes = rules.unreported_passes;
        let answer = ksm::respond(&spc, key, &granted, device_id, passes, &mut rng)?;
        // Counted once nothing else can refuse, and before anything is sent.
        if let Some(limit) = limits.max_uses {
            let claim = session::Claim {
                token: &viewer.token.identity(),
                expires: viewer.token.accepted_until(),
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
