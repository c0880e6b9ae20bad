//! Headers of every answer that carries a session.

use http::{HeaderMap, HeaderValue};

use crate::licence::Session;
use crate::token;

/// The header with the seconds between two heartbeats.
pub const HEARTBEAT_HEADER: &str = "x-keylet-heartbeat-seconds";

/// Sets the headers: how often to send heartbeats, and the session token.
pub fn set_session_headers(session: &Session, headers: &mut HeaderMap) {
    headers.insert(
        HEARTBEAT_HEADER,
        HeaderValue::from(session.heartbeat_seconds),
    );
    if let Ok(token) = HeaderValue::from_str(&session.token) {
        headers.insert(token::SESSION_HEADER, token);
    }
}
