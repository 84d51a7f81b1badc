//! A batch of facts, in one transaction.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    time::Duration,
};

use protocol::{Fact, FactId, FactKind, FinishReason, Millis, Rating, SessionId, SiteId, Visit};
use redb::{Database, ReadableTable as _, ReadableTableMetadata as _};

use super::{
    Error, Outcome, begin,
    bytes::{Reader, Writer},
    care::{ERASED_WAITS, rewrite_by},
    comments,
    figures::{Figures, add, count_word},
    forget::{forget, kept_from, live_from, pages_kept_from},
    row::{Known, MAX_PATH, Session, began_ms, cut_text},
    tables::{
        ALL_SITES, Applied, BucketKey, EXPIRED_KEY, SPAN_DAYS, SessionKey, Span, Tables, bucket_key, customer_key,
        fact_key, id_key, live_key, number_of, page_key, session_key, session_of, step_at,
    },
    timeline::Word,
};
use crate::query::Bucket;

/// Rows that a transaction may forget beyond twice what it adds: it always outruns the growth and is never long.
const FORGET_MORE: usize = 100;

/// Pages that are counted one by one, of a site in a day and in a [`Span::Days`].
const MAX_PAGES: u64 = 1_000;

/// Sites of which something is known at most: more than a deployment has, and few enough that a process which was taken
/// over can't fill the disk with names. A site costs a row of figures for each minute.
pub(super) const MAX_SITES: u64 = 10_000;

/// The beginning of 2020. What a fact's clock shows before it, or more than [`AHEAD_MS`] ahead of ours, is no time of a
/// fact: it counts as now. So a wrong clock makes neither rows for centuries nor sessions that are live for ever.
const OLDEST: Millis = Millis(1_577_836_800_000);
const AHEAD_MS: i64 = 3_600_000;

/// In the place of a page's path: the row of those that have none of their own.
const OTHERS: &str = "";

/// The form of the rows of pages.
const PAGE_VERSION: u8 = 1;

/// Applies the facts that were not applied before.
pub(super) fn apply(
    database: &Database,
    facts: &[Fact],
    now: Millis,
    remembered: Duration,
) -> Result<(Vec<Outcome>, LeftOut), Error> {
    let transaction = begin(database)?;
    let applied = {
        let mut tables = Tables::open(&transaction)?;
        let mut batch = Batch::new(&mut tables, now)?;
        let outcomes = facts.iter().map(|fact| batch.fact(fact)).collect::<Result<_, _>>()?;
        let left_out = batch.write()?;
        // Afterwards: what was applied before a long outage, and comes again behind it, is still known.
        forget(&mut tables, now, remembered, 2 * facts.len() + FORGET_MORE)?;
        (outcomes, left_out)
    };
    transaction.commit()?;
    Ok(applied)
}

/// What was applied, but not kept as it was told, because it is too much or can't be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LeftOut {
    /// Happenings for which a timeline has no room.
    pub(crate) happenings: u64,
    /// Sessions that began on one page too many for its site and day.
    pub(crate) pages: u64,
    /// Facts of an impossible time.
    pub(crate) times: u64,
    /// Facts of sites for which there is no room; nothing of them was applied.
    pub(crate) sites: u64,
    /// Comments of a session that has too many; their ratings count.
    pub(crate) comments: u64,
}

/// The rows that a batch touches, each read and written once.
pub(super) struct Batch<'a, 't> {
    tables: &'a mut Tables<'t>,
    now: Millis,
    /// Sessions that began earlier and have no row are gone.
    expired_before: i64,
    sites: BTreeMap<SiteId, Option<u32>>,
    sessions: BTreeMap<SessionKey, Held>,
    figures: BTreeMap<BucketKey, Figures>,
    pages: BTreeMap<Vec<u8>, i64>,
    /// Rows of comments; `None` for one that is gone.
    comments: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    left_out: LeftOut,
}

/// A session's row in a batch.
struct Held {
    /// What the indexes say of it.
    before: Option<Indexed>,
    /// `None`: it is gone and gets no row again.
    now: Option<Session>,
}

/// By what a session is found.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Indexed {
    customer: Option<[u8; 16]>,
    last_seen: i64,
}

impl Indexed {
    fn of(known: &Known) -> Self {
        Self { customer: known.customer, last_seen: known.last_seen }
    }

    fn minute(self) -> u32 {
        step_at(Bucket::Minute, Millis(self.last_seen))
    }
}

impl<'a, 't> Batch<'a, 't> {
    pub(super) fn new(tables: &'a mut Tables<'t>, now: Millis) -> Result<Self, Error> {
        let expired_before = tables.meta.get(EXPIRED_KEY)?.and_then(|at| i64::try_from(at.value()).ok());
        // One that is still to come was written while the clock was ahead, and would hide every session.
        let expired_before = expired_before.filter(|at| *at <= now.0).unwrap_or(i64::MIN);
        Ok(Self {
            tables,
            now,
            expired_before,
            sites: BTreeMap::new(),
            sessions: BTreeMap::new(),
            figures: BTreeMap::new(),
            pages: BTreeMap::new(),
            comments: BTreeMap::new(),
            left_out: LeftOut::default(),
        })
    }

    fn fact(&mut self, fact: &Fact) -> Result<Outcome, Error> {
        if fact.v != 1 {
            return Ok(Outcome::Unknown);
        }
        let Some(site) = self.site(&fact.site)? else {
            self.left_out.sites += 1;
            return Ok(Outcome::Unknown);
        };
        let told = Applied::at(self.now).pack();
        let before = self.tables.applied.insert(&fact_key(fact), told)?.map(|before| Applied::unpack(before.value()));
        if before.is_some_and(|before| !before.inferred) {
            return Ok(Outcome::Repeated);
        }
        let at = possible(fact.at, self.now);
        self.left_out.times += u64::from(at != fact.at);
        match (&fact.session, &fact.kind) {
            (None, FactKind::CallsRefused { reason, count }) => {
                self.count(site, at, |figures| count_word(&mut figures.refused, reason, *count))?;
            }
            (Some(session), kind) => {
                let acceptances = match kind {
                    FactKind::MessageAccepted { .. } => u64::from(before.is_none()),
                    FactKind::ReplyEnded { message_id, .. } | FactKind::ReplyFailed { message_id, .. } => {
                        self.infer(session, &Fact::id_of_acceptance(session, message_id))?
                    }
                    _ => 0,
                };
                self.of_session(site, session, kind, at, acceptances)?;
            }
            (None, _) => {}
        }
        Ok(Outcome::Applied)
    }

    /// A message whose end is told was accepted, also if nobody tells: notes that it counts. 1 if it didn't before.
    fn infer(&mut self, session: &SessionId, acceptance: &FactId) -> Result<u64, Error> {
        let key = id_key(session.began(), acceptance);
        if self.tables.applied.get(&key)?.is_some() {
            return Ok(0);
        }
        self.tables.applied.insert(&key, Applied { inferred: true, ..Applied::at(self.now) }.pack())?;
        Ok(1)
    }

    fn of_session(
        &mut self,
        site: u32,
        session: &SessionId,
        kind: &FactKind,
        at: Millis,
        acceptances: u64,
    ) -> Result<(), Error> {
        let began = possible(Millis(began_ms(session.began())), self.now);
        let key = session_key(site, session);
        if !self.sessions.contains_key(&key) {
            let (held, is_new) = self.hold(&key, session, began, kind)?;
            self.sessions.insert(key, held);
            if is_new {
                self.count(site, began, |figures| add(&mut figures.counts.sessions, 1))?;
            }
        }
        let (mut word, mut gone, mut kept) = (Word::First, None, None);
        if let Some(held) = self.sessions.get_mut(&key) {
            match &mut held.now {
                now if *kind == FactKind::SessionEnded => {
                    if let Some(session) = now.take() {
                        // Also those that this very batch told of.
                        for (at, message) in session.comments() {
                            self.comments.insert(comments::key(&key, at, message), None);
                        }
                        gone = Some(session.known);
                    }
                }
                Some(session) => {
                    let before = comment_at(session, kind);
                    word = session.apply(kind, at, acceptances);
                    let after = comment_at(session, kind);
                    if let FactKind::ReplyRated { message_id, rating, comment } = kind
                        && !matches!(word, Word::TooLate | Word::LeftOut)
                    {
                        if let Some(at) = before {
                            self.comments.insert(comments::key(&key, at, message_id), None);
                        }
                        if let (Some(at), Some(comment)) = (after, comment) {
                            let row = comments::write(*rating, &comment.0);
                            self.comments.insert(comments::key(&key, at, message_id), Some(row));
                        }
                        self.left_out.comments += u64::from(comment.is_some() && after.is_none());
                    }
                }
                None => {}
            }
            kept = held.now.as_ref().map(|held| page_time(session.began(), &held.known));
        }
        // Of a session that is gone nothing is known, its page neither: it counts among the others. In whatever order
        // that is told.
        if let Some(known) = &gone
            && let Some(path) = &known.page_path
        {
            let counted = page_time(session.began(), known);
            self.page(site, counted, path, -1);
            self.page(site, counted, OTHERS, 1);
        }
        if let FactKind::SessionStarted(Visit { page_path: Some(path), .. }) = kind
            && !path.is_empty()
        {
            self.page(site, kept.unwrap_or(began), if kept.is_some() { path } else { OTHERS }, 1);
        }
        self.left_out.happenings += u64::from(word == Word::LeftOut);
        self.sum(site, kind, at, began, acceptances, word)
    }

    /// A session of which this is the first fact in the batch, and whether it is the first at all.
    fn hold(
        &mut self,
        key: &SessionKey,
        session: &SessionId,
        began: Millis,
        kind: &FactKind,
    ) -> Result<(Held, bool), Error> {
        if let Some(row) = self.tables.sessions.get(key)? {
            let known = Session::read(session.began(), row.value())?;
            return Ok((Held { before: Some(Indexed::of(&known.known)), now: Some(known) }, false));
        }
        let end = id_key(session.began(), &Fact::id_of_end(session));
        let ended = self.tables.applied.get(&end)?.is_some();
        if ended {
            // As long as it goes on talking it stays gone, and a while longer.
            self.tables.applied.insert(&end, Applied::at(self.now).pack())?;
        }
        let expired = began.0 < self.expired_before;
        let is_new = match kind {
            FactKind::SessionEnded => !expired,
            // Comes once, also to a session that is told of so late that its row is gone already.
            FactKind::SessionStarted(_) => !ended,
            _ => !ended && !expired,
        };
        let now = (!ended && !expired).then(|| Session::new(began));
        Ok((Held { before: None, now }, is_new))
    }

    /// Counts a fact in the figures of its site.
    fn sum(
        &mut self,
        site: u32,
        kind: &FactKind,
        at: Millis,
        began: Millis,
        acceptances: u64,
        word: Word,
    ) -> Result<(), Error> {
        match kind {
            FactKind::SessionStarted(visit) => {
                if visit.customer.is_some() {
                    self.count(site, began, |figures| add(&mut figures.counts.identified, 1))?;
                }
            }
            FactKind::MessageAccepted { .. } => {
                self.count(site, at, |figures| add(&mut figures.counts.messages, acceptances))?;
            }
            FactKind::ReplyEnded { chunks, finish_reason, first_chunk_ms, duration_ms, .. } => {
                self.accepted(site, at, *duration_ms, acceptances)?;
                self.count(site, at, |figures| {
                    let counts = &mut figures.counts;
                    match finish_reason {
                        FinishReason::Stop => add(&mut counts.ended, 1),
                        FinishReason::Cancelled => add(&mut counts.cancelled, 1),
                    }
                    add(&mut counts.chunks, u64::from(*chunks));
                    if let Some(ms) = first_chunk_ms {
                        figures.first_chunk_ms.add(*ms, 1);
                    }
                    figures.duration_ms.add(*duration_ms, 1);
                })?;
            }
            FactKind::ReplyFailed { chunks, code, duration_ms, .. } => {
                self.accepted(site, at, *duration_ms, acceptances)?;
                self.count(site, at, |figures| {
                    count_word(&mut figures.failed, code.as_str(), 1);
                    add(&mut figures.counts.chunks, u64::from(*chunks));
                    figures.duration_ms.add(*duration_ms, 1);
                })?;
            }
            FactKind::MessagePushed { .. } => {
                self.count(site, at, |figures| add(&mut figures.counts.pushed, 1))?;
            }
            FactKind::ReplyRated { rating, .. } => {
                if let Word::Instead(before, rating) = word {
                    self.count(site, before, |figures| {
                        let count = rated(figures, rating);
                        *count = count.saturating_sub(1);
                    })?;
                }
                if !matches!(word, Word::TooLate | Word::LeftOut) {
                    self.count(site, at, |figures| add(rated(figures, *rating), 1))?;
                }
            }
            FactKind::CallsRefused { .. } | FactKind::SessionEnded => {}
        }
        Ok(())
    }

    /// Counts messages of which only the end, after so many ms, was told.
    fn accepted(&mut self, site: u32, ended: Millis, duration_ms: u64, acceptances: u64) -> Result<(), Error> {
        if acceptances == 0 {
            return Ok(());
        }
        let at = Millis(ended.0.saturating_sub(i64::try_from(duration_ms).unwrap_or(i64::MAX)));
        self.count(site, possible(at, self.now), |figures| add(&mut figures.counts.messages, acceptances))
    }

    /// Its number; none for one too many.
    fn site(&mut self, site: &SiteId) -> Result<Option<u32>, Error> {
        if let Some(number) = self.sites.get(site) {
            return Ok(*number);
        }
        let number = match number_of(&self.tables.sites, site)? {
            None if self.tables.sites.len()? >= MAX_SITES => None,
            _ => Some(self.tables.number(site)?),
        };
        self.sites.insert(site.clone(), number);
        Ok(number)
    }

    /// Changes the figures of a moment: by minute, hour and day, as far as they are kept, of the site and of all sites.
    /// The latter cost a second row, and spare each question about all sites the rows of each.
    pub(super) fn count(&mut self, site: u32, at: Millis, change: impl Fn(&mut Figures)) -> Result<(), Error> {
        for bucket in [Bucket::Minute, Bucket::Hour, Bucket::Day] {
            let step = step_at(bucket, at);
            if step < kept_from(bucket, self.now) {
                continue;
            }
            for site in [ALL_SITES, site] {
                let figures = match self.figures.entry(bucket_key(bucket, site, step)) {
                    Entry::Occupied(figures) => figures.into_mut(),
                    Entry::Vacant(free) => {
                        let row = self.tables.buckets.get(free.key())?;
                        let figures = row.map(|row| Figures::read(row.value())).transpose()?;
                        free.insert(figures.unwrap_or_default())
                    }
                };
                change(figures);
            }
        }
        Ok(())
    }

    /// Counts sessions that began on a page, or on [`OTHERS`].
    pub(super) fn page(&mut self, site: u32, began: Millis, path: &str, sessions: i64) {
        for key in page_keys(site, began, path, self.now) {
            let count = self.pages.entry(key).or_default();
            *count = count.saturating_add(sessions);
        }
    }

    /// Writes all rows.
    pub(super) fn write(self) -> Result<LeftOut, Error> {
        let Self { tables, now, sessions, figures, pages, comments, mut left_out, .. } = self;
        for (key, held) in sessions {
            write_session(tables, &key, held, now)?;
        }
        for (key, mut figures) in figures {
            tables.buckets.insert(&key, figures.write().as_slice())?;
        }
        // Behind the sessions: of one that went, what was stored before went with its row.
        for (key, row) in comments {
            match row {
                Some(row) => drop(tables.comments.insert(key.as_slice(), row.as_slice())?),
                None => drop(tables.comments.remove(key.as_slice())?),
            }
        }
        // Of the four rows of a page, one says it.
        let all_sites = page_key(Span::Day, ALL_SITES, 0, OTHERS);
        for (key, count) in pages.into_iter().filter(|(_, count)| *count != 0) {
            let has_room = write_page(tables, &key, count)?;
            if !has_room && key[0] == Span::Day as u8 && key[..5] != all_sites[..5] {
                add(&mut left_out.pages, count.unsigned_abs());
            }
        }
        Ok(left_out)
    }
}

/// When the rating that a fact tells of was said, if a comment is kept with it.
fn comment_at(session: &Session, fact: &FactKind) -> Option<Millis> {
    let FactKind::ReplyRated { message_id, .. } = fact else { return None };
    session.comments().find(|(_, message)| *message == message_id).map(|(at, _)| at)
}

fn rated(figures: &mut Figures, rating: Rating) -> &mut u64 {
    match rating {
        Rating::Up => &mut figures.counts.rated_up,
        Rating::Down => &mut figures.counts.rated_down,
    }
}

/// The time of a fact, or now if it can't be that.
pub(super) fn possible(at: Millis, now: Millis) -> Millis {
    if at < OLDEST || at.0 > now.0.saturating_add(AHEAD_MS) { now } else { at }
}

/// When the page of a session counts, of which the id says so many seconds: as that says, or when it was told to have begun
/// if that can't be. So it is found again whenever the session goes.
pub(super) fn page_time(began: u64, known: &Known) -> Millis {
    possible(Millis(began_ms(began)), Millis(known.started))
}

fn write_session(tables: &mut Tables<'_>, key: &SessionKey, held: Held, now: Millis) -> Result<(), Error> {
    let Some(mut session) = held.now else {
        if remove_session(tables, key, now)? {
            rewrite_by(&mut tables.meta, now.after(ERASED_WAITS))?;
        }
        return Ok(());
    };
    index(tables, key, held.before, Some(Indexed::of(&session.known)), now)?;
    tables.sessions.insert(key, session.write(session_of(key).began()).as_slice())?;
    Ok(())
}

/// Takes a session out of all tables but the sums. Whether it was there.
pub(crate) fn remove_session(tables: &mut Tables<'_>, key: &SessionKey, now: Millis) -> Result<bool, Error> {
    let began = session_of(key).began();
    let Some(row) = tables.sessions.remove(key)?.map(|row| Session::read(began, row.value())).transpose()? else {
        return Ok(false);
    };
    for (at, message) in row.comments() {
        tables.comments.remove(comments::key(key, at, message).as_slice())?;
    }
    index(tables, key, Some(Indexed::of(&row.known)), None, now)?;
    Ok(true)
}

/// Brings the indexes from what they say of a session to what is so.
fn index(
    tables: &mut Tables<'_>,
    key: &SessionKey,
    before: Option<Indexed>,
    after: Option<Indexed>,
    now: Millis,
) -> Result<(), Error> {
    let [old, new] = [before, after].map(|indexed| indexed.and_then(|indexed| indexed.customer));
    if old != new {
        if let Some(customer) = old {
            tables.customers.remove(&customer_key(&customer, key))?;
        }
        if let Some(customer) = new {
            tables.customers.insert(&customer_key(&customer, key), ())?;
        }
    }
    let old = before.map(Indexed::minute);
    // What lies before is forgotten by itself.
    let new = after.map(Indexed::minute).filter(|minute| *minute >= live_from(now));
    if old != new {
        if let Some(minute) = old {
            tables.live.remove(&live_key(minute, key))?;
        }
        if let Some(minute) = new {
            tables.live.insert(&live_key(minute, key), ())?;
        }
    }
    Ok(())
}

/// The count of a page; in the row of no page, how many sessions are on pages without a row, and how many have one.
pub(super) fn read_page(row: &[u8]) -> Result<(u64, u64), Error> {
    let row = &mut Reader::of(PAGE_VERSION, row)?;
    Ok((row.number()?, row.number()?))
}

fn page_row(count: u64, rows: u64) -> Vec<u8> {
    let mut row = Writer::of(PAGE_VERSION);
    row.number(count);
    row.number(rows);
    row.done()
}

/// Counts a session among those on other pages: its own page may tell whose it was.
pub(super) fn remove_page(
    tables: &mut Tables<'_>,
    site: u32,
    began: Millis,
    path: &str,
    now: Millis,
) -> Result<(), Error> {
    for (path, sessions) in [(OTHERS, 1), (path, -1)] {
        page_keys(site, began, path, now).try_for_each(|key| write_page(tables, &key, sessions).map(drop))?;
    }
    Ok(())
}

/// The rows that count a page, as far as they are kept.
fn page_keys(site: u32, began: Millis, path: &str, now: Millis) -> impl Iterator<Item = Vec<u8>> {
    let (day, path) = (step_at(Bucket::Day, began), cut_text(path, MAX_PATH));
    let steps = [(Span::Day, day, pages_kept_from(now)), (Span::Days, day / SPAN_DAYS, 0)];
    let steps = steps.into_iter().filter(|(_, step, kept_from)| step >= kept_from);
    steps.flat_map(move |(span, step, _)| [ALL_SITES, site].map(|site| page_key(span, site, step, path)))
}

/// `false` for a page that gets no row of its own for want of room.
fn write_page(tables: &mut Tables<'_>, key: &[u8], more: i64) -> Result<bool, Error> {
    let read = |tables: &Tables<'_>, key: &[u8]| tables.pages.get(key)?.map(|row| read_page(row.value())).transpose();
    let (head, path) = key.split_at_checked(9).unwrap_or((key, &[]));
    let is_page = !path.is_empty();
    let count = if is_page { read(tables, key)?.map(|(count, _)| count) } else { None };
    let left = count.map(|count| count.saturating_add_signed(more));
    if let Some(left) = left.filter(|left| *left > 0) {
        tables.pages.insert(key, page_row(left, 0).as_slice())?;
        return Ok(true);
    }
    let (mut other, mut rows) = read(tables, head)?.unwrap_or_default();
    let is_new = is_page && left.is_none() && more > 0;
    let has_room = rows < MAX_PAGES;
    if left.is_some() {
        rows = rows.saturating_sub(1);
        tables.pages.remove(key)?;
    } else if is_new && has_room {
        rows += 1;
        tables.pages.insert(key, page_row(more.unsigned_abs(), 0).as_slice())?;
    } else {
        other = other.saturating_add_signed(more);
    }
    tables.pages.insert(head, page_row(other, rows).as_slice())?;
    Ok(!is_new || has_room)
}
