//! `keylet health`

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use http::Request;
use keylet::encoding;
use serde::Deserialize;

use super::serve::duration;
use crate::client::Client;
use crate::doctor::target::KeyWarning;

/// What follows the options in the help.
pub const EXAMPLES: &str = "\
The exit code is 0 when the server answers and everything of its configuration loads, else 1.

Examples:
  keylet health
  keylet health https://drm.example.com
";

/// Which server.
#[derive(Args)]
pub struct Arguments {
    /// URL of the server, without a path
    #[arg(default_value = "http://127.0.0.1:3000")]
    url: String,
    /// How long to wait for an answer, such as 500ms or 10s
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    timeout: Duration,
}

/// The document of `/healthz`, as far as it is shown.
#[derive(Deserialize)]
struct Health {
    #[serde(default)]
    problems: Vec<Problem>,
    #[serde(default)]
    warnings: Vec<KeyWarning>,
}

#[derive(Deserialize)]
struct Problem {
    variable: Option<String>,
    message: String,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let url = format!("{}/healthz", arguments.url.trim_end_matches('/'));
    let request = Request::get(&url).body(Vec::new())?;
    let answer = Client::new(arguments.timeout, None)?
        .exchange(request)
        .with_context(|| format!("no answer from {url}: is the server running there?"))?;
    let is_healthy = answer.status() == 200;
    match is_healthy {
        true => println!("healthy"),
        false => println!("not healthy: {url} answered {}", answer.status().as_u16()),
    }
    let health: Option<Health> = serde_json::from_slice(answer.body()).ok();
    let (problems, warnings) = health.map_or_else(Default::default, |h| (h.problems, h.warnings));
    let problems = problems.into_iter().map(|problem| {
        let variable = problem.variable.map(|name| name + ": ").unwrap_or_default();
        format!("{variable}{}", problem.message)
    });
    let warnings = warnings.iter().map(|warning| format!("warning: {warning}"));
    for line in problems.chain(warnings) {
        // What a server sends must not steer the terminal.
        println!("  {}", line.replace(encoding::is_obeyed, " "));
    }
    if is_healthy {
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::FAILURE)
}
