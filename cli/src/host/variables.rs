//! Variables as Spin resolves them: providers first, then defaults, then templates.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result, bail};

use super::Manifest;

/// Values of application variables from `--variable` and the environment.
pub type Provided = HashMap<String, String>;

/// Values of component variables.
pub type Resolved = HashMap<String, String>;

const ENVIRONMENT_PREFIX: &str = "SPIN_VARIABLE_";

/// Application variables from the environment: `SPIN_VARIABLE_TOKEN_KEYS` is `token_keys`.
pub fn from_environment() -> Provided {
    std::env::vars()
        .filter_map(|(name, value)| {
            Some((
                name.strip_prefix(ENVIRONMENT_PREFIX)?.to_ascii_lowercase(),
                value,
            ))
        })
        .collect()
}

/// Reads the argument of `--variable`: `name=value`, or `name=@file` for the content of a file.
///
/// # Errors
/// What has no `=`, or a file that cannot be read. The value is not part of the message.
pub fn parse_assignment(argument: &str) -> Result<(String, String)> {
    let (name, value) = argument
        .split_once('=')
        .context("a variable is given as name=value or name=@file")?;
    let value = match value.strip_prefix('@') {
        Some(path) => std::fs::read_to_string(path)
            .with_context(|| format!("variable {name}: reading {path}"))?,
        None => value.to_owned(),
    };
    Ok((name.to_owned(), value))
}

/// The variables that the component sees.
///
/// # Errors
/// A provided name that the manifest does not declare, a required variable without a value, a
/// template that names no variable.
pub fn resolve(manifest: &Manifest, provided: &Provided) -> Result<Resolved> {
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
