//! What is forgotten by its age. Each transaction that writes forgets a little more than it adds: there is neither a
//! second writer nor a long pause, and where nothing is written nothing grows.

use std::{ops::Range, time::Duration};

use protocol::Millis;
use redb::{Key, ReadableTable as _, ReadableTableMetadata as _, Table, Value};

use super::{
    Error, REMEMBERED,
    tables::{ALL_SITES, Applied, FORGET_KEY, Span, Tables, bucket_key, fact_time, live_place, page_key, step_at},
};
use crate::query::Bucket;

/// Facts that are remembered in memory for as long as they should, some 50 MB; of more, those of the last [`BRIEFLY`].
const MANY_IN_MEMORY: u64 = if cfg!(test) { 1_000 } else { 1_000_000 };
/// Where there are too many.
const BRIEFLY: Duration = Duration::from_secs(600);

const DAY: Duration = Duration::from_secs(24 * 3600);

/// How long figures are kept by minutes.
pub(crate) const MINUTES_KEPT: Duration = DAY.saturating_mul(8);
/// How long they are kept by hours, and pages by days. Figures by days, and pages by
/// [`SPAN_DAYS`](super::tables::SPAN_DAYS), are kept for ever.
pub(crate) const HOURS_KEPT: Duration = DAY.saturating_mul(400);

/// Sessions in which something happened within this time are live. Told in whole minutes.
pub(crate) const LIVE_MINUTES: u32 = 5;

/// So long before.
pub(super) fn before(now: Millis, time: Duration) -> Millis {
    Millis(now.0.saturating_sub(i64::try_from(time.as_millis()).unwrap_or(i64::MAX)))
}

/// The first step that is kept.
pub(super) fn kept_from(bucket: Bucket, now: Millis) -> u32 {
    match bucket {
        Bucket::Minute => step_at(bucket, before(now, MINUTES_KEPT)),
        Bucket::Hour => step_at(bucket, before(now, HOURS_KEPT)),
        Bucket::Day => 0,
    }
}

/// The first day of which pages are kept by the day.
pub(super) fn pages_kept_from(now: Millis) -> u32 {
    step_at(Bucket::Day, before(now, HOURS_KEPT))
}

/// The first minute that is live.
pub(super) fn live_from(now: Millis) -> u32 {
    step_at(Bucket::Minute, now).saturating_sub(LIVE_MINUTES)
}

/// Forgets facts that were applied longer ago than `remembered`, and what is too old of one site, `most` of each. Which
/// site is left to the clock: all have their turn, and none must be remembered.
pub(super) fn forget(tables: &mut Tables<'_>, now: Millis, remembered: Duration, most: usize) -> Result<(), Error> {
    facts(tables, now, remembered, most)?;
    let sites = i64::try_from(tables.sites.len()?).unwrap_or(i64::MAX).saturating_add(1);
    let site = u32::try_from(now.0.rem_euclid(sites)).unwrap_or(ALL_SITES);
    for bucket in [Bucket::Minute, Bucket::Hour] {
        let (first, end) = (bucket_key(bucket, site, 0), bucket_key(bucket, site, kept_from(bucket, now)));
        remove(&mut tables.buckets, &first..&end, most)?;
    }
    let (first, end) = (page_key(Span::Day, site, 0, ""), page_key(Span::Day, site, pages_kept_from(now), ""));
    remove(&mut tables.pages, first.as_slice()..end.as_slice(), most)?;
    remove(&mut tables.live, &live_place(site, 0)..&live_place(site, live_from(now)), most)
}

fn remove<'a, K: Key + 'static, V: Value + 'static>(
    table: &mut Table<'_, K, V>,
    range: Range<K::SelfType<'a>>,
    most: usize,
) -> Result<(), Error> {
    for removed in table.extract_from_if(range, |_, _| true)?.take(most) {
        removed?;
    }
    Ok(())
}

/// Looks at `most` facts, from where the last call ended. Facts are named by when their session began: of sessions
/// that began lately none can be old, and those are left out. Not left out are the ones that, by a wrong clock, have
/// not begun yet.
fn facts(tables: &mut Tables<'_>, now: Millis, remembered: Duration, most: usize) -> Result<(), Error> {
    let in_memory = remembered < REMEMBERED;
    let remembered = if in_memory && tables.applied.len()? > MANY_IN_MEMORY { BRIEFLY } else { remembered };
    let seconds = |at: Millis| fact_time(u64::try_from(at.0 / 1_000).unwrap_or(0));
    let oldest = before(now, remembered);
    let (lately, ahead) = (seconds(oldest), seconds(now.after(DAY)));
    let mut from = tables.meta.get(FORGET_KEY)?.map_or(0, |place| place.value());
    if from >= u64::from(lately) << 32 {
        from = from.max(u64::from(ahead) << 32);
    }
    let is_early = from < u64::from(lately) << 32;
    let (mut first, mut end) = ([0; 16], [u8::MAX; 16]);
    first[..8].copy_from_slice(&from.to_be_bytes());
    if is_early {
        end = [0; 16];
        end[..4].copy_from_slice(&lately.to_be_bytes());
    }
    let (mut seen, mut last, mut old) = (0, from, Vec::new());
    for row in tables.applied.range::<&[u8; 16]>(&first..=&end)?.take(most) {
        let (key, applied) = row?;
        let key = *key.value();
        seen += 1;
        last = key[..8].try_into().map_or(last, u64::from_be_bytes);
        if Applied::unpack(applied.value()).minute < step_at(Bucket::Minute, oldest) {
            old.push(key);
        }
    }
    for key in &old {
        tables.applied.remove(key)?;
    }
    // At the end of a part the other one is next.
    let next = match (seen < most, is_early) {
        (false, _) => last,
        (true, true) => u64::from(ahead) << 32,
        (true, false) => 0,
    };
    if next != from {
        tables.meta.insert(FORGET_KEY, next)?;
    }
    Ok(())
}
