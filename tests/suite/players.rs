//! The players' own code: it asks for licences, and an emulated device opens what it is given.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keylet_cli::device::{Licence, SpcOptions};
use serde::Deserialize;
use serde_json::json;

use crate::support::{FIXTURE_SERVER, spc, token};

/// What a player gave to its device.
#[derive(Deserialize)]
struct Exchange {
    player: String,
    path: String,
    spc: usize,
    ckc: String,
}

/// More than there are exchanges.
const SPCS: usize = 64;

#[test]
fn every_players_own_code_gets_a_licence_that_its_device_opens() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("players");
    let browser = std::env::var("CHROMIUM").unwrap_or_else(|_| "/usr/bin/chromium".to_owned());
    if !directory.join("node_modules").exists() || !Path::new(&browser).exists() {
        keylet_e2e::skip(
            "players",
            "players",
            "`npm ci` in tests/players and chromium are needed",
        );
        return;
    }
    let (spcs, secrets): (Vec<_>, Vec<_>) = (0..SPCS)
        .map(|_| spc(&SpcOptions::new("skd://movie-1")))
        .unzip();
    let spcs: Vec<_> = spcs.iter().map(|spc| STANDARD.encode(spc)).collect();
    let request = json!({"url": FIXTURE_SERVER.url(), "token": token("hs256"), "spcs": spcs});

    let mut node = Command::new("node")
        .arg("run.mjs")
        .current_dir(&directory)
        .env("CHROMIUM", browser)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = node.stdin.take().unwrap();
    input.write_all(request.to_string().as_bytes()).unwrap();
    drop(input);
    let output = node.wait_with_output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    println!("{log}");

    let exchanges: Vec<Exchange> = serde_json::from_slice(&output.stdout).unwrap();
    for exchange in &exchanges {
        let ckc = STANDARD.decode(&exchange.ckc).unwrap();
        let licence = Licence::open(&ckc, &secrets[exchange.spc]);
        let key = licence.map(|licence| hex::encode(licence.key));
        let Exchange { player, path, .. } = exchange;
        assert_eq!(
            key.unwrap_or_default(),
            "00112233445566778899aabbccddeeff",
            "{player}: {path}"
        );
    }
    for player in ["shaka-player", "dashjs", "hls.js", "videojs-contrib-eme"] {
        let count = exchanges
            .iter()
            .filter(|e| e.player.starts_with(player))
            .count();
        assert!(count >= 4, "{player}: {count} exchanges");
    }
}
