//! Check-in: challenges, and what a sync SPC reports.

use std::rc::Rc;

use http::Request;
use keylet::fairplay::tag::Tag;
use keylet::service::Service;
use keylet_cli::device::SpcOptions;
use keylet_cli::fixtures::variables;
use keylet_host::{Server, World};
use serde_json::{Value, json};

use crate::support::{Answer, Native, run, send, serve_in, spc, token, variables_with};

const TITLE: [u8; 16] = *b"title-0000000001";
const STREAM: [u8; 16] = *b"stream-000000001";

/// A report of version 2: success of a secure invalidation, by title.
fn sync(challenge: [u8; 8], flags: u64) -> SpcOptions {
    let value = [
        &2_u32.to_be_bytes()[..],
        &[0; 4],
        &challenge,
        &flags.to_be_bytes(),
        &TITLE,
        &2_591_995_u32.to_be_bytes(),
        &1_u32.to_be_bytes(),
        &STREAM,
    ]
    .concat();
    SpcOptions::new("skd://movie-1").with(Tag::OFFLINE_SYNC, value)
}

const FLAGS: u64 = 1 << 1 | 1 << 3 | 1 << 16;

/// A report of version 1.
fn sync_v1(seconds: u32) -> SpcOptions {
    let value = [
        &1_u32.to_be_bytes()[..],
        &[0; 4],
        &TITLE,
        &seconds.to_be_bytes(),
    ]
    .concat();
    SpcOptions::new("skd://movie-1").with(Tag::OFFLINE_SYNC, value)
}

fn post(server: &Server, path: &str, body: &[u8]) -> Answer {
    let request = Request::post("/").header("authorization", format!("Bearer {}", token("hs256")));
    send(server, request, path, body)
}

fn challenge(server: &Server) -> [u8; 8] {
    let answer = post(server, "/fairplay/check-in/challenge", &[]);
    assert_eq!(answer.status, 200);
    let given = answer.json();
    let challenge = hex::decode(given["challenge"].as_str().unwrap()).unwrap();
    let encoded = keylet::encoding::base64(given["challenge_base64"].as_str().unwrap());
    assert_eq!(*encoded.unwrap(), challenge);
    challenge.try_into().unwrap()
}

fn code(answer: &Answer) -> (u16, Option<&str>) {
    (answer.status, answer.header("x-keylet-code"))
}

#[test]
fn a_report_answers_its_challenge_once() {
    for world in [World::Wasip2, World::Wasip3] {
        let server = serve_in(world, &variables());
        let challenge = challenge(&server);
        let (spc, _) = spc(&sync(challenge, FLAGS));
        let answer = post(&server, "/fairplay/check-in", &spc);
        assert_eq!(
            (answer.status, answer.json()),
            (
                200,
                json!({
                    "challenge": "matched",
                    "version": 2,
                    "flags": ["secure_invalidation", "title_id_valid", "success"],
                    "title_id": hex::encode(TITLE),
                    "invalidated_stream_ids": [hex::encode(STREAM)],
                    "seconds_to_expiry": 2_591_995,
                })
            )
        );
        assert_eq!(
            code(&post(&server, "/fairplay/check-in", &spc)),
            (403, Some("challenge_invalid")),
            "shown a second time"
        );
        server.stop();
    }
}

#[test]
fn a_challenge_that_was_not_given_out_is_refused_however_often_it_comes() {
    let server = serve_in(World::Wasip2, &variables());
    let (spc, _) = spc(&sync([1; 8], FLAGS));
    for _ in 0..3 {
        assert_eq!(
            code(&post(&server, "/fairplay/check-in", &spc)),
            (403, Some("challenge_invalid"))
        );
    }
    server.stop();
}

#[test]
fn a_challenge_is_waited_for_ten_minutes() {
    let platform = Native::new(variables());
    let clock = Rc::clone(&platform.now);
    let service = Service::new(platform);
    let ask = |path: &str, body: Vec<u8>| {
        let request =
            Request::post(path).header("authorization", format!("Bearer {}", token("hs256")));
        let reply = run(service.handle(request.body(body).unwrap()));
        let document: Value = serde_json::from_slice(reply.body()).unwrap();
        (reply.status().as_u16(), document)
    };
    for (wait, expected) in [(0, 200), (600, 200), (601, 403), (1_300, 403)] {
        let (_, given) = ask("/fairplay/check-in/challenge", Vec::new());
        let challenge = hex::decode(given["challenge"].as_str().unwrap()).unwrap();
        assert_eq!(given["expires_at"], clock.get() + 600);
        clock.set(clock.get() + wait);
        let (spc, _) = spc(&sync(challenge.try_into().unwrap(), FLAGS));
        assert_eq!(ask("/fairplay/check-in", spc).0, expected, "after {wait} s");
    }
}

#[test]
fn a_report_without_challenge_says_so() {
    let server = serve_in(World::Wasip2, &variables());
    let (first, _) = spc(&sync([0; 8], FLAGS));
    assert_eq!(
        post(&server, "/fairplay/check-in", &first).json()["challenge"],
        "absent"
    );
    for (seconds, expected) in [(0, json!(0)), (60, json!(60)), (u32::MAX, Value::Null)] {
        let (spc, _) = spc(&sync_v1(seconds));
        let report = post(&server, "/fairplay/check-in", &spc).json();
        assert_eq!(
            (
                &report["challenge"],
                &report["content_id"],
                &report["seconds_to_expiry"]
            ),
            (&json!("absent"), &json!(hex::encode(TITLE)), &expected)
        );
    }
    server.stop();
}

#[test]
fn a_host_without_a_store_gives_no_challenge_and_checks_none() {
    let server = serve_in(World::Wasi, &variables());
    assert_eq!(
        code(&post(&server, "/fairplay/check-in/challenge", &[])),
        (503, Some("store_unsupported"))
    );
    let (spc, _) = spc(&sync([1; 8], FLAGS));
    assert_eq!(
        post(&server, "/fairplay/check-in", &spc).json()["challenge"],
        "unchecked"
    );
    server.stop();
}

#[test]
fn a_sync_spc_is_taken_for_one_where_licences_are_asked_for() {
    let server = serve_in(World::Wasip2, &variables());
    let (report, _) = spc(&sync([0; 8], FLAGS));
    let answer = post(&server, "/fairplay", &report);
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("application/json"))
    );
    let expected = answer.json();
    assert_eq!(expected["version"], 2);
    let payload = base64::Engine::encode(&keylet::encoding::BASE64, &report);
    let array = json!([{"keyID": "a", "payload": payload}]);
    let answer = post(&server, "/fairplay", array.to_string().as_bytes());
    let array = json!([{"keyID": "a", "check-in": expected}]);
    assert_eq!(answer.json(), array);

    // What reports nothing, or comes along with a request, is a request for a licence.
    for options in [sync([0; 8], 0), sync_v1(60)] {
        let (spc, secrets) = spc(&options);
        let answer = post(&server, "/fairplay", &spc);
        assert!(keylet_cli::device::Licence::open(&answer.body, &secrets).is_ok());
    }
    server.stop();
}

#[test]
fn what_reports_nothing_is_no_check_in() {
    let server = serve_in(World::Wasip2, &variables());
    for options in [SpcOptions::new("skd://movie-1"), sync([0; 8], 0)] {
        let (spc, _) = spc(&options);
        let answer = post(&server, "/fairplay/check-in", &spc);
        assert_eq!(code(&answer), (400, Some("sync_missing")));
        assert_eq!(answer.json()["fps_status"], -42585);
    }
    for path in ["/fairplay/check-in", "/fairplay/check-in/challenge"] {
        let answer = send(&server, Request::post("/"), path, b"AAAA");
        assert_eq!(code(&answer), (401, Some("token_missing")));
    }
    server.stop();
}

#[test]
fn a_store_that_fails_checks_no_challenge_unless_the_operator_allows_it() {
    let (spc, _) = spc(&sync([1; 8], FLAGS));
    for (store_failure, expected) in [("deny", 503), ("allow", 200)] {
        let variables = variables_with(&[("store_failure", store_failure)]);
        let service = Service::new(Native::with_broken_store(variables));
        let request = Request::post("/fairplay/check-in")
            .header("authorization", format!("Bearer {}", token("hs256")))
            .body(spc.clone())
            .unwrap();
        assert_eq!(run(service.handle(request)).status(), expected);
    }
}
