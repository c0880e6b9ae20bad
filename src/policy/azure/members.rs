//! The members of an exported object, in each spelling that Azure's tools write.

use std::collections::BTreeMap;

use serde_json::Value;

/// The members of an object that have a value. Their names are compared without case and signs: the
/// API writes `@odata.type` where the command line writes `odataType` or `odatatype`, and .NET writes `LicenseType` for
/// `licenseType`.
#[derive(Clone)]
pub struct Members<'a>(BTreeMap<String, (&'a str, &'a Value)>);

impl<'a> Members<'a> {
    /// Reads an object. Members that are `null` are left away.
    ///
    /// # Errors
    /// What is no object, and a member that is there in two spellings.
    pub fn parse(value: &'a Value) -> Result<Self, String> {
        let object = value.as_object().ok_or("it is not an object")?;
        let mut members = BTreeMap::new();
        for (name, value) in object.iter().filter(|(_, value)| !value.is_null()) {
            if members.insert(bare(name), (name.as_str(), value)).is_some() {
                let name = shown(name);
                return Err(format!("the member {name:?} is there in two spellings"));
            }
        }
        Ok(Self(members))
    }

    /// The value of a member.
    pub fn get(&self, name: &str) -> Option<&'a Value> {
        self.0.get(&bare(name)).map(|(_, value)| *value)
    }

    /// A member that is text, and not empty.
    pub fn text(&self, name: &str) -> Option<&'a str> {
        self.get(name)?.as_str().filter(|text| !text.is_empty())
    }

    /// A member that must be text where it is there. Empty text is as none.
    ///
    /// # Errors
    /// A member that is not text.
    pub fn optional_text(&self, name: &str) -> Result<Option<&'a str>, String> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text).filter(|t| !t.is_empty()).map(|t| &**t)),
            Some(_) => Err(format!("`{name}` is not text")),
        }
    }

    /// A member that must be true or false where it is there, also as text.
    ///
    /// # Errors
    /// A member that is neither.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, String> {
        let wrong = || format!("`{name}` is neither true nor false");
        match self.get(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(Value::String(text)) => {
                let text = text.to_ascii_lowercase();
                text.parse().map(Some).map_err(|_| wrong())
            }
            Some(_) => Err(wrong()),
        }
    }

    /// A member that must be a whole number where it is there, also as text.
    ///
    /// # Errors
    /// A member that is none, or more than 32 bits have.
    pub fn number(&self, name: &str) -> Result<Option<u32>, String> {
        let number = match self.get(name) {
            None => return Ok(None),
            Some(Value::String(text)) if text.bytes().all(|b| b.is_ascii_digit()) => {
                text.parse().ok()
            }
            Some(value) => value.as_u64().and_then(|number| u32::try_from(number).ok()),
        };
        let reason = || format!("`{name}` is not a whole number from 0 to 4294967295");
        number.map(Some).ok_or_else(reason)
    }

    /// A member that must be one of these names where it is there, without case.
    ///
    /// # Errors
    /// A member that is none of them.
    pub fn choice<T: Copy>(&self, name: &str, choices: &[(&str, T)]) -> Result<Option<T>, String> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let is_it = |choice: &str| {
            value
                .as_str()
                .is_some_and(|v| v.eq_ignore_ascii_case(choice))
        };
        match choices.iter().find(|(choice, _)| is_it(choice)) {
            Some((_, meant)) => Ok(Some(*meant)),
            None => {
                let names: Vec<&str> = choices.iter().map(|(choice, _)| *choice).collect();
                Err(format!("`{name}` is none of {}", names.join(", ")))
            }
        }
    }

    /// The name of a type, without its name space.
    ///
    /// # Errors
    /// An object without one.
    pub fn kind(&self) -> Result<&'a str, String> {
        let kind = self.text("@odata.type").ok_or("it has no `@odata.type`")?;
        Ok(kind.rsplit('.').next().unwrap_or(kind))
    }

    /// The names of members that are none of these.
    pub fn others(&self, known: &[&str]) -> impl Iterator<Item = &'a str> {
        let is_known = |bare_name: &str| known.iter().any(|known| bare(known) == bare_name);
        let others = self.0.iter().filter(move |(name, _)| !is_known(name));
        others.map(|(_, (name, _))| *name)
    }

    /// Refuses members that are none of these: what restricts must not be lost.
    ///
    /// # Errors
    /// The name of the first one.
    pub fn only(&self, known: &[&str]) -> Result<(), String> {
        match self.others(known).next() {
            None => Ok(()),
            Some(name) => Err(format!("the member {:?} is not known here", shown(name))),
        }
    }
}

/// The beginning of a name, which may be anything.
pub(super) fn shown(name: &str) -> String {
    name.chars().take(64).collect()
}

fn bare(name: &str) -> String {
    let signs = name.chars().filter(char::is_ascii_alphanumeric);
    signs.map(|c| c.to_ascii_lowercase()).collect()
}
