//! What is remembered between requests, in the key-value store: sessions, use counters and
//! challenges.
//!
//! Claims are made by `increment` alone: compare-and-swap is not reliable across stores. There is
//! no expiry in the interface, so every key names the period after which it is obsolete.

pub mod abuse;
pub mod challenge;
mod handover;
mod period;
mod record;
mod slot;
mod ticket;
mod uses;

pub use abuse::Abuse;
pub use handover::{Handovers, VARIABLE as STREAM_HANDOVERS};
pub use period::{Period, VARIABLE as SESSION_PERIOD};
pub use record::Record;
pub use slot::{ActiveSession, EndedSession, Opening, SessionState, Sessions};
pub use ticket::Ticket;
pub use uses::{Claim, Use};

use crate::configuration::{SettingError, SettingErrorKind, SettingsError};
use crate::error::Code;
use crate::platform::{self, Platform};
use crate::store_key::Family;

/// What the store keeps of this room.
pub fn families() -> impl Iterator<Item = Family> {
    let uses = uses::FAMILIES.into_iter();
    uses.chain(record::FAMILIES)
        .chain(challenge::FAMILIES)
        .chain(abuse::FAMILIES)
}

/// The variable that says what happens when the store fails.
pub const STORE_FAILURE: &str = "store_failure";

/// Why a request is not granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Every use that the token allows has been made.
    #[error("the token is good for {0} licences, and they have been given")]
    Spent(u32),
    /// As many streams are played as are allowed.
    #[error("{0} streams are allowed at once, and as many are played")]
    StreamsExceeded(u32),
    /// The session token is invalid, or belongs to another session.
    #[error("the session token is not one of this session")]
    Token,
    /// The session was not renewed in time.
    #[error("the session was not renewed in time: open another")]
    Lapsed,
    /// The session was ended.
    #[error("the session was ended")]
    Ended,
    /// Another device holds the session.
    #[error("the session is another device's")]
    Device,
    /// The challenge was not issued here, has expired, or has been used.
    #[error("the challenge is not one that is waited for")]
    Challenge,
    /// More is asked for than `abuse` lets one token or viewer.
    #[error("the limit `{signal}` is exceeded: try again in {retry_after} seconds")]
    Abuse {
        /// The limit.
        signal: &'static str,
        /// Seconds until its period is over.
        retry_after: u32,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] platform::Error),
    /// `store_failure` does not load.
    #[error(transparent)]
    Settings(#[from] SettingsError),
}

impl Error {
    /// The code of this error.
    pub fn code(&self) -> Code {
        match self {
            Self::Spent(_) => Code::USES_SPENT,
            Self::StreamsExceeded(_) => Code::STREAMS_EXCEEDED,
            Self::Token => Code::SESSION_TOKEN,
            Self::Lapsed => Code::SESSION_LAPSED,
            Self::Ended => Code::SESSION_ENDED,
            Self::Device => Code::SESSION_DEVICE,
            Self::Challenge => Code::CHALLENGE_INVALID,
            Self::Abuse { .. } => Code::ABUSE_LIMIT,
            Self::Store(platform::Error::StoreUnsupported) => Code::STORE_UNSUPPORTED,
            Self::Store(_) => Code::STORE_UNAVAILABLE,
            Self::Settings(error) => error.code(),
        }
    }

    /// What a client may read beyond the code.
    pub fn is_public(&self) -> bool {
        !matches!(self, Self::Challenge | Self::Store(_) | Self::Settings(_))
    }
}

/// What happens to a request that needs the store when it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreFailure {
    /// It is refused.
    Deny,
    /// It is granted, uncounted and unchecked.
    Allow,
}

impl StoreFailure {
    /// Reads the setting.
    ///
    /// # Errors
    /// A value that is neither `deny` nor `allow`.
    pub async fn load(platform: &impl Platform) -> Result<Self, SettingsError> {
        let value = platform.variable(STORE_FAILURE).await?;
        match value.as_deref().map(String::as_str) {
            None | Some("deny") => Ok(Self::Deny),
            Some("allow") => Ok(Self::Allow),
            Some(_) => Err(SettingError::new(
                STORE_FAILURE,
                SettingErrorKind::Malformed,
                "it is neither `deny` nor `allow`",
            )
            .into()),
        }
    }
}

/// The value of a key as text; `None` when it is absent or not text.
async fn text(platform: &impl Platform, key: &str) -> Result<Option<String>, Error> {
    let value = platform.get(key).await?;
    Ok(value.and_then(|value| String::from_utf8(value).ok()))
}

/// The result, or `granted` when the store fails and `store_failure` allows that. A host without a
/// store always gets the error.
pub(crate) async fn unless_allowed<T>(
    result: Result<T, Error>,
    granted: T,
    platform: &impl Platform,
) -> Result<T, Error> {
    match result {
        Err(Error::Store(error)) if error != platform::Error::StoreUnsupported => {
            match StoreFailure::load(platform).await? {
                StoreFailure::Deny => Err(Error::Store(error)),
                StoreFailure::Allow => Ok(granted),
            }
        }
        other => other,
    }
}
