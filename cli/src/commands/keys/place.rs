//! Where keys are kept: in a file of variables, by a server that runs, or in a store.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use keylet_host::StoreChoice;
use zeroize::Zeroizing;

use super::server::Server;
use super::stored::Stored;
use crate::client::{Client, check_url};
use crate::commands::serve::duration;
use crate::commands::variables_file::VariablesFile;
use crate::file;

/// The environment variable with the operator's token.
const OPERATOR_TOKEN: &str = "KEYLET_OPERATOR_TOKEN";

/// Where the keys are: in the variable `content_keys` of a file, unless `--server` or `--store` says so.
#[derive(Args)]
pub struct Place {
    #[command(flatten)]
    pub variables: VariablesFile,
    /// URL of a server that runs, whose stored keys are meant. The environment variable `KEYLET_OPERATOR_TOKEN` has the
    /// operator's token
    #[arg(long, value_name = "URL", conflicts_with = "store")]
    server: Option<String>,
    /// File with the operator's token, or `-` for standard input
    #[arg(long, value_name = "FILE", requires = "server")]
    operator_token_file: Option<PathBuf>,
    /// PEM file with the certificates to trust, in place of Mozilla's list
    #[arg(long, value_name = "FILE", requires = "server")]
    cacert: Option<PathBuf>,
    /// How long to wait for an answer of the server, such as 500ms or 10s
    #[arg(long, value_name = "DURATION", default_value = "120s", value_parser = duration)]
    timeout: Duration,
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
        if let Some(url) = &self.server {
            return Ok(Keys::Server(self.server(url)?));
        }
        let Some(store) = &self.store else {
            return Ok(Keys::Variables(&self.variables));
        };
        let choice = match store.contains("://") {
            true => StoreChoice::Redis(store.clone()),
            false => StoreChoice::File(PathBuf::from(store)),
        };
        if missing == Missing::Refused
            && let StoreChoice::File(path) = &choice
            && !path.exists()
        {
            bail!(
                "{}: there is no such store; `keylet serve` has its own in `.keylet/key_value.redb`",
                path.display()
            );
        }
        let stored = Stored::open(&self.variables, &choice)?;
        Ok(Keys::Store(Box::new(stored)))
    }

    fn server(&self, url: &str) -> Result<Server> {
        check_url(url)?;
        let token = match &self.operator_token_file {
            Some(path) => file::secret(path)?,
            None => file::environment(OPERATOR_TOKEN).with_context(|| {
                format!("no operator's token: set {OPERATOR_TOKEN}, or give --operator-token-file")
            })?,
        };
        let roots = self.cacert.as_deref().map(read).transpose()?;
        let client =
            Client::new(self.timeout, roots.as_deref().map(Vec::as_slice)).context("--cacert")?;
        Ok(Server::new(client, url, token))
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    file::read(path).map(Zeroizing::new)
}
