//! Characters that nobody sees, or that make text read otherwise than it is.
//!
//! - Control characters but LF and TAB, embeddings, overrides and isolates of direction, annotations, and U+FEFF
//!   always go. The marks U+200E, U+200F and U+061C stay: they order punctuation, and override nothing.
//! - Joiners and breaks without width stay where a script or an emoji needs them, which is beside a character that is
//!   not ASCII; one in a row is enough for all of them. Between ASCII they only ever hide words from who looks for them.
//! - A variation selector stays behind the character that it is for, one each.
//! - Tag characters stay in a well-formed flag of a region. Elsewhere they are a text that models read and people don't.

/// Drops them. Done again it changes nothing, as long as the text is in normal form C.
pub(super) fn visible(text: String) -> String {
    if text.is_ascii() {
        if text.bytes().all(|b| !b.is_ascii_control() || matches!(b, b'\n' | b'\t')) {
            return text;
        }
    } else if !text.chars().any(|c| class(c) != Class::Plain) {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    // The last one that stayed, and the last plain one.
    let (mut before, mut base) = (None, None);
    // Whether a joiner came since then. Only the first of several is looked at, and all are judged alike: reading on to
    // the next plain one for each would take quadratic time.
    let mut joined = false;
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        let stays = match class(c) {
            Class::Plain => {
                (base, joined) = (Some(c), false);
                true
            }
            Class::Gone => false,
            Class::Joiner => {
                let next = || rest.clone().find(|c| class(*c) == Class::Plain);
                let needed = |c: Option<char>| c.is_some_and(|c| !c.is_ascii());
                let first = !std::mem::replace(&mut joined, true);
                first && (needed(base) || needed(next()))
            }
            Class::Selector => before.is_some_and(|before| takes_selector(before, c)),
            Class::Tag => {
                let tags = before.filter(|before| *before == FLAG).and_then(|_| region(c, rest.clone()));
                if let Some(tags) = tags {
                    out.push(c);
                    out.extend(rest.by_ref().take(tags));
                    before = Some(END_OF_TAGS);
                }
                false
            }
        };
        if stays {
            out.push(c);
            before = Some(c);
        }
    }
    out
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Plain,
    Gone,
    Joiner,
    Selector,
    Tag,
}

const FLAG: char = '\u{1f3f4}';
const END_OF_TAGS: char = '\u{e007f}';

fn class(c: char) -> Class {
    match c {
        '\n' | '\t' | ' '..='~' => Class::Plain,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' => Class::Gone,
        '\u{ad}' | '\u{34f}' | '\u{180e}' | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2064}' => Class::Joiner,
        '\u{180b}'..='\u{180d}' | '\u{180f}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' => Class::Selector,
        '\u{e0000}'..='\u{e007f}' => Class::Tag,
        c if c.is_control() => Class::Gone,
        _ => Class::Plain,
    }
}

/// Digits, `#` and `*` are the only ASCII that has a form to select: the one of a key.
fn takes_selector(base: char, selector: char) -> bool {
    let key = base.is_ascii_digit() || matches!(base, '#' | '*');
    class(base) == Class::Plain && (!base.is_ascii() || (key && matches!(selector, '\u{fe0e}' | '\u{fe0f}')))
}

/// How many characters after the first tag belong to a region's flag: 3 to 6 letters or digits, and the end of tags.
fn region(first: char, rest: std::str::Chars<'_>) -> Option<usize> {
    let mut letters = 0;
    for tag in std::iter::once(first).chain(rest).take(7) {
        match tag {
            END_OF_TAGS => return (3..=6).contains(&letters).then_some(letters),
            '\u{e0030}'..='\u{e0039}' | '\u{e0061}'..='\u{e007a}' => letters += 1,
            _ => return None,
        }
    }
    None
}
