//! Keys that an issuer publishes: a JWKS by URL, or by way of `OpenID` discovery.
//!
//! What was fetched is kept in the key-value store, so that an instance that lives for one request
//! does not fetch for each. An issuer that is down is asked again once a minute, and its last keys go
//! on for a day.
//!
//! | key | holds |
//! |---|---|
//! | `jwks/{SHA-256 of the URL}` | [`Entry`], as JSON |
//! | `jwks-attempt/{SHA-256 of the URL}/{minute}` | counter: attempts to fetch within a minute, counted from 1970 |

use std::cell::RefCell;
use std::rc::Rc;

use http::header::CACHE_CONTROL;
use http::{Request, Response, StatusCode, Uri};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::encoding;
use crate::platform::{self, Platform};
use crate::token::Error;
use crate::token::jwt::UntrustedToken;
use crate::token::keys::VerificationKeys;

/// How long keys are good: what the answer's `max-age` says, within these bounds, in seconds.
const LEAST_LIFE: u64 = 5 * 60;
const MOST_LIFE: u64 = 24 * 60 * 60;

/// How long keys go on when their issuer does not answer, in seconds.
const STALE_LIFE: u64 = 24 * 60 * 60;

/// How long a key id that is not among the keys, or an issuer that failed while there are keys, is
/// not asked about again, in seconds.
const PAUSE: u64 = 60;

/// The same, of an issuer that failed while there are no keys, in seconds.
const SHORT_PAUSE: u64 = 5;

/// How many requests at a time, or within a minute, may ask an issuer. They come together when its
/// keys change, and nobody can wait for the answer that another one gets: as many as a host has at a
/// moment.
const ATTEMPTS: i64 = 128;

/// Where keys are published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A JWKS.
    Jwks(String),
    /// An `OpenID` provider's configuration (`OpenID` Connect Discovery 1.0 section 4), whose `jwks_uri`
    /// is the JWKS.
    Discovery(String),
}

impl Location {
    /// A URL: `https`, or `http` on this machine. One that ends as the document of `OpenID` discovery
    /// does is taken for it.
    pub fn from_url(url: &str) -> Option<Self> {
        let url = url.trim();
        is_safe(url).then(|| {
            if url.contains("/.well-known/") && !url.contains("jwks") {
                Self::Discovery(url.to_owned())
            } else {
                Self::Jwks(url.to_owned())
            }
        })
    }

    /// Whether [`is_safe`] holds for its URL.
    pub fn is_safe(&self) -> bool {
        is_safe(self.url())
    }

    fn url(&self) -> &str {
        match self {
            Self::Jwks(url) | Self::Discovery(url) => url,
        }
    }
}

/// Whether what comes from a URL can be told from what somebody on the way puts there.
pub fn is_safe(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else {
        return false;
    };
    let is_here = matches!(uri.host(), Some("localhost" | "127.0.0.1" | "[::1]"));
    match uri.scheme_str() {
        Some("https") => uri.host().is_some(),
        Some("http") => is_here,
        _ => false,
    }
}

/// The keys at a location, as this instance has them.
pub struct RemoteKeys {
    location: Location,
    digest: String,
    known: RefCell<Option<Known>>,
}

#[derive(Clone)]
struct Known {
    entry: Entry,
    keys: Rc<VerificationKeys>,
}

/// What is kept of a location. Times are in seconds since 1970.
#[derive(Clone, Serialize, Deserialize, Default)]
struct Entry {
    /// The JWKS, when there is one.
    jwks: Option<String>,
    /// Until when it is good.
    fresh_until: u64,
    /// When it was last asked for, and came or did not.
    attempted_at: u64,
    /// When it was last asked for because of a key id, or because it was no longer good.
    repeated_at: u64,
}

impl RemoteKeys {
    /// Nothing is fetched yet.
    pub fn new(location: Location) -> Self {
        Self {
            digest: hex::encode(Sha256::digest(location.url())),
            location,
            known: RefCell::new(None),
        }
    }

    /// Verifies a token with the keys that are published, and once more with those that are published
    /// now, when none has its key id.
    ///
    /// # Errors
    /// As [`VerificationKeys::verify`]; [`Error::KeysUnavailable`] when there are none to be had.
    pub async fn verify(
        &self,
        token: &UntrustedToken<'_>,
        platform: &impl Platform,
        now: u64,
    ) -> Result<(), Error> {
        let known = self.known(platform, now).await?;
        match known.keys.verify(token) {
            Err(Error::KeyUnknown) => {}
            result => return result,
        }
        // Another instance may have asked since.
        let known = self.latest(known, platform).await;
        match known.keys.verify(token) {
            Err(Error::KeyUnknown) if now >= known.entry.repeated_at.saturating_add(PAUSE) => {
                let known = self.fetched(Some(known), platform, now).await?;
                known.keys.verify(token)
            }
            result => result,
        }
    }

    /// Which of the keys that are published verifies a token: its place, counted from 0, and its `kid`.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub async fn signer(
        &self,
        token: &UntrustedToken<'_>,
        platform: &impl Platform,
        now: u64,
    ) -> Result<(usize, Option<String>), Error> {
        self.verify(token, platform, now).await?;
        let known = self.known(platform, now).await?;
        let (place, kid) = known.keys.signer(token)?;
        Ok((place, kid.map(ToOwned::to_owned)))
    }

    /// What is known here, or what the store has when it was asked for later.
    async fn latest(&self, known: Known, platform: &impl Platform) -> Known {
        let stored = self.stored(platform).await;
        let stored = stored.filter(|entry| entry.attempted_at > known.entry.attempted_at);
        match stored.and_then(Known::of) {
            Some(stored) => {
                self.known.replace(Some(stored.clone()));
                stored
            }
            None => known,
        }
    }

    /// The keys as they are kept, or fetched when they are no longer good.
    async fn known(&self, platform: &impl Platform, now: u64) -> Result<Known, Error> {
        let here = self.known.borrow().clone();
        let is_good = |known: &Known| now < known.entry.fresh_until;
        if let Some(known) = here.clone().filter(is_good) {
            return Ok(known);
        }
        let here = here.map(|known| known.entry);
        let entry = self.stored(platform).await.or(here).unwrap_or_default();
        let attempted_at = entry.attempted_at;
        let stored = Known::of(entry);
        if let Some(known) = stored.clone().filter(is_good) {
            self.known.replace(Some(known.clone()));
            return Ok(known);
        }
        let usable = stored.filter(|k| now < k.entry.fresh_until.saturating_add(STALE_LIFE));
        let pause = if usable.is_some() { PAUSE } else { SHORT_PAUSE };
        if now < attempted_at.saturating_add(pause) {
            return usable.ok_or(Error::KeysUnavailable);
        }
        match self.fetched(usable.clone(), platform, now).await {
            Err(error) => usable.ok_or(error),
            fetched => fetched,
        }
    }

    /// Fetches the keys, and keeps them. What is known already goes on when they do not come, and
    /// nothing is said of it when nobody may ask for them.
    async fn fetched(
        &self,
        known: Option<Known>,
        platform: &impl Platform,
        now: u64,
    ) -> Result<Known, Error> {
        let attempts = format!("jwks-attempt/{}/{}", self.digest, now / PAUSE);
        if platform
            .increment(&attempts, 1)
            .await
            .is_ok_and(|n| n > ATTEMPTS)
        {
            return Err(Error::KeysUnavailable);
        }
        let fetched = self.fetch(platform, now).await;
        // It may have taken its time, and a pause begins after it.
        let now = platform.now();
        // The first time is no repetition: an issuer that changes its keys right after it is asked again.
        let repeated_at = if known.is_some() { now } else { 0 };
        let next = match fetched {
            Ok(entry) => Known::of(Entry {
                repeated_at,
                ..entry
            }),
            Err(()) => {
                // Another instance may have been luckier, and what it stored must stay.
                let known = match known {
                    Some(known) => Some(self.latest(known, platform).await),
                    None => self.stored(platform).await.and_then(Known::of),
                };
                let is_usable = |k: &Known| now < k.entry.fresh_until.saturating_add(STALE_LIFE);
                known.filter(is_usable).map(|known| Known {
                    entry: Entry {
                        attempted_at: now,
                        repeated_at,
                        ..known.entry
                    },
                    keys: known.keys,
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
            let _ = platform.set(&format!("jwks/{}", self.digest), &entry).await;
        }
        self.known.replace(next.clone());
        next.ok_or(Error::KeysUnavailable)
    }

    async fn fetch(&self, platform: &impl Platform, now: u64) -> Result<Entry, ()> {
        let jwks = match &self.location {
            Location::Jwks(url) => get(platform, url).await?,
            Location::Discovery(url) => {
                let document = get(platform, url).await?;
                let document = encoding::json_object(document.body()).map_err(drop)?;
                let url = document.get("jwks_uri").and_then(|url| url.as_str());
                let url = url.filter(|url| is_safe(url)).ok_or(())?;
                get(platform, url).await?
            }
        };
        let keys = VerificationKeys::from_published(jwks.body()).map_err(drop)?;
        if keys.is_empty() {
            return Err(());
        }
        Ok(Entry {
            fresh_until: now.saturating_add(max_age(&jwks).clamp(LEAST_LIFE, MOST_LIFE)),
            attempted_at: now,
            repeated_at: 0,
            jwks: String::from_utf8(jwks.into_body()).ok(),
        })
    }

    async fn stored(&self, platform: &impl Platform) -> Option<Entry> {
        let entry = platform.get(&format!("jwks/{}", self.digest)).await;
        encoding::from_json(&entry.ok()??).ok()
    }
}

impl Known {
    fn of(entry: Entry) -> Option<Self> {
        let keys = VerificationKeys::from_published(entry.jwks.as_ref()?.as_bytes()).ok()?;
        Some(Self {
            entry,
            keys: Rc::new(keys),
        })
    }
}

async fn get(platform: &impl Platform, url: &str) -> Result<Response<Vec<u8>>, ()> {
    let request = Request::get(url).header("accept", "application/json");
    let request = request.body(Vec::new()).map_err(drop)?;
    let failed = |_: platform::Error| ();
    let response = platform.send(request).await.map_err(failed)?;
    (response.status() == StatusCode::OK)
        .then_some(response)
        .ok_or(())
}

/// `max-age` of `Cache-Control` (RFC 9111 sections 1.2.2, 5.2 and 5.2.2.1), in seconds; 0 when there
/// is none.
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
