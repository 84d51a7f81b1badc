//! Settings of a worker.

mod sites;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use runtime::{Secret, secret, settings};

use crate::{breaker, n8n};

pub use sites::Site;

/// How a worker works.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub struct Config {
    /// How n8n is called.
    #[command(flatten)]
    pub n8n: n8n::Config,
    /// When it isn't called for a while.
    #[command(flatten)]
    pub breaker: breaker::Config,
    /// Signs the visitor's token for n8n (jwt_token). Only workers and n8n hold it.
    #[arg(long, env = "SESSION_SECRET_KEY", value_parser = secret::Hidden(secret::strong), hide_env_values = true)]
    pub session_secret_key: Option<Secret>,
    /// More sites, or other settings of the site `default`: a JSON list, see docs/sites.md.
    #[arg(long, env = "N8N_SITES_FILE")]
    pub n8n_sites_file: Option<PathBuf>,
    /// Replies that run at once in this process; more messages wait, or go to another worker.
    #[arg(long, env = "WORKER_CONCURRENCY", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub worker_concurrency: u32,
    /// Replies of one site that run at once in this process. 0: all of `WORKER_CONCURRENCY` where there is one site,
    /// half of it where there are several.
    #[arg(long, env = "SITE_CONCURRENCY", default_value_t = 0)]
    pub site_concurrency: u32,
    /// Messages of one site that wait in this process, for up to `QUEUE_TIMEOUT`; one more fails at once.
    #[arg(long, env = "SITE_QUEUE", default_value_t = 256)]
    pub site_queue: u32,
    /// How long a reply waits for text that its workflow sends late, by `reply_url`, once n8n's own answer broke off:
    /// the connection was cut, a gateway lost patience, or n8n only said that the workflow runs. 0s: it fails at once.
    #[arg(long, env = "LATE_REPLY_TTL", default_value = "0s", value_parser = settings::duration)]
    pub late_reply_ttl: Duration,
    /// Sites with a label of their own in the worker's metrics; all others share the label `other`.
    #[arg(long, env = "METRICS_SITES", default_value_t = 100)]
    pub metrics_sites: u32,
    /// Where health and metrics of the worker are served.
    #[arg(long, env = "WORKER_ADDR", default_value = "127.0.0.1:8001")]
    pub worker_addr: SocketAddr,
    /// After SIGTERM running replies get this long to finish; then they end as `interrupted`.
    #[arg(id = "worker_drain_timeout", value_name = "DRAIN_TIMEOUT", long = "worker-drain-timeout", env = "DRAIN_TIMEOUT", default_value = "20s", value_parser = settings::duration)]
    pub drain_timeout: Duration,
}
