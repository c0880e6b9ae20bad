//! The embedded host as a process, and its stores.

#![expect(clippy::unwrap_used, reason = "a test ends where its expectation does")]

mod azure_policies;
mod ckc;
mod credentials;
mod derived_keys;
mod doctor;
mod faults;
mod first_hour;
mod identity_providers;
mod keys;
mod license;
mod logged;
mod outage;
mod packagers;
mod published;
mod report;
mod serve;
mod sessions;
mod speke;
mod stop;
mod store;
mod support;
mod telemetry;
mod terminal;
mod tls;
mod unreachable;
