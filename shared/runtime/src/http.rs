//! The accept loop: one task a connection, each with hard limits, all ended by one drain.
//!
//! - `gate` and `head`: what of a connection's bytes is let through to hyper at all.
//! - `crowd`: how many connections an address holds.
//! - `counts`: what became of them.
//! - `guard`: headers of every response.

mod counts;
mod crowd;
mod gate;
mod guard;
mod head;
#[cfg(test)]
mod tests;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    response::{IntoResponse as _, Response},
};
use http::{HeaderValue, StatusCode, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;

pub use counts::Counts;
use counts::{Cut, Full};
use crowd::Crowd;
pub use crowd::neighbourhood;
use gate::{Gate, Patience};
pub use guard::{RESOURCE_POLICY, guard};
use head::{Bounds, Refusal};

use crate::tls::Tls;

/// What one listener takes at most.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at once. One more is answered 503 and closed.
    pub connections: usize,
    /// Connections of an address at once (IPv6: of a /64); 0 = no limit. One more is answered 429 and closed.
    pub per_address: usize,
    /// Addresses with no such limit, beside 127.0.0.1 and ::1: proxies.
    pub exempt: Vec<IpNet>,
    /// A client that has not sent its request's headers after this long is answered 408 and cut off. TLS must have
    /// been agreed on within this time as well.
    pub header_timeout: Duration,
    /// Request line and headers together; more is answered 431.
    pub header_bytes: usize,
    /// Number of request headers; more is answered 431.
    pub headers: usize,
    /// Bytes of a request's path and query; more is answered 414.
    pub url_bytes: usize,
    /// A connection on which nothing is asked is kept open for this long.
    pub idle: Duration,
    /// What is sent must go on being taken, and be acknowledged, within this time.
    pub send_timeout: Duration,
    /// Open connections get this long to finish after the stop; then they are cut.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 20_000,
            per_address: 256,
            exempt: Vec::new(),
            header_timeout: Duration::from_secs(10),
            header_bytes: 16 * 1024,
            headers: 64,
            url_bytes: 8 * 1024,
            idle: Duration::from_secs(75),
            send_timeout: Duration::from_secs(30),
            drain: Duration::from_secs(20),
        }
    }
}

impl Limits {
    fn patience(&self) -> Patience {
        let bounds = Bounds { head: self.header_bytes, target: self.url_bytes, lines: self.headers };
        Patience { bounds, head: self.header_timeout, send: self.send_timeout }
    }
}

/// Connections over a limit that are told so at once; more are only closed.
const REFUSALS: usize = 256;
/// How long such a connection may take to ask.
const REFUSE_WITHIN: Duration = Duration::from_millis(250);
/// What a socket holds beyond what its peer has room for; without a limit the kernel takes up to 4 MiB.
const UNSENT_BYTES: u32 = 64 * 1024;
/// hyper takes no smaller buffer. The gate is stricter, so this is only what hyper reads ahead.
const HYPER_BUFFER: usize = 8 * 1024;

/// Serves `app` until `stop`, then drains: no new connections, idle ones closed, busy ones until `limits.drain`.
/// Returns how many connections had to be cut.
pub async fn serve(listener: TcpListener, app: Router, limits: Limits, stop: CancellationToken) -> usize {
    Server { limits, ..Server::default() }.run(listener, app, stop).await
}

/// How a listener is served.
#[derive(Clone, Default)]
pub struct Server {
    /// What it takes.
    pub limits: Limits,
    /// With it, connections speak TLS.
    pub tls: Option<Tls>,
    /// What became of connections.
    pub counts: Counts,
}

impl Server {
    /// See [`serve`].
    pub async fn run(self, listener: TcpListener, app: Router, stop: CancellationToken) -> usize {
        let Self { limits, tls, counts } = self;
        let connections = TaskTracker::new();
        if let Some(tls) = &tls {
            connections.spawn(tls.clone().keep_fresh(counts.clone(), stop.clone()));
        }
        let permits = Arc::new(Semaphore::new(limits.connections));
        let crowd = Crowd::new(limits.per_address, limits.exempt.clone());
        let refusals = Arc::new(Semaphore::new(REFUSALS));
        let cut = CancellationToken::new();
        loop {
            let (stream, peer) = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        counts.accept_errors.inc();
                        pause_after(&error).await;
                        continue;
                    }
                },
                () = stop.cancelled() => break,
            };
            let permit = Arc::clone(&permits).try_acquire_owned().map_err(|_| Full::Limit);
            let places = permit.and_then(|permit| Ok((permit, crowd.enter(peer.ip()).ok_or(Full::Address)?)));
            let places = match places {
                Ok(places) => places,
                Err(full) => {
                    counts.full(full);
                    // Whoever awaits TLS could not read it.
                    if tls.is_none() && refusals.available_permits() > 0 {
                        connections.spawn(refuse(stream, full, Arc::clone(&refusals)));
                    }
                    continue;
                }
            };
            // Chunks are small and must not wait for more.
            stream.set_nodelay(true).ok();
            let socket = socket2::SockRef::from(&stream);
            // A peer that vanished, or that stopped reading, would hold its place for a quarter of an hour.
            socket.set_tcp_user_timeout(Some(limits.send_timeout)).ok();
            // What nobody takes waits with us, where it is shared, and not in a copy of the kernel's for each.
            socket.set_tcp_notsent_lowat(UNSENT_BYTES).ok();
            let open = counts.opened();
            let one = Connection { peer, app: app.clone(), limits: limits.clone(), counts: counts.clone() };
            let (tls, stop, cut, counts) = (tls.clone(), stop.clone(), cut.clone(), counts.clone());
            connections.spawn(async move {
                tokio::select! {
                    () = one.open(stream, tls, stop) => {}
                    () = cut.cancelled() => counts.cut(Cut::Drain),
                }
                drop((open, places));
            });
        }
        drop(listener);
        connections.close();
        if tokio::time::timeout(limits.drain, connections.wait()).await.is_ok() {
            return 0;
        }
        let left = connections.len();
        cut.cancel();
        connections.wait().await;
        left
    }
}

/// A client that is already gone costs nothing. Else we are out of file descriptors, mostly: connections that end will
/// free some.
async fn pause_after(error: &std::io::Error) {
    use std::io::ErrorKind as Kind;
    if !matches!(error.kind(), Kind::ConnectionAborted | Kind::ConnectionReset | Kind::ConnectionRefused) {
        tracing::warn!(%error, "can't accept a connection");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// One connection and what it may do.
struct Connection {
    peer: SocketAddr,
    app: Router,
    limits: Limits,
    counts: Counts,
}

impl Connection {
    async fn open(self, stream: TcpStream, tls: Option<Tls>, stop: CancellationToken) {
        let Some(tls) = tls else { return self.drive(stream, false, stop).await };
        let met = tokio::select! {
            met = tokio::time::timeout(self.limits.header_timeout, tls.accept(stream)) => met,
            // Nothing was asked yet.
            () = stop.cancelled() => return,
        };
        match met {
            Ok(Ok(stream)) => self.drive(stream, true, stop).await,
            Ok(Err(_)) | Err(_) => self.counts.cut(Cut::Handshake),
        }
    }

    /// Drives it to its end.
    async fn drive<S>(self, stream: S, secure: bool, stop: CancellationToken)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Self { peer, app, limits, counts } = self;
        let (gate, verdicts) = Gate::new(stream, limits.patience(), counts.clone());
        let seen = counts.clone();
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            let refusal = verdicts.next();
            if let Some(refusal) = refusal {
                seen.refused(refusal.face().0);
            }
            request.extensions_mut().insert(ConnectInfo(peer));
            let app = app.clone();
            async move {
                match refusal {
                    Some(refusal) => Ok(refused(refusal, secure)),
                    None => app.oneshot(request.map(Body::new)).await,
                }
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            // The gate looks after heads that come slowly; what is left is a connection that is asked nothing.
            .header_read_timeout(limits.idle.max(limits.header_timeout))
            .max_buf_size(limits.header_bytes.max(HYPER_BUFFER))
            .max_headers(limits.headers)
            .serve_connection(TokioIo::new(gate), service);
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            if error.is_timeout() {
                counts.cut(Cut::Idle);
            }
            tracing::debug!(%error, "a connection ended early");
        }
    }
}

/// The answer to a request that was refused before it was one. It goes around the app, which has nothing to look at.
fn refused(refusal: Refusal, secure: bool) -> Response {
    let (status, code, title, detail) = refusal.face();
    let id = new_request_id();
    // Counted; a line each would let anybody fill the log.
    tracing::debug!(request.id = %id, status = status.as_u16(), detail, "refused a request");
    let mut response = (status, problem(status, code, title, detail, "", &id)).into_response();
    let headers = response.headers_mut();
    for (name, value) in PROBLEM_HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if secure {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(HSTS));
    }
    headers.insert("x-request-id", HeaderValue::from_str(&id).expect("hex makes a header"));
    response
}

/// One year, for this host alone: what else is below it is not ours to speak for.
pub const HSTS: &str = "max-age=31536000";

const PROBLEM_HEADERS: [(header::HeaderName, &str); 8] = [
    (header::CONTENT_TYPE, "application/problem+json"),
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::CONNECTION, "close"),
];

/// A problem document (RFC 9457). All parts are our own words, without quotes or backslashes; `members` is JSON.
fn problem(status: StatusCode, code: &str, title: &str, detail: &str, members: &str, id: &str) -> String {
    let status = status.as_u16();
    format!(
        r#"{{"type":"about:blank","title":"{title}","status":{status},"code":"{code}","detail":"{detail}"{members},"request_id":"{id}"}}"#
    )
}

fn new_request_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// Says so to whatever is asked. What was asked is read, because a close with unread input would take the answer back.
async fn refuse(mut stream: TcpStream, full: Full, refusals: Arc<Semaphore>) {
    let Ok(_place) = refusals.try_acquire_owned() else { return };
    let id = new_request_id();
    let (status, body) = match full {
        Full::Limit => {
            let (status, detail) = (StatusCode::SERVICE_UNAVAILABLE, "This server is at its connection limit.");
            (status, problem(status, "overloaded", "Overloaded", detail, r#","retry_after":1"#, &id))
        }
        Full::Address => {
            let (status, detail) = (StatusCode::TOO_MANY_REQUESTS, "This address holds too many connections.");
            let members = r#","scope":"ip","retry_after":1"#;
            (status, problem(status, "rate_limited", "Too many connections", detail, members, &id))
        }
    };
    let mut answer = format!("HTTP/1.1 {status}\r\nretry-after: 1\r\nx-request-id: {id}\r\n");
    for (name, value) in PROBLEM_HEADERS {
        answer.extend([name.as_str(), ": ", value, "\r\n"]);
    }
    answer.extend(["content-length: ", &body.len().to_string(), "\r\n\r\n", &body]);
    let exchange = async {
        let _asked = stream.read(&mut [0; 4096]).await?;
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await
    };
    tokio::time::timeout(REFUSE_WITHIN, exchange).await.ok();
}
