//! Keylet is a DRM licence server that is one WebAssembly component.
//!
//! The rooms, from the ground up; a room uses what stands below it and nothing above or beside it:
//!
//! | floor | modules |
//! |---|---|
//! | 6 | `hosts/`, one crate a world: a host meets [`platform::Platform`] |
//! | 5 | [`service`]: HTTP |
//! | 4 | [`licence`]: token → entitlement → key → DRM; [`packaging`]: keys for packagers; [`sweep`], which `licence` uses |
//! | 3 | [`fairplay`], [`clearkey`], [`widevine`], [`playready`]; [`policy`] |
//! | 2 | [`token`], [`session`] |
//! | 1 | [`upstream`]; [`entitlement`]; [`content_key`], which uses both; [`server_secret`], [`operator`], [`public_url`] |
//! | 0 | [`configuration`], [`platform`], [`store_key`], [`id`], [`secret`], [`encoding`], [`rsa_key`], [`ecdsa_key`], `x509`, `reader`, `protobuf`, [`private_key`], [`cpix`], [`template`], [`track`], [`error`] |

#![forbid(unsafe_code)]
// Attackers supply the input of all of this: nothing may panic, and nothing may be cut short.
#![cfg_attr(
    not(test),
    warn(
        clippy::as_conversions,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice
    )
)]

pub mod clearkey;
pub mod configuration;
pub mod content_key;
pub mod cpix;
pub mod drm;
pub mod drm_system;
pub mod ecdsa_key;
pub mod encoding;
pub mod entitlement;
pub mod error;
pub mod fairplay;
pub mod id;
pub mod licence;
pub mod operator;
pub mod packaging;
pub mod platform;
pub mod playready;
pub mod policy;
pub mod private_key;
mod protobuf;
pub mod public_url;
mod reader;
pub mod rsa_key;
pub mod secret;
pub mod server_secret;
pub mod service;
pub mod session;
pub mod store_key;
pub mod sweep;
pub mod template;
pub mod token;
pub mod track;
pub mod upstream;
pub mod widevine;
#[cfg(test)]
mod wycheproof;
mod x509;

#[cfg(target_family = "wasm")]
pub mod wasi;
