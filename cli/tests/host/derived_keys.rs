//! `keylet keys seed` and `keylet keys make`, as they are typed, and what a server with that seed gives.

use std::path::Path;

use serde_json::{Value, json};

use crate::credentials::{keylet, serve_in};
use crate::first_hour::{run, said, typed, with_files_of_apple};

/// What `keylet keys make` prints.
fn made(here: &Path, line: &str) -> Vec<Value> {
    let printed = typed(here, line);
    let lines = printed.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn refused(here: &Path, line: &str, expected: &str) {
    let output = run(here, line);
    assert!(!output.status.success(), "{line}");
    assert!(
        said(&output).contains(expected),
        "{line}: {}",
        said(&output)
    );
}

#[test]
fn a_seed_makes_keys_that_a_server_gives_to_a_token_of_their_content() {
    let directory = with_files_of_apple("derived-keys");
    let here = directory.0.as_path();
    typed(here, "keylet credentials import fairplay --out .env");
    refused(
        here,
        "keylet keys make --content-id movie-42",
        "keylet keys seed",
    );
    typed(here, "keylet keys seed --id first");
    typed(here, "keylet policies add viewers --terms '{}'");
    let keys = made(
        here,
        "keylet keys make --content-id skd://movie-42 --tracks audio,uhd",
    );
    assert_eq!(keys.len(), 2);
    for (key, track) in keys.iter().zip(["audio", "uhd"]) {
        let named = [
            &key["content_id"],
            &key["track"],
            &key["period"],
            &key["seed"],
        ];
        assert_eq!(
            named,
            [
                &json!("movie-42"),
                &json!(track),
                &json!(0),
                &json!("first")
            ]
        );
        assert_eq!(
            key["uri"],
            json!(format!("skd://{}", key["kid"].as_str().unwrap()))
        );
        assert_ne!(key["key"], key["iv"]);
    }
    let claims = r#"--claim 'entitlements:=[{"keys":["movie-42"],"tracks":{"uhd":false}}]'"#;
    let token = typed(here, &format!("keylet token mint --configured {claims}"));
    let (_server, url) = serve_in(here, &[]);
    let ask = std::fs::read_to_string(here.join("fairplay/ask.txt")).unwrap();
    let license = |key: &Value| {
        let uri = key["uri"].as_str().unwrap();
        let arguments = ["license", &url, "--asset-id", uri];
        keylet(
            here,
            &arguments,
            &[("KEYLET_TOKEN", token.trim()), ("KEYLET_ASK", &ask)],
        )
    };
    let licence = license(&keys[0]);
    let printed = String::from_utf8_lossy(&licence.stdout).into_owned();
    assert!(licence.status.success(), "{printed}{}", said(&licence));
    assert!(
        printed.contains(keys[0]["iv"].as_str().unwrap()),
        "{printed}"
    );
    let refused = said(&license(&keys[1]));
    assert!(refused.contains("track_not_allowed"), "{refused}");

    let doctor = run(here, "keylet doctor");
    let printed = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(doctor.status.success(), "{printed}{}", said(&doctor));
}

#[test]
fn seeds_are_rotated_and_read_in_every_kind_of_file() {
    let directory = with_files_of_apple("seeds");
    let here = directory.0.as_path();
    for file in [".env", "settings.json", "runtime.toml", "secret.yaml"] {
        let file = format!("--file {file}");
        typed(
            here,
            &format!("keylet keys seed --id old --iv derived {file}"),
        );
        refused(here, &format!("keylet keys seed {file}"), "--rotate");
        let of = |line: &str| made(here, &format!("keylet keys make {line} {file}"));
        let old = of("--content-id channel --tracks hd --periods 3");
        assert_eq!(old.len(), 3);
        assert_eq!(of("--content-id channel --tracks hd --period 2"), old[2..]);
        assert!(old[0] != old[1] && old[1] != old[2]);
        let foreign = "--kid 339c45b5-fb6d-4bd9-994c-eabd9d41c95b";
        let before = of(foreign);

        typed(here, &format!("keylet keys seed --id new --rotate {file}"));
        assert_ne!(of("--content-id channel --tracks hd --periods 3"), old);
        assert_eq!(
            of("--content-id channel --tracks hd --periods 3 --seed old"),
            old
        );
        // A KID that a seed made says which; one of a packager has the first seed's key.
        let kid = old[2]["kid"].as_str().unwrap();
        let mut found = of(&format!("--kid {kid}"));
        found[0]["content_id"] = json!("channel");
        assert_eq!(found, old[2..]);
        assert_ne!(of(foreign), before);
    }
    std::fs::write(
        here.join("seed.txt"),
        "XVBovsmzhP9gRIZxWfFta3VVRPzVEWmJsazEJ46I\r\n",
    )
    .unwrap();
    let file = "--file playready.env";
    typed(
        here,
        &format!("keylet keys seed --algorithm playready --seed-file seed.txt {file}"),
    );
    let line = format!("keylet keys make --kid 339C45B5-FB6D-4BD9-994C-EABD9D41C95B {file}");
    assert_eq!(
        made(here, &line)[0]["key"],
        "a537cdc0ca65841406d525e7bf22d754"
    );
}

#[test]
fn what_makes_no_seed_and_no_key_is_refused() {
    let directory = with_files_of_apple("no-seeds");
    let here = directory.0.as_path();
    std::fs::write(here.join("short.txt"), "00112233").unwrap();
    refused(
        here,
        "keylet keys seed --seed-file short.txt",
        "`seed`: it is not 32 bytes",
    );
    refused(here, "keylet keys seed --iv random", "`iv`");
    assert!(!here.join(".env").exists());
    typed(here, "keylet keys seed");
    for (arguments, expected) in [
        ("", "--content-id"),
        ("--content-id hex:z", "--content-id"),
        ("--content-id a --tracks 4k", "uhd"),
        ("--content-id a --periods 0", "--periods"),
        ("--content-id a --seed none", "no seed has the id"),
        ("--kid movie", "--kid"),
        ("--kid movie --content-id a", "cannot be used"),
    ] {
        refused(here, &format!("keylet keys make {arguments}"), expected);
    }
}
