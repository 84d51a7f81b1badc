//! A collector of traces: it takes OTLP over HTTP (protobuf), and gives the spans back.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1,
};
use prost::Message as _;
use tokio::{net::TcpListener, sync::Notify};

use crate::desk::LIMIT;

/// One span as it was sent.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) service: String,
    /// Which process.
    pub(crate) instance: String,
    pub(crate) name: String,
    pub(crate) kind: v1::span::SpanKind,
    pub(crate) trace: String,
    pub(crate) id: String,
    /// Empty of a root.
    pub(crate) parent: String,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) events: Vec<String>,
    /// The traces that it points at.
    pub(crate) links: Vec<String>,
    pub(crate) failed: bool,
}

impl Span {
    /// An attribute; empty where there is none. Numbers are written as such, texts in quotes.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }

    /// Whether the other one is within it.
    pub(crate) fn contains(&self, other: &Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }
}

#[derive(Default)]
struct Kept {
    spans: Mutex<Vec<Span>>,
    headers: Mutex<Vec<HeaderMap>>,
    came: Notify,
}

/// See the module.
#[derive(Clone)]
pub(crate) struct Collector {
    pub(crate) url: String,
    kept: Arc<Kept>,
}

impl Collector {
    pub(crate) async fn start() -> Self {
        Self::start_at("127.0.0.1:0").await
    }

    pub(crate) async fn start_at(address: &str) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it has an address"));
        let kept = Arc::new(Kept::default());
        let app = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&kept));
        #[expect(clippy::disallowed_methods, reason = "ends with the test")]
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, kept }
    }

    /// For a desk: spans are sent here, and soon.
    pub(crate) fn settings(&self) -> [(&str, &str); 2] {
        [("OTEL_EXPORTER_OTLP_ENDPOINT", &self.url), ("OTEL_BSP_SCHEDULE_DELAY", "50")]
    }

    /// All spans that came so far.
    pub(crate) fn spans(&self) -> Vec<Span> {
        self.kept.spans.lock().expect("not poisoned").clone()
    }

    /// The headers of each request.
    pub(crate) fn headers(&self) -> Vec<HeaderMap> {
        self.kept.headers.lock().expect("not poisoned").clone()
    }

    /// The spans of a trace, once as many have come as are named, each with its count.
    pub(crate) async fn trace(&self, trace: &str, wanted: &[(&str, usize)]) -> Vec<Span> {
        let until = Instant::now() + LIMIT;
        loop {
            let came = self.kept.came.notified();
            let spans: Vec<Span> = self.spans().into_iter().filter(|span| span.trace == trace).collect();
            let count = |name: &str| spans.iter().filter(|span| span.name == name).count();
            if wanted.iter().all(|(name, least)| count(name) >= *least) {
                return spans;
            }
            let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
            assert!(Instant::now() < until, "{wanted:?} in {names:?}");
            tokio::time::timeout(Duration::from_millis(200), came).await.ok();
        }
    }
}

async fn take(State(kept): State<Arc<Kept>>, headers: HeaderMap, body: Bytes) {
    let request = ExportTraceServiceRequest::decode(body).expect("OTLP");
    let mut spans = Vec::new();
    for of_resource in request.resource_spans {
        let resource = attributes(&of_resource.resource.expect("a resource").attributes);
        let word = |name: &str| resource.get(name).map(|text| text.trim_matches('"').to_owned()).unwrap_or_default();
        for span in of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            spans.push(read(span, word("service.name"), word("service.instance.id")));
        }
    }
    kept.spans.lock().expect("not poisoned").extend(spans);
    kept.headers.lock().expect("not poisoned").push(headers);
    kept.came.notify_waiters();
}

fn read(span: v1::Span, service: String, instance: String) -> Span {
    Span {
        service,
        instance,
        kind: span.kind(),
        failed: span.status.as_ref().is_some_and(|status| status.code() == v1::status::StatusCode::Error),
        name: span.name,
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        start: span.start_time_unix_nano,
        end: span.end_time_unix_nano,
        attributes: attributes(&span.attributes),
        events: span.events.into_iter().map(|event| event.name).collect(),
        links: span.links.iter().map(|link| hex(&link.trace_id)).collect(),
    }
}

fn attributes(pairs: &[KeyValue]) -> BTreeMap<String, String> {
    pairs.iter().map(|pair| (pair.key.clone(), written(pair.value.as_ref()))).collect()
}

fn written(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => format!("{text:?}"),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(yes)) => yes.to_string(),
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
