//! The bus over NATS. Subjects and streams are those of `nats/subjects.md`.
//!
//! Two connections: live data (events, asks) must not wait behind JetStream traffic. Order on one connection is kept
//! by the server, so what must be in order (listen, then ask) uses the same one.

mod connect;
mod consumer;
mod ended;
mod examine;
mod facts;
mod outage;
mod pull;
mod setup;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_nats::{
    Client, Subject, Subscriber,
    client::RequestErrorKind,
    connection::State as Connection,
    jetstream::{
        self, AckKind, ErrorCode,
        context::{PublishError, PublishErrorKind, RequestError},
        message::PublishMessage,
        stream::{DirectGetErrorKind, Info, LastRawMessageErrorKind, Stream},
    },
};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use protocol::{Charges, Counts, CountsAsk, Event, Fact, Message, Record, Reply, SessionId};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Answer, AnswerTo, Ask, Cancel, Config, ConnectError, CountsAnswer, CountsAnswerTo, Error, EventsFrom, FACT_QUEUE,
    LATE_WITHIN, Late, LateAnswer, LateAnswerTo, Live, Losses, Missing, NatsConfig, Pending, Presence, Proved,
    PutError, Queue, Read, Request, Said, Status, Stored, Submitted, Taken, ToKeeper, roll_call::RollCall,
};
pub use connect::new_nkey;
pub(crate) use connect::{Heard, connect};
pub(crate) use ended::Ended;
pub use examine::{Difference, Examined, OLDEST_SERVER, examine};
pub(crate) use facts::Facts;
pub(crate) use pull::Messages;
pub use setup::{Setup, setup};

/// An edge refuses within a second what it can't hand on.
const JETSTREAM_TIMEOUT: Duration = Duration::from_millis(700);
/// A worker that is there answers in a fraction of a millisecond; one that was stopped, never.
const ASK_TIMEOUT: Duration = Duration::from_millis(400);
/// What a subscription holds that was not read yet. What comes beyond that is dropped, and the reader told so.
const UNREAD: usize = 4096;
/// Charges that can't be read are passed over, so many in one go.
const UNREADABLE: usize = 256;
const CHARGES: &str = "limit.charge.*";
const COUNTS: &str = "limit.snapshot";

pub(crate) fn ev(session: &SessionId) -> Subject {
    format!("chat.ev.{session}").into()
}

fn subject(kind: &str, session: &SessionId) -> Subject {
    format!("chat.{kind}.{session}").into()
}

/// What an edge says to the worker that runs a session, on `chat.ctl.<session>`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Control {
    Cancel(Cancel),
    Late(Late),
}

#[derive(Clone)]
pub(crate) struct Nats(Arc<Shared>);

struct Shared {
    live: Voice,
    js: jetstream::Context,
    /// Changes with every (re)connection of the live connection.
    live_epoch: watch::Receiver<u64>,
    /// The same of the other one.
    control_epoch: watch::Receiver<u64>,
    reconnected: Arc<Mutex<Option<std::time::Instant>>>,
    facts: mpsc::Sender<Fact>,
    dropped: Arc<AtomicU64>,
    missed: Arc<AtomicU64>,
    heard: Heard,
    /// What was lacking a moment ago.
    missing: watch::Sender<Option<Missing>>,
    roll_call: RollCall,
    tasks: TaskTracker,
    closing: CancellationToken,
}

impl Nats {
    pub(crate) async fn connect(_: &Config, nats: &NatsConfig, role: &'static str) -> Result<Self, ConnectError> {
        let (connected, live_epoch) = watch::channel(0);
        let of_live = Heard { connected, ..Heard::default() };
        let (connected, control_epoch) = watch::channel(0);
        let heard = Heard { connected, ..of_live.clone() };
        // Both at once: a server that does not answer is waited for once.
        let (live, control) = tokio::try_join!(
            Box::pin(connect(nats, role, "live", ASK_TIMEOUT, &of_live)),
            Box::pin(connect(nats, role, "control", ASK_TIMEOUT, &heard))
        )?;
        let js =
            jetstream::ContextBuilder::new().timeout(JETSTREAM_TIMEOUT).ack_timeout(JETSTREAM_TIMEOUT).build(control);
        let (facts, told) = mpsc::channel(FACT_QUEUE);
        let bus = Self(Arc::new(Shared {
            live: Voice { client: live, unsent: Arc::default() },
            js,
            live_epoch,
            control_epoch,
            reconnected: Arc::clone(&heard.reconnected),
            facts,
            dropped: Arc::default(),
            missed: Arc::default(),
            heard: heard.clone(),
            missing: watch::Sender::default(),
            roll_call: RollCall::default(),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
        }));
        bus.0.tasks.spawn(facts::publish(bus.0.js.clone(), told, Arc::clone(&bus.0.dropped), bus.0.closing.clone()));
        let kinds: &[Kind] = match role {
            "edge" => &[Kind::Worker, Kind::Analytics],
            // Whether another one gets through to n8n.
            "worker" => &[Kind::Worker],
            _ => &[],
        };
        for kind in kinds {
            let (live, roll_call, closing) =
                (bus.0.live.client.clone(), bus.0.roll_call.clone(), bus.0.closing.clone());
            bus.0.tasks.spawn(listen_to_status(*kind, live, roll_call, closing));
        }
        bus.0.tasks.spawn({
            let (bus, closing) = (bus.clone(), bus.0.closing.clone());
            async move {
                closing.run_until_cancelled(outage::watch(bus, heard)).await;
            }
        });
        Ok(bus)
    }

    pub(crate) fn voice(&self) -> Voice {
        self.0.live.clone()
    }

    async fn stream(&self, name: &str) -> Result<Stream<()>, Error> {
        let late = |_| Error::Unavailable("not connected".into());
        tokio::time::timeout(JETSTREAM_TIMEOUT, connected(&self.0.js)).await.map_err(late)?;
        self.0.js.get_stream_no_info(name).await.map_err(|e| unavailable(&e))
    }

    pub(crate) async fn submit(&self, message: &Message) -> Result<Submitted, Error> {
        // A publish that waits for a reconnect would be handed on after its visitor was told that it was not.
        if !self.connected() {
            return Err(Error::Unavailable("not connected".into()));
        }
        let payload = serde_json::to_vec(message).map_err(|e| Error::unreadable(&e))?;
        let publish = PublishMessage::build()
            .payload(payload.into())
            .message_id(format!("{}.{}", message.session, message.message_id));
        let publish = traced(publish, message.traceparent.as_deref());
        match publish_acked(&self.0.js, subject("req", &message.session), publish).await {
            Ok(ack) if ack.duplicate => Ok(Submitted::Duplicate),
            Ok(_) => Ok(Submitted::Accepted),
            Err(error) => match refusal(&error) {
                // One server error code for every full stream; the text tells which limit it was.
                Some(text) if text.contains("per subject") => Ok(Submitted::Busy),
                Some(_) => Err(Error::Overloaded),
                None => Err(unavailable(&error)),
            },
        }
    }

    pub(crate) async fn pending(&self, session: &SessionId) -> Result<Option<Pending>, Error> {
        let stream = self.stream("REQ").await?;
        // From the leader: a replica that lags would say that nothing waits, and its visitor that it was interrupted.
        match stream.get_last_raw_message_by_subject(subject("req", session).as_str()).await {
            Ok(found) => {
                let message = serde_json::from_slice(&found.payload).map_err(|e| Error::unreadable(&e))?;
                Ok(Some(Pending { message, handle: found.sequence }))
            }
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(unavailable(&error)),
        }
    }

    pub(crate) async fn withdraw(&self, _: &SessionId, handle: u64) -> Result<(), Error> {
        use async_nats::jetstream::stream::DeleteMessageErrorKind;
        match self.stream("REQ").await?.delete_message(handle).await {
            Ok(_) => Ok(()),
            // A worker was quicker: what was to be taken out is out.
            Err(error) if matches!(error.kind(), DeleteMessageErrorKind::JetStream(_)) => Ok(()),
            Err(error) => Err(unavailable(&error)),
        }
    }

    pub(crate) async fn listen(&self, session: &SessionId) -> Result<crate::Events, Error> {
        let from = self.0.live.client.subscribe(ev(session)).await.map_err(|e| unavailable(&e))?;
        let mut epoch = self.0.live_epoch.clone();
        epoch.mark_unchanged();
        Ok(crate::Events(EventsFrom::Nats(Events { from, epoch })))
    }

    pub(crate) async fn ask(&self, session: &SessionId, ask: &Ask) -> Result<Option<Reply>, Error> {
        let Some(answer) = self.request(subject("ask", session), ask, ASK_TIMEOUT).await? else { return Ok(None) };
        serde_json::from_slice(&answer).map(Some).map_err(|e| Error::unreadable(&e))
    }

    pub(crate) async fn cancel(&self, session: &SessionId, cancel: &Cancel) -> Result<bool, Error> {
        let order = Control::Cancel(cancel.clone());
        Ok(self.request(subject("ctl", session), &order, ASK_TIMEOUT).await?.is_some())
    }

    pub(crate) async fn late(&self, session: &SessionId, late: &Late) -> Result<Option<Taken>, Error> {
        let order = Control::Late(late.clone());
        let Some(taken) = self.request(subject("ctl", session), &order, LATE_WITHIN).await? else { return Ok(None) };
        serde_json::from_slice(&taken).map(Some).map_err(|e| Error::unreadable(&e))
    }

    /// Asks the worker that runs a session; `None` when none does, or none answers within `limit`.
    async fn request(
        &self,
        subject: Subject,
        request: &impl Serialize,
        limit: Duration,
    ) -> Result<Option<Bytes>, Error> {
        // Not queued for a reconnect: whoever asks has been told by then that nobody knows.
        if !self.connected() {
            return Err(Error::Unavailable("not connected".into()));
        }
        let payload = serde_json::to_vec(request).map_err(|e| Error::unreadable(&e))?;
        let request = async_nats::Request::new().payload(payload.into()).timeout(Some(limit));
        match self.0.live.client.send_request(subject, request).await {
            Ok(answer) => Ok(Some(answer.payload)),
            Err(error) if matches!(error.kind(), RequestErrorKind::NoResponders | RequestErrorKind::TimedOut) => {
                Ok(None)
            }
            Err(error) => Err(unavailable(&error)),
        }
    }

    pub(crate) async fn record(&self, session: &SessionId, read: Read) -> Result<Stored, Error> {
        let stream = self.stream("SNAP").await?;
        let name = subject("snap", session);
        let found = match read {
            Read::Quick => match stream.direct_get_last_for_subject(name.as_str()).await {
                Ok(found) => Some(found),
                Err(error) if error.kind() == DirectGetErrorKind::NotFound => None,
                Err(error) => return Err(unavailable(&error)),
            },
            Read::Exact => match stream.get_last_raw_message_by_subject(name.as_str()).await {
                Ok(found) => Some(found),
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => None,
                Err(error) => return Err(unavailable(&error)),
            },
        };
        let Some(found) = found else { return Ok(Stored { record: Record::new(session.clone()), revision: 0 }) };
        let record: Record = serde_json::from_slice(&found.payload).map_err(|e| Error::unreadable(&e))?;
        if &record.session != session {
            return Err(Error::Invalid("a record of another session".into()));
        }
        Ok(Stored { record, revision: found.sequence })
    }

    pub(crate) async fn put_record(&self, record: &Record, revision: u64) -> Result<u64, PutError> {
        let payload = serde_json::to_vec(record).map_err(|e| Error::unreadable(&e))?;
        let publish = PublishMessage::build().payload(payload.into()).expected_last_subject_sequence(revision);
        match publish_acked(&self.0.js, subject("snap", &record.session), publish).await {
            Ok(ack) => Ok(ack.sequence),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Err(PutError::Lost),
            Err(error) if error.kind() == PublishErrorKind::MaxPayloadExceeded => {
                Err(Error::Invalid(error.to_string()).into())
            }
            Err(error) if refusal(&error).is_some() => Err(Error::Overloaded.into()),
            Err(error) => Err(unavailable(&error).into()),
        }
    }

    pub(crate) async fn prove(&self, proof: &[u8; 32]) -> Result<Proved, Error> {
        // Not queued for a reconnect: whoever asks has been refused by then.
        if !self.connected() {
            return Err(Error::Unavailable("not connected".into()));
        }
        let subject = proof.iter().fold(String::from("proof."), |text, byte| format!("{text}{byte:02x}"));
        let publish = PublishMessage::build().expected_last_subject_sequence(0);
        match publish_acked(&self.0.js, subject.into(), publish).await {
            Ok(_) => Ok(Proved::Fresh),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Ok(Proved::Replayed),
            Err(error) if refusal(&error).is_some() => Err(Error::Overloaded),
            Err(error) => Err(unavailable(&error)),
        }
    }

    pub(crate) fn tell(&self, fact: Fact) {
        if self.0.facts.try_send(fact).is_err() {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// On the connection that acknowledgements take, in one order with them.
    pub(crate) fn tell_first(&self, fact: Fact) {
        let sent = (self.0.js.client().connection_state() == Connection::Connected)
            .then(|| facts::publication(&fact))
            .flatten()
            .and_then(|(subject, publish)| at_once(self.0.js.send_publish(subject, publish)));
        let Some(stored) = sent else { return self.tell(fact) };
        let bus = self.clone();
        self.0.tasks.spawn(async move {
            // Under the same id: a second copy of one that was stored after all is dropped.
            if stored.await.is_err() {
                bus.tell(fact);
            }
        });
    }

    pub(crate) fn charge(&self, charges: &Charges) -> bool {
        let subject = format!("limit.charge.{}", charges.tier.name());
        serde_json::to_vec(charges).is_ok_and(|payload| publish(&self.0.live.client, subject.into(), payload.into()))
    }

    pub(crate) async fn charges(&self) -> Result<ChargesHeard, Error> {
        self.0.live.client.subscribe(CHARGES).await.map(ChargesHeard).map_err(|e| unavailable(&e))
    }

    pub(crate) async fn counts(&self, ask: &CountsAsk, limit: Duration) -> Result<Option<Counts>, Error> {
        if !self.connected() {
            return Err(Error::Unavailable("not connected".into()));
        }
        let payload = serde_json::to_vec(ask).map_err(|e| Error::unreadable(&e))?;
        let request = async_nats::Request::new().payload(payload.into()).timeout(Some(limit));
        match self.0.live.client.send_request(COUNTS, request).await {
            Ok(answer) => serde_json::from_slice(&answer.payload).map(Some).map_err(|e| Error::unreadable(&e)),
            Err(error) if error.kind() == RequestErrorKind::NoResponders => Ok(None),
            Err(error) => Err(unavailable(&error)),
        }
    }

    pub(crate) async fn keep_counts(&self) -> Result<Keeper, Error> {
        let client = &self.0.live.client;
        let charges = self.charges().await?;
        let asks = client.subscribe(COUNTS).await.map_err(|e| unavailable(&e))?;
        Ok(Keeper { charges, asks, asked: None, voice: self.0.live.clone() })
    }

    pub(crate) fn refusals(&self) -> u64 {
        self.0.heard.refusals.load(Ordering::Relaxed)
    }

    pub(crate) fn denied(&self) -> bool {
        self.0.heard.denied.load(Ordering::Relaxed)
    }

    pub(crate) fn losses(&self) -> Losses {
        Losses {
            facts: self.0.dropped.load(Ordering::Relaxed),
            unsent: self.0.live.unsent.load(Ordering::Relaxed),
            unread: self.0.heard.unread.load(Ordering::Relaxed),
            outages: self.0.heard.outages.load(Ordering::Relaxed),
            missed: self.0.missed.load(Ordering::Relaxed),
            records: 0,
        }
    }

    pub(crate) fn missing(&self) -> Option<Missing> {
        if self.connected() { *self.0.missing.borrow() } else { Some(Missing::Nats) }
    }

    pub(crate) fn epoch(&self) -> u64 {
        *self.0.control_epoch.borrow()
    }

    pub(crate) fn back_for(&self) -> Option<Duration> {
        if !self.connected() {
            return Some(Duration::ZERO);
        }
        self.0.reconnected.lock().expect("nothing panics while holding it").map(|at| at.elapsed())
    }

    pub(crate) async fn ping(&self) -> Result<Duration, Error> {
        if !self.connected() {
            return Err(Error::Unavailable("not connected".into()));
        }
        let began = Instant::now();
        // Goes to the server and back, and needs what the role may not work without.
        self.ask_for_snap().await.map_err(|e| unavailable(&e)).map(|_| began.elapsed())
    }

    async fn ask_for_snap(&self) -> Result<Info, RequestError> {
        // Without a look at the stream: that is this question, too.
        self.0.js.get_stream_no_info("SNAP").await.expect("its name is a good one").get_info().await
    }

    pub(crate) fn connected(&self) -> bool {
        [&self.0.live.client, &self.0.js.client()].into_iter().all(is_connected)
    }

    pub(crate) fn presence(&self) -> Presence {
        self.0.roll_call.presence()
    }

    pub(crate) fn roll_call(&self) -> &RollCall {
        &self.0.roll_call
    }

    pub(crate) fn announce_worker(&self, status: &Status) {
        if let Ok(payload) = serde_json::to_vec(status) {
            self.0.live.say(format!("status.worker.{}", status.id).into(), payload.into());
        }
    }

    pub(crate) fn announce_analytics(&self, id: &str) {
        self.0.live.say(format!("status.analytics.{id}").into(), Bytes::new());
    }

    pub(crate) async fn waiting(&self, queue: Queue) -> Result<u64, Error> {
        if !self.connected() {
            return Err(Error::Unavailable("not connected".into()));
        }
        consumer::waiting(&self.0.js.client(), queue).await
    }

    pub(crate) async fn has_idle_worker(&self) -> bool {
        pull::has_idle_worker(&self.0.js.client()).await
    }

    pub(crate) async fn messages(&self) -> Result<Messages, Error> {
        Messages::new(self.0.js.clone(), self.0.control_epoch.clone()).await
    }

    pub(crate) async fn requests(&self, session: &SessionId) -> Result<Requests, Error> {
        let asks = self.0.live.client.subscribe(subject("ask", session)).await.map_err(|e| unavailable(&e))?;
        let controls = self.0.live.client.subscribe(subject("ctl", session)).await.map_err(|e| unavailable(&e))?;
        Ok(Requests { asks, controls, voice: self.0.live.clone() })
    }

    pub(crate) fn facts(&self) -> Facts {
        Facts::new(self.0.js.clone(), Arc::clone(&self.0.missed))
    }

    pub(crate) async fn close(&self, limit: Duration) {
        self.0.closing.cancel();
        self.0.tasks.close();
        let flushed = async {
            self.0.tasks.wait().await;
            self.0.live.client.flush().await.ok();
            self.0.js.client().flush().await.ok();
        };
        if tokio::time::timeout(limit, flushed).await.is_err() {
            tracing::warn!("the bus could not be flushed in time");
        }
    }
}

pub(crate) struct Events {
    from: Subscriber,
    epoch: watch::Receiver<u64>,
}

impl Events {
    pub(crate) async fn next(&mut self) -> Live {
        tokio::select! {
            biased;
            Ok(()) = self.epoch.changed() => Live::Reread,
            Some(message) = self.from.next() => Live::Event(Said::Wire(message.payload)),
            else => std::future::pending().await,
        }
    }
}

pub(crate) struct ChargesHeard(Subscriber);

impl ChargesHeard {
    pub(crate) async fn next(&mut self) -> Charges {
        loop {
            if let Some(charges) = self.next_or_unreadable().await {
                return charges;
            }
        }
    }

    /// `None`: one that can't be read. A newer edge may have tiers that this one doesn't know.
    async fn next_or_unreadable(&mut self) -> Option<Charges> {
        let Some(message) = self.0.next().await else { return std::future::pending().await };
        let charges = serde_json::from_slice(&message.payload);
        charges.inspect_err(|_| tracing::debug!("dropped charges that can't be read")).ok()
    }
}

pub(crate) struct Keeper {
    charges: ChargesHeard,
    asks: Subscriber,
    /// Came, and waits until the charges that came before it have been handed out.
    asked: Option<Asked>,
    voice: Voice,
}

/// A question about counts.
struct Asked {
    ask: CountsAsk,
    to: CountsAnswer,
    /// Charges that may have come before it.
    behind: usize,
}

impl Keeper {
    pub(crate) async fn next(&mut self) -> ToKeeper {
        let mut passed = 0;
        loop {
            // One connection brought both in order, into two queues: charges that came before a question are in theirs by
            // the time at which it is seen, and no more of them than that holds. Outside of tokio's budget: with that
            // used up, a queue that holds something would look empty.
            if self.asked.is_none()
                && let Some(Some(message)) = tokio::task::coop::unconstrained(self.asks.next()).now_or_never()
            {
                self.ask(&message);
            }
            if let Some(asked) = self.asked.take_if(|asked| asked.behind == 0) {
                return ToKeeper::Asked(asked.ask, asked.to);
            }
            match tokio::task::coop::unconstrained(self.charges.next_or_unreadable()).now_or_never() {
                Some(charges) => {
                    if let Some(asked) = &mut self.asked {
                        asked.behind -= 1;
                    }
                    if let Some(charges) = charges {
                        return ToKeeper::Charges(charges);
                    }
                }
                None => {
                    if let Some(asked) = self.asked.take() {
                        return ToKeeper::Asked(asked.ask, asked.to);
                    }
                    tokio::select! {
                        biased;
                        charges = self.charges.next() => return ToKeeper::Charges(charges),
                        Some(message) = self.asks.next() => self.ask(&message),
                        else => std::future::pending().await,
                    }
                }
            }
            // Others have their turn, whatever anybody sends.
            passed += 1;
            if passed % UNREADABLE == 0 {
                tokio::task::yield_now().await;
            }
        }
    }

    fn ask(&mut self, message: &async_nats::Message) {
        match (serde_json::from_slice(&message.payload), message.reply.clone()) {
            (Ok(ask), Some(to)) => {
                let to = CountsAnswer(CountsAnswerTo::Nats(self.voice.clone(), to));
                self.asked = Some(Asked { ask, to, behind: UNREAD });
            }
            _ => tracing::warn!("dropped a question about limits that can't be read"),
        }
    }
}

pub(crate) struct Requests {
    asks: Subscriber,
    controls: Subscriber,
    voice: Voice,
}

impl Requests {
    pub(crate) async fn next(&mut self) -> Request {
        loop {
            tokio::select! {
                Some(message) = self.asks.next() => match (serde_json::from_slice(&message.payload), message.reply) {
                    (Ok(ask), Some(to)) => return Request::Ask(ask, Answer(AnswerTo::Nats(self.voice.clone(), to))),
                    _ => tracing::warn!("dropped an ask that can't be read"),
                },
                Some(message) = self.controls.next() => {
                    match (serde_json::from_slice(&message.payload), message.reply) {
                        (Ok(Control::Cancel(cancel)), to) => {
                            if let Some(to) = to {
                                self.voice.say(to, Bytes::new());
                            }
                            return Request::Cancel(cancel);
                        }
                        (Ok(Control::Late(late)), Some(to)) => {
                            let to = LateAnswer(LateAnswerTo::Nats(self.voice.clone(), to));
                            return Request::Late(Box::new(late), to);
                        }
                        _ => tracing::warn!("dropped an order that can't be read"),
                    }
                }
                else => std::future::pending().await,
            }
        }
    }
}

/// The connection for live data, as what is said without waiting goes out on it. While NATS is away, or the client's
/// command queue is full, nothing is sent, and that is counted: waiting here would stop the reading of n8n, and readers
/// re-read what they miss.
#[derive(Clone)]
pub(crate) struct Voice {
    client: Client,
    unsent: Arc<AtomicU64>,
}

impl Voice {
    /// Tells an event to whoever listens.
    pub(crate) fn send(&self, subject: &Subject, event: &Event<'_>) {
        match serde_json::to_vec(event) {
            Ok(payload) => self.say(subject.clone(), payload.into()),
            Err(error) => tracing::error!(%error, "an event can't be written"),
        }
    }

    pub(crate) fn answer(&self, to: Subject, answer: &impl Serialize) {
        match serde_json::to_vec(answer) {
            Ok(payload) => self.say(to, payload.into()),
            Err(error) => tracing::error!(%error, "an answer can't be written"),
        }
    }

    fn say(&self, subject: Subject, payload: Bytes) {
        if !publish(&self.client, subject, payload) {
            self.unsent.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn is_connected(client: &Client) -> bool {
    client.connection_state() == Connection::Connected
}

/// Waits for the connection to be there. What is said before that would wait in the client's command queue, and there
/// is no telling when it goes out, nor an end to what gathers there while NATS is away.
async fn connected(js: &jetstream::Context) {
    while !is_connected(&js.client()) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Publishes without waiting, and says whether it went out.
fn publish(client: &Client, subject: Subject, payload: Bytes) -> bool {
    is_connected(client) && at_once(client.publish(subject, payload)).is_some()
}

/// What a publish gives without waiting. Outside tokio's cooperative budget: after 128 operations of one poll a channel
/// with room would say "later", and the event would be lost.
fn at_once<T, E>(publish: impl Future<Output = Result<T, E>>) -> Option<T> {
    tokio::task::coop::unconstrained(publish).now_or_never()?.ok()
}

pub(crate) async fn ack(message: &jetstream::Message, kind: AckKind) {
    // A sign of life is not worth waiting for.
    if matches!(kind, AckKind::Progress) {
        if is_connected(&message.context.client()) {
            at_once(message.ack_with(kind));
        }
        return;
    }
    match tokio::time::timeout(JETSTREAM_TIMEOUT, message.ack_with(kind)).await {
        Ok(Ok(())) => {}
        // It comes again after ACK_WAIT, and the record then tells that it is done.
        Ok(Err(error)) => tracing::warn!(%error, "an acknowledgement was not sent"),
        Err(_) => tracing::warn!("an acknowledgement was not sent in time"),
    }
}

/// Stores something, or says within [`JETSTREAM_TIMEOUT`] that it may not be stored.
async fn publish_acked(
    js: &jetstream::Context,
    subject: Subject,
    publish: PublishMessage,
) -> Result<jetstream::publish::PublishAck, PublishError> {
    let stored = async {
        connected(js).await;
        js.send_publish(subject, publish).await?.await
    };
    let late = |_| Err(PublishError::new(PublishErrorKind::TimedOut));
    tokio::time::timeout(JETSTREAM_TIMEOUT, stored).await.unwrap_or_else(late)
}

/// For whoever looks at a stream: the same stands in what is published.
fn traced(publish: PublishMessage, traceparent: Option<&str>) -> PublishMessage {
    match traceparent {
        Some(traceparent) => publish.header("traceparent", traceparent),
        None => publish,
    }
}

/// The server's words when it refused to store for want of room; `None` when it said nothing of that.
fn refusal(error: &PublishError) -> Option<String> {
    let source = std::error::Error::source(error)?;
    let refused = source.downcast_ref::<jetstream::Error>()?;
    let no_room = [
        ErrorCode::STREAM_STORE_FAILED,
        ErrorCode::INSUFFICIENT_RESOURCES,
        ErrorCode::STORAGE_RESOURCES_EXCEEDED,
        ErrorCode::MEMORY_RESOURCES_EXCEEDED,
        ErrorCode::ACCOUNT_RESOURCES_EXCEEDED,
    ];
    no_room.contains(&refused.error_code()).then(|| refused.to_string())
}

pub(crate) fn unavailable(error: &(dyn std::error::Error + 'static)) -> Error {
    use std::fmt::Write as _;
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        write!(text, ": {cause}").ok();
        source = cause.source();
    }
    Error::Unavailable(text)
}

/// Who says that they are there.
#[derive(Clone, Copy)]
enum Kind {
    Worker,
    Analytics,
}

/// Follows who says that they are there.
async fn listen_to_status(kind: Kind, client: Client, roll_call: RollCall, closing: CancellationToken) {
    let subject = match kind {
        Kind::Worker => "status.worker.*",
        Kind::Analytics => "status.analytics.*",
    };
    let Ok(mut said) = client.subscribe(subject).await else {
        tracing::error!("can't listen to who is there");
        return;
    };
    while let Some(Some(message)) = closing.run_until_cancelled(said.next()).await {
        match kind {
            Kind::Worker => match serde_json::from_slice::<Status>(&message.payload) {
                Ok(status) => roll_call.worker(status),
                Err(_) => tracing::debug!("dropped a status that can't be read"),
            },
            Kind::Analytics => roll_call.analytics(),
        }
    }
}
