//! Refusals as RFC 9457 problem documents.

use http::{HeaderValue, Method, StatusCode};
use serde_json::json;

use super::{CODE_HEADER, Reply, allow, reply};
use crate::error::Code;
use crate::licence;

/// A refusal on its way to the client.
#[derive(Debug)]
pub struct Problem {
    code: Code,
    detail: Option<String>,
    fps_status: Option<i32>,
    allow: Option<Method>,
}

impl Problem {
    /// A refusal that says more than its code.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..code.into() }
    }

    /// A path that serves another method.
    pub fn method_not_allowed(allowed: &Method) -> Self {
        Self { allow: Some(allowed.clone()), ..Code::METHOD_NOT_ALLOWED.into() }
    }

    /// The document: `type`, `title`, `status`, `code`, `request_id`, and where there is such
    /// `detail` and `fps_status`.
    pub fn into_reply(self, request_id: &str) -> Reply {
        let mut document = json!({
            "type": "about:blank",
            "title": self.code.title,
            "status": self.code.status,
            "code": self.code.name,
            "request_id": request_id,
        });
        if let Some(detail) = self.detail {
            document["detail"] = detail.into();
        }
        if let Some(status) = self.fps_status {
            document["fps_status"] = status.into();
        }
        let status = StatusCode::from_u16(self.code.status).unwrap_or(StatusCode::BAD_REQUEST);
        let mut reply = reply(status, "application/problem+json", document.to_string());
        reply.headers_mut().insert(CODE_HEADER, HeaderValue::from_static(self.code.name));
        if status == StatusCode::UNAUTHORIZED {
            reply.headers_mut().insert(http::header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(method) = self.allow {
            allow(&mut reply, &method);
        }
        reply
    }
}

impl From<Code> for Problem {
    fn from(code: Code) -> Self {
        Self { code, detail: None, fps_status: None, allow: None }
    }
}

impl From<licence::Error> for Problem {
    fn from(error: licence::Error) -> Self {
        Self { detail: error.detail(), fps_status: error.fps_status(), ..error.code().into() }
    }
}
