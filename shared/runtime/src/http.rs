//! The accept loop: one task a connection, each with hard limits, all ended by one drain.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, extract::ConnectInfo};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
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

/// What was sent must be acknowledged within this time.
const UNREAD: Duration = Duration::from_secs(60);
/// Connections over the limit that are told so at once; more are only closed.
const REFUSALS: usize = 256;
/// How long such a connection may take to ask.
const REFUSE_WITHIN: Duration = Duration::from_millis(250);

/// Serves `app` until `stop`, then drains: no new connections, idle ones closed, busy ones until `limits.drain`.
/// Returns how many connections had to be cut.
pub async fn serve(listener: TcpListener, app: Router, limits: Limits, stop: CancellationToken) -> usize {
    let connections = TaskTracker::new();
    let permits = Arc::new(Semaphore::new(limits.connections));
    let refusals = Arc::new(Semaphore::new(REFUSALS));
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
            if refusals.available_permits() > 0 {
                connections.spawn(refuse(stream, Arc::clone(&refusals)));
            }
            continue;
        };
        // Chunks are small and must not wait for more.
        stream.set_nodelay(true).ok();
        // A peer that vanished, or that stopped reading, would hold its place for a quarter of an hour.
        socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(UNREAD)).ok();
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

/// Says 503 to whatever is asked. What was asked is read, because a close with unread input would take the answer back.
async fn refuse(mut stream: TcpStream, refusals: Arc<Semaphore>) {
    let Ok(_place) = refusals.try_acquire_owned() else { return };
    let id = format!("{:032x}", rand::random::<u128>());
    let body = format!(
        r#"{{"type":"about:blank","title":"Overloaded","status":503,"code":"overloaded","detail":"This server is at its connection limit.","retry_after":1,"request_id":"{id}"}}"#
    );
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\ncache-control: no-store\r\n\
         retry-after: 1\r\nx-request-id: {id}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let exchange = async {
        let _asked = stream.read(&mut [0; 4096]).await?;
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await
    };
    tokio::time::timeout(REFUSE_WITHIN, exchange).await.ok();
}

#[cfg(test)]
mod tests {
    use axum::routing::get;

    use super::*;

    #[tokio::test]
    async fn one_connection_too_many_is_told_so() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let limits = Limits { connections: 1, ..Limits::default() };
        let tasks = TaskTracker::new();
        tasks.spawn(serve(listener, Router::new().route("/", get(|| async { "hi" })), limits, stop.clone()));
        let ask = async |stream: &mut TcpStream| {
            stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            let mut answer = vec![0; 4096];
            let read = stream.read(&mut answer).await.unwrap();
            String::from_utf8(answer[..read].to_vec()).unwrap()
        };
        let mut first = TcpStream::connect(address).await.unwrap();
        assert!(ask(&mut first).await.starts_with("HTTP/1.1 200"));
        let mut second = TcpStream::connect(address).await.unwrap();
        let refused = ask(&mut second).await;
        assert!(refused.starts_with("HTTP/1.1 503") && refused.contains(r#""code":"overloaded""#), "{refused}");
        stop.cancel();
        tasks.close();
        tasks.wait().await;
    }
}
