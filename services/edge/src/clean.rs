//! What becomes of a visitor's text before anything else sees it. `docs/cleaning.md` is the table of cases.
//!
//! - Control characters but LF and TAB go (so CRLF becomes LF), and so does what nobody sees and what turns the
//!   direction of text (`visible`).
//! - Tags of HTML elements go and their text stays; the text of `script` and `style` goes too, and comments and
//!   doctypes wholly. A tag is what a browser would take for one, if its name is an element of the HTML standard
//!   (obsolete ones too, `svg` and `math`). So `1 < 2`, `<3`, `Vec<u8>` and `<T>` stay as typed; `a<b>c` does not, for
//!   `b` is an element. `a<b && c>d` stays: no attribute begins with `&&` or `||`.
//! - Unicode in normal form C; white space at both ends goes.
//!
//! What a page tells about itself ([`told`], [`told_json`]) is no text of a visitor: it may hold markup by right, and
//! keeps it.
//!
//! Nothing is escaped: who shows the text must do so. Cleaning cleaned text changes nothing, and the time is linear in
//! the text's length whatever it holds.

mod json;
mod visible;

use std::borrow::Cow;

use unicode_normalization::{IsNormalized, UnicodeNormalization as _, is_nfc_quick};

pub(crate) use self::json::told_json;
use self::visible::visible;

/// A removed tag may leave another behind (`<scr<b>ipt>`). Nobody writes that by accident, and after this many rounds
/// all angle brackets go.
const ROUNDS: usize = 6;

/// Cleans `text`.
pub(crate) fn clean(text: &str) -> String {
    let mut text = text.to_owned();
    for round in 0.. {
        // In every round: composing may take a `<` away (with U+0338) and make a letter of a look-alike (U+212A), and
        // what stood around a tag may now stand together.
        text = told(text);
        if round == ROUNDS {
            text.retain(|c| !matches!(c, '<' | '>'));
            text = told(text);
            break;
        }
        match without_tags(&text) {
            Cow::Borrowed(_) => break,
            Cow::Owned(stripped) => text = stripped,
        }
    }
    text.trim().to_owned()
}

/// Cleans what a page tells about itself: only what nobody sees goes.
pub(crate) fn told(text: String) -> String {
    // Before, because what is no ASCII may become it; after, because a mark may now follow its letter.
    compose(visible(compose(text)))
}

fn compose(text: String) -> String {
    if is_nfc_quick(text.chars()) == IsNormalized::Yes { text } else { text.nfc().collect() }
}

/// Borrowed when there is none.
fn without_tags(text: &str) -> Cow<'_, str> {
    let Some(last_end) = text.rfind('>') else { return Cow::Borrowed(text) };
    let mut scan = Scan { text, seen: Vec::new(), no_script_end: false, no_style_end: false, no_comment_end: false };
    let mut out = String::new();
    let (mut kept, mut at) = (0, 0);
    while let Some(found) = text[at..].find('<').map(|offset| at + offset).filter(|found| *found < last_end) {
        match scan.markup(found) {
            Some(end) => {
                out.push_str(&text[kept..found]);
                (kept, at) = (end, end);
            }
            None => at = found + 1,
        }
    }
    if kept == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[kept..]);
    Cow::Owned(out)
}

/// One reading of a text. What it remembers keeps the time linear.
struct Scan<'a> {
    text: &'a str,
    /// For each byte, the [`In`]s in which a tag was read there. Coming by again in the same one means that the tag was
    /// not closed: had it been, nobody would be here again.
    seen: Vec<u8>,
    no_script_end: bool,
    no_style_end: bool,
    no_comment_end: bool,
}

/// Where in a tag a reader is (the HTML standard's tokenizer, without its names of five words).
#[derive(Clone, Copy)]
enum In {
    Between,
    Name,
    AfterName,
    BeforeValue,
    DoubleQuotes,
    SingleQuotes,
    Value,
}

impl Scan<'_> {
    /// The end of the markup that begins with the `<` at `start`, if any does.
    fn markup(&mut self, start: usize) -> Option<usize> {
        let rest = &self.text[start..];
        if rest.starts_with("<!--") {
            return self.comment(start + 4);
        }
        if rest.len() > 9 && rest.is_char_boundary(9) && rest[..9].eq_ignore_ascii_case("<!doctype") {
            return rest.find('>').map(|end| start + end + 1);
        }
        let closing = rest.starts_with("</");
        let name_at = start + 1 + usize::from(closing);
        let name = self.text.as_bytes()[name_at..].split(|b| !b.is_ascii_alphanumeric()).next().unwrap_or_default();
        let element = element(name)?;
        let end = self.tag_end(name_at + name.len())?;
        match element {
            "script" if !closing => Some(self.raw_text_end(end, element).unwrap_or(end)),
            "style" if !closing => Some(self.raw_text_end(end, element).unwrap_or(end)),
            _ => Some(end),
        }
    }

    fn comment(&mut self, from: usize) -> Option<usize> {
        let rest = &self.text[from..];
        for empty in [">", "->"] {
            if rest.starts_with(empty) {
                return Some(from + empty.len());
            }
        }
        if self.no_comment_end {
            return None;
        }
        let ends = rest.bytes().enumerate().filter(|(_, b)| *b == b'-').find_map(|(i, _)| {
            ["-->", "--!>"]
                .into_iter()
                .find(|end| rest.as_bytes()[i..].starts_with(end.as_bytes()))
                .map(|end| i + end.len())
        });
        self.no_comment_end = ends.is_none();
        ends.map(|end| from + end)
    }

    /// Where the closing tag of a `script` or `style` begins. Without one the text stays: somebody asks about scripts.
    fn raw_text_end(&mut self, from: usize, element: &'static str) -> Option<usize> {
        let none = if element == "script" { &mut self.no_script_end } else { &mut self.no_style_end };
        if *none {
            return None;
        }
        let rest = &self.text.as_bytes()[from..];
        let is_end = |at: usize| {
            rest[at..].starts_with(b"</")
                && rest
                    .get(at + 2..at + 2 + element.len())
                    .is_some_and(|name| name.eq_ignore_ascii_case(element.as_bytes()))
                && rest.get(at + 2 + element.len()).is_some_and(|b| b.is_ascii_whitespace() || matches!(b, b'/' | b'>'))
        };
        let end = (0..rest.len()).find(|at| is_end(*at));
        *none = end.is_none();
        end.map(|end| from + end)
    }

    /// Reads a tag from behind its name to behind its `>`. A `<` outside quotes is where another one may begin.
    fn tag_end(&mut self, from: usize) -> Option<usize> {
        let bytes = self.text.as_bytes();
        if !matches!(bytes.get(from)?, b'/' | b'>' | b' ' | b'\n' | b'\t') {
            return None;
        }
        if self.seen.is_empty() {
            self.seen = vec![0; bytes.len()];
        }
        let mut place = In::Between;
        for at in from..bytes.len() {
            let mark = 1 << place as u8;
            if self.seen[at] & mark != 0 {
                return None;
            }
            self.seen[at] |= mark;
            place = match (place, bytes[at]) {
                (In::DoubleQuotes, b'"') | (In::SingleQuotes, b'\'') => In::Between,
                (In::DoubleQuotes | In::SingleQuotes, _) => place,
                (_, b'<') => return None,
                (_, b'>') => return Some(at + 1),
                (In::Between | In::AfterName, b'&' | b'|') if bytes.get(at + 1) == Some(&bytes[at]) => return None,
                (In::Name | In::AfterName, b'=') => In::BeforeValue,
                (In::BeforeValue, b'"') => In::DoubleQuotes,
                (In::BeforeValue, b'\'') => In::SingleQuotes,
                (In::Name, b' ' | b'\n' | b'\t') => In::AfterName,
                (In::Value, b' ' | b'\n' | b'\t') => In::Between,
                (_, b' ' | b'\n' | b'\t') => place,
                (In::Between | In::Name | In::AfterName, b'/') => In::Between,
                (In::BeforeValue | In::Value, _) => In::Value,
                (In::Between | In::Name | In::AfterName, _) => In::Name,
            };
        }
        None
    }
}

/// The element of this name, in small letters.
fn element(name: &[u8]) -> Option<&'static str> {
    // The longest one; and a name of 64 KiB should not be copied.
    if name.is_empty() || name.len() > 15 {
        return None;
    }
    let name = name.to_ascii_lowercase();
    ELEMENTS.binary_search_by(|known| known.as_bytes().cmp(&name)).ok().map(|found| ELEMENTS[found])
}

/// Elements of the HTML standard with its obsolete ones, and the two that begin another language.
#[rustfmt::skip]
const ELEMENTS: [&str; 145] = [
    "a", "abbr", "acronym", "address", "applet", "area", "article", "aside", "audio", "b", "base", "basefont", "bdi",
    "bdo", "bgsound", "big", "blink", "blockquote", "body", "br", "button", "canvas", "caption", "center", "cite",
    "code", "col", "colgroup", "data", "datalist", "dd", "del", "details", "dfn", "dialog", "dir", "div", "dl", "dt",
    "em", "embed", "fieldset", "figcaption", "figure", "font", "footer", "form", "frame", "frameset", "h1", "h2", "h3",
    "h4", "h5", "h6", "head", "header", "hgroup", "hr", "html", "i", "iframe", "image", "img", "input", "ins",
    "isindex", "kbd", "keygen", "label", "legend", "li", "link", "listing", "main", "map", "mark", "marquee", "math",
    "menu", "menuitem", "meta", "meter", "multicol", "nav", "nextid", "nobr", "noembed", "noframes", "noscript",
    "object", "ol", "optgroup", "option", "output", "p", "param", "picture", "plaintext", "pre", "progress", "q", "rb",
    "rp", "rt", "rtc", "ruby", "s", "samp", "script", "search", "section", "select", "selectedcontent", "slot",
    "small", "source", "spacer", "span", "strike", "strong", "style", "sub", "summary", "sup", "svg", "table", "tbody",
    "td", "template", "textarea", "tfoot", "th", "thead", "time", "title", "tr", "track", "tt", "u", "ul", "var",
    "video", "wbr", "xmp",
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn elements_can_be_searched() {
        assert!(ELEMENTS.is_sorted());
        for name in ELEMENTS {
            assert_eq!(clean(&format!("a<{name}>b")), "ab");
            assert_eq!(clean(&format!("a</{}>b", name.to_uppercase())), "ab");
        }
    }

    /// The tables that people read are the ones that hold.
    #[test]
    fn the_tables_of_the_document_are_true() {
        let document = include_str!("../../../docs/cleaning.md");
        let (messages, pages) = document.split_once("## What a page tells").unwrap();
        let rows = |part: &str| -> Vec<(String, String)> {
            let rows = part.lines().filter_map(|line| line.strip_prefix("| `")).map(|line| {
                let mut cells = line.split("` | `");
                let written = cells.next().unwrap();
                let becomes = cells.next().unwrap().split("` | ").next().unwrap();
                (serde_json::from_str(written).unwrap(), serde_json::from_str(becomes).unwrap())
            });
            rows.collect()
        };
        let (messages, pages) = (rows(messages), rows(pages));
        assert!(messages.len() > 30 && pages.len() >= 5);
        for (written, becomes) in messages {
            assert_eq!(clean(&written), becomes, "{written:?}");
            assert_eq!(clean(&becomes), becomes, "{becomes:?} again");
        }
        for (written, becomes) in pages {
            assert_eq!(told(written.clone()), becomes, "{written:?}");
            assert_eq!(told(becomes.clone()), becomes, "{becomes:?} again");
        }
    }

    #[test]
    fn text_is_cleaned() {
        let check = |text: &str, expected: &str| assert_eq!(clean(text), expected, "{text:?}");
        check("hello", "hello");
        check("  hello \n\t ", "hello");
        check("a\r\nb\rc\n", "a\nbc");
        check("a\tb", "a\tb");
        check("a\0b\u{7}c\u{1b}[31m\u{7f}\u{85}", "abc[31m");
        check("abc\u{202e}cba\u{2066}x\u{2069}", "abccbax");
        check("\u{5d0}\u{200f}!\u{200e} 👩\u{200d}👧", "\u{5d0}\u{200f}!\u{200e} 👩\u{200d}👧");
        check("e\u{301}", "é");
        check("\u{212b}", "Å");
        check("", "");
        check(" \u{a0}\u{3000} ", "");
        check("<p></p>", "");
    }

    #[test]
    fn markup_goes_and_its_text_stays() {
        let check = |text: &str, expected: &str| assert_eq!(clean(text), expected, "{text:?}");
        check("<b>bold</b> and <i class=x>more</i>", "bold and more");
        check("a<b>c", "ac");
        check("one<br>two<br/>three<BR />four", "onetwothreefour");
        check("<a href=\"x\" title='a > b'>link</a>", "link");
        check("<a title=\"1 < 2\">link</a>", "link");
        check("<img src=x onerror=alert('XSS')>", "");
        check("<IMG \"\"\"><SCRIPT>alert(\"XSS\")</SCRIPT>\">", "\">");
        check("<svg/onload=alert(1)>", "");
        check("<img\nsrc=x\n>", "");
        check("<p\0>x", "x");
        check("<script>alert(1)</script>hi", "hi");
        check("<SCRIPT type=x>alert('</p>')</ScRiPt >hi", "hi");
        check("a<style>p { color: red }</style>b", "ab");
        check("What does <script> do?", "What does  do?");
        check("</script>x", "x");
        check("<textarea>x</textarea>", "x");
        check("a<!-- secret -->b", "ab");
        check("a<!-->b<!--->c<!---->d<!--x--!>e", "abcde");
        check("a<!-- open", "a<!-- open");
        check("<!DOCTYPE html>hi<!doctype>", "hi");
        check("<scr<script>ipt>alert(1)</scr</script>ipt>", "");
        check("<scr<b>ipt>x</scr</b>ipt>", "");
        check("<<b>b>x", "x");
        check("<lin\u{212a} href=x>x", "x");
        check("<b \u{338}>x", "x");
        check(&format!("{}{}x", "<b".repeat(50), ">".repeat(50)), &format!("{}x", "b".repeat(50 - ROUNDS)));
    }

    #[test]
    fn code_stays_as_typed() {
        for text in [
            "1 < 2",
            "3 > 2",
            "1 < 2 and 3 > 2",
            "I <3 you",
            "<3 <3 <3>",
            "Vec<u8>",
            "HashMap<String, Vec<T>>",
            "<T>",
            "</T>",
            "fn f<T: Into<String>>(t: T) -> Option<T>",
            "std::vector<int> v;",
            "if (a < b && c > d)",
            "a<b && c>d",
            "a<b || c>d",
            "x <- y -> z",
            "a <= b >= c <> d <=> e",
            "cat <file >out 2>&1",
            "<my-element>",
            "<bold>",
            "<a.b>",
            "<a@example.com>",
            "<https://shop.example>",
            "<?php echo 1 ?>",
            "<![CDATA[x]]>",
            "<",
            ">",
            "<>",
            "</>",
            "< b >",
            "</ b>",
            "<b",
            "<b title=\"open>",
            "a<b",
            "&lt;b&gt; &amp; &",
            "emoji 👍🏽 and ünïcödé",
        ] {
            assert_eq!(clean(text), text);
        }
    }

    /// 64 KiB of the worst take as long as 64 KiB of anything: a debug build needs milliseconds for each, a quadratic
    /// reading minutes for all.
    #[test]
    fn hostile_text_takes_no_longer() {
        let size = 64 * 1024;
        let started = std::time::Instant::now();
        for unit in [
            "<",
            "<b",
            "<b ",
            "<b x",
            "<b x=",
            "<b x='",
            "<b x=\"",
            "<b x='<b ' y=",
            "<b x=\"<b ' ",
            "<a \"<a \" ",
            "<b x=1",
            "</",
            "</b",
            "</b ",
            "<!--",
            "<!--x",
            "<!-- -",
            "<!doctype",
            "<!doctype ",
            "<script>",
            "<style>",
            "<script",
            "<script></scrip",
            "<b>",
            "<b></b>",
            "<<b>b>",
            "<b<b>",
            "&",
            "<b &",
            "<b =",
            "e\u{301}",
            "\u{301}",
            "\u{200b}",
            "\u{200b}\u{fe0f}",
            "\u{200d}\0",
            "\u{1f3f4}\u{e0067}",
            "\u{e0067}",
            "-",
            "--",
            "<b/",
            "\u{212a}",
            "<\u{338}",
        ] {
            let body = unit.repeat(size / unit.len());
            for text in [
                body.clone(),
                format!("{body}>"),
                format!("{body}\">"),
                format!("<b x=\"{body}"),
                format!("<!--{body}"),
            ] {
                clean(&text);
            }
        }
        assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
    }

    proptest! {
        #[test]
        fn cleaning_twice_changes_nothing(text in ".{0,200}") {
            let once = clean(&text);
            prop_assert_eq!(clean(&once), once);
        }

        /// Made of what matters, so that random texts hit the interesting places.
        #[test]
        fn no_tag_is_left(parts in proptest::collection::vec(prop_oneof![
            Just("<"), Just(">"), Just("</"), Just("b"), Just("script"), Just(" "), Just("\""), Just("'"), Just("="),
            Just("<!--"), Just("-->"), Just("\r\n"), Just("/"), Just("\u{338}"), Just("\u{212a}"), Just("\u{202e}"),
            Just("<!doctype"), Just("&&"), Just("x"), Just("lin"), Just("<b>"), Just("\0"), Just("\u{200b}"),
            Just("\u{200d}"), Just("\u{fe0f}"), Just("é"), Just("\u{301}"), Just("e"), Just("\u{1f3f4}"), Just("\u{feff}"),
            Just("\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}"), Just("\u{e0067}"), Just("\u{37e}"), Just("1"),
        ], 0..60)) {
            let once = clean(&parts.concat());
            prop_assert!(matches!(without_tags(&once), Cow::Borrowed(_)));
            prop_assert_eq!(&told(once.clone()), &once);
            prop_assert_eq!(clean(&once), once);
        }
    }
}
