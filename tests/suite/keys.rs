//! Key records: how one of a list is found, and which of its members refuse.

use keylet_cli::device::{Licence, SpcOptions};
use keylet_host::Server;
use serde_json::{Value, json};

use crate::support::{WORLDS, post_spc, serve, serve_in, spc, variables_with};

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
