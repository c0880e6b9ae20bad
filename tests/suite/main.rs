//! What crosses module borders: the built component over HTTP, the published vectors, hostile input.

#![expect(clippy::unwrap_used, reason = "a test ends where its expectation does")]

mod check_in;
mod component;
mod deploy;
mod endpoints;
mod figures;
mod fixtures;
mod inspect;
mod openapi;
mod platform;
mod players;
mod policy;
mod robustness;
mod settings;
mod support;
mod uses;
mod vectors;
mod wire;
mod worlds;
