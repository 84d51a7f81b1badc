//! What a reply was worth to its visitor.
//!
//! A word for analytics, and nothing else: a rating without a comment, because no text of a visitor is kept. Which
//! messages a session had is known only while its record is kept, and people rate later than that: so any message id is
//! taken, and one that never was counts as well. A session's words are bounded by its limit of messages, and analytics
//! counts 200 of each session at most.

use axum::{
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use protocol::{Fact, FactKind, MessageId, Rating};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{openapi, problem::ApiError, session::no_store, state::State, visitor::FromVisitor};

/// A rating. Said again of the same reply, the later one counts.
#[derive(Deserialize, Serialize, ToSchema)]
pub(crate) struct Feedback {
    /// Whose reply.
    #[schema(value_type = String, min_length = 8, max_length = 64, pattern = "^[A-Za-z0-9_-]+$")]
    message_id: MessageId,
    #[schema(value_type = openapi::Rating)]
    rating: Rating,
}

/// Say what a reply was worth.
#[utoipa::path(post, path = "/api/v1/chat/feedback", tag = "Chat", request_body = Feedback, security(("token" = [])),
    params(openapi::Fingerprint),
    responses((status = 202, description = "Analytics will know. Whether the session had such a message is not looked \
            at; counts against the limit of messages in a minute",
            body = Feedback),
        openapi::BadBody, openapi::Unproved, openapi::Refused))]
pub(crate) async fn rate(
    state: State,
    FromVisitor(visitor, feedback): FromVisitor<Feedback>,
) -> Result<Response, ApiError> {
    visitor.call.count(state.limits.rating(&visitor.session, &visitor.site.id))?;
    let kind = FactKind::ReplyRated { message_id: feedback.message_id.clone(), rating: feedback.rating };
    state.tell(Fact::now(&visitor.site.id, &visitor.session, kind));
    Ok((StatusCode::ACCEPTED, no_store(feedback)).into_response())
}
