//! Two hosts with one Redis under load, while one is stopped, one is killed, variables are rotated and Redis restarts.
//!
//! Clients go through what a balancer does: it asks `/healthz` of each host, and sends a request whose connection breaks to the
//! other one. Each answer is judged, and devices that hold a lease are counted from their CKCs.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use http::Request;
use keylet::fairplay::client::PlaybackState;
use keylet_cli::client::Client;
use keylet_cli::device::{self, Licence, Playback, SpcOptions};
use keylet_cli::fixtures;
use keylet_cli::jwt::Signer;
use keylet_cli::random;
use keylet_e2e::leases::Leases;
use keylet_host::Provided;
use serde_json::{Value, json};

use crate::support::{Directory, Process, device, free_port, redis_with, serve, signal};

/// Streams that the viewer may have.
const LIMIT: usize = 3;

/// Devices of the viewer.
const DEVICES: u8 = 8;

/// Licences that a token is good for.
const USES: u32 = 2;

/// The content key before the rotation, and after it.
const KEYS: [[u8; 16]; 2] = [[1; 16], [2; 16]];

/// The keys of tokens, of which the second one is new.
const SIGNERS: [[u8; 32]; 2] = [[7; 32], [8; 32]];

/// Clients that ask at the same time.
const CLIENTS: u8 = 8;

/// How long the load lasts: each of the four events has a part of it, and a quiet part is the first and the last.
fn seconds() -> u64 {
    std::env::var("KEYLET_OUTAGE_SECONDS").map_or(12, |seconds| seconds.parse().unwrap())
}

/// Requests a second.
fn rate() -> u32 {
    std::env::var("KEYLET_OUTAGE_RATE").map_or(40, |rate| rate.parse().unwrap())
}

/// A host, and whether the balancer sends requests there.
struct Host {
    port: u16,
    is_healthy: AtomicBool,
}

/// What is wrong for now, so that a refusal may be.
#[derive(Default)]
struct Weather {
    /// Redis is away, or was a moment ago.
    is_store_away: AtomicBool,
    /// 0 before the variables are rotated, 1 while they are, 2 after that.
    rotation: AtomicU8,
}

/// What was seen.
#[derive(Default)]
struct Seen {
    given: AtomicU32,
    refused: Mutex<BTreeMap<String, u32>>,
    moved: AtomicU32,
    most: AtomicU32,
}

fn claims(subject: &str, terms: &Value) -> Value {
    let mut entry = terms.clone();
    entry["keys"] = json!(["*"]);
    json!({
        "sub": subject, "iss": "test", "aud": "test", "exp": keylet::platform::system_time() + 3600,
        "entitlements": [entry],
    })
}

fn token(signer: usize, claims: &Value) -> String {
    let signer = Signer::Hs256(SIGNERS[signer].to_vec());
    signer.token(None, claims, &mut random::system()).unwrap()
}

/// A device by its number, in a playback of its own.
fn player(number: u8) -> SpcOptions {
    let playback = Playback {
        session: number.into(),
        date: 1_700_000_000,
    };
    SpcOptions {
        hu: Some([number; 20]),
        ..SpcOptions::new("skd://movie-1").playing_in(playback, PlaybackState::FIRST)
    }
}

/// The hosts behind a balancer.
struct Balancer<'a> {
    hosts: &'a [Host; 2],
    seen: &'a Seen,
    turn: AtomicU32,
}

impl Balancer<'_> {
    /// A licence for a device. Two hosts at least are tried before it is given up.
    fn licence(
        &self,
        client: &Client,
        token: &str,
        options: &SpcOptions,
    ) -> Result<Licence, (u16, String)> {
        let (spc, secrets) = device(options);
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let turn = usize::try_from(self.turn.fetch_add(1, Ordering::Relaxed)).unwrap();
            let pair = [&self.hosts[turn % 2], &self.hosts[(turn + 1) % 2]];
            let healthy = pair
                .into_iter()
                .find(|host| host.is_healthy.load(Ordering::Relaxed));
            let host = healthy.unwrap_or(pair[0]);
            let request = Request::post(format!("http://127.0.0.1:{}/fairplay", host.port))
                .header("authorization", format!("Bearer {token}"))
                .body(spc.clone());
            match client.exchange(request.unwrap()) {
                Ok(answer) if answer.status() == 200 => {
                    self.seen.given.fetch_add(1, Ordering::Relaxed);
                    return Ok(Licence::open(answer.body(), &secrets).unwrap());
                }
                Ok(answer) => {
                    let problem: Value = serde_json::from_slice(answer.body()).unwrap();
                    let code = problem["code"].as_str().unwrap().to_owned();
                    *self
                        .seen
                        .refused
                        .lock()
                        .unwrap()
                        .entry(code.clone())
                        .or_default() += 1;
                    return Err((answer.status().as_u16(), code));
                }
                Err(error) => {
                    assert!(Instant::now() < until, "no host answers: {error}");
                    self.seen.moved.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }
    }
}

/// A Redis that keeps on the disk what it has acknowledged.
fn durable_redis(directory: &Directory, port: u16) -> Option<Process> {
    let durable = ["--appendonly", "yes", "--appendfsync", "always"];
    let directory = directory.0.display().to_string();
    let arguments = [&durable[..], &["--dir", &directory]].concat();
    redis_with(port, &arguments)
}

/// One client's requests: in turns a licence that needs no store, one of a viewer with streams, and those of a token that is good
/// for two.
fn load(
    number: u8,
    is_over: &AtomicBool,
    balancer: &Balancer<'_>,
    weather: &Weather,
    leases: &Leases,
) {
    let client = Client::new(Duration::from_secs(15), None).unwrap();
    let pause = Duration::from_secs(1) * CLIENTS.into() / rate();
    let mut next = Instant::now();
    for round in 0_u32.. {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        next = (next + pause).max(Instant::now() - pause * 20);
        let rotation = weather.rotation.load(Ordering::Relaxed);
        let was_away = weather.is_store_away.load(Ordering::Relaxed);
        let may_refuse = || was_away || weather.is_store_away.load(Ordering::Relaxed);
        // Whoever signs uses the new key once every host has it.
        let signer = usize::from(rotation == 2);
        match round % 3 {
            0 => {
                let plain = token(signer, &claims("viewer-0", &json!({})));
                let licence = balancer.licence(&client, &plain, &player(200));
                let key = licence
                    .expect("a licence that needs no store is never refused")
                    .key;
                let rotated = weather.rotation.load(Ordering::Relaxed);
                let may_be = &KEYS[usize::from(rotation == 2)..=usize::from(rotated > 0)];
                assert!(may_be.iter().any(|one| key == one), "{key:?} at {rotation}");
            }
            1 => {
                let device_number =
                    1 + u8::try_from(round / 3 + u32::from(number)).unwrap_or(number) % DEVICES;
                let streams = token(signer, &claims("viewer-1", &json!({"max_streams": LIMIT})));
                let asked = leases.elapsed();
                match balancer.licence(&client, &streams, &player(device_number)) {
                    Ok(licence) => {
                        let Some(device::Duration::Lease { lease_seconds }) = licence.duration
                        else {
                            panic!("a licence of a stream has a lease: {:?}", licence.duration);
                        };
                        let devices = leases.hold(device_number, asked, lease_seconds).len();
                        balancer
                            .seen
                            .most
                            .fetch_max(u32::try_from(devices).unwrap(), Ordering::Relaxed);
                        assert!(devices <= LIMIT, "{devices} devices hold a lease");
                    }
                    Err((409, code)) if code == "streams_exceeded" => {}
                    Err((503, code)) if code == "store_unavailable" && may_refuse() => {}
                    Err(refused) => panic!("{refused:?}"),
                }
            }
            _ => {
                let subject = format!("viewer-{number}-{round}");
                let counted = token(signer, &claims(&subject, &json!({"max_uses": USES})));
                let mut given = 0;
                for device_number in 1..=3 {
                    match balancer.licence(&client, &counted, &player(device_number)) {
                        Ok(_) => given += 1,
                        Err((403, code)) if code == "uses_spent" => {}
                        Err((503, code)) if code == "store_unavailable" && may_refuse() => {}
                        Err(refused) => panic!("{refused:?}"),
                    }
                }
                assert!(
                    given <= USES,
                    "{given} licences of a token that is good for {USES}"
                );
            }
        }
    }
}

#[test]
fn no_answer_is_wrong_while_hosts_stop_and_die_and_redis_restarts() {
    let directory = Directory::new("outage");
    let redis_port = free_port();
    let Some(redis) = durable_redis(&directory, redis_port) else {
        keylet_e2e::skip(
            "redis",
            "no_answer_is_wrong_while_hosts_stop",
            "there is no redis-server",
        );
        return;
    };
    let config = directory.file("runtime.toml");
    let text = format!(
        "[key_value_store.default]\ntype = \"redis\"\nurl = \"redis://127.0.0.1:{redis_port}\"\n"
    );
    std::fs::write(&config, text).unwrap();
    let [content_keys, token_keys] =
        ["content-keys.json", "token-keys.json"].map(|name| directory.file(name));
    let put_content_key = |key: [u8; 16]| {
        let record =
            json!([{"id": "movie-1", "key": hex::encode(key), "iv": hex::encode([3; 16])}]);
        directory.replace("content-keys.json", &record.to_string());
    };
    let put_token_keys = |keys: &[[u8; 32]]| {
        let keys: Vec<Value> = keys
            .iter()
            .map(|key| Signer::Hs256(key.to_vec()).jwk("key").unwrap())
            .collect();
        directory.replace("token-keys.json", &json!({"keys": keys}).to_string());
    };
    put_content_key(KEYS[0]);
    put_token_keys(&SIGNERS[..1]);
    let mut variables: Provided = fixtures::variables();
    for name in ["content_keys", "token_keys"] {
        variables.remove(name);
    }
    for (name, value) in [
        ("token_issuer", "*"),
        ("token_audience", "*"),
        ("server_secret", "a secret of 32 bytes or more, for tests"),
        ("session_period", "4"),
        ("stream_handovers", "0"),
    ] {
        variables.insert(name.to_owned(), value.to_owned());
    }
    let files = [("content_keys", &content_keys), ("token_keys", &token_keys)]
        .map(|(name, path)| format!("{name}=@{}", path.display()));
    let config = config.display().to_string();
    // On WASI 0.3 an instance keeps the variables that it has read for as many requests as it lives.
    let worlds: [&[&str]; 2] = [
        &["--world", "wasip2"],
        &["--world", "wasip3", "--max-instance-reuse-count", "16"],
    ];
    let start = |index: usize, port: u16| {
        let common = [
            "--runtime-config-file",
            &config,
            "--drain-time",
            "1s",
            "--variable",
            &files[0],
            "--variable",
            &files[1],
        ];
        let arguments = [worlds[index], &common].concat();
        serve(port, &arguments, &variables)
    };
    let hosts = [(); 2].map(|()| Host {
        port: free_port(),
        is_healthy: AtomicBool::new(true),
    });
    let mut processes = [0, 1].map(|index| start(index, hosts[index].port));
    let (weather, seen, is_over) = (Weather::default(), Seen::default(), AtomicBool::new(false));
    let leases = Leases::begin();
    let balancer = Balancer {
        hosts: &hosts,
        seen: &seen,
        turn: AtomicU32::new(0),
    };
    // Ends the load, also where a judgement fails.
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    std::thread::scope(|scope| {
        let _over = Over(&is_over);
        for host in &hosts {
            let is_over = &is_over;
            scope.spawn(move || {
                let client = Client::new(Duration::from_secs(2), None).unwrap();
                while !is_over.load(Ordering::Relaxed) {
                    let request = Request::get(format!("http://127.0.0.1:{}/healthz", host.port));
                    let answer = client.exchange(request.body(Vec::new()).unwrap());
                    let is_healthy = answer.is_ok_and(|answer| answer.status() == 200);
                    host.is_healthy.store(is_healthy, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(100));
                }
            });
        }
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                scope.spawn({
                    let (is_over, balancer, weather, leases) =
                        (&is_over, &balancer, &weather, &leases);
                    move || {
                        let _over = Over(is_over);
                        load(number, is_over, balancer, weather, leases);
                    }
                })
            })
            .collect();
        let part = Duration::from_secs(seconds()) / 6;
        let quiet = || std::thread::sleep(part);

        quiet();
        signal(&processes[0], "TERM");
        assert!(processes[0].0.wait().unwrap().success());
        processes[0] = start(0, hosts[0].port);
        quiet();

        // Dropping a process kills it.
        let [first, second] = processes;
        drop(second);
        std::thread::sleep(part / 4);
        let second = start(1, hosts[1].port);
        quiet();

        // The new token key is known everywhere before somebody signs with it.
        weather.rotation.store(1, Ordering::Relaxed);
        put_content_key(KEYS[1]);
        put_token_keys(&SIGNERS);
        for process in [&first, &second] {
            signal(process, "HUP");
        }
        std::thread::sleep(part.max(Duration::from_secs(2)));
        weather.rotation.store(2, Ordering::Relaxed);
        quiet();

        weather.is_store_away.store(true, Ordering::Relaxed);
        drop(redis);
        std::thread::sleep(part / 4);
        let _redis = durable_redis(&directory, redis_port);
        // A host tries again within two seconds.
        std::thread::sleep(Duration::from_secs(3));
        weather.is_store_away.store(false, Ordering::Relaxed);
        quiet();

        is_over.store(true, Ordering::Relaxed);
        for client in clients {
            client.join().unwrap();
        }
    });
    let given = seen.given.into_inner();
    println!(
        "{given} licences, refused {:?}, {} requests moved to the other host, {} devices at most",
        seen.refused.into_inner().unwrap(),
        seen.moved.into_inner(),
        seen.most.into_inner()
    );
    assert!(given > 50, "{given} licences");
}
