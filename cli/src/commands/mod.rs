//! The commands, one file each.

mod bench;
mod completions;
mod credentials;
mod demo;
mod device;
mod doctor;
mod fixtures;
mod health;
mod keys;
mod license;
mod policies;
mod recipe;
mod remote;
mod report;
mod serve;
mod speke;
mod store;
mod token;
mod variables_file;

use std::process::ExitCode;

use anyhow::{Result, anyhow};
use clap::{Parser, Subcommand};
use keylet::configuration::SettingError;
use keylet::encoding;
use serde_json::{Map, Value};

/// A DRM licence server that is one WebAssembly component.
///
/// Without a command it serves the fixtures on loopback, plays a device against them once, and
/// shows how to repeat that.
#[derive(Parser)]
#[command(name = "keylet", version)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// A command of the command line.
#[derive(Subcommand, Default)]
pub enum Command {
    /// Serve the fixtures, play a device against them once, and show how to repeat it
    #[default]
    #[command(after_help = demo::EXAMPLES)]
    Demo,
    /// Serve an application in the embedded host
    #[command(after_help = serve::EXAMPLES)]
    Serve(serve::Arguments),
    /// Make and import FairPlay credentials: private keys, signing requests, certificates, ASks
    #[command(subcommand)]
    Credentials(credentials::Command),
    /// Ask a licence server for a licence as a device does, check it, and say what it grants
    #[command(after_help = license::help())]
    License(Box<license::Arguments>),
    /// Emulate a FairPlay device: make SPCs, open CKCs, explain SPCs
    #[command(subcommand)]
    Device(device::Command),
    /// Find what keeps a deployment from answering players
    ///
    /// It looks at credentials, tokens, keys and, of a server that runs, at TLS, clock, CORS and caches,
    /// and plays a device against it.
    #[command(after_help = doctor::HELP)]
    Doctor(Box<doctor::Arguments>),
    /// Ask a server that runs whether everything of its configuration loads, as a health check
    #[command(after_help = health::EXAMPLES)]
    Health(health::Arguments),
    /// Keep content keys: add, import, export, list, show, delete, restore, rotate, and make keys from a seed
    #[command(subcommand)]
    Keys(keys::Command),
    /// Look after the key-value store: what is in it, and what of it is over
    #[command(subcommand)]
    Store(store::Command),
    /// Ask a key server for keys as an encoder does by SPEKE, and check what comes
    #[command(after_help = speke::HELP)]
    Speke(Box<speke::Arguments>),
    /// Make content key policies, and take over those of other services
    #[command(subcommand)]
    Policies(policies::Command),
    /// Print the recipe of a player: the code that plays with this server, and what to know
    #[command(after_help = recipe::EXAMPLES)]
    Recipe(recipe::Arguments),
    /// Tell what audit records hold: licences by hour, viewers by month, reasons for refusals and what to do
    #[command(after_help = report::EXAMPLES)]
    Report(report::Arguments),
    /// Make tokens, and explain them
    #[command(subcommand)]
    Token(token::Command),
    /// Measure what a licence costs on this machine, in each world
    #[command(after_help = bench::EXAMPLES)]
    Bench(bench::Arguments),
    /// Write or check the fixtures
    #[command(subcommand)]
    Fixtures(fixtures::Command),
    /// Print what a shell needs to complete commands and options
    #[command(after_help = completions::EXAMPLES)]
    Completions(completions::Arguments),
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
            Self::License(arguments) => return license::run(&arguments),
            Self::Health(arguments) => return health::run(&arguments),
            Self::Device(command) => device::run(command)?,
            Self::Keys(command) => return keys::run(&command),
            Self::Store(command) => store::run(&command)?,
            Self::Speke(arguments) => return speke::run(&arguments),
            Self::Policies(command) => return policies::run(&command),
            Self::Recipe(arguments) => recipe::run(&arguments)?,
            Self::Report(arguments) => report::run(&arguments)?,
            Self::Token(command) => return token::run(command),
            Self::Bench(arguments) => bench::run(&arguments)?,
            Self::Fixtures(command) => fixtures::run(&command)?,
            Self::Completions(arguments) => completions::run(&arguments)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Problems of settings, in one line.
fn sentences(problems: &[SettingError]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("; ")
}

/// The JSON object of `--terms`.
fn terms(text: &str) -> Result<Map<String, Value>> {
    encoding::json_object(text.as_bytes()).map_err(|reason| anyhow!("--terms: {reason}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::CommandFactory;

    use super::*;

    /// Commands that have no commands below them, by the words that call them.
    fn leaves() -> Vec<(Vec<String>, clap::Command)> {
        let mut found = Vec::new();
        let mut pending = vec![(vec!["keylet".to_owned()], Arguments::command())];
        while let Some((words, command)) = pending.pop() {
            pending.extend(command.get_subcommands().map(|command| {
                let name = command.get_name().to_owned();
                ([words.clone(), vec![name]].concat(), command.clone())
            }));
            if !command.has_subcommands() {
                found.push((words, command));
            }
        }
        found
    }

    /// The words of a line as a shell gives them to a command: without quotes and redirection.
    fn words(line: &str) -> Vec<String> {
        let (line, _) = line.split_once(" > ").unwrap_or((line, ""));
        let mut words = vec![String::new()];
        for (index, part) in line.split('\'').enumerate() {
            let is_quoted = index % 2 == 1;
            for (index, word) in part.split(' ').enumerate() {
                match (is_quoted, index) {
                    (_, 0) => words.last_mut().unwrap().push_str(word),
                    (true, _) => words.last_mut().unwrap().push_str(&format!(" {word}")),
                    (false, _) => words.push(word.to_owned()),
                }
            }
        }
        words
    }

    #[test]
    fn every_command_shows_examples_and_takes_them_itself() {
        let leaves = leaves();
        assert!(leaves.len() >= 11, "{}", leaves.len());
        for (name, command) in leaves {
            let help = command.get_after_help();
            let help = help.map(ToString::to_string).unwrap_or_default();
            let (_, examples) = help.split_once("Examples:\n").unwrap_or_default();
            let examples: Vec<_> = examples.lines().map(|line| words(line.trim())).collect();
            assert!(!examples.is_empty(), "{name:?} has no example");
            for example in examples {
                assert!(
                    example.starts_with(&name),
                    "{example:?} is none of {name:?}"
                );
                let parsed = Arguments::command().try_get_matches_from(&example);
                assert!(parsed.is_ok(), "{example:?}: {}", parsed.unwrap_err());
            }
        }
    }

    #[test]
    fn an_option_takes_the_same_in_every_command() {
        let mut known: BTreeMap<String, (String, Vec<String>)> = BTreeMap::new();
        for (name, command) in leaves() {
            for option in command.get_arguments() {
                let Some(long) = option.get_long() else {
                    continue;
                };
                let values = option.get_value_names().unwrap_or_default();
                let values: Vec<String> = values.iter().map(ToString::to_string).collect();
                let (first, expected) = known
                    .entry(long.to_owned())
                    .or_insert_with(|| (name.join(" "), values.clone()));
                // The ids of a token's keys, and how many keys a benchmark stores.
                if long != "keys" {
                    assert_eq!(&values, expected, "--{long} of {name:?} and of {first:?}");
                }
            }
        }
        assert!(known.len() > 30, "{}", known.len());
    }

    #[test]
    fn the_tree_of_commands_is_consistent() {
        Arguments::command().debug_assert();
    }
}
