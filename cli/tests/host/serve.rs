//! `keylet serve` as an operator runs it.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use keylet_cli::fixtures::{self, variables};
use keylet_host::Provided;

use crate::support::{Directory, Process, free_port, serve, serve_to, wait_for};

fn hang_up(server: &Process) {
    let kill = Command::new("kill")
        .args(["-HUP", &server.0.id().to_string()])
        .status();
    assert!(kill.unwrap().success());
}

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
    hang_up(&server);
    wait_for(is_test);

    // What does not load leaves everything as it was, and so does a file that is gone.
    let unchanged = |change: &dyn Fn()| {
        std::fs::write(&flag, "false\n").unwrap();
        change();
        hang_up(&server);
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert_eq!(health().0, 200);
        assert!(is_test());
    };
    unchanged(&|| std::fs::write(&file, "[]").unwrap());
    unchanged(&|| std::fs::remove_file(&file).unwrap());

    std::fs::write(&file, &content_keys).unwrap();
    hang_up(&server);
    wait_for(|| !is_test());
}

#[test]
fn an_output_that_is_not_read_or_was_closed_loses_no_licence() {
    let port = free_port();
    let mut server = serve_to(port, &["--in-memory"], &variables(), Stdio::piped());
    let tokens: serde_json::Value = serde_json::from_str(fixtures::TOKENS).unwrap();
    let bearer = format!("Bearer {}", tokens["hs256"].as_str().unwrap());
    let spc = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/spc/v1.bin"));
    let spc = spc.unwrap();
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(std::time::Duration::from_secs(30)))
        .build()
        .into();
    let licence = || {
        let request = agent
            .post(format!("http://127.0.0.1:{port}/fairplay"))
            .header("authorization", &bearer);
        request.send(&spc).unwrap().status().as_u16()
    };
    // More audit records than a pipe holds.
    for number in 0..300 {
        assert_eq!(licence(), 200, "{number}");
    }
    drop(server.0.stdout.take());
    for number in 0..20 {
        assert_eq!(licence(), 200, "{number}, after it was closed");
    }
}
