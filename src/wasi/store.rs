//! The host's key-value store, by `wasi:keyvalue`.

use super::Host;
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

/// Opens the store `default` for one access: a handle is cheap, and one that is kept would outlive
/// the request. A component whose host has none has no access in it, and so does not import one.
pub fn with<H: Host, T>(act: impl FnOnce(&Bucket) -> Result<T, Error>) -> Result<T, Error> {
    if !H::HAS_STORE {
        return Err(Error::StoreUnsupported);
    }
    act(&store::open("default").map_err(failed)?)
}

/// Every key.
pub fn keys(bucket: &Bucket) -> Result<Vec<String>, Error> {
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

/// Adds to a counter.
pub fn increment(bucket: &Bucket, key: &str, delta: i64) -> Result<i64, Error> {
    atomics::increment(bucket, key, delta).map_err(failed)
}

/// A store that is not there, or that the application may not open, is one that it has not.
pub fn failed(error: store::Error) -> Error {
    match error {
        store::Error::NoSuchStore | store::Error::AccessDenied => Error::StoreUnsupported,
        store::Error::Other(reason) => Error::Store(reason),
    }
}
