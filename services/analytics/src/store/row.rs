//! What is known of one session, how a fact changes it, and its row.
//!
//! A row is some hundred bytes: first what a list shows, then the timeline, in which most of the bytes are the ids of
//! messages, each once. Everything that grows is bounded, and so is each text: they come from another process.

use std::collections::BTreeMap;

use protocol::{BotClass, Device, FactKind, FinishReason, MessageId, Millis, Rating, SessionId, SiteId, Visit};

use super::{
    bytes::{Malformed, Reader, Writer},
    figures::{add, count_word, read_words, sum, write_words},
};
use crate::query::{Filter, Happening, SessionDetail, SessionRow};

/// The form of the rows.
const VERSION: u8 = 1;

/// Happenings that the timeline keeps, and ratings that it keeps beside them: of a later rating of the same message the
/// earlier one must be known, so one that can't be kept isn't counted.
pub(crate) const MAX_HAPPENINGS: usize = 200;
/// See [`MAX_HAPPENINGS`].
pub(crate) const MAX_RATINGS: usize = 200;

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
    /// The messages that the timeline names.
    messages: Vec<MessageId>,
    /// In the order in which it was told.
    timeline: Vec<Moment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Moment {
    at: i64,
    what: What,
}

/// The number is the message's place in [`Session::messages`].
#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Started,
    Accepted(u64, u64),
    Ended { message: u64, cancelled: bool, chunks: u64, first_chunk_ms: Option<u64>, duration_ms: u64 },
    Failed { message: u64, code: String, chunks: u64, duration_ms: u64 },
    Pushed(u64, u64),
    Rated(u64, Rating),
}

/// What became of a fact in its session's timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// It is there, or needs no place there.
    First,
    /// It is a rating and counts in the place of this one.
    Instead(Millis, Rating),
    /// It is a rating and doesn't count: a later one was told before.
    TooLate,
    /// There are too many. A rating doesn't count then.
    LeftOut,
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
        let at = at.0;
        match fact {
            FactKind::SessionStarted(visit) => {
                known.visit(visit);
                known.started = at;
                self.keep(at, What::Started)
            }
            FactKind::MessageAccepted { message_id, chars } => {
                let message = self.message(message_id);
                self.keep_of(at, message, |message| What::Accepted(message, u64::from(*chars)))
            }
            FactKind::ReplyEnded { message_id, chunks, finish_reason, first_chunk_ms, duration_ms } => {
                let cancelled = *finish_reason == FinishReason::Cancelled;
                add(if cancelled { &mut known.cancelled } else { &mut known.ended }, 1);
                if let Some(ms) = first_chunk_ms {
                    add(&mut known.first_chunks, 1);
                    add(&mut known.first_chunk_ms, *ms);
                }
                let chunks = u64::from(*chunks);
                add(&mut known.chunks, chunks);
                add(&mut known.duration_ms, *duration_ms);
                let (first_chunk_ms, duration_ms) = (*first_chunk_ms, *duration_ms);
                let message = self.message(message_id);
                self.keep_of(at, message, |message| What::Ended {
                    message,
                    cancelled,
                    chunks,
                    first_chunk_ms,
                    duration_ms,
                })
            }
            FactKind::ReplyFailed { message_id, chunks, code, duration_ms } => {
                count_word(&mut known.failed, code.as_str(), 1);
                let (chunks, duration_ms) = (u64::from(*chunks), *duration_ms);
                add(&mut known.chunks, chunks);
                add(&mut known.duration_ms, duration_ms);
                let message = self.message(message_id);
                let code = code.as_str().to_owned();
                self.keep_of(at, message, |message| What::Failed { message, code, chunks, duration_ms })
            }
            FactKind::MessagePushed { message_id, chars } => {
                add(&mut known.pushed, 1);
                let message = self.message(message_id);
                self.keep_of(at, message, |message| What::Pushed(message, u64::from(*chars)))
            }
            FactKind::ReplyRated { message_id, rating } => self.rate(message_id, at, *rating),
            FactKind::CallsRefused { .. } | FactKind::SessionEnded => Word::First,
        }
    }

    /// The latest word of a message counts, in whatever order they come.
    fn rate(&mut self, message_id: &MessageId, at: i64, rating: Rating) -> Word {
        let place = self.messages.iter().position(|known| known == message_id).map(|place| place as u64);
        let before = self.timeline.iter().enumerate().find_map(|(at, moment)| match moment.what {
            What::Rated(message, rated) if Some(message) == place => Some((at, moment.at, rated)),
            _ => None,
        });
        let word = match before {
            Some((_, before, _)) if before >= at => return Word::TooLate,
            Some((moment, before, rated)) => {
                let message = place.unwrap_or_default();
                self.timeline[moment] = Moment { at, what: What::Rated(message, rating) };
                let count = self.known.rated(rated);
                *count = count.saturating_sub(1);
                Word::Instead(Millis(before), rated)
            }
            None if self.ratings() >= MAX_RATINGS => return self.cut(),
            None => {
                let message = place.unwrap_or_else(|| self.name(message_id));
                self.timeline.push(Moment { at, what: What::Rated(message, rating) });
                Word::First
            }
        };
        add(self.known.rated(rating), 1);
        word
    }

    fn ratings(&self) -> usize {
        self.timeline.iter().filter(|moment| matches!(moment.what, What::Rated(..))).count()
    }

    /// The place of a message's name, which is added if it is new; `None` if the timeline is full.
    fn message(&mut self, id: &MessageId) -> Option<u64> {
        if self.is_full() {
            return None;
        }
        let place = self.messages.iter().rposition(|known| known == id).map(|place| place as u64);
        Some(place.unwrap_or_else(|| self.name(id)))
    }

    fn name(&mut self, id: &MessageId) -> u64 {
        self.messages.push(id.clone());
        self.messages.len() as u64 - 1
    }

    fn is_full(&self) -> bool {
        self.timeline.len() >= MAX_HAPPENINGS && self.timeline.len() - self.ratings() >= MAX_HAPPENINGS
    }

    fn keep_of(&mut self, at: i64, message: Option<u64>, what: impl FnOnce(u64) -> What) -> Word {
        match message {
            Some(message) => self.keep(at, what(message)),
            None => self.cut(),
        }
    }

    fn keep(&mut self, at: i64, what: What) -> Word {
        if self.is_full() {
            return self.cut();
        }
        self.timeline.push(Moment { at, what });
        Word::First
    }

    fn cut(&mut self) -> Word {
        self.known.cut = true;
        Word::LeftOut
    }

    /// `began`: as the key says, in seconds.
    pub(crate) fn write(&mut self, began: u64) -> Vec<u8> {
        let mut row = Writer::of(VERSION);
        self.known.write(&mut row, began);
        row.number(self.messages.len() as u64);
        for id in &self.messages {
            write_id(&mut row, id.as_str());
        }
        row.number(self.timeline.len() as u64);
        let mut last = self.known.started;
        for moment in &self.timeline {
            moment.write(&mut row, last);
            last = moment.at;
        }
        row.done()
    }

    pub(crate) fn read(began: u64, row: &[u8]) -> Result<Self, Malformed> {
        let row = &mut Reader::of(VERSION, row)?;
        let known = Known::read(row, began)?;
        let messages: Vec<MessageId> = (0..row.count()?).map(|_| read_id(row)).collect::<Result<_, _>>()?;
        let mut last = known.started;
        let timeline = (0..row.count()?).map(|_| {
            let moment = Moment::read(row, last, messages.len())?;
            last = moment.at;
            Ok(moment)
        });
        Ok(Self { timeline: timeline.collect::<Result<_, Malformed>>()?, known, messages })
    }

    /// All of it, as the API shows it.
    pub(crate) fn detail(self, site: SiteId, id: SessionId) -> SessionDetail {
        let Self { known, messages, mut timeline } = self;
        timeline.sort_by_key(|moment| moment.at);
        let timeline = timeline.into_iter().map(|moment| moment.happening(&messages)).collect();
        SessionDetail { timeline, timeline_cut: known.cut, row: known.shown(site, id) }
    }
}

impl Known {
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

impl Moment {
    /// `last`: the time of the moment before, from which this one counts.
    fn write(&self, row: &mut Writer, last: i64) {
        // The kind in three bits, what it needs in those above.
        let (kind, message) = match &self.what {
            What::Started => (0, None),
            What::Accepted(message, _) => (1, Some(message)),
            What::Ended { message, cancelled, first_chunk_ms, .. } => {
                (2 | u8::from(*cancelled) << 3 | u8::from(first_chunk_ms.is_some()) << 4, Some(message))
            }
            What::Failed { message, .. } => (3, Some(message)),
            What::Pushed(message, _) => (4, Some(message)),
            What::Rated(message, rating) => (5 | u8::from(*rating == Rating::Up) << 3, Some(message)),
        };
        row.byte(kind);
        row.signed(self.at.wrapping_sub(last));
        if let Some(message) = message {
            row.number(*message);
        }
        match &self.what {
            What::Started | What::Rated(..) => {}
            What::Accepted(_, chars) | What::Pushed(_, chars) => row.number(*chars),
            What::Ended { chunks, first_chunk_ms, duration_ms, .. } => {
                row.number(*chunks);
                if let Some(ms) = first_chunk_ms {
                    row.number(*ms);
                }
                row.number(*duration_ms);
            }
            What::Failed { code, chunks, duration_ms, .. } => {
                row.text(code);
                row.number(*chunks);
                row.number(*duration_ms);
            }
        }
    }

    fn read(row: &mut Reader<'_>, last: i64, messages: usize) -> Result<Self, Malformed> {
        let kind = row.byte()?;
        let at = last.wrapping_add(row.signed()?);
        let message = if kind & 7 == 0 { 0 } else { row.number()? };
        if kind & 7 != 0 && message >= messages as u64 {
            return Err(Malformed);
        }
        let what = match kind & 7 {
            0 => What::Started,
            1 => What::Accepted(message, row.number()?),
            2 => {
                let chunks = row.number()?;
                let first_chunk_ms = (kind >> 4 & 1 == 1).then(|| row.number()).transpose()?;
                What::Ended {
                    message,
                    cancelled: kind >> 3 & 1 == 1,
                    chunks,
                    first_chunk_ms,
                    duration_ms: row.number()?,
                }
            }
            3 => {
                let code = row.text()?.to_owned();
                What::Failed { message, code, chunks: row.number()?, duration_ms: row.number()? }
            }
            4 => What::Pushed(message, row.number()?),
            5 => What::Rated(message, if kind >> 3 & 1 == 1 { Rating::Up } else { Rating::Down }),
            _ => return Err(Malformed),
        };
        Ok(Self { at, what })
    }

    fn happening(self, messages: &[MessageId]) -> Happening {
        let id = |place: u64| usize::try_from(place).ok().and_then(|place| messages.get(place)).cloned();
        let none = Happening {
            at: Millis(self.at),
            kind: String::new(),
            message_id: None,
            outcome: None,
            first_chunk_ms: None,
            duration_ms: None,
            chunks: None,
            chars: None,
        };
        let said = |kind: &str, message: u64, chars: u64| Happening {
            kind: kind.to_owned(),
            message_id: id(message),
            chars: Some(chars),
            ..none.clone()
        };
        match self.what {
            What::Started => Happening { kind: "session_started".to_owned(), ..none },
            What::Accepted(message, chars) => said("message_accepted", message, chars),
            What::Pushed(message, chars) => said("message_pushed", message, chars),
            What::Ended { message, cancelled, chunks, first_chunk_ms, duration_ms } => Happening {
                kind: "reply_ended".to_owned(),
                message_id: id(message),
                outcome: Some(if cancelled { "cancelled" } else { "stop" }.to_owned()),
                first_chunk_ms,
                duration_ms: Some(duration_ms),
                chunks: Some(chunks),
                ..none
            },
            What::Failed { message, code, chunks, duration_ms } => Happening {
                kind: "reply_failed".to_owned(),
                message_id: id(message),
                outcome: Some(code),
                duration_ms: Some(duration_ms),
                chunks: Some(chunks),
                ..none
            },
            What::Rated(message, rating) => Happening {
                kind: "reply_rated".to_owned(),
                message_id: id(message),
                outcome: Some(if rating == Rating::Up { "up" } else { "down" }.to_owned()),
                ..none
            },
        }
    }
}

/// Stand in the place of an id's length and say that 16 bytes follow, which its hex digits are.
const UUID: u64 = 65;
const MINTED: u64 = 66;

/// An id of a message: those of browsers are UUIDs, those of edges are minted; both in 17 bytes.
fn write_id(row: &mut Writer, id: &str) {
    match (uuid_bytes(id), id.strip_prefix("msg_").and_then(hex_bytes)) {
        (Some(bytes), _) => {
            row.number(UUID);
            row.raw(&bytes);
        }
        (None, Some(bytes)) => {
            row.number(MINTED);
            row.raw(&bytes);
        }
        (None, None) => row.text(id),
    }
}

fn read_id(row: &mut Reader<'_>) -> Result<MessageId, Malformed> {
    let id = match row.number()? {
        UUID => {
            let hex = hex(row.array()?);
            [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
        }
        MINTED => format!("msg_{}", hex(row.array()?)),
        length => {
            let length = usize::try_from(length).map_err(|_| Malformed)?;
            str::from_utf8(row.raw(length)?).map_err(|_| Malformed)?.to_owned()
        }
    };
    MessageId::new(&id).map_err(|_| Malformed)
}

fn uuid_bytes(text: &str) -> Option<[u8; 16]> {
    let dashes = [8, 13, 18, 23];
    let is_uuid = text.len() == 36 && text.char_indices().all(|(at, c)| (c == '-') == dashes.contains(&at));
    if is_uuid { hex_bytes(&text.replace('-', "")) } else { None }
}

/// 32 hex digits in lower case, the only form that comes back from the bytes.
fn hex_bytes(text: &str) -> Option<[u8; 16]> {
    let is_hex = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if is_hex { u128::from_str_radix(text, 16).ok().map(u128::to_be_bytes) } else { None }
}

fn hex(bytes: [u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(bytes))
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
    use protocol::FailureCode;

    use super::*;

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
        FactKind::ReplyRated { message_id: message_id(n), rating }
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
            (14_000, FactKind::ReplyRated { message_id: first, rating: Rating::Down }),
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
