//! `keylet keys`

mod make;
mod seed;

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::{Args, Subcommand};
use keylet::content_key::{self, VARIABLE};
use keylet::encoding;
use keylet::id::Kid;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::device::print;
use super::variables_file::VariablesFile;
use crate::file::secret;
use crate::random;
use crate::terminal;

const ADD: &str = "\
Examples:
  keylet keys add movie-42 movie-43
  keylet keys add movie-44 --key-file key.txt --iv 000102030405060708090a0b0c0d0e0f --terms '{\"lease_seconds\":300}'
";

const LIST: &str = "\
Examples:
  keylet keys list
  keylet keys list --file settings.json
";

const SHOW: &str = "\
Examples:
  keylet keys show movie-42
";

const DELETE: &str = "\
Examples:
  keylet keys delete movie-42
";

/// Keep the content keys of the variable `content_keys`, and make those that `key_seed` derives.
#[derive(Subcommand)]
pub enum Command {
    /// Add content keys, random ones unless a file has the key, and write them to the file of variables
    #[command(after_help = ADD)]
    Add(Add),
    /// List the content keys without the keys themselves
    #[command(after_help = LIST)]
    List {
        #[command(flatten)]
        variables: VariablesFile,
    },
    /// Print a content key with its secret, for a packager, as JSON
    #[command(after_help = SHOW)]
    Show {
        /// Id of the key
        #[arg(value_name = "ID")]
        id: String,
        #[command(flatten)]
        variables: VariablesFile,
    },
    /// Take content keys out of the file of variables. A copy of the file stays beside it
    #[command(after_help = DELETE)]
    Delete {
        /// Ids of the keys
        #[arg(value_name = "ID", required = true)]
        ids: Vec<String>,
        #[command(flatten)]
        variables: VariablesFile,
    },
    /// Print the keys that the seed makes for a content, with their KIDs and IVs, for a packager, as a JSON object a line
    #[command(after_help = make::EXAMPLES)]
    Make(make::Make),
    /// Make the seed that keys are derived from, and write it to the file of variables
    #[command(after_help = seed::EXAMPLES)]
    Seed(seed::New),
}

/// The keys to add.
#[derive(Args)]
pub struct Add {
    /// Ids of the keys: the asset id of a playlist's `skd://` URI
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    /// File with the key of 16 bytes, in hexadecimal or base64, or `-` for standard input; without it, the key is random
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Initialisation vector of 16 bytes, in hexadecimal or base64 [default: random]
    #[arg(long, value_name = "HEX", requires = "key_file")]
    iv: Option<String>,
    /// Key id by which packagers know the key, a GUID [default: random]
    #[arg(long)]
    kid: Option<String>,
    /// Terms that meet those of every token, as a JSON object
    #[arg(long, value_name = "JSON")]
    terms: Option<String>,
    #[command(flatten)]
    variables: VariablesFile,
}

pub fn run(command: &Command) -> Result<()> {
    match command {
        Command::Add(add) => add.run(),
        Command::List { variables } => list(variables),
        Command::Show { id, variables } => show(id, variables),
        Command::Delete { ids, variables } => delete(ids, variables),
        Command::Make(make) => make.run(),
        Command::Seed(new) => new.run(),
    }
}

impl Add {
    fn run(&self) -> Result<()> {
        ensure!(
            self.ids.len() == 1 || self.key_file.is_none() && self.kid.is_none(),
            "--key-file and --kid are of one key: name one id"
        );
        let mut records = records(&self.variables)?;
        for id in &self.ids {
            let id = name(id);
            ensure!(
                position(&records, id).is_none(),
                "{}: there is a key {id:?} already. `keylet keys delete {id}` takes it out",
                self.variables
            );
            records.push(self.record(id)?);
        }
        write(&self.variables, &records)?;
        for id in &self.ids {
            eprintln!("{}: added {:?}", self.variables, name(id));
        }
        let first = name(self.ids.first().map_or("", String::as_str));
        eprintln!(
            "\nNext: encrypt the content with the key that `keylet keys show {first}` prints, and name it in the playlist\n\
             as `skd://{first}`. A server that runs reads the file again at its next start, or at SIGHUP."
        );
        Ok(())
    }

    fn record(&self, id: &str) -> Result<Value> {
        let random = || Zeroizing::new(random::bytes::<16>());
        let key = match &self.key_file {
            Some(path) => encoding::fixed::<16>(&secret(path)?)
                .map(Zeroizing::new)
                .with_context(|| {
                    format!(
                        "{}: it is not 16 bytes in hexadecimal or base64",
                        path.display()
                    )
                })?,
            None => random(),
        };
        let iv = match &self.iv {
            Some(iv) => encoding::fixed::<16>(iv)
                .map(Zeroizing::new)
                .context("--iv: it is not 16 bytes in hexadecimal or base64")?,
            None => random(),
        };
        let kid = match &self.kid {
            Some(kid) => Kid::from_text(kid).context("--kid: it is not a GUID")?,
            None => Kid::from_bytes(random::bytes()),
        };
        let mut record = json!({
            "id": id,
            "kid": kid.to_string(),
            "key": hex::encode(key.as_slice()),
            "iv": hex::encode(iv.as_slice()),
        });
        if let Some(terms) = &self.terms {
            record["terms"] = super::terms(terms)?.into();
        }
        Ok(record)
    }
}

fn list(variables: &VariablesFile) -> Result<()> {
    let mut output = terminal::stdout();
    for record in records(variables)? {
        let text = |name: &str| record[name].as_str().unwrap_or("-");
        let (id, kid) = (text("id"), text("kid"));
        let terms = match &record["terms"] {
            Value::Null => String::new(),
            terms => format!("  {terms}"),
        };
        // Whoever reads may stop reading.
        if writeln!(output, "{id:<36}  {kid}{terms}").is_err() {
            break;
        }
    }
    Ok(())
}

fn show(id: &str, variables: &VariablesFile) -> Result<()> {
    let records = records(variables)?;
    let found = position(&records, name(id)).and_then(|index| records.get(index));
    let record = found.with_context(|| absent(variables, id))?;
    let mut shown = Map::new();
    shown.insert("uri".to_owned(), json!(format!("skd://{}", name(id))));
    shown.extend(record.as_object().cloned().unwrap_or_default());
    print(&Value::Object(shown))
}

fn delete(ids: &[String], variables: &VariablesFile) -> Result<()> {
    let mut records = records(variables)?;
    for id in ids {
        let index = position(&records, name(id)).with_context(|| absent(variables, id))?;
        records.remove(index);
    }
    variables.back_up()?;
    if records.is_empty() {
        variables.write(VARIABLE, None)?;
    } else {
        write(variables, &records)?;
    }
    for id in ids {
        eprintln!("{variables}: deleted {:?}", name(id));
    }
    Ok(())
}

fn absent(variables: &VariablesFile, id: &str) -> String {
    format!(
        "{variables}: there is no key {:?}; `keylet keys list` shows those that there are",
        name(id)
    )
}

/// An id as records have it.
fn name(id: &str) -> &str {
    id.strip_prefix("skd://").unwrap_or(id)
}

fn position(records: &[Value], id: &str) -> Option<usize> {
    records.iter().position(|record| record["id"] == id)
}

/// The records of a file; none when it does not set the variable.
fn records(variables: &VariablesFile) -> Result<Vec<Value>> {
    let Some(text) = variables.read(VARIABLE)? else {
        return Ok(Vec::new());
    };
    let records = encoding::json_list(text.as_bytes());
    records.map_err(|reason| anyhow!("{variables}: {VARIABLE}: {reason}"))
}

/// Writes records that the server reads.
fn write(variables: &VariablesFile, records: &[Value]) -> Result<()> {
    let text = Zeroizing::new(json!(records).to_string());
    if let Err(problems) = content_key::read_all(&text) {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        bail!("the server would not read these keys: {}", lines.join("; "));
    }
    variables.write(VARIABLE, Some(&text))
}
