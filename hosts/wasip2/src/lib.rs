//! Keylet for every Spin, on WASI 0.2: a fresh instance answers each request.

#![cfg(target_family = "wasm")]

mod spin;

use keylet::service::Service;
use keylet::wasi::{Wasi, http};
use wasi::http::types::{IncomingRequest, ResponseOutparam};

struct Component;

wasi::http::proxy::export!(Component);

impl wasi::exports::http::incoming_handler::Guest for Component {
    fn handle(request: IncomingRequest, outparam: ResponseOutparam) {
        let service = Service::new(Wasi(spin::Spin));
        http::respond(request, outparam, |request| service.handle(request));
    }
}
