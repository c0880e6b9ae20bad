//! Keylet is a DRM licence server that is one WebAssembly component.
//!
//! The rooms, from the ground up; a room uses what stands below it and nothing above or beside it:
//!
//! | floor | modules |
//! |---|---|
//! | 5 | `component` (wasm only): the Spin SDK meets [`platform::Platform`] |
//! | 4 | [`service`]: HTTP |
//! | 3 | [`licence`]: token → entitlement → key → DRM |
//! | 2 | [`fairplay`], [`token`] |
//! | 1 | [`entitlement`], [`content_key`] |
//! | 0 | [`platform`], [`id`], [`secret`], [`encoding`], [`rsa_key`], [`error`] |

pub mod content_key;
pub mod encoding;
pub mod entitlement;
pub mod error;
pub mod fairplay;
pub mod id;
pub mod licence;
pub mod platform;
pub mod rsa_key;
pub mod secret;
pub mod service;
pub mod token;

#[cfg(all(target_family = "wasm", feature = "component"))]
mod component;
