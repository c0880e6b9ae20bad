//! A licence in the form that the player reads.

use base64::Engine;
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::Value;

use super::spc_request::{Extra, Requested, SpcRequest};
use crate::encoding::BASE64;
use crate::error::Code;
use crate::fairplay::FPS_STATUS;
use crate::fairplay::check_in::Report;
use crate::licence::{CheckIn, Issued, License};
use crate::service::format::Format;
use crate::service::problem::Problem;
use crate::service::response::{Reply, empty, json, reply};
use crate::service::session_headers::set_session_headers;

/// The header with the time at which a licence ends, in seconds since 1970.
pub const EXPIRES_AT_HEADER: &str = "x-keylet-expires-at";

/// The header with the time after which to ask for a renewal, in seconds from now.
pub const RENEW_AFTER_HEADER: &str = "x-keylet-renew-after";

/// The result for one key.
pub type Outcome = Result<Issued<Report>, Problem>;

/// Writes the results for the keys of a request, in their order.
///
/// # Errors
/// The refusal of the key, in a form that has no room for refusals.
pub fn write(
    format: Format,
    request: &SpcRequest,
    outcomes: Vec<Outcome>,
) -> Result<Reply, Problem> {
    let keys = || request.keys.iter().zip(&outcomes);
    let write_ckc: fn(&License, Option<Extra>) -> Reply = match format {
        Format::Raw => |ckc, _| reply(StatusCode::OK, "application/octet-stream", &*ckc.message),
        Format::Json => |ckc, extra| json(StatusCode::OK, &LicenceDocument::new(ckc, extra)),
        Format::Base64 => |ckc, _| reply(StatusCode::OK, "text/plain", BASE64.encode(&ckc.message)),
        Format::CkcXml => |ckc, _| {
            let text = format!("<ckc>{}</ckc>", BASE64.encode(&ckc.message));
            reply(StatusCode::OK, "text/plain", text)
        },
        Format::Envelope => {
            let keys = keys().map(|(key, outcome)| StreamingKey::new(key, outcome));
            let response = StreamingKeys {
                keys: keys.collect(),
            };
            return Ok(json(StatusCode::OK, &EnvelopeReply { response }));
        }
        Format::Array => {
            let keys = keys().map(|(key, outcome)| ArrayKey::new(key, outcome));
            return Ok(json(StatusCode::OK, &ArrayReply(keys.collect())));
        }
    };
    match outcomes.into_iter().next() {
        None => Err(Code::BODY_EMPTY.into()),
        Some(Err(problem)) => Err(problem),
        Some(Ok(Issued::Stopped)) => Ok(empty(StatusCode::NO_CONTENT)),
        Some(Ok(Issued::CheckedIn(check_in))) => Ok(json(StatusCode::OK, &check_in)),
        Some(Ok(Issued::License(ckc))) => {
            let mut reply = write_ckc(&ckc, request.extra);
            set_ckc_headers(&ckc, &mut reply);
            Ok(reply)
        }
    }
}

fn set_ckc_headers(ckc: &License, reply: &mut Reply) {
    for (name, value) in [
        (EXPIRES_AT_HEADER, ckc.expires_at),
        (RENEW_AFTER_HEADER, ckc.renew_after.map(u64::from)),
    ] {
        if let Some(value) = value {
            let name = HeaderName::from_static(name);
            reply.headers_mut().insert(name, HeaderValue::from(value));
        }
    }
    if let Some(session) = &ckc.session {
        set_session_headers(session, reply.headers_mut());
    }
}

/// A licence. One document has the members of all clients that read JSON.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Licence"))]
pub struct LicenceDocument<'a> {
    /// The CKC in base64.
    #[cfg_attr(feature = "schema", schemars(extend("contentEncoding" = "base64")))]
    ckc: String,
    /// The CKC, for Nagra's players.
    #[serde(rename = "CkcMessage")]
    #[cfg_attr(feature = "schema", schemars(extend("contentEncoding" = "base64")))]
    ckc_message: String,
    /// The CKC, under the third name that Shaka Player and dash.js look for.
    #[serde(rename = "License")]
    #[cfg_attr(feature = "schema", schemars(extend("contentEncoding" = "base64")))]
    license: String,
    /// How long the key may be stored before it is played, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    persistence_duration: Option<u32>,
    /// When the licence ends, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<u64>,
    /// When to ask for a renewal, in seconds from now.
    #[serde(skip_serializing_if = "Option::is_none")]
    renew_after: Option<u32>,
    /// The player's session.
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<&'a str>,
    /// The session token for the next request.
    #[serde(skip_serializing_if = "Option::is_none")]
    session_token: Option<&'a str>,
    /// The time between two heartbeats, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    heartbeat_seconds: Option<u64>,
    /// The same licence, for a request with `licenseChallenge`.
    #[serde(
        rename = "fairplay-streaming-response",
        skip_serializing_if = "Option::is_none"
    )]
    envelope: Option<StreamingKeys<'a>>,
    /// The same licence, for a request with `getFairplayLicense`.
    #[serde(
        rename = "getFairplayLicenseResponse",
        skip_serializing_if = "Option::is_none"
    )]
    get_fairplay_license: Option<GetFairplayLicenseResponse>,
}

impl<'a> LicenceDocument<'a> {
    fn new(ckc: &'a License, extra: Option<Extra>) -> Self {
        let text = BASE64.encode(&ckc.message);
        let session = ckc.session.as_ref();
        let (envelope, get_fairplay_license) = match extra {
            None => (None, None),
            Some(Extra::Envelope) => {
                let keys = vec![StreamingKey::granted(ckc)];
                (Some(StreamingKeys { keys }), None)
            }
            Some(Extra::GetFairplayLicense) => {
                let ckc_response = text.clone();
                (None, Some(GetFairplayLicenseResponse { ckc_response }))
            }
        };
        Self {
            ckc: text.clone(),
            ckc_message: text.clone(),
            license: text,
            persistence_duration: ckc.persistence_duration,
            expires_at: ckc.expires_at,
            renew_after: ckc.renew_after,
            session_id: session.map(|session| session.id.as_str()),
            session_token: session.map(|session| session.token.as_str()),
            heartbeat_seconds: session.map(|session| session.heartbeat_seconds),
            envelope,
            get_fairplay_license,
        }
    }
}

/// The reply to `getFairplayLicense`.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(inline))]
struct GetFairplayLicenseResponse {
    /// The CKC in base64.
    #[serde(rename = "ckcResponse")]
    #[cfg_attr(feature = "schema", schemars(extend("contentEncoding" = "base64")))]
    ckc_response: String,
}

/// The results for the keys of an envelope.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EnvelopeReply<'a> {
    #[serde(rename = "fairplay-streaming-response")]
    response: StreamingKeys<'a>,
}

/// Results in the order of the request.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(inline))]
struct StreamingKeys<'a> {
    #[serde(rename = "streaming-keys")]
    keys: Vec<StreamingKey<'a>>,
}

/// The result for one key of an envelope.
#[derive(Serialize, Default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct StreamingKey<'a> {
    /// `id` of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "number_or_text"))]
    id: Option<&'a Value>,
    /// `uri` of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "number_or_text"))]
    uri: Option<&'a Value>,
    /// 0, or for a refusal FairPlay's number (negative), or the HTTP status that this key would have
    /// alone.
    status: i32,
    /// The CKC in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("contentEncoding" = "base64")))]
    ckc: Option<String>,
    /// When the licence ends, in seconds since 1970.
    #[serde(rename = "lease-expiry-time", skip_serializing_if = "Option::is_none")]
    lease_expiry_time: Option<u64>,
    /// When to ask for a renewal, in seconds from now.
    #[serde(rename = "renew-after", skip_serializing_if = "Option::is_none")]
    renew_after: Option<u32>,
    /// The player's session.
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<&'a str>,
    /// The session token for the next request.
    #[serde(skip_serializing_if = "Option::is_none")]
    session_token: Option<&'a str>,
    /// The time between two heartbeats, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    heartbeat_seconds: Option<u64>,
    #[serde(rename = "check-in", skip_serializing_if = "Option::is_none")]
    check_in: Option<&'a CheckIn<Report>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "schema",
        schemars(with = "Option<crate::service::problem::schema::Code>")
    )]
    code: Option<&'static str>,
    /// More about a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

impl<'a> StreamingKey<'a> {
    fn new(key: &'a Requested, outcome: &'a Outcome) -> Self {
        let entry = match outcome {
            Ok(Issued::License(ckc)) => Self::granted(ckc),
            Ok(Issued::Stopped) => Self::default(),
            Ok(Issued::CheckedIn(check_in)) => Self {
                check_in: Some(check_in),
                ..Self::default()
            },
            Err(problem) => Self {
                status: refusal_number(problem),
                code: Some(problem.code.name),
                detail: problem.detail.as_deref(),
                ..Self::default()
            },
        };
        Self {
            id: key.id.as_ref(),
            uri: key.uri.as_ref(),
            ..entry
        }
    }

    fn granted(ckc: &'a License) -> Self {
        let session = ckc.session.as_ref();
        Self {
            ckc: Some(BASE64.encode(&ckc.message)),
            lease_expiry_time: ckc.expires_at,
            renew_after: ckc.renew_after,
            session_id: session.map(|session| session.id.as_str()),
            session_token: session.map(|session| session.token.as_str()),
            heartbeat_seconds: session.map(|session| session.heartbeat_seconds),
            ..Self::default()
        }
    }
}

/// The results for the keys of an array, in the order of the request.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ArrayReply<'a>(Vec<ArrayKey<'a>>);

/// The result for one key of an array. A content decryption module gives a key with `error` up.
#[derive(Serialize, Default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct ArrayKey<'a> {
    /// `keyID` of the request.
    #[serde(rename = "keyID", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "number_or_text"))]
    key_id: Option<&'a Value>,
    /// The CKC in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("contentEncoding" = "base64")))]
    payload: Option<String>,
    #[serde(rename = "check-in", skip_serializing_if = "Option::is_none")]
    check_in: Option<&'a CheckIn<Report>>,
    /// For a refusal FairPlay's number (negative), or the HTTP status that this key would have alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "schema",
        schemars(with = "Option<crate::service::problem::schema::Code>")
    )]
    code: Option<&'static str>,
    /// More about a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

impl<'a> ArrayKey<'a> {
    fn new(key: &'a Requested, outcome: &'a Outcome) -> Self {
        let entry = match outcome {
            Ok(Issued::License(ckc)) => Self {
                payload: Some(BASE64.encode(&ckc.message)),
                ..Self::default()
            },
            Ok(Issued::Stopped) => Self::default(),
            Ok(Issued::CheckedIn(check_in)) => Self {
                check_in: Some(check_in),
                ..Self::default()
            },
            Err(problem) => Self {
                error: Some(refusal_number(problem)),
                code: Some(problem.code.name),
                detail: problem.detail.as_deref(),
                ..Self::default()
            },
        };
        Self {
            key_id: key.id.as_ref(),
            ..entry
        }
    }
}

/// The number of a refusal among other keys: FairPlay's, which is negative, or the HTTP status.
fn refusal_number(problem: &Problem) -> i32 {
    let number = problem.extension(FPS_STATUS);
    number.unwrap_or_else(|| problem.code.status.into())
}

/// The schema of a member that is repeated from the request.
#[cfg(feature = "schema")]
fn number_or_text(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": ["number", "string"]})
}
