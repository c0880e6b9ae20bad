//! `cargo bench --bench licence`: what a licence costs in each world, beside the same code compiled
//! for this machine.
//!
//! Under WASI 0.2 each request gets a fresh instance, which reads variables, keys and token anew;
//! the native column does so too. Under WASI 0.3 an instance is used for 128 requests.

#![expect(clippy::unwrap_used, reason = "a benchmark ends where it cannot go on")]

#[path = "../tests/suite/support.rs"]
#[expect(dead_code, reason = "the tests use all of it")]
mod support;

use std::time::{Duration, Instant};

use keylet::service::Service;
use keylet_cli::fixtures;
use keylet_cli::host::Server;

use support::{Native, WORLDS, fixture, run, serve_in, token};

const ROUNDS: usize = 500;

fn main() {
    let before = peak_memory();
    let bearer = format!("Bearer {}", token("hs256"));
    let natively = |spc: &[u8]| {
        let service = Service::new(Native::new(fixtures::variables()));
        let request = http::Request::post("/fairplay").header("authorization", &bearer);
        let reply = run(service.handle(request.body(spc.to_vec()).unwrap()));
        assert_eq!(reply.status(), 200);
    };
    println!(
        "{ROUNDS} licences each, HS256 token, one client; milliseconds; ratio to native at p50\n"
    );
    println!(
        "{:<10}{:<6}{:>8}{:>8}{:>8}{:>8}",
        "", "SPC", "p50", "p99", "mean", "ratio"
    );
    let native: Vec<f64> = ["v1", "v2", "v3"]
        .iter()
        .map(|name| {
            let spc = fixture(&format!("spc/{name}.bin"));
            let times = measure(|| natively(&spc));
            row("native", name, &times, percentile(&times, 50));
            percentile(&times, 50)
        })
        .collect();
    let mut notes = Vec::new();
    for world in WORLDS {
        let started = Instant::now();
        let server = serve_in(world, &fixtures::variables());
        let start = ms(started.elapsed());
        let over_http = client(&server, &bearer);
        let first = Instant::now();
        over_http(&fixture("spc/v1.bin"));
        let first = ms(first.elapsed());
        let mut later = Vec::new();
        for (name, native) in ["v1", "v2", "v3"].iter().zip(&native) {
            let spc = fixture(&format!("spc/{name}.bin"));
            let times = measure(|| over_http(&spc));
            row(&format!("{world:?}"), name, &times, *native);
            later.push(percentile(&times, 50));
        }
        notes.push(format!(
            "{:<10}{:>15}{start:>16.1}{first:>16.2}{:>16.2}",
            format!("{world:?}"),
            keylet_cli::component(world).len() / 1024,
            later[0],
        ));
        server.stop();
    }
    println!(
        "\n{:<10}{:>15}{:>16}{:>16}{:>16}",
        "", "component, KiB", "host ready, ms", "first v1, ms", "later v1, p50"
    );
    println!("{}", notes.join("\n"));
    if let (Some(before), Some(after)) = (before, peak_memory()) {
        println!(
            "peak memory of the process with all of it: {after} KiB, of which {before} KiB at its start"
        );
    }
}

/// What asks a server for a licence, over one connection.
fn client(server: &Server, bearer: &str) -> impl Fn(&[u8]) + use<> {
    let agent = ureq::Agent::new_with_defaults();
    let (url, bearer) = (format!("{}/fairplay", server.url()), bearer.to_owned());
    move |spc| {
        let request = agent.post(&url).header("authorization", &bearer);
        let mut response = request
            .content_type("application/octet-stream")
            .send(spc)
            .unwrap();
        response.body_mut().read_to_vec().unwrap();
    }
}

fn row(column: &str, name: &str, times: &[f64], native: f64) {
    let median = percentile(times, 50);
    println!(
        "{column:<10}{name:<6}{median:>8.2}{:>8.2}{:>8.2}{:>8.1}",
        percentile(times, 99),
        mean(times),
        median / native,
    );
}

/// Times in milliseconds, sorted.
fn measure(mut once: impl FnMut()) -> Vec<f64> {
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let started = Instant::now();
            once();
            ms(started.elapsed())
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times
}

fn percentile(sorted: &[f64], percent: usize) -> f64 {
    sorted[(sorted.len() - 1) * percent / 100]
}

fn mean(times: &[f64]) -> f64 {
    times.iter().sum::<f64>() / f64::from(u32::try_from(times.len()).unwrap())
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The peak resident set of this process in KiB, where the system tells.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}
