//! Use counters over the key-value store.
//!
//! Claims are made by `increment` alone: compare-and-swap is not dependable across stores. There
//! is no expiry in the interface, so every key names the day (counted from 1970) after which it
//! means nothing:
//!
//! | key | holds |
//! |---|---|
//! | `use/{day}/{token}` | counter: licences that the token was counted for |
//! | `use-last/{day}/{token}/{licence}` | `{number} {time}` of the last such licence that was counted: the count it came to, and seconds since 1970 |
//! | `use-repeat/{day}/{token}/{licence}/{number}` | counter: repeats of that licence |
//!
//! `token` and `licence` are SHA-256 digests in hexadecimal, the second one of token, device and key
//! record: nothing in the store says who plays what.

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::error::{Code, Problem, SettingError, SettingsError};
use crate::id::Id;
use crate::platform::{self, Platform};
use crate::secret::Secret;

/// The variable that says what happens when the store fails.
pub const STORE_FAILURE: &str = "store_failure";

/// How long a device may ask again for a licence that was counted, in seconds. Players do so for
/// AirPlay.
pub const REPEAT_SECONDS: u64 = 30;

/// How often it may.
pub const REPEATS: i64 = 3;

const SECONDS_OF_A_DAY: u64 = 86_400;

/// Why a use is not granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Every use that the token allows has been made.
    #[error("the token is good for {0} licences, and they have been given")]
    Spent(u32),
    /// The store did not count.
    #[error(transparent)]
    Store(platform::Error),
    /// `store_failure` does not load.
    #[error(transparent)]
    Settings(#[from] SettingsError),
}

impl Error {
    /// The code of this error.
    pub fn code(&self) -> Code {
        match self {
            Self::Spent(_) => Code::USES_SPENT,
            Self::Store(platform::Error::StoreUnsupported) => Code::STORE_UNSUPPORTED,
            Self::Store(_) => Code::STORE_UNAVAILABLE,
            Self::Settings(error) => error.code(),
        }
    }
}

/// What happens to a request whose count fails with the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreFailure {
    /// It is refused.
    Deny,
    /// It is granted, uncounted.
    Allow,
}

impl StoreFailure {
    /// Reads the setting.
    ///
    /// # Errors
    /// A value that is neither `deny` nor `allow`.
    pub async fn load(platform: &impl Platform) -> Result<Self, SettingsError> {
        let value = platform.variable(STORE_FAILURE).await?;
        match value.as_deref().map(String::as_str) {
            None | Some("deny") => Ok(Self::Deny),
            Some("allow") => Ok(Self::Allow),
            Some(_) => Err(SettingError::new(
                STORE_FAILURE,
                Problem::Malformed,
                "it is neither `deny` nor `allow`",
            )
            .into()),
        }
    }
}

/// How a licence stands in the count of its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Use {
    /// It was counted.
    Counted,
    /// Its device repeats one that was counted.
    Repeated,
    /// The store failed, and `store_failure` allows it.
    Uncounted,
}

/// A request for one licence with a token that is good for a number of them.
pub struct Claim<'a> {
    /// What tells the token from every other.
    pub token: &'a [u8],
    /// When the token is accepted no more, in seconds since 1970.
    pub expires: u64,
    /// Anonymised device identifier (HU).
    pub device: &'a Secret<20>,
    /// The key record.
    pub key: &'a Id,
    /// How many licences the token is good for.
    pub limit: u32,
    /// Seconds since 1970.
    pub now: u64,
}

impl Claim<'_> {
    /// Counts the licence, and says whether it is within the limit. The count is made first, so
    /// that of many requests at a time no more than the limit are within it.
    ///
    /// The device that got a licence may ask for it again, [`REPEATS`] times within
    /// [`REPEAT_SECONDS`]; for another key it is another licence.
    ///
    /// # Errors
    /// [`Error::Spent`] beyond the limit; [`Error::Store`] when the store did not count and
    /// `store_failure` does not allow that. A host that has no store never does.
    pub async fn make(&self, platform: &impl Platform) -> Result<Use, Error> {
        match self.count(platform).await {
            Err(Error::Store(error)) if error != platform::Error::StoreUnsupported => {
                match StoreFailure::load(platform).await? {
                    StoreFailure::Deny => Err(Error::Store(error)),
                    StoreFailure::Allow => Ok(Use::Uncounted),
                }
            }
            other => other,
        }
    }

    async fn count(&self, platform: &impl Platform) -> Result<Use, Error> {
        let keys = Keys::of(self);
        if self.is_repeat(&keys, platform).await? {
            return Ok(Use::Repeated);
        }
        let uses = platform
            .increment(&keys.uses, 1)
            .await
            .map_err(Error::Store)?;
        if uses <= i64::from(self.limit) {
            // It is counted. A store that fails now costs the device its repeats and no more.
            let licence = format!("{uses} {}", self.now);
            let _ = platform.set(&keys.last, licence.as_bytes()).await;
            return Ok(Use::Counted);
        }
        // The device's other request may have been counted a moment ago.
        if self.is_repeat(&keys, platform).await? {
            return Ok(Use::Repeated);
        }
        Err(Error::Spent(self.limit))
    }

    async fn is_repeat(&self, keys: &Keys, platform: &impl Platform) -> Result<bool, Error> {
        let last = platform.get(&keys.last).await.map_err(Error::Store)?;
        let last = last.and_then(|licence| String::from_utf8(licence).ok());
        let Some((number, time)) = last.as_deref().and_then(|licence| licence.split_once(' '))
        else {
            return Ok(false);
        };
        let is_recent = |time: u64| self.now <= time.saturating_add(REPEAT_SECONDS);
        if !time.parse().is_ok_and(is_recent) {
            return Ok(false);
        }
        let repeats = platform
            .increment(&format!("{}/{number}", keys.repeats), 1)
            .await
            .map_err(Error::Store)?;
        Ok(repeats <= REPEATS)
    }
}

struct Keys {
    uses: String,
    last: String,
    repeats: String,
}

impl Keys {
    fn of(claim: &Claim<'_>) -> Self {
        let day = claim.expires.div_ceil(SECONDS_OF_A_DAY);
        let token = Sha256::digest(claim.token);
        let licence = Sha256::new()
            .chain_update(token)
            .chain_update(claim.device.expose())
            .chain_update(claim.key.to_string())
            .finalize();
        let (token, licence) = (hex::encode(token), hex::encode(licence));
        Self {
            uses: format!("use/{day}/{token}"),
            last: format!("use-last/{day}/{token}/{licence}"),
            repeats: format!("use-repeat/{day}/{token}/{licence}"),
        }
    }
}
