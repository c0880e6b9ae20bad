//! What a viewer may do with a key: one model that every token dialect maps to and every DRM
//! system reads.

mod claim;
mod device;
mod origin;
mod play_right;
mod terms;

use serde_json::{Map, Value};

use crate::error::Code;
use crate::id::{Id, Names};

pub use crate::track::Track;
pub use claim::{Foreign, has_keys, scim_value};
pub use device::{DeviceClass, Hdcp, MinOs, OsVersion, SecurityLevel};
pub use origin::{ClientOrigin, Country, Network, last_address};
pub use play_right::{PlayRight, UnknownOutput};
pub(crate) use terms::min_some;
pub use terms::{AllOf, Granted, IfReported, Limits, MAX_STREAMS, NUMBER, StreamsFull, Terms, Use};

/// Why an entitlement grants nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no `entitlements` claim.
    #[error("the claim `entitlements` is missing")]
    Missing,
    /// There is no claim of the name that the deployment gives it.
    #[error("the token has no claim `{0}`, which `entitlement_claim` names")]
    MissingClaim(String),
    /// The claim is plainly another service's.
    #[error(
        "the claim `{claim}` is {shape}, and no entitlements for this server: name the claim that has them in `entitlement_claim`, or give the policy option `terms` of its own",
        shape = .shape.name()
    )]
    Foreign {
        /// Name of the claim.
        claim: String,
        /// What it is.
        shape: Foreign,
    },
    /// The policy option says that its tokens have no entitlements, and has no terms for the DRM system.
    #[error(
        "the token states no entitlements, and the policy option has no terms for this DRM system"
    )]
    Unstated,
    /// The token has entitlements where the policy reads none.
    #[error(
        "`entitlements` has entries with `keys`, and `entitlement_claim` says that the entitlements for this server are not there"
    )]
    Elsewhere,
    /// The claim is not of the documented shape.
    #[error("`entitlements`: {0}")]
    Shape(&'static str),
    /// The claim of another name is not of the documented shape.
    #[error("`{claim}`: {reason}")]
    ClaimShape {
        /// Name of the claim.
        claim: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A member that this server does not know or cannot enforce.
    #[error("the member `{0}` of an entitlement cannot be honoured")]
    Unsupported(String),
    /// A term needs something that is missing.
    #[error("`{0}` needs {1}")]
    Needs(&'static str, &'static str),
    /// A term has a value that is not allowed, or contradicts another.
    #[error("`{term}`: {reason}")]
    Terms {
        /// Name of the term.
        term: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No entry reaches the key.
    #[error("no entitlement reaches the requested key")]
    NotEntitled,
    /// `not_before` is in the future.
    #[error("the entitlement starts at {0}")]
    NotYetValid(u64),
    /// `not_after` has passed.
    #[error("the entitlement ended at {0}")]
    Ended(u64),
    /// The entitlement does not include the track.
    #[error("the entitlement does not reach the key's track")]
    TrackNotAllowed,
    /// A term depends on the origin of the request, and no trusted proxy states it.
    #[error("`{0}`: it is not known where the request comes from")]
    PlaceUnknown(&'static str),
    /// The request comes from a place that is not allowed.
    #[error("`{0}`: the request comes from elsewhere")]
    PlaceNotAllowed(&'static str),
}

impl Error {
    /// The code of this error.
    pub fn code(&self) -> Code {
        match self {
            Self::Missing | Self::MissingClaim(_) | Self::Foreign { .. } | Self::Unstated => {
                Code::ENTITLEMENT_MISSING
            }
            Self::Shape(_) | Self::ClaimShape { .. } | Self::Elsewhere => Code::ENTITLEMENT_INVALID,
            Self::Unsupported(_) | Self::Needs(..) => Code::TERM_UNSUPPORTED,
            Self::Terms { .. } => Code::TERMS_INVALID,
            Self::NotEntitled => Code::NOT_ENTITLED,
            Self::NotYetValid(_) => Code::ENTITLEMENT_NOT_YET_VALID,
            Self::Ended(_) => Code::ENTITLEMENT_ENDED,
            Self::TrackNotAllowed => Code::TRACK_NOT_ALLOWED,
            Self::PlaceUnknown(_) => Code::PLACE_UNKNOWN,
            Self::PlaceNotAllowed(_) => Code::PLACE_NOT_ALLOWED,
        }
    }

    /// The same error, of the claim of a name.
    #[must_use]
    pub fn in_claim(self, name: &str) -> Self {
        match self {
            Self::Shape(reason) if name != "entitlements" => Self::ClaimShape {
                claim: name.to_owned(),
                reason,
            },
            error => error,
        }
    }
}

/// The entitlements of one viewer, in order of precedence.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entitlement(Vec<Entry>);

impl Entitlement {
    /// Entries in order of precedence.
    pub fn new(entries: Vec<Entry>) -> Self {
        Self(entries)
    }

    /// Reads the claim `entitlements`: a list of objects of `keys` and terms.
    ///
    /// Every entry is read, also those that will not apply, so that a member which cannot be
    /// enforced is always refused.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::Unsupported`] or [`Error::Terms`].
    pub fn from_claim(claim: &Value) -> Result<Self, Error> {
        claim
            .as_array()
            .ok_or(Error::Shape("it is not a list"))?
            .iter()
            .map(|entry| {
                Entry::from_json(
                    entry
                        .as_object()
                        .ok_or(Error::Shape("an entry is not an object"))?,
                )
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The same entitlement, where each entry has the terms of a [rental](Terms::into_rental).
    #[must_use]
    pub fn into_rental(self) -> Self {
        let entries = self.0.into_iter().map(|Entry { keys, terms }| Entry {
            keys,
            terms: terms.into_rental(),
        });
        Self(entries.collect())
    }

    /// Every key, without a term: others then state what is allowed.
    pub fn all_keys() -> Self {
        Self(vec![Entry {
            keys: Keys::All,
            terms: Terms::default(),
        }])
    }

    /// The terms of every entry.
    pub fn each_terms(&self) -> impl Iterator<Item = &Terms> {
        self.0.iter().map(|entry| &entry.terms)
    }

    /// The terms of the first entry that reaches a key with any of these names.
    ///
    /// # Errors
    /// [`Error::NotEntitled`] when no entry does.
    pub fn terms_for(&self, names: Names<'_>) -> Result<&Terms, Error> {
        self.0
            .iter()
            .find(|entry| entry.keys.reach(names))
            .map(|entry| &entry.terms)
            .ok_or(Error::NotEntitled)
    }
}

/// Keys, and the terms for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    keys: Keys,
    terms: Terms,
}

impl Entry {
    /// An entry for keys by their ids. It denies storing, unless the terms allow it.
    ///
    /// # Errors
    /// [`Error::Terms`] for terms that contradict each other, or are out of range.
    pub fn new(keys: Vec<Id>, terms: Terms) -> Result<Self, Error> {
        terms.check()?;
        Self::from_terms(Keys::Named(keys), terms)
    }

    /// An entry for keys by their ids, of a message that leaves every right to a back end: it neither allows nor denies
    /// storing. It counts only together with the back end's answer.
    pub fn left_to_back_end(keys: Vec<Id>) -> Self {
        Self {
            keys: Keys::Named(keys),
            terms: Terms::default(),
        }
    }

    fn from_terms(keys: Keys, terms: Terms) -> Result<Self, Error> {
        terms.check_alone()?;
        Ok(Self {
            keys,
            terms: terms.alone(),
        })
    }

    fn from_json(members: &Map<String, Value>) -> Result<Self, Error> {
        let keys = Keys::from_json(
            members
                .get("keys")
                .ok_or(Error::Shape("an entry has no `keys`"))?,
        )?;
        Self::from_terms(keys, Terms::from_json(members, &["keys"])?)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Keys {
    All,
    Named(Vec<Id>),
}

impl Keys {
    fn from_json(value: &Value) -> Result<Self, Error> {
        const SHAPE: Error = Error::Shape("`keys` is neither \"*\" nor a list of ids");
        let texts = match value {
            Value::String(_) => std::slice::from_ref(value),
            Value::Array(list) => list.as_slice(),
            _ => return Err(SHAPE),
        };
        if texts.iter().any(|text| text == "*") {
            return Ok(Self::All);
        }
        texts
            .iter()
            .map(|text| text.as_str().and_then(Id::from_text).ok_or(SHAPE))
            .collect::<Result<_, _>>()
            .map(Self::Named)
    }

    fn reach(&self, names: Names<'_>) -> bool {
        match self {
            Self::All => true,
            Self::Named(ids) => ids.iter().any(|id| names.has(id)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn terms(members: &Value) -> Result<Terms, Error> {
        let mut entry = members.clone();
        entry["keys"] = json!("*");
        Entitlement::from_claim(&json!([entry]))?
            .terms_for(Names::default())
            .cloned()
    }

    #[test]
    fn the_first_entry_that_reaches_the_key_applies() {
        let claim = json!([
            {"keys": ["a"], "lease_seconds": 1},
            {"keys": ["skd://b", "a"], "lease_seconds": 2},
            {"keys": "*", "lease_seconds": 3},
        ]);
        let entitlement = Entitlement::from_claim(&claim).unwrap();
        let lease = |names: &[&str]| {
            let names: Vec<Id> = names
                .iter()
                .map(|name| Id::from_text(name).unwrap())
                .collect();
            entitlement
                .terms_for(Names::of(&names))
                .unwrap()
                .lease_seconds
        };
        assert_eq!(lease(&["a"]), Some(1));
        assert_eq!(lease(&["x", "b"]), Some(2));
        assert_eq!(lease(&["x"]), Some(3));
        let none = Entitlement::from_claim(&json!([])).unwrap();
        assert_eq!(none.terms_for(Names::default()), Err(Error::NotEntitled));
    }

    #[test]
    fn what_cannot_be_honoured_refuses_in_any_entry() {
        let claim = json!([{"keys": "*"}, {"keys": ["other"], "max_screens": 3}]);
        assert_eq!(
            Entitlement::from_claim(&claim),
            Err(Error::Unsupported("max_screens".into()))
        );
        for claim in [
            json!({}),
            json!([1]),
            json!([{}]),
            json!([{"keys": 1}]),
            json!([{"keys": [""]}]),
        ] {
            assert!(
                matches!(Entitlement::from_claim(&claim), Err(Error::Shape(_))),
                "{claim}"
            );
        }
    }

    #[test]
    fn a_duration_is_a_positive_number_of_32_bits() {
        assert_eq!(
            terms(&json!({"lease_seconds": u32::MAX}))
                .unwrap()
                .lease_seconds,
            Some(u32::MAX)
        );
        for value in [
            json!(0),
            json!(-1),
            json!(1.5),
            json!("60"),
            json!(1_u64 << 32),
            json!(null),
        ] {
            let result = terms(&json!({"lease_seconds": value}));
            assert!(
                matches!(
                    result,
                    Err(Error::Terms {
                        term: "lease_seconds",
                        ..
                    })
                ),
                "{value}"
            );
        }
    }

    #[test]
    fn permission_that_an_entry_does_not_give_comes_from_nobody_else() {
        let silent = terms(&json!({"tracks": {"hd": {"hdcp": "type1"}}})).unwrap();
        let Value::Object(members) = json!({"persist": true}) else {
            panic!()
        };
        let generous = Terms::from_json(&members, &[]).unwrap();
        assert_eq!(silent.and(&generous).persist, Some(false));
        let hd = silent.for_track(Some(Track::Hd)).unwrap();
        assert_eq!(hd.and(&generous).persist, Some(false));
        // An entitlement without terms leaves this permission to others.
        let all = Entitlement::all_keys();
        assert_eq!(
            all.terms_for(Names::default())
                .unwrap()
                .and(&generous)
                .persist,
            Some(true)
        );
    }

    #[test]
    fn contradicting_terms_are_refused() {
        for members in [
            json!({"persist": true, "lease_seconds": 1}),
            json!({"persist": true, "rental_seconds": 1}),
            json!({"storage_seconds": 1}),
            json!({"persist": false, "playback_seconds": 1}),
        ] {
            assert!(
                matches!(terms(&members), Err(Error::Terms { .. })),
                "{members}"
            );
        }
    }

    #[test]
    fn not_after_clips_every_duration() {
        let grant = |members| terms(&members).unwrap().granted_at(1_000).unwrap().use_;
        let streaming = |lease_seconds, rental_seconds| Use::Streaming {
            lease_seconds,
            rental_seconds,
        };
        assert_eq!(grant(json!({})), streaming(None, None));
        assert_eq!(
            grant(json!({"not_after": 1_060})),
            streaming(Some(60), None)
        );
        assert_eq!(
            grant(json!({"not_after": 1_060, "lease_seconds": 90})),
            streaming(Some(60), None)
        );
        assert_eq!(
            grant(json!({"not_after": 1_060, "lease_seconds": 30})),
            streaming(Some(30), None)
        );
        assert_eq!(
            grant(json!({"not_after": 1_060, "rental_seconds": 90})),
            streaming(Some(60), Some(60))
        );
        assert_eq!(
            grant(json!({"not_after": u64::MAX})),
            streaming(Some(u32::MAX), None)
        );
        assert_eq!(
            grant(
                json!({"persist": true, "not_after": 1_060, "storage_seconds": 90, "playback_seconds": 30})
            ),
            Use::Persistent {
                storage_seconds: Some(60),
                playback_seconds: Some(30),
                ends_in: Some(60)
            }
        );
    }

    #[test]
    fn dates_bound_the_entitlement() {
        let terms = terms(&json!({"not_before": 10, "not_after": 20})).unwrap();
        assert_eq!(terms.granted_at(9), Err(Error::NotYetValid(10)));
        assert!(terms.granted_at(10).is_ok());
        assert!(terms.granted_at(19).is_ok());
        assert_eq!(terms.granted_at(20), Err(Error::Ended(20)));
    }
}
