//! The API's description, made from the handlers, and a page that shows it.

use std::sync::LazyLock;

use axum::{
    extract::{Path, rejection::PathRejection},
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use runtime::asset::Asset;
use utoipa::{
    IntoParams, IntoResponses, Modify, OpenApi, ToSchema,
    openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme},
};

use crate::{assets, chat, ended, feedback, health, late, problem::ApiError, session};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Frontdesk",
        description = "Chat of a shop's visitors with an n8n workflow.\n\nErrors are RFC 9457 problem documents with a \
                       stable `code`. Every response carries `X-Request-Id`; every counted one `RateLimit-Policy` and \
                       `RateLimit`. A browser's `Origin` must be in the site's list.",
        license(name = "MIT OR Apache-2.0")
    ),
    paths(
        session::create,
        session::validate,
        session::refresh,
        ended::end,
        chat::post_message,
        chat::stream,
        chat::ticket,
        chat::cancel,
        feedback::rate,
        late::post,
        health::health,
        health::live,
        health::ready,
        metrics,
        assets::widget,
    ),
    components(schemas(Begin, Queued, Chunk, Waiting, End, Failed, Gap, Ready)),
    modifiers(&Security),
)]
struct Api;

struct Security;

impl Modify for Security {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let components = api.components.get_or_insert_default();
        let token = Http::builder()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .description(Some("The token of a key-bound session goes with the scheme `DPoP`, and a proof beside it"))
            .build();
        components.add_security_scheme("token", SecurityScheme::Http(token));
        let ticket = ApiKey::Query(ApiKeyValue::with_description("ticket", "From POST /api/v1/chat/ticket"));
        components.add_security_scheme("ticket", SecurityScheme::ApiKey(ticket));
    }
}

/// An RFC 9457 problem document.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `problem` writes")]
pub(crate) struct Problem {
    #[schema(example = "about:blank")]
    r#type: String,
    #[schema(example = "Too many messages")]
    title: String,
    #[schema(example = 429)]
    status: u16,
    /// Stable and for programs.
    #[schema(example = "rate_limited")]
    code: String,
    /// A sentence for a developer.
    detail: String,
    request_id: String,
    /// With `invalid_request`: the field's path.
    field: Option<String>,
    /// With `message_rejected`: `empty`, `too_long` or `content`.
    reason: Option<String>,
    /// With `message_rejected`: characters that a message may have.
    max_chars: Option<u32>,
    /// With `payload_too_large`: bytes that a body may have.
    max_bytes: Option<u64>,
    /// With `rate_limited`: `ip`, `session`, `site` or `create`.
    scope: Option<String>,
    /// With `rate_limited`: whether it is a limit by `minute`, a budget of the `day`, or one of open `streams`.
    limit: Option<String>,
    /// Seconds.
    retry_after: Option<u32>,
    /// With `session_busy`: the `message_id` of the reply that runs.
    running: Option<String>,
    /// With `challenge_required`: what must be answered.
    challenge: Option<Challenge>,
    /// With a 401 about an `identity_token`: why it does not count, in the words of a session's `identity_error`.
    identity_error: Option<String>,
    /// With a 401 about time.
    #[schema(format = DateTime)]
    server_time: Option<String>,
}

/// A challenge. The request is sent again with its answer in `X-Challenge-Response`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `bots` writes")]
struct Challenge {
    /// `pow`: find a decimal counter so that the SHA-256 of `<challenge>:<counter>` begins with `difficulty` zero bits;
    /// that text is the answer, good once. `turnstile` or `hcaptcha`: show that captcha with `site_key`; the answer is
    /// `turnstile:<token>` or `hcaptcha:<token>`.
    #[schema(example = "pow")]
    r#type: String,
    #[schema(example = "sha-256")]
    algorithm: Option<String>,
    challenge: Option<String>,
    #[schema(example = 17)]
    difficulty: Option<u8>,
    /// Seconds.
    #[schema(example = 120)]
    expires_in: Option<u64>,
    site_key: Option<String>,
}

/// A page of the shop.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes `protocol::Page`")]
pub(crate) struct Page {
    url: Option<String>,
    title: Option<String>,
    referrer: Option<String>,
}

/// One turn of the browser's history.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes `protocol::Turn`")]
pub(crate) struct Turn {
    /// `user` or `assistant`.
    role: String,
    content: String,
}

/// What a reply was worth.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "describes `protocol::Rating`")]
pub(crate) enum Rating {
    Up,
    Down,
}

/// Answers to a body that can't be used.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes what `problem` writes")]
pub(crate) enum BadBody {
    /// `invalid_request` or `message_rejected`
    #[response(status = 400, content_type = "application/problem+json")]
    Invalid(Problem),
    /// `payload_too_large`
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(Problem),
    /// `unsupported_media_type`
    #[response(status = 415, content_type = "application/problem+json")]
    NotJson(Problem),
}

/// Answers to a caller who is not a visitor.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes what `problem` writes")]
pub(crate) enum Unproved {
    /// `unauthorized`, `token_expired`, `token_invalid`, `fingerprint_mismatch`, `proof_required`, `proof_invalid` or
    /// `proof_replayed`
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthorized(Problem),
    /// `session_ended`
    #[response(status = 410, content_type = "application/problem+json")]
    Ended(Problem),
}

/// Answers that every route of the API may give.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes what `problem` writes")]
pub(crate) enum Refused {
    /// `origin_not_allowed`, `bot_detected`, `challenge_required` or `session_mismatch`
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(Problem),
    /// `rate_limited`
    #[response(status = 429, content_type = "application/problem+json")]
    Limited(Problem),
    /// `overloaded`
    #[response(status = 503, content_type = "application/problem+json")]
    Overloaded(Problem),
}

#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes a header")]
pub(crate) struct Fingerprint {
    /// The one that the session was created with.
    #[param(rename = "X-Fingerprint")]
    fingerprint: String,
    /// The proof of a key-bound session (RFC 9449), with the body's base64url SHA-256 as `bh`. Each is good once.
    #[param(rename = "DPoP")]
    dpop: Option<String>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes a header")]
pub(crate) struct ChallengeResponse {
    /// The answer to a `challenge` of a 403 `challenge_required`.
    #[param(rename = "X-Challenge-Response")]
    challenge_response: Option<String>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes a header")]
pub(crate) struct IdempotencyKey {
    /// 1 to 255 characters: the same key again changes nothing.
    #[param(rename = "Idempotency-Key")]
    idempotency_key: Option<String>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes a header")]
pub(crate) struct Resume {
    /// The `id` of the last event that was read: what follows is exactly what came after it.
    #[param(rename = "Last-Event-ID")]
    last_event_id: Option<String>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes a query")]
pub(crate) struct StreamQuery {
    /// Instead of the Authorization header.
    ticket: Option<String>,
    /// Like the header `Last-Event-ID`, for a first connection.
    last_event_id: Option<String>,
    /// Submits this message; `message_id` is then required.
    message: Option<String>,
    /// Follows this reply.
    message_id: Option<String>,
}

/// Event `ready`: first on a session's stream.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes an event")]
struct Ready {
    session_id: String,
    resumed: bool,
}

/// Event `queued`: no worker has taken the message within a second.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes an event")]
struct Queued {
    message_id: String,
}

/// Event `begin`: n8n has begun to answer.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes an event")]
struct Begin {
    message_id: String,
    #[schema(format = DateTime)]
    at: String,
    /// `push` for a message that a workflow sent by itself, after its reply was over.
    kind: Option<String>,
    /// With `push`: the message whose workflow it is.
    in_reply_to: Option<String>,
}

/// Event `waiting`: n8n's answer broke off, and the workflow may send the rest. At most one, and without an `id`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes an event")]
struct Waiting {
    message_id: String,
    /// When the reply fails if nothing comes.
    #[schema(format = DateTime)]
    until: String,
}

/// Event `chunk`: the next piece of text.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes an event")]
struct Chunk {
    message_id: String,
    /// From 0, no gaps, no repeats.
    index: u32,
    content: String,
}

/// Event `end`: the reply is whole, or was stopped.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes an event")]
struct End {
    message_id: String,
    chunks: u32,
    /// `stop` or `cancelled`.
    finish_reason: String,
    duration_ms: u64,
}

/// Event `failed`: there is no (whole) reply.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes an event")]
struct Failed {
    message_id: String,
    /// `upstream_unreachable`, `upstream_timeout`, `upstream_error`, `upstream_invalid`, `upstream_empty`,
    /// `upstream_unauthorized`, `circuit_open`, `interrupted`, `queue_timeout` or `too_large`.
    code: String,
    /// A sentence for the visitor.
    message: String,
    retryable: bool,
    /// Seconds; only when retryable.
    retry_after: Option<u32>,
}

/// Event `gap`: what came after that id is no longer kept; what follows is live.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes an event")]
struct Gap {
    after: String,
}

/// Metrics for Prometheus, or OpenMetrics by `Accept`.
#[utoipa::path(get, path = "/metrics", tag = "Service", responses(
    (status = 200, description = "The metrics", body = String, content_type = "text/plain"),
    (status = 403, description = "Not for this caller", body = String, content_type = "text/plain")))]
#[expect(dead_code, reason = "the route is served by the runtime")]
fn metrics() {}

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'; \
                      frame-ancestors 'none'";

/// Made once, when it is first asked for.
static DOCUMENT: LazyLock<Asset> = LazyLock::new(|| {
    let json = Api::openapi().to_json().expect("the description is plain JSON");
    Asset::new(json.into(), "application/json", None)
});
static PAGE: LazyLock<Asset> = LazyLock::new(|| Asset::page(include_bytes!("../docs/docs.html"), POLICY));
static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new(Bytes::from_static(include_bytes!("../docs/docs.js")), "text/javascript; charset=utf-8", None)
});
static STYLE: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new(Bytes::from_static(include_bytes!("../docs/docs.css")), "text/css; charset=utf-8", None)
});

/// `/openapi.json`.
pub(crate) async fn document(headers: HeaderMap) -> Response {
    DOCUMENT.answer(&headers, false)
}

/// `/docs`.
pub(crate) async fn page(headers: HeaderMap) -> Response {
    PAGE.answer(&headers, false)
}

/// What the page needs.
pub(crate) async fn file(file: Result<Path<String>, PathRejection>, headers: HeaderMap) -> Response {
    match file.as_ref().map_or("", |Path(file)| file) {
        "docs.js" => SCRIPT.answer(&headers, false),
        "docs.css" => STYLE.answer(&headers, false),
        _ => ApiError::NotFound.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_description_names_every_route_and_leads_nowhere_else() {
        let text = Api::openapi().to_json().unwrap();
        let api: Value = serde_json::from_str(&text).unwrap();
        assert!(api["openapi"].as_str().unwrap().starts_with("3.1"), "{}", api["openapi"]);
        for (path, method) in [
            ("/api/v1/session/create", "post"),
            ("/api/v1/session/validate", "get"),
            ("/api/v1/session/refresh", "post"),
            ("/api/v1/session", "delete"),
            ("/api/v1/chat/message", "post"),
            ("/api/v1/chat/stream/{session_id}", "get"),
            ("/api/v1/chat/ticket", "post"),
            ("/api/v1/chat/cancel", "post"),
            ("/api/v1/chat/feedback", "post"),
            ("/api/v1/chat/reply/{token}", "post"),
            ("/health", "get"),
            ("/metrics", "get"),
        ] {
            assert!(api["paths"][path][method].is_object(), "{method} {path}");
        }
        for reference in text.split(r##""$ref":"#/components/"##).skip(1) {
            let pointer = format!("/components/{}", reference.split('"').next().unwrap());
            assert!(api.pointer(&pointer).is_some(), "{pointer}");
        }
        let refused = &api["paths"]["/api/v1/session/create"]["post"]["responses"]["429"]["content"];
        assert_eq!(refused["application/problem+json"]["schema"]["$ref"], "#/components/schemas/Problem");
        let unknown = &api["paths"]["/api/v1/session/create"]["post"]["responses"]["401"]["content"];
        assert_eq!(unknown["application/problem+json"]["schema"]["$ref"], "#/components/schemas/Problem");
        for schema in ["Session", "Problem"] {
            let described = &api["components"]["schemas"][schema]["properties"]["identity_error"];
            assert!(described["description"].is_string(), "{schema}: {described}");
        }
        let stream = &api["paths"]["/api/v1/chat/stream/{session_id}"]["get"]["parameters"];
        assert_eq!((&stream[1]["name"], &stream[1]["required"]), (&Value::from("X-Fingerprint"), &Value::from(false)));
        let create = &api["components"]["schemas"]["Create"];
        assert_eq!(create["required"], serde_json::json!(["fingerprint"]));
    }
}
