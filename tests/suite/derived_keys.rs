//! Keys that are derived from a seed: by their KID alone, without a store and without another server.

use std::path::Path;
use std::process::Command;

use keylet::content_key::seed::{self, Seed};
use keylet::entitlement::Track;
use keylet::id::{Id, Kid};
use keylet_cli::device::SpcOptions;
use keylet_cli::jwt::Signer;
use keylet_host::{Provided, World};
use serde_json::{Value, json};

use crate::settings::problems;
use crate::support::{Native, WORLDS, fixture, variables_with};
use crate::upstream::{Deployment, claims, code, jwks, licence, serve_beside, signed};

const ISSUER: Signer = Signer::EdDsa([1; 32]);

/// The claim of Azure Media Services that names the requested key.
const KEY_IDENTIFIER: &str = "urn:microsoft:azure:mediaservices:contentkeyidentifier";

/// The KID of a packager that has no seed.
const FOREIGN: &str = "339c45b5-fb6d-4bd9-994c-eabd9d41c95b";

fn seed_of(byte: u8) -> Value {
    json!({"algorithm": "hkdf-sha256", "seed": hex::encode([byte; 32])})
}

fn seeds(setting: &Value) -> Vec<Seed> {
    seed::read(&setting.to_string()).unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// A deployment with seeds and without records.
fn with_seeds(setting: &Value) -> Provided {
    let policies = json!([{
        "name": "viewers",
        "restriction": {"issuer": "*", "audience": "*", "jwks": jwks(&[("issuer", &ISSUER)])},
    }]);
    variables_with(&[
        ("content_keys", ""),
        ("key_seed", &setting.to_string()),
        ("policies", &policies.to_string()),
    ])
}

fn token(entitlement: Value) -> String {
    let claims = claims(json!({"entitlements": [entitlement]}));
    signed(&ISSUER, Some("issuer"), &claims)
}

fn kid(seed: &Seed, content: &str, track: Option<Track>) -> Kid {
    seed.make_kid(&Id::from_text(content).unwrap(), 0, track)
}

fn device(kid: Kid) -> SpcOptions {
    SpcOptions::new(format!("skd://{kid}")).playing(0xf4de_e5a2)
}

#[test]
fn a_token_reaches_the_keys_of_its_content_by_track_in_every_world() {
    let setting = seed_of(1);
    let seed = &seeds(&setting)[0];
    let token = token(json!({
        "keys": ["movie-42"],
        "tracks": {"hd": {"lease_seconds": 60}, "uhd": false},
    }));
    for world in WORLDS {
        let server = serve_beside(world, &with_seeds(&setting), &[]);
        let ask = |kid| licence(&server, Some(&token), &device(kid));
        for track in [None, Some(Track::Audio), Some(Track::Sd)] {
            let kid = kid(seed, "movie-42", track);
            let licence = ask(kid).unwrap();
            assert_eq!(
                licence.key,
                seed.key(kid).key.expose(),
                "{world:?} {track:?}"
            );
            assert_eq!(
                (licence.iv.as_slice(), licence.duration),
                (kid.as_bytes().as_slice(), None)
            );
        }
        let hd = ask(kid(seed, "skd://movie-42", Some(Track::Hd))).unwrap();
        assert!(hd.duration.is_some(), "{world:?}");
        let uhd = code(ask(kid(seed, "movie-42", Some(Track::Uhd))));
        assert_eq!(uhd, "track_not_allowed", "{world:?}");
        let other = code(ask(kid(seed, "movie-43", None)));
        assert_eq!(other, "not_entitled", "{world:?}");
        let by_name = code(licence(
            &server,
            Some(&token),
            &SpcOptions::new("skd://movie-42"),
        ));
        assert_eq!(by_name, "key_not_found", "{world:?}");
    }
}

#[test]
fn a_derived_key_needs_neither_a_store_nor_another_server() {
    let setting = seed_of(1);
    let deployment = Deployment::on(Native::with_broken_store(with_seeds(&setting)));
    let kid = kid(&seeds(&setting)[0], "movie-42", None);
    let token = token(json!({"keys": ["movie-42"]}));
    // A device with Media Source Extensions sends the bytes.
    for options in [device(kid), SpcOptions::new(kid.as_bytes().as_slice())] {
        assert_eq!(code(deployment.licence(Some(&token), &options)), "ok");
        let audit = deployment.audit();
        let [digits, _] = Id::from_kid(kid);
        assert_eq!(audit["key"], digits.to_string());
    }
    assert_eq!(deployment.count(), 0);
}

#[test]
fn a_kid_of_a_packager_is_reached_by_the_kid_alone() {
    let setting = json!([seed_of(1), seed_of(2)]);
    let foreign = Kid::from_text(FOREIGN).unwrap();
    let deployment = Deployment::new(with_seeds(&setting));
    let of = |keys: Value, deployment: &Deployment| {
        deployment.licence(Some(&token(json!({"keys": keys}))), &device(foreign))
    };
    let found = of(json!([FOREIGN]), &deployment).unwrap();
    assert_eq!(found.key, seeds(&setting)[0].key(foreign).key.expose());
    assert_eq!(code(of(json!(["movie-42"]), &deployment)), "not_entitled");
    // With another seed in front it has another key.
    let turned = json!([seed_of(2), seed_of(1)]);
    let deployment = Deployment::new(with_seeds(&turned));
    let turned = of(json!("*"), &deployment).unwrap();
    assert_eq!(turned.key, seeds(&setting)[1].key(foreign).key.expose());
    assert_ne!(turned.key, found.key);
}

#[test]
fn each_of_two_seeds_derives_the_keys_of_the_kids_that_it_made() {
    let both = json!([seed_of(2), seed_of(1)]);
    let deployment = Deployment::new(with_seeds(&both));
    let token = token(json!({"keys": ["movie-42"]}));
    for seed in &seeds(&both) {
        let kid = kid(seed, "movie-42", Some(Track::Hd));
        let licence = deployment.licence(Some(&token), &device(kid)).unwrap();
        assert_eq!(licence.key, seed.key(kid).key.expose());
    }
    // Without the seed the KID is one that nobody made here: it says nothing of the content.
    let deployment = Deployment::new(with_seeds(&seed_of(2)));
    let kid = kid(&seeds(&both)[1], "movie-42", None);
    let found = deployment.licence(Some(&token), &device(kid));
    assert_eq!(code(found), "not_entitled");
}

#[test]
fn a_record_for_the_kid_wins() {
    let setting = seed_of(1);
    let kid = kid(&seeds(&setting)[0], "movie-42", None);
    let mut variables = with_seeds(&setting);
    let own = "0f0e0d0c0b0a09080706050403020100";
    let records = json!([{"id": "own", "kid": kid.to_string(), "key": own, "iv": own}]);
    variables.insert("content_keys".to_owned(), records.to_string());
    let deployment = Deployment::new(variables);
    let ask = |keys: &str| {
        let token = token(json!({"keys": [keys]}));
        deployment.licence(Some(&token), &device(kid))
    };
    assert_eq!(hex::encode(ask("own").unwrap().key), own);
    // The record has its own names.
    assert_eq!(code(ask("movie-42")), "not_entitled");
}

#[test]
fn a_policy_that_asks_for_the_requested_key_takes_the_content() {
    let setting = seed_of(1);
    let mut variables = with_seeds(&setting);
    let policies = json!([{
        "name": "viewers",
        "restriction": {
            "issuer": "*", "audience": "*", "jwks": jwks(&[("issuer", &ISSUER)]),
            "requiredClaims": [{"claimType": KEY_IDENTIFIER}],
        },
        "terms": {},
    }]);
    variables.insert("policies".to_owned(), policies.to_string());
    let deployment = Deployment::new(variables);
    let kid = kid(&seeds(&setting)[0], "movie-42", None);
    let ask = |content: &str| {
        let token = signed(
            &ISSUER,
            Some("issuer"),
            &claims(json!({KEY_IDENTIFIER: content})),
        );
        code(deployment.licence(Some(&token), &device(kid)))
    };
    assert_eq!(ask("movie-42"), "ok");
    assert_eq!(ask("movie-43"), "not_entitled");
}

#[test]
fn a_setting_that_is_wrong_is_named_and_refuses_what_needs_it() {
    assert_eq!(problems(with_seeds(&seed_of(1))), Vec::<String>::new());
    let short = json!([seed_of(1), {"algorithm": "playready", "seed": "c2VjcmV0"}]);
    let found = problems(with_seeds(&short));
    assert_eq!(
        found,
        ["setting_malformed key_seed: seed 2: `seed`: it is not 30 bytes or more in base64"]
    );
    let none = problems(variables_with(&[("content_keys", "")]));
    assert!(none.concat().contains("`key_seed`"), "{none:?}");

    // Keys of records are not concerned.
    let record = json!([{"id": "movie", "key": hex::encode([7; 16]), "iv": hex::encode([8; 16])}]);
    let mut variables = with_seeds(&short);
    variables.insert("content_keys".to_owned(), record.to_string());
    let server = serve_beside(World::Wasip2, &variables, &[]);
    let token = token(json!({"keys": "*"}));
    let ask = |asset: &str| code(licence(&server, Some(&token), &SpcOptions::new(asset)));
    assert_eq!(ask("skd://movie"), "ok");
    assert_eq!(ask(FOREIGN), "configuration_invalid");
}

#[test]
fn the_vectors_are_those_that_the_other_implementation_writes_today() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("keys/derived.py");
    let made = Command::new("python3").arg(script).output();
    let made = made.ok().filter(|made| made.status.success());
    let Some(made) = made else {
        keylet_e2e::skip(
            "python",
            "derived keys",
            "python3 with cryptography is needed",
        );
        return;
    };
    let (made, committed) = (made.stdout, fixture("keys/derived.json"));
    assert!(made == committed, "fixtures/keys/derived.json is another");
}
