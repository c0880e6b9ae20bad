//! Keys that an issuer publishes: by URL, and by way of `OpenID` discovery.

use std::rc::Rc;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::Request;
use keylet_cli::device::SpcOptions;
use keylet_cli::jwt::Signer;
use keylet_host::{Provided, Server, World};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use rsa::PrivateKey as RsaPrivateKey;
use rsa::pkcs8::{DecodePrivateKey, EncodePublicKey, LineEnding};
use serde_json::{Value, json};

use crate::settings::problems;
use crate::support::{Native, WORLDS, fixture};
use crate::upstream::{
    Deployment, Refusal, Reply, SPINS, Upstream, claims, code, entitled, jwks, licence, policies,
    serve_beside, signed, variables,
};

const OLD: Signer = Signer::EdDsa([1; 32]);
const NEW: Signer = Signer::EdDsa([2; 32]);
const STRANGER: Signer = Signer::EdDsa([3; 32]);

/// Where the issuer of the tests in this process publishes its keys.
const URL: &str = "https://issuer.example/keys";

const DAY: u64 = 24 * 60 * 60;

fn old() -> String {
    signed(&OLD, Some("old"), &entitled())
}

fn new() -> String {
    signed(&NEW, Some("new"), &entitled())
}

fn movie() -> SpcOptions {
    SpcOptions::new("skd://movie")
}

fn rsa_key() -> RsaPrivateKey {
    let pem = String::from_utf8(fixture("credentials/sdk26-2048.pem")).unwrap();
    RsaPrivateKey::from_pkcs8_pem(&pem).unwrap()
}

/// An issuer that publishes one key.
fn issuer() -> Upstream {
    Upstream::start(|_| Reply::json(&jwks(&[("old", &OLD)])))
}

fn keys_at(url: &str) -> Provided {
    variables(&[("token_keys", url)])
}

/// A server that may ask an issuer for its keys.
fn serve(world: World, issuer: &Upstream) -> Server {
    serve_beside(world, &keys_at(&issuer.url("/keys")), &[issuer.origin()])
}

fn unavailable() -> Result<(), Refusal> {
    Err(Refusal {
        status: 503,
        code: "token_keys_unavailable".to_owned(),
        detail: Some("the issuer's keys are not available at present".to_owned()),
    })
}

#[test]
fn keys_are_fetched_once_for_all_instances() {
    for world in SPINS {
        let issuer = issuer();
        let server = serve(world, &issuer);
        for _ in 0..20 {
            licence(&server, Some(&old()), &movie()).unwrap();
        }
        let requests = issuer.take();
        assert_eq!(requests.len(), 1, "{world:?}");
        assert_eq!(
            (requests[0].method().as_str(), requests[0].uri().path()),
            ("GET", "/keys")
        );
        server.stop();
    }
}

#[test]
fn discovery_leads_to_the_keys() {
    let issuer = Upstream::start(|request| {
        let host = request.headers()["host"].to_str().unwrap();
        match request.uri().path() {
            "/tenant/.well-known/openid-configuration" => Reply::json(&json!({
                "issuer": "https://issuer.example",
                "jwks_uri": format!("http://{host}/tenant/keys"),
                "response_types_supported": ["code"],
            })),
            "/tenant/keys" => Reply::json(&jwks(&[("old", &OLD)])),
            _ => Reply::status(404),
        }
    });
    let document = issuer.url("/tenant/.well-known/openid-configuration");
    let option = json!([{
        "name": "subscribers",
        "restriction": {
            "issuer": "https://issuer.example",
            "audience": "keylet",
            "openIdConnectDiscoveryDocument": document,
        },
    }]);
    for world in SPINS {
        for variables in [keys_at(&document), policies(&option)] {
            let server = serve_beside(world, &variables, &[issuer.origin()]);
            for _ in 0..3 {
                licence(&server, Some(&old()), &movie()).unwrap();
            }
            assert_eq!(issuer.take().len(), 2, "{world:?}");
            server.stop();
        }
    }
}

#[test]
fn a_host_without_a_store_fetches_the_keys_for_each_request() {
    let issuer = issuer();
    let server = serve(World::Wasi, &issuer);
    for _ in 0..3 {
        licence(&server, Some(&old()), &movie()).unwrap();
    }
    assert_eq!(issuer.count(), 3);
    server.stop();
}

#[test]
fn a_key_is_accepted_as_soon_as_it_is_published_however_many_viewers_come_with_it() {
    const VIEWERS: usize = 64;
    for world in SPINS {
        for delay in [0, 300] {
            let issuer = issuer();
            let server = serve(world, &issuer);
            licence(&server, Some(&old()), &movie()).unwrap();
            issuer.answer(move |_| {
                std::thread::sleep(Duration::from_millis(delay));
                Reply::json(&jwks(&[("old", &OLD), ("new", &NEW)]))
            });
            let (granted, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let start = Barrier::new(VIEWERS);
            std::thread::scope(|scope| {
                for _ in 0..VIEWERS {
                    scope.spawn(|| {
                        start.wait();
                        match licence(&server, Some(&new()), &movie()) {
                            Ok(_) => granted.fetch_add(1, Ordering::Relaxed),
                            Err(_) => refused.fetch_add(1, Ordering::Relaxed),
                        }
                    });
                }
            });
            assert_eq!(
                (granted.into_inner(), refused.into_inner()),
                (VIEWERS, 0),
                "{world:?} {delay}"
            );
            // Those that come after them find it in the store.
            let asked = issuer.count();
            licence(&server, Some(&new()), &movie()).unwrap();
            licence(&server, Some(&old()), &movie()).unwrap();
            assert_eq!(issuer.count(), asked);
            server.stop();
        }
    }
}

#[test]
fn key_ids_that_nobody_knows_are_asked_about_once() {
    for world in SPINS {
        let issuer = issuer();
        let server = serve(world, &issuer);
        for number in 0..20 {
            let token = signed(&STRANGER, Some(&format!("garbage-{number}")), &entitled());
            let refusal = licence(&server, Some(&token), &movie()).unwrap_err();
            assert_eq!(
                (refusal.status, refusal.code.as_str()),
                (401, "token_key_unknown")
            );
        }
        assert!(issuer.count() <= 2, "{world:?} {}", issuer.count());
        licence(&server, Some(&old()), &movie()).unwrap();
        server.stop();
    }
}

#[test]
fn an_issuer_that_hangs_costs_some_seconds_once_and_then_nothing_for_a_while() {
    let issuer = Upstream::start(|request| match request.uri().path() {
        "/silent" => Reply::Silence,
        _ => Reply::Trickle,
    });
    let servers: Vec<(World, &str, Server)> = WORLDS
        .into_iter()
        .flat_map(|world| ["/silent", "/trickle"].map(|path| (world, path)))
        .map(|(world, path)| {
            let variables = keys_at(&issuer.url(path));
            let server = serve_beside(world, &variables, &[issuer.origin()]);
            (world, path, server)
        })
        .collect();
    std::thread::scope(|scope| {
        for (world, path, server) in &servers {
            let ask = move || {
                let started = Instant::now();
                let answer = licence(server, Some(&old()), &movie()).map(drop);
                assert_eq!(answer, unavailable(), "{world:?} {path}");
                started.elapsed()
            };
            scope.spawn(move || {
                let first = ask();
                assert!(first < Duration::from_secs(8), "{world:?} {path} {first:?}");
                // Without a store no instance knows that it hangs.
                if world.is_spin() {
                    for _ in 0..3 {
                        let next = ask();
                        assert!(next < Duration::from_secs(1), "{world:?} {path} {next:?}");
                    }
                }
            });
        }
    });
    for (.., server) in servers {
        server.stop();
    }
}

#[test]
fn what_is_no_key_set_is_none() {
    let issuer = Upstream::start(|request| {
        let host = request.headers()["host"].to_str().unwrap();
        let discovery = |jwks_uri: &str| Reply::json(&json!({"jwks_uri": jwks_uri}));
        let good = jwks(&[("old", &OLD)]);
        match request.uri().path() {
            "/garbage" => Reply::text("\u{0}\u{1}\u{2}"),
            "/not-http" => Reply::Bytes(b"this is not HTTP at all\r\n\r\n".to_vec()),
            "/html" => Reply::text("<!doctype html><title>Sign in</title>"),
            "/cut-short" => Reply::text(&good.to_string()[..40]),
            "/broken-off" => Reply::Bytes(
                format!("HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n{good}").into_bytes(),
            ),
            "/large" => {
                let mut large = good;
                large["padding"] = "x".repeat(10_000_000).into();
                Reply::json(&large)
            }
            "/empty" => Reply::json(&json!({"keys": []})),
            "/nothing" => Reply::text(""),
            "/no-content" => Reply::status(204),
            "/forbidden" => Reply::status(403),
            "/gone" => Reply::status(404),
            "/broken" => Reply::status(500),
            "/moved" => Reply::status(302).with("location", "/good"),
            "/symmetric" => Reply::json(&jwks(&[("old", &Signer::Hs256(vec![7; 32]))])),
            "/.well-known/a" => discovery("http://issuer.example/good"),
            "/.well-known/b" => discovery("http://127.0.0.1.issuer.example/good"),
            "/.well-known/c" => discovery("ftp://127.0.0.1/good"),
            "/.well-known/d" => discovery("/good"),
            "/.well-known/e" => Reply::json(&json!({"jwks_uri": [format!("http://{host}/good")]})),
            "/.well-known/f" => discovery(&format!("http://{host}/broken")),
            "/.well-known/g" => discovery(&format!("http://{host}/moved")),
            "/good" => Reply::json(&good),
            path => panic!("nobody asks for {path}"),
        }
    });
    let server = serve_beside(
        World::Wasip2,
        &keys_at(&issuer.url("/good")),
        &[issuer.origin()],
    );
    licence(&server, Some(&old()), &movie()).unwrap();
    issuer.take();
    for (path, requests) in [
        ("/garbage", 1),
        ("/not-http", 1),
        ("/html", 1),
        ("/cut-short", 1),
        ("/broken-off", 1),
        ("/large", 1),
        ("/empty", 1),
        ("/nothing", 1),
        ("/no-content", 1),
        ("/forbidden", 1),
        ("/gone", 1),
        ("/broken", 1),
        ("/moved", 1),
        ("/symmetric", 1),
        ("/.well-known/a", 1),
        ("/.well-known/b", 1),
        ("/.well-known/c", 1),
        ("/.well-known/d", 1),
        ("/.well-known/e", 1),
        ("/.well-known/f", 2),
        ("/.well-known/g", 2),
    ] {
        server.set_variables(&keys_at(&issuer.url(path))).unwrap();
        // A secret is not published: its token makes the issuer answer nothing.
        let hs256 = signed(&Signer::Hs256(vec![7; 32]), Some("old"), &entitled());
        let answer = licence(&server, Some(&hs256), &movie()).map(drop);
        assert_eq!(code(answer), "token_key_unknown", "{path}");
        let answer = licence(&server, Some(&old()), &movie()).map(drop);
        assert_eq!(answer, unavailable(), "{path}");
        assert_eq!(issuer.take().len(), requests, "{path}");
    }
    server.stop();
}

#[test]
fn an_issuer_that_the_manifest_does_not_name_is_not_asked() {
    let (issuer, other) = (issuer(), issuer());
    for world in SPINS {
        for origins in [vec![], vec![other.origin()]] {
            let server = serve_beside(world, &keys_at(&issuer.url("/keys")), &origins);
            let answer = licence(&server, Some(&old()), &movie()).map(drop);
            assert_eq!(answer, unavailable());
            server.stop();
        }
    }
    assert_eq!((issuer.count(), other.count()), (0, 0));
}

/// A deployment in this process whose issuer answers this.
fn natively(answer: impl Fn(&Request<Vec<u8>>) -> Reply + 'static) -> Deployment {
    let deployment = Deployment::new(keys_at(URL));
    deployment.answer(answer);
    deployment
}

fn ask(deployment: &Deployment, token: &str) -> String {
    code(deployment.licence(Some(token), &movie()))
}

#[test]
fn keys_are_good_for_as_long_as_their_issuer_says_within_bounds() {
    for (cache_control, life) in [
        (None, 300),
        (Some("no-store"), 300),
        (Some("max-age=0"), 300),
        (Some("max-age=299"), 300),
        (Some("max-age=301"), 301),
        (Some("public, max-age=3600, must-revalidate"), 3600),
        (Some("public,MAX-AGE=3600"), 3600),
        (Some("max-age=\"3600\""), 3600),
        (Some("max-age=86400"), DAY),
        (Some("max-age=86401"), DAY),
        (Some("max-age=99999999999"), DAY),
        (Some("max-age=99999999999999999999999999"), DAY),
        (Some("max-age=-1"), 300),
        (Some("max-age=soon"), 300),
        (Some("s-maxage=3600"), 300),
    ] {
        let mut deployment = natively(move |_| {
            let reply = Reply::json(&jwks(&[("old", &OLD)]));
            match cache_control {
                Some(value) => reply.with("cache-control", value),
                None => reply,
            }
        });
        for (wait, requests) in [(0, 1), (life - 1, 1), (1, 2), (life - 1, 2), (1, 3)] {
            deployment.wait(wait);
            deployment.next_instance();
            assert_eq!(ask(&deployment, &old()), "ok");
            assert_eq!(deployment.count(), requests, "{cache_control:?} {wait}");
        }
    }
}

#[test]
fn a_key_that_is_published_now_is_accepted_now_and_one_that_is_withdrawn_is_not() {
    let mut deployment = natively(|_| Reply::json(&jwks(&[("old", &OLD)])));
    assert_eq!(ask(&deployment, &old()), "ok");
    deployment.wait(1);
    deployment.next_instance();
    deployment.answer(|_| Reply::json(&jwks(&[("old", &OLD), ("new", &NEW)])));
    assert_eq!(ask(&deployment, &new()), "ok");
    assert_eq!(ask(&deployment, &old()), "ok");
    assert_eq!(deployment.take().len(), 2);

    deployment.answer(|_| Reply::json(&jwks(&[("new", &NEW)])));
    deployment.wait(299);
    assert_eq!(ask(&deployment, &old()), "ok");
    deployment.wait(1);
    assert_eq!(ask(&deployment, &old()), "token_key_unknown");
    assert_eq!(ask(&deployment, &new()), "ok");
}

#[test]
fn key_ids_that_nobody_knows_are_asked_about_once_a_minute() {
    let mut deployment =
        natively(|_| Reply::json(&jwks(&[("old", &OLD)])).with("cache-control", "max-age=86400"));
    assert_eq!(ask(&deployment, &old()), "ok");
    deployment.take();
    for minute in 0..5 {
        for second in 0..60 {
            let token = signed(
                &STRANGER,
                Some(&format!("garbage-{minute}-{second}")),
                &entitled(),
            );
            assert_eq!(ask(&deployment, &token), "token_key_unknown");
            assert_eq!(deployment.count(), minute + 1);
            deployment.wait(1);
            deployment.next_instance();
        }
        assert_eq!(ask(&deployment, &old()), "ok");
    }
}

#[test]
fn only_a_key_id_that_nobody_knows_is_a_reason_to_ask_again() {
    let deployment = natively(|_| Reply::json(&jwks(&[("old", &OLD)])));
    assert_eq!(ask(&deployment, &old()), "ok");
    for (token, expected) in [
        (
            signed(&STRANGER, Some("old"), &entitled()),
            "token_signature",
        ),
        (signed(&STRANGER, None, &entitled()), "token_signature"),
        (
            signed(&OLD, Some("old"), &claims(json!({"exp": 1}))),
            "token_expired",
        ),
        (
            signed(&OLD, Some("old"), &claims(json!({"iss": "another"}))),
            "token_issuer",
        ),
        ("e30.e30.AAAA".to_owned(), "token_malformed"),
        (
            // {"alg":"none"}
            "eyJhbGciOiJub25lIn0.e30.".to_owned(),
            "token_algorithm",
        ),
    ] {
        assert_eq!(ask(&deployment, &token), expected);
    }
    assert_eq!(deployment.count(), 1);
}

#[test]
fn a_request_without_a_token_asks_no_issuer() {
    let deployment = Deployment::new(keys_at(URL));
    assert_eq!(code(deployment.licence(None, &movie())), "token_missing");
    assert_eq!(ask(&deployment, "no token"), "token_malformed");
}

#[test]
fn the_last_keys_of_an_issuer_that_is_down_go_on_for_a_day() {
    let mut deployment = natively(|_| Reply::json(&jwks(&[("old", &OLD)])));
    assert_eq!(ask(&deployment, &old()), "ok");
    deployment.take();
    for failure in [500, 0, 302] {
        deployment.answer(move |_| match failure {
            0 => Reply::Silence,
            status => Reply::status(status),
        });
        // It is asked again once a minute.
        deployment.wait(if failure == 500 { 300 } else { 0 });
        for minute in 0..3 {
            for _ in 0..6 {
                deployment.next_instance();
                assert_eq!(ask(&deployment, &old()), "ok");
                assert_eq!(deployment.count(), minute + 1, "{failure}");
                deployment.wait(10);
            }
        }
        deployment.take();
    }
    // An unknown key id causes no more requests than that.
    let token = signed(&STRANGER, Some("garbage"), &entitled());
    for _ in 0..6 {
        deployment.next_instance();
        assert_eq!(ask(&deployment, &token), "token_key_unknown");
        deployment.wait(9);
    }
    assert!(deployment.take().len() <= 2);

    let passed = 9 * 60 + 54;
    deployment.wait(DAY - passed - 1);
    deployment.next_instance();
    assert_eq!(ask(&deployment, &old()), "ok");
    deployment.wait(1);
    deployment.next_instance();
    let answer = deployment.licence(Some(&old()), &movie()).map(drop);
    assert_eq!(answer, unavailable());

    deployment.answer(|_| Reply::json(&jwks(&[("old", &OLD)])));
    deployment.wait(60);
    deployment.next_instance();
    assert_eq!(ask(&deployment, &old()), "ok");
}

#[test]
fn an_issuer_that_never_answered_is_asked_again_after_some_seconds() {
    let mut deployment = natively(|_| Reply::status(500));
    for attempt in 1..=4 {
        for _ in 0..5 {
            deployment.next_instance();
            assert_eq!(ask(&deployment, &old()), "token_keys_unavailable");
            assert_eq!(deployment.count(), attempt);
            deployment.wait(1);
        }
    }
    deployment.answer(|_| Reply::json(&jwks(&[("old", &OLD)])));
    deployment.next_instance();
    assert_eq!(ask(&deployment, &old()), "ok");
}

#[test]
fn the_time_that_an_issuer_takes_to_fail_does_not_shorten_the_pause() {
    let mut deployment = Deployment::new(keys_at(URL));
    let clock = Rc::clone(&deployment.platform.now);
    deployment.answer(move |_| {
        clock.set(clock.get() + 5);
        Reply::Silence
    });
    for _ in 0..5 {
        assert_eq!(ask(&deployment, &old()), "token_keys_unavailable");
        assert_eq!(deployment.count(), 1);
        deployment.next_instance();
    }
}

#[test]
fn an_issuer_that_fails_for_one_instance_takes_nothing_from_the_others() {
    let lucky = natively(|_| Reply::json(&jwks(&[("old", &OLD), ("new", &NEW)])));
    lucky.wait(2);
    assert_eq!(ask(&lucky, &new()), "ok");
    let entries = lucky.platform.store.borrow().clone().unwrap();
    for first in [200, 500] {
        let mut deployment = natively(move |_| match first {
            200 => Reply::json(&jwks(&[("old", &OLD)])),
            status => Reply::status(status),
        });
        ask(&deployment, &old());
        deployment.take();
        deployment.wait(6);
        deployment.next_instance();
        // While it waits for an answer that does not come, the other one stores the keys.
        let (store, entries) = (Rc::clone(&deployment.platform.store), entries.clone());
        let clock = Rc::clone(&deployment.platform.now);
        deployment.answer(move |_| {
            clock.set(clock.get() + 5);
            let mut store = store.borrow_mut();
            let store = store.as_mut().unwrap();
            for (key, value) in &entries {
                if key.starts_with("jwks/") {
                    store.insert(key.clone(), value.clone());
                }
            }
            Reply::Silence
        });
        ask(&deployment, &new());
        deployment.next_instance();
        for token in [old(), new()] {
            assert_eq!(ask(&deployment, &token), "ok", "{first}");
        }
        assert_eq!(deployment.count(), 1);
    }
}

#[test]
fn what_anybody_can_read_is_no_secret() {
    let secret = Signer::Hs256(vec![7; 32]);
    let rsa = Signer::Rs256(rsa_key());
    let published = jwks(&[("symmetric", &secret), ("old", &OLD), ("rsa", &rsa)]);
    let deployment = natively(move |_| Reply::json(&published));
    assert_eq!(
        ask(&deployment, &signed(&rsa, Some("rsa"), &entitled())),
        "ok"
    );
    assert_eq!(ask(&deployment, &old()), "ok");
    for kid in [Some("symmetric"), None, Some("rsa"), Some("old")] {
        assert_eq!(
            ask(&deployment, &signed(&secret, kid, &entitled())),
            "token_key_unknown"
        );
    }
    // An attacker takes the public key for the secret of an HMAC, in each of its forms.
    let public = rsa_key().to_public_key();
    let modulus = rsa.jwk("rsa").unwrap()["n"].as_str().unwrap().to_owned();
    for secret in [
        public
            .to_public_key_pem(LineEnding::LF)
            .unwrap()
            .into_bytes(),
        public.to_public_key_der().unwrap().as_bytes().to_vec(),
        modulus.clone().into_bytes(),
        keylet::encoding::base64(&modulus).unwrap().to_vec(),
    ] {
        let token = signed(&Signer::Hs256(secret), Some("rsa"), &entitled());
        assert_eq!(ask(&deployment, &token), "token_key_unknown");
    }
    // A key is for one algorithm.
    let other = signed(&Signer::Ps256(rsa_key()), Some("rsa"), &entitled());
    assert_eq!(ask(&deployment, &other), "token_key_unknown");
}

#[test]
fn keys_that_are_not_read_do_not_hide_those_that_are() {
    let weak = "x".repeat(171);
    let mut encrypting = NEW.jwk("new").unwrap();
    encrypting["use"] = "enc".into();
    let mut several = jwks(&[("old", &OLD)]);
    several["more"] = json!({"of": "this"});
    several["keys"].as_array_mut().unwrap().splice(
        0..0,
        [
            json!(5),
            json!("old"),
            json!({}),
            json!({"kty": "oct", "k": "AAAA", "kid": "old"}),
            json!({"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA", "kid": "p384", "alg": "ES384"}),
            json!({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "no-point"}),
            json!({"kty": "OKP", "crv": "X25519", "x": "AA", "kid": "x25519"}),
            json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA", "kid": "ml-dsa"}),
            json!({"kty": "RSA", "alg": "RSA-OAEP", "n": weak, "e": "AQAB", "kid": "oaep"}),
            json!({"kty": "RSA", "n": weak, "e": "AQAB", "kid": "weak"}),
            json!({"kty": "RSA", "kid": "empty"}),
            json!({"kty": "OKP", "crv": "Ed25519", "x": "AA", "kid": "short"}),
            json!({"kty": "OKP", "crv": "Ed25519", "x": "AA"}),
            encrypting,
        ],
    );
    let deployment = natively(move |_| Reply::json(&several));
    assert_eq!(ask(&deployment, &old()), "ok");
    assert_eq!(ask(&deployment, &signed(&OLD, None, &entitled())), "ok");
    // What does not verify is the token's fault, and not that of a key beside.
    assert_eq!(
        ask(&deployment, &signed(&STRANGER, None, &entitled())),
        "token_signature"
    );
    let rsa = Signer::Rs256(rsa_key());
    for (signer, kid) in [
        (&NEW, "new"),
        (&NEW, "short"),
        (&rsa, "weak"),
        (&rsa, "empty"),
    ] {
        assert_eq!(
            ask(&deployment, &signed(signer, Some(kid), &entitled())),
            "token_key_unknown",
            "{kid}"
        );
    }
}

#[test]
fn a_store_that_fails_or_holds_nonsense_costs_no_more_than_a_request() {
    let deployment = Deployment::on(Native::with_broken_store(keys_at(URL)));
    deployment.answer(|_| Reply::json(&jwks(&[("old", &OLD)])));
    for _ in 0..3 {
        assert_eq!(ask(&deployment, &old()), "ok");
    }
    assert_eq!(deployment.count(), 1, "an instance remembers");

    for nonsense in [
        "",
        "{}",
        "null",
        "garbage",
        r#"{"jwks":"garbage","fresh_until":9e9}"#,
    ] {
        let mut deployment = natively(|_| Reply::json(&jwks(&[("old", &OLD)])));
        assert_eq!(ask(&deployment, &old()), "ok");
        for (key, value) in deployment.platform.store.borrow_mut().as_mut().unwrap() {
            if key.starts_with("jwks/") {
                *value = nonsense.as_bytes().to_vec();
            }
        }
        deployment.next_instance();
        assert_eq!(ask(&deployment, &old()), "ok", "{nonsense}");
        assert_eq!(deployment.count(), 2, "{nonsense}");
    }
}

#[test]
fn the_store_and_the_log_say_nothing_of_the_url() {
    let url = "https://issuer.example/keys?api-key=hidden";
    let deployment = Deployment::new(keys_at(url));
    deployment.answer(|_| Reply::status(500));
    assert_eq!(ask(&deployment, &old()), "token_keys_unavailable");
    assert_eq!(deployment.take()[0].uri().to_string(), url);
    let platform = &deployment.platform;
    let store = format!("{:?}", platform.store.borrow());
    let log = platform.log.borrow().join("\n");
    assert!(log.contains("token_keys_unavailable"));
    assert!(!format!("{store}{log}").contains("hidden"));
}

#[test]
fn keys_of_the_settings_are_tried_before_those_that_are_published() {
    let option = json!([{
        "name": "both",
        "restriction": {
            "issuer": "*",
            "audience": "*",
            "jwks": jwks(&[("old", &OLD)]),
            "jwks_uri": URL,
        },
    }]);
    let deployment = Deployment::new(policies(&option));
    deployment.answer(|_| Reply::json(&jwks(&[("new", &NEW)])));
    assert_eq!(ask(&deployment, &old()), "ok");
    assert_eq!(deployment.count(), 0);
    assert_eq!(ask(&deployment, &new()), "ok");
    assert_eq!(ask(&deployment, &old()), "ok");
    assert_eq!(deployment.count(), 1);
    // The one and the other may have the same name.
    let shared = signed(&NEW, Some("old"), &entitled());
    deployment.answer(|_| Reply::json(&jwks(&[("old", &NEW)])));
    deployment.wait(300);
    assert_eq!(ask(&deployment, &shared), "ok");
}

#[test]
fn two_issuers_have_keys_of_their_own() {
    let option = |name: &str| {
        json!({
            "name": name,
            "restriction": {
                "issuer": format!("https://{name}.example"),
                "audience": "*",
                "jwks_uri": format!("https://{name}.example/keys"),
            },
            "terms": {},
        })
    };
    let deployment = Deployment::new(policies(&json!([option("one"), option("two")])));
    deployment.answer(|request| {
        Reply::json(&match request.uri().host().unwrap() {
            "one.example" => jwks(&[("a", &OLD)]),
            _ => jwks(&[("a", &NEW)]),
        })
    });
    let token = |signer, name: &str| {
        let claims = claims(json!({"iss": format!("https://{name}.example")}));
        signed(signer, Some("a"), &claims)
    };
    assert_eq!(ask(&deployment, &token(&OLD, "one")), "ok");
    assert_eq!(deployment.audit()["policy"], "one");
    assert_eq!(ask(&deployment, &token(&NEW, "two")), "ok");
    assert_eq!(deployment.audit()["policy"], "two");
    // Neither speaks for the other.
    assert_eq!(ask(&deployment, &token(&OLD, "two")), "token_issuer");
    assert_eq!(ask(&deployment, &token(&NEW, "one")), "token_issuer");
    // One that is down does not keep the other's viewers out.
    let deployment = Deployment::new(policies(&json!([option("one"), option("two")])));
    deployment.answer(|request| match request.uri().host().unwrap() {
        "one.example" => Reply::status(500),
        _ => Reply::json(&jwks(&[("a", &NEW)])),
    });
    assert_eq!(ask(&deployment, &token(&NEW, "two")), "ok");
    assert_eq!(
        ask(&deployment, &token(&OLD, "one")),
        "token_keys_unavailable"
    );
}

#[test]
fn an_issuer_is_asked_once_for_a_token_of_a_stranger_on_a_host_without_a_store() {
    let variables = policies(&json!([{
        "name": "viewers",
        "restriction": {
            "issuer": "https://issuer.example",
            "audience": "keylet",
            "jwks_uri": "https://issuer.example/keys",
        },
    }]));
    for (claims, signer, code, requests) in [
        (entitled(), &STRANGER, "token_key_unknown", 1),
        (
            entitled(),
            &Signer::Hs256(vec![1; 32]),
            "token_key_unknown",
            0,
        ),
        (
            claims(json!({"exp": 1_700_000_000})),
            &STRANGER,
            "token_expired",
            0,
        ),
        (
            claims(json!({"iss": "https://other.example"})),
            &STRANGER,
            "token_issuer",
            0,
        ),
        (
            claims(json!({"aud": "other"})),
            &STRANGER,
            "token_audience",
            0,
        ),
    ] {
        let deployment = Deployment::on(Native::with_broken_store(variables.clone()));
        deployment.answer(|_| Reply::json(&jwks(&[("old", &OLD)])));
        let token = signed(signer, Some("unknown"), &claims);
        assert_eq!(ask(&deployment, &token), code, "{claims}");
        assert_eq!(deployment.count(), requests, "{claims}");
    }
}

#[test]
fn keys_come_only_from_where_nobody_on_the_way_can_change_them() {
    for (url, is_good) in [
        ("https://issuer.example/keys", true),
        ("https://issuer.example:8443/keys?tenant=1", true),
        ("  https://issuer.example/keys\n", true),
        ("http://127.0.0.1:8080/keys", true),
        ("http://localhost/keys", true),
        ("http://[::1]:8080/keys", true),
        ("http://issuer.example/keys", false),
        ("http://127.0.0.1.issuer.example/keys", false),
        ("http://localhost.issuer.example/keys", false),
        ("http://127.0.0.1@issuer.example/keys", false),
        ("http://127.0.0.2/keys", false),
        ("https://", false),
        ("https:///keys", false),
        ("http", false),
        ("httpx://issuer.example", false),
        ("https://issuer.example/ke ys", false),
    ] {
        let found = problems(keys_at(url));
        let expected: &[&str] = match is_good {
            true => &[],
            false => &["setting_malformed token_keys: it is no URL whose keys can be trusted"],
        };
        assert_eq!(found.len(), expected.len(), "{url} {found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{url} {found}");
            assert!(!found.contains("issuer.example"), "{found}");
        }
        for member in ["jwks_uri", "openIdConnectDiscoveryDocument"] {
            let mut option = json!({
                "name": "remote",
                "restriction": {"issuer": "*", "audience": "*"},
            });
            option["restriction"][member] = Value::from(url.trim());
            let found = problems(policies(&json!([option])));
            assert_eq!(found.is_empty(), is_good, "{member} {url} {found:?}");
        }
    }
}

#[test]
fn a_token_does_not_say_where_its_key_is() {
    let mut header = json!({"alg": "EdDSA", "kid": "old"});
    for name in ["jku", "x5u"] {
        header[name] = "https://stranger.example/keys".into();
    }
    header["jwk"] = STRANGER.jwk("old").unwrap();
    let mut rng = ChaCha20Rng::seed_from_u64(0);
    let token = STRANGER.sign(&header.to_string(), &entitled().to_string(), &mut rng);
    let deployment = natively(|_| Reply::json(&jwks(&[("old", &OLD)])));
    assert_eq!(ask(&deployment, &token.unwrap()), "token_signature");
    let hosts: Vec<String> = deployment
        .take()
        .iter()
        .map(|r| r.uri().to_string())
        .collect();
    assert_eq!(hosts, [URL]);
}

#[test]
fn a_published_key_signs_no_message_of_another_service() {
    let option = json!([{
        "name": "idp",
        "restriction": {
            "issuer": "https://issuer.example",
            "audience": "keylet",
            "jwks_uri": URL,
        },
        "terms": {},
    }]);
    let mut variables = policies(&option);
    variables.insert("dialects".to_owned(), "native nagra drmtoday".to_owned());
    let deployment = Deployment::new(variables);
    deployment.answer(|_| Reply::json(&jwks(&[("old", &OLD)])));
    let nagra = json!({
        "ver": "1.0", "typ": "ContentAuthZ", "device": {"accountId": "account-1"},
        "contentRights": [{"contentId": "movie", "usageRulesProfileId": "Test"}],
    });
    let drmtoday = json!({
        "optData": r#"{"userId":"viewer-1","merchant":"m","sessionId":"s"}"#,
        "crt": r#"[{"assetId":"movie","profile":{"purchase":{}}}]"#,
    });
    for message in [nagra, drmtoday] {
        for (more, code) in [
            (json!({}), "token_algorithm"),
            (json!({"jti": "1", "iat": 1_700_000_000}), "token_algorithm"),
            (
                json!({"iss": null, "aud": null, "exp": null}),
                "token_algorithm",
            ),
            (json!({"iss": "https://other.example"}), "token_issuer"),
        ] {
            let mut all = message.clone();
            all.as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            let token = signed(&OLD, Some("old"), &claims(all));
            assert_eq!(ask(&deployment, &token), code, "{message} {more}");
        }
    }
    assert_eq!(ask(&deployment, &old()), "ok");
}
