//! What an instance holds on the host's side.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::metrics::{Memory, Metrics, Stopwatch};
use super::outbound::{AllowedHosts, Outbound};
use super::output::{Output, Stdout};
use super::store::Store;
use super::telemetry::Telemetry;
use super::variables::Resolved;

/// What every instance of an application shares.
pub struct Shared {
    /// Its variables, which may change.
    pub variables: RwLock<Resolved>,
    /// Its environment.
    pub environment: Vec<(String, String)>,
    /// Its key-value store; `None` where it has none, or may not open it.
    pub store: Option<Store>,
    /// Where it may send requests to.
    pub outbound: Arc<AllowedHosts>,
    /// Where what it writes goes; `None`: nowhere.
    pub output: Option<Output>,
    /// What makes spans; `None`: nothing does.
    pub telemetry: Option<Arc<Telemetry>>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Whether the time that instances calculate is counted: each call between an instance and its host
    /// then looks at the clock.
    pub is_timed: bool,
    /// How long it takes to read a variable.
    pub variable_takes: Duration,
    /// Whether the connection has time to send a head when it is handed over.
    pub sends_head_at_once: bool,
    /// Whether the server is about to stop: it still answers, and tells balancers to go elsewhere.
    pub is_draining: AtomicBool,
    /// Whether the server stops: instances that wait for requests are then given up.
    pub is_stopping: AtomicBool,
}

impl Shared {
    /// The value of a variable.
    pub fn variable(&self, name: &str) -> Option<String> {
        let variables = self.variables.read();
        variables
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned()
    }
}

/// The state of one instance.
pub struct State {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
    outbound: Outbound,
    /// Requests that it was handed.
    pub requests: usize,
    /// Its memory.
    pub memory: Memory,
    /// How long it calculates.
    pub stopwatch: Stopwatch,
    /// What it shares with the others.
    pub shared: Arc<Shared>,
}

impl State {
    /// The state of a fresh instance.
    pub fn new(shared: &Arc<Shared>) -> Self {
        let mut wasi = WasiCtx::builder();
        wasi.envs(&shared.environment);
        if shared.output.is_some() || shared.telemetry.is_some() {
            wasi.stdout(Stdout {
                output: shared.output.clone(),
                telemetry: shared.telemetry.clone(),
            });
        }
        if shared.output.is_some() {
            wasi.inherit_stderr();
        }
        Self {
            wasi: wasi.build(),
            http: WasiHttpCtx::new(),
            table: ResourceTable::new(),
            outbound: Outbound {
                allowed: Arc::clone(&shared.outbound),
                telemetry: shared.telemetry.clone(),
            },
            requests: 0,
            memory: Memory::new(&shared.metrics),
            stopwatch: Stopwatch::default(),
            shared: Arc::clone(shared),
        }
    }

    /// The resources of this instance.
    pub fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
    }
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
            hooks: &mut self.outbound,
        }
    }
}
