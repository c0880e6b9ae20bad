//! The source of keys behind the variable `key_server`: another server, which is asked by SPEKE, CPIX or JSON.
//!
//! What it answered is kept, fresh for `cache_seconds`, and goes on for a day while the server does not give it. A key
//! that it does not have is remembered for half a minute, and a server that does not answer is left alone for a moment
//! (`kept`).

mod asked;
mod config;
mod exchange;
mod kept;
#[cfg(test)]
mod tests;

use std::cell::OnceCell;
use std::rc::Rc;

use self::asked::Asked;
use self::config::Config;
use self::exchange::{Failure, Fetched};
use self::kept::{Kept, Known, Mark};
use super::error::KeyError;
use super::query::KeyQuery;
use super::store::SharedKeys;
use super::{ContentKey, Found};
use crate::configuration::SettingsError;
use crate::platform::{Platform, Random, once};

pub use config::VARIABLE;
pub use kept::FAMILIES;

/// A key server, and what this instance knows of its keys.
#[derive(Default)]
pub struct KeyServer {
    config: OnceCell<Option<Config>>,
    encryption_keys: SharedKeys,
    kept: Kept,
}

impl KeyServer {
    /// Nothing is read yet.
    pub fn new(encryption_keys: SharedKeys) -> Self {
        Self {
            encryption_keys,
            ..Self::default()
        }
    }

    /// The key of a query, as it is kept, or fetched.
    ///
    /// # Errors
    /// What is wrong with the setting; [`KeyError::ServerDenied`], [`KeyError::ServerUnavailable`] and
    /// [`KeyError::ServerAnswer`] when the key is not kept either.
    pub async fn find(
        &self,
        query: &KeyQuery,
        platform: &impl Platform,
    ) -> Result<Found, KeyError> {
        let Some(config) = self.config(platform).await? else {
            return Ok(Found::Off);
        };
        // Not everything can be asked: by SPEKE, for one, nothing but a KID.
        let Some(asked) = Asked::new(config, query) else {
            return Ok(Found::NotHere);
        };
        let now = platform.now();
        let kept = &self.kept;
        if let Some(key) = kept.fresh(&asked, config, now) {
            return Ok(Found::Key(key));
        }
        let stale = kept.usable(&asked, config, now);
        if let Some(mark) = kept.mark(&asked, config, stale.is_some(), now) {
            return without_asking(mark, stale);
        }
        let encryption_keys = self.encryption_keys.get(platform).await?;
        if let Some(keys) = encryption_keys
            && let Some(stored) = kept::stored(&asked, keys, platform).await
        {
            kept.add(&asked, stored);
            if let Some(key) = kept.fresh(&asked, config, now) {
                return Ok(Found::Key(key));
            }
        }
        let stale = kept.usable(&asked, config, now);
        let mark = kept.mark_of_others(&asked, config, stale.is_some(), platform, now);
        if let Some(mark) = mark.await {
            return without_asking(mark, stale);
        }

        let fetched = exchange::fetch(config, &asked, platform).await;
        // The request may have taken long.
        let now = platform.now();
        let mark = match fetched {
            Ok(Fetched::Key(key, record)) => {
                let known = Known::new(Rc::clone(&key), now);
                if let Some(keys) = encryption_keys {
                    kept::store(&asked, &known, record, keys, platform).await;
                }
                kept.add(&asked, known);
                return Ok(Found::Key(key));
            }
            Ok(Fetched::Absent) => {
                if encryption_keys.is_some() {
                    kept::forget(&asked, platform).await;
                }
                Mark::Absent
            }
            Err(failure) => {
                if let Some(mark) = Mark::from_failure(&failure) {
                    kept.remember(&asked, config, mark, platform, now).await;
                }
                return stale.map(Found::Key).ok_or_else(|| failure.into());
            }
        };
        kept.remember(&asked, config, mark, platform, now).await;
        Ok(Found::NotHere)
    }

    /// Reads the setting. Nothing is asked of the key server. Returns whether it is set.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn check(&self, platform: &impl Platform) -> Result<bool, SettingsError> {
        match self.config(platform).await? {
            Some(config) => config.check(&mut Random(platform)).map(|()| true),
            None => Ok(false),
        }
    }

    async fn config(&self, platform: &impl Platform) -> Result<Option<&Config>, SettingsError> {
        let config = once(&self.config, async {
            let text = platform.variable(VARIABLE).await?;
            let config = text.map(|text| Config::read(&text)).transpose();
            config.map_err(SettingsError::from)
        });
        Ok(config.await?.as_ref())
    }
}

/// What there is without asking the server again.
fn without_asking(mark: Mark, stale: Option<Rc<ContentKey>>) -> Result<Found, KeyError> {
    match (mark.error(), stale) {
        (None, _) => Ok(Found::NotHere),
        (Some(_), Some(key)) => Ok(Found::Key(key)),
        (Some(error), None) => Err(error),
    }
}

impl From<Failure> for KeyError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Denied(error) => Self::ServerDenied(error),
            Failure::Silent(reason) | Failure::Unable(reason) => Self::ServerUnavailable(reason),
            Failure::Answer(reason) => Self::ServerAnswer(reason),
        }
    }
}
