//! Documents of other servers, kept fresh, and used for a while when their server is away.
//!
//! What was fetched is kept in the key-value store, so that an instance that lives for one request does not
//! fetch for each. A server that is away is asked again once a minute, and its last document is used for a
//! day.
//!
//! | key | holds |
//! |---|---|
//! | `{kept}/{SHA-256 of the URL}` | [`Entry`], as JSON |
//! | `{attempts}/{SHA-256 of the URL}/{minute}` | counter: attempts to fetch within a minute, counted from 1970 |
//!
//! Each kind of document has names of its own for both: its [`Families`].

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::document::{Document, Reason, Unavailable};
use crate::encoding;
use crate::platform::Platform;
use crate::store_key::{End, Family, Period};

/// How long a document is fresh: what the answer's `max-age` says, within these bounds, in seconds.
const LEAST_LIFE: u64 = 5 * 60;
const MOST_LIFE: u64 = 24 * 60 * 60;

/// How long a document is used after that when its server does not answer, in seconds.
const STALE_LIFE: u64 = 24 * 60 * 60;

/// How long a server is not asked again, in seconds: after it failed while there is a document, and for
/// what the document does not hold.
pub const PAUSE: u64 = 60;

/// The same after it failed while there is no document, in seconds.
const SHORT_PAUSE: u64 = 5;

/// How far clocks of hosts may differ, in seconds.
const CLOCKS: u64 = 5;

/// How many requests within a minute may ask a server. They come together when its document changes, and
/// none can wait for the answer that another one gets: as many as a host serves at a moment.
const ATTEMPTS: i64 = 128;

/// What is kept of a location. Times are in seconds since 1970.
#[derive(Clone, Serialize, Deserialize, Default)]
struct Entry {
    /// The document, when there is one. The name is that of the first document that was kept so.
    #[serde(rename = "jwks")]
    text: Option<String>,
    /// Until when it is fresh.
    fresh_until: u64,
    /// When it was last asked for, whether it came or not.
    attempted_at: u64,
    /// When it was last asked for because of something that it does not hold, or because it was no longer
    /// fresh.
    repeated_at: u64,
    /// Why the last attempt failed; `None` after one that did not. Entries of earlier versions do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failure: Option<Unavailable>,
}

/// What the last attempt to fetch a document came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Why it failed.
    pub why: Unavailable,
    /// Until when the last document is used, in seconds since 1970; `None` when there is none.
    pub usable_until: Option<u64>,
}

/// What the store keeps of a kind of document: the document, and attempts to fetch it.
pub type Families = [Family; 2];

/// The families of a kind of document, by their names.
pub const fn families(kept: &'static str, attempts: &'static str) -> Families {
    let end = End::Period(Period {
        part: 1,
        seconds: PAUSE,
        lasts: PAUSE,
    });
    [
        Family::new(kept, 1, End::Never),
        Family::new(attempts, 2, end),
    ]
}

/// A document of another server, as this instance has it: read into `T`.
pub struct Cache<T> {
    families: &'static Families,
    digest: String,
    url: String,
    read: fn(&str) -> Result<T, String>,
    known: RefCell<Option<Known<T>>>,
}

struct Known<T> {
    entry: Entry,
    value: Rc<T>,
}

impl<T> Clone for Known<T> {
    fn clone(&self) -> Self {
        Self {
            entry: self.entry.clone(),
            value: Rc::clone(&self.value),
        }
    }
}

impl<T> Known<T> {
    fn is_fresh(&self, now: u64) -> bool {
        let latest = now.saturating_add(MOST_LIFE).saturating_add(CLOCKS);
        (now.saturating_add(1)..=latest).contains(&self.entry.fresh_until)
    }

    fn is_usable(&self, now: u64) -> bool {
        now < self.usable_until()
    }

    fn usable_until(&self) -> u64 {
        self.entry.fresh_until.saturating_add(STALE_LIFE)
    }
}

impl<T> Cache<T> {
    /// The document at a URL, under the keys of its kind in the store. For a text that is not such a document
    /// `read` returns what is wrong with it, in a sentence without any of its text. Nothing is fetched yet.
    pub fn new(
        families: &'static Families,
        url: &str,
        read: fn(&str) -> Result<T, String>,
    ) -> Self {
        Self {
            families,
            digest: hex::encode(Sha256::digest(url)),
            url: url.to_owned(),
            read,
            known: RefCell::new(None),
        }
    }

    /// The document as it is kept, or fetched when it is no longer fresh; and whether it was fetched.
    ///
    /// # Errors
    /// [`Unavailable`]
    pub async fn get(
        &self,
        fetch: impl AsyncFn() -> Result<Document, Unavailable>,
        platform: &impl Platform,
        now: u64,
    ) -> Result<(Rc<T>, bool), Unavailable> {
        let is_fetched = Cell::new(false);
        let fetch = async || {
            is_fetched.set(true);
            fetch().await
        };
        let known = self.known(fetch, platform, now).await?;
        self.known.replace(Some(known.clone()));
        Ok((known.value, is_fetched.get()))
    }

    /// A newer document that another instance has stored, for something that the known one does not hold.
    /// `None` when there is no newer one.
    pub async fn newer(&self, platform: &impl Platform) -> Option<Rc<T>> {
        let known = self.known.borrow().clone()?;
        let latest = self.latest(known.clone(), platform).await;
        (!Rc::ptr_eq(&latest.value, &known.value)).then_some(latest.value)
    }

    /// The document fetched again, for something that it does not hold. `None` within the pause after it was last
    /// fetched for such a reason.
    ///
    /// # Errors
    /// [`Unavailable`]
    pub async fn again(
        &self,
        fetch: impl AsyncFn() -> Result<Document, Unavailable>,
        platform: &impl Platform,
        now: u64,
    ) -> Result<Option<Rc<T>>, Unavailable> {
        let known = self.known.borrow().clone();
        let repeated_at = known.as_ref().map_or(0, |known| known.entry.repeated_at);
        if is_within(repeated_at, PAUSE, now) {
            return Ok(None);
        }
        let known = self.fetched(known, fetch, platform, now).await?;
        Ok(Some(known.value))
    }

    /// Why the last attempt failed, of this instance or of another one. `None` when it did not fail. Where `is_asked`
    /// says so, and otherwise where no attempt is known or the last one failed [`PAUSE`] ago, the document is asked
    /// for as [`Self::get`] does: on a host with a store, once a minute at most.
    pub async fn failure(
        &self,
        is_asked: bool,
        fetch: impl AsyncFn() -> Result<Document, Unavailable>,
        platform: &impl Platform,
        now: u64,
    ) -> Option<Failure> {
        let stored = match platform.get(&self.key()).await {
            Ok(stored) => stored.and_then(|entry| encoding::from_json::<Entry>(&entry).ok()),
            // Each instance would ask anew.
            Err(_) if !is_asked => return None,
            Err(_) => None,
        };
        let is_due = stored.as_ref().is_none_or(|entry| {
            let is_failed = entry.failure.is_some() || entry.text.is_none();
            is_failed && !is_within(entry.attempted_at, PAUSE, now)
        });
        let entry = match is_asked || is_due {
            false => stored?,
            true => match self.get(&fetch, platform, now).await {
                Ok(_) => self.known.borrow().as_ref()?.entry.clone(),
                Err(why) => {
                    let usable_until = None;
                    return Some(Failure { why, usable_until });
                }
            },
        };
        let failed = || self.unavailable(Reason::Failed);
        match self.value(entry.clone()) {
            Some(known) => {
                let usable_until = Some(known.usable_until()).filter(|until| now < *until);
                let why = entry.failure?;
                Some(Failure { why, usable_until })
            }
            None => Some(Failure {
                why: entry.failure.unwrap_or_else(failed),
                usable_until: None,
            }),
        }
    }

    /// What is known here, or what the store has when it was asked for later.
    async fn latest(&self, known: Known<T>, platform: &impl Platform) -> Known<T> {
        let stored = self.stored(platform).await;
        let stored = stored.filter(|entry| entry.attempted_at > known.entry.attempted_at);
        match stored.and_then(|entry| self.value(entry)) {
            Some(stored) => {
                self.known.replace(Some(stored.clone()));
                stored
            }
            None => known,
        }
    }

    /// The keys as they are kept, or fetched when they are no longer good.
    async fn known(
        &self,
        fetch: impl AsyncFn() -> Result<Document, Unavailable>,
        platform: &impl Platform,
        now: u64,
    ) -> Result<Known<T>, Unavailable> {
        let here = self.known.borrow().clone();
        let is_good = |known: &Known<T>| known.is_fresh(now);
        if let Some(known) = here.clone().filter(is_good) {
            return Ok(known);
        }
        let here = here.map(|known| known.entry);
        let entry = self.stored(platform).await.or(here).unwrap_or_default();
        let attempted_at = entry.attempted_at;
        let failure = entry.failure.clone();
        let stored = self.value(entry);
        if let Some(known) = stored.clone().filter(is_good) {
            self.known.replace(Some(known.clone()));
            return Ok(known);
        }
        let usable = stored.filter(|known| known.is_usable(now));
        let pause = if usable.is_some() { PAUSE } else { SHORT_PAUSE };
        if is_within(attempted_at, pause, now) {
            return usable
                .ok_or_else(|| failure.unwrap_or_else(|| self.unavailable(Reason::Failed)));
        }
        match self.fetched(usable.clone(), fetch, platform, now).await {
            Err(error) => usable.ok_or(error),
            fetched => fetched,
        }
    }

    /// Fetches the document, and keeps it. When that fails, the known one stays in use. When no further
    /// attempt is allowed, nothing is fetched or stored.
    async fn fetched(
        &self,
        known: Option<Known<T>>,
        fetch: impl AsyncFn() -> Result<Document, Unavailable>,
        platform: &impl Platform,
        now: u64,
    ) -> Result<Known<T>, Unavailable> {
        let [_, attempts] = self.families;
        let attempts = attempts.key(format_args!("{}/{}", self.digest, now / PAUSE));
        if platform
            .increment(&attempts, 1)
            .await
            .is_ok_and(|n| n > ATTEMPTS)
        {
            return Err(self.unavailable(Reason::AskedOften));
        }
        let fetched = fetch().await;
        let fetched = fetched.and_then(|document| {
            let value = (self.read)(&document.text).map_err(|reason| Unavailable {
                origin: document.origin,
                reason: Reason::Document(reason),
            })?;
            let entry = Entry {
                fresh_until: now.saturating_add(document.max_age.clamp(LEAST_LIFE, MOST_LIFE)),
                attempted_at: now,
                text: Some(document.text),
                ..Entry::default()
            };
            let value = Rc::new(value);
            Ok(Known { entry, value })
        });
        // The request may have taken long, and a pause begins after it.
        let now = platform.now();
        // The first time is not a repetition: a document that changes right after it is fetched again.
        let repeated_at = if known.is_some() { now } else { 0 };
        let (next, failure) = match fetched {
            Ok(mut fetched) => {
                fetched.entry.repeated_at = repeated_at;
                (Ok(fetched), None)
            }
            Err(failure) => {
                // Another instance may have been luckier, and what it stored must stay.
                let known = match known {
                    Some(known) => Some(self.latest(known, platform).await),
                    None => {
                        let stored = self.stored(platform).await;
                        stored.and_then(|entry| self.value(entry))
                    }
                };
                let usable = known.filter(|known| known.is_usable(now));
                let next = usable.map(|mut known| {
                    known.entry.attempted_at = now;
                    known.entry.repeated_at = repeated_at;
                    known.entry.failure = Some(failure.clone());
                    known
                });
                (next.ok_or_else(|| failure.clone()), Some(failure))
            }
        };
        let failed = Entry {
            attempted_at: now,
            failure,
            ..Entry::default()
        };
        let entry = next.as_ref().map_or(&failed, |known| &known.entry);
        if let Ok(entry) = serde_json::to_vec(entry) {
            // Without a store, the next instance fetches again.
            let _ = platform.set(&self.key(), &entry).await;
        }
        self.known.replace(next.as_ref().ok().cloned());
        next
    }

    async fn stored(&self, platform: &impl Platform) -> Option<Entry> {
        let entry = platform.get(&self.key()).await;
        encoding::from_json(&entry.ok()??).ok()
    }

    fn value(&self, entry: Entry) -> Option<Known<T>> {
        let value = Rc::new((self.read)(entry.text.as_ref()?).ok()?);
        Some(Known { entry, value })
    }

    fn unavailable(&self, reason: Reason) -> Unavailable {
        Unavailable::at(&self.url, reason)
    }

    fn key(&self) -> String {
        let [kept, _] = self.families;
        kept.key(&self.digest)
    }
}

/// Whether a pause that began at a time still holds. One that begins later than now was noted by a clock that was wrong,
/// and would hold until that time comes.
fn is_within(began: u64, pause: u64, now: u64) -> bool {
    began <= now.saturating_add(CLOCKS) && now < began.saturating_add(pause)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::platform::test_host::TestHost;

    const FAMILIES: Families = families("kept", "attempt");

    #[test]
    fn what_a_clock_that_was_ahead_noted_keeps_nobody_from_asking() {
        let host = TestHost::default();
        let url = "https://issuer.example/jwks";
        let read = |text: &str| Ok(text.to_owned());
        let fails = async || Err(Unavailable::at(url, Reason::Failed));
        let comes = async || {
            Ok(Document {
                text: "keys".to_owned(),
                max_age: 600,
                origin: String::new(),
            })
        };
        let ahead = 10_000;
        let first = Cache::new(&FAMILIES, url, read);
        let ask = |at| first.get(fails, &host, at).now_or_never().unwrap();
        assert!(ask(ahead).is_err());
        // TestHost's own clock: the failure is noted with it, and so with the wrong time.
        host.later.set(ahead);
        assert!(ask(ahead).is_err());
        host.later.set(0);
        for cache in [first, Cache::new(&FAMILIES, url, read)] {
            let got = cache.get(comes, &host, 1_000).now_or_never().unwrap();
            assert_eq!(*got.unwrap().0, "keys");
        }
    }
}
