//! A reply on its way to one visitor, as a trace and the log tell of it: from the call for it until its last byte was
//! taken by the connection.

use std::time::Instant;

use protocol::MessageId;
use runtime::trace::{self, Lasting};
use tracing::Span;

use crate::hub::Part;

/// See the module.
pub(crate) struct Turn {
    // In this order: the reply is a part of the call.
    reply: Lasting,
    call: Lasting,
    message_id: MessageId,
    began: Instant,
    /// From then to the first chunk.
    first_chunk_ms: Option<i64>,
    chunks: u64,
    bytes: u64,
    outcome: &'static str,
    /// A stream carries it.
    open: bool,
    over: bool,
}

impl Turn {
    /// Within the call for it. `resumed`: the client has some of the reply.
    pub(crate) fn begin(site: &str, message_id: &MessageId, resumed: bool) -> Self {
        let call = Lasting::new(Span::current());
        let reply = Lasting::new(trace::reply(site, message_id.as_str(), resumed));
        if resumed {
            trace::event(reply.span(), "resume");
        }
        Self {
            reply,
            call,
            message_id: message_id.clone(),
            began: Instant::now(),
            first_chunk_ms: None,
            chunks: 0,
            bytes: 0,
            outcome: LEFT,
            open: false,
            over: false,
        }
    }

    pub(crate) fn span(&self) -> &Span {
        self.reply.span()
    }

    /// The call is answered with a problem.
    pub(crate) fn is_refused(&mut self) {
        self.outcome = "refused";
    }

    /// What the client asks for is not here any more; its stream carries what comes later.
    pub(crate) fn is_gap(&mut self) {
        self.outcome = "gap";
    }

    /// The client reads it elsewhere.
    pub(crate) fn is_elsewhere(&mut self) {
        self.outcome = "elsewhere";
    }

    /// A stream carries it.
    pub(crate) fn is_open(&mut self) {
        self.open = true;
    }

    /// This much of it goes out.
    pub(crate) fn told(&mut self, part: &Part) {
        if self.over {
            return;
        }
        if part.chunks > 0 && self.first_chunk_ms.is_none() {
            let ms = self.ms();
            self.first_chunk_ms = Some(ms);
            trace::event_with(self.span(), "first_chunk", [("frontdesk.ms", ms)]);
        }
        self.chunks += part.chunks;
        self.bytes += part.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
        if let Some(ended) = part.ended {
            self.over = true;
            self.outcome = ended;
            trace::event(self.span(), if ended == "cancelled" { "cancel" } else { "end" });
        }
    }

    /// Whether its end went out.
    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    fn ms(&self) -> i64 {
        i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}

/// The call or its stream ended before the reply: its client left, or is to come back at another edge.
const LEFT: &str = "left";

impl Drop for Turn {
    fn drop(&mut self) {
        let span = self.span();
        trace::note(span, "frontdesk.outcome", self.outcome);
        if !self.open {
            return;
        }
        let count = |count| i64::try_from(count).unwrap_or(i64::MAX);
        trace::note(span, "frontdesk.chunks", count(self.chunks));
        trace::note(span, "frontdesk.bytes", count(self.bytes));
        if !matches!(self.outcome, "stop" | "cancelled" | LEFT) {
            trace::failed(span, self.outcome);
        }
        let (message_id, ms) = (&self.message_id, self.ms());
        // Of what is not kept there is only the call.
        let span = if span.is_disabled() { self.call.span() } else { span };
        span.in_scope(|| {
            tracing::info!(
                message.id = %message_id, outcome = self.outcome, chunks = self.chunks, bytes = self.bytes,
                first_chunk_ms = self.first_chunk_ms, ms, "a reply's stream is over"
            );
        });
    }
}
