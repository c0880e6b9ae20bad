//! The HTTP server in front of the component.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use futures_util::stream::unfold;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, RETRY_AFTER};
use http::uri::Authority;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use keylet::service::{CODE_HEADER, IncomingBody, PROBLEM_TYPES};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinHandle;
use wasmtime_wasi_http::WasiBody;

use super::metrics::{HOST_BUSY, Metrics, REQUEST_TOO_SLOW};
use super::outbound::AllowedHosts;
use super::output::Output;
use super::state::Shared;
use super::store::{Store, StoreChoice};
use super::variables::{Provided, Resolved, outbound_hosts, resolve};
use super::world::{INSTANCES, Instances, Reuse};
use super::{Application, Manifest};

/// How long the body of a request may take to come.
const LONGEST_BODY: Duration = Duration::from_secs(30);

/// After so long, the body of a request comes with [`SLOWEST_BODY`] at least.
const BODY_HEAD_START: Duration = Duration::from_secs(5);

/// The fewest bytes of a body in a second.
const SLOWEST_BODY: u64 = 1024;

/// How long a request waits for an instance by default.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How long accepting pauses when there is no descriptor for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long requests under way may take once the server stops.
const GRACE: Duration = Duration::from_secs(10);

/// How an application is served.
pub struct Options {
    /// Where to listen; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Whether what the component writes, the audit trail, goes to this process's standard output.
    pub show_output: bool,
    /// Where the metrics are served; `None`: nowhere, and the time that instances calculate is not counted.
    pub metrics: Option<SocketAddr>,
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
}

impl Options {
    /// Loopback at a free port, nothing shown, nothing kept: what tests want.
    pub fn quiet() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            show_output: false,
            metrics: None,
            store: StoreChoice::Memory,
            reuse: None,
            threads: None,
            longest_body: LONGEST_BODY,
            longest_wait: LONGEST_WAIT,
        }
    }
}

/// A server that runs until it is stopped.
pub struct Server {
    address: SocketAddr,
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
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        if let Some(threads) = options.threads {
            runtime.worker_threads(threads);
        }
        let runtime = runtime.enable_all().build()?;
        let started = Instant::now();
        let Application {
            world,
            component,
            manifest,
            provided,
            environment,
        } = application;
        let store = match world.is_spin() && manifest.opens_store() {
            true => Some(Store::open(&options.store)?),
            false => None,
        };
        let outbound = match world.is_spin() {
            true => AllowedHosts::parse(
                outbound_hosts(&manifest, &provided)?
                    .iter()
                    .map(String::as_str),
            )?,
            false => AllowedHosts::any(),
        };
        let metrics = Arc::new(Metrics::default());
        let shared = Arc::new(Shared {
            variables: RwLock::new(resolve(&manifest, &provided)?),
            environment,
            store,
            outbound: Arc::new(outbound),
            output: options
                .show_output
                .then(|| Output::start(std::io::stdout(), metrics.lost_lines())),
            metrics: Arc::clone(&metrics),
            is_timed: options.metrics.is_some(),
            is_stopping: AtomicBool::new(false),
        });
        let reuse = options.reuse.unwrap_or(world.default_reuse());
        let instances = Instances::new(world, &component, Arc::clone(&shared), reuse)
            .map_err(|error| anyhow!("the component: {error:#}"))?;
        let front = Arc::new(Front {
            instances,
            slots: Arc::new(Semaphore::new(
                usize::try_from(INSTANCES).unwrap_or(usize::MAX),
            )),
            metrics: Arc::clone(&metrics),
            longest_body: options.longest_body,
            longest_wait: options.longest_wait,
        });

        let (stop, stopped) = watch::channel(false);
        let mut accepting = Vec::new();
        let mut serve = |address, answer: Answer| {
            let (address, task) = listen(&runtime, address, answer, stopped.clone())?;
            accepting.push(task);
            Ok::<_, anyhow::Error>(address)
        };
        let address = serve(options.listen, Answer::Component(front))?;
        let metrics_address = match options.metrics {
            Some(address) => Some(serve(address, Answer::Metrics(metrics))?),
            None => None,
        };
        tracing::info!(%address, ready_ms = millis(started), "listening");
        Ok(Self {
            address,
            metrics_address,
            manifest,
            shared,
            stop,
            accepting,
            runtime,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its base URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
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

    /// Waits for Ctrl-C or SIGTERM, then stops. SIGHUP has the variables read again; `check` is asked
    /// whether the new ones may follow the old ones.
    ///
    /// # Errors
    /// Signals that cannot be waited for.
    pub fn run_until_interrupted(
        self,
        variables: impl Fn() -> Result<Provided>,
        check: impl Fn(&Resolved, &Resolved) -> Result<()>,
    ) -> Result<()> {
        let read_again = || self.change_variables(&variables()?, &check);
        self.runtime.block_on(async {
            let mut terminate = signal(SignalKind::terminate())?;
            let mut hang_up = signal(SignalKind::hangup())?;
            loop {
                tokio::select! {
                    interrupted = tokio::signal::ctrl_c() => return interrupted,
                    _ = terminate.recv() => return Ok(()),
                    _ = hang_up.recv() => match read_again() {
                        Ok(()) => tracing::info!("the variables were read again"),
                        Err(error) => tracing::error!(
                            error = format!("{error:#}"),
                            "the variables could not be read again and stay as they were"
                        ),
                    },
                }
            }
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
    }
}

/// What is behind an address.
#[derive(Clone)]
enum Answer {
    Component(Arc<Front>),
    Metrics(Arc<Metrics>),
}

impl Answer {
    async fn to(&self, request: Request<Incoming>, client: SocketAddr) -> Response<WasiBody> {
        match self {
            Self::Component(front) => front.respond(request, client).await,
            Self::Metrics(metrics) => metrics.respond(&request).map(whole),
        }
    }
}

fn listen(
    runtime: &Runtime,
    address: SocketAddr,
    answer: Answer,
    stopped: watch::Receiver<bool>,
) -> Result<(SocketAddr, JoinHandle<()>)> {
    let listener = runtime
        .block_on(TcpListener::bind(address))
        .with_context(|| format!("listening on {address}"))?;
    let address = listener.local_addr()?;
    Ok((address, runtime.spawn(accept(listener, answer, stopped))))
}

async fn accept(listener: TcpListener, answer: Answer, mut stopped: watch::Receiver<bool>) {
    let connections = GracefulShutdown::new();
    let mut is_paused = false;
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
                let connection = connections.watch(connection(stream, client, answer.clone()));
                tokio::spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(%error, "connection");
                    }
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
    if tokio::time::timeout(GRACE, connections.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("requests under way are cut off");
    }
}

fn connection(
    stream: TcpStream,
    client: SocketAddr,
    answer: Answer,
) -> impl hyper_util::server::graceful::GracefulConnection<Error = hyper::Error> {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let answer = answer.clone();
        async move { Ok::<_, Infallible>(answer.to(request, client).await) }
    });
    // With a timer, a client that does not finish its headers is cut off.
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
}

/// What stands before the instances: as many requests at a moment as there is room for, each
/// counted and logged.
struct Front {
    instances: Instances,
    slots: Arc<Semaphore>,
    metrics: Arc<Metrics>,
    longest_body: Duration,
    longest_wait: Duration,
}

/// Why a request is not handed to an instance.
enum Unserved {
    /// Its body does not come, or too slowly.
    Slow,
    /// Its client is gone.
    Broken,
    /// No instance is free.
    Busy,
}

impl Front {
    /// The body of a request, at most one byte longer than the component takes. It is read before the request takes
    /// a slot, so that a slow client holds up no other.
    async fn body(&self, mut body: Incoming) -> Result<Vec<u8>, Unserved> {
        let started = tokio::time::Instant::now();
        let mut read = IncomingBody::default();
        let mut length = 0_u64;
        loop {
            let due = Duration::from_secs(length / SLOWEST_BODY);
            let longest = self.longest_body.min(BODY_HEAD_START + due);
            let frame = tokio::time::timeout_at(started + longest, body.frame());
            let Some(frame) = frame.await.map_err(|_| Unserved::Slow)? else {
                break;
            };
            let frame = frame.map_err(|_| Unserved::Broken)?;
            let Ok(data) = frame.into_data() else { break };
            length = length.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
            if read.push(&data).is_break() {
                break;
            }
        }
        Ok(read.into_bytes())
    }

    /// A slot, once one is free.
    async fn slot(&self) -> Result<OwnedSemaphorePermit, Unserved> {
        let slot = Arc::clone(&self.slots).acquire_owned();
        match tokio::time::timeout(self.longest_wait, slot).await {
            Ok(Ok(slot)) => Ok(slot),
            Ok(Err(_)) | Err(_) => Err(Unserved::Busy),
        }
    }

    async fn serve(
        &self,
        mut request: Request<Incoming>,
        client: SocketAddr,
    ) -> Result<Response<WasiBody>, Unserved> {
        if !has_authority(&mut request) {
            return Ok(empty(StatusCode::BAD_REQUEST));
        }
        if let Ok(address) = client.to_string().parse() {
            request.headers_mut().insert("spin-client-addr", address);
        }
        let (mut parts, body) = request.into_parts();
        let body = self.body(body).await?;
        if parts.headers.contains_key(CONTENT_LENGTH) {
            parts.headers.insert(CONTENT_LENGTH, body.len().into());
        }
        let body = Full::from(body).map_err(|never| match never {});
        let request = Request::from_parts(parts, body.boxed_unsync());
        let slot = self.slot().await?;
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        match self.instances.handle(request).await {
            Ok(response) => Ok(response.map(|body| holding(body, slot))),
            Err(error) => {
                tracing::error!(%method, path, error = format!("{error:#}"), "the component failed");
                Ok(empty(StatusCode::INTERNAL_SERVER_ERROR))
            }
        }
    }

    /// Answers a request and logs it: method, path, status, time. The query may hold a token, so
    /// it is not logged.
    async fn respond(&self, request: Request<Incoming>, client: SocketAddr) -> Response<WasiBody> {
        let started = Instant::now();
        let in_flight = self.metrics.begin();
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let response = self.serve(request, client).await;
        let response = response.unwrap_or_else(Unserved::into_response);
        in_flight.end(&path, &response, started.elapsed());
        tracing::info!(%method, path, status = response.status().as_u16(), ms = millis(started), "request");
        response
    }
}

impl Unserved {
    /// A problem document, as those of the component (RFC 9457).
    fn into_response(self) -> Response<WasiBody> {
        let (status, code, title) = match self {
            Self::Slow | Self::Broken => (
                StatusCode::REQUEST_TIMEOUT,
                REQUEST_TOO_SLOW,
                "The body of the request did not come in time.",
            ),
            Self::Busy => (
                StatusCode::SERVICE_UNAVAILABLE,
                HOST_BUSY,
                "No instance was free in time.",
            ),
        };
        let document = serde_json::json!({
            "type": format!("{PROBLEM_TYPES}{code}"),
            "title": title,
            "status": status.as_u16(),
            "code": code,
        });
        let mut response = Response::new(whole(document.to_string()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(CODE_HEADER, HeaderValue::from_static(code));
        if matches!(self, Self::Busy) {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        } else {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// A body that holds a slot until it is handed over.
fn holding(body: WasiBody, slot: OwnedSemaphorePermit) -> WasiBody {
    let frames = unfold((body, slot), |(mut body, slot)| async move {
        let frame = body.frame().await?;
        Some((frame, (body, slot)))
    });
    StreamBody::new(frames).boxed_unsync()
}

fn empty(status: StatusCode) -> Response<WasiBody> {
    let mut response = Response::new(whole(String::new()));
    *response.status_mut() = status;
    response
}

/// Whether a request says for which host it is, as WASI wants it and from HTTP/1.1 on every request must
/// (RFC 9112 section 3.2). Of those before, as some health checks are, it is for this one.
fn has_authority(request: &mut Request<Incoming>) -> bool {
    if request.uri().authority().is_some() {
        return true;
    }
    match request.headers().get(HOST) {
        Some(host) => Authority::try_from(host.as_bytes()).is_ok(),
        None if request.version() <= Version::HTTP_10 => {
            let own = HeaderValue::from_static("localhost");
            request.headers_mut().insert(HOST, own);
            true
        }
        None => false,
    }
}

fn whole(body: String) -> WasiBody {
    Full::from(body)
        .map_err(|never| match never {})
        .boxed_unsync()
}

fn millis(started: Instant) -> f64 {
    (started.elapsed().as_secs_f64() * 1e5).round() / 1e2
}
