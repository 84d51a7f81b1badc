//! Stories of an n8n that fails, and of what it is spared.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use worker::demo::{Gate, Script};

use crate::{
    desk::{Desk, LIMIT, Process},
    visitor::{Event, Visitor, names, text},
};

/// Two failures are enough, and the circuit stays open for longer than a test takes.
const OPEN: [(&str, &str); 3] = [("BREAKER_MIN_CALLS", "2"), ("BREAKER_OPEN_FOR", "10m"), ("BREAKER_OPEN_MAX", "10m")];
/// The same, but for half a second.
const SOON: [(&str, &str); 3] =
    [("BREAKER_MIN_CALLS", "2"), ("BREAKER_OPEN_FOR", "500ms"), ("BREAKER_OPEN_MAX", "500ms")];

/// Tells one story all in one process and spread over NATS (2 edges, 1 worker).
macro_rules! in_both_modes {
    ($(#[doc = $doc:literal])* $name:ident, $settings:expr, $story:expr) => {
        $(#[doc = $doc])*
        mod $name {
            use super::*;
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn all_in_one() {
                let story: fn(Desk) -> _ = $story;
                story(Desk::all_in_one(&$settings).await).await;
            }
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn spread() {
                let story: fn(Desk) -> _ = $story;
                story(Desk::guarded(2, 1, &$settings).await).await;
            }
        }
    };
}

fn code(events: &[Event]) -> &Value {
    &events.last().expect("there is an end").data["code"]
}

async fn get(url: String) -> String {
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    client.get(url).send().await.expect("it answers").text().await.expect("it is text")
}

/// What `/health` of an edge says of the whole, and of n8n.
async fn health(edge: &Process) -> (String, String) {
    let health: Value = serde_json::from_str(&get(format!("{}/health", edge.url)).await).expect("JSON");
    let word = |value: &Value| value.as_str().expect("a word").to_owned();
    (word(&health["status"]), word(&health["checks"]["n8n"]["status"]))
}

/// Waits until each edge has heard how n8n is.
async fn until(desk: &Desk, status: &str, n8n: &str) {
    let until = Instant::now() + LIMIT;
    for edge in &desk.edges {
        loop {
            let heard = health(edge).await;
            if (heard.0.as_str(), heard.1.as_str()) == (status, n8n) {
                break;
            }
            assert!(Instant::now() < until, "{} says {heard:?}, not {status}, {n8n}", edge.url);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// The value of one line of `/metrics`.
async fn metric(process: &Process, line: &str) -> u64 {
    let all = get(format!("{}/metrics", process.url)).await;
    let value = all.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok());
    value.unwrap_or_else(|| panic!("no {line} in {all}"))
}

/// Where the worker's metrics are.
fn worker(desk: &Desk) -> &Process {
    desk.workers.first().unwrap_or(&desk.edges[0])
}

/// The other edge where there is one.
fn other(desk: &Desk, visitor: &Visitor) -> Visitor {
    visitor.at(&desk.edges.last().expect("there is an edge").url)
}

/// n8n fails twice, and every edge has heard that it isn't called any more, or that of the time after.
async fn break_it(desk: &Desk, visitor: &Visitor, n8n: &str) {
    for n in 0..2 {
        desk.n8n.will(Script::of(500, "application/json").bytes("{}"));
        let events = visitor.hear(&format!("breaks-{n}"), "hi").await;
        assert_eq!(code(&events), "upstream_unreachable");
    }
    until(desk, "degraded", n8n).await;
}

in_both_modes!(
    /// While n8n is down each message fails at once, once, the same at every edge, and n8n is left alone.
    a_broken_n8n_is_left_alone,
    OPEN,
    |desk| async move {
        let visitor = desk.visitor().await;
        let elsewhere = other(&desk, &visitor);
        until(&desk, "ok", "unknown").await;
        let mut tab = visitor.listen("", None).await;
        tab.until("ready").await;
        break_it(&desk, &visitor, "open").await;

        let events = visitor.hear("message-1", "hi").await;
        assert_eq!((names(&events), code(&events)), (vec!["failed"], &json!("circuit_open")));
        assert_eq!((&events[0].data["retryable"], &events[0].data["retry_after"]), (&json!(true), &json!(5)));
        assert_eq!(events[0].id.as_deref(), Some("message-1:z"));
        // The visitor's other tab is told, as of the two that failed before.
        for id in ["breaks-0", "breaks-1", "message-1"] {
            assert_eq!(tab.until("failed").await.last().unwrap().data["message_id"], id);
        }
        // A repeat gets the same end, wherever; another text under its id is refused.
        for at in [&visitor, &elsewhere] {
            assert_eq!(at.hear("message-1", "hi").await, events);
            assert_eq!(at.say("message-1", "ho").await.status, 409);
        }
        // Who wants to read the reply elsewhere is told where, and finds it there, although that edge knows the session.
        let mut far = elsewhere.listen("", None).await;
        far.until("ready").await;
        let said = visitor.post("/api/v1/chat/message", &json!({"message": "hi", "message_id": "message-2"}));
        let said = said.header("accept", "application/json").send().await.unwrap();
        assert_eq!(said.status(), 202);
        let told = elsewhere.listen("?message_id=message-2", None).await.until("failed").await;
        assert_eq!((&told.last().unwrap().data["message_id"], code(&told)), (&json!("message-2"), &json!("circuit_open")));
        // So is who listens there already.
        assert_eq!(far.until("failed").await.last().unwrap().data["message_id"], "message-2");
        // A stream that is asked for with the message works as well.
        let asked = elsewhere.listen("?message=hi&message_id=message-3", None).await.until("failed").await;
        assert_eq!(code(&asked), "circuit_open");
        // Posted twice at the same time, at two edges.
        let twice = tokio::join!(visitor.hear("message-4", "hi"), elsewhere.hear("message-4", "hi"));
        assert_eq!((code(&twice.0), code(&twice.1)), (&json!("circuit_open"), &json!("circuit_open")));
        assert_eq!(desk.n8n.asked(), 2, "n8n was left alone");

        // Accepted and failed, once each.
        let failed: u64 = {
            let mut sum = 0;
            for edge in &desk.edges {
                let line = r#"frontdesk_edge_messages_total{outcome="circuit_open"}"#;
                sum += if get(format!("{}/metrics", edge.url)).await.contains(line) { metric(edge, line).await } else { 0 };
            }
            sum
        };
        assert_eq!(failed, 4);
        let worker = worker(&desk);
        assert_eq!(metric(worker, r#"frontdesk_worker_circuit{site="default"}"#).await, 2);
        assert_eq!(metric(worker, r#"frontdesk_worker_circuit_changes_total{site="default",to="open"}"#).await, 1);
        let failed = metric(worker, r#"frontdesk_worker_site_replies_total{site="default",result="failed"}"#).await;
        assert_eq!(failed, 2, "those that n8n was called for");
        let analytics = desk.analytics.as_ref().unwrap_or(&desk.edges[0]);
        let until = Instant::now() + LIMIT;
        for kind in ["message_accepted", "reply_failed"] {
            let line = format!(r#"frontdesk_analytics_facts_total{{kind="{kind}",outcome="applied"}} 6"#);
            while !get(format!("{}/metrics", analytics.url)).await.contains(&line) {
                assert!(Instant::now() < until, "{}", get(format!("{}/metrics", analytics.url)).await);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
);

in_both_modes!(
    /// What runs when the circuit opens goes on: it is repeated and waited for as ever.
    what_runs_goes_on,
    OPEN,
    |desk| async move {
        let gate = Gate::new();
        desk.n8n.will(Script::lines().begin().items(["one "]).wait(&gate).items(["two"]).end());
        let (visitor, another) = (desk.visitor().await, desk.visitor().await);
        let mut reply = visitor.say("message-1", "hi").await;
        reply.chunks(1).await;
        break_it(&desk, &another, "open").await;
        let elsewhere = other(&desk, &visitor);
        let busy = elsewhere.say("message-2", "hi").await;
        assert_eq!((busy.status, &busy.problem().await["code"]), (409, &json!("session_busy")));
        let mut again = elsewhere.say("message-1", "hi").await;
        again.chunks(1).await;
        gate.open();
        assert_eq!((text(&reply.rest().await), text(&again.rest().await)), ("two".into(), "two".into()));
        assert_eq!(code(&visitor.hear("message-2", "hi").await), "circuit_open");
        assert_eq!(desk.n8n.asked(), 3);
    }
);

in_both_modes!(
    /// n8n comes back: one message tries, then all are answered, and `/health` says so all the way.
    a_mended_n8n_is_found,
    SOON,
    |desk| async move {
        let visitor = desk.visitor().await;
        // Edges let messages pass again by themselves.
        break_it(&desk, &visitor, "half_open").await;
        // Still down: it opens again, by one call.
        desk.n8n.will(Script::of(502, "text/html"));
        assert_eq!(code(&visitor.hear("message-1", "hi").await), "upstream_unreachable");
        let half_open = r#"frontdesk_worker_circuit_changes_total{site="default",to="half_open"}"#;
        let limit = Instant::now() + LIMIT;
        while metric(worker(&desk), half_open).await < 2 {
            assert!(Instant::now() < limit, "it stays open");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        until(&desk, "degraded", "half_open").await;
        assert_eq!(desk.n8n.asked(), 3);

        desk.n8n.will(Script::says(["Hello"]));
        assert_eq!(text(&visitor.hear("message-2", "hi").await), "Hello");
        until(&desk, "ok", "ok").await;
        desk.n8n.will(Script::says(["again"]));
        assert_eq!(text(&other(&desk, &visitor).hear("message-3", "hi").await), "again");
        let worker = worker(&desk);
        assert_eq!(metric(worker, r#"frontdesk_worker_circuit{site="default"}"#).await, 0);
        assert_eq!(metric(worker, r#"frontdesk_worker_circuit_changes_total{site="default",to="closed"}"#).await, 1);
    }
);

in_both_modes!(
    /// A crowd waits for n8n to come back: one message tries, the others fail at once.
    a_crowd_sends_one_probe,
    SOON,
    |desk| async move {
        let visitor = desk.visitor().await;
        break_it(&desk, &visitor, "half_open").await;
        let gate = Gate::new();
        desk.n8n.will(Script::lines().begin().wait(&gate).items(["Hello"]).end());
        let mut probe = visitor.say("message-1", "hi").await;
        desk.n8n.asked_at_least(3).await;
        probe.until("begin").await;
        let crowd = (0..10).map(async |n| {
            let visitor = Visitor::begin(&desk.edges[n % desk.edges.len()].url).await;
            let events = visitor.hear("message-1", "hi").await;
            assert_eq!((names(&events), code(&events)), (vec!["failed"], &json!("circuit_open")));
        });
        futures_util::future::join_all(crowd).await;
        assert_eq!(desk.n8n.asked(), 3, "one call tried");
        assert_eq!(metric(worker(&desk), r#"frontdesk_worker_circuit_refused_total{site="default"}"#).await, 10);
        gate.open();
        assert_eq!(text(&probe.rest().await), "Hello");
        until(&desk, "ok", "ok").await;
    }
);

in_both_modes!(
    /// The visitor cancels the message that tries: nothing is decided, and the next one tries.
    a_cancelled_probe_decides_nothing,
    SOON,
    |desk| async move {
        let visitor = desk.visitor().await;
        break_it(&desk, &visitor, "half_open").await;
        desk.n8n.will(Script::lines().begin().hang());
        let mut probe = visitor.say("message-1", "hi").await;
        probe.until("begin").await;
        visitor.cancel("message-1").await;
        assert_eq!(probe.rest().await.last().unwrap().data["finish_reason"], "cancelled");
        until(&desk, "degraded", "half_open").await;
        desk.n8n.will(Script::says(["Hello"]));
        assert_eq!(text(&visitor.hear("message-2", "hi").await), "Hello");
    }
);

in_both_modes!(
    /// What n8n says for itself opens no circuit, and the breaker can be turned off.
    an_n8n_that_answers_is_called,
    [("BREAKER_MIN_CALLS", "1"), ("BREAKER_FAILURE_RATE", "1"), ("BREAKER_OPEN_FOR", "10m")],
    |desk| async move {
        let visitor = desk.visitor().await;
        let scripts = [
            (Script::lines().error("no"), "upstream_error"),
            (Script::of(401, ""), "upstream_unauthorized"),
            (Script::of(404, "application/json"), "upstream_error"),
            (Script::lines(), "upstream_empty"),
            (Script::lines().begin().items(["one"]).cut(), "upstream_error"),
        ];
        for (n, (script, expected)) in scripts.into_iter().enumerate() {
            desk.n8n.will(script);
            assert_eq!(code(&visitor.hear(&format!("message-{n}"), "hi").await), expected);
        }
        // A connection that breaks before any text is another thing.
        desk.n8n.will(Script::hangs_up());
        assert_eq!(code(&visitor.hear("message-a", "hi").await), "upstream_error");
        until(&desk, "degraded", "open").await;
        assert_eq!(code(&visitor.hear("message-b", "hi").await), "circuit_open");
    }
);

/// The default, turned off: n8n is called however often it fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_breaker_can_be_turned_off() {
    let desk = Desk::all_in_one(&[("BREAKER_FAILURE_RATE", "0"), ("BREAKER_MIN_CALLS", "1")]).await;
    let visitor = desk.visitor().await;
    for n in 0..3 {
        desk.n8n.will(Script::of(500, ""));
        assert_eq!(code(&visitor.hear(&format!("message-{n}"), "hi").await), "upstream_unreachable");
    }
    assert_eq!(desk.n8n.asked(), 3);
}

/// Tries are under a budget; a message that finds it used up fails at once, and is counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_budget_nothing_is_tried_again() {
    let settings = [("N8N_RETRY_BUDGET", "0"), ("N8N_RETRY_FLOOR", "0"), ("N8N_RETRY_BACKOFF", "1m")];
    let desk = Desk::all_in_one(&settings).await;
    desk.n8n.will(Script::starting());
    assert_eq!(code(&desk.visitor().await.hear("message-1", "hi").await), "upstream_unreachable");
    assert_eq!(desk.n8n.asked(), 1);
    assert_eq!(metric(&desk.edges[0], "frontdesk_worker_retries_total").await, 0);
    assert_eq!(metric(&desk.edges[0], "frontdesk_worker_retries_refused_total").await, 1);
}

/// A worker that can't reach n8n beside one that can: the one leaves all messages to the other, and takes them again
/// when the other is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_cut_off_is_no_black_hole() {
    let settings = [OPEN.as_slice(), &[("N8N_CONNECT_RETRIES", "0")]].concat();
    let mut desk = Desk::guarded(2, 0, &settings).await;
    // Nobody listens there.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    desk.workers.push(desk.launch_with(&["worker"], &[("N8N_WEBHOOK_URL", &format!("http://{closed}/webhook/x"))]));
    let visitor = desk.visitor().await;
    for n in 0..2 {
        assert_eq!(code(&visitor.hear(&format!("breaks-{n}"), "hi").await), "upstream_unreachable");
    }
    until(&desk, "degraded", "open").await;
    desk.add_worker();
    // The other one is heard, so that edges hand messages on again.
    until(&desk, "ok", "unknown").await;
    for n in 0..20 {
        let answered = visitor.hear(&format!("message-{n}"), "hi").await;
        assert_eq!(text(&answered), "tok1 tok2 tok3 ", "{answered:?}");
    }
    assert_eq!(desk.n8n.asked(), 20, "once each");
    let failed = r#"frontdesk_worker_replies_total{outcome="upstream_unreachable"}"#;
    assert_eq!(metric(&desk.workers[0], failed).await, 2, "none but the first ones failed");
    desk.workers[1].kill();
    until(&desk, "degraded", "open").await;
    assert_eq!(code(&visitor.hear("message-a", "hi").await), "circuit_open");
}
