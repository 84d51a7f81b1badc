//! Visitors to bus: HTTP, server-sent events, limits.
//!
//! - `config`: the settings.
//! - `routes`: every route; `request`: what happens around each; `cors`: which pages may call.
//! - `session`, `visitor`, `token`, `proof`: sessions, who calls, and what proves it; `ended`: sessions that are over.
//! - `chat`: messages and streams; `clean`: what a visitor's text becomes.
//! - `limits`: how much of it; `body`: how large; `bots`: whether it looks like a program's, or like spam.
//! - `problem`: what can go wrong for a caller.
//! - `site`: shops; `assets`: the widget's files.
//! - `health`, `metrics`, `openapi`: for operators and developers.

mod assets;
mod body;
mod bots;
mod chat;
mod clean;
mod config;
mod cors;
mod ended;
mod health;
mod hub;
mod limits;
mod metrics;
mod openapi;
mod problem;
mod proof;
mod request;
mod routes;
mod session;
mod site;
mod sse;
mod state;
mod stream;
#[cfg(test)]
mod tests;
mod time;
mod token;
mod visitor;

use std::time::Duration;

use bus::Bus;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use config::{BotConfig, BotRules, Captcha, Config, Networks, OnBusy, Origins, Proofs, RequestSignatures};
pub use site::OriginRule;
/// For the bench.
#[doc(hidden)]
pub use sse::chunk as encode_chunk;

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
}

impl Config {
    /// Whether an edge can start with these settings.
    pub fn check(&self) -> Result<(), Error> {
        let keys = self.bots.captcha_site_key.is_some() && self.bots.captcha_secret_key.is_some();
        match self.jwt_secret_key {
            None => Err(Error::NoSecret),
            Some(_) if self.bots.captcha != Captcha::Off && !keys => Err(Error::NoCaptchaKeys),
            Some(_) => Ok(()),
        }
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
    let state = state::State::new(config, bus, queue_timeout, process, stop.clone())?;
    let hubs = state.hubs.clone();
    let cut = runtime::http::serve(listener, routes::router(state), limits, stop).await;
    if cut > 0 {
        tracing::warn!(connections = cut, "cut connections that did not finish in time");
    }
    hubs.close(drain / 4).await;
    Ok(())
}
