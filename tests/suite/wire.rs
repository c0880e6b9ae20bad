//! The wire beside single licences: envelopes, `Accept`, tokens, and what a browser may read.

use std::rc::Rc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Request;
use keylet::service::Service;
use keylet_cli::device::{Licence, SpcOptions};
use keylet_cli::fixtures::variables;
use serde_json::{Value, json};

use crate::support::{
    Answer, FIXTURE_SERVER, Native, fixture, get, in_every_world, manifest, request, run, send,
    serve, spc, token, variables_with,
};

fn post(path: &str, headers: &[(&str, &str)], token_name: &str, body: &[u8]) -> Answer {
    let mut request =
        Request::post("/").header("authorization", format!("Bearer {}", token(token_name)));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(&FIXTURE_SERVER, request, path, body)
}

fn envelope(keys: &[Value]) -> Vec<u8> {
    json!({"fairplay-streaming-request": {"version": 1, "streaming-keys": keys}})
        .to_string()
        .into_bytes()
}

fn keys(answer: &Answer) -> Vec<Value> {
    let keys = &answer.json()["fairplay-streaming-response"]["streaming-keys"];
    keys.as_array().unwrap().clone()
}

#[test]
fn each_key_of_an_envelope_succeeds_or_fails_by_itself() {
    in_every_world(|server| {
        let (one, one_secrets) = spc(&SpcOptions::new("skd://movie-1"));
        let other_id = hex::decode("aabbccddeeffaabbccddeeffaabbccddeeff").unwrap();
        let (other, other_secrets) = spc(&SpcOptions::new(other_id));
        let (unknown, _) = spc(&SpcOptions::new("skd://nobody"));
        let (stopped, _) = spc(&SpcOptions::new("skd://movie-1").playing(0x5991_bf20));
        let body = envelope(&[
            json!({"id": 1, "uri": "skd://movie-1", "spc": STANDARD.encode(one)}),
            json!({"id": "b", "uri": "skd://nobody", "spc": STANDARD.encode(unknown)}),
            json!({"id": 3, "spc": "%"}),
            json!({"id": 4, "uri": "skd://x"}),
            json!({"id": 5, "spc": STANDARD.encode(fixture("credentials/sdk4.cer"))}),
            json!({"id": 6, "spc": STANDARD.encode(other)}),
            json!({"id": 7, "spc": STANDARD.encode(stopped)}),
        ]);
        let request =
            Request::post("/").header("authorization", format!("Bearer {}", token("hs256")));
        let answer = send(server, request, "/fairplay", &body);
        assert_eq!(answer.status, 200);
        let keys = keys(&answer);
        let summary: Vec<_> = keys
            .iter()
            .map(|key| {
                (
                    &key["id"],
                    key["status"].as_i64().unwrap(),
                    key["code"].as_str(),
                )
            })
            .collect();
        assert_eq!(
            summary,
            [
                (&json!(1), 0, None),
                (&json!("b"), 404, Some("key_not_found")),
                (&json!(3), 400, Some("body_malformed")),
                (&json!(4), 400, Some("body_malformed")),
                (&json!(5), -42580, Some("spc_is_certificate")),
                (&json!(6), 0, None),
                (&json!(7), 0, None),
            ]
        );
        assert_eq!(
            (&keys[0]["uri"], &keys[1]["uri"]),
            (&json!("skd://movie-1"), &json!("skd://nobody"))
        );
        for (index, secrets) in [(0, one_secrets), (5, other_secrets)] {
            let ckc = STANDARD
                .decode(keys[index]["ckc"].as_str().unwrap())
                .unwrap();
            assert!(Licence::open(&ckc, &secrets).is_ok());
        }
        assert!(keys[6].get("ckc").is_none());
    });
}

#[test]
fn what_concerns_the_whole_request_refuses_the_whole_envelope() {
    let (spc, _) = spc(&SpcOptions::new("skd://movie-1"));
    let key = json!({"id": 1, "spc": STANDARD.encode(spc)});
    let answer = post(
        "/fairplay",
        &[],
        "expired",
        &envelope(std::slice::from_ref(&key)),
    );
    assert_eq!(
        (answer.status, answer.header("x-keylet-code")),
        (401, Some("token_expired"))
    );
    let answer = post("/fairplay", &[], "hs256", &envelope(&vec![key.clone(); 17]));
    assert_eq!(
        (answer.status, answer.header("x-keylet-code")),
        (413, Some("body_too_large"))
    );
    assert_eq!(
        keys(&post(
            "/fairplay",
            &[],
            "hs256",
            &envelope(&vec![key.clone(); 16])
        ))
        .len(),
        16
    );
    let answer = post(
        "/fairplay?format=raw",
        &[],
        "hs256",
        &envelope(&vec![key; 2]),
    );
    assert_eq!(
        (answer.status, answer.header("x-keylet-code")),
        (400, Some("format_unsupported"))
    );
}

#[test]
fn a_list_of_a_decryption_module_is_answered_with_the_list_that_it_reads() {
    let (one, secrets) = spc(&SpcOptions::new("skd://movie-1"));
    let (unknown, _) = spc(&SpcOptions::new("skd://nobody"));
    let body = json!([
        {"keyID": "AQ==", "payload": STANDARD.encode(one)},
        {"keyID": "Ag==", "payload": STANDARD.encode(unknown)},
    ]);
    let answer = post("/fairplay", &[], "hs256", body.to_string().as_bytes());
    let list = answer.json();
    assert_eq!(
        (&list[0]["keyID"], &list[1]["keyID"]),
        (&json!("AQ=="), &json!("Ag=="))
    );
    let ckc = STANDARD
        .decode(list[0]["payload"].as_str().unwrap())
        .unwrap();
    assert!(Licence::open(&ckc, &secrets).is_ok());
    assert_eq!(
        (&list[1]["error"], &list[1]["code"]),
        (&json!(404), &json!("key_not_found"))
    );
    assert!(list[1].get("payload").is_none());
}

#[test]
fn accept_chooses_the_reply_where_it_leaves_no_choice() {
    let (spc, _) = spc(&SpcOptions::new("skd://movie-1"));
    let raw = spc.clone();
    let json_body = json!({ "spc": STANDARD.encode(&spc) })
        .to_string()
        .into_bytes();
    let envelope = envelope(&[json!({"id": 1, "spc": STANDARD.encode(&spc)})]);
    for (body, accept, content_type, start) in [
        (&raw, "application/json", "application/json", "{\"ckc\""),
        (&raw, "text/plain", "text/plain", "AAAA"),
        (&raw, "text/xml", "text/plain", "<ckc>"),
        (&raw, "*/*", "application/octet-stream", "\0\0\0\x01"),
        (
            &raw,
            "application/json, text/plain, */*",
            "application/octet-stream",
            "\0\0\0\x01",
        ),
        (&raw, "application/json, */*;q=0.1", "application/json", "{"),
        (&raw, "application/json, */*; q=.2", "application/json", "{"),
        (
            &raw,
            "application/json, */*; q=0.3333",
            "application/json",
            "{",
        ),
        (
            &raw,
            "application/json;q=0, */*",
            "application/octet-stream",
            "\0\0\0\x01",
        ),
        (
            &raw,
            "application/octet-stream;q=0.003, application/json;Q=0.004, text/*;q=0",
            "application/json",
            "{",
        ),
        (&raw, "image/png", "application/octet-stream", "\0\0\0\x01"),
        (&raw, ";;q=,/", "application/octet-stream", "\0\0\0\x01"),
        (
            &json_body,
            "application/octet-stream",
            "application/octet-stream",
            "\0\0\0\x01",
        ),
        (&json_body, "application/*", "application/json", "{"),
        (
            &envelope,
            "application/json",
            "application/json",
            "{\"fairplay-streaming-response\"",
        ),
    ] {
        let answer = post("/fairplay", &[("accept", accept)], "hs256", body);
        assert_eq!(answer.status, 200, "{accept}");
        assert_eq!(
            answer.header("content-type"),
            Some(content_type),
            "{accept}"
        );
        assert!(
            answer.body.starts_with(start.as_bytes()),
            "{accept}: {:?}",
            answer.body.get(..20)
        );
    }
    let answer = post(
        "/fairplay?format=base64",
        &[("accept", "application/json")],
        "hs256",
        &raw,
    );
    assert_eq!(
        answer.header("content-type"),
        Some("text/plain"),
        "the query wins"
    );
}

#[test]
fn apps_are_told_when_a_licence_ends() {
    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let ask = |name: &str, token: &str, path: &str| {
        post(path, &[], token, &fixture(&format!("spc/terms-{name}.bin")))
    };
    let about = |actual: u64, seconds: u64| actual.abs_diff(now + seconds) < 60;

    let lease = ask("lease", "lease", "/fairplay?format=json");
    let document = lease.json();
    let seconds = 120;
    assert!(
        about(document["expires_at"].as_u64().unwrap(), seconds),
        "{document}"
    );
    assert_eq!(document["renew_after"], seconds * 2 / 3);
    assert!(document.get("persistence_duration").is_none());
    let raw = ask("lease", "lease", "/fairplay");
    assert!(about(
        raw.header("x-keylet-expires-at").unwrap().parse().unwrap(),
        seconds
    ));
    assert_eq!(raw.header("x-keylet-renew-after"), Some("80"));
    let key = &keys(&ask("lease", "lease", "/fairplay?format=envelope"))[0];
    assert!(about(key["lease-expiry-time"].as_u64().unwrap(), seconds));
    assert_eq!(key["renew-after"], 80);

    let rental = ask("rental", "rental", "/fairplay?format=json").json();
    assert!(rental["expires_at"].as_u64().unwrap() > now && rental.get("renew_after").is_none());
    let stored = ask(
        "persist-storage",
        "persist-storage",
        "/fairplay?format=json",
    )
    .json();
    let storage = stored["persistence_duration"].as_u64().unwrap();
    assert!(about(stored["expires_at"].as_u64().unwrap(), storage));
    let unlimited = post(
        "/fairplay?format=json",
        &[],
        "hs256",
        &fixture("spc/v1.bin"),
    )
    .json();
    assert!(
        unlimited.get("expires_at").is_none() && unlimited.get("persistence_duration").is_none()
    );
}

#[test]
fn what_is_no_spc_is_told_with_what_to_change_in_the_player() {
    let advice = |body: &[u8]| {
        let problem = post("/fairplay", &[], "hs256", body).json();
        problem["detail"].as_str().unwrap().to_owned()
    };
    assert!(advice(&fixture("credentials/sdk4.cer")).contains("send what that answers"));
    assert!(advice(b"skd://movie-1").contains("`message` event"));
    let hash = advice(&fixture("spc/bad-certificate.bin"));
    let known =
        get(&FIXTURE_SERVER, "/healthz").json()["fairplay"][0]["certificates"][0]["sha1"].clone();
    assert!(hash.contains(known.as_str().unwrap()) && hash.contains("fetch its certificate"));
    // Version 3 names certificates by SHA-256: the hash comes after the wrapped key.
    let mut spc = fixture("spc/v3.bin");
    spc[24 + 256] ^= 1;
    let hash = advice(&spc);
    let known =
        get(&FIXTURE_SERVER, "/healthz").json()["fairplay"][0]["certificates"][0]["sha256"].clone();
    assert!(hash.contains(known.as_str().unwrap()));
}

#[test]
fn what_a_request_says_beside_the_spc_reaches_no_other_key() {
    let (spc, secrets) = spc(&SpcOptions::new("skd://movie-1"));
    let other = "aabbccddeeffaabbccddeeffaabbccddeeff";
    let body =
        json!({"assetId": other, "contentId": other, "uri": other, "spc": STANDARD.encode(&spc)});
    let path = format!("/fairplay?kid={other}&contentId={other}&format=raw");
    let answer = post(
        &path,
        &[("kid", other)],
        "hs256",
        body.to_string().as_bytes(),
    );
    let licence = Licence::open(&answer.body, &secrets).unwrap();
    assert_eq!(hex::encode(licence.key), "00112233445566778899aabbccddeeff");
}

#[test]
fn a_plus_at_the_end_of_a_form_is_not_lost() {
    let base64 = loop {
        let base64 = STANDARD.encode(spc(&SpcOptions::new("skd://movie-1")).0);
        if base64.ends_with('+') {
            break base64;
        }
    };
    let spaces = base64.replace('+', " ");
    for body in [
        format!("spc={base64}"),
        format!("spc={base64}\r\n"),
        format!("spc={base64}&assetId=movie-1"),
        format!("spc={spaces}"),
        format!("spc={spaces}\n"),
        format!("assetId=movie-1&spc={spaces}"),
        format!("spc={} ", base64.replace('+', "%2B")),
    ] {
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let answer = post("/fairplay", &headers, "hs256", body.as_bytes());
        let code = answer.header("x-keylet-code");
        assert_eq!(
            (answer.status, code),
            (200, None),
            "…{:?}",
            &body[body.len() - 20..]
        );
    }
}

#[test]
fn query_tokens_can_be_switched_off() {
    let server = serve(&variables_with(&[("query_tokens", "deny")]));
    let spc = fixture("spc/v1.bin");
    let path = format!("/fairplay?token={}", token("hs256"));
    let answer = send(&server, Request::post("/"), &path, &spc);
    assert_eq!(
        (answer.status, answer.header("x-keylet-code")),
        (401, Some("token_in_query"))
    );
    let request = || Request::post("/").header("x-axdrm-message", token("hs256"));
    let other = format!("/fairplay?token={}", token("lease"));
    assert_eq!(send(&server, request(), &other, &spc).status, 200);
    server.stop();
}

#[test]
fn two_different_tokens_are_refused_wherever_they_are() {
    let spc = STANDARD.encode(fixture("spc/v1.bin"));
    let lease = token("lease");
    let in_body = json!({"spc": spc, "token": lease}).to_string();
    for (path, headers, body) in [
        (format!("/fairplay?token={lease}"), vec![], spc.as_str()),
        (
            "/fairplay".into(),
            vec![("x-vudrm-token", lease.as_str())],
            spc.as_str(),
        ),
        ("/fairplay".into(), vec![], in_body.as_str()),
    ] {
        let answer = post(&path, &headers, "hs256", body.as_bytes());
        assert_eq!(
            (answer.status, answer.header("x-keylet-code")),
            (400, Some("token_ambiguous"))
        );
    }
}

/// Every case of the manifest, in a process whose log can be read.
#[test]
fn no_token_reaches_the_log_from_any_place() {
    let platform = Native::new(variables());
    let log = Rc::clone(&platform.log);
    let service = Service::new(platform);
    let token = token("hs256");
    let signature = token.rsplit('.').next().unwrap();
    let mut with_token = 0;
    for case in manifest()
        .cases
        .iter()
        .filter(|case| case.headers.is_some())
    {
        let (head, path, body) = request(case);
        let reply = run(service.handle(head.uri(path).body(body).unwrap()));
        assert!(
            !String::from_utf8_lossy(reply.body()).contains(signature),
            "{}",
            case.name
        );
        with_token += 1;
    }
    assert!(with_token > 20);
    let log = log.borrow().join("\n");
    assert!(log.lines().count() >= with_token && !log.contains(signature));
}

#[test]
fn preflights_allow_every_header_in_which_tokens_travel() {
    let headers = "authorization, x-axdrm-message, x-dt-auth-token, x-dt-custom-data, dt-custom-data, \
                   pallycon-customdata-v2, nv-authorizations, customdata, x-keyos-authorization, x-vudrm-token, \
                   x-drm-usertoken, x-drm-token, conax-custom-data, content-type";
    for path in ["/fairplay", "/license", "/fairplay/check-in"] {
        let preflight = |request: http::request::Builder| {
            let request = request.header("origin", "https://player.example");
            let answer = send(&FIXTURE_SERVER, request, path, &[]);
            answer
                .header("access-control-allow-headers")
                .unwrap()
                .to_owned()
        };
        let asked = Request::options("/").header("access-control-request-headers", headers);
        assert_eq!(preflight(asked), headers);
        let unasked = preflight(Request::options("/"));
        for header in headers.split(", ") {
            assert!(
                unasked.split(", ").any(|allowed| allowed == header),
                "{header}"
            );
        }
    }
    let answer = post(
        "/fairplay",
        &[("origin", "https://player.example")],
        "hs256",
        &fixture("spc/v1.bin"),
    );
    let exposed = answer.header("access-control-expose-headers").unwrap();
    for header in [
        "x-keylet-code",
        "x-request-id",
        "x-keylet-expires-at",
        "x-keylet-renew-after",
    ] {
        assert!(exposed.contains(header));
    }
}

#[test]
fn certificates_come_in_every_form_and_are_kept_by_their_tag() {
    let der = fixture("credentials/sdk4.cer");
    let bundle = fixture("credentials/fps_certificate.bin");
    in_every_world(|server| {
        let ask = |path: &str, known: &str| {
            let request = Request::get("/").header("if-none-match", known);
            send(server, request, path, &[])
        };
        let base64 = get(server, "/fairplay/certificate?format=base64");
        assert_eq!(base64.header("content-type"), Some("text/plain"));
        assert_eq!(STANDARD.decode(&base64.body).unwrap(), der);
        let json = get(server, "/fairplay/certificate/default?format=json").json();
        assert_eq!(
            STANDARD
                .decode(json["certificate"].as_str().unwrap())
                .unwrap(),
            der
        );
        assert_eq!(json["certificate"], json["Certificate"]);
        let pem = get(server, "/fairplay/certificate/sdk26?format=pem");
        let pem = String::from_utf8(pem.body).unwrap();
        let blocks = keylet::encoding::pem(&pem).unwrap();
        let joined: Vec<u8> = blocks.iter().flat_map(|block| block.der.to_vec()).collect();
        assert_eq!((blocks.len(), joined), (2, bundle.clone()));
        let answer = get(server, "/fairplay/certificate?format=p12");
        assert_eq!(
            (answer.status, answer.header("x-keylet-code")),
            (400, Some("format_unsupported"))
        );

        let tag = get(server, "/fairplay/certificate")
            .header("etag")
            .unwrap()
            .to_owned();
        for known in [tag.clone(), format!("\"x\", W/{tag}"), "*".into()] {
            let answer = ask("/fairplay/certificate", &known);
            assert_eq!((answer.status, answer.body.len()), (304, 0), "{known}");
            assert_eq!(answer.header("etag"), Some(tag.as_str()));
        }
        assert_eq!(ask("/fairplay/certificate", "\"x\"").status, 200);
        assert_eq!(ask("/fairplay/certificate?format=base64", &tag).status, 200);
    });
}
