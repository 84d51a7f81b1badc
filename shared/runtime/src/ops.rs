//! Health and metrics of a role that has no public port of its own.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::ConnectInfo,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    http::{Counts, Limits, Server},
    metrics::Metrics,
};

/// Whether the role can do its work now; `Err` says what is missing, in words for the operator.
pub type Ready = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Serves [`routes`] until `stop`.
pub async fn run(listener: TcpListener, metrics: Metrics, ready: Ready, stop: CancellationToken) {
    let counts = Counts::default();
    counts.register(&metrics);
    let limits = Limits { connections: 64, drain: Duration::from_secs(1), ..Limits::default() };
    Server { limits, tls: None, counts }.run(listener, routes(metrics, ready), stop).await;
}

/// `/health`, `/health/live`, `/health/ready` and `/metrics`, for a role that serves more beside them.
pub fn routes(metrics: Metrics, ready: Ready) -> Router {
    let health = move || {
        let answer = ready();
        async move { readiness(answer) }
    };
    Router::new()
        .route("/health", get(health.clone()))
        .route("/health/ready", get(health))
        .route("/health/live", get(|| async { json(StatusCode::OK, r#"{"status":"ok"}"#.to_owned()) }))
        .route(
            "/metrics",
            get(move |peer: ConnectInfo<SocketAddr>, headers: HeaderMap| async move { metrics.answer(&headers, peer) }),
        )
}

fn readiness(answer: Result<(), String>) -> Response {
    match answer {
        Ok(()) => json(StatusCode::OK, r#"{"status":"ok"}"#.to_owned()),
        Err(reason) => {
            let reason = reason.replace(['"', '\\'], "'");
            json(StatusCode::SERVICE_UNAVAILABLE, format!(r#"{{"status":"down","reason":"{reason}"}}"#))
        }
    }
}

fn json(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], body).into_response()
}
