//! Spin as a host of WASI 0.3.

use std::cell::Cell;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
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

    const READS_AT_ONCE: bool = true;

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
        wait_for(duration).await;
    }

    async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Error> {
        crate::http::send(request).await
    }
}

async fn wait_for(duration: Duration) {
    let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    monotonic_clock::wait_for(nanoseconds).await;
}

/// How long a call waits for the store.
const LONGEST_CALL: Duration = Duration::from_secs(2);

/// How long the store is not asked again after it did not answer.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a store that answered is taken to go on answering.
const TRUST: Duration = Duration::from_millis(500);

/// Spin's key-value store, whose calls hold up no other request of the instance, and are given up when the store does
/// not answer. It has no counter: that of `wasi:keyvalue` adds to the same store in one step. That call holds up the
/// whole instance, so it is made right after another one was answered. The rare list of all keys comes from there too:
/// Spin's is a stream, which costs the component more than it gives.
pub struct AsyncStore;

impl Store for AsyncStore {
    async fn get(key: &str) -> Result<Option<Vec<u8>>, Error> {
        in_time(async || open().await?.get(key).await).await
    }

    async fn set(key: &str, value: &[u8]) -> Result<(), Error> {
        in_time(async || open().await?.set(key, value).await).await
    }

    async fn delete(key: &str) -> Result<(), Error> {
        in_time(async || open().await?.delete(key).await).await
    }

    async fn keys() -> Result<Vec<String>, Error> {
        answers().await?;
        KeyValue::keys().await
    }

    async fn increment(key: &str, delta: i64) -> Result<i64, Error> {
        answers().await?;
        KeyValue::increment(key, delta).await
    }
}

/// Opens the store for one call: a handle is cheap, and one that is kept would outlive the request.
async fn open() -> Result<key_value::Store, key_value::Error> {
    key_value::Store::open(NAME).await
}

thread_local! {
    /// When the store last answered, and when it last did not, as this instance knows.
    static ANSWERED: Cell<Option<Instant>> = const { Cell::new(None) };
    static SILENT: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// A call that is given up when the store does not answer. For a moment after that, no other call waits.
async fn in_time<T>(call: impl AsyncFnOnce() -> Result<T, key_value::Error>) -> Result<T, Error> {
    if SILENT.get().is_some_and(|since| since.elapsed() < PAUSE) {
        return Err(silent());
    }
    let clock = pin!(wait_for(LONGEST_CALL));
    match select(pin!(call()), clock).await {
        Either::Left((result, _)) => {
            ANSWERED.set(Some(Instant::now()));
            SILENT.set(None);
            result.map_err(failed)
        }
        Either::Right(_) => {
            SILENT.set(Some(Instant::now()));
            Err(silent())
        }
    }
}

/// Makes sure that the store answers, before a call that cannot be given up.
async fn answers() -> Result<(), Error> {
    let is_trusted = |since: Instant| since.elapsed() < TRUST;
    if ANSWERED.get().is_some_and(is_trusted) && SILENT.get().is_none() {
        return Ok(());
    }
    AsyncStore::get("health").await.map(drop)
}

fn silent() -> Error {
    Error::Store("it does not answer in time".to_owned())
}

/// A store that does not exist, or that the application may not open, is unsupported.
fn failed(error: key_value::Error) -> Error {
    match error {
        key_value::Error::NoSuchStore | key_value::Error::AccessDenied => Error::StoreUnsupported,
        key_value::Error::StoreTableFull => Error::Store("too many stores are open".to_owned()),
        key_value::Error::Other(reason) => Error::Store(reason),
    }
}
