//! Stored records in a store in memory.

use futures_util::FutureExt;
use serde_json::{Map, Value, json};

use super::encryption_keys::EncryptionKey;
use super::*;
use crate::configuration::SettingErrorKind;
use crate::id::Kid;
use crate::platform::test_host::TestHost;

const KEYS: &str =
    r#"{"keys":[{"kty":"oct","kid":"2026","k":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"}]}"#;
const ROTATED: &str = r#"{"keys":[{"kty":"oct","kid":"2027","k":"_wECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"},{"kty":"oct","kid":"2026","k":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"}]}"#;
const KID: &str = "339c45b5-fb6d-4bd9-994c-eabd9d41c95b";

fn keys(json: &str) -> EncryptionKeys {
    EncryptionKeys::from_json(json).unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn record(id: &str, more: Value) -> Map<String, Value> {
    let mut record = json!({"id": id, "key": "000102030405060708090a0b0c0d0e0f"});
    record
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    record.as_object().unwrap().clone()
}

fn put(host: &TestHost, record: Map<String, Value>) -> Result<Outcome, PutError> {
    let keys = keys(KEYS);
    let catalogue = Catalogue::new(&keys, host);
    let put = catalogue.put(record, false).now_or_never().unwrap();
    put.unwrap()
}

/// What an instance of its own finds: the id of the record, `-` when there is none.
fn found(host: &TestHost, name: &[u8]) -> Result<String, KeyError> {
    found_with(KEYS, host, name)
}

fn found_with(keys: &str, host: &TestHost, name: &[u8]) -> Result<String, KeyError> {
    let with_keys = TestHost::new([(VARIABLE, keys.to_owned())]);
    with_keys.values.replace(host.values.borrow().clone());
    let query = KeyQuery::from_id(Id::from_bytes(name));
    let stored = StoredKeys::default();
    let found = stored.find(&query, &with_keys).now_or_never().unwrap()?;
    host.reads.set(with_keys.reads.get());
    Ok(match found {
        Found::Key(key) => key.id.to_string(),
        Found::NotHere => "-".to_owned(),
        Found::Deleted => "deleted".to_owned(),
        Found::Off => "off".to_owned(),
    })
}

#[test]
fn the_cipher_is_that_of_rfc_8452() {
    let vectors: Vec<Value> =
        serde_json::from_str(include_str!("../../../fixtures/keys/rfc8452.json")).unwrap();
    assert!(vectors.len() > 5);
    for vector in vectors {
        let bytes = |name: &str| hex::decode(vector[name].as_str().unwrap()).unwrap();
        let jwk = json!({"kty": "oct", "kid": "a", "k": encoding_of(&bytes("key"))});
        let keys = keys(&jwk.to_string());
        let key: &EncryptionKey = keys.first().unwrap();
        let nonce = bytes("nonce").try_into().unwrap();
        let plaintext: [u8; 16] = bytes("plaintext").try_into().unwrap();
        let sealed = key
            .encrypt(&nonce, &bytes("aad"), &plaintext.into())
            .unwrap();
        assert_eq!(sealed.as_slice(), bytes("result"), "{vector}");
        let opened = key.decrypt(&nonce, &bytes("aad"), &sealed).unwrap();
        assert_eq!(opened.expose(), &plaintext);
    }
}

fn encoding_of(bytes: &[u8]) -> String {
    use base64::Engine;
    crate::encoding::BASE64_URL.encode(bytes)
}

#[test]
fn a_record_is_found_by_each_of_its_names_with_two_reads() {
    let host = TestHost::default();
    let more = json!({"kid": KID, "aliases": ["skd://Movie 42", "hex:ff01"], "track": "hd"});
    assert_eq!(put(&host, record("movie-42", more)), Ok(Outcome::Created));
    let kid = Kid::from_text(KID).unwrap();
    for name in [
        b"movie-42".as_slice(),
        b"skd://movie-42",
        b"movie%2D42",
        b"Movie%2042",
        b"\xff\x01",
        KID.as_bytes(),
        format!("skd://fps.ezdrm.com/;{KID}").as_bytes(),
        kid.as_bytes(),
    ] {
        assert_eq!(found(&host, name), Ok("movie-42".to_owned()), "{name:?}");
        assert_eq!(host.reads.get(), 2, "{name:?}");
    }
    assert_eq!(found(&host, b"movie-43"), Ok("-".to_owned()));
    assert_eq!(host.reads.get(), 1);
    // No entry of the store has the key.
    let key: Vec<u8> = (0..16).collect();
    for value in host.values.borrow().values() {
        assert!(!value.windows(16).any(|window| window == key));
    }
}

#[test]
fn an_instance_reads_a_record_once_and_again_after_a_minute() {
    let host = TestHost::new([(VARIABLE, KEYS.to_owned())]);
    assert_eq!(put(&host, record("a1", json!({}))), Ok(Outcome::Created));
    let stored = StoredKeys::default();
    let query = KeyQuery::from_id(Id::from_bytes(b"a1"));
    for _ in 0..3 {
        host.reads.set(0);
        let found = stored.find(&query, &host).now_or_never().unwrap();
        assert!(matches!(found, Ok(Found::Key(_))));
    }
    assert_eq!(host.reads.get(), 0);
    for (until, _) in stored.known.borrow_mut().values_mut() {
        assert_eq!(*until, host.now() + 60);
        *until = host.now();
    }
    let _ = stored.find(&query, &host).now_or_never().unwrap();
    assert_eq!(host.reads.get(), 2);
}

/// Everything that somebody who writes the store can do to a byte of it, and to entries as a whole.
#[test]
fn who_writes_the_store_gets_no_other_licence() {
    let host = TestHost::default();
    let strict = json!({"kid": KID, "terms": {"lease_seconds": 60}, "aliases": ["m"]});
    put(&host, record("movie", strict)).unwrap();
    let mut other = record("other", json!({"systems": ["clearkey"]}));
    other.insert("key".to_owned(), "ff".repeat(16).into());
    put(&host, other).unwrap();
    let good = host.values.borrow().clone();

    // Each byte of a record.
    let sealed = good["key/movie"].clone();
    for index in 0..sealed.len() {
        for change in [1_u8, 0x80] {
            let mut altered = sealed.clone();
            altered[index] ^= change;
            host.values
                .borrow_mut()
                .insert("key/movie".to_owned(), altered);
            let found = found(&host, b"movie");
            assert!(
                matches!(found, Err(KeyError::Stored(_))),
                "{index}: {found:?}"
            );
        }
        let cut = sealed[..index].to_vec();
        host.values.borrow_mut().insert("key/movie".to_owned(), cut);
        assert!(matches!(found(&host, b"movie"), Err(KeyError::Stored(_))));
    }

    // A record in the place of another one.
    host.values.replace(good.clone());
    host.values
        .borrow_mut()
        .insert("key/movie".to_owned(), good["key/other"].clone());
    assert_eq!(found(&host, b"movie"), Err(Fault::Misplaced.into()));

    // A name that leads to another record.
    host.values.replace(good.clone());
    for (key, value) in &good {
        if key.starts_with("key-name/") && value == b"movie" {
            host.values
                .borrow_mut()
                .insert(key.clone(), b"other".to_vec());
        }
    }
    for name in ["movie", "m", KID] {
        assert_eq!(found(&host, name.as_bytes()), Err(Fault::Misplaced.into()));
    }
    assert_eq!(found(&host, b"other"), Ok("other".to_owned()));

    // The key of one record in the text of another: both under the same key and nonce.
    host.values.replace(good.clone());
    let head = 2 + "2026".len() + 12;
    let mut swapped = good["key/movie"].clone();
    swapped[head..head + 32].copy_from_slice(&good["key/other"][head..head + 32]);
    host.values
        .borrow_mut()
        .insert("key/movie".to_owned(), swapped);
    assert_eq!(found(&host, b"movie"), Err(Fault::Altered.into()));
}

#[test]
fn a_key_that_is_taken_out_too_early_is_named() {
    let host = TestHost::default();
    put(&host, record("movie", json!({}))).unwrap();
    let other = KEYS.replace("2026", "2030");
    let error = found_with(&other, &host, b"movie").unwrap_err();
    assert_eq!(error, Fault::EncryptionKey("2026".to_owned()).into());
    assert_eq!(error.code().name, "key_encryption_key_unknown");
    assert_eq!(found_with(ROTATED, &host, b"movie"), Ok("movie".to_owned()));
}

#[test]
fn rotation_leaves_every_record_under_the_first_key() {
    let host = TestHost::default();
    for id in ["a1", "a2", "a3"] {
        put(
            &host,
            record(id, json!({"aliases": [format!("{id}-alias")]})),
        )
        .unwrap();
    }
    let both = keys(ROTATED);
    let catalogue = Catalogue::new(&both, &host);
    for expected in [true, false] {
        for id in ["a1", "a2", "a3"] {
            let rotated = catalogue.encrypt_again(id).now_or_never().unwrap();
            assert_eq!(rotated, Ok(expected), "{id}");
        }
    }
    let first = json!({"keys": [serde_json::from_str::<Value>(ROTATED).unwrap()["keys"][0]]});
    for name in ["a1", "a2-alias", "a3"] {
        let found = found_with(&first.to_string(), &host, name.as_bytes());
        assert_eq!(found, Ok(name[..2].to_owned()));
    }
}

#[test]
fn an_import_that_ends_at_any_write_is_brought_to_its_end_by_the_next_one() {
    let before = json!({"aliases": ["old", "both"]});
    let after = json!({"kid": KID, "aliases": ["both", "new"], "terms": {"lease_seconds": 60}});
    for last in 0..8 {
        let host = TestHost::default();
        put(&host, record("movie", before.clone())).unwrap();
        host.writes.set(Some(last));
        let keys = keys(KEYS);
        let catalogue = Catalogue::new(&keys, &host);
        let cut = catalogue.put(record("movie", after.clone()), false);
        let cut = cut.now_or_never().unwrap();
        host.writes.set(None);
        // Whatever is found meanwhile is one of the two records, or none.
        for name in ["movie", "old", "both", "new", KID] {
            let found = found(&host, name.as_bytes());
            assert!(
                matches!(found.as_deref(), Ok("movie" | "-")),
                "{last} {name}: {found:?}"
            );
        }
        let again = put(&host, record("movie", after.clone())).unwrap();
        assert_eq!(again == Outcome::Unchanged, cut.is_ok(), "{last}");
        for name in ["movie", "both", "new", KID] {
            assert_eq!(
                found(&host, name.as_bytes()),
                Ok("movie".to_owned()),
                "{last}"
            );
        }
        assert_eq!(found(&host, b"old"), Ok("-".to_owned()), "{last}");
        let unchanged = put(&host, record("movie", after.clone()));
        assert_eq!(unchanged, Ok(Outcome::Unchanged));
        // `movie`, `both`, `new` and the KID.
        let names = host.values.borrow();
        let names = names.keys().filter(|key| key.starts_with("key-name/"));
        assert_eq!(names.count(), 4, "{last}");
    }
}

#[test]
fn a_name_belongs_to_one_record_and_a_key_is_replaced_only_when_that_is_said() {
    let host = TestHost::default();
    put(
        &host,
        record("movie", json!({"kid": KID, "aliases": ["m"]})),
    )
    .unwrap();
    let taken = || Err(PutError::NameTaken("movie".to_owned()));
    assert_eq!(put(&host, record("m", json!({}))), taken());
    assert_eq!(put(&host, record("x", json!({"kid": KID}))), taken());
    let around = json!({"aliases": [format!("skd://host/?kid={KID}")]});
    assert_eq!(put(&host, record("y", around)), taken());
    assert_eq!(host.values.borrow().len(), 4);

    let mut other = record("movie", json!({"kid": KID}));
    other.insert("key".to_owned(), "ff".repeat(16).into());
    assert_eq!(put(&host, other.clone()), Err(PutError::OtherKey));
    let keys = keys(KEYS);
    let catalogue = Catalogue::new(&keys, &host);
    let put_it = catalogue.put(other, true).now_or_never().unwrap();
    assert_eq!(put_it.unwrap(), Ok(Outcome::Replaced));
    let id = Id::from_bytes(b"movie");
    let entry = catalogue.find(&id);
    let entry = entry.now_or_never().unwrap().unwrap().unwrap();
    assert_eq!(entry.key.key.expose(), &[0xff; 16]);
    // Its alias is free.
    assert_eq!(put(&host, record("m", json!({}))), Ok(Outcome::Created));
}

#[test]
fn a_deleted_record_is_served_no_more_and_can_be_restored() {
    let host = TestHost::default();
    put(&host, record("movie", json!({"kid": KID}))).unwrap();
    let keys = keys(KEYS);
    let catalogue = Catalogue::new(&keys, &host);
    let entry = |name: &[u8]| {
        let id = Id::from_bytes(name);
        let entry = catalogue.find(&id);
        entry.now_or_never().unwrap().unwrap()
    };
    let delete = |grace| {
        let entry = entry(b"movie").unwrap();
        catalogue
            .delete(&entry, grace)
            .now_or_never()
            .unwrap()
            .unwrap()
    };
    let deleted = delete(60);
    assert_eq!((deleted.at, deleted.until), (1_000, 1_060));
    assert_eq!(found(&host, KID.as_bytes()), Ok("deleted".to_owned()));
    let deleted = entry(KID.as_bytes()).unwrap();
    catalogue.restore(&deleted).now_or_never().unwrap().unwrap();
    assert_eq!(found(&host, KID.as_bytes()), Ok("movie".to_owned()));
    delete(0);
    assert!(host.values.borrow().is_empty());
}

#[test]
fn a_deleted_record_counts_as_gone_once_it_can_no_longer_be_restored() {
    let host = TestHost::default();
    put(
        &host,
        record("movie", json!({"kid": KID, "aliases": ["m", "n"]})),
    )
    .unwrap();
    let keys = keys(KEYS);
    let catalogue = Catalogue::new(&keys, &host);
    let id = Id::from_bytes(b"movie");
    let find = || catalogue.find(&id).now_or_never().unwrap().unwrap();
    let deleted = catalogue
        .delete(&find().unwrap(), 60)
        .now_or_never()
        .unwrap();
    assert_eq!(deleted.unwrap().until, 1_060);
    let taken = PutError::NameTaken("movie".to_owned());
    assert_eq!(
        put(&host, record("other", json!({"aliases": ["m"]}))),
        Err(taken)
    );

    host.later.set(60);
    assert!(find().is_none());
    let other = record("other", json!({"aliases": ["m"]}));
    assert_eq!(put(&host, other), Ok(Outcome::Created));
    // Another key is no other key of a record that is gone, and names that another record took stay its own.
    let mut again = record("movie", json!({"kid": KID}));
    again.insert("key".to_owned(), "ff".repeat(16).into());
    assert_eq!(put(&host, again), Ok(Outcome::Replaced));
    assert_eq!(found(&host, b"m"), Ok("other".to_owned()));
    assert_eq!(found(&host, b"n"), Ok("-".to_owned()));
    assert_eq!(found(&host, KID.as_bytes()), Ok("movie".to_owned()));
}

#[test]
fn a_record_that_is_taken_out_leaves_the_names_that_another_one_took() {
    let host = TestHost::default();
    put(&host, record("movie", json!({"aliases": ["m"]}))).unwrap();
    let keys = keys(KEYS);
    let catalogue = Catalogue::new(&keys, &host);
    let entry = catalogue.entry("movie").now_or_never().unwrap().unwrap();
    let entry = entry.unwrap().unwrap_or_else(|fault| panic!("{fault}"));
    let deleted = catalogue.delete(&entry, 60).now_or_never().unwrap();
    assert!(deleted.is_ok());
    host.later.set(60);
    put(&host, record("other", json!({"aliases": ["m"]}))).unwrap();
    assert_eq!(
        catalogue.encrypt_again("movie").now_or_never().unwrap(),
        Ok(true)
    );
    assert!(!host.values.borrow().contains_key("key/movie"));
    assert_eq!(found(&host, b"m"), Ok("other".to_owned()));
}

#[test]
fn pages_of_the_list_have_each_record_once() {
    let host = TestHost::default();
    for index in 0..25 {
        put(&host, record(&format!("movie-{index}"), json!({}))).unwrap();
    }
    let keys = keys(KEYS);
    let catalogue = Catalogue::new(&keys, &host);
    let mut ids: Vec<String> = Vec::new();
    loop {
        let after = ids.last().cloned().unwrap_or_default();
        let page = catalogue.list(&after, 10).now_or_never().unwrap().unwrap();
        ids.extend(page.ids);
        if !page.has_more {
            break;
        }
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 25);
}

#[test]
fn a_set_that_is_wrong_is_told_by_key_and_member() {
    use SettingErrorKind::{Collision, Malformed};
    let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
    let of = |jwk: Value| json!({"keys": [jwk]}).to_string();
    for (json, index, member, kind) in [
        ("[]".to_owned(), None, None, Malformed),
        (json!({"keys": []}).to_string(), None, None, Malformed),
        (json!({"keys": 1}).to_string(), None, Some("keys"), Malformed),
        (of(json!({"kty": "RSA", "kid": "a"})), Some(0), Some("kty"), Malformed),
        (of(json!({"kty": "oct", "k": key})), Some(0), Some("kid"), Malformed),
        (of(json!({"kty": "oct", "kid": "", "k": key})), Some(0), Some("kid"), Malformed),
        (of(json!({"kty": "oct", "kid": "a"})), Some(0), Some("k"), Malformed),
        (of(json!({"kty": "oct", "kid": "a", "k": "AAEC"})), Some(0), Some("k"), Malformed),
        (
            json!({"keys": [{"kty": "oct", "kid": "a", "k": key}, {"kty": "oct", "kid": "a", "k": key}]})
                .to_string(),
            Some(1),
            Some("kid"),
            Collision,
        ),
    ] {
        let errors = EncryptionKeys::from_json(&json).err().expect(&json);
        let [error] = errors.as_slice() else { panic!("{errors:?}") };
        assert_eq!(
            (error.index, error.member.as_deref(), error.kind),
            (index, member, kind),
            "{json}"
        );
        assert!(!error.to_string().contains("AAEC"), "{error}");
    }
}
