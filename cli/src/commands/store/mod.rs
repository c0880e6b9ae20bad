//! `keylet store`

mod place;
mod stats;
mod sweep;

use anyhow::Result;
use clap::Subcommand;

/// Look after the key-value store: of a server that does not run now, of Redis, or of a server that runs.
#[derive(Subcommand)]
pub enum Command {
    /// Delete keys that are over; keys in use are never deleted
    #[command(after_help = sweep::EXAMPLES)]
    Sweep(sweep::Sweep),
    /// Say what is in the store, family by family, and how much of it is over
    #[command(after_help = stats::EXAMPLES)]
    Stats(stats::Stats),
}

pub fn run(command: &Command) -> Result<()> {
    match command {
        Command::Sweep(sweep) => sweep.run(),
        Command::Stats(stats) => stats.run(),
    }
}
