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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::entitlement::{PlayRight, UnknownOutput};

    /// What became of each member of each configuration.
    const MEMBERS: &str = include_str!("../../../fixtures/policies/members.json");

    fn terms(expected: &Value, play_right: &Value) -> Option<Terms> {
        // `null` takes away from a track what every other one has.
        let mut members = expected.as_object()?.clone();
        let mut unset = Vec::new();
        for (track, own) in members.get_mut("tracks").into_iter().flat_map(object) {
            for (term, _) in object(own).filter(|(_, value)| value.is_null()) {
                assert_eq!(term, "hdcp");
                unset.push(track.clone());
            }
            if let Value::Object(own) = own {
                own.retain(|_, value| !value.is_null());
            }
        }
        let mut terms = Terms::from_json(&members, &[]).unwrap();
        for track in unset {
            let track = crate::track::Track::from_name(&track).unwrap();
            let mut own = terms.for_track(Some(track)).unwrap().clone();
            own.limits.hdcp = None;
            let others = members["tracks"].as_object_mut().unwrap();
            others.remove(track.name());
            terms = Terms::from_json(&members, &[])
                .unwrap()
                .with_track(track, Some(own));
        }
        let small = |name: &str| play_right[name].as_u64().map(|n| u8::try_from(n).unwrap());
        let number = |name: &str| play_right[name].as_u64().map(|n| u16::try_from(n).unwrap());
        terms.limits.play_right = PlayRight {
            uncompressed_digital_video: number("uncompressed_digital_video"),
            compressed_digital_video: number("compressed_digital_video"),
            analog_video: number("analog_video"),
            compressed_digital_audio: number("compressed_digital_audio"),
            uncompressed_digital_audio: number("uncompressed_digital_audio"),
            agc_and_color_stripe: small("agc_and_color_stripe"),
            scms: small("scms"),
            analog_television: small("analog_television"),
            unknown_output: play_right["unknown_output"]
                .as_str()
                .map(|name| match name {
                    "NotAllowed" => UnknownOutput::NotAllowed,
                    "Constricted" => UnknownOutput::Constricted,
                    "Allowed" => UnknownOutput::Allowed,
                    other => panic!("{other}"),
                }),
        };
        Some(terms)
    }

    fn object(value: &mut Value) -> impl Iterator<Item = (&String, &mut Value)> {
        value.as_object_mut().into_iter().flatten()
    }

    #[test]
    fn each_member_is_a_term_or_refused_or_reported() {
        let cases: Vec<Value> = serde_json::from_str(MEMBERS).unwrap();
        assert!(cases.len() > 150);
        for case in &cases {
            let system = DrmSystem::from_name(case["system"].as_str().unwrap()).unwrap();
            let configuration = &case["configuration"];
            let read = read(system, configuration);
            if let Some(named) = case["refused"].as_str() {
                let reason = read.err().unwrap_or_else(|| panic!("it loads: {case}"));
                assert!(reason.contains(named), "{reason}: {case}");
                assert!(report(system, configuration).is_empty());
                continue;
            }
            let reading = read.unwrap_or_else(|reason| panic!("{reason}: {case}"));
            let expected = terms(&case["terms"], &case["play_right"]);
            assert_eq!(reading.terms, expected, "{case}");
            if let Some(terms) = &reading.terms {
                terms.check().and_then(|()| terms.check_alone()).unwrap();
            }
            let not_taken: Vec<&str> = { reading.not_taken.iter() }
                .map(|note| note.field.as_str())
                .collect();
            assert_eq!(json!(not_taken), case["not_taken"], "{case}");
            assert_eq!(report(system, configuration), reading.not_taken);
        }
    }
}
