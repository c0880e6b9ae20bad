//! What a viewer may do: the terms of token, key record and deployment, and what a device can.

use http::{HeaderMap, Request};
use keylet::fairplay::output_protection::{BASELINE, MAIN};
use keylet::fairplay::tag::Tag;
use keylet::service::Service;
use keylet_cli::device::{Duration, Licence, SpcOptions};
use keylet_cli::fixtures::variables;
use keylet_cli::jwt::Signer;
use keylet_host::{Provided, Server};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use serde_json::{Map, Value, json};

use crate::support::{Native, run, send, serve, spc};

const FIRST: u32 = 0xf4de_e5a2;
const RENEWAL: u32 = 0x4f83_4330;
const PLAYING: u32 = 0xa5d6_739e;

const HDCP_TYPE_1: u64 = 1;
const OFFLINE_V1: u64 = 1 << 1;
const OFFLINE_V2: u64 = 1 << 3;
const LEVEL_BASELINE: u64 = 1 << 4;
const LEVEL_MAIN: u64 = 1 << 5;

/// The seconds since 1970 at which [`Native`] lives.
const NOW: u64 = 1_800_000_000;

fn signer() -> Signer {
    Signer::Hs256(vec![7; 32])
}

/// A token with one entitlement, to every key.
fn bearer(terms: &Value) -> String {
    let mut entry = terms.clone();
    entry["keys"] = "*".into();
    let claims = json!({"sub": "viewer", "exp": 4_000_000_000_u64, "entitlements": [entry]});
    let mut rng = ChaCha20Rng::seed_from_u64(0);
    format!(
        "Bearer {}",
        signer().token(None, &claims, &mut rng).unwrap()
    )
}

/// The fixture variables, with keys of every track and tokens of this test's own.
fn deployment(changes: &[(&str, &str)]) -> Provided {
    let key = "00112233445566778899aabbccddeeff";
    let record = |id: &str, more: Value| {
        let mut record = json!({"id": id, "key": key, "iv": key});
        record
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        record
    };
    let records = json!([
        record("movie", json!({"stream": "stream", "title": "title"})),
        record("audio", json!({"track": "audio"})),
        record("sd", json!({"track": "sd"})),
        record("hd", json!({"track": "hd"})),
        record("uhd", json!({"track": "uhd"})),
        record("leased", json!({"terms": {"lease_seconds": 60}})),
        record("stays", json!({"terms": {"persist": false}})),
        record(
            "type1",
            json!({"track": "hd", "terms": {"tracks": {"hd": {"hdcp": "type1"}}}})
        ),
    ]);
    let mut variables = variables();
    let jwks = json!({"keys": [signer().jwk("policy").unwrap()]});
    let own = [
        ("content_keys", records.to_string()),
        ("token_keys", jwks.to_string()),
        ("token_issuer", "*".to_owned()),
        ("token_audience", "*".to_owned()),
    ];
    variables.extend(own.map(|(name, value)| (name.to_owned(), value)));
    let changes = changes.iter();
    variables.extend(changes.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    variables
}

/// What a server answers: a licence, or the code of its refusal.
fn ask(server: &Server, terms: &Value, options: &SpcOptions) -> Result<Licence, String> {
    ask_from(server, terms, options, &HeaderMap::new())
}

fn ask_from(
    server: &Server,
    terms: &Value,
    options: &SpcOptions,
    headers: &HeaderMap,
) -> Result<Licence, String> {
    let (spc, secrets) = spc(options);
    let mut request = Request::post("/").header("authorization", bearer(terms));
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let answer = send(server, request, "/fairplay", &spc);
    match answer.status {
        200 => Ok(Licence::open(&answer.body, &secrets).unwrap()),
        _ => Err(answer.header("x-keylet-code").unwrap().to_owned()),
    }
}

fn asset(id: &str) -> SpcOptions {
    SpcOptions::new(format!("skd://{id}"))
}

#[test]
fn every_kind_of_use_meets_every_kind_of_device_as_the_table_says() {
    const USES: [&str; 7] = [
        "streaming",
        "lease",
        "rental",
        "both",
        "persist",
        "limited",
        "dual",
    ];
    let server = serve(&deployment(&[]));
    let mut asked = 0;
    for use_ in USES {
        for state in [None, Some(FIRST), Some(RENEWAL), Some(PLAYING)] {
            for offline in [None, Some(0), Some(OFFLINE_V1), Some(OFFLINE_V2)] {
                for hdcp in ["none", "type0", "type1"] {
                    for type1 in [false, true] {
                        let mut terms = match use_ {
                            "streaming" => json!({}),
                            "lease" => json!({"lease_seconds": 120}),
                            "rental" => json!({"rental_seconds": 3600}),
                            "both" => json!({"lease_seconds": 120, "rental_seconds": 3600}),
                            "persist" => json!({"persist": true}),
                            "limited" => json!({"persist": true, "storage_seconds": 86_400}),
                            _ => json!({"persist": true, "storage_seconds": 86_400,
                                        "playback_seconds": 7_200}),
                        };
                        terms["hdcp"] = hdcp.into();
                        // A device without capabilities cannot report that it enforces type 1.
                        let capabilities = match (offline, type1) {
                            (None, false) => None,
                            (None, true) => Some(HDCP_TYPE_1),
                            (Some(bits), type1) => Some(bits | u64::from(type1)),
                        };
                        let mut options = asset("movie");
                        if let Some(state) = state {
                            options = options.playing(state);
                        }
                        if let Some(bits) = capabilities {
                            options = options.capable(bits);
                        }
                        let expected = expected(use_, state, capabilities, hdcp);
                        let actual = ask(&server, &terms, &options)
                            .map(|licence| (licence.duration, licence.hdcp.unwrap()));
                        assert_eq!(
                            actual,
                            expected.map_err(str::to_owned),
                            "{use_} {state:x?} {capabilities:?} {hdcp}"
                        );
                        asked += 1;
                    }
                }
            }
        }
    }
    assert_eq!(asked, 7 * 4 * 4 * 3 * 2);
    server.stop();
}

/// The table of the design, a second time.
fn expected(
    use_: &str,
    state: Option<u32>,
    capabilities: Option<u64>,
    hdcp: &'static str,
) -> Result<(Option<Duration>, &'static str), &'static str> {
    let has = |bit| capabilities.is_some_and(|bits| bits & bit != 0);
    let offline = |storage_seconds, playback_seconds| {
        let v2 = has(OFFLINE_V2);
        Duration::OfflineKey {
            version: if v2 { 2 } else { 1 },
            stream: "73747265616d00000000000000000000".to_owned(),
            storage_seconds,
            playback_seconds,
            title: v2.then(|| "7469746c650000000000000000000000".to_owned()),
        }
    };
    let has_offline = has(OFFLINE_V1) || has(OFFLINE_V2);
    let duration = match (use_, state) {
        ("streaming", _) | ("persist", None) => None,
        (_, None) => return Err("duration_unsupported"),
        ("lease", _) | ("both", Some(RENEWAL | PLAYING)) => {
            Some(Duration::Lease { lease_seconds: 120 })
        }
        ("rental", _) => Some(Duration::Rental {
            rental_seconds: 3600,
        }),
        ("both", _) => Some(Duration::LeaseAndRental {
            lease_seconds: 120,
            rental_seconds: 3600,
        }),
        ("persist", _) if has_offline => Some(offline(0, 0)),
        ("persist", _) => Some(Duration::Persistence),
        ("limited", _) if has_offline => Some(offline(86_400, 0)),
        ("limited", _) => Some(Duration::PersistenceLimited { seconds: 86_400 }),
        _ if has_offline || capabilities.is_none() => Some(offline(86_400, 7_200)),
        _ => return Err("device_offline_unsupported"),
    };
    if hdcp == "type1" && !has(HDCP_TYPE_1) {
        return Err("device_hdcp_unsupported");
    }
    Ok((duration, hdcp))
}

/// A device identity of a class, with an operating system.
fn identity(options: SpcOptions, class: u32, os: [u8; 3]) -> SpcOptions {
    let [major, minor, patch] = os;
    let value = [
        &1_u32.to_be_bytes()[..],
        &class.to_be_bytes(),
        &[1; 8],
        &[2; 8],
        &[0, 0, 0, 3],
        &[0, 0, 0, 4],
        &[0, major, minor, patch],
    ]
    .concat();
    options.with(Tag::DEVICE_IDENTITY, value)
}

fn streaming_to(options: SpcOptions, indicator: u64) -> SpcOptions {
    options.with(Tag::STREAMING_INDICATOR, indicator.to_be_bytes())
}

fn level_report(options: SpcOptions, level: u64, kdl: u32) -> SpcOptions {
    let value = [
        &1_u32.to_be_bytes()[..],
        &[0; 4],
        &level.to_be_bytes(),
        &kdl.to_be_bytes(),
    ]
    .concat();
    options.with(Tag::SECURITY_LEVEL_REPORT, value)
}

fn virtual_machine(options: SpcOptions) -> SpcOptions {
    let value: Vec<u8> = [1_u32, 3, 0, 1, 3, 0, 1]
        .iter()
        .flat_map(|n| n.to_be_bytes())
        .collect();
    options.with(Tag::VM_DEVICE_INFO, value)
}

#[test]
fn terms_on_outputs_and_devices_are_held_against_what_the_device_says() {
    let (airplay, adapter) = (0xabb0_256a_3184_3974, 0x5f9c_8132_b59f_2fde);
    let movie = || asset("movie");
    let level = |name| json!({"min_security_level": name});
    let cases = [
        (
            "local",
            json!({"airplay": false, "av_adapter": false}),
            streaming_to(movie(), 99),
            "",
        ),
        (
            "airplay",
            json!({"airplay": false}),
            streaming_to(movie(), airplay),
            "output_not_allowed",
        ),
        (
            "airplay allowed",
            json!({"airplay": true}),
            streaming_to(movie(), airplay),
            "",
        ),
        (
            "adapter",
            json!({"av_adapter": false}),
            streaming_to(movie(), adapter),
            "output_not_allowed",
        ),
        (
            "airplay is no adapter",
            json!({"av_adapter": false}),
            streaming_to(movie(), airplay),
            "",
        ),
        (
            "class",
            json!({"device_classes": ["mobile", "desktop"]}),
            identity(movie(), 2, [17, 0, 0]),
            "",
        ),
        (
            "other class",
            json!({"device_classes": ["mobile"]}),
            identity(movie(), 1, [17, 0, 0]),
            "device_class_not_allowed",
        ),
        (
            "no class",
            json!({"device_classes": ["mobile"]}),
            movie(),
            "device_class_not_allowed",
        ),
        (
            "system",
            json!({"min_os": "17.2"}),
            identity(movie(), 2, [17, 2, 0]),
            "",
        ),
        (
            "old system",
            json!({"min_os": "17.2"}),
            identity(movie(), 2, [17, 1, 9]),
            "device_os_too_old",
        ),
        (
            "no system",
            json!({"min_os": "17.2"}),
            movie(),
            "device_os_too_old",
        ),
        (
            "system by class",
            json!({"min_os": {"mobile": "17.2", "desktop": "14"}}),
            identity(movie(), 3, [14, 0, 0]),
            "",
        ),
        (
            "old system by class",
            json!({"min_os": {"mobile": "17.2", "desktop": "14"}}),
            identity(movie(), 3, [13, 9, 9]),
            "device_os_too_old",
        ),
        (
            "system of another class",
            json!({"min_os": {"mobile": "17.2"}}),
            identity(movie(), 1, [1, 0, 0]),
            "",
        ),
        (
            "kdl",
            json!({"min_kdl": 31}),
            level_report(movie(), MAIN, 31),
            "",
        ),
        (
            "old kdl",
            json!({"min_kdl": 31}),
            level_report(movie(), MAIN, 30),
            "device_kdl_too_old",
        ),
        (
            "no kdl",
            json!({"min_kdl": 31}),
            movie(),
            "device_kdl_too_old",
        ),
        (
            "virtual",
            json!({"virtual_machines": false}),
            virtual_machine(movie()),
            "device_virtual",
        ),
        (
            "virtual allowed",
            json!({"virtual_machines": true}),
            virtual_machine(movie()),
            "",
        ),
        (
            "not virtual",
            json!({"virtual_machines": false}),
            movie(),
            "",
        ),
        (
            "reported main",
            level("main"),
            level_report(movie(), MAIN, 31),
            "",
        ),
        (
            "reported baseline",
            level("main"),
            level_report(movie(), BASELINE, 31),
            "device_security_level",
        ),
        (
            "capable of main",
            level("main"),
            movie().capable(LEVEL_MAIN),
            "",
        ),
        (
            "capable of baseline",
            level("main"),
            movie().capable(LEVEL_BASELINE),
            "device_security_level",
        ),
        (
            "baseline",
            level("baseline"),
            movie().capable(LEVEL_BASELINE),
            "",
        ),
        (
            "silent",
            level("baseline"),
            movie(),
            "device_security_level",
        ),
        ("sound", level("audio"), movie(), ""),
    ];
    let server = serve(&deployment(&[]));
    for (name, terms, options, expected) in cases {
        let code = ask(&server, &terms, &options).err().unwrap_or_default();
        assert_eq!(code, expected, "{name}");
    }
    server.stop();
}

#[test]
fn tracks_have_terms_of_their_own_and_the_rest_has_the_entrys() {
    let server = serve(&deployment(&[]));
    let terms = json!({
        "hdcp": "type0",
        "lease_seconds": 100,
        "tracks": {"uhd": false, "hd": {"hdcp": "type1"}, "audio": {"hdcp": "none", "lease_seconds": 50}},
    });
    let able = |id| asset(id).playing(FIRST).capable(HDCP_TYPE_1);
    let got = |id| {
        ask(&server, &terms, &able(id))
            .map(|licence| (licence.hdcp.unwrap(), licence.duration.unwrap()))
    };
    let lease = |lease_seconds| Duration::Lease { lease_seconds };
    assert_eq!(got("uhd"), Err("track_not_allowed".to_owned()));
    assert_eq!(got("hd"), Ok(("type1", lease(100))));
    assert_eq!(got("sd"), Ok(("type0", lease(100))));
    assert_eq!(got("audio"), Ok(("none", lease(50))));
    assert_eq!(got("movie"), Ok(("type0", lease(100))), "a key of no track");
    for invalid in [
        json!({"tracks": {"4k": {}}}),
        json!({"tracks": []}),
        json!({"tracks": {"hd": true}}),
        json!({"tracks": {"hd": {"max_uses": 1}}}),
        json!({"persist": true, "tracks": {"hd": {"lease_seconds": 1}}}),
        json!({"tracks": {"hd": {"storage_seconds": 1}}}),
    ] {
        let refused = ask(&server, &invalid, &able("movie"));
        assert_eq!(refused.unwrap_err(), "terms_invalid", "{invalid}");
    }
    let unknown = json!({"tracks": {"hd": {"hdpc": "type1"}}});
    assert_eq!(
        ask(&server, &unknown, &able("movie")).unwrap_err(),
        "term_unsupported"
    );
    server.stop();
}

#[test]
fn a_key_records_terms_hold_for_every_token() {
    let server = serve(&deployment(&[]));
    let lease = |terms| {
        let licence = ask(&server, &terms, &asset("leased").playing(FIRST)).unwrap();
        licence.duration
    };
    let seconds = |lease_seconds| Some(Duration::Lease { lease_seconds });
    assert_eq!(lease(json!({})), seconds(60));
    assert_eq!(lease(json!({"lease_seconds": 30})), seconds(30));
    assert_eq!(lease(json!({"lease_seconds": 90})), seconds(60));
    assert_eq!(
        lease(json!({"persist": true})),
        seconds(60),
        "what is leased is not stored"
    );

    let stays = ask(
        &server,
        &json!({"persist": true}),
        &asset("stays").playing(FIRST),
    );
    assert_eq!(stays.unwrap().duration, None);
    let type1 = ask(&server, &json!({"hdcp": "none"}), &asset("type1"));
    assert_eq!(type1.unwrap_err(), "device_hdcp_unsupported");
    let type1 = ask(
        &server,
        &json!({"hdcp": "none"}),
        &asset("type1").capable(HDCP_TYPE_1),
    );
    assert_eq!(type1.unwrap().hdcp, Some("type1"));
    server.stop();
}

#[test]
fn the_suggested_rules_hold_when_they_are_chosen_and_only_then() {
    let uhd = || asset("uhd").capable(HDCP_TYPE_1 | LEVEL_MAIN);
    let cases = [
        ("uhd", uhd(), Ok((Some("main"), Some("type1")))),
        (
            "uhd without type 1",
            asset("uhd").capable(LEVEL_MAIN),
            Err("device_hdcp_unsupported"),
        ),
        (
            "uhd on baseline",
            asset("uhd").capable(HDCP_TYPE_1 | LEVEL_BASELINE),
            Err("device_security_level"),
        ),
        (
            "uhd on a silent device",
            asset("uhd").capable(HDCP_TYPE_1),
            Ok((Some("main"), Some("type1"))),
        ),
        ("hd", asset("hd"), Ok((Some("baseline"), Some("type0")))),
        (
            "hd on less",
            level_report(asset("hd"), BASELINE - 1, 31),
            Err("device_security_level"),
        ),
        ("sd", asset("sd"), Ok((Some("baseline"), None))),
        (
            "audio",
            level_report(asset("audio"), 1, 31),
            Ok((Some("audio"), None)),
        ),
        (
            "old kdl",
            level_report(asset("sd"), MAIN, 30),
            Err("device_kdl_too_old"),
        ),
        (
            "kdl 0",
            level_report(asset("sd"), MAIN, 0),
            Ok((Some("baseline"), None)),
        ),
        ("no track", asset("movie"), Ok((None, None))),
    ];
    let server = serve(&deployment(&[("fairplay_rules", "apple-defaults")]));
    for (name, options, expected) in &cases {
        let got =
            ask(&server, &json!({}), options).map(|licence| (licence.security_level, licence.hdcp));
        assert_eq!(got, expected.map_err(str::to_owned), "{name}");
    }
    // A value that a device does not report passes the rules, and no other terms.
    let silent = || asset("movie");
    for (terms, expected) in [
        (
            json!({"min_security_level": "main"}),
            "device_security_level",
        ),
        (json!({"min_kdl": 31}), "device_kdl_too_old"),
    ] {
        let refused = ask(&server, &terms, &silent());
        assert_eq!(refused.err().as_deref(), Some(expected), "{terms}");
    }
    let reports = level_report(asset("sd"), MAIN, 31);
    let licence = ask(&server, &json!({"min_security_level": "main"}), &reports);
    assert_eq!(licence.unwrap().security_level, Some("main"));
    server.stop();

    let server = serve(&deployment(&[]));
    for (name, options, _) in &cases {
        let got =
            ask(&server, &json!({}), options).map(|licence| (licence.security_level, licence.hdcp));
        assert_eq!(got, Ok((None, None)), "{name}");
    }
    server.stop();
}

#[test]
fn a_device_is_known_by_its_pseudonym_and_by_nothing_without_a_secret() {
    let options = SpcOptions {
        hu: Some([9; 20]),
        ..asset("movie")
    };
    let secret = "a secret of this server, 32 bytes long or more";
    // HMAC-SHA256 under HKDF-SHA256(secret, info "keylet device pseudonym", 64 bytes), cut to 16,
    // made with another implementation.
    let known = json!({"device_ids": ["00000000000000000000000000000000", DEVICE_9]});
    let other = json!({"device_ids": ["00000000000000000000000000000000"]});
    let server = serve(&deployment(&[("server_secret", secret)]));
    assert!(ask(&server, &known, &options).is_ok());
    assert_eq!(
        ask(&server, &other, &options).unwrap_err(),
        "device_not_allowed"
    );
    assert_eq!(
        ask(&server, &known, &asset("movie")).unwrap_err(),
        "device_not_allowed"
    );
    server.stop();

    let server = serve(&deployment(&[]));
    assert_eq!(
        ask(&server, &known, &options).unwrap_err(),
        "term_unsupported"
    );
    server.stop();
}

const DEVICE_9: &str = "aba192853abd9bcc3ed6faf04fe64605";

#[test]
fn places_are_believed_from_the_trusted_headers_alone() {
    let from = |headers: &[(&'static str, &str)]| {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        map
    };
    let ip = json!({"ip_allow": ["192.0.2.0/24", "2001:db8::1"]});
    let country = json!({"countries": ["DE", "at"]});
    let server = serve(&deployment(&[
        ("client_ip_header", "X-Forwarded-For"),
        ("client_country_header", "cf-ipcountry"),
    ]));
    for (terms, headers, expected) in [
        (&ip, from(&[("x-forwarded-for", "192.0.2.77")]), ""),
        (
            &ip,
            from(&[("x-forwarded-for", "198.51.100.1, 192.0.2.77:443")]),
            "",
        ),
        (&ip, from(&[("x-forwarded-for", "2001:db8::1")]), ""),
        (
            &ip,
            from(&[("x-forwarded-for", "192.0.2.77, 198.51.100.1")]),
            "place_not_allowed",
        ),
        (
            &ip,
            from(&[
                ("x-forwarded-for", "192.0.2.77"),
                ("x-forwarded-for", "198.51.100.1"),
            ]),
            "place_not_allowed",
        ),
        (&ip, from(&[("x-real-ip", "192.0.2.77")]), "place_unknown"),
        (
            &ip,
            from(&[("x-forwarded-for", "somewhere")]),
            "place_unknown",
        ),
        (&country, from(&[("cf-ipcountry", "de")]), ""),
        (&country, from(&[("cf-ipcountry", "AT")]), ""),
        (
            &country,
            from(&[("cf-ipcountry", "CH")]),
            "place_not_allowed",
        ),
        (&country, from(&[("cf-ipcountry", "T1")]), "place_unknown"),
        (&country, from(&[]), "place_unknown"),
    ] {
        let code = ask_from(&server, terms, &asset("movie"), &headers).err();
        assert_eq!(code.unwrap_or_default(), expected, "{terms} {headers:?}");
    }
    server.stop();

    // RFC 7239: the last element is the proxy's own, whatever the client wrote before it.
    let server = serve(&deployment(&[("client_ip_header", "Forwarded")]));
    for (value, expected) in [
        ("for=192.0.2.77;proto=https", ""),
        (
            "for=198.51.100.1, For=\"[2001:db8::1]:4711\";by=203.0.113.1",
            "",
        ),
        ("for=192.0.2.77, for=198.51.100.1", "place_not_allowed"),
        ("for=192.0.2.77;x=\", for=198.51.100.1", "place_not_allowed"),
        ("for=192.0.2.77, for=_hidden", "place_unknown"),
        ("for=unknown", "place_unknown"),
    ] {
        let headers = from(&[("forwarded", value)]);
        let code = ask_from(&server, &ip, &asset("movie"), &headers).err();
        assert_eq!(code.unwrap_or_default(), expected, "{value}");
    }
    server.stop();

    let server = serve(&deployment(&[]));
    for (terms, header) in [
        (&ip, ("x-forwarded-for", "192.0.2.77")),
        (&country, ("cf-ipcountry", "DE")),
    ] {
        let code = ask_from(&server, terms, &asset("movie"), &from(&[header]));
        assert_eq!(code.unwrap_err(), "place_unknown", "no header is trusted");
    }
    server.stop();
}

#[test]
fn terms_of_another_form_refuse() {
    let server = serve(&deployment(&[]));
    for terms in [
        json!({"min_security_level": "high"}),
        json!({"airplay": "no"}),
        json!({"device_ids": []}),
        json!({"device_ids": ["short"]}),
        json!({"device_classes": ["phone"]}),
        json!({"min_os": "17.2.1.4"}),
        json!({"min_os": "new"}),
        json!({"min_os": {"phone": "17"}}),
        json!({"min_os": {}}),
        json!({"min_kdl": 0}),
        json!({"ip_allow": ["192.0.2.0/33"]}),
        json!({"ip_allow": "192.0.2.0/24"}),
        json!({"countries": ["Germany"]}),
        json!({"countries": []}),
    ] {
        let code = ask(&server, &terms, &asset("movie")).unwrap_err();
        assert_eq!(code, "terms_invalid", "{terms}");
    }
    server.stop();
}

/// Random terms: each member is there in one of three cases.
fn random_terms(rng: &mut ChaCha20Rng, stands_alone: bool) -> Value {
    let mut terms = Map::new();
    let one_in_three = |rng: &mut ChaCha20Rng| rng.next_u32().is_multiple_of(3);
    let below = |rng: &mut ChaCha20Rng, end: u32| 1 + rng.next_u32() % end;
    for name in [
        "lease_seconds",
        "rental_seconds",
        "storage_seconds",
        "playback_seconds",
    ] {
        if one_in_three(rng) {
            terms.insert(name.to_owned(), below(rng, 1000).into());
        }
    }
    if one_in_three(rng) {
        terms.insert(
            "not_after".to_owned(),
            (NOW + u64::from(below(rng, 1000))).into(),
        );
    }
    if one_in_three(rng) || stands_alone {
        terms.insert(
            "persist".to_owned(),
            (!rng.next_u32().is_multiple_of(4)).into(),
        );
    }
    for (name, values) in [
        ("hdcp", ["none", "type0", "type1"]),
        ("min_security_level", ["audio", "baseline", "main"]),
    ] {
        if one_in_three(rng) {
            let index = usize::try_from(rng.next_u32() % 3).unwrap();
            terms.insert(name.to_owned(), values[index].into());
        }
    }
    if one_in_three(rng) {
        terms.insert(
            "airplay".to_owned(),
            rng.next_u32().is_multiple_of(2).into(),
        );
    }
    terms.into()
}

fn random_device(rng: &mut ChaCha20Rng) -> SpcOptions {
    let mut options = asset("movie");
    let pick = |rng: &mut ChaCha20Rng, end: u32| rng.next_u32() % end;
    match pick(rng, 5) {
        0 => {}
        1 => options = options.playing(RENEWAL),
        2 => options = options.playing(PLAYING),
        _ => options = options.playing(FIRST),
    }
    if pick(rng, 4) > 0 {
        options = options.capable(u64::from(pick(rng, 64)));
    }
    if pick(rng, 8) == 0 {
        options = streaming_to(options, 0xabb0_256a_3184_3974);
    }
    options
}

/// Whether a licence for a device keeps to terms, judged by what the CKC says alone.
fn keeps_to(licence: &Licence, terms: &Value, device: &SpcOptions) -> Result<(), &'static str> {
    let number = |name: &str| terms[name].as_u64().map(|n| u32::try_from(n).unwrap());
    let has_tag = |tag| device.tllvs.iter().any(|(given, _)| *given == tag);
    let is_first = device.tllvs.iter().any(|(tag, value)| {
        *tag == Tag::MEDIA_PLAYBACK_STATE && value[4..8] == FIRST.to_be_bytes()
    });
    let ends_in = terms["not_after"]
        .as_u64()
        .map(|end| u32::try_from(end - NOW).unwrap());
    // 0 means no limit in an offline key.
    let limit = |seconds: u32| if seconds == 0 { u32::MAX } else { seconds };
    let (lease, rental, storage, playback) = match &licence.duration {
        None => (u32::MAX, u32::MAX, None, u32::MAX),
        Some(Duration::Lease { lease_seconds }) => (*lease_seconds, u32::MAX, None, u32::MAX),
        Some(Duration::Rental { rental_seconds }) => (u32::MAX, *rental_seconds, None, u32::MAX),
        Some(Duration::LeaseAndRental {
            lease_seconds,
            rental_seconds,
        }) => (*lease_seconds, *rental_seconds, None, u32::MAX),
        Some(Duration::Persistence) => (u32::MAX, u32::MAX, Some(u32::MAX), u32::MAX),
        // The key lapses whether or not it plays.
        Some(Duration::PersistenceLimited { seconds }) => {
            (u32::MAX, u32::MAX, Some(*seconds), *seconds)
        }
        Some(Duration::OfflineKey {
            storage_seconds,
            playback_seconds,
            ..
        }) => (
            u32::MAX,
            u32::MAX,
            Some(limit(*storage_seconds)),
            limit(*playback_seconds),
        ),
    };
    let within =
        |granted: u32, allowed: Option<u32>| allowed.is_none_or(|allowed| granted <= allowed);
    match storage {
        None => {
            if !within(lease, number("lease_seconds")) {
                return Err("lease");
            }
            // A renewal of a lease does not need the rental again.
            let has_lease = lease < u32::MAX;
            if (is_first || !has_lease) && !within(rental, number("rental_seconds")) {
                return Err("rental");
            }
            if !within(lease, ends_in) {
                return Err("streaming goes on after the end");
            }
        }
        Some(storage) => {
            if terms["persist"] == false
                || number("lease_seconds")
                    .or(number("rental_seconds"))
                    .is_some()
            {
                return Err("stored");
            }
            if !within(storage, number("storage_seconds")) || !within(storage, ends_in) {
                return Err("storage");
            }
            if !within(playback, number("playback_seconds")) || !within(playback, ends_in) {
                return Err("playback");
            }
        }
    }
    let rank = |order: [&str; 3], name: Option<&str>| {
        name.and_then(|name| order.iter().position(|one| *one == name))
    };
    let hdcp = |name| rank(["none", "type0", "type1"], name);
    if hdcp(licence.hdcp) < hdcp(terms["hdcp"].as_str()) {
        return Err("hdcp");
    }
    let level = |name| rank(["audio", "baseline", "main"], name);
    if level(licence.security_level) < level(terms["min_security_level"].as_str()) {
        return Err("security level");
    }
    if terms["airplay"] == false && has_tag(Tag::STREAMING_INDICATOR) {
        return Err("airplay");
    }
    Ok(())
}

#[test]
fn no_licence_is_looser_than_the_token_the_key_record_or_the_deployment() {
    let mut rng = ChaCha20Rng::seed_from_u64(26);
    let (mut licences, mut refused) = (0, 0);
    for round in 0..1_500 {
        let token = random_terms(&mut rng, true);
        let record = random_terms(&mut rng, false);
        let rules = random_terms(&mut rng, false);
        let device = random_device(&mut rng);
        let key = "00112233445566778899aabbccddeeff";
        let records =
            json!([{"id": "movie", "key": key, "iv": key, "stream": "s", "terms": record}]);
        let variables = deployment(&[
            ("content_keys", &records.to_string()),
            ("fairplay_rules", &rules.to_string()),
        ]);
        let (spc, secrets) = spc(&device);
        let request = Request::post("/fairplay").header("authorization", bearer(&token));
        let service = Service::new(Native::new(variables));
        let reply = run(service.handle(request.body(spc).unwrap()));
        if reply.status() != 200 {
            assert_ne!(reply.status().as_u16() / 100, 2);
            refused += 1;
            continue;
        }
        licences += 1;
        let licence = Licence::open(reply.body(), &secrets).unwrap();
        for (name, terms) in [("token", &token), ("record", &record), ("rules", &rules)] {
            assert_eq!(
                keeps_to(&licence, terms, &device),
                Ok(()),
                "round {round}, {name}: {licence:?} for {token}, {record}, {rules}"
            );
        }
        let is_stored = !matches!(
            licence.duration,
            None | Some(
                Duration::Lease { .. } | Duration::Rental { .. } | Duration::LeaseAndRental { .. }
            )
        );
        assert!(!is_stored || token["persist"] == true);
    }
    assert!(
        licences > 100 && refused > 100,
        "{licences} licences, {refused} refused"
    );
}
