//! `keylet keys`, on the file of a store, on Redis, and by the routes of a server.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::credentials::{dotenv, keylet, openssl};
use crate::support::{Directory, Process, free_port, redis, serve, wait_for};

const OPERATOR: &str = "operator-0123456789abcdef0123456789abcdef";
const KEY: &str = "000102030405060708090a0b0c0d0e0f";
const IV: &str = "0f0e0d0c0b0a09080706050403020100";

/// Where stored keys are, and the directory with the file of variables.
struct Place<'a> {
    here: &'a Path,
    options: Vec<String>,
    /// A server that runs until the end.
    _server: Option<Process>,
}

impl Place<'_> {
    fn run(&self, arguments: &[&str]) -> Output {
        let options = self.options.iter().map(String::as_str);
        let arguments: Vec<&str> = ["keys"]
            .into_iter()
            .chain(arguments.iter().copied())
            .chain(options)
            .collect();
        keylet(
            self.here,
            &arguments,
            &[("KEYLET_OPERATOR_TOKEN", OPERATOR)],
        )
    }

    fn printed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        said(&output)
    }

    /// The records of the list, by their ids.
    fn listed(&self) -> BTreeMap<String, Value> {
        let lines = self.printed(&["list", "--json"]);
        let records = lines.lines().map(|line| {
            let record: Value = serde_json::from_str(line).unwrap();
            (record["id"].as_str().unwrap().to_owned(), record)
        });
        records.collect()
    }

    fn shown(&self, id: &str) -> Value {
        serde_json::from_str(&self.printed(&["show", id, "--secret"])).unwrap()
    }
}

fn said(output: &Output) -> String {
    let (out, error) = (&output.stdout, &output.stderr);
    (String::from_utf8_lossy(out) + String::from_utf8_lossy(error)).into_owned()
}

fn init(here: &Path, arguments: &[&str]) {
    let arguments = [&["keys", "init"], arguments].concat();
    let output = keylet(here, &arguments, &[]);
    assert!(output.status.success(), "{}", said(&output));
}

/// A directory with an encrypting key.
fn with_encrypting_key(name: &str) -> Directory {
    let directory = Directory::new(name);
    init(&directory.0, &[]);
    directory
}

fn in_file(here: &Path) -> Place<'_> {
    let store = here.join("store.redb").display().to_string();
    Place {
        here,
        options: vec!["--store".to_owned(), store],
        _server: None,
    }
}

/// A server with the encrypting keys of the file of variables, and a store of its own.
fn on_server(here: &Path) -> Place<'_> {
    let port = free_port();
    let mut variables = dotenv(&here.join(".env"));
    variables.insert("operator_token".to_owned(), OPERATOR.to_owned());
    let state = here.join("state").display().to_string();
    let server = serve(port, &["--state-dir", &state], &variables);
    let url = format!("http://127.0.0.1:{port}");
    Place {
        here,
        options: vec!["--server".to_owned(), url],
        _server: Some(server),
    }
}

/// Does the same in each place where stored keys can be.
fn everywhere(name: &str, test: impl Fn(&Place<'_>)) {
    let directory = with_encrypting_key(name);
    test(&in_file(&directory.0));
    let directory = with_encrypting_key(name);
    test(&on_server(&directory.0));
    let directory = with_encrypting_key(name);
    if let Some((_server, keylet_host::StoreChoice::Redis(url))) = redis(name) {
        test(&Place {
            here: &directory.0,
            options: vec!["--store".to_owned(), url],
            _server: None,
        });
    }
}

fn kid(number: u32) -> String {
    format!("339c45b5-fb6d-4bd9-994c-{number:012x}")
}

/// So many records in JSON lines.
fn catalogue(number: u32) -> String {
    let mut lines = String::new();
    for number in 0..number {
        let record = json!({"id": format!("film-{number:07}"), "kid": kid(number), "key": format!("{number:032x}"), "iv": IV});
        writeln!(lines, "{record}").unwrap();
    }
    lines
}

#[test]
fn an_encrypting_key_is_made_once_and_another_is_put_in_front() {
    let directory = with_encrypting_key("keys-init");
    let here = directory.0.as_path();
    let keys = || -> Vec<Value> {
        let text = dotenv(&here.join(".env"))["key_encryption_keys"].clone();
        let mut set: Value = serde_json::from_str(&text).unwrap();
        serde_json::from_value(set["keys"].take()).unwrap()
    };
    let first = keys();
    assert_eq!(first.len(), 1);
    let again = keylet(here, &["keys", "init"], &[]);
    assert!(!again.status.success() && said(&again).contains("--rotate"));
    assert_eq!(keys(), first);
    init(here, &["--rotate"]);
    init(here, &["--rotate"]);
    let all = keys();
    assert_eq!(all.len(), 3);
    assert_eq!(all[2], first[0]);
    let mut ids: Vec<&str> = all.iter().map(|key| key["kid"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 3);
    assert!(
        !said(&again).contains(first[0]["k"].as_str().unwrap()),
        "no key is printed"
    );
}

#[test]
fn stored_keys_are_imported_listed_shown_deleted_and_restored() {
    everywhere("keys-work", |place| {
        let here = place.here;
        let table = format!(
            "ID;Key;kid;aliases;systems;terms\r\n\
             skd://movie-1;{KEY};{};old-1|older-1;fairplay|widevine;\"{{\"\"hdcp\"\":\"\"type0\"\"}}\"\r\n\
             \r\n\
             movie-2;AAECAwQFBgcICQoLDA0ODw==;;;;\r\n\
             movie-3;{KEY};no guid;;;\r\n\
             movie-4;{KEY}\r\n",
            kid(1)
        );
        std::fs::write(here.join("keys.csv"), table).unwrap();
        let first = place.refused(&["import", "keys.csv"]);
        assert!(
            first.contains("2 created, 0 replaced, 0 unchanged, 2 refused"),
            "{first}"
        );
        for reason in [
            "keys.csv: line 5: \"movie-3\"",
            "`kid`",
            "keys.csv: line 6:",
        ] {
            assert!(first.contains(reason), "{first}");
        }
        assert!(!first.contains(KEY), "{first}");

        let lines = place.printed(&["list"]);
        assert_eq!(lines.lines().count(), 2, "{lines}");
        for shown in [
            "movie-1 ",
            &kid(1),
            "fairplay,widevine",
            "type0",
            "movie-2 ",
        ] {
            assert!(lines.contains(shown), "{shown}: {lines}");
        }
        let listed = place.listed();
        assert!(listed["movie-1"]["record"].get("key").is_none());
        let without = place.printed(&["show", "movie-1"]);
        assert!(!without.contains(KEY), "{without}");
        assert_eq!(place.shown("movie-1")["key"], KEY);
        assert_eq!(place.shown("movie-2")["key"], KEY);
        // By its KID and by an alias.
        assert_eq!(place.shown(&kid(1))["uri"], "skd://movie-1");
        assert_eq!(place.shown("older-1")["uri"], "skd://movie-1");

        let record = |key: &str, iv: &str| json!({"id": "movie-2", "key": key, "iv": iv});
        let other = [record(KEY, IV), record(IV, IV)];
        std::fs::write(here.join("other.json"), json!(other).to_string()).unwrap();
        let other = place.refused(&["import", "other.json"]);
        assert!(
            other.contains("0 created, 1 replaced, 0 unchanged, 1 refused"),
            "{other}"
        );
        assert!(
            other.contains("other.json: record 2: \"movie-2\""),
            "{other}"
        );
        assert!(!other.contains(IV), "{other}");
        let replaced = place.printed(&["import", "other.json", "--replace-keys"]);
        assert!(replaced.contains("1 replaced, 1 unchanged"), "{replaced}");
        assert_eq!(place.shown("movie-2")["key"], IV);

        place.printed(&["delete", "skd://movie-1"]);
        assert!(place.listed()["movie-1"]["deleted"]["until"].is_u64());
        place.printed(&["restore", "movie-1"]);
        assert!(place.listed()["movie-1"].get("deleted").is_none());
        place.printed(&["delete", "movie-1", "--grace-seconds", "0"]);
        assert!(!place.listed().contains_key("movie-1"));
        assert!(place.run(&["restore", "movie-1"]).status.code() == Some(1));

        place.printed(&["add", "movie-5"]);
        assert_eq!(place.shown("movie-5")["key"].as_str().unwrap().len(), 32);
        assert!(place.run(&["add", "movie-5"]).status.code() == Some(1));

        // A record that is there keeps what it says beside its key, also when the same key is added.
        std::fs::write(here.join("key.txt"), KEY).unwrap();
        let add = ["add", "movie-6", "--key-file", "key.txt"];
        place.printed(&[&add[..], &["--terms", "{\"lease_seconds\":60}"]].concat());
        let before = place.shown("movie-6");
        assert_eq!(before["terms"]["lease_seconds"], 60);
        assert!(place.refused(&add).contains("there is a key"));
        assert_eq!(place.shown("movie-6"), before);
    });
}

#[test]
fn what_is_not_written_to_a_file_of_variables_is_not_counted() {
    let directory = with_encrypting_key("keys-count");
    let variables = Place {
        here: &directory.0,
        options: Vec::new(),
        _server: None,
    };
    let record = |id: &str| json!({"id": id, "kid": kid(1), "key": KEY, "iv": IV});
    let both = json!([record("movie-1"), record("movie-2")]).to_string();
    std::fs::write(directory.file("both.json"), both).unwrap();
    let refused = variables.refused(&["import", "both.json"]);
    assert!(refused.contains("0 created"), "{refused}");
    assert!(!refused.contains("ended early"), "{refused}");
}

#[test]
fn what_azure_exports_is_imported() {
    let directory = with_encrypting_key("keys-azure");
    let place = in_file(&directory.0);
    let key = |number: u32, kind: &str| {
        json!({"id": kid(number).to_uppercase(), "type": kind, "labelReferenceInStreamingPolicy": "hd", "value": "AAECAwQFBgcICQoLDA0ODw==",
               "policyName": "p", "tracks": []})
    };
    let one = json!({"contentKeys": [key(1, "CommonEncryptionCenc"), key(2, "CommonEncryptionCbcs"), key(3, "Other")]});
    let locators = format!(
        "{}\n{}\n",
        json!({"contentKeys": [key(2, "CommonEncryptionCbcs"), key(4, "EnvelopeEncryption")]}),
        json!({"contentKeys": []})
    );
    let pretty = serde_json::to_string_pretty(&one).unwrap();
    // As Windows PowerShell writes it.
    let utf16 = pretty.encode_utf16().flat_map(u16::to_le_bytes);
    let utf16: Vec<u8> = [0xff, 0xfe].into_iter().chain(utf16).collect();
    std::fs::write(directory.file("one.json"), utf16).unwrap();
    std::fs::write(directory.file("locators.json"), locators).unwrap();
    let imported = place.refused(&["import", "one.json", "locators.json"]);
    assert!(
        imported.contains("3 created, 0 replaced, 1 unchanged, 1 refused"),
        "{imported}"
    );
    assert!(imported.contains("one.json: record 3") && imported.contains("`type`"));
    assert_eq!(place.shown(&kid(1))["key"], KEY);
    let systems = |number| place.shown(&kid(number))["systems"].clone();
    assert_eq!(systems(1), json!(["widevine", "playready"]));
    assert_eq!(systems(2), json!(["fairplay", "widevine", "playready"]));
    assert_eq!(systems(4), json!(["aes128"]));
}

#[test]
fn the_keys_of_a_cpix_document_are_imported_also_encrypted_ones() {
    let directory = with_encrypting_key("keys-cpix");
    let place = in_file(&directory.0);
    let key = |number: u32, attributes: &str| {
        format!(
            r#"<cpix:ContentKey kid="{}" {attributes}><cpix:Data><pskc:Secret><pskc:PlainValue>AAECAwQFBgcICQoLDA0ODw==</pskc:PlainValue></pskc:Secret></cpix:Data></cpix:ContentKey>"#,
            kid(number)
        )
    };
    let document = |keys: &str, rules: &str| {
        format!(
            r#"<?xml version="1.0"?><cpix:CPIX contentId="series" xmlns:cpix="urn:dashif:org:cpix" xmlns:pskc="urn:ietf:params:xml:ns:keyprov:pskc"><cpix:ContentKeyList>{keys}</cpix:ContentKeyList><cpix:ContentKeyUsageRuleList>{rules}</cpix:ContentKeyUsageRuleList></cpix:CPIX>"#
        )
    };
    let rule = format!(
        r#"<cpix:ContentKeyUsageRule kid="{}" intendedTrackType="UHD1"/>"#,
        kid(1)
    );
    let keys = key(1, r#"explicitIV="DwAODQwLCgkIBwYFBAMCAQ==""#) + &key(2, "");
    std::fs::write(directory.file("two.xml"), document(&keys, &rule)).unwrap();
    let imported = place.printed(&["import", "two.xml"]);
    assert!(imported.contains("2 created"), "{imported}");
    let first = place.shown(&kid(1));
    assert_eq!(
        (&first["key"], &first["iv"], &first["track"]),
        (
            &json!(KEY),
            &json!("0f000e0d0c0b0a090807060504030201"),
            &json!("uhd")
        )
    );
    assert_eq!(place.shown(&kid(2))["track"], Value::Null);
    // Of two keys, none has the name of the content.
    assert!(place.refused(&["show", "series"]).contains("series"));
    let only = document(&key(3, ""), "");
    std::fs::write(directory.file("one.xml"), only).unwrap();
    place.printed(&["import", "one.xml", "--format", "cpix"]);
    assert_eq!(place.shown("series")["kid"], json!(kid(3)));

    // Encrypted by another implementation.
    let fixture = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/cpix");
        path.join(name).to_str().unwrap().to_owned()
    };
    let encrypted = fixture("encrypted-2.4.xml");
    let without = place.refused(&["import", &encrypted]);
    assert!(without.contains("--key"), "{without}");
    let imported = place.printed(&["import", &encrypted, "--key", &fixture("recipient.pem")]);
    assert!(imported.contains("1 created"), "{imported}");
    let shown = place.shown("339c45b5-fb6d-4bd9-994c-eabd9d41c95b");
    assert_eq!(shown["key"], "a537cdc0ca65841406d525e7bf22d754");
}

#[test]
fn files_that_are_no_key_records_are_refused_with_what_they_are() {
    let directory = with_encrypting_key("keys-wrong");
    let place = in_file(&directory.0);
    for (content, reason) in [
        ("", "empty"),
        ("movie-1\n", "columns"),
        ("id,key,secret\n", "\"secret\""),
        ("id,kid\n", "`key`"),
        ("<html></html>", "CPIX"),
        ("{\"id\":\n\"movie\"", "no JSON document"),
        ("7", "columns"),
    ] {
        std::fs::write(directory.file("keys"), content).unwrap();
        let refused = place.refused(&["import", "keys"]);
        assert!(refused.contains(reason), "{content}: {refused}");
        assert!(refused.contains("0 created"), "{content}: {refused}");
    }
    // A line that is wrong does not keep the others out.
    let lines = format!("{{\"id\":\n{}", catalogue(2));
    std::fs::write(directory.file("lines"), lines).unwrap();
    let refused = place.refused(&["import", "lines", "--format", "json-lines"]);
    assert!(
        refused.contains("2 created") && refused.contains("lines: line 1:"),
        "{refused}"
    );
    // A store that is not there has no keys to list.
    let place = Place {
        options: vec!["--store".to_owned(), "nowhere.redb".to_owned()],
        ..place
    };
    assert!(place.refused(&["list"]).contains("no such store"));
    assert!(!directory.file("nowhere.redb").exists());
}

#[test]
fn records_that_share_a_name_are_put_one_after_the_other() {
    let directory = with_encrypting_key("keys-names");
    let place = in_file(&directory.0);
    let mut lines = String::new();
    for number in 0..1_000_u32 {
        // The same record four times, and another that takes its KID.
        for _ in 0..4 {
            let record = json!({"id": format!("a-{number}"), "kid": kid(number), "key": KEY});
            writeln!(lines, "{record}").unwrap();
        }
        let record = json!({"id": format!("b-{number}"), "kid": kid(number), "key": KEY});
        writeln!(lines, "{record}").unwrap();
    }
    std::fs::write(directory.file("keys.jsonl"), lines).unwrap();
    let imported = place.refused(&["import", "keys.jsonl"]);
    assert!(
        imported.contains("1000 created, 0 replaced, 3000 unchanged, 1000 refused"),
        "{}",
        imported.lines().last().unwrap_or_default()
    );
}

/// Imports a catalogue, is killed in the middle, and is run again.
fn killed(place: &Place<'_>) {
    const RECORDS: u32 = 40_000;
    std::fs::write(place.here.join("keys.jsonl"), catalogue(RECORDS)).unwrap();
    // The import is under way while its input goes on.
    let mut import = Command::new(env!("CARGO_BIN_EXE_keylet"))
        .args(["keys", "import", "-"])
        .args(&place.options)
        .current_dir(place.here)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = import.stdin.take().unwrap();
    let half = catalogue(RECORDS / 2);
    std::io::Write::write_all(&mut input, half.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    // SIGKILL, while it waits for more.
    import.kill().unwrap();
    import.wait().unwrap();
    drop(input);

    let stored = place.listed().len();
    assert!(
        (1..RECORDS as usize).contains(&stored),
        "{stored} records were stored before it was killed"
    );
    let again = place.printed(&["import", "keys.jsonl"]);
    assert!(again.contains(" 0 refused"), "{again}");
    assert_eq!(place.listed().len(), RECORDS as usize);
    // Every name leads to its record: otherwise a record would be mended now.
    let third = place.printed(&["import", "keys.jsonl"]);
    assert!(
        third.contains(&format!("0 created, 0 replaced, {RECORDS} unchanged")),
        "{third}"
    );
}

#[test]
fn an_import_into_a_file_that_is_killed_is_run_again() {
    let directory = with_encrypting_key("keys-killed");
    killed(&in_file(&directory.0));
}

#[test]
fn an_import_into_redis_that_is_killed_is_run_again() {
    let name = "an_import_into_redis_that_is_killed_is_run_again";
    let directory = with_encrypting_key("keys-killed-redis");
    if let Some((_server, keylet_host::StoreChoice::Redis(url))) = redis(name) {
        killed(&Place {
            here: &directory.0,
            options: vec!["--store".to_owned(), url],
            _server: None,
        });
    }
}

#[test]
fn stored_keys_are_encrypted_again_until_the_old_key_can_go() {
    everywhere("keys-rotate", |place| {
        let here = place.here;
        std::fs::write(here.join("keys.jsonl"), catalogue(1_500)).unwrap();
        place.printed(&["import", "keys.jsonl"]);
        let old = place.listed()["film-0000000"]["encryption_key"].clone();
        let rotated = place.printed(&["rotate"]);
        assert!(
            rotated.starts_with("0 encrypted again, 1500 already under the first key, 0 left"),
            "{rotated}"
        );
        if place.options[0] == "--server" {
            // It has the variable from its start.
            return;
        }
        init(here, &["--rotate"]);
        let rotated = place.printed(&["rotate"]);
        assert!(
            rotated.starts_with("1500 encrypted again, 0 already under the first key, 0 left"),
            "{rotated}"
        );
        let rotated = place.printed(&["rotate"]);
        assert!(
            rotated.starts_with("0 encrypted again, 1500 already under the first key, 0 left"),
            "{rotated}"
        );
        let new = place.listed()["film-0000000"]["encryption_key"].clone();
        assert_ne!(new, old);
        // Without the old key, everything is read; without the new one, nothing.
        let mut variables = dotenv(&here.join(".env"));
        let mut set: Value = serde_json::from_str(&variables["key_encryption_keys"]).unwrap();
        let keys = set["keys"].as_array_mut().unwrap();
        let newest = keys.remove(0);
        let oldest = std::mem::replace(&mut keys[0], newest);
        let mut use_keys = |set: &Value| {
            variables.insert("key_encryption_keys".to_owned(), set.to_string());
            let line = format!("SPIN_VARIABLE_KEY_ENCRYPTION_KEYS='{set}'\n");
            std::fs::write(here.join(".env"), line).unwrap();
        };
        use_keys(&set);
        assert_eq!(place.shown("film-0000007")["key"], format!("{:032x}", 7));
        use_keys(&json!({ "keys": [oldest] }));
        let refused = place.refused(&["rotate"]);
        assert!(
            refused.contains("1500 left under other keys") && refused.contains("Keep the old keys"),
            "{}",
            refused.lines().last().unwrap_or_default()
        );
    });
}

#[test]
fn keys_are_exported_for_a_certificate_and_openssl_reads_them() {
    everywhere("keys-export", |place| {
        let here = place.here;
        std::fs::write(here.join("keys.jsonl"), catalogue(30)).unwrap();
        place.printed(&["import", "keys.jsonl"]);
        place.printed(&["delete", "film-0000029"]);
        let request = [
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=backup",
            "-keyout",
            "private.pem",
            "-out",
            "backup.pem",
        ];
        openssl(here, &request);
        assert!(
            !place.run(&["export"]).status.success(),
            "nobody said for whom"
        );
        place.printed(&["export", "--plaintext", "--out", "plain.jsonl"]);
        let plain = std::fs::read_to_string(here.join("plain.jsonl")).unwrap();
        let expected: Vec<Value> = catalogue(29).lines().map(parsed).collect();
        let mut exported: Vec<Value> = plain.lines().map(parsed).collect();
        exported.sort_by_key(|record| record["id"].to_string());
        assert_eq!(exported, expected);
        assert_eq!(place.printed(&["export", "--plaintext"]), plain);

        place.printed(&["export", "--recipient", "backup.pem", "--out", "keys.cms"]);
        let encrypted = std::fs::read_to_string(here.join("keys.cms")).unwrap();
        assert!(encrypted.starts_with("-----BEGIN CMS-----\n"));
        let decrypt = [
            "cms",
            "-decrypt",
            "-inform",
            "PEM",
            "-in",
            "keys.cms",
            "-inkey",
            "private.pem",
            "-out",
            "decrypted.jsonl",
        ];
        openssl(here, &decrypt);
        let decrypted = std::fs::read_to_string(here.join("decrypted.jsonl")).unwrap();
        assert_eq!(decrypted.replace("\r\n", "\n"), plain);

        // Ours, and what OpenSSL makes by its defaults and otherwise.
        for (file, options) in [
            ("by-openssl.cms", &["-outform", "PEM"][..]),
            (
                "by-openssl.der",
                &[
                    "-outform",
                    "DER",
                    "-aes128",
                    "-keyopt",
                    "rsa_padding_mode:oaep",
                ],
            ),
        ] {
            let made = [
                "cms",
                "-encrypt",
                "-binary",
                "-in",
                "plain.jsonl",
                "-out",
                file,
            ];
            let recipient = ["-recip", "backup.pem"];
            openssl(
                here,
                &[&made[..], &recipient[..1], &recipient[1..], options].concat(),
            );
        }
        for file in ["keys.cms", "by-openssl.cms", "by-openssl.der"] {
            let locked = place.refused(&["import", file]);
            assert!(locked.contains("--key"), "{file}: {locked}");
            let imported = place.run(&["import", file, "--key", "private.pem"]);
            assert!(
                said(&imported).contains("0 created, 0 replaced, 29 unchanged, 0 refused"),
                "{file}: {}",
                said(&imported)
            );
        }
        openssl(here, &["genrsa", "-out", "other.pem", "2048"]);
        let other = place.refused(&["import", "keys.cms", "--key", "other.pem"]);
        assert!(other.contains("another certificate"), "{other}");
    });
}

fn parsed(line: &str) -> Value {
    serde_json::from_str(line).unwrap()
}

#[test]
fn the_keys_of_a_variable_move_into_the_store_and_back() {
    let directory = with_encrypting_key("keys-move");
    let here = directory.0.as_path();
    let variables = Place {
        here,
        options: Vec::new(),
        _server: None,
    };
    variables.printed(&["add", "movie-1", "movie-2"]);
    variables.printed(&["export", "--plaintext", "--out", "keys.jsonl"]);
    let stored = in_file(here);
    stored.printed(&["import", "keys.jsonl"]);
    let key = |place: &Place<'_>| place.shown("movie-1")["key"].clone();
    assert_eq!(key(&stored), key(&variables));
    variables.printed(&["delete", "movie-1"]);
    stored.printed(&["export", "--plaintext", "--out", "back.jsonl"]);
    let back = variables.printed(&["import", "back.jsonl"]);
    assert!(
        back.contains("1 created, 0 replaced, 1 unchanged"),
        "{back}"
    );
    assert_eq!(key(&stored), key(&variables));
    assert!(variables.refused(&["rotate"]).contains("--store"));
}

#[test]
fn the_file_of_a_server_that_runs_is_left_to_it() {
    let directory = with_encrypting_key("keys-open");
    let server = on_server(&directory.0);
    server.printed(&["add", "movie-1"]);
    let path = directory.file("state/key_value.redb").display().to_string();
    let place = Place {
        here: &directory.0,
        options: vec!["--store".to_owned(), path],
        _server: None,
    };
    wait_for(|| directory.file("state/key_value.redb").exists());
    let refused = place.refused(&["list"]);
    assert!(refused.contains("--server"), "{refused}");

    let wrong = ["keys", "list", "--server", &server.options[1]];
    let denied = keylet(
        &directory.0,
        &wrong,
        &[("KEYLET_OPERATOR_TOKEN", "not-the-token")],
    );
    assert_eq!(denied.status.code(), Some(1));
    assert!(said(&denied).contains("401") && !said(&denied).contains("not-the-token"));
    let none = keylet(&directory.0, &wrong, &[]);
    assert!(
        said(&none).contains("--operator-token-file"),
        "{}",
        said(&none)
    );
}
