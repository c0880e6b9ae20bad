//! `keylet license` as a pipeline runs it.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;
use std::time::Duration;

use keylet_cli::built_in;
use keylet_cli::client::{Client, Exchange};
use keylet_cli::device::{SpcOptions, oldest_version, read_certificate};
use keylet_cli::fixtures::{sdk4, variables};
use keylet_cli::wire::{self, Form};
use keylet_host::{Server, World};
use serde_json::{Value, json};

use crate::support::{Directory, free_port};

const KEY: &str = "00112233445566778899aabbccddeeff";

static SERVER: LazyLock<Server> = LazyLock::new(|| {
    let application = built_in(World::Wasip2, variables()).unwrap();
    Server::start(application, &keylet_e2e::quiet()).unwrap()
});

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures")
        .join(name)
}

fn token(name: &str) -> String {
    let tokens = std::fs::read(fixture("tokens.json")).unwrap();
    let tokens: Value = serde_json::from_slice(&tokens).unwrap();
    tokens[name].as_str().unwrap().to_owned()
}

fn ask() -> String {
    variables()["fairplay_ask"].clone()
}

/// `keylet license` with the fixture token and secret key in the environment.
fn license(url: &str, arguments: &[&str]) -> Command {
    license_for("skd://movie-1", url, arguments)
}

fn license_for(asset_id: &str, url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keylet"));
    command
        .args(["license", url, "--asset-id", asset_id])
        .args(arguments)
        .env("KEYLET_ASK", ask())
        .env("KEYLET_TOKEN", token("hs256"))
        .env_remove("KEYLET_EXPECT_KEY");
    command
}

fn url() -> String {
    format!("{}/fairplay", SERVER.url())
}

/// Exit code, the document on standard output, the lines on standard error.
fn outcome(output: &Output) -> (i32, Value, String) {
    let errors = String::from_utf8(output.stderr.clone()).unwrap();
    let document = serde_json::from_slice(&output.stdout);
    let document = document.unwrap_or_else(|_| panic!("no document: {errors}"));
    (output.status.code().unwrap(), document, errors)
}

fn run(url: &str, arguments: &[&str]) -> (i32, Value, String) {
    outcome(&license(url, arguments).output().unwrap())
}

/// A server that gives one answer to whoever asks.
fn answering(head: &'static str, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/fps", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            connection
                .set_read_timeout(Some(Duration::from_millis(200)))
                .unwrap();
            // The whole request, which is over when nothing more comes.
            let mut buffer = [0; 4096];
            while matches!(connection.read(&mut buffer), Ok(1..)) {}
            let length = body.len();
            let _ = write!(
                connection,
                "HTTP/1.1 {head}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
        }
    });
    url
}

#[test]
fn a_licence_is_asked_for_and_opened_in_every_format() {
    let certificate = variables()["fairplay_certificate"].clone();
    let certificate = read_certificate(certificate.as_bytes()).unwrap();
    let wrapping = oldest_version(&certificate);
    let key = sdk4().unwrap();
    let client = Client::new(Duration::from_secs(60), None).unwrap();
    let options = SpcOptions::new("skd://movie-1");
    let (url, token) = (url(), token("hs256"));
    let mut formats = 0;
    for profile in wire::choices() {
        let exchange = Exchange {
            url: &url,
            key: &key,
            wrapping,
            options: &options,
            token: Some(&token),
            location: None,
            profile,
            headers: &[],
        };
        let played = exchange.run(&client);
        let played = played.unwrap_or_else(|failure| panic!("{}: {failure}", profile.name));
        assert_eq!(hex::encode(&played.licence.key), KEY, "{}", profile.name);
        let expected = match (profile.name, profile.form) {
            // Its members stand beside those that everybody reads.
            ("hls-js", "envelope") | (_, "json" | "getFairplayLicense") => Form::Json,
            (_, "raw") => Form::Raw,
            (_, "base64") => Form::Base64,
            (_, "ckc-xml") => Form::CkcXml,
            (_, "envelope") => Form::Envelope,
            (_, "array") => Form::Array,
            (name, other) => panic!("{name}: {other}"),
        };
        assert_eq!(played.form, expected, "{}", profile.name);
        formats += 1;
    }
    assert!(formats > 50, "{formats}");
}

#[test]
fn a_licence_that_is_as_expected_ends_with_0() {
    let (code, document, errors) = run(&url(), &["--expect-key", KEY, "--expect-status", "200"]);
    assert_eq!((code, errors.as_str()), (0, ""), "{document}");
    assert_eq!(document["outcome"], "as_expected");
    assert_eq!(
        (&document["status"], &document["reply"]),
        (&json!(200), &json!("raw"))
    );
    assert!(document["milliseconds"].as_f64().unwrap() > 0.0);
    assert!(document["request_id"].is_string());
    assert_eq!(
        document["licence"]["iv"],
        "0f0e0d0c0b0a09080706050403020100"
    );

    let lease = license(&url(), &["--expect-lease", "120", "--renew"])
        .env("KEYLET_TOKEN", token("lease"))
        .output()
        .unwrap();
    assert_eq!(lease.status.code(), Some(0), "{lease:?}");
    let documents = serde_json::Deserializer::from_slice(&lease.stdout).into_iter::<Value>();
    let leases: Vec<_> = documents
        .map(|document| document.unwrap()["licence"]["duration"].clone())
        .collect();
    assert_eq!(
        leases,
        vec![json!({"type": "lease", "lease_seconds": 120}); 2]
    );
}

#[test]
fn tokens_go_where_they_are_told_to() {
    for arguments in [
        &["--token-header", "x-drm-token"][..],
        &["--token-header", "Authorization"],
        &["--token-query", "UserToken"],
        &["--format", "json", "--token-member", "token"],
        &["--format", "nagra", "--token-query", "token"],
        &["--format", "vudrm-json", "--token-header", "x-vudrm-token"],
    ] {
        let (code, document, _) = run(&url(), arguments);
        assert_eq!(code, 0, "{arguments:?}: {document}");
    }
    let (code, document, _) = run(&url(), &["--token-header", "x-unknown"]);
    assert_eq!((code, &document["code"]), (3, &json!("token_missing")));
    let (code, _, errors) = run(&url(), &["--token-member", "token"]);
    assert_eq!(code, 1);
    assert!(errors.contains("JSON object"), "{errors}");
    let bearer = format!("authorization: Bearer {}", token("expired"));
    let (code, document, _) = run(&url(), &["--header", &bearer]);
    assert_eq!((code, &document["code"]), (3, &json!("token_expired")));
}

#[test]
fn a_refusal_is_told_with_its_code_its_request_and_its_meaning() {
    let expired = |arguments: &[&str]| {
        let mut command = license(&url(), arguments);
        outcome(
            &command
                .env("KEYLET_TOKEN", token("expired"))
                .output()
                .unwrap(),
        )
    };
    let (code, document, errors) = expired(&[]);
    assert_eq!(code, 3);
    assert_eq!(
        (&document["outcome"], &document["status"], &document["code"]),
        (&json!("refused"), &json!(401), &json!("token_expired"))
    );
    let id = document["request_id"].as_str().unwrap();
    assert!(errors.contains(&format!(
        "401 token_expired (request {id}): The token has expired."
    )));
    assert_eq!(errors.lines().count(), 1, "{errors}");

    let wanted = expired(&["--expect-status", "401", "--expect-code", "token_expired"]);
    assert_eq!((wanted.0, wanted.2.as_str()), (0, ""));
    let other = expired(&["--expect-status", "403", "--expect-code", "not_entitled"]);
    assert_eq!((other.0, &other.1["outcome"]), (6, &json!("mismatch")));
    assert_eq!(other.1["mismatches"].as_array().unwrap().len(), 2);
    let (code, document, _) = run(&url(), &["--expect-code", "not_entitled"]);
    assert_eq!((code, &document["outcome"]), (6, &json!("mismatch")));

    // In an envelope the status is that of the key.
    let mut unknown = license_for("skd://nobody", &url(), &["--format", "envelope"]);
    let (code, document, _) = outcome(&unknown.output().unwrap());
    assert_eq!(
        (code, &document["code"]),
        (3, &json!("key_not_found")),
        "{document}"
    );
}

#[test]
fn another_secret_key_or_another_content_key_is_no_success() {
    let wrong = license(&url(), &[])
        .env("KEYLET_ASK", "00000000000000000000000000000000")
        .output()
        .unwrap();
    let (code, document, _) = outcome(&wrong);
    assert_eq!(
        (code, &document["code"]),
        (3, &json!("spc_integrity")),
        "{document}"
    );

    let other_key = KEY.replace('0', "1");
    for arguments in [&["--expect-key", &other_key][..], &["--expect-lease", "5"]] {
        let (code, document, errors) = run(&url(), arguments);
        assert_eq!(
            (code, &document["outcome"]),
            (6, &json!("mismatch")),
            "{arguments:?}"
        );
        assert!(
            errors.contains("content key") || errors.contains("lease"),
            "{errors}"
        );
    }
}

#[test]
fn what_does_not_answer_or_answers_something_else_is_told_apart() {
    let certificate = fixture("credentials/sdk4.cer");
    let certificate = [
        "--certificate",
        certificate.to_str().unwrap(),
        "--timeout",
        "5s",
    ];
    let closed = format!("http://127.0.0.1:{}/fairplay", free_port());
    let no_tls = url().replace("http:", "https:");
    for url in [&closed, &no_tls] {
        let (code, document, errors) = run(url, &certificate);
        assert_eq!(
            (code, &document["outcome"]),
            (4, &json!("unreachable")),
            "{errors}"
        );
        assert!(!errors.contains("feature"), "{errors}");
    }
    let (code, _, errors) = run(&closed, &[]);
    assert_eq!(code, 4);
    assert!(errors.contains("the certificate"), "{errors}");

    for (body, reason) in [
        ("hello", "neither a CKC"),
        ("", "empty"),
        ("{\"ckc\":\"AAAA\"}", "does not open"),
    ] {
        let (code, document, errors) = run(&answering("200 OK", body), &certificate);
        assert_eq!(
            (code, &document["outcome"]),
            (5, &json!("unreadable")),
            "{errors}"
        );
        assert!(
            document["reason"].as_str().unwrap().contains(reason),
            "{document}"
        );
    }
    let elsewhere = answering("302 Found\r\nlocation: http://127.0.0.1:1/", "");
    let (code, document, _) = run(&elsewhere, &certificate);
    assert_eq!((code, &document["status"]), (3, &json!(302)));
}

#[test]
fn no_secret_is_printed_unless_it_is_asked_for() {
    let directory = Directory::new("license-secrets");
    let file = directory.file("key.hex");
    std::fs::write(&file, KEY).unwrap();
    let file = file.to_str().unwrap().to_owned();
    let certificate = fixture("credentials/sdk4.cer");
    let certificate = certificate.to_str().unwrap();
    let echo = answering("403 Forbidden", "no");
    let unreachable = format!("http://127.0.0.1:{}/fairplay", free_port());
    let mut secrets = vec![token("hs256"), ask(), KEY.to_owned()];
    secrets.push(secrets[0].rsplit('.').next().unwrap().to_owned());
    for (url, arguments) in [
        (&url(), &["--expect-key-file", &file][..]),
        (&url(), &["--expect-lease", "5"]),
        (&url(), &["--token-query", "token", "--expect-code", "x"]),
        (&url(), &["--token-query", "a b"]),
        (&url(), &["--token-header", "a b"]),
        (
            &unreachable,
            &["--token-query", "token", "--certificate", certificate],
        ),
        (
            &echo,
            &["--token-query", "token", "--certificate", certificate],
        ),
    ] {
        let output = license(url, arguments).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).unwrap();
        assert!(!text.is_empty());
        for secret in &secrets {
            assert!(!text.contains(secret), "{arguments:?}: {text}");
        }
    }
    let (_, document, _) = run(&url(), &["--show-key"]);
    assert_eq!(document["licence"]["key"], KEY);
}

#[test]
fn every_shell_gets_its_completions() {
    for (shell, sign) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef keylet"),
        ("fish", "complete -c keylet"),
        ("elvish", "edit:completion"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_keylet"))
            .args(["completions", shell])
            .output()
            .unwrap();
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(
            script.contains(sign) && script.contains("license"),
            "{shell}"
        );
    }
}
