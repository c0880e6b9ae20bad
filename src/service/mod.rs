//! HTTP: routes, bodies, replies. One file an endpoint.

mod body;
mod certificate;
mod cors;
mod fairplay;
mod health;
mod incoming;
mod inspect;
mod place;
mod problem;
mod root;

use std::cell::OnceCell;

use futures_util::future::join;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};

use crate::error::Code;
use crate::licence::{Licensing, Purpose};
use crate::platform::Platform;
use cors::Cors;
pub use incoming::{IncomingBody, MAX_BODY};
use problem::Problem;

/// The largest SPC, in bytes.
pub const MAX_SPC: usize = 64 * 1024;

/// The header that repeats a refusal's code, for players that drop bodies.
pub const CODE_HEADER: &str = "x-keylet-code";

/// The header with the request's id: taken over from the client, or made here.
pub const REQUEST_ID_HEADER: &str = "x-request-id";

type Reply = Response<Vec<u8>>;

/// The licence server, on a platform.
pub struct Service<P> {
    licensing: Licensing<P>,
    cors: OnceCell<Cors>,
}

impl<P: Platform> Service<P> {
    /// A server that has read nothing yet.
    pub fn new(platform: P) -> Self {
        Self {
            licensing: Licensing::new(platform),
            cors: OnceCell::new(),
        }
    }

    /// Answers a request. There is no request that it does not answer.
    pub async fn handle(&self, request: Request<Vec<u8>>) -> Reply {
        let id = request_id(&request, self.licensing.platform());
        let origin = request.headers().get(http::header::ORIGIN).cloned();
        let is_head = request.method() == Method::HEAD;

        let platform = self.licensing.platform();
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
        reply
    }

    async fn route(&self, request: Request<Vec<u8>>, id: &str) -> Result<Reply, Problem> {
        let path = request.uri().path().to_owned();
        let route = Route::of(&path).ok_or(Code::ROUTE_NOT_FOUND)?;
        match (request.method(), route.method()) {
            (&Method::OPTIONS, _) => return Ok(cors::preflight(&request, &route.method())),
            (&Method::HEAD, Method::GET) => {}
            (actual, expected) if *actual == expected => {}
            (_, expected) => return Err(Problem::method_not_allowed(&expected)),
        }
        if request.body().len() > MAX_BODY {
            return Err(Code::BODY_TOO_LARGE.into());
        }
        match route {
            Route::Root => Ok(root::reply(&self.licensing).await),
            Route::Health => Ok(health::reply(&self.licensing).await),
            Route::Certificate(name) => certificate::reply(&self.licensing, name).await,
            Route::Fairplay => {
                fairplay::reply(&self.licensing, request, id, Purpose::Licence).await
            }
            Route::CheckIn => fairplay::reply(&self.licensing, request, id, Purpose::CheckIn).await,
            Route::Challenge => fairplay::challenge(&self.licensing, &request).await,
            Route::Inspect => inspect::reply(&self.licensing, request).await,
        }
    }
}

/// The pattern of the route that a path takes, such as `/fairplay/certificate/{name}`; `other` for
/// a path that has none. There are few of them, whatever clients ask for.
pub fn route_name(path: &str) -> &'static str {
    match Route::of(path) {
        Some(Route::Root) => "/",
        Some(Route::Health) => "/healthz",
        Some(Route::Fairplay) => "/fairplay",
        Some(Route::CheckIn) => "/fairplay/check-in",
        Some(Route::Challenge) => "/fairplay/check-in/challenge",
        Some(Route::Inspect) => "/fairplay/inspect",
        Some(Route::Certificate(None)) => "/fairplay/certificate",
        Some(Route::Certificate(Some(_))) => "/fairplay/certificate/{name}",
        None => "other",
    }
}

/// What there is.
enum Route<'a> {
    Root,
    Health,
    Fairplay,
    CheckIn,
    Challenge,
    Inspect,
    Certificate(Option<&'a str>),
}

impl<'a> Route<'a> {
    fn of(path: &'a str) -> Option<Self> {
        match path {
            "/" => Some(Self::Root),
            "/healthz" => Some(Self::Health),
            "/fairplay" => Some(Self::Fairplay),
            "/fairplay/check-in" => Some(Self::CheckIn),
            "/fairplay/check-in/challenge" => Some(Self::Challenge),
            "/fairplay/inspect" => Some(Self::Inspect),
            "/fairplay/certificate" => Some(Self::Certificate(None)),
            _ => match path.strip_prefix("/fairplay/certificate/") {
                Some(name) if !name.is_empty() && !name.contains('/') => {
                    Some(Self::Certificate(Some(name)))
                }
                _ => None,
            },
        }
    }

    fn method(&self) -> Method {
        match self {
            Self::Root | Self::Health | Self::Certificate(_) => Method::GET,
            Self::Fairplay | Self::CheckIn | Self::Challenge | Self::Inspect => Method::POST,
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

/// A reply with a body of one type.
fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Vec<u8>>) -> Reply {
    let mut reply = Response::new(body.into());
    *reply.status_mut() = status;
    reply
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// A reply with a JSON document.
fn json(status: StatusCode, document: &serde_json::Value) -> Reply {
    reply(status, "application/json", document.to_string())
}

/// The `allow` header of a route (RFC 9110 section 10.2.1).
fn allow(reply: &mut Reply, method: &Method) {
    let methods = if *method == Method::GET {
        "GET, HEAD, OPTIONS"
    } else {
        "POST, OPTIONS"
    };
    reply
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(methods));
}
