//! A runtime configuration of Spin: the variable provider of type `static`.

use anyhow::{Context, Result, anyhow};
use keylet_host::{Provided, static_variables};
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, value};
use zeroize::Zeroizing;

use super::Change;

/// The list of providers, and the name that it had in older versions of Spin.
const PROVIDERS: [&str; 2] = ["variables_provider", "config_provider"];

pub(super) fn read(text: &str) -> Result<Provided> {
    static_variables(text)
}

pub(super) fn write(change: &Change<'_>, existing: Option<&str>) -> Result<Zeroizing<String>> {
    let mut document: DocumentMut = existing
        .unwrap_or_default()
        .parse()
        // The parser's own message quotes the line, which may be a secret.
        .map_err(|_| anyhow!("it is not TOML"))?;
    let name = PROVIDERS
        .into_iter()
        .find(|name| document.contains_key(name))
        .unwrap_or(PROVIDERS[0]);
    let providers = document
        .entry(name)
        .or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()))
        .as_array_of_tables_mut()
        .with_context(|| format!("`{name}` is not written as tables [[{name}]]"))?;
    let is_static = |table: &Table| table.get("type").and_then(Item::as_str) == Some("static");
    if !providers.iter().any(is_static) {
        let mut table = Table::new();
        table["type"] = value("static");
        providers.push(table);
    }
    for provider in providers.iter_mut() {
        if !is_static(provider) {
            continue;
        }
        let values = provider.entry("values").or_insert_with(toml_edit::table);
        let values = values
            .as_table_like_mut()
            .context("`values` is not a table")?;
        let names: Vec<String> = values.iter().map(|(name, _)| name.to_owned()).collect();
        for name in names.iter().filter(|name| change.concerns(name)) {
            values.remove(name);
        }
    }
    let first = providers.iter_mut().find(|table| is_static(table));
    let values = first.and_then(|table| table.get_mut("values")?.as_table_like_mut());
    let values = values.context("`values` is not a table")?;
    for (name, text) in &change.variables {
        values.insert(name, value(*text));
    }
    Ok(Zeroizing::new(document.to_string()))
}
