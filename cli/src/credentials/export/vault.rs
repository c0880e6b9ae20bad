//! A shell script that puts one secret a variable into Vault, as the Vault provider of Spin reads them.

use std::fmt::Write;

use anyhow::{Context, Result, bail};
use keylet_host::Provided;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::Change;

const HEAD: &str = "#!/bin/sh\n\
    # One secret a variable, as the Vault provider of Spin reads them. Values go over standard input.\n\
    set -eu\n";

/// What stands before and after the name of a variable in its command.
const BEFORE: &str = "vault kv put -mount=\"${VAULT_MOUNT:-secret}\" \"${VAULT_PREFIX:-}";
const AFTER: &str = "\" - <<'END'";
const END: &str = "END";

/// A part of a script: `[command] [line of JSON] [END]`, or one line of something else.
struct Part<'a> {
    text: Vec<&'a str>,
    variable: Option<(&'a str, Zeroizing<String>)>,
}

fn parts(script: &str) -> Result<Vec<Part<'_>>> {
    let mut parts = Vec::new();
    let mut lines = script.lines();
    while let Some(line) = lines.next() {
        let name = line
            .strip_prefix(BEFORE)
            .and_then(|rest| rest.strip_suffix(AFTER));
        let Some(name) = name else {
            parts.push(Part {
                text: vec![line],
                variable: None,
            });
            continue;
        };
        let (document, end) = lines.next().zip(lines.next()).context(NONE)?;
        let value = serde_json::from_str(document).ok();
        let Some(Value::String(value)) = value.map(|mut value: Value| value["value"].take()) else {
            bail!(NONE);
        };
        if end != END {
            bail!(NONE);
        }
        parts.push(Part {
            text: vec![line, document, end],
            variable: Some((name, Zeroizing::new(value))),
        });
    }
    Ok(parts)
}

const NONE: &str = "it is not a script that `credentials import --format vault` wrote";

pub(super) fn read(text: &str) -> Result<Provided> {
    let parts = parts(text)?;
    let variables = parts.into_iter().filter_map(|part| part.variable);
    let variables: Provided = variables
        .map(|(name, value)| (name.to_owned(), value.to_string()))
        .collect();
    if variables.is_empty() {
        bail!(NONE);
    }
    Ok(variables)
}

pub(super) fn write(change: &Change<'_>, existing: Option<&str>) -> Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    for part in parts(existing.unwrap_or(HEAD))? {
        if !part.variable.is_some_and(|(name, _)| change.concerns(name)) {
            for line in part.text {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    for (name, value) in &change.variables {
        let document = json!({ "value": value });
        writeln!(text, "{BEFORE}{name}{AFTER}\n{document}\n{END}")?;
    }
    Ok(text)
}
