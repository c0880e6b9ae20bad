//! The DRM systems, and their names.

use crate::id::Kid;

/// A DRM system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrmSystem {
    /// Apple FairPlay Streaming.
    FairPlay,
    /// Google Widevine.
    Widevine,
    /// Microsoft PlayReady.
    PlayReady,
    /// W3C Clear Key (Encrypted Media Extensions section 9.1).
    ClearKey,
    /// HLS with whole segments under AES-128 (RFC 8216 section 4.3.2.4).
    Aes128,
}

/// System ids (DASH-IF registry of content protection).
pub(crate) mod system_id {
    use crate::id::Kid;

    /// Apple FairPlay Streaming.
    pub const FAIRPLAY: Kid = Kid::from_u128(0x94ce86fb_07ff_4f43_adb8_93d2fa968ca2);
    /// Google Widevine.
    pub const WIDEVINE: Kid = Kid::from_u128(0xedef8ba9_79d6_4ace_a3c8_27dcd51d21ed);
    /// Microsoft PlayReady.
    pub const PLAYREADY: Kid = Kid::from_u128(0x9a04f079_9840_4286_ab92_e65be0885f95);
    /// The common PSSH box of W3C, which Clear Key reads.
    pub const COMMON: Kid = Kid::from_u128(0x1077efec_c0b2_4d02_ace3_3c1e52e2fb4b);
}

/// The names of a system.
struct Row {
    system: DrmSystem,
    /// In policies, key records and the audit.
    name: &'static str,
    /// For people.
    title: &'static str,
    /// The beginning of its key system strings in Encrypted Media Extensions.
    key_system: Option<&'static str>,
    /// Its system id (DASH-IF registry of content protection).
    system_id: Option<Kid>,
}

const SYSTEMS: [Row; 5] = [
    Row {
        system: DrmSystem::FairPlay,
        name: "fairplay",
        title: "FairPlay",
        key_system: Some("com.apple.fps"),
        system_id: Some(system_id::FAIRPLAY),
    },
    Row {
        system: DrmSystem::Widevine,
        name: "widevine",
        title: "Widevine",
        key_system: Some("com.widevine.alpha"),
        system_id: Some(system_id::WIDEVINE),
    },
    Row {
        system: DrmSystem::PlayReady,
        name: "playready",
        title: "PlayReady",
        key_system: Some("com.microsoft.playready"),
        system_id: Some(system_id::PLAYREADY),
    },
    Row {
        system: DrmSystem::ClearKey,
        name: "clearkey",
        title: "Clear Key",
        key_system: Some("org.w3.clearkey"),
        system_id: Some(system_id::COMMON),
    },
    Row {
        system: DrmSystem::Aes128,
        name: "aes128",
        title: "HLS AES-128",
        key_system: None,
        system_id: None,
    },
];

impl DrmSystem {
    /// Every system.
    pub fn all() -> impl Iterator<Item = Self> {
        SYSTEMS.iter().map(|row| row.system)
    }

    /// Reads the name that policies, key records and the audit use: `fairplay`, `widevine`,
    /// `playready`, `clearkey` or `aes128`.
    pub fn from_name(name: &str) -> Option<Self> {
        let row = SYSTEMS.iter().find(|row| row.name == name)?;
        Some(row.system)
    }

    /// Reads `keySystem` of a request: a key system string with or without what follows the name
    /// (`com.apple.fps.1_0`, `com.microsoft.playready.recommendation`), or a system id.
    pub fn from_key_system(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        let id = Kid::from_text(&text);
        let is_key_system = |name: &str| {
            let rest = text.strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let row = SYSTEMS.iter().find(|row| {
            row.key_system.is_some_and(is_key_system) || id.is_some() && id == row.system_id
        })?;
        Some(row.system)
    }

    /// The name that policies, key records and the audit use.
    pub fn name(self) -> &'static str {
        self.row().map_or("", |row| row.name)
    }

    /// The name for people.
    pub fn title(self) -> &'static str {
        self.row().map_or("", |row| row.title)
    }

    /// Whether it hands out the key itself, so that no device keeps a term. Such a system is a door that is opened on
    /// purpose: by a key record that names it, and by a policy that names it.
    pub fn is_clear(self) -> bool {
        match self {
            Self::FairPlay | Self::Widevine | Self::PlayReady => false,
            Self::ClearKey | Self::Aes128 => true,
        }
    }

    /// Its system id, where it has one (DASH-IF registry of content protection).
    pub fn system_id(self) -> Option<Kid> {
        self.row()?.system_id
    }

    fn row(self) -> Option<&'static Row> {
        SYSTEMS.iter().find(|row| row.system == self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_is_known_by_every_name_that_players_have_for_it() {
        for (name, system) in [
            ("com.apple.fps", Some(DrmSystem::FairPlay)),
            ("com.apple.fps.1_0", Some(DrmSystem::FairPlay)),
            (
                "94CE86FB-07FF-4F43-ADB8-93D2FA968CA2",
                Some(DrmSystem::FairPlay),
            ),
            (
                "94ce86fb07ff4f43adb893d2fa968ca2",
                Some(DrmSystem::FairPlay),
            ),
            ("com.widevine.alpha", Some(DrmSystem::Widevine)),
            (
                "com.microsoft.playready.recommendation",
                Some(DrmSystem::PlayReady),
            ),
            ("org.w3.clearkey", Some(DrmSystem::ClearKey)),
            ("com.apple.fpsx", None),
            ("", None),
        ] {
            assert_eq!(DrmSystem::from_key_system(name), system, "{name}");
        }
    }

    #[test]
    fn every_system_has_one_row_and_is_found_by_its_name() {
        assert_eq!(DrmSystem::all().count(), 5);
        for system in DrmSystem::all() {
            assert_eq!(DrmSystem::from_name(system.name()), Some(system));
            assert!(!system.title().is_empty());
        }
    }
}
