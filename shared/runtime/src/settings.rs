//! Parsers for the typed settings. A bad value stops the start with a sentence that shows a good one.

use std::time::Duration;

/// `30s`, `10m`, `1h 30m`, `250ms`.
pub fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "write a duration such as 250ms, 30s, 10m or 24h".to_owned())
}

/// A [`duration`] that is more than nothing.
pub fn some_time(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("must be more than zero".to_owned()),
        some => Ok(some),
    }
}

/// `64KiB`, `1MiB`, `500000`.
pub fn bytes(text: &str) -> Result<usize, String> {
    let size: bytesize::ByteSize = text.parse().map_err(|_| "write a size such as 64KiB, 1MiB or 500000".to_owned())?;
    match usize::try_from(size.as_u64()) {
        Ok(0) => Err("must be more than zero".to_owned()),
        Ok(size) => Ok(size),
        Err(_) => Err("is too large".to_owned()),
    }
}

/// How the process tells what it does.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub struct Logs {
    /// What to log: error, warn, info, debug, trace, or filters such as `info,edge=debug`.
    #[arg(long, env = "LOG_LEVEL", default_value = "info", global = true)]
    pub log_level: String,
    /// How log lines look.
    #[arg(long, env = "LOG_FORMAT", default_value = "text", value_enum, global = true)]
    pub log_format: LogFormat,
}

/// See [`Logs::log_format`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for machines.
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_typed() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("1h 30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        assert!(duration("30").is_err() && duration("-1s").is_err() && duration("soon").is_err());
        assert!(some_time("0s").is_err());
        assert_eq!(bytes("64KiB"), Ok(65_536));
        assert_eq!(bytes("500000"), Ok(500_000));
        assert!(bytes("0").is_err() && bytes("big").is_err() && bytes("-1").is_err());
    }
}
