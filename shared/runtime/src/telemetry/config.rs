//! The settings of traces. Their names are OpenTelemetry's own.

use std::{collections::HashMap, fmt, time::Duration};

use http::Uri;

use crate::{Secret, secret, settings};

/// Whether and where traces are sent.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Traces")]
pub struct Traces {
    /// Where traces are sent, by OTLP over HTTP (protobuf), such as `http://127.0.0.1:4318`. None: they are not sent;
    /// ids still go with each message and stand in the logs.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", global = true, value_parser = endpoint)]
    pub otel_exporter_otlp_endpoint: Option<Endpoint>,
    /// Headers for it: `name=value,…`, values percent-encoded. May hold a token.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_HEADERS", global = true, hide_env_values = true,
        value_parser = secret::Hidden(headers_secret))]
    pub otel_exporter_otlp_headers: Option<Secret>,
    /// Give up on a batch of spans after this long, in milliseconds. It is sent once.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_TIMEOUT", global = true, default_value = "10000", value_parser = millis)]
    pub otel_exporter_otlp_timeout: Duration,
    /// Share of the traces that are kept, 0 to 1. Edges decide; whatever a browser asks for.
    #[arg(long, env = "OTEL_TRACES_SAMPLER_ARG", global = true, default_value = "1", value_parser = ratio)]
    pub otel_traces_sampler_arg: f64,
    /// Spans that wait to be sent at most; one more is dropped, and counted.
    #[arg(long, env = "OTEL_BSP_MAX_QUEUE_SIZE", global = true, default_value_t = 2048,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub otel_bsp_max_queue_size: u32,
    /// A span waits this long for others to be sent with, in milliseconds.
    #[arg(long, env = "OTEL_BSP_SCHEDULE_DELAY", global = true, default_value = "1000", value_parser = millis)]
    pub otel_bsp_schedule_delay: Duration,
    /// At the end of the process, spans that are left get this long to be sent.
    #[arg(long, env = "TRACES_FLUSH_TIMEOUT", global = true, default_value = "2s", value_parser = settings::duration)]
    pub traces_flush_timeout: Duration,
    /// What the process is called in traces. Default: `frontdesk`, and over NATS `frontdesk-edge`, `frontdesk-worker`
    /// and `frontdesk-analytics`.
    #[arg(long, env = "OTEL_SERVICE_NAME", global = true)]
    pub otel_service_name: Option<String>,
    /// What else is told of it: `name=value,…`, values percent-encoded.
    #[arg(long, env = "OTEL_RESOURCE_ATTRIBUTES", global = true, value_parser = pairs)]
    pub otel_resource_attributes: Option<Pairs>,
    /// Make no spans at all, and pass on a client's `traceparent` as it is.
    #[arg(long, env = "OTEL_SDK_DISABLED", global = true, default_value_t = false, action = clap::ArgAction::Set)]
    pub otel_sdk_disabled: bool,
}

/// An address for OTLP over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(String);

impl Endpoint {
    /// Where spans go.
    pub(super) fn traces(&self) -> String {
        format!("{}/v1/traces", self.0)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `name=value,…`, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pairs(pub(super) Vec<(String, String)>);

fn endpoint(text: &str) -> Result<Endpoint, String> {
    let wrong = || "write an address such as http://127.0.0.1:4318".to_owned();
    let uri: Uri = text.parse().map_err(|_| wrong())?;
    let authority = uri.authority().ok_or_else(wrong)?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.query().is_some() {
        return Err(wrong());
    }
    if authority.as_str().contains('@') {
        return Err("put what is secret into OTEL_EXPORTER_OTLP_HEADERS: an address is logged".to_owned());
    }
    Ok(Endpoint(text.trim_end_matches('/').to_owned()))
}

/// The words of an error must not show the value.
fn headers_secret(text: &str) -> Result<Secret, String> {
    headers(text).map(|_| Secret::any(text))
}

/// What [`Traces::otel_exporter_otlp_headers`] says. An error shows nothing of it.
pub fn headers(text: &str) -> Result<HashMap<String, String>, String> {
    let wrong = || "write name=value, and several with commas between them".to_owned();
    let Pairs(pairs) = pairs(text).map_err(|_| wrong())?;
    let fits = |(name, value): &(String, String)| {
        http::HeaderName::try_from(name).is_ok() && http::HeaderValue::try_from(value).is_ok()
    };
    if pairs.iter().all(fits) { Ok(pairs.into_iter().collect()) } else { Err(wrong()) }
}

fn pairs(text: &str) -> Result<Pairs, String> {
    let wrong = || "write name=value, and several with commas between them".to_owned();
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').ok_or_else(wrong)?;
        let (name, value) = (name.trim(), decoded(value.trim()).ok_or_else(wrong)?);
        if name.is_empty() { Err(wrong()) } else { Ok((name.to_owned(), value)) }
    };
    text.split(',').filter(|part| !part.trim().is_empty()).map(pair).collect::<Result<_, _>>().map(Pairs)
}

/// Percent-encoding undone.
fn decoded(text: &str) -> Option<String> {
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((first, more)) = rest.split_first() {
        rest = more;
        if *first != b'%' {
            out.push(*first);
            continue;
        }
        let (code, more) = rest.split_at_checked(2)?;
        out.push(u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok()?);
        rest = more;
    }
    String::from_utf8(out).ok()
}

fn millis(text: &str) -> Result<Duration, String> {
    match text.parse::<u32>() {
        Ok(0) | Err(_) => Err("write milliseconds, such as 1000".to_owned()),
        Ok(millis) => Ok(Duration::from_millis(millis.into())),
    }
}

fn ratio(text: &str) -> Result<f64, String> {
    let ratio = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.ok_or_else(|| "write a share from 0 to 1, such as 0.1".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_typed() {
        assert_eq!(endpoint("http://127.0.0.1:4318/").unwrap().traces(), "http://127.0.0.1:4318/v1/traces");
        assert_eq!(endpoint("https://c.example/otlp").unwrap().traces(), "https://c.example/otlp/v1/traces");
        for bad in ["", "127.0.0.1:4318", "grpc://x:4317", "http://", "http://key@c.example", "http://x/?a=b"] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
        assert_eq!((ratio("0"), ratio("1"), ratio("0.25")), (Ok(0.0), Ok(1.0), Ok(0.25)));
        assert!(["-0.1", "1.1", "NaN", "all", ""].iter().all(|bad| ratio(bad).is_err()));
        assert_eq!(millis("1500"), Ok(Duration::from_millis(1500)));
        assert!(millis("0").is_err() && millis("1s").is_err());
    }

    #[test]
    fn pairs_are_read() {
        let check = |text: &str, expected: Option<&[(&str, &str)]>| {
            let read = pairs(text).ok().map(|Pairs(pairs)| pairs);
            let expected = expected.map(|pairs| pairs.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect());
            assert_eq!(read, expected, "{text}");
        };
        check("a=b, c = d%20e%3D,", Some(&[("a", "b"), ("c", "d e=")]));
        check("", Some(&[]));
        check("a=b=c", Some(&[("a", "b=c")]));
        for bad in ["a", "=b", "a=%", "a=%2", "a=%zz", "a=%ff"] {
            check(bad, None);
        }
        assert!(headers("authorization=Bearer%20x").is_ok());
        let secret = headers("bad name=t0ken").unwrap_err() + &headers_secret("x=%0at0ken").unwrap_err();
        assert!(!secret.contains("t0ken"), "{secret}");
    }
}
