//! The tables of the file and their keys. Numbers in keys are big-endian, so that their order is that of the bytes.
//!
//! Keys name a site by a number of four bytes, which [`SITES`] gives it; [`ALL_SITES`] is all of them together. A session
//! is 13 bytes: when it began, as its id says, in seconds (5), and the random part of its id (8). So the sessions of a
//! site lie together, the oldest first, and what is new falls on few pages of the file.

use protocol::{Fact, FactId, Millis, SessionId, SiteId};
use redb::{ReadableTable, ReadableTableMetadata as _, Table, TableDefinition, WriteTransaction};
use sha2::{Digest as _, Sha256};

use super::Error;
use crate::query::Bucket;

/// The key in [`META`] of the form of the tables.
pub(super) const SCHEMA_KEY: &str = "schema";
/// The form of the tables below.
pub(super) const SCHEMA: u64 = 3;
/// The key in [`META`] of the form from which the file is being brought to this one; none when that is done.
pub(super) const MIGRATING_KEY: &str = "migrating_from";
/// The key in [`META`] that says that the file holds made-up data.
pub(super) const DEMO_KEY: &str = "demo";
/// The key in [`META`] of the moment, in Unix ms, before which sessions are forgotten: one that began earlier and has no
/// row gets none again.
pub(crate) const EXPIRED_KEY: &str = "expired_before";
/// The key in [`META`] of the place in [`APPLIED`] at which forgetting goes on.
pub(super) const FORGET_KEY: &str = "forget_at";

/// A few numbers by name. Its form never changes: every version looks here first.
pub(crate) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// The number of each site, from 1 on.
pub(crate) const SITES: TableDefinition<'_, &str, u32> = TableDefinition::new("sites");
/// By [`session_key`]: the rows of `row`.
pub(crate) const SESSIONS: TableDefinition<'_, &SessionKey, &[u8]> = TableDefinition::new("session_rows");
/// The sessions of each customer: site, the customer's hash, session.
pub(crate) const CUSTOMERS: TableDefinition<'_, &[u8; 33], ()> = TableDefinition::new("customers");
/// The sessions of the last minutes: site, the minute (4) in which something last happened, session.
pub(crate) const LIVE: TableDefinition<'_, &[u8; 21], ()> = TableDefinition::new("live");
/// By [`bucket_key`]: the figures of `figures`.
pub(crate) const BUCKETS: TableDefinition<'_, &BucketKey, &[u8]> = TableDefinition::new("buckets");
/// By [`page_key`]: how many sessions began on a page. The row of no page has two numbers: the sessions on pages that
/// have no row because there are too many, and how many have one.
pub(crate) const PAGES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("pages");
/// What visitors wrote with their ratings, by the key of `comments`.
pub(crate) const COMMENTS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("comments");
/// Facts that were applied, by [`fact_key`], and when: see [`Applied`].
pub(crate) const APPLIED: TableDefinition<'_, &FactKey, u32> = TableDefinition::new("facts");
/// What callers used of limits, by the limit's name and the number of a block: see `limits`.
pub(crate) const LIMITS: TableDefinition<'_, (&str, u32), &[u8]> = TableDefinition::new("limits");

/// Does the same with every table. A table that is not here is neither made, copied nor backed up.
macro_rules! each_table {
    (|$table:ident| $body:expr) => {
        $crate::store::tables::each_table!(@ $table $body; META SITES SESSIONS CUSTOMERS LIVE BUCKETS PAGES COMMENTS APPLIED LIMITS)
    };
    (@ $table:ident $body:expr; $($name:ident)*) => {{
        $({
            let $table = $crate::store::tables::$name;
            $body
        })*
    }};
}
pub(crate) use each_table;

pub(crate) type SessionKey = [u8; 17];
pub(crate) type BucketKey = [u8; 9];
pub(crate) type FactKey = [u8; 16];

/// All tables, for one who writes.
pub(crate) struct Tables<'t> {
    pub(crate) meta: Table<'t, &'static str, u64>,
    pub(crate) sites: Table<'t, &'static str, u32>,
    pub(crate) sessions: Table<'t, &'static SessionKey, &'static [u8]>,
    pub(crate) customers: Table<'t, &'static [u8; 33], ()>,
    pub(crate) live: Table<'t, &'static [u8; 21], ()>,
    pub(crate) buckets: Table<'t, &'static BucketKey, &'static [u8]>,
    pub(crate) pages: Table<'t, &'static [u8], &'static [u8]>,
    pub(crate) comments: Table<'t, &'static [u8], &'static [u8]>,
    pub(crate) applied: Table<'t, &'static FactKey, u32>,
}

impl<'t> Tables<'t> {
    pub(crate) fn open(transaction: &'t WriteTransaction) -> Result<Self, Error> {
        Ok(Self {
            meta: transaction.open_table(META)?,
            sites: transaction.open_table(SITES)?,
            sessions: transaction.open_table(SESSIONS)?,
            customers: transaction.open_table(CUSTOMERS)?,
            live: transaction.open_table(LIVE)?,
            buckets: transaction.open_table(BUCKETS)?,
            pages: transaction.open_table(PAGES)?,
            comments: transaction.open_table(COMMENTS)?,
            applied: transaction.open_table(APPLIED)?,
        })
    }

    /// The site's number; a new one gets the next, however many there are.
    pub(crate) fn number(&mut self, site: &SiteId) -> Result<u32, Error> {
        if let Some(number) = number_of(&self.sites, site)? {
            return Ok(number);
        }
        let number = u32::try_from(self.sites.len()?).unwrap_or(u32::MAX).saturating_add(1);
        self.sites.insert(site.as_str(), number)?;
        Ok(number)
    }
}

/// Stands for all sites together.
pub(crate) const ALL_SITES: u32 = 0;

/// The site's number, or [`ALL_SITES`]. `None`: nothing was ever told of it.
pub(crate) fn number(
    sites: &impl ReadableTable<&'static str, u32>,
    site: Option<&SiteId>,
) -> Result<Option<u32>, Error> {
    site.map_or(Ok(Some(ALL_SITES)), |site| number_of(sites, site))
}

pub(crate) fn number_of(sites: &impl ReadableTable<&'static str, u32>, site: &SiteId) -> Result<Option<u32>, Error> {
    Ok(sites.get(site.as_str())?.map(|number| number.value()))
}

/// The sites and their numbers, by name.
pub(crate) fn sites(sites: &impl ReadableTable<&'static str, u32>) -> Result<Vec<(SiteId, u32)>, Error> {
    let mut all = Vec::new();
    for row in sites.iter()? {
        let (site, number) = row?;
        all.extend(SiteId::new(site.value()).ok().map(|site| (site, number.value())));
    }
    Ok(all)
}

/// Where a session lies. An id with zeros before its seconds, which nobody mints, counts as the one without.
pub(crate) fn session_key(site: u32, session: &SessionId) -> SessionKey {
    let random = session.as_str().rsplit_once('_').and_then(|(_, hex)| u64::from_str_radix(hex, 16).ok());
    session_place(site, session.began(), random.unwrap_or(0))
}

/// The key of a session of which the parts are known; the last one of a site and second has `random` [`u64::MAX`].
pub(crate) fn session_place(site: u32, began: u64, random: u64) -> SessionKey {
    let mut key = [0; 17];
    key[..4].copy_from_slice(&site.to_be_bytes());
    // An id has at most 12 digits, which fit into 40 bits; what a caller asks for may be anything.
    key[4..9].copy_from_slice(&began.min((1 << 40) - 1).to_be_bytes()[3..]);
    key[9..].copy_from_slice(&random.to_be_bytes());
    key
}

/// The next key.
pub(crate) fn successor(mut key: SessionKey) -> SessionKey {
    for byte in key.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            break;
        }
    }
    key
}

/// The session at a place.
pub(crate) fn session_of(key: &SessionKey) -> SessionId {
    let [_, _, _, _, began @ .., r0, r1, r2, r3, r4, r5, r6, r7] = *key;
    let began = began.into_iter().fold(0, |seconds, byte| seconds << 8 | u64::from(byte));
    SessionId::mint(began, u64::from_be_bytes([r0, r1, r2, r3, r4, r5, r6, r7]))
}

/// The key in [`CUSTOMERS`].
pub(crate) fn customer_key(customer: &[u8; 16], session: &SessionKey) -> [u8; 33] {
    let mut key = [0; 33];
    key[..4].copy_from_slice(&session[..4]);
    key[4..20].copy_from_slice(customer);
    key[20..].copy_from_slice(&session[4..]);
    key
}

/// The session of a key of [`CUSTOMERS`].
pub(crate) fn session_of_customer(key: &[u8; 33]) -> SessionKey {
    let mut session = [0; 17];
    session[..4].copy_from_slice(&key[..4]);
    session[4..].copy_from_slice(&key[20..]);
    session
}

/// The key in [`LIVE`].
pub(crate) fn live_key(minute: u32, session: &SessionKey) -> [u8; 21] {
    let mut key = [0; 21];
    key[..4].copy_from_slice(&session[..4]);
    key[4..8].copy_from_slice(&minute.to_be_bytes());
    key[8..].copy_from_slice(&session[4..]);
    key
}

/// The lowest key in [`LIVE`] of a site and minute.
pub(crate) fn live_place(site: u32, minute: u32) -> [u8; 21] {
    live_key(minute, &session_place(site, 0, 0))
}

/// Where the figures of a site and time lie. The site stands before the time: a query of one site reads one run of rows.
pub(crate) fn bucket_key(bucket: Bucket, site: u32, step: u32) -> BucketKey {
    let mut key = [0; 9];
    key[0] = bucket as u8;
    key[1..5].copy_from_slice(&site.to_be_bytes());
    key[5..].copy_from_slice(&step.to_be_bytes());
    key
}

/// The step of a key of [`BUCKETS`] or [`PAGES`].
pub(crate) fn step_of(key: &[u8]) -> u32 {
    key.get(5..9).and_then(|step| step.try_into().ok()).map_or(0, u32::from_be_bytes)
}

/// How long a step is, in ms.
pub(crate) fn step_ms(bucket: Bucket) -> i64 {
    match bucket {
        Bucket::Minute => 60_000,
        Bucket::Hour => 3_600_000,
        Bucket::Day => 86_400_000,
    }
}

/// In which step a moment lies, counted from 1970.
pub(crate) fn step_at(bucket: Bucket, at: Millis) -> u32 {
    u32::try_from(at.0.div_euclid(step_ms(bucket)).max(0)).unwrap_or(u32::MAX)
}

/// Over how long pages are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Span {
    Day,
    /// [`SPAN_DAYS`] days, from 1970 on.
    Days,
}

/// The days of a [`Span::Days`]: a year of pages is read from some seventy steps.
pub(crate) const SPAN_DAYS: u32 = 30;

/// Where a page's count lies; that of no page at the front.
pub(crate) fn page_key(span: Span, site: u32, step: u32, path: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(9 + path.len());
    key.push(span as u8);
    key.extend_from_slice(&site.to_be_bytes());
    key.extend_from_slice(&step.to_be_bytes());
    key.extend_from_slice(path.as_bytes());
    key
}

/// Names a fact: a time in seconds (4), which is its session's or, if it has none, its own, and 96 bits of the SHA-256 of
/// its id. Ids themselves would be most of the file; with the time in front, new ones fall on few pages, and old ones
/// are found without a second table.
pub(crate) fn fact_key(fact: &Fact) -> FactKey {
    let own = u64::try_from(fact.at.0 / 1_000).unwrap_or(0);
    id_key(fact.session.as_ref().map_or(own, SessionId::began), &fact.id)
}

/// The same of a fact that a session, which began then, has or will have.
pub(crate) fn id_key(began: u64, id: &FactId) -> FactKey {
    let digest = Sha256::digest(id.as_str());
    let mut key = [0; 16];
    key[..4].copy_from_slice(&fact_time(began).to_be_bytes());
    key[4..].copy_from_slice(&digest[..12]);
    key
}

/// The time in the key of a fact.
pub(crate) fn fact_time(seconds: u64) -> u32 {
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

/// What stands beside a fact's key: the minute in which it was applied, and whether it was told at all. Not when it
/// happened: one that waited in the stream for long is as likely to come again as any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Applied {
    pub(crate) minute: u32,
    /// Only the end of the message was told: that it was accepted, which this fact would say, is counted already.
    pub(crate) inferred: bool,
}

impl Applied {
    pub(crate) fn at(now: Millis) -> Self {
        Self { minute: step_at(Bucket::Minute, now), inferred: false }
    }

    pub(crate) fn pack(self) -> u32 {
        self.minute << 1 | u32::from(self.inferred)
    }

    pub(crate) fn unpack(packed: u32) -> Self {
        Self { minute: packed >> 1, inferred: packed & 1 == 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_what_they_name_and_order_it() {
        let check = |id: SessionId| {
            let key = session_key(7, &id);
            assert_eq!(session_of(&key), id);
            assert_eq!(session_of_customer(&customer_key(&[9; 16], &key)), key);
            key
        };
        let early = check(SessionId::mint(1, u64::MAX));
        let later = check(SessionId::mint(1_767_168_909, 1));
        let last = check(SessionId::mint(999_999_999_999, u64::MAX));
        assert!(early < later && later < last && last < session_key(8, &SessionId::mint(0, 0)));
        assert!(last < session_place(7, u64::MAX, 0), "no id is behind the last place");
        assert!(live_place(7, 5) <= live_key(5, &early) && live_key(5, &last) < live_place(7, 6));
    }

    #[test]
    fn a_minute_is_kept_with_its_mark() {
        let applied = Applied { minute: 29_452_815, inferred: true };
        assert_eq!(Applied::unpack(applied.pack()), applied);
        assert_eq!(Applied::unpack(Applied::at(Millis(-5)).pack()), Applied { minute: 0, inferred: false });
    }
}
