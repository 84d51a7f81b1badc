//! Stories of the store: what it promises, whatever is killed or damaged.

use std::{
    io::{self, BufRead as _, BufReader},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
};

use protocol::{FactKind, FailureCode, FinishReason, MessageId};
use redb::{ReadableTableMetadata as _, StorageBackend};

use super::{tables::APPLIED, *};

/// Memory that survives its database, and fails as long as `broken` says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    memory: Arc<InMemoryBackend>,
    pub(crate) broken: Arc<AtomicBool>,
}

impl Disk {
    pub(crate) fn store(&self) -> Store {
        let disk = self.clone();
        Store::opened_by(REMEMBERED, move || Ok(redb::Builder::new().create_with_backend(disk.clone())?)).unwrap()
    }

    fn works(&self) -> io::Result<&InMemoryBackend> {
        let broken = self.broken.load(Ordering::Acquire);
        if broken { Err(io::ErrorKind::StorageFull.into()) } else { Ok(&self.memory) }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.works()?.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.works()?.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.works()?.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.works()?.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.works()?.write(offset, data)
    }
}

fn site() -> SiteId {
    SiteId::new("default").unwrap()
}

fn session() -> SessionId {
    SessionId::mint(1_767_168_909, 1)
}

fn message(n: usize) -> MessageId {
    MessageId::new(&format!("message-{n}")).unwrap()
}

pub(crate) fn accepted(n: usize) -> Fact {
    Fact::now(&site(), &session(), FactKind::MessageAccepted { message_id: message(n), chars: 3 })
}

fn ended(n: usize) -> Fact {
    let kind = FactKind::ReplyEnded {
        message_id: message(n),
        chunks: 2,
        finish_reason: FinishReason::Stop,
        first_chunk_ms: Some(20),
        duration_ms: 90,
    };
    Fact::now(&site(), &session(), kind)
}

fn failed(n: usize) -> Fact {
    let kind =
        FactKind::ReplyFailed { message_id: message(n), chunks: 0, code: FailureCode::Interrupted, duration_ms: 90 };
    Fact::now(&site(), &session(), kind)
}

pub(crate) fn messages(store: &Store) -> u64 {
    store.session(&site(), &session()).unwrap().map_or(0, |detail| detail.row.messages)
}

fn remembered(store: &Store) -> u64 {
    let reader = store.database().unwrap().begin_read().unwrap();
    reader.open_table(APPLIED).unwrap().len().unwrap()
}

/// All that was ever counted.
fn sum(store: &Store, site: Option<&SiteId>) -> Summary {
    store.summary(site, Range { from: Millis(0), until: Millis::now().after(Duration::from_secs(86_400)) }).unwrap()
}

#[test]
fn a_fact_is_applied_once() {
    use Outcome::{Applied, Repeated};
    let store = Store::in_memory().unwrap();
    assert_eq!(store.apply(&[accepted(1), accepted(1), ended(1)]).unwrap(), [Applied, Repeated, Applied]);
    assert_eq!(store.apply(&[ended(1), accepted(2)]).unwrap(), [Repeated, Applied]);
    assert_eq!(store.apply(&[]).unwrap(), []);
    let row = store.session(&site(), &session()).unwrap().unwrap().row;
    assert_eq!((row.messages, row.ended, row.chunks), (2, 1, 2));
}

#[test]
fn an_ended_session_has_no_row_and_gets_none_again() {
    let row = |store: &Store| store.session(&site(), &session()).unwrap();
    let counted = |store: &Store| {
        let sum = sum(store, Some(&site()));
        (sum.sessions, sum.messages, sum.ended)
    };
    let end = || Fact::now(&site(), &session(), FactKind::SessionEnded);
    let store = Store::in_memory().unwrap();
    store.apply(&[accepted(1)]).unwrap();
    assert!(row(&store).is_some());
    assert_eq!(store.apply(&[end()]).unwrap(), [Outcome::Applied]);
    assert_eq!(row(&store), None);
    // The end of its last reply is told by a worker, and comes late.
    assert_eq!(store.apply(&[ended(1), end()]).unwrap(), [Outcome::Applied, Outcome::Repeated]);
    assert_eq!((row(&store), counted(&store)), (None, (1, 1, 1)));

    let store = Store::in_memory().unwrap();
    store.apply(&[accepted(1), end(), ended(1)]).unwrap();
    assert_eq!((row(&store), counted(&store)), (None, (1, 1, 1)), "the same in one batch");
    let store = Store::in_memory().unwrap();
    store.apply(&[end(), accepted(1)]).unwrap();
    store.apply(&[ended(1)]).unwrap();
    assert_eq!((row(&store), counted(&store)), (None, (1, 1, 1)), "and when the end is told first");
}

/// Who was erased and goes on talking stays erased for as long as that takes.
#[test]
fn an_erased_session_that_goes_on_talking_gets_no_row() {
    let check = |store: &Store, step: Duration, erase: &dyn Fn(&Store, Millis)| {
        let mut now = Millis(1_767_168_909_000);
        store.apply_at(&[accepted(0)], now).unwrap();
        erase(store, now);
        for n in 1..6 {
            now = now.after(step);
            // What is forgotten is so in small steps.
            (0..3).for_each(|_| drop(store.apply_at(&[], now).unwrap()));
            store.apply_at(&[accepted(n)], now).unwrap();
            assert_eq!(store.session(&site(), &session()).unwrap(), None, "{n}");
        }
    };
    let end = |store: &Store, now| {
        store.apply_at(&[Fact::now(&site(), &session(), FactKind::SessionEnded)], now).unwrap();
    };
    check(&Disk::default().store(), REMEMBERED - Duration::from_secs(3600), &end);
    check(&Store::in_memory().unwrap(), REMEMBERED_IN_MEMORY - Duration::from_secs(120), &end);
}

/// In memory: a reply that takes as long as one may is one message, also when nobody tells of others meanwhile.
#[test]
fn the_end_of_a_long_reply_is_no_second_message() {
    let (store, began) = (Store::in_memory().unwrap(), Millis(1_767_168_909_000));
    store.apply_at(&[accepted(1)], began).unwrap();
    let later = began.after(bus::LONGEST_RUN);
    (0..3).for_each(|_| drop(store.apply_at(&[], later).unwrap()));
    store.apply_at(&[ended(1)], later).unwrap();
    assert_eq!(messages(&store), 1);
}

/// With too many facts in a short time memory remembers them for a shorter one.
#[test]
fn memory_remembers_a_number_of_facts() {
    let (store, disk) = (Store::in_memory().unwrap(), Disk::default().store());
    let began = Millis(1_767_168_909_000);
    for store in [&store, &disk] {
        store.apply_at(&(0..1_500).map(accepted).collect::<Vec<_>>(), began).unwrap();
        let later = began.after(Duration::from_secs(1_200));
        for _ in 0..30 {
            store.apply_at(&[], later).unwrap();
        }
    }
    assert!((900..=1_000).contains(&remembered(&store)), "{}", remembered(&store));
    assert_eq!(remembered(&disk), 1_500, "a file has room for a week");
}

/// A process that was taken over makes up sites: there is room for so many, and those that are there go on.
#[test]
fn sites_are_bounded() {
    let store = Store::in_memory().unwrap();
    store.apply(&[accepted(1)]).unwrap();
    let of = |n: u64| {
        let site = SiteId::new(&format!("made-up-{n}")).unwrap();
        Fact::now(&site, &SessionId::mint(1_767_168_909, n), FactKind::SessionStarted(protocol::Visit::default()))
    };
    let most = apply::MAX_SITES;
    for from in (1..most).step_by(1_000) {
        let outcomes = store.apply(&(from..(from + 1_000).min(most)).map(of).collect::<Vec<_>>()).unwrap();
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Applied));
    }
    assert_eq!(store.take_left_out(), LeftOut::default());
    let facts = [of(most), accepted(2), of(most + 1), of(most), of(1)];
    use Outcome::{Applied, Repeated, Unknown};
    assert_eq!(store.apply(&facts).unwrap(), [Unknown, Applied, Unknown, Unknown, Repeated]);
    assert_eq!(store.take_left_out(), LeftOut { sites: 3, ..LeftOut::default() });
    assert_eq!((store.sites().unwrap().len() as u64, messages(&store)), (most, 2));
    assert_eq!(sum(&store, None).sessions, most);
}

const FILE: &str = "FRONTDESK_TEST_STORE";
const FIRST: &str = "FRONTDESK_TEST_FIRST";

/// What the next test runs in a process of its own, and kills.
#[test]
#[ignore = "writes until it is killed"]
fn writes_until_it_is_killed() {
    let (Ok(file), Ok(first)) = (std::env::var(FILE), std::env::var(FIRST)) else { return };
    let store = Store::open(Path::new(&file)).unwrap();
    for n in first.parse::<usize>().unwrap().. {
        store.apply(&[accepted(n)]).unwrap();
        println!("applied {n}");
    }
}

/// kill -9 at any moment of a write: the file opens, what was acknowledged is there, and what is delivered again is
/// not counted again.
#[test]
fn a_killed_writer_loses_nothing_and_counts_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("facts.redb");
    // How many facts were acknowledged, from 0 on.
    let mut known = 0_usize;
    for round in 0..200 {
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", "store::tests::writes_until_it_is_killed"])
            .env(FILE, &file)
            .env(FIRST, known.saturating_sub(3).to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut told = |line: String| {
            let n = line.rsplit_once("applied ").and_then(|(_, n)| n.parse::<usize>().ok());
            known = n.map_or(known, |n| known.max(n + 1));
            n.is_some()
        };
        // Not after the same number each time, so that the kill meets another place in the file.
        let enough = 4 + round % 17;
        assert_eq!(lines.by_ref().filter(|line| told(line.clone())).take(enough).count(), enough);
        writer.kill().unwrap();
        for line in lines {
            told(line);
        }
        writer.wait().unwrap();
        let row = Store::open(&file).unwrap().session(&site(), &session()).unwrap().unwrap().row;
        let counted = usize::try_from(row.messages).unwrap();
        // One more may be on the disk whose acknowledgement was never heard.
        assert!((known..=known + 1).contains(&counted), "{counted} of {known}");
    }
    assert!(known >= 200, "{known}");
}

const READ: &str = "FRONTDESK_TEST_READ";

/// What the next test runs in a process of its own, because a damaged file may end it.
#[test]
#[ignore = "reads what it is told to"]
fn opens_and_counts() {
    let Ok(file) = std::env::var(READ) else { return };
    match Store::open(Path::new(&file)) {
        Ok(store) => {
            let more = store.apply(&[accepted(1_000_000)]);
            println!("\nopened: {} {}", messages(&store), more.is_ok());
        }
        Err(error) => println!("\nrefused: {error}"),
    }
}

/// The end of the file is torn off, or holds something else: either all that was acknowledged is there, or the file is
/// refused in words, and left as it is.
#[test]
fn a_damaged_file_is_whole_or_refused() {
    const FACTS: usize = 300;
    let folder = tempfile::tempdir().unwrap();
    let (good, bad) = (folder.path().join("good.redb"), folder.path().join("bad.redb"));
    let store = Store::open(&good).unwrap();
    for n in 0..FACTS {
        store.apply(&[accepted(n)]).unwrap();
    }
    // As a kill leaves it: not closed.
    let whole = std::fs::read(&good).unwrap();
    drop(store);
    let (mut opened, mut refused) = (0, 0);
    for round in 0..60_usize {
        let mut damaged = whole.clone();
        let at = whole.len() - (1 + round / 2) * whole.len() / 31;
        match round % 2 {
            0 => damaged.truncate(at),
            _ => damaged[at..].iter_mut().take(4096).for_each(|byte| *byte ^= 0x5a),
        }
        std::fs::write(&bad, &damaged).unwrap();
        let read = || {
            let reader = Command::new(std::env::current_exe().unwrap())
                .args(["--ignored", "--exact", "--nocapture", "store::tests::opens_and_counts"])
                .env(READ, &bad)
                .output()
                .unwrap();
            String::from_utf8_lossy(&reader.stdout).into_owned() + &String::from_utf8_lossy(&reader.stderr)
        };
        let said = read();
        if said.contains(&format!("opened: {} true", FACTS + 1)) {
            opened += 1;
        } else {
            for said in [said, read()] {
                assert!(said.contains("refused: ") && said.contains("is damaged and was left as it is"), "{said}");
            }
            let left = std::fs::read(&bad).unwrap();
            let same = left.iter().zip(&damaged).filter(|(left, damaged)| left == damaged).count();
            assert!(same + 4096 >= damaged.len(), "all but its head is as it was: {same} of {}", damaged.len());
            refused += 1;
        }
    }
    assert!(opened > 0 && refused > 0, "{opened} opened, {refused} refused");
    println!("{opened} opened, {refused} refused");
}

/// An edge that died told nothing, or tells late; either way each message was accepted once.
#[test]
fn whose_end_is_told_was_accepted() {
    let store = Store::in_memory().unwrap();
    store.apply(&[ended(1), failed(2)]).unwrap();
    assert_eq!(messages(&store), 2);
    assert_eq!(store.apply(&[accepted(1), accepted(3)]).unwrap(), [Outcome::Applied; 2]);
    store.apply(&[ended(3)]).unwrap();
    assert_eq!(messages(&store), 3);
}

#[test]
fn of_an_end_and_a_failure_the_first_counts() {
    let store = Store::in_memory().unwrap();
    assert_eq!(store.apply(&[failed(1)]).unwrap(), [Outcome::Applied]);
    assert_eq!(store.apply(&[ended(1)]).unwrap(), [Outcome::Repeated]);
    let row = store.session(&site(), &session()).unwrap().unwrap().row;
    assert_eq!((row.ended, row.failed), (0, [("interrupted".to_owned(), 1)].into()));
}

#[test]
fn a_form_of_a_later_version_is_left_out() {
    let store = Store::in_memory().unwrap();
    let outcomes = store.apply(&[Fact { v: 2, ..accepted(1) }, accepted(2)]).unwrap();
    assert_eq!(outcomes, [Outcome::Unknown, Outcome::Applied]);
    assert_eq!(messages(&store), 1);
}

#[test]
fn each_site_has_its_totals() {
    let store = Store::in_memory().unwrap();
    let shoes = SiteId::new("shoes").unwrap();
    let other = SessionId::mint(1_767_168_909, 2);
    let elsewhere = FactKind::SessionStarted(protocol::Visit::default());
    store.apply(&[accepted(1), ended(1), Fact::now(&shoes, &other, elsewhere)]).unwrap();
    store
        .apply(&[accepted(2), Fact { session: Some(other.clone()), id: message_id_of(&other), ..accepted(3) }])
        .unwrap();
    assert_eq!(store.sites().unwrap(), [site(), shoes.clone()]);
    let counted = |site: Option<&SiteId>| (sum(&store, site).sessions, sum(&store, site).messages);
    assert_eq!(counted(Some(&site())), (2, 3));
    assert_eq!(counted(Some(&shoes)), (1, 0), "one id at two sites is two");
    assert_eq!(counted(None), (3, 3));
    assert_eq!(counted(Some(&SiteId::new("hats").unwrap())), (0, 0));
}

fn message_id_of(session: &SessionId) -> protocol::FactId {
    protocol::FactId::of(session, Some(&message(3)), "accepted")
}

#[test]
fn a_file_keeps_rows_and_ids() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("analytics.redb");
    Store::open(&path).unwrap().apply(&[accepted(1)]).unwrap();

    let store = Store::open(&path).unwrap();
    assert_eq!(store.apply(&[accepted(1), accepted(2)]).unwrap(), [Outcome::Repeated, Outcome::Applied]);
    assert_eq!(messages(&store), 2);
    assert!(matches!(Store::open(&path), Err(Error::InUse(_))), "one process at a time");
}

#[test]
fn a_start_that_was_killed_leaves_nothing_in_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("analytics.redb");
    // As redb leaves it: it writes what makes a file its own last.
    std::fs::write(copy::beside(&path), [0; 4096]).unwrap();
    let store = Store::open(&path).unwrap();
    assert_eq!(store.apply(&[accepted(1)]).unwrap(), [Outcome::Applied]);
    assert!(!copy::beside(&path).exists());
    drop(store);
    assert_eq!(messages(&Store::open(&path).unwrap()), 1);
}

#[test]
fn what_is_not_ours_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let newer = folder.path().join("newer.redb");
    let database = Database::create(&newer).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(META).unwrap().insert(SCHEMA_KEY, SCHEMA + 1).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let refused = Store::open(&newer).err().unwrap();
    assert_eq!(
        refused.to_string(),
        "the database has form 4, this version knows forms up to 3; start a newer Frontdesk, or another file"
    );

    let text = folder.path().join("notes.txt");
    std::fs::write(&text, "not a database").unwrap();
    assert!(matches!(Store::open(&text), Err(Error::Open { .. })));
    assert_eq!(std::fs::read(&text).unwrap(), b"not a database");
    assert!(matches!(Store::open(&folder.path().join("missing/a.redb")), Err(Error::Open { .. })));
}

#[test]
fn old_facts_are_forgotten_in_small_steps() {
    let store = Disk::default().store();
    let facts: Vec<Fact> = (0..300).map(accepted).collect();
    let began = Millis(1_767_168_909_000);
    let after = |time: Duration| began.after(time);
    // Of another session, so that it can't be told from the first one's by when it began.
    let more = |n: u64| {
        let id = SessionId::mint(session().began() + 8 * 86_400, n);
        Fact::now(&site(), &id, FactKind::SessionStarted(protocol::Visit::default()))
    };
    store.apply_at(&facts, began).unwrap();
    store.apply_at(&[accepted(0)], after(REMEMBERED)).unwrap();
    assert_eq!(remembered(&store), 300, "a week old is not too old");
    // The fact that came again is as young as that.
    let later = after(REMEMBERED + Duration::from_secs(60));
    store.apply_at(&[more(0)], later).unwrap();
    assert!((199..=200).contains(&remembered(&store)), "a small step: {}", remembered(&store));
    for n in 1..5 {
        store.apply_at(&[more(n)], later).unwrap();
    }
    assert_eq!(remembered(&store), 6, "the new ones, and the one that came again");
    assert_eq!(messages(&store), 300, "the rows stay");
}

/// The disk was full for longer than facts are remembered, or analytics was away: what had been applied before, and not
/// acknowledged, comes again first, and is known.
#[test]
fn what_comes_again_behind_a_long_outage_counts_once() {
    let store = Disk::default().store();
    let began = Millis(1_767_168_909_000);
    store.apply_at(&[accepted(1), ended(1)], began).unwrap();
    let later = began.after(REMEMBERED + Duration::from_secs(3600));
    assert_eq!(store.apply_at(&[accepted(1), ended(1)], later).unwrap(), [Outcome::Repeated; 2]);
    assert_eq!(messages(&store), 1);
}

#[test]
fn a_batch_that_fails_leaves_nothing_and_the_next_call_heals() {
    let disk = Disk::default();
    let store = disk.store();
    store.apply(&[accepted(1)]).unwrap();
    disk.broken.store(true, Ordering::Release);
    assert!(store.apply(&[accepted(2), accepted(3)]).is_err());
    assert!(store.apply(&[accepted(2), accepted(3)]).is_err());
    disk.broken.store(false, Ordering::Release);
    assert_eq!(messages(&store), 1);
    assert_eq!(store.apply(&[accepted(2), accepted(3)]).unwrap(), [Outcome::Applied; 2]);
    assert_eq!(messages(&store), 3);
}

/// The file that a version with form 1 made, which told of 120 sessions at two sites.
const FORM_1: &[u8] = include_bytes!("../../tests/fixtures/schema-1.redb");

fn of_form_1(folder: &Path) -> PathBuf {
    let path = folder.join("form-1.redb");
    std::fs::write(&path, FORM_1).unwrap();
    path
}

/// The n-th session in it.
fn session_of_form_1(n: u64) -> SessionId {
    SessionId::mint(1_767_168_000 + n * 1_800, 0x0123_4567_89ab_0000 + n)
}

fn check_form_1(store: &Store) {
    let shoes = SiteId::new("shoes").unwrap();
    let check = |site: &SiteId, expected: (u64, u64, u64, u64, u64)| {
        let sum = sum(store, Some(site));
        assert_eq!((sum.sessions, sum.messages, sum.ended, sum.chunks, sum.duration_ms.count), expected, "{site}");
    };
    check(&site(), (90, 90, 90, 360, 90));
    check(&shoes, (30, 90, 60, 270, 90));
    assert_eq!(sum(store, None).failed, [("queue_timeout".to_owned(), 30)].into());
    assert_eq!(sum(store, Some(&site())).first_chunk_ms.p50, Some(204), "200 to a few per cent");

    // Every third session of the shoes was ended by its visitor.
    let ever = Range { from: Millis(0), until: Millis(1_800_000_000_000) };
    let rows = store.sessions(None, ever, &Filter::default(), None, 1_000).unwrap().sessions;
    assert_eq!((rows.len(), rows.iter().filter(|row| row.site == shoes).count()), (110, 20));
    assert_eq!(rows[0].id, session_of_form_1(118), "the newest first, of which the visitor of the 119th is gone");
    let detail = store.session(&site(), &session_of_form_1(2)).unwrap().unwrap();
    assert!(detail.timeline_cut && detail.timeline.is_empty());
    let row = detail.row;
    assert_eq!((row.started, row.last_seen), (Millis(1_767_171_600_250), Millis(1_767_171_615_250)));
    assert_eq!((row.page_path.as_deref(), row.locale.as_deref()), (Some("/page-2"), Some("de")));
    assert_eq!((row.messages, row.ended, row.first_chunk_ms, row.duration_ms), (2, 2, Some(200), Some(1_500)));
    let pages = store.pages(None, ever, 10).unwrap();
    assert_eq!(pages.pages.iter().map(|page| page.sessions).sum::<u64>(), 110);

    // What was applied is not applied again, and who was only known to be accepted is told of now.
    let accepted = |n: u64| {
        let kind = FactKind::MessageAccepted { message_id: message(0), chars: 3 };
        Fact { at: Millis(1_767_399_000_000), ..Fact::now(&site(), &session_of_form_1(n), kind) }
    };
    let facts = [accepted(1), accepted(9), accepted(9)];
    let outcomes = store.apply_at(&facts, Millis(1_767_400_000_000)).unwrap();
    assert_eq!(outcomes, [Outcome::Repeated, Outcome::Applied, Outcome::Repeated]);
    check(&site(), (90, 90, 90, 360, 90));
}

#[test]
fn a_file_of_form_1_is_brought_to_the_present_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = of_form_1(folder.path());
    let store = Store::open(&path).unwrap();
    check_form_1(&store);
    assert!(store.kept().unwrap().rewrite_by.is_some_and(|by| by <= Millis::now().after(care::ERASED_WAITS)));
    drop(store);
    assert_eq!(Store::open(&path).unwrap().sites().unwrap().len(), 2, "and opens as such");
    let database = open(&path).unwrap();
    let reader = database.begin_read().unwrap();
    let tables: Vec<String> =
        reader.list_tables().unwrap().map(|table| redb::TableHandle::name(&table).to_owned()).collect();
    let mut known = Vec::new();
    each_table!(|table| known.push(redb::TableHandle::name(&table).to_owned()));
    known.sort();
    assert_eq!(tables, known, "nothing else is left");
}

/// The process dies when a part is done. The next one goes on, and an older version takes the rest for nothing whole.
#[test]
fn a_migration_that_broke_off_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = of_form_1(folder.path());
    let database = open(&path).unwrap();
    migrate::begin_migration(&database).unwrap();
    assert!(migrate::sessions(&database, Millis::now()).unwrap() < 110, "a part");
    let meta = database.begin_read().unwrap().open_table(META).unwrap();
    assert_eq!(meta.get(SCHEMA_KEY).unwrap().unwrap().value(), SCHEMA);
    drop((meta, database));
    check_form_1(&Store::open(&path).unwrap());
}
