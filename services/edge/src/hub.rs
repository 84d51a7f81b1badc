//! One hub for each session that somebody listens to on this edge: a single subscription to the bus, shared by all.
//!
//! Its task merges live events into the [`View`], looks up what is missing (first the record, then the worker that runs
//! the session), and watches over messages that this edge accepted: it says `queued` when no worker takes one, ends
//! one that nobody took in time, and ends one whose worker went silent for good. Listeners wait for the view to change
//! and read it at their own pace, so that none of them can hold up another, or the bus.

mod view;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bus::{Ask, Bus, Events, Live, PutError, Read, Stored};
use protocol::{
    Event, Fact, FactKind, FailureCode, FinishReason, Message, MessageId, Millis, Record, Reply, SessionId, SiteId,
    State, Terminal, What,
};
use runtime::trace::Exemplar;
use tokio::{
    sync::{Notify, Semaphore, watch},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{ended::Ended, metrics::Metrics, sse::LastEvent};
pub(crate) use view::{Cursor, Part};
use view::{Merged, Timing, View};

/// A session that can't be read within this time is refused: an edge says no in under a second.
const OPEN_WITHIN: Duration = Duration::from_millis(850);
/// No worker has a message after this long: the visitor is told that it waits.
const SAY_QUEUED_AFTER: Duration = Duration::from_secs(1);
/// Three heartbeats of a worker.
const SILENT_AFTER: Duration = Duration::from_millis(1_600);
/// How often something that is missing is looked up.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// After a hole was seen and could not be filled.
const HOLE_AGAIN: Duration = Duration::from_millis(100);
/// A worker answers for a reply that is over.
const ANSWERS_FOR: Duration = Duration::from_secs(2);
/// No worker answers for a reply that the record shows as running: another one would have it by now.
const LOST_AFTER: Duration = Duration::from_secs(10);
/// A worker is silent for good: the queue had time to give its message to another one, which would have spoken.
const DEAD_AFTER: Duration = Duration::from_secs(25);
/// No worker claims a message that is older than `QUEUE_TIMEOUT` and this; twice what clocks may differ by.
const CLAIMED_WITHIN: Duration = Duration::from_secs(10);
/// Finished replies are dropped from memory when nothing happened for this long; the record has them.
const FORGET_AFTER: Duration = Duration::from_secs(30);
/// A hub without listeners stays for so long: most visitors answer the reply that they have just read.
const LINGER: Duration = Duration::from_secs(10);
/// Hubs that look things up at once after a reconnect of the bus.
const REREAD_AT_ONCE: usize = 32;
/// Spread of those over time.
const REREAD_WITHIN_MS: u64 = 500;

/// All hubs of this edge.
pub(crate) struct Hubs {
    shared: Arc<Shared>,
}

struct Shared {
    bus: Bus,
    queue_timeout: Duration,
    hubs: Mutex<HashMap<SessionId, Arc<Watched>>>,
    tasks: TaskTracker,
    rereads: Semaphore,
    metrics: Arc<Metrics>,
    ended: Arc<Ended>,
    closing: CancellationToken,
}

impl Shared {
    fn hubs(&self) -> MutexGuard<'_, HashMap<SessionId, Arc<Watched>>> {
        self.hubs.lock().expect("nothing panics while holding it")
    }

    fn end(&self, session: &SessionId) {
        let watched = self.hubs().get(session).cloned();
        if let Some(watched) = watched {
            watched.end();
        }
    }
}

async fn follow_ends(shared: Arc<Shared>) {
    shared.closing.run_until_cancelled(shared.ended.follow(&shared.bus, |session| shared.end(session))).await;
}

/// A session's hub, as listeners and handlers hold it. Its task ends when nobody does and nothing is left to watch.
pub(crate) struct Hub(Arc<Watched>);

struct Watched {
    session: SessionId,
    /// How many [`Hub`]s there are. Raised only under the lock of the map, where the task looks before it leaves.
    holders: AtomicUsize,
    view: Mutex<View>,
    /// The visitor ended the session: listeners are to go.
    ended: AtomicBool,
    /// Changes when there is something new to read.
    changed: watch::Sender<()>,
    /// The task should look at its deadlines again.
    poke: Notify,
    loaded: watch::Sender<Loaded>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Loaded {
    NotYet,
    /// Live events are no longer missed; the record is being read.
    Listening,
    Yes,
    /// The record can't be read: the bus is away.
    Failed,
}

impl Watched {
    fn new(session: SessionId) -> Self {
        Self {
            session,
            holders: AtomicUsize::new(0),
            view: Mutex::new(View::new()),
            ended: AtomicBool::new(false),
            changed: watch::Sender::default(),
            poke: Notify::new(),
            loaded: watch::Sender::new(Loaded::NotYet),
        }
    }

    fn hold(self: &Arc<Self>) -> Hub {
        self.holders.fetch_add(1, Ordering::Relaxed);
        Hub(Arc::clone(self))
    }

    fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().expect("nothing panics while holding it")
    }

    /// Shows that whatever runs was cancelled, and sends the listeners away.
    fn end(&self) {
        let mut view = self.view();
        let cancelled = |known: &view::Known| {
            let took = known.timing.accepted.map_or(Duration::ZERO, |(accepted, _)| accepted.elapsed());
            let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            Terminal::End { chunks: known.next(), finish_reason: FinishReason::Cancelled, duration_ms }
        };
        let open: Vec<_> = view.open().map(|known| (known.message_id.clone(), cancelled(known))).collect();
        for (message_id, terminal) in open {
            view.end_now(&message_id, &terminal);
        }
        drop(view);
        self.ended.store(true, Ordering::Release);
        self.changed.send_replace(());
    }
}

impl Hubs {
    pub(crate) fn new(bus: Bus, queue_timeout: Duration, metrics: Arc<Metrics>, ended: Arc<Ended>) -> Self {
        let hubs = Mutex::default();
        let rereads = Semaphore::new(REREAD_AT_ONCE);
        let (tasks, closing) = (TaskTracker::new(), CancellationToken::new());
        let hubs =
            Self { shared: Arc::new(Shared { bus, queue_timeout, hubs, tasks, rereads, metrics, ended, closing }) };
        hubs.shared.tasks.spawn(follow_ends(Arc::clone(&hubs.shared)));
        hubs
    }

    /// The session's hub, listening, with the session's record read in.
    pub(crate) async fn open(&self, session: &SessionId) -> Result<Hub, bus::Error> {
        let hub = self.enter(session).await?;
        self.load(&hub).await?;
        Ok(hub)
    }

    /// The session's hub, listening; what the record holds may still be missing: [`load`](Self::load).
    pub(crate) async fn enter(&self, session: &SessionId) -> Result<Hub, bus::Error> {
        let hub = {
            let mut hubs = self.shared.hubs();
            let watched = hubs.entry(session.clone()).or_insert_with(|| {
                let watched = Arc::new(Watched::new(session.clone()));
                let task = Task { shared: Arc::clone(&self.shared), watched: Arc::clone(&watched) };
                self.shared.tasks.spawn(task.run());
                watched
            });
            watched.hold()
        };
        // It may have ended between its visitor's check and its place in the map.
        if self.shared.ended.has(session) {
            hub.0.end();
        }
        within(hub.is(|loaded| loaded != Loaded::NotYet)).await?;
        Ok(hub)
    }

    /// The session is over: its streams on this edge end.
    pub(crate) fn end(&self, session: &SessionId) {
        self.shared.end(session);
    }

    /// Waits until the record is read in.
    pub(crate) async fn load(&self, hub: &Hub) -> Result<(), bus::Error> {
        within(self.read_in(hub)).await
    }

    async fn read_in(&self, hub: &Hub) -> Result<(), bus::Error> {
        hub.is(|loaded| matches!(loaded, Loaded::Yes | Loaded::Failed)).await?;
        // A hub that lives on for another tab has forgotten what this client may come back to.
        if hub.0.view().is_whole() { Ok(()) } else { self.read_again(hub).await }
    }

    /// Waits for the tasks that watch over messages; to be called when no listener is left.
    pub(crate) async fn close(&self, limit: Duration) {
        self.shared.closing.cancel();
        self.shared.tasks.close();
        tokio::time::timeout(limit, self.shared.tasks.wait()).await.ok();
    }

    /// Reads the record in once more: not everything that another edge ended there was told.
    pub(crate) async fn read_again(&self, hub: &Hub) -> Result<(), bus::Error> {
        let stored = self.shared.bus.record(&hub.0.session, Read::Quick).await?;
        hub.0.view().load(&stored.record.replies);
        // What it shows as running is to be looked up.
        hub.0.poke.notify_one();
        Ok(())
    }

    /// Ends a message that was not handed on, in the record first: there every edge and worker finds its end. `false`
    /// when the record knows the message, or has no room for one; the hub knows then what the record does.
    pub(crate) async fn refuse(&self, hub: &Hub, message: &Message, code: FailureCode) -> Result<bool, bus::Error> {
        let (bus, run) = (&self.shared.bus, edge_run());
        let mut reply = Reply::new(message.message_id.clone(), message.digest.clone(), 0, run);
        let terminal = Terminal::Failed { chunks: 0, code };
        reply.finish(terminal.clone());
        let mut failed = 0;
        // Each refusal means that the record moved.
        for _ in 0..8 {
            let Stored { mut record, revision } = bus.record(&message.session, Read::Exact).await?;
            if record.ended {
                return Ok(false);
            }
            // Its own write may stand there although its answer got lost.
            let own = record.find(&message.message_id).is_some_and(|held| held.run == reply.run);
            if !own && record.knows(&message.message_id) {
                hub.0.view().load(&record.replies);
                return Ok(false);
            }
            record.put(&reply);
            let written = if own { Ok(revision) } else { bus.put_record(&record, revision).await };
            match written {
                Ok(_) => {
                    hub.0.view().load(&record.replies);
                    hub.0.changed.send_replace(());
                    // The visitor's tabs at other edges have not heard of the message at all.
                    let (message_id, what) = (message.message_id.clone(), What::Done(terminal));
                    bus.sender(&message.session).send(&Event { message_id, attempt: 0, what });
                    return Ok(true);
                }
                Err(PutError::Lost) => {}
                Err(PutError::Bus(error)) if failed > 0 => return Err(error),
                Err(PutError::Bus(_)) => failed += 1,
            }
        }
        Err(bus::Error::Unavailable("the session's record doesn't stand still".into()))
    }

    /// Ends a message that no worker has: `false` when one has it, so that the worker must be told instead.
    pub(crate) async fn cancel_queued(&self, session: &SessionId, message_id: &MessageId) -> Result<bool, bus::Error> {
        let terminal = Terminal::End { chunks: 0, finish_reason: FinishReason::Cancelled, duration_ms: 0 };
        let ended = end_unclaimed(&self.shared.bus, session, message_id, &terminal).await?;
        let hub = self.shared.hubs().get(session).map(Watched::hold);
        if let (true, Some(hub)) = (ended.is_some(), hub) {
            hub.0.view().end_now(message_id, &terminal);
            hub.0.changed.send_replace(());
        }
        Ok(ended.is_some())
    }
}

async fn within(wait: impl Future<Output = Result<(), bus::Error>>) -> Result<(), bus::Error> {
    let late = |_| Err(bus::Error::Unavailable("the session can't be read in time".into()));
    tokio::time::timeout(OPEN_WITHIN, wait).await.unwrap_or_else(late)
}

/// What a hub knows of a message before it is submitted.
pub(crate) enum Heard {
    /// Nothing.
    Nothing,
    /// It was submitted; the digest of its text, where known.
    Before(Option<String>),
}

impl Hub {
    /// Waits for a stage of the task.
    async fn is(&self, stage: impl Fn(Loaded) -> bool) -> Result<(), bus::Error> {
        let mut loaded = self.0.loaded.subscribe();
        match loaded.wait_for(|loaded| stage(*loaded)).await.map_or(Loaded::Failed, |loaded| *loaded) {
            Loaded::Failed => Err(bus::Error::Unavailable("the session can't be read".into())),
            _ => Ok(()),
        }
    }

    pub(crate) fn session(&self) -> &SessionId {
        &self.0.session
    }

    /// Whether this message was heard of.
    pub(crate) fn heard(&self, message_id: &MessageId) -> Heard {
        match self.0.view().find(message_id) {
            Some(known) => Heard::Before(known.digest.clone()),
            None => Heard::Nothing,
        }
    }

    /// Whether this reply is over, as far as this edge knows.
    pub(crate) fn is_over(&self, message_id: &MessageId) -> bool {
        self.0.view().find(message_id).is_some_and(view::Known::is_over)
    }

    /// A message of this session was submitted. `fresh`: by this call, which makes this hub watch over it.
    pub(crate) fn expect(&self, message: &Message, fresh: bool) {
        let mut view = self.0.view();
        let known = view.entry(&message.message_id);
        known.digest.get_or_insert_with(|| message.digest.clone());
        if known.traceparent.is_none() {
            known.traceparent.clone_from(&message.traceparent);
        }
        if fresh {
            known.timing.accepted.get_or_insert((Instant::now(), message.accepted_at));
        } else {
            // Look it up at once: it may be running, or over, or nowhere.
            known.timing.heard = Instant::now() - SILENT_AFTER;
            known.timing.claimed = true;
        }
        drop(view);
        self.0.poke.notify_one();
    }

    /// A message of this session is in the queue for as long as it says: this hub sees to its end.
    pub(crate) fn watch_over(&self, message: &Message) {
        self.expect(message, true);
        if let Some((accepted, at)) =
            self.0.view().find_mut(&message.message_id).and_then(|it| it.timing.accepted.as_mut())
        {
            let earlier = Instant::now().checked_sub(at.age_at(Millis::now()));
            *accepted = earlier.map_or(*accepted, |earlier| earlier.min(*accepted));
        }
        self.0.poke.notify_one();
    }

    /// The trace of a message, where this edge knows.
    pub(crate) fn traceparent(&self, message_id: &MessageId) -> Option<String> {
        self.0.view().find(message_id)?.traceparent.clone()
    }

    /// A cursor on one reply.
    pub(crate) fn follow_one(&self, message_id: &MessageId, last: Option<&LastEvent>) -> Cursor {
        self.0.view().follow_one(message_id, last)
    }

    /// A cursor on the session; the second value tells whether the client's place was found.
    pub(crate) fn follow_all(
        &self,
        last: Option<Result<&LastEvent, &str>>,
        from: Option<&MessageId>,
    ) -> (Cursor, bool) {
        self.0.view().follow_all(last, from)
    }

    /// What `cursor` has not seen.
    pub(crate) fn read(&self, cursor: &mut Cursor) -> Part {
        self.0.view().read(cursor)
    }

    /// Whether the session was ended, so that nothing comes any more.
    pub(crate) fn is_ended(&self) -> bool {
        self.0.ended.load(Ordering::Acquire)
    }

    /// Tells of every change from now on.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }
}

/// The task of one hub.
struct Task {
    shared: Arc<Shared>,
    watched: Arc<Watched>,
}

impl Task {
    async fn run(self) {
        let session = &self.watched.session;
        let events = self.shared.bus.listen(session).await;
        // Listening first: what is said while the record is read waits in the subscription.
        if events.is_ok() {
            self.watched.loaded.send_replace(Loaded::Listening);
        }
        let record = self.shared.bus.record(session, Read::Quick).await;
        let (Ok(events), Ok(stored)) = (events, record) else {
            self.shared.hubs().remove(session);
            self.watched.loaded.send_replace(Loaded::Failed);
            return;
        };
        self.watched.view().load(&stored.record.replies);
        self.watched.loaded.send_replace(Loaded::Yes);
        self.look_up_open().await;
        self.watch(events).await;
    }

    async fn load(&self) -> Result<(), bus::Error> {
        let stored = self.shared.bus.record(&self.watched.session, Read::Quick).await?;
        self.watched.view().load(&stored.record.replies);
        self.look_up_open().await;
        Ok(())
    }

    async fn look_up_open(&self) {
        let open: Vec<MessageId> = self.watched.view().open().map(|known| known.message_id.clone()).collect();
        for message_id in open {
            self.look_up(&message_id).await;
        }
    }

    /// Leaves the map if nobody holds the hub; under the map's lock, where holders come from.
    fn leave(&self) -> bool {
        let mut hubs = self.shared.hubs();
        if self.watched.holders.load(Ordering::Relaxed) > 0 {
            return false;
        }
        hubs.remove(&self.watched.session);
        true
    }

    async fn watch(&self, mut events: Events) {
        let (mut idle_since, mut empty_since) = (Instant::now(), None);
        loop {
            let (open, due) = self.deadline();
            let mut forget = idle_since + FORGET_AFTER;
            if open || self.watched.holders.load(Ordering::Relaxed) > 0 {
                empty_since = None;
            } else {
                let leave = *empty_since.get_or_insert_with(Instant::now) + LINGER;
                if (Instant::now() >= leave || self.shared.closing.is_cancelled()) && self.leave() {
                    return;
                }
                forget = forget.min(leave);
            }
            tokio::select! {
                live = events.next() => {
                    idle_since = Instant::now();
                    self.merge(live, &mut events).await;
                }
                () = self.watched.poke.notified() => idle_since = Instant::now(),
                () = self.shared.closing.cancelled(), if empty_since.is_some() => {}
                () = tokio::time::sleep_until(due.unwrap_or(forget)) => {
                    if due.is_some() {
                        self.look_after().await;
                    } else if idle_since.elapsed() >= FORGET_AFTER {
                        self.watched.view().forget_finished();
                        idle_since = Instant::now();
                    }
                }
            }
        }
    }

    /// Merges an event and whatever else is already here, then wakes the listeners once.
    async fn merge(&self, first: Live, events: &mut Events) {
        let (mut new, mut next, mut holes) = (false, Some(first), Vec::new());
        while let Some(live) = next.take() {
            match live {
                Live::Event(said) => match said.event() {
                    Ok(event) => match self.merge_event(&event) {
                        Merged::New => new = true,
                        Merged::Nothing => {}
                        Merged::Hole if holes.contains(&event.message_id) => {}
                        Merged::Hole => holes.push(event.message_id),
                    },
                    Err(error) => tracing::warn!(%error, "dropped an event that can't be read"),
                },
                Live::Reread => {
                    if new {
                        self.watched.changed.send_replace(());
                        new = false;
                    }
                    self.reread().await;
                }
            }
            next = events.try_next();
        }
        if new {
            self.watched.changed.send_replace(());
        }
        for message_id in holes {
            let looked = self.watched.view().find(&message_id).and_then(|known| known.timing.looked);
            if looked.is_none_or(|at| at.elapsed() >= HOLE_AGAIN) {
                self.look_up(&message_id).await;
            }
        }
    }

    fn merge_event(&self, event: &Event<'_>) -> Merged {
        let mut view = self.watched.view();
        let merged = view.merge(event);
        if let (Merged::New, What::Chunk { index: 0, .. }) = (merged, &event.what)
            && let Some(known) = view.find(&event.message_id)
            && let Some((accepted, _)) = known.timing.accepted
        {
            let exemplar = known.traceparent.as_deref().and_then(Exemplar::of_traceparent);
            self.shared.metrics.first_chunk_seconds.observe(accepted.elapsed().as_secs_f64(), exemplar, None);
        }
        merged
    }

    /// After a reconnect: spread over time and over few at once, so that the bus is not met by all sessions together.
    async fn reread(&self) {
        tokio::time::sleep(Duration::from_millis(rand::random::<u64>() % REREAD_WITHIN_MS)).await;
        let Ok(_turn) = self.shared.rereads.acquire().await else { return };
        if let Err(error) = self.load().await {
            tracing::debug!(%error, "a session can't be read again yet");
        }
        self.watched.changed.send_replace(());
    }

    /// Whether a reply is open, and when the next of them needs looking after.
    fn deadline(&self) -> (bool, Option<Instant>) {
        let view = self.watched.view();
        let mut open = view.open().peekable();
        let any = open.peek().is_some();
        (any, open.map(|known| self.due(&known.timing)).min())
    }

    fn due(&self, timing: &Timing) -> Instant {
        let looked = timing.looked.map(|at| at + LOOK_AGAIN);
        let first = match (timing.claimed, timing.accepted) {
            (true, _) => timing.heard + SILENT_AFTER,
            (false, Some((accepted, _))) => accepted + SAY_QUEUED_AFTER.min(self.shared.queue_timeout),
            (false, None) => timing.heard + SILENT_AFTER,
        };
        looked.map_or(first, |again| first.max(again))
    }

    /// Does what is due.
    async fn look_after(&self) {
        let now = Instant::now();
        let due: Vec<(MessageId, Timing)> = {
            let view = self.watched.view();
            let due = view.open().filter(|known| self.due(&known.timing) <= now);
            due.map(|known| (known.message_id.clone(), known.timing)).collect()
        };
        for (message_id, timing) in due {
            let found = self.look_up(&message_id).await;
            match (found, timing.accepted) {
                (Found::Queued, Some((accepted, at))) if accepted.elapsed() >= self.shared.queue_timeout => {
                    let late = accepted.elapsed() >= self.shared.queue_timeout + CLAIMED_WITHIN;
                    self.expire(&message_id, at, late).await;
                }
                (Found::Queued, _) => {
                    if self.watched.view().say_queued(&message_id) {
                        self.watched.changed.send_replace(());
                    }
                }
                (Found::Nothing, _) => self.end_here(&message_id, FailureCode::Interrupted),
                (Found::Cut, _) if self.silence(&message_id) >= DEAD_AFTER => self.bury(&message_id).await,
                (Found::Cut | Found::Alive | Found::Over | Found::Unknown, _) => {}
            }
        }
    }

    /// For how long nothing was heard of a reply.
    fn silence(&self, message_id: &MessageId) -> Duration {
        self.watched.view().find(message_id).map_or(Duration::ZERO, |known| known.timing.heard.elapsed())
    }

    /// Looks a reply up where it may be, and merges what is there.
    async fn look_up(&self, message_id: &MessageId) -> Found {
        if let Some(known) = self.watched.view().find_mut(message_id) {
            known.timing.looked = Some(Instant::now());
        }
        let found = match self.find(message_id).await {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(%error, message.id = %message_id, "a reply can't be looked up now");
                Found::Unknown
            }
        };
        self.watched.changed.send_replace(());
        found
    }

    async fn find(&self, message_id: &MessageId) -> Result<Found, bus::Error> {
        let bus = &self.shared.bus;
        let record = bus.record(&self.watched.session, Read::Quick).await?.record;
        let recorded = record.find(message_id);
        if let Some(over) = recorded.filter(|reply| reply.state != State::Running) {
            // The record dropped what is missing here; its worker answers for a moment longer.
            let asked = over.offset <= self.next(message_id) || self.ask(message_id).await?;
            if !asked && over.state == State::End && self.unanswered(message_id) < ANSWERS_FOR {
                return Ok(Found::Unknown);
            }
            self.merge_reply(over);
            self.end_if_short(over);
            return Ok(Found::Over);
        }
        // Only when the record can't tell: a worker that has just ended another reply may answer for the session.
        if self.ask(message_id).await? {
            return Ok(Found::Alive);
        }
        if let Some(cut) = recorded {
            // What the record dropped is lost with the worker alone, and one that is busy answers later.
            if cut.offset <= self.next(message_id) || self.unanswered(message_id) >= LOST_AFTER {
                self.merge_reply(cut);
            }
            return Ok(Found::Cut);
        }
        match bus.pending(&self.watched.session).await? {
            Some(pending) if pending.message.message_id == *message_id => Ok(Found::Queued),
            // It may have been taken and recorded between the two reads.
            _ => match bus.record(&self.watched.session, Read::Exact).await?.record {
                record if record.find(message_id).is_some() => Ok(Found::Unknown),
                _ => Ok(Found::Nothing),
            },
        }
    }

    /// Gets what is missing from the worker that runs the reply; `false` when no worker does.
    async fn ask(&self, message_id: &MessageId) -> Result<bool, bus::Error> {
        loop {
            let from = self.next(message_id);
            let ask = Ask { message_id: Some(message_id.clone()), from };
            let Some(part) = self.shared.bus.ask(&self.watched.session, &ask).await? else { return Ok(false) };
            if part.message_id != *message_id {
                return Ok(false);
            }
            self.merge_reply(&part);
            let next = {
                let mut view = self.watched.view();
                let known = view.entry(message_id);
                known.timing.heard = Instant::now();
                known.timing.unanswered = None;
                known.next()
            };
            // The answer was cut to size: more is there.
            if next >= part.next || next == from {
                return Ok(true);
            }
        }
    }

    /// The chunk that comes next.
    fn next(&self, message_id: &MessageId) -> u32 {
        self.watched.view().find(message_id).map_or(0, view::Known::next)
    }

    /// For how long no worker has answered for a reply that the record knows.
    fn unanswered(&self, message_id: &MessageId) -> Duration {
        self.watched.view().entry(message_id).timing.unanswered.get_or_insert_with(Instant::now).elapsed()
    }

    fn merge_reply(&self, reply: &Reply) {
        self.watched.view().merge_reply(reply);
    }

    /// A reply that is over but whose chunks are no longer all kept ends with what there is.
    fn end_if_short(&self, over: &Reply) {
        if let Some(terminal) = &over.terminal {
            self.watched.view().end_now(&over.message_id, terminal);
        }
    }

    fn end_here(&self, message_id: &MessageId, code: FailureCode) {
        let mut view = self.watched.view();
        let chunks = view.find(message_id).map_or(0, view::Known::next);
        view.end_now(message_id, &Terminal::Failed { chunks, code });
        drop(view);
        self.watched.changed.send_replace(());
    }

    /// Nobody took it in time: from now on nobody will. When it is `late`, also where there is no room to write that.
    async fn expire(&self, message_id: &MessageId, accepted_at: Millis, late: bool) {
        let terminal = Terminal::Failed { chunks: 0, code: FailureCode::QueueTimeout };
        match end_unclaimed(&self.shared.bus, &self.watched.session, message_id, &terminal).await {
            Ok(Some(site)) => {
                tracing::warn!(message.id = %message_id, "no worker took a message in time");
                self.end_here(message_id, FailureCode::QueueTimeout);
                self.tell_failed(&site, message_id, FailureCode::QueueTimeout, 0, accepted_at);
            }
            // A worker was quicker.
            Ok(None) => {}
            Err(bus::Error::Overloaded) if late => {
                if let Some(site) = self.take_out(message_id).await {
                    tracing::error!(message.id = %message_id, "no worker could claim a message: records have no room");
                    self.end_here(message_id, FailureCode::QueueTimeout);
                    self.tell_failed(&site, message_id, FailureCode::QueueTimeout, 0, accepted_at);
                }
            }
            Err(error) => tracing::warn!(%error, message.id = %message_id, "a message can't be ended now"),
        }
    }

    /// Takes a message out of the queue; the site that it was for.
    async fn take_out(&self, message_id: &MessageId) -> Option<SiteId> {
        let bus = &self.shared.bus;
        let pending = bus.pending(&self.watched.session).await.ok().flatten();
        let pending = pending.filter(|pending| pending.message.message_id == *message_id)?;
        bus.withdraw(&pending).await.ok().map(|()| pending.message.site)
    }

    /// Its worker is gone, and no other one has spoken: it ends here.
    async fn bury(&self, message_id: &MessageId) {
        let bus = &self.shared.bus;
        let Ok(stored) = bus.record(&self.watched.session, Read::Exact).await else { return };
        let Some(cut) = stored.record.find(message_id).filter(|reply| reply.state == State::Running) else { return };
        // It needs a worker only for what comes late, and there may be one again by then.
        if cut.waiting_until.is_some_and(|until| until.after(DEAD_AFTER) > Millis::now()) {
            return;
        }
        let mut dead = Reply { run: format!("buried-{:016x}", rand::random::<u64>()), ..cut.clone() };
        dead.finish(Terminal::Failed { chunks: dead.next, code: FailureCode::Interrupted });
        let mut record = stored.record;
        record.put(&dead);
        match bus.put_record(&record, stored.revision).await {
            Ok(_) => {
                tracing::warn!(message.id = %message_id, "a reply's worker is gone");
                let pending = bus.pending(&self.watched.session).await.ok().flatten();
                if let Some(pending) = pending.filter(|pending| pending.message.message_id == *message_id) {
                    let (site, at) = (pending.message.site.clone(), pending.message.accepted_at);
                    self.tell_failed(&site, message_id, FailureCode::Interrupted, dead.next, at);
                    bus.withdraw(&pending).await.ok();
                }
                self.merge_reply(&dead);
                self.end_here(message_id, FailureCode::Interrupted);
            }
            Err(PutError::Lost) => {}
            // Whoever comes to write it says the same.
            Err(PutError::Bus(bus::Error::Overloaded)) => {
                tracing::error!(message.id = %message_id, "a reply's worker is gone, and records have no room to say so");
                self.merge_reply(&dead);
                self.end_here(message_id, FailureCode::Interrupted);
            }
            Err(error) => tracing::warn!(%error, message.id = %message_id, "a dead reply can't be ended now"),
        }
    }

    fn tell_failed(&self, site: &SiteId, message_id: &MessageId, code: FailureCode, chunks: u32, accepted_at: Millis) {
        let kind = failed(message_id, code, chunks, accepted_at);
        self.shared.bus.tell(Fact::now(site, &self.watched.session, kind));
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.0.holders.fetch_sub(1, Ordering::Relaxed);
        // Perhaps nobody listens any more: the task ends, or stays for what it watches over.
        self.0.poke.notify_one();
    }
}

/// Where a reply was found.
enum Found {
    /// A worker runs it.
    Alive,
    /// It is over, and merged.
    Over,
    /// Claimed, but no worker answers for it.
    Cut,
    /// It waits for a worker.
    Queued,
    /// Nowhere, and it will not come.
    Nothing,
    /// The bus did not say, or it moved while we looked.
    Unknown,
}

/// That a reply failed, as a fact.
pub(crate) fn failed(message_id: &MessageId, code: FailureCode, chunks: u32, accepted_at: Millis) -> FactKind {
    let duration_ms = u64::try_from(accepted_at.age_at(Millis::now()).as_millis()).unwrap_or(u64::MAX);
    FactKind::ReplyFailed { message_id: message_id.clone(), chunks, code, duration_ms }
}

/// Marks a write as an edge's, and this one.
fn edge_run() -> String {
    format!("edge-{:016x}", rand::random::<u64>())
}

/// Ends a message that no worker has claimed, in the record first: a worker that holds it already finds it finished.
/// `None` when it was claimed; else the site that it was for.
async fn end_unclaimed(
    bus: &Bus,
    session: &SessionId,
    message_id: &MessageId,
    terminal: &Terminal,
) -> Result<Option<SiteId>, bus::Error> {
    // Each refusal means that the record moved; a claim among the moves ends the loop.
    for _ in 0..8 {
        let Some(pending) = bus.pending(session).await? else { return Ok(None) };
        if pending.message.message_id != *message_id {
            return Ok(None);
        }
        let stored = bus.record(session, Read::Exact).await?;
        if stored.record.ended || stored.record.knows(message_id) {
            return Ok(None);
        }
        let mut record: Record = stored.record;
        let mut reply = Reply::new(message_id.clone(), pending.message.digest.clone(), 0, edge_run());
        reply.finish(terminal.clone());
        record.put(&reply);
        match bus.put_record(&record, stored.revision).await {
            Ok(_) => {
                bus.withdraw(&pending).await?;
                return Ok(Some(pending.message.site));
            }
            Err(PutError::Lost) => {}
            Err(PutError::Bus(error)) => return Err(error),
        }
    }
    Ok(None)
}
