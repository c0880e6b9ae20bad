//! The command line of Keylet.

use std::process::ExitCode;

use clap::Parser;
use keylet_cli::commands::Command;

/// A DRM licence server that is one WebAssembly component.
///
/// Without a command it serves the fixtures on loopback, plays a device against them once, and
/// shows how to repeat that.
#[derive(Parser)]
#[command(name = "keylet", version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command.unwrap_or_default().run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("keylet: {error:#}");
            ExitCode::FAILURE
        }
    }
}
