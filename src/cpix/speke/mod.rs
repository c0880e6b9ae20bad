//! SPEKE, the interface by which encoders ask for keys (AWS, "SPEKE API specification" 1.0, 2.0 and 2.1). A request is a
//! CPIX document without values; the reply is the same document with values put in, and all else in it as it came.
//!
//! ```
//! use keylet::cpix::speke::{Request, Version};
//!
//! let text = r#"<CPIX xmlns="urn:dashif:org:cpix" contentId="movie-42" version="2.3"><ContentKeyList>
//!     <ContentKey kid="339c45b5-fb6d-4bd9-994c-eabd9d41c95b" commonEncryptionScheme="cbcs"/></ContentKeyList>
//!   <DRMSystemList><DRMSystem kid="339c45b5-fb6d-4bd9-994c-eabd9d41c95b"
//!     systemId="94ce86fb-07ff-4f43-adb8-93d2fa968ca2"><HLSSignalingData playlist="media"/></DRMSystem></DRMSystemList>
//!   <ContentKeyUsageRuleList><ContentKeyUsageRule kid="339c45b5-fb6d-4bd9-994c-eabd9d41c95b" intendedTrackType="HD">
//!     <VideoFilter/></ContentKeyUsageRule></ContentKeyUsageRuleList></CPIX>"#;
//! let request = Request::read(text.as_bytes(), Version::from_header(Some("2.0"))?)?;
//! assert_eq!(request.content_id(), "movie-42");
//! assert!(Version::from_header(Some("3.0")).is_err());
//! # Ok::<(), keylet::cpix::speke::Refusal>(())
//! ```

mod answer;
mod contract;
mod request;

pub use answer::{Filled, Output, Signalling, Urls};
pub use request::{Recipient, Request, RequestedKey};

use super::Error;

/// A version of SPEKE, as the header `x-speke-version` tells it. Version 1.0 has no such header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// 1.0.
    V1_0,
    /// 2.0, with CPIX 2.3.
    V2_0,
    /// 2.1, with CPIX 2.4.
    V2_1,
}

impl Version {
    /// The version of a request, by its header.
    ///
    /// # Errors
    /// [`Refusal::SpekeVersion`]
    pub fn from_header(header: Option<&str>) -> Result<Self, Refusal> {
        let Some(header) = header else {
            return Ok(Self::V1_0);
        };
        let known = [Self::V2_0, Self::V2_1].into_iter();
        let mut known = known.filter(|version| version.header() == Some(header.trim()));
        known.next().ok_or(Refusal::SpekeVersion)
    }

    /// What the header holds.
    pub const fn header(self) -> Option<&'static str> {
        match self {
            Self::V1_0 => None,
            Self::V2_0 => Some("2.0"),
            Self::V2_1 => Some("2.1"),
        }
    }

    /// The version of CPIX that goes with it. Documents of 1.0 have none.
    pub const fn cpix(self) -> Option<&'static str> {
        match self {
            Self::V1_0 => None,
            Self::V2_0 => Some("2.3"),
            Self::V2_1 => Some("2.4"),
        }
    }
}

/// Why a request is not answered. The texts of those that SPEKE 2.0 names are its own, word by word ("Standard error
/// messages").
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A version that there is not.
    #[error("Unsupported SPEKE version")]
    SpekeVersion,
    /// The body is no document.
    #[error("The CPIX document cannot be read: {0}")]
    Document(#[from] Error),
    /// No content id.
    #[error("Missing CPIX@contentId")]
    ContentId,
    /// No content id, in a document of SPEKE 1.0.
    #[error("Missing CPIX@id")]
    Id,
    /// No version of CPIX.
    #[error("Missing CPIX@version")]
    MissingVersion,
    /// A version of CPIX that does not go with that of SPEKE.
    #[error("Unsupported CPIX@version")]
    CpixVersion,
    /// A list without an entry.
    #[error("{0} is missing or empty")]
    Empty(&'static str),
    /// An attribute that is missing, or not what it has to be.
    #[error("{0} is missing or not {1}")]
    Attribute(&'static str, &'static str),
    /// A key without a scheme.
    #[error("Missing ContentKey@commonEncryptionScheme for KID {0}")]
    MissingScheme(String),
    /// Keys of several schemes.
    #[error("Non compliant ContentKey@commonEncryptionScheme combination")]
    Schemes,
    /// A scheme that a system does not have.
    #[error("ContentKey@commonEncryptionScheme non compatible with DRMSystem {0}")]
    SchemeOfSystem(String),
    /// No encryption contract.
    #[error("Missing CPIX encryption contract")]
    MissingContract,
    /// A contract that is not well-formed.
    #[error("Malformed encryption contract")]
    MalformedContract,
    /// A contract that this server does not keep.
    #[error("Requested CPIX encryption contract not supported")]
    Contract,
    /// A system that there is not.
    #[error("Unsupported DRMSystem@systemId {0}")]
    System(String),
    /// A certificate that keys are not encrypted for.
    #[error("DeliveryData: {0}")]
    Delivery(&'static str),
    /// Something else, in a sentence.
    #[error("{0}")]
    Other(String),
}

#[cfg(test)]
mod tests;
