//! The accept loop: one task a connection, each with hard limits, all ended by one drain.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, extract::ConnectInfo};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;

/// What one listener takes at most.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at once. One more is answered 503 and closed.
    pub connections: usize,
    /// A client that has not sent its request's headers after this long is cut off.
    pub header_timeout: Duration,
    /// Request line and headers together; more is answered 431. hyper takes no less than 8 KiB.
    pub header_bytes: usize,
    /// Number of request headers; more is answered 431.
    pub headers: usize,
    /// Open connections get this long to finish after the stop; then they are cut.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 20_000,
            header_timeout: Duration::from_secs(10),
            header_bytes: 16 * 1024,
            headers: 64,
            drain: Duration::from_secs(20),
        }
    }
}

/// Serves `app` until `stop`, then drains: no new connections, idle ones closed, busy ones until `limits.drain`.
/// Returns how many connections had to be cut.
pub async fn serve(listener: TcpListener, app: Router, limits: Limits, stop: CancellationToken) -> usize {
    let connections = TaskTracker::new();
    let permits = Arc::new(Semaphore::new(limits.connections));
    let cut = CancellationToken::new();
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, mostly: connections that end will free some.
                    tracing::warn!(%error, "can't accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            () = stop.cancelled() => break,
        };
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
            refuse(&stream);
            continue;
        };
        // Chunks are small and must not wait for more.
        stream.set_nodelay(true).ok();
        let connection = serve_one(stream, peer, app.clone(), &limits, stop.clone());
        let cut = cut.clone();
        connections.spawn(async move {
            tokio::select! { () = connection => {}, () = cut.cancelled() => {} }
            drop(permit);
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

/// Drives one connection to its end.
fn serve_one(
    stream: TcpStream,
    peer: SocketAddr,
    app: Router,
    limits: &Limits,
    stop: CancellationToken,
) -> impl Future<Output = ()> + use<> {
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        app.clone().oneshot(request.map(axum::body::Body::new))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits.header_bytes.max(8 * 1024))
        .max_headers(limits.headers)
        .serve_connection(TokioIo::new(stream), service);
    async move {
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended early");
        }
    }
}

/// Says 503 without reading the request: best effort, and never waits.
fn refuse(stream: &TcpStream) {
    const BODY: &str = r#"{"type":"about:blank","title":"Overloaded","status":503,"code":"overloaded","detail":"This server is at its connection limit."}"#;
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{BODY}",
        BODY.len()
    );
    stream.try_write(answer.as_bytes()).ok();
}
