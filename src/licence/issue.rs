//! The pipeline of a licence, the same for every DRM system: open, keys, terms, back end, enforce, streams,
//! seal, count.
//!
//! Nothing that costs much and nothing that changes state happens before both the token and the
//! request are verified. What counts is counted once nothing else can refuse, and before anything is
//! sent.

use std::collections::BTreeSet;
use std::rc::Rc;

use serde::Serialize;
use serde_json::json;

use super::audit::Audit;
use super::renewal::RenewalTicket;
use super::sessions::Session;
use super::stream::SessionRequest;
use super::{Error, LicenceServer, Principal};
use crate::configuration::SettingsError;
use crate::content_key::{ContentKey, Found, KeyQuery, KeyRecord, none_configured};
use crate::drm::{Device, DrmSystem, GrantedKey, Intent, KeyHolder, Module, Purpose, Sealed};
use crate::entitlement::{self, ClientOrigin, Granted, Limits, Terms, Track, min_some};
use crate::id::Id;
use crate::platform::Platform;
use crate::policy::Admission;
use crate::policy::callback::Question;
use crate::server_secret::Label;
use crate::session;
use crate::session::{abuse, challenge};
use crate::token;

/// What a player sends.
pub struct LicenseRequest<'a> {
    /// What the route is for.
    pub purpose: Purpose,
    /// The request's id in logs and answers.
    pub id: &'a str,
    /// The message of the DRM system, such as an SPC.
    pub message: &'a [u8],
    /// The keys that the player names beside the message. They count where the message names none.
    pub keys: &'a [KeyQuery],
    /// What the player states about its session.
    pub session: SessionRequest<'a>,
    /// How its licence is renewed.
    pub renewal: Renewal<'a>,
}

/// How a licence is renewed by a player that has no token any more at that time.
#[derive(Clone, Copy, Default)]
pub enum Renewal<'a> {
    /// It is not: the player needs a token again.
    #[default]
    ByPlayer,
    /// By a URL in the licence, which stands for these tokens.
    ByUrl(&'a token::Found),
    /// The request is such a renewal.
    Ticket(&'a RenewalTicket),
}

/// What a player gets.
#[derive(Debug, PartialEq, Eq)]
pub enum Issued<R> {
    /// A licence.
    License(License),
    /// Nothing: the player reported that playback stopped.
    Stopped,
    /// The device reported what it has stored.
    CheckedIn(CheckIn<R>),
}

/// A licence, and what an app needs to know about it, since it cannot open it.
#[derive(Debug, PartialEq, Eq)]
pub struct License {
    /// The message for the device, such as a CKC.
    pub message: Vec<u8>,
    /// When playback stops, or may no longer start, unless the licence is renewed, in seconds since 1970.
    pub expires_at: Option<u64>,
    /// When to ask for a renewal, in seconds from now. `None` where a renewal would not prolong it.
    pub renew_after: Option<u32>,
    /// How long the key may be stored before it is played, in seconds.
    pub persistence_duration: Option<u32>,
    /// The session that the player keeps.
    pub session: Option<Session>,
}

/// A check-in: what the device reports, and whether it answers a challenge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "CheckIn"))]
pub struct CheckIn<R> {
    /// Whether it answers a challenge.
    pub challenge: challenge::Answer,
    /// Pseudonym of the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    /// What the device reports.
    #[serde(flatten)]
    pub report: R,
}

/// A key that the principal may have, and its terms before time, origin and device are checked.
struct PermittedKey<'a> {
    /// The index of its query in the request.
    index: usize,
    key: LicensedKey,
    admission: &'a Admission<'a>,
    terms: Terms,
}

/// A key that a licence may carry.
enum LicensedKey {
    /// This server has it.
    Here(Rc<ContentKey>),
    /// The licence service of the system has it.
    Service(Box<KeyRecord>),
}

impl LicensedKey {
    fn record(&self) -> &KeyRecord {
        match self {
            Self::Here(key) => key,
            Self::Service(record) => record,
        }
    }

    fn granted<'a>(&'a self, granted: &'a Granted) -> GrantedKey<'a> {
        GrantedKey {
            record: self.record(),
            key: match self {
                Self::Here(key) => Some(key),
                Self::Service(_) => None,
            },
            granted,
        }
    }
}

impl<P: Platform> LicenceServer<P> {
    /// Answers the request of a principal with a licence of a DRM system, and writes the audit record.
    /// `origin` is asked only when the terms look at where the request comes from.
    ///
    /// Of several keys, those that are refused are left out. When all are refused, the first refusal is
    /// the answer.
    ///
    /// # Errors
    /// [`Error`], which the audit record names by its code.
    pub async fn issue<M: Module>(
        &self,
        module: &M,
        principal: &Principal<'_>,
        request: LicenseRequest<'_>,
        origin: impl AsyncFn() -> Result<ClientOrigin, SettingsError>,
    ) -> Result<Issued<M::Report>, Error> {
        let mut audit = Audit::for_system(M::SYSTEM, self.platform.now(), request.id);
        audit.asked_by(principal);
        let result = self
            .decide(module, principal, request, origin, &mut audit)
            .await;
        self.audited(audit, result)
    }

    async fn decide<M: Module>(
        &self,
        module: &M,
        principal: &Principal<'_>,
        request: LicenseRequest<'_>,
        origin: impl AsyncFn() -> Result<ClientOrigin, SettingsError>,
        audit: &mut Audit<'_>,
    ) -> Result<Issued<M::Report>, Error> {
        let now = audit.time;
        let secret = self.server_secret().await?;
        let opened = module.open(request.message, &self.platform).await?;
        let asked = module.request(&opened, request.purpose);
        let details = module.audit_details(&opened);
        audit.details = details.record;
        let mut asked = asked?;
        let pseudonym = |device: &Device<'_>| match device.identifier {
            [] => None,
            identifier => Some(secret?.pseudonym(Label::Device, identifier)),
        };
        let mut device_id = pseudonym(&asked.device);
        if let Renewal::Ticket(ticket) = request.renewal {
            ticket.check(M::SYSTEM, &asked)?;
            device_id.clone_from(&ticket.device);
        }
        audit.requested(&asked, device_id.as_deref(), details.device);

        if let Intent::Report(challenge) = asked.intent
            && let Some(report) = module.report(&opened)
        {
            let check_in = CheckIn {
                challenge: challenge::redeem(&self.platform, challenge, now).await?,
                device_id,
                report,
            };
            audit.details.push(("check_in", json!(check_in)));
            return Ok(Issued::CheckedIn(check_in));
        }

        if asked.intent == Intent::Release {
            // It takes rights away and gives none.
            let answer = module.seal(&opened, &[], None, &self.platform).await?;
            return Ok(Issued::License(License::new(answer, None, now)));
        }
        // A ticket is good for the keys of its licence, whatever the message names.
        if matches!(request.renewal, Renewal::Ticket(_)) || asked.keys.is_empty() {
            asked.keys = request.keys.to_vec();
        }
        if asked.keys.is_empty() {
            return Err(Error::Request("it names no key: add `?kid=` to the URL"));
        }

        let mut refusals = Refusals::default();
        let mut permitted = Vec::with_capacity(asked.keys.len());
        // The queries of which it is not known what kind of track they are for.
        let mut of_any_track = Vec::new();
        for (index, query) in asked.keys.iter().enumerate() {
            let keys = match asked.holder {
                KeyHolder::Here => self
                    .key_for(principal, query, M::SYSTEM)
                    .await
                    .map(|key| vec![LicensedKey::Here(key)]),
                KeyHolder::Service => {
                    self.service_keys(principal, query, M::SYSTEM, M::CHOOSES_TRACKS)
                        .await
                }
            };
            let keys = match keys {
                Ok(keys) => keys,
                Err(error) => {
                    refusals.add(index, error, audit)?;
                    continue;
                }
            };
            if keys.len() > 1 {
                of_any_track.push(index);
            }
            for key in keys {
                let admitted = async {
                    let admission = principal.admission_to(key.record())?;
                    let terms = self.terms_for(M::SYSTEM, admission, key.record());
                    Ok((admission, terms.await?))
                };
                match admitted.await {
                    Ok((admission, terms)) => {
                        audit.found(index, key.record());
                        permitted.push(PermittedKey {
                            index,
                            key,
                            admission,
                            terms,
                        });
                    }
                    Err(error) => refusals.add(index, error, audit)?,
                }
            }
        }
        let admission = match permitted.first() {
            Some(first) => first.admission,
            None => return Err(refusals.into_error()),
        };
        audit.policy = admission.option.map(|option| option.name.clone());
        let limits = all_limits(permitted.iter().map(|key| &key.terms.limits));
        if asked.intent == Intent::Stopped {
            // A player that stopped gets nothing, so neither a date nor a place can refuse it.
            let stream = self.stream(
                principal,
                admission,
                request.session,
                &asked,
                device_id.as_deref(),
                &limits,
            );
            if let Some(stream) = stream.await? {
                self.stop_stream(&stream).await?;
            }
            return Ok(Issued::Stopped);
        }
        if device_id.is_none() && module.identify(&opened, &limits, &self.platform).await? {
            asked.device = module.request(&opened, request.purpose)?.device;
            device_id = pseudonym(&asked.device);
            let details = module.audit_details(&opened).device;
            audit.identified(&asked.device, device_id.as_deref(), details);
        }

        let mut granted_keys = Vec::with_capacity(permitted.len());
        for permitted in permitted {
            let index = permitted.index;
            let granted = async {
                let record = permitted.key.record();
                let terms = match permitted.admission.callback() {
                    Some((option, callback)) => {
                        let query = asked.keys.get(index).map(KeyQuery::id);
                        let question = Question {
                            purpose: "licence",
                            request_id: request.id,
                            time: now,
                            policy: &option.name,
                            claims: permitted.admission.claims(),
                            drm: Some(M::SYSTEM.name()),
                            // A device may put any text around a KID.
                            asset: query.filter(|id| record.is_named(id)).map(Id::to_string),
                            key: Some(record.id.to_string()),
                            device_class: Some(asked.device.class.name()),
                            device_id: device_id.as_deref(),
                            keys: &[],
                            wanted: None,
                        };
                        let more = callback.ask(&question, &self.platform).await?;
                        permitted.terms.and(more.for_track(record.track)?)
                    }
                    None => permitted.terms.clone(),
                };
                Ok(terms.granted_at(now)?)
            };
            match granted.await {
                Ok(granted) => granted_keys.push((permitted, granted)),
                Err(error) => refusals.add(index, error, audit)?,
            }
        }
        // A back end may have named the device.
        let limits = all_limits(granted_keys.iter().map(|(_, granted)| &granted.limits));
        if device_id.is_none() && module.identify(&opened, &limits, &self.platform).await? {
            asked.device = module.request(&opened, request.purpose)?.device;
            device_id = pseudonym(&asked.device);
            let details = module.audit_details(&opened).device;
            audit.identified(&asked.device, device_id.as_deref(), details);
        }
        let mut enforced = Vec::with_capacity(granted_keys.len());
        for (permitted, granted) in granted_keys {
            let PermittedKey {
                index,
                key,
                admission,
                ..
            } = permitted;
            let checked = async {
                let limits = &granted.limits;
                check_limits(limits, secret.is_some(), &origin).await?;
                if limits.max_streams.is_some() && !admission.is_subject_certain(key.record()) {
                    let needs = "a token that shows where its viewer ends and its key begins";
                    return Err(entitlement::Error::Needs("max_streams", needs).into());
                }
                module.enforce(&key.granted(&granted), &opened, device_id.as_deref())?;
                Ok(())
            };
            match checked.await {
                Ok(()) => enforced.push((index, key, granted)),
                Err(error) => refusals.add(index, error, audit)?,
            }
        }
        if !M::CHOOSES_TRACKS {
            enforced.retain(|(index, ..)| !refusals.queries.contains(index));
        } else if asked.holder == KeyHolder::Service {
            // The service is told kinds of track, and not which key is meant: what one key may not have, none may.
            let has = |index: usize, track: Track| {
                let mut keys = enforced.iter();
                keys.any(|(of, key, _)| *of == index && key.record().track == Some(track))
            };
            let denied: Vec<Track> = { Track::ALL.into_iter() }
                .filter(|track| of_any_track.iter().any(|index| !has(*index, *track)))
                .collect();
            enforced.retain(|(_, key, _)| {
                !{ key.record().track }.is_some_and(|track| denied.contains(&track))
            });
            let is_left = |index: usize| enforced.iter().any(|(of, ..)| *of == index);
            if !(0..asked.keys.len()).all(is_left) {
                return Err(refusals.into_error());
            }
        }
        let granted_keys = enforced.into_iter();
        let mut granted_keys: Vec<_> = granted_keys
            .map(|(_, key, granted)| (key, granted))
            .collect();
        if granted_keys.is_empty() {
            return Err(refusals.into_error());
        }

        if let Some(abuse) = self.abuse().await? {
            let asking = abuse::Request {
                token: { admission.token.as_ref() }.map(|token| token.identity.as_slice()),
                subject: principal.subject.as_deref(),
                device: device_id.as_deref(),
                origin: match abuse.concerns_origin() {
                    true => origin().await?,
                    false => ClientOrigin::default(),
                },
                secret,
                now,
            };
            audit.signals = abuse.count(&asking, &self.platform).await?;
        }
        let limits = all_limits(granted_keys.iter().map(|(_, granted)| &granted.limits));
        let stream = self
            .stream(
                principal,
                admission,
                request.session,
                &asked,
                device_id.as_deref(),
                &limits,
            )
            .await?;
        if let Some(stream) = &stream {
            for (_, granted) in &mut granted_keys {
                stream.clip(granted, now);
            }
        }
        let sealed: Vec<GrantedKey<'_>> = granted_keys
            .iter()
            .map(|(key, granted)| key.granted(granted))
            .collect();
        let renewal_url = match M::HAS_RENEWAL_URL && sealed.iter().any(GrantedKey::is_renewable) {
            true => {
                self.renewal_url(M::SYSTEM, &request, &asked, device_id.as_deref())
                    .await?
            }
            false => None,
        };
        let sealed = module
            .seal(&opened, &sealed, renewal_url.as_deref(), &self.platform)
            .await?;

        let mut session = None;
        if let Some(stream) = &stream {
            let (counted, response) = self.count_stream(stream).await?;
            audit.session = Some(counted);
            session = response;
        }
        // A renewal by a URL of the licence is no further use.
        if let Some(limit) = limits.max_uses
            && !matches!(request.renewal, Renewal::Ticket(_))
        {
            let Some(token) = &admission.token else {
                return Err(entitlement::Error::Needs("max_uses", "a token").into());
            };
            let ids: Vec<String> = granted_keys
                .iter()
                .map(|(key, _)| key.record().id.to_string())
                .collect();
            let claim = session::Claim {
                token: &token.identity,
                expires: token.accepted_until,
                // Without one, the challenge: a device sends the same one again when no answer comes.
                device: match asked.device.identifier {
                    [] => asked.license_session.unwrap_or_default(),
                    identifier => identifier,
                },
                keys: &ids.join("\n"),
                limit,
                repeats: M::REPEATS,
                now,
            };
            audit.use_ = Some(claim.make(&self.platform).await?);
        }
        if let Some((_, granted)) = granted_keys.first() {
            audit.granted(granted);
        }
        let ends = granted_keys.iter().map(|(_, granted)| granted.remaining);
        Ok(Issued::License(License {
            session,
            ..License::new(sealed, ends.fold(None, min_some), now)
        }))
    }

    /// The keys that the licence service of a system has for a query: the one that this server has a record of, else one
    /// for each kind of track.
    async fn service_keys(
        &self,
        principal: &Principal<'_>,
        query: &KeyQuery,
        system: DrmSystem,
        chooses_tracks: bool,
    ) -> Result<Vec<LicensedKey>, Error> {
        let service = |record| LicensedKey::Service(Box::new(record));
        let of_each_track = |record: &KeyRecord| {
            let of_track = |track| KeyRecord {
                track: Some(track),
                ..record.clone()
            };
            Track::ALL.map(of_track).map(service).into()
        };
        match self.found_key(principal, query).await? {
            // A service that is told kinds of track is told them of a key for all of them, too.
            Found::Key(key) if key.is_for(system) => match key.track {
                None if chooses_tracks => Ok(of_each_track(&key.record)),
                _ => Ok(vec![service(key.record.clone())]),
            },
            Found::Key(_) => Err(Error::KeySystem(system)),
            Found::Deleted => Err(Error::KeyNotFound),
            Found::NotHere | Found::Off => Ok(of_each_track(&KeyRecord::of_query(query))),
        }
    }

    /// The key record that a query reaches, which must allow the DRM system. Where this server has no key of the id, the
    /// operator's rules say which key it is; where it has none of that either, the key server is asked.
    ///
    /// # Errors
    /// [`Error::KeyNotFound`], [`Error::KeySystem`], [`Error::Key`] and [`Error::Settings`].
    pub async fn key_for(
        &self,
        principal: &Principal<'_>,
        query: &KeyQuery,
        system: DrmSystem,
    ) -> Result<Rc<ContentKey>, Error> {
        let key = match self.found_key(principal, query).await? {
            Found::Key(key) => key,
            Found::Deleted | Found::NotHere => return Err(Error::KeyNotFound),
            Found::Off => return Err(none_configured().into()),
        };
        if key.is_for(system) {
            Ok(key)
        } else {
            Err(Error::KeySystem(system))
        }
    }

    async fn found_key(&self, principal: &Principal<'_>, query: &KeyQuery) -> Result<Found, Error> {
        let mut found = self.known_key(principal, query).await?;
        if found.is_open() {
            // A host may fetch each variable from elsewhere, so the rules are read only when they are needed.
            let other = self.skd_rules().await?.read(query);
            if let Some(other) = &other {
                found = found.or(self.known_key(principal, other).await?);
            }
            if found.is_open() {
                let query = other.as_ref().unwrap_or(query);
                found = found.or(self.keys.fetch(query, &self.platform).await?);
            }
        }
        Ok(found)
    }

    /// The key of a query, without asking another server. A token may bring its keys along. The terms of the server's own
    /// record for such a key apply too; records need not be configured.
    async fn known_key(&self, principal: &Principal<'_>, query: &KeyQuery) -> Result<Found, Error> {
        let tokens = principal.admissions.iter();
        let mut brought =
            tokens.filter_map(|admission| admission.token.as_ref()?.content_keys.as_ref());
        let Some(key) = brought.find_map(|keys| keys.find(query)) else {
            return Ok(self.keys.find(query, &self.platform).await?);
        };
        let own = self.keys.find_record(query, &self.platform).await?;
        Ok(match own {
            Found::Deleted => Found::Deleted,
            Found::Key(own) => Found::Key(Rc::new(key.under(&own))),
            Found::NotHere | Found::Off => Found::Key(Rc::clone(key)),
        })
    }

    /// The terms for a key before a back end is asked: those of the admission, of the key record, and of the
    /// deployment for the DRM system.
    ///
    /// # Errors
    /// [`Error::Entitlement`] and [`Error::Settings`].
    pub async fn terms_for(
        &self,
        system: DrmSystem,
        admission: &Admission<'_>,
        key: &KeyRecord,
    ) -> Result<Terms, Error> {
        let terms = admission
            .terms_for(key)?
            .and(key.terms.for_track(key.track)?);
        match self.modules.terms(system, &self.platform).await? {
            Some(own) => Ok(terms.and(own.for_track(key.track)?)),
            None => Ok(terms),
        }
    }
}

/// Checks the request against the limits that are the same for every system. Uses and streams are counted
/// later.
async fn check_limits(
    limits: &Limits,
    has_secret: bool,
    origin: &impl AsyncFn() -> Result<ClientOrigin, SettingsError>,
) -> Result<(), Error> {
    if limits.concern_origin() {
        limits.check_origin(&origin().await?)?;
    }
    if !limits.device_ids.is_empty() && !has_secret {
        // Without a secret of its own, the server has no pseudonyms to compare.
        return Err(entitlement::Error::Needs("device_ids", "`server_secret`").into());
    }
    Ok(())
}

/// The refusals of single keys.
#[derive(Default)]
struct Refusals {
    first: Option<Error>,
    /// The queries of which a key was refused, by their places in the request.
    queries: BTreeSet<usize>,
}

impl Refusals {
    /// Keeps the first refusal of a key. What refuses every key is returned at once.
    fn add(&mut self, index: usize, error: Error, audit: &mut Audit<'_>) -> Result<(), Error> {
        if !error.is_of_one_key() {
            return Err(error);
        }
        audit.refused_key(index, error.code());
        self.queries.insert(index);
        self.first.get_or_insert(error);
        Ok(())
    }

    fn into_error(self) -> Error {
        self.first.unwrap_or(Error::KeyNotFound)
    }
}

impl License {
    fn new(sealed: Sealed, remaining: Option<u32>, now: u64) -> Self {
        let Sealed {
            message,
            lease_seconds,
            rental_seconds,
            storage_seconds,
        } = sealed;
        let ends_in = lease_seconds.or(storage_seconds).or(rental_seconds);
        // A third of the lease is left for attempts that fail.
        let renew_after = |lease: u32| lease - lease / 3;
        let is_prolonged = |lease: &u32| remaining.is_none_or(|remaining| *lease < remaining);
        Self {
            message,
            expires_at: ends_in.map(|seconds| now.saturating_add(seconds.into())),
            renew_after: lease_seconds.filter(is_prolonged).map(renew_after),
            persistence_duration: storage_seconds,
            session: None,
        }
    }
}

/// The limits of several keys together.
fn all_limits<'a>(each: impl Iterator<Item = &'a Limits>) -> Limits {
    each.fold(Limits::default(), Limits::and)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use http::HeaderMap;
    use serde_json::Value;

    use super::*;
    use crate::drm::{self, AuditDetails, Details};
    use crate::entitlement::DeviceClass;
    use crate::error::Code;
    use crate::platform::test_host::TestHost;

    /// A system whose message is a list of asset ids between commas, and whose licence names the keys.
    #[derive(Default)]
    struct Toy(Terms);

    impl Module for Toy {
        const SYSTEM: DrmSystem = DrmSystem::Widevine;

        type Opened<'m> = Vec<String>;

        type Report = ();

        async fn terms(&self, _: &impl Platform) -> Result<&Terms, SettingsError> {
            Ok(&self.0)
        }

        async fn open(&self, message: &[u8], _: &impl Platform) -> Result<Vec<String>, drm::Error> {
            let text = String::from_utf8_lossy(message);
            Ok(text.split(',').map(ToOwned::to_owned).collect())
        }

        fn audit_details(&self, opened: &Vec<String>) -> AuditDetails {
            AuditDetails {
                record: vec![("asked", opened.len().into())],
                device: vec![("model", "toy".into())],
            }
        }

        fn request<'o>(
            &self,
            opened: &'o Vec<String>,
            _: Purpose,
        ) -> Result<drm::Request<'o>, drm::Error> {
            let id = |asset: &String| KeyQuery::from_id(Id::from_bytes(asset.as_bytes()));
            Ok(drm::Request {
                keys: opened.iter().map(id).collect(),
                holder: KeyHolder::Here,
                intent: Intent::License,
                license_session: None,
                device: Device {
                    identifier: b"a device",
                    class: DeviceClass::Unknown,
                    os: None,
                    playback: None,
                    is_remote_output: false,
                },
            })
        }

        fn report(&self, _: &Vec<String>) -> Option<()> {
            None
        }

        fn enforce(
            &self,
            key: &GrantedKey<'_>,
            _: &Vec<String>,
            _: Option<&str>,
        ) -> Result<(), drm::Error> {
            match key.granted.limits.hdcp {
                None => Ok(()),
                Some(_) => Err(drm::Error::Refused {
                    code: Code::DEVICE_HDCP_UNSUPPORTED,
                    reason: "a toy has no HDCP".to_owned(),
                    is_public: true,
                    details: Details::new(),
                }),
            }
        }

        async fn seal(
            &self,
            _: &Self::Opened<'_>,
            keys: &[GrantedKey<'_>],
            _: Option<&str>,
            _: &impl Platform,
        ) -> Result<Sealed, drm::Error> {
            let ids: Vec<String> = keys.iter().map(|key| key.record.id.to_string()).collect();
            Ok(Sealed {
                message: ids.join(",").into_bytes(),
                lease_seconds: None,
                rental_seconds: None,
                storage_seconds: None,
            })
        }
    }

    /// A server with the keys `a` to `c`, where `a` needs HDCP and `c` is for Clear Key alone, and one
    /// open policy with these terms.
    fn server(terms: &Value) -> LicenceServer<TestHost> {
        let key = "00112233445566778899aabbccddeeff";
        let keys = json!([
            {"id": "a", "key": key, "systems": ["widevine"], "terms": {"hdcp": "type0"}},
            {"id": "b", "key": key, "systems": ["widevine"]},
            {"id": "c", "key": key, "systems": ["clearkey"]},
        ]);
        let policies = json!([{"name": "open", "restriction": "open", "terms": terms}]);
        let variables = [("content_keys", keys), ("policies", policies)];
        let variables = variables.map(|(name, value)| (name, value.to_string()));
        LicenceServer::new(TestHost::new(variables))
    }

    fn issue(server: &LicenceServer<TestHost>, message: &str) -> Result<String, &'static str> {
        let issued = async {
            let tokens = token::locate(&HeaderMap::new(), None, None);
            let principal = server
                .authenticate(DrmSystem::Widevine, "r", &tokens)
                .await?;
            let request = LicenseRequest {
                purpose: Purpose::License,
                id: "r",
                message: message.as_bytes(),
                keys: &[],
                session: SessionRequest::default(),
                renewal: Renewal::ByPlayer,
            };
            let origin = async || Ok(ClientOrigin::default());
            server
                .issue(&Toy::default(), &principal, request, origin)
                .await
        };
        match issued.now_or_never().unwrap() {
            Ok(Issued::License(license)) => Ok(String::from_utf8(license.message).unwrap()),
            Ok(_) => Err("no licence"),
            Err(error) => Err(error.code().name),
        }
    }

    #[test]
    fn of_several_keys_those_that_may_be_had_are_in_the_licence() {
        let server = server(&json!({}));
        assert_eq!(issue(&server, "a,b,c,d"), Ok("b".to_owned()));
        let record: Value =
            serde_json::from_str(&server.platform().host().log.borrow()[0]).unwrap();
        assert_eq!(
            (&record["code"], &record["asset"]),
            (&json!("ok"), &json!("a"))
        );
        assert_eq!(
            record["keys"],
            json!([
                {"asset": "a", "key": "a", "code": "device_hdcp_unsupported"},
                {"asset": "b", "key": "b", "code": "ok"},
                {"asset": "c", "code": "key_system_not_allowed"},
                {"asset": "d", "code": "key_not_found"},
            ])
        );
        // The members that the system adds are beside the others.
        assert_eq!(
            (&record["drm"], &record["asked"]),
            (&json!("widevine"), &json!(4))
        );
        assert_eq!(record["device"]["model"], "toy");
    }

    #[test]
    fn where_every_key_is_refused_the_first_refusal_is_the_answer() {
        let server = server(&json!({}));
        assert_eq!(issue(&server, "c,d"), Err("key_system_not_allowed"));
        assert_eq!(issue(&server, "a,d"), Err("key_not_found"));
        assert_eq!(issue(&server, "a"), Err("device_hdcp_unsupported"));
        let record: Value =
            serde_json::from_str(&server.platform().host().log.borrow()[2]).unwrap();
        assert_eq!(record["code"], "device_hdcp_unsupported");
        assert!(record.get("keys").is_none(), "{record}");
    }

    #[test]
    fn what_refuses_the_request_as_a_whole_is_no_refusal_of_one_key() {
        // A term on the origin, and nothing that says where the request comes from.
        let server = server(&json!({"countries": ["AT"]}));
        assert_eq!(issue(&server, "b"), Err("place_unknown"));
        let server = LicenceServer::new(TestHost::new([(
            "policies",
            r#"[{"name":"o","restriction":"open","terms":{}}]"#.to_owned(),
        )]));
        assert_eq!(issue(&server, "b,c"), Err("configuration_invalid"));
    }
}
