//! Limits on what one token and one viewer ask for: what is counted, what is told, what is refused.

use http::{Request, Response};
use keylet::platform::Error;
use keylet_cli::device::SpcOptions;
use keylet_cli::jwt::Signer;
use keylet_host::Provided;
use serde_json::{Value, json};

use crate::support::{Native, spc};
use crate::upstream::{Deployment, claims, jwks, signed, variables};

const VIEWER: Signer = Signer::EdDsa([1; 32]);

fn variables_of(abuse: &Value, more: &[(&str, &str)]) -> Provided {
    let policies = json!([{
        "name": "viewers",
        "restriction": {"issuer": "*", "audience": "*", "jwks": jwks(&[("viewer", &VIEWER)])},
    }]);
    let (policies, abuse) = (policies.to_string(), abuse.to_string());
    let mut changes = vec![
        ("policies", policies.as_str()),
        ("abuse", abuse.as_str()),
        (
            "server_secret",
            "a secret of the server, long enough to be one",
        ),
        ("client_ip_header", "x-client-ip"),
        ("client_country_header", "x-client-country"),
    ];
    changes.extend(more);
    variables(&changes)
}

fn deployment(abuse: &Value) -> Deployment {
    Deployment::new(variables_of(abuse, &[]))
}

/// A token of a viewer. `number` tells tokens of one viewer apart.
fn token(subject: &str, number: u32) -> String {
    let entries = json!([{"keys": "*"}]);
    let claims =
        claims(json!({"sub": subject, "jti": number.to_string(), "entitlements": entries}));
    signed(&VIEWER, Some("viewer"), &claims)
}

/// The answer to a device at a place.
fn asked(
    deployment: &Deployment,
    token: &str,
    device: u8,
    place: (&str, &str),
) -> Response<Vec<u8>> {
    let mut options = SpcOptions::new("skd://movie");
    options.hu = Some([device; 20]);
    let (spc, _) = spc(&options);
    let request = Request::post("/fairplay")
        .header("authorization", format!("Bearer {token}"))
        .header("x-client-ip", place.0)
        .header("x-client-country", place.1);
    deployment.handle(request.body(spc).unwrap())
}

fn status(response: &Response<Vec<u8>>) -> u16 {
    response.status().as_u16()
}

/// An address and a country.
type Place = (&'static str, &'static str);

/// A limit, three requests by token, device and place, and the seconds of a period.
type Case = (&'static str, [(String, u8, Place); 3], u64);

const HOME: Place = ("192.0.2.1", "AT");

/// Each limit with the number 2, and three requests of which the third is beyond it; what is asked for again after that, which
/// is not; and the length of its period.
fn cases() -> Vec<Case> {
    let one = token("viewer-1", 1);
    let other = |number| token("viewer-1", number);
    vec![
        (
            "licences_per_token_per_minute",
            [
                (one.clone(), 1, HOME),
                (one.clone(), 2, HOME),
                (one.clone(), 1, HOME),
            ],
            60,
        ),
        (
            "addresses_per_token_per_hour",
            [
                (one.clone(), 1, HOME),
                (one.clone(), 1, ("2001:db8::1", "AT")),
                (one.clone(), 1, ("192.0.2.2", "AT")),
            ],
            3600,
        ),
        (
            "devices_per_subject_per_day",
            [
                (other(1), 1, HOME),
                (other(2), 2, HOME),
                (other(3), 3, HOME),
            ],
            86_400,
        ),
        (
            "countries_per_subject_per_hour",
            [
                (other(1), 1, HOME),
                (other(2), 2, ("192.0.2.1", "DE")),
                (other(3), 1, ("192.0.2.1", "FR")),
            ],
            3600,
        ),
    ]
}

#[test]
fn beyond_a_limit_a_request_is_told_in_the_audit() {
    for (limit, requests, _) in cases() {
        let deployment = deployment(&json!({limit: 2}));
        for (index, (token, device, place)) in requests.iter().enumerate() {
            assert_eq!(
                status(&asked(&deployment, token, *device, *place)),
                200,
                "{limit}"
            );
            let audit = deployment.audit();
            match index {
                2 => assert_eq!(
                    audit["signals"],
                    json!([{"signal": limit, "count": 3, "limit": 2}])
                ),
                _ => assert!(audit.get("signals").is_none(), "{limit} {audit}"),
            }
        }
    }
}

#[test]
fn beyond_a_limit_a_request_is_refused_until_its_period_is_over() {
    for (limit, requests, period) in cases() {
        let deployment = deployment(&json!({limit: 2, "action": "refuse"}));
        // The beginning of a day, and then some.
        deployment
            .platform
            .now
            .set(1_800_000_000 / 86_400 * 86_400 + 10);
        let ask = |index: usize| {
            let (token, device, place) = &requests[index];
            asked(&deployment, token, *device, *place)
        };
        assert_eq!((status(&ask(0)), status(&ask(1))), (200, 200), "{limit}");
        // It is refused however often it comes.
        for _ in 0..3 {
            let refused = ask(2);
            assert_eq!(status(&refused), 429, "{limit}");
            assert_eq!(refused.headers()["x-keylet-code"], "abuse_limit");
            assert_eq!(refused.headers()["retry-after"], (period - 10).to_string());
            let problem: Value = serde_json::from_slice(refused.body()).unwrap();
            assert!(
                problem["detail"].as_str().unwrap().contains(limit),
                "{problem}"
            );
            assert_eq!(deployment.audit()["code"], "abuse_limit");
        }
        // What was known before is not new, but where every request counts.
        let expected = if limit.starts_with("licences") {
            429
        } else {
            200
        };
        assert_eq!(status(&ask(0)), expected, "{limit}");
        // Another viewer is not concerned.
        let stranger = token("viewer-2", 9);
        assert_eq!(
            status(&asked(&deployment, &stranger, 9, ("192.0.2.9", "IT"))),
            200,
            "{limit}"
        );
        deployment.wait(period - 10);
        assert_eq!(status(&ask(2)), 200, "{limit}");
    }
}

#[test]
fn a_device_that_was_refused_is_not_let_in_because_it_was_seen() {
    let (limit, requests, _) = cases().remove(2);
    // The host dies after each operation of the refusal; then the device tries again.
    for operations in 2..5 {
        let deployment = deployment(&json!({limit: 2, "action": "refuse"}));
        let ask = |index: usize| {
            let (token, device, place) = &requests[index];
            status(&asked(&deployment, token, *device, *place))
        };
        assert_eq!((ask(0), ask(1)), (200, 200));
        deployment.platform.operations.set(Some(operations));
        assert_ne!(ask(2), 200);
        deployment.platform.operations.set(None);
        for _ in 0..2 {
            assert_eq!(ask(2), 429, "{operations}");
        }
        assert_eq!((ask(0), ask(1)), (200, 200));
    }
}

#[test]
fn a_store_that_failed_is_not_asked_again_for_a_report() {
    let limits: Value = cases()
        .into_iter()
        .map(|(limit, ..)| (limit.to_owned(), json!(9)))
        .collect();
    let deployment = deployment(&limits);
    deployment.platform.operations.set(Some(1));
    let answer = asked(&deployment, &token("viewer-1", 1), 1, HOME);
    assert_eq!(status(&answer), 200);
    // The second limit found the store away, and no further one was tried.
    deployment.platform.operations.set(None);
    let store = deployment.platform.store.borrow().clone().unwrap();
    assert_eq!(store.len(), 1);
}

#[test]
fn a_limit_costs_an_operation_and_only_where_it_is_set() {
    let store = |deployment: &Deployment| deployment.platform.store.borrow().clone().unwrap();
    let off = Deployment::new(variables_of(&json!({}), &[]));
    assert_eq!(status(&asked(&off, &token("viewer-1", 1), 1, HOME)), 200);
    assert!(store(&off).is_empty());
    // The second request of a device is one operation for each limit.
    let limits: Value = cases()
        .into_iter()
        .map(|(limit, ..)| (limit.to_owned(), json!(9)))
        .collect();
    let all = deployment(&limits);
    let one = token("viewer-1", 1);
    assert_eq!(status(&asked(&all, &one, 1, HOME)), 200);
    all.platform.operations.set(Some(100));
    assert_eq!(status(&asked(&all, &one, 1, HOME)), 200);
    assert_eq!(all.platform.operations.get(), Some(96));
    // Nothing there says who plays, from where.
    for key in store(&all).keys() {
        assert!(
            !key.contains("192.0.2.1") && !key.contains("viewer") && !key.ends_with("/AT"),
            "{key}"
        );
    }
}

#[test]
fn what_is_not_known_is_not_counted() {
    let limits = json!({
        "addresses_per_token_per_hour": 1, "devices_per_subject_per_day": 1, "countries_per_subject_per_hour": 1,
        "action": "refuse",
    });
    let without = Deployment::new(variables_of(
        &limits,
        &[
            ("client_ip_header", ""),
            ("client_country_header", ""),
            ("server_secret", ""),
        ],
    ));
    for device in 0..3 {
        let response = asked(&without, &token("viewer-1", 1), device, HOME);
        assert_eq!(status(&response), 200);
    }
}

#[test]
fn a_store_that_fails_refuses_only_what_would_be_refused() {
    let answer = |action: &str, failure: &str| {
        let limits = json!({"licences_per_token_per_minute": 1, "action": action});
        let variables = variables_of(&limits, &[("store_failure", failure)]);
        let deployment = Deployment::on(Native::with_broken_store(variables));
        let response = asked(&deployment, &token("viewer-1", 1), 1, HOME);
        let code = response.headers().get("x-keylet-code");
        code.map_or("ok".to_owned(), |code| code.to_str().unwrap().to_owned())
    };
    assert_eq!(answer("report", "deny"), "ok");
    assert_eq!(answer("refuse", "allow"), "ok");
    assert_eq!(answer("refuse", "deny"), "store_unavailable");
    // A host without a store.
    let limits = json!({"licences_per_token_per_minute": 1, "action": "refuse"});
    let platform = Native::new(variables_of(&limits, &[("store_failure", "allow")]));
    *platform.store.borrow_mut() = Err(Error::StoreUnsupported);
    let response = asked(&Deployment::on(platform), &token("viewer-1", 1), 1, HOME);
    assert_eq!(response.headers()["x-keylet-code"], "store_unsupported");
}

#[test]
fn a_wrong_setting_is_named() {
    for (setting, words) in [
        (
            json!({"licences_per_token_per_minute": 0}),
            "licences_per_token_per_minute",
        ),
        (json!({"licences": 3}), "licences"),
        (json!({"action": "block"}), "action"),
        (json!([]), "abuse"),
    ] {
        let deployment = deployment(&setting);
        let response = asked(&deployment, &token("viewer-1", 1), 1, HOME);
        assert_eq!(status(&response), 503, "{setting}");
        let health = deployment.handle(Request::get("/healthz").body(Vec::new()).unwrap());
        let health = String::from_utf8_lossy(health.body()).into_owned();
        assert!(health.contains(words), "{setting} {health}");
    }
}
