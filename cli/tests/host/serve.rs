//! `keylet serve` as an operator runs it.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use keylet_cli::client::Client;
use keylet_cli::fixtures::variables;
use keylet_host::Provided;

use crate::logged::Logged;
use crate::support::{self, Directory, free_port, serve, serve_to, signal, wait_for};

/// `keylet device inspect` on an SPC of the fixtures.
fn inspect(variables: &Provided) -> Output {
    let names = variables
        .iter()
        .map(|(name, value)| (format!("SPIN_VARIABLE_{}", name.to_uppercase()), value));
    Command::new(env!("CARGO_BIN_EXE_keylet"))
        .args(["device", "inspect"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/spc/v3.bin"))
        .envs(names)
        .output()
        .unwrap()
}

#[test]
fn an_spc_is_explained_with_the_credentials_of_the_environment() {
    let explained = inspect(&variables());
    assert!(explained.status.success());
    let explained: serde_json::Value = serde_json::from_slice(&explained.stdout).unwrap();
    assert_eq!(explained["integrity"], "confirmed");
    assert_eq!(explained["spc"]["spc_version"], 3);
    assert_eq!(explained["spc"]["credential"], "sdk26");

    let mut broken = variables();
    broken.insert("fairplay_credentials".to_owned(), "[{}]".to_owned());
    let refused = inspect(&broken);
    assert!(!refused.status.success());
    let message = String::from_utf8(refused.stderr).unwrap();
    assert!(message.contains("fairplay_credentials"), "{message}");
}

#[test]
fn a_file_of_a_variable_is_read_again_at_sighup() {
    let directory = Directory::new("hang-up");
    let file = directory.file("content-keys.json");
    let mut variables = variables();
    let content_keys = variables.remove("content_keys").unwrap();
    std::fs::write(&file, &content_keys).unwrap();
    let flag = directory.file("flag");
    std::fs::write(&flag, "false\n").unwrap();

    let port = free_port();
    let keys = format!("content_keys=@{}", file.display());
    let is_test = format!("fairplay_test_credentials=@{}", flag.display());
    let server = serve(
        port,
        &["--in-memory", "--variable", &keys, "--variable", &is_test],
        &variables,
    );
    let health = || {
        let url = format!("http://127.0.0.1:{port}/healthz");
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build()
            .into();
        let mut answer = agent.get(url).call().unwrap();
        let text = answer.body_mut().read_to_string().unwrap();
        (answer.status().as_u16(), text)
    };
    let is_test = || health().1.contains(r#""test_credentials":true"#);
    assert_eq!(health().0, 200);
    assert!(!is_test());

    std::fs::write(&flag, "true\n").unwrap();
    assert!(!is_test(), "nobody has asked for it to be read");
    signal(&server, "HUP");
    wait_for(is_test);

    // What does not load leaves everything as it was, and so does a file that is gone.
    let unchanged = |change: &dyn Fn()| {
        std::fs::write(&flag, "false\n").unwrap();
        change();
        signal(&server, "HUP");
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert_eq!(health().0, 200);
        assert!(is_test());
    };
    unchanged(&|| std::fs::write(&file, "[]").unwrap());
    unchanged(&|| std::fs::remove_file(&file).unwrap());

    std::fs::write(&file, &content_keys).unwrap();
    signal(&server, "HUP");
    wait_for(|| !is_test());
}

#[test]
fn an_output_that_is_not_read_or_was_closed_loses_no_licence() {
    let port = free_port();
    let mut server = serve_to(port, &["--in-memory"], &variables(), Stdio::piped());
    let client = Client::new(std::time::Duration::from_secs(30), None).unwrap();
    let url = format!("http://127.0.0.1:{port}");
    let licence = || support::licence(&client, &url);
    // More audit records than a pipe holds.
    for number in 0..300 {
        assert_eq!(licence(), Some(200), "{number}");
    }
    drop(server.0.stdout.take());
    for number in 0..20 {
        assert_eq!(licence(), Some(200), "{number}, after it was closed");
    }
}

#[test]
fn a_server_says_what_it_read_and_what_keeps_it_from_serving() {
    let directory = Directory::new("serve-says");
    let listen = ["--listen", "127.0.0.1:0", "--in-memory"];
    let mut nothing = Logged::start(&directory, &listen, &Provided::new());
    let lines = nothing.until("not ready: every licence will be refused");
    let holds = |lines: &[String], text: &str| lines.iter().any(|line| line.contains(text));
    assert!(holds(&lines, "no variable is set"), "{lines:#?}");
    assert!(holds(&lines, "fairplay_certificate"), "{lines:#?}");
    for line in &lines {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }

    let mut variables = variables();
    let issuer = variables.remove("token_issuer").unwrap();
    variables.insert("token_isuer".to_owned(), issuer.clone());
    variables.insert("something_else".to_owned(), "a secret".to_owned());
    let text = [&listen[..], &["--log-format", "text"]].concat();
    let mut typo = Logged::start(&directory, &text, &variables);
    let lines = typo.until("not ready");
    assert!(
        holds(&lines, "token_isuer; perhaps token_issuer is meant"),
        "{lines:#?}"
    );
    assert!(
        holds(&lines, "there is no variable something_else"),
        "{lines:#?}"
    );
    assert!(
        holds(&lines, " ERROR ") && holds(&lines, "token_issuer"),
        "{lines:#?}"
    );
    assert!(
        !holds(&lines, "a secret") && !lines[0].starts_with('{'),
        "{lines:#?}"
    );

    variables.remove("token_isuer");
    variables.remove("something_else");
    variables.insert("token_issuer".to_owned(), issuer);
    let mut ready = Logged::start(&directory, &listen, &variables);
    let lines = ready.until("\"message\":\"ready\"");
    assert!(
        holds(&lines, "content_keys") && !holds(&lines, "ERROR"),
        "{lines:#?}"
    );

    // A file of variables that Spin does not read, by its line.
    std::fs::write(
        directory.file(".env"),
        "A=1\n\nSPIN_VARIABLE_TOKEN_ISSUER='open\n",
    )
    .unwrap();
    let mut broken = Logged::start(&directory, &listen, &Provided::new());
    broken.until(".env: line 3 ");
    let utf16: Vec<u8> = "\u{feff}A=1\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    std::fs::write(directory.file(".env"), utf16).unwrap();
    Logged::start(&directory, &listen, &Provided::new()).until("UTF-16");
}

#[test]
fn a_server_says_that_it_does_not_read_a_manifest_and_whom_it_may_not_ask() {
    let directory = Directory::new("serve-manifest");
    let start = |world: &str, variables: &Provided| {
        let arguments = [
            "--listen",
            "127.0.0.1:0",
            "--in-memory",
            "--log-format",
            "json",
            "--world",
            world,
        ];
        Logged::start(&directory, &arguments, variables).until("\"message\":\"ready\"")
    };
    let holds = |lines: &[String], text: &str| lines.iter().any(|line| line.contains(text));
    let (beside, denied) = (
        "spin.toml in this directory is not read",
        "is not in `allowed_outbound_hosts`",
    );
    let mut variables = variables();
    let lines = start("wasip2", &variables);
    assert!(
        !holds(&lines, beside) && !holds(&lines, denied),
        "{lines:#?}"
    );

    variables.insert(
        "token_keys".to_owned(),
        "https://login.example:8443/hidden?secret".to_owned(),
    );
    std::fs::write(directory.file("spin.toml"), "").unwrap();
    let lines = start("wasip2", &variables);
    assert!(holds(&lines, beside), "{lines:#?}");
    assert!(
        holds(
            &lines,
            "token_keys: https://login.example:8443 is not in `allowed_outbound_hosts`"
        ),
        "{lines:#?}"
    );
    assert!(
        !holds(&lines, "hidden") && !holds(&lines, "secret"),
        "{lines:#?}"
    );
    // A plain host lets requests go anywhere.
    assert!(!holds(&start("wasi", &variables), denied));
}

#[test]
fn an_address_is_read_as_people_write_it_and_a_port_in_use_is_told() {
    let directory = Directory::new("serve-listens");
    let port = free_port();
    for listen in [
        format!("{port}"),
        format!(":{port}"),
        format!("localhost:{port}"),
    ] {
        let arguments = ["--listen", &listen, "--in-memory"];
        let mut server = Logged::start(&directory, &arguments, &variables());
        server.until("\"message\":\"listening\"");
        assert!(
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok(),
            "{listen}"
        );
        let own = ["--listen", &format!("127.0.0.1:{port}"), "--in-memory"];
        if !listen.starts_with(':') {
            Logged::start(&directory, &own, &variables()).until("another port with --listen");
        }
        let other = format!("127.0.0.1:{port}");
        let metrics = ["--listen", "0", "--metrics", &other, "--in-memory"];
        if !listen.starts_with(':') {
            Logged::start(&directory, &metrics, &variables()).until("another port with --metrics");
        }
        drop(server);
    }
    for wrong in ["", "localhost", "70000", "a b:1"] {
        let arguments = ["--listen", wrong, "--in-memory"];
        Logged::start(&directory, &arguments, &variables()).until("--listen");
    }
}

#[test]
fn a_line_of_the_log_names_request_and_code_and_a_store_that_is_away() {
    let directory = Directory::new("serve-logs");
    let closed = free_port();
    let config = directory.file("runtime.toml");
    let redis = format!(
        "[key_value_store.default]\ntype = \"redis\"\nurl = \"redis://127.0.0.1:{closed}\"\n"
    );
    std::fs::write(&config, redis).unwrap();
    let (port, metrics) = (free_port(), free_port());
    let arguments = [
        "--listen",
        &port.to_string(),
        "--metrics",
        &metrics.to_string(),
        "--runtime-config-file",
        config.to_str().unwrap(),
    ];
    let mut server = Logged::start(&directory, &arguments, &variables());
    server.until("\"message\":\"ready\"");
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(std::time::Duration::from_secs(30)))
        .build()
        .into();
    let refused = agent
        .post(format!("http://127.0.0.1:{port}/fairplay"))
        .header("x-request-id", "my-request-1")
        .send(&b"spc"[..])
        .unwrap();
    let code = refused.headers()["x-keylet-code"]
        .to_str()
        .unwrap()
        .to_owned();
    let lines = server.until("my-request-1");
    let line: serde_json::Value = serde_json::from_str(lines.last().unwrap()).unwrap();
    assert_eq!(line["code"], code.as_str());
    assert_eq!(line["request_id"], "my-request-1");

    for _ in 0..2 {
        let health = agent
            .get(format!("http://127.0.0.1:{port}/healthz?store"))
            .call();
        let health = health.unwrap().body_mut().read_to_string().unwrap();
        assert!(health.contains("unavailable"), "{health}");
    }
    let lines = server.until("the key-value store fails");
    assert!(lines.last().unwrap().contains("ERROR"), "{lines:#?}");
    let counted = agent
        .get(format!("http://127.0.0.1:{metrics}/metrics"))
        .call();
    let counted = counted.unwrap().body_mut().read_to_string().unwrap();
    assert!(
        counted.contains("keylet_store_failures_total 2"),
        "{counted}"
    );
    drop(server.server);
    // It is told once.
    let rest: Vec<String> = server.lines.map(Result::unwrap).collect();
    assert!(
        !rest.iter().any(|line| line.contains("store fails")),
        "{rest:#?}"
    );
}
