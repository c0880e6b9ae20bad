//! `keylet credentials new`

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use zeroize::Zeroizing;

use super::PASSWORD;
use crate::credentials::request::{Authority, Digest, NewKey, Subject};
use crate::file::{self, secret, write_secret};
use crate::progress::while_waiting;
use crate::random;

/// What is made.
#[derive(Args)]
pub struct New {
    #[command(flatten)]
    subject: Subject,
    /// 4: one key of 1024 bits. 26: one of 1024 and one of 2048 bits, for a bundle
    #[arg(long, value_enum, default_value_t)]
    sdk: Sdk,
    /// Hash that requests are signed with [default: sha1 for 1024 bits, as the portal's instructions have
    /// it, else sha256]
    #[arg(long, value_enum)]
    digest: Option<Digest>,
    /// File with a password for the private keys; the environment variable `KEYLET_PASSWORD` has it too.
    /// Without one the keys are not encrypted, and readable by their owner only
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Make certificates and an ASk too, for tests
    #[arg(long)]
    development: bool,
    /// Directory for the files, which is made; nothing in it is overwritten
    #[arg(long, value_name = "DIRECTORY")]
    out_dir: PathBuf,
}

/// The server SDK that a credential is for.
#[derive(Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Sdk {
    /// SPCs of version 1.
    #[default]
    #[value(name = "4")]
    Four,
    /// SPCs of versions 2 and 3 as well.
    #[value(name = "26")]
    TwentySix,
}

impl New {
    pub fn run(&self) -> Result<()> {
        let password = match &self.password_file {
            Some(path) => Some(secret(path)?),
            None => file::environment(PASSWORD),
        };
        let password = password.as_deref().map(String::as_str);
        ensure!(
            !self.subject.common_name.is_empty(),
            "the common name is empty"
        );
        fs::create_dir_all(&self.out_dir)
            .with_context(|| format!("making {}", self.out_dir.display()))?;
        let sizes: &[usize] = match self.sdk {
            Sdk::Four => &[1024],
            Sdk::TwentySix => &[1024, 2048],
        };
        let mut rng = random::system();
        let keys = sizes
            .iter()
            .map(|bits| Ok((*bits, NewKey::generate(*bits, &mut rng)?)));
        let keys: Result<Vec<(usize, NewKey)>> =
            while_waiting("making private keys", || keys.collect());
        let keys = keys?;
        for (bits, key) in &keys {
            let name = |stem: &str, extension: &str| match self.sdk {
                Sdk::Four => format!("{stem}.{extension}"),
                Sdk::TwentySix => format!("{stem}-{bits}.{extension}"),
            };
            self.write(
                &name("privatekey", "pem"),
                key.pem(password)?.as_bytes(),
                "private key: keep it, and keep it secret",
            )?;
            if !self.development {
                let digest = self.digest.unwrap_or(if *bits == 1024 {
                    Digest::Sha1
                } else {
                    Digest::Sha256
                });
                let request = key.request(&self.subject, digest)?;
                self.write(
                    &name("certreq", "csr"),
                    request.as_bytes(),
                    "signing request: upload it to Apple's portal",
                )?;
            }
        }
        let out = self.out_dir.display();
        if self.development {
            self.development(&keys)?;
            eprintln!("\nNext: turn them into variables, with a content key and a key for tokens");
            eprintln!("  keylet credentials import {out} --trial movie-42 --out .env");
        } else {
            eprintln!(
                "\nNext: back the private key up. Upload the request at Apple's portal, which shows the ASk once."
            );
            eprintln!(
                "Put the certificate that it answers with into {out}, and the ASk into {out}/ask.txt; then"
            );
            eprintln!("  keylet credentials import {out} --out .env");
        }
        Ok(())
    }

    fn development(&self, keys: &[(usize, NewKey)]) -> Result<()> {
        let mut rng = random::system();
        let (authority, certificate) = Authority::generate(&mut rng)?;
        self.write(
            "authority.cer",
            &certificate,
            "certificate of the authority; its key is forgotten",
        )?;
        let signed = keys.iter().map(|(bits, key)| {
            authority.sign(
                key,
                &format!("{} {bits}", self.subject.common_name),
                &mut rng,
            )
        });
        let certificates: Vec<Vec<u8>> = signed.collect::<Result<_>>()?;
        let name = match self.sdk {
            Sdk::Four => "fairplay.cer",
            Sdk::TwentySix => "fps_certificate.bin",
        };
        self.write(
            name,
            &certificates.concat(),
            "what players get; no Apple device trusts it",
        )?;
        let ask = Zeroizing::new(random::bytes::<16>());
        let ask = Zeroizing::new(hex::encode(ask.as_slice()));
        self.write("ask.txt", ask.as_bytes(), "application secret key")
    }

    fn write(&self, name: &str, content: &[u8], what: &str) -> Result<()> {
        let path = self.out_dir.join(name);
        ensure!(
            !path.exists(),
            "{} is there already, and is not overwritten",
            path.display()
        );
        write_secret(&path, content)?;
        eprintln!("{}: {what}", path.display());
        Ok(())
    }
}
