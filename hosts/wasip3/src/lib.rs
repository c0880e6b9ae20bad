//! Keylet for Spin 4.1 and later, on WASI 0.3.
//!
//! An instance answers many requests, several at a time. What it has read of the configuration
//! stays with it; the next instance reads it anew.

#![cfg(target_family = "wasm")]

use std::rc::Rc;

use bytes::Bytes;
use http_body_util::BodyExt;
use keylet::platform::Error;
use keylet::service::{IncomingBody, Service};
use keylet::wasi::{Variables, Wasi};
use spin_sdk::http::{FullBody, IntoResponse, Request};
use spin_sdk::{http_service, variables};

struct Spin;

impl Variables for Spin {
    async fn variable(&self, name: &str) -> Result<Option<String>, Error> {
        match variables::get(name).await {
            Ok(value) => Ok(Some(value)),
            Err(variables::Error::Undefined(_)) => Ok(None),
            Err(_) => Err(Error::Variables {
                variable: name.to_owned(),
            }),
        }
    }
}

thread_local! {
    static SERVICE: Rc<Service<Wasi<Spin>>> = Rc::new(Service::new(Wasi(Spin)));
}

#[http_service]
async fn handle(request: Request) -> impl IntoResponse {
    let (parts, mut incoming) = request.into_parts();
    let mut body = IncomingBody::default();
    while let Some(Ok(frame)) = incoming.frame().await {
        let piece = frame.data_ref().map_or(&[][..], |data| data);
        if body.push(piece).is_break() {
            break;
        }
    }
    let service = SERVICE.with(Rc::clone);
    let response = service
        .handle(http::Request::from_parts(parts, body.into_bytes()))
        .await;
    response.map(|body| FullBody::new(Bytes::from(body)))
}
