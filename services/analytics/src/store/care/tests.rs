use std::path::Path;

use protocol::{Comment, Device, FactKind, FinishReason, MessageId, Rating, Visit};

use super::{
    super::{Outcome, REMEMBERED},
    *,
};
use crate::query::{Filter, Range};

const CUSTOMER: &str = "customer-7";
const DAY: Duration = Duration::from_secs(24 * 3600);

fn site() -> SiteId {
    SiteId::new("shoes").unwrap()
}

fn hash() -> String {
    runtime::customer::hash("shoes", CUSTOMER)
}

/// A session that began so long ago. Its random part is found in a file if anything of it is.
fn session(n: u64, age: Duration) -> SessionId {
    let began = Millis::now().0 / 1_000 - i64::try_from(age.as_secs()).unwrap();
    SessionId::mint(u64::try_from(began).unwrap(), 0x5eb1_a0d0_c0ff_ee00 + n)
}

fn path(n: u64) -> String {
    format!("/unheard-of/page-{n}")
}

fn message(n: u64) -> MessageId {
    MessageId::new(&format!("unheard-of-message-{n}")).unwrap()
}

fn comment(n: u64) -> Comment {
    Comment(format!("A word to the shop, number {n}."))
}

fn at(session: &SessionId, kind: FactKind) -> Fact {
    let began = i64::try_from(session.began() * 1_000).unwrap();
    Fact { at: Millis(began), ..Fact::now(&site(), session, kind) }
}

fn started(session: &SessionId, n: u64) -> Fact {
    let visit = Visit {
        page_path: Some(path(n)),
        locale: Some("rm-CH".into()),
        device: Some(Device::Phone),
        customer: Some(hash()),
        ..Visit::default()
    };
    at(session, FactKind::SessionStarted(visit))
}

fn ended(session: &SessionId, n: u64) -> Fact {
    let finish_reason = FinishReason::Stop;
    let kind = FactKind::ReplyEnded {
        message_id: message(n),
        chunks: 2,
        finish_reason,
        first_chunk_ms: Some(20),
        duration_ms: 90,
    };
    at(session, kind)
}

/// All that is told of a session but its end.
fn story(session: &SessionId, n: u64) -> Vec<Fact> {
    vec![
        started(session, n),
        at(session, FactKind::MessageAccepted { message_id: message(n), chars: 3 }),
        ended(session, n),
        at(session, FactKind::ReplyRated { message_id: message(n), rating: Rating::Up, comment: Some(comment(n)) }),
    ]
}

fn end(session: &SessionId) -> Fact {
    Fact::now(&site(), session, FactKind::SessionEnded)
}

fn all() -> Range {
    Range { from: Millis(0), until: Millis::now().after(DAY) }
}

/// What is counted, and on how many pages, and how many sessions are listed.
fn counted(store: &Store) -> ([u64; 6], u64, usize) {
    let sum = store.summary(None, all()).unwrap();
    assert_eq!(store.summary(Some(&site()), all()).unwrap(), sum);
    let pages = store.pages(Some(&site()), all(), 100).unwrap();
    let on_pages = pages.other + pages.pages.iter().map(|page| page.sessions).sum::<u64>();
    let listed = store.sessions(None, all(), &Filter::default(), None, 500).unwrap().sessions.len();
    ([sum.sessions, sum.identified, sum.messages, sum.ended, sum.chunks, sum.rated_up], on_pages, listed)
}

/// Everything by which a session, or its customer, could be found in a file.
fn traces(session: &SessionId, n: u64) -> Vec<Vec<u8>> {
    let random = session.as_str().rsplit_once('_').unwrap().1;
    let customer = u128::from_str_radix(&hash(), 16).unwrap();
    vec![
        session.as_str().into(),
        random.into(),
        u64::from_str_radix(random, 16).unwrap().to_be_bytes().into(),
        u64::from_str_radix(random, 16).unwrap().to_le_bytes().into(),
        path(n).into(),
        "unheard-of".into(),
        message(n).as_str().into(),
        comment(n).0.into(),
        hash().into(),
        customer.to_be_bytes().into(),
        "rm-CH".into(),
    ]
}

fn found(file: &Path, traces: &[Vec<u8>]) -> Vec<String> {
    let bytes = std::fs::read(file).unwrap();
    let traces = traces.iter().filter(|trace| bytes.windows(trace.len()).any(|window| window == **trace));
    traces.map(|trace| String::from_utf8_lossy(trace).into_owned()).collect()
}

/// However a session is erased, after the next rewrite no byte of the file tells of it, and the sums are as they were.
#[test]
fn nothing_of_an_erased_session_is_left_in_the_file() {
    let check = |how: &str, erase: &dyn Fn(&Store, &SessionId)| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("facts.redb");
        let store = Store::open(&file).unwrap();
        let (gone, stays) = (session(1, DAY), session(2, 2 * DAY));
        let told = story(&gone, 1);
        store.apply(&told).unwrap();
        let other = FactKind::SessionStarted(Visit { page_path: Some("/shoes".into()), ..Visit::default() });
        store.apply(&[at(&stays, other)]).unwrap();
        let before = counted(&store);
        assert_eq!(before, ([2, 1, 1, 1, 2, 1], 2, 2), "{how}");
        let traces = traces(&gone, 1);
        assert!(found(&file, &traces).len() >= 4, "{how}: {:?}", found(&file, &traces));

        erase(&store, &gone);
        assert_eq!(store.session(&site(), &gone).unwrap(), None, "{how}");
        assert!(store.customer_sessions(&site(), &hash()).unwrap().is_empty(), "{how}");
        assert!(store.comments(None, all(), None, None, 9).unwrap().comments.is_empty(), "{how}");
        assert!(store.kept().unwrap().rewrite_by.is_some(), "{how}");
        store.rewrite().unwrap();
        assert_eq!(found(&file, &traces), Vec::<String>::new(), "{how}");
        assert_eq!(store.kept().unwrap().rewrite_by, None, "{how}");

        // What is told again, or late.
        let outcomes = store.apply(&[told, vec![ended(&gone, 9), end(&gone)]].concat()).unwrap();
        assert_eq!(outcomes[..5], [[Outcome::Repeated; 4].as_slice(), &[Outcome::Applied]].concat(), "{how}");
        let (counts, on_pages, listed) = counted(&store);
        assert_eq!((counts, on_pages, listed), ([2, 1, 2, 2, 4, 1], 2, 1), "{how}");
        drop(store);
        assert_eq!(found(&file, &traces), Vec::<String>::new(), "{how}: facts that came later");
        check_file(&file);
    };
    check("the session", &|store, session| {
        let erased = store.erase_session(&site(), session).unwrap();
        assert_eq!((&erased.sessions, erased.happenings, erased.comments), (&vec![session.clone()], 4, 1));
        assert_eq!(erased.index_entries, 1, "not live any more");
        assert!(erased.rewritten_by.unwrap() <= Millis::now().after(ERASED_WAITS));
        let again = store.erase_session(&site(), session).unwrap();
        assert_eq!((again.sessions.len(), again.rewritten_by), (0, erased.rewritten_by));
    });
    check("the customer", &|store, session| {
        let exported = store.export_customer(&site(), &hash()).unwrap();
        assert_eq!((&exported[0].row.id, exported[0].timeline.len(), exported.len()), (session, 4, 1));
        assert_eq!(exported[0].timeline[3].comment, Some(comment(1)));
        assert_eq!(store.erase_customer(&site(), &hash()).unwrap().sessions, std::slice::from_ref(session));
        assert!(store.erase_customer(&site(), "nobody").unwrap().sessions.is_empty());
    });
    check("by its visitor", &|store, session| {
        store.apply(&[end(session)]).unwrap();
    });
}

fn check_file(file: &Path) {
    super::super::check(file).unwrap();
}

/// A session whose whole life is told in one batch, or whose start is told behind its end, leaves no page behind.
#[test]
fn a_session_that_ends_in_its_first_batch_leaves_nothing() {
    let check = |batches: &[Vec<Fact>]| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("facts.redb");
        let store = Store::open(&file).unwrap();
        for batch in batches {
            store.apply(batch).unwrap();
        }
        assert_eq!(counted(&store), ([1, 1, 1, 1, 2, 1], 1, 0));
        drop(store);
        assert_eq!(found(&file, &traces(&session(1, DAY), 1)), Vec::<String>::new());
    };
    let (session, story) = (session(1, DAY), story(&session(1, DAY), 1));
    check(&[[story.clone(), vec![end(&session)]].concat()]);
    check(&[[vec![end(&session)], story.clone()].concat()]);
    check(&[vec![end(&session)], story]);
}

/// A page counts only sessions that are known; with the last one it is forgotten.
#[test]
fn a_page_is_forgotten_with_its_last_session() {
    let store = Store::in_memory().unwrap();
    let sessions: Vec<SessionId> = (0..3).map(|n| session(n, DAY)).collect();
    store.apply(&sessions.iter().map(|session| started(session, 1)).collect::<Vec<_>>()).unwrap();
    let pages = || {
        let pages = store.pages(Some(&site()), all(), 9).unwrap();
        (pages.pages.iter().map(|page| page.sessions).collect::<Vec<_>>(), pages.other)
    };
    store.apply(&[end(&sessions[0])]).unwrap();
    store.erase_session(&site(), &sessions[1]).unwrap();
    assert_eq!(pages(), (vec![1], 2));
    store.apply(&[end(&sessions[2])]).unwrap();
    assert_eq!(pages(), (vec![], 3));
    store.apply(&[started(&session(4, DAY), 1)]).unwrap();
    assert_eq!(pages(), (vec![1], 3));
}

/// Many sessions of one customer go in several transactions.
#[test]
fn a_customer_with_many_sessions_is_erased_whole() {
    let store = Store::in_memory().unwrap();
    let sessions: Vec<SessionId> = (0..130).map(|n| session(n, DAY)).collect();
    store.apply(&sessions.iter().map(|session| started(session, 1)).collect::<Vec<_>>()).unwrap();
    let erased = store.erase_customer(&site(), &hash()).unwrap();
    assert_eq!((erased.sessions.len(), erased.index_entries), (130, 130));
    assert_eq!(counted(&store), ([130, 130, 0, 0, 0, 0], 130, 0));
}

#[test]
fn the_file_is_rewritten_by_the_earliest_wish() {
    let store = Store::in_memory().unwrap();
    let by = || store.kept().unwrap().rewrite_by;
    let wish = |ms| {
        let wished = store.write(|transaction| rewrite_by(&mut transaction.open_table(META)?, Millis(ms)));
        (wished.unwrap(), by().unwrap())
    };
    assert_eq!(by(), None);
    assert_eq!(wish(500), (Millis(500), Millis(500)));
    assert_eq!(wish(900), (Millis(500), Millis(500)));
    assert_eq!(wish(300), (Millis(300), Millis(300)));
    let rewritten = store.rewrite().unwrap();
    assert_eq!((by(), store.kept().unwrap().rewritten_at), (None, Some(rewritten.at)));
}

/// Sessions go by when something last happened in them, site by site, in steps that look at no more rows than they may;
/// a step is one transaction.
#[test]
fn old_sessions_go_in_small_steps() {
    let store = Store::in_memory().unwrap();
    let sites = ["shoes", "hats"].map(|site| SiteId::new(site).unwrap());
    let mut facts = Vec::new();
    for (site, first) in sites.iter().zip([0, 1_000]) {
        for n in first..first + 100 {
            let age = if n < first + 60 { 91 * DAY } else { 89 * DAY };
            facts.push(Fact { site: site.clone(), ..started(&session(n, age), n) });
        }
        // Old, and one in which something happened today.
        let revived = session(first + 200, 95 * DAY);
        facts.push(Fact { site: site.clone(), ..started(&revived, 200) });
        let kind = FactKind::MessageAccepted { message_id: message(200), chars: 3 };
        facts.push(Fact { site: site.clone(), ..Fact::now(site, &revived, kind) });
    }
    let long_ago = Millis::now().after(DAY);
    store.apply_at(&facts, long_ago).unwrap();
    let listed = || store.sessions(None, all(), &Filter::default(), None, 500).unwrap().sessions.len();
    assert_eq!(listed(), 202);

    let now = Millis::now();
    let mut expiry = Expiry::of(Millis(now.0 - i64::try_from((90 * DAY).as_millis()).unwrap()));
    let (mut steps, mut removed) = (0, 0);
    while !expiry.is_over() {
        let rows = store.expire_at(&mut expiry, 7, now).unwrap().removed;
        assert!(rows <= 7, "{rows} in one step");
        (steps, removed) = (steps + 1, removed + rows);
    }
    assert_eq!((removed, listed()), (120, 82), "what is younger, and the one that was seen today");
    assert!((18..=20).contains(&steps), "{steps} steps of 7 for 122 old ones");
    assert_eq!(store.customer_sessions(&sites[0], &hash()).unwrap().len(), 41, "the index too");
    assert_eq!(store.kept().unwrap().rewrite_by, Some(now.after(EXPIRED_WAITS)));
    assert_eq!(store.summary(None, all()).unwrap().sessions, 202, "sums stay");

    // What is told again of an expired session, or late, brings no row and no second count.
    let again = &facts[0];
    let late = Fact { site: sites[0].clone(), ..ended(&session(0, 91 * DAY), 5) };
    assert_eq!(store.apply(&[again.clone(), late]).unwrap(), [Outcome::Repeated, Outcome::Applied]);
    let sum = store.summary(None, all()).unwrap();
    assert_eq!((sum.sessions, sum.ended, listed()), (202, 1, 82));

    let mut expiry = Expiry::of(Millis(0));
    assert_eq!(store.expire_at(&mut expiry, 1_000, now).unwrap(), Step::default());
    assert!(expiry.is_over());
    assert!(REMEMBERED < 90 * DAY);
}

/// A machine started with a clock that was a year ahead, and all sessions went. When the clock is set, those of today are
/// listed again, and the next that goes by its age puts the mark right.
#[test]
fn a_clock_that_was_ahead_hides_nothing() {
    let (store, now) = (Store::in_memory().unwrap(), Millis::now());
    let before = |now: Millis| Expiry::of(Millis(now.0 - i64::try_from((90 * DAY).as_millis()).unwrap()));
    let listed = || store.sessions(None, all(), &Filter::default(), None, 500).unwrap().sessions.len();
    store.apply(&[started(&session(1, DAY), 1)]).unwrap();
    let ahead = now.after(365 * DAY);
    assert_eq!(store.expire_at(&mut before(ahead), 16, ahead).unwrap().removed, 1);
    assert_eq!(listed(), 0);

    store.apply_at(&[started(&session(2, DAY), 2)], now).unwrap();
    assert_eq!(listed(), 1);
    store.apply_at(&[started(&session(3, 100 * DAY), 3)], now).unwrap();
    assert_eq!(store.expire_at(&mut before(now), 16, now).unwrap().removed, 1);
    let meta = store.database().unwrap().begin_read().unwrap().open_table(META).unwrap();
    let mark = meta.get(EXPIRED_KEY).unwrap().unwrap().value();
    assert_eq!(mark, u64::try_from(before(now).before.0).unwrap());
}

/// Between the look at what is old and the transaction that removes it something happens in one of the sessions.
#[test]
#[expect(clippy::disallowed_methods, reason = "no runtime here, and nothing tells that somebody waits for a lock")]
fn what_is_told_of_just_before_it_would_go_stays() {
    let store = Store::in_memory().unwrap();
    let (revived, old) = (session(1, 95 * DAY), session(2, 94 * DAY));
    store.apply(&[started(&revived, 1), started(&old, 2)]).unwrap();
    let now = Millis::now();
    let mut expiry = Expiry::of(Millis(now.0 - i64::try_from((90 * DAY).as_millis()).unwrap()));
    let alone = store.writing().unwrap();
    let step = std::thread::scope(|threads| {
        let step = threads.spawn(|| store.expire_at(&mut expiry, 16, now).unwrap());
        // Long enough for its look; it waits then.
        std::thread::sleep(Duration::from_millis(300));
        let kind = FactKind::MessageAccepted { message_id: message(1), chars: 3 };
        let facts = [Fact::now(&site(), &revived, kind)];
        let database = store.database().unwrap();
        super::super::apply::apply(&database, &facts, now, REMEMBERED).unwrap();
        drop(alone);
        step.join().unwrap()
    });
    assert_eq!(step.removed, 1);
    assert!(store.session(&site(), &revived).unwrap().is_some());
    assert_eq!(store.session(&site(), &old).unwrap(), None);
}

/// Who asks to be erased at once is: what is told of them afterwards makes no row, and what just went by its age is gone
/// from the file as soon.
#[test]
fn a_session_of_which_nothing_is_known_is_erased_all_the_same() {
    let (store, now) = (Store::in_memory().unwrap(), Millis::now());
    let (early, gone) = (session(1, DAY), session(2, 100 * DAY));
    let erased = store.erase_session(&site(), &early).unwrap();
    assert_eq!((erased.sessions.len(), erased.rewritten_by), (0, None), "nor is anything known of its site");
    store.apply(&story(&early, 1)).unwrap();
    assert_eq!(store.session(&site(), &early).unwrap(), None);

    store.apply(&[started(&gone, 2)]).unwrap();
    let mut expiry = Expiry::of(Millis(now.0 - i64::try_from((90 * DAY).as_millis()).unwrap()));
    assert_eq!(store.expire_at(&mut expiry, 16, now).unwrap().removed, 1);
    assert_eq!(store.kept().unwrap().rewrite_by, Some(now.after(EXPIRED_WAITS)));
    let soon = |by: Option<Millis>| by.is_some_and(|by| by <= Millis::now().after(ERASED_WAITS));
    assert!(soon(store.erase_session(&site(), &gone).unwrap().rewritten_by) && soon(store.kept().unwrap().rewrite_by));

    let store = Store::in_memory().unwrap();
    store.apply(&[started(&gone, 2)]).unwrap();
    let mut expiry = Expiry::of(Millis(now.0 - i64::try_from((90 * DAY).as_millis()).unwrap()));
    store.expire_at(&mut expiry, 16, now).unwrap();
    assert!(soon(store.erase_customer(&site(), &hash()).unwrap().rewritten_by));
}

/// One site's owner can't end a session at another one, or learn that it is there.
#[test]
fn an_erase_is_of_one_site() {
    let (store, theirs) = (Store::in_memory().unwrap(), session(1, DAY));
    store.apply(&[started(&theirs, 1)]).unwrap();
    let erased = store.erase_session(&SiteId::new("hats").unwrap(), &theirs).unwrap();
    assert_eq!((erased.sessions.len(), erased.happenings, erased.rewritten_by), (0, 0, None));
    assert_eq!(store.apply(&[end(&theirs)]).unwrap(), [Outcome::Applied]);
    assert_eq!(store.session(&site(), &theirs).unwrap(), None, "its visitor's end is still the first");
    assert_eq!(store.sites().unwrap(), [site()], "who asks makes no site");
}

/// An id that says 1970 counts when it was told of; its page goes with it whenever that is.
#[test]
fn the_page_of_an_impossible_session_goes_with_it() {
    let check = |erase: &dyn Fn(&Store, &SessionId)| {
        let (store, now) = (Store::in_memory().unwrap(), Millis::now());
        let odd = SessionId::mint(5, 7);
        let days_ago = |days: i64| Millis(now.0 - days * 86_400_000);
        // Its first word comes before its start.
        let accepted = FactKind::MessageAccepted { message_id: message(1), chars: 3 };
        store.apply_at(&[Fact { at: days_ago(5), ..Fact::now(&site(), &odd, accepted) }], days_ago(5)).unwrap();
        let start = Fact { at: days_ago(3), ..started(&odd, 1) };
        store.apply_at(&[start], days_ago(2)).unwrap();
        let pages = || {
            let pages = store.pages(Some(&site()), all(), 9).unwrap();
            (pages.pages.len(), pages.other)
        };
        assert_eq!(pages(), (1, 0));
        erase(&store, &odd);
        assert_eq!((store.session(&site(), &odd).unwrap(), pages()), (None, (0, 1)));
    };
    check(&|store, odd| drop(store.erase_session(&site(), odd).unwrap()));
    check(&|store, odd| drop(store.apply(&[end(odd)]).unwrap()));
}
