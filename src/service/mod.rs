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
mod origin;
mod problem;
mod reply;
mod root;
mod sessions;
mod ssm;
mod tokens;

use std::borrow::Cow;
use std::cell::OnceCell;

use futures_util::future::join;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};

use crate::error::Code;
use crate::licence::LicenceServer;
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
    licences: LicenceServer<P>,
    cors: OnceCell<Cors>,
}

impl<P: Platform> Service<P> {
    /// A server that has read nothing yet.
    pub fn new(platform: P) -> Self {
        Self {
            licences: LicenceServer::new(platform),
            cors: OnceCell::new(),
        }
    }

    /// Answers a request. There is no request that it does not answer.
    pub async fn handle(&self, request: Request<Vec<u8>>) -> Reply {
        let id = request_id(&request, self.licences.platform());
        let origin = request.headers().get(http::header::ORIGIN).cloned();
        let is_head = request.method() == Method::HEAD;

        let platform = self.licences.platform();
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
            // A host that is told the length sends no chunks, and checks it: a HEAD's body would be short of it.
            let length = HeaderValue::from(reply.body().len());
            reply.headers_mut().insert(CONTENT_LENGTH, length);
        }
        reply
    }

    async fn route(&self, request: Request<Vec<u8>>, id: &str) -> Result<Reply, Problem> {
        let path = request.uri().path().to_owned();
        let (_, route) = Route::of(&path).ok_or(Code::ROUTE_NOT_FOUND)?;
        match (request.method(), route.methods()) {
            (&Method::OPTIONS, methods) => return Ok(cors::preflight(&request, methods)),
            (&Method::HEAD, methods) if methods == [Method::GET] => {}
            (actual, methods) if methods.contains(actual) => {}
            (_, methods) => return Err(Problem::method_not_allowed(methods)),
        }
        if request.body().len() > MAX_BODY {
            return Err(Code::BODY_TOO_LARGE.into());
        }
        match route {
            Route::Root => Ok(root::reply(&self.licences).await),
            Route::Health => Ok(health::reply(&self.licences).await),
            Route::OpenApi => Ok(openapi::reply()),
            Route::Certificate => certificate::reply(&self.licences, &request, None).await,
            Route::CertificateNamed(name) => {
                certificate::reply(&self.licences, &request, Some(name)).await
            }
            Route::Spc(endpoint) => fairplay::reply(&self.licences, request, id, endpoint).await,
            Route::Challenge => fairplay::challenge(&self.licences, &request).await,
            Route::Inspect => inspect::reply(&self.licences, request).await,
            Route::Tokens => tokens::reply(&self.licences, request, id).await,
            Route::Sessions => sessions::reply(&self.licences, request, id).await,
            Route::Session(session) => {
                sessions::delete(&self.licences, &request, id, session).await
            }
            Route::Heartbeat(session) => {
                sessions::heartbeat(&self.licences, &request, id, session).await
            }
            Route::Ssm(action) => ssm::reply(&self.licences, request, id, action).await,
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
    Sessions,
    Session(&'a str),
    Heartbeat(&'a str),
    Ssm(ssm::Action),
    Certificate,
    CertificateNamed(&'a str),
}

impl<'a> Route<'a> {
    /// The routes whose paths are always the same.
    const FIXED: [(&'static str, Self); 11] = [
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
        ("/sessions", Self::Sessions),
    ];

    /// The patterns of those with a name in the middle.
    const CERTIFICATE_NAMED: &'static str = "/fairplay/certificate/{name}";
    const SESSION: &'static str = "/sessions/{id}";
    const HEARTBEAT: &'static str = "/sessions/{id}/heartbeat";

    /// The route of a path, and its pattern.
    fn of(path: &'a str) -> Option<(&'static str, Self)> {
        // Players of Azure Media Services make their URL of the `skd` URI, which has this path.
        let path = if path == "/FairPlay/" {
            "/fairplay"
        } else {
            path
        };
        let fixed = Self::FIXED.into_iter().find(|(fixed, _)| *fixed == path);
        fixed
            .or_else(|| {
                let name = segment(path.strip_prefix("/fairplay/certificate/")?)?;
                Some((Self::CERTIFICATE_NAMED, Self::CertificateNamed(name)))
            })
            .or_else(|| {
                let rest = path.strip_prefix("/sessions/")?;
                match rest.strip_suffix("/heartbeat") {
                    Some(id) => Some((Self::HEARTBEAT, Self::Heartbeat(segment(id)?))),
                    None => Some((Self::SESSION, Self::Session(segment(rest)?))),
                }
            })
            .or_else(|| {
                let (pattern, action) = ssm::Action::of(path)?;
                Some((pattern, Self::Ssm(action)))
            })
    }

    fn methods(&self) -> &'static [Method] {
        match self {
            Self::Root
            | Self::Health
            | Self::OpenApi
            | Self::Certificate
            | Self::CertificateNamed(_) => &[Method::GET],
            Self::Spc(_)
            | Self::Challenge
            | Self::Inspect
            | Self::Tokens
            | Self::Heartbeat(_)
            | Self::Ssm(_) => &[Method::POST],
            Self::Sessions => &[Method::POST, Method::GET, Method::DELETE],
            Self::Session(_) => &[Method::DELETE],
        }
    }
}

/// One segment of a path.
fn segment(text: &str) -> Option<&str> {
    (!text.is_empty() && !text.contains('/')).then_some(text)
}

/// The pattern of the route that a path takes, such as `/fairplay/certificate/{name}`; `other` for
/// a path that has none. There are few of them, whatever clients ask for.
pub fn route_name(path: &str) -> &'static str {
    Route::of(path).map_or("other", |(pattern, _)| pattern)
}

/// Every route: its pattern and each of its methods.
pub fn routes() -> impl Iterator<Item = (&'static str, Method)> {
    let named = [
        (Route::CERTIFICATE_NAMED, Route::CertificateNamed("")),
        (Route::SESSION, Route::Session("")),
        (Route::HEARTBEAT, Route::Heartbeat("")),
    ];
    let ssm = ssm::Action::ALL.map(|(pattern, action)| (pattern, Route::Ssm(action)));
    let routes = Route::FIXED.into_iter().chain(named).chain(ssm);
    routes.flat_map(|(pattern, route)| {
        let methods = route.methods().iter().cloned();
        methods.map(move |method| (pattern, method))
    })
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
fn allow(reply: &mut Reply, methods: &[Method]) {
    let head = if methods.contains(&Method::GET) {
        ", HEAD"
    } else {
        ""
    };
    let value = HeaderValue::from_str(&format!("{}{head}, OPTIONS", names(methods)));
    reply
        .headers_mut()
        .extend(value.map(|value| (ALLOW, value)));
}

/// Methods, as headers list them.
fn names(methods: &[Method]) -> String {
    let names: Vec<&str> = methods.iter().map(Method::as_str).collect();
    names.join(", ")
}
