//! What analytics knows, over HTTP: for the dashboard, for `frontdesk analytics report`, and for programs.
//!
//! - `access`: tokens, who calls, and how often one may guess; `scope`: of which site.
//! - `params`: ranges, cursors and all else that stands in a query; `problem`: what can go wrong for a caller.
//! - `figures`, `sessions`, `comments`, `export`, `admin`: the routes. `csv`: tables for spreadsheets.
//! - `dashboard`: the page and its files; `openapi`: the description.
//!
//! # Promises
//! - Nothing is answered to who has no token, but the page, which holds no data, health and the description.
//! - A token of a site learns nothing of another one, nor that it is there.
//! - Reads wait for the disk on threads of their own, [`READS`] at once; who finds no place for [`PATIENCE`] is told so.
//!   Files that are sent ([`STREAMS`] at once, [`SITE_STREAMS`] to each site) are read piece by piece as the client takes them.
//! - Tokens, queries and addresses are never logged.

mod access;
mod admin;
mod comments;
mod csv;
mod dashboard;
mod export;
mod figures;
mod openapi;
mod params;
mod problem;
mod scope;
mod sessions;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{ConnectInfo, FromRequestParts, MatchedPath, Request},
    http::{HeaderName, HeaderValue, Method, request::Parts},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
    routing::{delete, get, post},
};
use futures_util::FutureExt as _;
use protocol::SiteId;
use runtime::{
    http::{Counts, Limits, Server, guard},
    metrics::Metrics as Process,
    ops::{self, Ready},
};
use tokio::{
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore},
    task,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Config, Health, Store,
    metrics::{ApiMetrics, Asked},
};
use access::{Attempts, Caller, Tokens};
use dashboard::Dashboard;
pub use figures::{Overview, Series};
use problem::ApiError;

/// Connections at once: some dashboards, with six each, and programs.
const CONNECTIONS: usize = 256;
/// Of one address, so that one that holds what it can leaves room for health checks.
const CONNECTIONS_PER_ADDRESS: usize = 64;
/// After the stop, what is being answered gets this long.
const DRAIN: Duration = Duration::from_secs(2);
/// Reads of the store at once. More would only wait for each other on one disk.
const READS: usize = 8;
/// How long a request waits for a place among them: a dashboard asks a dozen things in one moment.
const PATIENCE: Duration = Duration::from_secs(2);
/// Exports and backups that are sent to the admin at once; one more is told so at once.
const STREAMS: usize = 4;
/// The same to those who have a site's token, of each site: who reads slowly holds up nobody else.
const SITE_STREAMS: usize = 2;

const PREFIX: &str = "/api/";
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Serves API, dashboard, health and metrics on `listener` until `stop`, whether the store of `health` is open or not.
/// `counts` are those of the listener.
pub async fn serve(
    listener: TcpListener,
    config: Config,
    health: Health,
    ready: Ready,
    process: Process,
    counts: Counts,
    stop: CancellationToken,
) {
    if !config.has_tokens() {
        tracing::info!("the analytics API and the dashboard are off: set ADMIN_TOKEN, which `frontdesk keys` makes");
    }
    let state = State::new(&config, health, &process);
    let limits =
        Limits { connections: CONNECTIONS, per_address: CONNECTIONS_PER_ADDRESS, drain: DRAIN, ..Limits::default() };
    let app = router(state, ops::routes(process, ready));
    Server { limits, tls: None, counts }.run(listener, app, stop).await;
}

/// All routes, and the one layer around them.
fn router(state: State, ops: Router) -> Router {
    let api = Router::new()
        .route("/summary", get(figures::summary))
        .route("/timeseries", get(figures::timeseries))
        .route("/busy-hours", get(figures::busy_hours))
        .route("/pages", get(figures::pages))
        .route("/outcomes", get(figures::outcomes))
        .route("/refusals", get(figures::refusals))
        .route("/live", get(figures::live))
        .route("/sites", get(figures::sites))
        .route("/sessions", get(sessions::list))
        .route("/sessions/{id}", get(sessions::detail).delete(sessions::erase))
        .route("/sessions/{id}/export", get(sessions::export))
        .route("/comments", get(comments::list))
        .route("/customers", delete(sessions::erase_customer))
        .route("/customers/export", get(sessions::export_customer))
        .route("/export", get(export::export))
        .route("/backup", get(admin::backup))
        .route("/rewrite", post(admin::rewrite));
    let own = Router::new()
        .nest("/api/v1/analytics", api)
        .route("/openapi.json", get(openapi::document))
        .route("/dashboard/{*path}", get(dashboard::file))
        .route("/", get(dashboard::page))
        .with_state(state.clone());
    ops.merge(own)
        .fallback(async || ApiError::NotFound)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(from_fn_with_state(state, around))
}

/// What every handler shares. Cheap to clone; a handler that names it as an argument gets it.
#[derive(Clone)]
struct State {
    health: Health,
    tokens: Arc<Tokens>,
    attempts: Arc<Attempts>,
    dashboard: Arc<Dashboard>,
    reads: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    site_streams: Arc<HashMap<SiteId, Arc<Semaphore>>>,
    metrics: Arc<ApiMetrics>,
}

impl State {
    fn new(config: &Config, health: Health, process: &Process) -> Self {
        Self {
            health,
            tokens: Arc::new(Tokens::new(config)),
            attempts: Arc::default(),
            dashboard: Arc::new(Dashboard::new()),
            reads: Arc::new(Semaphore::new(READS)),
            streams: Arc::new(Semaphore::new(STREAMS)),
            site_streams: Arc::new(
                config.site_tokens().map(|(site, _)| (site.clone(), Arc::new(Semaphore::new(SITE_STREAMS)))).collect(),
            ),
            metrics: Arc::new(ApiMetrics::new(process)),
        }
    }

    /// Asks the store, on a thread that may wait for the disk.
    async fn read<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Store) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let place = tokio::time::timeout(PATIENCE, Arc::clone(&self.reads).acquire_owned()).await;
        let Ok(Ok(place)) = place else {
            self.metrics.full("reads");
            return Err(ApiError::Overloaded { detail: "Too much is being read; try again." });
        };
        self.ask(place, ask).await
    }

    /// The same in a place that is held already. The place is free when the store has answered, also if the client has
    /// left by then.
    async fn ask<T: Send + 'static>(
        &self,
        place: impl Send + 'static,
        ask: impl FnOnce(&Store) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let store = self.health.store().ok_or(ApiError::Overloaded { detail: "The database is not open." })?;
        let asked = task::spawn_blocking(move || {
            let answer = ask(&store);
            drop(place);
            answer
        });
        asked.await.unwrap_or_else(|_| {
            self.metrics.panics.inc();
            tracing::error!("reading the database ended in a panic");
            Err(ApiError::Internal)
        })
    }

    /// A place to send a file from.
    fn stream(&self, caller: &Caller) -> Result<OwnedSemaphorePermit, ApiError> {
        let places = match caller {
            Caller::Admin => &self.streams,
            // Callers are those of the settings, so it is there.
            Caller::Site(site) => self.site_streams.get(site).unwrap_or(&self.streams),
        };
        Arc::clone(places).try_acquire_owned().map_err(|_| {
            self.metrics.full("streams");
            ApiError::Overloaded { detail: "Too many files are being sent; try again." }
        })
    }
}

impl FromRequestParts<State> for State {
    type Rejection = Infallible;

    async fn from_request_parts(_: &mut Parts, state: &State) -> Result<Self, Infallible> {
        Ok(state.clone())
    }
}

/// What happens to every request around its handler.
async fn around(state: State, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = format!("{:032x}", rand::random::<u128>());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = known(request.method());
    let api = request.uri().path().starts_with(PREFIX);
    let mut response = if api && state.tokens.is_empty() {
        ApiError::ApiDisabled.into_response()
    } else {
        AssertUnwindSafe(next.run(request)).catch_unwind().await.unwrap_or_else(|_| {
            state.metrics.panics.inc();
            tracing::error!(request.id = %id, "a request ended in a panic");
            ApiError::Internal.into_response()
        })
    };
    if let Some(cause) = problem::describe(&mut response, &id) {
        tracing::error!(request.id = %id, error = %cause, "a request could not be answered");
    }
    let headers = response.headers_mut();
    guard(headers, false);
    headers.insert(REQUEST_ID, HeaderValue::from_str(&id).expect("hex makes a header"));
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    let status = response.status().as_u16();
    state.metrics.requests.get_or_create(&Asked { route: route.to_owned(), method, status }).inc();
    if api {
        let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(request.id = %id, method, route, status, ms, "answered");
    }
    response
}

/// A method as a label: what clients make up is one value.
fn known(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "DELETE" => "DELETE",
        _ => "other",
    }
}

/// The address at the other end of the connection.
fn peer(parts: &Parts) -> std::net::IpAddr {
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    peer.map_or(Ipv4Addr::UNSPECIFIED.into(), |peer| peer.0.ip())
}
