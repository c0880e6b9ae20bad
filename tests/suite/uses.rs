//! Tokens that are good for a number of licences.

use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{HeaderValue, Request};
use keylet::drm::Repeats;
use keylet::service::Service;
use keylet_cli::built_in;
use keylet_cli::device::SpcOptions;
use keylet_cli::fixtures::variables;
use keylet_host::{Options, Server, StoreChoice, World};

use crate::support::{
    Answer, Native, fixture, get, post_spc_with, run, serve, serve_in, spc, token, variables_with,
};
use keylet_e2e::processes::{Directory, redis};

/// An SPC from a device that is like no other.
fn another_device() -> Vec<u8> {
    spc(&SpcOptions::new("skd://movie-1")).0
}

fn code(answer: &Answer) -> (u16, Option<&str>) {
    (answer.status, answer.header("x-keylet-code"))
}

/// What a platform in this process answers.
fn ask_natively(service: &Service<Native>, spc: &[u8]) -> (u16, Option<HeaderValue>) {
    let request = Request::post("/fairplay")
        .header("authorization", format!("Bearer {}", token("three-uses")))
        .body(spc.to_vec())
        .unwrap();
    let reply = run(service.handle(request));
    (
        reply.status().as_u16(),
        reply.headers().get("x-keylet-code").cloned(),
    )
}

#[test]
fn a_token_gives_as_many_licences_as_it_is_good_for() {
    for world in [World::Wasip2, World::Wasip3] {
        let server = serve_in(world, &variables());
        for _ in 0..3 {
            assert_eq!(
                post_spc_with(&server, &another_device(), "three-uses").status,
                200
            );
        }
        assert_eq!(
            code(&post_spc_with(&server, &another_device(), "three-uses")),
            (403, Some("uses_spent"))
        );
        assert_eq!(
            post_spc_with(&server, &another_device(), "three-uses-too").status,
            200,
            "another token has its own count"
        );
        server.stop();
    }
}

#[test]
fn a_device_may_repeat_its_licence_three_times_and_each_further_one_is_counted() {
    let server = serve(&variables());
    let device = another_device();
    // One use and its repeats, three times over: by then the token is spent.
    let licences = 3 * (1 + usize::try_from(Repeats::OF_A_DEVICE.most.unwrap()).unwrap());
    for number in 0..licences {
        assert_eq!(
            post_spc_with(&server, &device, "three-uses").status,
            200,
            "{number}"
        );
    }
    for spc in [device, another_device()] {
        assert_eq!(
            code(&post_spc_with(&server, &spc, "three-uses")),
            (403, Some("uses_spent"))
        );
    }
    server.stop();
}

#[test]
fn the_same_device_asking_for_another_key_asks_for_another_licence() {
    let key = "00112233445566778899aabbccddeeff";
    let records =
        ["audio", "video"].map(|id| format!(r#"{{"id":"{id}","key":"{key}","iv":"{key}"}}"#));
    let content_keys = format!("[{}]", records.join(","));
    let service = Service::new(Native::new(variables_with(&[(
        "content_keys",
        &content_keys,
    )])));
    let ask = |hu, id: &str| {
        let options = SpcOptions {
            hu: Some([hu; 20]),
            ..SpcOptions::new(format!("skd://{id}"))
        };
        ask_natively(&service, &spc(&options).0).0
    };
    for id in ["audio", "video", "audio", "video"] {
        assert_eq!(ask(1, id), 200, "{id}");
    }
    // Two were counted and two repeated: one is left.
    assert_eq!(ask(2, "audio"), 200);
    assert_eq!(ask(3, "audio"), 403);
}

#[test]
fn a_repeat_that_comes_late_is_counted() {
    let platform = Native::new(variables());
    let clock = Rc::clone(&platform.now);
    let service = Service::new(platform);
    let device = another_device();
    for _ in 0..3 {
        assert_eq!(ask_natively(&service, &device).0, 200);
        clock.set(clock.get() + Repeats::OF_A_DEVICE.seconds + 1);
    }
    assert_eq!(
        ask_natively(&service, &device),
        (403, Some(HeaderValue::from_static("uses_spent")))
    );
}

#[test]
fn what_is_refused_for_another_reason_uses_nothing_up() {
    let server = serve(&variables());
    for _ in 0..4 {
        assert_eq!(
            code(&post_spc_with(
                &server,
                &fixture("spc/refused-no-key.bin"),
                "three-uses"
            )),
            (404, Some("key_not_found"))
        );
        assert_eq!(
            code(&post_spc_with(
                &server,
                &fixture("spc/bad-ask.bin"),
                "three-uses"
            )),
            (400, Some("spc_integrity"))
        );
    }
    for _ in 0..3 {
        assert_eq!(
            post_spc_with(&server, &another_device(), "three-uses").status,
            200
        );
    }
    server.stop();
}

/// 64 devices at a time ask with a token for five licences, and those that got one repeat.
fn race(world: World, store: &StoreChoice) {
    let options = Options {
        store: store.clone(),
        ..keylet_e2e::quiet()
    };
    let application = built_in(world, variables()).unwrap();
    let server = Server::start(application, &options).unwrap();
    let granted = Mutex::new(Vec::new());
    let spent = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                let device = another_device();
                match code(&post_spc_with(&server, &device, "five-uses")) {
                    (200, None) => granted.lock().unwrap().push(device),
                    (403, Some("uses_spent")) => drop(spent.fetch_add(1, Ordering::Relaxed)),
                    other => panic!("{other:?}"),
                }
            });
        }
    });
    let granted = granted.into_inner().unwrap();
    assert_eq!((granted.len(), spent.into_inner()), (5, 59), "{world:?}");
    for device in granted {
        for _ in 0..Repeats::OF_A_DEVICE.most.unwrap() {
            assert_eq!(post_spc_with(&server, &device, "five-uses").status, 200);
        }
        let answer = post_spc_with(&server, &device, "five-uses");
        assert_eq!(code(&answer), (403, Some("uses_spent")));
    }
    server.stop();
}

#[test]
fn devices_that_race_get_no_more_licences_than_the_token_is_good_for() {
    for world in [World::Wasip2, World::Wasip3] {
        race(world, &StoreChoice::Memory);
        let directory = Directory::new(&format!("race-{world:?}"));
        race(world, &StoreChoice::File(directory.file("store")));
    }
}

#[test]
fn nor_do_they_on_redis() {
    for world in [World::Wasip2, World::Wasip3] {
        let Some((_redis, store)) = redis("nor_do_they_on_redis") else {
            return;
        };
        race(world, &store);
    }
}

#[test]
fn a_host_without_a_store_refuses_what_needs_one() {
    let server = serve_in(World::Wasi, &variables_with(&[("store_failure", "allow")]));
    let spc = fixture("spc/v1.bin");
    assert_eq!(
        code(&post_spc_with(&server, &spc, "three-uses")),
        (503, Some("store_unsupported"))
    );
    assert_eq!(post_spc_with(&server, &spc, "hs256").status, 200);
    assert_eq!(
        get(&server, "/healthz?store").json()["store"],
        "unsupported"
    );
    server.stop();
}

#[test]
fn no_number_of_licences_is_no_limit_of_zero() {
    let server = serve(&variables());
    assert_eq!(
        code(&post_spc_with(&server, &fixture("spc/v1.bin"), "no-uses")),
        (403, Some("terms_invalid"))
    );
    server.stop();
}

#[test]
fn a_store_that_fails_gives_no_licence_unless_the_operator_allows_it() {
    let answer = |store_failure| {
        let variables = variables_with(&[("store_failure", store_failure)]);
        let service = Service::new(Native::with_broken_store(variables));
        ask_natively(&service, &fixture("spc/v1.bin"))
    };
    let unavailable = (503, Some(HeaderValue::from_static("store_unavailable")));
    assert_eq!(answer(""), unavailable);
    assert_eq!(answer("deny"), unavailable);
    assert_eq!(answer("allow"), (200, None));
    assert_eq!(
        answer("sometimes"),
        (503, Some(HeaderValue::from_static("configuration_invalid")))
    );
}

#[test]
fn a_redis_that_is_not_there_refuses_what_must_be_counted_and_nothing_else() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let options = Options {
        store: StoreChoice::Redis(format!("redis://{address}")),
        ..keylet_e2e::quiet()
    };
    let application = built_in(World::Wasip2, variables()).unwrap();
    let server = Server::start(application, &options).unwrap();
    let spc = fixture("spc/v1.bin");
    assert_eq!(
        code(&post_spc_with(&server, &spc, "three-uses")),
        (503, Some("store_unavailable"))
    );
    assert_eq!(post_spc_with(&server, &spc, "hs256").status, 200);
    assert_eq!(
        get(&server, "/healthz?store").json()["store"],
        "unavailable"
    );
    server.stop();
}

#[test]
fn a_store_that_fails_makes_no_server_unhealthy() {
    let service = Service::new(Native::with_broken_store(variables()));
    let reply = run(service.handle(Request::get("/healthz?store").body(Vec::new()).unwrap()));
    let health: serde_json::Value = serde_json::from_slice(reply.body()).unwrap();
    assert_eq!(
        (reply.status().as_u16(), &health["store"]),
        (200, &"unavailable".into())
    );
}
