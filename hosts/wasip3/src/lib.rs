//! Keylet for Spin 4.1 and later, on WASI 0.3.
//!
//! An instance answers many requests, several at a time. What it has read of the configuration
//! stays with it; the next instance reads it anew.

#![forbid(unsafe_code)]
#![cfg(target_family = "wasm")]

mod http;
mod spin;

use std::alloc::System;
use std::rc::Rc;

use keylet::service::Service;
use keylet::wasi::{Wasi, wipe_stack};
use spin_sdk::http::{IntoResponse, Request};
use spin_sdk::http_service;
use zeroizing_alloc::ZeroAlloc;

/// Memory that is given back is overwritten first, whoever had it.
#[global_allocator]
static MEMORY: ZeroAlloc<System> = ZeroAlloc(System);

thread_local! {
    static SERVICE: Rc<Service<Wasi<spin::Spin>>> = Rc::new(Service::new(Wasi(spin::Spin)));
}

#[http_service]
async fn handle(request: Request) -> impl IntoResponse {
    let service = SERVICE.with(Rc::clone);
    let answer = service.handle(http::read(request).await).await;
    wipe_stack();
    http::reply(answer)
}
