//! `keylet license`

mod judged;
mod text;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use clap::builder::PossibleValuesParser;
use keylet::encoding;
use keylet::fairplay::certificate::ApplicationCertificate;
use keylet::fairplay::client::PlaybackState;
use keylet::fairplay::tag::Tag;
use keylet::platform::system_time;
use keylet::token::KEYS;
use zeroize::Zeroizing;

use super::device::{SpcArguments, certificate, print};
use super::serve::duration;
use crate::client::{Client, Exchange, certificate_url, check_url};
use crate::configured;
use crate::device::{ApplicationKey, Playback, SpcOptions};
use crate::file::{read, secret, trimmed};
use crate::random;
use crate::settings::expanded;
use crate::terminal;
use crate::wire::{self, Profile, TOKEN, TokenLocation};
use keylet_host::{Provided, provided};

use judged::{Expectation, Judged, Outcome};

/// What to ask, how, and what must come back.
#[derive(Args)]
pub struct Arguments {
    /// URL of the licence server, such as <http://127.0.0.1:3000/fairplay>
    url: String,
    /// Application certificate: DER, a bundle, PEM or base64, or a URL that serves one
    /// [default: /fairplay/certificate beside the licence URL]
    #[arg(long, value_name = "FILE|URL")]
    certificate: Option<String>,
    #[command(flatten)]
    spc: SpcArguments,
    /// File with the token, or `-` for standard input; the environment variable `KEYLET_TOKEN` keeps it
    /// out of the argument list too
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The token itself
    #[arg(
        long,
        value_name = "TOKEN",
        env = "KEYLET_TOKEN",
        hide_env_values = true
    )]
    token: Option<String>,
    /// Take the ASk and a token from the variables of the deployment itself, those of the environment and of
    /// `.env`: the token is signed with a symmetric key of `token_keys`, and entitles to every key
    #[arg(long, conflicts_with_all = ["ask_file", "token_file", "token"])]
    configured: bool,
    /// The token goes into this header [default: where the format has it, mostly `Authorization: Bearer`]
    #[arg(long, value_name = "NAME", group = "place")]
    token_header: Option<String>,
    /// The token goes into this parameter of the query
    #[arg(long, value_name = "NAME", group = "place")]
    token_query: Option<String>,
    /// The token goes into this member of the JSON body
    #[arg(long, value_name = "NAME", group = "place")]
    token_member: Option<String>,
    /// A further header; may be repeated
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// How the SPC is sent: a form, or the name of a player or service, as listed below
    #[arg(
        long,
        value_name = "NAME",
        default_value = "raw",
        hide_possible_values = true,
        value_parser = PossibleValuesParser::new(wire::choices().map(|profile| profile.name))
    )]
    format: String,
    /// PEM file with the certificates to trust, in place of Mozilla's list
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
    /// How long to wait for an answer, such as 500ms or 10s
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    timeout: Duration,
    /// Ask so many times, one after the other, until one fails
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// Ask once more for each licence, as a player that renews it
    #[arg(long)]
    renew: bool,
    /// Print the content key; without it, the key is left out
    #[arg(long)]
    show_key: bool,
    /// The answer as JSON, on a terminal too
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    expected: Expected,
}

/// What must come back.
#[derive(Args)]
struct Expected {
    /// The content key, in hex or base64; the environment variable or a file keeps it out of the
    /// argument list
    #[arg(
        long,
        value_name = "HEX",
        env = "KEYLET_EXPECT_KEY",
        hide_env_values = true
    )]
    expect_key: Option<String>,
    /// File with the content key that must come back, or `-` for standard input
    #[arg(long, value_name = "FILE")]
    expect_key_file: Option<PathBuf>,
    /// The lease that the licence must have
    #[arg(long, value_name = "SECONDS")]
    expect_lease: Option<u32>,
    /// The HTTP status that must come back; a refusal with it is a success
    #[arg(long, value_name = "STATUS")]
    expect_status: Option<u16>,
    /// The code with which the server must refuse
    #[arg(long, value_name = "CODE")]
    expect_code: Option<String>,
}

/// What follows the options in the help.
pub fn help() -> String {
    let names = |is_player: bool| {
        let named = wire::choices().filter(|profile| profile.player.is_some() == is_player);
        let names: Vec<_> = named.map(|profile| profile.name).collect();
        wrapped(&names)
    };
    format!(
        "\
Forms of --format:
{forms}
Players and services of --format, with their own places for the token:
{players}
The form of the reply is recognised by its content. The exit code is 0 when the licence opened and is as expected, 1 when
nothing could be asked, 2 for the wrong arguments, 3 when the server refused, 4 when no answer came, 5 when
the answer holds no licence for this SPC, and 6 when something else came than was expected.

Examples:
  keylet license http://127.0.0.1:3000/fairplay --asset-id skd://movie-42 --token-file token.jwt
  keylet license https://drm.example/fairplay --asset-id skd://movie-42 --ask-file ask.hex --expect-lease 300
  keylet license https://drm.example/fairplay --asset-id skd://movie-43 --expect-status 403 --expect-code not_entitled
  keylet license https://drm.example/license --certificate fairplay.cer --asset-id movie-42 --format drmtoday
  keylet license https://drm.example/fps --certificate https://drm.example/cert --asset-id movie-42 --format form --token-header x-token --header 'x-tenant: a'
",
        forms = names(false),
        players = names(true),
    )
}

/// Names in lines below each other.
fn wrapped(names: &[&str]) -> String {
    let mut text = String::new();
    let mut column = 0;
    for name in names {
        if column == 0 || column + 1 + name.len() > 96 {
            text.push_str(if column == 0 { " " } else { "\n " });
            column = 1;
        }
        text.push(' ');
        text.push_str(name);
        column += 1 + name.len();
    }
    text.push('\n');
    text
}

pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    check_url(&arguments.url)?;
    let question = Question::from_arguments(arguments)?;
    let certificate_source = match &arguments.certificate {
        Some(source) => source.clone(),
        None => certificate_url(&arguments.url),
    };
    let certificate = match certificate(&certificate_source, &question.client) {
        Ok(certificate) => certificate,
        Err(failure) => {
            let judged = Judged::from_result(Err(&failure), &Expectation::default());
            return show(&judged, arguments, "the certificate: ", false);
        }
    };
    let wrapping = arguments.spc.wrapping(&certificate);
    let key = match &question.configured {
        None => arguments.spc.key(certificate)?,
        Some(settings) => configured_key(settings, &certificate)?,
    };
    let device = SpcOptions {
        // One device asks, however often it does.
        hu: Some(random::bytes()),
        ..arguments.spc.options()?
    };
    // A device always says what it plays; without it no server can give a lease.
    let first = match arguments.spc.state() {
        Some(state) => Some(state),
        None => (!device.has(Tag::MEDIA_PLAYBACK_STATE)).then_some(PlaybackState::FIRST),
    };
    let mut has_licence = false;
    for _ in 0..arguments.repeat {
        let playback = Playback::begin(&mut random::system());
        let renewal = arguments.renew.then_some(Some(PlaybackState::RENEWAL));
        let states = [Some(first), renewal].into_iter().flatten();
        for (is_renewal, state) in [false, true].into_iter().zip(states) {
            let options = &match state {
                Some(state) => device.clone().playing_in(playback.now(), state),
                None => device.clone(),
            };
            let exchange = Exchange {
                url: &arguments.url,
                key: &key,
                wrapping,
                options,
                token: question.token.as_deref().map(String::as_str),
                location: question.location.as_ref(),
                profile: question.profile,
                headers: &arguments.headers,
            };
            let played = exchange.run(&question.client);
            let judged = Judged::from_result(played.as_ref(), &question.expectation);
            let exit_code = show(&judged, arguments, "", is_renewal)?;
            has_licence |= judged.played.is_ok();
            if judged.outcome != Outcome::AsExpected {
                return Ok(exit_code);
            }
        }
    }
    if has_licence && terminal::is_for_people(arguments.json) {
        text::show_unchecked();
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows people sentences, and programs the document. A line about what is wrong goes to standard error.
fn show(
    judged: &Judged<'_>,
    arguments: &Arguments,
    about: &str,
    is_renewal: bool,
) -> Result<ExitCode> {
    if terminal::is_for_people(arguments.json) {
        let asked = text::Asked {
            asset_id: arguments.spc.asset_id(),
            url: &arguments.url,
            about,
            show_key: arguments.show_key,
            is_renewal,
            now: system_time(),
        };
        text::show(judged, &asked);
    } else {
        print(&judged.document(&arguments.format, arguments.show_key)?)?;
        if let Some(line) = judged.complaint() {
            eprintln!("keylet: {about}{line}");
        }
    }
    Ok(judged.outcome.exit_code())
}

/// The question that the arguments make.
struct Question {
    client: Client,
    /// The variables of the deployment, where they are to be used.
    configured: Option<Provided>,
    token: Option<Zeroizing<String>>,
    location: Option<TokenLocation>,
    profile: &'static Profile,
    expectation: Expectation,
}

impl Question {
    fn from_arguments(arguments: &Arguments) -> Result<Self> {
        let roots = arguments.cacert.as_deref().map(read).transpose()?;
        let client = Client::new(arguments.timeout, roots.as_deref());
        let configured = match arguments.configured {
            true => Some(expanded(provided(&[], None)?)?),
            false => None,
        };
        let token = match (&arguments.token_file, &arguments.token) {
            (Some(path), _) => Some(secret(path)?),
            (None, Some(token)) => Some(trimmed(token)),
            (None, None) => match &configured {
                Some(settings) => Some(configured::token(settings).context(
                    match settings.get(KEYS).is_some_and(|keys| !keys.is_empty()) {
                        true => "`token_keys` has no symmetric key to sign a token with",
                        false => "`token_keys` is set neither in the environment nor in `.env`",
                    },
                )?),
                None => None,
            },
        };
        // A variable of a pipeline whose secret is not set is empty.
        let token = token.filter(|token| !token.is_empty());
        let location = match (
            &arguments.token_header,
            &arguments.token_query,
            &arguments.token_member,
        ) {
            (Some(name), ..) if name.eq_ignore_ascii_case("authorization") => {
                Some(TokenLocation::bearer())
            }
            (Some(name), ..) => Some(TokenLocation::Header(name.clone(), TOKEN.to_owned())),
            (_, Some(name), _) => Some(TokenLocation::Parameter(name.clone(), TOKEN.to_owned())),
            (.., Some(name)) => Some(TokenLocation::Member(name.clone())),
            _ => None,
        };
        if location.is_some() && token.is_none() {
            bail!("give the token with --token-file or in KEYLET_TOKEN");
        }
        let expected = &arguments.expected;
        // Where a reply has room for several keys, each has a status of its own.
        let is_stop = arguments.spc.has_stopped()
            && expected.expect_code.is_none()
            && !["envelope", "array"].contains(&arguments.format.as_str());
        let key = match (&expected.expect_key_file, &expected.expect_key) {
            (Some(path), _) => Some(secret(path)?),
            (None, key) => key.as_deref().map(trimmed),
        };
        let key = key.map(|key| {
            let bytes = encoding::fixed::<16>(&key).map(Zeroizing::new);
            bytes.context("the content key that is expected is not 16 bytes in hex or base64")
        });
        Ok(Self {
            client: client.context("--cacert")?,
            configured,
            token,
            location,
            profile: Profile::named(&arguments.format).context("--format")?,
            expectation: Expectation {
                key: key.transpose()?,
                lease: expected.expect_lease,
                status: expected.expect_status.or(is_stop.then_some(204)),
                code: expected.expect_code.clone(),
            },
        })
    }
}

/// The credential of the variables that a certificate belongs to.
fn configured_key(
    settings: &Provided,
    certificate: &ApplicationCertificate,
) -> Result<ApplicationKey> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let mut keys = runtime
        .block_on(configured::application_keys(settings))
        .into_iter();
    keys.find(|key| key.certificate == certificate.der)
        .context("the variables have no credential with an ASk for the server's certificate")
}

/// Reads the argument of `--header`.
pub(super) fn header(argument: &str) -> Result<(String, String)> {
    let (name, value) = argument
        .split_once(':')
        .context("a header is given as NAME: VALUE")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}
