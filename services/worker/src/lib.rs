//! Bus to n8n to bus.
//!
//! - [`run`](mod@run): the life of one message; [`claim`]: the fence before it; [`late`]: what its workflow says after
//!   n8n's own answer broke off.
//! - [`breaker`]: whether n8n is called at all.
//! - [`n8n`]: the client; [`lines`]: the pure decoder of its answers; [`token`]: what proves the visitor to n8n.
//! - [`demo`]: a stand-in n8n, for the all-in-one mode and for tests.
//! - [`config`], [`metrics`]: settings and figures.

mod breaker;
mod claim;
mod config;
pub mod demo;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
mod late;
pub mod lines;
mod metrics;
pub mod n8n;
mod run;
pub mod token;

use std::{sync::Arc, time::Duration};

use bus::{Bus, Circuit, Status, Stored};
use moka::sync::Cache;
use protocol::{SessionId, SiteId};
use runtime::metrics::Metrics as Process;
use tokio::sync::{Notify, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use breaker::Config as BreakerConfig;
pub use config::Config;

/// Why a worker can't start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// n8n can't be called with these settings.
    #[error(transparent)]
    N8n(#[from] n8n::Error),
    /// Nothing to sign with.
    #[error("SESSION_SECRET_KEY is not set; make one with `frontdesk keys`")]
    NoSecret,
    /// Nothing to do.
    #[error(transparent)]
    Bus(#[from] bus::Error),
}

impl Config {
    /// Whether a worker can start with these settings.
    pub fn check(&self) -> Result<(), Error> {
        if self.n8n.webhook_url.is_none() {
            return Err(n8n::Error::NoUrl.into());
        }
        if self.session_secret_key.is_none() { Err(Error::NoSecret) } else { Ok(()) }
    }
}

/// What the runs of one worker share.
struct Worker {
    /// Which process.
    id: String,
    bus: Bus,
    client: n8n::Client,
    /// Before the client.
    breaker: breaker::Breaker,
    metrics: metrics::Metrics,
    /// A message that waited longer is not run.
    queue_timeout: Duration,
    /// A reply that broke off waits for so long; 0 is not at all.
    late_reply_ttl: Duration,
    /// Text of a reply, what came late included.
    reply_max_bytes: usize,
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
    stored: Stored,
    /// The bus's, before the message was claimed: after a reconnect the store may be another one.
    epoch: u64,
}

impl Worker {
    /// Keeps a session's record for its next message.
    fn leave(&self, left: Left) {
        self.left.insert(left.stored.record.session.clone(), left);
    }

    /// Whether another worker was heard that may call this site's n8n.
    fn another_may_call(&self, site: &SiteId) -> bool {
        let workers = self.bus.presence().workers;
        workers.iter().any(|worker| worker.id != self.id && worker.sites.get(site) != Some(&Circuit::Open))
    }

    /// Says how it is.
    fn announce(&self, concurrency: u32, free: usize) {
        let running = (concurrency as usize).saturating_sub(free);
        self.bus.announce_worker(&Status {
            id: self.id.clone(),
            capacity: concurrency,
            running: u32::try_from(running).unwrap_or(u32::MAX),
            n8n: self.breaker.word().to_owned(),
            sites: [(default_site(), self.breaker.circuit())].into(),
        });
    }
}

/// The one shop.
fn default_site() -> SiteId {
    SiteId::new("default").expect("the word is of the form")
}

/// Bytes of records that a worker keeps at most; the least used go first.
const LEFT_BYTES: u64 = 16 * 1024 * 1024;
/// A conversation that rests for so long is read again.
const LEFT_FOR: Duration = Duration::from_secs(600);

fn records() -> Cache<SessionId, Left> {
    let weigh = |_: &SessionId, left: &Left| {
        let record = &left.stored.record;
        let replies = record.replies.iter();
        let text: usize =
            replies.map(|reply| 256 + reply.chunks.iter().map(|chunk| chunk.len() + 24).sum::<usize>()).sum();
        let older: usize = record.older.iter().map(|id| id.as_str().len() + 24).sum();
        u32::try_from(512 + text + older).unwrap_or(u32::MAX)
    };
    Cache::builder().weigher(weigh).max_capacity(LEFT_BYTES).time_to_idle(LEFT_FOR).build()
}

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
    let secret = config.session_secret_key.as_ref().ok_or(Error::NoSecret)?;
    let metrics = metrics::Metrics::new(process);
    let worker = Arc::new(Worker {
        id: format!("{:016x}", rand::random::<u64>()),
        client: n8n::Client::new(&config.n8n, secret)?,
        breaker: breaker::Breaker::new(&config.breaker, metrics.follow_circuit(&default_site())),
        metrics,
        bus: bus.clone(),
        queue_timeout,
        late_reply_ttl: config.late_reply_ttl,
        reply_max_bytes: config.n8n.reply_max_bytes,
        stopping: stop.clone(),
        left: records(),
    });
    let permits = Arc::new(Semaphore::new(config.worker_concurrency as usize));
    let freed = Arc::new(Notify::new());
    let (runs, cut) = (TaskTracker::new(), CancellationToken::new());
    let mut messages = Some(bus.messages().await?);
    let mut announce = tokio::time::interval(ANNOUNCE);
    let mut circuit = worker.breaker.circuit();
    tracing::info!(worker.id, concurrency = config.worker_concurrency, "taking messages");
    loop {
        // A worker that alone is cut off from n8n must not draw messages to itself by being done with them so quickly.
        // It doesn't ask for any until its circuit is half-open, or nobody else is there; the next announcement looks.
        let leave = circuit == Circuit::Open && worker.another_may_call(&default_site());
        messages = match messages {
            Some(messages) if leave => {
                messages.close().await;
                None
            }
            None if !leave => bus.messages().await.ok(),
            same => same,
        };
        let free = permits.available_permits();
        tokio::select! {
            delivery = async { messages.as_mut().expect("asked only while there are any").next(free).await },
                if free > 0 && messages.is_some() =>
            {
                // There was room for one when it was asked for; after a reconnect it may be asked for twice.
                let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
                    delivery.give_back().await;
                    continue;
                };
                let (worker, freed, cut) = (Arc::clone(&worker), Arc::clone(&freed), cut.clone());
                runs.spawn(async move {
                    let room = run::Room { permit: Some(permit), freed };
                    run::run(&worker, delivery, room, &cut).await;
                });
            }
            () = freed.notified() => {}
            _ = announce.tick() => worker.announce(config.worker_concurrency, permits.available_permits()),
            // At once: until edges know, they hand on what will only fail, or refuse what would be answered.
            now = worker.breaker.changed(circuit) => {
                circuit = now;
                worker.announce(config.worker_concurrency, permits.available_permits());
            }
            () = stop.cancelled() => break,
        }
    }
    if let Some(messages) = messages {
        messages.close().await;
    }
    runs.close();
    if tokio::time::timeout(config.drain_timeout, runs.wait()).await.is_err() {
        tracing::warn!(replies = runs.len(), "ending replies that did not finish in time");
        cut.cancel();
        runs.wait().await;
    }
    Ok(())
}
