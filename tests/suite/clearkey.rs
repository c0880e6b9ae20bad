//! Keys in the clear: W3C Clear Key and HLS AES-128, behind doors that are opened on purpose.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use http::Request;
use keylet::id::Kid;
use keylet_cli::jwt::Signer;
use keylet_host::{Provided, Server, StoreChoice};
use serde_json::{Value, json};

use crate::support::{Answer, WORLDS, fixture, send, variables_with};
use crate::upstream::{Deployment, SPINS, claims, jwks, serve_on, signed};

const ISSUER: Signer = Signer::EdDsa([1; 32]);
/// Vectors: a KID and its key, and another whose base64 has characters of the URL-safe alphabet.
const A: (&str, &str) = (
    "339c45b5-fb6d-4bd9-994c-eabd9d41c95b",
    "a537cdc0ca65841406d525e7bf22d754",
);
const B: (&str, &str) = (
    "09e36702-8f33-436c-a5dd-60ffe6671e70",
    "b42ca3172ee4e69bf51848a59db9cd13",
);
/// A key of FairPlay.
const TITLE: &str = "53abdba2-f210-43cb-bc90-f18f9a890a02";

fn records() -> Value {
    let record = |(kid, key): (&str, &str), systems: Value| json!({"id": kid, "kid": kid, "key": key, "systems": systems});
    json!([
        record(A, json!(["clearkey", "aes128"])),
        record(B, json!(["clearkey"])),
        {"id": TITLE, "kid": TITLE, "key": "11".repeat(16), "iv": "22".repeat(16)},
    ])
}

/// The fixtures with these records, and one policy whose tokens open these systems.
fn variables(drm: Value, terms: Value) -> Provided {
    let policies = json!([{
        "name": "viewers", "terms": terms, "drm": drm,
        "restriction": {"issuer": "*", "audience": "*", "jwks": jwks(&[("issuer", &ISSUER)])},
    }]);
    variables_with(&[
        ("content_keys", &records().to_string()),
        ("policies", &policies.to_string()),
    ])
}

fn both() -> Value {
    json!({"clearkey": {}, "aes128": {}, "fairplay": {}})
}

fn viewer(entitlement: Value) -> String {
    let claims = claims(json!({"entitlements": [entitlement]}));
    signed(&ISSUER, Some("issuer"), &claims)
}

fn of_kids(kids: &[&str]) -> Value {
    let kids = kids.iter().map(|kid| {
        let kid = Kid::from_text(kid).unwrap();
        URL_SAFE_NO_PAD.encode(kid.as_bytes())
    });
    json!({"kids": kids.collect::<Vec<_>>(), "type": "temporary"})
}

fn ask(server: &Server, token: &str, body: &[u8]) -> Answer {
    let request = Request::post("/").header("authorization", format!("Bearer {token}"));
    send(server, request, "/clearkey", body)
}

fn key_at(server: &Server, token: &str, path: &str) -> Answer {
    let request = Request::get("/").header("authorization", format!("Bearer {token}"));
    send(server, request, path, &[])
}

fn code(answer: &Answer) -> &str {
    answer.header("x-keylet-code").unwrap_or("ok")
}

#[test]
fn a_request_has_a_key_set_as_players_read_it_in_every_world() {
    for world in WORLDS {
        let server = serve_on(
            world,
            &variables(both(), json!({})),
            StoreChoice::Memory,
            &[],
        );
        let token = viewer(json!({"keys": "*"}));
        let request = of_kids(&[B.0, A.0]);
        let answer = ask(&server, &token, request.to_string().as_bytes());
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(
            answer.json(),
            json!({"keys": [
                {"kty": "oct", "kid": "CeNnAo8zQ2yl3WD_5mcecA", "k": "tCyjFy7k5pv1GEilnbnNEw"},
                {"kty": "oct", "kid": "M5xFtfttS9mZTOq9nUHJWw", "k": "pTfNwMplhBQG1SXnvyLXVA"},
            ], "type": "temporary"})
        );
        // Of what is asked, what may be had is answered.
        let some = viewer(json!({"keys": [A.0]}));
        let request = of_kids(&[B.0, A.0, TITLE, &Kid::from_u128(5).to_string()]);
        let keys = ask(&server, &some, request.to_string().as_bytes()).json()["keys"].clone();
        assert_eq!(keys.as_array().unwrap().len(), 1);
        assert_eq!(keys[0]["kid"], "M5xFtfttS9mZTOq9nUHJWw");
        for (kids, status, expected) in [
            (vec![B.0], 403, "not_entitled"),
            (vec![TITLE], 403, "key_system_not_allowed"),
            (
                vec!["11111111-1111-1111-1111-111111111111"],
                404,
                "key_not_found",
            ),
        ] {
            let answer = ask(&server, &some, of_kids(&kids).to_string().as_bytes());
            assert_eq!(
                (answer.status, code(&answer)),
                (status, expected),
                "{kids:?}"
            );
        }
        server.stop();
    }
}

#[test]
fn every_way_in_which_players_write_a_request_is_read() {
    let deployment = Deployment::new(variables(both(), json!({})));
    let token = viewer(json!({"keys": "*"}));
    let post = |body: &[u8]| deployment.post("/clearkey", Some(&token), body);
    let bytes = Kid::from_text(B.0).unwrap();
    for encoded in [
        URL_SAFE_NO_PAD.encode(bytes.as_bytes()),
        URL_SAFE.encode(bytes.as_bytes()),
        STANDARD.encode(bytes.as_bytes()),
    ] {
        for body in [
            json!({"kids": [encoded]}).to_string(),
            json!({"type": "temporary", "kids": [encoded, encoded], "other": 1}).to_string(),
            format!("\u{feff}{}", json!({"kids": [encoded], "type": null})),
        ] {
            let reply = post(body.as_bytes());
            assert_eq!(reply.status(), 200, "{body}");
            let reply: Value = serde_json::from_slice(reply.body()).unwrap();
            assert_eq!(reply["keys"].as_array().unwrap().len(), 1, "{body}");
            assert_eq!(reply["keys"][0]["kid"], "CeNnAo8zQ2yl3WD_5mcecA");
            assert_eq!(reply["type"], "temporary");
        }
    }
    let too_many = json!({"kids": vec![STANDARD.encode([1; 16]); 33]}).to_string();
    let too_large = format!("{}{}", of_kids(&[A.0]), " ".repeat(64 * 1024));
    for (body, reason) in [
        (&b"\x08\x04"[..], "/widevine"),
        (b"<soap:Envelope", "/playready"),
        (b"\x00\x00\x00\x01", "/fairplay"),
        (b"[]", "no object"),
        (b"{}", "kids"),
        (br#"{"kids":[]}"#, "1 to 32"),
        (br#"{"kids":["AA"]}"#, "16 bytes"),
        (br#"{"kids":[7]}"#, ""),
        (
            br#"{"kids":["M5xFtfttS9mZTOq9nUHJWw"],"type":"persistent-usage-record"}"#,
            "`type`",
        ),
        (too_many.as_bytes(), "1 to 32"),
        (too_large.as_bytes(), "65536 bytes"),
    ] {
        let reply = post(body);
        let shown = String::from_utf8_lossy(body);
        assert_eq!(reply.status(), 400, "{shown}");
        let problem: Value = serde_json::from_slice(reply.body()).unwrap();
        assert_eq!(problem["code"], "request_malformed", "{shown}");
        assert!(
            problem["detail"].as_str().unwrap().contains(reason),
            "{shown} {problem}"
        );
    }
    assert_eq!(post(b"").status(), 400);
    let by_name = deployment.post(
        "/license?keySystem=org.w3.clearkey",
        Some(&token),
        of_kids(&[A.0]).to_string().as_bytes(),
    );
    assert_eq!(by_name.status(), 200);
    let mut body = of_kids(&[A.0]);
    body["keySystem"] = "org.w3.clearkey".into();
    let by_body = deployment.post("/license", Some(&token), body.to_string().as_bytes());
    assert_eq!(by_body.body(), by_name.body());
    let get = Request::get("/clearkey").body(Vec::new()).unwrap();
    let get = deployment.handle(get);
    assert_eq!(
        (get.status().as_u16(), &get.headers()["allow"]),
        (405, &http::HeaderValue::from_static("POST, OPTIONS"))
    );
}

#[test]
fn the_key_of_hls_is_sixteen_octets_in_every_world() {
    for world in WORLDS {
        let server = serve_on(
            world,
            &variables(both(), json!({})),
            StoreChoice::Memory,
            &[],
        );
        let token = viewer(json!({"keys": [A.0]}));
        let kid = A.0;
        let plain = kid.replace('-', "");
        for path in [
            format!("/aes128/{kid}"),
            format!("/aes128/{}", kid.to_uppercase()),
            format!("/aes128/{plain}"),
            format!("/aes128/{plain}.key"),
            format!("/aes128/{kid}.bin"),
            format!("/aes128?kid={kid}"),
            format!("/?kid={kid}"),
            format!("/aes128/{kid}?_HLS_msn=1"),
        ] {
            let answer = key_at(&server, &token, &path);
            assert_eq!(
                (answer.status, hex::encode(&answer.body).as_str()),
                (200, A.1),
                "{path}"
            );
            for (name, value) in [
                ("content-type", "application/octet-stream"),
                ("content-length", "16"),
                ("cache-control", "no-store"),
                ("accept-ranges", "none"),
            ] {
                assert_eq!(answer.header(name), Some(value), "{path} {name}");
            }
            assert!(answer.header("content-encoding").is_none());
        }
        let path = format!("/aes128/{kid}");
        // As ffmpeg and set-top boxes ask.
        let ranged = Request::get("/")
            .header("range", "bytes=0-")
            .header("icy-metadata", "1");
        let ranged = ranged.header("authorization", format!("Bearer {token}"));
        let answer = send(&server, ranged, &path, &[]);
        assert_eq!((answer.status, answer.body.len()), (200, 16));
        assert!(answer.header("content-range").is_none());
        let head = Request::head("/").header("authorization", format!("Bearer {token}"));
        let answer = send(&server, head, &path, &[]);
        assert_eq!((answer.status, answer.body.len()), (200, 0));
        let in_query = send(
            &server,
            Request::get("/"),
            &format!("{path}?token={token}"),
            &[],
        );
        assert_eq!(in_query.status, 200);
        for (path, status, expected) in [
            ("/aes128/movie", 400, "request_malformed"),
            ("/aes128", 400, "request_malformed"),
            (&format!("/aes128/{}", B.0), 403, "key_system_not_allowed"),
            (&format!("/aes128/{TITLE}"), 403, "key_system_not_allowed"),
        ] {
            let token = match path.contains(TITLE) {
                true => viewer(json!({"keys": "*"})),
                false => token.clone(),
            };
            let answer = key_at(&server, &token, path);
            assert_eq!((answer.status, code(&answer)), (status, expected), "{path}");
        }
        let answer = send(&server, Request::get("/"), &path, &[]);
        assert_eq!((answer.status, code(&answer)), (401, "token_missing"));
        server.stop();
    }
}

#[test]
fn no_door_is_open_unless_a_policy_and_a_record_open_it() {
    let all = viewer(json!({"keys": "*"}));
    let seed = r#"{"algorithm":"hkdf-sha256","seed":"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"}"#;
    let doors = |deployment: &Deployment, token: &str, kid: &str| {
        let clearkey = deployment.post(
            "/clearkey",
            Some(token),
            of_kids(&[kid]).to_string().as_bytes(),
        );
        let request = Request::get(format!("/aes128/{kid}"));
        let request = request.header("authorization", format!("Bearer {token}"));
        let aes128 = deployment.handle(request.body(Vec::new()).unwrap());
        [clearkey, aes128].map(|reply| {
            let code = reply.headers().get("x-keylet-code");
            code.map_or("ok".to_owned(), |code| code.to_str().unwrap().to_owned())
        })
    };
    let of = |drm: Value, kid: &str| doors(&Deployment::new(variables(drm, json!({}))), &all, kid);
    assert_eq!(of(both(), A.0), ["ok", "ok"]);
    // A policy that names no system, another one, or one of the two.
    assert_eq!(of(Value::Null, A.0), ["not_entitled", "not_entitled"]);
    assert_eq!(
        of(json!({"fairplay": {}, "widevine": {}}), A.0),
        ["not_entitled", "not_entitled"]
    );
    assert_eq!(of(json!({"clearkey": {}}), A.0), ["ok", "not_entitled"]);
    assert_eq!(of(json!({"aes128": {}}), A.0), ["not_entitled", "ok"]);
    // A record that names one of the two, or none.
    assert_eq!(of(both(), B.0), ["ok", "key_system_not_allowed"]);
    assert_eq!(of(both(), TITLE), ["key_system_not_allowed"; 2]);
    // A key of a seed.
    let mut variables_of_seed = variables(both(), json!({}));
    variables_of_seed.insert("key_seed".to_owned(), seed.to_owned());
    let derived = doors(
        &Deployment::new(variables_of_seed),
        &all,
        &Kid::from_u128(7).to_string(),
    );
    assert_eq!(derived, ["key_system_not_allowed"; 2]);
    // The variables without policies, which let the tokens of the fixtures in.
    let plain = variables_with(&[("content_keys", &records().to_string())]);
    let tokens: Value = serde_json::from_slice(&fixture("tokens.json")).unwrap();
    let plain = Deployment::new(plain);
    let token = tokens["hs256"].as_str().unwrap();
    assert_eq!(doors(&plain, token, A.0), ["not_entitled"; 2]);
    // A token that the server made for its operator, where no policy opens the door.
    let operator = "operator-operator-operator-operator";
    let secrets = [
        ("operator_token", operator),
        ("server_secret", "a secret for tests, of 32 bytes or more"),
    ];
    let with_tokens = |drm: Value| {
        let mut variables = variables(drm, json!({}));
        let secrets = secrets.iter();
        variables.extend(secrets.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        Deployment::new(variables)
    };
    let wanted = json!({"entitlements": [{"keys": "*"}], "expires_in": 600});
    for (drm, expected) in [(Value::Null, "not_entitled"), (both(), "ok")] {
        let deployment = with_tokens(drm.clone());
        match deployment.minted(Some(operator), &wanted) {
            Ok(own) => assert_eq!(doors(&deployment, &own, A.0), [expected; 2], "{drm}"),
            Err(refusal) => panic!("{refusal:?}"),
        }
    }
    // FairPlay does not get the key of AES-128 either.
    let deployment = Deployment::new(variables(both(), json!({})));
    let device = keylet_cli::device::SpcOptions::new(format!("skd://{}", A.0));
    let fairplay = deployment.licence(Some(&all), &device);
    assert_eq!(crate::upstream::code(fairplay), "key_system_not_allowed");
}

#[test]
fn a_term_that_nothing_keeps_refuses() {
    for (terms, expected) in [
        (json!({}), "ok"),
        (json!({"not_after": 4_000_000_000_u64}), "ok"),
        (json!({"hdcp": "none"}), "ok"),
        (json!({"persist": true}), "ok"),
        (json!({"tracks": {"uhd": false}}), "ok"),
        (json!({"not_after": 1}), "entitlement_ended"),
        (
            json!({"not_before": 4_000_000_000_u64}),
            "entitlement_not_yet_valid",
        ),
        (json!({"lease_seconds": 60}), "duration_unsupported"),
        (
            json!({"lease_seconds": 60, "not_after": 1_800_000_010_u64}),
            "duration_unsupported",
        ),
        (json!({"rental_seconds": 60}), "duration_unsupported"),
        (
            json!({"persist": true, "storage_seconds": 60}),
            "duration_unsupported",
        ),
        (
            json!({"persist": true, "playback_seconds": 60}),
            "duration_unsupported",
        ),
        (json!({"hdcp": "type0"}), "device_hdcp_unsupported"),
        (
            json!({"min_security_level": "audio"}),
            "device_security_level",
        ),
        (json!({"min_kdl": 1}), "device_kdl_too_old"),
        (json!({"airplay": false}), "output_not_allowed"),
        (json!({"av_adapter": false}), "output_not_allowed"),
        (json!({"virtual_machines": false}), "device_virtual"),
        (
            json!({"device_classes": ["desktop"]}),
            "device_class_not_allowed",
        ),
        (json!({"min_os": "17"}), "device_os_too_old"),
        (json!({"countries": ["AT"]}), "place_unknown"),
    ] {
        let deployment = Deployment::new(variables(both(), json!({})));
        let mut entry = json!({"keys": "*"});
        entry
            .as_object_mut()
            .unwrap()
            .extend(terms.as_object().unwrap().clone());
        let token = viewer(entry);
        let clearkey = deployment.post(
            "/clearkey",
            Some(&token),
            of_kids(&[A.0]).to_string().as_bytes(),
        );
        let aes128 = Request::get(format!("/aes128/{}", A.0));
        let aes128 = aes128.header("authorization", format!("Bearer {token}"));
        let aes128 = deployment.handle(aes128.body(Vec::new()).unwrap());
        for reply in [clearkey, aes128] {
            let code = reply.headers().get("x-keylet-code");
            let code = code.map_or("ok", |code| code.to_str().unwrap());
            assert_eq!(
                code,
                expected,
                "{terms} {}",
                String::from_utf8_lossy(reply.body())
            );
        }
    }
    // Storing is asked for by the player, and allowed by the terms or not.
    for (terms, expected) in [
        (json!({"persist": true}), "ok"),
        (json!({}), "device_offline_unsupported"),
        (
            json!({"persist": true, "not_after": 4_000_000_000_u64}),
            "device_offline_unsupported",
        ),
    ] {
        let deployment = Deployment::new(variables(both(), json!({})));
        let mut body = of_kids(&[A.0]);
        body["type"] = "persistent-license".into();
        let mut entry = json!({"keys": "*"});
        entry
            .as_object_mut()
            .unwrap()
            .extend(terms.as_object().unwrap().clone());
        let token = viewer(entry);
        let reply = deployment.post("/clearkey", Some(&token), body.to_string().as_bytes());
        let code = reply.headers().get("x-keylet-code");
        assert_eq!(
            code.map_or("ok", |code| code.to_str().unwrap()),
            expected,
            "{terms}"
        );
        if expected == "ok" {
            let reply: Value = serde_json::from_slice(reply.body()).unwrap();
            assert_eq!(reply["type"], "persistent-license");
        }
    }
}

#[test]
fn a_player_that_asks_for_its_key_again_and_again_uses_it_once() {
    for world in SPINS {
        let server = serve_on(
            world,
            &variables(both(), json!({})),
            StoreChoice::Memory,
            &[],
        );
        let token = viewer(json!({"keys": "*", "max_uses": 1}));
        let path = format!("/aes128/{}", A.0);
        for _ in 0..40 {
            assert_eq!(key_at(&server, &token, &path).status, 200);
        }
        // Another key is another use.
        let spent = ask(&server, &token, of_kids(&[B.0]).to_string().as_bytes());
        assert_eq!((spent.status, code(&spent)), (403, "uses_spent"));
        assert_eq!(key_at(&server, &token, &path).status, 200);
        server.stop();
    }
    let deployment = Deployment::new(variables(both(), json!({})));
    let token = viewer(json!({"keys": "*", "max_uses": 2}));
    let key = || {
        let request = Request::get(format!("/aes128/{}", A.0));
        let request = request.header("authorization", format!("Bearer {token}"));
        deployment
            .handle(request.body(Vec::new()).unwrap())
            .status()
            .as_u16()
    };
    assert_eq!((key(), key()), (200, 200));
    deployment.wait(6 * 60 * 60 + 1);
    assert_eq!((key(), key()), (200, 200));
    deployment.wait(6 * 60 * 60 + 1);
    assert_eq!(key(), 403);
}

#[test]
fn pages_of_another_origin_read_keys_and_refusals() {
    let server = serve_on(
        WORLDS[0],
        &variables(both(), json!({})),
        StoreChoice::Memory,
        &[],
    );
    let origin = "https://player.example";
    for (path, method, header) in [
        (
            "/clearkey",
            "POST",
            "authorization,content-type,cmcd-object,cmcd-session",
        ),
        (&format!("/aes128/{}", A.0), "GET", "authorization,x-tenant"),
    ] {
        let preflight = Request::options("/").header("origin", origin);
        let preflight = preflight.header("access-control-request-method", method);
        let preflight = preflight.header("access-control-request-headers", header);
        let answer = send(&server, preflight, path, &[]);
        assert_eq!(answer.status, 204, "{path}");
        assert_eq!(answer.header("access-control-allow-headers"), Some(header));
        assert!(
            answer
                .header("access-control-allow-methods")
                .unwrap()
                .contains(method)
        );
        let request = Request::builder().method(method).header("origin", origin);
        let refused = send(&server, request, path, b"{}");
        assert_eq!(refused.status, 401);
        assert_eq!(refused.header("access-control-allow-origin"), Some(origin));
        assert_eq!(
            refused.header("access-control-allow-credentials"),
            Some("true")
        );
        let exposed = refused.header("access-control-expose-headers").unwrap();
        assert!(exposed.contains("x-keylet-code"), "{exposed}");
    }
    let document = send(&server, Request::get("/"), "/", &[]).json();
    assert_eq!(document["drm"], json!(["fairplay", "clearkey", "aes128"]));
    server.stop();
}
