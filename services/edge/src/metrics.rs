//! The edge's metrics, all of them. Labels have few values: never an id, an address or a path as it was asked for.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet},
    metrics::{MetricType, counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use runtime::trace::Histogram;

use crate::{bots::Bots, ended::Ended, limits::Limits};

/// See the module.
pub(crate) struct Metrics {
    pub(crate) http_requests: Family<Http, Counter>,
    pub(crate) rate_limited: Family<Limited, Counter>,
    pub(crate) limit_charges: Family<Shared, Counter>,
    pub(crate) limit_snapshots: Family<Snapshot, Counter>,
    pub(crate) limit_callers_restored: Counter,
    pub(crate) panics: Counter,
    pub(crate) bot_verdicts: Family<Judged, Counter>,
    pub(crate) bot_reasons: Family<Spoken, Counter>,
    pub(crate) bot_challenges: Family<Asked, Counter>,
    pub(crate) suspicious_links: Counter,
    pub(crate) sessions_created: Counter,
    pub(crate) sessions_ended: Counter,
    pub(crate) proofs: Family<Shown, Counter>,
    pub(crate) identity_tokens: Family<IdentityToken, Counter>,
    pub(crate) identity_key_refreshes: Family<KeyRefresh, Counter>,
    pub(crate) messages: Family<Outcome, Counter>,
    pub(crate) late_replies: Family<Outcome, Counter>,
    pub(crate) sse_open: Gauge,
    pub(crate) sse_events: Counter,
    pub(crate) sse_lagged: Counter,
    pub(crate) resume: Family<Resumed, Counter>,
    pub(crate) first_chunk_seconds: Histogram,
}

/// One kind of answered request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Http {
    /// The route's template, or `none`.
    pub(crate) route: String,
    pub(crate) method: &'static str,
    pub(crate) status: u16,
}

/// Which limit refused, or in the mode `shadow` would have.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Limited {
    /// `ip`, `session`, `site`, `create`.
    pub(crate) scope: &'static str,
    /// `minute`, `day`, `streams`.
    pub(crate) limit: &'static str,
    /// `enforce`, `shadow`.
    pub(crate) mode: &'static str,
}

/// What became of charges to limits that edges share: `told`, `dropped`, and those of others that were `heard`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Shared {
    pub(crate) what: &'static str,
}

/// How a question for what was counted before went.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Snapshot {
    result: &'static str,
}

impl Snapshot {
    /// It is known.
    pub(crate) const RESTORED: Self = Self { result: "restored" };
    /// Nobody keeps it.
    pub(crate) const ABSENT: Self = Self { result: "absent" };
    /// There was no answer in time, or none that makes sense.
    pub(crate) const FAILED: Self = Self { result: "failed" };
}

/// What became of a proof: `accepted`, `missing`, `invalid`, `time`, `replayed`, `overloaded`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Shown {
    pub(crate) result: &'static str,
}

/// What the bot rules make of a request: `allow`, `challenge`, `refuse` or `reject`, in mode `shadow` or `enforce`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Judged {
    pub(crate) verdict: &'static str,
    pub(crate) mode: &'static str,
}

/// What speaks against a request: the words of `bots::score::Reason`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Spoken {
    pub(crate) reason: &'static str,
}

/// How a challenge goes: `asked`, `passed`, `invalid`, `expired`, `used`, `captcha_asked`, `captcha_passed`,
/// `captcha_failed`, `captcha_away`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Asked {
    pub(crate) result: &'static str,
}

/// What became of a message: `accepted`, `circuit_open` (accepted, and failed at once), `repeated`, `rejected`, `busy`,
/// `conflict`, `overloaded` (no room), `bus_away`. What became of what a workflow sent late: `taken`, `pushed`,
/// `stopped`, `repeated`, `refused`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Outcome {
    pub(crate) outcome: &'static str,
}

/// What became of an identity token: `verified`, or the `identity_error`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct IdentityToken {
    pub(crate) result: &'static str,
}

/// Whether the shop's public keys were `read`, or that `failed`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct KeyRefresh {
    pub(crate) result: &'static str,
}

/// How a resume went: `live`, `replayed`, `gap`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Resumed {
    pub(crate) result: &'static str,
}

/// Adds how many callers each limit remembers, and what is forgotten for want of room, looked up when somebody asks.
pub(crate) fn watch(process: &runtime::metrics::Metrics, limits: &Arc<Limits>, bots: &Arc<Bots>, ended: &Arc<Ended>) {
    fn count<T: Send + Sync + 'static>(
        process: &runtime::metrics::Metrics,
        name: &'static str,
        help: &'static str,
        what: &Arc<T>,
        forgotten: fn(&T) -> u64,
    ) {
        let what = Arc::downgrade(what);
        process.count(name, help, move || what.upgrade().map_or(0, |what| forgotten(&what)));
    }
    let help = "Callers that a limit forgot before what they used came back, for want of room";
    count(process, "edge_limit_keys_forgotten", help, limits, Limits::forgotten);
    let help = "Times that the bot rules forgot half of what they remember before its time, for want of room";
    count(process, "edge_bot_forgotten", help, bots, Bots::forgotten);
    let help = "Ends of sessions that were forgotten for want of room: sessions that are older count as ended";
    count(process, "edge_ended_forgotten", help, ended, Ended::forgotten);
    let limits = Arc::downgrade(limits);
    process.register(|registry| {
        registry.sub_registry_with_prefix("edge").register_collector(Box::new(Remembered(limits)));
    });
}

struct Remembered(Weak<Limits>);

impl fmt::Debug for Remembered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Remembered(..)")
    }
}

impl Collector for Remembered {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(limits) = self.0.upgrade() else { return Ok(()) };
        let help = "Callers that a limit remembers because they used something of it";
        let mut gauges = encoder.encode_descriptor("limit_keys", help, None, MetricType::Gauge)?;
        for (tier, keys) in limits.in_use() {
            let keys = i64::try_from(keys).unwrap_or(i64::MAX);
            gauges.encode_family(&[("tier", tier.name())])?.encode_gauge(&keys)?;
        }
        Ok(())
    }
}

impl Metrics {
    pub(crate) fn new(process: &runtime::metrics::Metrics) -> Self {
        // From a demo's echo to a slow model's first word.
        let waits = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
        let metrics = Self {
            http_requests: Family::default(),
            rate_limited: Family::default(),
            limit_charges: Family::default(),
            limit_snapshots: Family::default(),
            limit_callers_restored: Counter::default(),
            panics: Counter::default(),
            bot_verdicts: Family::default(),
            bot_reasons: Family::default(),
            bot_challenges: Family::default(),
            suspicious_links: Counter::default(),
            sessions_created: Counter::default(),
            sessions_ended: Counter::default(),
            proofs: Family::default(),
            identity_tokens: Family::default(),
            identity_key_refreshes: Family::default(),
            messages: Family::default(),
            late_replies: Family::default(),
            sse_open: Gauge::default(),
            sse_events: Counter::default(),
            sse_lagged: Counter::default(),
            resume: Family::default(),
            first_chunk_seconds: Histogram::new(waits.into_iter()),
        };
        metrics.show_refusals();
        process.register(|registry| metrics.register(registry));
        metrics
    }

    /// What is refused, dropped or missed is shown from the beginning, as 0: an alarm can't watch what isn't there.
    fn show_refusals(&self) {
        for scope in ["ip", "session", "site", "create"] {
            self.rate_limited.get_or_create(&Limited { scope, limit: "minute", mode: "enforce" }).inc_by(0);
        }
        for outcome in ["busy", "overloaded", "bus_away"] {
            self.messages.get_or_create(&Outcome { outcome }).inc_by(0);
        }
        for result in ["invalid", "replayed", "overloaded"] {
            self.proofs.get_or_create(&Shown { result }).inc_by(0);
        }
        self.late_replies.get_or_create(&Outcome { outcome: "refused" }).inc_by(0);
        self.limit_charges.get_or_create(&Shared { what: "dropped" }).inc_by(0);
        self.limit_snapshots.get_or_create(&Snapshot::FAILED).inc_by(0);
        self.bot_challenges.get_or_create(&Asked { result: "captcha_away" }).inc_by(0);
        self.identity_tokens.get_or_create(&IdentityToken { result: "invalid" }).inc_by(0);
        self.identity_key_refreshes.get_or_create(&KeyRefresh { result: "failed" }).inc_by(0);
        self.resume.get_or_create(&Resumed { result: "gap" }).inc_by(0);
    }

    fn register(&self, registry: &mut Registry) {
        let edge = registry.sub_registry_with_prefix("edge");
        edge.register("http_requests", "Requests answered", self.http_requests.clone());
        edge.register("rate_limited", "Requests that a limit refused, or would have", self.rate_limited.clone());
        edge.register("limit_charges", "Charges that edges share, by what became of them", self.limit_charges.clone());
        let help = "Questions for what limits counted before, by how they went";
        edge.register("limit_snapshots", help, self.limit_snapshots.clone());
        let help = "Callers of whom a limit was told what they used before";
        edge.register("limit_callers_restored", help, self.limit_callers_restored.clone());
        edge.register("panics", "Requests that ended in a fault of ours", self.panics.clone());
        edge.register("bot_verdicts", "Requests by what the bot rules make of them", self.bot_verdicts.clone());
        edge.register("bot_reasons", "What spoke against requests", self.bot_reasons.clone());
        edge.register("bot_challenges", "Challenges by how they went", self.bot_challenges.clone());
        edge.register("suspicious_links", "Links in messages that look like others", self.suspicious_links.clone());
        edge.register("sessions_created", "Sessions created", self.sessions_created.clone());
        edge.register("sessions_ended", "Sessions ended by their visitors", self.sessions_ended.clone());
        edge.register("proofs", "Calls of key-bound sessions by what became of their proof", self.proofs.clone());
        edge.register("identity_tokens", "Identity tokens by what became of them", self.identity_tokens.clone());
        let help = "Readings of the shop's public keys";
        edge.register("identity_key_refreshes", help, self.identity_key_refreshes.clone());
        edge.register("messages", "Messages by what became of them", self.messages.clone());
        edge.register("late_replies", "What workflows sent late, by what became of it", self.late_replies.clone());
        edge.register("sse_open", "Event streams open now", self.sse_open.clone());
        edge.register("sse_events", "Events written to streams", self.sse_events.clone());
        edge.register("sse_lagged", "Streams ended because their client never caught up", self.sse_lagged.clone());
        edge.register("resume", "Resumed streams by how it went", self.resume.clone());
        edge.register_with_unit(
            "first_chunk",
            "From a message's acceptance to the first chunk of its reply",
            Unit::Seconds,
            self.first_chunk_seconds.clone(),
        );
    }
}
