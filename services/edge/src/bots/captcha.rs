//! Asks the provider of a captcha whether an answer is a person's. Turnstile and hCaptcha speak alike: a form with the
//! secret and the answer, and JSON with `success`.
//!
//! The call is made for clients who have done a proof of work just before, so that nobody makes us call at will. A
//! provider that can't be asked is no reason to refuse; one that finds fault with what it is sent is.

use std::time::Duration;

use axum::http::{StatusCode, header};
use runtime::Secret;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use url::{Url, form_urlencoded};

use crate::{
    Error,
    config::{BotConfig, Captcha as Provider},
    outbound,
};

/// For everything, the wait for a free place too. A person waits for it.
const PATIENCE: Duration = Duration::from_secs(3);
/// Calls at once.
const CALLS: usize = 16;
/// Longest answer of a client that is passed on, in bytes. Turnstile documents this one.
const MAX_TURNSTILE: usize = 2048;
/// hCaptcha documents none; its answers have some 2 KiB.
const MAX_HCAPTCHA: usize = 8 * 1024;
/// Longest document of the provider that is read.
const MAX_DOCUMENT: usize = 16 * 1024;

/// One provider, and how to ask it.
pub(super) struct Captcha {
    provider: Provider,
    site_key: String,
    secret: Secret,
    url: Url,
    http: reqwest::Client,
    places: Semaphore,
}

/// What the provider said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Person,
    Nobody,
    /// Nothing that can be used, or not in time.
    Away,
}

#[derive(Deserialize)]
struct Document {
    success: bool,
}

impl Captcha {
    /// `None` when it is off.
    pub(super) fn new(config: &BotConfig) -> Result<Option<Self>, Error> {
        if config.captcha == Provider::Off {
            return Ok(None);
        }
        let (Some(site_key), Some(secret)) = (config.captcha_site_key.clone(), config.captcha_secret_key.clone())
        else {
            return Err(Error::NoCaptchaKeys);
        };
        let default = || Url::parse(config.captcha.verify_url()).expect("it is a good address");
        let http = outbound::client(PATIENCE, CALLS).map_err(Error::Http)?;
        Ok(Some(Self {
            provider: config.captcha,
            site_key,
            secret,
            url: config.captcha_verify_url.clone().unwrap_or_else(default),
            http,
            places: Semaphore::new(CALLS),
        }))
    }

    /// The challenge, as it stands in a problem document.
    pub(super) fn describe(&self) -> Value {
        json!({"type": self.provider.as_str(), "site_key": self.site_key})
    }

    /// The token of `<provider>:<token>`.
    pub(super) fn token<'a>(&self, answer: &'a str) -> Option<&'a str> {
        answer.strip_prefix(self.provider.as_str())?.strip_prefix(':')
    }

    pub(super) async fn verify(&self, token: &str) -> Told {
        let max = if self.provider == Provider::Turnstile { MAX_TURNSTILE } else { MAX_HCAPTCHA };
        if token.is_empty() || token.len() > max {
            return Told::Nobody;
        }
        match tokio::time::timeout(PATIENCE, self.ask(token)).await {
            Ok(Some(true)) => Told::Person,
            Ok(Some(false)) => Told::Nobody,
            Ok(None) | Err(_) => Told::Away,
        }
    }

    async fn ask(&self, token: &str) -> Option<bool> {
        let _place = self.places.acquire().await.ok()?;
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("secret", self.secret.expose())
            .append_pair("response", token)
            .append_pair("sitekey", &self.site_key)
            .finish();
        let request = self.http.post(self.url.clone());
        let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(form);
        let answer = async {
            let response = request.send().await?;
            // Not ours to say: whoever stands before the provider may refuse what a client made up.
            if response.status().is_client_error() && response.status() != StatusCode::TOO_MANY_REQUESTS {
                tracing::warn!(status = response.status().as_u16(), "the captcha's provider refused an answer");
                return Ok(Some(false));
            }
            let document = outbound::body(response.error_for_status()?, MAX_DOCUMENT).await?;
            let document = document.and_then(|document| serde_json::from_slice::<Document>(&document).ok());
            Ok(document.map(|document| document.success))
        };
        // Without its address: the error would name it, and it may hold a key.
        let said = answer.await.map_err(reqwest::Error::without_url);
        said.inspect_err(|error| tracing::warn!(%error, "the captcha's provider can't be asked")).ok()?
    }
}
