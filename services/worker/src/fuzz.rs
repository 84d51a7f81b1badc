//! What must hold of every body that n8n, or whoever answers in its place, may send. See `fuzz/README.md`.

use crate::lines::{Decoder, Limits, Media, Outcome, PIECE_BYTES, Piece, TooLarge};

/// So small that a fuzzer gets over it.
const LIMITS: Limits = Limits { reply_bytes: 2048 };

/// What a body became.
#[derive(Debug, PartialEq, Eq)]
struct Decoded {
    text: String,
    others: Vec<&'static str>,
    outcome: Result<Outcome, TooLarge>,
}

/// Any bytes, cut anywhere, give the same text and the same outcome, within the limits, and begin before they speak.
pub fn lines(data: &[u8]) {
    for media in [Media::Json, Media::Text, Media::Missing, Media::Other] {
        let whole = decode([data], media);
        let bytewise = decode(data.chunks(1), media);
        // Sizes that depend on the data, so that the same data always fails alike.
        let uneven = decode(data.chunk_by(|a, b| (a ^ b) & 3 != 3), media);
        for cut in [bytewise, uneven] {
            assert_eq!(whole.outcome, cut.outcome);
            // What came before it was too much depends on the reads, and nobody relies on it.
            assert!(whole.outcome.is_err() || whole == cut, "{whole:?} and {cut:?}");
        }
    }
}

fn decode<'a>(reads: impl IntoIterator<Item = &'a [u8]>, media: Media) -> Decoded {
    let (mut text, mut others) = (String::new(), Vec::new());
    let mut decoder = Decoder::new(LIMITS, media);
    let mut sink = |piece: Piece<'_>| match piece {
        Piece::Text(more) => {
            assert!(!more.is_empty() && more.len() <= PIECE_BYTES);
            assert!(others.contains(&"begun"), "text before the beginning");
            text.push_str(more);
        }
        Piece::Begun => {
            assert!(!others.contains(&"begun"), "begun twice");
            others.push("begun");
        }
        Piece::Alive => others.push("alive"),
        Piece::ErrorSeen => others.push("error"),
    };
    let fed = reads.into_iter().try_for_each(|read| decoder.feed(read, &mut sink));
    let outcome = fed.and_then(|()| decoder.finish(&mut sink));
    assert!(text.len() <= LIMITS.reply_bytes);
    assert!(outcome.is_err() || decoder.has_text() != text.is_empty());
    assert!(outcome != Ok(Outcome::Complete) || !text.is_empty(), "complete and empty");
    Decoded { text, others, outcome }
}

#[cfg(test)]
#[path = "../../../fuzz/seeds.rs"]
mod seeds;

#[cfg(test)]
mod tests {
    use super::seeds;

    #[test]
    fn any_body_is_decoded_alike_however_it_is_cut() {
        seeds::check(&["fuzz/corpus/lines", "services/worker/tests/captures"], super::lines);
    }
}
