//! A store that accepts connections and does not answer, on a host that waits for it without a limit, as Spin does:
//! it holds up what needs it and nothing else.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use keylet_cli::built_in;
use keylet_host::{AsSpin, Options, Server, StoreChoice, World};

use crate::support::{Answer, fixture, get, post_spc_with, variables_with};
use keylet_e2e::processes::redis;

/// More than a request without a store takes on a busy machine, and less than any wait for a store.
const AT_ONCE: Duration = Duration::from_secs(1);

/// How long a call of WASI 0.3 waits for the store, and what the rest may take.
const GIVEN_UP: Duration = Duration::from_millis(3_500);

/// What stands between a host and its Redis. Until it is opened, it takes everything and hands on nothing.
pub struct Gate {
    address: SocketAddr,
    is_open: Arc<(Mutex<bool>, Condvar)>,
    is_over: Arc<AtomicBool>,
}

impl Gate {
    /// Before this Redis, closed.
    pub fn before(redis: &StoreChoice) -> Self {
        let StoreChoice::Redis(url) = redis else {
            panic!("it is no Redis");
        };
        let redis: SocketAddr = url.trim_start_matches("redis://").parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let this = Self {
            address: listener.local_addr().unwrap(),
            is_open: Arc::default(),
            is_over: Arc::default(),
        };
        let (is_open, is_over) = (Arc::clone(&this.is_open), Arc::clone(&this.is_over));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                let (client, is_open) = (client.unwrap(), Arc::clone(&is_open));
                std::thread::spawn(move || {
                    let server = TcpStream::connect(redis).unwrap();
                    let answers = (server.try_clone().unwrap(), client.try_clone().unwrap());
                    std::thread::spawn(move || forward(answers.0, answers.1));
                    let (open, opened) = &*is_open;
                    let closed = opened.wait_while(open.lock().unwrap(), |open| !*open);
                    drop(closed.unwrap());
                    forward(client, server);
                });
            }
        });
        this
    }

    /// What stands behind it.
    pub fn store(&self) -> StoreChoice {
        StoreChoice::Redis(format!("redis://{}", self.address))
    }

    pub fn open(&self) {
        *self.is_open.0.lock().unwrap() = true;
        self.is_open.1.notify_all();
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.open();
        let _ = TcpStream::connect(self.address);
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream) {
    let mut piece = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut piece) {
        if to.write_all(&piece[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

fn serve(world: World, gate: &Gate, store_failure: &str) -> Server {
    let variables = variables_with(&[
        ("store_failure", store_failure),
        ("server_secret", "what nobody but this server knows"),
    ]);
    let options = Options {
        store: gate.store(),
        as_spin: AsSpin {
            waits_for_store: true,
            ..AsSpin::default()
        },
        ..Options::quiet()
    };
    let application = built_in(world, variables).unwrap();
    Server::start(application, &options).unwrap()
}

/// A licence with a fixture token, and how long it takes.
fn licence(server: &Server, name: &str) -> (Answer, Duration) {
    let started = Instant::now();
    let answer = post_spc_with(server, &fixture("spc/v1.bin"), name);
    (answer, started.elapsed())
}

fn code(answer: &Answer) -> &str {
    answer.header("x-keylet-code").unwrap_or("ok")
}

#[test]
fn a_store_that_does_not_answer_holds_up_what_needs_it_and_nothing_else() {
    let Some((_process, redis)) = redis("silent-store") else {
        return;
    };
    for world in [World::Wasip2, World::Wasip3] {
        let gate = Gate::before(&redis);
        let server = serve(world, &gate, "deny");
        std::thread::scope(|scope| {
            let counted = scope.spawn(|| licence(&server, "million-uses"));
            std::thread::sleep(Duration::from_millis(300));
            let began = Instant::now();
            for _ in 0..20 {
                let (answer, took) = licence(&server, "hs256");
                assert_eq!((answer.status, code(&answer)), (200, "ok"), "{world:?}");
                assert!(took < AT_ONCE, "{world:?}: {took:?}");
                let health = get(&server, "/healthz");
                assert_eq!(health.status, 200);
                assert!(health.json().get("store").is_none());
            }
            let each = began.elapsed() / 20;
            println!("{world:?}: a licence and /healthz beside it: {each:?}");
            if world == World::Wasip3 {
                let (answer, took) = counted.join().unwrap();
                println!("{world:?}: a counted licence: {took:?}");
                assert_eq!(code(&answer), "store_unavailable");
                assert!(took < GIVEN_UP, "{took:?}");
                assert_eq!(
                    get(&server, "/healthz?store").json()["store"],
                    "unavailable"
                );
            } else {
                // A component of WASI 0.2 cannot stop waiting.
                assert!(!counted.is_finished());
                gate.open();
                let (answer, _) = counted.join().unwrap();
                assert_eq!(code(&answer), "ok");
            }
        });
        // It is back.
        gate.open();
        std::thread::sleep(Duration::from_millis(1_200));
        let (answer, took) = licence(&server, "million-uses");
        println!("{world:?}: when it is back: {took:?}");
        assert_eq!((code(&answer), took < AT_ONCE), ("ok", true), "{took:?}");
        assert_eq!(get(&server, "/healthz?store").json()["store"], "available");
        server.stop();
    }
}

#[test]
fn where_the_operator_allows_it_a_licence_waits_once_for_a_silent_store() {
    let Some((_process, redis)) = redis("silent-store-allowed") else {
        return;
    };
    let gate = Gate::before(&redis);
    let server = serve(World::Wasip3, &gate, "allow");
    let (answer, took) = licence(&server, "million-uses");
    assert_eq!((code(&answer), took < GIVEN_UP), ("ok", true), "{took:?}");
    server.stop();
}
