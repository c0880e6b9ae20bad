//! The command line of Keylet.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use keylet_cli::commands::Arguments;
use keylet_cli::terminal;

fn main() -> ExitCode {
    match Arguments::parse().command.unwrap_or_default().run() {
        Ok(code) => code,
        Err(error) => {
            terminal::complain(&error);
            ExitCode::FAILURE
        }
    }
}
