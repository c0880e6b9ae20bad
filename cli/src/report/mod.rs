//! What the audit records of a server tell: how many licences there were and when, how many viewers, why players were
//! refused, and what to do about it.
//!
//! Lines are read as a stream, in bounded memory, and those of any host are understood. No viewer is named: a report has
//! nothing but numbers, names of systems and codes.

mod document;
mod html;
mod input;
mod plot;
mod text;
mod time;

pub use document::Report;
pub use html::page;
pub use input::lines;
pub use text::show;

/// A number for people, such as `12,345`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A part of a whole for people, such as `2.4 %`.
fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// Microseconds for people, such as `1.4 ms`.
fn duration(microseconds: u64) -> String {
    match microseconds {
        0..1_000 => format!("{microseconds} µs"),
        1_000..1_000_000 => format!("{:.1} ms", document::ratio(microseconds, 1_000)),
        _ => format!("{:.1} s", document::ratio(microseconds, 1_000_000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_for_people() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (12_345_678, "12,345,678"),
        ] {
            assert_eq!(grouped(number), text);
        }
        for (microseconds, text) in [(7, "7 µs"), (1_440, "1.4 ms"), (2_500_000, "2.5 s")] {
            assert_eq!(duration(microseconds), text);
        }
        assert_eq!(percent(document::ratio(1, 3)), "33.3 %");
    }
}
