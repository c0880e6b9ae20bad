//! What component crates share: clock and random source of a WASI host. No SDK is known here.

use std::time::SystemTime;

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Fills `buffer` from the host's random source.
#[expect(
    clippy::expect_used,
    reason = "WASI's random source cannot fail; without one no licence may be made"
)]
pub fn fill_random(buffer: &mut [u8]) {
    getrandom::fill(buffer).expect("the host has a random source");
}
