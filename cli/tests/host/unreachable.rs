//! What is said where no answer comes, and what of a token of the environment is ignored.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use keylet_cli::fixtures::variables;
use serde_json::Value;

use crate::credentials::openssl;
use crate::faults::fault;
use crate::support::{Directory, Process, free_port, wait_for};
use crate::terminal::token;

/// Words of libraries, which tell nobody what to do.
const FOREIGN: [&str; 10] = [
    "os error",
    "rustls",
    "io:",
    "timeout:",
    "protocol:",
    "failed to",
    "invalid peer",
    "UnknownIssuer",
    "InvalidData",
    "http:",
];

fn keylet(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keylet"));
    command
        .args(arguments)
        .env("KEYLET_ASK", &variables()["fairplay_ask"])
        .env("KEYLET_TOKEN", token())
        .env_remove("KEYLET_EXPECT_KEY");
    command
}

/// What is said of a URL by the command that asks for a licence, and by the doctor.
fn said(url: &str, more: &[&str]) -> [(Option<i32>, String); 2] {
    let license = ["license", url, "--asset-id", "skd://movie-1"];
    let license = keylet(&[&license, more].concat()).output().unwrap();
    let document: Value = serde_json::from_slice(&license.stdout).unwrap();
    let reason = document["reason"].as_str().unwrap_or_default().to_owned();
    let errors = String::from_utf8(license.stderr).unwrap();
    assert!(errors.contains(&reason), "{errors}");

    let doctor = ["doctor", "--json", "--url", url];
    let doctor = keylet(&[&doctor, more].concat()).output().unwrap();
    let report: Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let mut findings = report["findings"].as_array().unwrap().iter();
    let error = findings
        .find(|finding| finding["severity"] == "error")
        .unwrap();
    let what = error["what"].as_str().unwrap();
    let is = [
        (license.status.code(), reason),
        (doctor.status.code(), what.to_owned()),
    ];
    for (_, said) in &is {
        // The URL that a sentence proposes is no word of a library.
        let plain = said.replace("http://", "").replace("https://", "");
        for foreign in FOREIGN {
            assert!(!plain.contains(foreign), "{foreign}: {said}");
        }
    }
    is
}

fn assert_said(case: &str, url: &str, more: &[&str], words: &[&str]) {
    let [license, doctor] = said(url, more);
    assert_eq!(
        (license.0, doctor.0),
        (Some(4), Some(1)),
        "{case}: {license:?}"
    );
    for word in words {
        for said in [&license.1, &doctor.1] {
            assert!(said.contains(word), "{case}: {word}: {said}");
        }
    }
}

/// A server that treats each connection in the same way.
fn treating(treat: impl Fn(&mut TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            treat(&mut connection.unwrap());
        }
    });
    port
}

#[test]
fn a_server_that_does_not_answer_is_explained_with_what_to_do() {
    let closed = free_port();
    let closing = treating(|connection| {
        let _ = connection.read(&mut [0; 4096]);
    });
    let silent =
        treating(|connection| while !matches!(connection.read(&mut [0; 64]), Ok(0) | Err(_)) {});
    let other = treating(|connection| {
        let _ = connection.read(&mut [0; 4096]);
        let _ = connection.write_all(b"220 mail.example ESMTP\r\n\r\n");
    });
    let url = |scheme: &str, port| format!("{scheme}://127.0.0.1:{port}/fairplay");
    for (case, url, words) in [
        (
            "nobody listens",
            url("http", closed),
            &["127.0.0.1 at port", "refused", "check the address"][..],
        ),
        (
            "it closes",
            url("http", closing),
            &["closed the connection", "check the port"],
        ),
        (
            "it is silent",
            url("http", silent),
            &["300 ms", "--timeout"],
        ),
        (
            "it is not HTTP",
            url("http", other),
            &["not HTTP", "https://"],
        ),
        (
            "it is not TLS",
            url("https", other),
            &["does not speak TLS", "http://"],
        ),
        (
            "it has no name",
            "http://keylet.invalid/fairplay".to_owned(),
            &["keylet.invalid", "no address", "DNS"],
        ),
    ] {
        assert_said(case, &url, &["--timeout", "300ms"], words);
    }

    // What is no URL is no question.
    for url in [
        "drm example",
        "drm.example/fairplay",
        "ftp://drm.example/",
        "http://",
    ] {
        let arguments = ["license", url, "--asset-id", "a"];
        let output = keylet(&arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = errors(&output);
        assert!(said.contains("is not a URL of HTTP"), "{said}");
        assert!(said.contains("http://HOST:PORT/PATH"), "{said}");
    }
}

/// `openssl s_server` with a certificate of a directory.
fn tls(here: &Path, certificate: &str) -> (Process, String) {
    let port = free_port();
    let child = Command::new("openssl")
        .args([
            "s_server",
            "-www",
            "-quiet",
            "-key",
            "server.key",
            "-cert",
            certificate,
        ])
        .args(["-accept", &format!("127.0.0.1:{port}")])
        .current_dir(here)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let child = Process(child);
    wait_for(|| TcpStream::connect(("127.0.0.1", port)).is_ok());
    (child, format!("https://localhost:{port}/fairplay"))
}

#[test]
fn a_tls_certificate_that_does_not_hold_is_explained_with_what_to_do() {
    let directory = Directory::new("unreachable-tls");
    let here = directory.0.as_path();
    let authority = [
        "-subj",
        "/CN=authority",
        "-days",
        "9",
        "-out",
        "ca.pem",
        "-keyout",
        "ca.key",
    ];
    let new = ["req", "-x509", "-newkey", "rsa:2048", "-nodes"];
    openssl(here, &[&new[..], &authority].concat());
    for (name, dns, days) in [
        ("good", "DNS:localhost", "9"),
        ("expired", "DNS:localhost", "0"),
        ("other", "DNS:drm.example", "9"),
    ] {
        let key: &[&str] = match name {
            "good" => &["-newkey", "rsa:2048", "-nodes", "-keyout", "server.key"],
            _ => &["-new", "-key", "server.key"],
        };
        let names = format!("subjectAltName={dns}");
        let request = [
            "-subj",
            "/CN=server",
            "-addext",
            &names,
            "-out",
            "server.csr",
        ];
        openssl(here, &[&["req"], key, &request].concat());
        let out = format!("{name}.pem");
        openssl(
            here,
            &[
                "x509",
                "-req",
                "-in",
                "server.csr",
                "-CA",
                "ca.pem",
                "-CAkey",
                "ca.key",
                "-CAcreateserial",
                "-copy_extensions",
                "copy",
                "-days",
                days,
                "-out",
                &out,
            ],
        );
    }
    let roots = directory.file("ca.pem");
    let cacert = ["--cacert", roots.to_str().unwrap()];
    let (_server, url) = tls(here, "good.pem");
    assert_said(
        "an issuer that is not trusted",
        &url,
        &[],
        &["issuer that is not trusted", "--cacert"],
    );
    let arguments = ["license", &url, "--asset-id", "a"];
    let trusted = keylet(&[&arguments[..], &cacert].concat())
        .output()
        .unwrap();
    assert_eq!(trusted.status.code(), Some(5), "{trusted:?}");

    let (_expired, url) = tls(here, "expired.pem");
    // It ended in the second in which it was made.
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    assert_said("expired", &url, &cacert, &["has expired", "renew it"]);
    let (_other, url) = tls(here, "other.pem");
    assert_said(
        "another name",
        &url,
        &cacert,
        &["drm.example", "not for localhost"],
    );
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_line_break_at_the_end_of_a_token_is_ignored_and_one_in_it_is_named() {
    let application = keylet_cli::built_in(keylet_host::World::Wasip2, variables()).unwrap();
    let server = keylet_host::Server::start(application, &keylet_e2e::quiet()).unwrap();
    let url = format!("{}/fairplay", server.url());
    let directory = Directory::new("unreachable-token");
    let license = ["license", &url, "--asset-id", "skd://movie-1"];
    let key = "00112233445566778899aabbccddeeff";
    for end in ["\n", "\r\n", "\n\n"] {
        let given = format!("{}{end}", token());
        let variable = keylet(&license)
            .env("KEYLET_TOKEN", &given)
            .env("KEYLET_EXPECT_KEY", format!("{key}{end}"))
            .env(
                "KEYLET_ASK",
                format!("{}{end}", variables()["fairplay_ask"]),
            )
            .output()
            .unwrap();
        assert_eq!(
            variable.status.code(),
            Some(0),
            "{end:?}: {}",
            errors(&variable)
        );
        let path = directory.file("token.jwt");
        std::fs::write(&path, &given).unwrap();
        let file = ["--token-file", path.to_str().unwrap()];
        let file = keylet(&[&license[..], &file].concat()).output().unwrap();
        assert_eq!(file.status.code(), Some(0), "{end:?}: {}", errors(&file));

        let mut explain = keylet(&["token", "explain"]);
        for (name, value) in variables() {
            explain.env(format!("SPIN_VARIABLE_{}", name.to_uppercase()), value);
        }
        let explained = explain.env("KEYLET_TOKEN", &given).output().unwrap();
        assert_eq!(
            explained.status.code(),
            Some(0),
            "{end:?}: {}",
            errors(&explained)
        );
    }
    // An empty variable of a pipeline is no token.
    let empty = keylet(&license).env("KEYLET_TOKEN", "\n").output().unwrap();
    assert_eq!(empty.status.code(), Some(3));
    assert!(
        errors(&empty).contains("token_missing"),
        "{}",
        errors(&empty)
    );

    let whole = token();
    let (half, rest) = whole.split_at(10);
    let broken = keylet(&license)
        .env("KEYLET_TOKEN", format!("{half}\n{rest}"))
        .output()
        .unwrap();
    assert_eq!(broken.status.code(), Some(1));
    let said = errors(&broken);
    assert!(
        said.contains("line break") && said.contains("character 11"),
        "{said}"
    );
    assert!(
        !said.contains(half) && !said.contains("failed to parse"),
        "{said}"
    );
    server.stop();
}

#[test]
fn the_reported_token_with_a_line_break_is_sent() {
    let test = "the_reported_token_with_a_line_break_is_sent";
    let Some(folder) = fault("15-env-token-newline", test) else {
        return;
    };
    let script = std::fs::read_to_string(folder.join("run.sh")).unwrap();
    let line = script.lines().find(|line| line.contains("keylet license"));
    let line = line.unwrap().replace(
        "keylet license",
        &format!("{} license", env!("CARGO_BIN_EXE_keylet")),
    );
    let output = Command::new("bash")
        .args(["-c", &line.replace(":3000", &format!(":{}", free_port()))])
        .current_dir(&folder)
        .output()
        .unwrap();
    // Nobody listens there, which is the one thing that is wrong.
    assert_eq!(output.status.code(), Some(4), "{}", errors(&output));
    assert!(
        errors(&output).contains("refused the connection"),
        "{}",
        errors(&output)
    );
}
