//! What an edge knows of a session's replies: pure state, no I/O.
//!
//! Events and records are merged in, in any order and with repeats; listeners read it with a [`Cursor`] each, at their
//! own pace. Chunks are kept as the bytes of their events, encoded once for all listeners.
//!
//! Bounds: [`MAX_REPLIES`] replies, and [`MAX_FINISHED_BYTES`] of finished ones (the running one is bounded by the
//! worker's `REPLY_MAX_BYTES`). What a slow listener had not read when it went shows to it as `gap`.

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
/// A listener that is behind gets this much in one write.
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
    /// Index of the first kept chunk.
    offset: u32,
    chunks: Vec<Bytes>,
    bytes: usize,
    terminal: Option<Bytes>,
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
            offset: 0,
            chunks: Vec::new(),
            bytes: 0,
            terminal: None,
            timing: Timing { accepted: None, claimed: false, heard: Instant::now(), looked: None },
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
        self.terminal = Some(sse::terminal(&self.message_id, terminal));
        Merged::New
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
                self.begin = Some(sse::begin(&self.message_id, *at));
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
            What::Done(terminal) => self.finish(terminal),
        }
    }

    /// Merges what a worker or the record holds. What lies between what is here and what is kept there is lost for
    /// good; listeners that have not passed it are told.
    fn merge_reply(&mut self, reply: &Reply) -> Merged {
        if self.is_over() || !reply.is_sound() {
            return Merged::Nothing;
        }
        self.digest = Some(reply.digest.clone());
        self.attempt = self.attempt.max(reply.attempt);
        self.timing.claimed = true;
        let mut merged = Merged::Nothing;
        if let (None, Some(at)) = (&self.begin, reply.begun_at) {
            self.begin = Some(sse::begin(&self.message_id, at));
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
        match &reply.terminal {
            Some(terminal) => match self.finish(terminal) {
                Merged::Nothing => merged,
                finished => finished,
            },
            None => merged,
        }
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
                self.entry(&reply.message_id).digest = Some(reply.digest.clone());
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
            known.terminal = Some(sse::terminal(message_id, terminal));
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
            // The newest stays: somebody has just asked for it.
            if self.replies.len() <= 1 {
                return;
            }
            self.drop_oldest();
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
        Cursor { only: None, number, shown: 0, current: None, queued_shown: false, gap: None }
    }

    /// What the listener has not seen yet, in one piece, and how many events that is. The flag says that its one reply is over.
    pub(super) fn read(&self, cursor: &mut Cursor) -> (Option<Bytes>, u64, bool) {
        let mut out = Batch::default();
        out.extend(cursor.gap.take());
        let over = loop {
            if out.bytes >= BATCH {
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
            match &known.terminal {
                Some(terminal) if all_shown => {
                    out.extend(Some(terminal.clone()));
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
        (out.done(), out.events, over)
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
                (cursor.number, cursor.shown, cursor.current, cursor.queued_shown) = (number, 0, None, false);
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
        (self.shown, self.current, self.queued_shown) = (0, None, false);
    }

    fn read_chunks(&mut self, known: &Known, out: &mut Batch) {
        let index = self.shown - 1;
        if index < known.offset {
            out.extend(Some(sse::gap(&self.last_id())));
            self.shown = known.offset + 1;
        }
        let from = (self.shown - 1).saturating_sub(known.offset) as usize;
        for chunk in known.chunks.get(from..).unwrap_or_default() {
            if out.bytes >= BATCH {
                return;
            }
            out.extend(Some(chunk.clone()));
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

/// Events for one write. A single one, which is the usual case, is shared and not copied.
#[derive(Default)]
struct Batch {
    first: Option<Bytes>,
    rest: BytesMut,
    bytes: usize,
    events: u64,
}

impl Batch {
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
mod tests {
    use std::borrow::Cow;

    use protocol::{FailureCode, FinishReason};

    use super::*;

    fn id(n: u32) -> MessageId {
        MessageId::new(&format!("message-{n}")).expect("a good id")
    }

    fn event(n: u32, what: What<'static>) -> Event<'static> {
        Event { message_id: id(n), attempt: 1, what }
    }

    fn begin(n: u32) -> Event<'static> {
        event(n, What::Begin { at: Millis(0) })
    }

    fn chunk(n: u32, index: u32) -> Event<'static> {
        event(n, What::Chunk { index, content: Cow::Owned(format!("{n}.{index} ")) })
    }

    fn end(n: u32, chunks: u32) -> Event<'static> {
        let finish_reason = FinishReason::Stop;
        event(n, What::Done(Terminal::End { chunks, finish_reason, duration_ms: 0 }))
    }

    fn recorded(n: u32, offset: u32, next: u32, over: bool) -> Reply {
        let mut reply = Reply::new(id(n), "d".into(), 1, "run".into());
        reply.begun_at = Some(Millis(0));
        (reply.offset, reply.next) = (offset, next);
        reply.chunks = (offset..next).map(|index| format!("{n}.{index} ")).collect();
        if over {
            reply.finish(Terminal::End { chunks: next, finish_reason: FinishReason::Stop, duration_ms: 0 });
        }
        reply
    }

    /// A view in which reply `n` has so many chunks and is over.
    fn told(view: &mut View, n: u32, chunks: u32) {
        view.merge(&begin(n));
        for index in 0..chunks {
            view.merge(&chunk(n, index));
        }
        view.merge(&end(n, chunks));
    }

    /// What the cursor gets, as `name id` a piece.
    fn read(view: &View, cursor: &mut Cursor) -> Vec<String> {
        let (bytes, events, _) = view.read(cursor);
        let wire = bytes.map(|bytes| String::from_utf8(bytes.to_vec()).expect("UTF-8")).unwrap_or_default();
        let read: Vec<String> = wire
            .split_terminator("\n\n")
            .map(|block| {
                let field = |name| block.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("-");
                let after = field("data: ").strip_prefix("{\"after\":").map(|after| after.trim_end_matches('}'));
                format!("{} {}", field("event: "), after.unwrap_or(field("id: ")))
            })
            .collect();
        assert_eq!(read.len() as u64, events);
        read
    }

    fn last(text: &str) -> LastEvent {
        LastEvent::parse(text).expect("a good id")
    }

    #[test]
    fn events_are_merged_once_and_in_order() {
        let mut view = View::new();
        assert_eq!(view.merge(&begin(1)), Merged::New);
        assert_eq!(view.merge(&chunk(1, 0)), Merged::New);
        assert_eq!(view.merge(&chunk(1, 0)), Merged::Nothing, "a repeat");
        assert_eq!(view.merge(&chunk(1, 2)), Merged::Hole);
        assert_eq!(view.merge(&event(1, What::Heartbeat { next: 1, begun: true })), Merged::Nothing);
        assert_eq!(view.merge(&event(1, What::Heartbeat { next: 2, begun: true })), Merged::Hole);
        assert_eq!(view.merge(&end(1, 2)), Merged::Hole, "an end above a hole waits");
        assert_eq!(view.merge_reply(&recorded(1, 1, 2, false)), Merged::New);
        assert_eq!(view.merge(&end(1, 2)), Merged::New);
        assert_eq!(view.merge(&end(1, 2)), Merged::Nothing, "one end");
        let failed = What::Done(Terminal::Failed { chunks: 0, code: FailureCode::Interrupted });
        assert_eq!(view.merge(&event(1, failed)), Merged::Nothing, "the first end stays");
        let mut cursor = view.follow_one(&id(1), None);
        assert_eq!(
            read(&view, &mut cursor),
            ["begin message-1:b", "chunk message-1:0", "chunk message-1:1", "end message-1:z"]
        );
    }

    #[test]
    fn a_later_attempt_overrules_an_earlier_one() {
        let mut view = View::new();
        view.merge(&begin(1));
        view.merge(&chunk(1, 0));
        let failed = What::Done(Terminal::Failed { chunks: 0, code: FailureCode::Interrupted });
        let other = Event { attempt: 2, ..event(1, failed) };
        assert_eq!(view.merge(&other), Merged::New);
        assert_eq!(view.merge(&chunk(1, 1)), Merged::Nothing, "the zombie is not heard");
    }

    #[test]
    fn a_client_goes_on_where_it_was() {
        let mut view = View::new();
        told(&mut view, 1, 3);
        told(&mut view, 2, 1);
        let check = |id: &str, expected: &[&str]| {
            let (mut cursor, found) = view.follow_all(Some(Ok(&last(id))), None);
            assert!(found);
            assert_eq!(read(&view, &mut cursor), expected, "{id}");
        };
        let second = ["begin message-2:b", "chunk message-2:0", "end message-2:z"];
        let after = |first: &[&'static str]| [first, &second].concat();
        check(
            "message-1:b",
            &after(&["chunk message-1:0", "chunk message-1:1", "chunk message-1:2", "end message-1:z"]),
        );
        check("message-1:1", &after(&["chunk message-1:2", "end message-1:z"]));
        check("message-1:2", &after(&["end message-1:z"]));
        // Of what another edge showed before this one knew it, the end is still to come.
        check("message-1:9", &after(&["end message-1:z"]));
        check("message-1:z", &after(&[]));
        check("message-2:z", &[]);
        let (mut live, _) = view.follow_all(None, None);
        assert_eq!(read(&view, &mut live), Vec::<String>::new(), "nothing runs");
    }

    #[test]
    fn what_is_gone_is_told_as_a_gap() {
        let mut view = View::new();
        let (mut cursor, found) = view.follow_all(Some(Ok(&last("message-9:4"))), None);
        assert!(!found);
        assert_eq!(read(&view, &mut cursor), ["gap \"message-9:4\""]);
        let (mut cursor, _) = view.follow_all(Some(Err("rubbish")), None);
        assert_eq!(read(&view, &mut cursor), ["gap \"rubbish\""]);
        // The record keeps the last part only.
        view.load(&[recorded(1, 5, 7, true)]);
        let mut cursor = view.follow_one(&id(1), None);
        assert_eq!(
            read(&view, &mut cursor),
            ["begin message-1:b", "gap \"message-1:b\"", "chunk message-1:5", "chunk message-1:6", "end message-1:z"]
        );
    }

    #[test]
    fn old_replies_come_back_without_being_shown_again() {
        let mut view = View::new();
        view.load(&[]);
        let (mut tab, _) = view.follow_all(None, None);
        told(&mut view, 1, 1);
        told(&mut view, 2, 1);
        assert_eq!(read(&view, &mut tab).len(), 6);
        view.forget_finished();
        assert!(!view.is_whole() && view.find(&id(1)).is_none());
        assert_eq!(view.merge(&end(1, 1)), Merged::Nothing, "a late repeat is no news");
        view.load(&[recorded(1, 0, 1, true), recorded(2, 0, 1, true)]);
        assert_eq!(read(&view, &mut tab), Vec::<String>::new(), "the tab has seen them");
        let (mut back, found) = view.follow_all(Some(Ok(&last("message-1:0"))), None);
        assert!(found);
        assert_eq!(read(&view, &mut back).first().map(String::as_str), Some("end message-1:z"));
        told(&mut view, 3, 1);
        assert_eq!(read(&view, &mut tab), ["begin message-3:b", "chunk message-3:0", "end message-3:z"]);
    }

    #[test]
    fn a_slow_listener_loses_what_was_dropped_and_is_told() {
        let mut view = View::new();
        view.load(&[]);
        let (mut slow, _) = view.follow_all(None, None);
        view.merge(&begin(1));
        view.merge(&chunk(1, 0));
        assert_eq!(read(&view, &mut slow).len(), 2);
        view.merge(&end(1, 1));
        (2..20).for_each(|n| told(&mut view, n, 1));
        assert_eq!(read(&view, &mut slow), ["gap \"message-1:0\""]);
        told(&mut view, 20, 1);
        assert_eq!(read(&view, &mut slow).len(), 3);
    }

    #[test]
    fn after_a_gap_comes_what_runs() {
        let mut view = View::new();
        view.load(&[]);
        let (mut slow, _) = view.follow_all(None, None);
        view.merge(&begin(1));
        assert_eq!(read(&view, &mut slow), ["begin message-1:b"]);
        view.merge(&end(1, 0));
        (2..20).for_each(|n| told(&mut view, n, 1));
        view.merge(&begin(20));
        assert_eq!(read(&view, &mut slow), ["gap \"message-1:b\"", "begin message-20:b"]);
        let (mut back, _) = view.follow_all(Some(Ok(&last("message-99:z"))), None);
        assert_eq!(read(&view, &mut back), ["gap \"message-99:z\"", "begin message-20:b"]);
    }

    #[test]
    fn what_was_missed_is_shown() {
        let mut view = View::new();
        view.load(&[recorded(1, 0, 1, true)]);
        let (mut tab, _) = view.follow_all(None, None);
        view.load(&[recorded(1, 0, 1, true), recorded(2, 0, 1, true)]);
        assert_eq!(read(&view, &mut tab), ["begin message-2:b", "chunk message-2:0", "end message-2:z"]);
    }

    #[test]
    fn a_lying_record_is_not_believed() {
        let mut view = View::new();
        view.load(&[
            Reply { offset: u32::MAX, ..recorded(1, 0, 3, true) },
            Reply { next: 1, ..recorded(2, 0, 3, false) },
        ]);
        view.merge_reply(&Reply { offset: u32::MAX - 1, next: u32::MAX, ..recorded(3, 0, 1, false) });
        assert!(view.find(&id(3)).is_some_and(|known| known.next() == 0));
    }
}
