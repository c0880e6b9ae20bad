//! The HTTP server in front of the component.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use http::uri::Scheme;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_io_timeout::TimeoutStream;
use wasmtime_wasi_http::WasiBody;

use super::connections::Connections;
use super::front::{Client, Front, whole};
use super::metrics::Metrics;
use super::output::{AuditTo, Output};
use super::state::Shared;
use super::store::{Store, StoreChoice};
use super::telemetry::{self, Telemetry};
use super::tls::{Tls, TlsFiles};
use super::variables::{Provided, Resolved, resolve};
use super::world::{Instances, Reuse};
use super::{Application, Manifest, millis};

/// How long the body of a request may take to come.
const LONGEST_BODY: Duration = Duration::from_secs(30);

/// How long a request waits for an instance by default.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How long an answer waits for a client that does not read, by default.
const LONGEST_WRITE: Duration = Duration::from_secs(30);

/// How often it is logged that connections are refused.
const REFUSALS_LOGGED: Duration = Duration::from_secs(60);

/// How long accepting pauses when there is no descriptor for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// After so many steps of requests, a thread looks for new requests: a step can be a whole licence.
const EVENT_INTERVAL: u32 = 4;

/// How long requests under way may take once the server stops.
const GRACE: Duration = Duration::from_secs(10);

/// How an application is served.
pub struct Options {
    /// Where to listen, at one address at least; port 0 takes any free one.
    pub listen: Vec<SocketAddr>,
    /// The certificate of these addresses, which have TLS then. The metrics have none.
    pub tls: Option<TlsFiles>,
    /// Whether signals of this process are for this server, from before it listens.
    pub takes_signals: bool,
    /// Where what the component writes goes, the audit trail.
    pub audit: AuditTo,
    /// Where the metrics are served; `None`: nowhere, and the time that instances calculate is not counted.
    pub metrics: Option<SocketAddr>,
    /// Where spans go, and which; `None`: there are none, and `traceparent` is passed on as it is.
    pub telemetry: Option<telemetry::Settings>,
    /// The key-value store, in a world that has one.
    pub store: StoreChoice,
    /// How often an instance is used; `None`: as the world does.
    pub reuse: Option<Reuse>,
    /// How many threads serve; `None`: as many as there are processors.
    pub threads: Option<usize>,
    /// How long the body of a request may take to come; one that comes slowly is given up before.
    pub longest_body: Duration,
    /// How long a request waits for an instance.
    pub longest_wait: Duration,
    /// How long an answer waits for a client that does not read.
    pub longest_write: Duration,
    /// In what the host is no kinder than Spin.
    pub as_spin: AsSpin,
    /// How many connections there are at most from one address, or from one network of IPv6.
    pub most_connections: usize,
}

/// In what a host is no kinder than Spin. By default, the embedded host is kinder.
#[derive(Debug, Clone, Copy, Default)]
pub struct AsSpin {
    /// Its connections do not have `TCP_NODELAY`: a small segment waits until the one before it is acknowledged.
    pub delays_segments: bool,
    /// It waits for a store in Redis without a limit.
    pub waits_for_store: bool,
    /// How long it takes to read a variable, as from a Vault.
    pub variable_takes: Duration,
    /// On WASI 0.2, the connection has time to send the head of an answer when the instance hands it over.
    pub sends_head_at_once: bool,
}

impl AsSpin {
    /// In everything.
    pub fn in_all() -> Self {
        Self {
            delays_segments: true,
            waits_for_store: true,
            variable_takes: Duration::from_millis(1),
            sends_head_at_once: true,
        }
    }
}

impl Options {
    /// Loopback at a free port, nothing shown, nothing kept: what tests want.
    pub fn quiet() -> Self {
        Self {
            listen: vec![(Ipv4Addr::LOCALHOST, 0).into()],
            tls: None,
            takes_signals: false,
            audit: AuditTo::Nowhere,
            metrics: None,
            telemetry: None,
            store: StoreChoice::Memory,
            reuse: None,
            threads: None,
            longest_body: LONGEST_BODY,
            longest_wait: LONGEST_WAIT,
            longest_write: LONGEST_WRITE,
            as_spin: AsSpin::default(),
            most_connections: usize::MAX,
        }
    }
}

/// A server that runs until it is stopped.
pub struct Server {
    address: SocketAddr,
    tls: Option<Arc<Tls>>,
    signals: Option<Signals>,
    metrics_address: Option<SocketAddr>,
    manifest: Manifest,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    accepting: Vec<JoinHandle<()>>,
    runtime: Runtime,
}

impl Server {
    /// Compiles the component and begins to listen.
    ///
    /// # Errors
    /// A required variable without a value; a component that does not compile or asks for what this
    /// host has not; a store that does not open; an address that cannot be listened at.
    pub fn start(application: Application, options: &Options) -> Result<Self> {
        let threads = match options.threads {
            Some(threads) => threads,
            None => std::thread::available_parallelism()?.get(),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .event_interval(EVENT_INTERVAL)
            .enable_all()
            .build()?;
        let started = Instant::now();
        let outbound = application.allowed_hosts()?;
        let Application {
            world,
            component,
            manifest,
            provided,
            environment,
        } = application;
        let metrics = Arc::new(Metrics::default());
        let store = match world.is_spin() && manifest.opens_store() {
            true => {
                let store = Store::open(&options.store, !options.as_spin.waits_for_store)?;
                store.expire()?;
                Some(store.counting(metrics.store_failures()))
            }
            false => None,
        };
        let telemetry = match &options.telemetry {
            Some(settings) => {
                let lost = metrics.lost_spans();
                Some(Arc::new(Telemetry::start(
                    settings,
                    runtime.handle(),
                    lost,
                )?))
            }
            None => None,
        };
        let shared = Arc::new(Shared {
            variables: RwLock::new(resolve(&manifest, &provided)?),
            environment,
            store,
            outbound: Arc::new(outbound),
            output: match &options.audit {
                AuditTo::Nowhere => None,
                AuditTo::StandardOutput => {
                    Some(Output::start(standard_output(), metrics.lost_lines()))
                }
                AuditTo::Memory(kept) => Some(Output::start(kept.clone(), metrics.lost_lines())),
            },
            telemetry,
            metrics: Arc::clone(&metrics),
            is_timed: options.metrics.is_some(),
            variable_takes: options.as_spin.variable_takes,
            sends_head_at_once: options.as_spin.sends_head_at_once,
            is_draining: AtomicBool::new(false),
            is_stopping: AtomicBool::new(false),
        });
        let reuse = options.reuse.unwrap_or(world.default_reuse());
        let instances = Instances::new(world, &component, Arc::clone(&shared), reuse)
            .map_err(|error| anyhow!("the component: {error:#}"))?;
        let front = Front::new(instances, threads, Arc::clone(&shared), options);
        let front = Arc::new(front);
        let tls = match &options.tls {
            Some(files) => Some(Arc::new(Tls::open(files.clone())?)),
            None => None,
        };

        // Who sees that it listens may send a signal at once.
        let signals = match options.takes_signals {
            true => Some(runtime.block_on(async { Signals::new() })?),
            false => None,
        };
        let (stop, stopped) = watch::channel(false);
        let mut accepting = Vec::new();
        let mut serve = |address, answer, tls, connections: &Connections| {
            let door = Door {
                answer,
                tls,
                connections: connections.clone(),
                longest_write: options.longest_write,
                has_no_delay: !options.as_spin.delays_segments,
            };
            let (address, task) = listen(&runtime, address, door, stopped.clone())?;
            accepting.push(task);
            Ok::<_, anyhow::Error>(address)
        };
        let limit = || Connections::new(options.most_connections);
        // A client has so many at all of them.
        let connections = limit();
        let mut addresses = Vec::new();
        for address in &options.listen {
            let component = Answer::Component(Arc::clone(&front));
            addresses.push(serve(*address, component, tls.clone(), &connections)?);
        }
        let metrics_address = match options.metrics {
            Some(address) => Some(serve(address, Answer::Metrics(metrics), None, &limit())?),
            None => None,
        };
        for address in &addresses {
            tracing::info!(%address, tls = tls.is_some(), ready_ms = millis(started), "listening");
        }
        let address = *addresses.first().context("no address to listen at")?;
        Ok(Self {
            address,
            tls,
            signals,
            metrics_address,
            manifest,
            shared,
            stop,
            accepting,
            runtime,
        })
    }

    /// Where it listens, the first of its addresses.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its base URL, without a slash at the end.
    pub fn url(&self) -> String {
        let scheme = match self.tls {
            Some(_) => Scheme::HTTPS,
            None => Scheme::HTTP,
        };
        format!("{scheme}://{}", self.address)
    }

    /// What is counted.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// Where the metrics are served.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// Gives the application other variables. An instance that has read one keeps it; the next
    /// instance reads the new one.
    ///
    /// # Errors
    /// A required variable without a value; then everything stays as it is.
    pub fn set_variables(&self, provided: &Provided) -> Result<()> {
        self.change_variables(provided, |_, _| Ok(()))
    }

    /// The same, where `check` has nothing against what follows what is there.
    fn change_variables(
        &self,
        provided: &Provided,
        check: impl Fn(&Resolved, &Resolved) -> Result<()>,
    ) -> Result<()> {
        let resolved = resolve(&self.manifest, provided)?;
        let current = self.shared.variables.read();
        check(&current.unwrap_or_else(PoisonError::into_inner), &resolved)?;
        let variables = self.shared.variables.write();
        *variables.unwrap_or_else(PoisonError::into_inner) = resolved;
        Ok(())
    }

    /// Waits for Ctrl-C or SIGTERM, then stops. SIGTERM has it drain before, for this long: it answers, and `/healthz`
    /// answers 503. Another signal ends that. SIGHUP has the variables and the certificate read again; `check` is
    /// asked whether the new variables may follow the old ones.
    ///
    /// # Errors
    /// Signals that cannot be waited for.
    pub fn run_until_interrupted(
        mut self,
        drain: Duration,
        variables: impl Fn() -> Result<Provided>,
        check: impl Fn(&Resolved, &Resolved) -> Result<()>,
    ) -> Result<()> {
        let signals = self.signals.take();
        let read_variables = || self.change_variables(&variables()?, &check);
        self.runtime.block_on(async {
            let Signals {
                mut terminate,
                mut interrupt,
                mut hang_up,
            } = signals.map_or_else(Signals::new, Ok)?;
            loop {
                tokio::select! {
                    _ = interrupt.recv() => return Ok(()),
                    _ = terminate.recv() => break,
                    _ = hang_up.recv() => {
                        log_reload("the variables", read_variables());
                        if let Some(tls) = &self.tls {
                            log_reload("the certificate and its key", tls.reload());
                        }
                    }
                }
            }
            self.shared.is_draining.store(true, Ordering::Relaxed);
            tracing::info!(seconds = drain.as_secs_f64(), "draining");
            tokio::select! {
                () = tokio::time::sleep(drain) => {}
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            Ok::<_, anyhow::Error>(())
        })?;
        tracing::info!("stopping");
        self.stop();
        Ok(())
    }

    /// Stops listening and lets the requests under way end.
    pub fn stop(self) {
        let _ = self.stop.send(true);
        for accepting in self.accepting {
            let _ = self.runtime.block_on(accepting);
        }
        self.shared.is_stopping.store(true, Ordering::Relaxed);
        if let Some(output) = &self.shared.output {
            output.flush(GRACE);
        }
        if let Some(telemetry) = &self.shared.telemetry {
            telemetry.flush();
        }
    }
}

/// The signals that a server obeys.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// From now on they do not end the process.
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }
}

/// Says in the log whether something was read again.
fn log_reload(what: &str, read: Result<()>) {
    match read {
        Ok(()) => tracing::info!("{what} were read again"),
        Err(error) => tracing::error!(
            error = format!("{error:#}"),
            "{what} could not be read again and stay as they were"
        ),
    }
}

/// An address that is listened at.
struct Door {
    answer: Answer,
    tls: Option<Arc<Tls>>,
    connections: Connections,
    longest_write: Duration,
    has_no_delay: bool,
}

/// What is behind an address.
#[derive(Clone)]
enum Answer {
    Component(Arc<Front>),
    Metrics(Arc<Metrics>),
}

impl Answer {
    async fn to(&self, request: Request<Incoming>, client: Client) -> Response<WasiBody> {
        match self {
            Self::Component(front) => front.respond(request, client).await,
            Self::Metrics(metrics) => metrics.respond(&request).map(whole),
        }
    }
}

/// Standard output, for what a component writes: Keylet's audit trail escapes what viewers send itself.
#[expect(
    clippy::disallowed_methods,
    reason = "the output of a component is not changed"
)]
fn standard_output() -> std::io::Stdout {
    std::io::stdout()
}

fn listen(
    runtime: &Runtime,
    address: SocketAddr,
    door: Door,
    stopped: watch::Receiver<bool>,
) -> Result<(SocketAddr, JoinHandle<()>)> {
    let listener = runtime
        .block_on(TcpListener::bind(address))
        .with_context(|| format!("listening on {address}"))?;
    let address = listener.local_addr()?;
    Ok((address, runtime.spawn(accept(listener, door, stopped))))
}

async fn accept(listener: TcpListener, door: Door, mut stopped: watch::Receiver<bool>) {
    let open = GracefulShutdown::new();
    let mut is_paused = false;
    let mut last_refusal: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.changed() => break,
        };
        match accepted {
            Ok((stream, client)) => {
                if std::mem::take(&mut is_paused) {
                    tracing::info!("connections are accepted again");
                }
                let Some(counted) = door.connections.count(client.ip().into()) else {
                    if last_refusal.is_none_or(|last| last.elapsed() > REFUSALS_LOGGED) {
                        last_refusal = Some(Instant::now());
                        tracing::warn!(
                            "connections are refused: their address has as many as it may have"
                        );
                    }
                    continue;
                };
                let connection = door.connection(stream, client, open.watcher(), stopped.clone());
                tokio::spawn(async move {
                    connection.await;
                    drop(counted);
                });
            }
            // There is no descriptor left, perhaps. Others are closed meanwhile.
            Err(error) => {
                if !is_paused {
                    tracing::warn!(%error, "connections are not accepted for now");
                }
                is_paused = true;
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(GRACE, open.shutdown()).await.is_err() {
        tracing::warn!("requests under way are cut off");
    }
}

impl Door {
    /// Serves a connection to its end.
    fn connection(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        watcher: Watcher,
        mut stopped: watch::Receiver<bool>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let _ = stream.set_nodelay(self.has_no_delay);
        let mut stream = Box::pin(TimeoutStream::new(stream));
        stream
            .as_mut()
            .set_write_timeout_pinned(Some(self.longest_write));
        let (answer, tls) = (self.answer.clone(), self.tls.clone());
        async move {
            let Some(tls) = tls else {
                return serve(stream, answer, address, Scheme::HTTP, watcher).await;
            };
            let secure = tokio::select! {
                secure = tls.accept(stream) => secure,
                _ = stopped.changed() => None,
            };
            if let Some(stream) = secure {
                serve(stream, answer, address, Scheme::HTTPS, watcher).await;
            }
        }
    }
}

/// Answers the requests of a connection.
async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    answer: Answer,
    address: SocketAddr,
    scheme: Scheme,
    watcher: Watcher,
) {
    let service = service_fn(move |request| {
        let (answer, scheme) = (answer.clone(), scheme.clone());
        async move { Ok::<_, Infallible>(answer.to(request, Client { address, scheme }).await) }
    });
    // With a timer, a client that does not finish its headers is cut off.
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "connection");
    }
}
