//! What a reply was worth to its visitor.
//!
//! A word for analytics, and nothing else: a rating, and what the visitor writes to the shop about it. That comment is the
//! one text of a visitor that is kept: written on purpose for the shop to read, and never more than `FEEDBACK_COMMENT_MAX`
//! allows, which may be nothing. Which messages a session had is known only while its record is kept, and people rate later
//! than that: so any message id is taken, and one that never was counts as well. A session's words are bounded by its limit
//! of messages, and analytics counts 200 of each session at most and keeps 20 comments.

use axum::{
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use protocol::{Comment, Fact, FactKind, MessageId, Rating};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{clean::clean, openapi, problem::ApiError, session::no_store, state::State, visitor::FromVisitor};

/// A rating. Said again of the same reply, the later one counts, with its comment or without one.
#[derive(Deserialize, ToSchema)]
pub(crate) struct Feedback {
    /// Whose reply.
    #[schema(value_type = String, min_length = 8, max_length = 64, pattern = "^[A-Za-z0-9_-]+$")]
    message_id: MessageId,
    #[schema(value_type = openapi::Rating)]
    rating: Rating,
    /// For the shop to read: plain text, cleaned like a message, of `limits.comment_max_chars` at most.
    #[schema(max_length = 2000)]
    comment: Option<String>,
}

/// The rating that was taken.
#[derive(Serialize, ToSchema)]
pub(crate) struct Rated {
    #[schema(value_type = String)]
    message_id: MessageId,
    #[schema(value_type = openapi::Rating)]
    rating: Rating,
}

/// Say what a reply was worth.
#[utoipa::path(post, path = "/api/v1/chat/feedback", tag = "Chat", request_body = Feedback, security(("token" = [])),
    params(openapi::Fingerprint),
    responses((status = 202, description = "Analytics will know. Whether the session had such a message is not looked \
            at; counts against the limit of messages in a minute",
            body = Rated),
        openapi::BadBody, openapi::Unproved, openapi::Refused))]
pub(crate) async fn rate(
    state: State,
    FromVisitor(visitor, feedback): FromVisitor<Feedback>,
) -> Result<Response, ApiError> {
    visitor.call.count(state.limits.rating(&visitor.session, &visitor.site.id))?;
    let Feedback { message_id, rating, comment } = feedback;
    let comment = comment.map(|text| cleaned(&text, state.config.feedback_comment_max)).transpose()?.flatten();
    let kind = FactKind::ReplyRated { message_id: message_id.clone(), rating, comment };
    state.tell(Fact::now(&visitor.site.id, &visitor.session, kind));
    Ok((StatusCode::ACCEPTED, no_store(Rated { message_id, rating })).into_response())
}

/// A comment as the shop gets it; none where nothing is left of it.
fn cleaned(text: &str, max: u32) -> Result<Option<Comment>, ApiError> {
    let text = clean(text);
    match text.chars().count() {
        0 => Ok(None),
        _ if max == 0 => Err(ApiError::field("comment", "comments are turned off here; send the rating alone")),
        length if length > max as usize => {
            Err(ApiError::field("comment", format!("comment may have {max} characters, after cleaning")))
        }
        _ => Ok(Some(Comment(text))),
    }
}
