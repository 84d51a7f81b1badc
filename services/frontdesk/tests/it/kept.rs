//! Stories of limits that outlive the edges that counted them.

use std::time::{Duration, Instant};

use worker::demo::Script;

use crate::{
    desk::{Desk, LIMIT, Process},
    visitor::{Visitor, check_reply},
};

/// A message of a session in a minute, and two of an address in a day.
const SETTINGS: [(&str, &str); 2] = [("RATE_LIMIT_SESSION_PER_MINUTE", "1"), ("MESSAGES_PER_DAY_IP", "2")];
const RESTORED: &str = r#"frontdesk_edge_limit_snapshots_total{result="restored"}"#;
const ABSENT: &str = r#"frontdesk_edge_limit_snapshots_total{result="absent"}"#;
const HEARD: &str = "frontdesk_analytics_limit_charges_total";
const UNSAVED: &str = "frontdesk_analytics_limit_blocks_unsaved";
const RESTORED_CALLERS: &str = "frontdesk_edge_limit_callers_restored_total";

/// Says something: nothing where it is answered, else which limit refused.
async fn say(visitor: &Visitor, message_id: &str) -> Option<(String, String, u64)> {
    let reply = visitor.say(message_id, "hi").await;
    if reply.status == 200 {
        check_reply(&reply.rest().await, 0);
        return None;
    }
    let problem = reply.problem().await;
    let text = |member: &str| problem[member].as_str().unwrap_or_default().to_owned();
    assert_eq!(problem["code"], "rate_limited", "{problem}");
    Some((text("scope"), text("limit"), problem["retry_after"].as_u64().expect("a number")))
}

/// Who has used up a minute, and whose address has used up a day.
struct Limited {
    quick: Visitor,
    next: Visitor,
}

impl Limited {
    /// Uses up both limits.
    async fn at(edge: &Process) -> Self {
        let limited = Self { quick: Visitor::begin(&edge.url).await, next: Visitor::begin(&edge.url).await };
        assert_eq!(say(&limited.quick, "message-1").await, None);
        assert_eq!(say(&limited.next, "message-1").await, None);
        limited.are_refused_at(edge).await;
        limited
    }

    async fn are_refused_at(&self, edge: &Process) {
        let refused = say(&self.quick.at(&edge.url), "message-2").await;
        let (scope, limit, wait) = refused.expect("who was limited is limited");
        assert_eq!((scope.as_str(), limit.as_str()), ("session", "minute"));
        assert!(wait <= 60, "{wait}");
        let third = Visitor::begin(&edge.url).await;
        let (scope, limit, wait) = say(&third, "message-1").await.expect("the day's budget is used up");
        assert_eq!((scope.as_str(), limit.as_str()), ("ip", "day"));
        assert!((86_000..=86_400).contains(&wait), "{wait}");
    }

    async fn are_forgotten_at(&self, edge: &Process) {
        assert_eq!(say(&self.quick.at(&edge.url), "message-3").await, None);
        assert_eq!(say(&self.next.at(&edge.url), "message-3").await, None);
    }
}

/// Waits until a sample of a process' metrics is what is asked for.
async fn until(process: &Process, sample: &str, good: impl Fn(f64) -> bool) {
    let began = Instant::now();
    loop {
        let metrics = process.metrics().await;
        let value = metrics.lines().find_map(|line| line.strip_prefix(sample)?.trim().parse().ok());
        if value.is_some_and(&good) {
            return;
        }
        assert!(began.elapsed() < LIMIT, "{sample} is {value:?}:\n{}", process.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until all is heard and stored. Two messages, each of a session's minute and day and of an address' day.
async fn until_stored(analytics: &Process) {
    until(analytics, HEARD, |units| units >= 6.0).await;
    until(analytics, UNSAVED, |blocks| blocks == 0.0).await;
}

/// Two edges, with an analytics that hears them.
async fn spread() -> Desk {
    let desk = Desk::guarded(2, 1, &SETTINGS).await;
    desk.n8n.will(Script::says(["Hello"]));
    for edge in &desk.edges {
        until(edge, RESTORED, |times| times >= 1.0).await;
    }
    desk
}

/// All edges are replaced by new ones: nobody is let in for it, not even at first. The same when analytics is killed
/// with them, as when a whole machine is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_limited_is_limited_after_a_restart() {
    let mut desk = spread().await;
    let limited = Limited::at(&desk.edges[0]).await;
    until_stored(desk.analytics.as_ref().expect("it runs")).await;
    for edge in &mut desk.edges {
        edge.signal("TERM");
        assert_eq!(edge.ended().await.code(), Some(0));
    }
    desk.edges = vec![desk.launch(&["edge"]), desk.launch(&["edge"])];
    for edge in &desk.edges {
        limited.are_refused_at(edge).await;
        assert!(edge.metric(RESTORED_CALLERS).await >= 5.0, "two sessions by minute and day, an address by day");
    }

    for process in desk.edges.iter_mut().chain(&mut desk.analytics) {
        process.kill();
    }
    let analytics = desk.launch(&["analytics"]);
    analytics.until_readiness(200).await;
    desk.edges = vec![desk.launch(&["edge"])];
    limited.are_refused_at(&desk.edges[0]).await;

    // An edge that finds no analytics, as when all start at once, asks when there is one.
    drop(analytics);
    desk.edges = vec![desk.launch(&["edge"])];
    until(&desk.edges[0], ABSENT, |times| times >= 1.0).await;
    desk.analytics = Some(desk.launch(&["analytics"]));
    until(&desk.edges[0], RESTORED, |times| times >= 1.0).await;
    limited.are_refused_at(&desk.edges[0]).await;
    assert_eq!(desk.n8n.asked(), 2);
}

/// Without analytics limits live as long as the edges. One that is there and does not answer delays a start for a
/// second; what it knows counts when it wakes up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_analytics_an_edge_begins_at_zero() {
    let mut desk = spread().await;
    let limited = Limited::at(&desk.edges[0]).await;
    let analytics = desk.analytics.take().expect("it runs");
    until_stored(&analytics).await;

    analytics.signal("STOP");
    desk.edges = vec![desk.launch(&["edge"])];
    desk.edges[0].until_readiness(200).await;
    desk.edges[0].until_log("the counts of limits").await;
    analytics.signal("CONT");
    until(&desk.edges[0], RESTORED, |times| times >= 1.0).await;
    limited.are_refused_at(&desk.edges[0]).await;

    drop(analytics);
    desk.edges = vec![desk.launch(&["edge"])];
    limited.are_forgotten_at(&desk.edges[0]).await;
    until(&desk.edges[0], ABSENT, |times| times >= 1.0).await;
}

/// The same in one process: with a file, a restart frees nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_process_with_a_file_remembers_who_is_limited() {
    let mut desk = Desk::all_in_one(&SETTINGS).await;
    desk.n8n.will(Script::says(["Hello"]));
    let limited = Limited::at(&desk.edges[0]).await;
    desk.edges[0].signal("TERM");
    assert_eq!(desk.edges[0].ended().await.code(), Some(0));
    desk.edges = vec![desk.launch(&[])];
    limited.are_refused_at(&desk.edges[0]).await;
    until(&desk.edges[0], UNSAVED, |blocks| blocks == 0.0).await;
    desk.edges[0].kill();
    desk.edges = vec![desk.launch(&[])];
    limited.are_refused_at(&desk.edges[0]).await;

    desk.edges[0].kill();
    desk.edges = vec![desk.launch_with(&[], &[("ANALYTICS_LIMITS_MAX_KEYS", "0")])];
    limited.are_forgotten_at(&desk.edges[0]).await;
}
