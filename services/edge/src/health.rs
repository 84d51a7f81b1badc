//! How the edge and what it leans on are.
//!
//! `/health` is for people and dashboards: `down` (503) when the bus can't be reached, `degraded` when no worker is
//! there or n8n is not called for now; analytics may be absent. `/health/ready` is for whoever sends visitors here: 503
//! only when the bus can't be reached or the edge drains, because another edge would find the same workers and n8n.
//! `/health/live` is for whoever restarts processes: 200 for as long as the process answers.

use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::state::State;

/// What the edge found.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Checks {
    /// How long the bus took to answer, in milliseconds; `None` when it did not.
    pub(crate) bus: Option<f64>,
    pub(crate) workers: u32,
    pub(crate) n8n: Upstream,
    pub(crate) analytics: bool,
}

/// How workers see n8n, the best first: while one of them calls it, messages are answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Upstream {
    Ok,
    /// Not called yet, or the last call failed.
    #[default]
    Unknown,
    /// One call at a time tries whether it is back.
    HalfOpen,
    /// The circuit is open: n8n is not called for a while.
    Open,
}

impl Upstream {
    /// What a worker said, by its name; of several workers the best counts (`min`).
    pub(crate) fn of(name: &str) -> Self {
        match name {
            "ok" => Self::Ok,
            "open" => Self::Open,
            "half_open" => Self::HalfOpen,
            _ => Self::Unknown,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    Ok,
    Degraded,
    Down,
    Absent,
    Draining,
}

/// The whole answer.
#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    status: Status,
    version: &'static str,
    /// `stateless` or `analytics`.
    mode: &'static str,
    uptime_s: u64,
    checks: Report,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Report {
    bus: BusReport,
    workers: WorkersReport,
    n8n: UpstreamReport,
    analytics: StatusReport,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct BusReport {
    status: Status,
    latency_ms: Option<f64>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct WorkersReport {
    status: Status,
    count: u32,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct UpstreamReport {
    status: Upstream,
}

/// One word.
#[derive(Serialize, ToSchema)]
pub(crate) struct StatusReport {
    status: Status,
}

impl Health {
    fn new(checks: &Checks, uptime_s: u64) -> Self {
        let works = |good, otherwise| if good { Status::Ok } else { otherwise };
        let bus = works(checks.bus.is_some(), Status::Down);
        let workers = works(checks.workers > 0, Status::Down);
        let flows = workers == Status::Ok && !matches!(checks.n8n, Upstream::Open | Upstream::HalfOpen);
        // Half-open is not well yet: one call in a while tries.
        let status = if bus == Status::Ok { works(flows, Status::Degraded) } else { Status::Down };
        Self {
            status,
            version: env!("CARGO_PKG_VERSION"),
            mode: if checks.analytics { "analytics" } else { "stateless" },
            uptime_s,
            checks: Report {
                // A tenth is precise enough.
                bus: BusReport { status: bus, latency_ms: checks.bus.map(|ms| (ms * 10.0).round() / 10.0) },
                workers: WorkersReport { status: workers, count: checks.workers },
                n8n: UpstreamReport { status: checks.n8n },
                analytics: StatusReport { status: works(checks.analytics, Status::Absent) },
            },
        }
    }
}

/// How everything is.
#[utoipa::path(get, path = "/health", tag = "Service", responses(
    (status = 200, description = "Messages are answered, or nearly", body = Health),
    (status = 503, description = "The bus can't be reached", body = Health)))]
pub(crate) async fn health(state: State) -> Response {
    let health = Health::new(&state.checks().await, state.started.elapsed().as_secs());
    let status = if health.status == Status::Down { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    answer(status, health)
}

/// Whether the process answers.
#[utoipa::path(get, path = "/health/live", tag = "Service",
    responses((status = 200, description = "It does", body = StatusReport)))]
pub(crate) async fn live() -> Response {
    answer(StatusCode::OK, StatusReport { status: Status::Ok })
}

/// Whether to send visitors here.
#[utoipa::path(get, path = "/health/ready", tag = "Service", responses(
    (status = 200, description = "Yes", body = StatusReport),
    (status = 503, description = "The bus can't be reached, or the edge drains", body = StatusReport)))]
pub(crate) async fn ready(state: State) -> Response {
    let bus = state.checks().await.bus;
    let knows = state.ended.is_read_in() && state.limits.is_settled();
    let (status, word) = readiness(state.draining.is_cancelled(), bus.is_some() && knows);
    answer(status, StatusReport { status: word })
}

fn readiness(draining: bool, bus: bool) -> (StatusCode, Status) {
    match (draining, bus) {
        (true, _) => (StatusCode::SERVICE_UNAVAILABLE, Status::Draining),
        (false, false) => (StatusCode::SERVICE_UNAVAILABLE, Status::Down),
        (false, true) => (StatusCode::OK, Status::Ok),
    }
}

fn answer(status: StatusCode, body: impl Serialize) -> Response {
    (status, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: Checks = Checks { bus: Some(0.42), workers: 2, n8n: Upstream::Ok, analytics: true };

    #[test]
    fn the_whole_answer_is_that_of_the_contract() {
        let json = serde_json::to_string(&Health::new(&WELL, 1)).unwrap();
        let version = env!("CARGO_PKG_VERSION");
        let expected = format!(
            "{}{version}{}",
            r#"{"status":"ok","version":""#,
            r#"","mode":"analytics","uptime_s":1,"checks":{"bus":{"status":"ok","latency_ms":0.4},"workers":{"status":"ok","count":2},"n8n":{"status":"ok"},"analytics":{"status":"ok"}}}"#
        );
        assert_eq!(json, expected);
    }

    #[test]
    fn what_is_missing_decides() {
        let check = |checks: Checks, expected: Status| {
            assert_eq!(Health::new(&checks, 1).status, expected, "{checks:?}");
        };
        check(WELL, Status::Ok);
        check(Checks { analytics: false, ..WELL }, Status::Ok);
        check(Checks { n8n: Upstream::Unknown, ..WELL }, Status::Ok);
        check(Checks { n8n: Upstream::Open, ..WELL }, Status::Degraded);
        check(Checks { n8n: Upstream::HalfOpen, ..WELL }, Status::Degraded);
        check(Checks { workers: 0, ..WELL }, Status::Degraded);
        check(Checks { bus: None, ..WELL }, Status::Down);
    }

    #[test]
    fn the_best_word_counts() {
        let check = |words: &[&str], expected: Upstream| {
            assert_eq!(words.iter().map(|word| Upstream::of(word)).min().unwrap_or_default(), expected, "{words:?}");
        };
        check(&[], Upstream::Unknown);
        check(&["open", "ok"], Upstream::Ok);
        check(&["open", "half_open"], Upstream::HalfOpen);
        // It has not called n8n yet, and will.
        check(&["open", "unknown"], Upstream::Unknown);
        check(&["open", "open"], Upstream::Open);
    }

    #[test]
    fn an_edge_is_ready_while_it_can_hand_on() {
        assert_eq!(readiness(false, true), (StatusCode::OK, Status::Ok));
        assert_eq!(readiness(false, false).1, Status::Down);
        assert_eq!(readiness(true, true).1, Status::Draining);
    }
}
