//! Sessions that their visitors ended: how one ends, and how an edge knows which did.
//!
//! Edges keep no sessions, so an end is a tombstone on the bus, which every edge follows from the first one that is
//! remembered. Until it has read them in, an edge can't tell an ended session from a good one: it is not ready, and
//! refuses calls with a token. What it knows is bounded: the id of a session tells when it began, so one that is past
//! `SESSION_MAX_AGE` needs no memory, and when there are too many, all that began before the first of those that are
//! kept count as ended.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use bus::{Bus, Cancel, Ending, PutError, Read};
use protocol::{Fact, FactKind, Record, SessionId};
use tokio::sync::watch;

use crate::{
    chat::away,
    openapi,
    problem::ApiError,
    state::State,
    time,
    visitor::{Leaver, Visitor},
};

/// Ended sessions that are kept: about 30 MB. As many as the bus remembers, unless it was told to remember more.
const MAX: usize = 1_000_000;
/// A call waits for the first reading for so long: an edge says no in under a second.
const READ_IN_WITHIN: Duration = Duration::from_millis(750);
/// Between tries to follow a bus that is not there.
const PAUSE: Duration = Duration::from_millis(200);

/// See the module.
pub(crate) struct Ended {
    known: Mutex<Known>,
    read_in: watch::Sender<bool>,
    max_age: Duration,
    most: usize,
    forgotten: AtomicU64,
}

/// A session by its beginning and the random part of its id.
type Key = (u64, u64);

#[derive(Default)]
struct Known {
    sessions: BTreeSet<Key>,
    /// Sessions that began before this are over, for want of memory.
    over_before: u64,
}

impl Ended {
    pub(crate) fn new(max_age: Duration) -> Self {
        Self {
            known: Mutex::default(),
            read_in: watch::Sender::new(false),
            max_age,
            most: MAX,
            forgotten: AtomicU64::new(0),
        }
    }

    /// Refuses a session that was ended, and every session while it is not known which were.
    pub(crate) async fn check(&self, session: &SessionId) -> Result<(), ApiError> {
        if !self.is_read_in() {
            let mut read_in = self.read_in.subscribe();
            let wait = async { read_in.wait_for(|read_in| *read_in).await.is_ok() };
            if !tokio::time::timeout(READ_IN_WITHIN, wait).await.unwrap_or(false) {
                return Err(ApiError::Overloaded { retry_after: 2, detail: "Sessions can't be checked right now." });
            }
        }
        if self.has(session) { Err(ApiError::SessionEnded) } else { Ok(()) }
    }

    /// Whether all ends that are remembered have been read.
    pub(crate) fn is_read_in(&self) -> bool {
        *self.read_in.borrow()
    }

    /// How many ends were forgotten for want of room, so that older sessions count as ended.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::Relaxed)
    }

    pub(crate) fn has(&self, session: &SessionId) -> bool {
        let (known, key) = (self.known(), key(session));
        key.0 < known.over_before || known.sessions.contains(&key)
    }

    fn add(&self, session: &SessionId, now: Duration) {
        let mut known = self.known();
        known.sessions.insert(key(session));
        // Their tokens are refused for their age.
        let too_old = now.as_secs().saturating_sub(self.max_age.as_secs());
        while known.sessions.first().is_some_and(|(began, _)| *began < too_old) {
            known.sessions.pop_first();
        }
        if known.sessions.len() > self.most {
            known.sessions.pop_first();
            self.forgotten.fetch_add(1, Ordering::Relaxed);
            known.over_before = known.sessions.first().map_or(0, |(began, _)| *began);
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("nothing panics while holding it")
    }

    /// Follows the bus and calls `over` with each session that ended. Never ends.
    pub(crate) async fn follow(&self, bus: &Bus, over: impl Fn(&SessionId)) {
        let mut ended = loop {
            match bus.ended().await {
                Ok(ended) => break ended,
                Err(error) => tracing::warn!(%error, "can't follow which sessions end"),
            }
            tokio::time::sleep(PAUSE).await;
        };
        loop {
            match ended.next().await {
                Ending::Session(session) => {
                    self.add(&session, time::now());
                    over(&session);
                }
                Ending::CaughtUp => drop(self.read_in.send_replace(true)),
            }
        }
    }
}

/// The id has one form, which holds both.
fn key(session: &SessionId) -> Key {
    let random = session.as_str().rsplit('_').next().and_then(|hex| u64::from_str_radix(hex, 16).ok());
    (session.began(), random.unwrap_or(0))
}

/// End the session, everywhere. With a token that expired up to `SESSION_END_WITHIN` ago as well, if the session is bound
/// to a key.
#[utoipa::path(delete, path = "/api/v1/session", tag = "Sessions", security(("token" = [])),
    params(openapi::Fingerprint),
    responses((status = 204, description = "It is over: its token and tickets are refused, its replies are gone"),
        openapi::Unproved, openapi::Refused))]
pub(crate) async fn end(state: State, Leaver(visitor): Leaver) -> Result<Response, ApiError> {
    // A task of its own: who ends a conversation closes the page, and half an end would be none.
    let ending = end_now(state.clone(), visitor);
    state.tasks.spawn(ending).await.unwrap_or(Err(ApiError::Internal))?;
    Ok((StatusCode::NO_CONTENT, [(header::CACHE_CONTROL, "no-store")]).into_response())
}

async fn end_now(state: State, visitor: Visitor) -> Result<(), ApiError> {
    let session = &visitor.session;
    // First the fence: from here on no message of the session is run, and a worker that runs one loses its claim.
    drop_record(&state.bus, session).await.map_err(|error| away(&error))?;
    // Before the token stops working: whoever gets no answer from here on can't ask again.
    state.tell(Fact::now(&visitor.site.id, session, FactKind::SessionEnded));
    state.bus.end_session(session).await.map_err(|error| away(&error))?;
    state.metrics.sessions_ended.inc();
    // Not only when the bus tells: the next call may come to this edge at once.
    state.ended.add(session, time::now());
    state.hubs.end(session);
    // It is ended, whatever becomes of this: the worker finds out by itself when it records the next piece of text.
    if let Err(error) = stop_running(&state.bus, session).await {
        tracing::warn!(%error, "a reply of an ended session runs on for a while");
    }
    Ok(())
}

/// Writes over what the bus holds of the session's replies. Not by deleting it: a worker would take that for the loss of
/// the store, and write the record anew.
async fn drop_record(bus: &Bus, session: &SessionId) -> Result<(), bus::Error> {
    // Each refusal means that a worker wrote in between, which it does once a second.
    for _ in 0..8 {
        let stored = bus.record(session, Read::Exact).await?;
        match bus.put_record(&Record::ended(session.clone()), stored.revision).await {
            Ok(_) => return Ok(()),
            Err(PutError::Lost) => {}
            Err(PutError::Bus(error)) => return Err(error),
        }
    }
    Err(bus::Error::Unavailable("the record is written by others all the time".into()))
}

/// Ends the call to n8n, and frees the queue.
async fn stop_running(bus: &Bus, session: &SessionId) -> Result<(), bus::Error> {
    let Some(pending) = bus.pending(session).await? else { return Ok(()) };
    let order = Cancel { message_id: pending.message.message_id.clone() };
    // A worker that has just claimed it does not listen yet.
    for _ in 0..3 {
        if bus.cancel(session, &order).await? {
            break;
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    bus.withdraw(&pending).await
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE: Duration = Duration::from_secs(1000);

    fn session(began: u64, random: u64) -> SessionId {
        SessionId::mint(began, random)
    }

    #[test]
    fn an_end_is_remembered_until_the_session_would_be_over_anyway() {
        let ended = Ended::new(AGE);
        let now = Duration::from_secs(5000);
        ended.add(&session(4500, 1), now);
        assert!(ended.has(&session(4500, 1)));
        assert!(!ended.has(&session(4500, 2)) && !ended.has(&session(4501, 1)));
        ended.add(&session(4500, 1), now);
        assert_eq!(ended.known().sessions.len(), 1);
        ended.add(&session(5400, 1), Duration::from_secs(5501));
        assert_eq!(ended.known().sessions.len(), 1, "the first is too old by itself");
        ended.add(&session(1, 1), now);
        assert_eq!(ended.known().sessions.len(), 1, "and so is one that comes late");
    }

    #[test]
    fn with_too_many_ends_none_comes_back() {
        let ended = Ended { most: 3, ..Ended::new(AGE) };
        let now = Duration::from_secs(100);
        for n in 0..5 {
            ended.add(&session(50 + n, 1), now);
        }
        assert_eq!((ended.known().sessions.len(), ended.forgotten()), (3, 2));
        for n in 0..5 {
            assert!(ended.has(&session(50 + n, 1)), "{n}");
        }
        assert!(ended.has(&session(51, 9)), "an innocent one is over a little earlier");
        assert!(!ended.has(&session(52, 9)));
    }

    /// While nobody knows which sessions ended, none is let in.
    #[tokio::test(start_paused = true)]
    async fn until_the_ends_are_read_in_nobody_is_let_in() {
        let ended = Ended::new(AGE);
        assert!(matches!(ended.check(&session(1, 1)).await, Err(ApiError::Overloaded { .. })));
        let bus = Bus::local(&bus::Config::default());
        let began = time::now().as_secs();
        bus.end_session(&session(began, 1)).await.unwrap();
        let told = Mutex::new(Vec::new());
        let follow = ended.follow(&bus, |session| told.lock().unwrap().push(session.clone()));
        let visit = async {
            assert!(matches!(ended.check(&session(began, 1)).await, Err(ApiError::SessionEnded)));
            assert!(ended.check(&session(began, 2)).await.is_ok());
            assert!(ended.is_read_in());
        };
        tokio::select! { () = follow => {}, () = visit => {} }
        assert_eq!(*told.lock().unwrap(), [session(began, 1)]);
    }
}
