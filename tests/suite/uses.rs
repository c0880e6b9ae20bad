//! Tokens that are good for a number of licences.

use std::sync::atomic::{AtomicUsize, Ordering};

use http::{HeaderValue, Request};
use keylet::service::Service;
use keylet_cli::fixtures::variables;
use keylet_cli::host::{Server, World};

use crate::support::{Answer, Native, fixture, run, send, serve_in, token};

fn ask(server: &Server, spc: &str, name: &str) -> Answer {
    let request = Request::post("/").header("authorization", format!("Bearer {}", token(name)));
    send(
        server,
        request,
        "/fairplay",
        &fixture(&format!("spc/{spc}.bin")),
    )
}

fn code(answer: &Answer) -> (u16, Option<&str>) {
    (answer.status, answer.header("x-keylet-code"))
}

#[test]
fn a_token_gives_as_many_licences_as_it_is_good_for() {
    for world in [World::Wasip2, World::Wasip3] {
        let server = serve_in(world, &variables());
        for _ in 0..3 {
            assert_eq!(ask(&server, "v1", "three-uses").status, 200);
        }
        assert_eq!(
            code(&ask(&server, "v1", "three-uses")),
            (403, Some("uses_spent"))
        );
        assert_eq!(
            ask(&server, "v1", "three-uses-too").status,
            200,
            "another token has its own count"
        );
        server.stop();
    }
}

#[test]
fn what_is_refused_for_another_reason_uses_nothing_up() {
    let server = serve_in(World::Wasip2, &variables());
    for _ in 0..4 {
        assert_eq!(
            code(&ask(&server, "refused-no-key", "three-uses")),
            (404, Some("key_not_found"))
        );
        assert_eq!(
            code(&ask(&server, "bad-ask", "three-uses")),
            (400, Some("spc_integrity"))
        );
    }
    assert_eq!(ask(&server, "v1", "three-uses").status, 200);
    server.stop();
}

#[test]
fn clients_that_race_get_no_more_licences_than_the_token_is_good_for() {
    for world in [World::Wasip2, World::Wasip3] {
        let server = serve_in(world, &variables());
        let (granted, spent) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..32 {
                scope.spawn(|| match code(&ask(&server, "v1", "three-uses")) {
                    (200, None) => granted.fetch_add(1, Ordering::Relaxed),
                    (403, Some("uses_spent")) => spent.fetch_add(1, Ordering::Relaxed),
                    other => panic!("{other:?}"),
                });
            }
        });
        assert_eq!(
            (granted.into_inner(), spent.into_inner()),
            (3, 29),
            "{world:?}"
        );
        server.stop();
    }
}

#[test]
fn a_host_without_a_store_refuses_what_needs_one() {
    let server = serve_in(World::Wasi, &variables());
    assert_eq!(
        code(&ask(&server, "v1", "three-uses")),
        (503, Some("store_unsupported"))
    );
    assert_eq!(ask(&server, "v1", "hs256").status, 200);
    server.stop();
}

#[test]
fn a_store_that_fails_gives_no_licence() {
    let service = Service::new(Native::with_broken_store(variables()));
    let request = Request::post("/fairplay")
        .header("authorization", format!("Bearer {}", token("three-uses")))
        .body(fixture("spc/v1.bin"))
        .unwrap();
    let reply = run(service.handle(request));
    assert_eq!(
        (reply.status().as_u16(), &reply.headers()["x-keylet-code"]),
        (503, &HeaderValue::from_static("store_unavailable"))
    );
}
