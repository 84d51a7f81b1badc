//! How edge, worker and analytics talk: one [`Bus`], in the process or over NATS.
//!
//! # Promises
//! Both variants keep them; `tests/contract.rs` runs the same checks over both.
//!
//! - **Hand-off.** [`Bus::submit`] returns once the message is durable (in the process: queued). It says
//!   [`Accepted`](Submitted::Accepted), [`Duplicate`](Submitted::Duplicate) (this message was submitted within two
//!   minutes) or [`Busy`](Submitted::Busy) (another message of the session is queued or running). A full queue is
//!   [`Error::Overloaded`]; a bus that can't be reached is [`Error::Unavailable`] within a second.
//! - **One worker at a time.** A [`Delivery`] goes to one worker, and again to some worker after [`ACK_WAIT`] without
//!   [`Delivery::progress`]. A worker gets no more than it asked for, and by [`Messages::next_spare`] only what no
//!   other worker with room would have got.
//! - **One claim.** [`Bus::put_record`] is a compare-and-set: of all who write upon the same revision one succeeds,
//!   the others get [`PutError::Lost`].
//! - **Live events never wait.** [`Sender::send`] never blocks on a reader. A reader that lags more than [`LIVE_BUFFER`]
//!   events loses the newest and must re-read: it is told so ([`Live::Reread`]) or sees a hole in the indexes. After
//!   a reconnect every reader is told to re-read.
//! - **Facts** are delivered at least once and carry an id. The queue towards the stream holds [`FACT_QUEUE`]; when it
//!   is full the newest is dropped and counted ([`Bus::losses`]).
//! - **A proof counts once.** [`Bus::prove`] says [`Fresh`](Proved::Fresh) to one caller of the whole deployment, and
//!   [`Replayed`](Proved::Replayed) to all others for [`PROOF_WINDOW`]. When it can't remember one more it is
//!   [`Error::Overloaded`]; when nobody knows it is [`Error::Unavailable`], within a second.
//! - **The end of a session is known everywhere.** Once [`Bus::end_session`] has returned, every [`Ended`] tells of it,
//!   one that begins later as well. Of more than [`Config::ended_max`] the process forgets the oldest, which all have
//!   heard; over NATS, where a process may begin later, one more is [`Error::Overloaded`].
//! - **Charges** to limits reach every other process that listens to them, or are lost: [`Bus::charge`] never waits and
//!   says whether they were sent. Whoever listens hears its own as well.
//! - **Counts of limits outlive edges** where somebody keeps them: its [`Keeper`] hears charges from the moment on at
//!   which [`Bus::keep_counts`] returned, and what a process charged before it asked comes before what it asked.
//!   [`Bus::counts`] says at once that nobody does, and in time that nobody answers.
//! - What was accepted before [`Bus::close`] is flushed.

mod config;
mod local;
mod nats;
mod roll_call;
#[cfg(feature = "testing")]
pub mod testing;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use protocol::{Charges, Counts, CountsAsk, Event, Fact, Message, MessageId, Millis, Record, Reply, SessionId, SiteId};
use serde::{Deserialize, Serialize};

pub use config::{Config, NatsConfig};
pub use nats::{Difference, Examined, OLDEST_SERVER, Setup, examine, new_nkey, setup};
pub use roll_call::Presence;

/// A delivery without a sign of life for this long goes to another worker.
pub const ACK_WAIT: Duration = Duration::from_secs(10);
/// Live events that a slow reader may be behind before it must re-read.
pub const LIVE_BUFFER: usize = 1024;
/// Facts that wait in a process for the stream.
pub const FACT_QUEUE: usize = 10_000;
/// Bytes of text that one answer to an [`Ask`] holds at most: as JSON it stays under NATS' 1 MB whatever it holds.
pub const ASK_PART: usize = 128 * 1024;
/// Callers in one answer to a [`CountsAsk`] at most: as JSON it stays under 512 KiB whatever they are.
pub const COUNTS_PART: usize = 12_000;
/// A worker has this long to record what came late.
pub const LATE_WITHIN: Duration = Duration::from_secs(3);
/// A message may be in workers' hands for this long. The queue forgets what is older than this and `QUEUE_TIMEOUT`.
pub const LONGEST_RUN: Duration = Duration::from_secs(3600);
/// A repeat of a message within this time is seen as one even when the session's record is gone.
pub const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
/// A used proof is remembered for this long: it is good for a minute before and after its time, and clocks differ.
pub const PROOF_WINDOW: Duration = Duration::from_secs(150);

/// What can go wrong, by what the caller may do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bus can't be reached (now): try again later.
    #[error("the bus can't be reached: {0}")]
    Unavailable(String),
    /// There is no room, in the queue or wherever it was to be kept: try again later.
    #[error("there is no room")]
    Overloaded,
    /// What came over the bus is not what was expected, or doesn't fit: trying again won't help.
    #[error("unexpected on the bus: {0}")]
    Invalid(String),
}

impl Error {
    /// Where JSON from the bus is wrong. serde's own words would quote what stands there, and that may be a visitor's.
    pub(crate) fn unreadable(error: &serde_json::Error) -> Self {
        Self::Invalid(format!(
            "{:?} error in JSON at line {} column {}",
            error.classify(),
            error.line(),
            error.column()
        ))
    }
}

/// Why there is no bus over NATS, and waiting would not help.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The settings can't be.
    #[error("{0}")]
    Settings(String),
    /// The server is there, and won't have this role, or must not be trusted, or won't do what was asked.
    #[error("NATS is there, but {0}")]
    Refused(String),
    /// What was asked of it failed.
    #[error(transparent)]
    Bus(#[from] Error),
}

/// Why a record was not written.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// Somebody else wrote in between: read again, or stop.
    #[error("somebody else wrote the record")]
    Lost,
    /// It is not known whether it was written.
    #[error(transparent)]
    Bus(#[from] Error),
}

/// What became of a submitted message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// It is queued.
    Accepted,
    /// It was submitted before.
    Duplicate,
    /// Another message of the session is queued or running.
    Busy,
}

/// Whether a proof was shown for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proved {
    /// It was.
    Fresh,
    /// It was used before, here or at another process.
    Replayed,
}

/// What an [`Ended`] tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// This session is over. May come more than once.
    Session(SessionId),
    /// All that ended before the question was asked have been told.
    CaughtUp,
}

/// A message that is queued or running, as the queue holds it.
#[derive(Debug)]
pub struct Pending {
    /// The message.
    pub message: Message,
    handle: u64,
}

/// A record and the revision that a write upon it must name.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The record.
    pub record: Record,
    /// Its revision; 0 where there is no record yet.
    pub revision: u64,
}

/// How a record is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// From whatever holds it: may be a moment old.
    Quick,
    /// As it is now: before deciding about a redelivery.
    Exact,
}

/// "Tell me everything after this", to the worker that runs the session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Whose reply; the running one when absent.
    pub message_id: Option<MessageId>,
    /// The first index that is wanted.
    pub from: u32,
}

/// An order to the worker that runs the session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancel {
    /// Whose reply is to end.
    pub message_id: MessageId,
}

/// What a workflow sends late, for a reply that is not over. Its `Debug` form shows no text.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Late {
    /// Whose reply.
    pub message_id: MessageId,
    /// Tells a repeat: two of one key are the same piece.
    pub key: String,
    /// The text; may be empty where the reply only ends.
    pub content: String,
    /// Whether the reply ends with it.
    pub last: bool,
}

impl std::fmt::Debug for Late {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Late({}, {} bytes, last: {})", self.message_id, self.content.len(), self.last)
    }
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Taken {
    /// It is in the reply, and recorded.
    Now,
    /// It came before.
    Before,
    /// The reply would be over its size limit with it.
    TooLarge,
    /// The worker runs no such reply, or it is over.
    Over,
}

/// What a worker says of itself every second, and when a circuit changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Which process.
    pub id: String,
    /// Replies it can run at once.
    pub capacity: u32,
    /// Replies that it runs.
    pub running: u32,
    /// Whether its calls to n8n get through: `ok`, `open`, `half_open` or `unknown`.
    pub n8n: String,
    /// The circuits of the sites that it calls n8n for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sites: BTreeMap<SiteId, Circuit>,
}

/// Whether a worker calls a site's n8n.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Circuit {
    /// Not for now.
    Open,
    /// A call at a time, to see whether it is back.
    HalfOpen,
    /// It does. What a newer worker says otherwise is taken for this: a message is then not refused.
    #[serde(other)]
    Closed,
}

/// One live thing of a session.
#[derive(Clone, Debug)]
pub enum Live {
    /// A worker said something.
    Event(Said),
    /// Something may have been missed: ask again.
    Reread,
}

/// An event as it came, decoded when it is looked at.
#[derive(Clone, Debug)]
pub enum Said {
    /// In the process: shared, never encoded.
    Shared(Arc<Event<'static>>),
    /// Over NATS: the bytes.
    Wire(Bytes),
}

impl Said {
    /// The event, borrowing its text.
    pub fn event(&self) -> Result<Event<'_>, Error> {
        match self {
            Self::Shared(event) => Ok(event.borrowed()),
            Self::Wire(bytes) => serde_json::from_slice(bytes).map_err(|e| Error::unreadable(&e)),
        }
    }
}

/// What a role can't work without, and lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// There is no connection, or none any more.
    #[error("it can't be reached")]
    Nats,
    /// There is one, and nothing comes back on it.
    #[error("it does not answer")]
    Answer,
    /// The server was started without it.
    #[error("it has no JetStream")]
    JetStream,
    /// Nobody has made them yet, or they are gone with the server's disk.
    #[error("it lacks the streams that `frontdesk nats-setup` makes")]
    Streams,
}

/// What the bus of this process dropped or lost since its start. Nothing of it is silent: readers re-read, and what was
/// not stored is told to who said it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Facts that found the queue full, or the stream away for too long.
    pub facts: u64,
    /// Facts that the stream dropped before this process, analytics, had read them.
    pub missed: u64,
    /// Live events and answers that could not be sent, because NATS was away or the client's queue was full.
    pub unsent: u64,
    /// What came for a listener that had no room for it.
    pub unread: u64,
    /// How often a connection to NATS was lost.
    pub outages: u64,
    /// Records that went for want of room, all-in-one.
    pub records: u64,
}

/// What waits in a deployment. See [`Bus::waiting`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// Messages that no worker has taken yet. Over NATS a worker may ask.
    Messages,
    /// Facts that analytics has not stored yet. Over NATS analytics may ask.
    Facts,
}

/// How the processes of a deployment talk. Cheap to clone.
#[derive(Clone)]
pub struct Bus(Variant);

#[derive(Clone)]
enum Variant {
    Local(local::Local),
    Nats(nats::Nats),
}

/// Picks the variant: there are two, and both have every method.
macro_rules! either {
    ($this:expr, $inner:ident => $call:expr) => {
        match $this {
            Variant::Local($inner) => $call,
            Variant::Nats($inner) => $call,
        }
    };
}

impl Bus {
    /// The bus of one process.
    pub fn local(config: &Config) -> Self {
        Self(Variant::Local(local::Local::new(config)))
    }

    /// Connects to NATS. A server that is away is waited for in the background; it fails where that would not help.
    pub async fn nats(config: &Config, nats: &NatsConfig, role: &'static str) -> Result<Self, ConnectError> {
        Ok(Self(Variant::Nats(nats::Nats::connect(config, nats, role).await?)))
    }

    /// Hands a message to the workers.
    pub async fn submit(&self, message: &Message) -> Result<Submitted, Error> {
        either!(&self.0, bus => bus.submit(message).await)
    }

    /// The session's message that is queued or running, if there is one.
    pub async fn pending(&self, session: &SessionId) -> Result<Option<Pending>, Error> {
        either!(&self.0, bus => bus.pending(session).await)
    }

    /// Takes a message out of the queue. Only after the record says that it is over: a worker may hold it already,
    /// and the record is what stops that worker.
    pub async fn withdraw(&self, pending: &Pending) -> Result<(), Error> {
        either!(&self.0, bus => bus.withdraw(&pending.message.session, pending.handle).await)
    }

    /// Listens to the session's live events from now on. Once this has returned nothing is missed that is sent on an
    /// answer to a later call.
    pub async fn listen(&self, session: &SessionId) -> Result<Events, Error> {
        either!(&self.0, bus => bus.listen(session).await)
    }

    /// Asks the worker that runs the session; `None` when no worker does. The answer may stop short
    /// ([`Reply::next`] above its last index): ask again from there.
    pub async fn ask(&self, session: &SessionId, ask: &Ask) -> Result<Option<Reply>, Error> {
        either!(&self.0, bus => bus.ask(session, ask).await)
    }

    /// Tells the worker that runs the session to end a reply; `false` when no worker runs it.
    pub async fn cancel(&self, session: &SessionId, cancel: &Cancel) -> Result<bool, Error> {
        either!(&self.0, bus => bus.cancel(session, cancel).await)
    }

    /// Hands what came late to the worker that runs the session; `None` when no worker does, or none says in time what
    /// became of it: then it may have been taken, and a repeat will tell.
    pub async fn late(&self, session: &SessionId, late: &Late) -> Result<Option<Taken>, Error> {
        either!(&self.0, bus => bus.late(session, late).await)
    }

    /// The session's record; an empty one with revision 0 when there is none.
    pub async fn record(&self, session: &SessionId, read: Read) -> Result<Stored, Error> {
        either!(&self.0, bus => bus.record(session, read).await)
    }

    /// Writes the record if its revision is still `revision`; returns the new one.
    pub async fn put_record(&self, record: &Record, revision: u64) -> Result<u64, PutError> {
        either!(&self.0, bus => bus.put_record(record, revision).await)
    }

    /// Uses up a proof, by the hash that tells it from all others.
    pub async fn prove(&self, proof: &[u8; 32]) -> Result<Proved, Error> {
        either!(&self.0, bus => bus.prove(proof).await)
    }

    /// Ends a session for the whole deployment.
    pub async fn end_session(&self, session: &SessionId) -> Result<(), Error> {
        either!(&self.0, bus => bus.end_session(session).await)
    }

    /// Sessions that were ended: first those that are remembered, then others as they end.
    pub async fn ended(&self) -> Result<Ended, Error> {
        Ok(Ended(match &self.0 {
            Variant::Local(bus) => EndedFrom::Local(bus.ended()),
            Variant::Nats(bus) => EndedFrom::Nats(Box::new(bus.ended().await?)),
        }))
    }

    /// Tells a fact. Never waits.
    pub fn tell(&self, fact: Fact) {
        either!(&self.0, bus => bus.tell(fact));
    }

    /// Tells a fact, and what this process says over the bus from then on arrives after it: a process that is killed
    /// behind an acknowledgement has told what led to it. Never waits.
    pub fn tell_first(&self, fact: Fact) {
        match &self.0 {
            Variant::Local(bus) => bus.tell(fact),
            Variant::Nats(bus) => bus.tell_first(fact),
        }
    }

    /// Tells the other edges, and who keeps counts, what was counted. Never waits; `false` when it was not sent, and
    /// never will be: late charges would be wrong ones. In the process there is no other edge.
    pub fn charge(&self, charges: &Charges) -> bool {
        either!(&self.0, bus => bus.charge(charges))
    }

    /// Listens to what edges count, from now on.
    pub async fn charges(&self) -> Result<ChargesHeard, Error> {
        Ok(ChargesHeard(match &self.0 {
            Variant::Local(_) => None,
            Variant::Nats(bus) => Some(bus.charges().await?),
        }))
    }

    /// Asks who keeps the counts of limits how the callers of one stand; `None` when nobody keeps them. An error when
    /// there is no answer within `limit`.
    pub async fn counts(&self, ask: &CountsAsk, limit: Duration) -> Result<Option<Counts>, Error> {
        either!(&self.0, bus => bus.counts(ask, limit).await)
    }

    /// What comes to who keeps the counts of limits, from now on. There should be one in a deployment.
    pub async fn keep_counts(&self) -> Result<Keeper, Error> {
        Ok(Keeper(match &self.0 {
            Variant::Local(bus) => KeeperFrom::Local(bus.keep_counts()),
            Variant::Nats(bus) => KeeperFrom::Nats(Box::new(bus.keep_counts().await?)),
        }))
    }

    /// How often NATS refused something: this role's user lacks a right that it needs (see `nats/subjects.md`), or a
    /// limit of the server is reached. The log says which.
    pub fn refusals(&self) -> u64 {
        either!(&self.0, bus => bus.refusals())
    }

    /// Whether NATS refused something for want of a right. A limit that is reached may be over soon; this won't.
    pub fn denied(&self) -> bool {
        match &self.0 {
            Variant::Local(_) => false,
            Variant::Nats(bus) => bus.denied(),
        }
    }

    /// Changes with every reconnect: behind it may be a store that lost what it held, and gives revisions anew. In the
    /// process always 0.
    pub fn epoch(&self) -> u64 {
        match &self.0 {
            Variant::Local(_) => 0,
            Variant::Nats(bus) => bus.epoch(),
        }
    }

    /// For how long the bus is back after it was away: nothing while it is away, `None` where it never was. Others may
    /// still be on their way to it, and what it confirmed last may be lost: a server that is killed forgets what it had
    /// not written yet.
    pub fn back_for(&self) -> Option<Duration> {
        match &self.0 {
            Variant::Local(_) => None,
            Variant::Nats(bus) => bus.back_for(),
        }
    }

    /// What carries messages, in the word that OpenTelemetry has for it, or ours.
    pub fn system(&self) -> &'static str {
        if self.outlives_process() { "nats" } else { "frontdesk" }
    }

    /// Whether what is queued outlives this process, so that another one can go on with it.
    pub fn outlives_process(&self) -> bool {
        matches!(self.0, Variant::Nats(_))
    }

    /// How long the bus takes to answer; an error when it doesn't within a second.
    pub async fn ping(&self) -> Result<Duration, Error> {
        either!(&self.0, bus => bus.ping().await)
    }

    /// Whether the bus is connected, as far as this process knows without asking.
    pub fn connected(&self) -> bool {
        either!(&self.0, bus => bus.connected())
    }

    /// What the bus lacks, as it was a second ago at most; `None` when all is there.
    pub fn missing(&self) -> Option<Missing> {
        match &self.0 {
            Variant::Local(_) => None,
            Variant::Nats(bus) => bus.missing(),
        }
    }

    /// What was dropped or lost so far.
    pub fn losses(&self) -> Losses {
        either!(&self.0, bus => bus.losses())
    }

    /// How much waits in a queue of the whole deployment, for the figures: the same whoever asks, and a moment old.
    pub async fn waiting(&self, queue: Queue) -> Result<u64, Error> {
        either!(&self.0, bus => bus.waiting(queue).await)
    }

    /// Who has been heard within three seconds.
    pub fn presence(&self) -> Presence {
        either!(&self.0, bus => bus.presence())
    }

    /// Whether there is a worker, and none that would call this site's n8n now: a message would only be told so.
    pub fn circuit_is_open(&self, site: &SiteId) -> bool {
        either!(&self.0, bus => bus.roll_call()).circuit_is_open(site)
    }

    /// Says that this worker is there. To be repeated every second.
    pub fn announce_worker(&self, status: &Status) {
        either!(&self.0, bus => bus.announce_worker(status));
    }

    /// Says that analytics is there. To be repeated every second.
    pub fn announce_analytics(&self, id: &str) {
        either!(&self.0, bus => bus.announce_analytics(id));
    }

    /// Whether a worker has room, and waits in [`Messages::next`]: what is given back goes to it at once. Asked by a
    /// worker that has asked for none itself ([`Messages::has_asked`]). In the process there is no other.
    pub async fn has_idle_worker(&self) -> bool {
        match &self.0 {
            Variant::Local(_) => false,
            Variant::Nats(bus) => bus.has_idle_worker().await,
        }
    }

    /// The messages for a worker.
    pub async fn messages(&self) -> Result<Messages, Error> {
        Ok(Messages(match &self.0 {
            Variant::Local(bus) => MessagesFrom::Local(bus.messages()),
            Variant::Nats(bus) => MessagesFrom::Nats(Box::new(bus.messages().await?)),
        }))
    }

    /// The voice in which a worker tells a session's reply.
    pub fn sender(&self, session: &SessionId) -> Sender {
        Sender(match &self.0 {
            Variant::Local(bus) => SenderTo::Local(bus.clone(), session.clone()),
            Variant::Nats(bus) => SenderTo::Nats(bus.voice(), nats::ev(session)),
        })
    }

    /// What edges ask of the worker that runs the session.
    pub async fn requests(&self, session: &SessionId) -> Result<Requests, Error> {
        Ok(Requests(match &self.0 {
            Variant::Local(bus) => RequestsFrom::Local(bus.requests(session)),
            Variant::Nats(bus) => RequestsFrom::Nats(bus.requests(session).await?),
        }))
    }

    /// The facts for analytics.
    pub fn facts(&self) -> Facts {
        Facts(match &self.0 {
            Variant::Local(bus) => FactsFrom::Local(bus.clone()),
            Variant::Nats(bus) => FactsFrom::Nats(Box::new(bus.facts())),
        })
    }

    /// Flushes what was accepted, for no longer than `limit`.
    pub async fn close(&self, limit: Duration) {
        either!(&self.0, bus => bus.close(limit).await);
    }
}

/// Live events of one session. See [`Bus::listen`].
pub struct Events(EventsFrom);

enum EventsFrom {
    Local(local::Events),
    Nats(nats::Events),
}

impl Events {
    /// The next one. Cancel-safe. After the bus is closed it waits for ever.
    pub async fn next(&mut self) -> Live {
        match &mut self.0 {
            EventsFrom::Local(events) => events.next().await,
            EventsFrom::Nats(events) => events.next().await,
        }
    }

    /// The next one if it is already here.
    pub fn try_next(&mut self) -> Option<Live> {
        futures_util::FutureExt::now_or_never(self.next())
    }
}

/// See [`Bus::ended`].
pub struct Ended(EndedFrom);

enum EndedFrom {
    Local(local::Ended),
    Nats(Box<nats::Ended>),
}

impl Ended {
    /// The next one. Cancel-safe.
    pub async fn next(&mut self) -> Ending {
        match &mut self.0 {
            EndedFrom::Local(ended) => ended.next().await,
            EndedFrom::Nats(ended) => ended.next().await,
        }
    }
}

/// See [`Bus::charges`].
pub struct ChargesHeard(Option<nats::ChargesHeard>);

impl ChargesHeard {
    /// The next ones. Cancel-safe. Bad bytes are dropped and logged. In the process it waits for ever: there is no other
    /// edge.
    pub async fn next(&mut self) -> Charges {
        match &mut self.0 {
            Some(heard) => heard.next().await,
            None => std::future::pending().await,
        }
    }
}

/// See [`Bus::keep_counts`].
pub struct Keeper(KeeperFrom);

enum KeeperFrom {
    Local(tokio::sync::mpsc::Receiver<ToKeeper>),
    Nats(Box<nats::Keeper>),
}

/// What comes to who keeps the counts of limits.
pub enum ToKeeper {
    /// What an edge counted.
    Charges(Charges),
    /// What an edge that starts wants to know.
    Asked(CountsAsk, CountsAnswer),
}

/// Where the answer to a [`CountsAsk`] goes.
pub struct CountsAnswer(CountsAnswerTo);

enum CountsAnswerTo {
    Local(tokio::sync::oneshot::Sender<Counts>),
    Nats(nats::Voice, async_nats::Subject),
}

impl Keeper {
    /// The next thing. Cancel-safe. Bad bytes are dropped and logged. After the bus is closed it waits for ever.
    pub async fn next(&mut self) -> ToKeeper {
        match &mut self.0 {
            KeeperFrom::Local(from) => match from.recv().await {
                Some(said) => said,
                None => std::future::pending().await,
            },
            KeeperFrom::Nats(from) => from.next().await,
        }
    }
}

impl CountsAnswer {
    /// Answers, without waiting.
    pub fn send(self, counts: Counts) {
        match self.0 {
            CountsAnswerTo::Local(to) => drop(to.send(counts)),
            CountsAnswerTo::Nats(voice, to) => voice.answer(to, &counts),
        }
    }
}

/// See [`Bus::sender`].
pub struct Sender(SenderTo);

enum SenderTo {
    Local(local::Local, SessionId),
    Nats(nats::Voice, async_nats::Subject),
}

impl Sender {
    /// Tells all who listen, without waiting. While NATS is away nothing is sent: readers re-read afterwards.
    pub fn send(&self, event: &Event<'_>) {
        match &self.0 {
            SenderTo::Local(bus, session) => bus.send(session, event),
            SenderTo::Nats(voice, subject) => voice.send(subject, event),
        }
    }
}

/// See [`Bus::messages`].
pub struct Messages(MessagesFrom);

enum MessagesFrom {
    Local(local::Messages),
    Nats(Box<nats::Messages>),
}

impl Messages {
    /// The next message, while no more than `free` are asked for. Cancel-safe. Bad bytes are dropped and logged.
    pub async fn next(&mut self, free: usize) -> Delivery {
        match &mut self.0 {
            MessagesFrom::Local(messages) => messages.next().await,
            MessagesFrom::Nats(messages) => messages.next(free).await,
        }
    }

    /// The next message that no other worker waits for in [`next`](Self::next), while no more than `most` are asked for.
    /// For a worker that would have to let it wait. Cancel-safe. In the process there is one worker, and every message is
    /// for it.
    pub async fn next_spare(&mut self, most: usize) -> Delivery {
        match &mut self.0 {
            MessagesFrom::Local(messages) => messages.next().await,
            MessagesFrom::Nats(messages) => messages.next_spare(most).await,
        }
    }

    /// Whether messages were asked for that may still come, whatever room there is by then.
    pub fn has_asked(&self) -> bool {
        match &self.0 {
            MessagesFrom::Local(_) => false,
            MessagesFrom::Nats(messages) => messages.has_asked(),
        }
    }

    /// Takes no more, and gives back at once what came but was not handed out.
    pub async fn close(self) {
        match self.0 {
            MessagesFrom::Local(_) => {}
            MessagesFrom::Nats(messages) => messages.close().await,
        }
    }
}

/// One message for one worker.
pub struct Delivery {
    /// The message.
    pub message: Message,
    /// 1 the first time.
    pub attempt: u32,
    /// When it was queued, by the clock of the queue.
    pub queued_at: Millis,
    handle: Handle,
}

enum Handle {
    Local(local::Handle),
    Nats(Box<async_nats::jetstream::Message>),
}

impl Delivery {
    /// Done with it: nobody gets it again.
    pub async fn ack(&self) {
        match &self.handle {
            Handle::Local(handle) => handle.ack(),
            Handle::Nats(message) => nats::ack(message, async_nats::jetstream::AckKind::Ack).await,
        }
    }

    /// A sign of life: call it more often than [`ACK_WAIT`].
    pub async fn progress(&self) {
        match &self.handle {
            Handle::Local(handle) => handle.progress(),
            Handle::Nats(message) => nats::ack(message, async_nats::jetstream::AckKind::Progress).await,
        }
    }

    /// Back to the queue, for some worker, at once.
    pub async fn give_back(&self) {
        match &self.handle {
            Handle::Local(handle) => handle.give_back(),
            Handle::Nats(message) => nats::ack(message, async_nats::jetstream::AckKind::Nak(None)).await,
        }
    }

    /// Back to the queue, for some worker, after this time: it lets others be quicker.
    pub async fn give_back_after(&self, pause: Duration) {
        match &self.handle {
            Handle::Local(handle) => handle.give_back_after(pause),
            Handle::Nats(message) => nats::ack(message, async_nats::jetstream::AckKind::Nak(Some(pause))).await,
        }
    }
}

/// See [`Bus::requests`].
pub struct Requests(RequestsFrom);

enum RequestsFrom {
    Local(local::Requests),
    Nats(nats::Requests),
}

/// One request of an edge.
pub enum Request {
    /// What was said so far.
    Ask(Ask, Answer),
    /// End a reply.
    Cancel(Cancel),
    /// More of a reply, from its workflow.
    Late(Box<Late>, LateAnswer),
}

/// Where it is told what became of a [`Late`].
pub struct LateAnswer(LateAnswerTo);

enum LateAnswerTo {
    Local(tokio::sync::oneshot::Sender<Taken>),
    Nats(nats::Voice, async_nats::Subject),
}

impl LateAnswer {
    /// Answers, without waiting.
    pub fn send(self, taken: Taken) {
        match self.0 {
            LateAnswerTo::Local(to) => drop(to.send(taken)),
            LateAnswerTo::Nats(voice, to) => voice.answer(to, &taken),
        }
    }
}

/// Where the answer to an [`Ask`] goes.
pub struct Answer(AnswerTo);

enum AnswerTo {
    Local(tokio::sync::oneshot::Sender<Reply>),
    Nats(nats::Voice, async_nats::Subject),
}

impl Answer {
    /// Answers, without waiting.
    pub fn send(self, reply: Reply) {
        match self.0 {
            AnswerTo::Local(to) => drop(to.send(reply)),
            AnswerTo::Nats(voice, to) => voice.answer(to, &reply),
        }
    }
}

impl Requests {
    /// The next one. Cancel-safe. Bad bytes are dropped and logged.
    pub async fn next(&mut self) -> Request {
        match &mut self.0 {
            RequestsFrom::Local(requests) => requests.next().await,
            RequestsFrom::Nats(requests) => requests.next().await,
        }
    }
}

/// See [`Bus::facts`].
pub struct Facts(FactsFrom);

enum FactsFrom {
    Local(local::Local),
    Nats(Box<nats::Facts>),
}

/// Facts that come again unless they are acknowledged.
pub struct FactBatch {
    /// The facts, in the order of arrival; a few may be repeats.
    pub facts: Vec<Fact>,
    ack: BatchAck,
}

enum BatchAck {
    Local(local::Unacked),
    Nats(Vec<async_nats::jetstream::Message>),
}

impl Facts {
    /// Waits for a fact, then takes what is there, `max` at most. Cancel-safe: what was taken and not acknowledged
    /// comes again.
    pub async fn next_batch(&mut self, max: usize) -> FactBatch {
        match &mut self.0 {
            FactsFrom::Local(bus) => bus.next_facts(max).await,
            FactsFrom::Nats(facts) => facts.next_batch(max).await,
        }
    }
}

impl FactBatch {
    /// They are stored: never again.
    pub async fn ack(self) {
        match self.ack {
            BatchAck::Local(unacked) => unacked.ack(),
            BatchAck::Nats(messages) => {
                for message in &messages {
                    nats::ack(message, async_nats::jetstream::AckKind::Ack).await;
                }
            }
        }
    }
}
