//! Settings of analytics.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// The file of an analytics process that was given none, in the folder in which it was started.
const DEFAULT_DB: &str = "frontdesk-analytics.redb";

/// Where analytics keeps what it learns, and where it can be asked how it is.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub struct Config {
    /// The database file; one process at a time has it open. Without this setting `frontdesk analytics` uses
    /// frontdesk-analytics.redb in the current folder, and the all-in-one mode forgets everything when it stops.
    #[arg(long, env = "ANALYTICS_DB_PATH")]
    pub analytics_db_path: Option<PathBuf>,
    /// Where health and metrics of analytics are served.
    #[arg(long, env = "ANALYTICS_ADDR", default_value = "127.0.0.1:8002")]
    pub analytics_addr: SocketAddr,
    /// Callers of each limit whose counts are kept in the file, about, in 20 bytes each, so that a restart forgets nobody
    /// who is limited; 0 = none are kept. The most that all edges together remember is LIMITS_MAX_KEYS.
    #[arg(long, env = "ANALYTICS_LIMITS_MAX_KEYS", default_value_t = 100_000,
        value_parser = clap::value_parser!(u32).range(0..=10_000_000))]
    pub analytics_limits_max_keys: u32,
}

impl Config {
    /// These settings with a file in any case: what a process with no other role wants.
    #[must_use]
    pub fn on_disk(self) -> Self {
        let path = self.analytics_db_path.unwrap_or_else(|| Path::new(DEFAULT_DB).to_owned());
        Self { analytics_db_path: Some(path), ..self }
    }

    /// Callers of each limit that are kept; none without a file, where they would be gone with the edge.
    pub(crate) fn limits_max_keys(&self) -> usize {
        let most = self.analytics_db_path.as_ref().map_or(0, |_| self.analytics_limits_max_keys);
        usize::try_from(most).unwrap_or(usize::MAX)
    }
}
