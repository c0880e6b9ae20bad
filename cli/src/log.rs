//! The program's own log, on standard error.

use clap::ValueEnum;

use crate::terminal;

/// How a log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people, with a level
    Text,
    /// Lines of JSON
    Json,
}

/// Has the log written to standard error: without a format, as text on a terminal and else as JSON.
pub fn to_stderr(format: Option<LogFormat>) {
    let is_text = match format {
        Some(format) => format == LogFormat::Text,
        None => terminal::stderr().is_terminal(),
    };
    let log = tracing_subscriber::fmt()
        .with_target(false)
        .with_writer(terminal::stderr);
    if is_text {
        log.with_ansi(false).init();
    } else {
        log.json().flatten_event(true).init();
    }
}
