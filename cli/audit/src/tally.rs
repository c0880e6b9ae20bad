//! What a report counts while it reads.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use keylet::drm::DrmSystem;
use serde::Serialize;

use crate::distinct::{Count, Owners, Periods, hash};
use crate::line::{Finder, Line};
use crate::record::Record;
use crate::stage::Durations;

/// Hashes of viewers, of all months together, pairs of viewer and device, and hashes of tokens: 20 MB each.
const MOST_HASHES: usize = 1_800_000;

/// The one period that tokens are counted in.
const ALL: i32 = 0;

/// Hours with a system and a code: those of a year.
const MOST_ROWS: usize = 450_000;

/// Names of systems, codes and stages that are told apart.
const MOST_NAMES: usize = 256;

/// The longest of these names in bytes.
const LONGEST_NAME: usize = 64;

/// What all further names are counted as.
const OTHER: &str = "other";

/// Times that a record can have, in seconds since 1970: this century.
const CENTURY: std::ops::Range<u64> = 946_684_800..4_102_444_800;

/// The code of what is no refusal.
pub const OK: &str = "ok";

/// Seconds of an hour.
pub const HOUR: u64 = 3_600;

/// Seconds of a day.
pub const DAY: u64 = 86_400;

/// The lines that were read. A line that holds several records is one line.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct Lines {
    /// All of them.
    pub read: u64,
    /// Audit records.
    pub records: u64,
    /// Records of another time than the report is of, among `records`.
    pub outside: u64,
    /// Lines without a record.
    pub foreign: u64,
    /// Lines with a record that is cut off or damaged, and lines of more than a mebibyte.
    pub broken: u64,
    /// Lines with a record of another version.
    pub other_version: u64,
}

/// Decisions of one hour, system and code.
#[derive(Debug, Default, Clone, Copy)]
pub struct Decisions {
    /// All of them.
    pub number: u64,
    /// Those with a licence.
    pub licences: u64,
}

/// Beginning (of the hour, in seconds since 1970), system and code.
type Row = (u32, u16, u16);

/// Everything that is counted.
pub struct Tally {
    range: (Option<u64>, Option<u64>),
    finder: Finder,
    counts: Counts,
}

/// What is counted, without what it is found with.
pub struct Counts {
    /// The lines.
    pub lines: Lines,
    /// The time of the first decision and of the last, in seconds since 1970.
    pub times: Option<(u64, u64)>,
    /// The span of a row in seconds: an hour, or a day where there are very many.
    pub unit: u64,
    /// Different viewers of each month, by the number of months since the year 0.
    pub viewers: Periods,
    /// Licences of records that name no viewer.
    pub licences_without_viewer: u64,
    /// Devices of viewers.
    pub devices: Owners,
    /// Decisions of DRM systems that name a token.
    pub decisions_with_token: u64,
    tokens: Periods,
    /// The stages of decisions.
    pub stages: BTreeMap<String, Durations>,
    rows: HashMap<Row, Decisions>,
    names: Names,
    month: (u64, i32),
}

impl Tally {
    /// Nothing counted yet. Decisions before `since` and from `until` on are not.
    pub fn new(since: Option<Timestamp>, until: Option<Timestamp>) -> Self {
        let seconds = |time: Timestamp| u64::try_from(time.as_second()).unwrap_or(0);
        Self {
            range: (since.map(seconds), until.map(seconds)),
            finder: Finder::default(),
            counts: Counts {
                lines: Lines::default(),
                times: None,
                unit: HOUR,
                viewers: Periods::new(MOST_HASHES),
                licences_without_viewer: 0,
                devices: Owners::new(MOST_HASHES),
                decisions_with_token: 0,
                tokens: Periods::new(MOST_HASHES),
                stages: BTreeMap::new(),
                rows: HashMap::new(),
                names: Names::default(),
                month: (0, 0),
            },
        }
    }

    /// Counts a line. One that was too long to be read is `None`.
    pub fn add(&mut self, line: Option<&[u8]>) {
        let (since, until) = self.range;
        let counts = &mut self.counts;
        counts.lines.read += 1;
        let Some(line) = line else {
            counts.lines.broken += 1;
            return;
        };
        let mut is_implausible = false;
        let found = self.finder.read(line, &mut |record| {
            if !CENTURY.contains(&record.time) {
                is_implausible = true;
                return;
            }
            counts.lines.records += 1;
            let is_before = since.is_some_and(|since| record.time < since);
            if is_before || until.is_some_and(|until| record.time >= until) {
                counts.lines.outside += 1;
            } else {
                counts.add(record);
            }
        });
        match found {
            Line::Broken => counts.lines.broken += 1,
            Line::OtherVersion => counts.lines.other_version += 1,
            Line::Audit if is_implausible => counts.lines.broken += 1,
            Line::Audit => {}
            Line::Foreign => counts.lines.foreign += 1,
        }
    }

    /// What was counted.
    pub fn counts(self) -> Counts {
        self.counts
    }
}

impl Counts {
    fn add(&mut self, record: &Record<'_>) {
        let time = record.time;
        let (first, last) = self.times.unwrap_or((time, time));
        self.times = Some((first.min(time), last.max(time)));

        let is_license = record.granted.is_some() && record.code.0 == OK;
        let system = self.names.number(&record.drm.0);
        let code = self.names.number(&record.code.0);
        let row = (self.row_time(time), system, code);
        if self.rows.len() >= MOST_ROWS && !self.rows.contains_key(&row) {
            self.coarsen();
        }
        let row = (self.row_time(time), system, code);
        let decisions = self.rows.entry(row).or_default();
        decisions.number += 1;
        decisions.licences += u64::from(is_license);

        if is_license {
            match &record.subject {
                Some(subject) => {
                    let viewer = hash(&subject.0);
                    let month = self.month_of(time);
                    self.viewers.add(month, viewer);
                    let device = record.device.as_ref().and_then(|device| device.id.as_ref());
                    if let Some(id) = device {
                        self.devices.add(viewer, hash(&id.0));
                    }
                }
                None => self.licences_without_viewer += 1,
            }
        }
        if let Some(token) = &record.token
            && is_system(&record.drm.0)
        {
            self.decisions_with_token += 1;
            self.tokens.add(ALL, hash(&token.0));
        }
        for (name, microseconds) in record.stages.iter().flat_map(|stages| &stages.0) {
            let name = match self.stages.len() < MOST_NAMES && is_name(name) {
                true => name,
                false if self.stages.contains_key(name.as_ref()) => name,
                false => OTHER,
            };
            match self.stages.get_mut(name) {
                Some(durations) => durations.add(*microseconds),
                None => {
                    let mut durations = Durations::default();
                    durations.add(*microseconds);
                    self.stages.insert(name.to_owned(), durations);
                }
            }
        }
    }

    /// The different tokens of decisions of DRM systems; `None` where no record names one.
    pub fn tokens(&self) -> Option<Count> {
        self.tokens.counts().next().map(|(_, count)| count)
    }

    /// The decisions by their beginning (in seconds since 1970), system and code.
    pub fn rows(&self) -> BTreeMap<(u64, &str, &str), Decisions> {
        let rows = self.rows.iter().map(|((time, system, code), decisions)| {
            let key = (
                u64::from(*time),
                self.names.name(*system),
                self.names.name(*code),
            );
            (key, *decisions)
        });
        rows.collect()
    }

    fn row_time(&self, time: u64) -> u32 {
        // The century ends before the type does.
        u32::try_from(time - time % self.unit).unwrap_or(u32::MAX)
    }

    /// Makes a day of the hours of each day.
    fn coarsen(&mut self) {
        if self.unit == DAY {
            return;
        }
        self.unit = DAY;
        for ((time, system, code), decisions) in std::mem::take(&mut self.rows) {
            let row = (self.row_time(time.into()), system, code);
            let day = self.rows.entry(row).or_default();
            day.number += decisions.number;
            day.licences += decisions.licences;
        }
    }

    /// The number of months since the year 0.
    fn month_of(&mut self, time: u64) -> i32 {
        let day = time / DAY;
        if self.month.0 != day {
            let date = date(time);
            self.month = (
                day,
                i32::from(date.year()) * 12 + i32::from(date.month()) - 1,
            );
        }
        self.month.1
    }
}

/// The date of a time in seconds since 1970, in UTC.
pub fn date(time: u64) -> jiff::civil::Date {
    let time = i64::try_from(time).ok();
    let time = time.and_then(|time| Timestamp::from_second(time).ok());
    time.unwrap_or_default().to_zoned(TimeZone::UTC).date()
}

/// Names by number. Those that are none, and those after the first few hundred, are one.
#[derive(Default)]
struct Names {
    numbers: HashMap<String, u16>,
    names: Vec<String>,
}

impl Names {
    fn number(&mut self, name: &str) -> u16 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        if name != OTHER && (!is_name(name) || self.names.len() >= MOST_NAMES) {
            return self.number(OTHER);
        }
        let number = u16::try_from(self.names.len()).unwrap_or(u16::MAX);
        self.names.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        number
    }

    fn name(&self, number: u16) -> &str {
        self.names
            .get(usize::from(number))
            .map_or(OTHER, |name| name)
    }
}

/// Whether it is a name as the server has them, such as `token_expired`.
fn is_name(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=LONGEST_NAME).contains(&text.len()) && text.bytes().all(is_part)
}

/// Whether it is a DRM system, and not another part of the server.
pub fn is_system(name: &str) -> bool {
    DrmSystem::from_name(name).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(tally: &mut Tally, time: u64, drm: &str, code: &str) {
        let line = serde_json::json!({"audit": 1, "time": time, "drm": drm, "code": code});
        tally.add(Some(line.to_string().as_bytes()));
    }

    #[test]
    fn very_many_hours_become_days() {
        let mut tally = Tally::new(None, None);
        let names: Vec<String> = (0..20).map(|number| format!("code_{number}")).collect();
        let hours = u64::try_from(MOST_ROWS / names.len()).unwrap() + 1;
        for hour in 0..hours {
            for code in &names {
                add(&mut tally, CENTURY.start + hour * HOUR, "fairplay", code);
            }
        }
        let counts = tally.counts();
        assert_eq!(counts.unit, DAY);
        let rows = counts.rows();
        assert_eq!(
            rows.len(),
            names.len() * usize::try_from(hours.div_ceil(24)).unwrap()
        );
        let number: u64 = rows.values().map(|decisions| decisions.number).sum();
        assert_eq!(number, hours * 20);
    }

    #[test]
    fn what_is_no_name_is_another() {
        let mut tally = Tally::new(None, None);
        for code in ["<b>", "", "Ok", &"a".repeat(65), "viewer@example.com"] {
            add(&mut tally, CENTURY.start, "fairplay", code);
        }
        for number in 0..1_000 {
            add(
                &mut tally,
                CENTURY.start,
                "fairplay",
                &format!("code_{number}"),
            );
        }
        let counts = tally.counts();
        let rows = counts.rows();
        assert!(rows.len() <= MOST_NAMES);
        let other = rows[&(CENTURY.start, "fairplay", OTHER)].number;
        assert_eq!(other, 1_005 - (u64::try_from(rows.len()).unwrap() - 1));
    }

    #[test]
    fn a_time_of_another_century_breaks_the_line() {
        let mut tally = Tally::new(None, None);
        for time in [0, CENTURY.start - 1, CENTURY.end, u64::MAX] {
            add(&mut tally, time, "fairplay", OK);
        }
        let counts = tally.counts();
        assert_eq!((counts.lines.broken, counts.lines.records), (4, 0));
        assert!(counts.rows().is_empty());
    }
}
