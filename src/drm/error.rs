//! Why a DRM system refuses.

use http::{HeaderValue, StatusCode};
use serde_json::Value;

use crate::configuration::SettingsError;
use crate::error::Code;
use crate::upstream::Failed;

/// The member of audit records and problem documents with the status that a licence service itself gives.
pub const SERVICE_STATUS: &str = "service_status";

/// Members that a DRM system adds to an audit record or to a problem document, by name.
pub type Details = Vec<(&'static str, Value)>;

/// An answer of a licence service that goes to the device as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAnswer {
    /// Its HTTP status.
    pub status: StatusCode,
    /// Its media type.
    pub content_type: HeaderValue,
    /// Its body.
    pub body: Vec<u8>,
}

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
    /// The licence service of the system refuses in the system's own form, which the device reads.
    #[error("{reason}")]
    Service {
        /// The code.
        code: Code,
        /// What is wrong, for the operator.
        reason: String,
        /// What the system adds.
        details: Details,
        /// The refusal, which goes to the device as it came.
        answer: Box<ServiceAnswer>,
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

    /// A refusal whose reason is for the operator alone.
    pub fn hidden(code: Code, reason: impl Into<String>) -> Self {
        Self::Refused {
            code,
            reason: reason.into(),
            is_public: false,
            details: Details::new(),
        }
    }

    /// The code of this error.
    pub fn code(&self) -> Code {
        match self {
            Self::Refused { code, .. } | Self::Service { code, .. } => *code,
            Self::Settings(error) => error.code(),
        }
    }

    /// What the system adds.
    pub fn details(&self) -> &[(&'static str, Value)] {
        match self {
            Self::Refused { details, .. } | Self::Service { details, .. } => details,
            Self::Settings(_) => &[],
        }
    }

    /// What goes to the device in place of a problem document.
    pub fn answer(&self) -> Option<&ServiceAnswer> {
        match self {
            Self::Service { answer, .. } => Some(answer),
            Self::Refused { .. } | Self::Settings(_) => None,
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

/// A licence service that gives no answer. The reason names its host at most.
impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Denied(error) => Self::hidden(
                Code::LICENSE_SERVICE_DENIED,
                format!("{error}: add it to `allowed_outbound_hosts` of the manifest"),
            ),
            Failed::Silent(reason) => Self::hidden(Code::LICENSE_SERVICE_UNAVAILABLE, reason),
            Failed::TooLarge => Self::hidden(
                Code::LICENSE_SERVICE_ANSWER,
                format!("the licence service's answer cannot be used: {failed}"),
            ),
        }
    }
}
