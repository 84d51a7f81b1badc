//! Metrics: one registry a process, shown in two text formats to those who may see them.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
};

use axum::{
    extract::ConnectInfo,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _, text::encode},
    metrics::{
        counter::ConstCounter,
        family::Family,
        gauge::{ConstGauge, Gauge},
    },
    registry::Registry,
};
use subtle::ConstantTimeEq as _;

use crate::Secret;

/// The process's metrics and who may read them. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    token: Option<Secret>,
}

/// Why somebody may not read the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The bearer is missing or wrong.
    #[error("Reading metrics needs the bearer of METRICS_TOKEN.")]
    Token,
    /// The caller is not on a private network, or came through a proxy, and no token is set.
    #[error("Metrics are for the private network, unless METRICS_TOKEN is set.")]
    Place,
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        let status = if self == Self::Token { StatusCode::UNAUTHORIZED } else { StatusCode::FORBIDDEN };
        (status, [(header::CACHE_CONTROL, "no-store")], format!("{self}\n")).into_response()
    }
}

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

impl Metrics {
    /// An empty registry. With a `token`, reading needs it as a bearer; without, only near callers may read.
    pub fn new(token: Option<Secret>) -> Self {
        let mut registry = Registry::with_prefix("frontdesk");
        let build = Family::<Vec<(&'static str, &'static str)>, Gauge>::default();
        build.get_or_create(&vec![("version", env!("CARGO_PKG_VERSION"))]).set(1);
        registry.register("build_info", "The running version", build);
        Self { registry: Arc::new(Mutex::new(registry)), token }
    }

    /// Adds a service's metrics.
    pub fn register(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.registry.lock().expect("nothing panics while holding it"));
    }

    /// Adds a counter that somebody else keeps; it is read at each scrape.
    pub fn count(&self, name: &'static str, help: &'static str, read: impl Fn() -> u64 + Send + Sync + 'static) {
        let counted = Counted { name, help, read: Box::new(read) };
        self.register(|registry| registry.register_collector(Box::new(counted)));
    }

    /// Adds whether something is so, as 1 or 0; it is looked at when a scrape comes.
    pub fn whether(&self, name: &'static str, help: &'static str, read: impl Fn() -> bool + Send + Sync + 'static) {
        let asked = Asked { name, help, read: Box::new(read) };
        self.register(|registry| registry.register_collector(Box::new(asked)));
    }

    /// All of it, in the classic form.
    pub fn shown(&self) -> String {
        let mut text = String::new();
        // Into memory it can't fail.
        encode(&mut text, &self.registry.lock().expect("nothing panics while holding it")).ok();
        classic(&text)
    }

    /// Answers a scrape.
    pub fn answer(&self, headers: &HeaderMap, peer: ConnectInfo<SocketAddr>) -> Result<Response, Denied> {
        self.check(headers, peer.0.ip())?;
        Ok(self.text(headers))
    }

    fn text(&self, headers: &HeaderMap) -> Response {
        let mut text = String::new();
        let encoded = encode(&mut text, &self.registry.lock().expect("nothing panics while holding it"));
        if encoded.is_err() {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
        let open = headers
            .get(header::ACCEPT)
            .and_then(|accept| accept.to_str().ok())
            .is_some_and(|accept| accept.contains("application/openmetrics-text"));
        if open {
            ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response()
        } else {
            ([(header::CONTENT_TYPE, CLASSIC)], classic(&text)).into_response()
        }
    }

    fn check(&self, headers: &HeaderMap, peer: IpAddr) -> Result<(), Denied> {
        if let Some(token) = &self.token {
            let given = headers.get(header::AUTHORIZATION).and_then(|h| h.to_str().ok());
            let given = given.and_then(|value| value.split_once(' '));
            let given =
                given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map_or("", |(_, token)| token);
            let right: bool = given.as_bytes().ct_eq(token.expose().as_bytes()).into();
            return if right { Ok(()) } else { Err(Denied::Token) };
        }
        let proxied =
            ["forwarded", "x-forwarded-for", "x-real-ip", "via"].iter().any(|name| headers.contains_key(*name));
        if !proxied && is_near(peer) { Ok(()) } else { Err(Denied::Place) }
    }
}

/// See [`Metrics::count`].
struct Counted {
    name: &'static str,
    help: &'static str,
    read: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl fmt::Debug for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Collector for Counted {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let counter = ConstCounter::new((self.read)());
        counter.encode(encoder.encode_descriptor(self.name, self.help, None, counter.metric_type())?)
    }
}

/// See [`Metrics::whether`].
struct Asked {
    name: &'static str,
    help: &'static str,
    read: Box<dyn Fn() -> bool + Send + Sync>,
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Collector for Asked {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let gauge = ConstGauge::new(i64::from((self.read)()));
        gauge.encode(encoder.encode_descriptor(self.name, self.help, None, gauge.metric_type())?)
    }
}

/// Whether an address is of this machine or of a private network (RFC 1918, RFC 4193, link-local).
pub fn is_near(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// The classic Prometheus text form (0.0.4) of an OpenMetrics text: no units, no exemplars, no end mark, and a
/// counter's name with its `_total`.
fn classic(open: &str) -> String {
    let mut out = String::with_capacity(open.len());
    for line in open.lines() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        match line.strip_prefix("# TYPE ").and_then(|rest| rest.strip_suffix(" counter")) {
            Some(name) => out.extend(["# TYPE ", name, "_total counter"]),
            // A comment has no exemplar, and a label's value may hold anything but an unescaped quote.
            None if line.starts_with('#') => out.push_str(line),
            None => out.push_str(line.split_once(" # {").map_or(line, |(sample, _)| sample)),
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::{counter::Counter, exemplar::HistogramWithExemplars};

    use super::*;

    fn metrics(token: Option<&str>) -> Metrics {
        let metrics = Metrics::new(token.map(Secret::any));
        metrics.register(|registry| {
            let counter: Counter = Counter::default();
            counter.inc();
            registry.register("things", "Things seen", counter);
            let histogram = HistogramWithExemplars::new([0.1, 1.0].into_iter());
            histogram.observe(0.5, Some(vec![("trace_id", "abc")]), None);
            registry.register_with_unit("wait", "Waiting time", prometheus_client::registry::Unit::Seconds, histogram);
        });
        metrics
    }

    async fn read(metrics: &Metrics, headers: &[(&'static str, &str)], peer: &str) -> (StatusCode, String) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        let answer = metrics.answer(&map, ConnectInfo(peer.parse().unwrap())).into_response();
        let status = answer.status();
        let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn both_formats_say_the_same() {
        let (_, open) = read(&metrics(None), &[("accept", "application/openmetrics-text")], "127.0.0.1:1").await;
        assert!(open.contains("# TYPE frontdesk_things counter\n") && open.ends_with("# EOF\n"), "{open}");
        assert!(open.contains("trace_id=\"abc\""), "{open}");
        let (_, text) = read(&metrics(None), &[], "127.0.0.1:1").await;
        assert!(text.contains("# TYPE frontdesk_things_total counter\nfrontdesk_things_total 1\n"), "{text}");
        assert!(!text.contains("EOF") && !text.contains("UNIT") && !text.contains("trace_id"), "{text}");
    }

    #[tokio::test]
    async fn only_near_callers_or_token_holders_read() {
        let check = async |token, headers: &[(&'static str, &str)], peer, expected: u16| {
            assert_eq!(read(&metrics(token), headers, peer).await.0, expected, "{token:?} {headers:?} {peer}");
        };
        check(None, &[], "127.0.0.1:1", 200).await;
        check(None, &[], "10.1.2.3:1", 200).await;
        check(None, &[], "[::1]:1", 200).await;
        check(None, &[], "[::ffff:10.0.0.1]:1", 200).await;
        check(None, &[], "8.8.8.8:1", 403).await;
        check(None, &[("x-forwarded-for", "8.8.8.8")], "127.0.0.1:1", 403).await;
        check(Some("t0ken"), &[], "127.0.0.1:1", 401).await;
        check(Some("t0ken"), &[("authorization", "Bearer nope!")], "127.0.0.1:1", 401).await;
        check(Some("t0ken"), &[("authorization", "Bearer t0ken")], "8.8.8.8:1", 200).await;
    }
}
