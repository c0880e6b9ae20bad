//! Keylet's native companion: the embedded host, the device emulator, the fixtures.
//!
//! The command line is a thin layer over this library, which the end-to-end tests use too.

pub mod bench;
pub mod client;
pub mod commands;
pub mod configured;
pub mod credentials;
pub mod device;
pub mod doctor;
pub mod fixtures;
pub mod host;
pub mod jwt;
pub mod progress;
pub mod random;
mod settings;
pub mod signing_key;
pub mod wire;

/// The Spin manifest that goes with the component of WASI 0.2.
pub const MANIFEST: &str = include_str!("../../spin.toml");

/// The component for a world, as it was built with this program.
///
/// # Errors
/// A world whose component this program does not carry: it was built without `all-worlds`.
pub fn component(world: host::World) -> anyhow::Result<&'static [u8]> {
    match world {
        host::World::Wasip2 => Ok(include_bytes!(env!("KEYLET_COMPONENT_WASIP2"))),
        #[cfg(feature = "all-worlds")]
        host::World::Wasip3 => Ok(include_bytes!(env!("KEYLET_COMPONENT_WASIP3"))),
        #[cfg(feature = "all-worlds")]
        host::World::Wasi => Ok(include_bytes!(env!("KEYLET_COMPONENT_WASI"))),
        #[cfg(not(feature = "all-worlds"))]
        host::World::Wasip3 | host::World::Wasi => anyhow::bail!(
            "this program carries the component of WASI 0.2 only: build it with `--features all-worlds`, \
             or give the manifest of a component with --from"
        ),
    }
}
