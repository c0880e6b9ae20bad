//! Issuers and audiences that are accepted.

use crate::configuration::SettingErrorKind;
use crate::encoding;

/// The values of a claim that are accepted.
pub enum Accepted {
    /// Any value, or no value.
    Any,
    /// These.
    OneOf(Vec<String>),
}

impl Accepted {
    /// `*`, a value, or a JSON list of values.
    ///
    /// # Errors
    /// What kind of problem, and a sentence about it.
    pub fn from_setting(value: Option<&str>) -> Result<Self, (SettingErrorKind, &'static str)> {
        match value {
            None => Err((
                SettingErrorKind::Missing,
                "it is not set; to accept any value, say `*`",
            )),
            Some("*") => Ok(Self::Any),
            Some(list) if list.trim_start().starts_with('[') => {
                match encoding::from_json::<Vec<String>>(list.as_bytes()) {
                    Ok(list) if !list.is_empty() && list.iter().all(|value| value != "*") => {
                        Ok(Self::OneOf(list))
                    }
                    Ok(_) => Err((
                        SettingErrorKind::Malformed,
                        "the list is empty or has `*` in it; to accept any value, say `*` alone",
                    )),
                    Err(_) => Err((
                        SettingErrorKind::Malformed,
                        "it starts like a JSON list and is no list of strings",
                    )),
                }
            }
            Some(one) => Ok(Self::OneOf(vec![one.to_owned()])),
        }
    }

    /// Whether one of the values of a claim is accepted.
    pub fn accepts(&self, values: &[&str]) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(accepted) => accepted.iter().any(|one| values.contains(&one.as_str())),
        }
    }
}
