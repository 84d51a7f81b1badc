//! Who is told to stop twice does not wait for what runs.

use std::time::{Duration, Instant};

use worker::demo::{Gate, Script};

use crate::desk::{Desk, Process};

const IMPATIENT: Option<i32> = Some(130);
/// Far below `DRAIN_TIMEOUT`.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Told once it drains, which what runs holds up; told twice, by either signal, it ends.
async fn check_twice(process: &mut Process, second: &str) {
    process.signal("TERM");
    process.until_log("a second signal ends at once").await;
    let told = Instant::now();
    process.signal(second);
    assert_eq!(process.ended().await.code(), IMPATIENT, "{}", process.log());
    assert!(told.elapsed() < AT_ONCE, "{:?}", told.elapsed());
}

/// Over NATS: edges and a worker in the middle of a reply.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_a_role_at_once() {
    let mut desk = Desk::spread(2, 1, &[]).await;
    let gate = Gate::new();
    let mut replies = Vec::new();
    for edge in &desk.edges {
        desk.n8n.will(Script::lines().begin().items(["one "]).wait(&gate).items(["two"]).end());
        let mut reply = crate::visitor::Visitor::begin(&edge.url).await.say("message-1", "hi").await;
        reply.chunks(1).await;
        replies.push(reply);
    }
    check_twice(&mut desk.workers[0], "TERM").await;
    check_twice(&mut desk.edges[0], "TERM").await;
    check_twice(&mut desk.edges[1], "INT").await;
}

/// All in one, in the middle of a reply.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_all_in_one_at_once() {
    let mut desk = Desk::all_in_one(&[]).await;
    desk.n8n.will(Script::lines().begin().items(["one "]).hang());
    let mut reply = desk.visitor().await.say("message-1", "hi").await;
    reply.chunks(1).await;
    check_twice(&mut desk.edges[0], "INT").await;
}

/// Analytics has nothing that runs for long. It gets both signals at the same moment, and obeys the second one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_signals_at_once_are_two() {
    let mut desk = Desk::spread(0, 0, &[]).await;
    let analytics = desk.analytics.as_mut().unwrap();
    for signal in ["STOP", "TERM", "INT", "CONT"] {
        analytics.signal(signal);
    }
    assert_eq!(analytics.ended().await.code(), IMPATIENT, "{}", analytics.log());
}

/// A role that still waits for NATS stops when it is told to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_nats_can_be_stopped() {
    let mut nats = bus::testing::NatsServer::start().await;
    nats.kill().await;
    let mut desk = Desk::at(nats, &[]).await;
    desk.fill(1, 1);
    for process in desk.edges.iter_mut().chain(&mut desk.workers).chain(&mut desk.analytics) {
        process.until_log("waiting for NATS").await;
        process.signal("TERM");
        assert_eq!(process.ended().await.code(), Some(0), "{}", process.log());
    }
}
