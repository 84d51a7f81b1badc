//! Whole tables as files. They are read piece by piece while the client takes them, so neither memory nor a thread is
//! held by who is slow.

use std::{fmt::Write as _, io};

use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use futures_util::{StreamExt as _, stream};
use protocol::{Millis, Rating};
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;
use utoipa::ToSchema;

use super::{
    State, access::Caller, csv::Csv, figures, openapi, params::Query, problem::ApiError, scope::Scope, sessions::MOST,
};
use crate::query::{CommentPlace, CommentRow, Filter, Place, Range, SessionRow, Timeseries};

/// The words of [`What`].
const WHAT: &str = "sessions, timeseries or comments";

/// What an export is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum What {
    /// One row a session.
    Sessions,
    /// One row a step.
    Timeseries,
    /// One row a comment; of the conditions, `rating` alone.
    Comments,
}

/// How it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Format {
    /// RFC 4180, with a head. Text that a spreadsheet would take for a formula has an apostrophe in front.
    Csv,
    /// The same as the route that the table is of.
    Json,
}

/// A table as a file: all that `sessions` or `comments` would list page by page, or what `timeseries` answers.
#[utoipa::path(get, path = "/api/v1/analytics/export", tag = "Files", security(("token" = [])),
    params(openapi::Site, openapi::Within, openapi::Steps, openapi::Conditions,
        ("what" = What, Query, description = "Which table"),
        ("format" = Option<Format>, Query, description = "How it is written; default csv")),
    responses((status = 200, description = "The file", content((String = "text/csv"), (String = "application/json"))),
        openapi::Refused))]
pub(super) async fn export(state: State, caller: Caller, mut query: Query) -> Result<Response, ApiError> {
    let now = Millis::now();
    let (scope, range) = (Scope::of(&caller, &mut query)?, query.range(now)?);
    let what = query.word("what", WHAT)?;
    let what = what.ok_or_else(|| ApiError::field("what", format!("is needed: {WHAT}")))?;
    let format = query.word("format", "csv or json")?.unwrap_or(Format::Csv);
    let body = match what {
        What::Timeseries => {
            let (bucket, metrics) = query.series(range, now)?;
            query.end()?;
            let series = figures::series(&state, &scope, range, bucket, metrics).await?;
            Body::from(match format {
                Format::Csv => series_csv(&series.timeseries),
                Format::Json => json(&series)?,
            })
        }
        What::Sessions | What::Comments => {
            let rows = match what {
                What::Comments => Rows::Comments { rating: query.rating()?, after: None },
                _ => Rows::Sessions { filter: query.filter()?, after: None },
            };
            query.end()?;
            let place = state.stream(&caller)?;
            let mut table = Table { state, scope, range, rows, format, begun: false, over: false, place };
            // Before the answer begins, so that what is wrong can still be told.
            let first = table.piece().await?;
            let rest = stream::try_unfold(table, async |mut table| match table.over {
                true => Ok(None),
                false => match table.piece().await {
                    Ok(piece) => Ok(Some((piece, table))),
                    Err(error) => {
                        tracing::error!(?error, "an export broke off");
                        Err(io::Error::other("the export broke off"))
                    }
                },
            });
            Body::from_stream(stream::iter([Ok(first)]).chain(rest))
        }
    };
    let (kind, end) = match format {
        Format::Csv => ("text/csv; charset=utf-8; header=present", "csv"),
        Format::Json => ("application/json", "json"),
    };
    let name = match what {
        What::Sessions => "sessions",
        What::Timeseries => "timeseries",
        What::Comments => "comments",
    };
    let disposition = format!("attachment; filename=\"frontdesk-{name}.{end}\"");
    let mut response = ([(header::CONTENT_TYPE, kind)], body).into_response();
    let disposition = HeaderValue::from_maybe_shared(disposition).expect("words make a header");
    response.headers_mut().insert(header::CONTENT_DISPOSITION, disposition);
    Ok(response)
}

/// Of what a table that is being sent is, and how far it is.
enum Rows {
    Sessions { filter: Filter, after: Option<Place> },
    Comments { rating: Option<Rating>, after: Option<CommentPlace> },
}

/// A table that is being sent.
struct Table {
    state: State,
    scope: Scope,
    range: Range,
    rows: Rows,
    format: Format,
    begun: bool,
    over: bool,
    #[expect(dead_code, reason = "held while it is sent")]
    place: OwnedSemaphorePermit,
}

impl Table {
    /// The next rows. Together the pieces are the file.
    async fn piece(&mut self) -> Result<String, ApiError> {
        let (scope, range) = (self.scope.clone(), self.range);
        match &mut self.rows {
            Rows::Sessions { filter, after } => {
                let (filter, from) = (filter.clone(), after.take());
                let page = self.state.ask((), move |store| {
                    Ok(store.sessions(scope.check(store)?, range, &filter, from.as_ref(), MOST)?)
                });
                let page = page.await?;
                self.over = page.next.is_none();
                *after = page.next;
                self.write("sessions", &page.sessions, &COLUMNS, session_csv)
            }
            Rows::Comments { rating, after } => {
                let (rating, from) = (*rating, after.take());
                let page = self.state.ask((), move |store| {
                    Ok(store.comments(scope.check(store)?, range, rating, from.as_ref(), MOST)?)
                });
                let page = page.await?;
                self.over = page.next.is_none();
                *after = page.next;
                self.write("comments", &page.comments, &COMMENT_COLUMNS, comment_csv)
            }
        }
    }

    fn write<T: serde::Serialize>(
        &mut self,
        name: &str,
        rows: &[T],
        columns: &[&str],
        cells: impl Fn(&mut Csv, &T),
    ) -> Result<String, ApiError> {
        match self.format {
            Format::Csv => Ok(self.csv(rows, columns, cells)),
            Format::Json => self.json(name, rows),
        }
    }

    fn csv<T>(&mut self, rows: &[T], columns: &[&str], cells: impl Fn(&mut Csv, &T)) -> String {
        let mut csv = Csv::default();
        if !std::mem::replace(&mut self.begun, true) {
            for name in columns {
                csv.own(name);
            }
            csv.end();
        }
        for row in rows {
            cells(&mut csv, row);
        }
        csv.done()
    }

    fn json<T: serde::Serialize>(&mut self, name: &str, rows: &[T]) -> Result<String, ApiError> {
        let mut text = String::new();
        for row in rows {
            match std::mem::replace(&mut self.begun, true) {
                true => text.push_str(",\n"),
                false => text.push_str(&format!("{{\"{name}\":[\n")),
            }
            text.push_str(&json(row)?);
        }
        if self.over {
            match self.begun {
                true => text.push_str("\n]}\n"),
                false => text.push_str(&format!("{{\"{name}\":[]}}\n")),
            }
        }
        Ok(text)
    }
}

const COLUMNS: [&str; 21] = [
    "id",
    "site",
    "started",
    "last_seen",
    "page_path",
    "locale",
    "device",
    "country",
    "identified",
    "bot",
    "messages",
    "ended",
    "cancelled",
    "failed",
    "failure_codes",
    "pushed",
    "chunks",
    "rated_up",
    "rated_down",
    "first_chunk_ms",
    "duration_ms",
];

fn session_csv(csv: &mut Csv, row: &SessionRow) {
    let codes = row.failed.iter().fold(String::new(), |mut codes, (code, count)| {
        // Writing to a String does not fail.
        let _ = write!(codes, "{}{code}:{count}", if codes.is_empty() { "" } else { " " });
        codes
    });
    csv.own(&row.id)
        .own(&row.site)
        .own(rfc3339(row.started.0))
        .own(rfc3339(row.last_seen.0))
        .text(row.page_path.as_deref().unwrap_or_default())
        .text(row.locale.as_deref().unwrap_or_default())
        .text(&name(row.device))
        .text(row.country.as_deref().unwrap_or_default())
        .own(row.identified)
        .text(&name(row.bot))
        .own(row.messages)
        .own(row.ended)
        .own(row.cancelled)
        .own(row.failed.values().fold(0_u64, |sum, count| sum.saturating_add(*count)))
        .text(&codes)
        .own(row.pushed)
        .own(row.chunks)
        .own(row.rated_up)
        .own(row.rated_down)
        .maybe(row.first_chunk_ms)
        .maybe(row.duration_ms)
        .end();
}

const COMMENT_COLUMNS: [&str; 7] = ["at", "site", "session", "message_id", "rating", "page_path", "comment"];

fn comment_csv(csv: &mut Csv, row: &CommentRow) {
    csv.own(rfc3339(row.at.0))
        .own(&row.site)
        .own(&row.session)
        .text(row.message_id.as_str())
        .own(name(row.rating))
        .text(row.page_path.as_deref().unwrap_or_default())
        .text(&row.comment.0)
        .end();
}

fn series_csv(series: &Timeseries) -> String {
    let mut csv = Csv::default();
    csv.own("time");
    for metric in series.series.keys() {
        csv.own(name(metric));
    }
    csv.end();
    for (at, seconds) in series.t.iter().enumerate() {
        csv.own(rfc3339(seconds.saturating_mul(1_000)));
        for values in series.series.values() {
            csv.maybe(values.get(at).copied().flatten());
        }
        csv.end();
    }
    csv.done()
}

/// An enum's word as JSON has it; empty for none.
fn name(word: impl serde::Serialize) -> String {
    match serde_json::to_value(word) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}

fn json(value: &impl serde::Serialize) -> Result<String, ApiError> {
    serde_json::to_string(value).map_err(|_| ApiError::Internal)
}

fn rfc3339(millis: i64) -> String {
    jiff::Timestamp::from_millisecond(millis).map_or_else(|_| String::new(), |time| format!("{time:.3}"))
}
