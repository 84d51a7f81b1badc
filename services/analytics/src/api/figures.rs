//! What happened, in figures. All of it is read from sums that were made when it happened, so a year costs little more
//! than a day.

use std::collections::BTreeMap;

use axum::Json;
use protocol::{Millis, SiteId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{State, access::Caller, openapi, params::Query, problem::ApiError, scope::Scope};
use crate::{
    Error, Store,
    query::{Bucket, BusyHours, Metric, Pages, Range, Summary, Timeseries},
};

/// A summary, and what it is of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Overview {
    /// The site; none: all of them.
    #[schema(value_type = Option<String>)]
    pub site: Option<SiteId>,
    /// The first moment of the range that was asked for, Unix ms.
    #[schema(value_type = i64)]
    pub from: Millis,
    /// The first one behind it, Unix ms.
    #[schema(value_type = i64)]
    pub until: Millis,
    /// Whether the database holds made-up data.
    pub demo: bool,
    /// Sessions in which something happened in the last five minutes.
    pub live_sessions: u64,
    /// The figures.
    #[serde(flatten)]
    pub summary: Summary,
}

impl Overview {
    pub(crate) fn read(store: &Store, site: Option<&SiteId>, range: Range, now: Millis) -> Result<Self, Error> {
        Ok(Self {
            site: site.cloned(),
            from: range.from,
            until: range.until,
            demo: store.is_demo()?,
            live_sessions: store.live(site, now)?,
            summary: store.summary(site, range)?,
        })
    }
}

/// Series, and what they are of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Series {
    /// The first moment of the range that was asked for, Unix ms.
    #[schema(value_type = i64)]
    pub from: Millis,
    /// The first one behind it, Unix ms.
    #[schema(value_type = i64)]
    pub until: Millis,
    /// How long a step is.
    pub bucket: Bucket,
    /// The steps and their values.
    #[serde(flatten)]
    pub timeseries: Timeseries,
}

/// How replies ended.
#[derive(Serialize, ToSchema)]
pub(super) struct Outcomes {
    ended: u64,
    cancelled: u64,
    /// By the public code.
    failed: BTreeMap<String, u64>,
}

/// Calls refused.
#[derive(Serialize, ToSchema)]
pub(super) struct Refusals {
    /// By reason.
    refused: BTreeMap<String, u64>,
}

/// Sessions now.
#[derive(Serialize, ToSchema)]
pub(super) struct Live {
    /// In which something happened in the last five minutes.
    sessions: u64,
    /// When that was counted, Unix ms.
    #[schema(value_type = i64)]
    at: Millis,
}

/// Sites that the token may see.
#[derive(Serialize, ToSchema)]
pub(super) struct Sites {
    #[schema(value_type = Vec<String>)]
    sites: Vec<SiteId>,
}

const PAGES: usize = 20;
const MOST_PAGES: usize = 200;
/// Minutes east of UTC, as far as time zones go.
const OFFSETS: std::ops::RangeInclusive<i32> = -720..=840;

/// What happened in a range.
#[utoipa::path(get, path = "/api/v1/analytics/summary", tag = "Figures", security(("token" = [])),
    params(openapi::Site, openapi::Within),
    responses((status = 200, body = Overview), openapi::Refused))]
pub(super) async fn summary(state: State, caller: Caller, mut query: Query) -> Result<Json<Overview>, ApiError> {
    let now = Millis::now();
    let (scope, range) = (Scope::of(&caller, &mut query)?, query.range(now)?);
    query.end()?;
    Ok(Json(state.read_of(&scope, move |store, site| Ok(Overview::read(store, site, range, now)?)).await?))
}

/// What happened, step by step.
#[utoipa::path(get, path = "/api/v1/analytics/timeseries", tag = "Figures", security(("token" = [])),
    params(openapi::Site, openapi::Within, openapi::Steps),
    responses((status = 200, body = Series), openapi::Refused))]
pub(super) async fn timeseries(state: State, caller: Caller, mut query: Query) -> Result<Json<Series>, ApiError> {
    let now = Millis::now();
    let (scope, range) = (Scope::of(&caller, &mut query)?, query.range(now)?);
    let (bucket, metrics) = query.series(range, now)?;
    query.end()?;
    Ok(Json(series(&state, &scope, range, bucket, metrics).await?))
}

pub(super) async fn series(
    state: &State,
    scope: &Scope,
    range: Range,
    bucket: Bucket,
    metrics: Vec<Metric>,
) -> Result<Series, ApiError> {
    let series = state.read_of(scope, move |store, site| {
        let timeseries = store.timeseries(site, range, bucket, &metrics)?;
        Ok(Series { from: range.from, until: range.until, bucket, timeseries })
    });
    series.await
}

/// Messages by day of the week and hour of the day.
#[utoipa::path(get, path = "/api/v1/analytics/busy-hours", tag = "Figures", security(("token" = [])),
    params(openapi::Site, openapi::Within,
        ("tz_offset" = Option<i32>, Query, minimum = -720, maximum = 840,
            description = "Minutes east of UTC of the time zone whose hours are asked for; default 0")),
    responses((status = 200, body = BusyHours), openapi::Refused))]
pub(super) async fn busy_hours(state: State, caller: Caller, mut query: Query) -> Result<Json<BusyHours>, ApiError> {
    let (scope, range) = (Scope::of(&caller, &mut query)?, query.range(Millis::now())?);
    let form = "minutes east of UTC, from -720 to 840";
    let offset: i32 = query.parsed("tz_offset", form)?.unwrap_or(0);
    if !OFFSETS.contains(&offset) {
        return Err(ApiError::field("tz_offset", format!("must be {form}")));
    }
    query.end()?;
    Ok(Json(state.read_of(&scope, move |store, site| Ok(store.busy_hours(site, range, offset)?)).await?))
}

/// On which pages of the shop sessions began.
#[utoipa::path(get, path = "/api/v1/analytics/pages", tag = "Figures", security(("token" = [])),
    params(openapi::Site, openapi::Within,
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "Most pages; default 20")),
    responses((status = 200, body = Pages), openapi::Refused))]
pub(super) async fn pages(state: State, caller: Caller, mut query: Query) -> Result<Json<Pages>, ApiError> {
    let (scope, range) = (Scope::of(&caller, &mut query)?, query.range(Millis::now())?);
    let limit = query.limit(PAGES, MOST_PAGES)?;
    query.end()?;
    Ok(Json(state.read_of(&scope, move |store, site| Ok(store.pages(site, range, limit)?)).await?))
}

/// How replies ended.
#[utoipa::path(get, path = "/api/v1/analytics/outcomes", tag = "Figures", security(("token" = [])),
    params(openapi::Site, openapi::Within),
    responses((status = 200, body = Outcomes), openapi::Refused))]
pub(super) async fn outcomes(state: State, caller: Caller, query: Query) -> Result<Json<Outcomes>, ApiError> {
    let Summary { ended, cancelled, failed, .. } = of_range(&state, &caller, query).await?;
    Ok(Json(Outcomes { ended, cancelled, failed }))
}

/// Calls refused, by reason.
#[utoipa::path(get, path = "/api/v1/analytics/refusals", tag = "Figures", security(("token" = [])),
    params(openapi::Site, openapi::Within),
    responses((status = 200, body = Refusals), openapi::Refused))]
pub(super) async fn refusals(state: State, caller: Caller, query: Query) -> Result<Json<Refusals>, ApiError> {
    let Summary { refused, .. } = of_range(&state, &caller, query).await?;
    Ok(Json(Refusals { refused }))
}

async fn of_range(state: &State, caller: &Caller, mut query: Query) -> Result<Summary, ApiError> {
    let (scope, range) = (Scope::of(caller, &mut query)?, query.range(Millis::now())?);
    query.end()?;
    state.read_of(&scope, move |store, site| Ok(store.summary(site, range)?)).await
}

/// Sessions in which something happened in the last five minutes.
#[utoipa::path(get, path = "/api/v1/analytics/live", tag = "Figures", security(("token" = [])),
    params(openapi::Site),
    responses((status = 200, body = Live), openapi::Refused))]
pub(super) async fn live(state: State, caller: Caller, mut query: Query) -> Result<Json<Live>, ApiError> {
    let scope = Scope::of(&caller, &mut query)?;
    query.end()?;
    let at = Millis::now();
    let sessions = state.read_of(&scope, move |store, site| Ok(store.live(site, at)?)).await?;
    Ok(Json(Live { sessions, at }))
}

/// Sites that the token may see.
#[utoipa::path(get, path = "/api/v1/analytics/sites", tag = "Figures", security(("token" = [])),
    responses((status = 200, body = Sites), openapi::Refused))]
pub(super) async fn sites(state: State, caller: Caller, query: Query) -> Result<Json<Sites>, ApiError> {
    query.end()?;
    let sites = match caller {
        Caller::Site(own) => vec![own],
        Caller::Admin => state.read(|store| Ok(store.sites()?)).await?,
    };
    Ok(Json(Sites { sites }))
}
