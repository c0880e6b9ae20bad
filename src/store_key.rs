//! Keys of the key-value store: what they are made of, and when a key is over.
//!
//! A key is the name of its family and the parts behind it, with a slash before each. The room that writes a family has
//! its row, and makes each key with [`Family::key`]. `sweep` has all rows.

use std::fmt::Display;

/// Seconds of a day.
pub const DAY: u64 = 86_400;

/// Keys of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// What each of its keys begins with, without the slash behind it.
    pub name: &'static str,
    /// How many parts follow; `None`: the rest is one name, in which there may be slashes.
    pub parts: Option<usize>,
    /// When a key of it is over.
    pub end: End,
}

/// When a key is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Never by itself.
    Never,
    /// With the period that the key names.
    Period(Period),
    /// With the day that its first part names. The second part is a token, whose counter ([`Self::Token`]) must go before
    /// the last of these keys.
    Use,
    /// With the last [`Self::Use`] of the token that is its one part.
    Token,
    /// Some days after its session, which its value describes.
    Record,
    /// Some days after the day on which its session was opened, which is its first part, unless a session that was opened
    /// on that day or before is still alive.
    Session,
}

/// Where a key names its period, and until when it has an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// Which part is the number of the period, counted from 0.
    pub part: usize,
    /// The length of a period in seconds. Periods are counted from 1970; 1: the part is the second at which it begins.
    pub seconds: u64,
    /// How long after the beginning of its period a key has an effect, in seconds.
    pub lasts: u64,
}

impl Family {
    /// A family of keys with so many parts.
    pub const fn new(name: &'static str, parts: usize, end: End) -> Self {
        let parts = Some(parts);
        Self { name, parts, end }
    }

    /// The key of its parts.
    pub fn key(&self, parts: impl Display) -> String {
        format!("{}/{parts}", self.name)
    }

    /// The parts of a key; `None` where it is not of this family.
    pub fn parts<'a>(&self, key: &'a str) -> Option<Vec<&'a str>> {
        let rest = key.strip_prefix(self.name)?.strip_prefix('/')?;
        let parts: Vec<&str> = match self.parts {
            Some(_) => rest.split('/').collect(),
            None => vec![rest],
        };
        let is_whole = self.parts.is_none_or(|expected| expected == parts.len());
        let is_filled = parts.iter().all(|part| !part.is_empty());
        let number = match self.end {
            End::Period(Period { part, .. }) => Some(part),
            End::Use | End::Session => Some(0),
            End::Never | End::Token | End::Record => None,
        };
        let is_numbered =
            number.is_none_or(|at| parts.get(at).copied().and_then(number_of).is_some());
        (is_whole && is_filled && is_numbered).then_some(parts)
    }
}

impl Period {
    /// Until when a key has an effect, in seconds since 1970; `None` where it names no period.
    pub fn end(&self, parts: &[&str]) -> Option<u64> {
        let number = parts.get(self.part).copied().and_then(number_of)?;
        Some(
            number
                .saturating_mul(self.seconds)
                .saturating_add(self.lasts),
        )
    }
}

/// A number as keys have it: decimal digits, without a sign and without zeros before it.
pub fn number_of(part: &str) -> Option<u64> {
    let is_plain = part == "0" || !part.starts_with('0');
    let is_plain = is_plain && part.bytes().all(|byte| byte.is_ascii_digit());
    part.parse().ok().filter(|_| is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: Family = Family::new(
        "slot",
        3,
        End::Period(Period {
            part: 0,
            seconds: 60,
            lasts: 120,
        }),
    );

    #[test]
    fn a_key_is_of_a_family_when_all_its_parts_are() {
        let key = SLOT.key(format_args!("7/viewer/{}", 0));
        assert_eq!(key, "slot/7/viewer/0");
        let parts = SLOT.parts(&key).unwrap();
        assert_eq!(parts, ["7", "viewer", "0"]);
        let End::Period(period) = SLOT.end else {
            unreachable!()
        };
        assert_eq!(period.end(&parts), Some(7 * 60 + 120));
        for other in [
            "slot/7/viewer",
            "slot/7/viewer/0/1",
            "slot/7//0",
            "slot/x/viewer/0",
            "slot/+7/viewer/0",
            "slot/07/viewer/0",
            "slots/7/viewer/0",
            "slot",
            "another/slot/7/viewer/0",
        ] {
            assert_eq!(SLOT.parts(other), None, "{other}");
        }
        let named = Family {
            name: "key",
            parts: None,
            end: End::Never,
        };
        assert_eq!(named.parts("key/a/b"), Some(vec!["a/b"]));
        assert_eq!(named.parts("key/"), None);
    }

    #[test]
    fn a_number_of_any_size_has_an_end() {
        let key = SLOT.key(format_args!("{}/viewer/0", u64::MAX));
        let End::Period(period) = SLOT.end else {
            unreachable!()
        };
        assert_eq!(period.end(&SLOT.parts(&key).unwrap()), Some(u64::MAX));
    }
}
