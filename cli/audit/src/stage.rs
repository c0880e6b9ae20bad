//! The stages of decisions, and how long they took.

/// Steps between a power of two and the next: a duration is known to a sixteenth.
const STEPS: u32 = 16;

/// The number of ranges of durations.
const RANGES: usize = 64 * 16;

/// Durations in microseconds, counted in ranges that grow with them.
pub struct Durations {
    counts: Vec<u64>,
    number: u64,
    longest: u64,
}

impl Default for Durations {
    fn default() -> Self {
        Self {
            counts: vec![0; RANGES],
            number: 0,
            longest: 0,
        }
    }
}

impl Durations {
    /// Counts a duration.
    pub fn add(&mut self, microseconds: u64) {
        if let Some(count) = self.counts.get_mut(range(microseconds)) {
            *count += 1;
        }
        self.number += 1;
        self.longest = self.longest.max(microseconds);
    }

    /// How many there are.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The longest one.
    pub fn longest(&self) -> u64 {
        self.longest
    }

    /// The duration that so many of a hundred do not exceed, to a sixteenth.
    pub fn percentile(&self, percent: u64) -> u64 {
        let wanted = (u128::from(self.number) * u128::from(percent)).div_ceil(100);
        let mut before = 0;
        for (index, count) in self.counts.iter().enumerate() {
            before += u128::from(*count);
            if before >= wanted && before > 0 {
                return end(index).min(self.longest);
            }
        }
        self.longest
    }
}

/// The range of a duration.
fn range(microseconds: u64) -> usize {
    let Some(power) = microseconds.checked_ilog2().filter(|power| *power >= 4) else {
        return usize::try_from(microseconds).unwrap_or(RANGES - 1);
    };
    // Below 16 each duration has a range of its own; from there on, 16 for each power of two.
    let within = (microseconds >> (power - 4)) & u64::from(STEPS - 1);
    let index = u64::from((power - 3) * STEPS) + within;
    usize::try_from(index).unwrap_or(RANGES - 1)
}

/// The longest duration of a range.
fn end(range: usize) -> u64 {
    let range = u64::try_from(range).unwrap_or(u64::MAX);
    let steps = u64::from(STEPS);
    match range / steps {
        0 => range,
        group => ((steps + range % steps + 1) << (group - 1)).wrapping_sub(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_known_to_a_sixteenth() {
        for duration in (0..5_000).chain([1_000_000, 123_456_789, u64::MAX / 3, u64::MAX]) {
            let end = end(range(duration));
            assert!(end >= duration, "{duration}: {end}");
            assert!(end - duration <= duration / 16, "{duration}: {end}");
        }
    }

    #[test]
    fn percentiles_are_those_of_the_durations() {
        let mut durations = Durations::default();
        assert_eq!(durations.percentile(50), 0);
        (1..=100).for_each(|duration| durations.add(duration * 10));
        assert_eq!((durations.number(), durations.longest()), (100, 1_000));
        let close = |percent, exact: u64| {
            let found = durations.percentile(percent);
            assert!(found >= exact && found <= exact + exact / 16, "{found}");
        };
        close(50, 500);
        close(95, 950);
        assert_eq!(durations.percentile(100), 1_000);
    }
}
