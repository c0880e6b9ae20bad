//! What a licence costs: in each world, beside the same library compiled for this machine, and beside the
//! private operation of OpenSSL, all in one run.
//!
//! Compiled for a machine, the library has the `rsa` crate in the place of the project's kernel, and the
//! processor's instructions for AES.

pub mod catalogue;
pub mod others;
pub mod soak;
pub mod soak_plot;
pub mod store_day;

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use http::Request;
use http::header::AUTHORIZATION;
use keylet::fairplay::spc::Version;
use keylet::fairplay::tag::Tag;
use keylet::service::Service;
use serde::Serialize;
use serde_json::Value;

use crate::built_in;
use crate::client::Client;
use crate::configured;
use crate::device::{ApplicationKey, SpcOptions, Wrapping};
use crate::fixtures;
use crate::random;
use crate::settings::Settings;
use keylet_host::{Options, Provided, Reuse, Server, StoreChoice, World};

/// Whoever does not answer within this ends the measurement.
const LONGEST: Duration = Duration::from_secs(30);

/// How long an instance waits for the next request.
const AS_LONG_AS_IT_RUNS: Duration = Duration::from_hours(24);

/// The versions of the SPC, and the algorithms of the token, that are measured together.
const CASES: [(&str, &str); 5] = [
    ("v1", "hs256"),
    ("v2", "hs256"),
    ("v3", "hs256"),
    ("v1", "rs256"),
    ("v1", "es256"),
];

/// What brings an SPC to the size that devices send, some 2,900 bytes: a TLLV of a tag that means
/// nothing.
const FILLING: (Tag, usize) = (Tag(0x6b65_796c_6574_0000), 1_936);

/// Requests between two readings of the clock: what an instance does once it has answered belongs to
/// the request, and is over before most of the next ones.
const BATCH: usize = 5;

/// How often everything is gone through: the clock of a machine that is shared may change by a factor
/// of two for minutes, and each value should be measured at its best.
const PASSES: usize = 4;

/// How an instance is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setup {
    /// As reports have it.
    pub name: &'static str,
    /// Its world.
    pub world: World,
    /// Whether each request gets an instance of its own.
    pub is_fresh: bool,
}

impl Setup {
    /// A host with one thread. An instance that is used again is so as long as the host runs. Where the time
    /// inside instances is counted, a request takes some hundredths longer.
    fn start(self, is_timed: bool) -> Result<Server> {
        self.start_with(is_timed, fixtures::variables(), StoreChoice::Memory)
    }

    /// The same, with these variables, and on a store.
    fn start_with(self, is_timed: bool, variables: Provided, store: StoreChoice) -> Result<Server> {
        self.start_beside(is_timed, variables, store, Vec::new())
    }

    /// The same, where the application may send requests to these origins.
    fn start_beside(
        self,
        is_timed: bool,
        variables: Provided,
        store: StoreChoice,
        origins: Vec<String>,
    ) -> Result<Server> {
        let (total, concurrent) = match self.is_fresh {
            true => (1, 1),
            false => (usize::MAX, self.world.default_reuse().concurrent),
        };
        let options = Options {
            reuse: Some(Reuse {
                total,
                concurrent,
                idle: AS_LONG_AS_IT_RUNS,
            }),
            threads: Some(1),
            metrics: is_timed.then_some((Ipv4Addr::LOCALHOST, 0).into()),
            store,
            ..Options::quiet()
        };
        let mut application = built_in(self.world, variables)?;
        application.manifest.component.allowed_outbound_hosts = origins;
        Server::start(application, &options)
    }
}

/// The ways in which instances are used: those of WASI 0.2 only once.
pub const SETUPS: [Setup; 4] = [
    Setup {
        name: "wasip2",
        world: World::Wasip2,
        is_fresh: true,
    },
    Setup {
        name: "wasip3",
        world: World::Wasip3,
        is_fresh: false,
    },
    Setup {
        name: "wasip3-fresh",
        world: World::Wasip3,
        is_fresh: true,
    },
    Setup {
        name: "wasi",
        world: World::Wasi,
        is_fresh: true,
    },
];

/// Times of one kind, in microseconds.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Times {
    /// The shortest: what it takes when nothing else has the machine.
    pub least: f64,
    /// The middle one.
    pub p50: f64,
    /// The longest but one in a hundred.
    pub p99: f64,
}

impl Times {
    fn from_samples(mut times: Vec<f64>) -> Result<Self> {
        ensure!(!times.is_empty(), "nothing was measured");
        times.sort_by(f64::total_cmp);
        let at = |percent: usize| {
            let index = (times.len() - 1) * percent / 100;
            times.get(index).copied().unwrap_or_default()
        };
        Ok(Self {
            least: at(0),
            p50: at(50),
            p99: at(99),
        })
    }
}

/// Licences of one kind, one after the other.
#[derive(Debug, Clone, Serialize)]
pub struct Licences {
    /// `native`, or the name of a [`Setup`].
    pub setup: &'static str,
    /// Version of the SPC.
    pub spc: &'static str,
    /// Algorithm of the token.
    pub token: &'static str,
    /// What each took, HTTP and host included.
    pub microseconds: Times,
    /// What it took inside the component: means of some in a row.
    pub guest: Option<Times>,
}

/// A request that is refused one stage later than the one before.
#[derive(Debug, Clone, Serialize)]
pub struct Stage {
    /// The setup.
    pub setup: &'static str,
    /// Version of the SPC.
    pub spc: &'static str,
    /// The stage that it reaches.
    pub reached: &'static str,
    /// What it takes inside the component, microseconds: means of some in a row.
    pub guest: Times,
    /// What the last stage adds: the difference of the shortest times.
    pub step_microseconds: f64,
}

/// Licences on several connections at once.
#[derive(Debug, Clone, Serialize)]
pub struct Throughput {
    /// The setup.
    pub setup: &'static str,
    /// Connections.
    pub connections: usize,
    /// Licences in a second.
    pub per_second: f64,
    /// What each took.
    pub microseconds: Times,
}

/// The values of a setup as a whole.
#[derive(Debug, Clone, Serialize)]
pub struct Host {
    /// The setup.
    pub setup: &'static str,
    /// Size of the component.
    pub component_kib: usize,
    /// Until the host listened, its compiled code in the cache or not.
    pub ready_milliseconds: f64,
    /// The first licence, version 1.
    pub first_microseconds: f64,
    /// The most linear memory of an instance.
    pub memory_bytes: u64,
}

/// The private operation of OpenSSL, of `openssl speed`.
#[derive(Debug, Clone, Serialize)]
pub struct OpenSsl {
    /// Size of the key.
    pub bits: u32,
    /// A private operation, the best of several runs.
    pub microseconds: f64,
}

/// Where it was measured.
#[derive(Debug, Default, Serialize)]
pub struct Environment {
    /// Version of this program.
    pub keylet: &'static str,
    /// How many processors it may use.
    pub processors: Option<usize>,
    /// The first line of `openssl version`, or why there is no OpenSSL.
    pub openssl: String,
}

impl Environment {
    fn here(openssl: String) -> Self {
        Self {
            keylet: env!("CARGO_PKG_VERSION"),
            processors: std::thread::available_parallelism().ok().map(Into::into),
            openssl,
        }
    }
}

/// Everything that was measured.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Where.
    pub environment: Environment,
    /// OpenSSL, where there is one.
    pub openssl: Vec<OpenSsl>,
    /// Licences one after the other.
    pub licences: Vec<Licences>,
    /// How far a request gets, and what that takes.
    pub stages: Vec<Stage>,
    /// Licences at once.
    pub throughput: Vec<Throughput>,
    /// The values of each setup as a whole.
    pub hosts: Vec<Host>,
}

/// What is to be measured.
pub struct Plan {
    /// In which setups.
    pub setups: Vec<Setup>,
    /// How many licences one after the other.
    pub rounds: usize,
    /// On how many connections at once.
    pub connections: Vec<usize>,
    /// How long each of these.
    pub seconds: Duration,
    /// A server elsewhere that has the fixtures' settings: it alone is measured, with connections at once.
    pub url: Option<String>,
}

impl Plan {
    /// Measures it.
    ///
    /// # Errors
    /// A licence that is refused, a host that does not start.
    pub fn run(&self) -> Result<Report> {
        let requests = Requests::new()?;
        if let Some(url) = &self.url {
            return self.measure_elsewhere(url, &requests);
        }
        let openssl_version = openssl_version();
        let has_openssl = openssl_version.is_ok();
        let mut report = Report {
            environment: Environment::here(
                openssl_version.unwrap_or_else(|reason| format!("none: {reason}")),
            ),
            ..Report::default()
        };
        let mut openssl = Vec::new();
        let mut ask_openssl = || {
            if has_openssl {
                openssl.extend(openssl_speed());
            }
        };
        self.measure_native(&requests, &mut report, &mut ask_openssl)?;
        for setup in &self.setups {
            self.measure(*setup, &requests, &mut report, &mut ask_openssl)?;
        }
        if has_openssl && openssl.is_empty() {
            report.environment.openssl += ", whose `openssl speed` gives no figures";
        }
        report.openssl = [1024, 2048]
            .into_iter()
            .filter_map(|bits| {
                let of_size = openssl.iter().filter(|one| one.bits == bits);
                of_size
                    .min_by(|a, b| a.microseconds.total_cmp(&b.microseconds))
                    .cloned()
            })
            .collect();
        Ok(report)
    }

    /// A host that runs already.
    fn measure_elsewhere(&self, url: &str, requests: &Requests) -> Result<Report> {
        let mut report = Report {
            environment: Environment::here("not asked".to_owned()),
            ..Report::default()
        };
        Player::new(url)?
            .ask(requests.request(CASES[0])?, 200)
            .context("the server has to have the settings of fixtures/variables.env")?;
        for connections in &self.connections {
            let measured = self.at_once("url", *connections, url, requests)?;
            report.throughput.push(measured);
        }
        Ok(report)
    }

    /// The library in this process. Nothing is kept from one licence to the next, as in a fresh instance.
    fn measure_native(
        &self,
        requests: &Requests,
        report: &mut Report,
        ask_openssl: &mut impl FnMut(),
    ) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let mut cases = CASES.map(|case| (case, Vec::new()));
        for _ in 0..PASSES {
            for _ in 0..self.batches() * BATCH {
                for (case, times) in &mut cases {
                    let mut request = requests.request(*case)?;
                    *request.uri_mut() = http::Uri::from_static("/fairplay");
                    let began = Instant::now();
                    let service = Service::new(Settings(fixtures::variables()));
                    let status = runtime.block_on(service.handle(request)).status();
                    times.push(microseconds(began));
                    ensure!(status == 200, "a licence was refused with status {status}");
                }
            }
            ask_openssl();
        }
        for ((spc, token), times) in cases {
            report.licences.push(Licences {
                setup: "native",
                spc,
                token,
                microseconds: Times::from_samples(times)?,
                guest: None,
            });
        }
        Ok(())
    }

    /// How many batches a pass has.
    fn batches(&self) -> usize {
        self.rounds.div_ceil(PASSES * BATCH)
    }

    fn measure(
        &self,
        setup: Setup,
        requests: &Requests,
        report: &mut Report,
        ask_openssl: &mut impl FnMut(),
    ) -> Result<()> {
        let began = Instant::now();
        let server = setup.start(true)?;
        let ready = began.elapsed();
        let player = Player::new(&server.url())?;
        let began = Instant::now();
        player.ask(requests.request(CASES[0])?, 200)?;
        let first = microseconds(began);
        let mut cases = CASES.map(|case| (case, Samples::default()));
        let mut stages = Vec::new();
        for spc in ["v1", "v2"] {
            let of_version = requests.stages(spc)?.into_iter();
            stages.extend(of_version.map(|stage| (spc, stage, Samples::default())));
        }
        // Once unmeasured: an instance that is used again verifies a token the first time that it comes.
        for (case, _) in &cases {
            player.ask(requests.request(*case)?, 200)?;
        }
        for _ in 0..PASSES {
            // In turns, so that all of them see the same minutes.
            for _ in 0..self.batches() {
                for (case, samples) in &mut cases {
                    player.ask_batch(&server, 200, || requests.request(*case), samples)?;
                }
                for (_, (_, status, request), samples) in &mut stages {
                    player.ask_batch(&server, *status, || Ok(request.clone()), samples)?;
                }
            }
            ask_openssl();
        }
        for ((spc, token), samples) in cases {
            report.licences.push(Licences {
                setup: setup.name,
                spc,
                token,
                microseconds: Times::from_samples(samples.whole)?,
                guest: Some(Times::from_samples(samples.guest)?),
            });
        }
        for (spc, (reached, ..), samples) in stages {
            let guest = Times::from_samples(samples.guest)?;
            let before = report.stages.last();
            let before = before.filter(|before| (before.setup, before.spc) == (setup.name, spc));
            report.stages.push(Stage {
                setup: setup.name,
                spc,
                reached,
                step_microseconds: guest.least - before.map_or(0.0, |before| before.guest.least),
                guest,
            });
        }
        let memory_bytes = server.metrics().memory_peak();
        server.stop();

        let server = setup.start(false)?;
        Player::new(&server.url())?.ask(requests.request(CASES[0])?, 200)?;
        for connections in &self.connections {
            report.throughput.push(self.at_once(
                setup.name,
                *connections,
                &server.url(),
                requests,
            )?);
        }
        report.hosts.push(Host {
            setup: setup.name,
            component_kib: crate::component(setup.world)?.len() / 1024,
            ready_milliseconds: ready.as_secs_f64() * 1e3,
            first_microseconds: first,
            memory_bytes: memory_bytes.max(server.metrics().memory_peak()),
        });
        server.stop();
        Ok(())
    }

    /// As many licences as come in the time, on connections of their own.
    fn at_once(
        &self,
        setup: &'static str,
        connections: usize,
        server: &str,
        requests: &Requests,
    ) -> Result<Throughput> {
        let is_over = AtomicBool::new(false);
        let began = Instant::now();
        let times = std::thread::scope(|scope| {
            let workers = scoped(scope, connections, || -> Result<Vec<f64>> {
                let player = Player::new(server)?;
                let mut times = Vec::new();
                loop {
                    let began = Instant::now();
                    player.ask(requests.request(CASES[0])?, 200)?;
                    times.push(microseconds(began));
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                }
                Ok(times)
            });
            std::thread::sleep(self.seconds);
            is_over.store(true, Ordering::Relaxed);
            joined(workers)
        })?;
        let elapsed = began.elapsed().as_secs_f64();
        let times = times.concat();
        Ok(Throughput {
            setup,
            connections,
            per_second: f64::from(u32::try_from(times.len())?) / elapsed,
            microseconds: Times::from_samples(times)?,
        })
    }
}

/// As many threads, doing the same.
fn scoped<'scope, 'env, T: Send + 'scope>(
    scope: &'scope std::thread::Scope<'scope, 'env>,
    number: usize,
    work: impl Fn() -> Result<T> + Send + Copy + 'scope,
) -> Vec<std::thread::ScopedJoinHandle<'scope, Result<T>>> {
    (0..number).map(|_| scope.spawn(work)).collect()
}

fn joined<T>(workers: Vec<std::thread::ScopedJoinHandle<'_, Result<T>>>) -> Result<Vec<T>> {
    let joined = workers.into_iter().map(|worker| {
        let result = worker.join();
        result.unwrap_or_else(|_| Err(anyhow::anyhow!("a client panicked")))
    });
    joined.collect()
}

/// What requests take, and what they take inside the component, in microseconds.
#[derive(Default)]
struct Samples {
    whole: Vec<f64>,
    guest: Vec<f64>,
}

/// A client, on a connection of its own.
struct Player {
    client: Client,
    url: String,
}

impl Player {
    /// One who asks for licences.
    fn new(server: &str) -> Result<Self> {
        Self::at(server, "/fairplay")
    }

    fn at(server: &str, path: &str) -> Result<Self> {
        Ok(Self {
            client: Client::new(LONGEST, None)?,
            url: format!("{}{path}", server.trim_end_matches('/')),
        })
    }

    fn ask(&self, mut request: Request<Vec<u8>>, expected: u16) -> Result<()> {
        *request.uri_mut() = self.url.parse()?;
        let status = self.client.exchange(request)?.status().as_u16();
        ensure!(
            status == expected,
            "a request was answered with {status}, not {expected}"
        );
        Ok(())
    }

    /// Some requests, one after the other.
    fn ask_batch(
        &self,
        server: &Server,
        expected: u16,
        request: impl Fn() -> Result<Request<Vec<u8>>>,
        samples: &mut Samples,
    ) -> Result<()> {
        let before = server.metrics().guest_seconds();
        for _ in 0..BATCH {
            let request = request()?;
            let began = Instant::now();
            self.ask(request, expected)?;
            samples.whole.push(microseconds(began));
        }
        let batch = f64::from(u32::try_from(BATCH)?);
        let guest = server.metrics().guest_seconds() - before;
        samples.guest.push(guest * 1e6 / batch);
        Ok(())
    }
}

/// Requests with the fixtures' credentials and tokens.
struct Requests {
    application: ApplicationKey,
    spcs: Vec<(&'static str, Vec<u8>)>,
    without_key: Vec<(&'static str, Vec<u8>)>,
    tokens: Value,
}

impl Requests {
    fn new() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let keys = runtime.block_on(configured::application_keys(&fixtures::variables()));
        let [sdk4, sdk26, ..] = keys.as_slice() else {
            anyhow::bail!("the fixtures have two credentials");
        };
        let all = |asset_id: &str| {
            let (tag, length) = FILLING;
            let options = SpcOptions::new(asset_id).with(tag, vec![0; length]);
            let each = [
                ("v1", sdk4, Version::V1),
                ("v2", sdk26, Version::V2),
                ("v3", sdk26, Version::V3),
            ];
            let spcs = each.map(|(name, key, version)| {
                let wrapping = Wrapping::Version(version);
                let (spc, _) = key.spc(wrapping, &options, &mut random::system())?;
                Ok((name, spc))
            });
            spcs.into_iter().collect::<Result<Vec<_>>>()
        };
        Ok(Self {
            application: sdk4.clone(),
            spcs: all("skd://movie-1")?,
            without_key: all("skd://no-such-movie")?,
            tokens: serde_json::from_str(fixtures::TOKENS)?,
        })
    }

    /// A request for a licence.
    fn request(&self, (spc, token): (&str, &str)) -> Result<Request<Vec<u8>>> {
        self.with(find(&self.spcs, spc)?.clone(), token)
    }

    /// A request for a licence of version 1, for any key.
    fn for_asset(&self, asset_id: &str) -> Result<Request<Vec<u8>>> {
        let (tag, length) = FILLING;
        let options = SpcOptions::new(asset_id).with(tag, vec![0; length]);
        let wrapping = Wrapping::Version(Version::V1);
        let (spc, _) = self
            .application
            .spc(wrapping, &options, &mut random::system())?;
        self.with(spc, "hs256")
    }

    fn with(&self, spc: Vec<u8>, token: &str) -> Result<Request<Vec<u8>>> {
        let token = self.tokens[token].as_str().context("the token")?;
        let request = Request::post("/").header(AUTHORIZATION, format!("Bearer {token}"));
        Ok(request.body(spc)?)
    }

    /// Requests; each is refused one stage later than the one before.
    fn stages(&self, version: &str) -> Result<Vec<Attempt>> {
        let spc = find(&self.spcs, version)?;
        let broken = |index: usize| -> Result<Vec<u8>> {
            let mut spc = spc.clone();
            *spc.get_mut(index).context("a longer SPC")? ^= 1;
            Ok(spc)
        };
        // Version, reserved, IV; the wrapped key; the certificate's hash.
        let wrapped = 4 + 4 + 16;
        let wrapped_end = wrapped + if version == "v1" { 128 } else { 256 };
        let token = "hs256";
        Ok(vec![
            (
                "request read, token malformed",
                401,
                Request::post("/")
                    .header(AUTHORIZATION, "Bearer a.b.c")
                    .body(spc.clone())?,
            ),
            (
                "token verified, expired",
                401,
                self.with(spc.clone(), "expired")?,
            ),
            (
                "certificate looked for",
                400,
                self.with(broken(wrapped_end)?, token)?,
            ),
            (
                "private operation done",
                400,
                self.with(broken(wrapped_end - 1)?, token)?,
            ),
            (
                "SPC opened, key looked for",
                404,
                self.with(find(&self.without_key, version)?.clone(), token)?,
            ),
            ("licence", 200, self.with(spc.clone(), token)?),
        ])
    }
}

/// What a request reaches, the status of its answer, and the request.
type Attempt = (&'static str, u16, Request<Vec<u8>>);

fn find<'a>(spcs: &'a [(&str, Vec<u8>)], name: &str) -> Result<&'a Vec<u8>> {
    let found = spcs.iter().find(|(known, _)| *known == name);
    Ok(&found.context("the SPC")?.1)
}

fn microseconds(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1e6
}

/// The resident memory of this process, by Linux's account.
fn resident_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The version of OpenSSL, or why its benchmark cannot be used.
fn openssl_version() -> Result<String, String> {
    let version = Command::new("openssl").arg("version").output();
    let version = version.map_err(|error| format!("`openssl` does not run: {error}"))?;
    let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
    match version.starts_with("OpenSSL ") {
        true => Ok(version),
        false => Err(format!("`openssl` is {version:?}")),
    }
}

/// The private operations of OpenSSL, as its own benchmark has them.
fn openssl_speed() -> Vec<OpenSsl> {
    let speed = Command::new("openssl")
        .args(["speed", "-elapsed", "-seconds", "1", "-mr"])
        .args(["rsa1024", "rsa2048"])
        .output();
    let text = speed.map_or_else(
        |_| String::new(),
        |speed| String::from_utf8_lossy(&speed.stdout).into_owned(),
    );
    // +F2:<number>:<bits>:<private operations in a second>:<public operations>
    let lines = text.lines().filter_map(|line| line.strip_prefix("+F2:"));
    lines
        .filter_map(|line| {
            let mut fields = line.split(':').skip(1);
            let bits = fields.next()?.parse().ok()?;
            let in_a_second: f64 = fields.next()?.parse().ok()?;
            (in_a_second > 0.0).then_some(OpenSsl {
                bits,
                microseconds: 1e6 / in_a_second,
            })
        })
        .collect()
}
