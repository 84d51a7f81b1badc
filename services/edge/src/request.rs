//! What happens to every request around its handler, in one layer.
//!
//! The order: know the caller, count the call, check the origin, run the handler (a panic becomes a 500), write the
//! problem document, then the headers that every response has, then the log line. Query strings, tokens, fingerprints,
//! addresses and bodies are never logged: a query may hold a ticket.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, OnceLock},
    time::Instant,
};

use axum::{
    extract::{ConnectInfo, FromRequestParts, MatchedPath, Request},
    http::{HeaderMap, HeaderName, HeaderValue, Method, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt as _;
use runtime::{http::guard, trace};
use tracing::{Instrument as _, Span};

use crate::{
    config::Config,
    cors::{self, Cors},
    late,
    limits::{Counted, Refusal, Standing},
    metrics::Http,
    problem::{self, ApiError},
    session,
    site::Site,
    state::State,
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const FORWARDED_FOR: &str = "x-forwarded-for";
/// Proxies between the visitor and us that are looked at; whoever sends more addresses made them up.
const MAX_HOPS: usize = 16;

/// Who calls, as far as the connection and trusted proxies tell. Handlers get it as `Arc<Call>`.
pub(crate) struct Call {
    /// The request's id.
    pub(crate) id: String,
    /// The visitor's address.
    pub(crate) ip: IpAddr,
    /// Scheme and host under which the visitor reached the edge.
    pub(crate) base: String,
    /// The `Origin` header.
    pub(crate) origin: Option<String>,
    /// The W3C trace context, if it is well-formed.
    pub(crate) traceparent: Option<String>,
    /// Whether a proxy of ours passed the call on, so that what only proxies say may be believed.
    pub(crate) proxied: bool,
    /// Whether a proxy gave the id.
    id_is_given: bool,
    /// The site, once the call has told it.
    site: OnceLock<Arc<Site>>,
    /// The tightest limit that counted this call.
    tightest: Mutex<Option<Standing>>,
}

impl Call {
    fn new(config: &Config, headers: &HeaderMap, peer: IpAddr) -> Self {
        // A listener on `::` sees IPv4 peers as mapped addresses.
        let peer = peer.to_canonical();
        let proxied = config.trusts(peer);
        let given = text(headers, REQUEST_ID.as_str()).filter(|id| proxied && is_request_id(id));
        Self {
            id: given.map_or_else(|| format!("{:032x}", rand::random::<u128>()), str::to_owned),
            ip: visitor_ip(config, headers, peer),
            base: base(config, headers, proxied),
            origin: text(headers, "origin").map(str::to_owned),
            traceparent: traceparent(headers).map(str::to_owned),
            proxied,
            id_is_given: given.is_some(),
            site: OnceLock::new(),
            tightest: Mutex::default(),
        }
    }

    /// Takes the id from the call's span, unless a proxy gave one. The trace's id alone would not do: the client chose it,
    /// and says it again with its next call.
    fn is_traced(&mut self, span: &Span) {
        if !self.id_is_given
            && let Some(id) = trace::id(span)
        {
            self.id = id;
        }
    }

    /// Notes how limits counted this call; the tightest one goes into the response's headers.
    pub(crate) fn count(&self, counted: Counted) -> Result<(), ApiError> {
        let standing = counted.map_err(|refusal| self.refused(refusal))?;
        let mut tightest = self.tightest.lock().expect("nothing panics while holding it");
        if let Some(standing) = standing
            && tightest.is_none_or(|known| standing.is_tighter_than(&known))
        {
            *tightest = Some(standing);
        }
        Ok(())
    }

    /// Notes that a limit refused this call: that one goes into the headers.
    pub(crate) fn refused(&self, refusal: Refusal) -> ApiError {
        if refusal.standing.is_some() {
            *self.tightest.lock().expect("nothing panics while holding it") = refusal.standing;
        }
        ApiError::RateLimited(refusal)
    }

    /// Notes which site the call is to.
    pub(crate) fn is_to(&self, site: &Arc<Site>) {
        self.site.set(Arc::clone(site)).ok();
    }

    /// Whether the page that calls may do so for this site, as far as its origin tells.
    pub(crate) fn may_use(&self, site: &Site) -> bool {
        self.origin.as_ref().is_none_or(|origin| self.is_own(origin) || site.allows(origin))
    }

    /// Whether the visitor's browser got its page from this edge itself.
    pub(crate) fn is_own(&self, origin: &str) -> bool {
        self.base == origin
    }
}

impl FromRequestParts<State> for Arc<Call> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &State) -> Result<Self, ApiError> {
        parts.extensions.get::<Self>().cloned().ok_or(ApiError::Internal)
    }
}

/// The layer.
pub(crate) async fn around(state: State, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let peer = peer.map_or(Ipv4Addr::UNSPECIFIED.into(), |peer| peer.0.ip());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = known(request.method());
    let path = request.uri().path();
    let (api, widget, late) = (path.starts_with("/api/"), path.starts_with("/widget/"), path.starts_with(late::ROUTE));
    let template = route.as_ref().map_or("none", MatchedPath::as_str);
    let mut call = Call::new(&state.config, request.headers(), peer);
    let cors = if api || widget { Cors::of(&state, &call, &request) } else { Cors::None };

    let early = if api { admit(&state, &call, &cors, &request) } else { None };
    // What is asked every few seconds, and files, would be most of what there is to see; and whoever is refused at the
    // door must not be able to fill the collector.
    let traced = api && early.is_none();
    let span = if traced { trace::server(method, template, traceparent(request.headers())) } else { Span::none() };
    call.is_traced(&span);
    let call = Arc::new(call);
    let mut response = match early {
        Some(response) => response,
        None => {
            request.extensions_mut().insert(Arc::clone(&call));
            let answer = AssertUnwindSafe(next.run(request)).catch_unwind().instrument(span.clone());
            answer.await.unwrap_or_else(|_| {
                state.metrics.panics.inc();
                tracing::error!(request.id = %call.id, "a request ended in a panic");
                ApiError::Internal.into_response()
            })
        }
    };

    if api
        && !late
        && let Some(error) = response.extensions().get()
    {
        let told = call.site.get().map(Arc::as_ref);
        let site = told.or_else(|| state.sites.of_origin(call.origin.as_deref()?));
        state.refusals.count(site.map(|site| &site.id), error);
    }
    problem::describe(&mut response, &call.id);
    let headers = response.headers_mut();
    if let Some(standing) = &*call.tightest.lock().expect("nothing panics while holding it") {
        standing.write(headers);
    }
    // What anybody may read says so itself.
    if api || (widget && !headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN)) {
        cors.write(headers);
    }
    guard(headers, call.base.starts_with("https://"));
    headers.insert(REQUEST_ID, HeaderValue::from_str(&call.id).expect("its alphabet is checked"));

    let status = response.status().as_u16();
    state.metrics.http_requests.get_or_create(&Http { route: template.to_owned(), method, status }).inc();
    let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    if let Some(site) = call.site.get() {
        trace::note(&span, "frontdesk.site", site.id.to_string());
    }
    trace::answered(&span, status);
    span.in_scope(|| tracing::info!(request.id = %call.id, method, route = template, status, ms, "answered"));
    response
}

/// An answer that needs no handler: to a preflight, to one call too many, to a foreign origin.
fn admit(state: &State, call: &Call, cors: &Cors, request: &Request) -> Option<Response> {
    if cors::is_preflight(request) && !cors.refuses() {
        return Some(cors::preflight());
    }
    // Its URL is the credential, and n8n calls from one address for all sessions: see `late`.
    if request.method() == Method::POST && request.uri().path().starts_with(late::ROUTE) {
        let foreign = request.headers().contains_key(header::ORIGIN) && cors.refuses();
        return foreign.then(|| ApiError::OriginNotAllowed.into_response());
    }
    if let Err(error) = call.count(state.limits.call(call.ip)) {
        return Some(error.into_response());
    }
    if cors.refuses() {
        return Some(ApiError::OriginNotAllowed.into_response());
    }
    // Before a span is made and the body is read: many sessions are asked for by who floods.
    let creates = request.method() == Method::POST && request.uri().path() == session::CREATE;
    let refusal = creates.then(|| state.limits.may_create(call.ip).err()).flatten()?;
    Some(call.refused(refusal).into_response())
}

/// A method as a label: what clients make up is one value.
fn known(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

/// A header, if it is text.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn is_request_id(id: &str) -> bool {
    (8..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// The W3C trace context, if it is well-formed.
fn traceparent(headers: &HeaderMap) -> Option<&str> {
    text(headers, trace::TRACEPARENT).filter(|value| trace::is_traceparent(value))
}

/// The visitor's address: the socket's, unless a trusted proxy is at its other end. Then the addresses that proxies
/// noted are read from the right, where the nearest one wrote, up to the first that is not a proxy of ours: what stands
/// left of it, anybody may have written.
///
/// `X-Forwarded-For` goes before `Forwarded`, because the usual proxies write the first and pass on the second unread.
fn visitor_ip(config: &Config, headers: &HeaderMap, peer: IpAddr) -> IpAddr {
    let mut nearest = peer.to_canonical();
    if !config.trusts(nearest) {
        return nearest;
    }
    let listed = headers.contains_key(FORWARDED_FOR);
    let name = if listed { FORWARDED_FOR } else { "forwarded" };
    let values: Vec<&HeaderValue> = headers.get_all(name).iter().collect();
    // As bytes: what a visitor sent may be no text, and must not take what a proxy wrote after it along.
    let hops = values.iter().rev().flat_map(|value| RightToLeft::new(value.as_bytes(), b',', !listed));
    for hop in hops.take(MAX_HOPS) {
        let address = if listed { Some(hop) } else { forwarded_for(hop) };
        let Some(ip) = address.and_then(hop_ip) else { break };
        nearest = ip;
        if !config.trusts(ip) {
            break;
        }
    }
    nearest
}

/// The `for` of one element of `Forwarded` (RFC 7239).
fn forwarded_for(element: &[u8]) -> Option<&[u8]> {
    RightToLeft::new(element, b';', true).find_map(|pair| {
        let mut halves = pair.splitn(2, |byte| *byte == b'=');
        let (name, value) = (halves.next()?, halves.next()?.trim_ascii());
        let bare = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
        name.trim_ascii().eq_ignore_ascii_case(b"for").then_some(bare)
    })
}

/// The parts of a header's value between separators, the last one first. A quoted string is one piece: a proxy may have
/// put into it what the visitor says (`host="a,for=192.0.2.1"`). Seen from the right, nothing that a visitor sent can
/// open or close a quote in what a proxy wrote after it.
struct RightToLeft<'a> {
    rest: Option<&'a [u8]>,
    separator: u8,
    /// Whether there are quoted strings in this header.
    quotes: bool,
}

impl<'a> RightToLeft<'a> {
    fn new(value: &'a [u8], separator: u8, quotes: bool) -> Self {
        Self { rest: Some(value), separator, quotes }
    }
}

impl<'a> Iterator for RightToLeft<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest.take()?;
        let mut quoted = false;
        for (at, byte) in rest.iter().enumerate().rev() {
            if *byte == b'"' && self.quotes {
                let escapes = rest[..at].iter().rev().take_while(|byte| **byte == b'\\').count();
                quoted ^= escapes % 2 == 0;
            } else if *byte == self.separator && !quoted {
                self.rest = Some(&rest[..at]);
                return Some(&rest[at + 1..]);
            }
        }
        Some(rest)
    }
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn hop_ip(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop).ok()?.trim();
    let bare = || text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    bare().or_else(with_port).or_else(bracketed).map(|ip| ip.to_canonical())
}

fn base(config: &Config, headers: &HeaderMap, proxied: bool) -> String {
    if let Some(url) = &config.public_url {
        return url.origin().ascii_serialization();
    }
    let told = text(headers, "x-forwarded-proto").filter(|_| proxied).and_then(|protos| protos.rsplit(',').next());
    let secure = config.listener.is_tls() || told.is_some_and(|proto| proto.trim().eq_ignore_ascii_case("https"));
    let scheme = if secure { "https" } else { "http" };
    let host = text(headers, "host").unwrap_or_default().to_ascii_lowercase();
    let default_port = if scheme == "https" { ":443" } else { ":80" };
    format!("{scheme}://{}", host.strip_suffix(default_port).unwrap_or(&host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::config;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    #[test]
    fn only_trusted_proxies_tell_the_address() {
        let config = config(&["--trusted-proxies", "10.0.0.0/8,::1"]);
        let check = |peer: &str, pairs: &[(&'static str, &str)], expected: &str| {
            let ip = visitor_ip(&config, &headers(pairs), peer.parse().unwrap());
            assert_eq!(ip.to_string(), expected, "{peer} {pairs:?}");
        };
        let xff = "x-forwarded-for";
        check("192.0.2.9", &[], "192.0.2.9");
        check("192.0.2.9", &[(xff, "198.51.100.1")], "192.0.2.9");
        check("::ffff:192.0.2.9", &[], "192.0.2.9");
        check("10.0.0.1", &[], "10.0.0.1");
        check("10.0.0.1", &[(xff, "198.51.100.1")], "198.51.100.1");
        check("::ffff:10.0.0.1", &[(xff, "198.51.100.1")], "198.51.100.1");
        check("10.0.0.1", &[(xff, "1.2.3.4, 198.51.100.1")], "198.51.100.1");
        check("10.0.0.1", &[(xff, "1.2.3.4, 198.51.100.1, 10.0.0.2")], "198.51.100.1");
        check("10.0.0.1", &[(xff, "1.2.3.4"), (xff, "198.51.100.1")], "198.51.100.1");
        check("10.0.0.1", &[(xff, "10.0.0.3, 10.0.0.2")], "10.0.0.3");
        check("10.0.0.1", &[(xff, "198.51.100.1, unknown, 10.0.0.2")], "10.0.0.2");
        check("10.0.0.1", &[(xff, "")], "10.0.0.1");
        check("10.0.0.1", &[(xff, "198.51.100.1:4711")], "198.51.100.1");
        check("::1", &[(xff, "2001:db8::1")], "2001:db8::1");
        check("::1", &[(xff, "[2001:db8::1]:80")], "2001:db8::1");
        check("10.0.0.1", &[("forwarded", "for=1.2.3.4, For=\"[2001:db8::1]:80\";proto=https")], "2001:db8::1");
        check("10.0.0.1", &[("forwarded", "proto=https;for=198.51.100.1;by=10.0.0.1")], "198.51.100.1");
        check("10.0.0.1", &[("forwarded", "for=_hidden")], "10.0.0.1");
        check("10.0.0.1", &[("forwarded", "for=1.2.3.4"), (xff, "198.51.100.1")], "198.51.100.1");
        check("10.0.0.1", &[("x-real-ip", "1.2.3.4")], "10.0.0.1");
        let many = vec!["10.0.0.2"; 100].join(",");
        check("10.0.0.1", &[(xff, &format!("1.2.3.4,{many}"))], "10.0.0.2");
        check("10.0.0.1", &[(xff, &format!("{many},198.51.100.1"))], "198.51.100.1");
        let made_up: Vec<String> = (0..100).map(|n| format!("1.2.3.{n}")).collect();
        check("10.0.0.1", &[(xff, &made_up.join(", "))], "1.2.3.99");
        check("192.0.2.9", &[(xff, &made_up.join(", ")), ("forwarded", "for=10.0.0.1")], "192.0.2.9");
        // What is no address ends the way: what stands left of it counts for nothing.
        for odd in
            ["_hidden", "unknown", "", "1.2.3.4.5", "[2001:db8::1", "é", "1.2.3.4:99999", "\"1.2.3.4\"", "for=1.2.3.4"]
        {
            check("10.0.0.1", &[(xff, &format!("1.2.3.4, {odd}"))], "10.0.0.1");
            check("10.0.0.1", &[(xff, &format!("1.2.3.4, {odd}, 10.0.0.2"))], "10.0.0.2");
            check("10.0.0.1", &[(xff, &format!("{odd}, 198.51.100.1"))], "198.51.100.1");
            check("10.0.0.1", &[(xff, odd), (xff, "198.51.100.1")], "198.51.100.1");
        }
        check("10.0.0.1", &[(xff, "[2001:db8::1]")], "2001:db8::1");
        check("10.0.0.1", &[(xff, "::ffff:198.51.100.1")], "198.51.100.1");
        check("10.0.0.1", &[(xff, "198.51.100.1, ::ffff:10.0.0.2")], "198.51.100.1");
        let forwarded = "forwarded";
        for (element, expected) in [
            ("for=198.51.100.1", "198.51.100.1"),
            ("For=\"198.51.100.1:4711\"", "198.51.100.1"),
            ("by=_proxy;FOR = \"[2001:db8::1]\" ; host=a", "2001:db8::1"),
            ("for=\"_gazonk\"", "10.0.0.1"),
            ("for=unknown", "10.0.0.1"),
            ("for=\"unknown:80\"", "10.0.0.1"),
            ("for=[2001:db8::1]", "2001:db8::1"),
            ("host=a", "10.0.0.1"),
            ("for", "10.0.0.1"),
            // What a proxy quotes may be the visitor's words.
            ("for=198.51.100.1;host=\"a,for=1.2.3.4\"", "198.51.100.1"),
            ("for=198.51.100.1;host=\"a;for=1.2.3.4\"", "198.51.100.1"),
            ("for=198.51.100.1;host=\"a\\\",for=1.2.3.4\"", "198.51.100.1"),
        ] {
            check("10.0.0.1", &[(forwarded, element)], expected);
            // Whatever a visitor sends in front of it, an open quote too, changes nothing.
            for front in ["for=1.2.3.4, ", "for=10.0.0.9, for=\"1.2.3.4\", ", "for=\"x, ", "host=\"\\, ", "é, "] {
                check("10.0.0.1", &[(forwarded, &format!("{front}{element}"))], expected);
            }
        }
        check("10.0.0.1", &[(forwarded, "for=198.51.100.1, for=10.0.0.2;proto=https")], "198.51.100.1");
        check("10.0.0.1", &[(forwarded, "for=1.2.3.4"), (forwarded, "for=\"[2001:db8::1]:80\"")], "2001:db8::1");
    }

    #[test]
    fn the_base_is_what_the_visitor_sees() {
        let plain = config(&[]);
        let check = |config: &Config, proxied, pairs: &[(&'static str, &str)], expected: &str| {
            assert_eq!(base(config, &headers(pairs), proxied), expected, "{proxied} {pairs:?}");
        };
        check(&plain, false, &[("host", "Chat.Example:8000")], "http://chat.example:8000");
        check(&plain, false, &[("host", "a"), ("x-forwarded-proto", "https")], "http://a");
        check(&plain, true, &[("host", "a:443"), ("x-forwarded-proto", "https")], "https://a");
        check(&plain, true, &[("host", "a"), ("x-forwarded-proto", "https, http")], "http://a");
        let tls = config(&["--tls-cert", "cert.pem", "--tls-key", "key.pem"]);
        check(&tls, false, &[("host", "a:443")], "https://a");
        check(&tls, true, &[("host", "a"), ("x-forwarded-proto", "http")], "https://a");
        let public = config(&["--public-url", "https://chat.shop.example/"]);
        check(&public, true, &[("host", "a")], "https://chat.shop.example");
    }

    #[test]
    fn request_ids_are_kept_only_when_well_formed() {
        assert!(is_request_id("abc-DEF_123") && is_request_id(&"a".repeat(128)));
        for bad in ["short", &"a".repeat(129), "with space", "new\tline-xx", "inje\"ction", ""] {
            assert!(!is_request_id(bad), "{bad}");
        }
    }
}
