//! What operators see: an SPC explained, and the audit record.

use std::rc::Rc;

use http::Request;
use keylet::fairplay::tag::Tag;
use keylet::service::Service;
use keylet_cli::device::SpcOptions;
use keylet_cli::fixtures::variables;
use keylet_host::Server;
use serde_json::{Value, json};

use crate::support::{Answer, Native, fixture, run, send, serve, spc, token, variables_with};

const OPERATOR: &str = "an operator of this server, and nobody else";
const SECRET: &str = "a secret of this server, 32 bytes long or more";

fn inspect(server: &Server, bearer: &str, spc: &[u8]) -> Answer {
    let request = Request::post("/").header("authorization", format!("Bearer {bearer}"));
    send(server, request, "/fairplay/inspect", spc)
}

fn device() -> SpcOptions {
    let identity = [
        &1_u32.to_be_bytes()[..],
        &2_u32.to_be_bytes(),
        &[1; 8],
        &[2; 8],
        &[0, 3, 1, 0],
        &[0, 4, 0, 0],
        &[0, 17, 2, 1],
    ]
    .concat();
    SpcOptions {
        hu: Some([9; 20]),
        ..SpcOptions::new("skd://movie-1")
    }
    .with(Tag::DEVICE_IDENTITY, identity)
    .with(Tag(0x0123_4567_89ab_cdef), [7, 7])
    .playing(0xf4de_e5a2)
    .capable(0b1011)
}

#[test]
fn every_block_of_an_spc_is_explained_to_the_operator() {
    let server = serve(&variables_with(&[
        ("operator_token", OPERATOR),
        ("server_secret", SECRET),
    ]));
    let (message, secrets) = spc(&device());
    let answer = inspect(&server, OPERATOR, &message);
    assert_eq!(answer.status, 200);
    let document = answer.json();
    assert_eq!(document["integrity"], "confirmed");
    assert_eq!(document["device_id"], "aba192853abd9bcc3ed6faf04fe64605");
    let spc = &document["spc"];
    assert_eq!(
        [
            &spc["spc_version"],
            &spc["credential"],
            &spc["asset_id"],
            &spc["device_class"],
            &spc["os"]
        ],
        [
            &json!(1),
            &json!("default"),
            &json!("movie-1"),
            &json!("mobile"),
            &json!("17.2.1")
        ]
    );
    let block = |name: &str| {
        let blocks = spc["tllvs"].as_array().unwrap().iter();
        let mut named = blocks.filter(|block| block["name"] == name);
        named.next().unwrap().clone()
    };
    assert_eq!(
        block("capabilities")["meaning"],
        json!(["hdcp_type1", "offline_key", "offline_key_v2"])
    );
    assert_eq!(block("media playback state")["meaning"]["state"], "first");
    assert_eq!(block("device identity")["meaning"]["fps_ree"], "00030100");
    assert_eq!(block("asset id")["returned"], true);
    let unknown = spc["tllvs"].as_array().unwrap().iter();
    let unknown: Vec<&Value> = unknown
        .filter(|block| block["tag"] == "0123456789abcdef")
        .collect();
    assert_eq!(
        (&unknown[0]["value"], &unknown[0]["name"]),
        (&json!("0707"), &Value::Null)
    );

    let text = String::from_utf8(answer.body).unwrap();
    for secret in [&secrets.session_key, &secrets.r1, &vec![9; 20]] {
        assert!(
            !text.contains(&hex::encode(secret)),
            "what [SK..R1] protects is told"
        );
    }
    server.stop();
}

#[test]
fn an_spc_that_is_not_whole_is_explained_as_far_as_it_can_be() {
    let server = serve(&variables_with(&[("operator_token", OPERATOR)]));
    let document = inspect(&server, OPERATOR, &fixture("spc/bad-ask.bin")).json();
    assert_eq!(document["integrity"], "the integrity values do not match");
    assert!(document["spc"]["tllvs"].as_array().unwrap().len() > 5);
    server.stop();
}

#[test]
fn inspection_is_the_operators_and_does_not_exist_without_one() {
    let server = serve(&variables_with(&[("operator_token", OPERATOR)]));
    let spc = fixture("spc/v1.bin");
    for bearer in [
        "another operator, who is none of this server",
        "",
        &token("hs256"),
    ] {
        let answer = inspect(&server, bearer, &spc);
        assert_eq!(
            (answer.status, answer.header("x-keylet-code")),
            (401, Some("operator_token"))
        );
    }
    server.stop();

    let server = serve(&variables());
    assert_eq!(
        inspect(&server, OPERATOR, &spc).header("x-keylet-code"),
        Some("route_not_found")
    );
    server.stop();
}

/// Answers a request in this process, and returns the audit record that it left.
fn audited(changes: &[(&str, &str)], name: &str, spc: &[u8]) -> (Value, String) {
    let platform = Native::new(variables_with(changes));
    let log = Rc::clone(&platform.log);
    let service = Service::new(platform);
    let request = Request::post("/fairplay")
        .header("authorization", format!("Bearer {}", token(name)))
        .header("x-request-id", "request-1")
        .body(spc.to_vec())
        .unwrap();
    run(service.handle(request));
    let lines = log.borrow();
    let [line] = lines.as_slice() else {
        panic!("{} lines for one decision", lines.len());
    };
    (serde_json::from_str(line).unwrap(), line.clone())
}

#[test]
fn the_audit_record_says_who_what_and_on_which_terms() {
    let (message, secrets) = spc(&device());
    let (mut record, line) = audited(&[("server_secret", SECRET)], "lease", &message);
    let stages = record.as_object_mut().unwrap().remove("stages").unwrap();
    assert!(stages["variables"].as_u64() <= stages["total"].as_u64() && stages["total"].is_u64());
    assert_eq!(
        record,
        json!({
            "audit": 1,
            "time": 1_800_000_000,
            "request_id": "request-1",
            "drm": "fairplay",
            "code": "ok",
            "subject": "121377aa17374deb6616283e795ff195",
            "token": "2fca44099a0af5271b326e175e5a31e5",
            "asset": "movie-1",
            "key": "movie-1",
            "policy": "default",
            "spc_version": 1,
            "credential": "default",
            "rsa": "crate",
            "device": {
                "id": "aba192853abd9bcc3ed6faf04fe64605",
                "class": "mobile",
                "os": "17.2.1",
                "fps": ["00030100", "00040000"],
                "capabilities": ["hdcp_type1", "offline_key", "offline_key_v2"],
            },
            "playback": {"session": "0707070707070707", "state": "first"},
            "granted": {"lease_seconds": 120},
        })
    );
    let token = token("lease");
    let signature = token.rsplit('.').next().unwrap();
    for secret in [
        hex::encode(&secrets.r1),
        hex::encode(&secrets.session_key),
        hex::encode([9; 20]),
        "00112233445566778899aabbccddeeff".to_owned(),
        signature.to_owned(),
        "viewer-1".to_owned(),
    ] {
        assert!(!line.contains(&secret), "{secret}");
    }
}

#[test]
fn the_audit_record_says_why_there_is_no_licence() {
    let refused = |name, file: &str| audited(&[], name, &fixture(&format!("spc/{file}.bin"))).0;
    let record = refused("expired", "v1");
    assert_eq!(
        [&record["code"], &record["reason"]],
        [
            &json!("token_expired"),
            &json!("the token expired at 1700000000")
        ]
    );
    assert_eq!(
        record["subject"],
        Value::Null,
        "nothing is believed of such a token"
    );
    let record = refused("hs256", "refused-no-key");
    assert_eq!(record["code"], "key_not_found");
    assert!(record["asset"].is_string() && record["key"].is_null());
    let record = refused("hdcp-type1", "v1");
    assert_eq!(
        [&record["code"], &record["fps_status"], &record["granted"]],
        [
            &json!("device_hdcp_unsupported"),
            &json!(-42604),
            &Value::Null
        ]
    );
}

#[test]
fn a_token_is_told_by_a_pseudonym_that_is_the_same_each_time() {
    let told = |changes: &[(&str, &str)], name: &str| {
        let (record, _) = audited(changes, name, &spc(&device()).0);
        record
            .get("token")
            .map(|token| token.as_str().unwrap().to_owned())
    };
    let secret = [("server_secret", SECRET)];
    let first = told(&secret, "lease").unwrap();
    assert_eq!(first.len(), 32);
    assert_eq!(told(&secret, "lease").unwrap(), first);
    // Another token of the same viewer.
    assert_ne!(told(&secret, "hs256").unwrap(), first);
    let other = [("server_secret", "another secret, which is long enough")];
    assert_ne!(told(&other, "lease").unwrap(), first);
    // Neither without a secret nor of a token that is not accepted.
    assert_eq!(told(&[], "lease"), None);
    assert_eq!(told(&secret, "expired"), None);
}

#[test]
fn the_audit_record_is_documented_member_by_member() {
    let page = include_str!("../../docs/audit.md");
    let (record, _) = audited(&[("server_secret", SECRET)], "lease", &spc(&device()).0);
    let mut members: Vec<String> = record.as_object().unwrap().keys().cloned().collect();
    for object in ["device", "playback", "granted", "stages"] {
        let inner = record[object].as_object().unwrap().keys();
        members.extend(inner.map(|member| format!("{object}.{member}")));
    }
    for member in members {
        assert!(page.contains(&format!("| `{member}` |")), "{member}");
    }
}
