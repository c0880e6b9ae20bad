//! A store in a file.
//!
//! One thread writes. What waits when it is ready goes into one transaction, and is acknowledged
//! once that is on the disk: many clients share the cost of one flush, and what was acknowledged
//! survives a killed host.

use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};
use futures_util::future::try_join_all;
use keylet::platform;
use keylet::sweep::Key;
use redb::{Database, ReadableDatabase, ReadableTable, Table, TableDefinition};
use tokio::sync::oneshot;

const VALUES: TableDefinition<&str, &[u8]> = TableDefinition::new("values");

/// The most changes in one transaction. A transaction copies each page that it changes, so many thousand changes in
/// one cost much less than in several.
const BATCH: usize = 65_536;

/// A database and the thread that writes to it.
pub struct File {
    database: Arc<Database>,
    /// `None` when the store is being closed.
    changes: Option<mpsc::Sender<Waiting>>,
    writer: Option<JoinHandle<()>>,
    /// Looks once for what is over.
    expiry: OnceLock<JoinHandle<()>>,
    is_closing: Arc<AtomicBool>,
}

/// How many keys are looked at in one reading.
pub const PAGE: usize = 10_000;

/// A change, and who waits for it.
type Waiting = (Change, oneshot::Sender<Result<i64>>);

struct Change {
    key: String,
    action: Action,
}

enum Action {
    Set(Vec<u8>),
    Delete,
    Increment(i64),
}

impl File {
    pub fn open(path: &Path) -> Result<Self> {
        if let Some(directory) = path
            .parent()
            .filter(|directory| !directory.as_os_str().is_empty())
        {
            std::fs::create_dir_all(directory)
                .with_context(|| format!("creating {}", directory.display()))?;
        }
        let database =
            Database::create(path).with_context(|| format!("opening {}", path.display()))?;
        let begin = database.begin_write()?;
        begin.open_table(VALUES)?;
        begin.commit()?;

        let database = Arc::new(database);
        let (changes, waiting) = mpsc::channel();
        let to_write = Arc::clone(&database);
        let writer = std::thread::Builder::new()
            .name("key-value writer".into())
            .spawn(move || write(&to_write, &waiting))?;
        Ok(Self {
            database,
            changes: Some(changes),
            writer: Some(writer),
            expiry: OnceLock::new(),
            is_closing: Arc::default(),
        })
    }

    /// Begins to delete the keys that say that they are over, beside whatever else is done.
    pub fn expire(&self) -> Result<()> {
        let Some(changes) = self.changes.clone() else {
            return Ok(());
        };
        let (database, is_closing) = (Arc::clone(&self.database), Arc::clone(&self.is_closing));
        let expiry = std::thread::Builder::new()
            .name("key-value expiry".into())
            .spawn(move || {
                if let Err(error) = expire(&database, &changes, &is_closing) {
                    tracing::warn!(
                        error = format!("{error:#}"),
                        "looking for what is over in the store"
                    );
                }
            })?;
        let _ = self.expiry.set(expiry);
        Ok(())
    }

    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        let table = self.database.begin_read()?.open_table(VALUES)?;
        Ok(table.get(key)?.map(|value| value.value().to_vec()))
    }

    pub fn keys(&self) -> Result<Vec<String>> {
        let table = self.database.begin_read()?.open_table(VALUES)?;
        table
            .iter()?
            .map(|entry| Ok(entry?.0.value().to_owned()))
            .collect()
    }

    pub async fn set(&self, key: &str, value: Vec<u8>) -> Result<()> {
        self.change(key, Action::Set(value)).await.map(drop)
    }

    pub async fn delete(&self, key: &str) -> Result<()> {
        self.change(key, Action::Delete).await.map(drop)
    }

    /// Deletes keys in one transaction or a few, and returns of each whether it was there.
    pub async fn remove(&self, keys: &[String]) -> Result<Vec<bool>> {
        let removed = keys.iter().map(|key| self.change(key, Action::Delete));
        let removed = try_join_all(removed).await?;
        Ok(removed.into_iter().map(|number| number != 0).collect())
    }

    /// The keys behind `after`, and how long their values are.
    pub fn page(&self, after: Option<&str>) -> Result<Vec<(String, usize)>> {
        page(&self.database, after)
    }

    /// Gives back what the file has no use for. Nobody else may have it open.
    pub fn compact(path: &Path) -> Result<()> {
        let mut database =
            Database::open(path).with_context(|| format!("opening {}", path.display()))?;
        database.compact()?;
        Ok(())
    }

    pub async fn increment(&self, key: &str, delta: i64) -> Result<i64> {
        self.change(key, Action::Increment(delta)).await
    }

    async fn change(&self, key: &str, action: Action) -> Result<i64> {
        let (done, result) = oneshot::channel();
        let change = Change {
            key: key.to_owned(),
            action,
        };
        const ENDED: &str = "the writer of the store has ended";
        let changes = self.changes.as_ref().context(ENDED)?;
        changes.send((change, done)).map_err(|_| anyhow!(ENDED))?;
        result.await.context(ENDED)?
    }
}

/// The file is free for another host once its writer has ended.
impl Drop for File {
    fn drop(&mut self) {
        self.is_closing.store(true, Ordering::Relaxed);
        if let Some(expiry) = self.expiry.take() {
            let _ = expiry.join();
        }
        self.changes = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

fn page(database: &Database, after: Option<&str>) -> Result<Vec<(String, usize)>> {
    let table = database.begin_read()?.open_table(VALUES)?;
    let after = after.map_or(Bound::Unbounded, Bound::Excluded);
    let entries = table.range::<&str>((after, Bound::Unbounded))?.take(PAGE);
    entries
        .map(|entry| {
            let (key, value) = entry?;
            Ok((key.value().to_owned(), value.value().len()))
        })
        .collect()
}

/// Deletes the keys that say that they are over, until all were seen or the store is closed.
fn expire(
    database: &Database,
    changes: &mpsc::Sender<Waiting>,
    is_closing: &AtomicBool,
) -> Result<()> {
    let mut last: Option<String> = None;
    let mut deleted = 0_u64;
    while !is_closing.load(Ordering::Relaxed) {
        let keys = page(database, last.as_deref())?;
        let now = platform::system_time();
        let is_over = |key: &str| Key::of(key)?.expires_at().filter(|end| *end <= now);
        let mut last_done = None;
        for (key, _) in &keys {
            if is_over(key).is_some() {
                let change = Change {
                    key: key.clone(),
                    action: Action::Delete,
                };
                let (done, finished) = oneshot::channel();
                if changes.send((change, done)).is_err() {
                    return Ok(());
                }
                last_done = Some(finished);
                deleted = deleted.saturating_add(1);
            }
        }
        // What players change comes between two pages.
        if let Some(finished) = last_done {
            let _ = finished.blocking_recv();
        }
        match keys.into_iter().next_back() {
            Some((key, _)) => last = Some(key),
            None => break,
        }
    }
    if deleted > 0 {
        tracing::info!(keys = deleted, "deleted from the store what was over");
    }
    Ok(())
}

/// Writes until the store is closed.
fn write(database: &Database, waiting: &mpsc::Receiver<Waiting>) {
    while let Ok(first) = waiting.recv() {
        let batch: Vec<_> = std::iter::once(first)
            .chain(waiting.try_iter().take(BATCH - 1))
            .collect();
        let (changes, done): (Vec<Change>, Vec<_>) = batch.into_iter().unzip();
        match commit(database, &changes) {
            Ok(results) => {
                for (done, result) in done.into_iter().zip(results) {
                    // Whoever no longer waits has been acknowledged nothing.
                    let _ = done.send(result);
                }
            }
            Err(error) => {
                for done in done {
                    let _ = done.send(Err(anyhow!("writing the store: {error:#}")));
                }
            }
        }
    }
}

/// Applies changes in one transaction, and returns their results in the order of the changes. A change that fails
/// leaves the others as they are.
fn commit(database: &Database, changes: &[Change]) -> Result<Vec<Result<i64>>> {
    // Changes in the order of their keys find the pages that they share at hand. Those of one key keep their order.
    let mut ordered: Vec<(usize, &Change)> = changes.iter().enumerate().collect();
    ordered.sort_by(|(_, one), (_, other)| one.key.cmp(&other.key));
    let transaction = database.begin_write()?;
    let mut results: Vec<(usize, Result<i64>)> = {
        let mut table = transaction.open_table(VALUES)?;
        let applied = |(index, change)| (index, apply(&mut table, change));
        ordered.into_iter().map(applied).collect()
    };
    transaction.commit()?;
    results.sort_unstable_by_key(|(index, _)| *index);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

fn apply(table: &mut Table<'_, &'static str, &'static [u8]>, change: &Change) -> Result<i64> {
    let key = change.key.as_str();
    match &change.action {
        Action::Set(value) => table
            .insert(key, value.as_slice())
            .map(|_| 0)
            .map_err(Into::into),
        Action::Delete => Ok(i64::from(table.remove(key)?.is_some())),
        Action::Increment(delta) => {
            let sum = super::add(
                table.get(key)?.as_ref().map(redb::AccessGuard::value),
                *delta,
            )?;
            table.insert(key, sum.to_le_bytes().as_slice())?;
            Ok(sum)
        }
    }
}
