//! Who a request comes from, proved. A handler that names [`Visitor`], [`FromVisitor`], [`Leaver`] or [`Listener`] runs only
//! for one.
//!
//! The order: token and fingerprint, then whether the session is over, then where the page is from, then the proof of a
//! session that is bound to a key; last the bus says whether the proof is fresh. A proof also covers the body, so that
//! the head of a request proves only half: what it proved is a [`Half`], and there is no [`Visitor`] before the body was
//! read and compared. That is why all of them take the whole request, and stand last among a handler's arguments.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{FromRequest, FromRequestParts as _, Request},
    http::{HeaderMap, header, request::Parts},
};
use bus::Proved;
use protocol::SessionId;
use serde::de::DeserializeOwned;
use url::form_urlencoded;

use crate::{
    body,
    chat::away,
    config::RequestSignatures,
    limits::{Reserved, Slot},
    metrics::Shown,
    problem::ApiError,
    proof::{self, Checked, Wanted},
    request::{Call, text as header},
    site::Site,
    sse::LastEvent,
    state::State,
    time,
    token::{Claims, Refused, Tokens},
};

/// Longest `User-Agent` that is passed on, in bytes.
const MAX_USER_AGENT: usize = 512;

/// A visitor who showed a good token and its fingerprint and, where the session is bound to a key, a fresh proof for
/// this very request. As an argument: for routes that look at no body; what comes with the request is proved all the same.
pub(crate) struct Visitor {
    pub(crate) session: SessionId,
    pub(crate) site: Arc<Site>,
    /// What the session was created with.
    pub(crate) claims: Claims,
    pub(crate) call: Arc<Call>,
    pub(crate) user_agent: Option<String>,
}

/// A visitor, and what they sent as JSON.
pub(crate) struct FromVisitor<T>(pub(crate) Visitor, pub(crate) T);

/// A visitor who ends the session. Whose session is bound to a key may also show a token that expired lately: the proof
/// says who asks, and nothing but this is done for it.
pub(crate) struct Leaver(pub(crate) Visitor);

/// A visitor who may read the session's stream: with a token, or with a ticket in the query. A ticket says all that the
/// token said.
pub(crate) struct Listener(pub(crate) Visitor);

impl Visitor {
    /// Counts one message with all that limit it. The day's budgets get theirs back unless it is spent.
    pub(crate) fn count_message(&self, state: &State) -> Result<Reserved, ApiError> {
        match state.limits.message(self.call.ip, &self.session, &self.site.id) {
            Ok((standing, reserved)) => self.call.count(Ok(standing)).map(|()| reserved),
            Err(refusal) => Err(self.call.refused(refusal)),
        }
    }

    /// Takes a place for a stream of the session.
    pub(crate) fn open_stream(&self, state: &State) -> Result<Slot, ApiError> {
        state.limits.stream(self.call.ip, &self.session).map_err(|refusal| self.call.refused(refusal))
    }

    /// Refuses another session's id, whether that session exists or not, and whether it is an id or not.
    pub(crate) fn must_be(&self, session: &str) -> Result<(), ApiError> {
        if session == self.session.as_str() { Ok(()) } else { Err(ApiError::SessionMismatch) }
    }

    async fn new(state: &State, parts: &Parts, call: Arc<Call>, claims: Claims) -> Result<Self, ApiError> {
        state.ended.check(&claims.sub).await?;
        // A site that was taken from the settings: its sessions are over.
        let site = state.sites.get(&claims.site).ok_or(ApiError::TokenInvalid)?;
        call.is_to(&site);
        if !call.may_use(&site) {
            return Err(ApiError::OriginNotAllowed);
        }
        if claims.key().is_none() && state.config.proofs.request_signatures == RequestSignatures::Required {
            return Err(ApiError::ProofRequired);
        }
        let user_agent = header(&parts.headers, header::USER_AGENT.as_str()).map(|agent| cut(agent).to_owned());
        Ok(Self { session: claims.sub.clone(), site, claims, call, user_agent })
    }
}

/// [`Tokens::verify`], or its like.
type Verify = fn(&Tokens, &str, Option<&str>, Duration) -> Result<Claims, Refused>;

/// What the head of a request proved.
struct Half {
    visitor: Visitor,
    /// Of a session that is bound to a key: the body must be the one of this proof, and the proof fresh.
    proof: Option<Checked>,
}

impl Half {
    async fn by_token(state: &State, parts: &mut Parts) -> Result<Self, ApiError> {
        Self::by(state, parts, Tokens::verify).await
    }

    async fn by(state: &State, parts: &mut Parts, verify: Verify) -> Result<Self, ApiError> {
        let call = Arc::<Call>::from_request_parts(parts, state).await?;
        let (scheme, token) = authorization(&parts.headers)?;
        let fingerprint = header(&parts.headers, "x-fingerprint");
        let claims = verify(&state.tokens, token, fingerprint, time::now())?;
        let visitor = Visitor::new(state, parts, call, claims).await?;
        let proof = match (visitor.claims.key(), scheme) {
            (None, Scheme::Bearer) => None,
            // RFC 9449, 7.1: the scheme is for tokens that are bound.
            (None, Scheme::Dpop) => return Err(shown(state, "invalid", ApiError::ProofInvalid { about_time: false })),
            (Some(_), Scheme::Bearer) => return Err(shown(state, "missing", ApiError::ProofRequired)),
            (Some(key), Scheme::Dpop) => Some(checked(state, parts, &visitor.call, key, token)?),
        };
        Ok(Self { visitor, proof })
    }

    /// Compares the body, then uses the proof up.
    async fn with_body(self, state: &State, body: &[u8]) -> Result<Visitor, ApiError> {
        let Some(proof) = &self.proof else { return Ok(self.visitor) };
        let hash = proof.of_body(body).map_err(|refused| shown(state, "invalid", refused.into()))?;
        match state.bus.prove(hash).await {
            Ok(Proved::Fresh) => {
                state.metrics.proofs.get_or_create(&Shown { result: "accepted" }).inc();
                Ok(self.visitor)
            }
            Ok(Proved::Replayed) => Err(shown(state, "replayed", ApiError::ProofReplayed)),
            Err(error) => Err(shown(state, "overloaded", away(&error))),
        }
    }

    /// The same for a request whose body nobody reads: it is read only if it was signed.
    async fn with_unread(self, state: &State, request: Request) -> Result<Visitor, ApiError> {
        if self.proof.is_none() {
            return Ok(self.visitor);
        }
        let body = body::raw(request, state).await?;
        self.with_body(state, &body).await
    }
}

/// The one proof of the `DPoP` header, as far as the head of the request tells whether it is good.
fn checked(state: &State, parts: &Parts, call: &Call, key: &str, token: &str) -> Result<Checked, ApiError> {
    let mut proofs = parts.headers.get_all("dpop").iter();
    let proof = match (proofs.next(), proofs.next()) {
        (None, _) => return Err(shown(state, "missing", ApiError::ProofRequired)),
        (Some(proof), None) => proof.to_str().unwrap_or_default(),
        (Some(_), Some(_)) => "",
    };
    // As the visitor sees it: a proxy may have taken a part of it off.
    let path = format!("{}{}", state.config.public_path(), parts.uri.path());
    let wanted = Wanted { key, method: &parts.method, base: &call.base, path: &path, token, now: time::now() };
    proof::check(proof, &wanted).map_err(|refused| {
        let result = if refused == proof::Refused::Time { "time" } else { "invalid" };
        shown(state, result, refused.into())
    })
}

/// Counts a refused proof.
fn shown(state: &State, result: &'static str, error: ApiError) -> ApiError {
    state.metrics.proofs.get_or_create(&Shown { result }).inc();
    error
}

impl FromRequest<State> for Visitor {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &State) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let half = Half::by_token(state, &mut parts).await?;
        half.with_unread(state, Request::from_parts(parts, body)).await
    }
}

impl FromRequest<State> for Leaver {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &State) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let half = Half::by(state, &mut parts, Tokens::verify_to_end).await?;
        half.with_unread(state, Request::from_parts(parts, body)).await.map(Self)
    }
}

impl<T: DeserializeOwned> FromRequest<State> for FromVisitor<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &State) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let half = Half::by_token(state, &mut parts).await?;
        body::must_be_json(&parts.headers)?;
        let body = body::raw(Request::from_parts(parts, body), state).await?;
        let visitor = half.with_body(state, &body).await?;
        Ok(Self(visitor, body::parse(&body)?))
    }
}

impl FromRequest<State> for Listener {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &State) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let query = parts.uri.query().unwrap_or_default();
        let ticket = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "ticket");
        match ticket {
            Some((_, ticket)) if !parts.headers.contains_key(header::AUTHORIZATION) => {
                // Only an id of ours marks a reconnect: those come from a stream that was opened in time.
                let reconnect = header(&parts.headers, "last-event-id").and_then(LastEvent::parse).is_some();
                let claims = state.tokens.verify_ticket(&ticket, reconnect, time::now())?;
                let call = Arc::<Call>::from_request_parts(&mut parts, state).await?;
                Visitor::new(state, &parts, call, claims).await.map(Self)
            }
            _ => {
                let half = Half::by_token(state, &mut parts).await?;
                half.with_unread(state, Request::from_parts(parts, body)).await.map(Self)
            }
        }
    }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Invalid => Self::TokenInvalid,
            Refused::Expired => Self::TokenExpired,
            Refused::Ended => Self::SessionEnded,
            Refused::Fingerprint => Self::FingerprintMismatch,
        }
    }
}

impl From<proof::Refused> for ApiError {
    fn from(refused: proof::Refused) -> Self {
        Self::ProofInvalid { about_time: refused == proof::Refused::Time }
    }
}

/// How a token is shown.
#[derive(Clone, Copy)]
enum Scheme {
    Bearer,
    /// With a proof beside it.
    Dpop,
}

/// The one token of the `Authorization` header.
fn authorization(headers: &HeaderMap) -> Result<(Scheme, &str), ApiError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Err(ApiError::Unauthorized) };
    let (scheme, token) = value.to_str().ok().and_then(|value| value.split_once(' ')).ok_or(ApiError::Unauthorized)?;
    let scheme = match scheme {
        bearer if bearer.eq_ignore_ascii_case("bearer") => Scheme::Bearer,
        dpop if dpop.eq_ignore_ascii_case("dpop") => Scheme::Dpop,
        _ => return Err(ApiError::Unauthorized),
    };
    Ok((scheme, token.trim()))
}

/// At most [`MAX_USER_AGENT`] bytes. A header's text is ASCII, so any place is a good one to cut.
fn cut(agent: &str) -> &str {
    agent.get(..MAX_USER_AGENT).unwrap_or(agent)
}
