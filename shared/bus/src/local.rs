//! The bus of one process: a queue, the sessions' listeners, the records and the facts behind one lock.
//!
//! Bounds: the queue by [`Config::queue_max_messages`], a listener by [`LIVE_BUFFER`], records by
//! [`Config::records_max_bytes`] and [`Config::resume_window`], facts by [`FACT_QUEUE`], used proofs by
//! [`Config::proofs_max`], ended sessions by [`Config::ended_max`], what waits for who keeps counts by [`KEPT`]. The lock is never held over an await.

mod ended;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use protocol::{Charges, Counts, CountsAsk, Event, Fact, Message, MessageId, Millis, Record, Reply, SessionId};
use tokio::{
    sync::{
        Notify,
        mpsc::{self, error::TrySendError},
        oneshot, watch,
    },
    time::Instant,
};

use crate::{
    ACK_WAIT, Answer, AnswerTo, Ask, BatchAck, Cancel, Config, CountsAnswer, CountsAnswerTo, DUPLICATE_WINDOW,
    Delivery, Error, EventsFrom, FACT_QUEUE, FactBatch, LATE_WITHIN, LIVE_BUFFER, Late, LateAnswer, LateAnswerTo, Live,
    Losses, PROOF_WINDOW, Pending, Presence, Proved, PutError, Queue, Read, Request, Said, Status, Stored, Submitted,
    Taken, ToKeeper, roll_call::RollCall,
};
pub(crate) use ended::Ended;

/// Requests of edges that wait for one worker.
const REQUESTS: usize = 256;
/// Charges and questions that wait for who keeps the counts of limits: some seconds of a busy edge.
const KEPT: usize = 1024;

#[derive(Clone)]
pub(crate) struct Local(Arc<Shared>);

struct Shared {
    config: Config,
    state: Mutex<State>,
    /// A message may be ready for a worker.
    ready: Notify,
    /// A fact is there.
    told: Notify,
    /// Changes when a session was ended.
    ended: watch::Sender<()>,
    dropped: AtomicU64,
    unread: AtomicU64,
    roll_call: RollCall,
}

#[derive(Default)]
struct State {
    /// Sessions in the order in which their messages may be taken.
    queue: VecDeque<SessionId>,
    /// One message at most for each session, queued or running.
    messages: HashMap<SessionId, Queued>,
    seen: Expiring<(SessionId, MessageId)>,
    records: HashMap<SessionId, (Record, u64, usize)>,
    /// The records by revision, oldest first.
    written: BTreeMap<u64, (Instant, SessionId)>,
    record_bytes: usize,
    /// How many went before their time, for want of room.
    records_dropped: u64,
    listeners: HashMap<SessionId, Vec<Listener>>,
    workers: HashMap<SessionId, mpsc::Sender<Request>>,
    facts: VecDeque<Fact>,
    /// Who keeps the counts of limits.
    keeper: Option<mpsc::Sender<ToKeeper>>,
    proofs: Expiring<[u8; 32]>,
    /// Sessions that were ended, oldest end first, and how many are no longer remembered.
    ended: VecDeque<SessionId>,
    ended_gone: u64,
    next: u64,
}

struct Queued {
    message: Message,
    queued_at: Millis,
    handle: u64,
    attempt: u32,
    /// A worker has it until then; `None` while it waits.
    held_until: Option<Instant>,
}

struct Listener {
    to: mpsc::Sender<Arc<Event<'static>>>,
    lagged: Arc<AtomicBool>,
}

/// Keys that are remembered for a while.
struct Expiring<K>(HashMap<K, Instant>, VecDeque<(Instant, K)>);

impl<K> Default for Expiring<K> {
    fn default() -> Self {
        Self(HashMap::new(), VecDeque::new())
    }
}

impl<K: Clone + Eq + std::hash::Hash> Expiring<K> {
    /// Whether `key` came within the `window`. What is older is forgotten.
    fn contains(&mut self, key: &K, window: Duration) -> bool {
        while self.1.front().is_some_and(|(at, _)| at.elapsed() >= window) {
            if let Some((_, old)) = self.1.pop_front() {
                self.0.remove(&old);
            }
        }
        self.0.contains_key(key)
    }

    fn insert(&mut self, key: K) {
        self.0.insert(key.clone(), Instant::now());
        self.1.push_back((Instant::now(), key));
    }
}

impl Local {
    pub(crate) fn new(config: &Config) -> Self {
        Self(Arc::new(Shared {
            config: config.clone(),
            state: Mutex::default(),
            ready: Notify::new(),
            told: Notify::new(),
            ended: watch::Sender::default(),
            dropped: AtomicU64::new(0),
            unread: AtomicU64::new(0),
            roll_call: RollCall::default(),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("nothing panics while holding it")
    }

    // Async like its twin over NATS, although nothing here waits.
    #[expect(clippy::unused_async, reason = "the other variant waits")]
    pub(crate) async fn submit(&self, message: &Message) -> Result<Submitted, Error> {
        let mut state = self.state();
        let key = (message.session.clone(), message.message_id.clone());
        // The duplicate check comes first, as in JetStream: a repeat of the running message is a repeat, not busy.
        if state.seen.contains(&key, DUPLICATE_WINDOW) {
            return Ok(Submitted::Duplicate);
        }
        if state.messages.contains_key(&message.session) {
            return Ok(Submitted::Busy);
        }
        if state.messages.len() >= self.0.config.queue_max_messages {
            return Err(Error::Overloaded);
        }
        state.seen.insert(key);
        state.next += 1;
        let queued = Queued {
            message: message.clone(),
            queued_at: Millis::now(),
            handle: state.next,
            attempt: 0,
            held_until: None,
        };
        state.messages.insert(message.session.clone(), queued);
        state.queue.push_back(message.session.clone());
        drop(state);
        self.0.ready.notify_one();
        Ok(Submitted::Accepted)
    }

    #[expect(clippy::unused_async, reason = "the other variant waits")]
    pub(crate) async fn pending(&self, session: &SessionId) -> Result<Option<Pending>, Error> {
        let state = self.state();
        Ok(state.messages.get(session).map(|q| Pending { message: q.message.clone(), handle: q.handle }))
    }

    #[expect(clippy::unused_async, reason = "the other variant waits")]
    pub(crate) async fn withdraw(&self, session: &SessionId, handle: u64) -> Result<(), Error> {
        self.state().remove(session, handle);
        Ok(())
    }

    #[expect(clippy::unused_async, reason = "the other variant waits")]
    pub(crate) async fn listen(&self, session: &SessionId) -> Result<crate::Events, Error> {
        let (to, from) = mpsc::channel(LIVE_BUFFER);
        let lagged = Arc::new(AtomicBool::new(false));
        let listener = Listener { to, lagged: Arc::clone(&lagged) };
        self.state().listeners.entry(session.clone()).or_default().push(listener);
        Ok(crate::Events(EventsFrom::Local(Events { from, lagged, bus: self.clone(), session: session.clone() })))
    }

    pub(crate) fn send(&self, session: &SessionId, event: &Event<'_>) {
        let state = self.state();
        let Some(listeners) = state.listeners.get(session) else { return };
        let event = Arc::new(event.owned());
        for listener in listeners {
            if listener.to.try_send(Arc::clone(&event)).is_err() {
                listener.lagged.store(true, Ordering::Release);
                self.0.unread.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    pub(crate) async fn ask(&self, session: &SessionId, ask: &Ask) -> Result<Option<Reply>, Error> {
        let Some(worker) = self.state().workers.get(session).cloned() else { return Ok(None) };
        let (to, answer) = oneshot::channel();
        if worker.try_send(Request::Ask(ask.clone(), Answer(AnswerTo::Local(to)))).is_err() {
            return Ok(None);
        }
        match tokio::time::timeout(Duration::from_millis(400), answer).await {
            Ok(Ok(reply)) => Ok(Some(reply)),
            _ => Ok(None),
        }
    }

    #[expect(clippy::unused_async, reason = "the other variant waits")]
    pub(crate) async fn cancel(&self, session: &SessionId, cancel: &Cancel) -> Result<bool, Error> {
        let worker = self.state().workers.get(session).cloned();
        Ok(worker.is_some_and(|worker| worker.try_send(Request::Cancel(cancel.clone())).is_ok()))
    }

    pub(crate) async fn late(&self, session: &SessionId, late: &Late) -> Result<Option<Taken>, Error> {
        let Some(worker) = self.state().workers.get(session).cloned() else { return Ok(None) };
        let (to, taken) = oneshot::channel();
        if worker.try_send(Request::Late(Box::new(late.clone()), LateAnswer(LateAnswerTo::Local(to)))).is_err() {
            return Ok(None);
        }
        match tokio::time::timeout(LATE_WITHIN, taken).await {
            Ok(Ok(taken)) => Ok(Some(taken)),
            _ => Ok(None),
        }
    }

    #[expect(clippy::unused_async, reason = "the other variant waits")]
    pub(crate) async fn record(&self, session: &SessionId, _: Read) -> Result<Stored, Error> {
        let mut state = self.state();
        state.forget_records(&self.0.config);
        Ok(match state.records.get(session) {
            Some((record, revision, _)) => Stored { record: record.clone(), revision: *revision },
            None => Stored { record: Record::new(session.clone()), revision: 0 },
        })
    }

    #[expect(clippy::unused_async, reason = "the other variant waits")]
    pub(crate) async fn put_record(&self, record: &Record, revision: u64) -> Result<u64, PutError> {
        let mut state = self.state();
        let state = &mut *state;
        let (held, old_bytes) = state.records.get(&record.session).map_or((0, 0), |(_, r, bytes)| (*r, *bytes));
        if held != revision {
            return Err(PutError::Lost);
        }
        state.next += 1;
        // A rough size is enough to keep the sum bounded.
        let bytes = 512 + record.replies.iter().flat_map(|r| &r.chunks).map(|c| c.len() + 24).sum::<usize>();
        state.record_bytes = state.record_bytes + bytes - old_bytes;
        state.records.insert(record.session.clone(), (record.clone(), state.next, bytes));
        state.written.remove(&revision);
        state.written.insert(state.next, (Instant::now(), record.session.clone()));
        let written = state.next;
        state.forget_records(&self.0.config);
        Ok(written)
    }

    #[expect(clippy::unused_async, reason = "the other variant waits")]
    pub(crate) async fn prove(&self, proof: &[u8; 32]) -> Result<Proved, Error> {
        let mut state = self.state();
        if state.proofs.contains(proof, PROOF_WINDOW) {
            return Ok(Proved::Replayed);
        }
        if state.proofs.0.len() >= self.0.config.proofs_max {
            return Err(Error::Overloaded);
        }
        state.proofs.insert(*proof);
        Ok(Proved::Fresh)
    }

    pub(crate) fn tell(&self, fact: Fact) {
        let mut state = self.state();
        if state.facts.len() >= FACT_QUEUE {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        state.facts.push_back(fact);
        drop(state);
        self.0.told.notify_one();
    }

    #[expect(clippy::unused_async, reason = "the other variant waits")]
    pub(crate) async fn waiting(&self, queue: Queue) -> Result<u64, Error> {
        let state = self.state();
        let waiting = match queue {
            Queue::Messages => state.messages.values().filter(|queued| queued.held_until.is_none()).count(),
            Queue::Facts => state.facts.len(),
        };
        Ok(u64::try_from(waiting).unwrap_or(u64::MAX))
    }

    pub(crate) fn charge(&self, charges: &Charges) -> bool {
        // Nothing is copied where nobody keeps it.
        let Some(keeper) = self.state().keeper.clone() else { return true };
        match keeper.try_send(ToKeeper::Charges(charges.clone())) {
            Ok(()) | Err(TrySendError::Closed(_)) => true,
            Err(TrySendError::Full(_)) => {
                self.0.unread.fetch_add(1, Ordering::Relaxed);
                false
            }
        }
    }

    pub(crate) async fn counts(&self, ask: &CountsAsk, limit: Duration) -> Result<Option<Counts>, Error> {
        let Some(keeper) = self.state().keeper.clone() else { return Ok(None) };
        let (to, answer) = oneshot::channel();
        match keeper.try_send(ToKeeper::Asked(ask.clone(), CountsAnswer(CountsAnswerTo::Local(to)))) {
            Ok(()) => {}
            Err(TrySendError::Closed(_)) => return Ok(None),
            Err(TrySendError::Full(_)) => return Err(Error::Overloaded),
        }
        match tokio::time::timeout(limit, answer).await {
            Ok(Ok(counts)) => Ok(Some(counts)),
            // It ended before it came to this.
            Ok(Err(_)) => Ok(None),
            Err(_) => Err(Error::Unavailable("who keeps the counts does not answer".into())),
        }
    }

    pub(crate) fn keep_counts(&self) -> mpsc::Receiver<ToKeeper> {
        let (to, from) = mpsc::channel(KEPT);
        self.state().keeper = Some(to);
        from
    }

    pub(crate) fn refusals(&self) -> u64 {
        0
    }

    pub(crate) fn losses(&self) -> Losses {
        Losses {
            facts: self.0.dropped.load(Ordering::Relaxed),
            unread: self.0.unread.load(Ordering::Relaxed),
            records: self.state().records_dropped,
            ..Losses::default()
        }
    }

    #[expect(clippy::unused_async, reason = "the other variant waits")]
    pub(crate) async fn ping(&self) -> Result<Duration, Error> {
        Ok(Duration::ZERO)
    }

    #[expect(clippy::unused_self, reason = "the other variant may not be")]
    pub(crate) fn connected(&self) -> bool {
        true
    }

    pub(crate) fn presence(&self) -> Presence {
        self.0.roll_call.presence()
    }

    pub(crate) fn roll_call(&self) -> &RollCall {
        &self.0.roll_call
    }

    pub(crate) fn announce_worker(&self, status: &Status) {
        self.0.roll_call.worker(status.clone());
    }

    pub(crate) fn announce_analytics(&self, _: &str) {
        self.0.roll_call.analytics();
    }

    pub(crate) fn messages(&self) -> Messages {
        Messages(self.clone())
    }

    pub(crate) fn requests(&self, session: &SessionId) -> Requests {
        let (to, from) = mpsc::channel(REQUESTS);
        self.state().workers.insert(session.clone(), to.clone());
        Requests { from, bus: self.clone(), session: session.clone(), own: to }
    }

    pub(crate) async fn next_facts(&self, max: usize) -> FactBatch {
        loop {
            let told = self.0.told.notified();
            let facts: Vec<Fact> = {
                let mut state = self.state();
                let taken = max.min(state.facts.len());
                state.facts.drain(..taken).collect()
            };
            if !facts.is_empty() {
                let ack = BatchAck::Local(Unacked { bus: self.clone(), facts: facts.clone() });
                return FactBatch { facts, ack };
            }
            told.await;
        }
    }

    /// Waits until analytics has taken the facts.
    pub(crate) async fn close(&self, limit: Duration) {
        let taken = async {
            while !self.state().facts.is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(limit, taken).await.ok();
    }
}

impl State {
    fn remove(&mut self, session: &SessionId, handle: u64) {
        if self.messages.get(session).is_some_and(|queued| queued.handle == handle) {
            self.messages.remove(session);
            self.queue.retain(|queued| queued != session);
        }
    }

    /// Drops records that are too old, or too many; oldest first.
    fn forget_records(&mut self, config: &Config) {
        while let Some(oldest) = self.written.first_entry() {
            let fits = self.record_bytes as u64 <= config.records_max_bytes.as_u64();
            if fits && oldest.get().0.elapsed() < config.resume_window {
                return;
            }
            let (_, session) = oldest.remove();
            if let Some((_, _, bytes)) = self.records.remove(&session) {
                self.record_bytes -= bytes;
                self.records_dropped += u64::from(!fits);
            }
        }
    }
}

pub(crate) struct Events {
    from: mpsc::Receiver<Arc<Event<'static>>>,
    lagged: Arc<AtomicBool>,
    bus: Local,
    session: SessionId,
}

impl Events {
    pub(crate) async fn next(&mut self) -> Live {
        match self.from.try_recv() {
            Ok(event) => Live::Event(Said::Shared(event)),
            // What fitted was read; what didn't is told now.
            Err(_) if self.lagged.swap(false, Ordering::AcqRel) => Live::Reread,
            Err(_) => match self.from.recv().await {
                Some(event) => Live::Event(Said::Shared(event)),
                None => std::future::pending().await,
            },
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let mut state = self.bus.state();
        if let Some(listeners) = state.listeners.get_mut(&self.session) {
            listeners.retain(|listener| !Arc::ptr_eq(&listener.lagged, &self.lagged));
            if listeners.is_empty() {
                state.listeners.remove(&self.session);
            }
        }
    }
}

pub(crate) struct Messages(Local);

impl Messages {
    pub(crate) async fn next(&mut self) -> Delivery {
        loop {
            let ready = self.0.0.ready.notified();
            let late = match self.take() {
                Ok(delivery) => return delivery,
                Err(late) => late,
            };
            // A worker that went silent gives no notice: look again when its time is up.
            match late {
                Some(late) => {
                    tokio::select! { () = ready => {}, () = tokio::time::sleep_until(late) => {} }
                }
                None => ready.await,
            }
        }
    }

    /// The next message, or when the next one comes back from a silent worker.
    fn take(&self) -> Result<Delivery, Option<Instant>> {
        let mut state = self.0.state();
        let state = &mut *state;
        let now = Instant::now();
        if state.queue.is_empty() {
            for (session, queued) in &mut state.messages {
                if queued.held_until.is_some_and(|until| until <= now) {
                    queued.held_until = None;
                    state.queue.push_back(session.clone());
                }
            }
        }
        let Some(session) = state.queue.pop_front() else {
            return Err(state.messages.values().filter_map(|queued| queued.held_until).min());
        };
        let more = !state.queue.is_empty();
        let queued = state.messages.get_mut(&session).ok_or(None)?;
        queued.attempt += 1;
        queued.held_until = Some(now + ACK_WAIT);
        if more {
            self.0.0.ready.notify_one();
        }
        Ok(Delivery {
            message: queued.message.clone(),
            attempt: queued.attempt,
            queued_at: queued.queued_at,
            handle: crate::Handle::Local(Handle { bus: self.0.clone(), session, handle: queued.handle }),
        })
    }
}

pub(crate) struct Handle {
    bus: Local,
    session: SessionId,
    handle: u64,
}

impl Handle {
    pub(crate) fn ack(&self) {
        self.bus.state().remove(&self.session, self.handle);
    }

    pub(crate) fn progress(&self) {
        let mut state = self.bus.state();
        if let Some(queued) = state.messages.get_mut(&self.session).filter(|q| q.handle == self.handle) {
            queued.held_until = Some(Instant::now() + ACK_WAIT);
        }
    }

    pub(crate) fn give_back_after(&self, pause: Duration) {
        let mut state = self.bus.state();
        if let Some(queued) = state.messages.get_mut(&self.session).filter(|q| q.handle == self.handle) {
            queued.held_until = Some(Instant::now() + pause);
        }
        self.bus.0.ready.notify_one();
    }

    pub(crate) fn give_back(&self) {
        let mut state = self.bus.state();
        let state = &mut *state;
        if let Some(queued) = state.messages.get_mut(&self.session).filter(|q| q.handle == self.handle)
            && queued.held_until.take().is_some()
        {
            state.queue.push_back(self.session.clone());
            self.bus.0.ready.notify_one();
        }
    }
}

pub(crate) struct Requests {
    from: mpsc::Receiver<Request>,
    bus: Local,
    session: SessionId,
    own: mpsc::Sender<Request>,
}

impl Requests {
    pub(crate) async fn next(&mut self) -> Request {
        match self.from.recv().await {
            Some(request) => request,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        let mut state = self.bus.state();
        // A later run of the session may have taken the place already.
        if state.workers.get(&self.session).is_some_and(|held| held.same_channel(&self.own)) {
            state.workers.remove(&self.session);
        }
    }
}

/// Facts that go back to the front of the queue unless they are acknowledged.
pub(crate) struct Unacked {
    bus: Local,
    facts: Vec<Fact>,
}

impl Unacked {
    pub(crate) fn ack(mut self) {
        self.facts.clear();
    }
}

impl Drop for Unacked {
    fn drop(&mut self) {
        if !self.facts.is_empty() {
            let mut state = self.bus.state();
            for fact in self.facts.drain(..).rev() {
                state.facts.push_front(fact);
            }
            drop(state);
            self.bus.0.told.notify_one();
        }
    }
}
