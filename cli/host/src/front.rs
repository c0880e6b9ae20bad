//! What stands before the instances: it reads a request's body, waits for its turn, hands it to an instance and
//! answers.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::stream::unfold;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, RETRY_AFTER};
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Request, Response, StatusCode, Uri, Version};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use keylet::service::{CODE_HEADER, IncomingBody, PROBLEM_TYPES, REQUEST_ID_HEADER};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime_wasi_http::WasiBody;

use super::Options;
use super::connections::Network;
use super::metrics::{
    COMPONENT_FAILED, HOST_BUSY, HOST_DRAINING, HOST_OUT_OF_MEMORY, REQUEST_TOO_SLOW,
};
use super::state::Shared;
use super::telemetry::ServerSpan;
use super::turns::{Turn, Turns};
use super::world::{INSTANCES, Instances};

/// After so long, the body of a request comes with [`SLOWEST_BODY`] at least.
const BODY_HEAD_START: Duration = Duration::from_secs(5);

/// Where a balancer asks whether it may send requests.
const HEALTH: &str = "/healthz";

/// The fewest bytes of a body in a second.
const SLOWEST_BODY: u64 = 1024;

/// How long a request has its turn at most: one that takes longer waits for a store, perhaps, and the processor is
/// free.
const LONGEST_TURN: Duration = Duration::from_millis(2);

/// What stands before the instances: as many requests at a moment as there is room for, each
/// counted and logged.
pub struct Front {
    instances: Instances,
    turns: Turns,
    slots: Arc<Semaphore>,
    shared: Arc<Shared>,
    longest_body: Duration,
    longest_wait: Duration,
}

/// Where a request came from.
pub struct Client {
    /// The other end of its connection.
    pub address: SocketAddr,
    /// `https` where the connection has TLS.
    pub scheme: Scheme,
}

/// Why a request has no answer of an instance.
enum Unserved {
    /// Its body does not come, or too slowly.
    Slow,
    /// Its client is gone.
    Broken,
    /// No instance is free.
    Busy,
    /// Its instance wanted more memory than one gets.
    OutOfMemory,
    /// Its instance ended without an answer.
    Failed,
    /// The server is about to stop, and a balancer asks whether it may go on sending.
    Draining,
}

impl Front {
    /// Before these instances, which calculate on so many threads: each thread begins one request at a moment.
    pub fn new(
        instances: Instances,
        threads: usize,
        shared: Arc<Shared>,
        options: &Options,
    ) -> Self {
        let slots = usize::try_from(INSTANCES).unwrap_or(usize::MAX);
        Self {
            instances,
            turns: Turns::new(threads),
            slots: Arc::new(Semaphore::new(slots)),
            shared,
            longest_body: options.longest_body,
            longest_wait: options.longest_wait,
        }
    }

    fn is_draining(&self) -> bool {
        self.shared.is_draining.load(Ordering::Relaxed)
    }

    /// The body of a request, at most one byte longer than the component takes. It is read before the request takes
    /// a slot, so that a slow client holds up no other.
    async fn body(&self, mut body: Incoming) -> Result<Vec<u8>, Unserved> {
        let started = tokio::time::Instant::now();
        let mut read = IncomingBody::default();
        let mut length = 0_u64;
        loop {
            let due = Duration::from_secs(length / SLOWEST_BODY);
            let longest = self.longest_body.min(BODY_HEAD_START + due);
            let frame = tokio::time::timeout_at(started + longest, body.frame());
            let Some(frame) = frame.await.map_err(|_| Unserved::Slow)? else {
                break;
            };
            let frame = frame.map_err(|_| Unserved::Broken)?;
            let Ok(data) = frame.into_data() else { break };
            length = length.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
            if read.push(&data).is_break() {
                break;
            }
        }
        Ok(read.into_bytes())
    }

    /// A slot and the turn to use it, once both are free.
    async fn slot(&self, network: Network) -> Result<(OwnedSemaphorePermit, Turn), Unserved> {
        let slot = async {
            let turn = self.turns.turn(network).await;
            let slot = Arc::clone(&self.slots).acquire_owned().await;
            slot.map(|slot| (slot, turn))
        };
        match tokio::time::timeout(self.longest_wait, slot).await {
            Ok(Ok(slot)) => Ok(slot),
            Ok(Err(_)) | Err(_) => Err(Unserved::Busy),
        }
    }

    async fn serve(
        &self,
        mut request: Request<Incoming>,
        client: Client,
        span: Option<&ServerSpan>,
    ) -> Result<Response<WasiBody>, Unserved> {
        let Some(authority) = authority(&mut request) else {
            return Ok(empty(StatusCode::BAD_REQUEST));
        };
        if self.is_draining() && request.uri().path() == HEALTH {
            return Err(Unserved::Draining);
        }
        if let Ok(address) = client.address.to_string().parse() {
            request.headers_mut().insert("spin-client-addr", address);
        }
        if client.scheme != Scheme::HTTP {
            set_origin(&mut request, client.scheme, authority);
        }
        let (mut parts, body) = request.into_parts();
        let body = self.body(body).await?;
        if parts.headers.contains_key(CONTENT_LENGTH) {
            parts.headers.insert(CONTENT_LENGTH, body.len().into());
        }
        let body = Full::from(body).map_err(|never| match never {});
        let request = Request::from_parts(parts, body.boxed_unsync());
        let (slot, turn) = self.slot(client.address.ip().into()).await?;
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        // Another instance may be refused memory at the same time: the host then says so of both.
        let refused = self.shared.metrics.memory_refused();
        if let Some(span) = span {
            span.handed_over();
        }
        let mut handling = pin!(self.instances.handle(request));
        let handled = match tokio::time::timeout(LONGEST_TURN, &mut handling).await {
            Ok(handled) => handled,
            Err(_) => {
                drop(turn);
                handling.await
            }
        };
        match handled {
            Ok(response) => Ok(response.map(|body| holding(body, slot))),
            Err(error) => {
                tracing::error!(%method, path, error = format!("{error:#}"), "the component failed");
                Err(match self.shared.metrics.memory_refused() == refused {
                    true => Unserved::Failed,
                    false => Unserved::OutOfMemory,
                })
            }
        }
    }

    /// Answers a request and logs it: method, path, status, time, and of the answer the id of the request and the code
    /// of a refusal, by which its audit record is found. The query may hold a token, so it is not logged.
    pub async fn respond(
        &self,
        mut request: Request<Incoming>,
        client: Client,
    ) -> Response<WasiBody> {
        let started = Instant::now();
        let telemetry = self.shared.telemetry.as_ref();
        let span = telemetry.and_then(|telemetry| telemetry.request(&mut request, &client.scheme));
        let in_flight = self.shared.metrics.begin();
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let response = self.serve(request, client, span.as_ref()).await;
        let mut response = response.unwrap_or_else(Unserved::into_response);
        if self.is_draining() {
            // The client's next request goes to another server, perhaps.
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        if let Some(span) = span {
            span.end(&response);
        }
        in_flight.end(&path, &response, started.elapsed());
        let header = |name| {
            let value: Option<&HeaderValue> = response.headers().get(name);
            value.and_then(|value| value.to_str().ok())
        };
        tracing::info!(
            %method,
            path,
            status = response.status().as_u16(),
            code = header(CODE_HEADER),
            request_id = header(REQUEST_ID_HEADER),
            ms = super::millis(started),
            "request"
        );
        response
    }
}

impl Unserved {
    /// A problem document, as those of the component (RFC 9457).
    fn into_response(self) -> Response<WasiBody> {
        let (status, code, title) = match self {
            Self::Slow | Self::Broken => (
                StatusCode::REQUEST_TIMEOUT,
                REQUEST_TOO_SLOW,
                "The body of the request did not come in time.",
            ),
            Self::Busy => (
                StatusCode::SERVICE_UNAVAILABLE,
                HOST_BUSY,
                "No instance was free in time.",
            ),
            Self::OutOfMemory => (
                StatusCode::SERVICE_UNAVAILABLE,
                HOST_OUT_OF_MEMORY,
                "An instance needed more memory for this than it gets.",
            ),
            Self::Failed => (
                StatusCode::INTERNAL_SERVER_ERROR,
                COMPONENT_FAILED,
                "An instance ended without an answer; the host's log has the cause.",
            ),
            Self::Draining => (
                StatusCode::SERVICE_UNAVAILABLE,
                HOST_DRAINING,
                "The host is about to stop.",
            ),
        };
        let document = serde_json::json!({
            "type": format!("{PROBLEM_TYPES}{code}"),
            "title": title,
            "status": status.as_u16(),
            "code": code,
        });
        let mut response = Response::new(whole(document.to_string()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(CODE_HEADER, HeaderValue::from_static(code));
        match self {
            Self::Busy => drop(headers.insert(RETRY_AFTER, HeaderValue::from_static("1"))),
            Self::Slow | Self::Broken => {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Self::OutOfMemory | Self::Failed | Self::Draining => {}
        }
        response
    }
}

/// A body that holds a slot until it is handed over.
fn holding(body: WasiBody, slot: OwnedSemaphorePermit) -> WasiBody {
    let frames = unfold((body, slot), |(mut body, slot)| async move {
        let frame = body.frame().await?;
        Some((frame, (body, slot)))
    });
    StreamBody::new(frames).boxed_unsync()
}

fn empty(status: StatusCode) -> Response<WasiBody> {
    let mut response = Response::new(whole(String::new()));
    *response.status_mut() = status;
    response
}

/// For which host a request is, as WASI wants it and from HTTP/1.1 on every request must say
/// (RFC 9112 section 3.2). Of those before, as some health checks are, it is for this one.
fn authority(request: &mut Request<Incoming>) -> Option<Authority> {
    if let Some(authority) = request.uri().authority() {
        return Some(authority.clone());
    }
    match request.headers().get(HOST) {
        Some(host) => Authority::try_from(host.as_bytes()).ok(),
        None if request.version() <= Version::HTTP_10 => {
            let own = "localhost";
            request
                .headers_mut()
                .insert(HOST, HeaderValue::from_static(own));
            Some(Authority::from_static(own))
        }
        None => None,
    }
}

/// Has a request say by which scheme and for which host it came, as one to a proxy does (RFC 9112 section 3.2.2).
fn set_origin(request: &mut Request<Incoming>, scheme: Scheme, authority: Authority) {
    let mut parts = request.uri().clone().into_parts();
    (parts.scheme, parts.authority) = (Some(scheme), Some(authority));
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
}

pub fn whole(body: String) -> WasiBody {
    Full::from(body)
        .map_err(|never| match never {})
        .boxed_unsync()
}
