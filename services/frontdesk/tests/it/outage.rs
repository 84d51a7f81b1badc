//! Stories in which NATS is away, slow, full, forgetful or unwilling. The times are those that nats/README.md promises: an
//! edge is not ready within 2 s, refuses a message within 1 s, and is there again within 5 s.

use std::time::{Duration, Instant};

use bus::{
    Ask, Config, NatsConfig,
    testing::{NatsServer, SHIPPED},
};
use futures_util::{StreamExt as _, future::join_all};
use protocol::Record;
use worker::demo::{Gate, Script};

use crate::{
    desk::{Desk, Process},
    proofs::{Browser, PUBLIC},
    visitor::{Event, Stream, Visitor, check_reply, names, text},
    wire::{FAR, Proxy, Wire},
};

const RED_WITHIN: Duration = Duration::from_secs(2);
const REFUSED_WITHIN: Duration = Duration::from_secs(1);
const BACK_WITHIN: Duration = Duration::from_secs(5);

/// Says something that can't be handed on: it is refused in time, and the visitor is told when to try again.
async fn check_refused(visitor: &Visitor, message_id: &str) {
    let began = Instant::now();
    let refused = visitor.say(message_id, "hi").await;
    let took = began.elapsed();
    assert_eq!(refused.status, 503);
    assert!(took < REFUSED_WITHIN, "refused after {took:?}");
    let headers = refused.response.as_ref().map(reqwest::Response::headers);
    assert!(headers.is_some_and(|headers| headers.contains_key("retry-after")));
    assert_eq!(refused.problem().await["code"], "overloaded");
}

/// None of them is ready any more, in time from the fault on.
async fn check_red<'a>(edges: impl IntoIterator<Item = &'a Process>, fault: Instant) {
    join_all(edges.into_iter().map(|edge| edge.until_readiness(503))).await;
    assert!(fault.elapsed() < RED_WITHIN, "not ready after {:?}", fault.elapsed());
}

/// All of them become ready, in time from now on.
async fn check_back<'a>(processes: impl IntoIterator<Item = &'a Process>) {
    let began = Instant::now();
    join_all(processes.into_iter().map(|process| process.until_readiness(200))).await;
    assert!(began.elapsed() < BACK_WITHIN, "back after {:?}", began.elapsed());
}

fn roles(desk: &Desk) -> impl Iterator<Item = &Process> {
    desk.edges.iter().chain(&desk.workers).chain(&desk.analytics)
}

/// Roles that are started first live, say what they wait for, and take messages once NATS is there and was set up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_wait_for_nats_and_say_so() {
    let mut nats = NatsServer::start().await;
    nats.kill().await;
    let mut desk = Desk::at(nats, &[]).await;
    desk.fill(1, 1);
    for role in roles(&desk) {
        role.until_log("waiting for NATS: it can't be reached").await;
        assert_eq!(role.readiness().await, 503, "{}", role.log());
    }
    let visitor = desk.visitor().await;
    assert_eq!(visitor.get_plain("/health/live").send().await.unwrap().status(), 200);
    check_refused(&visitor, "message-1").await;

    desk.nats.as_mut().unwrap().restart(true).await;
    for role in roles(&desk) {
        role.until_log("waiting for NATS: it lacks the streams that `frontdesk nats-setup` makes").await;
        assert_eq!(role.readiness().await, 503, "{}", role.log());
        let told = role.log().matches("waiting for NATS").count();
        assert_eq!(told, 2, "what is waited for is told once, and again only after half a minute:\n{}", role.log());
    }
    check_refused(&visitor, "message-1").await;
    desk.nats.as_ref().unwrap().set_up(&Config::default()).await;
    check_back(roles(&desk)).await;
    desk.n8n.will(Script::says(["Hello"]));
    assert_eq!(text(&visitor.hear("message-1", "hi").await), "Hello");
    for role in roles(&desk) {
        role.until_log("NATS is there").await;
    }
}

/// NATS is away for longer than the queue waits for a worker's sign of life. The run was not: its reply goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_outlives_a_long_outage() {
    let mut desk = Desk::spread(2, 2, &[]).await;
    let gate = Gate::new();
    desk.n8n.will(Script::lines().begin().items(["one "]).wait(&gate).items(["two ", "three"]).end());
    let visitor = desk.visitor().await;
    let mut reply = visitor.say("message-1", "hi").await;
    let mut events = reply.chunks(1).await;
    let mut tab = visitor.at(&desk.edges[1].url).listen("?message_id=message-1", None).await;
    tab.chunks(1).await;
    desk.nats.as_mut().unwrap().kill().await;
    check_red(&desk.edges, Instant::now()).await;
    check_refused(&visitor, "message-2").await;
    let metrics = desk.edges[0].metrics().await;
    for counted in [r#"{outcome="bus_away"} 1"#, r#"{outcome="overloaded"} 0"#] {
        assert!(
            metrics.contains(&format!("frontdesk_edge_messages_total{counted}")),
            "more room is no help: {metrics}"
        );
    }
    tokio::time::sleep(bus::ACK_WAIT + Duration::from_secs(1)).await;
    desk.nats.as_mut().unwrap().restart(true).await;
    check_back(roles(&desk)).await;
    gate.open();
    events.extend(reply.rest().await);
    check_reply(&events, 0);
    assert_eq!((text(&events).as_str(), desk.n8n.asked()), ("one two three", 1));
    assert_eq!(text(&tab.until("end").await), "two three");
    desk.n8n.will(Script::says(["Hello"]));
    assert_eq!(text(&visitor.hear("message-2", "hi").await), "Hello");
}

/// NATS comes back without its disk. Until `nats-setup` nothing is accepted; the running reply goes on all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_forgot_everything_is_set_up_again() {
    let mut desk = Desk::spread(2, 1, &[]).await;
    let gate = Gate::new();
    desk.n8n.will(Script::lines().begin().items(["one "]).wait(&gate).items(["two"]).end());
    let (visitor, gone) = (desk.visitor().await, desk.visitor().await);
    assert_eq!(gone.delete("/api/v1/session").send().await.unwrap().status(), 204);
    let mut reply = visitor.say("message-1", "hi").await;
    let mut events = reply.chunks(1).await;
    desk.nats.as_mut().unwrap().restart(false).await;
    check_red(&desk.edges, Instant::now()).await;
    for edge in &desk.edges {
        edge.until_log("it lacks the streams").await;
    }
    check_refused(&desk.visitor().await, "message-1").await;
    desk.nats.as_ref().unwrap().set_up(&Config::default()).await;
    check_back(roles(&desk)).await;
    gate.open();
    events.extend(reply.rest().await);
    check_reply(&events, 0);
    assert_eq!((text(&events).as_str(), desk.n8n.asked()), ("one two", 1));
    desk.n8n.will(Script::says(["again"]));
    assert_eq!(text(&visitor.at(&desk.edges[1].url).hear("message-2", "hi").await), "again");
    let validated = gone.get("/api/v1/session/validate").send().await.unwrap();
    assert_eq!(validated.status(), 410, "who ended a session is still known where it ran");
}

/// All packets to and from NATS vanish, without a word, in mid-reply; then they arrive again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_is_a_pause() {
    let Some(wire) = Wire::lay("outage::a_partition_is_a_pause") else { return };
    let nats = NatsServer::start_in(FAR.0, FAR.1).await;
    nats.set_up(&Config::default()).await;
    let mut desk = Desk::at(nats, &[]).await;
    desk.fill(2, 1);
    // Shorter than the client needs to give a connection up, about as long, and longer than the queue waits.
    for (round, lasts) in (1..).zip([1, 5, 13].map(Duration::from_secs)) {
        let gate = Gate::new();
        desk.n8n.will(Script::lines().begin().items(["one "]).wait(&gate).items(["two ", "three"]).end());
        desk.n8n.will(Script::says(["Hello"]));
        let visitor = desk.visitor().await;
        let mut reply = visitor.say("message-1", "hi").await;
        let mut events = reply.chunks(1).await;
        wire.cut();
        let cut = Instant::now();
        check_red(&desk.edges, cut).await;
        let elsewhere = visitor.at(&desk.edges[1].url);
        check_refused(&elsewhere, "message-2").await;
        gate.open();
        tokio::time::sleep(lasts.saturating_sub(cut.elapsed())).await;
        wire.heal();
        check_back(roles(&desk)).await;
        events.extend(reply.rest().await);
        check_reply(&events, 0);
        assert_eq!(text(&events), "one two three", "{lasts:?}");
        // It may have arrived after it was refused. Whoever asks again with the same id gets one reply to one run.
        let again = elsewhere.hear("message-2", "hi").await;
        check_reply(&again, 0);
        assert_eq!(text(&again), "Hello");
        assert_eq!(desk.n8n.asked(), 2 * round);
    }
}

/// One edge's packets vanish for a while: the other edge serves its visitors, and it finds back by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_behind_a_broken_wire_is_replaced_and_comes_back() {
    let mut desk = Desk::spread(1, 1, &[]).await;
    let proxy = Proxy::before(&desk.nats.as_ref().unwrap().url()).await;
    desk.edges.push(desk.launch_with(&["edge"], &[("NATS_URL", &proxy.url)]));
    let gate = Gate::new();
    desk.n8n.will(Script::lines().begin().items(["one "]).wait(&gate).items(["two"]).end());
    let visitor = Visitor::begin(&desk.edges[1].url).await;
    let mut reply = visitor.say("message-1", "hi").await;
    let mut events = reply.chunks(1).await;
    proxy.freeze(true);
    check_red([&desk.edges[1]], Instant::now()).await;
    assert_eq!(desk.edges[0].readiness().await, 200);
    let mut moved = visitor.at(&desk.edges[0].url).listen("", events.last().unwrap().id.as_deref()).await;
    gate.open();
    assert_eq!(text(&moved.until("end").await), "two");
    // It gives the connection up by itself.
    desk.edges[1].until_log("the connection to NATS was lost").await;
    proxy.freeze(false);
    check_back([&desk.edges[1]]).await;
    events.extend(reply.rest().await);
    check_reply(&events, 0);
    assert_eq!((text(&events).as_str(), desk.n8n.asked()), ("one two", 1));
    assert!(desk.edges[1].metric("frontdesk_bus_outages_total").await >= 1.0);
}

/// Each word to NATS and back takes 0.6 s, nearly as long as an edge waits for one: a message is handed on, or refused in
/// bounded time; nothing is doubled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_nats_answers_or_refuses() {
    let mut desk = Desk::spread(1, 0, &[]).await;
    let proxy = Proxy::before(&desk.nats.as_ref().unwrap().url()).await;
    desk.edges.push(desk.launch_with(&["edge"], &[("NATS_URL", &proxy.url)]));
    desk.workers.push(desk.launch_with(&["worker"], &[("NATS_URL", &proxy.url)]));
    let visitor = Visitor::begin(&desk.edges[1].url).await;
    desk.n8n.will(Script::says(["warm"]));
    assert_eq!(text(&visitor.hear("message-0", "hi").await), "warm");
    proxy.delay(300);
    for round in 1..=3 {
        let id = format!("message-{round}");
        desk.n8n.will(Script::says(["one ", "two ", "three"]));
        let mut tries = 0;
        let events = loop {
            let began = Instant::now();
            let reply = visitor.say(&id, "hi").await;
            if reply.status == 200 {
                break reply.rest().await;
            }
            // Who says again what was stored and not confirmed in time makes the edge ask twice in a row.
            let took = began.elapsed();
            assert!(took < 2 * REFUSED_WITHIN, "{} after {took:?}", reply.status);
            assert_eq!((reply.status, &reply.problem().await["code"]), (503, &"overloaded".into()));
            tries += 1;
            assert!(tries < 20, "it is never handed on");
        };
        check_reply(&events, 0);
        assert_eq!(text(&events), "one two three");
        assert_eq!(desk.n8n.asked(), round + 1, "each message ran once");
    }
}

/// The queue is full: refused with the time to try again, and counted; when there is room, all is well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_refuses_and_recovers() {
    let nats = NatsServer::start().await;
    nats.set_up(&Config { queue_max_messages: 2, ..Config::default() }).await;
    let mut desk = Desk::at(nats, &[]).await;
    desk.fill(1, 0);
    let edge = &desk.edges[0];
    let visitors = [desk.visitor().await, desk.visitor().await, desk.visitor().await];
    let first = visitors[0].say("message-1", "hi").await;
    let second = visitors[1].say("message-1", "hi").await;
    assert_eq!((first.status, second.status), (200, 200));
    check_refused(&visitors[2], "message-1").await;
    let metrics = edge.metrics().await;
    for counted in [r#"{outcome="overloaded"} 1"#, r#"{outcome="bus_away"} 0"#] {
        assert!(metrics.contains(&format!("frontdesk_edge_messages_total{counted}")), "{metrics}");
    }
    assert_eq!(edge.readiness().await, 200, "another edge would find the same queue");
    for said in ["Hello", "Hi", "Hey"] {
        desk.n8n.will(Script::says([said]));
    }
    desk.add_worker();
    check_reply(&first.rest().await, 0);
    check_reply(&second.rest().await, 0);
    check_reply(&visitors[2].hear("message-1", "hi").await, 0);
    assert_eq!(desk.n8n.asked(), 3);
}

/// There is no room for the records of new sessions: what can't be claimed is not run, and ends in bounded time. When
/// there is room, all is well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_room_for_records_a_message_ends() {
    let desk = Desk::spread(1, 1, &[("QUEUE_TIMEOUT", "2s")]).await;
    let js = desk.jetstream().await;
    let mut snap = js.get_stream("SNAP").await.unwrap().cached_info().config.clone();
    (snap.max_messages, snap.discard) = (1, async_nats::jetstream::stream::DiscardPolicy::New);
    js.update_stream(&snap).await.unwrap();
    let (first, second) = (desk.visitor().await, desk.visitor().await);
    desk.n8n.will(Script::says(["first"]));
    assert_eq!(text(&first.hear("message-1", "hi").await), "first");
    let began = Instant::now();
    let events = second.hear("message-1", "hi").await;
    assert_eq!(names(&events), ["queued", "failed"]);
    assert_eq!(events[1].data["code"], "queue_timeout");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    snap.max_messages = -1;
    js.update_stream(&snap).await.unwrap();
    desk.n8n.will(Script::says(["second"]));
    assert_eq!(text(&second.hear("message-2", "hi").await), "second");
    assert_eq!(desk.n8n.asked(), 2, "what could not be claimed was not run, then or later");
    check_reply(&first.hear("message-1", "hi").await, 0);
}

/// The server's disk is full for everything: nothing is accepted, and all goes on when there is room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_disk_accepts_nothing() {
    let config = "jetstream { store_dir: $NATS_STORE_DIR, max_file_store: 64MB }";
    let nats = NatsServer::start_with(config, NatsConfig::default()).await;
    nats.set_up_with(&Config::default(), 8 << 20).await;
    let mut desk = Desk::at(nats, &[]).await;
    desk.fill(1, 1);
    let (visitor, js) = (desk.visitor().await, desk.jetstream().await);
    let gate = Gate::new();
    desk.n8n.will(Script::lines().begin().items(["one "]).wait(&gate).items(["two"]).end());
    let mut running = visitor.say("message-1", "hi").await;
    let mut events = running.chunks(1).await;
    // Somebody's own stream takes what is left.
    let hog = async_nats::jetstream::stream::Config {
        name: "HOG".to_owned(),
        subjects: vec!["hog".to_owned()],
        ..Default::default()
    };
    js.create_stream(hog).await.unwrap();
    for size in [512 * 1024, 4096, 16] {
        while js.publish("hog", vec![0; size].into()).await.unwrap().await.is_ok() {}
    }
    check_refused(&desk.visitor().await, "message-1").await;
    // What runs is told to its end, which is recorded when there is room.
    gate.open();
    js.delete_stream("HOG").await.unwrap();
    events.extend(running.rest().await);
    check_reply(&events, 0);
    assert_eq!(text(&events), "one two");
    desk.n8n.will(Script::says(["after"]));
    assert_eq!(text(&visitor.hear("message-2", "hi").await), "after");
    assert_eq!(desk.n8n.asked(), 2);
}

/// Used proofs have no room: signed calls are refused and counted until there is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_room_for_proofs_signed_calls_are_refused() {
    let nats = NatsServer::start().await;
    nats.set_up(&Config { proofs_max: 1, ..Config::default() }).await;
    let mut desk = Desk::at(nats, &[PUBLIC]).await;
    desk.fill(1, 0);
    let edge = &desk.edges[0].url;
    let browser = Browser::begin(edge).await;
    assert_eq!(browser.validate(edge, "the-first-of-three").await.status(), 200);
    let began = Instant::now();
    assert_eq!(browser.validate(edge, "the-second-of-three").await.status(), 503);
    assert!(began.elapsed() < REFUSED_WITHIN);
    let counted = r#"frontdesk_edge_proofs_total{result="overloaded"} 1"#;
    assert!(desk.edges[0].metrics().await.contains(counted));
    desk.nats.as_ref().unwrap().set_up(&Config::default()).await;
    assert_eq!(browser.validate(edge, "the-third-of-three").await.status(), 200);
}

/// `FACTS` is full: the oldest facts go, the chat goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_facts_stop_no_chat() {
    let nats = NatsServer::start().await;
    nats.set_up_with(&Config::default(), 2_000).await;
    let mut desk = Desk::at(nats, &[]).await;
    desk.edges.push(desk.launch(&["edge"]));
    desk.add_worker();
    let visitor = desk.visitor().await;
    for round in 0..10 {
        desk.n8n.will(Script::says(["Hello"]));
        check_reply(&visitor.hear(&format!("message-{round}"), "hi").await, 0);
    }
    let js = desk.jetstream().await;
    let state = js.get_stream("FACTS").await.unwrap().cached_info().state.clone();
    assert!(state.bytes <= 2_000 && state.first_sequence > 1, "{state:?}");
    assert_eq!(desk.edges[0].metric("frontdesk_bus_facts_dropped_total").await, 0.0);
    desk.analytics = Some(desk.launch(&["analytics"]));
    let analytics = desk.analytics.as_ref().unwrap();
    let began = Instant::now();
    // What is left is stored, and what went is counted.
    while analytics.metric("frontdesk_bus_facts_missed_total").await != (state.first_sequence - 1) as f64 {
        assert!(began.elapsed() < Duration::from_secs(20), "{}", analytics.metrics().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A reply of which its visitor has heard a word, at an edge that is frozen since, and behind a NATS that cuts off who
/// does not read.
struct Flood {
    desk: Desk,
    visitor: Visitor,
    reply: Stream,
    heard: Vec<Event>,
    /// Behind it come twenty thousand lines, and nothing more.
    go: Gate,
    /// Behind it comes the end.
    over: Gate,
    whole: String,
}

impl Flood {
    async fn new() -> Self {
        let config = r#"jetstream { store_dir: $NATS_STORE_DIR }
            max_pending: 1MB
            write_deadline: "1s""#;
        let nats = NatsServer::start_with(config, NatsConfig::default()).await;
        nats.set_up(&Config::default()).await;
        let mut desk = Desk::at(nats, &[("REPLY_MAX_BYTES", "64MiB")]).await;
        desk.fill(1, 1);
        let (go, over) = (Gate::new(), Gate::new());
        let flood: Vec<String> = (0..20_000).map(|n| format!("{n} {}\n", "x".repeat(400))).collect();
        let items = flood.iter().map(String::as_str);
        desk.n8n.will(Script::lines().begin().items(["one "]).wait(&go).items(items).wait(&over).items(["last"]).end());
        let visitor = desk.visitor().await;
        let mut reply = visitor.say("message-1", "hi").await;
        let heard = reply.chunks(1).await;
        desk.edges[0].signal("STOP");
        Self { desk, visitor, reply, heard, go, over, whole: format!("one {}last", flood.concat()) }
    }

    /// The visitor hears the rest, of which nothing is missing.
    async fn hear(mut self) -> Desk {
        self.heard.extend(self.reply.chunks(20_000).await);
        self.over.open();
        self.heard.extend(self.reply.rest().await);
        check_reply(&self.heard, 0);
        assert!(text(&self.heard) == self.whole, "all of it, in order");
        self.desk
    }
}

/// A worker talks faster than a frozen edge reads, until the server cuts that edge off. When it goes on, the reply is
/// whole, in order, and comes once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_edge_catches_up() {
    let flood = Flood::new().await;
    flood.go.open();
    let began = Instant::now();
    while flood.desk.workers[0].metric("frontdesk_worker_chunks_total").await < 20_000.0 {
        assert!(began.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    flood.desk.edges[0].signal("CONT");
    let desk = flood.hear().await;
    let edge = &desk.edges[0];
    let lost = edge.metric("frontdesk_bus_unread_total").await + edge.metric("frontdesk_bus_outages_total").await;
    assert!(lost > 0.0, "it had lost something, and counted it: {}", edge.metrics().await);
}

/// The same, and the worker is too busy to answer when the edge asks for what it has missed, which the record has dropped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_that_missed_much_waits_for_a_busy_worker() {
    let flood = Flood::new().await;
    flood.go.open();
    let snap = flood.desk.jetstream().await.get_stream("SNAP").await.unwrap();
    let subject = format!("chat.snap.{}", flood.visitor.session);
    let began = Instant::now();
    let dropped = loop {
        let stored = snap.get_last_raw_message_by_subject(&subject).await.unwrap();
        let record: Record = serde_json::from_slice(&stored.payload).unwrap();
        if record.replies[0].offset > 0 && record.replies[0].next > 20_000 {
            break record.replies[0].offset;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{record:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let listener = async_nats::connect(flood.desk.nats.as_ref().unwrap().url()).await.unwrap();
    let mut asked = listener.subscribe(format!("chat.ask.{}", flood.visitor.session)).await.unwrap();
    listener.flush().await.unwrap();
    let (edge, worker) = (&flood.desk.edges[0], &flood.desk.workers[0]);
    worker.signal("STOP");
    edge.signal("CONT");
    // It asks again when it got no answer.
    for _ in 0..2 {
        let ask = tokio::time::timeout(Duration::from_secs(20), asked.next()).await.expect("it asks").unwrap();
        let ask: Ask = serde_json::from_slice(&ask.payload).unwrap();
        assert!(ask.from < dropped, "{ask:?} {dropped}");
    }
    worker.signal("CONT");
    flood.hear().await;
}

/// The edge's user is taken away and given back while it runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_that_nats_shuts_out_waits_for_its_right() {
    let desk = Desk::guarded(1, 1, &[]).await;
    let (edge, nats) = (&desk.edges[0], desk.nats.as_ref().unwrap());
    let gate = Gate::new();
    desk.n8n.will(Script::lines().begin().items(["one "]).wait(&gate).items(["two"]).end());
    let visitor = desk.visitor().await;
    let mut reply = visitor.say("message-1", "hi").await;
    let mut events = reply.chunks(1).await;
    let other_password = SHIPPED.replace("$NATS_EDGE_PASSWORD", "\"another-one\"");
    assert_ne!(other_password, SHIPPED);
    nats.reload(&other_password);
    check_red([edge], Instant::now()).await;
    check_refused(&visitor, "message-2").await;
    gate.open();
    let began = Instant::now();
    while edge.metric("frontdesk_nats_refusals_total").await == 0.0 {
        assert!(began.elapsed() < BACK_WITHIN, "{}", edge.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    nats.reload(SHIPPED);
    check_back([edge]).await;
    events.extend(reply.rest().await);
    check_reply(&events, 0);
    assert_eq!((text(&events).as_str(), desk.n8n.asked()), ("one two", 1));
    desk.n8n.will(Script::says(["Hello"]));
    assert_eq!(text(&visitor.hear("message-2", "hi").await), "Hello");
}

/// A single right is taken away: what needs it is refused and counted, what does not goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_that_is_taken_away_is_missed_and_counted() {
    let desk = Desk::guarded(1, 1, &[]).await;
    let (edge, nats) = (&desk.edges[0], desk.nats.as_ref().unwrap());
    let visitor = desk.visitor().await;
    desk.n8n.will(Script::says(["Hello"]));
    assert_eq!(text(&visitor.hear("message-1", "hi").await), "Hello");
    let without =
        SHIPPED.replacen("\"chat.req.*\"", "\"nothing\"", 1).replacen("\"$JS.API.STREAM.INFO.SNAP\"", "\"none\"", 1);
    nats.reload(&without);
    check_red([edge], Instant::now()).await;
    check_refused(&visitor, "message-2").await;
    assert!(edge.metric("frontdesk_nats_refusals_total").await > 0.0);
    nats.reload(SHIPPED);
    check_back([edge]).await;
    desk.n8n.will(Script::says(["Hi"]));
    assert_eq!(text(&visitor.hear("message-2", "hi").await), "Hi");
}
