//! Bus to n8n to bus.
//!
//! - [`intake`]: from the bus to a run, or to a place in the queue of a site; [`admission`]: who runs next.
//! - [`run`](mod@run): the life of one message; [`claim`]: the fence before it; [`late`]: what its workflow says after
//!   n8n's own answer broke off.
//! - [`breaker`]: whether n8n is called at all.
//! - [`stopper`]: stops n8n's executions whose visitors cancelled.
//! - [`upstream`]: the webhook of each site, and what is known of it.
//! - [`n8n`]: the client; [`lines`]: the pure decoder of its answers; [`token`]: what proves the visitor to n8n.
//! - [`demo`]: a stand-in n8n, for the all-in-one mode and for tests.
//! - [`config`], [`metrics`]: settings and figures.

mod admission;
mod breaker;
mod claim;
mod config;
pub mod demo;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
mod intake;
mod late;
pub mod lines;
mod metrics;
pub mod n8n;
mod run;
mod stopper;
pub mod token;
mod upstream;

use std::{sync::Arc, time::Duration};

use bus::{Bus, Circuit, Queue, Status, Stored};
use moka::{notification::RemovalCause, sync::Cache};
use prometheus_client::metrics::counter::Counter;
use protocol::{SessionId, SiteId};
use runtime::metrics::Metrics as Process;
use tokio::{sync::Semaphore, time::MissedTickBehavior};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use breaker::Config as BreakerConfig;
pub use config::{Config, Site};

/// Why a worker can't start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// n8n can't be called with these settings.
    #[error(transparent)]
    N8n(#[from] n8n::Error),
    /// Nothing to sign with.
    #[error("SESSION_SECRET_KEY is not set; make one with `frontdesk keys`")]
    NoSecret,
    /// The file of sites can't be used.
    #[error("N8N_SITES_FILE can't be used")]
    Sites(#[from] runtime::sites::Error),
    /// Nothing to do.
    #[error(transparent)]
    Bus(#[from] bus::Error),
}

impl Config {
    /// Whether a worker can start with these settings.
    pub fn check(&self) -> Result<(), Error> {
        if self.session_secret_key.is_none() {
            return Err(Error::NoSecret);
        }
        self.sites().map(drop)
    }
}

/// What the runs of one worker share.
struct Worker {
    /// Which process.
    id: String,
    bus: Bus,
    upstreams: upstream::Upstreams,
    stopper: stopper::Stopper,
    metrics: metrics::Metrics,
    /// A message that waited longer is not run.
    queue_timeout: Duration,
    /// A reply that broke off waits for so long; 0 is not at all.
    late_reply_ttl: Duration,
    /// Text of a reply, what came late included.
    reply_max_bytes: usize,
    /// How many replies may wait without a place.
    waiting: Arc<Semaphore>,
    /// Cancelled when the worker takes no more messages.
    stopping: CancellationToken,
    /// The records of sessions as this worker left them, so that the next message of a session needs no read. With
    /// them replies' text stays in memory, for [`LEFT_FOR`] after the session's last message. Old ones do no harm, since
    /// each write names the revision that it is upon; but only as long as the store gives no revision twice, hence the
    /// epoch.
    left: Cache<SessionId, Left>,
}

/// A session's record as it was left.
#[derive(Clone)]
struct Left {
    /// As JSON: one piece of memory in the place of one for each chunk, for what mostly only rests.
    record: Arc<[u8]>,
    revision: u64,
    /// The bus's, before the message was claimed: after a reconnect the store may be another one.
    epoch: u64,
}

impl Worker {
    /// Keeps a session's record for its next message.
    fn leave(&self, stored: &Stored, epoch: u64) {
        if let Ok(record) = serde_json::to_vec(&stored.record) {
            let left = Left { record: record.into(), revision: stored.revision, epoch };
            self.left.insert(stored.record.session.clone(), left);
        }
    }

    /// Takes out what [`leave`](Self::leave) kept, if it can still be built upon.
    fn take_left(&self, session: &SessionId) -> Option<Stored> {
        let left = self.left.remove(session).filter(|left| left.epoch == self.bus.epoch())?;
        Some(Stored { record: serde_json::from_slice(&left.record).ok()?, revision: left.revision })
    }

    /// Whether another worker was heard that may call this site's n8n.
    fn another_may_call(&self, site: &SiteId) -> bool {
        let workers = self.bus.presence().workers;
        workers.iter().any(|worker| worker.id != self.id && worker.sites.get(site) != Some(&Circuit::Open))
    }

    /// Whether messages are better left to others: n8n is not called for any site, and for each another worker may.
    fn leaves_all(&self) -> bool {
        self.upstreams
            .iter()
            .all(|upstream| upstream.breaker.circuit() == Circuit::Open && self.another_may_call(&upstream.id))
    }

    /// Keeps the figure of what waits for all workers together. Never ends.
    async fn watch_queue(&self) {
        let mut every = tokio::time::interval(LOOK);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            // Without NATS the last figure stays: that NATS is away is told elsewhere.
            if let Ok(waiting) = self.bus.waiting(Queue::Messages).await {
                self.metrics.queue.set(i64::try_from(waiting).unwrap_or(i64::MAX));
            }
        }
    }

    /// Says how it is.
    fn announce(&self, capacity: u32, running: usize) {
        let sites = self.upstreams.iter().map(|upstream| (upstream.id.clone(), upstream.breaker.circuit()));
        self.bus.announce_worker(&Status {
            id: self.id.clone(),
            capacity,
            running: u32::try_from(running).unwrap_or(u32::MAX),
            n8n: self.upstreams.word().to_owned(),
            sites: sites.collect(),
        });
    }
}

/// Bytes of records that a worker keeps at most; the least used go first.
const LEFT_BYTES: u64 = 16 * 1024 * 1024;
/// What an entry takes beside the record's bytes.
const LEFT_ENTRY: usize = 512;
/// A conversation that rests for so long is read again.
const LEFT_FOR: Duration = Duration::from_secs(600);

fn records(evicted: Counter) -> Cache<SessionId, Left> {
    let weigh = |_: &SessionId, left: &Left| u32::try_from(LEFT_ENTRY + left.record.len()).unwrap_or(u32::MAX);
    let gone = move |_, _, why| {
        if why == RemovalCause::Size {
            evicted.inc();
        }
    };
    let records = Cache::builder().weigher(weigh).eviction_listener(gone);
    records.max_capacity(LEFT_BYTES).time_to_idle(LEFT_FOR).build()
}

/// Replies that wait in a worker for what comes late; one more fails as it would without waiting.
const WAITING: usize = 1_024;
/// At the end of the process, executions that are being stopped get this long.
const STOPPED_WITHIN: Duration = Duration::from_secs(3);
/// Between two looks at what waits for all workers together.
const LOOK: Duration = Duration::from_secs(2);
/// A sign of life for the edges.
const ANNOUNCE: Duration = Duration::from_secs(1);

/// Takes messages until `stop`, then lets what runs finish for [`Config::drain_timeout`] and ends the rest as
/// `interrupted`.
pub async fn run(
    config: Config,
    bus: Bus,
    queue_timeout: Duration,
    process: &Process,
    stop: CancellationToken,
) -> Result<(), Error> {
    let metrics = metrics::Metrics::new(process, config.metrics_sites as usize);
    let worker = Arc::new(Worker {
        id: format!("{:016x}", rand::random::<u64>()),
        upstreams: upstream::Upstreams::new(&config, &metrics)?,
        stopper: stopper::Stopper::new(metrics.stops.clone()),
        left: records(metrics.records_evicted.clone()),
        metrics,
        bus: bus.clone(),
        queue_timeout,
        late_reply_ttl: config.late_reply_ttl,
        reply_max_bytes: config.n8n.reply_max_bytes,
        waiting: Arc::new(Semaphore::new(WAITING)),
        stopping: stop.clone(),
    });
    let (runs, cut) = (TaskTracker::new(), CancellationToken::new());
    let capacity = config.worker_concurrency;
    for site in 0..worker.upstreams.iter().count() {
        let (worker, stop) = (Arc::clone(&worker), stop.clone());
        runs.spawn(async move { stop.run_until_cancelled(worker.upstreams.follow(site)).await });
    }
    runs.spawn({
        let (worker, stop) = (Arc::clone(&worker), stop.clone());
        async move { stop.run_until_cancelled(worker.watch_queue()).await }
    });
    let mut intake = intake::Intake::new(Arc::clone(&worker), capacity as usize, runs.clone(), cut.clone());
    let messages = bus.messages().await?;
    tracing::info!(worker.id, concurrency = capacity, "taking messages");
    intake.run(messages, &stop, |intake| worker.announce(capacity, intake.running())).await;
    runs.close();
    if tokio::time::timeout(config.drain_timeout, runs.wait()).await.is_err() {
        tracing::warn!(replies = runs.len(), "ending replies that did not finish in time");
        cut.cancel();
        runs.wait().await;
    }
    worker.stopper.close(STOPPED_WITHIN).await;
    Ok(())
}
