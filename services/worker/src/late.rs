//! What a workflow says after n8n's own answer broke off: it posts to the message's `reply_url`, an edge hands that to the
//! worker that runs the message, and here it becomes a part of the reply.
//!
//! Such a piece is recorded before it is told or acknowledged: whoever posted it won't post it again. Everything else
//! is as for text that n8n streams. A reply that waits needs no connection to n8n, so when its worker stops or dies
//! another one goes on waiting, by the record.

use std::{sync::Arc, time::Duration};

use bus::{Delivery, Late, LateAnswer, Requests, Taken};
use protocol::{Millis, What};
use tokio::time::Instant;

use crate::run::{Run, TakenOver};

/// A reply that waits is recorded this often, so that the record is not forgotten before it.
const RECORD_EVERY: Duration = Duration::from_secs(60);
/// While that does not work.
const RECORD_AGAIN: Duration = Duration::from_secs(1);
/// How long a piece is tried to be recorded while the bus is away; then the message is left to the queue.
const RECORD_WITHIN: Duration = Duration::from_secs(60);
/// How long a stopping worker tries to record that another one may go on.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(5);

impl Run<'_> {
    /// Whether its workflow can send text late, the shop wants to wait for it, and not too many do.
    pub(crate) fn takes_late(&mut self) -> bool {
        if self.message.reply_url.is_none() || self.worker.late_reply_ttl.is_zero() {
            return false;
        }
        self.seat = Arc::clone(&self.worker.waiting).try_acquire_owned().ok();
        if self.seat.is_none() {
            self.worker.metrics.waiting_refused.inc();
        }
        self.seat.is_some()
    }

    /// Nothing more comes from n8n itself. Its place goes to another message.
    pub(crate) fn wait(&mut self, until: Millis) {
        self.room = None;
        self.reply.waiting_until = Some(until);
        // Another worker may have written it, by another clock.
        self.waiting = Some(Instant::now() + Millis::now().age_at(until).min(bus::LONGEST_RUN));
        self.send(What::Waiting { until });
        self.save_by(Instant::now());
    }

    /// How far a reply that waits is recorded as one.
    fn recorded(&self) -> Option<u32> {
        let held = self.record.find(&self.reply.message_id)?;
        held.waiting_until.map(|_| held.next)
    }

    /// Sees to it that a write that failed is made again, and that a reply that waits stays recorded.
    pub(crate) fn keep_recorded(&mut self, written: bool) {
        if written {
            self.recorded_waiting = self.waiting.and(self.recorded());
        }
        if self.waiting.is_some() || !written {
            self.save_by(Instant::now() + if written { RECORD_EVERY } else { RECORD_AGAIN });
        }
    }

    /// Makes a piece a part of the reply. Whoever sent it is answered here, or, when the reply ends with it, once the
    /// end is recorded (`last_late`).
    pub(crate) async fn take_late(
        &mut self,
        late: Late,
        to: LateAnswer,
        delivery: &Delivery,
        requests: &mut Requests,
    ) -> Result<(), TakenOver> {
        if late.message_id != self.reply.message_id {
            to.send(Taken::Over);
            return Ok(());
        }
        if self.reply.late.contains(&late.key) {
            to.send(Taken::Before);
            return Ok(());
        }
        if self.reply.text_bytes().saturating_add(late.content.len()) > self.worker.reply_max_bytes {
            to.send(Taken::TooLarge);
            return Ok(());
        }
        self.reply.take_late(&late.key);
        let first = self.reply.next;
        if !late.content.is_empty() {
            self.reply.begun_at.get_or_insert_with(Millis::now);
            self.note_text();
        }
        self.reply.push_text(&late.content);
        self.worker.metrics.late_pieces.inc();
        if late.last {
            self.last_late = Some((to, first));
            return Ok(());
        }
        let next = self.reply.next;
        // As strict as with the end. Meanwhile repeats find nobody, and are sent again.
        if !self.record(delivery, requests, RECORD_WITHIN, |held| held.next >= next).await? {
            return Err(TakenOver);
        }
        to.send(Taken::Now);
        self.keep_recorded(true);
        self.tell_from(first);
        Ok(())
    }

    /// Tells the chunks from this one on, and that n8n has begun. What was told before does no harm.
    pub(crate) fn tell_from(&self, first: u32) {
        if let (Some(at), true) = (self.reply.begun_at, first < self.reply.next) {
            self.send(What::Begin { at });
        }
        let skip = first.saturating_sub(self.reply.offset) as usize;
        for (index, content) in (first..).zip(self.reply.chunks.iter().skip(skip)) {
            self.send(What::Chunk { index, content: content.as_str().into() });
        }
    }

    /// Sees to it that another worker can go on; `false` when the record does not say where.
    pub(crate) async fn hand_over(&mut self, delivery: &Delivery, requests: &mut Requests) -> Result<bool, TakenOver> {
        let next = self.reply.next;
        let holds = |held: &protocol::Reply| held.waiting_until.is_some() && held.next >= next;
        Ok(self.record(delivery, requests, HAND_OVER_WITHIN, holds).await? || self.recorded_waiting == Some(next))
    }
}
