//! What the dialects of vendors share: what a message grants, why it grants nothing, and strict readers of
//! its members.
//!
//! A message with an unknown term that would restrict the viewer is refused; a term that only informs
//! is ignored.

pub mod date;
pub mod fields;
pub mod tracks;

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::content_key::ContentKey;
use crate::entitlement::{self, Entitlement};
use crate::error::Code;

/// What a message grants.
#[derive(Default)]
pub struct Grant {
    /// What it entitles to.
    pub entitlement: Entitlement,
    /// The id of the message, like `jti`.
    pub id: Option<String>,
    /// Its subject, like `sub`.
    pub subject: Option<String>,
    /// The subject and the id of the key behind it, where the message does not show where one ends and the other
    /// begins.
    pub subject_and_key: Option<String>,
    /// Keys that the message contains.
    pub content_keys: Vec<ContentKey>,
    /// The message itself, when a back end has to see it.
    pub claims: Map<String, Value>,
    /// Whether the message names the viewer but no rights: a back end has to be asked.
    pub needs_callback: bool,
}

/// The longest id of a key that a message does not separate from its subject, in bytes.
pub const MAX_UNSEPARATED_ID: usize = 200;

/// Why a message that is of a dialect's shape grants nothing. It never holds a value of the message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A member is missing, or of the wrong type or value.
    #[error("the message's `{0}` is missing or malformed")]
    Malformed(&'static str),
    /// A term that restricts the viewer is not known or cannot be enforced.
    #[error("the message's term `{0}` cannot be honoured")]
    Unsupported(String),
    /// The secret that the message names is not configured.
    #[error("no configured key fits the message")]
    KeyUnknown,
    /// The message is not authentic.
    #[error("the message's signature does not verify")]
    Signature,
    /// The message has expired, at a time in seconds since 1970.
    #[error("the message expired at {0}")]
    Expired(u64),
    /// Its terms contradict each other, or are out of range.
    #[error(transparent)]
    Terms(#[from] entitlement::Error),
    /// It is for another request than the one that it came with.
    #[error("the message's `{0}` is not for this request")]
    Request(&'static str),
    /// The message is not yet valid. It begins at a time in seconds since 1970.
    #[error("the message is valid from {0} on")]
    NotYetValid(u64),
}

impl Error {
    /// The code of this error.
    pub fn code(&self) -> Code {
        match self {
            Self::Malformed(_) => Code::TOKEN_CLAIMS,
            Self::Unsupported(_) => Code::TERM_UNSUPPORTED,
            Self::KeyUnknown => Code::TOKEN_KEY_UNKNOWN,
            Self::Signature => Code::TOKEN_SIGNATURE,
            Self::Terms(error) => error.code(),
            Self::Expired(_) => Code::TOKEN_EXPIRED,
            Self::Request(_) => Code::TOKEN_REQUEST,
            Self::NotYetValid(_) => Code::TOKEN_NOT_YET_VALID,
        }
    }
}

/// Symmetric secrets of the deployment, by algorithm and key id: those of `token_keys` with `kty`
/// `oct`.
pub trait Secrets {
    /// The secret whose JWK has this `kid`, and this `alg` where one is asked for.
    fn secret(&self, kid: &str, alg: Option<&str>) -> Option<Zeroizing<Vec<u8>>>;
}

/// The secrets of a JWKS, for tests.
#[cfg(test)]
pub(super) struct Jwks(pub Value);

#[cfg(test)]
impl Secrets for Jwks {
    fn secret(&self, kid: &str, alg: Option<&str>) -> Option<Zeroizing<Vec<u8>>> {
        let mut keys = self.0["keys"].as_array()?.iter();
        let key = keys.find(|key| key["kid"] == kid && alg.is_none_or(|alg| key["alg"] == alg))?;
        crate::encoding::base64(key["k"].as_str()?)
    }
}
