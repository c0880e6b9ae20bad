//! Text that somebody else wrote.

use std::fmt;

use keylet_host::escaped::in_one_line;
use serde::{Serialize, Serializer};

/// Text of a server, a token or a file. It is displayed on one line, and nothing in it is obeyed by a terminal.
///
/// In JSON it is the text itself: what prints JSON writes to [`stdout`](super::stdout), which escapes it there.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Printable(String);

impl Printable {
    /// The text as it came.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The same with single spaces in the place of line breaks and other white space.
    #[must_use]
    pub fn words(&self) -> Self {
        let words: Vec<&str> = self.0.split_whitespace().collect();
        Self(words.join(" "))
    }

    /// The text itself, to compare it with another. It is not for output.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Printable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&in_one_line(&self.0))
    }
}

impl fmt::Debug for Printable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl Serialize for Printable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}
