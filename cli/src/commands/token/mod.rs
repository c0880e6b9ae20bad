//! `keylet token`

pub(super) mod explain;
pub(super) mod jwks;
mod mint;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use keylet_host::Provided;

const MINT: &str = "\
Examples:
  keylet token mint --configured --keys movie-42
  keylet token mint --key private.pem --issuer https://login.example.com --audience keylet --keys movie-42
  keylet token mint --key secret.txt --hmac=base64 --keys movie-42,movie-43 --terms '{\"lease_seconds\":300}' --expires-in 1h
  keylet token mint --key jwk.json --azure --content-key-id 339c45b5-fb6d-4bd9-994c-eabd9d41c95b
";

const JWKS: &str = "\
Examples:
  keylet token jwks login.pem
  keylet token jwks old.crt new.crt > jwks.json
";

const EXPLAIN: &str = "\
Examples:
  keylet token explain - --asset-id skd://movie-42
  keylet token explain --token-file token.jwt --variable token_keys=@jwks.json --variable token_issuer=* --variable token_audience=keylet
";

/// Make tokens, and explain them.
#[derive(Subcommand)]
pub enum Command {
    /// Make a token, native or as Azure Media Services took them, and print it
    #[command(after_help = MINT)]
    Mint(Box<mint::Arguments>),
    /// Turn the public keys that verify tokens into a JWKS, the value of `token_keys`
    #[command(after_help = JWKS)]
    Jwks(jwks::Arguments),
    /// Explain a token: why it is refused, who signed it, whether it is valid now, and what it allows, with the
    /// variables that the server would use: those of the environment, `SPIN_VARIABLE_…`
    ///
    /// The exit code is 0 when each key of `--asset-id` would be given, or without it when the token is
    /// accepted, and else 1. Keys that an issuer publishes are fetched; back ends are not asked.
    #[command(after_help = EXPLAIN)]
    Explain(explain::Arguments),
}

pub use explain::{Explained, warnings};

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
    explain::explain_with(settings.clone(), token, &asset_ids).await
}

pub fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Mint(arguments) => mint::run(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Jwks(arguments) => jwks::run(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Explain(arguments) => explain::run(&arguments),
    }
}
