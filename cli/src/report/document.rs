//! The report, as its JSON has it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use keylet::error::Code;
use keylet_audit::{Count, Counts, DAY, Lines, OK, is_system};
use serde::Serialize;

use crate::doctor::advice;

/// What the audit records tell.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The lines that were read.
    pub lines: Lines,
    /// The time of the first decision, RFC 3339. `None` where there is none.
    pub first: Option<String>,
    /// The time of the last one.
    pub last: Option<String>,
    /// Licences.
    pub licences: u64,
    /// Requests of players that were refused a licence.
    pub refused: u64,
    /// What a row of `hours` is: `hour`, or `day` where there are very many.
    pub unit: &'static str,
    /// Decisions by hour, system and code.
    pub hours: Vec<Hour>,
    /// The same of each system, and of the other parts of the server.
    pub systems: Vec<System>,
    /// Viewers.
    pub viewers: Viewers,
    /// Devices of viewers.
    pub devices: Devices,
    /// Tokens that were seen before. `None` where no record tells.
    pub tokens: Option<Tokens>,
    /// How long the stages of decisions took, the slowest first.
    pub stages: Vec<Stage>,
    /// Why there were refusals, the most frequent code first.
    pub refusals: Vec<Refusal>,
}

/// Decisions of one hour, system and code.
#[derive(Debug, Serialize)]
pub struct Hour {
    /// When it begins, RFC 3339.
    pub hour: String,
    /// The same in seconds since 1970.
    #[serde(skip)]
    pub time: u64,
    /// The DRM system, or the part of the server.
    pub system: String,
    /// `ok`, or the code of the refusal.
    pub code: String,
    /// How many.
    pub decisions: u64,
    /// With how many licences.
    pub licences: u64,
}

/// Decisions of one system.
#[derive(Debug, Default, Serialize)]
pub struct System {
    /// The DRM system, or the part of the server.
    pub system: String,
    /// Licences.
    pub licences: u64,
    /// What was granted without a licence: a stop, a check-in, a token, keys for a packager.
    pub others: u64,
    /// Refusals.
    pub refused: u64,
}

/// Viewers who got a licence.
#[derive(Debug, Serialize)]
pub struct Viewers {
    /// By month.
    pub months: Vec<Month>,
    /// Licences of records without a viewer's pseudonym.
    pub licences_without_viewer: u64,
}

/// The different viewers of a month.
#[derive(Debug, Serialize)]
pub struct Month {
    /// The month, such as `2026-11`.
    pub month: String,
    /// How many.
    pub viewers: u64,
    /// Whether that is an estimate.
    pub estimated: bool,
}

/// Devices that viewers got licences on.
#[derive(Debug, Serialize)]
pub struct Devices {
    /// Viewers who have one at least.
    pub viewers: u64,
    /// Devices of all these.
    pub devices: u64,
    /// Devices a viewer.
    pub mean: f64,
    /// Viewers by the number of their devices.
    pub distribution: Vec<Owners>,
    /// Whether these are estimates.
    pub estimated: bool,
}

/// Viewers with so many devices.
#[derive(Debug, Serialize)]
pub struct Owners {
    /// The number of devices.
    pub devices: u32,
    /// How many viewers.
    pub viewers: u64,
}

/// Tokens that were seen before.
#[derive(Debug, Serialize)]
pub struct Tokens {
    /// Different tokens.
    pub tokens: u64,
    /// Decisions on one that another decision was on before.
    pub seen: u64,
    /// Decisions that name a token.
    pub of: u64,
    /// `seen` as a part of `of`.
    pub share: f64,
    /// Whether these are estimates.
    pub estimated: bool,
}

/// How long a stage took, in microseconds.
#[derive(Debug, Serialize)]
pub struct Stage {
    /// Its name.
    pub stage: String,
    /// How many decisions tell of it.
    pub decisions: u64,
    /// The half of them took no longer.
    pub median: u64,
    /// 95 of 100 took no longer.
    pub p95: u64,
    /// 99 of 100 took no longer.
    pub p99: u64,
    /// The longest.
    pub longest: u64,
}

/// A reason for refusals.
#[derive(Debug, Serialize)]
pub struct Refusal {
    /// Its code.
    pub code: String,
    /// The HTTP status, of a code that this version knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// How many.
    pub refused: u64,
    /// As a part of all refusals.
    pub share: f64,
    /// Of which systems and parts.
    pub systems: BTreeSet<String>,
    /// What it means (`docs/errors.md`), of a code that this version knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meaning: Option<&'static str>,
    /// What to do.
    pub what_to_do: &'static str,
}

impl Report {
    /// The report of what was counted.
    pub fn new(counts: &Counts) -> Self {
        let hours: Vec<Hour> = counts
            .rows()
            .into_iter()
            .map(|((time, system, code), decisions)| Hour {
                hour: moment(time),
                time,
                system: system.to_owned(),
                code: code.to_owned(),
                decisions: decisions.number,
                licences: decisions.licences,
            })
            .collect();
        let systems = systems(&hours);
        let of_players = systems.iter().filter(|row| is_system(&row.system));
        let sum = |of: fn(&System) -> u64| of_players.clone().map(of).sum();
        Self {
            lines: counts.lines.clone(),
            first: counts.times.map(|(first, _)| moment(first)),
            last: counts.times.map(|(_, last)| moment(last)),
            licences: sum(|row| row.licences),
            refused: sum(|row| row.refused),
            unit: if counts.unit == DAY { "day" } else { "hour" },
            viewers: viewers(counts),
            devices: devices(counts),
            tokens: counts.tokens().map(|tokens| seen_before(tokens, counts)),
            stages: stages(counts),
            refusals: refusals(&hours),
            systems,
            hours,
        }
    }

    /// Whether nothing was decided.
    pub fn is_empty(&self) -> bool {
        self.hours.is_empty()
    }
}

fn systems(hours: &[Hour]) -> Vec<System> {
    let mut systems: BTreeMap<&str, System> = BTreeMap::new();
    for hour in hours {
        let row = systems.entry(&hour.system).or_default();
        row.licences += hour.licences;
        match hour.code == OK {
            true => row.others += hour.decisions - hour.licences,
            false => row.refused += hour.decisions,
        }
    }
    let mut systems: Vec<System> = systems
        .into_iter()
        .map(|(name, row)| System {
            system: name.to_owned(),
            ..row
        })
        .collect();
    // The systems of players, and the most used first.
    systems.sort_by_key(|row| {
        let all = row.licences + row.others + row.refused;
        (!is_system(&row.system), u64::MAX - all)
    });
    systems
}

fn viewers(counts: &Counts) -> Viewers {
    let months = counts.viewers.counts().map(|(month, count)| {
        let Count {
            number,
            is_estimated,
        } = count;
        Month {
            month: format!(
                "{:04}-{:02}",
                month.div_euclid(12),
                month.rem_euclid(12) + 1
            ),
            viewers: number,
            estimated: is_estimated,
        }
    });
    Viewers {
        months: months.collect(),
        licences_without_viewer: counts.licences_without_viewer,
    }
}

fn devices(counts: &Counts) -> Devices {
    let distribution = counts.devices.distribution();
    let viewers = distribution.values().sum();
    let devices = distribution
        .iter()
        .map(|(devices, viewers)| u64::from(*devices) * viewers)
        .sum();
    let distribution = distribution
        .into_iter()
        .map(|(devices, viewers)| Owners { devices, viewers });
    Devices {
        viewers,
        devices,
        mean: ratio(devices, viewers),
        distribution: distribution.collect(),
        estimated: counts.devices.is_estimated(),
    }
}

fn seen_before(tokens: Count, counts: &Counts) -> Tokens {
    let of = counts.decisions_with_token;
    // An estimate may be more than there can be.
    let different = tokens.number.min(of);
    let seen = of - different;
    Tokens {
        tokens: different,
        seen,
        of,
        share: ratio(seen, of),
        estimated: tokens.is_estimated,
    }
}

fn stages(counts: &Counts) -> Vec<Stage> {
    let stages = counts.stages.iter().map(|(name, durations)| Stage {
        stage: name.clone(),
        decisions: durations.number(),
        median: durations.percentile(50),
        p95: durations.percentile(95),
        p99: durations.percentile(99),
        longest: durations.longest(),
    });
    let mut stages: Vec<Stage> = stages.collect();
    stages.sort_by_key(|stage| u64::MAX - stage.p95);
    stages
}

fn refusals(hours: &[Hour]) -> Vec<Refusal> {
    let mut codes: BTreeMap<&str, (u64, BTreeSet<String>)> = BTreeMap::new();
    for hour in hours.iter().filter(|hour| hour.code != OK) {
        let (number, systems) = codes.entry(&hour.code).or_default();
        *number += hour.decisions;
        if !systems.contains(&hour.system) {
            systems.insert(hour.system.clone());
        }
    }
    let all = codes.values().map(|(number, _)| number).sum();
    let mut refusals: Vec<Refusal> = codes
        .into_iter()
        .map(|(name, (refused, systems))| {
            let code = Code::ALL.iter().find(|code| code.name == name);
            Refusal {
                code: name.to_owned(),
                status: code.map(|code| code.status),
                refused,
                share: ratio(refused, all),
                systems,
                meaning: code.map(|code| code.title),
                what_to_do: advice::of_refusal(name).1,
            }
        })
        .collect();
    refusals.sort_by_key(|refusal| u64::MAX - refusal.refused);
    refusals
}

/// A part of a whole, to a ten-thousandth; of nothing it is nothing.
pub fn ratio(part: u64, whole: u64) -> f64 {
    const EXACT: u32 = 10_000;
    let whole = u128::from(whole);
    let scaled = (u128::from(part) * u128::from(EXACT) + whole / 2).checked_div(whole);
    f64::from(u32::try_from(scaled.unwrap_or(0)).unwrap_or(u32::MAX)) / f64::from(EXACT)
}

/// A time in seconds since 1970, in UTC, RFC 3339.
fn moment(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).ok();
    let time = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.unwrap_or_default().to_string()
}
