//! `.env` files, by the rules of Spin's own parser (`dotenvy`).

use anyhow::{Result, anyhow, bail};
use zeroize::Zeroizing;

/// A name and a value.
pub type Assignment = (String, Zeroizing<String>);

/// A part of a file that is read by itself: an assignment, whose value may have several lines, a comment, or an empty
/// line.
pub struct Statement {
    /// The lines, with the break that ends them.
    pub text: Zeroizing<String>,
    /// What it assigns; `None` for a comment or an empty line.
    pub assignment: Option<Assignment>,
}

impl Statement {
    /// Reads one statement. `None` when it is not whole, or not read.
    pub fn parse(text: &str) -> Option<Self> {
        let assignment = match dotenvy::from_read_iter(text.as_bytes()).next() {
            None => None,
            Some(assignment) => {
                let (name, value) = assignment.ok()?;
                Some((name, Zeroizing::new(value)))
            }
        };
        let text = Zeroizing::new(text.to_owned());
        Some(Self { text, assignment })
    }
}

/// The statements of a file, which together are its text.
///
/// # Errors
/// The number of the first line that is not read. The line itself may be a secret, and is not told.
pub fn statements(text: &str) -> Result<Vec<Statement>> {
    let lines: Vec<&str> = without_mark(text).split_inclusive('\n').collect();
    let mut statements = Vec::new();
    let mut rest = lines.as_slice();
    while !rest.is_empty() {
        let statement = (1..=rest.len()).find_map(|count| {
            let text = Zeroizing::new(rest.get(..count)?.concat());
            Some((count, Statement::parse(&text)?))
        });
        let line = lines.len() - rest.len() + 1;
        let Some((count, statement)) = statement else {
            bail!(
                "line {line} is no assignment `NAME=value` that Spin reads: a quote that is not closed, a value with \
                 spaces and without quotes, or a line of something else"
            );
        };
        statements.push(statement);
        rest = rest.get(count..).unwrap_or_default();
    }
    Ok(statements)
}

/// What a whole file assigns. A value may use the variables of lines before it, as `${NAME}`.
///
/// # Errors
/// As [`statements`].
pub fn assignments(text: &str) -> Result<Vec<Assignment>> {
    let text = without_mark(text);
    let all: Result<Vec<_>, _> = dotenvy::from_read_iter(text.as_bytes()).collect();
    // Its own error quotes the line.
    let Ok(all) = all else {
        statements(text)?;
        return Err(anyhow!("Spin does not read the file"));
    };
    let all = all.into_iter();
    Ok(all
        .map(|(name, value)| (name, Zeroizing::new(value)))
        .collect())
}

fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}
