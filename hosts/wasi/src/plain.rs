//! A host that has WASI and nothing of Spin.
//!
//! Variables come from `wasi:config`, else from the environment, where they have the names that
//! Spin gives them. The store of such a host forgets every write, so it is not used.

use std::time::Duration;

use http::{Request, Response};
use keylet::platform::Error;
use keylet::wasi::store::NoStore;
use keylet::wasi::{Host, http as wasi_http};

mod bindings {
    wit_bindgen::generate!({
        path: "wit",
        world: "imports",
        generate_all,
    });
}

use bindings::wasi::config::store;

/// A plain host.
pub struct Plain;

impl Host for Plain {
    type Store = NoStore;

    async fn variable(&self, name: &str) -> Result<Option<String>, Error> {
        let configured = store::get(name).map_err(|_| Error::Variables {
            variable: name.to_owned(),
        })?;
        Ok(configured
            .filter(|value| !value.is_empty())
            .or_else(|| std::env::var(format!("SPIN_VARIABLE_{}", name.to_ascii_uppercase())).ok()))
    }

    async fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration);
    }

    async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Error> {
        wasi_http::send(request)
    }
}
