//! Content keys: their records, and the chain of sources that a licence takes them from.
//!
//! A request names a key by an asset id or a KID: a [`KeyQuery`]. The keys that a token brings are asked
//! first; then each [`KeySource`] of the deployment, in order. A source is one file here and one
//! variant of [`KeySource`].

mod error;
mod query;
mod record;
mod records;
mod scan;
pub mod seed;

use std::rc::Rc;

use futures_util::future::join_all;

pub use error::KeyError;
pub use query::KeyQuery;
pub use record::{ContentKey, ContentKeys, SameName, VARIABLE};
pub use records::{Records, read_all};
use seed::Seeds;

use crate::configuration::{SettingError, SettingErrorKind, SettingsError};
use crate::platform::Platform;

/// A source of keys.
pub enum KeySource {
    /// The records of the variable `content_keys`.
    Records(Records),
    /// The seeds of the variable `key_seed`, that keys are derived from.
    Seed(Seeds),
}

/// What a source answers.
pub enum Found {
    /// The key.
    Key(Rc<ContentKey>),
    /// The source has no such key.
    NotHere,
    /// The source is not configured.
    Off,
}

impl KeySource {
    /// The key of a query.
    ///
    /// # Errors
    /// The setting of the source that is wrong, and what does not answer.
    pub async fn find(
        &self,
        query: &KeyQuery,
        platform: &impl Platform,
    ) -> Result<Found, KeyError> {
        match self {
            Self::Records(records) => Ok(records.find(query, platform).await?),
            Self::Seed(seeds) => Ok(seeds.find(query, platform).await?),
        }
    }

    /// Reads everything that [`Self::find`] leaves until it is needed. Returns whether the source is configured.
    ///
    /// # Errors
    /// Every setting that is wrong.
    pub async fn check(&self, platform: &impl Platform) -> Result<bool, SettingsError> {
        match self {
            Self::Records(records) => records.check(platform).await,
            Self::Seed(seeds) => seeds.check(platform).await,
        }
    }

    /// Reads what [`Self::find`] will read in any case. What is wrong is said there.
    pub async fn read_ahead(&self, platform: &impl Platform) {
        match self {
            Self::Records(records) => drop(records.read_ahead(platform).await),
            // Another source may have the key.
            Self::Seed(_) => {}
        }
    }
}

/// The sources of a deployment, in the order in which they are asked.
pub struct KeySources(Vec<KeySource>);

impl KeySources {
    /// Every source. One that the variables do not configure is passed over. Nothing is read yet.
    pub fn new() -> Self {
        Self(vec![
            KeySource::Records(Records::default()),
            KeySource::Seed(Seeds::default()),
        ])
    }

    /// The key of a query, from the first source that has it. A source is read only when those before it do not have
    /// the key.
    ///
    /// # Errors
    /// As [`KeySource::find`]; [`KeyError::Settings`] when no source is configured.
    pub async fn find(
        &self,
        query: &KeyQuery,
        platform: &impl Platform,
    ) -> Result<Option<Rc<ContentKey>>, KeyError> {
        let mut is_configured = false;
        for source in &self.0 {
            match source.find(query, platform).await? {
                Found::Key(key) => return Ok(Some(key)),
                Found::NotHere => is_configured = true,
                Found::Off => {}
            }
        }
        if is_configured {
            Ok(None)
        } else {
            Err(none_configured().into())
        }
    }

    /// Reads what [`Self::find`] will read. What is wrong is said there.
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
fn none_configured() -> SettingsError {
    let reason = "it is not set, and `key_seed` is not, so there is no key to deliver";
    SettingError::new(VARIABLE, SettingErrorKind::Missing, reason).into()
}

impl Default for KeySources {
    fn default() -> Self {
        Self::new()
    }
}
