//! The audit record: one JSON line a decision. Its members are documented in `docs/audit.md`.

use serde::Serialize;

use super::sessions::SessionAudit;
use super::{CheckIn, Error};
use crate::content_key::ContentKey;
use crate::entitlement::{Granted, Hdcp, SecurityLevel, Use};
use crate::fairplay::client::{Capabilities, Client, Streaming};
use crate::fairplay::spc::OpenedSpc;
use crate::id::Id;
use crate::rsa_key::Arithmetic;
use crate::session;

/// Version of the record: it changes when a member changes its meaning or goes away.
pub const VERSION: u32 = 1;

/// What was decided, without token, secret or device identifier.
#[derive(Serialize)]
pub struct Audit<'a> {
    audit: u32,
    /// When it is made, in seconds since 1970.
    pub time: u64,
    request_id: &'a str,
    drm: &'static str,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    fps_status: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Pseudonym of the principal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    asset: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// Name of the policy that lets the viewer in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spc_version: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rsa: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<Device>,
    #[serde(skip_serializing_if = "Option::is_none")]
    playback: Option<Playback>,
    #[serde(skip_serializing_if = "Option::is_none")]
    granted: Option<Terms>,
    /// What the device reported, in place of being given a licence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check_in: Option<CheckIn>,
    /// How the licence stands in the count of its token.
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    pub use_: Option<session::Use>,
    /// The session that it is a decision in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionAudit>,
}

/// What the client reports.
#[derive(Serialize)]
struct Device {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    class: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    os: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fps: Option<[String; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kdl: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    capabilities: Option<Vec<&'static str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<&'static str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    virtual_machine: bool,
}

#[derive(Serialize)]
struct Playback {
    session: String,
    state: &'static str,
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
    /// A decision of a DRM system at a time, in seconds since 1970. It is a licence until something
    /// else is said.
    pub fn of(drm: &'static str, time: u64, request_id: &'a str) -> Self {
        Self {
            audit: VERSION,
            time,
            request_id,
            drm,
            code: "ok",
            fps_status: None,
            reason: None,
            subject: None,
            asset: None,
            key: None,
            policy: None,
            spc_version: None,
            credential: None,
            rsa: None,
            device: None,
            playback: None,
            granted: None,
            check_in: None,
            use_: None,
            session: None,
        }
    }

    /// There is no licence.
    pub fn refused(&mut self, error: &Error) {
        self.code = error.code().name;
        self.fps_status = error.fps_status();
        self.reason = Some(error.to_string());
    }

    /// What the SPC says; `device_id` is a pseudonym.
    pub fn requested(&mut self, spc: &OpenedSpc<'_>, device_id: Option<&str>) {
        self.asset = Some(Id::from_bytes(&spc.asset_id).to_string());
        self.spc_version = Some(spc.version.number());
        self.credential = Some(spc.credential.name.clone());
        self.rsa = Some(spc.arithmetic)
            .filter(|arithmetic| *arithmetic != Arithmetic::Fused)
            .map(Arithmetic::name);
        self.device = Some(Device::of(&spc.client, device_id));
        self.playback = spc.client.playback.map(|playback| Playback {
            session: format!("{:016x}", playback.session_id),
            state: playback.state.name(),
        });
    }

    /// The key record that was found.
    pub fn found(&mut self, key: &ContentKey) {
        self.key = Some(key.id.to_string());
    }

    /// The terms that everybody together allows.
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

    /// The line.
    pub fn line(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Device {
    fn of(client: &Client, id: Option<&str>) -> Self {
        Self {
            id: id.map(ToOwned::to_owned),
            class: client.device_class().name(),
            os: client.os_version().map(|version| version.to_string()),
            fps: client.device_identity.map(|identity| {
                [identity.fps_ree_version, identity.fps_tee_version]
                    .map(|version| format!("{version:08x}"))
            }),
            kdl: client.kdl_version,
            capabilities: client.capabilities.map(Capabilities::names),
            output: client
                .streaming
                .filter(|output| *output != Streaming::Local)
                .map(Streaming::name),
            virtual_machine: client.vm_device_info.is_some(),
        }
    }
}
