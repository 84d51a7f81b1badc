//! Log lines, with the trace that they belong to.

use std::fmt;

use tracing::{Event, Subscriber};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

use crate::{settings::LogFormat, trace};

/// A format of `tracing_subscriber`, and at the end of each line that has one its `trace_id`, `span_id`, and whether
/// the trace is kept.
pub(super) struct WithTrace<F> {
    pub(super) line: F,
    pub(super) format: LogFormat,
}

impl<S, N, F> FormatEvent<S, N> for WithTrace<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let Some((trace, span, sampled)) = trace::current() else {
            return self.line.format_event(context, writer, event);
        };
        let mut line = String::with_capacity(512);
        self.line.format_event(context, Writer::new(&mut line), event)?;
        let line = line.trim_end();
        match self.format {
            LogFormat::Text => writeln!(writer, "{line} trace_id={trace} span_id={span} sampled={sampled}"),
            LogFormat::Json => {
                let open = line.strip_suffix('}').ok_or(fmt::Error)?;
                writeln!(writer, r#"{open},"trace_id":"{trace}","span_id":"{span}","sampled":{sampled}}}"#)
            }
        }
    }
}
