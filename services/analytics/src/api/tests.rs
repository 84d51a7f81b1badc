//! The real router on a real store, asked without a socket.

use std::{collections::BTreeSet, sync::Arc};

use axum::{Router, body::Body, extract::ConnectInfo, http::Request};
use clap::Parser as _;
use protocol::{
    Device, Fact, FactKind, FailureCode, FinishReason, MessageId, Millis, Rating, SessionId, SiteId, Visit,
};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;

const ADMIN: &str = "wq3rJm1v8Zt5yBn2Kx7cPd4fGh6jLs9a";
const SHOES: &str = "Tn5bVx2cRk8mWq4zHj7sLp1dFy6gAe3u";
const API: &str = "/api/v1/analytics";

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    config: Config,
}

struct Api {
    app: Router,
    state: State,
    process: Process,
}

/// One answer, read.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: axum::http::HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    fn code(&self) -> (u16, String) {
        (self.status, self.json()["code"].as_str().unwrap_or_default().to_owned())
    }
}

impl Api {
    /// With `ADMIN_TOKEN` and a token for the site `shoes`, on an empty store.
    fn new() -> Self {
        Self::with(&["--admin-token", ADMIN, "--site-tokens", &format!("shoes={SHOES}")])
    }

    fn with(args: &[&str]) -> Self {
        let config = Cli::parse_from(std::iter::once("analytics").chain(args.iter().copied())).config;
        let (health, process) = (Health::default(), Process::new(None));
        health.set_store(Some(Arc::new(Store::in_memory().unwrap())));
        let state = State::new(&config, health, &process);
        let ready: Ready = Arc::new(|| Ok(()));
        Self { app: router(state.clone(), ops::routes(process.clone(), ready)), state, process }
    }

    fn apply(&self, facts: &[Fact]) {
        self.state.health.store().unwrap().apply(facts).unwrap();
    }

    async fn send(&self, method: &str, path: &str, token: Option<&str>) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header("host", "x");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let mut request = request.body(Body::empty()).unwrap();
        request.extensions_mut().insert(ConnectInfo::<SocketAddr>("192.0.2.7:1234".parse().unwrap()));
        let response = self.app.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 1 << 24).await.unwrap().to_vec();
        let answer = Answer { status: parts.status.as_u16(), headers: parts.headers, body };
        assert_eq!(answer.header("x-request-id").len(), 32, "every response has an id");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        assert_eq!(answer.header("x-frame-options"), "DENY");
        assert_eq!(answer.header("cross-origin-resource-policy"), "same-origin");
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
        if path.starts_with("/api") {
            assert_eq!(answer.header("cache-control"), "no-store");
            assert_eq!(answer.header("content-security-policy"), "default-src 'none'; frame-ancestors 'none'");
        }
        // Health and metrics have forms of their own.
        if answer.status >= 400 && answer.status != 503 && !answer.body.is_empty() {
            let problem = answer.json();
            assert_eq!(answer.header("content-type"), "application/problem+json");
            assert_eq!(problem["request_id"], answer.header("x-request-id"));
            assert_eq!((&problem["type"], &problem["status"]), (&json!("about:blank"), &json!(answer.status)));
        }
        answer
    }

    async fn get(&self, path: &str) -> Answer {
        self.send("GET", &format!("{API}/{path}"), Some(ADMIN)).await
    }

    async fn get_as(&self, token: &str, path: &str) -> Answer {
        self.send("GET", &format!("{API}/{path}"), Some(token)).await
    }

    fn metrics(&self) -> String {
        let headers = axum::http::HeaderMap::new();
        let answer = self.process.answer(&headers, ConnectInfo("127.0.0.1:1".parse().unwrap())).unwrap();
        let body = axum::body::to_bytes(answer.into_body(), 1 << 20).now_or_never().unwrap().unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }
}

fn site(name: &str) -> SiteId {
    SiteId::new(name).unwrap()
}

/// The nth session, which began so many seconds ago.
fn session(n: u64, ago: u64) -> SessionId {
    SessionId::mint(u64::try_from(Millis::now().0).unwrap() / 1000 - ago, n)
}

fn started(page: &str) -> FactKind {
    FactKind::SessionStarted(Visit {
        page_path: Some(page.to_owned()),
        locale: Some("de".into()),
        device: Some(Device::Phone),
        country: Some("AT".into()),
        ..Visit::default()
    })
}

/// What is told of one session with one answered message.
fn talk(of: &SiteId, id: &SessionId, page: &str) -> [Fact; 3] {
    let message_id = MessageId::new("message-1").unwrap();
    let ended = FactKind::ReplyEnded {
        message_id: message_id.clone(),
        chunks: 2,
        finish_reason: FinishReason::Stop,
        first_chunk_ms: Some(20),
        duration_ms: 90,
    };
    [started(page), FactKind::MessageAccepted { message_id, chars: 3 }, ended].map(|kind| Fact::now(of, id, kind))
}

/// Every path and method of the description; `{id}` is a session.
fn described() -> Vec<(String, String)> {
    let spec = openapi::described();
    let paths = spec["paths"].as_object().unwrap();
    let all = paths.iter().flat_map(|(path, methods)| {
        methods.as_object().unwrap().keys().map(|method| (method.to_uppercase(), path.clone()))
    });
    all.collect()
}

#[tokio::test]
async fn the_description_and_the_router_know_the_same_routes() {
    let known: BTreeSet<(String, String)> = [
        ("GET", "summary"),
        ("GET", "timeseries"),
        ("GET", "busy-hours"),
        ("GET", "pages"),
        ("GET", "outcomes"),
        ("GET", "refusals"),
        ("GET", "live"),
        ("GET", "sites"),
        ("GET", "sessions"),
        ("GET", "sessions/{id}"),
        ("DELETE", "sessions/{id}"),
        ("GET", "sessions/{id}/export"),
        ("GET", "comments"),
        ("GET", "customers/export"),
        ("DELETE", "customers"),
        ("GET", "export"),
        ("GET", "backup"),
        ("POST", "rewrite"),
    ]
    .map(|(method, path)| (method.to_owned(), format!("{API}/{path}")))
    .into();
    let described = described();
    let api: BTreeSet<_> = described.iter().filter(|(_, path)| path.starts_with("/api")).cloned().collect();
    assert_eq!(api, known);
    let service: Vec<&str> =
        described.iter().map(|(_, path)| path.as_str()).filter(|path| !path.starts_with("/api")).collect();
    assert_eq!(service, ["/health", "/health/live", "/health/ready", "/metrics", "/openapi.json"]);

    let spec = openapi::described();
    assert!(spec["openapi"].as_str().unwrap().starts_with("3.1"));
    let text = spec.to_string();
    for reference in text.split(r##""$ref":"#/components/"##).skip(1) {
        let pointer = format!("/components/{}", reference.split('"').next().unwrap());
        assert!(spec.pointer(&pointer).is_some(), "{pointer}");
    }
    for (method, path) in &known {
        let route = &spec["paths"][path][method.to_lowercase()];
        assert_eq!(route["security"], json!([{"token": []}]), "{path}");
        let refused = &route["responses"]["401"]["content"]["application/problem+json"]["schema"]["$ref"];
        assert_eq!(refused, "#/components/schemas/Problem", "{path}");
    }
    let api = Api::new();
    assert_eq!(api.send("GET", "/openapi.json", None).await.json(), spec);
    for (method, path) in &described {
        // Of another method than the described ones, so that a route which is not described shows, too.
        let methods: BTreeSet<&str> =
            described.iter().filter(|(_, other)| other == path).map(|(method, _)| method.as_str()).collect();
        let path = path.replace("{id}", "sess_1_0000000000000001");
        let wrong = api.send("PATCH", &path, None).await;
        assert_eq!(wrong.code(), (405, "method_not_allowed".into()), "{path}");
        let allowed: BTreeSet<&str> = wrong.header("allow").split(',').filter(|method| *method != "HEAD").collect();
        assert_eq!(allowed, methods, "{path}");
        assert!(allowed.contains(method.as_str()));
    }
}

/// Whatever is asked of the API, a token comes first.
#[tokio::test]
async fn nothing_is_answered_without_a_token() {
    let api = Api::new();
    for (method, path) in described().iter().filter(|(_, path)| path.starts_with("/api")) {
        let path = path.replace("{id}", session(1, 0).as_str());
        for path in [path.clone(), format!("{path}?site=shoes&nonsense=1")] {
            let answer = api.send(method, &path, None).await;
            assert_eq!(answer.code(), (401, "unauthorized".into()), "{method} {path}");
            assert_eq!(answer.header("www-authenticate"), r#"Bearer realm="frontdesk""#);
            let answer = api.send(method, &path, Some("wrong")).await;
            assert_eq!(answer.code(), (401, "token_invalid".into()), "{method} {path}");
        }
    }
    for token in
        [&ADMIN[1..], &ADMIN.to_lowercase(), &format!("{ADMIN} "), &format!("{ADMIN}a"), &format!("shoes={SHOES}")]
    {
        // Space around a header's value is not part of it.
        let expected = if token.trim() == ADMIN { 200 } else { 401 };
        assert_eq!(api.get_as(token, "summary").await.status, expected, "{token}");
    }
}

#[tokio::test]
async fn who_guesses_is_stopped_and_counted() {
    let api = Api::new();
    for n in 0..10 {
        assert_eq!(api.get_as(&format!("guess-{n}"), "live").await.code(), (401, "token_invalid".into()));
    }
    let stopped = api.get_as("guess-10", "live").await;
    assert_eq!(stopped.code(), (429, "rate_limited".into()));
    let seconds: u64 = stopped.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&seconds) && stopped.json()["retry_after"] == seconds, "{stopped:?}");
    assert_eq!(api.get_as("guess-11", "live").await.status, 429);
    assert_eq!(api.get("live").await.status, 200, "who has a token may share the address, behind a proxy");
    let metrics = api.metrics();
    for (reason, count) in [("wrong", 10), ("limited", 2)] {
        let line = format!("frontdesk_analytics_api_sign_ins_refused_total{{reason=\"{reason}\"}} {count}\n");
        assert!(metrics.contains(&line), "{metrics}");
    }
}

#[tokio::test]
async fn without_tokens_the_api_is_off_and_health_is_not() {
    let api = Api::with(&[]);
    for path in ["summary", "sessions?limit=0", "nothing", "backup"] {
        assert_eq!(api.get(path).await.code(), (404, "api_disabled".into()), "{path}");
    }
    for path in ["/health", "/health/live", "/health/ready", "/openapi.json", "/"] {
        assert_eq!(api.send("GET", path, None).await.status, 200, "{path}");
    }
}

/// What one shop's token shows of another shop: nothing, not even whether it is there.
#[tokio::test]
async fn a_sites_token_sees_its_site_alone() {
    let api = Api::new();
    let (mine, theirs) = (session(1, 10), session(2, 10));
    api.apply(&talk(&site("shoes"), &mine, "/shoes"));
    api.apply(&talk(&site("hats"), &theirs, "/hats"));
    let get = async |path: &str| api.get_as(SHOES, path).await;
    assert_eq!(get("sites").await.json(), json!({"sites": ["shoes"]}));
    let summary = get("summary").await.json();
    assert_eq!(
        (&summary["site"], &summary["messages"], &summary["live_sessions"]),
        (&json!("shoes"), &json!(1), &json!(1))
    );
    assert_eq!(api.get("summary").await.json()["messages"], 2);
    assert_eq!(api.get("sites").await.json(), json!({"sites": ["hats", "shoes"]}));
    for path in ["sessions", "sessions?site=shoes"] {
        let list = get(path).await.json();
        assert_eq!(
            (list["sessions"].as_array().unwrap().len(), &list["sessions"][0]["id"]),
            (1, &json!(mine)),
            "{path}"
        );
    }
    for path in ["summary", "pages", "sessions", "live", "export?what=sessions", "timeseries", "busy-hours", "outcomes"]
    {
        for other in ["hats", "nowhere"] {
            let path = format!("{path}{}site={other}", if path.contains('?') { '&' } else { '?' });
            assert_eq!(get(&path).await.code(), (403, "site_forbidden".into()), "{path}");
        }
        let answer = get(path).await;
        assert!(answer.status == 200 && !answer.text().contains("hats"), "{path}: {}", answer.text());
    }
    let customers = [
        ("GET", "customers/export?customer=7&site=hats"),
        ("DELETE", "customers?customer=7&site=hats"),
        ("DELETE", &format!("sessions/{theirs}?site=hats")),
    ];
    for (method, path) in customers {
        let answer = api.send(method, &format!("{API}/{path}"), Some(SHOES)).await;
        assert_eq!(answer.code(), (403, "site_forbidden".into()), "{method} {path}");
    }
    let erase = api.send("DELETE", &format!("{API}/sessions/{theirs}"), Some(SHOES)).await;
    assert_eq!((erase.status, &erase.json()["sessions"]), (200, &json!([])), "as one that is nowhere");
    assert_eq!(api.get(&format!("sessions/{theirs}")).await.status, 200, "and it is still there");
    assert_eq!(get(&format!("sessions/{theirs}")).await.code(), (404, "session_unknown".into()));
    assert_eq!(get(&format!("sessions/{theirs}/export")).await.code(), (404, "session_unknown".into()));
    assert_eq!(get(&format!("sessions/{mine}")).await.json()["site"], "shoes");
    let cursor = params::cursor(&crate::query::Place { site: site("hats"), began: theirs.began(), session: theirs });
    assert_eq!(get(&format!("sessions?cursor={cursor}")).await.code(), (400, "invalid_request".into()));
    assert_eq!(get("backup").await.code(), (403, "admin_only".into()));
    assert_eq!(api.send("POST", &format!("{API}/rewrite"), Some(SHOES)).await.code(), (403, "admin_only".into()));
}

/// A token's own site is no mistake before its first visitor; one that the admin names is.
#[tokio::test]
async fn a_site_without_visitors_is_empty_for_its_owner_and_unknown_to_the_admin() {
    let api = Api::new();
    assert_eq!(api.get_as(SHOES, "summary?site=shoes").await.json()["sessions"], 0);
    let unknown = api.get("summary?site=shoes").await;
    assert_eq!((unknown.code(), &unknown.json()["field"]), ((404, "site_unknown".into()), &json!("site")));
    assert_eq!(api.get("summary").await.json()["site"], Value::Null);
}

#[tokio::test]
async fn figures_are_what_was_told() {
    let api = Api::new();
    let (shoes, id) = (site("shoes"), session(1, 60));
    api.apply(&talk(&shoes, &id, "/shoes"));
    let message_id = MessageId::new("message-2").unwrap();
    let failed = FactKind::ReplyFailed {
        message_id: message_id.clone(),
        chunks: 0,
        code: FailureCode::QueueTimeout,
        duration_ms: 7,
    };
    let rated = FactKind::ReplyRated { message_id, rating: Rating::Up, comment: None };
    api.apply(&[Fact::now(&shoes, &id, failed), Fact::now(&shoes, &id, rated)]);
    let refused = FactKind::CallsRefused { reason: "limit_session_minute".into(), count: 4 };
    api.apply(&[Fact::of_site(&shoes, "refusals-1".parse().unwrap(), refused)]);

    let summary = api.get("summary?range=1h").await.json();
    assert_eq!(
        (&summary["sessions"], &summary["messages"], &summary["ended"], &summary["failed"], &summary["rated_up"]),
        (&json!(1), &json!(2), &json!(1), &json!({"queue_timeout": 1}), &json!(1)),
        "{summary}"
    );
    assert_eq!((&summary["demo"], &summary["live_sessions"]), (&json!(false), &json!(1)));
    assert_eq!(summary["until"].as_i64().unwrap() - summary["from"].as_i64().unwrap(), 3_600_000);
    assert_eq!(summary["first_chunk_ms"]["count"], 1);
    let series = api.get("timeseries?range=1h&metric=messages,first_chunk_ms_p50").await.json();
    let sum = |name: &str| series["series"][name].as_array().unwrap().iter().filter_map(Value::as_u64).sum::<u64>();
    assert_eq!((&series["bucket"], sum("messages")), (&json!("minute"), 2));
    assert_eq!(series["t"].as_array().unwrap().len(), series["series"]["messages"].as_array().unwrap().len());
    assert!(series["series"]["first_chunk_ms_p50"].as_array().unwrap().contains(&Value::Null), "not measured");
    let busy = api.get("busy-hours?tz_offset=60").await.json();
    let all = busy["messages"].as_array().unwrap().iter().flat_map(|day| day.as_array().unwrap());
    assert_eq!(all.filter_map(Value::as_u64).sum::<u64>(), 2);
    assert_eq!(api.get("pages").await.json(), json!({"pages": [{"path": "/shoes", "sessions": 1}], "other": 0}));
    assert_eq!(api.get("outcomes").await.json(), json!({"ended": 1, "cancelled": 0, "failed": {"queue_timeout": 1}}));
    assert_eq!(api.get("refusals").await.json(), json!({"refused": {"limit_session_minute": 4}}));
    assert_eq!(api.get("live?site=shoes").await.json()["sessions"], 1);
    let detail = api.get(&format!("sessions/{id}")).await.json();
    assert_eq!((&detail["id"], &detail["page_path"], &detail["messages"]), (&json!(id), &json!("/shoes"), &json!(2)));
    assert!(detail["timeline"].as_array().unwrap().len() >= 4, "{detail}");
    let file = api.get(&format!("sessions/{id}/export?site=shoes")).await;
    assert_eq!(file.json(), detail);
    assert_eq!(file.header("content-disposition"), format!("attachment; filename=\"frontdesk-{id}.json\""));
}

/// What visitors wrote is shown to whoever may see their sites, as a list, as a file, and with its session.
#[tokio::test]
async fn what_visitors_wrote_is_told() {
    let api = Api::new();
    for (n, (of, rating, text)) in [
        ("shoes", Rating::Up, "Good, \"really\""),
        ("hats", Rating::Down, "=1+1"),
        ("shoes", Rating::Down, "Too\nlong"),
    ]
    .into_iter()
    .enumerate()
    {
        let (of, id) = (site(of), session(n as u64, 600 - 60 * n as u64));
        api.apply(&talk(&of, &id, "/page"));
        let message_id = MessageId::new("message-1").unwrap();
        let comment = Some(protocol::Comment(text.to_owned()));
        let at = Millis(Millis::now().0 - 10 + n as i64);
        api.apply(&[Fact::at(&of, &id, at, FactKind::ReplyRated { message_id, rating, comment })]);
    }
    let texts = |list: &Value| -> Vec<String> {
        list["comments"].as_array().unwrap().iter().map(|it| it["comment"].as_str().unwrap().to_owned()).collect()
    };
    let all = api.get("comments?range=1h").await.json();
    assert_eq!(texts(&all), ["Too\nlong", "=1+1", "Good, \"really\""]);
    assert_eq!(all["next"], Value::Null);
    let one = &all["comments"][0];
    assert_eq!((&one["rating"], &one["page_path"], &one["site"]), (&json!("down"), &json!("/page"), &json!("shoes")));
    assert_eq!((&one["message_id"], one["at"].is_i64()), (&json!("message-1"), true));
    assert_eq!(texts(&api.get("comments?rating=down").await.json()), ["Too\nlong", "=1+1"]);
    let first = api.get("comments?limit=2").await.json();
    let rest = api.get(&format!("comments?limit=2&cursor={}", first["next"].as_str().unwrap())).await.json();
    assert_eq!((texts(&rest), &rest["next"]), (vec!["Good, \"really\"".to_owned()], &Value::Null));

    let own = api.get_as(SHOES, "comments").await.json();
    assert_eq!(texts(&own), ["Too\nlong", "Good, \"really\""]);
    assert_eq!(api.get_as(SHOES, "comments?site=hats").await.code(), (403, "site_forbidden".into()));
    let foreign = format!("comments?cursor={}", first["next"].as_str().unwrap());
    assert_eq!(api.get_as(SHOES, &foreign).await.code(), (400, "invalid_request".into()));

    let file = api.get("export?what=comments").await;
    assert_eq!(file.header("content-disposition"), "attachment; filename=\"frontdesk-comments.csv\"");
    let text = String::from_utf8(file.body).unwrap();
    let mut rows = text.split("\r\n");
    assert_eq!(rows.next(), Some("at,site,session,message_id,rating,page_path,comment"));
    assert!(rows.next().unwrap().ends_with(",message-1,down,/page,\"Too\nlong\""), "{text}");
    assert!(rows.next().unwrap().ends_with(",\"'=1+1\""), "no formula: {text}");
    assert!(rows.next().unwrap().ends_with(",\"Good, \"\"really\"\"\""), "{text}");
    let json = api.get("export?what=comments&format=json&rating=up&site=shoes").await.json();
    assert_eq!(texts(&json), ["Good, \"really\""]);
    let none = api.get("export?what=comments&format=json&rating=up&site=hats").await.json();
    assert_eq!(none, json!({"comments": []}));
    let id = one["session"].as_str().unwrap();
    let detail = api.get(&format!("sessions/{id}")).await.json();
    let rated = detail["timeline"].as_array().unwrap().iter().find(|it| it["kind"] == "reply_rated").unwrap();
    assert_eq!(rated["comment"], "Too\nlong");
    let erased = api.send("DELETE", &format!("{API}/sessions/{id}"), Some(ADMIN)).await.json();
    assert_eq!(erased["comments"], 1);
    assert_eq!(texts(&api.get("comments").await.json()), ["=1+1", "Good, \"really\""]);
}

/// Each answer names the parameter that is wrong; none is overlooked.
#[tokio::test]
async fn what_can_not_be_used_is_named() {
    let api = Api::new();
    let check = async |path: &str, field: &str| {
        let answer = api.get(path).await;
        assert_eq!(answer.code(), (400, "invalid_request".into()), "{path}");
        assert_eq!(answer.json()["field"], field, "{path}");
    };
    for (method, path) in described().iter().filter(|(_, path)| path.starts_with("/api")) {
        let path = path.replace("{id}", session(1, 0).as_str());
        let needed = if path.contains("customers") { "site=default&customer=7&" } else { "" };
        let needed = if path.ends_with("/export") && needed.is_empty() { "what=sessions&" } else { needed };
        let needed = if path.contains("sess_") { "" } else { needed };
        let answer = api.send(method, &format!("{path}?{needed}rnage=7d"), Some(ADMIN)).await;
        assert_eq!(
            (answer.code(), &answer.json()["field"]),
            ((400, "invalid_request".into()), &json!("rnage")),
            "{path}"
        );
    }
    for route in ["summary", "timeseries", "busy-hours", "pages", "outcomes", "refusals", "sessions", "comments"] {
        check(&format!("{route}?range=1y"), "range").await;
        check(&format!("{route}?from=2026-01-31T00:00:00Z&until=2026-01-01T00:00:00Z"), "until").await;
        check(&format!("{route}?from=2000-01-31T00:00:00Z"), "from").await;
        check(&format!("{route}?site=sh%20oes"), "site").await;
        check(&format!("{route}?range=7d&range=7d"), "range").await;
    }
    check("timeseries?metric=happiness", "metric").await;
    check("timeseries?bucket=second", "bucket").await;
    check("timeseries?range=7d&bucket=minute", "bucket").await;
    check("busy-hours?tz_offset=900", "tz_offset").await;
    check("busy-hours?tz_offset=-721", "tz_offset").await;
    check("pages?limit=201", "limit").await;
    check("sessions?limit=0", "limit").await;
    check("comments?limit=501", "limit").await;
    check("comments?rating=sideways", "rating").await;
    check("comments?outcome=failed", "outcome").await;
    check("comments?cursor=x", "cursor").await;
    check("export?what=comments&device=phone", "device").await;
    check("sessions?cursor=abc", "cursor").await;
    check("sessions?device=toaster", "device").await;
    check("export", "what").await;
    check("export?what=everything", "what").await;
    check("export?what=sessions&format=xml", "format").await;
    check("export?what=sessions&metric=messages", "metric").await;
    check("export?what=timeseries&country=AT", "country").await;
    check("customers/export?customer=7", "site").await;
    check("customers/export?site=default", "customer").await;
    check(&format!("customers/export?site=default&customer={}", "x".repeat(129)), "customer").await;
}

/// Sessions of two sites, page by page: each is there once, the newest first.
#[tokio::test]
async fn a_list_is_read_to_its_end() {
    let api = Api::new();
    for n in 0..60_u64 {
        // Some began in the same second.
        let of = if n % 3 == 0 { site("hats") } else { site("shoes") };
        api.apply(&talk(&of, &session(n, 100 + n / 2), "/"));
    }
    for (path, count) in [("sessions?limit=7", 60), ("sessions?limit=7&site=hats", 20), ("sessions?limit=500", 60)] {
        let (mut ids, mut next) = (Vec::new(), String::new());
        loop {
            let list = api.get(&format!("{path}{next}")).await.json();
            let rows = list["sessions"].as_array().unwrap();
            assert!(rows.len() <= 500);
            ids.extend(rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()));
            match list["next"].as_str() {
                Some(cursor) => next = format!("&cursor={cursor}"),
                None => break assert_eq!(list["next"], Value::Null),
            }
        }
        let began: Vec<u64> = ids.iter().map(|id| SessionId::new(id).unwrap().began()).collect();
        assert!(began.is_sorted_by(|newer, older| newer >= older), "{began:?}");
        assert_eq!((ids.len(), ids.iter().collect::<BTreeSet<_>>().len()), (count, count), "{path}");
    }
    let few = api.get("sessions?site=hats&page=/nowhere").await.json();
    assert_eq!(few, json!({"sessions": [], "next": null}));
}

/// More sessions than are read at once, in both forms; what browsers sent is no formula.
#[tokio::test]
async fn an_export_is_whole() {
    let api = Api::new();
    let facts: Vec<Fact> = (0..1_200_u64)
        .flat_map(|n| {
            let page = if n == 7 { "=HYPERLINK(\"http://evil\")" } else { "/a,b" };
            talk(&site("shoes"), &session(n, 100 + n), page)
        })
        .collect();
    api.apply(&facts);
    let csv = api.get("export?what=sessions").await;
    assert_eq!(csv.header("content-type"), "text/csv; charset=utf-8; header=present");
    assert_eq!(csv.header("content-disposition"), "attachment; filename=\"frontdesk-sessions.csv\"");
    let lines: Vec<&str> = csv.text().strip_suffix("\r\n").unwrap().split("\r\n").collect();
    assert_eq!(lines.len(), 1_201);
    assert!(lines[0].starts_with("id,site,started,last_seen,page_path,") && lines[0].split(',').count() == 21);
    assert!(
        lines[1].contains(",shoes,") && lines[1].contains(",\"/a,b\",de,phone,AT,false,,1,1,0,0,,0,2,0,0,20,90"),
        "{}",
        lines[1]
    );
    assert!(lines[8].contains(",\"'=HYPERLINK(\"\"http://evil\"\")\",de,"), "{}", lines[8]);
    let file = api.get("export?what=sessions&format=json&site=shoes").await.json();
    let rows = file["sessions"].as_array().unwrap();
    assert_eq!((rows.len(), rows[7]["page_path"].as_str()), (1_200, Some("=HYPERLINK(\"http://evil\")")));
    let list = api.get("sessions?limit=500").await.json();
    assert_eq!(list["sessions"].as_array().unwrap()[..], rows[..500]);
    let none = api.get("export?what=sessions&format=json&country=DE").await;
    assert_eq!(none.json(), json!({"sessions": []}));

    let csv = api.get("export?what=timeseries&range=24h&metric=sessions,first_chunk_ms_p95").await;
    let lines: Vec<&str> = csv.text().lines().collect();
    assert_eq!(lines[0], "time,sessions,first_chunk_ms_p95");
    let cells: Vec<Vec<&str>> = lines[1..].iter().map(|line| line.split(',').collect()).collect();
    assert_eq!(cells.iter().map(|row| row[1].parse::<u64>().unwrap()).sum::<u64>(), 1_200);
    assert!(cells[0][0].ends_with(":00:00.000Z") && cells[0][2].is_empty(), "{:?}", cells[0]);
    let json = api.get("export?what=timeseries&range=24h&metric=sessions&format=json").await;
    assert_eq!(json.json()["bucket"], "hour");
}

/// A customer asks for what is known of them, and then to be forgotten.
#[tokio::test]
async fn a_customer_is_told_and_forgotten() {
    let api = Api::new();
    let shoes = site("shoes");
    for n in 0..3 {
        let customer = (n < 2).then(|| runtime::customer::hash("shoes", "jo@example.com"));
        let started = FactKind::SessionStarted(Visit { customer, ..Visit::default() });
        api.apply(&[Fact::now(&shoes, &session(n, 60 + n), started)]);
    }
    let path = "customers/export?site=shoes&customer=jo%40example.com";
    let file = api.get(path).await;
    assert_eq!(file.header("content-disposition"), "attachment; filename=\"frontdesk-customer.json\"");
    assert_eq!((&file.json()["site"], file.json()["sessions"].as_array().unwrap().len()), (&json!("shoes"), 2));
    assert!(!file.text().contains("jo@example.com"));
    let erase = format!("{API}/customers?site=shoes&customer=jo%40example.com");
    let receipt = api.send("DELETE", &erase, Some(SHOES)).await;
    assert_eq!((receipt.status, receipt.json()["sessions"].as_array().unwrap().len()), (200, 2), "{receipt:?}");
    assert_eq!(api.send("DELETE", &erase, Some(ADMIN)).await.json()["sessions"], json!([]));
    assert_eq!(api.get(path).await.json()["sessions"], json!([]));
    assert_eq!(api.get("sessions").await.json()["sessions"].as_array().unwrap().len(), 1);
    assert_eq!(api.get("summary").await.json()["sessions"], 3, "the sums stay");
    // As long as the `sub` of an identity token may be, in characters.
    let long = format!("customers/export?site=shoes&customer={}", "%E5%90%8D".repeat(128));
    assert_eq!(api.get(&long).await.status, 200);

    let left = api.get("sessions").await.json()["sessions"][0]["id"].as_str().unwrap().to_owned();
    let one = format!("{API}/sessions/{left}");
    assert_eq!(api.send("DELETE", &one, Some(ADMIN)).await.json()["sessions"], json!([left]));
    assert_eq!(api.send("DELETE", &one, Some(ADMIN)).await.code(), (404, "session_unknown".into()));
    // Where the site is named its facts may still be on their way.
    let early = session(7, 30);
    let named = format!("{API}/sessions/{early}?site=shoes");
    for (path, token) in [(&named, ADMIN), (&format!("{API}/sessions/{early}"), SHOES)] {
        let receipt = api.send("DELETE", path, Some(token)).await;
        assert_eq!((receipt.status, &receipt.json()["sessions"]), (200, &json!([])), "{path}");
    }
    api.apply(&[Fact::now(&shoes, &early, FactKind::SessionStarted(Visit::default()))]);
    assert_eq!(api.get(&format!("sessions/{early}")).await.status, 404, "and make no row");
    let rewritten = api.send("POST", &format!("{API}/rewrite"), Some(ADMIN)).await;
    assert!(rewritten.status == 200 && rewritten.json()["rows"].as_u64().unwrap() > 0, "{rewritten:?}");
}

/// A copy is whole and says its own sum.
#[tokio::test]
async fn a_backup_can_be_checked() {
    use base64::Engine as _;
    use sha2::Digest as _;
    let api = Api::new();
    api.apply(&talk(&site("shoes"), &session(1, 10), "/shoes"));
    let copy = api.get("backup").await;
    let sum = base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(&copy.body));
    assert_eq!(copy.header("repr-digest"), format!("sha-256=:{sum}:"));
    assert_eq!(copy.header("content-length"), copy.body.len().to_string());
    assert_eq!(copy.header("content-type"), "application/octet-stream");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("copy.redb");
    std::fs::write(&file, &copy.body).unwrap();
    assert_eq!(Store::open(&file).unwrap().sites().unwrap(), [site("shoes")]);
}

/// Who finds no place is told so, and counted.
#[tokio::test(start_paused = true)]
async fn too_much_at_once_is_refused() {
    let api = Api::new();
    let reads = Arc::clone(&api.state.reads).acquire_many_owned(READS.try_into().unwrap()).await.unwrap();
    let full = api.get("summary").await;
    assert_eq!((full.code(), full.header("retry-after")), ((503, "overloaded".into()), "1"));
    drop(reads);
    assert_eq!(api.get("summary").await.status, 200);
    let streams = Arc::clone(&api.state.streams).acquire_many_owned(STREAMS.try_into().unwrap()).await.unwrap();
    for path in ["export?what=sessions", "backup"] {
        assert_eq!(api.get(path).await.code(), (503, "overloaded".into()), "{path}");
    }
    assert_eq!(api.get_as(SHOES, "export?what=sessions").await.status, 200, "a site's places are its own");
    drop(streams);
    let site_streams = Arc::clone(&api.state.site_streams[&site("shoes")]);
    let _held = site_streams.acquire_many_owned(SITE_STREAMS.try_into().unwrap()).await.unwrap();
    assert_eq!(api.get_as(SHOES, "export?what=sessions").await.code(), (503, "overloaded".into()));
    assert_eq!(api.get("export?what=sessions").await.status, 200);
    let metrics = api.metrics();
    for (reason, count) in [("reads", 1), ("streams", 3)] {
        let line = format!("frontdesk_analytics_api_overloaded_total{{reason=\"{reason}\"}} {count}\n");
        assert!(metrics.contains(&line), "{metrics}");
    }
    api.state.health.set_store(None);
    assert_eq!(api.get("summary").await.code(), (503, "overloaded".into()));
}

/// Nothing that a stranger, or a token's holder, sends is more than a refusal.
#[tokio::test]
async fn garbage_is_refused_in_words() {
    let api = Api::new();
    let long = "x".repeat(7_000);
    let many = "a=1&".repeat(1_500);
    let paths = [
        "/api",
        "/api/v1/analytics",
        "/api/v1/analytics/",
        "/api/v1/analytics/summary/",
        "/api/v1/analytics/nothing",
        "/api/v1/analytics/sessions/",
        "/api/v1/analytics/sessions/%FF",
        "/api/v1/analytics/sessions/%00",
        "/api/v1/analytics/sessions/..%2f..",
        "/api/v1/analytics/sessions/sess_1_0000000000000001",
        "/api/v1/analytics/sessions/sess_999999999999_ffffffffffffffff/export",
        "/api/v1/analytics/summary?%FF=%FE",
        "/api/v1/analytics/summary?=",
        "/api/v1/analytics/summary?site=%00",
        "/api/v1/analytics/summary?from=-9999-01-01T00:00:00Z",
        "/api/v1/analytics/summary?from=9999-12-30T22:00:00Z",
        "/api/v1/analytics/busy-hours?tz_offset=999999999999",
        "/dashboard/../Cargo.toml",
        "/dashboard/%2e%2e/Cargo.toml",
        "/dashboard/index.html",
        "/dashboard/",
        "/dashboard",
        "/index.html",
        "/%",
        "//",
    ];
    let queries =
        [format!("{API}/summary?{long}"), format!("{API}/summary?{many}"), format!("{API}/sessions?page=/{long}")];
    for path in paths.iter().copied().chain(queries.iter().map(String::as_str)) {
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"] {
            let answer = api.send(method, path, Some(ADMIN)).await;
            assert!((400..500).contains(&answer.status), "{method} {path}: {}", answer.status);
        }
    }
    assert!(api.metrics().contains("frontdesk_analytics_api_panics_total 0\n"));
}

/// A handler that panics costs its caller an answer, and nobody else.
#[tokio::test]
async fn a_panic_is_an_answer() {
    let api = Api::new();
    let panics = Router::new().route("/api/panic", get(async || -> &'static str { panic!("a handler that panics") }));
    let app = panics.layer(from_fn_with_state(api.state.clone(), around));
    let answer = app.oneshot(Request::get("/api/panic").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(answer.status(), 500);
    let read = api.state.read(|_| -> Result<(), ApiError> { panic!("a read that panics") }).await;
    assert!(matches!(read, Err(ApiError::Internal)));
    assert_eq!(api.get("summary").await.status, 200, "its place is free again");
    assert!(api.metrics().contains("frontdesk_analytics_api_panics_total 2\n"));
}
