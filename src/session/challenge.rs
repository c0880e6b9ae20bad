//! Challenges that a device answers in a sync SPC, so that a report cannot be shown twice.
//!
//! | key | holds |
//! |---|---|
//! | `challenge/{period}/{challenge}` | seconds since 1970 at which it was given out |
//! | `challenge-used/{period}/{challenge}` | counter: how often it has come back |
//!
//! A period is as long as a challenge lives, counted from 1970.

use serde::Serialize;

use super::{Error, text, unless_allowed};
use crate::platform::{self, Platform};
use crate::store_key::{End, Family, Period};

/// How long a challenge is valid, in seconds.
pub const LIFETIME: u64 = 600;

/// A challenge of a period is still valid in the next one.
const END: End = End::Period(Period {
    part: 0,
    seconds: LIFETIME,
    lasts: 2 * LIFETIME,
});

const ISSUED: Family = Family::new("challenge", 2, END);
const REDEEMED: Family = Family::new("challenge-used", 2, END);

/// What the store keeps of challenges.
pub(super) const FAMILIES: [Family; 2] = [ISSUED, REDEEMED];

/// Whether a report answers a challenge of this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(inline))]
pub enum Answer {
    /// It answers one, for the first time.
    Matched,
    /// It has no challenge.
    Absent,
    /// It has a challenge, and there is no store to check it with.
    Unchecked,
}

/// What a device is to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Challenge {
    /// The challenge itself, never all zeros.
    pub bytes: [u8; 8],
    /// The last second since 1970 at which it is valid.
    pub expires_at: u64,
}

/// Issues a challenge.
///
/// # Errors
/// [`Error::Store`] when the store does not keep it.
pub async fn issue(platform: &impl Platform, now: u64) -> Result<Challenge, Error> {
    let mut challenge = [0; 8];
    // Zero means that there is no challenge.
    while challenge == [0; 8] {
        platform.fill_random(&mut challenge);
    }
    let name = format!("{}/{}", now / LIFETIME, hex::encode(challenge));
    platform
        .set(&ISSUED.key(name), now.to_string().as_bytes())
        .await?;
    Ok(Challenge {
        bytes: challenge,
        expires_at: now.saturating_add(LIFETIME),
    })
}

/// Redeems a challenge; 0 means that there is none.
///
/// # Errors
/// [`Error::Challenge`] for one that is not valid; [`Error::Store`] when the store fails and
/// `store_failure` does not allow that.
pub async fn redeem(platform: &impl Platform, challenge: u64, now: u64) -> Result<Answer, Error> {
    if challenge == 0 {
        return Ok(Answer::Absent);
    }
    match claim(platform, challenge, now).await {
        Err(Error::Store(platform::Error::StoreUnsupported)) => Ok(Answer::Unchecked),
        result => unless_allowed(result, Answer::Unchecked, platform).await,
    }
}

async fn claim(platform: &impl Platform, challenge: u64, now: u64) -> Result<Answer, Error> {
    let period = now / LIFETIME;
    for period in [Some(period), period.checked_sub(1)].into_iter().flatten() {
        let name = format!("{period}/{challenge:016x}");
        let issued = text(platform, &ISSUED.key(&name)).await?;
        let issued = issued.and_then(|digits| digits.parse::<u64>().ok());
        if issued.is_some_and(|issued| now <= issued.saturating_add(LIFETIME)) {
            let times = platform.increment(&REDEEMED.key(name), 1).await?;
            return match times {
                1 => Ok(Answer::Matched),
                _ => Err(Error::Challenge),
            };
        }
    }
    Err(Error::Challenge)
}
