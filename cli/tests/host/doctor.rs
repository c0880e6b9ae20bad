//! `keylet doctor`: set-ups that are broken, each in one way.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;

use base64::Engine;
use keylet::encoding::BASE64;
use keylet_e2e::upstream::{Reply, Upstream};
use keylet_host::Provided;
use serde_json::{Value, json};

use crate::credentials::{configured, dotenv, keylet, make_development, openssl};
use crate::support::{Directory, free_port, serve};

/// A deployment that works, in files and in variables.
pub struct Deployment {
    directory: Directory,
    pub variables: Provided,
}

/// A case, variables that differ, the check, and words of the finding.
type Broken = (
    &'static str,
    Vec<(&'static str, String)>,
    &'static str,
    &'static str,
);

/// A case, variables that differ, arguments, a token, the check, and words of the finding.
type WithToken<'a> = (
    &'static str,
    &'a [(&'static str, String)],
    &'a [&'a str],
    &'a str,
    &'static str,
    &'static str,
);

/// What the doctor said.
struct Said {
    code: Option<i32>,
    report: Value,
}

impl Deployment {
    pub fn new(name: &str) -> Self {
        let directory = Directory::new(name);
        let here = directory.0.as_path();
        for (sdk, out) in [("26", "own"), ("4", "other")] {
            make_development(here, sdk, out, &[]);
        }
        let arguments = [
            "credentials",
            "import",
            "own",
            "--trial",
            "movie-42",
            "--out",
            "own.env",
        ];
        assert!(keylet(here, &arguments, &[]).status.success());
        let variables = dotenv(&here.join("own.env"));
        Self {
            directory,
            variables,
        }
    }

    pub fn here(&self) -> &Path {
        &self.directory.0
    }

    fn file(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.here().join(name)).unwrap()
    }

    fn base64(&self, name: &str) -> String {
        BASE64.encode(self.file(name))
    }

    /// Asks the doctor about the variables with changes; an empty one is not set.
    fn ask(
        &self,
        changes: &[(&str, String)],
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Said {
        let mut variables = self.variables.clone();
        variables.extend(
            changes
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone())),
        );
        let run = |form: &[&str]| {
            let arguments = [&["doctor"], arguments, form].concat();
            configured(self.here(), &arguments, &variables, environment)
        };
        let (json, text) = (run(&["--json"]), run(&[]));
        assert_eq!(json.status.code(), text.status.code());
        let printed = [&json.stdout, &json.stderr, &text.stdout, &text.stderr]
            .map(|part| String::from_utf8_lossy(part).into_owned())
            .concat();
        self.assert_no_secret(&printed, &variables, environment);
        assert!(!printed.contains('\u{1b}'), "colours go to a terminal only");
        let report = serde_json::from_slice(&json.stdout);
        let report = report.unwrap_or_else(|_| panic!("no report: {printed}"));
        Said {
            code: json.status.code(),
            report,
        }
    }

    fn assert_no_secret(&self, printed: &str, variables: &Provided, environment: &[(&str, &str)]) {
        let mut secrets: Vec<&str> = environment.iter().map(|(_, value)| *value).collect();
        for (name, value) in variables {
            if ["fairplay_ask", "fairplay_private_key_password"].contains(&name.as_str()) {
                secrets.push(value);
            }
            if [
                "fairplay_private_key",
                "fairplay_credentials",
                "content_keys",
                "key_seed",
                "token_keys",
                "policies",
            ]
            .contains(&name.as_str())
            {
                // Every word of it that is long enough to be one.
                let words =
                    value.split(|c: char| !c.is_ascii_alphanumeric() && !"+/=_-".contains(c));
                secrets.extend(words.filter(|word| word.len() >= 20));
            }
        }
        let is_public = |secret: &str| variables["fairplay_certificate"].contains(secret);
        for secret in secrets
            .into_iter()
            .filter(|secret| secret.len() >= 8 && !is_public(secret))
        {
            assert!(
                !printed.contains(secret),
                "a secret of {} characters is printed",
                secret.len()
            );
        }
    }
}

impl Said {
    /// The doctor names the cause, and says what to do about it.
    fn expect(&self, case: &str, check: &str, words: &str) {
        let findings = self.report["findings"].as_array().unwrap();
        let is_it = |finding: &&Value| {
            finding["severity"] == "error"
                && finding["check"] == check
                && finding["what"].as_str().unwrap().contains(words)
        };
        let found = findings.iter().find(is_it);
        let found = found
            .unwrap_or_else(|| panic!("{case}: no {check} with {words:?} in {:#}", self.report));
        assert!(
            !found["why"].as_str().unwrap().is_empty() && !found["do"].as_str().unwrap().is_empty(),
            "{case}"
        );
        assert_eq!(
            (self.code, &self.report["verdict"]),
            (Some(1), &json!("broken")),
            "{case}"
        );
    }
}

fn token(deployment: &Deployment, arguments: &[&str]) -> String {
    let keys: Value = serde_json::from_str(&deployment.variables["token_keys"]).unwrap();
    let key = keys["keys"][0].to_string();
    let minted = keylet(
        deployment.here(),
        &[
            &["token", "mint", "--issuer", "me", "--audience", "keylet"],
            arguments,
        ]
        .concat(),
        &[("KEYLET_TOKEN_KEY", &key)],
    );
    assert!(
        minted.status.success(),
        "{}",
        String::from_utf8_lossy(&minted.stderr)
    );
    String::from_utf8(minted.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_deployment_that_works_is_healthy() {
    let deployment = Deployment::new("doctor-healthy");
    let report = deployment.ask(&[], &[], &[]);
    assert_eq!(
        (report.code, &report.report["verdict"]),
        (Some(0), &json!("healthy")),
        "{:#}",
        report.report
    );
    let exchanges = report.report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["check"] == "exchange");
    assert_eq!(exchanges.count(), 3, "one for each version of the SPC");
    // Files alone, with keys that stand in for those of a deployment.
    let files = keylet(deployment.here(), &["doctor", "own"], &[]);
    assert_eq!(
        files.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&files.stdout)
    );
    // A token of one's own, and which option takes it.
    let token = token(&deployment, &["--keys", "movie-42"]);
    let report = deployment.ask(
        &[],
        &["--asset-id", "skd://movie-42"],
        &[("KEYLET_TOKEN", &token)],
    );
    assert_eq!(report.code, Some(0), "{:#}", report.report);
    let policies = json!([{"name": "subscribers", "restriction": {"jwks": serde_json::from_str::<Value>(&deployment.variables["token_keys"]).unwrap(), "issuer": "me", "audience": "keylet"}}]);
    let report = deployment.ask(
        &[("policies", policies.to_string())],
        &[],
        &[("KEYLET_TOKEN", &token)],
    );
    let text = report.report.to_string();
    assert!(
        report.code == Some(0) && text.contains("subscribers"),
        "{:#}",
        report.report
    );
}

#[test]
fn a_licence_service_is_asked_only_on_demand_and_its_answer_is_told() {
    let deployment = Deployment::new("doctor-services");
    let service =
        Upstream::start(|_| Reply::json(&json!({"status": "OK", "license": "CAUSA2FiYw=="})));
    // The credentials that Google publishes for tests.
    let widevine = json!({
        "provider": "widevine_test",
        "key": "1ae8ccd0e7985cc0b6203a55855a1034afc252980e970ca90e5202689f947ab9",
        "iv": "d58ce954203b7c9a9a9d467f59839249",
        "url": service.url("/getlicense"),
    });
    let changes = [("widevine", widevine.to_string())];
    let report = deployment.ask(&changes, &[], &[]);
    assert_eq!(
        (report.code, service.count()),
        (Some(0), 0),
        "{:#}",
        report.report
    );

    let report = deployment.ask(&changes, &["--ask-services"], &[]);
    assert_eq!(report.code, Some(0), "{:#}", report.report);
    let findings = report.report["findings"].as_array().unwrap();
    let found = findings
        .iter()
        .find(|finding| finding["check"] == "widevine");
    let what = found.unwrap()["what"].as_str().unwrap();
    assert!(what.contains("gave its certificate"), "{what}");
    let request: Value = serde_json::from_slice(service.take()[0].body()).unwrap();
    assert_eq!(request["signer"], "widevine_test");

    for (status, code) in [
        ("ACCESS_DENIED", "license_service_credentials"),
        ("INTERNAL_ERROR", "license_service_refused"),
    ] {
        service.answer(move |_| Reply::json(&json!({"status": status})));
        let report = deployment.ask(&changes, &["--ask-services"], &[]);
        report.expect(status, "widevine", code);
    }
    service.answer(|_| Reply::text("<html>"));
    let report = deployment.ask(&changes, &["--ask-services"], &[]);
    report.expect("a page", "widevine", "license_service_answer");
    // Without the setting, there is nothing to ask.
    let report = deployment.ask(&[], &["--ask-services"], &[]);
    assert_eq!(report.code, Some(0), "{:#}", report.report);
}

#[test]
fn without_a_token_of_the_issuer_a_healthy_server_is_unproven() {
    let deployment = Deployment::new("doctor-unproven");
    let port = free_port();
    let _server = serve(port, &["--in-memory"], &deployment.variables);
    let url = format!("http://127.0.0.1:{port}");
    let report = keylet(deployment.here(), &["doctor", "--json", "--url", &url], &[]);
    assert_eq!(
        report.status.code(),
        Some(2),
        "{}",
        String::from_utf8_lossy(&report.stdout)
    );
    let ask = String::from_utf8(deployment.file("own/ask.txt")).unwrap();
    let token = token(&deployment, &["--keys", "movie-42"]);
    let report = keylet(
        deployment.here(),
        &[
            "doctor",
            "--json",
            "--url",
            &url,
            "--asset-id",
            "skd://movie-42",
            "--origin",
            "https://tv.example",
        ],
        &[("KEYLET_ASK", &ask), ("KEYLET_TOKEN", &token)],
    );
    assert_eq!(
        report.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&report.stdout)
    );
}

#[test]
fn what_is_wrong_with_credentials_is_named() {
    let deployment = Deployment::new("doctor-credentials");
    let here = deployment.here();
    let own = |name| deployment.base64(name);
    let bundle = deployment.file("own/fps_certificate.bin");
    let first = 4 + usize::from(u16::from_be_bytes([bundle[2], bundle[3]]));
    let (short, long) = bundle.split_at(first);
    std::fs::write(
        here.join("short.key"),
        deployment.file("own/privatekey-1024.pem"),
    )
    .unwrap();
    openssl(
        here,
        &[
            "req",
            "-new",
            "-key",
            "short.key",
            "-subj",
            "/CN=x",
            "-out",
            "request.pem",
        ],
    );
    openssl(
        here,
        &[
            "rsa",
            "-traditional",
            "-aes128",
            "-in",
            "short.key",
            "-passout",
            "env:PASSWORD",
            "-out",
            "traditional.pem",
        ],
    );
    openssl(
        here,
        &[
            "pkcs8",
            "-topk8",
            "-in",
            "short.key",
            "-passout",
            "env:PASSWORD",
            "-out",
            "encrypted.pem",
        ],
    );
    openssl(
        here,
        &[
            "pkcs12",
            "-export",
            "-nocerts",
            "-inkey",
            "short.key",
            "-passout",
            "env:PASSWORD",
            "-out",
            "key.pfx",
        ],
    );
    openssl(
        here,
        &[
            "ecparam",
            "-name",
            "prime256v1",
            "-genkey",
            "-noout",
            "-out",
            "ec.pem",
        ],
    );
    openssl(
        here,
        &[
            "rsa",
            "-traditional",
            "-in",
            "short.key",
            "-outform",
            "der",
            "-out",
            "short.der",
        ],
    );
    // The second half of the private exponent and what follows it: the modulus stays.
    let mut unsound = deployment.file("short.der");
    let half = unsound.len() / 2;
    unsound[half] ^= 1;
    let short = BASE64.encode(short);
    let single = |key: String| {
        vec![
            ("fairplay_certificate", short.clone()),
            ("fairplay_private_key", key),
        ]
    };
    let also = |mut changes: Vec<(&'static str, String)>, name, value: &str| {
        changes.push((name, value.to_owned()));
        changes
    };
    let same = json!([{"name": "twice", "certificate": own("own/fps_certificate.bin"), "private_key": own("own/privatekey-1024.pem"),
        "private_key_2048": own("own/privatekey-2048.pem"), "ask": "00112233445566778899aabbccddeeff"}]);

    let cases: Vec<Broken> = vec![
        (
            "no certificate",
            vec![("fairplay_certificate", String::new())],
            "certificate",
            "fairplay_certificate",
        ),
        (
            "a signing request for a certificate",
            vec![("fairplay_certificate", own("request.pem"))],
            "certificate",
            "not an X.509 certificate",
        ),
        (
            "a certificate cut off",
            vec![("fairplay_certificate", short[..400].to_owned())],
            "certificate",
            "not an X.509 certificate",
        ),
        (
            "a bundle in the wrong order",
            vec![(
                "fairplay_certificate",
                BASE64.encode([long, &bundle[..first]].concat()),
            )],
            "certificate",
            "1024-bit certificate followed by a 2048-bit one",
        ),
        (
            "the key of another certificate",
            single(own("other/privatekey.pem")),
            "private_key",
            "no private key belongs to the 1024-bit certificate",
        ),
        (
            "a bundle with one key",
            vec![("fairplay_private_key", own("own/privatekey-1024.pem"))],
            "private_key",
            "no private key belongs to the 2048-bit certificate",
        ),
        (
            "a key without its password",
            single(own("encrypted.pem")),
            "private_key_password",
            "is not set",
        ),
        (
            "a wrong password",
            also(
                single(own("encrypted.pem")),
                "fairplay_private_key_password",
                "not the password",
            ),
            "private_key_password",
            "does not decrypt",
        ),
        (
            "traditional encryption",
            also(
                single(own("traditional.pem")),
                "fairplay_private_key_password",
                "x",
            ),
            "private_key",
            "DEK-Info",
        ),
        (
            "a container for a key",
            single(own("key.pfx")),
            "private_key",
            "PKCS#12",
        ),
        (
            "a key of an elliptic curve",
            single(own("ec.pem")),
            "private_key",
            "not an RSA private key",
        ),
        (
            "a key whose parts do not fit",
            single(BASE64.encode(&unsound)),
            "private_key",
            "not a sound RSA key",
        ),
        (
            "a digit of the ASk missing",
            vec![("fairplay_ask", "0".repeat(31))],
            "ask",
            "16 bytes",
        ),
        (
            "no ASk",
            vec![("fairplay_ask", String::new())],
            "ask",
            "no ASk",
        ),
        (
            "the same certificate twice",
            vec![("fairplay_credentials", same.to_string())],
            "certificate",
            "same certificate",
        ),
        (
            "the SDK's credentials allowed",
            vec![("fairplay_test_credentials", "true".to_owned())],
            "test_credentials",
            "fairplay_test_credentials",
        ),
    ];
    for (case, changes, check, words) in cases {
        deployment
            .ask(&changes, &[], &[])
            .expect(case, check, words);
    }

    // Of files, before they are deployed.
    let files = |arguments: &[&str], environment: &[(&str, &str)]| {
        let output = keylet(
            here,
            &[&["doctor", "--json"], arguments].concat(),
            environment,
        );
        let report = serde_json::from_slice(&output.stdout).unwrap();
        Said {
            code: output.status.code(),
            report,
        }
    };
    std::fs::write(here.join("typo.txt"), "0".repeat(31)).unwrap();
    files(&["own/fps_certificate.bin", "other/privatekey.pem"], &[]).expect(
        "another key",
        "private_key",
        "moduli differ",
    );
    files(
        &["other/fairplay.cer", "encrypted.pem"],
        &[("KEYLET_PASSWORD", "no")],
    )
    .expect(
        "a wrong password",
        "private_key_password",
        "no password that was given",
    );
    files(
        &[
            "other/fairplay.cer",
            "other/privatekey.pem",
            "--ask-file",
            "typo.txt",
        ],
        &[],
    )
    .expect("an ASk with a typo", "ask", "typo.txt");
    files(&["other/privatekey.pem"], &[]).expect("no certificate", "certificate", "no certificate");
}

#[test]
fn what_is_wrong_with_keys_and_tokens_is_named() {
    let deployment = Deployment::new("doctor-tokens");
    let record = |id: &str, key: &str| json!({"id": id, "key": key, "iv": "00112233445566778899aabbccddeeff"});
    let key = "0102030405060708090a0b0c0d0e0f10";
    let weak = json!({"keys": [{"kty": "oct", "alg": "HS256", "k": "c2hvcnQ"}]});
    let cases: Vec<Broken> = vec![
        (
            "no content keys",
            vec![("content_keys", String::new())],
            "content_keys",
            "no key to deliver",
        ),
        (
            "content keys that are no JSON",
            vec![("content_keys", "movie-42=00".to_owned())],
            "content_keys",
            "not JSON",
        ),
        (
            "a content key of 15 bytes",
            vec![("content_keys", json!([record("a", &key[2..])]).to_string())],
            "content_keys",
            "record 1",
        ),
        (
            "one id for two records",
            vec![(
                "content_keys",
                json!([record("a", key), record("skd://a", key)]).to_string(),
            )],
            "content_keys",
            "reaches another record",
        ),
        (
            "a seed of 31 bytes",
            vec![(
                "key_seed",
                json!([{"algorithm": "hkdf-sha256", "seed": "ab".repeat(31)}]).to_string(),
            )],
            "key_seed",
            "seed 1: `seed`: it is not 32 bytes",
        ),
        (
            "no keys for tokens",
            vec![("token_keys", String::new())],
            "token_keys",
            "token_keys",
        ),
        (
            "a secret that is too short",
            vec![("token_keys", weak.to_string())],
            "token_keys",
            "token_keys",
        ),
        (
            "no audience",
            vec![("token_audience", String::new())],
            "token_keys",
            "token_audience",
        ),
        (
            "a policy with a member that is none",
            vec![("policies", r#"[{"name":"a","tokens":{}}]"#.to_owned())],
            "policies",
            "policies",
        ),
        (
            "rules that are none",
            vec![("fairplay_rules", "strict".to_owned())],
            "rules",
            "fairplay_rules",
        ),
        (
            "an origin header without a proxy's name",
            vec![("store_failure", "maybe".to_owned())],
            "configuration",
            "store_failure",
        ),
    ];
    for (case, changes, check, words) in cases {
        deployment
            .ask(&changes, &[], &[])
            .expect(case, check, words);
    }

    let fitting = token(&deployment, &["--keys", "movie-42"]);
    let other = token(&deployment, &["--keys", "movie-43"]);
    let expired = token(
        &deployment,
        &["--keys", "movie-42", "--claim", "exp:=1700000000"],
    );
    let strict = [("token_issuer", "https://login.example".to_owned())];
    let cases: Vec<WithToken<'_>> = vec![
        (
            "a token that expired",
            &[],
            &[],
            &expired,
            "token",
            "token_expired",
        ),
        (
            "a token of another issuer",
            &strict,
            &[],
            &fitting,
            "token",
            "token_issuer",
        ),
        (
            "a token for another key",
            &[],
            &["--asset-id", "skd://movie-42"],
            &other,
            "token",
            "not_entitled",
        ),
        (
            "an asset id that no record has",
            &[],
            &["--asset-id", "skd://movie-43"],
            &other,
            "content_keys",
            "key_not_found",
        ),
        (
            "a token that is none",
            &[],
            &[],
            "eyJhbGciOiJub25lIn0.e30.",
            "token",
            "token_",
        ),
    ];
    for (case, changes, arguments, token, check, words) in cases {
        deployment
            .ask(changes, arguments, &[("KEYLET_TOKEN", token)])
            .expect(case, check, words);
    }
}

#[test]
fn an_spc_of_a_device_tells_a_wrong_ask_and_a_wrong_certificate() {
    let deployment = Deployment::new("doctor-spc");
    let make = |from: &str, version: &str, out: &str| {
        let (certificate, ask) = match from {
            "own" => ("own/fps_certificate.bin", "own/ask.txt"),
            _ => ("other/fairplay.cer", "other/ask.txt"),
        };
        let arguments = [
            "device",
            "spc",
            "--certificate",
            certificate,
            "--ask-file",
            ask,
            "--asset-id",
            "skd://movie-42",
            "--spc-version",
            version,
            "--out",
            out,
            "--secrets",
            "secrets.json",
        ];
        let made = keylet(deployment.here(), &arguments, &[]);
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
    };
    make("own", "2", "own.spc");
    make("other", "1", "other.spc");
    let report = deployment.ask(&[], &["--spc", "own.spc"], &[]);
    assert_eq!(report.code, Some(0), "{:#}", report.report);
    let wrong = [(
        "fairplay_ask",
        "00112233445566778899aabbccddeeff".to_owned(),
    )];
    deployment.ask(&wrong, &["--spc", "own.spc"], &[]).expect(
        "an ASk of another certificate",
        "spc",
        "spc_integrity",
    );
    deployment.ask(&[], &["--spc", "other.spc"], &[]).expect(
        "an SPC for another certificate",
        "spc",
        "spc_certificate_unknown",
    );
}

#[test]
fn what_is_wrong_around_a_server_is_named() {
    let deployment = Deployment::new("doctor-server");
    let here = deployment.here();
    let ask = |arguments: &[&str]| {
        let output = keylet(here, &[&["doctor", "--json"], arguments].concat(), &[]);
        let report = serde_json::from_slice(&output.stdout).unwrap();
        Said {
            code: output.status.code(),
            report,
        }
    };
    let url = format!("http://127.0.0.1:{}", free_port());
    ask(&["--url", &url]).expect("nobody listens", "reachable", "");

    let mut variables = deployment.variables.clone();
    variables.insert("cors_origins".to_owned(), "https://tv.example".to_owned());
    let port = free_port();
    let _server = serve(port, &["--in-memory"], &variables);
    let url = format!("http://127.0.0.1:{port}");
    ask(&["--url", &url, "--origin", "https://other.example"]).expect(
        "an origin that is not listed",
        "cors",
        "https://other.example",
    );
    ask(&["--url", &url, "other"]).expect(
        "a server with another certificate",
        "certificate",
        "none of the certificates",
    );

    let mut broken = deployment.variables.clone();
    broken.insert("content_keys".to_owned(), "[]".to_owned());
    let port = free_port();
    let _broken = serve(port, &["--in-memory"], &broken);
    ask(&["--url", &format!("http://127.0.0.1:{port}")]).expect(
        "a server whose keys do not load",
        "content_keys",
        "content_keys",
    );

    let mut public = deployment.variables.clone();
    let fixtures = keylet_cli::fixtures::variables();
    for name in ["token_keys", "token_issuer", "token_audience"] {
        public.insert(name.to_owned(), fixtures[name].clone());
    }
    let port = free_port();
    let _public = serve(port, &["--in-memory"], &public);
    let url = format!("http://127.0.0.1:{port}");
    ask(&["--url", &url, "own", "--asset-id", "movie-42"]).expect(
        "keys of the fixtures",
        "test_credentials",
        "fixtures",
    );

    // A server whose clock is an hour behind.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let then = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
            let date = httpdate::fmt_http_date(then);
            let _ = write!(
                stream,
                "HTTP/1.1 404 Not Found\r\ndate: {date}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
        }
    });
    ask(&["--url", &url]).expect("a clock that is wrong", "clock", "seconds apart");
}

#[test]
fn the_cost_of_a_key_that_every_cold_start_decrypts_is_reported() {
    let deployment = Deployment::new("doctor-rounds");
    let here = deployment.here();
    for (rounds, cost) in [
        ("600000", Some("600000 rounds of PBKDF2, some 390 ms")),
        ("1000", None),
    ] {
        openssl(
            here,
            &[
                "pkcs8",
                "-topk8",
                "-v2",
                "aes-256-cbc",
                "-iter",
                rounds,
                "-in",
                "other/privatekey.pem",
                "-passout",
                "pass:a password of its own",
                "-out",
                "encrypted.pem",
            ],
        );
        let changes = [
            (
                "fairplay_certificate",
                deployment.base64("other/fairplay.cer"),
            ),
            (
                "fairplay_private_key",
                String::from_utf8(deployment.file("encrypted.pem")).unwrap(),
            ),
            (
                "fairplay_private_key_password",
                "a password of its own".to_owned(),
            ),
        ];
        let said = deployment.ask(&changes, &[], &[]);
        let findings = said.report["findings"].as_array().unwrap();
        let found = findings.iter().filter(|finding| {
            finding["severity"] == "warning" && finding["check"] == "private_key"
        });
        let found: Vec<&str> = found
            .map(|finding| finding["what"].as_str().unwrap())
            .collect();
        assert_eq!(found.len(), usize::from(cost.is_some()), "{found:?}");
        assert!(cost.is_none_or(|cost| found[0].contains(cost)), "{found:?}");
    }
}

/// What the doctor prints, and its findings, with the variables of a deployment.
fn printed(deployment: &Deployment, arguments: &[&str]) -> (String, Value) {
    let run = |form: &[&str]| {
        let arguments = [&["doctor"], arguments, form].concat();
        let output = configured(deployment.here(), &arguments, &deployment.variables, &[]);
        String::from_utf8(output.stdout).unwrap()
    };
    (run(&[]), serde_json::from_str(&run(&["--json"])).unwrap())
}

/// The severity of each finding of a check.
fn severities<'r>(report: &'r Value, check: &str) -> Vec<&'r str> {
    let findings = report["findings"].as_array().unwrap().iter();
    let of_check = findings.filter(|finding| finding["check"] == check);
    of_check
        .map(|finding| finding["severity"].as_str().unwrap())
        .collect()
}

#[test]
fn the_last_line_says_what_an_emulated_device_does_not_show() {
    let mut deployment = Deployment::new("doctor-unchecked");
    let arguments = [
        "device",
        "spc",
        "--certificate",
        "own/fps_certificate.bin",
        "--ask-file",
        "own/ask.txt",
        "--asset-id",
        "movie-42",
        "--out",
        "own.spc",
        "--secrets",
        "own.json",
    ];
    assert!(keylet(deployment.here(), &arguments, &[]).status.success());
    let (text, report) = printed(&deployment, &["--spc", "own.spc"]);
    assert_eq!(report["unchecked"], json!(["certificate_trust"]), "{text}");
    assert_eq!(severities(&report, "ask"), ["ok"], "{text}");

    // An ASk that is wrong everywhere opens what an emulated device seals with it.
    let wrong = "00112233445566778899aabbccddeeff".to_owned();
    deployment
        .variables
        .insert("fairplay_ask".to_owned(), wrong);
    let (text, report) = printed(&deployment, &[]);
    assert_eq!(report["verdict"], "healthy", "{text}");
    assert_eq!(report["unchecked"], json!(["ask", "certificate_trust"]));
    assert_eq!(severities(&report, "ask"), ["unchecked"]);
    let last = text.lines().last().unwrap();
    for words in ["emulated device", "Not checked", "ASk", "trust"] {
        assert!(last.contains(words), "{last}");
    }
    assert_eq!(report["conclusion"], last);
    let (text, report) = printed(&deployment, &["--spc", "own.spc"]);
    assert_eq!(report["verdict"], "broken", "{text}");
    assert!(text.lines().last().unwrap().starts_with("FAILED: 1 error."));
}

#[test]
fn the_doctor_says_nothing_twice_and_counts_from_one() {
    let deployment = Deployment::new("doctor-once");
    let record = json!({"id": "a", "key": "00", "iv": "00"}).to_string();
    let weak = json!({"kty": "oct", "alg": "HS256", "k": "c2hvcnQ"});
    let policy = json!({"name": "a", "restriction": {"jwks": {"keys": [weak]}, "issuer": "a", "audience": "b"}});
    let cases = [
        ("content_keys", format!("[{record}]"), "record 1: `key`"),
        (
            "content_keys",
            format!("[{record},{record}]"),
            "record 1: `key`",
        ),
        (
            "token_keys",
            json!({"keys": [weak]}).to_string(),
            "key 1: `k`",
        ),
        (
            "policies",
            json!([policy]).to_string(),
            "option 1: key 1: `k`",
        ),
        ("fairplay_credentials", "[{}]".to_owned(), "entry 1: "),
        ("fairplay_ask", String::new(), "it has no ASk"),
        ("fairplay_ask", "00".to_owned(), "it is not 16 bytes"),
        ("", String::new(), "it is for tests"),
    ];
    for (variable, value, words) in cases {
        let mut deployment = Deployment {
            directory: Directory::new("doctor-once-case"),
            variables: deployment.variables.clone(),
        };
        deployment.variables.insert(variable.to_owned(), value);
        deployment.variables.remove("");
        let (text, report) = printed(&deployment, &[]);
        assert_eq!(text.matches(words).count(), 1, "{words}: {text}");
        assert!(
            !["record 0", "key 0", "option 0", "entry 0"]
                .iter()
                .any(|counted| text.contains(counted)),
            "{text}"
        );
        for label in ["why: ", "do: "] {
            let mut told: Vec<_> = text
                .lines()
                .filter_map(|line| line.trim().strip_prefix(label))
                .collect();
            let all = told.len();
            told.sort_unstable();
            told.dedup();
            assert_eq!(told.len(), all, "{text}");
        }
        for name in report["findings"].as_array().unwrap() {
            let name = name["check"].as_str().unwrap();
            assert!(!text.contains(&format!("{name}: {name}: ")), "{text}");
        }
    }
}

#[test]
fn a_development_certificate_is_no_warning_where_it_is_said_to_be_one() {
    let deployment = Deployment::new("doctor-development");
    let (_, report) = printed(&deployment, &[]);
    assert_eq!(severities(&report, "test_credentials"), ["warning"]);
    for option in ["--development", "--allow-test"] {
        let (text, report) = printed(&deployment, &[option]);
        assert_eq!(severities(&report, "test_credentials"), ["ok", "ok"]);
        assert!(!text.contains("warning"), "{text}");
        assert_eq!(report["verdict"], "healthy");
    }
    // A server that allows the SDK's own.
    let changes = [("fairplay_test_credentials", "true".to_owned())];
    let said = deployment.ask(&changes, &["--development"], &[]);
    assert_eq!(said.code, Some(0), "{:#}", said.report);
    let said = deployment.ask(&changes, &[], &[]);
    assert_eq!(said.code, Some(1), "{:#}", said.report);
}

#[test]
fn a_certificate_that_expires_soon_is_a_warning() {
    let deployment = Deployment::new("doctor-expiry");
    let here = deployment.here();
    std::fs::write(
        here.join("short.key"),
        deployment.file("own/privatekey-1024.pem"),
    )
    .unwrap();
    // Within the second in which it was made it is good for whole days.
    for (days, severity, told) in [
        ("30", "warning", ["in 30 days", "in 29 days"]),
        ("90", "", [""; 2]),
    ] {
        let arguments = [
            "req",
            "-x509",
            "-key",
            "short.key",
            "-subj",
            "/CN=x",
            "-outform",
            "der",
            "-out",
            "soon.cer",
            "-days",
            days,
        ];
        openssl(here, &arguments);
        let changes = [
            ("fairplay_certificate", deployment.base64("soon.cer")),
            (
                "fairplay_private_key",
                deployment.base64("own/privatekey-1024.pem"),
            ),
        ];
        let report = deployment.ask(&changes, &[], &[]).report;
        let expected: &[&str] = if severity.is_empty() {
            &[]
        } else {
            &[severity]
        };
        assert_eq!(
            severities(&report, "certificate_validity"),
            expected,
            "{report:#}"
        );
        let report = report.to_string();
        assert!(told.iter().any(|words| report.contains(words)), "{report}");
    }
}
