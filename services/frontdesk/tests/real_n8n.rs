//! The built executable against a real n8n: `scripts/n8n.sh run -- cargo test -p frontdesk --test real_n8n -- --ignored`
//! starts n8n with the workflows of `tests/n8n` and `n8n/workflows`, and a scripted model behind it.
#![allow(dead_code, reason = "the harness has more than these stories use")]

#[path = "it/collector.rs"]
mod collector;
#[path = "it/desk.rs"]
mod desk;
#[path = "real_n8n/doctor.rs"]
mod doctor;
#[path = "it/visitor.rs"]
mod visitor;
#[path = "it/waterfall.rs"]
mod waterfall;

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use desk::Desk;
use visitor::{Event, check_reply, names, text};

fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is set by scripts/n8n.sh run"))
}

/// Frontdesk in front of one workflow.
struct Shop {
    url: String,
    key: String,
    secret: String,
}

impl Shop {
    fn new(path: &str) -> Self {
        let url = format!("{}/webhook/{path}", setting("N8N_URL"));
        Self { url, key: setting("N8N_API_KEY"), secret: setting("N8N_JWT_SECRET") }
    }

    fn settings(&self) -> [(&str, &str); 4] {
        [
            ("N8N_WEBHOOK_URL", &self.url),
            ("N8N_API_KEY", &self.key),
            ("SESSION_SECRET_KEY", &self.secret),
            ("N8N_ERROR_IDLE_TIMEOUT", "1s"),
        ]
    }

    async fn open(&self) -> Desk {
        Desk::all_in_one(&self.settings()).await
    }

    async fn hear(&self, words: &str) -> Vec<Event> {
        let desk = self.open().await;
        let events = desk.visitor().await.hear("message-1", words).await;
        check_reply(&events, 0);
        events
    }
}

/// What the model was asked, newest last.
async fn model_log() -> Vec<Value> {
    let log = reqwest::get(format!("{}/log", setting("LLM_URL"))).await.expect("the model server answers");
    let log: Value = log.json().await.expect("JSON");
    log["requests"].as_array().expect("a list").clone()
}

fn code(events: &[Event]) -> &Value {
    &events.last().expect("there is an end").data["code"]
}

/// The users' workflow: key and `jwt_token` are checked by n8n itself, the first word is here while it still writes,
/// and the reply can be followed at another edge.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs n8n: scripts/n8n.sh run -- …"]
async fn the_support_agent_streams() {
    let desk = Desk::spread(2, 2, &Shop::new("frontdesk-support").settings()).await;
    let visitor = desk.visitor().await;
    let mut reply = visitor.say("message-1", "where is parcel [[n=30]] [[delay=100]]").await;
    let mut events = reply.chunks(2).await;
    let asked = model_log().await;
    let running = asked.iter().rev().find(|asked| asked["prompt"].as_str().is_some_and(|p| p.contains("parcel")));
    assert!(running.is_some_and(|asked| asked["sent"].as_u64().unwrap_or(0) < 30), "n8n is still writing: {running:?}");
    let mut other = visitor.at(&desk.edges[1].url).listen("", None).await;
    events.extend(reply.rest().await);
    check_reply(&events, 0);
    let whole: String = (1..=30).map(|n| format!("tok{n} ")).collect();
    assert_eq!((names(&events), text(&events)), (vec!["begin", "chunk", "end"], whole.clone()));
    assert_eq!(text(&other.until("end").await), whole);
}

/// n8n's own execution is in the visitor's trace, below the very call that started it. `UPDATE_DOCS=1` draws the picture in
/// docs/tracing.md anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs n8n: scripts/n8n.sh run -- …"]
async fn n8n_is_a_part_of_the_trace() {
    let collector = collector::Collector::start_at(&setting("N8N_TRACES_ADDR")).await;
    let shop = Shop::new("frontdesk-support");
    let desk = Desk::spread(1, 1, &[&shop.settings()[..], &collector.settings()].concat()).await;
    let visitor = desk.visitor().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let said = json!({"message": "where is my parcel [[n=5]] [[delay=20]]", "message_id": "message-1"});
    let said = visitor.post("/api/v1/chat/message", &said);
    let said = said.header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"));
    let reply = visitor::Stream::of(said.send().await.expect("the edge answers"));
    check_reply(&reply.rest().await, 0);

    let stored = ("process fact.{site}.{kind}", 2);
    let wanted = [("POST /api/v1/chat/message", 1), ("reply", 1), ("POST n8n", 1), ("workflow.execute", 1), stored];
    let spans = collector.trace(trace, &wanted).await;
    let one = |name: &str| spans.iter().find(|span| span.name == name).expect("it came");
    let (call, execution) = (one("POST n8n"), one("workflow.execute"));
    assert_eq!(execution.parent, call.id, "{spans:#?}");
    // n8n writes down how it went after it has answered.
    assert!(one("reply").start <= execution.start && call.start <= execution.start, "{spans:#?}");
    assert_eq!((call.service.as_str(), call.failed), ("frontdesk-worker", false));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let picture = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/tracing.svg");
        std::fs::write(picture, waterfall::svg(&spans)).expect("it can be written");
    }
    assert!(execution.service != call.service && spans.iter().any(|span| span.name == "node.execute"), "{spans:#?}");
}

/// A session of n8n's owner, for what the tests must do in n8n itself.
async fn api_key(scopes: &[&str]) -> String {
    visitor::use_ring();
    let url = setting("N8N_URL");
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    // As in tests/n8n/admin.py.
    let owner = json!({"emailOrLdapLoginId": "owner@example.com", "password": "Throwaway-Pass1"});
    let post = |path: &str| http.post(format!("{url}/rest/{path}")).header("browser-id", "frontdesk-tests");
    let login = post("login").json(&owner).send().await.expect("n8n answers");
    let cookie = login.headers()["set-cookie"].to_str().expect("text").split(';').next().expect("a cookie").to_owned();
    // n8n refuses a second key of one name, and several tests want one.
    static MADE: AtomicU64 = AtomicU64::new(0);
    let label = format!("frontdesk {} {}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
    let body = json!({"label": label, "scopes": scopes, "expiresAt": null});
    let made = post("api-keys").header("cookie", cookie).json(&body).send().await.expect("n8n answers");
    let made: Value = made.json().await.expect("JSON");
    made["data"]["rawApiKey"].as_str().unwrap_or_else(|| panic!("no key in {made}")).to_owned()
}

/// What a visitor cancels is stopped in n8n: the execution is canceled and the model is asked no more; another visitor's
/// goes on. A key that may list and stop executions is enough.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs n8n: scripts/n8n.sh run -- …"]
async fn a_cancelled_reply_is_stopped_in_n8n() {
    let token = api_key(&["execution:list", "execution:stop"]).await;
    let api = format!("{}/api/v1", setting("N8N_URL"));
    let list = async |status: &str| -> Value {
        let url = format!("{api}/executions?status={status}&includeData=true&limit=50");
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        let answer = http.get(url).header("x-n8n-api-key", &token).send().await.expect("n8n answers");
        answer.json().await.expect("JSON")
    };
    // A Webhook node and a Chat Trigger show what they were given in different places.
    for path in ["fd-stream", "fd-chat/chat"] {
        let shop = Shop::new(path);
        let api = [("N8N_API_URL", api.as_str()), ("N8N_API_TOKEN", token.as_str())];
        let desk = Desk::all_in_one(&[&shop.settings()[..], &api].concat()).await;
        let (stops, stays) = (desk.visitor().await, desk.visitor().await);
        let mut other = stays.say("message-1", "hi [[n=400]] [[delay=50]]").await;
        other.chunks(2).await;
        let mut reply = stops.say("message-1", "hi [[n=400]] [[delay=50]]").await;
        reply.chunks(2).await;
        stops.cancel("message-1").await;
        assert_eq!(reply.rest().await.last().expect("an end").data["finish_reason"], "cancelled");
        let until = std::time::Instant::now() + desk::LIMIT;
        while !list("canceled").await.to_string().contains(&stops.session) {
            assert!(std::time::Instant::now() < until, "{path}: it is not stopped");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        let running = list("running").await.to_string();
        assert!(running.contains(&stays.session) && !running.contains(&stops.session), "{path}");
        assert_eq!(text(&other.chunks(1).await).split_whitespace().count(), 1, "the other one goes on");
        stays.cancel("message-1").await;
    }
}

/// A token of another secret and a wrong key get no word out of the workflow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs n8n: scripts/n8n.sh run -- …"]
async fn n8n_refuses_what_is_not_ours() {
    let forged = Shop { secret: "Tn5bVx2cRk8mWq4zHj7sLp1dFy6gAe3u".into(), ..Shop::new("frontdesk-support") };
    let events = forged.hear("hi").await;
    assert_eq!((code(&events), text(&events).as_str()), (&json!("upstream_error"), ""));
    let wrong_key = Shop { key: "not-the-key".into(), ..Shop::new("frontdesk-support") };
    let events = wrong_key.hear("hi").await;
    assert_eq!((code(&events), names(&events)), (&json!("upstream_unauthorized"), vec!["failed"]));
}

/// The users' workflow with memory remembers within a session, and not across.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs n8n: scripts/n8n.sh run -- …"]
async fn the_agent_with_memory_remembers_its_session() {
    let desk = Shop::new("frontdesk-support-memory").open().await;
    let (one, two) = (desk.visitor().await, desk.visitor().await);
    assert_eq!(code(&one.hear("message-1", "my name is Zebulon [[n=2]]").await), &Value::Null);
    check_reply(&one.hear("message-2", "second-of-one [[n=2]]").await, 0);
    check_reply(&two.hear("message-1", "first-of-two [[n=2]]").await, 0);
    let asked = model_log().await;
    let seen_by = |word: &str| {
        let asked = asked.iter().rev().find(|asked| asked["prompt"].as_str().is_some_and(|p| p.contains(word)));
        asked.unwrap_or_else(|| panic!("{word} was asked"))["messages"].to_string()
    };
    assert!(seen_by("second-of-one").contains("Zebulon"));
    assert!(!seen_by("first-of-two").contains("Zebulon"));
}

/// A Chat Trigger streams as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs n8n: scripts/n8n.sh run -- …"]
async fn a_chat_trigger_streams() {
    let events = Shop::new("fd-chat/chat").hear("hi [[utf8]]").await;
    assert!(text(&events).starts_with("Grüße aus Köln — 日本語") && names(&events) == ["begin", "chunk", "end"]);
}

/// A workflow that answers at its end in JSON.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs n8n: scripts/n8n.sh run -- …"]
async fn the_last_node_answers_at_once() {
    let events = Shop::new("fd-last").hear("hi [[n=3]]").await;
    assert_eq!((text(&events).as_str(), names(&events)), ("tok1 tok2 tok3 ", vec!["begin", "chunk", "end"]));
}

/// Text, a tool call, text: one reply, a blank line between the turns.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs n8n: scripts/n8n.sh run -- …"]
async fn a_tool_call_is_one_reply() {
    let events = Shop::new("fd-tool").hear("hi [[tool=calculator]] [[n=3]]").await;
    assert_eq!(text(&events), "Let me look. \n\ntok1 tok2 tok3 ");
}

/// The model dies after three words: they stay, the visitor is told, and n8n's own words stay inside.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs n8n: scripts/n8n.sh run -- …"]
async fn a_model_that_dies_is_told() {
    let events = Shop::new("fd-stream").hear("hi [[n=9]] [[die=3]] [[delay=20]]").await;
    assert_eq!((code(&events), text(&events).as_str()), (&json!("upstream_error"), "tok1 tok2 tok3 "));
    assert!(!format!("{events:?}").contains("TypeError"));
}

/// A workflow that answers when it is done, by its `reply_url`: n8n only said that it has started.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs n8n: scripts/n8n.sh run -- …"]
async fn a_late_reply_comes() {
    let shop = Shop::new("frontdesk-late");
    let mut settings = shop.settings().to_vec();
    settings.push(("LATE_REPLY_TTL", "1m"));
    let desk = Desk::spread(2, 1, &settings).await;
    let events = desk.visitor().await.hear("message-1", "where is it?").await;
    check_reply(&events, 0);
    // The workflow's post may overtake n8n's own answer; then nobody had to wait.
    let seen = names(&events);
    assert_eq!(seen.strip_prefix(&["waiting"]).unwrap_or(&seen), ["begin", "chunk", "end"]);
    assert_eq!(text(&events), "You asked: where is it?");
}

/// A colleague answers in Chatwoot, long after the workflow: n8n takes that to the visitor, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs n8n: scripts/n8n.sh run -- …"]
async fn a_colleague_answers() {
    // The other half, the shop's own workflow, is scripted: it only has to pass its `reply_url` on.
    let desk = Desk::all_in_one(&[]).await;
    desk.n8n.will(worker::demo::Script::says(["A colleague will answer here."]));
    let visitor = desk.visitor().await;
    let seen = visitor.hear("message-1", "a human, please").await;
    let reply_url = desk.n8n.requests()[0].json()["reply_url"].clone();
    let message = |id: u32, kind: &str, private: bool, content: &str| {
        json!({"event": "message_created", "id": id, "message_type": kind, "private": private, "content": content,
            "conversation": {"id": 7, "custom_attributes": {"frontdesk_reply_url": reply_url}}})
    };
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let said = [
        (message(1, "incoming", false, "a human, please"), None),
        (message(2, "outgoing", true, "a note among colleagues"), None),
        (message(3, "outgoing", false, "Hello, Ada here."), Some("Hello, Ada here.")),
        (message(3, "outgoing", false, "Hello, Ada here."), None),
        (message(4, "outgoing", false, "It left today."), Some("It left today.")),
    ];
    let mut tab = visitor.listen("", seen.last().unwrap().id.as_deref()).await;
    for (message, heard) in said {
        let url = format!("{}/webhook/frontdesk-handoff-answers", setting("N8N_URL"));
        let answer = client.post(url).json(&message).send().await.expect("n8n answers");
        assert_eq!(answer.status(), 200);
        if let Some(heard) = heard {
            assert_eq!(text(&tab.until("end").await), heard);
        }
    }
}

/// n8n's execution time limit leaves the stream open for ever; the visitor is told in time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs n8n: scripts/n8n.sh run -- …"]
async fn a_time_limit_of_n8n_ends() {
    let events = Shop::new("fd-limit").hear("hi [[n=6]] [[hang=2]]").await;
    assert_eq!((code(&events), text(&events).as_str()), (&json!("upstream_timeout"), "tok1 tok2 "));
}
