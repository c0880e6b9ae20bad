//! What a viewer may do with a key: one model that every token dialect maps to and every DRM
//! system reads.

use serde_json::{Map, Value};

use crate::error::Code;
use crate::id::Id;

/// Why an entitlement gives nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no `entitlements` claim.
    #[error("the claim `entitlements` is missing")]
    Missing,
    /// The claim is not of the documented shape.
    #[error("`entitlements`: {0}")]
    Shape(&'static str),
    /// A member that this server does not know or cannot honour.
    #[error("the member `{0}` of an entitlement cannot be honoured")]
    Unsupported(String),
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
}

impl Error {
    /// The code of this error.
    pub fn code(&self) -> Code {
        match self {
            Self::Missing => Code::ENTITLEMENT_MISSING,
            Self::Shape(_) => Code::ENTITLEMENT_INVALID,
            Self::Unsupported(_) => Code::TERM_UNSUPPORTED,
            Self::Terms { .. } => Code::TERMS_INVALID,
            Self::NotEntitled => Code::NOT_ENTITLED,
            Self::NotYetValid(_) => Code::ENTITLEMENT_NOT_YET_VALID,
            Self::Ended(_) => Code::ENTITLEMENT_ENDED,
        }
    }
}

/// The entitlements of one viewer, in order of precedence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entitlement(Vec<Entry>);

impl Entitlement {
    /// Reads the claim `entitlements`: a list of objects of `keys` and terms.
    ///
    /// Every entry is read, also those that will not apply, so that a member which cannot be
    /// honoured always refuses.
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

    /// The terms of the first entry that reaches a key with any of these names.
    ///
    /// # Errors
    /// [`Error::NotEntitled`] when there is none.
    pub fn terms_for(&self, names: &[Id]) -> Result<&Terms, Error> {
        self.0
            .iter()
            .find(|entry| entry.keys.reach(names))
            .map(|entry| &entry.terms)
            .ok_or(Error::NotEntitled)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    keys: Keys,
    terms: Terms,
}

impl Entry {
    fn from_json(members: &Map<String, Value>) -> Result<Self, Error> {
        let keys = Keys::from_json(
            members
                .get("keys")
                .ok_or(Error::Shape("an entry has no `keys`"))?,
        )?;
        let terms = members
            .iter()
            .filter(|(name, _)| *name != "keys")
            .try_fold(Terms::default(), |mut terms, (name, value)| {
                terms.set(name, value)?;
                Ok(terms)
            })?;
        terms.check()?;
        Ok(Self { keys, terms })
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

    fn reach(&self, names: &[Id]) -> bool {
        match self {
            Self::All => true,
            Self::Named(ids) => ids.iter().any(|id| names.contains(id)),
        }
    }
}

/// High-bandwidth Digital Content Protection, from weak to strong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hdcp {
    /// Not required.
    None,
    /// Any HDCP version (type 0).
    Type0,
    /// HDCP 2.2 and later only (type 1).
    Type1,
}

/// The terms of an entitlement as they were written. Durations are seconds, 1 to 2^32-1; dates are
/// seconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms {
    /// Permission to store the key on the device.
    pub persist: bool,
    /// From download to first play.
    pub storage_seconds: Option<u32>,
    /// From first play on.
    pub playback_seconds: Option<u32>,
    /// Playback stops at the end unless renewed.
    pub lease_seconds: Option<u32>,
    /// Playback may start until the end.
    pub rental_seconds: Option<u32>,
    /// Nothing before this time.
    pub not_before: Option<u64>,
    /// Nothing from this time on.
    pub not_after: Option<u64>,
    /// Output protection.
    pub hdcp: Option<Hdcp>,
    /// How many licences the token is good for.
    pub max_uses: Option<u32>,
}

impl Terms {
    fn set(&mut self, name: &str, value: &Value) -> Result<(), Error> {
        match name {
            "persist" => {
                self.persist = value
                    .as_bool()
                    .ok_or(Error::Shape("`persist` is not true or false"))?;
            }
            "storage_seconds" => self.storage_seconds = Some(seconds("storage_seconds", value)?),
            "playback_seconds" => self.playback_seconds = Some(seconds("playback_seconds", value)?),
            "lease_seconds" => self.lease_seconds = Some(seconds("lease_seconds", value)?),
            "rental_seconds" => self.rental_seconds = Some(seconds("rental_seconds", value)?),
            "max_uses" => {
                let reason = "it is a whole number from 1 to 4294967295";
                self.max_uses = Some(positive("max_uses", value, reason)?);
            }
            "not_before" => self.not_before = Some(date("not_before", value)?),
            "not_after" => self.not_after = Some(date("not_after", value)?),
            "hdcp" => {
                self.hdcp = Some(match value.as_str() {
                    Some("none") => Hdcp::None,
                    Some("type0") => Hdcp::Type0,
                    Some("type1") => Hdcp::Type1,
                    _ => {
                        return Err(Error::Terms {
                            term: "hdcp",
                            reason: "it is none of \"none\", \"type0\" and \"type1\"",
                        });
                    }
                });
            }
            other => return Err(Error::Unsupported(other.chars().take(64).collect())),
        }
        Ok(())
    }

    /// Refuses terms that contradict each other.
    fn check(&self) -> Result<(), Error> {
        let invalid = |term, reason| Err(Error::Terms { term, reason });
        if self.persist {
            if self.lease_seconds.is_some() {
                return invalid("lease_seconds", "a lease cannot be stored (`persist`)");
            }
            if self.rental_seconds.is_some() {
                return invalid(
                    "rental_seconds",
                    "a streaming rental cannot be stored (`persist`)",
                );
            }
        } else {
            if self.storage_seconds.is_some() {
                return invalid("storage_seconds", "it needs `persist`");
            }
            if self.playback_seconds.is_some() {
                return invalid("playback_seconds", "it needs `persist`");
            }
        }
        Ok(())
    }

    /// What these terms come to at `now`: dates are checked, and `not_after` clips every duration.
    ///
    /// # Errors
    /// [`Error::NotYetValid`] and [`Error::Ended`].
    pub fn granted_at(&self, now: u64) -> Result<Granted, Error> {
        if let Some(start) = self.not_before
            && now < start
        {
            return Err(Error::NotYetValid(start));
        }
        let remaining = match self.not_after {
            Some(end) if now >= end => return Err(Error::Ended(end)),
            Some(end) => Some(u32::try_from(end - now).unwrap_or(u32::MAX)),
            None => None,
        };
        let clip = |duration: u32| remaining.map_or(duration, |remaining| duration.min(remaining));
        let use_ = if self.persist {
            Use::Persistent {
                storage_seconds: self.storage_seconds.map(clip),
                playback_seconds: self.playback_seconds.map(clip),
                ends_in: remaining,
            }
        } else {
            Use::Streaming {
                lease_seconds: self.lease_seconds.map(clip).or(remaining),
                rental_seconds: self.rental_seconds.map(clip),
            }
        };
        Ok(Granted {
            use_,
            hdcp: self.hdcp,
            max_uses: self.max_uses,
        })
    }
}

/// Terms at the moment of a licence, with every duration clipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// Streaming or stored, and for how long.
    pub use_: Use,
    /// Output protection.
    pub hdcp: Option<Hdcp>,
    /// How many licences the token is good for.
    pub max_uses: Option<u32>,
}

/// The two ways to use a key, each with its durations in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// The key is held while playback lasts.
    Streaming {
        /// Playback stops at the end unless renewed.
        lease_seconds: Option<u32>,
        /// Playback may start until the end.
        rental_seconds: Option<u32>,
    },
    /// The key may be stored on the device.
    Persistent {
        /// From download to first play.
        storage_seconds: Option<u32>,
        /// From first play on.
        playback_seconds: Option<u32>,
        /// Nothing is allowed after this many seconds from now.
        ends_in: Option<u32>,
    },
}

fn seconds(term: &'static str, value: &Value) -> Result<u32, Error> {
    let reason = "a duration is a whole number of seconds from 1 to 4294967295";
    positive(term, value, reason)
}

fn positive(term: &'static str, value: &Value, reason: &'static str) -> Result<u32, Error> {
    match value.as_u64().map(u32::try_from) {
        Some(Ok(number)) if number > 0 => Ok(number),
        _ => Err(Error::Terms { term, reason }),
    }
}

fn date(term: &'static str, value: &Value) -> Result<u64, Error> {
    let reason = "a date is a whole number of seconds since 1970";
    value.as_u64().ok_or(Error::Terms { term, reason })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn terms(members: &Value) -> Result<Terms, Error> {
        let mut entry = members.clone();
        entry["keys"] = json!("*");
        Entitlement::from_claim(&json!([entry]))?
            .terms_for(&[])
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
            entitlement.terms_for(&names).unwrap().lease_seconds
        };
        assert_eq!(lease(&["a"]), Some(1));
        assert_eq!(lease(&["x", "b"]), Some(2));
        assert_eq!(lease(&["x"]), Some(3));
        let none = Entitlement::from_claim(&json!([])).unwrap();
        assert_eq!(none.terms_for(&[]), Err(Error::NotEntitled));
    }

    #[test]
    fn what_cannot_be_honoured_refuses_in_any_entry() {
        let claim = json!([{"keys": "*"}, {"keys": ["other"], "max_streams": 3}]);
        assert_eq!(
            Entitlement::from_claim(&claim),
            Err(Error::Unsupported("max_streams".into()))
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
