//! What the kernel promises, checked against other implementations.

#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod constant_time;
mod differential;
mod hosts;
mod keys;
mod oaep;
mod p256;
mod support;
