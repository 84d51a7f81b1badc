//! Who a request comes from, proved. A handler that names [`Visitor`] or [`Listener`] runs only for one.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};
use protocol::SessionId;
use url::form_urlencoded;

use crate::{
    problem::ApiError,
    request::Call,
    site::Site,
    sse::LastEvent,
    state::State,
    time,
    token::{Claims, Refused},
};

/// Longest `User-Agent` that is passed on, in bytes.
const MAX_USER_AGENT: usize = 512;

/// A visitor who showed a good token and its fingerprint.
pub(crate) struct Visitor {
    pub(crate) session: SessionId,
    pub(crate) site: Arc<Site>,
    /// What the session was created with.
    pub(crate) claims: Claims,
    pub(crate) call: Arc<Call>,
    pub(crate) user_agent: Option<String>,
}

/// A visitor who may read the session's stream: with a token, or with a ticket in the query. A ticket says all that the
/// token said.
pub(crate) struct Listener(pub(crate) Visitor);

impl Visitor {
    /// Counts one message with the session and its site.
    pub(crate) fn count_message(&self, state: &State) -> Result<(), ApiError> {
        self.call.count(state.limits.session(&self.session))?;
        self.call.count(state.limits.site(&self.site.id))
    }

    /// Refuses another session's id, whether that session exists or not, and whether it is an id or not.
    pub(crate) fn must_be(&self, session: &str) -> Result<(), ApiError> {
        if session == self.session.as_str() { Ok(()) } else { Err(ApiError::SessionMismatch) }
    }

    fn new(state: &State, parts: &Parts, call: Arc<Call>, claims: Claims) -> Result<Self, ApiError> {
        // A site that was taken from the settings: its sessions are over.
        let site = state.sites.get(&claims.site).ok_or(ApiError::TokenInvalid)?;
        if let Some(origin) = &call.origin
            && !call.is_own(origin)
            && !site.allows(origin)
        {
            return Err(ApiError::OriginNotAllowed);
        }
        let user_agent = header(&parts.headers, header::USER_AGENT.as_str()).map(|agent| cut(agent).to_owned());
        Ok(Self { session: claims.sub.clone(), site, claims, call, user_agent })
    }

    fn by_token(state: &State, parts: &Parts, call: Arc<Call>) -> Result<Self, ApiError> {
        let token = bearer(&parts.headers)?;
        let fingerprint = header(&parts.headers, "x-fingerprint");
        let claims = state.tokens.verify(token, fingerprint, time::now())?;
        Self::new(state, parts, call, claims)
    }
}

impl FromRequestParts<State> for Visitor {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, ApiError> {
        let call = Arc::<Call>::from_request_parts(parts, state).await?;
        Self::by_token(state, parts, call)
    }
}

impl FromRequestParts<State> for Listener {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, ApiError> {
        let call = Arc::<Call>::from_request_parts(parts, state).await?;
        let query = parts.uri.query().unwrap_or_default();
        let ticket = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "ticket");
        match ticket {
            Some((_, ticket)) if !parts.headers.contains_key(header::AUTHORIZATION) => {
                // Only an id of ours marks a reconnect: those come from a stream that was opened in time.
                let reconnect = header(&parts.headers, "last-event-id").and_then(LastEvent::parse).is_some();
                let claims = state.tokens.verify_ticket(&ticket, reconnect, time::now())?;
                Visitor::new(state, parts, call, claims).map(Self)
            }
            _ => Visitor::by_token(state, parts, call).map(Self),
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

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The one token of the `Authorization` header.
fn bearer(headers: &HeaderMap) -> Result<&str, ApiError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Err(ApiError::Unauthorized) };
    let (scheme, token) = value.to_str().ok().and_then(|value| value.split_once(' ')).ok_or(ApiError::Unauthorized)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(token.trim()) } else { Err(ApiError::Unauthorized) }
}

/// At most [`MAX_USER_AGENT`] bytes. A header's text is ASCII, so any place is a good one to cut.
fn cut(agent: &str) -> &str {
    agent.get(..MAX_USER_AGENT).unwrap_or(agent)
}
