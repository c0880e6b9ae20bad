//! `cargo bench --bench cold`: what a request costs that gets a fresh instance, stage by stage.
//!
//! Each row is a request that is refused one stage later than the row above it, so that the
//! difference of two rows is the cost of a stage. Under WASI 0.3 the instance has read its settings
//! already: the difference of the columns is what an instance does before its first byte of work.

#![expect(clippy::unwrap_used, reason = "a benchmark ends where it cannot go on")]

#[path = "../tests/suite/support.rs"]
#[expect(dead_code, reason = "the tests use all of it")]
mod support;

use std::time::Instant;

use keylet_cli::fixtures;
use keylet_cli::host::{Application, Options, Server};

use support::{WORLDS, fixture, token};

const ROUNDS: usize = 500;

/// What is done, and the request that ends there: path, token, SPC, status.
const STAGES: [(&str, &str, &str, &str, u16); 6] = [
    ("instance, request, CORS setting", "/nothing", "", "", 404),
    ("body, token sought", "/fairplay", "", "spc/v1.bin", 401),
    (
        "token settings read, signature verified",
        "/fairplay",
        "expired",
        "spc/v1.bin",
        401,
    ),
    (
        "credentials read",
        "/fairplay",
        "hs256",
        "spc/bad-certificate.bin",
        400,
    ),
    (
        "SPC opened, key records read",
        "/fairplay",
        "hs256",
        "spc/refused-no-key.bin",
        404,
    ),
    (
        "licence, version 1",
        "/fairplay",
        "hs256",
        "spc/v1.bin",
        200,
    ),
];

fn main() {
    println!("{ROUNDS} requests each, one client, microseconds at p50 (p99), host included\n");
    println!("{:<42}{:>16}{:>16}{:>16}", "", "Wasip2", "Wasip3", "Wasi");
    let servers = WORLDS.map(|world| {
        let application = Application::built_in(world, fixtures::variables()).unwrap();
        let options = Options {
            figures: Some(([127, 0, 0, 1], 0).into()),
            ..Options::quiet()
        };
        Server::start(application, &options).unwrap()
    });
    for (what, path, name, spc, status) in STAGES {
        let columns = servers
            .iter()
            .map(|server| measure(server, path, name, spc, status));
        println!("{what:<42}{}", columns.collect::<String>());
    }
    println!();
    for (world, server) in WORLDS.iter().zip(&servers) {
        let url = format!("http://{}/metrics", server.figures_address().unwrap());
        let text = ureq::get(url)
            .call()
            .unwrap()
            .body_mut()
            .read_to_string()
            .unwrap();
        let peak = text
            .lines()
            .find_map(|line| line.strip_prefix("keylet_component_memory_peak_bytes "))
            .unwrap();
        println!("{world:?}: most linear memory of an instance {peak} bytes");
    }
    servers.into_iter().for_each(Server::stop);
}

fn measure(server: &Server, path: &str, name: &str, spc: &str, status: u16) -> String {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .into();
    let url = format!("{}{path}", server.url());
    let bearer = (!name.is_empty()).then(|| format!("Bearer {}", token(name)));
    let spc = if spc.is_empty() {
        Vec::new()
    } else {
        fixture(spc)
    };
    let once = || {
        let started = Instant::now();
        let mut response = if spc.is_empty() {
            agent.get(&url).call().unwrap()
        } else {
            let mut request = agent.post(&url);
            if let Some(bearer) = &bearer {
                request = request.header("authorization", bearer);
            }
            request.send(&spc).unwrap()
        };
        assert_eq!(response.status(), status);
        response.body_mut().read_to_vec().unwrap();
        started.elapsed().as_secs_f64() * 1e6
    };
    for _ in 0..20 {
        once();
    }
    let mut times: Vec<f64> = (0..ROUNDS).map(|_| once()).collect();
    times.sort_by(f64::total_cmp);
    format!(
        "{:>8.0} ({:>5.0})",
        times[ROUNDS / 2],
        times[ROUNDS * 99 / 100]
    )
}
