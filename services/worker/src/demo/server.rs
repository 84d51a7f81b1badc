//! Plays scripts over HTTP.

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{ConnectInfo, DefaultBodyLimit, State, connect_info::Connected},
    http::{HeaderMap, Response, Uri},
    serve::{IncomingStream, Listener},
};
use futures_util::stream;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};

use super::{Seen, Shared, script::Step};

/// n8n's own is 16 MB; nothing of ours is near that.
const BODY_BYTES: usize = 1024 * 1024;

pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let app = Router::new()
        .fallback(play)
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .with_state(shared.clone())
        .into_make_service_with_connect_info::<Line>();
    // A clean end: answers that still run see the same stop and are cut.
    let stopped = shared.stop.clone().cancelled_owned();
    if let Err(error) = axum::serve(Sockets(listener), app).with_graceful_shutdown(stopped).await {
        tracing::error!(%error, "the demo upstream stopped");
    }
}

async fn play(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(line): ConnectInfo<Line>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response<Body>, Infallible> {
    let script = shared.answer(Seen { uri, headers, body });
    let player = Player { line, left: Left { shared: Some(shared.clone()) }, shared };
    for step in script.before {
        // What can't be sent before the headers is never there.
        let _ = player.step(step).await;
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = script.status;
    response.headers_mut().extend(script.headers);
    let steps = script.steps.into_iter();
    *response.body_mut() = Body::from_stream(stream::unfold((player, steps), |(mut player, mut steps)| async move {
        for step in steps.by_ref() {
            match player.step(step).await {
                Some(Ok(bytes)) => return Some((Ok(bytes), (player, steps))),
                Some(Err(error)) => {
                    player.left.stays();
                    return Some((Err(error), (player, steps)));
                }
                None => {}
            }
        }
        player.left.stays();
        None
    }));
    Ok(response)
}

/// Plays one answer.
struct Player {
    line: Line,
    left: Left,
    shared: Arc<Shared>,
}

impl Player {
    /// Bytes to send, or an error that makes hyper cut the connection.
    async fn step(&self, step: Step) -> Option<io::Result<Bytes>> {
        // hyper writes out what it has when the body makes it wait: every step goes out by itself.
        tokio::task::yield_now().await;
        let played = async {
            match step {
                Step::Bytes(bytes) => return Some(Ok(bytes)),
                Step::Pause(time) => tokio::time::sleep(time).await,
                Step::Wait(gate) => gate.opened().await,
                Step::Hang => std::future::pending().await,
                Step::Cut => return Some(Err(io::Error::other("cut by the script"))),
                Step::Reset => {
                    self.line.reset.store(true, Ordering::Release);
                    return Some(Err(io::Error::other("reset by the script")));
                }
            }
            None
        };
        tokio::select! {
            biased;
            () = self.shared.stop.cancelled() => Some(Err(io::Error::other("the stand-in stops"))),
            step = played => step,
        }
    }
}

/// Counts a client that left: the answer was dropped before its end.
struct Left {
    shared: Option<Arc<Shared>>,
}

impl Left {
    /// The answer is over, so whoever goes now doesn't leave in the middle.
    fn stays(&mut self) {
        self.shared = None;
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            shared.counts.send_modify(|counts| counts.left += 1);
        }
    }
}

/// Accepts connections that can be reset.
struct Sockets(TcpListener);

impl Listener for Sockets {
    type Io = Socket;
    type Addr = Line;

    async fn accept(&mut self) -> (Socket, Line) {
        let (stream, _) = <TcpListener as Listener>::accept(&mut self.0).await;
        // A step that waits for the client's acknowledgement of the last one is not at once.
        let _ = stream.set_nodelay(true);
        let line = Line::default();
        (Socket { stream, line: line.clone() }, line)
    }

    fn local_addr(&self) -> io::Result<Line> {
        Ok(Line::default())
    }
}

/// What a handler can do to its connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    reset: Arc<AtomicBool>,
}

impl Connected<IncomingStream<'_, Sockets>> for Line {
    fn connect_info(stream: IncomingStream<'_, Sockets>) -> Self {
        stream.remote_addr().clone()
    }
}

struct Socket {
    stream: TcpStream,
    line: Line,
}

impl Socket {
    fn check(&self) -> io::Result<()> {
        if self.line.reset.load(Ordering::Acquire) { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.check().is_err() {
            // Closing now sends a reset instead of an orderly end.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
