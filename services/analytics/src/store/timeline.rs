//! What happened in a session, and its form in the row: the ids of messages, each once, then the happenings, each with the
//! time since the one before.

use protocol::{FactKind, FinishReason, MessageId, Millis, Rating};

use super::bytes::{Malformed, Reader, Writer};
use crate::query::Happening;

/// Happenings that the timeline keeps, and ratings that it keeps beside them: of a later rating of the same message the
/// earlier one must be known, so one that can't be kept isn't counted.
pub(crate) const MAX_HAPPENINGS: usize = 200;
/// See [`MAX_HAPPENINGS`].
pub(crate) const MAX_RATINGS: usize = 200;
/// Ratings of a session that keep their comments. More is no word to the shop; the rating itself counts all the same.
pub(crate) const MAX_COMMENTS: usize = 20;

/// What happened in a session, as far as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Timeline {
    /// The messages that the happenings name.
    messages: Vec<MessageId>,
    /// In the order in which they were told.
    moments: Vec<Moment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Moment {
    at: i64,
    what: What,
}

/// The number is the message's place in [`Timeline::messages`].
#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Started,
    Accepted(u64, u64),
    Ended {
        message: u64,
        cancelled: bool,
        chunks: u64,
        first_chunk_ms: Option<u64>,
        duration_ms: u64,
    },
    Failed {
        message: u64,
        code: String,
        chunks: u64,
        duration_ms: u64,
    },
    Pushed(u64, u64),
    /// And whether a comment is kept with it, in a table of its own.
    Rated(u64, Rating, bool),
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

impl Timeline {
    pub(crate) fn len(&self) -> usize {
        self.moments.len()
    }

    /// Keeps a fact, if there is room.
    pub(super) fn tell(&mut self, fact: &FactKind, at: Millis) -> Word {
        let what = match fact {
            FactKind::ReplyRated { message_id, rating, comment } => {
                return self.rate(message_id, at.0, *rating, comment.is_some());
            }
            FactKind::CallsRefused { .. } | FactKind::SessionEnded => return Word::First,
            _ if self.is_full() => return Word::LeftOut,
            FactKind::SessionStarted(_) => What::Started,
            FactKind::MessageAccepted { message_id, chars } => {
                What::Accepted(self.place(message_id), u64::from(*chars))
            }
            FactKind::ReplyEnded { message_id, chunks, finish_reason, first_chunk_ms, duration_ms } => What::Ended {
                message: self.place(message_id),
                cancelled: *finish_reason == FinishReason::Cancelled,
                chunks: u64::from(*chunks),
                first_chunk_ms: *first_chunk_ms,
                duration_ms: *duration_ms,
            },
            FactKind::ReplyFailed { message_id, chunks, code, duration_ms } => What::Failed {
                message: self.place(message_id),
                code: code.as_str().to_owned(),
                chunks: u64::from(*chunks),
                duration_ms: *duration_ms,
            },
            FactKind::MessagePushed { message_id, chars } => What::Pushed(self.place(message_id), u64::from(*chars)),
        };
        self.moments.push(Moment { at: at.0, what });
        Word::First
    }

    /// The latest word of a message counts, in whatever order they come, with its comment or without one.
    fn rate(&mut self, message_id: &MessageId, at: i64, rating: Rating, with_comment: bool) -> Word {
        let known = self.messages.iter().position(|known| known == message_id).map(|place| place as u64);
        let is_it = |what: &What| matches!(what, What::Rated(message, ..) if Some(*message) == known);
        let others = self.moments.iter().filter(|it| !is_it(&it.what) && matches!(it.what, What::Rated(.., true)));
        let commented = with_comment && others.count() < MAX_COMMENTS;
        if let Some(moment) = self.moments.iter_mut().find(|moment| is_it(&moment.what)) {
            if moment.at >= at {
                return Word::TooLate;
            }
            let told = Millis(std::mem::replace(&mut moment.at, at));
            if let What::Rated(_, before, with) = &mut moment.what {
                *with = commented;
                return Word::Instead(told, std::mem::replace(before, rating));
            }
        }
        if self.ratings() >= MAX_RATINGS {
            return Word::LeftOut;
        }
        let what = What::Rated(self.place(message_id), rating, commented);
        self.moments.push(Moment { at, what });
        Word::First
    }

    /// With which ratings comments are kept.
    pub(super) fn comments(&self) -> impl Iterator<Item = (Millis, &MessageId)> {
        self.moments.iter().filter_map(|moment| match &moment.what {
            What::Rated(message, _, true) => {
                let message = usize::try_from(*message).ok().and_then(|place| self.messages.get(place))?;
                Some((Millis(moment.at), message))
            }
            _ => None,
        })
    }

    fn ratings(&self) -> usize {
        self.moments.iter().filter(|moment| matches!(moment.what, What::Rated(..))).count()
    }

    fn is_full(&self) -> bool {
        self.moments.len() >= MAX_HAPPENINGS && self.moments.len() - self.ratings() >= MAX_HAPPENINGS
    }

    /// The place of a message's id, which is added if it is new. The latest ones are asked for most.
    fn place(&mut self, id: &MessageId) -> u64 {
        let known = self.messages.iter().rposition(|known| known == id);
        let place = known.unwrap_or_else(|| {
            self.messages.push(id.clone());
            self.messages.len() - 1
        });
        place as u64
    }

    /// `began`: from when the first one counts, as all others from the one before.
    pub(super) fn write(&self, row: &mut Writer, began: i64) {
        row.number(self.messages.len() as u64);
        for id in &self.messages {
            write_id(row, id.as_str());
        }
        row.number(self.moments.len() as u64);
        let mut last = began;
        for moment in &self.moments {
            moment.write(row, last);
            last = moment.at;
        }
    }

    pub(super) fn read(row: &mut Reader<'_>, began: i64) -> Result<Self, Malformed> {
        let messages: Vec<MessageId> = (0..row.count()?).map(|_| read_id(row)).collect::<Result<_, _>>()?;
        let mut last = began;
        let moments = (0..row.count()?).map(|_| {
            let moment = Moment::read(row, last, messages.len())?;
            last = moment.at;
            Ok(moment)
        });
        Ok(Self { moments: moments.collect::<Result<_, Malformed>>()?, messages })
    }

    /// As the API shows them: by their time.
    pub(super) fn happenings(mut self) -> Vec<Happening> {
        self.moments.sort_by_key(|moment| moment.at);
        self.moments.into_iter().map(|moment| moment.happening(&self.messages)).collect()
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
            What::Rated(message, rating, commented) => {
                (5 | u8::from(*rating == Rating::Up) << 3 | u8::from(*commented) << 4, Some(message))
            }
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
            5 => {
                let rating = if kind >> 3 & 1 == 1 { Rating::Up } else { Rating::Down };
                What::Rated(message, rating, kind >> 4 & 1 == 1)
            }
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
            comment: None,
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
            What::Rated(message, rating, _) => Happening {
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
pub(super) fn hex_bytes(text: &str) -> Option<[u8; 16]> {
    let is_hex = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if is_hex { u128::from_str_radix(text, 16).ok().map(u128::to_be_bytes) } else { None }
}

fn hex(bytes: [u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(bytes))
}
