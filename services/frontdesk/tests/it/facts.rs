//! Stories of facts: what visitors did is counted once, whatever happens to analytics and its disk.

use std::{
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use analytics::{
    Store,
    query::{Range, Summary},
};
use async_nats::jetstream::consumer::PullConsumer;
use protocol::Millis;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    desk::{Desk, LIMIT},
    visitor::{Visitor, check_reply, names},
    wire::{is_inside, run_inside},
};

/// Waits until analytics has acknowledged all facts, stops it, and reads what it counted.
pub(crate) async fn counted(desk: &mut Desk) -> Summary {
    let mut recorder: PullConsumer =
        desk.jetstream().await.get_consumer_from_stream("recorder", "FACTS").await.expect("it was set up");
    let began = Instant::now();
    loop {
        let info = recorder.info().await.expect("NATS is there");
        if info.num_pending == 0 && info.num_ack_pending == 0 {
            break;
        }
        assert!(began.elapsed() < LIMIT, "facts are left: {info:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut analytics = desk.analytics.take().expect("it runs");
    analytics.signal("TERM");
    assert_eq!(analytics.ended().await.code(), Some(0));
    let store = Store::open(Path::new(desk.database())).expect("it was closed");
    let ever = Range { from: Millis(0), until: Millis::now().after(Duration::from_secs(60)) };
    store.summary(None, ever).expect("it can be read")
}

/// Talks until it is told to stop. Each reply is whole.
pub(crate) async fn talk(visitor: Visitor, replies: Arc<AtomicU64>, stop: CancellationToken) {
    for n in 0.. {
        if stop.is_cancelled() {
            return;
        }
        let events = visitor.hear(&format!("message-{n}"), "hi").await;
        check_reply(&events, 0);
        assert!(names(&events).ends_with(&["end"]), "{:?}", names(&events));
        replies.fetch_add(1, Ordering::Relaxed);
    }
}

/// kill -9 of analytics, twenty times, while visitors talk at two edges: at the end each message and each reply is
/// counted once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_analytics_counts_each_fact_once() {
    let mut desk = Desk::spread(2, 1, &[]).await;
    let (replies, stop, mut talking) = (Arc::new(AtomicU64::new(0)), CancellationToken::new(), JoinSet::new());
    for n in 0..4 {
        let visitor = Visitor::begin(&desk.edges[n % 2].url).await;
        talking.spawn(talk(visitor, Arc::clone(&replies), stop.clone()));
    }
    for round in 0..20_u64 {
        // Not after the same number each time, so that the kill meets another moment. Some rounds have no analytics.
        let goal = replies.load(Ordering::Relaxed) + 3 + round * 7 % 11;
        while replies.load(Ordering::Relaxed) < goal {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        match desk.analytics.take() {
            Some(mut analytics) => analytics.kill(),
            None => desk.analytics = Some(desk.launch(&["analytics"])),
        }
        if round % 4 != 1 && desk.analytics.is_none() {
            desk.analytics = Some(desk.launch(&["analytics"]));
        }
    }
    stop.cancel();
    talking.join_all().await;
    if desk.analytics.is_none() {
        desk.analytics = Some(desk.launch(&["analytics"]));
    }
    let (sum, replies) = (counted(&mut desk).await, replies.load(Ordering::Relaxed));
    assert!(replies >= 60);
    assert_eq!((sum.messages, sum.ended, sum.failed), (replies, replies, [].into()));
    for process in desk.edges.iter().chain(&desk.workers) {
        assert_eq!(process.metric("frontdesk_bus_facts_dropped_total").await, 0.0);
    }
}

/// The disk of analytics is really full: it says so, the chat goes on, facts wait in NATS, and are counted once when
/// there is room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_loses_no_fact() {
    const TEST: &str = "facts::a_full_disk_loses_no_fact";
    if !is_inside() {
        return run_inside(TEST, &["-m"], "mount -t tmpfs none /run");
    }
    let folder = tempfile::tempdir().unwrap();
    let disk = Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "none"]).arg(folder.path()).status();
    assert!(disk.unwrap().success());
    let (database, rest) = (folder.path().join("facts.redb"), folder.path().join("rest"));
    let mut desk = Desk::spread(1, 1, &[("ANALYTICS_DB_PATH", database.to_str().unwrap())]).await;
    let (visitor, mut replies) = (desk.visitor().await, 0);
    let mut talk = async || {
        let events = visitor.hear(&format!("message-{replies}"), "hi").await;
        assert_eq!(events.last().unwrap().name, "end");
        replies += 1;
    };
    talk().await;
    let analytics = desk.analytics.as_ref().unwrap();
    analytics.until_readiness(200).await;
    // Somebody else's file takes all that is left.
    assert!(std::fs::write(&rest, vec![1; 4 << 20]).is_err(), "the disk is full");
    let began = Instant::now();
    while analytics.readiness().await == 200 {
        talk().await;
        assert!(began.elapsed() < LIMIT, "it needs no more room");
    }
    analytics.until_log("facts can't be stored").await;
    assert!(analytics.metric("frontdesk_analytics_store_errors_total").await > 0.0);
    for _ in 0..20 {
        talk().await;
    }
    assert_eq!(desk.edges[0].readiness().await, 200);
    std::fs::remove_file(&rest).unwrap();
    analytics.until_readiness(200).await;
    let sum = counted(&mut desk).await;
    assert_eq!((sum.messages, sum.ended), (replies, replies));
    let unmounted = Command::new("umount").arg(folder.path()).status();
    assert!(unmounted.unwrap().success());
}
