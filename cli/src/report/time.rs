//! Spans of time that a table or a plot has a row or a bar for.

use keylet_audit::{DAY, HOUR, date};

use super::document::Hour;

/// What a row or a bar stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// An hour.
    Hour,
    /// A day.
    Day,
    /// A month.
    Month,
}

impl Span {
    /// The span that gives so many at most, for hours in their order.
    pub fn fitting(hours: &[Hour], unit: &str, most_hours: u64, most_days: u64) -> Self {
        let (first, last) = (hours.first(), hours.last());
        let seconds = match (first, last) {
            (Some(first), Some(last)) => last.time.saturating_sub(first.time),
            _ => 0,
        };
        if unit == "hour" && seconds / HOUR < most_hours {
            Self::Hour
        } else if seconds / DAY < most_days {
            Self::Day
        } else {
            Self::Month
        }
    }

    /// The number of the span that a time (in seconds since 1970) is in. The next span has the next number.
    pub fn number(self, time: u64) -> u64 {
        match self {
            Self::Hour => time / HOUR,
            Self::Day => time / DAY,
            Self::Month => {
                let date = date(time);
                let months = i64::from(date.year()) * 12 + i64::from(date.month()) - 1;
                u64::try_from(months).unwrap_or(0)
            }
        }
    }

    /// A span by its number, such as `2026-11-28 12:00`, `2026-11-28` and `2026-11`.
    pub fn name(self, number: u64) -> String {
        match self {
            Self::Hour => {
                format!("{} {:02}:00", date(number * HOUR), number % (DAY / HOUR))
            }
            Self::Day => date(number * DAY).to_string(),
            Self::Month => format!("{:04}-{:02}", number / 12, number % 12 + 1),
        }
    }

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_its_span() {
        // 2026-11-28 12:05:10
        let time = 1_795_867_510;
        for (span, name) in [
            (Span::Hour, "2026-11-28 12:00"),
            (Span::Day, "2026-11-28"),
            (Span::Month, "2026-11"),
        ] {
            let number = span.number(time);
            assert_eq!(span.name(number), name);
            assert!(span.number(time + 31 * DAY) > number);
        }
        assert_eq!(
            Span::Month.name(Span::Month.number(time + 5 * DAY)),
            "2026-12"
        );
        assert_eq!(
            Span::Month.number(time + 5 * DAY),
            Span::Month.number(time) + 1
        );
    }
}
