//! Brings a file of an older form to this one.
//!
//! In steps, each a transaction of some thousand rows that takes what it brings over out of the old tables: memory is
//! bounded, and a process that dies goes on where it stopped. From the first step on the file has the new form's number,
//! so that an older version doesn't take the rest for all.
//!
//! Form 1 knew sums of a site's whole life and rows without a timeline, as JSON. What it didn't know is made up as little
//! as possible: all that happened in a session counts at the time at which it began, each of its times as their mean; what the sums hold
//! beyond the rows, which is of ended sessions, counts at the time of the site's oldest session. So sums stay the same.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use protocol::{FactId, Millis, SessionId, SiteId};
use redb::{Database, ReadableTable as _, ReadableTableMetadata as _, TableDefinition};
use serde::{Deserialize, Serialize};

use super::{
    Error,
    apply::{Batch, page_time, possible},
    begin,
    care::{ERASED_WAITS, rewrite_by},
    figures::{Figures, add, count_word},
    row::{MAX_PATH, Session, began_ms, cut_text},
    tables::{
        Applied, META, MIGRATING_KEY, SCHEMA, SCHEMA_KEY, SessionKey, Tables, each_table, id_key, session_key,
        session_of, session_place, step_at,
    },
};
use crate::query::Bucket;

/// The form that this brings to the present one.
pub(super) const FROM: u64 = 1;
/// The form that had all but the table of comments, which is made when the file is opened.
pub(super) const WITHOUT_COMMENTS: u64 = 2;

/// Rows in one step: some 10 ms, some MB.
const STEP: usize = if cfg!(test) { 50 } else { 2_000 };
/// Between two lines in the log.
const TELL: Duration = Duration::from_secs(5);

/// By site and session, JSON of [`OldSession`].
const OLD_SESSIONS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("sessions");
/// By site, JSON of [`OldTotals`].
const OLD_TOTALS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("totals");
/// Ids of facts.
const OLD_APPLIED: TableDefinition<'_, &str, ()> = TableDefinition::new("applied");
/// The same by when they were applied, Unix ms.
const OLD_APPLIED_AT: TableDefinition<'_, (i64, &str), ()> = TableDefinition::new("applied_at");

#[derive(Deserialize)]
struct OldSession {
    started: i64,
    last_seen: i64,
    page_path: Option<String>,
    locale: Option<String>,
    #[serde(default)]
    tally: Tally,
}

#[derive(Serialize, Deserialize)]
struct OldTotals {
    sessions: u64,
    #[serde(default)]
    tally: Tally,
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Tally {
    messages: u64,
    ended: u64,
    cancelled: u64,
    failed: BTreeMap<String, u64>,
    pushed: u64,
    chunks: u64,
    first_chunks: u64,
    first_chunk_ms: u64,
    duration_ms: u64,
}

/// Brings some rows over, as of now, and says how many; none are left after 0.
type Step = fn(&Database, Millis) -> Result<usize, Error>;

/// Goes on until the file has this form.
pub(super) fn migrate(database: &Database, now: Millis) -> Result<(), Error> {
    begin_migration(database)?;
    let (began, mut told, mut done) = (Instant::now(), Instant::now(), 0);
    let steps: [Step; 3] = [sessions, remainders, |database, _| applied(database)];
    for step in steps {
        loop {
            let rows = step(database, now)?;
            done += rows;
            if rows == 0 {
                break;
            }
            if told.elapsed() >= TELL {
                told = Instant::now();
                tracing::info!(rows = done, "still bringing the database to this version's form");
            }
        }
    }
    let transaction = begin(database)?;
    transaction.delete_table(OLD_SESSIONS)?;
    transaction.delete_table(OLD_TOTALS)?;
    transaction.delete_table(OLD_APPLIED)?;
    transaction.delete_table(OLD_APPLIED_AT)?;
    {
        let mut meta = transaction.open_table(META)?;
        meta.remove(MIGRATING_KEY)?;
        // The old tables' bytes are still there, and tell of sessions that are erased from now on.
        rewrite_by(&mut meta, now.after(ERASED_WAITS))?;
    }
    // Those that hold nothing of the older form as well.
    each_table!(|table| drop(transaction.open_table(table)?));
    transaction.commit()?;
    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::info!(rows = done, took_ms, "the database has this version's form");
    Ok(())
}

pub(super) fn begin_migration(database: &Database) -> Result<(), Error> {
    let transaction = begin(database)?;
    {
        let mut tables = Tables::open(&transaction)?;
        tables.meta.insert(SCHEMA_KEY, SCHEMA)?;
        tables.meta.insert(MIGRATING_KEY, FROM)?;
        let rows = transaction.open_table(OLD_SESSIONS)?.len()? + transaction.open_table(OLD_APPLIED_AT)?.len()?;
        tracing::info!(rows, from = FROM, to = SCHEMA, "bringing the database to this version's form");
    }
    Ok(transaction.commit()?)
}

/// Some sessions, the oldest of a site first. How many; none are left after 0.
pub(super) fn sessions(database: &Database, now: Millis) -> Result<usize, Error> {
    let transaction = begin(database)?;
    let mut rows = 0;
    {
        let mut tables = Tables::open(&transaction)?;
        let mut old = transaction.open_table(OLD_SESSIONS)?;
        let mut totals = transaction.open_table(OLD_TOTALS)?;
        let mut taken: Vec<(SiteId, SessionId, OldSession)> = Vec::with_capacity(STEP);
        for row in old.extract_if(|_, _| true)?.take(STEP) {
            let (key, row) = row?;
            let (site, id) = key.value();
            rows += 1;
            // Nothing else was ever written; what isn't one of ours can't be asked for either.
            let (Ok(site), Ok(id)) = (SiteId::new(site), SessionId::new(id)) else { continue };
            taken.push((site, id, serde_json::from_slice(row.value())?));
        }
        let mut counted: BTreeMap<SiteId, (u64, Tally)> = BTreeMap::new();
        let mut figures = Vec::with_capacity(taken.len());
        for (site, id, mut old) in taken {
            let number = tables.number(&site)?;
            let (sessions, tally) = counted.entry(site).or_default();
            add(sessions, 1);
            tally.add(&old.tally);
            old.started = possible(Millis(old.started), now).0;
            let (path, tally) = (old.page_path.clone(), old.tally.clone());
            let mut session = old.session();
            let began = page_time(id.began(), &session.known);
            figures.push((number, began, path, tally));
            let row = session.write(id.began());
            tables.sessions.insert(&session_key(number, &id), row.as_slice())?;
        }
        for (site, (sessions, tally)) in &counted {
            let total = totals.get(site.as_str())?.map(|row| serde_json::from_slice::<OldTotals>(row.value()));
            let Some(mut total) = total.transpose()? else { continue };
            total.sessions = total.sessions.saturating_sub(*sessions);
            total.tally.subtract(tally);
            totals.insert(site.as_str(), serde_json::to_vec(&total)?.as_slice())?;
        }
        let mut batch = Batch::new(&mut tables, now)?;
        for (number, began, path, tally) in &figures {
            batch.count(*number, *began, |figures| tally.count(figures, 1))?;
            if let Some(path) = path.as_deref().filter(|path| !path.is_empty()) {
                batch.page(*number, *began, path, 1);
            }
        }
        batch.write()?;
    }
    transaction.commit()?;
    Ok(rows)
}

/// What the sums of some sites hold beyond their rows. How many sites.
fn remainders(database: &Database, now: Millis) -> Result<usize, Error> {
    let transaction = begin(database)?;
    let mut taken = Vec::new();
    {
        let mut tables = Tables::open(&transaction)?;
        for row in transaction.open_table(OLD_TOTALS)?.extract_if(|_, _| true)?.take(STEP) {
            let (site, total) = row?;
            let Ok(site) = SiteId::new(site.value()) else { continue };
            taken.push((site, serde_json::from_slice::<OldTotals>(total.value())?));
        }
        let mut figures = Vec::with_capacity(taken.len());
        for (site, total) in &taken {
            let number = tables.number(site)?;
            let (first, end) = (session_place(number, 0, 0), session_place(number, u64::MAX, u64::MAX));
            let oldest = tables.sessions.range::<&SessionKey>(&first..&end)?.next().transpose()?;
            let at = oldest.map_or(now, |(key, _)| Millis(began_ms(session_of(key.value()).began())));
            let at = possible(at, now);
            figures.push((number, at, total));
        }
        let mut batch = Batch::new(&mut tables, now)?;
        for (number, at, total) in figures {
            batch.count(number, at, |figures| total.tally.count(figures, total.sessions))?;
        }
        batch.write()?;
    }
    transaction.commit()?;
    Ok(taken.len())
}

/// Some of the facts that were applied. How many.
fn applied(database: &Database) -> Result<usize, Error> {
    let transaction = begin(database)?;
    let mut rows = 0;
    {
        let mut tables = Tables::open(&transaction)?;
        for row in transaction.open_table(OLD_APPLIED_AT)?.extract_if(|_, ()| true)?.take(STEP) {
            let (key, _) = row?;
            let (at, id) = key.value();
            rows += 1;
            let at = Millis(at);
            // That a message was accepted because its end was told had an id of its own.
            let acceptance = id.strip_suffix("-inferred").map(|message| format!("{message}-accepted"));
            let inferred = acceptance.is_some();
            let Ok(id) = FactId::new(acceptance.as_deref().unwrap_or(id)) else { continue };
            let session = id.as_str().split_once('-').and_then(|(session, _)| SessionId::new(session).ok());
            let began = session.map_or(u64::try_from(at.0 / 1_000).unwrap_or(0), |session| session.began());
            let key = id_key(began, &id);
            // It may be told as well, and that is the more of the two.
            if !(inferred && tables.applied.get(&key)?.is_some()) {
                let applied = Applied { minute: step_at(Bucket::Minute, at), inferred };
                tables.applied.insert(&key, applied.pack())?;
            }
        }
    }
    transaction.commit()?;
    Ok(rows)
}

impl OldSession {
    fn session(self) -> Session {
        let mut session = Session::default();
        let known = &mut session.known;
        (known.started, known.last_seen) = (self.started, self.last_seen);
        known.page_path = self.page_path.map(|path| cut_text(&path, MAX_PATH).to_owned());
        known.locale = self.locale.map(|locale| cut_text(&locale, super::row::MAX_LOCALE).to_owned());
        let Tally { messages, ended, cancelled, failed, pushed, chunks, first_chunks, first_chunk_ms, duration_ms } =
            self.tally;
        (known.messages, known.ended, known.cancelled) = (messages, ended, cancelled);
        (known.failed, known.pushed, known.chunks) = (failed, pushed, chunks);
        (known.first_chunks, known.first_chunk_ms, known.duration_ms) = (first_chunks, first_chunk_ms, duration_ms);
        // Nothing of it was kept.
        known.cut = true;
        session
    }
}

impl Tally {
    fn counts(&mut self) -> [&mut u64; 8] {
        let Self { messages, ended, cancelled, pushed, chunks, first_chunks, first_chunk_ms, duration_ms, .. } = self;
        [messages, ended, cancelled, pushed, chunks, first_chunks, first_chunk_ms, duration_ms]
    }

    fn add(&mut self, other: &Self) {
        for (count, more) in self.counts().into_iter().zip(other.clone().counts()) {
            add(count, *more);
        }
        for (code, more) in &other.failed {
            add(self.failed.entry(code.clone()).or_default(), *more);
        }
    }

    fn subtract(&mut self, other: &Self) {
        for (count, less) in self.counts().into_iter().zip(other.clone().counts()) {
            *count = count.saturating_sub(*less);
        }
        for (code, less) in &other.failed {
            let count = self.failed.entry(code.clone()).or_default();
            *count = count.saturating_sub(*less);
        }
        self.failed.retain(|_, count| *count > 0);
    }

    fn count(&self, figures: &mut Figures, sessions: u64) {
        let counts = &mut figures.counts;
        add(&mut counts.sessions, sessions);
        add(&mut counts.messages, self.messages);
        add(&mut counts.ended, self.ended);
        add(&mut counts.cancelled, self.cancelled);
        add(&mut counts.pushed, self.pushed);
        add(&mut counts.chunks, self.chunks);
        for (code, count) in &self.failed {
            count_word(&mut figures.failed, code, *count);
        }
        if let Some(mean) = self.first_chunk_ms.checked_div(self.first_chunks) {
            figures.first_chunk_ms.add(mean, self.first_chunks);
        }
        let replies =
            self.failed.values().fold(self.ended.saturating_add(self.cancelled), |sum, n| sum.saturating_add(*n));
        if let Some(mean) = self.duration_ms.checked_div(replies) {
            figures.duration_ms.add(mean, replies);
        }
    }
}

#[cfg(test)]
mod tests {
    use redb::{ReadableDatabase as _, backends::InMemoryBackend};

    use super::{
        super::{
            figures::Figures,
            tables::{BUCKETS, BucketKey},
        },
        *,
    };

    /// A session whose id says that it began in 1970: nothing counts in that year.
    #[test]
    fn what_an_impossible_session_left_counts_as_now() {
        let database = Database::builder().create_with_backend(InMemoryBackend::new()).unwrap();
        let now = Millis(1_767_168_909_000);
        let transaction = begin(&database).unwrap();
        let id = SessionId::mint(5, 7);
        let row = r#"{"started":5000,"last_seen":5000,"page_path":"/","locale":null}"#;
        transaction.open_table(OLD_SESSIONS).unwrap().insert(("shop", id.as_str()), row.as_bytes()).unwrap();
        let total = r#"{"sessions":3,"tally":{"messages":4}}"#;
        transaction.open_table(OLD_TOTALS).unwrap().insert("shop", total.as_bytes()).unwrap();
        transaction.open_table(OLD_APPLIED).unwrap();
        transaction.commit().unwrap();
        migrate(&database, now).unwrap();

        let buckets = database.begin_read().unwrap().open_table(BUCKETS).unwrap();
        let mut days = Vec::new();
        for row in buckets.iter().unwrap() {
            let (key, row) = row.unwrap();
            let key: BucketKey = *key.value();
            if key[0] == Bucket::Day as u8 {
                let counts = Figures::read(row.value()).unwrap().counts;
                days.push((super::super::tables::step_of(&key), counts.sessions, counts.messages));
            }
        }
        let today = step_at(Bucket::Day, now);
        assert_eq!(days, [(today, 3, 4); 2], "of the shop, and of all");
    }
}
