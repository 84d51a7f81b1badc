//! What every handler shares.

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{extract::FromRequestParts, http::request::Parts};
use bus::Bus;
use hmac::Hmac;
use protocol::Fact;
use sha2::Sha256;
use tokio::sync::Mutex;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;

use crate::{
    Config, Error,
    assets::Assets,
    bots::Bots,
    config::Captcha,
    ended::Ended,
    health::{Checks, Upstream},
    hub::Hubs,
    identity, late,
    limits::Limits,
    metrics::{self, Metrics},
    refusals::Refusals,
    site::Sites,
    token::Tokens,
    widget::Configs,
};

/// Cheap to clone. A handler that names it as an argument gets it.
#[derive(Clone)]
pub(crate) struct State {
    pub(crate) config: Arc<Config>,
    pub(crate) bus: Bus,
    pub(crate) hubs: Arc<Hubs>,
    pub(crate) ended: Arc<Ended>,
    pub(crate) sites: Arc<Sites>,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) identity: Arc<identity::Verifier>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) bots: Arc<Bots>,
    pub(crate) assets: Arc<Assets>,
    /// The beginning of each `reply_url`; without it there are none.
    pub(crate) reply_base: Option<Arc<Url>>,
    pub(crate) late_ids: Hmac<Sha256>,
    pub(crate) metrics: Arc<Metrics>,
    /// The whole process's, for its scrape.
    pub(crate) process: runtime::metrics::Metrics,
    /// What goes on when its client has left.
    pub(crate) tasks: TaskTracker,
    /// Cancelled when the edge takes no new work.
    pub(crate) draining: CancellationToken,
    pub(crate) started: Instant,
    checked: Arc<Mutex<Option<Asked>>>,
}

/// When the bus was asked, and how long it took to answer, in milliseconds.
type Asked = (Instant, Option<f64>);

/// See [`State::checks`].
const CHECK_EVERY: Duration = Duration::from_millis(250);

impl State {
    pub(crate) fn new(
        config: Config,
        reply_base: Option<Url>,
        bus: Bus,
        queue_timeout: Duration,
        process: runtime::metrics::Metrics,
        draining: CancellationToken,
    ) -> Result<Self, Error> {
        let secret = config.jwt_secret_key.clone().ok_or(Error::NoSecret)?;
        let sites = Sites::new(&config)?;
        let metrics = Arc::new(Metrics::new(&process));
        let ended = Arc::new(Ended::new(config.session_max_age));
        let limits = Limits::new(&config.limits, &secret, Arc::clone(&metrics));
        let limits = Arc::new(limits.with_sites(&sites, &config.limits));
        let bots = Arc::new(Bots::new(&config, &secret, bus.clone())?);
        metrics::watch(&process, &limits, &bots, &ended);
        Ok(Self {
            bots,
            hubs: Arc::new(Hubs::new(bus.clone(), queue_timeout, Arc::clone(&metrics), Arc::clone(&ended))),
            ended,
            bus,
            metrics,
            tokens: Arc::new(Tokens::new(&config, &secret)),
            identity: Arc::new(identity::Verifier::new(&config)?),
            limits,
            reply_base: reply_base.map(Arc::new),
            late_ids: late::ids(&secret),
            refusals: Arc::new(Refusals::new(&sites)),
            assets: Arc::new(Assets::new(
                &sites,
                &Configs::read(config.widget_config_dir.as_deref(), &sites)?,
                config.bots.captcha == Captcha::Off,
                config.demo,
            )),
            sites: Arc::new(sites),
            config: Arc::new(config),
            process,
            tasks: TaskTracker::new(),
            draining,
            started: Instant::now(),
            checked: Arc::default(),
        })
    }

    /// Tells a fact to analytics.
    pub(crate) fn tell(&self, fact: Fact) {
        self.bus.tell(fact);
    }

    /// How the edge's surroundings are. Anybody may ask, and the bus is asked at most every [`CHECK_EVERY`].
    pub(crate) async fn checks(&self) -> Checks {
        let mut checked = self.checked.lock().await;
        let fresh = checked.filter(|(at, _)| at.elapsed() < CHECK_EVERY);
        let bus = match fresh {
            Some((_, bus)) => bus,
            None => {
                let bus = self.bus.ping().await.ok().map(|took| took.as_secs_f64() * 1000.0);
                *checked = Some((Instant::now(), bus));
                bus
            }
        };
        drop(checked);
        let presence = self.bus.presence();
        let n8n = presence.workers.iter().map(|worker| Upstream::of(&worker.n8n)).min().unwrap_or_default();
        Checks {
            bus,
            workers: u32::try_from(presence.workers.len()).unwrap_or(u32::MAX),
            n8n,
            analytics: presence.analytics,
        }
    }
}

impl FromRequestParts<State> for State {
    type Rejection = Infallible;

    async fn from_request_parts(_: &mut Parts, state: &State) -> Result<Self, Infallible> {
        Ok(state.clone())
    }
}
