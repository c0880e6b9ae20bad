//! Limits on what one token and one viewer ask for. Beyond them, a request is told in the audit, or refused.
//!
//! | key | holds |
//! |---|---|
//! | `abuse/{end}/{measure}/{who}` | counter: licences of a token, or different devices, addresses and countries |
//! | `abuse-seen/{end}/{measure}/{who}/{what}` | counter: how often one of these was seen |
//!
//! `end` is the end of the period, in seconds since 1970. `who` is the SHA-256 digest of a token in hexadecimal, or the
//! pseudonym of a viewer; `what` the digest of `who` with the device, the address or the country. Only licences that nothing else
//! refuses are counted.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Error, unless_allowed};
use crate::configuration::{SettingError, SettingsError};
use crate::encoding;
use crate::entitlement::ClientOrigin;
use crate::platform::Platform;
use crate::store_key::{End, Family, Period};

/// The variable with the limits: a JSON object.
pub const VARIABLE: &str = "abuse";

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
    /// What counts once in a period; `None` where each request counts.
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

    /// Counts a request for a licence, and returns the limits that it is beyond. A limit costs one operation of the store; two
    /// where the device, the address or the country is new, and three where it is refused. What is not known of a request is
    /// not counted.
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
            let signal = match self.action {
                // For want of a signal nobody goes without a licence.
                Action::Report => counted.unwrap_or_default(),
                Action::Refuse => unless_allowed(counted, None, platform).await?,
            };
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
        let seen = measure.what.as_ref().map(|what| {
            let what = hex::encode(Sha256::digest(format!("{who}\0{what}")));
            SEEN.key(format_args!("{end}/{name}/{who}/{what}"))
        });
        if let Some(seen) = &seen
            && platform.increment(seen, 1).await? > 1
        {
            return Ok(None);
        }
        let key = COUNTED.key(format_args!("{end}/{name}/{who}"));
        let count = platform.increment(&key, 1).await?;
        if count <= i64::from(measure.limit.get()) {
            return Ok(None);
        }
        if let (Some(seen), Action::Refuse) = (&seen, self.action) {
            // It is as new when it comes again.
            platform.increment(seen, -1).await?;
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
        const DAY: u64 = 24 * HOUR;
        let token = request
            .token
            .map(|token| hex::encode(Sha256::digest(token)));
        let subject = request.subject.map(ToOwned::to_owned);
        let of = |what: Option<String>| what.map(Some);
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
