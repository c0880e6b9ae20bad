//! `keylet store stats`

use std::io::Write;

use anyhow::Result;
use clap::Args;
use jiff::Timestamp;

use super::place::Place;
use crate::sweep::{Mode, Report};
use crate::terminal;

/// What follows the options in the help.
pub const EXAMPLES: &str = "\
Bytes are those of keys and values; in Redis, those of its memory. A server that runs says numbers of keys alone.

Examples:
  keylet store stats
  keylet store stats --store redis://127.0.0.1:6379 --json
  keylet store stats --server https://drm.example.com --operator-token-file operator-token
";

/// Which store.
#[derive(Args)]
pub struct Stats {
    /// Print them as JSON, times in seconds since 1970
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

impl Stats {
    pub fn run(&self) -> Result<()> {
        let report = self.place.sweep(Mode::Measured)?;
        if self.json {
            return terminal::print_json(&report);
        }
        // Whoever reads may stop reading.
        let _ = show(&report);
        Ok(())
    }
}

fn show(report: &Report) -> std::io::Result<()> {
    let mut out = terminal::stdout();
    writeln!(
        out,
        "{:<29}{:>10}{:>13}{:>18}{:>18}{:>10}{:>13}",
        "family", "keys", "bytes", "oldest period", "newest period", "over", "bytes"
    )?;
    let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |n| n.to_string());
    for (name, family) in &report.families {
        writeln!(
            out,
            "{name:<29}{:>10}{:>13}{:>18}{:>18}{:>10}{:>13}",
            family.keys,
            number(family.bytes),
            moment(family.oldest),
            moment(family.newest),
            family.over,
            number(family.over_bytes),
        )?;
    }
    if report.unknown > 0 {
        writeln!(out, "{:<29}{:>10}", "of other programs", report.unknown)?;
    }
    Ok(())
}

/// A time by UTC, to the minute.
fn moment(seconds: Option<u64>) -> String {
    let moment =
        seconds.and_then(|seconds| Timestamp::from_second(i64::try_from(seconds).ok()?).ok());
    moment.map_or_else(
        || "-".to_owned(),
        |moment| moment.strftime("%Y-%m-%d %H:%M").to_string(),
    )
}
