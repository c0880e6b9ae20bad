//! Content keys: their records, and the chain of sources that a licence takes them from.
//!
//! A request names a key by an asset id or a KID: a [`KeyQuery`]. The keys that a token brings are asked
//! first; then each [`KeySource`] of the deployment, in order. A source is one file here and one
//! variant of [`KeySource`].

mod query;
mod record;
mod records;
mod scan;

use std::rc::Rc;

pub use query::KeyQuery;
pub use record::{ContentKey, ContentKeys, SameName, VARIABLE};
pub use records::{Records, read_all};

use crate::configuration::SettingsError;
use crate::platform::Platform;

/// A source of keys.
pub enum KeySource {
    /// The records of the variable `content_keys`.
    Records(Records),
}

impl KeySource {
    /// The key of a query; `None` when this source has none.
    ///
    /// # Errors
    /// The setting of the source that is wrong, or the host that does not answer.
    pub async fn find(
        &self,
        query: &KeyQuery,
        platform: &impl Platform,
    ) -> Result<Option<Rc<ContentKey>>, SettingsError> {
        match self {
            Self::Records(records) => records.find(query, platform).await,
        }
    }

    /// Reads everything that [`Self::find`] leaves until it is needed.
    ///
    /// # Errors
    /// Every setting that is wrong.
    pub async fn check(&self, platform: &impl Platform) -> Result<(), SettingsError> {
        match self {
            Self::Records(records) => records.check(platform).await,
        }
    }

    /// Reads what [`Self::find`] will read. What is wrong is said there.
    pub async fn read_ahead(&self, platform: &impl Platform) {
        match self {
            Self::Records(records) => drop(records.read_ahead(platform).await),
        }
    }
}

/// The sources of a deployment, in the order in which they are asked.
pub struct KeySources(Vec<KeySource>);

impl KeySources {
    /// The sources that the variables configure. Nothing is read yet.
    pub fn new() -> Self {
        Self(vec![KeySource::Records(Records::default())])
    }

    /// The key of a query, from the first source that has it.
    ///
    /// # Errors
    /// As [`KeySource::find`].
    pub async fn find(
        &self,
        query: &KeyQuery,
        platform: &impl Platform,
    ) -> Result<Option<Rc<ContentKey>>, SettingsError> {
        for source in &self.0 {
            if let Some(key) = source.find(query, platform).await? {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    /// Reads what [`Self::find`] will read. What is wrong is said there.
    pub async fn read_ahead(&self, platform: &impl Platform) {
        for source in &self.0 {
            source.read_ahead(platform).await;
        }
    }

    /// Reads everything that [`Self::find`] leaves until it is needed.
    ///
    /// # Errors
    /// Every setting that is wrong.
    pub async fn check(&self, platform: &impl Platform) -> Result<(), SettingsError> {
        let mut problems = Vec::new();
        for source in &self.0 {
            match source.check(platform).await {
                Ok(()) => {}
                Err(SettingsError::Invalid(found)) => problems.extend(found),
                Err(error) => return Err(error),
            }
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(SettingsError::Invalid(problems))
        }
    }
}

impl Default for KeySources {
    fn default() -> Self {
        Self::new()
    }
}
