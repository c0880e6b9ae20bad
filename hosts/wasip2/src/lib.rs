//! Keylet for every Spin, on WASI 0.2: a fresh instance answers each request.

#![forbid(unsafe_code)]
#![cfg(target_family = "wasm")]

mod spin;

use std::alloc::System;

use keylet::service::Service;
use keylet::wasi::{Wasi, http, wipe_stack};
use wasi::http::types::{IncomingRequest, ResponseOutparam};
use zeroizing_alloc::ZeroAlloc;

/// Memory that is given back is overwritten first, whoever had it.
#[global_allocator]
static MEMORY: ZeroAlloc<System> = ZeroAlloc(System);

struct Component;

wasi::http::proxy::export!(Component);

impl wasi::exports::http::incoming_handler::Guest for Component {
    fn handle(request: IncomingRequest, outparam: ResponseOutparam) {
        answer(request, outparam);
        wipe_stack();
    }
}

// Its own frame is gone when the stack is overwritten.
#[inline(never)]
fn answer(request: IncomingRequest, outparam: ResponseOutparam) {
    let service = Service::new(Wasi(spin::Spin));
    http::respond(request, outparam, |request| service.handle(request));
}
