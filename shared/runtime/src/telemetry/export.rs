//! Spans on their way to a collector, which may be slow, away, or never answer: nobody waits for it, and what waits for
//! it is bounded.
//!
//! OpenTelemetry's processor drops what is too much, and keeps to itself how much that was. So its queue has a gate of
//! our own before it, which lets in no more than fits, and counts.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use opentelemetry::Context;
use opentelemetry_otlp::{RetryPolicy, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, Span, SpanData, SpanExporter, SpanProcessor},
};

use super::{Traces, config, sampler::Sampler};

/// Spans in one request.
const BATCH: u32 = 512;
/// That spans can't be sent is said this often at most.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// What became of spans.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// In the queue, or in the request that is on its way.
    waiting: AtomicUsize,
    pub(super) sent: AtomicU64,
    pub(super) dropped: AtomicU64,
}

impl Counts {
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

/// What makes spans and sends them. Without an endpoint they have ids, and go nowhere.
pub(super) fn provider(
    config: &Traces,
    resource: Resource,
    sampler: Sampler,
    counts: &Arc<Counts>,
) -> Result<SdkTracerProvider, String> {
    let provider = SdkTracerProvider::builder().with_sampler(sampler).with_resource(resource);
    let Some(endpoint) = &config.otel_exporter_otlp_endpoint else { return Ok(provider.build()) };
    let client = reqwest::blocking::Client::builder()
        .user_agent(concat!("frontdesk/", env!("CARGO_PKG_VERSION")))
        .timeout(config.otel_exporter_otlp_timeout)
        // Either would carry the headers, which may hold a token, to wherever it points.
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .map_err(|error| format!("OTEL_EXPORTER_OTLP_ENDPOINT: there is no HTTP client: {error}"))?;
    let headers = match &config.otel_exporter_otlp_headers {
        Some(headers) => config::headers(headers.expose())?,
        None => Default::default(),
    };
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_endpoint(endpoint.traces())
        .with_headers(headers)
        .with_timeout(config.otel_exporter_otlp_timeout)
        // A second try may begin just before the time is over, and last as long again, while spans wait behind it.
        .with_retry_policy(RetryPolicy::disabled())
        .build()
        // Its words may show the headers.
        .map_err(|_| "traces can't be sent with these OTEL_EXPORTER_OTLP_… settings".to_owned())?;
    let exporter = Counted { exporter, counts: Arc::clone(counts), said: Mutex::default() };
    let queue = config.otel_bsp_max_queue_size;
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(queue as usize)
        .with_max_export_batch_size(BATCH.min(queue) as usize)
        .with_scheduled_delay(config.otel_bsp_schedule_delay)
        .build();
    let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
    let gate = Gate { processor, counts: Arc::clone(counts), room: queue as usize };
    Ok(provider.with_span_processor(gate).build())
}

/// Lets spans into the queue as long as there is room.
#[derive(Debug)]
struct Gate<P> {
    processor: P,
    counts: Arc<Counts>,
    room: usize,
}

impl<P: SpanProcessor> SpanProcessor for Gate<P> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.processor.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if !span.span_context.is_sampled() {
            return;
        }
        if self.counts.waiting.fetch_add(1, Ordering::Relaxed) >= self.room {
            self.counts.waiting.fetch_sub(1, Ordering::Relaxed);
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.processor.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.processor.force_flush()
    }

    fn shutdown_with_timeout(&self, limit: Duration) -> OTelSdkResult {
        self.processor.shutdown_with_timeout(limit)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.processor.set_resource(resource);
    }
}

/// Counts what was sent, and what was given up.
#[derive(Debug)]
struct Counted<E> {
    exporter: E,
    counts: Arc<Counts>,
    said: Mutex<Option<Instant>>,
}

impl<E> Counted<E> {
    fn say(&self) {
        let mut said = self.said.lock().expect("nothing panics while holding it");
        if said.is_none_or(|at| at.elapsed() >= SAY_AGAIN) {
            *said = Some(Instant::now());
            // Not why: the words of an answer may be anything.
            tracing::warn!("traces can't be sent to OTEL_EXPORTER_OTLP_ENDPOINT; spans are dropped, and counted");
        }
    }
}

impl<E: SpanExporter> SpanExporter for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let result = self.exporter.export(batch).await;
        self.counts.waiting.fetch_sub(spans, Ordering::Relaxed);
        let became = if result.is_ok() { &self.counts.sent } else { &self.counts.dropped };
        became.fetch_add(spans as u64, Ordering::Relaxed);
        if result.is_err() {
            self.say();
        }
        result
    }

    fn shutdown_with_timeout(&self, limit: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(limit)
    }

    fn shutdown(&self) -> OTelSdkResult {
        self.exporter.shutdown()
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
