//! Times and spans of time in words.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Units of time with their seconds, the largest first.
const UNITS: [(u64, &str); 5] = [
    (365 * 86_400, "year"),
    (86_400, "day"),
    (3_600, "hour"),
    (60, "minute"),
    (1, "second"),
];

/// A span in its two largest units, such as `2 days 3 hours`. What is smaller is left out.
pub fn span(seconds: impl Into<u64>) -> String {
    let seconds = seconds.into();
    let largest = UNITS.iter().position(|(unit, _)| seconds >= *unit);
    let Some(largest) = largest else {
        return "0 seconds".to_owned();
    };
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (unit, name) in UNITS.iter().skip(largest).take(2) {
        let number = rest / unit;
        rest %= unit;
        if number > 0 {
            parts.push(counted(number, name));
        }
    }
    parts.join(" ")
}

/// A number and what is counted, such as `1 key` and `2 keys`.
pub fn counted(number: u64, name: &str) -> String {
    match number {
        1 => format!("1 {name}"),
        number => format!("{number} {name}s"),
    }
}

/// A moment, given in seconds since 1970, in the time zone of this machine, such as
/// `2026-11-28 12:05:10 CET (+01:00)`. Where the machine has no zone it is UTC.
pub fn local_time(seconds: u64) -> String {
    let zone = TimeZone::try_system().unwrap_or(TimeZone::UTC);
    in_zone(seconds, zone)
}

fn in_zone(seconds: u64, zone: TimeZone) -> String {
    let moment = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok());
    let Some(moment) = moment else {
        return format!("{seconds} seconds after 1970");
    };
    let moment = moment.to_zoned(zone);
    let (offset, name) = (
        moment.strftime("%:z").to_string(),
        moment.strftime("%Z").to_string(),
    );
    let zone = match name.as_str() {
        "" | "Etc/Unknown" => format!("UTC{offset}"),
        "UTC" => name,
        // Names of three letters mean several zones.
        name => format!("{name} ({offset})"),
    };
    format!("{} {zone}", moment.strftime("%Y-%m-%d %H:%M:%S"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_their_two_largest_units() {
        for (seconds, words) in [
            (0_u64, "0 seconds"),
            (1, "1 second"),
            (61, "1 minute 1 second"),
            (300, "5 minutes"),
            (5_400, "1 hour 30 minutes"),
            (3_601, "1 hour"),
            (2_592_000, "30 days"),
            (90_061, "1 day 1 hour"),
            (95_865_285, "3 years 14 days"),
        ] {
            assert_eq!(span(seconds), words);
        }
    }

    #[test]
    fn a_moment_has_the_zone_that_it_is_in() {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        for (seconds, words) in [
            (1_795_863_910, "2026-11-28 12:05:10 CET (+01:00)"),
            (1_782_000_000, "2026-06-21 02:00:00 CEST (+02:00)"),
        ] {
            assert_eq!(in_zone(seconds, zone.clone()), words);
        }
        assert_eq!(in_zone(0, TimeZone::UTC), "1970-01-01 00:00:00 UTC");
        assert!(in_zone(u64::MAX, TimeZone::UTC).contains("1970"));
    }
}
