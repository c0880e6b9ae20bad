//! Limits on what one token and one viewer ask for. Beyond them, a request is told in the audit, or refused.
//!
//! | key | holds |
//! |---|---|
//! | `abuse/{end}/{measure}/{who}` | counter: licences of a token, or different devices, addresses and countries |
//! | `abuse-seen/{end}/{measure}/{who}/{what}` | counter: how often one of these was seen |
//!
//! `end` is the end of the period, in seconds since 1970. `who` is the SHA-256 digest of a token in hexadecimal, or the
//! pseudonym of a viewer; `what` a pseudonym of the device, the address or the country, or without `server_secret` a digest,
//! which can be guessed. A request is counted once its token, keys and terms are in order, before streams and uses.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Error, unless_allowed};
use crate::configuration::{SettingError, SettingsError};
use crate::encoding;
use crate::entitlement::ClientOrigin;
use crate::platform::Platform;
use crate::server_secret::{Label, ServerSecret};
use crate::store_key::{DAY, End, Family, Period};

/// The variable with the limits: a JSON object.
pub const VARIABLE: &str = "abuse";

/// Added to what was seen, once it is let in.
const ADMITTED: i64 = 1 << 32;

/// The first part is the second at which the period ends.
const PERIOD: End = End::Period(Period {
    part: 0,
    seconds: 1,
    lasts: 0,
});
const COUNTED: Family = Family::new("abuse", 3, PERIOD);
const SEEN: Family = Family::new("abuse-seen", 4, PERIOD);

/// The keys that are written here.
pub(super) const FAMILIES: [Family; 2] = [COUNTED, SEEN];

/// The limits.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Abuse {
    licences_per_token_per_minute: Option<NonZeroU32>,
    addresses_per_token_per_hour: Option<NonZeroU32>,
    devices_per_subject_per_day: Option<NonZeroU32>,
    countries_per_subject_per_hour: Option<NonZeroU32>,
    #[serde(default)]
    action: Action,
}

/// What becomes of a request beyond a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    /// It is answered, and told in the audit.
    #[default]
    Report,
    /// It is refused.
    Refuse,
}

/// Who asks for a licence, as far as it is known.
pub struct Request<'a> {
    /// The bytes that identify the token.
    pub token: Option<&'a [u8]>,
    /// Pseudonym of the viewer.
    pub subject: Option<&'a str>,
    /// Pseudonym of the device.
    pub device: Option<&'a str>,
    /// Where the request comes from. It is needed only where [`Abuse::concerns_origin`] says so.
    pub origin: ClientOrigin,
    /// What pseudonyms are made with.
    pub secret: Option<&'a ServerSecret>,
    /// Seconds since 1970.
    pub now: u64,
}

/// A limit that a request is beyond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Signal {
    /// The member of `abuse`.
    signal: &'static str,
    /// How many there are.
    count: i64,
    /// How many there may be.
    limit: NonZeroU32,
}

/// Something that is counted.
struct Measure {
    name: &'static str,
    limit: NonZeroU32,
    /// In seconds.
    period: u64,
    who: String,
    /// A pseudonym of what counts once in a period; `None` where each request counts.
    what: Option<String>,
}

impl Abuse {
    /// Reads the setting. `None`: nothing is counted.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn load(platform: &impl Platform) -> Result<Option<Self>, SettingsError> {
        let Some(text) = platform.variable(VARIABLE).await? else {
            return Ok(None);
        };
        encoding::from_json(text.as_bytes())
            .map(Some)
            .map_err(|error| SettingError::from_json_error(VARIABLE, &error).into())
    }

    /// Whether a limit looks at where a request comes from.
    pub fn concerns_origin(&self) -> bool {
        self.addresses_per_token_per_hour.is_some() || self.countries_per_subject_per_hour.is_some()
    }

    /// Counts a request for a licence, and returns the limits that it is beyond. A limit costs one operation of the store
    /// where the device, the address or the country is known, else two or, where it is let in by `refuse`, three. What is
    /// not known of a request is not counted. A store that failed once is not asked for the other limits.
    ///
    /// # Errors
    /// [`Error::Abuse`] beyond a limit, where the action is `refuse`; and there [`Error::Store`] when the store fails and
    /// `store_failure` does not allow that.
    pub async fn count(
        &self,
        request: &Request<'_>,
        platform: &impl Platform,
    ) -> Result<Vec<Signal>, Error> {
        let mut signals = Vec::new();
        for measure in self.measures(request) {
            let end = (request.now / measure.period + 1).saturating_mul(measure.period);
            let counted = self.count_one(&measure, end, platform).await;
            let counted = match self.action {
                // For want of a signal nobody goes without a licence.
                Action::Report => counted.ok(),
                Action::Refuse => unless_allowed(counted.map(Some), None, platform).await?,
            };
            // The licence waits for the store.
            let Some(signal) = counted else { break };
            match (signal, self.action) {
                (Some(_), Action::Refuse) => {
                    return Err(Error::Abuse {
                        signal: measure.name,
                        retry_after: u32::try_from(end.saturating_sub(request.now))
                            .unwrap_or(u32::MAX),
                    });
                }
                (signal, _) => signals.extend(signal),
            }
        }
        Ok(signals)
    }

    async fn count_one(
        &self,
        measure: &Measure,
        end: u64,
        platform: &impl Platform,
    ) -> Result<Option<Signal>, Error> {
        let Measure { name, who, .. } = measure;
        let seen = measure.what.as_ref();
        let seen = seen.map(|what| SEEN.key(format_args!("{end}/{name}/{who}/{what}")));
        let times = match &seen {
            Some(seen) => platform.increment(seen, 1).await?,
            None => 1,
        };
        if times > ADMITTED || (times > 1 && self.action == Action::Report) {
            return Ok(None);
        }
        let key = COUNTED.key(format_args!("{end}/{name}/{who}"));
        // Of one that was seen before, the first request counted. It may not have been let in.
        let count = platform.increment(&key, i64::from(times == 1)).await?;
        if count <= i64::from(measure.limit.get()) {
            if let (Some(seen), Action::Refuse, 1) = (&seen, self.action, times) {
                platform.increment(seen, ADMITTED).await?;
            }
            return Ok(None);
        }
        Ok(Some(Signal {
            signal: name,
            count,
            limit: measure.limit,
        }))
    }

    /// What there is to count of a request.
    fn measures(&self, request: &Request<'_>) -> Vec<Measure> {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 60 * MINUTE;
        let token = request
            .token
            .map(|token| hex::encode(Sha256::digest(token)));
        let subject = request.subject.map(ToOwned::to_owned);
        let of = |what: Option<String>| {
            let what = what?;
            Some(Some(match request.secret {
                Some(secret) => secret.pseudonym(Label::Abuse, what.as_bytes()),
                None => hex::encode(Sha256::digest(what)),
            }))
        };
        let address = request.origin.address.map(|address| address.to_string());
        let country = request.origin.country.map(|country| country.to_string());
        let device = request.device.map(ToOwned::to_owned);
        let all = [
            (
                "licences_per_token_per_minute",
                self.licences_per_token_per_minute,
                MINUTE,
                &token,
                Some(None),
            ),
            (
                "addresses_per_token_per_hour",
                self.addresses_per_token_per_hour,
                HOUR,
                &token,
                of(address),
            ),
            (
                "devices_per_subject_per_day",
                self.devices_per_subject_per_day,
                DAY,
                &subject,
                of(device),
            ),
            (
                "countries_per_subject_per_hour",
                self.countries_per_subject_per_hour,
                HOUR,
                &subject,
                of(country),
            ),
        ];
        let known = all
            .into_iter()
            .filter_map(|(name, limit, period, who, what)| {
                Some(Measure {
                    name,
                    limit: limit?,
                    period,
                    who: who.clone()?,
                    what: what?,
                })
            });
        known.collect()
    }
}
