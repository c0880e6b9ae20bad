//! Variables as Spin resolves them: providers first, then defaults, then templates.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, anyhow, bail};
use keylet::encoding;
use serde::Deserialize;

use super::{Manifest, env_file};

/// Values of application variables from `--variable` and the environment.
pub type Provided = HashMap<String, String>;

/// Values of component variables.
pub type Resolved = HashMap<String, String>;

/// What stands before the name of an application variable in the environment.
pub const ENVIRONMENT_PREFIX: &str = "SPIN_VARIABLE_";

/// The file whose lines stand in for the environment, in the directory where this program starts.
const DOTENV: &str = ".env";

/// Application variables from the environment, and from `.env` what is not there:
/// `SPIN_VARIABLE_TOKEN_KEYS` is `token_keys`.
fn from_environment() -> Result<Provided> {
    environment(ENVIRONMENT_PREFIX, Some(Path::new(DOTENV)))
}

fn environment(prefix: &str, dotenv: Option<&Path>) -> Result<Provided> {
    let mut found = Vec::new();
    if let Some(path) = dotenv.filter(|path| path.exists()) {
        let name = || path.display().to_string();
        let content = std::fs::read(path).with_context(name)?;
        let text = std::str::from_utf8(&content).map_err(|_| match encoding::text(&content) {
            Some(_) => anyhow!("it is UTF-16, which Spin does not read: save it as UTF-8"),
            None => anyhow!("it is not text"),
        });
        let assignments = text.and_then(env_file::assignments).with_context(name)?;
        let assignments = assignments.into_iter();
        found.extend(assignments.map(|(name, value)| (name, value.to_string())));
    }
    found.extend(std::env::vars());
    let own = found
        .into_iter()
        .filter_map(|(name, value)| Some((name.strip_prefix(prefix)?.to_ascii_lowercase(), value)));
    Ok(own.collect())
}

/// A runtime configuration file, the part of it that provides variables.
#[derive(Deserialize)]
struct RuntimeConfig {
    #[serde(default, alias = "config_provider")]
    variables_provider: Vec<Provider>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Provider {
    Static {
        values: Provided,
    },
    Env {
        prefix: Option<String>,
        dotenv_path: Option<PathBuf>,
    },
    #[serde(other)]
    Elsewhere,
}

impl RuntimeConfig {
    fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        Self::parse(&text).map_err(|_| anyhow!("{} is not a runtime configuration", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        // The parser's message quotes the line, which may be a secret.
        toml::from_str(text).map_err(|_| anyhow!("it is not a runtime configuration in TOML"))
    }
}

/// The variables that stand in the text of a runtime configuration itself, in its providers of type `static`.
///
/// # Errors
/// A text that is not a runtime configuration.
pub fn static_variables(text: &str) -> Result<Provided> {
    let mut variables = Provided::new();
    // Of two providers the first one holds.
    for provider in RuntimeConfig::parse(text)?
        .variables_provider
        .into_iter()
        .rev()
    {
        if let Provider::Static { values } = provider {
            variables.extend(values);
        }
    }
    Ok(variables)
}

/// Whether a runtime configuration file has Spin fetch each variable from another server, such as a Vault.
///
/// # Errors
/// A file that cannot be read.
pub fn fetches_variables(path: &Path) -> Result<bool> {
    let providers = RuntimeConfig::read(path)?.variables_provider;
    let is_elsewhere = |provider: &Provider| matches!(provider, Provider::Elsewhere);
    Ok(providers.iter().any(is_elsewhere))
}

/// The variables of a runtime configuration file: of two providers the first one holds.
fn from_runtime_config(path: &Path) -> Result<Provided> {
    let config = RuntimeConfig::read(path)?;
    let mut provided = Provided::new();
    for provider in config.variables_provider.into_iter().rev() {
        provided.extend(match provider {
            Provider::Static { values } => values,
            Provider::Env {
                prefix,
                dotenv_path,
            } => {
                let prefix =
                    prefix.map_or_else(|| ENVIRONMENT_PREFIX.to_owned(), |prefix| prefix + "_");
                environment(&prefix, dotenv_path.as_deref())?
            }
            Provider::Elsewhere => bail!(
                "{}: this host has the variable providers `static` and `env`",
                path.display()
            ),
        });
    }
    Ok(provided)
}

/// A variable of the command line: `name=value`, or `name=@file` for the content of a file.
#[derive(Clone)]
pub struct Assignment {
    name: String,
    source: Source,
}

#[derive(Clone)]
enum Source {
    Value(String),
    File(PathBuf),
}

impl Assignment {
    /// The name, and the value as it is now.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read(&self) -> Result<(String, String)> {
        let value = match &self.source {
            Source::Value(value) => value.clone(),
            Source::File(path) => {
                let reading = || format!("variable {}: reading {}", self.name, path.display());
                let content = std::fs::read(path).with_context(reading)?;
                let text = encoding::text(&content).context("it is not text");
                text.with_context(reading)?.to_string()
            }
        };
        Ok((self.name.clone(), value))
    }
}

impl FromStr for Assignment {
    type Err = anyhow::Error;

    /// Reads an argument. The value is not part of any message.
    fn from_str(argument: &str) -> Result<Self> {
        let (name, value) = argument
            .split_once('=')
            .context("a variable is given as name=value or name=@file")?;
        Ok(Self {
            name: name.to_owned(),
            source: match value.strip_prefix('@') {
                Some(path) => Source::File(path.into()),
                None => Source::Value(value.to_owned()),
            },
        })
    }
}

/// The application's variables: those of the command line before those of a runtime configuration file,
/// and these before the environment's.
///
/// # Errors
/// A file that cannot be read.
pub fn provided(assignments: &[Assignment], runtime_config: Option<&Path>) -> Result<Provided> {
    let mut provided = from_environment()?;
    if let Some(path) = runtime_config {
        provided.extend(from_runtime_config(path)?);
    }
    for assignment in assignments {
        provided.extend([assignment.read()?]);
    }
    Ok(provided)
}

/// The variables that the component sees.
///
/// # Errors
/// A required variable without a value, a template that names no variable.
pub fn resolve(manifest: &Manifest, provided: &Provided) -> Result<Resolved> {
    let values = values(manifest, provided)?;
    manifest
        .component
        .variables
        .iter()
        .map(|(name, template)| {
            let value = expand(template, &values)
                .with_context(|| format!("component variable `{name}`"))?;
            Ok((name.clone(), value))
        })
        .collect()
}

/// The entries of `allowed_outbound_hosts`, with their templates expanded.
///
/// # Errors
/// As [`resolve`].
pub fn outbound_hosts(manifest: &Manifest, provided: &Provided) -> Result<Vec<String>> {
    let values = values(manifest, provided)?;
    let templates = manifest.component.allowed_outbound_hosts.iter();
    templates
        .map(|template| expand(template, &values).context("`allowed_outbound_hosts`"))
        .collect()
}

/// The application's variables: what is provided, else the default.
fn values<'a>(
    manifest: &'a Manifest,
    provided: &'a Provided,
) -> Result<BTreeMap<&'a str, &'a str>> {
    let mut values = BTreeMap::new();
    for (name, variable) in &manifest.variables {
        match (
            provided.get(name).or(variable.default.as_ref()),
            variable.required,
        ) {
            (Some(value), _) => {
                values.insert(name.as_str(), value.as_str());
            }
            (None, true) => bail!("the variable `{name}` is required and not set"),
            (None, false) => {}
        }
    }
    Ok(values)
}

/// Replaces each `{{ name }}` by the variable's value.
fn expand(template: &str, values: &BTreeMap<&str, &str>) -> Result<String> {
    let mut expanded = String::new();
    let mut rest = template;
    while let Some((literal, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").context("a `{{` is not closed")?;
        let name = name.trim();
        let value = values
            .get(name)
            .with_context(|| format!("there is no variable `{name}`, or it has no value"))?;
        expanded.push_str(literal);
        expanded.push_str(value);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = r#"
        spin_manifest_version = 2
        [application]
        name = "a"
        [variables]
        with_default = { default = "d" }
        needed = { required = true, secret = true }
        [[trigger.http]]
        route = "/..."
        component = "c"
        [component.c]
        source = "c.wasm"
        allowed_outbound_hosts = ["https://{{ with_default }}.example"]
        [component.c.variables]
        one = "{{ with_default }}"
        two = "<{{needed}}-{{ with_default }}>"
        three = "plain"
    "#;

    fn resolved(provided: &[(&str, &str)]) -> Result<Resolved> {
        let provided = provided
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        resolve(&Manifest::parse(MANIFEST).unwrap(), &provided)
    }

    #[test]
    fn templates_take_provided_values_before_defaults() {
        let values = resolved(&[("needed", "n")]).unwrap();
        assert_eq!(
            (values["one"].as_str(), values["two"].as_str()),
            ("d", "<n-d>")
        );
        assert_eq!(values["three"], "plain");
        let provided = Provided::from([("needed".to_owned(), String::new())]);
        assert_eq!(
            outbound_hosts(&Manifest::parse(MANIFEST).unwrap(), &provided).unwrap(),
            ["https://d.example"]
        );
        assert_eq!(
            resolved(&[("needed", "n"), ("with_default", "p")]).unwrap()["two"],
            "<n-p>"
        );
    }

    #[test]
    fn a_required_variable_without_value_stops_the_start() {
        assert!(resolved(&[]).unwrap_err().to_string().contains("`needed`"));
    }
}
