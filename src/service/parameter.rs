//! Parameters of a query that are not text.

use super::context::Context;
use super::problem::Problem;
use crate::error::Code;
use crate::platform::Platform;

/// A parameter that is `true` or `false`, which is the default.
///
/// # Errors
/// Another value.
pub fn flag<P: Platform>(context: &Context<'_, P>, name: &str) -> Result<bool, Problem> {
    match context.parameter(name).as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(wrong(name, "`true` or `false`")),
    }
}

/// A parameter that is a number; `None` without it.
///
/// # Errors
/// Another value.
pub fn number<P: Platform>(context: &Context<'_, P>, name: &str) -> Result<Option<u64>, Problem> {
    let value = context.parameter(name);
    let number = value.map(|value| value.parse().map_err(|_| wrong(name, "a number")));
    number.transpose()
}

fn wrong(name: &str, expected: &str) -> Problem {
    Problem::new(
        Code::REQUEST_MALFORMED,
        format!("the parameter `{name}` is not {expected}"),
    )
}
