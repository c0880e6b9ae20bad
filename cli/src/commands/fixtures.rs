//! `keylet fixtures`

use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;

const WRITE: &str = "\
Examples:
  keylet fixtures write
";

const CHECK: &str = "\
Examples:
  keylet fixtures check fixtures
";

/// Write or check the fixtures.
#[derive(Subcommand)]
pub enum Command {
    /// Make every file anew, the same bytes each time
    #[command(after_help = WRITE)]
    Write {
        /// Where they are
        #[arg(default_value = "fixtures")]
        directory: PathBuf,
    },
    /// Compare every file with what would be written
    #[command(after_help = CHECK)]
    Check {
        /// Where they are
        #[arg(default_value = "fixtures")]
        directory: PathBuf,
    },
}

pub fn run(command: &Command) -> Result<()> {
    match command {
        Command::Write { directory } => {
            println!(
                "{} files written to {}",
                crate::fixtures::write(directory)?,
                directory.display()
            );
        }
        Command::Check { directory } => {
            println!(
                "{} files in {} are as written",
                crate::fixtures::check(directory)?,
                directory.display()
            );
        }
    }
    Ok(())
}
