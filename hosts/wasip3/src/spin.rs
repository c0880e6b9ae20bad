//! Spin as a host of WASI 0.3.

use std::time::Duration;

use http::{Request, Response};
use keylet::platform::Error;
use keylet::wasi::Host;
use spin_sdk::variables;
use spin_sdk::wasip3::clocks::monotonic_clock;

/// Spin, with its variables and its key-value store.
pub struct Spin;

impl Host for Spin {
    const HAS_STORE: bool = true;

    async fn variable(&self, name: &str) -> Result<Option<String>, Error> {
        match variables::get(name).await {
            Ok(value) => Ok(Some(value)),
            Err(variables::Error::Undefined(_)) => Ok(None),
            Err(_) => Err(Error::Variables {
                variable: name.to_owned(),
            }),
        }
    }

    async fn sleep(&self, duration: Duration) {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        monotonic_clock::wait_for(nanoseconds).await;
    }

    async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Error> {
        crate::http::send(request).await
    }
}
