//! The report for a terminal.

use std::collections::BTreeMap;
use std::io::{self, Write};

use anstyle::Style;
use keylet_audit::OK;

use super::document::{Refusal, Report, ratio};
use super::time::Span;
use super::{duration, grouped, percent};
use crate::terminal::Screen;

/// Rows of hours that are shown: those of two days. Of more, days are shown.
const MOST_HOURS: u64 = 48;

/// Rows of days that are shown: those of two months.
const MOST_DAYS: u64 = 62;

/// Reasons that are shown.
const MOST_REFUSALS: usize = 10;

/// Shows the report.
///
/// # Errors
/// An output that cannot be written.
pub fn show(report: &Report, screen: &mut Screen) -> io::Result<()> {
    let bold = Style::new().bold();
    let (Some(first), Some(last)) = (&report.first, &report.last) else {
        writeln!(screen, "No decision.\n")?;
        screen.row("lines", lines(report));
        return Ok(());
    };
    screen.styled(bold, format!("Decisions from {first} to {last}"));
    writeln!(screen, "\n")?;
    screen.row("lines", lines(report));
    screen.row("licences", licences(report));
    for month in &report.viewers.months {
        let about = if month.estimated { "about " } else { "" };
        let viewers = grouped(month.viewers);
        screen.row(
            "viewers",
            format!("{}: {about}{viewers} with a licence", month.month),
        );
    }
    if report.viewers.licences_without_viewer > 0 {
        let number = grouped(report.viewers.licences_without_viewer);
        screen.row("", format!("{number} licences name no viewer: `server_secret` is not set, or the token has no `sub`"));
    }
    screen.row("devices", devices(report));
    screen.row("tokens", tokens(report));

    writeln!(screen)?;
    show_hours(report, screen, bold)?;
    if !report.stages.is_empty() {
        writeln!(screen)?;
        screen.styled(bold, "Slowest stages");
        writeln!(
            screen,
            "\n\n  {:<20} {:>10} {:>10} {:>10} {:>10}",
            "stage", "median", "95 of 100", "99 of 100", "longest"
        )?;
        for stage in &report.stages {
            let [median, p95, p99, longest] =
                [stage.median, stage.p95, stage.p99, stage.longest].map(duration);
            writeln!(
                screen,
                "  {:<20} {median:>10} {p95:>10} {p99:>10} {longest:>10}",
                stage.stage
            )?;
        }
    }
    if !report.refusals.is_empty() {
        writeln!(screen)?;
        screen.styled(bold, "Refusals, and what to do");
        writeln!(screen, "\n")?;
        for refusal in report.refusals.iter().take(MOST_REFUSALS) {
            show_refusal(refusal, screen)?;
        }
        let more = report.refusals.len().saturating_sub(MOST_REFUSALS);
        if more > 0 {
            writeln!(screen, "  {more} more in --format json and html")?;
        }
    }
    Ok(())
}

/// What was read, in a sentence.
pub fn lines(report: &Report) -> String {
    let lines = &report.lines;
    let mut text = format!(
        "{} read, {} audit records",
        grouped(lines.read),
        grouped(lines.records)
    );
    for (number, what) in [
        (lines.outside, "of another time"),
        (lines.foreign, "lines of others"),
        (lines.broken, "broken"),
        (lines.other_version, "of another version of the record"),
    ] {
        if number > 0 {
            text.push_str(&format!(", {} {what}", grouped(number)));
        }
    }
    text
}

fn licences(report: &Report) -> String {
    let share = ratio(report.refused, report.licences + report.refused);
    format!(
        "{}; {} requests of players were refused ({})",
        grouped(report.licences),
        grouped(report.refused),
        percent(share)
    )
}

/// Devices a viewer, in a sentence.
pub fn devices(report: &Report) -> String {
    let devices = &report.devices;
    if devices.viewers == 0 {
        return "no record names a viewer and a device".to_owned();
    }
    let several = devices.distribution.iter().filter(|row| row.devices > 1);
    let several: u64 = several.map(|row| row.viewers).sum();
    let about = if devices.estimated { "about " } else { "" };
    format!(
        "{about}{:.2} a viewer; {} of {} viewers have more than one",
        devices.mean,
        grouped(several),
        grouped(devices.viewers)
    )
}

/// How many tokens there are, and the share of decisions on one that was seen before, in a sentence.
pub fn tokens(report: &Report) -> String {
    let about = |is_estimated: bool| if is_estimated { "about " } else { "" };
    match &report.tokens {
        Some(tokens) => format!(
            "{}{} in {} decisions, {} of which had one that was seen before",
            about(tokens.estimated),
            grouped(tokens.tokens),
            grouped(tokens.of),
            percent(tokens.share)
        ),
        None => {
            "no record names a token: `server_secret` is not set, or no token is needed".to_owned()
        }
    }
}

/// Licences, and other decisions by their code.
type Row<'a> = (u64, BTreeMap<&'a str, u64>);

fn show_hours(report: &Report, screen: &mut Screen, bold: Style) -> io::Result<()> {
    let span = Span::fitting(&report.hours, report.unit, MOST_HOURS, MOST_DAYS);
    screen.styled(
        bold,
        format!("Decisions by {}, system and code, in UTC", span.word()),
    );
    writeln!(
        screen,
        "\n\n  {:<16}  {:<10} {:>12}  others",
        span.word(),
        "system",
        "licences"
    )?;
    let mut rows: BTreeMap<(u64, &str), Row<'_>> = BTreeMap::new();
    for hour in &report.hours {
        let (licences, others) = rows
            .entry((span.number(hour.time), &hour.system))
            .or_default();
        *licences += hour.licences;
        let rest = hour.decisions - hour.licences;
        if rest > 0 {
            *others.entry(&hour.code).or_default() += rest;
        }
    }
    for ((number, system), (licences, others)) in rows {
        let others = others.iter().map(|(code, number)| match *code {
            OK => format!("no licence asked for {}", grouped(*number)),
            code => format!("{code} {}", grouped(*number)),
        });
        let others: Vec<String> = others.collect();
        let others = screen.fitted(&others.join(", "), 43);
        let (name, licences) = (span.name(number), grouped(licences));
        let line = format!("  {name:<16}  {system:<10} {licences:>12}  {others}");
        writeln!(screen, "{}", line.trim_end())?;
    }
    Ok(())
}

fn show_refusal(refusal: &Refusal, screen: &mut Screen) -> io::Result<()> {
    let systems: Vec<&str> = refusal.systems.iter().map(String::as_str).collect();
    let status = refusal.status.map(|status| format!(" ({status})"));
    writeln!(
        screen,
        "  {:>9}  {:>7}  {}{}: {}",
        grouped(refusal.refused),
        percent(refusal.share),
        refusal.code,
        status.unwrap_or_default(),
        systems.join(", ")
    )?;
    for sentence in refusal.meaning.iter().chain([&refusal.what_to_do]) {
        let sentence = screen.fitted(sentence, 22);
        writeln!(screen, "{:22}{sentence}", "")?;
    }
    Ok(())
}
