//! Logs and traces of the process.
//!
//! - `logs` is here: to standard error, because standard output belongs to what a command was asked to print. `lines`:
//!   what a line of something that is traced has more.
//! - `config`: the settings of traces; `sampler`: which are kept; `export`: how they leave the process. What there is to
//!   tell of a message is in [`trace`](crate::trace).
//!
//! `LOG_LEVEL` is about our own crates, whose lines are written to hold no text, token or address. What libraries say
//! below a warning is not shown whatever is asked for: at the lower levels they print headers and payloads. It has no
//! say in traces, which take no log lines, and no span of a library.

mod config;
mod export;
mod lines;
mod sampler;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tracing::{
    Subscriber,
    dispatcher::{self, Dispatch},
};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{FilterExt as _, LevelFilter, filter_fn},
    fmt::{
        self,
        format::{Format, JsonFields},
    },
    layer::SubscriberExt as _,
    registry::LookupSpan,
};

use crate::{
    Secret,
    metrics::Metrics,
    settings::{LogFormat, Logs},
};
pub use config::{Traces, headers};
use export::Counts;
use lines::WithTrace;
use sampler::Sampler;

/// What a process is, for its traces.
#[derive(Clone, Copy)]
pub struct Identity<'a> {
    /// The role; `None` for a process that has all of them.
    pub role: Option<&'static str>,
    /// Whether who calls is a process of ours, so that its word counts which traces are kept.
    pub trusts: bool,
    /// What all edges share: they agree by it which traces are kept.
    pub secret: Option<&'a Secret>,
}

/// The process's traces. To be [flushed](Self::flush) at its end.
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
    counts: Arc<Counts>,
    limit: Duration,
}

/// All crates of ours; an event's target begins with its crate.
const OURS: [&str; 7] = ["frontdesk", "edge", "worker", "analytics", "bus", "runtime", "protocol"];

/// Starts logs and, for who has an `identity`, traces for the whole process. What can't be is an error with the reason.
/// Not within a runtime of tokio: the client of the collector blocks.
pub fn init(logs: &Logs, traces: &Traces, identity: Option<Identity<'_>>) -> Result<Telemetry, String> {
    let counts = Arc::new(Counts::default());
    let provider = match identity.filter(|_| !traces.otel_sdk_disabled) {
        None => None,
        Some(Identity { role, trusts, secret }) => {
            let ratio = if traces.otel_exporter_otlp_endpoint.is_some() { traces.otel_traces_sampler_arg } else { 0.0 };
            let sampler = Sampler::new(ratio, trusts, secret);
            Some(export::provider(traces, resource(traces, role), sampler, &counts)?)
        }
    };
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let dispatch = dispatch(logs, std::io::stderr, ansi, provider.as_ref())?;
    dispatcher::set_global_default(dispatch).map_err(|e| e.to_string())?;
    if provider.is_some() {
        crate::trace::turn_on();
    }
    std::panic::set_hook(Box::new(|info| {
        let at = info.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(at, "{}", panic_words(info.payload()));
    }));
    if let Some(endpoint) = traces.otel_exporter_otlp_endpoint.as_ref().filter(|_| provider.is_some()) {
        tracing::info!(ratio = traces.otel_traces_sampler_arg, "sending traces to {endpoint}");
    }
    Ok(Telemetry { provider, counts, limit: traces.traces_flush_timeout })
}

fn resource(traces: &Traces, role: Option<&str>) -> Resource {
    let name = traces.otel_service_name.clone();
    let name = name.unwrap_or_else(|| role.map_or_else(|| "frontdesk".to_owned(), |role| format!("frontdesk-{role}")));
    // As the conventions want it: new with each process. Who wants another one names it.
    let instance = format!("{:032x}", rand::random::<u128>());
    let own = [
        KeyValue::new("service.namespace", "frontdesk"),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", instance),
    ];
    let given = traces.otel_resource_attributes.iter().flat_map(|pairs| pairs.0.clone());
    let given = given.map(|(name, value)| KeyValue::new(name, value));
    // Later ones win; a name of the service's own wins over one among the attributes.
    let resource = Resource::builder_empty().with_attribute(KeyValue::new("service.name", name.clone()));
    let resource = resource.with_attributes(own).with_attributes(given);
    match traces.otel_service_name {
        Some(_) => resource.with_attribute(KeyValue::new("service.name", name)).build(),
        None => resource.build(),
    }
}

impl Telemetry {
    /// Shows what became of spans.
    pub fn register(&self, metrics: &Metrics) {
        let counts = Arc::clone(&self.counts);
        let help = "Spans that were sent to the collector";
        metrics.count("telemetry_sent", help, move || counts.sent.load(Ordering::Relaxed));
        let counts = Arc::clone(&self.counts);
        let help = "Spans that were dropped: too many waited, or the collector did not take them";
        metrics.count("telemetry_dropped", help, move || counts.dropped.load(Ordering::Relaxed));
    }

    /// Sends what is left, for no longer than `TRACES_FLUSH_TIMEOUT`. Blocks.
    pub fn flush(self) {
        let Some(provider) = &self.provider else { return };
        if provider.shutdown_with_timeout(self.limit).is_err() && self.counts.waiting() > 0 {
            tracing::warn!(spans = self.counts.waiting(), "ending with spans that the collector did not take in time");
        }
    }
}

/// The words of a panic, if they are the code's own. Others are made of values, and a value may be a visitor's text.
fn panic_words(payload: &(dyn std::any::Any + Send)) -> &'static str {
    payload.downcast_ref::<&'static str>().copied().unwrap_or("a panic whose words are not shown")
}

fn dispatch<W>(logs: &Logs, writer: W, ansi: bool, traces: Option<&SdkTracerProvider>) -> Result<Dispatch, String>
where
    W: for<'a> fmt::MakeWriter<'a> + Send + Sync + 'static,
{
    // Names of levels are the predecessor's too: INFO, WARNING.
    let level = logs.log_level.replace("WARNING", "warn").replace("CRITICAL", "error");
    let asked = EnvFilter::try_new(&level).map_err(|e| format!("LOG_LEVEL `{}`: {e}", logs.log_level))?;
    // Spans are for traces: a line says itself what it is about.
    let safe = filter_fn(|of| of.is_event() && (is_ours(of.target()) || *of.level() <= LevelFilter::WARN));
    // With a hint from each filter, what nobody wants to hear costs next to nothing where it is said.
    let shown = asked.and(safe.with_max_level_hint(LevelFilter::TRACE));
    let base = tracing_subscriber::registry().with(traces.map(spans));
    let (lines, format) = (fmt::layer().with_writer(writer), logs.log_format);
    Ok(match format {
        LogFormat::Text => {
            let line = Format::default().with_ansi(ansi);
            Dispatch::new(base.with(lines.event_format(WithTrace { line, format }).with_filter(shown)))
        }
        LogFormat::Json => {
            let line = Format::default().json().flatten_event(true).with_current_span(false).with_span_list(false);
            let lines = lines.event_format(WithTrace { line, format }).fmt_fields(JsonFields::new());
            Dispatch::new(base.with(lines.with_filter(shown)))
        }
    })
}

/// Makes a span of OpenTelemetry of each of ours.
fn spans<S>(provider: &SdkTracerProvider) -> impl Layer<S> + use<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("frontdesk"))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_filter(
            filter_fn(|of| of.is_span() && of.target() == crate::trace::TARGET).with_max_level_hint(LevelFilter::INFO),
        )
}

fn is_ours(target: &str) -> bool {
    OURS.contains(&target.split("::").next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        sync::{Arc, Mutex},
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn no_setting_makes_libraries_talk() {
        let check = |level: &str, format: LogFormat, ours: bool| {
            let written = Written::default();
            let make = written.clone();
            let logs = Logs { log_level: level.to_owned(), log_format: format };
            let dispatch = dispatch(&logs, move || make.clone(), false, None).unwrap();
            dispatcher::with_default(&dispatch, || {
                tracing::trace!(target: "edge::chat", "ours");
                tracing::trace!(target: "hyper::proto::h1", "header: secret");
                tracing::debug!(target: "edges", "payload: secret");
                tracing::info!(target: "async_nats", "payload: secret");
                tracing::warn!(target: "rustls", "careful");
            });
            let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
            assert_eq!(text.contains("ours"), ours, "{level}: {text}");
            assert!(!text.contains("secret") && text.contains("careful"), "{level}: {text}");
        };
        check("trace", LogFormat::Text, true);
        check("trace", LogFormat::Json, true);
        check("trace,hyper=trace,async_nats=trace,edges=trace", LogFormat::Text, true);
        check("hyper[{x=y}]=trace,trace", LogFormat::Text, true);
        check("warn,hyper=trace", LogFormat::Json, false);
        check("INFO,edge=trace", LogFormat::Text, true);
    }

    /// Lines within a trace say so in both formats, whatever `LOG_LEVEL` hides; spans are never told as lines.
    #[test]
    fn lines_have_the_trace_that_they_belong_to() {
        for (format, level) in [(LogFormat::Text, "info"), (LogFormat::Json, "error,runtime=info")] {
            let written = Written::default();
            let make = written.clone();
            let logs = Logs { log_level: level.to_owned(), log_format: format };
            let provider = SdkTracerProvider::builder().with_sampler(Sampler::new(0.0, false, None)).build();
            let dispatch = dispatch(&logs, move || make.clone(), false, Some(&provider)).unwrap();
            let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
            let id = dispatcher::with_default(&dispatch, || {
                tracing::info!("outside");
                let span = crate::trace::server("POST", "/x", Some(parent));
                span.in_scope(|| tracing::info!(ms = 3, "inside"));
                crate::trace::traceparent(&span).unwrap()
            });
            let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
            let lines: Vec<&str> = text.lines().collect();
            let [outside, inside] = lines[..] else { panic!("{text}") };
            assert!(!outside.contains("trace_id"), "{text}");
            let span = id.split('-').nth(2).unwrap();
            assert_eq!(id, format!("00-0af7651916cd43dd8448eb211c80319c-{span}-00"));
            match format {
                LogFormat::Text => {
                    let end = format!("ms=3 trace_id=0af7651916cd43dd8448eb211c80319c span_id={span} sampled=false");
                    assert!(inside.ends_with(&end), "{text}");
                }
                LogFormat::Json => {
                    let line: serde_json::Value = serde_json::from_str(inside).unwrap();
                    assert_eq!(line["trace_id"], "0af7651916cd43dd8448eb211c80319c");
                    assert_eq!((&line["span_id"], &line["sampled"]), (&span.into(), &false.into()));
                    assert_eq!((&line["message"], &line["ms"]), (&"inside".into(), &3.into()));
                }
            }
        }
    }

    #[test]
    fn a_panic_tells_only_words_of_the_code() {
        let caught = |act: fn(&str)| std::panic::catch_unwind(move || act("a visitor's text")).unwrap_err();
        let words = |act| panic_words(&*caught(act)).to_owned();
        assert_eq!(words(|_| panic!("a fixed sentence")), "a fixed sentence");
        assert!(!words(|text| panic!("{text}")).contains("visitor"));
        assert!(!words(|text| assert!(text[1..].is_char_boundary(99), "{text}")).contains("visitor"));
    }
}
