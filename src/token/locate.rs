//! Where tokens are found in a request.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::configuration::{SettingError, SettingErrorKind, SettingsError};
use crate::platform::Platform;
use crate::token::vendor::{VENDORS, Vendor, nagra};
use crate::token::{Dialects, Error, cat, own};

/// The variable that says whether a token may come in the query, where logs and histories keep it:
/// `allow` (default) or `deny`.
pub const QUERY_TOKENS: &str = "query_tokens";

/// The header with a session token, in requests and in answers.
pub const SESSION_HEADER: &str = "keylet-session";

/// This server's own query parameter; other services have it too.
const PARAMETER: &str = "token";

/// Where a token was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenLocation {
    /// `Authorization: Bearer` (RFC 6750 section 2.1).
    Authorization,
    /// A header of a vendor.
    Header(&'static str),
    /// A parameter of the query.
    Parameter(&'static str),
    /// The member `token` of a JSON body.
    Body,
}

/// The tokens of a request, in the order in which they are looked for.
pub struct Found {
    tokens: Vec<(TokenLocation, String)>,
    /// The query parameter `signature`, which goes with `custom_data`.
    signature: Option<String>,
    /// What is in the places of Common Access Tokens alone.
    cats: Vec<(TokenLocation, String)>,
    /// The request that they came with.
    asked: Option<Box<cat::Asked>>,
}

/// The session token of a request: in [`SESSION_HEADER`], or in Nagra's list.
pub fn session(headers: &HeaderMap) -> Option<&str> {
    let own = headers
        .get(SESSION_HEADER)
        .and_then(|value| value.to_str().ok());
    own.map(str::trim)
        .filter(|own| !own.is_empty())
        .or_else(|| {
            let lists = headers.get_all(nagra::HEADER).iter();
            let tokens = lists
                .filter_map(|list| list.to_str().ok())
                .flat_map(|list| list.split(','));
            tokens
                .map(str::trim)
                .find(|token| own::is_of_session(token))
        })
}

/// Looks for tokens in headers, query and, where there is a JSON body, its member `token`.
pub fn locate(headers: &HeaderMap, query: Option<&str>, in_body: Option<&str>) -> Found {
    let mut found: Vec<(TokenLocation, String)> = bearer(headers)
        .map(|token| (TokenLocation::Authorization, token))
        .collect();
    for vendor in VENDORS {
        for name in vendor.headers {
            for value in headers.get_all(*name) {
                let Ok(value) = value.to_str() else { continue };
                // The first token of a list that is not a session token authorises the content.
                let one = match vendor.header_is_list {
                    true => value
                        .split(',')
                        .find(|one| !own::is_of_session(one.trim()))
                        .unwrap_or_default(),
                    false => value,
                };
                found.push((TokenLocation::Header(name), unprefixed(one).to_owned()));
            }
        }
    }
    let raw_query = query;
    let query: Vec<(Cow<'_, str>, Cow<'_, str>)> =
        form_urlencoded::parse(query.unwrap_or_default().as_bytes()).collect();
    let parameters = VENDORS.iter().flat_map(|vendor| vendor.parameters);
    for name in std::iter::once(&PARAMETER).chain(parameters) {
        let values = query.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        found.extend(
            values.map(|(_, value)| (TokenLocation::Parameter(name), unprefixed(value).to_owned())),
        );
    }
    found.extend(in_body.map(|token| (TokenLocation::Body, unprefixed(token).to_owned())));
    found.retain(|(_, token)| !token.is_empty());
    let signature = query.iter().find(|(name, _)| name == "signature");
    Found {
        tokens: found,
        signature: signature.map(|(_, value)| value.to_string()),
        cats: cat::locate(headers, raw_query),
        asked: None,
    }
}

/// The tokens in `Authorization`: `Bearer <token>`, and as players send them `Bearer=<token>` and a
/// JWT alone. Other schemes are not tokens: a proxy may use them.
pub fn bearer(headers: &HeaderMap) -> impl Iterator<Item = String> {
    headers.get_all(AUTHORIZATION).iter().filter_map(|value| {
        let value = value.to_str().ok()?.trim();
        let token = unprefixed(value);
        let is_jwt = || !token.contains(' ') && token.matches('.').count() == 2;
        (token.len() < value.len() || is_jwt()).then(|| token.to_owned())
    })
}

/// The text after `Bearer` and a space or `=`, or the whole text.
fn unprefixed(value: &str) -> &str {
    let value = value.trim();
    match value.split_at_checked("bearer".len()) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer") => {
            rest.strip_prefix([' ', '=']).map_or(value, str::trim)
        }
        _ => value,
    }
}

impl Found {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// A token that was found before, and the signature that came with it.
    pub fn from_token(token: Option<&str>, signature: Option<&str>) -> Self {
        let token = token.map(|token| (TokenLocation::Authorization, token.to_owned()));
        Self {
            tokens: token.into_iter().collect(),
            signature: signature.map(ToOwned::to_owned),
            cats: Vec::new(),
            asked: None,
        }
    }

    /// The same with the request, which a Common Access Token may be restricted to.
    #[must_use]
    pub fn asked_by(mut self, asked: impl Into<cat::Asked>) -> Self {
        let mut tokens = self.tokens.iter().chain(&self.cats);
        if tokens.any(|(_, token)| cat::is_shaped(token)) {
            self.asked = Some(Box::new(asked.into()));
        }
        self
    }

    /// The request, where there is a Common Access Token.
    pub(crate) fn asked(&self) -> Option<&cat::Asked> {
        self.asked.as_deref()
    }

    /// The vendor whose players send a token where the first token is.
    pub fn vendor(&self) -> Option<&'static Vendor> {
        let (location, _) = self.tokens.first()?;
        let has_it = |vendor: &&&Vendor| match location {
            TokenLocation::Header(name) => vendor.headers.contains(name),
            TokenLocation::Parameter(name) => vendor.parameters.contains(name),
            TokenLocation::Authorization | TokenLocation::Body => false,
        };
        VENDORS.iter().find(has_it).copied()
    }

    /// What Kaltura's clients send beside `custom_data`.
    pub fn signature(&self) -> Option<&str> {
        self.signature.as_deref()
    }

    /// The one token. Where Common Access Tokens are accepted and no other place has a token, theirs are looked at. The
    /// variable `query_tokens` is read when there is one in the query.
    ///
    /// # Errors
    /// The outer error is that of the setting. The inner one is [`Error::Missing`];
    /// [`Error::InQuery`] when the only token is in a query that is not read; [`Error::Ambiguous`]
    /// when there are two that differ.
    pub async fn one(
        &self,
        dialects: &Dialects,
        platform: &impl Platform,
    ) -> Result<Result<&str, Error>, SettingsError> {
        let found = match dialects.has_cat() && self.tokens.is_empty() {
            true => &self.cats,
            false => &self.tokens,
        };
        let in_query = |location: &TokenLocation| matches!(location, TokenLocation::Parameter(_));
        let is_query_read = !found.iter().any(|(location, _)| in_query(location))
            || query_tokens_allowed(platform).await?;
        let mut tokens = found
            .iter()
            .filter(|(location, _)| is_query_read || !in_query(location))
            .map(|(_, token)| token.as_str());
        Ok(match tokens.next() {
            None if found.is_empty() => Err(Error::Missing),
            None => Err(Error::InQuery),
            Some(token) if tokens.any(|other| other != token) => Err(Error::Ambiguous),
            Some(token) => Ok(token),
        })
    }
}

/// Reads the variable `query_tokens`.
///
/// # Errors
/// A value that is neither of the two.
pub async fn query_tokens_allowed(platform: &impl Platform) -> Result<bool, SettingsError> {
    let setting = platform.variable(QUERY_TOKENS).await?;
    match setting.as_deref().map(|value| value.trim()) {
        None | Some("allow") => Ok(true),
        Some("deny") => Ok(false),
        Some(_) => Err(SettingError::new(
            QUERY_TOKENS,
            SettingErrorKind::Malformed,
            "it is neither `allow` nor `deny`",
        )
        .into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(headers: &[(&'static str, &str)], query: &str, body: Option<&str>) -> Vec<String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let found = locate(&map, Some(query), body);
        found.tokens.into_iter().map(|(_, token)| token).collect()
    }

    #[test]
    fn a_token_is_found_in_every_place_and_spelling() {
        for value in ["Bearer a.b.c", "bearer  a.b.c ", "Bearer=a.b.c", "a.b.c"] {
            assert_eq!(
                found(&[("authorization", value)], "", None),
                ["a.b.c"],
                "{value}"
            );
        }
        for name in crate::token::vendor::headers() {
            assert_eq!(found(&[(name, "a.b.c")], "", None), ["a.b.c"], "{name}");
        }
        for query in [
            "x=1&token=a.b%2Ec",
            "token=Bearer%3Da.b.c",
            "AxDRMMessage=a.b.c",
            "UserToken=a.b.c",
            "custom_data=a.b.c&signature=x",
            "authorization=a.b.c",
        ] {
            assert_eq!(found(&[], query, None), ["a.b.c"], "{query}");
        }
        assert_eq!(found(&[], "", Some("a.b.c")), ["a.b.c"]);
        assert_eq!(
            found(&[("nv-authorizations", "a.b.c,d.e.f")], "", None),
            ["a.b.c"]
        );
    }

    #[test]
    fn what_is_no_token_is_left_out() {
        for value in [
            "Basic dXNlcg==",
            "Basic a.b.c",
            "Bearer",
            "Bearer ",
            "secret",
        ] {
            let none: [&str; 0] = [];
            assert_eq!(
                found(&[("authorization", value)], "token=", None),
                none,
                "{value}"
            );
        }
    }

    #[test]
    fn the_order_is_that_of_the_places() {
        let headers = [
            ("x-vudrm-token", "4"),
            ("x-axdrm-message", "2"),
            ("authorization", "Bearer 1"),
        ];
        let tokens = found(&headers, "authorization=6&token=5", Some("7"));
        assert_eq!(tokens, ["1", "2", "4", "5", "6", "7"]);
    }
}
