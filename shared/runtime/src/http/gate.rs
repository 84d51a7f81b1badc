//! Stands between a socket and hyper, and lets through only what has one reading.
//!
//! It follows each message by its head and framing and hands hyper no more than one head, or one piece of body, at a
//! time. A head that is refused is replaced by a plain request of our own, so that hyper answers in its turn, after all
//! that was asked before it, and closes; [`Verdicts`] tells the service which request that is. It also keeps the time:
//! for a head to arrive, and for what we send to be taken.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf as _, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

use super::{
    counts::{Counts, Cut},
    head::{Bounds, Chunks, Framing, Refusal, Scan, check},
};

/// What hyper reads in the place of a head that was refused.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
/// Read at once.
const PIECE: usize = 4096;
/// What is read and thrown away after the last answer, and for how long, so that the client finds our answer and not a reset.
const DISCARD_BYTES: usize = 256 * 1024;
const DISCARD_TIME: Duration = Duration::from_millis(500);

/// What one connection is given.
#[derive(Clone, Debug)]
pub(crate) struct Patience {
    pub(crate) bounds: Bounds,
    /// From the first byte of a head (of the first one: from the connection's beginning) to its end.
    pub(crate) head: Duration,
    /// What is sent must go on being taken within this time.
    pub(crate) send: Duration,
}

/// Which request of a connection was refused, as the gate saw it.
#[derive(Debug, Default)]
pub(crate) struct Verdicts {
    refused: OnceLock<(u64, Refusal)>,
    answered: AtomicU64,
}

impl Verdicts {
    /// To be asked once for each request, in their order: why this one is refused.
    pub(crate) fn next(&self) -> Option<Refusal> {
        let number = self.answered.fetch_add(1, Ordering::Relaxed) + 1;
        self.refused.get().filter(|(refused, _)| *refused == number).map(|(_, why)| *why)
    }
}

enum State {
    Head(Scan),
    Body(u64),
    Chunked(Chunks),
    /// Nothing more is read.
    Closed {
        discarded: usize,
    },
}

/// See the module.
pub(crate) struct Gate<S> {
    stream: S,
    patience: Patience,
    counts: Counts,
    verdicts: Arc<Verdicts>,
    state: State,
    /// Heads so far.
    heads: u64,
    waiting: BytesMut,
    /// So many bytes of `waiting` are hyper's.
    good: usize,
    head_alarm: Option<Pin<Box<Sleep>>>,
    send_alarm: Option<Pin<Box<Sleep>>>,
    linger: Option<Pin<Box<Sleep>>>,
}

fn alarm(after: Duration) -> Pin<Box<Sleep>> {
    // No end of time is reached by adding to an instant, whatever is set.
    let far = Duration::from_secs(86_400 * 365);
    Box::pin(tokio::time::sleep_until(Instant::now() + after.min(far)))
}

impl<S: AsyncRead + AsyncWrite + Unpin> Gate<S> {
    pub(crate) fn new(stream: S, patience: Patience, counts: Counts) -> (Self, Arc<Verdicts>) {
        let verdicts = Arc::new(Verdicts::default());
        let gate = Self {
            stream,
            head_alarm: Some(alarm(patience.head)),
            patience,
            counts,
            verdicts: Arc::clone(&verdicts),
            state: State::Head(Scan::default()),
            heads: 0,
            waiting: BytesMut::new(),
            good: 0,
            send_alarm: None,
            linger: None,
        };
        (gate, verdicts)
    }

    /// Looks at what is waiting: afterwards some of it is good, or more is needed.
    fn judge(&mut self) -> io::Result<()> {
        match &mut self.state {
            State::Head(scan) => {
                let bounds = &self.patience.bounds;
                let found = scan.look(&self.waiting, bounds);
                let found =
                    found.and_then(|end| end.map(|end| Ok((end, check(&self.waiting[..end], bounds)?))).transpose());
                match found {
                    Ok(None) => {}
                    Ok(Some((end, framing))) => {
                        self.heads += 1;
                        self.good = end;
                        self.head_alarm = None;
                        self.state = match framing {
                            Framing::Empty => State::Head(Scan::default()),
                            Framing::Length(length) => State::Body(length),
                            Framing::Chunked => State::Chunked(Chunks::default()),
                        };
                    }
                    Err(refusal) => self.refuse(refusal),
                }
            }
            State::Body(left) => {
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(self.waiting.len());
                self.good = here;
                *left -= here as u64;
                if *left == 0 {
                    self.state = State::Head(Scan::default());
                }
            }
            State::Chunked(chunks) => match chunks.take(&self.waiting) {
                Ok(taken) => {
                    self.good = taken;
                    if *chunks == Chunks::Over {
                        self.state = State::Head(Scan::default());
                    }
                }
                // The request is with its handler, which learns that its body was cut off.
                Err(()) => {
                    self.counts.refused(http::StatusCode::BAD_REQUEST);
                    self.close();
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "a body of malformed chunks"));
                }
            },
            State::Closed { .. } => {}
        }
        Ok(())
    }

    fn refuse(&mut self, refusal: Refusal) {
        // Before the bytes: whoever reads them must find it.
        self.heads += 1;
        self.verdicts.refused.set((self.heads, refusal)).ok();
        self.close();
        self.waiting.extend_from_slice(STAND_IN);
        self.good = STAND_IN.len();
    }

    fn close(&mut self) {
        self.waiting.clear();
        self.good = 0;
        self.head_alarm = None;
        self.state = State::Closed { discarded: 0 };
    }

    /// Reads a piece; 0 is the client's end.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut piece = [0; PIECE];
        let mut piece = ReadBuf::new(&mut piece);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut piece))?;
        let read = piece.filled();
        match &mut self.state {
            State::Closed { discarded } => *discarded += read.len(),
            _ => self.waiting.extend_from_slice(read),
        }
        Poll::Ready(Ok(read.len()))
    }

    /// What the socket says, unless it has said nothing for too long.
    fn bounded<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.send_alarm = None;
            return polled;
        }
        let patience = self.patience.send;
        ready!(self.send_alarm.get_or_insert_with(|| alarm(patience)).as_mut().poll(cx));
        self.counts.cut(Cut::Send);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Gate<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let gate = &mut *self;
        loop {
            if gate.good > 0 {
                let here = gate.good.min(out.remaining());
                out.put_slice(&gate.waiting[..here]);
                gate.waiting.advance(here);
                gate.good -= here;
                if gate.waiting.is_empty() {
                    // A connection that is silent for minutes holds no buffer.
                    gate.waiting = BytesMut::new();
                }
                return Poll::Ready(Ok(()));
            }
            if !gate.waiting.is_empty() {
                gate.judge()?;
                if gate.good > 0 {
                    continue;
                }
            }
            match gate.poll_more(cx)? {
                Poll::Ready(0) => return Poll::Ready(Ok(())),
                Poll::Ready(_) => {
                    if let State::Closed { discarded: DISCARD_BYTES.. } = gate.state {
                        return Poll::Ready(Ok(()));
                    }
                }
                Poll::Pending => {
                    if !gate.waiting.is_empty() && matches!(gate.state, State::Head(_)) {
                        let patience = gate.patience.head;
                        gate.head_alarm.get_or_insert_with(|| alarm(patience));
                    }
                    let Some(head_alarm) = &mut gate.head_alarm else { return Poll::Pending };
                    ready!(head_alarm.as_mut().poll(cx));
                    if gate.waiting.is_empty() {
                        gate.counts.cut(Cut::Idle);
                        gate.close();
                        return Poll::Ready(Ok(()));
                    }
                    gate.refuse(Refusal::Slow);
                }
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Gate<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.bounded(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.bounded(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        self.bounded(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            let polled = Pin::new(&mut self.stream).poll_shutdown(cx);
            ready!(self.bounded(cx, polled))?;
            match self.state {
                State::Closed { .. } => {}
                State::Head(_) => return Poll::Ready(Ok(())),
                // Answered before its body was read.
                State::Body(_) | State::Chunked(_) => self.close(),
            }
            self.linger = Some(alarm(DISCARD_TIME));
        }
        loop {
            if let State::Closed { discarded: DISCARD_BYTES.. } = self.state {
                return Poll::Ready(Ok(()));
            }
            match self.poll_more(cx) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    return match &mut self.linger {
                        Some(linger) => linger.as_mut().poll(cx).map(Ok),
                        None => Poll::Ready(Ok(())),
                    };
                }
            }
        }
    }
}
