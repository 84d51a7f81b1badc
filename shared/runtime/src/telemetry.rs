//! Logs, to standard error: standard output belongs to what a command was asked to print.

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::settings::{LogFormat, Logs};

/// Starts logging for the whole process. An unusable filter is an error with the reason.
pub fn init(logs: &Logs) -> Result<(), String> {
    // Names of levels are the predecessor's too: INFO, WARNING.
    let level = logs.log_level.replace("WARNING", "warn").replace("CRITICAL", "error");
    let filter = EnvFilter::try_new(&level).map_err(|e| format!("LOG_LEVEL `{}`: {e}", logs.log_level))?;
    // hyper and the like log headers at trace level, and headers hold tokens: they stay off whatever is asked.
    let filter = ["hyper", "hyper_util", "reqwest", "h2", "async_nats", "rustls"]
        .into_iter()
        .filter_map(|quiet| format!("{quiet}=warn").parse().ok())
        .fold(filter, EnvFilter::add_directive);
    let base = tracing_subscriber::registry().with(filter);
    let layer = fmt::layer().with_writer(std::io::stderr);
    let started = match logs.log_format {
        LogFormat::Text => base.with(layer.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))).try_init(),
        LogFormat::Json => base.with(layer.json().flatten_event(true).with_span_list(false)).try_init(),
    };
    started.map_err(|e| e.to_string())
}
