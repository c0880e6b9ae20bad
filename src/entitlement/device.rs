//! What terms require of devices, independent of the DRM system.

use serde_json::Value;

use super::Error;

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

impl Hdcp {
    /// Its name in terms.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Type0 => "type0",
            Self::Type1 => "type1",
        }
    }

    pub(super) fn from_json(value: &Value) -> Result<Self, Error> {
        [Self::None, Self::Type0, Self::Type1]
            .into_iter()
            .find(|hdcp| value == hdcp.name())
            .ok_or(Error::Terms {
                term: "hdcp",
                reason: "it is none of \"none\", \"type0\" and \"type1\"",
            })
    }
}

/// How well a device protects what it decrypts, from weak to strong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecurityLevel {
    /// Enough for sound.
    Audio,
    /// Enough for high definition.
    Baseline,
    /// Enough for ultra high definition.
    Main,
}

impl SecurityLevel {
    /// Its name in terms.
    pub fn name(self) -> &'static str {
        match self {
            Self::Audio => "audio",
            Self::Baseline => "baseline",
            Self::Main => "main",
        }
    }

    pub(super) fn from_json(value: &Value) -> Result<Self, Error> {
        [Self::Audio, Self::Baseline, Self::Main]
            .into_iter()
            .find(|level| value == level.name())
            .ok_or(Error::Terms {
                term: "min_security_level",
                reason: "it is none of \"audio\", \"baseline\" and \"main\"",
            })
    }
}

/// The kinds of device that FairPlay distinguishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceClass {
    /// Not reported.
    Unknown,
    /// Apple TV.
    LivingRoom,
    /// iPhone and iPad.
    Mobile,
    /// Mac.
    Desktop,
    /// Apple Vision.
    Spatial,
    /// Apple Watch.
    Wearable,
    /// Another Apple device.
    AppleUnknown,
    /// A television or box of a partner.
    PartnerLivingRoom,
    /// Another device of a partner.
    PartnerUnknown,
}

impl DeviceClass {
    const ALL: [Self; 9] = [
        Self::Unknown,
        Self::LivingRoom,
        Self::Mobile,
        Self::Desktop,
        Self::Spatial,
        Self::Wearable,
        Self::AppleUnknown,
        Self::PartnerLivingRoom,
        Self::PartnerUnknown,
    ];

    /// Its name in terms and in the audit record.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::LivingRoom => "living_room",
            Self::Mobile => "mobile",
            Self::Desktop => "desktop",
            Self::Spatial => "spatial",
            Self::Wearable => "wearable",
            Self::AppleUnknown => "apple_unknown",
            Self::PartnerLivingRoom => "partner_living_room",
            Self::PartnerUnknown => "partner_unknown",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == name)
    }

    pub(super) fn from_json(value: &Value) -> Result<Self, Error> {
        value.as_str().and_then(Self::named).ok_or(Error::Terms {
            term: "device_classes",
            reason: "it is not a list of the classes that there are",
        })
    }
}

/// Version of an operating system: major, minor, patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct OsVersion(pub [u8; 3]);

impl OsVersion {
    /// Reads `17`, `17.2` or `17.2.1`.
    fn parse(text: &str) -> Option<Self> {
        let mut version = [0; 3];
        let mut parts = text.split('.');
        for number in &mut version {
            let Some(part) = parts.next() else {
                break;
            };
            let is_number = part.bytes().all(|b| b.is_ascii_digit());
            *number = part.parse().ok().filter(|_| is_number)?;
        }
        (!text.is_empty() && parts.next().is_none()).then_some(Self(version))
    }
}

impl std::fmt::Display for OsVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [major, minor, patch] = self.0;
        write!(f, "{major}.{minor}.{patch}")
    }
}

/// The minimum versions of operating systems, of every device or of a class. Each must be met.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MinOs(Vec<(Option<DeviceClass>, OsVersion)>);

impl MinOs {
    /// Reads a version, or an object with a version for each class.
    pub(super) fn from_json(value: &Value) -> Result<Self, Error> {
        const INVALID: Error = Error::Terms {
            term: "min_os",
            reason: "it is neither a version such as \"17.2\" nor an object of them by device class",
        };
        let version = |value: &Value| value.as_str().and_then(OsVersion::parse).ok_or(INVALID);
        match value {
            Value::Object(classes) if !classes.is_empty() => classes
                .iter()
                .map(|(name, value)| {
                    let class = DeviceClass::named(name).ok_or(INVALID)?;
                    Ok((Some(class), version(value)?))
                })
                .collect::<Result<_, _>>()
                .map(Self),
            value => Ok(Self(vec![(None, version(value)?)])),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn and(mut self, other: &Self) -> Self {
        self.0.extend_from_slice(&other.0);
        self
    }

    /// Whether a device is new enough. One of unknown class must meet the minimum of every class, and one
    /// of unknown version meets none.
    pub fn met_by(&self, class: DeviceClass, version: Option<OsVersion>) -> bool {
        self.0.iter().all(|(of, least)| {
            let concerns = of.is_none_or(|of| of == class || class == DeviceClass::Unknown);
            !concerns || version.is_some_and(|version| version >= *least)
        })
    }
}
