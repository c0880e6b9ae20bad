//! The players' own code asks for licences that a licence service makes. The CDM sends messages that are made here, and tells
//! what it was given.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keylet_host::{Server, StoreChoice};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::players::{Refusal, recipes, run};
use crate::upstream::{Reply, SPINS, Upstream, claims, serve_on, signed};
use crate::{playready, widevine};

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

/// What a CDM sends, and what it has to be given for it.
#[derive(Serialize)]
struct Message {
    r#type: &'static str,
    message: String,
    #[serde(skip)]
    answer: String,
}

impl Message {
    fn new(kind: &'static str, message: &[u8], answer: &[u8]) -> Self {
        Self {
            r#type: kind,
            message: STANDARD.encode(message),
            answer: STANDARD.encode(answer),
        }
    }
}

/// Every player has a few exchanges, in which its CDM got the answer to each message.
fn assert_answered(exchanges: &[Exchange], messages: &[Vec<Message>]) {
    for (exchange, messages) in exchanges.iter().zip(messages) {
        let Exchange { player, path, .. } = exchange;
        // A player that is configured with the certificate is not asked for one.
        let is_configured = path.contains("certificate");
        let expected: Vec<&String> = messages
            .iter()
            .filter(|message| !(is_configured && message.r#type == "certificate"))
            .map(|message| &message.answer)
            .collect();
        assert_eq!(
            exchange.updates.iter().collect::<Vec<_>>(),
            expected,
            "{player}: {path}"
        );
    }
    for player in PLAYERS {
        let of_player = |exchange: &&Exchange| exchange.player.starts_with(player);
        let count = exchanges.iter().filter(of_player).count();
        assert!(count >= 2, "{player}: {count} exchanges");
    }
}

/// The recipes of `docs/players.md` for these systems, by player, with this server and the stream of the tests.
fn page(server: &Server, system: &str) -> Value {
    let page = include_str!("../../docs/players.md");
    let sections = ["Shaka Player", "dash.js", "hls.js"];
    let recipe = |(player, section): (&str, &str)| {
        let (_, rest) = page
            .split_once(&format!("\n### {section}, other systems\n"))
            .expect(section);
        let (_, rest) = rest.split_once("```js\n").unwrap();
        let (recipe, _) = rest.split_once("\n```\n").unwrap();
        assert!(recipe.contains("https://keylet.example/"), "{recipe}");
        let stream = format!("/media/manifest.mpd?system={system}");
        let recipe = recipe
            .replace("https://keylet.example", &server.url())
            .replace("https://cdn.example/movie-42/manifest.mpd", &stream);
        (player.to_owned(), recipe.into())
    };
    Value::Object(PLAYERS.into_iter().zip(sections).map(recipe).collect())
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

/// The answer of Widevine's service to a message: no two are the same.
fn widevine_answer(message: &[u8]) -> Vec<u8> {
    [b"answer to ", message].concat()
}

/// Widevine's service, which is asked byte for byte what the CDM sent.
fn widevine_service() -> Upstream {
    Upstream::start(|request| {
        let payload = widevine::opened(request)["payload"].clone();
        let payload = STANDARD.decode(payload.as_str().unwrap()).unwrap();
        Reply::json(&widevine::ok(
            json!({"license": STANDARD.encode(widevine_answer(&payload))}),
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
    let message = |kind, message: Vec<u8>| Message::new(kind, &message, &widevine_answer(&message));
    let messages: Vec<Vec<Message>> = (0..EXCHANGES)
        .map(|exchange| {
            let request_id = format!("request-{exchange}");
            let request_id = request_id.as_bytes();
            vec![
                message("certificate", vec![8, 4]),
                message("licence", widevine::request(&[kid], 1, request_id)),
                message("renewal", widevine::existing(request_id, 2)),
            ]
        })
        .collect();
    let request = json!({
        "system": "widevine",
        "keySystem": "com.widevine.alpha",
        "url": format!("{}/widevine?kid={kid}", server.url()),
        "token": widevine::viewer(json!({"lease_seconds": 600})),
        "kid": kid.replace('-', ""),
        "certificate": STANDARD.encode(widevine_answer(&[8, 4])),
        "page": page(&server, "widevine"),
        "messages": messages,
    });
    let Some(exchanges) = run::<Vec<Exchange>>("service-run.mjs", &request) else {
        return;
    };
    assert_answered(&exchanges, &messages);
    // One certificate for all, which is asked for again where it takes two seconds, and a licence and a renewal for each.
    let asked = service.take();
    let certificates = asked.len() - 2 * exchanges.len();
    assert!((1..=2).contains(&certificates), "{certificates}");
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

/// A challenge of its own for each exchange.
fn playready_challenge(exchange: usize) -> String {
    let challenge = playready::challenge(&[(playready::A.1, playready::CBC)]);
    let nonce = STANDARD.encode(exchange.to_be_bytes().repeat(2));
    let (before, rest) = challenge.split_once("<LicenseNonce>").unwrap();
    let (_, after) = rest.split_once("</LicenseNonce>").unwrap();
    format!("{before}<LicenseNonce>{nonce}</LicenseNonce>{after}")
}

/// The answer of PlayReady's service to a challenge: a licence with the challenge in it.
fn playready_answer(challenge: &[u8]) -> String {
    let license = format!("<License>{}</License>", STANDARD.encode(challenge));
    playready::license("AcquireLicense").replace("<License>WE1SAA==</License>", &license)
}

/// The CDM wraps the challenge, and the players take the wrapping off.
#[test]
fn every_players_own_code_gets_playready_licences() {
    let service = Upstream::start(|request| playready::xml(200, &playready_answer(request.body())));
    let setting = playready::with(
        playready::setting("plain"),
        "url",
        service.url("/rightsmanager.asmx"),
    );
    let server = serve_on(
        SPINS[0],
        &playready::variables(&setting, &[]),
        StoreChoice::Memory,
        &[service.origin()],
    );
    let messages: Vec<Vec<Message>> = (0..EXCHANGES)
        .map(|exchange| {
            let challenge = playready_challenge(exchange);
            let wrapped = playready::utf16(&playready::wrapped(&challenge));
            let answer = playready_answer(challenge.as_bytes());
            vec![Message::new("licence", &wrapped, answer.as_bytes())]
        })
        .collect();
    let request = json!({
        "system": "playready",
        "keySystem": "com.microsoft.playready",
        "url": format!("{}/playready", server.url()),
        "token": playready::viewer(&json!({})),
        "kid": playready::A.0.replace('-', ""),
        "page": page(&server, "playready"),
        "messages": messages,
    });
    let Some(exchanges) = run::<Vec<Exchange>>("service-run.mjs", &request) else {
        return;
    };
    assert_answered(&exchanges, &messages);
    let asked = service.take();
    assert_eq!(asked.len(), exchanges.len());
    for asked in asked {
        assert_eq!(asked.headers()["content-type"], "text/xml; charset=utf-8");
        assert_eq!(
            asked.headers()["soapaction"],
            "\"http://schemas.microsoft.com/DRM/2007/03/protocols/AcquireLicense\""
        );
    }

    assert_refused(request);
    // A refusal asks nobody.
    assert_eq!(service.count(), 0);
}
