//! Widevine as a DRM system of the licence pipeline.

use std::cell::OnceCell;
use std::time::Duration;

use serde_json::Value;

use super::answer::Answer;
use super::challenge::{Challenge, Kind};
use super::config::{Config, VARIABLE};
use super::message::{Durations, Message, kid_of};
use super::{certificate, enforce};
use crate::configuration::SettingsError;
use crate::content_key::KeyQuery;
use crate::drm::{
    self, AuditDetails, Details, Device, DrmSystem, GrantedKey, Intent, KeyHolder, Module, Purpose,
    Request, Sealed,
};
use crate::entitlement::{DeviceClass, Limits, Terms};
use crate::error::Code;
use crate::id::Id;
use crate::platform::{Platform, once};
use crate::upstream::{self, Cache};

/// How long the question which device it is may take; the licence has the rest of [`upstream::LIMIT`].
const IDENTIFYING: Duration = Duration::from_secs(2);

/// Widevine. It reads its setting on first use.
#[derive(Default)]
pub struct Widevine {
    service: OnceCell<Option<Service>>,
    terms: Terms,
}

/// The licence service.
struct Service {
    config: Config,
    certificate: Cache<Vec<u8>>,
}

/// A challenge, and what is known of its device.
pub struct Opened<'m> {
    service: &'m Service,
    message: Vec<u8>,
    challenge: Challenge,
    device: OnceCell<Identity>,
}

/// What the licence service says of a device.
#[derive(Default)]
struct Identity {
    /// The serial number of its certificate.
    serial_number: String,
    make: Option<String>,
    model: Option<String>,
    /// L1 to L3.
    security_level: Option<u64>,
}

impl Widevine {
    /// Who has the keys; `None` where it is not configured.
    ///
    /// # Errors
    /// What is wrong with `widevine`.
    pub async fn key_holder(
        &self,
        platform: &impl Platform,
    ) -> Result<Option<KeyHolder>, SettingsError> {
        let service = self.service(platform).await?;
        Ok(service.map(|service| service.config.holder))
    }

    /// The answer to a player that asks for the certificate of the service. It needs no token.
    ///
    /// # Errors
    /// That Widevine is off, and that the service does not give it.
    pub async fn certificate(&self, platform: &impl Platform) -> Result<Vec<u8>, drm::Error> {
        let service = self.required(platform).await?;
        certificate::get(&service.config, &service.certificate, platform).await
    }

    async fn service(&self, platform: &impl Platform) -> Result<Option<&Service>, SettingsError> {
        let load = async {
            let text = platform.variable(VARIABLE).await?;
            let service = text.map(|text| {
                let config = Config::read(&text)?;
                let certificate = certificate::cache(&config);
                Ok::<_, SettingsError>(Service {
                    config,
                    certificate,
                })
            });
            service.transpose()
        };
        Ok(once(&self.service, load).await?.as_ref())
    }

    async fn required(&self, platform: &impl Platform) -> Result<&Service, drm::Error> {
        let off = || drm::Error::refused(Code::WIDEVINE_OFF, "`widevine` is not set");
        self.service(platform).await?.ok_or_else(off)
    }
}

impl Opened<'_> {
    /// Sends a message to the service. `limit` is the time that it may take.
    async fn ask(
        &self,
        message: &Message<'_>,
        limit: Duration,
        platform: &impl Platform,
    ) -> Result<Answer, drm::Error> {
        let request = message.request(&self.service.config);
        Answer::read(upstream::ask(&request, limit, platform).await?)
    }
}

impl Module for Widevine {
    const SYSTEM: DrmSystem = DrmSystem::Widevine;

    const HAS_RENEWAL_URL: bool = true;

    type Opened<'m> = Opened<'m>;

    type Report = ();

    async fn terms(&self, _: &impl Platform) -> Result<&Terms, SettingsError> {
        Ok(&self.terms)
    }

    async fn open<'m>(
        &'m self,
        message: &[u8],
        platform: &impl Platform,
    ) -> Result<Opened<'m>, drm::Error> {
        let service = self.required(platform).await?;
        let challenge = Challenge::read(message);
        let challenge =
            challenge.map_err(|reason| drm::Error::refused(Code::REQUEST_MALFORMED, reason))?;
        Ok(Opened {
            service,
            message: message.to_vec(),
            challenge,
            device: OnceCell::new(),
        })
    }

    fn audit_details(&self, opened: &Opened<'_>) -> AuditDetails {
        let mut device = Details::new();
        if let Some(known) = opened.device.get() {
            let text = |value: &Option<String>| value.as_deref().map(Value::from);
            let level = known.security_level.map(|level| format!("L{level}").into());
            let members = [
                ("make", text(&known.make)),
                ("model", text(&known.model)),
                ("security_level", level),
            ];
            device.extend(
                members
                    .into_iter()
                    .filter_map(|(name, value)| Some((name, value?))),
            );
        }
        AuditDetails {
            record: match opened.challenge.is_offline {
                true => vec![("offline", true.into())],
                false => Details::new(),
            },
            device,
        }
    }

    fn request<'o>(&self, opened: &'o Opened<'_>, _: Purpose) -> Result<Request<'o>, drm::Error> {
        let challenge = &opened.challenge;
        let holder = opened.service.config.holder;
        // Where the service has the keys, the content id alone may say which: it must be allowed, too.
        let content = challenge.content_id.as_deref();
        let content = content.filter(|_| challenge.kids.is_empty() || holder == KeyHolder::Service);
        let content = content.map(|content| KeyQuery::from_id(Id::from_bytes(content)));
        let kids = challenge.kids.iter().copied().map(KeyQuery::from_kid);
        let keys = kids.chain(content).collect();
        let serial_number = opened
            .device
            .get()
            .map(|device| device.serial_number.as_bytes());
        Ok(Request {
            keys,
            holder,
            intent: match challenge.kind {
                Kind::New => Intent::License,
                Kind::Renewal => Intent::Renewal,
                Kind::Release => Intent::Release,
            },
            device: Device {
                identifier: serial_number.unwrap_or_default(),
                class: DeviceClass::Unknown,
                os: None,
                playback: None,
                is_remote_output: false,
            },
            license_session: challenge.request_id.as_deref(),
        })
    }

    fn report(&self, _: &Opened<'_>) -> Option<()> {
        None
    }

    async fn identify(
        &self,
        opened: &Self::Opened<'_>,
        limits: &Limits,
        platform: &impl Platform,
    ) -> Result<bool, drm::Error> {
        let is_needed = limits.max_streams.is_some() || !limits.device_ids.is_empty();
        if !is_needed || opened.device.get().is_some() {
            return Ok(false);
        }
        let message = Message::parse_only(&opened.message, &opened.service.config);
        let answer = opened.ask(&message, IDENTIFYING, platform).await?;
        let text = |name| {
            answer
                .text(name)
                .map(|text| text.chars().take(64).collect())
        };
        let device = Identity {
            serial_number: text("drm_cert_serial_number").unwrap_or_default(),
            make: text("make"),
            model: text("model"),
            security_level: answer.number("security_level"),
        };
        Ok(opened.device.set(device).is_ok())
    }

    fn enforce(
        &self,
        key: &GrantedKey<'_>,
        opened: &Self::Opened<'_>,
        device_id: Option<&str>,
    ) -> Result<(), drm::Error> {
        if key.key.is_some() && kid_of(key.record, &opened.challenge).is_none() {
            return Err(drm::Error::refused(
                Code::KID_MISSING,
                "the key record has no KID, and the challenge names none",
            ));
        }
        enforce::enforce(key, opened.challenge.is_offline, device_id)
    }

    async fn seal(
        &self,
        opened: &Self::Opened<'_>,
        keys: &[GrantedKey<'_>],
        renewal_url: Option<&str>,
        platform: &impl Platform,
    ) -> Result<Sealed, drm::Error> {
        let (challenge, config) = (&opened.challenge, &opened.service.config);
        if challenge.kind == Kind::Release {
            let answer = opened
                .ask(
                    &Message::bare(&opened.message, config),
                    upstream::LIMIT,
                    platform,
                )
                .await?;
            // A service may have nothing to say to it.
            return Ok(Sealed::new(answer.license().unwrap_or_default()));
        }
        let message = Message::license(&opened.message, challenge, keys, renewal_url, config);
        let no_kid = || drm::Error::refused(Code::KID_MISSING, "a key record has no KID");
        let message = message.ok_or_else(no_kid)?;
        // The player has waited for the question about the device, too.
        let limit = match opened.device.get() {
            Some(_) => upstream::LIMIT.saturating_sub(IDENTIFYING),
            None => upstream::LIMIT,
        };
        let answer = opened.ask(&message, limit, platform).await?;
        let durations = Durations::of_keys(keys);
        let is_stored = durations.playback.is_some() || challenge.is_offline;
        Ok(Sealed {
            lease_seconds: durations.license.filter(|_| !is_stored),
            rental_seconds: durations.rental.filter(|_| !is_stored),
            storage_seconds: durations.rental.filter(|_| is_stored),
            ..Sealed::new(answer.license()?)
        })
    }
}
