use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
};

use redb::TableHandle as _;

use super::{
    super::{
        check::{check, sidecar},
        tests::{accepted, messages},
    },
    *,
};

fn store() -> (tempfile::TempDir, PathBuf, Store) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("facts.redb");
    let store = Store::open(&path).unwrap();
    (folder, path, store)
}

fn applied(store: &Store, facts: std::ops::Range<usize>) {
    store.apply(&facts.map(accepted).collect::<Vec<_>>()).unwrap();
}

#[test]
fn every_table_is_copied() {
    let store = Store::in_memory().unwrap();
    let reader = store.database().unwrap().begin_read().unwrap();
    let mut there: Vec<String> = reader.list_tables().unwrap().map(|table| table.name().to_owned()).collect();
    there.sort();
    let mut copied = vec![];
    each_table!(|table| copied.push(table.name().to_owned()));
    copied.sort();
    assert_eq!(copied, there);
    assert_eq!(reader.list_multimap_tables().unwrap().count(), 0);
}

#[test]
fn a_copy_is_a_database_of_the_moment() {
    let (folder, _, store) = store();
    applied(&store, 0..300);
    let mut copied = store.copy().unwrap();
    applied(&store, 300..400);

    let kept = folder.path().join("kept.redb");
    io::copy(&mut copied.file, &mut File::create(&kept).unwrap()).unwrap();
    writeln!(File::create(sidecar(&kept)).unwrap(), "{}  kept.redb", copied.hex()).unwrap();
    let checked = check(&kept).unwrap();
    assert_eq!((checked.bytes, checked.compared, checked.sha256), (copied.bytes, true, copied.hex()));
    assert_eq!(checked.rows["facts"], 300);
    assert_eq!((messages(&Store::open(&kept).unwrap()), messages(&store)), (300, 400));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3, "nothing else is left");
}

#[test]
fn a_rewritten_file_is_smaller_and_goes_on() {
    let (folder, path, store) = store();
    for n in 0..100 {
        applied(&store, n * 20..n * 20 + 20);
    }
    let reader = store.database().unwrap();
    let before = store.bytes().unwrap();
    let rewritten = store.rewrite().unwrap();
    assert_eq!(rewritten.bytes_before, before);
    assert!(rewritten.bytes_after < before, "{rewritten:?}");
    applied(&store, 2_000..2_001);
    assert!(reader.begin_read().is_ok(), "who reads the old one goes on");
    drop((reader, store));
    assert_eq!(messages(&Store::open(&path).unwrap()), 2_001);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
}

/// Until the name of the file is on the disk nothing is acknowledged: after the start, which may have made it, and after
/// a rewrite whose folder could not be synced. A folder that is away stands for a disk that fails.
#[test]
fn nothing_is_acknowledged_before_the_folder_is_on_the_disk() {
    let above = tempfile::tempdir().unwrap();
    let (folder, away) = (above.path().join("here"), above.path().join("away"));
    fs::create_dir(&folder).unwrap();
    let store = Store::open(&folder.join("facts.redb")).unwrap();
    let check = |what: &str, n: usize| {
        fs::rename(&folder, &away).unwrap();
        for _ in 0..2 {
            assert!(matches!(store.apply(&[accepted(n)]), Err(Error::Io(_))), "{what}");
            assert!(matches!(store.mark_demo(), Err(Error::Io(_))), "{what}");
        }
        fs::rename(&away, &folder).unwrap();
        applied(&store, n..n + 1);
        assert_eq!(messages(&store), n as u64 + 1, "{what}");
        assert!(!store.copies.unsynced.load(Ordering::Acquire), "and it is not synced for each");
    };
    check("the start", 0);
    store.copies.unsynced.store(true, Ordering::Release);
    check("a rewrite", 1);
    store.rewrite().unwrap();
    assert!(!store.copies.unsynced.load(Ordering::Acquire));
    check_still_writes(&store, &folder, &away);
}

/// Where it is synced already, the folder is left alone.
fn check_still_writes(store: &Store, folder: &Path, away: &Path) {
    fs::rename(folder, away).unwrap();
    applied(store, 2..3);
    fs::rename(away, folder).unwrap();
}

/// A row with a long timeline lies in a page of its own, larger than others.
#[test]
fn long_sessions_are_live_bytes() {
    let (_folder, _, store) = store();
    for n in 0..100 {
        let facts = (0..200).map(|m| long(n, m)).collect::<Vec<_>>();
        store.apply(&facts).unwrap();
    }
    let rewritten = store.rewrite().unwrap();
    let live = store.live_bytes().unwrap();
    let file = rewritten.bytes_after;
    assert!(live <= file && live > file / 10 * 9, "{live} of {file}, which was just packed");
}

/// A message of a session that has many of them.
fn long(session: u64, message: u64) -> protocol::Fact {
    let message_id = protocol::MessageId::new(&format!("{session:08x}-0000-4000-8000-{message:012x}")).unwrap();
    let kind = protocol::FactKind::MessageAccepted { message_id, chars: 3 };
    let (site, id) = (protocol::SiteId::new("default").unwrap(), protocol::SessionId::mint(1_767_168_909, session));
    protocol::Fact::now(&site, &id, kind)
}

const FILE: &str = "FRONTDESK_TEST_REWRITTEN";
const FIRST: &str = "FRONTDESK_TEST_FIRST";

/// What the next test runs in a process of its own, and kills.
#[test]
#[ignore = "writes until it is killed"]
fn writes_and_rewrites_until_it_is_killed() {
    let (Ok(file), Ok(first)) = (std::env::var(FILE), std::env::var(FIRST)) else { return };
    let store = Store::open(Path::new(&file)).unwrap();
    std::thread::scope(|threads| {
        threads.spawn(|| {
            loop {
                store.rewrite().unwrap();
                println!("rewritten");
            }
        });
        for n in first.parse::<usize>().unwrap().. {
            store.apply(&[accepted(n)]).unwrap();
            println!("applied {n}");
        }
    });
}

/// kill -9 at any moment of a rewrite, while facts come: the file opens, and all that was acknowledged is in it, once.
#[test]
fn a_killed_rewrite_loses_nothing() {
    let (folder, file, store) = store();
    applied(&store, 0..2_000);
    drop(store);
    let (mut known, mut rewritten, mut left) = (2_000, 0, 0);
    for round in 0..100 {
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", "store::copy::tests::writes_and_rewrites_until_it_is_killed"])
            .env(FILE, &file)
            .env(FIRST, (known - 3).to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut told = |line: &str| {
            rewritten += u32::from(line.ends_with("rewritten"));
            let n = line.rsplit_once("applied ").and_then(|(_, n)| n.parse::<usize>().ok());
            known = n.map_or(known, |n| known.max(n + 1));
            line.ends_with("rewritten") || n.is_some()
        };
        // Not after the same number each time, so that the kill meets another moment.
        let enough = 2 + round % 13;
        assert_eq!(lines.by_ref().filter(|line| told(line)).take(enough).count(), enough);
        writer.kill().unwrap();
        for line in lines {
            told(&line);
        }
        writer.wait().unwrap();
        left += u32::from(beside(&file).exists());
        let counted = usize::try_from(messages(&Store::open(&file).unwrap())).unwrap();
        // One more may be on the disk whose acknowledgement was never heard.
        assert!((known..=known + 1).contains(&counted), "{counted} of {known}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "the start takes away what is half done");
    }
    assert!(rewritten > 20 && left > 5, "{rewritten} rewritten, {left} interrupted");
}
