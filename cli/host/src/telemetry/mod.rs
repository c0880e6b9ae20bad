//! Spans of requests, in the terms of OpenTelemetry: one of the host for a request, below it one of the component, made from its
//! audit lines, and below that one for each request that the component sends.
//!
//! A span has no path, query, token, body or address of a viewer.

#[cfg(feature = "otlp")]
mod otlp;
mod settings;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;

use anyhow::Result;
use http::uri::Scheme;
use http::{HeaderValue, Method, Request, Response};
use keylet::platform::{TRACEPARENT, TRACESTATE, Trace};
use keylet::service::{CODE_HEADER, route_name};
use prometheus_client::metrics::counter::Counter;
use serde::Deserialize;
use tokio::runtime::Handle;

use super::outbound::well_known_port;
use settings::Sampler;
pub use settings::Settings;

/// What becomes of a request that is not answered, since its sender is gone or waits no longer.
const CANCELLED: &str = "cancelled";

/// Where a span stands in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A request that came.
    Server,
    /// What the component did for it.
    Internal,
    /// A request that was sent.
    Client,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Text(String),
    Number(u16),
}

type Attributes = Vec<(&'static str, Value)>;

/// A span that ended.
#[cfg_attr(
    not(feature = "otlp"),
    expect(dead_code, reason = "nobody reads spans in this build")
)]
#[derive(Debug)]
struct Span {
    /// 32 hexadecimal digits.
    trace_id: String,
    /// 16 hexadecimal digits.
    id: String,
    /// `None` for the first span of a trace.
    parent_id: Option<String>,
    /// Whether the parent is another program's.
    has_remote_parent: bool,
    kind: Kind,
    name: String,
    started: SystemTime,
    ended: SystemTime,
    attributes: Attributes,
    /// What happened within it.
    events: Vec<(SystemTime, Attributes)>,
    is_error: bool,
}

/// Where spans go. Neither call may wait for a server, but for `flush` while the host stops.
trait Sink: Send + Sync {
    fn send(&self, span: Span);

    /// Sends what is left, and ends.
    fn flush(&self);
}

/// Makes spans.
pub struct Telemetry {
    sampler: Sampler,
    sink: Box<dyn Sink>,
    /// What was decided for each request under way that is recorded, by its span.
    under_way: Mutex<HashMap<String, Vec<Decision>>>,
}

/// What an audit line says of a decision.
struct Decision {
    at: SystemTime,
    line: Line,
}

/// The members of an audit line that a span has.
#[derive(Deserialize)]
struct Line {
    span_id: String,
    parent_span_id: String,
    drm: String,
    code: String,
    policy: Option<String>,
}

impl Line {
    fn attributes(&self) -> Attributes {
        let mut attributes = vec![
            ("keylet.drm", Value::Text(self.drm.clone())),
            ("keylet.code", Value::Text(self.code.clone())),
        ];
        attributes.extend(
            self.policy
                .clone()
                .map(|policy| ("keylet.policy", Value::Text(policy))),
        );
        attributes
    }
}

impl Telemetry {
    /// Begins to send spans on a runtime. `lost` counts those that could not be sent.
    ///
    /// # Errors
    /// Settings that the exporter does not take; a build without the feature `otlp`.
    pub fn start(settings: &Settings, runtime: &Handle, lost: Counter) -> Result<Self> {
        Ok(Self {
            sampler: settings.sampler,
            sink: sink(settings, runtime, lost)?,
            under_way: Mutex::default(),
        })
    }

    /// A request came. The component is told the host's span as the one that the request came from.
    pub fn request<B>(
        self: &Arc<Self>,
        request: &mut Request<B>,
        scheme: &Scheme,
    ) -> Option<ServerSpan> {
        let trace = match Trace::of(request.headers(), random) {
            Some(trace) => {
                let is_sampled = self
                    .sampler
                    .samples(trace.trace_id(), Some(trace.is_sampled()));
                trace.sampled(is_sampled)
            }
            None => {
                // What was in it belongs to a `traceparent`.
                request.headers_mut().remove(TRACESTATE);
                let trace = Trace::begin(random(), random());
                let is_sampled = self.sampler.samples(trace.trace_id(), None);
                trace.sampled(is_sampled)
            }
        };
        name(request, &trace);
        if !trace.is_sampled() {
            return None;
        }
        let id = trace.span_id().to_owned();
        self.under_way().insert(id, Vec::new());
        Some(ServerSpan {
            telemetry: Arc::clone(self),
            trace,
            method: method(request.method()),
            scheme: scheme.clone(),
            route: route_name(request.uri().path()),
            started: SystemTime::now(),
            handed_over: OnceLock::new(),
            answered: None,
        })
    }

    /// The component wrote a line. One that is no audit line of a request under way is ignored.
    pub fn line(&self, line: &[u8]) {
        if self.under_way().is_empty() {
            return;
        }
        let Ok(line) = serde_json::from_slice::<Line>(line) else {
            return;
        };
        if let Some(decisions) = self.under_way().get_mut(&line.parent_span_id) {
            decisions.push(Decision {
                at: SystemTime::now(),
                line,
            });
        }
    }

    /// The component sends a request. Where its trace is recorded, the server is told the span of this request as the one that it
    /// came from.
    pub fn outbound<B>(self: &Arc<Self>, request: &mut Request<B>) -> Option<ClientSpan> {
        let trace = Trace::of(request.headers(), random).filter(Trace::is_sampled)?;
        name(request, &trace);
        let uri = request.uri();
        let scheme = uri.scheme_str().unwrap_or("https");
        let mut attributes = vec![("url.scheme", Value::Text(scheme.to_owned()))];
        if let Some(host) = uri.host() {
            let host = host.trim_matches(['[', ']']);
            attributes.push(("server.address", Value::Text(host.to_owned())));
        }
        let port = uri.port_u16().or_else(|| well_known_port(scheme));
        attributes.extend(port.map(|port| ("server.port", Value::Number(port))));
        Some(ClientSpan {
            telemetry: Arc::clone(self),
            trace,
            method: method(request.method()),
            started: SystemTime::now(),
            attributes,
            answered: Err(CANCELLED.to_owned()),
        })
    }

    /// Sends what is left, and ends.
    pub fn flush(&self) {
        self.sink.flush();
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<String, Vec<Decision>>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(feature = "otlp")]
fn sink(settings: &Settings, runtime: &Handle, lost: Counter) -> Result<Box<dyn Sink>> {
    Ok(Box::new(otlp::Otlp::start(settings, runtime, lost)?))
}

#[cfg(not(feature = "otlp"))]
fn sink(_: &Settings, _: &Handle, _: Counter) -> Result<Box<dyn Sink>> {
    anyhow::bail!(
        "the environment asks for spans by OTLP, for which this program was not built: it lacks the feature `otlp`"
    )
}

/// The span of a request that came. It ends when it is dropped, whether or not there was an answer.
pub struct ServerSpan {
    telemetry: Arc<Telemetry>,
    trace: Trace,
    method: &'static str,
    scheme: Scheme,
    route: &'static str,
    started: SystemTime,
    handed_over: OnceLock<SystemTime>,
    /// The status, and the code of a refusal.
    answered: Option<(u16, Option<String>)>,
}

impl ServerSpan {
    /// An instance gets the request.
    pub fn handed_over(&self) {
        let _ = self.handed_over.set(SystemTime::now());
    }

    /// The request is answered.
    pub fn end<B>(mut self, response: &Response<B>) {
        let code = response.headers().get(CODE_HEADER);
        let code = code.and_then(|code| code.to_str().ok());
        self.answered = Some((response.status().as_u16(), code.map(ToOwned::to_owned)));
    }

    fn span(&self, status: Option<u16>, code: Option<String>, ended: SystemTime) -> Span {
        let mut attributes = vec![
            ("http.request.method", text(self.method)),
            ("url.scheme", Value::Text(self.scheme.to_string())),
        ];
        let mut name = name_of(self.method).to_owned();
        if self.route != "other" {
            attributes.push(("http.route", text(self.route)));
            name = format!("{name} {}", self.route);
        }
        attributes
            .extend(status.map(|status| ("http.response.status_code", Value::Number(status))));
        attributes.extend(code.map(|code| ("keylet.code", Value::Text(code))));
        let is_error = is_failure(status);
        match status {
            None => attributes.push(("error.type", text(CANCELLED))),
            Some(status) if is_error => {
                attributes.push(("error.type", Value::Text(status.to_string())));
            }
            Some(_) => {}
        }
        Span {
            trace_id: self.trace.trace_id().to_owned(),
            id: self.trace.span_id().to_owned(),
            parent_id: self.trace.parent_id().map(ToOwned::to_owned),
            has_remote_parent: self.trace.parent_id().is_some(),
            kind: Kind::Server,
            name,
            started: self.started,
            ended,
            attributes,
            events: Vec::new(),
            is_error,
        }
    }

    /// The component's span of these decisions. A request for several keys has one for each; the span then has the first refusal.
    fn component(
        &self,
        decisions: &[Decision],
        status: Option<u16>,
        ended: SystemTime,
    ) -> Option<Span> {
        let refusal = decisions.iter().find(|decision| decision.line.code != "ok");
        let Decision { line, .. } = refusal.or(decisions.first())?;
        let events = match decisions {
            [_] => Vec::new(),
            several => several
                .iter()
                .map(|decision| (decision.at, decision.line.attributes()))
                .collect(),
        };
        Some(Span {
            trace_id: self.trace.trace_id().to_owned(),
            id: line.span_id.clone(),
            parent_id: Some(self.trace.span_id().to_owned()),
            has_remote_parent: false,
            kind: Kind::Internal,
            name: format!("keylet {}", line.drm),
            started: *self.handed_over.get().unwrap_or(&self.started),
            ended,
            attributes: line.attributes(),
            events,
            is_error: is_failure(status),
        })
    }
}

impl Drop for ServerSpan {
    fn drop(&mut self) {
        let decisions = self.telemetry.under_way().remove(self.trace.span_id());
        let (status, code) = self.answered.take().unzip();
        let ended = SystemTime::now();
        if let Some(span) = self.component(&decisions.unwrap_or_default(), status, ended) {
            self.telemetry.sink.send(span);
        }
        self.telemetry
            .sink
            .send(self.span(status, code.flatten(), ended));
    }
}

/// The span of a request that the component sends. It ends when it is dropped, whether or not there was an answer.
pub struct ClientSpan {
    telemetry: Arc<Telemetry>,
    trace: Trace,
    method: &'static str,
    started: SystemTime,
    attributes: Attributes,
    /// The status, or the kind of failure.
    answered: Result<u16, String>,
}

impl ClientSpan {
    /// There is an answer, or none.
    pub fn end<B>(mut self, answer: Result<&Response<B>, &wasmtime_wasi_http::Error>) {
        self.answered = match answer {
            Ok(response) => Ok(response.status().as_u16()),
            Err(error) => Err(kind(error)),
        };
    }
}

impl Drop for ClientSpan {
    fn drop(&mut self) {
        let mut attributes = std::mem::take(&mut self.attributes);
        attributes.push(("http.request.method", text(self.method)));
        let error = match &self.answered {
            Ok(status) => {
                attributes.push(("http.response.status_code", Value::Number(*status)));
                (*status >= 400).then(|| status.to_string())
            }
            Err(kind) => Some(kind.clone()),
        };
        let is_error = error.is_some();
        attributes.extend(error.map(|error| ("error.type", Value::Text(error))));
        self.telemetry.sink.send(Span {
            trace_id: self.trace.trace_id().to_owned(),
            id: self.trace.span_id().to_owned(),
            parent_id: self.trace.parent_id().map(ToOwned::to_owned),
            has_remote_parent: false,
            kind: Kind::Client,
            name: name_of(self.method).to_owned(),
            started: self.started,
            ended: SystemTime::now(),
            attributes,
            events: Vec::new(),
            is_error,
        });
    }
}

/// Writes a trace, with its own span, into a request.
fn name<B>(request: &mut Request<B>, trace: &Trace) {
    if let Ok(value) = HeaderValue::try_from(trace.traceparent()) {
        request.headers_mut().insert(TRACEPARENT, value);
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut id = [0; N];
    // An id that is not random is better than a request that fails.
    let _ = getrandom::fill(&mut id);
    id
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// `http.request.method`: a method that is not known has one name, so that clients do not choose it.
fn method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        "PATCH" => "PATCH",
        "CONNECT" => "CONNECT",
        "TRACE" => "TRACE",
        _ => "_OTHER",
    }
}

/// What a span of a method is called.
fn name_of(method: &'static str) -> &'static str {
    match method {
        "_OTHER" => "HTTP",
        known => known,
    }
}

/// Whether the server failed; a refusal is no failure.
fn is_failure(status: Option<u16>) -> bool {
    status.is_some_and(|status| status >= 500)
}

/// The kind of failure, without what it says of names and addresses.
fn kind(error: &wasmtime_wasi_http::Error) -> String {
    let text = format!("{error:?}");
    let end = text.find(|letter: char| !letter.is_ascii_alphanumeric());
    text.get(..end.unwrap_or(text.len()))
        .unwrap_or_default()
        .to_owned()
}
