//! What became of a question, beside what was expected.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::client::{Failure, Played, Refusal};
use crate::device;
use crate::doctor::UNCHECKED;
use crate::terminal::Printable;

/// What became of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A licence opened, or a refusal came that was wanted.
    AsExpected,
    /// Nothing was asked.
    NotAsked,
    /// The server gave no licence.
    Refused,
    /// No answer came.
    Unreachable,
    /// The answer holds no licence for this SPC.
    Unreadable,
    /// Something else came than was expected.
    Mismatch,
}

impl Outcome {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::AsExpected => "as_expected",
            Self::NotAsked => "not_asked",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Unreadable => "unreadable",
            Self::Mismatch => "mismatch",
        }
    }

    /// 2 is that of wrong arguments.
    pub(super) fn exit_code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::AsExpected => 0,
            Self::NotAsked => 1,
            Self::Refused => 3,
            Self::Unreachable => 4,
            Self::Unreadable => 5,
            Self::Mismatch => 6,
        })
    }
}

/// What is expected, read.
#[derive(Default)]
pub(super) struct Expectation {
    pub(super) key: Option<Zeroizing<[u8; 16]>>,
    pub(super) lease: Option<u32>,
    pub(super) status: Option<u16>,
    pub(super) code: Option<String>,
}

impl Expectation {
    fn wants_refusal(&self) -> bool {
        self.code.is_some() || self.status.is_some_and(|status| status != 200)
    }

    /// What of a licence is not as expected.
    fn of_licence(&self, played: &Played) -> Vec<String> {
        let mut mismatches = Vec::new();
        if self.wants_refusal() {
            mismatches.push("a licence came, and a refusal was expected".to_owned());
        }
        if let Some(key) = &self.key
            && played.licence.key != key[..]
        {
            mismatches.push("the content key is another one than expected".to_owned());
        }
        let lease = match played.licence.duration {
            Some(
                device::Duration::Lease { lease_seconds }
                | device::Duration::LeaseAndRental { lease_seconds, .. },
            ) => Some(lease_seconds),
            _ => None,
        };
        if let Some(expected) = self.lease
            && lease != Some(expected)
        {
            let lease = lease.map_or("none".to_owned(), |seconds| format!("{seconds} seconds"));
            mismatches.push(format!("the lease is {lease}, not {expected} seconds"));
        }
        mismatches
    }

    /// What of a refusal is not as expected.
    fn of_refusal(&self, refusal: &Refusal) -> Vec<String> {
        let mut mismatches = Vec::new();
        if let Some(status) = self
            .status
            .filter(|status| *status != refusal.answer.status)
        {
            mismatches.push(format!(
                "the status is {}, not {status}",
                refusal.answer.status
            ));
        }
        if let Some(code) = &self.code
            && refusal.code.as_ref().map(Printable::as_str) != Some(code)
        {
            mismatches.push(match &refusal.code {
                Some(actual) => format!("the code is {actual}, not {code}"),
                None => format!("there is no code, and {code} was expected"),
            });
        }
        mismatches
    }
}

/// What became of a question, beside what was expected.
pub(super) struct Judged<'a> {
    pub(super) outcome: Outcome,
    pub(super) played: Result<&'a Played, &'a Failure>,
    pub(super) mismatches: Vec<String>,
    /// Whether a key was expected, so that the right one came where nothing is amiss.
    pub(super) has_expected_key: bool,
}

impl<'a> Judged<'a> {
    pub(super) fn from_result(
        played: Result<&'a Played, &'a Failure>,
        expectation: &Expectation,
    ) -> Self {
        let (outcome, mismatches) = match played {
            Ok(played) => {
                let mismatches = expectation.of_licence(played);
                (Outcome::AsExpected, mismatches)
            }
            Err(Failure::Refused(refusal)) if expectation.wants_refusal() => {
                (Outcome::AsExpected, expectation.of_refusal(refusal))
            }
            Err(Failure::Refused(_)) => (Outcome::Refused, Vec::new()),
            Err(Failure::Request(_)) => (Outcome::NotAsked, Vec::new()),
            Err(Failure::Unreachable(_)) => (Outcome::Unreachable, Vec::new()),
            Err(Failure::Unreadable(..)) => (Outcome::Unreadable, Vec::new()),
        };
        Self {
            outcome: match mismatches.is_empty() {
                true => outcome,
                false => Outcome::Mismatch,
            },
            played,
            mismatches,
            has_expected_key: expectation.key.is_some(),
        }
    }

    /// What is wrong, in a line; `None` when everything is as expected.
    pub(super) fn complaint(&self) -> Option<String> {
        match (self.played, self.mismatches.as_slice()) {
            (Err(failure), []) => {
                (self.outcome != Outcome::AsExpected).then(|| failure.to_string())
            }
            (_, []) => None,
            (Ok(_), mismatches) => Some(mismatches.join("; ")),
            (Err(failure), mismatches) => Some(format!("{}: {failure}", mismatches.join("; "))),
        }
    }

    /// The document of a question. The content key is in it only where it is to be shown.
    ///
    /// # Errors
    /// None: all of it can be JSON.
    pub(super) fn document(&self, format: &str, show_key: bool) -> Result<Value> {
        let mut document = Map::new();
        document.insert("outcome".to_owned(), self.outcome.name().into());
        document.insert("format".to_owned(), format.into());
        let mut add = |members: Value| {
            if let Value::Object(members) = members {
                document.extend(members);
            }
        };
        match self.played {
            Ok(played) => {
                add(json!({ "reply": played.form }));
                add(serde_json::to_value(&played.answer)?);
                let mut licence = serde_json::to_value(&played.licence)?;
                if let (false, Some(licence)) = (show_key, licence.as_object_mut()) {
                    licence.remove("key");
                }
                add(json!({ "licence": licence, "unchecked": UNCHECKED.map(|(name, _)| name) }));
            }
            Err(Failure::Refused(refusal)) => add(serde_json::to_value(refusal)?),
            Err(failure) => {
                if let Failure::Unreadable(answer, _) = failure {
                    add(serde_json::to_value(answer)?);
                }
                add(json!({ "reason": failure.to_string() }));
            }
        }
        if !self.mismatches.is_empty() {
            add(json!({ "mismatches": self.mismatches }));
        }
        Ok(document.into())
    }
}
