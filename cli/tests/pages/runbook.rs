//! What an operator types when something is wrong: each case of `docs/deploy/runbook.md`, with what it prints.

use std::os::unix::fs::symlink;

use crate::first_hour::with_files;
use crate::operators::PGREP;
use crate::page::{Block, Marker, Page, repository};
use crate::stage::Stage;
use crate::store::redis;

/// A stage with credentials and a key `movie-42` in `.env`, and the output of its server in the files of the page.
fn stage(test: &'static str) -> Stage {
    let stage = with_files(test);
    stage.program("pgrep", PGREP);
    for (served, name) in [("served.out", "audit.log"), ("served.err", "keylet.log")] {
        symlink(stage.file(served), stage.file(name)).unwrap();
    }
    stage.succeed(
        "keylet credentials import fairplay.cer privatekey.pem --trial movie-42 --out .env
         echo \"SPIN_VARIABLE_OPERATOR_TOKEN=$(openssl rand -hex 32)\" >> .env
         echo \"SPIN_VARIABLE_SERVER_SECRET=$(openssl rand -hex 32)\" >> .env",
    );
    stage
}

/// Types the blocks of `sh` one after the other. Every other block shows lines that the one before it prints, with `…`
/// for what is another each time.
fn try_out(stage: &Stage) {
    let is_command = |block: &&Block| block.language == "sh";
    let first = stage.blocks.iter().find(is_command);
    assert!(first.is_some(), "{}: no commands", stage.test);
    let mut printed = String::new();
    let mut shown = 0;
    for block in &stage.blocks {
        if is_command(&block) {
            let typed = stage.run(&stage.replaced(&block.text));
            printed = format!("{}{}", typed.stdout, typed.stderr);
            assert!(typed.is_success, "{block}:\n{}\n{printed}", block.text);
            continue;
        }
        for line in stage.replaced(&block.text).lines() {
            assert!(
                printed.lines().any(|printed| is_like(printed, line)),
                "{block}: `{line}` is not in\n{printed}"
            );
            shown += 1;
        }
    }
    assert!(shown > 0, "{}: the page shows no output", stage.test);
}

/// Whether a line is as the page has it, with `…` for anything.
fn is_like(line: &str, shown: &str) -> bool {
    let mut parts = shown.split('…').peekable();
    let mut rest = line.trim_end();
    let Some(begin) = parts.next() else {
        return false;
    };
    let Some(behind) = rest.strip_prefix(begin) else {
        return false;
    };
    rest = behind;
    while let Some(part) = parts.next() {
        let found = match parts.peek() {
            None => rest.ends_with(part).then_some(rest.len() - part.len()),
            Some(_) => rest.find(part),
        };
        let Some(at) = found else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.is_empty()
}

#[test]
fn what_a_page_shows_is_compared_line_by_line() {
    for (line, shown) in [
        ("abc", "abc"),
        ("abc", "a…c"),
        ("abcabc", "…c"),
        ("abc", "ab…"),
        ("a b c", "a…b…c"),
    ] {
        assert!(is_like(line, shown), "{line} {shown}");
    }
    for (line, shown) in [
        ("abc", "ab"),
        ("abc", "…b"),
        ("abc", "b…"),
        ("abc", "a…x…c"),
        ("aba", "a…ab…a"),
    ] {
        assert!(!is_like(line, shown), "{line} {shown}");
    }
}

pub fn content_key(test: &'static str) {
    let stage = stage(test);
    stage.succeed("keylet serve");
    let url = format!("http://{}/fairplay", stage.listen);
    stage.succeed(&format!(
        "keylet token mint --configured --keys movie-42 --subject viewer-1 > token.jwt
         keylet license {url} --asset-id skd://movie-42 --token-file token.jwt"
    ));
    try_out(&stage);
}

/// A server whose token keys are those of a file, and the issuer's old and new key.
fn with_issuer(test: &'static str) -> Stage {
    let stage = stage(test);
    stage.succeed(
        "for name in old new; do
             openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out $name.key
             openssl pkey -in $name.key -pubout -out $name.pem
             keylet token mint --key $name.key --kid \"$(keylet token jwks $name.pem | sed -n 's/.*\"kid\": \"\\(.*\\)\".*/\\1/p')\" \
                 --issuer https://login.example.com --audience keylet --subject viewer-1 --keys movie-42 > $name.jwt
         done
         keylet token jwks old.pem > token-keys.json
         sed -i /TOKEN_KEYS/d .env
         keylet serve --variable token_keys=@token-keys.json",
    );
    stage
}

pub fn token_key(test: &'static str) {
    try_out(&with_issuer(test));
}

pub fn issuer(test: &'static str) {
    try_out(&with_issuer(test));
}

pub fn operator_token(test: &'static str) {
    let stage = stage(test);
    stage.succeed(
        "sed -n 's/^SPIN_VARIABLE_OPERATOR_TOKEN=//p' .env > operator-token.old\nkeylet serve",
    );
    try_out(&stage);
}

pub fn encryption_key(test: &'static str) {
    let stage = stage(test);
    stage.succeed(
        "keylet keys init
         keylet keys export --plaintext | keylet keys import - --store .keylet/key_value.redb
         sed -i /CONTENT_KEYS/d .env
         sed -n 's/^SPIN_VARIABLE_OPERATOR_TOKEN=//p' .env > operator-token
         keylet serve",
    );
    try_out(&stage);
}

/// A stage with the files of an old and a new credential; its server has the old one.
fn with_credentials(test: &'static str) -> Stage {
    let stage = stage(test);
    stage.succeed(
        "keylet credentials new --development --common-name 'Example TV' --out-dir new
         mkdir old
         cp fairplay.cer privatekey.pem old
         printf %s \"$KEYLET_ASK\" > old/ask.txt
         keylet token mint --configured --keys movie-42 > token.jwt
         keylet serve",
    );
    stage
}

pub fn certificate(test: &'static str) {
    try_out(&with_credentials(test));
}

pub fn ask_known(test: &'static str) {
    try_out(&with_credentials(test));
}

pub fn ask(test: &'static str) {
    let stage = stage(test);
    stage.succeed(
        "keylet token mint --configured --keys movie-42 > token.jwt
         cp .env backup.env
         keylet serve",
    );
    try_out(&stage);
}

pub fn store(test: &'static str) {
    let stage = stage(test);
    let Some((server, port)) = redis(&stage) else {
        return;
    };
    let url = format!("redis://127.0.0.1:{port}");
    stage.write(
        "runtime.toml",
        &format!("[key_value_store.default]\ntype = \"redis\"\nurl = \"{url}\"\n"),
    );
    stage.program(
        "systemctl",
        &format!(
            "#!/bin/sh\n[ \"$*\" = 'start redis-server' ] || exit 2\n\
             redis-server --port {port} --bind 127.0.0.1 --save '' --appendonly no >/dev/null 2>&1 &\n\
             echo $! >redis.pid\nsleep 1\n"
        ),
    );
    stage.succeed(
        "keylet token mint --configured --keys movie-42 --terms '{\"max_uses\": 20}' > token.jwt
         keylet serve --runtime-config-file runtime.toml",
    );
    drop(server);
    let _ends = Restarted(&stage);
    try_out(&stage);
}

/// Stops the Redis that the page has started.
struct Restarted<'a>(&'a Stage);

impl Drop for Restarted<'_> {
    fn drop(&mut self) {
        self.0.run("kill \"$(cat redis.pid)\"");
    }
}

/// A clock that is an hour slow: built as a library and named in `LD_PRELOAD`.
const SLOW_CLOCK: &str = r"
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = syscall(SYS_clock_gettime, clock, time);
    if (result == 0 && clock == CLOCK_REALTIME)
        time->tv_sec -= 3600;
    return result;
}
";

pub fn clock(test: &'static str) {
    let stage = stage(test);
    stage.write("clock.c", SLOW_CLOCK);
    stage.succeed(
        "cc -shared -fPIC -o clock.so clock.c
         export LD_PRELOAD=$PWD/clock.so
         keylet serve
         unset LD_PRELOAD
         keylet token mint --configured --keys movie-42 --claim \"nbf:=$(date +%s)\" > token.jwt",
    );
    // NTP has the clock right again: the same server with it.
    stage.program(
        "timedatectl",
        &format!(
            "#!/bin/sh\n[ \"$*\" = 'set-ntp true' ] || exit 2\nkill -INT $(cat \"$STAGE/pids\")\nsleep 1\nkeylet serve --listen {}\n",
            stage.listen
        ),
    );
    try_out(&stage);
}

pub fn flood(test: &'static str) {
    let stage = stage(test);
    stage.succeed(
        "keylet token mint --configured --keys movie-42 --subject viewer-1 > token.jwt
         keylet serve",
    );
    let url = format!("http://{}/fairplay", stage.listen);
    let spc = repository().join("fixtures/spc/v1.bin");
    stage.succeed(&format!(
        "for n in $(seq 40); do curl -sS -o /dev/null -H 'authorization: Bearer e30.e30.e30' --data-binary @{} {url}; done",
        spc.display()
    ));
    stage.succeed(&format!(
        "keylet license {url} --asset-id skd://movie-42 --token-file token.jwt --repeat 12"
    ));
    try_out(&stage);
}

#[test]
fn every_case_of_the_runbook_is_tried() {
    let page = Page::read("docs/deploy/runbook.md");
    for block in page.blocks() {
        let is_run = matches!(block.marker, Some(Marker::Run(_)));
        let says_why = matches!(&block.marker, Some(Marker::NotRun(_)));
        assert!(is_run || says_why, "{block}: it shows what nobody tried");
    }
}
