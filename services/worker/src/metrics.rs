//! The worker's metrics, all of them. Labels have few values.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use bus::Circuit;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use protocol::{FinishReason, SiteId, Terminal};
use runtime::trace::Histogram;

/// See the module.
pub(crate) struct Metrics {
    /// Sites with a label of their own, and how many there may be.
    labelled: Mutex<HashSet<SiteId>>,
    max_sites: usize,
    pub(crate) replies: Family<Outcome, Counter>,
    site_replies: Family<SiteReply, Counter>,
    pub(crate) queue: Gauge,
    pub(crate) chunks: Counter,
    pub(crate) in_flight: Gauge,
    pub(crate) site_running: Family<Site, Gauge>,
    pub(crate) site_waiting: Family<Site, Gauge>,
    pub(crate) site_refused: Family<Site, Counter>,
    pub(crate) site_timed_out: Family<Site, Counter>,
    pub(crate) unknown_site: Counter,
    pub(crate) given_up: Counter,
    pub(crate) stops: Family<Stop, Counter>,
    pub(crate) taken_over: Counter,
    pub(crate) late_pieces: Counter,
    pub(crate) waiting_refused: Counter,
    pub(crate) node_errors: Counter,
    pub(crate) odd_lines: Counter,
    pub(crate) retries: Counter,
    pub(crate) retries_refused: Counter,
    circuits: Family<Site, Gauge>,
    /// Those of the sites that share a label.
    other_circuits: Arc<Mutex<HashMap<SiteId, i64>>>,
    circuit_changes: Family<Change, Counter>,
    pub(crate) circuit_refused: Family<Site, Counter>,
    pub(crate) circuit_given_back: Family<Site, Counter>,
    pub(crate) records_unwritten: Counter,
    pub(crate) records_evicted: Counter,
    pub(crate) first_text_seconds: Histogram,
    pub(crate) reply_seconds: Histogram,
}

/// How a reply ended: `stop`, `cancelled`, or a failure's code.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Outcome {
    pub(crate) outcome: &'static str,
}

/// How replies of a site end: `answered`, `cancelled`, `failed`. Which failure it was is told for all sites together,
/// so that many sites don't make many series.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SiteReply {
    site: String,
    result: &'static str,
}

/// What became of an execution that was to be stopped: `stopped`, `not_found`, `failed`, `dropped`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Stop {
    pub(crate) result: &'static str,
}

/// A shop, or [`OTHER`]. Made by [`Metrics::site`] alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Site {
    site: String,
}

/// All sites beyond `METRICS_SITES`. A site of this name is one of them.
const OTHER: &str = "other";

/// What a circuit became: `closed`, `half_open`, `open`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Change {
    site: String,
    to: &'static str,
}

impl Metrics {
    /// `max_sites`: how many have a label of their own.
    pub(crate) fn new(process: &runtime::metrics::Metrics, max_sites: usize) -> Self {
        // From a demo's echo to a workflow that takes minutes.
        let waits = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];
        let metrics = Self {
            labelled: Mutex::default(),
            max_sites,
            replies: Family::default(),
            site_replies: Family::default(),
            queue: Gauge::default(),
            chunks: Counter::default(),
            in_flight: Gauge::default(),
            site_running: Family::default(),
            site_waiting: Family::default(),
            site_refused: Family::default(),
            site_timed_out: Family::default(),
            unknown_site: Counter::default(),
            given_up: Counter::default(),
            stops: Family::default(),
            taken_over: Counter::default(),
            late_pieces: Counter::default(),
            waiting_refused: Counter::default(),
            node_errors: Counter::default(),
            odd_lines: Counter::default(),
            retries: Counter::default(),
            retries_refused: Counter::default(),
            circuits: Family::default(),
            other_circuits: Arc::default(),
            circuit_changes: Family::default(),
            circuit_refused: Family::default(),
            circuit_given_back: Family::default(),
            records_unwritten: Counter::default(),
            records_evicted: Counter::default(),
            first_text_seconds: Histogram::new(waits.into_iter()),
            reply_seconds: Histogram::new(waits.into_iter()),
        };
        // From the beginning, as 0: an alarm can't watch what isn't there.
        for outcome in ["too_large", "upstream_timeout", "interrupted"] {
            metrics.replies.get_or_create(&Outcome { outcome }).inc_by(0);
        }
        metrics.stops.get_or_create(&Stop { result: "dropped" }).inc_by(0);
        process.register(|registry| metrics.register(registry));
        metrics
    }

    /// A site's label: its name, for those that come first.
    pub(crate) fn site(&self, site: &SiteId) -> Site {
        // Nothing in it can be half done.
        let mut labelled = self.labelled.lock().unwrap_or_else(PoisonError::into_inner);
        let known = labelled.contains(site);
        if !known && (labelled.len() >= self.max_sites || site.as_str() == OTHER) {
            return Site { site: OTHER.to_owned() };
        }
        if !known {
            labelled.insert(site.clone());
        }
        Site { site: site.to_string() }
    }

    /// Counts how a reply ended, by itself and in its site.
    pub(crate) fn ended(&self, site: &SiteId, terminal: &Terminal) {
        let (outcome, result) = match terminal {
            Terminal::End { finish_reason: FinishReason::Cancelled, .. } => ("cancelled", "cancelled"),
            Terminal::End { finish_reason, .. } => (finish_reason.as_str(), "answered"),
            Terminal::Failed { code, .. } => (code.as_str(), "failed"),
        };
        self.replies.get_or_create(&Outcome { outcome }).inc();
        self.site_replies.get_or_create(&SiteReply { site: self.site(site).site, result }).inc();
    }

    /// Counts and logs how a site's circuit changes.
    pub(crate) fn follow_circuit(&self, site: &SiteId) -> impl Fn(Circuit) + Send + Sync + 'static {
        let (label, changes, site) = (self.site(site), self.circuit_changes.clone(), site.clone());
        for result in ["answered", "failed"] {
            self.site_replies.get_or_create(&SiteReply { site: label.site.clone(), result }).inc_by(0);
        }
        self.circuit_refused.get_or_create(&label).inc_by(0);
        self.circuit_given_back.get_or_create(&label).inc_by(0);
        let gauge = self.circuits.get_or_create_owned(&label);
        let others = (label.site == OTHER).then(|| Arc::clone(&self.other_circuits));
        let change = move |to| Change { site: label.site.clone(), to };
        for to in ["closed", "half_open", "open"] {
            changes.get_or_create(&change(to)).inc_by(0);
        }
        move |circuit| {
            let (to, value) = match circuit {
                Circuit::Closed => ("closed", 0),
                Circuit::HalfOpen => ("half_open", 1),
                Circuit::Open => ("open", 2),
            };
            match &others {
                None => gauge.set(value),
                // Of several the worst: an alarm must not miss the one that is not called.
                Some(others) => {
                    let mut others = others.lock().unwrap_or_else(PoisonError::into_inner);
                    others.insert(site.clone(), value);
                    gauge.set(others.values().copied().max().unwrap_or(value))
                }
            };
            changes.get_or_create(&change(to)).inc();
            match circuit {
                Circuit::Closed => tracing::info!(%site, "n8n answers again"),
                Circuit::HalfOpen => tracing::info!(%site, "trying whether n8n is back"),
                Circuit::Open => tracing::warn!(%site, "calls to n8n fail: none is made for a while"),
            }
        }
    }

    fn register(&self, registry: &mut Registry) {
        let worker = registry.sub_registry_with_prefix("worker");
        worker.register("replies", "Replies by how they ended", self.replies.clone());
        worker.register("site_replies", "Replies of a site by how they ended", self.site_replies.clone());
        let help = "Messages that no worker has taken yet, of the whole deployment: each worker tells the same";
        worker.register("queue", help, self.queue.clone());
        worker.register("chunks", "Chunks that n8n sent", self.chunks.clone());
        worker.register("in_flight", "Replies running now", self.in_flight.clone());
        worker.register("site_running", "Places of a site that are taken now", self.site_running.clone());
        worker.register("site_waiting", "Messages of a site that wait in this worker now", self.site_waiting.clone());
        worker.register(
            "site_refused",
            "Messages that ended as queue_timeout because their site's queue was full",
            self.site_refused.clone(),
        );
        worker.register(
            "site_timed_out",
            "Messages that waited in this worker for QUEUE_TIMEOUT",
            self.site_timed_out.clone(),
        );
        worker.register(
            "execution_stops",
            "Executions of n8n that were to be stopped, by what became of it",
            self.stops.clone(),
        );
        worker.register(
            "given_up",
            "Messages that waited in this worker and were given back for another one with room",
            self.given_up.clone(),
        );
        worker.register(
            "unknown_site",
            "Messages of sites that this worker has no settings for",
            self.unknown_site.clone(),
        );
        worker.register(
            "taken_over",
            "Replies that another worker took over, or whose session ended",
            self.taken_over.clone(),
        );
        let help = "Replies that did not wait for their workflow because too many others do";
        worker.register("waiting_refused", help, self.waiting_refused.clone());
        worker.register("late_pieces", "Pieces of replies that came late, by `reply_url`", self.late_pieces.clone());
        worker.register("node_errors", "Errors that nodes of the workflow told of", self.node_errors.clone());
        worker.register("odd_lines", "Lines of n8n that were not understood", self.odd_lines.clone());
        worker.register("retries", "Further tries to reach n8n", self.retries.clone());
        let help = "Replies that were not tried again because too many others were";
        worker.register("retries_refused", help, self.retries_refused.clone());
        let help = "Whether n8n is called: 0 closed (it is), 1 half-open (one call tries), 2 open (it is not); of sites \
                    that share a label the worst";
        worker.register("circuit", help, self.circuits.clone());
        worker.register("circuit_changes", "Circuits by what they became", self.circuit_changes.clone());
        let help = "Messages that failed because the circuit was open";
        worker.register("circuit_refused", help, self.circuit_refused.clone());
        let help = "Messages left to another worker because the circuit was open";
        worker.register("circuit_given_back", help, self.circuit_given_back.clone());
        worker.register(
            "records_unwritten",
            "Writes of a running reply's record that failed; the next one holds the same",
            self.records_unwritten.clone(),
        );
        worker.register(
            "records_evicted",
            "Records of finished replies that went from memory for want of room; they are read again",
            self.records_evicted.clone(),
        );
        for (name, help, histogram) in [
            ("first_text", "From a message's acceptance to the first text of its reply", &self.first_text_seconds),
            ("reply", "From a message's acceptance to the end of its reply", &self.reply_seconds),
        ] {
            worker.register_with_unit(name, help, Unit::Seconds, histogram.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sites_beyond_the_limit_share_a_label() {
        let process = runtime::metrics::Metrics::new(None);
        let metrics = Metrics::new(&process, 2);
        let id = |id: &str| SiteId::new(id).unwrap();
        let label = |name: &str| metrics.site(&id(name)).site;
        assert_eq!(
            ["lamps", "shoes", "hats", "lamps", "other"].map(label),
            ["lamps", "shoes", "other", "lamps", "other"]
        );
        for site in ["lamps", "hats", "pens"] {
            metrics.follow_circuit(&id(site))(Circuit::Open);
        }
        let text = process.shown();
        let shown = |line: &str| text.lines().any(|shown| shown == line);
        assert!(shown("frontdesk_worker_circuit{site=\"lamps\"} 2"), "{text}");
        assert!(shown("frontdesk_worker_circuit_changes_total{site=\"other\",to=\"open\"} 2"), "{text}");
    }

    #[test]
    fn of_sites_that_share_a_label_the_worst_circuit_is_shown() {
        let process = runtime::metrics::Metrics::new(None);
        let metrics = Metrics::new(&process, 0);
        let ids = ["hats", "pens"].map(|id| SiteId::new(id).unwrap());
        let [hats, pens] = ids.each_ref().map(|id| metrics.follow_circuit(id));
        let shown = |value: u8| {
            let (text, line) = (process.shown(), format!("frontdesk_worker_circuit{{site=\"other\"}} {value}"));
            assert!(text.lines().any(|shown| shown == line), "{line}: {text}");
        };
        shown(0);
        hats(Circuit::Open);
        pens(Circuit::Closed);
        shown(2);
        pens(Circuit::Open);
        hats(Circuit::HalfOpen);
        shown(2);
        pens(Circuit::Closed);
        shown(1);
        hats(Circuit::Closed);
        shown(0);
    }
}
