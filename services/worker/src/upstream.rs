//! One n8n webhook for each site, and what a worker counts and knows of it.

use std::{collections::HashMap, ops::Index};

use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use protocol::SiteId;
use tokio::sync::Notify;

use crate::{
    Config, Error,
    admission::Share,
    breaker::Breaker,
    metrics::Metrics,
    n8n::{self, executions, executions::Executions},
};

/// The upstream of one site. What is shared by all messages of a site in this worker lives here.
pub(crate) struct Upstream {
    pub(crate) id: SiteId,
    /// Before the client.
    pub(crate) breaker: Breaker,
    pub(crate) client: n8n::Client,
    /// Where executions can be stopped.
    pub(crate) executions: Option<Executions>,
    /// What the site may take of this worker.
    pub(crate) share: Share,
    pub(crate) running: Gauge,
    pub(crate) waiting: Gauge,
    pub(crate) refused: Counter,
    pub(crate) timed_out: Counter,
}

/// All upstreams of a worker, by number and by site.
pub(crate) struct Upstreams {
    all: Vec<Upstream>,
    by_site: HashMap<SiteId, usize>,
    changed: Notify,
}

impl Upstreams {
    /// Those of the settings. Fails where one of them can't be called with its settings.
    pub(crate) fn new(config: &Config, metrics: &Metrics) -> Result<Self, Error> {
        let secret = config.session_secret_key.as_ref().ok_or(Error::NoSecret)?;
        let sites = config.sites()?;
        let http = executions::client().map_err(n8n::Error::Http)?;
        let several = sites.len() > 1;
        let (mut all, mut by_site) = (Vec::new(), HashMap::new());
        for site in sites {
            let of = metrics.site(&site.id);
            metrics.circuit_refused.get_or_create(&of).inc_by(0);
            metrics.circuit_given_back.get_or_create(&of).inc_by(0);
            let running = match site.concurrency {
                0 if several => config.worker_concurrency.div_ceil(2),
                0 => config.worker_concurrency,
                some => some.min(config.worker_concurrency),
            };
            let upstream = Upstream {
                id: site.id.clone(),
                breaker: Breaker::new(&config.breaker, metrics.follow_circuit(&site.id)),
                client: n8n::Client::new(&site.n8n, secret)?,
                executions: executions(&site.n8n, &http)?,
                share: Share { running: running as usize, waiting: site.queue as usize },
                running: metrics.site_running.get_or_create_owned(&of),
                waiting: metrics.site_waiting.get_or_create_owned(&of),
                refused: metrics.site_refused.get_or_create_owned(&of),
                timed_out: metrics.site_timed_out.get_or_create_owned(&of),
            };
            by_site.insert(site.id, all.len());
            all.push(upstream);
        }
        Ok(Self { all, by_site, changed: Notify::new() })
    }

    /// The number of a site.
    pub(crate) fn find(&self, site: &SiteId) -> Option<usize> {
        self.by_site.get(site).copied()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Upstream> {
        self.all.iter()
    }

    /// How n8n is, in the words of `/health`: `ok` if it is for any site.
    pub(crate) fn word(&self) -> &'static str {
        let words = || self.all.iter().map(|upstream| upstream.breaker.word());
        if words().any(|word| word == "ok") { "ok" } else { words().next().unwrap_or("unknown") }
    }

    /// Follows a site's circuit: see [`changed`](Self::changed).
    pub(crate) async fn follow(&self, site: usize) {
        let breaker = &self.all[site].breaker;
        let mut circuit = breaker.circuit();
        loop {
            circuit = breaker.changed(circuit).await;
            self.changed.notify_one();
        }
    }

    /// Waits until a circuit has changed. Cancel-safe.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}

fn executions(config: &n8n::Config, http: &reqwest::Client) -> Result<Option<Executions>, n8n::Error> {
    match (&config.api_url, &config.api_token) {
        (Some(url), Some(token)) => {
            Executions::new(http.clone(), url.clone(), token).map(Some).ok_or(n8n::Error::Token)
        }
        (None, None) => Ok(None),
        _ => Err(n8n::Error::HalfAnApi),
    }
}

impl Index<usize> for Upstreams {
    type Output = Upstream;

    fn index(&self, site: usize) -> &Upstream {
        &self.all[site]
    }
}
