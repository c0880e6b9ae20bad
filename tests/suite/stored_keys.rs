//! Key records in the key-value store: kept over HTTP, read by licences, and read and written by another
//! implementation of their layout.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use http::Request;
use keylet_cli::device::{Licence, SpcOptions};
use keylet_e2e::processes::{Directory, redis};
use keylet_host::{Provided, Server, Store, StoreChoice, World};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{Answer, post_spc, send, spc, variables_with};
use crate::upstream::{SPINS, serve_on};

const OPERATOR: &str = "operator-operator-operator-operator";
const JWKS: &str =
    r#"{"keys":[{"kty":"oct","kid":"2026","k":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"}]}"#;
const ROTATED: &str = r#"{"keys":[{"kty":"oct","kid":"2027","k":"_wECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"},{"kty":"oct","kid":"2026","k":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"}]}"#;
const KID: &str = "339c45b5-fb6d-4bd9-994c-eabd9d41c95b";

/// The fixtures without `content_keys`, with stored keys and an operator.
fn variables(changes: &[(&str, &str)]) -> Provided {
    let mut variables = variables_with(&[
        ("content_keys", ""),
        ("key_encryption_keys", JWKS),
        ("operator_token", OPERATOR),
    ]);
    let changes = changes
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    variables.extend(changes);
    variables
}

fn serve(world: World, store: &StoreChoice, changes: &[(&str, &str)]) -> Server {
    serve_on(world, &variables(changes), store.clone(), &[])
}

fn record(id: &str, more: Value) -> Value {
    let mut record = json!({"id": id, "key": key_of(id), "iv": "24".repeat(16)});
    record
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    record
}

/// A key of its own for each id.
fn key_of(id: &str) -> String {
    hex::encode(&Sha256::digest(id)[..16])
}

fn operator(server: &Server, method: &str, path: &str, body: &Value) -> Answer {
    let request = Request::builder()
        .method(method)
        .header("authorization", format!("Bearer {OPERATOR}"));
    let body = match body {
        Value::Null => Vec::new(),
        body => body.to_string().into_bytes(),
    };
    send(server, request, path, &body)
}

/// The key of a licence for an asset id, or the code of the refusal.
fn licence(server: &Server, asset: &str) -> Result<String, String> {
    let (message, secrets) = spc(&SpcOptions::new(asset.as_bytes()));
    let answer = post_spc(server, &message);
    if answer.status != 200 {
        return Err(answer.header("x-keylet-code").unwrap().to_owned());
    }
    let licence = Licence::open(&answer.body, &secrets).unwrap();
    Ok(hex::encode(licence.key))
}

#[test]
fn records_are_stored_by_the_operator_and_a_licence_has_the_key_by_each_name() {
    for world in SPINS {
        let server = serve(world, &StoreChoice::Memory, &[]);
        assert_eq!(licence(&server, "skd://movie"), Err("key_not_found".into()));
        let more = json!({"kid": KID, "aliases": ["film"]});
        let list = json!([record("movie", more), record("show", json!({})), {"id": "x"}, 7]);
        let answer = operator(&server, "POST", "/keys", &list);
        assert_eq!(answer.status, 200, "{answer:?}");
        let report = answer.json();
        assert_eq!(
            (&report["created"], &report["unchanged"]),
            (&json!(2), &json!(0))
        );
        let refused: Vec<_> = report["refused"]
            .as_array()
            .unwrap()
            .iter()
            .map(|refused| (refused["index"].as_u64(), refused["code"].as_str()))
            .collect();
        let invalid = Some("key_record_invalid");
        assert_eq!(refused, [(Some(2), invalid), (Some(3), invalid)]);
        for name in [
            "skd://movie",
            "film",
            KID,
            &format!("skd://{KID}:{}", "24".repeat(16)),
        ] {
            assert_eq!(licence(&server, name), Ok(key_of("movie")), "{name}");
        }
        assert_eq!(licence(&server, "show"), Ok(key_of("show")));

        // The same import again, as JSON lines.
        let lines = format!("{}\n{}\n", list[0], list[1]);
        let request = Request::post("/").header("authorization", format!("Bearer {OPERATOR}"));
        let request = request.header("content-type", "application/x-ndjson");
        let report = send(&server, request, "/keys", lines.as_bytes()).json();
        assert_eq!(report["unchanged"], 2, "{report}");
        server.stop();
    }
}

#[test]
fn one_record_is_read_replaced_deleted_and_restored() {
    let server = serve(World::Wasip2, &StoreChoice::Memory, &[]);
    let put = |path: &str, record: &Value| operator(&server, "PUT", path, record);
    let movie = record("movie", json!({"kid": KID}));
    assert_eq!(put("/keys/movie", &movie).json()["outcome"], "created");
    assert_eq!(put("/keys/movie", &movie).json()["outcome"], "unchanged");
    let stricter = record("movie", json!({"kid": KID, "terms": {"hdcp": "type0"}}));
    assert_eq!(put("/keys/movie", &stricter).json()["outcome"], "replaced");

    let mut other = stricter.clone();
    other["key"] = json!("00".repeat(16));
    let refused = put("/keys/movie", &other);
    assert_eq!(
        (refused.status, refused.header("x-keylet-code")),
        (409, Some("key_differs"))
    );
    assert_eq!(licence(&server, "movie"), Ok(key_of("movie")));
    assert_eq!(put("/keys/movie?replace_key=true", &other).status, 200);
    assert_eq!(licence(&server, "movie"), Ok("00".repeat(16)));
    assert_eq!(put("/keys/movie?replace_key=true", &stricter).status, 200);

    let taken = put("/keys/show", &record("show", json!({"aliases": ["movie"]})));
    assert_eq!(
        (taken.status, taken.header("x-keylet-code")),
        (409, Some("key_name_taken"))
    );
    assert_eq!(put("/keys/show", &record("movie", json!({}))).status, 400);

    let get = |path: &str| operator(&server, "GET", path, &Value::Null);
    let shown = get(&format!("/keys/{KID}")).json();
    let mut without_key = stricter.clone();
    without_key.as_object_mut().unwrap().remove("key");
    assert_eq!(
        shown,
        json!({"record": without_key, "encryption_key": "2026"})
    );
    assert_eq!(get("/keys/movie?secret=true").json()["record"], stricter);
    assert_eq!(
        get("/keys/none").header("x-keylet-code"),
        Some("key_not_found")
    );

    let deleted = operator(
        &server,
        "DELETE",
        "/keys/movie?grace_seconds=600",
        &Value::Null,
    )
    .json();
    let [at, until] = ["at", "until"].map(|name| deleted["deleted"][name].as_u64().unwrap());
    assert_eq!(until - at, 600);
    assert_eq!(licence(&server, KID), Err("key_not_found".into()));
    assert_eq!(get("/keys/movie").json()["deleted"]["until"], until);
    assert_eq!(
        operator(&server, "POST", "/keys/movie/restore", &Value::Null).status,
        200
    );
    assert_eq!(licence(&server, KID), Ok(key_of("movie")));
    assert_eq!(
        operator(
            &server,
            "DELETE",
            "/keys/movie?grace_seconds=0",
            &Value::Null
        )
        .status,
        200
    );
    assert_eq!(get("/keys/movie").status, 404);
    server.stop();
}

#[test]
fn an_id_of_any_characters_has_a_path() {
    let server = serve(World::Wasip2, &StoreChoice::Memory, &[]);
    for (id, path) in [
        ("a/b c?d", "a%2Fb%20c%3Fd"),
        ("ä%2F", "%C3%A4%252F"),
        ("hex:ff00", "hex%3Aff00"),
        ("restore", "restore"),
    ] {
        let put = operator(
            &server,
            "PUT",
            &format!("/keys/{path}"),
            &record(id, json!({})),
        );
        assert_eq!(put.status, 200, "{id}: {put:?}");
        let shown = operator(&server, "GET", &format!("/keys/{path}"), &Value::Null);
        assert_eq!(shown.json()["record"]["id"], id);
    }
    server.stop();
}

#[test]
fn the_list_comes_in_pages_with_and_without_the_records() {
    let server = serve(World::Wasip2, &StoreChoice::Memory, &[]);
    let records: Vec<Value> = (0..25)
        .map(|n| record(&format!("movie-{n:02}"), json!({})))
        .collect();
    operator(&server, "POST", "/keys", &json!(records));
    let mut ids = Vec::new();
    let mut after = String::new();
    loop {
        let path = format!("/keys?limit=10&details=true&after={after}");
        let page = operator(&server, "GET", &path, &Value::Null).json();
        for key in page["keys"].as_array().unwrap() {
            assert_eq!(key["encryption_key"], "2026");
            assert!(key["record"].get("key").is_none());
            ids.push(key["id"].as_str().unwrap().to_owned());
        }
        match page["next"].as_str() {
            Some(next) => next.clone_into(&mut after),
            None => break,
        }
    }
    let expected: Vec<String> = (0..25).map(|n| format!("movie-{n:02}")).collect();
    assert_eq!(ids, expected);
    let page = operator(&server, "GET", "/keys", &Value::Null).json();
    assert_eq!(page["keys"][0], json!({"id": "movie-00"}));
    for path in ["/keys?limit=x", "/keys?details=yes"] {
        assert_eq!(
            operator(&server, "GET", path, &Value::Null).status,
            400,
            "{path}"
        );
    }
    server.stop();
}

#[test]
fn only_the_operator_keeps_keys_and_only_where_a_key_encrypts_them() {
    let server = serve(
        World::Wasip2,
        &StoreChoice::Memory,
        &[("operator_token", "")],
    );
    for (method, path) in [
        ("GET", "/keys"),
        ("POST", "/keys"),
        ("PUT", "/keys/a"),
        ("POST", "/key-rotation"),
    ] {
        let request = Request::builder().method(method);
        assert_eq!(send(&server, request, path, b"[]").status, 404, "{path}");
    }
    server.stop();
    let server = serve(World::Wasip2, &StoreChoice::Memory, &[]);
    let request = Request::get("/").header("authorization", "Bearer wrong");
    let refused = send(&server, request, "/keys", &[]);
    assert_eq!(
        (refused.status, refused.header("x-keylet-code")),
        (401, Some("operator_token"))
    );
    server.stop();
    let server = serve(
        World::Wasip2,
        &StoreChoice::Memory,
        &[("key_encryption_keys", "")],
    );
    let off = operator(&server, "GET", "/keys", &Value::Null);
    assert_eq!(
        (off.status, off.header("x-keylet-code")),
        (503, Some("keys_off"))
    );
    // Nothing says where keys come from.
    assert_eq!(
        licence(&server, "movie"),
        Err("configuration_invalid".into())
    );
    server.stop();
}

#[test]
fn records_in_the_variable_come_first() {
    let own = json!([record("movie", json!({"key": "11".repeat(16)}))]).to_string();
    let server = serve(
        World::Wasip2,
        &StoreChoice::Memory,
        &[("content_keys", &own)],
    );
    let records = json!([record("movie", json!({})), record("show", json!({}))]);
    operator(&server, "POST", "/keys", &records);
    assert_eq!(licence(&server, "movie"), Ok("11".repeat(16)));
    assert_eq!(licence(&server, "show"), Ok(key_of("show")));
    server.stop();
}

#[test]
fn rotation_under_a_new_key_loses_no_licence() {
    let directory = Directory::new("rotation");
    let store = StoreChoice::File(directory.file("store"));
    let ids: Vec<String> = (0..20).map(|n| format!("movie-{n}")).collect();
    let all_play = |server: &Server| {
        for id in &ids {
            assert_eq!(licence(server, id), Ok(key_of(id)));
        }
    };
    let server = serve(World::Wasip2, &store, &[]);
    let records: Vec<Value> = ids.iter().map(|id| record(id, json!({}))).collect();
    operator(&server, "POST", "/keys", &json!(records));
    server.stop();

    let server = serve(World::Wasip2, &store, &[("key_encryption_keys", ROTATED)]);
    all_play(&server);
    let rotate = || operator(&server, "POST", "/key-rotation", &json!({"ids": ids})).json();
    assert_eq!(
        rotate(),
        json!({"encrypted": 20, "unchanged": 0, "refused": []})
    );
    assert_eq!(
        rotate(),
        json!({"encrypted": 0, "unchanged": 20, "refused": []})
    );
    all_play(&server);
    server.stop();

    let new: Value = serde_json::from_str(ROTATED).unwrap();
    let new = json!({"keys": [new["keys"][0]]}).to_string();
    let server = serve(World::Wasip2, &store, &[("key_encryption_keys", &new)]);
    all_play(&server);
    server.stop();
    let server = serve(World::Wasip2, &store, &[]);
    assert_eq!(
        licence(&server, "movie-0"),
        Err("key_encryption_key_unknown".into())
    );
    server.stop();
}

fn python(action: &str, input: &[u8]) -> Option<Vec<u8>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("stored_keys.py");
    let mut process = Command::new("python3")
        .arg(script)
        .args([action, JWKS])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    process.stdin.take()?.write_all(input).ok()?;
    let output = process.wait_with_output().ok()?;
    output.status.success().then_some(output.stdout)
}

#[test]
fn another_implementation_reads_and_writes_the_layout() {
    let test = "stored keys";
    let Some((_process, store)) = redis(test) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let redis = Store::open(&store, true).unwrap();
    let set = |key: &str, value: &[u8]| {
        runtime.block_on(redis.set(key, value.to_vec())).unwrap();
    };
    for world in SPINS {
        let server = serve(world, &store, &[]);
        let movie = record(
            "movie",
            json!({"kid": KID, "aliases": ["ä"], "terms": {"lease_seconds": 60}}),
        );
        operator(&server, "PUT", "/keys/movie", &movie);
        let stored = runtime.block_on(redis.get("key/movie")).unwrap().unwrap();
        let Some(read) = python("open", &stored) else {
            keylet_e2e::skip("python", test, "python3 with cryptography is needed");
            server.stop();
            return;
        };
        assert_eq!(serde_json::from_slice::<Value>(&read).unwrap(), movie);

        let show = record("show", json!({"aliases": ["other"]}));
        let sealed = python("seal", show.to_string().as_bytes()).unwrap();
        set("key/show", &sealed);
        let name = hex::encode(Sha256::digest("other"));
        set(&format!("key-name/{name}"), b"show");
        assert_eq!(licence(&server, "skd://other"), Ok(key_of("show")));

        // Who can write the store makes nothing of another record.
        set("key/show", &stored);
        assert_eq!(
            licence(&server, "skd://other-2"),
            Err("key_not_found".into())
        );
        if world == World::Wasip2 {
            assert_eq!(
                licence(&server, "skd://other"),
                Err("key_record_altered".into())
            );
        }
        server.stop();
    }
}

#[test]
fn a_store_that_is_away_is_told_and_keys_of_the_variable_need_none() {
    let own = json!([record("movie", json!({}))]).to_string();
    let nowhere = StoreChoice::Redis("redis://127.0.0.1:1".to_owned());
    let server = serve(World::Wasip2, &nowhere, &[("content_keys", &own)]);
    assert_eq!(licence(&server, "movie"), Ok(key_of("movie")));
    assert_eq!(licence(&server, "show"), Err("store_unavailable".into()));
    server.stop();
    // Plain wasmtime has no store.
    let server = serve_on(World::Wasi, &variables(&[]), StoreChoice::Memory, &[]);
    assert_eq!(licence(&server, "show"), Err("store_unsupported".into()));
    server.stop();
}
