//! Key records: how one of a list is found, and which of its members refuse.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keylet::content_key::store::{Catalogue, EncryptionKeys, Outcome};
use keylet::service::Service;
use keylet_cli::device::{Licence, SpcOptions};
use keylet_host::Server;
use serde_json::{Value, json};

use crate::support::{Native, WORLDS, post_spc, run, serve, serve_in, spc, variables_with};

const IV: &str = "0f0e0d0c0b0a09080706050403020100";

fn with_records(records: &[Value]) -> keylet_host::Provided {
    variables_with(&[("content_keys", &json!(records).to_string())])
}

/// The key of the licence for an asset, in hexadecimal, or the code of the refusal.
fn licence(server: &Server, asset: &[u8]) -> Result<String, String> {
    let (message, secrets) = spc(&SpcOptions::new(asset));
    let answer = post_spc(server, &message);
    match answer.header("x-keylet-code") {
        Some(code) => Err(format!("{} {code}", answer.status)),
        None => Ok(hex::encode(
            Licence::open(&answer.body, &secrets).unwrap().key,
        )),
    }
}

fn refused(status: u16, code: &str) -> Result<String, String> {
    Err(format!("{status} {code}"))
}

/// A record whose key is its number.
fn record(number: u128) -> Value {
    json!({
        "id": format!("movie-{number}"),
        "kid": format!("{number:032x}"),
        "aliases": [format!("skd://alias/{number}")],
        "key": format!("{number:032x}"),
        "iv": IV,
        "terms": {"hdcp": "none"},
    })
}

#[test]
fn one_of_many_records_is_found_by_each_of_its_names_in_every_world() {
    let records: Vec<Value> = (0..2_000).map(record).collect();
    let variables = with_records(&records);
    for world in WORLDS {
        let server = serve_in(world, &variables);
        for number in [0, 1, 999, 1_999_u128] {
            let key = Ok(format!("{number:032x}"));
            let names: [Vec<u8>; 4] = [
                format!("skd://movie-{number}").into_bytes(),
                format!("{number:032X}").into_bytes(),
                format!("alias/{number}").into_bytes(),
                format!("skd://{number:032x}:{IV}").into_bytes(),
            ];
            for name in names {
                assert_eq!(licence(&server, &name), key, "{world:?} {name:?}");
            }
        }
        let missing = licence(&server, b"movie-2000");
        assert_eq!(missing, refused(404, "key_not_found"), "{world:?}");
    }
}

#[test]
fn a_mistake_in_a_list_refuses_the_keys_that_it_concerns() {
    let broken = json!({"id": "broken", "key": "secret", "iv": IV});
    let twin = json!({"id": "twin", "aliases": ["movie-1"], "key": IV, "iv": IV});
    let server = serve(&with_records(&[record(1), broken, record(2), twin]));
    assert_eq!(licence(&server, b"movie-2"), Ok(format!("{:032x}", 2)));
    assert_eq!(licence(&server, b"twin"), Ok(IV.to_owned()));
    for name in ["broken", "movie-1"] {
        let answer = licence(&server, name.as_bytes());
        assert_eq!(answer, refused(503, "configuration_invalid"), "{name}");
    }
    // The health page names both, and no value.
    let problems = crate::settings::problems(with_records(&[
        record(1),
        json!({"id": "broken", "key": "secret", "iv": IV}),
        json!({"id": "twin", "aliases": ["movie-1"], "key": IV, "iv": IV}),
        json!({"id": "b", "key": IV, "systems": ["fairplay", "secret"]}),
    ]));
    for expected in ["record 2: `key`", "record 3", "record 4: `systems`"] {
        let mut named = problems.iter();
        assert!(
            named.any(|problem| problem.contains(expected)),
            "{problems:?}"
        );
    }
    assert!(!problems.concat().contains("secret"), "{problems:?}");
}

#[test]
fn a_record_needs_an_iv_for_fairplay_and_may_name_its_systems() {
    let record = |id: &str, more: Value| {
        let mut record = json!({"id": id, "key": IV});
        let members = record.as_object_mut().unwrap();
        members.extend(more.as_object().unwrap().clone());
        record
    };
    let variables = with_records(&[
        record("no-iv", json!({})),
        record(
            "widevine",
            json!({"iv": IV, "systems": ["widevine", "playready"]}),
        ),
        record("fairplay", json!({"iv": IV, "systems": ["fairplay"]})),
    ]);
    assert_eq!(
        crate::settings::problems(variables.clone()),
        Vec::<String>::new()
    );
    for world in WORLDS {
        let server = serve_in(world, &variables);
        assert_eq!(licence(&server, b"no-iv"), refused(503, "iv_missing"));
        let other = licence(&server, b"widevine");
        assert_eq!(other, refused(403, "key_system_not_allowed"));
        assert_eq!(licence(&server, b"fairplay"), Ok(IV.to_owned()));
    }
}

const KID: &str = "339c45b5-fb6d-4bd9-994c-eabd9d41c95b";
const SWAPPED: &str = "b5459c33-6dfb-d94b-994c-eabd9d41c95b";

/// References to the record of [`KID`] and `movie-42`, as services, packagers and players write them.
fn references() -> Vec<Vec<u8>> {
    let digits = KID.replace('-', "");
    let bytes = hex::decode(&digits).unwrap();
    let json =
        json!({"ContentId": "101", "KeyId": KID, "IV": STANDARD.encode([7; 16])}).to_string();
    let behind_length = |id: Vec<u8>| {
        [
            &u32::try_from(id.len()).unwrap().to_le_bytes(),
            id.as_slice(),
        ]
        .concat()
    };
    let utf16 = |text: &str| {
        text.encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect::<Vec<u8>>()
    };
    let mut references: Vec<Vec<u8>> = [
        format!("skd://{KID}"),
        format!("skd://{digits}"),
        format!("skd://{KID}:{IV}"),
        format!("{digits}:{IV}"),
        format!("skd://fps.ezdrm.com/;{KID}"),
        format!("skd://a.keydelivery.b.media.azure.net/FairPlay/?kid={KID}"),
        format!("skd://drmtoday?assetId=a&variantId=b&keyId={digits}&keyRotationId=c"),
        format!("skd://irdeto.example?contentId=a&keyId={KID}"),
        format!("skd://{}", STANDARD.encode(&bytes)),
        format!("skd://{}", STANDARD.encode(&json)),
        format!("skd://{}?quality=hd", STANDARD.encode("movie-42")),
        "skd://fairplay-license.vudrm.tech/license/movie-42".to_owned(),
        format!("skd://host.example/keys/{KID}"),
        "skd%3A%2F%2Fmovie-42".to_owned(),
    ]
    .map(String::into_bytes)
    .into();
    references.push(bytes.clone());
    references.push(behind_length(bytes));
    references.push(behind_length(b"skd://movie-42".to_vec()));
    references.push(behind_length(utf16("skd://movie-42")));
    references.push(utf16(&format!("skd://fps.ezdrm.com/;{KID}")));
    references
}

fn referenced(more: Value) -> Value {
    let mut record = json!({"id": "movie-42", "kid": KID, "key": KID.replace('-', ""), "iv": IV});
    let members = record.as_object_mut().unwrap();
    members.extend(more.as_object().unwrap().clone());
    record
}

#[test]
fn a_key_is_found_by_every_reference_that_services_write() {
    let key = Ok(KID.replace('-', ""));
    let variables = with_records(&[record(1), referenced(json!({}))]);
    for world in WORLDS {
        let server = serve_in(world, &variables);
        for reference in references() {
            let shown = String::from_utf8_lossy(&reference);
            assert_eq!(licence(&server, &reference), key, "{world:?} {shown}");
        }
        // The key itself is never read out of a reference, and a KID is not looked for in both orders.
        let with_key = format!("skd://one?cek={}&iv={IV}", KID.replace('-', ""));
        for reference in [with_key.as_str(), SWAPPED] {
            let answer = licence(&server, reference.as_bytes());
            assert_eq!(
                answer,
                refused(404, "key_not_found"),
                "{world:?} {reference}"
            );
        }
    }
    let both = serve(&with_records(&[
        record(1),
        referenced(json!({"kid_order": "both"})),
    ]));
    let swapped = hex::decode(SWAPPED.replace('-', "")).unwrap();
    let in_base64 = format!("skd://{}", STANDARD.encode(&swapped));
    for reference in [
        KID.as_bytes(),
        SWAPPED.as_bytes(),
        &swapped,
        in_base64.as_bytes(),
    ] {
        assert_eq!(licence(&both, reference), key, "{reference:02x?}");
    }
    let problems = crate::settings::problems(with_records(&[
        json!({"id": "movie-1", "kid_order": "both", "key": IV}),
        referenced(json!({"kid_order": "little"})),
    ]));
    for expected in ["record 1: `kid_order`", "record 2: `kid_order`"] {
        let mut named = problems.iter();
        assert!(
            named.any(|problem| problem.contains(expected)),
            "{problems:?}"
        );
    }
}

/// A platform with one stored record, whose licences need no other source.
fn with_stored(record: Value) -> Native {
    let secret = json!({"keys": [{"kty": "oct", "kid": "k1", "k": STANDARD.encode([3; 32])}]});
    let mut variables = variables_with(&[("key_encryption_keys", &secret.to_string())]);
    variables.remove("content_keys");
    let platform = Native::new(variables);
    let keys = run(EncryptionKeys::load(&platform)).unwrap().unwrap();
    let Value::Object(record) = record else {
        panic!("{record}")
    };
    let put = run(Catalogue::new(&keys, &platform).put(record, false)).unwrap();
    assert_eq!(put, Ok(Outcome::Created));
    platform
}

/// As [`licence`], of a platform, with a request of its own.
fn native_licence(platform: &Native, asset: &[u8]) -> Result<String, String> {
    let (message, secrets) = spc(&SpcOptions::new(asset));
    let request = http::Request::post("/fairplay?format=raw")
        .header(
            "authorization",
            format!("Bearer {}", crate::support::token("hs256")),
        )
        .body(message)
        .unwrap();
    let reply = run(Service::new(platform.clone()).handle(request));
    match reply.headers().get("x-keylet-code") {
        Some(code) => Err(format!(
            "{} {}",
            reply.status().as_u16(),
            code.to_str().unwrap()
        )),
        None => Ok(hex::encode(
            Licence::open(reply.body(), &secrets).unwrap().key,
        )),
    }
}

#[test]
fn a_stored_key_is_found_by_every_reference_and_keeps_its_systems() {
    let key = Ok(KID.replace('-', ""));
    let platform = with_stored(referenced(json!({})));
    for reference in references() {
        let shown = String::from_utf8_lossy(&reference);
        assert_eq!(native_licence(&platform, &reference), key, "{shown}");
    }
    let swapped = native_licence(&platform, SWAPPED.as_bytes());
    assert_eq!(swapped, refused(404, "key_not_found"));
    let platform = with_stored(referenced(json!({"kid_order": "both"})));
    for reference in [KID, SWAPPED] {
        assert_eq!(
            native_licence(&platform, reference.as_bytes()),
            key,
            "{reference}"
        );
    }

    // A key in a reference gets into no log.
    let with_key = format!("skd://one?cek={}&iv={IV}", KID.replace('-', ""));
    let answer = native_licence(&platform, with_key.as_bytes());
    assert_eq!(answer, refused(404, "key_not_found"));
    let audit = platform.log.borrow().last().unwrap().clone();
    assert!(audit.contains(r#""asset":"one?cek=…""#), "{audit}");
    for around in ["skd://cek=", "movie;cek=", "a?b=c;CEK="] {
        let with_key = format!("{around}{}", KID.replace('-', ""));
        let answer = native_licence(&platform, with_key.as_bytes());
        assert_eq!(answer, refused(404, "key_not_found"));
        let audit = platform.log.borrow().last().unwrap().clone();
        assert!(
            audit.contains("cek=…") && !audit.contains(&KID.replace('-', "")),
            "{audit}"
        );
    }

    let mut without_iv = referenced(json!({}));
    without_iv.as_object_mut().unwrap().remove("iv");
    let platform = with_stored(without_iv);
    assert_eq!(
        native_licence(&platform, b"movie-42"),
        refused(503, "iv_missing")
    );
    let platform = with_stored(referenced(json!({"systems": ["clearkey", "aes128"]})));
    let answer = native_licence(&platform, b"movie-42");
    assert_eq!(answer, refused(403, "key_system_not_allowed"));
}

#[test]
fn rules_of_the_operator_find_keys_that_no_other_reading_finds() {
    let rules = json!([
        "https://drm.example/play/{id}",
        "{content}/track/{kid}",
        {"template": "skd://one/{tenant}/{asset}/{quality}", "id": "{tenant}-{asset}.{quality}"},
        "lost/{id}",
    ]);
    let records = [
        referenced(json!({})),
        json!({"id": "acme-7.hd", "key": IV, "iv": IV}),
        json!({"id": "https://drm.example/play/movie-1", "key": IV, "iv": IV}),
    ];
    let mut variables = with_records(&records);
    variables.insert("skd_rules".to_owned(), rules.to_string());
    let key = Ok(KID.replace('-', ""));
    let in_base64 = STANDARD.encode(hex::decode(KID.replace('-', "")).unwrap());
    let own = Ok(IV.to_owned());
    let none = refused(404, "key_not_found");
    for world in WORLDS {
        let server = serve_in(world, &variables);
        for (reference, expected) in [
            ("skd://https://drm.example/play/movie-42", &key),
            (&format!("skd://anything/track/{in_base64}"), &key),
            ("skd://one/acme/7/hd", &own),
            ("one/acme/7/sd", &none),
            ("lost/movie-43", &none),
            ("other/movie-42", &none),
            // What a key has as its id is no matter of rules.
            ("skd://https://drm.example/play/movie-1", &own),
            ("movie-42", &key),
        ] {
            let answer = licence(&server, reference.as_bytes());
            assert_eq!(&answer, expected, "{world:?} {reference}");
        }
    }
    // They are read only for an id that no key has.
    variables.insert("skd_rules".to_owned(), r#"["{id}", "{id"]"#.to_owned());
    let server = serve(&variables);
    assert_eq!(licence(&server, b"movie-42"), key);
    assert_eq!(
        licence(&server, b"movie-43"),
        refused(503, "configuration_invalid")
    );
    let problems = crate::settings::problems(variables);
    assert!(
        problems.concat().contains("rule 2: a brace opens"),
        "{problems:?}"
    );
}
