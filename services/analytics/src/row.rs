//! What is known of a session and of a site, and how a fact changes it.
//!
//! Rows are stored as JSON. They are small (some 300 bytes) and few are touched by a batch, so a binary form would save
//! little; in JSON a field can be added without a migration, and a copy of the file can be read with any tool.
//! A fact holds no text of a visitor, so neither can a row.

use std::collections::BTreeMap;

use protocol::{Fact, FactKind, FinishReason, Millis, SessionId, Visit};
use serde::{Deserialize, Serialize};

/// What is known of one session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// When it began.
    pub started: Millis,
    /// The last time that something happened in it.
    pub last_seen: Millis,
    /// The path of the shop's page on which it began, without query.
    pub page_path: Option<String>,
    /// The browser's language.
    pub locale: Option<String>,
    /// Its counts.
    #[serde(default)]
    pub tally: Tally,
}

/// What is known of one site.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Sessions of which something was told.
    pub sessions: u64,
    /// The counts of all of them.
    #[serde(default)]
    pub tally: Tally,
}

/// Counts and sums. Averages are left to who reads: sums can be added up again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    /// Messages accepted.
    pub messages: u64,
    /// Replies that came to their end.
    pub ended: u64,
    /// Replies that were stopped.
    pub cancelled: u64,
    /// Replies that failed, by the public code. Text, so that a code of a later version can be read.
    pub failed: BTreeMap<String, u64>,
    /// Messages that workflows sent by themselves.
    pub pushed: u64,
    /// Chunks of all replies.
    pub chunks: u64,
    /// Replies that had a first chunk; those that failed don't tell.
    pub first_chunks: u64,
    /// From acceptance to the first chunk, summed over [`first_chunks`](Self::first_chunks).
    pub first_chunk_ms: u64,
    /// From acceptance to the end or failure, summed over all replies.
    pub duration_ms: u64,
}

impl Session {
    /// A session of which nothing was told yet. Facts come from several processes, so any kind may be the first.
    pub(crate) fn new(id: &SessionId) -> Self {
        // Until the session's start is told: its id holds it, to the second.
        let started = Millis(i64::try_from(id.began()).unwrap_or(i64::MAX).saturating_mul(1_000));
        Self { started, last_seen: started, page_path: None, locale: None, tally: Tally::default() }
    }

    pub(crate) fn apply(&mut self, fact: &Fact, acceptances: u64) {
        self.last_seen = self.last_seen.max(fact.at);
        if let FactKind::SessionStarted(Visit { page_path, locale, .. }) = &fact.kind {
            self.started = fact.at;
            self.page_path.clone_from(page_path);
            self.locale.clone_from(locale);
        }
        self.tally.apply(&fact.kind, acceptances);
    }
}

impl Tally {
    // Saturating: the numbers come from another process, and none of them may stop this one.
    /// `acceptances`: how many messages are known by this fact to be accepted. Mostly one by its own fact, and none by
    /// any other; by its end when that is told first.
    pub(crate) fn apply(&mut self, kind: &FactKind, acceptances: u64) {
        add(&mut self.messages, acceptances);
        match kind {
            FactKind::SessionStarted(_)
            | FactKind::SessionEnded
            | FactKind::MessageAccepted { .. }
            | FactKind::ReplyRated { .. }
            | FactKind::CallsRefused { .. } => {}
            FactKind::MessagePushed { .. } => add(&mut self.pushed, 1),
            FactKind::ReplyEnded { chunks, finish_reason, first_chunk_ms, duration_ms, .. } => {
                match finish_reason {
                    FinishReason::Stop => add(&mut self.ended, 1),
                    FinishReason::Cancelled => add(&mut self.cancelled, 1),
                }
                if let Some(ms) = first_chunk_ms {
                    add(&mut self.first_chunks, 1);
                    add(&mut self.first_chunk_ms, *ms);
                }
                self.done(*chunks, *duration_ms);
            }
            FactKind::ReplyFailed { chunks, code, duration_ms, .. } => {
                add(self.failed.entry(code.as_str().to_owned()).or_default(), 1);
                self.done(*chunks, *duration_ms);
            }
        }
    }

    fn done(&mut self, chunks: u32, duration_ms: u64) {
        add(&mut self.chunks, u64::from(chunks));
        add(&mut self.duration_ms, duration_ms);
    }
}

fn add(to: &mut u64, more: u64) {
    *to = to.saturating_add(more);
}

#[cfg(test)]
mod tests {
    use protocol::{FailureCode, MessageId, SiteId};

    use super::*;

    fn id() -> SessionId {
        SessionId::mint(1_767_168_909, 1)
    }

    fn message_id() -> MessageId {
        MessageId::new("message-1").unwrap()
    }

    fn after(kinds: impl IntoIterator<Item = (i64, FactKind)>) -> Session {
        let mut session = Session::new(&id());
        for (at, kind) in kinds {
            let acceptances = u64::from(matches!(kind, FactKind::MessageAccepted { .. }));
            let fact = Fact { at: Millis(at), ..Fact::now(&SiteId::new("default").unwrap(), &id(), kind) };
            session.apply(&fact, acceptances);
        }
        session
    }

    fn started() -> FactKind {
        FactKind::SessionStarted(Visit {
            page_path: Some("/shoes".into()),
            locale: Some("de".into()),
            ..Visit::default()
        })
    }

    fn accepted() -> FactKind {
        FactKind::MessageAccepted { message_id: message_id(), chars: 3 }
    }

    fn ended(finish_reason: FinishReason, first_chunk_ms: Option<u64>, duration_ms: u64) -> FactKind {
        FactKind::ReplyEnded { message_id: message_id(), chunks: 2, finish_reason, first_chunk_ms, duration_ms }
    }

    fn failed(code: FailureCode) -> FactKind {
        FactKind::ReplyFailed { message_id: message_id(), chunks: 1, code, duration_ms: 7 }
    }

    #[test]
    fn each_kind_counts_where_it_belongs() {
        let check = |kind: FactKind, expected: Tally| {
            assert_eq!(after([(0, kind.clone())]).tally, expected, "{kind:?}");
        };
        let none = Tally::default;
        let done = || Tally { chunks: 2, duration_ms: 90, ..none() };
        let failure = |code: &str| Tally { chunks: 1, duration_ms: 7, failed: [(code.into(), 1)].into(), ..none() };
        check(started(), none());
        check(accepted(), Tally { messages: 1, ..none() });
        check(
            ended(FinishReason::Stop, Some(20), 90),
            Tally { ended: 1, first_chunks: 1, first_chunk_ms: 20, ..done() },
        );
        check(ended(FinishReason::Cancelled, None, 90), Tally { cancelled: 1, ..done() });
        check(failed(FailureCode::QueueTimeout), failure("queue_timeout"));
        check(failed(FailureCode::UpstreamError), failure("upstream_error"));
    }

    #[test]
    fn the_order_of_arrival_does_not_matter() {
        let told = [
            (1_767_168_909_250, started()),
            (1_767_168_910_000, accepted()),
            (1_767_168_911_000, ended(FinishReason::Stop, Some(20), 90)),
        ];
        let row = after(told.clone());
        assert_eq!(after(told.into_iter().rev()), row);
        assert_eq!((row.started, row.last_seen), (Millis(1_767_168_909_250), Millis(1_767_168_911_000)));
        assert_eq!((row.page_path.as_deref(), row.locale.as_deref()), (Some("/shoes"), Some("de")));
        assert_eq!(after([]).started, Millis(1_767_168_909_000), "known from the id");
    }

    #[test]
    fn absurd_numbers_stop_nothing() {
        let absurd = || (0, ended(FinishReason::Stop, Some(u64::MAX), u64::MAX));
        assert_eq!(after([absurd(), absurd()]).tally.duration_ms, u64::MAX);
    }

    #[test]
    fn a_row_without_newer_fields_can_be_read() {
        let old = r#"{"started":1,"last_seen":2,"page_path":null,"locale":null,"tally":{"messages":3}}"#;
        let row: Session = serde_json::from_str(old).unwrap();
        assert_eq!(row.tally, Tally { messages: 3, ..Tally::default() });
    }
}
