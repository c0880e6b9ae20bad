//! TLS of the embedded host, and of its connection to Redis. The certificates are openssl's, and the clients curl, `ureq` and
//! openssl.

use std::process::Command;
use std::time::Duration;

use http::Request;
use keylet_cli::client::Client;
use keylet_cli::fixtures::variables;
use serde_json::json;

use crate::credentials::openssl;
use crate::logged::Logged;
use crate::support::{self, Directory, command, free_port, redis_with, signal, started};

/// A certificate for this machine and its private key, as `NAME.pem` and `NAME.key`.
fn certificate(directory: &Directory, name: &str) {
    let (pem, key) = (format!("{name}.pem"), format!("{name}.key"));
    let arguments = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-keyout",
        &key,
        "-out",
        &pem,
        "-subj",
        "/CN=localhost",
        "-days",
        "2",
        "-addext",
        "subjectAltName=DNS:localhost,IP:127.0.0.1",
        "-addext",
        "basicConstraints=critical,CA:FALSE",
    ];
    openssl(&directory.0, &arguments);
}

fn client(directory: &Directory, root: &str) -> Client {
    let root = std::fs::read(directory.file(root)).unwrap();
    Client::new(Duration::from_secs(10), Some(&root)).unwrap()
}

/// The status of a licence of the fixtures by TLS, where there is an answer.
fn licence(client: &Client, port: u16) -> Option<u16> {
    support::licence(client, &format!("https://localhost:{port}"))
}

#[test]
fn a_licence_comes_by_tls_and_the_certificate_is_read_again() {
    let directory = Directory::new("tls");
    certificate(&directory, "first");
    certificate(&directory, "second");
    let put = |certificate: &str, key: &str| {
        for (from, to) in [
            (format!("{certificate}.pem"), "tls.pem"),
            (format!("{key}.key"), "tls.key"),
        ] {
            std::fs::copy(directory.file(&from), directory.file(to)).unwrap();
        }
    };
    put("first", "first");
    let (port, metrics) = (free_port(), free_port());
    let (listen, metrics) = (port.to_string(), metrics.to_string());
    let arguments = [
        "--in-memory",
        "--listen",
        &listen,
        "--metrics",
        &metrics,
        "--tls-cert",
        "tls.pem",
        "--tls-key",
        "tls.key",
    ];
    let mut server = Logged::start(&directory, &arguments, &variables());
    server.until("\"message\":\"ready\"");
    let [first, second] = ["first.pem", "second.pem"].map(|root| client(&directory, root));
    assert_eq!(licence(&first, port), Some(200));
    assert_eq!(
        licence(&second, port),
        None,
        "it has no reason to trust this one"
    );

    // What is not TLS gets no answer, and the metrics have none.
    let curl = |arguments: &[&str]| {
        let output = Command::new("curl")
            .args([
                "-sS",
                "--max-time",
                "10",
                "-o",
                "/dev/null",
                "-w",
                "%{http_code} %{ssl_verify_result} %{http_version}",
            ])
            .args(arguments)
            .current_dir(&directory.0)
            .output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    let health = format!("https://localhost:{port}/healthz");
    assert_eq!(curl(&["--cacert", "first.pem", &health]), "200 0 1.1");
    assert_eq!(
        curl(&["--cacert", "first.pem", "--tls-max", "1.2", &health]),
        "200 0 1.1"
    );
    assert!(curl(&["--cacert", "first.pem", "--tls-max", "1.1", &health]).starts_with("000"));
    assert!(curl(&[&health.replace("https", "http")]).starts_with("000"));
    assert!(curl(&[&format!("http://127.0.0.1:{metrics}/metrics")]).starts_with("200"));

    // A connection that is open stays as it is.
    let hang_up = |server: &Logged| signal(&server.server, "HUP");
    put("second", "second");
    assert_eq!(
        licence(&first, port),
        Some(200),
        "nobody has asked for it to be read"
    );
    hang_up(&server);
    server.until("the certificate and its key were read again");
    assert_eq!(licence(&second, port), Some(200));
    assert_eq!(licence(&client(&directory, "first.pem"), port), None);
    assert_eq!(
        licence(&first, port),
        Some(200),
        "its connection was there before"
    );

    // What cannot be used changes nothing.
    put("first", "second");
    hang_up(&server);
    let lines = server.until("the certificate and its key could not be read again");
    assert!(
        lines
            .last()
            .unwrap()
            .contains("is not the key of the certificate"),
        "{lines:#?}"
    );
    std::fs::remove_file(directory.file("tls.key")).unwrap();
    hang_up(&server);
    server.until("reading tls.key");
    assert_eq!(licence(&client(&directory, "second.pem"), port), Some(200));
}

#[test]
fn a_certificate_that_cannot_be_used_stops_the_start_and_says_why() {
    let directory = Directory::new("tls-start");
    certificate(&directory, "first");
    certificate(&directory, "second");
    let encrypt = |arguments: &[&str]| openssl(&directory.0, arguments);
    encrypt(&[
        "pkcs8",
        "-topk8",
        "-in",
        "first.key",
        "-passout",
        "pass:secret",
        "-out",
        "pkcs8.key",
    ]);
    encrypt(&[
        "ec",
        "-in",
        "first.key",
        "-aes128",
        "-passout",
        "pass:secret",
        "-out",
        "sec1.key",
    ]);
    std::fs::write(directory.file("empty"), "").unwrap();
    std::fs::write(
        directory.file("garbage"),
        "-----BEGIN PRIVATE KEY-----\nhidden!\n-----END PRIVATE KEY-----\n",
    )
    .unwrap();
    std::fs::write(directory.file("line"), "-----BEGIN PRIVATE KEY-----hidden").unwrap();
    for (certificate, key, said) in [
        (
            "first.pem",
            "second.key",
            "second.key is not the key of the certificate in first.pem",
        ),
        ("first.pem", "none", "reading none"),
        ("none", "first.key", "reading none"),
        ("empty", "first.key", "empty has no certificate in PEM"),
        ("line", "first.key", "line is not a certificate in PEM"),
        (
            "first.key",
            "first.key",
            "first.key has no certificate in PEM",
        ),
        ("first.pem", "empty", "empty has no private key in PEM"),
        (
            "first.pem",
            "first.pem",
            "first.pem has no private key in PEM",
        ),
        (
            "first.pem",
            "garbage",
            "garbage is not a private key in PEM",
        ),
        (
            "first.pem",
            "pkcs8.key",
            "the private key in pkcs8.key is encrypted",
        ),
        (
            "first.pem",
            "sec1.key",
            "the private key in sec1.key is encrypted",
        ),
    ] {
        let arguments = [
            "--in-memory",
            "--listen",
            "0",
            "--tls-cert",
            certificate,
            "--tls-key",
            key,
        ];
        let lines = Logged::start(&directory, &arguments, &variables()).until(said);
        assert!(
            !lines.iter().any(|line| line.contains("hidden")),
            "{lines:#?}"
        );
    }
    Logged::start(
        &directory,
        &["--listen", "0", "--tls-cert", "first.pem"],
        &variables(),
    )
    .until("--tls-key");
}

#[test]
fn a_store_in_redis_is_reached_by_tls() {
    let directory = Directory::new("rediss");
    certificate(&directory, "redis");
    let port = free_port();
    let [certificate_file, key_file] =
        ["redis.pem", "redis.key"].map(|name| directory.file(name).display().to_string());
    let with_tls = [
        // The last one holds.
        "--port",
        "0",
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        &certificate_file,
        "--tls-key-file",
        &key_file,
        "--tls-auth-clients",
        "no",
    ];
    let Some(_server) = redis_with(port, &with_tls) else {
        keylet_e2e::skip(
            "redis",
            "a_store_in_redis_is_reached_by_tls",
            "there is no redis-server",
        );
        return;
    };
    let config = directory.file("runtime.toml");
    let text = format!(
        "[key_value_store.default]\ntype = \"redis\"\nurl = \"rediss://127.0.0.1:{port}\"\n"
    );
    std::fs::write(&config, text).unwrap();
    // The roots of this machine do not have the certificate; SSL_CERT_FILE names others.
    certificate(&directory, "other");
    for (roots, store) in [("redis.pem", "available"), ("other.pem", "unavailable")] {
        let listen = free_port();
        let arguments = ["--runtime-config-file", &config.display().to_string()];
        let mut command = command(listen, &arguments, &variables());
        let _keylet = started(listen, command.env("SSL_CERT_FILE", directory.file(roots)));
        let url = format!("http://127.0.0.1:{listen}/healthz?store");
        let client = Client::new(Duration::from_secs(20), None).unwrap();
        let answer = client
            .exchange(Request::get(url).body(Vec::new()).unwrap())
            .unwrap();
        let health: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
        assert_eq!(health["store"], json!(store), "{roots}");
    }
}
