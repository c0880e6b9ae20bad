//! The periods by which sessions are kept.

use crate::configuration::{SettingError, SettingErrorKind, SettingsError};
use crate::platform::Platform;
use crate::store_key::DAY;

/// The variable with the length of a period in seconds: 4 to 600, default 60.
pub const VARIABLE: &str = "session_period";

const USUAL: u64 = 60;
const SHORTEST: u64 = 4;
pub(super) const LONGEST: u64 = 600;

/// How long a period is. Periods are counted from 1970, so every instance has the same ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period(u64);

impl Period {
    /// Reads the setting.
    ///
    /// # Errors
    /// A value that is not such a number.
    pub async fn load(platform: &impl Platform) -> Result<Self, SettingsError> {
        let Some(value) = platform.variable(VARIABLE).await? else {
            return Ok(Self(USUAL));
        };
        match value.trim().parse() {
            Ok(seconds) if (SHORTEST..=LONGEST).contains(&seconds) => Ok(Self(seconds)),
            _ => Err(SettingError::new(
                VARIABLE,
                SettingErrorKind::Malformed,
                "it is not a number of seconds from 4 to 600",
            )
            .into()),
        }
    }

    /// Its length in seconds.
    pub fn seconds(self) -> u64 {
        self.0
    }

    /// How often a player sends a heartbeat, in seconds: twice a period.
    pub fn heartbeat_seconds(self) -> u64 {
        self.0 / 2
    }

    /// How far the clocks of two instances may be apart, in seconds: a twelfth.
    pub fn guard(self) -> u64 {
        (self.0 / 12).max(1)
    }

    /// The period of a time, both counted from 1970.
    pub fn number_at(self, time: u64) -> u64 {
        time / self.0
    }

    /// The day on which the period of a time begins, counted from 1970.
    pub fn day(self, time: u64) -> u64 {
        self.number_at(time).saturating_mul(self.0) / DAY
    }

    /// The last second before its end at which a period is safe from clocks that are ahead, in
    /// seconds since 1970.
    pub fn safe_end(self, period: u64) -> u64 {
        let end = period.saturating_add(1).saturating_mul(self.0);
        end.saturating_sub(self.guard())
    }

    /// Whether a period is one that no clock within the guard can have counted yet: a clock that is ahead by the guard
    /// counts the next period where its own end is as near. What was written by a clock further ahead is worth nothing,
    /// or it would count until that time comes.
    pub fn is_ahead(self, period: u64, now: u64) -> bool {
        period > self.number_at(now.saturating_add(self.guard().saturating_mul(2)))
    }

    /// Until when a session that was renewed in a period plays, in seconds since 1970: the end of the
    /// next period.
    pub fn plays_until(self, renewed: u64) -> u64 {
        self.safe_end(renewed.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_plays_for_the_rest_of_its_period_and_the_next_one() {
        let period = Period(USUAL);
        for (time, until) in [(0, 115), (59, 115), (60, 175)] {
            assert_eq!(period.plays_until(period.number_at(time)), until);
        }
        assert_eq!(period.heartbeat_seconds(), 30);
    }
}
