//! Keylet's native companion: the commands, the device emulator, the fixtures.
//!
//! The command line is a thin layer over this library, which the end-to-end tests use too.

#![forbid(unsafe_code)]
// A request is one future, of the futures of every room below it.
#![recursion_limit = "256"]

/// `println!` of this crate: what is printed goes through [`terminal::stdout`].
macro_rules! println {
    ($($argument:tt)*) => {{
        use std::io::Write as _;
        // Whoever reads may stop reading.
        let _ = writeln!($crate::terminal::stdout(), $($argument)*);
    }};
}

/// `eprintln!` of this crate: what is printed goes through [`terminal::stderr`].
macro_rules! eprintln {
    ($($argument:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!($crate::terminal::stderr(), $($argument)*);
    }};
}

pub mod bench;
pub mod cat;
pub mod client;
pub mod cms;
pub mod commands;
pub mod configured;
pub mod credentials;
pub mod doctor;
pub mod file;
pub mod fixtures;
pub mod jwt;
mod log;
pub mod progress;
pub mod public_key;
pub mod random;
pub mod report;
pub mod settings;
pub mod signing_key;
pub mod stored_at;
pub mod sweep;
pub mod terminal;
pub mod wire;

pub use keylet_device as device;

use anyhow::Context;
use keylet_host::{Application, Manifest, Provided, World};

/// The Spin manifest that goes with the component of WASI 0.2.
pub const MANIFEST: &str = include_str!("../../spin.toml");

/// The component for a world, as it was built with this program.
///
/// # Errors
/// A world whose component this program does not carry: it was built without `all-worlds`.
pub fn component(world: World) -> anyhow::Result<&'static [u8]> {
    match world {
        World::Wasip2 => Ok(include_bytes!(env!("KEYLET_COMPONENT_WASIP2"))),
        #[cfg(feature = "all-worlds")]
        World::Wasip3 => Ok(include_bytes!(env!("KEYLET_COMPONENT_WASIP3"))),
        #[cfg(feature = "all-worlds")]
        World::Wasi => Ok(include_bytes!(env!("KEYLET_COMPONENT_WASI"))),
        #[cfg(not(feature = "all-worlds"))]
        World::Wasip3 | World::Wasi => anyhow::bail!(
            "this program carries the component of WASI 0.2 only: build it with `--features all-worlds`, \
             or give the manifest of a component with --from"
        ),
    }
}

/// The application that was built with this program, for a world.
///
/// # Errors
/// A world whose component this program does not carry.
pub fn built_in(world: World, provided: Provided) -> anyhow::Result<Application> {
    Ok(Application {
        world,
        component: component(world)?.to_vec(),
        manifest: Manifest::parse(MANIFEST).context("the built-in spin.toml")?,
        provided,
        environment: Vec::new(),
    })
}
