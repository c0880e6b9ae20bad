//! The stored records as the operator keeps them: put, list, delete, restore, encrypt again.
//!
//! What is written survives an instance or a command that ends in between: names that a record loses are deleted before
//! it is written, and names that it gets are written after it. Whoever puts the record again brings it to its end.

use std::collections::BTreeSet;

use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::encryption_keys::EncryptionKeys;
use super::sealed::{self, Deleted, Description, Fault};
use super::{index_names, name_key, record_key};
use crate::configuration::SettingError;
use crate::content_key::{ContentKey, KeyError, KeyQuery};
use crate::error::Code;
use crate::id::Id;
use crate::platform::{self, Platform};

/// How long a deleted record can be restored where nothing else is said, in seconds: a week.
pub const GRACE: u64 = 7 * 24 * 60 * 60;

/// The records of a store.
pub struct Catalogue<'a, P> {
    keys: &'a EncryptionKeys,
    platform: &'a P,
}

/// What became of a record that was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Outcome {
    /// It was not there.
    Created,
    /// It was there, and something in it changed.
    Replaced,
    /// It was there as it is.
    Unchanged,
}

/// Why a record is not put. Nothing of it was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PutError {
    /// It is not of the documented shape.
    #[error("{}", .0.message())]
    Record(SettingError),
    /// There is a record with this id and another key.
    #[error(
        "there is a record with this id and another key; content that is encrypted with that key would no longer play"
    )]
    OtherKey,
    /// Another record has one of its names.
    #[error("the record {0:?} has one of its names")]
    NameTaken(String),
    /// The record that is there does not open.
    #[error(transparent)]
    Stored(Fault),
}

impl PutError {
    /// The code of this error.
    pub fn code(&self) -> Code {
        match self {
            Self::Record(_) => Code::KEY_RECORD_INVALID,
            Self::OtherKey => Code::KEY_DIFFERS,
            Self::NameTaken(_) => Code::KEY_NAME_TAKEN,
            Self::Stored(fault) => KeyError::from(fault.clone()).code(),
        }
    }
}

/// A record that was read, and can be put.
pub struct NewRecord {
    /// Its members without the key.
    record: Map<String, Value>,
    parsed: ContentKey,
    names: Vec<Id>,
}

impl NewRecord {
    /// Reads a record: an object as in `content_keys`.
    ///
    /// # Errors
    /// [`PutError::Record`]
    pub fn read(mut record: Map<String, Value>) -> Result<Self, PutError> {
        let parsed = ContentKey::from_json(Value::Object(record.clone()));
        if let Some(Value::String(key)) = record.remove("key") {
            drop(Zeroizing::new(key));
        }
        let parsed = parsed.map_err(PutError::Record)?;
        Ok(Self {
            names: index_names(&parsed),
            record,
            parsed,
        })
    }

    /// The names under which it is found.
    pub fn names(&self) -> &[Id] {
        &self.names
    }
}

/// A record, and whether it is deleted.
pub struct Entry {
    /// The `kid` of the key that encrypted it.
    pub encryption_key: String,
    /// The record with its key.
    pub key: ContentKey,
    /// Its members without the key, as in `content_keys`.
    pub record: Map<String, Value>,
    /// Whether it is deleted, and until when it can be restored.
    pub deleted: Option<Deleted>,
}

/// A page of the list of ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Ids, in order.
    pub ids: Vec<String>,
    /// Whether there are more.
    pub has_more: bool,
}

impl Entry {
    /// Whether it is deleted, and the time for restoring is over.
    fn is_over(&self, now: u64) -> bool {
        self.deleted.is_some_and(|deleted| deleted.is_over(now))
    }
}

impl<'a, P: Platform> Catalogue<'a, P> {
    /// The records of the platform's store, under these keys.
    pub fn new(keys: &'a EncryptionKeys, platform: &'a P) -> Self {
        Self { keys, platform }
    }

    /// Puts a record: an object as in `content_keys`. A record of this id is replaced; one with another key only when
    /// `may_replace_key` says so. What is there already is not written again.
    ///
    /// # Errors
    /// A store that does not answer; inside, why this record is not put.
    pub async fn put(
        &self,
        record: Map<String, Value>,
        may_replace_key: bool,
    ) -> Result<Result<Outcome, PutError>, platform::Error> {
        match NewRecord::read(record) {
            Ok(record) => self.put_record(record, may_replace_key).await,
            Err(error) => Ok(Err(error)),
        }
    }

    /// Puts a record that was read, as [`Self::put`] does. Two records that share a name are put one after the other.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub async fn put_record(
        &self,
        record: NewRecord,
        may_replace_key: bool,
    ) -> Result<Result<Outcome, PutError>, platform::Error> {
        let NewRecord {
            record,
            parsed,
            names,
        } = record;
        let id = parsed.id.to_string();
        let (existing, holders) = futures_util::future::try_join(
            self.entry(&id),
            try_join_all(names.iter().map(|name| self.holder(name))),
        )
        .await?;
        let existing = match existing.transpose() {
            Ok(existing) => existing,
            Err(fault) => return Ok(Err(PutError::Stored(fault))),
        };
        let has_same_key = |existing: &Entry| bool::from(existing.key.key.ct_eq(&parsed.key));
        let now = self.platform.now();
        let is_other = |existing: &Entry| !existing.is_over(now) && !has_same_key(existing);
        if !may_replace_key && existing.as_ref().is_some_and(is_other) {
            return Ok(Err(PutError::OtherKey));
        }
        // A name that leads to a record which no longer has it was left behind.
        for (name, holder) in names.iter().zip(&holders) {
            let Some(holder) = holder.as_ref().filter(|holder| **holder != id) else {
                continue;
            };
            match self.entry(holder).await? {
                Some(Ok(other))
                    if !other.is_over(now) && index_names(&other.key).contains(name) =>
                {
                    return Ok(Err(PutError::NameTaken(holder.clone())));
                }
                Some(Err(fault)) => return Ok(Err(PutError::Stored(fault))),
                Some(Ok(_)) | None => {}
            }
        }
        let missing: Vec<&Id> = names
            .iter()
            .zip(&holders)
            .filter(|(_, holder)| holder.as_deref() != Some(id.as_str()))
            .map(|(name, _)| name)
            .collect();
        let first = self.keys.first().map(|key| key.id.as_str());
        let is_unchanged = existing.as_ref().is_some_and(|existing| {
            has_same_key(existing)
                && existing.record == record
                && existing.deleted.is_none()
                && Some(existing.encryption_key.as_str()) == first
        });
        if !is_unchanged {
            if let Some(existing) = &existing {
                let lost = index_names(&existing.key);
                let lost = lost.iter().filter(|name| !names.contains(name));
                self.delete_names(&id, lost).await?;
            }
            let description = Description {
                record,
                deleted: None,
            };
            self.write(&id, &parsed, &description).await?;
        }
        let pointers = missing.iter().map(|name| async {
            let key = name_key(name);
            self.platform.set(&key, id.as_bytes()).await
        });
        try_join_all(pointers).await?;
        Ok(Ok(match existing {
            None => Outcome::Created,
            Some(_) if is_unchanged && missing.is_empty() => Outcome::Unchanged,
            Some(_) => Outcome::Replaced,
        }))
    }

    /// The record of a name: an id, an alias or a KID. One that can no longer be restored is none.
    ///
    /// # Errors
    /// As [`Self::entry`].
    pub async fn find(&self, name: &Id) -> Result<Option<Entry>, KeyError> {
        let now = self.platform.now();
        let found = match self.entry(&name.to_string()).await? {
            Some(entry) => Some(entry?),
            None => self.find_by_name(name).await?,
        };
        Ok(found.filter(|entry| !entry.is_over(now)))
    }

    async fn find_by_name(&self, name: &Id) -> Result<Option<Entry>, KeyError> {
        let name = KeyQuery::from_id(name.clone()).index_name();
        let Some(id) = self.holder(&name).await? else {
            return Ok(None);
        };
        match self.entry(&id).await? {
            Some(Ok(entry)) if !index_names(&entry.key).contains(&name) => {
                Err(Fault::Misplaced.into())
            }
            Some(entry) => Ok(Some(entry?)),
            None => Ok(None),
        }
    }

    /// A page of the ids behind `after`, in order. It asks the store for every key that it has.
    ///
    /// # Errors
    /// A store that does not answer.
    pub async fn list(&self, after: &str, limit: usize) -> Result<Listed, platform::Error> {
        let keys = self.platform.keys().await?;
        let ids = keys.into_iter().filter_map(|key| {
            let id = *super::RECORD.parts(&key)?.first()?;
            (id > after).then(|| id.to_owned())
        });
        let ids: BTreeSet<String> = ids.collect();
        let has_more = ids.len() > limit;
        Ok(Listed {
            ids: ids.into_iter().take(limit).collect(),
            has_more,
        })
    }

    /// Deletes a record: no licence has its key any more, and it can be restored for `grace` seconds. With 0, it is
    /// gone for good. Returns until when it can be restored.
    ///
    /// # Errors
    /// A store that does not answer, and a record that does not open.
    pub async fn delete(&self, entry: &Entry, grace: u64) -> Result<Deleted, KeyError> {
        let now = self.platform.now();
        let deleted = Deleted {
            at: now,
            until: now.saturating_add(grace),
        };
        if grace == 0 {
            self.purge(entry).await?;
        } else {
            self.rewrite(entry, Some(deleted)).await?;
        }
        Ok(deleted)
    }

    /// Restores a deleted record.
    ///
    /// # Errors
    /// A store that does not answer.
    pub async fn restore(&self, entry: &Entry) -> Result<(), KeyError> {
        Ok(self.rewrite(entry, None).await?)
    }

    /// Encrypts a record under the first key, unless it is. One that was deleted and whose time is over is taken out.
    /// Returns whether something was written.
    ///
    /// # Errors
    /// A store that does not answer, and a record that does not open.
    pub async fn encrypt_again(&self, id: &str) -> Result<bool, KeyError> {
        let Some(entry) = self.entry(id).await? else {
            return Ok(false);
        };
        let entry = entry?;
        if entry.is_over(self.platform.now()) {
            self.purge(&entry).await?;
            return Ok(true);
        }
        let first = self.keys.first().map(|key| key.id.as_str());
        if Some(entry.encryption_key.as_str()) == first {
            return Ok(false);
        }
        self.rewrite(&entry, entry.deleted).await?;
        Ok(true)
    }

    /// The record of an id.
    ///
    /// # Errors
    /// A store that does not answer; inside, a record that does not open.
    pub async fn entry(&self, id: &str) -> Result<Option<Result<Entry, Fault>>, platform::Error> {
        let sealed = self.platform.get(&record_key(id)).await?;
        Ok(sealed.map(|sealed| self.open(id, &sealed)))
    }

    fn open(&self, id: &str, sealed: &[u8]) -> Result<Entry, Fault> {
        let opened = sealed::open(self.keys, sealed)?;
        let Description { record, deleted } = opened.description;
        let key =
            ContentKey::from_members(record.clone(), opened.key).map_err(|_| Fault::Layout)?;
        if key.id.to_string() != id {
            return Err(Fault::Misplaced);
        }
        Ok(Entry {
            encryption_key: opened.encryption_key.to_owned(),
            key,
            record,
            deleted,
        })
    }

    /// The id of the record to which a name leads.
    async fn holder(&self, name: &Id) -> Result<Option<String>, platform::Error> {
        let id = self.platform.get(&name_key(name)).await?;
        Ok(id.and_then(|id| String::from_utf8(id).ok()))
    }

    async fn rewrite(
        &self,
        entry: &Entry,
        deleted: Option<Deleted>,
    ) -> Result<(), platform::Error> {
        let description = Description {
            record: entry.record.clone(),
            deleted,
        };
        self.write(&entry.key.id.to_string(), &entry.key, &description)
            .await
    }

    async fn write(
        &self,
        id: &str,
        key: &ContentKey,
        description: &Description,
    ) -> Result<(), platform::Error> {
        let sealed = sealed::seal(self.keys, &key.key, description, self.platform);
        let sealed = sealed.ok_or_else(|| {
            platform::Error::Store("the record is too long to encrypt".to_owned())
        })?;
        self.platform.set(&record_key(id), &sealed).await
    }

    async fn purge(&self, entry: &Entry) -> Result<(), platform::Error> {
        let id = entry.key.id.to_string();
        self.delete_names(&id, index_names(&entry.key).iter())
            .await?;
        self.platform.delete(&record_key(&id)).await
    }

    /// Deletes names of a record. One that another record has meanwhile stays.
    async fn delete_names(
        &self,
        id: &str,
        names: impl Iterator<Item = &Id>,
    ) -> Result<(), platform::Error> {
        let deletions = names.map(|name| async {
            match self.holder(name).await? {
                Some(holder) if holder == id => self.platform.delete(&name_key(name)).await,
                Some(_) | None => Ok(()),
            }
        });
        try_join_all(deletions).await.map(drop)
    }
}
