//! `cargo bench --bench licence`: what a licence costs in the component, beside the same code
//! compiled for this machine.
//!
//! Each request gets a fresh instance, as under Spin with WASI 0.2: variables, keys and token are
//! read anew in both columns.

#![expect(clippy::unwrap_used, reason = "a benchmark ends where it cannot go on")]

#[path = "../tests/suite/support.rs"]
#[expect(dead_code, reason = "the tests use all of it")]
mod support;

use std::time::{Duration, Instant};

use keylet::service::Service;
use keylet_cli::fixtures;

use support::{Native, fixture, run, serve, token};

const ROUNDS: usize = 2_000;

fn main() {
    println!("component: {} KiB", keylet_cli::COMPONENT.len() / 1024);
    let before = peak_memory();
    let started = Instant::now();
    let server = serve(&fixtures::variables());
    println!(
        "start of the host, component compiled or cached: {:.1} ms",
        ms(started.elapsed())
    );

    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .into();
    let url = format!("{}/fairplay", server.url());
    let bearer = format!("Bearer {}", token("hs256"));
    let over_http = |spc: &[u8]| {
        let request = agent.post(&url).header("authorization", &bearer);
        let mut response = request
            .content_type("application/octet-stream")
            .send(spc)
            .unwrap();
        assert_eq!(response.status(), 200);
        response.body_mut().read_to_vec().unwrap();
    };
    let natively = |spc: &[u8]| {
        let service = Service::new(Native(fixtures::variables()));
        let request = http::Request::post("/fairplay").header("authorization", &bearer);
        let reply = run(service.handle(request.body(spc.to_vec()).unwrap()));
        assert_eq!(reply.status(), 200);
    };

    let first = Instant::now();
    over_http(&fixture("spc/v1.bin"));
    println!("first licence: {:.2} ms\n", ms(first.elapsed()));

    println!(
        "HS256 token, {ROUNDS} licences each, ms   component over HTTP        native, no HTTP       ratio"
    );
    println!(
        "                                         p50      p99      mean     p50      mean     of p50"
    );
    for name in ["v1", "v2", "v3"] {
        let spc = fixture(&format!("spc/{name}.bin"));
        let component = measure(|| over_http(&spc));
        let native = measure(|| natively(&spc));
        println!(
            "SPC {name:<37} {:<8.2} {:<8.2} {:<8.2} {:<8.2} {:<8.2} {:.1}",
            percentile(&component, 50),
            percentile(&component, 99),
            mean(&component),
            percentile(&native, 50),
            mean(&native),
            percentile(&component, 50) / percentile(&native, 50),
        );
    }
    if let (Some(before), Some(after)) = (before, peak_memory()) {
        println!(
            "\npeak memory of the process: {after} KiB, of which {before} KiB before the host started"
        );
    }
    server.stop();
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
