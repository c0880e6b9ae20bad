//! Refusals as RFC 9457 problem documents.

use http::header::{CONTENT_TYPE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, StatusCode};
use serde_json::Value;

use super::response::{Reply, allow, empty, reply};
use crate::drm::{self, Details, ServiceAnswer};
use crate::encoding;
use crate::error::Code;
use crate::fairplay::{self, mistake::Mistake};
use crate::licence;
use crate::packaging;

/// The header that repeats a refusal's code, for players that drop bodies.
pub const CODE_HEADER: &str = "x-keylet-code";

/// What the URI of a problem type begins with (RFC 9457 section 3.1.1): the page on which the code stands.
pub const PROBLEM_TYPES: &str = "/docs/errors.md#";

/// A refusal on its way to the client.
#[derive(Debug, Clone)]
pub struct Problem {
    /// What kind.
    pub code: Code,
    /// What the client may read beside the code.
    pub detail: Option<String>,
    /// Members that a DRM system or a vendor adds.
    pub extensions: Details,
    /// What a licence service answers in place of the document.
    answer: Option<Box<ServiceAnswer>>,
    retry_after: Option<u32>,
    allow: &'static [Method],
}

impl Problem {
    /// A refusal with a detail.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            detail: Some(detail.into()),
            ..code.into()
        }
    }

    /// Whether a licence service answers in place of the document.
    pub fn is_of_service(&self) -> bool {
        self.answer.is_some()
    }

    /// The number of an extension member.
    pub fn extension(&self, name: &str) -> Option<i32> {
        let mut extensions = self.extensions.iter();
        let (_, value) = extensions.find(|(known, _)| *known == name)?;
        i32::try_from(value.as_i64()?).ok()
    }

    /// A path that serves other methods.
    pub fn method_not_allowed(allowed: &'static [Method]) -> Self {
        Self {
            allow: allowed,
            ..Code::METHOD_NOT_ALLOWED.into()
        }
    }

    /// The document (RFC 9457 section 3.1): `type`, `title`, `status`, `code`, `request_id`, and where there is such
    /// `detail`, `fps_status` and `errorCode`.
    pub fn into_reply(self, request_id: &str) -> Reply {
        if let Some(answer) = self.answer {
            return of_service(*answer, self.code);
        }
        let mut document = encoding::members([
            ("type", format!("{PROBLEM_TYPES}{}", self.code.name).into()),
            ("title", self.code.title.into()),
            ("status", self.code.status.into()),
            ("code", self.code.name.into()),
            ("request_id", request_id.into()),
        ]);
        let detail = self.detail.map(|detail| ("detail", detail.into()));
        for (name, value) in detail.into_iter().chain(self.extensions) {
            document.insert(name.to_owned(), value);
        }
        let status = StatusCode::from_u16(self.code.status).unwrap_or(StatusCode::BAD_REQUEST);
        let body = Value::Object(document).to_string();
        let mut reply = reply(status, "application/problem+json", body);
        let headers = reply.headers_mut();
        headers.insert(CODE_HEADER, HeaderValue::from_static(self.code.name));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(
                http::header::WWW_AUTHENTICATE,
                HeaderValue::from_static(challenge(self.code)),
            );
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if !self.allow.is_empty() {
            allow(&mut reply, self.allow);
        }
        reply
    }
}

/// The answer of a licence service, as it came, with the code beside it.
fn of_service(answer: ServiceAnswer, code: Code) -> Reply {
    let mut reply = empty(answer.status);
    *reply.body_mut() = answer.body;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, answer.content_type);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CODE_HEADER, HeaderValue::from_static(code.name));
    reply
}

/// The challenge of a refusal for want of a token (RFC 6750 section 3): the error is named where a token came that is
/// not valid.
fn challenge(code: Code) -> &'static str {
    // Encoders of AWS send a password only where they are asked for one.
    if code == Code::PACKAGER_TOKEN {
        return r#"Basic realm="packagers", Bearer"#;
    }
    const WITHOUT_TOKEN: [Code; 3] = [
        Code::TOKEN_MISSING,
        Code::TOKEN_UNDEFINED,
        Code::TOKEN_IN_QUERY,
    ];
    match code.name.starts_with("token_") && !WITHOUT_TOKEN.contains(&code) {
        true => r#"Bearer error="invalid_token""#,
        false => "Bearer",
    }
}

impl From<Code> for Problem {
    fn from(code: Code) -> Self {
        Self {
            code,
            detail: None,
            extensions: Details::new(),
            answer: None,
            retry_after: None,
            allow: &[],
        }
    }
}

impl From<licence::Error> for Problem {
    fn from(error: licence::Error) -> Self {
        Self {
            detail: error.detail(),
            extensions: error.details().to_vec(),
            answer: error.answer().cloned().map(Box::new),
            retry_after: error.retry_after(),
            ..error.code().into()
        }
    }
}

impl From<packaging::Error> for Problem {
    fn from(error: packaging::Error) -> Self {
        Self {
            detail: error.detail(),
            ..error.code().into()
        }
    }
}

impl From<Mistake> for Problem {
    fn from(mistake: Mistake) -> Self {
        licence::Error::from(drm::Error::from(fairplay::Error::NotAnSpc(mistake))).into()
    }
}

/// Schemas of the document, whose members come from tables and from other modules.
#[cfg(feature = "schema")]
pub mod schema {
    use std::borrow::Cow;

    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

    use crate::error;

    /// A refusal (RFC 9457).
    #[derive(serde::Serialize, JsonSchema)]
    #[schemars(rename = "Problem", extend("additionalProperties" = false))]
    pub struct ProblemDocument {
        /// The page and the row that explain `code`: a URI reference.
        #[serde(rename = "type")]
        #[schemars(extend("format" = "uri-reference"))]
        type_: &'static str,
        /// What happened. The sentence depends on `code` alone.
        title: &'static str,
        /// The HTTP status.
        status: u16,
        #[schemars(with = "Code")]
        code: &'static str,
        /// The id of the request, as in the header `x-request-id`.
        request_id: String,
        /// More about this refusal.
        #[serde(skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
        /// The status number of the FairPlay server SDK.
        #[serde(skip_serializing_if = "Option::is_none")]
        fps_status: Option<i32>,
        /// What the licence service of Widevine or PlayReady says, or the status of its fault.
        #[serde(skip_serializing_if = "Option::is_none")]
        service_status: Option<String>,
        /// The number that Nagra's players have for this refusal: 1007 for too many sessions.
        #[serde(rename = "errorCode", skip_serializing_if = "Option::is_none")]
        error_code: Option<i32>,
    }

    /// The name of a [`error::Code`].
    pub struct Code;

    impl JsonSchema for Code {
        fn schema_name() -> Cow<'static, str> {
            "Code".into()
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            let names: Vec<&str> = error::Code::ALL.iter().map(|code| code.name).collect();
            json_schema!({
                "type": "string",
                "description": "What kind of refusal it is. A code never changes its meaning.",
                "enum": names,
            })
        }
    }
}
