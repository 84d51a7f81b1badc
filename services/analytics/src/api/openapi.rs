//! The API's description, made from the handlers.

use std::sync::LazyLock;

use axum::{
    http::{HeaderMap, HeaderValue},
    response::Response,
};
use runtime::{asset::Asset, http::RESOURCE_POLICY};
use utoipa::{
    IntoParams, IntoResponses, Modify, OpenApi, ToSchema,
    openapi::security::{Http, HttpAuthScheme, SecurityScheme},
};

use super::{admin, comments, export, figures, sessions};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Frontdesk analytics",
        description = "How a shop's chat is used: figures and sessions, without any text of the chat. What \
                       visitors wrote with a rating is in `comments`, and in the details of a session.\n\nErrors are RFC 9457 problem \
                       documents with a stable `code`. Times go in as RFC 3339 and come out as Unix milliseconds; the \
                       steps of series as Unix seconds. A parameter that a route does not know is refused.",
        license(name = "MIT OR Apache-2.0")
    ),
    paths(
        figures::summary,
        figures::timeseries,
        figures::busy_hours,
        figures::pages,
        figures::outcomes,
        figures::refusals,
        figures::live,
        figures::sites,
        sessions::list,
        sessions::detail,
        sessions::erase,
        sessions::export,
        sessions::export_customer,
        sessions::erase_customer,
        comments::list,
        export::export,
        admin::backup,
        admin::rewrite,
        health,
        live,
        ready,
        metrics,
        document_itself,
    ),
    components(schemas(Problem, export::What, export::Format)),
    modifiers(&Security),
)]
struct Api;

struct Security;

impl Modify for Security {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let token = Http::builder()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("ADMIN_TOKEN, which sees all sites, or one of SITE_TOKENS, which sees its own"))
            .build();
        api.components.get_or_insert_default().add_security_scheme("token", SecurityScheme::Http(token));
    }
}

/// An RFC 9457 problem document.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `problem` writes")]
pub(super) struct Problem {
    #[schema(example = "about:blank")]
    r#type: String,
    #[schema(example = "Invalid request")]
    title: String,
    #[schema(example = 400)]
    status: u16,
    /// Stable and for programs.
    #[schema(example = "invalid_request")]
    code: String,
    /// A sentence for a developer.
    detail: String,
    request_id: String,
    /// With `invalid_request` and `site_unknown`: the parameter.
    field: Option<String>,
    /// With `rate_limited`: `ip`.
    scope: Option<String>,
    /// With `rate_limited`: `minute`.
    limit: Option<String>,
    /// Seconds.
    retry_after: Option<u32>,
}

/// Answers that every route of the API may give.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes what `problem` writes")]
pub(super) enum Refused {
    /// `invalid_request`
    #[response(status = 400, content_type = "application/problem+json")]
    Invalid(Problem),
    /// `unauthorized` or `token_invalid`
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthorized(Problem),
    /// `site_forbidden` or `admin_only`
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(Problem),
    /// `api_disabled`, `site_unknown` or `session_unknown`
    #[response(status = 404, content_type = "application/problem+json")]
    Unknown(Problem),
    /// `rate_limited`: too many wrong tokens
    #[response(status = 429, content_type = "application/problem+json")]
    Limited(Problem),
    /// `overloaded`: too much is being read, or the database is not open
    #[response(status = 503, content_type = "application/problem+json")]
    Overloaded(Problem),
}

/// Answers where a copy of the database can't be made.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes what `problem` writes")]
pub(super) enum NoCopy {
    /// `copy_running`: one at a time
    #[response(status = 409, content_type = "application/problem+json")]
    Running(Problem),
    /// `no_room` on the disk
    #[response(status = 507, content_type = "application/problem+json")]
    NoRoom(Problem),
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes a query")]
pub(super) struct Site {
    /// One site. Left out: all sites, or the token's own.
    #[param(pattern = "^[A-Za-z0-9_-]{1,64}$")]
    site: Option<String>,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a query")]
enum Length {
    #[schema(rename = "15m")]
    M15,
    #[schema(rename = "1h")]
    H1,
    #[schema(rename = "24h")]
    H24,
    #[schema(rename = "7d")]
    D7,
    #[schema(rename = "30d")]
    D30,
    #[schema(rename = "90d")]
    D90,
    #[schema(rename = "365d")]
    D365,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes a query")]
pub(super) struct Within {
    /// The time until now: `15m`, `1h`, `24h`, `7d` (default), `30d`, `90d` or `365d`.
    #[param(inline)]
    range: Option<Length>,
    /// Instead of `range`: the first moment.
    #[param(format = DateTime)]
    from: Option<String>,
    /// With `from`: the first moment behind it; default now. 3653 days after `from` at most.
    #[param(format = DateTime)]
    until: Option<String>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes a query")]
pub(super) struct Steps {
    /// How long a step is; default by the range's length. Minutes are kept for 8 days and hours for 400: a range that
    /// begins before has longer steps, as the answer says. All series together have 10,000 points at most.
    bucket: Option<crate::query::Bucket>,
    /// Metrics, separated by commas: `sessions`, `messages` (the default is these two), `ended`, `cancelled`, `failed`,
    /// `pushed`, `chunks`, `rated_up`, `rated_down`, `refused`, `first_chunk_ms_p50`, `first_chunk_ms_p95`,
    /// `duration_ms_p50`, `duration_ms_p95`.
    #[param(example = "messages,sessions")]
    metric: Option<String>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes a query")]
pub(super) struct Conditions {
    /// Has a reply with this outcome: `ended`, `cancelled`, `failed`, or a failure's code.
    #[param(pattern = "^[a-z_]{1,64}$")]
    outcome: Option<String>,
    /// Of a customer who was signed in, or not.
    identified: Option<bool>,
    /// Began on a page whose path begins so.
    #[param(example = "/shoes", pattern = "^/")]
    page: Option<String>,
    /// `phone`, `tablet`, `desktop` or `other`.
    #[param(pattern = "^(phone|tablet|desktop|other)$")]
    device: Option<String>,
    /// Two capital letters (ISO 3166-1).
    #[param(pattern = "^[A-Z]{2}$")]
    country: Option<String>,
    /// Has a reply rated so: `up` or `down`.
    #[param(pattern = "^(up|down)$")]
    rating: Option<String>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes a query")]
pub(super) struct Rated {
    /// With this rating: `up` or `down`.
    #[param(pattern = "^(up|down)$")]
    rating: Option<String>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes a path")]
pub(super) struct Session {
    /// The session.
    #[param(example = "sess_1767168909_9f86d081884c7d65")]
    id: String,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes a query")]
pub(super) struct CustomerName {
    /// The shop's own word for the customer: the `sub` of an identity token.
    #[param(min_length = 1, max_length = 128)]
    customer: String,
}

/// The receipt of an erasure.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what the store tells")]
pub(super) struct Erased {
    /// Of which shop.
    site: String,
    /// When, Unix ms.
    at: i64,
    /// The sessions of which something was known. Nothing is now.
    sessions: Vec<String>,
    /// What was known to have happened in them.
    happenings: u64,
    /// What was written with ratings in them.
    comments: u64,
    /// Entries of indexes.
    index_entries: u64,
    /// When the file is rewritten at the latest, Unix ms, if there is room for that: then nothing of them is left in its
    /// bytes. None: there was nothing.
    rewritten_by: Option<i64>,
}

/// What a rewrite did.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what the store tells")]
pub(super) struct Rewritten {
    /// When it was over, Unix ms.
    at: i64,
    /// Bytes of the file before it.
    bytes_before: u64,
    /// And after.
    bytes_after: u64,
    /// Rows of all tables.
    rows: u64,
    /// How long writes waited.
    took_ms: u64,
}

/// One word.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what the runtime tells")]
struct Status {
    /// `ok` or `down`.
    status: String,
    /// What is missing, for the operator.
    reason: Option<String>,
}

/// Whether facts are stored.
#[utoipa::path(get, path = "/health", tag = "Service", responses(
    (status = 200, description = "They are", body = Status), (status = 503, description = "They wait", body = Status)))]
#[expect(dead_code, reason = "the route is served by the runtime")]
fn health() {}

/// Whether the process answers.
#[utoipa::path(get, path = "/health/live", tag = "Service", responses(
    (status = 200, description = "It does", body = Status)))]
#[expect(dead_code, reason = "the route is served by the runtime")]
fn live() {}

/// The same as `/health`.
#[utoipa::path(get, path = "/health/ready", tag = "Service", responses(
    (status = 200, description = "They are", body = Status), (status = 503, description = "They wait", body = Status)))]
#[expect(dead_code, reason = "the route is served by the runtime")]
fn ready() {}

/// Metrics for Prometheus, or OpenMetrics by `Accept`.
#[utoipa::path(get, path = "/metrics", tag = "Service", responses(
    (status = 200, description = "The metrics", body = String, content_type = "text/plain"),
    (status = 401, description = "Needs METRICS_TOKEN", body = String, content_type = "text/plain"),
    (status = 403, description = "Not for this caller", body = String, content_type = "text/plain")))]
#[expect(dead_code, reason = "the route is served by the runtime")]
fn metrics() {}

/// This description.
#[utoipa::path(get, path = "/openapi.json", tag = "Service", responses(
    (status = 200, description = "OpenAPI 3.1", body = serde_json::Value, content_type = "application/json")))]
#[expect(dead_code, reason = "describes `document`")]
fn document_itself() {}

/// Made once, when it is first asked for.
static DOCUMENT: LazyLock<Asset> = LazyLock::new(|| {
    let json = Api::openapi().to_json().expect("the description is plain JSON");
    Asset::new(json.into(), "application/json", None)
});

/// `/openapi.json`.
pub(super) async fn document(headers: HeaderMap) -> Response {
    let mut response = DOCUMENT.answer(&headers, false);
    response.headers_mut().insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    response
}

/// The description as a tree.
#[cfg(test)]
pub(super) fn described() -> serde_json::Value {
    serde_json::to_value(Api::openapi()).unwrap()
}
