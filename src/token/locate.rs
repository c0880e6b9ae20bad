//! Where tokens are found in a request.

use std::borrow::Cow;
use std::fmt::{self, Display};

use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE};

use crate::configuration::{SettingError, SettingErrorKind, SettingsError};
use crate::encoding;
use crate::platform::Platform;
use crate::token::spelling::{Spelled, is_jwt, is_nothing};
use crate::token::vendor::{VENDORS, Vendor, nagra};
use crate::token::{Dialects, Error, cat, own};

/// The variable that says whether a token may come in the query, where logs and histories keep it:
/// `allow` (default) or `deny`.
pub const QUERY_TOKENS: &str = "query_tokens";

/// The variable with the names of cookies that hold a token; none where it is not set.
pub const TOKEN_COOKIES: &str = "token_cookies";

/// The header with a session token, in requests and in answers.
pub const SESSION_HEADER: &str = "keylet-session";

/// This server's own query parameters, of which other services have the first one too. The second is that of RFC 6750
/// section 2.3.
const PARAMETERS: [&str; 2] = ["token", "access_token"];

/// Where a token was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenLocation {
    /// `Authorization: Bearer` (RFC 6750 section 2.1).
    Authorization,
    /// A header of a vendor.
    Header(&'static str),
    /// A parameter of the query.
    Parameter(&'static str),
    /// A cookie that [`TOKEN_COOKIES`] names.
    Cookie,
    /// The member `token` of a JSON body.
    Body,
}

impl Display for TokenLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Authorization => f.write_str("the header `authorization`"),
            Self::Header(name) => write!(f, "the header `{name}`"),
            Self::Parameter(name) => write!(f, "`?{name}=`"),
            Self::Cookie => write!(f, "a cookie of `{TOKEN_COOKIES}`"),
            Self::Body => f.write_str("`token` of the body"),
        }
    }
}

/// The tokens of a request, in the order in which they are looked for.
#[derive(Default)]
pub struct Found {
    tokens: Vec<(TokenLocation, String)>,
    /// The first place for a token with nothing in it, or with a word such as `undefined`.
    nothing: Option<TokenLocation>,
    /// Whether `Authorization` has a scheme that is not read.
    is_other_scheme: bool,
    /// What each header `Cookie` holds. Which of the cookies are tokens, [`TOKEN_COOKIES`] says.
    cookies: Vec<String>,
    /// Whether the page that asks may not use its viewer's cookies.
    is_foreign_page: bool,
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

/// Looks for tokens in headers, query and, where there is a JSON body, its member `token`. Of each, what stands around
/// the token is left out (see [`Spelled`]).
pub fn locate(headers: &HeaderMap, query: Option<&str>, in_body: Option<&str>) -> Found {
    let mut found = Found::default();
    found.in_authorization(headers);
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
                found.add(TokenLocation::Header(name), one);
            }
        }
    }
    let raw_query = query;
    let query: Vec<(Cow<'_, str>, Cow<'_, str>)> =
        form_urlencoded::parse(query.unwrap_or_default().as_bytes()).collect();
    let parameters = VENDORS.iter().flat_map(|vendor| vendor.parameters);
    for name in PARAMETERS.iter().chain(parameters) {
        for (_, value) in query.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)) {
            found.add(TokenLocation::Parameter(name), value);
        }
    }
    if let Some(token) = in_body {
        found.add(TokenLocation::Body, token);
    }
    let cookies = headers.get_all(COOKIE).iter();
    let cookies = cookies.filter_map(|value| value.to_str().ok());
    found.cookies.extend(cookies.map(ToOwned::to_owned));
    let signature = query.iter().find(|(name, _)| name == "signature");
    found.signature = signature.map(|(_, value)| value.to_string());
    found.cats = cat::locate(headers, raw_query);
    found
}

/// The secrets in `Authorization` of who is no viewer: `Bearer <secret>`, `Bearer=<secret>`, and a JWT alone. Nothing
/// else is taken off: a secret may be any text.
pub fn bearer(headers: &HeaderMap) -> impl Iterator<Item = String> {
    headers.get_all(AUTHORIZATION).iter().filter_map(|value| {
        let value = value.to_str().ok()?.trim();
        let token = unprefixed(value);
        (token.len() < value.len() || is_jwt(token)).then(|| token.to_owned())
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
    /// The tokens in `Authorization`. Schemes that are not read may be a proxy's.
    fn in_authorization(&mut self, headers: &HeaderMap) {
        for value in headers.get_all(AUTHORIZATION) {
            let Ok(value) = value.to_str() else { continue };
            // A header that is set twice may arrive as one, with a comma.
            let parts = || value.split(',').map(Spelled::read);
            if parts().all(|part| is_jwt(part.text)) {
                parts().for_each(|part| self.push(TokenLocation::Authorization, part.text));
                continue;
            }
            let Spelled { text, is_bearer } = Spelled::read(value);
            match is_bearer || is_jwt(text) || is_nothing(text) {
                true => self.push(TokenLocation::Authorization, text),
                false => self.is_other_scheme = true,
            }
        }
    }

    fn add(&mut self, location: TokenLocation, value: &str) {
        self.push(location, Spelled::read(value).text);
    }

    fn push(&mut self, location: TokenLocation, token: &str) {
        match is_nothing(token) {
            true => self.nothing = self.nothing.or(Some(location)),
            false => self.tokens.push((location, token.to_owned())),
        }
    }

    /// The same for a page that may not use its viewer's cookies: a token in one of them is not read.
    #[must_use]
    pub fn of_foreign_page(self) -> Self {
        Self {
            is_foreign_page: true,
            ..self
        }
    }

    /// Whether there is none that can be read. The variables are those of [`Self::one`].
    ///
    /// # Errors
    /// A setting that is wrong.
    pub async fn is_empty(
        &self,
        dialects: &Dialects,
        platform: &impl Platform,
    ) -> Result<bool, SettingsError> {
        Ok(match self.one(dialects, platform).await? {
            Ok(_) | Err(Error::InQuery | Error::Ambiguous(..)) => false,
            Err(_) => true,
        })
    }

    /// What the cookies hold that are named for tokens.
    async fn in_cookies(&self, platform: &impl Platform) -> Result<Vec<&str>, SettingsError> {
        if self.cookies.is_empty() {
            return Ok(Vec::new());
        }
        let names = token_cookies(platform).await?;
        // RFC 6265 section 4.2.1.
        let pairs = self.cookies.iter().flat_map(|pairs| pairs.split(';'));
        let pairs = pairs.filter_map(|pair| pair.split_once('='));
        let named = pairs.filter(|(name, _)| names.iter().any(|one| one == name.trim()));
        Ok(named.map(|(_, value)| Spelled::read(value).text).collect())
    }

    /// A token that was found before, and the signature that came with it.
    pub fn from_token(token: Option<&str>, signature: Option<&str>) -> Self {
        let token = token.map(|token| (TokenLocation::Authorization, token.to_owned()));
        Self {
            tokens: token.into_iter().collect(),
            signature: signature.map(ToOwned::to_owned),
            ..Self::default()
        }
    }

    /// The same with the request, which a Common Access Token may be restricted to.
    #[must_use]
    pub fn asked_by(mut self, asked: impl Into<cat::Asked>) -> Self {
        let mut tokens = self.tokens.iter().chain(&self.cats);
        let cookies = self.cookies.iter().flat_map(|pairs| pairs.split(';'));
        let mut cookies = cookies.filter_map(|pair| pair.split_once('='));
        if tokens.any(|(_, token)| cat::is_shaped(token))
            || cookies.any(|(_, value)| cat::is_shaped(Spelled::read(value).text))
        {
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
            TokenLocation::Authorization | TokenLocation::Cookie | TokenLocation::Body => false,
        };
        VENDORS.iter().find(has_it).copied()
    }

    /// What Kaltura's clients send beside `custom_data`.
    pub fn signature(&self) -> Option<&str> {
        self.signature.as_deref()
    }

    /// The one token. Where Common Access Tokens are accepted and no other place has a token, theirs are looked at. The
    /// variables `query_tokens` and `token_cookies` are read when there is one in the query, and when there are cookies.
    ///
    /// # Errors
    /// The outer error is that of a setting. The inner one is [`Error::InQuery`] when the only token is in a query that is
    /// not read; [`Error::InCookie`] when it is in a cookie that the page may not use; [`Error::Undefined`] when a place
    /// for a token has none in it; [`Error::OtherScheme`] or [`Error::Missing`] when there is none; [`Error::Ambiguous`]
    /// when there are two that differ.
    pub async fn one(
        &self,
        dialects: &Dialects,
        platform: &impl Platform,
    ) -> Result<Result<&str, Error>, SettingsError> {
        let own = self.own(platform).await?;
        let is_none = matches!(
            own,
            Err(Error::Missing | Error::OtherScheme | Error::Undefined(_))
        );
        match is_none && dialects.has_cat() && !self.cats.is_empty() {
            true => self.cat(platform).await,
            false => Ok(own),
        }
    }

    /// The one Common Access Token.
    async fn cat(&self, platform: &impl Platform) -> Result<Result<&str, Error>, SettingsError> {
        let in_query = |location: &TokenLocation| matches!(location, TokenLocation::Parameter(_));
        let is_query_read = !self.cats.iter().any(|(location, _)| in_query(location))
            || query_tokens_allowed(platform).await?;
        let is_read = |location: &TokenLocation| match location {
            TokenLocation::Parameter(_) => is_query_read,
            TokenLocation::Cookie => !self.is_foreign_page,
            _ => true,
        };
        let mut tokens = self.cats.iter().filter(|(location, _)| is_read(location));
        let Some((first, token)) = tokens.next() else {
            let is_any_in_query = self.cats.iter().any(|(location, _)| in_query(location));
            return Ok(Err(match is_any_in_query {
                true => Error::InQuery,
                false => Error::InCookie,
            }));
        };
        Ok(match tokens.find(|(_, other)| other != token) {
            Some((second, _)) => Err(Error::Ambiguous(*first, *second)),
            None => Ok(token),
        })
    }

    async fn own(&self, platform: &impl Platform) -> Result<Result<&str, Error>, SettingsError> {
        let in_query = |location: &TokenLocation| matches!(location, TokenLocation::Parameter(_));
        let is_query_read = !self.tokens.iter().any(|(location, _)| in_query(location))
            || query_tokens_allowed(platform).await?;
        let (empty, cookies): (Vec<&str>, Vec<&str>) = {
            let cookies = self.in_cookies(platform).await?;
            cookies.into_iter().partition(|text| is_nothing(text))
        };
        let readable = self.tokens.iter();
        let readable = readable.filter(|(location, _)| is_query_read || !in_query(location));
        let readable = readable.map(|(location, token)| (*location, token.as_str()));
        let of_cookies = cookies.iter().filter(|_| !self.is_foreign_page);
        let mut tokens = readable.chain(of_cookies.map(|token| (TokenLocation::Cookie, *token)));
        let Some((first, token)) = tokens.next() else {
            let in_cookie = || empty.first().map(|_| TokenLocation::Cookie);
            return Ok(Err(match self.nothing.or_else(in_cookie) {
                _ if !self.tokens.is_empty() => Error::InQuery,
                _ if !cookies.is_empty() => Error::InCookie,
                Some(location) => Error::Undefined(location),
                None if self.is_other_scheme => Error::OtherScheme,
                None => Error::Missing,
            }));
        };
        Ok(match tokens.find(|(_, other)| *other != token) {
            Some((second, _)) => Err(Error::Ambiguous(first, second)),
            None => Ok(token),
        })
    }
}

/// Reads the variable `token_cookies`: names of cookies, separated by commas or white space, or a JSON list of them.
///
/// # Errors
/// Text that begins like JSON and is no list of strings, and what is not the name of a cookie.
pub async fn token_cookies(platform: &impl Platform) -> Result<Vec<String>, SettingsError> {
    let malformed =
        |reason: &str| SettingError::new(TOKEN_COOKIES, SettingErrorKind::Malformed, reason);
    let setting = platform.variable(TOKEN_COOKIES).await?;
    let names = encoding::words(setting.as_deref().map_or("", String::as_str))
        .ok_or_else(|| malformed("it starts like a JSON list and is no list of strings"))?;
    // A cookie's name has the characters of a header's (RFC 6265 section 4.1.1).
    let is_name = |name: &String| http::HeaderName::from_bytes(name.as_bytes()).is_ok();
    match names.iter().all(is_name) {
        true => Ok(names),
        false => Err(malformed("an entry is not the name of a cookie").into()),
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
        for value in [
            "Bearer a.b.c",
            "Bearer=a.b.c",
            "a.b.c",
            "Token token=\"a.b.c\", n=\"b\"",
        ] {
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
            "access_token=a.b.c",
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
            "Bearer undefined",
            "Token secret",
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
