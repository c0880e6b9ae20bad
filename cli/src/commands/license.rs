//! `keylet license`

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
use keylet::token::KEYS;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::device::{SpcArguments, certificate, print, read, secret};
use super::serve::duration;
use super::without_line_break;
use crate::client::{Client, Exchange, Failure, Played, Refusal, certificate_url};
use crate::configured;
use crate::device::{self, ApplicationKey, Playback, SpcOptions};
use crate::random;
use crate::settings::expanded;
use crate::terminal::Printable;
use crate::wire::{self, Profile, TOKEN, TokenLocation};
use keylet_host::{Provided, provided};

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

/// What became of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// A licence opened, or a refusal came that was wanted.
    AsExpected,
    /// Nothing was asked.
    NotAsked,
    /// The server gave no licence.
    Refused,
    /// No answer came.
    Unreachable,
    /// The answer holds no licence for this SPC.
    Unreadable,
    /// Something else came than was expected.
    Mismatch,
}

impl Outcome {
    fn name(self) -> &'static str {
        match self {
            Self::AsExpected => "as_expected",
            Self::NotAsked => "not_asked",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Unreadable => "unreadable",
            Self::Mismatch => "mismatch",
        }
    }

    /// 2 is that of wrong arguments.
    fn exit_code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::AsExpected => 0,
            Self::NotAsked => 1,
            Self::Refused => 3,
            Self::Unreachable => 4,
            Self::Unreadable => 5,
            Self::Mismatch => 6,
        })
    }
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
    let question = Question::from_arguments(arguments)?;
    let certificate_source = match &arguments.certificate {
        Some(source) => source.clone(),
        None => certificate_url(&arguments.url),
    };
    let certificate = match certificate(&certificate_source, &question.client) {
        Ok(certificate) => certificate,
        Err(failure) => {
            let judged = Judged::from_result(Err(&failure), &Expectation::default());
            return judged.show(arguments, "the certificate: ");
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
    for _ in 0..arguments.repeat {
        let playback = Playback::begin(&mut random::system());
        let renewal = arguments.renew.then_some(Some(PlaybackState::RENEWAL));
        for state in [Some(first), renewal].into_iter().flatten() {
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
            let exit_code = judged.show(arguments, "")?;
            if judged.outcome != Outcome::AsExpected {
                return Ok(exit_code);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
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
            (None, Some(token)) => Some(without_line_break(token)),
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
            (None, key) => key.as_deref().map(without_line_break),
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

/// What is expected, read.
#[derive(Default)]
struct Expectation {
    key: Option<Zeroizing<[u8; 16]>>,
    lease: Option<u32>,
    status: Option<u16>,
    code: Option<String>,
}

impl Expectation {
    fn wants_refusal(&self) -> bool {
        self.code.is_some() || self.status.is_some_and(|status| status != 200)
    }

    /// What of a licence is not as expected.
    fn of_licence(&self, played: &Played) -> Vec<String> {
        let mut mismatches = Vec::new();
        if self.wants_refusal() {
            mismatches.push("a licence came, and a refusal was expected".to_owned());
        }
        if let Some(key) = &self.key
            && played.licence.key != key[..]
        {
            mismatches.push("the content key is another one than expected".to_owned());
        }
        let lease = match played.licence.duration {
            Some(
                device::Duration::Lease { lease_seconds }
                | device::Duration::LeaseAndRental { lease_seconds, .. },
            ) => Some(lease_seconds),
            _ => None,
        };
        if let Some(expected) = self.lease
            && lease != Some(expected)
        {
            let lease = lease.map_or("none".to_owned(), |seconds| format!("{seconds} seconds"));
            mismatches.push(format!("the lease is {lease}, not {expected} seconds"));
        }
        mismatches
    }

    /// What of a refusal is not as expected.
    fn of_refusal(&self, refusal: &Refusal) -> Vec<String> {
        let mut mismatches = Vec::new();
        if let Some(status) = self
            .status
            .filter(|status| *status != refusal.answer.status)
        {
            mismatches.push(format!(
                "the status is {}, not {status}",
                refusal.answer.status
            ));
        }
        if let Some(code) = &self.code
            && refusal.code.as_ref().map(Printable::as_str) != Some(code)
        {
            mismatches.push(match &refusal.code {
                Some(actual) => format!("the code is {actual}, not {code}"),
                None => format!("there is no code, and {code} was expected"),
            });
        }
        mismatches
    }
}

/// What became of a question, beside what was expected.
struct Judged<'a> {
    outcome: Outcome,
    played: Result<&'a Played, &'a Failure>,
    mismatches: Vec<String>,
}

impl<'a> Judged<'a> {
    fn from_result(played: Result<&'a Played, &'a Failure>, expectation: &Expectation) -> Self {
        let (outcome, mismatches) = match played {
            Ok(played) => {
                let mismatches = expectation.of_licence(played);
                (Outcome::AsExpected, mismatches)
            }
            Err(Failure::Refused(refusal)) if expectation.wants_refusal() => {
                (Outcome::AsExpected, expectation.of_refusal(refusal))
            }
            Err(Failure::Refused(_)) => (Outcome::Refused, Vec::new()),
            Err(Failure::Request(_)) => (Outcome::NotAsked, Vec::new()),
            Err(Failure::Unreachable(_)) => (Outcome::Unreachable, Vec::new()),
            Err(Failure::Unreadable(..)) => (Outcome::Unreadable, Vec::new()),
        };
        Self {
            outcome: match mismatches.is_empty() {
                true => outcome,
                false => Outcome::Mismatch,
            },
            played,
            mismatches,
        }
    }

    /// Writes the document to standard output, and a line about what is wrong to standard error.
    fn show(&self, arguments: &Arguments, about: &str) -> Result<ExitCode> {
        print(&self.document(arguments)?)?;
        let line = match (self.played, self.mismatches.as_slice()) {
            (Err(failure), []) => {
                (self.outcome != Outcome::AsExpected).then(|| failure.to_string())
            }
            (_, []) => None,
            (Ok(_), mismatches) => Some(mismatches.join("; ")),
            (Err(failure), mismatches) => Some(format!("{}: {failure}", mismatches.join("; "))),
        };
        if let Some(line) = line {
            eprintln!("keylet: {about}{line}");
        }
        Ok(self.outcome.exit_code())
    }

    fn document(&self, arguments: &Arguments) -> Result<Value> {
        let mut document = Map::new();
        document.insert("outcome".to_owned(), self.outcome.name().into());
        document.insert("format".to_owned(), arguments.format.as_str().into());
        let mut add = |members: Value| {
            if let Value::Object(members) = members {
                document.extend(members);
            }
        };
        match self.played {
            Ok(played) => {
                add(json!({ "reply": played.form }));
                add(serde_json::to_value(&played.answer)?);
                let mut licence = serde_json::to_value(&played.licence)?;
                if let (false, Some(licence)) = (arguments.show_key, licence.as_object_mut()) {
                    licence.remove("key");
                }
                add(json!({ "licence": licence }));
            }
            Err(Failure::Refused(refusal)) => add(serde_json::to_value(refusal)?),
            Err(failure) => {
                if let Failure::Unreadable(answer, _) = failure {
                    add(serde_json::to_value(answer)?);
                }
                add(json!({ "reason": failure.to_string() }));
            }
        }
        if !self.mismatches.is_empty() {
            add(json!({ "mismatches": self.mismatches }));
        }
        Ok(document.into())
    }
}

/// Reads the argument of `--header`.
fn header(argument: &str) -> Result<(String, String)> {
    let (name, value) = argument
        .split_once(':')
        .context("a header is given as NAME: VALUE")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}
