//! Secure sessions: how many streams of a viewer there are at once.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};
use std::time::{Duration, Instant};

use http::{Request, Response};
use keylet::fairplay::tag::Tag;
use keylet::platform::{Error, system_time};
use keylet_cli::built_in;
use keylet_cli::device::{self, Licence, SpcOptions};
use keylet_cli::jwt::Signer;
use keylet_host::{Options, Provided, Server, StoreChoice, World};
use serde_json::{Value, json};

use crate::support::{Answer, Chance, send, spc};
use crate::upstream::{Deployment, SPINS, jwks, signed, variables};
use keylet_e2e::processes::{Directory, redis};

const ISSUER: Signer = Signer::EdDsa([1; 32]);
pub const OPERATOR: &str = "the operator's token, long enough to be one";

pub(crate) const FIRST: u32 = 0xf4de_e5a2;
pub(crate) const RENEWAL: u32 = 0x4f83_4330;
pub(crate) const STOPPED: u32 = 0x5991_bf20;

/// Seconds of a period, unless a test says something else.
const PERIOD: u64 = 60;

pub(crate) fn sessions(changes: &[(&str, &str)]) -> Provided {
    let keys = jwks(&[("issuer", &ISSUER)]).to_string();
    let own = [
        ("token_keys", keys.as_str()),
        ("server_secret", "what nobody but this server knows"),
        ("operator_token", OPERATOR),
    ];
    variables(&[&own, changes].concat())
}

/// A token of `viewer` for every key on some terms.
pub(crate) fn token_of(viewer: &str, terms: &Value) -> String {
    let mut entry = terms.clone();
    entry["keys"] = json!("*");
    let claims = crate::upstream::claims(json!({"sub": viewer, "entitlements": [entry]}));
    signed(&ISSUER, Some("issuer"), &claims)
}

/// A token that is good for two licences until a time.
pub(crate) fn ends_soon(number: u32, exp: u64) -> String {
    let claims = json!({"exp": exp, "jti": format!("token-{number}"), "entitlements": [{"keys": "*", "max_uses": 2}]});
    signed(&ISSUER, Some("issuer"), &crate::upstream::claims(claims))
}

pub(crate) fn token(terms: &Value) -> String {
    token_of("viewer-1", terms)
}

pub(crate) fn streams(limit: u32) -> Value {
    json!({"max_streams": limit})
}

/// A device by its number, playing something of its own.
pub(crate) fn player(number: u8, asset: &str, state: u32) -> SpcOptions {
    let playback = [
        &1_700_000_000_u32.to_be_bytes()[..],
        &state.to_be_bytes(),
        &[number; 8],
    ]
    .concat();
    let options = SpcOptions::new(format!("skd://{asset}"));
    SpcOptions {
        hu: Some([number; 20]),
        ..options.with(Tag::MEDIA_PLAYBACK_STATE, playback)
    }
}

/// An answer of either kind of server.
#[derive(Debug, Clone)]
pub(crate) struct SessionReply {
    pub(crate) status: u16,
    pub(crate) code: Option<String>,
    body: Vec<u8>,
    pub(crate) headers: http::HeaderMap,
}

impl SessionReply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// What it is refused with, or nothing.
    pub(crate) fn refusal(&self) -> &str {
        self.code.as_deref().unwrap_or_default()
    }

    /// `id` and token of a session.
    pub(crate) fn session(&self) -> Ours {
        assert_eq!(self.status, 200, "{:?}", self.code);
        let session = self.json();
        let text = |name: &str| session[name].as_str().unwrap().to_owned();
        assert_eq!(self.headers["keylet-session"], text("session_token"));
        Ours {
            id: text("session_id"),
            token: text("session_token"),
            expires_at: session["expires_at"].as_u64().unwrap(),
        }
    }
}

impl From<Response<Vec<u8>>> for SessionReply {
    fn from(reply: Response<Vec<u8>>) -> Self {
        let code = reply.headers().get("x-keylet-code");
        Self {
            status: reply.status().as_u16(),
            code: code.map(|code| code.to_str().unwrap().to_owned()),
            headers: reply.headers().clone(),
            body: reply.into_body(),
        }
    }
}

impl From<Answer> for SessionReply {
    fn from(answer: Answer) -> Self {
        Self {
            status: answer.status,
            code: answer.header("x-keylet-code").map(ToOwned::to_owned),
            headers: answer.headers,
            body: answer.body,
        }
    }
}

/// A session as its player has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ours {
    pub(crate) id: String,
    pub(crate) token: String,
    pub(crate) expires_at: u64,
}

/// What sessions can be asked of: a server on the component, or a deployment in this process.
pub(crate) trait Sessions {
    fn ask(&self, request: http::request::Builder, path: &str, body: &[u8]) -> SessionReply;

    fn with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> SessionReply {
        let mut request = Request::builder().method(method);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.ask(request, path, body)
    }

    fn open(&self, token: &str) -> SessionReply {
        let bearer = format!("Bearer {token}");
        self.with("POST", "/sessions", &[("authorization", &bearer)], b"")
    }

    fn open_as(&self, token: &str, device: &str) -> SessionReply {
        let bearer = format!("Bearer {token}");
        let body = json!({"device": device}).to_string();
        self.with(
            "POST",
            "/sessions",
            &[("authorization", &bearer)],
            body.as_bytes(),
        )
    }

    fn heartbeat(&self, session: &Ours) -> SessionReply {
        let path = format!("/sessions/{}/heartbeat", session.id);
        self.with("POST", &path, &[("keylet-session", &session.token)], b"")
    }

    fn end(&self, session: &Ours) -> SessionReply {
        let path = format!("/sessions/{}", session.id);
        self.with("DELETE", &path, &[("keylet-session", &session.token)], b"")
    }

    fn as_operator(&self, method: &str, path: &str) -> SessionReply {
        let bearer = format!("Bearer {OPERATOR}");
        self.with(method, path, &[("authorization", &bearer)], b"")
    }

    /// A licence, within a session or not.
    fn play(
        &self,
        token: &str,
        session: Option<&Ours>,
        options: &SpcOptions,
    ) -> (SessionReply, Option<Licence>) {
        self.play_at("/fairplay", token, session, options)
    }

    fn play_at(
        &self,
        path: &str,
        token: &str,
        session: Option<&Ours>,
        options: &SpcOptions,
    ) -> (SessionReply, Option<Licence>) {
        let (message, secrets) = spc(options);
        let bearer = format!("Bearer {token}");
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend(session.map(|session| ("keylet-session", session.token.as_str())));
        let reply = self.with("POST", path, &headers, &message);
        let is_ckc = reply.status == 200 && !path.contains("format=json");
        let licence = is_ckc.then(|| Licence::open(&reply.body, &secrets).unwrap());
        (reply, licence)
    }
}

impl Sessions for Deployment {
    fn ask(&self, request: http::request::Builder, path: &str, body: &[u8]) -> SessionReply {
        self.handle(request.uri(path).body(body.to_vec()).unwrap())
            .into()
    }
}

impl Sessions for Server {
    fn ask(&self, request: http::request::Builder, path: &str, body: &[u8]) -> SessionReply {
        send(self, request, path, body).into()
    }
}

pub(crate) fn deployment(changes: &[(&str, &str)]) -> Deployment {
    Deployment::new(sessions(changes))
}

pub(crate) fn serve(world: World, store: &StoreChoice, changes: &[(&str, &str)]) -> Server {
    let options = Options {
        store: store.clone(),
        ..keylet_e2e::quiet()
    };
    Server::start(built_in(world, sessions(changes)).unwrap(), &options).unwrap()
}

/// How long a lease is, in seconds.
pub(crate) fn lease(licence: Option<Licence>) -> Option<u32> {
    match licence.unwrap().duration {
        Some(device::Duration::Lease { lease_seconds }) => Some(lease_seconds),
        None => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_viewer_has_as_many_sessions_as_are_allowed_and_another_one_when_one_has_ended() {
    for world in SPINS {
        let server = serve(world, &StoreChoice::Memory, &[]);
        let token = token(&streams(3));
        let held: Vec<Ours> = (0..3).map(|_| server.open(&token).session()).collect();
        let refused = server.open(&token);
        assert_eq!(
            (refused.status, refused.refusal()),
            (409, "streams_exceeded")
        );
        assert_eq!(server.open(&token_of("viewer-2", &streams(3))).status, 200);

        assert_eq!(server.end(&held[1]).status, 204);
        // Again, it frees nothing more.
        assert_eq!(server.end(&held[1]).status, 204);
        let next = server.open(&token).session();
        assert_eq!(server.open(&token).refusal(), "streams_exceeded");
        assert_eq!(server.end(&held[1]).status, 204);
        for session in [&held[0], &held[2], &next] {
            assert_eq!(server.heartbeat(session).status, 200);
        }
        assert_eq!(server.heartbeat(&held[1]).refusal(), "session_ended");
        server.stop();
    }
}

#[test]
fn the_whole_of_a_players_own_session() {
    for world in SPINS {
        let server = serve(world, &StoreChoice::Memory, &[]);
        let token = token(&json!({"max_streams": 1, "lease_seconds": 600}));
        let opened = server.open(&token);
        assert_eq!(opened.json()["heartbeat_seconds"], PERIOD / 2);
        let session = opened.session();
        let device = |state| player(1, "movie", state);
        let (reply, licence) = server.play_at(
            "/fairplay?licenseType=license-request",
            &token,
            Some(&session),
            &device(FIRST),
        );
        let seconds = lease(licence).unwrap();
        assert!((55..=115).contains(&seconds), "{seconds}");
        assert_eq!(reply.headers["x-keylet-heartbeat-seconds"], "30");
        assert!(reply.headers.contains_key("x-keylet-expires-at"));
        assert!(reply.headers.contains_key("x-keylet-renew-after"));
        let session = server.heartbeat(&session).session();
        let (reply, _) = server.play_at(
            "/fairplay?format=json&licenseType=license-renewal",
            &token,
            Some(&session),
            &device(RENEWAL),
        );
        let reply = reply.json();
        assert_eq!(reply["heartbeat_seconds"], 30);
        assert_eq!(reply["session_id"], session.id);
        assert!(reply["renew_after"].is_u64() && reply["expires_at"].is_u64());
        assert_eq!(server.open(&token).refusal(), "streams_exceeded");
        assert_eq!(server.end(&session).status, 204);
        let (reply, _) = server.play_at(
            "/fairplay?licenseType=license-renewal",
            &token,
            Some(&session),
            &device(RENEWAL),
        );
        assert_eq!((reply.status, reply.refusal()), (403, "session_ended"));
        server.stop();
    }
}

#[test]
fn the_same_in_the_shape_of_nagras_players() {
    let key = [7_u8; 32];
    let content = |jti: &str| {
        let claims = json!({
            "typ": "ContentAuthZ", "ver": "1.0", "exp": system_time() + 600, "nonce": jti,
            "device": {"accountId": "account-1"},
            "contentRights": [{"contentId": "movie", "usageRulesProfileId": "Test",
                "sessionControl": {"sessionControlEnabled": true, "maxSessions": 1}}],
        });
        signed(&Signer::Hs256(key.to_vec()), Some("nagra"), &claims)
    };
    let keys = jwks(&[("nagra", &Signer::Hs256(key.to_vec()))]).to_string();
    let settings = [("token_keys", keys.as_str()), ("dialects", "nagra")];
    let server = serve(World::Wasip2, &StoreChoice::Memory, &settings);
    let ssm = |action: &str, authorization: &str| {
        let headers = [
            ("nv-authorizations", authorization),
            ("nv-tenant-id", "TENANT"),
        ];
        server.with(
            "POST",
            &format!("/TENANT/ssm/v1/sessions/{action}"),
            &headers,
            b"",
        )
    };
    let setup = ssm("setup", &content("a"));
    assert_eq!(setup.status, 200, "{:?}", setup.code);
    assert_eq!(setup.json()["heartBeat"], 30);
    let session = setup.json()["sessionToken"].as_str().unwrap().to_owned();
    let full = ssm("setup", &content("b"));
    assert_eq!(full.status, 409);
    assert_eq!(full.json()["errorCode"], 1007);

    let play = |session: &str, state| {
        let (message, _) = spc(&player(1, "movie", state));
        let list = format!("{},{session}", content("a"));
        let headers = [
            ("nv-authorizations", list.as_str()),
            ("licenseType", "license-renewal"),
        ];
        server.with("POST", "/fairplay", &headers, &message)
    };
    assert_eq!(play(&session, FIRST).status, 200);
    let beat = ssm("heartbeat", &session);
    let session = beat.json()["sessionToken"].as_str().unwrap().to_owned();
    let renewed = play(&session, RENEWAL);
    assert!(renewed.json()["CkcMessage"].is_string());
    assert_eq!(renewed.json()["heartbeat_seconds"], 30);
    assert_eq!(ssm("teardown", &session).json(), json!({}));
    assert_eq!(play(&session, RENEWAL).refusal(), "session_ended");
    assert_eq!(ssm("heartbeat", &session).refusal(), "session_ended");
    assert_eq!(ssm("setup", &content("c")).status, 200);
    let kill = |bearer: &str| {
        let body = br#"{"accountId":"account-1"}"#;
        let bearer = format!("Bearer {bearer}");
        let headers = [("authorization", bearer.as_str())];
        server.with(
            "POST",
            "/TENANT/ssm/v1/sessions/killAccountSessions",
            &headers,
            body,
        )
    };
    assert_eq!(kill("somebody").refusal(), "operator_token");
    assert_eq!(kill(OPERATOR).status, 200);
    assert_eq!(ssm("setup", &content("d")).status, 200);
    server.stop();

    let off = deployment(&[]);
    let nowhere = off.with("POST", "/TENANT/ssm/v1/sessions/setup", &[], b"");
    assert_eq!(nowhere.refusal(), "route_not_found");
}

#[test]
fn what_a_clock_that_was_ahead_wrote_counts_for_nothing_once_it_is_right() {
    let deployment = deployment(&[]);
    let token = token(&streams(1));
    let now = deployment.platform.now.get();
    deployment.wait(3 * 3_600);
    let session = deployment.open_as(&token, "television").session();
    deployment.platform.now.set(now);
    // It holds no slot, for anybody.
    assert_eq!(deployment.heartbeat(&session).refusal(), "session_lapsed");
    let next = deployment.open_as(&token, "phone").session();
    assert_eq!(deployment.open(&token).refusal(), "streams_exceeded");
    assert_eq!(deployment.heartbeat(&next).status, 200);
    // A clock that is ahead by the guard of five seconds, near the end of its period, is as it may be.
    deployment.platform.now.set(now / 60 * 60 + 600 - 1);
    let late = token_of("viewer-2", &streams(1));
    let session = deployment.open(&late).session();
    deployment.platform.now.set(now / 60 * 60 + 600 - 6);
    assert_eq!(deployment.heartbeat(&session).status, 200);
    assert_eq!(deployment.open(&late).refusal(), "streams_exceeded");
}

#[test]
fn a_session_lapses_at_the_end_of_the_period_after_the_one_it_was_heard_of_in() {
    let deployment = deployment(&[]);
    let token = token(&streams(1));
    let session = deployment.open(&token).session();
    assert_eq!(session.expires_at, 1_800_000_115);
    deployment.wait(114);
    assert_eq!(deployment.open(&token).refusal(), "streams_exceeded");
    deployment.wait(5);
    assert_eq!(deployment.heartbeat(&session).refusal(), "session_lapsed");
    assert_eq!(deployment.open(&token).refusal(), "streams_exceeded");
    deployment.wait(1);
    let next = deployment.open(&token).session();
    // The other's is not its any more, and says so.
    assert_eq!(deployment.heartbeat(&session).refusal(), "session_lapsed");
    assert_eq!(deployment.end(&session).status, 204);
    assert_eq!(deployment.heartbeat(&next).status, 200);
    assert_eq!(deployment.open(&token).refusal(), "streams_exceeded");
}

#[test]
fn who_is_heard_of_in_each_period_plays_on_for_ever() {
    let deployment = deployment(&[]);
    let token = token(&streams(2));
    let mut held = [
        deployment.open(&token).session(),
        deployment.open(&token).session(),
    ];
    for period in 1..500 {
        // Once a period is enough, at any time in it but its last seconds.
        let time = 1_800_000_000 + period * PERIOD + period * 37 % 55;
        deployment.platform.now.set(time);
        for session in &mut held {
            *session = deployment.heartbeat(session).session();
        }
        assert_eq!(deployment.open(&token).refusal(), "streams_exceeded");
    }
    let keys = deployment.platform.store.borrow().as_ref().unwrap().len();
    assert_eq!(keys, 4, "a record and a counter a slot");
}

#[test]
fn a_lost_answer_does_not_end_playback() {
    let deployment = deployment(&[]);
    let token = token(&streams(1));
    let first = deployment.open(&token).session();
    deployment.wait(PERIOD);
    let second = deployment.heartbeat(&first).session();
    assert_ne!(first.token, second.token, "each period brings a new token");
    // The answer is lost: the player keeps using the one that it has.
    assert_eq!(deployment.heartbeat(&first).session(), second);
    deployment.wait(PERIOD);
    let third = deployment.heartbeat(&first).session();
    deployment.wait(PERIOD);
    assert_eq!(deployment.heartbeat(&first).refusal(), "session_lapsed");
    assert_eq!(deployment.heartbeat(&third).status, 200);
}

#[test]
fn the_oldest_session_makes_room_where_the_terms_say_so() {
    let deployment = deployment(&[]);
    let token = token(&json!({"max_streams": 2, "streams_full": "end_oldest"}));
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(deployment.open(&token).session());
        deployment.wait(1);
    }
    let third = deployment.open(&token).session();
    assert_eq!(deployment.heartbeat(&held[0]).refusal(), "session_ended");
    assert_eq!(deployment.heartbeat(&held[1]).status, 200);
    assert_eq!(deployment.heartbeat(&third).status, 200);
    // A stream that continues does not end another's session.
    let (reply, _) = deployment.play(&token, None, &player(1, "movie", RENEWAL));
    assert_eq!(reply.refusal(), "streams_exceeded");
    let (reply, _) = deployment.play(&token, None, &player(1, "movie", FIRST));
    assert_eq!(reply.status, 200);
    assert_eq!(deployment.heartbeat(&held[1]).refusal(), "session_ended");
}

#[test]
fn a_player_without_sessions_has_one_by_its_licence_and_keeps_it_by_renewals() {
    let deployment = deployment(&[]);
    let token = token(&streams(1));
    let (reply, licence) = deployment.play(&token, None, &player(1, "movie", FIRST));
    assert_eq!(lease(licence), Some(115));
    assert_eq!(reply.headers["x-keylet-renew-after"], "77");
    assert_eq!(deployment.audit()["session"]["state"], "opened");
    assert!(!reply.headers.contains_key("keylet-session"));
    // Another key of the same title, and the same once more.
    for asset in ["other", "movie"] {
        let (reply, _) = deployment.play(&token, None, &player(1, asset, FIRST));
        assert_eq!(reply.status, 200);
    }
    assert_eq!(deployment.audit()["session"]["state"], "continued");
    let refused = |number| {
        deployment
            .play(&token, None, &player(number, "movie", FIRST))
            .0
    };
    assert_eq!(refused(2).refusal(), "streams_exceeded");
    let mut reply = reply;
    for _ in 0..20 {
        let renew_after = reply.headers["x-keylet-renew-after"].to_str().unwrap();
        deployment.wait(renew_after.parse().unwrap());
        reply = deployment
            .play(&token, None, &player(1, "movie", RENEWAL))
            .0;
        assert_eq!(reply.status, 200);
        assert_eq!(refused(2).refusal(), "streams_exceeded");
    }
    deployment.wait(2 * PERIOD);
    assert_eq!(refused(2).status, 200);
    let (reply, _) = deployment.play(&token, None, &player(1, "movie", RENEWAL));
    assert_eq!(reply.refusal(), "streams_exceeded");
}

#[test]
fn a_device_that_stops_frees_its_slot() {
    let deployment = deployment(&[]);
    let token = token(&streams(1));
    assert_eq!(
        deployment
            .play(&token, None, &player(1, "movie", FIRST))
            .0
            .status,
        200
    );
    let (reply, _) = deployment.play(&token, None, &player(1, "movie", STOPPED));
    assert_eq!(reply.status, 204);
    // The viewer goes on with another device: once at once, and then when the lease is over.
    let play = |number| {
        deployment
            .play(&token, None, &player(number, "movie", FIRST))
            .0
    };
    assert_eq!(play(2).status, 200);
    let (reply, _) = deployment.play(&token, None, &player(2, "movie", STOPPED));
    assert_eq!(reply.status, 204);
    assert_eq!(play(3).refusal(), "streams_exceeded");
    // The device that stopped has its slot at once.
    assert_eq!(play(2).status, 200);
    let (reply, _) = deployment.play(&token, None, &player(2, "movie", STOPPED));
    assert_eq!(reply.status, 204);
    deployment.wait(2 * PERIOD);
    assert_eq!(play(3).status, 200);
}

#[test]
fn airplay_and_another_start_of_the_same_device_use_no_second_slot() {
    let deployment = deployment(&[]);
    let token = token(&streams(1));
    assert_eq!(
        deployment
            .play(&token, None, &player(1, "movie", FIRST))
            .0
            .status,
        200
    );
    // The television has another HU, and the playback session of the telephone.
    let television = SpcOptions {
        hu: Some([9; 20]),
        ..player(1, "movie", FIRST)
    };
    assert_eq!(deployment.play(&token, None, &television).0.status, 200);
    let resumed = SpcOptions {
        hu: Some([1; 20]),
        ..player(8, "movie", FIRST)
    };
    assert_eq!(deployment.play(&token, None, &resumed).0.status, 200);
    assert_eq!(
        deployment
            .play(&token, None, &player(2, "movie", FIRST))
            .0
            .refusal(),
        "streams_exceeded"
    );
    // So with an app that calls itself by a name.
    let deployment = self::deployment(&[]);
    let session = deployment.open_as(&token, "tablet").session();
    assert_eq!(
        deployment.open_as(&token, "tablet").session().id,
        session.id
    );
    assert_eq!(
        deployment.open_as(&token, "other").refusal(),
        "streams_exceeded"
    );
}

#[test]
fn a_session_is_the_first_devices_that_plays_in_it() {
    let deployment = deployment(&[]);
    let token = token(&streams(2));
    let session = deployment.open(&token).session();
    let play = |number| {
        deployment
            .play(&token, Some(&session), &player(number, "movie", FIRST))
            .0
    };
    assert_eq!(play(1).status, 200);
    assert_eq!((play(2).status, play(2).refusal()), (403, "session_device"));
    let airplay = SpcOptions {
        hu: Some([3; 20]),
        ..player(1, "movie", FIRST)
    };
    assert_eq!(
        deployment.play(&token, Some(&session), &airplay).0.status,
        200
    );
    // And its viewer's.
    let other = token_of("viewer-2", &streams(2));
    let (reply, _) = deployment.play(&other, Some(&session), &player(1, "movie", FIRST));
    assert_eq!((reply.status, reply.refusal()), (401, "session_token"));
}

#[test]
fn every_licence_of_a_stream_has_a_lease_no_longer_than_its_slot() {
    let deployment = deployment(&[]);
    let token = token(&streams(1));
    let session = deployment.open(&token).session();
    let device = player(1, "movie", FIRST);
    let (_, licence) = deployment.play(&token, Some(&session), &device);
    assert_eq!(lease(licence), Some(115));
    let short = self::token(&json!({"max_streams": 1, "lease_seconds": 20}));
    let (_, licence) = deployment.play(&short, Some(&session), &device);
    assert_eq!(lease(licence), Some(20));
}

#[test]
fn a_session_token_is_this_servers_and_names_its_session() {
    let deployment = deployment(&[]);
    let token = token(&streams(3));
    let session = deployment.open(&token).session();
    let other = deployment.open(&token).session();
    let with = |token: &str| Ours {
        token: token.to_owned(),
        ..session.clone()
    };
    assert_eq!(deployment.heartbeat(&with("")).refusal(), "session_missing");
    let (signed, _) = session.token.rsplit_once('.').unwrap();
    let playback = self::token(&streams(1));
    for wrong in [
        "nonsense",
        "a.b.c",
        &playback,
        &other.token,
        &format!("{signed}."),
        &format!("{signed}.AAAA"),
        &session.token.replacen('.', "", 1),
        &"x".repeat(5_000),
    ] {
        let reply = deployment.heartbeat(&with(wrong));
        assert_eq!(
            (reply.status, reply.refusal()),
            (401, "session_token"),
            "{wrong}"
        );
        assert_eq!(deployment.end(&with(wrong)).refusal(), "session_token");
    }
    // It entitles to nothing by itself.
    let (reply, _) = deployment.play(&session.token, None, &player(1, "movie", FIRST));
    assert_eq!(reply.status, 401);
    assert_eq!(deployment.open(&session.token).status, 401);
    assert_eq!(deployment.heartbeat(&session).status, 200);
}

#[test]
fn an_operator_sees_and_ends_sessions() {
    let deployment = deployment(&[]);
    let token = token(&streams(3));
    let held: Vec<Ours> = (0..3).map(|_| deployment.open(&token).session()).collect();
    let play = deployment.play(&token, Some(&held[0]), &player(1, "movie", FIRST));
    assert_eq!(play.0.status, 200);
    let device = deployment.audit()["device"]["id"].clone();
    let other = deployment
        .open(&token_of("viewer-2", &streams(1)))
        .session();
    let listed = |subject: &str| {
        let listed = deployment.as_operator("GET", &format!("/sessions?subject={subject}"));
        listed.json()["sessions"].as_array().unwrap().clone()
    };
    let sessions = listed("viewer-1");
    assert_eq!(sessions.len(), 3);
    assert_eq!(sessions[0]["session_id"], held[0].id);
    assert_eq!(sessions[0]["device_id"], device);
    assert_eq!(sessions[0]["opened_at"], 1_800_000_000);
    assert_eq!(sessions[0]["expires_at"], 1_800_000_115);

    let path = format!("/sessions/{}?subject=viewer-1", held[1].id);
    assert_eq!(deployment.as_operator("DELETE", &path).status, 204);
    assert_eq!(deployment.heartbeat(&held[1]).refusal(), "session_ended");
    assert_eq!(listed("viewer-1").len(), 2);
    let ended = deployment.as_operator("DELETE", "/sessions?subject=viewer-1");
    assert_eq!(ended.json()["ended"], 2);
    for session in &held {
        assert_eq!(deployment.heartbeat(session).refusal(), "session_ended");
    }
    assert_eq!(deployment.heartbeat(&other).status, 200);
    assert_eq!(
        deployment
            .as_operator("DELETE", "/sessions?subject=*")
            .json()["ended"],
        1
    );
    assert_eq!(deployment.heartbeat(&other).refusal(), "session_ended");
    assert_eq!(
        deployment.as_operator("DELETE", "/sessions").refusal(),
        "request_malformed"
    );
    for method in ["GET", "DELETE"] {
        let reply = deployment.with(method, "/sessions?subject=viewer-1", &[], b"");
        assert_eq!(reply.refusal(), "operator_token");
    }
    let nobody = self::deployment(&[("operator_token", "")]);
    assert_eq!(
        nobody.as_operator("GET", "/sessions?subject=a").refusal(),
        "route_not_found"
    );
}

#[test]
fn what_cannot_be_counted_is_refused_by_name() {
    let asked = |deployment: &Deployment, token: &str| {
        let play = deployment.play(token, None, &player(1, "movie", FIRST)).0;
        (
            play.refusal().to_owned(),
            deployment.open(token).refusal().to_owned(),
        )
    };
    let pair = |play: &str, open: &str| (play.to_owned(), open.to_owned());
    let limited = token(&streams(1));
    let off = deployment(&[("server_secret", "")]);
    assert_eq!(
        asked(&off, &limited),
        pair("term_unsupported", "sessions_off")
    );
    let nobody = crate::upstream::claims(
        json!({"sub": null, "entitlements": [{"keys": "*", "max_streams": 1}]}),
    );
    let nobody = signed(&ISSUER, Some("issuer"), &nobody);
    let on = deployment(&[]);
    assert_eq!(
        asked(&on, &nobody),
        pair("term_unsupported", "term_unsupported")
    );
    for wrong in [json!(0), json!(65), json!("2"), json!(-1)] {
        let wrong = token(&json!({"max_streams": wrong}));
        assert_eq!(asked(&on, &wrong), pair("terms_invalid", "terms_invalid"));
    }
    let server = serve(
        World::Wasi,
        &StoreChoice::Memory,
        &[("store_failure", "allow")],
    );
    let reply = server.play(&limited, None, &player(1, "movie", FIRST)).0;
    assert_eq!((reply.status, reply.refusal()), (503, "store_unsupported"));
    assert_eq!(server.open(&limited).refusal(), "store_unsupported");
    server.stop();
    for (body, code) in [
        ("{", "request_malformed"),
        (r#"{"devices":1}"#, "request_malformed"),
    ] {
        let bearer = format!("Bearer {limited}");
        let reply = on.with(
            "POST",
            "/sessions",
            &[("authorization", &bearer)],
            body.as_bytes(),
        );
        assert_eq!(reply.refusal(), code);
    }
    let (reply, _) = on.play_at(
        "/fairplay?licenseType=persist",
        &limited,
        None,
        &player(1, "movie", FIRST),
    );
    assert_eq!(reply.refusal(), "request_malformed");
}

#[test]
fn while_the_store_is_away_store_failure_decides_and_the_audit_says_so() {
    for (setting, status) in [("deny", 503), ("allow", 200)] {
        let deployment = deployment(&[("store_failure", setting)]);
        let token = token(&streams(1));
        let before = deployment.open(&token).session();
        let kept = deployment
            .platform
            .store
            .replace(Err(Error::Store("away".to_owned())));
        let opened = deployment.open(&token);
        let (played, _) = deployment.play(&token, None, &player(1, "movie", FIRST));
        deployment.wait(PERIOD);
        let beat = deployment.heartbeat(&before);
        assert_eq!(
            (opened.status, played.status, beat.status),
            (status, status, status)
        );
        if setting == "deny" {
            assert_eq!(beat.refusal(), "store_unavailable");
            assert_eq!(deployment.audit()["code"], "store_unavailable");
        } else {
            assert_eq!(deployment.audit()["session"]["state"], "unchecked");
        }
        // It is back, as it was.
        *deployment.platform.store.borrow_mut() = kept;
        if setting == "deny" {
            assert_eq!(deployment.heartbeat(&before).status, 200);
        } else {
            let held = deployment.heartbeat(&beat.session()).session();
            assert_eq!(held.id, before.id, "it goes on with the slot that it had");
            assert_eq!(
                deployment.heartbeat(&opened.session()).refusal(),
                "streams_exceeded"
            );
        }
        assert_eq!(deployment.open(&token).refusal(), "streams_exceeded");
    }
}

#[test]
fn a_session_that_nobody_counted_lapses_as_others_do() {
    let deployment = deployment(&[("store_failure", "allow")]);
    let playing = token(&streams(1));
    let kept = deployment
        .platform
        .store
        .replace(Err(Error::Store("away".to_owned())));
    let [renewed, silent, ended] = [(); 3].map(|()| deployment.open(&playing).session());
    *deployment.platform.store.borrow_mut() = kept;
    assert_eq!(deployment.end(&ended).status, 204);
    assert_eq!(deployment.heartbeat(&ended).refusal(), "session_ended");
    deployment.wait(PERIOD);
    assert_eq!(deployment.heartbeat(&renewed).status, 200);
    let freed = deployment.end(&deployment.heartbeat(&renewed).session());
    assert_eq!(freed.status, 204);
    deployment.wait(3 * PERIOD);
    assert_eq!(deployment.heartbeat(&silent).refusal(), "session_lapsed");
    assert_eq!(deployment.open(&playing).status, 200);
}

#[test]
fn a_device_that_stopped_frees_its_slot_whatever_has_ended() {
    let deployment = deployment(&[]);
    let now = deployment.platform.now.get();
    let short = json!({"max_streams": 1, "not_after": now + 30});
    let token = token(&short);
    let first = player(1, "movie", FIRST);
    assert_eq!(deployment.play(&token, None, &first).0.status, 200);
    let other = player(2, "movie", FIRST);
    assert_eq!(
        deployment.play(&token, None, &other).0.refusal(),
        "streams_exceeded"
    );
    deployment.wait(31);
    assert_eq!(
        deployment.play(&token, None, &first).0.refusal(),
        "entitlement_ended"
    );
    let stopped = player(1, "movie", STOPPED);
    assert_eq!(deployment.play(&token, None, &stopped).0.status, 204);
    let longer = self::token(&streams(1));
    assert_eq!(deployment.play(&longer, None, &other).0.status, 200);
}

#[test]
fn a_host_that_dies_between_two_steps_loses_no_session_and_frees_no_slot() {
    let token = token(&streams(1));
    let first = player(1, "movie", FIRST);
    for operations in 0..12 {
        // While a device asks for its first licence: it gets it when it asks again.
        let mut deployment = deployment(&[]);
        deployment.platform.operations.set(Some(operations));
        deployment.play(&token, None, &first);
        deployment.platform.operations.set(None);
        deployment.next_instance();
        let again = deployment.play(&token, None, &first).0;
        assert_eq!(again.status, 200, "after {operations}: {:?}", again.code);
        let other = deployment.play(&token, None, &player(2, "movie", FIRST)).0;
        assert_eq!(other.refusal(), "streams_exceeded", "after {operations}");
    }
    // While it renews, or an app sends a heartbeat, it continues.
    for operations in 0..12 {
        let mut deployment = deployment(&[]);
        let session = deployment.open(&token).session();
        deployment.wait(PERIOD);
        deployment.platform.operations.set(Some(operations));
        deployment.heartbeat(&session);
        deployment.platform.operations.set(None);
        deployment.next_instance();
        assert_eq!(deployment.open(&token).refusal(), "streams_exceeded");
        let session = deployment.heartbeat(&session).session();
        deployment.wait(PERIOD);
        assert_eq!(deployment.open(&token).refusal(), "streams_exceeded");
        let session = deployment.heartbeat(&session).session();
        // While it ends: it has ended, or ends when it is asked again, or lapses.
        deployment.platform.operations.set(Some(operations));
        deployment.end(&session);
        deployment.platform.operations.set(None);
        deployment.next_instance();
        let is_alive = deployment.heartbeat(&session).status == 200;
        assert!(!is_alive || deployment.open(&token).refusal() == "streams_exceeded");
        assert_eq!(deployment.end(&session).status, 204);
        assert_eq!(deployment.heartbeat(&session).refusal(), "session_ended");
        deployment.wait(2 * PERIOD);
        assert_eq!(deployment.open(&token).status, 200, "after {operations}");
    }
}

#[test]
fn a_host_that_is_started_again_on_its_file_has_its_sessions() {
    let directory = Directory::new("again");
    let store = StoreChoice::File(directory.file("store"));
    let token = token(&streams(2));
    let server = serve(World::Wasip2, &store, &[]);
    let [kept, ended] = [(); 2].map(|()| server.open(&token).session());
    server.stop();
    let server = serve(World::Wasip3, &store, &[]);
    assert_eq!(server.open(&token).refusal(), "streams_exceeded");
    assert_eq!(server.end(&ended).status, 204);
    server.stop();
    let server = serve(World::Wasip2, &store, &[]);
    assert_eq!(server.heartbeat(&ended).refusal(), "session_ended");
    assert_eq!(server.heartbeat(&kept).status, 200);
    server.open(&token).session();
    assert_eq!(server.open(&token).refusal(), "streams_exceeded");
    server.stop();
}

#[test]
fn keys_do_not_grow_with_the_sessions_that_a_viewer_has_had() {
    let deployment = deployment(&[]);
    let token = token(&streams(2));
    for round in 0..300_u64 {
        let session = deployment.open(&token).session();
        if round % 3 == 0 {
            deployment.wait(3 * PERIOD);
        } else {
            deployment.wait(5);
            deployment.end(&session);
        }
        let store = deployment.platform.store.borrow();
        let keys = store.as_ref().unwrap().len();
        assert!(keys < 20, "after {round}: {keys}");
    }
}

#[test]
fn a_licence_in_a_session_costs_a_few_operations() {
    let deployment = deployment(&[]);
    let token = token(&streams(3));
    let count = |act: &dyn Fn()| {
        deployment.platform.operations.set(Some(1_000));
        act();
        1_000 - deployment.platform.operations.get().unwrap()
    };
    let device = player(1, "movie", FIRST);
    let play = || drop(deployment.play(&token, None, &device));
    assert_eq!(count(&play), 5, "the first licence");
    assert_eq!(count(&play), 2, "another one in the same period");
    deployment.wait(PERIOD);
    assert_eq!(count(&play), 5, "the first one of a period");
    deployment.platform.operations.set(None);
    let session = deployment.open(&token).session();
    let beat = || drop(deployment.heartbeat(&session));
    assert_eq!(count(&beat), 1, "a heartbeat");
    deployment.wait(PERIOD);
    assert_eq!(count(&beat), 5, "the first one of a period");
}

/// What the players of a storm hold, each until a second since 1970.
#[derive(Default)]
struct Holders(Mutex<BTreeMap<usize, u64>>);

impl Holders {
    /// Takes note of a session, and counts those that are alive.
    fn hold(&self, player: usize, until: u64) -> usize {
        let mut holders = self.0.lock().unwrap();
        holders.insert(player, until);
        let now = system_time();
        holders.retain(|_, until| *until > now);
        holders.len()
    }

    fn leave(&self, player: usize) {
        self.0.lock().unwrap().remove(&player);
    }
}

/// How many rounds a storm has.
fn rounds() -> usize {
    std::env::var("KEYLET_STORM_ROUNDS").map_or(40, |rounds| rounds.parse().unwrap())
}

/// 64 players of one viewer who may have three streams, on one host or several: in each round every one
/// makes a move. Short periods let time play along. Where rounds are so quick that all who play are
/// silent, there are more of them.
fn storm(servers: &[Server], rounds: usize) {
    const PLAYERS: usize = 64;
    const LIMIT: usize = 3;
    const LONGEST: Duration = Duration::from_secs(60);
    let token = token(&streams(3));
    let holders = Holders::default();
    let barrier = Barrier::new(PLAYERS);
    let (began, round, is_over) = (Instant::now(), AtomicUsize::new(0), AtomicBool::new(false));
    let (opened, lapsed, ended) = (
        AtomicUsize::new(0),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    std::thread::scope(|scope| {
        for player in 0..PLAYERS {
            let (token, holders, barrier) = (&token, &holders, &barrier);
            let (opened, lapsed, ended) = (&opened, &lapsed, &ended);
            let (round, is_over) = (&round, &is_over);
            scope.spawn(move || {
                let mut chance = Chance(player as u64 + 1);
                let mut held: Option<Ours> = None;
                let mut past: Option<Ours> = None;
                let mut silent_until = 0;
                loop {
                    if barrier.wait().is_leader() {
                        let has_moved = opened.load(Ordering::Relaxed) > LIMIT
                            && ended.load(Ordering::Relaxed) > 0;
                        let round = round.fetch_add(1, Ordering::Relaxed);
                        let is_late = began.elapsed() > LONGEST;
                        is_over.store(round >= rounds && (has_moved || is_late), Ordering::Relaxed);
                    }
                    barrier.wait();
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    let server =
                        &servers[usize::try_from(chance.below(1 << 20)).unwrap() % servers.len()];
                    let Some(session) = held.take() else {
                        // Somebody else's turn may have come since: a session that lapsed is over.
                        if let Some(past) = past.take().filter(|_| chance.below(4) == 0) {
                            let code = server.heartbeat(&past).code;
                            assert!(
                                matches!(code.as_deref(), Some("session_lapsed" | "session_ended")),
                                "{code:?}"
                            );
                        }
                        let reply = server.open(token);
                        if reply.status == 200 {
                            let session = reply.session();
                            let alive = holders.hold(player, session.expires_at);
                            assert!(alive <= LIMIT, "{alive} sessions are alive");
                            opened.fetch_add(1, Ordering::Relaxed);
                            held = Some(session);
                        } else {
                            assert_eq!(reply.refusal(), "streams_exceeded");
                        }
                        continue;
                    };
                    if system_time() < silent_until {
                        held = Some(session);
                        continue;
                    }
                    match chance.below(10) {
                        // It is torn down.
                        0 | 1 => {
                            holders.leave(player);
                            assert_eq!(server.end(&session).status, 204);
                            ended.fetch_add(1, Ordering::Relaxed);
                        }
                        // It vanishes: what it holds it holds until it lapses.
                        2 => past = Some(session).filter(|past| past.expires_at <= system_time()),
                        // It is silent for a while, and late perhaps.
                        3 => {
                            silent_until = system_time() + chance.below(10);
                            held = Some(session);
                        }
                        _ => {
                            let had = session.expires_at;
                            let reply = server.heartbeat(&session);
                            if reply.status == 200 {
                                let session = reply.session();
                                let alive = holders.hold(player, session.expires_at);
                                assert!(alive <= LIMIT, "{alive} sessions are alive");
                                held = Some(session);
                            } else {
                                assert_eq!(reply.refusal(), "session_lapsed");
                                assert!(system_time() >= had, "an alive session was refused");
                                lapsed.fetch_add(1, Ordering::Relaxed);
                                past = Some(session);
                            }
                        }
                    }
                }
            });
        }
    });
    let count = |counter: AtomicUsize| counter.into_inner();
    let counts = (count(opened), count(ended), count(lapsed));
    println!(
        "{} rounds: {} opened, {} ended, {} lapsed",
        round.into_inner() - 1,
        counts.0,
        counts.1,
        counts.2
    );
    assert!(counts.0 > LIMIT && counts.1 > 0, "{counts:?}");

    // Every slot is free again.
    std::thread::sleep(Duration::from_secs(9));
    for _ in 0..LIMIT {
        servers[0].open(&token).session();
    }
    assert_eq!(servers[0].open(&token).refusal(), "streams_exceeded");
}

#[test]
fn of_64_players_at_a_time_no_more_than_are_allowed_play() {
    let directory = Directory::new("storm");
    let store = StoreChoice::File(directory.file("store"));
    let server = serve(World::Wasip2, &store, &[("session_period", "4")]);
    storm(std::slice::from_ref(&server), rounds());
    server.stop();
}

#[test]
fn nor_do_more_on_two_hosts_with_one_redis() {
    let Some((_redis, store)) = redis("nor_do_more_on_two_hosts_with_one_redis") else {
        return;
    };
    let hosts = SPINS.map(|world| serve(world, &store, &[("session_period", "4")]));
    storm(&hosts, rounds());
    hosts.into_iter().for_each(Server::stop);
}

#[test]
fn two_keys_that_a_device_asks_for_at_a_time_are_one_stream() {
    for world in SPINS {
        let server = serve(world, &StoreChoice::Memory, &[]);
        for viewer in 0..10 {
            let token = token_of(&format!("viewer-{viewer}"), &streams(1));
            std::thread::scope(|scope| {
                for asset in ["movie", "other", "hd"] {
                    let (server, token) = (&server, &token);
                    scope.spawn(move || {
                        let (reply, _) = server.play(token, None, &player(1, asset, FIRST));
                        assert_eq!(reply.status, 200, "{:?}", reply.code);
                    });
                }
            });
            let (reply, _) = server.play(&token, None, &player(2, "movie", FIRST));
            assert_eq!(reply.refusal(), "streams_exceeded");
        }
        server.stop();
    }
}

/// What a session adds to a licence: run it alone, and with `--nocapture`.
#[test]
#[ignore = "it measures, and says nothing of what is right"]
fn what_a_session_adds_to_a_licence() {
    let directory = Directory::new("figures");
    let mut stores = vec![
        ("memory", StoreChoice::Memory),
        ("file", StoreChoice::File(directory.file("store"))),
    ];
    let redis = redis("what_a_session_adds_to_a_licence");
    stores.extend(redis.as_ref().map(|(_, store)| ("Redis", store.clone())));
    for (name, store) in stores {
        let server = serve(World::Wasip2, &store, &[]);
        let median = |act: &mut dyn FnMut(usize)| {
            let mut times: Vec<Duration> = (0..300)
                .map(|round| {
                    let started = Instant::now();
                    act(round);
                    started.elapsed()
                })
                .collect();
            times.sort();
            times[150].as_secs_f64() * 1e3
        };
        let free = token(&json!({}));
        let device = player(1, "movie", FIRST);
        let (message, _) = spc(&device);
        let play = |token: &str| {
            let bearer = format!("Bearer {token}");
            let reply = server.with("POST", "/fairplay", &[("authorization", &bearer)], &message);
            assert_eq!(reply.status, 200);
        };
        let without = median(&mut |_| play(&free));
        let tokens: Vec<String> = (0..300)
            .map(|n| token_of(&format!("v{n}"), &streams(3)))
            .collect();
        let first = median(&mut |round| play(&tokens[round]));
        let next = median(&mut |round| play(&tokens[round]));
        let session = server.open(&tokens[0]).session();
        let beat = median(&mut |_| assert_eq!(server.heartbeat(&session).status, 200));
        println!(
            "{name}: licence {without:.2} ms, the first of a session {first:.2}, another {next:.2}; heartbeat {beat:.2}"
        );
        server.stop();
    }
}

/// What the page's client for JavaScript is asked to do.
const SCRIPT: &str = r#"
import { readFileSync } from "node:fs";
import { StreamSession } from "./client.mjs";

const [server, token, operator, spc] = process.argv.slice(2);
const message = readFileSync(spc);
let ended = null;
const session = new StreamSession(server, token, (reason) => { ended = reason; });
await session.open();
const first = session.id;
const ckc = await session.license(message);
await session.beat();
// An operator ends it: the next heartbeat says so.
const headers = { authorization: `Bearer ${operator}` };
const deleted = await fetch(`${server}/sessions?subject=viewer-1`, { method: "DELETE", headers });
await session.beat();
// Another one begins, and ends by itself.
const next = new StreamSession(server, token, () => {});
await next.open();
await next.close();
clearInterval(session.timer);
console.log(JSON.stringify({ ckc: Buffer.from(ckc).toString("hex"), deleted: deleted.status, ended, isNew: next.id !== first }));
"#;

#[test]
fn the_javascript_client_of_the_page_plays() {
    let page = include_str!("../../docs/sessions.md");
    let (_, client) = page.split_once("```js\n").unwrap();
    let (client, _) = client.split_once("```").unwrap();
    assert!(client.lines().count() < 45, "about thirty lines");
    let directory = Directory::new("javascript-session");
    std::fs::write(directory.file("client.mjs"), client).unwrap();
    std::fs::write(directory.file("play.mjs"), SCRIPT).unwrap();
    let (message, secrets) = spc(&player(1, "movie", FIRST));
    std::fs::write(directory.file("spc.bin"), message).unwrap();

    let server = serve(World::Wasip2, &StoreChoice::Memory, &[]);
    let played = Command::new("node")
        .arg("play.mjs")
        .args([&server.url(), &token(&streams(1)), OPERATOR, "spc.bin"])
        .current_dir(&directory.0)
        .output();
    let Ok(played) = played else {
        keylet_e2e::skip("node", "the JavaScript client", "there is no node");
        return;
    };
    let error = String::from_utf8_lossy(&played.stderr);
    assert!(played.status.success(), "{error}");
    let reply: Value = serde_json::from_slice(&played.stdout).unwrap();
    let ckc = hex::decode(reply["ckc"].as_str().unwrap()).unwrap();
    assert!(Licence::open(&ckc, &secrets).is_ok());
    assert_eq!(
        (&reply["deleted"], &reply["isNew"]),
        (&json!(200), &json!(true))
    );
    assert_eq!(reply["ended"], "session_ended");
    server.stop();
}
