//! The WASI 0.2 world of Spin: a fresh instance for each request.

use std::sync::Arc;

use bytes::Bytes;
use wasmtime::component::{Component, ComponentType, Linker, Lower, ResourceTable};
use wasmtime::{
    Cache, CacheConfig, Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig,
    Result, Store,
};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::{
    Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

use super::Application;
use super::variables::Resolved;

/// The interface through which a component reads variables on every Spin since 2.0.
const VARIABLES: &str = "fermyon:spin/variables@2.0.0";

/// Requests that are served at a moment; more wait.
pub const CONCURRENCY: u32 = 128;

/// A compiled component, ready to be instantiated.
pub struct World {
    instance: ProxyPre<State>,
    variables: Arc<Resolved>,
    show_output: bool,
}

impl World {
    /// Compiles the component, or takes it from the cache on disk.
    pub fn new(application: Application, show_output: bool) -> Result<Self> {
        let engine = Engine::new(&config()?)?;
        let component = Component::new(&engine, &application.component)?;
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
        linker
            .instance(VARIABLES)?
            .func_wrap("get", |store, (name,): (String,)| {
                let state: &State = store.data();
                Ok((state.variable(&name),))
            })?;
        Ok(Self {
            instance: ProxyPre::new(linker.instantiate_pre(&component)?)?,
            variables: Arc::new(application.variables),
            show_output,
        })
    }

    /// Hands a request to a fresh instance.
    ///
    /// # Errors
    /// A trap, or an instance that ends without an answer.
    pub async fn handle<B>(&self, request: http::Request<B>) -> Result<http::Response<WasiBody>>
    where
        B: http_body::Body<Data = Bytes, Error = hyper::Error> + Send + 'static,
    {
        let mut wasi = WasiCtx::builder();
        if self.show_output {
            wasi.inherit_stdout().inherit_stderr();
        }
        let state = State {
            wasi: wasi.build(),
            http: WasiHttpCtx::new(),
            table: ResourceTable::new(),
            hooks: NoOutbound,
            variables: Arc::clone(&self.variables),
        };
        let mut store = Store::new(self.instance.engine(), state);
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let request = store
            .data_mut()
            .http()
            .new_incoming_request(Scheme::Http, request)?;
        let outparam = store.data_mut().http().new_response_outparam(sender)?;

        let instance = self.instance.clone();
        let task = tokio::spawn(async move {
            let proxy = instance.instantiate_async(&mut store).await?;
            proxy
                .wasi_http_incoming_handler()
                .call_handle(&mut store, request, outparam)
                .await
        });
        match receiver.await {
            Ok(response) => Ok(response?),
            Err(_) => {
                task.await??;
                wasmtime::bail!("the component ended without an answer")
            }
        }
    }
}

fn config() -> Result<Config> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(CONCURRENCY)
        .total_core_instances(CONCURRENCY * 4)
        .total_memories(CONCURRENCY)
        .total_tables(CONCURRENCY * 4)
        .total_stacks(CONCURRENCY)
        .max_memory_size(64 << 20);
    let mut config = Config::new();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    // A machine without a home directory has no cache, and compiles each time.
    match Cache::new(CacheConfig::new()) {
        Ok(cache) => {
            config.cache(Some(cache));
        }
        Err(error) => tracing::warn!(%error, "compiled code is not cached"),
    }
    Ok(config)
}

struct State {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
    hooks: NoOutbound,
    variables: Arc<Resolved>,
}

impl State {
    fn variable(&self, name: &str) -> Result<String, VariableError> {
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if name.is_empty() || !name.chars().all(is_name) {
            return Err(VariableError::InvalidName(name.to_owned()));
        }
        self.variables
            .get(name)
            .cloned()
            .ok_or_else(|| VariableError::Undefined(name.to_owned()))
    }
}

/// The error of Spin's variables interface.
#[derive(ComponentType, Lower)]
#[component(variant)]
enum VariableError {
    #[component(name = "invalid-name")]
    InvalidName(String),
    #[component(name = "undefined")]
    Undefined(String),
    #[component(name = "provider")]
    #[expect(
        dead_code,
        reason = "a case of the interface: this host's providers do not fail"
    )]
    Provider(String),
    #[component(name = "other")]
    #[expect(dead_code, reason = "a case of the interface")]
    Other(String),
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            ctx: &mut self.http,
            table: &mut self.table,
            hooks: &mut self.hooks,
        }
    }
}

type Boxed<T> = Box<dyn Future<Output = std::result::Result<T, Error>> + Send>;

/// The component may send no requests: `allowed_outbound_hosts` is empty.
struct NoOutbound;

impl WasiHttpHooks for NoOutbound {
    fn send_request(
        &mut self,
        _request: http::Request<WasiBody>,
        _options: Option<RequestOptions>,
        _sent: Boxed<()>,
    ) -> Boxed<(http::Response<WasiBody>, Boxed<()>)> {
        Box::new(async { Err(Error::HttpRequestDenied) })
    }
}
