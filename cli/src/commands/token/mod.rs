//! `keylet token`

mod explain;
pub mod key;
mod mint;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use crate::host::Provided;

/// Make tokens, and explain them.
#[derive(Subcommand)]
pub enum Command {
    /// Make a token, native or as Azure Media Services took them, and print it
    Mint(Box<mint::Arguments>),
    /// Explain a token as JSON: who signed it, whether it is valid now, and what it allows, with the
    /// variables that the server would use: those of the environment, `SPIN_VARIABLE_…`
    ///
    /// The exit code is 0 when each key of `--asset-id` would be given, or without it when the token is
    /// accepted, and else 1. Keys that an issuer publishes are fetched; back ends are not asked.
    Explain(explain::Arguments),
}

pub use explain::Explained;

/// What settings make of a token, and of an asset id that its bearer would ask for.
///
/// # Errors
/// Settings that do not load.
pub async fn explain(
    settings: &Provided,
    token: &str,
    asset_id: Option<&str>,
) -> Result<Explained> {
    let asset_ids: Vec<String> = asset_id.into_iter().map(ToOwned::to_owned).collect();
    explain::of(settings.clone(), token, &asset_ids).await
}

pub fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Mint(arguments) => mint::run(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Explain(arguments) => explain::run(&arguments),
    }
}
