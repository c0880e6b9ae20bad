//! Where keys are kept: in a file of variables, by a server that runs, or in a store.

use anyhow::Result;
use clap::Args;

use super::server::Server;
use super::stored::Stored;
use crate::commands::remote::Remote;
use crate::commands::variables_file::VariablesFile;
use crate::stored_at;

/// Where the keys are: in the variable `content_keys` of a file, unless `--server` or `--store` says so.
#[derive(Args)]
pub struct Place {
    #[command(flatten)]
    pub variables: VariablesFile,
    #[command(flatten)]
    remote: Remote,
    /// The store itself: the file of a server that does not run now, such as `.keylet/key_value.redb`, or the URL of a
    /// Redis. `key_encryption_keys` is read from the file of variables
    #[arg(long, value_name = "FILE|URL")]
    store: Option<String>,
}

/// Whether a store that is not there is made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// It is made: something is put into it.
    Made,
    /// It is an error: it cannot have what is looked for.
    Refused,
}

/// Where keys are, opened.
pub enum Keys<'a> {
    /// The records of a variable.
    Variables(&'a VariablesFile),
    /// The stored keys of a server, by its routes.
    Server(Server),
    /// The stored keys themselves.
    Store(Box<Stored>),
}

impl Place {
    /// Opens it.
    ///
    /// # Errors
    /// A store that does not open, and what is missing for it.
    pub fn open(&self, missing: Missing) -> Result<Keys<'_>> {
        if let Some(server) = self.remote.open()? {
            return Ok(Keys::Server(server));
        }
        let Some(store) = &self.store else {
            return Ok(Keys::Variables(&self.variables));
        };
        let choice = stored_at::choice(store);
        if missing == Missing::Refused {
            stored_at::must_exist(&choice)?;
        }
        let stored = Stored::open(&self.variables, &choice)?;
        Ok(Keys::Store(Box::new(stored)))
    }
}
