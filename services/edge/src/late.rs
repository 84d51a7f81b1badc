//! What a workflow says after it has answered: it posts to the `reply_url` that came with the message.
//!
//! That URL is minted here, carries a token of its own (one session, one message, an end), and is the only credential:
//! n8n has no browser's `Origin`, and all of a shop's sessions come from its one address. While the reply is not over,
//! the text becomes a part of it: the worker that runs it records it, and only then the workflow is answered. After
//! that it becomes a message of its own, which the edge itself writes into the session's record (`push`).
//!
//! A repeat with the same `Idempotency-Key` changes nothing, whichever of the two ways the first one went.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Path, Request, rejection::PathRejection},
    http::HeaderMap,
    response::Response,
};
use bus::{Late, PutError, Read, Taken};
use hmac::Mac as _;
use protocol::{
    Event, Fact, FactKind, FinishReason, Message, MessageId, Millis, Record, Reply, State as ReplyState, Terminal,
    What,
    record::{MAX_REPLIES, MAX_TEXT},
};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::{
    body,
    chat::away,
    keyed::{Purpose, derive},
    metrics::Outcome,
    openapi,
    problem::ApiError,
    request::{Call, text as header},
    session::no_store,
    state::State,
    time,
    token::ReplyKey,
};

/// The route, without the token at its end.
pub(crate) const ROUTE: &str = "/api/v1/chat/reply/";
/// While a reply changes its worker, what comes late waits here for so long.
const WITHIN: Duration = Duration::from_secs(15);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(250);
/// Longest idempotency key.
const MAX_KEY: usize = 255;

/// What a workflow says late.
#[derive(Deserialize, ToSchema)]
pub(crate) struct More {
    /// The text; may be empty where the reply only ends.
    #[serde(default)]
    content: String,
    /// Whether the reply ends with it.
    #[serde(default = "yes", rename = "final")]
    #[schema(default = true)]
    last: bool,
    /// `reply`: a part of the message's reply, and a message of its own once that is over. `push`: in any case a
    /// message of its own.
    #[serde(default)]
    kind: Kind,
}

fn yes() -> bool {
    true
}

/// See [`More`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    #[default]
    Reply,
    Push,
}

/// What a late text became.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Became {
    /// A part of the message's reply.
    Reply,
    /// A message of its own.
    Push,
    /// The visitor stopped the reply, and is shown no more of it.
    Nothing,
}

/// What became of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Received {
    /// Whose text it became.
    #[schema(value_type = String)]
    message_id: MessageId,
    kind: Became,
    /// Whether it came before.
    duplicate: bool,
}

/// The URL to which the message's workflow may post.
pub(crate) fn url(state: &State, message: &Message) -> Option<String> {
    let base = state.reply_base.as_ref()?.as_str().trim_end_matches('/');
    let key = ReplyKey {
        site: message.site.clone(),
        session: message.session.clone(),
        message_id: message.message_id.clone(),
    };
    let token = state.tokens.reply_token(key, state.config.late.reply_url_ttl, time::now());
    Some(format!("{base}{ROUTE}{token}"))
}

/// Say more, from a workflow.
#[utoipa::path(post, path = "/api/v1/chat/reply/{token}", tag = "Workflows", request_body = More,
    params(("token" = String, Path, description = "As in the message's `reply_url`"), openapi::IdempotencyKey),
    responses(
        (status = 200, description = "It is kept, and shown to the visitor", body = Received),
        (status = 401, description = "`token_invalid` or `token_expired`", body = openapi::Problem,
            content_type = "application/problem+json"),
        (status = 410, description = "`session_ended`", body = openapi::Problem,
            content_type = "application/problem+json"),
        openapi::BadBody, openapi::Refused))]
pub(crate) async fn post(
    state: State,
    call: Arc<Call>,
    token: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let token = token.as_ref().map_or("", |Path(token)| token);
    let received = take(&state, &call, token, request).await;
    let outcome = match &received {
        Ok(Received { duplicate: true, .. }) => "repeated",
        Ok(Received { kind: Became::Reply, .. }) => "taken",
        Ok(Received { kind: Became::Push, .. }) => "pushed",
        Ok(Received { kind: Became::Nothing, .. }) => "stopped",
        Err(_) => "refused",
    };
    state.metrics.late_replies.get_or_create(&Outcome { outcome }).inc();
    received.map(no_store)
}

async fn take(state: &State, call: &Call, token: &str, request: Request) -> Result<Received, ApiError> {
    let key = match state.tokens.verify_reply(token, time::now()) {
        Ok(key) => key,
        // Whoever guesses is counted as any other caller.
        Err(refused) => {
            call.count(state.limits.call(call.ip))?;
            return Err(refused.into());
        }
    };
    call.count(state.limits.late(&key.session))?;
    state.ended.check(&key.session).await?;
    state.sites.get(&key.site).ok_or(ApiError::TokenInvalid)?;
    body::must_be_json(request.headers())?;
    let idempotency = idempotency_key(request.headers())?;
    let more: More = body::parse(&body::raw(request, state).await?)?;
    if more.content.is_empty() && !(more.last && more.kind == Kind::Reply) {
        return Err(ApiError::field("content", "content must not be empty"));
    }
    let id = Id::new(state, &key, idempotency.as_deref());
    // A task of its own: a workflow that hangs up has said it all the same.
    let deliver = Delivery { state: state.clone(), key, more, id };
    state.tasks.spawn(deliver.run()).await.unwrap_or(Err(ApiError::Internal))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let bad = || ApiError::field("Idempotency-Key", "must be 1 to 255 characters, once");
    let mut keys = headers.get_all("idempotency-key").iter();
    match (keys.next(), keys.next()) {
        (None, _) => Ok(None),
        (Some(_), None) => {
            let key = header(headers, "idempotency-key").filter(|key| (1..=MAX_KEY).contains(&key.len()));
            key.map(|key| Some(key.to_owned())).ok_or_else(bad)
        }
        _ => Err(bad()),
    }
}

/// What tells one late piece from another: a hash of the message and its idempotency key.
struct Id(String);

impl Id {
    fn new(state: &State, key: &ReplyKey, idempotency: Option<&str>) -> Self {
        let random;
        let chosen = match idempotency {
            Some(chosen) => chosen,
            None => {
                random = format!("{:032x}", rand::random::<u128>());
                &random
            }
        };
        let mac = state.late_ids.clone().chain_update(key.session.as_str()).chain_update([0]);
        let mac = mac.chain_update(key.message_id.as_str()).chain_update([0]).chain_update(chosen);
        let hash = mac.finalize().into_bytes();
        Self(runtime::asset::hex(&hash[..12]))
    }

    /// The id of the message that it may become: nobody can guess it before.
    fn pushed(&self) -> MessageId {
        MessageId::new(&format!("push_{}", self.0)).expect("a prefix and 24 hex digits are an id")
    }
}

/// One post on its way.
struct Delivery {
    state: State,
    key: ReplyKey,
    more: More,
    id: Id,
}

impl Delivery {
    async fn run(self) -> Result<Received, ApiError> {
        if self.more.kind == Kind::Push {
            return self.push().await;
        }
        let give_up = Instant::now() + WITHIN;
        let late = Late {
            message_id: self.key.message_id.clone(),
            key: self.id.0.clone(),
            content: self.more.content.clone(),
            last: self.more.last,
        };
        loop {
            match self.state.bus.late(&self.key.session, &late).await.map_err(|error| away(&error))? {
                Some(Taken::Now) => return Ok(self.in_reply(false)),
                Some(Taken::Before) => return Ok(self.in_reply(true)),
                Some(Taken::TooLarge) => return Err(ApiError::ReplyTooLarge),
                Some(Taken::Over) | None => {}
            }
            match self.place().await? {
                Place::Over => return self.push().await,
                Place::Taken => return Ok(self.in_reply(true)),
                Place::Stopped => return Ok(Received { kind: Became::Nothing, ..self.in_reply(false) }),
                // Its worker stopped or died, and another one is about to go on.
                Place::Running if Instant::now() < give_up => tokio::time::sleep(PAUSE).await,
                Place::Running => {
                    let detail = "The reply is changing hands; send it again with the same Idempotency-Key.";
                    return Err(ApiError::Overloaded { retry_after: 5, detail });
                }
            }
        }
    }

    fn in_reply(&self, duplicate: bool) -> Received {
        Received { message_id: self.key.message_id.clone(), kind: Became::Reply, duplicate }
    }

    /// How the reply is that no worker answers for.
    async fn place(&self) -> Result<Place, ApiError> {
        let session = &self.key.session;
        let stored = self.state.bus.record(session, Read::Exact).await.map_err(|error| away(&error))?;
        if stored.record.ended {
            return Err(ApiError::SessionEnded);
        }
        Ok(match stored.record.find(&self.key.message_id) {
            Some(reply) if reply.late.contains(&self.id.0) => Place::Taken,
            Some(Reply { terminal: Some(Terminal::End { finish_reason: FinishReason::Cancelled, .. }), .. }) => {
                Place::Stopped
            }
            Some(reply) if reply.state == ReplyState::Running => Place::Running,
            // n8n has the URL only once the record holds the claim: what is not there is long over.
            _ => Place::Over,
        })
    }

    /// Makes it a message of its own: in the record, from where every edge reads it once it hears that it is there.
    async fn push(&self) -> Result<Received, ApiError> {
        let (bus, session) = (&self.state.bus, &self.key.session);
        let message_id = self.id.pushed();
        let received = |duplicate| Received { message_id: message_id.clone(), kind: Became::Push, duplicate };
        if self.more.content.is_empty() {
            // It only would have ended a reply that is over.
            return Ok(self.in_reply(true));
        }
        // Each refusal means that a worker wrote in between, which it does once a second.
        for _ in 0..8 {
            let stored = bus.record(session, Read::Exact).await.map_err(|error| away(&error))?;
            let mut record = stored.record;
            if record.ended {
                return Err(ApiError::SessionEnded);
            }
            if let Some(held) = record.find(&message_id) {
                // Whoever wrote it may not have come to say so.
                self.announce(held);
                return Ok(received(true));
            }
            if record.knows(&message_id) {
                return Ok(received(true));
            }
            if !has_room(&record, self.more.content.len()) {
                let detail = "Too many messages wait behind a reply that runs; send it again later.";
                return Err(ApiError::Overloaded { retry_after: 5, detail });
            }
            if record.find(&self.key.message_id).is_some_and(|reply| reply.late.contains(&self.id.0)) {
                return Ok(self.in_reply(true));
            }
            let reply = self.pushed(message_id.clone());
            record.put(&reply);
            match bus.put_record(&record, stored.revision).await {
                Ok(_) => {
                    self.announce(&reply);
                    return Ok(received(false));
                }
                Err(PutError::Lost) => {}
                Err(PutError::Bus(error)) => return Err(away(&error)),
            }
        }
        Err(ApiError::Overloaded { retry_after: 1, detail: "The session's record is written by others all the time." })
    }

    /// Tells edges and analytics. Told twice, both take it once.
    fn announce(&self, reply: &Reply) {
        let (session, message_id) = (&self.key.session, reply.message_id.clone());
        if let Some(terminal) = &reply.terminal {
            // Only the end: whoever hears it sees that the text is missing, and looks it up.
            let event = Event { message_id: message_id.clone(), attempt: 0, what: What::Done(terminal.clone()) };
            self.state.bus.sender(session).send(&event);
        }
        let chars = u32::try_from(self.more.content.chars().count()).unwrap_or(u32::MAX);
        self.state.tell(Fact::now(&self.key.site, session, FactKind::MessagePushed { message_id, chars }));
    }

    fn pushed(&self, message_id: MessageId) -> Reply {
        let run = format!("push-{:016x}", rand::random::<u64>());
        let mut reply = Reply::new(message_id, String::new(), 0, run);
        reply.push_of = Some(self.key.message_id.clone());
        reply.begun_at = Some(Millis::now());
        reply.push_text(&self.more.content);
        let chunks = reply.next;
        reply.finish(Terminal::End { chunks, finish_reason: FinishReason::Stop, duration_ms: 0 });
        reply
    }
}

/// Whether one more message can wait behind a reply that runs, so that none of them is dropped before it is shown.
fn has_room(record: &Record, bytes: usize) -> bool {
    let mut behind = record.replies.iter().skip_while(|reply| reply.state != ReplyState::Running);
    if behind.next().is_none() {
        return true;
    }
    let (count, text) = behind.fold((0, bytes), |(count, text), reply| (count + 1, text + reply.text_bytes()));
    count < MAX_REPLIES - 1 && text <= MAX_TEXT / 2
}

/// See [`Delivery::place`].
enum Place {
    Over,
    /// It holds this piece already.
    Taken,
    Running,
    /// Its visitor stopped it, and wants no more of it.
    Stopped,
}

/// The key of [`Id`].
pub(crate) fn ids(secret: &runtime::Secret) -> hmac::Hmac<sha2::Sha256> {
    derive(secret, Purpose::LateIds)
}

#[cfg(test)]
mod tests {
    use protocol::SessionId;

    use super::*;

    /// Behind a reply that runs only so much waits as the record, and an edge's memory, keep until it is shown.
    #[test]
    fn what_waits_behind_a_running_reply_is_bounded() {
        let reply = |n: usize, text: &str, over: bool| {
            let id = MessageId::new(&format!("message-{n}")).unwrap();
            let mut reply = Reply::new(id, "d".into(), 1, "run".into());
            reply.push_text(text);
            if over {
                reply.finish(Terminal::End { chunks: reply.next, finish_reason: FinishReason::Stop, duration_ms: 0 });
            }
            reply
        };
        let check = |runs: bool, behind: usize, bytes: usize, expected: bool| {
            let mut record = Record::new(SessionId::mint(1, 1));
            record.put(&reply(0, "x", !runs));
            (1..=behind).for_each(|n| record.put(&reply(n, &"y".repeat(bytes), true)));
            assert_eq!(has_room(&record, bytes), expected, "{runs} {behind} {bytes}");
        };
        check(true, 0, 60_000, true);
        check(true, 6, 100, true);
        check(true, 7, 100, false);
        check(true, 1, 60_000, false);
        check(false, 7, 10_000, true);
    }
}
