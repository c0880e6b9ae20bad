//! Tokens of other services, made by encoders that share nothing with the server.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::rc::Rc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{Request, Response};
use keylet::service::Service;
use keylet_cli::device::{Licence, SpcOptions};
use keylet_host::{Provided, World};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::sessions::{FIRST, player};
use crate::support::{Native, fixture, run, send, spc, variables_with};
use crate::upstream::{Reply, Upstream, serve_beside};
use keylet_e2e::processes::Directory;

pub(crate) const DIALECTS: [&str; 5] = ["axinom", "doverunner", "drmtoday", "kaltura", "nagra"];

/// What this server and the back end of [`Vectors::variables`] share.
pub(crate) const BACK_END_SECRET: &str = "a secret of back end and server, 32 bytes";

/// What an encoder writes.
#[derive(Deserialize)]
pub(crate) struct Vectors {
    pub(crate) now: u64,
    pub(crate) variables: Map<String, Value>,
    pub(crate) cases: Vec<Case>,
}

/// A token, and what it is answered with.
#[derive(Deserialize)]
pub(crate) struct Case {
    pub(crate) name: String,
    header: Option<String>,
    query: Option<String>,
    token: String,
    signature: Option<String>,
    pub(crate) asset: String,
    pub(crate) expect: Expectation,
}

#[derive(Deserialize)]
pub(crate) struct Expectation {
    pub(crate) status: u16,
    code: Option<String>,
    /// Terms of the licence, as the audit has them.
    granted: Option<Value>,
}

impl Vectors {
    pub(crate) fn for_dialect(dialect: &str) -> Self {
        serde_json::from_slice(&fixture(&format!("dialects/{dialect}.json"))).unwrap()
    }

    /// The fixture variables with those of the vectors. What leaves the rights to a back end is
    /// accepted by a policy that asks one.
    pub(crate) fn variables(&self, dialect: &str, back_end: &str) -> Provided {
        let text = |value: &Value| {
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned)
        };
        let secret = "what nobody but this server knows";
        let mut variables = variables_with(&[("server_secret", secret)]);
        variables.extend(
            self.variables
                .iter()
                .map(|(name, value)| (name.clone(), text(value))),
        );
        if dialect == "kaltura" {
            let policies = json!([{
                "name": "kaltura",
                "restriction": {"issuer": "*", "audience": "*", "jwks": self.variables["token_keys"]},
                "callback": {"url": back_end, "secret": BACK_END_SECRET},
            }]);
            variables.insert("policies".to_owned(), policies.to_string());
        }
        variables
    }
}

impl Case {
    /// One that is granted, with its token in `authorization`.
    pub(crate) fn granted(name: String, token: String, asset: &str) -> Self {
        Self {
            name,
            header: Some("authorization".to_owned()),
            query: None,
            token,
            signature: None,
            asset: asset.to_owned(),
            expect: Expectation {
                status: 200,
                code: None,
                granted: None,
            },
        }
    }

    /// A request with its token to a path, and that path with its query.
    pub(crate) fn request(&self, path: &str) -> (http::request::Builder, String) {
        let query = self.query.as_ref().map(|name| {
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.append_pair(name, &self.token);
            query.extend_pairs(
                self.signature
                    .iter()
                    .map(|signature| ("signature", signature)),
            );
            query.finish()
        });
        let separator = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{separator}{}", query.unwrap_or_default());
        let request = Request::post(&path);
        let request = match &self.header {
            Some(header) => request.header(header, &self.token),
            None => request,
        };
        (request, path)
    }
}

/// A device that can do everything. Where a case is about that, one that does not report what it can do.
fn device(case: &Case) -> SpcOptions {
    let options = SpcOptions::new(format!("skd://{}", case.asset)).playing(0xf4de_e5a2);
    match case.expect.code.as_deref() {
        Some("device_hdcp_unsupported") => options,
        _ => options.capable(0b11_1111),
    }
}

#[test]
fn every_message_is_answered_as_its_encoder_says() {
    let mut count = 0;
    for dialect in DIALECTS {
        let vectors = Vectors::for_dialect(dialect);
        let platform = Native::new(vectors.variables(dialect, "https://back-end.example/rights"));
        platform.now.set(vectors.now);
        let agrees = |_| Ok(Response::new(br#"{"terms":{}}"#.to_vec()));
        *platform.peer.borrow_mut() = Box::new(agrees);
        let log = Rc::clone(&platform.log);
        let store = Rc::clone(&platform.store);
        let service = Service::new(platform);
        for case in &vectors.cases {
            // Each case is the first use of its message.
            *store.borrow_mut() = Ok(BTreeMap::new());
            let (message, secrets) = spc(&device(case));
            let reply = run(service.handle(
                case.request("/fairplay?format=raw")
                    .0
                    .body(message)
                    .unwrap(),
            ));
            let name = format!("{dialect}: {}", case.name);
            let code = reply
                .headers()
                .get("x-keylet-code")
                .map(|code| code.to_str().unwrap());
            assert_eq!(
                (reply.status().as_u16(), code),
                (case.expect.status, case.expect.code.as_deref()),
                "{name}"
            );
            let record: Value = serde_json::from_str(log.borrow().last().unwrap()).unwrap();
            if case.expect.status == 200 {
                assert!(Licence::open(reply.body(), &secrets).is_ok(), "{name}");
                if let Some(Value::Object(mut granted)) = case.expect.granted.clone() {
                    // The audit says only that a key may be stored.
                    granted.retain(|term, value| term != "persist" || *value == true);
                    assert_eq!(record["granted"], Value::Object(granted), "{name}");
                }
            }
            count += 1;
        }
    }
    assert!(count > 250, "{count}");
}

#[test]
fn a_viewer_with_a_fresh_token_of_each_service_gets_a_licence_from_the_component() {
    let directory = Directory::new("dialects");
    for dialect in DIALECTS {
        let file = directory.file(dialect);
        let encoder = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("dialects/{dialect}.py"));
        let now = keylet::platform::system_time();
        let made = Command::new("python3")
            .arg(&encoder)
            .arg(&file)
            .env("NOW", now.to_string())
            .output();
        if !made.is_ok_and(|made| made.status.success()) {
            keylet_e2e::skip(
                "python",
                dialect,
                "python3 with PyJWT and cryptography is needed",
            );
            continue;
        }
        let vectors: Vectors = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let upstream = Upstream::start(|_| Reply::json(&json!({"terms": {}})));
        let variables = vectors.variables(dialect, &upstream.url("/rights"));
        let server = serve_beside(World::Wasip2, &variables, &[upstream.origin()]);
        // Not such as end this very second.
        let is_granted = |case: &&Case| case.expect.status == 200 && case.name != "oldest";
        let granted: Vec<&Case> = vectors.cases.iter().filter(is_granted).take(4).collect();
        assert_eq!(granted.len(), 4, "{dialect}");
        for case in granted {
            let (message, secrets) = spc(&device(case));
            let (request, path) = case.request("/fairplay?format=raw");
            let answer = send(&server, request, &path, &message);
            assert_eq!(
                (answer.status, answer.header("x-keylet-code")),
                (200, None),
                "{dialect}: {}",
                case.name
            );
            assert!(
                Licence::open(&answer.body, &secrets).is_ok(),
                "{dialect}: {}",
                case.name
            );
        }
        server.stop();
    }
}

#[test]
fn a_message_that_is_good_for_longer_than_the_policy_allows_is_refused() {
    for dialect in DIALECTS {
        let vectors = Vectors::for_dialect(dialect);
        let mut variables = vectors.variables(dialect, "https://back-end.example/rights");
        // Those that do not say when they end are good for ever.
        let policies = json!([{
            "name": "short",
            "restriction": {
                "issuer": "*", "audience": "*", "jwks": vectors.variables["token_keys"],
                "max_token_life": 1,
            },
            "callback": {"url": "https://back-end.example/rights", "secret": BACK_END_SECRET},
        }]);
        variables.insert("policies".to_owned(), policies.to_string());
        let platform = Native::new(variables);
        platform.now.set(vectors.now);
        let service = Service::new(platform);
        let mut cases = vectors.cases.iter();
        let case = cases.find(|case| case.expect.status == 200).unwrap();
        let (message, _) = spc(&device(case));
        let request = case.request("/fairplay?format=raw").0;
        let reply = run(service.handle(request.body(message).unwrap()));
        assert_eq!(reply.headers()["x-keylet-code"], "token_life", "{dialect}");
    }
}

#[test]
fn a_message_of_a_dialect_that_is_not_accepted_entitles_to_nothing() {
    for dialect in DIALECTS {
        let vectors = Vectors::for_dialect(dialect);
        let mut variables = vectors.variables(dialect, "https://back-end.example/rights");
        variables.insert("dialects".to_owned(), "native azure".to_owned());
        let platform = Native::new(variables);
        platform.now.set(vectors.now);
        let service = Service::new(platform);
        let case = vectors
            .cases
            .iter()
            .find(|case| case.expect.status == 200)
            .unwrap();
        let (message, _) = spc(&device(case));
        let reply = run(service.handle(
            case.request("/fairplay?format=raw")
                .0
                .body(message)
                .unwrap(),
        ));
        assert!(
            matches!(reply.status().as_u16(), 401 | 403),
            "{dialect}: {}",
            reply.status()
        );
    }
}

/// A service that answers one case of a dialect, with its variables changed.
fn serving(dialect: &str, name: &str, change: impl Fn(&mut Provided)) -> (Native, Case) {
    let vectors = Vectors::for_dialect(dialect);
    let mut variables = vectors.variables(dialect, "https://back-end.example/rights");
    change(&mut variables);
    let platform = Native::new(variables);
    platform.now.set(vectors.now);
    let case = vectors.cases.into_iter().find(|case| case.name == name);
    (platform, case.unwrap())
}

fn status(platform: &Native, case: &Case, asset: &str, device: u8) -> u16 {
    let mut options = SpcOptions::new(format!("skd://{asset}"))
        .playing(0xf4de_e5a2)
        .capable(0b11_1111);
    options.hu = Some([device; 20]);
    let (message, _) = spc(&options);
    let service = Service::new(platform.clone());
    let reply = run(service.handle(
        case.request("/fairplay?format=raw")
            .0
            .body(message)
            .unwrap(),
    ));
    reply.status().as_u16()
}

#[test]
fn a_communication_key_without_alg_is_one_for_hs256() {
    let (platform, case) = serving("axinom", "key_sent", |variables| {
        let keys = variables["token_keys"].replace(r#""alg":"HS256","#, "");
        assert_ne!(keys, variables["token_keys"]);
        variables.insert("token_keys".to_owned(), keys);
    });
    assert_eq!(status(&platform, &case, &case.asset, 1), 200);
    // As Axinom writes the URIs of playlists.
    let with_iv = format!("{}:24242424242424242424242424242424", case.asset);
    assert_eq!(status(&platform, &case, &with_iv, 1), 200);
    assert_eq!(status(&platform, &case, "another", 1), 404);
}

#[test]
fn a_rental_that_may_not_be_stored_ends_all_the_same() {
    for (rules, lease, rental) in [
        (r#"{"persist": false}"#, 10_800, 172_800),
        (r#"{"lease_seconds": 300}"#, 300, 172_800),
        (r#"{"rental_seconds": 600}"#, 10_800, 600),
    ] {
        let (platform, case) = serving("drmtoday", "rental-stored", |variables| {
            variables.insert("fairplay_rules".to_owned(), rules.to_owned());
        });
        assert_eq!(status(&platform, &case, &case.asset, 1), 200, "{rules}");
        let log = platform.log.borrow();
        let audit: Value = serde_json::from_str(log.last().unwrap()).unwrap();
        let expected = json!({"lease_seconds": lease, "rental_seconds": rental});
        let granted = &audit["granted"];
        for (name, seconds) in expected.as_object().unwrap() {
            assert_eq!(granted[name], *seconds, "{rules}: {granted}");
        }
    }
}

/// The same message, where the first characters of `cid` have become the last ones of `user_id`: its hash still fits.
fn shifted(token: &str, characters: usize) -> String {
    let mut message: Value = serde_json::from_slice(&STANDARD.decode(token).unwrap()).unwrap();
    let cid = message["cid"].as_str().unwrap().to_owned();
    let (first, rest) = cid.split_at(characters);
    message["user_id"] = format!("{}{first}", message["user_id"].as_str().unwrap()).into();
    message["cid"] = rest.into();
    STANDARD.encode(message.to_string())
}

#[test]
fn a_viewer_of_doverunner_does_not_become_another_one() {
    // The record has an alias that is the end of its id.
    let (platform, mut case) = serving("doverunner", "streams", |variables| {
        let mut records: Value = serde_json::from_str(&variables["content_keys"]).unwrap();
        records[0]["aliases"] = json!(["1"]);
        variables.insert("content_keys".to_owned(), records.to_string());
    });
    let token = case.token.clone();
    let mut play = |platform: &Native, device, characters| {
        case.token = shifted(&token, characters);
        let (message, _) = spc(&player(device, "movie-1", FIRST));
        let request = case.request("/fairplay?format=raw").0;
        let service = Service::new(platform.clone());
        let reply = run(service.handle(request.body(message).unwrap()));
        let code = reply.headers().get("x-keylet-code");
        code.map_or_else(|| "ok".to_owned(), |code| code.to_str().unwrap().to_owned())
    };
    assert_eq!(play(&platform, 1, 0), "term_unsupported");
    assert_eq!(play(&platform, 2, 6), "term_unsupported");
    // Without such an alias the viewer is certain, and another split reaches no key.
    let (platform, _) = serving("doverunner", "streams", |_| {});
    assert_eq!(play(&platform, 1, 0), "ok");
    assert_eq!(play(&platform, 2, 0), "streams_exceeded");
    assert_eq!(play(&platform, 3, 6), "not_entitled");
}

#[test]
fn a_message_is_counted_however_it_is_written() {
    let (platform, mut case) = serving("kaltura", "plain", |variables| {
        let mut policies: Value = serde_json::from_str(&variables["policies"]).unwrap();
        policies[0]["terms"] = json!({"max_uses": 1});
        variables.insert("policies".to_owned(), policies.to_string());
    });
    *platform.peer.borrow_mut() = Box::new(|_| Ok(Response::new(br#"{"terms":{}}"#.to_vec())));
    let token = case.token.clone();
    assert_eq!(status(&platform, &case, &case.asset, 1), 200);
    let others = [
        token.clone(),
        token.trim_end_matches('=').to_owned(),
        token.replace('=', "%3D"),
        format!(" {token}"),
    ];
    // The device that got a licence may ask again: these are others.
    for (other, device) in others.into_iter().zip(2..) {
        case.token = other;
        let status = status(&platform, &case, &case.asset, device);
        assert_eq!(status, 403, "{}", case.token);
    }
}

#[test]
fn dialects_are_named_in_a_list_and_nothing_else_is_one() {
    for (setting, status) in [
        ("native", 200),
        ("axinom, nagra native", 200),
        (r#"["native","azure"]"#, 200),
        ("verimatrix", 503),
    ] {
        let service = Service::new(Native::new(variables_with(&[("dialects", setting)])));
        let reply = run(service.handle(Request::get("/healthz").body(Vec::new()).unwrap()));
        assert_eq!(reply.status().as_u16(), status, "{setting}");
    }
}

#[test]
fn the_mapping_of_each_dialect_is_documented_as_its_code_has_it() {
    let page = include_str!("../../docs/tokens.md");
    for (dialect, code) in [
        ("axinom", include_str!("../../src/token/vendor/axinom.rs")),
        (
            "doverunner",
            include_str!("../../src/token/vendor/doverunner.rs"),
        ),
        (
            "drmtoday",
            include_str!("../../src/token/vendor/drmtoday.rs"),
        ),
        ("kaltura", include_str!("../../src/token/vendor/kaltura.rs")),
        ("nagra", include_str!("../../src/token/vendor/nagra.rs")),
    ] {
        let rows: Vec<&str> = code
            .lines()
            .filter_map(|line| line.strip_prefix("//! | "))
            .collect();
        assert!(rows.len() > 3, "{dialect}");
        for row in rows {
            assert!(
                page.contains(row),
                "docs/tokens.md has no row of {dialect}: {row}"
            );
        }
    }
}

#[test]
fn a_key_that_a_message_brings_without_an_iv_has_that_of_the_servers_own_record() {
    let iv = "0f0e0d0c0b0a09080706050403020100";
    let own = |more: Value| {
        let (platform, case) = serving("axinom", "key_without_iv", |variables| {
            let kid = "8e413433-1e91-47d4-b548-5abbf4f6564e";
            let mut record = json!({"id": "own", "kid": kid, "key": iv});
            let members = record.as_object_mut().unwrap();
            members.extend(more.as_object().unwrap().clone());
            variables.insert("content_keys".to_owned(), json!([record]).to_string());
        });
        let (message, secrets) = spc(&device(&case));
        let request = case.request("/fairplay?format=raw").0;
        let reply = run(Service::new(platform).handle(request.body(message).unwrap()));
        let code = reply.headers().get("x-keylet-code");
        match code {
            Some(code) => Err(code.to_str().unwrap().to_owned()),
            None => {
                let licence = Licence::open(reply.body(), &secrets).unwrap();
                Ok([licence.key, licence.iv].map(hex::encode))
            }
        }
    };
    let brought = "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf";
    assert_eq!(own(json!({"iv": iv})), Ok([brought, iv].map(str::to_owned)));
    assert_eq!(own(json!({})), Err("iv_missing".to_owned()));
    let other = json!({"iv": iv, "systems": ["widevine"]});
    assert_eq!(own(other), Err("key_system_not_allowed".to_owned()));
}
