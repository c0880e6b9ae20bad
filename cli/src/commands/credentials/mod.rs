//! `keylet credentials`

mod files;
mod import;
mod new;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

pub use files::Files;
pub use import::trial;

/// The environment variable with the password of keys.
const PASSWORD: &str = "KEYLET_PASSWORD";

const NEW: &str = "\
Examples:
  keylet credentials new --common-name 'Example TV' --organization 'Example Inc.' --country US --out-dir fairplay
  keylet credentials new --sdk 26 --common-name 'Example TV' --password-file password.txt --out-dir fairplay
  keylet credentials new --development --sdk 26 --common-name test --out-dir dev
";

const IMPORT: &str = "\
Examples:
  keylet credentials import fairplay.cer privatekey.pem --ask-file ask.txt --out .env
  keylet credentials import sdk4 sdk26 --format kubernetes --out secret.yaml
  keylet credentials import fairplay --trial movie-42 --out .env
";

/// Make and import FairPlay credentials.
#[derive(Subcommand)]
pub enum Command {
    /// Make private keys and the signing requests that Apple's portal asks for
    ///
    /// The key stays with you; the request goes to the portal, which answers with the certificate. With
    /// --development it makes a whole set that no device trusts, signed by an authority of its own.
    #[command(after_help = NEW)]
    New(new::New),
    /// Turn certificate, private key and ASk, in the forms in which people have them, into the server's
    /// variables
    ///
    /// It reads certificates (DER, PEM), bundles (`fps_certificate.bin`), private keys (PKCS#1, PKCS#8, with
    /// every encryption that OpenSSL has), PKCS#12 containers, ASks (hexadecimal or base64),
    /// `certificates.json` of the server SDK, content key policies of Azure Media Services. The files of a
    /// directory are one credential; other files are one together. Standard error says what was taken.
    #[command(after_help = IMPORT)]
    Import(import::Import),
}

pub fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::New(arguments) => arguments.run().map(|()| ExitCode::SUCCESS),
        Command::Import(arguments) => arguments.run(),
    }
}
