//! A store in Redis. Counters are decimal text there, as `INCRBY` keeps them.

use anyhow::{Context, Result};
use redis::AsyncCommands;
use redis::aio::ConnectionManager;

/// A connection that is made again when it breaks, shared by every request.
pub struct Redis(ConnectionManager);

impl Redis {
    pub async fn open(url: &str) -> Result<Self> {
        // The URL may hold a password: no error repeats it.
        let client = redis::Client::open(url)
            .map_err(|error| error.kind())
            .map_err(|kind| anyhow::anyhow!("the URL of the Redis store is not one: {kind:?}"))?;
        let connection = client
            .get_connection_manager()
            .await
            .context("connecting to the Redis store")?;
        Ok(Self(connection))
    }

    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.0.clone().get(key).await?)
    }

    pub async fn set(&self, key: &str, value: Vec<u8>) -> Result<()> {
        Ok(self.0.clone().set(key, value).await?)
    }

    pub async fn delete(&self, key: &str) -> Result<()> {
        Ok(self.0.clone().del(key).await?)
    }

    pub async fn keys(&self) -> Result<Vec<String>> {
        Ok(self.0.clone().keys("*").await?)
    }

    pub async fn increment(&self, key: &str, delta: i64) -> Result<i64> {
        Ok(self.0.clone().incr(key, delta).await?)
    }
}
