//! `keylet token jwks`

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;

use crate::commands::device::print;
use crate::file::read;
use crate::public_key;

/// Where the keys are.
#[derive(Args)]
pub struct Arguments {
    /// Files with public keys, certificates or private keys in PEM, or JWKs; `-` is standard input. Of a private key the
    /// public part is taken
    #[arg(value_name = "FILE|-", required = true)]
    files: Vec<PathBuf>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    print(&json!({ "keys": keys(&arguments.files)? }))
}

/// The keys of files, as JWKs.
///
/// # Errors
/// A file that cannot be read, or has no key that verifies tokens.
pub fn keys(files: &[PathBuf]) -> Result<Vec<serde_json::Value>> {
    let mut keys = Vec::new();
    for path in files {
        let content = zeroize::Zeroizing::new(read(path)?);
        keys.extend(public_key::read(&content).with_context(|| path.display().to_string())?);
    }
    Ok(keys)
}
