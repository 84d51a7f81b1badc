//! What visitors wrote with their ratings.

use axum::Json;
use protocol::Millis;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    State,
    access::Caller,
    openapi,
    params::{Query, comment_cursor},
    problem::ApiError,
    scope::Scope,
    sessions::MOST,
};
use crate::query::CommentRow;

const LIMIT: usize = 50;

/// A page of a list.
#[derive(Serialize, ToSchema)]
pub(super) struct Comments {
    /// Newest first. A page may have fewer than asked for, or none, and still have a next one.
    comments: Vec<CommentRow>,
    /// The `cursor` of the next page; none at the end.
    next: Option<String>,
}

/// What visitors wrote with their ratings, newest first. Plain text, of whoever used the chat.
#[utoipa::path(get, path = "/api/v1/analytics/comments", tag = "Sessions", security(("token" = [])),
    params(openapi::Site, openapi::Within, openapi::Rated,
        ("cursor" = Option<String>, Query, description = "The `next` of the page before"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 500, description = "Most comments; default 50")),
    responses((status = 200, body = Comments), openapi::Refused))]
pub(super) async fn list(state: State, caller: Caller, mut query: Query) -> Result<Json<Comments>, ApiError> {
    let (scope, range) = (Scope::of(&caller, &mut query)?, query.range(Millis::now())?);
    let (rating, after) = (query.rating()?, query.comment_cursor(scope.site.as_ref())?);
    let limit = query.limit(LIMIT, MOST)?;
    query.end()?;
    let page =
        state.read_of(&scope, move |store, site| Ok(store.comments(site, range, rating, after.as_ref(), limit)?));
    let page = page.await?;
    Ok(Json(Comments { comments: page.comments, next: page.next.as_ref().map(comment_cursor) }))
}
