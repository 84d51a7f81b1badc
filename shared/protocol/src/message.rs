//! What a visitor says, as the edge hands it to a worker.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{MessageId, Millis, SessionId, SiteId};

/// One message of a visitor, cleaned and accepted by an edge. Its `Debug` form shows no text.
#[derive(Clone, Serialize, Deserialize)]
pub struct Message {
    /// The form's version; 1.
    pub v: u8,
    /// The shop.
    pub site: SiteId,
    /// The conversation.
    pub session: SessionId,
    /// The client's idempotency key.
    pub message_id: MessageId,
    /// What the visitor said, cleaned.
    pub text: String,
    /// A keyed fingerprint of `text`: tells a repeat from a different message under the same id without keeping text.
    pub digest: String,
    /// The browser's own history, cleaned, newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Turn>,
    /// The page that the visitor was on, as the browser claims.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<Page>,
    /// What the page said about itself, as the browser claims: any JSON, bounded by the edge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Box<RawValue>>,
    /// The `metadata` of the session's creation, bounded by the edge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Box<RawValue>>,
    /// The browser's language, as it claims.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// The shop page's origin, checked by the edge against the site's list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// The browser's `User-Agent`, as it claims.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// The visitor's address; filled only when the operator asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ip: Option<String>,
    /// The customer whom the shop's own server vouched for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Box<RawValue>>,
    /// Where a workflow can send text of this reply, or of a new message in the session, after it has answered. A
    /// secret: who knows it speaks in the shop's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_url: Option<String>,
    /// When the edge accepted it.
    pub accepted_at: Millis,
    /// W3C trace context of how it was handed on, if there is a trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message")
            .field("site", &self.site)
            .field("session", &self.session)
            .field("message_id", &self.message_id)
            .field("chars", &self.text.chars().count())
            .finish_non_exhaustive()
    }
}

/// Who said a [`Turn`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The visitor.
    User,
    /// The shop's assistant.
    Assistant,
}

/// One turn of the browser's history. Its `Debug` form shows no text.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// Who said it.
    pub role: Role,
    /// What was said.
    pub content: String,
}

impl std::fmt::Debug for Turn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Turn({:?}, {} bytes)", self.role, self.content.len())
    }
}

/// A page of the shop, as the browser claims.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Page {
    /// Its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Its title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Where the visitor came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub referrer: Option<String>,
}

impl std::fmt::Debug for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Page(..)")
    }
}
