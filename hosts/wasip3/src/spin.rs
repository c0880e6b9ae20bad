//! Spin as a host of WASI 0.3.

use std::time::Duration;

use http::{Request, Response};
use keylet::platform::Error;
use keylet::wasi::Host;
use keylet::wasi::store::{KeyValue, NAME, Store};
use spin_sdk::key_value;
use spin_sdk::variables;
use spin_sdk::wasip3::clocks::monotonic_clock;

/// Spin, with its variables and its key-value store.
pub struct Spin;

impl Host for Spin {
    type Store = AsyncStore;

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

/// Spin's key-value store, whose calls hold up no other request of the instance. It has no counter: that of
/// `wasi:keyvalue` adds to the same store in one step. The rare list of all keys comes from there too: Spin's is a
/// stream, which costs the component more than it gives.
pub struct AsyncStore;

impl Store for AsyncStore {
    async fn get(key: &str) -> Result<Option<Vec<u8>>, Error> {
        open().await?.get(key).await.map_err(failed)
    }

    async fn set(key: &str, value: &[u8]) -> Result<(), Error> {
        open().await?.set(key, value).await.map_err(failed)
    }

    async fn delete(key: &str) -> Result<(), Error> {
        open().await?.delete(key).await.map_err(failed)
    }

    async fn keys() -> Result<Vec<String>, Error> {
        KeyValue::keys().await
    }

    async fn increment(key: &str, delta: i64) -> Result<i64, Error> {
        KeyValue::increment(key, delta).await
    }
}

/// Opens the store for one call: a handle is cheap, and one that is kept would outlive the request.
async fn open() -> Result<key_value::Store, Error> {
    key_value::Store::open(NAME).await.map_err(failed)
}

/// A store that does not exist, or that the application may not open, is unsupported.
fn failed(error: key_value::Error) -> Error {
    match error {
        key_value::Error::NoSuchStore | key_value::Error::AccessDenied => Error::StoreUnsupported,
        key_value::Error::StoreTableFull => Error::Store("too many stores are open".to_owned()),
        key_value::Error::Other(reason) => Error::Store(reason),
    }
}
