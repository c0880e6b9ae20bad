//! Why an issuer's keys are not there: told in the audit and in the health, and not to the viewer.

use http::Request;
use keylet::fairplay::certificate::ApplicationCertificate;
use keylet::platform::Error;
use keylet_cli::device::SpcOptions;
use keylet_cli::jwt::Signer;
use keylet_host::{Provided, World};
use rsa::PrivateKey as RsaPrivateKey;
use rsa::pkcs8::DecodePrivateKey;
use serde_json::{Value, json};

use crate::support::{fixture, get};
use crate::upstream::{
    Deployment, Reply, SPINS, Upstream, code, entitled, jwks, licence, policies, serve_beside,
    signed, variables,
};

const KEY: Signer = Signer::EdDsa([1; 32]);

/// Where the issuer of the tests in this process publishes its keys. Nobody may read the whole of it.
const URL: &str = "https://issuer.example/keys?api-key=hidden";

const FIREBASE: &str =
    "https://www.googleapis.com/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com";

fn token() -> String {
    signed(&KEY, Some("key"), &entitled())
}

fn movie() -> SpcOptions {
    SpcOptions::new("skd://movie")
}

fn good() -> Value {
    jwks(&[("key", &KEY)])
}

fn keys_at(url: &str) -> Provided {
    variables(&[("token_keys", url)])
}

fn rsa_signer() -> Signer {
    let pem = String::from_utf8(fixture("credentials/sdk26-2048.pem")).unwrap();
    Signer::Rs256(RsaPrivateKey::from_pkcs8_pem(&pem).unwrap())
}

/// The certificate of the same key, as `x5c` has it.
fn rsa_certificate() -> String {
    use base64::Engine;
    let bundle = fixture("credentials/fps_certificate.bin");
    let bundle = ApplicationCertificate::from_der(bundle).unwrap();
    let mut certificates = bundle.certificates.iter();
    let certificate = certificates.find(|one| one.bits() == 2048).unwrap();
    keylet::encoding::BASE64.encode(&certificate.der)
}

/// A kind of issuer without keys: its path, the name of the reason, and words of the sentence.
const KINDS: [(&str, &str, &str); 25] = [
    (
        "/moved",
        "redirect",
        "redirects (302) to https://login.example:8443, and redirects are not followed",
    ),
    (
        "/moved-here",
        "redirect",
        "redirects (301) to another path of its own",
    ),
    ("/forbidden", "status", "the status 403"),
    ("/broken", "status", "the status 500"),
    ("/no-content", "status", "the status 204"),
    ("/html", "page", "a page, and not with JSON"),
    ("/html-by-type", "page", "a page"),
    ("/xml", "page", "a page"),
    ("/binary", "not_text", "bytes that are not text"),
    ("/compressed", "not_text", "a compressed document"),
    ("/large", "too_large", "more than 262144 bytes"),
    ("/dropped", "no_answer", "did not answer"),
    ("/nothing", "document", "it is no JSON"),
    ("/cut-short", "document", "it is no JSON"),
    ("/other", "document", "the member `keys` is missing"),
    ("/empty", "document", "the set has no key"),
    ("/symmetric", "document", "it is symmetric"),
    ("/encryption", "document", "it is for encryption"),
    ("/x509", "document", FIREBASE),
    ("/x5c-of-no-rsa", "document", "it has only `x5c`"),
    (
        "/discovery",
        "document",
        "Give the URL that its `jwks_uri` has",
    ),
    ("/.well-known/nothing", "document", "it has no `jwks_uri`"),
    (
        "/.well-known/number",
        "document",
        "its `jwks_uri` is not text",
    ),
    (
        "/.well-known/elsewhere",
        "leads_elsewhere",
        "leads to http://issuer.example, which is not asked",
    ),
    ("/.well-known/to-a-page", "page", "a page"),
];

/// What such an issuer answers.
fn answer(request: &Request<Vec<u8>>) -> Reply {
    let host = request.headers().get("host");
    let host = host.map_or("issuer.example", |host| host.to_str().unwrap());
    let scheme = if host == "issuer.example" {
        "https"
    } else {
        "http"
    };
    let discovery = |uri: &str| Reply::json(&json!({"jwks_uri": uri}));
    let key = |key: Value| Reply::json(&json!({"keys": [key]}));
    match request.uri().path() {
        "/moved" => {
            Reply::status(302).with("location", "https://who:hidden@login.example:8443/hidden")
        }
        "/moved-here" => Reply::status(301).with("location", "/hidden"),
        "/forbidden" => Reply::status(403),
        "/broken" => Reply::status(500),
        "/no-content" => Reply::status(204),
        "/html" => Reply::text("\n<!doctype html><title>hidden</title>"),
        "/html-by-type" => Reply::text("hidden").with("content-type", "text/html; charset=utf-8"),
        "/xml" => Reply::text("<?xml version='1.0'?><hidden/>"),
        "/binary" => Reply::Whole(http::Response::new(vec![0x80, 0x81, 0x82])),
        "/compressed" => Reply::text("hidden").with("content-encoding", "gzip"),
        "/large" => Reply::text(&" ".repeat(300_000)),
        "/dropped" => Reply::Bytes(Vec::new()),
        "/nothing" => Reply::text(""),
        "/cut-short" => Reply::text(&good().to_string()[..40]),
        "/other" => Reply::json(&json!({"hidden": "hidden"})),
        "/empty" => Reply::json(&json!({"keys": []})),
        "/symmetric" => Reply::json(&jwks(&[("key", &Signer::Hs256(vec![7; 32]))])),
        "/encryption" => {
            let mut set = good();
            set["keys"][0]["use"] = "enc".into();
            Reply::json(&set)
        }
        "/x509" => Reply::json(&json!({"hidden": "-----BEGIN CERTIFICATE-----\nhidden\n"})),
        "/x5c-of-no-rsa" => key(json!({"kty": "EC", "crv": "P-256", "x5c": [rsa_certificate()]})),
        "/discovery" => discovery("https://hidden.example/keys"),
        "/.well-known/nothing" => Reply::json(&json!({"issuer": "hidden"})),
        "/.well-known/number" => Reply::json(&json!({"jwks_uri": 5})),
        "/.well-known/elsewhere" => discovery("http://issuer.example/hidden"),
        "/.well-known/to-a-page" => discovery(&format!("{scheme}://{host}/html")),
        path => panic!("nobody asks for {path}"),
    }
}

/// Whether warnings are one, with these words, and hold nothing that is hidden.
fn assert_warning(case: &str, warnings: &Value, reason: &str, words: &str) {
    let [warning] = warnings.as_array().map_or(&[][..], Vec::as_slice) else {
        panic!("{case}: {warnings}");
    };
    assert_eq!(warning["code"], "token_keys_unavailable", "{case}");
    assert_eq!(warning["variable"], "token_keys", "{case}");
    assert_eq!(warning["reason"], reason, "{case}: {warning}");
    let message = warning["message"].as_str().unwrap();
    assert!(message.contains(words), "{case}: {message}");
    assert!(!message.contains("hidden"), "{case}: {message}");
}

#[test]
fn the_health_says_why_an_issuers_keys_are_not_there_and_a_viewer_is_not_told() {
    for world in SPINS {
        let issuer = Upstream::start(answer);
        for (path, reason, words) in KINDS {
            let url = issuer.url(&format!("{path}?hidden"));
            let server = serve_beside(world, &keys_at(&url), &[issuer.origin()]);
            let health = get(&server, "/healthz");
            assert_eq!(health.status, 200, "{path}");
            let case = format!("{world:?} {path}");
            assert_warning(&case, &health.json()["warnings"], reason, words);
            let message = health.json()["warnings"][0]["message"].to_string();
            assert!(message.contains(&issuer.origin()), "{case}: {message}");
            // The licence comes within the pause: no instance asks again, and none has forgotten why.
            let asked = issuer.count();
            let refusal = licence(&server, Some(&token()), &movie())
                .map(drop)
                .unwrap_err();
            assert_eq!(refusal.code, "token_keys_unavailable", "{case}");
            let detail = "the issuer's keys are not available at present";
            assert_eq!(refusal.detail.as_deref(), Some(detail), "{case}");
            let health = get(&server, "/healthz?keys");
            assert_warning(&case, &health.json()["warnings"], reason, words);
            assert_eq!(issuer.count(), asked, "{case}");
            server.stop();
        }
    }
}

#[test]
fn an_issuer_that_the_manifest_does_not_allow_is_named_in_the_health() {
    for world in SPINS {
        let issuer = Upstream::start(|_| Reply::json(&good()));
        let server = serve_beside(world, &keys_at(&issuer.url("/keys")), &[]);
        let health = get(&server, "/healthz").json();
        let words = format!("{} was not asked", issuer.origin());
        assert_warning("denied", &health["warnings"], "not_allowed", &words);
        assert_warning(
            "denied",
            &health["warnings"],
            "not_allowed",
            "`allowed_outbound_hosts`",
        );
        assert_eq!(issuer.count(), 0);
        server.stop();
    }
}

#[test]
fn the_audit_says_why_an_issuers_keys_are_not_there() {
    for (path, _, words) in KINDS {
        // Its answers in this process are not cut at a size.
        if path == "/large" {
            continue;
        }
        let url = format!("https://issuer.example{path}?hidden");
        let mut deployment = Deployment::new(keys_at(&url));
        deployment.answer(answer);
        for _ in 0..2 {
            let asked = code(deployment.licence(Some(&token()), &movie()));
            assert_eq!(asked, "token_keys_unavailable", "{path}");
            let audit = deployment.audit();
            assert_eq!(audit["code"], "token_keys_unavailable");
            let reason = audit["reason"].as_str().unwrap();
            assert!(reason.contains(words), "{path}: {reason}");
            assert!(
                reason.contains("https://issuer.example "),
                "{path}: {reason}"
            );
            assert!(!reason.contains("hidden"), "{reason}");
            deployment.next_instance();
        }
        let asked = if path.ends_with("to-a-page") { 2 } else { 1 };
        assert_eq!(deployment.count(), asked, "{path}");
        let store = deployment.platform.store.borrow();
        let store = store.as_ref().unwrap();
        assert!(store.keys().any(|key| key.starts_with("jwks/")), "{path}");
        for (key, value) in store {
            let value = String::from_utf8_lossy(value);
            assert!(
                !key.contains("hidden") && !value.contains("hidden"),
                "{key}: {value}"
            );
        }
    }
}

#[test]
fn what_the_host_says_of_a_request_is_in_the_audit() {
    for (error, words) in [
        (
            Error::OutboundDenied(String::new()),
            "the host allows no request there",
        ),
        (
            Error::OutboundTooLarge(String::new()),
            "more than 262144 bytes",
        ),
        (
            Error::Outbound {
                authority: String::new(),
                reason: "ConnectionRefused".to_owned(),
            },
            "did not answer: ConnectionRefused",
        ),
    ] {
        let deployment = Deployment::new(keys_at(URL));
        *deployment.platform.peer.borrow_mut() = Box::new(move |_| Err(error.clone()));
        let asked = code(deployment.licence(Some(&token()), &movie()));
        assert_eq!(asked, "token_keys_unavailable", "{words}");
        let reason = deployment.audit()["reason"].to_string();
        assert!(
            reason.contains(words) && !reason.contains("hidden"),
            "{reason}"
        );
    }
}

#[test]
fn documents_with_one_meaning_are_read() {
    let text = good().to_string();
    let utf16: Vec<u8> = format!("\u{feff}{text}")
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let x5c = json!({"keys": [{"kty": "RSA", "kid": "key", "use": "sig", "x5c": [rsa_certificate(), "%"]}]});
    let both = {
        let mut set = jwks(&[("key", &rsa_signer())]);
        // The members of the key itself count.
        set["keys"][0]["x5c"] = "nonsense".into();
        set
    };
    let rsa = signed(&rsa_signer(), Some("key"), &entitled());
    for (case, path, body, token) in [
        (
            "a byte-order mark",
            "/keys",
            format!("\u{feff}{text}").into_bytes(),
            token(),
        ),
        ("UTF-16", "/keys", utf16, token()),
        (
            "a bare list",
            "/keys",
            good()["keys"].to_string().into_bytes(),
            token(),
        ),
        (
            "one key",
            "/keys",
            good()["keys"][0].to_string().into_bytes(),
            token(),
        ),
        (
            "a set where discovery is expected",
            "/.well-known/keys",
            text.into_bytes(),
            token(),
        ),
        (
            "a key in its certificate",
            "/keys",
            x5c.to_string().into_bytes(),
            rsa.clone(),
        ),
        (
            "a key beside a certificate",
            "/keys",
            both.to_string().into_bytes(),
            rsa,
        ),
    ] {
        let issuer = Upstream::start(move |_| Reply::Whole(http::Response::new(body.clone())));
        let variables = keys_at(&issuer.url(path));
        let server = serve_beside(World::Wasip2, &variables, &[issuer.origin()]);
        let answer = licence(&server, Some(&token), &movie()).map(drop);
        assert_eq!(code(answer), "ok", "{case}");
        let health = get(&server, "/healthz").json();
        assert_eq!(health.get("warnings"), None, "{case}");
        assert_eq!(issuer.count(), 1, "{case}");
        server.stop();
    }
}

#[test]
fn the_documents_of_a_bug_report_are_read_or_named() {
    let Some(faults) = crate::support::faults("the_documents_of_a_bug_report") else {
        return;
    };
    let folder = faults.join("10-keys-by-url-one-sentence");
    // A token that the key of the report, which nobody here has, did not sign.
    let token = signed(&rsa_signer(), Some("k1"), &entitled());
    for (name, expected) in [
        ("good.json", Ok(())),
        ("bom.json", Ok(())),
        ("x5c_only.json", Ok(())),
        ("x509_map.json", Err(("document", FIREBASE))),
        ("login.html", Err(("page", "a page"))),
    ] {
        let body = std::fs::read(folder.join(name)).unwrap();
        let issuer = Upstream::start(move |_| Reply::Whole(http::Response::new(body.clone())));
        let variables = keys_at(&issuer.url("/keys"));
        let server = serve_beside(World::Wasip2, &variables, &[issuer.origin()]);
        let answer = code(licence(&server, Some(&token), &movie()).map(drop));
        let warnings = get(&server, "/healthz").json()["warnings"].clone();
        match expected {
            Ok(()) => assert_eq!(
                (answer.as_str(), warnings),
                ("token_signature", Value::Null),
                "{name}"
            ),
            Err((reason, words)) => {
                assert_eq!(answer, "token_keys_unavailable", "{name}");
                assert_warning(name, &warnings, reason, words);
            }
        }
        server.stop();
    }
}

/// The health of a deployment in this process.
fn health(deployment: &Deployment, query: &str) -> Value {
    let request = Request::get(format!("/healthz{query}")).body(Vec::new());
    let reply = deployment.handle(request.unwrap());
    assert_eq!(reply.status(), 200);
    serde_json::from_slice(reply.body()).unwrap()
}

#[test]
fn the_health_asks_an_issuer_once_a_minute_at_most_and_only_while_it_has_no_keys() {
    let mut deployment = Deployment::new(keys_at(URL));
    deployment.answer(|_| Reply::status(500));
    for minute in 1..4 {
        for _ in 0..60 {
            deployment.next_instance();
            let warnings = &health(&deployment, "")["warnings"];
            assert_warning(
                "",
                warnings,
                "status",
                "https://issuer.example answered with the status 500",
            );
            assert_eq!(deployment.count(), minute);
            deployment.wait(1);
        }
    }
    deployment.answer(|_| Reply::json(&good()));
    deployment.take();
    for wait in [0, 60, 3_600, 100_000] {
        deployment.wait(wait);
        deployment.next_instance();
        assert_eq!(health(&deployment, "").get("warnings"), None);
        assert_eq!(deployment.count(), 1);
    }
    // Who wants to know now says so.
    assert_eq!(health(&deployment, "?keys").get("warnings"), None);
    assert_eq!(deployment.count(), 2);
}

#[test]
fn the_health_says_how_long_older_keys_are_used() {
    let mut deployment = Deployment::new(keys_at(URL));
    deployment.answer(|_| Reply::json(&good()));
    assert_eq!(code(deployment.licence(Some(&token()), &movie())), "ok");
    let fetched_at = deployment.platform.now.get();
    deployment.answer(|_| Reply::status(500));
    deployment.wait(300);
    deployment.next_instance();
    assert_eq!(code(deployment.licence(Some(&token()), &movie())), "ok");
    let warnings = &health(&deployment, "")["warnings"];
    assert_warning("stale", warnings, "status", "500");
    assert_eq!(warnings[0]["usable_until"], fetched_at + 300 + 24 * 60 * 60);
    deployment.wait(24 * 60 * 60);
    deployment.next_instance();
    let warnings = &health(&deployment, "")["warnings"];
    assert_warning("gone", warnings, "status", "500");
    assert_eq!(warnings[0].get("usable_until"), None);
    deployment.answer(|_| Reply::json(&good()));
    deployment.wait(60);
    deployment.next_instance();
    assert_eq!(health(&deployment, "").get("warnings"), None);
}

#[test]
fn the_health_of_a_host_without_a_store_asks_only_when_it_is_told_to() {
    let issuer = Upstream::start(|_| Reply::status(403));
    let server = serve_beside(World::Wasi, &keys_at(&issuer.url("/keys")), &[]);
    assert_eq!(get(&server, "/healthz").json().get("warnings"), None);
    assert_eq!(issuer.count(), 0);
    let health = get(&server, "/healthz?keys").json();
    assert_warning("wasi", &health["warnings"], "status", "403");
    assert_eq!(issuer.count(), 1);
    server.stop();
}

#[test]
fn each_option_whose_keys_are_not_there_is_named() {
    let option = |name: &str| {
        json!({
            "name": name,
            "restriction": {"issuer": "*", "audience": "*", "jwks_uri": format!("https://{name}.example/keys")},
            "terms": {},
        })
    };
    let deployment = Deployment::new(policies(&json!([
        option("one"),
        option("two"),
        option("three")
    ])));
    deployment.answer(|request| match request.uri().host().unwrap() {
        "two.example" => Reply::json(&good()),
        _ => Reply::text("<html>"),
    });
    let warnings = health(&deployment, "")["warnings"].clone();
    let named: Vec<_> = warnings
        .as_array()
        .unwrap()
        .iter()
        .map(|w| (&w["variable"], &w["option"]))
        .collect();
    let policies = json!("policies");
    assert_eq!(
        named,
        [(&policies, &json!("one")), (&policies, &json!("three"))]
    );
}

#[test]
fn an_entry_that_an_earlier_version_stored_is_read() {
    let mut deployment = Deployment::new(keys_at(URL));
    deployment.answer(|_| Reply::status(500));
    let stored = |deployment: &Deployment, entry: Value| {
        let mut store = deployment.platform.store.borrow_mut();
        let store = store.as_mut().unwrap();
        let (_, value) = store
            .iter_mut()
            .find(|(key, _)| key.starts_with("jwks/"))
            .unwrap();
        *value = entry.to_string().into_bytes();
    };
    assert_eq!(
        code(deployment.licence(Some(&token()), &movie())),
        "token_keys_unavailable"
    );
    let now = deployment.platform.now.get();
    let entry = |text: Option<String>| json!({"jwks": text, "fresh_until": now + 300, "attempted_at": now, "repeated_at": 0});
    stored(&deployment, entry(None));
    deployment.next_instance();
    assert_eq!(
        code(deployment.licence(Some(&token()), &movie())),
        "token_keys_unavailable"
    );
    assert!(
        deployment.audit()["reason"]
            .to_string()
            .contains("failed a moment ago")
    );
    assert_warning(
        "old",
        &health(&deployment, "")["warnings"],
        "failed",
        "a moment ago",
    );
    stored(&deployment, entry(Some(good().to_string())));
    deployment.next_instance();
    assert_eq!(code(deployment.licence(Some(&token()), &movie())), "ok");
    assert_eq!(health(&deployment, "").get("warnings"), None);
    assert_eq!(deployment.count(), 1);
}
