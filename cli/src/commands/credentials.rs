//! `keylet credentials`

use std::fs;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use clap::{Args, Subcommand, ValueEnum};
use keylet::configuration::SettingsError;
use keylet::encoding::{self, BASE64_URL};
use keylet::fairplay::credentials::Credentials;
use rand_core::Rng;
use serde_json::json;
use zeroize::Zeroizing;

use super::device::{back_up, read, secret, write_secret};
use crate::configured;
use crate::credentials::export::{self, Format};
use crate::credentials::files::{Found, Group, Reader, wrong_ask};
use crate::credentials::request::{Authority, Digest, NewKey, Subject};
use crate::credentials::{Assembled, CredentialPart, Problem, assemble, to_variables};
use crate::progress::while_waiting;
use crate::random;
use crate::settings::Settings;
use keylet_host::Provided;

/// The environment variable with the password of keys.
const PASSWORD: &str = "KEYLET_PASSWORD";
/// The environment variable with the application secret key.
const ASK: &str = "KEYLET_ASK";

const NEW: &str = "\
Examples:
  keylet credentials new --common-name 'Example TV' --organization 'Example Inc.' --country US --out-dir fairplay
  keylet credentials new --sdk 26 --common-name 'Example TV' --password-file password.txt --out-dir fairplay
  keylet credentials new --development --sdk 26 --common-name test --out-dir dev
";

const IMPORT: &str = "\
Examples:
  keylet credentials import fairplay.cer privatekey.pem --ask-file ask.txt --out .env
  keylet credentials import sdk4 sdk26 --format kubernetes --out secret.yaml
  keylet credentials import fairplay --trial movie-42 --out .env
";

/// Make and import FairPlay credentials.
#[derive(Subcommand)]
pub enum Command {
    /// Make private keys and the signing requests that Apple's portal asks for
    ///
    /// The key stays with you; the request goes to the portal, which answers with the certificate. With
    /// --development it makes a whole set that no device trusts, signed by an authority of its own.
    #[command(after_help = NEW)]
    New(New),
    /// Turn certificate, private key and ASk, in the forms in which people have them, into the server's
    /// variables
    ///
    /// It reads certificates (DER, PEM), bundles (`fps_certificate.bin`), private keys (PKCS#1, PKCS#8, with
    /// every encryption that OpenSSL has), PKCS#12 containers, ASks (hexadecimal or base64),
    /// `certificates.json` of the server SDK, content key policies of Azure Media Services. The files of a
    /// directory are one credential; other files are one together. Standard error says what was taken.
    #[command(after_help = IMPORT)]
    Import(Import),
}

/// What is made.
#[derive(Args)]
pub struct New {
    #[command(flatten)]
    subject: Subject,
    /// 4: one key of 1024 bits. 26: one of 1024 and one of 2048 bits, for a bundle
    #[arg(long, value_enum, default_value_t)]
    sdk: Sdk,
    /// Hash that requests are signed with [default: sha1 for 1024 bits, as the portal's instructions have
    /// it, else sha256]
    #[arg(long, value_enum)]
    digest: Option<Digest>,
    /// File with a password for the private keys; the environment variable `KEYLET_PASSWORD` has it too.
    /// Without one the keys are not encrypted, and readable by their owner only
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Make certificates and an ASk too, for tests
    #[arg(long)]
    development: bool,
    /// Directory for the files, which is made; nothing in it is overwritten
    #[arg(long, value_name = "DIRECTORY")]
    out_dir: PathBuf,
}

/// The server SDK that a credential is for.
#[derive(Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Sdk {
    /// SPCs of version 1.
    #[default]
    #[value(name = "4")]
    Four,
    /// SPCs of versions 2 and 3 as well.
    #[value(name = "26")]
    TwentySix,
}

/// Files with credentials, and what opens them.
#[derive(Args)]
pub struct Files {
    /// Files and directories
    #[arg(value_name = "FILE|DIRECTORY")]
    pub paths: Vec<PathBuf>,
    /// File with a password of private keys or containers; may be repeated. The environment variable
    /// `KEYLET_PASSWORD` has one too; on a terminal it is asked for
    #[arg(long = "password-file", value_name = "FILE")]
    pub password_files: Vec<PathBuf>,
    /// File with the application secret key, in hexadecimal or base64; the environment variable
    /// `KEYLET_ASK` has it too; on a terminal it is asked for
    #[arg(long, value_name = "FILE")]
    pub ask_file: Option<PathBuf>,
}

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
    /// Overwrite a file whose other content is not kept. A copy of it stays, as of every file that is changed, with
    /// `.bak` at the end of its name
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

pub fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::New(arguments) => arguments.run().map(|()| ExitCode::SUCCESS),
        Command::Import(arguments) => arguments.run(),
    }
}

impl New {
    fn run(&self) -> Result<()> {
        let password = password(self.password_file.as_deref())?;
        let password = password.as_deref().map(String::as_str);
        ensure!(
            !self.subject.common_name.is_empty(),
            "the common name is empty"
        );
        fs::create_dir_all(&self.out_dir)
            .with_context(|| format!("making {}", self.out_dir.display()))?;
        let sizes: &[usize] = match self.sdk {
            Sdk::Four => &[1024],
            Sdk::TwentySix => &[1024, 2048],
        };
        let mut rng = random::system();
        let keys = sizes
            .iter()
            .map(|bits| Ok((*bits, NewKey::generate(*bits, &mut rng)?)));
        let keys: Result<Vec<(usize, NewKey)>> =
            while_waiting("making private keys", || keys.collect());
        let keys = keys?;
        for (bits, key) in &keys {
            let name = |stem: &str, extension: &str| match self.sdk {
                Sdk::Four => format!("{stem}.{extension}"),
                Sdk::TwentySix => format!("{stem}-{bits}.{extension}"),
            };
            self.write(
                &name("privatekey", "pem"),
                key.pem(password)?.as_bytes(),
                "private key: keep it, and keep it secret",
            )?;
            if !self.development {
                let digest = self.digest.unwrap_or(if *bits == 1024 {
                    Digest::Sha1
                } else {
                    Digest::Sha256
                });
                let request = key.request(&self.subject, digest)?;
                self.write(
                    &name("certreq", "csr"),
                    request.as_bytes(),
                    "signing request: upload it to Apple's portal",
                )?;
            }
        }
        if self.development {
            self.development(&keys)?;
        }
        Ok(())
    }

    fn development(&self, keys: &[(usize, NewKey)]) -> Result<()> {
        let mut rng = random::system();
        let (authority, certificate) = Authority::generate(&mut rng)?;
        self.write(
            "authority.cer",
            &certificate,
            "certificate of the authority; its key is forgotten",
        )?;
        let signed = keys.iter().map(|(bits, key)| {
            authority.sign(
                key,
                &format!("{} {bits}", self.subject.common_name),
                &mut rng,
            )
        });
        let certificates: Vec<Vec<u8>> = signed.collect::<Result<_>>()?;
        let name = match self.sdk {
            Sdk::Four => "fairplay.cer",
            Sdk::TwentySix => "fps_certificate.bin",
        };
        self.write(
            name,
            &certificates.concat(),
            "what players get; no Apple device trusts it",
        )?;
        let mut ask = Zeroizing::new([0; 16]);
        random::system().fill_bytes(ask.as_mut_slice());
        let ask = Zeroizing::new(hex::encode(ask.as_slice()));
        self.write("ask.txt", ask.as_bytes(), "application secret key")
    }

    fn write(&self, name: &str, content: &[u8], what: &str) -> Result<()> {
        let path = self.out_dir.join(name);
        ensure!(
            !path.exists(),
            "{} is there already, and is not overwritten",
            path.display()
        );
        write_secret(&path, content)?;
        eprintln!("{}: {what}", path.display());
        Ok(())
    }
}

impl Files {
    /// The ASk that is given apart, if it is one.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn ask(&self) -> Result<Option<Zeroizing<[u8; 16]>>> {
        let ask = self.ask_and_source()?;
        let ask = ask.and_then(|(_, text)| encoding::fixed(&text));
        Ok(ask.map(Zeroizing::new))
    }

    /// The ASk that is given apart, and where.
    fn ask_and_source(&self) -> Result<Option<(String, Zeroizing<String>)>> {
        Ok(match &self.ask_file {
            Some(path) => Some((path.display().to_string(), secret(path)?)),
            None => environment(ASK).map(|ask| (ASK.to_owned(), ask)),
        })
    }

    /// The groups of what these files hold, with the ASk that was given apart.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn groups(&self) -> Result<Vec<Group>> {
        let mut passwords = Vec::new();
        for path in &self.password_files {
            passwords.extend(password(Some(path))?);
        }
        passwords.extend(password(None)?);
        let mut reader = Reader {
            passwords,
            prompt: &|question| prompt(question),
        };
        let mut groups = reader.read(&self.paths)?;
        let mut lacking: Vec<&mut Group> = groups
            .iter_mut()
            .filter(|group| group.asks.is_empty() && !group.certificates.is_empty())
            .collect();
        let ask = match &self.ask_file {
            Some(_) => self.ask_and_source()?,
            // One of the environment may be there for something else.
            None if lacking.len() != 1 => None,
            None => self.ask_and_source()?.or_else(|| {
                let ask = prompt("ASk, 32 hexadecimal digits (nothing: there is none): ")?;
                Some(("the ASk".to_owned(), ask)).filter(|(_, ask)| !ask.trim().is_empty())
            }),
        };
        if let Some((file, ask)) = ask {
            let [group] = lacking.as_mut_slice() else {
                bail!(
                    "{file}: it is for a certificate that has no ASk yet, and there are {}",
                    lacking.len()
                );
            };
            match encoding::fixed::<16>(&ask) {
                Some(ask) => group.asks.push(Found {
                    value: Zeroizing::new(ask),
                    file,
                }),
                None => {
                    let text = format!("{file}: {}", wrong_ask(&ask));
                    group.problems.push(Problem::new(CredentialPart::Ask, text));
                }
            }
        }
        Ok(groups)
    }
}

impl Import {
    /// Whether private keys are stored decrypted.
    fn decrypts(&self) -> bool {
        self.decrypt || !self.encrypted && self.format.is_secret_store()
    }

    fn run(&self) -> Result<ExitCode> {
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
            let kept = export::names(self.format, existing);
            for (name, value) in trial(id) {
                if kept.contains(&name) {
                    eprintln!("{name}: it is there already, and stays");
                } else {
                    variables.insert(name, value);
                }
            }
        }
        let text = export::write(
            &variables,
            self.format,
            existing.as_deref().map(String::as_str),
        );
        let place = self.out.as_deref().unwrap_or(Path::new("standard output"));
        let text = text.with_context(|| place.display().to_string())?;
        match &self.out {
            Some(path) => {
                if let Some(copy) = back_up(path)? {
                    eprintln!("{}: the file as it was", copy.display());
                }
                write_secret(path, text.as_bytes())?;
                eprintln!("{}: {} variables", path.display(), variables.len());
            }
            // Whoever reads may stop reading.
            None => {
                let _ = crate::terminal::product().write_all(text.as_bytes());
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The present content of the output file, where the format keeps it.
    fn existing(&self) -> Result<Option<Zeroizing<String>>> {
        let Some(path) = self.out.as_deref().filter(|path| path.exists()) else {
            return Ok(None);
        };
        if !self.format.keeps_others() {
            ensure!(
                self.force,
                "{} is there already; --force overwrites it, and leaves a copy",
                path.display()
            );
            return Ok(None);
        }
        let existing = text(path)?;
        if self.format == Format::Settings {
            // Another file is not overwritten.
            let read = keylet::configuration::settings::read(&existing);
            read.map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
        }
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
    let mut random = Zeroizing::new([0; 64]);
    random::system().fill_bytes(random.as_mut_slice());
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

/// A password from a file, without the line break at its end, or else from the environment.
fn password(file: Option<&Path>) -> Result<Option<Zeroizing<String>>> {
    match file {
        Some(path) => {
            let text = text(path)?;
            Ok(Some(Zeroizing::new(
                text.trim_end_matches(['\r', '\n']).to_owned(),
            )))
        }
        None => Ok(environment(PASSWORD)),
    }
}

fn environment(name: &str) -> Option<Zeroizing<String>> {
    std::env::var(name)
        .ok()
        .filter(|value| !value.is_empty())
        .map(Zeroizing::new)
}

fn text(path: &Path) -> Result<Zeroizing<String>> {
    let content = read(path)?;
    let text = String::from_utf8(content)
        .map_err(|_| anyhow::anyhow!("{} is not text", path.display()))?;
    Ok(Zeroizing::new(text))
}

/// Asks on the terminal, without showing what is typed.
fn prompt(question: &str) -> Option<Zeroizing<String>> {
    if !(std::io::stdin().is_terminal() && crate::terminal::stderr().is_terminal()) {
        return None;
    }
    rpassword::prompt_password(question)
        .ok()
        .map(Zeroizing::new)
}
