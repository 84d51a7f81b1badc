//! What an edge knows of a session's replies: pure state, no I/O.
//!
//! Events and records are merged in, in any order and with repeats; listeners read it with a [`Cursor`] each, at their
//! own pace. Chunks are kept as the bytes of their events, encoded once for all listeners.
//!
//! Bounds: [`MAX_REPLIES`] replies, and [`MAX_FINISHED_BYTES`] of finished ones (the running one is bounded by the
//! worker's `REPLY_MAX_BYTES`). What a slow listener had not read when it went shows to it as `gap`. A listener has a
//! place in it and nothing of its own, but [`BATCH`] on the way to its connection.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use protocol::{Event, MessageId, Millis, Reply, State, Terminal, What};
use tokio::time::Instant;

use crate::sse::{self, LastEvent, Seen};

/// Replies that are kept, the running one included.
const MAX_REPLIES: usize = protocol::record::MAX_REPLIES;
/// Bytes of finished replies that are kept.
const MAX_FINISHED_BYTES: usize = 256 * 1024;
/// Ids of dropped replies that are remembered, so that a late repeat of their end is not taken for news.
const MAX_FORGOTTEN: usize = 64;
/// A listener that is behind gets this much in one write. A larger event goes alone, because then it is shared and not
/// copied: else a thousand slow listeners would hold a thousand copies of it.
const BATCH: usize = 64 * 1024;

/// See the module.
pub(super) struct View {
    replies: VecDeque<Known>,
    /// The number of `replies[0]`. Starts high, so that older replies can be read in before newer ones.
    base: u64,
    forgotten: VecDeque<MessageId>,
    /// Whether the record's replies are all here.
    whole: bool,
    /// Whether a record was read in before.
    began: bool,
}

/// One reply as far as it is known.
pub(super) struct Known {
    pub(super) message_id: MessageId,
    /// The digest of the message's text; not known of one that was only heard of.
    pub(super) digest: Option<String>,
    attempt: u32,
    queued: Option<Bytes>,
    begin: Option<Bytes>,
    waiting: Option<Bytes>,
    /// Index of the first kept chunk.
    offset: u32,
    chunks: Vec<Bytes>,
    bytes: usize,
    terminal: Option<Bytes>,
    /// How it ended, in a word.
    outcome: &'static str,
    /// The trace of its message, where this edge knows.
    pub(super) traceparent: Option<String>,
    pub(super) timing: Timing,
}

/// When what happened, for whoever watches over the reply.
#[derive(Clone, Copy)]
pub(super) struct Timing {
    /// When it was accepted, if this edge knows.
    pub(super) accepted: Option<(Instant, Millis)>,
    /// Whether a worker has it.
    pub(super) claimed: bool,
    /// When something was last heard of it.
    pub(super) heard: Instant,
    /// When it was last looked up.
    pub(super) looked: Option<Instant>,
    /// Since when no worker answers for it, although the record knows it.
    pub(super) unanswered: Option<Instant>,
}

/// What merging an event showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Merged {
    /// There is something new to show.
    New,
    /// Nothing to show.
    Nothing,
    /// Something is missing: look it up.
    Hole,
}

/// What a cursor is at.
enum At<'a> {
    Reply(&'a Known),
    Nothing,
    /// It was dropped; the listener was told and the cursor moved on.
    Gone,
}

/// How far one listener is.
#[derive(Clone, Debug)]
pub(crate) struct Cursor {
    /// Only this message's reply, to its end; else everything.
    only: Option<MessageId>,
    number: u64,
    /// Of the reply with that number: 0 nothing, 1 its begin, 1+k its first k chunks.
    shown: u32,
    /// The message whose reply is being shown, once something of it was.
    current: Option<MessageId>,
    queued_shown: bool,
    waiting_shown: bool,
    /// Sent before anything else.
    gap: Option<Bytes>,
}

impl Known {
    fn new(message_id: MessageId) -> Self {
        Self {
            message_id,
            digest: None,
            attempt: 0,
            queued: None,
            begin: None,
            waiting: None,
            offset: 0,
            chunks: Vec::new(),
            bytes: 0,
            terminal: None,
            outcome: "",
            traceparent: None,
            timing: Timing { accepted: None, claimed: false, heard: Instant::now(), looked: None, unanswered: None },
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.terminal.is_some()
    }

    /// The index that the next chunk must have.
    pub(super) fn next(&self) -> u32 {
        self.offset + u32::try_from(self.chunks.len()).unwrap_or(u32::MAX)
    }

    fn push(&mut self, content: &str) {
        let frame = sse::chunk(&self.message_id, self.next(), content);
        self.bytes += frame.len();
        self.chunks.push(frame);
    }

    /// An end counts once all chunks below it are here, or when a later attempt says so.
    fn finish(&mut self, terminal: &Terminal) -> Merged {
        if self.terminal.is_some() {
            return Merged::Nothing;
        }
        let chunks = terminal.chunks();
        if chunks > self.next() || (chunks > 0 && self.begin.is_none()) {
            return Merged::Hole;
        }
        self.end(terminal);
        Merged::New
    }

    fn end(&mut self, terminal: &Terminal) {
        self.terminal = Some(sse::terminal(&self.message_id, terminal));
        self.outcome = match terminal {
            Terminal::End { finish_reason, .. } => finish_reason.as_str(),
            Terminal::Failed { code, .. } => code.as_str(),
        };
    }

    fn merge(&mut self, event: &Event<'_>) -> Merged {
        if event.attempt < self.attempt || self.is_over() {
            return Merged::Nothing;
        }
        self.attempt = event.attempt;
        self.timing.heard = Instant::now();
        self.timing.claimed = true;
        match &event.what {
            What::Begin { at } if self.begin.is_none() => {
                self.begin = Some(sse::begin(&self.message_id, *at, None));
                Merged::New
            }
            What::Begin { .. } => Merged::Nothing,
            What::Chunk { index, .. } if *index < self.next() => Merged::Nothing,
            What::Chunk { index, content } if *index == self.next() && self.begin.is_some() => {
                self.push(content);
                Merged::New
            }
            What::Chunk { .. } => Merged::Hole,
            What::Heartbeat { next, begun } if *next > self.next() || (*begun && self.begin.is_none()) => Merged::Hole,
            What::Heartbeat { .. } => Merged::Nothing,
            What::Waiting { until } => self.wait(*until),
            What::Done(terminal) => self.finish(terminal),
        }
    }

    fn wait(&mut self, until: Millis) -> Merged {
        if self.waiting.is_some() {
            return Merged::Nothing;
        }
        self.waiting = Some(sse::waiting(&self.message_id, until));
        Merged::New
    }

    /// Merges what a worker or the record holds. What lies between what is here and what is kept there is lost for
    /// good; listeners that have not passed it are told.
    fn merge_reply(&mut self, reply: &Reply) -> Merged {
        if self.is_over() || !reply.is_sound() {
            return Merged::Nothing;
        }
        self.digest = Some(reply.digest.clone());
        self.attempt = self.attempt.max(reply.attempt);
        if self.traceparent.is_none() {
            self.traceparent.clone_from(&reply.traceparent);
        }
        self.timing.claimed = true;
        let mut merged = Merged::Nothing;
        if let (None, Some(at)) = (&self.begin, reply.begun_at) {
            self.begin = Some(sse::begin(&self.message_id, at, reply.push_of.as_ref()));
            merged = Merged::New;
        }
        if reply.offset > self.next() {
            self.chunks.clear();
            self.bytes = 0;
            self.offset = reply.offset;
        }
        let here = (self.next() - reply.offset) as usize;
        for content in reply.chunks.iter().skip(here) {
            self.push(content);
            merged = Merged::New;
        }
        let last = match (&reply.terminal, reply.waiting_until) {
            (Some(terminal), _) => self.finish(terminal),
            (None, Some(until)) => self.wait(until),
            (None, None) => Merged::Nothing,
        };
        if last == Merged::Nothing { merged } else { last }
    }
}

impl View {
    pub(super) fn new() -> Self {
        Self { replies: VecDeque::new(), base: 1 << 32, forgotten: VecDeque::new(), whole: false, began: false }
    }

    /// Whether the record must be read in before an old reply is looked for.
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    pub(super) fn find(&self, message_id: &MessageId) -> Option<&Known> {
        self.replies.iter().rev().find(|known| known.message_id == *message_id)
    }

    pub(super) fn find_mut(&mut self, message_id: &MessageId) -> Option<&mut Known> {
        self.replies.iter_mut().rev().find(|known| known.message_id == *message_id)
    }

    /// Replies that are not over.
    pub(super) fn open(&self) -> impl Iterator<Item = &Known> {
        self.replies.iter().filter(|known| !known.is_over())
    }

    /// The reply, made if nothing was known of it.
    pub(super) fn entry(&mut self, message_id: &MessageId) -> &mut Known {
        let at = match self.replies.iter().position(|known| known.message_id == *message_id) {
            Some(at) => at,
            None => {
                self.replies.push_back(Known::new(message_id.clone()));
                self.shrink();
                self.replies.len() - 1
            }
        };
        &mut self.replies[at]
    }

    /// Merges a live event.
    pub(super) fn merge(&mut self, event: &Event<'_>) -> Merged {
        if self.find(&event.message_id).is_none() && self.forgotten.contains(&event.message_id) {
            return Merged::Nothing;
        }
        let merged = self.entry(&event.message_id).merge(event);
        self.shrink();
        merged
    }

    /// Merges what a worker or the record holds of one reply.
    pub(super) fn merge_reply(&mut self, reply: &Reply) -> Merged {
        let merged = self.entry(&reply.message_id).merge_reply(reply);
        self.shrink();
        merged
    }

    /// Reads in the replies of a record. Those that were forgotten, and all of the first record, come before what is
    /// known, where nobody listens; what was never heard of since then was missed, and comes after it.
    pub(super) fn load(&mut self, replies: &[Reply]) {
        let mut missed = Vec::new();
        for reply in replies.iter().rev() {
            if reply.state == State::Running {
                // Its text is looked up: the worker has all of it, where the record may have dropped the beginning.
                let known = self.entry(&reply.message_id);
                known.digest = Some(reply.digest.clone());
                known.traceparent.clone_from(&reply.traceparent);
            } else if self.find(&reply.message_id).is_some() {
                self.merge_reply(reply);
            } else if self.began && !self.forgotten.contains(&reply.message_id) {
                missed.push(reply);
            } else {
                let mut known = Known::new(reply.message_id.clone());
                known.merge_reply(reply);
                self.forgotten.retain(|id| *id != reply.message_id);
                self.replies.push_front(known);
                self.base -= 1;
            }
        }
        for reply in missed.into_iter().rev() {
            self.merge_reply(reply);
        }
        self.began = true;
        self.shrink();
        self.whole = true;
    }

    /// Says that a message waits for a worker.
    pub(super) fn say_queued(&mut self, message_id: &MessageId) -> bool {
        match self.find_mut(message_id) {
            Some(known) if known.queued.is_none() && known.begin.is_none() && !known.is_over() => {
                known.queued = Some(sse::queued(message_id));
                true
            }
            _ => false,
        }
    }

    /// Ends a reply on the spot, whatever was below the end.
    pub(super) fn end_now(&mut self, message_id: &MessageId, terminal: &Terminal) {
        let known = self.entry(message_id);
        if known.terminal.is_none() {
            known.end(terminal);
        }
    }

    /// Drops all that is over: the record holds it for whoever comes back.
    pub(super) fn forget_finished(&mut self) {
        while self.replies.front().is_some_and(Known::is_over) {
            self.drop_oldest();
            self.whole = false;
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(dropped) = self.replies.pop_front() {
            self.base += 1;
            self.forgotten.push_back(dropped.message_id);
            if self.forgotten.len() > MAX_FORGOTTEN {
                self.forgotten.pop_front();
            }
        }
    }

    fn shrink(&mut self) {
        let finished = |view: &Self| view.replies.iter().filter(|k| k.is_over()).map(|k| k.bytes).sum::<usize>();
        while self.replies.len() > MAX_REPLIES || finished(self) > MAX_FINISHED_BYTES {
            // The newest stays: somebody has just asked for it. So does what is open, and what waits behind it to be shown;
            // the record bounds how much that is.
            if self.replies.len() <= 1 || !self.replies[0].is_over() {
                return;
            }
            self.drop_oldest();
            self.whole = false;
        }
    }

    fn end(&self) -> u64 {
        self.base + self.replies.len() as u64
    }

    fn number_of(&self, message_id: &MessageId) -> Option<u64> {
        let at = self.replies.iter().rposition(|known| known.message_id == *message_id)?;
        Some(self.base + at as u64)
    }

    /// Follows one reply to its end, from its beginning or from where the client is.
    pub(super) fn follow_one(&self, message_id: &MessageId, last: Option<&LastEvent>) -> Cursor {
        let mut cursor = self.cursor(self.number_of(message_id).unwrap_or(self.end()));
        cursor.only = Some(message_id.clone());
        if let Some(last) = last.filter(|last| last.message_id == *message_id) {
            cursor.skip_to(last);
            // Even of a reply that the client saw the end of: the stream must end with it.
            if last.seen == Seen::Over {
                cursor.shown = u32::MAX;
            }
        }
        cursor
    }

    /// Follows the session: from where the client is, or from this reply's beginning, or from the running one's.
    /// The second value tells whether the place was found.
    pub(super) fn follow_all(
        &self,
        last: Option<Result<&LastEvent, &str>>,
        from: Option<&MessageId>,
    ) -> (Cursor, bool) {
        match last {
            Some(Ok(last)) => {
                if let Some(number) = self.number_of(&last.message_id) {
                    let mut cursor = self.cursor(number);
                    cursor.skip_to(last);
                    if last.seen == Seen::Over {
                        cursor = self.cursor(number + 1);
                    }
                    return (cursor, true);
                }
                let seen = match last.seen {
                    Seen::Begin => "b".to_owned(),
                    Seen::Over => "z".to_owned(),
                    Seen::Chunk(index) => index.to_string(),
                };
                (self.live_after_gap(&format!("{}:{seen}", last.message_id)), false)
            }
            Some(Err(unreadable)) => (self.live_after_gap(unreadable), false),
            None => match from {
                Some(message_id) => match self.number_of(message_id) {
                    Some(number) => (self.cursor(number), true),
                    None => (self.live_after_gap(message_id.as_str()), false),
                },
                None => (self.cursor(self.live()), false),
            },
        }
    }

    fn live_after_gap(&self, after: &str) -> Cursor {
        Cursor { gap: Some(sse::gap(after)), ..self.cursor(self.live()) }
    }

    /// The running reply, from its beginning, or what comes next.
    fn live(&self) -> u64 {
        let running = self.replies.iter().position(|known| !known.is_over());
        running.map_or(self.end(), |at| self.base + at as u64)
    }

    fn cursor(&self, number: u64) -> Cursor {
        Cursor { only: None, number, shown: 0, current: None, queued_shown: false, waiting_shown: false, gap: None }
    }

    /// What the listener has not seen yet, in one piece.
    pub(super) fn read(&self, cursor: &mut Cursor) -> Part {
        let mut out = Batch::default();
        out.extend(cursor.gap.take());
        let over = loop {
            if out.full {
                break false;
            }
            let known = match self.reply_at(cursor, &mut out) {
                At::Reply(known) => known,
                At::Nothing => break false,
                // The one reply that was wanted is gone, and the listener was told.
                At::Gone if cursor.only.is_some() => break true,
                At::Gone => continue,
            };
            if cursor.shown == 0 {
                if !cursor.queued_shown && known.queued.is_some() && known.begin.is_none() {
                    out.extend(known.queued.clone());
                    cursor.queued_shown = true;
                }
                if let Some(begin) = &known.begin {
                    out.extend(Some(begin.clone()));
                    cursor.shown = 1;
                    cursor.current = Some(known.message_id.clone());
                }
            }
            if cursor.shown > 0 {
                cursor.read_chunks(known, &mut out);
            }
            let all_shown = cursor.shown == 0 || cursor.shown > known.next();
            if all_shown && known.terminal.is_none() && !cursor.waiting_shown && known.waiting.is_some() {
                out.extend(known.waiting.clone());
                cursor.waiting_shown = true;
            }
            match &known.terminal {
                Some(terminal) if all_shown => {
                    out.extend(Some(terminal.clone()));
                    out.ended.get_or_insert(known.outcome);
                    let one = cursor.only.is_some();
                    cursor.move_on();
                    if one {
                        break true;
                    }
                }
                // Left for the next batch.
                Some(_) => {}
                None => break false,
            }
        };
        let (events, chunks, ended) = (out.events, out.chunks, out.ended);
        Part { more: out.full && !over, events, chunks, ended, over, bytes: out.done() }
    }

    /// The reply that the cursor is at. One that was dropped meanwhile is told as a gap.
    fn reply_at<'a>(&'a self, cursor: &mut Cursor, out: &mut Batch) -> At<'a> {
        let known = cursor.number.checked_sub(self.base).and_then(|at| self.replies.get(usize::try_from(at).ok()?));
        let is_it =
            |known: &Known| cursor.current.as_ref().or(cursor.only.as_ref()).is_none_or(|id| *id == known.message_id);
        match known {
            Some(known) if is_it(known) => At::Reply(known),
            None if cursor.number >= self.end() => At::Nothing,
            _ => {
                // Older replies may have been read in before it, or it is gone.
                let wanted = cursor.current.as_ref().or(cursor.only.as_ref());
                let here = wanted.and_then(|id| Some((self.number_of(id)?, self.find(id)?)));
                if let Some((number, known)) = here {
                    cursor.number = number;
                    return At::Reply(known);
                }
                out.extend(Some(sse::gap(&cursor.last_id())));
                let number = if cursor.only.is_some() { self.end() } else { self.live() };
                *cursor = Cursor { only: cursor.only.take(), ..self.cursor(number) };
                At::Gone
            }
        }
    }
}

impl Cursor {
    fn skip_to(&mut self, last: &LastEvent) {
        self.current = Some(last.message_id.clone());
        self.shown = match last.seen {
            Seen::Begin => 1,
            Seen::Chunk(index) => index.saturating_add(2),
            Seen::Over => 0,
        };
    }

    fn move_on(&mut self) {
        self.number += 1;
        (self.shown, self.current) = (0, None);
        (self.queued_shown, self.waiting_shown) = (false, false);
    }

    fn read_chunks(&mut self, known: &Known, out: &mut Batch) {
        let index = self.shown - 1;
        if index < known.offset {
            out.extend(Some(sse::gap(&self.last_id())));
            self.shown = known.offset + 1;
        }
        let from = (self.shown - 1).saturating_sub(known.offset) as usize;
        for chunk in known.chunks.get(from..).unwrap_or_default() {
            if !out.has_room(chunk.len()) {
                return;
            }
            out.extend(Some(chunk.clone()));
            out.chunks += 1;
            self.shown += 1;
        }
    }

    /// The id of the last event that was shown.
    fn last_id(&self) -> String {
        let message_id = self.current.as_ref().or(self.only.as_ref()).map_or("", MessageId::as_str);
        match self.shown {
            0 => message_id.to_owned(),
            1 => format!("{message_id}:b"),
            shown => format!("{message_id}:{}", shown - 2),
        }
    }
}

/// What a listener gets next.
pub(crate) struct Part {
    /// Whole events; none when there is nothing new.
    pub(crate) bytes: Option<Bytes>,
    /// How many.
    pub(crate) events: u64,
    /// How many of them are chunks.
    pub(crate) chunks: u64,
    /// How the first reply ended whose end is among them.
    pub(crate) ended: Option<&'static str>,
    /// The one reply that it follows is over.
    pub(crate) over: bool,
    /// It is behind: there is more than fits into one write.
    pub(crate) more: bool,
}

/// Events for one write. A single one, which is the usual case, is shared and not copied.
#[derive(Default)]
struct Batch {
    first: Option<Bytes>,
    rest: BytesMut,
    bytes: usize,
    events: u64,
    chunks: u64,
    ended: Option<&'static str>,
    /// Something was left for the next write.
    full: bool,
}

impl Batch {
    /// Whether so many bytes still go into it; whatever is first does.
    fn has_room(&mut self, bytes: usize) -> bool {
        self.full = self.bytes > 0 && self.bytes + bytes > BATCH;
        !self.full
    }

    fn extend(&mut self, event: Option<Bytes>) {
        let Some(event) = event else { return };
        self.bytes += event.len();
        self.events += 1;
        match &self.first {
            None => self.first = Some(event),
            Some(first) => {
                if self.rest.is_empty() {
                    self.rest.extend_from_slice(first);
                }
                self.rest.extend_from_slice(&event);
            }
        }
    }

    fn done(&mut self) -> Option<Bytes> {
        if self.rest.is_empty() { self.first.take() } else { Some(self.rest.split().freeze()) }
    }
}

#[cfg(test)]
mod tests;
