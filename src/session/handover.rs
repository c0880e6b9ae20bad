//! Hand-overs: how often a viewer goes on with another device before the lease of the last one is over.
//!
//! | key | holds |
//! |---|---|
//! | `handover/{start}/{subject}` | counter: the hand-overs of a viewer in the window that starts at this second since 1970 |
//!
//! Windows have five minutes, or the time of the longest lease where that is more, and are counted from 1970. A
//! hand-over counts with those of the window before, so that in any five minutes there are no more of them
//! than are allowed. Near the end of a window, where another instance may already count the next one, it is
//! counted in both.

use super::Error;
use super::period::{LONGEST, Period};
use super::record::handover_key;
use crate::configuration::{SettingError, SettingErrorKind, SettingsError};
use crate::platform::Platform;

/// The variable with the number of immediate hand-overs in five minutes: 0 to 10, default 1.
pub const VARIABLE: &str = "stream_handovers";

const USUAL: i64 = 1;
const MOST: i64 = 10;

/// The shortest window, in seconds.
const SHORTEST_WINDOW: u64 = 300;

/// The longest one, in seconds.
pub(super) const LONGEST_WINDOW: u64 = 2 * LONGEST;

/// How many immediate hand-overs a viewer has in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handovers(i64);

impl Handovers {
    /// Reads the setting.
    ///
    /// # Errors
    /// A value that is no such number.
    pub async fn load(platform: &impl Platform) -> Result<Self, SettingsError> {
        let Some(value) = platform.variable(VARIABLE).await? else {
            return Ok(Self(USUAL));
        };
        match value.trim().parse() {
            Ok(number) if (0..=MOST).contains(&number) => Ok(Self(number)),
            _ => Err(SettingError::new(
                VARIABLE,
                SettingErrorKind::Malformed,
                "it is not a number from 0 to 10",
            )
            .into()),
        }
    }

    /// Counts a hand-over. Returns the second since 1970 at which its window starts; `None` where the viewer has had as many as are allowed.
    ///
    /// # Errors
    /// [`Error::Store`]
    pub(super) async fn count(
        self,
        platform: &impl Platform,
        period: Period,
        subject: &str,
        now: u64,
    ) -> Result<Option<u64>, Error> {
        if self.0 == 0 {
            return Ok(None);
        }
        let length = window_seconds(period);
        let window = now / length;
        let key = |window: u64| handover_key(window.saturating_mul(length), subject);
        // A player that tries again and again does not use up the next one.
        let before = value(platform, &key(window.saturating_sub(1))).await?;
        let so_far = value(platform, &key(window)).await?;
        if before.saturating_add(so_far) >= self.0 {
            return Ok(None);
        }
        let mut counted = platform.increment(&key(window), 1).await?;
        let next = now.saturating_add(period.guard()) / length;
        if next > window {
            counted = counted.max(platform.increment(&key(next), 1).await?);
        }
        // Another instance may have counted in the window before since.
        let before = value(platform, &key(window.saturating_sub(1))).await?;
        Ok((before.saturating_add(counted) <= self.0).then(|| window.saturating_mul(length)))
    }

    /// Deletes the counter of the window that starts at `before`, unless it counts with the one that starts at `start`.
    pub(super) async fn clear(
        self,
        platform: &impl Platform,
        period: Period,
        subject: &str,
        before: u64,
        start: u64,
    ) {
        if before.saturating_add(window_seconds(period)) < start {
            let _ = platform.delete(&handover_key(before, subject)).await;
        }
    }
}

/// The value of a counter. Hosts write it in their own ways, so it is asked for by a sum.
async fn value(platform: &impl Platform, key: &str) -> Result<i64, Error> {
    match platform.get(key).await? {
        None => Ok(0),
        Some(_) => Ok(platform.increment(key, 0).await?),
    }
}

/// The length of a window in seconds: no lease lasts longer than two periods.
fn window_seconds(period: Period) -> u64 {
    SHORTEST_WINDOW.max(period.seconds().saturating_mul(2))
}
