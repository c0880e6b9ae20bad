//! The commands of a first hour, as they are typed: by somebody who has Apple's files and nothing else.

use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::credentials::{dotenv, keylet, make_development, openssl, serve_in};
use crate::support::Directory;

/// Runs a line as it is typed, and returns what it prints.
pub fn typed(here: &Path, line: &str) -> String {
    let output = run(here, line);
    assert!(output.status.success(), "{line}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

pub fn run(here: &Path, line: &str) -> Output {
    let words = shlex::split(line).unwrap();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    assert_eq!(words.first(), Some(&"keylet"), "{line}");
    keylet(here, &words[1..], &[])
}

pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Files as the portal leaves them.
pub fn with_files_of_apple(name: &str) -> Directory {
    let directory = Directory::new(name);
    make_development(&directory.0, "4", "fairplay", &[]);
    directory
}

#[test]
fn five_commands_lead_from_files_to_a_player() {
    let directory = with_files_of_apple("first-hour");
    let here = directory.0.as_path();
    typed(here, "keylet credentials import fairplay --out .env");
    typed(here, "keylet keys add movie-42 movie-43");
    typed(
        here,
        "keylet policies add viewers --terms '{\"lease_seconds\": 300}'",
    );
    let token = typed(here, "keylet token mint --configured --keys movie-42");
    let recipe = typed(here, "keylet recipe shaka --url https://drm.example.com");
    assert!(
        recipe.contains("'https://drm.example.com/fairplay'"),
        "{recipe}"
    );

    let (_server, url) = serve_in(here, &[]);
    let ask = std::fs::read_to_string(here.join("fairplay/ask.txt")).unwrap();
    let license = |asset_id: &str| {
        let arguments = ["license", &url, "--asset-id", asset_id];
        let environment = [("KEYLET_TOKEN", token.trim()), ("KEYLET_ASK", &ask)];
        keylet(here, &arguments, &environment)
    };
    let licence = license("skd://movie-42");
    let printed = String::from_utf8_lossy(&licence.stdout).into_owned();
    assert!(licence.status.success(), "{printed}{}", said(&licence));
    let shown: Value = serde_json::from_str(&typed(here, "keylet keys show movie-42")).unwrap();
    // The key itself is not printed; its IV tells which one it is.
    assert!(printed.contains(shown["iv"].as_str().unwrap()), "{printed}");
    assert!(printed.contains("300"), "{printed}");
    // The token is of one key.
    assert!(!license("skd://movie-43").status.success());
}

#[test]
fn keys_are_added_listed_shown_and_deleted() {
    let directory = with_files_of_apple("keys");
    let here = directory.0.as_path();
    for file in [".env", "settings.json", "runtime.toml", "secret.yaml"] {
        let file = &format!("--file {file}");
        typed(
            here,
            &format!("keylet keys add skd://movie-42 movie-43 {file}"),
        );
        let twice = run(here, &format!("keylet keys add movie-43 {file}"));
        assert!(!twice.status.success() && said(&twice).contains("keys delete movie-43"));
        let key = "000102030405060708090a0b0c0d0e0f";
        std::fs::write(here.join("key.txt"), format!("{key}\r\n")).unwrap();
        let iv = "--iv 0f0e0d0c0b0a09080706050403020100";
        let kid = "339c45b5-fb6d-4bd9-994c-eabd9d41c95b";
        typed(
            here,
            &format!(
                "keylet keys add movie-44 --key-file key.txt {iv} --kid {kid} --terms '{{\"hdcp\":\"type0\"}}' {file}"
            ),
        );
        let listed = typed(here, &format!("keylet keys list {file}"));
        assert_eq!(listed.lines().count(), 3, "{listed}");
        assert!(
            listed.contains(kid) && listed.contains("type0") && !listed.contains(key),
            "{listed}"
        );
        let shown: Value =
            serde_json::from_str(&typed(here, &format!("keylet keys show movie-44 {file}")))
                .unwrap();
        assert_eq!(shown["key"], key);
        assert_eq!(shown["uri"], "skd://movie-44");
        typed(
            here,
            &format!("keylet keys delete movie-42 movie-44 {file}"),
        );
        let listed = typed(here, &format!("keylet keys list {file}"));
        assert!(
            listed.starts_with("movie-43 ") && listed.lines().count() == 1,
            "{listed}"
        );
        let absent = run(here, &format!("keylet keys delete movie-42 {file}"));
        assert!(!absent.status.success() && said(&absent).contains("movie-42"));
        typed(here, &format!("keylet keys delete movie-43 {file}"));
        assert_eq!(typed(here, &format!("keylet keys list {file}")), "");
    }
    for wrong in [
        "keylet keys add ''",
        "keylet keys add a b --key-file key.txt",
        "keylet keys add a --kid movie",
        "keylet keys add a --terms '{\"max_screens\":1}'",
        "keylet keys add a --key-file key.txt --iv 00",
    ] {
        let before = std::fs::read(here.join(".env")).unwrap();
        assert!(!run(here, wrong).status.success(), "{wrong}");
        assert_eq!(std::fs::read(here.join(".env")).unwrap(), before, "{wrong}");
    }
}

#[test]
fn a_file_keeps_what_no_command_is_about() {
    let directory = with_files_of_apple("kept");
    let here = directory.0.as_path();
    let import = |format: &str, out: &str, more: &str| {
        run(
            here,
            &format!("keylet credentials import fairplay --format {format} --out {out} {more}"),
        )
    };
    for (format, out, before, kept) in [
        (
            "spin",
            "runtime.toml",
            "# mine\n[key_value_store.default]\ntype = \"spin\"\n\n[[variables_provider]]\ntype = \"static\"\n\n[variables_provider.values]\nserver_secret = \"s\" # kept\nfairplay_ask = \"old\"\n",
            &[
                "# mine\n",
                "[key_value_store.default]",
                "server_secret = \"s\" # kept",
            ][..],
        ),
        (
            "kubernetes",
            "secret.yaml",
            "apiVersion: v1\nkind: Secret\nmetadata:\n  name: drm\n  namespace: tv # mine\nstringData:\n  server-secret: \"s\"\n  fairplay-ask: \"old\"\n",
            &[
                "  namespace: tv # mine\n",
                "  server-secret: \"s\"\n",
                "name: drm, key: fairplay-ask",
            ],
        ),
        (
            "settings",
            "settings.json",
            "{\"server_secret\": \"s\", \"fairplay_ask\": \"old\"}",
            &["\"server_secret\": \"s\""],
        ),
    ] {
        std::fs::write(here.join(out), before).unwrap();
        if format != "settings" {
            let refused = import(format, out, "");
            assert!(
                !refused.status.success() && said(&refused).contains("--force"),
                "{format}"
            );
        }
        let output = import(format, out, "--force");
        assert!(output.status.success(), "{format}: {}", said(&output));
        let text = std::fs::read_to_string(here.join(out)).unwrap();
        for kept in kept {
            assert!(text.contains(kept), "{format}: {text}");
        }
        assert!(
            !text.contains("\"old\"") && text.contains("ask"),
            "{format}: {text}"
        );
        assert_eq!(
            std::fs::read_to_string(here.join(format!("{out}.bak"))).unwrap(),
            before
        );
        // A second import leaves the first copy alone, and changes nothing else.
        let output = import(format, out, "--force");
        assert!(output.status.success(), "{format}: {}", said(&output));
        assert_eq!(
            std::fs::read_to_string(here.join(format!("{out}.bak"))).unwrap(),
            before
        );
        assert_eq!(
            std::fs::read_to_string(here.join(out)).unwrap(),
            text,
            "{format}"
        );
        // What is of another kind is not touched.
        std::fs::write(here.join(out), "another = file: [").unwrap();
        assert!(!import(format, out, "--force").status.success(), "{format}");
        assert_eq!(
            std::fs::read_to_string(here.join(out)).unwrap(),
            "another = file: ["
        );
    }
    let first = typed(here, "keylet credentials import fairplay --format vault");
    let script = format!("{first}echo mine\n");
    std::fs::write(here.join("vault.sh"), &script).unwrap();
    assert!(import("vault", "vault.sh", "--force").status.success());
    let text = std::fs::read_to_string(here.join("vault.sh")).unwrap();
    let count = |what: &str| text.matches(what).count();
    assert_eq!(
        (count("echo mine"), count("fairplay_ask"), count("set -eu")),
        (1, 1, 1),
        "{text}"
    );
}

#[test]
fn keys_of_issuers_are_read_in_every_form() {
    let directory = Directory::new("jwks");
    let here = directory.0.as_path();
    for arguments in [
        &["genrsa", "-out", "rsa.pem", "2048"][..],
        &["rsa", "-in", "rsa.pem", "-pubout", "-out", "rsa.pub"],
        &[
            "rsa",
            "-in",
            "rsa.pem",
            "-RSAPublicKey_out",
            "-out",
            "rsa.pkcs1",
        ],
        &[
            "req",
            "-new",
            "-x509",
            "-key",
            "rsa.pem",
            "-subj",
            "/CN=login",
            "-out",
            "rsa.crt",
        ],
        &[
            "ecparam",
            "-name",
            "prime256v1",
            "-genkey",
            "-out",
            "ec.pem",
        ],
        &["ec", "-in", "ec.pem", "-pubout", "-out", "ec.pub"],
        &["genpkey", "-algorithm", "ed25519", "-out", "ed.pem"],
        &["pkey", "-in", "ed.pem", "-pubout", "-out", "ed.pub"],
        &[
            "ecparam",
            "-name",
            "secp384r1",
            "-genkey",
            "-noout",
            "-out",
            "p384.pem",
        ],
        &["ec", "-in", "p384.pem", "-pubout", "-out", "p384.pub"],
        &[
            "ecparam",
            "-name",
            "secp521r1",
            "-genkey",
            "-noout",
            "-out",
            "p521.pem",
        ],
    ] {
        openssl(here, arguments);
    }
    let keys = |files: &str| -> Value {
        let printed = typed(here, &format!("keylet token jwks {files}"));
        serde_json::from_str::<Value>(&printed).unwrap()["keys"].take()
    };
    for (private, others) in [
        ("rsa.pem", &["rsa.pub", "rsa.pkcs1", "rsa.crt"][..]),
        ("ec.pem", &["ec.pub"]),
        ("p384.pem", &["p384.pub"]),
        ("ed.pem", &["ed.pub"]),
    ] {
        let expected = keys(private);
        assert!(expected[0]["kid"].is_string() && expected[0].get("d").is_none());
        for other in others {
            assert_eq!(keys(other), expected, "{other}");
        }
        // Tokens that the private key signs are taken.
        std::fs::write(here.join(".env"), "").unwrap();
        typed(
            here,
            &format!("keylet policies add issuer --key {private} --issuer i"),
        );
        let token = typed(
            here,
            &format!("keylet token mint --key {private} --issuer i --audience keylet --keys movie"),
        );
        std::fs::write(here.join("token.jwt"), token).unwrap();
        typed(here, "keylet token explain --token-file token.jwt");
        // The deployment cannot sign them.
        let configured = run(here, "keylet token mint --configured --keys movie");
        assert!(
            !configured.status.success() && said(&configured).contains("--key"),
            "{}",
            said(&configured)
        );
    }
    assert_eq!(keys("rsa.pem ec.pem").as_array().unwrap().len(), 2);
    // A JWKS, and one key of it.
    let set = typed(here, "keylet token jwks ec.pem");
    std::fs::write(here.join("set.json"), &set).unwrap();
    let one = serde_json::from_str::<Value>(&set).unwrap()["keys"][0].take();
    std::fs::write(here.join("one.json"), one.to_string()).unwrap();
    assert_eq!(keys("set.json"), keys("one.json"));
    // The server reads one key for a set, and says of PEM what to do.
    let parties = "--variable token_issuer=i --variable token_audience=keylet";
    let token = "--token-file token.jwt";
    let explain = |variable: &str| {
        run(
            here,
            &format!("keylet token explain {token} {parties} --variable {variable}"),
        )
    };
    std::fs::remove_file(here.join(".env")).unwrap();
    let minted = typed(
        here,
        "keylet token mint --key ec.pem --issuer i --audience keylet --keys movie",
    );
    std::fs::write(here.join("token.jwt"), minted).unwrap();
    let output = explain("token_keys=@one.json");
    assert!(output.status.success(), "{}", said(&output));
    let output = explain("token_keys=@ec.pub");
    assert!(
        !output.status.success() && said(&output).contains("keylet token jwks"),
        "{}",
        said(&output)
    );
    for file in ["p521.pem", "token.jwt"] {
        assert!(
            !run(here, &format!("keylet token jwks {file}"))
                .status
                .success(),
            "{file}"
        );
    }
}

#[test]
fn a_token_that_entitles_to_nothing_is_told() {
    let directory = Directory::new("mint");
    let here = directory.0.as_path();
    let none = run(here, "keylet token mint --configured --keys movie");
    assert!(
        !none.status.success() && said(&none).contains("policies add"),
        "{}",
        said(&none)
    );
    typed(here, "keylet policies add viewers");
    assert!(dotenv(&here.join(".env")).contains_key("policies"));
    let warned = run(here, "keylet token mint --configured");
    assert!(warned.status.success() && said(&warned).contains("entitles to no key"));
    let quiet = run(here, "keylet token mint --configured --keys movie");
    assert!(!said(&quiet).contains("warning"), "{}", said(&quiet));
}

#[test]
fn tokens_of_ed25519_are_taken_by_both_names_of_their_algorithm() {
    let directory = Directory::new("ed25519");
    let here = directory.0.as_path();
    let signer = keylet_cli::jwt::Signer::EdDsa([7; 32]);
    let mut rng = keylet_cli::random::system();
    for of_key in ["EdDSA", "Ed25519"] {
        let mut key = signer.jwk("k").unwrap();
        key["alg"] = of_key.into();
        std::fs::write(here.join("key.json"), key.to_string()).unwrap();
        for (of_token, is_taken) in [("EdDSA", true), ("Ed25519", true), ("Ed448", false)] {
            let header = serde_json::json!({"alg": of_token, "kid": "k"});
            let claims =
                r#"{"iss":"i","aud":"keylet","exp":4000000000,"entitlements":[{"keys":"*"}]}"#;
            let token = signer.sign(&header.to_string(), claims, &mut rng).unwrap();
            std::fs::write(here.join("token.jwt"), token).unwrap();
            let output = run(
                here,
                "keylet token explain --token-file token.jwt --variable token_keys=@key.json --variable token_issuer=i \
                 --variable token_audience=keylet",
            );
            assert_eq!(
                output.status.success(),
                is_taken,
                "{of_key} {of_token}: {}",
                said(&output)
            );
        }
    }
    // The published key of an issuer that signs by the newer name.
    if let Some(folder) = crate::faults::fault("11-ed25519-rfc9864", "tokens_of_ed25519") {
        let keys = format!("token_keys=@{}", folder.join("jwks.json").display());
        let token = folder.join("token.jwt").display().to_string();
        let output = run(
            here,
            &format!(
                "keylet token explain --token-file {token} --variable {keys} --variable token_issuer=* --variable token_audience=*"
            ),
        );
        let explained: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(explained["signed_by"]["key"]["kid"], "e", "{explained}");
    }
}

#[test]
fn keys_that_verify_nothing_are_passed_over_and_told() {
    let directory = Directory::new("passed-over");
    let here = directory.0.as_path();
    let signer = keylet_cli::jwt::Signer::Ps512(
        rsa::PrivateKey::new(&mut keylet_cli::random::system(), 2048).unwrap(),
    );
    let other = serde_json::json!({"kty": "EC", "crv": "P-521", "alg": "ES512", "kid": "p521"});
    let keys = serde_json::json!({"keys": [other, signer.jwk("k").unwrap()]});
    std::fs::write(here.join("keys.json"), keys.to_string()).unwrap();
    let claims = serde_json::json!({"iss": "i", "aud": "keylet", "exp": 4_000_000_000_u64, "entitlements": [{"keys": "*"}]});
    let mut rng = keylet_cli::random::system();
    let token = signer.token(Some("k"), &claims, &mut rng).unwrap();
    std::fs::write(here.join("token.jwt"), token).unwrap();
    let settings = "--variable token_keys=@keys.json --variable token_issuer=i --variable token_audience=keylet";

    let output = run(
        here,
        &format!("keylet token explain --token-file token.jwt {settings}"),
    );
    assert!(output.status.success(), "{}", said(&output));
    let explained: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(explained["signed_by"]["key"]["kid"], "k", "{explained}");
    let passed_over = &explained["passed_over"][0];
    for (name, value) in [("kid", "p521"), ("kty", "EC"), ("alg", "ES512")] {
        assert_eq!(passed_over[name], value, "{explained}");
    }

    let output = run(here, &format!("keylet doctor --json {settings}"));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut findings = found["findings"].as_array().unwrap().iter();
    let finding = findings.find(|finding| finding["check"] == "token_keys");
    let what = finding.unwrap()["what"].as_str().unwrap();
    let expected = r#"passed over: key 1 (kty "EC", alg "ES512", kid "p521"): an EC key is for"#;
    assert!(what.starts_with(expected), "{what}");
}
