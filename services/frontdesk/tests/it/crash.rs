//! Stories in which somebody dies.

use std::time::{Duration, Instant};

use worker::demo::{Gate, Script};

use crate::{
    desk::Desk,
    visitor::{check_reply, names, text},
};

/// kill -9 of the worker in mid-reply: what came, then exactly one `failed`, and no second run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_worker_ends_its_reply_once() {
    let mut desk = Desk::spread(2, 1, &[]).await;
    desk.n8n.will(Script::lines().begin().items(["one ", "two "]).hang());
    let visitor = desk.visitor().await;
    let mut reply = visitor.say("message-1", "hi").await;
    let mut events = reply.chunks(2).await;
    desk.add_worker();
    desk.workers[0].kill();
    let killed = Instant::now();
    events.extend(reply.rest().await);
    assert!(killed.elapsed() < Duration::from_secs(15), "{:?}", killed.elapsed());
    check_reply(&events, 0);
    assert_eq!((names(&events), text(&events).as_str()), (vec!["begin", "chunk", "failed"], "one two "));
    assert_eq!(events.last().unwrap().data["code"], "interrupted");
    // A tab that comes back elsewhere sees the same end, and the session is free.
    let elsewhere = visitor.at(&desk.edges[1].url);
    let again = elsewhere.hear("message-1", "hi").await;
    assert_eq!(again.last().unwrap().data["code"], "interrupted");
    assert_eq!(desk.n8n.asked(), 1, "no second run");
    desk.n8n.will(Script::says(["back"]));
    assert_eq!(text(&elsewhere.hear("message-2", "hi").await), "back");
}

/// kill -9 of a worker that has the message but did not call n8n: another worker answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_killed_before_it_began_is_replaced() {
    let mut desk = Desk::spread(1, 1, &[]).await;
    desk.n8n.will(Script::says(["Hello"]));
    let visitor = desk.visitor().await;
    let js = async_nats::jetstream::new(async_nats::connect(desk.nats.as_ref().unwrap().url()).await.unwrap());
    let mut consumer: async_nats::jetstream::consumer::PullConsumer =
        js.get_consumer_from_stream("workers", "REQ").await.unwrap();
    // Its pull must be at the server before it freezes.
    while consumer.info().await.unwrap().num_waiting == 0 {}
    desk.workers[0].signal("STOP");
    let reply = visitor.say("message-1", "hi").await;
    while consumer.info().await.unwrap().num_ack_pending == 0 {}
    desk.add_worker();
    desk.workers[0].kill();
    let events = reply.rest().await;
    check_reply(&events, 0);
    assert_eq!((names(&events), text(&events).as_str()), (vec!["queued", "begin", "chunk", "end"], "Hello"));
    assert_eq!(desk.n8n.asked(), 1);
}

/// Nobody takes the message in time: it ends, is never run, and the session is free.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_worker_the_message_times_out() {
    let mut desk = Desk::spread(2, 0, &[("QUEUE_TIMEOUT", "2s")]).await;
    let visitor = desk.visitor().await;
    let events = visitor.hear("message-1", "hi").await;
    assert_eq!(names(&events), ["queued", "failed"]);
    assert_eq!(events[1].data["code"], "queue_timeout");
    assert_eq!(events[1].data["retryable"], true);
    // A cancelled one ends too.
    let mut waiting = visitor.say("message-2", "hi").await;
    waiting.until("queued").await;
    visitor.at(&desk.edges[1].url).cancel("message-2").await;
    let rest = waiting.rest().await;
    assert_eq!(rest.last().unwrap().data["finish_reason"], "cancelled", "{rest:?}");
    desk.n8n.will(Script::says(["at last"]));
    desk.add_worker();
    assert_eq!(text(&visitor.hear("message-3", "hi").await), "at last");
    assert_eq!(desk.n8n.asked(), 1, "only the last one ran");
    let again = visitor.at(&desk.edges[1].url).hear("message-1", "hi").await;
    assert_eq!(again.last().unwrap().data["code"], "queue_timeout");
}

/// SIGTERM to an edge: replies finish, session streams move, exit code 0.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_edge_lets_its_streams_finish_or_move() {
    let mut desk = Desk::spread(2, 1, &[]).await;
    let gate = Gate::new();
    desk.n8n.will(Script::lines().begin().items(["one "]).wait(&gate).items(["two"]).end());
    let visitor = desk.visitor().await;
    let mut tab = visitor.listen("", None).await;
    let mut reply = visitor.say("message-1", "hi").await;
    reply.chunks(1).await;
    let seen = tab.chunks(1).await;
    desk.edges[0].signal("TERM");
    assert!(tab.next().await.is_none(), "the session's stream ends at once");
    let elsewhere = visitor.at(&desk.edges[1].url);
    let mut moved = elsewhere.listen("", seen.last().unwrap().id.as_deref()).await;
    gate.open();
    assert_eq!(text(&reply.rest().await), "two", "the reply finishes where it is");
    assert_eq!(text(&moved.until("end").await), "two");
    assert_eq!(desk.edges[0].ended().await.code(), Some(0));
}

/// A reply that does not finish within the edge's drain is left to the other edge: nothing is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_reply_moves_when_its_edge_stops() {
    let mut desk = Desk::spread(2, 1, &[("DRAIN_TIMEOUT", "1s")]).await;
    let gate = Gate::new();
    desk.n8n.will(Script::lines().begin().items(["one "]).wait(&gate).items(["two"]).end());
    let visitor = desk.visitor().await;
    let mut reply = visitor.say("message-1", "hi").await;
    let mut events = reply.chunks(1).await;
    desk.edges[0].signal("TERM");
    assert!(reply.next().await.is_none(), "ends without an end");
    assert_eq!(desk.edges[0].ended().await.code(), Some(0));
    let elsewhere = visitor.at(&desk.edges[1].url);
    let mut moved = elsewhere.listen("", events.last().unwrap().id.as_deref()).await;
    moved.next().await;
    gate.open();
    events.extend(moved.until("end").await);
    check_reply(&events, 0);
    assert_eq!(text(&events), "one two");
}

/// SIGTERM to a worker: what runs finishes; what does not finish in time ends as `interrupted`; exit code 0.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_worker_finishes_or_says_so() {
    let mut desk = Desk::spread(1, 1, &[("DRAIN_TIMEOUT", "2s")]).await;
    let gate = Gate::new();
    desk.n8n.will(Script::lines().begin().items(["one "]).wait(&gate).items(["two"]).end());
    desk.n8n.will(Script::lines().begin().items(["three "]).hang());
    let (first, second) = (desk.visitor().await, desk.visitor().await);
    let mut finishes = first.say("message-1", "hi").await;
    finishes.chunks(1).await;
    let mut hangs = second.say("message-1", "hi").await;
    hangs.chunks(1).await;
    desk.workers[0].signal("TERM");
    gate.open();
    assert_eq!(text(&finishes.rest().await), "two");
    let events = hangs.rest().await;
    assert_eq!(events.last().unwrap().data["code"], "interrupted", "{events:?}");
    assert_eq!(desk.workers[0].ended().await.code(), Some(0));
}

/// SIGTERM to all in one: a reply that can't finish ends as `interrupted` while its visitor is still there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_in_one_ends_its_replies_before_itself() {
    let mut desk = Desk::all_in_one(&[("DRAIN_TIMEOUT", "2s")]).await;
    desk.n8n.will(Script::lines().begin().items(["one "]).hang());
    let mut reply = desk.visitor().await.say("message-1", "hi").await;
    reply.chunks(1).await;
    desk.edges[0].signal("TERM");
    let events = reply.rest().await;
    assert_eq!((names(&events), &events[0].data["code"]), (vec!["failed"], &"interrupted".into()));
    assert_eq!(desk.edges[0].ended().await.code(), Some(0));
}

/// kill -9 of an edge in mid-reply: the visitor goes on at the other one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_edge_loses_nothing() {
    let mut desk = Desk::spread(2, 1, &[]).await;
    let gate = Gate::new();
    desk.n8n.will(Script::lines().begin().items(["one ", "two "]).wait(&gate).items(["three"]).end());
    let visitor = desk.visitor().await;
    let mut reply = visitor.say("message-1", "hi").await;
    let mut events = reply.chunks(2).await;
    desk.edges[0].kill();
    assert!(reply.next().await.is_none());
    let elsewhere = visitor.at(&desk.edges[1].url);
    let mut resumed = elsewhere.listen("", events.last().unwrap().id.as_deref()).await;
    resumed.next().await;
    gate.open();
    events.extend(resumed.until("end").await);
    check_reply(&events, 0);
    assert_eq!(text(&events), "one two three");
    assert_eq!(desk.n8n.asked(), 1);
}

/// NATS is killed and comes back with its disk in mid-reply: a pause, then the rest, and one run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_nats_is_a_pause() {
    let mut desk = Desk::spread(2, 1, &[]).await;
    let gate = Gate::new();
    desk.n8n.will(Script::lines().begin().items(["one "]).wait(&gate).items(["two ", "three"]).end());
    let visitor = desk.visitor().await;
    let mut reply = visitor.say("message-1", "hi").await;
    let mut events = reply.chunks(1).await;
    let nats = desk.nats.as_mut().unwrap();
    nats.kill().await;
    let refused = visitor.at(&desk.edges[1].url).say("message-2", "hi").await;
    assert_eq!(refused.status, 503);
    assert!(refused.response.as_ref().unwrap().headers().contains_key("retry-after"));
    gate.open();
    nats.restart(true).await;
    events.extend(reply.rest().await);
    check_reply(&events, 0);
    assert_eq!((text(&events).as_str(), desk.n8n.asked()), ("one two three", 1));
}
