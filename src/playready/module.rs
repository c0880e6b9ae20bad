//! PlayReady as a DRM system of the licence pipeline.

use std::cell::OnceCell;

use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Request as HttpRequest};
use zeroize::Zeroizing;

use super::challenge::{Action, Algorithm, Challenge};
use super::config::{Config, Service, VARIABLE};
use super::rights::{LicensedKey, Rights};
use super::{answer, cfg, enforce};
use crate::configuration::SettingsError;
use crate::content_key::{KeyQuery, KeyRecord};
use crate::cpix::playready_checksum;
use crate::drm::{
    self, AuditDetails, Details, Device, DrmSystem, GrantedKey, Intent, KeyHolder, Module, Purpose,
    Request, Sealed,
};
use crate::entitlement::{DeviceClass, Terms};
use crate::error::Code;
use crate::id::Kid;
use crate::platform::{Platform, once};
use crate::upstream;

/// The names of SOAP actions begin with it.
const PROTOCOLS: &str = "http://schemas.microsoft.com/DRM/2007/03/protocols";

const SOAP_ACTION: HeaderName = HeaderName::from_static("soapaction");
const AXINOM_MESSAGE: HeaderName = HeaderName::from_static("x-axdrm-message");

/// PlayReady. It reads its setting on first use.
#[derive(Default)]
pub struct PlayReady {
    config: OnceCell<Option<Config>>,
    terms: Terms,
}

/// A challenge, and the service that answers it.
pub struct Opened<'m> {
    config: &'m Config,
    challenge: Challenge,
}

impl PlayReady {
    /// Who has the keys; `None` where it is not configured.
    ///
    /// # Errors
    /// What is wrong with `playready`.
    pub async fn key_holder(
        &self,
        platform: &impl Platform,
    ) -> Result<Option<KeyHolder>, SettingsError> {
        let config = self.config(platform).await?;
        Ok(config.map(|config| config.holder))
    }

    /// Whether this server's own refusals are SOAP faults.
    pub async fn refuses_in_soap(&self, platform: &impl Platform) -> bool {
        let config = self.config(platform).await;
        config.is_ok_and(|config| config.is_some_and(|config| config.refuses_in_soap))
    }

    async fn config(&self, platform: &impl Platform) -> Result<Option<&Config>, SettingsError> {
        let load = async {
            let text = platform.variable(VARIABLE).await?;
            let config = text.map(|text| Config::read(&text).map_err(SettingsError::from));
            config.transpose()
        };
        Ok(once(&self.config, load).await?.as_ref())
    }
}

impl Opened<'_> {
    /// The KIDs of the challenge that a record has. A record may be found by another order of its bytes.
    fn kids_of(&self, record: &KeyRecord) -> impl Iterator<Item = Kid> {
        let kids = self.challenge.keys.iter().map(|key| key.kid);
        kids.filter(|kid| record.is_of_kid(*kid))
    }

    /// The keys of the licence by their KIDs: as the challenge names them, else as their records do.
    ///
    /// # Errors
    /// [`Code::KID_MISSING`]
    fn licensed<'k>(
        &self,
        keys: &[GrantedKey<'k>],
        now: u64,
    ) -> Result<Vec<LicensedKey<'k>>, drm::Error> {
        let mut licensed: Vec<LicensedKey<'k>> = Vec::with_capacity(keys.len());
        for key in keys {
            let mut kids: Vec<Kid> = self.kids_of(key.record).collect();
            if kids.is_empty() {
                kids.extend(key.record.kid);
            }
            if kids.is_empty() {
                let reason = "the key record has no KID, and the challenge names none";
                return Err(drm::Error::refused(Code::KID_MISSING, reason));
            }
            for kid in kids {
                let rights = Rights::new(key.granted, now);
                match licensed.iter_mut().find(|known| known.kid == kid) {
                    // The service may have the key under each kind of track.
                    Some(known) => known.rights = known.rights.clone().and(rights),
                    None => licensed.push(LicensedKey {
                        kid,
                        key: key.key,
                        algorithm: self.challenge.key(kid).and_then(|key| key.algorithm),
                        rights,
                    }),
                }
            }
        }
        Ok(licensed)
    }

    /// The request to the service. For an acknowledgement there are no keys, and nothing is told.
    fn request(&self, keys: &[LicensedKey<'_>], now: u64) -> Option<HttpRequest<Vec<u8>>> {
        let (config, challenge) = (self.config, &self.challenge);
        let mut url = Zeroizing::new(config.url.to_string());
        let mut message = None;
        if !keys.is_empty() {
            match &config.service {
                Service::TestServer => {
                    url.push(if config.url.query().is_some() {
                        '&'
                    } else {
                        '?'
                    });
                    url.push_str("cfg=");
                    url.push_str(&cfg::cfg(keys));
                }
                Service::Axinom(key) => {
                    let text = key.message(keys, now)?;
                    let mut value = HeaderValue::try_from(text.as_str()).ok()?;
                    value.set_sensitive(true);
                    message = Some(value);
                }
                Service::Untold => {}
            }
        }
        let content_type = match challenge.is_utf16 {
            true => "text/xml; charset=utf-16",
            false => "text/xml; charset=utf-8",
        };
        let request = HttpRequest::post(url.as_str())
            .header(CONTENT_TYPE, content_type)
            .header(
                SOAP_ACTION,
                format!("\"{PROTOCOLS}/{}\"", challenge.action.name()),
            );
        let mut request = request.body(challenge.soap.clone()).ok()?;
        let headers = request.headers_mut();
        for (name, value) in &config.headers {
            headers.insert(name, value.clone());
        }
        if let Some(message) = message {
            headers.insert(AXINOM_MESSAGE, message);
        }
        Some(request)
    }
}

impl Module for PlayReady {
    const SYSTEM: DrmSystem = DrmSystem::PlayReady;

    const CHOOSES_TRACKS: bool = false;

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
        let off = || drm::Error::refused(Code::PLAYREADY_OFF, "`playready` is not set");
        let config = self.config(platform).await?.ok_or_else(off)?;
        let challenge = Challenge::read(message)?;
        Ok(Opened { config, challenge })
    }

    fn audit_details(&self, opened: &Opened<'_>) -> AuditDetails {
        let nonce = opened.challenge.license_nonce.as_deref();
        let nonce = nonce.map(|nonce| nonce.chars().take(64).collect::<String>());
        let record: Details = nonce
            .map(|nonce| ("license_nonce", nonce.into()))
            .into_iter()
            .collect();
        AuditDetails {
            record,
            device: Details::new(),
        }
    }

    fn request<'o>(&self, opened: &'o Opened<'_>, _: Purpose) -> Result<Request<'o>, drm::Error> {
        let challenge = &opened.challenge;
        let is_license = challenge.action == Action::AcquireLicense;
        if is_license && challenge.keys.is_empty() && !opened.config.service.is_told() {
            return Err(drm::Error::refused(
                Code::REQUEST_MALFORMED,
                "its header names no KID, and this licence service cannot be told which key it may give",
            ));
        }
        Ok(Request {
            keys: challenge
                .keys
                .iter()
                .map(|key| KeyQuery::from_kid(key.kid))
                .collect(),
            holder: opened.config.holder,
            intent: match challenge.action {
                Action::AcquireLicense => Intent::License,
                Action::AcknowledgeLicense => Intent::Release,
            },
            device: Device {
                identifier: &[],
                class: DeviceClass::Unknown,
                os: None,
                playback: None,
                is_remote_output: false,
            },
            license_session: challenge.license_nonce.as_deref().map(str::as_bytes),
        })
    }

    fn report(&self, _: &Opened<'_>) -> Option<()> {
        None
    }

    fn enforce(
        &self,
        key: &GrantedKey<'_>,
        opened: &Self::Opened<'_>,
        _: Option<&str>,
    ) -> Result<(), drm::Error> {
        for kid in opened.kids_of(key.record) {
            let checksum = opened.challenge.key(kid).filter(|named| {
                // Content for AES-CBC has none.
                named.algorithm == Some(Algorithm::Ctr)
            });
            let checksum = checksum.and_then(|named| named.checksum);
            if let (Some(checksum), Some(key)) = (checksum, key.key)
                && checksum != playready_checksum(kid, &key.key)
            {
                return Err(drm::Error::refused(
                    Code::KEY_CHECKSUM,
                    format!(
                        "the checksum in the header of the content is that of another key than this server has for {kid}"
                    ),
                ));
            }
        }
        enforce::enforce(key, &opened.config.service)
    }

    async fn seal(
        &self,
        opened: &Self::Opened<'_>,
        keys: &[GrantedKey<'_>],
        _: Option<&str>,
        platform: &impl Platform,
    ) -> Result<Sealed, drm::Error> {
        let now = platform.now();
        let licensed = opened.licensed(keys, now)?;
        let asked = &opened.challenge.keys;
        let is_granted = |kid: Kid| licensed.iter().any(|key| key.kid == kid);
        // The challenge cannot be changed, and this service gives whatever stands in it.
        if !opened.config.service.is_told()
            && opened.challenge.action == Action::AcquireLicense
            && let Some(refused) = asked.iter().find(|key| !is_granted(key.kid))
        {
            return Err(drm::Error::refused(
                Code::NOT_ENTITLED,
                format!(
                    "this licence service gives every key of the header, and {} is refused",
                    refused.kid
                ),
            ));
        }
        let request = opened.request(&licensed, now);
        let request = request.ok_or_else(|| {
            let reason = "there are more keys than a request to the licence service can name";
            drm::Error::refused(Code::REQUEST_MALFORMED, reason)
        })?;
        let response = upstream::ask(&request, upstream::LIMIT, platform).await?;
        let message = answer::read(response, opened.challenge.action)?;
        let rights = licensed
            .into_iter()
            .map(|key| key.rights)
            .reduce(Rights::and);
        let seconds = rights.as_ref().and_then(|rights| rights.end);
        let seconds = seconds.map(|end| u32::try_from(end.saturating_sub(now)).unwrap_or(u32::MAX));
        let (persist, stops) =
            rights.map_or((false, false), |rights| (rights.persist, rights.stops));
        Ok(Sealed {
            lease_seconds: seconds.filter(|_| !persist && stops),
            rental_seconds: seconds.filter(|_| !persist && !stops),
            storage_seconds: seconds.filter(|_| persist),
            ..Sealed::new(message)
        })
    }
}
