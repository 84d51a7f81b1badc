//! Tests of what the store answers.

use std::{sync::LazyLock, time::Duration};

use protocol::{
    Device, Fact, FactId, FactKind, FailureCode, FinishReason, MessageId, Millis, Rating, SessionId, SiteId, Visit,
};
use redb::{ReadableDatabase as _, ReadableTableMetadata as _};

use super::{
    LeftOut, Store,
    forget::{HOURS_KEPT, MINUTES_KEPT},
    list::MAX_READ,
    tables::{BUCKETS, CUSTOMERS, EXPIRED_KEY, LIVE, META, PAGES},
};
use crate::query::{Bucket, Filter, Metric, PageCount, Pages, Place, Range, SessionRow, Summary};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

const METRICS: [Metric; 14] = [
    Metric::Sessions,
    Metric::Messages,
    Metric::Ended,
    Metric::Cancelled,
    Metric::Failed,
    Metric::Pushed,
    Metric::Chunks,
    Metric::RatedUp,
    Metric::RatedDown,
    Metric::Refused,
    Metric::FirstChunkMsP50,
    Metric::FirstChunkMsP95,
    Metric::DurationMsP50,
    Metric::DurationMsP95,
];

/// Yesterday at noon: old enough for all that follows to be in the past.
fn noon() -> i64 {
    static NOON: LazyLock<i64> = LazyLock::new(|| Millis::now().0 / DAY * DAY - DAY / 2);
    *NOON
}

fn site(name: &str) -> SiteId {
    SiteId::new(name).unwrap()
}

fn session(at: i64, n: u64) -> SessionId {
    SessionId::mint(u64::try_from(at / 1_000).unwrap(), n)
}

fn message(n: usize) -> MessageId {
    MessageId::new(&format!("message-{n}")).unwrap()
}

fn told(site: &SiteId, session: &SessionId, at: i64, kind: FactKind) -> Fact {
    let fact = Fact { at: Millis(at), ..Fact::now(site, session, kind) };
    match &fact.kind {
        FactKind::ReplyRated { message_id, .. } => {
            Fact { id: FactId::of(session, Some(message_id), &format!("rated{at}")), ..fact }
        }
        _ => fact,
    }
}

fn started(page: &str) -> FactKind {
    FactKind::SessionStarted(Visit { page_path: Some(page.into()), ..Visit::default() })
}

fn accepted(n: usize) -> FactKind {
    FactKind::MessageAccepted { message_id: message(n), chars: 3 }
}

fn ended(n: usize, first_chunk_ms: u64, duration_ms: u64) -> FactKind {
    FactKind::ReplyEnded {
        message_id: message(n),
        chunks: 2,
        finish_reason: FinishReason::Stop,
        first_chunk_ms: Some(first_chunk_ms),
        duration_ms,
    }
}

fn rated(n: usize, rating: Rating) -> FactKind {
    FactKind::ReplyRated { message_id: message(n), rating, comment: None }
}

fn refused(site: &SiteId, at: i64, n: usize, reason: &str, count: u64) -> Fact {
    let kind = FactKind::CallsRefused { reason: reason.into(), count };
    Fact { at: Millis(at), ..Fact::of_site(site, FactId::new(&format!("refused-{n}")).unwrap(), kind) }
}

fn range(from: i64, until: i64) -> Range {
    Range { from: Millis(from), until: Millis(until) }
}

fn rows(store: &Store, site: Option<&SiteId>, range: Range) -> Vec<SessionRow> {
    store.sessions(site, range, &Filter::default(), None, 1_000).unwrap().sessions
}

/// A store that was told of some sessions at two sites, yesterday at noon and the hours after.
fn story() -> Vec<Fact> {
    let (shop, shoes, noon) = (site("shop"), site("shoes"), noon());
    let mut facts = Vec::new();
    for n in 0..6_u64 {
        let (site, began) = (if n % 3 == 2 { &shoes } else { &shop }, noon + n as i64 * 25 * MINUTE);
        let id = session(began, n);
        let mut tell = |after: i64, kind: FactKind| facts.push(told(site, &id, began + after, kind));
        tell(
            300,
            FactKind::SessionStarted(Visit {
                page_path: Some(format!("/page-{}", n % 2)),
                device: Some(Device::Phone),
                customer: (n % 2 == 0).then(|| runtime::customer::hash(site.as_str(), "customer-7")),
                ..Visit::default()
            }),
        );
        for m in 0..4 {
            let at = 60_000 * (m as i64 + 1);
            tell(at, accepted(m));
            let duration_ms = 900 + 100 * n + m as u64;
            let done = at + duration_ms as i64;
            match m {
                3 => tell(
                    done,
                    FactKind::ReplyFailed {
                        message_id: message(m),
                        chunks: 1,
                        code: FailureCode::UpstreamTimeout,
                        duration_ms,
                    },
                ),
                _ => tell(done, ended(m, 200 + 10 * n, duration_ms)),
            }
        }
        tell(400_000, FactKind::MessagePushed { message_id: message(9), chars: 12 });
        if n == 5 {
            tell(500_000, FactKind::SessionEnded);
        } else {
            tell(410_000, rated(0, Rating::Up));
            tell(420_000, rated(1, Rating::Down));
            tell(7_300_000, rated(0, Rating::Down));
        }
    }
    facts.push(refused(&shop, noon + MINUTE, 1, "limit_session_minute", 40));
    facts.push(refused(&shoes, noon + 2 * HOUR, 2, "bot", 2));
    facts
}

/// Everything that the store says of the story.
fn all_answers(store: &Store) -> String {
    let range = range(noon() - HOUR, noon() + 8 * HOUR);
    let sites = [None, Some(site("shop")), Some(site("shoes"))];
    let mut answers = Vec::new();
    for site in &sites {
        let site = site.as_ref();
        let rows = rows(store, site, range);
        for row in &rows {
            answers.push(format!("{:?}", store.session(&row.site, &row.id).unwrap()));
        }
        for bucket in [Bucket::Minute, Bucket::Hour, Bucket::Day] {
            answers.push(format!("{:?}", store.timeseries(site, range, bucket, &METRICS).unwrap()));
        }
        answers.push(format!("{rows:?} {:?}", store.summary(site, range).unwrap()));
        answers.push(format!("{:?}", store.pages(site, range, 10).unwrap()));
        answers.push(format!("{:?}", store.busy_hours(site, range, 90).unwrap()));
    }
    answers.join("\n")
}

/// Facts come in any order, in any batches, and again: what is known at the end is the same.
#[test]
fn the_order_of_arrival_does_not_matter() {
    let facts = story();
    let store = Store::in_memory().unwrap();
    store.apply(&facts).unwrap();
    let expected = all_answers(&store);
    assert!(expected.contains("upstream_timeout"), "{expected}");
    let mut dice = 1_u64;
    let mut below = |n: usize| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) as usize % n
    };
    for round in 0..60 {
        let store = Store::in_memory().unwrap();
        let mut twice = [facts.clone(), facts.clone()].concat();
        for last in (1..twice.len()).rev() {
            twice.swap(last, below(last + 1));
        }
        let mut left = twice.as_slice();
        while !left.is_empty() {
            let (batch, rest) = left.split_at(left.len().min(1 + below(40)));
            store.apply(batch).unwrap();
            left = rest;
        }
        assert_eq!(all_answers(&store), expected, "round {round}");
    }
}

#[test]
fn figures_are_of_their_site_and_time() {
    let (store, noon) = (Store::in_memory().unwrap(), noon());
    store.apply(&story()).unwrap();
    assert_eq!(store.sites().unwrap(), [site("shoes"), site("shop")]);
    let check = |name: Option<&str>, range: Range, expected: (u64, u64, u64, u64)| {
        let Summary { sessions, messages, ended, pushed, .. } = store.summary(name.map(site).as_ref(), range).unwrap();
        assert_eq!((sessions, messages, ended, pushed), expected, "{name:?} {range:?}");
    };
    let day = range(noon, noon + 12 * HOUR);
    check(None, day, (6, 24, 18, 6));
    check(Some("shop"), day, (4, 16, 12, 4));
    check(Some("shoes"), day, (2, 8, 6, 2));
    check(Some("hats"), day, (0, 0, 0, 0));
    check(None, range(noon - 12 * HOUR, noon), (0, 0, 0, 0));
    // The first session's second message, to the minute.
    check(None, range(noon + 2 * MINUTE, noon + 3 * MINUTE), (0, 1, 1, 0));
    check(None, range(noon + 2 * MINUTE + 1, noon + 3 * MINUTE - 1), (0, 1, 1, 0));
    // A week by hours, years by days: both wider than what was asked for.
    check(None, range(noon - 7 * DAY, noon + 30 * MINUTE), (3, 12, 9, 3));
    check(None, range(0, noon), (6, 24, 18, 6));

    let sum = store.summary(None, day).unwrap();
    assert_eq!((sum.identified, sum.chunks, sum.failed["upstream_timeout"]), (3, 42, 6));
    assert_eq!(sum.refused, [("bot".to_owned(), 2), ("limit_session_minute".to_owned(), 40)].into());
    assert_eq!((sum.first_chunk_ms.count, sum.duration_ms.count), (18, 24));
    let near =
        |found: Option<u64>, exact: u64| assert!(found.unwrap().abs_diff(exact) <= exact / 30, "{found:?} {exact}");
    near(sum.first_chunk_ms.p50, 220);
    near(sum.first_chunk_ms.p99, 250);
    near(sum.duration_ms.p95, 1_403);
}

#[test]
fn a_series_has_a_value_for_each_step() {
    let (store, noon) = (Store::in_memory().unwrap(), noon());
    store.apply(&story()).unwrap();
    let wanted = [Metric::Messages, Metric::DurationMsP50];
    let series = store.timeseries(None, range(noon - 1, noon + 5 * MINUTE), Bucket::Minute, &wanted).unwrap();
    assert_eq!(series.t, (-1..5).map(|step| (noon + step * MINUTE) / 1_000).collect::<Vec<_>>());
    assert_eq!(series.series[&Metric::Messages], [0, 0, 1, 1, 1, 1].map(Some));
    let times = &series.series[&Metric::DurationMsP50];
    assert_eq!(times.iter().map(Option::is_some).collect::<Vec<_>>(), [false, false, true, true, true, true]);

    let hours = store.timeseries(None, range(noon, noon + 3 * HOUR), Bucket::Hour, &METRICS).unwrap();
    assert_eq!(hours.series.len(), METRICS.len());
    assert_eq!(hours.series[&Metric::Sessions], [3, 2, 1].map(Some));
    assert_eq!(hours.series[&Metric::Refused], [40, 0, 2].map(Some));
    let nothing = store.timeseries(Some(&site("hats")), range(5, 5), Bucket::Day, &wanted).unwrap();
    assert_eq!((nothing.t.len(), nothing.series[&Metric::Messages].len()), (0, 0));
    let endless = store.timeseries(None, range(0, i64::MAX), Bucket::Minute, &wanted).unwrap();
    assert_eq!(endless.t.len(), 100_000, "what is too long is cut");
}

#[test]
fn busy_hours_are_of_the_shops_clock() {
    let (store, noon) = (Store::in_memory().unwrap(), noon());
    store.apply(&story()).unwrap();
    // The 5th of January 1970 was a Monday.
    let today = usize::try_from((noon / DAY + 3) % 7).unwrap();
    let check = |offset_minutes: i32, day: usize, hour: usize| {
        let busy = store.busy_hours(Some(&site("shop")), range(noon - DAY, noon + DAY), offset_minutes).unwrap();
        assert_eq!(busy.messages[day % 7][hour], 8, "{offset_minutes}: {busy:?}");
        assert_eq!(busy.messages.iter().flatten().sum::<u64>(), 16);
    };
    check(0, today, 12);
    check(120, today, 14);
    check(330, today, 17);
    check(720, today + 1, 0);
    check(-780, today + 6, 23);
}

#[test]
fn the_most_frequent_pages_come_first() {
    let (store, noon) = (Store::in_memory().unwrap(), noon());
    store.apply(&story()).unwrap();
    let count = |path: &str, sessions: u64| PageCount { path: path.into(), sessions };
    let check = |name: Option<&str>, days: i64, limit: usize, expected: Pages| {
        let pages = store.pages(name.map(site).as_ref(), range(noon - days * DAY, noon + HOUR), limit).unwrap();
        assert_eq!(pages, expected, "{name:?} {days}");
    };
    // One session on page 1 was ended by its visitor: its page isn't known any more.
    check(None, 0, 10, Pages { pages: vec![count("/page-0", 3), count("/page-1", 2)], other: 1 });
    check(None, 0, 1, Pages { pages: vec![count("/page-0", 3)], other: 3 });
    check(Some("shoes"), 400, 10, Pages { pages: vec![count("/page-0", 1)], other: 1 });
    check(Some("hats"), 0, 10, Pages::default());
    // In days and in months of 30 days: nothing counts twice.
    check(None, 70, 10, Pages { pages: vec![count("/page-0", 3), count("/page-1", 2)], other: 1 });
    let before = store.pages(None, range(noon - 90 * DAY, noon - DAY), 10).unwrap();
    assert_eq!(before, Pages::default());
}

#[test]
fn pages_without_end_are_counted_together() {
    let (store, noon, shop) = (Store::in_memory().unwrap(), noon(), site("shop"));
    let mut facts: Vec<Fact> =
        (0..1_500).map(|n| told(&shop, &session(noon, n), noon, started(&format!("/page-{n:04}")))).collect();
    // One that has its row goes on counting.
    facts.push(told(&shop, &session(noon, 2_000), noon, started("/page-0000")));
    facts.push(told(&shop, &session(noon, 2_001), noon, started("")));
    for batch in facts.chunks(400) {
        store.apply(batch).unwrap();
    }
    let reader = store.database().unwrap().begin_read().unwrap();
    assert_eq!(reader.open_table(PAGES).unwrap().len().unwrap(), 4 * 1_001);
    assert_eq!(store.take_left_out(), LeftOut { pages: 500, ..LeftOut::default() });
    let pages = store.pages(Some(&shop), range(noon, noon + 1), 2).unwrap();
    assert_eq!((pages.pages[0].path.as_str(), pages.pages[0].sessions), ("/page-0000", 2));
    assert_eq!(pages.pages.iter().map(|page| page.sessions).sum::<u64>() + pages.other, 1_501);
}

#[test]
fn a_word_taken_back_is_taken_back_where_it_was_counted() {
    let (store, noon, shop) = (Store::in_memory().unwrap(), noon(), site("shop"));
    let id = session(noon, 1);
    store.apply(&[told(&shop, &id, noon, rated(1, Rating::Up))]).unwrap();
    store.apply(&[told(&shop, &id, noon + 2 * HOUR, rated(1, Rating::Down))]).unwrap();
    store.apply(&[told(&shop, &id, noon + HOUR, rated(1, Rating::Up))]).unwrap();
    let hours = store.timeseries(None, range(noon, noon + 3 * HOUR), Bucket::Hour, &METRICS).unwrap();
    assert_eq!(hours.series[&Metric::RatedUp], [0, 0, 0].map(Some));
    assert_eq!(hours.series[&Metric::RatedDown], [0, 0, 1].map(Some));
    let row = store.session(&shop, &id).unwrap().unwrap().row;
    assert_eq!((row.rated_up, row.rated_down), (0, 1));
}

/// Page after page, while new sessions come: each of those that were there is on one page.
#[test]
fn paging_leaves_nothing_out_and_shows_nothing_twice() {
    let (store, noon, sites) = (Store::in_memory().unwrap(), noon(), ["shop", "shoes", "hats"].map(site));
    // Seven a second, so that pages end amid equals, and one id at two sites.
    let begin = |n: u64| {
        let id = session(noon + n as i64 / 7 * 1_000, n);
        let mut facts = vec![told(&sites[n as usize % 3], &id, noon, started("/"))];
        if n.is_multiple_of(5) {
            facts.push(told(&sites[(n as usize + 1) % 3], &id, noon, started("/twice")));
        }
        facts
    };
    // One fact has one id: the same session elsewhere needs another.
    let begin = |n: u64| {
        begin(n)
            .into_iter()
            .map(|fact| Fact { id: FactId::new(&format!("{}-{}", fact.id, fact.site)).unwrap(), ..fact })
            .collect::<Vec<_>>()
    };
    store.apply(&(0..100).flat_map(begin).collect::<Vec<_>>()).unwrap();
    let check = |site: Option<&SiteId>, limit: usize, count: usize| {
        let (mut place, mut seen): (Option<Place>, Vec<SessionRow>) = (None, Vec::new());
        loop {
            let page =
                store.sessions(site, range(noon, noon + HOUR), &Filter::default(), place.as_ref(), limit).unwrap();
            assert!(page.sessions.len() <= limit);
            seen.extend(page.sessions);
            place = page.next;
            if place.is_none() {
                break;
            }
        }
        assert!(seen.is_sorted_by(|a, b| a.id.began() >= b.id.began()), "newest first");
        let mut keys: Vec<_> = seen.iter().map(|row| (row.id.clone(), row.site.clone())).collect();
        keys.sort();
        keys.dedup();
        assert_eq!((seen.len(), keys.len()), (count, count), "{site:?} {limit}");
    };
    for limit in [1, 2, 7, 50, 120, 1_000] {
        check(None, limit, 120);
    }
    check(Some(&sites[0]), 3, 41);
    check(Some(&site("gloves")), 3, 0);

    let first = store.sessions(None, range(noon, noon + HOUR), &Filter::default(), None, 10).unwrap();
    store.apply(&(100..110).flat_map(begin).collect::<Vec<_>>()).unwrap();
    let second = store.sessions(None, range(noon, noon + HOUR), &Filter::default(), first.next.as_ref(), 10).unwrap();
    assert!(second.sessions.iter().all(|row| row.id.began() <= first.sessions[9].id.began()));
    assert!(
        !second.sessions.iter().any(|row| first.sessions.iter().any(|seen| seen.id == row.id && seen.site == row.site))
    );
}

#[test]
fn a_list_is_of_its_range_and_filter() {
    let (store, noon) = (Store::in_memory().unwrap(), noon());
    store.apply(&story()).unwrap();
    let of = |from: i64, until: i64| rows(&store, None, range(from, until)).len();
    assert_eq!(of(noon, noon + HOUR), 3);
    assert_eq!(of(noon + 1_000, noon + 25 * MINUTE), 0, "the end is not in it");
    assert_eq!(of(noon + 1_000, noon + 25 * MINUTE + 1), 1);
    assert_eq!(of(i64::MIN, i64::MAX), 5, "all but the one that was ended");
    assert_eq!(of(5, 4), 0);
    let shoes = Filter { page: Some("/page-0".into()), identified: Some(true), ..Filter::default() };
    let found = store.sessions(None, range(noon, noon + DAY), &shoes, None, 10).unwrap();
    assert_eq!((found.sessions.len(), found.next), (3, None));
}

#[test]
fn a_call_reads_a_bounded_number_of_rows() {
    let (store, noon, shop) = (Store::in_memory().unwrap(), noon(), site("shop"));
    let facts: Vec<Fact> =
        (0..MAX_READ as u64 + 10).map(|n| told(&shop, &session(noon, n), noon, started(&format!("/{n}")))).collect();
    store.apply(&facts).unwrap();
    let oldest = Filter { page: Some("/0".into()), ..Filter::default() };
    let first = store.sessions(None, range(noon, noon + HOUR), &oldest, None, 50).unwrap();
    assert_eq!(first.sessions, []);
    let second = store.sessions(None, range(noon, noon + HOUR), &oldest, first.next.as_ref(), 50).unwrap();
    assert_eq!((second.sessions.len(), second.next), (1, None));
}

#[test]
fn live_sessions_are_those_of_the_last_minutes() {
    let (store, shop, shoes) = (Store::in_memory().unwrap(), site("shop"), site("shoes"));
    let now = Millis::now().0;
    let id = session(now - HOUR, 1);
    let facts = [
        told(&shop, &id, now - 40 * MINUTE, accepted(1)),
        told(&shop, &id, now - MINUTE, accepted(2)),
        told(&shop, &session(now - HOUR, 2), now - 4 * MINUTE, accepted(1)),
        told(&shoes, &session(now, 3), now, accepted(1)),
        told(&shoes, &session(now - 2 * HOUR, 4), now - 20 * MINUTE, accepted(1)),
        told(&shoes, &session(now, 5), now, accepted(1)),
        told(&shoes, &session(now, 5), now, FactKind::SessionEnded),
    ];
    for fact in facts {
        store.apply_at(&[fact], Millis(now)).unwrap();
    }
    let live = |site: Option<&SiteId>, at: i64| store.live(site, Millis(at)).unwrap();
    assert_eq!((live(None, now), live(Some(&shop), now), live(Some(&shoes), now)), (3, 2, 1));
    assert_eq!((live(None, now + 5 * MINUTE), live(None, now + 6 * MINUTE)), (1, 0));
    assert_eq!(live(Some(&site("hats")), now), 0);
    // What went by is forgotten by who writes later.
    for n in 0..6 {
        let later = Millis(now + 10 * MINUTE + n);
        store.apply_at(&[told(&shop, &session(now, 9), later.0, accepted(n as usize))], later).unwrap();
    }
    let reader = store.database().unwrap().begin_read().unwrap();
    assert_eq!(reader.open_table(LIVE).unwrap().len().unwrap(), 1);
}

#[test]
fn a_customer_is_found_by_their_hash() {
    let (store, noon, shop) = (Store::in_memory().unwrap(), noon(), site("shop"));
    store.apply(&story()).unwrap();
    let hash = runtime::customer::hash("shop", "customer-7");
    let of = |site: &SiteId, hash: &str| store.customer_sessions(site, hash).unwrap();
    let expected = [session(noon, 0), session(noon + 100 * MINUTE, 4)];
    assert_eq!(of(&shop, &hash), expected);
    assert_eq!(of(&site("shoes"), &hash), []);
    assert_eq!(of(&shop, "customer-7"), []);
    store.apply(&[told(&shop, &expected[0], noon, FactKind::SessionEnded)]).unwrap();
    assert_eq!(of(&shop, &hash), expected[1..]);
    let reader = store.database().unwrap().begin_read().unwrap();
    assert_eq!(reader.open_table(CUSTOMERS).unwrap().len().unwrap(), 2, "the other one is at the shoes");
}

/// What is told of a session after it expired counts, but makes no row again.
#[test]
fn an_expired_session_stays_away() {
    let (store, noon, shop) = (Store::in_memory().unwrap(), noon(), site("shop"));
    store
        .write(|transaction| {
            transaction.open_table(META)?.insert(EXPIRED_KEY, u64::try_from(noon).unwrap())?;
            Ok(())
        })
        .unwrap();
    let (old, new) = (session(noon - HOUR, 1), session(noon + HOUR, 2));
    let told_of = |id: &SessionId| told(&shop, id, noon + 2 * HOUR, accepted(1));
    store.apply(&[told_of(&old), told_of(&new)]).unwrap();
    assert_eq!(store.session(&shop, &old).unwrap(), None);
    assert!(store.session(&shop, &new).unwrap().is_some());
    let sum = store.summary(None, range(noon - DAY, noon + DAY)).unwrap();
    assert_eq!((sum.sessions, sum.messages), (1, 2));
    store.apply(&[told(&shop, &old, noon - HOUR, started("/"))]).unwrap();
    assert_eq!(store.session(&shop, &old).unwrap(), None);
    let sum = store.summary(None, range(noon - DAY, noon + DAY)).unwrap();
    assert_eq!(sum.sessions, 2, "its start, told that late, is the first of it");
}

#[test]
fn a_wrong_clock_harms_nothing() {
    let (store, shop, now) = (Store::in_memory().unwrap(), site("shop"), Millis::now());
    for (n, at) in [i64::MIN, -1, 0, now.0 + 2 * HOUR, i64::MAX].into_iter().enumerate() {
        let id = SessionId::mint([0, 999_999_999_999][n % 2], n as u64);
        store.apply_at(&[told(&shop, &id, at, accepted(1))], now).unwrap();
        assert_eq!(store.session(&shop, &id).unwrap().unwrap().row.last_seen, now, "{at}");
    }
    let sum = store.summary(None, range(now.0 - MINUTE, now.0 + MINUTE)).unwrap();
    assert_eq!((sum.sessions, sum.messages), (5, 5), "all of it is of now");
    assert_eq!(store.take_left_out(), LeftOut { times: 5, ..LeftOut::default() });
    let reader = store.database().unwrap().begin_read().unwrap();
    assert_eq!(reader.open_table(BUCKETS).unwrap().len().unwrap(), 6);
    assert_eq!(store.live(None, Millis(now.0 + 10 * MINUTE)).unwrap(), 0);
}

/// Minutes go after days, hours after more than a year, days never.
#[test]
fn old_figures_are_forgotten_by_minutes_and_hours() {
    let (store, shop) = (Store::in_memory().unwrap(), site("shop"));
    let now = Millis::now();
    let kept = |time: Duration| now.0 - i64::try_from(time.as_millis()).unwrap();
    let first = kept(HOURS_KEPT) - 30 * DAY;
    let (week, year) = (kept(MINUTES_KEPT) + HOUR, kept(HOURS_KEPT) + 2 * HOUR);
    let mut n = 0;
    let mut tell = |at: i64, applied: Millis| {
        n += 1;
        let id = session(at, n);
        store.apply_at(&[told(&shop, &id, at, started("/")), told(&shop, &id, at, accepted(1))], applied).unwrap();
    };
    // As it happened, then twice more, so that each site has its turn.
    for at in [first, first + MINUTE, year, week] {
        tell(at, Millis(at));
    }
    let sum = |bucket: Bucket| {
        let series = store.timeseries(Some(&shop), range(first, first + 2 * MINUTE), bucket, &METRICS).unwrap();
        series.series[&Metric::Messages].iter().flatten().sum::<u64>()
    };
    for later in 0..6 {
        tell(now.0, Millis(now.0 + later));
    }
    assert_eq!((sum(Bucket::Minute), sum(Bucket::Hour), sum(Bucket::Day)), (0, 0, 2));
    let count = |bucket: Bucket, at: i64| {
        let series = store.timeseries(None, range(at, at + 1), bucket, &METRICS).unwrap();
        series.series[&Metric::Messages][0].unwrap()
    };
    assert_eq!((count(Bucket::Minute, year), count(Bucket::Hour, year), count(Bucket::Day, year)), (0, 1, 1));
    assert_eq!((count(Bucket::Minute, week), count(Bucket::Hour, week)), (1, 1));
    let pages = |from: i64| store.pages(Some(&shop), range(from, now.0 + DAY), 10).unwrap().pages[0].sessions;
    assert_eq!(pages(year + DAY), 7);
    assert!(pages(first) >= 9, "those of old days are counted in months");
    // What comes as late as this counts only where it is kept.
    tell(first, now);
    assert_eq!((sum(Bucket::Minute), sum(Bucket::Hour), sum(Bucket::Day)), (0, 0, 3));
}

#[test]
fn a_timeline_that_is_full_says_so() {
    let (store, noon, shop) = (Store::in_memory().unwrap(), noon(), site("shop"));
    let id = session(noon, 1);
    let facts: Vec<Fact> = (0..250).map(|n| told(&shop, &id, noon + n as i64, accepted(n))).collect();
    store.apply(&facts).unwrap();
    let detail = store.session(&shop, &id).unwrap().unwrap();
    assert_eq!((detail.row.messages, detail.timeline.len(), detail.timeline_cut), (250, 200, true));
    assert_eq!(store.take_left_out(), LeftOut { happenings: 50, ..LeftOut::default() });
    assert_eq!(store.take_left_out(), LeftOut::default());
}

#[test]
fn made_up_data_says_so() {
    let store = Store::in_memory().unwrap();
    assert!(!store.is_demo().unwrap());
    store.mark_demo().unwrap();
    assert!(store.is_demo().unwrap());
}
