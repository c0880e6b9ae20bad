//! `keylet policies`

mod add;
mod explain;
pub(super) mod import;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use keylet::configuration::SettingsError;
use keylet::policy::Policies;
use keylet::token::POLICIES;
use serde_json::{Value, json};

use crate::settings::Settings;
use keylet_host::Provided;

const ADD: &str = "\
Examples:
  keylet policies add subscribers --issuer https://login.example.com --key login.pem
  keylet policies add trial --terms '{\"lease_seconds\":300}'
";

const EXPLAIN: &str = "\
Examples:
  keylet policies explain rental
  keylet policies explain rental --system widevine --content-key movie-42 --variable policies=@policies.json
  keylet policies explain rental --token - --content-key movie-42
";

const IMPORT: &str = "\
Examples:
  keylet policies import policies.json --out policies.keylet.json
  keylet policies import - --policy movies --partial
";

/// Make content key policies, and take over those of other services.
#[derive(Subcommand)]
pub enum Command {
    /// Add an option to the variable `policies`: whose tokens are taken, and on which terms
    ///
    /// Tokens are verified with the public keys of their issuer. Without one a random key for HS256 is made, by which
    /// `keylet token mint --configured` signs.
    #[command(after_help = ADD)]
    Add(add::Add),
    /// Say what an option of the variable `policies` allows, system by system
    ///
    /// With a token and a key record it says what the three allow together. The exit code is 1 when a system gets no key.
    #[command(after_help = EXPLAIN)]
    Explain(explain::Explain),
    /// Turn content key policies of Azure Media Services into the variable `policies`
    ///
    /// It reads what the REST API exports (2022-08-01: one policy, a list of them, or the answer of
    /// getPolicyPropertiesWithSecrets), and what `az ams content-key-policy show --with-secrets` prints.
    /// Standard error says what was taken and what was not. The exit code is 2 when an option is
    /// left out.
    #[command(after_help = IMPORT)]
    Import(import::Import),
}

pub fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Add(add) => add::run(add).map(|()| ExitCode::SUCCESS),
        Command::Explain(explain) => explain::run(explain),
        Command::Import(import) => import::run(import),
    }
}

/// What the library itself says of options.
async fn validate(options: &[Value]) -> Result<(), String> {
    let json = json!(options).to_string();
    let settings = Settings(Provided::from([(POLICIES.to_owned(), json)]));
    let checked = match Policies::load(&settings).await {
        Ok(policies) => policies.check(),
        Err(error) => Err(error),
    };
    checked.map_err(|error| match error {
        SettingsError::Invalid(problems) => {
            let reasons: Vec<String> = problems.into_iter().map(|problem| problem.reason).collect();
            reasons.join("; ")
        }
        error => error.to_string(),
    })
}
