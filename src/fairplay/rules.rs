//! Rules of the deployment that hold for every FairPlay licence (specification section 14).
//!
//! They are terms like those of a token, and are met together with them.

use serde_json::{Map, Value};

use crate::configuration::{SettingError, SettingErrorKind, SettingsError};
use crate::encoding;
use crate::entitlement::Terms;
use crate::platform::Platform;

/// The variable that holds them: empty for none, the name of a profile, or a JSON object of terms.
pub const VARIABLE: &str = "fairplay_rules";

/// The profile with the rules that the FairPlay server SDK suggests.
pub const APPLE_DEFAULTS: &str = "apple-defaults";

/// The SDK's suggestions as terms. What a device does not report is passed there.
const SUGGESTED: &str = r#"{
    "unreported": "allow",
    "min_kdl": 31,
    "tracks": {
        "uhd": {"min_security_level": "main", "hdcp": "type1"},
        "hd": {"min_security_level": "baseline", "hdcp": "type0"},
        "sd": {"min_security_level": "baseline"},
        "audio": {"min_security_level": "audio"}
    }
}"#;

/// The rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// Terms that are combined with a token's. Older devices report neither a security level nor a Key
    /// Delivery Library. They pass where the rules allow it.
    pub terms: Terms,
}

impl Rules {
    /// Reads the rules.
    ///
    /// # Errors
    /// What is neither a profile nor an object of terms.
    pub async fn load(platform: &impl Platform) -> Result<Self, SettingsError> {
        let Some(setting) = platform.variable(VARIABLE).await? else {
            return Ok(Self::default());
        };
        Ok(Self::from_setting(&setting)?)
    }

    fn from_setting(setting: &str) -> Result<Self, SettingError> {
        let given = if setting.trim() == APPLE_DEFAULTS {
            encoding::members([("profile", APPLE_DEFAULTS.into())])
        } else {
            encoding::json_object(setting.as_bytes()).map_err(|error| {
                malformed(format!(
                    "it is neither `{APPLE_DEFAULTS}` nor a JSON object of terms: {error}"
                ))
            })?
        };
        let mut members = match given.get("profile") {
            None => Map::new(),
            Some(name) if name == APPLE_DEFAULTS => encoding::json_object(SUGGESTED.as_bytes())
                .map_err(|error| SettingError::from_json_error(VARIABLE, &error))?,
            Some(_) => {
                let reason = format!("it is not \"{APPLE_DEFAULTS}\"");
                return Err(malformed(reason).in_member("profile"));
            }
        };
        for (name, value) in given {
            match (members.get_mut(&name), value) {
                (Some(Value::Object(tracks)), Value::Object(given)) if name == "tracks" => {
                    for (track, value) in given {
                        change(tracks, track, value);
                    }
                }
                (_, value) => drop(members.insert(name, value)),
            }
        }
        let terms = Terms::from_json(&members, &["profile", "unreported"])
            .map_err(|error| malformed(error.to_string()))?;
        let terms = match members.get("unreported").map(Value::as_str) {
            None | Some(Some("refuse")) => terms,
            Some(Some("allow")) => terms.if_reported(),
            Some(_) => {
                let reason = "it is neither \"allow\" nor \"refuse\"";
                return Err(malformed(reason).in_member("unreported"));
            }
        };
        Ok(Self { terms })
    }
}

fn malformed(reason: impl Into<String>) -> SettingError {
    SettingError::new(VARIABLE, SettingErrorKind::Malformed, reason)
}

/// What is not set for a track stays as it is in the profile.
fn change(tracks: &mut Map<String, Value>, track: String, value: Value) {
    match (tracks.get_mut(&track), value) {
        (Some(Value::Object(members)), Value::Object(given)) => members.extend(given),
        (_, value) => drop(tracks.insert(track, value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entitlement::{Hdcp, SecurityLevel, Track};

    fn rules(setting: &str, track: Track) -> (Option<u32>, Option<SecurityLevel>, Option<Hdcp>) {
        let rules = Rules::from_setting(setting).unwrap();
        let limits = &rules.terms.for_track(Some(track)).unwrap().limits;
        (limits.kdl(), limits.security_level(), limits.hdcp)
    }

    #[test]
    fn the_profile_has_the_suggested_rules() {
        for (track, level, hdcp) in [
            (Track::Uhd, SecurityLevel::Main, Some(Hdcp::Type1)),
            (Track::Hd, SecurityLevel::Baseline, Some(Hdcp::Type0)),
            (Track::Sd, SecurityLevel::Baseline, None),
            (Track::Audio, SecurityLevel::Audio, None),
        ] {
            assert_eq!(rules(APPLE_DEFAULTS, track), (Some(31), Some(level), hdcp));
        }
        let suggested = Rules::from_setting(APPLE_DEFAULTS).unwrap().terms.limits;
        assert_eq!(
            (suggested.min_kdl, suggested.if_reported.min_kdl),
            (None, Some(31))
        );
    }

    #[test]
    fn what_is_given_takes_the_place_of_what_the_profile_says() {
        let changed = r#"{"profile": "apple-defaults", "min_kdl": 40, "unreported": "refuse",
                          "tracks": {"uhd": {"hdcp": "type0"}}}"#;
        assert_eq!(
            rules(changed, Track::Uhd),
            (Some(40), Some(SecurityLevel::Main), Some(Hdcp::Type0))
        );
        assert_eq!(
            rules(changed, Track::Sd),
            (Some(40), Some(SecurityLevel::Baseline), None)
        );
        let strict = Rules::from_setting(changed).unwrap().terms.limits;
        assert_eq!(
            (strict.min_kdl, strict.if_reported.min_kdl),
            (Some(40), None)
        );
    }

    #[test]
    fn other_settings_are_refused() {
        for setting in [
            "google-defaults",
            "[]",
            r#"{"profile": "other"}"#,
            r#"{"unreported": true}"#,
            r#"{"min_kdl": 0}"#,
            r#"{"min_kdl": 1, "min_kdl": 2}"#,
            r#"{"hdpc": "type1"}"#,
            r#"{"tracks": {"4k": {}}}"#,
        ] {
            assert!(Rules::from_setting(setting).is_err(), "{setting}");
        }
    }
}
