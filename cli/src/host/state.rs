//! What an instance holds on the host's side.

use std::sync::Arc;

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{
    Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

use super::variables::Resolved;

/// What every instance of an application shares.
pub struct Shared {
    /// Its variables.
    pub variables: Resolved,
    /// Its environment.
    pub environment: Vec<(String, String)>,
    /// Whether what it writes goes to the host's standard output.
    pub show_output: bool,
}

/// The state of one instance.
pub struct State {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
    hooks: NoOutbound,
    /// What it shares with the others.
    pub shared: Arc<Shared>,
}

impl State {
    /// The state of a fresh instance.
    pub fn new(shared: &Arc<Shared>) -> Self {
        let mut wasi = WasiCtx::builder();
        wasi.envs(&shared.environment);
        if shared.show_output {
            wasi.inherit_stdout().inherit_stderr();
        }
        Self {
            wasi: wasi.build(),
            http: WasiHttpCtx::new(),
            table: ResourceTable::new(),
            hooks: NoOutbound,
            shared: Arc::clone(shared),
        }
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
            hooks: &mut self.hooks,
        }
    }
}

type Boxed<T> = Box<dyn Future<Output = Result<T, Error>> + Send>;

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
