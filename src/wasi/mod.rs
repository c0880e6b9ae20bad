//! What component crates share: a [`Platform`] on WASI. Only its [`Host`] differs between worlds. No
//! SDK is known here.

mod exchange;
pub mod http;
pub mod store;

use std::future::Future;
use std::time::Duration;

use ::http::{Request, Response};
use zeroize::Zeroizing;

pub use exchange::Exchange;
use store::Store;

use crate::platform::{self, Error, Platform};

/// What differs between hosts: where variables are kept, whether there is a store, and how a
/// request leaves.
pub trait Host {
    /// Its key-value store.
    type Store: Store;

    /// [`Platform::READS_AT_ONCE`]
    const READS_AT_ONCE: bool = false;

    /// The value of a variable; `None` when it is undefined. An empty one is taken for that too.
    ///
    /// # Errors
    /// [`Error::Variables`] when the store does not answer.
    fn variable(&self, name: &str) -> impl Future<Output = Result<Option<String>, Error>>;

    /// [`Platform::sleep`]
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()>;

    /// [`Platform::send`]
    ///
    /// # Errors
    /// As [`crate::platform::Platform::send`].
    fn send(
        &self,
        request: Request<Vec<u8>>,
    ) -> impl Future<Output = Result<Response<Vec<u8>>, Error>>;
}

/// How much of the stack is overwritten after a request, in bytes: more than a request needs.
const STACK: usize = 128 * 1024;

/// Overwrites the stack below the caller, where functions that have returned leave what they worked with: secrets among it.
#[inline(never)]
pub fn wipe_stack() {
    std::hint::black_box([0_u8; STACK]);
}

/// A WASI host.
pub struct Wasi<H>(pub H);

impl<H: Host> Platform for Wasi<H> {
    const READS_AT_ONCE: bool = H::READS_AT_ONCE;

    async fn variable(&self, name: &str) -> Result<Option<Zeroizing<String>>, Error> {
        let text = self.0.variable(name).await?;
        Ok(text.and_then(|text| platform::value(name, text)))
    }

    fn now(&self) -> u64 {
        platform::system_time()
    }

    #[expect(
        clippy::expect_used,
        reason = "WASI's random source cannot fail; without one no licence may be made"
    )]
    fn fill_random(&self, buffer: &mut [u8]) {
        getrandom::fill(buffer).expect("the host has a random source");
    }

    fn log(&self, line: &str) {
        println!("{line}");
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        H::Store::get(key).await
    }

    async fn set(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        H::Store::set(key, value).await
    }

    async fn delete(&self, key: &str) -> Result<(), Error> {
        H::Store::delete(key).await
    }

    async fn keys(&self) -> Result<Vec<String>, Error> {
        H::Store::keys().await
    }

    async fn increment(&self, key: &str, delta: i64) -> Result<i64, Error> {
        H::Store::increment(key, delta).await
    }

    async fn sleep(&self, duration: Duration) {
        self.0.sleep(duration).await;
    }

    async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Error> {
        self.0.send(request).await
    }
}
