//! `keylet speke`

mod checks;
mod encoder;
mod reply;
mod tag;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use anyhow::{Context, Result, anyhow, ensure};
use base64::Engine;
use clap::Args;
use keylet::cpix::speke::Version;
use keylet::cpix::{ProtectionSystem, Scheme};
use keylet::encoding::BASE64;
use zeroize::Zeroizing;

use super::license::header;
use super::serve::duration;
use crate::client::{Client, check_url};
use crate::file::{self, read, secret, trimmed};
use crate::terminal::{self, Printable, counted};

use checks::Checks;
use encoder::{Encoder, Wanted};

/// What follows the options in the help.
pub const HELP: &str = "\
It asks for keys as an encoder does, with KIDs of its own, and looks at everything that an encoder needs of the reply. Then it
sends requests that the server has to refuse. Each line of the output is a check: `ok`, or `FAILED` and what is wrong. The exit
code is 0 when all are ok, 1 when one failed or no answer came, and 2 for the wrong arguments.

A server that keeps a record of each key has a few more after each run: ask for a content of its own.

Examples:
  keylet speke http://127.0.0.1:3000/speke/copyProtection --content-id movie-42
  keylet speke https://drm.example.com/speke/copyProtection --speke-version 2.1 --tracks SD,HD,UHD1,AUDIO --encrypted
  keylet speke https://drm.example.com/speke/copyProtection --scheme cenc --systems widevine,playready
  keylet speke https://drm.example.com/api/SpekeV2 --user-file user.txt --header 'x-tenant: a'
";

/// The environment variable with the token.
const TOKEN: &str = "KEYLET_SPEKE_TOKEN";

/// What to ask for, and how.
#[derive(Args)]
pub struct Arguments {
    /// URL of the key server, such as <https://drm.example.com/speke/copyProtection>
    url: String,
    /// Version of SPEKE: 1.0, 2.0 or 2.1
    #[arg(long, value_name = "VERSION", default_value = "2.0", value_parser = version)]
    speke_version: Version,
    /// Id of the content
    #[arg(long, value_name = "ID", default_value = "keylet-speke")]
    content_id: String,
    /// Types of the tracks, each with a key of its own, such as SD, HD, UHD1, AUDIO, VIDEO
    #[arg(
        long,
        value_name = "TRACK,…",
        value_delimiter = ',',
        default_value = "SD,HD,AUDIO"
    )]
    tracks: Vec<String>,
    /// Systems: fairplay, widevine, playready, common, clearkey, aes128 [default: the first three, as far as they have the
    /// scheme]
    #[arg(long, value_name = "SYSTEM,…", value_delimiter = ',', value_parser = system)]
    systems: Vec<ProtectionSystem>,
    /// Protection scheme: cenc, cens, cbc1 or cbcs
    #[arg(long, value_name = "SCHEME", default_value = "cbcs", value_parser = scheme)]
    scheme: Scheme,
    /// A further header; may be repeated
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// File with the token of the packager, or `-` for standard input; the environment variable `KEYLET_SPEKE_TOKEN` keeps it
    /// out of the argument list too
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The token of the packager itself; it is sent as `Authorization: Bearer`
    #[arg(long, value_name = "TOKEN", conflicts_with = "token_file")]
    token: Option<String>,
    /// Name and password for `Authorization: Basic`
    #[arg(long, value_name = "NAME:PASSWORD", conflicts_with_all = ["token", "token_file"])]
    user: Option<String>,
    /// File with name and password, or `-` for standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["token", "token_file", "user"])]
    user_file: Option<PathBuf>,
    /// Ask for keys that are encrypted for a certificate, which is made for this run, and open them
    #[arg(long)]
    encrypted: bool,
    /// Print the keys
    #[arg(long)]
    show_keys: bool,
    /// PEM file with the certificates to trust, in place of Mozilla's list
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
    /// How long to wait for an answer, such as 500ms or 10s
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    timeout: Duration,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let encoder = arguments.encoder()?;
    let wanted = arguments.wanted()?;
    arguments.show_request();
    let mut checks = Checks::default();
    let keys = encoder.check(&wanted, &mut checks);
    if arguments.show_keys {
        for (asked, key) in wanted.keys.iter().zip(&keys) {
            let key = key.as_ref().map(|key| hex::encode(key.expose()));
            let key = Zeroizing::new(key.unwrap_or_else(|| "none".to_owned()));
            println!("  {:<8}{} {}", asked.track, asked.kid, *key);
        }
    }
    let (all, failed) = (checks.all, checks.failed);
    let all_checks = counted(all, "check");
    let (colour, text) = match failed {
        0 => (AnsiColor::Green, format!("{all_checks}, all ok")),
        failed => (AnsiColor::Red, format!("{all_checks}, {failed} failed")),
    };
    let mut out = terminal::stdout();
    let _ = writeln!(out);
    out.styled(Style::new().bold().fg_color(Some(colour.into())), text);
    let _ = writeln!(out);
    Ok(match failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

impl Arguments {
    fn encoder(&self) -> Result<Encoder> {
        check_url(&self.url)?;
        let roots = self.cacert.as_deref().map(read).transpose()?;
        let client = Client::new(self.timeout, roots.as_deref()).context("--cacert")?;
        let token = match (&self.token_file, &self.token) {
            (Some(path), _) => Some(secret(path)?),
            (None, Some(token)) => Some(trimmed(token)),
            (None, None) => None,
        };
        let user = match (&self.user_file, &self.user) {
            (Some(path), _) => Some(secret(path)?),
            (None, Some(user)) => Some(trimmed(user)),
            (None, None) => None,
        };
        let token = match (&token, &user) {
            // What is in the environment is for when nothing else is said.
            (None, None) => file::environment(TOKEN),
            _ => token,
        };
        let (authorization, secrets) = match (token, user) {
            (Some(token), _) => {
                let authorization = Zeroizing::new(format!("Bearer {}", *token));
                (Some(authorization), vec![token])
            }
            (None, Some(user)) => {
                let (_, password) = user
                    .split_once(':')
                    .context("--user: a name and a password have a colon between them")?;
                let password = Zeroizing::new(password.to_owned());
                let credentials = Zeroizing::new(BASE64.encode(user.as_bytes()));
                let authorization = Zeroizing::new(format!("Basic {}", *credentials));
                (Some(authorization), vec![credentials, password])
            }
            (None, None) => (None, Vec::new()),
        };
        let mut headers = self.headers.clone();
        if let Some(authorization) = authorization {
            headers.push(("authorization".to_owned(), authorization.to_string()));
        }
        Encoder::new(
            client,
            self.url.clone(),
            self.speke_version,
            &headers,
            secrets,
        )
    }

    fn wanted(&self) -> Result<Wanted> {
        let mut tracks: Vec<String> = Vec::new();
        for track in &self.tracks {
            let track = track.trim().to_ascii_uppercase();
            ensure!(!track.is_empty(), "--tracks: a type is empty");
            ensure!(!tracks.contains(&track), "--tracks: {track} is there twice");
            tracks.push(track);
        }
        Wanted::new(
            &self.content_id,
            self.scheme,
            tracks,
            self.systems(),
            self.encrypted,
        )
    }

    fn systems(&self) -> Vec<ProtectionSystem> {
        match self.systems.is_empty() {
            true => ProtectionSystem::usual(self.scheme),
            false => self.systems.clone(),
        }
    }

    /// Says what is asked for.
    fn show_request(&self) {
        let version = self.speke_version.header().unwrap_or("1.0");
        // The query may hold a secret.
        let (url, _) = self.url.split_once('?').unwrap_or((&self.url, ""));
        let systems = self.systems();
        let systems: Vec<_> = systems.iter().map(|system| system.name()).collect();
        let mut out = terminal::stdout();
        let heading = format!("SPEKE {version} at {}", Printable::new(url));
        out.styled(Style::new().bold(), heading);
        let _ = writeln!(out, "\n");
        out.row("content", Printable::new(self.content_id.as_str()));
        out.row("tracks", Printable::new(self.tracks.join(", ")));
        out.row("systems", systems.join(", "));
        if self.speke_version != Version::V1_0 {
            out.row("scheme", self.scheme.name());
        }
        let _ = writeln!(out);
    }
}

fn version(text: &str) -> Result<Version> {
    let known = [Version::V1_0, Version::V2_0, Version::V2_1].into_iter();
    let mut known = known.filter(|version| version.header().unwrap_or("1.0") == text);
    known.next().context("the versions are 1.0, 2.0 and 2.1")
}

fn system(name: &str) -> Result<ProtectionSystem> {
    ProtectionSystem::from_name(name).with_context(|| {
        let mut known = ProtectionSystem::ALL.map(ProtectionSystem::name).to_vec();
        known.dedup();
        format!("the systems are {}", known.join(", "))
    })
}

fn scheme(name: &str) -> Result<Scheme> {
    Scheme::from_name(name).ok_or_else(|| {
        let known = Scheme::ALL.map(Scheme::name).join(", ");
        anyhow!("the schemes are {known}")
    })
}
