//! JSON Web Tokens (RFC 7519) in compact serialisation.
//!
//! They are read here and not by `jwt-compact` 0.8, with which a component is 23 KB larger: its header is a second
//! instance of serde's parser. It also reads the claims before it verifies the signature, and takes padded
//! base64url. The verdicts of other libraries are in `fixtures/jose`, and a test compares them.

use base64::Engine;
use serde_json::{Map, Value};

use crate::encoding::{self, BASE64_URL};
use crate::token::keys::Signed;
use crate::token::{Error, LEEWAY, MAX_TOKEN};

/// Members of a header that must be text when they are present and not `null` (RFC 7515 section 4.1).
const TEXTS: [&str; 8] = ["alg", "kid", "typ", "cty", "jku", "x5u", "x5t", "x5t#S256"];

/// A token whose header is read. Nothing in it is verified.
pub struct UntrustedToken<'a> {
    algorithm: String,
    key_id: Option<String>,
    claims: Vec<u8>,
    signed: &'a str,
    signature: Vec<u8>,
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
        let malformed = |reason: &str| Error::Malformed(reason.to_owned());
        let mut parts = text.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(malformed("a signed JWT has three parts"));
        };
        let (signed, _) = text.rsplit_once('.').unwrap_or_default();
        let decode = |part: &str, reason| BASE64_URL.decode(part).map_err(|_| malformed(reason));
        let header = decode(header, "the header is not base64url")?;
        let claims = decode(claims, "the claims are not base64url")?;
        let signature = decode(signature, "the signature is not base64url")?;
        let mut header = encoding::json_object(&header)
            .map_err(|e| Error::Malformed(format!("the header: {e}")))?;
        if header.contains_key("crit") {
            return Err(Error::Critical);
        }
        let is_text_or_null = |value: &Value| value.is_string() || value.is_null();
        if let Some(name) = TEXTS
            .iter()
            .find(|name| !header.get(**name).is_none_or(is_text_or_null))
        {
            let reason = format!("the header's `{name}` is not a string");
            return Err(Error::Malformed(reason));
        }
        let mut text = |name| match header.remove(name) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        Ok(Self {
            algorithm: text("alg").ok_or_else(|| malformed("the header has no `alg`"))?,
            key_id: text("kid"),
            claims,
            signed,
            signature,
        })
    }

    /// The claims. Call this only after a signature has been verified.
    ///
    /// # Errors
    /// [`Error::Claims`], a member that occurs twice included.
    pub(crate) fn claims(&self) -> Result<Claims, Error> {
        encoding::json_object(&self.claims)
            .map(Claims)
            .map_err(|error| Error::Claims(error.to_string()))
    }

    /// The signed part, without the signature: in ECDSA, one message has many valid signatures.
    pub(crate) fn signed(&self) -> &'a str {
        self.signed
    }
}

impl Signed for UntrustedToken<'_> {
    fn algorithm(&self) -> &str {
        &self.algorithm
    }

    fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    fn message(&self) -> &[u8] {
        self.signed.as_bytes()
    }

    fn signature(&self) -> &[u8] {
        &self.signature
    }
}

/// The claims of a token whose signature was verified.
pub struct Claims(pub Map<String, Value>);

impl Claims {
    /// Checks `exp`, `nbf` and `iat` at a time (seconds since 1970), and returns `exp`, which may be
    /// absent.
    ///
    /// # Errors
    /// [`Error::Claim`], [`Error::Expired`] and [`Error::NotYetValid`].
    pub fn check_times(&self, now: u64) -> Result<Option<u64>, Error> {
        let expires = self.date("exp")?;
        if let Some(expires) = expires.filter(|expires| now >= expires.saturating_add(LEEWAY)) {
            return Err(Error::Expired(expires));
        }
        for claim in ["nbf", "iat"] {
            match self.date(claim)? {
                Some(start) if start > now.saturating_add(LEEWAY) => {
                    return Err(Error::NotYetValid(start));
                }
                _ => {}
            }
        }
        Ok(expires)
    }

    /// A string, or for `aud` a list of them (RFC 7519 section 4.1.3). Empty when the claim is absent.
    ///
    /// # Errors
    /// [`Error::Claim`].
    pub fn strings(&self, claim: &'static str) -> Result<Vec<&str>, Error> {
        match self.0.get(claim) {
            None => Ok(Vec::new()),
            Some(Value::String(one)) => Ok(vec![one]),
            Some(Value::Array(list)) if claim == "aud" => list
                .iter()
                .map(|one| one.as_str().ok_or(Error::Claim(claim)))
                .collect(),
            Some(_) => Err(Error::Claim(claim)),
        }
    }

    /// A claim that is text.
    pub fn text(&self, claim: &str) -> Option<&str> {
        self.0.get(claim).and_then(Value::as_str)
    }

    /// A `NumericDate`, in whole seconds since 1970; `None` when the claim is absent.
    ///
    /// # Errors
    /// [`Error::Claim`]
    pub(super) fn date(&self, claim: &'static str) -> Result<Option<u64>, Error> {
        match self.0.get(claim) {
            None => Ok(None),
            Some(value) => encoding::numeric_date(value)
                .map(Some)
                .ok_or(Error::Claim(claim)),
        }
    }
}
