//! Keys that an issuer publishes, as the commands see them: what is wrong is named, and an issuer is asked once.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use keylet_cli::fixtures::variables;
use keylet_cli::jwt::Signer;
use keylet_host::Provided;
use serde_json::{Value, json};

use crate::credentials::{configured, keylet};
use crate::doctor::Deployment;
use crate::support::{Directory, free_port, serve, serve_to};
use crate::terminal::answering;

const KEY: Signer = Signer::EdDsa([7; 32]);

/// An issuer that answers everything so: the head without `HTTP/1.1 `, and the body. With how often it was asked.
fn issuer(head: &str, body: &[u8]) -> (String, Arc<AtomicUsize>) {
    let (head, body) = (head.to_owned(), body.to_vec());
    let count = Arc::new(AtomicUsize::new(0));
    let asked = Arc::clone(&count);
    let url = answering(move |_| {
        asked.fetch_add(1, Ordering::Relaxed);
        (head.clone(), body.clone())
    });
    (format!("{url}/keys?hidden"), count)
}

fn good() -> Vec<u8> {
    json!({"keys": [KEY.jwk("k").unwrap()]})
        .to_string()
        .into_bytes()
}

fn token(kid: &str) -> String {
    let claims =
        json!({"iss": "i", "aud": "a", "exp": 4_000_000_000_u64, "entitlements": [{"keys": "*"}]});
    let mut rng = keylet_cli::random::system();
    KEY.token(Some(kid), &claims, &mut rng).unwrap()
}

/// What verifies tokens with keys at a URL.
fn keys_at(url: &str) -> [(&'static str, String); 3] {
    [
        ("token_keys", url.to_owned()),
        ("token_issuer", "i".to_owned()),
        ("token_audience", "a".to_owned()),
    ]
}

fn with_keys_at(variables: &Provided, url: &str) -> Provided {
    let mut variables = variables.clone();
    variables.extend(keys_at(url).map(|(name, value)| (name.to_owned(), value)));
    variables
}

fn read(output: &Output) -> Value {
    let said = [&output.stdout[..], &output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(!said.contains("hidden"), "{said}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{said}"))
}

/// The findings of a check that hold some words, by severity.
fn found<'r>(report: &'r Value, check: &str, words: &str) -> Vec<&'r str> {
    let findings = report["findings"].as_array().unwrap().iter();
    let is_it = |finding: &&Value| {
        finding["check"] == check && finding["what"].as_str().unwrap().contains(words)
    };
    findings
        .filter(is_it)
        .map(|finding| finding["severity"].as_str().unwrap())
        .collect()
}

#[test]
fn the_doctor_asks_an_issuer_once_in_a_run() {
    let deployment = Deployment::new("published-once");
    for (head, body, kid, code) in [
        ("200 OK", good(), Some("k"), 0),
        ("200 OK", good(), Some("unknown"), 1),
        ("200 OK", good(), None, 0),
        ("500 Broken", Vec::new(), Some("k"), 1),
        ("500 Broken", Vec::new(), None, 1),
    ] {
        let (url, count) = issuer(head, &body);
        let variables = with_keys_at(&deployment.variables, &url);
        let token = kid.map(token);
        let environment = token.as_deref().map(|token| ("KEYLET_TOKEN", token));
        let environment: Vec<_> = environment.into_iter().collect();
        let output = configured(
            deployment.here(),
            &["doctor", "--json"],
            &variables,
            &environment,
        );
        let report = read(&output);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{head} {kid:?} {report:#}"
        );
        assert_eq!(
            count.load(Ordering::Relaxed),
            1,
            "{head} {kid:?} {report:#}"
        );
        let problems = found(&report, "token_keys", "answered with the status 500");
        let expected: &[&str] = if head == "200 OK" { &[] } else { &["error"] };
        assert_eq!(problems, expected, "{head} {kid:?} {report:#}");
    }
}

#[test]
fn doctor_and_explain_say_what_is_wrong_with_keys_by_url() {
    let deployment = Deployment::new("published-kinds");
    let mut kinds: Vec<(&str, Vec<u8>, &str)> = vec![
        (
            "302 Found\r\nlocation: https://login.example/hidden",
            Vec::new(),
            "redirects (302) to https://login.example,",
        ),
        ("403 Forbidden", Vec::new(), "the status 403"),
        ("200 OK", b"<html>hidden</html>".to_vec(), "a page"),
        ("200 OK", vec![b' '; 300_000], "more than 262144 bytes"),
        ("200 OK", br#"{"keys":[]}"#.to_vec(), "the set has no key"),
        (
            "200 OK",
            br#"{"hidden":"-----BEGIN CERTIFICATE-----"}"#.to_vec(),
            "service_accounts/v1/jwk/securetoken@",
        ),
        ("200 OK", b"\x80\x81\x82".to_vec(), "not text"),
    ];
    if let Some(folder) = crate::faults::fault("10-keys-by-url-one-sentence", "doctor_and_explain")
    {
        let file = |name| std::fs::read(folder.join(name)).unwrap();
        kinds.push(("200 OK", file("login.html"), "a page"));
        kinds.push((
            "200 OK",
            file("x509_map.json"),
            "service_accounts/v1/jwk/securetoken@",
        ));
        // These are read, and did not sign the token.
        for name in ["good.json", "bom.json", "x5c_only.json"] {
            kinds.push(("200 OK", file(name), ""));
        }
    }
    let token = token("k");
    for (head, body, words) in kinds {
        let (url, _) = issuer(head, &body);
        let variables = with_keys_at(&deployment.variables, &url);
        let run = |arguments: &[&str]| {
            let output = configured(
                deployment.here(),
                arguments,
                &variables,
                &[("KEYLET_TOKEN", &token)],
            );
            (output.status.code(), read(&output))
        };
        let (code, report) = run(&["doctor", "--json"]);
        assert_eq!(code, Some(1), "{report:#}");
        let (code, explained) = run(&["token", "explain", "--json"]);
        assert_eq!(code, Some(1), "{explained:#}");
        if words.is_empty() {
            assert!(found(&report, "token_keys", "").is_empty(), "{report:#}");
            assert_eq!(
                explained["refused"]["code"], "token_key_unknown",
                "{explained:#}"
            );
            continue;
        }
        assert_eq!(
            found(&report, "token_keys", words),
            ["error"],
            "{words} {report:#}"
        );
        assert_eq!(
            found(&report, "token", words).first(),
            Some(&"error"),
            "{words} {report:#}"
        );
        for part in ["signed_by", "policy", "refused"] {
            assert_eq!(explained[part]["code"], "token_keys_unavailable");
            let reason = explained[part]["reason"].as_str().unwrap();
            assert!(
                reason.contains(words) && reason.contains("127.0.0.1"),
                "{part}: {reason}"
            );
        }
    }
    // Nobody listens there. The server may have another way to its issuer than this machine.
    let url = format!("http://127.0.0.1:{}/keys", free_port());
    let variables = with_keys_at(&deployment.variables, &url);
    let report = configured(deployment.here(), &["doctor", "--json"], &variables, &[]);
    let report = read(&report);
    assert_eq!(
        found(&report, "token_keys", "did not answer"),
        ["warning"],
        "{report:#}"
    );
}

#[test]
fn a_server_whose_manifest_allows_no_host_is_told_so_from_outside() {
    let directory = Directory::new("published-denied");
    let (issuer, count) = issuer("200 OK", &good());
    let port = free_port();
    let _server = serve(port, &["--in-memory"], &with_keys_at(&variables(), &issuer));
    let url = format!("http://127.0.0.1:{port}");
    let health = keylet(&directory.0, &["health", &url], &[]);
    let said = String::from_utf8(health.stdout).unwrap();
    assert_eq!(health.status.code(), Some(0), "{said}");
    assert!(
        said.starts_with("healthy\n") && said.contains("warning: token_keys: http://127.0.0.1:"),
        "{said}"
    );
    let report = keylet(
        &directory.0,
        &["doctor", "--json", "--development", "--url", &url],
        &[],
    );
    let report = read(&report);
    assert_eq!(
        found(&report, "token_keys", "the host allows no request there"),
        ["error"],
        "{report:#}"
    );
    assert_eq!(count.load(Ordering::Relaxed), 0);
}

#[test]
fn the_audit_of_a_server_says_why_an_issuers_keys_are_not_there() {
    let (issuer, _) = issuer("200 OK", b"<html>hidden</html>");
    let variables = with_keys_at(&variables(), &issuer);
    let spc = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/spc/v1.bin");
    let spc = std::fs::read(spc).unwrap();
    for (world, words) in [
        ("wasip2", "the host allows no request there"),
        ("wasi", "a page"),
    ] {
        let port = free_port();
        let arguments = ["--world", world, "--in-memory"];
        let mut server = serve_to(port, &arguments, &variables, Stdio::piped());
        let mut audit = BufReader::new(server.0.stdout.take().unwrap());
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build()
            .into();
        let request = agent
            .post(format!("http://127.0.0.1:{port}/fairplay"))
            .header("authorization", format!("Bearer {}", token("k")));
        let mut answer = request.send(&spc).unwrap();
        assert_eq!(answer.status(), 503);
        let answer = answer.body_mut().read_to_string().unwrap();
        assert!(
            !answer.contains(words) && !answer.contains("127.0.0.1"),
            "{answer}"
        );
        let mut line = String::new();
        audit.read_line(&mut line).unwrap();
        let record: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(record["code"], "token_keys_unavailable");
        let reason = record["reason"].as_str().unwrap();
        assert!(
            reason.contains("http://127.0.0.1:") && reason.contains(words),
            "{reason}"
        );
        assert!(!reason.contains("hidden"), "{reason}");
    }
}
