//! Variables as the places want them that Spin reads them from.
//!
//! A file that is there is changed, and not written anew: what stands in it beside the variables that are replaced stays
//! as it is. What comes out is read back, by the rules of the file's own reader, before it takes the old one's place.

mod env;
mod env_file;
mod kubernetes;
mod settings;
mod spin;
mod vault;

use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Result, ensure};
use clap::ValueEnum;
use keylet::fairplay::credentials::{
    ASK, CERTIFICATE, CREDENTIALS, PRIVATE_KEY, PRIVATE_KEY_PASSWORD,
};
use serde_json::Value;
use zeroize::Zeroizing;

use keylet_host::Provided;

/// Where variables go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// Lines of a `.env` file, which `spin up` and `keylet serve` read in the directory where they start,
    /// and which a shell can source
    #[default]
    Env,
    /// A runtime configuration, for `--runtime-config-file`
    Spin,
    /// A shell script that puts one secret a variable into Vault
    Vault,
    /// A Kubernetes Secret
    Kubernetes,
    /// The value of the variable `settings`, which holds all others: one JSON object
    Settings,
}

impl Format {
    /// The format of a file by the end of its name.
    pub fn of(path: &Path) -> Self {
        let end = path.extension().and_then(OsStr::to_str).unwrap_or_default();
        match end {
            "json" => Self::Settings,
            "toml" => Self::Spin,
            "yaml" | "yml" => Self::Kubernetes,
            "sh" => Self::Vault,
            _ => Self::Env,
        }
    }

    /// Whether it is for a store that encrypts what it keeps.
    pub fn is_secret_store(self) -> bool {
        matches!(self, Self::Vault | Self::Kubernetes | Self::Settings)
    }

    /// Whether it is of files that people keep and change, and not made to be applied once.
    pub fn is_edited_by_hand(self) -> bool {
        matches!(self, Self::Env | Self::Settings)
    }
}

/// The names under which a credential may have been written before.
pub const OF_CREDENTIALS: [&str; 5] = [
    CERTIFICATE,
    PRIVATE_KEY,
    PRIVATE_KEY_PASSWORD,
    ASK,
    CREDENTIALS,
];

/// What is to change in a file.
struct Change<'a> {
    /// The variables to write, by name.
    variables: Vec<(&'a str, &'a str)>,
    /// Others to take out.
    removed: &'a [&'a str],
}

impl Change<'_> {
    /// Whether what the file has of a variable goes.
    fn concerns(&self, name: &str) -> bool {
        self.removed.contains(&name) || self.variables.iter().any(|(own, _)| *own == name)
    }
}

/// The variables of a file; an empty text has none.
///
/// # Errors
/// A text that is not of this format.
pub fn read(format: Format, text: &str) -> Result<Provided> {
    if text.trim().is_empty() {
        return Ok(Provided::new());
    }
    match format {
        Format::Env => env::read(text),
        Format::Spin => spin::read(text),
        Format::Vault => vault::read(text),
        Format::Kubernetes => kubernetes::read(text),
        Format::Settings => settings::read(text),
    }
}

/// The text of a file with these variables, and without the others of `removed`. `existing` is its present text.
///
/// # Errors
/// A file that its reader does not read, a value that it would not read back.
pub fn write(
    variables: &Provided,
    removed: &[&str],
    format: Format,
    existing: Option<&str>,
) -> Result<Zeroizing<String>> {
    let mut change = Change {
        variables: variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect(),
        removed,
    };
    if matches!(format, Format::Vault | Format::Kubernetes) {
        // A store keeps what an earlier import has put there: empty, it is as if it were not there.
        let left = removed
            .iter()
            .filter(|name| !variables.contains_key(**name));
        change.variables.extend(left.map(|name| (*name, "")));
    }
    change.variables.sort_unstable();
    let existing = existing.filter(|text| !text.trim().is_empty());
    let text = match format {
        Format::Env => env::write(&change, existing),
        Format::Spin => spin::write(&change, existing),
        Format::Vault => vault::write(&change, existing),
        Format::Kubernetes => kubernetes::write(&change, existing),
        Format::Settings => settings::write(&change, existing),
    }?;

    let mut expected = read(format, existing.unwrap_or_default())?;
    expected.retain(|name, _| !change.concerns(name));
    expected.extend(
        change
            .variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    );
    let found = read(format, &text)?;
    let is_found = |(name, value): (&String, &String)| {
        found.get(name).is_some_and(|found| is_same(found, value))
    };
    ensure!(
        expected.len() == found.len() && expected.iter().all(is_found),
        "the file would be read as something else, so it is left as it was. A variable in it may be set twice, or \
         written in a form that cannot be changed here"
    );
    Ok(text)
}

/// Whether two values of a variable are the same text, or the same JSON.
fn is_same(one: &str, other: &str) -> bool {
    let json = |text: &str| {
        let json: Option<Value> = serde_json::from_str(text).ok();
        json.filter(|json| json.is_array() || json.is_object())
    };
    one == other || json(one).is_some_and(|one| Some(one) == json(other))
}
