//! What must hold whichever way a viewer comes: a right is counted once, whatever token carries it, and nothing
//! loosens on the way through back ends, records, tokens and playback states.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keylet::fairplay::tag::Tag;
use keylet_cli::device::{Duration, SpcOptions};
use keylet_cli::jwt::Signer;
use keylet_host::{Server, StoreChoice};
use serde_json::{Value, json};

use crate::support::spc;
use crate::upstream::{
    Deployment, KID, Reply, SPINS, Upstream, claims, code, jwks, licence, minted, policies,
    serve_on, signed, variables,
};
use keylet_e2e::processes::{Directory, redis};

const ISSUER: Signer = Signer::EdDsa([1; 32]);
const SECRET: &str = "what this server and the back end share";

const STATES: [u32; 3] = [0xf4de_e5a2, 0x4f83_4330, 0xa5d6_739e];

fn token(more: Value) -> String {
    signed(&ISSUER, Some("issuer"), &claims(more))
}

/// A device of its own that says what it is playing.
fn device(number: u8, asset: &str, state: u32) -> SpcOptions {
    let playback = [
        &1_700_000_000_u32.to_be_bytes()[..],
        &state.to_be_bytes(),
        &[number; 8],
    ];
    SpcOptions {
        hu: Some([number; 20]),
        ..SpcOptions::new(format!("skd://{asset}"))
            .with(Tag::MEDIA_PLAYBACK_STATE, playback.concat())
    }
}

fn first(number: u8) -> SpcOptions {
    device(number, "movie", STATES[0])
}

/// One option whose viewers are admitted by a back end.
fn with_back_end() -> Deployment {
    let option = json!({
        "name": "subscribers",
        "restriction": {"issuer": "https://issuer.example", "audience": "keylet", "jwks": jwks(&[("issuer", &ISSUER)])},
        "callback": {"url": "https://back-end.example/", "secret": SECRET},
    });
    let mut variables = policies(&json!([option]));
    variables.insert(
        "server_secret".to_owned(),
        "what nobody but this server knows".to_owned(),
    );
    Deployment::new(variables)
}

fn without_back_end(changes: &[(&str, &str)]) -> Deployment {
    let keys = jwks(&[("issuer", &ISSUER)]).to_string();
    let own = [
        ("token_keys", keys.as_str()),
        ("server_secret", "what nobody but this server knows"),
    ];
    Deployment::new(variables(&[&own, changes].concat()))
}

fn once() -> Value {
    json!([{"keys": "*", "max_uses": 1}])
}

/// Holds a promise against a server with options for four issuers, in both worlds with a store, on each kind of it.
fn on_every_store(promise: impl Fn(&Server)) {
    let directory = Directory::new("limits");
    let redis = redis("limits");
    let upstream = Upstream::start(|request| {
        let question: Value = serde_json::from_slice(request.body()).unwrap();
        match question["keys"] == json!(["movie"]) {
            true => Reply::json(&json!({"terms": {
                "max_uses": 2, "persist": true, "storage_seconds": 3600, "playback_seconds": 600,
            }})),
            false => Reply::json(&json!({"refuse": "not this one"})),
        }
    });
    let option = |name: &str, more: Value| {
        let mut option = json!({
            "name": name,
            "restriction": {"issuer": format!("https://{name}.example"), "audience": "keylet",
                "jwks": jwks(&[("issuer", &ISSUER)])},
        });
        let more = more.as_object().unwrap().clone();
        option.as_object_mut().unwrap().extend(more);
        option
    };
    let options = json!([
        option("issuer", json!({})),
        option(
            "back-end",
            json!({"callback": {"url": upstream.url("/"), "secret": SECRET}})
        ),
        option("one", json!({"terms": {"max_streams": 1}})),
        option("two", json!({"terms": {"max_streams": 1}})),
    ]);
    let mut variables = policies(&options);
    variables.insert(
        "server_secret".to_owned(),
        "what nobody but this server knows".to_owned(),
    );
    for world in SPINS {
        let file = StoreChoice::File(directory.file(&format!("{world:?}")));
        let redis = redis.as_ref().map(|(_, store)| store.clone());
        for store in std::iter::once(file).chain(redis) {
            println!("{world:?} {store:?}");
            let server = serve_on(world, &variables, store, &[upstream.origin()]);
            promise(&server);
            server.stop();
        }
    }
}

#[test]
fn attacks_on_what_is_counted_fail_through_the_component() {
    // The Redis is one for both worlds.
    let run = std::cell::Cell::new(0);
    on_every_store(|server| {
        run.set(run.get() + 1);
        let run = run.get();
        let play = |token: &str, number| code(licence(server, Some(token), &first(number)));
        // One id with several ends, as text and as a number, is good for one licence.
        for id in [json!(format!("id-{run}")), json!(1000 + run)] {
            let of_a_day = |day: u64| {
                let end = 4_000_000_000 + day * 86_400;
                token(json!({"jti": id, "exp": end, "entitlements": once()}))
            };
            let played = [0, 1, 30].map(of_a_day);
            let played = played.iter().zip(1..).map(|(token, n)| play(token, n));
            let played: Vec<String> = played.collect();
            assert_eq!(played, ["ok", "uses_spent", "uses_spent"], "{id}");
        }
        // Tokens that are made for one login have its two licences together.
        let login =
            token(json!({"iss": "https://back-end.example", "jti": format!("login-{run}")}));
        let wanted = json!({"keys": ["film"], "use": "streaming"});
        let mint = || minted(server, Some(&login), &wanted).unwrap();
        let played: Vec<String> = (1..5).map(|number| play(&mint(), number)).collect();
        assert_eq!(played, ["ok", "ok", "uses_spent", "uses_spent"]);
        // What a back end lets be stored ends as a stream too.
        let login = token(json!({"iss": "https://back-end.example", "jti": format!("end-{run}")}));
        let streaming = minted(server, Some(&login), &wanted).unwrap();
        // The same device may have its licence again, uncounted.
        for state in STATES {
            let options = device(9, "movie", state);
            let licence = licence(server, Some(&streaming), &options).unwrap();
            let lease = licence.duration.as_ref().and_then(Duration::lease_seconds);
            assert!(
                lease.is_some_and(|lease| (1..=600).contains(&lease)),
                "{state:x}: {:?}",
                licence.duration
            );
        }
        let other = json!({"keys": ["other"]});
        assert_eq!(
            code(minted(server, Some(&login), &other)),
            "callback_refused"
        );
        // Two viewers of one name do not fill each other's streams.
        let of = |issuer: &str| {
            token(
                json!({"iss": format!("https://{issuer}.example"), "sub": format!("viewer-{run}")}),
            )
        };
        assert_eq!(play(&of("one"), 21), "ok");
        assert_eq!(play(&of("one"), 22), "streams_exceeded");
        assert_eq!(play(&of("two"), 23), "ok");
    });
}

#[test]
fn a_token_id_is_counted_once_whatever_its_type_and_its_end() {
    let deployment = without_back_end(&[]);
    for id in [json!("one"), json!(7), json!(7.5)] {
        let of_a_day = |day: u64| {
            let end = 4_000_000_000 + day * 86_400;
            token(json!({"jti": id, "exp": end, "entitlements": once()}))
        };
        let tokens = [0, 1, 30].map(of_a_day);
        let played = tokens
            .iter()
            .zip(1..)
            .map(|(token, number)| code(deployment.licence(Some(token), &first(number))));
        let played: Vec<String> = played.collect();
        assert_eq!(played, ["ok", "uses_spent", "uses_spent"], "{id}");
    }
    for id in [json!(true), json!(["a"]), json!({})] {
        let token = token(json!({"jti": id, "entitlements": once()}));
        let refused = deployment.licence(Some(&token), &first(1));
        assert_eq!(code(refused), "token_claims", "{id}");
    }
}

#[test]
fn tokens_that_this_server_makes_count_as_the_token_that_they_were_made_for() {
    let deployment = with_back_end();
    deployment.answer(|_| Reply::json(&json!({"terms": {"max_uses": 2}})));
    let login = token(json!({"jti": "login"}));
    let wanted = json!({"keys": ["movie"]});
    let results = (1..6).map(|number| {
        let minted = deployment.minted(Some(&login), &wanted).unwrap();
        code(deployment.licence(Some(&minted), &first(number)))
    });
    let results: Vec<String> = results.collect();
    assert_eq!(
        results,
        ["ok", "ok", "uses_spent", "uses_spent", "uses_spent"]
    );
    // Another viewer's are another's.
    let other = token(json!({"jti": "other", "sub": "viewer-2"}));
    let minted = deployment.minted(Some(&other), &wanted).unwrap();
    assert_eq!(code(deployment.licence(Some(&minted), &first(9))), "ok");
}

#[test]
fn ids_of_messages_are_kept_apart_by_option() {
    let secrets = [[1_u8; 32], [2; 32]];
    let option = |name: &str, secret: &[u8; 32]| {
        json!({
            "name": name,
            "restriction": {"issuer": "*", "audience": "*",
                "jwks": jwks(&[(name, &Signer::Hs256(secret.to_vec()))])},
            "terms": {"max_uses": 1},
        })
    };
    let options = json!([option("one", &secrets[0]), option("two", &secrets[1])]);
    let mut variables = policies(&options);
    variables.insert("dialects".to_owned(), "drmtoday".to_owned());
    let deployment = Deployment::new(variables);
    let message = |name: &str, secret: &[u8; 32]| {
        let claims = json!({
            "jti": "1", "iat": 1_800_000_000,
            "optData": json!({"merchant": "m", "userId": "viewer"}).to_string(),
            "crt": json!([{"assetId": "movie", "profile": {"purchase": {}}}]).to_string(),
        });
        signed(&Signer::Hs256(secret.to_vec()), Some(name), &claims)
    };
    let play = |name: &str, secret: &[u8; 32], number| {
        code(deployment.licence(Some(&message(name, secret)), &first(number)))
    };
    assert_eq!(play("one", &secrets[0], 1), "ok");
    assert_eq!(play("one", &secrets[0], 2), "uses_spent");
    assert_eq!(play("two", &secrets[1], 3), "ok");
}

#[test]
fn viewers_of_two_issuers_with_one_name_do_not_fill_each_others_streams() {
    let option = |issuer: &str| {
        json!({
            "name": issuer,
            "restriction": {"issuer": issuer, "audience": "keylet", "jwks": jwks(&[("issuer", &ISSUER)])},
            "terms": {"max_streams": 1},
        })
    };
    let options = json!([option("https://one.example"), option("https://two.example")]);
    let mut variables = policies(&options);
    let operator = "the operator's token, long enough to be one";
    for (name, value) in [
        ("server_secret", "what nobody but this server knows"),
        ("operator_token", operator),
    ] {
        variables.insert(name.to_owned(), value.to_owned());
    }
    let deployment = Deployment::new(variables);
    let play = |issuer: &str, number| {
        let token = token(json!({"iss": issuer, "sub": "1"}));
        code(deployment.licence(Some(&token), &first(number)))
    };
    assert_eq!(play("https://one.example", 1), "ok");
    assert_eq!(play("https://one.example", 2), "streams_exceeded");
    assert_eq!(play("https://two.example", 3), "ok");
    // The operator names the viewer, and sees those of both.
    let list = http::Request::get("/sessions?subject=1")
        .header("authorization", format!("Bearer {operator}"))
        .body(Vec::new());
    let reply = deployment.handle(list.unwrap());
    let list: Value = serde_json::from_slice(reply.body()).unwrap();
    assert_eq!(list["sessions"].as_array().unwrap().len(), 2);
}

#[test]
fn every_playback_state_keeps_the_end_of_its_terms() {
    let deployment = without_back_end(&[]);
    for terms in [
        json!({"rental_seconds": 3600}),
        json!({"lease_seconds": 3600}),
        json!({"rental_seconds": 3600, "lease_seconds": 60}),
        json!({"persist": true, "storage_seconds": 3600}),
        json!({"not_after": 1_800_003_600}),
    ] {
        let mut entry = terms.clone();
        entry["keys"] = json!("*");
        let token = token(json!({"entitlements": [entry]}));
        for state in STATES {
            let options = device(1, "movie", state);
            let licence = deployment.licence(Some(&token), &options).unwrap();
            assert!(licence.duration.is_some(), "{terms} {state:x}");
        }
    }
}

#[test]
fn a_stream_of_what_may_be_stored_ends_as_the_rental_does() {
    let deployment = with_back_end();
    let login = token(json!({}));
    for (terms, lease, rental) in [
        (
            json!({"persist": true, "storage_seconds": 3600, "playback_seconds": 600}),
            Some(600),
            Some(3600),
        ),
        (
            json!({"persist": true, "storage_seconds": 3600}),
            Some(3600),
            Some(3600),
        ),
        (
            json!({"persist": true, "playback_seconds": 600}),
            Some(600),
            None,
        ),
        (json!({"persist": true}), None, None),
    ] {
        let answered = terms.clone();
        deployment.answer(move |_| Reply::json(&json!({"terms": answered})));
        let wanted = json!({"keys": ["movie"], "use": "streaming"});
        let minted = deployment.minted(Some(&login), &wanted).unwrap();
        let licence = deployment.licence(Some(&minted), &first(1)).unwrap();
        let expected = match (lease, rental) {
            (Some(lease_seconds), Some(rental_seconds)) => Some(Duration::LeaseAndRental {
                lease_seconds,
                rental_seconds,
            }),
            (Some(lease_seconds), None) => Some(Duration::Lease { lease_seconds }),
            _ => None,
        };
        assert_eq!(licence.duration, expected, "{terms}");
    }
}

#[test]
fn a_back_end_decides_about_records_and_not_about_spellings() {
    let deployment = with_back_end();
    deployment.answer(|request| {
        let question: Value = serde_json::from_slice(request.body()).unwrap();
        match question["keys"] == json!(["movie"]) {
            true => Reply::json(&json!({"terms": {}})),
            false => Reply::json(&json!({"refuse": "not this one"})),
        }
    });
    let login = token(json!({}));
    let mint = |key: &str| deployment.minted(Some(&login), &json!({"keys": [key]}));
    let dashed = KID.to_ascii_lowercase();
    for spelling in ["movie", "skd://movie", "film", KID, &dashed] {
        let minted = mint(spelling).unwrap();
        assert_eq!(
            code(deployment.licence(Some(&minted), &first(1))),
            "ok",
            "{spelling}"
        );
        let other = device(1, "other", STATES[0]);
        assert_eq!(
            code(deployment.licence(Some(&minted), &other)),
            "not_entitled"
        );
        let question: Value =
            serde_json::from_slice(deployment.take().last().unwrap().body()).unwrap();
        assert_eq!(question["wanted"]["keys"], json!([spelling]));
    }
    assert_eq!(code(mint("other")), "callback_refused");
    assert_eq!(
        code(mint("0F0E0D0C-0B0A-0908-0706-050403020100")),
        "callback_refused"
    );
    assert_eq!(code(mint("unknown")), "key_not_found");
}

#[test]
fn the_tracks_that_are_all_denied_deny_a_key_without_a_track() {
    let deployment = without_back_end(&[]);
    let tracks = |names: &[&str]| {
        let denied = names.iter().map(|name| ((*name).to_owned(), json!(false)));
        let denied: serde_json::Map<String, Value> = denied.collect();
        token(json!({"entitlements": [{"keys": "*", "tracks": denied}]}))
    };
    let all = tracks(&["audio", "sd", "hd", "uhd"]);
    assert_eq!(
        code(deployment.licence(Some(&all), &first(1))),
        "track_not_allowed"
    );
    let some = tracks(&["audio", "sd", "hd"]);
    assert_eq!(code(deployment.licence(Some(&some), &first(1))), "ok");
}

#[test]
fn what_may_be_stored_may_be_streamed_only_in_one_of_its_tracks() {
    let record = |id: &str, track: &str| {
        let key = "000102030405060708090a0b0c0d0e0f";
        json!({"id": id, "key": key, "iv": key, "track": track})
    };
    let records = json!([record("in-hd", "hd"), record("in-uhd", "uhd")]).to_string();
    let keys = jwks(&[("issuer", &ISSUER)]).to_string();
    let server = crate::support::serve(&variables(&[
        ("token_keys", keys.as_str()),
        ("content_keys", &records),
    ]));
    let terms = |uhd: Value| {
        let entry = json!({
            "keys": "*",
            "persist": true,
            "storage_seconds": 3600,
            "playback_seconds": 60,
            "tracks": {"uhd": uhd},
        });
        token(json!({"entitlements": [entry]}))
    };
    let duration = |token: &str, asset: &str| {
        let offline = device(1, asset, STATES[0]).capable(u64::MAX);
        licence(&server, Some(token), &offline).unwrap().duration
    };
    let streams = terms(json!({"persist": false}));
    assert!(matches!(
        duration(&streams, "in-hd"),
        Some(Duration::OfflineKey { .. })
    ));
    assert!(duration(&streams, "in-uhd").is_none());
    let leased = terms(json!({"persist": false, "lease_seconds": 300}));
    assert!(matches!(
        duration(&leased, "in-hd"),
        Some(Duration::OfflineKey { .. })
    ));
    assert!(matches!(
        duration(&leased, "in-uhd"),
        Some(Duration::Lease { lease_seconds: 300 })
    ));
    // What the track says itself still has to fit.
    for uhd in [
        json!({"persist": false, "storage_seconds": 60}),
        json!({"lease_seconds": 60}),
    ] {
        let refused = licence(&server, Some(&terms(uhd)), &device(1, "in-hd", STATES[0]));
        assert_eq!(code(refused), "terms_invalid");
    }
    server.stop();
}

#[test]
fn a_refusal_names_its_page_and_a_wrong_token_its_error() {
    let deployment = without_back_end(&[]);
    let ask = |authorization: Option<&str>| {
        let mut request = http::Request::post("/fairplay");
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        deployment.handle(request.body(b"spc".to_vec()).unwrap())
    };
    let mut types = BTreeSet::new();
    for (authorization, challenge) in [
        (None, "Bearer"),
        (Some("Bearer nonsense"), r#"Bearer error="invalid_token""#),
    ] {
        let reply = ask(authorization);
        assert_eq!(reply.headers()["www-authenticate"], challenge);
        let problem: Value = serde_json::from_slice(reply.body()).unwrap();
        let page = format!("/docs/errors.md#{}", problem["code"].as_str().unwrap());
        assert_eq!(problem["type"], page);
        types.insert(page);
    }
    assert_eq!(types.len(), 2);
    let head = http::Request::head("/sessions?subject=a")
        .body(Vec::new())
        .unwrap();
    let reply = deployment.handle(head);
    // It is served as `GET` is, which is the operator's.
    assert_ne!(reply.status(), 405);
    assert!(reply.body().is_empty());
}

#[test]
fn a_discovery_document_leads_to_no_address_of_a_private_network() {
    let discovery = "https://login.example/.well-known/openid-configuration";
    let published = jwks(&[("issuer", &ISSUER)]);
    for (keys, is_asked) in [
        ("https://keys.example/jwks", true),
        ("https://login.example/jwks", true),
        ("http://login.example/jwks", false),
        ("http://localhost/jwks", false),
        ("https://localhost/jwks", false),
        ("https://127.0.0.1/jwks", false),
        ("https://2130706433/jwks", false),
        ("https://10.1.2.3/jwks", false),
        ("https://169.254.169.254/latest", false),
        ("https://[::1]/jwks", false),
        ("https://[::ffff:192.168.0.1]/jwks", false),
        ("https://[fd00::1]/jwks", false),
    ] {
        let deployment = Deployment::new(variables(&[("token_keys", discovery)]));
        let published = published.clone();
        deployment.answer(move |request| match request.uri().path() {
            "/.well-known/openid-configuration" => Reply::json(&json!({"jwks_uri": keys})),
            _ => Reply::json(&published),
        });
        let token = token(json!({"entitlements": [{"keys": "*"}]}));
        let result = code(deployment.licence(Some(&token), &first(1)));
        let expected = if is_asked {
            "ok"
        } else {
            "token_keys_unavailable"
        };
        assert_eq!(result, expected, "{keys}");
        assert_eq!(deployment.count(), 1 + usize::from(is_asked), "{keys}");
    }
}

#[test]
fn a_token_without_a_key_id_has_eight_keys_tried() {
    let signers: Vec<Signer> = (1..=9).map(|seed| Signer::EdDsa([seed; 32])).collect();
    let named: Vec<(String, &Signer)> = signers
        .iter()
        .enumerate()
        .map(|(index, signer)| (index.to_string(), signer))
        .collect();
    let keys: Vec<(&str, &Signer)> = named
        .iter()
        .map(|(kid, signer)| (kid.as_str(), *signer))
        .collect();
    let keys = jwks(&keys).to_string();
    let deployment = Deployment::new(variables(&[("token_keys", &keys)]));
    let play = |index: usize, kid: Option<&str>| {
        let claims = claims(json!({"entitlements": [{"keys": "*"}]}));
        let token = signed(&signers[index], kid, &claims);
        code(deployment.licence(Some(&token), &first(1)))
    };
    assert_eq!(play(0, None), "ok");
    assert_eq!(play(7, None), "ok");
    assert_eq!(play(8, None), "token_signature");
    assert_eq!(play(8, Some("8")), "ok");
}

#[test]
fn a_back_end_that_fails_is_asked_once_for_an_envelope() {
    let option = json!({
        "name": "subscribers",
        "restriction": {"issuer": "https://issuer.example", "audience": "keylet", "jwks": jwks(&[("issuer", &ISSUER)])},
        "callback": {"url": "https://back-end.example/", "secret": SECRET, "retries": 0},
    });
    let deployment = Deployment::new(policies(&json!([option])));
    deployment.answer(|_| Reply::status(500));
    let keys: Vec<Value> = (0..16)
        .map(|id| json!({"id": id, "uri": "skd://movie", "spc": STANDARD.encode(spc(&first(1)).0)}))
        .collect();
    let envelope = json!({"fairplay-streaming-request": {"version": 1, "streaming-keys": keys}});
    let login = token(json!({}));
    let reply = deployment.post("/fairplay", Some(&login), envelope.to_string().as_bytes());
    let reply: Value = serde_json::from_slice(reply.body()).unwrap();
    let keys = reply["fairplay-streaming-response"]["streaming-keys"]
        .as_array()
        .unwrap();
    assert_eq!(keys.len(), 16);
    assert!(
        keys.iter().all(|key| key["code"] == "callback_failed"),
        "{keys:?}"
    );
    assert_eq!(deployment.count(), 1);
}

#[test]
fn a_challenge_needs_a_token() {
    let open = json!([{"name": "open", "restriction": "open", "terms": {}}]);
    let deployment = Deployment::new(policies(&open));
    let reply = deployment.post("/fairplay/check-in/challenge", None, b"");
    assert_eq!(reply.headers()["x-keylet-code"], "token_missing");
    let with_token = without_back_end(&[]);
    let login = token(json!({"entitlements": [{"keys": "*"}]}));
    let reply = with_token.post("/fairplay/check-in/challenge", Some(&login), b"");
    assert_eq!(reply.status(), 200);
}

#[test]
fn what_ends_a_line_elsewhere_is_escaped_in_the_audit() {
    let deployment = with_back_end();
    let reason = "a\u{2028}b\u{202e}c\u{feff}d\u{61c}e";
    deployment.answer(move |_| Reply::json(&json!({"refuse": reason})));
    let result = deployment.licence(Some(&token(json!({}))), &first(1));
    assert_eq!(code(result), "callback_refused");
    assert!(deployment.platform.log.borrow().last().unwrap().is_ascii());
    let record = deployment.audit();
    assert!(
        record["reason"].as_str().unwrap().ends_with(reason),
        "{record}"
    );
}
