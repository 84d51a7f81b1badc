//! Spans: what is told of a message on its way, and how its trace goes from one process to the next.
//!
//! Every span of Frontdesk is made here, so that the names of OpenTelemetry's semantic conventions (1.41; those of
//! messaging may still change) stand in one place. `docs/tracing.md` lists them. A span never holds text, a token, an
//! address, or a session's id; a webhook's address stands in none, because its path is half a secret.
//!
//! Of a trace that is not kept there are only the spans that a process begins with: the ids of log lines and of what is
//! passed on are theirs. Those within them are left out, because a span costs the same whether it is kept or not.
//!
//! Between processes a trace travels as a W3C `traceparent`. A `tracestate` is not passed on: the only ones that come
//! are made up by browsers, and the specification allows to drop it.

use std::sync::atomic::{AtomicBool, Ordering};

use opentelemetry::{
    Context, KeyValue, Value,
    trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState},
};
use prometheus_client::{encoding::EncodeLabelSet, metrics::exemplar::HistogramWithExemplars};
use tracing::{Span, field::Empty, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// All spans are made here, and no others become a part of a trace.
pub(crate) const TARGET: &str = module_path!();

/// The header, also the name of the header in NATS.
pub const TRACEPARENT: &str = "traceparent";

/// The queue of messages, by its subjects' template.
const MESSAGES: &str = "chat.req.{session}";
/// The stream of facts.
const FACTS: &str = "fact.{site}.{kind}";

/// The status that an HTTP call was answered with.
pub const STATUS: &str = "http.response.status_code";
const ERROR: &str = "error.type";

/// A call of the API, as the child of what the client's `traceparent` says.
pub fn server(method: &'static str, route: &str, traceparent: Option<&str>) -> Span {
    let span = info_span!(
        parent: None,
        "server",
        otel.name = %format_args!("{method} {route}"),
        otel.kind = "server",
        http.request.method = method,
        http.route = route,
    );
    continues(&span, traceparent);
    span
}

/// One reply on its way to one connection, until its last byte was taken. `resumed`: the client has some of it.
pub fn reply(site: &str, message_id: &str, resumed: bool) -> Span {
    if !is_sampled(&Span::current()) {
        return Span::none();
    }
    let span = info_span!("reply", otel.kind = "internal", frontdesk.site = site);
    span.set_attribute("frontdesk.message.id", message_id.to_owned());
    span.set_attribute("frontdesk.resumed", resumed);
    span
}

/// A message is handed to the queue. `system`: what the queue is.
pub fn send(parent: &Span, system: &'static str) -> Span {
    if !is_sampled(parent) {
        return Span::current();
    }
    info_span!(
        parent: parent,
        "send",
        otel.name = "send chat.req.{session}",
        otel.kind = "producer",
        messaging.system = system,
        messaging.operation.name = "publish",
        messaging.operation.type = "send",
        messaging.destination.template = MESSAGES,
    )
}

/// A worker has a message, until it has acknowledged it.
pub fn process(system: &'static str, site: &str, message_id: &str, attempt: u32, traceparent: Option<&str>) -> Span {
    let span = info_span!(
        parent: None,
        "process",
        otel.name = "process chat.req.{session}",
        otel.kind = "consumer",
        messaging.system = system,
        messaging.operation.name = "process",
        messaging.operation.type = "process",
        messaging.destination.template = MESSAGES,
        messaging.consumer.group.name = "workers",
        frontdesk.site = site,
    );
    continues(&span, traceparent);
    if is_sampled(&span) {
        span.set_attribute("frontdesk.message.id", message_id.to_owned());
        span.set_attribute("frontdesk.attempt", i64::from(attempt));
    }
    span
}

/// One try to call n8n, counted from 1; until its answer was read, or nobody wants it any more.
pub fn call(parent: &Span, host: &str, port: u16, site: &str, number: u32) -> Span {
    if !is_sampled(parent) {
        return Span::none();
    }
    let span = info_span!(
        parent: parent,
        "call",
        otel.name = "POST n8n",
        otel.kind = "client",
        http.request.method = "POST",
        server.address = host,
        server.port = i64::from(port),
        frontdesk.site = site,
        http.request.resend_count = Empty,
    );
    if number > 1 {
        span.record("http.request.resend_count", i64::from(number - 1));
    }
    span
}

/// Analytics stores a fact that came with a sampled trace.
pub fn store(system: &'static str, kind: &str, traceparent: &str) -> Span {
    let span = info_span!(
        parent: None,
        "store",
        otel.name = "process fact.{site}.{kind}",
        otel.kind = "consumer",
        messaging.system = system,
        messaging.operation.name = "process",
        messaging.operation.type = "process",
        messaging.destination.template = FACTS,
        messaging.consumer.group.name = "recorder",
        frontdesk.fact = kind,
    );
    continues(&span, Some(traceparent));
    span
}

/// Makes what came from elsewhere the parent. Only before anything else is done with the span.
fn continues(span: &Span, traceparent: Option<&str>) {
    if let Some(parent) = traceparent.and_then(parse) {
        // It fails where traces are off.
        span.set_parent(Context::new().with_remote_span_context(parent)).ok();
    }
}

/// Points at a span of another trace.
pub fn link(span: &Span, traceparent: &str) {
    if let Some(other) = parse(traceparent).filter(|other| span_context(span).trace_id() != other.trace_id()) {
        span.add_link(other);
    }
}

/// How an HTTP call was answered.
pub fn answered(span: &Span, status: u16) {
    if is_sampled(span) {
        span.set_attribute(STATUS, i64::from(status));
        if status >= 500 {
            failed(span, &status.to_string());
        }
    }
}

/// What went wrong, in one of few words.
pub fn failed(span: &Span, why: &str) {
    if is_sampled(span) {
        span.set_attribute(ERROR, why.to_owned());
        span.set_status(opentelemetry::trace::Status::error(""));
    }
}

/// A value that is known only later.
pub fn note(span: &Span, name: &'static str, value: impl Into<Value>) {
    if is_sampled(span) {
        span.set_attribute(name, value);
    }
}

/// Something that happened at this moment.
pub fn event(span: &Span, name: &'static str) {
    event_with(span, name, []);
}

/// The same, with what there is to know of it.
pub fn event_with<const N: usize>(span: &Span, name: &'static str, values: [(&'static str, i64); N]) {
    if is_sampled(span) {
        span.add_event(name, values.into_iter().map(|(name, value)| KeyValue::new(name, value)).collect());
    }
}

/// A span that lasts as long as this does. A [`Span`] alone ends, for who looks at it later, when it was last entered.
pub struct Lasting(Span);

impl Lasting {
    /// From now on.
    pub fn new(span: Span) -> Self {
        Self(span)
    }

    /// The span.
    pub fn span(&self) -> &Span {
        &self.0
    }
}

impl Drop for Lasting {
    fn drop(&mut self) {
        self.0.in_scope(|| ());
    }
}

/// What the next process is told: `None` where traces are off.
pub fn traceparent(span: &Span) -> Option<String> {
    write(&span_context(span))
}

/// The same, of a trace that is kept.
pub fn sampled_traceparent(span: &Span) -> Option<String> {
    Some(span_context(span)).filter(SpanContext::is_sampled).as_ref().and_then(write)
}

/// What a client said of its own trace, for where this process makes no spans: whether it is kept is not the client's to
/// say, and who is behind would believe it.
pub fn unkept(traceparent: &str) -> Option<String> {
    let said = parse(traceparent)?;
    write(&SpanContext::new(said.trace_id(), said.span_id(), TraceFlags::default(), true, TraceState::default()))
}

/// The trace's id and the span's, which together are of this span alone: `None` where traces are off.
pub fn id(span: &Span) -> Option<String> {
    let span = Some(span_context(span)).filter(SpanContext::is_valid)?;
    Some(format!("{}-{}", span.trace_id(), span.span_id()))
}

/// Whether this process makes spans. What came with a message is a browser's own word where none does.
static ON: AtomicBool = AtomicBool::new(false);

/// From now on this process makes spans.
pub(crate) fn turn_on() {
    ON.store(true, Ordering::Relaxed);
}

/// Trace, span, and whether they are kept, of what runs now.
pub(crate) fn current() -> Option<(TraceId, SpanId, bool)> {
    Context::map_current(|context| {
        let span = context.span().span_context().clone();
        span.is_valid().then(|| (span.trace_id(), span.span_id(), span.is_sampled()))
    })
}

fn span_context(span: &Span) -> SpanContext {
    span.context().span().span_context().clone()
}

fn is_sampled(span: &Span) -> bool {
    !span.is_disabled() && span_context(span).is_sampled()
}

/// Whether a `traceparent` is one: `00-<32 hex>-<16 hex>-<2 hex>`, neither id all zeros.
pub fn is_traceparent(text: &str) -> bool {
    parse(text).is_some()
}

fn parse(text: &str) -> Option<SpanContext> {
    let hex = |part: &str, len| part.len() == len && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let parts: Vec<&str> = text.splitn(5, '-').collect();
    let ["00", trace, span, flags] = parts[..] else { return None };
    if !hex(trace, 32) || !hex(span, 16) || !hex(flags, 2) {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    Some(SpanContext::new(trace, span, flags, true, TraceState::default())).filter(SpanContext::is_valid)
}

fn write(span: &SpanContext) -> Option<String> {
    let sampled = u8::from(span.is_sampled());
    span.is_valid().then(|| format!("00-{}-{}-{sampled:02x}", span.trace_id(), span.span_id()))
}

/// Links a value of a histogram to the trace that it is of, where that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Exemplar {
    trace_id: String,
}

impl Exemplar {
    /// Of this span.
    pub fn of(span: &Span) -> Option<Self> {
        Self::new(&span_context(span))
    }

    /// Of what came with a message: `None` where traces are off, as it is nothing of ours then.
    pub fn of_traceparent(traceparent: &str) -> Option<Self> {
        ON.load(Ordering::Relaxed).then(|| Self::of_text(traceparent)).flatten()
    }

    fn of_text(traceparent: &str) -> Option<Self> {
        Self::new(&parse(traceparent)?)
    }

    fn new(span: &SpanContext) -> Option<Self> {
        span.is_sampled().then(|| Self { trace_id: span.trace_id().to_string() })
    }
}

/// A histogram whose values may be linked to traces.
pub type Histogram = HistogramWithExemplars<Exemplar>;

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_traceparent_is_read_and_written() {
        let check = |text: &str| assert_eq!(parse(text).and_then(|span| write(&span)).as_deref(), Some(text));
        check(GOOD);
        check(&GOOD.replace("-01", "-00"));
        // Flags that are not known are not passed on.
        let odd = parse(&GOOD.replace("-01", "-ff"));
        assert_eq!(odd.and_then(|span| write(&span)).as_deref(), Some(GOOD));
        for bad in [
            "",
            "00-0-0-00",
            &GOOD.to_uppercase(),
            &GOOD.replace("00-", "01-"),
            &GOOD.replace("-01", "-1"),
            &format!("{GOOD}-00"),
            &format!("{GOOD}\n"),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        ] {
            assert!(!is_traceparent(bad), "{bad}");
            assert_eq!(unkept(bad), None, "{bad}");
        }
        assert_eq!(unkept(GOOD), Some(GOOD.replace("-01", "-00")));
    }

    #[test]
    fn only_what_is_kept_is_linked_to() {
        assert!(Exemplar::of_text(GOOD).is_some());
        assert_eq!(Exemplar::of_text(&GOOD.replace("-01", "-00")), None);
        assert_eq!(Exemplar::of(&Span::none()), None);
    }

    /// Without a subscriber, as in most tests, and with `OTEL_SDK_DISABLED`, all of it does nothing.
    #[test]
    fn nothing_is_made_up_where_traces_are_off() {
        let span = server("POST", "/x", Some(GOOD));
        event(&span, "end");
        failed(&span, "500");
        assert_eq!((traceparent(&span), id(&span), sampled_traceparent(&span)), (None, None, None));
        drop(Lasting::new(span));
        assert_eq!(current(), None);
        assert_eq!(Exemplar::of_traceparent(GOOD), None, "a browser's own word leads nowhere");
    }
}
