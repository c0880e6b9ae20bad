//! WASI HTTP 0.2: a request that comes in, and one that goes out. An instance answers one request,
//! so whatever waits may block it.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use ::http::{Request, Response, Uri};
use wasi::http::outgoing_handler;
use wasi::http::types::{
    ErrorCode, Fields, IncomingBody as Incoming, IncomingRequest, IncomingResponse, Method,
    OutgoingBody, OutgoingRequest, OutgoingResponse, RequestOptions, ResponseOutparam, Scheme,
};
use wasi::io::streams::{OutputStream, StreamError};

use super::{Exchange, Host, Wasi, wipe_stack};
use crate::platform::Error;
use crate::service::{IncomingBody, Service};

/// The most that one call writes (`blocking-write-and-flush`).
const PIECE: usize = 4096;

/// Answers the one request of an instance on a host, and leaves nothing of it on the stack.
pub fn serve<H: Host>(request: IncomingRequest, outparam: ResponseOutparam, host: H) {
    answer_with(request, outparam, host);
    wipe_stack();
}

// Its own frame is gone when the stack is overwritten.
#[inline(never)]
fn answer_with<H: Host>(request: IncomingRequest, outparam: ResponseOutparam, host: H) {
    let service = Service::new(Wasi(host));
    respond(request, outparam, |request| service.handle(request));
}

/// Reads a request, has it answered, and sends the answer.
pub fn respond<A: Future<Output = Response<Vec<u8>>>>(
    request: IncomingRequest,
    outparam: ResponseOutparam,
    answer: impl FnOnce(Request<Vec<u8>>) -> A,
) {
    let answer = pin!(answer(read(request)));
    // Nothing that a host of WASI 0.2 provides makes a future wait.
    if let Poll::Ready(response) = answer.poll(&mut Context::from_waker(Waker::noop())) {
        reply(response, outparam);
    }
}

fn read(request: IncomingRequest) -> Request<Vec<u8>> {
    let method = match request.method() {
        Method::Get => "GET".to_owned(),
        Method::Head => "HEAD".to_owned(),
        Method::Post => "POST".to_owned(),
        Method::Put => "PUT".to_owned(),
        Method::Delete => "DELETE".to_owned(),
        Method::Connect => "CONNECT".to_owned(),
        Method::Options => "OPTIONS".to_owned(),
        Method::Trace => "TRACE".to_owned(),
        Method::Patch => "PATCH".to_owned(),
        Method::Other(other) => other,
    };
    let mut builder = Request::builder()
        .method(method.as_str())
        .uri(request.path_with_query().unwrap_or_else(|| "/".to_owned()));
    for (name, value) in request.headers().entries() {
        builder = builder.header(name, value);
    }
    let mut body = IncomingBody::default();
    if let Ok(incoming) = request.consume() {
        // A client that has gone away needs no answer.
        let _ = pieces(&incoming, |piece| !body.push(piece).is_break());
    }
    // A host hands over only what HTTP allows, which is what the builder takes.
    builder.body(body.into_bytes()).unwrap_or_default()
}

fn reply(response: Response<Vec<u8>>, outparam: ResponseOutparam) {
    let (parts, body) = response.into_parts();
    let reply = OutgoingResponse::new(fields(&parts.headers));
    let _ = reply.set_status_code(parts.status.as_u16());
    let unwritten = reply
        .body()
        .and_then(|outgoing| Unwritten::begin(outgoing, &body));
    ResponseOutparam::set(outparam, Ok(reply));
    if let Ok(unwritten) = unwritten {
        // A client that has gone away needs no answer.
        let _ = unwritten.finish();
    }
}

/// [`crate::platform::Platform::send`] on WASI HTTP 0.2.
///
/// # Errors
/// As [`crate::platform::Platform::send`].
pub fn send(mut request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Error> {
    let mut exchange = Exchange::begin(&mut request);
    let failed = |exchange: &Exchange, code: ErrorCode| match code {
        ErrorCode::HttpRequestDenied => exchange.denied(),
        code => exchange.failed(format!("{code:?}")),
    };

    let outgoing =
        outgoing(&request).map_err(|()| exchange.failed("it is not a request that HTTP has"))?;
    let unwritten = outgoing
        .body()
        .and_then(|body| Unwritten::begin(body, request.body()));
    let answer = outgoing_handler::handle(outgoing, Some(options(exchange.timeout())))
        .map_err(|code| failed(&exchange, code))?;
    if let Ok(unwritten) = unwritten {
        // A server may answer before it has read everything; its answer counts.
        let _ = unwritten.finish();
    }
    answer.subscribe().block();
    let response: IncomingResponse = match answer.get() {
        Some(Ok(Ok(response))) => response,
        Some(Ok(Err(code))) => return Err(failed(&exchange, code)),
        Some(Err(())) | None => return Err(exchange.failed("the host gave no answer")),
    };

    let mut builder = Response::builder().status(response.status());
    for (name, value) in response.headers().entries() {
        builder = builder.header(name, value);
    }
    let mut result = Ok(());
    let read = response.consume().and_then(|incoming| {
        pieces(&incoming, |piece| {
            result = exchange.push(piece);
            result.is_ok()
        })
    });
    result?;
    read.map_err(|()| exchange.failed("its answer broke off"))?;
    let invalid = exchange.failed("its answer is not one that HTTP has");
    builder.body(exchange.into_answer()).map_err(|_| invalid)
}

fn outgoing(request: &Request<Vec<u8>>) -> Result<OutgoingRequest, ()> {
    let outgoing = OutgoingRequest::new(fields(request.headers()));
    let uri: &Uri = request.uri();
    outgoing.set_method(&Method::Other(request.method().as_str().to_owned()))?;
    outgoing.set_scheme(
        uri.scheme_str()
            .map(|scheme| match scheme {
                "http" => Scheme::Http,
                "https" => Scheme::Https,
                other => Scheme::Other(other.to_owned()),
            })
            .as_ref(),
    )?;
    outgoing.set_authority(uri.authority().map(::http::uri::Authority::as_str))?;
    outgoing.set_path_with_query(uri.path_and_query().map(::http::uri::PathAndQuery::as_str))?;
    Ok(outgoing)
}

/// A host that does not take an option goes by its own.
fn options(timeout: Option<u64>) -> RequestOptions {
    let options = RequestOptions::new();
    let _ = options.set_connect_timeout(timeout);
    let _ = options.set_first_byte_timeout(timeout);
    let _ = options.set_between_bytes_timeout(timeout);
    options
}

fn fields(headers: &::http::HeaderMap) -> Fields {
    let entries: Vec<(String, Vec<u8>)> = headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect();
    Fields::from_list(&entries).unwrap_or_else(|_| {
        // A host that refuses one header gets the others.
        let fields = Fields::new();
        for (name, value) in &entries {
            let _ = fields.append(name, value);
        }
        fields
    })
}

/// Hands over a body piece by piece until it ends or is not wanted any more.
fn pieces(body: &Incoming, mut take: impl FnMut(&[u8]) -> bool) -> Result<(), ()> {
    let stream = body.stream()?;
    loop {
        match stream.blocking_read(64 * 1024) {
            Ok(piece) if take(&piece) => {}
            Ok(_) | Err(StreamError::Closed) => return Ok(()),
            Err(StreamError::LastOperationFailed(_)) => return Err(()),
        }
    }
}

/// A body that is begun before its head is handed over, so that both leave in one segment. Otherwise two leave: where
/// the host's connection does not have `TCP_NODELAY`, the second one waits until the client acknowledges the first,
/// and clients put that off for 40 ms (RFC 9293 section 3.7.4, RFC 1122 section 4.2.3.2).
enum Unwritten<'a> {
    Nothing,
    Rest(OutgoingBody, OutputStream, &'a [u8]),
}

impl<'a> Unwritten<'a> {
    /// Writes what the host takes at once, which is a megabyte or more.
    fn begin(body: OutgoingBody, mut bytes: &'a [u8]) -> Result<Self, ()> {
        let stream = body.write()?;
        while !bytes.is_empty() {
            let room = stream.check_write().map_err(drop)?;
            let room = usize::try_from(room).unwrap_or(usize::MAX);
            if room == 0 {
                return Ok(Self::Rest(body, stream, bytes));
            }
            let (piece, rest) = bytes.split_at(room.min(bytes.len()));
            stream.write(piece).map_err(drop)?;
            bytes = rest;
        }
        drop(stream);
        OutgoingBody::finish(body, None).map_err(drop)?;
        Ok(Self::Nothing)
    }

    fn finish(self) -> Result<(), ()> {
        let Self::Rest(body, stream, bytes) = self else {
            return Ok(());
        };
        for piece in bytes.chunks(PIECE) {
            stream.blocking_write_and_flush(piece).map_err(drop)?;
        }
        drop(stream);
        OutgoingBody::finish(body, None).map_err(drop)
    }
}
