//! What stands before the instances: it reads a request's body, waits for its turn, hands it to an instance and
//! answers.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::unfold;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, RETRY_AFTER};
use http::uri::Authority;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use keylet::service::{CODE_HEADER, IncomingBody, PROBLEM_TYPES, REQUEST_ID_HEADER};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime_wasi_http::WasiBody;

use super::Options;
use super::connections::Network;
use super::metrics::{COMPONENT_FAILED, HOST_BUSY, HOST_OUT_OF_MEMORY, Metrics, REQUEST_TOO_SLOW};
use super::telemetry::{ServerSpan, Telemetry};
use super::turns::{Turn, Turns};
use super::world::{INSTANCES, Instances};

/// After so long, the body of a request comes with [`SLOWEST_BODY`] at least.
const BODY_HEAD_START: Duration = Duration::from_secs(5);

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
    metrics: Arc<Metrics>,
    telemetry: Option<Arc<Telemetry>>,
    longest_body: Duration,
    longest_wait: Duration,
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
}

impl Front {
    /// Before these instances, which calculate on so many threads: each thread begins one request at a moment.
    pub fn new(
        instances: Instances,
        threads: usize,
        metrics: Arc<Metrics>,
        telemetry: Option<Arc<Telemetry>>,
        options: &Options,
    ) -> Self {
        let slots = usize::try_from(INSTANCES).unwrap_or(usize::MAX);
        Self {
            instances,
            turns: Turns::new(threads),
            slots: Arc::new(Semaphore::new(slots)),
            metrics,
            telemetry,
            longest_body: options.longest_body,
            longest_wait: options.longest_wait,
        }
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
        client: SocketAddr,
        span: Option<&ServerSpan>,
    ) -> Result<Response<WasiBody>, Unserved> {
        if !has_authority(&mut request) {
            return Ok(empty(StatusCode::BAD_REQUEST));
        }
        if let Ok(address) = client.to_string().parse() {
            request.headers_mut().insert("spin-client-addr", address);
        }
        let (mut parts, body) = request.into_parts();
        let body = self.body(body).await?;
        if parts.headers.contains_key(CONTENT_LENGTH) {
            parts.headers.insert(CONTENT_LENGTH, body.len().into());
        }
        let body = Full::from(body).map_err(|never| match never {});
        let request = Request::from_parts(parts, body.boxed_unsync());
        let (slot, turn) = self.slot(client.ip().into()).await?;
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        // Another instance may be refused memory at the same time: the host then says so of both.
        let refused = self.metrics.memory_refused();
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
                Err(match self.metrics.memory_refused() == refused {
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
        client: SocketAddr,
    ) -> Response<WasiBody> {
        let started = Instant::now();
        let telemetry = self.telemetry.as_ref();
        let span = telemetry.and_then(|telemetry| telemetry.request(&mut request));
        let in_flight = self.metrics.begin();
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let response = self.serve(request, client, span.as_ref()).await;
        let response = response.unwrap_or_else(Unserved::into_response);
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
            Self::OutOfMemory | Self::Failed => {}
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

/// Whether a request says for which host it is, as WASI wants it and from HTTP/1.1 on every request must
/// (RFC 9112 section 3.2). Of those before, as some health checks are, it is for this one.
fn has_authority(request: &mut Request<Incoming>) -> bool {
    if request.uri().authority().is_some() {
        return true;
    }
    match request.headers().get(HOST) {
        Some(host) => Authority::try_from(host.as_bytes()).is_ok(),
        None if request.version() <= Version::HTTP_10 => {
            let own = HeaderValue::from_static("localhost");
            request.headers_mut().insert(HOST, own);
            true
        }
        None => false,
    }
}

pub fn whole(body: String) -> WasiBody {
    Full::from(body)
        .map_err(|never| match never {})
        .boxed_unsync()
}
