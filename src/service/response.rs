//! Responses with a body of one type.

use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode};
use serde::Serialize;

/// A response with its body whole.
pub type Reply = Response<Vec<u8>>;

/// A response with a body of one media type.
pub fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Vec<u8>>) -> Reply {
    let mut reply = empty(status);
    *reply.body_mut() = body.into();
    reply
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// A response without a body.
pub fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(Vec::new());
    *reply.status_mut() = status;
    reply
}

/// A response with a JSON document.
pub fn json(status: StatusCode, document: &impl Serialize) -> Reply {
    let body = serde_json::to_vec(document).unwrap_or_default();
    reply(status, "application/json", body)
}

/// Sets the `allow` header of a route (RFC 9110 section 10.2.1).
pub fn allow(reply: &mut Reply, methods: &[Method]) {
    let head = if methods.contains(&Method::GET) {
        ", HEAD"
    } else {
        ""
    };
    let value = HeaderValue::from_str(&format!("{}{head}, OPTIONS", names(methods)));
    reply
        .headers_mut()
        .extend(value.map(|value| (ALLOW, value)));
}

/// Methods, as headers list them.
pub fn names(methods: &[Method]) -> String {
    let names: Vec<&str> = methods.iter().map(Method::as_str).collect();
    names.join(", ")
}
