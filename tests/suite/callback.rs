//! Entitlement by call-back, and the tokens that this server makes itself.

use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use http::Request;
use keylet::fairplay::tag::Tag;
use keylet::platform::Timeout;
use keylet_cli::built_in;
use keylet_cli::device::{self, SpcOptions};
use keylet_cli::jwt::Signer;
use keylet_host::{Options, Provided, Server, World};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use keylet_e2e::processes::{Process, free_port, wait_for};

use crate::support::{Answer, Native, WORLDS, fixture, spc};
use crate::upstream::{
    Deployment, KID, Refusal, Reply, SPINS, Upstream, claims, code, entitled, jwks, licence,
    minted, policies, post, serve_beside, signed, variables,
};

const VIEWER: Signer = Signer::EdDsa([1; 32]);
const SECRET: &str = "what this server and the back end share";
const SERVER_SECRET: &str = "what nobody but this server knows";
const OPERATOR: &str = "the operator's token, long enough to be one";

/// Where the back end of the tests in this process is.
const URL: &str = "https://back-end.example/keylet?api-key=hidden";

const FIRST: u32 = 0xf4de_e5a2;
const STOPPED: u32 = 0x5991_bf20;
const HDCP_TYPE_1: u64 = 1;

/// An option whose viewers a back end accepts.
pub fn option(url: &str) -> Value {
    json!({
        "name": "subscribers",
        "restriction": {
            "issuer": "https://issuer.example",
            "audience": "keylet",
            "jwks": jwks(&[("viewers", &VIEWER)]),
        },
        "callback": {"url": url, "secret": SECRET},
    })
}

fn with(mut option: Value, member: &str, value: Value) -> Value {
    option[member] = value;
    option
}

/// A token of the issuer with these claims beside the usual ones.
fn token(more: Value) -> String {
    signed(&VIEWER, Some("viewers"), &claims(more))
}

/// One that says who the viewer is and nothing of keys.
pub fn login() -> String {
    token(json!({}))
}

/// A device that says what it plays, and takes every duration but offline keys.
pub fn device(asset: &str) -> SpcOptions {
    SpcOptions::new(format!("skd://{asset}")).playing(FIRST)
}

fn terms(terms: &Value) -> Reply {
    Reply::json(&json!({"terms": terms}))
}

/// A deployment in this process with one option.
fn natively(option: Value) -> Deployment {
    let mut variables = policies(&json!([option]));
    variables.insert("server_secret".to_owned(), SERVER_SECRET.to_owned());
    Deployment::new(variables)
}

/// HMAC-SHA256 as RFC 2104 writes it down, for keys of up to a block.
fn hmac(key: &str, message: &[u8]) -> String {
    let padded = |byte: u8| {
        let mut block = [byte; 64];
        for (padded, key) in block.iter_mut().zip(key.as_bytes()) {
            *padded ^= key;
        }
        block
    };
    let inner = Sha256::digest([&padded(0x36), message].concat());
    hex::encode(Sha256::digest([&padded(0x5c)[..], &inner].concat()))
}

/// The question in a request, when the back end may believe it.
fn question(request: &Request<Vec<u8>>) -> Value {
    let signature = request.headers()["x-keylet-signature"].to_str().unwrap();
    let time = signature.strip_prefix("t=").unwrap();
    let (time, tag) = time.split_once(",v1=").unwrap();
    let message = [format!("{time}.").as_bytes(), request.body()].concat();
    assert_eq!(tag, hmac(SECRET, &message));
    assert_eq!(request.method(), "POST");
    assert_eq!(request.headers()["content-type"], "application/json");
    let question: Value = serde_json::from_slice(request.body()).unwrap();
    assert_eq!(question["time"].to_string(), time);
    question
}

#[test]
fn the_hmac_of_these_tests_is_that_of_rfc_4231() {
    assert_eq!(
        hmac("Jefe", b"what do ya want for nothing?"),
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    );
}

#[test]
fn the_back_end_is_asked_once_with_all_that_is_known() {
    let identity = [
        &1_u32.to_be_bytes()[..],
        &2_u32.to_be_bytes(),
        &[1; 16],
        &[0, 0, 0, 3, 0, 0, 0, 4, 0, 17, 2, 1],
    ]
    .concat();
    let deployment = natively(option(URL));
    deployment.answer(|_| terms(&json!({"hdcp": "type0"})));
    let token = token(json!({"plan": {"name": "premium", "screens": 4}}));
    let asked = device("FILM").with(Tag::DEVICE_IDENTITY, identity);
    assert_eq!(
        code(deployment.licence(Some(&token), &asked)),
        "key_not_found"
    );
    assert_eq!(deployment.count(), 0);

    let asked = SpcOptions {
        asset_id: b"skd://film".to_vec(),
        ..asked
    };
    deployment.licence(Some(&token), &asked).unwrap();
    let audit = deployment.audit();
    let requests = deployment.take();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].uri(), URL);
    assert_eq!(
        question(&requests[0]),
        json!({
            "purpose": "licence",
            "request_id": "request-1",
            "time": 1_800_000_000,
            "policy": "subscribers",
            "claims": {
                "iss": "https://issuer.example",
                "aud": "keylet",
                "sub": "viewer-1",
                "exp": 4_000_000_000_u64,
                "plan": {"name": "premium", "screens": 4},
            },
            "drm": "fairplay",
            "asset": "film",
            "key": "movie",
            "device_class": "mobile",
            "device_id": audit["device"]["id"],
        })
    );
    assert_eq!(audit["device"]["id"].as_str().unwrap().len(), 32);
    assert_eq!(
        (&audit["code"], &audit["policy"]),
        (&"ok".into(), &"subscribers".into())
    );

    // Without a secret of its own, the server has no pseudonyms.
    let deployment = Deployment::new(policies(&json!([option(URL)])));
    deployment.answer(|_| terms(&json!({})));
    deployment
        .licence(Some(&login()), &device("movie"))
        .unwrap();
    let question = question(&deployment.take()[0]);
    assert_eq!(question.get("device_id"), None);
    assert_eq!(question["device_class"], "unknown");
}

#[test]
fn what_a_device_writes_around_a_kid_is_not_passed_on() {
    let deployment = natively(option(URL));
    deployment.answer(|_| terms(&json!({})));
    let asset = format!("drmtoday?assetId=free&keyId={KID}");
    deployment.licence(Some(&login()), &device(&asset)).unwrap();
    let asked = question(&deployment.take()[0]);
    assert_eq!((&asked["key"], asked.get("asset")), (&"movie".into(), None));
}

#[test]
fn every_world_asks_over_http_with_a_signature_that_fits_the_body() {
    let back_end = Upstream::start(|_| terms(&json!({"lease_seconds": 60})));
    let variables = policies(&json!([option(&back_end.url("/keylet"))]));
    for world in WORLDS {
        let server = serve_beside(world, &variables, &[back_end.origin()]);
        let licence = licence(&server, Some(&login()), &device("movie")).unwrap();
        let lease = device::Duration::Lease { lease_seconds: 60 };
        assert_eq!(licence.duration, Some(lease), "{world:?}");
        let requests = back_end.take();
        assert_eq!(requests.len(), 1);
        assert_eq!(question(&requests[0])["key"], "movie");
        server.stop();
    }
}

#[test]
fn the_example_of_a_back_end_grants_to_its_subscriber_alone() {
    let port = free_port();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/backend.py");
    let Ok(back_end) = Command::new("python3")
        .arg(example)
        .env("KEYLET_CALLBACK_SECRET", SECRET)
        .env("PORT", port.to_string())
        .stderr(Stdio::null())
        .spawn()
    else {
        keylet_e2e::skip("python", "the example of a back end", "there is no python3");
        return;
    };
    let _back_end = Process(back_end);
    wait_for(|| TcpStream::connect(("127.0.0.1", port)).is_ok());
    let origin = format!("http://127.0.0.1:{port}");
    let variables = policies(&json!([option(&format!("{origin}/"))]));
    let server = serve_beside(World::Wasip2, &variables, &[origin]);
    let subscriber = token(json!({"sub": "viewer-1"}));
    let licence_of_subscriber = licence(&server, Some(&subscriber), &device("movie")).unwrap();
    let lease = device::Duration::Lease { lease_seconds: 300 };
    assert_eq!(licence_of_subscriber.duration, Some(lease));
    let other = token(json!({"sub": "viewer-2"}));
    let refused = licence(&server, Some(&other), &device("movie"));
    assert_eq!(code(refused), "callback_refused");
    server.stop();
}

#[test]
fn a_back_end_that_the_manifest_does_not_name_is_not_asked() {
    let back_end = Upstream::start(|_| terms(&json!({})));
    let variables = policies(&json!([option(&back_end.url("/keylet"))]));
    for world in SPINS {
        let server = serve_beside(world, &variables, &[]);
        let refusal = licence(&server, Some(&login()), &device("movie")).unwrap_err();
        assert_eq!(
            (refusal.status, refusal.code.as_str()),
            (502, "callback_failed")
        );
        server.stop();
    }
    assert_eq!(back_end.count(), 0);
}

#[test]
fn its_terms_narrow_what_token_and_policy_allow_and_never_widen_it() {
    use device::Duration::{Lease, LeaseAndRental, Persistence, PersistenceLimited, Rental};
    let limited = |seconds| Some(PersistenceLimited { seconds });
    let lease = |lease_seconds| Some(Lease { lease_seconds });
    // Of the token (none: it says nothing), of the option, of the back end.
    for (own, of_option, answered, expected) in [
        (json!(null), json!({}), json!({}), None),
        (
            json!({}),
            json!({}),
            json!({"lease_seconds": 60}),
            lease(60),
        ),
        (
            json!({"lease_seconds": 100}),
            json!({}),
            json!({"lease_seconds": 60}),
            lease(60),
        ),
        (
            json!({"lease_seconds": 60}),
            json!({}),
            json!({"lease_seconds": 100}),
            lease(60),
        ),
        (
            json!({"lease_seconds": 60}),
            json!({}),
            json!({}),
            lease(60),
        ),
        (
            json!({}),
            json!({"lease_seconds": 50}),
            json!({"lease_seconds": 60}),
            lease(50),
        ),
        (
            json!(null),
            json!({"lease_seconds": 50}),
            json!({"lease_seconds": 40}),
            lease(40),
        ),
        (
            json!({"lease_seconds": 60}),
            json!({}),
            json!({"rental_seconds": 600}),
            Some(LeaseAndRental {
                lease_seconds: 60,
                rental_seconds: 600,
            }),
        ),
        (
            json!({"rental_seconds": 60}),
            json!({}),
            json!({"rental_seconds": 600}),
            Some(Rental { rental_seconds: 60 }),
        ),
        // Permission to store is the token's to give, where it says anything of rights.
        (json!({}), json!({}), json!({"persist": true}), None),
        (
            json!({}),
            json!({"persist": true}),
            json!({"persist": true}),
            None,
        ),
        (
            json!({"persist": false}),
            json!({}),
            json!({"persist": true}),
            None,
        ),
        (
            json!({"persist": true}),
            json!({}),
            json!({"persist": true}),
            Some(Persistence),
        ),
        (
            json!({"persist": true}),
            json!({}),
            json!({}),
            Some(Persistence),
        ),
        (
            json!({"persist": true}),
            json!({}),
            json!({"persist": false}),
            None,
        ),
        (
            json!({"persist": true}),
            json!({"persist": false}),
            json!({"persist": true}),
            None,
        ),
        (
            json!({"persist": true}),
            json!({}),
            json!({"lease_seconds": 60}),
            lease(60),
        ),
        (
            json!({"lease_seconds": 60}),
            json!({}),
            json!({"persist": true}),
            lease(60),
        ),
        (
            json!({"persist": true, "storage_seconds": 600}),
            json!({}),
            json!({"persist": true, "storage_seconds": 60}),
            limited(60),
        ),
        (
            json!({"persist": true, "storage_seconds": 60}),
            json!({}),
            json!({"persist": true, "storage_seconds": 600}),
            limited(60),
        ),
        (
            json!({"persist": true}),
            json!({}),
            json!({"storage_seconds": 600}),
            limited(600),
        ),
        // Where it says nothing of rights, they are the back end's to give.
        (
            json!(null),
            json!({}),
            json!({"persist": true}),
            Some(Persistence),
        ),
        (
            json!(null),
            json!({}),
            json!({"persist": true, "storage_seconds": 60}),
            limited(60),
        ),
        (
            json!(null),
            json!({"persist": false}),
            json!({"persist": true}),
            None,
        ),
        (
            json!(null),
            json!({"storage_seconds": 30}),
            json!({"persist": true, "storage_seconds": 60}),
            limited(30),
        ),
        (json!(null), json!({}), json!({"storage_seconds": 60}), None),
    ] {
        let deployment = natively(with(option(URL), "terms", of_option.clone()));
        let reply = answered.clone();
        deployment.answer(move |_| terms(&reply));
        let token = match &own {
            Value::Null => login(),
            own => {
                let mut entry = own.clone();
                entry["keys"] = "*".into();
                token(json!({"entitlements": [entry]}))
            }
        };
        let licence = deployment.licence(Some(&token), &device("movie")).unwrap();
        assert_eq!(licence.duration, expected, "{own} {of_option} {answered}");
    }
}

#[test]
fn its_terms_are_held_against_device_place_time_and_track() {
    let now = 1_800_000_000_u64;
    let able = || device("movie").capable(HDCP_TYPE_1);
    for (answered, options, expected) in [
        (
            json!({"hdcp": "type1"}),
            device("movie"),
            "device_hdcp_unsupported",
        ),
        (json!({"hdcp": "type1"}), able(), "ok"),
        (json!({"not_after": now}), able(), "entitlement_ended"),
        (
            json!({"not_before": now + 1}),
            able(),
            "entitlement_not_yet_valid",
        ),
        (json!({"not_after": now + 60}), able(), "ok"),
        (
            json!({"tracks": {"hd": false}}),
            device("hd"),
            "track_not_allowed",
        ),
        (json!({"tracks": {"hd": false}}), device("movie"), "ok"),
        (
            json!({"tracks": {"hd": {"hdcp": "type1"}}}),
            device("hd"),
            "device_hdcp_unsupported",
        ),
        (
            json!({"device_classes": ["mobile"]}),
            able(),
            "device_class_not_allowed",
        ),
        (
            json!({"device_ids": ["0".repeat(32)]}),
            able(),
            "device_not_allowed",
        ),
        (
            json!({"ip_allow": ["192.0.2.0/24"]}),
            able(),
            "place_unknown",
        ),
        (json!({"countries": ["DE"]}), able(), "place_unknown"),
        (
            json!({"min_security_level": "main"}),
            able(),
            "device_security_level",
        ),
    ] {
        let deployment = natively(option(URL));
        let reply = answered.clone();
        deployment.answer(move |_| terms(&reply));
        let result = deployment.licence(Some(&login()), &options);
        assert_eq!(code(result), expected, "{answered}");
        assert_eq!(deployment.count(), 1);
        assert_eq!(deployment.audit()["code"], expected);
    }
    let deployment = natively(option(URL));
    deployment.answer(|_| terms(&json!({"hdcp": "type1"})));
    let licence = deployment.licence(Some(&login()), &able()).unwrap();
    assert_eq!(licence.hdcp, Some("type1"));
}

#[test]
fn uses_that_it_limits_are_those_of_the_token() {
    let deployment = natively(option(URL));
    deployment.answer(|_| terms(&json!({"max_uses": 2})));
    let one = token(json!({"jti": "one"}));
    let mut codes: Vec<String> = (0..3)
        .map(|_| code(deployment.licence(Some(&one), &device("movie"))))
        .collect();
    let another = token(json!({"jti": "another"}));
    codes.push(code(deployment.licence(Some(&another), &device("movie"))));
    assert_eq!(codes, ["ok", "ok", "uses_spent", "ok"]);

    // Where no token is needed, there is none to count.
    let deployment = natively(with(option(URL), "restriction", json!("open")));
    deployment.answer(|_| terms(&json!({"max_uses": 2})));
    let result = deployment.licence(None, &device("movie"));
    assert_eq!(code(result), "term_unsupported");
}

#[test]
fn viewers_without_a_token_may_be_left_to_it() {
    let deployment = natively(with(option(URL), "restriction", json!("open")));
    deployment.answer(|request| match question(request)["key"].as_str() {
        Some("movie") => terms(&json!({})),
        _ => Reply::json(&json!({"refuse": "not for free"})),
    });
    for token in [None, Some("whatever is no token")] {
        assert_eq!(code(deployment.licence(token, &device("movie"))), "ok");
        assert_eq!(
            code(deployment.licence(token, &device("other"))),
            "callback_refused"
        );
    }
    assert_eq!(question(&deployment.take()[0])["claims"], json!({}));
}

#[test]
fn it_refuses_with_a_reason_or_a_status() {
    let long = "x".repeat(300);
    for (reply, detail) in [
        (
            json!({"refuse": "the subscription has ended"}),
            "the subscription has ended",
        ),
        (
            json!({"refuse": "two\r\nx-header: lines\u{7f}"}),
            "twox-header: lines",
        ),
        (json!({"refuse": long}), &long[..200]),
        (json!({"refuse": ""}), ""),
        (json!({"refuse": "no", "terms": {}}), "no"),
    ] {
        let deployment = natively(option(URL));
        let answer = reply.clone();
        deployment.answer(move |_| Reply::json(&answer));
        let refusal = deployment.licence(Some(&login()), &device("movie"));
        let expected = Refusal {
            status: 403,
            code: "callback_refused".to_owned(),
            detail: Some(detail.to_owned()),
        };
        assert_eq!(refusal.unwrap_err(), expected, "{reply}");
        assert_eq!(deployment.count(), 1);
        assert_eq!(deployment.audit()["code"], "callback_refused");
    }
    for status in [401, 403] {
        let deployment = natively(option(URL));
        deployment.answer(move |_| Reply::status(status));
        let refusal = deployment.licence(Some(&login()), &device("movie"));
        let expected = Refusal {
            status: 403,
            code: "callback_refused".to_owned(),
            detail: None,
        };
        assert_eq!(refusal.unwrap_err(), expected, "{status}");
        assert_eq!(deployment.count(), 1, "a refusal is not asked for twice");
    }
}

#[test]
fn it_is_asked_again_when_it_fails_and_as_often_as_the_option_says() {
    for (failure, retries, requests, expected) in [
        (500, None, 2, "ok"),
        (502, None, 2, "ok"),
        (503, None, 2, "ok"),
        (429, None, 2, "ok"),
        // No answer at all.
        (0, None, 2, "ok"),
        (500, Some(0), 1, "callback_failed"),
        (500, Some(1), 2, "ok"),
        (500, Some(3), 2, "ok"),
        // What will be no other next time.
        (400, Some(3), 1, "callback_failed"),
        (404, Some(3), 1, "callback_failed"),
        (301, Some(3), 1, "callback_failed"),
        (302, Some(3), 1, "callback_failed"),
        (201, Some(3), 1, "callback_failed"),
        (204, Some(3), 1, "callback_failed"),
    ] {
        let mut option = option(URL);
        if let Some(retries) = retries {
            option["callback"]["retries"] = retries.into();
        }
        let deployment = natively(option);
        let asked = Rc::new(std::cell::Cell::new(0));
        deployment.answer(move |_| {
            asked.set(asked.get() + 1);
            match (asked.get(), failure) {
                (1, 0) => Reply::Silence,
                (1, status) => Reply::status(status).with("location", URL),
                _ => terms(&json!({})),
            }
        });
        let result = deployment.licence(Some(&login()), &device("movie"));
        assert_eq!(code(result), expected, "{failure} {retries:?}");
        let sent = deployment.take();
        assert_eq!(sent.len(), requests, "{failure} {retries:?}");
        // A repetition is the same question, so that a back end can recognise it.
        for again in &sent {
            question(again);
            assert_eq!(again.body(), sent[0].body());
            assert_eq!(again.headers(), sent[0].headers());
        }
    }
    for (retries, requests) in [(0, 1), (1, 2), (2, 3), (3, 4)] {
        let mut option = option(URL);
        option["callback"]["retries"] = retries.into();
        let deployment = natively(option);
        deployment.answer(|_| Reply::status(500));
        let refusal = deployment.licence(Some(&login()), &device("movie"));
        assert_eq!(refusal.unwrap_err().status, 502);
        assert_eq!(deployment.count(), requests);
    }
}

#[test]
fn it_has_the_time_that_the_option_gives_it() {
    for (seconds, expected) in [(None, 3), (Some(1), 1), (Some(5), 5)] {
        let mut option = option(URL);
        if let Some(seconds) = seconds {
            option["callback"]["timeout_seconds"] = seconds.into();
        }
        let deployment = natively(option);
        deployment.answer(|_| terms(&json!({})));
        deployment
            .licence(Some(&login()), &device("movie"))
            .unwrap();
        let timeout = Timeout::from_request(&deployment.take()[0]);
        assert_eq!(timeout, Duration::from_secs(expected));
    }
}

/// Policies with an option for each of some call-backs, and the token that each one accepts.
fn cases(callbacks: impl IntoIterator<Item = Value>) -> (Provided, Vec<String>) {
    let mut options = Vec::new();
    let mut tokens = Vec::new();
    for (number, callback) in callbacks.into_iter().enumerate() {
        let mut option = option(URL);
        option["name"] = format!("case {number}").into();
        option["restriction"]["requiredClaims"] =
            json!([{"claimType": "case", "claimValue": number.to_string()}]);
        option["callback"] = callback;
        option["callback"]["secret"] = SECRET.into();
        options.push(option);
        tokens.push(token(json!({"case": number})));
    }
    (policies(&json!(options)), tokens)
}

#[test]
fn a_back_end_that_hangs_costs_no_more_than_that() {
    let back_end = Upstream::start(|request| match request.uri().path() {
        "/silent" => Reply::Silence,
        _ => Reply::Trickle,
    });
    let times = [(1, 0), (1, 1), (3, 0)];
    let callbacks = ["/silent", "/trickle"].map(|path| {
        times.map(|(timeout, retries)| {
            let url = back_end.url(path);
            json!({"url": url, "timeout_seconds": timeout, "retries": retries})
        })
    });
    let (variables, tokens) = cases(callbacks.into_iter().flatten());
    let servers = WORLDS.map(|world| serve_beside(world, &variables, &[back_end.origin()]));
    std::thread::scope(|scope| {
        for (server, world) in servers.iter().zip(WORLDS) {
            for (token, (timeout, retries)) in tokens.iter().zip(times.iter().cycle()) {
                scope.spawn(move || {
                    let started = Instant::now();
                    let refusal = licence(server, Some(token), &device("movie"));
                    let took = started.elapsed();
                    assert_eq!(code(refusal), "callback_failed");
                    let most = Duration::from_secs(timeout * (retries + 1) + 3);
                    assert!(took < most, "{world:?} {timeout} {retries}: {took:?}");
                });
            }
        }
    });
    assert_eq!(back_end.count(), 3 * 2 * (1 + 2 + 1));
    servers.into_iter().for_each(Server::stop);
}

#[test]
fn an_answer_of_any_other_shape_gives_nothing() {
    let deployment = natively(option(URL));
    for body in [
        "",
        "no JSON",
        "\u{0}",
        "<!doctype html>",
        "null",
        "true",
        "[]",
        "{}",
        r#"{"terms":null}"#,
        r#"{"terms":true}"#,
        r#"{"terms":[]}"#,
        r#"{"terms":"all"}"#,
        r#"{"terms":{}"#,
        r#"{"terms":{},"more":1}"#,
        r#"{"terms":{},"terms":{}}"#,
        r#"{"terms":{"lease_seconds":60,"lease_seconds":600}}"#,
        r#"{"terms":{"tracks":{"hd":{"hdcp":"type1","hdcp":"none"}}}}"#,
        r#"{"refuse":true}"#,
        r#"{"refuse":false,"terms":{}}"#,
        r#"{"allow":true}"#,
        r#"{"terms":{}} {"terms":{}}"#,
    ] {
        deployment.answer(move |_| Reply::text(body));
        let refusal = deployment.licence(Some(&login()), &device("movie"));
        let expected = Refusal {
            status: 502,
            code: "callback_failed".to_owned(),
            detail: None,
        };
        assert_eq!(refusal.unwrap_err(), expected, "{body}");
        assert_eq!(deployment.take().len(), 1, "{body}");
    }
    for (terms, expected) in [
        (r#"{"max_screens":2}"#, "term_unsupported"),
        (r#"{"keys":["movie"]}"#, "term_unsupported"),
        (r#"{"entitlements":[]}"#, "term_unsupported"),
        (r#"{"Persist":false}"#, "term_unsupported"),
        (r#"{"tracks":{"hd":{"max_screens":2}}}"#, "term_unsupported"),
        (r#"{"lease_seconds":0}"#, "terms_invalid"),
        (r#"{"lease_seconds":"60"}"#, "terms_invalid"),
        (r#"{"persist":1}"#, "terms_invalid"),
        (r#"{"persist":null}"#, "terms_invalid"),
        (r#"{"hdcp":"type9"}"#, "terms_invalid"),
        (r#"{"persist":true,"lease_seconds":60}"#, "terms_invalid"),
        (r#"{"persist":false,"storage_seconds":60}"#, "terms_invalid"),
        (r#"{"tracks":{"4k":{}}}"#, "terms_invalid"),
    ] {
        let body = format!(r#"{{"terms":{terms}}}"#);
        deployment.answer(move |_| Reply::text(&body));
        let refusal = deployment.licence(Some(&login()), &device("movie"));
        let refusal = refusal.unwrap_err();
        assert_eq!(
            (refusal.status, refusal.code.as_str()),
            (403, expected),
            "{terms}"
        );
        assert_eq!(deployment.take().len(), 1, "{terms}");
    }
}

#[test]
fn an_answer_that_is_too_large_or_breaks_off_gives_nothing() {
    let back_end = Upstream::start(|request| match request.uri().path() {
        "/large" => terms(&json!({"hdcp": "x".repeat(10_000_000)})),
        "/moved" => Reply::status(307).with("location", "/good"),
        "/good" => terms(&json!({})),
        "/broken-off" => {
            Reply::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"terms\":{}}".to_vec())
        }
        _ => Reply::Bytes(b"{\"terms\":{}}\r\n\r\n".to_vec()),
    });
    let paths = [
        ("/large", 2),
        ("/broken-off", 2),
        ("/no-http", 2),
        ("/moved", 1),
        ("/good", 1),
    ];
    let (variables, tokens) = cases(paths.map(|(path, _)| json!({"url": back_end.url(path)})));
    for world in WORLDS {
        let server = serve_beside(world, &variables, &[back_end.origin()]);
        for ((path, requests), token) in paths.iter().zip(&tokens) {
            let result = licence(&server, Some(token), &device("movie"));
            let expected = match *path {
                "/good" => "ok",
                _ => "callback_failed",
            };
            assert_eq!(code(result), expected, "{world:?} {path}");
            let sent = back_end.take();
            assert_eq!(sent.len(), *requests, "{world:?} {path}");
            assert!(sent.iter().all(|request| request.uri().path() == *path));
        }
        server.stop();
    }
}

#[test]
fn it_is_not_asked_where_the_answer_is_no_without_it() {
    // Nobody answers: a request would end the test.
    let deployment = natively(with(option(URL), "terms", json!({"tracks": {"hd": false}})));
    let stranger = Signer::EdDsa([3; 32]);
    let movie = || device("movie");
    for (token, options, expected) in [
        (None, movie(), "token_missing"),
        (Some("garbage".to_owned()), movie(), "token_malformed"),
        (
            Some(signed(&stranger, Some("viewers"), &entitled())),
            movie(),
            "token_signature",
        ),
        (Some(token(json!({"exp": 1}))), movie(), "token_expired"),
        (
            Some(token(json!({"aud": "another"}))),
            movie(),
            "token_audience",
        ),
        (
            Some(token(json!({"entitlements": [{"keys": ["other"]}]}))),
            movie(),
            "not_entitled",
        ),
        (
            Some(token(
                json!({"entitlements": [{"keys": "*", "max_screens": 1}]}),
            )),
            movie(),
            "term_unsupported",
        ),
        (Some(login()), device("nothing"), "key_not_found"),
        (Some(login()), device("hd"), "track_not_allowed"),
    ] {
        let result = deployment.licence(token.as_deref(), &options);
        assert_eq!(code(result), expected);
    }
    for name in [
        "spc/bad-ask.bin",
        "spc/bad-wrapped-key.bin",
        "credentials/sdk4.cer",
    ] {
        let reply = deployment.post("/fairplay", Some(&login()), &fixture(name));
        assert_eq!(reply.status(), 400, "{name}");
    }
}

#[test]
fn a_player_that_stopped_is_not_asked_about() {
    // Nobody answers: a request would end the test.
    let deployment = natively(option(URL));
    let (spc, _) = spc(&device("movie").playing(STOPPED));
    let reply = deployment.post("/fairplay", Some(&login()), &spc);
    assert_eq!(reply.status(), 204);
}

#[test]
fn its_secret_and_its_url_stay_here() {
    for reply in [
        Reply::status(500),
        Reply::status(403),
        Reply::Silence,
        terms(&json!({})),
        terms(&json!({"max_screens": 1})),
        Reply::json(&json!({"refuse": "no"})),
        Reply::text("garbage"),
    ] {
        let deployment = natively(option(URL));
        let reply = std::cell::RefCell::new(Some(reply));
        deployment.answer(move |_| reply.take().unwrap_or(Reply::Silence));
        let token = token(json!({"email": "viewer@hidden.example"}));
        let (spc, _) = spc(&device("movie"));
        let reply = deployment.post("/fairplay", Some(&token), &spc);
        let store = format!("{:?}", deployment.platform.store.borrow());
        let seen = format!(
            "{:?} {} {} {store}",
            reply.headers(),
            String::from_utf8_lossy(reply.body()),
            deployment.platform.log.borrow().join("\n"),
        );
        for hidden in [SECRET, SERVER_SECRET, "hidden", "back-end.example/", &token] {
            assert!(!seen.contains(hidden), "{seen}");
        }
        let sent = deployment.take();
        let body = String::from_utf8(sent[0].body().clone()).unwrap();
        let headers = format!("{:?}", sent[0].headers());
        for hidden in [SECRET, SERVER_SECRET, &token] {
            assert!(!format!("{headers}{body}").contains(hidden));
        }
    }
}

/// A deployment in this process with an operator.
fn office(changes: &[(&str, &str)]) -> Deployment {
    let office = [
        ("operator_token", OPERATOR),
        ("server_secret", SERVER_SECRET),
    ];
    Deployment::new(variables(&[&office, changes].concat()))
}

fn claims_of(token: &str) -> Value {
    let claims = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&keylet::encoding::base64(claims).unwrap()).unwrap()
}

#[test]
fn an_operator_gets_a_token_with_the_entitlements_that_he_says() {
    let office = office(&[]);
    let entitlements = json!([{"keys": ["movie"], "lease_seconds": 60}]);
    let wanted = json!({"entitlements": entitlements, "sub": "viewer-1"});
    let body = wanted.to_string();
    let reply = office.post("/tokens", Some(OPERATOR), body.as_bytes());
    assert_eq!(reply.status(), 200);
    assert_eq!(reply.headers()["cache-control"], "no-store");
    assert_eq!(reply.headers()["content-type"], "application/json");
    let reply: Value = serde_json::from_slice(reply.body()).unwrap();
    assert_eq!(reply["expires_in"], 300);
    let token = reply["token"].as_str().unwrap();
    let claims = claims_of(token);
    assert_eq!(claims["jti"].as_str().unwrap().len(), 32);
    assert_eq!(
        claims,
        json!({
            "iss": "keylet",
            "aud": "keylet",
            "sub": "viewer-1",
            "iat": 1_800_000_000,
            "exp": 1_800_000_300,
            "jti": claims["jti"],
            "entitlements": entitlements,
        })
    );
    let another = office.minted(Some(OPERATOR), &wanted).unwrap();
    assert_ne!(claims_of(&another)["jti"], claims["jti"]);

    let lease = device::Duration::Lease { lease_seconds: 60 };
    let licence = office.licence(Some(token), &device("movie")).unwrap();
    assert_eq!(licence.duration, Some(lease));
    assert_eq!(
        code(office.licence(Some(token), &device("other"))),
        "not_entitled"
    );
    office.wait(300 + 59);
    assert_eq!(code(office.licence(Some(token), &device("movie"))), "ok");
    office.wait(1);
    assert_eq!(
        code(office.licence(Some(token), &device("movie"))),
        "token_expired"
    );
}

#[test]
fn a_token_that_was_made_here_is_good_on_every_world_with_the_same_secret() {
    let with_secret =
        |secret| variables(&[("operator_token", OPERATOR), ("server_secret", secret)]);
    let lease = device::Duration::Lease { lease_seconds: 60 };
    let wanted = json!({"entitlements": [{"keys": [KID], "lease_seconds": 60}], "expires_in": 60});
    let servers = WORLDS.map(|world| serve_beside(world, &with_secret(SERVER_SECRET), &[]));
    for one in &servers {
        let token = minted(one, Some(OPERATOR), &wanted).unwrap();
        for another in &servers {
            let licence = licence(another, Some(&token), &device("film")).unwrap();
            assert_eq!(licence.duration.as_ref(), Some(&lease));
        }
    }
    let token = minted(&servers[0], Some(OPERATOR), &wanted).unwrap();
    for (secret, expected) in [
        ("what nobody but another server knows", "token_signature"),
        // Without a secret it is a token like any other.
        ("", "token_key_unknown"),
    ] {
        let other = serve_beside(World::Wasip2, &with_secret(secret), &[]);
        let result = licence(&other, Some(&token), &device("movie"));
        assert_eq!(code(result), expected);
        other.stop();
    }
    servers.into_iter().for_each(Server::stop);
}

#[test]
fn only_this_server_makes_its_tokens() {
    let office = office(&[(
        "token_keys",
        &jwks(&[("keylet-server", &Signer::Hs256(vec![7; 32]))]).to_string(),
    )]);
    let token = office
        .minted(Some(OPERATOR), &json!({"entitlements": []}))
        .unwrap();
    let parts: Vec<&str> = token.split('.').collect();
    let mut forged = claims_of(&token);
    forged["entitlements"] = json!([{"keys": "*"}]);
    let forged = base64::Engine::encode(&keylet::encoding::BASE64_URL, forged.to_string());
    let ask = |token: &str| code(office.licence(Some(token), &device("movie")));
    assert_eq!(ask(&token), "not_entitled");
    assert_eq!(
        ask(&format!("{}.{forged}.{}", parts[0], parts[2])),
        "token_signature"
    );
    assert_eq!(
        ask(&format!("{}.{}.", parts[0], parts[1])),
        "token_signature"
    );
    assert_eq!(
        ask(&format!("{}.{}.{}", parts[0], parts[1], &parts[2][..20])),
        "token_signature"
    );
    // The issuer may not speak in this server's name, nor whoever reads the secret as text.
    let mut claims = entitled();
    for name in ["iss", "aud"] {
        claims[name] = "keylet".into();
    }
    for secret in [vec![7; 32], SERVER_SECRET.as_bytes().to_vec(), Vec::new()] {
        let token = signed(&Signer::Hs256(secret), Some("keylet-server"), &claims);
        assert_eq!(ask(&token), "token_signature");
    }
    // With another algorithm it is a token like any other.
    let token = signed(&VIEWER, Some("keylet-server"), &claims);
    assert_eq!(ask(&token), "token_key_unknown");
}

#[test]
fn an_operator_is_refused_what_no_token_may_hold() {
    let office = office(&[]);
    let all = json!([{"keys": "*"}]);
    for (wanted, expected) in [
        (json!({"entitlements": all, "expires_in": 1}), "ok"),
        (json!({"entitlements": all, "expires_in": 86_400}), "ok"),
        (
            json!({"entitlements": all, "expires_in": 86_401}),
            "request_malformed",
        ),
        (
            json!({"entitlements": all, "expires_in": 0}),
            "request_malformed",
        ),
        (
            json!({"entitlements": all, "expires_in": -1}),
            "request_malformed",
        ),
        (
            json!({"entitlements": all, "expires_in": 1.5}),
            "request_malformed",
        ),
        (
            json!({"entitlements": all, "expires_in": "300"}),
            "request_malformed",
        ),
        (
            json!({"entitlements": all, "expires_in": u64::MAX}),
            "request_malformed",
        ),
        (json!({"entitlements": all, "sub": 5}), "request_malformed"),
        (
            json!({"entitlements": all, "jti": "mine"}),
            "request_malformed",
        ),
        (
            json!({"entitlements": all, "policy": "mine"}),
            "request_malformed",
        ),
        (json!({"entitlements": {"keys": "*"}}), "request_malformed"),
        (json!({"entitlements": [{}]}), "request_malformed"),
        (json!({"entitlements": null}), "request_malformed"),
        (json!({"keys": ["movie"]}), "request_malformed"),
        (json!({}), "request_malformed"),
        (json!([]), "request_malformed"),
        (json!("entitlements"), "request_malformed"),
        (
            json!({"entitlements": [{"keys": "*", "max_screens": 1}]}),
            "term_unsupported",
        ),
        (
            json!({"entitlements": [{"keys": "*", "lease_seconds": 0}]}),
            "terms_invalid",
        ),
        (
            json!({"entitlements": [{"keys": "*", "storage_seconds": 60}]}),
            "terms_invalid",
        ),
    ] {
        let result = office.minted(Some(OPERATOR), &wanted);
        assert_eq!(code(result), expected, "{wanted}");
    }
}

#[test]
fn every_token_that_is_made_or_refused_is_in_the_audit() {
    let office = office(&[]);
    let entitlements = json!({"entitlements": [{"keys": ["movie"]}]});
    for (wanted, expected) in [(entitlements, "ok"), (json!({}), "request_malformed")] {
        let token = office.minted(Some(OPERATOR), &wanted);
        let record = office.audit();
        assert_eq!(
            (&record["drm"], &record["code"]),
            (&json!("token"), &json!(expected))
        );
        let line = record.to_string();
        assert!(token.is_err() || !line.contains(token.unwrap().rsplit('.').next().unwrap()));
    }
}

#[test]
fn a_body_that_is_no_json_document_is_refused() {
    let office = office(&[]);
    for (body, expected) in [
        (&b""[..], "body_empty"),
        (b"{", "request_malformed"),
        (b"entitlements", "request_malformed"),
        (b"entitlements=all", "request_malformed"),
        (b"\0\0\0\x01", "request_malformed"),
        (
            b"{\"entitlements\":[],\"entitlements\":[{\"keys\":\"*\"}]}",
            "request_malformed",
        ),
        (
            b"{\"entitlements\":[{\"keys\":[\"movie\"],\"keys\":\"*\"}]}",
            "request_malformed",
        ),
    ] {
        let reply = office.post("/tokens", Some(OPERATOR), body);
        assert_eq!(
            (
                reply.status().as_u16(),
                reply.headers()["x-keylet-code"].to_str().unwrap()
            ),
            (400, expected),
            "{}",
            String::from_utf8_lossy(body)
        );
    }
    let long = format!("[{}]", " ".repeat(300_000));
    let reply = office.post("/tokens", Some(OPERATOR), long.as_bytes());
    assert_eq!(reply.status(), 413);
}

#[test]
fn nobody_but_the_operator_is_the_operator() {
    let wanted = json!({"entitlements": [{"keys": "*"}]});
    let office_ = office(&[]);
    let jwt = signed(&Signer::EdDsa([3; 32]), None, &entitled());
    for (bearer, expected) in [
        (None, "token_missing"),
        (
            Some("the operator's token, long enough to be on"),
            "token_malformed",
        ),
        (Some(SERVER_SECRET), "token_malformed"),
        (Some(jwt.as_str()), "token_signature"),
    ] {
        assert_eq!(
            code(office_.minted(bearer, &wanted)),
            expected,
            "{bearer:?}"
        );
    }
    let nobody = office(&[("operator_token", "")]);
    for bearer in [OPERATOR, ""] {
        let refusal = nobody.minted(Some(bearer), &wanted).unwrap_err();
        assert_eq!(refusal.status, 401, "{bearer:?}");
    }
    let short = office(&[("operator_token", "short")]);
    let result = short.minted(Some("short"), &wanted);
    assert_eq!(code(result), "configuration_invalid");
    let reply = office_.handle(Request::get("/tokens").body(Vec::new()).unwrap());
    assert_eq!(reply.status(), 405);
}

#[test]
fn without_a_secret_there_are_no_tokens() {
    let wanted = json!({"entitlements": [{"keys": "*"}]});
    let off = office(&[("server_secret", "")]);
    let refusal = off.minted(Some(OPERATOR), &wanted).unwrap_err();
    assert_eq!((refusal.status, refusal.code.as_str()), (503, "tokens_off"));
    let short = office(&[("server_secret", "short")]);
    let result = short.minted(Some(OPERATOR), &wanted);
    assert_eq!(code(result), "configuration_invalid");

    // Nobody answers: a request to the back end would end the test.
    let off = Deployment::new(policies(&json!([option(URL)])));
    let result = off.minted(Some(&login()), &json!({"keys": ["movie"]}));
    assert_eq!(code(result), "tokens_off");
}

/// What a viewer with a login token gets for a wish, when the back end answers this.
fn bought(answered: &Value, wanted: &Value) -> (Deployment, Result<String, Refusal>) {
    let deployment = natively(option(URL));
    let reply = answered.clone();
    deployment.answer(move |_| terms(&reply));
    let token = deployment.minted(Some(&login()), wanted);
    (deployment, token)
}

#[test]
fn a_viewer_gets_a_token_when_the_back_end_lets_him_and_it_is_not_asked_again() {
    let wanted = json!({"keys": ["movie", "hd"], "use": "offline"});
    let (deployment, token) = bought(&json!({"persist": true, "storage_seconds": 600}), &wanted);
    let token = token.unwrap();
    assert_eq!(
        question(&deployment.take()[0]),
        json!({
            "purpose": "token",
            "request_id": "request-1",
            "time": 1_800_000_000,
            "policy": "subscribers",
            "claims": {
                "iss": "https://issuer.example",
                "aud": "keylet",
                "sub": "viewer-1",
                "exp": 4_000_000_000_u64,
            },
            "keys": ["movie", "hd"],
            "wanted": wanted,
        })
    );
    let claims = claims_of(&token);
    assert_eq!(
        (&claims["sub"], &claims["policy"], &claims["exp"]),
        (
            &"viewer-1".into(),
            &"subscribers".into(),
            &1_800_000_300.into()
        )
    );
    let stored = device::Duration::PersistenceLimited { seconds: 600 };
    for asset in ["movie", "film", "hd"] {
        let licence = deployment.licence(Some(&token), &device(asset)).unwrap();
        assert_eq!(licence.duration.as_ref(), Some(&stored));
        assert_eq!(deployment.audit()["policy"], "subscribers");
    }
    let result = deployment.licence(Some(&token), &device("other"));
    assert_eq!(code(result), "not_entitled");
    assert_eq!(deployment.count(), 0);
    // The pseudonym is the one that his login has.
    let subject = deployment.audit()["subject"].clone();
    deployment
        .licence(Some(&login()), &device("movie"))
        .unwrap();
    assert_eq!(deployment.audit()["subject"], subject);
}

#[test]
fn what_a_viewer_wants_as_a_stream_cannot_be_stored() {
    for wanted in [
        json!({"keys": ["movie", "hd"]}),
        json!({"keys": ["movie", "hd"], "use": "streaming"}),
    ] {
        for answered in [
            json!({}),
            json!({"persist": true}),
            json!({"persist": true, "storage_seconds": 600, "playback_seconds": 60}),
            json!({"tracks": {"hd": {"persist": true}}}),
            json!({"persist": true, "tracks": {"hd": {"persist": true, "storage_seconds": 600}}}),
        ] {
            let (deployment, token) = bought(&answered, &wanted);
            let token = token.unwrap();
            for asset in ["movie", "hd"] {
                let licence = deployment.licence(Some(&token), &device(asset)).unwrap();
                let is_stored = matches!(
                    licence.duration,
                    Some(
                        device::Duration::Persistence
                            | device::Duration::PersistenceLimited { .. }
                            | device::Duration::OfflineKey { .. }
                    )
                );
                assert!(!is_stored, "{answered} {asset}: {:?}", licence.duration);
            }
        }
    }
}

#[test]
fn what_a_viewer_wants_to_store_the_back_end_has_to_allow() {
    let wanted = json!({"keys": ["movie"], "use": "offline"});
    for (answered, expected) in [
        (json!({"persist": true}), "ok"),
        (json!({"persist": true, "playback_seconds": 60}), "ok"),
        (json!({}), "callback_refused"),
        (json!({"persist": false}), "callback_refused"),
        (json!({"lease_seconds": 60}), "callback_refused"),
        (
            json!({"tracks": {"hd": {"persist": true}}}),
            "callback_refused",
        ),
        (json!({"persist": "true"}), "terms_invalid"),
        (
            json!({"persist": true, "lease_seconds": 60}),
            "terms_invalid",
        ),
    ] {
        let (_, token) = bought(&answered, &wanted);
        assert_eq!(code(token), expected, "{answered}");
    }
}

#[test]
fn terms_that_are_none_give_a_viewer_no_token() {
    for use_ in ["streaming", "offline"] {
        let wanted = json!({"keys": ["movie", "other"], "use": use_});
        for (answered, expected) in [
            (
                json!({"persist": true, "max_screens": 1}),
                "term_unsupported",
            ),
            // The viewer names the keys: an answer that names fewer must not grant more.
            (
                json!({"persist": true, "keys": ["movie"]}),
                "term_unsupported",
            ),
            (
                json!({"persist": true, "storage_seconds": 0}),
                "terms_invalid",
            ),
            (json!({"persist": true, "hdcp": "type9"}), "terms_invalid"),
        ] {
            let (_, token) = bought(&answered, &wanted);
            assert_eq!(code(token), expected, "{use_} {answered}");
        }
    }
    let deployment = natively(option(URL));
    for (reply, expected) in [
        (r#"{"refuse":"no"}"#, "callback_refused"),
        ("{}", "callback_failed"),
        ("garbage", "callback_failed"),
        (
            r#"{"terms":{"hdcp":"type1","hdcp":"none"}}"#,
            "callback_failed",
        ),
    ] {
        deployment.answer(move |_| Reply::text(reply));
        let result = deployment.minted(Some(&login()), &json!({"keys": ["movie"]}));
        assert_eq!(code(result), expected, "{reply}");
    }
}

#[test]
fn a_viewer_is_refused_a_token_that_nobody_can_give_him() {
    // Nobody answers: a request would end the test.
    let deployment = natively(option(URL));
    let wanted = json!({"keys": ["movie"]});
    let entitled = token(json!({"entitlements": [{"keys": ["movie"]}]}));
    let named = token(json!({
        "urn:microsoft:azure:mediaservices:contentkeyidentifier": KID,
    }));
    for (bearer, wanted, expected) in [
        (entitled, wanted.clone(), "entitlement_invalid"),
        (named, wanted.clone(), "entitlement_invalid"),
        (token(json!({"exp": 1})), wanted.clone(), "token_expired"),
        (login(), json!({"keys": []}), "request_malformed"),
        (login(), json!({"keys": "movie"}), "request_malformed"),
        (login(), json!({"keys": [5]}), "request_malformed"),
        (login(), json!({"keys": [""]}), "request_malformed"),
        (login(), json!({"keys": ["*"]}), "request_malformed"),
        (
            login(),
            json!({"keys": ["movie", "*"]}),
            "request_malformed",
        ),
        (login(), json!({"use": "streaming"}), "request_malformed"),
        (
            login(),
            json!({"keys": ["movie"], "use": "both"}),
            "request_malformed",
        ),
        (
            login(),
            json!({"keys": ["movie"], "expires_in": 9}),
            "request_malformed",
        ),
        (
            login(),
            json!({"entitlements": [{"keys": "*"}]}),
            "request_malformed",
        ),
    ] {
        let result = deployment.minted(Some(&bearer), &wanted);
        assert_eq!(code(result), expected, "{wanted}");
    }
    assert_eq!(code(deployment.minted(None, &wanted)), "token_missing");

    // What his token limits, one that is made for him would not.
    let key_claim = json!([{"claimType": "kid"}]);
    let mut limited = option(URL);
    limited["restriction"]["requiredClaims"] = key_claim;
    let of_one = natively(limited);
    let named = token(json!({"kid": "movie"}));
    let result = of_one.minted(Some(&named), &json!({"keys": ["hd"]}));
    assert_eq!(code(result), "entitlement_invalid");
    let counted = token(json!({"urn:microsoft:azure:mediaservices:maxuses": 1}));
    let result = deployment.minted(Some(&counted), &wanted);
    assert_eq!(code(result), "entitlement_invalid");

    let mut alone = option(URL);
    alone.as_object_mut().unwrap().remove("callback");
    alone["terms"] = json!({});
    let deployment = natively(alone);
    let result = deployment.minted(Some(&login()), &wanted);
    assert_eq!(code(result), "entitlement_missing");
}

#[test]
fn a_token_that_was_made_here_gets_no_other() {
    let wanted = json!({"keys": ["movie"]});
    let (deployment, token) = bought(&json!({}), &wanted);
    deployment.take();
    let result = deployment.minted(Some(&token.unwrap()), &wanted);
    assert_eq!(code(result), "entitlement_missing");
    assert_eq!(deployment.count(), 0);
}

#[test]
fn a_viewers_token_meets_the_terms_of_his_option_and_ends_with_it() {
    let variables = |option: Value| -> Provided {
        let mut variables = policies(&json!([option]));
        variables.insert("server_secret".to_owned(), SERVER_SECRET.to_owned());
        variables
    };
    let host = Native::new(variables(option(URL)));
    let before = Deployment::on(host.clone());
    before.answer(|_| terms(&json!({"lease_seconds": 600})));
    let wanted = json!({"keys": ["movie"]});
    let token = before.minted(Some(&login()), &wanted).unwrap();

    let lease = |option: Value| {
        let host = Native {
            variables: variables(option),
            ..host.clone()
        };
        let licence = Deployment::on(host).licence(Some(&token), &device("movie"));
        licence
            .map(|licence| licence.duration)
            .map_err(|refusal| refusal.code)
    };
    let seconds = |lease_seconds| Ok(Some(device::Duration::Lease { lease_seconds }));
    assert_eq!(lease(option(URL)), seconds(600));
    let stricter = with(option(URL), "terms", json!({"lease_seconds": 60}));
    assert_eq!(lease(stricter), seconds(60));
    let wider = with(option(URL), "terms", json!({"lease_seconds": 6000}));
    assert_eq!(lease(wider), seconds(600));
    let other_keys = with(
        option(URL),
        "restriction",
        json!({"issuer": "*", "audience": "*", "jwks": jwks(&[("a", &Signer::EdDsa([9; 32]))])}),
    );
    assert_eq!(lease(other_keys), seconds(600), "it is this server's token");
    for gone in [
        with(option(URL), "name", json!("others")),
        with(option(URL), "drm", json!({"widevine": {}})),
        with(
            with(option(URL), "name", json!("open")),
            "restriction",
            json!("open"),
        ),
    ] {
        assert_eq!(lease(gone), Err("not_entitled".to_owned()));
    }
}

#[test]
fn uses_of_a_viewers_tokens_are_counted_for_the_one_that_he_came_with() {
    let (deployment, token) = bought(&json!({"max_uses": 2}), &json!({"keys": ["movie"]}));
    let token = token.unwrap();
    let codes = [(); 3].map(|()| code(deployment.licence(Some(&token), &device("movie"))));
    assert_eq!(codes, ["ok", "ok", "uses_spent"]);
    let another = deployment.minted(Some(&login()), &json!({"keys": ["movie"]}));
    let result = deployment.licence(Some(&another.unwrap()), &device("movie"));
    assert_eq!(code(result), "uses_spent");
}

#[test]
fn a_viewer_gets_his_token_over_http_from_every_world() {
    let back_end = Upstream::start(|request| match question(request)["purpose"].as_str() {
        Some("token") => terms(&json!({"persist": true, "storage_seconds": 600})),
        _ => Reply::json(&json!({"refuse": "by token only"})),
    });
    let mut variables = policies(&json!([option(&back_end.url("/keylet"))]));
    variables.insert("server_secret".to_owned(), SERVER_SECRET.to_owned());
    for world in WORLDS {
        let server = serve_beside(world, &variables, &[back_end.origin()]);
        let refused = licence(&server, Some(&login()), &device("movie")).unwrap_err();
        assert_eq!(refused.detail.as_deref(), Some("by token only"));
        for (use_, expected) in [
            (
                "streaming",
                Some(device::Duration::LeaseAndRental {
                    lease_seconds: 600,
                    rental_seconds: 600,
                }),
            ),
            (
                "offline",
                Some(device::Duration::PersistenceLimited { seconds: 600 }),
            ),
        ] {
            let wanted = json!({"keys": ["movie"], "use": use_});
            let token = minted(&server, Some(&login()), &wanted).unwrap();
            let licence = licence(&server, Some(&token), &device("movie")).unwrap();
            assert_eq!(licence.duration, expected, "{world:?} {use_}");
        }
        let answer = post(&server, "/tokens", Some(&login()), b"{");
        assert_eq!(answer.status, 400);
        assert_eq!(back_end.take().len(), 3);
        server.stop();
    }
}

#[test]
fn a_request_for_which_no_instance_is_free_is_told_when_to_come_again() {
    // A back end that answers late holds every instance.
    let back_end = Upstream::start(|_| {
        std::thread::sleep(Duration::from_secs(2));
        Reply::json(&json!({"terms": {}}))
    });
    let option = json!({
        "name": "open", "restriction": "open",
        "callback": {"url": back_end.url("/"), "secret": SECRET, "timeout_seconds": 5},
    });
    let mut variables = policies(&json!([option]));
    variables.insert("server_secret".to_owned(), SERVER_SECRET.to_owned());
    let mut application = built_in(World::Wasip2, variables).unwrap();
    application.manifest.component.allowed_outbound_hosts = vec![back_end.origin()];
    let options = Options {
        longest_wait: Duration::from_millis(200),
        ..keylet_e2e::quiet()
    };
    let server = Server::start(application, &options).unwrap();
    let (message, _) = spc(&device("movie"));
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..200)
            .map(|_| scope.spawn(|| post(&server, "/fairplay", None, &message)))
            .collect();
        asked
            .into_iter()
            .map(|asked| asked.join().unwrap())
            .collect()
    });
    let busy = answers.iter().filter(|answer| answer.status == 503);
    let busy: Vec<_> = busy.collect();
    assert!(
        !busy.is_empty() && busy.len() < answers.len(),
        "{}",
        busy.len()
    );
    for answer in busy {
        assert_eq!(answer.header("x-keylet-code"), Some("host_busy"));
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert_eq!(answer.json()["code"], "host_busy");
    }
    server.stop();
}

#[test]
fn a_trace_goes_from_the_player_through_the_audit_to_the_back_end() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let deployment = natively(option(URL));
    deployment.answer(|_| terms(&json!({})));
    let ask = |traceparent: Option<&str>| {
        let (spc, _) = spc(&device("film"));
        let mut request = Request::post("/fairplay")
            .header("authorization", format!("Bearer {}", login()))
            .header("tracestate", "vendor=1");
        if let Some(value) = traceparent {
            request = request.header("traceparent", value);
        }
        let response = deployment.handle(request.body(spc).unwrap());
        assert_eq!(response.status(), 200);
        (deployment.audit(), deployment.take().remove(0))
    };
    let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let (audit, asked) = ask(Some(&parent));
    assert_eq!(audit["trace_id"], TRACE);
    assert_eq!(audit["parent_span_id"], "00f067aa0ba902b7");
    let span = audit["span_id"].as_str().unwrap();
    assert_eq!(
        asked.headers()["traceparent"],
        format!("00-{TRACE}-{span}-01")
    );
    assert_eq!(asked.headers()["tracestate"], "vendor=1");
    // The next request has a span of its own.
    assert_ne!(ask(Some(&parent)).0["span_id"], span);
    for none in [None, Some("00-0-0-01")] {
        let (audit, asked) = ask(none);
        assert!(audit.get("trace_id").is_none(), "{audit}");
        assert!(
            !asked.headers().contains_key("traceparent")
                && !asked.headers().contains_key("tracestate")
        );
    }
}
