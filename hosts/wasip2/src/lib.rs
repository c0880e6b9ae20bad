//! Keylet for every Spin, on WASI 0.2: a fresh instance answers each request.

#![cfg(target_family = "wasm")]
#![expect(unsafe_code, reason = "the Spin SDK's macro exports the handler")]

use http::{Request, Response};
use keylet::platform::Error;
use keylet::service::{IncomingBody, Service};
use keylet::wasi::{Variables, Wasi};
use spin_sdk::http::{Fields, IncomingRequest, OutgoingResponse, ResponseOutparam};
use spin_sdk::variables;

struct Spin;

impl Variables for Spin {
    async fn variable(&self, name: &str) -> Result<Option<String>, Error> {
        match variables::get(name) {
            Ok(value) => Ok(Some(value)),
            Err(variables::Error::Undefined(_)) => Ok(None),
            Err(_) => Err(Error::Variables {
                variable: name.to_owned(),
            }),
        }
    }
}

#[spin_sdk::http_component]
async fn handle(request: IncomingRequest, outparam: ResponseOutparam) {
    let service = Service::new(Wasi(Spin));
    let response = service.handle(read(request).await).await;
    send(response, outparam).await;
}

async fn read(request: IncomingRequest) -> Request<Vec<u8>> {
    use futures::TryStreamExt;

    let mut builder = Request::builder()
        .method(request.method().to_string().as_str())
        .uri(request.path_with_query().unwrap_or_else(|| "/".to_owned()));
    for (name, value) in request.headers().entries() {
        builder = builder.header(name, value);
    }
    let mut body = IncomingBody::default();
    let mut stream = std::pin::pin!(request.into_body_stream());
    while let Ok(Some(piece)) = stream.try_next().await {
        if body.push(&piece).is_break() {
            break;
        }
    }
    // A host hands over only what HTTP allows, which is what the builder takes.
    builder.body(body.into_bytes()).unwrap_or_default()
}

async fn send(response: Response<Vec<u8>>, outparam: ResponseOutparam) {
    let (parts, body) = response.into_parts();
    let headers = Fields::new();
    for (name, value) in &parts.headers {
        let _ = headers.append(name.as_str(), value.as_bytes());
    }
    let reply = OutgoingResponse::new(headers);
    let _ = reply.set_status_code(parts.status.as_u16());
    // A client that has gone away needs no answer.
    let _ = outparam.set_with_body(reply, body).await;
}
