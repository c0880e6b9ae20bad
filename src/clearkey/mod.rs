//! Keys in the clear: W3C Clear Key (Encrypted Media Extensions section 9.1) and HLS with whole segments under AES-128
//! (RFC 8216 section 4.3.2.4).
//!
//! Whoever gets such a licence has the key itself. No device keeps a term afterwards, so every term that needs one
//! refuses; dates, places and uses are checked when the key is asked for.

mod aes128;
mod clear_key;
mod enforce;

pub use aes128::Aes128;
pub use clear_key::{ClearKey, LicenseDocument, RequestDocument};

use crate::drm::{Device, Repeats};
use crate::entitlement::DeviceClass;

/// What a player says of its device: nothing.
const NO_DEVICE: Device<'static> = Device {
    identifier: &[],
    class: DeviceClass::Unknown,
    os: None,
    playback: None,
    is_remote_output: false,
};

/// A player asks for the same key with each segment, and after each jump: within six hours this is one use.
const REPEATS: Repeats = Repeats {
    seconds: 6 * 60 * 60,
    most: None,
};
