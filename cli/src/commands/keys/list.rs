//! `keylet keys list`

use std::io::Write;

use anyhow::Result;
use clap::Args;

use super::listed::Listed;
use super::place::{Keys, Missing, Place};
use super::variables;
use crate::terminal;

/// What follows the options in the help.
pub const EXAMPLES: &str = "\
Examples:
  keylet keys list
  keylet keys list --file settings.json
  keylet keys list --store .keylet/key_value.redb --json
";

/// Which keys.
#[derive(Args)]
pub struct List {
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

impl List {
    pub fn run(&self) -> Result<()> {
        let mut output = terminal::stdout();
        let mut show = |listed: Listed| {
            let line = match self.json {
                true => serde_json::to_string(&listed)?,
                false => listed.line(),
            };
            // Whoever reads may stop reading.
            Ok(writeln!(output, "{line}").is_ok())
        };
        match self.place.open(Missing::Refused)? {
            Keys::Variables(file) => {
                for listed in variables::listed(file, false)? {
                    if !show(listed)? {
                        break;
                    }
                }
                Ok(())
            }
            Keys::Server(server) => server.list(show),
            Keys::Store(store) => store.list(store.ids()?, false, show),
        }
    }
}
