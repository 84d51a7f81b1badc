//! The session's record: who claimed which message, and what a resume is answered from when no worker runs it.
//!
//! Written by compare-and-set only. It holds reply text for minutes, which resume needs, and no text of the visitor.

use serde::{Deserialize, Serialize};

use crate::{MessageId, Millis, SessionId, Terminal};

/// Replies with text that a record keeps at most.
pub const MAX_REPLIES: usize = 8;
/// Bytes of reply text that a record keeps at most; under this the whole record stays far below NATS' 1 MB payload
/// even when JSON escapes every byte.
pub const MAX_TEXT: usize = 128 * 1024;
/// Ids of still older replies that a record remembers, so that a late repeat does not run again.
pub const MAX_OLDER: usize = 64;
/// No chunk is longer: it becomes one message on the bus, which has a payload limit, and JSON escaping can make it six
/// times as long.
pub const CHUNK_BYTES: usize = 16 * 1024;
/// Late pieces of one reply whose repeats are known for such.
pub const MAX_LATE: usize = 64;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The form's version; 1.
    pub v: u8,
    /// Whose record.
    pub session: SessionId,
    /// The last replies, newest last.
    pub replies: Vec<Reply>,
    /// Ids of replies that were over and have been dropped from `replies`, newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub older: Vec<MessageId>,
    /// Whether the visitor ended the session. Such a record holds nothing, and no message of it is run any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ended: bool,
}

/// How far a reply is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Claimed by a worker; n8n may have been called.
    Running,
    /// Ended.
    End,
    /// Failed.
    Failed,
}

/// A reply as far as it is known: in the record, in the worker's buffer, and as the answer to an ask.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Whose reply.
    pub message_id: MessageId,
    /// The message's [`digest`](crate::Message::digest).
    pub digest: String,
    /// How far it is.
    pub state: State,
    /// Which delivery of the message wrote this.
    pub attempt: u32,
    /// The run that wrote this: tells a worker its own write from another's.
    pub run: String,
    /// When n8n began to answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun_at: Option<Millis>,
    /// The index of the first kept chunk: above 0 when earlier ones were dropped, or not asked for.
    #[serde(default)]
    pub offset: u32,
    /// The kept chunks.
    pub chunks: Vec<String>,
    /// How many chunks there are in all so far.
    pub next: u32,
    /// How it ended, when it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<Terminal>,
    /// Until when it waits for text that its workflow sends late: n8n's own answer broke off, and is read no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_until: Option<Millis>,
    /// The idempotency keys of what came late, hashed, newest last: no more than [`MAX_LATE`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub late: Vec<String>,
    /// Whose workflow sent this as a message of its own, after that reply was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push_of: Option<MessageId>,
    /// The message's [`traceparent`](crate::Message::traceparent), for who comes back to the reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// When this was written.
    pub at: Millis,
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reply")
            .field("message_id", &self.message_id)
            .field("state", &self.state)
            .field("attempt", &self.attempt)
            .field("kept", &(self.offset..self.next))
            .field("terminal", &self.terminal)
            .finish_non_exhaustive()
    }
}

impl Reply {
    /// A reply of which nothing has come yet.
    pub fn new(message_id: MessageId, digest: String, attempt: u32, run: String) -> Self {
        Self {
            message_id,
            digest,
            state: State::Running,
            attempt,
            run,
            begun_at: None,
            offset: 0,
            chunks: Vec::new(),
            next: 0,
            terminal: None,
            waiting_until: None,
            late: Vec::new(),
            push_of: None,
            traceparent: None,
            at: Millis::now(),
        }
    }

    /// Takes note of a late piece's key; `false` when that piece came before.
    pub fn take_late(&mut self, key: &str) -> bool {
        if self.late.iter().any(|known| known == key) {
            return false;
        }
        let surplus = (self.late.len() + 1).saturating_sub(MAX_LATE);
        self.late.drain(..surplus);
        self.late.push(key.to_owned());
        true
    }

    /// Adds the next chunk and returns its index.
    pub fn push(&mut self, content: String) -> u32 {
        let index = self.next;
        self.chunks.push(content);
        self.next = self.next.saturating_add(1);
        index
    }

    /// Adds a text of any length, as chunks of at most [`CHUNK_BYTES`].
    pub fn push_text(&mut self, text: &str) {
        let mut rest = text;
        while !rest.is_empty() {
            // A character has at most four bytes, so a cut below CHUNK_BYTES is never at 0.
            let (piece, after) = rest.split_at(rest.floor_char_boundary(CHUNK_BYTES));
            self.push(piece.to_owned());
            rest = after;
        }
    }

    /// Whether its numbers fit each other: what comes over the bus may say anything.
    pub fn is_sound(&self) -> bool {
        let kept = u32::try_from(self.chunks.len()).ok().and_then(|kept| self.offset.checked_add(kept));
        kept.is_some_and(|end| end <= self.next) && self.next < u32::MAX - 2
    }

    /// Ends it. The first terminal stays.
    pub fn finish(&mut self, terminal: Terminal) {
        if self.terminal.is_none() {
            self.state = match terminal {
                Terminal::End { .. } => State::End,
                Terminal::Failed { .. } => State::Failed,
            };
            self.terminal = Some(terminal);
            self.at = Millis::now();
        }
    }

    /// The part from chunk `from` on, no more than `max_bytes` of text but at least one chunk where there is one.
    /// What is missing at the far end shows as `next` above the last kept index, and `terminal` is left out then.
    pub fn part_from(&self, from: u32, max_bytes: usize) -> Self {
        let skip = from.saturating_sub(self.offset) as usize;
        let mut bytes = 0;
        let chunks: Vec<String> = self
            .chunks
            .iter()
            .skip(skip)
            .enumerate()
            .take_while(|(i, chunk)| {
                bytes += chunk.len();
                *i == 0 || bytes <= max_bytes
            })
            .map(|(_, chunk)| chunk.clone())
            .collect();
        let offset = self.offset.saturating_add(u32::try_from(skip.min(self.chunks.len())).unwrap_or(u32::MAX));
        let whole = offset as usize + chunks.len() >= self.next as usize;
        Self { offset, chunks, terminal: self.terminal.clone().filter(|_| whole), ..self.head() }
    }

    /// The last part with no more than `max_bytes` of text.
    pub fn last_part(&self, max_bytes: usize) -> Self {
        let mut bytes = 0;
        let kept = self.chunks.iter().rev().take_while(|chunk| {
            bytes += chunk.len();
            bytes <= max_bytes
        });
        let skip = self.chunks.len() - kept.count();
        let offset = self.offset.saturating_add(u32::try_from(skip).unwrap_or(u32::MAX));
        let chunks = self.chunks.get(skip..).unwrap_or_default().to_vec();
        Self { offset, chunks, terminal: self.terminal.clone(), ..self.head() }
    }

    /// Everything but the text.
    fn head(&self) -> Self {
        Self {
            message_id: self.message_id.clone(),
            digest: self.digest.clone(),
            state: self.state,
            attempt: self.attempt,
            run: self.run.clone(),
            begun_at: self.begun_at,
            offset: 0,
            chunks: Vec::new(),
            next: self.next,
            terminal: None,
            waiting_until: self.waiting_until,
            late: self.late.clone(),
            push_of: self.push_of.clone(),
            traceparent: self.traceparent.clone(),
            at: self.at,
        }
    }

    /// Bytes of the kept text.
    pub fn text_bytes(&self) -> usize {
        self.chunks.iter().map(String::len).sum()
    }
}

impl Record {
    /// The record of a session of which nothing is known.
    pub fn new(session: SessionId) -> Self {
        Self { v: 1, session, replies: Vec::new(), older: Vec::new(), ended: false }
    }

    /// What stays of the record of a session that its visitor ended.
    pub fn ended(session: SessionId) -> Self {
        Self { ended: true, ..Self::new(session) }
    }

    /// The reply to `message`, if it is kept.
    pub fn find(&self, message: &MessageId) -> Option<&Reply> {
        self.replies.iter().rev().find(|reply| &reply.message_id == message)
    }

    /// Whether this message was ever claimed, as far as the record remembers.
    pub fn knows(&self, message: &MessageId) -> bool {
        self.find(message).is_some() || self.older.contains(message)
    }

    /// Puts `reply` in (in the place of an earlier form of it, else as the newest) and drops what is over the
    /// limits, oldest first; the reply itself keeps its last part.
    pub fn put(&mut self, reply: &Reply) {
        let mut reply = reply.last_part(MAX_TEXT);
        // Beside one that runs, of which nothing may go, another one gets what is left.
        if reply.state != State::Running {
            let running = self.replies.iter().filter(|r| r.state == State::Running && r.message_id != reply.message_id);
            let running: usize = running.map(Reply::text_bytes).sum();
            reply = reply.last_part(MAX_TEXT.saturating_sub(running));
        }
        match self.replies.iter_mut().find(|known| known.message_id == reply.message_id) {
            Some(known) => *known = reply,
            None => self.replies.push(reply),
        }
        let mut text: usize = self.replies.iter().map(Reply::text_bytes).sum();
        // A running reply is never dropped: there is one at most, and it is the claim.
        while self.replies.len() > MAX_REPLIES || text > MAX_TEXT {
            let Some(oldest) = self.replies.iter().position(|r| r.state != State::Running) else { break };
            if oldest + 1 == self.replies.len() {
                break;
            }
            let dropped = self.replies.remove(oldest);
            text -= dropped.text_bytes();
            self.older.push(dropped.message_id);
        }
        let surplus = self.older.len().saturating_sub(MAX_OLDER);
        self.older.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FinishReason;

    fn reply(n: u32, chunks: &[&str]) -> Reply {
        let id = MessageId::new(&format!("message-{n}")).unwrap();
        let mut reply = Reply::new(id, "d".into(), 1, "run".into());
        for chunk in chunks {
            reply.push((*chunk).to_owned());
        }
        reply
    }

    fn ended(n: u32, chunks: &[&str]) -> Reply {
        let mut reply = reply(n, chunks);
        let chunks = reply.next;
        reply.finish(Terminal::End { chunks, finish_reason: FinishReason::Stop, duration_ms: 1 });
        reply
    }

    fn session() -> SessionId {
        SessionId::mint(1, 1)
    }

    #[test]
    fn a_part_begins_where_it_was_asked_to() {
        let whole = ended(1, &["a", "b", "c"]);
        let check = |from, bytes, chunks: &[&str], offset, over: bool| {
            let part = whole.part_from(from, bytes);
            assert_eq!(
                (part.chunks.iter().map(String::as_str).collect::<Vec<_>>(), part.offset),
                (chunks.to_vec(), offset)
            );
            assert_eq!((part.next, part.terminal.is_some()), (3, over), "from {from}");
        };
        check(0, 100, &["a", "b", "c"], 0, true);
        check(1, 100, &["b", "c"], 1, true);
        check(3, 100, &[], 3, true);
        check(9, 100, &[], 3, true);
        check(0, 2, &["a", "b"], 0, false);
        check(0, 0, &["a"], 0, false);
    }

    #[test]
    fn a_record_keeps_eight_replies_and_remembers_the_ids_of_more() {
        let mut record = Record::new(session());
        for n in 0..100 {
            record.put(&ended(n, &["x"]));
        }
        assert_eq!(record.replies.len(), MAX_REPLIES);
        assert_eq!(record.older.len(), MAX_OLDER);
        assert!(record.knows(&MessageId::new("message-91").unwrap()));
        assert!(record.find(&MessageId::new("message-91").unwrap()).is_none());
        assert!(record.find(&MessageId::new("message-99").unwrap()).is_some());
        assert!(!record.knows(&MessageId::new("message-00").unwrap()));
    }

    #[test]
    fn a_running_reply_over_the_limit_keeps_its_last_part() {
        let big = "y".repeat(50 * 1024);
        let mut record = Record::new(session());
        record.put(&ended(1, &["old"]));
        record.put(&reply(2, &[&big, &big, &big, "end"]));
        let kept = record.find(&MessageId::new("message-2").unwrap()).unwrap();
        assert_eq!((kept.offset, kept.next, kept.chunks.len()), (1, 4, 3));
        // Together they fit, so the old one stays.
        assert!(record.find(&MessageId::new("message-1").unwrap()).is_some());
        record.put(&reply(3, &[&big]));
        assert!(record.find(&MessageId::new("message-1").unwrap()).is_none());
        assert!(record.knows(&MessageId::new("message-1").unwrap()));
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let text = "語".repeat(CHUNK_BYTES);
        let mut long = reply(1, &[]);
        long.push_text(&text);
        assert!(long.next == 4 && long.chunks.iter().all(|chunk| chunk.len() <= CHUNK_BYTES));
        assert_eq!(long.chunks.concat(), text);
    }

    #[test]
    fn beside_a_running_reply_another_one_gets_what_is_left() {
        let big = "y".repeat(50 * 1024);
        let mut record = Record::new(session());
        record.put(&reply(1, &[&big, &big]));
        record.put(&ended(2, &[&big, "end"]));
        let pushed = record.find(&MessageId::new("message-2").unwrap()).unwrap();
        assert_eq!((pushed.offset, pushed.chunks.as_slice()), (1, ["end".to_owned()].as_slice()));
        assert!(record.replies.iter().map(Reply::text_bytes).sum::<usize>() <= MAX_TEXT);
    }

    #[test]
    fn the_first_terminal_stays() {
        let mut reply = ended(1, &["a"]);
        let first = reply.terminal.clone();
        reply.finish(Terminal::Failed { chunks: 1, code: crate::FailureCode::Interrupted });
        assert_eq!(reply.terminal, first);
        assert_eq!(reply.state, State::End);
    }
}
