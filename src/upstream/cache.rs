//! Documents of other servers, kept fresh, and used for a while when their server is away.
//!
//! What was fetched is kept in the key-value store, so that an instance that lives for one request does not
//! fetch for each. A server that is away is asked again once a minute, and its last document is used for a
//! day.
//!
//! | key | holds |
//! |---|---|
//! | `{name}/{SHA-256 of the URL}` | [`Entry`], as JSON |
//! | `{name}-attempt/{SHA-256 of the URL}/{minute}` | counter: attempts to fetch within a minute, counted from 1970 |

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use http::Response;
use http::header::CACHE_CONTROL;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::encoding;
use crate::platform::Platform;

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

/// How many requests within a minute may ask a server. They come together when its document changes, and
/// none can wait for the answer that another one gets: as many as a host serves at a moment.
const ATTEMPTS: i64 = 128;

/// There is no document at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unavailable;

/// A document as it was fetched.
pub struct Document {
    /// Its text.
    pub text: String,
    /// `max-age` of `Cache-Control`, in seconds; 0 when it is absent.
    pub max_age: u64,
}

impl Document {
    /// The body of a response, when it is text.
    pub fn from_response(response: Response<Vec<u8>>) -> Option<Self> {
        Some(Self {
            max_age: max_age(&response),
            text: String::from_utf8(response.into_body()).ok()?,
        })
    }
}

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
}

/// A document of another server, as this instance has it: read into `T`.
pub struct Cache<T> {
    name: &'static str,
    digest: String,
    read: fn(&str) -> Option<T>,
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
        now < self.entry.fresh_until
    }

    fn is_usable(&self, now: u64) -> bool {
        now < self.entry.fresh_until.saturating_add(STALE_LIFE)
    }
}

impl<T> Cache<T> {
    /// The document at a URL, under a name in the store. `read` returns `None` for a text that is not such a
    /// document. Nothing is fetched yet.
    pub fn new(name: &'static str, url: &str, read: fn(&str) -> Option<T>) -> Self {
        Self {
            name,
            digest: hex::encode(Sha256::digest(url)),
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
        fetch: impl AsyncFn() -> Option<Document>,
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
        fetch: impl AsyncFn() -> Option<Document>,
        platform: &impl Platform,
        now: u64,
    ) -> Result<Option<Rc<T>>, Unavailable> {
        let known = self.known.borrow().clone();
        let repeated_at = known.as_ref().map_or(0, |known| known.entry.repeated_at);
        if now < repeated_at.saturating_add(PAUSE) {
            return Ok(None);
        }
        let known = self.fetched(known, fetch, platform, now).await?;
        Ok(Some(known.value))
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
        fetch: impl AsyncFn() -> Option<Document>,
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
        let stored = self.value(entry);
        if let Some(known) = stored.clone().filter(is_good) {
            self.known.replace(Some(known.clone()));
            return Ok(known);
        }
        let usable = stored.filter(|known| known.is_usable(now));
        let pause = if usable.is_some() { PAUSE } else { SHORT_PAUSE };
        if now < attempted_at.saturating_add(pause) {
            return usable.ok_or(Unavailable);
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
        fetch: impl AsyncFn() -> Option<Document>,
        platform: &impl Platform,
        now: u64,
    ) -> Result<Known<T>, Unavailable> {
        let attempts = format!("{}-attempt/{}/{}", self.name, self.digest, now / PAUSE);
        if platform
            .increment(&attempts, 1)
            .await
            .is_ok_and(|n| n > ATTEMPTS)
        {
            return Err(Unavailable);
        }
        let fetched = fetch().await;
        let fetched = fetched.and_then(|document| {
            self.value(Entry {
                fresh_until: now.saturating_add(document.max_age.clamp(LEAST_LIFE, MOST_LIFE)),
                attempted_at: now,
                repeated_at: 0,
                text: Some(document.text),
            })
        });
        // The request may have taken long, and a pause begins after it.
        let now = platform.now();
        // The first time is not a repetition: a document that changes right after it is fetched again.
        let repeated_at = if known.is_some() { now } else { 0 };
        let next = match fetched {
            Some(mut fetched) => {
                fetched.entry.repeated_at = repeated_at;
                Some(fetched)
            }
            None => {
                // Another instance may have been luckier, and what it stored must stay.
                let known = match known {
                    Some(known) => Some(self.latest(known, platform).await),
                    None => {
                        let stored = self.stored(platform).await;
                        stored.and_then(|entry| self.value(entry))
                    }
                };
                let usable = known.filter(|known| known.is_usable(now));
                usable.map(|mut known| {
                    known.entry.attempted_at = now;
                    known.entry.repeated_at = repeated_at;
                    known
                })
            }
        };
        let failed = Entry {
            attempted_at: now,
            ..Entry::default()
        };
        let entry = next.as_ref().map_or(&failed, |known| &known.entry);
        if let Ok(entry) = serde_json::to_vec(entry) {
            // Without a store, the next instance fetches again.
            let _ = platform.set(&self.key(), &entry).await;
        }
        self.known.replace(next.clone());
        next.ok_or(Unavailable)
    }

    async fn stored(&self, platform: &impl Platform) -> Option<Entry> {
        let entry = platform.get(&self.key()).await;
        encoding::from_json(&entry.ok()??).ok()
    }

    fn value(&self, entry: Entry) -> Option<Known<T>> {
        let value = Rc::new((self.read)(entry.text.as_ref()?)?);
        Some(Known { entry, value })
    }

    fn key(&self) -> String {
        format!("{}/{}", self.name, self.digest)
    }
}

/// `max-age` of `Cache-Control` (RFC 9111 sections 1.2.2, 5.2 and 5.2.2.1), in seconds; 0 when it is
/// absent.
fn max_age(response: &Response<Vec<u8>>) -> u64 {
    let directives = response
        .headers()
        .get_all(CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    directives
        .filter_map(|directive| {
            let (name, value) = directive.trim().split_once('=')?;
            let value = value.trim_matches('"');
            let is_number = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
            (name.eq_ignore_ascii_case("max-age") && is_number)
                .then(|| value.parse().unwrap_or(u64::MAX))
        })
        .next()
        .unwrap_or(0)
}
