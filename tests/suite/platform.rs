//! What every host provides to the component, held to its promises by the probe.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use http::{Request, Response};
use keylet_host::{Server, World};
use keylet_probe::{MANIFEST, application};

use crate::support::{Answer, WORLDS, get, send};
use crate::upstream::{Reply, SPINS, Upstream};

fn probe(world: World, manifest: &str) -> Server {
    Server::start(application(world, manifest), &keylet_e2e::quiet()).unwrap()
}

fn post(server: &Server, path: &str, body: &[u8]) -> Answer {
    send(server, Request::post("/"), path, body)
}

fn text(answer: &Answer) -> (u16, &str) {
    (answer.status, std::str::from_utf8(&answer.body).unwrap())
}

#[test]
fn a_variable_has_its_value_and_an_undeclared_one_has_none() {
    for world in WORLDS {
        let server = probe(world, MANIFEST);
        assert_eq!(text(&get(&server, "/variable?name=set")), (200, "a value"));
        assert_eq!(get(&server, "/variable?name=undeclared").status, 404);
        server.stop();
    }
}

#[test]
fn the_store_keeps_what_is_written_for_the_next_instance() {
    for world in SPINS {
        let server = probe(world, MANIFEST);
        assert_eq!(get(&server, "/get?key=a").status, 404);
        assert_eq!(post(&server, "/set?key=a", &[0, 1, 255]).status, 200);
        assert_eq!(post(&server, "/set?key=empty", &[]).status, 200);
        assert_eq!(get(&server, "/get?key=a").body, [0, 1, 255]);
        assert_eq!(text(&get(&server, "/get?key=empty")), (200, ""));
        let mut keys: Vec<String> = serde_json::from_slice(&get(&server, "/keys").body).unwrap();
        keys.sort();
        assert_eq!(keys, ["a", "empty"]);
        assert_eq!(post(&server, "/delete?key=a", &[]).status, 200);
        assert_eq!(post(&server, "/delete?key=a", &[]).status, 200);
        assert_eq!(get(&server, "/get?key=a").status, 404);

        assert_eq!(
            text(&post(&server, "/increment?key=n&delta=5", &[])),
            (200, "5")
        );
        assert_eq!(
            text(&post(&server, "/increment?key=n&delta=-7", &[])),
            (200, "-2")
        );
        server.stop();
    }
}

#[test]
fn every_increment_of_many_clients_is_counted() {
    const CLIENTS: usize = 64;
    const INCREMENTS: usize = 20;
    for world in SPINS {
        let server = probe(world, MANIFEST);
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    for _ in 0..INCREMENTS {
                        assert_eq!(post(&server, "/increment?key=n&delta=1", &[]).status, 200);
                    }
                });
            }
        });
        let sum = post(&server, "/increment?key=n&delta=0", &[]);
        assert_eq!(
            text(&sum),
            (200, (CLIENTS * INCREMENTS).to_string().as_str())
        );
        server.stop();
    }
}

#[test]
fn an_increment_of_what_is_no_counter_stops_the_instance_and_no_other() {
    for world in SPINS {
        let server = probe(world, MANIFEST);
        post(&server, "/set?key=text", b"no counter");
        let failed = post(&server, "/increment?key=text", &[]);
        assert_eq!(failed.status, 500);
        assert_eq!(failed.header("x-keylet-code"), Some("component_failed"));
        assert_eq!(failed.json()["type"], "/docs/errors.md#component_failed");
        assert_eq!(get(&server, "/get?key=text").body, b"no counter");
        assert_eq!(text(&post(&server, "/increment?key=n", &[])), (200, "1"));
        server.stop();
    }
}

#[test]
fn a_store_that_the_manifest_does_not_name_is_not_there() {
    let manifest = MANIFEST.replace(r#"["default"]"#, "[]");
    for (world, manifest) in [
        (World::Wasip2, manifest.as_str()),
        (World::Wasip3, manifest.as_str()),
        // A plain host has none, whatever a manifest says.
        (World::Wasi, MANIFEST),
    ] {
        let server = probe(world, manifest);
        for answer in [
            get(&server, "/get?key=a"),
            post(&server, "/set?key=a", &[]),
            post(&server, "/delete?key=a", &[]),
            get(&server, "/keys"),
            post(&server, "/increment?key=a", &[]),
        ] {
            assert_eq!(
                text(&answer),
                (
                    503,
                    "the host has no key-value store that keeps what is written"
                )
            );
        }
        server.stop();
    }
}

/// A server that answers each path in a way of its own.
fn peer() -> Upstream {
    Upstream::start(|request| match request.uri().path() {
        "/moved" => Reply::status(302).with("location", "/answer"),
        "/large" => Reply::text(&"x".repeat(1_000_000)),
        "/cut-short" => {
            Reply::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nnot all of it".to_vec())
        }
        "/garbage" => Reply::Bytes(b"this is not HTTP at all\r\n\r\n".to_vec()),
        "/silent" => Reply::Silence,
        "/trickle" => Reply::Trickle,
        _ => Reply::Whole(
            Response::builder()
                .status(418)
                .header("x-told", "yes")
                .body(b"short".to_vec())
                .unwrap(),
        ),
    })
}

/// Has the probe send a request.
fn through(server: &Server, uri: &str) -> Answer {
    let request = Request::post("/");
    send(
        server,
        request,
        &format!("/send?method=PUT&uri={uri}"),
        b"a body",
    )
}

#[test]
fn a_request_goes_out_as_it_is_and_every_status_is_an_answer() {
    let peer = peer();
    for world in WORLDS {
        let server = probe(world, MANIFEST);
        let answer = through(&server, &peer.url("/answer%3Fa=b"));
        assert_eq!(text(&answer), (418, "short"), "{world:?}");
        assert_eq!(answer.header("x-told"), Some("yes"));
        let request = peer.take().pop().unwrap();
        assert_eq!(
            (request.method().as_str(), request.uri().to_string()),
            ("PUT", "/answer?a=b".to_owned())
        );
        assert_eq!(request.headers()["host"], peer.address().to_string());
        assert_eq!(request.body(), b"a body");

        let moved = through(&server, &peer.url("/moved"));
        assert_eq!(
            (moved.status, moved.header("location")),
            (302, Some("/answer"))
        );
        server.stop();
    }
}

#[test]
fn a_request_goes_only_where_the_manifest_allows() {
    let peer = peer();
    let manifest = MANIFEST.replace("http://{{ host }}:*", "http://{{ host }}:1");
    let uri = peer.url("/answer");
    for world in SPINS {
        let server = probe(world, &manifest);
        let port = peer.address().port();
        assert_eq!(
            text(&through(&server, &uri)),
            (
                503,
                format!("the host allows no request to http://127.0.0.1:{port}").as_str()
            ),
        );
        server.stop();
    }
    assert_eq!(peer.count(), 0);

    let server = probe(World::Wasi, &manifest);
    assert_eq!(
        through(&server, &uri).status,
        418,
        "a plain host has no such list"
    );
    server.stop();
}

#[test]
fn a_server_that_fails_is_an_error_that_names_it_and_not_what_was_asked() {
    let peer = peer();
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for world in WORLDS {
        let server = probe(world, MANIFEST);
        let failed = "the request to http://127.0.0.1:";
        for (uri, start) in [
            (format!("http://{closed}/secret"), failed),
            (peer.url("/large?secret"), "the answer of http://127.0.0.1:"),
            (peer.url("/cut-short?secret"), failed),
            (peer.url("/garbage?secret"), failed),
        ] {
            let answer = through(&server, &uri);
            let (status, reason) = text(&answer);
            assert!(
                status == 503 && reason.starts_with(start) && !reason.contains("secret"),
                "{world:?} {uri}: {status} {reason}"
            );
        }
        server.stop();
    }
}

#[test]
fn a_server_that_hangs_is_left_after_some_seconds() {
    let peer = peer();
    let peer = &peer;
    std::thread::scope(|scope| {
        for world in WORLDS {
            for path in ["/silent", "/trickle"] {
                scope.spawn(move || {
                    let server = probe(world, MANIFEST);
                    let started = Instant::now();
                    assert_eq!(through(&server, &peer.url(path)).status, 503);
                    let took = started.elapsed();
                    assert!(took < Duration::from_secs(15), "{world:?} {path}: {took:?}");
                    server.stop();
                });
            }
        }
    });
}
