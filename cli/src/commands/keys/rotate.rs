//! `keylet keys rotate`

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;

use super::place::{Keys, Missing, Place};
use crate::progress::Counter;

/// What follows the options in the help.
pub const EXAMPLES: &str = "\
Examples:
  keylet keys rotate --store .keylet/key_value.redb
  keylet keys rotate --server https://drm.example.com --operator-token-file operator-token
";

/// Which keys.
#[derive(Args)]
pub struct Rotate {
    #[command(flatten)]
    place: Place,
}

/// What became of records that were to be encrypted again.
#[derive(Default)]
pub struct Rotation {
    /// How many were encrypted under the first key, or taken out because their time was over.
    pub encrypted: u64,
    /// How many were encrypted under it already.
    pub unchanged: u64,
    /// Those that do not open, a sentence each.
    refused: Vec<String>,
}

impl Rotation {
    /// One that does not open.
    pub fn refuse(&mut self, id: &str, reason: &str) {
        self.refused.push(format!("{id:?}: {reason}"));
    }
}

impl Rotate {
    pub fn run(&self) -> Result<ExitCode> {
        let rotation = match self.place.open(Missing::Refused)? {
            Keys::Variables(_) => bail!(
                "the keys of `content_keys` are not encrypted: give --store or --server for stored ones"
            ),
            Keys::Server(server) => server.rotate(&mut Counter::new("looked at", None))?,
            Keys::Store(store) => {
                let ids = store.ids()?;
                let total = u64::try_from(ids.len()).ok();
                store.rotate(ids, &mut Counter::new("looked at", total))?
            }
        };
        for refused in &rotation.refused {
            eprintln!("{refused}");
        }
        println!(
            "{} encrypted again, {} already under the first key, {} left under other keys",
            rotation.encrypted,
            rotation.unchanged,
            rotation.refused.len()
        );
        if rotation.refused.is_empty() {
            eprintln!(
                "Every stored key is under the first key of `key_encryption_keys`. The others can be taken out, once every\n\
                 server has the new one, and no backup is needed that they encrypted."
            );
            return Ok(ExitCode::SUCCESS);
        }
        eprintln!(
            "Keep the old keys in `key_encryption_keys`: not every record could be encrypted again."
        );
        Ok(ExitCode::FAILURE)
    }
}
