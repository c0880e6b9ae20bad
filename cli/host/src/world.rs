//! The worlds that a component can be made for, and the instances that serve it.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use http::{Request, Response};
use tokio::sync::oneshot;
use wasmtime::component::{Component, GuestTaskId, Linker};
use wasmtime::{
    Cache, CacheConfig, Config, Enabled, Engine, InstanceAllocationStrategy,
    PoolingAllocationConfig, Result, Store, StoreContextMut, format_err,
};
use wasmtime_wasi_http::handler::{
    HandlerState, Instance, ProxyHandler, ProxyPre, ShouldAccept, WorkerExpiration, WorkerState,
    WorkerStatus,
};
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::{WasiBody, WasiHttpView, p2, p3};

use super::imports;
use super::metrics::MOST_MEMORY;
use super::state::{Shared, State};

/// Requests at a moment; more wait.
pub const INSTANCES: u32 = 128;

/// Instances that there is room for: those that answer, and as many that wait for a request.
const ROOM: u32 = INSTANCES * 2;

/// How much of an instance's memory and of its tables stays with the process for the next one.
const KEPT_MEMORY: usize = 2 << 20;

/// What a host provides to a component.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum World {
    /// Every Spin: WASI 0.2, Spin's variables and store
    #[default]
    Wasip2,
    /// Spin 4.1 and later: WASI 0.3, Spin's variables and store, instances reused
    Wasip3,
    /// Plain hosts such as `wasmtime serve`: WASI 0.2, configuration, no store
    Wasi,
}

impl World {
    /// The variables and the store of this world, beside WASI and WASI HTTP.
    fn link(self, linker: &mut Linker<State>, shared: &Shared) -> Result<()> {
        wasmtime_wasi::p2::add_to_linker_async(linker)?;
        match self {
            Self::Wasip2 => {
                p2::add_only_http_to_linker_async(linker)?;
                imports::variables_v2(linker, !shared.variable_takes.is_zero())?;
                imports::key_value(linker)
            }
            Self::Wasip3 => {
                wasmtime_wasi::p3::add_to_linker(linker)?;
                p3::add_to_linker(linker)?;
                imports::variables_v3(linker)?;
                imports::key_value(linker)?;
                imports::key_value_v3(linker)
            }
            Self::Wasi => {
                p2::add_only_http_to_linker_async(linker)?;
                imports::config(linker)
            }
        }
    }

    /// Whether it is one of Spin's, with a store that keeps what is written and a manifest that
    /// says where requests may go.
    pub fn is_spin(self) -> bool {
        self != Self::Wasi
    }

    /// How often an instance is used in this world by default.
    pub fn default_reuse(self) -> Reuse {
        match self {
            Self::Wasip2 | Self::Wasi => Reuse {
                total: 1,
                concurrent: 1,
                idle: Duration::from_secs(1),
            },
            Self::Wasip3 => Reuse {
                total: 128,
                concurrent: 16,
                idle: Duration::from_secs(1),
            },
        }
    }
}

/// How often an instance is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reuse {
    /// Requests in all.
    pub total: usize,
    /// Requests at a moment.
    pub concurrent: usize,
    /// How long an instance waits for another request.
    pub idle: Duration,
}

/// A compiled component and its instances.
pub struct Instances(Kind);

enum Kind {
    /// WASI 0.2: each answers one request.
    Once(Arc<Once>),
    /// WASI 0.3: each answers as many as its limits allow.
    Kept(ProxyHandler<Handler>),
}

impl Instances {
    /// Compiles a component for a world, or takes it from the cache on disk.
    ///
    /// # Errors
    /// A component that does not compile, or that asks for what the world has not.
    pub fn new(world: World, component: &[u8], shared: Arc<Shared>, reuse: Reuse) -> Result<Self> {
        let is_kept = world == World::Wasip3;
        let engine = Engine::new(&config(pooling(), is_kept)?).or_else(|error| {
            // A pool wants some address space, a terabyte of it.
            tracing::warn!(%error, "memory is not reserved ahead");
            Engine::new(&config(InstanceAllocationStrategy::OnDemand, is_kept)?)
        })?;
        let component = Component::new(&engine, component)?;
        let mut linker = Linker::new(&engine);
        world.link(&mut linker, &shared)?;
        if shared.sends_head_at_once && !is_kept {
            imports::heads_at_once(&mut linker)?;
        }
        let instance = linker
            .instantiate_pre(&component)
            .map_err(|error| error.context("it is for another world: see --world"))?;
        if is_kept {
            return Ok(Self(Kind::Kept(ProxyHandler::new(Handler {
                engine,
                component: ProxyPre::P3(p3::bindings::ServicePre::new(instance)?),
                shared,
                reuse,
            }))));
        }
        Ok(Self(Kind::Once(Arc::new(Once {
            engine,
            component: p2::bindings::ProxyPre::new(instance)?,
            shared,
        }))))
    }

    /// Hands a request to an instance.
    ///
    /// # Errors
    /// A trap, or an instance that ends without an answer.
    pub async fn handle(&self, request: Request<WasiBody>) -> Result<Response<WasiBody>> {
        match &self.0 {
            Kind::Once(instances) => instances.handle(request).await,
            Kind::Kept(instances) => instances.handle((), request).await,
        }
    }
}

/// A store with what every instance has.
fn store(engine: &Engine, shared: &Arc<Shared>) -> Store<State> {
    let mut store = Store::new(engine, State::new(shared));
    store.limiter(|state| &mut state.memory);
    if shared.is_timed {
        store.call_hook(|mut context, hook| {
            let state = context.data_mut();
            state.stopwatch.turn(hook, &state.shared.metrics);
            Ok(())
        });
    }
    store
}

/// Reports an instance that failed, unless the host is stopping.
fn report(shared: &Shared, error: &wasmtime::Error) {
    if !shared.is_stopping.load(Ordering::Relaxed) {
        tracing::error!(error = format!("{error:#}"), "an instance failed");
    }
}

/// Instances that answer one request each.
struct Once {
    engine: Engine,
    component: p2::bindings::ProxyPre<State>,
    shared: Arc<Shared>,
}

impl Once {
    async fn handle(self: &Arc<Self>, request: Request<WasiBody>) -> Result<Response<WasiBody>> {
        let (sender, receiver) = oneshot::channel();
        let this = Arc::clone(self);
        // A task of its own: it goes on once the head of its answer is sent, and when the client is gone.
        let running = tokio::spawn(async move {
            let mut store = store(&this.engine, &this.shared);
            let result = this.run(&mut store, request, sender).await;
            if let Err(error) = &result {
                report(&this.shared, error);
            }
            // The answer leaves before the instance's memory is cleaned.
            tokio::task::yield_now().await;
            result
        });
        match receiver.await {
            Ok(answer) => Ok(answer.map_err(|code| format_err!("{code}"))?),
            Err(_) => {
                running.await??;
                Err(format_err!("the instance gave no answer"))
            }
        }
    }

    async fn run(
        &self,
        store: &mut Store<State>,
        request: Request<WasiBody>,
        answer: oneshot::Sender<Result<Response<WasiBody>, ErrorCode>>,
    ) -> Result<()> {
        let mut http = store.data_mut().http();
        let scheme = match request.uri().scheme_str() {
            Some("https") => Scheme::Https,
            _ => Scheme::Http,
        };
        let request = http.new_incoming_request(scheme, request)?;
        let answer = http.new_response_outparam(answer)?;
        let proxy = self.component.instantiate_async(&mut *store).await?;
        store.data_mut().requests += 1;
        let handler = proxy.wasi_http_incoming_handler();
        handler.call_handle(store, request, answer).await
    }
}

/// Makes instances that answer several requests.
struct Handler {
    engine: Engine,
    component: ProxyPre<State>,
    shared: Arc<Shared>,
    reuse: Reuse,
}

impl HandlerState for Handler {
    type StoreData = State;
    type WorkerExpiration = Expiration;
    type WorkerState = Limits;

    async fn instantiate(&self) -> Result<Instance<State, Expiration, Limits>> {
        let mut store = store(&self.engine, &self.shared);
        let proxy = self.component.instantiate_async(&mut store).await?;
        Ok(Instance {
            store,
            proxy,
            view: <State as WasiHttpView>::http,
            expiration: Expiration {
                idle: self.reuse.idle,
                sleep: None,
            },
            state: Limits(self.reuse),
        })
    }
}

/// Ends an instance that has waited for too long.
struct Expiration {
    idle: Duration,
    sleep: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl WorkerExpiration for Expiration {
    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        status: WorkerStatus,
        start: Instant,
    ) -> Poll<()> {
        if status != WorkerStatus::Idle {
            self.sleep = None;
            return Poll::Pending;
        }
        let deadline = tokio::time::Instant::from_std(start + self.idle);
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.deadline() != deadline {
            sleep.as_mut().reset(deadline);
        }
        pin!(sleep).poll(cx)
    }
}

/// Takes requests as often as the limits allow.
struct Limits(Reuse);

impl WorkerState for Limits {
    type StoreData = State;
    type RequestData = ();

    fn should_accept_request(&self, concurrent: usize, total: usize) -> ShouldAccept {
        if total >= self.0.total {
            ShouldAccept::Never
        } else if concurrent >= self.0.concurrent {
            ShouldAccept::No
        } else {
            ShouldAccept::Yes
        }
    }

    fn on_request_start(
        &self,
        mut store: StoreContextMut<'_, State>,
        _request: (),
        _task: GuestTaskId,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + Sync>> {
        let state = store.data_mut();
        if state.requests > 0 {
            state.shared.metrics.reused();
        }
        state.requests += 1;
        Box::pin(std::future::pending())
    }

    fn drop(&self, store: Store<State>, result: Result<()>) {
        if let Err(error) = result {
            report(&store.data().shared, &error);
        }
    }
}

/// Room for instances, which is used again.
fn pooling() -> InstanceAllocationStrategy {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(ROOM)
        .total_core_instances(ROOM * 4)
        .total_memories(ROOM)
        .total_tables(ROOM * 4)
        .total_stacks(ROOM)
        .max_memory_size(MOST_MEMORY)
        // What an instance wrote to its memory is overwritten once it is gone, which takes a fraction of
        // the page faults that the next one would have if its pages were given back.
        .linear_memory_keep_resident(KEPT_MEMORY)
        .table_keep_resident(KEPT_MEMORY)
        .pagemap_scan(Enabled::Auto);
    InstanceAllocationStrategy::Pooling(pool)
}

/// Where instances answer one request each, nothing is kept of which call is under way: that takes a tenth of a
/// licence's time.
fn config(allocation: InstanceAllocationStrategy, is_concurrent: bool) -> Result<Config> {
    let mut config = Config::new();
    config.allocation_strategy(allocation);
    config.concurrency_support(is_concurrent);
    // A machine without a home directory has no cache, and compiles each time.
    match Cache::new(CacheConfig::new()) {
        Ok(cache) => {
            config.cache(Some(cache));
        }
        Err(error) => tracing::warn!(%error, "compiled code is not cached"),
    }
    Ok(config)
}
