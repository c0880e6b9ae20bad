//! `keylet keys delete` and `keylet keys restore`

use anyhow::{Result, bail};
use clap::Args;
use keylet::content_key::store::{Deleted, GRACE};

use super::place::{Keys, Missing, Place};
use super::{name, variables};
use crate::terminal::local_time;

/// What follows the options of `delete` in the help.
pub const DELETE: &str = "\
Examples:
  keylet keys delete movie-42
  keylet keys delete movie-42 --store .keylet/key_value.redb --grace-seconds 0
";

/// What follows the options of `restore` in the help.
pub const RESTORE: &str = "\
Examples:
  keylet keys restore movie-42 --store .keylet/key_value.redb
";

/// Which keys to delete.
#[derive(Args)]
pub struct Delete {
    /// Ids of the keys
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    /// How long a stored key can be restored, in seconds; 0 deletes it for good [default: a week]
    #[arg(long, value_name = "SECONDS")]
    grace_seconds: Option<u64>,
    #[command(flatten)]
    place: Place,
}

/// Which keys to restore.
#[derive(Args)]
pub struct Restore {
    /// Ids of the keys
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    #[command(flatten)]
    place: Place,
}

impl Delete {
    pub fn run(&self) -> Result<()> {
        let grace = self.grace_seconds.unwrap_or(GRACE);
        let keys = self.place.open(Missing::Refused)?;
        let delete: &dyn Fn(&str) -> Result<Deleted> = match &keys {
            Keys::Variables(_) if self.grace_seconds.is_some() => {
                bail!(
                    "--grace-seconds is only for stored keys. A copy of the file of variables stays beside it"
                )
            }
            Keys::Variables(file) => return variables::delete(file, &self.ids),
            Keys::Server(server) => &|id| server.delete(id, grace),
            Keys::Store(store) => &|id| store.delete(id, grace),
        };
        for id in &self.ids {
            let id = name(id);
            let deleted = delete(id)?;
            match grace {
                0 => eprintln!("deleted {id:?} for good"),
                _ => eprintln!(
                    "deleted {id:?}; `keylet keys restore {id}` brings it back until {}",
                    local_time(deleted.until)
                ),
            }
        }
        Ok(())
    }
}

impl Restore {
    pub fn run(&self) -> Result<()> {
        let keys = self.place.open(Missing::Refused)?;
        let restore: &dyn Fn(&str) -> Result<()> = match &keys {
            Keys::Variables(file) => bail!(
                "{file}: the keys of `content_keys` are not kept once they are deleted; the copy of the file beside it has them"
            ),
            Keys::Server(server) => &|id| server.restore(id),
            Keys::Store(store) => &|id| store.restore(id),
        };
        for id in &self.ids {
            let id = name(id);
            restore(id)?;
            eprintln!("restored {id:?}");
        }
        Ok(())
    }
}
