//! What of the key-value store is over, and can be deleted.
//!
//! Nothing here changes an answer: a key is over when whatever reads it would take it for absent, by every clock that is
//! less than [`MARGIN`] behind. Keys that are of no known [`Family`] belong to other programs and are never deleted.
//!
//! Two families are judged by others. A token's counter is over with the last day on which its licences were counted. A
//! session's counters name the day of its opening, and are in use as long as it is renewed: so none is over that was
//! opened on the day of a session that is alive, or later. A [`Survey`] knows both, once it has seen the whole store.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use crate::content_key;
use crate::platform::{Error, Platform};
use crate::session::{self, Record};
use crate::store_key::{DAY, End, Family, number_of};
use crate::{token, widevine};

/// How long after its end a key is kept, in seconds: more than any clock is wrong.
pub const MARGIN: u64 = 7_200;

/// How long the record of a slot stays after its last session, and a session's counters after the day of its opening, in
/// seconds.
///
/// So long a player is told the same of a session that is over: that it was ended, and not that it lapsed. It cannot be less
/// than a day. A session's id is made of a number that the record counts, and its counters are named by the id and the day
/// of the opening: a slot that counts anew on the same day would meet the counters of a session that is over.
const SESSIONS_KEPT: u64 = 7 * DAY;

/// How many keys a step reads and deletes, unless the request says so, and at most.
pub const STEP: usize = 1_000;
/// The most of them.
pub const LONGEST_STEP: usize = 10_000;

/// Every family, from the rooms that write them.
pub fn families() -> impl Iterator<Item = Family> {
    session::families()
        .chain(content_key::store::FAMILIES)
        .chain(content_key::remote::FAMILIES)
        .chain(token::FAMILIES)
        .chain(widevine::FAMILIES)
}

/// A key of a known family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key<'a> {
    /// Its family.
    pub family: Family,
    /// What is behind its name.
    pub parts: Vec<&'a str>,
}

impl<'a> Key<'a> {
    /// Reads a key. `None`: it is of no known family.
    pub fn of(key: &'a str) -> Option<Self> {
        families().find_map(|family| {
            let parts = family.parts(key)?;
            Some(Self { family, parts })
        })
    }

    /// The beginning of the period that it names, in seconds since 1970; `None` where it names none, or its end.
    pub fn began(&self) -> Option<u64> {
        match self.family.end {
            End::Period(period) => {
                let number = self.parts.get(period.part).copied().and_then(number_of)?;
                let began = number.saturating_mul(period.seconds);
                Some(began).filter(|_| period.lasts > 0)
            }
            End::Use | End::Session => Some(self.day()?.saturating_mul(DAY)),
            End::Never | End::Token | End::Record => None,
        }
    }

    /// From when on it may be gone, in seconds since 1970, where it says that all by itself: what a store with expiry can
    /// be told.
    pub fn expires_at(&self) -> Option<u64> {
        match self.family.end {
            End::Period(period) => Some(period.end(&self.parts)?.saturating_add(MARGIN)),
            End::Never | End::Use | End::Token | End::Record | End::Session => None,
        }
    }

    /// Whether its value is needed to judge it.
    pub fn needs_value(&self) -> bool {
        self.family.end == End::Record
    }

    fn day(&self) -> Option<u64> {
        self.parts.first().copied().and_then(number_of)
    }

    /// The token of a [`End::Use`] or [`End::Token`].
    fn token(&self) -> Option<&'a str> {
        match self.family.end {
            End::Use => self.parts.get(1).copied(),
            End::Token => self.parts.first().copied(),
            End::Never | End::Period(_) | End::Record | End::Session => None,
        }
    }
}

/// What must be known of the whole store before each of its keys can be judged.
#[derive(Debug)]
pub struct Survey {
    /// Seconds since 1970.
    now: u64,
    /// The last day of each token.
    tokens: HashMap<Box<str>, u64>,
    /// The first day on which a session was opened that is alive; the day before this one, where none is. A session that
    /// is opened after the survey is no older.
    first_day: u64,
}

impl Survey {
    /// Nothing is seen yet.
    pub fn new(now: u64) -> Self {
        Self {
            now,
            tokens: HashMap::new(),
            first_day: (now / DAY).saturating_sub(1),
        }
    }

    /// Sees a key, and its value where that [is needed](Key::needs_value).
    pub fn see(&mut self, key: &Key<'_>, value: Option<&[u8]>) {
        match key.family.end {
            End::Use => {
                if let (Some(token), Some(day)) = (key.token(), key.day()) {
                    match self.tokens.get_mut(token) {
                        Some(last) => *last = day.max(*last),
                        None => drop(self.tokens.insert(token.into(), day)),
                    }
                }
            }
            End::Record => {
                let record = value.and_then(Record::from_value);
                let is_alive = |record: &Record| !self.is_past(record.ends_at());
                if let Some(record) = record.filter(is_alive) {
                    self.first_day = self.first_day.min(record.first_day());
                }
            }
            End::Never | End::Period(_) | End::Token | End::Session => {}
        }
    }

    /// Whether a key is over, once the whole store was seen. `value` as for [`Self::see`]. A key that must not go before
    /// others is over before they are gone, too: delete what [goes last](goes_last) last.
    pub fn is_over(&self, key: &Key<'_>, value: Option<&[u8]>) -> bool {
        let is_day_over = |day: u64| self.is_past(day.saturating_add(1).saturating_mul(DAY));
        match key.family.end {
            End::Never => false,
            End::Period(period) => period.end(&key.parts).is_some_and(|end| self.is_past(end)),
            End::Use => key.day().is_some_and(is_day_over),
            End::Token => {
                let last = key.token().and_then(|token| self.tokens.get(token));
                last.is_some_and(|last| is_day_over(*last))
            }
            End::Record => {
                let record = value.and_then(Record::from_value);
                record.is_some_and(|record| {
                    self.is_past(record.ends_at().saturating_add(SESSIONS_KEPT))
                })
            }
            End::Session => key.day().is_some_and(|day| {
                let end = day.saturating_add(1).saturating_mul(DAY);
                day < self.first_day && self.is_past(end.saturating_add(SESSIONS_KEPT))
            }),
        }
    }

    fn is_past(&self, end: u64) -> bool {
        end.saturating_add(MARGIN) <= self.now
    }
}

/// Whether keys of a family are deleted after all others: without them, nobody would know that a token's counter is over.
pub fn goes_last(family: &Family) -> bool {
    family.end == End::Use
}

/// A step of a sweep.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// The `next` of the step before; `None` for the first one.
    pub after: Option<&'a str>,
    /// How many keys it reads and deletes, [`LONGEST_STEP`] at most.
    pub limit: usize,
    /// Whether nothing is deleted.
    pub is_dry: bool,
}

/// What a step of a sweep did.
#[derive(Debug, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "StoreSweep"))]
pub struct Swept {
    /// How many keys were looked at.
    pub looked_at: usize,
    /// How many of them were deleted, by family. In a dry run: would be.
    pub deleted: BTreeMap<&'static str, usize>,
    /// How many were kept, by family.
    pub kept: BTreeMap<&'static str, usize>,
    /// How many are of no known family. They are left alone.
    pub unknown: usize,
    /// What `after` is for the next step. Absent after the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Makes a step of a sweep: looks at keys from the last one of the alphabet to the first, until it has read and deleted as
/// many as the step allows.
///
/// In this order a token's counter comes before the keys that say that it is over, and the record of a session before
/// counters of sessions. What of the records a later step must know is in `next`.
///
/// # Errors
/// The store does not answer. What was deleted before that is deleted. `None`: `after` is not the `next` of a step.
pub async fn step(platform: &impl Platform, step: Step<'_>) -> Result<Option<Swept>, Error> {
    let mut survey = Survey::new(platform.now());
    let mut after = None;
    if let Some(text) = step.after {
        let Some((day, key)) = text.split_once(':') else {
            return Ok(None);
        };
        let Some(day) = number_of(day) else {
            return Ok(None);
        };
        survey.first_day = day;
        after = Some(key);
    }
    let mut keys = platform.keys().await?;
    keys.sort_unstable_by(|one, other| Reverse(one).cmp(&Reverse(other)));
    keys.dedup();
    for key in keys.iter().filter_map(|key| Key::of(key)) {
        survey.see(&key, None);
    }
    let limit = step.limit.clamp(1, LONGEST_STEP);
    let mut done = 0_usize;
    let mut swept = Swept::default();
    let mut rest = keys
        .iter()
        .filter(|key| after.is_none_or(|after| key.as_str() < after))
        .peekable();
    while let Some(text) = rest.next() {
        swept.looked_at = swept.looked_at.saturating_add(1);
        let Some(key) = Key::of(text) else {
            swept.unknown = swept.unknown.saturating_add(1);
            continue;
        };
        let mut value = None;
        if key.needs_value() {
            value = platform.get(text).await?;
            done = done.saturating_add(1);
            survey.see(&key, value.as_deref());
        }
        let is_over = survey.is_over(&key, value.as_deref());
        if is_over {
            if !step.is_dry {
                platform.delete(text).await?;
            }
            done = done.saturating_add(1);
        }
        let counts = if is_over {
            &mut swept.deleted
        } else {
            &mut swept.kept
        };
        let count = counts.entry(key.family.name).or_default();
        *count = count.saturating_add(1);
        if done >= limit && rest.peek().is_some() {
            swept.next = Some(format!("{}:{text}", survey.first_day));
            break;
        }
    }
    Ok(Some(swept))
}

#[cfg(test)]
mod tests;
