//! A request on its way to a handler.

use std::borrow::Cow;

use http::{HeaderMap, Request};

use crate::licence::LicenceServer;
use crate::packaging::Packaging;
use crate::platform::Platform;
use crate::token::{self, Found};

/// A request, and what a handler needs beside it.
pub struct Context<'a, P> {
    /// The licence server.
    pub licences: &'a LicenceServer<P>,
    /// The settings of the key server for packagers.
    pub packaging: &'a Packaging,
    /// The request. Its body is at most [`MAX_BODY`](super::MAX_BODY) bytes.
    pub request: Request<Vec<u8>>,
    /// The request's id in logs and answers.
    pub id: &'a str,
    /// The text that the route's pattern has a name for.
    pub name: Option<&'a str>,
    /// Whether a token may come in a cookie: no page asks, or one whose origin `cors_origins` names.
    pub reads_cookies: bool,
}

impl<P: Platform> Context<'_, P> {
    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        self.request.headers()
    }

    /// The query, without its question mark.
    pub fn query(&self) -> Option<&str> {
        self.request.uri().query()
    }

    /// The tokens of the request; `in_body` is the one in its body, where the body has a place for one.
    pub fn tokens(&self, in_body: Option<&str>) -> Found {
        let found = token::locate(self.headers(), self.query(), in_body).asked_by(&self.request);
        match self.reads_cookies {
            true => found,
            false => found.of_foreign_page(),
        }
    }

    /// The first value of a parameter of the query.
    pub fn parameter(&self, name: &str) -> Option<Cow<'_, str>> {
        parameter(self.query(), name)
    }
}

/// The first value of a parameter of a query.
pub fn parameter<'a>(query: Option<&'a str>, name: &str) -> Option<Cow<'a, str>> {
    form_urlencoded::parse(query?.as_bytes()).find_map(|(n, value)| (n == name).then_some(value))
}
