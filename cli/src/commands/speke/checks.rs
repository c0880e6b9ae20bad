//! Checks, a line each.

use std::io::Write;

use anstyle::{AnsiColor, Style};

use crate::terminal::{self, Printable};

/// Columns before what is checked.
const INDENT: usize = 10;

/// How many checks there were. Each is printed when it is made.
#[derive(Default)]
pub(super) struct Checks {
    pub(super) all: u64,
    pub(super) failed: u64,
}

impl Checks {
    /// Says what came of a check: what was checked, or what is wrong, which may be a server's text. Returns whether it is ok.
    pub(super) fn add(&mut self, what: &str, result: Result<(), String>) -> bool {
        let (label, colour, text) = match &result {
            Ok(()) => ("ok", AnsiColor::Green, what.to_owned()),
            Err(reason) => {
                let reason = Printable::new(reason.as_str());
                ("FAILED", AnsiColor::Red, format!("{what}: {reason}"))
            }
        };
        self.all = self.all.saturating_add(1);
        if result.is_err() {
            self.failed = self.failed.saturating_add(1);
        }
        let mut out = terminal::stdout();
        let _ = write!(out, "  ");
        out.styled(Style::new().fg_color(Some(colour.into())), label);
        let space = " ".repeat(INDENT.saturating_sub(label.len().saturating_add(2)));
        let text = out.fitted(&text, INDENT);
        let _ = writeln!(out, "{space}{text}");
        result.is_ok()
    }
}
