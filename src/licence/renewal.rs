//! Renewals by a URL that a licence carries: players renew for hours, and their tokens live for minutes.
//!
//! The URL has a ticket in its query: the token that the licence was given for, when it was verified, and the licence
//! session that it is good for. The ticket is encrypted under a key of `server_secret` (AES-256-GCM-SIV, RFC 8452), so
//! that logs of URLs hold no token. A renewal is decided as the licence was: policy, terms and back end are asked anew.
//! Only the token's own dates are those of the moment at which it was verified.

use base64::Engine;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::issue::Renewal;
use super::{Error, LicenceServer, LicenseRequest};
use crate::content_key::KeyQuery;
use crate::drm::{DrmSystem, Intent, Request};
use crate::encoding::{self, BASE64_URL};
use crate::id::Id;
use crate::platform::Platform;
use crate::public_url::PublicUrl;
use crate::server_secret::Label;
use crate::token::Found;

/// The parameter of the query with the ticket.
pub const PARAMETER: &str = "renewal";

/// How long a ticket is good, in seconds. Each renewal brings the next one.
const LIFE: u64 = 24 * 60 * 60;

/// The longest URL that a licence gets, in bytes: licence services and devices have limits that they do not publish.
const LONGEST: usize = 4096;

/// What stands for the token of a renewal.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenewalTicket {
    /// The DRM system.
    drm: String,
    /// The token; `None` where no token was needed.
    token: Option<Zeroizing<String>>,
    /// The signature that goes with a token of Kaltura.
    signature: Option<String>,
    /// The keys of the licence.
    keys: Vec<String>,
    /// When the token was verified, in seconds since 1970.
    pub verified_at: u64,
    /// [`Request::license_session`], in base64url.
    session: String,
    /// Pseudonym of the device, where it was known.
    pub device: Option<String>,
    /// Until when the ticket is good, in seconds since 1970.
    until: u64,
}

impl RenewalTicket {
    /// The token of the licence.
    pub fn tokens(&self) -> Found {
        let token = self.token.as_ref().map(|token| token.as_str());
        Found::from_token(token, self.signature.as_deref())
    }

    /// The keys of the licence: a renewal does not name them.
    pub fn keys(&self) -> Vec<KeyQuery> {
        let ids = self.keys.iter().filter_map(|id| Id::from_text(id));
        ids.map(KeyQuery::from_id).collect()
    }

    /// Whether a request is a renewal of the licence that the ticket came with.
    ///
    /// # Errors
    /// [`Error::RenewalTicket`]
    pub(super) fn check(&self, system: DrmSystem, asked: &Request<'_>) -> Result<(), Error> {
        let session = asked.license_session.map(|id| BASE64_URL.encode(id));
        let is_of_it = self.drm == system.name()
            && asked.intent == Intent::Renewal
            && session.is_some_and(|session| session == self.session);
        match is_of_it {
            true => Ok(()),
            false => Err(Error::RenewalTicket(
                "the request does not renew the licence that this URL belongs to",
            )),
        }
    }
}

impl<P: Platform> LicenceServer<P> {
    /// Reads the ticket of a renewal.
    ///
    /// # Errors
    /// [`Error::RenewalTicket`], and [`Error::Settings`].
    pub async fn renewal_ticket(&self, text: &str) -> Result<RenewalTicket, Error> {
        const FOREIGN: Error = Error::RenewalTicket("this server did not make it");
        let secret = self.server_secret().await?.ok_or(FOREIGN)?;
        let sealed = encoding::base64(text).ok_or(FOREIGN)?;
        let json = secret.open(Label::Renewal, &sealed).ok_or(FOREIGN)?;
        let ticket: RenewalTicket = encoding::from_json(&json).map_err(|_| FOREIGN)?;
        match self.platform.now() < ticket.until {
            true => Ok(ticket),
            false => Err(Error::RenewalTicket("it has expired")),
        }
    }

    /// Where the renewals of a licence go. `None` where the player needs a token again: without `public_url` or
    /// `server_secret`, where the player keeps a session of its own, and where the URL would be too long.
    pub(super) async fn renewal_url(
        &self,
        system: DrmSystem,
        request: &LicenseRequest<'_>,
        asked: &Request<'_>,
        device: Option<&str>,
    ) -> Result<Option<String>, Error> {
        let Some(session) = asked
            .license_session
            .filter(|_| request.session.token.is_none())
        else {
            return Ok(None);
        };
        let now = self.platform.now();
        let ticket = match request.renewal {
            Renewal::ByPlayer => return Ok(None),
            Renewal::ByUrl(tokens) => RenewalTicket {
                drm: system.name().to_owned(),
                // A viewer without a token was let in by an open policy.
                token: {
                    tokens
                        .one(self.policies().await?.dialects(), &self.platform)
                        .await?
                        .ok()
                }
                .map(|token| Zeroizing::new(token.to_owned())),
                signature: tokens.signature().map(ToOwned::to_owned),
                keys: asked
                    .keys
                    .iter()
                    .map(|query| query.id().to_string())
                    .collect(),
                verified_at: now,
                session: BASE64_URL.encode(session),
                device: device.map(ToOwned::to_owned),
                until: now.saturating_add(LIFE),
            },
            Renewal::Ticket(ticket) => RenewalTicket {
                drm: ticket.drm.clone(),
                token: ticket.token.clone(),
                signature: ticket.signature.clone(),
                keys: ticket.keys.clone(),
                session: ticket.session.clone(),
                device: ticket.device.clone(),
                until: now.saturating_add(LIFE),
                ..*ticket
            },
        };
        let secret = self.server_secret().await?;
        let url = PublicUrl::load(&self.platform).await?;
        let Some((secret, url)) = secret.zip(url) else {
            return Ok(None);
        };
        let json = Zeroizing::new(serde_json::to_vec(&ticket).unwrap_or_default());
        let sealed = secret.seal(Label::Renewal, &json, &self.platform);
        let ticket = sealed.map(|sealed| BASE64_URL.encode(sealed));
        let url =
            ticket.map(|ticket| url.with(&format!("/{}?{PARAMETER}={ticket}", system.name())));
        Ok(url.filter(|url| url.len() <= LONGEST))
    }
}
