//! Keylet for Spin 4.1 and later, on WASI 0.3.
//!
//! An instance answers many requests, several at a time. What it has read of the configuration
//! stays with it; the next instance reads it anew.

#![cfg(target_family = "wasm")]

use std::rc::Rc;

use bytes::Bytes;
use http_body_util::BodyExt;
use keylet::platform::{Error, Platform};
use keylet::service::{MAX_BODY, Service};
use keylet::wasi::{self, Store};
use spin_sdk::http::{FullBody, IntoResponse, Request};
use spin_sdk::{http_service, variables};
use zeroize::Zeroizing;

struct Spin;

impl Platform for Spin {
    async fn variable(&self, name: &str) -> Result<Option<Zeroizing<String>>, Error> {
        match variables::get(name).await {
            Ok(value) => Ok((!value.is_empty()).then(|| Zeroizing::new(value))),
            Err(variables::Error::Undefined(_)) => Ok(None),
            Err(_) => Err(Error::Variables {
                variable: name.to_owned(),
            }),
        }
    }

    fn now(&self) -> u64 {
        wasi::now()
    }

    fn fill_random(&self, buffer: &mut [u8]) {
        wasi::fill_random(buffer);
    }

    fn log(&self, line: &str) {
        println!("{line}");
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        Store::open()?.get(key)
    }

    async fn set(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        Store::open()?.set(key, value)
    }

    async fn delete(&self, key: &str) -> Result<(), Error> {
        Store::open()?.delete(key)
    }

    async fn keys(&self) -> Result<Vec<String>, Error> {
        Store::open()?.keys()
    }

    async fn increment(&self, key: &str, delta: i64) -> Result<i64, Error> {
        Store::open()?.increment(key, delta)
    }
}

thread_local! {
    static SERVICE: Rc<Service<Spin>> = Rc::new(Service::new(Spin));
}

#[http_service]
async fn handle(request: Request) -> impl IntoResponse {
    let (parts, mut incoming) = request.into_parts();
    // One byte more than the service takes at most: it gives the answer to that.
    let mut body = Vec::new();
    while let Some(Ok(frame)) = incoming.frame().await {
        body.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        if body.len() > MAX_BODY {
            body.truncate(MAX_BODY + 1);
            break;
        }
    }
    let service = SERVICE.with(Rc::clone);
    let response = service.handle(http::Request::from_parts(parts, body)).await;
    response.map(|body| FullBody::new(Bytes::from(body)))
}
