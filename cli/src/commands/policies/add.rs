//! `keylet policies add`

use std::path::PathBuf;

use anyhow::{Result, anyhow, ensure};
use base64::Engine;
use clap::Args;
use keylet::encoding::{self, BASE64_URL};
use keylet::token::{self, POLICIES};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::validate;
use crate::commands::token::jwks;
use crate::commands::variables_file::VariablesFile;
use crate::random;

/// Whose tokens are taken, and on which terms.
#[derive(Args)]
pub struct Add {
    /// Name of the option, which the audit has
    #[arg(value_name = "NAME")]
    name: String,
    /// `iss` of its tokens; `*` is any
    #[arg(long, default_value = "*")]
    issuer: String,
    /// `aud` of its tokens; several make a list
    #[arg(long, default_value = "keylet")]
    audience: Vec<String>,
    /// File with the public key of the issuer: PEM, a certificate, a JWK or a JWKS; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "jwks_uri")]
    key: Option<PathBuf>,
    /// URL where the issuer publishes its keys
    #[arg(long, value_name = "URL")]
    jwks_uri: Option<String>,
    /// Terms for everyone whom the option lets in, as a JSON object
    #[arg(long, value_name = "JSON")]
    terms: Option<String>,
    #[command(flatten)]
    variables: VariablesFile,
}

pub fn run(arguments: &Add) -> Result<()> {
    let variables = &arguments.variables;
    let mut options = match variables.read(POLICIES)? {
        Some(text) => encoding::json_list(text.as_bytes())
            .map_err(|reason| anyhow!("{variables}: {POLICIES}: {reason}"))?,
        None => Vec::new(),
    };
    if options.is_empty() && variables.read(token::KEYS)?.is_some() {
        eprintln!("warning: from now on `policies` decides, and `token_keys` is no longer read");
    }
    options.push(arguments.option()?);
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let checked = runtime.block_on(validate(&options));
    checked.map_err(|reason| anyhow!("the server would not read these policies: {reason}"))?;
    let text = Zeroizing::new(json!(options).to_string());
    variables.write(POLICIES, Some(&text))?;
    eprintln!("{variables}: added the policy option {:?}", arguments.name);
    if arguments.is_own() {
        eprintln!("\nNext: a token for a player, signed by the key that was made for this option");
        eprintln!("  keylet token mint --configured --keys '*'");
    }
    Ok(())
}

impl Add {
    /// Whether the deployment signs its tokens itself.
    fn is_own(&self) -> bool {
        self.key.is_none() && self.jwks_uri.is_none()
    }

    fn option(&self) -> Result<Value> {
        ensure!(!self.name.is_empty(), "the name is empty");
        let audience = match self.audience.as_slice() {
            [one] => json!(one),
            several => json!(several),
        };
        let mut restriction = json!({"issuer": self.issuer, "audience": audience});
        match (&self.key, &self.jwks_uri) {
            (Some(path), _) => {
                restriction["jwks"] = json!({"keys": jwks::keys(std::slice::from_ref(path))?});
            }
            (None, Some(url)) => restriction["jwks_uri"] = json!(url),
            (None, None) => {
                let key = Zeroizing::new(random::bytes::<32>());
                let key = BASE64_URL.encode(key.as_slice());
                restriction["jwks"] = json!({"keys": [{"kty": "oct", "alg": "HS256", "k": key}]});
            }
        }
        let mut option = json!({"name": self.name, "restriction": restriction});
        if let Some(terms) = &self.terms {
            option["terms"] = crate::commands::terms(terms)?.into();
        }
        Ok(option)
    }
}
