//! `keylet credentials import`

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use clap::Args;
use keylet::configuration::SettingsError;
use keylet::content_key;
use keylet::encoding::BASE64_URL;
use keylet::fairplay::credentials::Credentials;
use keylet::token::{self, POLICIES};
use serde_json::json;
use zeroize::Zeroizing;

use super::Files;
use crate::configured;
use crate::credentials::export::{self, Format, OF_CREDENTIALS};
use crate::credentials::{Assembled, assemble, to_variables};
use crate::file;
use crate::random;
use crate::settings::Settings;
use crate::terminal;
use keylet_host::Provided;

/// What is taken over, and where to.
#[derive(Args)]
pub struct Import {
    #[command(flatten)]
    files: Files,
    /// What to write
    #[arg(long, value_enum, value_name = "NAME", default_value_t)]
    format: Format,
    /// File to write to, for its owner only; without it, standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Change a file of the formats spin, vault or kubernetes that is there. As in the others, the credentials in it
    /// are replaced, and its other variables stay. A copy of the file as it was stays beside it, with `.bak` at the end
    /// of its name
    #[arg(long)]
    force: bool,
    /// Store private keys decrypted: deriving a key from a password costs every cold start of the server. Vault and
    /// Kubernetes get them so unless --encrypted is given
    #[arg(long)]
    decrypt: bool,
    /// Store private keys as they are, with their password, in Vault and Kubernetes too
    #[arg(long, conflicts_with = "decrypt")]
    encrypted: bool,
    /// Add what a first licence needs beside the credentials, unless the file has it: a random
    /// content key for this asset id, a random key for tokens, and any issuer and audience. Not for
    /// production
    #[arg(long, value_name = "ID")]
    trial: Option<String>,
}

impl Import {
    /// What is missing for a licence, and the commands that bring it.
    fn tell_next(&self, path: &Path, variables: &Provided) {
        let has = |name: &str| variables.get(name).is_some_and(|value| !value.is_empty());
        let is_read_here = path == Path::new(".env");
        let path = path.display();
        let file = match is_read_here {
            true => String::new(),
            false => format!(" --file {path}"),
        };
        let mut steps = Vec::new();
        if self.format != Format::Vault {
            if !has(content_key::VARIABLE) && !has(content_key::seed::VARIABLE) {
                let line = format!("keylet keys add movie-42{file}");
                steps.push((line, "a content key"));
            }
            if !has(token::KEYS) && !has(POLICIES) {
                let line = format!("keylet policies add viewers{file}");
                steps.push((line, "whose tokens are taken, and on which terms"));
            }
        }
        const DOCTOR: &str = "what is still missing";
        steps.push(match self.format {
            Format::Env if is_read_here => ("keylet doctor".to_owned(), DOCTOR),
            Format::Env => (format!("set -a; . ./{path}; keylet doctor"), DOCTOR),
            Format::Spin => (
                format!("keylet doctor --runtime-config-file {path}"),
                DOCTOR,
            ),
            Format::Settings => (format!("keylet doctor --variable settings=@{path}"), DOCTOR),
            Format::Vault => (format!("sh {path}"), "with VAULT_ADDR and VAULT_TOKEN"),
            Format::Kubernetes => (format!("kubectl apply -f {path}"), "into the cluster"),
        });
        let longest = steps.iter().map(|(line, _)| line.len()).max();
        eprintln!("\nNext:");
        for (line, why) in steps {
            eprintln!(
                "  {line:<width$}   # {why}",
                width = longest.unwrap_or_default()
            );
        }
    }

    /// Whether private keys are stored decrypted.
    fn decrypts(&self) -> bool {
        self.decrypt || !self.encrypted && self.format.is_secret_store()
    }

    pub fn run(&self) -> Result<ExitCode> {
        ensure!(!self.files.paths.is_empty(), "no file was named");
        let existing = self.existing()?;
        let assembled = assemble(&self.files.groups()?);
        for line in &assembled.report {
            eprintln!("{line}");
        }
        if !assembled.problems.is_empty() || assembled.credentials.is_empty() {
            return Ok(refused(&assembled));
        }
        let mut variables = to_variables(&assembled.credentials, self.decrypts())?;
        if let Some(reason) = check(&variables)? {
            bail!("what was read does not load in the server: {reason}");
        }
        for credential in assembled
            .credentials
            .iter()
            .filter(|credential| credential.ask.is_none())
        {
            eprintln!(
                "{}: without an ASk its SPCs are answered with `ask_missing`",
                credential.name
            );
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        if let Some(cost) = runtime.block_on(configured::decryption(&variables)) {
            eprintln!("{cost}; --decrypt stores it decrypted");
        }
        if let Some(id) = &self.trial {
            let existing = existing.as_deref().map_or("", String::as_str);
            let kept = export::read(self.format, existing)?;
            for (name, value) in trial(id) {
                if kept.get(&name).is_some_and(|value| !value.is_empty()) {
                    eprintln!("{name}: it is there already, and stays");
                } else {
                    variables.insert(name, value);
                }
            }
        }
        let existing = existing.as_deref().map(String::as_str);
        let text = export::write(&variables, &OF_CREDENTIALS, self.format, existing);
        let place = self.out.as_deref().unwrap_or(Path::new("standard output"));
        let text = text.with_context(|| place.display().to_string())?;
        match &self.out {
            Some(path) => {
                file::replace(path, &text)?;
                eprintln!("{}: {} variables", path.display(), variables.len());
                self.tell_next(path, &export::read(self.format, &text)?);
            }
            // Whoever reads may stop reading.
            None => {
                let _ = terminal::product().write_all(text.as_bytes());
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The present content of the output file.
    fn existing(&self) -> Result<Option<Zeroizing<String>>> {
        let Some(path) = self.out.as_deref().filter(|path| path.exists()) else {
            return Ok(None);
        };
        ensure!(
            self.force || self.format.is_edited_by_hand(),
            "{} is there already. --force replaces the credentials in it, keeps the rest, and leaves a copy",
            path.display()
        );
        let existing = file::text(path)?;
        // A file of another kind is not overwritten.
        let read = export::read(self.format, &existing);
        read.with_context(|| path.display().to_string())?;
        Ok(Some(existing))
    }
}

fn refused(assembled: &Assembled) -> ExitCode {
    for problem in &assembled.problems {
        eprintln!("problem: {problem}");
    }
    if assembled.problems.is_empty() {
        eprintln!("problem: there is no certificate with its private key in these files");
    }
    ExitCode::FAILURE
}

/// What the server itself reports about credentials.
fn check(variables: &Provided) -> Result<Option<String>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    // The doctor and the server report the development certificate; this does not.
    let mut variables = variables.clone();
    variables.insert("fairplay_test_credentials".to_owned(), "true".to_owned());
    let credentials = Credentials::default();
    let settings = Settings(variables);
    let mut rng = random::system();
    let error = match runtime.block_on(credentials.check(&settings, &mut rng)) {
        Ok(all) if all.is_empty() => bail!("there is no credential"),
        Ok(_) => return Ok(None),
        Err(error) => error,
    };
    Ok(Some(match error {
        SettingsError::Invalid(problems) => problems
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; "),
        error => error.to_string(),
    }))
}

/// What a first licence needs beside credentials.
pub fn trial(id: &str) -> Provided {
    let random = Zeroizing::new(random::bytes::<64>());
    let (content_key, token_key) = random.split_at(32);
    let (key, iv) = content_key.split_at(16);
    let id = id.strip_prefix("skd://").unwrap_or(id);
    let content_keys = json!([{"id": id, "key": hex::encode(key), "iv": hex::encode(iv)}]);
    let token_keys =
        json!({"keys": [{"kty": "oct", "alg": "HS256", "k": BASE64_URL.encode(token_key)}]});
    [
        ("content_keys", content_keys.to_string()),
        ("token_keys", token_keys.to_string()),
        ("token_issuer", "*".to_owned()),
        ("token_audience", "*".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}
