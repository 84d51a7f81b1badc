//! How n8n is called: the settings.

use std::time::Duration;

use reqwest::header::{self, HeaderName};
use runtime::{Secret, secret, settings};
use url::Url;

/// How the worker talks to n8n.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub struct Config {
    /// The webhook of your workflow, for example `https://n8n.example/webhook/shop-chat`.
    #[arg(
        id = "n8n_webhook_url",
        long = "n8n-webhook-url",
        env = "N8N_WEBHOOK_URL",
        value_parser = secret::Hidden(webhook_url),
        hide_env_values = true
    )]
    pub webhook_url: Option<Url>,
    /// The key that the webhook's Header Auth wants.
    #[arg(
        id = "n8n_api_key",
        long = "n8n-api-key",
        env = "N8N_API_KEY",
        value_parser = secret::Hidden(secret::any),
        hide_env_values = true
    )]
    pub api_key: Option<Secret>,
    /// The header that carries the key.
    #[arg(
        id = "n8n_api_key_header",
        long = "n8n-api-key-header",
        env = "N8N_API_KEY_HEADER",
        default_value = "X-API-Key",
        value_parser = key_header
    )]
    pub api_key_header: HeaderName,
    /// Give up connecting to n8n after this long.
    #[arg(
        id = "n8n_connect_timeout",
        long = "n8n-connect-timeout",
        env = "N8N_CONNECT_TIMEOUT",
        default_value = "5s",
        value_parser = settings::some_time
    )]
    pub connect_timeout: Duration,
    /// Give up when the first text hasn't come after this long, tries to connect included.
    #[arg(
        id = "n8n_first_token_timeout",
        long = "n8n-first-token-timeout",
        env = "N8N_FIRST_TOKEN_TIMEOUT",
        default_value = "60s",
        value_parser = settings::some_time
    )]
    pub first_token_timeout: Duration,
    /// Give up when n8n falls silent for this long in the middle of an answer. Its keepalive (every 30s) counts as
    /// life.
    #[arg(
        id = "n8n_idle_timeout",
        long = "n8n-idle-timeout",
        env = "N8N_IDLE_TIMEOUT",
        default_value = "45s",
        value_parser = settings::some_time
    )]
    pub idle_timeout: Duration,
    /// The same once n8n has told of an error: a workflow over its time limit leaves the connection open for ever.
    #[arg(
        id = "n8n_error_idle_timeout",
        long = "n8n-error-idle-timeout",
        env = "N8N_ERROR_IDLE_TIMEOUT",
        default_value = "5s",
        value_parser = settings::some_time
    )]
    pub error_idle_timeout: Duration,
    /// Give up on an answer that is still going on after this long.
    #[arg(
        id = "n8n_total_timeout",
        long = "n8n-total-timeout",
        env = "N8N_TOTAL_TIMEOUT",
        default_value = "10m",
        value_parser = settings::some_time
    )]
    pub total_timeout: Duration,
    /// The longest reply.
    #[arg(long = "reply-max-bytes", env = "REPLY_MAX_BYTES", default_value = "1MiB", value_parser = settings::bytes)]
    pub reply_max_bytes: usize,
    /// How long the visitor's token in a request (jwt_token) is good.
    #[arg(
        id = "n8n_token_ttl",
        long = "n8n-token-ttl",
        env = "N8N_TOKEN_TTL",
        default_value = "60s",
        value_parser = settings::some_time
    )]
    pub token_ttl: Duration,
    /// How often to try again when n8n can't be reached or is not ready.
    #[arg(
        id = "n8n_connect_retries",
        value_name = "N8N_CONNECT_RETRIES",
        long = "n8n-connect-retries",
        env = "N8N_CONNECT_RETRIES",
        default_value_t = 2
    )]
    pub connect_retries: u32,
    /// The longest wait before the first such try; each further one is four times as long. Up to half of it is taken
    /// off at random.
    #[arg(
        id = "n8n_retry_backoff",
        long = "n8n-retry-backoff",
        env = "N8N_RETRY_BACKOFF",
        default_value = "250ms",
        value_parser = settings::some_time
    )]
    pub retry_backoff: Duration,
    /// Percent of calls that may be tried again, for all replies of this process together.
    #[arg(
        id = "n8n_retry_budget",
        value_name = "N8N_RETRY_BUDGET",
        long = "n8n-retry-budget",
        env = "N8N_RETRY_BUDGET",
        default_value_t = 20,
        value_parser = clap::value_parser!(u8).range(0..=100)
    )]
    pub retry_budget: u8,
    /// Tries a second that are allowed besides.
    #[arg(
        id = "n8n_retry_floor",
        value_name = "N8N_RETRY_FLOOR",
        long = "n8n-retry-floor",
        env = "N8N_RETRY_FLOOR",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(0..=10_000)
    )]
    pub retry_floor: u32,
}

fn webhook_url(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|_| "write a URL such as https://n8n.example/webhook/shop-chat".to_owned())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("must begin with http:// or https://".to_owned());
    }
    // They would become an Authorization header, which n8n's own authentication may take for something else.
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must have no user name or password; n8n's key goes into N8N_API_KEY".to_owned());
    }
    Ok(url)
}

/// Headers that a request has anyway; the key in one of them would break it.
const TAKEN: [HeaderName; 8] = [
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::HOST,
    header::TRANSFER_ENCODING,
    header::USER_AGENT,
];
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

fn key_header(text: &str) -> Result<HeaderName, String> {
    let name: HeaderName = text.parse().map_err(|_| "write a header's name such as X-API-Key".to_owned())?;
    if TAKEN.contains(&name) || name == IDEMPOTENCY_KEY || name == TRACEPARENT {
        return Err(format!("{name} has another meaning in the request"));
    }
    Ok(name)
}
