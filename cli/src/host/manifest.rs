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
}

#[derive(Deserialize)]
struct Written {
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

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// What is not TOML, not version 2, or more than one component on the route `/...`.
    pub fn parse(text: &str) -> Result<Self> {
        let mut written: Written = toml::from_str(text)?;
        ensure!(
            written.spin_manifest_version == 2,
            "the manifest version is not 2"
        );
        let [trigger] = written.trigger.http.as_slice() else {
            bail!("this host serves an application with one HTTP trigger");
        };
        ensure!(trigger.route == "/...", "this host serves the route `/...`");
        let component = written
            .component
            .remove(&trigger.component)
            .with_context(|| {
                format!(
                    "the trigger names the component `{}`, and there is none",
                    trigger.component
                )
            })?;
        Ok(Self {
            variables: written.variables,
            component,
        })
    }
}
