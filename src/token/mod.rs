//! Tokens: where they are found, how they are verified, and what they entitle to.
//!
//! The types carry the state: text is an [`UntrustedToken`], what a key has verified and time has
//! not overtaken is a [`VerifiedToken`], and only that becomes an [`Entitlement`].

mod keys;
mod locate;
mod rsa_algorithm;

use futures_util::future::join3;
use serde_json::{Map, Value};

pub use keys::VerificationKeys;
pub use locate::{Found, HEADERS, Place, bearer, locate, query_tokens_allowed};

use crate::encoding;
use crate::entitlement::{self, Entitlement};
use crate::error::{Code, Problem, SettingError, SettingsError};
use crate::platform::Platform;

/// The variable with the JWKS.
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
    /// None came with the request.
    #[error("no token in `Authorization: Bearer` or any other place where players put it")]
    Missing,
    /// One came in the query, where none is taken.
    #[error(
        "the token is in the query, which this server does not read; send it in `Authorization: Bearer`"
    )]
    InQuery,
    /// Two different ones came.
    #[error("the request has two tokens that differ")]
    Ambiguous,
    /// Longer than [`MAX_TOKEN`].
    #[error("the token has {0} bytes; 8192 are the limit")]
    TooLarge(usize),
    /// Not three base64url parts with a JSON header.
    #[error("the token is malformed: {0}")]
    Malformed(String),
    /// The header has `crit` (RFC 7515 section 4.1.11).
    #[error("the header has `crit`")]
    Critical,
    /// `alg` is none that is verified.
    #[error("the algorithm is none of {}", keys::ALGORITHMS.join(", "))]
    Algorithm,
    /// No key has this `alg` and `kid`.
    #[error("no key fits the token's `alg` and `kid`")]
    KeyUnknown,
    /// The key that fits is none.
    #[error("the configured key for the token's `alg` and `kid` is not usable")]
    KeyUnusable,
    /// The signature does not verify with any key that fits.
    #[error("the signature does not verify")]
    Signature,
    /// A registered claim is missing or of the wrong type.
    #[error("the claim `{0}` is missing or of the wrong type")]
    Claim(&'static str),
    /// The claims are no JSON object, or a member occurs twice.
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
}

impl Error {
    /// The code of this error.
    pub fn code(&self) -> Code {
        match self {
            Self::Missing => Code::TOKEN_MISSING,
            Self::InQuery => Code::TOKEN_IN_QUERY,
            Self::Ambiguous => Code::TOKEN_AMBIGUOUS,
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
        }
    }
}

/// What a deployment accepts.
pub struct Acceptance {
    keys: VerificationKeys,
    issuer: Accepted,
    audience: Accepted,
}

impl Acceptance {
    /// Reads the keys, issuers and audiences from the variable store.
    ///
    /// # Errors
    /// Every setting that is wrong or missing, by variable.
    pub async fn load(platform: &impl Platform) -> Result<Self, SettingsError> {
        let (keys, issuer, audience) = join3(
            platform.variable(KEYS),
            platform.variable(ISSUER),
            platform.variable(AUDIENCE),
        )
        .await;
        let (keys, issuer, audience) = (keys?, issuer?, audience?);
        let mut problems = Vec::new();
        let keys = match keys
            .as_deref()
            .map(|json| VerificationKeys::from_json(json))
        {
            Some(Ok(keys)) => Some(keys),
            Some(Err(reasons)) => {
                problems.extend(malformed(reasons));
                None
            }
            None => {
                problems.push(SettingError::new(
                    KEYS,
                    Problem::Missing,
                    "it is not set, so no token can be verified",
                ));
                None
            }
        };
        let mut accepted = |variable, value: Option<&str>| {
            Accepted::from_setting(value)
                .map_err(|reason| problems.push(SettingError::new(variable, reason.0, reason.1)))
                .ok()
        };
        let issuer = accepted(ISSUER, issuer.as_deref().map(String::as_str));
        let audience = accepted(AUDIENCE, audience.as_deref().map(String::as_str));
        match (keys, issuer, audience) {
            (Some(keys), Some(issuer), Some(audience)) => Ok(Self {
                keys,
                issuer,
                audience,
            }),
            _ => Err(SettingsError::Invalid(problems)),
        }
    }

    /// Does the work that is otherwise left until a key is used.
    ///
    /// # Errors
    /// Names each key that is none.
    pub fn check(&self) -> Result<(), SettingsError> {
        self.keys
            .check()
            .map_err(|reasons| SettingsError::Invalid(malformed(reasons).collect()))
    }
}

fn malformed(reasons: Vec<String>) -> impl Iterator<Item = SettingError> {
    reasons
        .into_iter()
        .map(|reason| SettingError::new(KEYS, Problem::Malformed, reason))
}

/// The values of a claim that are accepted.
enum Accepted {
    Any,
    OneOf(Vec<String>),
}

impl Accepted {
    /// `*`, a value, or a JSON list of values.
    fn from_setting(value: Option<&str>) -> Result<Self, (Problem, &'static str)> {
        match value {
            None => Err((
                Problem::Missing,
                "it is not set; to accept any value, say `*`",
            )),
            Some("*") => Ok(Self::Any),
            Some(list) if list.trim_start().starts_with('[') => {
                match serde_json::from_str::<Vec<String>>(list) {
                    Ok(list) if !list.is_empty() && list.iter().all(|value| value != "*") => {
                        Ok(Self::OneOf(list))
                    }
                    Ok(_) => Err((
                        Problem::Malformed,
                        "the list is empty or has `*` in it; to accept any value, say `*` alone",
                    )),
                    Err(_) => Err((
                        Problem::Malformed,
                        "it starts like a JSON list and is no list of strings",
                    )),
                }
            }
            Some(one) => Ok(Self::OneOf(vec![one.to_owned()])),
        }
    }

    fn accepts(&self, values: &[&str]) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(accepted) => accepted.iter().any(|one| values.contains(&one.as_str())),
        }
    }
}

/// A JWT (RFC 7519) in compact serialisation whose header is read and nothing is checked of.
pub struct UntrustedToken<'a> {
    jwt: jwt_compact::UntrustedToken<'a>,
    claims: &'a str,
    signed: &'a str,
}

impl<'a> UntrustedToken<'a> {
    /// Reads the header and the three parts.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Malformed`] (a member that occurs twice included) and
    /// [`Error::Critical`].
    pub fn parse(text: &'a str) -> Result<Self, Error> {
        if text.len() > MAX_TOKEN {
            return Err(Error::TooLarge(text.len()));
        }
        let parts: Vec<&str> = text.split('.').collect();
        let [header, claims, _signature] = parts.as_slice() else {
            return Err(Error::Malformed("a signed JWT has three parts".to_owned()));
        };
        let header = encoding::base64(header)
            .ok_or_else(|| Error::Malformed("the header is not base64url".to_owned()))?;
        let header = encoding::json_object(&header)
            .map_err(|e| Error::Malformed(format!("the header: {e}")))?;
        if header.contains_key("crit") {
            return Err(Error::Critical);
        }
        let jwt = jwt_compact::UntrustedToken::new(text)
            .map_err(|_| Error::Malformed("it is not a JWT in compact serialisation".to_owned()))?;
        let signed = text.rsplit_once('.').map_or(text, |(signed, _)| signed);
        Ok(Self {
            jwt,
            claims,
            signed,
        })
    }

    /// Verifies signature, times, issuer and audience at `now` (seconds since 1970).
    ///
    /// # Errors
    /// The first check that fails.
    pub fn verify(&self, acceptance: &Acceptance, now: u64) -> Result<VerifiedToken<'a>, Error> {
        acceptance.keys.verify(&self.jwt)?;

        let claims = encoding::base64(self.claims)
            .ok_or_else(|| Error::Claims("they are not base64url".to_owned()))?;
        let claims = encoding::json_object(&claims).map_err(Error::Claims)?;
        let token = VerifiedToken {
            expires: date(&claims, "exp")?.ok_or(Error::Claim("exp"))?,
            claims,
            signed: self.signed,
        };
        token.check_times(now)?;
        if !acceptance.issuer.accepts(&token.strings("iss")?) {
            return Err(Error::Issuer);
        }
        if !acceptance.audience.accepts(&token.strings("aud")?) {
            return Err(Error::Audience);
        }
        Ok(token)
    }
}

/// The claims of a token that was signed by an accepted issuer for this server and is valid now.
pub struct VerifiedToken<'a> {
    claims: Map<String, Value>,
    signed: &'a str,
    expires: u64,
}

impl VerifiedToken<'_> {
    /// The claim `entitlements`.
    ///
    /// # Errors
    /// [`entitlement::Error::Missing`] when there is none, and what is wrong with it.
    pub fn entitlement(&self) -> Result<Entitlement, entitlement::Error> {
        Entitlement::from_claim(
            self.claims
                .get("entitlements")
                .ok_or(entitlement::Error::Missing)?,
        )
    }

    /// What tells this token from every other: issuer and `jti` where there is one, else what was
    /// signed. The signature is no part of it, since one message has many valid ones in ECDSA.
    pub fn identity(&self) -> Vec<u8> {
        match (self.claims.get("iss"), self.claims.get("jti")) {
            (issuer, Some(Value::String(id))) => {
                let issuer = issuer.and_then(Value::as_str).unwrap_or_default();
                [issuer.as_bytes(), b"\0", id.as_bytes()].concat()
            }
            _ => self.signed.as_bytes().to_vec(),
        }
    }

    /// The claim `sub`.
    pub fn subject(&self) -> Option<&str> {
        self.claims.get("sub").and_then(Value::as_str)
    }

    /// When it is accepted no more, in seconds since 1970.
    pub fn accepted_until(&self) -> u64 {
        self.expires.saturating_add(LEEWAY)
    }

    fn check_times(&self, now: u64) -> Result<(), Error> {
        if now >= self.accepted_until() {
            return Err(Error::Expired(self.expires));
        }
        for claim in ["nbf", "iat"] {
            match date(&self.claims, claim)? {
                Some(start) if start > now.saturating_add(LEEWAY) => {
                    return Err(Error::NotYetValid(start));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A string, or a list of them (RFC 7519 section 4.1.3). Empty when the claim is absent.
    fn strings(&self, claim: &'static str) -> Result<Vec<&str>, Error> {
        match self.claims.get(claim) {
            None => Ok(Vec::new()),
            Some(Value::String(one)) => Ok(vec![one]),
            Some(Value::Array(list)) if claim == "aud" => list
                .iter()
                .map(|one| one.as_str().ok_or(Error::Claim(claim)))
                .collect(),
            Some(_) => Err(Error::Claim(claim)),
        }
    }
}

/// A `NumericDate` in whole seconds (RFC 7519 section 2).
fn date(claims: &Map<String, Value>, claim: &'static str) -> Result<Option<u64>, Error> {
    match claims.get(claim) {
        None => Ok(None),
        Some(value) => value.as_u64().map(Some).ok_or(Error::Claim(claim)),
    }
}
