//! `keylet keys add`

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;
use keylet::content_key::store::Outcome;
use keylet::encoding;
use keylet::id::Kid;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::name;
use super::place::{Keys, Missing, Place};
use super::variables::{position, records, write};
use crate::commands::terms as terms_of;
use crate::commands::variables_file::VariablesFile;
use crate::file::secret;
use crate::random;

/// What follows the options in the help.
pub const EXAMPLES: &str = "\
Examples:
  keylet keys add movie-42 movie-43
  keylet keys add movie-44 --key-file key.txt --iv 000102030405060708090a0b0c0d0e0f --terms '{\"lease_seconds\":300}'
";

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
    place: Place,
}

impl Add {
    pub fn run(&self) -> Result<()> {
        ensure!(
            self.ids.len() == 1 || self.key_file.is_none() && self.kid.is_none(),
            "--key-file and --kid take exactly one id"
        );
        match self.place.open(Missing::Made)? {
            Keys::Variables(file) => self.add_to(file),
            Keys::Server(server) => {
                self.put(|id| server.has(id), |id, record| server.put(id, &record))
            }
            Keys::Store(store) => self.put(|id| store.has(id), |_, record| store.put(record)),
        }
    }

    fn add_to(&self, variables: &VariablesFile) -> Result<()> {
        let mut records = records(variables)?;
        for id in &self.ids {
            let id = name(id);
            ensure!(
                position(&records, id).is_none(),
                "{variables}: there is a key {id:?} already. `keylet keys delete {id}` takes it out"
            );
            records.push(self.record(id)?.into());
        }
        write(variables, &records)?;
        for id in &self.ids {
            eprintln!("{variables}: added {:?}", name(id));
        }
        self.say_next("");
        eprintln!("A server that runs reads the file again at its next start, or at SIGHUP.");
        Ok(())
    }

    /// Puts the keys, where none of them is there: what a record says beside its key would be lost.
    fn put(
        &self,
        has: impl Fn(&str) -> Result<bool>,
        put: impl Fn(&str, Map<String, Value>) -> Result<Outcome>,
    ) -> Result<()> {
        for id in &self.ids {
            let id = name(id);
            ensure!(
                !has(id).with_context(|| format!("{id:?}"))?,
                "there is a key {id:?} already. `keylet keys delete {id}` deletes it, and `keylet keys import` replaces records"
            );
        }
        for id in &self.ids {
            let id = name(id);
            put(id, self.record(id)?).with_context(|| format!("{id:?}"))?;
            eprintln!("added {id:?}");
        }
        self.say_next(" --secret");
        Ok(())
    }

    fn say_next(&self, option: &str) {
        let first = name(self.ids.first().map_or("", String::as_str));
        eprintln!(
            "\nNext: encrypt the content with the key that `keylet keys show {first}{option}` prints, and name it in the\n\
             playlist as `skd://{first}`."
        );
    }

    fn record(&self, id: &str) -> Result<Map<String, Value>> {
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
        let mut record = encoding::members([
            ("id", json!(id)),
            ("kid", json!(kid.to_string())),
            ("key", json!(hex::encode(key.as_slice()))),
            ("iv", json!(hex::encode(iv.as_slice()))),
        ]);
        if let Some(terms) = &self.terms {
            record.insert("terms".to_owned(), terms_of(terms)?.into());
        }
        Ok(record)
    }
}
