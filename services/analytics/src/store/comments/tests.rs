use protocol::{Comment, Fact, FactKind, SessionId, Visit};

use super::{super::*, *};
use crate::{query::Filter, store::timeline::MAX_COMMENTS};

const BEGAN: u64 = 1_767_168_909;
const NOW: Millis = Millis(1_767_200_000_000);

fn site(name: &str) -> SiteId {
    SiteId::new(name).unwrap()
}

fn session(n: u64) -> SessionId {
    SessionId::mint(BEGAN + n, 0x5eb1_a0d0_c0ff_ee00 + n)
}

/// The n-th message, rated so many ms after its session began.
fn rated(of: &str, session: &SessionId, n: usize, after: i64, rating: Rating, comment: Option<&str>) -> Fact {
    let at = Millis(i64::try_from(session.began()).unwrap() * 1_000 + after);
    let message_id = MessageId::new(&format!("message-{n}")).unwrap();
    let comment = comment.map(|text| Comment(text.to_owned()));
    Fact::at(&site(of), session, at, FactKind::ReplyRated { message_id, rating, comment })
}

fn ever() -> Range {
    Range { from: Millis(0), until: Millis(i64::MAX) }
}

/// Site, session's place and text of all that a list has, page by page.
fn listed(store: &Store, of: Option<&str>, rating: Option<Rating>, limit: usize) -> Vec<String> {
    let (site, mut all, mut after) = (of.map(site), Vec::new(), None);
    loop {
        let page = store.comments(site.as_ref(), ever(), rating, after.as_ref(), limit).unwrap();
        assert!(page.comments.len() <= limit);
        all.extend(page.comments.into_iter().map(|row| format!("{} {}", row.site, row.comment.0)));
        after = page.next;
        if after.is_none() {
            return all;
        }
    }
}

#[test]
fn comments_are_listed_newest_first_and_page_by_page() {
    let store = Store::in_memory().unwrap();
    let visit = Visit { page_path: Some("/lamps".into()), ..Visit::default() };
    let started = Fact::at(&site("shoes"), &session(1), NOW, FactKind::SessionStarted(visit));
    let facts = [
        started,
        rated("shoes", &session(1), 1, 5_000, Rating::Up, Some("first")),
        rated("hats", &session(2), 1, 6_000, Rating::Down, Some("third")),
        rated("shoes", &session(1), 2, 6_500, Rating::Down, Some("second")),
        rated("shoes", &session(3), 1, 9_000, Rating::Up, None),
        // Of one moment.
        rated("hats", &session(4), 1, 9_000, Rating::Up, Some("of one moment")),
        rated("hats", &session(4), 2, 9_000, Rating::Up, Some("and its other message")),
    ];
    store.apply_at(&facts, NOW).unwrap();
    let all = ["hats and its other message", "hats of one moment", "hats third", "shoes second", "shoes first"];
    for limit in 1..7 {
        assert_eq!(listed(&store, None, None, limit), all, "{limit}");
        assert_eq!(listed(&store, Some("shoes"), None, limit), all[3..], "{limit}");
        assert_eq!(listed(&store, None, Some(Rating::Down), limit), all[2..4], "{limit}");
    }
    assert_eq!(listed(&store, Some("nobody"), None, 9), [""; 0]);
    let began = i64::try_from(BEGAN * 1_000).unwrap();
    let range = Range { from: Millis(began + 6_001), until: Millis(began + 8_000) };
    let page = store.comments(None, range, None, None, 9).unwrap();
    let row = &page.comments[0];
    assert_eq!((page.comments.len(), row.comment.0.as_str(), row.rating), (1, "second", Rating::Down));
    assert_eq!((row.at, row.page_path.as_deref()), (Millis(began + 7_500), Some("/lamps")));
    assert_eq!((&row.session, row.message_id.as_str()), (&session(1), "message-2"));
    let detail = store.session(&site("shoes"), &session(1)).unwrap().unwrap();
    let said: Vec<_> = detail
        .timeline
        .iter()
        .filter_map(|happening| happening.comment.as_ref().map(|comment| comment.0.as_str()))
        .collect();
    assert_eq!(said, ["first", "second"]);
    let logged = format!("{page:?} {detail:?}");
    assert!(!logged.contains("\"first") && !logged.contains("\"second"), "no words of a visitor in a log: {logged}");
}

/// Of several words about one reply the latest counts, with its comment or without one, in whatever order they come.
#[test]
fn the_latest_word_counts_with_its_comment() {
    let words = [
        rated("shoes", &session(1), 1, 1_000, Rating::Up, Some("good")),
        rated("shoes", &session(1), 1, 2_000, Rating::Down, Some("no, bad")),
        rated("shoes", &session(1), 1, 3_000, Rating::Down, None),
    ];
    let check = |order: &[usize], expected: &[&str]| {
        for together in [true, false] {
            let store = Store::in_memory().unwrap();
            let facts: Vec<Fact> = order.iter().map(|n| words[*n].clone()).collect();
            for batch in facts.chunks(if together { 9 } else { 1 }) {
                store.apply_at(batch, NOW).unwrap();
            }
            assert_eq!(listed(&store, None, None, 9), expected, "{order:?} {together}");
            assert_eq!(store.apply_at(&facts, NOW).unwrap(), vec![Outcome::Repeated; facts.len()]);
            assert_eq!(listed(&store, None, None, 9), expected, "{order:?} again");
        }
    };
    check(&[0], &["shoes good"]);
    check(&[0, 1], &["shoes no, bad"]);
    check(&[1, 0], &["shoes no, bad"]);
    check(&[0, 1, 2], &[]);
    check(&[2, 0, 1], &[]);
}

/// A session keeps so many, and so much of each; what is beyond is counted and its rating all the same.
#[test]
fn a_session_keeps_a_bounded_number_of_comments() {
    let store = Store::in_memory().unwrap();
    let most = MAX_COMMENTS;
    let facts: Vec<Fact> = (0..most + 5)
        .map(|n| rated("shoes", &session(1), n, n as i64, Rating::Up, Some(&"ä".repeat(MAX_TEXT))))
        .collect();
    store.apply_at(&facts, NOW).unwrap();
    let page = store.comments(None, ever(), None, None, 99).unwrap();
    assert_eq!(page.comments.len(), most);
    assert!(page.comments.iter().all(|row| row.comment.0 == "ä".repeat(MAX_TEXT / 2)));
    let row = store.sessions(None, ever(), &Filter::default(), None, 9).unwrap().sessions.remove(0);
    assert_eq!(row.rated_up, most as u64 + 5);
    assert_eq!(store.take_left_out(), LeftOut { comments: 5, ..LeftOut::default() });
    // One that comes in the place of another needs no room, and one that goes makes some.
    store.apply_at(&[rated("shoes", &session(1), 0, 500, Rating::Down, Some("other"))], NOW).unwrap();
    store.apply_at(&[rated("shoes", &session(1), 1, 500, Rating::Down, None)], NOW).unwrap();
    store.apply_at(&[rated("shoes", &session(1), most, 500, Rating::Down, Some("late"))], NOW).unwrap();
    let said = store.comments(None, ever(), Some(Rating::Down), None, 99).unwrap().comments;
    assert_eq!(said.iter().map(|row| row.comment.0.as_str()).collect::<Vec<_>>(), ["late", "other"]);
    assert_eq!(store.take_left_out(), LeftOut::default());
}

#[test]
fn a_key_tells_its_session_and_a_damaged_one_nothing() {
    let of = session_key(7, &session(3));
    let message = MessageId::new("message-1").unwrap();
    let key = key(&of, Millis(5), &message);
    assert_eq!(place(&key), Ok((of, Millis(5), message)));
    for bad in [&key[..0], &key[..HEAD], &key[..HEAD + 2], &[255; 40]] {
        assert_eq!(place(bad), Err(Malformed), "{bad:?}");
    }
    assert!(read(&[9, 1, 0]).is_err() && read(&write(Rating::Up, "ab")[..3]).is_err());
}

/// What a version without comments wrote is as it was, and takes them from now on.
#[test]
fn a_file_without_comments_is_brought_to_the_present_form() {
    const FORM_2: &[u8] = include_bytes!("../../../tests/fixtures/schema-2.redb");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("form-2.redb");
    std::fs::write(&path, FORM_2).unwrap();
    assert!(matches!(Store::open_untouched(&path), Err(Error::Older { found: 2, .. })));
    assert_eq!((check(&path).unwrap().form, check(&path).unwrap().rows.len()), (2, 0));

    let store = Store::open(&path).unwrap();
    let sum = store.summary(None, ever()).unwrap();
    assert_eq!((sum.sessions, sum.messages, sum.rated_up, sum.rated_down), (30, 30, 15, 15));
    let old = SessionId::mint(1_767_168_000, 0x0123_4567_89ab_0000);
    let detail = store.session(&site("shoes"), &old).unwrap().unwrap();
    assert_eq!((detail.row.rated_up, detail.timeline.len(), detail.timeline_cut), (1, 4, false));
    assert!(detail.timeline.iter().all(|happening| happening.comment.is_none()));
    assert_eq!(listed(&store, None, None, 9), [""; 0]);
    // Another word about a reply that was rated then.
    let again = rated("shoes", &old, 0, 60_000, Rating::Down, Some("not so helpful after all"));
    let FactKind::ReplyRated { rating, comment, .. } = again.kind else { unreachable!() };
    let message_id = detail.timeline[1].message_id.clone().unwrap();
    let again = Fact::at(&site("shoes"), &old, again.at, FactKind::ReplyRated { message_id, rating, comment });
    store.apply_at(&[again], NOW).unwrap();
    let sum = store.summary(None, ever()).unwrap();
    assert_eq!((sum.rated_up, sum.rated_down), (14, 16));
    assert_eq!(listed(&store, Some("shoes"), None, 9), ["shoes not so helpful after all"]);
    drop(store);
    let checked = check(&path).unwrap();
    assert_eq!((checked.form, checked.rows["comments"], checked.rows["session_rows"]), (tables::SCHEMA, 1, 30));
    assert_eq!(listed(&Store::open(&path).unwrap(), None, None, 9).len(), 1, "and opens as such");
}

#[test]
fn a_file_in_which_comments_and_ratings_differ_is_not_sound() {
    let spoilt = |spoil: &dyn Fn(&WriteTransaction)| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("facts.redb");
        let store = Store::open(&path).unwrap();
        store.apply_at(&[rated("shoes", &session(1), 1, 5, Rating::Up, Some("zebra"))], NOW).unwrap();
        store
            .write(|transaction| {
                spoil(transaction);
                Ok(())
            })
            .unwrap();
        drop(store);
        check(&path).err().map(|error| error.to_string())
    };
    assert_eq!(spoilt(&|_| ()), None);
    let gone = spoilt(&|all| drop(all.open_table(COMMENTS).unwrap().pop_first().map(drop)));
    assert!(gone.unwrap().contains("is not there"));
    let more = spoilt(&|all| {
        all.open_table(COMMENTS).unwrap().insert([1; 40].as_slice(), [1].as_slice()).map(drop).unwrap();
    });
    assert!(more.unwrap().contains("comments of no session"));
}
