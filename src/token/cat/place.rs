//! Where Common Access Tokens stand in a request, and what else of a request they are about.

use http::header::COOKIE;
use http::{HeaderMap, Method, Request, Uri};

use super::cose::is_shaped;
use crate::token::TokenLocation;

/// The header and, in other case, the cookie with the token (CTA-5007).
pub const HEADER: &str = "cta-common-access-token";

/// The query parameter with the token. Its case does not matter: content delivery networks write `CAT` or `cat`.
pub(super) const PARAMETER: &str = "cat";

/// What a token may restrict of the request that it comes with.
pub struct Asked {
    /// Its method.
    pub method: Method,
    /// Its URI, as the host states it.
    pub uri: Uri,
    /// Its headers.
    pub headers: HeaderMap,
}

impl<B> From<&Request<B>> for Asked {
    fn from(request: &Request<B>) -> Self {
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: request.headers().clone(),
        }
    }
}

/// Looks for tokens in the header, the cookie and the query. Other services have a parameter or a cookie of this name
/// too: only what begins as a token does is one.
pub(crate) fn locate(headers: &HeaderMap, query: Option<&str>) -> Vec<(TokenLocation, String)> {
    let mut found = Vec::new();
    for value in headers.get_all(HEADER) {
        if let Ok(value) = value.to_str() {
            found.push((TokenLocation::Header(HEADER), value.trim().to_owned()));
        }
    }
    let cookies = headers.get_all(COOKIE).iter();
    let cookies = cookies.filter_map(|cookies| cookies.to_str().ok());
    for cookie in cookies.flat_map(|cookies| cookies.split(';')) {
        if let Some((name, value)) = cookie.split_once('=')
            && name.trim().eq_ignore_ascii_case(HEADER)
            && is_shaped(value.trim())
        {
            found.push((TokenLocation::Cookie, value.trim().to_owned()));
        }
    }
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        if name.eq_ignore_ascii_case(PARAMETER) && is_shaped(&value) {
            found.push((TokenLocation::Parameter(PARAMETER), value.into_owned()));
        }
    }
    found.retain(|(_, token)| !token.is_empty());
    found
}
