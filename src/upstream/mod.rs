//! Requests to other servers: which URLs are safe, when to ask again, and what to keep of the answers.

mod cache;
mod document;
mod exchange;
mod headers;

use std::net::IpAddr;
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{Request, Response, StatusCode, Uri};

use crate::platform::{Error, Platform, SEND_TIMEOUT, Timeout};

pub use cache::{Cache, Failure, Families, families};
pub use document::{Document, Reason, Unavailable, origin_of};
pub use exchange::{Failed, LIMIT, ask};
pub use headers::headers;

/// The pause before the second attempt. It doubles with each further one.
const PAUSE: Duration = Duration::from_millis(100);

/// Whether an answer from a URL cannot be changed on the way: `https`, or `http` to this machine.
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

/// Whether a document from one URL, which the operator has configured, may name another one to be asked. A document
/// from elsewhere leads to no address of the operator's own network: `https` stays `https`, and a host that is this
/// machine, or an address that is not public, must be that of the first URL. A name that stands for such an address
/// is not found out here.
///
/// ```
/// use keylet::upstream::may_lead_to;
///
/// let configured = "https://login.example.com/.well-known/openid-configuration";
/// assert!(may_lead_to(configured, "https://keys.example.net/jwks.json"));
/// assert!(!may_lead_to(configured, "https://169.254.169.254/latest"));
/// assert!(!may_lead_to(configured, "http://localhost/jwks.json"));
/// ```
pub fn may_lead_to(from: &str, to: &str) -> bool {
    let (Ok(from), Ok(to)) = (from.parse::<Uri>(), to.parse::<Uri>()) else {
        return false;
    };
    let is_of_scheme = match from.scheme_str() {
        Some("https") => to.scheme_str() == Some("https"),
        _ => true,
    };
    let is_same_host = from.host().is_some() && from.host() == to.host();
    is_of_scheme && is_safe(&to.to_string()) && (is_same_host || to.host().is_some_and(is_public))
}

/// Whether a host is neither this machine nor an address of a private network (RFC 1918, RFC 3927, RFC 4193, RFC 4291).
fn is_public(host: &str) -> bool {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    if name == "localhost" || name.ends_with(".localhost") {
        return false;
    }
    match name.trim_matches(['[', ']']).parse::<IpAddr>() {
        // A last part that is a number makes an address of a name (WHATWG URL section 3.5).
        Err(_) => !name.rsplit('.').next().is_some_and(is_number),
        Ok(address) => match address.to_canonical() {
            IpAddr::V4(address) => {
                !(address.is_loopback()
                    || address.is_private()
                    || address.is_link_local()
                    || address.is_unspecified()
                    || address.is_broadcast()
                    || address.is_multicast())
            }
            IpAddr::V6(address) => {
                !(address.is_loopback()
                    || address.is_unique_local()
                    || address.is_unicast_link_local()
                    || address.is_unspecified()
                    || address.is_multicast())
            }
        },
    }
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix("0x");
    let is_hexadecimal = digits.is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
    is_hexadecimal || !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
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
/// The last attempt's. An answer with any status is not an error.
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

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::platform::test_host::TestHost;

    fn answer(status: u16, retry_after: Option<&str>) -> Result<Response<Vec<u8>>, Error> {
        let mut answer = Response::builder().status(status);
        if let Some(value) = retry_after {
            answer = answer.header(RETRY_AFTER, value);
        }
        Ok(answer.body(Vec::new()).unwrap())
    }

    fn failure() -> Result<Response<Vec<u8>>, Error> {
        Err(Error::Outbound {
            authority: String::new(),
            reason: "reset".to_owned(),
        })
    }

    /// The status that three attempts end with, `None` for an error, and the pauses in milliseconds.
    fn sent(answers: Vec<Result<Response<Vec<u8>>, Error>>) -> (Option<u16>, Vec<u128>) {
        let host = TestHost::default();
        host.answers.borrow_mut().extend(answers);
        let attempts = Attempts {
            most: 3,
            timeout: Duration::from_secs(2),
        };
        let request = Request::new(Vec::new());
        let result = send(&request, attempts, &host).now_or_never().unwrap();
        let pauses = host
            .pauses
            .borrow()
            .iter()
            .map(Duration::as_millis)
            .collect();
        (result.ok().map(|answer| answer.status().as_u16()), pauses)
    }

    #[test]
    fn a_failure_and_a_temporary_status_are_tried_again_after_a_pause_that_doubles() {
        let good = || answer(200, None);
        assert_eq!(sent(vec![good()]), (Some(200), vec![]));
        assert_eq!(sent(vec![failure(), good()]), (Some(200), vec![100]));
        assert_eq!(
            sent(vec![answer(503, None), answer(429, None), good()]),
            (Some(200), vec![100, 200])
        );
        // The attempts are counted, and the last answer is the result.
        assert_eq!(
            sent(vec![failure(), failure(), answer(500, None), good()]),
            (Some(500), vec![100, 200])
        );
        assert_eq!(
            sent(vec![answer(500, None), failure(), failure(), good()]),
            (None, vec![100, 200])
        );
    }

    #[test]
    fn other_statuses_and_a_host_that_denies_are_final() {
        let good = || answer(200, None);
        for status in [204, 302, 400, 403, 404] {
            assert_eq!(
                sent(vec![answer(status, None), good()]),
                (Some(status), vec![])
            );
        }
        let denied = Err(Error::OutboundDenied(String::new()));
        assert_eq!(sent(vec![denied, good()]), (None, vec![]));
    }

    #[test]
    fn a_server_says_when_to_ask_again_but_not_later_than_an_attempt_may_take() {
        let good = || answer(200, None);
        for (value, pause) in [("1", 1_000), (" 2 ", 2_000), ("0", 0)] {
            let busy = answer(429, Some(value));
            assert_eq!(
                sent(vec![busy, good()]),
                (Some(200), vec![pause]),
                "{value}"
            );
        }
        let busy = answer(503, Some("3"));
        assert_eq!(sent(vec![busy, good()]), (Some(503), vec![]));
        // A date and a value that is not a number are not read.
        for value in ["Fri, 27 Nov 2026 08:00:00 GMT", "-1", "1.5", ""] {
            let busy = answer(503, Some(value));
            assert_eq!(sent(vec![busy, good()]), (Some(200), vec![100]), "{value}");
        }
    }
}
