//! What a licence costs: in each world, beside the same code compiled for this machine, and beside the
//! private operation of OpenSSL, all in one run.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use http::Request;
use http::header::AUTHORIZATION;
use keylet::fairplay::spc::Version;
use serde::Serialize;
use serde_json::Value;

use crate::client::Client;
use crate::configured;
use crate::device::{SpcOptions, Wrapping};
use crate::doctor::target::Target;
use crate::fixtures;
use crate::host::{Application, Options, Server, World};
use crate::random;
use crate::settings::Settings;

/// Whoever does not answer within this ends the measurement.
const LONGEST: Duration = Duration::from_secs(30);

/// The versions of the SPC, and the algorithms of the token, that are measured together.
pub const CASES: [(&str, &str); 5] = [
    ("v1", "hs256"),
    ("v2", "hs256"),
    ("v3", "hs256"),
    ("v1", "rs256"),
    ("v1", "es256"),
];

/// Times of one kind, in microseconds.
#[derive(Debug, Clone, Serialize)]
pub struct Times {
    /// The middle one.
    pub p50: f64,
    /// The longest but one in a hundred.
    pub p99: f64,
    /// Their mean.
    pub mean: f64,
}

impl Times {
    fn of(mut times: Vec<f64>) -> Result<Self> {
        ensure!(!times.is_empty(), "nothing was measured");
        times.sort_by(f64::total_cmp);
        let at = |percent: usize| {
            times
                .get((times.len() - 1) * percent / 100)
                .copied()
                .unwrap_or_default()
        };
        let count = f64::from(u32::try_from(times.len())?);
        Ok(Self {
            p50: at(50),
            p99: at(99),
            mean: times.iter().sum::<f64>() / count,
        })
    }
}

/// Licences for one kind of request, one after the other.
#[derive(Debug, Clone, Serialize)]
pub struct Licences {
    /// `native`, `wasip2`, `wasip3` or `wasi`.
    pub world: String,
    /// Version of the SPC.
    pub spc: &'static str,
    /// Algorithm of the token.
    pub token: &'static str,
    /// What each took.
    pub microseconds: Times,
}

/// Licences on several connections at once.
#[derive(Debug, Clone, Serialize)]
pub struct Throughput {
    /// The world.
    pub world: String,
    /// Connections.
    pub connections: usize,
    /// Licences in a second.
    pub per_second: f64,
    /// What each took.
    pub microseconds: Times,
}

/// What is said of a world as a whole.
#[derive(Debug, Clone, Serialize)]
pub struct Host {
    /// The world.
    pub world: String,
    /// Size of the component.
    pub component_kib: usize,
    /// Until the host listened, its compiled code in the cache or not.
    pub ready_milliseconds: f64,
    /// The first licence, version 1.
    pub first_microseconds: f64,
    /// The most linear memory of an instance.
    pub memory_bytes: Option<u64>,
}

/// The private operation of OpenSSL, of `openssl speed`.
#[derive(Debug, Clone, Serialize)]
pub struct OpenSsl {
    /// Size of the key.
    pub bits: u32,
    /// A private operation.
    pub microseconds: f64,
}

/// Everything that was measured.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// OpenSSL, where there is one.
    pub openssl: Vec<OpenSsl>,
    /// Licences one after the other.
    pub licences: Vec<Licences>,
    /// Licences at once.
    pub throughput: Vec<Throughput>,
    /// What is said of worlds.
    pub hosts: Vec<Host>,
}

/// What is to be measured.
pub struct Plan {
    /// In which worlds.
    pub worlds: Vec<World>,
    /// How many licences one after the other.
    pub rounds: usize,
    /// On how many connections at once.
    pub connections: Vec<usize>,
    /// How long each of these.
    pub seconds: Duration,
}

impl Plan {
    /// Measures it.
    ///
    /// # Errors
    /// A licence that is refused, a host that does not start.
    pub fn run(&self) -> Result<Report> {
        let requests = Requests::new()?;
        let mut report = Report {
            openssl: [1024, 2048].into_iter().filter_map(openssl).collect(),
            ..Report::default()
        };
        for case in CASES {
            let measured = requests.measure(self.rounds, case, |request| {
                // Nothing is kept from one licence to the next, as in a fresh instance.
                let target = Target::here(Settings(fixtures::variables()))?;
                let (parts, body) = request.into_parts();
                let mut builder = Request::builder().method(parts.method);
                if let Some(headers) = builder.headers_mut() {
                    *headers = parts.headers;
                }
                Ok(target.send(builder, "/fairplay", &body)?.status().as_u16())
            })?;
            report.licences.push(measured.of("native", case));
        }
        for world in &self.worlds {
            self.world(*world, &requests, &mut report)?;
        }
        Ok(report)
    }

    fn world(&self, world: World, requests: &Requests, report: &mut Report) -> Result<()> {
        let name = format!("{world:?}").to_lowercase();
        let began = Instant::now();
        let options = Options {
            figures: Some((Ipv4Addr::LOCALHOST, 0).into()),
            ..Options::quiet()
        };
        let server = Server::start(
            Application::built_in(world, fixtures::variables())?,
            &options,
        )?;
        let ready = began.elapsed();
        let url = format!("{}/fairplay", server.url());
        let client = Client::new(LONGEST, None)?;
        let ask = |request| post(&client, &url, request);
        let first = requests.measure(1, CASES[0], ask)?;
        for case in CASES {
            report
                .licences
                .push(requests.measure(self.rounds, case, ask)?.of(&name, case));
        }
        for connections in &self.connections {
            report
                .throughput
                .push(self.at_once(&name, *connections, &url, requests)?);
        }
        report.hosts.push(Host {
            world: name,
            component_kib: crate::component(world).len() / 1024,
            ready_milliseconds: ready.as_secs_f64() * 1e3,
            first_microseconds: first.0.p50,
            memory_bytes: server
                .figures_address()
                .and_then(|address| memory(&client, &format!("http://{address}/metrics"))),
        });
        server.stop();
        Ok(())
    }

    /// As many licences as come in the time, on connections of their own.
    fn at_once(
        &self,
        world: &str,
        connections: usize,
        url: &str,
        requests: &Requests,
    ) -> Result<Throughput> {
        let is_over = AtomicBool::new(false);
        let began = Instant::now();
        let times: Result<Vec<Vec<f64>>> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..connections)
                .map(|_| {
                    scope.spawn(|| -> Result<Vec<f64>> {
                        let client = Client::new(LONGEST, None)?;
                        let mut times = Vec::new();
                        while !is_over.load(Ordering::Relaxed) {
                            let measured = requests
                                .measure(1, CASES[0], |request| post(&client, url, request))?;
                            times.push(measured.0.p50);
                        }
                        Ok(times)
                    })
                })
                .collect();
            std::thread::sleep(self.seconds);
            is_over.store(true, Ordering::Relaxed);
            let joined = workers
                .into_iter()
                .map(|worker| worker.join().unwrap_or_else(|_| Ok(Vec::new())));
            joined.collect()
        });
        let elapsed = began.elapsed().as_secs_f64();
        let times = times?.concat();
        Ok(Throughput {
            world: world.to_owned(),
            connections,
            per_second: f64::from(u32::try_from(times.len())?) / elapsed,
            microseconds: Times::of(times)?,
        })
    }
}

struct Measured(Times);

impl Measured {
    fn of(self, world: &str, (spc, token): (&'static str, &'static str)) -> Licences {
        Licences {
            world: world.to_owned(),
            spc,
            token,
            microseconds: self.0,
        }
    }
}

/// Requests with the fixtures' credentials and tokens.
struct Requests {
    spcs: Vec<(&'static str, Vec<u8>)>,
    tokens: Value,
}

impl Requests {
    fn new() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let keys = runtime.block_on(configured::application_keys(&fixtures::variables()));
        let [sdk4, sdk26, ..] = keys.as_slice() else {
            anyhow::bail!("the fixtures have two credentials");
        };
        let options = SpcOptions::new("skd://movie-1");
        let mut spcs = Vec::new();
        for (name, key, version) in [
            ("v1", sdk4, Version::V1),
            ("v2", sdk26, Version::V2),
            ("v3", sdk26, Version::V3),
        ] {
            let (spc, _) = key.spc(Wrapping::Version(version), &options, &mut random::system())?;
            spcs.push((name, spc));
        }
        Ok(Self {
            spcs,
            tokens: serde_json::from_str(fixtures::TOKENS)?,
        })
    }

    /// So many licences of a kind, one after the other.
    fn measure(
        &self,
        rounds: usize,
        (spc, token): (&str, &str),
        ask: impl Fn(Request<Vec<u8>>) -> Result<u16>,
    ) -> Result<Measured> {
        let (_, spc) = self
            .spcs
            .iter()
            .find(|(name, _)| *name == spc)
            .context("the SPC")?;
        let token = self.tokens[token].as_str().context("the token")?;
        let mut times = Vec::with_capacity(rounds);
        for _ in 0..rounds {
            let request = Request::post("/")
                .header(AUTHORIZATION, format!("Bearer {token}"))
                .body(spc.clone())?;
            let began = Instant::now();
            let status = ask(request)?;
            times.push(began.elapsed().as_secs_f64() * 1e6);
            ensure!(status == 200, "a licence was refused with status {status}");
        }
        Ok(Measured(Times::of(times)?))
    }
}

fn post(client: &Client, url: &str, mut request: Request<Vec<u8>>) -> Result<u16> {
    *request.uri_mut() = url.parse()?;
    Ok(client.exchange(request)?.status().as_u16())
}

/// The most linear memory of an instance, by the host's own figures.
fn memory(client: &Client, url: &str) -> Option<u64> {
    let request = Request::get(url).body(Vec::new()).ok()?;
    let text = String::from_utf8(client.exchange(request).ok()?.into_body()).ok()?;
    let mut lines = text.lines();
    lines
        .find_map(|line| line.strip_prefix("keylet_component_memory_peak_bytes "))?
        .parse()
        .ok()
}

/// The private operation of OpenSSL with a key of this size; `None` without OpenSSL.
fn openssl(bits: u32) -> Option<OpenSsl> {
    let speed = Command::new("openssl")
        .args(["speed", "-seconds", "1", "-mr", &format!("rsa{bits}")])
        .output()
        .ok()?;
    // +F2:<number>:<bits>:<private operations in a second>:<public operations>
    let text = String::from_utf8(speed.stdout).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("+F2:"))?;
    let in_a_second: f64 = line.split(':').nth(2)?.parse().ok()?;
    Some(OpenSsl {
        bits,
        microseconds: 1e6 / in_a_second,
    })
}
