//! Key-value stores, as Spin has them: the same values, and the same traps.

mod file;
mod memory;
mod redis;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use prometheus_client::metrics::counter::Counter;
use serde::Deserialize;

use file::File;
use memory::Memory;
use redis::Redis;

/// Which store an application gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreChoice {
    /// A file, created when it is missing.
    File(PathBuf),
    /// Forgotten when the host ends.
    Memory,
    /// A Redis server, by URL.
    Redis(String),
}

impl StoreChoice {
    /// The store of a runtime configuration file, which has Spin's form:
    ///
    /// ```toml
    /// [key_value_store.default]
    /// type = "redis"                  # or "spin", with a path
    /// url = "redis://127.0.0.1:6379"
    /// ```
    ///
    /// `None` when the file says nothing of the store `default`.
    ///
    /// # Errors
    /// A file that cannot be read, or a type that this host has not.
    pub fn from_runtime_config(path: &Path) -> Result<Option<Self>> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        // The whole error would quote the line, which may hold a password.
        let config: RuntimeConfig = toml::from_str(&text)
            .map_err(|error| anyhow!("{}: {}", path.display(), error.message()))?;
        let Some(store) = config.key_value_store.default else {
            return Ok(None);
        };
        match (store.type_.as_str(), store.path, store.url) {
            ("redis", _, Some(url)) => Ok(Some(Self::Redis(url))),
            ("redis", _, None) => bail!("the store `default` is a Redis and has no url"),
            ("spin", Some(store), _) => Ok(Some(Self::File(
                path.parent().unwrap_or(Path::new(".")).join(store),
            ))),
            ("spin", None, _) => Ok(None),
            (other, ..) => bail!("this host has no key-value store of type `{other}`"),
        }
    }
}

#[derive(Deserialize)]
struct RuntimeConfig {
    #[serde(default)]
    key_value_store: Stores,
}

#[derive(Deserialize, Default)]
struct Stores {
    default: Option<StoreConfig>,
}

#[derive(Deserialize)]
struct StoreConfig {
    #[serde(rename = "type")]
    type_: String,
    path: Option<PathBuf>,
    url: Option<String>,
}

/// Where a page of a store's keys begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Place {
    /// At the beginning.
    #[default]
    Start,
    /// Behind a key.
    After(String),
    /// At a cursor of Redis.
    Cursor(u64),
}

/// Keys of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// The keys. Redis may name one again.
    pub keys: Vec<String>,
    /// How many bytes each takes with its value, where that was asked for: in Redis, of memory.
    pub bytes: Vec<u64>,
    /// Where the next page begins; `None` after the last one.
    pub next: Option<Place>,
}

/// An open store.
pub struct Store {
    backend: Backend,
    failures: Counter,
    /// Whether the last operation failed.
    is_away: AtomicBool,
}

impl Store {
    /// Opens a store, with time limits where it is elsewhere.
    ///
    /// # Errors
    /// A file that cannot be opened, or that another host has open; an invalid URL.
    pub fn open(choice: &StoreChoice, is_limited: bool) -> Result<Self> {
        Self::open_within(choice, is_limited.then_some(redis::TIMEOUT))
    }

    /// Opens a store, and waits so long for each answer of one that is elsewhere.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_within(choice: &StoreChoice, limit: Option<Duration>) -> Result<Self> {
        Ok(Self {
            backend: Backend::open(choice, limit)?,
            failures: Counter::default(),
            is_away: AtomicBool::new(false),
        })
    }

    /// The same, whose operations that fail are counted here.
    #[must_use]
    pub(crate) fn counting(self, failures: Counter) -> Self {
        Self { failures, ..self }
    }

    /// The value of a key.
    ///
    /// # Errors
    /// A store that fails.
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.seen(self.backend.get(key).await)
    }

    /// Sets a key.
    ///
    /// # Errors
    /// A store that fails.
    pub async fn set(&self, key: &str, value: Vec<u8>) -> Result<()> {
        self.seen(self.backend.set(key, value).await)
    }

    /// Deletes a key, whether or not it is there.
    ///
    /// # Errors
    /// A store that fails.
    pub async fn delete(&self, key: &str) -> Result<()> {
        self.seen(self.backend.delete(key).await)
    }

    /// Every key.
    ///
    /// # Errors
    /// A store that fails.
    pub async fn keys(&self) -> Result<Vec<String>> {
        self.seen(self.backend.keys().await)
    }

    /// A page of the keys, of some thousands.
    ///
    /// # Errors
    /// A store that fails.
    pub async fn page(&self, place: &Place, has_bytes: bool) -> Result<Keys> {
        self.seen(self.backend.page(place, has_bytes).await)
    }

    /// The values of keys.
    ///
    /// # Errors
    /// A store that fails.
    pub async fn values(&self, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>> {
        self.seen(self.backend.values(keys).await)
    }

    /// Deletes keys in their order, and returns of each whether it was there.
    ///
    /// # Errors
    /// A store that fails. What comes first may then be deleted.
    pub async fn remove(&self, keys: &[String]) -> Result<Vec<bool>> {
        self.seen(self.backend.remove(keys).await)
    }

    /// How much memory a Redis uses for what it keeps, in bytes; `None` for another store.
    ///
    /// # Errors
    /// A store that fails.
    pub async fn memory(&self) -> Result<Option<u64>> {
        match &self.backend {
            Backend::Redis(redis) => self.seen(redis.memory().await).map(Some),
            Backend::File(_) | Backend::Memory(_) => Ok(None),
        }
    }

    /// Begins to delete what says that it is over from a file, beside whatever else is done. Redis does that by itself.
    ///
    /// # Errors
    /// No thread can be made.
    pub fn expire(&self) -> Result<()> {
        match &self.backend {
            Backend::File(file) => file.expire(),
            Backend::Memory(_) | Backend::Redis(_) => Ok(()),
        }
    }

    /// Gives back what the file of a store that is not open has no use for.
    ///
    /// # Errors
    /// A file that is open, or cannot be written.
    pub fn compact(choice: &StoreChoice) -> Result<()> {
        match choice {
            StoreChoice::File(path) => File::compact(path),
            StoreChoice::Memory | StoreChoice::Redis(_) => Ok(()),
        }
    }

    /// Adds to a counter, which begins at 0, and returns the new value.
    ///
    /// # Errors
    /// A store that fails; [`NotACounter`].
    pub async fn increment(&self, key: &str, delta: i64) -> Result<i64> {
        self.seen(self.backend.increment(key, delta).await)
    }

    /// Counts a failure. The log has the first one, and when the store answers again.
    fn seen<T>(&self, result: Result<T>) -> Result<T> {
        match &result {
            // The store is there, and says what it has.
            Err(error) if error.is::<NotACounter>() => {}
            Err(error) => {
                self.failures.inc();
                if !self.is_away.swap(true, Ordering::Relaxed) {
                    tracing::error!(error = format!("{error:#}"), "the key-value store fails");
                }
            }
            Ok(_) => {
                if self.is_away.load(Ordering::Relaxed)
                    && self.is_away.swap(false, Ordering::Relaxed)
                {
                    tracing::info!(
                        failures = self.failures.get(),
                        "the key-value store answers again"
                    );
                }
            }
        }
        result
    }
}

/// Where an open store is.
enum Backend {
    /// In a file.
    File(File),
    /// In memory.
    Memory(Memory),
    /// In Redis.
    Redis(Box<Redis>),
}

impl Backend {
    fn open(choice: &StoreChoice, limit: Option<Duration>) -> Result<Self> {
        Ok(match choice {
            StoreChoice::File(path) => Self::File(File::open(path)?),
            StoreChoice::Memory => Self::Memory(Memory::default()),
            StoreChoice::Redis(url) => Self::Redis(Box::new(Redis::open(url, limit)?)),
        })
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        match self {
            Self::File(file) => file.get(key),
            Self::Memory(memory) => Ok(memory.get(key)),
            Self::Redis(redis) => redis.get(key).await,
        }
    }

    async fn set(&self, key: &str, value: Vec<u8>) -> Result<()> {
        match self {
            Self::File(file) => file.set(key, value).await,
            Self::Memory(memory) => {
                memory.set(key, value);
                Ok(())
            }
            Self::Redis(redis) => redis.set(key, value).await,
        }
    }

    async fn delete(&self, key: &str) -> Result<()> {
        match self {
            Self::File(file) => file.delete(key).await,
            Self::Memory(memory) => {
                memory.delete(key);
                Ok(())
            }
            Self::Redis(redis) => redis.delete(key).await,
        }
    }

    async fn keys(&self) -> Result<Vec<String>> {
        match self {
            Self::File(file) => file.keys(),
            Self::Memory(memory) => Ok(memory.keys()),
            Self::Redis(redis) => redis.keys().await,
        }
    }

    async fn page(&self, place: &Place, has_bytes: bool) -> Result<Keys> {
        let after = match place {
            Place::After(key) => Some(key.as_str()),
            Place::Start | Place::Cursor(_) => None,
        };
        let entries = match self {
            Self::File(file) => file.page(after)?,
            Self::Memory(memory) => memory.page(after, file::PAGE),
            Self::Redis(redis) => {
                let cursor = match place {
                    Place::Cursor(cursor) => *cursor,
                    Place::Start | Place::After(_) => 0,
                };
                let (next, keys) = redis.page(cursor).await?;
                let bytes = match has_bytes {
                    true if !keys.is_empty() => redis.sizes(&keys).await?,
                    _ => Vec::new(),
                };
                return Ok(Keys {
                    keys,
                    bytes: bytes.into_iter().map(Option::unwrap_or_default).collect(),
                    next: (next != 0).then_some(Place::Cursor(next)),
                });
            }
        };
        let is_full = entries.len() >= file::PAGE;
        let last = entries.last().filter(|_| is_full);
        let next = last.map(|(key, _)| Place::After(key.clone()));
        let size = |(key, value): &(String, usize)| u64::try_from(key.len().saturating_add(*value));
        let bytes = match has_bytes {
            true => entries.iter().map(size).collect::<Result<_, _>>()?,
            false => Vec::new(),
        };
        let keys = entries.into_iter().map(|(key, _)| key).collect();
        Ok(Keys { keys, bytes, next })
    }

    async fn values(&self, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>> {
        match self {
            _ if keys.is_empty() => Ok(Vec::new()),
            Self::File(file) => keys.iter().map(|key| file.get(key)).collect(),
            Self::Memory(memory) => Ok(keys.iter().map(|key| memory.get(key)).collect()),
            Self::Redis(redis) => redis.values(keys).await,
        }
    }

    async fn remove(&self, keys: &[String]) -> Result<Vec<bool>> {
        match self {
            _ if keys.is_empty() => Ok(Vec::new()),
            Self::File(file) => file.remove(keys).await,
            Self::Memory(memory) => Ok(keys.iter().map(|key| memory.delete(key)).collect()),
            Self::Redis(redis) => redis.remove(keys).await,
        }
    }

    async fn increment(&self, key: &str, delta: i64) -> Result<i64> {
        match self {
            Self::File(file) => file.increment(key, delta).await,
            Self::Memory(memory) => memory.increment(key, delta),
            Self::Redis(redis) => redis.increment(key, delta).await,
        }
    }
}

/// The value is not the eight bytes of a counter. Spin's own store then stops the instance instead
/// of answering it; Redis, whose counters are decimal digits, answers with an error.
#[derive(Debug)]
pub struct NotACounter;

impl std::error::Error for NotACounter {}

impl std::fmt::Display for NotACounter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the value is not a counter of 8 bytes")
    }
}

/// Adds to a counter as Spin's own store keeps it: eight bytes, little-endian.
fn add(value: Option<&[u8]>, delta: i64) -> Result<i64> {
    let current = match value {
        None => 0,
        Some(bytes) => i64::from_le_bytes(bytes.try_into().map_err(|_| NotACounter)?),
    };
    current.checked_add(delta).context("the counter overflows")
}
