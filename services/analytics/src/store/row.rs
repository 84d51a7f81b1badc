//! What is known of one session, how a fact changes it, and its row.
//!
//! A row is some hundred bytes: first what a list shows, then the timeline, in which most of the bytes are the ids of
//! messages, each once. Everything that grows is bounded, and so is each text: they come from another process.

use std::collections::BTreeMap;

use protocol::{BotClass, Device, FactKind, FinishReason, MessageId, Millis, Rating, SessionId, SiteId, Visit};

use super::{
    bytes::{Malformed, Reader, Writer},
    figures::{add, count_word, read_words, sum, write_words},
    timeline::{Timeline, Word, hex_bytes},
};
use crate::query::{Filter, SessionDetail, SessionRow};

/// The form of the rows.
const VERSION: u8 = 1;

/// Bytes of a page's path that are kept; of a language tag (RFC 5646 asks for 35).
pub(crate) const MAX_PATH: usize = 256;
pub(crate) const MAX_LOCALE: usize = 35;

/// What is known of a session but its timeline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// When it began, Unix ms.
    pub(crate) started: i64,
    pub(crate) last_seen: i64,
    pub(crate) page_path: Option<String>,
    pub(crate) locale: Option<String>,
    pub(crate) country: Option<String>,
    pub(crate) device: Option<Device>,
    pub(crate) bot: Option<BotClass>,
    pub(crate) identified: bool,
    /// The customer's hash, for [`CUSTOMERS`](super::tables::CUSTOMERS).
    pub(crate) customer: Option<[u8; 16]>,
    pub(crate) messages: u64,
    pub(crate) ended: u64,
    pub(crate) cancelled: u64,
    pub(crate) failed: BTreeMap<String, u64>,
    pub(crate) pushed: u64,
    pub(crate) chunks: u64,
    pub(crate) rated_up: u64,
    pub(crate) rated_down: u64,
    /// Replies that had a first chunk, and how long they took to it together. Those that failed don't tell.
    pub(crate) first_chunks: u64,
    pub(crate) first_chunk_ms: u64,
    /// How long all replies took to their end, together.
    pub(crate) duration_ms: u64,
    /// Whether more happened than the timeline keeps.
    pub(crate) cut: bool,
}

/// A session with all that is kept of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) known: Known,
    timeline: Timeline,
}

impl Session {
    /// A session of which nothing was told yet. Facts come from several processes, so any kind may be the first.
    pub(crate) fn new(began: Millis) -> Self {
        // Until the session's start is told: its id holds it, to the second.
        Self { known: Known { started: began.0, last_seen: began.0, ..Known::default() }, ..Self::default() }
    }

    /// `at`: when the fact happened, if that can be. `acceptances`: how many messages are known by this fact to be
    /// accepted. Mostly one by its own fact, and none by any other; by its end when that is told first.
    pub(crate) fn apply(&mut self, fact: &FactKind, at: Millis, acceptances: u64) -> Word {
        let known = &mut self.known;
        known.last_seen = known.last_seen.max(at.0);
        add(&mut known.messages, acceptances);
        known.count(fact, at);
        let word = self.timeline.tell(fact, at);
        match (fact, word) {
            (FactKind::ReplyRated { rating, .. }, Word::First | Word::Instead(..)) => {
                if let Word::Instead(_, before) = word {
                    let count = known.rated(before);
                    *count = count.saturating_sub(1);
                }
                add(known.rated(*rating), 1);
            }
            (_, Word::LeftOut) => known.cut = true,
            _ => {}
        }
        word
    }

    /// With which of its ratings comments are kept.
    pub(crate) fn comments(&self) -> impl Iterator<Item = (Millis, &MessageId)> {
        self.timeline.comments()
    }

    /// Entries of its timeline.
    pub(crate) fn happenings(&self) -> usize {
        self.timeline.len()
    }

    /// `began`: as the key says, in seconds.
    pub(crate) fn write(&mut self, began: u64) -> Vec<u8> {
        let mut row = Writer::of(VERSION);
        self.known.write(&mut row, began);
        self.timeline.write(&mut row, self.known.started);
        row.done()
    }

    pub(crate) fn read(began: u64, row: &[u8]) -> Result<Self, Malformed> {
        let row = &mut Reader::of(VERSION, row)?;
        let known = Known::read(row, began)?;
        let timeline = Timeline::read(row, known.started)?;
        Ok(Self { known, timeline })
    }

    /// All of it, as the API shows it.
    pub(crate) fn detail(self, site: SiteId, id: SessionId) -> SessionDetail {
        let Self { known, timeline } = self;
        SessionDetail { timeline: timeline.happenings(), timeline_cut: known.cut, row: known.shown(site, id) }
    }
}

impl Known {
    fn count(&mut self, fact: &FactKind, at: Millis) {
        match fact {
            FactKind::SessionStarted(visit) => {
                self.visit(visit);
                self.started = at.0;
            }
            FactKind::ReplyEnded { chunks, finish_reason, first_chunk_ms, duration_ms, .. } => {
                match finish_reason {
                    FinishReason::Stop => add(&mut self.ended, 1),
                    FinishReason::Cancelled => add(&mut self.cancelled, 1),
                }
                if let Some(ms) = first_chunk_ms {
                    add(&mut self.first_chunks, 1);
                    add(&mut self.first_chunk_ms, *ms);
                }
                add(&mut self.chunks, u64::from(*chunks));
                add(&mut self.duration_ms, *duration_ms);
            }
            FactKind::ReplyFailed { chunks, code, duration_ms, .. } => {
                count_word(&mut self.failed, code.as_str(), 1);
                add(&mut self.chunks, u64::from(*chunks));
                add(&mut self.duration_ms, *duration_ms);
            }
            FactKind::MessagePushed { .. } => add(&mut self.pushed, 1),
            FactKind::MessageAccepted { .. }
            | FactKind::ReplyRated { .. }
            | FactKind::CallsRefused { .. }
            | FactKind::SessionEnded => {}
        }
    }

    fn visit(&mut self, visit: &Visit) {
        let Visit { page_path, locale, device, country, customer, bot } = visit;
        self.page_path = page_path.as_deref().map(|path| cut_text(path, MAX_PATH).to_owned());
        self.locale = locale.as_deref().map(|locale| cut_text(locale, MAX_LOCALE).to_owned());
        let is_country = |code: &&str| code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_uppercase());
        self.country = country.as_deref().filter(is_country).map(str::to_owned);
        (self.device, self.bot) = (*device, *bot);
        self.identified = customer.is_some();
        self.customer = customer.as_deref().and_then(customer_hash);
    }

    fn rated(&mut self, rating: Rating) -> &mut u64 {
        match rating {
            Rating::Up => &mut self.rated_up,
            Rating::Down => &mut self.rated_down,
        }
    }

    /// In the order in which they are stored.
    fn counts(&mut self) -> [&mut u64; 10] {
        let Self { messages, ended, cancelled, pushed, chunks, rated_up, rated_down, .. } = self;
        let Self { first_chunks, first_chunk_ms, duration_ms, .. } = self;
        [messages, ended, cancelled, pushed, chunks, rated_up, rated_down, first_chunks, first_chunk_ms, duration_ms]
    }

    fn write(&mut self, row: &mut Writer, began: u64) {
        let device = self.device.map_or(0, |device| match device {
            Device::Phone => 1,
            Device::Tablet => 2,
            Device::Desktop => 3,
            Device::Other => 4,
        });
        let bot = self.bot.map_or(0, |bot| match bot {
            BotClass::Clear => 1,
            BotClass::Doubtful => 2,
            BotClass::Likely => 3,
        });
        let bits = [
            self.page_path.is_some(),
            self.locale.is_some(),
            self.country.is_some(),
            self.identified,
            self.customer.is_some(),
            self.cut,
            !self.failed.is_empty(),
        ];
        let flags = bits.iter().rev().fold(0, |flags, bit| flags << 1 | u64::from(*bit));
        row.number(flags | device << 8 | bot << 12);
        row.signed(self.started.wrapping_sub(began_ms(began)));
        row.signed(self.last_seen.wrapping_sub(self.started));
        for text in [&self.page_path, &self.locale, &self.country].into_iter().flatten() {
            row.text(text);
        }
        if let Some(customer) = &self.customer {
            row.raw(customer);
        }
        for count in self.counts() {
            row.number(*count);
        }
        if !self.failed.is_empty() {
            write_words(row, &self.failed);
        }
    }

    fn read(row: &mut Reader<'_>, began: u64) -> Result<Self, Malformed> {
        let flags = row.number()?;
        let is = |bit: u32| flags >> bit & 1 == 1;
        let mut known = Self { identified: is(3), cut: is(5), ..Self::default() };
        known.device = match flags >> 8 & 15 {
            0 => None,
            1 => Some(Device::Phone),
            2 => Some(Device::Tablet),
            3 => Some(Device::Desktop),
            _ => Some(Device::Other),
        };
        known.bot = match flags >> 12 & 15 {
            0 => None,
            1 => Some(BotClass::Clear),
            2 => Some(BotClass::Doubtful),
            _ => Some(BotClass::Likely),
        };
        known.started = began_ms(began).wrapping_add(row.signed()?);
        known.last_seen = known.started.wrapping_add(row.signed()?);
        let mut text = |there: bool| there.then(|| row.text().map(str::to_owned)).transpose();
        (known.page_path, known.locale, known.country) = (text(is(0))?, text(is(1))?, text(is(2))?);
        known.customer = is(4).then(|| row.array()).transpose()?;
        for count in known.counts() {
            *count = row.number()?;
        }
        if is(6) {
            known.failed = read_words(row)?;
        }
        Ok(known)
    }

    /// Only this part of a row.
    pub(crate) fn of_row(began: u64, row: &[u8]) -> Result<Self, Malformed> {
        Self::read(&mut Reader::of(VERSION, row)?, began)
    }

    /// Whether all conditions hold.
    pub(crate) fn matches(&self, filter: &Filter) -> bool {
        let Filter { outcome, identified, page, device, country, rating } = filter;
        let of = |outcome: &str| match outcome {
            "ended" => self.ended,
            "cancelled" => self.cancelled,
            "failed" => sum(&self.failed),
            code => self.failed.get(code).copied().unwrap_or(0),
        };
        let rated = |rating: Rating| match rating {
            Rating::Up => self.rated_up,
            Rating::Down => self.rated_down,
        };
        outcome.as_deref().is_none_or(|outcome| of(outcome) > 0)
            && identified.is_none_or(|identified| identified == self.identified)
            && page.as_deref().is_none_or(|page| self.page_path.as_deref().is_some_and(|path| path.starts_with(page)))
            && device.is_none_or(|device| self.device == Some(device))
            && (country.is_none() || *country == self.country)
            && rating.is_none_or(|rating| rated(rating) > 0)
    }

    /// As lists show it.
    pub(crate) fn shown(self, site: SiteId, id: SessionId) -> SessionRow {
        let replies = self.ended.saturating_add(self.cancelled).saturating_add(sum(&self.failed));
        SessionRow {
            id,
            site,
            started: Millis(self.started),
            last_seen: Millis(self.last_seen),
            page_path: self.page_path,
            locale: self.locale,
            device: self.device,
            country: self.country,
            identified: self.identified,
            bot: self.bot,
            messages: self.messages,
            ended: self.ended,
            cancelled: self.cancelled,
            failed: self.failed,
            pushed: self.pushed,
            chunks: self.chunks,
            rated_up: self.rated_up,
            rated_down: self.rated_down,
            first_chunk_ms: self.first_chunk_ms.checked_div(self.first_chunks),
            duration_ms: self.duration_ms.checked_div(replies),
        }
    }
}

/// The bytes of a customer's hash as [`runtime::customer::hash`] writes it; another word can't be asked for either.
pub(crate) fn customer_hash(text: &str) -> Option<[u8; 16]> {
    hex_bytes(text)
}

/// When a session began, in ms, by its id.
pub(crate) fn began_ms(began: u64) -> i64 {
    i64::try_from(began).unwrap_or(i64::MAX).saturating_mul(1_000)
}

/// As much of a text as fits.
pub(crate) fn cut_text(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

#[cfg(test)]
mod tests {
    use protocol::{FailureCode, MessageId};

    use super::*;
    use crate::store::timeline::{MAX_HAPPENINGS, MAX_RATINGS};

    const BEGAN: u64 = 1_767_168_909;

    fn message_id(n: usize) -> MessageId {
        MessageId::new(&format!("message-{n}")).unwrap()
    }

    fn after(kinds: impl IntoIterator<Item = (i64, FactKind)>) -> Session {
        let mut session = Session::new(Millis(began_ms(BEGAN)));
        for (at, kind) in kinds {
            let acceptances = u64::from(matches!(kind, FactKind::MessageAccepted { .. }));
            session.apply(&kind, Millis(began_ms(BEGAN) + at), acceptances);
        }
        session
    }

    fn started() -> FactKind {
        FactKind::SessionStarted(Visit {
            page_path: Some("/shoes/red-ones".into()),
            locale: Some("de-CH".into()),
            device: Some(Device::Phone),
            country: Some("CH".into()),
            customer: Some("00112233445566778899aabbccddeeff".into()),
            bot: Some(BotClass::Clear),
        })
    }

    fn accepted(n: usize) -> FactKind {
        FactKind::MessageAccepted { message_id: message_id(n), chars: 40 }
    }

    fn ended(finish_reason: FinishReason, first_chunk_ms: Option<u64>, duration_ms: u64) -> FactKind {
        FactKind::ReplyEnded { message_id: message_id(1), chunks: 2, finish_reason, first_chunk_ms, duration_ms }
    }

    fn failed(code: FailureCode) -> FactKind {
        FactKind::ReplyFailed { message_id: message_id(1), chunks: 1, code, duration_ms: 7 }
    }

    fn rated(n: usize, rating: Rating) -> FactKind {
        FactKind::ReplyRated { message_id: message_id(n), rating, comment: None }
    }

    #[test]
    fn each_kind_counts_where_it_belongs() {
        let empty = after([(0, FactKind::SessionEnded)]).known;
        let none = || empty.clone();
        let check = |kind: FactKind, expected: Known| {
            assert_eq!(after([(0, kind.clone())]).known, expected, "{kind:?}");
        };
        let done = || Known { chunks: 2, duration_ms: 90, ..none() };
        let failure = |code: &str| Known { chunks: 1, duration_ms: 7, failed: [(code.into(), 1)].into(), ..none() };
        check(FactKind::SessionStarted(Visit::default()), none());
        check(accepted(1), Known { messages: 1, ..none() });
        check(
            ended(FinishReason::Stop, Some(20), 90),
            Known { ended: 1, first_chunks: 1, first_chunk_ms: 20, ..done() },
        );
        check(ended(FinishReason::Cancelled, None, 90), Known { cancelled: 1, ..done() });
        check(failed(FailureCode::QueueTimeout), failure("queue_timeout"));
        check(failed(FailureCode::UpstreamError), failure("upstream_error"));
        check(FactKind::MessagePushed { message_id: message_id(1), chars: 9 }, Known { pushed: 1, ..none() });
        check(rated(1, Rating::Up), Known { rated_up: 1, ..none() });
        let known = after([(250, started())]).known;
        assert_eq!((known.started, known.identified), (began_ms(BEGAN) + 250, true));
        assert_eq!(known.customer.map(|bytes| bytes[1]), Some(0x11));
    }

    /// All kinds, with the ids of a browser, of an edge, and one of somebody else.
    fn full() -> Vec<(i64, FactKind)> {
        let ids = ["0b9c2d3e-4f50-4a61-8b72-9c83ad94be05", "msg_000102030405060708090a0b0c0d0e0f", "my-own-id"];
        let [first, second, third] = ids.map(|id| MessageId::new(id).unwrap());
        let ended = |message_id, finish_reason, first_chunk_ms| FactKind::ReplyEnded {
            message_id,
            chunks: 12,
            finish_reason,
            first_chunk_ms,
            duration_ms: 3_400,
        };
        vec![
            (250, started()),
            (9_000, FactKind::MessageAccepted { message_id: first.clone(), chars: 31 }),
            (12_400, ended(first.clone(), FinishReason::Stop, Some(410))),
            (14_000, FactKind::ReplyRated { message_id: first, rating: Rating::Down, comment: None }),
            (30_000, FactKind::MessageAccepted { message_id: second.clone(), chars: 5 }),
            (31_000, ended(second, FinishReason::Cancelled, None)),
            (40_000, FactKind::MessageAccepted { message_id: third.clone(), chars: 5 }),
            (
                41_000,
                FactKind::ReplyFailed {
                    message_id: third.clone(),
                    chunks: 1,
                    code: FailureCode::QueueTimeout,
                    duration_ms: 1_000,
                },
            ),
            (50_000, FactKind::MessagePushed { message_id: third, chars: 5 }),
        ]
    }

    #[test]
    fn a_row_is_read_as_it_was_written() {
        let mut session = after(full());
        let row = session.write(BEGAN);
        assert_eq!(Session::read(BEGAN, &row), Ok(session.clone()));
        assert_eq!(Known::of_row(BEGAN, &row), Ok(session.known.clone()));
        for length in 0..row.len() {
            assert_eq!(Session::read(BEGAN, &row[..length]), Err(Malformed), "cut at {length}");
        }
        let mut small = after(full().into_iter().take(3));
        assert!(small.write(BEGAN).len() <= 100, "{}", small.write(BEGAN).len());
    }

    /// Whoever changes the form gives it another version, and reads the old one as well.
    #[test]
    fn the_form_of_a_row_is_frozen() {
        let row = after(full()).write(BEGAN);
        let hex = row.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        assert_eq!(
            hex,
            "01df22f403ac89060f2f73686f65732f7265642d6f6e65730564652d434802434800112233445566778899aabbccddeeff03\
             010101190001019a03f83c010d71756575655f74696d656f75740103410b9c2d3e4f504a618b729c83ad94be054200010203\
             0405060708090a0b0c0d0e0f096d792d6f776e2d696409000001dc8801001f129035000c9a03c81a058019000180fa010105\
             0ad00f010cc81a01d08c01020503d00f020d71756575655f74696d656f757401e80704d08c010205"
        );
    }

    /// A disk, or somebody else, changed it: an error or another row, never the end of the process.
    #[test]
    fn no_damaged_row_stops_anything() {
        let row = after(full()).write(BEGAN);
        let (site, id) = (SiteId::new("default").unwrap(), SessionId::mint(BEGAN, 1));
        let mut read = 0;
        for bit in 0..row.len() * 8 {
            let mut damaged = row.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            if let Ok(mut session) = Session::read(BEGAN, &damaged) {
                read += 1;
                session.apply(&accepted(1), Millis(i64::MAX), u64::MAX);
                session.write(BEGAN);
                assert_eq!(session.detail(site.clone(), id.clone()).row.id, id);
            }
        }
        assert!((1..row.len() * 8).contains(&read), "{read} of {}", row.len() * 8);
    }

    #[test]
    fn a_timeline_tells_what_happened_in_order() {
        let (site, id) = (SiteId::new("default").unwrap(), SessionId::mint(BEGAN, 1));
        let told = after(full()).detail(site.clone(), id.clone());
        let kinds: Vec<_> =
            told.timeline.iter().map(|moment| (moment.kind.as_str(), moment.outcome.as_deref())).collect();
        assert_eq!(
            kinds,
            [
                ("session_started", None),
                ("message_accepted", None),
                ("reply_ended", Some("stop")),
                ("reply_rated", Some("down")),
                ("message_accepted", None),
                ("reply_ended", Some("cancelled")),
                ("message_accepted", None),
                ("reply_failed", Some("queue_timeout")),
                ("message_pushed", None),
            ]
        );
        let reply = &told.timeline[2];
        assert_eq!(reply.message_id.as_ref().unwrap().as_str(), "0b9c2d3e-4f50-4a61-8b72-9c83ad94be05");
        assert_eq!((reply.first_chunk_ms, reply.duration_ms, reply.chunks), (Some(410), Some(3_400), Some(12)));
        assert_eq!((told.row.first_chunk_ms, told.row.duration_ms, told.timeline_cut), (Some(410), Some(2_600), false));
        assert_eq!(told, after(full().into_iter().rev()).detail(site, id), "in whatever order it was told");
    }

    #[test]
    fn of_two_words_about_a_reply_the_later_counts() {
        let check = |words: &[(i64, Rating)], expected: (u64, u64)| {
            let session = after(words.iter().map(|(at, rating)| (*at, rated(1, *rating))));
            assert_eq!((session.known.rated_up, session.known.rated_down), expected, "{words:?}");
            assert_eq!(session.timeline.len(), 1);
        };
        check(&[(1, Rating::Up)], (1, 0));
        check(&[(1, Rating::Up), (2, Rating::Down)], (0, 1));
        check(&[(2, Rating::Down), (1, Rating::Up)], (0, 1));
        check(&[(1, Rating::Up), (3, Rating::Up), (2, Rating::Down)], (1, 0));
        let both = after([(1, rated(1, Rating::Up)), (1, rated(2, Rating::Down))]).known;
        assert_eq!((both.rated_up, both.rated_down), (1, 1));
    }

    #[test]
    fn a_session_that_never_ends_stays_small() {
        let mut session = after((0..1_000).map(|n| (n, accepted(n as usize))));
        for n in 0..300 {
            session.apply(&rated(n, Rating::Up), Millis(began_ms(BEGAN)), 0);
        }
        // A later word of one that is kept still counts.
        session.apply(&rated(0, Rating::Down), Millis(began_ms(BEGAN) + 1), 0);
        assert_eq!((session.known.messages, session.known.rated_up, session.known.rated_down), (1_000, 199, 1));
        assert!(session.known.cut);
        assert_eq!(session.timeline.len(), MAX_HAPPENINGS + MAX_RATINGS);
        let row = session.write(BEGAN);
        assert_eq!(Session::read(BEGAN, &row), Ok(session));
    }

    #[test]
    fn foreign_texts_are_cut() {
        let visit = Visit {
            page_path: Some("/ü".repeat(1_000)),
            locale: Some("x".repeat(1_000)),
            country: Some("Switzerland".into()),
            customer: Some("somebody".into()),
            ..Visit::default()
        };
        let known = after([(0, FactKind::SessionStarted(visit))]).known;
        assert_eq!(known.page_path.unwrap().len(), 256);
        assert_eq!((known.locale.unwrap().len(), known.country), (35, None));
        assert_eq!((known.identified, known.customer), (true, None));
    }

    #[test]
    fn absurd_numbers_stop_nothing() {
        let absurd = || (i64::MIN, ended(FinishReason::Stop, Some(u64::MAX), u64::MAX));
        let mut session = Session::new(Millis(began_ms(u64::MAX)));
        for (at, kind) in [absurd(), absurd(), (i64::MAX, accepted(1))] {
            session.apply(&kind, Millis(at), 1);
        }
        assert_eq!(session.known.duration_ms, u64::MAX);
        let row = session.write(u64::MAX);
        assert_eq!(Session::read(u64::MAX, &row), Ok(session));
    }

    #[test]
    fn all_conditions_of_a_filter_must_hold() {
        let known = after(full()).known;
        let check = |filter: Filter, expected: bool| assert_eq!(known.matches(&filter), expected, "{filter:?}");
        let any = Filter::default;
        let outcome = |outcome: &str| Filter { outcome: Some(outcome.into()), ..any() };
        check(any(), true);
        check(outcome("ended"), true);
        check(outcome("cancelled"), true);
        check(outcome("failed"), true);
        check(outcome("queue_timeout"), true);
        check(outcome("too_large"), false);
        check(Filter { identified: Some(true), ..any() }, true);
        check(Filter { identified: Some(false), ..any() }, false);
        check(Filter { page: Some("/shoes".into()), ..any() }, true);
        check(Filter { page: Some("/hats".into()), ..any() }, false);
        check(Filter { device: Some(Device::Phone), ..any() }, true);
        check(Filter { device: Some(Device::Tablet), ..any() }, false);
        check(Filter { country: Some("CH".into()), ..any() }, true);
        check(Filter { country: Some("DE".into()), ..any() }, false);
        check(Filter { rating: Some(Rating::Down), ..any() }, true);
        check(Filter { rating: Some(Rating::Up), ..any() }, false);
        check(Filter { identified: Some(true), country: Some("DE".into()), ..any() }, false);
    }
}
