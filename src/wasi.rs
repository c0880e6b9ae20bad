//! What component crates share: the store of a WASI host behind the methods of [`Platform`], its
//! clock and its random source. No SDK is known here.

use std::time::SystemTime;

use crate::platform::Error;

mod bindings {
    wit_bindgen::generate!({
        path: "wit",
        world: "imports",
        generate_all,
    });
}

use bindings::wasi::keyvalue::{atomics, store};

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Fills `buffer` from the host's random source.
#[expect(
    clippy::expect_used,
    reason = "WASI's random source cannot fail; without one no licence may be made"
)]
pub fn fill_random(buffer: &mut [u8]) {
    getrandom::fill(buffer).expect("the host has a random source");
}

/// The host's store `default`, opened for one access: a handle is cheap, and one that is kept
/// would outlive the request.
pub struct Store(store::Bucket);

impl Store {
    /// Opens the store.
    ///
    /// # Errors
    /// [`Error::StoreUnsupported`] when the host has none, [`Error::Store`] when it fails.
    pub fn open() -> Result<Self, Error> {
        store::open("default")
            .map(Self)
            .map_err(|error| match error {
                store::Error::NoSuchStore | store::Error::AccessDenied => Error::StoreUnsupported,
                store::Error::Other(reason) => Error::Store(reason),
            })
    }

    /// The value of a key.
    ///
    /// # Errors
    /// [`Error::Store`], as for every access.
    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        self.0.get(key).map_err(failed)
    }

    /// Sets a key.
    ///
    /// # Errors
    /// [`Error::Store`]
    pub fn set(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        self.0.set(key, value).map_err(failed)
    }

    /// Deletes a key.
    ///
    /// # Errors
    /// [`Error::Store`]
    pub fn delete(&self, key: &str) -> Result<(), Error> {
        self.0.delete(key).map_err(failed)
    }

    /// Every key.
    ///
    /// # Errors
    /// [`Error::Store`]
    pub fn keys(&self) -> Result<Vec<String>, Error> {
        let mut keys = Vec::new();
        let mut cursor = None;
        loop {
            let page = self.0.list_keys(cursor.as_deref()).map_err(failed)?;
            keys.extend(page.keys);
            match page.cursor {
                Some(next) => cursor = Some(next),
                None => return Ok(keys),
            }
        }
    }

    /// Adds to a counter.
    ///
    /// # Errors
    /// [`Error::Store`]
    pub fn increment(&self, key: &str, delta: i64) -> Result<i64, Error> {
        atomics::increment(&self.0, key, delta).map_err(failed)
    }
}

fn failed(error: store::Error) -> Error {
    Error::Store(match error {
        store::Error::NoSuchStore => "there is no such store".to_owned(),
        store::Error::AccessDenied => "access is denied".to_owned(),
        store::Error::Other(reason) => reason,
    })
}
