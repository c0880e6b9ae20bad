//! Tokens as identity providers issue them, with the options of the page about them.

use std::collections::BTreeMap;
use std::time::Duration;

use keylet_cli::built_in;
use keylet_cli::client::Client;
use keylet_cli::device::{Licence, SpcOptions, oldest_version, read_certificate};
use keylet_cli::fixtures::{sdk4, variables};
use keylet_cli::jwt::Signer;
use keylet_cli::random;
use keylet_host::{Provided, Server, World};
use serde_json::{Value, json};

use crate::credentials::configured;
use crate::faults::fault;
use crate::support::Directory;

const KEY: &str = "00112233445566778899aabbccddeeff";

fn signer() -> Signer {
    Signer::EdDsa([7; 32])
}

fn now() -> u64 {
    keylet::platform::system_time()
}

/// The variables of the fixtures with the keys `movie-42` and `movie-43`, and with changes.
fn with(changes: &[(&str, String)]) -> Provided {
    let record = |id: &str| json!({"id": id, "key": KEY, "iv": KEY});
    let mut variables = variables();
    let records = json!([record("movie-42"), record("movie-43")]);
    variables.insert("content_keys".to_owned(), records.to_string());
    let changes = changes.iter();
    variables.extend(changes.map(|(name, value)| ((*name).to_owned(), value.clone())));
    variables
}

fn policies(options: &Value) -> Provided {
    with(&[("policies", options.to_string())])
}

fn serve(variables: Provided) -> Server {
    let application = built_in(World::Wasip2, variables).unwrap();
    Server::start(application, &keylet_e2e::quiet()).unwrap()
}

fn send(
    server: &Server,
    request: http::request::Builder,
    path: &str,
    body: &[u8],
) -> http::Response<Vec<u8>> {
    let client = Client::new(Duration::from_secs(60), None).unwrap();
    let url = format!("{}{path}", server.url());
    let request = request.uri(url).body(body.to_vec()).unwrap();
    client.exchange(request).unwrap()
}

/// Asks for the key of an asset: the licence, or the code and the sentence of the refusal.
fn licence(server: &Server, claims: &Value, asset: &str) -> Result<Licence, (String, String)> {
    let token = signer()
        .token(Some("a"), claims, &mut random::system())
        .unwrap();
    let device = sdk4().unwrap();
    let certificate = read_certificate(variables()["fairplay_certificate"].as_bytes()).unwrap();
    let options = SpcOptions::new(format!("skd://{asset}")).playing(0xf4de_e5a2);
    let (spc, secrets) = device
        .spc(
            oldest_version(&certificate),
            &options,
            &mut random::system(),
        )
        .unwrap();
    let request = http::Request::post("/").header("authorization", format!("Bearer {token}"));
    let answer = send(server, request, "/fairplay", &spc);
    match answer.status().as_u16() {
        200 => Ok(Licence::open(answer.body(), &secrets).unwrap()),
        _ => {
            let problem: Value = serde_json::from_slice(answer.body()).unwrap();
            let text = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
            Err((text("code"), text("detail")))
        }
    }
}

/// `ok`, or the code of the refusal.
fn code(server: &Server, claims: &Value, asset: &str) -> String {
    licence(server, claims, asset).map_or_else(|(code, _)| code, |_| "ok".to_owned())
}

/// An option for tokens of one key with any issuer and audience, with more members; those of a restriction are in
/// `restriction`.
fn option(more: Value) -> Value {
    let keys = json!({"keys": [signer().jwk("a").unwrap()]});
    let mut option =
        json!({"name": "a", "restriction": {"issuer": "*", "audience": "*", "jwks": keys}});
    let (Value::Object(more), Some(members)) = (more, option.as_object_mut()) else {
        panic!("members are an object")
    };
    for (name, value) in more {
        match (name.as_str(), value) {
            ("restriction", Value::Object(value)) => {
                members["restriction"]
                    .as_object_mut()
                    .unwrap()
                    .extend(value);
            }
            (_, value) => {
                members.insert(name, value);
            }
        }
    }
    option
}

fn of(more: Value) -> Server {
    serve(policies(&json!([option(more)])))
}

/// The claims of a token that is good for five minutes, with more.
fn claims(more: Value) -> Value {
    let mut claims = json!({"iss": "i", "aud": "a", "sub": "u", "exp": now() + 300});
    let (Value::Object(more), Some(members)) = (more, claims.as_object_mut()) else {
        panic!("claims are an object")
    };
    members.extend(more);
    members.retain(|_, value| !value.is_null());
    claims
}

/// The blocks of JSON of the page, by section: the options, and the claims of the tokens that they let in.
fn page() -> BTreeMap<String, (Value, Vec<Value>)> {
    let page = include_str!("../../../docs/identity-providers.md");
    let mut sections = BTreeMap::new();
    for section in page.split("\n## ").skip(1) {
        let (title, text) = section.split_once('\n').unwrap();
        let blocks = text.split("```json\n").skip(1);
        let blocks = blocks.map(|block| block.split("```").next().unwrap());
        let mut blocks = blocks.map(|block| serde_json::from_str::<Value>(block).unwrap());
        let options = blocks.next().unwrap();
        let tokens: Vec<Value> = blocks.collect();
        assert!(options.is_array() && !tokens.is_empty(), "{title}");
        sections.insert(title.to_owned(), (options, tokens));
    }
    sections
}

/// The claims of a token that was issued just now.
fn issued_now(token: &Value) -> Value {
    let mut token = token.clone();
    let life = token["exp"].as_u64().unwrap() - token["iat"].as_u64().unwrap();
    for name in ["iat", "nbf", "auth_time"] {
        if token.get(name).is_some() {
            token[name] = json!(now());
        }
    }
    token["exp"] = json!(now() + life);
    token
}

#[test]
fn the_options_of_the_page_let_in_the_tokens_of_the_page() {
    let page = page();
    assert_eq!(page.len(), 7, "a section for each provider");
    let all: Value = page
        .values()
        .flat_map(|(options, _)| options.as_array().unwrap().clone())
        .collect();
    let server = serve(policies(&all));
    let health = send(&server, http::Request::get("/"), "/healthz", &[]);
    assert_eq!(
        health.status(),
        200,
        "{}",
        String::from_utf8_lossy(health.body())
    );
    server.stop();

    // The keys are at hand, in place of those that the provider publishes.
    let mut here = all;
    for option in here.as_array_mut().unwrap() {
        let restriction = option["restriction"].as_object_mut().unwrap();
        assert!(restriction.remove("jwks_uri").is_some());
        restriction.insert(
            "jwks".to_owned(),
            json!({"keys": [signer().jwk("a").unwrap()]}),
        );
    }
    let server = serve(policies(&here));
    for (title, (_, tokens)) in &page {
        for token in tokens {
            let token = issued_now(token);
            let licence = licence(&server, &token, "movie-42");
            let licence = licence.unwrap_or_else(|refusal| panic!("{title}: {refusal:?} {token}"));
            let lease = keylet_cli::device::Duration::Lease { lease_seconds: 300 };
            assert_eq!(licence.duration, Some(lease), "{title}");
        }
    }

    let token = |title: &str, index: usize| issued_now(&page[title].1[index]);
    // What a token's own entitlements do not reach, and what an option's terms do.
    for (title, index, expected) in [
        ("Auth0", 0, "not_entitled"),
        ("Amazon Cognito", 0, "ok"),
        ("Amazon Cognito", 1, "not_entitled"),
        ("Firebase", 0, "not_entitled"),
        ("Okta", 0, "ok"),
    ] {
        let found = code(&server, &token(title, index), "movie-43");
        assert_eq!(found, expected, "{title}");
    }
    for (title, index, claim, value, expected) in [
        (
            "Auth0",
            0,
            "aud",
            json!("https://other.example"),
            "token_audience",
        ),
        (
            "Auth0",
            0,
            "iss",
            json!("https://tv.eu.auth0.com"),
            "token_issuer",
        ),
        (
            "Auth0",
            0,
            "https://tv.example/entitlements",
            json!(null),
            "entitlement_invalid",
        ),
        (
            "Auth0",
            0,
            "entitlements",
            json!([{"keys": "*"}]),
            "entitlement_invalid",
        ),
        (
            "Amazon Cognito",
            0,
            "client_id",
            json!("another"),
            "token_audience",
        ),
        (
            "Amazon Cognito",
            0,
            "aud",
            json!("another"),
            "token_audience",
        ),
        (
            "Amazon Cognito",
            0,
            "cognito:groups",
            json!(["basic"]),
            "token_required_claim",
        ),
        (
            "Amazon Cognito",
            1,
            "aud",
            json!("another"),
            "token_audience",
        ),
        (
            "Amazon Cognito",
            1,
            "custom:entitlements",
            json!("[{\"keys\":[\"mov"),
            "entitlement_invalid",
        ),
        (
            "Microsoft Entra",
            0,
            "tid",
            json!("another"),
            "token_issuer",
        ),
        (
            "Microsoft Entra",
            0,
            "iss",
            json!("https://login.microsoftonline.com/another/v2.0"),
            "token_issuer",
        ),
        (
            "Microsoft Entra",
            0,
            "scp",
            json!("Drm.PlayAll User.Read"),
            "token_required_claim",
        ),
        (
            "Microsoft Entra",
            0,
            "roles",
            json!([]),
            "token_required_claim",
        ),
        ("Keycloak", 0, "aud", json!("account"), "token_audience"),
        (
            "Keycloak",
            0,
            "realm_access",
            json!({"roles": ["guest"]}),
            "token_required_claim",
        ),
        ("Firebase", 0, "aud", json!("another"), "token_audience"),
        ("Okta", 0, "scp", json!(["openid"]), "token_required_claim"),
        (
            "Okta",
            0,
            "groups",
            json!(["Everyone"]),
            "token_required_claim",
        ),
        (
            "WorkOS, authentik, and other `entitlements`",
            0,
            "entitlements",
            json!([]),
            "token_required_claim",
        ),
    ] {
        let mut token = token(title, index);
        token[claim] = value.clone();
        assert_eq!(
            code(&server, &token, "movie-42"),
            expected,
            "{title} {claim} {value}"
        );
    }
    server.stop();
}

#[test]
fn a_claim_of_another_service_does_not_refuse_where_the_option_has_terms() {
    let terms = of(json!({"terms": {"lease_seconds": 60}}));
    let foreign = of(json!({"terms": {"lease_seconds": 60}, "entitlement_claim": false}));
    let named = of(json!({"terms": {"lease_seconds": 60}, "entitlement_claim": "drm"}));
    let none = of(json!({}));
    let missing = "entitlement_missing";
    let invalid = "entitlement_invalid";
    let ours = json!([{"keys": ["movie-42"]}]);
    let texts = json!(["hd", "downloads"]);
    let scim = json!([{"value": "gold", "primary": true}]);
    // What the four answer for a key that none of these claims reaches.
    for (claim, expected) in [
        (json!(null), ["ok", "ok", "ok", missing]),
        (texts.clone(), ["ok", "ok", "ok", missing]),
        (json!(texts.to_string()), ["ok", "ok", "ok", missing]),
        (scim, ["ok", "ok", "ok", missing]),
        (json!([]), ["not_entitled", "ok", "ok", "not_entitled"]),
        // What restricts is never another service's.
        (
            ours.clone(),
            ["not_entitled", invalid, invalid, "not_entitled"],
        ),
        (
            json!(ours.to_string()),
            ["not_entitled", invalid, invalid, "not_entitled"],
        ),
        (json!(["hd", {"keys": ["movie-42"]}]), [invalid; 4]),
        (
            json!([{"value": "gold"}, {"keys": ["movie-42"]}]),
            [invalid; 4],
        ),
        (json!({"keys": ["movie-42"]}), [invalid; 4]),
        (json!("[{\"keys\":[\"movie-42\"]"), [invalid; 4]),
        // What is not plainly another's needs the operator's word.
        (
            json!(["hd", {"value": "gold"}]),
            [invalid, "ok", "ok", invalid],
        ),
        (
            json!([{"value": "gold", "lease_seconds": 5}]),
            [invalid, "ok", "ok", invalid],
        ),
        (
            json!([{"key": ["movie-42"]}]),
            [invalid, "ok", "ok", invalid],
        ),
        (json!("gold"), [invalid, "ok", "ok", invalid]),
        (json!(""), [invalid, "ok", "ok", invalid]),
        (json!({}), [invalid, "ok", "ok", invalid]),
    ] {
        let claims = claims(json!({"entitlements": claim}));
        let found =
            [&terms, &foreign, &named, &none].map(|server| code(server, &claims, "movie-43"));
        assert_eq!(found, expected, "{claims}");
    }
    let (code, detail) = licence(&none, &claims(json!({"entitlements": texts})), "movie-42")
        .err()
        .unwrap();
    assert_eq!(code, missing);
    for part in [
        "`entitlements` is a list of text",
        "`entitlement_claim`",
        "`terms`",
    ] {
        assert!(detail.contains(part), "{detail}");
    }
    for server in [terms, foreign, named, none] {
        server.stop();
    }
}

#[test]
fn entitlements_are_in_the_claim_that_is_named() {
    let ours = json!([{"keys": ["movie-42"]}]);
    let name = "https://tv.example/entitlements";
    for (claim, token, expected) in [
        (name, json!({name: ours}), ["ok", "not_entitled"]),
        (
            name,
            json!({name: ours.to_string()}),
            ["ok", "not_entitled"],
        ),
        (
            name,
            json!({"entitlements": ["hd"], name: ours}),
            ["ok", "not_entitled"],
        ),
        (name, json!({}), ["entitlement_missing"; 2]),
        (
            name,
            json!({"entitlements": ours}),
            ["entitlement_invalid"; 2],
        ),
        (
            "app.drm.entitlements",
            json!({"app": {"drm": {"entitlements": ours}}}),
            ["ok", "not_entitled"],
        ),
        (
            "app.drm.entitlements",
            json!({"app": {"drm": {"entitlements": [{"keys": "*"}]}}, "app.drm.entitlements": ours}),
            ["ok", "not_entitled"],
        ),
        (
            "app.drm.entitlements",
            json!({"app": {"drm": [ours]}}),
            ["entitlement_missing"; 2],
        ),
    ] {
        // By the variable, for one issuer and for options that do not say it themselves.
        let keys = json!({"keys": [signer().jwk("a").unwrap()]});
        let claim = ("entitlement_claim", claim.to_owned());
        for variables in [
            with(&[
                ("token_keys", keys.to_string()),
                ("token_issuer", "*".to_owned()),
                ("token_audience", "*".to_owned()),
                claim.clone(),
            ]),
            with(&[
                ("policies", json!([option(json!({}))]).to_string()),
                claim.clone(),
            ]),
            policies(&json!([option(json!({"entitlement_claim": claim.1}))])),
        ] {
            let server = serve(variables);
            let claims = claims(token.clone());
            let found = ["movie-42", "movie-43"].map(|asset| code(&server, &claims, asset));
            assert_eq!(found, expected, "{claim:?} {token}");
            server.stop();
        }
    }
}

#[test]
fn a_policy_requires_a_scope_a_nested_claim_and_one_value_of_a_list() {
    for (claim, value, tokens) in [
        (
            "scope",
            "drm:play",
            vec![
                (json!({"scope": "openid drm:play"}), true),
                (json!({"scope": "drm:play"}), true),
                (json!({"scope": ["openid", "drm:play"]}), true),
                (json!({"scope": "openid drm:play2"}), false),
                (json!({"scope": "openid\tdrm:play"}), false),
                (json!({"scp": "drm:play"}), false),
            ],
        ),
        (
            "plan",
            "gold",
            vec![
                // Only scopes are words.
                (json!({"plan": "silver gold"}), false),
                (json!({"plan": ["silver", "gold"]}), true),
                (json!({"plan": [{"value": "gold", "primary": true}]}), true),
                (json!({"plan": [{"value": "gold", "revoked": true}]}), false),
            ],
        ),
        (
            "realm_access.roles",
            "viewer",
            vec![
                (json!({"realm_access": {"roles": ["viewer"]}}), true),
                (json!({"realm_access.roles": "viewer"}), true),
                (
                    json!({"realm_access": {"roles": ["viewer"]}, "realm_access.roles": "guest"}),
                    false,
                ),
                (json!({"realm_access": ["viewer"]}), false),
                (json!({"roles": ["viewer"]}), false),
            ],
        ),
    ] {
        let required = json!([{"claimType": claim, "claimValue": value}]);
        let server = of(json!({"restriction": {"requiredClaims": required}, "terms": {}}));
        for (token, is_good) in tokens {
            let expected = if is_good {
                "ok"
            } else {
                "token_required_claim"
            };
            assert_eq!(
                code(&server, &claims(token.clone()), "movie-42"),
                expected,
                "{claim} {token}"
            );
        }
        server.stop();
    }
}

#[test]
fn a_token_that_is_good_for_too_long_is_refused_where_that_is_set() {
    let limited = of(json!({"restriction": {"max_token_life": 600}, "terms": {}}));
    let free = of(json!({"terms": {}}));
    let milliseconds = (now() + 300) * 1000;
    for (token, expected) in [
        (json!({"exp": now() + 600}), "ok"),
        (json!({"exp": now() + 900}), "token_life"),
        (json!({"exp": milliseconds}), "token_life"),
        (json!({"iat": now(), "exp": now() + 600}), "ok"),
        (json!({"iat": now(), "exp": now() + 601}), "token_life"),
        (
            json!({"iat": now() - 10_000, "exp": now() + 10}),
            "token_life",
        ),
    ] {
        assert_eq!(
            code(&limited, &claims(token.clone()), "movie-42"),
            expected,
            "{token}"
        );
        assert_eq!(
            code(&free, &claims(token.clone()), "movie-42"),
            "ok",
            "{token}"
        );
    }
    limited.stop();
    free.stop();
}

#[test]
fn a_time_in_milliseconds_is_warned_of() {
    let directory = Directory::new("milliseconds");
    let here = directory.0.as_path();
    let variables = policies(&json!([option(json!({"terms": {}}))]));
    let said = |exp: u64| {
        let claims = claims(json!({"exp": exp}));
        let token = signer()
            .token(Some("a"), &claims, &mut random::system())
            .unwrap();
        let run = |arguments: &[&str]| -> Value {
            let output = configured(here, arguments, &variables, &[("KEYLET_TOKEN", &token)]);
            let errors = String::from_utf8_lossy(&output.stderr);
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{errors}"))
        };
        let explained = run(&["token", "explain", "--json"]);
        let doctor = run(&["doctor", "--json"]);
        let findings = doctor["findings"].as_array().unwrap();
        let warnings: Vec<Value> = findings
            .iter()
            .filter(|finding| finding["check"] == "token" && finding["severity"] == "warning")
            .map(|finding| finding["what"].clone())
            .collect();
        let explained = explained["warnings"].as_array().cloned();
        assert_eq!(explained.unwrap_or_default(), warnings);
        warnings
    };
    assert_eq!(said(now() + 300), Vec::<Value>::new());
    let warnings = said((now() + 300) * 1000);
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0]
            .as_str()
            .unwrap()
            .contains("`exp` is in milliseconds")
    );
    let warnings = said(now() + 20 * 365 * 24 * 60 * 60);
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].as_str().unwrap().contains("good for 19 years"));
}

#[test]
fn inputs_that_broke_something() {
    const FOLDER: &str = "09-entitlements-of-idps";
    let Some(folder) = fault(FOLDER, "inputs_that_broke_something") else {
        return;
    };
    let read = |name: &str| -> Value {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".json"))
        .collect();
    names.sort();
    let scope = json!({"requiredClaims": [{"claimType": "scope", "claimValue": "drm:play"}]});
    let gold = json!({"requiredClaims": [{"claimType": "entitlements", "claimValue": "gold"}]});
    let namespaced = "https://tv.example/entitlements";
    // For each, an option, and what it answers for two keys.
    let cases = [
        (
            "auth0_namespaced.json",
            json!({"entitlement_claim": namespaced}),
            ["ok", "not_entitled"],
        ),
        (
            "exp_milliseconds.json",
            json!({"restriction": {"max_token_life": 86400}}),
            ["token_life"; 2],
        ),
        (
            "scim_rfc9068.json",
            json!({"restriction": gold, "terms": {}}),
            ["ok"; 2],
        ),
        (
            "scope.json",
            json!({"restriction": scope, "terms": {}}),
            ["ok"; 2],
        ),
        ("text_cognito_b2c.json", json!({}), ["ok", "not_entitled"]),
        ("workos_authentik.json", json!({"terms": {}}), ["ok"; 2]),
    ];
    assert_eq!(
        names,
        cases.iter().map(|(name, _, _)| *name).collect::<Vec<_>>()
    );
    for (name, more, expected) in cases {
        let server = of(more);
        let found = ["movie-42", "movie-43"].map(|asset| code(&server, &read(name), asset));
        assert_eq!(found, expected, "{name}");
        server.stop();
    }
}

#[test]
fn settings_that_do_not_say_what_they_mean_do_not_load() {
    for (variables, expected) in [
        (
            policies(&json!([option(json!({"entitlement_claim": false}))])),
            "nothing says what its tokens allow",
        ),
        (
            policies(&json!([option(
                json!({"entitlement_claim": true, "terms": {}})
            )])),
            "neither a name nor false",
        ),
        (
            policies(&json!([option(
                json!({"entitlement_claim": "", "terms": {}})
            )])),
            "it is empty",
        ),
        (
            policies(
                &json!([{"name": "a", "restriction": "open", "terms": {}, "entitlement_claim": "x"}]),
            ),
            "an open option has none",
        ),
        (
            policies(&json!([option(
                json!({"restriction": {"max_token_life": 0}})
            )])),
            "`max_token_life`",
        ),
        (
            policies(&json!([option(
                json!({"restriction": {"audience_claim": ""}})
            )])),
            "`audience_claim` is empty",
        ),
        (
            with(&[("entitlement_claim", "false".to_owned())]),
            "is for an option of `policies`",
        ),
    ] {
        let server = serve(variables);
        let health = send(&server, http::Request::get("/"), "/healthz", &[]);
        let said = String::from_utf8_lossy(health.body()).into_owned();
        assert_eq!(health.status(), 503, "{said}");
        assert!(said.contains(expected), "{said}");
        server.stop();
    }
}
