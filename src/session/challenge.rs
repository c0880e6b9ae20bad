//! Challenges that a device answers in a sync SPC, so that a report cannot be shown twice.
//!
//! | key | holds |
//! |---|---|
//! | `challenge/{period}/{challenge}` | seconds since 1970 at which it was given out |
//! | `challenge-used/{period}/{challenge}` | counter: how often it has come back |
//!
//! A period is as long as a challenge lives, counted from 1970.

use serde::Serialize;

use super::{Error, unless_allowed};
use crate::platform::{self, Platform};

/// How long a challenge is waited for, in seconds.
pub const LIFETIME: u64 = 600;

/// How a report stands to the challenges that were given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// It answers one that was waited for, for the first time.
    Matched,
    /// It answers none.
    Absent,
    /// There is no store to check it with.
    Unchecked,
}

/// Gives out a challenge of 8 bytes.
///
/// # Errors
/// [`Error::Store`] when the store does not remember it.
pub async fn issue(platform: &impl Platform, now: u64) -> Result<[u8; 8], Error> {
    let mut challenge = [0; 8];
    // Zero stands for no challenge.
    while challenge == [0; 8] {
        platform.fill_random(&mut challenge);
    }
    let key = format!("challenge/{}/{}", now / LIFETIME, hex::encode(challenge));
    platform
        .set(&key, now.to_string().as_bytes())
        .await
        .map_err(Error::Store)?;
    Ok(challenge)
}

/// Takes back a challenge; 0 is none.
///
/// # Errors
/// [`Error::Challenge`] for one that is not waited for; [`Error::Store`] when the store fails and
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
        let issued = platform
            .get(&format!("challenge/{name}"))
            .await
            .map_err(Error::Store)?;
        let issued = issued
            .and_then(|digits| String::from_utf8(digits).ok())
            .and_then(|digits| digits.parse::<u64>().ok());
        if issued.is_some_and(|issued| now <= issued.saturating_add(LIFETIME)) {
            let times = platform
                .increment(&format!("challenge-used/{name}"), 1)
                .await
                .map_err(Error::Store)?;
            return match times {
                1 => Ok(Answer::Matched),
                _ => Err(Error::Challenge),
            };
        }
    }
    Err(Error::Challenge)
}
