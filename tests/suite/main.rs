//! What crosses module borders: the built component over HTTP, the published vectors, hostile input.

#![expect(clippy::unwrap_used, reason = "a test ends where its expectation does")]

mod callback;
mod check_in;
mod clearkey;
mod component;
mod derived_keys;
mod dialects;
mod endpoints;
mod fixtures;
mod inspect;
mod issuer;
mod jose;
mod key_server;
mod keys;
mod license_data;
mod limits;
mod mangled;
mod meeting;
mod metrics;
mod openapi;
mod packager;
mod packaging;
mod platform;
mod playback;
mod players;
mod policies;
mod policy;
mod published;
mod robustness;
mod segments;
mod service_players;
mod sessions;
mod settings;
mod silent_store;
mod slots;
mod stored_keys;
mod streams;
mod support;
mod upstream;
mod uses;
mod vectors;
mod wasmtime_serve;
mod widevine;
mod wire;
mod worlds;
