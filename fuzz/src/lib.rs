//! What is fuzzed: a function of bytes for everything that reads what somebody else wrote. It panics where a promise does not hold.
//!
//! `fuzz/run` compiles them with libFuzzer; `cargo test -p keylet-fuzz` gives them what fuzzing kept.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a panic is what a fuzzer looks for")]

mod audit;
mod ckc;
mod dialects;
mod documents;
mod host;
mod requests;
mod spc;
mod tokens;

/// A function of bytes.
pub type Target = fn(&[u8]);

/// The targets, by name.
pub const TARGETS: [(&str, Target); 19] = [
    ("audit", audit::audit),
    ("azure_policies", documents::azure_policies),
    ("cat", tokens::cat),
    ("ckc", ckc::ckc),
    ("cpix", documents::cpix),
    ("dialects", dialects::dialects),
    ("entitlements", tokens::entitlements),
    ("jwk_set", tokens::jwk_set),
    ("jwt", tokens::jwt),
    ("key_records", documents::key_records),
    ("packaging_data", documents::packaging_data),
    ("playready", documents::playready),
    ("policies", documents::policies),
    ("private_keys", documents::private_keys),
    ("requests", requests::requests),
    ("spc", spc::container),
    ("spc_payload", spc::payload),
    ("speke", documents::speke),
    ("widevine", documents::widevine),
];

/// A target by its name.
pub fn target(name: &str) -> Option<Target> {
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    found.map(|(_, target)| *target)
}
