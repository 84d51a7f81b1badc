//! What can go wrong for a caller, and how it is told: RFC 9457 problem documents, in the form of the edge's.
//!
//! An [`ApiError`] answers with its status and headers at once; the document itself is written by [`describe`] in the
//! outermost layer, which alone knows the request's id.

use std::{borrow::Cow, sync::Arc};

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use runtime::problem::Face;

use crate::store;

/// One variant for each thing that a caller may do differently.
#[derive(Clone, Debug)]
pub(super) enum ApiError {
    /// Something in the query can't be used.
    Validation {
        /// Its name there.
        field: Cow<'static, str>,
        detail: Cow<'static, str>,
    },
    Unauthorized,
    TokenInvalid,
    TooManyAttempts {
        /// Seconds.
        retry_after: u32,
    },
    SiteForbidden,
    /// Only for the admin.
    AdminOnly,
    ApiDisabled,
    NotFound,
    MethodNotAllowed,
    SessionUnknown,
    SiteUnknown,
    /// Too much at once, or not now.
    Overloaded {
        detail: &'static str,
    },
    /// One copy of the database is made at a time.
    CopyRunning,
    /// For a copy of the database.
    NoRoom,
    /// The store could not answer.
    Store(Arc<store::Error>),
    /// A fault of ours. What it was stands in the log.
    Internal,
}

impl ApiError {
    /// `field` is missing, malformed or out of bounds.
    pub(super) fn field(field: impl Into<Cow<'static, str>>, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::Validation { field: field.into(), detail: detail.into() }
    }

    /// The public face: the only place where status and code are chosen.
    fn face(&self) -> Face<'_> {
        use StatusCode as S;
        match self {
            Self::Validation { field, detail } => {
                Face::new(S::BAD_REQUEST, "invalid_request", "Invalid request", detail.as_ref())
                    .with("field", field.as_ref())
            }
            Self::Unauthorized => {
                let detail = "Send ADMIN_TOKEN, or the site's token, as a bearer in the Authorization header.";
                Face::new(S::UNAUTHORIZED, "unauthorized", "Unauthorized", detail)
                    .challenge(r#"Bearer realm="frontdesk""#)
            }
            Self::TokenInvalid => {
                Face::new(S::UNAUTHORIZED, "token_invalid", "Token invalid", "The token is not one of ours.")
                    .challenge(r#"Bearer realm="frontdesk", error="invalid_token""#)
            }
            Self::TooManyAttempts { retry_after } => {
                let detail = "This address sent too many wrong tokens.";
                Face::new(S::TOO_MANY_REQUESTS, "rate_limited", "Too many attempts", detail)
                    .with("scope", "ip")
                    .with("limit", "minute")
                    .retry_after(*retry_after)
            }
            Self::SiteForbidden => {
                Face::new(S::FORBIDDEN, "site_forbidden", "Site forbidden", "The token is not for this site.")
            }
            Self::AdminOnly => Face::new(S::FORBIDDEN, "admin_only", "Forbidden", "This needs ADMIN_TOKEN."),
            Self::ApiDisabled => {
                let detail = "Analytics was started without ADMIN_TOKEN and SITE_TOKENS.";
                Face::new(S::NOT_FOUND, "api_disabled", "API disabled", detail)
            }
            Self::NotFound => Face::new(S::NOT_FOUND, "not_found", "Not found", "There is nothing at this path."),
            // Which methods there are stands in `Allow`, which the router sets.
            Self::MethodNotAllowed => {
                let detail = "This path does not take this method.";
                Face::new(S::METHOD_NOT_ALLOWED, "method_not_allowed", "Method not allowed", detail)
            }
            Self::SessionUnknown => {
                Face::new(S::NOT_FOUND, "session_unknown", "Session unknown", "Nothing is known of this session.")
            }
            Self::SiteUnknown => {
                let detail = "Nothing is known of this site.";
                Face::new(S::NOT_FOUND, "site_unknown", "Site unknown", detail).with("field", "site")
            }
            Self::Overloaded { detail } => {
                Face::new(S::SERVICE_UNAVAILABLE, "overloaded", "Overloaded", detail).retry_after(1)
            }
            Self::CopyRunning => {
                let detail = "Another copy of the database is being made.";
                Face::new(S::CONFLICT, "copy_running", "Copy running", detail)
            }
            Self::NoRoom => {
                let detail = "The disk has no room for a copy of the database.";
                Face::new(S::INSUFFICIENT_STORAGE, "no_room", "No room", detail)
            }
            Self::Store(_) | Self::Internal => {
                let detail = "Something went wrong here; the request_id finds it in the log.";
                Face::new(S::INTERNAL_SERVER_ERROR, "internal", "Internal error", detail)
            }
        }
    }
}

impl From<store::Error> for ApiError {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Copying => Self::CopyRunning,
            store::Error::NoRoom { .. } => Self::NoRoom,
            store::Error::Stopping => Self::Overloaded { detail: "Analytics stops." },
            error => Self::Store(Arc::new(error)),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.face().head();
        response.extensions_mut().insert(self);
        response
    }
}

/// Writes the problem document of a response that was made from an [`ApiError`]; what of it is for the log alone.
pub(super) fn describe(response: &mut Response, request_id: &str) -> Option<Arc<store::Error>> {
    let error = response.extensions_mut().remove::<ApiError>()?;
    *response.body_mut() = error.face().body(request_id);
    match error {
        ApiError::Store(cause) if response.status() == StatusCode::INTERNAL_SERVER_ERROR => Some(cause),
        _ => None,
    }
}
