//! Keys that a key server gives.

use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use http::Request;
use keylet_cli::device::{self, Licence, SpcOptions};
use keylet_cli::jwt::Signer;
use keylet_e2e::processes::{Process, free_port, wait_for};
use keylet_host::{Provided, Server, StoreChoice, World};
use serde_json::{Value, json};

use crate::dialects::Vectors;
use crate::sessions::FIRST;
use crate::support::{WORLDS, fixture, get, spc, variables_with};
use crate::upstream::{
    Deployment, Refusal, Reply, SPINS, Upstream, claims, code, entitled, jwks, licence,
    serve_beside, serve_on, signed,
};

const VIEWER: Signer = Signer::EdDsa([1; 32]);
const KID: &str = "339c45b5-fb6d-4bd9-994c-eabd9d41c95b";
const KEY: &str = "a537cdc0ca65841406d525e7bf22d754";
const IV: &str = "000102030405060708090a0b0c0d0e0f";
const OTHER_KID: &str = "00000000-0000-0000-0000-000000000001";
const ENCRYPTION_KEYS: &str =
    r#"{"kty":"oct","kid":"k1","k":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"}"#;

fn film() -> SpcOptions {
    device_asking_for(KID)
}

fn device_asking_for(asset: &str) -> SpcOptions {
    SpcOptions::new(format!("skd://{asset}")).playing(FIRST)
}

fn viewer() -> String {
    signed(&VIEWER, Some("viewer"), &entitled())
}

/// The fixture variables without records, and with this key server.
fn variables(setting: &Value, more: &[(&str, &str)]) -> Provided {
    let keys = jwks(&[("viewer", &VIEWER)]).to_string();
    let setting = setting.to_string();
    let mut changes = vec![
        ("content_keys", ""),
        ("token_keys", keys.as_str()),
        ("key_server", setting.as_str()),
    ];
    changes.extend(more);
    variables_with(&changes)
}

fn json_at(url: &str) -> Value {
    json!({"protocol": "json", "url": url})
}

fn record() -> Value {
    json!({"kid": KID, "key": KEY, "iv": IV})
}

fn cpix(kid: &str) -> String {
    format!(
        r#"<c:CPIX xmlns:c="urn:dashif:org:cpix" xmlns:p="urn:ietf:params:xml:ns:keyprov:pskc" contentId="movie-42" version="2.3"><c:ContentKeyList><c:ContentKey kid="{kid}" explicitIV="AAECAwQFBgcICQoLDA0ODw=="><c:Data><p:Secret><p:PlainValue>pTfNwMplhBQG1SXnvyLXVA==</p:PlainValue></p:Secret></c:Data></c:ContentKey></c:ContentKeyList></c:CPIX>"#
    )
}

/// A key server that has one key, for whoever asks in the right way.
fn key_server() -> Upstream {
    Upstream::start(|request| {
        let body = String::from_utf8_lossy(request.body()).into_owned();
        match (request.method().as_str(), request.uri().path()) {
            ("POST", "/json") => match serde_json::from_str::<Value>(&body).unwrap() {
                asked if asked == json!({"kid": KID}) => Reply::json(&record()),
                _ => Reply::status(404),
            },
            ("GET", path) if path == format!("/json/{KID}") => Reply::json(&record()),
            ("GET", path) if path == format!("/cpix/{KID}") => Reply::text(&cpix(KID)),
            ("POST", "/speke")
                if request.headers()["x-speke-version"] == "2.0"
                    && body.contains(&format!(r#"<cpix:ContentKey kid="{KID}""#)) =>
            {
                match body.contains("<ds:X509Certificate>") {
                    true => {
                        let encrypted = fixture("cpix/encrypted-2.3.xml");
                        Reply::text(&String::from_utf8(encrypted).unwrap())
                    }
                    false => Reply::text(&cpix(KID)),
                }
            }
            _ => Reply::status(404),
        }
    })
}

fn serve(world: World, key_server: &Upstream, setting: &Value) -> Server {
    serve_beside(world, &variables(setting, &[]), &[key_server.origin()])
}

fn key_of(licence: &Licence) -> String {
    hex::encode(&licence.key)
}

#[test]
fn a_key_is_fetched_by_each_protocol_in_every_world() {
    let key_server = key_server();
    let pem = |name: &str| String::from_utf8(fixture(name)).unwrap();
    for setting in [
        json!({"protocol": "json", "url": key_server.url("/json")}),
        json!({"protocol": "json", "url": key_server.url("/json/{kid}")}),
        json!({"protocol": "cpix", "url": key_server.url("/cpix/{content_id}")}),
        json!({"protocol": "speke", "url": key_server.url("/speke")}),
        json!({"protocol": "speke", "url": key_server.url("/speke"),
            "private_key": pem("cpix/recipient.pem"), "certificate": pem("cpix/recipient.cer")}),
    ] {
        for world in WORLDS {
            let server = serve(world, &key_server, &setting);
            let health = get(&server, "/healthz");
            assert_eq!(health.status, 200, "{}", health.json());
            assert_eq!(key_server.count(), 0, "a health check asks nobody");
            let licence = licence(&server, Some(&viewer()), &film()).unwrap();
            assert_eq!(key_of(&licence), KEY, "{world:?} {setting}");
            assert_eq!(key_server.take().len(), 1);
            server.stop();
        }
    }
}

#[test]
fn each_failure_of_a_key_server_has_its_code_and_none_takes_long() {
    let moved = key_server();
    let target = moved.url("/json");
    let key_server = Upstream::start(move |request| match request.uri().path() {
        "/hangs" => Reply::Silence,
        "/trickles" => Reply::Trickle,
        "/dies" => Reply::Bytes(Vec::new()),
        "/not-http" => Reply::Bytes(b"this is not HTTP at all\r\n\r\n".to_vec()),
        "/broken-off" => Reply::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n{".to_vec()),
        "/busy" => Reply::status(503),
        "/broken" => Reply::status(500),
        "/garbage" => Reply::text("\u{0}\u{1}\u{2}"),
        "/large" => {
            let mut large = record();
            large["padding"] = "x".repeat(10_000_000).into();
            Reply::json(&large)
        }
        "/moved" => Reply::status(302).with("location", &target),
        "/forbidden" => Reply::status(403),
        "/wrong-kid" => Reply::json(&json!({"kid": OTHER_KID, "key": KEY, "iv": IV})),
        "/wrong-cpix" => Reply::text(&cpix(OTHER_KID)),
        "/gone" => Reply::status(404),
        path => panic!("nobody asks for {path}"),
    });
    let unavailable = (504, "key_server_unavailable");
    let answer = (502, "key_server_answer");
    let cases = [
        ("/hangs", unavailable),
        ("/trickles", unavailable),
        ("/dies", unavailable),
        ("/not-http", unavailable),
        ("/broken-off", unavailable),
        ("/busy", unavailable),
        ("/broken", unavailable),
        ("/garbage", answer),
        ("/large", answer),
        ("/moved", answer),
        ("/forbidden", answer),
        ("/wrong-kid", answer),
        ("/wrong-cpix", answer),
        ("/gone", (404, "key_not_found")),
    ];
    for world in WORLDS {
        std::thread::scope(|scope| {
            for (path, expected) in cases {
                let key_server = &key_server;
                scope.spawn(move || {
                    let mut setting = json_at(&key_server.url(path));
                    if path == "/wrong-cpix" {
                        setting["protocol"] = "cpix".into();
                        setting["url"] = key_server.url("/wrong-cpix?k={kid}").into();
                    }
                    let server = serve(world, key_server, &setting);
                    let started = Instant::now();
                    let refusal = licence(&server, Some(&viewer()), &film()).unwrap_err();
                    // Some seconds are the machine's, which starts fourteen servers at once.
                    let took = started.elapsed();
                    assert!(took < Duration::from_secs(8), "{world:?} {path} {took:?}");
                    let Refusal {
                        status,
                        code,
                        detail,
                    } = refusal;
                    assert_eq!((status, code.as_str()), expected, "{world:?} {path}");
                    // What the key server said is for the operator.
                    assert_eq!(detail, None, "{world:?} {path}");
                    server.stop();
                });
            }
        });
    }
    assert_eq!(moved.count(), 0, "a redirect was followed");
}

#[test]
fn a_key_server_that_hangs_costs_four_seconds_once_and_then_nothing_for_a_while() {
    let key_server = Upstream::start(|_| Reply::Silence);
    for world in SPINS {
        let server = serve(world, &key_server, &json_at(&key_server.url("/")));
        let ask = || {
            let started = Instant::now();
            let refused = licence(&server, Some(&viewer()), &film());
            assert_eq!(code(refused), "key_server_unavailable");
            started.elapsed()
        };
        let first = ask();
        assert!(first > Duration::from_millis(3_500), "{world:?} {first:?}");
        assert!(first < Duration::from_secs(6), "{world:?} {first:?}");
        assert_eq!(key_server.take().len(), 2, "once, and once again");
        let next = ask();
        assert!(next < Duration::from_secs(1), "{world:?} {next:?}");
        assert_eq!(key_server.take().len(), 0);
        server.stop();
    }
}

#[test]
fn a_key_server_that_the_manifest_does_not_name_is_not_asked() {
    let key_server = key_server();
    for world in SPINS {
        let setting = json_at(&key_server.url("/json"));
        let server = serve_beside(world, &variables(&setting, &[]), &[]);
        let refusal = licence(&server, Some(&viewer()), &film()).unwrap_err();
        assert_eq!(
            (refusal.status, refusal.code.as_str()),
            (503, "key_server_denied")
        );
        server.stop();
    }
    assert_eq!(key_server.count(), 0);
}

#[test]
fn a_key_is_fetched_once_for_all_instances_under_encryption_keys_and_goes_on_without_the_server() {
    let key_server = key_server();
    for world in SPINS {
        key_server.answer(|_| Reply::json(&record()));
        let mut setting = json_at(&key_server.url("/json"));
        setting["cache_seconds"] = 2.into();
        let more = [("key_encryption_keys", ENCRYPTION_KEYS)];
        let variables = variables(&setting, &more);
        let server = serve_on(
            world,
            &variables,
            StoreChoice::Memory,
            &[key_server.origin()],
        );
        for _ in 0..5 {
            assert_eq!(
                key_of(&licence(&server, Some(&viewer()), &film()).unwrap()),
                KEY
            );
        }
        assert!(key_server.take().len() <= 2, "{world:?}");
        key_server.answer(|_| Reply::Bytes(Vec::new()));
        std::thread::sleep(Duration::from_secs(3));
        for _ in 0..5 {
            assert_eq!(
                key_of(&licence(&server, Some(&viewer()), &film()).unwrap()),
                KEY
            );
        }
        assert_eq!(
            key_server.take().len(),
            2,
            "{world:?}: it is asked, and asked once again"
        );
        server.stop();
    }
}

#[test]
fn an_instance_that_lives_on_goes_on_with_a_key_when_its_server_is_gone() {
    let key_server = key_server();
    let mut setting = json_at(&key_server.url("/json"));
    // Never fresh. An instance that has nothing to do does not live for long.
    setting["cache_seconds"] = 0.into();
    let server = serve(World::Wasip3, &key_server, &setting);
    let ask = || key_of(&licence(&server, Some(&viewer()), &film()).unwrap());
    assert_eq!(ask(), KEY);
    key_server.answer(|_| Reply::Bytes(Vec::new()));
    for _ in 0..3 {
        assert_eq!(ask(), KEY);
    }
    assert_eq!(
        key_server.take().len(),
        3,
        "it is asked, and asked once again"
    );
    server.stop();
}

#[test]
fn the_audit_says_what_is_wrong_with_an_answer_and_no_path_of_the_url() {
    let setting = json_at("https://keys.example/secret-path?token=secret");
    for (answer, code, reason) in [
        (
            Reply::status(302).with("location", "https://other.example/secret"),
            "key_server_answer",
            "the key server's answer: it is a redirect (302), and none is followed",
        ),
        (
            Reply::status(403),
            "key_server_answer",
            "the key server's answer: its status is 403",
        ),
        (
            Reply::json(&json!({"kid": OTHER_KID, "key": KEY})),
            "key_server_answer",
            "the key server's answer: it has another KID than the one that was asked for",
        ),
        (
            Reply::Silence,
            "key_server_unavailable",
            "the key server: the request to keys.example failed: as the test wants it",
        ),
    ] {
        let deployment = Deployment::new(variables(&setting, &[]));
        let answer = std::cell::RefCell::new(Some(answer));
        deployment.answer(move |_| answer.take().unwrap_or(Reply::Silence));
        let refusal = deployment.licence(Some(&viewer()), &film()).unwrap_err();
        assert_eq!((refusal.code.as_str(), refusal.detail), (code, None));
        let audit = deployment.audit();
        assert_eq!(
            (&audit["code"], &audit["reason"]),
            (&code.into(), &reason.into())
        );
        assert!(!audit.to_string().contains("secret"), "{audit}");
    }
}

#[test]
fn records_of_the_server_itself_come_first_and_nobody_is_asked_before_a_token_is_good() {
    let own = json!([{"id": "movie", "kid": KID, "key": IV, "iv": IV}]).to_string();
    let deployment = Deployment::new(variables(
        &json_at("https://keys.example/"),
        &[("content_keys", own.as_str())],
    ));
    deployment.answer(|_| Reply::json(&record()));
    let licence = deployment.licence(Some(&viewer()), &film()).unwrap();
    assert_eq!(key_of(&licence), IV);
    assert_eq!(deployment.count(), 0);
    let stranger = signed(&Signer::EdDsa([2; 32]), Some("viewer"), &entitled());
    let other = device_asking_for(OTHER_KID);
    let refused = deployment.licence(Some(&stranger), &other);
    assert_eq!(code(refused), "token_signature");
    assert_eq!(deployment.count(), 0);
}

#[test]
fn a_token_reaches_a_fetched_key_by_the_names_that_its_server_gives_and_its_terms_apply() {
    let deployment = Deployment::new(variables(&json_at("https://keys.example/"), &[]));
    deployment.answer(|_| {
        let mut record = record();
        record["id"] = "movie-42".into();
        record["track"] = "uhd".into();
        record["terms"] = json!({"lease_seconds": 300});
        Reply::json(&record)
    });
    let token = |entitlement: Value| {
        let claims = claims(json!({"entitlements": [entitlement]}));
        signed(&VIEWER, Some("viewer"), &claims)
    };
    let granted = deployment.licence(Some(&token(json!({"keys": ["movie-42"]}))), &film());
    let lease = device::Duration::Lease { lease_seconds: 300 };
    assert_eq!(granted.unwrap().duration, Some(lease));
    assert_eq!(deployment.audit()["key"], "movie-42");
    for (entitlement, expected) in [
        (json!({"keys": [KID]}), "ok"),
        (json!({"keys": ["movie-43"]}), "not_entitled"),
        (
            json!({"keys": "*", "tracks": {"uhd": false}}),
            "track_not_allowed",
        ),
    ] {
        let result = deployment.licence(Some(&token(entitlement)), &film());
        assert_eq!(code(result), expected);
    }
    assert_eq!(deployment.count(), 1);
}

#[test]
fn a_key_that_a_token_brings_is_not_asked_for() {
    let vectors = Vectors::for_dialect("axinom");
    let mut variables = vectors.variables("axinom", "");
    let setting = json_at("https://keys.example/").to_string();
    variables.extend([("key_server".to_owned(), setting)]);
    let mut cases = vectors.cases.iter();
    let case = cases.find(|case| case.name == "key_sent").unwrap();
    for records in [None, Some("")] {
        if let Some(records) = records {
            variables.insert("content_keys".to_owned(), records.to_owned());
        }
        let deployment = Deployment::new(variables.clone());
        deployment.platform.now.set(vectors.now);
        deployment.answer(|_| Reply::status(500));
        let device = device_asking_for(&case.asset);
        let (message, secrets) = spc(&device);
        let (request, path) = case.request("/fairplay");
        let request = request.uri(path).body(message).unwrap();
        let reply = deployment.handle(request);
        assert_eq!(
            reply.status(),
            200,
            "{}",
            String::from_utf8_lossy(reply.body())
        );
        let licence = Licence::open(reply.body(), &secrets).unwrap();
        assert_eq!(key_of(&licence), "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf");
        assert_eq!(deployment.count(), 0);
    }
}

#[test]
fn a_wrong_setting_is_a_problem_of_the_health_page_with_its_member() {
    for (setting, member) in [
        (
            json!({"protocol": "json", "url": "http://keys.example/"}),
            "url",
        ),
        (
            json!({"protocol": "speke", "url": "https://keys.example/", "certificate": "x"}),
            "certificate",
        ),
        (
            json!({"protocol": "json", "url": "https://keys.example/", "headers": {"a b": "c"}}),
            "headers",
        ),
        (
            json!({"protocol": "ftp", "url": "https://keys.example/"}),
            "protocol",
        ),
    ] {
        let deployment = Deployment::new(variables(&setting, &[]));
        let reply = deployment.handle(Request::get("/healthz").body(Vec::new()).unwrap());
        assert_eq!(reply.status(), 503);
        let document: Value = serde_json::from_slice(reply.body()).unwrap();
        let problem = &document["problems"][0];
        assert_eq!(
            (&problem["variable"], &problem["member"]),
            (&"key_server".into(), &member.into()),
            "{document}"
        );
        let refused = deployment.licence(Some(&viewer()), &film());
        assert_eq!(code(refused), "configuration_invalid");
    }
}

#[test]
fn the_example_of_a_key_server_gives_its_key_to_who_has_its_secret() {
    let port = free_port();
    let example = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../examples/key-server/server.py"
    );
    let Ok(example) = Command::new("python3")
        .arg(example)
        .env("KEYLET_KEY_SERVER_TOKEN", "what both share")
        .env("PORT", port.to_string())
        .stderr(Stdio::null())
        .spawn()
    else {
        keylet_e2e::skip(
            "python",
            "the example of a key server",
            "there is no python3",
        );
        return;
    };
    let _example = Process(example);
    wait_for(|| TcpStream::connect(("127.0.0.1", port)).is_ok());
    let origin = format!("http://127.0.0.1:{port}");
    let mut setting = json_at(&format!("{origin}/"));
    setting["headers"] = json!({"authorization": "Bearer what both share"});
    let server = serve_beside(
        World::Wasip2,
        &variables(&setting, &[]),
        std::slice::from_ref(&origin),
    );
    for asset in [KID, "movie-42"] {
        let device = device_asking_for(asset);
        let licence = licence(&server, Some(&viewer()), &device).unwrap();
        let lease = device::Duration::Lease { lease_seconds: 300 };
        assert_eq!(
            (key_of(&licence).as_str(), licence.duration),
            (KEY, Some(lease))
        );
    }
    let other = device_asking_for("movie-43");
    assert_eq!(
        code(licence(&server, Some(&viewer()), &other)),
        "key_not_found"
    );
    setting["headers"] = json!({"authorization": "Bearer something else"});
    server.set_variables(&variables(&setting, &[])).unwrap();
    assert_eq!(
        code(licence(&server, Some(&viewer()), &film())),
        "key_server_answer"
    );
    server.stop();
}
