//! The source of keys in the host's key-value store.
//!
//! | key | holds |
//! |---|---|
//! | `key/{id}` | a record, [sealed](sealed): its id as logs have it |
//! | `key-name/{SHA-256 of a name}` | the id of the record that has the name |
//!
//! A name is found by its [index name](KeyQuery::index_name), so a licence reads two entries. Whoever can write the
//! store can delete records and bring back an older version of one. He can neither read a key, change a record, nor
//! make a name lead to a record that does not have it: the record says so itself.

mod catalogue;
mod encryption_keys;
mod sealed;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use sha2::{Digest, Sha256};

pub use catalogue::{Catalogue, Entry, GRACE, Listed, NewRecord, Outcome, PutError};
pub use encryption_keys::{EncryptionKeys, SharedKeys, VARIABLE};
pub use sealed::{Deleted, Fault};
pub(super) use sealed::{FETCHED, open_as, seal_as};

use super::query::KeyQuery;
use super::record::ContentKey;
use super::{Found, KeyError};
use crate::configuration::SettingsError;
use crate::id::Id;
use crate::platform::Platform;
use crate::store_key::{End, Family};

/// A record, by its id.
const RECORD: Family = Family {
    name: "key",
    parts: None,
    end: End::Never,
};

/// The id of the record that has a name.
const NAME: Family = Family::new("key-name", 1, End::Never);

/// What the store keeps of records.
pub const FAMILIES: [Family; 2] = [RECORD, NAME];

/// How long an instance uses a record without reading it again, in seconds.
const KEPT_SECONDS: u64 = 60;

/// How many records an instance keeps.
const KEPT: usize = 1_000;

/// The stored records, as this instance has them.
#[derive(Default)]
pub struct StoredKeys {
    keys: SharedKeys,
    /// Records by index name, and until when each is used.
    known: RefCell<HashMap<Id, (u64, Rc<ContentKey>)>>,
}

impl StoredKeys {
    /// Nothing is read yet.
    pub fn new(keys: SharedKeys) -> Self {
        Self {
            keys,
            ..Self::default()
        }
    }

    /// The record of a query: two reads of the store, or none where the instance has it.
    ///
    /// # Errors
    /// A setting that is wrong, a store that does not answer, and [`KeyError::Stored`] for a record that is not as it
    /// was written.
    pub async fn find(
        &self,
        query: &KeyQuery,
        platform: &impl Platform,
    ) -> Result<Found, KeyError> {
        let Some(keys) = self.encryption_keys(platform).await? else {
            return Ok(Found::Off);
        };
        let name = query.index_name();
        let now = platform.now();
        let known = self.known.borrow().get(&name).cloned();
        let key = match known.filter(|(until, _)| now < *until) {
            Some((_, key)) => key,
            None => match read(keys, &name, platform).await? {
                Found::Key(key) => self.keep(name, key, now),
                other => return Ok(other),
            },
        };
        let is_named = query.names().any(|name| key.is_named(name));
        Ok(if is_named {
            Found::Key(key)
        } else {
            Found::NotHere
        })
    }

    /// Reads the variable. Returns whether it is set.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn check(&self, platform: &impl Platform) -> Result<bool, SettingsError> {
        Ok(self.encryption_keys(platform).await?.is_some())
    }

    /// The keys that encrypt. `None` when no keys are stored.
    ///
    /// # Errors
    /// What is wrong with the variable.
    pub async fn encryption_keys(
        &self,
        platform: &impl Platform,
    ) -> Result<Option<&EncryptionKeys>, SettingsError> {
        self.keys.get(platform).await
    }

    /// Forgets the records that this instance has.
    pub fn forget(&self) {
        self.known.borrow_mut().clear();
    }

    fn keep(&self, name: Id, key: Rc<ContentKey>, now: u64) -> Rc<ContentKey> {
        let mut known = self.known.borrow_mut();
        if known.len() >= KEPT {
            known.retain(|_, (until, _)| now < *until);
        }
        if known.len() >= KEPT {
            known.clear();
        }
        known.insert(name, (now.saturating_add(KEPT_SECONDS), Rc::clone(&key)));
        key
    }
}

/// What the store has under a name.
async fn read(
    keys: &EncryptionKeys,
    name: &Id,
    platform: &impl Platform,
) -> Result<Found, KeyError> {
    let Some(id) = platform.get(&name_key(name)).await? else {
        return Ok(Found::NotHere);
    };
    let id = String::from_utf8(id).map_err(|_| Fault::Misplaced)?;
    let Some(sealed) = platform.get(&record_key(&id)).await? else {
        return Ok(Found::NotHere);
    };
    let opened = sealed::open(keys, &sealed)?;
    let key = ContentKey::from_members(opened.description.record, opened.key)
        .map_err(|_| Fault::Layout)?;
    if key.id.to_string() != id || !index_names(&key).contains(name) {
        return Err(Fault::Misplaced.into());
    }
    Ok(match opened.description.deleted {
        Some(deleted) if deleted.is_over(platform.now()) => Found::NotHere,
        Some(_) => Found::Deleted,
        None => Found::Key(Rc::new(key)),
    })
}

/// The names under which a record is found, each once.
fn index_names(key: &ContentKey) -> Vec<Id> {
    let mut names = Vec::with_capacity(key.names.len());
    for name in &key.names {
        let name = KeyQuery::from_id(name.clone()).index_name();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn record_key(id: &str) -> String {
    RECORD.key(id)
}

fn name_key(name: &Id) -> String {
    NAME.key(hex::encode(Sha256::digest(name.as_bytes())))
}
