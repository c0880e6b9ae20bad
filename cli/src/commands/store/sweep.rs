//! `keylet store sweep`

use std::io::Write;

use anyhow::Result;
use clap::Args;

use super::place::Place;
use crate::sweep::Mode;
use crate::terminal;

/// What follows the options in the help.
pub const EXAMPLES: &str = "\
Keys of other programs are left alone. docs/store.md says what is over when.

Examples:
  keylet store sweep
  keylet store sweep --store redis://127.0.0.1:6379 --dry-run
  keylet store sweep --server https://drm.example.com --operator-token-file operator-token
";

/// Which store.
#[derive(Args)]
pub struct Sweep {
    /// Say what would be deleted, and delete nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the counts as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

impl Sweep {
    pub fn run(&self) -> Result<()> {
        let (mode, done) = match self.dry_run {
            true => (Mode::Counted, "would be deleted"),
            false => (Mode::Deleted, "deleted"),
        };
        let report = self.place.sweep(mode)?;
        if self.json {
            return terminal::print_json(&report);
        }
        let mut out = terminal::stdout();
        // Whoever reads may stop reading.
        let _ = writeln!(out, "{} of {} keys {done}", report.over(), report.keys());
        for (name, family) in report.families.iter().filter(|(_, family)| family.over > 0) {
            let _ = writeln!(out, "  {name:<29}{:>10}", family.over);
        }
        if report.unknown > 0 {
            let _ = writeln!(out, "{} keys of other programs left alone", report.unknown);
        }
        Ok(())
    }
}
