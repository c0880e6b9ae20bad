//! What differs between the worlds, and what must not.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{self, Instant};

use http::Request;
use keylet_cli::built_in;
use keylet_cli::device::{Duration, Licence, Secrets};
use keylet_cli::fixtures::variables;
use keylet_host::{AsSpin, Options, Provided, Reuse, Server, World};

use crate::support::{
    WORLDS, fixture, get, in_every_world, post_spc, send, serve, serve_in, token, variables_with,
};

/// Terms by the name of their token, and the case whose device takes them.
const TERMS: [(&str, &str, Duration); 3] = [
    (
        "lease",
        "terms-lease",
        Duration::Lease { lease_seconds: 120 },
    ),
    (
        "rental",
        "terms-rental",
        Duration::Rental {
            rental_seconds: 3600,
        },
    ),
    ("persist", "terms-persist", Duration::Persistence),
];

#[test]
fn requests_at_one_time_do_not_disturb_each_other() {
    in_every_world(|server| {
        std::thread::scope(|scope| {
            for client in 0..24 {
                let (name, case, expected) = &TERMS[client % TERMS.len()];
                scope.spawn(move || {
                    let spc = fixture(&format!("spc/{case}.bin"));
                    let secrets: Secrets =
                        serde_json::from_slice(&fixture(&format!("spc/{case}.json"))).unwrap();
                    let bearer = format!("Bearer {}", token(name));
                    for round in 0..10 {
                        let id = format!("client-{client}-{round}");
                        let request = Request::post("/")
                            .header("authorization", &bearer)
                            .header("x-request-id", &id);
                        let answer = send(server, request, "/fairplay", &spc);
                        assert_eq!(
                            (answer.status, answer.header("x-request-id")),
                            (200, Some(id.as_str()))
                        );
                        let licence = Licence::open(&answer.body, &secrets).unwrap();
                        assert_eq!(licence.duration.as_ref(), Some(expected));
                    }
                });
            }
        });
    });
}

#[test]
fn an_instance_of_wasi_0_3_serves_as_many_requests_as_it_may_and_then_another_does() {
    let application = built_in(World::Wasip3, variables()).unwrap();
    let reuse = Reuse {
        total: 3,
        concurrent: 1,
        idle: time::Duration::from_secs(1),
    };
    let options = Options {
        reuse: Some(reuse),
        ..keylet_e2e::quiet()
    };
    let server = Server::start(application, &options).unwrap();
    for _ in 0..10 {
        assert_eq!(post_spc(&server, &fixture("spc/v1.bin")).status, 200);
    }
    server.stop();
}

#[test]
fn a_variable_that_changed_is_seen_by_the_next_instance() {
    let key = |answer: &crate::support::Answer| {
        let secrets: Secrets = serde_json::from_slice(&fixture("spc/v1.json")).unwrap();
        hex::encode(Licence::open(&answer.body, &secrets).unwrap().key)
    };
    let other = "ffeeddccbbaa99887766554433221100";
    let changed = variables_with(&[(
        "content_keys",
        &format!(r#"[{{"id":"movie-1","key":"{other}","iv":"{other}"}}]"#),
    )]);
    for (world, answers_with_the_old_one) in
        [(World::Wasip2, 0), (World::Wasip3, 2), (World::Wasi, 0)]
    {
        let application = built_in(world, variables()).unwrap();
        let options = Options {
            reuse: (world == World::Wasip3).then_some(Reuse {
                total: 3,
                concurrent: 1,
                idle: time::Duration::from_secs(60),
            }),
            ..keylet_e2e::quiet()
        };
        let server = Server::start(application, &options).unwrap();
        let before = key(&post_spc(&server, &fixture("spc/v1.bin")));
        assert_ne!(before, other);
        server.set_variables(&changed).unwrap();
        for number in 0..5 {
            let expected = match number < answers_with_the_old_one {
                true => before.as_str(),
                false => other,
            };
            assert_eq!(
                key(&post_spc(&server, &fixture("spc/v1.bin"))),
                expected,
                "{world:?} {number}"
            );
        }
        server.stop();
    }
}

#[test]
fn on_a_plain_host_the_environment_has_what_its_configuration_has_not() {
    let mut application = built_in(World::Wasi, Provided::new()).unwrap();
    application.environment = variables()
        .into_iter()
        .map(|(name, value)| (format!("SPIN_VARIABLE_{}", name.to_uppercase()), value))
        .collect();
    let server = Server::start(application, &keylet_e2e::quiet()).unwrap();
    assert_eq!(get(&server, "/healthz").status, 200);
    assert_eq!(post_spc(&server, &fixture("spc/v1.bin")).status, 200);
    server.stop();
}

#[test]
fn a_request_says_for_which_host_it_is() {
    in_every_world(|server| {
        let address = server.url().strip_prefix("http://").unwrap().to_owned();
        for (head, status) in [
            ("HTTP/1.0\r\n", "200"),
            ("HTTP/1.0\r\nhost: a\r\n", "200"),
            ("HTTP/1.1\r\nhost: a\r\nconnection: close\r\n", "200"),
            ("HTTP/1.1\r\nconnection: close\r\n", "400"),
            ("HTTP/1.1\r\nhost: a b\r\nconnection: close\r\n", "400"),
        ] {
            let mut stream = TcpStream::connect(&address).unwrap();
            let request = format!("GET /healthz {head}\r\n");
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            let found = answer.split(' ').nth(1);
            assert_eq!(found, Some(status), "{head:?}: {answer}");
        }
    });
}

#[test]
fn bodies_that_do_not_come_keep_nobody_waiting() {
    const LONGEST: time::Duration = time::Duration::from_secs(3);
    for world in [World::Wasip2, World::Wasip3, World::Wasi] {
        let application = built_in(world, variables()).unwrap();
        let options = Options {
            longest_body: LONGEST,
            ..keylet_e2e::quiet()
        };
        let server = Server::start(application, &options).unwrap();
        // More than the host answers at a time.
        let began = Instant::now();
        let unfinished: Vec<TcpStream> = (0..300)
            .map(|_| {
                let mut stream = TcpStream::connect(server.address()).unwrap();
                let head = "POST /fairplay HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nabc";
                stream.write_all(head.as_bytes()).unwrap();
                stream
            })
            .collect();
        assert_eq!(post_spc(&server, &fixture("spc/v1.bin")).status, 200);
        assert!(began.elapsed() < LONGEST, "{world:?}: it waited");
        for mut stream in unfinished {
            stream
                .set_read_timeout(Some(time::Duration::from_secs(20)))
                .unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            let is_refused =
                answer.starts_with("HTTP/1.1 408") && answer.contains("request_too_slow");
            assert!(is_refused, "{world:?}: {answer}");
        }
        server.stop();
    }
}

#[test]
fn an_address_has_as_many_connections_as_it_may_have() {
    let application = built_in(World::Wasip2, variables()).unwrap();
    let options = Options {
        most_connections: 3,
        ..keylet_e2e::quiet()
    };
    let server = Server::start(application, &options).unwrap();
    let is_served = |stream: &mut TcpStream| {
        stream
            .set_read_timeout(Some(time::Duration::from_secs(10)))
            .unwrap();
        let request = b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n";
        let is_sent = stream.write_all(request).is_ok();
        is_sent && stream.read(&mut [0; 64]).is_ok_and(|read| read > 0)
    };
    let mut open: Vec<TcpStream> = (0..3)
        .map(|_| TcpStream::connect(server.address()).unwrap())
        .collect();
    assert!(open.iter_mut().all(is_served));
    let mut fourth = TcpStream::connect(server.address()).unwrap();
    assert!(!is_served(&mut fourth));
    // The others stay, and where one ends there is room for another.
    assert!(open.iter_mut().all(is_served));
    open.pop();
    let began = Instant::now();
    while !is_served(&mut TcpStream::connect(server.address()).unwrap()) {
        assert!(began.elapsed() < time::Duration::from_secs(10));
    }
    server.stop();
}

#[test]
fn a_client_that_does_not_read_is_given_up() {
    let application = built_in(World::Wasip2, variables()).unwrap();
    let options = Options {
        longest_write: time::Duration::from_secs(1),
        ..keylet_e2e::quiet()
    };
    let server = Server::start(application, &options).unwrap();
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream
        .set_write_timeout(Some(time::Duration::from_secs(1)))
        .unwrap();
    // Until the buffers of both sides are full, and the host reads no more.
    let mut sent: usize = 0;
    while stream
        .write_all(b"GET /openapi.json HTTP/1.1\r\nhost: a\r\n\r\n")
        .is_ok()
    {
        sent += 1;
    }
    std::thread::sleep(time::Duration::from_secs(2));
    let mut answers = Vec::new();
    // The connection is over: nothing comes but what is in the buffers.
    let _ = stream.read_to_end(&mut answers);
    let text = String::from_utf8_lossy(&answers);
    let answered = text.matches("HTTP/1.1 200").count();
    assert!(answered > 0 && answered < sent, "{answered} of {sent}");
    server.stop();
}

#[test]
fn a_licence_reads_what_it_needs_and_one_variable_where_that_holds_all() {
    let count = |variables: &Provided, spc: &str| {
        let server = serve(variables);
        let answer = post_spc(&server, &fixture(&format!("spc/{spc}.bin")));
        assert_eq!(answer.status, 200);
        let read = server.metrics().variables_read();
        server.stop();
        read
    };
    assert_eq!(count(&variables(), "v1"), 15);
    // Of another credential, the list in place of what the first one's secrets are in.
    assert_eq!(count(&variables(), "bundle-v1"), 14);
    let all: serde_json::Map<String, serde_json::Value> = variables()
        .into_iter()
        .map(|(name, value)| {
            let json = serde_json::from_str(&value).ok();
            let json = json.filter(|json: &serde_json::Value| json.is_array() || json.is_object());
            (name, json.unwrap_or_else(|| value.into()))
        })
        .collect();
    let settings = serde_json::Value::Object(all).to_string();
    let one: Provided = [("settings".to_owned(), settings)].into_iter().collect();
    assert_eq!(count(&one, "v1"), 1);
}

#[test]
fn an_instance_of_wasi_0_3_asks_for_variables_at_the_same_time() {
    let each = time::Duration::from_millis(100);
    let licence = |world| {
        let application = built_in(world, variables()).unwrap();
        let options = Options {
            as_spin: AsSpin {
                variable_takes: each,
                ..keylet_e2e::quiet().as_spin
            },
            ..keylet_e2e::quiet()
        };
        let server = Server::start(application, &options).unwrap();
        let started = Instant::now();
        assert_eq!(post_spc(&server, &fixture("spc/v1.bin")).status, 200);
        let took = started.elapsed();
        server.stop();
        took
    };
    // One after the other, fifteen of them.
    assert!(licence(World::Wasip2) > each * 14);
    // `settings`, then all that need no other, then what these say is needed.
    let took = licence(World::Wasip3);
    assert!(took < each * 7, "{took:?}");
}

#[test]
fn settings_that_do_not_load_are_named() {
    for (settings, message) in [
        ("{", "it ends too early"),
        (
            r#"{"token_isuer": "me"}"#,
            "`token_isuer`: there is no such variable",
        ),
    ] {
        let variables: Provided = [("settings".to_owned(), settings.to_owned())]
            .into_iter()
            .collect();
        for world in WORLDS {
            let server = serve_in(world, &variables);
            let health = get(&server, "/healthz");
            assert_eq!(health.status, 503);
            let problems = health.json()["problems"].clone();
            assert_eq!(problems.as_array().unwrap().len(), 1, "{problems}");
            assert_eq!(problems[0]["variable"], "settings");
            assert_eq!(problems[0]["code"], "setting_malformed");
            let problem = problems[0]["message"].as_str().unwrap();
            assert!(problem.contains(message), "{problem}");
            let refused = post_spc(&server, &fixture("spc/v1.bin"));
            assert_eq!(
                refused.header("x-keylet-code"),
                Some("configuration_invalid")
            );
            server.stop();
        }
    }
}
