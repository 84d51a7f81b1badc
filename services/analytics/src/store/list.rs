//! The list of sessions, and one of them.

use std::collections::BinaryHeap;

use protocol::{SessionId, SiteId};
use redb::ReadTransaction;

use super::{
    Error, comments,
    row::{Known, Session, customer_hash},
    tables::{
        self, CUSTOMERS, SESSIONS, SITES, SessionKey, customer_key, session_key, session_of, session_of_customer,
        session_place, successor,
    },
};
use crate::query::{Filter, Place, Range, SessionDetail, SessionPage};

/// Rows that one call reads at most. A filter that few sessions pass gives pages with few of them, and not a slow one.
pub(crate) const MAX_READ: usize = 5_000;

/// Newest first; of two that began in the same second the one with the higher random part, then the site told of last.
pub(super) fn sessions(
    reader: &ReadTransaction,
    site: Option<&SiteId>,
    range: Range,
    filter: &Filter,
    after: Option<&Place>,
    limit: usize,
) -> Result<SessionPage, Error> {
    let known = reader.open_table(SITES)?;
    let mut sites = tables::sites(&known)?;
    sites.retain(|(name, _)| site.is_none_or(|site| site == name));
    let after = after.map(|place| Ok::<_, Error>((tables::number(&known, Some(&place.site))?.unwrap_or(0), place)));
    let after = after.transpose()?;

    let seconds = |ms: i64| u64::try_from(ms.div_euclid(1_000)).unwrap_or(0);
    let (from, until) = (seconds(range.from.0), seconds(range.until.0.saturating_add(999)));
    let table = reader.open_table(SESSIONS)?;
    // The newest row of each site, and where the others come from.
    let (mut newest, mut rest) = (BinaryHeap::new(), Vec::new());
    for (place, (_, number)) in sites.iter().enumerate() {
        let first = session_place(*number, from, 0);
        let mut end = session_place(*number, until, 0);
        if let Some((of, after)) = after {
            let mut behind = session_key(*number, &after.session);
            if *number < of {
                // Of two equal ones this site's comes second. A key holds its successor's place: no row lies between.
                behind = successor(behind);
            }
            end = end.min(behind);
        }
        let mut rows = table.range::<&SessionKey>(&first..&end.max(first))?;
        if let Some(row) = rows.next_back() {
            newest.push(newest_of(row?, place)?);
        }
        rest.push(rows);
    }

    let (mut page, mut read, mut last) = (SessionPage::default(), 0, None);
    while let Some(Newest { key, place, known, .. }) = newest.pop() {
        let site = &sites[place].0;
        let id = session_of(&key);
        if page.sessions.len() >= limit || read >= MAX_READ {
            page.next = last;
            break;
        }
        if let Some(row) = rest[place].next_back() {
            newest.push(newest_of(row?, place)?);
        }
        read += 1;
        last = Some(Place { site: site.clone(), began: id.began(), session: id.clone() });
        if known.matches(filter) {
            page.sessions.push(known.shown(site.clone(), id));
        }
    }
    Ok(page)
}

pub(super) fn session(reader: &ReadTransaction, site: &SiteId, id: &SessionId) -> Result<Option<SessionDetail>, Error> {
    let Some(number) = tables::number(&reader.open_table(SITES)?, Some(site))? else { return Ok(None) };
    let row = reader.open_table(SESSIONS)?.get(&session_key(number, id))?;
    let Some(row) = row else { return Ok(None) };
    let mut detail = Session::read(id.began(), row.value())?.detail(site.clone(), id.clone());
    comments::tell(reader, &session_key(number, id), &mut detail)?;
    Ok(Some(detail))
}

/// The sessions of a customer, by their hash, the oldest first.
pub(super) fn of_customer(reader: &ReadTransaction, site: &SiteId, customer: &str) -> Result<Vec<SessionId>, Error> {
    let number = tables::number(&reader.open_table(SITES)?, Some(site))?;
    let (Some(number), Some(customer)) = (number, customer_hash(customer)) else { return Ok(Vec::new()) };
    let [first, last] = [(0, 0), (u64::MAX, u64::MAX)]
        .map(|(began, random)| customer_key(&customer, &session_place(number, began, random)));
    let rows = reader.open_table(CUSTOMERS)?.range::<&[u8; 33]>(&first..=&last)?;
    rows.map(|row| Ok(session_of(&session_of_customer(row?.0.value())))).collect()
}

/// The newest row of a site that wasn't read yet; ordered by what comes first in the list.
struct Newest {
    key: SessionKey,
    /// The site's place in the list of sites.
    place: usize,
    known: Known,
}

fn newest_of(
    (key, row): (redb::AccessGuard<'_, &'static SessionKey>, redb::AccessGuard<'_, &'static [u8]>),
    place: usize,
) -> Result<Newest, Error> {
    let key = *key.value();
    Ok(Newest { key, place, known: Known::of_row(session_of(&key).began(), row.value())? })
}

impl Newest {
    fn order(&self) -> (&[u8], &[u8]) {
        // When it began and its random part, then the site.
        let (site, session) = self.key.split_at(4);
        (session, site)
    }
}

impl Ord for Newest {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

impl PartialOrd for Newest {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Newest {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Newest {}
