//! Members of a message in JSON, read strictly.
//!
//! A member that is `null` counts as absent. An error names the member, never its value.

use serde_json::{Map, Value};

use super::Error;
use super::date::instant;

/// An object of a message, which may be absent.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a>(Option<&'a Map<String, Value>>);

impl<'a> Fields<'a> {
    /// The members of `map`.
    pub fn new(map: &'a Map<String, Value>) -> Self {
        Self(Some(map))
    }

    /// Whether there is no object, or one without members.
    pub fn is_empty(self) -> bool {
        self.0.is_none_or(Map::is_empty)
    }

    /// Whether the member is present.
    pub fn has(self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The member, unless it is `null`.
    pub fn get(self, name: &str) -> Option<&'a Value> {
        self.0?.get(name).filter(|value| !value.is_null())
    }

    /// Refuses a member that is none of `known`, whatever its value.
    ///
    /// # Errors
    /// [`Error::Unsupported`]
    pub fn only(self, known: &[&str]) -> Result<Self, Error> {
        self.0
            .map_or(Ok(()), |members| reject_unknown(members, known))?;
        Ok(self)
    }

    /// An object.
    ///
    /// # Errors
    /// [`Error::Malformed`]
    pub fn object(self, name: &'static str) -> Result<Self, Error> {
        match self.get(name) {
            None => Ok(Self(None)),
            Some(Value::Object(map)) => Ok(Self(Some(map))),
            Some(_) => Err(Error::Malformed(name)),
        }
    }

    /// A list; empty when it is absent.
    ///
    /// # Errors
    /// [`Error::Malformed`]
    pub fn list(self, name: &'static str) -> Result<&'a [Value], Error> {
        match self.get(name) {
            None => Ok(&[]),
            Some(Value::Array(list)) => Ok(list),
            Some(_) => Err(Error::Malformed(name)),
        }
    }

    /// A list of objects.
    ///
    /// # Errors
    /// [`Error::Malformed`]
    pub fn objects(self, name: &'static str) -> Result<Vec<Self>, Error> {
        self.list(name)?
            .iter()
            .map(|value| value.as_object().map(Self::new))
            .collect::<Option<_>>()
            .ok_or(Error::Malformed(name))
    }

    /// A list of texts, none of them empty.
    ///
    /// # Errors
    /// [`Error::Malformed`]
    pub fn texts(self, name: &'static str) -> Result<Vec<&'a str>, Error> {
        self.list(name)?
            .iter()
            .map(|value| value.as_str().filter(|text| !text.is_empty()))
            .collect::<Option<_>>()
            .ok_or(Error::Malformed(name))
    }

    /// Text that is not empty.
    ///
    /// # Errors
    /// [`Error::Malformed`]
    pub fn text(self, name: &'static str) -> Result<Option<&'a str>, Error> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) if !text.is_empty() => Ok(Some(text)),
            Some(_) => Err(Error::Malformed(name)),
        }
    }

    /// `true` or `false`, as a boolean or as text: vendors' own samples have both.
    ///
    /// # Errors
    /// [`Error::Malformed`]
    pub fn flag(self, name: &'static str) -> Result<Option<bool>, Error> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(Some(true)),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(Some(false)),
            Some(_) => Err(Error::Malformed(name)),
        }
    }

    /// A whole number of at least 1, as a number or decimal text. More than 2^32-1 becomes 2^32-1.
    ///
    /// # Errors
    /// [`Error::Malformed`]
    pub fn positive(self, name: &'static str) -> Result<Option<u32>, Error> {
        let number = match self.get(name) {
            None => return Ok(None),
            Some(Value::Number(number)) => number.as_u64(),
            Some(Value::String(text)) if text.bytes().all(|b| b.is_ascii_digit()) => {
                text.parse().ok()
            }
            Some(_) => None,
        };
        match number {
            Some(number) if number > 0 => Ok(Some(u32::try_from(number).unwrap_or(u32::MAX))),
            _ => Err(Error::Malformed(name)),
        }
    }

    /// A point in time: text as [`instant`] reads it. Seconds since 1970.
    ///
    /// # Errors
    /// [`Error::Malformed`]
    pub fn instant(self, name: &'static str) -> Result<Option<u64>, Error> {
        match self.text(name)? {
            None => Ok(None),
            Some(text) => instant(text).map(Some).ok_or(Error::Malformed(name)),
        }
    }
}

/// Refuses a member that is none of `names`: it could restrict the viewer.
///
/// # Errors
/// [`Error::Unsupported`]
pub fn reject_unknown(members: &Map<String, Value>, names: &[&str]) -> Result<(), Error> {
    match members.keys().find(|name| !names.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => Err(Error::Unsupported(name.chars().take(64).collect())),
    }
}

/// Text that must be present and not empty.
///
/// # Errors
/// [`Error::Malformed`]
pub fn text_of<'a>(members: &'a Map<String, Value>, name: &'static str) -> Result<&'a str, Error> {
    members
        .get(name)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
        .ok_or(Error::Malformed(name))
}

/// Whether bytes look like a JSON object with members of these names, whatever is wrong with it.
pub fn has_members(json: &[u8], names: &[&str]) -> bool {
    let Some(inner) = std::str::from_utf8(json)
        .ok()
        .and_then(|text| text.trim().strip_prefix('{')?.strip_suffix('}'))
    else {
        return false;
    };
    names
        .iter()
        .all(|name| inner.contains(&format!("\"{name}\"")))
}

/// The duration that a licence can have, in seconds: zero is no duration, and too long a one becomes the
/// longest.
pub fn seconds(seconds: u64) -> Option<u32> {
    (seconds > 0).then(|| u32::try_from(seconds).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_member_is_read_or_named() {
        let value = json!({"n": null, "s": "true", "d": "200", "big": 1_u64 << 40, "x": {}});
        let fields = Fields::new(value.as_object().unwrap());
        assert_eq!(fields.flag("n"), Ok(None));
        assert_eq!(fields.flag("s"), Ok(Some(true)));
        assert_eq!(fields.positive("d"), Ok(Some(200)));
        assert_eq!(fields.positive("big"), Ok(Some(u32::MAX)));
        assert_eq!(fields.text("x"), Err(Error::Malformed("x")));
        assert!(fields.object("absent").unwrap().is_empty());
        assert_eq!(
            fields.only(&["n", "s", "d", "big"]).map(|_| ()),
            Err(Error::Unsupported("x".into()))
        );
        for value in [
            json!(0),
            json!(-1),
            json!(1.5),
            json!(""),
            json!("+1"),
            json!("1h"),
            json!([]),
        ] {
            let value = json!({ "d": value });
            let fields = Fields::new(value.as_object().unwrap());
            assert_eq!(fields.positive("d"), Err(Error::Malformed("d")), "{value}");
        }
    }
}
