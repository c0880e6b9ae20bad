//! A licence in the form that the player undoes.

use base64::Engine;
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use super::spc_request::{Extra, Requested, SpcRequest};
use crate::encoding::{self, BASE64};
use crate::error::Code;
use crate::fairplay::FPS_STATUS;
use crate::fairplay::check_in::Report;
use crate::licence::{self, Issued, License};
use crate::service::format::Format;
use crate::service::problem::Problem;
use crate::service::response::{Reply, empty, json, reply};
use crate::service::session_headers::set_session_headers;

type CheckIn = licence::CheckIn<Report>;

/// The header with the time at which a licence ends, in seconds since 1970.
pub const EXPIRES_AT_HEADER: &str = "x-keylet-expires-at";

/// The header with the time after which to ask for a renewal, in seconds from now.
pub const RENEW_AFTER_HEADER: &str = "x-keylet-renew-after";

/// What became of one key.
pub type Outcome = Result<Issued<Report>, Problem>;

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
        Format::Raw => one(outcomes, |license| {
            reply(
                StatusCode::OK,
                "application/octet-stream",
                license.message.as_slice(),
            )
        }),
        Format::Base64 => one(outcomes, |license| {
            reply(
                StatusCode::OK,
                "text/plain",
                BASE64.encode(&license.message),
            )
        }),
        Format::CkcXml => one(outcomes, |license| {
            let text = format!("<ckc>{}</ckc>", BASE64.encode(&license.message));
            reply(StatusCode::OK, "text/plain", text)
        }),
        Format::Json => one(outcomes, |license| {
            json(StatusCode::OK, &document(license, request.extra))
        }),
    }
}

/// The reply with the one licence of a request, in a form that has no room for refusals.
fn one(outcomes: Vec<Outcome>, write: impl FnOnce(&License) -> Reply) -> Result<Reply, Problem> {
    let license = match outcomes.into_iter().next().ok_or(Code::BODY_EMPTY)?? {
        Issued::License(license) => license,
        Issued::Stopped => return Ok(empty(StatusCode::NO_CONTENT)),
        Issued::CheckedIn(check_in) => return Ok(json(StatusCode::OK, &check_in)),
    };
    let mut reply = write(&license);
    let headers = reply.headers_mut();
    if let Some(expires_at) = license.expires_at {
        headers.insert(EXPIRES_AT_HEADER, HeaderValue::from(expires_at));
    }
    if let Some(renew_after) = license.renew_after {
        headers.insert(RENEW_AFTER_HEADER, HeaderValue::from(renew_after));
    }
    if let Some(session) = &license.session {
        set_session_headers(session, headers);
    }
    Ok(reply)
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
        Ok(Issued::License(ckc)) => granted(ckc),
        Ok(Issued::Stopped) => status(0),
        Ok(Issued::CheckedIn(report)) => {
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
        Ok(Issued::License(ckc)) => {
            encoding::members([("payload", BASE64.encode(&ckc.message).into())])
        }
        Ok(Issued::Stopped) => Map::new(),
        Ok(Issued::CheckedIn(report)) => check_in(report),
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
    let mut extensions = problem.extensions.iter();
    let fps_status = extensions.find(|(name, _)| *name == FPS_STATUS);
    let number =
        fps_status.map_or_else(|| problem.code.status.into(), |(_, number)| number.clone());
    let mut entry = encoding::members([(name, number), ("code", problem.code.name.into())]);
    insert(&mut entry, "detail", problem.detail.as_deref());
    entry
}

fn insert(entry: &mut Map<String, Value>, name: &str, value: Option<impl serde::Serialize>) {
    if let Some(value) = value {
        entry.insert(name.to_owned(), json!(value));
    }
}
