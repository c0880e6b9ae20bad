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

/// A key and its value.
type Entry = (String, &'static str);

/// Keys that are over, one that is not, and one of another program; by the system's clock.
fn aged() -> ([Entry; 4], [Entry; 3]) {
    let now = keylet::platform::system_time();
    let day = now / 86_400;
    let old = [
        (format!("slot/{}/v/0", now - 86_400), "1"),
        (format!("challenge/{}/aa", now / 600 - 100), "1"),
        ("use/old".to_owned(), "1"),
        (format!("use-last/{}/old/l", day - 3), "1 1"),
    ];
    let kept = [
        (format!("slot/{now}/v/0"), "1"),
        ("key/movie".to_owned(), "record"),
        ("another/program".to_owned(), "1"),
    ];
    (old, kept)
}

async fn fill(store: &Store) {
    let (old, kept) = aged();
    for (key, value) in old.into_iter().chain(kept) {
        store.set(&key, value.into()).await.unwrap();
    }
}

fn keylet(arguments: &[&str]) -> (bool, String) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_keylet"))
        .args(arguments)
        .env("KEYLET_OPERATOR_TOKEN", OPERATOR)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

const OPERATOR: &str = "the operator's token, long enough to be one";

/// The families of a report, each with its keys and how many of them are over.
fn families(report: &str) -> Vec<(String, u64, u64)> {
    let report: serde_json::Value = serde_json::from_str(report).unwrap();
    assert_eq!(report["unknown"], 1, "{report}");
    let families = report["families"].as_object().unwrap().iter();
    let number = |value: &serde_json::Value| value.as_u64().unwrap();
    families
        .map(|(name, family)| {
            (
                name.clone(),
                number(&family["keys"]),
                number(&family["over"]),
            )
        })
        .collect()
}

/// Says what is over, and deletes that alone.
fn sweeps(place: &[&str], keys: impl Fn() -> Vec<String>) {
    let run = |words: &[&str]| {
        let (is_done, said) = keylet(&[words, place].concat());
        assert!(is_done, "{said}");
        said
    };
    let before = keys();
    let expected = [
        ("challenge", 1, 1),
        ("key", 1, 0),
        ("slot", 2, 1),
        ("use", 1, 1),
        ("use-last", 1, 1),
    ]
    .map(|(name, keys, over)| (name.to_owned(), keys, over));
    assert_eq!(families(&run(&["store", "stats", "--json"])), expected);
    assert!(run(&["store", "stats"]).contains("use-last"));
    assert_eq!(
        families(&run(&["store", "sweep", "--dry-run", "--json"])),
        expected
    );
    assert_eq!(keys(), before);
    assert_eq!(families(&run(&["store", "sweep", "--json"])), expected);
    let mut left = keys();
    left.sort();
    let mut kept = aged()
        .1
        .map(|(key, _)| key.split('/').next().unwrap().to_owned());
    kept.sort();
    assert_eq!(
        left.iter()
            .map(|key| key.split('/').next().unwrap())
            .collect::<Vec<_>>(),
        kept
    );
    assert!(run(&["store", "sweep"]).starts_with("0 of 3 keys deleted"));
}

#[test]
fn a_sweep_of_a_file_or_a_redis_deletes_what_is_over_and_nothing_else() {
    let directory = Directory::new("sweep");
    let path = directory.file("store.redb");
    let of = |choice: &StoreChoice| {
        let choice = choice.clone();
        move || block_on(async { Store::open(&choice, true).unwrap().keys().await.unwrap() })
    };
    let file = StoreChoice::File(path.clone());
    block_on(async { fill(&Store::open(&file, true).unwrap()).await });
    sweeps(&["--store", path.to_str().unwrap()], of(&file));
    let missing = keylet(&["store", "sweep", "--store", "/nowhere/store.redb"]);
    assert!(
        !missing.0 && missing.1.contains("there is no such store"),
        "{}",
        missing.1
    );

    let Some((_server, choice)) = redis("a_sweep_of_a_file_or_a_redis") else {
        return;
    };
    block_on(async { fill(&Store::open(&choice, true).unwrap()).await });
    let StoreChoice::Redis(url) = &choice else {
        unreachable!()
    };
    sweeps(&["--store", url], of(&choice));
}

#[test]
fn a_server_sweeps_its_own_store() {
    let directory = Directory::new("sweep-server");
    let file = StoreChoice::File(directory.file("key_value.redb"));
    block_on(async { fill(&Store::open(&file, true).unwrap()).await });
    let port = free_port();
    let variables = Provided::from([("operator_token".to_owned(), OPERATOR.to_owned())]);
    let state = directory.0.to_str().unwrap();
    let server = serve(port, &["--state-dir", state], &variables);
    let url = format!("http://127.0.0.1:{port}");
    // What says by itself that it is over goes when the host starts.
    wait_for(|| {
        keylet(&["store", "stats", "--json", "--url", &url])
            .1
            .matches("\"over\": 0")
            .count()
            == 2
    });
    let (is_done, said) = keylet(&["store", "sweep", "--server", &url]);
    assert!(is_done && said.starts_with("2 of 5 keys deleted"), "{said}");
    drop(server);
    let left = block_on(async { Store::open(&file, true).unwrap().keys().await.unwrap() });
    assert_eq!(left.len(), 3, "{left:?}");
}

#[test]
fn redis_forgets_what_says_when_it_is_over_and_nothing_else() {
    let Some((_server, choice)) = redis("redis_forgets_what_says_when_it_is_over") else {
        return;
    };
    let StoreChoice::Redis(url) = &choice else {
        unreachable!()
    };
    let now = keylet::platform::system_time();
    let day = now / 86_400;
    let (slot, repeat) = (
        format!("slot/{now}/v/0"),
        format!("use-repeat/{}/t/l/1", day + 2),
    );
    let (challenge, last) = (
        format!("challenge/{}/aa", now / 600),
        format!("use-last/{day}/t/l"),
    );
    let far = format!("use-repeat/{}/t/l/1", u64::MAX / 86_400);
    block_on(async {
        let store = Store::open(&choice, true).unwrap();
        for key in [
            &slot,
            &repeat,
            &far,
            "use/t",
            "session-end/1/id",
            "another/counter",
        ] {
            assert_eq!(store.increment(key, 2).await.unwrap(), 2);
            assert_eq!(store.increment(key, 1).await.unwrap(), 3);
        }
        for key in [&challenge, &last, "key/movie", "session/v/0"] {
            store.set(key, b"1".to_vec()).await.unwrap();
        }
    });
    let port = url.rsplit(':').next().unwrap().trim_end_matches('/');
    let seconds = |key: &str| {
        let output = std::process::Command::new("redis-cli")
            .args(["-p", port, "ttl", key])
            .output();
        let said = String::from_utf8(output.unwrap().stdout).unwrap();
        said.trim().parse::<i64>().unwrap()
    };
    for (key, least, most) in [
        (&slot, 7_200 + 1_100, 7_200 + 1_200),
        (&challenge, 7_200 + 500, 7_200 + 1_200),
        (&repeat, 2 * 86_400, 3 * 86_400 + 7_200),
    ] {
        let left = seconds(key);
        assert!((least..=most).contains(&left), "{key}: {left}");
    }
    for key in [
        &far,
        &last,
        "use/t",
        "session-end/1/id",
        "another/counter",
        "key/movie",
        "session/v/0",
    ] {
        assert_eq!(seconds(key), -1, "{key}");
    }
}
