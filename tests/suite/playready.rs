//! PlayReady: what the licence service is told, and what becomes of its answers. Challenges and the service here are written
//! from the public protocol.

use aes::Aes256;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use cbc::cipher::block_padding::NoPadding;
use cbc::cipher::{BlockModeDecrypt, KeyIvInit};
use http::{Request, Response};
use keylet::id::Kid;
use keylet::platform::Error;
use keylet::playready::{Action, Challenge};
use keylet_cli::jwt::Signer;
use keylet_host::{Provided, StoreChoice};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{Answer, WORLDS, get, send, variables_with};
use crate::upstream::{
    Deployment, Reply, SERVICE_FAILURES, SPINS, Upstream, claims, expect_failures, failing_service,
    jwks, serve_on, signed,
};

const VIEWER: Signer = Signer::EdDsa([1; 32]);
const SERVICE: &str = "https://license.example/rightsmanager.asmx";
const COM_KEY: [u8; 32] = [0x42; 32];
/// 2027-01-15T08:00:00Z, at which the clock of a deployment stands.
const NOW: u64 = 1_800_000_000;

/// KIDs, the same in the order of a GUID in memory, keys, their checksums, and tracks.
pub const A: (&str, &str, &str, &str, &str) = (
    "339c45b5-fb6d-4bd9-994c-eabd9d41c95b",
    "tUWcM2372UuZTOq9nUHJWw==",
    "a537cdc0ca65841406d525e7bf22d754",
    "Dnd2+tOluB4=",
    "hd",
);
const B: (&str, &str, &str, &str, &str) = (
    "09e36702-8f33-436c-a5dd-60ffe6671e70",
    "AmfjCTOPbEOl3WD/5mcecA==",
    "b42ca3172ee4e69bf51848a59db9cd13",
    "BGw1aYZ1YXM=",
    "audio",
);
/// A KID that this server has no record of.
const UNKNOWN: (&str, &str) = (
    "11111111-2222-3333-4444-555555555555",
    "ERERESIiMzNERFVVVVVVVQ==",
);

/// Text of a fault of the service.
const FAULT: &str = r#"<?xml version="1.0" encoding="utf-8"?><soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body><soap:Fault><faultcode>soap:Server</faultcode><faultstring>No.</faultstring><detail><Exception><StatusCode>STATUS</StatusCode></Exception></detail></soap:Fault></soap:Body></soap:Envelope>"#;

pub fn setting(kind: &str) -> Value {
    json!({"kind": kind, "url": SERVICE})
}

pub fn with(mut setting: Value, member: &str, value: impl Into<Value>) -> Value {
    setting[member] = value.into();
    setting
}

fn axinom() -> Value {
    with(
        with(setting("axinom"), "com_key_id", "com-key-1"),
        "com_key",
        STANDARD.encode(COM_KEY),
    )
}

/// Kinds that are told nothing.
fn untold() -> [Value; 4] {
    [
        setting("plain"),
        setting("ezdrm"),
        with(
            setting("drmtoday"),
            "headers",
            json!({"x-dt-custom-data": "e30="}),
        ),
        with(
            setting("doverunner"),
            "headers",
            json!({"pallycon-customdata-v2": "e30="}),
        ),
    ]
}

/// The keys, a policy, and this setting.
pub fn variables(setting: &Value, more: &[(&str, &str)]) -> Provided {
    let records = [A, B]
        .map(|(kid, _, key, _, track)| json!({"id": kid, "kid": kid, "key": key, "track": track}));
    let policies = json!([{
        "name": "viewers",
        "restriction": {"issuer": "*", "audience": "*", "jwks": jwks(&[("viewer", &VIEWER)])},
    }]);
    let (records, policies) = (json!(records).to_string(), policies.to_string());
    let setting = setting.to_string();
    let mut changes = vec![
        ("content_keys", records.as_str()),
        ("policies", policies.as_str()),
        ("playready", setting.as_str()),
        (
            "server_secret",
            "a secret of the server, long enough to be one",
        ),
    ];
    changes.extend(more);
    variables_with(&changes)
}

fn viewer_of(entries: Value) -> String {
    signed(
        &VIEWER,
        Some("viewer"),
        &claims(json!({"entitlements": entries})),
    )
}

pub fn viewer(terms: &Value) -> String {
    let mut entry = json!({"keys": "*"});
    let members = entry.as_object_mut().unwrap();
    members.extend(terms.as_object().unwrap().clone());
    viewer_of(json!([entry]))
}

/// A message for a header of content, as the device makes one.
pub fn message(action: &str, header: &str, custom_data: &str) -> String {
    format!(
        r#"<?xml version="1.0" encoding="utf-8"?><soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body><{action} xmlns="http://schemas.microsoft.com/DRM/2007/03/protocols"><challenge><Challenge xmlns="http://schemas.microsoft.com/DRM/2007/03/protocols/messages"><LA xmlns="http://schemas.microsoft.com/DRM/2007/03/protocols" Id="SignedData" xml:space="preserve"><Version>1</Version><ContentHeader>{header}</ContentHeader><LicenseNonce>AAECAwQFBgcICQoLDA0ODw==</LicenseNonce>{custom_data}</LA><Signature xmlns="http://www.w3.org/2000/09/xmldsig#"></Signature></Challenge></challenge></{action}></soap:Body></soap:Envelope>"#
    )
}

/// A header of version 4.3 or 4.2, whose keys have these attributes beside `VALUE`.
pub fn header(keys: &[(&str, &str)]) -> String {
    let keys = keys
        .iter()
        .map(|(value, more)| format!(r#"<KID {more} VALUE="{value}"></KID>"#));
    let keys: String = keys.collect();
    format!(
        r#"<WRMHEADER xmlns="http://schemas.microsoft.com/DRM/2007/03/PlayReadyHeader" version="4.2.0.0"><DATA><PROTECTINFO><KIDS>{keys}</KIDS></PROTECTINFO></DATA></WRMHEADER>"#
    )
}

const CTR: &str = r#"ALGID="AESCTR""#;
pub const CBC: &str = r#"ALGID="AESCBC""#;

pub fn challenge(keys: &[(&str, &str)]) -> String {
    message("AcquireLicense", &header(keys), "")
}

/// For the one key with the track `hd`.
fn one() -> String {
    challenge(&[(A.1, CTR)])
}

/// The challenge as a CDM on Windows gives it to a page, with the headers to send.
pub fn wrapped(soap: &str) -> String {
    let soap = STANDARD.encode(soap);
    format!(
        r#"<PlayReadyKeyMessage type="LicenseAcquisition"><LicenseAcquisition Version="1"><Challenge encoding="base64encoded">{soap}</Challenge><HttpHeaders><HttpHeader><name>Content-Type</name><value>text/xml; charset=utf-8</value></HttpHeader><HttpHeader><name>SOAPAction</name><value>"http://schemas.microsoft.com/DRM/2007/03/protocols/AcquireLicense"</value></HttpHeader></HttpHeaders></LicenseAcquisition></PlayReadyKeyMessage>"#
    )
}

pub fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// What the service answers to a message.
pub fn license(action: &str) -> String {
    format!(
        r#"<?xml version="1.0" encoding="utf-8"?><soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body><{action}Response xmlns="http://schemas.microsoft.com/DRM/2007/03/protocols"><{action}Result><Response><LicenseResponse><Version>1</Version><Licenses><License>WE1SAA==</License></Licenses></LicenseResponse></Response></{action}Result></{action}Response></soap:Body></soap:Envelope>"#
    )
}

pub fn xml(status: u16, body: &str) -> Reply {
    let reply = Response::builder()
        .status(status)
        .header("content-type", "text/xml; charset=utf-8")
        .header("access-control-allow-origin", "https://service.example")
        .header("set-cookie", "private=1");
    Reply::Whole(reply.body(body.as_bytes().to_vec()).unwrap())
}

/// A deployment whose service gives a licence.
fn deployment(setting: &Value, more: &[(&str, &str)]) -> Deployment {
    let deployment = Deployment::new(variables(setting, more));
    deployment.answer(|_| xml(200, &license("AcquireLicense")));
    deployment
}

fn code(response: &Response<Vec<u8>>) -> String {
    let code = response.headers().get("x-keylet-code");
    code.map_or_else(|| "ok".to_owned(), |code| code.to_str().unwrap().to_owned())
}

/// The request to the service for one licence; the code of the refusal where nobody was asked.
fn asked(
    deployment: &Deployment,
    token: &str,
    message: &str,
) -> Result<Request<Vec<u8>>, (String, String)> {
    let response = deployment.post("/playready", Some(token), message.as_bytes());
    let mut sent = deployment.take();
    if response.status() != 200 {
        assert!(sent.is_empty(), "a refusal asks nobody");
        let document: Value = serde_json::from_slice(response.body()).unwrap();
        let detail = document["detail"].as_str().unwrap_or_default().to_owned();
        return Err((code(&response), detail));
    }
    assert_eq!(response.body(), license("AcquireLicense").as_bytes());
    assert_eq!(sent.len(), 1);
    let request = sent.remove(0);
    assert_eq!(request.method(), "POST");
    assert_eq!(request.body(), message.as_bytes());
    assert_eq!(request.headers()["content-type"], "text/xml; charset=utf-8");
    assert_eq!(
        request.headers()["soapaction"],
        "\"http://schemas.microsoft.com/DRM/2007/03/protocols/AcquireLicense\""
    );
    Ok(request)
}

fn code_of<T>(result: Result<T, (String, String)>) -> String {
    result.map_or_else(|(code, _)| code, |_| "ok".to_owned())
}

/// Terms, what of them is in `cfg=`, and in Axinom's message in `license` and in the policy of the key.
fn terms() -> Vec<(Value, &'static str, Value, Value)> {
    let license = |persist: bool, end: Option<&str>, stops: bool, playback: Option<u32>| {
        let mut license = json!({
            "allow_persistence": persist,
            "playready": {"real_time_expiration": stops},
        });
        if let Some(end) = end {
            license["expiration_datetime"] = end.into();
        }
        if let Some(playback) = playback {
            license["playready"]["playback_duration"] = playback.into();
        }
        license
    };
    let streaming = || license(false, None, false, None);
    let (hour, day, two_days) = (
        Some("2027-01-15T09:00:00Z"),
        Some("2027-01-16T08:00:00Z"),
        Some("2027-01-17T08:00:00Z"),
    );
    let none = Value::Null;
    vec![
        (json!({}), "", streaming(), none.clone()),
        (json!({"persist": false}), "", streaming(), none.clone()),
        (
            json!({"lease_seconds": 3600}),
            ",enddate:20270115090000,realtime:true",
            license(false, hour, true, None),
            none.clone(),
        ),
        (
            json!({"rental_seconds": 3600}),
            ",enddate:20270115090000",
            license(false, hour, false, None),
            none.clone(),
        ),
        // One end for both is the earlier one, and playback stops there.
        (
            json!({"lease_seconds": 86400, "rental_seconds": 3600}),
            ",enddate:20270115090000,realtime:true",
            license(false, hour, true, None),
            none.clone(),
        ),
        (
            json!({"not_after": NOW + 86400}),
            ",enddate:20270116080000,realtime:true",
            license(false, day, true, None),
            none.clone(),
        ),
        (
            json!({"not_after": NOW + 3600, "lease_seconds": 86400}),
            ",enddate:20270115090000,realtime:true",
            license(false, hour, true, None),
            none.clone(),
        ),
        (
            json!({"persist": true}),
            ",persist:true",
            license(true, None, false, None),
            none.clone(),
        ),
        (
            json!({"persist": true, "storage_seconds": 86400}),
            ",persist:true,enddate:20270116080000",
            license(true, day, false, None),
            none.clone(),
        ),
        (
            json!({"persist": true, "playback_seconds": 7200}),
            ",persist:true,firstexp:7200",
            license(true, None, false, Some(7200)),
            none.clone(),
        ),
        (
            json!({"persist": true, "storage_seconds": 86400, "playback_seconds": 7200}),
            ",persist:true,enddate:20270116080000,firstexp:7200",
            license(true, day, false, Some(7200)),
            none.clone(),
        ),
        (
            json!({"persist": true, "not_after": NOW + 172_800}),
            ",persist:true,enddate:20270117080000,realtime:true",
            license(true, two_days, true, None),
            none.clone(),
        ),
        (
            json!({"persist": true, "storage_seconds": 86400, "not_after": NOW + 3600}),
            ",persist:true,enddate:20270115090000,realtime:true",
            license(true, hour, true, None),
            none.clone(),
        ),
        (json!({"hdcp": "none"}), "", streaming(), none.clone()),
        (
            json!({"hdcp": "type0"}),
            ",ucvopl:270",
            streaming(),
            json!({"uncompressed_digital_video_opl": 270}),
        ),
        (
            json!({"hdcp": "type1"}),
            ",ucvopl:300,dvop:(guid:ABB2C6F1-E663-4625-A945-972D17B231E7,data:AAAAAQ==)",
            streaming(),
            json!({
                "uncompressed_digital_video_opl": 300,
                "digital_video_output_protections": [
                    {"id": "ABB2C6F1-E663-4625-A945-972D17B231E7", "config_data": "AAAAAQ=="},
                ],
            }),
        ),
        (
            json!({"min_security_level": "audio"}),
            ",sl:150",
            streaming(),
            json!({"min_device_security_level": 150}),
        ),
        (
            json!({"min_security_level": "baseline"}),
            ",sl:2000",
            streaming(),
            json!({"min_device_security_level": 2000}),
        ),
        (
            json!({"min_security_level": "main"}),
            ",sl:3000",
            streaming(),
            json!({"min_device_security_level": 3000}),
        ),
        // No play enabler is sent.
        (
            json!({"airplay": false, "av_adapter": false}),
            "",
            streaming(),
            none.clone(),
        ),
        (
            json!({"tracks": {"hd": {"hdcp": "type0"}, "uhd": false}}),
            ",ucvopl:270",
            streaming(),
            json!({"uncompressed_digital_video_opl": 270}),
        ),
        (
            json!({"persist": true, "storage_seconds": 86400, "hdcp": "type0", "min_security_level": "main"}),
            ",sl:3000,persist:true,enddate:20270116080000,ucvopl:270",
            license(true, day, false, None),
            json!({"min_device_security_level": 3000, "uncompressed_digital_video_opl": 270}),
        ),
    ]
}

#[test]
fn each_term_is_in_the_query_of_the_test_server_with_the_keys_of_this_server() {
    let deployment = deployment(&setting("playready_test"), &[]);
    for (terms, expected, ..) in terms() {
        let request = asked(&deployment, &viewer(&terms), &one());
        let request = request.unwrap_or_else(|refusal| panic!("{terms} {refusal:?}"));
        let expected = format!(
            "{SERVICE}?cfg=(kid:{},contentkey:pTfNwMplhBQG1SXnvyLXVA=={expected})",
            A.0
        );
        assert_eq!(request.uri().to_string(), expected, "{terms}");
    }
}

#[test]
fn each_term_is_in_the_query_of_a_test_server_that_has_the_keys() {
    let setting = with(setting("playready_test"), "keys", "service");
    let deployment = deployment(&with(setting, "url", "https://license.example/?x=1"), &[]);
    for (terms, expected, ..) in terms() {
        let request = asked(&deployment, &viewer(&terms), &one());
        let request = request.unwrap_or_else(|refusal| panic!("{terms} {refusal:?}"));
        let expected = format!("https://license.example/?x=1&cfg=(kid:{}{expected})", A.0);
        assert_eq!(request.uri().to_string(), expected, "{terms}");
    }
}

#[test]
fn a_test_server_is_told_the_scheme_and_gets_a_group_for_each_key() {
    let deployment = deployment(&setting("playready_test"), &[]);
    let message = challenge(&[(A.1, CBC), (B.1, CBC)]);
    let token = viewer(&json!({"tracks": {"audio": {"min_security_level": "baseline"}}}));
    let request = asked(&deployment, &token, &message).unwrap();
    assert_eq!(
        request.uri().query(),
        Some(
            "cfg=(kid:339c45b5-fb6d-4bd9-994c-eabd9d41c95b,contentkey:pTfNwMplhBQG1SXnvyLXVA==,ckt:aes128bitcbc),\
             (kid:09e36702-8f33-436c-a5dd-60ffe6671e70,contentkey:tCyjFy7k5pv1GEilnbnNEw==,ckt:aes128bitcbc,sl:2000)"
        )
    );
    // What a viewer may not have is left out.
    for terms in [json!({"tracks": {"audio": false}}), json!({"keys": [A.0]})] {
        let request = asked(&deployment, &viewer(&terms), &message).unwrap();
        let query = request.uri().query().unwrap();
        assert!(query.contains(A.0) && !query.contains(B.0), "{query}");
    }
    // PlayReady has no level 3000 for sound.
    let main = viewer(&json!({"min_security_level": "main"}));
    let request = asked(&deployment, &main, &message).unwrap();
    assert!(!request.uri().query().unwrap().contains(B.0));
    let (code, detail) = asked(&deployment, &main, &challenge(&[(B.1, CTR)])).unwrap_err();
    assert_eq!(code, "device_security_level");
    assert!(detail.contains("sound"), "{detail}");
}

/// HMAC-SHA256 for keys of up to a block (RFC 2104).
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let padded = |byte: u8| {
        let mut block = [byte; 64];
        for (padded, key) in block.iter_mut().zip(key) {
            *padded ^= key;
        }
        block
    };
    let inner = Sha256::digest([&padded(0x36), message].concat());
    Sha256::digest([&padded(0x5c)[..], &inner].concat()).to_vec()
}

/// Axinom's message in a request, whose signature is checked.
fn axinom_message(request: &Request<Vec<u8>>) -> Value {
    assert_eq!(request.uri().to_string(), SERVICE);
    let token = request.headers()["x-axdrm-message"].to_str().unwrap();
    let (signed, tag) = token.rsplit_once('.').unwrap();
    let tag = URL_SAFE_NO_PAD.decode(tag).unwrap();
    assert_eq!(tag, hmac(&COM_KEY, signed.as_bytes()));
    let (header, claims) = signed.split_once('.').unwrap();
    let json = |part| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).unwrap());
    assert_eq!(json(header).unwrap()["alg"], "HS256");
    let claims = json(claims).unwrap();
    assert_eq!(claims["version"], 1);
    assert_eq!(claims["com_key_id"], "com-key-1");
    assert_eq!(claims["expiration_date"], "2027-01-15T08:05:00Z");
    let message = claims["message"].clone();
    assert_eq!(
        (&message["type"], &message["version"]),
        (&json!("entitlement_message"), &json!(2))
    );
    message
}

#[test]
fn each_term_is_in_axinoms_message_with_keys_from_here_and_without() {
    for is_here in [true, false] {
        let setting = match is_here {
            true => axinom(),
            false => with(axinom(), "keys", "service"),
        };
        let deployment = deployment(&setting, &[]);
        for (terms, _, license, policy) in terms() {
            let request = asked(&deployment, &viewer(&terms), &one());
            let request = request.unwrap_or_else(|refusal| panic!("{terms} {refusal:?}"));
            let message = axinom_message(&request);
            assert_eq!(message["license"], license, "{terms}");
            let source = &message["content_keys_source"];
            let keys = &source[if is_here { "inline" } else { "stored" }];
            assert_eq!(keys.as_array().unwrap().len(), 1, "{source}");
            assert_eq!(keys[0]["id"], A.0);
            match policy.is_null() {
                true => {
                    assert!(keys[0].get("usage_policy").is_none());
                    assert_eq!(message["content_key_usage_policies"], json!([]));
                }
                false => {
                    assert_eq!(keys[0]["usage_policy"], A.0);
                    let policy = json!([{"name": A.0, "playready": policy}]);
                    assert_eq!(message["content_key_usage_policies"], policy, "{terms}");
                }
            }
            match keys[0]["encrypted_key"].as_str() {
                Some(encrypted) if is_here => {
                    let mut key = STANDARD.decode(encrypted).unwrap();
                    let iv = *Kid::from_text(A.0).unwrap().as_bytes();
                    let cipher = cbc::Decryptor::<Aes256>::new(&COM_KEY.into(), &iv.into());
                    let key = cipher.decrypt_padded::<NoPadding>(&mut key).unwrap();
                    assert_eq!(hex::encode(key), A.2);
                }
                encrypted => assert_eq!((encrypted, is_here), (None, false)),
            }
        }
    }
}

#[test]
fn axinoms_message_has_one_set_of_durations_for_all_keys() {
    let deployment = deployment(&axinom(), &[]);
    let message = challenge(&[(A.1, CTR), (B.1, CTR)]);
    let token = viewer(&json!({
        "persist": true, "storage_seconds": 86400,
        "tracks": {"audio": {"persist": true, "storage_seconds": 3600, "playback_seconds": 60, "hdcp": "type0"}},
    }));
    let message = axinom_message(&asked(&deployment, &token, &message).unwrap());
    assert_eq!(
        message["license"],
        json!({
            "allow_persistence": true, "expiration_datetime": "2027-01-15T09:00:00Z",
            "playready": {"real_time_expiration": false, "playback_duration": 60},
        })
    );
    // What is required of outputs stays with its key.
    let keys = &message["content_keys_source"]["inline"];
    assert!(keys[0].get("usage_policy").is_none());
    assert_eq!(keys[1]["usage_policy"], B.0);
}

#[test]
fn a_service_that_is_told_nothing_gives_licences_without_terms_alone() {
    for setting in untold() {
        let deployment = deployment(&setting, &[]);
        for terms in [
            json!({}),
            json!({"persist": true}),
            json!({"hdcp": "none"}),
            json!({"not_before": 1}),
            json!({"max_uses": 1}),
        ] {
            let request = asked(&deployment, &viewer(&terms), &one());
            let request = request.unwrap_or_else(|refusal| panic!("{terms} {refusal:?}"));
            assert_eq!(request.uri().to_string(), SERVICE);
            if let Some(headers) = setting["headers"].as_object() {
                for (name, value) in headers {
                    assert_eq!(request.headers()[name], value.as_str().unwrap());
                }
            }
        }
        for (terms, expected) in [
            (json!({"lease_seconds": 60}), "duration_unsupported"),
            (json!({"rental_seconds": 60}), "duration_unsupported"),
            (json!({"not_after": NOW + 60}), "duration_unsupported"),
            (
                json!({"persist": true, "not_after": NOW + 60}),
                "duration_unsupported",
            ),
            (
                json!({"persist": true, "storage_seconds": 60}),
                "duration_unsupported",
            ),
            (
                json!({"persist": true, "playback_seconds": 60}),
                "duration_unsupported",
            ),
            (json!({"hdcp": "type0"}), "device_hdcp_unsupported"),
            (json!({"hdcp": "type1"}), "device_hdcp_unsupported"),
            (
                json!({"min_security_level": "audio"}),
                "device_security_level",
            ),
            (
                json!({"min_security_level": "main"}),
                "device_security_level",
            ),
            (json!({"airplay": false}), "output_not_allowed"),
            (json!({"av_adapter": false}), "output_not_allowed"),
        ] {
            let (code, detail) = asked(&deployment, &viewer(&terms), &one()).unwrap_err();
            assert_eq!(code, expected, "{setting} {terms}");
            assert!(detail.contains("not told of it"), "{detail}");
        }
    }
}

#[test]
fn what_a_challenge_does_not_say_of_its_device_is_refused_for_every_service() {
    for setting in [setting("playready_test"), axinom(), setting("plain")] {
        let deployment = deployment(&setting, &[]);
        for (terms, expected) in [
            (json!({"max_streams": 1}), "device_not_allowed"),
            (
                json!({"device_ids": ["00112233445566778899aabbccddeeff"]}),
                "device_not_allowed",
            ),
            (
                json!({"device_classes": ["mobile"]}),
                "device_class_not_allowed",
            ),
            (json!({"min_os": "17.2"}), "device_os_too_old"),
            (json!({"min_kdl": 1}), "device_kdl_too_old"),
            (json!({"virtual_machines": false}), "device_virtual"),
        ] {
            let refusal = asked(&deployment, &viewer(&terms), &one());
            let (code, detail) = refusal.unwrap_err();
            // A stream has a lease, of which some services are not told.
            let is_lease = expected == "device_not_allowed" && code == "duration_unsupported";
            assert!(code == expected || is_lease, "{terms} {code} {detail}");
        }
    }
}

#[test]
fn a_service_that_gives_every_key_of_a_header_is_asked_only_where_all_of_them_may_be_had() {
    let message = challenge(&[(A.1, CTR), (B.1, CTR)]);
    for setting in untold() {
        let deployment = deployment(&setting, &[]);
        asked(&deployment, &viewer(&json!({})), &message).unwrap();
        for terms in [
            json!({"keys": [A.0]}),
            json!({"tracks": {"audio": false}}),
            json!({"tracks": {"audio": {"hdcp": "type0"}}}),
        ] {
            let (code, detail) = asked(&deployment, &viewer(&terms), &message).unwrap_err();
            assert_eq!(code, "not_entitled", "{terms}");
            assert!(detail.contains(B.0), "{detail}");
        }
        // It cannot be told which key is meant, so the name in the query is not believed.
        let none = challenge(&[]);
        let path = format!("/playready?kid={}", A.0);
        let response = deployment.post(&path, Some(&viewer(&json!({}))), none.as_bytes());
        assert_eq!(code(&response), "request_malformed");
        assert_eq!(deployment.count(), 0);
        // A second header, and a second value, do not hide a key.
        let both = header(&[(A.1, CTR)]) + &header(&[(B.1, CTR)]);
        let of_one = viewer(&json!({"keys": [A.0]}));
        let both = super::playready::message("AcquireLicense", &both, "");
        assert_eq!(code_of(asked(&deployment, &of_one, &both)), "not_entitled");
        let double = one().replace("></KID>", &format!(">{}</KID>", B.1));
        assert_eq!(
            code_of(asked(&deployment, &of_one, &double)),
            "request_malformed"
        );
    }
}

#[test]
fn a_kid_without_a_record_needs_terms_that_let_every_track_through() {
    let message = challenge(&[(UNKNOWN.1, CTR)]);
    let test = deployment(&with(setting("playready_test"), "keys", "service"), &[]);
    let plain = deployment(&setting("plain"), &[]);
    for deployment in [&test, &plain] {
        asked(deployment, &viewer(&json!({})), &message).unwrap();
        for (terms, expected) in [
            (json!({"tracks": {"uhd": false}}), "track_not_allowed"),
            (json!({"keys": [A.0]}), "not_entitled"),
        ] {
            let refusal = asked(deployment, &viewer(&terms), &message);
            assert_eq!(code_of(refusal), expected, "{terms}");
        }
    }
    // One track has a term that the service is not told of.
    let uhd = viewer(&json!({"tracks": {"uhd": {"hdcp": "type1"}}}));
    assert_eq!(
        code_of(asked(&plain, &uhd, &message)),
        "device_hdcp_unsupported"
    );
    // Where it is told, the strictest of all.
    let terms = json!({"lease_seconds": 3600, "tracks": {
        "uhd": {"hdcp": "type1"}, "sd": {"lease_seconds": 60, "min_security_level": "baseline"},
    }});
    let request = asked(&test, &viewer(&terms), &message).unwrap();
    let expected = format!(
        "cfg=(kid:{},sl:2000,enddate:20270115080100,realtime:true,ucvopl:300,dvop:(guid:ABB2C6F1-E663-4625-A945-972D17B231E7,data:AAAAAQ==))",
        UNKNOWN.0
    );
    assert_eq!(request.uri().query(), Some(expected.as_str()));
    // With the keys here, there is none for it.
    let here = deployment_here();
    assert_eq!(
        code_of(asked(&here, &viewer(&json!({})), &message)),
        "key_not_found"
    );
}

fn deployment_here() -> Deployment {
    deployment(&setting("playready_test"), &[])
}

#[test]
fn content_that_was_encrypted_with_another_key_is_found_out_by_its_checksum() {
    let deployment = deployment_here();
    let token = viewer(&json!({}));
    let with_checksum = |algorithm: &str, checksum: &str| {
        challenge(&[(A.1, &format!(r#"{algorithm} CHECKSUM="{checksum}""#))])
    };
    asked(&deployment, &token, &with_checksum(CTR, A.3)).unwrap();
    let (code, detail) = asked(&deployment, &token, &with_checksum(CTR, B.3)).unwrap_err();
    assert_eq!(code, "key_checksum");
    assert!(detail.contains(A.0), "{detail}");
    // Only AES-CTR has one, and one of another size says nothing.
    asked(&deployment, &token, &with_checksum(CBC, B.3)).unwrap();
    asked(&deployment, &token, &with_checksum(CTR, "AAAA")).unwrap();
    // Of two keys, the right one is in the licence.
    let (right, wrong) = (
        format!(r#"{CTR} CHECKSUM="{}""#, A.3),
        format!(r#"{CTR} CHECKSUM="{}""#, A.3),
    );
    let message = challenge(&[(A.1, &right), (B.1, &wrong)]);
    let request = asked(&deployment, &token, &message).unwrap();
    assert!(!request.uri().query().unwrap().contains(B.0));
    // Version 4.0 has it in an element.
    let header = format!(
        "<WRMHEADER xmlns=\"http://schemas.microsoft.com/DRM/2007/03/PlayReadyHeader\" version=\"4.0.0.0\"><DATA><PROTECTINFO><KEYLEN>16</KEYLEN><ALGID>AESCTR</ALGID></PROTECTINFO><KID>{}</KID><CHECKSUM>{}</CHECKSUM></DATA></WRMHEADER>",
        A.1, B.3
    );
    let message = message_of(&header);
    assert_eq!(
        code_of(asked(&deployment, &token, &message)),
        "key_checksum"
    );
    asked(&deployment, &token, &message.replace(B.3, A.3)).unwrap();
}

fn message_of(header: &str) -> String {
    message("AcquireLicense", header, "")
}

#[test]
fn every_way_in_leads_to_the_same_octets_for_the_service() {
    let deployment = deployment_here();
    let token = viewer(&json!({}));
    let soap = one();
    let marked = format!("\u{feff}{soap}");
    let bare = soap.replace(r#"<?xml version="1.0" encoding="utf-8"?>"#, "");
    let wide = soap.replace("utf-8", "utf-16");
    let document =
        json!({"keySystem": "com.microsoft.playready", "challenge": STANDARD.encode(&soap)});
    let payload = json!({"payload": STANDARD.encode(&soap), "token": token}).to_string();
    let none = challenge(&[]);
    let by_name = "/license?keySystem=com.microsoft.playready.recommendation";
    for (path, body, octets, content_type) in [
        (
            "/playready",
            soap.clone().into_bytes(),
            soap.clone().into_bytes(),
            "utf-8",
        ),
        (
            "/PlayReady/",
            soap.clone().into_bytes(),
            soap.clone().into_bytes(),
            "utf-8",
        ),
        (
            "/playready",
            marked.clone().into_bytes(),
            marked.clone().into_bytes(),
            "utf-8",
        ),
        (
            "/playready",
            bare.clone().into_bytes(),
            bare.into_bytes(),
            "utf-8",
        ),
        ("/playready", utf16(&wide), utf16(&wide), "utf-16"),
        (
            "/playready",
            utf16(&format!("\u{feff}{wide}")),
            utf16(&format!("\u{feff}{wide}")),
            "utf-16",
        ),
        (
            "/playready",
            utf16(&wrapped(&soap)),
            soap.clone().into_bytes(),
            "utf-8",
        ),
        (
            "/playready",
            wrapped(&soap).into_bytes(),
            soap.clone().into_bytes(),
            "utf-8",
        ),
        (
            by_name,
            marked.clone().into_bytes(),
            marked.into_bytes(),
            "utf-8",
        ),
        (
            by_name,
            utf16(&wrapped(&soap)),
            soap.clone().into_bytes(),
            "utf-8",
        ),
        (
            by_name,
            payload.clone().into_bytes(),
            soap.clone().into_bytes(),
            "utf-8",
        ),
        (
            "/license",
            document.to_string().into_bytes(),
            soap.clone().into_bytes(),
            "utf-8",
        ),
        (
            "/PlayReady/?kid=339c45b5fb6d4bd9994ceabd9d41c95b",
            none.clone().into_bytes(),
            none.into_bytes(),
            "utf-8",
        ),
    ] {
        let response = deployment.post(path, Some(&token), &body);
        assert_eq!(response.status(), 200, "{path} {}", code(&response));
        assert_eq!(
            response.headers()["content-type"],
            "text/xml; charset=utf-8"
        );
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
        assert!(response.headers().get("set-cookie").is_none());
        assert_eq!(response.body(), license("AcquireLicense").as_bytes());
        let sent = deployment.take();
        assert_eq!(sent[0].body(), &octets, "{path}");
        assert_eq!(
            sent[0].headers()["content-type"],
            format!("text/xml; charset={content_type}")
        );
        assert!(sent[0].uri().query().unwrap().contains(A.0));
    }
    // A token in the document is one.
    let response = deployment.post(by_name, None, payload.as_bytes());
    assert_eq!(response.status(), 200);
    let record = deployment.audit();
    assert_eq!(
        (&record["drm"], &record["code"], &record["license_nonce"]),
        (
            &json!("playready"),
            &json!("ok"),
            &json!("AAECAwQFBgcICQoLDA0ODw==")
        )
    );
}

#[test]
fn what_is_no_challenge_is_refused_and_nobody_is_asked() {
    let deployment = deployment_here();
    let token = viewer(&json!({}));
    let doctype = one().replace(
        "<soap:Envelope",
        "<!DOCTYPE a [<!ENTITY b \"c\">]><soap:Envelope",
    );
    let entity = one().replace("<Version>1", "<Version>&b;");
    let deep = one().replace(
        "<Version>1",
        &format!("<Version>{}{}", "<a>".repeat(40), "</a>".repeat(40)),
    );
    let large = one().replace("<Version>1", &format!("<Version>{}", "1".repeat(64 * 1024)));
    let two_bodies = one().replace(
        "</soap:Body>",
        "</soap:Body><soap:Body><AcknowledgeLicense/></soap:Body>",
    );
    let two_actions = one().replace("</soap:Body>", "<AcknowledgeLicense/></soap:Body>");
    let many: Vec<String> = (0..65_u128)
        .map(|n| STANDARD.encode(Kid::from_u128(n).as_bytes()))
        .collect();
    let many: Vec<(&str, &str)> = many.iter().map(|kid| (kid.as_str(), "")).collect();
    for (body, expected) in [
        (String::new(), "body_empty"),
        ("{}".to_owned(), "request_malformed"),
        ("\u{8}\u{4}".to_owned(), "request_malformed"),
        ("<a/>".to_owned(), "request_malformed"),
        ("<soap:Envelope>".to_owned(), "request_malformed"),
        (
            message("JoinDomain", &header(&[(A.1, CTR)]), ""),
            "request_malformed",
        ),
        (challenge(&[]), "request_malformed"),
        (challenge(&[("AAAA", CTR)]), "request_malformed"),
        (challenge(&[("%", CTR)]), "request_malformed"),
        (challenge(&many), "request_malformed"),
        (doctype, "request_malformed"),
        (entity, "request_malformed"),
        (deep, "request_malformed"),
        (two_bodies, "request_malformed"),
        (two_actions, "request_malformed"),
        (wrapped("<a/>"), "request_malformed"),
        (wrapped(&one()).replace("PD94", "%"), "request_malformed"),
        (wrapped(&large), "body_too_large"),
        (large, "body_too_large"),
    ] {
        let response = deployment.post("/playready", Some(&token), body.as_bytes());
        assert_eq!(
            code(&response),
            expected,
            "{}",
            body.get(..60).unwrap_or(&body)
        );
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
    }
    let odd = [&utf16(&one())[..], b"<"].concat();
    let response = deployment.post("/playready", Some(&token), &odd);
    assert_eq!(code(&response), "request_malformed");
    let get = Request::get("/playready").body(Vec::new()).unwrap();
    assert_eq!(deployment.handle(get).status(), 405);
    let options = Request::options("/playready").body(Vec::new()).unwrap();
    assert_eq!(deployment.handle(options).status(), 204);
    assert_eq!(deployment.count(), 0);
}

#[test]
fn a_token_in_custom_data_counts_where_there_is_no_other() {
    let deployment = deployment_here();
    let good = viewer(&json!({}));
    let narrow = viewer(&json!({"keys": [B.0]}));
    let with_custom = |text: &str| {
        message(
            "AcquireLicense",
            &header(&[(A.1, CTR)]),
            &format!("<CustomData>{text}</CustomData>"),
        )
    };
    let post = |path: &str, token: Option<&str>, custom: &str| {
        code(&deployment.post(path, token, with_custom(custom).as_bytes()))
    };
    assert_eq!(post("/playready", None, &good), "ok");
    assert_eq!(post("/playready", None, &format!(" {good}\n")), "ok");
    assert_eq!(post("/playready", None, &narrow), "not_entitled");
    assert_eq!(post("/playready", Some(&good), &narrow), "ok");
    assert_eq!(post("/playready", Some(&narrow), &good), "not_entitled");
    let in_query = format!("/playready?token={narrow}");
    assert_eq!(post(&in_query, None, &good), "not_entitled");
    // Text is not a token, and one that is none refuses.
    for text in ["", "viewer 1", "a=1", "1.2", "version 1.2.3"] {
        assert_eq!(post("/playready", None, text), "token_missing", "{text}");
    }
    assert_ne!(post("/playready", None, "a.b.c"), "token_missing");
    assert_ne!(post("/playready", None, "a.b.c"), "ok");
}

#[test]
fn an_acknowledgement_needs_a_token_and_gives_nothing() {
    let deployment = deployment(&axinom(), &[]);
    deployment.answer(|_| xml(200, &license("AcknowledgeLicense")));
    let soap = message("AcknowledgeLicense", "", "");
    let token = viewer(&json!({"max_uses": 1, "lease_seconds": 60}));
    for _ in 0..3 {
        let response = deployment.post("/playready", Some(&token), soap.as_bytes());
        assert_eq!(response.status(), 200, "{}", code(&response));
        assert_eq!(response.body(), license("AcknowledgeLicense").as_bytes());
        let sent = deployment.take();
        assert_eq!(
            sent[0].headers()["soapaction"],
            "\"http://schemas.microsoft.com/DRM/2007/03/protocols/AcknowledgeLicense\""
        );
        assert!(!sent[0].headers().contains_key("x-axdrm-message"));
    }
    // A licence is no answer to it.
    deployment.answer(|_| xml(200, &license("AcquireLicense")));
    let response = deployment.post("/playready", Some(&token), soap.as_bytes());
    assert_eq!(code(&response), "license_service_answer");
    deployment.take();
    let response = deployment.post("/playready", None, soap.as_bytes());
    assert_eq!(code(&response), "token_missing");
    assert_eq!(deployment.count(), 0);
}

#[test]
fn a_fault_of_the_service_reaches_the_device_as_it_is() {
    let cases = [
        ("0x8004c065", "device_refused"),
        ("0x8004C065", "device_refused"),
        ("0x8004c601", "license_challenge_invalid"),
        ("0x8004c600", "license_service_refused"),
        ("0x8004c060", "license_service_refused"),
    ];
    for setting in [
        setting("playready_test"),
        with(setting("playready_test"), "refusal", "soap"),
    ] {
        for (status, expected) in cases {
            let deployment = deployment(&setting, &[]);
            let fault = FAULT.replace("STATUS", status);
            let answer = fault.clone();
            deployment.answer(move |_| xml(500, &answer));
            let response =
                deployment.post("/playready", Some(&viewer(&json!({}))), one().as_bytes());
            assert_eq!(response.status(), 500);
            assert_eq!(
                response.headers()["content-type"],
                "text/xml; charset=utf-8"
            );
            assert_eq!(response.headers()["access-control-allow-origin"], "*");
            assert_eq!(response.headers()["cache-control"], "no-store");
            assert!(response.headers().get("set-cookie").is_none());
            assert_eq!(code(&response), expected, "{status}");
            assert_eq!(response.body(), fault.as_bytes());
            let record = deployment.audit();
            assert_eq!(record["code"], expected);
            assert_eq!(record["service_status"], status.to_ascii_lowercase());
        }
    }
    // A status that is none is not written down.
    let deployment = deployment_here();
    deployment.answer(|_| xml(500, &FAULT.replace("STATUS", "private words")));
    let response = deployment.post("/playready", Some(&viewer(&json!({}))), one().as_bytes());
    assert_eq!(
        (response.status().as_u16(), code(&response)),
        (500, "license_service_refused".to_owned())
    );
    assert!(!deployment.audit().to_string().contains("private"));
}

#[test]
fn every_other_answer_has_its_code_and_shows_nothing_of_itself() {
    let deployment = deployment_here();
    let token = viewer(&json!({}));
    let answered = |reply: fn() -> Reply| {
        deployment.answer(move |_| reply());
        let response = deployment.post("/playready", Some(&token), one().as_bytes());
        let body = String::from_utf8_lossy(response.body()).into_owned();
        assert!(!body.contains("private"), "{body}");
        assert!(!deployment.audit().to_string().contains("private"));
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
        assert!(response.headers().get("set-cookie").is_none());
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json"
        );
        (response.status().as_u16(), code(&response))
    };
    type Case = (fn() -> Reply, u16, &'static str);
    let cases: [Case; 19] = [
        (|| Reply::Silence, 504, "license_service_unavailable"),
        (
            || Reply::Bytes(Vec::new()),
            504,
            "license_service_unavailable",
        ),
        (|| xml(503, "private"), 504, "license_service_unavailable"),
        (|| xml(429, "private"), 504, "license_service_unavailable"),
        (
            || xml(307, "").with("location", "https://private.example"),
            502,
            "license_service_answer",
        ),
        (|| xml(204, ""), 502, "license_service_answer"),
        (|| xml(500, "private"), 502, "license_service_answer"),
        (|| xml(200, "private"), 502, "license_service_answer"),
        (
            || xml(200, "<html>private</html>"),
            502,
            "license_service_answer",
        ),
        (
            || Reply::text("<html>private</html>").with("content-type", "text/html"),
            502,
            "license_service_answer",
        ),
        // A licence of another type, or compressed, is none.
        (
            || Reply::text(&license("AcquireLicense")).with("content-type", "text/html"),
            502,
            "license_service_answer",
        ),
        (
            || Reply::text(&license("AcquireLicense")),
            502,
            "license_service_answer",
        ),
        (
            || xml(200, &license("AcquireLicense")).with("content-encoding", "gzip"),
            502,
            "license_service_answer",
        ),
        (|| xml(200, FAULT), 502, "license_service_answer"),
        (
            || xml(201, &license("AcquireLicense")),
            502,
            "license_service_answer",
        ),
        (|| xml(401, "private"), 502, "license_service_credentials"),
        (|| xml(403, FAULT), 502, "license_service_credentials"),
        (|| xml(400, "private"), 502, "license_service_refused"),
        (|| xml(404, "private"), 502, "license_service_refused"),
    ];
    for (index, (reply, status, expected)) in cases.into_iter().enumerate() {
        assert_eq!(answered(reply), (status, expected.to_owned()), "{index}");
    }
    for (error, status, expected) in [
        (
            Error::OutboundTooLarge("https://license.example".to_owned()),
            502,
            "license_service_answer",
        ),
        (
            Error::OutboundDenied("https://license.example".to_owned()),
            503,
            "license_service_denied",
        ),
    ] {
        *deployment.platform.peer.borrow_mut() = Box::new(move |_| Err(error.clone()));
        let response = deployment.post("/playready", Some(&token), one().as_bytes());
        assert_eq!(
            (response.status().as_u16(), code(&response).as_str()),
            (status, expected)
        );
    }
}

#[test]
fn axinoms_headers_say_why_as_far_as_they_may_be_shown() {
    let deployment = deployment(&axinom(), &[]);
    deployment.answer(|_| {
        xml(403, "private")
            .with("x-axdrm-errorcode", "1017")
            .with("x-axdrm-errormessage", "No <b>license</b>: key_id 7. \"x\"")
            .with("x-axdrm-message", "private")
    });
    let response = deployment.post("/playready", Some(&viewer(&json!({}))), one().as_bytes());
    assert_eq!(
        (response.status().as_u16(), code(&response).as_str()),
        (502, "license_service_credentials")
    );
    assert!(!response.headers().contains_key("x-axdrm-message"));
    let document: Value = serde_json::from_slice(response.body()).unwrap();
    assert_eq!(
        document["detail"],
        "the licence service answers 403: 1017 No blicenseb key_id 7. x"
    );
    assert_eq!(document["service_status"], "1017");
    deployment.answer(|_| xml(400, "").with("x-axdrm-errormessage", &"a".repeat(300)));
    let response = deployment.post("/playready", Some(&viewer(&json!({}))), one().as_bytes());
    let document: Value = serde_json::from_slice(response.body()).unwrap();
    let shown = document["detail"].as_str().unwrap();
    assert_eq!(
        shown.matches('a').count(),
        "the licence service answers".matches('a').count() + 200
    );
}

#[test]
fn refusals_are_faults_where_the_setting_wants_it() {
    let deployment = deployment(&with(setting("playready_test"), "refusal", "soap"), &[]);
    let token = viewer(&json!({"keys": [B.0]}));
    for (token, body, expected, title) in [
        (None, one(), "token_missing", "token"),
        (
            Some(token.as_str()),
            one(),
            "not_entitled",
            "No entitlement",
        ),
        (
            Some(token.as_str()),
            "<a/>".to_owned(),
            "request_malformed",
            "shape",
        ),
        (Some(token.as_str()), String::new(), "body_empty", "no body"),
    ] {
        let response = deployment.post("/playready", token, body.as_bytes());
        assert_eq!(response.status(), 500);
        assert_eq!(code(&response), expected);
        assert_eq!(
            response.headers()["content-type"],
            "text/xml; charset=utf-8"
        );
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
        let text = std::str::from_utf8(response.body()).unwrap();
        assert!(
            text.contains("<StatusCode>0x8004c600</StatusCode>"),
            "{text}"
        );
        assert!(
            text.contains(&format!("<faultstring>{expected}: ")),
            "{text}"
        );
        assert!(text.contains(title), "{text}");
    }
    assert_eq!(deployment.audit()["code"], "request_malformed");
    // What the service leaves unanswered is this server's refusal.
    deployment.answer(|_| xml(403, ""));
    let response = deployment.post("/playready", Some(&viewer(&json!({}))), one().as_bytes());
    assert_eq!(
        (response.status().as_u16(), code(&response).as_str()),
        (500, "license_service_credentials")
    );
    assert!(response.body().starts_with(b"<?xml"));
}

#[test]
fn the_setting_is_checked_and_playready_alone_is_enough() {
    let none = [
        ("fairplay_certificate", ""),
        ("fairplay_private_key", ""),
        ("fairplay_ask", ""),
        ("fairplay_credentials", ""),
        ("fairplay_rules", ""),
    ];
    let get = |deployment: &Deployment, path: &str| -> (u16, Value) {
        let response = deployment.handle(Request::get(path).body(Vec::new()).unwrap());
        let document = serde_json::from_slice(response.body()).unwrap();
        (response.status().as_u16(), document)
    };
    let here = deployment(&setting("playready_test"), &none);
    assert_eq!(get(&here, "/healthz").0, 200);
    let (_, root) = get(&here, "/");
    assert_eq!(root["drm"], json!(["playready"]));
    assert_eq!(root["links"]["playready"], "/playready");
    // A service with its own keys needs none here.
    let mut without_keys = none.to_vec();
    without_keys.push(("content_keys", ""));
    let plain = deployment(&setting("plain"), &without_keys);
    assert_eq!(get(&plain, "/healthz").0, 200);
    asked(&plain, &viewer(&json!({})), &one()).unwrap();

    let wrong = deployment(&with(setting("plain"), "keys", "here"), &[]);
    let (status, health) = get(&wrong, "/healthz");
    assert_eq!(status, 503);
    assert!(health.to_string().contains("keys"), "{health}");
    let response = wrong.post("/playready", Some(&viewer(&json!({}))), one().as_bytes());
    assert_eq!(code(&response), "configuration_invalid");

    let off = deployment(&json!({}), &[("playready", "")]);
    let response = off.post("/playready", Some(&viewer(&json!({}))), one().as_bytes());
    assert_eq!(
        (response.status().as_u16(), code(&response).as_str()),
        (503, "playready_off")
    );
}

#[test]
fn a_key_record_without_a_kid_is_named() {
    let records = json!([{"id": "skd://movie", "aliases": [A.0], "key": A.2}]).to_string();
    let deployment = deployment(&setting("playready_test"), &[("content_keys", &records)]);
    // The challenge has the KID.
    let request = asked(&deployment, &viewer(&json!({})), &one()).unwrap();
    assert!(request.uri().query().unwrap().contains(A.0));
    // A KID that only the query has finds the record, and the record has none.
    let none = challenge(&[]);
    let path = format!("/playready?kid={}", A.0);
    let response = deployment.post(&path, Some(&viewer(&json!({}))), none.as_bytes());
    assert_eq!(code(&response), "kid_missing");
}

fn post(server: &keylet_host::Server, token: &str, body: &[u8]) -> Answer {
    let request = Request::post("/").header("authorization", format!("Bearer {token}"));
    send(server, request, "/playready", body)
}

#[test]
fn a_licence_in_every_world() {
    let service = Upstream::start(|_| xml(200, &license("AcquireLicense")));
    let setting = with(
        setting("playready_test"),
        "url",
        service.url("/rightsmanager.asmx"),
    );
    for world in WORLDS {
        let server = serve_on(
            world,
            &variables(&setting, &[]),
            StoreChoice::Memory,
            &[service.origin()],
        );
        assert_eq!(get(&server, "/healthz").status, 200);
        let token = viewer(&json!({"lease_seconds": 60}));
        let answer = post(&server, &token, utf16(&wrapped(&one())).as_slice());
        assert_eq!(answer.status, 200, "{world:?} {answer:?}");
        assert_eq!(answer.body, license("AcquireLicense").as_bytes());
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        assert_eq!(answer.header("set-cookie"), None);
        let sent = service.take();
        assert_eq!(sent[0].body(), one().as_bytes());
        assert!(sent[0].uri().query().unwrap().starts_with("cfg=(kid:"));
        server.stop();
    }
}

#[test]
fn each_failure_of_the_service_has_its_code_and_no_player_waits_long() {
    let service = failing_service(
        |padding| xml(200, padding),
        |path| match path {
            "/fault" => Some(xml(500, FAULT)),
            "/credentials" => Some(xml(401, "private")),
            _ => None,
        },
    );
    let own = [
        ("/fault", 500, "license_service_refused"),
        ("/credentials", 502, "license_service_credentials"),
    ];
    expect_failures(
        &service,
        &[&SERVICE_FAILURES[..], &own].concat(),
        |url| variables(&with(setting("playready_test"), "url", url), &[]),
        |server| post(server, &viewer(&json!({})), one().as_bytes()),
        "*",
    );
}

/// Challenges of each version of the header, plain and wrapped in UTF-16, beside the published vectors.
#[test]
fn challenges_of_every_version_are_read() {
    let folder = std::env::var_os("FPS_SDK_VECTORS").map(std::path::PathBuf::from);
    let folder = folder.and_then(|folder| {
        let inside = folder.join("playready-challenges");
        let beside = folder.join("../playready-challenges");
        [inside, beside].into_iter().find(|folder| folder.is_dir())
    });
    let Some(folder) = folder else {
        keylet_e2e::skip(
            "vectors",
            "challenges_of_every_version_are_read",
            "FPS_SDK_VECTORS names no folder with playready-challenges",
        );
        return;
    };
    let deployment = deployment_here();
    let token = viewer(&json!({}));
    for (name, kids, custom_data) in [
        ("v40", &[A.0][..], Some("tok.en.sig")),
        ("v41", &[A.0], None),
        ("v42", &[A.0, B.0], None),
        ("v43", &[A.0, B.0], None),
    ] {
        let read =
            |extension: &str| std::fs::read(folder.join(format!("{name}.{extension}"))).unwrap();
        let plain = read("xml");
        for message in [plain.clone(), read("utf16")] {
            let challenge = Challenge::read(&message).unwrap();
            assert_eq!(challenge.soap, plain, "{name}");
            assert_eq!(challenge.action, Action::AcquireLicense);
            let found: Vec<String> = challenge
                .keys
                .iter()
                .map(|key| key.kid.to_string())
                .collect();
            assert_eq!(found, kids, "{name}");
            assert_eq!(challenge.custom_data.as_deref(), custom_data);
            assert_eq!(
                challenge.license_nonce.as_deref(),
                Some("AAAAAAAAAAAAAAAAAAAAAA==")
            );
            // Their checksums are those of the keys.
            let response = deployment.post("/playready", Some(&token), &message);
            assert_eq!(response.status(), 200, "{name} {}", code(&response));
            assert_eq!(deployment.take()[0].body(), &plain);
        }
    }
}

#[test]
fn a_token_for_one_use_is_good_for_one_challenge() {
    let deployment = deployment_here();
    let entries = json!([{"keys": "*", "max_uses": 1}]);
    let claims = claims(json!({"jti": "1", "entitlements": entries}));
    let token = signed(&VIEWER, Some("viewer"), &claims);
    let ask = |message: &str| {
        let response = deployment.post("/playready", Some(&token), message.as_bytes());
        code(&response)
    };
    // The same bytes again, as players repeat them after a time-out, are no further use.
    assert_eq!(
        (ask(&one()), ask(&one())),
        ("ok".to_owned(), "ok".to_owned())
    );
    let other = one().replace("AAECAwQFBgcICQoLDA0ODw==", "AQECAwQFBgcICQoLDA0ODw==");
    assert_eq!(ask(&other), "uses_spent");
}

#[test]
fn refusals_of_the_built_component_have_their_codes() {
    let service = Upstream::start(|_| xml(500, &FAULT.replace("STATUS", "0x8004c065")));
    let setting = with(setting("playready_test"), "url", service.url("/"));
    let no_kid = json!([{"id": "skd://movie", "aliases": [A.0], "key": A.2}]).to_string();
    let off = json!({});
    let wrong = challenge(&[(A.1, &format!(r#"{CTR} CHECKSUM="{}""#, B.3))]);
    let by_query = format!("/playready?kid={}", A.0);
    for (setting, records, path, message, expected) in [
        (&off, None, "/playready", one(), (503, "playready_off")),
        (&setting, None, "/playready", wrong, (409, "key_checksum")),
        (&setting, None, "/playready", one(), (500, "device_refused")),
        (
            &setting,
            Some(&no_kid),
            by_query.as_str(),
            challenge(&[]),
            (503, "kid_missing"),
        ),
    ] {
        let mut more = vec![];
        more.extend(records.map(|records| ("content_keys", records.as_str())));
        if *setting == off {
            more.push(("playready", ""));
        }
        for world in SPINS {
            let variables = variables(setting, &more);
            let server = serve_on(world, &variables, StoreChoice::Memory, &[service.origin()]);
            let request = Request::post("/")
                .header("authorization", format!("Bearer {}", viewer(&json!({}))));
            let answer = send(&server, request, path, message.as_bytes());
            let code = answer.header("x-keylet-code").unwrap_or("ok");
            assert_eq!((answer.status, code), expected, "{world:?}");
            server.stop();
        }
    }
}
