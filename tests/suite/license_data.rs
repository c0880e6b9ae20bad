//! Licence data for Kaltura's players: the URL that the server makes is one that it takes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Request;
use keylet_cli::device::{Licence, Secrets, SpcOptions};
use keylet_host::{Provided, Server, World};
use serde_json::{Value, json};

use crate::dialects::Vectors;
use crate::support::{Answer, get, send, serve, spc, variables_with};
use crate::upstream::{Reply, Upstream, serve_beside};

const OPERATOR: &str = "the words of the operator, more than 32";
const PUBLIC_URL: &str = "https://drm.example/keys";

fn variables(back_end: &str) -> Provided {
    let mut variables = Vectors::for_dialect("kaltura").variables("kaltura", back_end);
    variables.insert("operator_token".to_owned(), OPERATOR.to_owned());
    variables.insert("public_url".to_owned(), format!("{PUBLIC_URL}/"));
    variables
}

fn ask(server: &Server, query: &str) -> Answer {
    let request = Request::get("/").header("authorization", format!("Bearer {OPERATOR}"));
    send(server, request, &format!("/license-data?{query}"), &[])
}

/// The code of a refusal, and its detail.
fn refusal(answer: &Answer) -> (u16, String, String) {
    let problem = answer.json();
    let text = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
    (answer.status, text("code"), text("detail"))
}

/// The path on this server of the licence URL that a player was given.
fn path_of(data: &Value) -> &str {
    let url = data["licenseUri"].as_str().unwrap();
    url.strip_prefix(PUBLIC_URL).unwrap()
}

fn device(asset: &str) -> (Vec<u8>, Secrets) {
    let options = SpcOptions::new(format!("skd://{asset}"));
    spc(&options.playing(0xf4de_e5a2).capable(0b11_1111))
}

/// Asks for a licence as Kaltura's players do: base64, of a type, behind the URL and what iOS adds to it.
fn play(server: &Server, path: &str, content_type: &str) -> (Answer, Secrets) {
    let (message, secrets) = device("movie-1");
    let request = Request::post("/").header("content-type", content_type);
    let path = format!("{path}&playSessionId=1&clientTag=playkit&referrer=YXBw");
    let answer = send(server, request, &path, STANDARD.encode(message).as_bytes());
    (answer, secrets)
}

fn opened(answer: &Answer, secrets: &Secrets) -> Licence {
    let document = answer.json();
    let ckc = STANDARD.decode(document["ckc"].as_str().unwrap()).unwrap();
    Licence::open(&ckc, secrets).unwrap()
}

#[test]
fn a_player_of_kaltura_streams_and_downloads_by_the_url_that_the_server_made() {
    let upstream = Upstream::start(|_| Reply::json(&json!({"terms": {}})));
    let server = serve_beside(
        World::Wasip2,
        &variables(&upstream.url("/rights")),
        &[upstream.origin()],
    );
    let answer = ask(&server, "entry=movie-1&flavor=0_hd,7&ks=djJ8MTIz");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let data = answer.json();
    let certificate = get(&server, "/fairplay/certificate?format=base64");
    assert_eq!(
        data["fpsCertificate"].as_str().unwrap().as_bytes(),
        certificate.body
    );
    let path = path_of(&data).to_owned();
    assert!(path.starts_with("/fairplay?custom_data="), "{path}");
    assert!(
        path.ends_with(&format!("&files={}", STANDARD.encode("0_hd,7"))),
        "{path}"
    );

    // On iOS and in a browser; the back end sees who asks for what.
    for content_type in ["application/octet-stream", "application/json"] {
        upstream.take();
        let (answer, secrets) = play(&server, &path, content_type);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(opened(&answer, &secrets).duration, None);
        assert_eq!(answer.json().get("persistence_duration"), None);
        let [question] = upstream.take().try_into().unwrap();
        let question: Value = serde_json::from_slice(question.body()).unwrap();
        let claims = json!({
            "ca_system": "OVP",
            "user_token": "djJ8MTIz",
            "account_id": 1_851_571,
            "content_id": "movie-1",
            "files": "0_hd,7",
        });
        assert_eq!(question["claims"], claims);
    }

    // The same URL, where the back end lets the viewer store the key.
    upstream
        .answer(|_| Reply::json(&json!({"terms": {"persist": true, "storage_seconds": 86_400}})));
    let (answer, secrets) = play(&server, &path, "application/octet-stream");
    assert_eq!(answer.json()["persistence_duration"], 86_400);
    assert!(opened(&answer, &secrets).duration.is_some());

    // Another account, another content, no flavour: only what was asked for is in the URL.
    let other = ask(&server, "entry_id=movie-2,movie-1&partner_id=4281523").json();
    assert!(!path_of(&other).contains("files="), "{other}");
    assert_eq!(
        play(&server, path_of(&other), "application/json").0.status,
        200
    );
    let elsewhere = ask(&server, "entry=movie-2").json();
    let (answer, _) = play(&server, path_of(&elsewhere), "application/json");
    assert_eq!(
        (answer.status, answer.header("x-keylet-code")),
        (403, Some("not_entitled"))
    );
    // Without a user token, no two messages are the same.
    assert_ne!(elsewhere, ask(&server, "entry=movie-2").json());

    let forged = path.replace("signature=", "signature=A");
    let (answer, _) = play(&server, &forged, "application/json");
    assert_eq!(
        (answer.status, answer.header("x-keylet-code")),
        (401, Some("token_signature"))
    );
    server.stop();
}

#[test]
fn licence_data_is_for_the_operator_and_says_what_it_needs() {
    let ready = variables("https://back-end.example/rights");
    let server = serve(&ready);
    for (query, detail) in [
        ("", "`entry` is missing"),
        ("entry=", "`entry` is missing"),
        ("entry=*", "no id of a key"),
        ("entry=,", "no id of a key"),
        ("entry=movie-1&flavor=*", "no id of a key"),
        ("entry=movie-1&drm=wvcenc", "only FairPlay"),
        ("entry=movie-1&certificate=other", "no credential"),
    ] {
        let (status, code, told) = refusal(&ask(&server, query));
        assert_eq!(
            (status, code.as_str()),
            (400, "request_malformed"),
            "{query}"
        );
        assert!(told.contains(detail), "{query}: {told}");
    }
    let unknown = refusal(&ask(&server, "entry=movie-1&account=7"));
    assert_eq!((unknown.0, unknown.1.as_str()), (503, "license_data_off"));
    let answer = get(&server, "/license-data?entry=movie-1");
    assert_eq!(
        (answer.status, answer.header("x-keylet-code")),
        (401, Some("operator_token"))
    );

    let policies = ready["policies"].clone();
    let without_back_end: Value = serde_json::from_str(&policies).unwrap();
    let mut without_back_end = without_back_end;
    without_back_end[0]
        .as_object_mut()
        .unwrap()
        .remove("callback");
    for (name, value, detail) in [
        ("public_url", String::new(), "`public_url`"),
        ("dialects", "native".to_owned(), "`dialects`"),
        ("query_tokens", "deny".to_owned(), "`query_tokens`"),
        ("policies", without_back_end.to_string(), "back end"),
    ] {
        let mut variables = ready.clone();
        variables.insert(name.to_owned(), value);
        let (status, code, told) = refusal(&ask(&serve(&variables), "entry=movie-1"));
        assert_eq!((status, code.as_str()), (503, "license_data_off"), "{name}");
        assert!(told.contains(detail), "{name}: {told}");
    }
    let without_operator = serve(&variables_with(&[("operator_token", "")]));
    let answer = ask(&without_operator, "entry=movie-1");
    assert_eq!(
        (answer.status, answer.header("x-keylet-code")),
        (404, Some("route_not_found"))
    );

    for url in [
        "drm.example",
        "http://drm.example",
        "https://drm.example/?a=b",
        "https://drm.example/#a",
    ] {
        let problems = crate::settings::problems(variables_with(&[("public_url", url)]));
        assert!(
            problems.concat().contains("public_url"),
            "{url}: {problems:?}"
        );
    }
}
