//! FairPlay as a DRM system of the pipeline.

use std::cell::OnceCell;

use serde_json::{Value, json};

use crate::configuration::SettingsError;
use crate::content_key::KeyQuery;
use crate::drm::{
    self, AuditDetails, Details, Device, DrmSystem, GrantedKey, Intent, KeyHolder, Module, Purpose,
    Request, Sealed,
};
use crate::entitlement::Terms;
use crate::fairplay::check_in::Report;
use crate::fairplay::client::{Capabilities, Client, PlaybackState, Streaming};
use crate::fairplay::credentials::Credentials;
use crate::fairplay::duration::Duration;
use crate::fairplay::error::Error;
use crate::fairplay::inspect;
use crate::fairplay::ksm;
use crate::fairplay::rules::Rules;
use crate::fairplay::spc::VerifiedSpc;
use crate::platform::{Platform, Random, once};
use crate::rsa_key::Arithmetic;

/// FairPlay: its credentials and its rules, each read on first use and kept for the life of the instance.
#[derive(Default)]
pub struct FairPlay {
    credentials: Credentials,
    rules: OnceCell<Rules>,
}

impl FairPlay {
    /// The credentials.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Explains an SPC: every block, and what it states about the device. Of what \[SK..R1\] protects it
    /// shows whether the integrity is confirmed, and the device's identifier (HU) goes to `pseudonym`.
    ///
    /// # Errors
    /// Why the SPC cannot be opened.
    pub async fn inspect(
        &self,
        spc: &[u8],
        platform: &impl Platform,
        pseudonym: impl FnOnce(&[u8]) -> Option<String>,
    ) -> Result<Value, drm::Error> {
        let opened = ksm::open_container(spc, &self.credentials, platform).await?;
        let explained = inspect::explain(&opened);
        let (integrity, device_id) = match opened.verify() {
            Ok(verified) => {
                let device_id = pseudonym(verified.session_key.hu.expose());
                ("confirmed".to_owned(), device_id)
            }
            Err(error) => (error.to_string(), None),
        };
        Ok(json!({"integrity": integrity, "device_id": device_id, "spc": explained}))
    }
}

impl Module for FairPlay {
    const SYSTEM: DrmSystem = DrmSystem::FairPlay;

    type Opened<'m> = VerifiedSpc<'m>;

    type Report = Report;

    async fn terms(&self, platform: &impl Platform) -> Result<&Terms, SettingsError> {
        let rules = once(&self.rules, Rules::load(platform)).await?;
        Ok(&rules.terms)
    }

    async fn open<'m>(
        &'m self,
        message: &[u8],
        platform: &impl Platform,
    ) -> Result<VerifiedSpc<'m>, drm::Error> {
        ksm::open(message, &self.credentials, platform).await
    }

    fn audit_details(&self, spc: &VerifiedSpc<'_>) -> AuditDetails {
        let opened = &spc.opened;
        let mut record: Details = vec![
            ("spc_version", opened.version.number().into()),
            ("credential", opened.credential.name.as_str().into()),
        ];
        if opened.arithmetic != Arithmetic::Fused {
            record.push(("rsa", opened.arithmetic.name().into()));
        }
        if let Some(playback) = opened.client.playback {
            let session = format!("{:016x}", playback.session_id);
            let playback = json!({"session": session, "state": playback.state.name()});
            record.push(("playback", playback));
        }
        AuditDetails {
            record,
            device: device_details(&opened.client),
        }
    }

    fn request<'o>(
        &self,
        spc: &'o VerifiedSpc<'_>,
        purpose: Purpose,
    ) -> Result<Request<'o>, drm::Error> {
        let client = &spc.opened.client;
        let state = client.playback.map(|playback| playback.state);
        let intent = match (purpose, self.report(spc)) {
            (Purpose::Report, None) => return Err(Error::NoReport.into()),
            // A report of version 1 also comes with requests for a licence.
            (Purpose::License, Some(report)) if report.version > 1 => {
                Intent::Report(report.challenge)
            }
            (Purpose::Report, Some(report)) => Intent::Report(report.challenge),
            (Purpose::License, _) => match state {
                Some(PlaybackState::Stopped) => Intent::Stopped,
                Some(PlaybackState::Renewal | PlaybackState::KeyNotRequired) => Intent::Renewal,
                Some(PlaybackState::First) | None => Intent::License,
            },
        };
        Ok(Request {
            keys: vec![KeyQuery::from_asset_id(&spc.opened.asset_id)],
            holder: KeyHolder::Here,
            intent,
            device: Device {
                identifier: spc.session_key.hu.expose(),
                class: client.device_class(),
                os: client.os_version().map(|version| version.to_string()),
                playback: client.playback.map(|playback| playback.session_id),
                is_remote_output: client.streaming == Some(Streaming::AirPlay),
            },
            license_session: None,
        })
    }

    fn report(&self, spc: &VerifiedSpc<'_>) -> Option<Report> {
        Report::from_sync(spc.opened.client.offline_sync.as_ref()?)
    }

    fn enforce(
        &self,
        key: &GrantedKey<'_>,
        spc: &VerifiedSpc<'_>,
        device_id: Option<&str>,
    ) -> Result<(), drm::Error> {
        Ok(ksm::enforce(spc, key.record, key.granted, device_id)?)
    }

    async fn seal(
        &self,
        spc: &Self::Opened<'_>,
        keys: &[GrantedKey<'_>],
        _renewal_url: Option<&str>,
        platform: &impl Platform,
    ) -> Result<Sealed, drm::Error> {
        // An SPC asks for one key.
        let [
            GrantedKey {
                key: Some(key),
                granted,
                ..
            },
        ] = keys
        else {
            return Err(Error::KeyFormat.into());
        };
        let ksm::Answer { ckc, duration } = ksm::respond(spc, key, granted, &mut Random(platform))?;
        let duration = duration.as_ref();
        Ok(Sealed {
            message: ckc,
            lease_seconds: duration.and_then(Duration::lease_seconds),
            rental_seconds: duration.and_then(Duration::rental_seconds),
            storage_seconds: duration.and_then(Duration::storage_seconds),
        })
    }
}

/// What FairPlay alone knows of a device.
fn device_details(client: &Client) -> Details {
    let mut details = Details::new();
    if let Some(identity) = client.device_identity {
        let versions = [identity.fps_ree_version, identity.fps_tee_version];
        let versions = versions.map(|version| format!("{version:08x}"));
        details.push(("fps", json!(versions)));
    }
    if let Some(kdl) = client.kdl_version {
        details.push(("kdl", kdl.into()));
    }
    if let Some(capabilities) = client.capabilities.map(Capabilities::names) {
        details.push(("capabilities", json!(capabilities)));
    }
    if let Some(output) = client
        .streaming
        .filter(|output| *output != Streaming::Local)
    {
        details.push(("output", output.name().into()));
    }
    if client.vm_device_info.is_some() {
        details.push(("virtual_machine", true.into()));
    }
    details
}
