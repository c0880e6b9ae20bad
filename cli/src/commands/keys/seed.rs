//! `keylet keys seed`: a seed that keys are derived from.

use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;
use keylet::content_key::seed::{LEAST_HKDF, PLAYREADY, Seed, VARIABLE, read};
use keylet::encoding;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::commands::sentences;
use crate::commands::variables_file::VariablesFile;
use crate::file::secret;
use crate::random;

pub const EXAMPLES: &str = "\
Examples:
  keylet keys seed
  keylet keys seed --id 2027 --rotate
  keylet keys seed --algorithm playready --seed-file seed.txt
";

/// How content keys come from the seed.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Algorithm {
    /// HKDF-SHA256
    #[value(name = "hkdf-sha256")]
    HkdfSha256,
    /// PlayReady's key seed algorithm
    #[value(name = "playready")]
    PlayReady,
}

/// The seed to make.
#[derive(Args)]
pub struct New {
    /// Name of the seed
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// How content keys come from it
    #[arg(long, value_enum, default_value = "hkdf-sha256")]
    algorithm: Algorithm,
    /// File with the seed, or `-` for standard input: 32 bytes or more in hexadecimal or base64, for PlayReady 30 or more in
    /// base64; without it, the seed is random
    #[arg(long, value_name = "FILE")]
    seed_file: Option<PathBuf>,
    /// Initialisation vector of each key: `kid`, `derived`, or 16 bytes in hexadecimal [default: kid]
    #[arg(long, value_name = "HEX")]
    iv: Option<String>,
    /// Put it before the seeds that there are: new keys come from it. Keys of KIDs that packagers made change
    #[arg(long)]
    rotate: bool,
    #[command(flatten)]
    variables: VariablesFile,
}

impl New {
    pub fn run(&self) -> Result<()> {
        let mut seeds = match self.variables.read(VARIABLE)? {
            None => Vec::new(),
            Some(text) => match encoding::json(text.as_bytes()) {
                Ok(Value::Array(seeds)) => seeds,
                Ok(seed) => vec![seed],
                Err(reason) => bail!("{}: {VARIABLE}: {reason}", self.variables),
            },
        };
        ensure!(
            seeds.is_empty() || self.rotate,
            "{}: there is a seed already. --rotate puts a new one before it: KIDs that Keylet made keep their keys, and \
             KIDs that a packager made get other ones",
            self.variables
        );
        seeds.insert(0, self.seed()?);
        let value = match seeds.as_slice() {
            [seed] => seed.clone(),
            _ => json!(seeds),
        };
        let text = Zeroizing::new(value.to_string());
        read_all(&text)?;
        self.variables.write(VARIABLE, Some(&text))?;
        eprintln!(
            "{}: {VARIABLE} has a new seed. Keep a copy of it: without the seed, nothing that is encrypted with its keys \
             plays.\n\n\
             Next: `keylet keys make --content-id movie-42 --tracks audio,sd,hd,uhd` prints what a packager needs. A server\n\
             that runs reads the file again at its next start, or at SIGHUP.",
            self.variables
        );
        Ok(())
    }

    fn seed(&self) -> Result<Value> {
        let text = match (&self.seed_file, self.algorithm) {
            (Some(path), _) => secret(path)?,
            (None, Algorithm::HkdfSha256) => {
                let bytes = Zeroizing::new(random::bytes::<LEAST_HKDF>());
                Zeroizing::new(hex::encode(bytes.as_slice()))
            }
            (None, Algorithm::PlayReady) => {
                let bytes = Zeroizing::new(random::bytes::<PLAYREADY>());
                Zeroizing::new(base64::Engine::encode(&encoding::BASE64, bytes.as_slice()))
            }
        };
        let algorithm = match self.algorithm {
            Algorithm::HkdfSha256 => "hkdf-sha256",
            Algorithm::PlayReady => "playready",
        };
        let mut seed = json!({"algorithm": algorithm, "seed": text.trim()});
        for (member, value) in [("id", &self.id), ("iv", &self.iv)] {
            if let Some(value) = value {
                seed[member] = json!(value);
            }
        }
        Ok(seed)
    }
}

/// The seeds of a file of variables.
///
/// # Errors
/// A file without a seed, and seeds that the server would not read.
pub fn seeds(variables: &VariablesFile) -> Result<Vec<Seed>> {
    let text = variables.read(VARIABLE)?;
    let text = text.with_context(|| {
        format!("{variables}: {VARIABLE} is not set. `keylet keys seed` makes a seed")
    })?;
    read_all(&text).with_context(|| variables.to_string())
}

fn read_all(text: &str) -> Result<Vec<Seed>> {
    read(text).map_err(|problems| {
        let problems = sentences(&problems);
        anyhow!("the server would not read this seed: {problems}")
    })
}
