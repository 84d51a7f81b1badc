//! Stories of backups: what an operator types, and what they have afterwards.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use analytics::{Store, query::Range, sidecar};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use protocol::{Fact, FactKind, MessageId, Millis, SessionId, SiteId};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    desk::Desk,
    facts::{counted, talk},
    visitor::Visitor,
    wire::{is_inside, run_inside},
};

const TOKEN: &str = "Kx7cPd4fGh6jLs9awq3rJm1v8Zt5yBn2";

/// A folder with a database, in which so many messages are counted.
fn database(messages: u64) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("it can be made");
    let path = folder.path().join("facts.redb");
    fill(&path, 1, messages);
    (folder, path)
}

/// Counts so many messages of so many sessions.
fn fill(path: &Path, sessions: u64, messages: u64) {
    let (store, site) = (Store::open(path).expect("it can be made"), SiteId::new("default").expect("it can be made"));
    let accepted = (0..messages).map(|n| {
        let session = SessionId::mint(1_767_168_909 + n % sessions, n % sessions);
        let message_id = MessageId::new(&format!("message-{n}")).expect("it can be made");
        Fact::now(&site, &session, FactKind::MessageAccepted { message_id, chars: 3 })
    });
    store.apply(&accepted.collect::<Vec<_>>()).expect("it can be made");
}

fn messages(path: &Path) -> u64 {
    let all = Range { from: Millis(0), until: Millis(4_000_000_000_000) };
    Store::open(path).expect("it can be made").summary(None, all).expect("it can be made").messages
}

/// `frontdesk analytics ...` in this folder.
fn run(folder: &Path, args: &[&str], settings: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_frontdesk"))
        .arg("analytics")
        .args(args)
        .env_clear()
        .envs(settings.iter().copied())
        .current_dir(folder)
        .output()
        .expect("the executable starts")
}

fn error(output: &Output) -> String {
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder)
        .expect("it can be read")
        .map(|entry| entry.expect("it can be read").file_name().into_string().expect("it can be read"));
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}

/// A backup is a database: it is checked, it is not overwritten by mistake, and copied over the database it is one again.
#[test]
fn a_backup_is_made_checked_and_put_back() {
    let (folder, database) = database(300);
    let folder = folder.path();
    let setting = [("ANALYTICS_DB_PATH", database.to_str().unwrap())];
    assert!(said(&run(folder, &["backup", "kept.redb"], &setting)).contains("is sound"));
    assert_eq!(names(folder), ["facts.redb", "kept.redb", "kept.redb.sha256"]);
    let compared = Command::new("sha256sum").args(["--check", "kept.redb.sha256"]).current_dir(folder).output();
    assert!(compared.unwrap().status.success(), "others can compare it, too");
    let checked = said(&run(folder, &["check", "kept.redb"], &[]));
    assert!(checked.contains("300 facts") && checked.contains("1 session_rows"), "{checked}");
    assert!(said(&run(folder, &["check", "facts.redb"], &[])).contains("no facts.redb.sha256"));

    let kept = fs::read(folder.join("kept.redb")).unwrap();
    let again = run(folder, &["backup", "kept.redb"], &setting);
    assert!(error(&again).contains("--force"), "{}", error(&again));
    assert_eq!(fs::read(folder.join("kept.redb")).unwrap(), kept);
    said(&run(folder, &["backup", "--force", "kept.redb"], &setting));
    let itself = run(folder, &["backup", "--force", "facts.redb"], &setting);
    assert!(error(&itself).contains("the database itself"));

    fs::remove_file(&database).unwrap();
    let none = error(&run(folder, &["backup", "other.redb"], &setting));
    assert!(none.contains("facts.redb") && none.contains("--url"), "{none}");
    assert!(!database.exists(), "no new one was made");
    fs::copy(folder.join("kept.redb"), &database).unwrap();
    assert_eq!(messages(&database), 300);
    assert_eq!(names(folder), ["facts.redb", "kept.redb", "kept.redb.sha256"]);
}

#[test]
fn a_damaged_backup_is_told() {
    let (folder, database) = database(300);
    let setting = [("ANALYTICS_DB_PATH", database.to_str().unwrap())];
    said(&run(folder.path(), &["backup", "kept.redb"], &setting));
    let kept = folder.path().join("kept.redb");
    let mut bytes = fs::read(&kept).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&kept, &bytes).unwrap();
    assert!(error(&run(folder.path(), &["check", "kept.redb"], &[])).contains("kept.redb.sha256"));
    fs::remove_file(folder.path().join("kept.redb.sha256")).unwrap();
    fs::write(&kept, &bytes[..bytes.len() - 5_000]).unwrap();
    error(&run(folder.path(), &["check", "kept.redb"], &[]));
    assert!(error(&run(folder.path(), &["check", "nowhere.redb"], &[])).contains("nowhere.redb"));
}

/// Answers one call, and tells its head.
fn serve(answer: Vec<u8>) -> (String, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a loopback");
    let url = format!("http://{}", listener.local_addr().expect("a loopback"));
    let served = std::thread::spawn(move || {
        let (mut caller, _) = listener.accept().expect("a loopback");
        let lines = BufReader::new(caller.try_clone().expect("a loopback")).lines().map_while(Result::ok);
        let head = lines.take_while(|line| !line.is_empty()).collect();
        caller.write_all(&answer).ok();
        head
    });
    (url, served)
}

/// What breaks off, or is not what was promised, never gets the name of a backup.
#[test]
fn a_copy_that_came_badly_is_not_kept() {
    let (from, database) = database(300);
    said(&run(from.path(), &["backup", "kept.redb"], &[("ANALYTICS_DB_PATH", database.to_str().unwrap())]));
    let good = fs::read(from.path().join("kept.redb")).unwrap();
    let digest = |bytes: &[u8]| format!("Repr-Digest: sha-256=:{}:\r\n", STANDARD.encode(Sha256::digest(bytes)));
    let answer = |status: &str, headers: &str, length: usize, bytes: &[u8]| {
        let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n");
        [head.as_bytes(), bytes].concat()
    };
    let check = |answer: Vec<u8>, word: Option<&str>| {
        let (url, served) = serve(answer);
        let folder = tempfile::tempdir().unwrap();
        let output = run(folder.path(), &["backup", "kept.redb", "--url", &url], &[("ADMIN_TOKEN", TOKEN)]);
        let head = served.join().unwrap();
        assert_eq!(head[0], "GET /api/v1/analytics/backup HTTP/1.1");
        assert!(head.iter().any(|line| line.eq_ignore_ascii_case(&format!("authorization: Bearer {TOKEN}"))));
        match word {
            None => {
                said(&output);
                assert_eq!(fs::read(folder.path().join("kept.redb")).unwrap(), good);
                assert_eq!(names(folder.path()), ["kept.redb", "kept.redb.sha256"]);
            }
            Some(word) => {
                assert!(error(&output).contains(word), "{word}: {}", error(&output));
                assert!(!error(&output).contains(TOKEN));
                assert_eq!(names(folder.path()), [""; 0], "{word}");
            }
        }
    };
    check(answer("200 OK", &digest(&good), good.len(), &good), None);
    check(answer("200 OK", &digest(&good), good.len(), &good[..good.len() / 2]), Some("broke off"));
    check(answer("200 OK", "", good.len(), &good), Some("SHA-256"));
    let mut other = good.clone();
    other.truncate(good.len() - 4096);
    check(answer("200 OK", &digest(&good), other.len(), &other), Some("try again"));
    check(answer("200 OK", &digest(b"no database"), 11, b"no database"), Some("not sound"));
    check(answer("401 Unauthorized", "", 0, b""), Some("ADMIN_TOKEN"));
    check(answer("404 Not Found", "", 0, b""), Some("without ADMIN_TOKEN"));
    check(answer("503 Service Unavailable", "", 0, b""), Some("503"));

    let folder = tempfile::tempdir().unwrap();
    let silent = run(folder.path(), &["backup", "kept.redb", "--url", "http://127.0.0.1:9"], &[]);
    assert!(error(&silent).contains("ADMIN_TOKEN"));
}

/// A disk without room for a copy: that is said with how much it takes, and everything is as it was.
#[test]
fn a_full_disk_keeps_the_old_file() {
    const TEST: &str = "backup::a_full_disk_keeps_the_old_file";
    if !is_inside() {
        return run_inside(TEST, &["-m"], "mount -t tmpfs none /run");
    }
    let folder = tempfile::tempdir().unwrap();
    let disk = Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m", "none"]).arg(folder.path()).status();
    assert!(disk.unwrap().success());
    let (database, rest) = (folder.path().join("facts.redb"), folder.path().join("rest"));
    fill(&database, 2_000, 6_000);
    let store = Store::open(&database).unwrap();
    assert!(fs::write(&rest, vec![1; 16 << 20]).is_err(), "the disk is full");
    for error in [store.rewrite().unwrap_err(), store.copy().unwrap_err()] {
        let said = error.to_string();
        assert!(said.contains("no room for a copy in") && said.contains("MiB are needed"), "{said}");
    }
    assert_eq!(names(folder.path()), ["facts.redb", "rest"]);
    let all = Range { from: Millis(0), until: Millis(4_000_000_000_000) };
    assert_eq!(store.summary(None, all).unwrap().messages, 6_000);
    fs::remove_file(&rest).unwrap();
    store.rewrite().unwrap();
    drop(store);
    assert_eq!(messages(&database), 6_000);
    let unmounted = Command::new("umount").arg(folder.path()).status();
    assert!(unmounted.unwrap().success());
}

/// There is as much room as the rows take, and the disk fills up in the middle all the same: what is half done is taken
/// away, and everything is as it was. With a little more room it goes.
#[test]
fn a_disk_that_fills_up_in_the_middle_keeps_the_old_file() {
    const TEST: &str = "backup::a_disk_that_fills_up_in_the_middle_keeps_the_old_file";
    if !is_inside() {
        return run_inside(TEST, &["-m"], "mount -t tmpfs none /run");
    }
    let folder = tempfile::tempdir().unwrap();
    let disk = Command::new("mount").args(["-t", "tmpfs", "-o", "size=16m", "none"]).arg(folder.path()).status();
    assert!(disk.unwrap().success());
    let (database, rest) = (folder.path().join("facts.redb"), folder.path().join("rest"));
    fill(&database, 2_000, 6_000);
    let store = Store::open(&database).unwrap();
    let live = store.live_bytes().unwrap();
    let room = || {
        let disk = rustix::fs::statvfs(folder.path()).unwrap();
        disk.f_bavail * disk.f_frsize
    };
    fs::write(&rest, vec![1; usize::try_from(room() - live).unwrap()]).unwrap();
    assert!(room() >= live, "else it is refused before it begins");
    for error in [store.rewrite().unwrap_err(), store.copy().unwrap_err(), store.rewrite().unwrap_err()] {
        assert!(error.to_string().contains("no room for a copy in"), "{error}");
        assert_eq!(names(folder.path()), ["facts.redb", "rest"]);
        assert!(room() >= live, "what was half done takes no room");
    }
    let all = Range { from: Millis(0), until: Millis(4_000_000_000_000) };
    assert_eq!(store.summary(None, all).unwrap().messages, 6_000);
    let taken = fs::metadata(&rest).unwrap().len();
    fs::OpenOptions::new().write(true).open(&rest).unwrap().set_len(taken - (1 << 20)).unwrap();
    store.copy().unwrap();
    store.rewrite().unwrap();
    drop(store);
    assert_eq!(messages(&database), 6_000);
    let unmounted = Command::new("umount").arg(folder.path()).status();
    assert!(unmounted.unwrap().success());
}

/// Backups of a running analytics while visitors talk, every other time with a kill -9 in the middle: each that is made is
/// sound and of one moment, one that isn't leaves nothing behind, and what is put back goes on counting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backups_are_whole_while_visitors_talk_and_analytics_is_killed() {
    let mut desk = Desk::spread(2, 1, &[("ADMIN_TOKEN", TOKEN)]).await;
    let folder = tempfile::tempdir().unwrap();
    // Large enough for a copy to take its time.
    let mut first = desk.analytics.take().expect("it runs");
    first.kill();
    let (before, sessions) = (20_000, 5_000);
    fill(Path::new(desk.database()), sessions, before);
    desk.analytics = Some(desk.launch(&["analytics"]));

    let (replies, stop, mut talking) = (Arc::new(AtomicU64::new(0)), CancellationToken::new(), JoinSet::new());
    for n in 0..2 {
        let visitor = Visitor::begin(&desk.edges[n % 2].url).await;
        talking.spawn(talk(visitor, Arc::clone(&replies), stop.clone()));
    }
    let (mut last, mut made, mut broken) = (0, 0, 0);
    for round in 0..10_u32 {
        let analytics = desk.analytics.as_mut().expect("it runs");
        analytics.until_readiness(200).await;
        let file = folder.path().join(format!("kept-{round}.redb"));
        let mut backup = Command::new(env!("CARGO_BIN_EXE_frontdesk"))
            .args(["analytics", "backup", "--url", &analytics.url])
            .arg(&file)
            .env_clear()
            .env("ADMIN_TOKEN", TOKEN)
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        if round % 2 == 1 {
            // Another moment of the copy each time.
            tokio::time::sleep(Duration::from_millis(u64::from(50 * (round / 2)))).await;
            analytics.kill();
            desk.analytics = Some(desk.launch(&["analytics"]));
        }
        let went_well = tokio::task::spawn_blocking(move || backup.wait().unwrap().success()).await.unwrap();
        assert!(went_well || round % 2 == 1, "round {round}");
        if went_well {
            made += 1;
            assert!(analytics::check(&file).unwrap().compared);
            let counted = messages(&file);
            assert!(counted >= before + last, "{counted}: nothing that was counted before is missing");
            last = counted - before;
        } else {
            broken += 1;
            assert!(!file.exists() && !sidecar(&file).exists(), "round {round}");
        }
    }
    stop.cancel();
    talking.join_all().await;
    let replies = replies.load(Ordering::Relaxed);
    assert!(
        made >= 5 && broken >= 1 && last > 0 && last <= replies,
        "{made} made, {broken} broken, {last} of {replies}"
    );
    assert_eq!(counted(&mut desk).await.messages, before + replies);

    fs::copy(folder.path().join("kept-8.redb"), desk.database()).unwrap();
    let there = messages(Path::new(desk.database()));
    desk.analytics = Some(desk.launch(&["analytics"]));
    let events = desk.visitor().await.hear("message-after", "hi").await;
    assert_eq!(events.last().unwrap().name, "end");
    assert_eq!(counted(&mut desk).await.messages, there + 1);
}
