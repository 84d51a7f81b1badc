//! Facts to redb.
//!
//! - [`run`]: the door; `record`: out of the bus, into the store; `limits`: what edges count, kept for when they restart.
//! - `query`: what can be asked, and the forms of the answers.
//! - `store`: the database, the only folder that knows redb: what is stored, and how a fact changes it.
//! - `care`: retention, and the file's size.
//! - [`serve`]: the API and the dashboard, beside health and metrics.
//! - `report`: the figures of `frontdesk analytics report`.
//! - `health`: whether it works now.
//! - [`demo`]: made-up data.
//! - `config`, `metrics`: settings and figures.

mod api;
mod care;
mod config;
pub mod demo;
mod health;
mod limits;
mod metrics;
pub mod query;
mod record;
mod report;
mod store;

use std::{sync::Arc, time::Duration};

use bus::{Bus, Queue};
use prometheus_client::metrics::gauge::Gauge;
use runtime::metrics::Metrics as Process;
use tokio::{task, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

pub use api::{Overview, Series, serve};
#[doc(hidden)]
pub use care::Pace;
pub use config::{Config, DEFAULT_ADDR, DEFAULT_DB, SettingsError, SiteTokens};
pub use health::Health;
pub use report::{Asked, Report, ReportError};
pub use store::{Checked, Copied, Erased, Error, Outcome, Rewritten, Store, check, digest_in, sidecar};
#[doc(hidden)]
pub use store::{Expiry, Step};

/// Between two looks at how many facts wait.
const LOOK: Duration = Duration::from_secs(2);
/// A sign of life for the edges.
const ANNOUNCE: Duration = Duration::from_secs(1);

/// Stores facts until `stop`, then what is already here. An error means that it did not begin: a store that fails
/// later makes `health` red and is tried again.
pub async fn run(
    config: Config,
    bus: Bus,
    health: &Health,
    process: &Process,
    stop: CancellationToken,
) -> Result<(), Error> {
    let retention = config.retention();
    let metrics = metrics::LimitMetrics::new(process);
    let max_keys = config.limits_max_keys();
    // Before the file is open, which may take a while: what edges count and ask meanwhile waits.
    let keeper = match max_keys {
        0 => None,
        _ => {
            bus.keep_counts().await.inspect_err(|error| tracing::error!(%error, "can't keep the counts of limits")).ok()
        }
    };
    let opened = task::spawn_blocking(move || match &config.analytics_db_path {
        Some(path) => Store::open(path).inspect(|_| tracing::info!(path = %path.display(), "storing facts")),
        None => Store::in_memory().inspect(|_| tracing::info!("storing facts in memory: they go with the process")),
    });
    let store = Arc::new(opened.await.unwrap_or(Err(Error::Panicked))?);
    health.set_store(Some(Arc::clone(&store)));
    let mut limits = None;
    if let Some(keeper) = keeper {
        let store = Arc::clone(&store);
        let loaded = task::spawn_blocking(move || limits::Limits::load(store, max_keys, metrics));
        limits = Some(Box::pin(loaded.await.unwrap_or(Err(Error::Panicked))?.run(keeper, &stop)));
    }
    let limits = async {
        if let Some(limits) = limits {
            limits.await;
        }
    };
    tokio::join!(record(store, bus, health, process, retention, &stop), limits);
    Ok(())
}

async fn record(
    store: Arc<Store>,
    bus: Bus,
    health: &Health,
    process: &Process,
    retention: Option<Duration>,
    stop: &CancellationToken,
) {
    let id = format!("{:016x}", rand::random::<u64>());
    let metrics = metrics::Metrics::new(process);
    let caretaker =
        care::Caretaker { store: Arc::clone(&store), metrics: metrics.clone(), retention, clock: care::CLOCK };
    let lag = metrics.lag.clone();
    let recorder = record::Recorder { store, bus: bus.clone(), health: health.clone(), metrics };
    health.set(Ok(()));
    tokio::select! {
        () = recorder.run(stop) => {}
        // Beside the recorder and not between its batches: a slow disk is not an absence.
        () = announce(&bus, &id) => {}
        // Also while the disk is full: then it is what shows how much waits.
        () = watch_lag(&bus, &lag) => {}
        // Ends with the stop, when the recorder has still to store what is here.
        () = async { caretaker.run(stop).await; std::future::pending().await } => {}
    }
    health.set(Err("analytics has stopped"));
    health.set_store(None);
    // Closing writes to the disk as well.
    task::spawn_blocking(move || drop((recorder, caretaker))).await.ok();
}

/// Never ends.
async fn announce(bus: &Bus, id: &str) {
    let mut every = tokio::time::interval(ANNOUNCE);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        bus.announce_analytics(id);
    }
}

/// Keeps the figure of how many facts wait. Never ends.
async fn watch_lag(bus: &Bus, lag: &Gauge) {
    let mut every = tokio::time::interval(LOOK);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        // Without NATS the last figure stays: that NATS is away is told elsewhere.
        if let Ok(waiting) = bus.waiting(Queue::Facts).await {
            lag.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use store::tests::{Disk, accepted, messages};

    /// Waits for something that another task brings about.
    async fn until(what: impl Fn() -> bool) {
        let wait = async {
            while !what() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.expect("it comes about");
    }

    /// The disk fills up: the facts wait, the readiness says so, and nothing is lost when there is room again.
    #[tokio::test]
    async fn facts_wait_for_the_disk() {
        let (disk, bus, health, stop) =
            (Disk::default(), Bus::local(&bus::Config::default()), Health::default(), CancellationToken::new());
        let (store, process) = (Arc::new(disk.store()), Process::new(None));
        assert!(health.check().is_err(), "not started");

        let story = async {
            bus.tell(accepted(1));
            until(|| messages(&store) == 1).await;
            assert_eq!((health.check(), health.ready(&bus)()), (Ok(()), Ok(())));

            disk.broken.store(true, Ordering::Release);
            bus.tell(accepted(2));
            until(|| health.check().is_err()).await;
            bus.tell(accepted(3));
            let lag = || {
                let mut text = String::new();
                process.register(|registry| prometheus_client::encoding::text::encode(&mut text, registry).unwrap());
                text.lines().any(|line| line == "frontdesk_analytics_lag 1")
            };
            until(lag).await;
            disk.broken.store(false, Ordering::Release);
            until(|| health.check().is_ok()).await;
            until(|| messages(&store) == 3).await;

            disk.broken.store(true, Ordering::Release);
            bus.tell(accepted(4));
            until(|| health.check().is_err()).await;
            stop.cancel();
        };
        tokio::join!(record(Arc::clone(&store), bus.clone(), &health, &process, None, &stop), story);

        let left = bus.facts().next_batch(10).await;
        assert_eq!(left.facts.iter().map(|fact| &fact.id).collect::<Vec<_>>(), [&accepted(4).id], "the bus has it");
    }

    /// What was told before the stop is stored, also when it is more than one batch.
    #[tokio::test]
    async fn the_stop_leaves_nothing_behind() {
        let bus = Bus::local(&bus::Config::default());
        let (store, stop) = (Arc::new(Store::in_memory().unwrap()), CancellationToken::new());
        for n in 0..2_500 {
            bus.tell(accepted(n));
        }
        stop.cancel();
        record(Arc::clone(&store), bus, &Health::default(), &Process::new(None), None, &stop).await;
        assert_eq!(messages(&store), 2_500);
    }
}
