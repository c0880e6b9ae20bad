//! The one trait behind which the host stands.

mod local;
mod stages;
#[cfg(test)]
pub mod test_host;
mod trace;

pub use stages::{Call, Stage, Stages};
pub use trace::{TRACEPARENT, TRACESTATE, Trace};

use std::cell::OnceCell;
use std::convert::Infallible;
use std::future::Future;
use std::time::{Duration, Instant, SystemTime};

use http::{Request, Response, Uri};
use rand_core::{TryCryptoRng, TryRng};
use zeroize::Zeroizing;

/// The host did not provide what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The variable store failed. Holds the variable's name, never its value.
    #[error("the variable store did not answer for {variable}")]
    Variables {
        /// Name of the variable.
        variable: String,
    },
    /// The variable that holds all others does not load. Holds a sentence, never a value.
    #[error("settings: {0}")]
    Settings(String),
    /// The host has no key-value store that keeps what is written.
    #[error("the host has no key-value store that keeps what is written")]
    StoreUnsupported,
    /// The key-value store failed. Holds the host's message, never a value.
    #[error("the key-value store failed: {0}")]
    Store(String),
    /// The host lets no request go to this scheme, host and port. Holds no path, which may hold a
    /// secret.
    #[error("the host allows no request to {0}")]
    OutboundDenied(String),
    /// A request was sent and not answered. Holds no path either.
    #[error("the request to {authority} failed: {reason}")]
    Outbound {
        /// Scheme, host and port.
        authority: String,
        /// The host's message.
        reason: String,
    },
    /// An answer has more than [`MAX_ANSWER`] bytes. Holds no path either.
    #[error("the answer of {0} has more than {MAX_ANSWER} bytes")]
    OutboundTooLarge(String),
}

/// Scheme, host and port of a URI: what may be told of it. The rest may hold a secret.
pub fn origin(uri: &Uri) -> String {
    let scheme = uri.scheme_str().unwrap_or_default();
    let host = uri.host().unwrap_or_default();
    let port = uri
        .port()
        .map_or_else(String::new, |port| format!(":{port}"));
    format!("{scheme}://{host}{port}")
}

/// How long a request to another server may take: to connect, until the first byte, between two
/// pieces of the answer, and for all pieces of it.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// An extension of a request that gives it less time than [`SEND_TIMEOUT`], in each of these ways.
#[derive(Debug, Clone, Copy)]
pub struct Timeout(pub Duration);

impl Timeout {
    /// How long a request may take.
    pub fn from_request<T>(request: &Request<T>) -> Duration {
        let own = request.extensions().get::<Self>();
        own.map_or(SEND_TIMEOUT, |own| own.0.min(SEND_TIMEOUT))
    }
}

/// The largest answer of another server, in bytes.
pub const MAX_ANSWER: usize = 256 * 1024;

/// The one variable whose value may begin or end in spaces: the password of encrypted private keys.
pub const PASSWORD: &str = "fairplay_private_key_password";

/// The value of a variable: without what files, editors and secret stores leave at its ends, which are line breaks,
/// white space, NULs and byte-order marks. `None` when nothing is left.
///
/// Spaces belong to a password, so they stay at the ends of one. What decrypts with it tries it without them too.
pub fn value(name: &str, text: String) -> Option<Zeroizing<String>> {
    let text = Zeroizing::new(text);
    let is_password = name == PASSWORD;
    let is_outside = |c: char| match c {
        '\r' | '\n' | '\0' | '\u{feff}' => true,
        other => !is_password && other.is_whitespace(),
    };
    let value = text.trim_matches(is_outside);
    match value.len() == text.len() {
        _ if value.is_empty() => None,
        true => Some(text),
        false => Some(Zeroizing::new(value.to_owned())),
    }
}

/// What the host provides.
///
/// Keys of the key-value store are text. A counter's key has a prefix of its own and is only ever
/// incremented: a store may stop the instance that increments anything else.
pub trait Platform {
    /// Whether the host reads several variables at a time, so that a licence asks for all that it needs at once.
    const READS_AT_ONCE: bool = false;

    /// The value of a variable, as [`value`] has it. `None` when it is undefined or empty: empty equals
    /// unset.
    ///
    /// # Errors
    /// [`Error::Variables`] when the store does not answer.
    fn variable(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<Option<Zeroizing<String>>, Error>>;

    /// Seconds since 1970-01-01T00:00:00Z.
    fn now(&self) -> u64;

    /// A clock that never goes back, for how long something takes.
    fn instant(&self) -> Instant {
        Instant::now()
    }

    /// Fills `buffer` from the host's cryptographic random source.
    fn fill_random(&self, buffer: &mut [u8]);

    /// Writes one line to the host's log: the audit trail.
    fn log(&self, line: &str);

    /// The value of a key, `None` when it is not there.
    ///
    /// # Errors
    /// [`Error::StoreUnsupported`] or [`Error::Store`], as for every access to the store.
    fn get(&self, key: &str) -> impl Future<Output = Result<Option<Vec<u8>>, Error>>;

    /// Sets a key.
    ///
    /// # Errors
    /// As [`Self::get`].
    fn set(&self, key: &str, value: &[u8]) -> impl Future<Output = Result<(), Error>>;

    /// Deletes a key, whether or not it is there.
    ///
    /// # Errors
    /// As [`Self::get`].
    fn delete(&self, key: &str) -> impl Future<Output = Result<(), Error>>;

    /// Every key of the store: there is no narrower question in the interface.
    ///
    /// # Errors
    /// As [`Self::get`].
    fn keys(&self) -> impl Future<Output = Result<Vec<String>, Error>>;

    /// Adds to a counter, which begins at 0, in one step, and returns the new value.
    ///
    /// # Errors
    /// As [`Self::get`].
    fn increment(&self, key: &str, delta: i64) -> impl Future<Output = Result<i64, Error>>;

    /// Waits.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()>;

    /// Sends a request to another server, by an absolute URI, and reads its answer whole. Redirects
    /// are not followed, and every status is an answer.
    ///
    /// # Errors
    /// [`Error::OutboundDenied`]; [`Error::Outbound`], also when the answer takes longer than
    /// [`SEND_TIMEOUT`]; [`Error::OutboundTooLarge`] when it has more than [`MAX_ANSWER`] bytes.
    fn send(
        &self,
        request: Request<Vec<u8>>,
    ) -> impl Future<Output = Result<Response<Vec<u8>>, Error>>;
}

/// The value of a cell, read at most once. Two requests at a time may both read; the first value is kept.
/// After a failure the next request tries again.
///
/// # Errors
/// That of `load`.
pub async fn once<T, E>(
    cell: &OnceCell<T>,
    load: impl Future<Output = Result<T, E>>,
) -> Result<&T, E> {
    match cell.get() {
        Some(value) => Ok(value),
        None => {
            let value = load.await?;
            Ok(cell.get_or_init(|| value))
        }
    }
}

/// [`Platform::now`] by the system's clock.
pub fn system_time() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// A platform's random source in the shape that cryptographic code takes.
pub struct Random<'a, P: Platform>(pub &'a P);

impl<P: Platform> TryRng for Random<'_, P> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.0.fill_random(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.0.fill_random(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, buffer: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill_random(buffer);
        Ok(())
    }
}

impl<P: Platform> TryCryptoRng for Random<'_, P> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stores_leave_at_the_ends_of_a_value_is_ignored() {
        let read =
            |name: &str, text: &str| value(name, text.to_owned()).map(|text| text.to_string());
        for ends in ["", "\n", "\r\n", "\n\n", "\u{feff}", "\0"] {
            for name in ["operator_token", PASSWORD] {
                let text = format!("{ends}a b{ends}");
                assert_eq!(read(name, &text).as_deref(), Some("a b"), "{text:?}");
                assert_eq!(read(name, ends), None, "{ends:?}");
            }
        }
        assert_eq!(
            read("operator_token", "\u{feff} a b\t\r\n").as_deref(),
            Some("a b")
        );
        assert_eq!(read("operator_token", " \n"), None);
        assert_eq!(read(PASSWORD, " a b \n").as_deref(), Some(" a b "));
    }
}
