//! `cargo bench --bench store`: what one store operation adds to a request, on each store and in each
//! of Spin's worlds; and how long one slow operation holds up the other requests of an instance.
//!
//! Redis is measured where there is a `redis-server` to start.

#![expect(clippy::unwrap_used, reason = "a benchmark ends where it cannot go on")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use keylet_host::{Options, Reuse, Server, StoreChoice, World};
use keylet_probe::{MANIFEST, application};

const ROUNDS: usize = 1_000;

/// How long a reply of the slow Redis takes.
const DELAY: Duration = Duration::from_millis(250);

/// Requests beside the slow one, as many as one instance takes with it.
const OTHERS: usize = 15;

fn main() {
    let file = std::env::temp_dir().join(format!("keylet-bench-{}.redb", std::process::id()));
    let redis = Redis::start();
    let mut stores = vec![
        ("memory", StoreChoice::Memory),
        ("file", StoreChoice::File(file.clone())),
    ];
    stores.extend(
        redis
            .as_ref()
            .map(|redis| ("Redis", redis.at(redis.address))),
    );

    println!("{ROUNDS} requests each, one client, microseconds at p50 (p99), host included\n");
    println!(
        "{:<18}{:>16}{:>16}{:>16}{:>16}",
        "", "none", "get", "set", "increment"
    );
    for world in [World::Wasip2, World::Wasip3] {
        for (name, store) in &stores {
            let server = serve(world, store, world.default_reuse());
            let columns = ["/nothing", "/get?key=a", "/set?key=a", "/increment?key=n"]
                .map(|path| measure(&server, path));
            println!("{:<18}{}", format!("{world:?} {name}"), columns.concat());
            server.stop();
        }
    }
    let _ = std::fs::remove_file(file);

    let Some(redis) = &redis else {
        println!("\nthere is no redis-server, so no slow store is measured");
        return;
    };
    println!(
        "\none operation on a Redis that answers after {} ms, and {OTHERS} requests without the \
         store beside it;\nmilliseconds that those take: least, middle, most",
        DELAY.as_millis()
    );
    for (world, concurrent) in [(World::Wasip2, 1), (World::Wasip3, 1), (World::Wasip3, 16)] {
        let slow = Arc::new(AtomicBool::new(false));
        let address = delaying(redis.address, Arc::clone(&slow));
        let reuse = Reuse {
            concurrent,
            ..world.default_reuse()
        };
        let server = serve(world, &redis.at(address), reuse);
        for operation in ["/get?key=a", "/set?key=a", "/increment?key=n"] {
            slow.store(false, Ordering::SeqCst);
            println!(
                "{world:?}, {concurrent} at a time, {operation}: {}",
                beside_a_slow_one(&server, &slow, operation)
            );
        }
        server.stop();
    }
}

fn serve(world: World, store: &StoreChoice, reuse: Reuse) -> Server {
    let options = Options {
        store: store.clone(),
        reuse: Some(reuse),
        ..Options::quiet()
    };
    Server::start(application(world, MANIFEST), &options).unwrap()
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .into()
}

/// How long a request takes, in milliseconds.
fn ask(agent: &ureq::Agent, server: &Server, path: &str) -> f64 {
    let url = format!("{}{path}", server.url());
    let started = Instant::now();
    let mut response = agent.post(&url).send_empty().unwrap();
    response.body_mut().read_to_vec().unwrap();
    started.elapsed().as_secs_f64() * 1e3
}

fn measure(server: &Server, path: &str) -> String {
    let agent = agent();
    for _ in 0..20 {
        ask(&agent, server, path);
    }
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|_| ask(&agent, server, path) * 1e3)
        .collect();
    times.sort_by(f64::total_cmp);
    format!(
        "{:>8.0} ({:>5.0})",
        times[ROUNDS / 2],
        times[ROUNDS * 99 / 100]
    )
}

/// What the others take while one waits for the store.
fn beside_a_slow_one(server: &Server, slow: &AtomicBool, operation: &str) -> String {
    // Every connection is there, and an instance with it.
    let agents: Vec<ureq::Agent> = (0..=OTHERS).map(|_| agent()).collect();
    for agent in &agents {
        ask(agent, server, operation);
    }
    slow.store(true, Ordering::SeqCst);
    let (first, others) = agents.split_first().unwrap();
    let mut times: Vec<f64> = std::thread::scope(|scope| {
        scope.spawn(|| ask(first, server, operation));
        std::thread::sleep(DELAY / 10);
        let others: Vec<_> = others
            .iter()
            .map(|agent| scope.spawn(|| ask(agent, server, "/nothing")))
            .collect();
        others
            .into_iter()
            .map(|other| other.join().unwrap())
            .collect()
    });
    times.sort_by(f64::total_cmp);
    format!(
        "{:.1}, {:.1}, {:.1}",
        times[0],
        times[OTHERS / 2],
        times[OTHERS - 1]
    )
}

/// A Redis server of this benchmark's own.
struct Redis {
    process: Child,
    address: SocketAddr,
}

impl Redis {
    fn start() -> Option<Self> {
        let address = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let process = Command::new("redis-server")
            .args(["--port", &address.port().to_string()])
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn()
            .ok()?;
        while TcpStream::connect(address).is_err() {
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(Self { process, address })
    }

    fn at(&self, address: SocketAddr) -> StoreChoice {
        StoreChoice::Redis(format!("redis://{address}"))
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A proxy before a server. While `slow` is set, it delays every reply.
fn delaying(server: SocketAddr, slow: Arc<AtomicBool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let server = TcpStream::connect(server).unwrap();
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            let (from_client, to_server) =
                (client.try_clone().unwrap(), server.try_clone().unwrap());
            let slow = Arc::clone(&slow);
            std::thread::spawn(move || relay(from_client, to_server, || ()));
            std::thread::spawn(move || {
                relay(server, client, || {
                    if slow.load(Ordering::SeqCst) {
                        std::thread::sleep(DELAY);
                    }
                });
            });
        }
    });
    address
}

fn relay(mut from: TcpStream, mut to: TcpStream, before: impl Fn()) {
    let mut piece = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut piece) {
        before();
        if to.write_all(&piece[..read]).is_err() {
            break;
        }
    }
}
