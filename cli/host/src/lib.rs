//! The embedded host: a Spin application on wasmtime, for a machine that has no Spin.
//!
//! It reads the application from `spin.toml` and serves what Spin serves: instances of a component
//! with Spin's variables, Spin's key-value store and the outbound requests that the manifest
//! allows. Beside Spin's two worlds it has that of plain hosts.

#![forbid(unsafe_code)]

mod connections;
pub mod env_file;
pub mod escaped;
mod front;
mod imports;
mod manifest;
mod metrics;
mod outbound;
mod output;
mod server;
mod state;
mod store;
mod telemetry;
mod tls;
mod turns;
mod variables;
mod world;

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};

pub use connections::most_of_a_network;
pub use manifest::Manifest;
pub use metrics::Metrics;
pub use outbound::{AllowedHosts, TooLarge, fetch};
pub use output::{AuditTo, Kept};
pub use server::{AsSpin, Options, Server};
pub use store::{Keys, NotACounter, Place, Store, StoreChoice};
pub use telemetry::Settings as TelemetrySettings;
pub use tls::TlsFiles;
pub use variables::{
    Assignment, ENVIRONMENT_PREFIX, Provided, Resolved, fetches_variables, provided,
    static_variables,
};
pub use world::{Reuse, World};

/// An application ready to be served: a component, and what it is given.
pub struct Application {
    /// The world that the component is for.
    pub world: World,
    /// The component, as a WebAssembly binary.
    pub component: Vec<u8>,
    /// What it may have.
    pub manifest: Manifest,
    /// Values of the application's variables.
    pub provided: Provided,
    /// Its environment. Spin gives a component none.
    pub environment: Vec<(String, String)>,
}

impl Application {
    /// The application of a `spin.toml`, whose component was built before for a world.
    ///
    /// # Errors
    /// A file that cannot be read, a manifest that this host does not serve.
    pub fn from_manifest(path: &Path, world: World, provided: Provided) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let manifest = Manifest::parse(&text).with_context(|| path.display().to_string())?;
        let source = path
            .parent()
            .unwrap_or(Path::new("."))
            .join(&manifest.component.source);
        let component = std::fs::read(&source).with_context(|| {
            format!(
                "reading {}; has the component been built?",
                source.display()
            )
        })?;
        Ok(Self {
            world,
            component,
            manifest,
            provided,
            environment: Vec::new(),
        })
    }
}

impl Application {
    /// The variables that its component sees.
    ///
    /// # Errors
    /// A required variable without a value, a template that names no variable.
    pub fn resolved(&self) -> Result<Resolved> {
        variables::resolve(&self.manifest, &self.provided)
    }

    /// Where its component may send requests to: where the manifest says so, and anywhere on a plain host.
    ///
    /// # Errors
    /// A template that names no variable, an entry that is not of the grammar.
    pub fn allowed_hosts(&self) -> Result<AllowedHosts> {
        if !self.world.is_spin() {
            return Ok(AllowedHosts::any());
        }
        let hosts = variables::outbound_hosts(&self.manifest, &self.provided)?;
        AllowedHosts::parse(hosts.iter().map(String::as_str))
    }
}

/// The time since then in milliseconds, for a log.
fn millis(started: Instant) -> f64 {
    (started.elapsed().as_secs_f64() * 1e5).round() / 1e2
}
