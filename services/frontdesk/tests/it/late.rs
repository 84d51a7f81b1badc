//! Stories of workflows that say more after n8n's answer is over, or broke off.

use reqwest::Client;
use serde_json::{Value, json};
use worker::demo::Script;

use crate::{
    desk::Desk,
    visitor::{Event, Stream, Visitor, check_reply, names, text},
};

const WAITS: (&str, &str) = ("LATE_REPLY_TTL", "10m");

/// The workflow of the message that n8n was asked last.
struct Workflow {
    http: Client,
    url: String,
}

impl Workflow {
    async fn of(desk: &Desk, asked: u64) -> Self {
        desk.n8n.asked_at_least(asked).await;
        let body = desk.n8n.requests().pop().expect("it was asked").json();
        let url = body["reply_url"].as_str().unwrap_or_else(|| panic!("no reply_url in {body}")).to_owned();
        Self { http: Client::builder().no_proxy().build().expect("a client"), url }
    }

    /// Posts, and returns the status and the answer.
    async fn post(&self, key: Option<&str>, body: &Value) -> (u16, Value) {
        let request = self.http.post(&self.url).json(body);
        let request = key.iter().fold(request, |request, key| request.header("idempotency-key", *key));
        let answer = request.send().await.expect("the edge answers");
        (answer.status().as_u16(), answer.json().await.expect("JSON"))
    }

    async fn says(&self, content: &str, last: bool) -> Value {
        let (status, answer) = self.post(None, &json!({"content": content, "final": last})).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }
}

/// Reads until the reply waits; all that came.
async fn until_it_waits(reply: &mut Stream) -> Vec<Event> {
    let events = reply.until("waiting").await;
    let waiting = events.last().expect("it waits");
    assert!(waiting.id.is_none() && waiting.data["until"].is_string(), "{waiting:?}");
    events
}

/// n8n's gateway cuts the answer, and the workflow sends the rest: one whole reply, and one run. What it says after
/// that is a message of its own, at every edge, and a repeat of anything changes nothing.
async fn goes_on(desk: &Desk, elsewhere: &str) {
    desk.n8n.will(Script::lines().begin().items(["one "]).cut());
    let visitor = desk.visitor().await;
    let mut tab = visitor.at(elsewhere).listen("", None).await;
    let mut reply = visitor.say("message-1", "hi").await;
    let mut events = until_it_waits(&mut reply).await;
    let workflow = Workflow::of(desk, 1).await;

    let two = json!({"content": "two ", "final": false});
    let expected = json!({"message_id": "message-1", "kind": "reply", "duplicate": false});
    assert_eq!(workflow.post(Some("a"), &two).await, (200, expected));
    let (status, again) = workflow.post(Some("a"), &two).await;
    assert_eq!((status, &again["duplicate"]), (200, &json!(true)));
    events.extend(reply.chunks(1).await);
    let three = json!({"content": "three"});
    assert_eq!(workflow.post(Some("b"), &three).await.0, 200);
    events.extend(reply.rest().await);
    check_reply(&events, 0);
    assert_eq!(names(&events), ["begin", "chunk", "waiting", "chunk", "end"]);
    assert_eq!((text(&events).as_str(), desk.n8n.asked()), ("one two three", 1));

    // Its last word again, after the end.
    let (status, again) = workflow.post(Some("b"), &three).await;
    assert_eq!((status, &again["kind"], &again["duplicate"]), (200, &json!("reply"), &json!(true)));

    let parcel = json!({"content": "Your parcel has left."});
    let (status, pushed) = workflow.post(Some("c"), &parcel).await;
    assert_eq!((status, &pushed["kind"], &pushed["duplicate"]), (200, &json!("push"), &json!(false)));
    let (_, again) = workflow.post(Some("c"), &parcel).await;
    assert_eq!((&again["message_id"], &again["duplicate"]), (&pushed["message_id"], &json!(true)));
    let mut heard = tab.until("end").await;
    assert_eq!(text(&heard), "one two three");
    let last_seen = heard.last().and_then(|end| end.id.clone()).expect("an end has an id");
    heard = tab.until("end").await;
    check_reply(&heard, 0);
    assert_eq!((names(&heard), text(&heard).as_str()), (vec!["begin", "chunk", "end"], "Your parcel has left."));
    let begin = &heard[0].data;
    assert_eq!((&begin["kind"], &begin["in_reply_to"]), (&json!("push"), &json!("message-1")));
    assert_eq!(begin["message_id"], pushed["message_id"]);
    // Whoever was away when it came gets it as well.
    let later = visitor.listen("", Some(&last_seen)).await.until("end").await;
    assert_eq!(later[1..], heard);
    // A session like any other.
    desk.n8n.will(Script::says(["fine"]));
    assert_eq!(text(&visitor.hear("message-2", "hi").await), "fine");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_that_is_cut_goes_on_in_one_process() {
    let desk = Desk::all_in_one(&[WAITS]).await;
    let edge = desk.edges[0].url.clone();
    goes_on(&desk, &edge).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_that_is_cut_goes_on_over_nats() {
    let desk = Desk::guarded(2, 1, &[WAITS]).await;
    let edge = desk.edges[1].url.clone();
    goes_on(&desk, &edge).await;
}

/// What makes a reply wait, and what does not: n8n's own word for a failure counts at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_waits_only_where_its_workflow_may_go_on() {
    let settings = [WAITS, ("N8N_FIRST_TOKEN_TIMEOUT", "1s"), ("BREAKER_FAILURE_RATE", "0")];
    let desk = Desk::all_in_one(&settings).await;
    let started = Script::json(r#"{"message":"Workflow was started"}"#);
    let mut asked = 0;
    for (script, code) in [
        (Script::hangs_up(), None),
        (Script::lines().begin().items(["x"]).reset(), None),
        (Script::of(504, "text/html").bytes("<html>gateway</html>"), None),
        (Script::of(524, "text/html").bytes("<html>cloud</html>"), None),
        (Script::of(202, ""), None),
        (started, None),
        (Script::lines().hang(), None),
        (Script::lines().begin().items(["x"]).error("no"), Some("upstream_error")),
        (Script::lines().begin().items(["x"]).error("no").cut(), Some("upstream_error")),
        (Script::of(500, "application/json").bytes("{}"), Some("upstream_unreachable")),
        (Script::of(403, "").bytes("no"), Some("upstream_unauthorized")),
        (Script::of(422, "application/json").bytes("{}"), Some("upstream_error")),
        (Script::json(r#"{"odd":1}"#), Some("upstream_invalid")),
    ] {
        desk.n8n.will(script.clone());
        let visitor = desk.visitor().await;
        let mut reply = visitor.say("message-1", "hi").await;
        asked += 1;
        if let Some(code) = code {
            let events = reply.rest().await;
            assert_eq!(events.last().unwrap().data["code"], code, "{script:?}");
            continue;
        }
        until_it_waits(&mut reply).await;
        // The visitor may stop waiting.
        if asked % 2 == 0 {
            visitor.cancel("message-1").await;
            assert_eq!(reply.rest().await.last().unwrap().data["finish_reason"], "cancelled", "{script:?}");
        } else {
            Workflow::of(&desk, asked).await.says("!", true).await;
            assert!(text(&reply.rest().await).ends_with('!'), "{script:?}");
        }
    }
    assert_eq!(desk.n8n.asked(), asked, "each ran once");
}

/// Without the setting nothing waits; and with it, not for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_waits_no_longer_than_it_may() {
    for (setting, expected, code) in [
        (("LATE_REPLY_TTL", "0s"), vec!["begin", "chunk", "failed"], "upstream_error"),
        (("LATE_REPLY_TTL", "1s"), vec!["begin", "chunk", "waiting", "failed"], "upstream_timeout"),
    ] {
        let desk = Desk::all_in_one(&[setting]).await;
        desk.n8n.will(Script::lines().begin().items(["one "]).cut());
        let visitor = desk.visitor().await;
        let events = visitor.hear("message-1", "hi").await;
        check_reply(&events, 0);
        assert_eq!((names(&events), &events.last().unwrap().data["code"]), (expected, &json!(code)));
        // Too late for the reply: it is shown as a message of its own.
        let pushed = Workflow::of(&desk, 1).await.says("Sorry, here it is.", true).await;
        assert_eq!(pushed["kind"], "push");
        let heard = visitor.listen("", events.last().unwrap().id.as_deref()).await.until("end").await;
        assert_eq!(text(&heard), "Sorry, here it is.");
    }
}

/// The worker of a reply that waits is stopped, another one is killed: a third one goes on, and loses nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_that_waits_outlives_its_workers() {
    let mut desk = Desk::spread(2, 1, &[WAITS]).await;
    desk.n8n.will(Script::lines().begin().items(["one "]).cut());
    let visitor = desk.visitor().await;
    let mut reply = visitor.say("message-1", "hi").await;
    let mut events = until_it_waits(&mut reply).await;
    let workflow = Workflow::of(&desk, 1).await;
    desk.workers[0].signal("TERM");
    assert_eq!(desk.workers[0].ended().await.code(), Some(0));
    desk.add_worker();
    workflow.says("two ", false).await;
    events.extend(reply.chunks(1).await);
    desk.workers[1].kill();
    desk.add_worker();
    // Nobody runs it for some seconds; the post waits for the worker that takes over.
    let ((), answer) = tokio::join!(async { events.extend(reply.rest().await) }, workflow.says("three", true));
    assert_eq!(answer["kind"], "reply");
    check_reply(&events, 0);
    assert_eq!((text(&events).as_str(), desk.n8n.asked()), ("one two three", 1));
}

/// Who stopped a reply is shown no more of it; what the workflow sends as a message of its own is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_reply_stays_stopped() {
    let desk = Desk::all_in_one(&[WAITS]).await;
    desk.n8n.will(Script::lines().begin().items(["one "]).cut());
    let visitor = desk.visitor().await;
    let mut reply = visitor.say("message-1", "hi").await;
    until_it_waits(&mut reply).await;
    visitor.cancel("message-1").await;
    let seen = reply.rest().await;
    let workflow = Workflow::of(&desk, 1).await;
    assert_eq!(workflow.says("two", true).await["kind"], "nothing");
    let (status, pushed) = workflow.post(None, &json!({"content": "news", "kind": "push"})).await;
    assert_eq!((status, &pushed["kind"]), (200, &json!("push")));
    let heard = visitor.listen("", seen.last().unwrap().id.as_deref()).await.until("end").await;
    assert_eq!(text(&heard), "news");
}

/// While it waits, the worker answers others: it has one place, and that is free.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_that_waits_takes_no_place() {
    let desk = Desk::all_in_one(&[WAITS, ("WORKER_CONCURRENCY", "1")]).await;
    desk.n8n.will(Script::lines().begin().items(["one "]).cut());
    let mut reply = desk.visitor().await.say("message-1", "hi").await;
    until_it_waits(&mut reply).await;
    let workflow = Workflow::of(&desk, 1).await;
    desk.n8n.will(Script::says(["hello"]));
    assert_eq!(text(&desk.visitor().await.hear("message-1", "hi").await), "hello");
    workflow.says("two", true).await;
    assert_eq!(text(&reply.rest().await), "two");
}

/// The URL is for one message of one session and for its time; nothing else opens it, and it opens nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_url_is_all_that_lets_a_workflow_in() {
    let settings = [
        ("ALLOW_NO_ORIGIN", "false"),
        ("ALLOWED_ORIGINS", "https://shop.example"),
        ("RATE_LIMIT_PER_MINUTE", "8"),
        ("RATE_LIMIT_LATE_PER_MINUTE", "10"),
        ("REPLY_MAX_BYTES", "40KiB"),
    ];
    let desk = Desk::all_in_one(&settings).await;
    desk.n8n.will(Script::says(["hello"]));
    let visitor = Visitor::begin_on(&desk.edges[0].url, "https://shop.example").await;
    let events = visitor.hear("message-1", "hi").await;
    let workflow = Workflow::of(&desk, 1).await;
    let hi = json!({"content": "hi"});

    // Without an Origin, and more often than an address may call.
    for n in 0..5 {
        workflow.says(&format!("push {n}"), true).await;
    }
    for (body, field) in [
        (json!({"content": ""}), None),
        (json!({"content": "", "final": false}), Some("content")),
        (json!({"content": "", "kind": "push"}), Some("content")),
        (json!({"content": 5}), Some("content")),
        (json!({"content": "x", "kind": "other"}), Some("kind")),
    ] {
        let (status, answer) = workflow.post(None, &body).await;
        let expected = if field.is_some() { 400 } else { 200 };
        assert_eq!((status, answer["field"].as_str()), (expected, field), "{body}: {answer}");
    }
    let (status, answer) = workflow.post(None, &hi).await;
    assert_eq!((status, &answer["code"], &answer["scope"]), (429, &json!("rate_limited"), &json!("session")));

    // Its token is no visitor's.
    let mut impostor = visitor.clone();
    workflow.url.rsplit_once('/').unwrap().1.clone_into(&mut impostor.token);
    assert_eq!(impostor.get("/api/v1/session/validate").send().await.unwrap().status(), 401);
    // A page of somebody else's may not use it.
    let foreign = workflow.http.post(&workflow.url).header("origin", "https://evil.example").json(&hi);
    assert_eq!(foreign.send().await.unwrap().status(), 403);

    // Guesses count as calls.
    let damaged = Workflow { url: format!("{}x", workflow.url), http: workflow.http.clone() };
    let session_token = workflow.url.rsplit_once('/').unwrap().0.to_owned() + "/" + &visitor.token;
    let other_kind = Workflow { url: session_token, http: workflow.http.clone() };
    for forged in [&damaged, &other_kind] {
        let (status, answer) = forged.post(None, &hi).await;
        assert_eq!((status, &answer["code"]), (401, &json!("token_invalid")));
    }
    let mut refused = 0;
    for _ in 0..8 {
        refused += u32::from(damaged.post(None, &hi).await.0 == 429);
    }
    assert!(refused > 0, "guessing has a limit");

    assert_eq!(text(&events), "hello");
    // It is written nowhere.
    let log = desk.edges[0].log();
    assert!(!log.contains(&impostor.token) && !log.contains("push 1"), "{log}");
}

/// What is too large is refused, and the reply goes on without it; an ended session takes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_reply_keeps_to_the_limits_of_replies() {
    let desk = Desk::all_in_one(&[WAITS, ("REPLY_MAX_BYTES", "40KiB")]).await;
    desk.n8n.will(Script::lines().begin().items(["one "]).cut());
    let visitor = desk.visitor().await;
    let mut reply = visitor.say("message-1", "hi").await;
    until_it_waits(&mut reply).await;
    let workflow = Workflow::of(&desk, 1).await;
    for (size, status) in [(70_000, 413), (30_000, 200), (30_000, 413)] {
        let body = json!({"content": "ä".repeat(size / 2), "final": false});
        let (got, answer) = workflow.post(None, &body).await;
        assert_eq!((got, answer["code"] == "payload_too_large"), (status, status == 413), "{size}");
    }
    workflow.says("end", true).await;
    let events = reply.rest().await;
    check_reply(&events, 1);
    assert_eq!(text(&events).chars().count(), 15_003);
    assert_eq!(visitor.delete("/api/v1/session").send().await.unwrap().status(), 204);
    let (status, answer) = workflow.post(None, &json!({"content": "hi"})).await;
    assert_eq!((status, &answer["code"]), (410, &json!("session_ended")));
}
