//! Visitors to bus: HTTP, server-sent events, limits.
//!
//! - `config`: the settings.
//! - `routes`: every route; `request`: what happens around each; `cors`: which pages may call.
//! - `session`, `visitor`, `token`, `proof`: sessions, who calls, and what proves it; `ended`: sessions that are over.
//! - `identity`: which customer a visitor is, by the word of the shop's server.
//! - `chat`: messages and streams; `handoff`: on to the workers; `clean`: what a visitor's text becomes; `feedback`: what
//!   a reply was worth; `turn`: how a trace tells of a reply.
//! - `outbound`: the edge's own calls.
//! - `keyed`: keys that are derived from the one secret.
//! - `limits`: how much of it; `body`: how large; `bots`: whether it looks like a program's, or like spam.
//! - `device`, `refusals`: what analytics learns of browsers, and of calls that were refused.
//! - `problem`: what can go wrong for a caller.
//! - `site`: shops; `widget`: how the chat is on each; `assets`: the widget's files.
//! - `health`, `metrics`, `openapi`: for operators and developers; `shop`: a made-up shop to try a deployment out.

mod assets;
mod body;
mod bots;
mod chat;
mod clean;
mod config;
mod cors;
mod device;
mod ended;
mod feedback;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
mod handoff;
mod health;
mod hub;
mod identity;
mod keyed;
mod late;
mod limits;
mod metrics;
mod openapi;
mod outbound;
mod problem;
mod proof;
mod refusals;
mod request;
mod routes;
mod session;
pub mod shop;
mod site;
mod sse;
mod state;
mod stream;
#[cfg(test)]
mod tests;
mod time;
mod token;
mod turn;
#[cfg(test)]
mod unprinted;
mod visitor;
pub mod widget;

use std::time::Duration;

use bus::Bus;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use config::public_url;
pub use config::{
    BotConfig, BotRules, Captcha, ClaimNames, Config, Identity, IdentityMode, JwksSource, LateReplies, LimitSettings,
    LimitsMode, Listener, Networks, OnBusy, Origins, Proofs, RequestSignatures,
};
pub use site::OriginRule;
/// For the bench.
#[doc(hidden)]
pub use sse::chunk as encode_chunk;
pub use url::Url;

/// Why an edge can't start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Sessions can't be signed.
    #[error("JWT_SECRET_KEY is not set; make one with `frontdesk keys`")]
    NoSecret,
    /// A captcha is chosen, and can't be shown or verified.
    #[error("CAPTCHA needs CAPTCHA_SITE_KEY and CAPTCHA_SECRET_KEY")]
    NoCaptchaKeys,
    /// The captcha's provider can't be called.
    #[error("there is no HTTP client for CAPTCHA")]
    Http(#[source] reqwest::Error),
    /// The file of sites can't be used.
    #[error("SITES_FILE can't be used")]
    Sites(#[from] runtime::sites::Error),
    /// The widget of a site can't be as somebody wants it.
    #[error("WIDGET_CONFIG_DIR can't be used")]
    Widget(#[from] widget::Error),
    /// Nobody could vouch for a customer.
    #[error("IDENTITY=required needs IDENTITY_SECRET or IDENTITY_JWKS")]
    NoIdentityKeys,
    /// The shop could make session tokens.
    #[error("IDENTITY_SECRET must be another one than JWT_SECRET_KEY; make one with `frontdesk keys`")]
    IdentitySecret,
    /// The shop's public keys are in a file that is not there or no good, or the HTTP client for them can't be set up.
    #[error("IDENTITY_JWKS can't be used")]
    IdentityKeys(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The socket is not one that listens.
    #[error("the listener has no address")]
    Listener(#[source] std::io::Error),
    /// There can be no TLS.
    #[error("TLS_CERT and TLS_KEY: {0}")]
    Tls(#[from] runtime::tls::Error),
}

impl Config {
    /// Whether an edge can start with these settings.
    pub fn check(&self) -> Result<(), Error> {
        let keys = self.bots.captcha_site_key.is_some() && self.bots.captcha_secret_key.is_some();
        if self.jwt_secret_key.is_none() {
            return Err(Error::NoSecret);
        }
        if self.bots.captcha != Captcha::Off && !keys {
            return Err(Error::NoCaptchaKeys);
        }
        let sites = site::Sites::new(self)?;
        widget::Configs::read(self.widget_config_dir.as_deref(), &sites)?;
        self.listener.load_tls()?;
        identity::Verifier::new(self).map(drop)
    }
}

/// Serves visitors on `listener` until `stop`, then drains: session streams end at once (browsers come back at another
/// edge), replies that stream get [`Config::drain_timeout`].
pub async fn run(
    config: Config,
    listener: TcpListener,
    bus: Bus,
    queue_timeout: Duration,
    process: runtime::metrics::Metrics,
    stop: CancellationToken,
) -> Result<(), Error> {
    let limits = config.listener_limits();
    let drain = limits.drain;
    let counts = runtime::http::Counts::default();
    counts.register(&process);
    let server = runtime::http::Server { limits, tls: config.listener.load_tls()?, counts };
    let listening = listener.local_addr().map_err(Error::Listener)?;
    let reply_base = config.late.base(config.public_url.as_ref(), listening, config.listener.is_tls());
    if reply_base.is_none() {
        tracing::info!("workflows get no reply_url: set REPLY_URL_BASE or PUBLIC_URL");
    }
    let state = state::State::new(config, reply_base, bus, queue_timeout, process, stop.clone())?;
    let (hubs, identity, metrics) = (state.hubs.clone(), state.identity.clone(), state.metrics.clone());
    identity.prepare(&metrics).await;
    let (tasks, served) = (state.tasks.clone(), CancellationToken::new());
    tasks.spawn(limits::share(state.limits.clone(), state.bus.clone(), served.clone()));
    tasks.spawn(refusals::tell(state.refusals.clone(), state.bus.clone(), served.clone()));
    // Who was limited before a restart must not get in while that is being asked. It takes a second at most.
    if state.bus.connected() {
        stop.run_until_cancelled(state.limits.settled()).await;
    }
    let serve = server.run(listener, routes::router(state), stop.clone());
    let (cut, ()) = tokio::join!(serve, identity.keep_fresh(&metrics, &stop));
    if cut > 0 {
        tracing::warn!(connections = cut, "cut connections that did not finish in time");
    }
    served.cancel();
    tasks.close();
    // Messages that were being handed on when their clients left need the bus for a moment more.
    tokio::join!(hubs.close(drain / 4), tokio::time::timeout(drain / 4, tasks.wait())).1.ok();
    Ok(())
}
