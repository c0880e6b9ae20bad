//! Every secret is exchanged for another one without an outage: old and new instances serve side by side, and nothing
//! that was issued before breaks.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Request;
use keylet::content_key::seed;
use keylet::id::{Id, Kid};
use keylet_cli::jwt::Signer;
use serde_json::{Value, json};

use crate::sessions::{FIRST, OPERATOR, player, sessions, streams, token};
use crate::support::{fixture, variables_with};
use crate::upstream::{Deployment, claims, code, jwks, policies, signed, variables};
use crate::widevine;

const OLD: &str = "the secret that goes, long enough to be one";
const NEW: &str = "the secret that comes, long enough to be one";

/// An instance with another value of a variable, on the host of the others: their store, their clock, their network.
fn beside(deployment: &Deployment, variable: &str, value: &str) -> Deployment {
    let mut platform = deployment.platform.clone();
    platform
        .variables
        .insert(variable.to_owned(), value.to_owned());
    Deployment::on(platform)
}

/// The values of a variable while one secret is exchanged for another. The instances of two neighbours serve side by side.
fn steps<const N: usize>(values: [Value; N]) -> [String; N] {
    values.map(|value| value.to_string())
}

/// The values of `server_secret`: the first one signs, the last one makes pseudonyms, each verifies.
fn server_secrets() -> [String; 3] {
    let [all, both] = steps([json!([OLD, NEW, OLD]), json!([NEW, OLD])]);
    [OLD.to_owned(), all, both]
}

/// The answer to a request with a token of a session.
fn in_session(deployment: &Deployment, method: &str, path: &str, session: &str) -> (u16, Value) {
    let request = Request::builder().method(method).uri(path);
    let request = request.header("keylet-session", session);
    let reply = deployment.handle(request.body(Vec::new()).unwrap());
    let body = serde_json::from_slice(reply.body()).unwrap_or_default();
    (reply.status().as_u16(), body)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[test]
fn tokens_of_the_server_are_good_on_old_and_new_instances_while_its_secret_changes() {
    let first = Deployment::new(sessions(&[("server_secret", OLD)]));
    let wanted = json!({"entitlements": [{"keys": "*"}], "sub": "viewer-1"});
    let issued_before = first.minted(Some(OPERATOR), &wanted).unwrap();
    let instances = server_secrets().map(|value| beside(&first, "server_secret", &value));
    for side_by_side in instances.windows(2) {
        for maker in side_by_side {
            let minted = maker.minted(Some(OPERATOR), &wanted).unwrap();
            for instance in side_by_side {
                for token in [&issued_before, &minted] {
                    let licence = instance.licence(Some(token), &player(1, "movie", FIRST));
                    assert_eq!(code(licence), "ok");
                }
            }
        }
    }
    // What the last of them has issued is the new secret's, and the old one's can go once they have expired.
    let issued_after = instances[2].minted(Some(OPERATOR), &wanted).unwrap();
    let last = beside(&first, "server_secret", NEW);
    let play = |token: &str| code(last.licence(Some(token), &player(1, "movie", FIRST)));
    assert_eq!(play(&issued_after), "ok");
    assert_eq!(play(&issued_before), "token_signature");
}

#[test]
fn a_session_goes_on_and_viewers_keep_their_slots_and_names_while_the_secret_changes() {
    let first = Deployment::new(sessions(&[("server_secret", OLD)]));
    let token = token(&streams(1));
    let opened = first.post("/sessions", Some(&token), b"{}");
    let opened: Value = serde_json::from_slice(opened.body()).unwrap();
    let id = text(&opened["session_id"]);
    let mut session = text(&opened["session_token"]);
    let named = |deployment: &Deployment| {
        let [first, second] = [player(7, "movie", FIRST), player(8, "movie", FIRST)];
        // The one slot is taken, on whichever instance.
        assert_eq!(
            code(deployment.licence(Some(&token), &second)),
            "streams_exceeded"
        );
        let _ = deployment.licence(Some(&token), &first);
        let audit = deployment.audit();
        [audit["subject"].clone(), audit["device"]["id"].clone()].map(|name| text(&name))
    };
    let names = named(&first);
    let instances = server_secrets().map(|value| beside(&first, "server_secret", &value));
    for side_by_side in instances.windows(2) {
        for instance in side_by_side {
            // A session token of each goes on with the other one.
            let path = format!("/sessions/{id}/heartbeat");
            let (status, next) = in_session(instance, "POST", &path, &session);
            assert_eq!((status, text(&next["session_id"])), (200, id.clone()));
            session = text(&next["session_token"]);
            assert_eq!(named(instance), names);
            first.wait(60);
        }
    }
    let (status, _) = in_session(
        &instances[2],
        "DELETE",
        &format!("/sessions/{id}"),
        &session,
    );
    assert_eq!(status, 204);
    // Pseudonyms change when the old secret goes.
    let last = beside(&first, "server_secret", NEW);
    let _ = last.licence(Some(&token), &player(7, "movie", FIRST));
    assert_ne!(last.audit()["subject"], names[0]);
}

#[test]
fn a_licence_is_renewed_by_its_url_while_the_secret_changes() {
    let setting = widevine::setting(widevine::SERVICE);
    let first = widevine::deployment(&setting, &[("server_secret", OLD)]);
    let token = widevine::viewer(json!({"lease_seconds": 600}));
    let licence = |maker: &Deployment| {
        let challenge = widevine::challenge(&widevine::all_kids(), 1);
        assert_eq!(
            maker.post("/widevine", Some(&token), &challenge).status(),
            200
        );
        // The network is one, and the first instance has what was sent.
        widevine::renewal_path(&first)
    };
    let renew = |instance: &Deployment, path: &str| {
        let renewal = widevine::existing(b"request-1", 2);
        widevine::code(&instance.post(path, None, &renewal))
    };
    let issued_before = licence(&first);
    let instances = server_secrets().map(|value| beside(&first, "server_secret", &value));
    for side_by_side in instances.windows(2) {
        for maker in side_by_side {
            let path = licence(maker);
            for instance in side_by_side {
                assert_eq!(renew(instance, &path), "ok");
                assert_eq!(renew(instance, &issued_before), "ok");
            }
        }
    }
    let last = beside(&first, "server_secret", NEW);
    assert_eq!(renew(&last, &licence(&instances[2])), "ok");
    assert_eq!(renew(&last, &issued_before), "renewal_ticket");
}

/// Whether these are the operator's words.
fn operates(deployment: &Deployment, bearer: &str) -> u16 {
    let request = Request::get("/sessions?subject=viewer-1");
    let request = request.header("authorization", format!("Bearer {bearer}"));
    let reply = deployment.handle(request.body(Vec::new()).unwrap());
    reply.status().as_u16()
}

#[test]
fn operators_change_their_token_one_after_the_other() {
    let first = Deployment::new(sessions(&[("operator_token", OLD)]));
    let [both] = steps([json!([NEW, OLD])]);
    let both = beside(&first, "operator_token", &both);
    let last = beside(&first, "operator_token", NEW);
    for (instance, of_old, of_new) in [(&first, 200, 401), (&both, 200, 200), (&last, 401, 200)] {
        assert_eq!(operates(instance, OLD), of_old);
        assert_eq!(operates(instance, NEW), of_new);
        for wrong in [
            "",
            "[",
            &OLD[1..],
            &format!("{NEW}{OLD}"),
            &format!("[{NEW:?},{OLD:?}]"),
        ] {
            assert_eq!(operates(instance, wrong), 401, "{wrong}");
        }
    }
}

#[test]
fn a_list_of_secrets_that_is_wrong_is_named_by_its_entry() {
    let short = "a secret that is too short";
    let least = "it has fewer than 32 characters";
    for (value, expected) in [
        (
            json!([NEW, short]).to_string(),
            format!("setting_malformed operator_token: entry 2: {least}"),
        ),
        (
            "[]".to_owned(),
            "setting_malformed operator_token: it is an empty list".to_owned(),
        ),
        (
            format!("[{NEW}"),
            "setting_malformed operator_token: ".to_owned(),
        ),
        (
            json!([NEW, 1]).to_string(),
            "setting_malformed operator_token: ".to_owned(),
        ),
    ] {
        let problems = crate::settings::problems(variables_with(&[("operator_token", &value)]));
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with(&expected), "{problems:?}");
        assert!(
            !problems[0].contains(NEW) && !problems[0].contains(short),
            "{problems:?}"
        );
    }
    let list = json!([NEW, short]).to_string();
    let problems = crate::settings::problems(variables_with(&[("server_secret", &list)]));
    let expected =
        "setting_malformed server_secret: entry 2: it has 26 bytes, and at least 32 are needed";
    assert_eq!(problems, [expected]);
}

#[test]
fn viewers_with_tokens_of_an_old_and_a_new_key_play_while_the_issuer_changes() {
    let [old, new] = [Signer::EdDsa([1; 32]), Signer::EdDsa([2; 32])];
    let entitled = claims(json!({"entitlements": [{"keys": "*"}]}));
    let of_old = signed(&old, Some("old"), &entitled);
    let of_new = signed(&new, Some("new"), &entitled);
    let sets = [
        jwks(&[("old", &old)]),
        jwks(&[("new", &new), ("old", &old)]),
        jwks(&[("new", &new)]),
    ];
    let first = Deployment::new(variables(&[("token_keys", &sets[0].to_string())]));
    // In the variable, and in an option.
    let option = |set: &Value| json!([{"name": "viewers", "restriction": {"issuer": "*", "audience": "*", "jwks": set}}]);
    let with_options = Deployment::new(policies(&option(&sets[0])));
    let of_step = [
        ["ok", "token_key_unknown"],
        ["ok", "ok"],
        ["token_key_unknown", "ok"],
    ];
    for (set, expected) in sets.iter().zip(of_step) {
        for instance in [
            beside(&first, "token_keys", &set.to_string()),
            beside(&with_options, "policies", &option(set).to_string()),
        ] {
            let play =
                |token: &str| code(instance.licence(Some(token), &player(1, "movie", FIRST)));
            assert_eq!([play(&of_old), play(&of_new)], expected, "{set}");
        }
    }
}

/// The answer to an operator's request.
fn operator(deployment: &Deployment, path: &str, body: &Value) -> Value {
    let reply = deployment.post(path, Some(OPERATOR), body.to_string().as_bytes());
    assert_eq!(reply.status(), 200);
    serde_json::from_slice(reply.body()).unwrap()
}

#[test]
fn stored_keys_are_served_by_old_and_new_instances_until_they_are_encrypted_again() {
    let key = |kid: &str, byte: u8| json!({"kty": "oct", "kid": kid, "k": URL_SAFE_NO_PAD.encode([byte; 32])});
    let (old, new) = (key("old", 1), key("new", 2));
    let values = [
        json!({"keys": [old]}),
        json!({"keys": [old, new]}),
        json!({"keys": [new, old]}),
        json!({"keys": [new]}),
    ];
    let keys = jwks(&[("issuer", &Signer::EdDsa([1; 32]))]).to_string();
    let first = Deployment::new(variables_with(&[
        ("content_keys", ""),
        ("token_keys", &keys),
        ("operator_token", OPERATOR),
    ]));
    let instances = values.map(|value| beside(&first, "key_encryption_keys", &value.to_string()));
    let token = token(&json!({}));
    let play = |instance: &Deployment, id: &str| {
        code(instance.licence(Some(&token), &player(1, id, FIRST)))
    };
    let mut ids = Vec::new();
    for (step, side_by_side) in instances.windows(2).enumerate() {
        if step == 2 {
            let rotated = operator(&side_by_side[0], "/key-rotation", &json!({"ids": ids}));
            assert_eq!(
                rotated,
                json!({"encrypted": 3, "unchanged": 1, "refused": []})
            );
        }
        for maker in side_by_side {
            let id = format!("movie-{}", ids.len());
            let record = json!({"id": id, "key": "00".repeat(16), "iv": "24".repeat(16)});
            operator(maker, "/keys", &json!([record]));
            ids.push(id);
        }
        // What an instance has read, it remembers for a minute.
        first.wait(61);
        for instance in side_by_side {
            for id in &ids {
                assert_eq!(play(instance, id), "ok", "{id}");
            }
        }
    }
    first.wait(61);
    // Why the new key is everywhere before it encrypts, and the old one stays until nothing is left under it.
    assert_eq!(play(&instances[0], "movie-0"), "key_encryption_key_unknown");
}

#[test]
fn licences_for_the_old_and_the_new_certificate_are_given_while_players_change() {
    let both = variables_with(&[]);
    let credentials = [
        "fairplay_certificate",
        "fairplay_private_key",
        "fairplay_ask",
    ];
    let without = |names: &[&str]| {
        let changes: Vec<(&str, &str)> = names.iter().map(|name| (*name, "")).collect();
        Deployment::new(variables_with(&changes))
    };
    let steps = [
        (
            without(&["fairplay_credentials"]),
            ["ok", "spc_certificate_unknown"],
        ),
        (Deployment::new(both), ["ok", "ok"]),
        (without(&credentials), ["spc_certificate_unknown", "ok"]),
    ];
    let token = crate::support::token("hs256");
    for (deployment, expected) in steps {
        let play = |spc: &str| {
            let spc = fixture(&format!("spc/{spc}.bin"));
            widevine::code(&deployment.post("/fairplay", Some(&token), &spc))
        };
        assert_eq!([play("v1"), play("bundle-v1")], expected);
    }
}

#[test]
fn keys_of_kids_that_the_server_made_stay_when_the_seed_changes_and_those_of_packagers_need_a_record()
 {
    let of = |byte: u8| json!({"algorithm": "hkdf-sha256", "seed": hex::encode([byte; 32])});
    let values = [json!([of(1)]), json!([of(1), of(2)]), json!([of(2), of(1)])];
    let keys = jwks(&[("issuer", &Signer::EdDsa([1; 32]))]).to_string();
    let first = Deployment::new(variables_with(&[
        ("content_keys", ""),
        ("token_keys", &keys),
    ]));
    let instances = values
        .clone()
        .map(|value| beside(&first, "key_seed", &value.to_string()));
    let token = token(&json!({}));
    let key = |instance: &Deployment, kid: Kid| {
        let device = player(1, &kid.to_string(), FIRST);
        instance.licence(Some(&token), &device).unwrap().key
    };
    let content = Id::from_text("movie-42").unwrap();
    for (seeds, side_by_side) in values.windows(2).zip(instances.windows(2)) {
        for setting in seeds {
            let seeds =
                seed::read(&setting.to_string()).unwrap_or_else(|problems| panic!("{problems:?}"));
            // The first one makes KIDs.
            let kid = seeds[0].make_kid(&content, 0, None);
            for instance in side_by_side {
                assert_eq!(key(instance, kid), *seeds[0].key(kid).key.expose());
            }
        }
    }
    let of_packager = Kid::from_u128(0x339c_45b5_fb6d_4bd9_994c_eabd_9d41_c95b);
    let before = key(&instances[0], of_packager);
    assert_eq!(key(&instances[1], of_packager), before);
    assert_ne!(key(&instances[2], of_packager), before);
    let record = json!([{"id": of_packager.to_string(), "kid": of_packager.to_string(),
        "key": hex::encode(&before), "iv": "24".repeat(16)}]);
    let kept = beside(&instances[2], "content_keys", &record.to_string());
    assert_eq!(key(&kept, of_packager), before);
}
