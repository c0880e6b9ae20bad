//! An audit record as far as a report needs it. What its members hold is told in `docs/audit.md`.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::stage::Stages;

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
