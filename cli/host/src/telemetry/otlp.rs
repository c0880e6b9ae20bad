//! Spans by OTLP over HTTP, with OpenTelemetry's own exporter and the connections of this host.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use http::{Request, Response};
use opentelemetry::trace::{
    Event, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanEvents, SpanExporter, SpanLinks,
    SpanProcessor,
};
use prometheus_client::metrics::counter::Counter;
use tokio::runtime::Handle;

use super::{Attributes, Kind, Settings, Sink, Span, Value};
use crate::outbound::fetch;

/// The largest answer of a receiver that is read, in bytes.
const MAX_ANSWER: usize = 64 << 10;

/// How long the host waits at its end for a receiver.
const LAST: Duration = Duration::from_secs(5);

/// A queue of spans before a receiver.
pub struct Otlp {
    processor: BatchSpanProcessor,
    scope: InstrumentationScope,
    queue: usize,
    waiting: Arc<AtomicUsize>,
    lost: Counter,
}

impl Otlp {
    /// Begins to send spans. `lost` counts those that could not be sent.
    ///
    /// # Errors
    /// Settings that the exporter does not take.
    pub fn start(settings: &Settings, runtime: &Handle, lost: Counter) -> Result<Self> {
        let client = Client {
            runtime: runtime.clone(),
            timeout: settings.timeout,
        };
        let headers: HashMap<_, _> = settings.headers.iter().cloned().collect();
        let mut exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(&settings.endpoint)
            .with_timeout(settings.timeout)
            .with_headers(headers)
            .build()
            .context("the exporter of spans")?;
        let attributes = settings.resource.iter();
        let attributes = attributes.map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
        exporter.set_resource(
            &Resource::builder_empty()
                .with_attributes(attributes)
                .build(),
        );
        let waiting = Arc::new(AtomicUsize::new(0));
        let exporter = Counting {
            exporter,
            waiting: Arc::clone(&waiting),
            lost: lost.clone(),
        };
        // The batches are as the environment says.
        let config = BatchConfigBuilder::default().with_max_queue_size(settings.queue);
        Ok(Self {
            processor: BatchSpanProcessor::new(exporter, config.build()),
            scope: InstrumentationScope::builder("keylet")
                .with_version(env!("CARGO_PKG_VERSION"))
                .build(),
            queue: settings.queue,
            waiting,
            lost,
        })
    }

    fn data(&self, span: Span) -> Option<SpanData> {
        let id = |id: &str| SpanId::from_hex(id).ok();
        let mut events = SpanEvents::default();
        events.events = { span.events.into_iter() }
            .map(|(at, attributes)| Event::new("keylet.decision", at, pairs(attributes), 0))
            .collect();
        Some(SpanData {
            span_context: SpanContext::new(
                TraceId::from_hex(&span.trace_id).ok()?,
                id(&span.id)?,
                TraceFlags::SAMPLED,
                false,
                TraceState::NONE,
            ),
            parent_span_id: match span.parent_id {
                Some(parent) => id(&parent)?,
                None => SpanId::INVALID,
            },
            parent_span_is_remote: span.has_remote_parent,
            span_kind: match span.kind {
                Kind::Server => SpanKind::Server,
                Kind::Internal => SpanKind::Internal,
                Kind::Client => SpanKind::Client,
            },
            name: span.name.into(),
            start_time: span.started,
            end_time: span.ended,
            attributes: pairs(span.attributes),
            dropped_attributes_count: 0,
            events,
            links: SpanLinks::default(),
            status: match span.is_error {
                true => Status::error(""),
                false => Status::Unset,
            },
            instrumentation_scope: self.scope.clone(),
        })
    }
}

impl Sink for Otlp {
    fn send(&self, span: Span) {
        let Some(data) = self.data(span) else {
            return;
        };
        // The processor does not say that its queue is full.
        if self.waiting.fetch_add(1, Ordering::AcqRel) >= self.queue {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
            return report(&self.lost, 1, "the receiver is too slow");
        }
        self.processor.on_end(data);
    }

    fn flush(&self) {
        if let Err(error) = self.processor.shutdown_with_timeout(LAST) {
            let waiting = self.waiting.load(Ordering::Acquire);
            report(&self.lost, waiting, &error.to_string());
        }
    }
}

fn pairs(attributes: Attributes) -> Vec<KeyValue> {
    { attributes.into_iter() }
        .map(|(name, value)| match value {
            Value::Text(text) => KeyValue::new(name, text),
            Value::Number(number) => KeyValue::new(name, i64::from(number)),
        })
        .collect()
}

/// Counts lost spans. It is logged for the first one, and each time that the number has doubled.
fn report(lost: &Counter, spans: usize, reason: &str) {
    let spans = u64::try_from(spans).unwrap_or(u64::MAX);
    let before = lost.inc_by(spans);
    let number = before.saturating_add(spans);
    if spans > 0 && before.checked_ilog2() != number.checked_ilog2() {
        tracing::warn!(lost = number, reason, "spans are lost");
    }
}

/// An exporter whose failures are counted.
#[derive(Debug)]
struct Counting {
    exporter: opentelemetry_otlp::SpanExporter,
    waiting: Arc<AtomicUsize>,
    lost: Counter,
}

impl SpanExporter for Counting {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let exported = self.exporter.export(batch).await;
        self.waiting.fetch_sub(spans, Ordering::AcqRel);
        if let Err(error) = &exported {
            report(&self.lost, spans, &error.to_string());
        }
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }
}

/// The connections of this host. The thread that makes batches waits for them; no request does.
#[derive(Debug)]
struct Client {
    runtime: Handle,
    timeout: Duration,
}

#[wasmtime_wasi::async_trait]
impl opentelemetry_http::HttpClient for Client {
    async fn send_bytes(
        &self,
        request: Request<bytes::Bytes>,
    ) -> Result<Response<bytes::Bytes>, opentelemetry_http::HttpError> {
        let timeout = self.timeout;
        let sent = fetch(request.map(Vec::from), MAX_ANSWER);
        let answer = self
            .runtime
            .spawn(async move { tokio::time::timeout(timeout, sent).await });
        Ok(answer.await???.map(Into::into))
    }
}
