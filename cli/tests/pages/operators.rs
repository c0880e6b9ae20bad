//! What an operator types while it runs: sessions, a stop, an upgrade.

use std::io::{Read, Write};
use std::net::TcpStream;

use keylet_e2e::processes::{free_port, wait_for};
use serde_json::Value;

use crate::page::repository;
use crate::stage::{Stage, curl, key_record, licence, token, token_key};

pub fn operator(test: &'static str) {
    let mut stage = Stage::new(test);
    stage.configure_fixtures();
    let operator = "a secret of an operator, of 32 characters";
    stage.configure("operator_token", operator);
    stage.succeed("keylet serve --in-memory");
    let url = format!("http://{}", stage.listen);
    stage.set("OPERATOR", operator);
    stage.set("URL", &url);

    let mint = r#"keylet token mint --keys movie-42 --issuer https://issuer.example --audience keylet --subject viewer-1 --terms '{"max_streams": 3, "lease_seconds": 60}'"#;
    let token = stage.succeed(mint).stdout;
    let open = || {
        let (status, body) = curl(
            &stage,
            &format!(
                "-X POST -H 'authorization: Bearer {}' {url}/sessions",
                token.trim()
            ),
        );
        assert_eq!(status, "200", "{body}");
        let opened: Value = serde_json::from_str(&body).unwrap();
        opened["session_id"].as_str().unwrap().to_owned()
    };
    let (first, second) = (open(), open());
    // One after the other, and what each of them has done.
    let lines: Vec<String> = stage
        .script()
        .lines()
        .map(|line| line.replace("<id>", &first))
        .collect();
    assert_eq!(lines.len(), 4);
    let listed = stage.succeed(&lines[0]).stdout;
    assert!(
        listed.contains(&first) && listed.contains(&second),
        "{listed}"
    );
    stage.succeed(&lines[1]);
    let listed = stage.succeed(&lines[0]).stdout;
    assert!(
        !listed.contains(&first) && listed.contains(&second),
        "{listed}"
    );
    let third = open();
    stage.succeed(&lines[2]);
    let listed = stage.succeed(&lines[0]).stdout;
    assert!(
        !listed.contains(&second) && !listed.contains(&third),
        "{listed}"
    );
    let fourth = open();
    stage.succeed(&lines[3]);
    let listed = stage.succeed(&lines[0]).stdout;
    assert!(!listed.contains(&fourth), "{listed}");
}

pub fn report(test: &'static str) {
    let mut stage = Stage::new(test);
    stage.configure_fixtures();
    stage.succeed("keylet serve --in-memory");
    let url = format!("http://{}/fairplay", stage.listen);
    for (token, status) in [("hs256", "200"), ("rs256", "200"), ("expired", "401")] {
        assert_eq!(licence(&stage, &url, token), status, "{token}");
    }
    wait_for(|| stage.read("served.out").matches("\"audit\"").count() == 3);
    stage.write("audit.log", &stage.read("served.out"));
    let typed = stage.type_blocks().stdout;
    let (table, json) = typed.split_at(typed.find("\n{").unwrap());
    assert!(table.contains("token_expired"), "{table}");
    let report: Value = serde_json::from_str(json).unwrap();
    assert_eq!(
        (&report["licences"], &report["refused"]),
        (&2.into(), &1.into()),
        "{json}"
    );
    assert_eq!(report["refusals"][0]["code"], "token_expired");
    assert!(stage.read("report.html").contains("token_expired"));
}

pub fn cat(test: &'static str) {
    let mut stage = Stage::new(test);
    stage.configure_fixtures();
    let mut key: Value = serde_json::from_str(&token_key()).unwrap();
    key["kid"] = "cdn".into();
    stage.write("key.jwk", &key.to_string());
    let keys = serde_json::json!({"keys": [key]}).to_string();
    for (name, value) in [
        (
            "content_keys",
            serde_json::json!([key_record("movie-42")]).to_string(),
        ),
        ("token_keys", keys),
        ("token_issuer", "*".to_owned()),
        ("token_audience", "*".to_owned()),
        ("dialects", "cat".to_owned()),
        ("cat_uri", "content /vod/{content_id}/".to_owned()),
    ] {
        stage.configure(name, &value);
    }
    let explained: Value = serde_json::from_str(&stage.type_blocks().stdout).unwrap();
    assert_eq!(explained["dialect"], "cat", "{explained}");
    assert_eq!(explained["claims"]["iss"], "https://cdn.example.com");
    assert_eq!(explained["allows"][0]["key"], "movie-42", "{explained}");
}

/// `pgrep -x keylet`, of the servers of this stage alone.
pub const PGREP: &str = r#"#!/usr/bin/env bash
[ "$*" = '-x keylet' ] || exit 2
found=1
for pid in $(cat "$STAGE/pids"); do
    if [ -d "/proc/$pid" ] && ! grep -q '^State:.*Z' "/proc/$pid/status"; then
        echo "$pid"
        found=0
    fi
done
exit $found
"#;

pub fn stop(test: &'static str) {
    let mut stage = Stage::new(test);
    stage.program("pgrep", PGREP);
    stage.configure_fixtures();
    // A licence is under way while the server is told to stop: its body comes in two parts.
    let script = stage.script();
    let (serve, stop) = script.split_once('\n').unwrap();
    stage.succeed(serve);
    let address = stage.listen.clone();
    let token = token("hs256");
    let spc = std::fs::read(repository().join("fixtures/spc/v1.bin")).unwrap();
    let head = format!(
        "POST /fairplay HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n",
        spc.len()
    );
    let connect = || TcpStream::connect(&address);
    let mut idle = connect().unwrap();
    let mut under_way = connect().unwrap();
    under_way.write_all(head.as_bytes()).unwrap();
    under_way.write_all(&spc[..100]).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    stage.succeed(stop);
    // It goes on answering, and a balancer learns that it will not for long. A second signal ends that.
    let health = format!("http://{address}/healthz");
    wait_for(|| curl(&stage, &health).0 == "503");
    stage.succeed(stop);
    wait_for(|| connect().is_err());
    let mut nothing = Vec::new();
    assert_eq!(
        idle.read_to_end(&mut nothing).unwrap(),
        0,
        "an idle connection is closed"
    );
    under_way.write_all(&spc[100..]).unwrap();
    let mut answer = Vec::new();
    under_way.read_to_end(&mut answer).unwrap();
    assert!(
        answer.starts_with(b"HTTP/1.1 200"),
        "the licence under way was not answered"
    );
    wait_for(|| !stage.run("pgrep -x keylet").is_success);
    // Its audit record was written before the end.
    assert!(stage.read("served.out").contains(r#""code":"ok""#));
    assert!(stage.read("served.err").contains("stopping"));
}

pub fn upgrade(test: &'static str) {
    let mut stage = Stage::new(test);
    stage.program("../keylet-new", &stage.read("installed-keylet"));
    stage.bring("fixtures/credentials/sdk4.cer", "fairplay.cer");
    stage.bring("fixtures/credentials/sdk4.pem", "privatekey.pem");
    stage.set(
        "KEYLET_ASK",
        &keylet_cli::fixtures::variables()["fairplay_ask"],
    );
    stage.succeed("keylet credentials import fairplay.cer privatekey.pem --trial movie-42 --out .env\nkeylet serve");
    // While the old one has the file, a new one does not get it, and says what the page says.
    let second = stage.run(&format!(
        "./keylet-new serve --listen 127.0.0.1:{}",
        free_port()
    ));
    assert!(
        !second.is_success && second.stderr.contains("Cannot acquire lock"),
        "{}",
        second.stderr
    );
    stage.type_blocks();
}
