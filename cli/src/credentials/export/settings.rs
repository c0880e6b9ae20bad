//! The value of the variable `settings`: one JSON object, whose members are the variables.

use anyhow::{Result, anyhow};
use keylet::configuration::settings;
use keylet_host::Provided;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::Change;

pub(super) fn read(text: &str) -> Result<Provided> {
    let variables = settings::read(text).map_err(|error| anyhow!("{error}"))?;
    let variables = variables.into_iter();
    Ok(variables
        .map(|(name, value)| (name, value.to_string()))
        .collect())
}

/// A value that is JSON stands there as JSON.
pub(super) fn write(change: &Change<'_>, existing: Option<&str>) -> Result<Zeroizing<String>> {
    let mut members: Map<String, Value> = existing.map_or(Ok(Map::new()), serde_json::from_str)?;
    members.retain(|name, _| !change.concerns(name));
    for (name, value) in &change.variables {
        let json = serde_json::from_str(value);
        let json = json
            .ok()
            .filter(|json: &Value| json.is_array() || json.is_object());
        members.insert((*name).to_owned(), json.unwrap_or_else(|| json!(value)));
    }
    Ok(Zeroizing::new(format!("{:#}\n", Value::Object(members))))
}
