//! What became of connections, for operators.

use http::StatusCode;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
};

use crate::metrics::Metrics;

/// The counters of one listener. Cheap to clone; [`Counts::register`] makes them seen.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    open: Gauge,
    refused_connections: Family<Reason, Counter>,
    cut: Family<Reason, Counter>,
    refused_requests: Family<Status, Counter>,
    pub(crate) accept_errors: Counter,
    reloads: Family<Outcome, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Status {
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    result: &'static str,
}

/// Why a connection is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// There are too many.
    Limit,
    /// There are too many of this address.
    Address,
}

/// Why a connection is ended by us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Nothing is asked any more.
    Idle,
    /// Nothing of what we send is taken.
    Send,
    /// TLS was not agreed on, or not in time.
    Handshake,
    /// The process stops, and this one did not finish.
    Drain,
}

/// One open connection.
pub(crate) struct Open(Gauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Counts {
    /// Shows them among the process's metrics, as `frontdesk_http_…`.
    pub fn register(&self, process: &Metrics) {
        // From the beginning, as 0: an alarm can't watch what isn't there.
        for reason in ["limit", "address"] {
            self.refused_connections.get_or_create(&Reason { reason }).inc_by(0);
        }
        for reason in ["idle", "send", "handshake", "drain"] {
            self.cut.get_or_create(&Reason { reason }).inc_by(0);
        }
        for status in [400, 408, 414, 431] {
            self.refused_requests.get_or_create(&Status { status }).inc_by(0);
        }
        for result in ["taken", "failed"] {
            self.reloads.get_or_create(&Outcome { result }).inc_by(0);
        }
        process.register(|registry| {
            let http = registry.sub_registry_with_prefix("http");
            http.register("connections_open", "Connections open now", self.open.clone());
            http.register(
                "connections_refused",
                "Connections over a limit: of the listener, or of an address",
                self.refused_connections.clone(),
            );
            http.register("connections_cut", "Connections that were ended by us, by reason", self.cut.clone());
            http.register(
                "requests_refused",
                "Requests that were refused before they were read: malformed, oversized, slow",
                self.refused_requests.clone(),
            );
            http.register("accept_errors", "Times that no connection could be accepted", self.accept_errors.clone());
            http.register("tls_reloads", "Changes of the certificate's files, by result", self.reloads.clone());
        });
    }

    /// Counts a connection as open until it is dropped, in whatever way.
    pub(crate) fn opened(&self) -> Open {
        self.open.inc();
        Open(self.open.clone())
    }

    pub(crate) fn full(&self, full: Full) {
        let reason = match full {
            Full::Limit => "limit",
            Full::Address => "address",
        };
        self.refused_connections.get_or_create(&Reason { reason }).inc();
    }

    pub(crate) fn cut(&self, cut: Cut) {
        let reason = match cut {
            Cut::Idle => "idle",
            Cut::Send => "send",
            Cut::Handshake => "handshake",
            Cut::Drain => "drain",
        };
        self.cut.get_or_create(&Reason { reason }).inc();
    }

    pub(crate) fn refused(&self, status: StatusCode) {
        self.refused_requests.get_or_create(&Status { status: status.as_u16() }).inc();
    }

    pub(crate) fn reloaded(&self, good: bool) {
        self.reloads.get_or_create(&Outcome { result: if good { "taken" } else { "failed" } }).inc();
    }

    #[cfg(test)]
    pub(crate) fn open_now(&self) -> i64 {
        self.open.get()
    }

    #[cfg(test)]
    pub(crate) fn cuts(&self, cut: &'static str) -> u64 {
        self.cut.get_or_create(&Reason { reason: cut }).get()
    }

    #[cfg(test)]
    pub(crate) fn reloads_by(&self, result: &'static str) -> u64 {
        self.reloads.get_or_create(&Outcome { result }).get()
    }
}
