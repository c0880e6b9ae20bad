//! Claims by name or by path, and the one that holds the entitlements.

use serde_json::{Map, Value};

use crate::configuration::{SettingError, SettingErrorKind, SettingsError};
use crate::entitlement::{self, Entitlement};
use crate::platform::Platform;
use crate::token::dialects::Dialects;

/// The variable with the name of the claim that holds the entitlements, for each option that does not say it itself.
pub const VARIABLE: &str = "entitlement_claim";

/// The claim with the entitlements, where no other is named.
pub const ENTITLEMENTS: &str = "entitlements";

/// The longest name of a claim, in bytes.
const MAX_NAME: usize = 256;

/// A claim by its name, or else by a path: names of members with full stops between them.
///
/// A claim that has the whole text for its name comes first, as names that are URLs do. Members of objects in it may
/// have full stops in their names, too: of several that begin the path, the longest one that leads to a value counts.
/// A path does not lead into lists.
///
/// ```
/// use keylet::token::claim;
/// use serde_json::json;
///
/// let claims = json!({"realm_access": {"roles": ["viewer"]}, "https://tv.example/plan": "gold"});
/// let claims = claims.as_object().unwrap();
/// assert_eq!(claim::find(claims, "realm_access.roles"), Some(&json!(["viewer"])));
/// assert_eq!(claim::find(claims, "https://tv.example/plan"), Some(&json!("gold")));
/// ```
pub fn find<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    claims.get(name).or_else(|| {
        name.rmatch_indices('.').find_map(|(at, _)| {
            let (first, rest) = (name.get(..at)?, name.get(at + 1..)?);
            find(claims.get(first)?.as_object()?, rest)
        })
    })
}

/// Which claim of a token holds its entitlements.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum EntitlementClaim {
    /// [`ENTITLEMENTS`].
    #[default]
    Usual,
    /// The claim with this name, or at this path.
    Named(String),
    /// None: what a token has in [`ENTITLEMENTS`] is for others, and the policy says what it allows.
    Foreign,
}

impl EntitlementClaim {
    /// Reads [`VARIABLE`].
    ///
    /// # Errors
    /// What is no name of a claim.
    pub async fn load(platform: &impl Platform) -> Result<Self, SettingsError> {
        let name = platform.variable(VARIABLE).await?;
        let Some(name) = name else {
            return Ok(Self::Usual);
        };
        let read = match name.as_str() {
            "false" => Err("`false` is for an option of `policies`, which has terms of its own"),
            name => Self::named(name),
        };
        read.map_err(|reason| {
            SettingError::new(VARIABLE, SettingErrorKind::Malformed, reason).into()
        })
    }

    /// The claim of a name.
    ///
    /// # Errors
    /// Why it is no name of a claim.
    pub fn named(name: &str) -> Result<Self, &'static str> {
        match name {
            "" => Err("it is empty"),
            name if name.len() > MAX_NAME => Err("it has more than 256 bytes"),
            name => Ok(Self::Named(name.to_owned())),
        }
    }

    /// Its name; `None` where no claim holds entitlements.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Usual => Some(ENTITLEMENTS),
            Self::Named(name) => Some(name),
            Self::Foreign => None,
        }
    }

    /// The value of the claim.
    pub fn find<'a>(&self, claims: &'a Map<String, Value>) -> Option<&'a Value> {
        find(claims, self.name()?)
    }

    /// What the claims of a token entitle to; `Err` within: they do not state it, and why.
    ///
    /// What restricts a token is never taken for another service's: where another claim is named than
    /// [`ENTITLEMENTS`], and that one has entries of this server's, the token is refused.
    ///
    /// # Errors
    /// A claim that neither is an entitlement nor plainly is another service's.
    pub(super) fn read(
        &self,
        claims: &Map<String, Value>,
        dialects: &Dialects,
    ) -> Result<Result<Entitlement, entitlement::Error>, entitlement::Error> {
        let usual = claims.get(ENTITLEMENTS);
        let name = match self.name() {
            Some(ENTITLEMENTS) => ENTITLEMENTS,
            name => {
                if usual.is_some_and(entitlement::has_keys) {
                    return Err(entitlement::Error::Elsewhere);
                }
                match name {
                    Some(name) => name,
                    None => return Ok(Err(entitlement::Error::Unstated)),
                }
            }
        };
        let Some(value) = find(claims, name) else {
            return Ok(Err(match name {
                ENTITLEMENTS => entitlement::Error::Missing,
                name => entitlement::Error::MissingClaim(name.to_owned()),
            }));
        };
        let stated = Entitlement::from_token(value).map_err(|error| error.in_claim(name))?;
        match stated {
            Ok(_) if !dialects.has_native() => {
                // The claim limits the message. If it were ignored, the message would grant more.
                Err(entitlement::Error::Unsupported(name.to_owned()))
            }
            Ok(entitlement) => Ok(Ok(entitlement)),
            Err(shape) => Ok(Err(entitlement::Error::Foreign {
                claim: name.to_owned(),
                shape,
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_name_comes_before_a_path_and_a_longer_name_before_a_shorter_one() {
        let claims = json!({
            "a.b": 1,
            "a": {"b": 2, "c": 3, "b.d": 4, "list": [{"e": 5}]},
            "https://tv.example/app": {"drm": {"keys": 6}},
            "https://tv": {"example/app": {"drm": {"rest": 7}}},
            "x.y": {"other": 8},
            "x": {"y": {"z": 9}},
            "n": {"m": null},
        });
        let claims = claims.as_object().unwrap();
        for (name, expected) in [
            ("a.b", Some(json!(1))),
            ("a.c", Some(json!(3))),
            ("a.b.d", Some(json!(4))),
            ("https://tv.example/app.drm.keys", Some(json!(6))),
            ("https://tv.example/app.drm.rest", Some(json!(7))),
            ("x.y.z", Some(json!(9))),
            ("n.m", Some(json!(null))),
            ("a.list.0", None),
            ("a.list.e", None),
            ("a.", None),
            (".a", None),
            ("a..b", None),
            ("", None),
            ("b", None),
        ] {
            assert_eq!(find(claims, name), expected.as_ref(), "{name}");
        }
    }
}
