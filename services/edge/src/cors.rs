//! Which pages may call the API, and what browsers are told about it.
//!
//! An `Origin` that is present must be the edge's own or in a site's list, on every API route. A request that changes
//! something must have one, unless `ALLOW_NO_ORIGIN`, or the call is a workflow's (`late`); browsers send none on same-origin GETs. Widget files are for
//! everybody; they only tell an allowed page that its scripts may read them.

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::{request::Call, state::State};

const METHODS: &str = "GET, POST, DELETE";
const REQUEST_HEADERS: &str =
    "authorization, content-type, x-fingerprint, x-challenge-response, last-event-id, dpop, traceparent, tracestate";
const RESPONSE_HEADERS: &str = "X-Request-Id, RateLimit, RateLimit-Policy, Retry-After";
/// Two hours: what Chromium keeps at most.
const MAX_AGE: &str = "7200";

/// What a request's `Origin` is worth.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Cors {
    /// There is none, and none is needed.
    None,
    /// This one is fine.
    Allowed(HeaderValue),
    /// Not in the list, or missing where it is needed.
    Refused,
}

impl Cors {
    pub(crate) fn of(state: &State, call: &Call, request: &Request) -> Self {
        let mut origins = request.headers().get_all(header::ORIGIN).iter();
        match (origins.next(), origins.next(), &call.origin) {
            (None, _, _) => {
                let safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
                if safe || state.config.takes_no_origin() { Self::None } else { Self::Refused }
            }
            (Some(value), None, Some(origin)) if call.is_own(origin) || state.sites.allow(origin) => {
                Self::Allowed(value.clone())
            }
            _ => Self::Refused,
        }
    }

    pub(crate) fn refuses(&self) -> bool {
        *self == Self::Refused
    }

    /// Adds what a browser needs to let the page read the response, errors included.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        if let Self::Allowed(origin) = self {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(RESPONSE_HEADERS));
        }
    }
}

/// Whether a browser asks first whether it may ask.
pub(crate) fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ORIGIN)
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer for every route alike; what a route really takes, the request itself will learn.
pub(crate) fn preflight() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, METHODS),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS),
        (header::ACCESS_CONTROL_MAX_AGE, MAX_AGE),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}
