//! Vendors: where their players put a token, what they read, and what their tokens contain.
//!
//! A vendor is one file with one [`Vendor`], and one row of [`VENDORS`].

mod axinom;
mod buydrm;
mod conax;
mod doverunner;
mod drm_cloud;
mod drmtoday;
mod ezdrm;
pub mod kaltura;
pub mod nagra;
mod naver;
mod vudrm;

use serde_json::{Map, Value};

use crate::token::dialect::{Error, Grant, Secrets};

/// Every vendor. Tokens are looked for in this order.
pub const VENDORS: &[&Vendor] = &[
    &axinom::VENDOR,
    &drmtoday::VENDOR,
    &doverunner::VENDOR,
    &nagra::VENDOR,
    &buydrm::VENDOR,
    &vudrm::VENDOR,
    &drm_cloud::VENDOR,
    &naver::VENDOR,
    &conax::VENDOR,
    &kaltura::VENDOR,
    &ezdrm::VENDOR,
];

/// A vendor whose players or tokens this server serves.
pub struct Vendor {
    /// Its name in the variable `dialects`.
    pub name: &'static str,
    /// Headers with a token, in lower case.
    pub headers: &'static [&'static str],
    /// Whether the headers hold a list of tokens between commas. The first one is for the content.
    pub header_is_list: bool,
    /// Query parameters with a token. Their case does not matter.
    pub parameters: &'static [&'static str],
    /// Headers that its players send beside a token, which a browser asks about first (CORS).
    pub cors_headers: &'static [&'static str],
    /// `alg` of JWKs that hold secrets for messages that are not JWTs.
    pub key_algorithms: &'static [&'static str],
    /// The form of reply that its players read, whatever they send and accept.
    pub reply: Option<ReplyHabit>,
    /// How its tokens are read; `None` when its players send tokens of this server's own kind.
    pub dialect: Option<Dialect>,
}

impl Vendor {
    /// A vendor with nothing, to be filled in.
    const NONE: Self = Self {
        name: "",
        headers: &[],
        header_is_list: false,
        parameters: &[],
        cors_headers: &[],
        key_algorithms: &[],
        reply: None,
        dialect: None,
    };
}

/// The form that a vendor's players read in one case, instead of the form in which they send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyHabit {
    /// They send a form and read base64.
    Base64ForForm,
    /// They send bytes and read JSON.
    JsonForBytes,
    /// They send base64 and read JSON.
    JsonForBase64,
}

/// Reads claims with the deployment's secrets, at a time.
pub type ReadClaims = fn(&Map<String, Value>, &dyn Secrets, u64) -> Result<Grant, Error>;

/// Reads a text, and the signature that comes beside it, with the deployment's secrets, at a time.
pub type ReadText = fn(&str, Option<&str>, &dyn Secrets, u64) -> Result<Grant, Error>;

/// How the tokens of a vendor are recognised and read.
#[derive(Clone, Copy)]
pub enum Dialect {
    /// A JWT whose claims have a shape of their own.
    Claims {
        /// Whether claims have the shape.
        fits: fn(&Map<String, Value>) -> bool,
        /// What verified claims grant at a time, in seconds since 1970.
        read: ReadClaims,
    },
    /// A text that is not a JWT.
    Text {
        /// Whether a text has the shape.
        fits: fn(&str) -> bool,
        /// What a text grants at a time, in seconds since 1970. Some have their signature beside them.
        read: ReadText,
    },
}

/// Headers of every vendor that carry a token.
pub fn headers() -> impl Iterator<Item = &'static str> {
    VENDORS.iter().flat_map(|vendor| vendor.headers).copied()
}

/// Whether a symmetric JWK with this `alg` is for messages of a vendor, and verifies no JWT.
pub fn is_key_algorithm(name: &str) -> bool {
    let mut algorithms = VENDORS.iter().flat_map(|vendor| vendor.key_algorithms);
    algorithms.any(|algorithm| *algorithm == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_vendors_share_a_name_or_a_place_of_a_token() {
        let mut seen = std::collections::HashSet::new();
        for vendor in VENDORS {
            assert!(seen.insert(vendor.name), "{}", vendor.name);
            for name in vendor.headers.iter().chain(vendor.parameters) {
                assert!(seen.insert(name), "{name}");
            }
            assert_ne!(vendor.headers.len() + vendor.parameters.len(), 0);
        }
    }
}
