//! Dialects: what the messages of other services say, in this server's own words.
//!
//! Each dialect is a file with two functions: whether a message is of its shape, and what a message
//! grants. A term that would restrict the viewer and is not known here refuses; one that only informs
//! is left out.

mod axinom;
mod date;
mod doverunner;
mod drmtoday;
mod fields;
mod kaltura;
mod nagra;
mod tracks;

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::configuration::{SettingError, SettingErrorKind, SettingsError};
use crate::encoding;
use crate::error::Code;
use crate::platform::Platform;

/// What a message grants.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Grant {
    /// The claim `entitlements`, as a token of this server's own has it.
    pub entitlements: Value,
    /// What tells the message from others, as `jti` does.
    pub id: Option<String>,
    /// Whom it is about, as `sub` says.
    pub subject: Option<String>,
    /// Key records that the message brings along, as `content_keys` has them.
    pub content_keys: Vec<Value>,
    /// The message itself, where a back end has to see it.
    pub claims: Map<String, Value>,
    /// Whether the message says who asks and nothing of rights: a back end has to be asked.
    pub needs_callback: bool,
}

/// Why a message that is of a dialect's shape grants nothing. It never holds a value of the message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A member is missing, or of the wrong type or value.
    #[error("the message's `{0}` is missing or malformed")]
    Malformed(&'static str),
    /// A term that restricts the viewer is not known or cannot be kept to.
    #[error("the message's term `{0}` cannot be honoured")]
    Unsupported(String),
    /// The secret that the message names is not configured.
    #[error("no configured key fits the message")]
    KeyUnknown,
    /// The message is not authentic.
    #[error("the message's signature does not verify")]
    Signature,
    /// The message is over, at a time in seconds since 1970.
    #[error("the message expired at {0}")]
    Expired(u64),
    /// The message begins later, at a time in seconds since 1970.
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
            Self::Expired(_) => Code::TOKEN_EXPIRED,
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

/// The variable with the dialects that are accepted: names, separated by commas or spaces, or a JSON
/// list of them. Default: `native`.
pub const VARIABLE: &str = "dialects";

/// One dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Native,
    Azure,
    Axinom,
    Drmtoday,
    Doverunner,
    Nagra,
    Kaltura,
}

const NAMES: [(&str, Dialect); 7] = [
    ("native", Dialect::Native),
    ("azure", Dialect::Azure),
    ("axinom", Dialect::Axinom),
    ("drmtoday", Dialect::Drmtoday),
    ("doverunner", Dialect::Doverunner),
    ("nagra", Dialect::Nagra),
    ("kaltura", Dialect::Kaltura),
];

/// The dialects that a deployment accepts.
pub struct Dialects(Vec<Dialect>);

impl Dialects {
    /// The native one alone.
    pub fn native() -> Self {
        Self(vec![Dialect::Native])
    }

    /// Every one.
    pub fn all() -> Self {
        Self(NAMES.map(|(_, dialect)| dialect).to_vec())
    }

    /// Reads [`VARIABLE`].
    ///
    /// # Errors
    /// A name that there is not.
    pub async fn load(platform: &impl Platform) -> Result<Self, SettingsError> {
        let setting = platform.variable(VARIABLE).await?;
        let text = setting.as_deref().map_or("native", String::as_str);
        let malformed = |reason| SettingError::new(VARIABLE, SettingErrorKind::Malformed, reason);
        let names =
            encoding::words(text).ok_or_else(|| malformed("it is no list of names".to_owned()))?;
        let known = |name: &String| {
            let known = NAMES.iter().find(|(known, _)| known == name);
            known.map(|(_, dialect)| *dialect)
        };
        match names.iter().map(known).collect::<Option<_>>() {
            Some(dialects) => Ok(Self(dialects)),
            None => {
                let names = NAMES.map(|(name, _)| name).join(", ");
                Err(malformed(format!("a name in it is none of {names}")).into())
            }
        }
    }

    /// Whether tokens of this server's own kind are accepted.
    pub fn has_native(&self) -> bool {
        self.has(Dialect::Native)
    }

    /// Whether a token is accepted that only names its key, as Azure Media Services took it.
    pub fn has_azure(&self) -> bool {
        self.has(Dialect::Azure)
    }

    /// Whether tokens of Nagra's are accepted, and so its players come.
    pub fn has_nagra(&self) -> bool {
        self.has(Dialect::Nagra)
    }

    /// Whether a message may be no JWT.
    pub fn has_others(&self) -> bool {
        self.has(Dialect::Doverunner) || self.has(Dialect::Kaltura)
    }

    /// What the claims of a JWT grant, when they are of the shape of a dialect.
    pub fn of_claims(
        &self,
        claims: &Map<String, Value>,
        secrets: &dyn Secrets,
        now: u64,
    ) -> Option<Result<Grant, Error>> {
        match self.shape_of_claims(claims)? {
            Dialect::Axinom => Some(axinom::read(claims, secrets, now)),
            Dialect::Nagra => Some(nagra::read(claims, now)),
            Dialect::Drmtoday => Some(drmtoday::read(claims, now)),
            _ => None,
        }
    }

    /// What a message grants that is no JWT, when it is of the shape of a dialect.
    pub fn of_text(
        &self,
        text: &str,
        signature: Option<&str>,
        secrets: &dyn Secrets,
        now: u64,
    ) -> Option<Result<Grant, Error>> {
        match self.shape_of_text(text)? {
            Dialect::Doverunner => Some(doverunner::read(text, secrets, now)),
            Dialect::Kaltura => Some(kaltura::read(text, signature, secrets)),
            _ => None,
        }
    }

    /// The name of the dialect whose shape the claims of a JWT have.
    pub fn name_of_claims(&self, claims: &Map<String, Value>) -> Option<&'static str> {
        self.shape_of_claims(claims).map(name)
    }

    /// The name of the dialect whose shape a message has that is no JWT.
    pub fn name_of_text(&self, text: &str) -> Option<&'static str> {
        self.shape_of_text(text).map(name)
    }

    fn shape_of_claims(&self, claims: &Map<String, Value>) -> Option<Dialect> {
        if self.has(Dialect::Axinom) && axinom::fits(claims) {
            Some(Dialect::Axinom)
        } else if self.has(Dialect::Nagra) && nagra::fits(claims) {
            Some(Dialect::Nagra)
        } else if self.has(Dialect::Drmtoday) && drmtoday::fits(claims) {
            Some(Dialect::Drmtoday)
        } else {
            None
        }
    }

    fn shape_of_text(&self, text: &str) -> Option<Dialect> {
        if self.has(Dialect::Doverunner) && doverunner::fits(text) {
            Some(Dialect::Doverunner)
        } else if self.has(Dialect::Kaltura) && kaltura::fits(text) {
            Some(Dialect::Kaltura)
        } else {
            None
        }
    }

    fn has(&self, dialect: Dialect) -> bool {
        self.0.contains(&dialect)
    }
}

fn name(dialect: Dialect) -> &'static str {
    let named = NAMES.iter().find(|(_, known)| *known == dialect);
    named.map_or("", |(name, _)| name)
}

/// The secrets of a JWKS, for tests.
#[cfg(test)]
struct Jwks(Value);

#[cfg(test)]
impl Secrets for Jwks {
    fn secret(&self, kid: &str, alg: Option<&str>) -> Option<Zeroizing<Vec<u8>>> {
        let mut keys = self.0["keys"].as_array()?.iter();
        let key = keys.find(|key| key["kid"] == kid && alg.is_none_or(|alg| key["alg"] == alg))?;
        encoding::base64(key["k"].as_str()?)
    }
}
