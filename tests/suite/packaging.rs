//! Keys for packagers: over HTTP in every world, and read by other implementations than ours.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::Request;
use keylet::cpix::{Document, PlayReadyHeader, PsshBox, Scheme, WidevineData};
use keylet::id::Kid;
use keylet::secret::Key128;
use keylet_cli::device::SpcOptions;
use keylet_cli::jwt::Signer;
use keylet_e2e::processes::Directory;
use keylet_e2e::skip;
use keylet_host::{Provided, Server, StoreChoice, World};
use serde_json::{Value, json};

use crate::support::{Answer, Chance, Native, WORLDS, fixture, rounds, run, send, variables_with};
use crate::upstream::{Deployment, SPINS, claims, code, jwks, licence, serve_on, signed};

pub const OPERATOR: &str = "operator-operator-operator-operator";
const STUDIO: &str = "studio-studio-studio-studio-studio";
const JWKS: &str =
    r#"{"keys":[{"kty":"oct","kid":"2026","k":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"}]}"#;
pub const SEED: &str = "XVBovsmzhP9gRIZxWfFta3VVRPzVEWmJsazEJ46I";
pub const ISSUER: Signer = Signer::EdDsa([1; 32]);
pub const CONTENT: &str = "movie-42";
const KIDS: [(&str, &str); 3] = [
    ("SD", "98ee5596-cd3e-a20d-163a-e382420c6eff"),
    ("HD", "53abdba2-f210-43cb-bc90-f18f9a890a02"),
    ("AUDIO", "7ae8e96f-309e-42c3-a510-24023d923373"),
];
const FAIRPLAY: &str = "94ce86fb-07ff-4f43-adb8-93d2fa968ca2";

/// The fixtures with a seed, an operator, a policy and these packagers.
fn variables(changes: &[(&str, &str)]) -> Provided {
    let policies = json!([{
        "name": "viewers",
        "restriction": {"issuer": "*", "audience": "*", "jwks": jwks(&[("issuer", &ISSUER)])},
    }]);
    let seed = json!({"algorithm": "playready", "seed": SEED});
    let mut variables = variables_with(&[
        ("content_keys", ""),
        ("key_seed", &seed.to_string()),
        ("operator_token", OPERATOR),
        ("packagers", &packagers().to_string()),
        ("policies", &policies.to_string()),
    ]);
    let changes = changes.iter();
    variables.extend(changes.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    variables
}

fn packagers() -> Value {
    let signatures: Value = serde_json::from_slice(&fixture("packaging/signatures.json")).unwrap();
    json!([
        {"name": "studio", "token": STUDIO, "content_ids": ["movie-*"]},
        {"name": "widevine_test", "signer": {
            "aes_key": signatures["aes_key"], "aes_iv": signatures["aes_iv"], "test": true
        }},
        {"name": "shared", "token": format!("{STUDIO}-shared"), "shared_key": true},
    ])
}

pub fn serve(world: World, store: StoreChoice, changes: &[(&str, &str)]) -> Server {
    serve_on(world, &variables(changes), store, &[])
}

pub fn stored() -> [(&'static str, &'static str); 1] {
    [("key_encryption_keys", JWKS)]
}

fn document(name: &str) -> String {
    String::from_utf8(fixture(&format!("packaging/{name}"))).unwrap()
}

pub fn by_operator(method: &str) -> http::request::Builder {
    let request = Request::builder().method(method);
    request.header("authorization", format!("Bearer {OPERATOR}"))
}

fn speke(server: &Server, version: Option<&str>, body: &str) -> Answer {
    let mut request = by_operator("POST").header("content-type", "application/xml");
    if let Some(version) = version {
        request = request.header("x-speke-version", version);
    }
    send(server, request, "/speke/copyProtection", body.as_bytes())
}

pub fn keys_of(reply: &[u8]) -> BTreeMap<String, String> {
    let document = Document::read(reply).unwrap();
    let keys = document.keys().unwrap();
    let keys = keys.iter().map(|key| {
        let value = hex::encode(key.value(None).unwrap().expose());
        (key.kid.to_string(), value)
    });
    keys.collect()
}

fn text(answer: &Answer) -> &str {
    std::str::from_utf8(&answer.body).unwrap()
}

pub fn viewer(entitlement: Value) -> String {
    let claims = claims(json!({"entitlements": [entitlement]}));
    signed(&ISSUER, Some("issuer"), &claims)
}

/// What stands in an element, decoded.
fn values(reply: &str, element: &str) -> Vec<String> {
    let start = format!("<cpix:{element}");
    let parts = reply.split(&start).skip(1);
    let values = parts.filter_map(|part| {
        let (_, content) = part.split_once('>')?;
        let (content, _) = content.split_once('<')?;
        (!content.trim().is_empty()).then(|| BASE64.decode(content).unwrap())
    });
    values
        .map(|value| String::from_utf8(value).unwrap_or_default())
        .collect()
}

#[test]
fn every_refusal_of_speke_has_its_sentence_in_every_world() {
    let refusals: Value =
        serde_json::from_slice(&fixture("packaging/speke-refusals.json")).unwrap();
    let cases = refusals["cases"].as_array().unwrap();
    assert!(cases.len() >= 48);
    for world in WORLDS {
        let server = serve(world, StoreChoice::Memory, &[]);
        for case in cases {
            let mut body = document(case["document"].as_str().unwrap());
            for edit in case["edits"].as_array().unwrap() {
                body = body.replace(edit[0].as_str().unwrap(), edit[1].as_str().unwrap());
            }
            let answer = speke(&server, case["version"].as_str(), &body);
            let name = &case["name"];
            assert_eq!(text(&answer), case["text"].as_str().unwrap(), "{name}");
            assert_eq!(answer.status, 422, "{name}");
            assert_eq!(
                answer.header("x-keylet-code"),
                Some("cpix_refused"),
                "{name}"
            );
            let content_type = answer.header("content-type");
            assert_eq!(content_type, Some("text/plain; charset=utf-8"), "{name}");
        }
        let empty = speke(&server, Some("2.0"), "");
        assert_eq!(empty.status, 422, "{empty:?}");
        server.stop();
    }
}

#[test]
fn a_request_of_speke_is_filled_and_a_device_gets_the_same_keys() {
    for world in WORLDS {
        for (name, version, header) in [
            ("speke-1.0.xml", None, "speke-user-agent"),
            ("speke-2.0.xml", Some("2.0"), "x-speke-user-agent"),
            ("speke-2.1.xml", Some("2.1"), "x-speke-user-agent"),
        ] {
            let server = serve(world, StoreChoice::Memory, &[]);
            let answer = speke(&server, version, &document(name));
            assert_eq!(answer.status, 200, "{}", text(&answer));
            assert_eq!(answer.header("x-speke-version"), version);
            assert_eq!(answer.header("content-type"), Some("application/xml"));
            assert!(answer.header(header).unwrap().starts_with("Keylet/"));
            let again = speke(&server, version, &document(name));
            assert_eq!(text(&again), text(&answer), "{name}");

            let keys = keys_of(&answer.body);
            let reply = Document::read(&answer.body).unwrap();
            for key in reply.keys().unwrap() {
                let token = viewer(json!({"keys": [key.kid.to_string()]}));
                let uri = format!("skd://{}", key.kid);
                let device = SpcOptions::new(uri.as_bytes());
                let licence = licence(&server, Some(&token), &device).unwrap();
                assert_eq!(hex::encode(licence.key), keys[&key.kid.to_string()]);
                let iv = key.iv().unwrap().map(Vec::from);
                assert_eq!(Some(licence.iv), iv, "{name}");
            }
            server.stop();
        }
    }
}

#[test]
fn a_reply_tells_players_of_each_system_where_its_key_is() {
    let server = serve(World::Wasip2, StoreChoice::Memory, &[]);
    let answer = speke(&server, Some("2.0"), &document("speke-2.0.xml"));
    let reply = text(&answer);
    let keys = keys_of(&answer.body);
    let tags = values(reply, "HLSSignalingData");
    let (media, master): (Vec<_>, Vec<_>) =
        tags.iter().partition(|tag| tag.starts_with("#EXT-X-KEY:"));
    assert_eq!((media.len(), master.len()), (9, 9));
    for (media, master) in media.iter().zip(master) {
        let attributes = media.strip_prefix("#EXT-X-KEY:").unwrap();
        assert_eq!(&format!("#EXT-X-SESSION-KEY:{attributes}"), master);
    }
    for (_, kid) in KIDS {
        let fairplay = format!(
            r#"#EXT-X-KEY:METHOD=SAMPLE-AES,URI="skd://{kid}",KEYFORMAT="com.apple.streamingkeydelivery",KEYFORMATVERSIONS="1""#
        );
        assert!(tags.contains(&fairplay), "{tags:?}");
        let kids = [Kid::from_text(kid).unwrap()];
        let scheme = Some(Scheme::Cbcs);
        let data = WidevineData {
            scheme,
            ..WidevineData::of(&kids)
        }
        .to_bytes();
        let pssh = |system: &str, data: &[u8]| {
            let system_id = Kid::from_text(system).unwrap();
            let kids = Vec::new();
            BASE64.encode(
                PsshBox {
                    system_id,
                    kids,
                    data,
                }
                .to_bytes(),
            )
        };
        let widevine = pssh("edef8ba9-79d6-4ace-a3c8-27dcd51d21ed", &data);
        let key: [u8; 16] = hex::decode(&keys[kid]).unwrap().try_into().unwrap();
        let header = PlayReadyHeader {
            keys: &[(kids[0], &Key128::from(key))],
            scheme: Scheme::Cbcs,
            license_url: None,
        };
        let object = header.to_object().unwrap();
        let playready = pssh("9a04f079-9840-4286-ab92-e65be0885f95", &object);
        let protection = values(reply, "ContentProtectionData");
        assert_eq!(protection.len(), 6, "FairPlay has none");
        for pssh in [&widevine, &playready] {
            assert!(reply.contains(&format!("<cpix:PSSH>{pssh}</cpix:PSSH>")));
            let element = format!(r#"<pssh xmlns="urn:mpeg:cenc:2013">{pssh}</pssh>"#);
            assert!(protection.iter().any(|data| data.starts_with(&element)));
        }
        let object = BASE64.encode(object);
        assert!(reply.contains(&format!("HeaderData>{object}<")));
    }
    // What SPEKE 2.1 asks for beside it, by the terms of a record.
    let (_, kid) = KIDS[1];
    let record = json!([{
        "id": kid, "kid": kid, "key": "11".repeat(16), "iv": "22".repeat(16),
        "track": "hd", "terms": {"hdcp": "type1", "min_security_level": "main"},
    }]);
    server.stop();
    let server = serve(
        World::Wasip2,
        StoreChoice::Memory,
        &[("content_keys", &record.to_string())],
    );
    let answer = speke(&server, Some("2.1"), &document("speke-2.1.xml"));
    let reply = text(&answer);
    for (part, count) in [
        (r#"HLSHDCPLevel="TYPE-1""#, 1),
        (r#"HLSHDCPLevel="NONE""#, 2),
        (r#"robustness="HW_SECURE_ALL""#, 1),
        (r#"robustness="3000""#, 1),
        ("robustness", 2),
        (
            r#"HLSAllowedCPC="com.apple.streamingkeydelivery:AppleMain/Main""#,
            1,
        ),
        ("HLSAllowedCPC", 1),
        (
            r#"start="2026-11-28T12:00:00.000Z" end="2026-11-28T13:00:00.000Z""#,
            1,
        ),
    ] {
        assert_eq!(reply.matches(part).count(), count, "{part}: {reply}");
    }
    assert_eq!(keys_of(&answer.body)[kid], "11".repeat(16));
    server.stop();
}

#[test]
fn a_store_remembers_content_and_track_of_the_kids_of_an_encoder() {
    for world in SPINS {
        let server = serve(world, StoreChoice::Memory, &stored());
        let body = document("speke-2.0.xml");
        // Two encoders at once, each in an instance of its own.
        let replies: Vec<String> = std::thread::scope(|scope| {
            let ask = || text(&speke(&server, Some("2.0"), &body)).to_owned();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
            let replies = threads.into_iter().map(|thread| thread.join().unwrap());
            replies.collect()
        });
        assert!(replies.iter().all(|reply| *reply == replies[0]));
        let keys = keys_of(replies[0].as_bytes());

        let token = viewer(json!({"keys": [CONTENT], "tracks": {"hd": false}}));
        for (track, kid) in KIDS {
            let device = SpcOptions::new(format!("skd://{kid}"));
            let licence = licence(&server, Some(&token), &device);
            if track == "HD" {
                assert_eq!(code(licence), "track_not_allowed");
                continue;
            }
            assert_eq!(hex::encode(licence.unwrap().key), keys[kid], "{track}");
        }
        let record = send(
            &server,
            by_operator("GET"),
            &format!("/keys/{}", KIDS[1].1),
            &[],
        );
        let record = &record.json()["record"];
        assert_eq!(
            (&record["content_id"], &record["track"]),
            (&json!(CONTENT), &json!("hd"))
        );

        // The record counts: another track for the same KID is another contract.
        let other = body.replace(r#"intendedTrackType="HD""#, r#"intendedTrackType="UHD""#);
        let refused = speke(&server, Some("2.0"), &other);
        assert_eq!(
            text(&refused),
            "Requested CPIX encryption contract not supported"
        );
        // An IV of the encoder's own is stored with its key.
        let mut own = document("speke-2.0.xml");
        for (index, (_, kid)) in KIDS.iter().enumerate() {
            own = own.replace(kid, &Kid::from_u128(7 + index as u128).to_string());
        }
        let iv = BASE64.encode([9; 16]);
        let own = own.replace(
            "commonEncryptionScheme",
            &format!(r#"explicitIV="{iv}" commonEncryptionScheme"#),
        );
        let answer = speke(&server, Some("2.0"), &own);
        assert_eq!(answer.status, 200, "{}", text(&answer));
        let device = SpcOptions::new(format!("skd://{}", Kid::from_u128(7)));
        let found = licence(&server, Some(&token), &device).unwrap();
        assert_eq!(found.iv, [9; 16]);
        // And another one is not that of its licences.
        let other = own.replace(&iv, &BASE64.encode([8; 16]));
        let refused = speke(&server, Some("2.0"), &other);
        assert!(
            text(&refused).contains("is not the IV of its record"),
            "{}",
            text(&refused)
        );
        server.stop();
    }
}

#[test]
fn a_contract_by_track_needs_a_store_where_rules_look_at_tracks() {
    let body = document("speke-2.0.xml");
    let refused = "Requested CPIX encryption contract not supported";
    let rules = [("fairplay_rules", "apple-defaults")];
    let server = serve(World::Wasip2, StoreChoice::Memory, &rules);
    assert_eq!(text(&speke(&server, Some("2.0"), &body)), refused);
    server.stop();
    let policies = json!([{
        "name": "viewers",
        "restriction": {"issuer": "*", "audience": "*", "jwks": jwks(&[("issuer", &ISSUER)])},
        "terms": {"tracks": {"uhd": {"hdcp": "type1"}}},
    }]);
    let policies = policies.to_string();
    let server = serve(
        World::Wasip2,
        StoreChoice::Memory,
        &[("policies", &policies)],
    );
    assert_eq!(text(&speke(&server, Some("2.0"), &body)), refused);
    server.stop();
    let changes = [("policies", policies.as_str()), stored()[0]];
    let server = serve(World::Wasip2, StoreChoice::Memory, &changes);
    let answer = speke(&server, Some("2.0"), &body);
    assert_eq!(answer.status, 200, "{}", text(&answer));
    // One key for tracks that rules tell apart.
    let [(_, sd), (_, hd), _] = KIDS;
    let mixed = body.replace(
        &format!(r#"Rule kid="{hd}""#),
        &format!(r#"Rule kid="{sd}""#),
    );
    assert_eq!(text(&speke(&server, Some("2.0"), &mixed)), refused);
    server.stop();
}

#[test]
fn only_the_operator_and_packagers_have_keys_and_each_its_own_content() {
    let basic = |password: &str| format!("Basic {}", BASE64.encode(format!("any:{password}")));
    let body = document("speke-2.0.xml");
    let ask = |server: &Server, path: &str, header: Option<(&str, &str)>, body: &str| {
        let mut request = Request::post("/").header("x-speke-version", "2.0");
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        send(server, request, path, body.as_bytes())
    };
    for world in SPINS {
        let server = serve(world, StoreChoice::Memory, &stored());
        let without = ask(&server, "/speke/copyProtection", None, &body);
        assert_eq!(
            (without.status, without.header("x-keylet-code")),
            (401, Some("packager_token"))
        );
        assert_eq!(
            without.header("www-authenticate"),
            Some(r#"Basic realm="packagers", Bearer"#)
        );
        for name in ["authorization", "x-api-key", "api-key"] {
            for secret in [OPERATOR, STUDIO] {
                let value = match name {
                    "authorization" => basic(secret),
                    _ => secret.to_owned(),
                };
                let answer = ask(
                    &server,
                    "/speke/v2.0/copyProtection",
                    Some((name, &value)),
                    &body,
                );
                assert_eq!(answer.status, 200, "{name} {}", text(&answer));
                let wrong = format!("{value}x");
                let answer = ask(
                    &server,
                    "/speke/v2/copyProtection",
                    Some((name, &wrong)),
                    &body,
                );
                assert_eq!(answer.status, 401, "{name}");
            }
        }
        let query = format!("/speke/v2.1/copyProtection?token={STUDIO}");
        assert_eq!(ask(&server, &query, None, &body).status, 200);
        let bearer = format!("Bearer {STUDIO}");
        let studio = Some(("authorization", bearer.as_str()));
        let other = body.replace(r#"contentId="movie-42""#, r#"contentId="show-1""#);
        let answer = ask(&server, "/speke/copyProtection", studio, &other);
        assert_eq!(
            (answer.status, answer.header("x-keylet-code")),
            (403, Some("content_not_allowed"))
        );
        assert_eq!(text(&answer), "this packager may not ask for this content");

        // Content of the operator's: its KIDs are no way to its keys.
        let own = other.replace(KIDS[0].1, &Kid::from_u128(1).to_string());
        let own = own.replace(KIDS[1].1, &Kid::from_u128(2).to_string());
        let own = own.replace(KIDS[2].1, &Kid::from_u128(3).to_string());
        assert_eq!(speke(&server, Some("2.0"), &own).status, 200);
        let stolen = own.replace(r#"contentId="show-1""#, r#"contentId="movie-1""#);
        let answer = ask(&server, "/speke/copyProtection", studio, &stolen);
        assert_eq!(answer.status, 403, "{}", text(&answer));
        for path in ["/cpix/show-1", "/cpix/hex:73686f77", "/cpix/movie-%2e%2e"] {
            let request = Request::get("/").header("authorization", &bearer);
            let answer = send(&server, request, path, &[]);
            let expected = if path.contains("movie") { 200 } else { 403 };
            assert_eq!(answer.status, expected, "{path}");
        }
        for path in ["/speke/v3.0/copyProtection", "/speke/v2.0/heartbeat"] {
            assert_eq!(ask(&server, path, studio, &body).status, 404, "{path}");
        }
        let heartbeat = send(&server, Request::get("/"), "/speke/v1.0/heartbeat", &[]);
        assert_eq!(heartbeat.status, 200);
        server.stop();
    }
    let denied = serve(
        World::Wasip2,
        StoreChoice::Memory,
        &[("query_tokens", "deny")],
    );
    let query = format!("/speke/copyProtection?token={STUDIO}");
    assert_eq!(ask(&denied, &query, None, &body).status, 401);
    denied.stop();
    let off = [("operator_token", ""), ("packagers", "")];
    let off = serve(World::Wasip2, StoreChoice::Memory, &off);
    for path in [
        "/speke/copyProtection",
        "/cenc/getcontentkey/a",
        "/playready/packaging",
    ] {
        assert_eq!(ask(&off, path, None, &body).status, 404, "{path}");
    }
    off.stop();
}

#[test]
fn each_request_is_in_the_audit_without_a_key() {
    let deployment = Deployment::on(Native::new(variables(&stored())));
    let ask = |path: &str, token: &str, body: &str| {
        let request = Request::post(path).header("authorization", format!("Bearer {token}"));
        let request = request.header("x-speke-version", "2.0");
        let request = request.header("x-request-id", "request-1");
        deployment.handle(request.body(body.as_bytes().to_vec()).unwrap())
    };
    let body = document("speke-2.0.xml");
    let reply = ask("/speke/copyProtection", STUDIO, &body);
    assert_eq!(reply.status(), 200);
    let mut audit = deployment.audit();
    let stages = audit.as_object_mut().unwrap().remove("stages").unwrap();
    assert!(stages["store"].as_u64() <= stages["total"].as_u64() && stages["store"].is_u64());
    let kids: Vec<&str> = KIDS.iter().map(|(_, kid)| *kid).collect();
    assert_eq!(
        audit,
        json!({
            "audit": 1, "time": audit["time"], "request_id": "request-1", "drm": "packaging", "code": "ok",
            "interface": "speke", "packager": "studio", "content": CONTENT,
            "kids": kids, "keys": 3, "stored": 3,
        })
    );
    for key in keys_of(reply.body()).values() {
        assert!(!audit.to_string().contains(key));
    }
    let other = body.replace(r#"contentId="movie-42""#, r#"contentId="show-1""#);
    ask("/speke/copyProtection", STUDIO, &other);
    let audit = deployment.audit();
    assert_eq!(
        (
            &audit["code"],
            &audit["packager"],
            &audit["content"],
            &audit["keys"]
        ),
        (
            &json!("content_not_allowed"),
            &json!("studio"),
            &json!("show-1"),
            &json!(0)
        )
    );
    ask("/speke/copyProtection", "wrong", &body);
    let audit = deployment.audit();
    assert_eq!(
        (&audit["code"], &audit["packager"]),
        (&json!("packager_token"), &Value::Null)
    );
    ask("/cenc/getcontentkey/x", "wrong", r#"{"request":"e30="}"#);
    let audit = deployment.audit();
    assert_eq!(audit["code"], "packaging_refused", "{audit}");
    let message = json!({"content_id": BASE64.encode(CONTENT), "tracks": [{"type": "SD"}, {"type": "HD"}],
        "drm_types": ["WIDEVINE"], "first_crypto_period_index": 5, "crypto_period_count": 10});
    let asked = json!({"request": BASE64.encode(message.to_string())});
    let reply = ask("/cenc/getcontentkey/x", OPERATOR, &asked.to_string());
    assert_eq!(reply.status(), 200);
    let audit = deployment.audit();
    assert_eq!(
        (
            &audit["interface"],
            &audit["packager"],
            &audit["keys"],
            &audit["periods"]
        ),
        (
            &json!("widevine"),
            &json!("operator"),
            &json!(20),
            &json!([5, 10])
        )
    );
}

/// The status and the inner document of Widevine's reply.
fn common_encryption(server: &Server, path: &str, body: &Value) -> Value {
    // As the client sends it, with a content type or without.
    let request = Request::post("/").header("content-type", "application/json");
    let answer = send(server, request, path, body.to_string().as_bytes());
    assert_eq!(answer.status, 200, "{}", text(&answer));
    let response = answer.json()["response"].as_str().unwrap().to_owned();
    serde_json::from_slice(&BASE64.decode(response).unwrap()).unwrap()
}

#[test]
fn widevines_key_request_is_answered_in_its_own_words() {
    let vectors: Value = serde_json::from_slice(&fixture("packaging/signatures.json")).unwrap();
    let message = vectors["signed"][0]["message"].as_str().unwrap();
    let path = "/cenc/getcontentkey/widevine_test";
    for world in WORLDS {
        let server = serve(world, StoreChoice::Memory, &[]);
        for signature in vectors["signed"][0]["signatures"].as_array().unwrap() {
            let asked = json!({
                "request": BASE64.encode(message), "signature": signature, "signer": "widevine_test"
            });
            let reply = common_encryption(&server, path, &asked);
            assert_eq!(reply["status"], "OK", "{reply}");
            let tracks = reply["tracks"].as_array().unwrap();
            assert_eq!(tracks.len(), 5);
            for track in tracks {
                assert_eq!(track["pssh"].as_array().unwrap().len(), 1);
                let bytes = |name: &str| BASE64.decode(track[name].as_str().unwrap()).unwrap();
                let kid = Kid::from_bytes(bytes("key_id").try_into().unwrap());
                let device = SpcOptions::new(format!("skd://{kid}"));
                let token = viewer(json!({"keys": [CONTENT], "tracks": {"uhd": false}}));
                let licence = licence(&server, Some(&token), &device);
                match track["type"].as_str().unwrap() {
                    "UHD1" | "UHD2" => assert_eq!(code(licence), "track_not_allowed"),
                    _ => assert_eq!(licence.unwrap().key.to_vec(), bytes("key")),
                }
            }
        }
        server.stop();
    }
    let server = serve(World::Wasip2, StoreChoice::Memory, &[]);
    let by_token = format!("{path}?token={OPERATOR}");
    let studio = format!("{path}?token={STUDIO}");
    let content = BASE64.encode(CONTENT);
    let tracks = json!([{"type": "SD"}, {"type": "HD"}, {"type": "AUDIO"}]);
    let whole = json!({"content_id": content, "tracks": tracks, "drm_types": ["WIDEVINE"]});
    let with = |changes: Value| {
        let mut message = whole.clone();
        message
            .as_object_mut()
            .unwrap()
            .extend(changes.as_object().unwrap().clone());
        message
            .as_object_mut()
            .unwrap()
            .retain(|_, value| !value.is_null());
        message
    };
    let ask = |path: &str, message: &Value| {
        common_encryption(
            &server,
            path,
            &json!({"request": BASE64.encode(message.to_string())}),
        )
    };
    assert_eq!(ask(&by_token, &whole)["status"], "OK");
    // The same key for the same content in each form, and one for all tracks where the packager has it so.
    let keys = |reply: &Value| -> Vec<String> {
        let tracks = reply["tracks"].as_array().unwrap().iter();
        tracks.map(|track| track["key"].to_string()).collect()
    };
    let all = keys(&ask(&by_token, &whole));
    assert_eq!(
        all.iter().collect::<std::collections::BTreeSet<_>>().len(),
        3
    );
    let one = keys(&ask(&format!("{path}?token={STUDIO}-shared"), &whole));
    assert!(one.iter().all(|key| *key == one[0]) && !all.contains(&one[0]));
    let rotated =
        with(json!({"first_crypto_period_index": u32::MAX - 1, "crypto_period_count": 4}));
    let reply = ask(&by_token, &rotated);
    let periods: Vec<u64> = reply["tracks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|track| track["crypto_period_index"].as_u64().unwrap())
        .collect();
    let last = u64::from(u32::MAX);
    assert_eq!(
        periods,
        [
            last - 1,
            last - 1,
            last - 1,
            last,
            last,
            last,
            0,
            0,
            0,
            1,
            1,
            1
        ]
    );
    assert_eq!(
        keys(&reply)
            .iter()
            .collect::<std::collections::BTreeSet<_>>()
            .len(),
        12
    );
    // A decrypting client asks with the PSSH data alone.
    let first = &ask(&by_token, &whole)["tracks"][1];
    let decrypt = json!({"pssh_data": first["pssh"][0]["data"]});
    assert_eq!(ask(&by_token, &decrypt)["tracks"][0]["key"], first["key"]);
    assert_eq!(ask(&studio, &decrypt)["status"], "ACCESS_DENIED");

    for (path, message, status) in [
        (path, whole.clone(), "SIGNATURE_FAILED"),
        (
            &studio,
            with(json!({"content_id": BASE64.encode("show-1")})),
            "ACCESS_DENIED",
        ),
        (
            &by_token,
            with(json!({"content_id": null})),
            "CONTENT_ID_MISSING",
        ),
        (
            &by_token,
            with(json!({"content_id": ""})),
            "CONTENT_ID_MISSING",
        ),
        (
            &by_token,
            with(json!({"content_id": "%"})),
            "MALFORMED_REQUEST",
        ),
        (&by_token, with(json!({"policy": "gold"})), "POLICY_UNKNOWN"),
        (&by_token, with(json!({"tracks": []})), "TRACK_TYPE_MISSING"),
        (
            &by_token,
            with(json!({"tracks": null})),
            "TRACK_TYPE_MISSING",
        ),
        (
            &by_token,
            with(json!({"tracks": [{"type": "8K"}]})),
            "TRACK_TYPE_UNKNOWN",
        ),
        (
            &by_token,
            with(json!({"protection_scheme": "XXXX"})),
            "MALFORMED_REQUEST",
        ),
        (&by_token, with(json!({"asset_id": 1})), "MALFORMED_REQUEST"),
        (
            &by_token,
            with(json!({"pssh_data": "AA=="})),
            "TOO_MANY_CONTENT_SPECIFIERS",
        ),
        (
            &by_token,
            json!({"pssh_data": "AA=="}),
            "INVALID_WIDEVINE_PSSH",
        ),
        (&by_token, json!({"pssh_data": ""}), "INVALID_WIDEVINE_PSSH"),
        (
            &by_token,
            with(json!({"first_crypto_period_index": 1})),
            "NO_REQUESTED_CRYPTO_PERIODS",
        ),
        (
            &by_token,
            with(json!({"first_crypto_period_index": 1, "crypto_period_count": 0})),
            "NO_REQUESTED_CRYPTO_PERIODS",
        ),
        (
            &by_token,
            with(json!({"first_crypto_period_index": 1, "crypto_period_count": 100_000})),
            "MALFORMED_REQUEST",
        ),
        (
            &by_token,
            with(
                json!({"first_crypto_period_index": 1, "crypto_period_count": 2, "drm_types": ["WIDEVINE", "PLAYREADY"]}),
            ),
            "KEY_ROTATION_WITH_UNSUPPORTED_DRM_TYPE",
        ),
        (&by_token, json!([]), "MALFORMED_REQUEST"),
    ] {
        let reply = ask(path, &message);
        assert_eq!(reply["status"], status, "{message} {reply}");
        assert!(reply["tracks"].is_null() && reply["status_message"].as_str().is_some());
    }
    for (body, status) in [
        (json!({}), "MALFORMED_REQUEST"),
        (json!({"request": "%%"}), "MALFORMED_REQUEST"),
        (
            json!({"request": BASE64.encode(message), "signature": "AAAA", "signer": "widevine_test"}),
            "SIGNATURE_FAILED",
        ),
        (
            json!({"request": BASE64.encode(message), "signature": vectors["signed"][0]["signatures"][0], "signer": "nobody"}),
            "SIGNATURE_FAILED",
        ),
        (
            json!({"request": BASE64.encode(whole.to_string()), "signature": vectors["signed"][0]["signatures"][0], "signer": "widevine_test"}),
            "SIGNATURE_FAILED",
        ),
    ] {
        assert_eq!(
            common_encryption(&server, path, &body)["status"],
            status,
            "{body}"
        );
    }
    server.stop();
    // Without a seed and a record there is no key, and that is said.
    let bare = [
        ("key_seed", ""),
        (
            "content_keys",
            r#"[{"id":"other","key":"000102030405060708090a0b0c0d0e0f"}]"#,
        ),
    ];
    let server = serve(World::Wasip2, StoreChoice::Memory, &bare);
    let reply = common_encryption(
        &server,
        &by_token,
        &json!({"request": BASE64.encode(whole.to_string())}),
    );
    assert_eq!(reply["status"], "ASSET_MISSING_KEY", "{reply}");
    server.stop();
}

#[test]
fn records_of_a_content_go_before_derived_keys() {
    let records = json!([
        {"id": "movie-42", "kid": Kid::from_u128(1).to_string(), "key": "11".repeat(16)},
        {"id": "movie-43/hd", "kid": Kid::from_u128(2).to_string(), "key": "22".repeat(16), "track": "hd"},
        {"id": "movie-44", "kid": Kid::from_u128(3).to_string(), "key": "33".repeat(16), "track": "sd"},
        {"id": "movie-45", "key": "44".repeat(16)},
    ]);
    let server = serve(
        World::Wasip2,
        StoreChoice::Memory,
        &[("content_keys", &records.to_string())],
    );
    let path = format!("/cenc/getcontentkey/x?token={OPERATOR}");
    let ask = |content: &str| {
        let message = json!({"content_id": BASE64.encode(content), "tracks": [{"type": "SD"}, {"type": "HD"}]});
        let reply = common_encryption(
            &server,
            &path,
            &json!({"request": BASE64.encode(message.to_string())}),
        );
        let keys = reply["tracks"].as_array().map(|tracks| {
            let keys = tracks
                .iter()
                .map(|track| hex::encode(BASE64.decode(track["key"].as_str().unwrap()).unwrap()));
            keys.collect::<Vec<_>>()
        });
        keys.ok_or(reply["status"].to_string())
    };
    assert_eq!(ask("movie-42").unwrap(), ["11".repeat(16), "11".repeat(16)]);
    let [sd, hd] = <[String; 2]>::try_from(ask("movie-43").unwrap()).unwrap();
    assert!(hd == "22".repeat(16) && sd != hd);
    let [sd, hd] = <[String; 2]>::try_from(ask("movie-44").unwrap()).unwrap();
    assert!(sd == "33".repeat(16) && sd != hd);
    assert_eq!(ask("movie-45"), Err("\"ASSET_MISSING_KEY\"".to_owned()));
    // A packager with patterns has the records of its content, by their names for tracks too.
    for (path, status) in [
        ("/cpix/movie-43?tracks=HD", 200),
        ("/cpix/movie-42?tracks=HD", 200),
        ("/cpix/other-43?tracks=HD", 403),
    ] {
        let request = Request::get("/").header("x-api-key", STUDIO);
        assert_eq!(send(&server, request, path, &[]).status, status, "{path}");
    }
    // The id that a packager may ask for is the id that is looked up, and no other reading of it.
    let hidden = format!("movie-x;{}", Kid::from_u128(1));
    assert!(!ask(&hidden).unwrap().contains(&"11".repeat(16)));
    server.stop();
}

#[test]
fn playreadys_packaging_data_has_the_key_of_the_content() {
    let envelope = |program: &str, system: &str| {
        format!(
            r#"<?xml version="1.0" encoding="utf-8"?><soap:Envelope xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/" xmlns="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body><AcquirePackagingData xmlns="http://schemas.microsoft.com/DRM/2007/03/protocols"><challenge xmlns="http://schemas.microsoft.com/DRM/2007/03/protocols/AcquirePackagingData/v1.0"><ProtectionSystems><ProtectionSystemId>{system}</ProtectionSystemId></ProtectionSystems><StreamProtectionRequests><StreamInformation><ProgramIdentifier>{program}</ProgramIdentifier><OffsetFromProgramStart>P0S</OffsetFromProgramStart></StreamInformation></StreamProtectionRequests></challenge></AcquirePackagingData></soap:Body></soap:Envelope>"#
        )
    };
    const PLAYREADY: &str = "9A04F079-9840-4286-AB92-E65BE0885F95";
    for world in WORLDS {
        let server = serve(
            world,
            StoreChoice::Memory,
            &[
                ("public_url", "https://drm.example"),
                (
                    "playready",
                    r#"{"kind":"plain","url":"https://license.example/"}"#,
                ),
            ],
        );
        let ask = |path: &str, body: &str| {
            let request = by_operator("POST").header("content-type", "text/xml; charset=UTF-8");
            send(&server, request, path, body.as_bytes())
        };
        for (path, scheme) in [
            ("/playready/packaging", Scheme::Cenc),
            ("/playready/packaging?scheme=cbcs", Scheme::Cbcs),
        ] {
            let answer = ask(path, &envelope(CONTENT, PLAYREADY));
            assert_eq!(answer.status, 200, "{}", text(&answer));
            // As shaka-packager looks for them.
            let between = |name: &str| {
                let (_, rest) = text(&answer).split_once(&format!("<{name}>")).unwrap();
                rest.split_once(&format!("</{name}>")).unwrap().0
            };
            let kid = Kid::from_text(between("KeyId")).unwrap();
            let key: [u8; 16] = BASE64
                .decode(between("KeyData"))
                .unwrap()
                .try_into()
                .unwrap();
            let object = BASE64.decode(between("Data")).unwrap();
            let header = PlayReadyHeader {
                keys: &[(kid, &Key128::from(key))],
                scheme,
                license_url: Some("https://drm.example/playready"),
            };
            assert_eq!(header.to_object().unwrap(), object);
            let token = viewer(json!({"keys": [CONTENT]}));
            let device = SpcOptions::new(format!("skd://{kid}"));
            assert_eq!(licence(&server, Some(&token), &device).unwrap().key, key);
        }
        for (body, reason) in [
            (envelope("", PLAYREADY), "`ProgramIdentifier` is empty"),
            (
                envelope(CONTENT, "edef8ba9-79d6-4ace-a3c8-27dcd51d21ed"),
                "it is not that of PlayReady",
            ),
            (
                envelope(CONTENT, PLAYREADY).replace("ProgramIdentifier", "Other"),
                "`ProgramIdentifier`: it is missing",
            ),
            ("<a>".to_owned(), "it is not well-formed XML"),
            (String::new(), "it is not well-formed XML"),
        ] {
            let answer = ask("/playready/packaging", &body);
            assert_eq!(answer.status, 400, "{body}");
            assert!(text(&answer).contains(reason), "{body} {}", text(&answer));
        }
        assert_eq!(
            ask(
                "/playready/packaging?scheme=cens",
                &envelope(CONTENT, PLAYREADY)
            )
            .status,
            400
        );
        server.stop();
    }
}

fn python(action: &str, argument: &str, input: &[u8]) -> Result<Value, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging.py");
    let process = Command::new("python3")
        .arg(script)
        .args([action, argument])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut process = process.map_err(|error| error.to_string())?;
    process.stdin.take().unwrap().write_all(input).unwrap();
    let output = process.wait_with_output().unwrap();
    match output.status.success() {
        true => Ok(serde_json::from_slice(&output.stdout).unwrap()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// Whether Python has the packages that read replies.
fn has_python(test: &str) -> bool {
    let imports = "import cpix, cryptography";
    let found = Command::new("python3")
        .args(["-W", "ignore", "-c", imports])
        .output();
    let found = found.is_ok_and(|found| found.status.success());
    if !found {
        skip("python", test, "python3 has no cpix and cryptography");
    }
    found
}

#[test]
fn pycpix_reads_replies_and_agrees_on_boxes_headers_checksums_and_keys() {
    if !has_python("pycpix") {
        return;
    }
    let server = serve(World::Wasip2, StoreChoice::Memory, &[]);
    let cbcs = document("speke-2.0.xml");
    let cenc = cbcs
        .replace("cbcs", "cenc")
        .replace(FAIRPLAY, "1077efec-c0b2-4d02-ace3-3c1e52e2fb4b");
    for body in [cbcs, cenc] {
        let answer = speke(&server, Some("2.0"), &body);
        let read = python("reply", SEED, &answer.body).unwrap();
        assert_eq!(read["keys"], json!(keys_of(&answer.body)));
        assert_eq!(read["checked"], 6);
    }
    for scheme in ["cbcs", "cenc"] {
        let path =
            format!("/cpix/movie-42?scheme={scheme}&tracks=SD,HD,AUDIO&systems=widevine,playready");
        let answer = send(&server, by_operator("GET"), &path, &[]);
        assert_eq!(answer.status, 200, "{}", text(&answer));
        let read = python("reply", SEED, &answer.body).unwrap();
        assert_eq!(read["keys"], json!(keys_of(&answer.body)));
        assert_eq!(read["checked"], 6);
    }
    server.stop();
}

#[test]
fn encrypted_delivery_opens_with_pythons_cryptography() {
    if !has_python("encrypted delivery") {
        return;
    }
    let folder = Directory::new("delivery");
    let (key, certificate) = (folder.file("key.pem"), folder.file("certificate.der"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=encoder",
            "-outform",
            "DER",
        ])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output();
    if !made.is_ok_and(|made| made.status.success()) {
        skip("openssl", "encrypted delivery", "there is no openssl");
        return;
    }
    let der = std::fs::read(&certificate).unwrap();
    let lines: Vec<String> = BASE64
        .encode(&der)
        .as_bytes()
        .chunks(64)
        .map(|line| String::from_utf8(line.to_vec()).unwrap())
        .collect();
    let list = format!(
        r#"<cpix:DeliveryDataList><cpix:DeliveryData id="d"><cpix:DeliveryKey><ds:X509Data xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:X509Certificate>{}</ds:X509Certificate></ds:X509Data></cpix:DeliveryKey></cpix:DeliveryData></cpix:DeliveryDataList><cpix:ContentKeyList>"#,
        lines.join("\n")
    );
    let digest = {
        use sha2::{Digest, Sha256};
        hex::encode(Sha256::digest(&der))
    };
    let pinned = json!([{"name": "pinned", "token": STUDIO, "certificates": [digest]}]).to_string();
    let server = serve(
        World::Wasip2,
        StoreChoice::Memory,
        &[("packagers", &pinned)],
    );
    for (name, version) in [("speke-2.0.xml", "2.0"), ("speke-2.1.xml", "2.1")] {
        let plain = document(name);
        let encrypted = plain.replace("<cpix:ContentKeyList>", &list);
        let keys = keys_of(&speke(&server, Some(version), &plain).body);
        let answer = speke(&server, Some(version), &encrypted);
        assert_eq!(answer.status, 200, "{}", text(&answer));
        let read = python("delivery", key.to_str().unwrap(), &answer.body).unwrap();
        assert_eq!(read["keys"], json!(keys));
        let algorithm = r#"DocumentKey Algorithm="#;
        assert_eq!(text(&answer).contains(algorithm), version == "2.0");
        // One altered octet of a key is found.
        let (start, rest) = text(&answer).rsplit_once("CipherValue>").unwrap();
        let (head, tail) = start.split_at(start.len() - 8);
        let other = if tail.starts_with('A') { "B" } else { "A" };
        let altered = format!("{head}{other}{}CipherValue>{rest}", &tail[1..]);
        assert!(python("delivery", key.to_str().unwrap(), altered.as_bytes()).is_err());

        // A packager whose certificate is named gets its keys no other way.
        let query = format!("token={STUDIO}");
        let message = json!({"content_id": BASE64.encode(CONTENT), "tracks": [{"type": "SD"}]});
        let message = json!({"request": BASE64.encode(message.to_string())});
        let path = format!("/cenc/getcontentkey/pinned?{query}");
        let reply = common_encryption(&server, &path, &message);
        assert_eq!(reply["status"], "ACCESS_DENIED", "{reply}");
        for (method, path) in [("POST", "/playready/packaging"), ("GET", "/cpix/movie-42")] {
            let request = Request::builder().method(method);
            let answer = send(&server, request, &format!("{path}?{query}"), b"<a/>");
            let code = answer.header("x-keylet-code");
            assert_eq!(
                (answer.status, code),
                (403, Some("certificate_not_allowed")),
                "{path}"
            );
        }
        let ask = |body: &str| {
            let request = Request::post("/").header("authorization", format!("Bearer {STUDIO}"));
            let request = request.header("x-speke-version", version);
            send(&server, request, "/speke/copyProtection", body.as_bytes())
        };
        assert_eq!(ask(&encrypted).status, 200);
        let refused = ask(&plain);
        assert_eq!(
            (refused.status, refused.header("x-keylet-code")),
            (403, Some("certificate_not_allowed"))
        );
    }
    server.stop();
}

#[test]
fn a_document_by_get_is_valid_and_its_keys_are_those_of_licences() {
    let server = serve(World::Wasip2, StoreChoice::Memory, &[]);
    let path = "/cpix/movie-42?tracks=SD,HD,UHD1,AUDIO&systems=fairplay,widevine,playready,common";
    let answer = send(&server, by_operator("GET"), path, &[]);
    assert_eq!(answer.status, 200, "{}", text(&answer));
    assert_eq!(answer.header("content-type"), Some("application/xml"));
    assert!(text(&answer).contains("multiVariant") && !text(&answer).contains("\"master\""));
    let reply = Document::read(&answer.body).unwrap();
    assert_eq!(reply.content_id(), Some(CONTENT));
    let keys = keys_of(&answer.body);
    assert_eq!(keys.len(), 4);
    let token = viewer(json!({"keys": [CONTENT]}));
    for key in reply.keys().unwrap() {
        assert!(reply.track_of(key.kid).is_some());
        let device = SpcOptions::new(format!("skd://{}", key.kid));
        let licence = licence(&server, Some(&token), &device).unwrap();
        assert_eq!(hex::encode(licence.key), keys[&key.kid.to_string()]);
    }
    // The schema is not here: it is asked for where the machine has it.
    if let Some(schema) = std::env::var_os("CPIX_SCHEMA") {
        let mut process = Command::new("xmllint")
            .args(["--noout", "--nonet", "--schema"])
            .arg(schema)
            .arg("-")
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        process
            .stdin
            .take()
            .unwrap()
            .write_all(&answer.body)
            .unwrap();
        assert!(process.wait().unwrap().success());
    }
    for (query, reason) in [
        ("scheme=cbcx", "`scheme` is not one of"),
        ("tracks=8K", "the track \\\"8K\\\" is none of"),
        ("tracks=SD,SD", "SD twice"),
        ("tracks=SD,ALL", "ALL beside others"),
        ("systems=vudu", "the system \\\"vudu\\\" is not known"),
        ("period=x", "`period` is not a number"),
        (
            "scheme=cenc&systems=fairplay",
            "non compatible with DRMSystem",
        ),
    ] {
        let answer = send(
            &server,
            by_operator("GET"),
            &format!("/cpix/movie-42?{query}"),
            &[],
        );
        assert!((400..500).contains(&answer.status), "{query}");
        assert!(text(&answer).contains(reason), "{query} {}", text(&answer));
    }
    let of_period = |period: u32| {
        let path = format!("/cpix/movie-42?period={period}");
        keys_of(&send(&server, by_operator("GET"), &path, &[]).body)
    };
    assert_ne!(of_period(1), of_period(2));
    server.stop();
}

#[test]
fn documents_that_are_cut_or_altered_are_never_an_error_of_the_server() {
    let service = keylet::service::Service::new(Native::new(variables(&stored())));
    let names = ["speke-1.0.xml", "speke-2.0.xml", "speke-2.1.xml"];
    let documents = names.map(document);
    let rounds = rounds();
    let mut chance = Chance(1);
    let mut random = move |below| chance.pick(below);
    let (mut answered, mut refused) = (0, 0);
    for round in 0..rounds {
        let which = random(3);
        let mut body = documents[which].clone().into_bytes();
        for _ in 0..=random(4) {
            let at = random(body.len());
            match random(6) {
                0 => body.truncate(at.max(1)),
                1 => body[at] ^= 1 << random(8),
                2 => drop(body.splice(at..at, b"<cpix:CPIX>".iter().copied())),
                3 => drop(body.splice(at..at, b"&#x0;&a;]]>".iter().copied())),
                4 => {
                    let end = (at + random(200)).min(body.len());
                    drop(body.drain(at..end));
                }
                _ => {
                    let end = (at + random(400)).min(body.len());
                    let part = body[at..end].to_vec();
                    body.splice(at..at, part);
                }
            }
            if body.is_empty() {
                body.push(b'<');
            }
        }
        let mut request = by_operator("POST").uri("/speke/copyProtection");
        if let Some(version) = [None, Some("2.0"), Some("2.1")][which] {
            request = request.header("x-speke-version", version);
        }
        let reply = run(service.handle(request.body(body.clone()).unwrap()));
        match reply.status().as_u16() {
            200 => {
                // What is answered can be read.
                Document::read(reply.body()).unwrap().keys().unwrap();
                answered += 1;
            }
            422 | 404 => refused += 1,
            other => panic!("round {round}: {other}: {}", String::from_utf8_lossy(&body)),
        }
    }
    println!("{answered} answered, {refused} refused");
    assert!(answered > rounds / 100 && refused > rounds / 100);
}
