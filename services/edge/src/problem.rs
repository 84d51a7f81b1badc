//! What can go wrong for a caller, and how it is told: RFC 9457 problem documents.
//!
//! An [`ApiError`] answers with its status and headers at once; the document itself is written by [`describe`] in the
//! outermost layer, which alone knows the request's id.

use std::borrow::Cow;

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use protocol::MessageId;
use runtime::problem::Face;
use serde_json::Value;

use crate::{
    identity::Refused,
    limits::{Over, Refusal, Scope},
    time,
};

/// One variant for each public code.
#[derive(Clone, Debug)]
pub(crate) enum ApiError {
    /// Malformed JSON, a missing field, or one out of bounds.
    InvalidRequest {
        /// The field's path, where it is about one.
        field: Option<String>,
        detail: Cow<'static, str>,
    },
    MessageRejected(Rejection),
    PayloadTooLarge {
        max_bytes: usize,
    },
    /// What came late doesn't fit into its reply.
    ReplyTooLarge,
    UnsupportedMediaType,
    Unauthorized,
    TokenExpired,
    TokenInvalid,
    FingerprintMismatch,
    /// The site takes only customers that the shop vouches for, and no token came.
    IdentityRequired,
    /// The same, and the token does not count.
    IdentityRefused(Refused),
    ProofRequired,
    ProofInvalid {
        /// Whether the proof's time was wrong: the answer then carries the server's.
        about_time: bool,
    },
    ProofReplayed,
    OriginNotAllowed,
    /// Not for this caller.
    Forbidden {
        detail: &'static str,
    },
    BotDetected,
    ChallengeRequired {
        challenge: Value,
    },
    SessionMismatch,
    NotFound,
    MethodNotAllowed,
    MessageConflict,
    SessionBusy {
        running: MessageId,
    },
    SessionEnded,
    RateLimited(Refusal),
    Overloaded {
        /// Seconds.
        retry_after: u32,
        detail: &'static str,
    },
    /// A fault of ours. What it was stands in the log.
    Internal,
}

/// Why a message's text was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rejection {
    Empty,
    TooLong { max_chars: u32 },
    Content,
}

impl ApiError {
    /// `field` is missing, of the wrong type or out of bounds.
    pub(crate) fn field(field: &str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::InvalidRequest { field: Some(field.to_owned()), detail: detail.into() }
    }

    /// The public face: the only place where status and code are chosen.
    fn face(&self) -> Face<'_> {
        use StatusCode as S;
        match self {
            Self::InvalidRequest { field, detail } => {
                let face = Face::new(S::BAD_REQUEST, "invalid_request", "Invalid request", detail.as_ref());
                match field {
                    Some(field) => face.with("field", field.as_str()),
                    None => face,
                }
            }
            Self::MessageRejected(rejection) => {
                let face = |detail| Face::new(S::BAD_REQUEST, "message_rejected", "Message rejected", detail);
                match rejection {
                    Rejection::Empty => face("Nothing is left of the message after cleaning.").with("reason", "empty"),
                    Rejection::TooLong { max_chars } => {
                        face("The message is too long.").with("reason", "too_long").with("max_chars", *max_chars)
                    }
                    Rejection::Content => face("The content rules refuse the message.").with("reason", "content"),
                }
            }
            Self::PayloadTooLarge { max_bytes } => {
                let detail = "The request's body is over the limit.";
                Face::new(S::PAYLOAD_TOO_LARGE, "payload_too_large", "Payload too large", detail)
                    .with("max_bytes", *max_bytes)
            }
            Self::ReplyTooLarge => {
                let detail = "The reply would be longer than a reply may be.";
                Face::new(S::PAYLOAD_TOO_LARGE, "payload_too_large", "Payload too large", detail)
            }
            Self::UnsupportedMediaType => {
                let detail = "Send the body as application/json in UTF-8.";
                Face::new(S::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "Unsupported media type", detail)
            }
            Self::Unauthorized => {
                let detail = "Send the session's token in the Authorization header.";
                Face::new(S::UNAUTHORIZED, "unauthorized", "Unauthorized", detail)
                    .challenge(r#"Bearer realm="frontdesk""#)
            }
            Self::TokenExpired => {
                Face::new(S::UNAUTHORIZED, "token_expired", "Token expired", "The token has expired.")
                    .with("server_time", time::rfc3339(time::now()))
                    .challenge(BAD_TOKEN)
            }
            Self::TokenInvalid => {
                Face::new(S::UNAUTHORIZED, "token_invalid", "Token invalid", "The token is not one of ours.")
                    .challenge(BAD_TOKEN)
            }
            Self::FingerprintMismatch => {
                let detail = "The X-Fingerprint header is not the fingerprint that the session was created with.";
                Face::new(S::UNAUTHORIZED, "fingerprint_mismatch", "Fingerprint mismatch", detail).challenge(BAD_TOKEN)
            }
            Self::IdentityRequired => {
                let detail = "This site is for customers who are signed in: send an identity_token.";
                Face::new(S::UNAUTHORIZED, "unauthorized", "Unauthorized", detail)
                    .challenge(r#"Bearer realm="frontdesk""#)
            }
            Self::IdentityRefused(refused) => {
                let (code, title) = match refused {
                    Refused::Expired => ("token_expired", "Token expired"),
                    _ => ("token_invalid", "Token invalid"),
                };
                let face = Face::new(S::UNAUTHORIZED, code, title, refused.sentence())
                    .with("identity_error", refused.as_str())
                    .challenge(BAD_TOKEN);
                if refused.about_time() { face.with("server_time", time::rfc3339(time::now())) } else { face }
            }
            Self::ProofRequired => {
                let detail = "Sign this call with the session's key: `Authorization: DPoP`, and a proof in `DPoP`. A \
                              session gets its key at its creation, as `public_key`.";
                Face::new(S::UNAUTHORIZED, "proof_required", "Proof required", detail).challenge(BAD_PROOF)
            }
            Self::ProofInvalid { about_time } => {
                let detail = "The DPoP proof does not fit the request, the token or the key.";
                let face = Face::new(S::UNAUTHORIZED, "proof_invalid", "Proof invalid", detail).challenge(BAD_PROOF);
                if *about_time { face.with("server_time", time::rfc3339(time::now())) } else { face }
            }
            Self::ProofReplayed => {
                let detail = "The DPoP proof was used before.";
                Face::new(S::UNAUTHORIZED, "proof_replayed", "Proof replayed", detail).challenge(BAD_PROOF)
            }
            Self::OriginNotAllowed => {
                let detail = "The origin is not in the site's list, or there is none.";
                Face::new(S::FORBIDDEN, "origin_not_allowed", "Origin not allowed", detail)
            }
            Self::Forbidden { detail } => Face::new(S::FORBIDDEN, "forbidden", "Forbidden", detail),
            Self::BotDetected => {
                Face::new(S::FORBIDDEN, "bot_detected", "Bot detected", "The request looks like a program's.")
            }
            Self::ChallengeRequired { challenge } => {
                let detail = "Answer the challenge and send the request again.";
                Face::new(S::FORBIDDEN, "challenge_required", "Challenge required", detail)
                    .with("challenge", challenge.clone())
            }
            Self::SessionMismatch => {
                let detail = "The token is not for this session.";
                Face::new(S::FORBIDDEN, "session_mismatch", "Session mismatch", detail)
            }
            Self::NotFound => Face::new(S::NOT_FOUND, "not_found", "Not found", "There is nothing at this path."),
            // Which methods there are stands in `Allow`, which the router sets.
            Self::MethodNotAllowed => {
                let detail = "This path does not take this method.";
                Face::new(S::METHOD_NOT_ALLOWED, "method_not_allowed", "Method not allowed", detail)
            }
            Self::MessageConflict => {
                let detail = "This message_id was used for a different text.";
                Face::new(S::CONFLICT, "message_conflict", "Message conflict", detail)
            }
            Self::SessionBusy { running } => {
                let detail = "A reply of this session is still running.";
                Face::new(S::CONFLICT, "session_busy", "Session busy", detail).with("running", running.as_str())
            }
            Self::SessionEnded => Face::new(S::GONE, "session_ended", "Session ended", "Create a new session."),
            Self::RateLimited(Refusal { scope, over, retry_after, .. }) => {
                let (title, detail) = match (over, scope) {
                    (Over::Streams, Scope::Session) => ("Too many streams", "This session has too many streams open."),
                    (Over::Streams, _) => ("Too many streams", "This address has too many streams open."),
                    (Over::Day, Scope::Ip) => {
                        ("Too many messages", "This address has used up its messages of the day.")
                    }
                    (Over::Day, Scope::Site) => ("Too many messages", "This site has used up its messages of the day."),
                    (Over::Day, _) => ("Too many messages", "This session has used up its messages of the day."),
                    (Over::Minute, Scope::Ip) => ("Too many requests", "This address sends too many requests."),
                    (Over::Minute, Scope::Session) => ("Too many messages", "This session sends too many messages."),
                    (Over::Minute, Scope::Site) => ("Too many messages", "This site sends too many messages."),
                    (Over::Minute, Scope::Create) => ("Too many sessions", "This address creates too many sessions."),
                };
                Face::new(S::TOO_MANY_REQUESTS, "rate_limited", title, detail)
                    .with("scope", scope.as_str())
                    .with("limit", over.as_str())
                    .retry_after(*retry_after)
            }
            Self::Overloaded { retry_after, detail } => {
                Face::new(S::SERVICE_UNAVAILABLE, "overloaded", "Overloaded", detail).retry_after(*retry_after)
            }
            Self::Internal => {
                let detail = "Something went wrong here; the request_id finds it in the log.";
                Face::new(S::INTERNAL_SERVER_ERROR, "internal", "Internal error", detail)
            }
        }
    }
}

const BAD_TOKEN: &str = r#"Bearer realm="frontdesk", error="invalid_token""#;
const BAD_PROOF: &str = r#"DPoP realm="frontdesk", error="invalid_dpop_proof", algs="ES256""#;

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.face().head();
        response.extensions_mut().insert(self);
        response
    }
}

/// Writes the problem document of a response that was made from an [`ApiError`]; returns whether it was.
pub(crate) fn describe(response: &mut Response, request_id: &str) -> bool {
    let Some(error) = response.extensions_mut().remove::<ApiError>() else { return false };
    *response.body_mut() = error.face().body(request_id);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The contract's table, whole.
    #[tokio::test]
    async fn every_code_has_its_status() {
        let running = MessageId::new("message-1").unwrap();
        let check = async |error: ApiError, status: u16, code: &str, member: &str, header: &str| {
            let mut response = error.into_response();
            assert!(describe(&mut response, "req-1"));
            assert_eq!(response.status().as_u16(), status, "{code}");
            assert!(header.is_empty() || response.headers().contains_key(header), "{code}");
            assert_eq!(response.headers()["content-type"], "application/problem+json");
            assert_eq!(response.headers()["cache-control"], "no-store");
            let body = axum::body::to_bytes(response.into_body(), 4096).await.unwrap();
            assert!(body.starts_with(br#"{"type":"about:blank","title":""#));
            let body: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(
                (&body["code"], &body["status"], &body["request_id"]),
                (&code.into(), &status.into(), &"req-1".into())
            );
            assert!(body["detail"].is_string() && (member.is_empty() || !body[member].is_null()), "{body}");
        };
        check(ApiError::field("page.url", "is too long"), 400, "invalid_request", "field", "").await;
        check(ApiError::MessageRejected(Rejection::Empty), 400, "message_rejected", "reason", "").await;
        check(ApiError::MessageRejected(Rejection::Content), 400, "message_rejected", "reason", "").await;
        let long = Rejection::TooLong { max_chars: 4000 };
        check(ApiError::MessageRejected(long), 400, "message_rejected", "max_chars", "").await;
        check(ApiError::PayloadTooLarge { max_bytes: 1 }, 413, "payload_too_large", "max_bytes", "").await;
        check(ApiError::ReplyTooLarge, 413, "payload_too_large", "", "").await;
        check(ApiError::UnsupportedMediaType, 415, "unsupported_media_type", "", "").await;
        check(ApiError::Unauthorized, 401, "unauthorized", "", "www-authenticate").await;
        check(ApiError::TokenExpired, 401, "token_expired", "server_time", "www-authenticate").await;
        check(ApiError::TokenInvalid, 401, "token_invalid", "", "www-authenticate").await;
        check(ApiError::FingerprintMismatch, 401, "fingerprint_mismatch", "", "www-authenticate").await;
        check(ApiError::IdentityRequired, 401, "unauthorized", "", "www-authenticate").await;
        let identity = |refused| ApiError::IdentityRefused(refused);
        check(identity(Refused::Expired), 401, "token_expired", "server_time", "www-authenticate").await;
        check(identity(Refused::Invalid), 401, "token_invalid", "identity_error", "www-authenticate").await;
        check(ApiError::ProofRequired, 401, "proof_required", "", "www-authenticate").await;
        let proof = ApiError::ProofInvalid { about_time: true };
        check(proof, 401, "proof_invalid", "server_time", "www-authenticate").await;
        check(ApiError::ProofReplayed, 401, "proof_replayed", "", "www-authenticate").await;
        check(ApiError::OriginNotAllowed, 403, "origin_not_allowed", "", "").await;
        check(ApiError::BotDetected, 403, "bot_detected", "", "").await;
        let challenge = ApiError::ChallengeRequired { challenge: Value::from("x") };
        check(challenge, 403, "challenge_required", "challenge", "").await;
        check(ApiError::SessionMismatch, 403, "session_mismatch", "", "").await;
        check(ApiError::NotFound, 404, "not_found", "", "").await;
        check(ApiError::MethodNotAllowed, 405, "method_not_allowed", "", "").await;
        check(ApiError::MessageConflict, 409, "message_conflict", "", "").await;
        check(ApiError::SessionBusy { running }, 409, "session_busy", "running", "").await;
        check(ApiError::SessionEnded, 410, "session_ended", "", "").await;
        let refusal = Refusal { scope: Scope::Session, over: Over::Day, retry_after: 3, standing: None };
        let limited = ApiError::RateLimited(refusal);
        check(limited.clone(), 429, "rate_limited", "retry_after", "retry-after").await;
        check(limited.clone(), 429, "rate_limited", "limit", "retry-after").await;
        check(limited, 429, "rate_limited", "scope", "retry-after").await;
        let overloaded = ApiError::Overloaded { retry_after: 1, detail: "x" };
        check(overloaded, 503, "overloaded", "retry_after", "retry-after").await;
        check(ApiError::Internal, 500, "internal", "", "").await;
    }
}
