//! How a message is handed on to a worker, or found to be the repeat of one that was.
//!
//! Limits and bot rules stand before that. From then on it runs to its end even when the client leaves in the middle: a
//! message that a worker may have by then must be counted, told of, and watched over.

use std::{sync::Arc, time::Duration};

use bus::{Cancel, Read, Submitted};
use protocol::{Fact, FactKind, FailureCode, FinishReason, Message, MessageId, Millis, SessionId, SiteId};
use runtime::trace;
use tokio::time::Instant;
use tracing::{Instrument as _, Span};

use crate::{
    bots,
    chat::away,
    config::OnBusy,
    hub::{self, Heard, Hub},
    limits::Reserved,
    metrics::Outcome,
    problem::ApiError,
    site::Site,
    state::State,
    turn::Turn,
    visitor::Visitor,
};

/// A cancelled run has this long to leave before its successor gives up (`ON_BUSY=replace`).
const REPLACE_WITHIN: Duration = Duration::from_secs(3);

/// Hands a message on, or finds the reply of the one that it repeats. Either way the hub follows that reply. `turn`: of
/// which it is a part.
pub(crate) async fn submit(
    state: &State,
    visitor: &Visitor,
    message: Message,
    request: &bots::Request<'_>,
    turn: &Turn,
) -> Result<Hub, ApiError> {
    if state.draining.is_cancelled() {
        return Err(ApiError::Overloaded { retry_after: 1, detail: "This edge is stopping; another one takes over." });
    }
    // Before the message is handed on: a worker may answer before that call returns.
    let hub = state.hubs.enter(&message.session).await.map_err(|error| not_taken(state, &error))?;
    let handoff = Handoff { state: state.clone(), site: Arc::clone(&visitor.site), message, hub };
    if handoff.repeats()? {
        return Ok(handoff.hub);
    }
    let admitted = async {
        let reserved = visitor.count_message(state)?;
        state.bots.message(request, &handoff.message, &visitor.site, &state.metrics).await?;
        Ok(reserved)
    };
    match admitted.await {
        Ok(reserved) => {
            // A task of its own is not dropped with the connection.
            let span = trace::send(turn.span(), state.bus.system());
            let handed_on = handoff.run(reserved).instrument(span);
            state.tasks.spawn(handed_on).await.unwrap_or(Err(ApiError::Internal))
        }
        // Not for a repeat: its reply was paid for. A hub that is new here learns of it from the session's record.
        Err(refusal) => {
            state.hubs.load(&handoff.hub).await.map_err(|error| not_taken(state, &error))?;
            if handoff.repeats()? { Ok(handoff.hub) } else { Err(refusal) }
        }
    }
}

struct Handoff {
    state: State,
    site: Arc<Site>,
    message: Message,
    hub: Hub,
}

impl Handoff {
    /// Whether the message was heard of before; an error if that was with another text.
    fn repeats(&self) -> Result<bool, ApiError> {
        match self.hub.heard(&self.message.message_id) {
            Heard::Before(Some(digest)) if !self.is_digest(&digest) => {
                self.count("conflict");
                Err(ApiError::MessageConflict)
            }
            Heard::Before(_) => {
                self.count("repeated");
                Ok(true)
            }
            Heard::Nothing => Ok(false),
        }
    }

    async fn run(mut self, reserved: Reserved) -> Result<Hub, ApiError> {
        // Where there are no traces, what the client said of its own goes on to n8n.
        let said = || self.message.traceparent.as_deref().and_then(trace::unkept);
        self.message.traceparent = trace::traceparent(&Span::current()).or_else(said);
        let Self { state, message, hub, .. } = &self;
        let give_up = Instant::now() + REPLACE_WITHIN;
        loop {
            if hub.is_ended() {
                return Err(ApiError::SessionEnded);
            }
            if state.bus.circuit_is_open(&message.site) && self.fails_at_once().await? {
                return Ok(self.hub);
            }
            // The record of a session that was not open here is read meanwhile. What it knows of this message shows
            // afterwards: no worker runs it again, whatever the queue says.
            let (submitted, loaded) = tokio::join!(state.bus.submit(message), state.hubs.load(hub));
            let submitted = submitted.map_err(|error| self.not_taken(&error))?;
            // A worker may be quicker than we are: of an accepted message only what the record held before is a repeat.
            let recorded =
                matches!(hub.heard(&message.message_id), Heard::Before(Some(_))) && hub.is_over(&message.message_id);
            if (submitted != Submitted::Accepted || recorded) && self.repeats()? {
                return Ok(self.hub);
            }
            if submitted == Submitted::Accepted {
                self.count("accepted");
                reserved.spend();
                hub.expect(message, true);
                self.tell_accepted();
                // It will be run. Who asks again, once the session can be read, finds its reply.
                return loaded.map_err(|error| self.not_taken(&error)).map(|()| self.hub);
            }
            loaded.map_err(|error| self.not_taken(&error))?;
            let pending = state.bus.pending(&message.session).await.map_err(|error| self.not_taken(&error))?;
            match pending {
                Some(same) if same.message.message_id == message.message_id => {
                    if !self.is_digest(&same.message.digest) {
                        self.count("conflict");
                        return Err(ApiError::MessageConflict);
                    }
                    self.count("repeated");
                    hub.expect(&same.message, true);
                    return Ok(self.hub);
                }
                _ if submitted == Submitted::Duplicate => {
                    self.count("repeated");
                    hub.expect(message, false);
                    return Ok(self.hub);
                }
                // Its end was shown, and only its acknowledgement is still on the way, or was lost with its worker.
                Some(over) if hub.is_over(&over.message.message_id) => {
                    tell_end(state, &over.message).await?;
                    state.bus.withdraw(&over).await.map_err(|error| self.not_taken(&error))?;
                }
                Some(running) => {
                    let running = running.message;
                    if self.site.on_busy == OnBusy::Reject || Instant::now() > give_up {
                        self.count("busy");
                        // Nobody may be watching over it: a NATS that was killed may have brought it back.
                        hub.watch_over(&running);
                        return Err(ApiError::SessionBusy { running: running.message_id });
                    }
                    stop(state, &self.site.id, &message.session, &running.message_id).await?;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                // It ended between the two calls.
                None if Instant::now() > give_up => {
                    let detail = "The queue is not in order; try again.";
                    return Err(ApiError::Overloaded { retry_after: 1, detail });
                }
                None => {}
            }
        }
    }

    /// No worker would call n8n: the message is accepted and fails, without a way through the queue. It costs nothing of
    /// a day's budget. `false`: it must go that way after all, because something of the session waits or runs there.
    async fn fails_at_once(&self) -> Result<bool, ApiError> {
        let Self { state, message, hub, .. } = self;
        state.hubs.load(hub).await.map_err(|error| self.not_taken(&error))?;
        if self.repeats()? {
            return Ok(true);
        }
        if state.bus.pending(&message.session).await.map_err(|error| self.not_taken(&error))?.is_some() {
            return Ok(false);
        }
        let code = FailureCode::CircuitOpen;
        if !state.hubs.refuse(hub, message, code).await.map_err(|error| self.not_taken(&error))? {
            return self.repeats();
        }
        self.count(code.as_str());
        self.tell_accepted();
        let kind = hub::failed(&message.message_id, code, 0, message.accepted_at);
        let fact = Fact::now(&message.site, &message.session, kind);
        state.tell(fact.traced(trace::sampled_traceparent(&Span::current())));
        Ok(true)
    }

    fn tell_accepted(&self) {
        let message = &self.message;
        let chars = u32::try_from(message.text.chars().count()).unwrap_or(u32::MAX);
        let kind = FactKind::MessageAccepted { message_id: message.message_id.clone(), chars };
        let fact = Fact::now(&message.site, &message.session, kind);
        self.state.tell(fact.traced(trace::sampled_traceparent(&Span::current())));
    }

    fn is_digest(&self, digest: &str) -> bool {
        self.state.tokens.is_digest(digest, &self.message.session, &self.message.text)
    }

    fn not_taken(&self, error: &bus::Error) -> ApiError {
        not_taken(&self.state, error)
    }

    fn count(&self, outcome: &'static str) {
        count(&self.state, outcome);
    }
}

/// Counts apart what more room would help, and what it would not.
fn not_taken(state: &State, error: &bus::Error) -> ApiError {
    count(
        state,
        match error {
            bus::Error::Overloaded => "overloaded",
            bus::Error::Unavailable(_) | bus::Error::Invalid(_) => "bus_away",
        },
    );
    away(error)
}

fn count(state: &State, outcome: &'static str) {
    state.metrics.messages.get_or_create(&Outcome { outcome }).inc();
}

/// Tells how a reply ended whose message is taken out of the queue: no worker is given it again, and the one that had it
/// may have died before it told. Told twice, it counts once.
async fn tell_end(state: &State, message: &Message) -> Result<(), ApiError> {
    let record = state.bus.record(&message.session, Read::Quick).await.map_err(|error| away(&error))?.record;
    if let Some(terminal) = record.find(&message.message_id).and_then(|reply| reply.terminal.as_ref()) {
        let took = u64::try_from(message.accepted_at.age_at(Millis::now()).as_millis()).unwrap_or(u64::MAX);
        let kind = FactKind::of_end(message.message_id.clone(), terminal, None, took);
        state.tell(Fact::now(&message.site, &message.session, kind));
    }
    Ok(())
}

/// Ends a reply, wherever it is. Of one that is unknown or over nothing comes.
pub(crate) async fn stop(
    state: &State,
    site: &SiteId,
    session: &SessionId,
    message_id: &MessageId,
) -> Result<(), ApiError> {
    if state.hubs.cancel_queued(session, message_id).await.map_err(|error| away(&error))? {
        let (message_id, finish_reason) = (message_id.clone(), FinishReason::Cancelled);
        let kind = FactKind::ReplyEnded { message_id, chunks: 0, finish_reason, first_chunk_ms: None, duration_ms: 0 };
        state.tell(Fact::now(site, session, kind));
        return Ok(());
    }
    let order = Cancel { message_id: message_id.clone() };
    // A worker that has just claimed it does not listen yet.
    for _ in 0..3 {
        if state.bus.cancel(session, &order).await.map_err(|error| away(&error))? {
            return Ok(());
        }
        let pending = state.bus.pending(session).await.map_err(|error| away(&error))?;
        if pending.is_none_or(|pending| pending.message.message_id != *message_id) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    Ok(())
}
