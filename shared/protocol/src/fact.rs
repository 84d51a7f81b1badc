//! What happened, for analytics. A fact never holds text of the chat, an address, a token or a fingerprint. The one text
//! of a visitor in it is the [`Comment`] that they write to the shop with a rating.

use std::fmt;

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
    /// The conversation; none for what happened to a site as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// When.
    pub at: Millis,
    /// What.
    pub kind: FactKind,
    /// W3C trace context of what led to it, where that trace is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

/// What a [`Fact`] tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FactKind {
    /// A session was created.
    SessionStarted(Visit),
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
    /// A visitor said what a reply was worth. Said again of the same message, the later word counts.
    ReplyRated {
        /// Whose reply.
        message_id: MessageId,
        /// What it was worth.
        rating: Rating,
        /// What the visitor wrote to the shop about it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        comment: Option<Comment>,
    },
    /// Calls to a site that were refused since the last such fact: one fact for many calls, because a flood of them must
    /// not become a flood of facts. Of no session.
    CallsRefused {
        /// Why: a word of the edge that tells, such as `limit_session_minute`.
        reason: String,
        /// How many.
        count: u64,
    },
    /// The visitor ended the session: what is known of it is to be erased.
    SessionEnded,
}

/// How a session came about. All of it is the browser's word, but the customer and the country.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Visit {
    /// The path of the shop's page, without query.
    pub page_path: Option<String>,
    /// The browser's language.
    pub locale: Option<String>,
    /// What kind of device it is, by its `User-Agent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<Device>,
    /// ISO 3166-1 alpha-2, in capitals, by a header of the proxy in front.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// Which customer of the shop, as a hash that analytics can make of the shop's own word for them; `None` for
    /// who is not signed in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer: Option<String>,
    /// How much spoke for a program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bot: Option<BotClass>,
}

/// What kind of device a browser runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Device {
    /// Held in one hand.
    Phone,
    /// Held in two.
    Tablet,
    /// On a desk or a lap.
    Desktop,
    /// None of these, or a word of a later version.
    #[serde(other)]
    Other,
}

/// How much spoke for a program when a session began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BotClass {
    /// Nothing.
    Clear,
    /// Something, and less than what is challenged.
    Doubtful,
    /// Enough for a challenge, which was passed or is not asked for. Also a word of a later version.
    #[serde(other)]
    Likely,
}

/// What a reply was worth to its visitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rating {
    /// Helpful.
    Up,
    /// Not.
    Down,
}

/// What a visitor wrote to the shop with a rating, cleaned and bounded by an edge. Its `Debug` form shows no text.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Comment(pub String);

impl fmt::Debug for Comment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Comment({} bytes)", self.0.len())
    }
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
            Self::SessionStarted(_) => "session_started",
            Self::MessageAccepted { .. } => "message_accepted",
            Self::ReplyEnded { .. } => "reply_ended",
            Self::ReplyFailed { .. } => "reply_failed",
            Self::MessagePushed { .. } => "message_pushed",
            Self::ReplyRated { .. } => "reply_rated",
            Self::CallsRefused { .. } => "calls_refused",
            Self::SessionEnded => "session_ended",
        }
    }

    fn message_id(&self) -> Option<&MessageId> {
        match self {
            Self::SessionStarted(_) | Self::CallsRefused { .. } | Self::SessionEnded => None,
            Self::ReplyRated { message_id, .. }
            | Self::MessageAccepted { message_id, .. }
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

    /// A fact of now about a session.
    pub fn now(site: &SiteId, session: &SessionId, kind: FactKind) -> Self {
        Self::at(site, session, Millis::now(), kind)
    }

    /// A fact about a session. A reply's end and failure share one id: the first one told is the one that counts. A
    /// rating has its time in its id: the same one may be given again after another.
    pub fn at(site: &SiteId, session: &SessionId, at: Millis, kind: FactKind) -> Self {
        let rated;
        let tag = match &kind {
            FactKind::SessionStarted(_) => "started",
            FactKind::MessageAccepted { .. } => ACCEPTED,
            FactKind::ReplyEnded { .. } | FactKind::ReplyFailed { .. } => "done",
            FactKind::MessagePushed { .. } => "pushed",
            FactKind::ReplyRated { .. } => {
                rated = format!("rated{}", at.0);
                &rated
            }
            FactKind::CallsRefused { .. } => "refused",
            FactKind::SessionEnded => ENDED,
        };
        let id = FactId::of(session, kind.message_id(), tag);
        Self { v: 1, id, site: site.clone(), session: Some(session.clone()), at, kind, traceparent: None }
    }

    /// The same, as a part of this trace.
    #[must_use]
    pub fn traced(self, traceparent: Option<String>) -> Self {
        Self { traceparent, ..self }
    }

    /// A fact of now about a site as a whole. `id` must be new in the deployment.
    pub fn of_site(site: &SiteId, id: FactId, kind: FactKind) -> Self {
        Self { v: 1, id, site: site.clone(), session: None, at: Millis::now(), kind, traceparent: None }
    }
}
