//! Which DRM system a request is for: `keySystem`, as players and packagers write it.

use crate::error::Code;
use crate::id::Id;

use super::parameter;
use super::problem::Problem;

/// The query parameter, and the member of a JSON body.
pub const PARAMETER: &str = "keySystem";

/// A DRM system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeySystem {
    /// Apple FairPlay Streaming.
    Fairplay,
    /// Google Widevine.
    Widevine,
    /// Microsoft PlayReady.
    Playready,
    /// W3C Clear Key.
    Clearkey,
}

/// Each with the name that it is called by, the beginning of its names in Encrypted Media Extensions,
/// and its system id (DASH-IF registry).
const SYSTEMS: [(KeySystem, &str, &str, &str); 4] = [
    (
        KeySystem::Fairplay,
        "FairPlay",
        "com.apple.fps",
        "94ce86fb-07ff-4f43-adb8-93d2fa968ca2",
    ),
    (
        KeySystem::Widevine,
        "Widevine",
        "com.widevine.alpha",
        "edef8ba9-79d6-4ace-a3c8-27dcd51d21ed",
    ),
    (
        KeySystem::Playready,
        "PlayReady",
        "com.microsoft.playready",
        "9a04f079-9840-4286-ab92-e65be0885f95",
    ),
    (
        KeySystem::Clearkey,
        "Clear Key",
        "org.w3.clearkey",
        "1077efec-c0b2-4d02-ace3-3c1e52e2fb4b",
    ),
];

impl KeySystem {
    /// Reads an EME name with or without what follows it (`com.apple.fps.1_0`,
    /// `com.microsoft.playready.recommendation`), or a system id.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.trim().to_ascii_lowercase();
        let id = Id::from_guid(&name);
        let (system, ..) = SYSTEMS.iter().find(|(_, _, eme, uuid)| {
            let rest = name.strip_prefix(eme);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
                || id.is_some() && id == Id::from_guid(uuid)
        })?;
        Some(*system)
    }

    fn title(self) -> &'static str {
        SYSTEMS
            .iter()
            .find(|(system, ..)| *system == self)
            .map_or("", |(_, title, ..)| title)
    }
}

/// The key system of a request: it has to be one that is served.
///
/// # Errors
/// `key_system_missing` and `key_system_unsupported`.
pub fn required(query: Option<&str>, in_body: Option<&str>) -> Result<KeySystem, Problem> {
    let in_query = parameter(query, PARAMETER);
    let name = in_query.as_deref().or(in_body);
    let unsupported = |detail: String| Problem::new(Code::KEY_SYSTEM_UNSUPPORTED, detail);
    match name.map(KeySystem::from_name) {
        None => Err(Problem::new(
            Code::KEY_SYSTEM_MISSING,
            format!(
                "it is looked for in `{PARAMETER}`, in the query and in a JSON body: an EME name or a system id"
            ),
        )),
        Some(None) => Err(unsupported(
            "the key system is none that is known".to_owned(),
        )),
        Some(Some(KeySystem::Fairplay)) => Ok(KeySystem::Fairplay),
        Some(Some(other)) => Err(unsupported(format!("this server has no {}", other.title()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_is_known_by_every_name_that_players_have_for_it() {
        for (name, system) in [
            ("com.apple.fps", Some(KeySystem::Fairplay)),
            ("com.apple.fps.1_0", Some(KeySystem::Fairplay)),
            (
                "94CE86FB-07FF-4F43-ADB8-93D2FA968CA2",
                Some(KeySystem::Fairplay),
            ),
            (
                "94ce86fb07ff4f43adb893d2fa968ca2",
                Some(KeySystem::Fairplay),
            ),
            ("com.widevine.alpha", Some(KeySystem::Widevine)),
            (
                "com.microsoft.playready.recommendation",
                Some(KeySystem::Playready),
            ),
            ("org.w3.clearkey", Some(KeySystem::Clearkey)),
            ("com.apple.fpsx", None),
            ("", None),
        ] {
            assert_eq!(KeySystem::from_name(name), system, "{name}");
        }
    }
}
