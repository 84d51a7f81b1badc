//! Messages, streams, tickets and cancels.

use axum::{
    extract::{Path, rejection::PathRejection},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use protocol::{Message, MessageId, Millis, Page, Turn as Said};
use runtime::trace;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use url::form_urlencoded;
use utoipa::ToSchema;

use crate::{
    bots::{self, Signals},
    clean::clean,
    handoff::{stop, submit},
    hub::{Heard, Hub},
    late,
    metrics::Resumed,
    openapi,
    problem::{ApiError, Rejection},
    session::{check_page, no_store, told_object, told_page},
    sse::{LastEvent, Seen},
    state::State,
    stream::{self, Kind},
    time,
    turn::Turn,
    visitor::{FromVisitor, Listener, Visitor},
};

/// `context` as the page wrote it, in bytes.
const MAX_CONTEXT: usize = 4096;

/// What a visitor says.
#[derive(Deserialize, ToSchema)]
pub(crate) struct Say {
    #[schema(example = "Where is my order?")]
    message: String,
    /// The idempotency key: the same id again never starts a second run. Made by the edge when absent.
    #[schema(value_type = Option<String>, min_length = 8, max_length = 64, pattern = "^[A-Za-z0-9_-]+$")]
    message_id: Option<MessageId>,
    /// The browser's own history, newest last.
    #[schema(value_type = Option<Vec<openapi::Turn>>)]
    history: Option<Vec<Said>>,
    #[schema(value_type = Option<openapi::Page>)]
    page: Option<Page>,
    /// What the page tells about itself: a JSON object of 4 KiB at most.
    #[schema(value_type = Option<Object>)]
    context: Option<Box<RawValue>>,
    /// What the widget tells of how the message came about.
    signals: Option<Signals>,
}

/// The reply is read elsewhere.
#[derive(Serialize, ToSchema)]
pub(crate) struct Accepted {
    #[schema(value_type = String)]
    message_id: MessageId,
    #[schema(value_type = String)]
    session_id: protocol::SessionId,
    stream_url: String,
}

/// Opens streams of one session.
#[derive(Serialize, ToSchema)]
pub(crate) struct Ticket {
    ticket: String,
    /// Seconds.
    #[schema(example = 60)]
    expires_in: u64,
}

/// Which reply to stop.
#[derive(Deserialize, Serialize, ToSchema)]
pub(crate) struct Cancel {
    #[schema(value_type = String)]
    message_id: MessageId,
}

/// Say something.
#[utoipa::path(post, path = "/api/v1/chat/message", tag = "Chat", request_body = Say, security(("token" = [])),
    params(openapi::Fingerprint, openapi::Resume, openapi::ChallengeResponse),
    responses(
        (status = 200, description = "The reply's events: `queued`, `begin`, `chunk`, then one `end` or `failed`",
            body = String, content_type = "text/event-stream"),
        (status = 202, description = "With `Accept: application/json`", body = Accepted),
        (status = 409, description = "`message_conflict` or `session_busy`", body = openapi::Problem,
            content_type = "application/problem+json"),
        openapi::BadBody, openapi::Unproved, openapi::Refused))]
pub(crate) async fn post_message(
    state: State,
    headers: HeaderMap,
    FromVisitor(visitor, mut say): FromVisitor<Say>,
) -> Result<Response, ApiError> {
    let signals = say.signals.take();
    let message = message(&state, &visitor, say)?;
    let request = bots::Request { call: &visitor.call, headers: &headers, signals: signals.as_ref() };
    // Before the message is handed on: one that was accepted has its reply.
    let slot = if wants_json(&headers) { None } else { Some(visitor.open_stream(&state)?) };
    let (message_id, session_id) = (message.message_id.clone(), message.session.clone());
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(LastEvent::parse);
    let mut turn = Turn::begin(visitor.site.id.as_str(), &message_id, last.is_some());
    let hub = submit(&state, &visitor, message, &request, &turn).await.inspect_err(|_| turn.is_refused())?;
    let Some(slot) = slot else {
        turn.is_elsewhere();
        let stream_url = format!("/api/v1/chat/stream/{session_id}?message_id={message_id}");
        return Ok((StatusCode::ACCEPTED, no_store(Accepted { message_id, session_id, stream_url })).into_response());
    };
    let cursor = hub.follow_one(&message_id, last.as_ref());
    Ok(stream::respond(&state, hub, cursor, Kind::Reply, slot, Some(turn)))
}

/// Listen to a session.
#[utoipa::path(get, path = "/api/v1/chat/stream/{session_id}", tag = "Chat", security(("token" = []), ("ticket" = [])),
    params(("session_id" = String, Path, description = "The token's session"),
        ("X-Fingerprint" = Option<String>, Header, description = "Needed with a token"),
        ("DPoP" = Option<String>, Header, description = "Needed with the token of a key-bound session"),
        openapi::Resume,
        openapi::StreamQuery),
    responses(
        (status = 200, description = "All events of the session", body = String, content_type = "text/event-stream"),
        openapi::Unproved, openapi::Refused))]
pub(crate) async fn stream(
    state: State,
    session: Result<Path<String>, PathRejection>,
    method: Method,
    headers: HeaderMap,
    uri: Uri,
    Listener(visitor): Listener,
) -> Result<Response, ApiError> {
    // What is no text is no session of this visitor's either.
    visitor.must_be(session.as_ref().map_or("", |Path(session)| session))?;
    let query = Query::parse(uri.query().unwrap_or_default())?;
    let reconnect = headers.get("last-event-id").map(|id| id.to_str().unwrap_or("?")).filter(|id| !id.is_empty());
    let last = reconnect.or(query.last_event_id.as_deref().filter(|id| !id.is_empty()));
    let slot = visitor.open_stream(&state)?;
    let parsed = last.map(|id| LastEvent::parse(id).ok_or(id));
    let place = parsed.as_ref().map(|last| last.as_ref().map_err(|unreadable| *unreadable));
    // The reply that the stream is opened for, whatever else it carries later.
    let wanted = match place {
        Some(Ok(last)) => Some(&last.message_id).filter(|_| last.seen != Seen::Over),
        Some(Err(_)) => None,
        None => query.message_id.as_ref(),
    };
    let mut turn = wanted.map(|wanted| Turn::begin(visitor.site.id.as_str(), wanted, last.is_some()));
    let (said, named) = (query.message, query.message_id.as_ref());
    let opened = async {
        match (said, named) {
            // A reconnect resumes: it never asks twice. A HEAD changes nothing.
            (Some(text), Some(message_id)) if reconnect.is_none() && method != Method::HEAD => {
                let say = Say { message_id: Some(message_id.clone()), ..Say::plain(text) };
                let request = bots::Request { call: &visitor.call, headers: &headers, signals: None };
                let message = message(&state, &visitor, say)?;
                let turn = turn.get_or_insert_with(|| Turn::begin(visitor.site.id.as_str(), message_id, false));
                submit(&state, &visitor, message, &request, turn).await
            }
            (Some(_), None) => Err(ApiError::field("message_id", "message_id is required with `message`")),
            _ => listen(&state, &visitor, named).await,
        }
    };
    let hub = opened.await.inspect_err(|_| {
        if let Some(turn) = &mut turn {
            turn.is_refused();
        }
    })?;
    let (cursor, found) = hub.follow_all(place, named);
    let result = match (last.is_some(), found) {
        (true, true) => Some("replayed"),
        (true, false) => Some("gap"),
        (false, _) => None,
    };
    if let Some(result) = result {
        state.metrics.resume.get_or_create(&Resumed { result }).inc();
    }
    // Who comes without the message's trace begins another one.
    if let (Some(turn), Some(wanted)) = (&turn, wanted)
        && let Some(traceparent) = hub.traceparent(wanted)
    {
        trace::link(turn.span(), &traceparent);
    }
    // One that is not here won't come.
    if let Some(mut turn) = turn.take_if(|_| !found) {
        turn.is_gap();
    }
    Ok(stream::respond(&state, hub, cursor, Kind::Session { resumed: last.is_some() && found }, slot, turn))
}

/// Get a ticket for a stream, for clients that can't set headers.
#[utoipa::path(post, path = "/api/v1/chat/ticket", tag = "Chat", security(("token" = [])),
    params(openapi::Fingerprint),
    responses((status = 200, description = "The ticket", body = Ticket), openapi::Unproved, openapi::Refused))]
pub(crate) async fn ticket(state: State, visitor: Visitor) -> Response {
    let (ticket, good_for) = state.tokens.ticket(&visitor.claims, time::now());
    no_store(Ticket { ticket, expires_in: good_for.as_secs() })
}

/// Stop a reply.
#[utoipa::path(post, path = "/api/v1/chat/cancel", tag = "Chat", request_body = Cancel, security(("token" = [])),
    params(openapi::Fingerprint),
    responses((status = 202, description = "It is or will be stopped, or was over"),
        openapi::BadBody, openapi::Unproved, openapi::Refused))]
pub(crate) async fn cancel(
    state: State,
    FromVisitor(visitor, cancel): FromVisitor<Cancel>,
) -> Result<Response, ApiError> {
    stop(&state, &visitor.site.id, &visitor.session, &cancel.message_id).await?;
    Ok((StatusCode::ACCEPTED, no_store(cancel)).into_response())
}

/// What a stream is asked for.
#[derive(Default)]
struct Query {
    message: Option<String>,
    message_id: Option<MessageId>,
    last_event_id: Option<String>,
}

impl Query {
    fn parse(query: &str) -> Result<Self, ApiError> {
        let mut parsed = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match name.as_ref() {
                "message" => parsed.message = Some(value.into_owned()),
                "message_id" => {
                    let id = MessageId::new(&value).map_err(|e| ApiError::field("message_id", e.to_string()))?;
                    parsed.message_id = Some(id);
                }
                "last_event_id" => parsed.last_event_id = Some(value.into_owned()),
                _ => {}
            }
        }
        Ok(parsed)
    }
}

impl Say {
    fn plain(message: String) -> Self {
        Self { message, message_id: None, history: None, page: None, context: None, signals: None }
    }
}

/// Checks and cleans what a visitor says.
fn message(state: &State, visitor: &Visitor, say: Say) -> Result<Message, ApiError> {
    check_page(say.page.as_ref())?;
    let context = say.context.map(|context| told_object("context", context, MAX_CONTEXT)).transpose()?;
    let text = clean(&say.message);
    let max_chars = visitor.site.message_max_chars;
    if text.is_empty() {
        return Err(ApiError::MessageRejected(Rejection::Empty));
    }
    if text.chars().count() > max_chars as usize {
        return Err(ApiError::MessageRejected(Rejection::TooLong { max_chars }));
    }
    let mut message = Message {
        v: 1,
        site: visitor.site.id.clone(),
        session: visitor.session.clone(),
        message_id: say.message_id.unwrap_or_else(|| MessageId::mint(rand::random())),
        digest: state.tokens.digest(&visitor.session, &text),
        text,
        history: history(say.history.unwrap_or_default(), visitor.site.history_max_messages as usize),
        page: say.page.map(told_page),
        context,
        metadata: visitor.claims.md.clone(),
        locale: visitor.claims.loc.clone(),
        origin: visitor.claims.org.clone(),
        user_agent: visitor.user_agent.clone(),
        client_ip: state.config.n8n_send_client_ip.then(|| visitor.call.ip.to_string()),
        identity: visitor.claims.idn.clone(),
        reply_url: None,
        accepted_at: Millis::now(),
        // Until it is handed on.
        traceparent: visitor.call.traceparent.clone(),
    };
    message.reply_url = late::url(state, &message);
    Ok(message)
}

/// The last `max` turns, cleaned like a message; turns of which nothing is left go.
fn history(turns: Vec<Said>, max: usize) -> Vec<Said> {
    let skip = turns.len().saturating_sub(max);
    let clean = turns.into_iter().skip(skip).map(|turn| Said { content: clean(&turn.content), ..turn });
    clean.filter(|turn| !turn.content.is_empty()).collect()
}

/// Opens the session's hub; a message that is only queued as yet is looked for.
async fn listen(state: &State, visitor: &Visitor, message_id: Option<&MessageId>) -> Result<Hub, ApiError> {
    if state.draining.is_cancelled() {
        return Err(ApiError::Overloaded { retry_after: 1, detail: "This edge is stopping; another one takes over." });
    }
    let hub = state.hubs.open(&visitor.session).await.map_err(|error| away(&error))?;
    if let Some(message_id) = message_id
        && let Heard::Nothing = hub.heard(message_id)
    {
        let pending = state.bus.pending(&visitor.session).await.map_err(|error| away(&error))?;
        match pending.filter(|pending| pending.message.message_id == *message_id) {
            Some(pending) => hub.expect(&pending.message, true),
            None => state.hubs.read_again(&hub).await.map_err(|error| away(&error))?,
        }
    }
    Ok(hub)
}

/// The bus can't take it now.
pub(crate) fn away(error: &bus::Error) -> ApiError {
    tracing::warn!(%error, "refused a call because of the bus");
    match error {
        bus::Error::Overloaded => ApiError::Overloaded { retry_after: 2, detail: "Too many messages wait." },
        bus::Error::Unavailable(_) | bus::Error::Invalid(_) => {
            ApiError::Overloaded { retry_after: 2, detail: "Messages can't be handed on right now." }
        }
    }
}

/// Whether the client wants to be told where the reply will be, rather than the reply.
fn wants_json(headers: &HeaderMap) -> bool {
    let kinds = headers.get_all(header::ACCEPT).into_iter().filter_map(|accept| accept.to_str().ok());
    let kinds =
        kinds.flat_map(|accept| accept.split(',')).map(|kind| kind.split(';').next().unwrap_or_default().trim());
    let (mut json, mut stream) = (false, false);
    for kind in kinds {
        json |= kind.eq_ignore_ascii_case("application/json");
        stream |= kind.eq_ignore_ascii_case("text/event-stream");
    }
    json && !stream
}
