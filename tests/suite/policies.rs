//! Content key policies: which viewers are accepted, and on what terms.

use keylet_cli::device::{Duration, SpcOptions};
use keylet_cli::jwt::Signer;
use keylet_host::World;
use rsa::PrivateKey as RsaPrivateKey;
use rsa::pkcs8::DecodePrivateKey;
use serde_json::{Value, json};

use crate::settings::problems;
use crate::support::{WORLDS, fixture};
use crate::upstream::{
    Deployment, KID, SPINS, claims, code, entitled, jwks, licence, policies, post, serve_beside,
    signed, variables,
};

/// Claims of Azure Media Services.
const KEY_IDENTIFIER: &str = "urn:microsoft:azure:mediaservices:contentkeyidentifier";
const MAX_USES: &str = "urn:microsoft:azure:mediaservices:maxuses";

const FIRST: u32 = 0xf4de_e5a2;
const OFFLINE_V2: u64 = 1 << 3;

const HOLDER: Signer = Signer::EdDsa([1; 32]);
const STRANGER: Signer = Signer::EdDsa([3; 32]);

/// An option for tokens of one key, with more members.
fn option(name: &str, more: Value) -> Value {
    let mut option = json!({
        "name": name,
        "restriction": {"issuer": "*", "audience": "*", "jwks": jwks(&[("holder", &HOLDER)])},
    });
    let Value::Object(more) = more else {
        panic!("members are an object")
    };
    option.as_object_mut().unwrap().extend(more);
    option
}

/// One that requires claims, on terms that identify it.
fn requiring(name: &str, required: Value, lease_seconds: u32) -> Value {
    let mut option = option(name, json!({"terms": {"lease_seconds": lease_seconds}}));
    option["restriction"]["requiredClaims"] = required;
    option
}

fn token(more: Value) -> String {
    signed(&HOLDER, Some("holder"), &claims(more))
}

fn device(asset: &str) -> SpcOptions {
    SpcOptions::new(format!("skd://{asset}")).playing(FIRST)
}

fn deployment(options: Value) -> Deployment {
    Deployment::new(policies(&options))
}

/// The name of the option by which there is a licence, or the code of the refusal.
fn by(deployment: &Deployment, token: &str, asset: &str) -> String {
    match deployment.licence(Some(token), &device(asset)) {
        Ok(_) => deployment.audit()["policy"].as_str().unwrap().to_owned(),
        Err(refusal) => refusal.code,
    }
}

fn rsa_key() -> RsaPrivateKey {
    let pem = String::from_utf8(fixture("credentials/sdk26-2048.pem")).unwrap();
    RsaPrivateKey::from_pkcs8_pem(&pem).unwrap()
}

/// The certificate of that key: the second one of the bundle. Each certificate follows its length.
fn rsa_certificate() -> Vec<u8> {
    let bundle = fixture("credentials/fps_certificate.bin");
    let length = |at: usize| usize::from(bundle[at]) * 256 + usize::from(bundle[at + 1]);
    let first = 4 + length(2);
    bundle[first..first + 4 + length(first + 2)].to_vec()
}

fn base64(bytes: &[u8]) -> String {
    base64::Engine::encode(&keylet::encoding::BASE64, bytes)
}

#[test]
fn policies_hold_in_every_world() {
    let options = json!([
        {"name": "trailers", "restriction": "open", "terms": {"lease_seconds": 60}},
    ]);
    for world in WORLDS {
        let server = serve_beside(world, &policies(&options), &[]);
        let licence = licence(&server, None, &device("movie")).unwrap();
        let lease = Duration::Lease { lease_seconds: 60 };
        assert_eq!(licence.duration, Some(lease), "{world:?}");
        server.stop();
    }
    // A use is counted where there is a store.
    let options = json!([option("counted", json!({"terms": {"max_uses": 1}}))]);
    for world in SPINS {
        let server = serve_beside(world, &policies(&options), &[]);
        let codes = [(); 2].map(|()| {
            let token = token(json!({"jti": "one"}));
            code(licence(&server, Some(&token), &device("movie")))
        });
        assert_eq!(codes, ["ok", "uses_spent"], "{world:?}");
        server.stop();
    }
    let server = serve_beside(World::Wasi, &policies(&options), &[]);
    let result = licence(&server, Some(&token(json!({}))), &device("movie"));
    assert_eq!(code(result), "store_unsupported");
    server.stop();
}

#[test]
fn the_first_option_that_accepts_a_token_holds() {
    let one = || option("one", json!({"terms": {"lease_seconds": 60}}));
    let two = || option("two", json!({"terms": {}}));
    let login = token(json!({}));
    assert_eq!(
        by(&deployment(json!([one(), two()])), &login, "movie"),
        "one"
    );
    assert_eq!(
        by(&deployment(json!([two(), one()])), &login, "movie"),
        "two"
    );
    let open = json!({"name": "open", "restriction": "open", "terms": {}});
    let last = deployment(json!([one(), open]));
    assert_eq!(by(&last, &login, "movie"), "one");
    assert_eq!(by(&last, &token(json!({"exp": 1})), "movie"), "open");
    let first = deployment(json!([open, one()]));
    assert_eq!(by(&first, &login, "movie"), "open");
}

#[test]
fn an_option_that_refuses_a_track_is_followed_by_no_other() {
    let strict = option("strict", json!({"terms": {"tracks": {"hd": false}}}));
    let lax = option("lax", json!({"terms": {}}));
    let deployment = deployment(json!([strict, lax]));
    let login = token(json!({}));
    assert_eq!(by(&deployment, &login, "hd"), "track_not_allowed");
    assert_eq!(by(&deployment, &login, "movie"), "strict");
}

#[test]
fn of_several_refusals_the_one_that_came_furthest_is_told() {
    let strange = json!({
        "name": "strange",
        "restriction": {"issuer": "*", "audience": "*", "jwks": jwks(&[("a", &STRANGER)])},
    });
    let other_issuer = {
        let mut option = option("other-issuer", json!({}));
        option["restriction"]["issuer"] = "https://another.example".into();
        option
    };
    let premium = requiring("premium", json!([{"claimType": "plan"}]), 60);
    for options in [
        json!([strange, other_issuer, premium]),
        json!([premium, other_issuer, strange]),
        json!([other_issuer, strange, premium]),
    ] {
        let deployment = deployment(options);
        for (token, expected) in [
            (token(json!({})), "token_required_claim"),
            (token(json!({"exp": 1})), "token_expired"),
            (
                signed(&STRANGER, Some("holder"), &claims(json!({}))),
                "token_signature",
            ),
            (
                signed(&STRANGER, Some("a"), &claims(json!({}))),
                "entitlement_missing",
            ),
            ("garbage".to_owned(), "token_malformed"),
        ] {
            assert_eq!(by(&deployment, &token, "movie"), expected);
        }
        assert_eq!(
            code(deployment.licence(None, &device("movie"))),
            "token_missing"
        );
    }
}

#[test]
fn alternate_keys_verify_while_keys_are_exchanged() {
    let [old, new, other] = [7, 8, 9].map(|byte| Signer::Hs256(vec![byte; 32]));
    let symmetric = |byte| json!({"keyValue": base64(&[byte; 32])});
    let restriction = |primary, alternates: Value| {
        json!([{
            "name": "azure",
            "restriction": {
                "issuer": "https://issuer.example",
                "audience": "keylet",
                "restrictionTokenType": "Jwt",
                "primaryVerificationKey": primary,
                "alternateVerificationKeys": alternates,
            },
        }])
    };
    for (options, expected) in [
        (
            restriction(symmetric(7), json!([])),
            ["azure", "token_signature"],
        ),
        (
            restriction(symmetric(7), json!([symmetric(8)])),
            ["azure", "azure"],
        ),
        (
            restriction(symmetric(9), json!([symmetric(8), symmetric(7)])),
            ["azure", "azure"],
        ),
        (
            restriction(symmetric(8), json!([])),
            ["token_signature", "azure"],
        ),
    ] {
        let deployment = deployment(options.clone());
        // Azure's keys have no ids; whatever a token says of its key, they fit.
        for kid in [None, Some("thumbprint")] {
            let found = [&old, &new]
                .map(|signer| by(&deployment, &signed(signer, kid, &entitled()), "movie"));
            assert_eq!(found, expected, "{options}");
        }
    }
    let deployment = deployment(restriction(symmetric(7), json!([symmetric(8)])));
    let token = signed(&other, None, &entitled());
    assert_eq!(by(&deployment, &token, "movie"), "token_signature");
    let rs256 = signed(&Signer::Rs256(rsa_key()), None, &entitled());
    assert_eq!(by(&deployment, &rs256, "movie"), "token_key_unknown");
}

#[test]
fn rsa_keys_are_read_as_numbers_and_from_certificates() {
    let signer = Signer::Rs256(rsa_key());
    let jwk = signer.jwk("a").unwrap();
    let number = |name: &str| {
        let bytes = keylet::encoding::base64(jwk[name].as_str().unwrap()).unwrap();
        base64(&bytes)
    };
    let certificate = rsa_certificate();
    let lines: Vec<String> = base64(&certificate)
        .as_bytes()
        .chunks(64)
        .map(|line| String::from_utf8(line.to_vec()).unwrap())
        .collect();
    let pem = format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        lines.join("\n")
    );
    for key in [
        json!({
            "@odata.type": "#Microsoft.Media.ContentKeyPolicyRsaTokenKey",
            "exponent": number("e"),
            "modulus": number("n"),
        }),
        json!({"exponent": jwk["e"], "modulus": jwk["n"]}),
        json!({
            "@odata.type": "#Microsoft.Media.ContentKeyPolicyX509CertificateTokenKey",
            "rawBody": base64(&certificate),
        }),
        json!({"rawBody": pem}),
        json!({"rawBody": base64(pem.as_bytes())}),
    ] {
        let options = json!([{
            "name": "azure",
            "restriction": {
                "@odata.type": "#Microsoft.Media.ContentKeyPolicyTokenRestriction",
                "issuer": "*",
                "audience": "*",
                "primaryVerificationKey": key,
            },
        }]);
        assert_eq!(problems(policies(&options)), Vec::<String>::new());
        let deployment = deployment(options);
        let token = signed(&signer, None, &entitled());
        assert_eq!(by(&deployment, &token, "movie"), "azure", "{key}");
        // The key is for RS256 alone, and a public value is not a secret.
        let confused = [
            Signer::Ps256(rsa_key()),
            Signer::Hs256(certificate.clone()),
            Signer::Hs256(jwk["n"].as_str().unwrap().as_bytes().to_vec()),
        ];
        for signer in confused {
            let token = signed(&signer, None, &entitled());
            assert_eq!(by(&deployment, &token, "movie"), "token_key_unknown");
        }
    }
}

#[test]
fn issuer_and_audience_are_those_of_the_option() {
    for (issuer, audience, expected) in [
        (json!("https://issuer.example"), json!("keylet"), "one"),
        (json!("*"), json!("*"), "one"),
        (
            json!(["another", "https://issuer.example"]),
            json!(["keylet", "x"]),
            "one",
        ),
        (json!("https://issuer.example/"), json!("*"), "token_issuer"),
        (json!(["another"]), json!("*"), "token_issuer"),
        (json!(""), json!("*"), "token_issuer"),
        (json!("*"), json!("Keylet"), "token_audience"),
        (json!("*"), json!(["another"]), "token_audience"),
        (json!("*"), json!(""), "token_audience"),
    ] {
        let mut option = option("one", json!({}));
        option["restriction"]["issuer"] = issuer.clone();
        option["restriction"]["audience"] = audience.clone();
        let deployment = deployment(json!([option]));
        let token = token(json!({"entitlements": [{"keys": "*"}]}));
        assert_eq!(
            by(&deployment, &token, "movie"),
            expected,
            "{issuer} {audience}"
        );
    }
}

#[test]
fn claims_are_required_by_presence_and_by_value() {
    let present = json!([{"claimType": "plan"}]);
    let gold = json!([{"claimType": "plan", "claimValue": "gold"}]);
    let two = json!([{"claimType": "plan", "claimValue": "gold"}, {"claimType": "country"}]);
    let refused = "token_required_claim";
    for (required, claims, expected) in [
        (json!([]), json!({}), "a"),
        (present.clone(), json!({}), refused),
        (present.clone(), json!({"plan": null}), refused),
        (present.clone(), json!({"plan": "any"}), "a"),
        (present.clone(), json!({"plan": ""}), "a"),
        (present.clone(), json!({"plan": false}), "a"),
        (present.clone(), json!({"plan": [1]}), "a"),
        (present, json!({"Plan": "any"}), refused),
        (
            json!([{"claimType": "plan", "claimValue": ""}]),
            json!({"plan": "any"}),
            "a",
        ),
        (
            json!([{"claimType": "plan", "claimValue": null}]),
            json!({"plan": "any"}),
            "a",
        ),
        (gold.clone(), json!({}), refused),
        (gold.clone(), json!({"plan": "gold"}), "a"),
        (gold.clone(), json!({"plan": "Gold"}), refused),
        (gold.clone(), json!({"plan": "gold "}), refused),
        (gold.clone(), json!({"plan": "golden"}), refused),
        (gold.clone(), json!({"plan": ["silver", "gold"]}), "a"),
        (gold.clone(), json!({"plan": ["silver"]}), refused),
        (gold.clone(), json!({"plan": []}), refused),
        (gold.clone(), json!({"plan": [["gold"]]}), refused),
        (gold.clone(), json!({"plan": {"gold": true}}), refused),
        (gold, json!({"plan": true}), refused),
        (
            json!([{"claimType": "n", "claimValue": "5"}]),
            json!({"n": 5}),
            "a",
        ),
        (
            json!([{"claimType": "n", "claimValue": "5"}]),
            json!({"n": "5"}),
            "a",
        ),
        (
            json!([{"claimType": "n", "claimValue": "5"}]),
            json!({"n": [4, 5]}),
            "a",
        ),
        (
            json!([{"claimType": "n", "claimValue": "5"}]),
            json!({"n": 5.0}),
            refused,
        ),
        (
            json!([{"claimType": "b", "claimValue": "true"}]),
            json!({"b": true}),
            "a",
        ),
        (
            json!([{"claimType": "b", "claimValue": "true"}]),
            json!({"b": false}),
            refused,
        ),
        (two.clone(), json!({"plan": "gold"}), refused),
        (two, json!({"plan": "gold", "country": "DE"}), "a"),
        (
            json!([{"claimType": "sub", "claimValue": "viewer-1"}]),
            json!({}),
            "a",
        ),
    ] {
        let deployment = deployment(json!([requiring("a", required.clone(), 60)]));
        let found = by(&deployment, &token(claims.clone()), "movie");
        assert_eq!(found, expected, "{required} {claims}");
    }
}

#[test]
fn a_token_is_good_for_no_longer_than_the_policy_allows() {
    let mut limited = option("a", json!({"terms": {}}));
    limited["restriction"]["max_token_life"] = 600.into();
    let deployment = deployment(json!([limited]));
    let now = deployment.platform.now.get();
    for (times, expected) in [
        (json!({"iat": now, "exp": now + 600}), "a"),
        (json!({"iat": now, "exp": now + 601}), "token_life"),
        (json!({"iat": now - 1000, "exp": now + 1}), "token_life"),
        // Clocks may be a minute apart.
        (json!({"exp": now + 660}), "a"),
        (json!({"exp": now + 661}), "token_life"),
        (json!({"exp": (now + 300) * 1000}), "token_life"),
    ] {
        let found = by(&deployment, &token(times.clone()), "movie");
        assert_eq!(found, expected, "{times}");
    }
}

#[test]
fn a_claim_tells_options_apart() {
    let premium = json!([{"claimType": "plan", "claimValue": "premium"}]);
    let deployment = deployment(json!([
        requiring("premium", premium, 600),
        requiring("basic", json!([{"claimType": "plan"}]), 60),
    ]));
    for (plan, name, lease_seconds) in [("premium", "premium", 600), ("basic", "basic", 60)] {
        let token = token(json!({"plan": plan}));
        let licence = deployment.licence(Some(&token), &device("movie")).unwrap();
        assert_eq!(licence.duration, Some(Duration::Lease { lease_seconds }));
        assert_eq!(deployment.audit()["policy"], name);
    }
    assert_eq!(
        by(&deployment, &token(json!({})), "movie"),
        "token_required_claim"
    );
}

#[test]
fn a_token_for_one_key_is_good_for_no_other() {
    let alone = deployment(json!([option("a", json!({"terms": {}}))]));
    let required = json!([{"claimType": KEY_IDENTIFIER}]);
    let required = deployment(json!([requiring("a", required, 60)]));
    let lower = KID.to_ascii_lowercase();
    for (claim, expected) in [
        (json!(KID), ["a", "not_entitled"]),
        (json!(lower), ["a", "not_entitled"]),
        (json!(lower.replace('-', "")), ["a", "not_entitled"]),
        (json!(KID.replace('-', "")), ["a", "not_entitled"]),
        (json!(format!("{{{KID}}}")), ["a", "not_entitled"]),
        (json!("movie"), ["a", "not_entitled"]),
        (
            json!("0f0e0d0c0b0a09080706050403020100"),
            ["not_entitled", "a"],
        ),
        (
            json!("00000000-0000-0000-0000-000000000000"),
            ["not_entitled"; 2],
        ),
        (json!(""), ["token_claims"; 2]),
        (json!(5), ["token_claims"; 2]),
        (json!([KID]), ["token_claims"; 2]),
        (json!({}), ["token_claims"; 2]),
    ] {
        let token = token(json!({KEY_IDENTIFIER: claim}));
        for deployment in [&alone, &required] {
            let found = ["movie", "other"].map(|asset| by(deployment, &token, asset));
            assert_eq!(found, expected, "{claim}");
        }
    }
    // Every name of the key is the key.
    let named = token(json!({KEY_IDENTIFIER: KID}));
    for asset in ["film", KID, &lower] {
        assert_eq!(by(&required, &named, asset), "a");
    }
    let silent = token(json!({}));
    assert_eq!(by(&alone, &silent, "movie"), "a");
    assert_eq!(by(&required, &silent, "movie"), "token_required_claim");
    // With a value, it is a claim like any other, and says which key all the same.
    let fixed = json!([{"claimType": KEY_IDENTIFIER, "claimValue": KID}]);
    let fixed = deployment(json!([requiring("a", fixed, 60)]));
    let found = ["movie", "other"].map(|asset| by(&fixed, &named, asset));
    assert_eq!(found, ["a", "not_entitled"]);
}

#[test]
fn other_services_claims_name_the_key_when_they_are_required() {
    for claim in ["content_id", "kid"] {
        let option = requiring("a", json!([{"claimType": claim}]), 60);
        let required = deployment(json!([option]));
        let plain = deployment(json!([self::option("a", json!({"terms": {}}))]));
        for (value, expected) in [
            (json!("movie"), ["a", "not_entitled"]),
            (json!("skd://film"), ["a", "not_entitled"]),
            (json!(KID), ["a", "not_entitled"]),
            (json!("other"), ["not_entitled", "a"]),
            (json!("*"), ["not_entitled"; 2]),
            (json!(""), ["not_entitled"; 2]),
            (json!(["movie", "other"]), ["not_entitled"; 2]),
            (json!(5), ["not_entitled"; 2]),
        ] {
            let token = token(json!({claim: value}));
            let found = ["movie", "other"].map(|asset| by(&required, &token, asset));
            assert_eq!(found, expected, "{claim} {value}");
            // Nothing that is not required limits a token.
            assert_eq!(by(&plain, &token, "movie"), "a");
        }
    }
}

#[test]
fn an_option_for_the_named_key_is_followed_by_one_for_the_others() {
    let named = json!([{"claimType": "content_id"}]);
    let deployment = deployment(json!([
        requiring("bought", named, 600),
        requiring("catalogue", json!([]), 60),
        requiring("never", json!([]), 6),
    ]));
    let bought = token(json!({"content_id": "movie"}));
    for (token, asset, expected) in [
        (&bought, "movie", "bought"),
        (&bought, "film", "bought"),
        (&bought, "other", "catalogue"),
        (&token(json!({})), "movie", "catalogue"),
        (&bought, "nothing", "key_not_found"),
    ] {
        assert_eq!(by(&deployment, token, asset), expected, "{asset}");
    }
    // Two that depend on the key, and none else.
    let deployment = self::deployment(json!([
        requiring("one", json!([{"claimType": "content_id"}]), 600),
        requiring("two", json!([{"claimType": "kid"}]), 60),
    ]));
    let both = token(json!({"content_id": "movie", "kid": "other"}));
    assert_eq!(by(&deployment, &both, "movie"), "one");
    assert_eq!(by(&deployment, &both, "other"), "two");
    assert_eq!(by(&deployment, &both, "hd"), "not_entitled");
}

#[test]
fn azures_limit_of_uses_is_a_number_or_text() {
    for (claim, expected) in [
        (json!(2), ["a", "a", "uses_spent"]),
        (json!("2"), ["a", "a", "uses_spent"]),
        (json!("unlimited"), ["a"; 3]),
        (json!("Unlimited"), ["terms_invalid"; 3]),
        (json!(""), ["terms_invalid"; 3]),
        (json!("two"), ["terms_invalid"; 3]),
        (json!(" 2"), ["terms_invalid"; 3]),
        (json!("-2"), ["terms_invalid"; 3]),
        (json!(0), ["terms_invalid"; 3]),
        (json!("0"), ["terms_invalid"; 3]),
        (json!(-2), ["terms_invalid"; 3]),
        (json!(2.5), ["terms_invalid"; 3]),
        (json!(4_294_967_296_u64), ["terms_invalid"; 3]),
        (json!(true), ["terms_invalid"; 3]),
        (json!([2]), ["terms_invalid"; 3]),
        (json!({}), ["terms_invalid"; 3]),
    ] {
        let deployment = deployment(json!([option("a", json!({"terms": {}}))]));
        let token = token(json!({MAX_USES: claim, "jti": "one"}));
        let found = [(); 3].map(|()| by(&deployment, &token, "movie"));
        assert_eq!(found, expected, "{claim}");
    }
    // The smallest limit of token, entitlement and option holds.
    for (of_token, of_entry, of_option) in [(1, 2, 3), (2, 1, 3), (3, 2, 1)] {
        let option = option("a", json!({"terms": {"max_uses": of_option}}));
        let deployment = deployment(json!([option]));
        let token = token(json!({
            MAX_USES: of_token,
            "entitlements": [{"keys": "*", "max_uses": of_entry}],
        }));
        let found = [(); 2].map(|()| by(&deployment, &token, "movie"));
        assert_eq!(found, ["a", "uses_spent"]);
    }
}

#[test]
fn an_open_option_needs_no_token() {
    for restriction in [
        json!("open"),
        json!({"@odata.type": "#Microsoft.Media.ContentKeyPolicyOpenRestriction"}),
    ] {
        let options = json!([{
            "name": "open",
            "restriction": restriction,
            "terms": {"lease_seconds": 60, "tracks": {"hd": false}},
        }]);
        let deployment = deployment(options);
        let stranger = signed(&STRANGER, None, &entitled());
        for token in [None, Some("garbage"), Some(stranger.as_str())] {
            let licence = deployment.licence(token, &device("movie")).unwrap();
            let lease = Duration::Lease { lease_seconds: 60 };
            assert_eq!(licence.duration, Some(lease));
            assert_eq!(deployment.audit().get("subject"), None);
            let result = deployment.licence(token, &device("hd"));
            assert_eq!(code(result), "track_not_allowed");
        }
    }
    // Open to nothing.
    let deployment = deployment(json!([{"name": "open", "restriction": "open"}]));
    let result = deployment.licence(None, &device("movie"));
    assert_eq!(code(result), "entitlement_missing");
}

#[test]
fn terms_stand_alone_or_narrow_what_the_token_entitles_to() {
    let lease = |lease_seconds| Ok(Some(Duration::Lease { lease_seconds }));
    let missing = || Err("entitlement_missing".to_owned());
    let stored = || Ok(Some(Duration::Persistence));
    for (terms, entry, expected) in [
        (json!(null), json!(null), missing()),
        (json!(null), json!({"lease_seconds": 60}), lease(60)),
        (json!({}), json!(null), Ok(None)),
        (json!({"lease_seconds": 60}), json!(null), lease(60)),
        (json!({"lease_seconds": 60}), json!({}), lease(60)),
        (
            json!({"lease_seconds": 60}),
            json!({"lease_seconds": 600}),
            lease(60),
        ),
        (
            json!({"lease_seconds": 600}),
            json!({"lease_seconds": 60}),
            lease(60),
        ),
        (json!({"persist": true}), json!(null), stored()),
        (json!({"persist": true}), json!({}), Ok(None)),
        (json!({"persist": true}), json!({"persist": true}), stored()),
        (json!({}), json!({"persist": true}), stored()),
        (
            json!({"persist": false}),
            json!({"persist": true}),
            Ok(None),
        ),
        (
            json!({"storage_seconds": 60}),
            json!({"persist": true}),
            Ok(Some(Duration::PersistenceLimited { seconds: 60 })),
        ),
    ] {
        let mut option = option("a", json!({}));
        if !terms.is_null() {
            option["terms"] = terms.clone();
        }
        let token = match entry.clone() {
            Value::Null => token(json!({})),
            mut entry => {
                entry["keys"] = "*".into();
                token(json!({"entitlements": [entry]}))
            }
        };
        let licence = deployment(json!([option])).licence(Some(&token), &device("movie"));
        let found = licence.map(|licence| licence.duration);
        let found = found.map_err(|refusal| refusal.code);
        assert_eq!(found, expected, "{terms} {entry}");
    }
    // Terms do not give a key that the token does not.
    let deployment = deployment(json!([option("a", json!({"terms": {"persist": true}}))]));
    let token = token(json!({"entitlements": [{"keys": ["other"]}]}));
    assert_eq!(by(&deployment, &token, "movie"), "not_entitled");
    assert_eq!(by(&deployment, &token, "other"), "a");
}

#[test]
fn azures_configuration_of_fairplay_is_terms() {
    let stored = || Some(Duration::Persistence);
    let limited = |seconds| Some(Duration::PersistenceLimited { seconds });
    let offline = |storage_seconds, playback_seconds| {
        Some(Duration::OfflineKey {
            version: 2,
            stream: "73747265616d00000000000000000000".to_owned(),
            storage_seconds,
            playback_seconds,
            title: Some("7469746c650000000000000000000000".to_owned()),
        })
    };
    let dual = |storage: u64, playback: u64| {
        json!({
            "rentalAndLeaseKeyType": "DualExpiry",
            "rentalDuration": 5,
            "offlineRentalConfiguration": {
                "storageDurationSeconds": storage,
                "playbackDurationSeconds": playback,
            },
        })
    };
    // On a device with key durations, and on one with offline keys.
    for (configuration, expected, with_offline_keys) in [
        (json!({}), None, None),
        (json!({"rentalDuration": 600}), None, None),
        (json!({"rentalAndLeaseKeyType": "Undefined"}), None, None),
        (
            json!({"rentalAndLeaseKeyType": "Undefined", "rentalDuration": 600}),
            None,
            None,
        ),
        (
            json!({"rentalAndLeaseKeyType": "PersistentUnlimited"}),
            stored(),
            offline(0, 0),
        ),
        (
            json!({"rentalAndLeaseKeyType": "PersistentUnlimited", "rentalDuration": 600}),
            stored(),
            offline(0, 0),
        ),
        (
            json!({"rentalAndLeaseKeyType": "PersistentLimited", "rentalDuration": 600}),
            limited(600),
            offline(600, 0),
        ),
        (
            json!({"rentalAndLeaseKeyType": "PersistentLimited", "rentalDuration": 0}),
            stored(),
            offline(0, 0),
        ),
        (
            json!({"rentalAndLeaseKeyType": "PersistentLimited"}),
            stored(),
            offline(0, 0),
        ),
        (dual(600, 0), limited(600), offline(600, 0)),
        (dual(0, 0), stored(), offline(0, 0)),
        (
            json!({"rentalAndLeaseKeyType": "DualExpiry"}),
            stored(),
            offline(0, 0),
        ),
        // A time from the first play on is kept by offline keys alone.
        (dual(600, 60), None, offline(600, 60)),
        (dual(0, 60), None, offline(0, 60)),
    ] {
        let mut typed = configuration.clone();
        typed["@odata.type"] = "#Microsoft.Media.ContentKeyPolicyFairPlayConfiguration".into();
        for configuration in [configuration, typed] {
            let options = json!([option(
                "a",
                json!({"drm": {"fairplay": configuration}, "terms": {}})
            )]);
            assert_eq!(
                problems(policies(&options)),
                Vec::<String>::new(),
                "{configuration}"
            );
            let deployment = deployment(options);
            let login = token(json!({}));
            let ask = |options| deployment.licence(Some(&login), &options).unwrap().duration;
            let able = device("movie").capable(OFFLINE_V2);
            assert_eq!(ask(able), with_offline_keys, "{configuration}");
            let playback = &configuration["offlineRentalConfiguration"]["playbackDurationSeconds"];
            if playback.as_u64().is_none_or(|seconds| seconds == 0) {
                assert_eq!(ask(device("movie").capable(0)), expected, "{configuration}");
            } else {
                let result = deployment.licence(Some(&login), &device("movie").capable(0));
                assert_eq!(code(result), "device_offline_unsupported");
            }
            // A token that says by itself what it is for gives the permission, or not.
            let streaming = token(json!({"entitlements": [{"keys": "*"}]}));
            let licence = deployment
                .licence(Some(&streaming), &device("movie"))
                .unwrap();
            assert_eq!(licence.duration, None, "{configuration}");
        }
    }
    // The stricter of both holds.
    let both = json!({
        "drm": {"fairplay": {"rentalAndLeaseKeyType": "PersistentLimited", "rentalDuration": 600}},
        "terms": {"storage_seconds": 60},
    });
    let deployment = deployment(json!([option("a", both)]));
    let licence = deployment
        .licence(Some(&token(json!({}))), &device("movie"))
        .unwrap();
    assert_eq!(licence.duration, limited(60));
}

#[test]
fn terms_of_tracks_hold_beside_fairplays_configuration() {
    let tracks = json!({"hd": {"lease_seconds": 60, "hdcp": "type1"}, "uhd": false});
    for drm in [
        json!(null),
        json!({"fairplay": {}}),
        json!({"fairplay": {"rentalAndLeaseKeyType": "Undefined"}}),
        json!({"fairplay": {"rentalAndLeaseKeyType": "PersistentUnlimited"}}),
    ] {
        let terms = json!({"drm": drm, "terms": {"tracks": tracks}});
        let deployment = deployment(json!([option("a", terms)]));
        let login = token(json!({}));
        assert_eq!(by(&deployment, &login, "hd"), "device_hdcp_unsupported");
        let able = device("hd").capable(u64::MAX);
        let licence = deployment.licence(Some(&login), &able).unwrap();
        let lease = Duration::Lease { lease_seconds: 60 };
        assert_eq!(licence.duration, Some(lease), "{drm}");
        assert_eq!(by(&deployment, &login, "movie"), "a");
    }
}

#[test]
fn fairplays_configuration_alone_lets_a_viewer_in() {
    let drm = json!({"drm": {"fairplay": {"rentalAndLeaseKeyType": "PersistentUnlimited"}}});
    let deployment = deployment(json!([option("a", drm)]));
    let licence = deployment
        .licence(Some(&token(json!({}))), &device("movie"))
        .unwrap();
    assert_eq!(licence.duration, Some(Duration::Persistence));
}

#[test]
fn an_option_for_other_drm_systems_is_none_for_fairplay() {
    let other = || {
        option(
            "other",
            json!({"drm": {"widevine": {}, "playready": {}}, "terms": {}}),
        )
    };
    let fairplay = option("fairplay", json!({"drm": {"fairplay": {}, "widevine": {}}}));
    let login = token(json!({}));
    let alone = deployment(json!([other()]));
    assert_eq!(by(&alone, &login, "movie"), "not_entitled");
    assert_eq!(code(alone.licence(None, &device("movie"))), "not_entitled");
    assert_eq!(
        by(&deployment(json!([other(), fairplay])), &login, "movie"),
        "fairplay"
    );
    let reply = alone.post("/fairplay/check-in/challenge", Some(&login), b"");
    assert_eq!(reply.status(), 403);
}

#[test]
fn with_policies_the_variables_of_a_single_issuer_are_not_read() {
    let options = json!([option("a", json!({"terms": {}}))]);
    let broken = variables(&[
        ("policies", &options.to_string()),
        ("token_keys", "garbage"),
        ("token_issuer", ""),
        ("token_audience", ""),
    ]);
    assert_eq!(problems(broken.clone()), Vec::<String>::new());
    let deployment = Deployment::new(broken);
    assert_eq!(by(&deployment, &token(json!({})), "movie"), "a");
    let fixture_token = crate::support::token("hs256");
    assert_eq!(
        by(&deployment, &fixture_token, "movie"),
        "token_key_unknown"
    );
}

#[test]
fn the_claims_of_azure_entitle_where_its_dialect_is_accepted() {
    let bare = json!([option("a", json!({}))]);
    let named = token(json!({KEY_IDENTIFIER: KID}));
    let by_dialects = |dialects: &str, token: &str, asset: &str| {
        let mut variables = policies(&bare);
        variables.insert("dialects".to_owned(), dialects.to_owned());
        by(&Deployment::new(variables), token, asset)
    };
    for dialects in ["azure", "native, azure", r#"["azure","native"]"#] {
        assert_eq!(by_dialects(dialects, &named, "movie"), "a", "{dialects}");
        assert_eq!(by_dialects(dialects, &named, "other"), "not_entitled");
        let silent = token(json!({}));
        assert_eq!(
            by_dialects(dialects, &silent, "movie"),
            "entitlement_missing"
        );
    }
    for dialects in ["", "native"] {
        assert_eq!(
            by_dialects(dialects, &named, "movie"),
            "entitlement_missing"
        );
    }
    let own = token(json!({"entitlements": [{"keys": "*"}]}));
    assert_eq!(by_dialects("azure", &own, "movie"), "term_unsupported");
    let both = token(json!({KEY_IDENTIFIER: KID, "entitlements": []}));
    assert_eq!(by_dialects("azure", &both, "movie"), "term_unsupported");
    // What is another service's limits nothing.
    let foreign = token(json!({KEY_IDENTIFIER: KID, "entitlements": ["hd"]}));
    assert_eq!(by_dialects("azure", &foreign, "movie"), "a");
    assert_eq!(by_dialects("azure", &foreign, "other"), "not_entitled");
    assert_eq!(by_dialects("native", &own, "movie"), "a");
    assert_eq!(by_dialects("azuer", &own, "movie"), "configuration_invalid");
}

#[test]
fn an_option_may_leave_everything_to_its_token() {
    let deployment = deployment(json!([option("a", json!({}))]));
    let entitled = token(json!({"entitlements": [{"keys": ["movie"]}]}));
    assert_eq!(by(&deployment, &entitled, "movie"), "a");
    assert_eq!(by(&deployment, &entitled, "other"), "not_entitled");
    let refusal = deployment.licence(Some(&token(json!({}))), &device("movie"));
    let refusal = refusal.unwrap_err();
    assert_eq!(
        (refusal.status, refusal.code.as_str()),
        (403, "entitlement_missing")
    );
}

#[test]
fn every_mistake_in_policies_is_named_and_no_value_is() {
    let secret = "hidden-hidden-hidden-hidden-hidden";
    let restriction = |more: Value| {
        let mut option = option("a", json!({}));
        let Value::Object(more) = more else {
            panic!("members are an object")
        };
        option["restriction"].as_object_mut().unwrap().extend(more);
        json!([option])
    };
    let without = |member: &str| {
        let mut option = option("a", json!({}));
        option["restriction"]
            .as_object_mut()
            .unwrap()
            .remove(member);
        json!([option])
    };
    let primary = |key: Value| restriction(json!({"primaryVerificationKey": key}));
    let with = |more: Value| json!([option("a", more)]);
    let callback = |more: Value| {
        let mut callback = json!({"url": "https://back-end.example/hidden", "secret": secret});
        let Value::Object(more) = more else {
            panic!("members are an object")
        };
        callback.as_object_mut().unwrap().extend(more);
        callback
            .as_object_mut()
            .unwrap()
            .retain(|_, value| !value.is_null());
        json!([option("a", json!({"callback": callback}))])
    };
    let open = |more: Value| {
        let mut option = option("a", more);
        option["restriction"] = "open".into();
        json!([option])
    };
    let ec = base64(&rsa_certificate()[..200]);
    let no_list = "it is no list where there should be one";
    let cases = [
        (json!([]), "the list is empty"),
        (json!({}), no_list),
        (json!("hidden"), no_list),
        (json!([5]), "option 1: it is no object"),
        (json!([{}]), "option 1: the member `name` is missing"),
        (
            json!([{"name": "hidden"}]),
            "option 1: the member `restriction` is missing",
        ),
        (
            with(json!({"hidden": secret})),
            "option 1: a member is not known; there are `name`, `restriction`",
        ),
        (
            with(json!({"name": 5})),
            "option 1: a value is not a string",
        ),
        (
            with(json!({"name": null})),
            "option 1: a value is not a string",
        ),
        // The restriction.
        (
            with(json!({"restriction": "hidden"})),
            "option 1: `restriction`",
        ),
        (
            with(json!({"restriction": null})),
            "option 1: `restriction`",
        ),
        (with(json!({"restriction": {}})), "option 1: `restriction`"),
        (without("issuer"), "option 1: `restriction`"),
        (without("audience"), "option 1: `restriction`"),
        (without("jwks"), "option 1: there is no key"),
        (
            restriction(json!({"hidden": secret})),
            "option 1: `restriction`",
        ),
        (restriction(json!({"issuer": null})), "option 1: `issuer`"),
        (restriction(json!({"issuer": 5})), "option 1: `issuer`"),
        (
            restriction(json!({"issuer": {"hidden": 1}})),
            "option 1: `issuer`",
        ),
        (restriction(json!({"issuer": []})), "option 1: `issuer`"),
        (
            restriction(json!({"issuer": ["hidden", 5]})),
            "option 1: `issuer`",
        ),
        (
            restriction(json!({"audience": ["hidden", "*"]})),
            "option 1: `audience`",
        ),
        (
            restriction(json!({"audience": false})),
            "option 1: `audience`",
        ),
        (
            restriction(json!({"restrictionTokenType": "Swt"})),
            "option 1: `restrictionTokenType`",
        ),
        (
            restriction(json!({"requiredClaims": {"hidden": 1}})),
            "option 1: `restriction`",
        ),
        (
            restriction(json!({"requiredClaims": [{"claimValue": secret}]})),
            "option 1: `restriction`",
        ),
        (
            restriction(json!({"requiredClaims": [{"claimType": "a", "claimValue": 5}]})),
            "option 1: `restriction`",
        ),
        (
            json!([{"name": "a", "restriction": {
                "@odata.type": "#Microsoft.Media.ContentKeyPolicyOpenRestriction",
                "issuer": "hidden",
            }}]),
            "option 1: `restriction`",
        ),
        (
            json!([{"name": "a", "restriction": {
                "@odata.type": "#Microsoft.Media.ContentKeyPolicyUnknownRestriction",
            }}]),
            "option 1: `restriction`",
        ),
        // Its keys.
        (
            primary(json!({})),
            "option 1: a verification key is none of",
        ),
        (
            primary(json!({"keyValue": secret, "rawBody": secret})),
            "option 1: a verification key",
        ),
        (
            primary(json!({"exponent": "AQAB"})),
            "option 1: a verification key is none of",
        ),
        (
            primary(json!({"keyValue": "aGlkZGVu"})),
            "option 1: key 1: `k` has 6 bytes",
        ),
        (
            primary(json!({"keyValue": "hidden!"})),
            "option 1: key 1: `k` is missing",
        ),
        (primary(json!({"keyValue": 5})), "option 1: `restriction`"),
        (
            primary(json!({"rawBody": "hidden!"})),
            "option 1: `rawBody` is no X.509",
        ),
        (
            primary(json!({"rawBody": ec})),
            "option 1: `rawBody` is no X.509",
        ),
        (
            primary(json!({"hidden": secret})),
            "option 1: `restriction`",
        ),
        (
            primary(json!({"exponent": "AQAB", "modulus": "aGlkZGVu"})),
            "key 1: it is not an RSA key",
        ),
        (
            restriction(json!({"alternateVerificationKeys": [{}]})),
            "option 1: a verification key is none of",
        ),
        (
            restriction(json!({"alternateVerificationKeys": {}})),
            "option 1: `restriction`",
        ),
        (restriction(json!({"jwks": secret})), "option 1: `jwks`"),
        (
            restriction(json!({"jwks": {"hidden": 1}})),
            "option 1: `jwks`",
        ),
        (
            restriction(json!({"jwks": {"keys": []}})),
            "option 1: there is no key",
        ),
        (
            restriction(json!({"jwks": [{"kty": "hidden"}]})),
            "option 1: the set has no key that verifies signatures: of 1, the first is not used because `kty`",
        ),
        (
            restriction(json!({"jwks": [{"kty": "oct", "k": "aGlkZGVu"}]})),
            "option 1: key 1: `k`",
        ),
        (
            restriction(json!({"jwks": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}]})),
            "key 1: it is not a point",
        ),
        (
            restriction(json!({"jwks_uri": "http://hidden.example/keys"})),
            "option 1: a URL of keys is neither https",
        ),
        (
            restriction(json!({"openIdConnectDiscoveryDocument": "hidden"})),
            "option 1: a URL of keys is neither https",
        ),
        (
            restriction(json!({
                "jwks_uri": "https://a.example/hidden",
                "openIdConnectDiscoveryDocument": "https://a.example/hidden",
            })),
            "option 1: `jwks_uri` and `openIdConnectDiscoveryDocument`",
        ),
        // Its terms.
        (
            with(json!({"terms": []})),
            "option 1: `terms` is not an object",
        ),
        (
            with(json!({"terms": {"max_screens": 2}})),
            "option 1: `terms`: the member `max_screens`",
        ),
        (
            with(json!({"terms": {"lease_seconds": 0}})),
            "option 1: `terms`: `lease_seconds`",
        ),
        (
            with(json!({"terms": {"hdcp": "hidden"}})),
            "option 1: `terms`: `hdcp`",
        ),
        (
            with(json!({"terms": {"persist": true, "lease_seconds": 5}})),
            "option 1: `terms`: `lease_seconds`",
        ),
        (
            open(json!({"terms": {"max_uses": 5}})),
            "option 1: `max_uses` counts tokens",
        ),
        // Its DRM systems.
        (with(json!({"drm": []})), "option 1: `drm` is not an object"),
        (
            with(json!({"drm": {"hidden": {}}})),
            "option 1: `drm` names a system",
        ),
        (
            with(json!({"drm": {"widevine": {"widevineTemplate": "hidden"}}})),
            "option 1: `drm.widevine`: `widevineTemplate`",
        ),
        (
            with(json!({"drm": {"clearkey": "hidden"}})),
            "option 1: `drm.clearkey`: it is not an object",
        ),
        (
            with(json!({"drm": {"fairplay": 5}})),
            "option 1: `drm.fairplay`",
        ),
        (
            with(json!({"drm": {"fairplay": {"hidden": 5}}})),
            "option 1: `drm.fairplay`",
        ),
        (
            with(json!({"drm": {"fairplay": {"rentalAndLeaseKeyType": "hidden"}}})),
            "option 1: `drm.fairplay`: `rentalAndLeaseKeyType` is none of",
        ),
        (
            with(json!({"drm": {"fairplay": {
                "rentalAndLeaseKeyType": "PersistentLimited", "rentalDuration": 4_294_967_296_u64,
            }}})),
            "option 1: `drm.fairplay`: `rentalDuration`",
        ),
        (
            with(json!({"drm": {"fairplay": {"rentalDuration": -1}}})),
            "option 1: `drm.fairplay`",
        ),
        (
            with(json!({"drm": {"fairplay": {"offlineRentalConfiguration": {"hidden": 1}}}})),
            "option 1: `drm.fairplay`",
        ),
        (
            with(json!({
                "drm": {"fairplay": {"rentalAndLeaseKeyType": "PersistentUnlimited"}},
                "terms": {"persist": true, "rental_seconds": 5},
            })),
            "option 1: `terms`: `rental_seconds`",
        ),
        // Its back end.
        (
            callback(json!({"url": "http://hidden.example/"})),
            "option 1: `callback.url`",
        ),
        (
            callback(json!({"url": "hidden"})),
            "option 1: `callback.url`",
        ),
        (
            callback(json!({"url": null})),
            "option 1: the member `url` is missing",
        ),
        (
            callback(json!({"secret": "hidden"})),
            "option 1: `callback.secret`",
        ),
        (
            callback(json!({"secret": null})),
            "option 1: the member `secret` is missing",
        ),
        (
            callback(json!({"timeout_seconds": 0})),
            "option 1: `callback` takes",
        ),
        (
            callback(json!({"timeout_seconds": 6})),
            "option 1: `callback` takes",
        ),
        (
            callback(json!({"timeout_seconds": "3"})),
            "option 1: a value is not a whole number",
        ),
        (
            callback(json!({"retries": 4})),
            "option 1: `callback` takes",
        ),
        (
            callback(json!({"retries": -1})),
            "option 1: a value is not a whole number",
        ),
        (
            callback(json!({"hidden": secret})),
            "option 1: a member is not known; there are `url`",
        ),
    ];
    for (options, expected) in cases {
        let found = problems(policies(&options));
        let expected = format!("setting_malformed policies: {expected}");
        assert_eq!(found.len(), 1, "{options} {found:?}");
        assert!(
            found[0].starts_with(&expected),
            "{options}\n{expected}\n{found:?}"
        );
        let lower = found[0].to_ascii_lowercase();
        assert!(
            !lower.contains("hidden") && !lower.contains("agllzgvu"),
            "{found:?}"
        );
    }
    for text in ["", "hidden", "[", "[{\"name\":\"hidden\""] {
        let found = problems(variables(&[("policies", text)]));
        if text.is_empty() {
            assert_eq!(found, Vec::<String>::new(), "empty equals unset");
        } else {
            assert!(
                found[0].starts_with("setting_malformed policies: "),
                "{found:?}"
            );
            assert!(!found[0].contains("hidden"), "{found:?}");
        }
    }
}

#[test]
fn every_option_that_is_wrong_is_named_at_once() {
    let found = problems(policies(&json!([
        option("a", json!({"terms": []})),
        option("b", json!({})),
        option("c", json!({"drm": []})),
    ])));
    assert_eq!(
        found,
        [
            "setting_malformed policies: option 1: `terms` is not an object",
            "setting_malformed policies: option 3: `drm` is not an object",
        ]
    );
}

#[test]
fn an_option_has_a_name_of_its_own() {
    for name in ["a", "default"] {
        let twice = json!([option(name, json!({"terms": {}})), option(name, json!({}))]);
        let found = problems(policies(&twice));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with("setting_collision policies: "),
            "{found:?}"
        );
    }
    let nameless = problems(policies(&json!([option("", json!({}))])));
    assert_eq!(nameless.len(), 1, "{nameless:?}");
    // A name that the option of the three variables has too.
    let mut broken = option("default", json!({}));
    broken["restriction"]["jwks"] = json!([{"kty": "RSA", "n": "AAAA", "e": "AQAB"}]);
    let found = problems(policies(&json!([broken])));
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with("setting_malformed policies: "),
        "{found:?}"
    );
}

#[test]
fn a_member_that_occurs_twice_is_refused_at_every_depth() {
    let good = option(
        "a",
        json!({
            "terms": {"tracks": {"hd": {"hdcp": "type1"}}},
            "drm": {"fairplay": {"rentalDuration": 5}},
            "callback": {
                "url": "https://back-end.example/",
                "secret": "what this server and the back end share",
            },
        }),
    );
    let mut good = good;
    good["restriction"]["requiredClaims"] = json!([{"claimType": "plan", "claimValue": "gold"}]);
    good["restriction"]["jwks"]["keys"][0]["use"] = "sig".into();
    let text = json!([good]).to_string();
    assert_eq!(
        problems(variables(&[("policies", &text)])),
        Vec::<String>::new()
    );
    for member in [
        r#""name":"a""#,
        r#""issuer":"*""#,
        r#""claimValue":"gold""#,
        r#""use":"sig""#,
        r#""kty":"OKP""#,
        r#""hdcp":"type1""#,
        r#""rentalDuration":5"#,
        r#""secret":"what this server and the back end share""#,
    ] {
        let twice = text.replacen(member, &format!("{member},{member}"), 1);
        assert_ne!(twice, text, "{member}");
        let found = problems(variables(&[("policies", &twice)]));
        assert_eq!(found.len(), 1, "{member}");
        assert!(
            found[0].starts_with("setting_malformed policies: a member occurs twice"),
            "{member} {found:?}"
        );
    }
}

#[test]
fn broken_policies_let_nobody_in() {
    let server = serve_beside(World::Wasip2, &variables(&[("policies", "[")]), &[]);
    for token in [None, Some(crate::support::token("hs256"))] {
        let result = licence(&server, token.as_deref(), &device("movie"));
        assert_eq!(code(result), "configuration_invalid");
    }
    let answer = post(&server, "/tokens", None, b"{}");
    assert_eq!(answer.status, 503);
    server.stop();
}
