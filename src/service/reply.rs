//! A licence in the form that the player undoes.

use base64::Engine;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use serde_json::{Map, Value, json};

use super::body::{Extra, Requested, SpcRequest};
use super::format::Format;
use super::problem::Problem;
use super::{Reply, json, reply, sessions};
use crate::encoding::{self, BASE64};
use crate::error::Code;
use crate::fairplay::check_in::Report;
use crate::licence::{self, Issued, License};

type CheckIn = licence::CheckIn<Report>;
type FairplayLicense = Issued<Report>;

/// The header with the time at which a licence ends, in seconds since 1970.
pub const EXPIRES_AT_HEADER: &str = "x-keylet-expires-at";

/// The header with the time after which to ask for a renewal, in seconds from now.
pub const RENEW_AFTER_HEADER: &str = "x-keylet-renew-after";

/// What became of one key.
pub type Outcome = Result<FairplayLicense, Problem>;

/// Writes what became of each key of a request, in their order.
///
/// # Errors
/// The refusal of the key, in a form that has no room for refusals.
pub fn write(
    format: Format,
    request: &SpcRequest,
    outcomes: Vec<Outcome>,
) -> Result<Reply, Problem> {
    let each = |write: fn(&Requested, &Outcome) -> Value| -> Value {
        let keys = request.keys.iter().zip(&outcomes);
        keys.map(|(key, outcome)| write(key, outcome)).collect()
    };
    match format {
        Format::Envelope => Ok(json(StatusCode::OK, &envelope(each(streaming_key)))),
        Format::Array => Ok(json(StatusCode::OK, &each(array_key))),
        _ => match outcomes.into_iter().next() {
            None => Err(Code::BODY_EMPTY.into()),
            Some(outcome) => outcome.map(|licence| write_one(format, licence, request.extra)),
        },
    }
}

fn write_one(format: Format, licence: FairplayLicense, extra: Option<Extra>) -> Reply {
    let ckc = match licence {
        FairplayLicense::License(ckc) => ckc,
        FairplayLicense::Stopped => {
            let mut reply = Response::new(Vec::new());
            *reply.status_mut() = StatusCode::NO_CONTENT;
            return reply;
        }
        FairplayLicense::CheckedIn(check_in) => return json(StatusCode::OK, &json!(check_in)),
    };
    let ends = [
        (EXPIRES_AT_HEADER, ckc.expires_at),
        (RENEW_AFTER_HEADER, ckc.renew_after.map(u64::from)),
    ];
    let session = ckc.session.clone();
    let mut reply = match format {
        Format::Base64 => reply(StatusCode::OK, "text/plain", BASE64.encode(&ckc.message)),
        Format::CkcXml => {
            let text = format!("<ckc>{}</ckc>", BASE64.encode(&ckc.message));
            reply(StatusCode::OK, "text/plain", text)
        }
        Format::Json => json(StatusCode::OK, &document(&ckc, extra)),
        _ => reply(StatusCode::OK, "application/octet-stream", ckc.message),
    };
    for (name, value) in ends {
        if let Some(value) = value {
            let name = HeaderName::from_static(name);
            reply.headers_mut().insert(name, HeaderValue::from(value));
        }
    }
    if let Some(session) = &session {
        sessions::set_session_headers(session, reply.headers_mut());
    }
    reply
}

/// One document for all clients that read JSON: `ckc` is the common name, `CkcMessage` that of
/// Nagra's players, and `License` the third that Shaka and dash.js look for.
fn document(ckc: &License, extra: Option<Extra>) -> Value {
    let text = BASE64.encode(&ckc.message);
    let mut document = Map::new();
    document.extend(["ckc", "CkcMessage", "License"].map(|name| (name.into(), json!(text))));
    insert(
        &mut document,
        "persistence_duration",
        ckc.persistence_duration,
    );
    insert(&mut document, "expires_at", ckc.expires_at);
    insert(&mut document, "renew_after", ckc.renew_after);
    insert_session(&mut document, ckc);
    let beside = match extra {
        None => Value::Null,
        Some(Extra::Envelope) => envelope(json!([granted(ckc)])),
        Some(Extra::GetFairplayLicense) => {
            json!({"getFairplayLicenseResponse": {"ckcResponse": text}})
        }
    };
    if let Value::Object(members) = beside {
        document.extend(members);
    }
    document.into()
}

fn envelope(keys: Value) -> Value {
    json!({"fairplay-streaming-response": {"streaming-keys": keys}})
}

/// A key of an envelope: `status` is 0, or that of the refusal (see [`status`]).
fn streaming_key(key: &Requested, outcome: &Outcome) -> Value {
    let mut entry = match outcome {
        Ok(FairplayLicense::License(ckc)) => granted(ckc),
        Ok(FairplayLicense::Stopped) => status(0),
        Ok(FairplayLicense::CheckedIn(report)) => {
            let mut entry = status(0);
            entry.extend(check_in(report));
            entry
        }
        Err(problem) => refused("status", problem),
    };
    insert(&mut entry, "id", key.id.as_ref());
    insert(&mut entry, "uri", key.uri.as_ref());
    entry.into()
}

fn granted(ckc: &License) -> Map<String, Value> {
    let mut entry = status(0);
    entry.insert("ckc".into(), BASE64.encode(&ckc.message).into());
    insert(&mut entry, "lease-expiry-time", ckc.expires_at);
    insert(&mut entry, "renew-after", ckc.renew_after);
    insert_session(&mut entry, ckc);
    entry
}

/// What a player with a session of its own goes on with.
fn insert_session(entry: &mut Map<String, Value>, ckc: &License) {
    let session = ckc.session.as_ref();
    insert(entry, "session_id", session.map(|session| &session.id));
    insert(
        entry,
        "session_token",
        session.map(|session| &session.token),
    );
    let heartbeat = session.map(|session| session.heartbeat_seconds);
    insert(entry, "heartbeat_seconds", heartbeat);
}

fn status(number: i32) -> Map<String, Value> {
    encoding::members([("status", number.into())])
}

/// A key of an array, with `payload`, or with `error`, which a content decryption module takes for a
/// key that there will not be.
fn array_key(key: &Requested, outcome: &Outcome) -> Value {
    let mut entry = match outcome {
        Ok(FairplayLicense::License(ckc)) => {
            encoding::members([("payload", BASE64.encode(&ckc.message).into())])
        }
        Ok(FairplayLicense::Stopped) => Map::new(),
        Ok(FairplayLicense::CheckedIn(report)) => check_in(report),
        Err(problem) => refused("error", problem),
    };
    insert(&mut entry, "keyID", key.id.as_ref());
    entry.into()
}

fn check_in(report: &CheckIn) -> Map<String, Value> {
    encoding::members([("check-in", json!(report))])
}

/// A refusal among other keys: its number, which is FairPlay's where there is one (negative) and else
/// the HTTP status that it would have had alone, its code, and its detail.
fn refused(name: &str, problem: &Problem) -> Map<String, Value> {
    let number = problem
        .fps_status
        .unwrap_or_else(|| problem.code.status.into());
    let mut entry = encoding::members([(name, number.into()), ("code", problem.code.name.into())]);
    insert(&mut entry, "detail", problem.detail.as_deref());
    entry
}

fn insert(entry: &mut Map<String, Value>, name: &str, value: Option<impl serde::Serialize>) {
    if let Some(value) = value {
        entry.insert(name.to_owned(), json!(value));
    }
}
