//! `keylet bench`

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;

use super::device::print;
use super::serve::duration;
use crate::bench::soak::{Sample, Soak};
use crate::bench::{Plan, Report, SETUPS, Setup, catalogue, others, soak, soak_plot, store_day};
use crate::progress::while_waiting;
use crate::terminal;
use keylet_host::World;

/// What follows the options in the help.
pub const EXAMPLES: &str = "\
Examples:
  keylet bench
  keylet bench --world wasip3 --rounds 2000 --connections 1,8
  keylet bench --soak 1000000 --plot soak.svg
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
    /// So many requests of all kinds in each world, in place of everything else: every answer is judged, and memory,
    /// descriptors, store and times are watched. It fails where one of them grows without an end
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    soak: Option<u32>,
    /// Where the plot of --soak is written: an SVG file
    #[arg(long, value_name = "FILE", requires = "soak")]
    plot: Option<PathBuf>,
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
    if let Some(requests) = arguments.soak {
        return run_soak(arguments, requests, setups.collect());
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

fn run_soak(arguments: &Arguments, requests: u32, setups: Vec<Setup>) -> Result<()> {
    // Instances of WASI 0.3 that answer one request each are as those of WASI 0.2.
    let setups = setups
        .into_iter()
        .filter(|setup| !setup.is_fresh || setup.world != World::Wasip3);
    let soaked = setups.map(|setup| {
        let soaked = soak::run(setup, requests.into());
        soaked.with_context(|| format!("in the world {}", setup.name))
    });
    let soaked: Vec<Soak> = soaked.collect::<Result<_>>()?;
    if let Some(path) = &arguments.plot {
        std::fs::write(path, soak_plot::svg(&soaked)?)
            .with_context(|| format!("writing {}", path.display()))?;
    }
    if arguments.json {
        print(&soaked)?;
    } else {
        // Whoever reads may stop reading.
        let _ = show_soak(&soaked);
    }
    for one in &soaked {
        let growing = one.growing();
        ensure!(
            growing.is_empty(),
            "in the world {}, something grows: {growing:?}",
            one.setup
        );
    }
    Ok(())
}

fn show_soak(soaked: &[Soak]) -> std::io::Result<()> {
    let mut out = terminal::stdout();
    for one in soaked {
        writeln!(
            out,
            "{}: {} requests, {:.0} a second, each answered as it should be\n\n{:<44}{:<30}{:>10}",
            one.setup, one.requests, one.per_second, "request", "answer", "times"
        )?;
        for answered in &one.answered {
            writeln!(
                out,
                "{:<44}{:<30}{:>10}",
                answered.request, answered.answer, answered.requests
            )?;
        }
        writeln!(
            out,
            "\n{:<10}{:>12}{:>12}{:>14}{:>12}{:>18}{:>10}{:>10}",
            "",
            "requests",
            "memory, KiB",
            "descriptors",
            "store, KiB",
            "instance, bytes",
            "p50, us",
            "p99, us"
        )?;
        for (when, sample) in ["start", "middle", "end"].into_iter().zip(one.three()) {
            let Some(sample) = sample else { continue };
            show_sample(&mut out, when, sample)?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn show_sample(out: &mut impl Write, when: &str, sample: &Sample) -> std::io::Result<()> {
    let number =
        |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
    writeln!(
        out,
        "{when:<10}{:>12}{:>12}{:>14}{:>12}{:>18}{:>10.0}{:>10.0}",
        sample.requests,
        number(sample.resident_kib),
        number(sample.descriptors),
        number(sample.store_bytes.map(|bytes| bytes / 1_024)),
        sample.instance_bytes,
        sample.microseconds.p50,
        sample.microseconds.p99,
    )
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
