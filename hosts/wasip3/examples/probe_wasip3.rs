//! The probe on Spin's WASI 0.3.

#![cfg(target_family = "wasm")]

#[path = "../src/http.rs"]
mod http;
#[path = "../src/spin.rs"]
mod spin;

use keylet::wasi::Wasi;
use spin_sdk::http::{IntoResponse, Request};
use spin_sdk::http_service;

#[http_service]
async fn handle(request: Request) -> impl IntoResponse {
    let request = http::read(request).await;
    http::reply(keylet_probe::handle(&Wasi(spin::Spin), request).await)
}
