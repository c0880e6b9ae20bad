//! Keylet's native companion: the embedded host, the device emulator, the fixtures.
//!
//! The command line is a thin layer over this library, which the end-to-end tests use too.

pub mod commands;
pub mod device;
pub mod fixtures;
pub mod host;
pub mod jwt;
pub mod random;

/// The component that was built with this program.
pub const COMPONENT: &[u8] = include_bytes!(env!("KEYLET_COMPONENT"));

/// The Spin manifest that goes with it.
pub const MANIFEST: &str = include_str!("../../spin.toml");
