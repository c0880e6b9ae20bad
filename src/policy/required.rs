//! Claims that a policy requires of a token.

use serde_json::{Map, Value};

use crate::entitlement;
use crate::token::{Error, claim};

/// A claim that a token must have.
pub(super) struct RequiredClaim {
    /// Its name, or a path to it.
    pub(super) name: String,
    /// What it must be.
    pub(super) value: Required,
}

/// What a claim must be.
#[derive(PartialEq, Eq)]
pub(super) enum Required {
    /// Any value.
    Present,
    /// This value, or a list that has it.
    Equal(String),
    /// The id of the key that is asked for.
    RequestedKey,
}

impl RequiredClaim {
    /// Checks the claims of a token.
    ///
    /// # Errors
    /// [`Error::RequiredClaim`]
    pub(super) fn check(&self, claims: &Map<String, Value>) -> Result<(), Error> {
        let value = claim::find(claims, &self.name).filter(|value| !value.is_null());
        let value = value.ok_or_else(|| Error::RequiredClaim(self.name.clone()))?;
        let is_wanted = |value: &Value, wanted: &str| match value {
            Value::String(text) => text == wanted,
            Value::Bool(flag) => wanted == if *flag { "true" } else { "false" },
            Value::Number(number) => wanted == number.to_string(),
            value => entitlement::scim_value(value) == Some(wanted),
        };
        let holds = match (&self.value, value) {
            (Required::Present | Required::RequestedKey, _) => true,
            (Required::Equal(wanted), Value::Array(values)) => {
                values.iter().any(|value| is_wanted(value, wanted))
            }
            (Required::Equal(wanted), Value::String(scopes)) if self.is_scope() => {
                scopes == wanted || scopes.split(' ').any(|scope| scope == wanted)
            }
            (Required::Equal(wanted), value) => is_wanted(value, wanted),
        };
        holds
            .then_some(())
            .ok_or_else(|| Error::RequiredClaim(self.name.clone()))
    }

    /// Whether its text is a list of scopes with spaces between them (RFC 8693 section 4.2, RFC 6749 section 3.3).
    fn is_scope(&self) -> bool {
        ["scope", "scp"].contains(&self.name.as_str())
    }
}
