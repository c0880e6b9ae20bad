//! What the host counts, in the text format that Prometheus reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use keylet::error::Code;
use keylet::service::{CODE_HEADER, route_name};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use wasmtime::CallHook;

/// Upper bounds in seconds: from a licence of a warm instance to a request that waits for a store.
const BUCKETS: [f64; 12] = [
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0,
];

/// No instance was free in time.
pub const HOST_BUSY: &str = "host_busy";

/// The body of a request did not come in time.
pub const REQUEST_TOO_SLOW: &str = "request_too_slow";

/// An instance needed more memory than it gets.
pub const HOST_OUT_OF_MEMORY: &str = "host_out_of_memory";

/// An instance ended without an answer.
pub const COMPONENT_FAILED: &str = "component_failed";

/// The host is about to stop.
pub const HOST_DRAINING: &str = "host_draining";

/// The codes of refusals that the host writes itself.
const HOST_CODES: [&str; 5] = [
    HOST_BUSY,
    REQUEST_TOO_SLOW,
    HOST_OUT_OF_MEMORY,
    COMPONENT_FAILED,
    HOST_DRAINING,
];

/// The most memory that an instance gets, in bytes.
pub const MOST_MEMORY: usize = 64 << 20;

/// The metrics of one application.
pub struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    seconds: Family<Routed, Histogram>,
    in_flight: Gauge,
    created: Counter,
    reused: Counter,
    live: Gauge,
    memory: Gauge,
    memory_peak: Gauge<u64, AtomicU64>,
    memory_refused: Counter,
    guest: Counter<f64, AtomicU64>,
    lost: Counter,
    lost_spans: Counter,
    variables: Counter,
    store_failures: Counter,
}

/// `code` is the code of a refusal, or `ok`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    route: &'static str,
    status: u16,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Routed {
    route: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut this = Self {
            registry: Registry::with_prefix("keylet"),
            requests: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            in_flight: Gauge::default(),
            created: Counter::default(),
            reused: Counter::default(),
            live: Gauge::default(),
            memory: Gauge::default(),
            memory_peak: Gauge::default(),
            memory_refused: Counter::default(),
            guest: Counter::default(),
            lost: Counter::default(),
            lost_spans: Counter::default(),
            variables: Counter::default(),
            store_failures: Counter::default(),
        };
        let registry = &mut this.registry;
        registry.register(
            "requests",
            "Requests answered, by route, status and code of refusal",
            this.requests.clone(),
        );
        registry.register(
            "request_duration_seconds",
            "From the end of a request's headers to the beginning of its answer",
            this.seconds.clone(),
        );
        registry.register(
            "requests_in_flight",
            "Requests that are not answered yet, those that wait for an instance included",
            this.in_flight.clone(),
        );
        registry.register(
            "instances_created",
            "Instances of the component that were made",
            this.created.clone(),
        );
        registry.register(
            "instances_reused",
            "Requests that went to an instance which had been handed one before",
            this.reused.clone(),
        );
        registry.register("instances", "Instances now", this.live.clone());
        registry.register(
            "component_memory_bytes",
            "Linear memory of all instances now",
            this.memory.clone(),
        );
        registry.register(
            "component_memory_peak_bytes",
            "The most linear memory that one instance has had",
            this.memory_peak.clone(),
        );
        registry.register(
            "component_memory_refused",
            "How often an instance wanted more linear memory than one gets",
            this.memory_refused.clone(),
        );
        registry.register(
            "component_seconds",
            "How long instances have calculated, without what the host does for them",
            this.guest.clone(),
        );
        registry.register(
            "audit_records_lost",
            "Lines of instances that could not be written to the output",
            this.lost.clone(),
        );
        registry.register(
            "telemetry_spans_lost",
            "Spans that could not be sent by OTLP",
            this.lost_spans.clone(),
        );
        registry.register(
            "variables_read",
            "Variables that instances have read",
            this.variables.clone(),
        );
        registry.register(
            "store_failures",
            "Operations of the key-value store that failed",
            this.store_failures.clone(),
        );
        this
    }
}

impl Metrics {
    /// A request has come.
    pub fn begin(&self) -> InFlight<'_> {
        self.in_flight.inc();
        InFlight(self)
    }

    /// An instance was handed another request.
    pub fn reused(&self) {
        self.reused.inc();
    }

    /// An instance reads a variable.
    pub fn variable_read(&self) {
        self.variables.inc();
    }

    /// How many variables instances have read.
    pub fn variables_read(&self) -> u64 {
        self.variables.get()
    }

    /// Lines of instances that could not be written to the output.
    pub fn lost_lines(&self) -> Counter {
        self.lost.clone()
    }

    /// Spans that could not be sent.
    pub fn lost_spans(&self) -> Counter {
        self.lost_spans.clone()
    }

    /// Operations of the key-value store that failed.
    pub fn store_failures(&self) -> Counter {
        self.store_failures.clone()
    }

    /// The most linear memory that one instance has had, in bytes.
    pub fn memory_peak(&self) -> u64 {
        self.memory_peak.get()
    }

    /// How often an instance wanted more memory than one gets.
    pub fn memory_refused(&self) -> u64 {
        self.memory_refused.get()
    }

    /// How long instances have calculated, in seconds, where that is counted.
    pub fn guest_seconds(&self) -> f64 {
        self.guest.get()
    }

    /// `GET /metrics`
    pub fn respond<B>(&self, request: &Request<B>) -> Response<String> {
        let mut response = Response::new(String::new());
        if request.uri().path() == "/metrics" {
            // Writing to a string does not fail.
            let _ = text::encode(response.body_mut(), &self.registry);
            response.headers_mut().insert(
                CONTENT_TYPE,
                HeaderValue::from_static(
                    "application/openmetrics-text; version=1.0.0; charset=utf-8",
                ),
            );
        } else {
            *response.status_mut() = StatusCode::NOT_FOUND;
        }
        response
    }
}

/// A request that is not answered yet.
pub struct InFlight<'a>(&'a Metrics);

impl InFlight<'_> {
    /// It is answered.
    pub fn end<B>(self, path: &str, response: &Response<B>, took: Duration) {
        let route = route_name(path);
        let refusal = response
            .headers()
            .get(CODE_HEADER)
            .and_then(|value| value.to_str().ok());
        let known = |name: &str| {
            let mut codes = Code::ALL.iter().map(|code| code.name).chain(HOST_CODES);
            codes.find(|code| *code == name)
        };
        let answered = Answered {
            route,
            status: response.status().as_u16(),
            code: match (refusal, response.status()) {
                (Some(name), _) => known(name).unwrap_or("other"),
                (None, StatusCode::INTERNAL_SERVER_ERROR) => COMPONENT_FAILED,
                (None, _) => "ok",
            },
        };
        self.0.requests.get_or_create(&answered).inc();
        let routed = Routed { route };
        self.0
            .seconds
            .get_or_create(&routed)
            .observe(took.as_secs_f64());
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.dec();
    }
}

/// The linear memory of an instance, counted from its making to its end.
pub struct Memory {
    bytes: usize,
    metrics: Arc<Metrics>,
}

impl Memory {
    /// An instance is made.
    pub fn new(metrics: &Arc<Metrics>) -> Self {
        metrics.created.inc();
        metrics.live.inc();
        Self {
            bytes: 0,
            metrics: Arc::clone(metrics),
        }
    }
}

impl wasmtime::ResourceLimiter for Memory {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if desired > MOST_MEMORY {
            self.metrics.memory_refused.inc();
            return Ok(false);
        }
        let grown = desired.saturating_sub(current);
        self.bytes += grown;
        self.metrics.memory.inc_by(signed(grown));
        let bytes = u64::try_from(self.bytes).unwrap_or(u64::MAX);
        self.metrics
            .memory_peak
            .inner()
            .fetch_max(bytes, Ordering::Relaxed);
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        _desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(true)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.metrics.live.dec();
        self.metrics.memory.dec_by(signed(self.bytes));
    }
}

/// How long an instance calculates: from when the host calls it or returns to it to when it calls the
/// host or returns.
#[derive(Default)]
pub struct Stopwatch(Option<Instant>);

impl Stopwatch {
    /// The instance is entered or left.
    pub fn turn(&mut self, hook: CallHook, metrics: &Metrics) {
        match hook {
            CallHook::CallingWasm | CallHook::ReturningFromHost => self.0 = Some(Instant::now()),
            CallHook::ReturningFromWasm | CallHook::CallingHost => {
                if let Some(since) = self.0.take() {
                    metrics.guest.inc_by(since.elapsed().as_secs_f64());
                }
            }
        }
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
