//! Tokens: where they are found, how they are verified, and what they entitle to.
//!
//! The types carry the state: text is an [`UntrustedToken`], a token with a valid signature that has not
//! expired is a [`VerifiedToken`], and only that becomes an
//! [`Entitlement`](crate::entitlement::Entitlement).

mod accepted;
pub mod cat;
pub mod claim;
pub mod dialect;
mod dialects;
mod expected;
mod jwt;
mod keys;
mod locate;
mod message;
pub mod own;
mod remote;
mod spelling;
pub mod vendor;

pub use accepted::Accepted;
pub use claim::{EntitlementClaim, VARIABLE as ENTITLEMENT_CLAIM};
pub use dialects::{Dialects, VARIABLE as DIALECTS};
pub use expected::Expected;
pub use jwt::{Claims, UntrustedToken};
pub(crate) use keys::Jwk;
pub use keys::{KeyError, NotKeys, PassedOver, Signed, VerificationKeys};
pub use locate::{
    Found, SESSION_HEADER, TOKEN_COOKIES, TokenLocation, bearer, locate, query_tokens_allowed,
    session, token_cookies,
};
pub use message::{CONTENT_KEY_IDENTIFIER, MAX_USES, VerifiedToken};
pub use remote::{FAMILIES, Location, RemoteKeys};

use crate::configuration::SettingsError;
use crate::entitlement;
use crate::error::Code;
use crate::upstream::Unavailable;

/// The variable with content key policies. When it is set, the following three are not read.
pub const POLICIES: &str = "policies";
/// The variable with the JWKS, or its URL.
pub const KEYS: &str = "token_keys";
/// The variable with the issuers that are accepted.
pub const ISSUER: &str = "token_issuer";
/// The variable with the audiences that are accepted.
pub const AUDIENCE: &str = "token_audience";

/// The longest token, in bytes.
pub const MAX_TOKEN: usize = 8 * 1024;

/// How far the clocks of issuer and server may be apart, in seconds.
pub const LEEWAY: u64 = 60;

/// Why a token is not accepted. It never holds any part of the token but its `alg` and `kid`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request has no token.
    #[error("no token in `Authorization: Bearer` or any other place where players put it")]
    Missing,
    /// The token is in the query, where none is accepted.
    #[error(
        "the token is in the query, which this server does not read; send it in `Authorization: Bearer`"
    )]
    InQuery,
    /// `Authorization` has another scheme than those that are read, and there is no other token.
    #[error(
        "`Authorization` has a scheme that is not read here, and no other place has a token; send `Authorization: Bearer` and the token"
    )]
    OtherScheme,
    /// A place for a token is empty, or has a word such as `undefined`.
    #[error(
        "{0} has no token but is empty, or has a word such as `undefined`: the player had no token when it asked"
    )]
    Undefined(TokenLocation),
    /// The token is in a cookie, and the page that asks is of an origin that may not use it.
    #[error(
        "the token is in a cookie, and `cors_origins` does not name the origin of the page, so that the cookie is not read"
    )]
    InCookie,
    /// The request has two different tokens, in these places.
    #[error("the request has two tokens that differ, in {0} and in {1}")]
    Ambiguous(TokenLocation, TokenLocation),
    /// Longer than [`MAX_TOKEN`].
    #[error("the token has {0} bytes; 8192 are the limit")]
    TooLarge(usize),
    /// Not three base64url parts with a JSON header.
    #[error("the token is malformed: {0}")]
    Malformed(String),
    /// The header has `crit` (RFC 7515 section 4.1.11).
    #[error("the header has `crit`")]
    Critical,
    /// `alg` is not supported.
    #[error("the algorithm is none of {}", keys::ALGORITHMS.join(", "))]
    Algorithm,
    /// No key has this `alg` and `kid`.
    #[error("no key fits the token's `alg` and `kid`")]
    KeyUnknown,
    /// The key that fits is invalid.
    #[error("the configured key for the token's `alg` and `kid` is not usable")]
    KeyUnusable,
    /// The signature does not verify with any key that fits.
    #[error("the signature does not verify")]
    Signature,
    /// A registered claim is missing or of the wrong type.
    #[error("the claim `{0}` is missing or of the wrong type")]
    Claim(&'static str),
    /// The claims are not a JSON object, or a member occurs twice.
    #[error("the claims are malformed: {0}")]
    Claims(String),
    /// `exp` has passed.
    #[error("the token expired at {0}")]
    Expired(u64),
    /// `nbf` or `iat` is in the future.
    #[error("the token is valid from {0} on")]
    NotYetValid(u64),
    /// `iss` is not accepted.
    #[error("the issuer is not accepted")]
    Issuer,
    /// `aud` is not accepted.
    #[error("the audience is not accepted")]
    Audience,
    /// It is accepted for longer than the policy allows.
    #[error("the token {}, and `max_token_life` of the policy is {most} seconds", life_in_words(*life))]
    Life {
        /// Seconds from its issue to its end; `None`: it never ends.
        life: Option<u64>,
        /// Seconds that are allowed.
        most: u64,
    },
    /// A claim that the policy requires is missing or has another value.
    #[error("the claim `{0}` is not as the policy requires")]
    RequiredClaim(String),
    /// The message of a dialect grants nothing.
    #[error(transparent)]
    Dialect(#[from] dialect::Error),
    /// What it entitles to is not of the documented shape.
    #[error(transparent)]
    Entitlement(#[from] entitlement::Error),
    /// The message leaves its rights to a back end, and the policy names none.
    #[error("the message leaves its rights to a back end, and the policy names none")]
    NoCallback,
    /// The issuer's keys are not available. The sentence is what a client reads: [`Error::for_operator`] says why.
    #[error("the issuer's keys are not available at present")]
    KeysUnavailable(Box<Unavailable>),
    /// No option is for the DRM system.
    #[error("no policy is for this DRM system")]
    NoPolicy,
    /// A setting is wrong.
    #[error(transparent)]
    Settings(#[from] SettingsError),
}

impl Error {
    /// The code of this error.
    pub fn code(&self) -> Code {
        match self {
            Self::Missing | Self::OtherScheme | Self::InCookie => Code::TOKEN_MISSING,
            Self::Undefined(_) => Code::TOKEN_UNDEFINED,
            Self::InQuery => Code::TOKEN_IN_QUERY,
            Self::Ambiguous(..) => Code::TOKEN_AMBIGUOUS,
            Self::TooLarge(_) => Code::TOKEN_TOO_LARGE,
            Self::Malformed(_) => Code::TOKEN_MALFORMED,
            Self::Critical => Code::TOKEN_CRITICAL,
            Self::Algorithm => Code::TOKEN_ALGORITHM,
            Self::KeyUnknown => Code::TOKEN_KEY_UNKNOWN,
            Self::KeyUnusable => Code::CONFIGURATION_INVALID,
            Self::Signature => Code::TOKEN_SIGNATURE,
            Self::Claim(_) | Self::Claims(_) => Code::TOKEN_CLAIMS,
            Self::Expired(_) => Code::TOKEN_EXPIRED,
            Self::NotYetValid(_) => Code::TOKEN_NOT_YET_VALID,
            Self::Issuer => Code::TOKEN_ISSUER,
            Self::Audience => Code::TOKEN_AUDIENCE,
            Self::Life { .. } => Code::TOKEN_LIFE,
            Self::RequiredClaim(_) => Code::TOKEN_REQUIRED_CLAIM,
            Self::Dialect(error) => error.code(),
            Self::Entitlement(error) => error.code(),
            Self::NoCallback => Code::ENTITLEMENT_MISSING,
            Self::KeysUnavailable(_) => Code::TOKEN_KEYS_UNAVAILABLE,
            Self::NoPolicy => Code::NOT_ENTITLED,
            Self::Settings(error) => error.code(),
        }
    }

    /// The sentence for who runs the deployment: with the server that was asked for keys, and what came of it.
    pub fn for_operator(&self) -> String {
        match self {
            Self::KeysUnavailable(why) => format!("{self}: {why}"),
            error => error.to_string(),
        }
    }

    /// How many steps the token passed: of several options, the latest refusal is the most useful.
    pub(crate) fn progress(&self) -> u8 {
        match self {
            Self::Missing
            | Self::OtherScheme
            | Self::Undefined(_)
            | Self::InQuery
            | Self::InCookie
            | Self::Ambiguous(..) => 0,
            Self::TooLarge(_) | Self::Malformed(_) | Self::Critical | Self::Algorithm => 1,
            Self::KeyUnknown => 2,
            Self::Signature => 3,
            Self::Issuer => 4,
            Self::Audience => 5,
            Self::KeyUnusable | Self::KeysUnavailable(_) | Self::Settings(_) | Self::NoPolicy => 6,
            Self::Claim(_)
            | Self::Claims(_)
            | Self::Expired(_)
            | Self::NotYetValid(_)
            | Self::Life { .. } => 7,
            Self::RequiredClaim(_) | Self::Dialect(_) | Self::Entitlement(_) | Self::NoCallback => {
                8
            }
        }
    }
}

fn life_in_words(life: Option<u64>) -> String {
    life.map_or("never expires".to_owned(), |life| {
        format!("is good for {life} seconds")
    })
}
