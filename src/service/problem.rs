//! Refusals as RFC 9457 problem documents.

use http::{HeaderValue, Method, StatusCode};
use serde::Serialize;

use super::{CODE_HEADER, Reply, allow, reply};
use crate::error::Code;
use crate::licence;

/// A refusal on its way to the client.
#[derive(Debug, Clone)]
pub struct Problem {
    /// What kind.
    pub code: Code,
    /// What more the client may read.
    pub detail: Option<String>,
    /// The status number of the FairPlay server SDK, where there is one.
    pub fps_status: Option<i32>,
    /// The number that a vendor's players know it by.
    pub error_code: Option<u32>,
    allow: Vec<Method>,
}

impl Problem {
    /// A refusal that says more than its code.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            detail: Some(detail.into()),
            ..code.into()
        }
    }

    /// A path that serves another method.
    pub fn method_not_allowed(allowed: &[Method]) -> Self {
        Self {
            allow: allowed.to_vec(),
            ..Code::METHOD_NOT_ALLOWED.into()
        }
    }

    /// The document: `type`, `title`, `status`, `code`, `request_id`, and where there is such
    /// `detail` and `fps_status`.
    pub fn into_reply(self, request_id: &str) -> Reply {
        let document = Document {
            type_: "about:blank",
            title: self.code.title,
            status: self.code.status,
            code: self.code.name,
            request_id,
            detail: self.detail,
            fps_status: self.fps_status,
            error_code: self.error_code,
        };
        let status = StatusCode::from_u16(self.code.status).unwrap_or(StatusCode::BAD_REQUEST);
        let body = serde_json::to_vec(&document).unwrap_or_default();
        let mut reply = reply(status, "application/problem+json", body);
        reply
            .headers_mut()
            .insert(CODE_HEADER, HeaderValue::from_static(self.code.name));
        if status == StatusCode::UNAUTHORIZED {
            reply.headers_mut().insert(
                http::header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer"),
            );
        }
        if !self.allow.is_empty() {
            allow(&mut reply, &self.allow);
        }
        reply
    }
}

/// RFC 9457 section 3.1, and the extension members of this server.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "type")]
    type_: &'static str,
    title: &'static str,
    status: u16,
    code: &'static str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fps_status: Option<i32>,
    #[serde(rename = "errorCode", skip_serializing_if = "Option::is_none")]
    error_code: Option<u32>,
}

impl From<Code> for Problem {
    fn from(code: Code) -> Self {
        Self {
            code,
            detail: None,
            fps_status: None,
            error_code: None,
            allow: Vec::new(),
        }
    }
}

impl From<licence::Error> for Problem {
    fn from(error: licence::Error) -> Self {
        Self {
            detail: error.detail(),
            fps_status: error.fps_status(),
            ..error.code().into()
        }
    }
}
