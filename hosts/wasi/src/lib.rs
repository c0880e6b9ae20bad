//! Keylet for plain WASI 0.2 hosts such as `wasmtime serve`.
//!
//! Variables come from `wasi:config`, else from the environment, where they have the names that
//! Spin gives them.

#![cfg(target_family = "wasm")]

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use ::wasi::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use http::{Request, Response};
use keylet::platform::Error;
use keylet::service::{IncomingBody, Service};
use keylet::wasi::{Variables, Wasi};

mod bindings {
    wit_bindgen::generate!({
        path: "wit",
        world: "imports",
        generate_all,
    });
}

use bindings::wasi::config::store;

struct Plain;

impl Variables for Plain {
    async fn variable(&self, name: &str) -> Result<Option<String>, Error> {
        let configured = store::get(name).map_err(|_| Error::Variables {
            variable: name.to_owned(),
        })?;
        Ok(configured
            .filter(|value| !value.is_empty())
            .or_else(|| std::env::var(format!("SPIN_VARIABLE_{}", name.to_ascii_uppercase())).ok()))
    }
}

struct Component;

::wasi::http::proxy::export!(Component);

impl ::wasi::exports::http::incoming_handler::Guest for Component {
    fn handle(request: IncomingRequest, outparam: ResponseOutparam) {
        let service = Service::new(Wasi(Plain));
        let mut answer = pin!(service.handle(read(request)));
        // Nothing that this platform provides makes a future wait.
        if let Poll::Ready(response) = answer
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            send(response, outparam);
        }
    }
}

fn read(request: IncomingRequest) -> Request<Vec<u8>> {
    use ::wasi::http::types::Method;

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
    if let Ok(incoming) = request.consume()
        && let Ok(stream) = incoming.stream()
    {
        while let Ok(piece) = stream.blocking_read(64 * 1024) {
            if body.push(&piece).is_break() {
                break;
            }
        }
    }
    // A host hands over only what HTTP allows, which is what the builder takes.
    builder.body(body.into_bytes()).unwrap_or_default()
}

fn send(response: Response<Vec<u8>>, outparam: ResponseOutparam) {
    let (parts, body) = response.into_parts();
    let headers = Fields::new();
    for (name, value) in &parts.headers {
        let _ = headers.append(name.as_str(), value.as_bytes());
    }
    let reply = OutgoingResponse::new(headers);
    let _ = reply.set_status_code(parts.status.as_u16());
    let outgoing = reply.body();
    ResponseOutparam::set(outparam, Ok(reply));
    if let Ok(outgoing) = outgoing {
        // A client that has gone away needs no answer.
        if let Ok(stream) = outgoing.write() {
            for chunk in body.chunks(4096) {
                if stream.blocking_write_and_flush(chunk).is_err() {
                    break;
                }
            }
        }
        let _ = OutgoingBody::finish(outgoing, None);
    }
}
