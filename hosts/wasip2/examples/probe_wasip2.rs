//! The probe on Spin's WASI 0.2.

#![cfg(target_family = "wasm")]

#[path = "../src/spin.rs"]
mod spin;

use keylet::wasi::{Wasi, http};
use wasi::http::types::{IncomingRequest, ResponseOutparam};

struct Component;

wasi::http::proxy::export!(Component);

impl wasi::exports::http::incoming_handler::Guest for Component {
    fn handle(request: IncomingRequest, outparam: ResponseOutparam) {
        http::respond(request, outparam, |request| {
            keylet_probe::handle(&Wasi(spin::Spin), request)
        });
    }
}
