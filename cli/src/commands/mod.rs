//! The commands, one file each.

mod credentials;
mod demo;
mod device;
mod doctor;
mod fixtures;
mod policies;
mod serve;
mod token;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

/// A command of the command line.
#[derive(Subcommand, Default)]
pub enum Command {
    /// Serve the fixtures, play a device against them once, and show how to repeat it
    #[default]
    Demo,
    /// Serve an application in the embedded host
    Serve(serve::Arguments),
    /// Make and import FairPlay credentials: private keys, signing requests, certificates, ASks
    #[command(subcommand)]
    Credentials(credentials::Command),
    /// Emulate a FairPlay device: make SPCs, open CKCs
    #[command(subcommand)]
    Device(device::Command),
    /// Find what keeps a deployment from answering players
    ///
    /// It looks at credentials, tokens, keys and, of a server that runs, at TLS, clock, CORS and caches,
    /// and plays a device against it.
    Doctor(Box<doctor::Arguments>),
    /// Take over content key policies of other services
    #[command(subcommand)]
    Policies(policies::Command),
    /// Make tokens, and explain them
    #[command(subcommand)]
    Token(token::Command),
    /// Write or check the fixtures
    #[command(subcommand)]
    Fixtures(fixtures::Command),
}

impl Command {
    /// Runs the command, to its exit code.
    ///
    /// # Errors
    /// What stopped it, in a sentence.
    pub fn run(self) -> Result<ExitCode> {
        match self {
            Self::Demo => demo::run()?,
            Self::Serve(arguments) => serve::run(&arguments)?,
            Self::Credentials(command) => return credentials::run(&command),
            Self::Doctor(arguments) => return doctor::run(&arguments),
            Self::Device(command) => device::run(command)?,
            Self::Policies(command) => return policies::run(&command),
            Self::Token(command) => return token::run(command),
            Self::Fixtures(command) => fixtures::run(&command)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Structured log lines, JSON, on standard error.
fn log_to_stderr() {
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_target(false)
        .with_writer(std::io::stderr)
        .init();
}
