//! What goes on request or by its age: sessions, with all that is known of them, and nothing that was counted.
//!
//! # Promises
//! - Of a session that was erased, also by its visitor, no table has a row: not its row with the timeline, not what was
//!   written with its ratings, not the indexes, and not the page on which it began: it counts among those of the other pages.
//! - A fact of it that comes late, or again, brings nothing back: its end is among the applied facts, as if its visitor had
//!   ended it. Those are named by a hash, so nothing there says whose they are ([`tables`]).
//! - What was erased may still stand in bytes of the file that are free now. The file says by when it is to be
//!   rewritten; whoever starts a [`Store`] sees to that.
//! - A step of the clean-up looks at so many rows as it is told. What it removes it chooses and removes in one transaction.

use std::time::{Duration, Instant};

use protocol::{Fact, Millis, SessionId, SiteId};
use redb::{ReadableDatabase as _, ReadableTable as _, Table};
use serde::{Deserialize, Serialize};

use super::{
    Error, Store,
    apply::{page_time, remove_page, remove_session},
    copy::REWRITTEN_KEY,
    list,
    row::{Known, Session, began_ms},
    tables::{
        self, Applied, EXPIRED_KEY, META, SessionKey, Tables, id_key, live_key, number_of, session_key, session_of,
        session_place, step_at,
    },
};
use crate::query::{Bucket, SessionDetail};

/// The key in [`META`] of when the file is to be rewritten at the latest, Unix ms; none if it has nothing to lose.
pub(super) const REWRITE_KEY: &str = "rewrite_by";

/// So long after an erase the file is rewritten: within an hour with the time that it takes, and not more often than
/// that however often sessions are erased.
pub(crate) const ERASED_WAITS: Duration = Duration::from_secs(30 * 60);
/// And so long after sessions went by their age, of which some go every day.
pub(crate) const EXPIRED_WAITS: Duration = Duration::from_secs(7 * 24 * 3600);

/// Sessions of a customer that one transaction erases.
const TOGETHER: usize = 50;

/// The receipt of an erase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erased {
    /// Of which shop.
    pub site: SiteId,
    /// When, Unix ms.
    pub at: Millis,
    /// The sessions of which something was known. Nothing is now.
    pub sessions: Vec<SessionId>,
    /// What was known to have happened in them: the entries of their timelines.
    pub happenings: u64,
    /// What was written with ratings in them.
    #[serde(default)]
    pub comments: u64,
    /// Entries of indexes: by customer, and by when they were last seen.
    pub index_entries: u64,
    /// When the file is rewritten at the latest, Unix ms, if there is room for that: then nothing of them is left in its
    /// bytes. `None`: its bytes have nothing to lose.
    pub rewritten_by: Option<Millis>,
}

/// What a step of a clean-up did.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Sessions that went.
    pub removed: usize,
    /// How long writes had to wait for it, if any went. Not how long it waited for them.
    pub took: Duration,
}

/// How far a clean-up is.
#[doc(hidden)]
pub struct Expiry {
    before: Millis,
    next: SessionKey,
    over: bool,
}

/// What the file says of its care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) rewrite_by: Option<Millis>,
    pub(crate) rewritten_at: Option<Millis>,
}

impl Expiry {
    /// Of sessions in which nothing happened since.
    pub fn of(before: Millis) -> Self {
        Self { before, next: session_place(0, 0, 0), over: false }
    }

    /// Whether all were looked at.
    pub fn is_over(&self) -> bool {
        self.over
    }
}

impl Store {
    /// Erases a session; also one of which nothing is known yet, because its facts are still on their way, or nothing any
    /// more.
    pub fn erase_session(&self, site: &SiteId, session: &SessionId) -> Result<Erased, Error> {
        let mut erased = Erased::nothing(site);
        self.write(|transaction| {
            let mut tables = Tables::open(transaction)?;
            let number = number_of(&tables.sites, site)?;
            if let Some(number) = number
                && tables.sessions.get(&session_key(number, session))?.is_some()
            {
                return erase(&mut tables, number, session, &mut erased);
            }
            // Ends are noted by session alone: whoever names another one's session must not end it there.
            if !is_anywhere(&tables, session)? {
                note_end(&mut tables, session, erased.at)?;
            }
            erased.rewritten_by = hasten(&mut tables, erased.at)?;
            Ok(())
        })?;
        Ok(erased)
    }

    /// Erases all sessions of a customer, named by what [`runtime::customer::hash`] makes of them.
    pub fn erase_customer(&self, site: &SiteId, customer_hash: &str) -> Result<Erased, Error> {
        let mut erased = Erased::nothing(site);
        // As long as there are any: others may begin meanwhile.
        loop {
            let sessions = self.customer_sessions(site, customer_hash)?;
            if sessions.is_empty() {
                if erased.rewritten_by.is_none() {
                    let at = erased.at;
                    erased.rewritten_by = self.write(|transaction| hasten(&mut Tables::open(transaction)?, at))?;
                }
                return Ok(erased);
            }
            for some in sessions.chunks(TOGETHER) {
                self.write(|transaction| {
                    let mut tables = Tables::open(transaction)?;
                    let Some(number) = number_of(&tables.sites, site)? else { return Ok(()) };
                    some.iter().try_for_each(|session| erase(&mut tables, number, session, &mut erased))
                })?;
            }
        }
    }

    /// All that is kept of a customer's sessions at one moment, the oldest first.
    pub fn export_customer(&self, site: &SiteId, customer_hash: &str) -> Result<Vec<SessionDetail>, Error> {
        self.read(|reader| {
            let sessions = list::of_customer(reader, site, customer_hash)?;
            let details = sessions.iter().filter_map(|session| list::session(reader, site, session).transpose());
            details.collect()
        })
    }

    /// Takes out sessions that are old enough, among the next `most`.
    #[doc(hidden)]
    pub fn expire(&self, expiry: &mut Expiry, most: usize) -> Result<Step, Error> {
        self.expire_at(expiry, most, Millis::now())
    }

    pub(super) fn expire_at(&self, expiry: &mut Expiry, most: usize, now: Millis) -> Result<Step, Error> {
        // A look first: mostly there is nothing, and a transaction that writes nothing costs the disk as much.
        let (seen, mut next) = self.read(|reader| old(&reader.open_table(tables::SESSIONS)?, expiry, most))?;
        let mut step = Step::default();
        if !seen.is_empty() {
            let alone = self.writing()?;
            let began = Instant::now();
            self.write_alone(&alone, |transaction| {
                let mut tables = Tables::open(transaction)?;
                let before = u64::try_from(expiry.before.0).unwrap_or(0);
                let known = tables.meta.get(EXPIRED_KEY)?.map(|known| known.value());
                // One that is still to come is of a clock that was ahead.
                let ahead = u64::try_from(now.0).unwrap_or(0);
                if known.is_none_or(|known| known < before || known > ahead) {
                    tables.meta.insert(EXPIRED_KEY, before)?;
                }
                // Again, because something may have happened since the look.
                let (old, behind) = old(&tables.sessions, expiry, most)?;
                for key in &old {
                    remove_session(&mut tables, key, now)?;
                }
                (step.removed, next) = (old.len(), behind);
                rewrite_by(&mut tables.meta, now.after(EXPIRED_WAITS)).map(drop)
            })?;
            step.took = began.elapsed();
        }
        match next {
            Some(next) => expiry.next = next,
            None => expiry.over = true,
        }
        Ok(step)
    }

    pub(crate) fn kept(&self) -> Result<Kept, Error> {
        let database = self.database()?;
        let meta = database.begin_read()?.open_table(META)?;
        let at = |key: &str| {
            let at = meta.get(key)?.and_then(|at| i64::try_from(at.value()).ok());
            Ok::<_, Error>(at.map(Millis))
        };
        Ok(Kept { rewrite_by: at(REWRITE_KEY)?, rewritten_at: at(REWRITTEN_KEY)? })
    }
}

impl Erased {
    fn nothing(site: &SiteId) -> Self {
        let (site, at) = (site.clone(), Millis::now());
        Self { site, at, sessions: Vec::new(), happenings: 0, comments: 0, index_entries: 0, rewritten_by: None }
    }
}

/// Takes all out that is known of a session, and notes its end, so that nothing comes back.
fn erase(tables: &mut Tables<'_>, site: u32, session: &SessionId, erased: &mut Erased) -> Result<(), Error> {
    let (now, key) = (erased.at, session_key(site, session));
    note_end(tables, session, now)?;
    let row = tables.sessions.get(&key)?.map(|row| Session::read(session.began(), row.value())).transpose()?;
    let Some(row) = row else { return Ok(()) };
    erased.sessions.push(session.clone());
    erased.happenings += row.happenings() as u64;
    erased.comments += row.comments().count() as u64;
    let known = row.known;
    let minute = step_at(Bucket::Minute, Millis(known.last_seen));
    let live = tables.live.get(&live_key(minute, &key))?.is_some();
    erased.index_entries += u64::from(known.customer.is_some()) + u64::from(live);
    if let Some(path) = &known.page_path {
        remove_page(tables, site, page_time(session.began(), &known), path, now)?;
    }
    remove_session(tables, &key, now)?;
    erased.rewritten_by = Some(rewrite_by(&mut tables.meta, now.after(ERASED_WAITS))?);
    Ok(())
}

fn note_end(tables: &mut Tables<'_>, session: &SessionId, now: Millis) -> Result<(), Error> {
    let end = id_key(session.began(), &Fact::id_of_end(session));
    tables.applied.insert(&end, Applied::at(now).pack())?;
    Ok(())
}

/// Whether there is a row of a session, at any site.
fn is_anywhere(tables: &Tables<'_>, session: &SessionId) -> Result<bool, Error> {
    for row in tables.sites.iter()? {
        let (_, number) = row?;
        if tables.sessions.get(&session_key(number.value(), session))?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Of what is erased there is no row any more, but its bytes may still be there: brings forward a rewrite that waits. When
/// it is, if one does.
fn hasten(tables: &mut Tables<'_>, now: Millis) -> Result<Option<Millis>, Error> {
    if tables.meta.get(REWRITE_KEY)?.is_none() {
        return Ok(None);
    }
    rewrite_by(&mut tables.meta, now.after(ERASED_WAITS)).map(Some)
}

/// Notes when the file is to be rewritten, unless it is to be sooner. When that is.
pub(super) fn rewrite_by(meta: &mut Table<'_, &'static str, u64>, at: Millis) -> Result<Millis, Error> {
    let at = u64::try_from(at.0).unwrap_or(0);
    let sooner = meta.get(REWRITE_KEY)?.map(|known| known.value()).filter(|known| *known <= at);
    if sooner.is_none() {
        meta.insert(REWRITE_KEY, at)?;
    }
    Ok(Millis(i64::try_from(sooner.unwrap_or(at)).unwrap_or(i64::MAX)))
}

/// Among the next `most` sessions those that are old, and from where on to look the next time. Sessions lie by site and
/// by when they began: behind the first that began too late there is nothing of its site.
fn old(
    sessions: &impl redb::ReadableTable<&'static SessionKey, &'static [u8]>,
    expiry: &Expiry,
    most: usize,
) -> Result<(Vec<SessionKey>, Option<SessionKey>), Error> {
    let (mut old, mut next) = (Vec::new(), expiry.next);
    let mut rows = sessions.range::<&SessionKey>(&next..)?;
    for _ in 0..most.max(1) {
        let Some(row) = rows.next() else { return Ok((old, None)) };
        let (key, row) = row?;
        let key = *key.value();
        let began = session_of(&key).began();
        if began_ms(began) >= expiry.before.0 {
            let site = u32::from_be_bytes([key[0], key[1], key[2], key[3]]);
            let Some(site) = site.checked_add(1) else { return Ok((old, None)) };
            next = session_place(site, 0, 0);
            rows = sessions.range::<&SessionKey>(&next..)?;
            continue;
        }
        if Known::of_row(began, row.value())?.last_seen < expiry.before.0 {
            old.push(key);
        }
        next = tables::successor(key);
    }
    Ok((old, Some(next)))
}

#[cfg(test)]
mod tests;
