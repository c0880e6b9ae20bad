//! Content keys: their records, and the chain of sources that a licence takes them from.
//!
//! A request names a key by an asset id or a KID: a [`KeyQuery`]. The keys that a token brings are asked
//! first; then each [`KeySource`] of the deployment, in order. A source is one file here and one
//! variant of [`KeySource`].

mod error;
mod query;
mod record;
mod records;
pub mod remote;
mod scan;
pub mod seed;
mod skd_rules;
pub mod store;

use std::rc::Rc;

use futures_util::future::join_all;

pub use error::KeyError;
pub use query::KeyQuery;
pub use record::{ContentKey, ContentKeys, KeyRecord, SameName, VARIABLE};
pub use records::{Records, read_all};
use remote::KeyServer;
use seed::Seeds;
pub use skd_rules::{SkdRules, VARIABLE as SKD_RULES};
use store::{SharedKeys, StoredKeys};

use crate::configuration::{SettingError, SettingErrorKind, SettingsError};
use crate::id::{Id, Kid};
use crate::platform::Platform;
use crate::track::Track;

/// A source of keys.
pub enum KeySource {
    /// The records of the variable `content_keys`.
    Records(Records),
    /// The records in the key-value store.
    Stored(StoredKeys),
    /// The seeds of the variable `key_seed`, that keys are derived from.
    Seed(Seeds),
    /// The key server of the variable `key_server`.
    Remote(Box<KeyServer>),
}

/// What a source answers.
pub enum Found {
    /// The key.
    Key(Rc<ContentKey>),
    /// The source had the key, and the operator deleted it. No other source is asked.
    Deleted,
    /// The source has no such key.
    NotHere,
    /// The source is not configured.
    Off,
}

impl Found {
    /// Whether another source may have the key.
    pub fn is_open(&self) -> bool {
        matches!(self, Self::NotHere | Self::Off)
    }

    /// This answer, or that of the next source where this one leaves it open.
    #[must_use]
    pub fn or(self, next: Self) -> Self {
        match (self, next) {
            (Self::NotHere, Self::Off) => Self::NotHere,
            (Self::NotHere | Self::Off, next) => next,
            (found, _) => found,
        }
    }
}

impl KeySource {
    /// The key of a query.
    ///
    /// # Errors
    /// A wrong setting, or a store or server that does not answer.
    pub async fn find(
        &self,
        query: &KeyQuery,
        platform: &impl Platform,
    ) -> Result<Found, KeyError> {
        match self {
            Self::Records(records) => Ok(records.find(query, platform).await?),
            Self::Stored(stored) => stored.find(query, platform).await,
            Self::Seed(seeds) => Ok(seeds.find(query, platform).await?),
            Self::Remote(server) => server.find(query, platform).await,
        }
    }

    /// Whether another server is asked.
    fn is_remote(&self) -> bool {
        match self {
            Self::Remote(_) => true,
            Self::Records(_) | Self::Stored(_) | Self::Seed(_) => false,
        }
    }

    /// Whether the operator keeps its keys one by one.
    fn has_records(&self) -> bool {
        match self {
            Self::Records(_) | Self::Stored(_) => true,
            Self::Seed(_) | Self::Remote(_) => false,
        }
    }

    /// Reads everything that [`Self::find`] leaves until it is needed. Returns whether the source is configured.
    ///
    /// # Errors
    /// Every setting that is wrong.
    pub async fn check(&self, platform: &impl Platform) -> Result<bool, SettingsError> {
        match self {
            Self::Records(records) => records.check(platform).await,
            Self::Stored(stored) => stored.check(platform).await,
            Self::Seed(seeds) => seeds.check(platform).await,
            Self::Remote(server) => server.check(platform).await,
        }
    }

    /// Reads what [`Self::find`] will read in any case. [`Self::find`] reports what is wrong.
    pub async fn read_ahead(&self, platform: &impl Platform) {
        match self {
            Self::Records(records) => drop(records.read_ahead(platform).await),
            Self::Stored(stored) => drop(stored.encryption_keys(platform).await),
            // Another source may have the key.
            Self::Seed(_) | Self::Remote(_) => {}
        }
    }
}

/// The sources of a deployment, in the order in which they are asked.
pub struct KeySources(Vec<KeySource>);

impl KeySources {
    /// Every source. One that the variables do not configure is passed over. Nothing is read yet.
    pub fn new() -> Self {
        let encryption_keys = SharedKeys::default();
        Self(vec![
            KeySource::Records(Records::default()),
            KeySource::Stored(StoredKeys::new(encryption_keys.clone())),
            KeySource::Seed(Seeds::default()),
            KeySource::Remote(Box::new(KeyServer::new(encryption_keys))),
        ])
    }

    /// The source in the key-value store.
    pub fn stored(&self) -> Option<&StoredKeys> {
        self.0.iter().find_map(|source| match source {
            KeySource::Stored(stored) => Some(stored),
            KeySource::Records(_) | KeySource::Seed(_) | KeySource::Remote(_) => None,
        })
    }

    /// The KID of a content, a period of it and a track, by the seed that makes KIDs. `None` when there is no seed.
    ///
    /// # Errors
    /// What is wrong with `key_seed`.
    pub async fn make_kid(
        &self,
        content: &Id,
        period: u32,
        track: Option<Track>,
        platform: &impl Platform,
    ) -> Result<Option<Kid>, SettingsError> {
        let seeds = self.0.iter().find_map(|source| match source {
            KeySource::Seed(seeds) => Some(seeds),
            KeySource::Records(_) | KeySource::Stored(_) | KeySource::Remote(_) => None,
        });
        match seeds {
            Some(seeds) => seeds.make_kid(content, period, track, platform).await,
            None => Ok(None),
        }
    }

    /// The key of a query, from the first source of this server that has it: no other server is asked. A source is read
    /// only when those before it do not have the key.
    ///
    /// # Errors
    /// As [`KeySource::find`].
    pub async fn find(
        &self,
        query: &KeyQuery,
        platform: &impl Platform,
    ) -> Result<Found, KeyError> {
        self.find_in(|source| !source.is_remote(), query, platform)
            .await
    }

    /// The same among the sources that keep records.
    ///
    /// # Errors
    /// As [`KeySource::find`].
    pub async fn find_record(
        &self,
        query: &KeyQuery,
        platform: &impl Platform,
    ) -> Result<Found, KeyError> {
        self.find_in(KeySource::has_records, query, platform).await
    }

    /// The key that a seed has for a query.
    ///
    /// # Errors
    /// As [`KeySource::find`].
    pub async fn derive(
        &self,
        query: &KeyQuery,
        platform: &impl Platform,
    ) -> Result<Found, KeyError> {
        let is_seed = |source: &KeySource| matches!(source, KeySource::Seed(_));
        self.find_in(is_seed, query, platform).await
    }

    async fn find_in(
        &self,
        is_asked: impl Fn(&KeySource) -> bool,
        query: &KeyQuery,
        platform: &impl Platform,
    ) -> Result<Found, KeyError> {
        let mut found = Found::Off;
        for source in self.0.iter().filter(|source| is_asked(source)) {
            found = found.or(source.find(query, platform).await?);
            if !found.is_open() {
                break;
            }
        }
        Ok(found)
    }

    /// The key of a query that [`Self::find`] did not find, from the key server.
    ///
    /// # Errors
    /// As [`KeySource::find`].
    pub async fn fetch(
        &self,
        query: &KeyQuery,
        platform: &impl Platform,
    ) -> Result<Found, KeyError> {
        match self.0.iter().find(|source| source.is_remote()) {
            Some(source) => source.find(query, platform).await,
            None => Ok(Found::Off),
        }
    }

    /// Reads what [`Self::find`] will read. [`Self::find`] reports what is wrong.
    pub async fn read_ahead(&self, platform: &impl Platform) {
        join_all(self.0.iter().map(|source| source.read_ahead(platform))).await;
    }

    /// Reads everything that [`Self::find`] leaves until it is needed.
    ///
    /// # Errors
    /// Every setting that is wrong, or that no source is configured.
    pub async fn check(&self, platform: &impl Platform) -> Result<(), SettingsError> {
        let mut problems = Vec::new();
        let mut is_configured = false;
        for source in &self.0 {
            match source.check(platform).await {
                Ok(is_on) => is_configured |= is_on,
                Err(SettingsError::Invalid(found)) => problems.extend(found),
                Err(error) => return Err(error),
            }
        }
        if !problems.is_empty() {
            Err(SettingsError::Invalid(problems))
        } else if is_configured {
            Ok(())
        } else {
            Err(none_configured())
        }
    }
}

/// Nothing says where keys come from.
pub(crate) fn none_configured() -> SettingsError {
    let reason = "it is not set, nor is `key_encryption_keys`, `key_seed` or `key_server`, so there is no key to deliver";
    SettingError::new(VARIABLE, SettingErrorKind::Missing, reason).into()
}

impl Default for KeySources {
    fn default() -> Self {
        Self::new()
    }
}
