//! The body of an event stream: what the hub knows, as far as this client has not seen it.
//!
//! It is pulled by the connection: a client that doesn't read costs its place in the hub's view, and what is on the way
//! to its socket. One that takes something, but never catches up, is ended after a whole event and comes back for the
//! rest; one that takes nothing is cut by the listener (`SEND_TIMEOUT`). One future, two timers, no task of its own.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    hub::{Cursor, Hub},
    limits::Slot,
    metrics::Metrics,
    sse,
    state::State,
    turn::Turn,
};

/// Streams are ended within this share of `STREAM_MAX_AGE` around it, so that they don't all come back at once.
const JITTER: f64 = 0.1;
/// Share of the drain time after which a reply that is still streaming is left to another edge.
const LEAVE_AFTER: f64 = 0.8;

/// What a stream carries.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// All of a session, for as long as the client stays.
    Session {
        /// Whether the client's place was found.
        resumed: bool,
    },
    /// One reply, to its end.
    Reply,
}

/// Answers with an event stream. `turn`: the reply that it was opened for, if it was for one.
pub(crate) fn respond(
    state: &State,
    hub: Hub,
    cursor: Cursor,
    kind: Kind,
    slot: Slot,
    mut turn: Option<Turn>,
) -> Response {
    if let Some(turn) = &mut turn {
        turn.is_open();
    }
    let first = match kind {
        Kind::Session { resumed } => {
            let ready = sse::ready(hub.session(), resumed);
            Some([sse::RETRY, &ready].concat().into())
        }
        Kind::Reply => None,
    };
    let max_age = state.config.stream_max_age.mul_f64(1.0 + JITTER * (rand::random::<f64>() * 2.0 - 1.0));
    let stream = Stream {
        changes: hub.changes(),
        hub,
        cursor,
        kind,
        first,
        over: false,
        heartbeat: state.config.sse_heartbeat,
        until: Instant::now() + max_age,
        draining: state.draining.clone(),
        leave: state.config.drain_timeout.mul_f64(LEAVE_AFTER),
        leaving: false,
        max_lag: state.config.stream_max_lag,
        caught_up: Instant::now(),
        open: Open::new(Arc::clone(&state.metrics), slot),
        turn,
    };
    let body = Body::from_stream(futures_util::stream::unfold(stream, Stream::next));
    let headers: [(HeaderName, HeaderValue); 3] = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform")),
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, body).into_response()
}

struct Stream {
    hub: Hub,
    cursor: Cursor,
    changes: watch::Receiver<()>,
    kind: Kind,
    first: Option<Bytes>,
    over: bool,
    heartbeat: Duration,
    until: Instant,
    draining: CancellationToken,
    leave: Duration,
    leaving: bool,
    max_lag: Duration,
    /// When the client last had everything. The connection asks for more as soon as it has room, so whatever time passes
    /// before that is the client's.
    caught_up: Instant,
    open: Open,
    turn: Option<Turn>,
}

impl Stream {
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        // The connection asks for more: what it had is on its way.
        self.turn.take_if(|turn| turn.is_over());
        if let Some(first) = self.first.take() {
            return Some((Ok(first), self));
        }
        let silent_until = Instant::now() + self.heartbeat;
        while !self.over {
            // Marked before reading: what changes meanwhile wakes us again.
            self.changes.mark_unchanged();
            // Before reading: what was shown before the session ended is still read.
            let ended = self.hub.is_ended();
            let part = self.hub.read(&mut self.cursor);
            if part.more && self.caught_up.elapsed() > self.max_lag {
                self.open.metrics.sse_lagged.inc();
                return None;
            }
            self.over = part.over || ended && part.bytes.is_none();
            if let Some(turn) = &mut self.turn {
                turn.told(&part);
            }
            if let Some(bytes) = part.bytes {
                self.open.metrics.sse_events.inc_by(part.events);
                if !part.more {
                    self.caught_up = Instant::now();
                }
                return Some((Ok(bytes), self));
            }
            if self.over {
                break;
            }
            let wake = silent_until.min(self.until);
            tokio::select! {
                changed = self.changes.changed() => changed.ok()?,
                () = tokio::time::sleep_until(wake) => {
                    // The client comes back and misses nothing.
                    if wake == self.until {
                        return None;
                    }
                    return Some((Ok(Bytes::from_static(sse::HEARTBEAT)), self));
                }
                () = self.draining.cancelled(), if !self.leaving => match self.kind {
                    Kind::Session { .. } => return None,
                    Kind::Reply => {
                        self.leaving = true;
                        self.until = self.until.min(Instant::now() + self.leave);
                    }
                },
            }
            self.caught_up = Instant::now();
        }
        None
    }
}

/// Counts an open stream, and holds its place.
struct Open {
    metrics: Arc<Metrics>,
    _slot: Slot,
}

impl Open {
    fn new(metrics: Arc<Metrics>, slot: Slot) -> Self {
        metrics.sse_open.inc();
        Self { metrics, _slot: slot }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.metrics.sse_open.dec();
    }
}
