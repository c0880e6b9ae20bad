//! The audit record: one JSON line for each decision. Its members are documented in `docs/audit.md`.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::{Error, Principal};
use crate::content_key::{KeyQuery, KeyRecord};
use crate::drm::{self, Details, DrmSystem, Request};
use crate::encoding::json_line;
use crate::entitlement::{Granted, Hdcp, SecurityLevel, Use};
use crate::error::Code;
use crate::platform::{Platform, Stages, Trace};
use crate::session::{self, ActiveSession, EndedSession, SessionState};

/// Version of the record: it changes when a member changes its meaning or is removed.
pub const VERSION: u32 = 1;

/// What was decided, without token, secret or device identifier.
#[derive(Serialize)]
pub struct Audit<'a> {
    audit: u32,
    /// When it was decided, in seconds since 1970.
    pub time: u64,
    request_id: &'a str,
    #[serde(flatten)]
    trace: Option<Trace>,
    drm: &'static str,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Pseudonym of the viewer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Pseudonym of the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    asset: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// Each key of a request for several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keys: Vec<KeyAudit>,
    /// Name of the policy that lets the viewer in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<Device>,
    #[serde(skip_serializing_if = "Option::is_none")]
    granted: Option<Terms>,
    /// How the licence was counted for its token.
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    pub use_: Option<session::Use>,
    /// The limits of `abuse` that the request is beyond.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub signals: Vec<session::abuse::Signal>,
    /// The session that the decision belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionAudit>,
    /// The sessions that the operator ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<EndedAudit>,
    /// How long it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    stages: Option<Stages>,
    /// What the DRM system adds.
    #[serde(flatten, serialize_with = "members")]
    pub details: Details,
}

/// The decision on one of several keys.
#[derive(Serialize)]
struct KeyAudit {
    asset: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    code: &'static str,
}

/// What the client reports.
#[derive(Serialize)]
struct Device {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    class: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    os: Option<String>,
    #[serde(flatten, serialize_with = "members")]
    details: Details,
}

/// A session, and its state after the decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SessionAudit {
    /// Its id.
    pub id: String,
    /// Its state.
    pub state: SessionState,
    /// The session that was ended for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaced: Option<EndedSession>,
}

/// The sessions that the operator ended.
#[derive(Serialize)]
pub struct EndedAudit {
    count: usize,
    /// Until when the last of their devices may play on, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    plays_until: Option<u64>,
}

impl EndedAudit {
    /// What the audit says of sessions that were ended.
    pub fn from_sessions(ended: &[EndedSession]) -> Self {
        Self {
            count: ended.len(),
            plays_until: ended.iter().filter_map(|session| session.plays_until).max(),
        }
    }
}

#[derive(Serialize, Default)]
struct Terms {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    persist: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    storage_seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    playback_seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rental_seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hdcp: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_security_level: Option<&'static str>,
}

impl<'a> Audit<'a> {
    /// A decision of a DRM system at a time, in seconds since 1970.
    pub fn for_system(system: DrmSystem, time: u64, request_id: &'a str) -> Self {
        Self::new(system.name(), time, request_id)
    }

    /// A decision of this part of the server: `token` or `session`. It is positive until
    /// [`Self::refused`] says otherwise.
    pub fn new(part: &'static str, time: u64, request_id: &'a str) -> Self {
        Self {
            audit: VERSION,
            time,
            request_id,
            trace: Trace::current(),
            drm: part,
            code: "ok",
            reason: None,
            subject: None,
            token: None,
            asset: None,
            key: None,
            keys: Vec::new(),
            policy: None,
            device: None,
            granted: None,
            signals: Vec::new(),
            use_: None,
            session: None,
            ended: None,
            stages: None,
            details: Details::new(),
        }
    }

    /// Records who asks.
    pub fn asked_by(&mut self, principal: &Principal<'_>) {
        self.subject.clone_from(&principal.subject);
        self.token.clone_from(&principal.token);
    }

    /// Records a refusal.
    pub fn refused(&mut self, error: &Error) {
        self.code = error.code().name;
        self.reason = Some(error.for_operator());
        self.details.extend(error.details().iter().cloned());
    }

    /// Records what the request asks for; `device_id` is a pseudonym.
    pub fn requested(&mut self, request: &Request<'_>, device_id: Option<&str>, details: Details) {
        self.identified(&request.device, device_id, details);
        let asset = KeyQuery::shown;
        self.asset = request.keys.first().map(asset);
        if request.keys.len() > 1 {
            let keys = request.keys.iter().map(|query| KeyAudit {
                asset: asset(query),
                key: None,
                code: "ok",
            });
            self.keys = keys.collect();
        }
    }

    /// Records which device it is; `device_id` is a pseudonym.
    pub fn identified(
        &mut self,
        device: &drm::Device<'_>,
        device_id: Option<&str>,
        details: Details,
    ) {
        self.device = Some(Device {
            id: device_id.map(ToOwned::to_owned),
            class: device.class.name(),
            os: device.os.clone(),
            details,
        });
    }

    /// Records which key record was found for a key of the request, by the key's index.
    pub fn found(&mut self, index: usize, key: &KeyRecord) {
        let id = key.id.to_string();
        if let Some(entry) = self.keys.get_mut(index) {
            entry.key = Some(id.clone());
        }
        self.key.get_or_insert(id);
    }

    /// Records the refusal of one of several keys.
    pub fn refused_key(&mut self, index: usize, code: Code) {
        if let Some(entry) = self.keys.get_mut(index) {
            entry.code = code.name;
        }
    }

    /// Records the terms of the licence.
    pub fn granted(&mut self, granted: &Granted) {
        let limits = &granted.limits;
        let terms = match granted.use_ {
            Use::Streaming {
                lease_seconds,
                rental_seconds,
            } => Terms {
                lease_seconds,
                rental_seconds,
                ..Terms::default()
            },
            Use::Persistent {
                storage_seconds,
                playback_seconds,
                ends_in,
            } => Terms {
                persist: true,
                storage_seconds: storage_seconds.or(ends_in),
                playback_seconds,
                ..Terms::default()
            },
        };
        self.granted = Some(Terms {
            hdcp: limits.hdcp.map(Hdcp::name),
            min_security_level: limits.security_level().map(SecurityLevel::name),
            ..terms
        });
    }

    /// The line, once everything is decided.
    pub fn line(&mut self, platform: &impl Platform) -> String {
        self.stages = Stages::take(platform);
        json_line(self)
    }
}

impl SessionAudit {
    /// What the audit records of an active session.
    pub fn from_session(session: &ActiveSession) -> Self {
        Self {
            id: session.ticket.id.clone(),
            state: session.state,
            replaced: session.replaced.clone(),
        }
    }
}

/// Writes details as members.
fn members<S: Serializer>(details: &Details, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(details.len()))?;
    for (name, value) in details {
        map.serialize_entry(name, value)?;
    }
    map.end()
}
