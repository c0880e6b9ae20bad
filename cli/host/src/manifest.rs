//! The part of a Spin manifest (version 2) that this host serves: one HTTP component on `/...`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

/// A Spin application.
#[derive(Debug)]
pub struct Manifest {
    /// Application variables by name.
    pub variables: BTreeMap<String, Variable>,
    /// The component.
    pub component: Component,
}

/// An application variable: a default, or required.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    /// The value when none is provided.
    pub default: Option<String>,
    /// Whether one must be provided.
    #[serde(default)]
    pub required: bool,
    /// Whether it is kept out of displays.
    #[serde(default)]
    pub secret: bool,
}

/// A component of the application.
#[derive(Debug, Deserialize)]
pub struct Component {
    /// Path of the WebAssembly binary, relative to the manifest.
    pub source: PathBuf,
    /// Component variables: templates over application variables.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    /// Where it may send requests to: templates over application variables.
    #[serde(default)]
    pub allowed_outbound_hosts: Vec<String>,
    /// The key-value stores that it may open.
    #[serde(default)]
    pub key_value_stores: Vec<String>,
}

#[derive(Deserialize)]
struct ManifestFile {
    spin_manifest_version: u32,
    #[serde(default)]
    variables: BTreeMap<String, Variable>,
    trigger: Triggers,
    component: BTreeMap<String, Component>,
}

#[derive(Deserialize)]
struct Triggers {
    #[serde(default)]
    http: Vec<HttpTrigger>,
}

#[derive(Deserialize)]
struct HttpTrigger {
    route: String,
    component: String,
}

/// The one key-value store of this host, which every Spin has too.
pub const DEFAULT_STORE: &str = "default";

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// What is not TOML, not version 2, or more than one component on the route `/...`; a store
    /// that this host has not.
    pub fn parse(text: &str) -> Result<Self> {
        let mut manifest: ManifestFile = toml::from_str(text)?;
        ensure!(
            manifest.spin_manifest_version == 2,
            "the manifest version is not 2"
        );
        let [trigger] = manifest.trigger.http.as_slice() else {
            bail!("this host serves an application with one HTTP trigger");
        };
        ensure!(trigger.route == "/...", "this host serves the route `/...`");
        let component = manifest
            .component
            .remove(&trigger.component)
            .with_context(|| {
                format!(
                    "the trigger names the component `{}`, and there is none",
                    trigger.component
                )
            })?;
        if let Some(other) = component
            .key_value_stores
            .iter()
            .find(|store| *store != DEFAULT_STORE)
        {
            bail!("this host has the key-value store `{DEFAULT_STORE}` and no `{other}`");
        }
        Ok(Self {
            variables: manifest.variables,
            component,
        })
    }

    /// Whether the component may open the store [`DEFAULT_STORE`].
    pub fn opens_store(&self) -> bool {
        !self.component.key_value_stores.is_empty()
    }
}
