//! `keylet keys import`

mod azure;
mod cpix;
mod format;
mod table;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, anyhow};
use clap::Args;
use keylet::content_key::store::{NewRecord, Outcome};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc::{self, Receiver, Sender};
use zeroize::Zeroizing;

use super::place::{Keys, Missing, Place};
use super::{name, variables};
use crate::progress::Counter;
use crate::terminal::counted;

pub use format::Format;

/// What follows the options in the help.
pub const HELP: &str = "\
Formats:
  json-lines  a record a line, as in `content_keys`; or a line for each answer of Azure
  json        a list of records, one record, or an answer of Azure's `listContentKeys`
  csv         the first line names members of a record: id, key, kid, kid_order, iv, aliases, track, stream, title, systems, terms.
              Several `aliases` or `systems` have `|` between them; `terms` is a JSON object; an empty cell is left out
  cpix        a document of CPIX 2.2 to 2.4: each key has its KID as id. --key opens encrypted keys
  cms         any of them, encrypted for a certificate by `keylet keys export --recipient` or `openssl cms`

The exit code is 1 when a record was refused. What was there as it is, is not written again: import the same file again after
an interruption.

Examples:
  keylet keys import keys.csv
  keylet keys import catalogue.jsonl --store .keylet/key_value.redb
  keylet keys import azure.json --server https://drm.example.com --operator-token-file operator-token
";

/// Why a record is refused, and what to do where it is another key.
pub fn with_hint(reason: &str, is_other_key: bool) -> String {
    match is_other_key {
        true => format!("{reason}; `--replace-keys` replaces it"),
        false => reason.to_owned(),
    }
}

/// How many records are read ahead.
const AHEAD: usize = 1_024;

/// The records, and where they go.
#[derive(Args)]
pub struct Import {
    /// Files with key records, or `-` for standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// What the files are [default: by their content]
    #[arg(long, value_enum, value_name = "NAME")]
    format: Option<Format>,
    /// Private key in PEM that decrypts files in CMS, and the keys of CPIX
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Replace records that have another key. Content that is encrypted with the old key no longer plays
    #[arg(long)]
    replace_keys: bool,
    #[command(flatten)]
    place: Place,
}

/// A record on its way.
pub struct Item<T> {
    /// Where it comes from.
    pub origin: Origin,
    /// Its id, where it has one.
    pub id: Option<String>,
    /// The record, or what is wrong with it.
    pub record: Result<T, String>,
}

/// Where a record comes from.
#[derive(Clone)]
pub struct Origin {
    file: Arc<Path>,
    at: At,
}

/// Where a record stands in its file, counted from 1.
#[derive(Clone, Copy)]
pub enum At {
    /// The line.
    Line(u64),
    /// The entry of a list.
    Record(u64),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.at {
            At::Line(line) => write!(f, "{}: line {line}", self.file.display()),
            At::Record(record) => write!(f, "{}: record {record}", self.file.display()),
        }
    }
}

/// What became of records.
#[derive(Default)]
pub struct Report {
    /// How many were not there.
    pub created: u64,
    /// How many were there, and changed.
    pub replaced: u64,
    /// How many were there as they are.
    pub unchanged: u64,
    /// Those that were not taken, a sentence each.
    refused: Vec<String>,
}

impl Report {
    /// One more.
    pub fn count(&mut self, outcome: Outcome) {
        let count = match outcome {
            Outcome::Created => &mut self.created,
            Outcome::Replaced => &mut self.replaced,
            Outcome::Unchanged => &mut self.unchanged,
        };
        *count = count.saturating_add(1);
    }

    /// One that was not taken.
    pub fn refuse(&mut self, origin: &Origin, id: Option<&str>, reason: &str) {
        let id = id.map(|id| format!(": {id:?}")).unwrap_or_default();
        self.refused.push(format!("{origin}{id}: {reason}"));
    }

    /// How many were written.
    pub fn changed(&self) -> u64 {
        self.created.saturating_add(self.replaced)
    }

    fn print(&self) {
        for refused in &self.refused {
            eprintln!("{refused}");
        }
        println!(
            "{} created, {} replaced, {} unchanged, {} refused",
            self.created,
            self.replaced,
            self.unchanged,
            self.refused.len()
        );
    }
}

impl Import {
    pub fn run(&self) -> Result<ExitCode> {
        let mut report = Report::default();
        let started = Instant::now();
        let imported = self.import(&mut report);
        report.print();
        let all = report.changed().saturating_add(report.unchanged);
        let milliseconds = started.elapsed().as_millis().max(1);
        let rate = u128::from(all) * 1000 / milliseconds;
        eprintln!(
            "{} in {:.1} s, {rate} a second",
            counted(all, "record"),
            started.elapsed().as_secs_f64()
        );
        imported.map_err(|error| match all {
            0 => error,
            _ => error.context(
                "the import ended early. Import the same again: what is there is not written twice",
            ),
        })?;
        Ok(match report.refused.is_empty() {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        })
    }

    fn import(&self, report: &mut Report) -> Result<()> {
        let keys = self.place.open(Missing::Made)?;
        let mut counter = Counter::new("imported", None);
        match &keys {
            Keys::Variables(file) => self.read(Ok, |items| {
                variables::import(file, all(items), self.replace_keys, report)
            }),
            Keys::Server(server) => {
                let text = |record: Map<String, Value>| {
                    Ok(Zeroizing::new(Value::Object(record).to_string()))
                };
                self.read(text, |items| {
                    server.import(all(items), self.replace_keys, report, &mut counter)
                })
            }
            Keys::Store(store) => {
                let read = |record| NewRecord::read(record).map_err(|error| error.to_string());
                self.read(read, |items| {
                    store.import(items, self.replace_keys, report, &mut counter)
                })
            }
        }
    }

    /// Reads the files in a thread of its own, and hands over what is in them as it comes.
    fn read<T: Send>(
        &self,
        prepare: impl Fn(Map<String, Value>) -> Result<T, String> + Send,
        take: impl FnOnce(Receiver<Item<T>>) -> Result<()>,
    ) -> Result<()> {
        let (sender, receiver) = mpsc::channel(AHEAD);
        std::thread::scope(|scope| {
            let reader = scope.spawn(move || self.read_files(&prepare, &sender));
            let taken = take(receiver);
            let read = reader.join();
            taken?;
            read.map_err(|_| anyhow!("reading the files failed: the reader thread panicked"))?
        })
    }

    fn read_files<T>(
        &self,
        prepare: &impl Fn(Map<String, Value>) -> Result<T, String>,
        sender: &Sender<Item<T>>,
    ) -> Result<()> {
        for path in &self.files {
            let file: Arc<Path> = Arc::from(path.as_path());
            let mut send = |at: At, record: Result<Map<String, Value>, String>| {
                let record = record.and_then(with_plain_id);
                let id = record.as_ref().ok().and_then(|record| record.get("id"));
                let item = Item {
                    origin: Origin {
                        file: Arc::clone(&file),
                        at,
                    },
                    id: id.and_then(Value::as_str).map(ToOwned::to_owned),
                    record: record.and_then(prepare),
                };
                // Whoever takes them may have stopped, and says why.
                sender.blocking_send(item).is_ok()
            };
            format::read(path, self.format, self.key.as_deref(), &mut send)?;
        }
        Ok(())
    }
}

/// The record with its id as it is compared: without `skd://`.
fn with_plain_id(mut record: Map<String, Value>) -> Result<Map<String, Value>, String> {
    match record.get("id").and_then(Value::as_str).map(name) {
        Some("") => Err("its `id` is empty".to_owned()),
        Some(plain) => {
            let plain = json!(plain);
            record.insert("id".to_owned(), plain);
            Ok(record)
        }
        None => Err("it has no `id`".to_owned()),
    }
}

/// The items of a channel, until it ends.
fn all<T>(mut items: Receiver<T>) -> impl Iterator<Item = T> {
    std::iter::from_fn(move || items.blocking_recv())
}
