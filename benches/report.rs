//! `cargo bench --package keylet-cli --bench report`: how long `keylet report` takes for ten million audit records, and how much memory.
//! Another number of records goes behind `--`.
//!
//! The records are made here and go through a pipe, so that none of them is on a disk. What went in must come out.

#![expect(clippy::unwrap_used, reason = "a benchmark ends where it cannot go on")]

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::Value;

/// Records, where the command line names no other number.
const RECORDS: u64 = 10_000_000;

/// Viewers of these. Each has one to three devices.
const VIEWERS: u64 = 1_000_000;

/// 2026-11-27 00:00 UTC.
const DAY: u64 = 1_795_737_600;

/// Records that are written to the pipe at a time.
const PIECE: u64 = 20_000;

fn main() {
    let number = std::env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok());
    let records: u64 = number.unwrap_or(RECORDS);
    let begun = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_keylet"))
        .args(["report", "--format", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut bytes = 0;
    let (mut memory, mut piece) = (0, Vec::new());
    for index in 0..records {
        write_record(&mut piece, index, records);
        if (index + 1) % PIECE == 0 || index + 1 == records {
            pipe.write_all(&piece).unwrap();
            bytes += piece.len();
            piece.clear();
            memory = peak(&status).unwrap_or(memory);
        }
    }
    drop(pipe);
    let output = child.wait_with_output().unwrap();
    let seconds = begun.elapsed().as_secs_f64();
    assert!(output.status.success());

    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let refused = records.div_ceil(10);
    assert_eq!(report["lines"]["records"], records);
    assert_eq!(report["licences"], records - refused);
    assert_eq!(report["refused"], refused);
    let (viewers, devices) = (&report["viewers"]["months"][0], &report["devices"]);
    println!(
        "{records} records of {} MiB in {seconds:.1} s, with {memory} KiB of memory at most",
        bytes >> 20
    );
    let tokens = &report["tokens"];
    let share = tokens["share"].as_f64().unwrap();
    assert_eq!(tokens["of"], records);
    assert!((0.49..=0.51).contains(&share), "{share}");
    println!(
        "viewers {viewers}, devices a viewer {}, tokens {tokens}",
        devices["mean"]
    );
}

/// A record as a device makes the server write it: some 700 bytes.
fn write_record(to: &mut Vec<u8>, index: u64, records: u64) {
    let time = DAY + index * 86_400 / records;
    // Every viewer comes once before the first one comes again.
    let viewer = mixed(index % VIEWERS);
    let device = mixed(viewer ^ ((index / VIEWERS) % (1 + viewer % 3)));
    let id = mixed(index ^ 0xaaaa);
    // Each is good for two licences, one after the other.
    let token = mixed((index / 2) ^ 0x5555);
    let drm = ["fairplay", "widevine", "playready"][usize::try_from(index % 3).unwrap()];
    let decided = match index % 10 {
        0 => {
            r#""code":"token_expired","reason":"the token expired 217 seconds ago, and its clock is this server's""#
        }
        _ => r#""code":"ok""#,
    };
    let granted = match index % 10 {
        0 => "",
        _ => r#","granted":{"lease_seconds":300,"hdcp":"type0"}"#,
    };
    write!(
        to,
        r#"stdout [0] :: {{"audit":1,"time":{time},"request_id":"{id:016x}","drm":"{drm}",{decided},"subject":"{viewer:016x}{viewer:016x}","token":"{token:016x}{token:016x}","asset":"movie-{}-uhd","key":"movie-{}-uhd","policy":"premium","device":{{"id":"{device:016x}{device:016x}","class":"living_room","os":"18.2.1","fps":["00040000","00040000"],"kdl":"1.4.2","capabilities":["hdcp_type1","offline_key","check_in","offline_key_v2","security_level_baseline"]}}{granted},"session":{{"id":"{id:016x}{viewer:016x}","state":"continued"}},"spc_version":3,"credential":"production","playback":{{"session":"{id:016x}","state":"renewal"}},"stages":{{"variables":{},"store":{},"total":{}}}}}"#,
        index % 997,
        index % 997,
        20 + index % 400,
        200 + index % 4_000,
        900 + index % 9_000,
    )
    .unwrap();
    to.push(b'\n');
}

/// Bits of a number, mixed (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// The most memory that a process has had, in KiB, where the system tells.
fn peak(status: &str) -> Option<u64> {
    let status = std::fs::read_to_string(status).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}
