//! WASI HTTP 0.3: a request that comes in, and one that goes out.

use bytes::Bytes;
use http_body_util::BodyExt;
use keylet::platform::Error;
use keylet::service::IncomingBody;
use keylet::wasi::Exchange;
use spin_sdk::http::FullBody;
use spin_sdk::wasip3::http::types::{ErrorCode, RequestOptions};
use spin_sdk::wasip3::http_compat::{Request, RequestOptionsExtension};

/// Reads a request whole.
pub async fn read(request: Request) -> http::Request<Vec<u8>> {
    let (parts, mut incoming) = request.into_parts();
    let mut body = IncomingBody::default();
    while let Some(Ok(frame)) = incoming.frame().await {
        let piece = frame.data_ref().map_or(&[][..], |data| data);
        if body.push(piece).is_break() {
            break;
        }
    }
    http::Request::from_parts(parts, body.into_bytes())
}

/// The answer as the SDK sends it.
pub fn reply(response: http::Response<Vec<u8>>) -> http::Response<FullBody<Bytes>> {
    response.map(|body| FullBody::new(Bytes::from(body)))
}

/// [`keylet::platform::Platform::send`] on WASI HTTP 0.3.
pub async fn send(mut request: http::Request<Vec<u8>>) -> Result<http::Response<Vec<u8>>, Error> {
    let mut exchange = Exchange::begin(&mut request);
    let mut request = request.map(|body| FullBody::new(Bytes::from(body)));
    request
        .extensions_mut()
        .insert(RequestOptionsExtension(options(exchange.timeout())));
    let response = spin_sdk::http::send(request)
        .await
        .map_err(|code| match code {
            ErrorCode::HttpRequestDenied => exchange.denied(),
            code => exchange.failed(format!("{code:?}")),
        })?;
    let (parts, mut incoming) = response.into_parts();
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|error| exchange.failed(format!("its answer: {error}")))?;
        if let Some(piece) = frame.data_ref() {
            exchange.push(piece)?;
        }
    }
    Ok(http::Response::from_parts(parts, exchange.into_answer()))
}

/// A host that does not take an option goes by its own.
fn options(timeout: Option<u64>) -> RequestOptions {
    let options = RequestOptions::new();
    let _ = options.set_connect_timeout(timeout);
    let _ = options.set_first_byte_timeout(timeout);
    let _ = options.set_between_bytes_timeout(timeout);
    options
}
