//! What can be asked of the store, and what it answers: the JSON forms of the API, the report and the dashboard.

use std::collections::BTreeMap;

use protocol::{BotClass, Comment, Device, MessageId, Millis, SessionId, SiteId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// From a moment to another, which is not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first moment in it.
    pub from: Millis,
    /// The first one behind it.
    pub until: Millis,
}

impl Range {
    /// The words for ranges that end now, and how many minutes each is long.
    pub(crate) const WORDS: [(&str, i64); 7] = [
        ("15m", 15),
        ("1h", 60),
        ("24h", 24 * 60),
        ("7d", 7 * 24 * 60),
        ("30d", 30 * 24 * 60),
        ("90d", 90 * 24 * 60),
        ("365d", 365 * 24 * 60),
    ];

    /// The range of one of these words: `7d` are the last seven days.
    pub(crate) fn of_word(word: &str, now: Millis) -> Option<Self> {
        let (_, minutes) = Self::WORDS.iter().find(|(known, _)| *known == word)?;
        Some(Self { from: Millis(now.0.saturating_sub(minutes * 60_000).max(0)), until: now })
    }
}

/// How long the steps of a series are. They begin at whole minutes, hours and days of UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Bucket {
    /// 60 s.
    Minute,
    /// 3,600 s.
    Hour,
    /// 86,400 s.
    Day,
}

/// What a series is of. Counts are 0 where nothing happened; times are missing where nothing was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Sessions by when they started.
    Sessions,
    /// Messages accepted.
    Messages,
    /// Replies that came to their end.
    Ended,
    /// Replies that were stopped.
    Cancelled,
    /// Replies that failed.
    Failed,
    /// Messages that workflows sent by themselves.
    Pushed,
    /// Chunks of all replies.
    Chunks,
    /// Replies rated as helpful.
    RatedUp,
    /// Replies rated as not helpful.
    RatedDown,
    /// Calls refused.
    Refused,
    /// Median time from acceptance to the first chunk, ms.
    FirstChunkMsP50,
    /// Its 95th percentile, ms.
    FirstChunkMsP95,
    /// Median time from acceptance to the end of a reply, ms.
    DurationMsP50,
    /// Its 95th percentile, ms.
    DurationMsP95,
}

/// A site's, or all sites', figures in a range. The range is widened to whole minutes, hours or days, by its length.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Summary {
    /// Sessions that started.
    pub sessions: u64,
    /// Those of customers who were signed in at the shop.
    pub identified: u64,
    /// Messages accepted.
    pub messages: u64,
    /// Replies that came to their end.
    pub ended: u64,
    /// Replies that were stopped.
    pub cancelled: u64,
    /// Replies that failed, by the public code.
    pub failed: BTreeMap<String, u64>,
    /// Messages that workflows sent by themselves.
    pub pushed: u64,
    /// Chunks of all replies.
    pub chunks: u64,
    /// Replies rated as helpful.
    pub rated_up: u64,
    /// Replies rated as not helpful.
    pub rated_down: u64,
    /// Calls refused, by reason.
    pub refused: BTreeMap<String, u64>,
    /// From acceptance to the first chunk.
    pub first_chunk_ms: Times,
    /// From acceptance to the end of a reply.
    pub duration_ms: Times,
}

/// What a histogram says, in ms, exact to a few per cent. `None` where nothing was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Times {
    /// How many were measured.
    pub count: u64,
    /// The median.
    pub p50: Option<u64>,
    /// The 90th percentile.
    pub p90: Option<u64>,
    /// The 95th.
    pub p95: Option<u64>,
    /// The 99th.
    pub p99: Option<u64>,
}

/// Series over one range, all with the same steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Timeseries {
    /// When each step begins, in Unix seconds, ascending, without holes.
    pub t: Vec<i64>,
    /// A value for each step; `None` only for times that were not measured.
    pub series: BTreeMap<Metric, Vec<Option<u64>>>,
}

/// Messages by day of the week and hour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BusyHours {
    /// Monday first, then the hour of the day, in the time zone that was asked for.
    pub messages: [[u64; 24]; 7],
}

/// On which pages of the shop sessions began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pages {
    /// The most frequent first.
    pub pages: Vec<PageCount>,
    /// Sessions on all others, and on those that were not counted one by one because a site had too many.
    pub other: u64,
}

/// One page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PageCount {
    /// Its path.
    pub path: String,
    /// Sessions that began there.
    pub sessions: u64,
}

/// Which sessions are asked for. All given conditions must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Has a reply with this outcome: `ended`, `cancelled`, `failed`, or a public failure code.
    pub outcome: Option<String>,
    /// Of a customer who was signed in, or not.
    pub identified: Option<bool>,
    /// Began on a page whose path begins so.
    pub page: Option<String>,
    /// On such a device.
    pub device: Option<Device>,
    /// From this country.
    pub country: Option<String>,
    /// Has a reply rated so: `up`, `down`.
    pub rating: Option<protocol::Rating>,
}

/// One page of a list, newest session first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SessionPage {
    /// Sessions by when they started, newest first.
    pub sessions: Vec<SessionRow>,
    /// Where the next page begins; `None` at the end. Stable: sessions that come in between are not on it twice, and
    /// none is left out. A page may have fewer rows than asked for, or none, and still have a next one: a call reads a
    /// bounded number of rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Place>,
}

/// A place in the list of sessions: behind this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The session's site.
    pub site: SiteId,
    /// When it started, in Unix seconds, as its id says.
    pub began: u64,
    /// The session.
    pub session: SessionId,
}

/// One page of a list, newest comment first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommentPage {
    /// Comments by when they were said, newest first.
    pub comments: Vec<CommentRow>,
    /// Where the next page begins; `None` at the end. As of [`SessionPage`].
    pub next: Option<CommentPlace>,
}

/// A place in the list of comments: behind this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommentPlace {
    /// The comment's site.
    pub site: SiteId,
    /// When it was said.
    pub at: Millis,
    /// In which session.
    pub session: SessionId,
    /// Of which message.
    pub message_id: MessageId,
}

/// What a visitor wrote with a rating.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CommentRow {
    /// Whose.
    #[schema(value_type = String)]
    pub site: SiteId,
    /// In which session.
    #[schema(value_type = String)]
    pub session: SessionId,
    /// Of the reply to which message.
    #[schema(value_type = String)]
    pub message_id: MessageId,
    /// When, Unix ms.
    #[schema(value_type = i64)]
    pub at: Millis,
    /// `up` or `down`.
    #[schema(value_type = String)]
    pub rating: protocol::Rating,
    /// The visitor's words, as plain text.
    #[schema(value_type = String)]
    pub comment: Comment,
    /// The path of the shop's page on which the session began.
    pub page_path: Option<String>,
}

/// What is known of one session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SessionRow {
    /// Which.
    #[schema(value_type = String)]
    pub id: SessionId,
    /// Whose.
    #[schema(value_type = String)]
    pub site: SiteId,
    /// When it began, Unix ms.
    #[schema(value_type = i64)]
    pub started: Millis,
    /// When something last happened in it, Unix ms.
    #[schema(value_type = i64)]
    pub last_seen: Millis,
    /// The path of the shop's page on which it began.
    pub page_path: Option<String>,
    /// The browser's language.
    pub locale: Option<String>,
    /// The browser's device.
    #[schema(value_type = Option<String>)]
    pub device: Option<Device>,
    /// ISO 3166-1 alpha-2.
    pub country: Option<String>,
    /// Whether a customer was signed in.
    pub identified: bool,
    /// How much spoke for a program.
    #[schema(value_type = Option<String>)]
    pub bot: Option<BotClass>,
    /// Messages accepted.
    pub messages: u64,
    /// Replies that came to their end.
    pub ended: u64,
    /// Replies that were stopped.
    pub cancelled: u64,
    /// Replies that failed, by the public code.
    pub failed: BTreeMap<String, u64>,
    /// Messages that workflows sent by themselves.
    pub pushed: u64,
    /// Chunks of all replies.
    pub chunks: u64,
    /// Replies rated as helpful.
    pub rated_up: u64,
    /// Replies rated as not helpful.
    pub rated_down: u64,
    /// Mean from acceptance to the first chunk, ms.
    pub first_chunk_ms: Option<u64>,
    /// Mean from acceptance to the end, ms.
    pub duration_ms: Option<u64>,
}

/// One thing that happened in a session, for its timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Happening {
    /// When, Unix ms.
    #[schema(value_type = i64)]
    pub at: Millis,
    /// The fact's kind: `session_started`, `message_accepted`, `reply_ended`, `reply_failed`, `message_pushed`,
    /// `reply_rated`.
    pub kind: String,
    /// Of which message.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub message_id: Option<MessageId>,
    /// The failure's code, `stop` or `cancelled`, or the rating.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// From acceptance to the first chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_chunk_ms: Option<u64>,
    /// From acceptance to the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// Chunks of the reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunks: Option<u64>,
    /// Characters of the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chars: Option<u64>,
    /// What the visitor wrote with a rating.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub comment: Option<Comment>,
}

/// One session with all that is kept of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SessionDetail {
    /// The row.
    #[serde(flatten)]
    pub row: SessionRow,
    /// What happened, in order.
    pub timeline: Vec<Happening>,
    /// Whether more happened than the timeline keeps.
    pub timeline_cut: bool,
}
