//! Boxes and headers against what packagers write.

use std::collections::HashMap;

use base64::Engine;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::*;
use crate::encoding::{self, BASE64};
use crate::id::Kid;
use crate::secret::Key128;

#[derive(Deserialize)]
struct Vectors {
    keys: HashMap<String, KeyVector>,
    boxes: Vec<BoxVector>,
    old_widevine: OldWidevine,
    playready: PlayReadyVectors,
}

#[derive(Deserialize)]
struct KeyVector {
    kid: String,
    key: String,
}

#[derive(Deserialize)]
struct BoxVector {
    system: String,
    box_kids: Vec<String>,
    widevine: Option<WidevineVector>,
    #[serde(rename = "box")]
    bytes: String,
}

#[derive(Deserialize)]
struct WidevineVector {
    kids: Vec<String>,
    provider: Option<String>,
    content_id: Option<String>,
    scheme: Option<String>,
}

#[derive(Deserialize)]
struct OldWidevine {
    #[serde(rename = "box")]
    bytes: String,
    kid: String,
}

#[derive(Deserialize)]
struct PlayReadyVectors {
    checksums: Vec<ChecksumVector>,
    objects: Vec<ObjectVector>,
}

#[derive(Deserialize)]
struct ChecksumVector {
    kid: String,
    guid_order: String,
    key: String,
    checksum: String,
}

#[derive(Deserialize)]
struct ObjectVector {
    version: String,
    scheme: String,
    keys: Vec<String>,
    license_url: Option<String>,
    characters: usize,
    size: usize,
    begins: String,
    sha256: String,
    box_sha256: String,
    text: Option<String>,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../../fixtures/packaging/formats.json")).unwrap()
}

impl Vectors {
    fn kids(&self, names: &[String]) -> Vec<Kid> {
        let kids = names
            .iter()
            .map(|name| Kid::from_text(&self.keys[name].kid).unwrap());
        kids.collect()
    }
}

fn bytes(base64: &str) -> Vec<u8> {
    encoding::base64(base64).unwrap().to_vec()
}

fn key(text: &str) -> Key128 {
    encoding::fixed(text).map(Key128::from).unwrap()
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[test]
fn boxes_are_those_of_packagers_and_are_read_back() {
    let vectors = vectors();
    assert_eq!(vectors.boxes.len(), 8);
    let mut together = Vec::new();
    for vector in &vectors.boxes {
        let system = ProtectionSystem::from_name(&vector.system).unwrap();
        let data = vector.widevine.as_ref().map(|vector| {
            let kids = vectors.kids(&vector.kids);
            let data = WidevineData {
                kids: &kids,
                provider: vector.provider.as_deref(),
                content_id: vector.content_id.as_deref().map(str::as_bytes),
                scheme: vector
                    .scheme
                    .as_deref()
                    .map(|name| Scheme::from_name(name).unwrap()),
            };
            let data = data.to_bytes();
            assert_eq!(widevine_kids(&data), Ok(kids));
            data
        });
        let data = data.unwrap_or_default();
        let pssh = PsshBox {
            system_id: system.system_id(),
            kids: vectors.kids(&vector.box_kids),
            data: &data,
        };
        assert_eq!(BASE64.encode(pssh.to_bytes()), vector.bytes);
        assert_eq!(pssh_boxes(&pssh.to_bytes()).unwrap(), [pssh]);
        together.extend(bytes(&vector.bytes));
    }

    let boxes = pssh_boxes(&together).unwrap();
    let ids = boxes.iter().map(|pssh| pssh.system_id);
    let systems = ids.map(|id| ProtectionSystem::from_system_id(id).unwrap().name());
    let expected = vectors.boxes.iter().map(|vector| vector.system.as_str());
    assert!(systems.eq(expected));
}

#[test]
fn a_box_without_kids_is_of_version_0_and_may_be_empty() {
    let system_id = ProtectionSystem::Common.system_id();
    let (kids, data) = (Vec::new(), [].as_slice());
    let pssh = PsshBox {
        system_id,
        kids,
        data,
    };
    let written = pssh.to_bytes();
    assert_eq!((written.len(), written[8]), (32, 0));
    assert_eq!(pssh_boxes(&written).unwrap(), [pssh]);
    assert_eq!(pssh_boxes(&[]).unwrap(), []);
}

#[test]
fn widevine_data_with_fields_of_old_is_read() {
    let vector = vectors().old_widevine;
    let pssh = bytes(&vector.bytes);
    let boxes = pssh_boxes(&pssh).unwrap();
    let kid = Kid::from_text(&vector.kid).unwrap();
    assert_eq!(widevine_kids(boxes[0].data), Ok(vec![kid]));
}

#[test]
fn a_box_that_is_not_whole_is_refused_where_it_goes_wrong() {
    use PsshErrorKind::{Size, TooManyKids, Truncated, Type, Version};

    let pssh = bytes(&vectors().boxes[4].bytes);
    let set = |at: usize, to: &[u8]| {
        let mut changed = pssh.clone();
        changed.splice(at..at + to.len(), to.iter().copied());
        changed
    };
    let many = PsshBox {
        system_id: Kid::from_u128(1),
        kids: vec![Kid::from_u128(2); MAX_KEYS + 1],
        data: &[],
    };
    let behind = |bytes: &[u8]| [&pssh, bytes].concat();
    for (bytes, kind, offset) in [
        (pssh[..3].to_vec(), Truncated, 0),
        (pssh[..69].to_vec(), Truncated, 4),
        (set(3, &[3]), Size, 0),
        (set(0, &[0, 0, 0, 1]), Size, 0),
        (set(3, &[4]), Size, 4),
        (set(3, &[10]), Size, 8),
        (set(3, &[20]), Size, 12),
        (set(0, &[0xff; 4]), Truncated, 4),
        (set(4, b"moov"), Type, 4),
        (set(8, &[2]), Version, 8),
        (set(31, &[200]), Size, 64),
        (set(28, &[0xff; 4]), Size, 64),
        (set(51, &[17]), Size, 48),
        (set(51, &[19]), Size, 48),
        (set(48, &[0xff; 4]), Size, 48),
        (behind(&[0]), Truncated, 70),
        (behind(&set(4, b"free")), Type, 74),
        (many.to_bytes(), TooManyKids, 32 + 16 * MAX_KEYS),
    ] {
        assert_eq!(pssh_boxes(&bytes), Err(PsshError { kind, offset }));
    }
    for end in 1..pssh.len() {
        assert!(pssh_boxes(&pssh[..end]).is_err(), "{end}");
    }
}

#[test]
fn widevine_data_is_walked_to_its_end() {
    use PsshErrorKind::{Field, KidSize, TooManyKids, Truncated};

    let kid = Kid::from_u128(7);
    let data = WidevineData::of(&[kid]).to_bytes();
    let with = |bytes: &[u8]| [bytes, &data].concat();
    let many = WidevineData::of(&[kid; MAX_KEYS + 1]).to_bytes();
    // A varint, eight bytes, bytes, four bytes, and a field with a number of two bytes.
    for unknown in [
        "08ffffffffffffffffff01",
        "610102030405060708",
        "5203aabbcc",
        "6d01020304",
        "a2060101",
        "",
    ] {
        let data = with(&hex::decode(unknown).unwrap());
        assert_eq!(widevine_kids(&data), Ok(vec![kid]), "{unknown}");
    }
    for (data, kind, offset) in [
        (with(&[0x0b]), Field, 0),
        (with(&[0x08, 0x01, 0x0f]), Field, 2),
        (with(&[0x12, 0x01, 0x00]), KidSize, 0),
        (with(&[0x10, 0x01]), KidSize, 0),
        (vec![0x12, 0x10, 0x01], Truncated, 0),
        (vec![0x1a, 0x01], Truncated, 0),
        (vec![0x6d, 0x01], Truncated, 0),
        (vec![0x61, 0x01], Truncated, 0),
        (vec![0x08], Truncated, 0),
        (vec![0x88; 11], Truncated, 0),
        ([vec![0x1a], vec![0xff; 9], vec![1]].concat(), Truncated, 0),
        (many, TooManyKids, 18 * (MAX_KEYS + 1)),
    ] {
        assert_eq!(widevine_kids(&data), Err(PsshError { kind, offset }));
    }
    let content_alone = [0x22, 0x02, b'4', b'2'];
    assert_eq!(widevine_kids(&content_alone), Ok(Vec::new()));
}

#[test]
fn a_length_of_two_bytes_is_read_back() {
    let kids = [Kid::from_u128(7)];
    let content_id = [b'x'; 300];
    let data = WidevineData {
        content_id: Some(&content_id),
        ..WidevineData::of(&kids)
    };
    let data = data.to_bytes();
    assert_eq!(data[18..21], [0x22, 0xac, 0x02]);
    assert_eq!(widevine_kids(&data), Ok(kids.to_vec()));
}

#[test]
fn playready_checksums_are_those_that_microsoft_and_packagers_have() {
    let vectors = vectors().playready.checksums;
    assert_eq!(vectors.len(), 5);
    for vector in vectors {
        let kid = Kid::from_text(&vector.kid).unwrap();
        assert_eq!(
            BASE64.encode(kid.in_guid_order().as_bytes()),
            vector.guid_order
        );
        let checksum = playready_checksum(kid, &key(&vector.key));
        assert_eq!(BASE64.encode(checksum), vector.checksum, "{kid}");
    }
}

#[test]
fn playready_objects_are_those_of_packagers() {
    let vectors = vectors();
    assert_eq!(vectors.playready.objects.len(), 5);
    for vector in &vectors.playready.objects {
        let values: Vec<_> = vector
            .keys
            .iter()
            .map(|name| key(&vectors.keys[name].key))
            .collect();
        let keys: Vec<_> = vectors
            .kids(&vector.keys)
            .into_iter()
            .zip(&values)
            .collect();
        let header = PlayReadyHeader {
            keys: &keys,
            scheme: Scheme::from_name(&vector.scheme).unwrap(),
            license_url: vector.license_url.as_deref(),
        };
        assert_eq!(header.version().unwrap().number(), vector.version);
        let text = header.to_xml().unwrap();
        if let Some(expected) = &vector.text {
            assert_eq!(text, *expected);
        }
        assert_eq!(text.len(), vector.characters, "{text}");
        let object = header.to_object().unwrap();
        assert_eq!(object.len(), vector.size);
        assert_eq!(hex::encode(&object[..10]), vector.begins);
        assert_eq!(sha256(&object), vector.sha256, "{text}");
        let pssh = PsshBox {
            system_id: ProtectionSystem::PlayReady.system_id(),
            kids: Vec::new(),
            data: &object,
        };
        assert_eq!(sha256(&pssh.to_bytes()), vector.box_sha256, "{text}");
    }
    let with_text = |vector: &&ObjectVector| vector.text.is_some();
    assert_eq!(
        vectors.playready.objects.iter().filter(with_text).count(),
        1
    );
}

#[test]
fn a_playready_header_is_made_only_where_players_read_it() {
    let value = Key128::from([7; 16]);
    let keys = [(Kid::from_u128(42), &value)];
    let header = PlayReadyHeader {
        keys: &keys,
        scheme: Scheme::Cbcs,
        license_url: None,
    };
    for scheme in Scheme::ALL {
        let header = PlayReadyHeader { scheme, ..header };
        let is_allowed = ProtectionSystem::PlayReady.allows(scheme);
        assert_eq!(header.to_object().is_some(), is_allowed, "{scheme:?}");
    }
    let without = PlayReadyHeader {
        keys: &[],
        ..header
    };
    assert!(without.to_object().is_none());

    let text = |license_url| {
        let license_url = Some(license_url);
        let header = PlayReadyHeader {
            license_url,
            ..header
        };
        header.to_xml()
    };
    let escaped = text("https://k.example/?a=b&c=<\u{e4}>").unwrap();
    let element = "<LA_URL>https://k.example/?a=b&amp;c=&lt;\u{e4}&gt;</LA_URL>";
    assert!(escaped.contains(element), "{escaped}");
    assert!(text("").is_none());
    assert!(text("https://k.example/\0").is_none());

    let object = |size| {
        let url = "u".repeat(size);
        let license_url = Some(url.as_str());
        let header = PlayReadyHeader {
            license_url,
            ..header
        };
        header.to_object().map(|object| object.len())
    };
    let least = object(1).unwrap();
    let most = (15 * 1024 - least) / 2 + 1;
    assert_eq!(object(most), Some(15 * 1024));
    assert_eq!(object(most + 1), None);
}
