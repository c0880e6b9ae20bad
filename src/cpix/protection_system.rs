//! The content protection systems that packagers ask for.

use super::Scheme;
use crate::drm_system::{DrmSystem, system_id};
use crate::id::Kid;

use Scheme::{Cbc1, Cbcs, Cenc};

/// A content protection system, as CPIX, DASH and PSSH boxes name it. There are more of these than DRM systems: some
/// only carry KIDs or tell where keys are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtectionSystem {
    /// Google Widevine.
    Widevine,
    /// Microsoft PlayReady.
    PlayReady,
    /// Apple FairPlay Streaming.
    FairPlay,
    /// The common PSSH box of W3C: KIDs for any system.
    Common,
    /// Clear Key as the DASH-IF has it.
    ClearKey,
    /// HLS with whole segments under AES-128, as SPEKE 2 names it.
    Aes128,
    /// The same, as SPEKE 1 names it.
    Aes128V1,
}

/// What is fixed for a system.
struct Row {
    system_id: Kid,
    name: &'static str,
    /// The schemes that it decrypts.
    schemes: &'static [Scheme],
    /// The DRM system whose licences, or whose way of handing out keys, it stands for.
    drm_system: Option<DrmSystem>,
}

impl ProtectionSystem {
    /// Every system.
    pub const ALL: [Self; 7] = [
        Self::Widevine,
        Self::PlayReady,
        Self::FairPlay,
        Self::Common,
        Self::ClearKey,
        Self::Aes128,
        Self::Aes128V1,
    ];

    const fn row(self) -> Row {
        match self {
            Self::Widevine => Row {
                system_id: system_id::WIDEVINE,
                name: "widevine",
                schemes: &Scheme::ALL,
                drm_system: Some(DrmSystem::Widevine),
            },
            Self::PlayReady => Row {
                system_id: system_id::PLAYREADY,
                name: "playready",
                schemes: &[Cenc, Cbcs],
                drm_system: Some(DrmSystem::PlayReady),
            },
            Self::FairPlay => Row {
                system_id: system_id::FAIRPLAY,
                name: "fairplay",
                schemes: &[Cbcs],
                drm_system: Some(DrmSystem::FairPlay),
            },
            Self::Common => Row {
                system_id: system_id::COMMON,
                name: "common",
                schemes: &Scheme::ALL,
                drm_system: None,
            },
            Self::ClearKey => Row {
                system_id: Kid::from_u128(0xe2719d58_a985_b3c9_781a_b030af78d30e),
                name: "clearkey",
                schemes: &Scheme::ALL,
                drm_system: Some(DrmSystem::ClearKey),
            },
            // MediaPackage sends `cbc1` for it.
            Self::Aes128 => Row {
                system_id: Kid::from_u128(0x3ea8778f_7742_4bf9_b18b_e834b2acbd47),
                name: "aes128",
                schemes: &[Cbc1],
                drm_system: Some(DrmSystem::Aes128),
            },
            // Documents of SPEKE 1 name no scheme.
            Self::Aes128V1 => Row {
                system_id: Kid::from_u128(0x81376844_f976_481e_a84e_cc25d39b0b33),
                name: "aes128",
                schemes: &[],
                drm_system: Some(DrmSystem::Aes128),
            },
        }
    }

    /// The system with this id.
    pub fn from_system_id(id: Kid) -> Option<Self> {
        let mut systems = Self::ALL.into_iter();
        systems.find(|system| system.system_id() == id)
    }

    /// Reads the name that queries use: `widevine`, `playready`, `fairplay`, `common`, `clearkey` or `aes128`, which
    /// is that of SPEKE 2.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|system| system.name() == name)
    }

    /// The systems that content is usually for: FairPlay, Widevine and PlayReady, as far as they have the scheme.
    pub fn usual(scheme: Scheme) -> Vec<Self> {
        let usual = [Self::FairPlay, Self::Widevine, Self::PlayReady];
        let usual = usual.into_iter().filter(|system| system.allows(scheme));
        usual.collect()
    }

    /// Its id (DASH-IF registry of content protection; AWS SPEKE for AES-128).
    pub const fn system_id(self) -> Kid {
        self.row().system_id
    }

    /// The name that queries use. Both ids of AES-128 have one name.
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// Whether it is HLS with whole segments under AES-128, which has the key itself at a URL.
    pub const fn is_aes128(self) -> bool {
        matches!(self, Self::Aes128 | Self::Aes128V1)
    }

    /// Whether its players get the key itself.
    pub fn is_clear(self) -> bool {
        self.drm_system().is_some_and(DrmSystem::is_clear)
    }

    /// Whether content under this scheme can be for the system (AWS SPEKE 2.0; PlayReady Header Specification). No scheme
    /// is for [`Self::Aes128V1`]: SPEKE 1 has none.
    pub fn allows(self, scheme: Scheme) -> bool {
        self.row().schemes.contains(&scheme)
    }

    /// The DRM system that the players of this one ask for a key. `None` for [`Self::Common`]: its box holds KIDs, and
    /// each player asks its own system.
    pub const fn drm_system(self) -> Option<DrmSystem> {
        self.row().drm_system
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_system_takes_the_schemes_that_its_players_decrypt() {
        for (id, name, schemes) in [
            (
                "edef8ba9-79d6-4ace-a3c8-27dcd51d21ed",
                "widevine",
                "cenc cens cbc1 cbcs",
            ),
            (
                "9a04f079-9840-4286-ab92-e65be0885f95",
                "playready",
                "cenc cbcs",
            ),
            ("94ce86fb-07ff-4f43-adb8-93d2fa968ca2", "fairplay", "cbcs"),
            (
                "1077efec-c0b2-4d02-ace3-3c1e52e2fb4b",
                "common",
                "cenc cens cbc1 cbcs",
            ),
            (
                "e2719d58-a985-b3c9-781a-b030af78d30e",
                "clearkey",
                "cenc cens cbc1 cbcs",
            ),
            ("3ea8778f-7742-4bf9-b18b-e834b2acbd47", "aes128", "cbc1"),
            ("81376844-f976-481e-a84e-cc25d39b0b33", "aes128", ""),
        ] {
            let id = Kid::from_text(id).unwrap();
            let system = ProtectionSystem::from_system_id(id).unwrap();
            assert_eq!((system.system_id(), system.name()), (id, name));
            let allowed = Scheme::ALL.into_iter().filter(|s| system.allows(*s));
            let allowed: Vec<_> = allowed.map(Scheme::name).collect();
            assert_eq!(allowed.join(" "), schemes, "{name}");
        }
        assert_eq!(ProtectionSystem::from_system_id(Kid::from_u128(1)), None);
    }

    #[test]
    fn a_name_finds_its_system_and_that_its_drm_system() {
        for (name, system, drm_system) in [
            ("widevine", ProtectionSystem::Widevine, "widevine"),
            ("playready", ProtectionSystem::PlayReady, "playready"),
            ("fairplay", ProtectionSystem::FairPlay, "fairplay"),
            ("common", ProtectionSystem::Common, "none"),
            ("clearkey", ProtectionSystem::ClearKey, "clearkey"),
            ("aes128", ProtectionSystem::Aes128, "aes128"),
        ] {
            assert_eq!(ProtectionSystem::from_name(name), Some(system));
            let found = system.drm_system().map_or("none", DrmSystem::name);
            assert_eq!(found, drm_system);
        }
        assert_eq!(ProtectionSystem::from_name("Widevine"), None);
    }
}
