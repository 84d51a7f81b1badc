//! Answers from the figures. Each reads the rows of its range, never those of sessions.

use std::collections::{BTreeMap, HashMap};

use protocol::{Millis, SiteId};
use redb::ReadTransaction;

use super::{
    Error,
    apply::read_page,
    figures::Figures,
    forget::{kept_from, live_from, pages_kept_from},
    tables::{
        self, ALL_SITES, BUCKETS, BucketKey, LIVE, PAGES, SITES, SPAN_DAYS, Span, bucket_key, live_place, page_key,
        step_at, step_ms, step_of,
    },
};
use crate::query::{Bucket, BusyHours, Metric, PageCount, Pages, Range, Summary, Timeseries};

/// Up to these lengths a summary reads minutes (at most 1,600 rows), or hours (at most 2,210); beyond it days.
const BY_MINUTES_MS: i64 = 26 * 3_600_000;
const BY_HOURS_MS: i64 = 92 * 86_400_000;

/// Steps of a series, at most; what is beyond is left off.
pub(crate) const MAX_STEPS: u32 = 100_000;

pub(super) fn summary(
    reader: &ReadTransaction,
    site: Option<&SiteId>,
    range: Range,
    now: Millis,
) -> Result<Summary, Error> {
    let length = range.until.0.saturating_sub(range.from.0);
    let kept = |bucket: Bucket| step_at(bucket, range.from) >= kept_from(bucket, now);
    let bucket = if length <= BY_MINUTES_MS && kept(Bucket::Minute) {
        Bucket::Minute
    } else if length <= BY_HOURS_MS && kept(Bucket::Hour) {
        Bucket::Hour
    } else {
        Bucket::Day
    };
    let mut sum = Figures::default();
    each(reader, site, bucket, steps(bucket, range), |_, row| {
        sum.add_all(Figures::read(row)?);
        Ok(())
    })?;
    Ok(sum.summary())
}

pub(super) fn timeseries(
    reader: &ReadTransaction,
    site: Option<&SiteId>,
    range: Range,
    bucket: Bucket,
    metrics: &[Metric],
) -> Result<Timeseries, Error> {
    let (first, end) = steps(bucket, range);
    let end = end.min(first.saturating_add(MAX_STEPS));
    let length = (end - first) as usize;
    let nothing = Figures::default();
    let mut series: BTreeMap<Metric, Vec<Option<u64>>> =
        metrics.iter().map(|metric| (*metric, vec![nothing.metric(*metric); length])).collect();
    each(reader, site, bucket, (first, end), |step, row| {
        let figures = Figures::read(row)?;
        for (metric, values) in &mut series {
            if let Some(value) = values.get_mut((step - first) as usize) {
                *value = figures.metric(*metric);
            }
        }
        Ok(())
    })?;
    let seconds = step_ms(bucket) / 1_000;
    Ok(Timeseries { t: (first..end).map(|step| i64::from(step) * seconds).collect(), series })
}

pub(super) fn busy_hours(
    reader: &ReadTransaction,
    site: Option<&SiteId>,
    range: Range,
    offset_minutes: i32,
) -> Result<BusyHours, Error> {
    let mut messages = [[0_u64; 24]; 7];
    each(reader, site, Bucket::Hour, steps(Bucket::Hour, range), |step, row| {
        let hour = (i64::from(step) * 60 + i64::from(offset_minutes)).div_euclid(60);
        // 1970 began with a Thursday.
        let day = (hour.div_euclid(24) + 3).rem_euclid(7);
        let count = &mut messages[day as usize][hour.rem_euclid(24) as usize];
        *count = count.saturating_add(Figures::read_counts(row)?.messages);
        Ok(())
    })?;
    Ok(BusyHours { messages })
}

pub(super) fn pages(
    reader: &ReadTransaction,
    site: Option<&SiteId>,
    range: Range,
    limit: usize,
    now: Millis,
) -> Result<Pages, Error> {
    let Some(site) = tables::number(&reader.open_table(SITES)?, site)? else { return Ok(Pages::default()) };
    let table = reader.open_table(PAGES)?;
    let (mut day, end) = steps(Bucket::Day, range);
    let (mut counts, mut other) = (HashMap::<String, u64>::new(), 0_u64);
    while day < end {
        let is_whole = day % SPAN_DAYS == 0 && end - day >= SPAN_DAYS;
        let (span, step, next) = if is_whole || day < pages_kept_from(now) {
            (Span::Days, day / SPAN_DAYS, (day / SPAN_DAYS + 1) * SPAN_DAYS)
        } else {
            (Span::Day, day, day + 1)
        };
        let (from, until) = (page_key(span, site, step, ""), page_key(span, site, step + 1, ""));
        for row in table.range(from.as_slice()..until.as_slice())? {
            let (key, row) = row?;
            let (count, _) = read_page(row.value())?;
            match String::from_utf8_lossy(&key.value()[from.len()..]) {
                path if path.is_empty() => other = other.saturating_add(count),
                path => match counts.get_mut(&*path) {
                    Some(known) => *known = known.saturating_add(count),
                    None => drop(counts.insert(path.into_owned(), count)),
                },
            }
        }
        day = next;
    }
    let mut pages: Vec<PageCount> = counts.into_iter().map(|(path, sessions)| PageCount { path, sessions }).collect();
    pages.sort_by(|a, b| b.sessions.cmp(&a.sessions).then_with(|| a.path.cmp(&b.path)));
    let rest = pages.split_off(limit.min(pages.len()));
    Ok(Pages { pages, other: rest.iter().fold(other, |sum, page| sum.saturating_add(page.sessions)) })
}

pub(super) fn live(reader: &ReadTransaction, site: Option<&SiteId>, now: Millis) -> Result<u64, Error> {
    let sites = reader.open_table(SITES)?;
    let numbers = match tables::number(&sites, site)? {
        Some(ALL_SITES) => tables::sites(&sites)?.into_iter().map(|(_, number)| number).collect(),
        one => Vec::from_iter(one),
    };
    let live = reader.open_table(LIVE)?;
    let mut count = 0;
    for site in numbers {
        let rows = live.range::<&[u8; 21]>(&live_place(site, live_from(now))..&live_place(site + 1, 0))?;
        count += rows.count() as u64;
    }
    Ok(count)
}

/// Reads the rows of some steps, the last not among them.
fn each(
    reader: &ReadTransaction,
    site: Option<&SiteId>,
    bucket: Bucket,
    (first, end): (u32, u32),
    mut read: impl FnMut(u32, &[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let Some(site) = tables::number(&reader.open_table(SITES)?, site)? else { return Ok(()) };
    let (first, end) = (bucket_key(bucket, site, first), bucket_key(bucket, site, end));
    for row in reader.open_table(BUCKETS)?.range::<&BucketKey>(&first..&end)? {
        let (key, row) = row?;
        read(step_of(key.value()), row.value())?;
    }
    Ok(())
}

/// The steps that a range touches.
fn steps(bucket: Bucket, range: Range) -> (u32, u32) {
    let first = step_at(bucket, range.from);
    if range.until <= range.from {
        return (first, first);
    }
    let end = step_at(bucket, Millis(range.until.0.saturating_add(step_ms(bucket) - 1)));
    (first, end.max(first))
}
