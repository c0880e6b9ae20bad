//! What people read: standard output and standard error.
//!
//! Everything that a command says goes through [`stdout`] and [`stderr`], also by `println!` and `eprintln!`, which
//! mean these in this crate. Control characters leave them escaped, so that no server, token or file can give orders
//! to a terminal. What is a product, such as a token or a script, goes through [`product`] as it is.

mod printable;
mod words;

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use anstream::{AutoStream, ColorChoice};
use anstyle::Style;
use keylet_host::escaped::Escaped;

pub use printable::Printable;
pub use words::{counted, local_time, span};

/// Columns of a text for people: what fits every terminal.
const COLUMNS: usize = 80;

/// Columns of the labels of rows.
const LABEL: usize = 11;

/// An output for people. Whoever reads may stop reading, so that a failure to write is none.
pub struct Screen {
    to: Escaped<Box<dyn Write>>,
    is_terminal: bool,
    has_colours: bool,
}

impl Screen {
    fn new(to: impl Write + 'static, is_terminal: bool, choice: ColorChoice) -> Self {
        Self {
            to: Escaped::new(Box::new(to)),
            is_terminal,
            has_colours: is_terminal && choice != ColorChoice::Never,
        }
    }

    /// Whether a person reads it.
    pub fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Writes a row with a label, wrapped under its text.
    pub fn row(&mut self, label: &str, text: impl Display) {
        let _ = writeln!(
            self,
            "  {label:<LABEL$}{}",
            hanging(&text.to_string(), LABEL + 2)
        );
    }

    /// Text that is wrapped for a terminal, below a first line that begins with this indent. Elsewhere it is one line.
    pub fn fitted(&self, text: &str, indent: usize) -> String {
        match self.is_terminal {
            true => hanging(text, indent),
            false => text.to_owned(),
        }
    }

    /// Writes a paragraph, wrapped.
    pub fn paragraph(&mut self, text: impl Display) {
        let _ = writeln!(self, "{}", hanging(&text.to_string(), 0));
    }

    /// Writes text in a style, where there are colours: on a terminal, without `NO_COLOR`.
    pub fn styled(&mut self, style: Style, text: impl Display) {
        if self.has_colours
            && let Ok(to) = self.to.behind()
        {
            let _ = write!(to, "{style}");
        }
        let _ = write!(self, "{text}");
        if self.has_colours
            && let Ok(to) = self.to.behind()
        {
            let _ = write!(to, "{style:#}");
        }
    }
}

impl Write for Screen {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.to.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Whether a command speaks to a person: nobody asked for JSON, and standard output is a terminal.
pub fn is_for_people(json: bool) -> bool {
    !json && stdout().is_terminal()
}

/// Words in lines, of which all but the first are indented.
fn hanging(text: &str, indent: usize) -> String {
    let mut lines = String::new();
    let mut column = indent;
    for word in text.split(' ') {
        let length = word.chars().count();
        if column > indent && column + 1 + length > COLUMNS {
            lines.push('\n');
            lines.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        } else if column > indent {
            lines.push(' ');
            column += 1;
        }
        lines.push_str(word);
        column += length;
    }
    lines
}

/// Standard output, for what a command says.
#[expect(clippy::disallowed_methods, reason = "it is escaped here")]
pub fn stdout() -> Screen {
    let out = io::stdout();
    let (is_terminal, choice) = (out.is_terminal(), AutoStream::choice(&out));
    Screen::new(out, is_terminal, choice)
}

/// Standard error, for what a command says.
#[expect(clippy::disallowed_methods, reason = "it is escaped here")]
pub fn stderr() -> Screen {
    let out = io::stderr();
    let (is_terminal, choice) = (out.is_terminal(), AutoStream::choice(&out));
    Screen::new(out, is_terminal, choice)
}

/// Standard output for what a command makes, byte by byte: tokens, scripts, files. Nothing of it is a server's.
#[expect(clippy::disallowed_methods, reason = "what is made is not changed")]
pub fn product() -> io::Stdout {
    io::stdout()
}

/// Standard error for signs that a terminal is to obey.
#[expect(
    clippy::disallowed_methods,
    reason = "the signs are this program's own"
)]
pub fn control() -> io::Stderr {
    io::stderr()
}

/// Says what stopped a command.
pub fn complain(error: &anyhow::Error) {
    let _ = writeln!(stderr(), "keylet: {error:#}");
}

/// Prints JSON, in lines. Text of others stays the same text, in escapes of JSON.
///
/// # Errors
/// What cannot be written as JSON.
pub fn print_json(document: &impl serde::Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(document)?;
    let _ = writeln!(stdout(), "{text}");
    Ok(())
}
