//! Logs, to standard error: standard output belongs to what a command was asked to print.
//!
//! `LOG_LEVEL` is about our own crates, whose lines are written to hold no text, token or address. What libraries say
//! below a warning is not shown whatever is asked for: at the lower levels they print headers and payloads.

use tracing::dispatcher::{self, Dispatch};
use tracing_subscriber::{
    EnvFilter,
    filter::{LevelFilter, filter_fn},
    fmt,
    layer::SubscriberExt as _,
};

use crate::settings::{LogFormat, Logs};

/// All crates of ours; an event's target begins with its crate.
const OURS: [&str; 7] = ["frontdesk", "edge", "worker", "analytics", "bus", "runtime", "protocol"];

/// Starts logging for the whole process. An unusable filter is an error with the reason.
pub fn init(logs: &Logs) -> Result<(), String> {
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    dispatcher::set_global_default(dispatch(logs, std::io::stderr, ansi)?).map_err(|e| e.to_string())?;
    std::panic::set_hook(Box::new(|info| {
        let at = info.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(at, "{}", panic_words(info.payload()));
    }));
    Ok(())
}

/// The words of a panic, if they are the code's own. Others are made of values, and a value may be a visitor's text.
fn panic_words(payload: &(dyn std::any::Any + Send)) -> &'static str {
    payload.downcast_ref::<&'static str>().copied().unwrap_or("a panic whose words are not shown")
}

fn dispatch<W>(logs: &Logs, writer: W, ansi: bool) -> Result<Dispatch, String>
where
    W: for<'a> fmt::MakeWriter<'a> + Send + Sync + 'static,
{
    // Names of levels are the predecessor's too: INFO, WARNING.
    let level = logs.log_level.replace("WARNING", "warn").replace("CRITICAL", "error");
    let asked = EnvFilter::try_new(&level).map_err(|e| format!("LOG_LEVEL `{}`: {e}", logs.log_level))?;
    let safe = filter_fn(|event| is_ours(event.target()) || *event.level() <= LevelFilter::WARN);
    let base = tracing_subscriber::registry().with(asked).with(safe);
    let layer = fmt::layer().with_writer(writer);
    Ok(match logs.log_format {
        LogFormat::Text => Dispatch::new(base.with(layer.with_ansi(ansi))),
        LogFormat::Json => Dispatch::new(base.with(layer.json().flatten_event(true).with_span_list(false))),
    })
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
            let dispatch = dispatch(&logs, move || make.clone(), false).unwrap();
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

    #[test]
    fn a_panic_tells_only_words_of_the_code() {
        let caught = |act: fn(&str)| std::panic::catch_unwind(move || act("a visitor's text")).unwrap_err();
        let words = |act| panic_words(&*caught(act)).to_owned();
        assert_eq!(words(|_| panic!("a fixed sentence")), "a fixed sentence");
        assert!(!words(|text| panic!("{text}")).contains("visitor"));
        assert!(!words(|text| assert!(text[1..].is_char_boundary(99), "{text}")).contains("visitor"));
    }
}
