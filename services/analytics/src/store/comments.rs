//! What visitors wrote to the shop with their ratings: the one table that holds text of theirs.
//!
//! A comment lies by its site and the time of its rating, so that a list of the latest reads one run of rows. Which ones a
//! session has stands in its timeline, which alone decides what is kept: a comment goes with its session, and with the
//! rating in whose place a later one comes.

use std::collections::BinaryHeap;

use protocol::{Comment, MessageId, Millis, Rating, SiteId};
use redb::ReadTransaction;

use super::{
    Error,
    bytes::{Malformed, Reader, Writer},
    list::MAX_READ,
    row::{Known, cut_text},
    tables::{self, COMMENTS, SESSIONS, SITES, SessionKey, session_key, session_of},
};
use crate::query::{CommentPage, CommentPlace, CommentRow, Range, SessionDetail};

/// The form of the rows.
const VERSION: u8 = 1;
/// Bytes that are kept of one. An edge lets no more through: 2,000 characters at most.
pub(crate) const MAX_TEXT: usize = 8_000;
/// Before the message's id: site (4), time in Unix ms (8), session (13).
const HEAD: usize = 25;

/// The key in [`COMMENTS`].
pub(super) fn key(session: &SessionKey, at: Millis, message: &MessageId) -> Vec<u8> {
    let (site, session) = session.split_at(4);
    [site, &time(at), session, message.as_str().as_bytes()].concat()
}

fn time(at: Millis) -> [u8; 8] {
    u64::try_from(at.0).unwrap_or(0).to_be_bytes()
}

/// The session of a key, when it was said, and of which message.
pub(super) fn place(key: &[u8]) -> Result<(SessionKey, Millis, MessageId), Malformed> {
    let (head, message) = key.split_at_checked(HEAD).ok_or(Malformed)?;
    let (mut session, mut at) = ([0; 17], [0; 8]);
    session[..4].copy_from_slice(&head[..4]);
    at.copy_from_slice(&head[4..12]);
    session[4..].copy_from_slice(&head[12..]);
    let at = i64::try_from(u64::from_be_bytes(at)).map_err(|_| Malformed)?;
    let message = str::from_utf8(message).ok().and_then(|id| MessageId::new(id).ok()).ok_or(Malformed)?;
    Ok((session, Millis(at), message))
}

pub(super) fn write(rating: Rating, text: &str) -> Vec<u8> {
    let mut row = Writer::of(VERSION);
    row.byte(u8::from(rating == Rating::Up));
    row.text(cut_text(text, MAX_TEXT));
    row.done()
}

pub(super) fn read(row: &[u8]) -> Result<(Rating, Comment), Malformed> {
    let row = &mut Reader::of(VERSION, row)?;
    let rating = if row.byte()? == 1 { Rating::Up } else { Rating::Down };
    Ok((rating, Comment(row.text()?.to_owned())))
}

/// Puts the comments of a session beside its ratings.
pub(super) fn tell(reader: &ReadTransaction, key_of: &SessionKey, detail: &mut SessionDetail) -> Result<(), Error> {
    let comments = reader.open_table(COMMENTS)?;
    for happening in &mut detail.timeline {
        let Some(message) = happening.message_id.as_ref().filter(|_| happening.kind == "reply_rated") else { continue };
        let row = comments.get(key(key_of, happening.at, message).as_slice())?;
        happening.comment = row.map(|row| read(row.value())).transpose()?.map(|(_, comment)| comment);
    }
    Ok(())
}

/// Newest first; of two of one moment those of the later session, message and site. Reads [`MAX_READ`] rows at most.
pub(super) fn list(
    reader: &ReadTransaction,
    site: Option<&SiteId>,
    range: Range,
    rating: Option<Rating>,
    after: Option<&CommentPlace>,
    limit: usize,
) -> Result<CommentPage, Error> {
    let known = reader.open_table(SITES)?;
    let mut sites = tables::sites(&known)?;
    sites.retain(|(name, _)| site.is_none_or(|site| site == name));
    let after = match after {
        Some(place) => tables::number(&known, Some(&place.site))?.map(|number| (number, place)),
        None => None,
    };
    let (table, sessions) = (reader.open_table(COMMENTS)?, reader.open_table(SESSIONS)?);
    // The newest row of each site, and where the others come from.
    let (mut newest, mut rest) = (BinaryHeap::new(), Vec::new());
    for (place, (_, number)) in sites.iter().enumerate() {
        let [first, mut end] =
            [range.from, range.until].map(|at| [number.to_be_bytes().as_slice(), &time(at)].concat());
        if let Some((of, after)) = &after {
            let mut behind = key(&session_key(*number, &after.session), after.at, &after.message_id);
            if number < of {
                // Of two equal ones this site's comes second.
                behind.push(0);
            }
            end = end.min(behind);
        }
        let end = end.max(first.clone());
        let mut rows = table.range(first.as_slice()..end.as_slice())?;
        if let Some(row) = rows.next_back() {
            newest.push(Newest::of(&row?, place));
        }
        rest.push(rows);
    }

    let (mut page, mut read_rows, mut last) = (CommentPage::default(), 0, None);
    while let Some(Newest { order: _, key, row, place: at_site }) = newest.pop() {
        if page.comments.len() >= limit || read_rows >= MAX_READ {
            page.next = last;
            break;
        }
        if let Some(row) = rest[at_site].next_back() {
            newest.push(Newest::of(&row?, at_site));
        }
        read_rows += 1;
        let (site, (session, at, message_id)) = (&sites[at_site].0, place(&key)?);
        let id = session_of(&session);
        last = Some(CommentPlace { site: site.clone(), at, session: id.clone(), message_id: message_id.clone() });
        let (said, comment) = read(&row)?;
        if rating.is_none_or(|rating| rating == said) {
            let its = sessions.get(&session)?.map(|row| Known::of_row(id.began(), row.value())).transpose()?;
            let page_path = its.and_then(|known| known.page_path);
            page.comments.push(CommentRow {
                site: site.clone(),
                session: id,
                message_id,
                at,
                rating: said,
                comment,
                page_path,
            });
        }
    }
    Ok(page)
}

/// The newest comment of a site that wasn't read yet; ordered by what comes first in the list.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Newest {
    /// The key without its site, then the site.
    order: (Vec<u8>, [u8; 4]),
    key: Vec<u8>,
    row: Vec<u8>,
    /// The site's place in the list of sites.
    place: usize,
}

impl Newest {
    fn of(
        (key, row): &(redb::AccessGuard<'_, &'static [u8]>, redb::AccessGuard<'_, &'static [u8]>),
        place: usize,
    ) -> Self {
        let key = key.value().to_vec();
        let (site, rest) = key.split_at(4.min(key.len()));
        let order = (rest.to_vec(), site.try_into().unwrap_or_default());
        Self { order, row: row.value().to_vec(), key, place }
    }
}

#[cfg(test)]
mod tests;
