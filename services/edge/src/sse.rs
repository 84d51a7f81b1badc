//! Turns what is known of a reply into the bytes of server-sent events.
//!
//! The wire form is that of the WHATWG HTML standard, section 9.2.6. Nothing from outside can break the framing: an id
//! is of an alphabet without line ends, and text stands in JSON, where CR, LF and NUL are escaped.

use bytes::Bytes;
use protocol::{FailureCode, MessageId, Millis, SessionId, Terminal};
use serde::Serialize;

use crate::time;

/// How long an `EventSource` waits before it reconnects, in milliseconds: the first thing on the wire of a stream.
pub(crate) const RETRY: &[u8] = b"retry: 2000\n\n";
/// A comment, so that nobody in between takes a silent stream for a dead one.
pub(crate) const HEARTBEAT: &[u8] = b": hb\n\n";

/// How far a client is, as it tells by `Last-Event-ID`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LastEvent {
    pub(crate) message_id: MessageId,
    pub(crate) seen: Seen,
}

/// See [`LastEvent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Begin,
    Chunk(u32),
    Over,
}

impl LastEvent {
    /// Reads `<message_id>:<index>`, `:b` or `:z`.
    pub(crate) fn parse(id: &str) -> Option<Self> {
        let (message_id, seen) = id.rsplit_once(':')?;
        let seen = match seen {
            "b" => Seen::Begin,
            "z" => Seen::Over,
            index if index.bytes().all(|b| b.is_ascii_digit()) => Seen::Chunk(index.parse().ok()?),
            _ => return None,
        };
        Some(Self { message_id: MessageId::new(message_id).ok()?, seen })
    }
}

#[derive(Serialize)]
struct Ready<'a> {
    session_id: &'a SessionId,
    resumed: bool,
}

pub(crate) fn ready(session_id: &SessionId, resumed: bool) -> Bytes {
    event("ready", None, &Ready { session_id, resumed })
}

#[derive(Serialize)]
struct About<'a> {
    message_id: &'a MessageId,
}

pub(crate) fn queued(message_id: &MessageId) -> Bytes {
    event("queued", None, &About { message_id })
}

#[derive(Serialize)]
struct Begin<'a> {
    message_id: &'a MessageId,
    at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_reply_to: Option<&'a MessageId>,
}

/// `push_of`: it is a message that this one's workflow sent by itself.
pub(crate) fn begin(message_id: &MessageId, at: Millis, push_of: Option<&MessageId>) -> Bytes {
    let kind = push_of.map(|_| "push");
    event("begin", Some((message_id, &"b")), &Begin { message_id, at: written(at), kind, in_reply_to: push_of })
}

#[derive(Serialize)]
struct Waiting<'a> {
    message_id: &'a MessageId,
    until: String,
}

/// The workflow may say the rest until then.
pub(crate) fn waiting(message_id: &MessageId, until: Millis) -> Bytes {
    event("waiting", None, &Waiting { message_id, until: written(until) })
}

fn written(at: Millis) -> String {
    time::rfc3339(std::time::Duration::from_millis(u64::try_from(at.0).unwrap_or(0)))
}

#[derive(Serialize)]
struct Chunk<'a> {
    message_id: &'a MessageId,
    index: u32,
    content: &'a str,
}

/// One chunk as an event.
pub fn chunk(message_id: &MessageId, index: u32, content: &str) -> Bytes {
    event("chunk", Some((message_id, &index)), &Chunk { message_id, index, content })
}

#[derive(Serialize)]
struct End<'a> {
    message_id: &'a MessageId,
    chunks: u32,
    finish_reason: &'static str,
    duration_ms: u64,
}

#[derive(Serialize)]
struct Failed<'a> {
    message_id: &'a MessageId,
    code: &'static str,
    message: &'static str,
    retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u32>,
}

pub(crate) fn terminal(message_id: &MessageId, terminal: &Terminal) -> Bytes {
    match terminal {
        Terminal::End { chunks, finish_reason, duration_ms } => {
            let finish_reason = finish_reason.as_str();
            let end = End { message_id, chunks: *chunks, finish_reason, duration_ms: *duration_ms };
            event("end", Some((message_id, &"z")), &end)
        }
        Terminal::Failed { code, .. } => failed(message_id, *code),
    }
}

fn failed(message_id: &MessageId, code: FailureCode) -> Bytes {
    let retry_after = code.retry_after();
    let failed = Failed {
        message_id,
        code: code.as_str(),
        message: code.sentence(),
        retryable: retry_after.is_some(),
        retry_after,
    };
    event("failed", Some((message_id, &"z")), &failed)
}

#[derive(Serialize)]
struct Gap<'a> {
    after: &'a str,
}

/// What came after `after` is no longer kept.
pub(crate) fn gap(after: &str) -> Bytes {
    event("gap", None, &Gap { after })
}

fn event(name: &str, id: Option<(&MessageId, &dyn std::fmt::Display)>, data: &impl Serialize) -> Bytes {
    use std::io::Write as _;
    let mut out = Vec::with_capacity(160);
    if let Some((message_id, position)) = id {
        // Writing into memory can't fail, here and below.
        writeln!(out, "id: {message_id}:{position}").ok();
    }
    write!(out, "event: {name}\ndata: ").ok();
    serde_json::to_writer(&mut out, data).ok();
    out.extend_from_slice(b"\n\n");
    out.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use protocol::FinishReason;

    use super::*;

    fn id() -> MessageId {
        MessageId::new("msg-0001").expect("a good id")
    }

    fn text(bytes: &Bytes) -> &str {
        std::str::from_utf8(bytes).expect("events are UTF-8")
    }

    #[test]
    fn events_look_as_the_contract_says() {
        let session = SessionId::mint(1_767_168_909, 0x9f86_d081_884c_7d65);
        let check = |bytes: Bytes, expected: &str| assert_eq!(text(&bytes), expected);
        check(
            ready(&session, false),
            "event: ready\ndata: {\"session_id\":\"sess_1767168909_9f86d081884c7d65\",\"resumed\":false}\n\n",
        );
        check(queued(&id()), "event: queued\ndata: {\"message_id\":\"msg-0001\"}\n\n");
        check(
            begin(&id(), Millis(1_767_168_909_123), None),
            "id: msg-0001:b\nevent: begin\ndata: {\"message_id\":\"msg-0001\",\"at\":\"2025-12-31T08:15:09.123Z\"}\n\n",
        );
        check(
            chunk(&id(), 3, "Grüße\n\"you\""),
            "id: msg-0001:3\nevent: chunk\ndata: {\"message_id\":\"msg-0001\",\"index\":3,\"content\":\"Grüße\\n\\\"you\\\"\"}\n\n",
        );
        check(
            terminal(&id(), &Terminal::End { chunks: 4, finish_reason: FinishReason::Stop, duration_ms: 12 }),
            "id: msg-0001:z\nevent: end\ndata: {\"message_id\":\"msg-0001\",\"chunks\":4,\"finish_reason\":\"stop\",\"duration_ms\":12}\n\n",
        );
        let failed = terminal(&id(), &Terminal::Failed { chunks: 0, code: FailureCode::QueueTimeout });
        assert!(text(&failed).contains("\"code\":\"queue_timeout\"") && text(&failed).contains("\"retry_after\":5"));
        let final_one = terminal(&id(), &Terminal::Failed { chunks: 0, code: FailureCode::TooLarge });
        assert!(text(&final_one).contains("\"retryable\":false}"), "{}", text(&final_one));
        check(gap("msg-0001:3"), "event: gap\ndata: {\"after\":\"msg-0001:3\"}\n\n");
    }

    #[test]
    fn ids_are_read_back() {
        let check = |id: &str, expected: Option<Seen>| {
            assert_eq!(LastEvent::parse(id).map(|last| last.seen), expected, "{id}");
        };
        check("msg-0001:b", Some(Seen::Begin));
        check("msg-0001:z", Some(Seen::Over));
        check("msg-0001:17", Some(Seen::Chunk(17)));
        check("msg-0001:+17", None);
        check("msg-0001:99999999999", None);
        check("msg-0001:", None);
        check("msg-0001", None);
        check("bad id:1", None);
        check("", None);
    }

    proptest! {
        /// Whatever n8n says comes out as one event with that very text.
        #[test]
        fn no_text_breaks_the_framing(content in "(?s).*", more in "[\\x00-\\x1f\u{2028}\u{85}:\r\n]{0,40}(data|id|event): x\n\n") {
            let content = content + &more;
            let events = crate::fuzz::parse(text(&chunk(&id(), 7, &content)));
            prop_assert_eq!(events.len(), 1);
            let crate::fuzz::Parsed { name, data, id } = &events[0];
            prop_assert_eq!((name.as_str(), id.as_str()), ("chunk", "msg-0001:7"));
            let data: serde_json::Value = serde_json::from_str(data).expect("JSON");
            prop_assert_eq!(data["content"].as_str(), Some(content.as_str()));
        }

        /// So does what a client says of itself: an id that nobody knows is told back to it.
        #[test]
        fn no_id_breaks_the_framing(id in "(?s).{0,80}", more in "[\\x00-\\x1f\u{2028}\u{85}:\r\n]{0,10}(data|id|event): x\n\n") {
            let after = id + &more;
            let wire = gap(&after);
            let events = crate::fuzz::parse(text(&wire));
            prop_assert_eq!(events.len(), 1);
            let data: serde_json::Value = serde_json::from_str(&events[0].data).expect("JSON");
            prop_assert_eq!((events[0].name.as_str(), data["after"].as_str()), ("gap", Some(after.as_str())));
        }
    }
}
