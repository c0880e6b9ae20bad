//! Widevine: what the licence service is told, and what becomes of its answers. The service here is written from the
//! public interface.

use aes::Aes256;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cbc::cipher::block_padding::NoPadding;
use cbc::cipher::{BlockModeDecrypt, KeyIvInit};
use http::{Request, Response};
use keylet::id::Kid;
use keylet_cli::jwt::Signer;
use keylet_host::{Provided, StoreChoice};
use serde_json::{Value, json};
use sha1::{Digest, Sha1};

use crate::support::{Answer, WORLDS, get, send, variables_with};
use crate::upstream::{
    Deployment, Reply, SERVICE_FAILURES, SPINS, Upstream, claims, expect_failures, failing_service,
    jwks, serve_on, signed,
};

pub const VIEWER: Signer = Signer::EdDsa([1; 32]);
/// The published test credentials.
const KEY: &str = "1ae8ccd0e7985cc0b6203a55855a1034afc252980e970ca90e5202689f947ab9";
const IV: &str = "d58ce954203b7c9a9a9d467f59839249";
const PROVIDER: &str = "widevine_test";
pub const SERVICE: &str = "https://license.example/cenc/getlicense/widevine_test";
/// What stands in the service's answers for a licence.
const LICENSE: &[u8] = b"\x08\x02\x12\x07licence";
const NOW: u64 = 1_800_000_000;

/// KIDs, keys and tracks.
pub const KEYS: [(&str, &str, &str); 3] = [
    (
        "339c45b5-fb6d-4bd9-994c-eabd9d41c95b",
        "a537cdc0ca65841406d525e7bf22d754",
        "sd",
    ),
    (
        "09e36702-8f33-436c-a5dd-60ffe6671e70",
        "b42ca3172ee4e69bf51848a59db9cd13",
        "hd",
    ),
    (
        "4060a865-8878-4267-9cbf-91ae5bae1e72",
        "000102030405060708090a0b0c0d0e0f",
        "audio",
    ),
];

pub fn setting(url: &str) -> Value {
    json!({"provider": PROVIDER, "key": KEY, "iv": IV, "url": url})
}

/// Keys of a film, a policy, and this setting.
pub fn variables(setting: &Value, more: &[(&str, &str)]) -> Provided {
    let records = KEYS.map(|(kid, key, track)| json!({"id": kid, "kid": kid, "key": key, "track": track, "content_id": "movie-42"}));
    let policies = json!([{
        "name": "viewers",
        "restriction": {"issuer": "*", "audience": "*", "jwks": jwks(&[("viewer", &VIEWER)])},
    }]);
    let (records, policies) = (json!(records).to_string(), policies.to_string());
    let setting = setting.to_string();
    let mut changes = vec![
        ("content_keys", records.as_str()),
        ("policies", policies.as_str()),
        ("widevine", setting.as_str()),
        ("public_url", "https://drm.example"),
        (
            "server_secret",
            "a secret of the server, long enough to be one",
        ),
        ("operator_token", crate::sessions::OPERATOR),
    ];
    changes.extend(more);
    variables_with(&changes)
}

pub fn viewer(terms: Value) -> String {
    let mut entry = json!({"keys": "*"});
    let members = entry.as_object_mut().unwrap();
    members.extend(terms.as_object().unwrap().clone());
    signed(
        &VIEWER,
        Some("viewer"),
        &claims(json!({"entitlements": [entry]})),
    )
}

/// A field of Protocol Buffers that has bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length > 0x7f {
        field.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    field.push(u8::try_from(length).unwrap());
    [field, bytes.to_vec()].concat()
}

fn number(field: u8, number: u8) -> Vec<u8> {
    vec![field << 3, number]
}

/// A challenge for these KIDs, as a CDM makes one. `license_type` is 1 for streaming and 2 for offline.
pub fn challenge(kids: &[&str], license_type: u8) -> Vec<u8> {
    request(kids, license_type, b"request-1")
}

/// The same of another request.
pub fn request(kids: &[&str], license_type: u8, request_id: &[u8]) -> Vec<u8> {
    let kids = kids
        .iter()
        .map(|kid| field(2, Kid::from_text(kid).unwrap().as_bytes()));
    let data = kids.collect::<Vec<_>>().concat();
    let cenc = [
        field(1, &data),
        number(2, license_type),
        field(3, request_id),
    ]
    .concat();
    signed_message(&field(1, &cenc), 1)
}

/// A renewal, or a release, of the licence that a request got.
pub fn existing(request_id: &[u8], kind: u8) -> Vec<u8> {
    let license = [field(1, request_id), field(2, b"session-1"), number(4, 1)].concat();
    signed_message(&field(3, &field(1, &license)), kind)
}

fn signed_message(content: &[u8], kind: u8) -> Vec<u8> {
    let request = [field(1, b"client"), field(2, content), number(3, kind)].concat();
    [number(1, 1), field(2, &request), field(3, &[9; 128])].concat()
}

/// The message in an envelope, whose signature is checked.
pub fn opened(request: &Request<Vec<u8>>) -> Value {
    assert_eq!(request.method(), "POST");
    assert_eq!(request.headers()["content-type"], "application/json");
    let envelope: Value = serde_json::from_slice(request.body()).unwrap();
    assert_eq!(envelope["signer"], PROVIDER);
    let bytes = |name: &str| STANDARD.decode(envelope[name].as_str().unwrap()).unwrap();
    let (message, mut signature) = (bytes("request"), bytes("signature"));
    let (key, iv) = (hex::decode(KEY).unwrap(), hex::decode(IV).unwrap());
    let cipher = cbc::Decryptor::<Aes256>::new_from_slices(&key, &iv).unwrap();
    let opened = cipher.decrypt_padded::<NoPadding>(&mut signature).unwrap();
    assert_eq!(
        opened,
        [Sha1::digest(&message).as_slice(), &[0; 12]].concat()
    );
    assert_eq!(envelope.as_object().unwrap().len(), 3);
    serde_json::from_slice(&message).unwrap()
}

pub fn ok(more: Value) -> Value {
    let mut answer = json!({
        "status": "OK", "license": STANDARD.encode(LICENSE), "internal_status": 0,
        "session_state": {"signing_key": "c2VjcmV0IHNpZ25pbmcga2V5"},
        "drm_cert_serial_number": "c2VyaWFsLTE=", "client_info": [{"name": "build", "value": "private"}],
        "make": "Example", "model": "TV", "security_level": 1,
    });
    answer
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    answer
}

/// A deployment whose service answers every request that is signed as it should be.
pub fn deployment(setting: &Value, more: &[(&str, &str)]) -> Deployment {
    let deployment = Deployment::new(variables(setting, more));
    deployment.answer(|request| {
        opened(request);
        Reply::json(&ok(json!({})))
    });
    deployment
}

pub fn code(response: &Response<Vec<u8>>) -> String {
    let code = response.headers().get("x-keylet-code");
    code.map_or_else(|| "ok".to_owned(), |code| code.to_str().unwrap().to_owned())
}

pub fn all_kids() -> Vec<&'static str> {
    KEYS.iter().map(|(kid, ..)| *kid).collect()
}

/// What the service was told for one licence of these terms; the code of the refusal where it was told nothing.
fn told(deployment: &Deployment, terms: &Value, license_type: u8) -> Result<Value, String> {
    let token = viewer(terms.clone());
    let message = challenge(&all_kids(), license_type);
    let response = deployment.post("/widevine", Some(&token), &message);
    let sent = deployment.take();
    if response.status() != 200 {
        assert!(sent.is_empty(), "{terms}: a refusal asks nobody");
        return Err(code(&response));
    }
    assert_eq!(response.body(), LICENSE, "{terms}");
    let [request] = sent.as_slice() else {
        panic!("{terms}: {} requests", sent.len());
    };
    assert_eq!(request.uri(), SERVICE);
    let message_sent = opened(request);
    assert_eq!(message_sent["payload"], STANDARD.encode(&message));
    assert_eq!(message_sent["provider"], PROVIDER);
    assert_eq!(message_sent["use_policy_overrides_exclusively"], true);
    // A zero is no limit there.
    assert!(!message_sent.to_string().contains(":0"), "{message_sent}");
    Ok(message_sent)
}

/// Terms, the licence type, and the members of `policy_overrides` beside `can_play`.
fn durations() -> Vec<(Value, u8, Value)> {
    let plain = json!({"can_persist": false, "can_renew": false});
    let and = |more: Value| {
        let mut all = plain.clone();
        all.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        all
    };
    let renewal = |lease: u32, more: Value| {
        let mut all = and(json!({
            "can_renew": true, "license_duration_seconds": lease,
            "renewal_delay_seconds": lease - lease / 3, "renewal_retry_interval_seconds": (lease / 10).max(10),
            "renewal_recovery_duration_seconds": 1,
        }));
        all.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        all
    };
    let stored = |more: Value| {
        let mut all = and(more);
        all["can_persist"] = true.into();
        all
    };
    vec![
        (json!({}), 1, plain.clone()),
        (json!({"lease_seconds": 600}), 1, renewal(600, json!({}))),
        (json!({"lease_seconds": 1}), 1, renewal(1, json!({}))),
        (
            json!({"rental_seconds": 900}),
            1,
            and(json!({"rental_duration_seconds": 900})),
        ),
        (
            json!({"lease_seconds": 600, "rental_seconds": 900}),
            1,
            renewal(600, json!({"rental_duration_seconds": 900})),
        ),
        (
            json!({"not_after": NOW + 50}),
            1,
            and(json!({"license_duration_seconds": 50})),
        ),
        (
            json!({"not_after": NOW + 50, "lease_seconds": 600}),
            1,
            and(json!({"license_duration_seconds": 50})),
        ),
        (
            json!({"not_after": NOW + 5000, "lease_seconds": 600}),
            1,
            renewal(600, json!({})),
        ),
        (
            json!({"not_after": NOW + 1, "rental_seconds": 900}),
            1,
            and(json!({"license_duration_seconds": 1, "rental_duration_seconds": 1})),
        ),
        (json!({"persist": true}), 1, stored(json!({}))),
        (json!({"persist": true}), 2, stored(json!({}))),
        (
            json!({"persist": true, "storage_seconds": 70}),
            2,
            stored(json!({"rental_duration_seconds": 70})),
        ),
        (
            json!({"persist": true, "playback_seconds": 30}),
            2,
            stored(json!({"playback_duration_seconds": 30})),
        ),
        (
            json!({"persist": true, "storage_seconds": 70, "playback_seconds": 30}),
            2,
            stored(json!({
                "rental_duration_seconds": 70, "playback_duration_seconds": 30,
                "license_duration_seconds": 100,
            })),
        ),
        (
            json!({"persist": true, "storage_seconds": 70, "playback_seconds": 30, "not_after": NOW + 20}),
            2,
            stored(json!({
                "rental_duration_seconds": 20, "playback_duration_seconds": 20,
                "license_duration_seconds": 20,
            })),
        ),
        (
            json!({"persist": true, "not_after": NOW + 20}),
            2,
            stored(json!({"license_duration_seconds": 20})),
        ),
    ]
}

/// Terms, and `security_level` and `hdcp` of each key.
fn outputs() -> Vec<(Value, u8, &'static str)> {
    let mut all = Vec::new();
    let levels = [
        (None, 1),
        (Some("audio"), 1),
        (Some("baseline"), 3),
        (Some("main"), 5),
    ];
    let hdcp = [
        (None, "HDCP_NONE"),
        (Some("none"), "HDCP_NONE"),
        (Some("type0"), "HDCP_V1"),
        (Some("type1"), "HDCP_V2_2"),
    ];
    for (level, number) in levels {
        for (required, name) in hdcp {
            let mut terms = json!({"min_security_level": level, "hdcp": required});
            terms
                .as_object_mut()
                .unwrap()
                .retain(|_, value| !value.is_null());
            all.push((terms, number, name));
        }
    }
    all
}

fn merged(one: &Value, another: &Value) -> Value {
    let mut both = one.clone();
    both.as_object_mut()
        .unwrap()
        .extend(another.as_object().unwrap().clone());
    both
}

#[test]
fn each_term_is_told_to_the_service_with_the_keys_of_this_server() {
    let deployment = deployment(&setting(SERVICE), &[]);
    for (durations, license_type, overrides) in durations() {
        for (outputs, level, hdcp) in outputs() {
            let terms = merged(&durations, &outputs);
            let message = told(&deployment, &terms, license_type).unwrap();
            let mut found = message["policy_overrides"].clone();
            let url = found.as_object_mut().unwrap().remove("renewal_server_url");
            assert_eq!(url.is_some(), overrides["can_renew"] == true, "{terms}");
            assert_eq!(
                found,
                merged(&json!({"can_play": true}), &overrides),
                "{terms}"
            );
            let specs: Vec<Value> = KEYS
                .map(|(kid, key, track)| {
                    json!({
                        "track_type": track.to_uppercase(),
                        "key_id": STANDARD.encode(Kid::from_text(kid).unwrap().as_bytes()),
                        "key": STANDARD.encode(hex::decode(key).unwrap()),
                        "security_level": level,
                        "required_output_protection": {"hdcp": hdcp},
                    })
                })
                .to_vec();
            assert_eq!(message["content_key_specs"], json!(specs), "{terms}");
            assert!(message.get("allowed_track_types").is_none());
        }
    }
}

#[test]
fn each_term_is_told_to_the_service_that_has_the_keys() {
    let mut setting = setting(SERVICE);
    setting["keys"] = "service".into();
    let mut variables = variables(&setting, &[]);
    // This server need not know a key.
    variables.remove("content_keys");
    let deployment = Deployment::new(variables);
    deployment.answer(|request| {
        opened(request);
        Reply::json(&ok(json!({})))
    });
    for (durations, license_type, overrides) in durations() {
        for (outputs, level, hdcp) in outputs() {
            let terms = merged(&durations, &outputs);
            let message = told(&deployment, &terms, license_type).unwrap();
            let mut found = message["policy_overrides"].clone();
            found.as_object_mut().unwrap().remove("renewal_server_url");
            assert_eq!(
                found,
                merged(&json!({"can_play": true}), &overrides),
                "{terms}"
            );
            assert!(!message.to_string().contains(r#""key""#), "{message}");
            if (level, hdcp) == (1, "HDCP_NONE") {
                assert_eq!(message["allowed_track_types"], "SD_UHD2", "{terms}");
                assert!(message.get("content_key_specs").is_none());
                continue;
            }
            assert!(message.get("allowed_track_types").is_none());
            // One entry for a kind of track of each of the content's names.
            for spec in message["content_key_specs"].as_array().unwrap() {
                assert_eq!(spec["security_level"], level);
                assert_eq!(spec["required_output_protection"]["hdcp"], hdcp);
            }
        }
    }
    for (terms, allowed) in [
        (json!({"tracks": {"uhd": false}}), "SD_HD"),
        (json!({"tracks": {"uhd": false, "hd": false}}), "SD_ONLY"),
    ] {
        let message = told(&deployment, &terms, 1).unwrap();
        assert_eq!(message["allowed_track_types"], allowed);
    }
    let message = told(
        &deployment,
        &json!({"tracks": {"sd": false, "uhd": {"hdcp": "type1"}}}),
        1,
    )
    .unwrap();
    let types: Vec<(&str, &str)> = message["content_key_specs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|spec| {
            (
                spec["track_type"].as_str().unwrap(),
                spec["required_output_protection"]["hdcp"].as_str().unwrap(),
            )
        })
        .collect();
    for (track, hdcp) in [
        ("AUDIO", "HDCP_NONE"),
        ("HD", "HDCP_NONE"),
        ("UHD1", "HDCP_V2_2"),
        ("UHD2", "HDCP_V2_2"),
    ] {
        assert!(types.contains(&(track, hdcp)), "{types:?}");
    }
    assert!(!types.iter().any(|(track, _)| *track == "SD"), "{types:?}");
}

#[test]
fn keys_that_the_viewer_may_not_have_are_left_out() {
    let deployment = deployment(&setting(SERVICE), &[]);
    let specs = |terms: &Value| {
        let message = told(&deployment, terms, 1).unwrap();
        let specs = message["content_key_specs"].as_array().unwrap().clone();
        specs
            .iter()
            .map(|spec| spec["track_type"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(specs(&json!({"tracks": {"hd": false}})), ["SD", "AUDIO"]);
    // Every key has its own output rules, and the strictest duration is that of the licence.
    let terms = json!({"lease_seconds": 600, "tracks": {"hd": {"lease_seconds": 60, "hdcp": "type1", "min_security_level": "main"}}});
    let message = told(&deployment, &terms, 1).unwrap();
    assert_eq!(message["policy_overrides"]["license_duration_seconds"], 60);
    assert_eq!(message["content_key_specs"][1]["security_level"], 5);
    assert_eq!(message["content_key_specs"][0]["security_level"], 1);
    let token = signed(
        &VIEWER,
        Some("viewer"),
        &claims(json!({"entitlements": [{"keys": [KEYS[1].0]}]})),
    );
    let response = deployment.post("/widevine", Some(&token), &challenge(&all_kids(), 1));
    assert_eq!(response.status(), 200);
    let message = opened(&deployment.take()[0]);
    assert_eq!(message["content_key_specs"].as_array().unwrap().len(), 1);
    let audit = deployment.audit();
    assert_eq!(
        (&audit["drm"], &audit["code"]),
        (&json!("widevine"), &json!("ok"))
    );
    assert_eq!(audit["keys"][0]["code"], "not_entitled");
}

#[test]
fn what_widevine_does_not_keep_is_refused_before_the_service_is_asked() {
    let deployment = deployment(&setting(SERVICE), &[]);
    for (terms, license_type, code) in [
        (json!({}), 2, "offline_not_allowed"),
        (
            json!({"persist": true, "tracks": {"sd": {"persist": false}, "hd": {"persist": false}, "audio": {"persist": false}}}),
            2,
            "offline_not_allowed",
        ),
        (
            json!({"device_classes": ["mobile"]}),
            1,
            "device_class_not_allowed",
        ),
        (json!({"min_os": "17.0"}), 1, "device_os_too_old"),
        (json!({"min_kdl": 1}), 1, "device_kdl_too_old"),
        (json!({"virtual_machines": false}), 1, "device_virtual"),
        (json!({"not_after": NOW}), 1, "entitlement_ended"),
        (
            json!({"not_before": NOW + 9}),
            1,
            "entitlement_not_yet_valid",
        ),
        (json!({"countries": ["AT"]}), 1, "place_unknown"),
    ] {
        assert_eq!(
            told(&deployment, &terms, license_type),
            Err(code.to_owned()),
            "{terms}"
        );
    }
    // What no device of Widevine does is forbidden in vain.
    assert!(
        told(
            &deployment,
            &json!({"airplay": false, "av_adapter": false}),
            1
        )
        .is_ok()
    );
}

#[test]
fn a_certificate_needs_no_token_and_is_asked_for_once_in_six_hours() {
    let mut deployment = deployment(&setting(SERVICE), &[]);
    let certificate = |deployment: &Deployment| deployment.post("/widevine", None, &[8, 4]);
    for _ in 0..3 {
        deployment.next_instance();
        let response = certificate(&deployment);
        assert_eq!(
            (response.status().as_u16(), response.body().as_slice()),
            (200, LICENSE)
        );
        assert_eq!(
            response.headers()["content-type"],
            "application/octet-stream"
        );
    }
    let sent = deployment.take();
    assert_eq!(sent.len(), 1);
    assert_eq!(
        opened(&sent[0]),
        json!({"payload": "CAQ=", "provider": PROVIDER})
    );
    // While the service is away, the last one is good.
    deployment.wait(7 * 60 * 60);
    deployment.answer(|_| Reply::Silence);
    assert_eq!(certificate(&deployment).body(), LICENSE);

    let mut with_certificate = setting(SERVICE);
    with_certificate["service_certificate"] = STANDARD.encode([1, 2, 3]).into();
    let deployment = Deployment::new(variables(&with_certificate, &[]));
    assert_eq!(
        certificate(&deployment).body(),
        b"\x08\x05\x12\x03\x01\x02\x03"
    );
    let off = Deployment::new(variables_with(&[]));
    assert_eq!(code(&certificate(&off)), "widevine_off");
    let token = crate::support::token("hs256");
    let response = off.post("/widevine", Some(&token), &challenge(&all_kids(), 1));
    assert_eq!(
        (response.status().as_u16(), code(&response).as_str()),
        (503, "widevine_off")
    );
}

#[test]
fn a_token_for_one_use_is_not_used_up_by_what_gives_no_licence() {
    let deployment = deployment(&setting(SERVICE), &[]);
    let token = signed(
        &VIEWER,
        Some("viewer"),
        &claims(json!({"jti": "1", "entitlements": [{"keys": "*", "max_uses": 1}]})),
    );
    let message = challenge(&all_kids(), 1);
    assert_eq!(
        deployment.post("/widevine", Some(&token), &[8, 4]).status(),
        200
    );
    deployment.answer(|_| Reply::json(&json!({"status": "INTERNAL_ERROR"})));
    let refused = deployment.post("/widevine", Some(&token), &message);
    assert_eq!(code(&refused), "license_service_refused");
    deployment.answer(|_| Reply::json(&ok(json!({}))));
    assert_eq!(
        deployment
            .post("/widevine", Some(&token), &message)
            .status(),
        200
    );
    // The same bytes again, as players repeat them after a time-out, are no further use.
    assert_eq!(
        deployment
            .post("/widevine", Some(&token), &message)
            .status(),
        200
    );
    // Those of another device are.
    let other = request(&all_kids(), 1, b"request-2");
    let spent = deployment.post("/widevine", Some(&token), &other);
    assert_eq!(code(&spent), "uses_spent");
    deployment.wait(60);
    let spent = deployment.post("/widevine", Some(&token), &message);
    assert_eq!(code(&spent), "uses_spent");
}

/// The path and query of the renewal URL that the service was told.
pub fn renewal_path(deployment: &Deployment) -> String {
    let message = opened(deployment.take().last().unwrap());
    let url = message["policy_overrides"]["renewal_server_url"]
        .as_str()
        .unwrap();
    url.strip_prefix("https://drm.example").unwrap().to_owned()
}

#[test]
fn a_renewal_goes_on_without_a_token_by_the_url_of_its_licence_alone() {
    let deployment = deployment(&setting(SERVICE), &[]);
    let now = NOW;
    let short = |terms: Value| {
        signed(
            &VIEWER,
            Some("viewer"),
            &claims(json!({"exp": now + 60, "entitlements": [terms]})),
        )
    };
    let token = short(json!({"keys": "*", "lease_seconds": 600, "not_after": now + 4000}));
    let first = deployment.post("/widevine", Some(&token), &challenge(&all_kids(), 1));
    assert_eq!(first.status(), 200);
    let mut path = renewal_path(&deployment);
    assert!(!path.contains(&token) && path.starts_with("/widevine?renewal="));
    let renewal = existing(b"request-1", 2);
    for _ in 0..4 {
        deployment.wait(900);
        let response = deployment.post(&path, Some(&token), &renewal);
        assert_eq!(response.status(), 200, "{}", code(&response));
        let message = deployment.take();
        assert_eq!(
            opened(&message[0])["content_key_specs"]
                .as_array()
                .unwrap()
                .len(),
            3
        );
        let url = opened(&message[0])["policy_overrides"]["renewal_server_url"].clone();
        if let Some(url) = url.as_str() {
            path = url.strip_prefix("https://drm.example").unwrap().to_owned();
        }
    }
    // The terms are those of the moment.
    deployment.wait(900);
    assert_eq!(
        code(&deployment.post(&path, None, &renewal)),
        "entitlement_ended"
    );

    // The ticket is for renewals of this licence.
    let deployment = self::deployment(&setting(SERVICE), &[]);
    let token = short(json!({"keys": "*", "lease_seconds": 600}));
    assert_eq!(
        deployment
            .post("/widevine", Some(&token), &challenge(&all_kids(), 1))
            .status(),
        200
    );
    let path = renewal_path(&deployment);
    for (path, body) in [
        (path.clone(), challenge(&all_kids(), 1)),
        (path.clone(), existing(b"request-2", 2)),
        (format!("{path}A"), renewal.clone()),
        ("/widevine?renewal=AAAA".to_owned(), renewal.clone()),
    ] {
        let response = deployment.post(&path, None, &body);
        assert_eq!(
            (response.status().as_u16(), code(&response).as_str()),
            (401, "renewal_ticket"),
            "{path}"
        );
    }
    assert_eq!(deployment.count(), 0);
    deployment.wait(25 * 60 * 60);
    assert_eq!(
        code(&deployment.post(&path, None, &renewal)),
        "renewal_ticket"
    );
    // A renewal with a token of its own names its keys in the URL.
    let token = viewer(json!({"lease_seconds": 600}));
    assert_eq!(
        code(&deployment.post("/widevine", Some(&token), &renewal)),
        "request_malformed"
    );
    let path = format!("/widevine?kid={}&kid={}", KEYS[0].0, KEYS[1].0);
    assert_eq!(deployment.post(&path, Some(&token), &renewal).status(), 200);
    assert_eq!(
        opened(&deployment.take()[0])["content_key_specs"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[test]
fn there_is_no_renewal_url_where_it_could_not_be_used() {
    for (name, value) in [("public_url", ""), ("server_secret", "")] {
        let deployment = deployment(&setting(SERVICE), &[(name, value)]);
        let message = told(&deployment, &json!({"lease_seconds": 600}), 1).unwrap();
        assert_eq!(message["policy_overrides"]["can_renew"], true);
        assert!(
            message["policy_overrides"]
                .get("renewal_server_url")
                .is_none(),
            "{name}"
        );
    }
}

#[test]
fn streams_are_counted_by_the_device_that_the_service_names() {
    let deployment = deployment(&setting(SERVICE), &[]);
    let device = |serial: &'static str| {
        deployment.answer(move |request| {
            let message = opened(request);
            match message.get("parse_only") {
                Some(_) => Reply::json(
                    &json!({"status": "OK", "drm_cert_serial_number": serial, "make": "Example"}),
                ),
                None => Reply::json(&ok(json!({}))),
            }
        });
    };
    let token = viewer(json!({"max_streams": 1, "lease_seconds": 60}));
    let ask = |path: &str, body: &[u8]| deployment.post(path, Some(&token), body);
    device("one");
    assert_eq!(ask("/widevine", &challenge(&all_kids(), 1)).status(), 200);
    let sent = deployment.take();
    assert_eq!(sent.len(), 2);
    assert_eq!(opened(&sent[0])["parse_only"], true);
    let url = opened(&sent[1])["policy_overrides"]["renewal_server_url"].clone();
    let path = url
        .as_str()
        .unwrap()
        .strip_prefix("https://drm.example")
        .unwrap()
        .to_owned();
    let audit = deployment.audit();
    assert_eq!(audit["device"]["make"], "Example");
    assert_eq!(audit["device"]["id"].as_str().unwrap().len(), 32);
    assert!(!audit.to_string().contains("one"), "{audit}");

    device("two");
    let second = ask("/widevine", &challenge(&all_kids(), 1));
    assert_eq!(
        (second.status().as_u16(), code(&second).as_str()),
        (409, "streams_exceeded")
    );
    deployment.take();
    // A renewal knows its device, and asks no more than once.
    deployment.wait(30);
    assert_eq!(ask(&path, &existing(b"request-1", 2)).status(), 200);
    assert_eq!(deployment.take().len(), 1);
    // The operator ends the session, which ends the renewals.
    let operator = Request::delete("/sessions?subject=viewer-1").header(
        "authorization",
        format!("Bearer {}", crate::sessions::OPERATOR),
    );
    let ended = deployment.handle(operator.body(Vec::new()).unwrap());
    assert!(ended.status().is_success(), "{ended:?}");
    let renewal = ask(&path, &existing(b"request-1", 2));
    assert_eq!(code(&renewal), "session_ended");

    device("");
    let unknown = ask("/widevine", &challenge(&all_kids(), 1));
    assert_eq!(code(&unknown), "device_not_allowed");
}

#[test]
fn a_release_is_passed_on_and_gives_nothing() {
    let deployment = deployment(&setting(SERVICE), &[]);
    let token = viewer(json!({}));
    let response = deployment.post("/widevine", Some(&token), &existing(b"request-1", 3));
    assert_eq!(
        (response.status().as_u16(), response.body().as_slice()),
        (200, LICENSE)
    );
    let message = opened(&deployment.take()[0]);
    assert_eq!(message.as_object().unwrap().len(), 2);
    deployment.answer(|_| Reply::json(&json!({"status": "OK"})));
    let response = deployment.post("/widevine", Some(&token), &existing(b"request-1", 3));
    assert_eq!(
        (response.status().as_u16(), response.body().as_slice()),
        (200, b"".as_slice())
    );
    assert_eq!(
        code(&deployment.post("/widevine", None, &existing(b"request-1", 3))),
        "token_missing"
    );
}

#[test]
fn every_way_in_leads_to_the_same_licence() {
    let deployment = deployment(&setting(SERVICE), &[]);
    let token = viewer(json!({}));
    let message = challenge(&all_kids(), 1);
    let named = challenge(&[], 1);
    let document =
        json!({"keySystem": "com.widevine.alpha", "challenge": STANDARD.encode(&message)});
    let document = document.to_string().into_bytes();
    for (path, body, keys) in [
        ("/widevine".to_owned(), &message, 3),
        ("/Widevine/".to_owned(), &message, 3),
        (format!("/Widevine/?kid={}", KEYS[1].0), &named, 1),
        (
            "/license?keySystem=com.widevine.alpha".to_owned(),
            &message,
            3,
        ),
        (
            "/license?keySystem=edef8ba9-79d6-4ace-a3c8-27dcd51d21ed".to_owned(),
            &message,
            3,
        ),
        ("/license".to_owned(), &document, 3),
    ] {
        let response = deployment.post(&path, Some(&token), body);
        assert_eq!(response.status(), 200, "{path} {}", code(&response));
        let sent = opened(&deployment.take()[0]);
        assert_eq!(
            sent["content_key_specs"].as_array().unwrap().len(),
            keys,
            "{path}"
        );
    }
    for (body, reason) in [
        (b"{}".as_slice(), "Clear Key"),
        (b"<s", "/playready"),
        (b"\x08", "Protocol Buffers"),
        (&named, "kid="),
    ] {
        let response = deployment.post("/widevine", Some(&token), body);
        assert_eq!(code(&response), "request_malformed");
        assert!(String::from_utf8_lossy(response.body()).contains(reason));
    }
    assert_eq!(
        code(&deployment.post("/widevine", Some(&token), b"")),
        "body_empty"
    );
    assert_eq!(
        code(&deployment.post("/widevine?kid=x", Some(&token), &message)),
        "request_malformed"
    );
}

#[test]
fn nothing_of_the_service_but_the_licence_goes_anywhere() {
    let deployment = deployment(&setting(SERVICE), &[]);
    let token = viewer(json!({"device_ids": ["00112233445566778899aabbccddeeff"]}));
    let refused = deployment.post("/widevine", Some(&token), &challenge(&all_kids(), 1));
    assert_eq!(code(&refused), "device_not_allowed");
    deployment.answer(|_| {
        Reply::json(&ok(
            json!({"status": "DRM_DEVICE_CERTIFICATE_REVOKED", "status_message": "private words"}),
        ))
    });
    let token = viewer(json!({}));
    let revoked = deployment.post("/widevine", Some(&token), &challenge(&all_kids(), 1));
    assert_eq!(
        (revoked.status().as_u16(), code(&revoked).as_str()),
        (403, "device_refused")
    );
    let problem: Value = serde_json::from_slice(revoked.body()).unwrap();
    assert_eq!(problem["service_status"], "DRM_DEVICE_CERTIFICATE_REVOKED");
    let log = deployment.platform.log.borrow().join("\n");
    let problem = problem.to_string();
    for secret in [
        "c2VjcmV0IHNpZ25pbmcga2V5",
        "c2VyaWFs",
        "serial-1",
        "private",
        KEY,
        IV,
        KEYS[0].1,
    ] {
        assert!(
            !log.contains(secret) && !problem.contains(secret),
            "{secret}"
        );
    }
}

#[test]
fn the_setting_is_checked_and_widevine_alone_is_enough() {
    let health = |variables: Provided| {
        let response =
            Deployment::new(variables).handle(Request::get("/healthz").body(Vec::new()).unwrap());
        (
            response.status().as_u16(),
            String::from_utf8(response.into_body()).unwrap(),
        )
    };
    let mut alone = variables(&setting(SERVICE), &[]);
    alone.retain(|name, _| !name.starts_with("fairplay"));
    assert_eq!(health(alone.clone()).0, 200);
    alone.remove("content_keys");
    assert_eq!(health(alone.clone()).0, 503);
    let mut there = setting(SERVICE);
    there["keys"] = "service".into();
    alone.insert("widevine".to_owned(), there.to_string());
    assert_eq!(health(alone).0, 200);
    let mut wrong = setting(SERVICE);
    wrong["iv"] = "00".into();
    let (status, body) = health(variables(&wrong, &[]));
    assert_eq!(status, 503);
    assert!(body.contains("widevine") && body.contains("`iv`"), "{body}");
    let root = |variables| {
        let response =
            Deployment::new(variables).handle(Request::get("/").body(Vec::new()).unwrap());
        serde_json::from_slice::<Value>(response.body()).unwrap()
    };
    assert_eq!(
        root(variables(&setting(SERVICE), &[]))["drm"],
        json!(["fairplay", "widevine"])
    );
}

fn post(url: &keylet_host::Server, token: &str, body: &[u8]) -> Answer {
    let request = Request::post("/")
        .header("authorization", format!("Bearer {token}"))
        .header("origin", "https://player.example");
    send(url, request, "/widevine", body)
}

#[test]
fn a_licence_and_a_renewal_in_every_world() {
    let service = Upstream::start(|request| {
        opened(request);
        Reply::json(&ok(json!({}))).with("access-control-allow-origin", "https://google.example")
    });
    let setting = setting(&service.url("/cenc/getlicense/widevine_test"));
    for world in WORLDS {
        let server = serve_on(
            world,
            &variables(&setting, &[]),
            StoreChoice::Memory,
            &[service.origin()],
        );
        assert_eq!(get(&server, "/healthz").status, 200);
        let token = viewer(json!({"lease_seconds": 60}));
        let answer = post(&server, &token, &challenge(&all_kids(), 1));
        assert_eq!(
            (answer.status, answer.body.as_slice()),
            (200, LICENSE),
            "{world:?} {answer:?}"
        );
        assert_eq!(
            answer.header("content-type"),
            Some("application/octet-stream")
        );
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(
            answer.header("access-control-allow-origin"),
            Some("https://player.example")
        );
        let message = opened(&service.take()[0]);
        let url = message["policy_overrides"]["renewal_server_url"]
            .as_str()
            .unwrap();
        let path = url.strip_prefix("https://drm.example").unwrap();
        let renewed = send(
            &server,
            Request::post("/"),
            path,
            &existing(b"request-1", 2),
        );
        assert_eq!(
            (renewed.status, renewed.body.as_slice()),
            (200, LICENSE),
            "{renewed:?}"
        );
        service.take();
        server.stop();
    }
}

#[test]
fn each_failure_of_the_service_has_its_code_and_no_player_waits_long() {
    let service = failing_service(
        |padding| Reply::json(&ok(json!({"padding": padding}))),
        |path| {
            Some(match path {
                "/twice" => Reply::text(r#"{"status":"OK","license":"AQID","license":"BAUG"}"#),
                "/not-base64" => Reply::json(&json!({"status": "OK", "license": "private!"})),
                "/unknown" => {
                    Reply::json(&json!({"status": "NEVER_HEARD_OF_9", "status_message": "private"}))
                }
                "/signature" => Reply::json(&json!({"status": "SIGNATURE_FAILED"})),
                "/challenge" => Reply::Bytes(
                    b"HTTP/1.1 500 Oh\r\ncontent-length: 25\r\n\r\nINVALID_LICENSE_CHALLENGE"
                        .to_vec(),
                ),
                "/no-key" => Reply::json(&json!({"status": "CONTENT_KEY_MISSING"})),
                _ => return None,
            })
        },
    );
    let own = [
        ("/twice", 502, "license_service_answer"),
        ("/not-base64", 502, "license_service_answer"),
        ("/unknown", 502, "license_service_refused"),
        ("/signature", 502, "license_service_credentials"),
        ("/challenge", 400, "license_challenge_invalid"),
        ("/no-key", 404, "license_service_key_missing"),
    ];
    expect_failures(
        &service,
        &[&SERVICE_FAILURES[..], &own].concat(),
        |url| variables(&setting(url), &[]),
        |server| post(server, &viewer(json!({})), &challenge(&all_kids(), 1)),
        "https://player.example",
    );
    let denied = serve_on(
        SPINS[0],
        &variables(&setting(SERVICE), &[]),
        StoreChoice::Memory,
        &[],
    );
    let answer = post(&denied, &viewer(json!({})), &challenge(&all_kids(), 1));
    assert_eq!(
        (answer.status, answer.header("x-keylet-code")),
        (503, Some("license_service_denied"))
    );
}

#[test]
fn refusals_of_the_built_component_have_their_codes() {
    let service = Upstream::start(|_| Reply::json(&json!({"status": "DEVICE_REVOKED"})));
    let records = json!([
        {"id": KEYS[0].0, "kid": KEYS[0].0, "key": KEYS[0].1},
        {"id": "movie-43", "key": KEYS[1].1},
    ]);
    let variables = variables(
        &setting(&service.url("/")),
        &[("content_keys", &records.to_string())],
    );
    for world in SPINS {
        let server = serve_on(world, &variables, StoreChoice::Memory, &[service.origin()]);
        let ask = |path: &str, message: &[u8]| {
            let request =
                Request::post("/").header("authorization", format!("Bearer {}", viewer(json!({}))));
            let answer = send(&server, request, path, message);
            let code = answer.header("x-keylet-code").map(ToOwned::to_owned);
            (answer.status, code.unwrap_or_default())
        };
        let one = challenge(&[KEYS[0].0], 1);
        for (path, message, expected) in [
            ("/widevine", &one, (403, "device_refused")),
            (
                "/widevine",
                &challenge(&[KEYS[0].0], 2),
                (403, "offline_not_allowed"),
            ),
            (
                "/widevine",
                &of_content(b"movie-43", &[]),
                (503, "kid_missing"),
            ),
            ("/widevine?renewal=AAAA", &one, (401, "renewal_ticket")),
        ] {
            let (status, code) = ask(path, message);
            assert_eq!((status, code.as_str()), expected, "{world:?} {path}");
        }
        server.stop();
    }
}

/// A challenge for a content id, and for KIDs beside it.
fn of_content(content_id: &[u8], kids: &[&str]) -> Vec<u8> {
    let kids = kids
        .iter()
        .map(|kid| field(2, Kid::from_text(kid).unwrap().as_bytes()));
    let data = [kids.collect::<Vec<_>>().concat(), field(4, content_id)].concat();
    let cenc = [field(1, &data), number(2, 1), field(3, b"request-1")].concat();
    signed_message(&field(1, &cenc), 1)
}

#[test]
fn a_service_with_the_keys_gives_nothing_that_one_of_the_keys_may_not_have() {
    let mut there = setting(SERVICE);
    there["keys"] = "service".into();
    // Without records, and with one that has no track.
    let no_track = json!([{"id": KEYS[2].0, "kid": KEYS[2].0, "key": KEYS[2].1}]).to_string();
    let deployment = deployment(&there, &[("content_keys", &no_track)]);
    let asked = |entries: Value, message: &[u8]| {
        let token = signed(
            &VIEWER,
            Some("viewer"),
            &claims(json!({"entitlements": entries})),
        );
        let response = deployment.post("/widevine", Some(&token), message);
        match deployment.take().pop() {
            Some(request) => Ok(opened(&request)),
            None => Err(code(&response)),
        }
    };
    let two = challenge(&[KEYS[0].0, KEYS[1].0], 1);
    // A key that is refused.
    let one = json!([{"keys": [KEYS[0].0]}]);
    assert_eq!(asked(one, &two), Err("not_entitled".to_owned()));
    // A content that stands beside a key.
    let beside = of_content(b"movie-43", &[KEYS[0].0]);
    let one = json!([{"keys": [KEYS[0].0]}]);
    assert_eq!(asked(one, &beside), Err("not_entitled".to_owned()));
    let both = json!([{"keys": [KEYS[0].0, "movie-43"]}]);
    let told = asked(both, &beside).unwrap();
    assert_eq!(told["content_id"], STANDARD.encode("movie-43"));
    // A kind of track that one of two keys may not have, and a record without a track.
    let entries = json!([
        {"keys": [KEYS[0].0]},
        {"keys": [KEYS[1].0, KEYS[2].0], "tracks": {"uhd": false}},
    ]);
    let told = asked(entries.clone(), &two).unwrap();
    assert_eq!(told["allowed_track_types"], "SD_HD");
    let told = asked(entries, &challenge(&[KEYS[2].0], 1)).unwrap();
    assert_eq!(told["allowed_track_types"], "SD_HD");
    // One entry for a kind of track, with the stricter limits.
    let entries = json!([
        {"keys": [KEYS[0].0]},
        {"keys": [KEYS[1].0], "tracks": {"hd": {"hdcp": "type1", "min_security_level": "main"}}},
    ]);
    let told = asked(entries, &two).unwrap();
    let specs = told["content_key_specs"].as_array().unwrap();
    let of_hd: Vec<&Value> = specs
        .iter()
        .filter(|spec| spec["track_type"] == "HD")
        .collect();
    assert_eq!(of_hd.len(), 1, "{told}");
    assert_eq!(of_hd[0]["security_level"], 5);
    assert_eq!(of_hd[0]["required_output_protection"]["hdcp"], "HDCP_V2_2");
}

#[test]
fn a_message_that_two_readers_may_read_in_two_ways_is_refused() {
    let data = |kid: &str| field(2, Kid::from_text(kid).unwrap().as_bytes());
    let cenc = |kid: &str| field(1, &[field(1, &data(kid)), field(3, b"request-1")].concat());
    let existing = {
        let license = [field(1, b"request-1"), number(4, 1)].concat();
        field(3, &field(1, &license))
    };
    let of_contents = field(1, &{
        let content = |id: &[u8]| field(1, &field(4, id));
        [
            content(b"movie-42"),
            content(b"movie-43"),
            field(3, b"request-1"),
        ]
        .concat()
    });
    let deployment = deployment(&setting(SERVICE), &[]);
    for (content, kind) in [
        // Both are merged by a reader of Protocol Buffers.
        ([cenc(KEYS[0].0), cenc(KEYS[1].0)].concat(), 1),
        // Of these, the last one counts.
        ([cenc(KEYS[0].0), existing.clone()].concat(), 1),
        // A renewal and a release that ask for new content, and a new request for an old licence.
        (cenc(KEYS[0].0), 2),
        (cenc(KEYS[0].0), 3),
        (existing, 1),
        (of_contents, 1),
    ] {
        let message = signed_message(&content, kind);
        let response = deployment.post("/widevine", Some(&viewer(json!({}))), &message);
        assert_eq!(code(&response), "request_malformed");
        assert_eq!(deployment.count(), 0);
    }
}

#[test]
fn a_real_challenge_is_read() {
    let folder = std::env::var_os("FPS_SDK_VECTORS").map(std::path::PathBuf::from);
    let file = folder.map(|folder| folder.join("widevine-challenge.b64"));
    let Some(text) = file.and_then(|file| std::fs::read_to_string(file).ok()) else {
        keylet_e2e::skip(
            "vectors",
            "a_real_challenge_is_read",
            "there is no challenge in FPS_SDK_VECTORS",
        );
        return;
    };
    let message = keylet::encoding::base64(&text).unwrap();
    let read = keylet::widevine::Challenge::read(&message).unwrap();
    assert_eq!(
        read.content_id.as_deref(),
        Some(b"fkj3ljaSdfalkr3j".as_slice())
    );
    assert_eq!(read.request_id.map(|id| id.len()), Some(16));
    assert!(!read.is_offline && read.kids.is_empty());
    // The content id names the key where there is no KID.
    let records =
        json!([{"id": "fkj3ljaSdfalkr3j", "kid": KEYS[0].0, "key": KEYS[0].1}]).to_string();
    let deployment = deployment(&setting(SERVICE), &[("content_keys", &records)]);
    let response = deployment.post("/widevine", Some(&viewer(json!({}))), &message);
    assert_eq!(response.status(), 200, "{}", code(&response));
    let sent = opened(&deployment.take()[0]);
    assert_eq!(sent["content_id"], STANDARD.encode("fkj3ljaSdfalkr3j"));
    assert_eq!(sent["content_key_specs"].as_array().unwrap().len(), 1);
    let without_kid = json!([{"id": "fkj3ljaSdfalkr3j", "key": KEYS[0].1}]).to_string();
    let deployment = self::deployment(&setting(SERVICE), &[("content_keys", &without_kid)]);
    let response = deployment.post("/widevine", Some(&viewer(json!({}))), &message);
    assert_eq!(
        (response.status().as_u16(), code(&response).as_str()),
        (503, "kid_missing")
    );
}
