//! `keylet serve` under an orchestrator: it drains, listens at several addresses, and reads its variables again under load.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::{Request, Response};
use keylet_cli::client::Client;
use keylet_cli::device::{Licence, SpcOptions};
use keylet_cli::fixtures::variables;
use serde_json::{Value, json};

use crate::logged::Logged;
use crate::support::{self, Directory, bearer, device, free_port, serve, signal, wait_for};

fn client() -> Client {
    Client::new(Duration::from_secs(30), None).unwrap()
}

fn health(client: &Client, port: u16) -> Option<Response<Vec<u8>>> {
    let request = Request::get(format!("http://127.0.0.1:{port}/healthz"));
    client.exchange(request.body(Vec::new()).unwrap()).ok()
}

/// The status of a licence, where there is an answer.
fn licence(client: &Client, port: u16) -> Option<u16> {
    support::licence(client, &format!("http://127.0.0.1:{port}"))
}

#[test]
fn a_server_that_is_told_to_stop_says_so_to_its_balancer_and_goes_on_answering() {
    let port = free_port();
    let mut server = serve(port, &["--in-memory", "--drain-time", "5s"], &variables());
    let client = client();
    assert_eq!(health(&client, port).unwrap().status(), 200);
    let told = Instant::now();
    signal(&server, "TERM");
    wait_for(|| health(&client, port).unwrap().status() == 503);
    let draining = health(&client, port).unwrap();
    let problem: Value = serde_json::from_slice(draining.body()).unwrap();
    assert_eq!(problem["code"], "host_draining");
    assert_eq!(draining.headers()["connection"], "close");
    for _ in 0..3 {
        assert_eq!(licence(&client, port), Some(200));
    }
    assert!(server.0.wait().unwrap().success());
    assert!(told.elapsed() >= Duration::from_secs(5));
    assert!(health(&client, port).is_none());
}

#[test]
fn a_second_signal_and_ctrl_c_end_a_server_at_once() {
    for signals in [&["TERM", "TERM"][..], &["TERM", "INT"], &["INT"]] {
        let port = free_port();
        let mut server = serve(port, &["--in-memory", "--drain-time", "60s"], &variables());
        let client = client();
        let told = Instant::now();
        for (index, name) in signals.iter().enumerate() {
            if index > 0 {
                wait_for(|| health(&client, port).unwrap().status() == 503);
            }
            signal(&server, name);
        }
        assert!(server.0.wait().unwrap().success(), "{signals:?}");
        assert!(told.elapsed() < Duration::from_secs(30), "{signals:?}");
    }
}

#[test]
fn a_server_listens_at_each_address() {
    let directory = Directory::new("listens");
    let ports = [free_port(), free_port()];
    let [first, second] = ports.map(|port| port.to_string());
    let arguments = ["--in-memory", "--listen", &first, "--listen", &second];
    let mut server = Logged::start(&directory, &arguments, &variables());
    server.until("\"message\":\"ready\"");
    for port in ports {
        assert_eq!(licence(&client(), port), Some(200));
    }
    let taken = ["--in-memory", "--listen", "0", "--listen", &second];
    Logged::start(&directory, &taken, &variables()).until("another port with --listen");
}

/// A device asks for a licence of the fixtures' content, and reads its content key.
fn content_key(client: &Client, port: u16) -> Result<Vec<u8>, u16> {
    let (spc, secrets) = device(&SpcOptions::new("skd://movie-1"));
    let request = Request::post(format!("http://127.0.0.1:{port}/fairplay"));
    let request = request.header("authorization", bearer()).body(spc).unwrap();
    let answer = client.exchange(request).unwrap();
    match answer.status().as_u16() {
        200 => Ok(Licence::open(answer.body(), &secrets).unwrap().key),
        status => Err(status),
    }
}

/// How long variables are read again under load, in seconds.
fn seconds() -> u64 {
    std::env::var("KEYLET_RELOAD_SECONDS").map_or(3, |seconds| seconds.parse().unwrap())
}

#[test]
fn variables_are_read_again_under_load_and_no_request_is_lost() {
    const KEYS: [[u8; 16]; 2] = [[1; 16], [2; 16]];
    let directory = Directory::new("reload");
    let file = directory.file("content-keys.json");
    let mut variables = variables();
    variables.remove("content_keys");
    let put = |key: [u8; 16]| {
        let record =
            json!([{"id": "movie-1", "key": hex::encode(key), "iv": hex::encode([3; 16])}]);
        directory.replace("content-keys.json", &record.to_string());
    };
    put(KEYS[0]);
    for world in ["wasip2", "wasip3"] {
        let port = free_port();
        let argument = format!("content_keys=@{}", file.display());
        let arguments = ["--in-memory", "--world", world, "--variable", &argument];
        let server = serve(port, &arguments, &variables);
        let (is_over, given) = (AtomicBool::new(false), AtomicUsize::new(0));
        let mut reloads = 0_usize;
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let client = client();
                    while !is_over.load(Ordering::Relaxed) {
                        let key = content_key(&client, port).expect("no request is refused");
                        assert!(KEYS.iter().any(|one| key == one), "{key:?}");
                        given.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            let until = Instant::now() + Duration::from_secs(seconds());
            while Instant::now() < until {
                reloads += 1;
                put(KEYS[reloads % 2]);
                signal(&server, "HUP");
                std::thread::sleep(Duration::from_millis(50));
            }
            is_over.store(true, Ordering::Relaxed);
        });
        // A new connection gets an instance that reads what there is now.
        let last = KEYS[reloads % 2].to_vec();
        wait_for(|| content_key(&client(), port).as_ref() == Ok(&last));
        println!(
            "{world}: {} licences over {reloads} reloads, none refused",
            given.into_inner()
        );
    }
}
