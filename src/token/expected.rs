//! What a policy expects of the registered claims of a JWT.

use serde_json::Value;

use crate::token::claim::{self, EntitlementClaim};
use crate::token::jwt::Claims;
use crate::token::{Accepted, Error, LEEWAY};

/// What a JWT must say of its issuer, its audience and its time, and where it says what it entitles to.
pub struct Expected {
    /// The issuers that are accepted.
    pub issuer: Accepted,
    /// The audiences that are accepted.
    pub audience: Accepted,
    /// The claim that holds the audience of a token without `aud`, as `client_id` does in access tokens of Amazon
    /// Cognito.
    pub audience_claim: Option<String>,
    /// How long a token may be good, in seconds.
    pub max_life: Option<u64>,
    /// The claim with the entitlements.
    pub entitlements: EntitlementClaim,
}

impl Expected {
    /// Issuers and audiences, and nothing else.
    pub fn new(issuer: Accepted, audience: Accepted) -> Self {
        Self {
            issuer,
            audience,
            audience_claim: None,
            max_life: None,
            entitlements: EntitlementClaim::Usual,
        }
    }

    /// Checks the registered claims (RFC 7519 section 4.1) at a time (seconds since 1970), and returns `exp`.
    ///
    /// # Errors
    /// As [`Claims::check_times`]; [`Error::Issuer`], [`Error::Audience`] and [`Error::Life`].
    pub(super) fn check(&self, claims: &Claims, now: u64) -> Result<u64, Error> {
        let expires = claims.check_times(now)?.ok_or(Error::Claim("exp"))?;
        if !self.accepts_issuer(claims)? {
            return Err(Error::Issuer);
        }
        if !self.audience.accepts(&self.audiences(claims)?) {
            return Err(Error::Audience);
        }
        // What does not say when it was issued may have been just now, by a clock that is ahead.
        let issued = claims.date("iat")?;
        self.check_life(issued.unwrap_or(now.saturating_add(LEEWAY)), Some(expires))?;
        Ok(expires)
    }

    /// Checks how long what is accepted from one time to another, in seconds since 1970, is good. `None`: it never ends.
    ///
    /// # Errors
    /// [`Error::Life`]
    pub(crate) fn check_life(&self, from: u64, until: Option<u64>) -> Result<(), Error> {
        let life = until.map(|until| until.saturating_sub(from));
        match self.max_life {
            Some(most) if life.is_none_or(|life| life > most) => Err(Error::Life { life, most }),
            Some(_) | None => Ok(()),
        }
    }

    /// Checks the claims that are there before an issuer is asked for a key: a stranger's token that is old or for
    /// another server costs the issuer nothing.
    ///
    /// # Errors
    /// As for verified claims, but not for claims that are absent.
    pub(crate) fn check_unverified(&self, claims: &Claims, now: u64) -> Result<(), Error> {
        claims.check_times(now)?;
        if claims.0.contains_key("iss") && !self.accepts_issuer(claims)? {
            return Err(Error::Issuer);
        }
        let audiences = self.audiences(claims)?;
        if !audiences.is_empty() && !self.audience.accepts(&audiences) {
            return Err(Error::Audience);
        }
        Ok(())
    }

    fn accepts_issuer(&self, claims: &Claims) -> Result<bool, Error> {
        let issuer = claims.strings("iss")?.first().copied();
        Ok(self.issuer.accepts_issuer(issuer, claims.text("tid")))
    }

    /// The values of `aud`, or of the claim that stands in its place. A token that has `aud` is for those whom it names
    /// there (RFC 7519 section 4.1.3).
    ///
    /// # Errors
    /// [`Error::Claim`]
    pub fn audiences<'a>(&self, claims: &'a Claims) -> Result<Vec<&'a str>, Error> {
        match &self.audience_claim {
            Some(name) if !claims.0.contains_key("aud") => match claim::find(&claims.0, name) {
                Some(Value::String(one)) => Ok(vec![one]),
                _ => Ok(Vec::new()),
            },
            _ => claims.strings("aud"),
        }
    }
}
