//! What an operator types for the key-value store.

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::process::{Command, Stdio};

use keylet::sweep::families;
use keylet_e2e::processes::{Process, free_port, redis_at, wait_for};
use keylet_e2e::skip;

use crate::stage::{Stage, licence};

/// A Redis of the stage's own, which `redis-cli` talks to; `None` where there is none.
pub fn redis(stage: &Stage) -> Option<(Process, u16)> {
    let port = free_port();
    let Some(server) = redis_at(port) else {
        skip("redis", stage.test, "there is no redis-server");
        return None;
    };
    redis_cli(stage, port);
    Some((server, port))
}

/// `redis-cli` talks to a port.
fn redis_cli(stage: &Stage, port: u16) {
    let real = "$(PATH=${PATH#*:} command -v redis-cli)";
    stage.program(
        "redis-cli",
        &format!("#!/bin/sh\nexec \"{real}\" -p {port} \"$@\"\n"),
    );
}

/// Keys of every family, once as old as the page sweeps it and once as it is in use.
pub fn sweep(test: &'static str) {
    let mut stage = Stage::new(test);
    let Some((_redis, port)) = redis(&stage) else {
        return;
    };
    stage.replace("127.0.0.1:6379", &format!("127.0.0.1:{port}"));
    let now = stage
        .succeed("date +%s")
        .stdout
        .trim()
        .parse::<u64>()
        .unwrap();
    let day = now / 86400;
    let old = [
        "use/old".to_owned(),
        format!("use-last/{}/old/licence", day - 2),
        format!("use-repeat/{}/old/licence/1", day - 2),
        // Counted on two days: what is in use keeps the counter.
        format!("use-last/{}/kept/licence", day - 2),
        format!("handover/{}/subject", now - 9_700),
        format!("challenge/{}/aa", now / 600 - 300),
        format!("challenge-used/{}/aa", now / 600 - 300),
        format!("abuse/{}/devices/subject", now - 90_000),
        format!("abuse-seen/{}/devices/subject/device", now - 90_000),
        format!("jwks-attempt/url/{}", now / 60 - 3000),
        format!("widevine-certificate-attempt/url/{}", now / 60 - 3000),
        format!("key-missing/key/{}", now / 30 - 6000),
        format!("slot/{}/subject/0", now - 9000),
        format!("session-end/{}/id", day - 9),
        format!("session-next/{}/id", day - 9),
        format!("session-device/{}/id", day - 9),
        format!("session-second/{}/id", day - 9),
    ];
    let kept = [
        "use/kept".to_owned(),
        format!("use-last/{day}/kept/licence"),
        format!("use-repeat/{day}/kept/licence/1"),
        format!("handover/{}/subject", now - 300),
        format!("challenge/{}/bb", now / 600),
        format!("challenge-used/{}/bb", now / 600),
        "jwks/url".to_owned(),
        format!("abuse/{}/devices/subject", now + 60),
        format!("abuse-seen/{}/devices/subject/device", now + 60),
        format!("jwks-attempt/url/{}", now / 60),
        "widevine-certificate/url".to_owned(),
        format!("widevine-certificate-attempt/url/{}", now / 60),
        "key/movie-42".to_owned(),
        "key-name/digest".to_owned(),
        "key-fetched/key".to_owned(),
        format!("key-missing/key/{}", now / 30),
        "key-server/server".to_owned(),
        format!("slot/{}/subject/0", now - 60),
        "session/subject/0".to_owned(),
        format!("session-end/{day}/id"),
        format!("session-next/{day}/id"),
        format!("session-device/{day}/id"),
        format!("session-second/{day}/id"),
        // Another program's.
        "session-end/yesterday/id".to_owned(),
        "sidekiq/queues".to_owned(),
    ];
    // Each family is here, and none that there is not.
    let families: BTreeSet<&str> = families().map(|family| family.name).collect();
    let tested = kept
        .iter()
        .chain(&old)
        .map(|key| key.split('/').next().unwrap());
    let tested: BTreeSet<&str> = tested.collect();
    assert!(
        tested.is_superset(&families),
        "{:?}",
        families.difference(&tested)
    );

    let sets = |keys: &[String]| {
        keys.iter()
            .map(|key| format!("redis-cli set '{key}' 1 >/dev/null\n"))
            .collect::<String>()
    };
    stage.succeed(&(sets(&old) + &sets(&kept)));
    let typed = stage.type_blocks().stdout;
    let numbers = format!("{} of {} keys", old.len(), old.len() + kept.len());
    assert!(
        typed.contains(&format!("{numbers} would be deleted")),
        "{typed}"
    );
    assert!(typed.contains(&format!("{numbers} deleted")), "{typed}");
    assert!(
        typed.contains("2 keys of other programs left alone"),
        "{typed}"
    );
    let left = stage.succeed("redis-cli --scan").stdout;
    let left: BTreeSet<&str> = left.lines().collect();
    assert_eq!(left, kept.iter().map(String::as_str).collect());
}

pub fn backup(test: &'static str) {
    let mut stage = Stage::new(test);
    stage.program("pgrep", crate::operators::PGREP);
    stage.configure_fixtures();
    let url = format!("http://{}/fairplay", stage.listen);
    stage.succeed("keylet serve");
    // A token that is good for three licences; the device has each of them again a few times.
    let stop =
        "kill -TERM \"$(pgrep -x keylet)\"; while pgrep -x keylet >/dev/null; do sleep 0.1; done\n";
    let uses = |stage: &Stage| {
        (0..20)
            .map(|_| licence(stage, &url, "three-uses"))
            .filter(|status| status == "200")
            .count()
    };
    let granted = uses(&stage);
    assert!((3..20).contains(&granted), "{granted}");
    stage.type_blocks();
    assert_eq!(uses(&stage), 0, "the count goes on after the copy was made");

    // Lost, the count begins anew; restored, it is what it was.
    stage.succeed(&format!("{stop}rm .keylet/key_value.redb\nkeylet serve"));
    assert_eq!(licence(&stage, &url, "three-uses"), "200");
    stage.succeed(&format!(
        "{stop}cp key_value.backup .keylet/key_value.redb\nkeylet serve"
    ));
    assert_eq!(uses(&stage), 0, "the copy has the count");
}

pub fn backup_of_redis(test: &'static str) {
    let stage = Stage::new(test);
    let Some(_redis) = redis(&stage) else {
        return;
    };
    stage.succeed("redis-cli set use/token 3");
    stage.type_blocks();
    let port = free_port();
    let directory = stage.file("").display().to_string();
    let restored = Command::new("redis-server")
        .args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--dir",
            &directory,
        ])
        .args(["--dbfilename", "keylet.rdb", "--appendonly", "no"])
        .stdout(Stdio::null())
        .spawn();
    let _restored = Process(restored.unwrap());
    wait_for(|| TcpStream::connect(("127.0.0.1", port)).is_ok());
    redis_cli(&stage, port);
    stage.succeed("redis-cli config set appendonly yes");
    assert_eq!(stage.succeed("redis-cli get use/token").stdout.trim(), "3");
}

pub fn stored_keys(test: &'static str) {
    let stage = Stage::new(test);
    let key = "000102030405060708090a0b0c0d0e0f";
    stage.write(
        "keys.csv",
        &format!("id,key\nmovie-42,{key}\nmovie-43,{key}\n"),
    );
    let record = format!("{{\"id\": \"movie-44\", \"key\": \"{key}\", \"iv\": \"{key}\"}}\n");
    stage.write("more.jsonl", &record);
    let typed = stage.type_blocks();
    assert!(
        typed.stdout.contains("3 encrypted again"),
        "{}",
        typed.stdout
    );
    let exported = stage.read("keys.jsonl");
    assert_eq!(exported.lines().count(), 3);
    assert_eq!(exported.matches(key).count(), 4);
}
