//! The key-value stores: nothing that was acknowledged is lost.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use keylet_host::{NotACounter, Options, Provided, Server, Store, StoreChoice, World};
use keylet_probe::{MANIFEST, application, component};

use crate::support::{Directory, at, free_port, redis, redis_at, serve, wait_for};

const CLIENTS: i64 = 64;
const INCREMENTS: i64 = 1_000;

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Runtime::new().unwrap().block_on(future)
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
        ..keylet_e2e::quiet()
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
    let store = Store::open(choice, true).unwrap();
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
    let again = block_on(async { Store::open(&store, true).unwrap().increment("n", 0).await });
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
fn a_redis_that_is_gone_fails_soon_and_is_used_again_when_it_is_back() {
    let port = free_port();
    let options = Options {
        store: at(port),
        ..keylet_e2e::quiet()
    };
    let server = Server::start(application(World::Wasip3, MANIFEST), &options).unwrap();
    let agent = ureq::Agent::new_with_defaults();
    let refused = || {
        let started = Instant::now();
        let answer = agent
            .post(format!("{}/increment?key=n", server.url()))
            .send_empty();
        assert!(matches!(answer, Err(ureq::Error::StatusCode(503))));
        assert!(started.elapsed() < Duration::from_secs(10));
    };
    refused();
    for _ in 0..2 {
        let Some(redis) = redis_at(port) else { return };
        wait_for(|| increment(&agent, &server.url(), 1).is_some());
        drop(redis);
        refused();
    }
    server.stop();
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
    let cut_off =
        "[key_value_store.default]\ntype = \"redis\"\nurl = \"redis://:password@localhost\n";
    let refused = format!("{:#}", chosen(cut_off).unwrap_err());
    assert!(!refused.contains("password"), "{refused}");
}

#[test]
fn a_killed_host_loses_no_increment_that_it_acknowledged() {
    let directory = Directory::new("kill");
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    let manifest = directory.file("spin.toml");
    std::fs::write(&manifest, MANIFEST).unwrap();
    std::fs::write(directory.file("probe.wasm"), component(World::Wasip3)).unwrap();
    let arguments = [
        "--world",
        "wasip3",
        "--from",
        manifest.to_str().unwrap(),
        "--state-dir",
        directory.0.to_str().unwrap(),
    ];
    let mut counted = 0;
    for round in 1..=3 {
        let server = serve(port, &arguments, &Provided::new());
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
            let store = Store::open(&store, true).unwrap();
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
