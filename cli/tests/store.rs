//! The key-value stores of the embedded host: nothing that was acknowledged is lost.

#![expect(clippy::unwrap_used, reason = "a test ends where its expectation does")]

use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use keylet_cli::host::{NotACounter, Options, Server, Store, StoreChoice, World};
use keylet_probe::{MANIFEST, application, component};

const CLIENTS: i64 = 64;
const INCREMENTS: i64 = 1_000;

/// A directory that is removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("keylet-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A process that does not outlive its test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Runtime::new().unwrap().block_on(future)
}

/// A port that nobody listened at a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// A Redis server, where there is one on this machine.
fn redis(test: &str) -> Option<(Process, StoreChoice)> {
    let port = free_port();
    let server = Command::new("redis-server")
        .args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ])
        .stdout(Stdio::null())
        .spawn();
    let Ok(server) = server else {
        // Not `eprintln`, which the test runner would keep to itself.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED {test}: there is no redis-server"
        );
        return None;
    };
    let server = Process(server);
    let deadline = Instant::now() + Duration::from_secs(10);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "redis-server does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    Some((
        server,
        StoreChoice::Redis(format!("redis://127.0.0.1:{port}")),
    ))
}

/// Has a server that runs the probe add to a counter. `None` when it does not answer.
fn increment(agent: &ureq::Agent, url: &str, delta: i64) -> Option<i64> {
    let answer = agent
        .post(format!("{url}/increment?key=n&delta={delta}"))
        .send_empty();
    let sum = answer.ok()?.body_mut().read_to_string();
    sum.ok()?.parse().ok()
}

/// Many clients count through a component on a store.
fn count(store: &StoreChoice) {
    let options = Options {
        store: store.clone(),
        ..Options::quiet()
    };
    let server = Server::start(application(World::Wasip3, MANIFEST), &options).unwrap();
    let url = server.url();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let agent = ureq::Agent::new_with_defaults();
                let mut last = 0;
                for _ in 0..INCREMENTS {
                    let sum = increment(&agent, &url, 1).unwrap();
                    assert!(sum > last, "a client saw the counter fall");
                    last = sum;
                }
            });
        }
    });
    let agent = ureq::Agent::new_with_defaults();
    assert_eq!(increment(&agent, &url, 0), Some(CLIENTS * INCREMENTS));
    server.stop();
}

/// What Spin's interface promises of every store.
async fn values(choice: &StoreChoice) {
    let store = Store::open(choice).await.unwrap();
    assert_eq!(store.get("a").await.unwrap(), None);
    store.set("a", vec![0, 1, 255]).await.unwrap();
    store.set("b", Vec::new()).await.unwrap();
    assert_eq!(store.get("a").await.unwrap(), Some(vec![0, 1, 255]));
    assert_eq!(store.get("b").await.unwrap(), Some(Vec::new()));
    let mut keys = store.keys().await.unwrap();
    keys.sort();
    assert_eq!(keys, ["a", "b"]);
    store.delete("a").await.unwrap();
    store.delete("never there").await.unwrap();
    assert_eq!(store.get("a").await.unwrap(), None);
    assert_eq!(store.increment("n", 5).await.unwrap(), 5);
    assert_eq!(store.increment("n", -7).await.unwrap(), -2);
    store.set("text", b"not a counter".to_vec()).await.unwrap();
    let refused = store.increment("text", 1).await.unwrap_err();
    assert_eq!(
        refused.is::<NotACounter>(),
        !matches!(choice, StoreChoice::Redis(_)),
        "{refused}"
    );
    assert_eq!(
        store.get("text").await.unwrap(),
        Some(b"not a counter".to_vec())
    );
}

#[test]
fn every_increment_of_many_clients_is_counted_in_a_file() {
    let directory = Directory::new("count");
    let store = StoreChoice::File(directory.file("store.redb"));
    count(&store);
    let again = block_on(async { Store::open(&store).await.unwrap().increment("n", 0).await });
    assert_eq!(
        again.unwrap(),
        CLIENTS * INCREMENTS,
        "a store that is opened again has what it had"
    );
}

#[test]
fn every_increment_of_many_clients_is_counted_in_memory() {
    count(&StoreChoice::Memory);
}

#[test]
fn every_increment_of_many_clients_is_counted_in_redis() {
    if let Some((_server, store)) = redis("every_increment_of_many_clients_is_counted_in_redis") {
        count(&store);
    }
}

#[test]
fn values_are_kept_as_spin_keeps_them() {
    let directory = Directory::new("values");
    block_on(values(&StoreChoice::File(directory.file("store.redb"))));
    block_on(values(&StoreChoice::Memory));
    if let Some((_server, choice)) = redis("values_are_kept_as_spin_keeps_them") {
        block_on(values(&choice));
    }
}

#[test]
fn the_store_is_chosen_by_a_runtime_configuration_of_spins_form() {
    let directory = Directory::new("config");
    let chosen = |text: &str| {
        let path = directory.file("runtime-config.toml");
        std::fs::write(&path, text).unwrap();
        StoreChoice::from_runtime_config(&path)
    };
    let redis = "[key_value_store.default]\ntype = \"redis\"\nurl = \"redis://localhost:6379\"\n";
    assert_eq!(
        chosen(redis).unwrap(),
        Some(StoreChoice::Redis("redis://localhost:6379".into()))
    );
    let file = "[key_value_store.default]\ntype = \"spin\"\npath = \"store.redb\"\n";
    assert_eq!(
        chosen(file).unwrap(),
        Some(StoreChoice::File(directory.file("store.redb")))
    );
    assert_eq!(
        chosen("[key_value_store.other]\ntype = \"redis\"\n").unwrap(),
        None
    );
    assert!(chosen("[key_value_store.default]\ntype = \"azure_cosmos\"\n").is_err());
    assert!(chosen("[key_value_store.default]\ntype = \"redis\"\n").is_err());
}

/// `keylet serve` in a process of its own, on the probe of WASI 0.3, with its store below `state`.
fn serve(state: &Path, port: u16) -> Process {
    let application = state.join("spin.toml");
    std::fs::write(&application, MANIFEST).unwrap();
    std::fs::write(state.join("probe.wasm"), component(World::Wasip3)).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_keylet"))
        .args(["serve", "--world", "wasip3", "--listen"])
        .arg(format!("127.0.0.1:{port}"))
        .arg("--from")
        .arg(application)
        .arg("--state-dir")
        .arg(state)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let child = Process(child);
    let deadline = Instant::now() + Duration::from_secs(120);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "the server does not listen");
        std::thread::sleep(Duration::from_millis(50));
    }
    child
}

#[test]
fn a_killed_host_loses_no_increment_that_it_acknowledged() {
    let directory = Directory::new("kill");
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    let mut counted = 0;
    for round in 1..=3 {
        let server = serve(&directory.0, port);
        let acknowledged = AtomicI64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    let agent = ureq::Agent::new_with_defaults();
                    while increment(&agent, &url, 1).is_some() {
                        acknowledged.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            std::thread::sleep(Duration::from_secs(1));
            // SIGKILL: the host has no moment to put anything away.
            drop(server);
        });
        let acknowledged = acknowledged.into_inner();
        assert!(
            acknowledged > 50,
            "only {acknowledged} increments in a second"
        );

        let store = StoreChoice::File(directory.file("key_value.redb"));
        let sum = block_on(async {
            let store = Store::open(&store).await.unwrap();
            store.increment("n", 0).await.unwrap()
        });
        assert!(
            (acknowledged..=acknowledged + 16).contains(&(sum - counted)),
            "round {round}: {acknowledged} acknowledged, {} counted",
            sum - counted
        );
        counted = sum;
    }
}
