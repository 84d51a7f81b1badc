//! Settings of the bus. Streams, edges and workers must agree on the first group, so every role has it.

use std::{path::PathBuf, time::Duration};

use bytesize::ByteSize;
use secrecy::SecretString;

/// What every process of a deployment must agree on.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub struct Config {
    /// A message that no worker took within this time ends as `queue_timeout`.
    #[arg(long, env = "QUEUE_TIMEOUT", default_value = "30s", value_parser = some_time)]
    pub queue_timeout: Duration,
    /// How long replies are kept for a visitor who comes back.
    #[arg(long, env = "RESUME_WINDOW", default_value = "15m", value_parser = some_time)]
    pub resume_window: Duration,
    /// Messages that wait in the queue at most; one more is answered 503.
    #[arg(long, env = "QUEUE_MAX_MESSAGES", default_value_t = 10_000)]
    pub queue_max_messages: usize,
    /// Memory for replies that are kept for resume, in the all-in-one mode; the oldest go first.
    #[arg(long, env = "RECORDS_MAX_BYTES", default_value = "256MiB")]
    pub records_max_bytes: ByteSize,
    /// Used proofs of signed requests that are remembered at most, for 150 s each; one more is answered 503.
    #[arg(long, env = "PROOFS_MAX", default_value_t = 500_000)]
    pub proofs_max: usize,
    /// Sessions that were ended by their visitors and are remembered at most; over NATS one more is answered 503.
    #[arg(long, env = "ENDED_MAX", default_value_t = 1_000_000)]
    pub ended_max: usize,
    /// How long the end of a session is remembered over NATS; not shorter than SESSION_MAX_AGE.
    #[arg(long, env = "ENDED_MAX_AGE", default_value = "24h", value_parser = some_time)]
    pub ended_max_age: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            queue_timeout: Duration::from_secs(30),
            resume_window: Duration::from_secs(15 * 60),
            queue_max_messages: 10_000,
            records_max_bytes: ByteSize::mib(256),
            proofs_max: 500_000,
            ended_max: 1_000_000,
            ended_max_age: Duration::from_secs(24 * 3600),
        }
    }
}

/// Where NATS is, and how this role proves who it is: by a password, an NKey, or not at all.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(skip)]
pub struct NatsConfig {
    /// Server(s), comma-separated: nats://host:4222, or tls://host:4222.
    #[arg(long, env = "NATS_URL", default_value = "nats://127.0.0.1:4222")]
    pub nats_url: String,
    /// User of this role.
    #[arg(long, env = "NATS_USER")]
    pub nats_user: Option<String>,
    /// Its password.
    #[arg(long, env = "NATS_PASSWORD", hide_env_values = true)]
    pub nats_password: Option<SecretString>,
    /// In their place: the seed of this role's NKey, as `frontdesk keys --nkey` makes it.
    #[arg(long, env = "NATS_NKEY", hide_env_values = true)]
    pub nats_nkey: Option<SecretString>,
    /// PEM file of the authorities that may have signed the server's certificate; without, those of the system. With
    /// it, or with tls:// in the address, nothing is said without TLS.
    #[arg(long, env = "NATS_TLS_CA")]
    pub nats_tls_ca: Option<PathBuf>,
    /// PEM file of this role's own certificate, where the server asks for one.
    #[arg(long, env = "NATS_TLS_CERT")]
    pub nats_tls_cert: Option<PathBuf>,
    /// PEM file of that certificate's key.
    #[arg(long, env = "NATS_TLS_KEY")]
    pub nats_tls_key: Option<PathBuf>,
}

fn some_time(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("must be more than zero".to_owned()),
        Ok(time) => Ok(time),
        Err(_) => Err("write a duration such as 30s, 10m or 24h".to_owned()),
    }
}
