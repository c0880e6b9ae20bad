//! Terms meet: what one place restricts holds in every licence, whatever the other places say.
//!
//! A licence is asked with each message that the encoders of the dialects made, and with native tokens. One more
//! restriction is stated at each place in turn. Whatever comes of it must keep to the restriction: in each playback
//! state, by each endpoint, for keys of records and for keys that the message brings.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{Request, Response};
use keylet::service::Service;
use keylet_cli::device::{Duration, Licence, SpcOptions};
use keylet_cli::jwt::Signer;
use keylet_host::Provided;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use serde_json::{Map, Value, json};

use crate::dialects::{BACK_END_SECRET, Case, DIALECTS, Vectors};
use crate::sessions::{FIRST, RENEWAL};
use crate::support::{Native, run, spc};
use crate::upstream::{claims, jwks, signed, variables};

/// The playback states in which a licence is given.
const STATES: [u32; 3] = [FIRST, RENEWAL, 0xa5d6_739e];

/// The end of what is restricted in time, in seconds: shorter than all that the messages say.
const END: u32 = 77;

/// Where a restriction is stated, beside the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Record,
    PolicyOption,
    /// The part of a policy option that is for FairPlay alone.
    System,
    BackEnd,
    /// `fairplay_rules`.
    Rules,
}

const PLACES: [Place; 5] = [
    Place::Record,
    Place::PolicyOption,
    Place::System,
    Place::BackEnd,
    Place::Rules,
];

/// How a licence is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Endpoint {
    /// The SPC alone, with the message.
    Spc,
    /// One of several keys in an envelope, with the message.
    Envelope,
    /// With a token that this server makes for the message, for streaming or offline.
    Minted(&'static str),
    /// In a session that the message opened.
    Session,
}

const ENDPOINTS: [Endpoint; 5] = [
    Endpoint::Spc,
    Endpoint::Envelope,
    Endpoint::Minted("streaming"),
    Endpoint::Minted("offline"),
    Endpoint::Session,
];

/// What a licence must keep to.
struct Restriction {
    terms: Value,
    /// The same as a FairPlay configuration of a policy option, where that can say it.
    configuration: Option<Value>,
    /// Whether a licence keeps to them, in a playback state.
    holds: fn(&Licence, u32) -> bool,
}

impl Restriction {
    /// The restriction and, where it does not exclude that, the permission to store.
    fn granting(&self) -> Value {
        let excluding = ["persist", "lease_seconds", "rental_seconds"];
        let mut terms = self.terms.clone();
        if excluding.iter().all(|name| terms.get(name).is_none()) {
            terms["persist"] = json!(true);
        }
        terms
    }
}

/// Whether what is stored on the device ends, and each of its durations by the end.
fn ends(licence: &Licence) -> bool {
    match licence.duration {
        None | Some(Duration::Persistence) => false,
        Some(Duration::Lease { lease_seconds }) => lease_seconds <= END,
        Some(Duration::Rental { rental_seconds }) => rental_seconds <= END,
        Some(Duration::LeaseAndRental {
            lease_seconds,
            rental_seconds,
        }) => lease_seconds.min(rental_seconds) <= END,
        Some(Duration::PersistenceLimited { seconds }) => seconds <= END,
        Some(Duration::OfflineKey {
            storage_seconds, ..
        }) => (1..=END).contains(&storage_seconds),
    }
}

fn is_stored(licence: &Licence) -> bool {
    matches!(
        licence.duration,
        Some(
            Duration::Persistence
                | Duration::PersistenceLimited { .. }
                | Duration::OfflineKey { .. }
        )
    )
}

fn lease(licence: &Licence) -> Option<u32> {
    licence.duration.as_ref().and_then(Duration::lease_seconds)
}

fn restrictions(now: u64) -> Vec<Restriction> {
    let of = |terms: Value, holds| Restriction {
        terms,
        configuration: None,
        holds,
    };
    let never = |_: &Licence, _: u32| false;
    let nothing: Map<String, Value> = ["audio", "sd", "hd", "uhd"]
        .map(|track| (track.to_owned(), json!(false)))
        .into_iter()
        .collect();
    vec![
        Restriction {
            terms: json!({"persist": false}),
            configuration: Some(json!({"rentalAndLeaseKeyType": "Undefined"})),
            holds: |licence, _| !is_stored(licence),
        },
        Restriction {
            terms: json!({"storage_seconds": END}),
            configuration: Some(
                json!({"rentalAndLeaseKeyType": "PersistentLimited", "rentalDuration": END}),
            ),
            holds: |licence, _| !is_stored(licence) || ends(licence),
        },
        Restriction {
            terms: json!({"playback_seconds": END}),
            configuration: Some(json!({
                "rentalAndLeaseKeyType": "DualExpiry",
                "offlineRentalConfiguration": {"playbackDurationSeconds": END, "storageDurationSeconds": 0},
            })),
            holds: |licence, _| {
                !is_stored(licence)
                    || matches!(
                        licence.duration,
                        Some(Duration::OfflineKey {
                            playback_seconds: 1..=END,
                            ..
                        })
                    )
            },
        },
        of(json!({"lease_seconds": END}), |licence, _| {
            lease(licence).is_some_and(|lease| lease <= END)
        }),
        // It limits when playback starts. What was begun goes on with its lease.
        of(json!({"rental_seconds": END}), |licence, state| {
            let is_begun = state != FIRST && licence.duration.is_some();
            (ends(licence) || is_begun) && !is_stored(licence)
        }),
        of(json!({"not_after": now + u64::from(END)}), |licence, _| {
            ends(licence)
        }),
        of(json!({"not_before": now + u64::from(END)}), never),
        of(json!({"hdcp": "type1"}), |licence, _| {
            licence.hdcp == Some("type1")
        }),
        of(json!({"min_security_level": "main"}), |licence, _| {
            licence.security_level == Some("main")
        }),
        of(json!({"min_kdl": 99}), never),
        of(
            json!({"device_ids": ["00112233445566778899aabbccddeeff"]}),
            never,
        ),
        of(json!({"device_classes": ["living_room"]}), never),
        of(json!({"countries": ["NO"]}), never),
        of(json!({"ip_allow": ["192.0.2.0/24"]}), never),
        of(json!({"tracks": nothing}), never),
        of(json!({"max_streams": 1}), |licence, _| {
            lease(licence).is_some_and(|lease| (1..=120).contains(&lease))
        }),
    ]
}

/// Messages of one dialect, with the variables that they are made for.
struct Messages {
    dialect: &'static str,
    now: u64,
    variables: Provided,
    keys: Value,
    cases: Vec<Case>,
    /// What a back end grants, where the messages leave the rights to it.
    granted: Option<Value>,
}

fn of_dialect(dialect: &'static str) -> Messages {
    let mut vectors = Vectors::for_dialect(dialect);
    vectors.cases.retain(|case| case.expect.status == 200);
    Messages {
        dialect,
        now: vectors.now,
        variables: vectors.variables(dialect, "https://back-end.example/"),
        keys: match &vectors.variables["token_keys"] {
            Value::String(text) => serde_json::from_str(text).unwrap(),
            keys => keys.clone(),
        },
        cases: vectors.cases,
        granted: (dialect == "kaltura").then(|| json!({})),
    }
}

/// Native tokens, with entitlements of their own or, as a viewer has them from his login, without.
fn native() -> [Messages; 2] {
    let issuer = Signer::EdDsa([1; 32]);
    let keys = jwks(&[("issuer", &issuer)]);
    let case = |name: String, more: Value| {
        let token = signed(&issuer, Some("issuer"), &claims(more));
        Case::granted(name, format!("Bearer {token}"), "movie")
    };
    let terms = [
        json!({}),
        json!({"persist": true}),
        json!({"persist": true, "storage_seconds": 86_400, "playback_seconds": 7_200}),
        json!({"rental_seconds": 3_600}),
        json!({"lease_seconds": 600}),
        json!({"rental_seconds": 3_600, "lease_seconds": 600}),
        json!({"not_after": 1_800_003_600}),
        json!({"hdcp": "type0", "min_security_level": "baseline"}),
        json!({"tracks": {"hd": {"persist": true}, "sd": {"lease_seconds": 600}}}),
    ];
    let cases = terms.into_iter().map(|terms| {
        let mut entry = terms.clone();
        entry["keys"] = json!("*");
        case(terms.to_string(), json!({"entitlements": [entry]}))
    });
    let messages = |dialect, cases, granted| Messages {
        dialect,
        now: 1_800_000_000,
        variables: variables(&[
            ("token_keys", &keys.to_string()),
            ("server_secret", "what nobody but this server knows"),
        ]),
        keys: keys.clone(),
        cases,
        granted,
    };
    let logins = (0..6).map(|number| case(format!("login {number}"), json!({})));
    let granted = json!({"persist": true, "storage_seconds": 86_400, "playback_seconds": 7_200});
    [
        messages("native", cases.collect(), None),
        messages("login", logins.collect(), Some(granted)),
    ]
}

impl Messages {
    /// The policy option that admits them.
    fn option(&self) -> Value {
        json!({
            "name": "viewers",
            "restriction": {"issuer": "*", "audience": "*", "jwks": self.keys},
        })
    }

    /// The variables, with a back end where the messages need one.
    fn with_back_end(&self) -> Provided {
        let mut variables = self.variables.clone();
        if self.granted.is_some() {
            let mut option = self.option();
            option["callback"] = back_end();
            variables.insert("policies".to_owned(), json!([option]).to_string());
        }
        variables
    }

    /// The variables, with terms at a place; `None` where they cannot be stated there.
    fn with(&self, place: Place, restriction: &Restriction, asset: &str) -> Option<Provided> {
        let mut variables = self.with_back_end();
        let mut option = self.option();
        if self.granted.is_some() || place == Place::BackEnd {
            option["callback"] = back_end();
        }
        let terms = &restriction.terms;
        match place {
            Place::Record => {
                let mut records: Vec<Value> =
                    serde_json::from_str(&variables["content_keys"]).unwrap();
                if !records.iter().any(|record| is_of(record, asset)) {
                    records.push(json!({
                        "id": asset,
                        "key": "00112233445566778899aabbccddeeff",
                        "iv": "0f0e0d0c0b0a09080706050403020100",
                    }));
                }
                for record in &mut records {
                    record["terms"] = terms.clone();
                }
                variables.insert("content_keys".to_owned(), json!(records).to_string());
                return Some(variables);
            }
            Place::Rules if terms.get("max_streams").is_some() => return None,
            Place::Rules => {
                variables.insert("fairplay_rules".to_owned(), terms.to_string());
                return Some(variables);
            }
            Place::PolicyOption => option["terms"] = terms.clone(),
            Place::System => {
                option["drm"] = json!({"fairplay": restriction.configuration.as_ref()?});
            }
            Place::BackEnd => {}
        }
        variables.insert("policies".to_owned(), json!([option]).to_string());
        Some(variables)
    }
}

/// A back end of a policy option.
fn back_end() -> Value {
    json!({"url": "https://back-end.example/", "secret": BACK_END_SECRET})
}

/// Whether a key record has an asset id.
fn is_of(record: &Value, asset: &str) -> bool {
    let plain = |name: &str| name.replace('-', "").to_ascii_lowercase();
    let aliases = record["aliases"].as_array().into_iter().flatten();
    [&record["id"], &record["kid"]]
        .into_iter()
        .chain(aliases)
        .filter_map(Value::as_str)
        .any(|name| plain(name) == plain(asset))
}

/// What came of a request: a licence, or the code of the refusal.
type Outcome = Result<Licence, String>;

fn refusal(reply: &Response<Vec<u8>>) -> String {
    let code = reply.headers().get("x-keylet-code");
    code.map_or_else(
        || reply.status().to_string(),
        |code| code.to_str().unwrap().to_owned(),
    )
}

/// Asks for the licence of a case.
fn ask(
    service: &Service<Native>,
    case: &Case,
    endpoint: Endpoint,
    options: &SpcOptions,
) -> Outcome {
    let send = |request: http::request::Builder, body: &[u8]| {
        run(service.handle(request.body(body.to_vec()).unwrap()))
    };
    let (message, secrets) = spc(options);
    let opened = |reply: Response<Vec<u8>>| match reply.status().as_u16() {
        200 => Ok(Licence::open(reply.body(), &secrets).unwrap()),
        _ => Err(refusal(&reply)),
    };
    let from_json = |reply: &Response<Vec<u8>>, member: &str| -> Result<String, String> {
        if reply.status() != 200 {
            return Err(refusal(reply));
        }
        let reply: Value = serde_json::from_slice(reply.body()).unwrap();
        Ok(reply[member].as_str().unwrap().to_owned())
    };
    match endpoint {
        Endpoint::Spc => opened(send(case.request("/fairplay?format=raw").0, &message)),
        Endpoint::Envelope => {
            let uri = format!("skd://{}", case.asset);
            let key = json!({"id": 1, "uri": uri, "spc": STANDARD.encode(&message)});
            let envelope =
                json!({"fairplay-streaming-request": {"version": 1, "streaming-keys": [key]}});
            let request = case.request("/fairplay").0;
            let reply = send(request, envelope.to_string().as_bytes());
            if reply.status() != 200 {
                return Err(refusal(&reply));
            }
            let reply: Value = serde_json::from_slice(reply.body()).unwrap();
            let key = &reply["fairplay-streaming-response"]["streaming-keys"][0];
            match key["ckc"].as_str() {
                Some(ckc) => Ok(Licence::open(&STANDARD.decode(ckc).unwrap(), &secrets).unwrap()),
                None => Err(key["code"].as_str().unwrap().to_owned()),
            }
        }
        Endpoint::Minted(use_) => {
            let wanted = json!({"keys": [case.asset], "use": use_}).to_string();
            let reply = send(case.request("/tokens").0, wanted.as_bytes());
            let token = from_json(&reply, "token")?;
            let request = Request::post("/fairplay?format=raw")
                .header("authorization", format!("Bearer {token}"));
            opened(send(request, &message))
        }
        Endpoint::Session => {
            let reply = send(case.request("/sessions").0, b"");
            let session = from_json(&reply, "session_token")?;
            let request = case
                .request("/fairplay?format=raw")
                .0
                .header("keylet-session", session);
            opened(send(request, &message))
        }
    }
}

/// A device that can do everything, and says so.
fn device(asset: &str, state: u32) -> SpcOptions {
    SpcOptions::new(format!("skd://{asset}"))
        .playing(state)
        .capable(0b11_1111)
}

/// How often each combination is tried with a state and an endpoint that are drawn; 30 is about all of them.
fn draws() -> usize {
    let draws = std::env::var("KEYLET_MEETING_DRAWS");
    draws.map_or(1, |draws| draws.parse().unwrap())
}

/// A platform for messages, with a back end that answers so.
fn platform(messages: &Messages, variables: Provided, terms: Option<&Value>) -> Native {
    let platform = Native::new(variables);
    platform.now.set(messages.now);
    let terms = terms.or(messages.granted.as_ref());
    let answer = json!({"terms": terms.unwrap_or(&json!({}))}).to_string();
    *platform.peer.borrow_mut() = Box::new(move |_| Ok(Response::new(answer.clone().into_bytes())));
    platform
}

#[test]
fn what_one_place_restricts_holds_whatever_the_others_say() {
    let mut rng = ChaCha20Rng::seed_from_u64(20);
    // What was given, so that a server that refuses everything does not pass.
    let mut given: BTreeMap<Place, BTreeSet<Endpoint>> = BTreeMap::new();
    // The restrictions that a message alone does not keep to.
    let mut restricting = BTreeSet::new();
    for messages in DIALECTS.map(of_dialect).into_iter().chain(native()) {
        let restrictions = restrictions(messages.now);
        for (case, (number, restriction)) in (messages.cases.iter()).flat_map(|case| {
            restrictions
                .iter()
                .enumerate()
                .map(move |each| (case, each))
        }) {
            let alone = platform(&messages, messages.with_back_end(), None);
            let options = device(&case.asset, FIRST);
            let alone = ask(&Service::new(alone), case, Endpoint::Spc, &options);
            let alone = alone.unwrap_or_else(|code| panic!("{}: {code}", case.name));
            if !(restriction.holds)(&alone, FIRST) {
                restricting.insert(number);
            }
            for place in PLACES {
                let Some(variables) = messages.with(place, restriction, &case.asset) else {
                    continue;
                };
                for _ in 0..draws() {
                    let draw = usize::try_from(rng.next_u32()).unwrap();
                    let state = STATES[draw % STATES.len()];
                    let endpoint = ENDPOINTS[draw / STATES.len() % ENDPOINTS.len()];
                    let terms = (place == Place::BackEnd).then(|| restriction.granting());
                    let platform = platform(&messages, variables.clone(), terms.as_ref());
                    let service = Service::new(platform);
                    let outcome = ask(&service, case, endpoint, &device(&case.asset, state));
                    if let Ok(licence) = outcome {
                        assert!(
                            (restriction.holds)(&licence, state),
                            "{} {}: {} by {place:?}, {endpoint:?}, {state:x}: {licence:?}",
                            messages.dialect,
                            case.name,
                            restriction.terms
                        );
                        given.entry(place).or_default().insert(endpoint);
                    }
                }
            }
        }
    }
    assert_eq!(restricting.len(), restrictions(0).len());
    for place in PLACES {
        assert_eq!(given[&place].len(), ENDPOINTS.len(), "{place:?}: {given:?}");
    }
}
