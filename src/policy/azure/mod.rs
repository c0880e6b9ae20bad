//! The configurations of Azure Media Services' content key policies (REST API 2022-08-01,
//! `ContentKeyPolicyConfiguration`), as terms of one DRM system.
//!
//! Each member is mapped to a term, or refuses the configuration because it restricts and nothing here would keep it, or
//! is not taken because it restricts nothing here. What is not taken is reported.

mod fairplay;
mod members;
mod playready;
mod widevine;

pub use members::Members;
use serde_json::Value;

use crate::drm::DrmSystem;
use crate::entitlement::Terms;

/// A configuration that was read.
#[derive(Debug, Default)]
pub struct Reading {
    /// The terms for its system; `None` when it says nothing.
    pub terms: Option<Terms>,
    /// Members that became terms.
    pub mapped: Vec<Note>,
    /// Members that have no meaning here.
    pub not_taken: Vec<Note>,
}

/// What became of a member, without its value where that could be secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The name of the member.
    pub field: String,
    /// What became of it, in words.
    pub what: String,
}

impl Reading {
    fn map(&mut self, field: &str, what: impl Into<String>) {
        self.mapped.push(Note::new(field, what));
    }

    fn leave(&mut self, field: &str, what: impl Into<String>) {
        self.not_taken.push(Note::new(field, what));
    }
}

impl Note {
    fn new(field: &str, what: impl Into<String>) -> Self {
        Self {
            field: field.to_owned(),
            what: what.into(),
        }
    }
}

/// Reads the configuration of a system, the object in `drm` of a policy option.
///
/// # Errors
/// A member that is not known or restricts what nothing here keeps, by its name.
pub fn read(system: DrmSystem, configuration: &Value) -> Result<Reading, String> {
    match system {
        DrmSystem::FairPlay => fairplay::read(configuration),
        DrmSystem::Widevine => widevine::read(configuration),
        DrmSystem::PlayReady => playready::read(configuration),
        DrmSystem::ClearKey | DrmSystem::Aes128 => {
            let members = Members::parse(configuration)?;
            match members.others(&["@odata.type"]).next() {
                None => Ok(Reading::default()),
                Some(_) => Err("it has members, and none is read: leave it empty".to_owned()),
            }
        }
    }
}

/// What of a configuration has no meaning here; nothing for one that does not load.
pub fn report(system: DrmSystem, configuration: &Value) -> Vec<Note> {
    read(system, configuration).map_or_else(|_| Vec::new(), |reading| reading.not_taken)
}

/// Whether a value is as good as none: off, zero or empty.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_u64() == Some(0),
        Value::String(text) => {
            ["", "0"].contains(&text.as_str()) || text.eq_ignore_ascii_case("false")
        }
        Value::Array(list) => list.is_empty(),
        Value::Object(members) => members.is_empty(),
    }
}
