//! The seam between the pipeline of a licence and a DRM system.

use std::future::Future;

use serde::{Deserialize, Serialize};

use super::error::{Details, Error};
use crate::configuration::SettingsError;
use crate::content_key::{ContentKey, KeyQuery, KeyRecord};
use crate::drm_system::DrmSystem;
use crate::entitlement::{DeviceClass, Granted, Limits, Terms, Use};
use crate::platform::Platform;

/// What the route of a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Licences. A device may send a report there too.
    License,
    /// Reports of devices alone.
    Report,
}

/// What a player wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// A licence to begin with.
    License,
    /// A licence to go on with.
    Renewal,
    /// Nothing: playback has stopped.
    Stopped,
    /// To give up what the device has stored. The system's licence service answers it.
    Release,
    /// To report what the device has stored. The number is the challenge that it answers, 0 for none.
    Report(u64),
}

/// What a request says of its device. Whether it can be believed depends on the system.
pub struct Device<'a> {
    /// The device's own identifier; empty where it is not known. Only a pseudonym of it leaves the server.
    pub identifier: &'a [u8],
    /// Its class.
    pub class: DeviceClass,
    /// Its operating system, as the audit shows it.
    pub os: Option<String>,
    /// The playback session, the same over all renewals of one playback.
    pub playback: Option<u64>,
    /// Whether it sends what it plays to another device, which has another identifier.
    pub is_remote_output: bool,
}

/// Who has the keys that a request asks for. Settings write it in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyHolder {
    /// This server.
    #[default]
    Here,
    /// The licence service of the system. This server knows at most their records.
    Service,
}

/// What a request asks for.
pub struct Request<'a> {
    /// The keys, at least one unless the device only reports.
    pub keys: Vec<KeyQuery>,
    /// Who has them.
    pub holder: KeyHolder,
    /// What the player wants.
    pub intent: Intent,
    /// The device.
    pub device: Device<'a>,
    /// What a request and the renewals of its licence have in common; `None` where a system has no such thing.
    pub license_session: Option<&'a [u8]>,
}

/// What a system adds to the audit record of a request.
#[derive(Default)]
pub struct AuditDetails {
    /// Members of the record.
    pub record: Details,
    /// Members of the record's `device`.
    pub device: Details,
}

/// A key that a licence is to carry, and its terms.
pub struct GrantedKey<'a> {
    /// Its record.
    pub record: &'a KeyRecord,
    /// The key; `None` where the licence service of the system has it.
    pub key: Option<&'a ContentKey>,
    /// The terms at this moment.
    pub granted: &'a Granted,
}

impl GrantedKey<'_> {
    /// Whether the key has a lease that a renewal prolongs.
    pub fn is_renewable(&self) -> bool {
        let remaining = self.granted.remaining;
        match self.granted.use_ {
            Use::Streaming {
                lease_seconds: Some(lease),
                ..
            } => remaining.is_none_or(|remaining| lease < remaining),
            Use::Streaming { .. } | Use::Persistent { .. } => false,
        }
    }
}

/// A licence in the system's own format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The message for the device.
    pub message: Vec<u8>,
    /// Seconds until playback stops unless the licence is renewed.
    pub lease_seconds: Option<u32>,
    /// Seconds in which playback of a key that is not stored may start.
    pub rental_seconds: Option<u32>,
    /// Seconds for which the key may be stored before it is first played.
    pub storage_seconds: Option<u32>,
}

impl Sealed {
    /// A licence without durations.
    pub fn new(message: Vec<u8>) -> Self {
        Self {
            message,
            lease_seconds: None,
            rental_seconds: None,
            storage_seconds: None,
        }
    }
}

/// How often a licence that was counted for its token may be asked for again without being counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repeats {
    /// For how long, in seconds.
    pub seconds: u64,
    /// How often; `None` for as often as the player likes.
    pub most: Option<i64>,
}

impl Repeats {
    /// Those of a device that keeps its licence. Players ask again for AirPlay.
    pub const OF_A_DEVICE: Self = Self {
        seconds: 30,
        most: Some(3),
    };
}

/// A DRM system: it opens requests, keeps terms, and seals licences.
///
/// The order of the steps stands in `licence`: open, keys, terms, back end, enforce, streams, seal, count.
pub trait Module {
    /// Which system it is.
    const SYSTEM: DrmSystem;

    /// How often a counted licence may be asked for again.
    const REPEATS: Repeats = Repeats::OF_A_DEVICE;

    /// Whether a licence can say where its renewals go. A URL then stands for the token, which has expired by that time.
    const HAS_RENEWAL_URL: bool = false;

    /// Whether the licence service is told which kinds of track a player may have. Where it is not, a KID of which this
    /// server has no record needs terms that let every kind through.
    const CHOOSES_TRACKS: bool = true;

    /// A request that was parsed and, as far as the system can, authenticated.
    type Opened<'m>
    where
        Self: 'm;

    /// What a device reports. A system without reports has the unit type.
    type Report: Serialize;

    /// The terms that the deployment has for every licence of this system.
    ///
    /// # Errors
    /// The setting that is wrong.
    fn terms(
        &self,
        platform: &impl Platform,
    ) -> impl Future<Output = Result<&Terms, SettingsError>>;

    /// Opens a request.
    ///
    /// # Errors
    /// [`Error`]
    fn open<'m>(
        &'m self,
        message: &[u8],
        platform: &impl Platform,
    ) -> impl Future<Output = Result<Self::Opened<'m>, Error>>;

    /// What the audit record of the request shows beside what all systems have.
    fn audit_details(&self, opened: &Self::Opened<'_>) -> AuditDetails;

    /// What the request asks for.
    ///
    /// # Errors
    /// [`Error`] where it asks for nothing that the route gives.
    fn request<'o>(
        &self,
        opened: &'o Self::Opened<'_>,
        purpose: Purpose,
    ) -> Result<Request<'o>, Error>;

    /// What the device reports, when the request's intent is [`Intent::Report`].
    fn report(&self, opened: &Self::Opened<'_>) -> Option<Self::Report>;

    /// Asks another server which device it is, where these limits need that and the request does not say it. Returns
    /// whether [`Self::request`] knows more now.
    ///
    /// # Errors
    /// [`Error`] where there is no answer.
    fn identify(
        &self,
        _opened: &Self::Opened<'_>,
        _limits: &Limits,
        _platform: &impl Platform,
    ) -> impl Future<Output = Result<bool, Error>> {
        std::future::ready(Ok(false))
    }

    /// Holds the terms for a key against the device: each one is honoured or refuses. `device_id` is the pseudonym
    /// of the device, when the server has a secret to make it with.
    ///
    /// The limits are taken apart without `..`, so that a new one does not compile until it is decided
    /// here. Uses, streams, addresses and countries are kept by the pipeline, for every system.
    ///
    /// # Errors
    /// The first term that the device does not keep.
    fn enforce(
        &self,
        key: &GrantedKey<'_>,
        opened: &Self::Opened<'_>,
        device_id: Option<&str>,
    ) -> Result<(), Error>;

    /// Makes the licence, or has the system's licence service make it. The keys have passed [`Self::enforce`]; there is
    /// at least one, but for a release. `renewal_url` is where renewals go, of a system that [can say it](Self::HAS_RENEWAL_URL).
    ///
    /// # Errors
    /// [`Error`] where the device cannot take a key or keep a duration, and where the service makes no licence.
    fn seal(
        &self,
        opened: &Self::Opened<'_>,
        keys: &[GrantedKey<'_>],
        renewal_url: Option<&str>,
        platform: &impl Platform,
    ) -> impl Future<Output = Result<Sealed, Error>>;
}
