//! A `.env` file.

use anyhow::{Result, ensure};
use keylet_host::Provided;
use keylet_host::env_file::assignments;
use zeroize::Zeroizing;

use super::Change;
use super::env_file::{self, EnvFile};

pub(super) fn read(text: &str) -> Result<Provided> {
    let file = EnvFile::parse(text)?;
    let variables = file.variables();
    Ok(variables
        .map(|(name, value)| (name, value.to_owned()))
        .collect())
}

pub(super) fn write(change: &Change<'_>, existing: Option<&str>) -> Result<Zeroizing<String>> {
    let existing = existing.unwrap_or_default();
    let mut file = EnvFile::parse(existing)?;
    file.remove(|name| change.concerns(name));
    for (name, value) in &change.variables {
        file.push(name, value)?;
    }
    let text = file.text();
    // A line may use the value of one before it, and other programs read the file, too.
    let others = |text: &str| -> Result<Vec<(String, Zeroizing<String>)>> {
        let mut all = assignments(text)?;
        all.retain(|(name, _)| {
            !env_file::variable(name).is_some_and(|name| change.concerns(&name))
        });
        Ok(all)
    };
    ensure!(
        others(existing)? == others(&text)?,
        "another variable of the file would be read as something else"
    );
    Ok(text)
}
