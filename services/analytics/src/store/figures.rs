//! What is counted of a site in a minute, an hour or a day.

use std::collections::BTreeMap;

use super::{
    bytes::{Malformed, Reader, Writer},
    histogram::Histogram,
};
use crate::query::{Metric, Summary};

/// The form of the rows.
const VERSION: u8 = 1;

/// Different words (failure codes, reasons of refusals) in one row. They come from other processes: what is more, or has
/// another form than theirs, is counted as [`OTHER`].
const MAX_WORDS: usize = 50;
const OTHER: &str = "other";

/// One row. Also the sum of many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Figures {
    pub(super) counts: Counts,
    pub(super) failed: BTreeMap<String, u64>,
    pub(super) refused: BTreeMap<String, u64>,
    pub(super) first_chunk_ms: Histogram,
    pub(super) duration_ms: Histogram,
}

/// The counts of a row, which stand at its front.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) sessions: u64,
    pub(super) identified: u64,
    pub(super) messages: u64,
    pub(super) ended: u64,
    pub(super) cancelled: u64,
    pub(super) pushed: u64,
    pub(super) chunks: u64,
    pub(super) rated_up: u64,
    pub(super) rated_down: u64,
}

impl Counts {
    /// In the order in which they are stored.
    fn all(&mut self) -> [&mut u64; 9] {
        let Self { sessions, identified, messages, ended, cancelled, pushed, chunks, rated_up, rated_down } = self;
        [sessions, identified, messages, ended, cancelled, pushed, chunks, rated_up, rated_down]
    }

    fn read(row: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut counts = Self::default();
        for count in counts.all() {
            *count = row.number()?;
        }
        Ok(counts)
    }
}

impl Figures {
    pub(super) fn read(row: &[u8]) -> Result<Self, Malformed> {
        let row = &mut Reader::of(VERSION, row)?;
        Ok(Self {
            counts: Counts::read(row)?,
            failed: read_words(row)?,
            refused: read_words(row)?,
            first_chunk_ms: Histogram::read(row)?,
            duration_ms: Histogram::read(row)?,
        })
    }

    /// Only the counts of a row.
    pub(super) fn read_counts(row: &[u8]) -> Result<Counts, Malformed> {
        Counts::read(&mut Reader::of(VERSION, row)?)
    }

    pub(super) fn write(&mut self) -> Vec<u8> {
        let mut row = Writer::of(VERSION);
        for count in self.counts.all() {
            row.number(*count);
        }
        write_words(&mut row, &self.failed);
        write_words(&mut row, &self.refused);
        self.first_chunk_ms.write(&mut row);
        self.duration_ms.write(&mut row);
        row.done()
    }

    pub(super) fn add_all(&mut self, mut other: Self) {
        for (count, more) in self.counts.all().into_iter().zip(other.counts.all()) {
            add(count, *more);
        }
        for (word, more) in &other.failed {
            count_word(&mut self.failed, word, *more);
        }
        for (word, more) in &other.refused {
            count_word(&mut self.refused, word, *more);
        }
        self.first_chunk_ms.add_all(&other.first_chunk_ms);
        self.duration_ms.add_all(&other.duration_ms);
    }

    /// What a series shows of it.
    pub(super) fn metric(&self, metric: Metric) -> Option<u64> {
        let Counts { sessions, messages, ended, cancelled, pushed, chunks, rated_up, rated_down, .. } = self.counts;
        match metric {
            Metric::Sessions => Some(sessions),
            Metric::Messages => Some(messages),
            Metric::Ended => Some(ended),
            Metric::Cancelled => Some(cancelled),
            Metric::Failed => Some(sum(&self.failed)),
            Metric::Pushed => Some(pushed),
            Metric::Chunks => Some(chunks),
            Metric::RatedUp => Some(rated_up),
            Metric::RatedDown => Some(rated_down),
            Metric::Refused => Some(sum(&self.refused)),
            Metric::FirstChunkMsP50 => self.first_chunk_ms.percentile(50),
            Metric::FirstChunkMsP95 => self.first_chunk_ms.percentile(95),
            Metric::DurationMsP50 => self.duration_ms.percentile(50),
            Metric::DurationMsP95 => self.duration_ms.percentile(95),
        }
    }

    pub(super) fn summary(self) -> Summary {
        let Counts { sessions, identified, messages, ended, cancelled, pushed, chunks, rated_up, rated_down } =
            self.counts;
        Summary {
            sessions,
            identified,
            messages,
            ended,
            cancelled,
            failed: self.failed,
            pushed,
            chunks,
            rated_up,
            rated_down,
            refused: self.refused,
            first_chunk_ms: self.first_chunk_ms.times(),
            duration_ms: self.duration_ms.times(),
        }
    }
}

/// Saturating: the numbers come from another process, and none of them may stop this one.
pub(super) fn add(to: &mut u64, more: u64) {
    *to = to.saturating_add(more);
}

pub(super) fn sum(words: &BTreeMap<String, u64>) -> u64 {
    words.values().fold(0, |sum, count| sum.saturating_add(*count))
}

/// Counts a word of another process.
pub(super) fn count_word(words: &mut BTreeMap<String, u64>, word: &str, more: u64) {
    let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let fits = (1..=48).contains(&word.len()) && word.bytes().all(known);
    let word = if fits && (words.contains_key(word) || words.len() < MAX_WORDS) { word } else { OTHER };
    add(words.entry(word.to_owned()).or_default(), more);
}

pub(super) fn write_words(row: &mut Writer, words: &BTreeMap<String, u64>) {
    row.number(words.len() as u64);
    for (word, count) in words {
        row.text(word);
        row.number(*count);
    }
}

pub(super) fn read_words(row: &mut Reader<'_>) -> Result<BTreeMap<String, u64>, Malformed> {
    (0..row.count()?).map(|_| Ok((row.text()?.to_owned(), row.number()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Figures {
        let mut figures = Figures::default();
        for (n, count) in (1..).zip(figures.counts.all()) {
            *count = n * 100;
        }
        count_word(&mut figures.failed, "queue_timeout", 3);
        count_word(&mut figures.refused, "limit_session_minute", u64::MAX);
        figures.first_chunk_ms.add(250, 4);
        figures.duration_ms.add(2_500, 5);
        figures
    }

    #[test]
    fn rows_are_read_as_they_were_written_and_add_up() {
        let mut figures = some();
        let row = figures.write();
        assert!(row.len() < 90, "{}", row.len());
        assert_eq!(Figures::read(&row).unwrap(), figures);
        assert_eq!(Figures::read_counts(&row).unwrap(), figures.counts);
        assert_eq!(Figures::read(&row[..row.len() - 1]), Err(Malformed));
        assert_eq!(Figures::read(&Figures::default().write()).unwrap(), Figures::default());

        figures.add_all(some());
        let summary = figures.summary();
        assert_eq!((summary.sessions, summary.rated_down), (200, 1_800));
        assert_eq!((summary.failed["queue_timeout"], summary.refused["limit_session_minute"]), (6, u64::MAX));
        assert_eq!((summary.first_chunk_ms.count, summary.duration_ms.count), (8, 10));
    }

    /// Whoever changes the form gives it another version, and reads the old one as well.
    #[test]
    fn the_form_of_a_row_is_frozen() {
        let hex = some().write().iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        assert_eq!(
            hex,
            "0164c801ac029003f403d804bc05a0068407010d71756575655f74696d656f75740301146c696d69745f73657373696f6e5f\
             6d696e757465ffffffffffffffffff01014f0401830105"
        );
    }

    #[test]
    fn foreign_words_stay_few_and_short() {
        let mut words = BTreeMap::new();
        for n in 0..1_000 {
            count_word(&mut words, &format!("reason_{n}"), 1);
        }
        for strange in ["", "A", "a b", "ü", &"a".repeat(49)] {
            count_word(&mut words, strange, 1);
        }
        count_word(&mut words, "reason_7", 1);
        assert_eq!((words.len(), words["reason_7"]), (MAX_WORDS + 1, 2));
        assert_eq!((words[OTHER], sum(&words)), (1_000 - MAX_WORDS as u64 + 5, 1_006));
    }
}
