//! Very many requests of all kinds, each answer judged, and what becomes of the process meanwhile: its memory, its
//! descriptors, its store and how long answers take.
//!
//! Licences of all DRM systems, sessions, counted tokens, stored keys and packagers, and among them what is refused. The
//! viewers, devices and keys are always the same ones, so nothing that is kept may grow without end. Host and clients are
//! one process.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::header::AUTHORIZATION;
use http::{Request, Response};
use keylet::fairplay::client::PlaybackState;
use keylet::fairplay::spc::Version;
use keylet::service::CODE_HEADER;
use keylet_host::{Provided, Server, StoreChoice, World};
use serde::Serialize;
use serde_json::{Value, json};

use super::others::{self, Asked, KID, OPERATOR};
use super::{LONGEST, Setup, Times, joined, microseconds, scoped};
use crate::client::Client;
use crate::configured;
use crate::device::{ApplicationKey, Licence, Secrets, SpcOptions, Wrapping};
use crate::fixtures;
use crate::jwt::Signer;
use crate::progress::Counter;
use crate::random;

/// Connections at a time.
const CONNECTIONS: usize = 8;

/// How often the process is looked at.
const SAMPLES: u64 = 60;

/// The content key of everything, and the key that signs tokens. Nothing is protected by these.
const KEY: &str = "000102030405060708090a0b0c0d0e0f";
const SIGNER: Signer = Signer::EdDsa([9; 32]);

/// Viewers and stored keys of a connection.
const VIEWERS: usize = 16;

/// The process at a moment. What the system does not report is `None`.
#[derive(Debug, Clone, Serialize)]
pub struct Sample {
    /// Requests answered so far.
    pub requests: u64,
    /// Seconds since the first one.
    pub seconds: f64,
    /// The resident memory, host and clients.
    pub resident_kib: Option<u64>,
    /// Open file descriptors, host and clients.
    pub descriptors: Option<u64>,
    /// The store's file.
    pub store_bytes: Option<u64>,
    /// The most linear memory that an instance had so far.
    pub instance_bytes: u64,
    /// What the answers since the last sample took.
    pub microseconds: Times,
}

/// How often an answer came.
#[derive(Debug, Clone, Serialize)]
pub struct Answered {
    /// What was asked.
    pub request: &'static str,
    /// The status, and the code of a refusal.
    pub answer: String,
    /// How often.
    pub requests: u64,
}

/// What came of it in one setup.
#[derive(Debug, Clone, Serialize)]
pub struct Soak {
    /// The setup.
    pub setup: &'static str,
    /// How many requests; each was answered as it should be.
    pub requests: u64,
    /// Requests in a second.
    pub per_second: f64,
    /// What was asked, and answered.
    pub answered: Vec<Answered>,
    /// The process over time.
    pub samples: Vec<Sample>,
}

/// How a value went: in the middle, and at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Growth {
    /// What grew.
    pub what: &'static str,
    /// The middle value of the second quarter.
    pub before: u64,
    /// That of the last quarter.
    pub after: u64,
}

impl Soak {
    /// The sample at the start, in the middle and at the end: the process has warmed up in the first tenth.
    pub fn three(&self) -> [Option<&Sample>; 3] {
        let last = self.samples.len().saturating_sub(1);
        [last / 10, last / 2, last].map(|index| self.samples.get(index))
    }

    /// What grows without an end: more than it may between the second quarter and the last one.
    pub fn growing(&self) -> Vec<Growth> {
        type Value = fn(&Sample) -> Option<u64>;
        let values: [(&'static str, Value, u64); 4] = [
            ("resident memory, KiB", |one| one.resident_kib, 16 * 1024),
            ("descriptors", |one| one.descriptors, 16),
            ("store, bytes", |one| one.store_bytes, 8 << 20),
            (
                "memory of an instance, bytes",
                |one| Some(one.instance_bytes),
                1 << 20,
            ),
        ];
        let quarter = self.samples.len() / 4;
        let middle = |from: usize, value: Value| {
            let samples = self.samples.iter().skip(from).take(quarter);
            let mut values: Vec<u64> = samples.filter_map(value).collect();
            values.sort_unstable();
            values.get(values.len() / 2).copied()
        };
        let growth = values.into_iter().filter_map(|(what, value, slack)| {
            let before = middle(quarter, value)?;
            let after = middle(self.samples.len() - quarter, value)?;
            let most = before + before / 10 + slack;
            (after > most).then_some(Growth {
                what,
                before,
                after,
            })
        });
        growth.collect()
    }
}

/// Sends so many requests to a host of a setup.
///
/// # Errors
/// The first answer that is not as it should be; a host that does not start.
pub fn run(setup: Setup, requests: u64) -> Result<Soak> {
    let directory = tempfile::Builder::new().prefix("keylet-soak-").tempdir()?;
    let path = directory.path().join("soak.redb");
    let has_store = setup.world != World::Wasi;
    let services = [
        others::license_service()?,
        others::answering("text/xml; charset=utf-8", PLAYREADY_LICENSE.to_owned())?,
    ];
    let store = match has_store {
        true => StoreChoice::File(path.clone()),
        false => StoreChoice::Memory,
    };
    let prepared = Prepared::new(has_store)?;
    let variables = variables(&services)?;
    let server = setup.start_beside(false, variables, store, services.to_vec())?;
    let soak = soak(setup, requests, &server, &prepared, &path);
    server.stop();
    soak
}

fn soak(
    setup: Setup,
    requests: u64,
    server: &Server,
    prepared: &Prepared,
    store: &Path,
) -> Result<Soak> {
    let (asked, answered) = (AtomicU64::new(0), AtomicU64::new(0));
    let is_over = AtomicBool::new(false);
    let times = Mutex::new(Vec::new());
    let began = Instant::now();
    let (tallies, samples) = std::thread::scope(|scope| {
        let workers = scoped(scope, CONNECTIONS, || {
            let result = (|| {
                let mut player = Player::new(prepared, &server.url())?;
                while asked.fetch_add(1, Ordering::Relaxed) < requests
                    && !is_over.load(Ordering::Relaxed)
                {
                    let took = player.turn()?;
                    if let Ok(mut times) = times.lock() {
                        times.push(took);
                    }
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                Ok(player.tally)
            })();
            if result.is_err() {
                is_over.store(true, Ordering::Relaxed);
            }
            result
        });
        let samples = watch(requests, &answered, &is_over, &times, || Sample {
            requests: 0,
            seconds: began.elapsed().as_secs_f64(),
            resident_kib: super::resident_kib(),
            descriptors: descriptors(),
            store_bytes: std::fs::metadata(store).ok().map(|file| file.len()),
            instance_bytes: server.metrics().memory_peak(),
            microseconds: Times::default(),
        });
        (joined(workers), samples)
    });
    let seconds = began.elapsed().as_secs_f64();
    Ok(Soak {
        setup: setup.name,
        requests,
        per_second: f64::from(u32::try_from(requests)?) / seconds,
        answered: merged(tallies?),
        samples: samples?,
    })
}

/// Looks at the process each time that a part of the requests is answered.
fn watch(
    requests: u64,
    answered: &AtomicU64,
    is_over: &AtomicBool,
    times: &Mutex<Vec<f64>>,
    look: impl Fn() -> Sample,
) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    let mut counter = Counter::new("answered", Some(requests));
    let mut so_far = 0;
    for part in 1..=SAMPLES.min(requests) {
        let due = requests * part / SAMPLES.min(requests);
        loop {
            let now = answered.load(Ordering::Relaxed);
            counter.add(now - so_far);
            so_far = now;
            if now >= due || is_over.load(Ordering::Relaxed) {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let taken = times.lock().map(|mut times| std::mem::take(&mut *times));
        let taken = taken.unwrap_or_default();
        if !taken.is_empty() {
            samples.push(Sample {
                requests: so_far,
                microseconds: Times::from_samples(taken)?,
                ..look()
            });
        }
    }
    Ok(samples)
}

fn merged(tallies: Vec<Vec<Answered>>) -> Vec<Answered> {
    let mut all: Vec<Answered> = Vec::new();
    for one in tallies.into_iter().flatten() {
        count(&mut all, one.request, one.answer, one.requests);
    }
    all
}

fn count(tally: &mut Vec<Answered>, request: &'static str, answer: String, more: u64) {
    let known = tally
        .iter_mut()
        .find(|known| known.request == request && known.answer == answer);
    match known {
        Some(known) => known.requests += more,
        None => tally.push(Answered {
            request,
            answer,
            requests: more,
        }),
    }
}

/// The open descriptors of this process, by Linux's account.
fn descriptors() -> Option<u64> {
    let open = std::fs::read_dir("/proc/self/fd").ok()?;
    u64::try_from(open.count()).ok()
}

/// The fixtures with keys, a seed, policies and services for all kinds of requests.
fn variables([widevine, playready]: &[String; 2]) -> Result<Provided> {
    let mut variables = others::variables(widevine)?;
    let mut jwks: Value = serde_json::from_str(&variables["token_keys"])?;
    let keys = jwks["keys"].as_array_mut().context("the fixtures' keys")?;
    keys.push(SIGNER.jwk("soak")?);
    let policies = json!([{
        "name": "soak",
        "restriction": {"issuer": "*", "audience": "*", "jwks": jwks},
        "drm": {"fairplay": {}, "widevine": {}, "playready": {}, "clearkey": {}, "aes128": {}},
    }]);
    let systems = ["clearkey", "aes128", "widevine", "playready"];
    let records = json!([
        {"id": KID, "kid": KID, "key": KEY, "systems": systems},
        {"id": "movie-1", "key": KEY, "iv": KEY},
    ]);
    let playready = json!({"kind": "plain", "url": format!("{playready}/")});
    let encryption = json!({"kty": "oct", "kid": "soak", "k": URL_SAFE_NO_PAD.encode([7; 32])});
    let changes = [
        ("policies", policies.to_string()),
        ("content_keys", records.to_string()),
        ("playready", playready.to_string()),
        ("key_encryption_keys", encryption.to_string()),
        (
            "server_secret",
            "the secret of the soak, which protects nothing".to_owned(),
        ),
    ];
    variables.extend(changes.map(|(name, value)| (name.to_owned(), value)));
    Ok(variables)
}

/// What is the same for all connections.
struct Prepared {
    has_store: bool,
    keys: [ApplicationKey; 2],
    tokens: Value,
    others: Vec<Asked>,
}

impl Prepared {
    fn new(has_store: bool) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let keys = runtime.block_on(configured::application_keys(&fixtures::variables()));
        let [sdk4, sdk26, ..] = keys.as_slice() else {
            bail!("the fixtures have two credentials");
        };
        Ok(Self {
            has_store,
            keys: [sdk4.clone(), sdk26.clone()],
            tokens: serde_json::from_str(fixtures::TOKENS)?,
            // Keys for packagers are looked for in the store first.
            others: others::requests()?
                .into_iter()
                .filter(|asked| has_store || asked.bearer != OPERATOR)
                .collect(),
        })
    }

    fn token(&self, name: &str) -> Result<String> {
        let token = self.tokens[name].as_str().context("the token")?;
        Ok(token.to_owned())
    }
}

/// An SPC with what opens its CKC.
type Message = (Vec<u8>, Secrets);

/// What an answer has to be.
enum Expected {
    /// A CKC with the key.
    Licence(Secrets),
    /// A status, and what the body has in it.
    Body(u16, String),
    /// A refusal with this code.
    Refusal(&'static str),
}

/// A request, what it is called, and what is expected.
type Step = (&'static str, Request<Vec<u8>>, Expected);

/// A client on a connection of its own, that does one thing after the other.
struct Player<'a> {
    prepared: &'a Prepared,
    client: Client,
    url: String,
    name: String,
    /// An SPC of each version, one of an asset that there is not, and those of viewers and of stored keys.
    spcs: Vec<Message>,
    unknown: Message,
    playing: Vec<Message>,
    stored: Vec<Message>,
    counted: Vec<String>,
    viewers: Vec<String>,
    session: Option<(String, String)>,
    turn: usize,
    tally: Vec<Answered>,
}

/// The steps that a player goes through, and after them those of [`others`].
const STEPS: usize = 22;

impl<'a> Player<'a> {
    fn new(prepared: &'a Prepared, url: &str) -> Result<Self> {
        let mut rng = random::system();
        let name = hex::encode(random::bytes::<4>());
        let [sdk4, sdk26] = &prepared.keys;
        let mut spc = |key: &ApplicationKey, version, options: &SpcOptions| {
            key.spc(Wrapping::Version(version), options, &mut rng)
        };
        let movie = SpcOptions::new("skd://movie-1");
        let versions = [
            (sdk4, Version::V1),
            (sdk26, Version::V2),
            (sdk26, Version::V3),
        ];
        let spcs = versions.map(|(key, version)| spc(key, version, &movie));
        let numbers = 0..VIEWERS;
        let playing = numbers.clone().map(|number| {
            let mut options = movie.clone().playing(PlaybackState::FIRST);
            options.hu = Some([u8::try_from(number)?; 20]);
            spc(sdk4, Version::V1, &options)
        });
        let playing = playing.collect::<Result<_>>()?;
        let stored = numbers.clone().map(|number| {
            let options = SpcOptions::new(format!("skd://{name}-{number}"));
            spc(sdk4, Version::V1, &options)
        });
        let stored = stored.collect::<Result<_>>()?;
        let unknown = spc(sdk4, Version::V1, &SpcOptions::new("skd://no-such-movie"))?;
        let sign = |subject: &str, terms: Value| -> Result<String> {
            let mut entry = terms;
            entry["keys"] = "*".into();
            let claims = json!({
                "iss": "soak", "aud": "keylet", "sub": subject, "jti": subject,
                "exp": 4_000_000_000_u64, "entitlements": [entry],
            });
            SIGNER.token(Some("soak"), &claims, &mut random::system())
        };
        let counted = numbers.clone().map(|number| {
            let subject = format!("{name}-counted-{number}");
            sign(&subject, json!({"max_uses": u32::MAX}))
        });
        let viewers =
            numbers.map(|number| sign(&format!("{name}-{number}"), json!({"max_streams": 1})));
        Ok(Self {
            prepared,
            client: Client::new(LONGEST, None)?,
            url: url.trim_end_matches('/').to_owned(),
            spcs: spcs.into_iter().collect::<Result<_>>()?,
            unknown,
            playing,
            stored,
            counted: counted.collect::<Result<_>>()?,
            viewers: viewers.collect::<Result<_>>()?,
            name,
            session: None,
            turn: 0,
            tally: Vec::new(),
        })
    }

    /// Does the next thing. Returns how long the answer took, in microseconds.
    fn turn(&mut self) -> Result<f64> {
        let (name, mut request, expected) = self.step()?;
        self.turn += 1;
        let path = request.uri().to_string();
        *request.uri_mut() = format!("{}{path}", self.url).parse()?;
        let began = Instant::now();
        let answer = self.client.exchange(request)?;
        let took = microseconds(began);
        let code = answer.headers().get(CODE_HEADER);
        let code = code.and_then(|code| code.to_str().ok()).unwrap_or_default();
        let shown = format!("{} {code}", answer.status().as_u16());
        let judged = judge(&answer, code, expected);
        judged.with_context(|| format!("{name}, {path}: answered with {shown}"))?;
        if name == "session, opened" || name == "session, heartbeat" {
            self.keep_session(&answer)?;
        }
        count(&mut self.tally, name, shown.trim_end().to_owned(), 1);
        Ok(took)
    }

    /// The session of an answer, where there is a store.
    fn keep_session(&mut self, answer: &Response<Vec<u8>>) -> Result<()> {
        let session: Value = serde_json::from_slice(answer.body())?;
        let text = |name: &str| session[name].as_str().map(ToOwned::to_owned);
        self.session = text("session_id").zip(text("session_token"));
        Ok(())
    }

    fn step(&self) -> Result<Step> {
        let all = STEPS + self.prepared.others.len();
        let (round, step) = match (self.turn / all, self.turn % all) {
            // Without a store no session is opened that could go on.
            (round, 8..=11) if !self.prepared.has_store => (round, 7),
            both => both,
        };
        let number = round % VIEWERS;
        let licence = |token: String, (spc, secrets): &Message| -> Result<(_, Expected)> {
            let request = as_bearer(Request::post("/fairplay"), &token).body(spc.clone())?;
            Ok((request, Expected::Licence(secrets.clone())))
        };
        let refused = |token: String, spc: Vec<u8>, code| -> Result<(_, Expected)> {
            let request = as_bearer(Request::post("/fairplay"), &token).body(spc)?;
            Ok((request, Expected::Refusal(code)))
        };
        let any = || self.prepared.token("hs256");
        let of = |version: usize| self.spcs.get(version).context("the SPC");
        let broken = |index: usize| -> Result<Vec<u8>> {
            let mut spc = of(0)?.0.clone();
            *spc.get_mut(index).context("a longer SPC")? ^= 1;
            Ok(spc)
        };
        let id = format!("{}-{number}", self.name);
        let viewer = self.viewers.get(number).context("the viewer")?;
        let (session, session_token) = self.session.clone().unwrap_or_default();
        let in_session =
            |request: http::request::Builder| request.header("keylet-session", &session_token);
        let open = |device: &str| -> Result<Request<Vec<u8>>> {
            let body = json!({"device": device}).to_string().into_bytes();
            Ok(as_bearer(Request::post("/sessions"), viewer).body(body)?)
        };
        let ok = |text: &str| Expected::Body(200, text.to_owned());
        let (name, (request, expected)) = match step {
            0 => ("FairPlay, SPC v1", licence(any()?, of(0)?)?),
            1 => (
                "FairPlay, SPC v2",
                licence(self.prepared.token("rs256")?, of(1)?)?,
            ),
            2 => (
                "FairPlay, SPC v3",
                licence(self.prepared.token("es256")?, of(2)?)?,
            ),
            3 => {
                let record = json!({"id": id, "key": KEY, "iv": KEY}).to_string();
                let request = as_bearer(Request::put(format!("/keys/{id}")), OPERATOR);
                (
                    "key, stored",
                    (request.body(record.into_bytes())?, ok("outcome")),
                )
            }
            4 => {
                let message = self.stored.get(number).context("the SPC")?;
                ("FairPlay, a stored key", licence(any()?, message)?)
            }
            5 => {
                let request = as_bearer(Request::get(format!("/keys/{id}")), OPERATOR);
                ("key, read", (request.body(Vec::new())?, ok(&id)))
            }
            6 => {
                let token = self.counted.get(number).context("the token")?;
                let message = self
                    .playing
                    .get(round / VIEWERS % VIEWERS)
                    .context("the SPC")?;
                (
                    "FairPlay, a counted token",
                    licence(token.clone(), message)?,
                )
            }
            7 => (
                "session, opened",
                (open("a television")?, ok("session_token")),
            ),
            8 => (
                "session, one too many",
                (open("a phone")?, Expected::Refusal("streams_exceeded")),
            ),
            9 => {
                let message = self.playing.get(number).context("the SPC")?;
                let (mut request, expected) = licence(viewer.clone(), message)?;
                request
                    .headers_mut()
                    .insert("keylet-session", session_token.parse()?);
                ("FairPlay, in a session", (request, expected))
            }
            10 => {
                let request = Request::post(format!("/sessions/{session}/heartbeat"));
                (
                    "session, heartbeat",
                    (in_session(request).body(Vec::new())?, ok("session_token")),
                )
            }
            11 => {
                let request = Request::delete(format!("/sessions/{session}"));
                let expected = Expected::Body(204, String::new());
                (
                    "session, ended",
                    (in_session(request).body(Vec::new())?, expected),
                )
            }
            12 => {
                let request = as_bearer(Request::post("/playready"), &any()?);
                let body = playready_challenge().into_bytes();
                ("PlayReady", (request.body(body)?, ok("WE1SAA==")))
            }
            13 => (
                "a token that is none",
                refused("a.b.c".to_owned(), of(0)?.0.clone(), "token_malformed")?,
            ),
            14 => (
                "a token that has expired",
                refused(
                    self.prepared.token("expired")?,
                    of(0)?.0.clone(),
                    "token_expired",
                )?,
            ),
            15 => (
                "an SPC for another certificate",
                refused(any()?, broken(WRAPPED_END)?, "spc_certificate_unknown")?,
            ),
            16 => (
                "an SPC that does not decrypt",
                refused(any()?, broken(WRAPPED_END - 1)?, "spc_undecryptable")?,
            ),
            17 => {
                // Version 3 is authenticated.
                let mut spc = of(2)?.0.clone();
                *spc.last_mut().context("a longer SPC")? ^= 1;
                (
                    "an SPC that was altered",
                    refused(any()?, spc, "spc_integrity")?,
                )
            }
            18 => (
                "a key that there is not",
                refused(any()?, self.unknown.0.clone(), "key_not_found")?,
            ),
            19 => (
                "no SPC",
                refused(any()?, b"neither SPC nor form".to_vec(), "body_malformed")?,
            ),
            20 => {
                let request = Request::get("/nowhere").body(Vec::new())?;
                (
                    "a path that there is not",
                    (request, Expected::Refusal("route_not_found")),
                )
            }
            21 => {
                let request = Request::get("/").body(Vec::new())?;
                ("the service document", (request, ok("fairplay")))
            }
            other => {
                let asked = self
                    .prepared
                    .others
                    .get(other - STEPS)
                    .context("the request")?;
                let mut request = asked.request()?;
                *request.uri_mut() = asked.path.parse()?;
                let has_key = matches!(asked.name, "Clear Key");
                let text = if has_key {
                    URL_SAFE_NO_PAD.encode(hex::decode(KEY)?)
                } else {
                    String::new()
                };
                (asked.name, (request, ok(&text)))
            }
        };
        let needs_store = matches!(step, 3..=11 | 18);
        let expected = match needs_store && !self.prepared.has_store {
            true => Expected::Refusal("store_unsupported"),
            false => expected,
        };
        Ok((name, request, expected))
    }
}

/// Version, reserved, IV; the wrapped key of version 1; then the certificate's hash.
const WRAPPED_END: usize = 4 + 4 + 16 + 128;

fn as_bearer(request: http::request::Builder, token: &str) -> http::request::Builder {
    request.header(AUTHORIZATION, format!("Bearer {token}"))
}

/// Whether an answer is as it should be.
fn judge(answer: &Response<Vec<u8>>, code: &str, expected: Expected) -> Result<()> {
    let status = answer.status().as_u16();
    match expected {
        Expected::Licence(secrets) => {
            ensure!(status == 200, "a licence was expected");
            let licence = Licence::open(answer.body(), &secrets)?;
            ensure!(hex::encode(licence.key) == KEY, "the CKC has another key");
        }
        Expected::Body(expected, text) => {
            ensure!(status == expected, "{expected} was expected");
            let body = String::from_utf8_lossy(answer.body());
            ensure!(body.contains(&text), "the body has no {text:?}");
        }
        Expected::Refusal(expected) => {
            let known = keylet::error::Code::ALL.iter();
            let known = known.clone().find(|known| known.name == expected);
            let known = known.context("a code that there is")?;
            ensure!(
                code == expected && status == known.status,
                "{} {expected} was expected",
                known.status
            );
        }
    }
    Ok(())
}

/// A challenge for [`KID`], whose bytes are the same in either order.
fn playready_challenge() -> String {
    let kid = STANDARD.encode([0x33; 16]);
    format!(
        r#"<?xml version="1.0" encoding="utf-8"?><soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body><AcquireLicense xmlns="http://schemas.microsoft.com/DRM/2007/03/protocols"><challenge><Challenge xmlns="http://schemas.microsoft.com/DRM/2007/03/protocols/messages"><LA xmlns="http://schemas.microsoft.com/DRM/2007/03/protocols" Id="SignedData" xml:space="preserve"><Version>1</Version><ContentHeader><WRMHEADER xmlns="http://schemas.microsoft.com/DRM/2007/03/PlayReadyHeader" version="4.2.0.0"><DATA><PROTECTINFO><KIDS><KID ALGID="AESCTR" VALUE="{kid}"></KID></KIDS></PROTECTINFO></DATA></WRMHEADER></ContentHeader><LicenseNonce>AAECAwQFBgcICQoLDA0ODw==</LicenseNonce></LA></Challenge></challenge></AcquireLicense></soap:Body></soap:Envelope>"#
    )
}

/// What the PlayReady service answers.
const PLAYREADY_LICENSE: &str = r#"<?xml version="1.0" encoding="utf-8"?><soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body><AcquireLicenseResponse xmlns="http://schemas.microsoft.com/DRM/2007/03/protocols"><AcquireLicenseResult><Response><LicenseResponse><Version>1</Version><Licenses><License>WE1SAA==</License></Licenses></LicenseResponse></Response></AcquireLicenseResult></AcquireLicenseResponse></soap:Body></soap:Envelope>"#;
