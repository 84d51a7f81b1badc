//! What visitors and operators entrust to Frontdesk is in none of its outputs: logs at their loudest, metrics, problem
//! documents, health. Every input carries a word of its own, and all output is searched for each.

use reqwest::Client;
use serde_json::json;
use worker::demo::Script;

use crate::{
    collector::Collector,
    desk::{Desk, Process},
    identity,
    visitor::use_ring,
};

const TEXT: &str = "zebra-text";
const FINGERPRINT: &str = "zebra-fingerprint-0123456789";
const JWT_SECRET: &str = "zebra-jwt-Wq3rJm1v8Zt5yBn2Kx7cPd4fGh6j";
const PREVIOUS_SECRET: &str = "zebra-previous-Kx7cPd4fGh6jWq3rJm1v8Zt5";
const SESSION_SECRET: &str = "zebra-session-Tn5bVx2cRk8mWq4zHj7sLp1d";
const API_KEY: &str = "zebra-api-key";
const METRICS_TOKEN: &str = "zebra-metrics-token";
/// A path of the shop is kept: that shows where the rest would be found.
const PATH: &str = "/kept-path";
/// So is what the visitor writes to the shop, in analytics' file and nowhere else.
const COMMENT: &str = "kept-comment";
const ADMIN_TOKEN: &str = "zebra-admin-Vp8sDf5hQn2wKx7rTb4mZc9jLg3yUe6a";
const ADDRESS: &str = "203.0.113.77";
const SIXTH: &str = "2001:db8:77::77";

const SETTINGS: [(&str, &str); 12] = [
    ("LOG_LEVEL", "trace,hyper=trace,h2=trace,async_nats=trace,reqwest=trace,rustls=trace"),
    ("JWT_SECRET_KEY", JWT_SECRET),
    ("JWT_SECRET_KEY_PREVIOUS", PREVIOUS_SECRET),
    ("SESSION_SECRET_KEY", SESSION_SECRET),
    ("N8N_API_KEY", API_KEY),
    ("METRICS_TOKEN", METRICS_TOKEN),
    ("ADMIN_TOKEN", ADMIN_TOKEN),
    ("TRUSTED_PROXIES", "127.0.0.1"),
    ("N8N_CONNECT_RETRIES", "0"),
    ("MESSAGE_MAX_CHARS", "500"),
    ("IDENTITY_SECRET", identity::SECRET),
    ("COUNTRY_HEADER", "x-country"),
];

/// All that was read back, and by what name it is blamed.
#[derive(Default)]
struct Output(Vec<(String, String)>);

impl Output {
    fn add(&mut self, name: impl Into<String>, text: String) {
        self.0.push((name.into(), text));
    }

    /// `zebra` is part of every planted word; the rest are those that can't have it.
    fn has_none_of(&self, more: &[&str]) {
        for (name, text) in &self.0 {
            for secret in ["zebra"].iter().chain(more).filter(|secret| !secret.is_empty()) {
                let found = text.lines().find(|line| line.contains(secret));
                assert!(found.is_none(), "{secret} in {name}: {}", found.unwrap_or_default());
            }
        }
    }
}

/// One visitor, with a word in every input, and everything that is refused as well as all that works.
async fn visit(desk: &Desk, url: &str, output: &mut Output) -> Vec<String> {
    use_ring();
    let http = Client::builder().no_proxy().timeout(crate::desk::LIMIT).build().expect("a client");
    let from = |request: reqwest::RequestBuilder| {
        let request = request.header("x-forwarded-for", ADDRESS).header("user-agent", "zebra-agent/1.0 (iPhone)");
        request.header("x-custom", "zebra-x").header("x-country", "zebra-country")
    };
    let post = |path: &str, body: String| {
        from(http.post(format!("{url}{path}"))).header("content-type", "application/json").body(body)
    };
    let create = json!({
        "fingerprint": FINGERPRINT, "locale": "en-GB", "timezone": "Europe/Berlin",
        "page": {"url": format!("https://shop.example{PATH}?q=zebra-page-query"), "title": "zebra-title",
            "referrer": "https://elsewhere.example/?q=zebra-referrer"},
        "metadata": {"zebra-key": "zebra-metadata"}, "identity_token": "zebra.identity.token",
    });
    let created = post("/api/v1/session/create", create.to_string()).send().await.expect("the edge answers");
    assert_eq!(created.status(), 200);
    let created: serde_json::Value = created.json().await.expect("JSON");
    let text = |name: &str| created[name].as_str().expect("it is there").to_owned();
    let (session, token) = (text("session_id"), text("token"));
    let signed = |request: reqwest::RequestBuilder| request.bearer_auth(&token).header("x-fingerprint", FINGERPRINT);

    // A customer of the shop is known, and not by name.
    let folder = tempfile::tempdir().expect("a temporary folder");
    let of = ["zebra-customer", r#"{"name":"zebra-name"}"#];
    let identity = identity::run("python3", "sign.py", &of, folder.path());
    let known = json!({"fingerprint": FINGERPRINT, "identity_token": identity});
    let known = post("/api/v1/session/create", known.to_string()).send().await.expect("the edge answers");
    let known: serde_json::Value = known.json().await.expect("JSON");
    assert_eq!(known["identity"]["sub"], "zebra-customer");

    let message = |id: &str, text: &str| {
        json!({
            "message": text, "message_id": id, "context": {"zebra-cart": "zebra-context"},
            "history": [{"role": "user", "content": "zebra-history"}, {"role": "assistant", "content": "zebra-answer"}],
            "page": {"url": "https://shop.example/?q=zebra-message-page", "title": "zebra-page-title"},
        })
    };
    let say = async |id: &str, text: &str| {
        let said = signed(post("/api/v1/chat/message", message(id, text).to_string())).send().await;
        said.expect("the edge answers").text().await.expect("a stream")
    };
    desk.n8n.will(Script::says(["zebra-reply ", "zebra-reply"]));
    assert!(say("message-0001", TEXT).await.contains("event: end"));
    // n8n says things that nobody shall see, each in its way.
    for (number, script) in [
        Script::lines().begin().items(["zebra-start"]).error("zebra-n8n-error: key sk-zebra is wrong").end(),
        Script::of(500, "application/json").bytes(r#"{"message":"zebra-500","stack":"zebra-stack"}"#),
        Script::of(200, "text/html").bytes("<html>zebra-page</html>"),
        Script::of(403, "application/json").bytes(r#"{"message":"zebra-403"}"#),
        Script::of(302, "").header("location", "http://zebra.example/zebra"),
        Script::of(200, "application/json").bytes(r#"{"zebra-odd":"zebra-odd"}"#),
        Script::lines().bytes("zebra-no-json\n{\"type\":\"zebra-type\"}\n"),
        Script::lines().header("x-zebra", "zebra-header").begin().cut(),
        Script::hangs_up(),
    ]
    .into_iter()
    .enumerate()
    {
        desk.n8n.will(script);
        let told = say(&format!("message-1{number:03}"), TEXT).await;
        assert!(told.contains("event: failed") || told.contains("event: end"), "{number}: {told}");
    }
    let rating = json!({"message_id": "message-0001", "rating": "down", "comment": COMMENT});
    let rated = signed(post("/api/v1/chat/feedback", rating.to_string())).send().await.expect("the edge answers");
    assert_eq!(rated.status(), 202);
    // By GET, with the message in the address.
    let ticket = signed(post("/api/v1/chat/ticket", String::new())).send().await.expect("the edge answers");
    let ticket: serde_json::Value = ticket.json().await.expect("JSON");
    let ticket = ticket["ticket"].as_str().expect("it is there").to_owned();
    desk.n8n.will(Script::says(["zebra-reply"]));
    let stream = format!("{url}/api/v1/chat/stream/{session}");
    let query = format!("?ticket={ticket}&message=zebra-in-query&message_id=message-2000");
    let mut listening = from(http.get(format!("{stream}{query}"))).send().await.expect("the edge answers");
    let mut heard = String::new();
    while !heard.contains("event: end") {
        let chunk = listening.chunk().await.expect("it goes on").expect("it has not ended");
        heard.push_str(&String::from_utf8_lossy(&chunk));
    }
    drop(listening);

    // What is refused is told without what was sent.
    let refused = [
        post("/api/v1/session/create", r#"{"fingerprint":"zebra"}"#.into()),
        post("/api/v1/session/create", r#"{"fingerprint":["zebra-list"]}"#.into()),
        post("/api/v1/session/create", format!(r#"{{"fingerprint":"{FINGERPRINT}","site":"zebra-site"}}"#)),
        post("/api/v1/session/create", format!(r#"{{"fingerprint":"{FINGERPRINT}","page":"zebra-page"}}"#)),
        post("/api/v1/session/create", format!(r#"{{"fingerprint":"{FINGERPRINT}","metadata":["zebra"]}}"#)),
        post("/api/v1/session/create", format!(r#"{{"fingerprint":"{FINGERPRINT}","public_key":"zebra"}}"#)),
        post("/api/v1/session/create", format!(r#"{{"fingerprint":"{FINGERPRINT}","parent_origin":"https://zebra"}}"#)),
        post("/api/v1/session/create", r#"{"zebra-broken": zebra"#.into()),
        post("/api/v1/session/create", "zebra".into()).header("origin", "https://zebra.example"),
        post("/api/v1/session/zebra", "zebra".into()),
        signed(post("/api/v1/chat/message", r#"{"message":{"zebra":1}}"#.into())),
        signed(post("/api/v1/chat/message", r#"{"message":"x","message_id":"zebra zebra"}"#.into())),
        signed(post("/api/v1/chat/message", r#"{"message":"x","history":[{"role":"zebra","content":"x"}]}"#.into())),
        signed(post("/api/v1/chat/message", r#"{"message":"x","context":"zebra"}"#.into())),
        signed(post("/api/v1/chat/message", message("message-3000", &"zebra".repeat(200)).to_string())),
        signed(post("/api/v1/chat/message", message("message-2000", "zebra, another text").to_string())),
        signed(post("/api/v1/chat/cancel", r#"{"message_id":"zebra!"}"#.into())),
        signed(post("/api/v1/chat/feedback", r#"{"message_id":"message-0001","rating":"zebra"}"#.into())),
        signed(post("/api/v1/chat/feedback", r#"{"message_id":"zebra!","rating":"up"}"#.into())),
        signed(post(
            "/api/v1/chat/feedback",
            r#"{"message_id":"message-0001","rating":"up","comment":["zebra"]}"#.into(),
        )),
        signed(post(
            "/api/v1/chat/feedback",
            json!({"message_id": "message-0001", "rating": "up", "comment": "zebra".repeat(101)}).to_string(),
        )),
        post("/api/v1/chat/message", message("message-3001", TEXT).to_string()).header("authorization", "zebra"),
        post("/api/v1/chat/message", message("message-3001", TEXT).to_string()).bearer_auth("zebra.zebra.zebra"),
        post("/api/v1/chat/message", TEXT.into())
            .bearer_auth(&token)
            .header("x-fingerprint", "zebra-other-fingerprint"),
        post("/api/v1/chat/message", TEXT.into()).header("content-type", "text/zebra"),
        from(http.get(format!("{stream}?ticket=zebra&message=zebra&message_id=message-4000"))),
        from(http.get(format!("{stream}?ticket={token}"))),
        from(http.get(format!("{url}/api/v1/chat/stream/zebra?ticket={ticket}"))),
        from(http.get(format!("{url}/zebra/..%2fzebra?zebra=zebra"))),
        from(http.get(format!("{url}/widget/zebra%00"))),
        from(http.get(format!("{url}/metrics"))).bearer_auth("zebra"),
        from(http.get(format!("{url}/health/live"))).header("host", "zebra zebra"),
        from(http.get(format!("{url}/health/live"))).header("x-zebra", "zebra".repeat(5000)),
        from(http.get(format!("{url}/zebra{}", "zebra".repeat(2000)))),
        http.get(format!("{url}/api/v1/session/validate")).header("forwarded", format!("for=\"[{SIXTH}]\"")),
        http.get(format!("{url}/api/v1/session/validate"))
            .header("x-request-id", "has spaces zebra")
            .header("traceparent", "zebra")
            .header("tracestate", "zebra=zebra"),
    ];
    for (number, request) in refused.into_iter().enumerate() {
        let answer = request.send().await.expect("the edge answers");
        let status = answer.status().as_u16();
        assert!((400..500).contains(&status), "{number}: {status}");
        output.add(
            format!("refusal {number}"),
            format!("{:?} {}", answer.headers().clone(), answer.text().await.expect("text")),
        );
    }
    vec![token, ticket, identity]
}

/// What traces are sent with.
const TELLS_TRACES: [(&str, &str); 1] = [("OTEL_EXPORTER_OTLP_HEADERS", "x-key=zebra-collector-key")];

async fn nothing_is_told(mut desk: Desk, collector: &Collector) {
    let mut output = Output::default();
    let mut secrets = vec![ADDRESS.to_owned(), SIXTH.to_owned(), identity::SECRET.to_owned()];
    secrets.extend(visit(&desk, &desk.edges[0].url, &mut output).await);
    let http = Client::builder().no_proxy().build().expect("a client");
    let processes: Vec<&Process> = desk.edges.iter().chain(&desk.workers).chain(&desk.analytics).collect();
    for process in &processes {
        for path in ["/health", "/health/ready", "/health/live", "/metrics"] {
            for kind in ["text/plain", "application/openmetrics-text"] {
                let request = http.get(format!("{}{path}", process.url)).header("accept", kind);
                let answer = request.bearer_auth(METRICS_TOKEN).send().await.expect("it answers");
                assert_eq!(answer.status(), 200, "{path}");
                output.add(path, answer.text().await.expect("text"));
            }
        }
    }
    drop(processes);
    // In the direction of the flow: each hands on what it has.
    let stopped: Vec<Process> =
        desk.edges.drain(..).chain(desk.workers.drain(..)).chain(desk.analytics.take()).collect();
    for mut process in stopped {
        process.signal("TERM");
        assert_eq!(process.ended().await.code(), Some(0));
        let log = process.log();
        assert!(log.contains("TRACE") || log.contains("DEBUG") || log.contains("INFO"), "it logs at all: {log}");
        output.add(format!("the log of {}", process.url), log);
    }
    let spans = format!("{:?}", collector.spans());
    assert!(spans.contains("POST n8n") && !spans.contains("sess_"), "{spans}");
    output.add("traces", spans);
    output.has_none_of(&[COMMENT]);
    let kept = std::fs::read(desk.database()).expect("analytics has a file");
    let kept = String::from_utf8_lossy(&kept).into_owned();
    assert!(kept.contains(PATH) && kept.contains(COMMENT), "what may be kept is there");
    output.add("the file of analytics", kept);
    // Signed parts, and what they hold, whole or not.
    let parts: Vec<String> = secrets.iter().flat_map(|secret| secret.split('.').skip(1).map(str::to_owned)).collect();
    let parts = parts.iter().filter(|part| part.len() > 20).map(String::as_str);
    let all: Vec<&str> = secrets.iter().map(String::as_str).chain(parts).collect();
    output.has_none_of(&all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_in_one_tells_nothing() {
    let collector = Collector::start().await;
    let settings = [&SETTINGS[..], &TELLS_TRACES, &collector.settings()].concat();
    nothing_is_told(Desk::all_in_one(&settings).await, &collector).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_over_nats_tell_nothing() {
    let collector = Collector::start().await;
    let settings = [&SETTINGS[..], &TELLS_TRACES, &collector.settings()].concat();
    nothing_is_told(Desk::spread(1, 1, &settings).await, &collector).await;
}

/// The search finds what it looks for.
#[test]
#[should_panic(expected = "zebra in a log")]
fn a_slip_would_be_found() {
    let mut output = Output::default();
    output.add("a log", "one\nsaid: zebra-text\n".into());
    output.has_none_of(&[]);
}
