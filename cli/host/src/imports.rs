//! The interfaces beside WASI and WASI HTTP: variables and key-value store.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::Result;
use wasmtime::component::{ComponentType, Lift, Linker, Lower, Resource, ResourceType};
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, HostResponseOutparam};

use super::manifest::DEFAULT_STORE;
use super::state::{Shared, State};
use super::store::{NotACounter, Store};

/// Gives the connection time to send the head of an answer when an instance of WASI 0.2 hands it over, as it may have
/// where the two run on different threads.
pub fn heads_at_once(linker: &mut Linker<State>) -> Result<()> {
    linker.allow_shadowing(true);
    linker.instance("wasi:http/types@0.2.12")?.func_wrap_async(
        "[static]response-outparam.set",
        |mut store, (outparam, response): (Resource<_>, Result<Resource<_>, ErrorCode>)| {
            Box::new(async move {
                let mut http = store.data_mut().http();
                HostResponseOutparam::set(&mut http, outparam, response)?;
                tokio::time::sleep(Duration::from_millis(1)).await;
                Ok(())
            })
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Variables on every Spin since 2.0. They wait only where `is_slow`.
pub fn variables_v2(linker: &mut Linker<State>, is_slow: bool) -> Result<()> {
    let mut variables = linker.instance("fermyon:spin/variables@2.0.0")?;
    if !is_slow {
        return variables.func_wrap("get", |store, (name,): (String,)| {
            let state: &State = store.data();
            Ok((variable(&state.shared, name),))
        });
    }
    variables.func_wrap_async("get", |store, (name,): (String,)| {
        let state: &State = store.data();
        let shared = Arc::clone(&state.shared);
        Box::new(async move { Ok((slow_variable(&shared, name).await,)) })
    })
}

/// Variables on Spin 4.1 and later, for components of WASI 0.3.
pub fn variables_v3(linker: &mut Linker<State>) -> Result<()> {
    linker
        .instance("spin:variables/variables@3.0.0")?
        .func_wrap_concurrent("get", |accessor, (name,): (String,)| {
            let shared = accessor.with(|mut access| Arc::clone(&access.get().shared));
            Box::pin(async move { Ok((slow_variable(&shared, name).await,)) })
        })
}

/// Configuration on plain hosts.
pub fn config(linker: &mut Linker<State>) -> Result<()> {
    let mut config = linker.instance("wasi:config/store@0.2.0-rc.1")?;
    config.func_wrap("get", |store, (name,): (String,)| {
        let value = store.data().shared.variable(&name);
        Ok((Ok::<_, ConfigError>(value),))
    })
}

/// The key-value store, with its atomic counter.
pub fn key_value(linker: &mut Linker<State>) -> Result<()> {
    let mut store = linker.instance("wasi:keyvalue/store@0.2.0-draft2")?;
    store.resource(
        "bucket",
        ResourceType::host::<Bucket>(),
        |mut store, handle| {
            store
                .data_mut()
                .table()
                .delete(Resource::<Bucket>::new_own(handle))?;
            Ok(())
        },
    )?;
    store.func_wrap("open", |mut store, (name,): (String,)| {
        let state: &mut State = store.data_mut();
        if name != DEFAULT_STORE || state.shared.store.is_none() {
            return Ok((Err(StoreError::AccessDenied),));
        }
        Ok((Ok(state.table().push(Bucket)?),))
    })?;
    store.func_wrap_async("[method]bucket.get", |store, (_, key): (Handle, String)| {
        let shared = Arc::clone(&store.data().shared);
        Box::new(async move { Ok((failed(open(&shared)?.get(&key).await),)) })
    })?;
    store.func_wrap_async(
        "[method]bucket.set",
        |store, (_, key, value): (Handle, String, Vec<u8>)| {
            let shared = Arc::clone(&store.data().shared);
            Box::new(async move { Ok((failed(open(&shared)?.set(&key, value).await),)) })
        },
    )?;
    store.func_wrap_async(
        "[method]bucket.delete",
        |store, (_, key): (Handle, String)| {
            let shared = Arc::clone(&store.data().shared);
            Box::new(async move { Ok((failed(open(&shared)?.delete(&key).await),)) })
        },
    )?;
    store.func_wrap_async(
        "[method]bucket.exists",
        |store, (_, key): (Handle, String)| {
            let shared = Arc::clone(&store.data().shared);
            Box::new(async move {
                let value = open(&shared)?.get(&key).await;
                Ok((failed(value.map(|value| value.is_some())),))
            })
        },
    )?;
    store.func_wrap_async(
        "[method]bucket.list-keys",
        |store, (_, cursor): (Handle, Option<String>)| {
            let shared = Arc::clone(&store.data().shared);
            Box::new(async move {
                if cursor.is_some() {
                    return Ok((Err(StoreError::Other(
                        "this host has no cursors".to_owned(),
                    )),));
                }
                let keys = failed(open(&shared)?.keys().await);
                Ok((keys.map(|keys| KeyResponse { keys, cursor: None }),))
            })
        },
    )?;
    linker
        .instance("wasi:keyvalue/atomics@0.2.0-draft2")?
        .func_wrap_async(
            "increment",
            |store, (_, key, delta): (Handle, String, i64)| {
                let shared = Arc::clone(&store.data().shared);
                // A value that is not a counter stops the instance, as it does in Spin.
                Box::new(async move {
                    match open(&shared)?.increment(&key, delta).await {
                        Err(error) if error.is::<NotACounter>() => {
                            Err(wasmtime::format_err!("incrementing a key: {error}"))
                        }
                        sum => Ok((failed(sum),)),
                    }
                })
            },
        )
}

/// What Keylet calls of Spin's key-value store of WASI 0.3. A call holds up no other request of the instance.
pub fn key_value_v3(linker: &mut Linker<State>) -> Result<()> {
    let mut store = linker.instance("spin:key-value/key-value@3.0.0")?;
    store.resource(
        "store",
        ResourceType::host::<Bucket>(),
        |mut store, handle| {
            store
                .data_mut()
                .table()
                .delete(Resource::<Bucket>::new_own(handle))?;
            Ok(())
        },
    )?;
    store.func_wrap_concurrent("[static]store.open", |accessor, (name,): (String,)| {
        Box::pin(async move {
            accessor.with(|mut access| {
                let state = access.get();
                if name != DEFAULT_STORE || state.shared.store.is_none() {
                    return Ok((Err(StoreErrorV3::AccessDenied),));
                }
                Ok((Ok(state.table().push(Bucket)?),))
            })
        })
    })?;
    store.func_wrap_concurrent(
        "[method]store.get",
        |accessor, (_, key): (Handle, String)| {
            let shared = accessor.with(|mut access| Arc::clone(&access.get().shared));
            Box::pin(async move { Ok((failed_v3(open(&shared)?.get(&key).await),)) })
        },
    )?;
    store.func_wrap_concurrent(
        "[method]store.set",
        |accessor, (_, key, value): (Handle, String, Vec<u8>)| {
            let shared = accessor.with(|mut access| Arc::clone(&access.get().shared));
            Box::pin(async move { Ok((failed_v3(open(&shared)?.set(&key, value).await),)) })
        },
    )?;
    store.func_wrap_concurrent(
        "[method]store.delete",
        |accessor, (_, key): (Handle, String)| {
            let shared = accessor.with(|mut access| Arc::clone(&access.get().shared));
            Box::pin(async move { Ok((failed_v3(open(&shared)?.delete(&key).await),)) })
        },
    )
}

/// An open store, as the guest holds it. There is one store, so there is nothing in it.
struct Bucket;

type Handle = Resource<Bucket>;

fn open(shared: &Shared) -> Result<&Store> {
    shared
        .store
        .as_ref()
        .ok_or_else(|| wasmtime::format_err!("a handle to a store that is not there"))
}

fn failed<T>(result: anyhow::Result<T>) -> Result<T, StoreError> {
    result.map_err(|error| StoreError::Other(format!("{error:#}")))
}

fn failed_v3<T>(result: anyhow::Result<T>) -> Result<T, StoreErrorV3> {
    result.map_err(|error| StoreErrorV3::Other(format!("{error:#}")))
}

async fn slow_variable(shared: &Shared, name: String) -> Result<String, VariableError> {
    if !shared.variable_takes.is_zero() {
        tokio::time::sleep(shared.variable_takes).await;
    }
    variable(shared, name)
}

fn variable(shared: &Shared, name: String) -> Result<String, VariableError> {
    shared.metrics.variable_read();
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if name.is_empty() || !name.chars().all(is_name) {
        return Err(VariableError::InvalidName(name));
    }
    shared.variable(&name).ok_or(VariableError::Undefined(name))
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

/// The error of `wasi:keyvalue`.
#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
enum StoreError {
    #[component(name = "no-such-store")]
    NoSuchStore,
    #[component(name = "access-denied")]
    AccessDenied,
    #[component(name = "other")]
    Other(String),
}

/// A page of keys: all of them.
#[derive(ComponentType, Lift, Lower)]
#[component(record)]
struct KeyResponse {
    keys: Vec<String>,
    cursor: Option<String>,
}

/// The error of Spin's key-value store of WASI 0.3.
#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
enum StoreErrorV3 {
    #[component(name = "store-table-full")]
    StoreTableFull,
    #[component(name = "no-such-store")]
    NoSuchStore,
    #[component(name = "access-denied")]
    AccessDenied,
    #[component(name = "other")]
    Other(String),
}
