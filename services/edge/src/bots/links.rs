//! Links in a text, and hosts that look like others.
//!
//! Nothing is changed: a link that was "fixed" would lead somewhere else than the visitor was told. They are counted.

/// A link as it stands in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link<'a> {
    /// In small letters, as typed otherwise.
    pub(super) host: String,
    /// Scheme and host, for rules about origins.
    pub(super) origin: String,
    /// What stands between the scheme and the path, with user and port.
    authority: &'a str,
}

/// Everything that begins with `http://`, `https://` or `www.`.
pub(super) fn links(text: &str) -> Vec<Link<'_>> {
    let mut found = Vec::new();
    for word in text.split(|c: char| c.is_whitespace() || matches!(c, '<' | '>' | '"' | '(' | ')' | '[' | ']' | '|')) {
        let mut rest = word;
        while let Some((scheme, begins, ends)) = begin(rest) {
            let after = &rest[ends..];
            let end = after.find(['/', '?', '#', '\\', ',', ';', '\'']).unwrap_or(after.len());
            let authority = if scheme == "www" { &rest[begins..ends + end] } else { &after[..end] };
            if let Some(link) = Link::new(scheme, authority) {
                found.push(link);
            }
            rest = &after[end..];
        }
    }
    found
}

/// The first link's scheme, where it begins and where its authority does.
fn begin(text: &str) -> Option<(&'static str, usize, usize)> {
    let bytes = text.as_bytes();
    let at = |at: usize, word: &str| {
        bytes.get(at..at + word.len()).is_some_and(|part| part.eq_ignore_ascii_case(word.as_bytes()))
    };
    for start in 0..bytes.len() {
        match bytes[start] {
            b'h' | b'H' if at(start, "https://") => return Some(("https", start, start + 8)),
            b'h' | b'H' if at(start, "http://") => return Some(("http", start, start + 7)),
            b'w' | b'W' if at(start, "www.") && (start == 0 || !bytes[start - 1].is_ascii_alphanumeric()) => {
                return Some(("www", start, start + 4));
            }
            _ => {}
        }
    }
    None
}

impl<'a> Link<'a> {
    fn new(scheme: &str, authority: &'a str) -> Option<Self> {
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let host = host.split(':').next().unwrap_or_default().trim_matches('.').to_lowercase();
        let whole = host.contains('.') || scheme != "www";
        let scheme = if scheme == "www" { "https" } else { scheme };
        (whole && !host.is_empty()).then(|| Self { origin: format!("{scheme}://{host}"), host, authority })
    }

    /// Whether it may lead elsewhere than it seems to: a user part (`https://shop.example@evil.example`), or a label
    /// with letters that look like Latin ones.
    pub(super) fn is_odd(&self) -> bool {
        if self.authority.contains('@') {
            return true;
        }
        let (shown, _) = idna::domain_to_unicode(&self.host);
        let latin_end = shown.rsplit('.').next().is_some_and(|end| end.is_ascii());
        shown.split('.').any(|label| {
            let latin = label.chars().any(|c| c.is_ascii_alphabetic());
            let alike = label.chars().any(has_latin_twins);
            let only_twins = alike && label.chars().all(|c| is_twin(c) || !c.is_alphabetic());
            // A label of one script is somebody's language; under a Latin ending it may still be read as Latin.
            alike && (latin || (only_twins && latin_end))
        })
    }
}

/// Letters of scripts in which many look like Latin ones: Greek, Cyrillic, Armenian, Cherokee.
fn has_latin_twins(c: char) -> bool {
    matches!(c, '\u{370}'..='\u{3ff}' | '\u{400}'..='\u{52f}' | '\u{530}'..='\u{58f}' | '\u{13a0}'..='\u{13ff}')
}

/// Letters that are drawn like a Latin one in most fonts.
fn is_twin(c: char) -> bool {
    "асеорхуіјѕһԁԛԝӏьтвнкмгαοιυνρκτχεζηյօսոցհ".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found() {
        let check = |text: &str, expected: &[&str]| {
            let found: Vec<String> = links(text).into_iter().map(|link| link.host).collect();
            assert_eq!(found, expected, "{text}");
        };
        check("no link, not even in http:// or www. or https://", &[]);
        check("see https://a.example/x?y#z and HTTP://B.example:8080.", &["a.example", "b.example"]);
        check("[here](https://a.example) <https://b.example>", &["a.example", "b.example"]);
        check("www.a.example,www.b.example;awww.c.example", &["www.a.example", "www.b.example"]);
        check("https://user:pass@a.example/", &["a.example"]);
        check("https://a.example/?next=https://b.example", &["a.example", "b.example"]);
        check("кupi https://магазин.рф/путь", &["магазин.рф"]);
        check("httphttps://a.example", &["a.example"]);
        check("1.5 is example.com a link?", &[]);
        assert_eq!(links("WWW.Shop.example").first().unwrap().origin, "https://www.shop.example");
    }

    #[test]
    fn hosts_that_look_like_others_are_odd() {
        let check = |text: &str, odd: bool| {
            assert_eq!(links(text).iter().any(Link::is_odd), odd, "{text}");
        };
        check("https://paypal.com", false);
        check("https://p\u{430}ypal.com", true);
        check("https://xn--pypal-4ve.com", true);
        check("https://\u{440}\u{430}\u{443}\u{440}\u{430}\u{4cf}.com", true);
        check("https://bücher.example", false);
        check("https://магазин.рф", false);
        check("https://яндекс.com", false);
        check("https://ελλάδα.gr", false);
        check("https://日本語.jp", false);
        check("https://shop.example@evil.example", true);
        check("https://shop.example/@someone", false);
        check("https://xn--zzzzzz--", false);
    }

    /// Each byte is looked at a bounded number of times.
    #[test]
    fn hostile_text_takes_no_longer() {
        let started = std::time::Instant::now();
        for unit in ["h", "http", "https://", "https:/", "www.", "w", "@", "https://a@", "://", "https://xn--a."] {
            for link in links(&unit.repeat(64 * 1024 / unit.len())).iter().take(100) {
                link.is_odd();
            }
        }
        assert!(started.elapsed().as_secs() < 60);
    }
}
