//! `keylet device`

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, Subcommand, ValueEnum};
use keylet::configuration::SettingsError;
use keylet::fairplay::certificate::ApplicationCertificate;
use keylet::fairplay::client::PlaybackState;
use keylet::fairplay::spc::Version;
use keylet::fairplay::tag::Tag;
use keylet::licence::{self, LicenceServer};

use crate::client::{Client, Failure};
use crate::credentials::ask;
use crate::device::{
    ApplicationKey, Licence, Playback, Secrets, SpcOptions, Wrapping, oldest_version,
    read_certificate,
};
use crate::file::{self, read, secret, write, write_secret};
use crate::random;
use crate::settings::Settings;
use crate::terminal;
use keylet_host::{Assignment, provided};

/// The environment variable with the application secret key, where no file is named.
const ASK: &str = "KEYLET_ASK";

/// How long a server may take for its certificate.
const TIMEOUT: Duration = Duration::from_secs(10);

const SPC: &str = "\
Examples:
  keylet device spc --certificate fairplay.cer --ask-file ask.hex --asset-id skd://movie-42 --out spc.bin --secrets spc.json
  keylet device spc --certificate fps_certificate.bin --ask-file ask.hex --asset-id skd://movie-42 --spc-version 2 --state renewal --out spc.bin --secrets spc.json
";

const OPEN: &str = "\
Examples:
  keylet device open ckc.bin --secrets spc.json
  keylet device open - --secrets spc.json
";

const INSPECT: &str = "\
Examples:
  keylet device inspect spc.bin
  keylet device inspect spc.bin --variable fairplay_private_key=@privatekey.pem
";

/// Emulate a FairPlay device.
#[derive(Subcommand)]
pub enum Command {
    /// Make an SPC, and a file with the secrets that open the CKC
    #[command(after_help = SPC)]
    Spc {
        /// Application certificate: DER, a bundle, PEM or base64, or a URL that serves one
        #[arg(long, value_name = "FILE|URL")]
        certificate: String,
        #[command(flatten)]
        spc: Box<SpcArguments>,
        /// File for the SPC, or `-` for standard output
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// File for the secrets
        #[arg(long, value_name = "FILE")]
        secrets: PathBuf,
    },
    /// Open a CKC, check it against its SPC, and print key and terms as JSON
    #[command(after_help = OPEN)]
    Open {
        /// File with the CKC, or `-` for standard input
        #[arg(value_name = "FILE|-")]
        ckc: PathBuf,
        /// File with the secrets that `device spc` wrote
        #[arg(long, value_name = "FILE")]
        secrets: PathBuf,
    },
    /// Explain an SPC as JSON, with the credentials that the server would use: those of the
    /// environment, `SPIN_VARIABLE_FAIRPLAY_…`
    #[command(after_help = INSPECT)]
    Inspect {
        /// File with the SPC, or `-` for standard input
        #[arg(value_name = "FILE|-")]
        spc: PathBuf,
        /// An application variable: name=value, or name=@file
        #[arg(long = "variable", value_name = "NAME=VALUE|NAME=@FILE")]
        variables: Vec<Assignment>,
    },
}

/// What an SPC is to be.
#[derive(Args)]
pub struct SpcArguments {
    /// File with the application secret key, in hex or base64, or `-` for standard input. Without it, the
    /// key itself is in the environment, `KEYLET_ASK`
    #[arg(long, value_name = "FILE")]
    ask_file: Option<PathBuf>,
    /// The key is the fixed DASk of the SDK's development certificate
    #[arg(long)]
    dask: bool,
    /// Asset id: text, or hex: and digits
    #[arg(long, value_name = "ID")]
    asset_id: String,
    /// Container version [default: the oldest that the certificate has a key for]
    #[arg(long, value_name = "1|2|3", value_parser = version)]
    spc_version: Option<Version>,
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
        Command::Spc {
            certificate: source,
            spc,
            out,
            secrets,
        } => {
            let certificate = certificate(&source, &Client::new(TIMEOUT, None)?)?;
            let wrapping = spc.wrapping(&certificate);
            let key = spc.key(certificate)?;
            let (message, opens) = key.spc(wrapping, &spc.options()?, &mut random::system())?;
            write_secret(&secrets, &serde_json::to_vec_pretty(&opens)?)?;
            write(&out, &message)
        }
        Command::Open { ckc, secrets } => {
            let secrets: Secrets =
                serde_json::from_slice(&read(&secrets)?).context("the secrets")?;
            print(&Licence::open(&read(&ckc)?, &secrets)?)
        }
        Command::Inspect { spc, variables } => {
            let provided = provided(&variables, None)?;
            let runtime = tokio::runtime::Builder::new_current_thread().build()?;
            let licences = LicenceServer::new(Settings(provided));
            let explained = runtime.block_on(licences.inspect(&read(&spc)?));
            print(&explained.map_err(|error| explain(&error))?)
        }
    }
}

/// Reads the application certificate from a file, or fetches it.
///
/// # Errors
/// As [`Client::certificate`]; a file without a certificate is a request that cannot be made.
pub fn certificate(source: &str, client: &Client) -> Result<ApplicationCertificate, Failure> {
    if source.starts_with("http://") || source.starts_with("https://") {
        return client.certificate(source);
    }
    read(Path::new(source))
        .and_then(|bytes| read_certificate(&bytes))
        .map_err(Failure::Request)
}

/// What is wrong, and of settings each problem by its variable.
fn explain(error: &licence::Error) -> anyhow::Error {
    match error {
        licence::Error::Settings(error) => explain_settings(error),
        error => anyhow!("{error}"),
    }
}

/// What is wrong with settings, each by its variable.
pub fn explain_settings(error: &SettingsError) -> anyhow::Error {
    match error {
        SettingsError::Invalid(problems) => {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            anyhow!(lines.join("\n"))
        }
        error => anyhow!("{error}"),
    }
}

impl SpcArguments {
    /// What a device knows of the provider.
    ///
    /// # Errors
    /// An application secret key that is missing or invalid.
    pub fn key(&self, certificate: ApplicationCertificate) -> Result<ApplicationKey> {
        let ask = match &self.ask_file {
            Some(path) => secret(path)?,
            None => file::environment(ASK).with_context(|| {
                format!("no application secret key: give --ask-file FILE, or set {ASK}")
            })?,
        };
        let ask = ask::read(&ask).map_err(|reason| anyhow!(reason))?;
        Ok(ApplicationKey {
            certificate: certificate.der,
            ask: (*ask).into(),
            is_dask: self.dask,
        })
    }

    /// How the SPC is wrapped.
    pub fn wrapping(&self, certificate: &ApplicationCertificate) -> Wrapping {
        match self.spc_version {
            _ if self.whole_bundle => Wrapping::WholeBundle,
            Some(version) => Wrapping::Version(version),
            None => oldest_version(certificate),
        }
    }

    /// The asset id as it was given.
    pub fn asset_id(&self) -> &str {
        &self.asset_id
    }

    /// What the player is doing, where that is given.
    pub fn state(&self) -> Option<u32> {
        Some(match self.state? {
            State::First => PlaybackState::FIRST,
            State::Renewal => PlaybackState::RENEWAL,
            State::KeyNotRequired => PlaybackState::KEY_NOT_REQUIRED,
            State::Stopped => PlaybackState::STOPPED,
        })
    }

    /// Whether it says that playback has stopped, which no licence answers.
    pub fn has_stopped(&self) -> bool {
        matches!(self.state, Some(State::Stopped))
    }

    /// What the SPC holds.
    ///
    /// # Errors
    /// An asset id that is not hexadecimal.
    pub fn options(&self) -> Result<SpcOptions> {
        let asset_id = match self.asset_id.strip_prefix("hex:") {
            Some(digits) => hex::decode(digits).context("the asset id after `hex:`")?,
            None => self.asset_id.clone().into_bytes(),
        };
        let mut options = SpcOptions::new(asset_id);
        options.tllvs.clone_from(&self.tllv);
        options.return_request.extend(&self.return_tags);
        options.omit.clone_from(&self.omit);
        if let Some(state) = self.state() {
            options = options.playing_in(Playback::begin(&mut random::system()), state);
        }
        if let Some(capabilities) = self.capabilities {
            options = options.capable(capabilities);
        }
        Ok(options)
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

pub fn print(document: &impl serde::Serialize) -> Result<()> {
    terminal::print_json(document)
}
