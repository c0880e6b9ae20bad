//! `keylet bench`

use std::io::Write;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::device::print;
use super::serve::duration;
use crate::bench::{Plan, Report};
use crate::host::World;
use crate::progress::while_waiting;

/// What follows the options in the help.
pub const EXAMPLES: &str = "\
Examples:
  keylet bench
  keylet bench --world wasip3 --rounds 2000 --connections 1,8
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
        default_value = "1,2,8,64"
    )]
    connections: Vec<usize>,
    /// How long to measure each number of connections
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = duration)]
    seconds: Duration,
    /// The figures as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let worlds = match arguments.worlds.as_slice() {
        [] => vec![World::Wasip2, World::Wasip3, World::Wasi],
        some => some.to_vec(),
    };
    let plan = Plan {
        worlds,
        rounds: usize::try_from(arguments.rounds)?,
        connections: arguments.connections.clone(),
        seconds: arguments.seconds,
    };
    let report = while_waiting("measuring", || plan.run())?;
    if arguments.json {
        return print(&report);
    }
    // Whoever reads may stop reading.
    let _ = show(&report);
    Ok(())
}

fn show(report: &Report) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for openssl in &report.openssl {
        writeln!(
            out,
            "OpenSSL, RSA-{} private operation: {:.0} us",
            openssl.bits, openssl.microseconds
        )?;
    }
    writeln!(
        out,
        "\nLicences one after the other, host and HTTP included, microseconds\n\n{:<10}{:<6}{:<8}{:>9}{:>9}{:>9}{:>12}{:>12}",
        "", "SPC", "token", "p50", "p99", "mean", "to native", "to OpenSSL"
    )?;
    for one in &report.licences {
        let mut natives = report
            .licences
            .iter()
            .filter(|native| native.world == "native");
        let native = natives.find(|native| (native.spc, native.token) == (one.spc, one.token));
        let bits = if one.spc == "v1" { 1024 } else { 2048 };
        let openssl = report.openssl.iter().find(|openssl| openssl.bits == bits);
        let ratio = |other: Option<f64>| {
            other.map_or("-".to_owned(), |other| {
                format!("{:.1}", one.microseconds.p50 / other)
            })
        };
        writeln!(
            out,
            "{:<10}{:<6}{:<8}{:>9.0}{:>9.0}{:>9.0}{:>12}{:>12}",
            one.world,
            one.spc,
            one.token,
            one.microseconds.p50,
            one.microseconds.p99,
            one.microseconds.mean,
            ratio(native.map(|native| native.microseconds.p50)),
            ratio(openssl.map(|openssl| openssl.microseconds)),
        )?;
    }
    writeln!(
        out,
        "\nLicences at once, SPC v1, HS256; client and host share the machine\n\n{:<10}{:>12}{:>12}{:>12}{:>12}",
        "", "connections", "a second", "p50, us", "p99, us"
    )?;
    for one in &report.throughput {
        writeln!(
            out,
            "{:<10}{:>12}{:>12.0}{:>12.0}{:>12.0}",
            one.world, one.connections, one.per_second, one.microseconds.p50, one.microseconds.p99
        )?;
    }
    writeln!(
        out,
        "\n{:<10}{:>15}{:>16}{:>20}{:>24}",
        "", "component, KiB", "host ready, ms", "first licence, us", "instance memory, bytes"
    )?;
    for one in &report.hosts {
        let memory = one
            .memory_bytes
            .map_or("-".to_owned(), |bytes| bytes.to_string());
        writeln!(
            out,
            "{:<10}{:>15}{:>16.1}{:>20.0}{memory:>24}",
            one.world, one.component_kib, one.ready_milliseconds, one.first_microseconds
        )?;
    }
    Ok(())
}
