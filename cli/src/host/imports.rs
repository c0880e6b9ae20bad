//! The interfaces beside WASI and WASI HTTP: variables.

use std::sync::Arc;

use wasmtime::Result;
use wasmtime::component::{ComponentType, Lift, Linker, Lower};

use super::state::{Shared, State};

/// Variables on every Spin since 2.0.
pub fn variables_v2(linker: &mut Linker<State>) -> Result<()> {
    linker.instance("fermyon:spin/variables@2.0.0")?.func_wrap(
        "get",
        |store, (name,): (String,)| {
            let state: &State = store.data();
            Ok((variable(&state.shared, name),))
        },
    )
}

/// Variables on Spin 4.1 and later, for components of WASI 0.3.
pub fn variables_v3(linker: &mut Linker<State>) -> Result<()> {
    linker
        .instance("spin:variables/variables@3.0.0")?
        .func_wrap_concurrent("get", |accessor, (name,): (String,)| {
            let shared = accessor.with(|mut access| Arc::clone(&access.get().shared));
            Box::pin(async move { Ok((variable(&shared, name),)) })
        })
}

/// Configuration on plain hosts.
pub fn config(linker: &mut Linker<State>) -> Result<()> {
    let mut config = linker.instance("wasi:config/store@0.2.0-rc.1")?;
    config.func_wrap("get", |store, (name,): (String,)| {
        let value = store.data().shared.variables.get(&name).cloned();
        Ok((Ok::<_, ConfigError>(value),))
    })
}

fn variable(shared: &Shared, name: String) -> Result<String, VariableError> {
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if name.is_empty() || !name.chars().all(is_name) {
        return Err(VariableError::InvalidName(name));
    }
    shared
        .variables
        .get(&name)
        .cloned()
        .ok_or(VariableError::Undefined(name))
}

/// The error of Spin's variables, in both versions.
#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
enum VariableError {
    #[component(name = "invalid-name")]
    InvalidName(String),
    #[component(name = "undefined")]
    Undefined(String),
    #[component(name = "provider")]
    Provider(String),
    #[component(name = "other")]
    Other(String),
}

/// The error of `wasi:config`.
#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
enum ConfigError {
    #[component(name = "upstream")]
    Upstream(String),
    #[component(name = "io")]
    Io(String),
}
