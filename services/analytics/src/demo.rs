//! Made-up data, so that anyone can see the dashboard at work: shops with their rhythm of day and week, one afternoon on
//! which the workflow was down, and a night in which programs came.
//!
//! It goes into the store as facts, the same way as real ones. One seed gives the same days again, whenever it is asked
//! on a day.

use std::collections::BTreeMap;

use protocol::{
    BotClass, Comment, Device, Fact, FactId, FactKind, FailureCode, FinishReason, MessageId, Millis, Rating, SessionId,
    SiteId, Visit,
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

use crate::store::{self, Store};

/// What is made up.
#[derive(Clone, Copy, Debug)]
pub struct Demo {
    /// How many days, today among them.
    pub days: u32,
    /// How many shops.
    pub sites: u32,
    /// The same seed makes the same data.
    pub seed: u64,
}

/// Why there is no demo data.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What visitors really did must not be mixed with it.
    #[error("there is data in it already; name another file, or delete this one to begin anew")]
    NotEmpty,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

const DAY: i64 = 86_400_000;
const HOUR: i64 = 3_600_000;

/// Sessions of the largest shop on an average day.
const SESSIONS: f64 = 170.0;
/// Facts in one transaction, at most: the days of many shops are several.
const BATCH: usize = 5_000;

const PRAISE: [&str; 6] = [
    "Exactly what I needed, thank you!",
    "Quicker than any phone call.",
    "Found my order at once.",
    "Very clear, also about the return.",
    "The size table helped a lot.",
    "Good to know before I buy.",
];
const BLAME: [&str; 6] = [
    "It did not answer what I asked about the warranty.",
    "The link leads to a page that is not there.",
    "I wanted to speak with a person.",
    "The delivery date was wrong.",
    "Too long, I only wanted the price.",
    "It took ages to answer.",
];

/// Ago: the afternoon on which the workflow is down, and the night of the programs.
const OUTAGE: u32 = 9;
const FLOOD: u32 = 4;

const SITES: [&str; 6] = ["default", "shoes", "garden", "books", "outdoor", "kitchen"];

/// Monday first.
const WEEK: [f64; 7] = [1.15, 1.10, 1.05, 1.0, 0.95, 0.7, 0.85];
/// By hours of UTC, for shops an hour or two east of it: late morning, and the evening on the sofa.
const HOURS: [f64; 24] = [
    0.8, 0.4, 0.2, 0.2, 0.4, 1.2, 2.6, 4.4, 6.2, 7.4, 7.0, 5.6, 5.2, 5.6, 5.4, 5.0, 5.2, 6.0, 7.6, 8.2, 6.4, 4.2, 2.4,
    1.4,
];

const PAGES: [(&str, f64); 14] = [
    ("/", 20.0),
    ("/help/returns", 13.0),
    ("/help/delivery", 11.0),
    ("/account/orders", 10.0),
    ("/cart", 8.0),
    ("/checkout", 6.0),
    ("/sale", 5.0),
    ("/products/trail-runner", 5.0),
    ("/products/rain-jacket", 4.0),
    ("/products/day-pack", 3.0),
    ("/products/wool-socks", 2.0),
    ("/contact", 2.0),
    ("/help/sizes", 2.0),
    // One of many.
    ("/products/", 9.0),
];

const DEVICES: [(Option<Device>, f64); 5] = [
    (Some(Device::Phone), 58.0),
    (Some(Device::Desktop), 33.0),
    (Some(Device::Tablet), 6.0),
    (Some(Device::Other), 2.0),
    (None, 1.0),
];

/// Countries, each with its language.
const PLACES: [(Option<&str>, &str, f64); 10] = [
    (Some("DE"), "de-DE", 52.0),
    (Some("AT"), "de-AT", 11.0),
    (Some("CH"), "de-CH", 9.0),
    (Some("NL"), "nl-NL", 6.0),
    (Some("FR"), "fr-FR", 5.0),
    (Some("PL"), "pl-PL", 4.0),
    (Some("GB"), "en-GB", 4.0),
    (Some("DE"), "en-US", 4.0),
    (Some("US"), "en-US", 2.0),
    (None, "de-DE", 3.0),
];

const FAILURES: [(FailureCode, f64); 6] = [
    (FailureCode::UpstreamTimeout, 40.0),
    (FailureCode::UpstreamError, 30.0),
    (FailureCode::UpstreamUnreachable, 12.0),
    (FailureCode::QueueTimeout, 8.0),
    (FailureCode::Interrupted, 6.0),
    (FailureCode::UpstreamEmpty, 4.0),
];

/// What is refused on any day, and how often in an hour of its shop's average.
const REFUSALS: [(&str, f64); 6] = [
    ("bot_challenge", 0.9),
    ("limit_session_minute", 0.5),
    ("token", 0.4),
    ("origin", 0.3),
    ("bot_refuse", 0.2),
    ("busy", 0.2),
];

/// What the programs of the night meet, in a minute.
const FLOODED: [(&str, f64); 3] = [("limit_ip_minute", 70.0), ("limit_create_minute", 25.0), ("bot_refuse", 12.0)];

impl Demo {
    /// Fills an empty store up to now, and marks it first: what broke off in the middle is no real data either.
    /// `progress` hears how many days are done. How many facts it were.
    pub fn fill(&self, store: &Store, progress: impl FnMut(u32)) -> Result<usize, Error> {
        self.fill_until(Millis::now(), store, progress)
    }

    fn fill_until(&self, now: Millis, store: &Store, mut progress: impl FnMut(u32)) -> Result<usize, Error> {
        if !store.sites()?.is_empty() {
            return Err(Error::NotEmpty);
        }
        store.mark_demo()?;
        let mut told = 0;
        for (done, ago) in (1..).zip((0..self.days).rev()) {
            let facts = self.day(ago, now);
            for batch in facts.chunks(BATCH) {
                store.apply(batch)?;
            }
            told += facts.len();
            progress(done);
        }
        Ok(told)
    }

    /// What begins on one day, as many days ago, in order. Nothing of it is after `now`.
    fn day(&self, ago: u32, now: Millis) -> Vec<Fact> {
        let day = now.0.div_euclid(DAY) - i64::from(ago);
        let mut facts = Vec::new();
        for number in 0..self.sites {
            let mut seed = [0; 32];
            for (at, part) in [self.seed, u64::from(number), day.cast_unsigned()].into_iter().enumerate() {
                seed[at * 8..][..8].copy_from_slice(&part.to_le_bytes());
            }
            let mut shop = Shop {
                site: site(number),
                // The second shop is half as large as the first, and so on.
                size: 1.0 / f64::from(number + 1),
                ago,
                midnight: day * DAY,
                dice: StdRng::from_seed(seed),
                facts: &mut facts,
            };
            shop.visitors(WEEK[(day + 3).rem_euclid(7) as usize]);
            shop.refusals();
        }
        facts.retain(|fact| fact.at <= now);
        facts.sort_by_key(|fact| fact.at);
        facts
    }
}

/// What some of those write who rate a reply. By its time and not by chance, so that all else stays as it is.
fn comment(rating: Rating, at: Millis) -> Option<Comment> {
    let comments = match rating {
        Rating::Up => &PRAISE,
        Rating::Down => &BLAME,
    };
    let at = usize::try_from(at.0).unwrap_or(0);
    at.is_multiple_of(5).then(|| Comment(comments[at / 5 % comments.len()].to_owned()))
}

fn site(number: u32) -> SiteId {
    let name = SITES.get(number as usize).map_or_else(|| format!("shop-{}", number + 1), |name| (*name).to_owned());
    SiteId::new(&name).expect("words, digits and a hyphen are an id")
}

/// A shop on one day.
struct Shop<'a> {
    site: SiteId,
    size: f64,
    ago: u32,
    midnight: i64,
    dice: StdRng,
    facts: &'a mut Vec<Fact>,
}

impl Shop<'_> {
    fn visitors(&mut self, weekday: f64) {
        // The chat becomes known: half as many came two months ago.
        let known = 0.5_f64.powf(f64::from(self.ago) / 60.0);
        let count = SESSIONS * self.size * weekday * known * self.dice.random_range(0.85..1.15);
        let hours: Vec<(i64, f64)> = (0..).map(|hour| hour * HOUR).zip(HOURS).collect();
        for _ in 0..count.round() as u32 {
            let (hour, _) = *self.pick(&hours, |(_, weight)| *weight);
            let at = self.midnight + hour + self.dice.random_range(0..HOUR);
            self.visit(Millis(at));
        }
    }

    fn visit(&mut self, at: Millis) {
        let session = SessionId::mint(u64::try_from(at.0 / 1_000).unwrap_or(0), self.dice.random());
        let visit = self.came();
        let mut patience = if visit.bot == Some(BotClass::Likely) { 0 } else { self.messages() };
        self.tell(&session, at, FactKind::SessionStarted(visit));
        let mut at = at.0 + self.spread(9_000.0, 0.8);
        while patience > 0 {
            patience -= 1;
            let (over, went_well) = self.message(&session, Millis(at));
            if !went_well && self.dice.random_bool(0.5) {
                return;
            }
            at = over.0 + self.spread(35_000.0, 0.9);
        }
        if self.dice.random_bool(0.015) {
            // The parcel left.
            let message_id = MessageId::new(&format!("push_{:024x}", self.dice.random::<u64>())).expect("hex is an id");
            let at = Millis(at + self.spread(5_400_000.0, 0.7));
            let chars = self.dice.random_range(40..220);
            self.tell(&session, at, FactKind::MessagePushed { message_id, chars });
        }
    }

    fn came(&mut self) -> Visit {
        let (path, _) = *self.pick(&PAGES, |(_, weight)| *weight);
        let path = if path == "/products/" {
            format!("{path}{}", self.dice.random_range(1_000..1_040))
        } else {
            path.to_owned()
        };
        let (device, _) = *self.pick(&DEVICES, |(_, weight)| *weight);
        let (country, locale, _) = *self.pick(&PLACES, |(_, _, weight)| *weight);
        let at_home = path.starts_with("/account") || path == "/checkout";
        let customer = self.dice.random_bool(if at_home { 0.7 } else { 0.15 });
        // Few customers come often.
        let which = (self.dice.random::<f64>().powi(3) * 900.0) as u32;
        let bot = match self.dice.random_range(0..100) {
            0 => BotClass::Likely,
            1..8 => BotClass::Doubtful,
            _ => BotClass::Clear,
        };
        Visit {
            page_path: Some(path),
            locale: Some(locale.to_owned()),
            device,
            country: country.map(str::to_owned),
            customer: customer.then(|| runtime::customer::hash(self.site.as_str(), &format!("customer-{which}"))),
            bot: Some(bot),
        }
    }

    /// Some look at the chat and say nothing, most have one question and another.
    fn messages(&mut self) -> u32 {
        if self.dice.random_bool(0.12) {
            return 0;
        }
        let mut messages = 1;
        while messages < 12 && self.dice.random_bool(0.58) {
            messages += 1;
        }
        messages
    }

    /// One message and its reply: when that is over, and whether it was a good one.
    fn message(&mut self, session: &SessionId, at: Millis) -> (Millis, bool) {
        let message_id = MessageId::mint(u128::from(self.dice.random::<u64>()));
        let chars = u32::try_from(self.spread(46.0, 0.7).clamp(2, 900)).unwrap_or(2);
        self.tell(session, at, FactKind::MessageAccepted { message_id: message_id.clone(), chars });

        let trouble = self.trouble(at);
        if self.dice.random_bool(trouble.fails) {
            let code = trouble.code.unwrap_or_else(|| self.pick(&FAILURES, |(_, weight)| *weight).0);
            let (chunks, duration_ms) = match code {
                FailureCode::UpstreamTimeout => (0, 30_000),
                FailureCode::QueueTimeout => (0, 30_000),
                FailureCode::CircuitOpen => (0, 2),
                FailureCode::Interrupted => (self.dice.random_range(1..40), self.spread(4_000.0, 0.6)),
                _ => (0, self.spread(900.0, 0.7)),
            };
            let over = Millis(at.0 + duration_ms);
            let duration_ms = duration_ms.cast_unsigned();
            self.tell(session, over, FactKind::ReplyFailed { message_id, chunks, code, duration_ms });
            return (over, false);
        }
        let first = self.spread(820.0 * trouble.slower, 0.45);
        let cancelled = self.dice.random_bool(0.025 * trouble.slower);
        let talks = self.spread(2_900.0, 0.6) / if cancelled { 3 } else { 1 };
        let over = Millis(at.0 + first + talks);
        let finish_reason = if cancelled { FinishReason::Cancelled } else { FinishReason::Stop };
        let kind = FactKind::ReplyEnded {
            message_id: message_id.clone(),
            chunks: u32::try_from(talks / 45).unwrap_or(0) + 1,
            finish_reason,
            first_chunk_ms: Some(first.cast_unsigned()),
            duration_ms: (first + talks).cast_unsigned(),
        };
        self.tell(session, over, kind);
        if !cancelled && self.dice.random_bool(0.13) {
            let pleased = self.dice.random_bool(if trouble.slower > 1.5 { 0.45 } else { 0.83 });
            let rating = if pleased { Rating::Up } else { Rating::Down };
            let at = Millis(over.0 + self.spread(6_000.0, 0.7));
            self.tell(session, at, FactKind::ReplyRated { message_id, rating, comment: comment(rating, at) });
        }
        (over, !cancelled)
    }

    /// How the workflow is at that time.
    fn trouble(&self, at: Millis) -> Trouble {
        let hour = at.0.rem_euclid(DAY) as f64 / HOUR as f64;
        // Many at once wait a little longer.
        let busy = if (8.0..11.0).contains(&hour) || (18.0..20.5).contains(&hour) { 1.25 } else { 1.0 };
        let well = Trouble { fails: 0.011, code: None, slower: busy };
        if self.ago != OUTAGE {
            return well;
        }
        match hour {
            13.5..14.25 => Trouble { fails: 0.25, code: Some(FailureCode::UpstreamTimeout), slower: 4.0 },
            14.25..16.0 => Trouble { fails: 0.8, code: Some(FailureCode::CircuitOpen), slower: 3.0 },
            16.0..17.0 => Trouble { fails: 0.08, code: None, slower: 2.0 },
            _ => well,
        }
    }

    fn refusals(&mut self) {
        let mut refused: BTreeMap<(i64, &str), f64> = BTreeMap::new();
        for (hour, busy) in (0..).zip(HOURS) {
            for (reason, often) in REFUSALS {
                let count = often * self.size * busy / 4.0 * self.dice.random_range(0.0..2.4);
                let minute = self.dice.random_range(0..60);
                refused.insert((hour * 60 + minute, reason), count);
            }
        }
        if self.ago == FLOOD {
            for minute in 185..215 {
                for (reason, often) in FLOODED {
                    refused.insert((minute, reason), often * self.size * self.dice.random_range(0.5..1.5));
                }
            }
        }
        for ((minute, reason), count) in refused {
            let count = count.round() as u64;
            if count > 0 {
                let id = format!("refused-{:016x}-{minute}", self.dice.random::<u64>());
                let id = FactId::new(&id).expect("a word, hex and digits are an id");
                let kind = FactKind::CallsRefused { reason: reason.to_owned(), count };
                let at = Millis(self.midnight + minute * 60_000);
                self.facts.push(Fact { at, ..Fact::of_site(&self.site, id, kind) });
            }
        }
    }

    fn tell(&mut self, session: &SessionId, at: Millis, kind: FactKind) {
        self.facts.push(Fact::at(&self.site, session, at, kind));
    }

    fn pick<'t, T>(&mut self, table: &'t [T], weight: impl Fn(&T) -> f64) -> &'t T {
        table.choose_weighted(&mut self.dice, weight).expect("the tables have weights above 0")
    }

    /// Log-normal, as times and lengths of what people and servers do mostly are; never 0.
    fn spread(&mut self, median: f64, sigma: f64) -> i64 {
        let (a, b): (f64, f64) = (self.dice.random(), self.dice.random());
        let normal = (-2.0 * (1.0 - a).ln()).sqrt() * (std::f64::consts::TAU * b).cos();
        ((median * (sigma * normal).exp()).round() as i64).max(1)
    }
}

/// See [`Shop::trouble`].
struct Trouble {
    /// How likely a reply fails.
    fails: f64,
    /// By what; any of the usual ones otherwise.
    code: Option<FailureCode>,
    slower: f64,
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::query::Range;

    /// A Wednesday, 15:00 UTC.
    const NOW: Millis = Millis(1_767_798_000_000);
    const MONTH: Demo = Demo { days: 30, sites: 2, seed: 7 };

    fn month(demo: Demo, now: Millis) -> Vec<Fact> {
        (0..demo.days).rev().flat_map(|ago| demo.day(ago, now)).collect()
    }

    fn hour(fact: &Fact) -> f64 {
        fact.at.0.rem_euclid(DAY) as f64 / HOUR as f64
    }

    #[test]
    fn one_seed_makes_one_month() {
        let facts = month(MONTH, NOW);
        assert_eq!(month(MONTH, NOW), facts);
        assert_ne!(month(Demo { seed: 8, ..MONTH }, NOW).len(), facts.len());
        let ids: HashSet<&str> = facts.iter().map(|fact| fact.id.as_str()).collect();
        assert_eq!(ids.len(), facts.len(), "each is a fact of its own");
        // An hour later the same things have happened, and some more.
        let later: HashSet<String> =
            month(MONTH, Millis(NOW.0 + HOUR)).into_iter().map(|fact| fact.id.to_string()).collect();
        assert!(ids.iter().all(|id| later.contains(*id)) && later.len() > ids.len());
    }

    #[test]
    fn a_month_looks_like_one_of_a_shop() {
        let facts = month(MONTH, NOW);
        assert!(facts.iter().all(|fact| fact.at <= NOW));
        let of = |what: fn(&FactKind) -> bool| facts.iter().filter(move |fact| what(&fact.kind));
        let (sessions, messages) = (
            of(|kind| matches!(kind, FactKind::SessionStarted(_))),
            of(|kind| matches!(kind, FactKind::MessageAccepted { .. })),
        );
        let (ended, failed) = (
            of(|kind| matches!(kind, FactKind::ReplyEnded { .. })).count(),
            of(|kind| matches!(kind, FactKind::ReplyFailed { .. })).count(),
        );
        let (rated, pushed) = (
            of(|kind| matches!(kind, FactKind::ReplyRated { .. })).count(),
            of(|kind| matches!(kind, FactKind::MessagePushed { .. })).count(),
        );
        let by_night = messages.clone().filter(|fact| hour(fact) < 5.0).count();
        let by_day = messages.clone().filter(|fact| (8.0..13.0).contains(&hour(fact))).count();
        let (sessions, messages) = (sessions.count(), messages.count());
        assert!((4_000..9_000).contains(&sessions), "{sessions}");
        assert!(messages > 3 * sessions / 2 && messages < 3 * sessions, "{messages}");
        // Those of the last minute may still run.
        assert!(ended + failed <= messages && ended + failed + 20 > messages, "{ended} {failed} {messages}");
        assert!(failed > messages / 100 && failed < messages / 10, "{failed}");
        let not_helpful = |fact: &&Fact| matches!(fact.kind, FactKind::ReplyRated { rating: Rating::Down, .. });
        let down = facts.iter().filter(not_helpful).count();
        assert!(rated > ended / 20 && pushed > 10 && down > rated / 10 && down < rated / 4, "{rated} {down} {pushed}");
        assert!(by_night * 5 < by_day, "{by_night} {by_day}");

        let afternoon = |fact: &&Fact| {
            fact.at.0.div_euclid(DAY) == NOW.0.div_euclid(DAY) - i64::from(OUTAGE) && (14.5..15.9).contains(&hour(fact))
        };
        let down = facts.iter().filter(afternoon);
        let (failed, ended) = down.fold((0, 0), |(failed, ended), fact| match fact.kind {
            FactKind::ReplyFailed { .. } => (failed + 1, ended),
            FactKind::ReplyEnded { .. } => (failed, ended + 1),
            _ => (failed, ended),
        });
        assert!(failed > 2 * ended, "{failed} {ended}");
    }

    /// What the store says of it is what was told, and nothing is mixed with it.
    #[test]
    fn only_an_empty_store_is_filled() {
        let (store, now) = (Store::in_memory().unwrap(), Millis::now());
        let (demo, mut days) = (Demo { days: 3, ..MONTH }, Vec::new());
        assert!(!store.is_demo().unwrap());
        let told = demo.fill_until(now, &store, |day| days.push(day)).unwrap();
        let facts = month(demo, now);
        assert_eq!((told, days), (facts.len(), vec![1, 2, 3]));
        assert!(store.is_demo().unwrap());
        assert_eq!(store.sites().unwrap(), [site(0), site(1)]);
        let all = Range { from: Millis(now.0 - 4 * DAY), until: Millis(now.0 + DAY) };
        let summary = store.summary(None, all).unwrap();
        let count = |what: fn(&FactKind) -> bool| facts.iter().filter(|fact| what(&fact.kind)).count() as u64;
        assert_eq!(summary.sessions, count(|kind| matches!(kind, FactKind::SessionStarted(_))));
        assert_eq!(summary.messages, count(|kind| matches!(kind, FactKind::MessageAccepted { .. })));
        assert_eq!(summary.pushed, count(|kind| matches!(kind, FactKind::MessagePushed { .. })));
        assert_eq!(summary.rated_up + summary.rated_down, count(|kind| matches!(kind, FactKind::ReplyRated { .. })));
        let refused: u64 = facts
            .iter()
            .map(|fact| match &fact.kind {
                FactKind::CallsRefused { count, .. } => *count,
                _ => 0,
            })
            .sum();
        assert_eq!(summary.refused.values().sum::<u64>(), refused);
        assert!(matches!(demo.fill(&store, |_| {}), Err(Error::NotEmpty)));

        let real = Store::in_memory().unwrap();
        let session = SessionId::mint(1, 1);
        real.apply(&[Fact::now(&site(0), &session, FactKind::SessionStarted(Visit::default()))]).unwrap();
        assert!(matches!(demo.fill(&real, |_| {}), Err(Error::NotEmpty)));
        assert!(!real.is_demo().unwrap());
    }
}
