//! `keylet completions`

use std::io::Write;

use anyhow::Result;
use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use crate::terminal;

/// What follows the options in the help.
pub const EXAMPLES: &str = "\
Examples:
  keylet completions bash > /etc/bash_completion.d/keylet
  keylet completions zsh > ~/.zfunc/_keylet
  keylet completions fish > ~/.config/fish/completions/keylet.fish
";

/// For which shell.
#[derive(Args)]
pub struct Arguments {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let mut script = Vec::new();
    generate(
        arguments.shell,
        &mut super::Arguments::command(),
        "keylet",
        &mut script,
    );
    // Whoever reads may stop reading.
    let _ = terminal::product().write_all(&script);
    Ok(())
}
