//! Use counters: how many licences a token is good for.
//!
//! A day is counted from 1970. It is the day on which the token ends:
//!
//! | key | holds |
//! |---|---|
//! | `use/{token}` | counter: licences that the token was counted for |
//! | `use-last/{day}/{token}/{licence}` | `{number} {time}` of the last such licence that was counted: its count, and seconds since 1970 |
//! | `use-repeat/{day}/{token}/{licence}/{number}` | counter: repeats of that licence |
//!
//! `token` and `licence` are SHA-256 digests in hexadecimal, the second one of token, device and key
//! record: nothing in the store shows who plays what.

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{Error, text, unless_allowed};
use crate::drm::Repeats;
use crate::platform::Platform;
use crate::store_key::{DAY, End, Family, Period};

/// The counters of tokens.
const USES: Family = Family::new("use", 1, End::Token);

/// The last licence of a kind that was counted.
const LAST: Family = Family::new("use-last", 3, End::Use);

/// Repeats of a licence.
const REPEATS: Family = Family::new(
    "use-repeat",
    4,
    End::Period(Period {
        part: 0,
        seconds: DAY,
        lasts: DAY,
    }),
);

/// What the store keeps of uses.
pub(super) const FAMILIES: [Family; 3] = [USES, LAST, REPEATS];

/// How a licence was counted for its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Use {
    /// It was counted.
    Counted,
    /// Its device asked again for one that was counted.
    Repeated,
    /// The store failed, and `store_failure` allows it.
    Uncounted,
}

/// A request for one licence with a token that is good for a number of them.
pub struct Claim<'a> {
    /// The bytes that identify the token.
    pub token: &'a [u8],
    /// When the token is no longer accepted, in seconds since 1970.
    pub expires: u64,
    /// The device's own identifier.
    pub device: &'a [u8],
    /// Ids of the key records, one per line.
    pub keys: &'a str,
    /// How many licences the token is good for.
    pub limit: u32,
    /// How often the same licence may be asked for again.
    pub repeats: Repeats,
    /// Seconds since 1970.
    pub now: u64,
}

impl Claim<'_> {
    /// Counts the licence, and returns how, when it is within the limit. It counts first, so that of
    /// many concurrent requests no more than the limit succeed.
    ///
    /// The device that got a licence may ask for it again, as [`Self::repeats`] says; for another key it is another licence.
    ///
    /// # Errors
    /// [`Error::Spent`] beyond the limit; [`Error::Store`] when the store did not count and
    /// `store_failure` does not allow that, and always on a host without a store.
    pub async fn make(&self, platform: &impl Platform) -> Result<Use, Error> {
        unless_allowed(self.count(platform).await, Use::Uncounted, platform).await
    }

    async fn count(&self, platform: &impl Platform) -> Result<Use, Error> {
        let keys = Keys::from_claim(self);
        if self.is_repeat(&keys, platform).await? {
            return Ok(Use::Repeated);
        }
        let uses = platform.increment(&keys.uses, 1).await?;
        if uses <= i64::from(self.limit) {
            // It is counted. If the store fails now, the device only loses its repeats.
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
        let last = text(platform, &keys.last).await?;
        let Some((number, time)) = last.as_deref().and_then(|licence| licence.split_once(' '))
        else {
            return Ok(false);
        };
        let is_recent = |time: u64| self.now <= time.saturating_add(self.repeats.seconds);
        if !time.parse().is_ok_and(is_recent) {
            return Ok(false);
        }
        let Some(most) = self.repeats.most else {
            return Ok(true);
        };
        let repeats = format!("{}/{number}", keys.repeats);
        Ok(platform.increment(&repeats, 1).await? <= most)
    }
}

struct Keys {
    uses: String,
    last: String,
    repeats: String,
}

impl Keys {
    fn from_claim(claim: &Claim<'_>) -> Self {
        let day = claim.expires / DAY;
        let token = Sha256::digest(claim.token);
        let licence = Sha256::new()
            .chain_update(token)
            .chain_update(claim.device)
            .chain_update(claim.keys)
            .finalize();
        let (token, licence) = (hex::encode(token), hex::encode(licence));
        Self {
            uses: USES.key(&token),
            last: LAST.key(format_args!("{day}/{token}/{licence}")),
            repeats: REPEATS.key(format_args!("{day}/{token}/{licence}")),
        }
    }
}
