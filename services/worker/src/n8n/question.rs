//! What n8n gets: the request's body.

use bytes::Bytes;
use protocol::{Message, Millis, Page};
use serde::Serialize;
use serde_json::value::RawValue;
use url::Url;

use crate::token::{Signer, rfc3339};

/// What n8n gets: the names its Chat Trigger reads, then those that workflows of the Python predecessor read.
#[derive(Serialize)]
struct Question<'a> {
    action: &'static str,
    #[serde(rename = "chatInput")]
    chat_input: &'a str,
    #[serde(rename = "sessionId")]
    session_id: &'a str,
    message: &'a str,
    message_id: &'a str,
    timestamp: String,
    jwt_token: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_url: Option<&'a str>,
    session: Session<'a>,
    metadata: Metadata<'a>,
}

#[derive(Serialize)]
struct Session<'a> {
    session_id: &'a str,
    origin_domain: Option<&'a str>,
    page_url: Option<&'a str>,
    user_agent: Option<&'a str>,
    client_ip: Option<&'a str>,
    timestamp: f64,
}

/// As the browser claims: nothing here is verified.
#[derive(Serialize)]
struct Metadata<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    page: Option<&'a Page>,
    #[serde(skip_serializing_if = "Option::is_none")]
    locale: Option<&'a str>,
}

pub(super) fn body(message: &Message, signer: &Signer) -> Result<Bytes, &'static str> {
    let token = signer.sign(message, Millis::now()).map_err(|_| "the token can't be signed")?;
    let origin = message.origin.as_deref().and_then(|origin| Url::parse(origin).ok());
    let question = Question {
        action: "sendMessage",
        chat_input: &message.text,
        session_id: message.session.as_str(),
        message: &message.text,
        message_id: message.message_id.as_str(),
        timestamp: rfc3339(message.accepted_at),
        jwt_token: &token,
        reply_url: message.reply_url.as_deref(),
        session: Session {
            session_id: message.session.as_str(),
            origin_domain: origin.as_ref().and_then(Url::host_str),
            page_url: message.page.as_ref().and_then(|page| page.url.as_deref()),
            user_agent: message.user_agent.as_deref(),
            client_ip: message.client_ip.as_deref(),
            timestamp: seconds(message.accepted_at),
        },
        metadata: Metadata {
            context: message.context.as_deref(),
            page: message.page.as_ref(),
            locale: message.locale.as_deref(),
        },
    };
    serde_json::to_vec(&question).map(Bytes::from).map_err(|_| "the request can't be written as JSON")
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are exact in an f64 for 285,000 years")]
fn seconds(at: Millis) -> f64 {
    at.0 as f64 / 1000.0
}
