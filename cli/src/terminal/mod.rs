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
