//! Keylet for plain WASI 0.2 hosts such as `wasmtime serve`: a fresh instance answers each request.

#![cfg(target_family = "wasm")]

mod plain;

use keylet::service::Service;
use keylet::wasi::{Wasi, http};
use wasi::http::types::{IncomingRequest, ResponseOutparam};

struct Component;

wasi::http::proxy::export!(Component);

impl wasi::exports::http::incoming_handler::Guest for Component {
    fn handle(request: IncomingRequest, outparam: ResponseOutparam) {
        let service = Service::new(Wasi(plain::Plain));
        http::respond(request, outparam, |request| service.handle(request));
    }
}
