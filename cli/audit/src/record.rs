//! An audit record as far as readers need it. What its members hold is told in `docs/audit.md`.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

/// The version of the record that is read.
pub const VERSION: u32 = 1;

/// A record. Its texts are those of the line; members that it does not have are passed over unread.
#[derive(Deserialize)]
pub struct Record<'a> {
    /// The version.
    pub audit: u32,
    /// When it was decided, in seconds since 1970.
    pub time: u64,
    /// The DRM system, or another part of the server.
    #[serde(borrow)]
    pub drm: Text<'a>,
    /// `ok`, or the code of the refusal.
    #[serde(borrow)]
    pub code: Text<'a>,
    /// Pseudonym of the viewer.
    #[serde(borrow, default)]
    pub subject: Option<Text<'a>>,
    /// The device.
    #[serde(borrow, default)]
    pub device: Option<Device<'a>>,
    /// The terms of the licence, when there is one.
    #[serde(default)]
    pub granted: Option<IgnoredAny>,
    /// Pseudonym of the token.
    #[serde(borrow, default)]
    pub token: Option<Text<'a>>,
    /// How long the decision took and waited.
    #[serde(borrow, default)]
    pub stages: Option<Stages<'a>>,
}

/// What a record says of the device.
#[derive(Deserialize)]
pub struct Device<'a> {
    /// Its pseudonym.
    #[serde(borrow, default)]
    pub id: Option<Text<'a>>,
}

/// Text that is borrowed where it has no escapes.
// An `Option<Cow>` would always own its text.
#[derive(Deserialize)]
pub struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

/// The stages of one decision with their microseconds, in the order of the line.
pub struct Stages<'a>(pub Vec<(Cow<'a, str>, u64)>);

impl<'de: 'a, 'a> Deserialize<'de> for Stages<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Vec<(Cow<'de, str>, u64)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of stages and their microseconds")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut stages = Vec::new();
                while let Some((Text(name), microseconds)) = map.next_entry()? {
                    stages.push((name, microseconds));
                }
                Ok(stages)
            }
        }

        deserializer.deserialize_map(Members).map(Self)
    }
}
