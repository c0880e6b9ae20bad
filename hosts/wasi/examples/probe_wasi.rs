//! The probe on a plain host.

#![cfg(target_family = "wasm")]

#[path = "../src/plain.rs"]
mod plain;

use keylet::wasi::{Wasi, http};
use wasi::http::types::{IncomingRequest, ResponseOutparam};

struct Component;

wasi::http::proxy::export!(Component);

impl wasi::exports::http::incoming_handler::Guest for Component {
    fn handle(request: IncomingRequest, outparam: ResponseOutparam) {
        http::respond(request, outparam, |request| {
            keylet_probe::handle(&Wasi(plain::Plain), request)
        });
    }
}
