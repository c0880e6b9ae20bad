//! The HTTP server in front of the component.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use wasmtime_wasi_http::WasiBody;

use super::Application;
use super::state::Shared;
use super::world::{INSTANCES, Instances, Reuse};

/// How long requests under way may take once the server stops.
const GRACE: Duration = Duration::from_secs(10);

/// How an application is served.
pub struct Options {
    /// Where to listen; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Whether what the component writes, the audit trail, goes to this process's standard output.
    pub show_output: bool,
    /// How often an instance is used; `None`: as the world does.
    pub reuse: Option<Reuse>,
}

impl Options {
    /// Loopback at a free port, and nothing shown: what tests want.
    pub fn quiet() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            show_output: false,
            reuse: None,
        }
    }
}

/// A server that runs until it is stopped.
pub struct Server {
    address: SocketAddr,
    stop: tokio::sync::watch::Sender<bool>,
    accepting: JoinHandle<()>,
    runtime: Runtime,
}

impl Server {
    /// Compiles the component and begins to listen.
    ///
    /// # Errors
    /// A component that does not compile or asks for what this host has not; an address that
    /// cannot be listened at.
    pub fn start(application: Application, options: &Options) -> Result<Self> {
        let runtime = Runtime::new()?;
        let started = Instant::now();
        let world = application.world;
        let shared = Shared {
            variables: application.variables,
            environment: application.environment,
            show_output: options.show_output,
        };
        let reuse = options.reuse.unwrap_or(world.default_reuse());
        let instances = Instances::new(world, &application.component, shared, reuse)
            .map_err(|error| anyhow!("the component: {error:#}"))?;
        let instances = Arc::new(instances);
        let listener = runtime
            .block_on(TcpListener::bind(options.listen))
            .with_context(|| format!("listening on {}", options.listen))?;
        let address = listener.local_addr()?;
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let accepting = runtime.spawn(accept(listener, Arc::clone(&instances), stopped));
        tracing::info!(%address, ready_ms = millis(started), "listening");
        Ok(Self {
            address,
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

    /// Waits for Ctrl-C or SIGTERM, then stops.
    ///
    /// # Errors
    /// Signals that cannot be waited for.
    pub fn run_until_interrupted(self) -> Result<()> {
        self.runtime.block_on(async {
            let mut terminate =
                tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
            tokio::select! {
                interrupted = tokio::signal::ctrl_c() => interrupted,
                _ = terminate.recv() => Ok(()),
            }
        })?;
        tracing::info!("stopping");
        self.stop();
        Ok(())
    }

    /// Stops listening and lets the requests under way end.
    pub fn stop(self) {
        let _ = self.stop.send(true);
        let _ = self.runtime.block_on(self.accepting);
    }
}

async fn accept(
    listener: TcpListener,
    instances: Arc<Instances>,
    mut stopped: tokio::sync::watch::Receiver<bool>,
) {
    let connections = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(
        usize::try_from(INSTANCES).unwrap_or(usize::MAX),
    ));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.changed() => break,
        };
        match accepted {
            Ok((stream, client)) => {
                let connection =
                    connection(stream, client, Arc::clone(&instances), Arc::clone(&slots));
                let connection = connections.watch(connection);
                tokio::spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(%error, "connection");
                    }
                });
            }
            Err(error) => tracing::warn!(%error, "accepting a connection"),
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
    instances: Arc<Instances>,
    slots: Arc<Semaphore>,
) -> impl hyper_util::server::graceful::GracefulConnection<Error = hyper::Error> {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let (instances, slots) = (Arc::clone(&instances), Arc::clone(&slots));
        async move {
            let _slot = slots.acquire().await;
            Ok::<_, Infallible>(respond(&instances, request, client).await)
        }
    });
    // With a timer, a client that does not finish its headers is cut off.
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
}

/// Answers a request and logs it: method, path, status, time. The query may hold a token, so it
/// is not logged.
async fn respond(
    instances: &Instances,
    mut request: Request<Incoming>,
    client: SocketAddr,
) -> Response<WasiBody> {
    let started = Instant::now();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    if let Ok(address) = client.to_string().parse() {
        request.headers_mut().insert("spin-client-addr", address);
    }
    let response = match instances
        .handle(request.map(|body| body.map_err(Into::into).boxed_unsync()))
        .await
    {
        Ok(response) => response,
        Err(error) => {
            tracing::error!(%method, path, error = format!("{error:#}"), "the component failed");
            let mut response = Response::new(
                Full::default()
                    .map_err(|never| match never {})
                    .boxed_unsync(),
            );
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        }
    };
    tracing::info!(%method, path, status = response.status().as_u16(), ms = millis(started), "request");
    response
}

fn millis(started: Instant) -> f64 {
    (started.elapsed().as_secs_f64() * 1e5).round() / 1e2
}
