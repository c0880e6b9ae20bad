//! What keeps a deployment from answering players, found before they do.
//!
//! Everything is asked of the server itself, over its own routes: of one that runs, by URL, or of the
//! library in this process with the settings that a server would have.

pub mod advice;
pub mod certificate;
pub mod examination;
pub mod target;

use serde::Serialize;

use crate::terminal::counted;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Could not be found out, for want of something.
    Unchecked,
    /// Licences work, and something will be missed or regretted.
    Warning,
    /// Licences do not work, or they are unprotected.
    Error,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What was looked at, a stable name.
    pub check: &'static str,
    /// What it is like. Never a secret.
    pub what: String,
    /// Why it matters; empty when all is well.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// What to do about it; empty when there is nothing.
    #[serde(rename = "do", skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

/// Everything that was looked at.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// In the order in which it was.
    pub findings: Vec<Finding>,
}

/// The result of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// A licence was made, and nothing stands in the way.
    Healthy,
    /// Something is wrong.
    Broken,
    /// Nothing wrong was found, and no licence was made.
    Unproven,
}

/// What no emulated device can show, as stable names and in sentences. The device of this program seals its SPC with the ASk
/// that it was given, and a server that has the same wrong one opens it.
pub const UNCHECKED: [(&str, &str); 2] = [
    (
        "ask",
        "whether the ASk is the one that Apple issued with the certificate: only an SPC of an Apple device proves it",
    ),
    (
        "certificate_trust",
        "whether Apple's devices trust the certificate",
    ),
];

/// What other checks look for that cannot always be made.
const QUESTIONS: [(&str, &str); 4] = [
    ("clock", "whether the server's clock is right"),
    ("configuration", "whether the server's configuration loads"),
    (
        EXCHANGE,
        "whether certificate, key, ASk, token and content key belong together",
    ),
    ("token", "whether the server takes your tokens"),
];

/// The check that makes licences.
pub const EXCHANGE: &str = "exchange";

/// Stands between the subjects of one finding.
const AND: &str = " and ";

impl Finding {
    /// What both are about, where they say the same of different things and nothing is well.
    fn merged(&self, other: &Self) -> Option<String> {
        let is_same = self.severity != Severity::Ok
            && self.severity == other.severity
            && self.check == other.check
            && self.why == other.why
            && self.remedy == other.remedy;
        if !is_same {
            return None;
        }
        if self.what == other.what {
            return Some(self.what.clone());
        }
        let (subjects, text) = self.what.split_once(": ")?;
        let (subject, other) = other.what.split_once(": ")?;
        let is_there = subjects.split(AND).any(|known| known == subject);
        (text == other).then(|| match is_there {
            true => self.what.clone(),
            false => format!("{subjects}{AND}{subject}: {text}"),
        })
    }
}

impl Report {
    /// Adds what is as it should be.
    pub fn ok(&mut self, check: &'static str, what: impl Into<String>) {
        self.add(Severity::Ok, check, what, "", "");
    }

    /// Adds a finding. Where the same was found of something else, one finding has both: what it is about stands before
    /// the first colon of `what`.
    pub fn add(
        &mut self,
        severity: Severity,
        check: &'static str,
        what: impl Into<String>,
        why: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let finding = Finding {
            severity,
            check,
            what: what.into(),
            why: why.into(),
            remedy: remedy.into(),
        };
        let same = self.findings.iter_mut().find_map(|other| {
            let merged = other.merged(&finding)?;
            Some((other, merged))
        });
        match same {
            Some((other, what)) => other.what = what,
            None => self.findings.push(finding),
        }
    }

    /// How many findings are errors.
    pub fn errors(&self) -> usize {
        let is_error = |finding: &&Finding| finding.severity == Severity::Error;
        self.findings.iter().filter(is_error).count()
    }

    /// The checks that could not be made, each once.
    pub fn unchecked(&self) -> Vec<&'static str> {
        let mut checks = Vec::new();
        for finding in &self.findings {
            if finding.severity == Severity::Unchecked && !checks.contains(&finding.check) {
                checks.push(finding.check);
            }
        }
        checks
    }

    /// Whether a licence was made.
    fn is_proven(&self) -> bool {
        self.findings
            .iter()
            .any(|finding| finding.check == EXCHANGE && finding.severity == Severity::Ok)
    }

    /// What was shown and what was not, in sentences.
    pub fn conclusion(&self) -> String {
        let errors = counted(u64::try_from(self.errors()).unwrap_or(u64::MAX), "error");
        let shown = match (self.verdict(), self.is_proven()) {
            (Verdict::Healthy, _) => "An emulated device gets a licence.".to_owned(),
            (Verdict::Unproven, _) => {
                "Nothing wrong was found, and no licence was made either.".to_owned()
            }
            (Verdict::Broken, true) => format!(
                "FAILED: {errors}. An emulated device gets a licence, but players do not, or others get it too."
            ),
            (Verdict::Broken, false) => format!("FAILED: {errors}. No licence was made."),
        };
        let unchecked = self.unchecked();
        let sentences: Vec<&str> = unchecked
            .iter()
            .map(|check| {
                let mut known = UNCHECKED.iter().chain(&QUESTIONS);
                let known = known.find(|(name, _)| name == check);
                known.map_or(*check, |(_, sentence)| *sentence)
            })
            .collect();
        match sentences.as_slice() {
            [] => shown,
            sentences => format!("{shown} Not checked: {}.", sentences.join("; ")),
        }
    }

    /// The result.
    pub fn verdict(&self) -> Verdict {
        let is = |severity| {
            self.findings
                .iter()
                .any(|finding| finding.severity == severity)
        };
        if is(Severity::Error) {
            Verdict::Broken
        } else if self.is_proven() {
            Verdict::Healthy
        } else {
            Verdict::Unproven
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_of_two_things_is_one_finding() {
        let mut report = Report::default();
        for what in [
            "a: it is old",
            "b: it is old",
            "b: it is old",
            "c: it is new",
        ] {
            report.add(Severity::Warning, "age", what, "why", "do");
        }
        report.ok("age", "d: fine");
        report.ok("age", "e: fine");
        let what: Vec<_> = report.findings.iter().map(|f| f.what.as_str()).collect();
        assert_eq!(
            what,
            ["a and b: it is old", "c: it is new", "d: fine", "e: fine"]
        );
    }

    #[test]
    fn the_conclusion_says_what_was_not_shown() {
        let mut report = Report::default();
        report.ok(EXCHANGE, "a licence");
        assert_eq!(report.conclusion(), "An emulated device gets a licence.");
        report.add(Severity::Unchecked, UNCHECKED[0].0, "the ASk", "why", "do");
        let conclusion = report.conclusion();
        assert!(
            conclusion.contains("Not checked: whether the ASk"),
            "{conclusion}"
        );
        report.add(Severity::Error, "cors", "no", "why", "do");
        assert!(report.conclusion().starts_with("FAILED: 1 error. "));
    }
}
