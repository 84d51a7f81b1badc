//! Messages and replies when nothing dies.

use std::time::Duration;

use serde_json::{Value, json};
use worker::demo::{Gate, Script};

use crate::{
    desk::Desk,
    visitor::{Event, Visitor, check_reply, names, text},
};

/// Tells one story all in one process and spread over NATS (2 edges, 2 workers).
macro_rules! in_both_modes {
    ($(#[doc = $doc:literal])* $name:ident, $settings:expr, $story:expr) => {
        $(#[doc = $doc])*
        mod $name {
            use super::*;
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn all_in_one() {
                let desk = Desk::all_in_one(&$settings).await;
                let story: fn(std::sync::Arc<Desk>) -> _ = $story;
                story(std::sync::Arc::new(desk)).await;
            }
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn spread() {
                let desk = Desk::spread(2, 2, &$settings).await;
                let story: fn(std::sync::Arc<Desk>) -> _ = $story;
                story(std::sync::Arc::new(desk)).await;
            }
        }
    };
}

/// The other edge where there is one.
fn other(desk: &Desk, visitor: &Visitor) -> Visitor {
    visitor.at(&desk.edges.last().expect("there is an edge").url)
}

fn failure(events: &[Event]) -> &Value {
    &events.last().expect("there is an end").data["code"]
}

in_both_modes!(
    /// A message gets its reply, streamed, and n8n gets what the contract says.
    a_message_gets_a_streamed_reply,
    [],
    |desk| async move {
        desk.n8n.will(Script::says(["Hel", "lo ", "there"]));
        let visitor = desk.visitor().await;
        let events = visitor.hear("message-1", "Where is my <b>parcel</b>?").await;
        check_reply(&events, 0);
        assert_eq!((names(&events), text(&events).as_str()), (vec!["begin", "chunk", "end"], "Hello there"));
        let end = &events.last().unwrap().data;
        assert_eq!((&end["chunks"], &end["finish_reason"]), (&json!(3), &json!("stop")));
        let ids: Vec<_> = events.iter().map(|event| event.id.clone().unwrap()).collect();
        assert_eq!(ids, ["message-1:b", "message-1:0", "message-1:1", "message-1:2", "message-1:z"]);

        let asked = &desk.n8n.requests()[0];
        assert_eq!(asked.headers["x-api-key"], "a-key");
        assert_eq!(asked.headers["idempotency-key"], "message-1");
        assert!(!asked.headers.contains_key("authorization"));
        let body = asked.json();
        assert_eq!(body["chatInput"], "Where is my parcel?");
        assert_eq!(body["sessionId"], json!(visitor.session));
        assert!(body["jwt_token"].as_str().unwrap().split('.').count() == 3);
    }
);

in_both_modes!(
    /// The first word is here while n8n is still writing.
    the_first_word_does_not_wait,
    [],
    |desk| async move {
        let gate = Gate::new();
        desk.n8n.will(Script::lines().begin().items(["first "]).wait(&gate).items(["last"]).end());
        let mut reply = desk.visitor().await.say("message-1", "hi").await;
        let first = reply.chunks(1).await;
        assert_eq!(text(&first), "first ");
        gate.open();
        let rest = reply.rest().await;
        assert_eq!((names(&rest), text(&rest).as_str()), (vec!["chunk", "end"], "last"));
    }
);

in_both_modes!(
    /// Another tab, at another edge, sees the reply live; one that comes later sees it from its beginning.
    other_tabs_follow_live,
    [],
    |desk| async move {
        let gate = Gate::new();
        desk.n8n.will(Script::lines().begin().items(["one ", "two "]).wait(&gate).items(["three"]).end());
        let visitor = desk.visitor().await;
        let mut early = other(&desk, &visitor).listen("", None).await;
        assert_eq!(early.next().await.unwrap().data, json!({"session_id": visitor.session, "resumed": false}));
        let mut reply = visitor.say("message-1", "hi").await;
        reply.chunks(2).await;
        assert_eq!(text(&early.chunks(2).await), "one two ");
        let mut late = other(&desk, &visitor).listen("", None).await;
        let replayed = late.chunks(2).await;
        assert_eq!((names(&replayed), text(&replayed).as_str()), (vec!["ready", "begin", "chunk"], "one two "));
        gate.open();
        for stream in [&mut reply, &mut early, &mut late] {
            let rest = stream.until("end").await;
            assert_eq!((names(&rest), text(&rest).as_str()), (vec!["chunk", "end"], "three"));
        }
        // The session's stream stays open after a reply's end; the message's own is over.
        assert!(reply.next().await.is_none());
        desk.n8n.will(Script::says(["again"]));
        visitor.hear("message-2", "hi").await;
        assert_eq!(text(&early.until("end").await), "again");
    }
);

in_both_modes!(
    /// A stream cut after chunk k goes on at the other edge with exactly the rest.
    a_cut_stream_resumes_exactly,
    [],
    |desk| async move {
        let words: Vec<String> = (0..40).map(|n| format!("wörd{n}\n\"{n}\" ")).collect();
        let whole: String = words.concat();
        for cut in [0_usize, 1, 7, 39] {
            let gate = Gate::new();
            let items = words.iter().map(String::as_str);
            let script = Script::lines().begin().items(items.clone().take(cut + 1)).wait(&gate);
            desk.n8n.will(script.items(items.skip(cut + 1)).end());
            let visitor = desk.visitor().await;
            let mut reply = visitor.say("message-1", "hi").await;
            let mut seen = reply.chunks(cut + 1).await;
            let last = seen.last().unwrap().id.clone().unwrap();
            drop(reply);
            let mut resumed = other(&desk, &visitor).listen("", Some(&last)).await;
            assert_eq!(resumed.next().await.unwrap().data["resumed"], true);
            gate.open();
            let rest = resumed.until("end").await;
            check_reply(&rest, cut as u64 + 1);
            seen.extend(rest);
            check_reply(&seen, 0);
            assert_eq!(text(&seen), whole);
            // After its end too, from the record.
            let mut after = other(&desk, &visitor).listen("?message_id=message-1", Some(&last)).await;
            assert_eq!(text(&after.until("end").await), words[cut + 1..].concat());
        }
    }
);

in_both_modes!(
    /// Twenty posts of one message at both edges at once: one run, and everybody gets the whole reply.
    parallel_copies_run_once,
    [],
    |desk| async move {
        for round in 1..=5 {
            let gate = Gate::new();
            desk.n8n.will(Script::lines().wait(&gate).begin().items(["a ", "b ", "c"]).end());
            let visitor = desk.visitor().await;
            let copies = (0..20).map(|n| {
                let visitor = if n % 2 == 0 { visitor.clone() } else { other(&desk, &visitor) };
                async move { visitor.hear("message-1", "hi").await }
            });
            let open = async {
                desk.n8n.asked_at_least(round).await;
                gate.open();
            };
            let (copies, ()) = tokio::join!(futures_util::future::join_all(copies), open);
            for events in copies {
                check_reply(&events, 0);
                assert_eq!(text(&events), "a b c");
            }
            assert_eq!(desk.n8n.asked(), round, "one run");
        }
    }
);

in_both_modes!(
    /// An EventSource that asked by GET comes back and does not ask again, with and without a last event.
    a_reconnecting_event_source_asks_once,
    [],
    |desk| async move {
        let gate = Gate::new();
        desk.n8n.will(Script::lines().begin().items(["one "]).wait(&gate).items(["two"]).end());
        let visitor = desk.visitor().await;
        let ask = "?message=hello&message_id=message-1";
        let mut first = visitor.listen(ask, None).await;
        let seen = first.chunks(1).await;
        let last = seen.last().unwrap().id.clone().unwrap();
        drop(first);
        let mut again = other(&desk, &visitor).listen(ask, Some(&last)).await;
        let mut fresh = other(&desk, &visitor).listen(ask, None).await;
        gate.open();
        assert_eq!(text(&again.until("end").await), "two");
        assert_eq!(text(&fresh.until("end").await), "one two");
        assert_eq!(desk.n8n.asked(), 1);
        assert_eq!(desk.n8n.requests()[0].json()["chatInput"], "hello");
        let refused = visitor.listen("?message=hello", None).await;
        assert_eq!((refused.status, refused.problem().await["field"].clone()), (400, json!("message_id")));
    }
);

in_both_modes!(
    /// A repeat replays; the same id with another text is a conflict; another message while one runs is busy.
    repeats_conflicts_and_busy,
    [],
    |desk| async move {
        let gate = Gate::new();
        desk.n8n.will(Script::lines().begin().items(["one "]).wait(&gate).items(["two"]).end());
        let visitor = desk.visitor().await;
        let mut reply = visitor.say("message-1", "hi").await;
        reply.chunks(1).await;
        let elsewhere = other(&desk, &visitor);
        for who in [&visitor, &elsewhere] {
            let conflict = who.say("message-1", "something else").await;
            assert_eq!((conflict.status, conflict.problem().await["code"].clone()), (409, json!("message_conflict")));
            let busy = who.say("message-2", "hi").await;
            assert_eq!(busy.status, 409);
            let problem = busy.problem().await;
            assert_eq!((&problem["code"], &problem["running"]), (&json!("session_busy"), &json!("message-1")));
        }
        gate.open();
        reply.rest().await;
        for who in [&visitor, &elsewhere] {
            let repeat = who.hear("message-1", "hi").await;
            check_reply(&repeat, 0);
            assert_eq!(text(&repeat), "one two");
        }
        assert_eq!(desk.n8n.asked(), 1);
    }
);

in_both_modes!(
    /// Stop ends the reply and the call to n8n, also from another edge; of what is unknown nothing comes.
    a_reply_can_be_cancelled,
    [],
    |desk| async move {
        desk.n8n.will(Script::lines().begin().items(["one "]).hang());
        let visitor = desk.visitor().await;
        let mut reply = visitor.say("message-1", "hi").await;
        reply.chunks(1).await;
        other(&desk, &visitor).cancel("message-9").await;
        other(&desk, &visitor).cancel("message-1").await;
        let rest = reply.rest().await;
        let end = &rest.last().unwrap().data;
        assert_eq!((names(&rest), &end["finish_reason"]), (vec!["end"], &json!("cancelled")));
        desk.n8n.left_at_least(1).await;
        visitor.cancel("message-1").await;
    }
);

in_both_modes!(
    /// With ON_BUSY=replace a new message ends the running one.
    a_new_message_can_replace_the_running_one,
    [("ON_BUSY", "replace")],
    |desk| async move {
        desk.n8n.will(Script::lines().begin().items(["one "]).hang());
        desk.n8n.will(Script::says(["two"]));
        let visitor = desk.visitor().await;
        let mut first = visitor.say("message-1", "hi").await;
        first.chunks(1).await;
        let second = other(&desk, &visitor).hear("message-2", "no, wait").await;
        assert_eq!(text(&second), "two");
        assert_eq!(first.rest().await.last().unwrap().data["finish_reason"], "cancelled");
    }
);

in_both_modes!(
    /// With `Accept: application/json` the place of the reply is told; a ticket opens it without headers.
    the_reply_can_be_read_elsewhere,
    [],
    |desk| async move {
        desk.n8n.will(Script::says(["Hello"]));
        let visitor = desk.visitor().await;
        let said = visitor.post("/api/v1/chat/message", &json!({"message": "hi"})).header("accept", "application/json");
        let said = said.send().await.unwrap();
        assert_eq!(said.status(), 202);
        let accepted: Value = said.json().await.unwrap();
        assert_eq!(accepted["session_id"], json!(visitor.session));
        let url = accepted["stream_url"].as_str().unwrap();
        assert!(url.ends_with(&format!("?message_id={}", accepted["message_id"].as_str().unwrap())), "{url}");

        let ticket: Value =
            visitor.post("/api/v1/chat/ticket", &json!({})).send().await.unwrap().json().await.unwrap();
        let by_ticket = format!("{url}&ticket={}", ticket["ticket"].as_str().unwrap());
        let body = other(&desk, &visitor).get_plain(&by_ticket).send().await.unwrap();
        assert_eq!(body.status(), 200);
        let mut wire = String::new();
        let mut body = body;
        while !wire.contains("event: end") {
            wire.push_str(std::str::from_utf8(&body.chunk().await.unwrap().unwrap()).unwrap());
        }
        assert!(wire.starts_with("retry: 2000\n\nevent: ready\ndata: {"), "{wire}");
        assert!(wire.contains("\"content\":\"Hello\""), "{wire}");
    }
);

in_both_modes!(
    /// However n8n fails, the visitor gets exactly one `failed` with the contract's code, and never n8n's own words.
    failures_have_their_codes,
    [
        ("N8N_FIRST_TOKEN_TIMEOUT", "2s"),
        ("N8N_IDLE_TIMEOUT", "300ms"),
        ("N8N_ERROR_IDLE_TIMEOUT", "100ms"),
        ("N8N_CONNECT_RETRIES", "0"),
        ("REPLY_MAX_BYTES", "1000")
    ],
    |desk| async move {
        let visitor = desk.visitor().await;
        let long = "x".repeat(400);
        let cases = [
            ("cut", Script::lines().begin().items(["a "]).cut(), "upstream_error"),
            ("error", Script::lines().begin().items(["a "]).error("secret words"), "upstream_error"),
            ("stuck", Script::lines().begin().items(["a "]).error("secret words").hang(), "upstream_timeout"),
            ("silent", Script::lines().begin().items(["a "]).hang(), "upstream_timeout"),
            ("empty", Script::lines(), "upstream_empty"),
            ("down", Script::starting(), "upstream_unreachable"),
            ("page", Script::of(502, "text/html").bytes("<html>secret words</html>"), "upstream_unreachable"),
            ("key", Script::of(403, "text/plain").bytes("secret words"), "upstream_unauthorized"),
            ("lost", Script::of(404, "application/json").bytes(r#"{"code":404}"#), "upstream_error"),
            ("odd", Script::json(r#"{"message":"Workflow was started"}"#), "upstream_invalid"),
            ("large", Script::json(&format!(r#"{{"output":"{}"}}"#, "x".repeat(2000))), "too_large"),
            ("endless", Script::lines().begin().items([long.as_str(); 3]).hang(), "too_large"),
        ];
        for (n, (word, script, code)) in cases.into_iter().enumerate() {
            desk.n8n.when(word, script);
            let events = visitor.hear(&format!("message-{n}"), word).await;
            check_reply(&events, 0);
            assert_eq!(failure(&events), code, "{word}: {events:?}");
            assert!(!format!("{events:?}").contains("secret words"), "{word}");
        }
        // And goes on as if nothing had been.
        desk.n8n.when("fine", Script::json(r#"{"output":"all well"}"#));
        assert_eq!(text(&visitor.hear("message-99", "fine").await), "all well");
    }
);

in_both_modes!(
    /// A reply larger than what the record keeps is replayed whole while its worker lives, and with a gap after that.
    what_is_no_longer_kept_is_a_gap,
    [],
    |desk| async move {
        let gate = Gate::new();
        let piece = "x".repeat(10_000);
        let pieces = vec![piece.as_str(); 20];
        desk.n8n.will(Script::lines().begin().items(pieces.iter().copied()).wait(&gate).items(["end"]).end());
        let visitor = desk.visitor().await;
        let mut reply = visitor.say("message-1", "hi").await;
        reply.chunks(20).await;
        let mut late = other(&desk, &visitor).listen("", None).await;
        assert_eq!(text(&late.chunks(20).await).len(), 200_000, "from the worker's buffer");
        gate.open();
        reply.rest().await;
        late.until("end").await;
        let mut foreign = visitor.listen("", Some("message-77:4")).await;
        assert_eq!(foreign.next().await.unwrap().data["resumed"], false);
        assert_eq!(foreign.next().await.unwrap().data["after"], "message-77:4");
        let mut unreadable = visitor.listen("?last_event_id=rubbish", None).await;
        unreadable.next().await;
        assert_eq!(unreadable.next().await.unwrap().name, "gap");
        let mut unknown = visitor.listen("?message_id=message-77", None).await;
        unknown.next().await;
        assert_eq!(unknown.next().await.unwrap().name, "gap");
    }
);

in_both_modes!(
    /// A silent stream carries comments, and ends in time; the client comes back and misses nothing.
    streams_show_life_and_rotate,
    [("SSE_HEARTBEAT", "50ms"), ("STREAM_MAX_AGE", "600ms")],
    |desk| async move {
        let visitor = desk.visitor().await;
        let response = visitor.get(&format!("/api/v1/chat/stream/{}", visitor.session)).send().await.unwrap();
        assert_eq!(response.headers()["cache-control"], "no-store, no-transform");
        assert_eq!(response.headers()["x-accel-buffering"], "no");
        let wire = tokio::time::timeout(Duration::from_secs(5), response.text()).await.expect("it ends").unwrap();
        assert!(wire.matches(": hb\n\n").count() >= 3, "{wire}");
    }
);

/// Foreign sessions are refused alike, whether they exist or not.
#[tokio::test]
async fn another_session_can_not_be_read() {
    let desk = Desk::all_in_one(&[]).await;
    let (one, two) = (desk.visitor().await, desk.visitor().await);
    for session in [two.session.as_str(), "sess_1_0000000000000000", "nonsense"] {
        let refused = one.get(&format!("/api/v1/chat/stream/{session}")).send().await.unwrap();
        assert_eq!(refused.status(), 403);
        assert_eq!(refused.json::<Value>().await.unwrap()["code"], "session_mismatch");
    }
}
