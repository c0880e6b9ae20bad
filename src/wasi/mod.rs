//! What component crates share: a [`Platform`] on WASI, of which only the [`Host`] differs between
//! worlds. No SDK is known here.

pub mod http;
mod store;

use std::future::Future;
use std::time::{Instant, SystemTime};

use ::http::header::CONTENT_LENGTH;
use ::http::{HeaderValue, Request, Response};
use zeroize::Zeroizing;

use crate::platform::{Error, MAX_ANSWER, Platform, SEND_TIMEOUT};

/// What differs between hosts: where variables are kept, whether there is a store, and how a
/// request leaves.
pub trait Host {
    /// Whether the host has a key-value store that keeps what is written.
    const HAS_STORE: bool;

    /// The value of a variable; `None` when it is undefined. An empty one is taken for that too.
    ///
    /// # Errors
    /// [`Error::Variables`] when the store does not answer.
    fn variable(&self, name: &str) -> impl Future<Output = Result<Option<String>, Error>>;

    /// [`Platform::send`]
    ///
    /// # Errors
    /// [`Error::OutboundDenied`] and [`Error::Outbound`].
    fn send(
        &self,
        request: Request<Vec<u8>>,
    ) -> impl Future<Output = Result<Response<Vec<u8>>, Error>>;
}

/// A WASI host.
pub struct Wasi<H>(pub H);

impl<H: Host> Platform for Wasi<H> {
    async fn variable(&self, name: &str) -> Result<Option<Zeroizing<String>>, Error> {
        let value = self.0.variable(name).await?.map(Zeroizing::new);
        Ok(value.filter(|value| !value.is_empty()))
    }

    fn now(&self) -> u64 {
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
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
        store::open::<H>()?.get(key).map_err(store::failed)
    }

    async fn set(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        store::open::<H>()?.set(key, value).map_err(store::failed)
    }

    async fn delete(&self, key: &str) -> Result<(), Error> {
        store::open::<H>()?.delete(key).map_err(store::failed)
    }

    async fn keys(&self) -> Result<Vec<String>, Error> {
        store::keys(&store::open::<H>()?)
    }

    async fn increment(&self, key: &str, delta: i64) -> Result<i64, Error> {
        store::increment(&store::open::<H>()?, key, delta)
    }

    async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Error> {
        self.0.send(request).await
    }
}

/// A request to another server that is under way: where it goes, and what has come back.
pub struct Exchange {
    authority: String,
    answer: Vec<u8>,
    answered: Option<Instant>,
}

impl Exchange {
    /// A request whose answer has yet to come. It is given its length: without one, it would go
    /// out in chunks, which not every server reads.
    pub fn begin(request: &mut Request<Vec<u8>>) -> Self {
        let length = HeaderValue::from(request.body().len());
        request.headers_mut().insert(CONTENT_LENGTH, length);
        let uri = request.uri();
        let scheme = uri.scheme_str().unwrap_or_default();
        let host = uri.host().unwrap_or_default();
        let port = uri
            .port()
            .map_or_else(String::new, |port| format!(":{port}"));
        Self {
            authority: format!("{scheme}://{host}{port}"),
            answer: Vec::new(),
            answered: None,
        }
    }

    /// It was not allowed.
    pub fn denied(&self) -> Error {
        Error::OutboundDenied(self.authority.clone())
    }

    /// It failed.
    pub fn failed(&self, reason: impl Into<String>) -> Error {
        Error::Outbound {
            authority: self.authority.clone(),
            reason: reason.into(),
        }
    }

    /// Takes the next piece of the answer.
    ///
    /// # Errors
    /// An answer that is too large, or takes too long.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), Error> {
        if self.answer.len().saturating_add(piece.len()) > MAX_ANSWER {
            return Err(self.failed(format!("its answer has more than {MAX_ANSWER} bytes")));
        }
        if self.answered.get_or_insert_with(Instant::now).elapsed() > SEND_TIMEOUT {
            return Err(self.failed("its answer takes too long"));
        }
        self.answer.extend_from_slice(piece);
        Ok(())
    }

    /// The body of the answer.
    pub fn into_answer(self) -> Vec<u8> {
        self.answer
    }
}
