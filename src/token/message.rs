//! The content of a verified token, whatever its dialect.

use serde_json::{Map, Value};

use crate::content_key::{ContentKeys, KeyRecord};
use crate::entitlement::{self, Entitlement, Entry, Terms};
use crate::id::Id;
use crate::token::cat::{self, Asked, UntrustedCat, UriRule};
use crate::token::dialect::{Grant, MAX_UNSEPARATED_ID, Secrets};
use crate::token::dialects::Dialects;
use crate::token::jwt::{Claims, UntrustedToken};
use crate::token::{Error, Expected, LEEWAY, Signed};

/// The key id that the token is for (Azure Media Services).
pub const CONTENT_KEY_IDENTIFIER: &str = "urn:microsoft:azure:mediaservices:contentkeyidentifier";

/// How many licences the token is good for (Azure Media Services), or `unlimited`.
pub const MAX_USES: &str = "urn:microsoft:azure:mediaservices:maxuses";

/// A message that was signed by an accepted issuer for this server and is valid now.
pub struct VerifiedToken {
    /// All of its claims.
    pub claims: Map<String, Value>,
    /// What it entitles to; `None` when it does not state that.
    pub entitlement: Option<Entitlement>,
    /// Why it does not.
    pub unstated: Option<entitlement::Error>,
    /// Its subject.
    pub subject: Option<String>,
    /// The subject and the id of the key behind it, where the token does not show where one ends and the other begins.
    subject_and_key: Option<String>,
    /// Keys that it contains.
    pub content_keys: Option<ContentKeys>,
    /// The bytes that identify it.
    pub identity: Vec<u8>,
    /// When it is no longer accepted, in seconds since 1970.
    pub accepted_until: u64,
    /// Terms that apply to every use of it, beside its entitlement.
    pub terms: Terms,
    /// The one key that it is for, when it names one.
    key: Option<Id>,
    /// Whether a back end has to be asked for its rights.
    pub needs_callback: bool,
    /// Whether it is a message of another service, whose subjects are those of its sender.
    pub is_message: bool,
}

impl VerifiedToken {
    /// Reads the claims of a JWT whose signature was verified. `scope`: the name of the policy option whose
    /// keys verified it.
    pub(crate) fn of_jwt(
        token: &UntrustedToken<'_>,
        scope: &str,
        dialects: &Dialects,
        secrets: &dyn Secrets,
        expected: &Expected,
        now: u64,
    ) -> Result<Self, Error> {
        let claims = token.claims()?;
        let expires = claims.check_times(now)?;
        // A message with a MAC comes from a holder of the shared secret, and is meant for this server. A key
        // that an issuer publishes signs for many recipients and purposes.
        if let Some(grant) = dialects.of_claims(&claims.0, secrets, now) {
            if !token.has_mac() {
                return Err(Error::Algorithm);
            }
            let identity = token.signed().as_bytes().to_vec();
            let grant = Grant {
                claims: claims.0,
                ..grant?
            };
            let scope = [
                scope.as_bytes(),
                &[0],
                token.key_id().unwrap_or_default().as_bytes(),
            ];
            return Self::of_grant(grant, expires, &scope.concat(), identity);
        }
        let expires = expected.check(&claims, now)?;
        let key = content_key_id(&claims)?;
        let (entitlement, unstated) = match expected.entitlements.read(&claims.0, dialects)? {
            Ok(entitlement) => (Some(entitlement), None),
            Err(_) if dialects.has_azure() && key.is_some() => {
                (Some(Entitlement::all_keys()), None)
            }
            Err(why) => (None, Some(why)),
        };
        Ok(Self {
            entitlement,
            unstated,
            subject: claims.text("sub").map(ToOwned::to_owned),
            subject_and_key: None,
            content_keys: None,
            identity: identity(&claims)?.unwrap_or_else(|| token.signed().as_bytes().to_vec()),
            accepted_until: expires.saturating_add(LEEWAY),
            terms: max_uses(&claims)?,
            key,
            needs_callback: false,
            is_message: false,
            claims: claims.0,
        })
    }

    /// Reads the claims of a Common Access Token whose signature was verified. `asked`: the request that it came with.
    pub(crate) fn of_cat(
        token: &UntrustedCat,
        rule: &UriRule,
        asked: Option<&Asked>,
        expected: &Expected,
        now: u64,
    ) -> Result<Self, Error> {
        let cat::Claims {
            members,
            terms,
            content,
        } = token.claims(rule, asked)?;
        let claims = Claims(members);
        let expires = expected.check(&claims, now)?;
        let stated = expected.entitlements.read(&claims.0, &Dialects::native())?;
        let key = content_key_id(&claims)?;
        let (entitlement, unstated, key) = match (stated, content, key) {
            // It is for the content, and no further than its entitlements go.
            (Ok(stated), content, None) => (Some(stated), None, content),
            (Ok(stated), None, key) => (Some(stated), None, key),
            (Err(_), Some(content), key) => {
                let entry = Entry::new(vec![content], Terms::default())?;
                (Some(Entitlement::new(vec![entry])), None, key)
            }
            (Err(why), None, key) => (None, Some(why), key),
            (Ok(_), Some(_), Some(_)) => return Err(Error::Claim(CONTENT_KEY_IDENTIFIER)),
        };
        Ok(Self {
            entitlement,
            unstated,
            subject: claims.text("sub").map(ToOwned::to_owned),
            subject_and_key: None,
            content_keys: None,
            identity: identity(&claims)?.unwrap_or_else(|| token.message().to_vec()),
            accepted_until: expires.saturating_add(LEEWAY),
            terms: terms.and(&max_uses(&claims)?),
            key,
            needs_callback: false,
            is_message: false,
            claims: claims.0,
        })
    }

    /// Reads what a dialect's message grants. Its id identifies it among the messages of its `scope`;
    /// `identity` identifies a message without an id.
    pub(crate) fn of_grant(
        grant: Grant,
        expires: Option<u64>,
        scope: &[u8],
        identity: Vec<u8>,
    ) -> Result<Self, Error> {
        let content_keys = match grant.content_keys {
            records if records.is_empty() => None,
            records => {
                let keys = ContentKeys::new(records);
                Some(keys.map_err(|_| Error::Claim("content keys"))?)
            }
        };
        Ok(Self {
            // Other services have one kind of rental, for stored and streamed content.
            entitlement: Some(grant.entitlement.into_rental()),
            unstated: None,
            subject: grant.subject,
            subject_and_key: grant.subject_and_key,
            content_keys,
            identity: match grant.id {
                Some(id) => [scope, &[0], id.as_bytes()].concat(),
                None => identity,
            },
            accepted_until: expires.map_or(u64::MAX, |expires| expires.saturating_add(LEEWAY)),
            terms: Terms::default(),
            key: None,
            needs_callback: grant.needs_callback,
            is_message: true,
            claims: grant.claims,
        })
    }

    /// Whether the token may be used for a key: it names no key, or this one.
    pub fn is_for(&self, key: &KeyRecord) -> bool {
        self.key.as_ref().is_none_or(|id| key.is_named(id))
    }

    /// Whether the subject is certain for a key: of the ways to split what the token does not separate, one at most
    /// reaches this key. Otherwise a viewer could make himself another one.
    pub fn is_subject_certain(&self, key: &KeyRecord) -> bool {
        let text = self.subject_and_key.as_deref().unwrap_or_default();
        let ids = text
            .char_indices()
            .filter_map(|(at, _)| text.get(at..))
            .filter(|id| id.len() <= MAX_UNSEPARATED_ID)
            .filter_map(Id::from_text);
        ids.filter(|id| key.is_named(id)).count() <= 1
    }

    /// Whether it names the one key that it is for.
    pub fn names_a_key(&self) -> bool {
        self.key.is_some()
    }
}

/// The key that the token is for, where it names one as those of Azure Media Services do.
fn content_key_id(claims: &Claims) -> Result<Option<Id>, Error> {
    let id = claims.0.get(CONTENT_KEY_IDENTIFIER);
    let id = id.map(|id| {
        id.as_str()
            .and_then(Id::from_text)
            .ok_or(Error::Claim(CONTENT_KEY_IDENTIFIER))
    });
    id.transpose()
}

/// Issuer and `jti`, where there is one. Some issuers have numbers there, against RFC 7519 section 4.1.7.
fn identity(claims: &Claims) -> Result<Option<Vec<u8>>, Error> {
    let id = match claims.0.get("jti") {
        None => return Ok(None),
        Some(Value::String(id)) => id.clone(),
        Some(Value::Number(id)) => id.to_string(),
        Some(_) => return Err(Error::Claim("jti")),
    };
    let issuer = claims.text("iss").unwrap_or_default();
    Ok(Some([issuer.as_bytes(), b"\0", id.as_bytes()].concat()))
}

/// Azure's limit of uses, as a number or as text.
fn max_uses(claims: &Claims) -> Result<Terms, Error> {
    const INVALID: entitlement::Error = entitlement::Error::Terms {
        term: "max_uses",
        reason: entitlement::NUMBER,
    };
    let number = match claims.0.get(MAX_USES) {
        None => return Ok(Terms::default()),
        Some(Value::String(text)) if text == "unlimited" => return Ok(Terms::default()),
        Some(Value::String(text)) => text.parse().ok(),
        Some(value) => value.as_u64(),
    };
    let max_uses = number.and_then(|number| u32::try_from(number).ok());
    let mut terms = Terms::default();
    terms.limits.max_uses = Some(max_uses.filter(|uses| *uses > 0).ok_or(INVALID)?);
    Ok(terms)
}
