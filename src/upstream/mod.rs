//! Requests to other servers: which URLs are safe, when to ask again, and what to keep of the answers.

mod cache;

use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{Request, Response, StatusCode, Uri};

use crate::platform::{Error, Platform, SEND_TIMEOUT, Timeout};

pub use cache::{Cache, Document, Unavailable};

/// The pause before the second attempt. It doubles with each further one.
const PAUSE: Duration = Duration::from_millis(100);

/// Whether what comes from a URL can be told from what somebody on the way puts there: `https`, or `http` to
/// this machine.
///
/// ```
/// use keylet::upstream::is_safe;
///
/// assert!(is_safe("https://login.example.com/keys"));
/// assert!(is_safe("http://localhost:8080/keys"));
/// assert!(!is_safe("http://login.example.com/keys"));
/// ```
pub fn is_safe(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else {
        return false;
    };
    let is_here = matches!(uri.host(), Some("localhost" | "127.0.0.1" | "[::1]"));
    match uri.scheme_str() {
        Some("https") => uri.host().is_some(),
        Some("http") => is_here,
        _ => false,
    }
}

/// How a request is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempts {
    /// How often it is sent at most.
    pub most: u32,
    /// How long each attempt may take, and how long the server may ask to wait (`retry-after`).
    pub timeout: Duration,
}

/// Sends a request, and again when the server does not answer or answers that it cannot at present: a status
/// of 500 or more, or 429. Before the next attempt it pauses, for as long as `retry-after` says (RFC 9110
/// section 10.2.3, in seconds) or for a tenth of a second and twice as long each time. A server that asks
/// to wait longer than an attempt may take is not asked again.
///
/// # Errors
/// The last attempt's. An answer with any status is no error.
pub async fn send(
    request: &Request<Vec<u8>>,
    attempts: Attempts,
    platform: &impl Platform,
) -> Result<Response<Vec<u8>>, Error> {
    let mut pause = PAUSE;
    let mut attempt = 1;
    loop {
        let mut request = request.clone();
        let timeout = attempts.timeout.min(SEND_TIMEOUT);
        request.extensions_mut().insert(Timeout(timeout));
        let result = platform.send(request).await;
        let wait = match &result {
            Ok(response) if !is_temporary(response.status()) => return result,
            Ok(response) => retry_after(response).unwrap_or(pause),
            Err(Error::OutboundDenied(_)) => return result,
            Err(_) => pause,
        };
        if attempt >= attempts.most || wait > timeout {
            return result;
        }
        platform.sleep(wait).await;
        attempt += 1;
        pause = pause.saturating_mul(2);
    }
}

fn is_temporary(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}

/// How long the server asks to wait. A date is not read: clocks differ.
fn retry_after(response: &Response<Vec<u8>>) -> Option<Duration> {
    let value = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    value.trim().parse().ok().map(Duration::from_secs)
}
