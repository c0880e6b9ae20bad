//! An emulated FairPlay client: it builds SPCs of every version and opens CKCs.
//!
//! What a real device computes from hardware keys, the session key and the device identifier,
//! is random here; everything on the wire is as a device makes it.

#![forbid(unsafe_code)]

mod certificate;
mod ckc;
mod crypto;
mod duration;
mod spc;
mod tllv;

pub use certificate::{oldest_version, read_certificate};
pub use ckc::Licence;
pub use duration::Duration;
pub use spc::{
    Announced, ApplicationKey, Draft, Playback, Returned, Secrets, SpcOptions, Wrapping,
};
