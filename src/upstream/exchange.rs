//! One question to a service that a player waits for.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use http::{Request, Response};

use super::{Attempts, send};
use crate::platform::{Error, MAX_ANSWER, Platform};

/// How long all questions for one answer to a player may take. Players give up after 8 to 10 seconds.
pub const LIMIT: Duration = Duration::from_secs(4);

/// Two attempts and the pause between them fit into [`LIMIT`].
const ATTEMPTS: Attempts = Attempts {
    most: 2,
    timeout: Duration::from_millis(1_900),
};

/// Why there is no answer that can be read. It holds no path of a URL, and nothing of an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failed {
    /// The host does not let the service be asked.
    #[error(transparent)]
    Denied(Error),
    /// It does not answer.
    #[error("{0}")]
    Silent(String),
    /// Its answer has more than [`MAX_ANSWER`] bytes.
    #[error("it has more than {MAX_ANSWER} bytes")]
    TooLarge,
}

/// Sends a request, and again once where that may help, within a time, [`LIMIT`] at most. Any status is an answer, and
/// redirects are not followed.
///
/// # Errors
/// [`Failed`]
pub async fn ask(
    request: &Request<Vec<u8>>,
    limit: Duration,
    platform: &impl Platform,
) -> Result<Response<Vec<u8>>, Failed> {
    let sending = pin!(send(request, ATTEMPTS, platform));
    match select(sending, pin!(platform.sleep(limit))).await {
        Either::Left((response, _)) => response.map_err(|error| match error {
            Error::OutboundDenied(_) => Failed::Denied(error),
            Error::OutboundTooLarge(_) => Failed::TooLarge,
            error => Failed::Silent(error.to_string()),
        }),
        Either::Right(_) => {
            let reason = format!("it took more than {} seconds", limit.as_secs());
            Err(Failed::Silent(reason))
        }
    }
}
