//! `keylet keys show`

use anyhow::Result;
use clap::Args;
use serde_json::{Map, Value, json};

use super::place::{Keys, Missing, Place};
use super::{name, variables};
use crate::terminal::print_json;

/// What follows the options in the help.
pub const EXAMPLES: &str = "\
Examples:
  keylet keys show movie-42
  keylet keys show movie-42 --secret --store .keylet/key_value.redb
";

/// Which key.
#[derive(Args)]
pub struct Show {
    /// Id of the key; of a stored one, also an alias or its KID
    #[arg(value_name = "ID")]
    id: String,
    /// Print the key itself of a stored record, too
    #[arg(long)]
    secret: bool,
    #[command(flatten)]
    place: Place,
}

impl Show {
    pub fn run(&self) -> Result<()> {
        let listed = match self.place.open(Missing::Refused)? {
            Keys::Variables(file) => {
                let record = variables::find(file, &self.id)?;
                return print_json(&shown(name(&self.id), record));
            }
            Keys::Server(server) => server.find(name(&self.id), self.secret)?,
            Keys::Store(store) => store.find(&self.id, self.secret)?,
        };
        let mut document = shown(&listed.id, listed.record);
        if let Some(key) = listed.encryption_key {
            document.insert("encryption_key".to_owned(), key.into());
        }
        if let Some(deleted) = listed.deleted {
            document.insert("deleted".to_owned(), json!(deleted));
        }
        print_json(&document)
    }
}

/// A record behind the URI by which a playlist names it.
fn shown(id: &str, record: Map<String, Value>) -> Map<String, Value> {
    let mut shown = Map::new();
    shown.insert("uri".to_owned(), json!(format!("skd://{id}")));
    shown.extend(record);
    shown
}
