//! Keylet for every Spin, on WASI 0.2: a fresh instance answers each request.

#![forbid(unsafe_code)]
#![cfg(target_family = "wasm")]

mod spin;

use std::alloc::System;

use keylet::wasi::http;
use wasi::http::types::{IncomingRequest, ResponseOutparam};
use zeroizing_alloc::ZeroAlloc;

/// Memory that is given back is overwritten first, whoever had it.
#[global_allocator]
static MEMORY: ZeroAlloc<System> = ZeroAlloc(System);

struct Component;

wasi::http::proxy::export!(Component);

impl wasi::exports::http::incoming_handler::Guest for Component {
    fn handle(request: IncomingRequest, outparam: ResponseOutparam) {
        http::serve(request, outparam, spin::Spin);
    }
}
