//! `keylet doctor`

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use anyhow::{Context, Result};
use clap::Args;
use keylet::content_key::{self, KeyQuery, SkdRules, seed};
use keylet::encoding;
use keylet::error::Code;
use keylet::fairplay::certificate::ApplicationCertificate;
use keylet::fairplay::credentials;
use keylet::id::Id;
use keylet::licence::{self, LicenceServer};
use keylet::platform;
use keylet::token::{KEYS, POLICIES};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::credentials::{Files, trial};
use super::device::print;
use super::serve::duration;
use super::token::{self, Explained};
use crate::client::Client;
use crate::configured;
use crate::credentials::{CredentialPart, assemble, to_variables};
use crate::device::ApplicationKey;
use crate::doctor::examination::{Examination, keys_by_url};
use crate::doctor::target::Target;
use crate::doctor::{Finding, Report, Severity, Verdict, advice};
use crate::file::{environment, read, secret};
use crate::progress::while_waiting;
use crate::settings::{Settings, expanded};
use crate::terminal::{self, Printable, Screen};
use keylet_host::{Assignment, Provided, fetches_variables, provided};

/// What follows the options in the help.
pub const HELP: &str = "\
The exit code is 0 when an emulated device gets a licence, 1 when something is wrong, and 2 when nothing wrong
was found, and no licence was made for want of an ASk, a token or an asset id. An emulated device cannot show
that the ASk is right, or that Apple's devices trust the certificate: this stays unchecked.

Examples:
  keylet doctor
  keylet doctor fairplay.cer privatekey.pem --ask-file ask.txt
  keylet doctor --url https://drm.example.com --asset-id skd://movie-42 --token-file token.jwt --origin https://tv.example.com
  keylet doctor --spc captured.bin
";

/// What is looked at.
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    files: Files,
    /// A server that runs; without it, the library looks at the settings that a server would have
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// An application variable: name=value, or name=@file
    #[arg(long = "variable", value_name = "NAME=VALUE|NAME=@FILE")]
    variables: Vec<Assignment>,
    /// A runtime configuration file of Spin, for its variables
    #[arg(long, value_name = "FILE")]
    runtime_config_file: Option<PathBuf>,
    /// What a player would ask for [default: the first content key of the settings]
    #[arg(long, value_name = "ID")]
    asset_id: Option<String>,
    /// File with a token that a player would send; the environment variable `KEYLET_TOKEN` has it too
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// An SPC that a device has made, to be opened with the settings' credentials
    #[arg(long, value_name = "FILE")]
    spc: Option<PathBuf>,
    /// The origin of the pages that play
    #[arg(long, value_name = "ORIGIN")]
    origin: Option<String>,
    /// PEM file with the certificates to trust, in place of Mozilla's list
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
    /// How long to wait for an answer, such as 500ms or 10s
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    timeout: Duration,
    /// Ask Widevine's licence service for its certificate, with a signed request
    #[arg(long)]
    ask_services: bool,
    /// Credentials for tests are as they should be: a development certificate is no warning, and the server may
    /// allow them (`fairplay_test_credentials`)
    #[arg(long, alias = "allow-test")]
    development: bool,
    /// The findings as JSON
    #[arg(long)]
    json: bool,
}

/// The environment variable with a token.
const TOKEN: &str = "KEYLET_TOKEN";

pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut report = Report::default();
    arguments.examine(&mut report)?;
    let verdict = report.verdict();
    if arguments.json {
        print(&json!({
            "verdict": verdict,
            "conclusion": report.conclusion(),
            "unchecked": report.unchecked(),
            "findings": report.findings,
        }))?;
    } else {
        show(&report, verdict);
    }
    Ok(match verdict {
        Verdict::Healthy => ExitCode::SUCCESS,
        Verdict::Broken => ExitCode::FAILURE,
        Verdict::Unproven => ExitCode::from(2),
    })
}

impl Arguments {
    fn examine(&self, report: &mut Report) -> Result<()> {
        let mut config = self.runtime_config_file.as_deref();
        if let Some(path) = config
            && fetches_variables(path)?
        {
            report.add(
                Severity::Warning,
                "settings",
                format!("{}: each variable is fetched from another server", path.display()),
                "On WASI 0.2, a licence fetches more than ten of them one after the other.",
                "Put all into one, `settings`: keylet credentials import --format settings. What is there was not looked at here.",
            );
            config = None;
        }
        let mut settings = expanded(provided(&self.variables, config)?)?;
        let from_files = !self.files.paths.is_empty();
        if from_files && !self.add_files(&mut settings, report)? {
            return Ok(());
        }
        let given = match &self.token_file {
            Some(path) => Some(secret(path)?),
            None => environment(TOKEN),
        };
        let given = given.filter(|token| !token.is_empty());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let mut known = runtime.block_on(configured::application_keys(&settings));
        if let Some(what) = runtime.block_on(configured::decryption(&settings)) {
            report.add(
                Severity::Warning,
                "private_key",
                what,
                "An instance that is created for one request decrypts the key for each licence.",
                "Store it decrypted in a store that encrypts: keylet credentials import --decrypt, or --format vault.",
            );
        }
        let proven = match &self.spc {
            Some(path) => runtime.block_on(Self::captured(path, &settings, report))?,
            None => None,
        };

        let target = match &self.url {
            Some(url) => {
                let target = Target::there(url, self.client()?)?;
                if known.is_empty() {
                    known.extend(self.of_server(&target));
                }
                target
            }
            None => {
                runtime.block_on(passed_over(&settings, report));
                // Without a token the settings' own keys sign one, or else keys that stand in for them.
                if given.is_none() && configured::token(&settings).is_none() {
                    self.stand_in(&mut settings, from_files, report);
                }
                let sources = [content_key::VARIABLE, seed::VARIABLE];
                let has_keys = sources.iter().any(|name| settings.contains_key(*name));
                if !has_keys && from_files {
                    settings.extend(
                        trial(self.asset_id.as_deref().unwrap_or("keylet-doctor"))
                            .into_iter()
                            .filter(|(name, _)| name == content_key::VARIABLE),
                    );
                }
                Target::here(Settings(settings.clone()))?
            }
        };
        let warnings = given
            .iter()
            .flat_map(|text| token::warnings(text, platform::system_time()));
        for warning in warnings {
            report.add(
                Severity::Warning,
                "token",
                warning,
                "A token that leaks is good until it ends.",
                "Have the issuer set `exp` to a few minutes or hours from now, in seconds.",
            );
        }
        if let (Some(token), None) = (&given, &self.url) {
            runtime.block_on(explained(
                &settings,
                token,
                self.asset_id.as_deref(),
                report,
            ));
        }
        let content_key = content_key_of(&settings, self.asset_id.as_deref());
        let (asset_id, content_key) = content_key.unzip();
        let asset_id = self.asset_id.clone().or(asset_id);
        let token = given.or_else(|| configured::token(&settings));
        let examination = Examination {
            target: &target,
            known: &known,
            token: token.as_deref().map(String::as_str),
            asset_id: asset_id.as_deref(),
            content_key: content_key
                .as_ref()
                .map(|key: &Zeroizing<Vec<u8>>| key.as_slice()),
            origin: self.origin.as_deref(),
            ask_services: self.ask_services,
            allow_test: self.development,
            proven: proven.as_deref(),
        };
        while_waiting("looking", || examination.run(report));
        Ok(())
    }

    fn client(&self) -> Result<Client> {
        let roots = self.cacert.as_deref().map(read).transpose()?;
        Client::new(self.timeout, roots.as_deref()).context("--cacert")
    }

    /// Replaces the credentials of the settings by those of files. `false` when the files have none.
    fn add_files(&self, settings: &mut Provided, report: &mut Report) -> Result<bool> {
        let assembled = assemble(&self.files.groups()?);
        for line in &assembled.report {
            report.ok("files", line);
        }
        for problem in &assembled.problems {
            let (check, (why, remedy)) = of_files(problem.part);
            report.add(Severity::Error, check, problem.to_string(), why, remedy);
        }
        if assembled.credentials.is_empty() {
            if assembled.problems.is_empty() {
                report.add(
                    Severity::Error,
                    "certificate",
                    "there is no certificate with its private key in these files",
                    "FairPlay begins with both.",
                    "Name the certificate that Apple's portal answered with, and the private key of its request.",
                );
            }
            return Ok(false);
        }
        settings.retain(|name, _| !name.starts_with("fairplay_") || name == "fairplay_rules");
        settings.extend(to_variables(&assembled.credentials, false)?);
        settings.insert(
            credentials::TEST_CREDENTIALS.to_owned(),
            self.development.to_string(),
        );
        Ok(true)
    }

    /// Replaces the keys that verify tokens, so that a token can be made.
    fn stand_in(&self, settings: &mut Provided, from_files: bool, report: &mut Report) {
        let names = ["token_keys", "token_issuer", "token_audience"];
        let is_configured = settings.contains_key(POLICIES) || settings.contains_key(names[0]);
        if !is_configured && !from_files {
            // The health of the settings reports that every token is refused.
            return;
        }
        if is_configured {
            // Report what is wrong with them before they are replaced.
            let target = Target::here(Settings(settings.clone())).ok();
            let health = target.as_ref().and_then(Target::health);
            if health.is_some_and(|health| !health.problems.is_empty()) {
                return;
            }
            if let Some(target) = &target {
                keys_by_url(target, report);
            }
            report.add(
                Severity::Unchecked,
                "token",
                "the settings verify tokens and cannot make one, so a key of this program stands in for theirs",
                "Whether your tokens are taken was not looked at.",
                "Give one: --token-file, or KEYLET_TOKEN.",
            );
        }
        settings.remove(POLICIES);
        settings.remove("dialects");
        let stand_in = trial("keylet-doctor");
        settings.extend(
            stand_in
                .into_iter()
                .filter(|(name, _)| names.contains(&name.as_str())),
        );
    }

    /// Opens an SPC with the settings' credentials. Returns the certificate of the one whose ASk is confirmed.
    async fn captured(
        path: &Path,
        settings: &Provided,
        report: &mut Report,
    ) -> Result<Option<Vec<u8>>> {
        let spc = read(path)?;
        let text = std::str::from_utf8(&spc).ok();
        let spc = match text.and_then(encoding::base64) {
            Some(decoded) => decoded.to_vec(),
            None => spc,
        };
        let licences = LicenceServer::new(Settings(settings.clone()));
        let name = path.display();
        let (code, reason) = match licences.inspect(&spc).await {
            Ok(explained) if explained["integrity"] == "confirmed" => {
                report.ok(
                    "spc",
                    format!("{name}: it opens, and its integrity is confirmed"),
                );
                let name = explained["spc"]["credential"].as_str().unwrap_or_default();
                return Ok(configured::certificate(settings, name).await);
            }
            Ok(explained) => {
                let reason = explained["integrity"].as_str().unwrap_or_default();
                (Code::SPC_INTEGRITY, reason.to_owned())
            }
            // It is reported with the rest of the settings.
            Err(licence::Error::Settings(_)) => return Ok(None),
            Err(error) => (error.code(), error.to_string()),
        };
        let (why, remedy) = advice::of_refusal(code.name);
        let what = format!("{name}: {}: {reason}", code.name);
        report.add(Severity::Error, "spc", what, why, remedy);
        Ok(None)
    }

    /// The certificate of a server, with the ASk that was given.
    fn of_server(&self, target: &Target) -> Option<ApplicationKey> {
        let ask = self.files.ask().ok().flatten()?;
        let answer = target
            .send(http::Request::get("/"), "/fairplay/certificate", &[])
            .ok()?;
        let found = ApplicationCertificate::from_der(answer.into_body()).ok()?;
        Some(ApplicationKey {
            certificate: found.der,
            ask: (*ask).into(),
            is_dask: false,
        })
    }
}

/// The id and the key that an asset id reaches; without one, those of the first record, or a key of the seed.
fn content_key_of(
    settings: &Provided,
    asset_id: Option<&str>,
) -> Option<(String, Zeroizing<Vec<u8>>)> {
    record_of(settings, asset_id).or_else(|| derived_key_of(settings, asset_id))
}

/// A key that is derived from the seed: of the KID that an asset id has, or one for the doctor.
fn derived_key_of(
    settings: &Provided,
    asset_id: Option<&str>,
) -> Option<(String, Zeroizing<Vec<u8>>)> {
    let seeds = seed::read(settings.get(seed::VARIABLE)?).ok()?;
    let id = match asset_id {
        Some(id) => id.to_owned(),
        None => {
            let content = Id::from_text("keylet-doctor")?;
            seeds.first()?.make_kid(&content, 0, None).to_string()
        }
    };
    let key = seed::derive(&seeds, &KeyQuery::from_id(Id::from_text(&id)?))?;
    Some((id, Zeroizing::new(key.key.expose().to_vec())))
}

fn record_of(settings: &Provided, asset_id: Option<&str>) -> Option<(String, Zeroizing<Vec<u8>>)> {
    let json = settings.get(content_key::VARIABLE)?;
    let keys = content_key::read_all(json).ok()?;
    let records: Vec<Value> = serde_json::from_str(json).ok()?;
    let first = records.first()?["id"].as_str()?.to_owned();
    let id = asset_id.map_or(first, ToOwned::to_owned);
    let query = KeyQuery::from_id(Id::from_text(&id)?);
    let by_rule = || {
        let rules = SkdRules::from_json(settings.get(content_key::SKD_RULES)?).ok()?;
        keys.find(&rules.read(&query)?)
    };
    let record = keys.find(&query).or_else(by_rule)?;
    Some((id, Zeroizing::new(record.key.expose().to_vec())))
}

/// Which of the keys in the settings verify no token. What does not load is reported with the rest of the settings.
async fn passed_over(settings: &Provided, report: &mut Report) {
    let licences = LicenceServer::new(Settings(settings.clone()));
    let Ok(policies) = licences.policies().await else {
        return;
    };
    let is_one = !settings.contains_key(POLICIES);
    for option in policies.options() {
        let check = if is_one { KEYS } else { POLICIES };
        for key in option.passed_over() {
            let what = match is_one {
                true => format!("passed over: {key}"),
                false => format!("option {:?}: passed over: {key}", option.name),
            };
            report.add(
                Severity::Warning,
                check,
                what,
                "A token that this key signs is refused.",
                "Nothing, if it signs no tokens. Otherwise have the issuer sign with an algorithm of the README.",
            );
        }
    }
}

/// What the settings make of a token.
async fn explained(settings: &Provided, text: &str, asset_id: Option<&str>, report: &mut Report) {
    let explained: Result<Explained> = token::explain(settings, text, asset_id).await;
    let Ok(explained) = explained else {
        // The settings do not load, which their health says.
        return;
    };
    let policy = &explained.document["policy"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if explained.is_good {
        let option = match policy["option"].as_str() {
            Some(option) => format!("the option {option:?} takes it"),
            None => "it is taken".to_owned(),
        };
        report.ok("token", option);
        return;
    }
    let refused = [&explained.document["allows"][0], policy]
        .into_iter()
        .find(|part| part["code"].is_string());
    let refused = refused.unwrap_or(policy);
    let (why, remedy) = advice::of_refusal(&text(&refused["code"]));
    let hints = explained.document["hints"]
        .as_array()
        .into_iter()
        .flatten()
        .map(text);
    let what = format!(
        "the token is refused with {}: {}",
        text(&refused["code"]),
        text(&refused["reason"])
    );
    let what = hints.fold(what, |what, hint| format!("{what}; {hint}"));
    report.add(Severity::Error, "token", what, why, remedy);
}

/// The check that a problem of files belongs to, and advice: as for the variable that would hold the part.
fn of_files(part: CredentialPart) -> (&'static str, advice::Advice) {
    use keylet::configuration::SettingErrorKind::{Malformed, Mismatch};
    let (kind, variable) = match part {
        CredentialPart::Certificate => (Malformed, credentials::CERTIFICATE),
        CredentialPart::PrivateKey => (Mismatch, credentials::PRIVATE_KEY),
        CredentialPart::Password => (Mismatch, credentials::PRIVATE_KEY_PASSWORD),
        CredentialPart::Ask => (Malformed, credentials::ASK),
    };
    advice::of_setting(Some(kind), variable, None)
}

fn show(report: &Report, verdict: Verdict) {
    let mut out = terminal::stdout();
    let mut told = Told::default();
    for finding in &report.findings {
        show_one(&mut out, finding, &mut told);
    }
    let colour = match verdict {
        Verdict::Healthy => AnsiColor::Green,
        Verdict::Unproven => AnsiColor::Yellow,
        Verdict::Broken => AnsiColor::Red,
    };
    let style = Style::new().fg_color(Some(colour.into())).bold();
    let conclusion = out.fitted(&report.conclusion(), 0);
    let _ = writeln!(out);
    out.styled(style, conclusion);
    let _ = writeln!(out);
}

/// What was told already: no sentence is told twice.
#[derive(Default)]
struct Told<'a>(Vec<&'a str>);

impl<'a> Told<'a> {
    fn is_new(&mut self, sentence: &'a str) -> bool {
        let is_new = !self.0.contains(&sentence);
        if is_new {
            self.0.push(sentence);
        }
        is_new
    }
}

fn show_one<'a>(out: &mut Screen, finding: &'a Finding, told: &mut Told<'a>) {
    /// Columns of the words for severities, and of what stands below them.
    const INDENT: usize = 10;
    let (word, style) = match finding.severity {
        Severity::Ok => ("ok", Style::new().fg_color(Some(AnsiColor::Green.into()))),
        Severity::Unchecked => ("unchecked", Style::new().dimmed()),
        Severity::Warning => (
            "warning",
            Style::new().fg_color(Some(AnsiColor::Yellow.into())),
        ),
        Severity::Error => (
            "ERROR",
            Style::new().fg_color(Some(AnsiColor::Red.into())).bold(),
        ),
    };
    out.styled(style, format_args!("{word:<9}"));
    // What a server says is in it.
    let what = Printable::new(&finding.what).to_string();
    // A problem of a variable begins with its name, which may be that of the check.
    let is_named = what.starts_with(&format!("{}: ", finding.check));
    let what = match is_named {
        true => what,
        false => format!("{}: {what}", finding.check),
    };
    let _ = writeln!(out, " {}", out.fitted(&what, INDENT));
    for (label, text) in [("why", &finding.why), ("do", &finding.remedy)] {
        if !text.is_empty() && finding.severity != Severity::Ok && told.is_new(text) {
            let text = format!("{label}: {}", Printable::new(text));
            let _ = writeln!(out, "{:INDENT$}{}", "", out.fitted(&text, INDENT));
        }
    }
}
