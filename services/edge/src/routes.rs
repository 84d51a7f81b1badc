//! All routes, and the one layer around them.

use axum::{
    Router,
    extract::ConnectInfo,
    http::HeaderMap,
    middleware::from_fn_with_state,
    response::Response,
    routing::{delete, get, post},
};
use runtime::metrics::Denied;

use crate::{assets, chat, ended, feedback, health, late, openapi, problem::ApiError, request, session, state::State};

/// The edge's whole HTTP side.
pub(crate) fn router(state: State) -> Router {
    Router::new()
        .route("/api/v1/session", delete(ended::end))
        .route(session::CREATE, post(session::create))
        .route("/api/v1/session/validate", get(session::validate))
        .route("/api/v1/session/refresh", post(session::refresh))
        .route("/api/v1/chat/message", post(chat::post_message))
        .route("/api/v1/chat/stream/{session_id}", get(chat::stream))
        .route("/api/v1/chat/ticket", post(chat::ticket))
        .route("/api/v1/chat/cancel", post(chat::cancel))
        .route("/api/v1/chat/feedback", post(feedback::rate))
        .route("/api/v1/chat/reply/{token}", post(late::post))
        .route("/health", get(health::health))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(openapi::document))
        .route("/docs", get(openapi::page))
        .route("/docs/{file}", get(openapi::file))
        .route("/widget/{*path}", get(assets::widget))
        .route("/", get(assets::demo))
        .fallback(async || ApiError::NotFound)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(from_fn_with_state(state.clone(), request::around))
        .with_state(state)
}

async fn metrics(
    state: State,
    peer: ConnectInfo<std::net::SocketAddr>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    state.process.answer(&headers, peer).map_err(|denied| match denied {
        Denied::Token => ApiError::Unauthorized,
        Denied::Place => ApiError::Forbidden { detail: "Metrics are for the private network." },
    })
}
