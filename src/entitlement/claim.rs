//! The claim of a token, as identity providers issue it.

use std::borrow::Cow;

use serde_json::Value;

use super::{Entitlement, Error};
use crate::encoding;

/// A claim whose shape shows that it belongs to another service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    /// A list of text, as authentik has.
    Texts,
    /// A list of objects with `value` (RFC 9068 section 2.2.3.1, RFC 7643 section 4.1.2).
    Scim,
}

/// The sub-attributes of a value of SCIM (RFC 7643 section 2.4).
const SCIM: [&str; 5] = ["value", "display", "type", "primary", "$ref"];

impl Foreign {
    /// What it is, in words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Texts => "a list of text",
            Self::Scim => "a list of SCIM values",
        }
    }

    /// The shape of a list. A list is another service's as a whole or not at all, and an empty one may be ours.
    fn of(list: &[Value]) -> Option<Self> {
        match list {
            [] => None,
            list if list.iter().all(Value::is_string) => Some(Self::Texts),
            list if list.iter().all(|entry| scim_value(entry).is_some()) => Some(Self::Scim),
            _ => None,
        }
    }
}

/// The text of a value of SCIM: an object with `value`, and no member that SCIM does not have.
pub fn scim_value(entry: &Value) -> Option<&str> {
    let members = entry.as_object()?;
    let is_scim = members.keys().all(|name| SCIM.contains(&name.as_str()));
    members.get("value").filter(|_| is_scim)?.as_str()
}

/// Whether a claim has an entry of this server's, whatever is beside it: an object with `keys`.
pub fn has_keys(claim: &Value) -> bool {
    let is_ours = |entry: &Value| entry.get("keys").is_some();
    match parsed(claim).as_deref() {
        Ok(Value::Array(list)) => list.iter().any(is_ours),
        Ok(value) => is_ours(value),
        // Truncated JSON may have had one.
        Err(_) => claim.as_str().is_some_and(|text| text.contains("\"keys\"")),
    }
}

/// The value of a claim. One that is text is JSON in text, as identity providers have it whose claims can only be text.
fn parsed(claim: &Value) -> Result<Cow<'_, Value>, Error> {
    match claim {
        Value::String(text) => encoding::json(text.as_bytes())
            .map(Cow::Owned)
            .map_err(|_| Error::Shape("it is text, but not valid JSON")),
        value => Ok(Cow::Borrowed(value)),
    }
}

impl Entitlement {
    /// Reads the claim of a token, which may be text that holds the list as JSON; `Err` within: it is another service's.
    ///
    /// # Errors
    /// As [`Self::from_claim`]. What is neither an entitlement nor plainly another service's is no entitlement.
    pub fn from_token(claim: &Value) -> Result<Result<Self, Foreign>, Error> {
        let value = parsed(claim)?;
        match value.as_array().and_then(|list| Foreign::of(list)) {
            Some(shape) => Ok(Err(shape)),
            None => Self::from_claim(&value).map(Ok),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_wholly_of_another_shape_is_anothers() {
        let scim = json!({"value": "gold", "primary": true, "display": "Gold", "type": "plan", "$ref": "x"});
        for (claim, shape) in [
            (json!(["hd"]), Foreign::Texts),
            (json!(["hd", "downloads"]), Foreign::Texts),
            (json!([scim]), Foreign::Scim),
            (json!([{"value": "a"}, {"value": "b"}]), Foreign::Scim),
            (json!(r#"["hd"]"#), Foreign::Texts),
        ] {
            assert_eq!(Entitlement::from_token(&claim), Ok(Err(shape)), "{claim}");
            assert!(!has_keys(&claim), "{claim}");
        }
        for claim in [
            json!(["hd", {"keys": "*"}]),
            json!([{"value": "gold"}, {"keys": "*"}]),
            json!(["hd", {"value": "gold"}]),
            json!([{"value": "gold", "lease_seconds": 60}]),
            json!([{"value": 1}]),
            json!([{"display": "Gold"}]),
            json!([{"key": "movie"}]),
            json!([{}]),
            json!([1]),
            json!([null]),
            json!(["hd", null]),
            json!([["hd"]]),
            json!({}),
            json!({"keys": "*"}),
            json!(null),
            json!(true),
            json!(""),
            json!("gold"),
            json!("[\"hd\""),
            json!("\"[]\""),
        ] {
            let read = Entitlement::from_token(&claim);
            assert!(matches!(read, Err(Error::Shape(_))), "{claim} {read:?}");
        }
        assert!(matches!(
            Entitlement::from_token(&json!([{"value": "gold", "keys": "*"}])),
            Err(Error::Unsupported(_))
        ));
    }

    #[test]
    fn text_is_read_as_json_once() {
        let list = json!([{"keys": ["movie"], "lease_seconds": 60}]);
        let expected = Entitlement::from_claim(&list).unwrap();
        let text = json!(list.to_string());
        assert_eq!(Entitlement::from_token(&text), Ok(Ok(expected)));
        let twice = json!(text.to_string());
        assert!(matches!(
            Entitlement::from_token(&twice),
            Err(Error::Shape(_))
        ));
        let repeated = json!(r#"[{"keys": ["movie"], "keys": "*"}]"#);
        assert!(matches!(
            Entitlement::from_token(&repeated),
            Err(Error::Shape(_))
        ));
        let none = Ok(Ok(Entitlement::default()));
        assert_eq!(Entitlement::from_token(&json!("[]")), none);
        assert_eq!(Entitlement::from_token(&json!([])), none);
    }

    #[test]
    fn an_entry_of_this_server_is_found_in_whatever_is_around_it() {
        for (claim, expected) in [
            (json!([{"keys": "*"}]), true),
            (json!(["hd", {"keys": 1}]), true),
            (json!({"keys": []}), true),
            (json!(r#"[{"keys": ["movie"]}]"#), true),
            (json!(r#"[{"keys": ["mov"#), true),
            (json!([]), false),
            (json!(["keys"]), false),
            (json!("keys"), false),
            (json!(null), false),
        ] {
            assert_eq!(has_keys(&claim), expected, "{claim}");
        }
    }
}
