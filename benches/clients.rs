//! `cargo bench --bench clients`: what one honest viewer waits beside a thousand clients that are slow, silent, or
//! send requests without reading the answers, in the embedded host. Each client needs two descriptors of this
//! process: `ulimit -n 4096` before it.

#![expect(clippy::unwrap_used, reason = "a benchmark ends where it cannot go on")]

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use keylet_cli::built_in;
use keylet_cli::fixtures::variables;
use keylet_e2e::kept;
use keylet_host::{Options, Server, World};

/// The licences that are measured.
const LICENCES: usize = 3_000;

/// The clients of each kind.
const SLOW: usize = 400;
const SILENT: usize = 400;
const PIPELINING: usize = 200;

/// How often a slow client sends a byte.
const PAUSE: Duration = Duration::from_millis(200);

fn main() {
    let request = kept::request();
    for world in [World::Wasip2, World::Wasip3] {
        let Ok(application) = built_in(world, variables()) else {
            println!("{world:?}: not built in, see the feature `all-worlds`");
            continue;
        };
        let server = Server::start(application, &Options::quiet()).unwrap();
        let quiet = honest(&server, &request);
        println!("{world:?}, alone: {}", shown(&quiet));
        let is_over = AtomicBool::new(false);
        let beside = std::thread::scope(|scope| {
            scope.spawn(|| slow(&server, &request, &is_over));
            scope.spawn(|| silent(&server, &is_over));
            scope.spawn(|| pipelining(&server, &request, &is_over));
            std::thread::sleep(Duration::from_secs(3));
            let beside = honest(&server, &request);
            is_over.store(true, Ordering::Relaxed);
            beside
        });
        println!(
            "{world:?}, beside {SLOW} slow, {SILENT} silent and {PIPELINING} pipelining clients: {}; p99 is {:.1} times that",
            shown(&beside),
            at(&beside, 99) / at(&quiet, 99)
        );
        server.stop();
    }
}

fn connect(server: &Server) -> TcpStream {
    kept::connect(server.address())
}

/// Licences one after the other on one connection, in milliseconds, sorted.
fn honest(server: &Server, request: &[u8]) -> Vec<f64> {
    let mut stream = connect(server);
    let mut times: Vec<f64> = (0..LICENCES)
        .map(|_| kept::licence(&mut stream, request).as_secs_f64() * 1e3)
        .collect();
    times.sort_by(f64::total_cmp);
    times
}

/// Sends the bodies of requests byte by byte. What the host gives up begins anew.
fn slow(server: &Server, request: &[u8], is_over: &AtomicBool) {
    let begin = || {
        let mut stream = connect(server);
        let head = request
            .windows(4)
            .position(|end| end == b"\r\n\r\n")
            .unwrap();
        stream.write_all(&request[..head + 4]).unwrap();
        stream
    };
    let mut clients: Vec<TcpStream> = (0..SLOW).map(|_| begin()).collect();
    while !is_over.load(Ordering::Relaxed) {
        for client in &mut clients {
            if client.write_all(b"x").is_err() {
                *client = begin();
            }
        }
        std::thread::sleep(PAUSE);
    }
}

/// Connects and says nothing.
fn silent(server: &Server, is_over: &AtomicBool) {
    let _clients: Vec<TcpStream> = (0..SILENT).map(|_| connect(server)).collect();
    while !is_over.load(Ordering::Relaxed) {
        std::thread::sleep(PAUSE);
    }
}

/// Sends requests as fast as they are taken, and reads nothing: until the buffers are full.
fn pipelining(server: &Server, request: &[u8], is_over: &AtomicBool) {
    let mut clients: Vec<TcpStream> = (0..PIPELINING).map(|_| connect(server)).collect();
    for client in &clients {
        client.set_nonblocking(true).unwrap();
    }
    while !is_over.load(Ordering::Relaxed) {
        for client in &mut clients {
            match client.write(request) {
                // A request that is cut off here is one that the host cannot read: it closes.
                Ok(written) if written == request.len() => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Ok(_) | Err(_) => {
                    *client = connect(server);
                    client.set_nonblocking(true).unwrap();
                }
            }
        }
        std::thread::sleep(PAUSE);
    }
}

fn at(times: &[f64], percent: usize) -> f64 {
    times[(times.len() - 1) * percent / 100]
}

fn shown(times: &[f64]) -> String {
    format!(
        "p50 {:.2} ms, p99 {:.2} ms, most {:.2} ms",
        at(times, 50),
        at(times, 99),
        at(times, 100)
    )
}
