//! The embedded host: a Spin application on wasmtime, for a machine that has no Spin.
//!
//! It reads the application from `spin.toml` and serves what Spin serves: a fresh instance of a
//! WASI 0.2 component for each request, with Spin's variables.

mod manifest;
mod server;
mod variables;
mod wasip2;

use std::path::Path;

use anyhow::{Context, Result};

pub use manifest::Manifest;
pub use server::{Options, Server};
pub use variables::{Provided, from_environment, parse_assignment};

/// An application ready to be served: a component and the variables that it sees.
pub struct Application {
    /// The component, as a WebAssembly binary.
    pub component: Vec<u8>,
    /// Its variables, resolved.
    pub variables: variables::Resolved,
}

impl Application {
    /// The application that was built with this program.
    ///
    /// # Errors
    /// A variable that is required and not provided.
    pub fn built_in(provided: &Provided) -> Result<Self> {
        let manifest = Manifest::parse(crate::MANIFEST).context("the built-in spin.toml")?;
        Ok(Self {
            component: crate::COMPONENT.to_vec(),
            variables: variables::resolve(&manifest, provided)?,
        })
    }

    /// The application of a `spin.toml`, whose component was built before.
    ///
    /// # Errors
    /// A file that cannot be read, a manifest that this host does not serve, a variable that is
    /// required and not provided.
    pub fn from_manifest(path: &Path, provided: &Provided) -> Result<Self> {
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
            component,
            variables: variables::resolve(&manifest, provided)?,
        })
    }
}
