//! What the end-to-end tests and the tests of the command line share.

#![expect(clippy::unwrap_used, reason = "a test ends where its expectation does")]

pub mod kept;
pub mod leases;
pub mod processes;
pub mod upstream;

use std::io::Write;

use keylet_host::{AsSpin, Options};

/// The environment variable with the tools that must be there: names separated by commas. A test
/// that would skip one of them fails.
pub const REQUIRE: &str = "KEYLET_REQUIRE";

/// The environment variable that says what the host of the tests is like: `spin` for one that is no kinder than Spin.
pub const HOST: &str = "KEYLET_HOST";

/// The host of a test: loopback at a free port, nothing shown, nothing kept.
pub fn quiet() -> Options {
    let is_as_spin = std::env::var(HOST).is_ok_and(|host| host == "spin");
    Options {
        as_spin: match is_as_spin {
            true => AsSpin::in_all(),
            false => AsSpin::default(),
        },
        ..Options::quiet()
    }
}

/// Reports that a test is skipped because a tool is missing.
///
/// The line goes to standard error itself, and not through `eprintln!`, which the test runner keeps.
/// `.ci/run` collects these lines.
///
/// # Panics
/// When [`REQUIRE`] names the tool.
pub fn skip(tool: &str, test: &str, reason: &str) {
    let required = std::env::var(REQUIRE).unwrap_or_default();
    let is_required = required.split(',').any(|name| name.trim() == tool);
    assert!(!is_required, "{test}: {tool} is required: {reason}");
    let _ = writeln!(std::io::stderr(), "SKIPPED {tool}: {test}: {reason}");
}

#[cfg(test)]
mod tests {
    #[test]
    #[should_panic(expected = "redis is required")]
    fn a_required_tool_is_never_skipped() {
        // The variable is read at each call. No other test of this crate reads it.
        // SAFETY: this test is the only one of its process that touches the environment.
        #[expect(unsafe_code, reason = "the environment is what is tested")]
        unsafe {
            std::env::set_var(super::REQUIRE, "players, redis");
        }
        super::skip("node", "a test", "it is not required");
        super::skip("redis", "a test", "there is no redis-server");
    }
}
