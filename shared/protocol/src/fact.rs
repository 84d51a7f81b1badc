//! What happened, for analytics. A fact never holds text of a visitor, an address, a token or a fingerprint.

use serde::{Deserialize, Serialize};

use crate::{FactId, FailureCode, FinishReason, MessageId, Millis, SessionId, SiteId, Terminal};

/// One thing that happened. Delivered at least once; `id` makes applying it once possible.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// The form's version; 1.
    pub v: u8,
    /// Tells a fact delivered twice from two facts.
    pub id: FactId,
    /// The shop.
    pub site: SiteId,
    /// The conversation.
    pub session: SessionId,
    /// When.
    pub at: Millis,
    /// What.
    pub kind: FactKind,
}

/// What a [`Fact`] tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FactKind {
    /// A session was created.
    SessionStarted {
        /// The path of the shop's page, without query.
        page_path: Option<String>,
        /// The browser's language.
        locale: Option<String>,
    },
    /// A message was accepted.
    MessageAccepted {
        /// Which.
        message_id: MessageId,
        /// Its length in characters.
        chars: u32,
    },
    /// A reply ended.
    ReplyEnded {
        /// Whose.
        message_id: MessageId,
        /// How many chunks it had.
        chunks: u32,
        /// `stop` or `cancelled`.
        finish_reason: FinishReason,
        /// From acceptance to the first chunk.
        first_chunk_ms: Option<u64>,
        /// From acceptance to the end.
        duration_ms: u64,
    },
    /// A reply failed.
    ReplyFailed {
        /// Whose.
        message_id: MessageId,
        /// How many chunks it had.
        chunks: u32,
        /// Why.
        code: FailureCode,
        /// From acceptance to the failure.
        duration_ms: u64,
    },
    /// A workflow sent a message of its own, after its reply was over.
    MessagePushed {
        /// Its id.
        message_id: MessageId,
        /// Its length in characters.
        chars: u32,
    },
    /// The visitor ended the session: what is known of it is to be erased.
    SessionEnded,
}

impl FactKind {
    /// How the reply to a message ended, `duration_ms` after it was accepted.
    pub fn of_end(message_id: MessageId, end: &Terminal, first_chunk_ms: Option<u64>, duration_ms: u64) -> Self {
        match end {
            Terminal::End { chunks, finish_reason, duration_ms } => Self::ReplyEnded {
                message_id,
                chunks: *chunks,
                finish_reason: *finish_reason,
                first_chunk_ms,
                duration_ms: *duration_ms,
            },
            Terminal::Failed { chunks, code } => {
                Self::ReplyFailed { message_id, chunks: *chunks, code: *code, duration_ms }
            }
        }
    }

    /// The last token of the fact's subject.
    pub fn name(&self) -> &'static str {
        match self {
            Self::SessionStarted { .. } => "session_started",
            Self::MessageAccepted { .. } => "message_accepted",
            Self::ReplyEnded { .. } => "reply_ended",
            Self::ReplyFailed { .. } => "reply_failed",
            Self::MessagePushed { .. } => "message_pushed",
            Self::SessionEnded => "session_ended",
        }
    }

    fn message_id(&self) -> Option<&MessageId> {
        match self {
            Self::SessionStarted { .. } | Self::SessionEnded => None,
            Self::MessageAccepted { message_id, .. }
            | Self::ReplyEnded { message_id, .. }
            | Self::ReplyFailed { message_id, .. }
            | Self::MessagePushed { message_id, .. } => Some(message_id),
        }
    }
}

const ACCEPTED: &str = "accepted";
const ENDED: &str = "ended";

impl Fact {
    /// The id of the fact that this session was ended.
    pub fn id_of_end(session: &SessionId) -> FactId {
        FactId::of(session, None, ENDED)
    }

    /// The id of the fact that a message was accepted.
    pub fn id_of_acceptance(session: &SessionId, message: &MessageId) -> FactId {
        FactId::of(session, Some(message), ACCEPTED)
    }

    /// A fact of now. A reply's end and failure share one id: the first one told is the one that counts.
    pub fn now(site: &SiteId, session: &SessionId, kind: FactKind) -> Self {
        let tag = match &kind {
            FactKind::SessionStarted { .. } => "started",
            FactKind::MessageAccepted { .. } => ACCEPTED,
            FactKind::ReplyEnded { .. } | FactKind::ReplyFailed { .. } => "done",
            FactKind::MessagePushed { .. } => "pushed",
            FactKind::SessionEnded => ENDED,
        };
        let id = FactId::of(session, kind.message_id(), tag);
        Self { v: 1, id, site: site.clone(), session: session.clone(), at: Millis::now(), kind }
    }
}
