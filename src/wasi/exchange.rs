//! A request to another server, on whichever WASI HTTP it goes out.

use std::time::{Duration, Instant};

use ::http::header::CONTENT_LENGTH;
use ::http::{HeaderValue, Request};

use crate::platform::{Error, MAX_ANSWER, Timeout};

/// A request to another server that is under way: where it goes, and what has come back.
pub struct Exchange {
    authority: String,
    answer: Vec<u8>,
    answered: Option<Instant>,
    timeout: Duration,
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
            timeout: Timeout::from_request(request),
        }
    }

    /// How long it may take to connect, until the first byte, and between two pieces, in nanoseconds.
    pub fn timeout(&self) -> Option<u64> {
        u64::try_from(self.timeout.as_nanos()).ok()
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
            return Err(Error::OutboundTooLarge(self.authority.clone()));
        }
        if self.answered.get_or_insert_with(Instant::now).elapsed() > self.timeout {
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
