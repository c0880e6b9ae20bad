//! The stored keys themselves, in the store of the embedded host.

use std::collections::HashSet;

use anyhow::{Context, Result, anyhow};
use futures_util::stream::{self, FuturesUnordered, StreamExt};
use keylet::content_key::KeyError;
use keylet::content_key::store::{
    Catalogue, Deleted, EncryptionKeys, Entry, NewRecord, Outcome, PutError, VARIABLE,
};
use keylet::id::Id;
use keylet_host::{ENVIRONMENT_PREFIX, Provided, StoreChoice};
use serde_json::{Map, Value};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::Receiver;

use super::import::{Item, Origin, Report, with_hint};
use super::listed::Listed;
use super::rotate::Rotation;
use crate::commands::sentences;
use crate::commands::variables_file::VariablesFile;
use crate::file;
use crate::progress::Counter;
use crate::settings::{Settings, WithStore};
use crate::stored_at;

/// How many records are under way at a time in a file. Its writer puts what waits into one transaction, whose cost
/// hardly depends on how much that is.
const MOST_IN_FILE: usize = 32_768;

/// How many are under way in Redis, one behind the other on its connection.
const MOST_IN_REDIS: usize = 1_024;

/// A store, and the keys that encrypt what is in it.
pub struct Stored {
    platform: WithStore,
    keys: EncryptionKeys,
    runtime: Runtime,
    most: usize,
}

impl Stored {
    /// Opens a store.
    ///
    /// # Errors
    /// A store that does not open, and encrypting keys that are missing or wrong.
    pub fn open(variables: &VariablesFile, choice: &StoreChoice) -> Result<Self> {
        // As for a server, the environment comes before the file.
        let name = format!("{ENVIRONMENT_PREFIX}{}", VARIABLE.to_ascii_uppercase());
        let keys = match file::environment(&name) {
            Some(keys) => Some(keys),
            None => variables.read(VARIABLE)?,
        };
        let keys = keys.with_context(|| {
            format!("{variables}: {VARIABLE} is not set; `keylet keys init` makes it")
        })?;
        let keys = EncryptionKeys::from_json(&keys)
            .map_err(|problems| anyhow!("{variables}: {}", sentences(&problems)))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let store = stored_at::open(choice)?;
        Ok(Self {
            platform: WithStore {
                settings: Settings(Provided::new()),
                store,
            },
            keys,
            runtime,
            most: match choice {
                StoreChoice::Redis(_) => MOST_IN_REDIS,
                StoreChoice::File(_) | StoreChoice::Memory => MOST_IN_FILE,
            },
        })
    }

    fn catalogue(&self) -> Catalogue<'_, WithStore> {
        Catalogue::new(&self.keys, &self.platform)
    }

    /// Puts records, many at a time.
    pub fn import(
        &self,
        items: Receiver<Item<NewRecord>>,
        may_replace_keys: bool,
        report: &mut Report,
        counter: &mut Counter,
    ) -> Result<()> {
        self.runtime
            .block_on(self.import_all(items, may_replace_keys, report, counter))
    }

    async fn import_all(
        &self,
        mut items: Receiver<Item<NewRecord>>,
        may_replace_keys: bool,
        report: &mut Report,
        counter: &mut Counter,
    ) -> Result<()> {
        let catalogue = self.catalogue();
        let put = async |origin: Origin, id: Option<String>, record: NewRecord| {
            let names = record.names().to_vec();
            let put = catalogue.put_record(record, may_replace_keys).await;
            (origin, id, names, put)
        };
        let mut under_way = FuturesUnordered::new();
        // Records that share a name are put one after the other.
        let mut names: HashSet<Id> = HashSet::new();
        let mut waiting: Option<(Origin, Option<String>, NewRecord)> = None;
        let mut has_more = true;
        loop {
            if let Some((origin, id, record)) = waiting.take() {
                let is_free = |name: &Id| !names.contains(name);
                match record.names().iter().all(is_free) {
                    true => {
                        names.extend(record.names().iter().cloned());
                        under_way.push(put(origin, id, record));
                    }
                    false => waiting = Some((origin, id, record)),
                }
            }
            let takes_more = has_more && waiting.is_none() && under_way.len() < self.most;
            tokio::select! {
                biased;
                Some((origin, id, free, put)) = under_way.next(), if !under_way.is_empty() => {
                    counter.add(1);
                    for name in &free {
                        names.remove(name);
                    }
                    match put? {
                        Ok(outcome) => report.count(outcome),
                        Err(error) => report.refuse(&origin, id.as_deref(), &with_hint(&error.to_string(), error == PutError::OtherKey)),
                    }
                }
                item = items.recv(), if takes_more => match item {
                    None => has_more = false,
                    Some(Item { origin, id, record: Ok(record) }) => waiting = Some((origin, id, record)),
                    Some(Item { origin, id, record: Err(reason) }) => {
                        counter.add(1);
                        report.refuse(&origin, id.as_deref(), &reason);
                    }
                },
                else => return Ok(()),
            }
        }
    }

    /// Every id.
    pub fn ids(&self) -> Result<Vec<String>> {
        let listed = self.runtime.block_on(self.catalogue().list("", usize::MAX));
        Ok(listed?.ids)
    }

    /// Shows the records of ids, in their order, until `show` returns `false`.
    pub fn list(
        &self,
        ids: Vec<String>,
        has_keys: bool,
        mut show: impl FnMut(Listed) -> Result<bool>,
    ) -> Result<()> {
        let catalogue = self.catalogue();
        let read = async |id: String| {
            let entry = catalogue.entry(&id).await;
            (id, entry)
        };
        self.runtime.block_on(async {
            let mut read = stream::iter(ids).map(read).buffered(1_024);
            while let Some((id, entry)) = read.next().await {
                let listed = match entry? {
                    // It was deleted meanwhile.
                    None => continue,
                    Some(Ok(entry)) => of_entry(entry, has_keys),
                    Some(Err(fault)) => Listed {
                        id,
                        record: Map::new(),
                        encryption_key: None,
                        deleted: None,
                        code: Some(KeyError::from(fault).code().name.to_owned()),
                    },
                };
                if !show(listed)? {
                    break;
                }
            }
            Ok(())
        })
    }

    /// The record of a name, with its key where that is asked for.
    pub fn find(&self, name: &str, has_key: bool) -> Result<Listed> {
        let entry = self.runtime.block_on(self.entry(name))?;
        Ok(of_entry(entry, has_key))
    }

    /// Whether there is a record of a name.
    pub fn has(&self, name: &str) -> Result<bool> {
        Ok(self.runtime.block_on(self.lookup(name))?.is_some())
    }

    /// Puts one record.
    pub fn put(&self, record: Map<String, Value>) -> Result<Outcome> {
        let put = self.runtime.block_on(self.catalogue().put(record, false))?;
        Ok(put?)
    }

    /// Deletes a record.
    pub fn delete(&self, name: &str, grace: u64) -> Result<Deleted> {
        self.runtime.block_on(async {
            let entry = self.entry(name).await?;
            Ok(self.catalogue().delete(&entry, grace).await?)
        })
    }

    /// Restores a deleted record.
    pub fn restore(&self, name: &str) -> Result<()> {
        self.runtime.block_on(async {
            let entry = self.entry(name).await?;
            Ok(self.catalogue().restore(&entry).await?)
        })
    }

    /// Encrypts records again, many at a time.
    pub fn rotate(&self, ids: Vec<String>, counter: &mut Counter) -> Result<Rotation> {
        let catalogue = self.catalogue();
        let again = async |id: String| {
            let result = catalogue.encrypt_again(&id).await;
            (id, result)
        };
        self.runtime.block_on(async {
            let mut rotation = Rotation::default();
            let mut rotated = stream::iter(ids).map(again).buffer_unordered(self.most);
            while let Some((id, result)) = rotated.next().await {
                counter.add(1);
                match result {
                    Ok(true) => rotation.encrypted = rotation.encrypted.saturating_add(1),
                    Ok(false) => rotation.unchanged = rotation.unchanged.saturating_add(1),
                    Err(KeyError::Stored(fault)) => rotation.refuse(&id, &fault.to_string()),
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(rotation)
        })
    }

    async fn entry(&self, name: &str) -> Result<Entry> {
        let entry = self.lookup(name).await?;
        entry.with_context(|| format!("the store has no key {name:?}"))
    }

    async fn lookup(&self, name: &str) -> Result<Option<Entry>> {
        let catalogue = self.catalogue();
        let id = Id::from_text(name).context("the id is empty, or not hexadecimal")?;
        Ok(catalogue.find(&id).await?)
    }
}

fn of_entry(entry: Entry, has_key: bool) -> Listed {
    let mut record = entry.record;
    if has_key {
        let key = hex::encode(entry.key.key.expose());
        record.insert("key".to_owned(), key.into());
    }
    Listed {
        id: entry.key.id.to_string(),
        record,
        encryption_key: Some(entry.encryption_key),
        deleted: entry.deleted,
        code: None,
    }
}
