//! Rules about messages: repeats, bursts, links, gibberish, and one text from many sessions.
//!
//! No text is kept, only keyed hashes of it, in bounded memory (`recent`). Each edge counts by itself.

use std::{
    hash::{DefaultHasher, Hash, Hasher as _},
    time::{Duration, Instant},
};

use protocol::{MessageId, SessionId};

use super::{
    links::{Link, links},
    recent::Recent,
    score::{Case, Reason},
};
use crate::config::BotConfig;

/// Sessions and texts of one generation: with the two of each about 20 MB when full, by the default settings.
const MAX_SESSIONS: usize = 20_000;
const MAX_TEXTS: usize = 20_000;
/// Different texts of a session that are remembered.
const TEXTS: usize = 8;
/// A burst is so many messages in this time.
const BURST: Duration = Duration::from_secs(10);
/// A text with a link from so many times `SPAM_SESSIONS` sessions is refused.
const REFUSED_FACTOR: usize = 4;
/// Shorter texts without a link are what many people say: "Where is my order?", or one of the widget's topics.
const LONG_TEXT: usize = 80;
/// Links to other hosts that begin to count.
const SOME_LINKS: usize = 3;
/// A word of so many letters and digits is none.
const LONG_WORD: usize = 200;

/// See the module.
pub(super) struct Spam {
    repeats: u32,
    burst: u32,
    sessions: usize,
    max_links: usize,
    said: Recent<Said>,
    texts: Recent<Vec<u64>>,
}

/// What a session said lately.
#[derive(Default)]
struct Said {
    /// Hash of a text, of the last message with it, and how many there were. The newest last.
    texts: Vec<(u64, u64, u32)>,
    burst_began: Option<Instant>,
    burst: u32,
    last: u64,
}

/// A message to be judged.
pub(super) struct Text<'a> {
    pub(super) session: &'a SessionId,
    /// A message that is sent again, because it must answer a challenge first, is one message.
    pub(super) id: &'a MessageId,
    pub(super) text: &'a str,
}

/// What was seen of links on the way, for the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) odd_links: u32,
}

impl Spam {
    /// How often sessions or texts were forgotten before their time.
    pub(super) fn forgotten(&self) -> u64 {
        self.said.early() + self.texts.early()
    }

    pub(super) fn new(config: &BotConfig, now: Instant) -> Self {
        let whole = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        Self {
            repeats: config.spam_repeats,
            burst: config.spam_burst,
            sessions: whole(config.spam_sessions),
            max_links: whole(config.spam_max_links),
            said: Recent::new(config.spam_window, MAX_SESSIONS, now),
            texts: Recent::new(config.spam_window, MAX_TEXTS, now),
        }
    }

    /// Counts the message and adds what speaks against it. `own` tells the shop's own origins, to which anybody links.
    pub(super) fn judge(&self, text: &Text<'_>, own: impl Fn(&str) -> bool, now: Instant, case: &mut Case) -> Seen {
        let links: Vec<Link<'_>> = links(text.text);
        let foreign: Vec<&Link<'_>> = links.iter().filter(|link| !own(&link.origin)).collect();
        let odd_links = u32::try_from(foreign.iter().filter(|link| link.is_odd()).count()).unwrap_or(u32::MAX);
        if odd_links > 0 {
            case.add(Reason::OddLink);
        }
        if foreign.len() >= SOME_LINKS {
            case.add(Reason::Links);
        }
        if self.max_links > 0 && foreign.len() > self.max_links {
            case.content = true;
        }
        if is_gibberish(text.text) {
            case.add(Reason::Gibberish);
        }
        let core = core(text.text);
        self.count_in_session(text, core, now, case);
        if !foreign.is_empty() || text.text.chars().count() >= LONG_TEXT {
            self.count_sessions(text.session, core, !foreign.is_empty(), now, case);
        }
        Seen { odd_links }
    }

    fn count_in_session(&self, text: &Text<'_>, core: u64, now: Instant, case: &mut Case) {
        let id = self.said.hash(text.id);
        let core = self.said.hash(&core);
        let (times, burst) = self.said.touch(text.session, now, |said| {
            if said.last != id {
                let began = said.burst_began.filter(|began| now.saturating_duration_since(*began) < BURST);
                said.burst = if began.is_some() { said.burst.saturating_add(1) } else { 1 };
                said.burst_began = Some(began.unwrap_or(now));
                said.last = id;
            }
            let known = said.texts.iter().position(|(text, ..)| *text == core);
            let (_, last, times) = known.map_or((core, 0, 0), |at| said.texts.remove(at));
            let times = if last == id { times } else { times.saturating_add(1) };
            if said.texts.len() == TEXTS {
                said.texts.remove(0);
            }
            said.texts.push((core, id, times));
            (times, said.burst)
        });
        if self.repeats > 0 && times > self.repeats {
            case.add(Reason::Repeats);
        }
        if self.burst > 0 && burst > self.burst {
            case.add(Reason::Burst);
        }
    }

    fn count_sessions(&self, session: &SessionId, core: u64, with_link: bool, now: Instant, case: &mut Case) {
        if self.sessions == 0 {
            return;
        }
        let refused = self.sessions * REFUSED_FACTOR;
        let session = self.texts.hash(session);
        let sessions = self.texts.touch(&core, now, |sessions| {
            if sessions.len() <= refused && !sessions.contains(&session) {
                sessions.push(session);
            }
            sessions.len()
        });
        if sessions > self.sessions {
            case.add(if with_link { Reason::LinkSpam } else { Reason::ManySessions });
        }
        case.content |= with_link && sessions > refused;
    }
}

/// The text but for case, spaces, punctuation and digits: what a spammer changes from one copy to the next. Only ever
/// hashed again with a key before it is kept.
fn core(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut letters = 0_u32;
    for c in text.chars().filter(|c| c.is_alphabetic()).flat_map(char::to_lowercase) {
        c.hash(&mut hasher);
        letters += 1;
    }
    if letters == 0 {
        // An order's number, a row of emoji: nothing would be left.
        text.hash(&mut hasher);
    }
    hasher.finish()
}

/// A long text without words: one run of letters and digits, or mostly one character. Scripts without spaces are not
/// looked at.
fn is_gibberish(text: &str) -> bool {
    let long_word = text.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word.len() >= LONG_WORD);
    long_word || mostly_one(text)
}

fn mostly_one(text: &str) -> bool {
    let mut longest = 0_usize;
    let mut run = 0_usize;
    let mut before = None;
    for c in text.chars() {
        run = if before == Some(c) { run + 1 } else { 1 };
        longest = longest.max(run);
        before = Some(c);
    }
    longest >= LONG_WORD / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::config;

    struct Desk {
        spam: Spam,
        start: Instant,
    }

    impl Desk {
        fn new(args: &[&str]) -> Self {
            let start = Instant::now();
            Self { spam: Spam::new(&config(args).bots, start), start }
        }

        fn say(&self, session: u64, id: u64, text: &str, seconds: u64) -> (String, bool) {
            let (session, id) = (SessionId::mint(1, session), MessageId::mint(u128::from(id)));
            let mut case = Case::default();
            let text = Text { session: &session, id: &id, text };
            let own = |origin: &str| origin == "https://shop.example";
            self.spam.judge(&text, own, self.start + Duration::from_secs(seconds), &mut case);
            (case.words(), case.content)
        }
    }

    #[test]
    fn one_message_is_judged_by_its_text() {
        let check = |text: &str, expected: &str, content: bool| {
            assert_eq!(Desk::new(&[]).say(1, 1, text, 0), (expected.to_owned(), content), "{text}");
        };
        check("Where is my order?", "", false);
        check("It's this one: https://tracking.example/123 and https://other.example", "", false);
        check("https://a.example https://b.example https://c.example", "links", false);
        check(&"https://shop.example/x ".repeat(50), "", false);
        check(&"https://a.example ".repeat(10), "links", false);
        check(&"https://a.example ".repeat(11), "links", true);
        check("is https://p\u{430}ypal.com yours?", "odd_link", false);
        check(&"x".repeat(4000), "gibberish", false);
        check(&"aZ9k".repeat(60), "gibberish", false);
        check(&"!".repeat(100), "gibberish", false);
        check(&"だから、".repeat(200), "", false);
        check(&"Some words. ".repeat(200), "", false);
        check("hmmmmmmmmmmmm", "", false);
    }

    #[test]
    fn the_same_text_again_and_again_counts() {
        let desk = Desk::new(&[]);
        let check = |id: u64, text: &str, expected: &str| {
            assert_eq!(desk.say(1, id, text, id * 20).0, expected, "{id} {text}");
        };
        check(1, "Buy now", "");
        check(2, "buy NOW!", "");
        check(3, "Buy now 17", "");
        check(4, "Buy, now", "repeats");
        check(4, "Buy, now", "repeats");
        check(5, "Where is my order?", "");
        assert_eq!(desk.say(2, 9, "Buy now", 100).0, "", "another session");
        check(100, "Buy now", "");
        let numbers = Desk::new(&[]);
        for id in 1..9 {
            assert_eq!(numbers.say(1, id, &id.to_string(), id * 20).0, "", "numbers are texts of their own");
        }
        let off = Desk::new(&["--spam-repeats", "0"]);
        assert!((1..9).all(|id| off.say(1, id, "x", id * 20).0.is_empty()));
    }

    /// A message that was challenged comes again with its answer: that is no repeat.
    #[test]
    fn a_message_that_comes_again_is_one_message() {
        let desk = Desk::new(&["--spam-burst", "2"]);
        for _ in 0..20 {
            assert_eq!(desk.say(1, 7, "Buy now", 0), (String::new(), false));
        }
    }

    #[test]
    fn a_burst_counts() {
        let desk = Desk::new(&[]);
        for id in 1..=8 {
            assert_eq!(desk.say(1, id, &"word ".repeat(usize::try_from(id).unwrap()), 0).0.replace("repeats", ""), "");
        }
        assert_eq!(desk.say(1, 9, "one more", 9).0, "burst");
        assert_eq!(desk.say(1, 10, "later", 11).0, "");
    }

    #[test]
    fn one_text_from_many_sessions_counts_and_with_a_link_it_is_refused_in_the_end() {
        let desk = Desk::new(&[]);
        let spam = |n: u64| format!("Cheap pills, offer {n}: https://pills.example");
        for n in 1..=5 {
            assert_eq!(desk.say(n, n, &spam(n), 0), (String::new(), false), "{n}");
        }
        for n in 6..=20 {
            assert_eq!(desk.say(n, n, &spam(n), 0), ("link_spam".to_owned(), false), "{n}");
        }
        assert_eq!(desk.say(21, 21, &spam(21), 0), ("link_spam".to_owned(), true));
        assert_eq!(desk.say(1, 22, &spam(22), 0), ("link_spam".to_owned(), true), "the first of them, too");
        assert_eq!(desk.say(1, 23, &spam(23), 3600), (String::new(), false), "forgotten");

        let long = "a long text that somebody wrote once and many programs send, from many sessions, to this shop";
        let checked: Vec<(String, bool)> = (1..=30).map(|n| desk.say(n, n, long, 0)).collect();
        assert_eq!(checked[4], (String::new(), false));
        assert!(checked[5..].iter().all(|told| *told == ("many_sessions".to_owned(), false)), "{checked:?}");
        assert!((1..=30).all(|n| desk.say(n, 100 + n, "Where is my order?", 100).0.is_empty()), "people say that");
        let off = Desk::new(&["--spam-sessions", "0"]);
        assert!((1..=30).all(|n| off.say(n, n, &spam(n), 0).0.is_empty()));
    }
}
