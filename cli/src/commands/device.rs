//! `keylet device`

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use keylet::encoding;
use keylet::error::SettingsError;
use keylet::fairplay::client::PlaybackState;
use keylet::fairplay::spc::Version;
use keylet::fairplay::tag::Tag;
use keylet::licence::{self, Licensing};

use crate::device::{ApplicationKey, Licence, Secrets, SpcOptions, Wrapping};
use crate::host::{Assignment, provided};
use crate::random;
use crate::settings::Settings;

/// Emulate a FairPlay device.
#[derive(Subcommand)]
pub enum Command {
    /// Make an SPC, and a file with the secrets that open the CKC
    Spc {
        #[command(flatten)]
        spc: SpcArguments,
        /// File for the SPC
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// File for the secrets
        #[arg(long, value_name = "FILE")]
        secrets: PathBuf,
    },
    /// Open a CKC, check it against its SPC, and print key and terms as JSON
    Open {
        /// File with the CKC
        ckc: PathBuf,
        /// File with the secrets
        #[arg(long, value_name = "FILE")]
        secrets: PathBuf,
    },
    /// Explain an SPC as JSON, with the credentials that the server would use: those of the
    /// environment, `SPIN_VARIABLE_FAIRPLAY_…`
    Inspect {
        /// File with the SPC
        spc: PathBuf,
        /// An application variable: name=value, or name=@file
        #[arg(long = "variable", value_name = "NAME=VALUE|NAME=@FILE")]
        variables: Vec<Assignment>,
    },
    /// Ask a licence server for a licence, and print key and terms as JSON
    Play {
        /// URL of the licence server, such as <http://127.0.0.1:3000/fairplay>
        url: String,
        #[command(flatten)]
        spc: SpcArguments,
        /// File with the token; the environment variable keeps it out of the argument list too
        #[arg(long, value_name = "FILE", conflicts_with = "token")]
        token_file: Option<PathBuf>,
        /// The token itself
        #[arg(long, env = "KEYLET_TOKEN", hide_env_values = true)]
        token: Option<String>,
    },
}

/// What an SPC is to be.
#[derive(Args)]
pub struct SpcArguments {
    /// Application certificate: DER, or a bundle
    #[arg(long, value_name = "FILE")]
    certificate: PathBuf,
    /// File with the application secret key, in hex or base64
    #[arg(long, value_name = "FILE", conflicts_with = "ask")]
    ask_file: Option<PathBuf>,
    /// The application secret key, from the environment
    #[arg(long, env = "KEYLET_ASK", hide_env_values = true, hide = true)]
    ask: Option<String>,
    /// Asset id: text, or hex: and digits
    #[arg(long)]
    asset_id: String,
    /// Container version
    #[arg(long, value_name = "1|2|3", default_value = "1", value_parser = version)]
    spc_version: Version,
    /// Hash the whole bundle, as systems do that know no bundles (version 1)
    #[arg(long)]
    whole_bundle: bool,
    /// What the player is doing
    #[arg(long, value_enum)]
    state: Option<State>,
    /// Capabilities: the low word as a number
    #[arg(long, value_name = "NUMBER")]
    capabilities: Option<u64>,
    /// A further TLLV, or another value for one that is there: 16 digits of tag, value in hex
    #[arg(long, value_name = "TAG=HEX", value_parser = tllv)]
    tllv: Vec<(Tag, Vec<u8>)>,
    /// A tag that is to be returned, beside asset id and transaction id
    #[arg(long = "return", value_name = "TAG", value_parser = tag)]
    return_tags: Vec<Tag>,
    /// A tag to leave out
    #[arg(long, value_name = "TAG", value_parser = tag)]
    omit: Vec<Tag>,
}

#[derive(Clone, Copy, ValueEnum)]
enum State {
    First,
    Renewal,
    KeyNotRequired,
    Stopped,
}

pub fn run(command: Command) -> Result<()> {
    match command {
        Command::Spc { spc, out, secrets } => {
            let (message, opens) = spc.make()?;
            write_secret(&secrets, &serde_json::to_vec_pretty(&opens)?)?;
            fs::write(&out, message).with_context(|| format!("writing {}", out.display()))
        }
        Command::Open { ckc, secrets } => {
            let secrets: Secrets =
                serde_json::from_slice(&read(&secrets)?).context("the secrets")?;
            print(&Licence::open(&read(&ckc)?, &secrets)?)
        }
        Command::Inspect { spc, variables } => {
            let provided = provided(&variables, None)?;
            let runtime = tokio::runtime::Builder::new_current_thread().build()?;
            let licensing = Licensing::new(Settings(provided));
            let explained = runtime.block_on(licensing.inspect(&read(&spc)?));
            print(&explained.map_err(|error| explain(&error))?)
        }
        Command::Play {
            url,
            spc,
            token_file,
            token,
        } => {
            let token = match token_file {
                Some(path) => Some(String::from_utf8(read(&path)?)?.trim().to_owned()),
                None => token,
            };
            let (message, secrets) = spc.make()?;
            print(&Licence::open(
                &post(&url, token.as_deref(), &message)?,
                &secrets,
            )?)
        }
    }
}

/// Posts an SPC and returns the body of the answer.
///
/// # Errors
/// A server that cannot be reached, or any status but 200, with what it said.
pub fn post(url: &str, token: Option<&str>, spc: &[u8]) -> Result<Vec<u8>> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .into();
    let mut request = agent.post(url).content_type("application/octet-stream");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let mut response = request.send(spc)?;
    let body = response.body_mut().read_to_vec()?;
    if response.status() != 200 {
        bail!(
            "the server answered {}: {}",
            response.status(),
            String::from_utf8_lossy(&body)
        );
    }
    Ok(body)
}

/// What is wrong, and of settings each problem by its variable.
fn explain(error: &licence::Error) -> anyhow::Error {
    match error {
        licence::Error::Settings(error) => explain_settings(error),
        error => anyhow::anyhow!("{error}"),
    }
}

/// What is wrong with settings, each by its variable.
pub fn explain_settings(error: &SettingsError) -> anyhow::Error {
    match error {
        SettingsError::Invalid(problems) => {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            anyhow::anyhow!(lines.join("\n"))
        }
        error => anyhow::anyhow!("{error}"),
    }
}

impl SpcArguments {
    fn make(&self) -> Result<(Vec<u8>, Secrets)> {
        let ask = match (&self.ask_file, &self.ask) {
            (Some(path), _) => String::from_utf8(read(path)?)?,
            (None, Some(ask)) => ask.clone(),
            (None, None) => {
                bail!("the application secret key is given with --ask-file or in KEYLET_ASK")
            }
        };
        let ask: [u8; 16] =
            encoding::fixed(&ask).context("the application secret key is not 16 bytes")?;
        let key = ApplicationKey {
            certificate: read(&self.certificate)?,
            ask: ask.into(),
            is_dask: false,
        };

        let asset_id = match self.asset_id.strip_prefix("hex:") {
            Some(digits) => hex::decode(digits)?,
            None => self.asset_id.clone().into_bytes(),
        };
        let mut options = SpcOptions::new(asset_id);
        options.tllvs.clone_from(&self.tllv);
        options.return_request.extend(&self.return_tags);
        options.omit.clone_from(&self.omit);
        if let Some(state) = self.state {
            options = options.playing(match state {
                State::First => PlaybackState::FIRST,
                State::Renewal => PlaybackState::RENEWAL,
                State::KeyNotRequired => PlaybackState::KEY_NOT_REQUIRED,
                State::Stopped => PlaybackState::STOPPED,
            });
        }
        if let Some(capabilities) = self.capabilities {
            options = options.capable(capabilities);
        }
        let wrapping = if self.whole_bundle {
            Wrapping::WholeBundle
        } else {
            Wrapping::Version(self.spc_version)
        };
        key.spc(wrapping, &options, &mut random::system())
    }
}

fn version(text: &str) -> Result<Version> {
    match text {
        "1" => Ok(Version::V1),
        "2" => Ok(Version::V2),
        "3" => Ok(Version::V3),
        _ => bail!("a container version is 1, 2 or 3"),
    }
}

fn tag(text: &str) -> Result<Tag> {
    u64::from_str_radix(text, 16)
        .map(Tag)
        .context("a tag has 16 hexadecimal digits")
}

fn tllv(text: &str) -> Result<(Tag, Vec<u8>)> {
    let (name, value) = text.split_once('=').context("a TLLV is given as TAG=HEX")?;
    Ok((tag(name)?, hex::decode(value)?))
}

pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}

/// Writes a file that only its owner reads.
pub fn write_secret(path: &Path, content: &[u8]) -> Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
        .open(path)
        .and_then(|mut file| {
            // One that was there keeps its mode.
            #[cfg(unix)]
            file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
            file.write_all(content)
        })
        .with_context(|| format!("writing {}", path.display()))
}

pub fn print(document: &impl serde::Serialize) -> Result<()> {
    // Whoever reads may stop reading.
    let _ = writeln!(
        std::io::stdout(),
        "{}",
        serde_json::to_string_pretty(document)?
    );
    Ok(())
}
