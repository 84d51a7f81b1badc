//! Which customer a visitor is: a token that the shop's own server signed, shown when a session is created.
//!
//! - HS256 with `IDENTITY_SECRET`, or ES256 and EdDSA with a key of `IDENTITY_JWKS`. The kind of key decides the
//!   algorithm; what a header says is only compared, and keys or addresses in it (`jwk`, `jku`, `x5c`) are never used.
//! - The rules are those of RFC 7519 and RFC 8725: `aud` names the site, `exp` is at most ten minutes away, no claim
//!   stands there twice. There is no list of tokens that were used: within its minutes a token can be shown again.
//! - The identity goes into the session's token, and by it into n8n's. Nothing is kept here.

mod claims;
mod jwks;
mod keys;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use protocol::SiteId;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Map, Value, value::RawValue};
use tokio_util::sync::CancellationToken;

use self::{
    claims::{Claims, is_text, pick},
    jwks::Jwks,
    keys::KeySet,
};
use crate::{
    Error,
    config::{Config, IdentityMode},
    metrics::{IdentityToken, Metrics},
    problem::ApiError,
};

/// Longest token that is looked at.
const MAX_BYTES: usize = 4096;
/// A token is for the moment in which the page is shown. Seconds.
const MAX_LIFETIME: f64 = 600.0;
/// How far the shop's clock may be ahead. Seconds.
const LEEWAY: f64 = 30.0;

/// Why a token tells nobody's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    NotConfigured,
    Invalid,
    Expired,
    NotYetValid,
    TooLongLived,
    WrongAudience,
    UnknownKey,
}

impl Refused {
    /// As in `identity_error`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::NotConfigured => "not_configured",
            Self::Invalid => "invalid",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::TooLongLived => "too_long_lived",
            Self::WrongAudience => "wrong_audience",
            Self::UnknownKey => "unknown_key",
        }
    }

    /// For the shop's developer.
    pub(crate) fn sentence(self) -> &'static str {
        match self {
            Self::NotConfigured => "No identity tokens are taken here.",
            Self::Invalid => "The identity token is damaged, or not signed as it must be.",
            Self::Expired => "The identity token has expired.",
            Self::NotYetValid => "The identity token's `nbf` or `iat` lies ahead; compare the clocks.",
            Self::TooLongLived => "The identity token must expire within ten minutes.",
            Self::WrongAudience => "The identity token's `aud` is not this site.",
            Self::UnknownKey => "The identity token's key is not in the shop's key set, or not in it yet.",
        }
    }

    /// Whether a clock may be to blame.
    pub(crate) fn about_time(self) -> bool {
        matches!(self, Self::Expired | Self::NotYetValid | Self::TooLongLived)
    }
}

/// The shop's word for the customer of an identity.
pub(crate) fn customer(identity: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Customer {
        sub: String,
    }
    serde_json::from_str(identity.get()).ok().map(|Customer { sub }| sub)
}

/// Who a new session is.
#[derive(Default)]
pub(crate) struct Identified {
    /// `sub` and some claims; none for an anonymous visitor.
    pub(crate) identity: Option<Box<RawValue>>,
    /// Why a token that was shown does not count.
    pub(crate) error: Option<Refused>,
}

/// Checks identity tokens.
pub(crate) struct Verifier {
    mode: IdentityMode,
    secret: Option<DecodingKey>,
    jwks: Option<Jwks>,
    issuer: Option<String>,
    claims: Vec<String>,
}

impl Verifier {
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        let settings = &config.identity;
        let mut verifier = Self {
            mode: settings.mode,
            secret: None,
            jwks: None,
            issuer: settings.issuer.clone(),
            claims: settings.claims.0.clone(),
        };
        if settings.mode == IdentityMode::Off {
            return Ok(verifier);
        }
        if settings.mode == IdentityMode::Required && settings.secret.is_none() && settings.jwks.is_none() {
            return Err(Error::NoIdentityKeys);
        }
        if let Some(secret) = &settings.secret {
            let sessions = config.jwt_secret_key.iter().chain(&config.jwt_secret_key_previous);
            // The shop could make session tokens.
            if sessions.into_iter().any(|other| other.expose() == secret.expose()) {
                return Err(Error::IdentitySecret);
            }
            verifier.secret = Some(DecodingKey::from_secret(secret.expose().as_bytes()));
        }
        if let Some(source) = &settings.jwks {
            let jwks = Jwks::new(source, settings.jwks_refresh).map_err(|error| Error::IdentityKeys(error.into()))?;
            verifier.jwks = Some(jwks);
        }
        Ok(verifier)
    }

    /// Who a visitor is that shows `token`. With `IDENTITY=required` nobody is anonymous.
    pub(crate) fn identify(
        &self,
        token: Option<&str>,
        site: &SiteId,
        now: Duration,
        metrics: &Metrics,
    ) -> Result<Identified, ApiError> {
        let required = self.mode == IdentityMode::Required;
        let Some(token) = token else {
            return if required { Err(ApiError::IdentityRequired) } else { Ok(Identified::default()) };
        };
        let verified = self.verify(token, site, now);
        let result = verified.as_ref().err().map_or("verified", |refused| refused.as_str());
        metrics.identity_tokens.get_or_create(&IdentityToken { result }).inc();
        match verified {
            Ok(identity) => Ok(Identified { identity: Some(identity), error: None }),
            Err(refused) => {
                tracing::info!(error = refused.as_str(), "an identity token does not count");
                if required {
                    return Err(ApiError::IdentityRefused(refused));
                }
                Ok(Identified { identity: None, error: Some(refused) })
            }
        }
    }

    fn verify(&self, token: &str, site: &SiteId, now: Duration) -> Result<Box<RawValue>, Refused> {
        if self.secret.is_none() && self.jwks.is_none() {
            return Err(Refused::NotConfigured);
        }
        let claims = self.read(token)?;
        let sub = claims.get("sub").and_then(Value::as_str).unwrap_or_default();
        let issuer = self.issuer.as_deref();
        if sub.is_empty()
            || !is_text(sub, runtime::customer::MAX_CHARS)
            || (issuer.is_some() && claims.get("iss").and_then(Value::as_str) != issuer)
        {
            return Err(Refused::Invalid);
        }
        if !is_for(site.as_str(), claims.get("aud")) {
            return Err(Refused::WrongAudience);
        }
        check_times(&claims, now.as_secs_f64())?;
        Ok(pick(sub, &claims, &self.claims))
    }

    /// The claims, if the signature is good.
    fn read(&self, token: &str) -> Result<Map<String, Value>, Refused> {
        if token.len() > MAX_BYTES {
            return Err(Refused::Invalid);
        }
        let head = Head::read(token).ok_or(Refused::Invalid)?;
        let known: Arc<KeySet>;
        let (algorithm, key) = match (head.alg.as_str(), &self.secret, &self.jwks) {
            ("HS256", Some(secret), _) => (Algorithm::HS256, secret),
            ("ES256" | "EdDSA", _, Some(jwks)) => {
                let algorithm = if head.alg == "ES256" { Algorithm::ES256 } else { Algorithm::EdDSA };
                known = jwks.keys();
                let Some(key) = known.find(algorithm, head.kid.as_deref()) else {
                    jwks.want();
                    return Err(Refused::UnknownKey);
                };
                (algorithm, &key.check)
            }
            _ => return Err(Refused::Invalid),
        };
        let mut validation = Validation::new(algorithm);
        // All claims are looked at here, where tests choose the clock and the answer says what is wrong.
        validation.required_spec_claims.clear();
        (validation.validate_exp, validation.validate_aud) = (false, false);
        let read = jsonwebtoken::decode::<Claims>(token, key, &validation);
        read.map(|data| data.claims.0).map_err(|_| Refused::Invalid)
    }

    /// Reads the shop's public keys, where they are at an address. The edge serves afterwards, so that no customer is
    /// taken for a stranger because of a restart; it takes three seconds at most.
    pub(crate) async fn prepare(&self, metrics: &Metrics) {
        if let Some(jwks) = &self.jwks {
            jwks.refresh(metrics).await;
        }
    }

    /// Keeps the shop's public keys fresh until `stop`.
    pub(crate) async fn keep_fresh(&self, metrics: &Metrics, stop: &CancellationToken) {
        if let Some(jwks) = &self.jwks {
            tokio::select! { () = jwks.keep_fresh(metrics) => {}, () = stop.cancelled() => {} }
        }
    }
}

/// What is looked at of a token's header.
#[derive(Deserialize)]
struct Head {
    alg: String,
    kid: Option<String>,
    /// Extensions that must be understood: there are none here (RFC 7515, section 4.1.11).
    crit: Option<IgnoredAny>,
}

impl Head {
    fn read(token: &str) -> Option<Self> {
        let json = URL_SAFE_NO_PAD.decode(token.split('.').next()?).ok()?;
        let head: Self = serde_json::from_slice(&json).ok()?;
        if head.crit.is_none() { Some(head) } else { None }
    }
}

/// Whether `aud` is the site, or a list with it.
fn is_for(site: &str, aud: Option<&Value>) -> bool {
    match aud {
        Some(Value::String(one)) => one == site,
        Some(Value::Array(all)) => all.iter().all(Value::is_string) && all.iter().any(|one| one == site),
        _ => false,
    }
}

fn check_times(claims: &Map<String, Value>, now: f64) -> Result<(), Refused> {
    // A NumericDate may have a fraction (RFC 7519, section 2).
    let time = |name| claims.get(name).map(|time| time.as_f64().ok_or(Refused::Invalid)).transpose();
    let exp = time("exp")?.ok_or(Refused::Invalid)?;
    let (nbf, iat) = (time("nbf")?, time("iat")?);
    if exp <= now {
        return Err(Refused::Expired);
    }
    if [nbf, iat].into_iter().flatten().any(|begins| begins > now + LEEWAY) {
        return Err(Refused::NotYetValid);
    }
    let lifetime = iat.map_or(exp - now, |iat| (exp - now).max(exp - iat));
    if lifetime > MAX_LIFETIME { Err(Refused::TooLongLived) } else { Ok(()) }
}
