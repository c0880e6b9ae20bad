//! `keylet report`

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use keylet_audit::Tally;

use crate::file::{self, STANDARD};
use crate::progress::while_waiting;
use crate::report::{self, Report};
use crate::terminal;

/// What follows the options in the help.
pub const EXAMPLES: &str = "\
Files may be compressed by gzip or zstd. Lines may have what a host writes before them, or be in the documents of a
collector of logs; lines of others are counted and passed over. Times are in UTC.

Examples:
  keylet report audit.log
  keylet report --since 2026-11-01 --until 2026-12-01 --format html --out report.html audit-1.log.gz audit-2.log.zst
  keylet report --format json -
";

/// Which lines, and how they are told.
#[derive(Args)]
pub struct Arguments {
    /// Files with audit records; `-` is standard input
    #[arg(value_name = "FILE", default_value = STANDARD)]
    files: Vec<PathBuf>,
    /// Count what was decided from this time on: a date, or a date and a time with its zone
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Timestamp>,
    /// Count what was decided before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<Timestamp>,
    /// Output format
    #[arg(long, value_enum, value_name = "NAME", default_value = "table")]
    format: Format,
    /// Where to write it; `-` is standard output
    #[arg(long, value_name = "FILE", default_value = STANDARD)]
    out: PathBuf,
}

/// How a report is told.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Tables for a terminal
    Table,
    /// One JSON document
    Json,
    /// One page with plots, which asks for nothing from elsewhere
    Html,
}

/// A date, at its beginning in UTC, or a time as RFC 3339 has it.
fn time(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let date = text.parse::<Date>().ok();
    let date = date.filter(|_| text.len() == "2026-11-28".len());
    let time = date.and_then(|date| date.to_zoned(TimeZone::UTC).ok());
    match time {
        Some(time) => Ok(time.timestamp()),
        None => Err(
            "expected a date such as 2026-11-28, or a time such as 2026-11-28T12:00:00Z".to_owned(),
        ),
    }
}

pub fn run(arguments: &Arguments) -> Result<()> {
    if let (Some(since), Some(until)) = (arguments.since, arguments.until)
        && since >= until
    {
        bail!("--since must be before --until");
    }
    let mut tally = Tally::new(arguments.since, arguments.until);
    while_waiting("reading", || {
        let mut files = arguments.files.iter();
        files.try_for_each(|file| report::lines(file, |line| tally.add(line)))
    })?;
    let report = Report::new(&tally.counts());
    let is_to_file = arguments.out != Path::new(STANDARD);
    match arguments.format {
        Format::Table if is_to_file => bail!("--out needs --format json or html"),
        Format::Table => {
            // Whoever reads may stop reading.
            let _: io::Result<()> = report::show(&report, &mut terminal::stdout());
        }
        Format::Json if is_to_file => {
            let mut text = serde_json::to_vec_pretty(&report)?;
            text.push(b'\n');
            file::write(&arguments.out, &text)?;
        }
        Format::Json => terminal::print_json(&report)?,
        Format::Html => file::write(&arguments.out, report::page(&report)?.as_bytes())?,
    }
    if is_to_file {
        let _ = writeln!(terminal::stderr(), "{}", arguments.out.display());
    }
    if report.is_empty() {
        let _ = writeln!(terminal::stderr(), "no audit record was found");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_begins_in_utc() {
        let seconds = |text: &str| time(text).map(Timestamp::as_second).ok();
        assert_eq!(seconds("2026-11-28"), Some(1_795_824_000));
        assert_eq!(seconds("2026-11-28T01:00:00+01:00"), Some(1_795_824_000));
        for wrong in [
            "",
            "yesterday",
            "2026-11",
            "2026-11-28T01:00:00",
            "2026-13-01",
        ] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }
}
