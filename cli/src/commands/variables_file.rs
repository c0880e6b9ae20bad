//! The file of variables that commands change, one variable at a time.

use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use keylet::platform;
use zeroize::Zeroizing;

use crate::credentials::export::{self, Format};
use crate::file;
use keylet_host::Provided;

/// Where variables are kept.
#[derive(Args)]
pub struct VariablesFile {
    /// File with the variables: a `.env` file; or by the end of its name, `.json` for the value of the variable
    /// `settings`, `.toml` for a runtime configuration, `.yaml` for a Kubernetes Secret
    #[arg(long = "file", value_name = "FILE", default_value = ".env")]
    path: PathBuf,
}

impl Display for VariablesFile {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}

impl VariablesFile {
    /// The value of a variable. `None` when it is not set, or there is no file.
    ///
    /// # Errors
    /// A file that its reader does not read.
    pub fn read(&self, name: &str) -> Result<Option<Zeroizing<String>>> {
        let text = self.text()?;
        let mut variables = self.variables(&text)?;
        Ok(variables
            .remove(name)
            .and_then(|text| platform::value(name, text)))
    }

    /// Leaves a copy of the file beside it, before something is taken out.
    ///
    /// # Errors
    /// A copy that cannot be written.
    pub fn back_up(&self) -> Result<()> {
        file::back_up(&self.path)
    }

    /// Sets a variable, or takes it out. Everything else in the file stays as it is.
    ///
    /// # Errors
    /// A file that its reader does not read, or that cannot be written.
    pub fn write(&self, name: &str, value: Option<&str>) -> Result<()> {
        let text = self.text()?;
        let variables: Provided = value
            .map(|value| (name.to_owned(), value.to_owned()))
            .into_iter()
            .collect();
        let text = export::write(&variables, &[name], self.format(), Some(&text));
        let text = text.with_context(|| self.to_string())?;
        file::write_secret(&self.path, text.as_bytes())
    }

    fn text(&self) -> Result<Zeroizing<String>> {
        match self.path.exists() {
            true => file::text(&self.path),
            false => Ok(Zeroizing::default()),
        }
    }

    fn variables(&self, text: &str) -> Result<Provided> {
        export::read(self.format(), text).with_context(|| self.to_string())
    }

    fn format(&self) -> Format {
        Format::of(&self.path)
    }
}
