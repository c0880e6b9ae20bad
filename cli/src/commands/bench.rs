//! `keylet bench`

use std::io::Write;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::device::print;
use super::serve::duration;
use crate::bench::{Plan, Report, SETUPS, Setup, catalogue, others, store_day};
use crate::progress::while_waiting;
use crate::terminal;
use keylet_host::World;

/// What follows the options in the help.
pub const EXAMPLES: &str = "\
Examples:
  keylet bench
  keylet bench --world wasip3 --rounds 2000 --connections 1,8
  keylet bench --world wasip3 --soak 1000000
  keylet bench --keys 10,1000,100000,1000000 --rounds 200
  keylet bench --others
  keylet bench --store-day 100000 --redis redis://127.0.0.1:6379
  keylet bench --url http://127.0.0.1:3000 --connections 1,8
  keylet bench --json
";

/// What is measured.
#[derive(Args)]
pub struct Arguments {
    /// What the host provides to the component; may be repeated [default: each]
    #[arg(long = "world", value_enum, value_name = "WORLD")]
    worlds: Vec<World>,
    /// Licences one after the other, of each kind
    #[arg(long, value_name = "NUMBER", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Connections at once
    #[arg(
        long,
        value_name = "NUMBER,…",
        value_delimiter = ',',
        default_value = "1,2,8,64",
        value_parser = clap::value_parser!(u32).range(1..=1024)
    )]
    connections: Vec<u32>,
    /// How long to measure each number of connections
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = duration)]
    seconds: Duration,
    /// Licences at the end, of an instance that is used again, to see what becomes of its memory
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    soak: u32,
    /// A server elsewhere, with the settings of fixtures/variables.env: licences on several connections at once
    #[arg(long, value_name = "URL", conflicts_with_all = ["worlds", "rounds", "soak"])]
    url: Option<String>,
    /// Numbers of stored keys: licences in turns with each, in place of everything else, beside a few keys in the
    /// variable and keys of a seed
    #[arg(
        long,
        value_name = "NUMBER,…",
        value_delimiter = ',',
        group = "stored",
        conflicts_with_all = ["url", "soak"],
        value_parser = clap::value_parser!(u32).range(1..=100_000_000)
    )]
    keys: Vec<u32>,
    /// How large a day of so many viewers makes the store, and what a sweep leaves of it, in place of everything else
    #[arg(
        long,
        value_name = "NUMBER",
        group = "stored",
        conflicts_with_all = ["url", "soak", "others", "worlds"],
        value_parser = clap::value_parser!(u32).range(1..=100_000_000)
    )]
    store_day: Option<u32>,
    /// URL of a Redis in place of files. For --keys without a database: its databases from 0 on must be empty. For
    /// --store-day the database must be
    #[arg(long, value_name = "URL", requires = "stored")]
    redis: Option<String>,
    /// Requests other than FairPlay's, in place of everything else: keys in the clear, and keys for packagers
    #[arg(long, conflicts_with_all = ["url", "soak", "keys"])]
    others: bool,
    /// The results as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    if let Some(viewers) = arguments.store_day {
        return run_store_day(arguments, viewers);
    }
    let worlds = &arguments.worlds;
    let setups = SETUPS.into_iter().filter(|setup| match worlds.as_slice() {
        // Those that this program carries.
        [] => crate::component(setup.world).is_ok(),
        worlds => worlds.contains(&setup.world),
    });
    if !arguments.keys.is_empty() {
        return run_catalogue(arguments, setups.collect());
    }
    if arguments.others {
        return run_others(arguments, &setups.collect::<Vec<_>>());
    }
    let connections = arguments.connections.iter().copied();
    let plan = Plan {
        setups: setups.collect(),
        rounds: usize::try_from(arguments.rounds)?,
        connections: connections.map(usize::try_from).collect::<Result<_, _>>()?,
        seconds: arguments.seconds,
        soak: arguments.soak.into(),
        url: arguments.url.clone(),
    };
    let report = while_waiting("measuring", || plan.run())?;
    if arguments.json {
        return print(&report);
    }
    // Whoever reads may stop reading.
    let _ = match &arguments.url {
        Some(_) => show_at_once(&report, "the clients are on this machine"),
        None => show(&report),
    };
    Ok(())
}

fn run_catalogue(arguments: &Arguments, setups: Vec<Setup>) -> Result<()> {
    let plan = catalogue::Plan {
        // Plain hosts have no store.
        setups: setups
            .into_iter()
            .filter(|setup| setup.world != World::Wasi)
            .collect(),
        sizes: arguments.keys.clone(),
        rounds: usize::try_from(arguments.rounds)?,
        redis: arguments.redis.clone(),
    };
    let report = while_waiting("measuring", || plan.run())?;
    if arguments.json {
        return print(&report);
    }
    // Whoever reads may stop reading.
    let _ = show_catalogue(&report);
    Ok(())
}

fn run_store_day(arguments: &Arguments, viewers: u32) -> Result<()> {
    let sizes = store_day::run(viewers, arguments.redis.as_deref())?;
    if arguments.json {
        return print(&sizes);
    }
    // Whoever reads may stop reading.
    let _ = show_store_day(viewers, &sizes);
    Ok(())
}

fn show_store_day(viewers: u32, sizes: &[store_day::Size]) -> std::io::Result<()> {
    let mut out = terminal::stdout();
    writeln!(
        out,
        "A day of {viewers} viewers\n\n{:<22}{:>12}{:>16}{:>16}{:>12}{:>10}",
        "", "keys", "bytes", "size in bytes", "deleted", "seconds"
    )?;
    for one in sizes {
        writeln!(
            out,
            "{:<22}{:>12}{:>16}{:>16}{:>12}{:>10.1}",
            one.when, one.keys, one.bytes, one.size, one.deleted, one.seconds
        )?;
    }
    Ok(())
}

fn run_others(arguments: &Arguments, setups: &[Setup]) -> Result<()> {
    let rounds = usize::try_from(arguments.rounds)?;
    let measured = while_waiting("measuring", || others::run(setups, rounds))?;
    if arguments.json {
        return print(&measured);
    }
    // Whoever reads may stop reading.
    let _ = show_others(&measured);
    Ok(())
}

fn show_others(measured: &[others::Measured]) -> std::io::Result<()> {
    let mut out = terminal::stdout();
    writeln!(
        out,
        "Keys in the clear, and keys of a seed for packagers; microseconds, with HTTP and the host, and inside the component\n\n{:<14}{:<44}{:>6}{:>8}{:>8}{:>8}{:>12}{:>8}",
        "", "request", "keys", "least", "p50", "p99", "inside", "p50"
    )?;
    for one in measured {
        writeln!(
            out,
            "{:<14}{:<44}{:>6}{:>8.0}{:>8.0}{:>8.0}{:>12.0}{:>8.0}",
            one.setup,
            one.request,
            one.keys,
            one.microseconds.least,
            one.microseconds.p50,
            one.microseconds.p99,
            one.guest.least,
            one.guest.p50,
        )?;
    }
    Ok(())
}

fn show_catalogue(report: &catalogue::Report) -> std::io::Result<()> {
    let mut out = terminal::stdout();
    for one in &report.filled {
        writeln!(
            out,
            "{} keys stored, {:.0} a second",
            one.keys, one.per_second
        )?;
    }
    writeln!(
        out,
        "\nLicences, SPC v1, HS256, each for another key; microseconds, with HTTP and the host, and inside the component\n\n{:<14}{:<18}{:>8}{:>8}{:>8}{:>12}{:>8}{:>8}",
        "", "keys", "least", "p50", "p99", "inside", "p50", "ratio"
    )?;
    for one in &report.licences {
        writeln!(
            out,
            "{:<14}{:<18}{:>8.0}{:>8.0}{:>8.0}{:>12.0}{:>8.0}{:>8.2}",
            one.setup,
            one.source.to_string(),
            one.microseconds.least,
            one.microseconds.p50,
            one.microseconds.p99,
            one.guest.least,
            one.guest.p50,
            one.ratio,
        )?;
    }
    Ok(())
}

fn show(report: &Report) -> std::io::Result<()> {
    let mut out = terminal::stdout();
    let environment = &report.environment;
    let processors = environment
        .processors
        .map_or_else(String::new, |number| format!(", {number} processors"));
    writeln!(
        out,
        "Keylet {}{processors}; {}",
        environment.keylet, environment.openssl
    )?;
    for openssl in &report.openssl {
        writeln!(
            out,
            "OpenSSL, RSA-{} private operation: {:.0} us",
            openssl.bits, openssl.microseconds
        )?;
    }
    let to_openssl = |spc: &str, least: f64| {
        let bits = if spc == "v1" { 1024 } else { 2048 };
        let openssl = report.openssl.iter().find(|openssl| openssl.bits == bits);
        openssl.map_or("-".to_owned(), |openssl| {
            format!("{:.2}", least / openssl.microseconds)
        })
    };
    writeln!(
        out,
        "\nLicences one after the other, microseconds, with HTTP and the host, and inside the component\n\n{:<14}{:<6}{:<8}{:>8}{:>8}{:>8}{:>12}{:>8}{:>12}",
        "", "SPC", "token", "least", "p50", "p99", "inside", "p50", "to OpenSSL"
    )?;
    for one in &report.licences {
        let inside = one.guest.as_ref();
        let number = |number: Option<f64>| {
            number.map_or("-".to_owned(), |microseconds| format!("{microseconds:.0}"))
        };
        let least = inside.map_or(one.microseconds.least, |guest| guest.least);
        writeln!(
            out,
            "{:<14}{:<6}{:<8}{:>8.0}{:>8.0}{:>8.0}{:>12}{:>8}{:>12}",
            one.setup,
            one.spc,
            one.token,
            one.microseconds.least,
            one.microseconds.p50,
            one.microseconds.p99,
            number(inside.map(|guest| guest.least)),
            number(inside.map(|guest| guest.p50)),
            to_openssl(one.spc, least),
        )?;
    }
    writeln!(
        out,
        "\nHow far a request gets, microseconds inside the component\n\n{:<14}{:<6}{:<34}{:>8}{:>8}{:>10}{:>12}",
        "", "SPC", "", "least", "p50", "this step", "to OpenSSL"
    )?;
    for one in &report.stages {
        writeln!(
            out,
            "{:<14}{:<6}{:<34}{:>8.0}{:>8.0}{:>10.0}{:>12}",
            one.setup,
            one.spc,
            one.reached,
            one.guest.least,
            one.guest.p50,
            one.step_microseconds,
            to_openssl(one.spc, one.step_microseconds),
        )?;
    }
    drop(out);
    show_at_once(
        report,
        "the host has one thread, and the clients are on the same machine",
    )?;
    let mut out = terminal::stdout();
    writeln!(
        out,
        "\n{:<14}{:>15}{:>16}{:>20}{:>24}",
        "", "component, KiB", "host ready, ms", "first licence, us", "instance memory, bytes"
    )?;
    for one in &report.hosts {
        writeln!(
            out,
            "{:<14}{:>15}{:>16.1}{:>20.0}{:>24}",
            one.setup,
            one.component_kib,
            one.ready_milliseconds,
            one.first_microseconds,
            one.memory_bytes
        )?;
    }
    for one in &report.soak {
        let [early, late] = one.memory_bytes;
        let process = one.resident_kib.map_or_else(String::new, |[early, late]| {
            format!(", and this process {early} and {late} KiB")
        });
        writeln!(
            out,
            "\n{}: {} licences, {:.0} a second; after the first thousand and at the end, an instance had at most {early} and {late} bytes{process}",
            one.setup, one.licences, one.per_second
        )?;
    }
    Ok(())
}

fn show_at_once(report: &Report, remark: &str) -> std::io::Result<()> {
    let mut out = terminal::stdout();
    writeln!(
        out,
        "\nLicences at once, SPC v1, HS256; {remark}\n\n{:<14}{:>12}{:>12}{:>12}{:>12}",
        "", "connections", "a second", "p50, us", "p99, us"
    )?;
    for one in &report.throughput {
        writeln!(
            out,
            "{:<14}{:>12}{:>12.0}{:>12.0}{:>12.0}",
            one.setup, one.connections, one.per_second, one.microseconds.p50, one.microseconds.p99
        )?;
    }
    Ok(())
}
