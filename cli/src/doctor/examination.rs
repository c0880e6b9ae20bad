//! The checks, in the order in which a licence comes about.

use std::time::{Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, AsHeaderName, CACHE_CONTROL, CONTENT_TYPE, DATE,
    ETAG, ORIGIN,
};
use http::{Method, Request, Response, StatusCode};
use keylet::error::Code;
use keylet::fairplay::certificate::ApplicationCertificate;
use keylet::fairplay::client::PlaybackState;
use keylet::fairplay::spc::Version;
use keylet::platform;
use keylet::service::CODE_HEADER;
use keylet::token::{KEYS, LEEWAY, POLICIES};
use serde_json::Value;

use super::target::Target;
use super::{EXCHANGE, Report, Severity, UNCHECKED, advice, certificate};
use crate::client::{Stage, Unreachable};
use crate::device::{ApplicationKey, Licence, Playback, SpcOptions, Wrapping, oldest_version};
use crate::random;
use crate::wire::{self, Form};

/// Where a server that has no other opinion has its licences.
const LICENCE: &str = "/fairplay";

/// A player's request for the certificate of Widevine's licence service.
const CERTIFICATE_REQUEST: [u8; 2] = [0x08, 0x04];

/// The check of that service.
const WIDEVINE: &str = "widevine";

/// Capabilities of a device that can all that a server may ask for: the offline key, HDCP type 1.
const CAPABILITIES: u64 = 0b11;

/// What is looked at, and what is at hand for it.
pub struct Examination<'a> {
    /// The server.
    pub target: &'a Target,
    /// Credentials whose application secret key is known: certificates and ASks.
    pub known: &'a [ApplicationKey],
    /// A token that the server should take.
    pub token: Option<&'a str>,
    /// What a player would ask for.
    pub asset_id: Option<&'a str>,
    /// The key that should come, if that is known.
    pub content_key: Option<&'a [u8]>,
    /// The origin of a page that plays.
    pub origin: Option<&'a str>,
    /// Whether licence services are asked too.
    pub ask_services: bool,
    /// That credentials are for tests is as it should be.
    pub allow_test: bool,
    /// The certificate of the credential whose ASk opened an SPC that was given.
    pub proven: Option<&'a [u8]>,
}

impl Examination<'_> {
    /// Looks at everything.
    pub fn run(&self, report: &mut Report) {
        let before = report.findings.len();
        if let Err(error) = self.connection(report) {
            let what = format!("{error:#}");
            let is_tls = error
                .downcast_ref()
                .is_some_and(|error: &Unreachable| error.stage == Stage::Tls);
            let (check, why, remedy) = if is_tls {
                (
                    "tls",
                    "Players refuse a server whose TLS certificate does not hold.",
                    "Renew the certificate, or have the server send the whole chain.",
                )
            } else {
                (
                    "reachable",
                    "Players cannot reach it either, unless they are elsewhere.",
                    "Compare address, port and firewall; see that it runs.",
                )
            };
            report.add(Severity::Error, check, what, why, remedy);
            return;
        }
        let credentials = self.health(report);
        let mut is_known = false;
        for name in &credentials {
            match self.certificate(name, report) {
                Ok(found) => {
                    is_known |= self
                        .known
                        .iter()
                        .any(|known| known.certificate == found.der);
                    if self.exchanges(name, &found, report) {
                        self.unproven(name, &found, report);
                    }
                }
                Err(error) => report.add(
                    Severity::Error,
                    "certificate",
                    format!("{name}: {error:#}"),
                    "Players begin with the certificate.",
                    "See that /fairplay/certificate answers with DER.",
                ),
            }
        }
        if !(is_known || credentials.is_empty() || self.known.is_empty()) {
            report.add(
                Severity::Error,
                "certificate",
                "the server has none of the certificates that were given here",
                "Players that have one of these name a hash that this server does not know (-42605).",
                "Deploy the same credential in both places, or add this one to `fairplay_credentials`.",
            );
        }
        self.cors(report);
        self.unguarded(report);
        if self.ask_services {
            self.license_services(report);
        }
        if self.allow_test {
            for finding in report.findings.iter_mut().skip(before) {
                if finding.check == "test_credentials" {
                    finding.severity = Severity::Ok;
                    finding.why.clear();
                    finding.remedy.clear();
                }
            }
        }
    }

    /// Whether it can be reached, safely, and whether its clock is right.
    fn connection(&self, report: &mut Report) -> Result<()> {
        let Some(url) = self.target.url() else {
            return Ok(());
        };
        let before = SystemTime::now();
        let answer = self.target.send(Request::get("/"), "/", &[])?;
        let host = url.split("://").nth(1).unwrap_or_default();
        let is_local = ["localhost", "127.", "[::1]"]
            .iter()
            .any(|local| host.starts_with(local));
        if url.starts_with("https:") {
            report.ok(
                "tls",
                format!("{url} has a certificate that is trusted here"),
            );
        } else if is_local {
            report.ok("tls", format!("{url} is this machine, without TLS"));
        } else {
            report.add(
                Severity::Error,
                "tls",
                format!("{url} is reached without TLS"),
                "Tokens can be read on the way, and App Transport Security and browsers refuse to ask.",
                "Put it behind TLS: docs/deploy has how.",
            );
        }
        match httpdate::parse_http_date(header(&answer, DATE)) {
            Ok(date) => {
                let now = before.max(date);
                let skew = now
                    .duration_since(before.min(date))
                    .unwrap_or_default()
                    .as_secs();
                if skew > LEEWAY {
                    report.add(
                        Severity::Error,
                        "clock",
                        format!("its clock and this one are {skew} seconds apart"),
                        format!("Tokens are judged by the server's clock, and {LEEWAY} seconds are passed over: fresh ones are refused as expired, or not valid yet."),
                        "Have both synchronise their clocks (NTP).",
                    );
                } else {
                    report.ok(
                        "clock",
                        format!("its clock and this one are {skew} seconds apart"),
                    );
                }
            }
            Err(_) => report.add(
                Severity::Unchecked,
                "clock",
                "it does not say what time it is",
                "Tokens are judged by the server's clock.",
                "Compare it by hand.",
            ),
        }
        Ok(())
    }

    /// What the server says of its configuration: the names of its credentials.
    fn health(&self, report: &mut Report) -> Vec<String> {
        let Some(health) = self.target.health() else {
            report.add(
                Severity::Unchecked,
                "configuration",
                "it has no /healthz of this server",
                "Whether its configuration loads cannot be asked.",
                "If this is Keylet, see that /healthz is not kept back on the way.",
            );
            return vec!["default".to_owned()];
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        for problem in &health.problems {
            let (check, (why, remedy)) =
                advice::of_setting(problem.kind(), &problem.variable, problem.member.as_deref());
            report.add(Severity::Error, check, problem.to_string(), why, remedy);
        }
        let document = health.document;
        if document["status"] != "ok" {
            return Vec::new();
        }
        report.ok("configuration", "it loads");
        if document["test_credentials"] == true {
            report.add(
                Severity::Error,
                "test_credentials",
                "`fairplay_test_credentials` is on",
                "The private key of the SDK's development certificate is published: anyone who has it can get every content key.",
                "Unset it wherever content is at stake.",
            );
        }
        match self.target.store().as_deref() {
            Some("unavailable") => report.add(
                Severity::Warning,
                "store",
                "the key-value store does not answer",
                "Licences with terms that count are refused, or not counted where `store_failure` is `allow`.",
                "See that the store runs and that the server may reach it: docs/store.md.",
            ),
            Some("available") => report.ok("store", "the key-value store answers"),
            Some(_) => {}
            None => report.add(
                Severity::Warning,
                "store",
                "the server does not say in time whether its key-value store answers",
                "A store that is away holds up licences with terms that count: on WASI 0.2 as long as the host waits.",
                "See that the store runs and that the server may reach it: docs/store.md.",
            ),
        }
        keys_by_url(self.target, report);
        let credentials = document["fairplay"].as_array().into_iter().flatten();
        credentials
            .map(|credential| {
                let name = text(&credential["name"]);
                if credential["licences"] == false {
                    let (why, remedy) = advice::of_refusal("ask_missing");
                    report.add(
                        Severity::Error,
                        "ask",
                        format!("{name}: it has no ASk"),
                        why,
                        remedy,
                    );
                }
                name
            })
            .collect()
    }

    /// What the licences of an emulated device do not show.
    fn unproven(&self, name: &str, found: &ApplicationCertificate, report: &mut Report) {
        let [(ask, _), (trust, _)] = UNCHECKED;
        if self.proven == Some(&found.der) {
            report.ok(
                ask,
                format!("{name}: the SPC that was given opens with it; if an Apple device made that SPC, the ASk is right"),
            );
        } else {
            report.add(
                Severity::Unchecked,
                ask,
                format!("{name}: the ASk is not proved, since the emulated device has the same one"),
                "If the ASk is not the one that Apple issued with the certificate, no Apple device can use a licence.",
                "Give an SPC of an Apple device with --spc FILE, or play once on such a device.",
            );
        }
        report.add(
            Severity::Unchecked,
            trust,
            format!("{name}: no Apple device was asked whether it trusts the certificate"),
            "Apple's devices take only certificates that Apple issued for FairPlay and has not revoked.",
            "Play once on an Apple device.",
        );
    }

    /// The certificate as players get it.
    fn certificate(&self, name: &str, report: &mut Report) -> Result<ApplicationCertificate> {
        let path = format!("/fairplay/certificate/{name}");
        let mut answer = self.target.send(Request::get("/"), &path, &[])?;
        if answer.status() == StatusCode::NOT_FOUND {
            answer = self
                .target
                .send(Request::get("/"), "/fairplay/certificate", &[])?;
        }
        ensure!(
            answer.status() == StatusCode::OK,
            "the certificate's route answers {}",
            refusal(&answer)
        );
        let found = ApplicationCertificate::from_der(answer.body().clone()).map_err(|error| {
            anyhow::anyhow!("what the certificate's route answers is no certificate: {error}")
        })?;
        certificate::examine(
            name,
            &found,
            self.allow_test,
            platform::system_time(),
            report,
        )?;
        let caching = header(&answer, CACHE_CONTROL);
        if caching.contains("no-store") || (caching.is_empty() && header(&answer, ETAG).is_empty())
        {
            report.add(
                Severity::Warning,
                "caching",
                format!("{name}: the certificate is not cached"),
                "Every playback loads it anew before it can begin.",
                "Let `cache-control` of /fairplay/certificate through.",
            );
        } else {
            report.ok(
                "caching",
                format!("{name}: the certificate is served with `{caching}`"),
            );
        }
        Ok(found)
    }

    /// A whole exchange in every version that the certificate is good for. Returns whether one gave a licence.
    fn exchanges(&self, name: &str, found: &ApplicationCertificate, report: &mut Report) -> bool {
        let mut not_played = |want: &str, remedy: &str| {
            report.add(
                Severity::Unchecked,
                EXCHANGE,
                format!("{name}: no device was played, for want of {want}"),
                "Only a whole exchange shows that certificate, key, ASk, token and content key belong together.",
                remedy,
            );
        };
        let mut known = self.known.iter();
        let Some(key) = known.find(|known| known.certificate == found.der) else {
            not_played(
                "its ASk",
                "Give the ASk (--ask-file, KEYLET_ASK), or the credential's files.",
            );
            return false;
        };
        let (Some(token), Some(asset_id)) = (self.token, self.asset_id) else {
            let want = match self.token {
                None => "a token",
                Some(_) => "an asset id",
            };
            not_played(
                want,
                "Give a token (--token-file, KEYLET_TOKEN) and --asset-id.",
            );
            return false;
        };
        let wrappings: &[(&str, Wrapping)] = match found.certificates.as_slice() {
            [one] if one.bits() == 1024 => &[("1", Wrapping::Version(Version::V1))],
            [_] => &[
                ("2", Wrapping::Version(Version::V2)),
                ("3", Wrapping::Version(Version::V3)),
            ],
            _ => &[
                (
                    "1, of a system that knows no bundles",
                    Wrapping::WholeBundle,
                ),
                ("2", Wrapping::Version(Version::V2)),
                ("3", Wrapping::Version(Version::V3)),
            ],
        };
        let mut has_licence = false;
        for (version, wrapping) in wrappings {
            let label = format!("{name}, SPC version {version}");
            match self.exchange(&label, key, *wrapping, token, asset_id, report) {
                Ok(is_licence) => has_licence |= is_licence,
                Err(error) => report.add(
                    Severity::Error,
                    EXCHANGE,
                    format!("{label}: {error:#}"),
                    "The device gets no licence that it can use.",
                    "See what stands between players and the server: what it sends must arrive as it was sent.",
                ),
            }
        }
        has_licence
    }

    fn exchange(
        &self,
        label: &str,
        key: &ApplicationKey,
        wrapping: Wrapping,
        token: &str,
        asset_id: &str,
        report: &mut Report,
    ) -> Result<bool> {
        let options = SpcOptions::new(asset_id)
            .playing_in(Playback::begin(&mut random::system()), PlaybackState::FIRST)
            .capable(CAPABILITIES);
        let (spc, secrets) = key.spc(wrapping, &options, &mut random::system())?;
        let request = Request::post("/")
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(AUTHORIZATION, format!("Bearer {token}"));
        let began = Instant::now();
        let answer = self.target.send(request, LICENCE, &spc)?;
        let took = began.elapsed();
        if answer.status() != StatusCode::OK {
            let code = code(&answer);
            let (why, remedy) = advice::of_refusal(&code);
            let check = match code.as_str() {
                code if code.starts_with("token_") || code == "not_entitled" => "token",
                "key_not_found" => "content_keys",
                "ask_missing" => "ask",
                _ => EXCHANGE,
            };
            report.add(
                Severity::Error,
                check,
                format!("{label}: {}", refusal(&answer)),
                why,
                remedy,
            );
            return Ok(false);
        }
        // What asks with bytes reads bytes, or at most base64.
        let (Form::Raw | Form::Base64, wire::Key::Ckc(ckc)) = wire::read(answer.body())? else {
            bail!("the answer is neither a CKC nor base64 of one");
        };
        let licence =
            Licence::open(&ckc, &secrets).context("the CKC does not open on the device")?;
        if self.content_key.is_some_and(|key| key != licence.key) {
            bail!("another content key came than the one that is configured");
        }
        let time = match self.target.url() {
            Some(_) => format!(" in {} ms", took.as_millis()),
            None => String::new(),
        };
        report.ok(
            EXCHANGE,
            format!("{label}: an emulated device got a licence for {asset_id}{time}"),
        );
        if !header(&answer, CACHE_CONTROL).contains("no-store") {
            report.add(
                Severity::Warning,
                "caching",
                format!("{label}: the licence came without `cache-control: no-store`"),
                "A cache on the way may give one viewer's licence to another, who cannot use it.",
                "Let `cache-control` of /fairplay through, and cache nothing of it.",
            );
        }
        Ok(true)
    }

    /// Whether a page may read what the server answers.
    fn cors(&self, report: &mut Report) {
        let Some(origin) = self.origin else { return };
        let request = Request::builder()
            .method(Method::OPTIONS)
            .uri("/")
            .header(ORIGIN, origin)
            .header(ACCESS_CONTROL_REQUEST_METHOD, "POST")
            .header(ACCESS_CONTROL_REQUEST_HEADERS, "authorization,content-type");
        let allowed = self.target.send(request, LICENCE, &[]).is_ok_and(|answer| {
            let origins = header(&answer, ACCESS_CONTROL_ALLOW_ORIGIN);
            answer.status().is_success()
                && (origins == "*" || origins == origin)
                && header(&answer, ACCESS_CONTROL_ALLOW_HEADERS)
                    .to_ascii_lowercase()
                    .contains("authorization")
        });
        match allowed {
            true => report.ok("cors", format!("pages of {origin} may ask")),
            false => report.add(
                Severity::Error,
                "cors",
                format!("pages of {origin} may not ask"),
                "Browsers keep licences from pages of other origins; the player reports a network error without a cause.",
                "Add the origin to `cors_origins`, and let OPTIONS requests and their answers through.",
            ),
        }
    }

    /// Asks the licence services, which answer what they get from others.
    fn license_services(&self, report: &mut Report) {
        let request = Request::post("/").header(CONTENT_TYPE, "application/octet-stream");
        let Ok(answer) = self.target.send(request, "/widevine", &CERTIFICATE_REQUEST) else {
            return;
        };
        let code = header(&answer, CODE_HEADER);
        match answer.status() {
            StatusCode::OK => report.add(
                Severity::Ok,
                WIDEVINE,
                format!(
                    "Widevine's licence service gave its certificate, {} bytes",
                    answer.body().len()
                ),
                "",
                "",
            ),
            _ if code == Code::WIDEVINE_OFF.name => {}
            _ => {
                let (why, remedy) = advice::of_license_service(code);
                let what =
                    format!("Widevine's licence service does not give its certificate: {code}");
                report.add(Severity::Error, WIDEVINE, what, why, remedy);
            }
        }
    }

    /// Whether it gives licences to the fixtures' token, whose key is published.
    fn unguarded(&self, report: &mut Report) {
        let (Some(asset_id), Some(key), Some(token)) =
            (self.asset_id, self.known.first(), fixture_token())
        else {
            return;
        };
        let Ok(certificate) = ApplicationCertificate::from_der(key.certificate.clone()) else {
            return;
        };
        let wrapping = oldest_version(&certificate);
        let options = SpcOptions::new(asset_id);
        let Ok((spc, _)) = key.spc(wrapping, &options, &mut random::system()) else {
            return;
        };
        let request = Request::post("/").header(AUTHORIZATION, format!("Bearer {token}"));
        let answer = self.target.send(request, LICENCE, &spc);
        if answer.is_ok_and(|answer| answer.status() == StatusCode::OK) {
            report.add(
                Severity::Error,
                "test_credentials",
                "it takes the tokens of this project's fixtures",
                "Their key is published: anyone can make a token for everything.",
                "Put keys of your own into `token_keys`.",
            );
        }
    }
}

/// What keeps a server from the keys that issuers publish.
pub fn keys_by_url(target: &Target, report: &mut Report) {
    for warning in target.keys_by_url() {
        let ways = ["no_answer", "asked_often", "failed"];
        // Settings are looked at on a machine that may have another way to the issuer than their server.
        let is_way = target.url().is_none() && ways.contains(&warning.reason.as_str());
        let severity = match is_way || warning.usable_until.is_some() {
            true => Severity::Warning,
            false => Severity::Error,
        };
        let (why, remedy) = advice::of_keys_by_url(&warning.reason);
        let check = match warning.variable == POLICIES {
            true => POLICIES,
            false => KEYS,
        };
        report.add(severity, check, warning.to_string(), why, remedy);
    }
}

fn fixture_token() -> Option<String> {
    let tokens: Value = serde_json::from_str(crate::fixtures::TOKENS).ok()?;
    tokens["hs256"].as_str().map(ToOwned::to_owned)
}

/// A header that is text; empty when it is absent.
fn header(answer: &Response<Vec<u8>>, name: impl AsHeaderName) -> &str {
    let value = answer.headers().get(name);
    value
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// The code of a refusal, or its status.
fn code(answer: &Response<Vec<u8>>) -> String {
    match header(answer, CODE_HEADER) {
        "" => answer.status().as_str().to_owned(),
        code => code.to_owned(),
    }
}

/// A refusal of a server, as a sentence.
fn refusal(answer: &Response<Vec<u8>>) -> String {
    let code = code(answer);
    let document: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
    let title = Code::ALL
        .iter()
        .find(|known| known.name == code)
        .map(|known| known.title);
    let detail = document["detail"].as_str().or(title).unwrap_or_default();
    format!(
        "refused with {} ({}): {detail}",
        code,
        answer.status().as_u16()
    )
}
