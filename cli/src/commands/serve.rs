//! `keylet serve`

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::host::{Application, Options, Server, from_environment, parse_assignment};

/// Serve an application in the embedded host.
#[derive(Args)]
pub struct Arguments {
    /// Address to listen at
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:3000")]
    listen: SocketAddr,
    /// A `spin.toml` whose component is built; without it, the application built into this program
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// An application variable: name=value, or name=@file. The environment has them too, as
    /// `SPIN_VARIABLE_NAME`, which keeps secrets out of the argument list
    #[arg(long = "variable", value_name = "NAME=VALUE", value_parser = parse_assignment)]
    variables: Vec<(String, String)>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    super::log_to_stderr();
    let mut provided = from_environment();
    provided.extend(arguments.variables.iter().cloned());
    let application = match &arguments.from {
        Some(path) => Application::from_manifest(path, &provided)?,
        None => Application::built_in(&provided)?,
    };
    Server::start(
        application,
        &Options {
            listen: arguments.listen,
            show_output: true,
        },
    )?
    .run_until_interrupted()
}
