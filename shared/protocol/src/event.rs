//! What a worker tells about a running reply, live, to every edge with a listener.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::{MessageId, Millis};

/// One thing that a worker says about a reply. Borrowed where it can be: a chunk is read by many, copied by none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event<'a> {
    /// Whose reply.
    pub message_id: MessageId,
    /// Which delivery of the message speaks: a later attempt overrules an earlier one.
    pub attempt: u32,
    /// What it says.
    #[serde(borrow)]
    pub what: What<'a>,
}

/// See [`Event`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What<'a> {
    /// n8n has begun to answer.
    Begin {
        /// When.
        at: Millis,
    },
    /// The next piece of text.
    Chunk {
        /// From 0, without gaps.
        index: u32,
        /// The text; never empty.
        #[serde(borrow)]
        content: Cow<'a, str>,
    },
    /// The run lives. Sent every 500 ms, so that a lost last chunk is noticed.
    Heartbeat {
        /// The index that the next chunk will have.
        next: u32,
        /// Whether `Begin` was said.
        begun: bool,
    },
    /// n8n's answer broke off, and the workflow may still send the rest late.
    Waiting {
        /// When the reply fails if nothing comes.
        until: Millis,
    },
    /// The reply is over.
    Done(Terminal),
}

impl std::fmt::Debug for What<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Begin { at } => write!(f, "Begin({})", at.0),
            Self::Chunk { index, content } => write!(f, "Chunk({index}, {} bytes)", content.len()),
            Self::Heartbeat { next, begun } => write!(f, "Heartbeat({next}, {begun})"),
            Self::Waiting { until } => write!(f, "Waiting({})", until.0),
            Self::Done(terminal) => write!(f, "Done({terminal:?})"),
        }
    }
}

/// How a reply ended: exactly one for every message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Terminal {
    /// n8n said all that it had to say, or the visitor stopped it.
    End {
        /// How many chunks came before.
        chunks: u32,
        /// Which of the two.
        finish_reason: FinishReason,
        /// From acceptance to here.
        duration_ms: u64,
    },
    /// There is no (whole) reply.
    Failed {
        /// How many chunks came before.
        chunks: u32,
        /// Why.
        code: FailureCode,
    },
}

impl Terminal {
    /// How many chunks lie below this terminal.
    pub fn chunks(&self) -> u32 {
        match self {
            Self::End { chunks, .. } | Self::Failed { chunks, .. } => *chunks,
        }
    }
}

/// Why a reply ended without failing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// n8n was done.
    Stop,
    /// The visitor (or a newer message) stopped it.
    Cancelled,
}

impl FinishReason {
    /// The public name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Why a reply failed: the public codes of the HTTP contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureCode {
    /// Refused, unknown host, 5xx before a body, or an HTML page instead of an answer.
    UpstreamUnreachable,
    /// Silence past a limit.
    UpstreamTimeout,
    /// n8n said that it failed, or its answer was cut.
    UpstreamError,
    /// n8n answered in a form that holds no reply.
    UpstreamInvalid,
    /// n8n answered with nothing at all.
    UpstreamEmpty,
    /// n8n refused our key.
    UpstreamUnauthorized,
    /// The worker does not call n8n for a while.
    CircuitOpen,
    /// The run was cut after it began, by our own doing; it is not run again by itself.
    Interrupted,
    /// Nobody took it in time; it was not run and never will be.
    QueueTimeout,
    /// The reply was over the size limit.
    TooLarge,
}

impl FailureCode {
    /// Every code, for tables and metrics.
    pub const ALL: [Self; 10] = [
        Self::UpstreamUnreachable,
        Self::UpstreamTimeout,
        Self::UpstreamError,
        Self::UpstreamInvalid,
        Self::UpstreamEmpty,
        Self::UpstreamUnauthorized,
        Self::CircuitOpen,
        Self::Interrupted,
        Self::QueueTimeout,
        Self::TooLarge,
    ];

    /// The public name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UpstreamUnreachable => "upstream_unreachable",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::UpstreamError => "upstream_error",
            Self::UpstreamInvalid => "upstream_invalid",
            Self::UpstreamEmpty => "upstream_empty",
            Self::UpstreamUnauthorized => "upstream_unauthorized",
            Self::CircuitOpen => "circuit_open",
            Self::Interrupted => "interrupted",
            Self::QueueTimeout => "queue_timeout",
            Self::TooLarge => "too_large",
        }
    }

    /// Seconds after which asking again may help; `None` where it won't until somebody mends the shop's set-up.
    pub fn retry_after(self) -> Option<u32> {
        match self {
            Self::UpstreamUnreachable | Self::CircuitOpen | Self::QueueTimeout => Some(5),
            Self::UpstreamTimeout | Self::UpstreamError | Self::UpstreamEmpty => Some(2),
            Self::Interrupted => Some(1),
            Self::UpstreamInvalid | Self::UpstreamUnauthorized | Self::TooLarge => None,
        }
    }

    /// The sentence for the visitor: plain, and silent about what stands behind the shop's chat.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::UpstreamUnreachable | Self::CircuitOpen => {
                "The assistant can't be reached right now. Please try again in a moment."
            }
            Self::UpstreamTimeout => "The assistant took too long to answer. Please try again.",
            Self::UpstreamError => "The assistant ran into a problem. Please try again.",
            Self::UpstreamInvalid | Self::UpstreamUnauthorized => {
                "The assistant isn't available at the moment. Please contact the shop."
            }
            Self::UpstreamEmpty => "The assistant had no answer. Please try asking in another way.",
            Self::Interrupted => "The answer was interrupted. Please ask again.",
            Self::QueueTimeout => "The assistant is very busy right now. Please try again in a moment.",
            Self::TooLarge => "The answer was too long to show.",
        }
    }
}

impl Event<'_> {
    /// The same event, borrowing this one's text.
    pub fn borrowed(&self) -> Event<'_> {
        let what = match &self.what {
            What::Begin { at } => What::Begin { at: *at },
            What::Chunk { index, content } => What::Chunk { index: *index, content: Cow::Borrowed(content) },
            What::Heartbeat { next, begun } => What::Heartbeat { next: *next, begun: *begun },
            What::Waiting { until } => What::Waiting { until: *until },
            What::Done(terminal) => What::Done(terminal.clone()),
        };
        Event { message_id: self.message_id.clone(), attempt: self.attempt, what }
    }

    /// The same event with text of its own.
    pub fn owned(&self) -> Event<'static> {
        let what = match &self.what {
            What::Begin { at } => What::Begin { at: *at },
            What::Chunk { index, content } => {
                What::Chunk { index: *index, content: Cow::Owned(content.clone().into_owned()) }
            }
            What::Heartbeat { next, begun } => What::Heartbeat { next: *next, begun: *begun },
            What::Waiting { until } => What::Waiting { until: *until },
            What::Done(terminal) => What::Done(terminal.clone()),
        };
        Event { message_id: self.message_id.clone(), attempt: self.attempt, what }
    }
}
