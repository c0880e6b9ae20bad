//! HTTP: one row a route in [`route`], a folder for each DRM system, and below them what all routes share.

mod check;
mod clearkey;
mod context;
mod cors;
mod fairplay;
mod format;
mod health;
mod incoming_body;
mod issue;
mod key_system;
mod keys;
mod license;
mod license_data;
mod openapi;
mod operator;
mod origin;
mod packaging;
mod parameter;
mod playready;
mod problem;
mod request_body;
mod response;
mod root;
mod route;
#[cfg(all(test, feature = "schema"))]
mod schema;
mod session_headers;
mod sessions;
mod store;
mod tokens;
mod widevine;

use std::cell::OnceCell;

use futures_util::future::join;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, COOKIE, ORIGIN};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};

pub use self::check::check;
use self::context::Context;
use self::cors::Cors;
pub use self::incoming_body::{IncomingBody, MAX_BODY};
pub use self::openapi::DOCUMENT as OPENAPI;
use self::problem::Problem;
pub use self::problem::{CODE_HEADER, PROBLEM_TYPES};
use self::response::Reply;
use self::route::Route;
pub use self::route::{route_name, routes};
use crate::configuration::Problems;
use crate::error::Code;
use crate::licence::LicenceServer;
use crate::packaging::Packaging;
use crate::platform::{Platform, Stages, Trace};

/// The largest SPC, in bytes.
pub const MAX_SPC: usize = 64 * 1024;

/// The header with the request's id: taken over from the client, or made here.
pub const REQUEST_ID_HEADER: &str = "x-request-id";

/// The licence server, on a platform.
pub struct Service<P> {
    licences: LicenceServer<P>,
    packaging: Packaging,
    cors: OnceCell<Cors>,
}

impl<P: Platform> Service<P> {
    /// A server that has read nothing yet.
    pub fn new(platform: P) -> Self {
        Self {
            licences: LicenceServer::new(platform),
            packaging: Packaging::default(),
            cors: OnceCell::new(),
        }
    }

    /// Everything that keeps the configuration from loading.
    pub async fn check(&self) -> Problems {
        check(&self.licences).await
    }

    /// Answers a request. There is no request that it does not answer.
    pub async fn handle(&self, request: Request<Vec<u8>>) -> Reply {
        let trace = Trace::of(request.headers(), || {
            let mut id = [0; 8];
            self.licences.platform().fill_random(&mut id);
            id
        });
        let answer = Stages::run(self.licences.platform(), self.answer(request));
        Trace::run(trace, answer).await
    }

    async fn answer(&self, request: Request<Vec<u8>>) -> Reply {
        let id = request_id(&request, self.licences.platform());
        let origin = request.headers().get(ORIGIN).cloned();
        let is_head = request.method() == Method::HEAD;

        let platform = self.licences.platform();
        platform.read_ahead().await;
        let (reply, cors) = join(self.route(request, &id), Cors::load(&self.cors, platform)).await;
        let mut reply = match reply {
            Ok(reply) => reply,
            Err(problem) => problem.into_reply(&id),
        };
        let headers = reply.headers_mut();
        headers
            .entry(CACHE_CONTROL)
            .or_insert(HeaderValue::from_static("no-store"));
        if let Ok(value) = HeaderValue::from_str(&id) {
            headers.insert(REQUEST_ID_HEADER, value);
        }
        cors.apply(origin.as_ref(), headers);
        if is_head {
            reply.body_mut().clear();
        }
        let without_body = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED];
        if !is_head && !without_body.contains(&reply.status()) {
            // With a length, a host sends no chunks and checks the body: that of a HEAD would be too short.
            let length = HeaderValue::from(reply.body().len());
            reply.headers_mut().insert(CONTENT_LENGTH, length);
        }
        reply
    }

    async fn route(&self, request: Request<Vec<u8>>, id: &str) -> Result<Reply, Problem> {
        let path = request.uri().path().to_owned();
        let (route, name) = Route::find(&path).ok_or(Code::ROUTE_NOT_FOUND)?;
        let methods = route.methods;
        match request.method() {
            &Method::OPTIONS => return Ok(cors::preflight(&request, methods)),
            &Method::HEAD if methods.contains(&Method::GET) => {}
            method if methods.contains(method) => {}
            _ => return Err(Problem::method_not_allowed(methods)),
        }
        if request.body().len() > MAX_BODY {
            return Err(Code::BODY_TOO_LARGE.into());
        }
        let context = Context {
            licences: &self.licences,
            packaging: &self.packaging,
            reads_cookies: self.reads_cookies(request.headers()).await,
            request,
            id,
            name,
        };
        route::dispatch(route, context).await
    }

    /// Whether a token may come in a cookie. A browser sends cookies whichever page asks, and names that page's origin
    /// with each request that a script makes of another origin (Fetch standard, section "`Origin` header").
    async fn reads_cookies(&self, headers: &HeaderMap) -> bool {
        match headers.get(ORIGIN) {
            Some(origin) if headers.contains_key(COOKIE) => {
                let cors = Cors::load(&self.cors, self.licences.platform()).await;
                cors.names(origin)
            }
            _ => true,
        }
    }
}

/// The client's `x-request-id` when it is short and plain, else 16 random hex digits.
fn request_id(request: &Request<Vec<u8>>, platform: &impl Platform) -> String {
    let plain = |id: &&str| {
        (1..=64).contains(&id.len())
            && id
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    let given = request
        .headers()
        .get(REQUEST_ID_HEADER)
        .and_then(|value| value.to_str().ok());
    given.filter(plain).map_or_else(
        || {
            let mut random = [0; 8];
            platform.fill_random(&mut random);
            hex::encode(random)
        },
        ToOwned::to_owned,
    )
}
