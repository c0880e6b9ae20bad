//! A store in Redis. Counters are decimal text there, as `INCRBY` keeps them.
//!
//! A key that says when it is over gets that as its expiry, whenever it is written.

use std::time::Duration;

use anyhow::{Context, Result};
use keylet::platform;
use keylet::sweep::{Key, MARGIN};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{AsyncCommands, RedisResult};
use tokio::sync::OnceCell;

/// How long a player is kept waiting for a Redis that does not answer.
pub const TIMEOUT: Duration = Duration::from_secs(2);

/// The longest expiry in seconds, some thousand years. Redis refuses those that do not fit into its milliseconds.
const LONGEST_EXPIRY: u64 = 1 << 35;

/// How many keys Redis looks at in one go. `KEYS` looks at all of them, and serves nobody else meanwhile.
const SCANNED: usize = 10_000;

/// A connection that is made on first use and again when it breaks, shared by every request. A host
/// starts without its Redis, since most requests need none.
pub struct Redis {
    client: redis::Client,
    limit: Option<Duration>,
    connection: OnceCell<ConnectionManager>,
}

impl Redis {
    /// With a limit for the time until an answer, or with the defaults of the library as Spin has it.
    pub fn open(url: &str, limit: Option<Duration>) -> Result<Self> {
        // The URL may hold a password: no error repeats it.
        let client = redis::Client::open(url)
            .map_err(|error| error.kind())
            .map_err(|kind| anyhow::anyhow!("the URL of the Redis store is not one: {kind:?}"))?;
        Ok(Self {
            client,
            limit,
            connection: OnceCell::new(),
        })
    }

    async fn connection(&self) -> Result<ConnectionManager> {
        let config = ConnectionManagerConfig::new();
        let config = match self.limit {
            Some(limit) => config
                .set_number_of_retries(1)
                .set_connection_timeout(Some(TIMEOUT))
                .set_response_timeout(Some(limit)),
            None => config
                .set_connection_timeout(None)
                .set_response_timeout(None),
        };
        let connect = || self.client.get_connection_manager_with_config(config);
        Ok(self.connection.get_or_try_init(connect).await?.clone())
    }

    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.connection().await?.get(key).await?)
    }

    pub async fn set(&self, key: &str, value: Vec<u8>) -> Result<()> {
        let mut connection = self.connection().await?;
        match expiry(key) {
            Some(seconds) => Ok(connection.set_ex(key, value, seconds).await?),
            None => Ok(connection.set(key, value).await?),
        }
    }

    pub async fn delete(&self, key: &str) -> Result<()> {
        Ok(self.connection().await?.del(key).await?)
    }

    pub async fn keys(&self) -> Result<Vec<String>> {
        let (mut cursor, mut keys) = (0, Vec::new());
        loop {
            let (next, page) = self.page(cursor).await?;
            keys.extend(page);
            match next {
                0 => break,
                next => cursor = next,
            }
        }
        // SCAN may return a key more than once.
        keys.sort_unstable();
        keys.dedup();
        Ok(keys)
    }

    pub async fn increment(&self, key: &str, delta: i64) -> Result<i64> {
        let mut connection = self.connection().await?;
        let Some(seconds) = expiry(key) else {
            return Ok(connection.incr(key, delta).await?);
        };
        // The counter counts where its expiry is refused, too: a sweep finds it.
        let mut pipe = redis::pipe();
        pipe.ignore_errors().incr(key, delta);
        pipe.cmd("EXPIRE").arg(key).arg(seconds).ignore();
        let sums: Vec<RedisResult<i64>> = pipe.query_async(&mut connection).await?;
        let sum = sums.into_iter().next().context("Redis did not count")?;
        Ok(sum?)
    }

    /// Keys from a cursor on, and the next cursor. Both ends have 0. A key may come more than once.
    pub async fn page(&self, cursor: u64) -> Result<(u64, Vec<String>)> {
        let mut scan = redis::cmd("SCAN");
        let scan = scan.arg(cursor).arg("COUNT").arg(SCANNED);
        // Keys of other programs may be no text.
        let (next, keys): (u64, Vec<Vec<u8>>) =
            scan.query_async(&mut self.connection().await?).await?;
        let text = |key: Vec<u8>| {
            String::from_utf8(key)
                .unwrap_or_else(|key| String::from_utf8_lossy(key.as_bytes()).into_owned())
        };
        Ok((next, keys.into_iter().map(text).collect()))
    }

    /// The memory that each of these takes, in bytes; `None` for what is not there.
    pub async fn sizes(&self, keys: &[String]) -> Result<Vec<Option<u64>>> {
        let mut pipe = redis::pipe();
        for key in keys {
            pipe.cmd("MEMORY").arg("USAGE").arg(key);
        }
        Ok(pipe.query_async(&mut self.connection().await?).await?)
    }

    /// The values of keys.
    pub async fn values(&self, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>> {
        Ok(self.connection().await?.mget(keys).await?)
    }

    /// Deletes keys, and returns of each whether it was there.
    pub async fn remove(&self, keys: &[String]) -> Result<Vec<bool>> {
        let mut pipe = redis::pipe();
        for key in keys {
            pipe.unlink(key);
        }
        Ok(pipe.query_async(&mut self.connection().await?).await?)
    }

    /// The memory that Redis uses for what it keeps, in bytes.
    pub async fn memory(&self) -> Result<u64> {
        let mut info = redis::cmd("INFO");
        let info = info.arg("memory");
        let text: String = info.query_async(&mut self.connection().await?).await?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("used_memory_dataset:"));
        line.and_then(|digits| digits.trim().parse().ok())
            .context("Redis does not say how much memory it uses")
    }
}

/// In how many seconds a key that is written now is over; `None` where it does not say so.
fn expiry(key: &str) -> Option<u64> {
    let end = Key::of(key)?.expires_at()?;
    let seconds = end.saturating_sub(platform::system_time()).max(MARGIN);
    (seconds <= LONGEST_EXPIRY).then_some(seconds)
}
