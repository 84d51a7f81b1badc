//! The pure decoder of what n8n sends: bytes in, pieces of the reply out. No I/O, no time, no settings of n8n.
//!
//! n8n streams one JSON object a line. Where its packets are cut says nothing (a read may hold forty lines or a part of
//! one), so only `\n` counts. A workflow that doesn't stream answers with one document instead: see `document`. Which
//! of the two a body is, its first lines say; the content type doesn't (n8n calls both `application/json`).
//!
//! What a caller may rely on:
//! - Any way of cutting the same bytes gives the same text and the same outcome.
//! - The content of an `error` line goes nowhere: it can hold details of the model's provider.
//! - Text is passed on unchanged, control characters included, in pieces of at most [`PIECE_BYTES`].
//! - Nothing grows without a bound: the text, a single line, and all bytes together have their limits.

mod document;

use std::borrow::Cow;

use protocol::FailureCode;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};

pub use document::{Media, looks_like_page};

/// No piece of text is longer: each becomes a chunk.
pub const PIECE_BYTES: usize = protocol::record::CHUNK_BYTES;

/// JSON can write one byte of text as six (`\u0000`).
const ESCAPED: usize = 6;

/// What a line holds besides its text, with room to spare: n8n's `metadata` is under 200 bytes.
const LINE_OVERHEAD: usize = 64 * 1024;

/// A five-byte token is a 167-byte line. Beyond this many bytes on the wire for each byte of allowed text, somebody
/// sends endless lines that say nothing.
const WIRE_PER_TEXT: usize = 256;

/// What one reply may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of text.
    pub reply_bytes: usize,
}

impl Limits {
    fn line_bytes(self) -> usize {
        self.reply_bytes.saturating_mul(ESCAPED).saturating_add(LINE_OVERHEAD)
    }

    fn wire_bytes(self) -> usize {
        self.reply_bytes.saturating_mul(WIRE_PER_TEXT).saturating_add(self.line_bytes())
    }
}

/// What the decoder found, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// n8n has begun to answer. Said once, before the first text.
    Begun,
    /// The next text; never empty.
    Text(&'a str),
    /// n8n says that it lives.
    Alive,
    /// A node of the workflow failed. What that means only the end shows: the answer may go on.
    ErrorSeen,
}

/// How a body ended that was received whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The reply is complete.
    Complete,
    /// There is no (whole) reply.
    Failed(FailureCode),
    /// n8n said that it is still starting: the workflow has not run.
    Starting,
    /// n8n said that the workflow runs, and nothing of what it will say.
    Started,
}

/// The reply is over one of its [`Limits`]; the rest of the body is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the reply is over its size limit")]
pub struct TooLarge;

/// Decodes one body.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    media: Media,
    stage: Stage,
    /// A line that was cut; or, before the stage is known and in a document, everything so far.
    carry: Vec<u8>,
    /// How much of `carry` was looked at, so that a line in many reads is searched once.
    searched: usize,
    /// Where in `carry` the current line begins; not 0 only before the stage is known.
    line_start: usize,
    wire_bytes: usize,
    turns: Turns,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing but JSON objects with a `type` that n8n's stream doesn't have.
    Open,
    Lines,
    Document,
}

impl Decoder {
    /// A decoder for a body of this type.
    pub fn new(limits: Limits, media: Media) -> Self {
        Self {
            limits,
            media,
            stage: Stage::Open,
            carry: Vec::new(),
            searched: 0,
            line_start: 0,
            wire_bytes: 0,
            turns: Turns { limit: limits.reply_bytes, ..Turns::default() },
        }
    }

    /// Takes the next bytes, cut anywhere, and hands out what they complete.
    pub fn feed(&mut self, bytes: &[u8], sink: &mut impl FnMut(Piece<'_>)) -> Result<(), TooLarge> {
        self.wire_bytes = self.wire_bytes.saturating_add(bytes.len());
        if self.wire_bytes > self.limits.wire_bytes() {
            return Err(TooLarge);
        }
        let mut rest = bytes;
        if self.stage == Stage::Open {
            if self.carry.is_empty() {
                rest = rest.trim_ascii_start();
            }
            self.keep(rest)?;
            if !self.decide() {
                return Ok(());
            }
            if self.stage == Stage::Document {
                return Ok(());
            }
            // Rare (once a reply): what was kept while undecided is decoded from a copy.
            let kept = std::mem::take(&mut self.carry);
            let lines = kept.get(self.line_start..).unwrap_or_default();
            (self.line_start, self.searched) = (0, 0);
            return self.feed_lines(lines, sink);
        }
        match self.stage {
            Stage::Document => self.keep(rest),
            Stage::Open | Stage::Lines => self.feed_lines(rest, sink),
        }
    }

    /// The body ended properly: hands out what is left and says how it went.
    pub fn finish(&mut self, sink: &mut impl FnMut(Piece<'_>)) -> Result<Outcome, TooLarge> {
        // The last line may lack its newline.
        if self.stage == Stage::Open {
            let last = self.carry.get(self.line_start..).unwrap_or_default();
            self.stage = if matches!(Line::read(last), Line::Known(_)) { Stage::Lines } else { Stage::Document };
        }
        if self.stage == Stage::Document {
            return match document::read(&self.carry, self.media) {
                Ok(text) => self.turns.text(&text, sink).map(|()| Outcome::Complete),
                Err(outcome) => Ok(outcome),
            };
        }
        let last = std::mem::take(&mut self.carry);
        self.turns.line(last.get(self.line_start..).unwrap_or_default(), sink)?;
        Ok(self.turns.outcome())
    }

    /// Whether any text was handed out.
    pub fn has_text(&self) -> bool {
        self.turns.text_bytes > 0
    }

    /// Whether an error was seen after which n8n goes on in no case known: one inside a turn, or before any turn. (An
    /// error between two turns is a tool that failed, and the model may think about that for long.)
    pub fn is_failing(&self) -> bool {
        self.turns.open_failed || (self.turns.errors > 0 && !self.turns.any_begun)
    }

    /// How many `error` lines came.
    pub fn errors(&self) -> u32 {
        self.turns.errors
    }

    /// How many lines were neither known nor empty; they were ignored.
    pub fn odd_lines(&self) -> u32 {
        self.turns.odd
    }

    /// Looks at the lines kept so far. Returns whether it is known now what the body is.
    fn decide(&mut self) -> bool {
        if self.carry.first().is_some_and(|first| *first != b'{') {
            self.stage = Stage::Document;
            return true;
        }
        while let Some(found) = memchr::memchr(b'\n', self.carry.get(self.searched..).unwrap_or_default()) {
            let end = self.searched + found;
            match Line::read(self.carry.get(self.line_start..end).unwrap_or_default()) {
                Line::Known(_) => {
                    self.stage = Stage::Lines;
                    return true;
                }
                // A type that a later n8n may begin its stream with, or a document that happens to have a `type`: the
                // next line will tell.
                Line::Unknown | Line::Blank => (self.line_start, self.searched) = (end + 1, end + 1),
                Line::Odd => {
                    self.stage = Stage::Document;
                    return true;
                }
            }
        }
        self.searched = self.carry.len();
        false
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), TooLarge> {
        if self.carry.len().saturating_add(bytes.len()) > self.limits.line_bytes() {
            return Err(TooLarge);
        }
        self.carry.extend_from_slice(bytes);
        Ok(())
    }

    /// Lines that lie whole in `bytes` are decoded where they are; only a cut one is copied.
    fn feed_lines(&mut self, bytes: &[u8], sink: &mut impl FnMut(Piece<'_>)) -> Result<(), TooLarge> {
        let mut rest = bytes;
        if !self.carry.is_empty() {
            let Some(end) = memchr::memchr(b'\n', rest) else { return self.keep(rest) };
            self.keep(rest.get(..end).unwrap_or_default())?;
            self.turns.line(&self.carry, sink)?;
            self.carry.clear();
            rest = rest.get(end + 1..).unwrap_or_default();
        }
        while let Some(end) = memchr::memchr(b'\n', rest) {
            self.turns.line(rest.get(..end).unwrap_or_default(), sink)?;
            rest = rest.get(end + 1..).unwrap_or_default();
        }
        self.keep(rest)
    }
}

/// The lines' meaning: turns are told apart by the order of `begin` and `end`, which n8n never interleaves.
#[derive(Debug, Default)]
struct Turns {
    limit: usize,
    text_bytes: usize,
    begun_told: bool,
    any_begun: bool,
    /// A `begin` without `end`.
    open: bool,
    /// An `error` inside the open turn. A new `begin` forgives it: n8n went on.
    open_failed: bool,
    /// A turn ended or began since the last text.
    between: bool,
    ended_in_newline: bool,
    errors: u32,
    odd: u32,
    /// A proxy put its error page into the stream.
    page: bool,
}

impl Turns {
    fn line(&mut self, line: &[u8], sink: &mut impl FnMut(Piece<'_>)) -> Result<(), TooLarge> {
        match Line::read(line) {
            Line::Known(Kind::Begin) => {
                self.tell_begun(sink);
                (self.any_begun, self.open, self.open_failed) = (true, true, false);
                self.between = self.text_bytes > 0;
            }
            Line::Known(Kind::Item(content)) => self.text(&content, sink)?,
            Line::Known(Kind::End) => {
                (self.open, self.open_failed) = (false, false);
                self.between = self.text_bytes > 0;
            }
            Line::Known(Kind::Error) => {
                self.errors = self.errors.saturating_add(1);
                self.open_failed = self.open;
                sink(Piece::ErrorSeen);
            }
            Line::Known(Kind::Keepalive) => sink(Piece::Alive),
            Line::Blank => {}
            Line::Unknown => self.odd = self.odd.saturating_add(1),
            Line::Odd => {
                self.odd = self.odd.saturating_add(1);
                self.page |= looks_like_page(&String::from_utf8_lossy(line));
            }
        }
        Ok(())
    }

    fn text(&mut self, text: &str, sink: &mut impl FnMut(Piece<'_>)) -> Result<(), TooLarge> {
        if text.is_empty() {
            return Ok(());
        }
        let separated: Cow<'_, str> = if self.between && !self.ended_in_newline {
            // Not a piece of its own: it would be a chunk that shows nothing.
            Cow::Owned(format!("\n\n{text}"))
        } else {
            Cow::Borrowed(text)
        };
        self.between = false;
        self.ended_in_newline = text.ends_with('\n');
        self.text_bytes = self.text_bytes.saturating_add(separated.len());
        if self.text_bytes > self.limit {
            return Err(TooLarge);
        }
        self.tell_begun(sink);
        let mut rest: &str = &separated;
        while !rest.is_empty() {
            // A character has at most four bytes, so a cut below PIECE_BYTES is never at 0.
            let (piece, after) = rest.split_at(rest.floor_char_boundary(PIECE_BYTES));
            sink(Piece::Text(piece));
            rest = after;
        }
        Ok(())
    }

    fn tell_begun(&mut self, sink: &mut impl FnMut(Piece<'_>)) {
        if !std::mem::replace(&mut self.begun_told, true) {
            sink(Piece::Begun);
        }
    }

    fn outcome(&self) -> Outcome {
        let silent = self.text_bytes == 0;
        if self.page {
            Outcome::Failed(FailureCode::UpstreamUnreachable)
        } else if self.open_failed || (silent && self.errors > 0) {
            Outcome::Failed(FailureCode::UpstreamError)
        } else if silent {
            Outcome::Failed(FailureCode::UpstreamEmpty)
        } else {
            Outcome::Complete
        }
    }
}

/// One line of n8n's stream.
enum Line<'a> {
    Known(Kind<'a>),
    /// A JSON object with a `type` that is none of ours.
    Unknown,
    Blank,
    /// Not such an object.
    Odd,
}

enum Kind<'a> {
    Begin,
    Item(Cow<'a, str>),
    End,
    Error,
    Keepalive,
}

impl<'a> Line<'a> {
    fn read(line: &'a [u8]) -> Self {
        /// All else in a line, `metadata` first, is skipped without being looked at.
        #[derive(Deserialize)]
        struct Fields<'a> {
            #[serde(borrow, rename = "type")]
            kind: Text<'a>,
            #[serde(borrow, default)]
            content: Text<'a>,
        }
        #[derive(Deserialize)]
        struct OnlyKind<'a> {
            #[serde(borrow, rename = "type")]
            kind: Text<'a>,
        }

        let line = line.trim_ascii();
        match line.first() {
            None => return Self::Blank,
            // serde would take an array for an object's fields in order.
            Some(first) if *first != b'{' => return Self::Odd,
            Some(_) => {}
        }
        // A second look where `content` is no string (null, an object): such a line has no text, yet its type counts.
        let read = serde_json::from_slice::<Fields<'_>>(line)
            .map(|fields| (fields.kind.0, fields.content.0))
            .or_else(|_| serde_json::from_slice::<OnlyKind<'_>>(line).map(|fields| (fields.kind.0, Cow::Borrowed(""))));
        match read {
            Ok((kind, content)) => match &*kind {
                "item" => Self::Known(Kind::Item(content)),
                "begin" => Self::Known(Kind::Begin),
                "end" => Self::Known(Kind::End),
                "error" => Self::Known(Kind::Error),
                "keepalive" => Self::Known(Kind::Keepalive),
                _ => Self::Unknown,
            },
            Err(_) => Self::Odd,
        }
    }
}

/// A JSON string, borrowed from the line unless it has escapes. Read as bytes, because as text serde_json refuses half
/// a surrogate pair (which JavaScript writes where a model's token was cut), and with it the whole line.
#[derive(Default)]
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AsBytes;

        impl<'de> Visitor<'de> for AsBytes {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
                Ok(Text(String::from_utf8_lossy(bytes)))
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(String::from_utf8_lossy(bytes).into_owned())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Text::default())
            }
        }

        deserializer.deserialize_bytes(AsBytes)
    }
}

#[cfg(test)]
mod tests;
