//! Spin as a host of WASI 0.2.

use std::time::Duration;

use http::{Request, Response};
use keylet::platform::Error;
use keylet::wasi::store::KeyValue;
use keylet::wasi::{Host, http as wasi_http};
use spin_sdk::variables;

/// Spin, with its variables and its key-value store.
pub struct Spin;

impl Host for Spin {
    type Store = KeyValue;

    async fn variable(&self, name: &str) -> Result<Option<String>, Error> {
        match variables::get(name) {
            Ok(value) => Ok(Some(value)),
            Err(variables::Error::Undefined(_)) => Ok(None),
            Err(_) => Err(Error::Variables {
                variable: name.to_owned(),
            }),
        }
    }

    async fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration);
    }

    async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Error> {
        wasi_http::send(request)
    }
}
