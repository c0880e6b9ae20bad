//! The audit record of a request for keys: one JSON line. Its members are documented in `docs/audit.md`.

use serde::Serialize;

use super::{Caller, Error};
use crate::encoding::json_line;
use crate::id::{Id, Kid};
use crate::platform::{Platform, Stages, Trace};

/// The version of the record, as for every other one.
const VERSION: u32 = 1;

/// How many KIDs a record names.
const MOST_KIDS: usize = 16;

/// What was asked for and by whom, without a key.
#[derive(Serialize)]
pub struct Audit<'a> {
    audit: u32,
    time: u64,
    request_id: &'a str,
    #[serde(flatten)]
    trace: Option<Trace>,
    drm: &'static str,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The form of the request.
    interface: &'static str,
    /// Who asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    packager: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    kids: Vec<String>,
    /// How many keys were handed out.
    keys: usize,
    /// How many records were written.
    #[serde(skip_serializing_if = "is_none")]
    stored: usize,
    /// The periods that were asked for: the first one, and how many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub periods: Option<[u32; 2]>,
    /// How long it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    stages: Option<Stages>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_none(count: &usize) -> bool {
    *count == 0
}

impl<'a> Audit<'a> {
    /// A record without a caller yet. It is positive until [`Self::refused`] says otherwise.
    pub fn new(interface: &'static str, time: u64, request_id: &'a str) -> Self {
        Self {
            audit: VERSION,
            time,
            request_id,
            trace: Trace::current(),
            drm: "packaging",
            code: "ok",
            reason: None,
            interface,
            packager: None,
            content: None,
            kids: Vec::new(),
            keys: 0,
            stored: 0,
            periods: None,
            stages: None,
        }
    }

    /// Records who asks.
    pub fn asked_by(&mut self, caller: Caller<'_>) {
        self.packager = Some(caller.name().to_owned());
    }

    /// Records which content is asked for.
    pub fn asked_for(&mut self, content: &Id) {
        self.content = Some(content.to_string());
    }

    /// Records the KIDs of the keys that are handed out.
    pub fn answered(&mut self, kids: impl IntoIterator<Item = Kid>) {
        for kid in kids {
            self.keys = self.keys.saturating_add(1);
            if self.kids.len() < MOST_KIDS {
                self.kids.push(kid.to_string());
            }
        }
    }

    /// Records how many records were written.
    pub fn stored(&mut self, count: usize) {
        self.stored = count;
    }

    /// Records a refusal: no key was handed out.
    pub fn refused(&mut self, error: &Error) {
        self.code = error.code().name;
        self.reason = Some(error.to_string());
        self.keys = 0;
    }

    /// Records a refusal in the words of another interface.
    pub fn refused_with(&mut self, code: &'static str, reason: &str) {
        self.code = code;
        self.reason = Some(reason.to_owned());
    }

    /// The line, once everything is decided.
    pub fn line(&mut self, platform: &impl Platform) -> String {
        self.stages = Stages::take(platform);
        json_line(self)
    }
}
