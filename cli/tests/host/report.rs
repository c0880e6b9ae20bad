//! `keylet report` on a day whose numbers are known.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::support::Directory;

/// 2026-11-27 00:00 UTC.
const DAY: u64 = 1_795_737_600;

/// Decisions by hour, system and code: how many, and of these the licences.
type Hours = BTreeMap<(u64, &'static str, &'static str), (u64, u64)>;

/// A day of records, and what a report must say of it.
struct Day {
    records: Vec<Value>,
    hours: Hours,
}

impl Day {
    fn add(&mut self, hour: u64, drm: &'static str, code: &'static str, more: Value) {
        let number = u64::try_from(self.records.len()).unwrap();
        let mut record = json!({"audit": 1, "time": DAY + hour * 3_600 + number % 3_600,
            "request_id": format!("r{number}"), "drm": drm, "code": code});
        let members = record.as_object_mut().unwrap();
        members.extend(more.as_object().unwrap().clone());
        let is_license = record.get("granted").is_some();
        self.records.push(record);
        let counts = self.hours.entry((hour, drm, code)).or_default();
        counts.0 += 1;
        counts.1 += u64::from(is_license);
    }

    /// Ninety viewers with one device, two or three; each has a licence in three hours of the day. Refusals of players, of
    /// a packager, and decisions that give nothing.
    fn new() -> Self {
        let mut day = Self {
            records: Vec::new(),
            hours: Hours::new(),
        };
        for viewer in 0..90 {
            for round in 0..3 {
                let hour = (viewer + round * 7) % 24;
                let drm =
                    ["fairplay", "widevine", "clearkey"][usize::try_from(viewer % 3).unwrap()];
                let device = round % (1 + viewer % 3);
                day.add(
                    hour,
                    drm,
                    "ok",
                    json!({
                        "subject": format!("pseudonym-{viewer}"),
                        "device": {"id": format!("device-{viewer}-{device}"), "class": "mobile"},
                        "granted": {"lease_seconds": 300},
                        // Of the first ten viewers each licence has a token of its own.
                        "token": format!("pseudonym-{viewer}-{}", if viewer < 10 { round } else { 0 }),
                        "stages": {"store": 200 + round, "total": 1_000 * (viewer + 1)},
                    }),
                );
            }
        }
        for number in 0..40 {
            day.add(
                number % 5,
                "fairplay",
                "token_expired",
                json!({"reason": "of <viewer@example.com>"}),
            );
        }
        for _ in 0..7 {
            day.add(
                23,
                "widevine",
                "key_not_found",
                json!({"subject": "pseudonym-1"}),
            );
        }
        for _ in 0..4 {
            day.add(
                12,
                "fairplay",
                "ok",
                json!({"subject": "pseudonym-2", "playback": {"state": "stopped"}}),
            );
            day.add(12, "clearkey", "ok", json!({"granted": {}}));
        }
        day.add(
            9,
            "packaging",
            "ok",
            json!({"keys": 3, "interface": "speke"}),
        );
        // A session of the same token is no request for a licence.
        day.add(
            9,
            "session",
            "ok",
            json!({"token": "pseudonym-0-0", "subject": "pseudonym-0"}),
        );
        day.add(
            9,
            "packaging",
            "content_not_allowed",
            json!({"keys": 0, "interface": "speke"}),
        );
        day
    }

    /// The lines as hosts and collectors have them, one of each after the other, in as many files.
    fn files(&self) -> [String; 4] {
        let mut files = [const { String::new() }; 4];
        for (index, record) in self.records.iter().enumerate() {
            let line = record.to_string();
            let line = match index % 8 {
                0 => line,
                1 => format!("stdout [0] :: {line}"),
                2 => format!("2026-11-27T00:00:00.123456789Z {line}"),
                3 => format!("keylet-1  | {line}"),
                4 => json!({"log": format!("{line}\n"), "stream": "stdout"}).to_string(),
                5 => json!({"timestamp": 1, "message": line}).to_string(),
                6 => json!({"line": json!({"log": line}).to_string()}).to_string(),
                _ => json!({"kubernetes": {"pod": "a"}, "log": record}).to_string(),
            };
            files[index % 4] += &format!("{line}\n");
        }
        files[0] += "ready\n\n{\"level\":\"INFO\",\"message\":\"ready\"}\n";
        // A path of a client, a line that was cut, and a record of another time.
        let forged = &self.records[0];
        files[1] += &format!("INFO request path=/{forged} status=404\n");
        files[2] += &forged.to_string()[..70];
        let mut later = forged.clone();
        later["time"] = json!(DAY + 86_400);
        files[3] += &format!("{later}\n");
        files
    }
}

fn keylet(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_keylet"))
        .arg("report")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

fn stdout(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The day in a plain file, one of gzip and one of Zstandard, and on standard input: the arguments and the input.
fn laid_out(directory: &Directory, day: &Day) -> (Vec<String>, Vec<u8>) {
    let [plain, gzip, zstd, input] = day.files();
    let file = |name: &str, content: &[u8]| {
        let path = directory.file(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let compressed = zstd::encode_all(zstd.as_bytes(), 1).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(gzip.as_bytes()).unwrap();
    let files = vec![
        // No name says what is in the file.
        file("audit.1", plain.as_bytes()),
        file("audit.2", &encoder.finish().unwrap()),
        file("audit.3", &compressed),
        "-".to_owned(),
        "--until".to_owned(),
        "2026-11-28".to_owned(),
    ];
    (files, input.into_bytes())
}

#[test]
fn a_report_on_a_day_has_the_numbers_that_went_in() {
    let day = Day::new();
    let directory = Directory::new("report");
    let (files, input) = laid_out(&directory, &day);
    let arguments = |format| {
        let files = files.iter().map(String::as_str);
        ["--format", format]
            .into_iter()
            .chain(files)
            .collect::<Vec<_>>()
    };
    let report: Value = serde_json::from_str(&stdout(keylet(&arguments("json"), &input))).unwrap();

    let all = u64::try_from(day.records.len()).unwrap();
    assert_eq!(all, 90 * 3 + 40 + 7 + 8 + 3);
    assert_eq!(
        report["lines"],
        json!({"read": all + 6, "records": all + 1, "outside": 1, "foreign": 4, "broken": 1, "other_version": 0})
    );
    let hours: Hours = day.hours;
    let told = report["hours"].as_array().unwrap();
    assert_eq!(told.len(), hours.len());
    for ((hour, system, code), (decisions, licences)) in &hours {
        let row = json!({"hour": format!("2026-11-27T{hour:02}:00:00Z"), "system": system, "code": code,
            "decisions": decisions, "licences": licences});
        assert!(told.contains(&row), "{row}");
    }
    assert_eq!(report["unit"], "hour");
    assert_eq!(
        (&report["licences"], &report["refused"]),
        (&json!(274), &json!(47))
    );
    assert_eq!(
        report["systems"],
        json!([
            {"system": "fairplay", "licences": 90, "others": 4, "refused": 40},
            {"system": "widevine", "licences": 90, "others": 0, "refused": 7},
            {"system": "clearkey", "licences": 94, "others": 0, "refused": 0},
            {"system": "packaging", "licences": 0, "others": 1, "refused": 1},
            {"system": "session", "licences": 0, "others": 1, "refused": 0},
        ])
    );
    assert_eq!(
        report["viewers"],
        json!({"months": [{"month": "2026-11", "viewers": 90, "estimated": false}], "licences_without_viewer": 4})
    );
    assert_eq!(
        report["devices"],
        json!({"viewers": 90, "devices": 180, "mean": 2.0, "estimated": false, "distribution": [
            {"devices": 1, "viewers": 30}, {"devices": 2, "viewers": 30}, {"devices": 3, "viewers": 30}]})
    );
    assert_eq!(
        report["tokens"],
        json!({"tokens": 110, "seen": 160, "of": 270, "share": 0.5926, "estimated": false})
    );
    let stages = report["stages"].as_array().unwrap();
    let stage = |index: usize| {
        (
            &stages[index]["stage"],
            &stages[index]["decisions"],
            &stages[index]["longest"],
        )
    };
    assert_eq!(stage(0), (&json!("total"), &json!(270), &json!(90_000)));
    assert_eq!(stage(1), (&json!("store"), &json!(270), &json!(202)));
    let median = stages[0]["median"].as_u64().unwrap();
    assert!((45_000..=48_000).contains(&median), "{median}");

    let refusals = report["refusals"].as_array().unwrap();
    let codes: Vec<_> = refusals
        .iter()
        .map(|row| {
            (
                row["code"].as_str().unwrap(),
                row["refused"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        codes,
        [
            ("token_expired", 40),
            ("key_not_found", 7),
            ("content_not_allowed", 1)
        ]
    );
    assert_eq!(refusals[0]["share"], 0.8333);
    assert_eq!(refusals[0]["status"], 401);
    assert_eq!(refusals[0]["meaning"], "The token has expired.");
    assert!(
        refusals[0]["what_to_do"]
            .as_str()
            .unwrap()
            .contains("keylet token explain")
    );

    let page = stdout(keylet(&arguments("html"), &input));
    let text = stdout(keylet(&arguments("table"), &input));
    for told in [&page, &text] {
        for told_once in [
            "274",
            "2.00",
            "59.3 %",
            "token_expired",
            "83.3 %",
            "The token has expired.",
            "keylet token explain",
            "2026-11",
            "90.0 ms",
        ] {
            assert!(told.contains(told_once), "{told_once}: {told}");
        }
        // Nobody is named.
        for secret in ["pseudonym", "device-", "example.com", "r17"] {
            let told = told
                .replace("pseudonyms are counted", "")
                .replace("pseudonyms of", "")
                .replace("a pseudonym of", "")
                .replace("Different", "");
            let told = told.replace("device-width", "");
            assert!(!told.contains(secret), "{secret}: {told}");
        }
    }
    for ((hour, _, code), (decisions, licences)) in &hours {
        let cells = format!(
            "<td>{code}</td><td class=\"n\">{decisions}</td><td class=\"n\">{licences}</td>"
        );
        assert!(page.contains(&cells), "{hour}: {cells}");
        assert!(
            page.contains(&format!("<td>2026-11-27 {hour:02}:00</td>")),
            "{hour}"
        );
    }
    // A bar for each hour and system with licences, in the plot for wide screens and in that for narrow ones.
    let bars = hours
        .iter()
        .filter(|((_, system, _), (_, licences))| *system == "fairplay" && *licences > 0);
    let colour = page.matches(r#"fill="var(--c1)""#).count();
    assert!(colour >= bars.count() * 2, "{colour}");
}

#[test]
fn the_page_asks_for_nothing_from_elsewhere() {
    let day = Day::new();
    let directory = Directory::new("report-page");
    let (files, input) = laid_out(&directory, &day);
    let out = directory.file("report.html");
    let mut arguments = vec!["--format", "html", "--out", out.to_str().unwrap()];
    arguments.extend(files.iter().map(String::as_str));
    assert_eq!(stdout(keylet(&arguments, &input)), "");
    let page = std::fs::read_to_string(out).unwrap();
    for asked in [
        "<script", "<link", "<img", "@import", "url(", "src=", "href=",
    ] {
        assert!(!page.contains(asked), "{asked}");
    }
    let names: Vec<_> = page
        .match_indices("http")
        .map(|(at, _)| &page[at..at + 26])
        .collect();
    assert!(
        names
            .iter()
            .all(|name| *name == "http://www.w3.org/2000/svg" || name.starts_with("http-equiv")),
        "{names:?}"
    );
}

#[test]
fn what_others_wrote_is_text_in_the_page_and_harmless_on_a_terminal() {
    let line = json!({"audit": 1, "time": DAY, "drm": "<script>", "code": "\u{1b}[31m<blink>",
        "subject": "<i>", "stages": {"<u>": 1}});
    for format in ["html", "table", "json"] {
        let told = stdout(keylet(
            &["--format", format],
            format!("{line}\n").as_bytes(),
        ));
        for hostile in ["<script", "<blink>", "<i>", "<u>", "\u{1b}"] {
            assert!(!told.contains(hostile), "{format}: {told}");
        }
        assert!(told.contains("other"), "{format}: {told}");
    }
}

#[test]
fn nothing_to_report_is_no_failure_and_a_file_that_is_not_there_is_one() {
    for format in ["html", "table", "json"] {
        let output = keylet(&["--format", format], b"a line\n");
        assert!(String::from_utf8_lossy(&output.stderr).contains("no audit record"));
        assert!(stdout(output).contains('1'), "{format}");
    }
    let output = keylet(&["/nowhere/audit.log"], b"");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere/audit.log"));
    let output = keylet(&["--since", "2026-11-28", "--until", "2026-11-28"], b"");
    assert!(!output.status.success(), "{output:?}");
}
