//! The client of n8n's public API against a scripted one: which execution is stopped, and which never.

#![expect(clippy::unwrap_used, reason = "a test's helpers are tests")]

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, Method, Response, StatusCode, Uri},
};
use protocol::{MessageId, SessionId};
use runtime::Secret;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use worker::n8n::executions::{Error, Executions, client};

const SESSION: &str = "sess_1767168909_9f86d081884c7d65";

/// A public API that answers with these pages, in turn, and remembers what it was asked.
#[derive(Clone, Default)]
struct Api(Arc<Mutex<Told>>);

#[derive(Default)]
struct Told {
    pages: Vec<(StatusCode, String)>,
    asked: Vec<String>,
}

async fn answer(State(api): State<Api>, method: Method, uri: Uri, headers: HeaderMap) -> Response<Body> {
    let mut told = api.0.lock().unwrap();
    told.asked.push(format!("{method} {uri}"));
    let right = headers["x-n8n-api-key"] == "the-token";
    let (status, body) = match told.pages.is_empty() {
        _ if !right => (StatusCode::UNAUTHORIZED, String::new()),
        true => (StatusCode::OK, page(&[], None)),
        false => told.pages.remove(0),
    };
    let location = ("location", "/elsewhere");
    Response::builder().status(status).header(location.0, location.1).body(body.into()).unwrap()
}

impl Api {
    async fn start(pages: Vec<(StatusCode, String)>) -> (Self, Executions, tokio::task::JoinSet<()>) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/api/v1/", listener.local_addr().unwrap()).parse().unwrap();
        let api = Self(Arc::new(Mutex::new(Told { pages, asked: vec![] })));
        let router = Router::new().fallback(answer).with_state(api.clone());
        let mut server = tokio::task::JoinSet::new();
        server.spawn(async { axum::serve(listener, router).await.unwrap() });
        (api, Executions::new(client().unwrap(), base, &Secret::any("the-token")).unwrap(), server)
    }

    fn asked(&self) -> Vec<String> {
        self.0.lock().unwrap().asked.clone()
    }
}

fn page(executions: &[Value], cursor: Option<&str>) -> String {
    json!({"data": executions, "nextCursor": cursor}).to_string()
}

fn request(message: &str) -> Value {
    json!({"chatInput": "hi", "sessionId": SESSION, "message_id": message})
}

/// As n8n shows a run whose trigger was given this, before its first node has run.
fn running(id: impl Into<Value>, json: &Value) -> Value {
    let node = json!({"node": {"name": "Webhook"}, "data": {"main": [[{"json": json}]]}, "source": null});
    json!({"id": id.into(), "mode": "webhook", "status": "running", "workflowData": {"name": "x"},
        "data": {"version": 1, "resultData": {"runData": {}}, "executionData": {"nodeExecutionStack": [node]}}})
}

async fn find(executions: &Executions) -> Result<Option<String>, Error> {
    executions.find(&SessionId::new(SESSION).unwrap(), &MessageId::new("message-1").unwrap()).await
}

async fn found(pages: &[String]) -> Option<String> {
    let pages = pages.iter().map(|page| (StatusCode::OK, page.clone())).collect();
    let (_api, executions, _server) = Api::start(pages).await;
    find(&executions).await.unwrap()
}

/// Of those that run, the one whose trigger was given this very message of this very session.
#[tokio::test]
async fn only_the_run_of_this_message_is_found() {
    let check = async |run: Value, expected: Option<&str>| {
        let others = [running("1", &json!({"body": request("message-2")})), run.clone()];
        assert_eq!(found(&[page(&others, None)]).await.as_deref(), expected, "{run}");
    };
    let ours = json!({"headers": {}, "body": request("message-1")});
    check(running("7", &ours), Some("7")).await;
    check(running(7, &ours), Some("7")).await;
    // A Chat Trigger has no `body`.
    check(running("7", &request("message-1")), Some("7")).await;
    // A node that has run, where n8n saves the progress.
    let mut saved = running("7", &json!({}));
    saved["data"]["resultData"]["runData"]["Webhook"] = json!([{"data": {"main": [[{"json": ours}]]}}]);
    check(saved, Some("7")).await;

    let mut foreign = ours.clone();
    foreign["body"]["sessionId"] = json!("sess_1767168909_0000000000000000");
    check(running("7", &foreign), None).await;
    check(running("7", &json!({"body": request("message-11")})), None).await;
    // What a visitor of another session says about this one.
    let mut quoted = json!({"body": request("message-3")});
    quoted["body"]["metadata"] = json!({"context": request("message-1"), "body": request("message-1")});
    quoted["body"]["chatInput"] = json!(request("message-1").to_string());
    check(running("7", &quoted), None).await;
    // A workflow that another one called, with what that one was given.
    let mut called = running("7", &ours);
    called["mode"] = json!("integrated");
    check(called, None).await;
    // n8n shows no data: too large, or redacted.
    let mut hidden = running("7", &ours);
    hidden["data"] = Value::Null;
    check(hidden, None).await;
    // An id that would lead elsewhere.
    check(running("../../users/1", &ours), None).await;
}

/// Two that look like it: none is taken.
#[tokio::test]
async fn in_doubt_nothing_is_found() {
    let ours = json!({"body": request("message-1")});
    assert_eq!(found(&[page(&[running("1", &ours), running("2", &ours)], None)]).await, None);
}

/// Page by page, and then among those that n8n has not begun, but not for ever.
#[tokio::test]
async fn all_pages_are_looked_at_and_no_more_than_ten() {
    let others: Vec<Value> = (0..20).map(|n| running(n, &json!({"body": request("message-2")}))).collect();
    let ok = |page: String| (StatusCode::OK, page);
    let ours = page(&[running("99", &json!({"body": request("message-1")}))], None);
    let (api, executions, _server) =
        Api::start(vec![ok(page(&others, Some("a b&status=success"))), ok(page(&[], None)), ok(ours)]).await;
    assert_eq!(find(&executions).await.unwrap().as_deref(), Some("99"));
    let query = "includeData=true&limit=20";
    let expected = [
        format!("GET /api/v1/executions?status=running&{query}"),
        format!("GET /api/v1/executions?status=running&{query}&cursor=a+b%26status%3Dsuccess"),
        format!("GET /api/v1/executions?status=new&{query}"),
    ];
    assert_eq!(api.asked(), expected);

    let endless = vec![ok(page(&others, Some("again"))); 40];
    let (api, executions, _server) = Api::start(endless).await;
    assert_eq!(find(&executions).await.unwrap(), None);
    assert_eq!(api.asked().len(), 20);
}

/// The stop itself is one call, and follows nobody elsewhere.
#[tokio::test]
async fn an_execution_is_stopped_by_its_id() {
    let (api, executions, _server) = Api::start(vec![(StatusCode::OK, "{}".into())]).await;
    executions.stop_execution("42").await.unwrap();
    assert_eq!(api.asked(), ["POST /api/v1/executions/42/stop"]);
    for id in ["", "4/2", "..", "4 2", &"4".repeat(65)] {
        assert!(matches!(executions.stop_execution(id).await, Err(Error::Unreadable)), "{id}");
    }
    assert_eq!(api.asked().len(), 1);
}

/// Whatever the API answers, it is an error of its kind, and not a word of it is told.
#[tokio::test]
async fn bad_answers_are_errors() {
    let check = async |status: u16, body: String, expected: &str| {
        let status = StatusCode::from_u16(status).unwrap();
        let (api, executions, _server) = Api::start(vec![(status, body)]).await;
        assert_eq!(find(&executions).await.unwrap_err().to_string(), expected);
        assert_eq!(api.asked().len(), 1, "no redirect is followed, nothing is tried again");
    };
    let unreadable = "n8n's API answered in a form that is not understood";
    check(403, r#"{"message":"secret words"}"#.into(), "n8n's API answered 403 Forbidden").await;
    check(302, String::new(), "n8n's API answered 302 Found").await;
    check(200, "<html>secret words</html>".into(), unreadable).await;
    check(200, r#"{"data":{}}"#.into(), unreadable).await;
    check(200, "[".repeat(100_000), unreadable).await;
    check(200, " ".repeat(9 * 1024 * 1024), "n8n's API answered with more than 8388608 bytes").await;
    let nobody = Executions::new(client().unwrap(), "http://127.0.0.1:9/api/v1".parse().unwrap(), &Secret::any("t"));
    assert!(matches!(find(&nobody.unwrap()).await, Err(Error::Unreachable)));
}
