//! The metrics of analytics, all of them. Labels have few values.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use protocol::Fact;

use crate::store::{LeftOut, Outcome};

/// See the module. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Metrics {
    facts: Family<Seen, Counter>,
    pub(crate) lag: Gauge,
    pub(crate) store_errors: Counter,
    batch_seconds: Histogram,
    pub(crate) sessions_expired: Counter,
    pub(crate) last_clean_up: Gauge,
    pub(crate) rewrites: Counter,
    pub(crate) rewrites_failed: Counter,
    pub(crate) file_bytes: Gauge,
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
            lag: Gauge::default(),
            store_errors: Counter::default(),
            // From a disk that keeps its promises in a cache to one that is about to fail.
            batch_seconds: Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0]),
            sessions_expired: Counter::default(),
            last_clean_up: Gauge::default(),
            rewrites: Counter::default(),
            rewrites_failed: Counter::default(),
            file_bytes: Gauge::default(),
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

    pub(crate) fn left_out(&self, LeftOut { happenings, pages, times, sites, comments }: LeftOut) {
        let counts =
            [("happening", happenings), ("page", pages), ("time", times), ("site", sites), ("comment", comments)];
        for (what, count) in counts {
            self.left_out.get_or_create(&What { what }).inc_by(count);
        }
    }

    fn register(&self, registry: &mut Registry) {
        let analytics = registry.sub_registry_with_prefix("analytics");
        analytics.register("facts", "Facts by kind and by what became of them", self.facts.clone());
        analytics.register(
            "left_out",
            "What was not kept as told: happenings, pages and comments beyond their bounds, times that can't be, facts of sites too many",
            self.left_out.clone(),
        );
        analytics.register("lag", "Facts that wait to be stored, in the stream and on the way", self.lag.clone());
        analytics.register("store_errors", "Batches that could not be stored, each attempt", self.store_errors.clone());
        analytics.register_with_unit(
            "batch",
            "One batch of facts, to the disk and back",
            Unit::Seconds,
            self.batch_seconds.clone(),
        );
        analytics.register("sessions_expired", "Sessions removed for their age", self.sessions_expired.clone());
        analytics.register(
            "last_clean_up",
            "When old sessions were last looked for to the end, Unix seconds; 0: not yet, or they are kept",
            self.last_clean_up.clone(),
        );
        analytics.register("rewrites", "Rewrites of the database by itself", self.rewrites.clone());
        analytics.register(
            "rewrites_failed",
            "Rewrites of the database by itself that failed",
            self.rewrites_failed.clone(),
        );
        analytics.register_with_unit("file", "The database on the disk", Unit::Bytes, self.file_bytes.clone());
    }
}

/// Those of the API.
pub(crate) struct ApiMetrics {
    pub(crate) requests: Family<Asked, Counter>,
    sign_ins: Family<Reason, Counter>,
    refused: Family<Reason, Counter>,
    pub(crate) panics: Counter,
}

/// One kind of answered request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Asked {
    /// The route's template, or `none`.
    pub(crate) route: String,
    pub(crate) method: &'static str,
    pub(crate) status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

impl ApiMetrics {
    pub(crate) fn new(process: &runtime::metrics::Metrics) -> Self {
        let metrics = Self {
            requests: Family::default(),
            sign_ins: Family::default(),
            refused: Family::default(),
            panics: Counter::default(),
        };
        metrics.requests.get_or_create(&Asked { route: "none".to_owned(), method: "GET", status: 400 }).inc_by(0);
        for reason in ["wrong", "limited"] {
            metrics.sign_ins.get_or_create(&Reason { reason }).inc_by(0);
        }
        for reason in ["reads", "streams"] {
            metrics.refused.get_or_create(&Reason { reason }).inc_by(0);
        }
        process.register(|registry| {
            let api = registry.sub_registry_with_prefix("analytics_api");
            api.register("requests", "Requests by route and status", metrics.requests.clone());
            api.register(
                "sign_ins_refused",
                "Tokens that were wrong, or of an address that had tried too often",
                metrics.sign_ins.clone(),
            );
            api.register(
                "overloaded",
                "Requests that found no place: among reads of the database, or among files that are sent",
                metrics.refused.clone(),
            );
            api.register("panics", "Requests and reads that ended in a panic", metrics.panics.clone());
        });
        metrics
    }

    /// A token did not count.
    pub(crate) fn refused_sign_in(&self, reason: &'static str) {
        self.sign_ins.get_or_create(&Reason { reason }).inc();
    }

    /// No place among these.
    pub(crate) fn full(&self, reason: &'static str) {
        self.refused.get_or_create(&Reason { reason }).inc();
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
