//! Key-value stores of WASI hosts.

use std::future::Future;

use crate::platform::Error;

mod bindings {
    wit_bindgen::generate!({
        path: "wit",
        world: "imports",
        generate_all,
    });
}

use bindings::wasi::keyvalue::atomics;
use bindings::wasi::keyvalue::store::{self, Bucket};

/// The name of the store that Keylet uses.
pub const NAME: &str = "default";

/// The key-value store of a host: see [`Platform`](crate::platform::Platform).
pub trait Store {
    /// The value of a key.
    ///
    /// # Errors
    /// [`Error::StoreUnsupported`] and [`Error::Store`], as for every call.
    fn get(key: &str) -> impl Future<Output = Result<Option<Vec<u8>>, Error>>;

    /// Sets a key.
    ///
    /// # Errors
    /// As [`Self::get`].
    fn set(key: &str, value: &[u8]) -> impl Future<Output = Result<(), Error>>;

    /// Deletes a key.
    ///
    /// # Errors
    /// As [`Self::get`].
    fn delete(key: &str) -> impl Future<Output = Result<(), Error>>;

    /// Every key.
    ///
    /// # Errors
    /// As [`Self::get`].
    fn keys() -> impl Future<Output = Result<Vec<String>, Error>>;

    /// Adds to a counter.
    ///
    /// # Errors
    /// As [`Self::get`].
    fn increment(key: &str, delta: i64) -> impl Future<Output = Result<i64, Error>>;
}

/// No store: a component that has this one imports none.
pub struct NoStore;

impl Store for NoStore {
    async fn get(_: &str) -> Result<Option<Vec<u8>>, Error> {
        Err(Error::StoreUnsupported)
    }

    async fn set(_: &str, _: &[u8]) -> Result<(), Error> {
        Err(Error::StoreUnsupported)
    }

    async fn delete(_: &str) -> Result<(), Error> {
        Err(Error::StoreUnsupported)
    }

    async fn keys() -> Result<Vec<String>, Error> {
        Err(Error::StoreUnsupported)
    }

    async fn increment(_: &str, _: i64) -> Result<i64, Error> {
        Err(Error::StoreUnsupported)
    }
}

/// The store by `wasi:keyvalue`, whose calls hold up the whole instance until they return.
pub struct KeyValue;

impl Store for KeyValue {
    async fn get(key: &str) -> Result<Option<Vec<u8>>, Error> {
        open()?.get(key).map_err(failed)
    }

    async fn set(key: &str, value: &[u8]) -> Result<(), Error> {
        open()?.set(key, value).map_err(failed)
    }

    async fn delete(key: &str) -> Result<(), Error> {
        open()?.delete(key).map_err(failed)
    }

    async fn keys() -> Result<Vec<String>, Error> {
        let bucket = open()?;
        let mut keys = Vec::new();
        let mut cursor = None;
        loop {
            let page = bucket.list_keys(cursor.as_deref()).map_err(failed)?;
            keys.extend(page.keys);
            match page.cursor {
                Some(next) => cursor = Some(next),
                None => return Ok(keys),
            }
        }
    }

    async fn increment(key: &str, delta: i64) -> Result<i64, Error> {
        atomics::increment(&open()?, key, delta).map_err(failed)
    }
}

/// Opens the store for one call: a handle is cheap, and one that is kept would outlive the request.
fn open() -> Result<Bucket, Error> {
    store::open(NAME).map_err(failed)
}

/// A store that does not exist, or that the application may not open, is unsupported.
fn failed(error: store::Error) -> Error {
    match error {
        store::Error::NoSuchStore | store::Error::AccessDenied => Error::StoreUnsupported,
        store::Error::Other(reason) => Error::Store(reason),
    }
}
