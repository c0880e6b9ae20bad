//! Secure sessions: opened with a playback token, kept alive by heartbeats, ended by player or
//! operator.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::audit::{Audit, EndedAudit, SessionAudit};
use super::{Error, LicenceServer, pseudonym_of};
use crate::configuration::Configured;
use crate::content_key::KeyQuery;
use crate::drm::DrmSystem;
use crate::encoding;
use crate::entitlement::{self, Limits, MAX_STREAMS, StreamsFull};
use crate::id::Id;
use crate::platform::{Platform, once};
use crate::policy::Admission;
use crate::server_secret::{Label, ServerSecret};
use crate::session::{
    self, ActiveSession, Handovers, Opening, Period, SessionState, Sessions, Ticket,
};
use crate::token::{self};

/// What the audit calls sessions.
const SESSION: &str = "session";

/// A player's session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Session {
    /// Its id. It may change after the store failed.
    #[serde(rename = "session_id")]
    pub id: String,
    /// The token for the next request. The one before it stays valid for one more period.
    #[serde(rename = "session_token")]
    pub token: String,
    /// The time between two heartbeats, in seconds.
    pub heartbeat_seconds: u64,
    /// When the session lapses without a heartbeat, in seconds since 1970.
    pub expires_at: u64,
}

/// A session, for operators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Listed {
    /// Its id.
    #[serde(rename = "session_id")]
    pub id: String,
    /// The number of the viewer's slot that it holds.
    pub slot: u32,
    /// Pseudonym of the device, once it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    /// The token that opened it: 8 bytes of a SHA-256, in hexadecimal.
    pub token_id: String,
    /// When it was opened, in seconds since 1970.
    pub opened_at: u64,
    /// The last heartbeat, in seconds since 1970, rounded to a period.
    pub last_seen: u64,
    /// When it lapses without a heartbeat, in seconds since 1970.
    pub expires_at: u64,
}

/// A player's request for a session.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "SessionRequest"))]
pub struct OpenSessionRequest {
    /// The key that will be played: its terms apply. Without it the strictest terms of the token apply.
    key: Option<String>,
    /// The player's own name for the device. The same name gets the same session again.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 256)))]
    device: Option<String>,
}

/// The longest name of a device, in bytes.
const LONGEST_NAME: usize = 256;

impl<P: Platform> LicenceServer<P> {
    /// The periods of sessions.
    ///
    /// # Errors
    /// What is wrong with `session_period`.
    pub async fn session_period(&self) -> Result<Period, crate::configuration::SettingsError> {
        once(&self.session_period, Period::load(&self.platform))
            .await
            .copied()
    }

    /// How many immediate hand-overs a viewer has.
    ///
    /// # Errors
    /// What is wrong with `stream_handovers`.
    pub async fn stream_handovers(&self) -> Result<Handovers, crate::configuration::SettingsError> {
        once(&self.stream_handovers, Handovers::load(&self.platform))
            .await
            .copied()
    }

    /// Opens a session for the bearer of a token. `last`: the token of the session that the player had
    /// before, whose slot it gets back.
    ///
    /// # Errors
    /// [`Error::Token`] and [`Error::Entitlement`]; [`Error::SessionsOff`]; [`Error::Request`];
    /// [`Error::Session`] when there are as many as are allowed.
    pub async fn open_session(
        &self,
        system: DrmSystem,
        request_id: &str,
        tokens: &token::Found,
        last: Option<&str>,
        wanted: &Value,
    ) -> Result<Session, Error> {
        let mut audit = Audit::new(SESSION, self.platform.now(), request_id);
        let result = self
            .decide_session(system, tokens, last, wanted, &mut audit)
            .await;
        self.audited(audit, result)
    }

    async fn decide_session(
        &self,
        system: DrmSystem,
        tokens: &token::Found,
        last: Option<&str>,
        wanted: &Value,
        audit: &mut Audit<'_>,
    ) -> Result<Session, Error> {
        let principal = self.admit(system, tokens, audit.time).await?;
        audit.asked_by(&principal);
        principal.check()?;
        let wanted = match wanted {
            Value::Null => OpenSessionRequest::default(),
            wanted => encoding::from_value(wanted.clone()).map_err(|_| {
                Error::Request("a member is unknown or not text: there are `key` and `device`")
            })?,
        };
        let is_long = |name: &String| name.is_empty() || name.len() > LONGEST_NAME;
        if wanted.device.as_ref().is_some_and(is_long) {
            return Err(Error::Request("`device` has not 1 to 256 bytes"));
        }
        let (sessions, secret, _) = self.sessions().await?.ok_or(Error::SessionsOff)?;
        let subject = principal.subject_to_count()?;
        let (admission, limits) = match &wanted.key {
            Some(key) => {
                let id = Id::from_text(key).ok_or(Error::Request("`key` is no id of a key"))?;
                let query = KeyQuery::from_id(id);
                let key = &self.key_for(&principal, &query, system).await?;
                audit.found(0, key);
                let admission = principal.admission_to(key)?;
                let terms = self.terms_for(system, admission, key).await?;
                (admission, terms.granted_at(audit.time)?.limits)
            }
            None => {
                let admission = principal
                    .admissions
                    .first()
                    .ok_or(entitlement::Error::Missing)?;
                let limits = admission.limits()?;
                let own = self.modules.terms(system, &self.platform).await?;
                let limits = own
                    .iter()
                    .fold(limits, |limits, own| limits.and(&own.limits));
                (admission, limits)
            }
        };
        audit.policy = admission.option.map(|option| option.name.clone());
        let last = last.and_then(|last| Ticket::read(last, secret).ok());
        let last = last.filter(|last| last.subject == subject);
        let owner = match (&wanted.device, last) {
            (Some(name), _) => secret.pseudonym(Label::Session, format!("app/{name}").as_bytes()),
            (None, Some(last)) => last.owner,
            (None, None) => {
                let mut random = [0; 16];
                self.platform.fill_random(&mut random);
                hex::encode(random)
            }
        };
        let opening = Opening {
            subject,
            owner: &owner,
            device: None,
            playback: None,
            token: &token_id(admission),
            limit: limits.max_streams.unwrap_or(MAX_STREAMS),
            full: full(&limits),
            is_renewal: false,
        };
        let held = session::unless_allowed(
            sessions.open(&opening).await,
            sessions.unchecked(&opening),
            &self.platform,
        )
        .await?;
        audit.session = Some(SessionAudit::from_session(&held));
        self.session_response(&held, secret).await
    }

    /// Records that a session is alive. Only a refusal, and a state other than `continued`, are written
    /// to the audit.
    ///
    /// # Errors
    /// [`Error::Session`] for an invalid token, and for a session that lapsed or was ended.
    pub async fn heartbeat(
        &self,
        request_id: &str,
        id: Option<&str>,
        token: Option<&str>,
    ) -> Result<Session, Error> {
        let mut audit = Audit::new(SESSION, self.platform.now(), request_id);
        let result = self.decide_heartbeat(id, token, &mut audit).await;
        let unchecked = |decided: &SessionAudit| decided.state != SessionState::Continued;
        match &result {
            Ok(_) if !audit.session.as_ref().is_some_and(unchecked) => result,
            _ => self.audited(audit, result),
        }
    }

    async fn decide_heartbeat(
        &self,
        id: Option<&str>,
        token: Option<&str>,
        audit: &mut Audit<'_>,
    ) -> Result<Session, Error> {
        let (sessions, secret, ticket) = self.named_session(id, token, audit).await?;
        let held = session::unless_allowed(
            sessions.heartbeat(&ticket).await,
            sessions.unchecked_again(&ticket),
            &self.platform,
        )
        .await?;
        audit.session = Some(SessionAudit::from_session(&held));
        self.session_response(&held, secret).await
    }

    /// Ends a session. Ending it again does nothing.
    ///
    /// # Errors
    /// [`Error::Session`] for an invalid token, and when the store fails.
    pub async fn teardown(
        &self,
        request_id: &str,
        id: Option<&str>,
        token: Option<&str>,
    ) -> Result<(), Error> {
        let mut audit = Audit::new(SESSION, self.platform.now(), request_id);
        let result = self.decide_teardown(id, token, &mut audit).await;
        self.audited(audit, result)
    }

    async fn decide_teardown(
        &self,
        id: Option<&str>,
        token: Option<&str>,
        audit: &mut Audit<'_>,
    ) -> Result<(), Error> {
        let (sessions, _, ticket) = self.named_session(id, token, audit).await?;
        sessions.end(&ticket).await?;
        audit.session = Some(SessionAudit {
            id: ticket.id,
            state: SessionState::Ended,
            replaced: None,
        });
        Ok(())
    }

    /// The sessions of a principal, by his `sub`, for operators.
    ///
    /// # Errors
    /// [`Error::SessionsOff`]; [`Error::Session`] when the store fails.
    pub async fn list_sessions(&self, subject: &str) -> Result<Vec<Listed>, Error> {
        let (sessions, secret, period) = self.sessions().await?.ok_or(Error::SessionsOff)?;
        let mut live = Vec::new();
        for subject in self.pseudonyms_of(subject, secret).await? {
            live.extend(sessions.list(&subject).await?);
        }
        let listed = |(slot, record): (u32, session::Record)| Listed {
            expires_at: record.expires_at(period),
            id: record.id,
            slot,
            device_id: record.device,
            token_id: record.token,
            opened_at: record.opened,
            last_seen: record.seen,
        };
        Ok(live.into_iter().map(listed).collect())
    }

    /// Ends the sessions of a principal, by his `sub`, or one of them. Without a `sub`, ends every session.
    /// Returns how many were ended.
    ///
    /// # Errors
    /// [`Error::SessionsOff`]; [`Error::Session`] when the store fails.
    pub async fn end_sessions(
        &self,
        request_id: &str,
        subject: Option<&str>,
        id: Option<&str>,
    ) -> Result<usize, Error> {
        let mut audit = Audit::new(SESSION, self.platform.now(), request_id);
        let result = self.decide_ends(subject, id, &mut audit).await;
        self.audited(audit, result)
    }

    async fn decide_ends(
        &self,
        subject: Option<&str>,
        id: Option<&str>,
        audit: &mut Audit<'_>,
    ) -> Result<usize, Error> {
        let (sessions, secret, _) = self.sessions().await?.ok_or(Error::SessionsOff)?;
        let Some(subject) = subject else {
            let ended = sessions.end_all().await?;
            audit.ended = Some(EndedAudit::from_sessions(&ended));
            return Ok(ended.len());
        };
        let subjects = self.pseudonyms_of(subject, secret).await?;
        if let [subject] = subjects.as_slice() {
            audit.subject = Some(subject.clone());
        }
        audit.session = id.map(|id| SessionAudit {
            id: id.to_owned(),
            state: SessionState::Ended,
            replaced: None,
        });
        let mut ended = Vec::new();
        for subject in subjects {
            ended.extend(sessions.end_of_subject(&subject, id).await?);
        }
        audit.ended = Some(EndedAudit::from_sessions(&ended));
        Ok(ended.len())
    }

    /// The pseudonyms of a `sub`: one for each issuer that may have such a viewer.
    async fn pseudonyms_of(
        &self,
        subject: &str,
        secret: &ServerSecret,
    ) -> Result<Vec<String>, Error> {
        let scopes = self.policies().await?.scopes().into_iter();
        Ok(scopes
            .map(|scope| pseudonym_of(scope, subject, secret))
            .collect())
    }

    /// Sessions, their secret and their periods; `None` without the secret.
    pub(super) async fn sessions(
        &self,
    ) -> Result<Option<(Sessions<'_, Configured<P>>, &ServerSecret, Period)>, Error> {
        let Some(secret) = self.server_secret().await? else {
            return Ok(None);
        };
        let period = self.session_period().await?;
        let handovers = self.stream_handovers().await?;
        let sessions = Sessions::new(&self.platform, secret, period, handovers);
        Ok(Some((sessions, secret, period)))
    }

    async fn named_session(
        &self,
        id: Option<&str>,
        token: Option<&str>,
        audit: &mut Audit<'_>,
    ) -> Result<(Sessions<'_, Configured<P>>, &ServerSecret, Ticket), Error> {
        let (sessions, secret, _) = self.sessions().await?.ok_or(Error::SessionsOff)?;
        let token = token.ok_or(Error::SessionMissing)?;
        let ticket = Ticket::read(token, secret)?;
        if id.is_some_and(|id| id != ticket.id) {
            return Err(session::Error::Token.into());
        }
        audit.subject = Some(ticket.subject.clone());
        Ok((sessions, secret, ticket))
    }

    /// What a player receives.
    pub(super) async fn session_response(
        &self,
        held: &ActiveSession,
        secret: &ServerSecret,
    ) -> Result<Session, Error> {
        let period = self.session_period().await?;
        Ok(Session {
            id: held.ticket.id.clone(),
            token: held.ticket.write(secret),
            heartbeat_seconds: period.heartbeat_seconds(),
            expires_at: period.plays_until(held.ticket.renewed),
        })
    }
}

/// What happens when the limit is reached, with the default.
pub(super) fn full(limits: &Limits) -> StreamsFull {
    limits.streams_full.unwrap_or(StreamsFull::RefuseNew)
}

/// The id of a token in lists: the beginning of its SHA-256.
pub(super) fn token_id(admission: &Admission<'_>) -> String {
    let identity = admission
        .token
        .as_ref()
        .map(|token| token.identity.as_slice());
    let digest = Sha256::digest(identity.unwrap_or_default());
    hex::encode(digest.split_at(8).0)
}
