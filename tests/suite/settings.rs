//! Broken configurations: named by variable on the health page, never by value.

use keylet::service::Service;
use keylet_cli::fixtures::variables;
use keylet_host::{Provided, Server};

use crate::support::{Native, fixture, get, post_spc, run, send, serve, token, variables_with};

/// The problems on the health page of these variables, as `code variable: message`.
pub fn problems(variables: Provided) -> Vec<String> {
    let host = Native::new(variables);
    // The health asks issuers for keys by URL, and says so where there are none.
    *host.peer.borrow_mut() =
        Box::new(|_| Err(keylet::platform::Error::OutboundDenied(String::new())));
    let service = Service::new(host);
    let reply = run(service.handle(http::Request::get("/healthz").body(Vec::new()).unwrap()));
    let health: serde_json::Value = serde_json::from_slice(reply.body()).unwrap();
    assert_eq!(reply.status() == 200, health["status"] == "ok");
    let text =
        |problem: &serde_json::Value, member: &str| problem[member].as_str().unwrap().to_owned();
    health["problems"]
        .as_array()
        .map_or(&[][..], Vec::as_slice)
        .iter()
        .map(|p| {
            format!(
                "{} {}: {}",
                text(p, "code"),
                text(p, "variable"),
                text(p, "message")
            )
        })
        .collect()
}

fn assert_healthy(server: &Server) {
    let health = get(server, "/healthz");
    let said = String::from_utf8_lossy(&health.body);
    assert_eq!(health.status, 200, "{said}");
}

fn pem(name: &str) -> String {
    String::from_utf8(fixture(&format!("credentials/{name}.pem"))).unwrap()
}

#[test]
fn what_files_and_stores_leave_around_a_value_is_ignored() {
    let base64 = |name: &str, rest: &[u8]| to_base64(&[&fixture(name), rest].concat());
    let key = pem("sdk4");
    let key_der = keylet::encoding::pem(&key).unwrap().remove(0).der;
    let secret = "an operator's secret, of 32 characters or more";
    for (before, after, rest) in [
        ("", "\n", &b"\r\n"[..]),
        ("\u{feff}", "\r\n", b"\n"),
        (" ", " \t\n", b"\0\0"),
        ("\n\n", "\0", b" "),
    ] {
        let around = |text: &str| format!("{before}{text}{after}");
        let key_in_base64 = to_base64(&[&key_der, rest].concat());
        for key in [&key, &key_in_base64] {
            let mut changed: Vec<(&str, String)> = variables()
                .iter()
                .map(|(name, value)| (leaked(name), around(value)))
                .collect();
            changed.push(("operator_token", around(secret)));
            changed.push(("fairplay_private_key", around(key)));
            let certificate = base64("credentials/sdk4.cer", rest);
            changed.push(("fairplay_certificate", around(&certificate)));
            let changed: Vec<(&str, &str)> = changed
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            let server = serve(&variables_with(&changed));
            assert_healthy(&server);
            assert_eq!(post_spc(&server, &fixture("spc/v1.bin")).status, 200);
            let certificate = get(&server, "/fairplay/certificate");
            assert_eq!(certificate.body, fixture("credentials/sdk4.cer"));
            let request =
                http::Request::post("/").header("authorization", format!("Bearer {secret}"));
            let inspected = send(
                &server,
                request,
                "/fairplay/inspect",
                &fixture("spc/v1.bin"),
            );
            assert_eq!(inspected.status, 200);
            server.stop();
        }
    }
}

/// A name for as long as the test runs.
fn leaked(name: &str) -> &'static str {
    Box::leak(name.to_owned().into_boxed_str())
}

#[test]
fn a_space_at_an_end_of_a_password_is_part_of_it_or_not() {
    let key = keylet::encoding::pem(&pem("sdk4")).unwrap().remove(0).der;
    let status = |own: &str, stored: &str| {
        let encrypted = keylet_cli::credentials::encrypt(&key, own, 1).unwrap();
        let server = serve(&variables_with(&[
            ("fairplay_private_key", &to_base64(&encrypted)),
            ("fairplay_private_key_password", stored),
        ]));
        let status = get(&server, "/healthz").status;
        server.stop();
        status
    };
    for (own, stored) in [
        (" a", " a"),
        ("a ", "a \n"),
        ("a", "a \r\n"),
        ("a", "\u{feff}a"),
        ("a b", " a b"),
    ] {
        assert_eq!(status(own, stored), 200, "{own:?} as {stored:?}");
    }
    assert_eq!(status(" a", "a"), 503);
}

#[test]
fn a_chain_in_the_certificate_hands_out_the_leaf() {
    let Some(faults) = crate::support::faults("a_chain_in_the_certificate_hands_out_the_leaf")
    else {
        return;
    };
    let read = |name: &str| {
        std::fs::read_to_string(faults.join("16-chain-in-variable").join(name)).unwrap()
    };
    let chain = read("leaf_and_ca.pem");
    let blocks = keylet::encoding::pem(&chain).unwrap();
    let server = serve(&variables_with(&[
        ("fairplay_certificate", &chain),
        ("fairplay_private_key", &read("key.pem")),
        ("fairplay_credentials", ""),
    ]));
    assert_healthy(&server);
    assert_eq!(get(&server, "/fairplay/certificate").body, *blocks[0].der);
    server.stop();
}

#[test]
fn each_broken_setting_is_named_by_variable_and_cause() {
    let other_key = pem("sdk26-1024");
    let two_keys = format!("{}{}", pem("sdk4"), other_key);
    let reversed = {
        let bundle = fixture("credentials/fps_certificate.bin");
        let first = usize::from(bundle[2]) * 256 + usize::from(bundle[3]) + 4;
        to_base64(&[&bundle[first..], &bundle[..first]].concat())
    };
    let credentials = variables()["fairplay_credentials"].clone();
    let record = r#"{"id":"a","key":"000102030405060708090a0b0c0d0e0f","iv":"000102030405060708090a0b0c0d0e0f"}"#;
    let cases: Vec<(&str, String, &str)> = vec![
        ("fairplay_certificate", "%%%".into(), "setting_malformed fairplay_certificate: it is neither base64 nor PEM"),
        ("fairplay_certificate", "AAAA".into(), "setting_malformed fairplay_certificate: it is not an X.509"),
        ("fairplay_certificate", reversed, "setting_malformed fairplay_certificate: a bundle is"),
        ("fairplay_private_key", String::new(), "setting_mismatch fairplay_private_key: no private key belongs"),
        ("fairplay_private_key", other_key, "setting_mismatch fairplay_private_key: a private key belongs to no certificate"),
        ("fairplay_private_key", two_keys, "setting_mismatch fairplay_private_key: a private key belongs to no certificate"),
        ("fairplay_private_key", "%%%".into(), "setting_malformed fairplay_private_key: it is neither whole PEM"),
        ("fairplay_private_key", "AAAA".into(), "setting_malformed fairplay_private_key: it is not an RSA"),
        ("fairplay_private_key", "-----BEGIN PRIVATE KEY-----\nAAAA".into(), "setting_malformed fairplay_private_key: it is neither whole PEM"),
        (
            "fairplay_private_key",
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n".into(),
            "setting_unsupported fairplay_private_key: it has the traditional encryption",
        ),
        ("fairplay_private_key", "MCACAQMwGwYJKoZIhvcNAQcBoA4EDAAAAAAAAAAAAAAAAA==".into(), "setting_unsupported fairplay_private_key: it is a PKCS#12"),
        ("fairplay_ask", "0011".into(), "setting_malformed fairplay_ask: it is not 16 bytes"),
        ("fairplay_ask", "zz".repeat(16), "setting_malformed fairplay_ask: it is not 16 bytes"),
        ("fairplay_test_credentials", "yes".into(), "setting_malformed fairplay_test_credentials: it is neither"),
        ("fairplay_credentials", "[{".into(), "setting_malformed fairplay_credentials: it ends too early"),
        ("fairplay_credentials", r#"[{"name":"x"}]"#.into(), "setting_malformed fairplay_credentials: entry 1: the member `certificate` is missing"),
        ("fairplay_credentials", "{}".into(), "setting_malformed fairplay_credentials: it is no list"),
        ("content_keys", record.to_owned(), "setting_malformed content_keys: it is no list"),
        ("content_keys", format!("[{record},{{\"id\":\"b\"}}]"), "setting_malformed content_keys: record 2: the member `key` is missing"),
        ("content_keys", format!("[{}]", record.replace("\"iv\"", "\"IV\"")), "setting_malformed content_keys: record 1: a member is not known; there are "),
        ("content_keys", format!("[{record}]"), "setting_malformed content_keys: record 1: `id`: FairPlay has asset ids of 2 to 200 bytes, and this one has 1"),
        ("token_keys", r#"{"k":"AAAA"}"#.into(), "setting_malformed token_keys: the member `keys` is missing"),
        // One key stands for a set with it.
        ("token_keys", r#"{"kty":"oct","k":"AAAA"}"#.into(), "setting_malformed token_keys: key 1: `k` has 3 bytes"),
        ("token_keys", "-----BEGIN PUBLIC KEY-----".into(), "setting_malformed token_keys: it is PEM"),
        ("token_keys", r#"{"keys":[{"kty":"oct","k":5}]}"#.into(), "setting_malformed token_keys: key 1: a value is not a string"),
        ("cors_origins", "tv.example.com".into(), "setting_malformed cors_origins: an origin is a scheme and a host"),
        ("token_cookies", "[drm".into(), "setting_malformed token_cookies: it starts like a JSON list"),
        ("token_cookies", "drm=token".into(), "setting_malformed token_cookies: an entry is not the name of a cookie"),
        ("cors_origins", "https://*.example.com".into(), "setting_malformed cors_origins: an origin is a scheme and a host"),
        ("fairplay_credentials", credentials.replace("sdk26", "default"), "setting_collision fairplay_credentials: entry 1"),
        ("fairplay_credentials", credentials.replace("sdk26", "a/b"), "setting_malformed fairplay_credentials: entry 1"),
        ("content_keys", String::new(), "setting_missing content_keys"),
        ("content_keys", "[".into(), "setting_malformed content_keys: it ends too early"),
        ("content_keys", format!("[{record},{record}]"), "setting_collision content_keys: record 2: one of its ids"),
        ("content_keys", r#"[{"id":"a","key":"00","iv":"00"}]"#.into(), "setting_malformed content_keys: record 1: `key`"),
        ("token_keys", String::new(), "setting_missing token_keys"),
        ("token_keys", r#"{"keys":[]}"#.into(), "setting_malformed token_keys: the set has no key"),
        ("token_keys", r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#.into(), "setting_malformed token_keys: key 1: `k` has 3 bytes"),
        ("token_keys", r#"{"keys":[{"kty":"oct","k":"AAAA","alg":"none"}]}"#.into(), "setting_malformed token_keys: the set has no key that verifies signatures: of 1, the first is not used because `alg` is none of HS256"),
        ("token_keys", r#"{"keys":[{"kty":"RSA","n":"AAAA","e":"AQAB"}]}"#.into(), "setting_malformed token_keys: key 1: it is not an RSA"),
        ("token_keys", r#"{"keys":[{"kty":"EC","crv":"P-384","x":"AA","y":"AA"}]}"#.into(), "setting_malformed token_keys: key 1: it is not a point on P-384"),
        ("token_keys", r#"{"keys":[{"kty":"EC","crv":"P-521"},{"kty":"AKP","alg":"ML-DSA-44"}]}"#.into(), "setting_malformed token_keys: the set has no key that verifies signatures: of 2, the first is not used because an EC key"),
        ("token_keys", r#"{"keys":[{"kty":"RSA","use":"enc","n":"AAAA","e":"AQAB"}]}"#.into(), "setting_malformed token_keys: the set has no key that verifies signatures: of 1, the first is not used because it is for encryption"),
        ("policies", r#"[{"name":"a","restriction":{"issuer":"i","audience":"a","jwks":{"keys":[{"kty":"OKP","crv":"X25519","x":"AA"}]}}}]"#.into(), "setting_malformed policies: option 1: the set has no key that verifies signatures: of 1, the first is not used because an OKP key"),
        ("token_issuer", String::new(), "setting_missing token_issuer"),
        ("token_audience", String::new(), "setting_missing token_audience"),
        ("content_keys", record.replace('}', r#","terms":{"lease_seconds":0}}"#).replacen('{', "[{", 1) + "]", "setting_malformed content_keys: record 1: `terms`: `lease_seconds`"),
        ("content_keys", record.replace('}', r#","terms":{"hdcp":"type0","hdcp":"none"}}"#).replacen('{', "[{", 1) + "]", "setting_malformed content_keys: a member occurs twice"),
        ("fairplay_rules", "suggested".into(), "setting_malformed fairplay_rules: it is neither `apple-defaults` nor a JSON object of terms: it is not JSON"),
        ("fairplay_rules", r#"{"hdpc":"type1"}"#.into(), "setting_malformed fairplay_rules: the member `hdpc`"),
        ("server_secret", "short".into(), "setting_malformed server_secret: it has 5 bytes"),
        ("operator_token", "short".into(), "setting_malformed operator_token: it has fewer than 32"),
        ("client_ip_header", "not a header".into(), "setting_malformed client_ip_header: it is not the name"),
        ("client_country_header", "not a header".into(), "setting_malformed client_country_header: it is not the name"),
        ("session_period", "3".into(), "setting_malformed session_period: it is not a number of seconds from 4 to 600"),
        ("session_period", "minute".into(), "setting_malformed session_period: it is not"),
        ("stream_handovers", "-1".into(), "setting_malformed stream_handovers: it is not a number from 0 to 10"),
        ("stream_handovers", "11".into(), "setting_malformed stream_handovers: it is not"),
        ("store_failure", "sometimes".into(), "setting_malformed store_failure: it is neither"),
        ("token_audience", "[]".into(), "setting_malformed token_audience: the list is empty"),
        ("token_audience", r#"["*","a"]"#.into(), "setting_malformed token_audience: the list"),
        ("cors_origins", r#"["https://a.example""#.into(), "setting_malformed cors_origins: it starts like a JSON list"),
        ("dialects", "[native".into(), "setting_malformed dialects: it is no list"),
    ];
    for (variable, value, expected) in cases {
        let found = problems(variables_with(&[(variable, &value)]));
        assert!(
            found.iter().any(|problem| problem.starts_with(expected)),
            "{variable}: {expected}\n{found:#?}"
        );
    }
}

#[test]
fn a_private_key_that_is_not_sound_is_a_mistake_of_the_configuration() {
    let keys: std::collections::BTreeMap<String, String> =
        serde_json::from_slice(&fixture("keys/unsound-rsa.json")).unwrap();
    let unequal = keys.iter().filter(|(name, _)| name.contains("unequal"));
    let mut cases: Vec<(Vec<u8>, &str)> = unequal
        .map(|(_, der)| {
            (
                hex::decode(der).unwrap(),
                "setting_unsupported fairplay_private_key: its two primes",
            )
        })
        .collect();
    assert_eq!(cases.len(), 3);
    let mut changed = keylet::encoding::pem(&pem("sdk4-pkcs1"))
        .unwrap()
        .remove(0)
        .der
        .to_vec();
    let half = changed.len() / 2;
    changed[half] ^= 1;
    cases.push((
        changed,
        "setting_malformed fairplay_private_key: it is not a sound RSA key",
    ));
    for (key, expected) in cases {
        let variables = variables_with(&[("fairplay_private_key", &to_base64(&key))]);
        let found = problems(variables.clone());
        assert!(
            found.iter().any(|problem| problem.starts_with(expected)),
            "{found:?}"
        );
        let server = serve(&variables);
        let answer = post_spc(&server, &fixture("spc/v1.bin"));
        let code = answer.header("x-keylet-code");
        assert_eq!((answer.status, code), (503, Some("configuration_invalid")));
        server.stop();
    }
}

#[test]
fn a_problem_names_the_entry_and_the_member_as_data() {
    let service = Service::new(Native::new(variables_with(&[
        ("content_keys", r#"[{"id":"a","key":5}]"#),
        ("server_secret", "short"),
    ])));
    let reply = run(service.handle(http::Request::get("/healthz").body(Vec::new()).unwrap()));
    let health: serde_json::Value = serde_json::from_slice(reply.body()).unwrap();
    let expected = serde_json::json!([
        {
            "code": "setting_malformed",
            "variable": "content_keys",
            "index": 0,
            "member": "key",
            "message": "record 1: `key`: a value is not a string",
        },
        {
            "code": "setting_malformed",
            "variable": "server_secret",
            "message": "it has 5 bytes, and at least 32 are needed",
        },
    ]);
    assert_eq!(health["problems"], expected);
}

#[test]
fn every_setting_about_tokens_that_is_wrong_is_named_at_once() {
    let found = problems(variables_with(&[
        ("dialects", "bogus"),
        ("token_keys", ""),
        ("token_issuer", ""),
    ]));
    let of = |problem: &str| problem.split(':').next().unwrap().to_owned();
    let found: Vec<String> = found.iter().map(|problem| of(problem)).collect();
    for expected in [
        "setting_malformed dialects",
        "setting_missing token_keys",
        "setting_missing token_issuer",
    ] {
        assert!(found.iter().any(|f| f == expected), "{expected}: {found:?}");
    }
}

#[test]
fn credentials_that_are_an_empty_list_are_none_to_serve_with() {
    let empty = |certificate: &str| {
        let changes = [
            ("fairplay_credentials", "[]"),
            ("fairplay_certificate", certificate),
        ];
        problems(variables_with(&changes))
    };
    assert_eq!(
        empty(""),
        ["setting_malformed fairplay_credentials: the list is empty, so there is nothing to serve"]
    );
    assert_eq!(
        empty(&variables()["fairplay_certificate"]),
        Vec::<String>::new()
    );
}

#[test]
fn a_private_key_that_is_there_twice_is_one() {
    let twice = pem("sdk4").repeat(2);
    let found = problems(variables_with(&[("fairplay_private_key", &twice)]));
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn a_line_break_at_the_end_of_a_variable_is_none_of_it() {
    let mut variables = variables();
    variables.extend(
        [("operator_token", "operator-0123456789-0123456789-01")]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    for value in variables.values_mut() {
        value.push_str("\r\n");
    }
    for world in crate::support::WORLDS {
        let server = crate::support::serve_in(world, &variables);
        assert_eq!(get(&server, "/healthz").status, 200, "{world:?}");
        assert_eq!(post_spc(&server, &fixture("spc/v1.bin")).status, 200);
        let request = http::Request::post("/")
            .header("authorization", "Bearer operator-0123456789-0123456789-01");
        let inspected = send(
            &server,
            request,
            "/fairplay/inspect",
            &fixture("spc/v1.bin"),
        );
        assert_eq!(inspected.status, 200, "{world:?}");
        server.stop();
    }
}

#[test]
fn a_token_key_that_is_none_refuses_its_own_tokens_and_no_others() {
    let jwks: serde_json::Value = serde_json::from_str(&variables()["token_keys"]).unwrap();
    let mut broken = jwks.clone();
    for key in broken["keys"].as_array_mut().unwrap() {
        if key["kty"] == "EC" {
            key["y"] = key["x"].clone();
        }
    }
    let server = serve(&variables_with(&[("token_keys", &broken.to_string())]));
    let ask = |name: &str| {
        let request =
            http::Request::post("/").header("authorization", format!("Bearer {}", token(name)));
        let answer = send(&server, request, "/fairplay", &fixture("spc/v1.bin"));
        let code = answer
            .header("x-keylet-code")
            .unwrap_or_default()
            .to_owned();
        (answer.status, code)
    };
    assert_eq!(ask("es256"), (503, "configuration_invalid".to_owned()));
    assert_eq!(ask("hs256"), (200, String::new()));
    let health = get(&server, "/healthz");
    assert_eq!(health.status, 503);
    let problem = &health.json()["problems"][0];
    assert_eq!(problem["variable"], "token_keys");
    server.stop();
}

#[test]
fn a_member_that_holds_pem_makes_no_pem_of_a_set_of_keys() {
    let mut jwks: serde_json::Value = serde_json::from_str(&variables()["token_keys"]).unwrap();
    for key in jwks["keys"].as_array_mut().unwrap() {
        key["x5c"] = serde_json::json!(["-----BEGIN CERTIFICATE-----"]);
    }
    let server = serve(&variables_with(&[("token_keys", &jwks.to_string())]));
    assert_eq!(get(&server, "/healthz").status, 200);
    assert_eq!(post_spc(&server, &fixture("spc/v1.bin")).status, 200);
    server.stop();
}

#[test]
fn no_problem_repeats_a_value() {
    let secret = "deadbeefdeadbeefdeadbeefdeadbeefd";
    for variable in [
        "fairplay_private_key",
        "fairplay_ask",
        "fairplay_credentials",
        "content_keys",
        "token_keys",
    ] {
        for value in [
            secret.to_owned(),
            format!("[\"{secret}\"]"),
            format!("{{\"{secret}\":\"{secret}\"}}"),
        ] {
            let found = problems(variables_with(&[(variable, &value)])).join("\n");
            assert!(found.contains(variable), "{variable}");
            assert!(!found.contains("beef"), "{found}");
        }
    }
}

#[test]
fn everything_that_is_wrong_is_named_at_once() {
    let found = problems(Provided::new()).join("\n");
    for variable in [
        "fairplay_certificate",
        "content_keys",
        "token_keys",
        "token_issuer",
        "token_audience",
    ] {
        assert!(
            found.contains(&format!("setting_missing {variable}")),
            "{found}"
        );
    }
}

#[test]
fn private_keys_are_read_in_every_form_that_openssl_writes() {
    let encrypted = String::from_utf8(fixture("credentials/sdk4-encrypted.pem")).unwrap();
    for (key, password) in [
        (pem("sdk4"), ""),
        (pem("sdk4").replace('\n', "\\n"), ""),
        (pem("sdk4").replace('\n', " "), ""),
        (to_base64(pem("sdk4").as_bytes()), ""),
        (
            String::from_utf8(fixture("credentials/sdk4-pkcs1.pem")).unwrap(),
            "",
        ),
        (encrypted.clone(), "fixture password"),
    ] {
        let changes = [
            ("fairplay_private_key", key.as_str()),
            ("fairplay_private_key_password", password),
        ];
        assert_eq!(problems(variables_with(&changes)), Vec::<String>::new());
    }
    let wrong = [
        ("fairplay_private_key", encrypted.as_str()),
        ("fairplay_private_key_password", "another"),
    ];
    assert!(problems(variables_with(&wrong))[0].contains("the password does not decrypt it"));
    let missing = [("fairplay_private_key", encrypted.as_str())];
    assert!(
        problems(variables_with(&missing))[0]
            .starts_with("setting_missing fairplay_private_key: it is encrypted")
    );
}

#[test]
fn any_issuer_and_audience_are_accepted_when_that_is_said() {
    let spc = fixture("spc/v1.bin");
    let server = serve(&variables_with(&[
        ("token_issuer", "*"),
        ("token_audience", "*"),
    ]));
    let request = |name: &str| {
        let request =
            http::Request::post("/").header("authorization", format!("Bearer {}", token(name)));
        send(&server, request, "/fairplay", &spc).status
    };
    assert_eq!(
        [
            request("other-issuer"),
            request("other-audience"),
            request("expired")
        ],
        [200, 200, 401]
    );
    server.stop();
}

#[test]
fn a_broken_configuration_refuses_licences_and_points_to_the_health_page() {
    let server = serve(&variables_with(&[("content_keys", "[")]));
    let answer = post_spc(&server, &fixture("spc/v1.bin"));
    assert_eq!(
        (answer.status, answer.header("x-keylet-code")),
        (503, Some("configuration_invalid"))
    );
    assert_eq!(get(&server, "/healthz").status, 503);
    server.stop();
}

#[test]
fn a_credential_that_is_wrong_refuses_the_licences_of_its_own_certificate() {
    let mut list: serde_json::Value =
        serde_json::from_str(&variables()["fairplay_credentials"]).unwrap();
    for credential in list.as_array_mut().unwrap() {
        credential["private_key"] = "%%%".into();
    }
    let list = list.to_string();
    let invalid = (503, Some("configuration_invalid".to_owned()));
    for (variable, value, [of_single, of_list]) in [
        (
            "fairplay_private_key",
            "%%%",
            [invalid.clone(), (200, None)],
        ),
        (
            "fairplay_credentials",
            list.as_str(),
            [(200, None), invalid.clone()],
        ),
        ("fairplay_credentials", "[{", [(200, None), invalid.clone()]),
    ] {
        let server = serve(&variables_with(&[(variable, value)]));
        let ask = |name: &str| {
            let answer = post_spc(&server, &fixture(&format!("spc/{name}.bin")));
            let code = answer.header("x-keylet-code").map(ToOwned::to_owned);
            (answer.status, code)
        };
        assert_eq!(ask("v1"), of_single, "{variable}");
        assert_eq!(ask("bundle-v1"), of_list, "{variable}");
        // Nobody knows whose it is.
        assert_eq!(ask("bad-certificate"), invalid, "{variable}");
        assert_eq!(get(&server, "/healthz").status, 503, "{variable}");
        server.stop();
    }
}

#[test]
fn without_a_certificate_fairplay_is_off() {
    let server = serve(&variables_with(&[
        ("fairplay_certificate", ""),
        ("fairplay_credentials", ""),
    ]));
    let answer = post_spc(&server, &fixture("spc/v1.bin"));
    assert_eq!(
        (answer.status, answer.header("x-keylet-code")),
        (503, Some("fairplay_off"))
    );
    assert_eq!(get(&server, "/fairplay/certificate").status, 503);
    assert_eq!(get(&server, "/").json()["drm"], serde_json::json!([]));
    server.stop();
}

fn to_base64(bytes: &[u8]) -> String {
    base64::Engine::encode(&keylet::encoding::BASE64, bytes)
}
