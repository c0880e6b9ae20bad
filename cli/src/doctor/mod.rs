//! What keeps a deployment from answering players, found before they do.
//!
//! Everything is asked of the server itself, over its own routes: of one that runs, by URL, or of the
//! library in this process with the settings that a server would have.

pub mod advice;
pub mod certificate;
pub mod examination;
pub mod target;

use std::fmt::{self, Display};

use serde::Serialize;

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

/// The check that makes licences.
pub const EXCHANGE: &str = "exchange";

impl Report {
    /// Adds what is as it should be.
    pub fn ok(&mut self, check: &'static str, what: impl Into<String>) {
        self.add(Severity::Ok, check, what, "", "");
    }

    /// Adds a finding.
    pub fn add(
        &mut self,
        severity: Severity,
        check: &'static str,
        what: impl Into<String>,
        why: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.findings.push(Finding {
            severity,
            check,
            what: what.into(),
            why: why.into(),
            remedy: remedy.into(),
        });
    }

    /// The result.
    pub fn verdict(&self) -> Verdict {
        let is = |severity| {
            self.findings
                .iter()
                .any(|finding| finding.severity == severity)
        };
        let is_proven = self
            .findings
            .iter()
            .any(|finding| finding.check == EXCHANGE && finding.severity == Severity::Ok);
        if is(Severity::Error) {
            Verdict::Broken
        } else if is_proven {
            Verdict::Healthy
        } else {
            Verdict::Unproven
        }
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Healthy => "A device gets a licence.",
            Self::Broken => "Licences do not work, or they are unprotected.",
            Self::Unproven => "Nothing wrong was found, and no licence was made either.",
        })
    }
}
