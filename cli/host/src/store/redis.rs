//! A store in Redis. Counters are decimal text there, as `INCRBY` keeps them.

use std::time::Duration;

use anyhow::Result;
use redis::AsyncCommands;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use tokio::sync::OnceCell;

/// How long a player is kept waiting for a Redis that does not answer.
pub const TIMEOUT: Duration = Duration::from_secs(2);

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
        Ok(self.connection().await?.set(key, value).await?)
    }

    pub async fn delete(&self, key: &str) -> Result<()> {
        Ok(self.connection().await?.del(key).await?)
    }

    pub async fn keys(&self) -> Result<Vec<String>> {
        let mut connection = self.connection().await?;
        let (mut cursor, mut keys) = (0, Vec::new());
        loop {
            let mut scan = redis::cmd("SCAN");
            let scan = scan.arg(cursor).arg("COUNT").arg(SCANNED);
            let page: (u64, Vec<String>) = scan.query_async(&mut connection).await?;
            cursor = page.0;
            keys.extend(page.1);
            if cursor == 0 {
                break;
            }
        }
        // SCAN may return a key more than once.
        keys.sort_unstable();
        keys.dedup();
        Ok(keys)
    }

    pub async fn increment(&self, key: &str, delta: i64) -> Result<i64> {
        Ok(self.connection().await?.incr(key, delta).await?)
    }
}
