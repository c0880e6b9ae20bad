//! The published SDK vectors, read from the folder that `FPS_SDK_VECTORS` names. They belong to
//! the SDK's licensees and are not part of this project.

use std::path::{Path, PathBuf};

use base64::Engine;
use keylet::encoding::BASE64;
use keylet::fairplay::client::PlaybackState;
use keylet::fairplay::credentials::Credentials;
use keylet::fairplay::d_function;
use keylet::fairplay::ksm;
use keylet::fairplay::spc::SpcContainer;
use keylet::fairplay::tag::Tag;
use keylet::rsa_key::{OaepHash, PrivateKey};
use keylet_cli::device::{Duration, Licence, Secrets};
use keylet_cli::random;
use keylet_host::{Provided, Server};
use serde_json::{Value, json};

use crate::support::{Native, WORLDS, get, post_spc, run, serve, serve_in, variables_with};

/// The folder with the vectors; without it the test says that it does nothing.
fn folder(test: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("FPS_SDK_VECTORS").map(PathBuf::from);
    if folder.is_none() {
        keylet_e2e::skip("vectors", test, "FPS_SDK_VECTORS names no folder");
    }
    folder
}

fn index(folder: &Path, name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join(name)).unwrap()).unwrap()
}

/// Text of a JSON member, without `0x`.
fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    let text = value[member].as_str().unwrap_or_else(|| panic!("{member}"));
    text.strip_prefix("0x").unwrap_or(text)
}

fn bytes(value: &Value, member: &str) -> Vec<u8> {
    hex::decode(text(value, member)).unwrap()
}

/// The development credentials, and a key record for each asset id of the vectors.
fn variables(folder: &Path, group: &Value) -> Provided {
    let file = |member| std::fs::read(folder.join(text(group, member))).unwrap();
    let vectors = group["vectors"].as_array().unwrap();
    let mut records = serde_json::Map::new();
    for vector in vectors {
        let (id, opened) = (text(vector, "asset_id_hex"), &vector["ckc_opened"]);
        let record = json!({
            "id": format!("hex:{id}"),
            "key": text(opened, "content_key"),
            "iv": text(opened, "content_iv"),
        });
        records.insert(id.to_owned(), record);
    }
    let records: Vec<Value> = records.into_iter().map(|(_, record)| record).collect();
    variables_with(&[
        ("fairplay_certificate", &BASE64.encode(file("certificate"))),
        (
            "fairplay_private_key",
            std::str::from_utf8(&file("private_key")).unwrap(),
        ),
        ("fairplay_ask", ""),
        ("fairplay_test_credentials", "true"),
        ("content_keys", &Value::from(records).to_string()),
    ])
}

/// What the device of a vector would keep, from the index.
fn secrets(vector: &Value, spc: &keylet::fairplay::spc::VerifiedSpc<'_>) -> Secrets {
    Secrets {
        session_key: bytes(vector, "sk"),
        r1: bytes(vector, "r1"),
        anti_replay_seed: bytes(vector, "ar_seed"),
        returned: spc
            .returned()
            .map(|tllv| keylet_cli::device::Returned {
                tag: tllv.tag.to_string(),
                value: tllv.value.to_vec(),
            })
            .collect(),
        announced: Some(keylet_cli::device::Announced {
            playback_state: spc.opened.client.playback.is_some(),
            capabilities: spc.opened.client.capabilities.map_or(0, |bits| bits.0),
        }),
    }
}

#[test]
fn all_published_d_function_values_hold() {
    let Some(folder) = folder("all_published_d_function_values_hold") else {
        return;
    };
    let index = index(&folder, "dfunction.json");
    let vectors = index["vectors"].as_array().unwrap();
    assert_eq!(vectors.len(), 16);
    for vector in vectors {
        assert_eq!(
            hex::encode(d_function::hash(&bytes(vector, "r2")).unwrap()),
            text(vector, "hash")
        );
    }
}

#[test]
fn every_published_spc_is_answered_by_the_component_and_every_value_in_it_is_as_indexed() {
    let test =
        "every_published_spc_is_answered_by_the_component_and_every_value_in_it_is_as_indexed";
    let Some(folder) = folder(test) else { return };
    for group in index(&folder, "INDEX.json")["groups"].as_array().unwrap() {
        let variables = variables(&folder, group);
        let platform = Native::new(variables.clone());
        let credentials = Credentials::default();
        let servers = WORLDS.map(|world| serve_in(world, &variables));
        for server in &servers {
            assert_eq!(get(server, "/healthz").json()["test_credentials"], true);
        }
        let vectors = group["vectors"].as_array().unwrap();
        assert_eq!(vectors.len(), 6);
        for vector in vectors {
            let message = std::fs::read(folder.join(text(vector, "spc"))).unwrap();
            check_container(&folder, group, vector, &message);
            let spc = run(ksm::open(&message, &credentials, &platform)).unwrap();
            check_contents(vector, &spc);

            let secrets = secrets(vector, &spc);
            let published = std::fs::read(folder.join(text(vector, "ckc"))).unwrap();
            let published = Licence::open(&published, &secrets).unwrap();
            assert_eq!(published.key, bytes(&vector["ckc_opened"], "content_key"));
            if let Some(Duration::Lease { lease_seconds }) = published.duration {
                assert_eq!(
                    vector["ckc_opened"]["key_duration"]["lease_duration"],
                    lease_seconds
                );
            }

            for server in &servers {
                let answer = post_spc(server, &message);
                assert_eq!(answer.status, 200, "{answer:?}");
                let licence = Licence::open(&answer.body, &secrets).unwrap();
                assert_eq!((&licence.key, &licence.iv), (&published.key, &published.iv));
            }
        }
        servers.into_iter().for_each(Server::stop);
    }
}

fn check_container(folder: &Path, group: &Value, vector: &Value, message: &[u8]) {
    let container = SpcContainer::parse(message).unwrap();
    assert_eq!(
        u64::from(container.version.number()),
        vector["spc_version"].as_u64().unwrap()
    );
    assert_eq!(
        hex::encode(container.certificate_hash),
        text(vector, "certificate_hash")
    );
    assert_eq!(hex::encode(&message[8..24]), text(vector, "spc_iv"));
    assert_eq!(
        message.len() - 176,
        usize::try_from(vector["payload_length"].as_u64().unwrap()).unwrap()
    );

    let pem = std::fs::read_to_string(folder.join(text(group, "private_key"))).unwrap();
    let der = &keylet::encoding::pem(&pem).unwrap()[0].der;
    let key = PrivateKey::from_pkcs1_der(der).unwrap();
    let (spck, _) = key
        .decrypt_oaep(OaepHash::Sha1, &message[24..152], &mut random::system())
        .unwrap();
    assert_eq!(hex::encode(&*spck), text(vector, "spck"));
}

fn check_contents(vector: &Value, spc: &keylet::fairplay::spc::VerifiedSpc<'_>) {
    let opened = &spc.opened;
    let value = |tag| opened.tllvs.find(tag).unwrap().value;
    assert_eq!(hex::encode(spc.session_key.sk.expose()), text(vector, "sk"));
    assert_eq!(hex::encode(spc.session_key.hu.expose()), text(vector, "hu"));
    assert_eq!(hex::encode(spc.session_key.r1.expose()), text(vector, "r1"));
    assert_eq!(hex::encode(spc.anti_replay_seed), text(vector, "ar_seed"));
    assert_eq!(
        hex::encode(&value(Tag::SESSION_KEY_R1)[..16]),
        text(vector, "sk_r1_iv")
    );
    assert_eq!(
        hex::encode(value(Tag::SESSION_KEY_R1_INTEGRITY)),
        text(vector, "integrity")
    );
    assert_eq!(hex::encode(value(Tag::R2)), text(vector, "r2"));
    assert_eq!(
        hex::encode(value(Tag::TRANSACTION_ID)),
        text(vector, "transaction_id")
    );
    assert_eq!(hex::encode(&opened.asset_id), text(vector, "asset_id_hex"));
    assert_eq!(json!(opened.protocol_version), vector["protocol_used"]);
    assert_eq!(
        json!(opened.protocol_versions),
        vector["protocol_supported"]
    );

    let requested: Vec<String> = value(Tag::RETURN_REQUEST)
        .as_chunks::<8>()
        .0
        .iter()
        .map(|tag| format!("0x{}", hex::encode(tag)))
        .collect();
    assert_eq!(json!(requested), vector["return_tags"]);
    assert_eq!(opened.return_tags.len(), requested.len());
    let expected = vector["tag_order"].as_array().unwrap();
    assert_eq!(opened.tllvs.iter().count(), expected.len());
    for (tllv, expected) in opened.tllvs.iter().zip(expected) {
        if let Some(tag) = expected.as_str().unwrap().strip_prefix("0x") {
            assert_eq!(tllv.tag.to_string(), tag);
        } else {
            assert!(tllv.tag.name().is_some(), "{expected}");
        }
    }

    match (&opened.client.playback, &vector["playback_state"]) {
        (None, Value::Null) => {}
        (Some(playback), expected) => {
            assert_eq!(playback.state, PlaybackState::First);
            let wire = hex::encode(value(Tag::MEDIA_PLAYBACK_STATE));
            let session = format!("{:016x}", playback.session_id);
            assert_eq!(wire, format!("{:08x}f4dee5a2{session}", playback.date));
            assert_eq!(
                numbers(expected)
                    .iter()
                    .filter(|n| **n == u64::from(playback.date))
                    .count(),
                1,
                "{expected}"
            );
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(
        opened.client.offline_sync.is_some(),
        !vector["offline_sync"].is_null()
    );
}

/// Every number of a JSON value.
fn numbers(value: &Value) -> Vec<u64> {
    match value {
        Value::Number(number) => number.as_u64().into_iter().collect(),
        Value::Object(members) => members.values().flat_map(numbers).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn the_development_certificate_is_refused_unless_test_credentials_are_allowed() {
    let test = "the_development_certificate_is_refused_unless_test_credentials_are_allowed";
    let Some(folder) = folder(test) else { return };
    let group = &index(&folder, "INDEX.json")["groups"][0];
    let mut variables = variables(&folder, group);
    for refused in ["", "false"] {
        variables.insert("fairplay_test_credentials".into(), refused.into());
        let server = serve(&variables);
        let health = get(&server, "/healthz");
        assert_eq!(health.status, 503);
        assert_eq!(health.json()["problems"][0]["code"], "setting_refused");
        let spc = std::fs::read(folder.join(text(&group["vectors"][0], "spc"))).unwrap();
        assert_eq!(post_spc(&server, &spc).status, 503);
        server.stop();
    }
}
