//! What is asked of the service, and the servers that it asks.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Request, Response};
use keylet::fairplay::tag::Tag;
use keylet::id::Kid;
use keylet_cli::device::{Secrets, SpcOptions};
use keylet_cli::jwt::Signer;
use keylet_host::Provided;
use serde_json::{Value, json};

use crate::sessions::{FIRST, OPERATOR, RENEWAL, STOPPED, player};
use crate::support::{spc, variables_with};
use crate::upstream::{Reply, claims, jwks, signed};
use crate::{playready, widevine};

/// An SPC, and what opens its CKC.
type Sent = Rc<(Vec<u8>, Secrets)>;

const VIEWERS: Signer = Signer::EdDsa([1; 32]);
const ASKED: Signer = Signer::EdDsa([2; 32]);
const PUBLISHED: Signer = Signer::EdDsa([3; 32]);

/// The key that everything has.
pub const KEY: &str = "00112233445566778899aabbccddeeff";

/// How many licences a token of [`Wish::Uses`] is good for, and repeats of each beside it.
pub const USES: u32 = 2;
pub const REPEATS: usize = 3;
pub const REPEAT_SECONDS: u64 = 30;

/// How many streams the viewers have.
pub const STREAMS: [usize; 2] = [1, 2];

/// Seconds of a period of sessions, of a lease, and of what a token that ends is good for beyond its `exp`.
pub const PERIOD: u64 = 60;
pub const LEASE: u32 = 600;
pub const LEEWAY: u64 = 60;

/// Limits of `abuse`, where they are set.
pub const PER_MINUTE: usize = 4;
pub const DEVICES_A_DAY: usize = 2;

/// KIDs of a key of the key server, and of one that Clear Key may have.
const FETCHED: &str = "5f2c0f4e-3c8b-4d2a-9a43-0d5a3b0c1d2e";
const CLEAR: &str = "0f0e0d0c-0b0a-0908-0706-050403020100";

/// What a player, an operator or a probe wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// A licence with a lease.
    Plain,
    /// One whose token and terms end.
    Ending,
    /// One of a token, by its number, that is good for some, on a device.
    Uses(u64, u8),
    /// One of `abuse`'s subject, on a device.
    Abusive(u8),
    /// One of a stream without a session of its own: viewer, device, playback state.
    Stream(u64, u8, u32),
    /// A session of the same.
    Open(u64, u8),
    /// A heartbeat in it: its id and token.
    Beat(u64, u8, Ours),
    /// A licence in it.
    Play(u64, u8, Ours),
    /// Its end.
    End(u64, u8, Ours),
    /// Licences of keys that are stored, fetched and of each system.
    Stored,
    Fetched,
    Widevine,
    PlayReady,
    ClearKey,
    /// Where the back end of the operator decides, and where the token's keys are published.
    Asked,
    Published,
    /// A challenge, and the report that answers it.
    Challenge,
    CheckIn([u8; 8]),
    /// What operators do.
    Put,
    Read,
    Mint,
    Health,
    Sweep,
}

/// A session as its player knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ours {
    pub id: String,
    pub token: String,
}

impl Wish {
    /// The codes that it may be refused with where nothing fails.
    pub fn codes(&self) -> &'static [&'static str] {
        match self {
            Self::Ending => &["token_expired", "entitlement_ended"],
            Self::Uses(..) => &["uses_spent"],
            Self::Abusive(..) => &["abuse_limit"],
            Self::Open(..) | Self::Stream(..) => &["streams_exceeded", "session_ended"],
            Self::Beat(..) | Self::Play(..) => {
                &["streams_exceeded", "session_ended", "session_lapsed"]
            }
            Self::CheckIn(_) => &["challenge_invalid"],
            _ => &[],
        }
    }

    /// Whether it asks for a licence, which the audit tells.
    pub fn is_licence(&self) -> bool {
        matches!(
            self,
            Self::Plain
                | Self::Ending
                | Self::Uses(..)
                | Self::Abusive(..)
                | Self::Stream(..)
                | Self::Play(..)
                | Self::Stored
                | Self::Fetched
                | Self::Widevine
                | Self::PlayReady
                | Self::ClearKey
                | Self::Asked
                | Self::Published
        )
    }

    /// The request, and what opens the CKC of its answer. `began`: when the seed began, in seconds since 1970.
    pub fn request(&self, began: u64) -> (Request<Vec<u8>>, Option<Sent>) {
        let viewer = |more: Value| token(&VIEWERS, "viewers", "https://issuer.example", more);
        let lease = json!({"lease_seconds": LEASE});
        let stream = |number: u64| {
            let limit = STREAMS[usize::try_from(number).unwrap() % STREAMS.len()];
            viewer(of(
                &format!("viewer-{number}"),
                &json!({"max_streams": limit}),
            ))
        };
        let anybody = || viewer(of("anybody", &lease));
        let fairplay = |token: String, device: u8, asset: &str, state: u32| {
            let message = message(device, asset, state);
            let request = post("/fairplay", &token, &message.0);
            (request, Some(message))
        };
        let session = |request: &mut Request<Vec<u8>>, ours: &Ours| {
            let token = ours.token.parse().unwrap();
            request.headers_mut().insert("keylet-session", token);
        };
        match self {
            Self::Plain => fairplay(anybody(), 0, "movie", FIRST),
            Self::Ending => {
                let mut claims = of(
                    "ending",
                    &json!({"not_after": began + 400, "lease_seconds": LEASE}),
                );
                claims["exp"] = json!(began + 300);
                fairplay(viewer(claims), 1, "movie", FIRST)
            }
            Self::Uses(number, device) => {
                let mut claims = of(&format!("counted-{number}"), &json!({"max_uses": USES}));
                claims["jti"] = json!(format!("token-{number}"));
                fairplay(viewer(claims), *device, "movie", FIRST)
            }
            Self::Abusive(device) => {
                fairplay(viewer(of("abuser", &lease)), *device, "movie", FIRST)
            }
            Self::Stream(number, device, state) => {
                fairplay(stream(*number), *device, "movie", *state)
            }
            Self::Open(number, device) => {
                let body = json!({"device": format!("device-{device}")}).to_string();
                (post("/sessions", &stream(*number), body.as_bytes()), None)
            }
            Self::Beat(.., ours) => {
                let mut request = post(&format!("/sessions/{}/heartbeat", ours.id), "", b"");
                session(&mut request, ours);
                (request, None)
            }
            Self::Play(number, device, ours) => {
                let (mut request, secrets) = fairplay(stream(*number), *device, "movie", FIRST);
                session(&mut request, ours);
                (request, secrets)
            }
            Self::End(.., ours) => {
                let mut request = as_operator("DELETE", &format!("/sessions/{}", ours.id), b"");
                request.headers_mut().remove("authorization");
                session(&mut request, ours);
                (request, None)
            }
            Self::Stored => fairplay(anybody(), 0, "stored", FIRST),
            Self::Fetched => fairplay(anybody(), 0, FETCHED, FIRST),
            Self::Widevine => {
                let message = widevine::challenge(&[widevine::KEYS[0].0], 1);
                (
                    post("/widevine", &viewer(of("anybody", &json!({}))), &message),
                    None,
                )
            }
            Self::PlayReady => {
                let message = playready::challenge(&[(playready::A.1, r#"ALGID="AESCTR""#)]);
                let token = viewer(of("anybody", &json!({})));
                (post("/playready", &token, message.as_bytes()), None)
            }
            Self::ClearKey => {
                let kid = URL_SAFE_NO_PAD.encode(Kid::from_text(CLEAR).unwrap().as_bytes());
                let body = json!({"kids": [kid]}).to_string();
                let token = viewer(of("anybody", &json!({})));
                (post("/clearkey", &token, body.as_bytes()), None)
            }
            Self::Asked => {
                let claims = json!({"sub": "asked"});
                let token = token(&ASKED, "asked", "https://asked.example", claims);
                fairplay(token, 0, "movie", FIRST)
            }
            Self::Published => {
                let claims = of("published", &lease);
                let token = token(&PUBLISHED, "published", "https://published.example", claims);
                fairplay(token, 0, "movie", FIRST)
            }
            Self::Challenge => (post("/fairplay/check-in/challenge", &anybody(), b""), None),
            Self::CheckIn(challenge) => {
                let report = [
                    &2_u32.to_be_bytes()[..],
                    &[0; 4],
                    challenge,
                    &(1_u64 << 1 | 1 << 3 | 1 << 16).to_be_bytes(),
                    b"title-0000000001",
                    &2_591_995_u32.to_be_bytes(),
                    &1_u32.to_be_bytes(),
                    b"stream-000000001",
                ];
                let options = SpcOptions::new("skd://movie");
                let (message, _) = spc(&options.with(Tag::OFFLINE_SYNC, report.concat()));
                (post("/fairplay/check-in", &anybody(), &message), None)
            }
            Self::Put => {
                let record = stored().to_string();
                (as_operator("PUT", "/keys/stored", record.as_bytes()), None)
            }
            Self::Read => (as_operator("GET", "/keys/stored", b""), None),
            Self::Mint => {
                let wanted = json!({"sub": "minted", "entitlements": [{"keys": "*"}]});
                (
                    as_operator("POST", "/tokens", wanted.to_string().as_bytes()),
                    None,
                )
            }
            Self::Health => (
                Request::get("/healthz?store").body(Vec::new()).unwrap(),
                None,
            ),
            Self::Sweep => (as_operator("POST", "/store/sweep", b""), None),
        }
    }
}

fn stored() -> Value {
    json!({"id": "stored", "key": KEY, "iv": KEY})
}

fn of(subject: &str, terms: &Value) -> Value {
    let mut entry = terms.clone();
    entry["keys"] = json!("*");
    json!({"sub": subject, "entitlements": [entry]})
}

fn post(path: &str, token: &str, body: &[u8]) -> Request<Vec<u8>> {
    let mut request = Request::post(path);
    if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    request.body(body.to_vec()).unwrap()
}

fn as_operator(method: &str, path: &str, body: &[u8]) -> Request<Vec<u8>> {
    let request = Request::builder().method(method).uri(path);
    let request = request.header("authorization", format!("Bearer {OPERATOR}"));
    request.body(body.to_vec()).unwrap()
}

/// A token, which is signed once.
fn token(signer: &Signer, kid: &str, issuer: &str, mut more: Value) -> String {
    thread_local!(static TOKENS: RefCell<HashMap<String, String>> = RefCell::default());
    more["iss"] = json!(issuer);
    let name = more.to_string();
    let known = TOKENS.with_borrow(|tokens| tokens.get(&name).cloned());
    known.unwrap_or_else(|| {
        let token = signed(signer, Some(kid), &claims(more));
        TOKENS.with_borrow_mut(|tokens| {
            if tokens.len() > 1_000 {
                tokens.clear();
            }
            tokens.insert(name, token.clone());
        });
        token
    })
}

/// The SPC of a device, which is made once.
fn message(device: u8, asset: &str, state: u32) -> Rc<(Vec<u8>, Secrets)> {
    type Messages = HashMap<(u8, String, u32), Rc<(Vec<u8>, Secrets)>>;
    thread_local!(static MESSAGES: RefCell<Messages> = RefCell::default());
    MESSAGES.with_borrow_mut(|messages| {
        let message = messages.entry((device, asset.to_owned(), state));
        Rc::clone(message.or_insert_with(|| Rc::new(spc(&player(device, asset, state)))))
    })
}

/// The states that a device says that it is in.
pub const STATES: [u32; 3] = [FIRST, RENEWAL, STOPPED];

/// The variables, in their variants.
pub fn variables(store_failure: &str, handovers: u64, has_abuse: bool) -> Provided {
    let own = |kid: &str, more: Value| {
        let mut record = json!({"id": kid, "kid": kid, "key": KEY, "iv": KEY});
        record
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        record
    };
    let records = json!([
        {"id": "movie", "key": KEY, "iv": KEY},
        own(widevine::KEYS[0].0, json!({"track": "hd"})),
        own(CLEAR, json!({"systems": ["clearkey"]})),
    ]);
    let systems =
        json!({"fairplay": {}, "widevine": {}, "playready": {}, "clearkey": {}, "aes128": {}});
    let option = |name: &str, keys: (&str, Value)| {
        let mut restriction =
            json!({"issuer": format!("https://{name}.example"), "audience": "keylet"});
        restriction[keys.0] = keys.1;
        json!({"name": name, "restriction": restriction, "drm": systems})
    };
    let mut asked = option("asked", ("jwks", jwks(&[("asked", &ASKED)])));
    asked["callback"] = json!({
        "url": "https://back-end.example/keylet",
        "secret": "what this server and the back end share",
    });
    let policies = json!([
        option("issuer", ("jwks", jwks(&[("viewers", &VIEWERS)]))),
        asked,
        option(
            "published",
            ("jwks_uri", json!("https://published.example/jwks"))
        ),
    ]);
    let abuse = json!({
        "licences_per_token_per_minute": PER_MINUTE,
        "devices_per_subject_per_day": DEVICES_A_DAY,
        "action": "refuse",
    });
    let playready = json!({"kind": "playready_test", "url": "https://playready.example/"});
    let key_server = json!({"protocol": "json", "url": "https://keys.example/json"});
    let encryption = json!({"kty": "oct", "kid": "k1", "k": URL_SAFE_NO_PAD.encode([7; 32])});
    variables_with(&[
        ("content_keys", &records.to_string()),
        ("policies", &policies.to_string()),
        (
            "widevine",
            &widevine::setting("https://license.example/").to_string(),
        ),
        ("playready", &playready.to_string()),
        ("key_server", &key_server.to_string()),
        ("key_encryption_keys", &encryption.to_string()),
        ("public_url", "https://drm.example"),
        (
            "server_secret",
            "a secret of the server, long enough to be one",
        ),
        ("operator_token", OPERATOR),
        ("session_period", &PERIOD.to_string()),
        ("stream_handovers", &handovers.to_string()),
        ("store_failure", store_failure),
        (
            "abuse",
            &if has_abuse {
                abuse.to_string()
            } else {
                String::new()
            },
        ),
    ])
}

/// The servers elsewhere.
pub fn peer(request: &Request<Vec<u8>>) -> Response<Vec<u8>> {
    let reply = match request.uri().host().unwrap() {
        "license.example" => Reply::json(&widevine::ok(json!({}))),
        "playready.example" => playready::xml(200, &playready::license("AcquireLicense")),
        "keys.example" => Reply::json(&json!({"kid": FETCHED, "key": KEY, "iv": KEY})),
        "back-end.example" => Reply::json(&json!({"terms": {"lease_seconds": LEASE}})),
        "published.example" => Reply::json(&jwks(&[("published", &PUBLISHED)])),
        host => panic!("nobody is at {host}"),
    };
    let Reply::Whole(response) = reply else {
        panic!("it answers")
    };
    response
}
