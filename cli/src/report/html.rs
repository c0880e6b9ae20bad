//! The report as a page: one file that asks for nothing from elsewhere, without a script.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use keylet::drm::DrmSystem;
use keylet_audit::OK;

use super::document::{Hour, Owners, Report, ratio};
use super::plot::{Part, Plot};
use super::text::{devices, lines, tokens};
use super::time::Span;
use super::{duration, grouped, percent};

const STYLE: &str = include_str!("page.css");

/// Bars of hours in a plot: those of two weeks. Of more, there is a bar a day.
const MOST_HOURS: u64 = 336;

/// Bars of days in a plot. Of more, there is a bar a month.
const MOST_DAYS: u64 = 400;

/// Widths of a plot over the page and over its half, on a wide screen and a narrow one.
const FULL: (u32, u32) = (1_120, 330);
const HALF: (u32, u32) = (540, 330);

/// Codes with a colour of their own. The others share one.
const MOST_COLOURS: usize = 4;

/// Reasons that are shown.
const MOST_REFUSALS: usize = 20;

/// Numbers of devices with a bar of their own. The others share one.
const MOST_DEVICES: u32 = 6;

/// The page.
///
/// # Errors
/// What the library for plots reports.
pub fn page(report: &Report) -> Result<String> {
    let period = match (&report.first, &report.last) {
        (Some(first), Some(last)) => {
            let shown = |time: &str| escaped(&time.replace('T', " ").replace('Z', ""));
            format!("Decisions from {} to {}", shown(first), shown(last))
        }
        _ => "No decision".to_owned(),
    };
    let mut main = tiles(report);
    if !report.is_empty() {
        main += &licences(report)?;
        main += &refusals_by_time(report)?;
        main += &viewers(report)?;
        main += &devices_a_viewer(report)?;
        main += &stages(report);
        main += &refusals(report);
        main += &systems(report);
        main += &hours(report);
    }
    let notes = notes(report);
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>Keylet report</title>\n<style>\n{STYLE}</style>\n\
         <header><h1>Keylet <span>report</span></h1><p>{period}, all times in UTC</p></header>\n\
         <main>\n{main}</main>\n{notes}</html>\n"
    ))
}

/// Text that stands in HTML as it is, in elements and attributes.
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// A sentence with names in backticks.
fn sentence(text: &str) -> String {
    let mut html = String::new();
    for (index, part) in escaped(text).split('`').enumerate() {
        match index % 2 {
            0 => html.push_str(part),
            _ => html.push_str(&format!("<code>{part}</code>")),
        }
    }
    html
}

/// What a system, or another part of the server, is called.
fn title(system: &str) -> String {
    match DrmSystem::from_name(system) {
        Some(system) => system.title().to_owned(),
        None => system.to_owned(),
    }
}

fn tiles(report: &Report) -> String {
    let asked = report.licences + report.refused;
    let last_month = report.viewers.months.last();
    let about = |is_estimated: bool| if is_estimated { "about " } else { "" };
    let viewers = match last_month {
        Some(month) => (
            format!("{}{}", about(month.estimated), grouped(month.viewers)),
            format!("with a licence in {}", month.month),
        ),
        None => ("–".to_owned(), "no licence names a viewer".to_owned()),
    };
    let devices = match report.devices.viewers {
        0 => ("–".to_owned(), "no licence names a device".to_owned()),
        number => (
            format!(
                "{}{:.2}",
                about(report.devices.estimated),
                report.devices.mean
            ),
            format!(
                "of {}{} viewers",
                about(report.devices.estimated),
                grouped(number)
            ),
        ),
    };
    let tokens = match &report.tokens {
        Some(tokens) => (
            format!("{}{}", about(tokens.estimated), percent(tokens.share)),
            format!("of {} decisions", grouped(tokens.of)),
        ),
        None => ("–".to_owned(), "no decision names a token".to_owned()),
    };
    let refused = (
        percent(ratio(report.refused, asked)),
        format!("{} of {} requests", grouped(report.refused), grouped(asked)),
    );
    let licences = (
        grouped(report.licences),
        format!(
            "from {} audit records",
            grouped(report.lines.records - report.lines.outside)
        ),
    );
    let tiles = [
        ("Licences", "", licences),
        ("Refused to players", " bad", refused),
        ("Viewers", "", viewers),
        ("Devices a viewer", "", devices),
        ("Tokens seen before", "", tokens),
    ];
    let tiles = tiles.map(|(name, kind, (number, hint))| {
        let (number, hint) = (escaped(&number), escaped(&hint));
        format!("<div><dt>{name}</dt><dd class=\"number{kind}\">{number}</dd><dd><small>{hint}</small></dd></div>\n")
    });
    format!("<dl class=\"tiles\">\n{}</dl>\n", tiles.concat())
}

/// A plot for wide screens and one for narrow ones.
fn figure(plot: &Plot<'_>, (wide, narrow): (u32, u32)) -> Result<String> {
    Ok(format!(
        "<figure><div class=\"wide\">{}</div><div class=\"narrow\">{}</div></figure>\n",
        plot.svg(wide)?,
        plot.svg(narrow)?
    ))
}

fn legend<'a>(rows: impl Iterator<Item = (&'a str, String, u64)>) -> String {
    let rows = rows.map(|(colour, name, number)| {
        let (name, number) = (escaped(&name), grouped(number));
        format!("<li><i style=\"background:var({colour})\"></i>{name} <b>{number}</b></li>")
    });
    format!("<ul class=\"legend\">{}</ul>\n", rows.collect::<String>())
}

/// Bars of spans, in which each name has a part. Of the names those with a colour come first, and the others share the last.
fn by_time<'a>(
    report: &'a Report,
    heading: &str,
    colours: &[&'static str],
    names: &[&'a str],
    part: impl Fn(&'a Hour) -> Option<(&'a str, u64)>,
    shown: impl Fn(&str) -> String,
) -> Result<String> {
    let span = Span::fitting(&report.hours, report.unit, MOST_HOURS, MOST_DAYS);
    let times = || report.hours.iter().map(|hour| span.number(hour.time));
    let (Some(first), Some(last)) = (times().min(), times().max()) else {
        return Ok(String::new());
    };
    let place = |name: &str| names.iter().position(|other| *other == name);
    let number_of_parts = colours.len().min(names.len().max(1));
    let bars = usize::try_from(last - first).unwrap_or(0) + 1;
    let mut heights = vec![vec![0_u64; bars]; number_of_parts];
    for hour in &report.hours {
        let Some((name, number)) = part(hour) else {
            continue;
        };
        let index = place(name)
            .unwrap_or(number_of_parts)
            .min(number_of_parts - 1);
        let bar = usize::try_from(span.number(hour.time) - first).unwrap_or(0);
        if let Some(height) = heights
            .get_mut(index)
            .and_then(|heights| heights.get_mut(bar))
        {
            *height += number;
        }
    }
    let sums: Vec<u64> = heights.iter().map(|heights| heights.iter().sum()).collect();
    let parts = heights
        .into_iter()
        .zip(colours)
        .map(|(heights, colour)| Part {
            colour: (*colour).to_owned(),
            heights,
        });
    let is_one_day = Span::Day.number(first * 3_600) == Span::Day.number(last * 3_600);
    let label = |number| {
        let name = span.name(number);
        match (span, name.split_once(' ')) {
            (Span::Hour, Some((_, time))) if is_one_day => time.to_owned(),
            (Span::Hour, Some((date, time))) => {
                let (_, day) = date.split_once('-').unwrap_or_default();
                format!("{day} {time}")
            }
            _ => name,
        }
    };
    let title = format!("{heading} by {}", span.word());
    let plot = Plot {
        title: &title,
        labels: (first..=last).map(label).collect(),
        parts: parts.collect(),
    };
    let legend = legend(
        colours
            .iter()
            .zip(&sums)
            .enumerate()
            .map(|(index, (colour, sum))| {
                let is_shared = index + 1 == number_of_parts && names.len() > number_of_parts;
                let name = match names.get(index) {
                    Some(_) if is_shared => "all others".to_owned(),
                    Some(name) => shown(name),
                    None => String::new(),
                };
                (*colour, name, *sum)
            }),
    );
    Ok(format!(
        "<section><h2>{title}</h2>\n{legend}{}</section>\n",
        figure(&plot, FULL)?
    ))
}

fn licences(report: &Report) -> Result<String> {
    let systems = report.systems.iter().filter(|row| row.licences > 0);
    let names: Vec<&str> = systems.map(|row| row.system.as_str()).collect();
    if names.is_empty() {
        return Ok(
            "<section><h2>Licences</h2>\n<p class=\"hint\">There is none.</p></section>\n"
                .to_owned(),
        );
    }
    let colours = ["--c0", "--c1", "--c2", "--c3", "--c4"];
    let part = |hour: &'_ Hour| (hour.licences > 0).then_some(hour.licences);
    by_time(
        report,
        "Licences",
        &colours,
        &names,
        |hour| part(hour).map(|number| (hour.system.as_str(), number)),
        title,
    )
}

fn refusals_by_time(report: &Report) -> Result<String> {
    let names: Vec<&str> = report
        .refusals
        .iter()
        .map(|row| row.code.as_str())
        .collect();
    if names.is_empty() {
        return Ok(String::new());
    }
    let colours = ["--r0", "--r1", "--r2", "--r3", "--r4"];
    debug_assert!(colours.len() == MOST_COLOURS + 1);
    by_time(
        report,
        "Refusals",
        &colours,
        &names,
        |hour| (hour.code != OK).then_some((hour.code.as_str(), hour.decisions)),
        str::to_owned,
    )
}

fn viewers(report: &Report) -> Result<String> {
    let months = &report.viewers.months;
    let mut html = "<section class=\"half\"><h2>Viewers by month</h2>\n\
        <p class=\"hint\">Different pseudonyms of the token’s <code>sub</code> with one licence at least.</p>\n"
        .to_owned();
    let plot = Plot {
        title: "Viewers by month",
        labels: months.iter().map(|month| month.month.clone()).collect(),
        parts: vec![Part {
            colour: "--c0".to_owned(),
            heights: months.iter().map(|month| month.viewers).collect(),
        }],
    };
    if !months.is_empty() {
        html += &figure(&plot, HALF)?;
    }
    let rows = months.iter().rev().map(|month| {
        let about = if month.estimated { "about " } else { "" };
        [
            month.month.clone(),
            format!("{about}{}", grouped(month.viewers)),
        ]
    });
    html += &table(["month", "viewers"], rows);
    Ok(html + "</section>\n")
}

fn devices_a_viewer(report: &Report) -> Result<String> {
    let mut bars: BTreeMap<u32, u64> = BTreeMap::new();
    for Owners { devices, viewers } in &report.devices.distribution {
        *bars.entry((*devices).min(MOST_DEVICES)).or_default() += viewers;
    }
    let most = bars.keys().last().copied().unwrap_or(0);
    let name = |devices| match devices {
        MOST_DEVICES => format!("{devices} or more"),
        devices => devices.to_string(),
    };
    let number = |devices| bars.get(&devices).copied().unwrap_or(0);
    let plot = Plot {
        title: "Viewers by the number of their devices",
        labels: (1..=most).map(name).collect(),
        parts: vec![Part {
            colour: "--c1".to_owned(),
            heights: (1..=most).map(number).collect(),
        }],
    };
    let mut html = format!(
        "<section class=\"half\"><h2>Devices a viewer</h2>\n<p class=\"hint\">{}.</p>\n",
        escaped(&devices(report))
    );
    if most > 0 {
        html += &figure(&plot, HALF)?;
        let rows = (1..=most).map(|devices| [name(devices), grouped(number(devices))]);
        html += &table(["devices", "viewers"], rows);
    }
    Ok(html + "</section>\n")
}

fn stages(report: &Report) -> String {
    if report.stages.is_empty() {
        return String::new();
    }
    let slowest = report.stages.iter().map(|stage| stage.p95).max();
    let rows = report.stages.iter().map(|stage| {
        let width = ratio(stage.p95, slowest.unwrap_or(0)) * 100.0;
        let numbers = [stage.median, stage.p95, stage.p99, stage.longest].map(duration);
        let numbers = [grouped(stage.decisions)].into_iter().chain(numbers);
        let numbers = numbers.map(|number| format!("<td class=\"n\">{number}</td>"));
        let what = meaning(&stage.stage).unwrap_or_default();
        format!(
            "<tr><td><b>{}</b><small>{what}</small></td>{}\
             <td class=\"bar\"><i style=\"width:{width:.1}%\"></i></td></tr>\n",
            escaped(&stage.stage),
            numbers.collect::<String>()
        )
    });
    format!(
        "<section><h2>Slowest stages</h2>\n\
         <p class=\"hint\">How long decisions took, and how much of that was waiting. The bars are of the 95th of 100.</p>\n\
         <div class=\"scroll\" tabindex=\"0\"><table class=\"stages\">\n\
         <thead><tr><th>stage</th><th class=\"n\">decisions</th><th class=\"n\">median</th><th class=\"n\">95 of 100</th>\
         <th class=\"n\">99 of 100</th><th class=\"n\">longest</th><th></th></tr></thead>\n\
         <tbody>{}</tbody></table></div></section>\n",
        rows.collect::<String>()
    )
}

/// What a stage is, for the names that this version knows.
fn meaning(stage: &str) -> Option<&'static str> {
    Some(match stage {
        "total" => "all of it",
        "variables" => "waiting for the host’s variables",
        "store" => "waiting for the key-value store",
        "requests" => "waiting for other servers",
        _ => return None,
    })
}

fn refusals(report: &Report) -> String {
    if report.refusals.is_empty() {
        return String::new();
    }
    let rows = report.refusals.iter().take(MOST_REFUSALS).map(|row| {
        let systems: Vec<String> = row.systems.iter().map(|name| title(name)).collect();
        let status = row.status.map(|status| format!(" {status}"));
        let meaning = row.meaning.map(|text| format!("<p>{}</p>", sentence(text)));
        format!(
            "<li><div class=\"count\"><b>{}</b><small>{}</small></div>\
             <div><code>{}</code><small>{} · {}</small></div>{}<p class=\"todo\">{}</p></li>\n",
            grouped(row.refused),
            percent(row.share),
            escaped(&row.code),
            status.unwrap_or_default(),
            escaped(&systems.join(", ")),
            meaning.unwrap_or_default(),
            sentence(row.what_to_do)
        )
    });
    let more = report.refusals.len().saturating_sub(MOST_REFUSALS);
    let hint = match more {
        0 => String::new(),
        more => format!("<p class=\"hint\">{more} more are in the table of all decisions.</p>\n"),
    };
    format!(
        "<section><h2>Reasons for refusals, and what to do</h2>\n<ul class=\"refusals\">\n{}</ul>\n{hint}</section>\n",
        rows.collect::<String>()
    )
}

fn systems(report: &Report) -> String {
    let rows = report.systems.iter().map(|row| {
        [
            title(&row.system),
            grouped(row.licences),
            grouped(row.others),
            grouped(row.refused),
            percent(ratio(row.refused, row.licences + row.others + row.refused)),
        ]
    });
    let head = [
        "system",
        "licences",
        "no licence asked for",
        "refused",
        "share refused",
    ];
    format!(
        "<section><h2>Systems</h2>\n{}</section>\n",
        table(head, rows)
    )
}

fn hours(report: &Report) -> String {
    let span = Span::fitting(&report.hours, report.unit, MOST_HOURS, MOST_DAYS);
    let mut sums: BTreeMap<(u64, &str, &str), (u64, u64)> = BTreeMap::new();
    for hour in &report.hours {
        let key = (
            span.number(hour.time),
            hour.system.as_str(),
            hour.code.as_str(),
        );
        let (decisions, licences) = sums.entry(key).or_default();
        *decisions += hour.decisions;
        *licences += hour.licences;
    }
    let systems: BTreeSet<&str> = sums.keys().map(|(_, system, _)| *system).collect();
    let rows = sums
        .iter()
        .map(|((time, system, code), (decisions, licences))| {
            [
                span.name(*time),
                title(system),
                (*code).to_owned(),
                grouped(*decisions),
                grouped(*licences),
            ]
        });
    let head = [span.word(), "system", "code", "decisions", "licences"];
    format!(
        "<section><details><summary>All decisions by {}, system and code: {} rows of {} systems</summary>\n{}</details></section>\n",
        span.word(),
        grouped(u64::try_from(sums.len()).unwrap_or(0)),
        systems.len(),
        table(head, rows)
    )
}

/// A table; a column whose name is that of numbers stands at the right.
fn table<const COLUMNS: usize>(
    head: [&str; COLUMNS],
    rows: impl Iterator<Item = [String; COLUMNS]>,
) -> String {
    const TEXTS: [&str; 7] = ["month", "day", "hour", "system", "code", "stage", "devices"];
    let kind = head.map(|name| {
        if TEXTS.contains(&name) {
            ""
        } else {
            " class=\"n\""
        }
    });
    let cells = |tag: &str, cells: [String; COLUMNS]| -> String {
        let cells = kind.iter().zip(cells);
        let cells = cells.map(|(kind, cell)| format!("<{tag}{kind}>{}</{tag}>", escaped(&cell)));
        format!("<tr>{}</tr>\n", cells.collect::<String>())
    };
    let rows: String = rows.map(|row| cells("td", row)).collect();
    let head = cells("th", head.map(str::to_owned));
    format!(
        "<div class=\"scroll\" tabindex=\"0\"><table>\n<thead>{head}</thead>\n<tbody>{rows}</tbody></table></div>\n"
    )
}

fn notes(report: &Report) -> String {
    let mut notes = vec![
        format!("Lines: {}.", lines(report)),
        "A licence is a decision with the code `ok` and with terms. One audit record is one decision, also where a request asks for several keys. \
         A device that stops, checks in or gives a licence back gets none."
            .to_owned(),
        "A viewer is a pseudonym of the token’s `sub`, which needs `server_secret`. With a new `server_secret` every viewer is a new one, and so is every device. \
         Nobody is named here: pseudonyms are counted and not kept."
            .to_owned(),
    ];
    let without = report.viewers.licences_without_viewer;
    if without > 0 {
        notes.push(format!(
            "{} licences name no viewer, and are not among viewers and devices: `server_secret` was not set, or their tokens had no `sub`.",
            grouped(without)
        ));
    }
    let is_estimated = |month: &super::document::Month| month.estimated;
    let of_tokens = report
        .tokens
        .as_ref()
        .is_some_and(|tokens| tokens.estimated);
    if report.devices.estimated || of_tokens || report.viewers.months.iter().any(is_estimated) {
        notes.push(
            "A number with “about” is an estimate from a sample, usually right to 1 %.".to_owned(),
        );
    }
    notes.push(format!("Tokens: {}.", tokens(report)));
    if report.stages.is_empty() {
        notes.push("How long decisions took: no record says it.".to_owned());
    }
    let notes: String = notes
        .iter()
        .map(|note| format!("<li>{}</li>\n", sentence(note)))
        .collect();
    format!("<footer><h2>What is counted</h2>\n<ul>\n{notes}</ul></footer>\n")
}
