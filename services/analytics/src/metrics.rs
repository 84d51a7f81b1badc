//! The metrics of analytics, all of them. Labels have few values.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use protocol::Fact;

use crate::store::{LeftOut, Outcome};

/// See the module.
pub(crate) struct Metrics {
    facts: Family<Seen, Counter>,
    pub(crate) store_errors: Counter,
    batch_seconds: Histogram,
    left_out: Family<What, Counter>,
}

/// What was left out.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct What {
    what: &'static str,
}

/// A fact's kind and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Seen {
    kind: &'static str,
    outcome: &'static str,
}

impl Metrics {
    pub(crate) fn new(process: &runtime::metrics::Metrics) -> Self {
        let metrics = Self {
            facts: Family::default(),
            store_errors: Counter::default(),
            // From a disk that keeps its promises in a cache to one that is about to fail.
            batch_seconds: Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0]),
            left_out: Family::default(),
        };
        // From the beginning, as 0: an alarm can't watch what isn't there.
        metrics.facts.get_or_create(&Seen { kind: "message_accepted", outcome: "repeated" }).inc_by(0);
        metrics.left_out(LeftOut::default());
        process.register(|registry| metrics.register(registry));
        metrics
    }

    pub(crate) fn stored(&self, facts: &[Fact], outcomes: &[Outcome], took: Duration) {
        for (fact, outcome) in facts.iter().zip(outcomes) {
            self.facts.get_or_create(&Seen { kind: fact.kind.name(), outcome: outcome.as_str() }).inc();
        }
        self.batch_seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn left_out(&self, LeftOut { happenings, pages, times }: LeftOut) {
        for (what, count) in [("happening", happenings), ("page", pages), ("time", times)] {
            self.left_out.get_or_create(&What { what }).inc_by(count);
        }
    }

    fn register(&self, registry: &mut Registry) {
        let analytics = registry.sub_registry_with_prefix("analytics");
        analytics.register("facts", "Facts by kind and by what became of them", self.facts.clone());
        analytics.register(
            "left_out",
            "What was applied but not kept as told: happenings and pages beyond their bounds, times that can't be",
            self.left_out.clone(),
        );
        analytics.register("store_errors", "Batches that could not be stored, each attempt", self.store_errors.clone());
        analytics.register_with_unit(
            "batch",
            "One batch of facts, to the disk and back",
            Unit::Seconds,
            self.batch_seconds.clone(),
        );
    }
}

/// What is kept of limits.
#[derive(Clone, Default)]
pub(crate) struct LimitMetrics {
    /// Units, as edges told them.
    pub(crate) charges: Counter,
    /// Answers to edges that start, each part.
    pub(crate) parts: Counter,
    pub(crate) store_errors: Counter,
    kept: Gauge,
    forgotten: Counter,
    unsaved: Gauge,
}

impl LimitMetrics {
    pub(crate) fn new(process: &runtime::metrics::Metrics) -> Self {
        let metrics = Self::default();
        process.register(|registry| {
            let analytics = registry.sub_registry_with_prefix("analytics");
            analytics.register("limit_charges", "Units that edges counted", metrics.charges.clone());
            analytics.register("limit_parts", "Parts of counts that edges were told", metrics.parts.clone());
            let help = "Counts of limits that could not be stored, each attempt";
            analytics.register("limit_store_errors", help, metrics.store_errors.clone());
            analytics.register("limit_keys", "Callers of limits that are kept", metrics.kept.clone());
            let help = "Callers of limits that were forgotten before what they used came back, for want of room";
            analytics.register("limit_keys_forgotten", help, metrics.forgotten.clone());
            let help = "Blocks of counts of limits, of 128 callers, that changed and are not stored yet";
            analytics.register("limit_blocks_unsaved", help, metrics.unsaved.clone());
        });
        metrics
    }

    /// How many callers are kept, and how many were forgotten until now; how many blocks wait for the disk.
    pub(crate) fn show(&self, kept: usize, forgotten: u64, unsaved: usize) {
        self.kept.set(i64::try_from(kept).unwrap_or(i64::MAX));
        self.forgotten.inc_by(forgotten.saturating_sub(self.forgotten.get()));
        self.unsaved.set(i64::try_from(unsaved).unwrap_or(i64::MAX));
    }
}
