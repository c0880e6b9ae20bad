//! Common Access Tokens (CTA-5007): the tokens of content delivery networks fetch licences and keys.

use std::path::Path;
use std::process::Command;

use http::Request;
use keylet_cli::cat;
use keylet_cli::device::SpcOptions;
use keylet_cli::jwt::Signer;
use keylet_e2e::skip;
use keylet_host::Provided;
use serde_json::{Value, json};

use crate::support::{Chance, WORLDS, fixture, rounds, send, serve_in, variables_with};
use crate::upstream::{Deployment, KID, claims, code, jwks};

const KEY: [u8; 32] = [7; 32];

fn issuer() -> Signer {
    Signer::Hs256(KEY.to_vec())
}

fn mint(changes: Value) -> String {
    cat::token(&issuer(), Some("cdn"), &claims(changes)).unwrap()
}

fn every_key() -> Value {
    json!([{"keys": "*"}])
}

/// A deployment that accepts such tokens, with changes. Keys: `movie`, for the systems in the clear too, and `other`.
fn variables(changes: &[(&str, &str)]) -> Provided {
    let key = "00112233445566778899aabbccddeeff";
    let records = json!([
        {"id": "movie", "kid": KID, "key": key, "iv": key, "systems": ["fairplay", "clearkey", "aes128"]},
        {"id": "other", "kid": "0F0E0D0C-0B0A-0908-0706-050403020100", "key": key, "iv": key},
    ]);
    let policies = json!([{
        "name": "viewers",
        "restriction": {"issuer": "*", "audience": "*", "jwks": jwks(&[("cdn", &issuer())])},
        "drm": {"clearkey": {}, "aes128": {}, "fairplay": {}, "playready": {}},
    }]);
    let mut variables = variables_with(&[
        ("content_keys", &records.to_string()),
        ("policies", &policies.to_string()),
        ("dialects", "cat"),
        ("client_ip_header", "x-client"),
        ("client_country_header", "x-country"),
    ]);
    let changes = changes.iter();
    variables.extend(changes.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    variables
}

fn movie() -> SpcOptions {
    SpcOptions::new("movie")
}

/// The code of the answer to a token, with further headers.
fn asked_with(deployment: &Deployment, token: &str, headers: &[(&str, &str)]) -> String {
    let (spc, _) = crate::support::spc(&movie());
    let mut request = Request::post("/fairplay").header("authorization", format!("Bearer {token}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    code_of(&deployment.handle(request.body(spc).unwrap()))
}

fn code_of(reply: &http::Response<Vec<u8>>) -> String {
    let code = reply.headers().get("x-keylet-code");
    code.map_or("ok", |code| code.to_str().unwrap()).to_owned()
}

#[test]
fn tokens_of_other_writers_come_to_what_the_vectors_say() {
    let vectors: Value = serde_json::from_slice(&fixture("cat/tokens.json")).unwrap();
    for case in vectors["cases"].as_array().unwrap() {
        let policies = json!([{
            "name": "viewers", "terms": {},
            "restriction": {"issuer": "*", "audience": "*", "jwks": {"keys": vectors["keys"]}},
        }]);
        let deployment = Deployment::new(variables(&[
            ("policies", &policies.to_string()),
            ("public_url", "https://k.example"),
            ("cat_uri", case["cat_uri"].as_str().unwrap()),
        ]));
        deployment.platform.now.set(case["now"].as_u64().unwrap());
        let token = case["token"].as_str();
        let answer = code(deployment.licence(token, &movie()));
        assert_eq!(answer, case["expect"].as_str().unwrap(), "{}", case["name"]);
    }
}

#[test]
fn one_token_fetches_a_key_and_a_licence_of_every_kind() {
    let deployment = Deployment::new(variables(&[("cat_uri", "content /vod/{content_id}/")]));
    let token = mint(json!({"catu": {"1": {"0": "cdn.example"}, "3": {"1": "/vod/movie/"}}}));
    assert!(deployment.licence(Some(&token), &movie()).is_ok());
    let body = json!({"kids": ["M5xFtfttS9mZTOq9nUHJWw"]}).to_string();
    let reply = deployment.post("/clearkey", Some(&token), body.as_bytes());
    assert_eq!(code_of(&reply), "ok");
    let path = format!("/aes128/{KID}");
    // In each place where delivery networks read it.
    let name = "CTA-Common-Access-Token";
    for (path, header, value) in [
        (path.clone(), "authorization", format!("Bearer {token}")),
        (path.clone(), name, token.clone()),
        (path.clone(), "cookie", format!("a=b; {name}={token}")),
        (
            format!("{path}?x=1&CAT={token}"),
            "accept",
            "*/*".to_owned(),
        ),
        (format!("{path}?cat={token}"), "accept", "*/*".to_owned()),
    ] {
        let request = Request::get(&path).header(header, value);
        let reply = deployment.handle(request.body(Vec::new()).unwrap());
        assert_eq!(code_of(&reply), "ok", "{header} {path}");
        assert_eq!(reply.body().len(), 16);
    }
    // It is for its content alone.
    let other = SpcOptions::new("other");
    assert_eq!(
        code(deployment.licence(Some(&token), &other)),
        "not_entitled"
    );
}

#[test]
fn a_token_for_another_request_is_refused_by_the_built_component() {
    let (spc, _) = crate::support::spc(&movie());
    for (methods, expected) in [
        (json!(["POST"]), (200, None)),
        (json!(["GET"]), (401, Some("token_request"))),
    ] {
        let token = mint(json!({"catm": methods, "entitlements": every_key()}));
        for world in WORLDS {
            let server = serve_in(world, &variables(&[]));
            let request = Request::post("/").header("cta-common-access-token", &token);
            let answer = send(&server, request, "/fairplay", &spc);
            let code = answer.header("x-keylet-code");
            assert_eq!((answer.status, code), expected, "{world:?}");
            server.stop();
        }
    }
}

#[test]
fn a_token_in_a_cookie_that_is_named_is_held_against_its_request() {
    let deployment = Deployment::new(variables(&[("token_cookies", "drm")]));
    let (spc, _) = crate::support::spc(&movie());
    for (methods, expected) in [(json!(["POST"]), "ok"), (json!(["GET"]), "token_request")] {
        let token = mint(json!({"catm": methods, "entitlements": every_key()}));
        let request = Request::post("/fairplay").header("cookie", format!("drm={token}"));
        let reply = deployment.handle(request.body(spc.clone()).unwrap());
        assert_eq!(code_of(&reply), expected);
    }
}

#[test]
fn custom_data_of_playready_does_not_take_the_place_of_a_token() {
    let playready = json!({"kind": "plain", "url": "https://license.example/"}).to_string();
    let deployment = Deployment::new(variables(&[("playready", &playready)]));
    deployment.answer(|_| crate::playready::xml(200, &crate::playready::license("AcquireLicense")));
    let token = mint(json!({"entitlements": every_key()}));
    let header = crate::playready::header(&[("AwIBAAUEBwYICQoLDA0ODw==", "")]);
    let other = crate::support::token("hs256");
    let custom_data = format!("<CustomData>{other}</CustomData>");
    let message = crate::playready::message("AcquireLicense", &header, &custom_data);
    let request = Request::post("/playready").header("cta-common-access-token", &token);
    let reply = deployment.handle(request.body(message.into_bytes()).unwrap());
    assert_eq!(code_of(&reply), "ok");
}

#[test]
fn a_deployment_that_does_not_name_the_dialect_reads_none() {
    let deployment = Deployment::new(variables(&[("dialects", "native")]));
    let token = mint(json!({"entitlements": every_key()}));
    assert_eq!(
        code(deployment.licence(Some(&token), &movie())),
        "token_malformed"
    );
    let (spc, _) = crate::support::spc(&movie());
    let request = Request::post("/fairplay").header("cta-common-access-token", &token);
    let reply = deployment.handle(request.body(spc).unwrap());
    assert_eq!(code_of(&reply), "token_missing");
}

#[test]
fn each_claim_is_honoured_or_refuses() {
    let deployment = Deployment::new(variables(&[
        ("cat_uri", "request"),
        ("public_url", "https://k.example"),
    ]));
    let from = [
        ("x-client", "192.0.2.7"),
        ("x-country", "SE"),
        ("x-app", "tv/2"),
    ];
    for (name, value, expected) in [
        ("exp", json!(1), "token_expired"),
        ("exp", json!(null), "token_claims"),
        ("exp", json!(4_000_000_000.5), "ok"),
        ("nbf", json!(3_900_000_000_u64), "token_not_yet_valid"),
        ("cnf", json!({"1": 1}), "term_unsupported"),
        ("catreplay", json!(0), "ok"),
        ("catreplay", json!(3), "token_claims"),
        ("catpor", json!(50), "term_unsupported"),
        ("catv", json!(1), "ok"),
        ("catv", json!(2), "term_unsupported"),
        ("catnip", json!(["192.0.2.0/24", "2001:db8::1"]), "ok"),
        ("catnip", json!(["198.51.100.1"]), "place_not_allowed"),
        ("catnip", json!([]), "place_not_allowed"),
        ("catm", json!(["GET", "POST"]), "ok"),
        ("catm", json!(["GET"]), "token_request"),
        ("catm", json!("POST"), "token_claims"),
        ("catalpn", json!(["h2"]), "term_unsupported"),
        ("cath", json!({"x-app": {"1": "tv/"}}), "ok"),
        ("cath", json!({"x-app": {"0": "tv"}}), "token_request"),
        ("cath", json!({"x-none": {"1": ""}}), "token_request"),
        (
            "cath",
            json!({"x-app": {"4": ["tv.*"]}}),
            "term_unsupported",
        ),
        ("catgeoiso3166", json!(["NO", "se"]), "ok"),
        ("catgeoiso3166", json!(["NO"]), "place_not_allowed"),
        ("catgeoiso3166", json!(["US-CA"]), "term_unsupported"),
        ("catgeocoord", json!([]), "term_unsupported"),
        ("catgeoalt", json!([]), "term_unsupported"),
        ("geohash", json!("u6sce"), "term_unsupported"),
        ("cattpk", json!("x"), "term_unsupported"),
        ("cattprint", json!({}), "term_unsupported"),
        ("catdpop", json!({}), "term_unsupported"),
        ("catif", json!({"4": [401, {}]}), "ok"),
        ("catifdata", json!("x"), "ok"),
        ("catr", json!({"0": 1}), "ok"),
        ("300", json!(1), "term_unsupported"),
        ("-70000", json!("private"), "ok"),
        ("plan", json!("gold"), "ok"),
        (
            "catu",
            json!({"0": {"0": "https"}, "1": {"0": "k.example"}, "2": {"0": "443"}}),
            "ok",
        ),
        (
            "catu",
            json!({"3": {"0": "/fairplay", "1": "/f", "2": "play", "3": "air"}}),
            "ok",
        ),
        (
            "catu",
            json!({"4": {"0": ""}, "5": {"0": ""}, "6": {"0": "fairplay"}, "7": {"0": "fairplay"}, "8": {"0": ""}}),
            "ok",
        ),
        (
            "catu",
            json!({"3": {"-1": "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"}}),
            "token_request",
        ),
        ("catu", json!({"1": {"0": "cdn.example"}}), "token_request"),
        ("catu", json!({"3": {"1": "/vod/"}}), "token_request"),
        ("catu", json!({"3": {"4": ["/.*"]}}), "term_unsupported"),
        ("catu", json!({"9": {"0": "x"}}), "term_unsupported"),
        ("catu", json!({"3": "/"}), "token_claims"),
    ] {
        let token = mint(json!({"entitlements": every_key(), name: value}));
        let answer = asked_with(&deployment, &token, &from);
        assert_eq!(answer, expected, "{name} {value}");
    }
    // Nobody says where the client is.
    let token = mint(json!({"entitlements": every_key(), "catnip": ["192.0.2.0/24"]}));
    assert_ne!(asked_with(&deployment, &token, &[]), "ok");
}

#[test]
fn a_path_names_a_content_only_when_it_names_it_whole() {
    // No terms of the option stand in for entitlements.
    let policies = json!([{
        "name": "viewers",
        "restriction": {"issuer": "*", "audience": "*", "jwks": jwks(&[("cdn", &issuer())])},
    }]);
    let policies = policies.to_string();
    let deployment = Deployment::new(variables(&[
        ("policies", &policies),
        ("cat_uri", "/vod/{content_id}/ /live/{content_id}/hls"),
    ]));
    for (uri, claim, expected) in [
        (json!({"3": {"1": "/vod/movie/"}}), false, "ok"),
        (json!({"3": {"0": "/vod/movie/master.m3u8"}}), false, "ok"),
        (json!({"5": {"0": "/vod/movie"}}), false, "ok"),
        (json!({"3": {"1": "/live/movie/hls/"}}), false, "ok"),
        (json!({"3": {"1": "/vod/other/"}}), false, "not_entitled"),
        // It could go on: `/vod/movie-2/`.
        (json!({"3": {"1": "/vod/movie"}}), false, "term_unsupported"),
        (
            json!({"3": {"1": "/live/movie/"}}),
            false,
            "term_unsupported",
        ),
        (json!({"3": {"1": "/vod/"}}), true, "term_unsupported"),
        (json!({"3": {"3": "movie"}}), true, "term_unsupported"),
        (
            json!({"3": {"1": "/vod/movie/"}, "5": {"0": "/vod/other"}}),
            false,
            "token_claims",
        ),
        // The whole site says nothing about a content; its entitlements do.
        (json!({"3": {"1": "/"}}), true, "ok"),
        (json!({"3": {"1": "/"}}), false, "entitlement_missing"),
        // Both have to reach the key.
        (json!({"3": {"1": "/vod/movie/"}}), true, "ok"),
        (json!({"3": {"1": "/vod/other/"}}), true, "not_entitled"),
    ] {
        let mut wanted = json!({"catu": uri});
        if claim {
            wanted["entitlements"] = every_key();
        }
        let answer = code(deployment.licence(Some(&mint(wanted)), &movie()));
        assert_eq!(answer, expected, "{uri} {claim}");
    }
    let without = Deployment::new(variables(&[]));
    let token = mint(json!({"entitlements": every_key(), "catu": {"3": {"1": "/vod/movie/"}}}));
    assert_eq!(
        code(without.licence(Some(&token), &movie())),
        "term_unsupported"
    );
}

#[test]
fn a_token_for_one_use_has_one_and_entitlements_may_be_json_in_a_text() {
    let deployment = Deployment::new(variables(&[]));
    let entitlements = every_key().to_string();
    let token = mint(json!({"catreplay": 1, "jti": "0b71", "entitlements": entitlements}));
    assert_eq!(code(deployment.licence(Some(&token), &movie())), "ok");
    let another = SpcOptions::new("other");
    assert_eq!(
        code(deployment.licence(Some(&token), &another)),
        "uses_spent"
    );
    let counted = mint(json!({"catreplay": 2, "jti": "0b72", "entitlements": entitlements}));
    for options in [movie(), another] {
        assert_eq!(code(deployment.licence(Some(&counted), &options)), "ok");
    }
}

#[test]
fn tokens_that_are_cut_or_altered_are_refused_and_never_an_error_of_the_server() {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    let deployment = Deployment::new(variables(&[]));
    let token =
        mint(json!({"entitlements": every_key(), "catm": ["POST"], "catnip": ["192.0.2.0/24"]}));
    let token = URL_SAFE_NO_PAD.decode(token).unwrap();
    let body = json!({"kids": ["M5xFtfttS9mZTOq9nUHJWw"]}).to_string();
    let ask = |bytes: &[u8]| {
        let token = URL_SAFE_NO_PAD.encode(bytes);
        let request = Request::post("/clearkey")
            .header("authorization", format!("Bearer {token}"))
            .header("x-client", "192.0.2.1");
        deployment.handle(request.body(body.as_bytes().to_vec()).unwrap())
    };
    assert_eq!(ask(&token).status(), 200);
    for length in 0..token.len() {
        let status = ask(&token[..length]).status().as_u16();
        assert!((400..500).contains(&status), "{length}: {status}");
    }
    // The unprotected header holds the key id alone, and without one the issuer's keys are tried in turn.
    let is_whole = |bytes: &[u8]| bytes.starts_with(&token[..8]) && bytes.ends_with(&token[14..]);
    for bit in 0..token.len() * 8 {
        let mut altered = token.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        let status = ask(&altered).status().as_u16();
        assert!(
            (400..500).contains(&status) || status == 200 && is_whole(&altered),
            "bit {bit}: {status}"
        );
    }
    let mut chance = Chance(1);
    let mut random = move |below| chance.pick(below);
    for round in 0..rounds() {
        let mut altered = token.clone();
        for _ in 0..=random(4) {
            let at = random(altered.len());
            match random(4) {
                0 => altered.truncate(at.max(1)),
                1 => altered[at] ^= 1 << random(8),
                2 => altered.insert(at, u8::try_from(random(256)).unwrap()),
                _ => {
                    let end = (at + random(40)).min(altered.len());
                    let part = altered[at..end].to_vec();
                    altered.splice(at..at, part);
                }
            }
        }
        if altered == token {
            continue;
        }
        let status = ask(&altered).status().as_u16();
        assert!(
            (400..500).contains(&status) || status == 200 && is_whole(&altered),
            "round {round}: {status} {altered:?}"
        );
    }
}

/// What a program prints; `None` where what it needs is not installed. That is said loudly.
fn printed(tool: &str, reason: &str, probe: &mut Command, program: &mut Command) -> Option<String> {
    let is_there = probe.output().is_ok_and(|output| output.status.success());
    if !is_there {
        skip(
            tool,
            "what_other_libraries_write_is_read_and_the_other_way_round",
            reason,
        );
        return None;
    }
    let output = program.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

#[test]
fn what_other_libraries_write_is_read_and_the_other_way_round() {
    const MAKE: &str = r#"
import base64, cbor2, cwt
key = cwt.COSEKey.from_symmetric_key(alg="HS256", key=bytes([7] * 32), kid="cdn")
claims = {1: "https://issuer.example", 3: "keylet", 4: 4000000000, 310: 1, 313: ["POST"], 312: {3: {1: "/vod/movie/"}}}
token = cwt.COSE.new().encode(cbor2.dumps(claims), key, protected={1: 5}, unprotected={4: b"cdn"})
print(base64.urlsafe_b64encode(token).decode())
"#;
    const READ: &str = r#"
import base64, json, sys, cwt
key = cwt.COSEKey.from_symmetric_key(alg="HS256", key=bytes([7] * 32), kid="cdn")
token = sys.argv[1]
claims = cwt.decode(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)), key)
print(json.dumps(claims, default=lambda value: value.hex()))
"#;
    let deployment = Deployment::new(variables(&[("cat_uri", "/vod/{content_id}/")]));
    let own = mint(json!({"jti": "0b71", "catm": ["POST"], "catu": {"3": {"1": "/vod/movie/"}}}));

    let python = |arguments: &[&str]| {
        let mut probe = Command::new("python3");
        let mut program = Command::new("python3");
        printed(
            "python",
            "the packages of tests/requirements.txt are needed",
            probe.args(["-c", "import cwt"]),
            program.args(arguments),
        )
    };
    if let Some(token) = python(&["-c", MAKE]) {
        assert_eq!(code(deployment.licence(Some(&token), &movie())), "ok");
        let claims: Value = serde_json::from_str(&python(&["-c", READ, &own]).unwrap()).unwrap();
        assert_eq!(claims["4"], 4_000_000_000_u64);
        assert_eq!(claims["7"], "0b71");
        assert_eq!(claims["312"], json!({"3": {"1": "/vod/movie/"}}));
    }

    let players = Path::new(env!("CARGO_MANIFEST_DIR")).join("players");
    let node = |arguments: &[&str]| {
        let mut probe = Command::new("node");
        let mut program = Command::new("node");
        let import = ["--input-type=module", "-e", "await import('@eyevinn/cat')"];
        let probe = probe.args(import).current_dir(&players);
        printed(
            "players",
            "`npm ci` in tests/players is needed",
            probe,
            program.arg("cat.mjs").args(arguments).current_dir(&players),
        )
    };
    if let Some(token) = node(&["make"]) {
        assert_eq!(code(deployment.licence(Some(&token), &movie())), "ok");
        let claims: Value = serde_json::from_str(&node(&["read", &own]).unwrap()).unwrap();
        assert_eq!(claims["cti"], "0b71");
        assert_eq!(
            claims["catu"],
            json!({"path": {"prefix-match": "/vod/movie/"}})
        );
    }
}
