//! `keylet keys export`

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{ArgGroup, Args};
use serde_json::Value;
use zeroize::Zeroizing;

use super::listed::Listed;
use super::place::{Keys, Missing, Place};
use super::variables;
use crate::progress::Counter;
use crate::terminal::counted;
use crate::{cms, file, terminal};

/// What follows the options in the help.
pub const HELP: &str = "\
What is written are JSON lines, a record a line, which `keylet keys import` reads. Deleted keys are left out. For a certificate
they are encrypted by CMS (RFC 5652): `keylet keys import --key private.pem`, or
`openssl cms -decrypt -inform PEM -inkey private.pem`, decrypts them.

Examples:
  keylet keys export --recipient backup.pem --out keys.cms
  keylet keys export --plaintext --store .keylet/key_value.redb > keys.jsonl
";

/// Which keys, and for whom.
#[derive(Args)]
#[command(group = ArgGroup::new("protection").required(true))]
pub struct Export {
    /// PEM file with the RSA certificate of whoever may read the keys; several may be given
    #[arg(long = "recipient", value_name = "FILE", group = "protection")]
    recipients: Vec<PathBuf>,
    /// Write the keys as they are
    #[arg(long, group = "protection")]
    plaintext: bool,
    /// File to write, for its owner only
    #[arg(long, value_name = "FILE", default_value = "-")]
    out: PathBuf,
    #[command(flatten)]
    place: Place,
}

/// What was exported.
#[derive(Default)]
struct Exported {
    records: u64,
    deleted: u64,
    /// Records that do not open.
    refused: Vec<String>,
}

impl Export {
    pub fn run(&self) -> Result<ExitCode> {
        // Before anything is read: a wrong file is found at once.
        let recipients = self.recipients.iter().map(|path| {
            let certificates = cms::recipients(&file::read(path)?);
            certificates.with_context(|| path.display().to_string())
        });
        let recipients: Vec<_> = recipients.collect::<Result<Vec<_>>>()?.concat();
        let keys = self.place.open(Missing::Refused)?;
        let exported = if self.plaintext {
            self.to_file(|output| export(&keys, output))?
        } else {
            let mut lines = Zeroizing::new(Vec::new());
            let exported = export(&keys, &mut *lines)?;
            let encrypted = cms::encrypt(lines, &recipients)?;
            file::write_secret(&self.out, encrypted.as_bytes())?;
            exported
        };
        for refused in &exported.refused {
            eprintln!("{refused}");
        }
        let left_out = match exported.deleted {
            0 => String::new(),
            deleted => format!("; {} left out", counted(deleted, "deleted one")),
        };
        eprintln!("{} exported{left_out}", counted(exported.records, "record"));
        Ok(match exported.refused.is_empty() {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        })
    }

    /// Writes the file as it comes. It takes its name once it is whole.
    fn to_file(&self, write: impl FnOnce(&mut dyn Write) -> Result<Exported>) -> Result<Exported> {
        if self.out == Path::new(file::STANDARD) || self.out.exists() && !self.out.is_file() {
            let mut output = BufWriter::new(match self.out == Path::new(file::STANDARD) {
                true => Box::new(terminal::product()) as Box<dyn Write>,
                false => Box::new(std::fs::File::create(&self.out)?),
            });
            let exported = write(&mut output)?;
            output.flush()?;
            return Ok(exported);
        }
        file::write_whole(&self.out, |file| {
            let mut output = BufWriter::new(file);
            let exported = write(&mut output)?;
            output.flush()?;
            Ok(exported)
        })
    }
}

/// Writes the records as JSON lines.
fn export(keys: &Keys<'_>, output: &mut dyn Write) -> Result<Exported> {
    let mut exported = Exported::default();
    let mut write = |listed: Listed, counter: &mut Counter| {
        counter.add(1);
        if let Some(code) = listed.code {
            exported.refused.push(format!("{:?}: {code}", listed.id));
        } else if listed.deleted.is_some() {
            exported.deleted = exported.deleted.saturating_add(1);
        } else {
            let line = Zeroizing::new(Value::Object(listed.record).to_string());
            writeln!(output, "{}", line.as_str()).context("writing the records")?;
            exported.records = exported.records.saturating_add(1);
        }
        Ok(true)
    };
    match keys {
        Keys::Variables(file) => {
            let mut counter = Counter::new("exported", None);
            for listed in variables::listed(file, true)? {
                write(listed, &mut counter)?;
            }
        }
        Keys::Server(server) => {
            let mut counter = Counter::new("exported", None);
            server.list(
                |listed| match listed.code.is_none() && listed.deleted.is_none() {
                    // `None`: it was deleted meanwhile.
                    true => match server.find_if_there(&listed.id, true)? {
                        Some(found) => write(found, &mut counter),
                        None => Ok(true),
                    },
                    false => write(listed, &mut counter),
                },
            )?;
        }
        Keys::Store(store) => {
            let ids = store.ids()?;
            let mut counter = Counter::new("exported", u64::try_from(ids.len()).ok());
            store.list(ids, true, |listed| write(listed, &mut counter))?;
        }
    }
    Ok(exported)
}
