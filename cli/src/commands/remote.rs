//! A server that runs, for commands of its operator.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use zeroize::Zeroizing;

use super::keys::server::Server;
use super::serve::duration;
use crate::client::{Client, check_url};
use crate::file;

/// The environment variable with the operator's token.
const OPERATOR_TOKEN: &str = "KEYLET_OPERATOR_TOKEN";

/// Which server, and how it is asked. The command that has these options has `--store`, too.
#[derive(Args)]
pub struct Remote {
    /// URL of a server that runs, whose store is meant. The environment variable `KEYLET_OPERATOR_TOKEN` has the
    /// operator's token
    #[arg(long, alias = "url", value_name = "URL", conflicts_with = "store")]
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
}

impl Remote {
    /// The server, where one is named.
    ///
    /// # Errors
    /// A URL that is none, a token or certificates that are missing.
    pub fn open(&self) -> Result<Option<Server>> {
        let Some(url) = &self.server else {
            return Ok(None);
        };
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
        Ok(Some(Server::new(client, url, token)))
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    file::read(path).map(Zeroizing::new)
}
