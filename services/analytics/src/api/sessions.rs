//! Sessions one by one: lists, details, copies to hand out, and erasure.

use axum::{
    Json,
    extract::{Path, rejection::PathRejection},
    http::{HeaderName, HeaderValue, header},
};
use protocol::{Millis, SessionId, SiteId};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    State,
    access::Caller,
    openapi,
    params::{Query, cursor},
    problem::ApiError,
    scope::Scope,
};
use crate::{
    Erased, Store,
    query::{SessionDetail, SessionRow},
};

const LIMIT: usize = 50;
pub(super) const MOST: usize = 500;

/// A page of a list.
#[derive(Serialize, ToSchema)]
pub(super) struct List {
    /// Newest first. A page may have fewer than asked for, or none, and still have a next one.
    sessions: Vec<SessionRow>,
    /// The `cursor` of the next page; none at the end.
    next: Option<String>,
}

/// What is known of a customer.
#[derive(Serialize, ToSchema)]
pub(super) struct Customer {
    #[schema(value_type = String)]
    site: SiteId,
    /// All that are kept.
    sessions: Vec<SessionDetail>,
}

/// A file to keep.
pub(super) type File<T> = ([(HeaderName, HeaderValue); 1], Json<T>);

fn file<T>(name: &str, content: T) -> File<T> {
    let disposition = HeaderValue::from_maybe_shared(format!("attachment; filename=\"{name}.json\""));
    let disposition = disposition.expect("ids make a header");
    ([(header::CONTENT_DISPOSITION, disposition)], Json(content))
}

/// Sessions, newest first.
#[utoipa::path(get, path = "/api/v1/analytics/sessions", tag = "Sessions", security(("token" = [])),
    params(openapi::Site, openapi::Within, openapi::Conditions,
        ("cursor" = Option<String>, Query, description = "The `next` of the page before"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 500, description = "Most sessions; default 50")),
    responses((status = 200, body = List), openapi::Refused))]
pub(super) async fn list(state: State, caller: Caller, mut query: Query) -> Result<Json<List>, ApiError> {
    let (scope, range) = (Scope::of(&caller, &mut query)?, query.range(Millis::now())?);
    let (filter, after) = (query.filter()?, query.cursor(scope.site.as_ref())?);
    let limit = query.limit(LIMIT, MOST)?;
    query.end()?;
    let page =
        state.read_of(&scope, move |store, site| Ok(store.sessions(site, range, &filter, after.as_ref(), limit)?));
    let page = page.await?;
    Ok(Json(List { sessions: page.sessions, next: page.next.as_ref().map(cursor) }))
}

/// One session with what happened in it.
#[utoipa::path(get, path = "/api/v1/analytics/sessions/{id}", tag = "Sessions", security(("token" = [])),
    params(openapi::Session, openapi::Site),
    responses((status = 200, body = SessionDetail), openapi::Refused))]
pub(super) async fn detail(
    state: State,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
    query: Query,
) -> Result<Json<SessionDetail>, ApiError> {
    Ok(Json(find(&state, &caller, id, query).await?))
}

/// The same as a file to hand out.
#[utoipa::path(get, path = "/api/v1/analytics/sessions/{id}/export", tag = "Sessions", security(("token" = [])),
    params(openapi::Session, openapi::Site),
    responses((status = 200, body = SessionDetail), openapi::Refused))]
pub(super) async fn export(
    state: State,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
    query: Query,
) -> Result<File<SessionDetail>, ApiError> {
    let detail = find(&state, &caller, id, query).await?;
    Ok(file(&format!("frontdesk-{}", detail.row.id), detail))
}

/// Erases a session; the answer is the receipt. It stays in the sums of its site.
#[utoipa::path(delete, path = "/api/v1/analytics/sessions/{id}", tag = "Sessions", security(("token" = [])),
    params(openapi::Session, openapi::Site),
    responses((status = 200, body = openapi::Erased), openapi::Refused))]
pub(super) async fn erase(
    state: State,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
    mut query: Query,
) -> Result<Json<Erased>, ApiError> {
    let (scope, id) = (Scope::of(&caller, &mut query)?, session_id(id)?);
    query.end()?;
    let erased = state.read_of(&scope, move |store, site| {
        // Where the site is named also one of which nothing is known here: its facts may still be on their way.
        let site = site.map_or_else(|| look(store, None, &id).map(|(site, _)| site), |site| Ok(site.clone()))?;
        Ok(store.erase_session(&site, &id)?)
    });
    Ok(Json(erased.await?))
}

/// All that is known of a customer of a site, as a file to hand out.
#[utoipa::path(get, path = "/api/v1/analytics/customers/export", tag = "Customers", security(("token" = [])),
    params(openapi::Site, openapi::CustomerName),
    responses((status = 200, body = Customer), openapi::Refused))]
pub(super) async fn export_customer(
    state: State,
    caller: Caller,
    mut query: Query,
) -> Result<File<Customer>, ApiError> {
    let (scope, site, customer) = customer(&caller, &mut query)?;
    query.end()?;
    let sessions = state.read_of(&scope, {
        let site = site.clone();
        move |store, _| Ok(store.export_customer(&site, &customer)?)
    });
    Ok(file("frontdesk-customer", Customer { sessions: sessions.await?, site }))
}

/// Erases all sessions of a customer of a site; the answer is the receipt. They stay in the sums of the site.
#[utoipa::path(delete, path = "/api/v1/analytics/customers", tag = "Customers", security(("token" = [])),
    params(openapi::Site, openapi::CustomerName),
    responses((status = 200, body = openapi::Erased), openapi::Refused))]
pub(super) async fn erase_customer(state: State, caller: Caller, mut query: Query) -> Result<Json<Erased>, ApiError> {
    let (scope, site, customer) = customer(&caller, &mut query)?;
    query.end()?;
    let erased = state.read_of(&scope, move |store, _| Ok(store.erase_customer(&site, &customer)?));
    Ok(Json(erased.await?))
}

/// Of which site, and the customer as analytics knows them.
fn customer(caller: &Caller, query: &mut Query) -> Result<(Scope, SiteId, String), ApiError> {
    let (scope, site) = Scope::one(caller, query)?;
    let name = query.text("customer", runtime::customer::MAX_CHARS)?;
    let name = name.ok_or_else(|| ApiError::field("customer", "is needed: the shop's own word for them"))?;
    let hash = runtime::customer::hash(site.as_str(), &name);
    Ok((scope, site, hash))
}

async fn find(
    state: &State,
    caller: &Caller,
    id: Result<Path<String>, PathRejection>,
    mut query: Query,
) -> Result<SessionDetail, ApiError> {
    let (scope, id) = (Scope::of(caller, &mut query)?, session_id(id)?);
    query.end()?;
    state.read_of(&scope, move |store, site| Ok(look(store, site, &id)?.1)).await
}

/// Where a session is known, and what is known of it. Whoever sees all sites need not say which it is of.
fn look(store: &Store, site: Option<&SiteId>, id: &SessionId) -> Result<(SiteId, SessionDetail), ApiError> {
    let sites = site.map_or_else(|| store.sites(), |site| Ok(vec![site.clone()]))?;
    for site in sites {
        if let Some(detail) = store.session(&site, id)? {
            return Ok((site, detail));
        }
    }
    Err(ApiError::SessionUnknown)
}

/// What is not the form of an id is no session.
fn session_id(id: Result<Path<String>, PathRejection>) -> Result<SessionId, ApiError> {
    let Path(id) = id.map_err(|_| ApiError::SessionUnknown)?;
    SessionId::new(&id).map_err(|_| ApiError::SessionUnknown)
}
