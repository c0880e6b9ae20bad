//! What is kept of the answers of a key server, in the instance and in the key-value store.
//!
//! | key | holds |
//! |---|---|
//! | `key-fetched/{key}` | a key as it was fetched, sealed as a stored record is; only under `key_encryption_keys` |
//! | `key-missing/{key}/{period}` | `{time} {why}`: when the server last did not give this key, and why not; periods have half a minute |
//! | `key-server/{server}` | the same of the server, when it did not answer at all |
//!
//! `{key}` and `{server}` are SHA-256. Whoever can write the store can make the server do without a key for a moment,
//! or have it fetched again. He can neither read a key nor put one there.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use futures_util::future::join;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::asked::Asked;
use super::config::Config;
use super::exchange::Failure;
use crate::content_key::ContentKey;
use crate::content_key::error::KeyError;
use crate::content_key::store::{EncryptionKeys, FETCHED, open_as, seal_as};
use crate::encoding;
use crate::platform::Platform;
use crate::store_key::{End, Family, Period};

/// How long a key goes on after it was fresh, while the server does not give it, in seconds.
const STALE_SECONDS: u64 = 24 * 60 * 60;

/// How long a key that the server does not have is not asked for again, in seconds. It is a period, too.
const ABSENT_SECONDS: u64 = 30;

/// How long the server is not asked again after it failed, in seconds: where nothing is known of a key, and where it
/// can go on with what it had.
const PAUSE: u64 = 5;
const STALE_PAUSE: u64 = 30;

/// A key that was fetched.
const KEY: Family = Family::new("key-fetched", 1, End::Never);

/// Why a key was not given.
const MISSING: Family = Family::new(
    "key-missing",
    2,
    End::Period(Period {
        part: 1,
        seconds: ABSENT_SECONDS,
        lasts: ABSENT_SECONDS,
    }),
);

/// When the server did not answer: one key a server.
const SERVER: Family = Family::new("key-server", 1, End::Never);

/// What the store keeps of a key server's answers.
pub const FAMILIES: [Family; 3] = [KEY, MISSING, SERVER];

/// How far clocks of hosts may differ, in seconds.
const CLOCKS: u64 = 5;

/// How many keys an instance keeps.
const KEPT: usize = 1_000;

/// A key that was fetched.
#[derive(Clone)]
pub struct Known {
    key: Rc<ContentKey>,
    /// Seconds since 1970.
    fetched_at: u64,
}

impl Known {
    /// A key that was fetched at a time, in seconds since 1970.
    pub fn new(key: Rc<ContentKey>, fetched_at: u64) -> Self {
        Self { key, fetched_at }
    }
}

/// Why a key is not asked for at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// The server does not have it.
    Absent,
    /// The server's answer for it cannot be used.
    Answer,
    /// The server answered that it cannot.
    Unable,
    /// The server did not answer at all.
    Silent,
}

impl Mark {
    const ALL: [Self; 4] = [Self::Absent, Self::Answer, Self::Unable, Self::Silent];

    /// What is remembered of a failure. That the host denies a request costs nothing to find out again.
    pub fn from_failure(failure: &Failure) -> Option<Self> {
        match failure {
            Failure::Denied(_) => None,
            Failure::Silent(_) => Some(Self::Silent),
            Failure::Unable(_) => Some(Self::Unable),
            Failure::Answer(_) => Some(Self::Answer),
        }
    }

    /// Why there is no key. `None`: the server does not have it.
    pub fn error(self) -> Option<KeyError> {
        match self {
            Self::Absent => None,
            Self::Answer => Some(KeyError::ServerAnswer(
                "it could not be used a moment ago, and the key is asked for again in some seconds"
                    .to_owned(),
            )),
            Self::Unable => Some(KeyError::ServerUnavailable(
                "it failed a moment ago, and the key is asked for again in some seconds".to_owned(),
            )),
            Self::Silent => Some(KeyError::ServerUnavailable(
                "it did not answer a moment ago, and is asked again in some seconds".to_owned(),
            )),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Answer => "answer",
            Self::Unable => "unable",
            Self::Silent => "silent",
        }
    }

    /// How long it keeps the server from being asked, in seconds.
    fn seconds(self, is_stale_at_hand: bool) -> u64 {
        match self {
            Self::Absent => ABSENT_SECONDS,
            Self::Answer | Self::Unable | Self::Silent if is_stale_at_hand => STALE_PAUSE,
            Self::Answer | Self::Unable | Self::Silent => PAUSE,
        }
    }
}

/// A mark and when it was made, in seconds since 1970.
#[derive(Clone, Copy)]
struct Marked(Mark, u64);

impl Marked {
    fn is_valid(self, is_stale_at_hand: bool, now: u64) -> bool {
        let Self(mark, at) = self;
        at <= now.saturating_add(CLOCKS) && now < at.saturating_add(mark.seconds(is_stale_at_hand))
    }

    fn read(value: &[u8]) -> Option<Self> {
        let (at, name) = std::str::from_utf8(value).ok()?.split_once(' ')?;
        let mark = Mark::ALL.into_iter().find(|mark| mark.name() == name)?;
        Some(Self(mark, at.parse().ok()?))
    }

    fn text(self) -> String {
        let Self(mark, at) = self;
        format!("{at} {}", mark.name())
    }
}

/// What an instance keeps.
#[derive(Default)]
pub struct Kept {
    known: RefCell<HashMap<String, Known>>,
    /// By the key's digest, and by the server's.
    marks: RefCell<HashMap<String, Marked>>,
}

impl Kept {
    /// A key that is fresh.
    pub fn fresh(&self, asked: &Asked, config: &Config, now: u64) -> Option<Rc<ContentKey>> {
        self.known(asked, config.cache_seconds, now)
    }

    /// A key that is fresh, or was within the last day.
    pub fn usable(&self, asked: &Asked, config: &Config, now: u64) -> Option<Rc<ContentKey>> {
        let seconds = config.cache_seconds.saturating_add(STALE_SECONDS);
        self.known(asked, seconds, now)
    }

    fn known(&self, asked: &Asked, seconds: u64, now: u64) -> Option<Rc<ContentKey>> {
        let known = self.known.borrow();
        let known = known.get(&asked.digest)?;
        (now < known.fetched_at.saturating_add(seconds)).then(|| Rc::clone(&known.key))
    }

    /// Keeps a key, unless it is older than the one that is kept.
    pub fn add(&self, asked: &Asked, key: Known) {
        let mut known = self.known.borrow_mut();
        let kept = known.get(&asked.digest);
        if kept.is_some_and(|kept| kept.fetched_at >= key.fetched_at) {
            return;
        }
        if known.len() >= KEPT {
            known.clear();
        }
        known.insert(asked.digest.clone(), key);
    }

    /// Why a key is not asked for at present, as this instance knows.
    pub fn mark(
        &self,
        asked: &Asked,
        config: &Config,
        is_stale_at_hand: bool,
        now: u64,
    ) -> Option<Mark> {
        let marks = self.marks.borrow();
        let found = [&asked.digest, &config.server].map(|digest| marks.get(digest));
        let mut valid = found.into_iter().flatten();
        let valid = valid.find(|marked| marked.is_valid(is_stale_at_hand, now));
        valid.map(|Marked(mark, _)| *mark)
    }

    /// The same as other instances know.
    pub async fn mark_of_others(
        &self,
        asked: &Asked,
        config: &Config,
        is_stale_at_hand: bool,
        platform: &impl Platform,
        now: u64,
    ) -> Option<Mark> {
        let (key, server) = (missing_key(asked, now / ABSENT_SECONDS), server_key(config));
        let (missing, silent) = join(platform.get(&key), platform.get(&server)).await;
        // Without a store, the server is asked.
        for (digest, value) in [(&asked.digest, missing), (&config.server, silent)] {
            let marked = value.ok().flatten().and_then(|value| Marked::read(&value));
            if let Some(marked) = marked.filter(|marked| marked.is_valid(is_stale_at_hand, now)) {
                self.insert_mark(digest, marked);
                return Some(marked.0);
            }
        }
        None
    }

    /// Remembers why a key was not given. One that the server no longer has is forgotten.
    pub async fn remember(
        &self,
        asked: &Asked,
        config: &Config,
        mark: Mark,
        platform: &impl Platform,
        now: u64,
    ) {
        let marked = Marked(mark, now);
        let text = marked.text();
        // Without a store, the next instance asks again.
        if mark == Mark::Silent {
            self.insert_mark(&config.server, marked);
            let _ = platform.set(&server_key(config), text.as_bytes()).await;
            return;
        }
        self.insert_mark(&asked.digest, marked);
        if mark == Mark::Absent {
            self.known.borrow_mut().remove(&asked.digest);
        }
        let period = now / ABSENT_SECONDS;
        for period in [period, period.saturating_add(1)] {
            let key = missing_key(asked, period);
            let _ = platform.set(&key, text.as_bytes()).await;
        }
    }

    fn insert_mark(&self, digest: &str, marked: Marked) {
        let mut marks = self.marks.borrow_mut();
        if marks.len() >= KEPT {
            marks.clear();
        }
        marks.insert(digest.to_owned(), marked);
    }
}

/// What is authenticated beside a key in the store.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// The digest that it was asked by: which server, and which key.
    name: String,
    /// Seconds since 1970.
    fetched_at: u64,
    /// The record without its key.
    record: Map<String, Value>,
}

/// A key that another instance fetched.
pub async fn stored(
    asked: &Asked,
    encryption_keys: &EncryptionKeys,
    platform: &impl Platform,
) -> Option<Known> {
    let sealed = platform.get(&fetched_key(asked)).await.ok()??;
    // What was changed is fetched again.
    let (_, key, json) = open_as(FETCHED, encryption_keys, &sealed).ok()?;
    let entry: Entry = encoding::from_json(json).ok()?;
    let key = ContentKey::from_members(entry.record, key).ok()?;
    let is_asked = entry.name == asked.digest && key.is_named(&asked.name);
    is_asked.then(|| Known::new(Rc::new(key), entry.fetched_at))
}

/// Keeps a key for other instances.
pub async fn store(
    asked: &Asked,
    known: &Known,
    record: Map<String, Value>,
    encryption_keys: &EncryptionKeys,
    platform: &impl Platform,
) {
    let entry = Entry {
        name: asked.digest.clone(),
        fetched_at: known.fetched_at,
        record,
    };
    let sealed = serde_json::to_vec(&entry)
        .ok()
        .and_then(|json| seal_as(FETCHED, encryption_keys, &known.key.key, &json, platform));
    if let Some(sealed) = sealed {
        // Without a store, the next instance fetches it again.
        let _ = platform.set(&fetched_key(asked), &sealed).await;
    }
}

/// Deletes a key that the server no longer has.
pub async fn forget(asked: &Asked, platform: &impl Platform) {
    let _ = platform.delete(&fetched_key(asked)).await;
}

fn fetched_key(asked: &Asked) -> String {
    KEY.key(&asked.digest)
}

fn missing_key(asked: &Asked, period: u64) -> String {
    MISSING.key(format_args!("{}/{period}", asked.digest))
}

fn server_key(config: &Config) -> String {
    SERVER.key(&config.server)
}
