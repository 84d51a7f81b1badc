//! Settings of the listener: what a connection may do, and TLS.

use std::{path::PathBuf, time::Duration};

use runtime::{
    settings::{bytes, some_time},
    tls::{self, Tls},
};

/// See the module.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub struct Listener {
    /// Request headers must have arrived after this long.
    #[arg(long, env = "HEADER_TIMEOUT", default_value = "10s", value_parser = some_time)]
    pub header_timeout: Duration,
    /// Largest request head.
    #[arg(long, env = "HEADER_MAX_BYTES", default_value = "16KiB", value_parser = bytes)]
    pub header_max_bytes: usize,
    /// Most request headers.
    #[arg(long, env = "HEADER_MAX_COUNT", default_value = "64", value_parser = count)]
    pub header_max_count: usize,
    /// Longest path and query of a request.
    #[arg(long, env = "URL_MAX_BYTES", default_value = "8KiB", value_parser = bytes)]
    pub url_max_bytes: usize,
    /// A connection on which nothing is asked is kept open for this long; longer than a proxy before the edge keeps it.
    #[arg(long, env = "KEEP_ALIVE_TIMEOUT", default_value = "75s", value_parser = some_time)]
    pub keep_alive_timeout: Duration,
    /// A client that takes nothing of what is sent to it for this long is cut off.
    #[arg(long, env = "SEND_TIMEOUT", default_value = "30s", value_parser = some_time)]
    pub send_timeout: Duration,
    /// Connections at once; one more is answered 503.
    #[arg(long, env = "MAX_CONNECTIONS", default_value_t = 20_000)]
    pub max_connections: usize,
    /// Connections at once of an address (IPv6: of a /64) that is neither a trusted proxy nor 127.0.0.1 or ::1; one
    /// more is answered 429; 0 = no limit.
    #[arg(long, env = "MAX_CONNECTIONS_PER_IP", default_value_t = 256)]
    pub max_connections_per_ip: usize,

    /// The certificate chain, a PEM file: with it, the edge itself speaks TLS. A renewed file is taken into use without
    /// a restart.
    #[arg(long, env = "TLS_CERT", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key, a PEM file.
    #[arg(long, env = "TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
}

impl Listener {
    /// Whether the edge itself speaks TLS.
    pub fn is_tls(&self) -> bool {
        self.tls_cert.is_some()
    }

    /// Reads certificate and key, where there are any.
    pub fn load_tls(&self) -> Result<Option<Tls>, tls::Error> {
        self.tls_cert.as_deref().zip(self.tls_key.as_deref()).map(|(cert, key)| Tls::load(cert, key)).transpose()
    }
}

/// hyper allocates for this many at once.
fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=1024) => Ok(count),
        _ => Err("write a number from 1 to 1024".to_owned()),
    }
}
