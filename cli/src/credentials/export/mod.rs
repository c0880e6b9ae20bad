//! Variables as the places want them that Spin reads them from.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Result, ensure};
use clap::ValueEnum;
use keylet::fairplay::credentials::{
    ASK, CERTIFICATE, CREDENTIALS, PRIVATE_KEY, PRIVATE_KEY_PASSWORD,
};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use keylet_host::Provided;

use super::env_file::{self, EnvFile};

/// Where variables go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// Lines of a `.env` file, which `spin up` and `keylet serve` read in the directory where they start,
    /// and which a shell can source. Other variables of such a file are kept
    #[default]
    Env,
    /// A runtime configuration, for `--runtime-config-file`
    Spin,
    /// A shell script that puts one secret a variable into Vault
    Vault,
    /// A Kubernetes Secret
    Kubernetes,
    /// The value of the variable `settings`, which holds all others: one JSON object. Other members of such a file
    /// are kept
    Settings,
}

impl Format {
    /// Whether it is for a store that encrypts what it keeps.
    pub fn is_secret_store(self) -> bool {
        matches!(self, Self::Vault | Self::Kubernetes | Self::Settings)
    }

    /// Whether a file that is there is kept but for the variables that are written.
    pub fn keeps_others(self) -> bool {
        matches!(self, Self::Env | Self::Settings)
    }
}

/// The variables in a format. `existing` is the present content of the output file.
///
/// # Errors
/// A file that its reader does not read, a value that it would not read back.
pub fn write(
    variables: &Provided,
    format: Format,
    existing: Option<&str>,
) -> Result<Zeroizing<String>> {
    let variables: BTreeMap<&str, &str> = variables
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    Ok(Zeroizing::new(match format {
        Format::Env => return env(&variables, existing.unwrap_or_default()),
        Format::Spin => spin(&variables),
        Format::Vault => vault(&complete(variables)),
        Format::Kubernetes => kubernetes(&complete(variables)),
        Format::Settings => settings(&variables, existing.unwrap_or_default()),
    }))
}

/// The names of the variables that a file of a format has.
pub fn names(format: Format, existing: &str) -> Vec<String> {
    match format {
        Format::Settings => {
            let members: Map<String, Value> = serde_json::from_str(existing).unwrap_or_default();
            members.into_iter().map(|(name, _)| name).collect()
        }
        Format::Env => {
            let file = EnvFile::parse(existing);
            let file = file.iter().flat_map(EnvFile::variables);
            let set = file.filter(|(_, value)| !value.is_empty());
            set.map(|(name, _)| name).collect()
        }
        // Their files are written anew.
        Format::Spin | Format::Vault | Format::Kubernetes => Vec::new(),
    }
}

/// What is JSON stands there as JSON.
fn settings(variables: &BTreeMap<&str, &str>, existing: &str) -> String {
    let mut members: Map<String, Value> = serde_json::from_str(existing).unwrap_or_default();
    members.retain(|name, _| !OF_CREDENTIALS.contains(&name.as_str()));
    for (name, value) in variables {
        let json = serde_json::from_str(value);
        let json = json
            .ok()
            .filter(|json: &Value| json.is_array() || json.is_object());
        members.insert((*name).to_owned(), json.unwrap_or_else(|| json!(value)));
    }
    format!("{:#}\n", Value::Object(members))
}

/// With what an earlier import may have left: empty, it is as if it were not there.
fn complete<'a>(mut variables: BTreeMap<&'a str, &'a str>) -> BTreeMap<&'a str, &'a str> {
    for name in OF_CREDENTIALS {
        variables.entry(name).or_insert("");
    }
    variables
}

/// The names under which a credential may have been written before.
const OF_CREDENTIALS: [&str; 5] = [
    CERTIFICATE,
    PRIVATE_KEY,
    PRIVATE_KEY_PASSWORD,
    ASK,
    CREDENTIALS,
];

fn env(variables: &BTreeMap<&str, &str>, existing: &str) -> Result<Zeroizing<String>> {
    let mut file = EnvFile::parse(existing)?;
    let is_replaced = |name: &str| variables.contains_key(name) || OF_CREDENTIALS.contains(&name);
    file.remove(is_replaced);
    for (name, value) in variables {
        file.push(name, value)?;
    }
    let text = file.text();
    let others = |text: &str| -> Result<Vec<(String, Zeroizing<String>)>> {
        let mut all = env_file::read_all(text)?;
        all.retain(|(name, _)| !env_file::variable(name).is_some_and(|name| is_replaced(&name)));
        Ok(all)
    };
    ensure!(
        others(existing)? == others(&text)?,
        "another variable of the file would be read as something else"
    );
    Ok(text)
}

fn spin(variables: &BTreeMap<&str, &str>) -> String {
    let mut text =
        String::from("[[variables_provider]]\ntype = \"static\"\n\n[variables_provider.values]\n");
    for (name, value) in variables {
        // A basic string of TOML has the syntax of a string of JSON.
        let _ = writeln!(text, "{name} = {}", json!(value));
    }
    text
}

fn vault(variables: &BTreeMap<&str, &str>) -> String {
    let mut text = String::from(
        "#!/bin/sh\n\
         # One secret a variable, as the Vault provider of Spin reads them. Values go over standard input.\n\
         set -eu\n",
    );
    for (name, value) in variables {
        let _ = write!(
            text,
            "vault kv put -mount=\"${{VAULT_MOUNT:-secret}}\" \"${{VAULT_PREFIX:-}}{name}\" - <<'END'\n{}\nEND\n",
            json!({ "value": value })
        );
    }
    text
}

fn kubernetes(variables: &BTreeMap<&str, &str>) -> String {
    let key = |name: &str| name.replace('_', "-");
    let mut text = String::from(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: keylet-fairplay\ntype: Opaque\nstringData:\n",
    );
    for (name, value) in variables {
        let _ = writeln!(text, "  {}: {}", key(name), json!(value));
    }
    text.push_str("# In the SpinApp, below `spec`:\n#  variables:\n");
    for name in variables.keys() {
        let _ = writeln!(
            text,
            "#    - name: {name}\n#      valueFrom: {{ secretKeyRef: {{ name: keylet-fairplay, key: {} }} }}",
            key(name)
        );
    }
    text
}
