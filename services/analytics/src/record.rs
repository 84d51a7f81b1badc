//! Out of the bus, into the store.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bus::{Bus, FactBatch, Facts};
use futures_util::FutureExt as _;
use protocol::Fact;
use runtime::trace;
use tokio::task;
use tokio_util::sync::CancellationToken;

use crate::{
    Error, Health,
    metrics::Metrics,
    store::{Outcome, Store},
};

/// Facts in one transaction: a sync of the disk is shared by many, and a batch is still short.
const BATCH: usize = 1_000;
/// After a batch of fewer facts than [`MANY`] there is time to let more come together: a sync for each fact would wear
/// the disk, and nobody looks at figures that closely. The bus holds what comes in this time: [`bus::FACT_QUEUE`] in
/// the process, the stream over NATS.
const PAUSE: Duration = Duration::from_millis(100);
const MANY: usize = 100;
/// After the stop, what is already here is stored for no longer than this; the rest waits in the bus.
const DRAIN: Duration = Duration::from_secs(5);
/// Between attempts of a store that fails: the first pause and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// What an operator reads in the readiness while [`Recorder::store_batch`] tries again.
const FAILING: &str = "facts can't be stored; the log says why";

pub(crate) struct Recorder {
    pub(crate) store: Arc<Store>,
    pub(crate) bus: Bus,
    pub(crate) health: Health,
    pub(crate) metrics: Metrics,
}

impl Recorder {
    /// Stores facts until `stop`, then what is already here.
    pub(crate) async fn run(&self, stop: &CancellationToken) {
        let mut facts = self.bus.facts();
        while let Some(batch) = stop.run_until_cancelled(next(&mut facts)).await {
            let few = batch.facts.len() < MANY;
            if !self.store_batch(batch, stop).await {
                return;
            }
            if few {
                stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
            }
        }
        let until = Instant::now() + DRAIN;
        while Instant::now() < until
            && let Some(batch) = next(&mut facts).now_or_never()
        {
            if !self.store_batch(batch, stop).await {
                return;
            }
        }
    }

    /// Stores one batch, however long that takes, and then acknowledges it. Gives up only at the stop: `false` says
    /// that the bus still has it.
    async fn store_batch(&self, mut batch: FactBatch, stop: &CancellationToken) -> bool {
        let facts: Arc<[Fact]> = std::mem::take(&mut batch.facts).into();
        // Until they are acknowledged, or left to the bus.
        let traced = facts.iter().filter_map(|fact| Some((fact.kind.name(), fact.traceparent.as_deref()?)));
        let _spans: Vec<_> = traced.map(|(kind, from)| trace::store(self.bus.system(), kind, from)).collect();
        let mut pause = RETRY.0;
        let mut failing: Option<Instant> = None;
        loop {
            let began = Instant::now();
            match self.apply(Arc::clone(&facts)).await {
                Ok(outcomes) => {
                    self.metrics.stored(&facts, &outcomes, began.elapsed());
                    self.metrics.left_out(self.store.take_left_out());
                    if let Some(since) = failing {
                        let outage_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
                        tracing::info!(outage_ms, "facts are stored again");
                        self.health.set(Ok(()));
                    }
                    let unknown = outcomes.iter().filter(|outcome| **outcome == Outcome::Unknown).count();
                    if unknown > 0 {
                        tracing::warn!(
                            facts = unknown,
                            "left out facts of a form that this version doesn't know, or of sites too many"
                        );
                    }
                    batch.ack().await;
                    return true;
                }
                Err(error) => {
                    self.metrics.store_errors.inc();
                    if failing.is_none() {
                        failing = Some(began);
                        self.health.set(Err(FAILING));
                        tracing::error!(%error, "facts can't be stored: they wait, and it is tried again");
                    }
                }
            }
            if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                tracing::warn!(facts = facts.len(), "stopping with facts that could not be stored");
                return false;
            }
            pause = (pause * 2).min(RETRY.1);
        }
    }

    /// On a thread that may wait for the disk. There is one writer: this is awaited before the next one begins.
    async fn apply(&self, facts: Arc<[Fact]>) -> Result<Vec<Outcome>, Error> {
        let store = Arc::clone(&self.store);
        let applied = task::spawn_blocking(move || store.apply(&facts)).await;
        applied.unwrap_or_else(|_| {
            self.store.close();
            Err(Error::Panicked)
        })
    }
}

/// The next batch, as large as it can be: with tokio's budget it would end at 128 facts, whatever waits behind them.
async fn next(facts: &mut Facts) -> FactBatch {
    task::coop::unconstrained(facts.next_batch(BATCH)).await
}
