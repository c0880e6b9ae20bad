//! Cross-origin requests (Fetch standard, section "CORS protocol").

use std::cell::OnceCell;

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ORIGIN,
    VARY,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};

use super::{Reply, allow};
use crate::platform::Platform;

/// The variable with the origins that may read replies: separated by commas or spaces; default `*`.
pub const VARIABLE: &str = "cors_origins";

const EXPOSED: &str = "x-keylet-code, x-request-id";

/// The origins that may read replies.
pub enum Cors {
    Any,
    Listed(Vec<String>),
}

impl Cors {
    /// Reads the setting once. A store that does not answer lets nobody read, until it does.
    pub async fn load<'a>(cell: &'a OnceCell<Self>, platform: &impl Platform) -> &'a Self {
        const NOBODY: &Cors = &Cors::Listed(Vec::new());
        match cell.get() {
            Some(cors) => cors,
            None => match platform.variable(VARIABLE).await {
                Ok(setting) => {
                    cell.get_or_init(|| Self::from_setting(setting.as_deref().map(String::as_str)))
                }
                Err(_) => NOBODY,
            },
        }
    }

    fn from_setting(setting: Option<&str>) -> Self {
        let origins: Vec<String> = setting
            .unwrap_or("*")
            .split([',', ' '])
            .map(|origin| origin.trim().trim_end_matches('/').to_ascii_lowercase())
            .filter(|origin| !origin.is_empty())
            .collect();
        if origins.iter().any(|origin| origin == "*") {
            Self::Any
        } else {
            Self::Listed(origins)
        }
    }

    /// Adds what lets a page at `origin` read the reply.
    pub fn apply(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        let allowed = match self {
            Self::Any => Some(HeaderValue::from_static("*")),
            Self::Listed(origins) => {
                headers.append(VARY, HeaderValue::from_name(ORIGIN));
                origin
                    .filter(|origin| {
                        origins
                            .iter()
                            .any(|o| o.as_bytes().eq_ignore_ascii_case(origin.as_bytes()))
                    })
                    .cloned()
            }
        };
        if let Some(allowed) = allowed {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
            headers.insert(
                ACCESS_CONTROL_EXPOSE_HEADERS,
                HeaderValue::from_static(EXPOSED),
            );
        }
    }
}

/// Answers a preflight: the route's method, and whatever headers the player wants to send. Tokens
/// travel in many headers, and players add their own (CMCD); none of them does anything here by
/// being allowed.
pub fn preflight(request: &Request<Vec<u8>>, method: &Method) -> Reply {
    let mut reply = Response::new(Vec::new());
    *reply.status_mut() = StatusCode::NO_CONTENT;
    allow(&mut reply, method);
    let headers = reply.headers_mut();
    if let Ok(method) = HeaderValue::from_str(method.as_str()) {
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, method);
    }
    if let Some(wanted) = request.headers().get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    headers.append(VARY, HeaderValue::from_name(ACCESS_CONTROL_REQUEST_HEADERS));
    reply
}
