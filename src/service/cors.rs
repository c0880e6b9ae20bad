//! Cross-origin requests (Fetch standard, section "CORS protocol").

use std::cell::OnceCell;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};

use super::response::{Reply, allow, empty, names};
use crate::configuration::{SettingError, SettingErrorKind, SettingsError};
use crate::encoding;
use crate::platform::Platform;
use crate::token::cat;
use crate::token::vendor::{self, VENDORS};

/// The variable with the origins that may read replies: separated by commas or spaces, or a
/// JSON list; default `*`.
pub const VARIABLE: &str = "cors_origins";

/// What pages may read of a reply beside its body.
const EXPOSED: &str = "x-keylet-code, x-request-id, x-keylet-expires-at, x-keylet-renew-after, x-keylet-heartbeat-seconds, keylet-session, retry-after, etag, www-authenticate";

/// What players send beside their tokens. `keylet-session` is this server's own.
const REQUEST_HEADERS: [&str; 5] = [
    "authorization",
    "content-type",
    "x-request-id",
    "keylet-session",
    cat::HEADER,
];

/// The origins that may read replies.
pub enum Cors {
    Any,
    Listed(Vec<String>),
}

impl Cors {
    /// Reads the setting once. No origin may read replies while the setting is wrong, or while its store
    /// does not answer.
    pub async fn load<'a>(cell: &'a OnceCell<Self>, platform: &impl Platform) -> &'a Self {
        const NOBODY: &Cors = &Cors::Listed(Vec::new());
        match cell.get() {
            Some(cors) => cors,
            None => match Self::read(platform).await {
                Ok(cors) => cell.get_or_init(|| cors),
                Err(_) => NOBODY,
            },
        }
    }

    /// Reads the setting: origins, separated by commas or white space, or a JSON list of them.
    ///
    /// # Errors
    /// Text that begins like JSON but is not a list of strings, and what is not an origin.
    pub async fn read(platform: &impl Platform) -> Result<Self, SettingsError> {
        let setting = platform.variable(VARIABLE).await?;
        let Some(mut origins) = encoding::words(setting.as_deref().map_or("*", String::as_str))
        else {
            let reason = "it starts like a JSON list and is no list of strings";
            return Err(SettingError::new(VARIABLE, SettingErrorKind::Malformed, reason).into());
        };
        if origins.iter().any(|origin| origin == "*") {
            return Ok(Self::Any);
        }
        for origin in &mut origins {
            origin.truncate(origin.trim_end_matches('/').len());
            let is_origin = origin.contains("://") && !origin.contains('*') || origin == "null";
            if !is_origin {
                let reason =
                    "an origin is a scheme and a host, such as https://tv.example.com; `*` is all";
                return Err(
                    SettingError::new(VARIABLE, SettingErrorKind::Malformed, reason).into(),
                );
            }
        }
        Ok(Self::Listed(origins))
    }

    /// Whether the setting names this origin itself. `null` names no page: every sandboxed one has it.
    pub fn names(&self, origin: &HeaderValue) -> bool {
        match self {
            Self::Any => false,
            Self::Listed(origins) => origin != "null" && is_among(origins, origin),
        }
    }

    /// Adds what lets a page at `origin` read the reply.
    ///
    /// The page is named even where any may read, and may send credentials: some players do so
    /// whenever they send a token (dash.js), and browsers then take no `*`. Cookies are read for the pages that are
    /// [named](Self::names) alone, so any other learns no more with them than without.
    pub fn apply(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        headers.append(VARY, HeaderValue::from_name(ORIGIN));
        let is_listed = |origin: &&HeaderValue| match self {
            Self::Any => true,
            Self::Listed(origins) => is_among(origins, origin),
        };
        match (origin.filter(is_listed), self) {
            (Some(origin), _) => {
                headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
                headers.insert(
                    ACCESS_CONTROL_ALLOW_CREDENTIALS,
                    HeaderValue::from_static("true"),
                );
            }
            (None, Self::Any) => {
                headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            }
            (None, Self::Listed(_)) => return,
        }
        headers.insert(
            ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static(EXPOSED),
        );
    }
}

fn is_among(origins: &[String], origin: &HeaderValue) -> bool {
    origins
        .iter()
        .any(|one| one.as_bytes().eq_ignore_ascii_case(origin.as_bytes()))
}

/// Answers a preflight: the route's methods, and the headers that the player asks for, or the known
/// ones when it asks for none. Tokens travel in many headers, and players add their own
/// (CMCD); none of them does anything here by being allowed.
pub fn preflight(request: &Request<Vec<u8>>, methods: &[Method]) -> Reply {
    let mut reply = empty(StatusCode::NO_CONTENT);
    allow(&mut reply, methods);
    let headers = reply.headers_mut();
    if let Ok(methods) = HeaderValue::from_str(&names(methods)) {
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
    }
    let wanted = request.headers().get(ACCESS_CONTROL_REQUEST_HEADERS);
    let allowed = wanted.cloned().or_else(|| {
        let beside = VENDORS
            .iter()
            .flat_map(|vendor| vendor.cors_headers)
            .copied();
        let known = REQUEST_HEADERS
            .into_iter()
            .chain(beside)
            .chain(vendor::headers());
        let known: Vec<&str> = known.collect();
        HeaderValue::from_str(&known.join(", ")).ok()
    });
    headers.extend(allowed.map(|allowed| (ACCESS_CONTROL_ALLOW_HEADERS, allowed)));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    headers.append(VARY, HeaderValue::from_name(ACCESS_CONTROL_REQUEST_HEADERS));
    reply
}
