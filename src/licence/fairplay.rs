//! A licence of a FairPlay device: from an SPC of a viewer to a CKC, or to its report.

use std::rc::Rc;

use serde::Serialize;
use serde_json::{Value, json};

use super::audit::Audit;
use super::sessions::Session;
use super::stream::SessionRequest;
use super::{Error, FAIRPLAY, LicenceServer, Principal};
use crate::configuration::SettingsError;
use crate::content_key::{ContentKey, KeyQuery};
use crate::entitlement::{self, ClientOrigin, Granted, Terms};
use crate::fairplay;
use crate::fairplay::check_in::Report;
use crate::fairplay::duration::Duration;
use crate::fairplay::inspect;
use crate::fairplay::ksm;
use crate::fairplay::spc::SpcContainer;
use crate::id::Id;
use crate::platform::{Platform, Random};
use crate::server_secret::Label;
use crate::session;
use crate::session::challenge;
use crate::token::Admission;
use crate::token::callback::Question;

/// What an SPC is sent for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A licence; a sync SPC is taken for a check-in all the same.
    Licence,
    /// A check-in.
    CheckIn,
}

/// What a player sends.
pub struct FairplayRequest<'a> {
    /// What it is sent for.
    pub purpose: Purpose,
    /// What logs and answers call the request.
    pub id: &'a str,
    /// The Server Playback Context.
    pub spc: &'a [u8],
    /// What it says of its session.
    pub session: SessionRequest<'a>,
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
    /// The session that the player has.
    pub session: Option<Session>,
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

impl<P: Platform> LicenceServer<P> {
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

    /// Answers an SPC for a principal, and writes the audit record. `place` is asked only when the terms
    /// look at where the request comes from.
    ///
    /// # Errors
    /// [`Error`], which the audit record names by its code.
    pub async fn fairplay(
        &self,
        principal: &Principal<'_>,
        request: FairplayRequest<'_>,
        place: impl AsyncFnOnce() -> Result<ClientOrigin, SettingsError>,
    ) -> Result<FairplayLicence, Error> {
        let mut audit = Audit::of(FAIRPLAY, self.platform.now(), request.id);
        audit.subject.clone_from(&principal.subject);
        let result = self
            .decide_fairplay(principal, request, place, &mut audit)
            .await;
        if let Err(error) = &result {
            audit.refused(error);
        }
        self.platform.log(&audit.line());
        result
    }

    /// The key record that an asset id reaches, by its whole or by the KID in it. A viewer's token may
    /// bring its keys along; those of the server need not even be there then.
    ///
    /// # Errors
    /// [`Error::KeyNotFound`] and [`Error::Settings`].
    pub async fn key_for(
        &self,
        principal: &Principal<'_>,
        query: &KeyQuery,
    ) -> Result<Rc<ContentKey>, Error> {
        let tokens = principal.admissions.iter();
        let mut brought =
            tokens.filter_map(|admission| admission.token.as_ref()?.content_keys.as_ref());
        match brought.find_map(|keys| keys.find(query)) {
            Some(key) => Ok(Rc::clone(key)),
            None => {
                let found = self.keys.find(query, &self.platform).await?;
                found.ok_or(Error::KeyNotFound)
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
        access: &Admission<'_>,
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
        principal: &Principal<'_>,
        request: FairplayRequest<'_>,
        place: impl AsyncFnOnce() -> Result<ClientOrigin, SettingsError>,
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
        let key = &self
            .key_for(principal, &KeyQuery::from_id(id.clone()))
            .await?;
        audit.found(key);
        let access = principal.admission_to(key)?;
        audit.policy = access.option.map(|option| option.name.clone());
        let mut terms = self.fairplay_terms(access, key).await?;
        let client = &spc.opened.client;
        if ksm::is_stopped(&spc) {
            // Who stopped asks for nothing: neither a date nor a place can refuse.
            let limits = &terms.limits;
            let stream = self.stream(
                principal,
                access,
                request.session,
                client,
                device_id,
                limits,
            );
            if let Some(stream) = stream.await? {
                self.stop_stream(&stream).await?;
            }
            return Ok(FairplayLicence::Stopped);
        }
        if let Some((option, callback)) = access.callback() {
            let question = Question {
                purpose: "licence",
                request_id: request.id,
                time: now,
                policy: &option.name,
                claims: access.claims(),
                drm: Some(FAIRPLAY),
                // A device may write what it likes around a KID.
                asset: key.names.contains(&id).then(|| id.to_string()),
                key: Some(key.id.to_string()),
                device_class: Some(client.device_class().name()),
                device_id,
                wanted: None,
            };
            let more = callback.ask(&question, &self.platform).await?;
            terms = terms.and(more.for_track(key.track)?);
        }
        let mut granted = terms.granted_at(now)?;
        let limits = &granted.limits;
        if limits.concern_origin() {
            limits.check_origin(&place().await?)?;
        }
        if !limits.device_ids.is_empty() && device_id.is_none() {
            // Without a secret of its own, the server has no pseudonyms to compare.
            return Err(entitlement::Error::Needs("device_ids", "`server_secret`").into());
        }
        let stream = self
            .stream(
                principal,
                access,
                request.session,
                client,
                device_id,
                limits,
            )
            .await?;
        if let Some(stream) = &stream {
            stream.clip(&mut granted, terms.has_lease(), now);
        }
        let answer = ksm::respond(&spc, key, &granted, device_id, &mut rng)?;
        // Counted once nothing else can refuse, and before anything is sent.
        let mut session = None;
        if let Some(stream) = &stream {
            let (decided, told) = self.count_stream(stream).await?;
            audit.session = Some(decided);
            session = told;
        }
        if let Some(limit) = granted.limits.max_uses {
            let Some(token) = &access.token else {
                return Err(entitlement::Error::Needs("max_uses", "a token").into());
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
        Ok(FairplayLicence::Ckc(Ckc {
            session,
            ..Ckc::of(answer, &granted, now)
        }))
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
            session: None,
        }
    }
}
