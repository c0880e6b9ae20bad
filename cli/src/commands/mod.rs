//! The commands, one file each.

mod demo;
mod device;
mod fixtures;
mod serve;

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
    /// Emulate a FairPlay device: make SPCs, open CKCs
    #[command(subcommand)]
    Device(device::Command),
    /// Write or check the fixtures
    #[command(subcommand)]
    Fixtures(fixtures::Command),
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// What stopped it, in a sentence.
    pub fn run(self) -> Result<()> {
        match self {
            Self::Demo => demo::run(),
            Self::Serve(arguments) => serve::run(&arguments),
            Self::Device(command) => device::run(command),
            Self::Fixtures(command) => fixtures::run(&command),
        }
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
