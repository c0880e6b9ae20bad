//! The players' own code asks for licences that a licence service makes. The CDM sends messages that are made here, and says what it
//! was given.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keylet_host::{Server, StoreChoice};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::players::{Refusal, recipes, run};
use crate::upstream::{Reply, SPINS, Upstream, claims, serve_on, signed};
use crate::widevine;

/// The players, by their names on npm.
const PLAYERS: [&str; 3] = ["shaka-player", "dashjs", "hls.js"];

/// More than there are exchanges.
const EXCHANGES: usize = 16;

/// What a player gave to its CDM for each message, in base64.
#[derive(Deserialize)]
struct Exchange {
    player: String,
    path: String,
    updates: Vec<String>,
}

fn message(kind: &str, message: &[u8]) -> Value {
    json!({"type": kind, "message": STANDARD.encode(message)})
}

/// The service's answer to a message: no two are the same.
fn answer_to(message: &[u8]) -> Vec<u8> {
    [b"answer to ", message].concat()
}

/// Every player has a few exchanges, in which its CDM got the answer to each message.
fn assert_answered(exchanges: &[Exchange], messages: &[Vec<Value>]) {
    for (exchange, messages) in exchanges.iter().zip(messages) {
        let Exchange { player, path, .. } = exchange;
        // A player that is configured with the certificate is not asked for one.
        let is_configured = path.contains("certificate");
        let expected: Vec<String> = messages
            .iter()
            .filter(|message| !(is_configured && message["type"] == "certificate"))
            .map(|message| STANDARD.decode(message["message"].as_str().unwrap()))
            .map(|message| STANDARD.encode(answer_to(&message.unwrap())))
            .collect();
        assert_eq!(exchange.updates, expected, "{player}: {path}");
    }
    for player in PLAYERS {
        let of_player = |exchange: &&Exchange| exchange.player.starts_with(player);
        let count = exchanges.iter().filter(of_player).count();
        assert!(count >= 2, "{player}: {count} exchanges");
    }
}

/// A token of the viewer with these changes to its claims.
fn token(changes: Value) -> String {
    signed(&widevine::VIEWER, Some("viewer"), &claims(changes))
}

/// A token that has expired is refused, and each player shows why.
fn assert_refused(mut request: Value) {
    request["token"] = token(json!({"exp": 1_700_000_000, "entitlements": [{"keys": "*"}]})).into();
    request["recipes"] = recipes(&PLAYERS);
    let refusals = run::<Vec<Refusal>>("service-run.mjs", &request).unwrap();
    assert_eq!(refusals.len(), PLAYERS.len());
    refusals.iter().for_each(Refusal::assert_expired);
}

/// Widevine's service, which is asked byte for byte what the CDM sent.
fn widevine_service() -> Upstream {
    Upstream::start(|request| {
        let payload = widevine::opened(request)["payload"].clone();
        let payload = STANDARD.decode(payload.as_str().unwrap()).unwrap();
        Reply::json(&widevine::ok(
            json!({"license": STANDARD.encode(answer_to(&payload))}),
        ))
    })
}

fn widevine_server(service: &Upstream) -> Server {
    let setting = widevine::setting(&service.url("/cenc/getlicense/widevine_test"));
    let variables = widevine::variables(&setting, &[]);
    serve_on(
        SPINS[0],
        &variables,
        StoreChoice::Memory,
        &[service.origin()],
    )
}

/// The certificate of the service, a licence, and its renewal, which names no key: the URL does.
#[test]
fn every_players_own_code_gets_widevine_licences_and_renews_them() {
    let (kid, ..) = widevine::KEYS[0];
    let service = widevine_service();
    let server = widevine_server(&service);
    let messages: Vec<Vec<Value>> = (0..EXCHANGES)
        .map(|exchange| {
            let request_id = format!("request-{exchange}");
            let request_id = request_id.as_bytes();
            vec![
                message("certificate", &[8, 4]),
                message("licence", &widevine::request(&[kid], 1, request_id)),
                message("renewal", &widevine::existing(request_id, 2)),
            ]
        })
        .collect();
    let request = json!({
        "system": "widevine",
        "keySystem": "com.widevine.alpha",
        "url": format!("{}/widevine?kid={kid}", server.url()),
        "token": widevine::viewer(json!({"lease_seconds": 600})),
        "kid": kid.replace('-', ""),
        "certificate": STANDARD.encode(answer_to(&[8, 4])),
        "messages": messages,
    });
    let Some(exchanges) = run::<Vec<Exchange>>("service-run.mjs", &request) else {
        return;
    };
    assert_answered(&exchanges, &messages);
    // One certificate for all, and a licence and a renewal for each.
    let asked = service.take();
    assert_eq!(asked.len(), 1 + 2 * exchanges.len());
    for asked in &asked {
        let asked = widevine::opened(asked);
        let keys = asked["content_key_specs"].as_array().map(Vec::len);
        let is_certificate = asked["payload"] == "CAQ=";
        assert_eq!(keys, (!is_certificate).then_some(1), "{asked}");
    }

    assert_refused(request);
    // A refusal asks nobody.
    assert_eq!(service.count(), 0);
}
