//! A Kubernetes Secret, and below it, as comments, the lines of a `SpinApp` that use it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow, ensure};
use keylet_host::Provided;
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::Change;

const HEAD: &str =
    "apiVersion: v1\nkind: Secret\nmetadata:\n  name: keylet-fairplay\ntype: Opaque\n";
const DATA: &str = "stringData:";
const USES: &str = "# In the SpinApp, below `spec`:\n#  variables:\n";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Secret {
    kind: String,
    metadata: Metadata,
    #[serde(default)]
    string_data: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
}

impl Secret {
    fn parse(text: &str) -> Result<Self> {
        // The parser's own message may quote a secret.
        let secret: Self = serde_yaml_ng::from_str(text)
            .map_err(|_| anyhow!("it is not a Kubernetes Secret whose `stringData` are texts"))?;
        ensure!(
            secret.kind == "Secret",
            "it is a {}, and not a Secret",
            secret.kind
        );
        Ok(secret)
    }
}

/// The key of a Secret for a variable, and the other way round.
fn key(name: &str) -> String {
    name.replace('_', "-")
}

fn variable(key: &str) -> String {
    key.replace('-', "_")
}

pub(super) fn read(text: &str) -> Result<Provided> {
    let data = Secret::parse(text)?.string_data.into_iter();
    Ok(data.map(|(key, value)| (variable(&key), value)).collect())
}

pub(super) fn write(change: &Change<'_>, existing: Option<&str>) -> Result<Zeroizing<String>> {
    let name = existing.map_or(Ok("keylet-fairplay".to_owned()), |text| {
        Secret::parse(text).map(|secret| secret.metadata.name)
    })?;
    let existing = existing.map_or_else(|| format!("{HEAD}{DATA}\n{USES}"), ToOwned::to_owned);
    let existing = Zeroizing::new(existing);
    let (head, data) = existing
        .split_once(&format!("{DATA}\n"))
        .with_context(|| format!("it has no line `{DATA}`"))?;
    let mut text = Zeroizing::new(format!("{head}{DATA}\n"));
    for (name, value) in &change.variables {
        // A text of JSON is a double-quoted scalar of YAML 1.2 (section 7.3.1).
        text.push_str(&format!("  {}: {}\n", key(name), json!(value)));
    }
    for line in data.lines().filter(|line| !is_replaced(line, change)) {
        text.push_str(line);
        text.push('\n');
    }
    for (variable, _) in &change.variables {
        text.push_str(&format!(
            "#    - name: {variable}\n#      valueFrom: {{ secretKeyRef: {{ name: {name}, key: {} }} }}\n",
            key(variable)
        ));
    }
    Ok(text)
}

/// Whether a line below `stringData` is of a variable that is written anew, or of its use.
fn is_replaced(line: &str, change: &Change<'_>) -> bool {
    let own = line
        .strip_prefix("  ")
        .and_then(|line| line.split_once(": "));
    if let Some((key, _)) = own {
        return change.concerns(&variable(key));
    }
    let used = line.strip_prefix("#    - name: ").map(ToOwned::to_owned);
    let used = used.or_else(|| {
        let (_, key) = line
            .strip_prefix("#      valueFrom: ")?
            .split_once("key: ")?;
        Some(variable(key.trim_end_matches([' ', '}'])))
    });
    used.is_some_and(|name| change.concerns(&name))
}
