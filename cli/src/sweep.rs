//! A store of the embedded host, looked through without a server: what is in it, and what of it is over.

use std::collections::BTreeMap;

use anyhow::Result;
use keylet::sweep::{self, Key, Survey};
use keylet_host::{Place, Store};
use serde::Serialize;

use crate::progress::Counter;

/// What a store has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Each family by its name.
    pub families: BTreeMap<&'static str, Family>,
    /// Keys of no known family. They are left alone.
    pub unknown: u64,
}

/// Keys of a family.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Family {
    /// How many there were.
    pub keys: u64,
    /// How many bytes they had with their values, where that was asked for: in Redis, of memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// The beginning of the oldest period that a key names, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest: Option<u64>,
    /// The same of the newest one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest: Option<u64>,
    /// How many of them are over. A sweep deletes these.
    pub over: u64,
    /// How many bytes these had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub over_bytes: Option<u64>,
}

/// What is done with what is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It is counted, and so are bytes.
    Measured,
    /// It is counted.
    Counted,
    /// It is deleted.
    Deleted,
}

impl Report {
    /// How many keys are over, of all families.
    pub fn over(&self) -> u64 {
        self.families.values().map(|family| family.over).sum()
    }

    /// How many keys there were.
    pub fn keys(&self) -> u64 {
        let keys = self.families.values().map(|family| family.keys);
        keys.sum::<u64>().saturating_add(self.unknown)
    }

    /// How many bytes the keys of known families had.
    pub fn bytes(&self) -> u64 {
        let families = self.families.values();
        families.filter_map(|family| family.bytes).sum()
    }
}

impl Family {
    fn add(&mut self, key: &Key<'_>, bytes: Option<u64>, is_over: bool) {
        let sum = |all: Option<u64>, bytes: Option<u64>| match (all, bytes) {
            (all, None) => all,
            (all, Some(bytes)) => Some(all.unwrap_or_default().saturating_add(bytes)),
        };
        self.keys = self.keys.saturating_add(1);
        self.bytes = sum(self.bytes, bytes);
        if let Some(began) = key.began() {
            self.oldest = Some(self.oldest.map_or(began, |oldest| oldest.min(began)));
            self.newest = Some(self.newest.map_or(began, |newest| newest.max(began)));
        }
        if is_over {
            self.over = self.over.saturating_add(1);
            self.over_bytes = sum(self.over_bytes, bytes);
        }
    }
}

/// Looks a store through, page by page.
///
/// # Errors
/// A store that fails. What was deleted before that is deleted, and the next sweep deletes the rest.
pub async fn run(store: &Store, now: u64, mode: Mode, counter: &mut Counter) -> Result<Report> {
    let mut survey = Survey::new(now);
    let mut place = Some(Place::Start);
    while let Some(at) = place {
        let page = store.page(&at, false).await?;
        let mut values = values(store, &page.keys).await?;
        for text in &page.keys {
            if let Some(key) = Key::of(text) {
                survey.see(&key, values.remove(text).as_deref());
            }
        }
        counter.add(u64::try_from(page.keys.len())?);
        place = page.next;
    }

    let mut report = Report::default();
    // In the second round go the keys without which nobody would know that others are over.
    let rounds: &[bool] = match mode {
        Mode::Measured | Mode::Counted => &[false],
        Mode::Deleted => &[false, true],
    };
    for is_last in rounds {
        let mut place = Some(Place::Start);
        while let Some(at) = place {
            let page = store.page(&at, mode == Mode::Measured).await?;
            let mut values = values(store, &page.keys).await?;
            let mut over = Vec::new();
            let mut bytes = page.bytes.into_iter();
            for text in &page.keys {
                let bytes = bytes.next();
                let Some(key) = Key::of(text) else {
                    if !is_last {
                        report.unknown = report.unknown.saturating_add(1);
                    }
                    continue;
                };
                let is_of_round = *is_last == sweep::goes_last(&key.family);
                if mode == Mode::Deleted && !is_of_round {
                    continue;
                }
                let value = values.remove(text);
                let is_over = survey.is_over(&key, value.as_deref());
                let family = report.families.entry(key.family.name).or_default();
                family.add(&key, bytes, is_over);
                if is_over && mode == Mode::Deleted {
                    over.push(text.clone());
                }
            }
            let removed = store.remove(&over).await?;
            for (text, _) in over.iter().zip(removed).filter(|(_, was_there)| !was_there) {
                // Redis named it twice, or let it expire meanwhile.
                let family = Key::of(text).map(|key| key.family.name);
                if let Some(family) = family.and_then(|name| report.families.get_mut(name)) {
                    family.over = family.over.saturating_sub(1);
                    family.keys = family.keys.saturating_sub(1);
                }
            }
            counter.add(u64::try_from(over.len())?);
            place = page.next;
        }
    }
    Ok(report)
}

/// The values that are needed to judge keys.
async fn values(store: &Store, keys: &[String]) -> Result<BTreeMap<String, Vec<u8>>> {
    let needs_value = |key: &&String| Key::of(key).is_some_and(|key| key.needs_value());
    let keys: Vec<String> = keys.iter().filter(needs_value).cloned().collect();
    let values = store.values(&keys).await?;
    let values = keys.into_iter().zip(values);
    Ok(values
        .filter_map(|(key, value)| Some((key, value?)))
        .collect())
}
