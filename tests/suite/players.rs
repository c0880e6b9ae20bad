//! The players' own code: it asks for licences, and an emulated device opens what it is given.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keylet_cli::device::{Licence, Secrets, SpcOptions};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::support::{FIXTURE_SERVER, spc, token};

/// What a player gave to its device.
#[derive(Deserialize)]
struct Exchange {
    player: String,
    path: String,
    spc: usize,
    ckc: String,
}

/// The players, by their names on npm.
const PLAYERS: [&str; 4] = ["shaka-player", "dashjs", "hls.js", "videojs-contrib-eme"];

/// More than there are exchanges.
const SPCS: usize = 64;

/// What a player's recipe shows of a refusal.
#[derive(Deserialize)]
pub struct Refusal {
    player: String,
    shown: Value,
}

impl Refusal {
    /// Whether it is that of a token that has expired.
    pub fn assert_expired(&self) {
        let Self { player, shown } = self;
        assert_eq!(shown["code"], "token_expired", "{player}: {shown}");
        assert_eq!(shown["status"], 401, "{player}: {shown}");
        assert!(shown["request_id"].is_string(), "{player}: {shown}");
    }
}

/// Runs the players with a runner of theirs; `None` where they or their browser are missing.
pub fn run<T: DeserializeOwned>(runner: &str, request: &Value) -> Option<T> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("players");
    let browser = std::env::var("CHROMIUM").unwrap_or_else(|_| "/usr/bin/chromium".to_owned());
    if !directory.join("node_modules").exists() || !Path::new(&browser).exists() {
        let reason = "`npm ci` in tests/players and chromium are needed";
        keylet_e2e::skip("players", runner, reason);
        return None;
    }
    let mut node = Command::new("node")
        .arg(runner)
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
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// Fresh SPCs as base64, and what opens their licences.
fn spcs(number: usize) -> (Vec<String>, Vec<Secrets>) {
    let (spcs, secrets): (Vec<_>, Vec<_>) = (0..number)
        .map(|_| spc(&SpcOptions::new("skd://movie-1")))
        .unzip();
    (
        spcs.iter().map(|spc| STANDARD.encode(spc)).collect(),
        secrets,
    )
}

#[test]
fn every_players_own_code_gets_a_licence_that_its_device_opens() {
    let (spcs, secrets) = spcs(SPCS);
    let request = json!({"url": FIXTURE_SERVER.url(), "token": token("hs256"), "spcs": spcs});
    let Some(exchanges) = run::<Vec<Exchange>>("run.mjs", &request) else {
        return;
    };
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
    for player in PLAYERS {
        let count = exchanges
            .iter()
            .filter(|e| e.player.starts_with(player))
            .count();
        assert!(count >= 4, "{player}: {count} exchanges");
    }
}

/// The recipes of `docs/players.md` for a refusal, by player.
pub fn recipes(players: &[&str]) -> Value {
    let page = include_str!("../../docs/players.md");
    let recipe = |player: &&str| {
        let begin = format!("```js\n// {player}: ");
        let (_, rest) = page.split_once(&begin).expect(player);
        let (recipe, _) = rest.split_once("\n```\n").unwrap();
        ((*player).to_owned(), format!("// {recipe}").into())
    };
    Value::Object(players.iter().map(recipe).collect())
}

/// The recipes of `docs/players.md` for a refusal are run as they stand there, on the players' own errors.
#[test]
fn every_players_recipe_shows_why_a_licence_was_refused() {
    let recipes = recipes(&PLAYERS);
    let (spcs, _) = spcs(PLAYERS.len());
    let request = json!({
        "url": FIXTURE_SERVER.url(), "token": token("expired"), "spcs": spcs, "recipes": recipes,
    });
    let Some(refusals) = run::<Vec<Refusal>>("run.mjs", &request) else {
        return;
    };
    assert_eq!(refusals.len(), PLAYERS.len());
    refusals.iter().for_each(Refusal::assert_expired);
}
