//! SPCs as scripts, proxies and tools mangle them: each gets its licence, or the code that names the mistake.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::Request;
use keylet_cli::device::{Licence, Secrets};
use serde_json::{Value, json};

use crate::support::{Answer, FIXTURE_SERVER, faults, fixture, in_every_world, send, spc, token};

/// What became of the SPC.
enum Mangled {
    Bytes(Vec<u8>),
    Text(String),
    Json(Value),
}

/// What carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carrier {
    Body,
    Member,
    Field,
    Envelope,
}

use Carrier::{Body, Envelope, Field, Member};
use Mangled::{Bytes, Json, Text};

const EVERYWHERE: &[Carrier] = &[Body, Member, Field, Envelope];

/// What is expected: a licence, or this code.
type Expected = Result<(), &'static str>;

impl Mangled {
    /// Bytes are in base64 where the carrier is JSON, as they have to be.
    fn carried(&self, carrier: Carrier) -> (&'static str, Vec<u8>) {
        let value = match self {
            Bytes(bytes) => STANDARD.encode(bytes).into(),
            Text(text) => Value::from(text.as_str()),
            Json(value) => value.clone(),
        };
        match (carrier, self) {
            (Body, Bytes(bytes)) => ("application/octet-stream", bytes.clone()),
            (Body, Text(text)) => ("text/plain", text.clone().into()),
            (Body, Json(value)) => ("application/json", value.to_string().into()),
            (Member, _) => (
                "application/json",
                json!({ "spc": value }).to_string().into(),
            ),
            (Envelope, _) => {
                let keys = json!([{"id": 1, "spc": value}]);
                let body = json!({"fairplay-streaming-request": {"streaming-keys": keys}});
                ("application/json", body.to_string().into())
            }
            (Field, _) => {
                let bytes = match self {
                    Bytes(bytes) => bytes.clone(),
                    Text(text) => text.clone().into(),
                    Json(value) => value.to_string().into(),
                };
                let body = format!("spc={}&assetId=movie-1", percent(&bytes));
                ("application/x-www-form-urlencoded", body.into())
            }
        }
    }
}

fn percent(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "%{byte:02X}").unwrap();
        text
    })
}

fn listed(spc: &[u8], separator: &str) -> String {
    let numbers: Vec<String> = spc.iter().map(ToString::to_string).collect();
    numbers.join(separator)
}

fn hex_in_groups(spc: &[u8], size: usize, separator: &str) -> String {
    let groups: Vec<String> = spc.chunks(size).map(hex::encode).collect();
    groups.join(separator)
}

fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(bytes).collect()
}

fn latin(spc: &[u8]) -> String {
    spc.iter().copied().map(char::from).collect()
}

/// The parts of a form, as browsers send them.
fn multipart(parts: &[(&str, &[u8])]) -> Mangled {
    let mut body = Vec::new();
    for (head, content) in parts {
        let head = format!("--b-1\r\nContent-Disposition: form-data; {head}\r\n\r\n");
        body.extend([head.as_bytes(), content, b"\r\n"].concat());
    }
    Bytes([&body[..], b"--b-1--\r\n"].concat())
}

/// Every way in which an SPC is mangled, with the carriers in which that happens.
fn table(spc: &[u8]) -> Vec<(&'static str, Mangled, &'static [Carrier], Expected)> {
    let base64 = STANDARD.encode(spc);
    let marked = format!("\u{feff}{base64}");
    let windows = latin(spc).replace('\u{80}', "€").replace('\u{93}', "“");
    let user_defined = spc.iter().map(|byte| match byte {
        0x80.. => char::from_u32(0xf700 + u32::from(*byte)).unwrap(),
        byte => char::from(*byte),
    });
    let lines: Vec<&str> = (0..base64.len().div_ceil(64))
        .map(|line| &base64[line * 64..base64.len().min(line * 64 + 64)])
        .collect();
    let question_marks = spc.iter().map(|byte| match byte {
        0x80.. => b'?',
        byte => *byte,
    });
    let object: serde_json::Map<String, Value> = spc
        .iter()
        .enumerate()
        .map(|(index, byte)| (index.to_string(), (*byte).into()))
        .collect();
    let signed: Vec<i8> = spc.iter().map(|byte| byte.cast_signed()).collect();
    let hexadecimal = hex::encode(spc);
    let lossy = Err("spc_is_lossy_text");
    let description = Err("spc_is_description");
    let text = |text: &str| Text(text.to_owned());
    let units: Vec<u16> = spc
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .collect();
    let mut table = vec![
        ("bytes as characters", Text(latin(spc)), EVERYWHERE, Ok(())),
        ("windows-1252", Text(windows), EVERYWHERE, Ok(())),
        (
            "user-defined",
            Text(user_defined.collect()),
            EVERYWHERE,
            Ok(()),
        ),
        (
            "bytes as characters twice",
            Text(latin(latin(spc).as_bytes())),
            EVERYWHERE,
            Ok(()),
        ),
        (
            "replaced characters",
            Text(String::from_utf8_lossy(spc).into()),
            EVERYWHERE,
            lossy,
        ),
        (
            "replaced units",
            Text(String::from_utf16_lossy(&units)),
            EVERYWHERE,
            lossy,
        ),
        (
            "question marks",
            Bytes(question_marks.collect()),
            EVERYWHERE,
            lossy,
        ),
        (
            "seven bits",
            Bytes(spc.iter().map(|byte| byte & 0x7f).collect()),
            EVERYWHERE,
            lossy,
        ),
        (
            "base64 in percents",
            Text(percent(base64.as_bytes())),
            EVERYWHERE,
            Ok(()),
        ),
        (
            "base64 encoded as a component",
            Text(
                base64
                    .replace('+', "%2B")
                    .replace('/', "%2F")
                    .replace('=', "%3D"),
            ),
            EVERYWHERE,
            Ok(()),
        ),
        ("bytes in percents", Text(percent(spc)), EVERYWHERE, Ok(())),
        (
            "percents twice",
            Text(percent(percent(spc).as_bytes())),
            &[Body, Member],
            Ok(()),
        ),
        (
            "data URL",
            text(&format!("data:application/octet-stream;base64,{base64}")),
            EVERYWHERE,
            Ok(()),
        ),
        (
            "data URL in percents",
            text(&format!("data:,{}", percent(spc))),
            EVERYWHERE,
            Ok(()),
        ),
        ("list", Json(spc.into()), EVERYWHERE, Ok(())),
        (
            "list in text",
            Text(Value::from(spc).to_string()),
            EVERYWHERE,
            Ok(()),
        ),
        ("signed list", Json(json!(signed)), EVERYWHERE, Ok(())),
        ("Uint8Array", Json(object.into()), EVERYWHERE, Ok(())),
        (
            "Buffer",
            Json(json!({"type": "Buffer", "data": spc})),
            EVERYWHERE,
            Ok(()),
        ),
        ("decimals", Text(listed(spc, ",")), EVERYWHERE, Ok(())),
        (
            "decimals and spaces",
            Text(listed(spc, ", ")),
            EVERYWHERE,
            Ok(()),
        ),
        (
            "decimals in base64",
            Text(STANDARD.encode(listed(spc, ","))),
            EVERYWHERE,
            Ok(()),
        ),
        ("hex", text(&hexadecimal), EVERYWHERE, Ok(())),
        (
            "hex in capitals",
            Text(hexadecimal.to_uppercase()),
            EVERYWHERE,
            Ok(()),
        ),
        (
            "form of characters",
            Text(format!("spc={}", latin(spc))),
            &[Body],
            Ok(()),
        ),
        (
            "form of bytes",
            Bytes([b"spc=", spc].concat()),
            &[Body],
            Ok(()),
        ),
        (
            "hex with 0x",
            Text(format!("0x{hexadecimal}")),
            EVERYWHERE,
            Ok(()),
        ),
        (
            "hex with colons",
            Text(hex_in_groups(spc, 1, ":")),
            EVERYWHERE,
            Ok(()),
        ),
        (
            "hex of NSData",
            Text(format!("<{}>", hex_in_groups(spc, 4, " "))),
            EVERYWHERE,
            Ok(()),
        ),
        (
            "hex in base64",
            Text(STANDARD.encode(&hexadecimal)),
            EVERYWHERE,
            Ok(()),
        ),
        (
            "UTF-16LE",
            Bytes(utf16(&base64, u16::to_le_bytes)),
            &[Body, Field],
            Ok(()),
        ),
        (
            "UTF-16BE",
            Bytes(utf16(&base64, u16::to_be_bytes)),
            &[Body, Field],
            Ok(()),
        ),
        (
            "UTF-16LE and mark",
            Bytes(utf16(&marked, u16::to_le_bytes)),
            &[Body, Field],
            Ok(()),
        ),
        (
            "UTF-16BE and mark",
            Bytes(utf16(&marked, u16::to_be_bytes)),
            &[Body, Field],
            Ok(()),
        ),
        (
            "UTF-16 in base64",
            Bytes(utf16(&base64, u16::to_le_bytes)),
            &[Member],
            Err("spc_is_base64"),
        ),
        (
            "units of bytes",
            Bytes(utf16(&latin(spc), u16::to_le_bytes)),
            EVERYWHERE,
            Ok(()),
        ),
        ("mark", text(&marked), EVERYWHERE, Ok(())),
        (
            "mark and bytes",
            Text(format!("\u{feff}{}", latin(spc))),
            EVERYWHERE,
            Ok(()),
        ),
        (
            "base64url",
            Text(URL_SAFE_NO_PAD.encode(spc)),
            EVERYWHERE,
            Ok(()),
        ),
        ("lines", Text(lines.join("\r\n")), EVERYWHERE, Ok(())),
        ("escaped lines", Text(lines.join("\\n")), EVERYWHERE, Ok(())),
        ("quotes", text(&format!("\"{base64}\"")), EVERYWHERE, Ok(())),
        (
            "single quotes",
            text(&format!("'{base64}'")),
            EVERYWHERE,
            Ok(()),
        ),
        (
            "XML",
            text(&format!("<spc>{base64}</spc>")),
            EVERYWHERE,
            Ok(()),
        ),
        (
            "spaces for pluses",
            Text(base64.replace('+', " ")),
            EVERYWHERE,
            Ok(()),
        ),
        (
            "base64 twice",
            Text(STANDARD.encode(&base64)),
            EVERYWHERE,
            Err("spc_is_base64"),
        ),
        (
            "base64 in quotes twice",
            Text(format!("'{}'", STANDARD.encode(&base64))),
            EVERYWHERE,
            Err("spc_is_base64"),
        ),
        (
            "form in JSON",
            Text(format!("spc={base64}")),
            &[Member, Field, Envelope],
            Err("spc_is_form"),
        ),
        (
            "document in text",
            Text(json!({"spc": base64}).to_string()),
            &[Member, Field, Envelope],
            Err("spc_is_json"),
        ),
        (
            "gzip",
            Bytes([&[0x1f, 0x8b, 8, 0][..], spc].concat()),
            EVERYWHERE,
            Err("spc_is_compressed"),
        ),
        (
            "zlib",
            Bytes([&[0x78, 0x9c][..], spc].concat()),
            EVERYWHERE,
            Err("spc_is_compressed"),
        ),
        (
            "Zstandard",
            Bytes([&[0x28, 0xb5, 0x2f, 0xfd][..], spc].concat()),
            EVERYWHERE,
            Err("spc_is_compressed"),
        ),
        (
            "object without bytes",
            Json(json!({})),
            &[Body, Member, Envelope],
            description,
        ),
        (
            "event",
            Json(json!({"isTrusted": true})),
            &[Body, Member, Envelope],
            description,
        ),
        ("null", Json(Value::Null), EVERYWHERE, description),
        (
            "part",
            multipart(&[("name=\"spc\"; filename=\"blob\"", spc)]),
            &[Body],
            Ok(()),
        ),
        (
            "part behind others",
            multipart(&[("name=\"a\"", b"1"), ("name=\"spc\"", spc)]),
            &[Body],
            Ok(()),
        ),
        (
            "part in base64",
            multipart(&[("name=\"spc\"", base64.as_bytes())]),
            &[Body],
            Ok(()),
        ),
        (
            "part with another name",
            multipart(&[("name=\"a\"", b"1"), ("name=\"file\"", spc)]),
            &[Body],
            Ok(()),
        ),
        (
            "part without an SPC",
            multipart(&[("name=\"a\"", b"1")]),
            &[Body],
            Err("spc_is_multipart"),
        ),
        (
            "part with a description",
            multipart(&[("name=\"spc\"", b"[object Blob]")]),
            &[Body],
            description,
        ),
    ];
    for name in [
        "[object ArrayBuffer]",
        "[object Object]",
        "[object Uint8Array]",
        "undefined",
        "NaN",
        "nil",
        "1056 bytes",
        "Optional(1056 bytes)",
        "{length = 1056, bytes = 0x00000001 00000000 ... 00000000 }",
    ] {
        table.push((name, text(name), EVERYWHERE, description));
        table.push((name, Text(STANDARD.encode(name)), EVERYWHERE, description));
    }
    table
}

fn post(content_type: &str, body: &[u8]) -> Answer {
    post_to("/fairplay?format=raw", content_type, body)
}

fn post_to(path: &str, content_type: &str, body: &[u8]) -> Answer {
    let request = Request::post("/")
        .header("authorization", format!("Bearer {}", token("hs256")))
        .header("content-type", content_type);
    send(&FIXTURE_SERVER, request, path, body)
}

/// The SPC of a fixture, and what opens its licence.
fn fixture_case(version: &str) -> (Vec<u8>, Secrets) {
    let secrets = serde_json::from_slice(&fixture(&format!("spc/{version}.json"))).unwrap();
    (fixture(&format!("spc/{version}.bin")), secrets)
}

#[test]
fn every_mangled_spc_gets_its_licence_or_its_own_code() {
    let (mut licences, mut codes) = (0, 0);
    for version in ["v1", "v2", "v3"] {
        let (spc, secrets) = fixture_case(version);
        for (name, mangled, carriers, expected) in table(&spc) {
            for carrier in carriers {
                let (content_type, body) = mangled.carried(*carrier);
                let answer = post(content_type, &body);
                let code = answer.header("x-keylet-code");
                let at = format!("{version}, {name}, {carrier:?}: {code:?}");
                match expected {
                    Ok(()) => {
                        assert_eq!(answer.status, 200, "{at}");
                        assert!(Licence::open(&answer.body, &secrets).is_ok(), "{at}");
                        licences += 1;
                    }
                    Err(expected) => {
                        assert_eq!((answer.status, code), (400, Some(expected)), "{at}");
                        let document = answer.json();
                        assert!(document["detail"].as_str().unwrap().len() > 40, "{at}");
                        codes += 1;
                    }
                }
            }
        }
    }
    assert!(licences > 300 && codes > 200, "{licences} and {codes}");
}

#[test]
fn what_is_wrong_inside_a_wrapping_is_told_as_without_it() {
    let (spc, _) = fixture_case("v1");
    let cut = &spc[..spc.len() - 16];
    let certificate = fixture("credentials/sdk4.cer");
    for (content, code) in [
        (cut, "spc_length"),
        (&spc[..100], "spc_truncated"),
        (&certificate, "spc_is_certificate"),
        (b"skd://movie-1", "spc_is_uri"),
    ] {
        for mangled in [
            Text(hex::encode(content)),
            Json(content.into()),
            Text(percent(STANDARD.encode(content).as_bytes())),
            multipart(&[("name=\"spc\"", content)]),
        ] {
            let (content_type, body) = mangled.carried(Body);
            let answer = post(content_type, &body);
            let text = String::from_utf8_lossy(&body).into_owned();
            assert_eq!(answer.header("x-keylet-code"), Some(code), "{text}");
        }
    }
}

#[test]
fn whole_documents_in_utf16_are_read() {
    let (spc, secrets) = fixture_case("v1");
    let base64 = STANDARD.encode(&spc);
    for text in [
        json!({ "spc": base64 }).to_string(),
        format!("spc={}", percent(base64.as_bytes())),
        format!("\u{feff}{}", json!([{"keyID": "AQ==", "payload": base64}])),
    ] {
        for order in [u16::to_le_bytes, u16::to_be_bytes] {
            let answer = post("application/json", &utf16(&text, order));
            assert!(Licence::open(&answer.body, &secrets).is_ok(), "{text}");
        }
    }
}

#[test]
fn what_content_encoding_says_is_believed_where_there_is_no_spc() {
    let (spc, _) = fixture_case("v1");
    let reversed: Vec<u8> = spc.iter().rev().copied().collect();
    for (encoding, body, expected) in [
        ("br", &reversed, (400, Some("spc_is_compressed"))),
        ("identity", &reversed, (400, Some("spc_version"))),
        ("gzip", &spc, (200, None)),
    ] {
        let request = Request::post("/")
            .header("authorization", format!("Bearer {}", token("hs256")))
            .header("content-encoding", encoding);
        let answer = send(&FIXTURE_SERVER, request, "/fairplay", body);
        let found = (answer.status, answer.header("x-keylet-code"));
        assert_eq!(found, expected, "{encoding}");
    }
}

#[test]
fn a_mangled_spc_may_be_as_large_as_a_body_and_takes_no_longer() {
    let limit = keylet::service::MAX_BODY;
    let began = std::time::Instant::now();
    for unit in [
        "%00",
        "0,",
        "[",
        "--",
        "--b\r\n\r\n",
        "AA",
        "00",
        "\"",
        "\0",
        "\u{e9}",
        " ",
    ] {
        let body = unit.repeat(limit / unit.len());
        let answer = post("text/plain", body.as_bytes());
        assert!(
            [400, 413].contains(&answer.status),
            "{unit:?}: {}",
            answer.status
        );
    }
    let delimiter = format!("--{}", "-".repeat(limit / 2));
    let body = format!("{delimiter}\n{}", "-".repeat(limit / 2 - 8));
    assert_eq!(post("text/plain", body.as_bytes()).status, 400);
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}

/// The inputs of public bug reports, which lie beside the vectors.
#[test]
fn the_bodies_of_bug_reports_get_a_licence_or_a_code() {
    let Some(faults) = faults("the_bodies_of_bug_reports_get_a_licence_or_a_code") else {
        return;
    };
    let folder = faults.join("12-spc-wrapped-unnamed");
    let body = |name: &str| std::fs::read(folder.join(name)).unwrap();
    // The SPC is for another certificate: what reads it says so.
    let read = post("application/octet-stream", &body("raw.spc"));
    let read = read.header("x-keylet-code").map(ToOwned::to_owned);
    assert!(
        !read
            .as_deref()
            .is_some_and(|code| code.starts_with("spc_is") || code.starts_with("body"))
    );
    for (name, expected) in [
        ("decimals.txt", read.as_deref()),
        ("form_double_percent.txt", read.as_deref()),
        ("gzip.bin", Some("spc_is_compressed")),
        ("hex.txt", read.as_deref()),
        ("json_data_url.json", read.as_deref()),
        ("json_uint8array.json", read.as_deref()),
        ("multipart_base64.txt", read.as_deref()),
        ("multipart_raw.bin", read.as_deref()),
        ("object_arraybuffer.txt", Some("spc_is_description")),
        ("object_object.txt", Some("spc_is_description")),
        ("utf16.json", read.as_deref()),
        ("utf8_replacement.bin", Some("spc_is_lossy_text")),
    ] {
        for content_type in [
            "application/octet-stream",
            "application/json",
            "application/x-www-form-urlencoded",
            "text/plain",
            "multipart/form-data; boundary=x",
        ] {
            let answer = post(content_type, &body(name));
            let code = answer.header("x-keylet-code");
            assert_eq!(code, expected, "{name} as {content_type}");
        }
    }
}

#[test]
fn asset_ids_of_packagers_and_initialisation_data_find_the_record() {
    use keylet_cli::device::SpcOptions;

    let uri = "skd://movie-1";
    let with_length = |id: &[u8], bytes: fn(u32) -> [u8; 4]| {
        [&bytes(u32::try_from(id.len()).unwrap())[..], id].concat()
    };
    let wide = utf16(uri, u16::to_le_bytes);
    let units = u32::try_from(wide.len() / 2).unwrap();
    let mut ids: Vec<Vec<u8>> = vec![
        wide.clone(),
        with_length(uri.as_bytes(), u32::to_le_bytes),
        with_length(uri.as_bytes(), u32::to_be_bytes),
        with_length(b"movie-1", u32::to_le_bytes),
        with_length(&wide, u32::to_le_bytes),
        with_length(&utf16("movie-1", u16::to_le_bytes), u32::to_le_bytes),
        [&units.to_le_bytes()[..], &wide].concat(),
        b"skd://M5xFtfttS9mZTOq9nUHJWw==".to_vec(),
        b"M5xFtfttS9mZTOq9nUHJWw".to_vec(),
        b"skd://M5xFtfttS9mZTOq9nUHJWw%3D%3D".to_vec(),
        with_length(b"skd://M5xFtfttS9mZTOq9nUHJWw==", u32::to_le_bytes),
        b"skd%3A%2F%2Fmovie-1".to_vec(),
        b"skd://movie%2D1".to_vec(),
        utf16("skd://movie%2d1", u16::to_le_bytes),
        with_length(
            &utf16("skd://movie%2d1", u16::to_le_bytes),
            u32::to_le_bytes,
        ),
    ];
    if let Some(folder) = faults("asset_ids_of_packagers") {
        let file = folder.join("14-asset-ids/shaka_packager_default.txt");
        let text = std::fs::read_to_string(file).unwrap();
        ids.extend(text.lines().map(|line| line.as_bytes().to_vec()));
    }
    in_every_world(|server| {
        for id in &ids {
            let (spc, secrets) = spc(&SpcOptions::new(id.clone()));
            let request =
                Request::post("/").header("authorization", format!("Bearer {}", token("hs256")));
            let answer = send(server, request, "/fairplay?format=raw", &spc);
            let code = answer.header("x-keylet-code");
            let licence = Licence::open(&answer.body, &secrets);
            assert!(licence.is_ok(), "{}: {code:?}", String::from_utf8_lossy(id));
        }
        let (spc, _) = spc(&SpcOptions::new(b"\x09\0\0\0skd://movie-1".to_vec()));
        let request =
            Request::post("/").header("authorization", format!("Bearer {}", token("hs256")));
        let answer = send(server, request, "/fairplay", &spc);
        assert_eq!(answer.header("x-keylet-code"), Some("key_not_found"));
    });
}
