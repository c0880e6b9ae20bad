//! `GET /openapi.json`: this interface in `OpenAPI` 3.1.

use http::header::CACHE_CONTROL;
use http::{HeaderValue, StatusCode};

use super::Reply;

/// The document.
pub const DOCUMENT: &str = include_str!("openapi.json");

pub fn reply() -> Reply {
    let mut reply = super::reply(StatusCode::OK, "application/json", DOCUMENT);
    let cached = HeaderValue::from_static("public, max-age=3600");
    reply.headers_mut().insert(CACHE_CONTROL, cached);
    reply
}
