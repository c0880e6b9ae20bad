//! HTTP: routes, bodies, replies. One file an endpoint.

mod body;
mod certificate;
mod cors;
mod fairplay;
mod format;
mod health;
mod incoming;
mod inspect;
mod key_system;
mod openapi;
mod place;
mod problem;
mod reply;
mod root;
mod tokens;

use std::borrow::Cow;
use std::cell::OnceCell;

use futures_util::future::join;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};

use crate::error::Code;
use crate::licence::Licensing;
use crate::platform::Platform;
use cors::Cors;
use fairplay::Endpoint;
pub use incoming::{IncomingBody, MAX_BODY};
pub use openapi::DOCUMENT as OPENAPI;
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
        let (_, route) = Route::of(&path).ok_or(Code::ROUTE_NOT_FOUND)?;
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
            Route::OpenApi => Ok(openapi::reply()),
            Route::Certificate => certificate::reply(&self.licensing, &request, None).await,
            Route::CertificateNamed(name) => {
                certificate::reply(&self.licensing, &request, Some(name)).await
            }
            Route::Spc(endpoint) => fairplay::reply(&self.licensing, request, id, endpoint).await,
            Route::Challenge => fairplay::challenge(&self.licensing, &request).await,
            Route::Inspect => inspect::reply(&self.licensing, request).await,
            Route::Tokens => tokens::reply(&self.licensing, request, id).await,
        }
    }
}

/// What there is.
enum Route<'a> {
    Root,
    Health,
    OpenApi,
    Spc(Endpoint),
    Challenge,
    Inspect,
    Tokens,
    Certificate,
    CertificateNamed(&'a str),
}

impl<'a> Route<'a> {
    /// The routes whose paths are always the same.
    const FIXED: [(&'static str, Self); 10] = [
        ("/", Self::Root),
        ("/healthz", Self::Health),
        ("/openapi.json", Self::OpenApi),
        ("/fairplay", Self::Spc(Endpoint::Fairplay)),
        ("/fairplay/check-in", Self::Spc(Endpoint::CheckIn)),
        ("/fairplay/check-in/challenge", Self::Challenge),
        ("/fairplay/inspect", Self::Inspect),
        ("/fairplay/certificate", Self::Certificate),
        ("/license", Self::Spc(Endpoint::License)),
        ("/tokens", Self::Tokens),
    ];

    /// The pattern of [`Self::CertificateNamed`].
    const CERTIFICATE_NAMED: &'static str = "/fairplay/certificate/{name}";

    /// The route of a path, and its pattern.
    fn of(path: &'a str) -> Option<(&'static str, Self)> {
        // Players of Azure Media Services make their URL of the `skd` URI, which has this path.
        let path = if path == "/FairPlay/" {
            "/fairplay"
        } else {
            path
        };
        let fixed = Self::FIXED.into_iter().find(|(fixed, _)| *fixed == path);
        fixed.or_else(|| {
            let name = path.strip_prefix("/fairplay/certificate/")?;
            (!name.is_empty() && !name.contains('/'))
                .then_some((Self::CERTIFICATE_NAMED, Self::CertificateNamed(name)))
        })
    }

    fn method(&self) -> Method {
        match self {
            Self::Root
            | Self::Health
            | Self::OpenApi
            | Self::Certificate
            | Self::CertificateNamed(_) => Method::GET,
            Self::Spc(_) | Self::Challenge | Self::Inspect | Self::Tokens => Method::POST,
        }
    }
}

/// The pattern of the route that a path takes, such as `/fairplay/certificate/{name}`; `other` for
/// a path that has none. There are few of them, whatever clients ask for.
pub fn route_name(path: &str) -> &'static str {
    Route::of(path).map_or("other", |(pattern, _)| pattern)
}

/// Every route: its pattern and its method.
pub fn routes() -> impl Iterator<Item = (&'static str, Method)> {
    let fixed = Route::FIXED
        .into_iter()
        .map(|(pattern, route)| (pattern, route.method()));
    fixed.chain([(Route::CERTIFICATE_NAMED, Method::GET)])
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

/// The first value of a parameter of the query.
fn parameter<'a>(query: Option<&'a str>, name: &str) -> Option<Cow<'a, str>> {
    form_urlencoded::parse(query?.as_bytes()).find_map(|(n, value)| (n == name).then_some(value))
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
