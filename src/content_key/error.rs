//! Why no key is found where one may be.

use super::store::Fault;
use crate::configuration::SettingsError;
use crate::error::Code;
use crate::platform;

/// A source of keys that does not answer. It never holds a part of a key or of a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// A setting of a source is wrong, or the host does not answer for it.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The key-value store does not answer.
    #[error(transparent)]
    Store(#[from] platform::Error),
    /// A stored record is not as it was written.
    #[error(transparent)]
    Stored(#[from] Fault),
    /// The host does not let the key server be asked.
    #[error("the key server: {0}")]
    ServerDenied(platform::Error),
    /// The key server does not answer, and the key is not kept.
    #[error("the key server: {0}")]
    ServerUnavailable(String),
    /// The key server's answer cannot be used, and the key is not kept.
    #[error("the key server's answer: {0}")]
    ServerAnswer(String),
}

impl KeyError {
    /// The code of this error.
    pub fn code(&self) -> Code {
        match self {
            Self::Settings(error) => error.code(),
            Self::Store(platform::Error::StoreUnsupported) => Code::STORE_UNSUPPORTED,
            Self::Store(_) => Code::STORE_UNAVAILABLE,
            Self::Stored(Fault::EncryptionKey(_)) => Code::KEY_ENCRYPTION_KEY_UNKNOWN,
            Self::Stored(Fault::Layout | Fault::Altered | Fault::Misplaced) => {
                Code::KEY_RECORD_ALTERED
            }
            Self::ServerDenied(_) => Code::KEY_SERVER_DENIED,
            Self::ServerUnavailable(_) => Code::KEY_SERVER_UNAVAILABLE,
            Self::ServerAnswer(_) => Code::KEY_SERVER_ANSWER,
        }
    }
}
