//! Why a DRM system refuses.

use serde_json::Value;

use crate::configuration::SettingsError;
use crate::error::Code;

/// Members that a DRM system adds to an audit record or to a problem document, by name.
pub type Details = Vec<(&'static str, Value)>;

/// Why a DRM system gives no licence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request is wrong, or the device cannot take the key or keep its terms.
    #[error("{reason}")]
    Refused {
        /// The code.
        code: Code,
        /// What is wrong, for the operator.
        reason: String,
        /// Whether the client may read the reason too. It may not where the reason was learned by
        /// decrypting.
        is_public: bool,
        /// What the system adds, such as FairPlay's status number.
        details: Details,
    },
    /// A setting of the system is wrong.
    #[error(transparent)]
    Settings(#[from] SettingsError),
}

impl Error {
    /// A refusal whose reason the client may read.
    pub fn refused(code: Code, reason: impl Into<String>) -> Self {
        Self::Refused {
            code,
            reason: reason.into(),
            is_public: true,
            details: Details::new(),
        }
    }

    /// The code of this error.
    pub fn code(&self) -> Code {
        match self {
            Self::Refused { code, .. } => *code,
            Self::Settings(error) => error.code(),
        }
    }

    /// What the system adds.
    pub fn details(&self) -> &[(&'static str, Value)] {
        match self {
            Self::Refused { details, .. } => details,
            Self::Settings(_) => &[],
        }
    }

    /// What the client may read beyond the code.
    pub fn public_reason(&self) -> Option<&str> {
        match self {
            Self::Refused {
                reason,
                is_public: true,
                ..
            } => Some(reason),
            _ => None,
        }
    }
}
