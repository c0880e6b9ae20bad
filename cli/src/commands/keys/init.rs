//! `keylet keys init`

use anyhow::{Result, anyhow, bail};
use clap::Args;
use jiff::Timestamp;
use keylet::content_key::store::{EncryptionKeys, VARIABLE};
use keylet::encoding::{self, BASE64_URL};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use base64::Engine;

use crate::commands::sentences;
use crate::commands::variables_file::VariablesFile;
use crate::random;

/// What follows the options in the help.
pub const EXAMPLES: &str = "\
Examples:
  keylet keys init
  keylet keys init --rotate
";

/// Where the key goes.
#[derive(Args)]
pub struct Init {
    /// Add a key in front of those that there are. It encrypts from now on, and the others still decrypt
    #[arg(long)]
    rotate: bool,
    #[command(flatten)]
    variables: VariablesFile,
}

impl Init {
    pub fn run(&self) -> Result<()> {
        let mut keys = match self.variables.read(VARIABLE)? {
            None => Vec::new(),
            Some(_) if !self.rotate => bail!(
                "{}: {VARIABLE} is set already. With --rotate a new key is added in front of it; stored keys are lost \
                 with the key that encrypted them",
                self.variables
            ),
            Some(text) => self.keys(&text)?,
        };
        let kid = free_kid(&keys);
        let key = Zeroizing::new(random::bytes::<32>());
        let encoded = Zeroizing::new(BASE64_URL.encode(key.as_slice()));
        let key = json!({"kty": "oct", "kid": kid, "alg": "A256GCM-SIV", "k": encoded.as_str()});
        let is_first = keys.is_empty();
        keys.insert(0, key);
        let text = Zeroizing::new(json!({ "keys": keys }).to_string());
        self.variables.write(VARIABLE, Some(&text))?;
        eprintln!("{}: added the key {kid:?} to {VARIABLE}", self.variables);
        eprintln!(
            "\nKeep a copy of it where no copy of the store is: without it, what it encrypted cannot be read by anybody."
        );
        match is_first {
            true => eprintln!("Next: give the variable to the server, and `keylet keys import`."),
            false => eprintln!(
                "Next: give the variable to every server, and then `keylet keys rotate` encrypts what is stored under\n\
                 the new key. Old keys stay in the variable until that is done."
            ),
        }
        Ok(())
    }

    /// The keys as they are written, once the server's reader has read them.
    fn keys(&self, text: &str) -> Result<Vec<Value>> {
        if let Err(problems) = EncryptionKeys::from_json(text) {
            bail!("{}: {}", self.variables, sentences(&problems));
        }
        let mut document = encoding::json_object(text.as_bytes())
            .map_err(|reason| anyhow!("{}: {VARIABLE}: {reason}", self.variables))?;
        Ok(match document.remove("keys") {
            Some(Value::Array(keys)) => keys,
            _ => vec![Value::Object(document)],
        })
    }
}

/// The date, with a number behind it where a key of that date is there.
fn free_kid(keys: &[Value]) -> String {
    let date = Timestamp::now().strftime("%Y-%m-%d").to_string();
    let is_taken = |kid: &String| keys.iter().any(|key| key["kid"] == kid.as_str());
    let mut kid = date.clone();
    for number in 2_u64.. {
        if !is_taken(&kid) {
            break;
        }
        kid = format!("{date}.{number}");
    }
    kid
}
