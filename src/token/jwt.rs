//! JSON Web Tokens (RFC 7519) in compact serialisation.

use serde_json::{Map, Value};

use crate::encoding;
use crate::token::{Error, LEEWAY, MAX_TOKEN};

/// A token whose header is read and nothing is checked of.
pub struct UntrustedToken<'a> {
    /// What signatures are verified of.
    pub(super) jwt: jwt_compact::UntrustedToken<'a>,
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

    /// The header's `kid`.
    pub fn key_id(&self) -> Option<&str> {
        self.jwt.header().key_id.as_deref()
    }

    /// The claims. To be called once a signature has been verified.
    ///
    /// # Errors
    /// [`Error::Claims`], a member that occurs twice included.
    pub(super) fn claims(&self) -> Result<Claims, Error> {
        let claims = encoding::base64(self.claims)
            .ok_or_else(|| Error::Claims("they are not base64url".to_owned()))?;
        encoding::json_object(&claims)
            .map(Claims)
            .map_err(Error::Claims)
    }

    /// What is signed. The signature is no part of it, since one message has many valid ones in ECDSA.
    pub(super) fn signed(&self) -> &'a str {
        self.signed
    }
}

/// The claims of a token whose signature was verified.
pub struct Claims(pub Map<String, Value>);

impl Claims {
    /// `exp`, when the claims are valid at a time (seconds since 1970) as far as `exp`, `nbf` and `iat`
    /// say so.
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

    /// A `NumericDate` in whole seconds (RFC 7519 section 2).
    fn date(&self, claim: &'static str) -> Result<Option<u64>, Error> {
        match self.0.get(claim) {
            None => Ok(None),
            Some(value) => value.as_u64().map(Some).ok_or(Error::Claim(claim)),
        }
    }
}
