//! Use counters over the key-value store.
//!
//! Claims are made by `increment` alone: compare-and-swap is not dependable across stores. There
//! is no expiry in the interface, so a counter's key names the day after which it means nothing.

use sha2::{Digest, Sha256};

use crate::error::Code;
use crate::platform::{self, Platform};

const SECONDS_OF_A_DAY: u64 = 86_400;

/// Why a use is not granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Every use that the token allows has been made.
    #[error("the token allows {0} uses, and they have been made")]
    Spent(u32),
    /// The store did not count.
    #[error(transparent)]
    Store(#[from] platform::Error),
}

impl Error {
    /// The code of this error.
    pub fn code(&self) -> Code {
        match self {
            Self::Spent(_) => Code::USES_SPENT,
            Self::Store(platform::Error::StoreUnsupported) => Code::STORE_UNSUPPORTED,
            Self::Store(_) => Code::STORE_UNAVAILABLE,
        }
    }
}

/// Counts one use of a token, and says whether it is within the limit. The count is made first, so
/// that of many requests at a time no more than `limit` are within it.
///
/// `token` identifies the token, and `expires` is the end of its life in seconds since 1970.
///
/// # Errors
/// [`Error::Spent`] beyond the limit; [`Error::Store`] when the store did not count.
pub async fn claim_use(
    platform: &impl Platform,
    token: &[u8],
    expires: u64,
    limit: u32,
) -> Result<(), Error> {
    let day = expires.div_ceil(SECONDS_OF_A_DAY);
    let key = format!("use/{day}/{}", hex::encode(Sha256::digest(token)));
    let uses = platform.increment(&key, 1).await?;
    if uses <= i64::from(limit) {
        Ok(())
    } else {
        Err(Error::Spent(limit))
    }
}
