//! Dates and durations as other services write them.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Reads a date and time with its offset from UTC (RFC 3339 section 5.6), from 1970 on, as seconds
/// since then. Parts of a second are cut off.
///
/// ```text
/// YYYY-MM-DDThh:mm:ss[.fraction](Z | +hh:mm | -hh:mm)
/// ```
pub fn instant(text: &str) -> Option<u64> {
    let instant = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    u64::try_from(instant.unix_timestamp()).ok()
}

/// Reads a duration of ISO 8601 in whole weeks, days, hours, minutes and seconds, such as `PT48H`,
/// `P2D` or `P1DT12H`, as seconds.
///
/// `None` for any other text. Years and months have no fixed length and are not read.
pub fn duration(text: &str) -> Option<u64> {
    let text = text.strip_prefix('P')?;
    let (days, times) = match text.split_once('T') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (text, ""),
    };
    let days = designated(days, &[('W', 604_800), ('D', 86_400)])?;
    let times = designated(times, &[('H', 3_600), ('M', 60), ('S', 1)])?;
    match (days, times) {
        (None, None) => None,
        (days, times) => days.unwrap_or(0).checked_add(times.unwrap_or(0)),
    }
}

/// The sum of numbers with designators in this order. `Some(None)` when there are no numbers.
fn designated(mut text: &str, units: &[(char, u64)]) -> Option<Option<u64>> {
    let mut sum = None;
    for (designator, seconds) in units {
        if let Some((digits, rest)) = text.split_once(*designator) {
            let part = number(digits)?.checked_mul(*seconds)?;
            sum = Some(sum.unwrap_or(0_u64).checked_add(part)?);
            text = rest;
        }
    }
    text.is_empty().then_some(sum)
}

/// Digits and nothing else.
fn number(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()))
        .then(|| text.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_read_with_their_offset_and_nothing_else() {
        for (text, seconds) in [
            ("2027-01-15T08:00:00Z", 1_800_000_000),
            ("2027-01-15T08:00:00.999Z", 1_800_000_000),
            ("2027-01-15T11:00:00.1234567+03:00", 1_800_000_000),
            ("2027-01-15T04:30:00-03:30", 1_800_000_000),
            ("2024-02-29T00:00:00+00:00", 1_709_164_800),
            ("1970-01-01T00:00:00Z", 0),
            ("2027-01-15 08:00:00z", 1_800_000_000),
        ] {
            assert_eq!(instant(text), Some(seconds), "{text}");
        }
        for text in [
            "",
            "2027-01-15",
            "2027-01-15T08:00:00",
            "2027-01-15T08:00Z",
            "2027-1-15T08:00:00Z",
            "2027-01-15T08:00:00.Z",
            "2027-01-15T08:00:00+0300",
            "2027-01-15T08:00:00+24:00",
            "2027-01-15T08:00:00+03:60",
            "2027-01-15T08:00:00+03:00Z",
            "2027-01-15T08:00:00ZZ",
            "2027-01-15T24:00:00Z",
            "2027-01-15T08:60:00Z",
            "2027-02-29T00:00:00Z",
            "2027-13-01T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+00:01",
            "+027-01-15T08:00:00Z",
            "2027-01-15T08:00:0é",
            "2027-01-15T08:00:00é03:00",
            "1800000000",
        ] {
            assert_eq!(instant(text), None, "{text}");
        }
    }

    #[test]
    fn durations_are_seconds() {
        for (text, expected) in [
            ("PT48H", 172_800),
            ("P2D", 172_800),
            ("P1DT12H30M5S", 131_405),
            ("P1W", 604_800),
            ("PT0S", 0),
        ] {
            assert_eq!(duration(text), Some(expected), "{text}");
        }
        for text in [
            "",
            "P",
            "PT",
            "P1",
            "PT1",
            "P1DT",
            "P1Y",
            "P1M",
            "1D",
            "PT1.5S",
            "PT1S1H",
            "P-1D",
            "PT99999999999999999999S",
            "PT9999999999999999999H",
        ] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
