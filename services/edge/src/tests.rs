//! The real router, asked without a socket.

mod ended;
mod proofs;
mod told;

use std::net::SocketAddr;

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{Request, Response, StatusCode},
};
use clap::Parser as _;
use protocol::{SessionId, SiteId};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::{Config, metrics::IdentityToken, routes, state::State, time, token::Grant};

const SECRET: &str = "wq3rJm1v8Zt5yBn2Kx7cPd4fGh6jLs9a";
const SHOP: &str = "https://shop.example";
const FINGERPRINT: &str = "0123456789abcdef";

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    config: Config,
}

/// Settings as the command line would make them.
pub(crate) fn config(args: &[&str]) -> Config {
    let mut line = vec!["edge", "--jwt-secret-key", SECRET];
    if !args.contains(&"--allowed-origins") {
        line.extend(["--allowed-origins", "https://shop.example,https://*.shop.example"]);
    }
    line.extend(args);
    Cli::parse_from(line).config
}

struct Edge {
    state: State,
    app: Router,
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
        serde_json::from_slice(&self.body).unwrap()
    }

    fn code(&self) -> (u16, String) {
        (self.status, self.json()["code"].as_str().unwrap_or_default().to_owned())
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }
}

impl Edge {
    fn new(args: &[&str]) -> Self {
        Self::of(config(args))
    }

    fn of(config: Config) -> Self {
        Self::on(bus::Bus::local(&bus::Config::default()), config)
    }

    fn on(bus: bus::Bus, config: Config) -> Self {
        let process = runtime::metrics::Metrics::new(None);
        let queue_timeout = std::time::Duration::from_secs(30);
        let state = State::new(
            config,
            "https://chat.shop.example".parse().ok(),
            bus,
            queue_timeout,
            process,
            CancellationToken::new(),
        )
        .unwrap();
        Self { app: routes::router(state.clone()), state }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        self.send_from("192.0.2.7:1234", request).await
    }

    async fn send_from(&self, peer: &str, mut request: Request<Body>) -> Answer {
        request.extensions_mut().insert(ConnectInfo::<SocketAddr>(peer.parse().unwrap()));
        let response: Response<Body> = self.app.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 1 << 22).await.unwrap().to_vec();
        let answer = Answer { status: parts.status.as_u16(), headers: parts.headers, body };
        assert!(answer.header("x-request-id").len() >= 8, "every response has an id");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        assert!(answer.headers.contains_key("content-security-policy"));
        if answer.header("content-type") == "application/problem+json" && !answer.body.is_empty() {
            let problem = answer.json();
            assert_eq!(problem["request_id"], answer.header("x-request-id"));
            assert_eq!((&problem["type"], &problem["status"]), (&json!("about:blank"), &json!(answer.status)));
        }
        answer
    }

    async fn create(&self, body: &Value) -> Answer {
        self.send(post("/api/v1/session/create", body)).await
    }

    /// A new session: its id and token.
    async fn begin(&self) -> (String, String) {
        let answer = self.create(&json!({"fingerprint": FINGERPRINT, "parent_origin": SHOP})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let body = answer.json();
        (body["session_id"].as_str().unwrap().into(), body["token"].as_str().unwrap().into())
    }
}

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path).header("host", "chat.example");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body.into()).unwrap()
}

fn get(path: &str, headers: &[(&str, &str)]) -> Request<Body> {
    request("GET", path, headers, Body::empty())
}

fn post(path: &str, body: &Value) -> Request<Body> {
    request("POST", path, &[("origin", SHOP), ("content-type", "application/json")], body.to_string())
}

/// `request` with a visitor's token and fingerprint.
fn by(mut request: Request<Body>, token: &str) -> Request<Body> {
    let headers = request.headers_mut();
    headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    headers.insert("x-fingerprint", FINGERPRINT.parse().unwrap());
    request
}

#[tokio::test]
async fn a_session_is_created_asked_about_and_renewed() {
    let edge = Edge::new(&[]);
    let created = edge
        .create(&json!({
            "fingerprint": FINGERPRINT, "site": "default", "parent_origin": SHOP, "locale": "en-GB",
            "page": {"url": "https://shop.example/a?b", "title": "t", "referrer": ""}, "timezone": "Europe/Berlin",
            "identity_token": "x",
            "metadata": {"vip": true}, "unknown": [1, 2, 3],
        }))
        .await;
    assert_eq!((created.status, created.header("cache-control")), (200, "no-store"));
    let body = created.json();
    let session = SessionId::new(body["session_id"].as_str().unwrap()).unwrap();
    assert!(time::now().as_secs() - session.began() < 5);
    assert_eq!(
        (&body["token_type"], &body["expires_in"], &body["site"]),
        (&json!("Bearer"), &json!(3600), &json!("default"))
    );
    assert!(body.as_object().unwrap().contains_key("identity") && body["identity"].is_null());
    assert_eq!(body["identity_error"], "not_configured");
    assert_eq!(body["stream_url"], format!("/api/v1/chat/stream/{session}"));
    let limits = json!({"message_max_chars": 4000, "history_max_messages": 20, "messages_per_minute": 20, "comment_max_chars": 500});
    assert_eq!(body["limits"], limits);
    let expires: jiff::Timestamp = body["expires_at"].as_str().unwrap().parse().unwrap();
    assert_eq!(expires.as_second() - i64::try_from(session.began()).unwrap(), 3600);

    let token = body["token"].as_str().unwrap();
    let valid = edge.send(by(get("/api/v1/session/validate", &[]), token)).await;
    let told = valid.json();
    assert_eq!((valid.status, &told["valid"], &told["site"]), (200, &json!(true), &json!("default")));
    assert_eq!((&told["session_id"], &told["expires_at"]), (&body["session_id"], &body["expires_at"]));

    let renewed = edge.send(by(request("POST", "/api/v1/session/refresh", &[("origin", SHOP)], ""), token)).await;
    assert_eq!((renewed.status, renewed.header("cache-control")), (200, "no-store"));
    let renewed = renewed.json();
    assert_eq!(renewed["session_id"], body["session_id"]);
    assert_ne!(renewed["token"], body["token"]);
    let again = edge.send(by(get("/api/v1/session/validate", &[]), renewed["token"].as_str().unwrap())).await;
    assert_eq!(again.status, 200);
}

/// A token that the shop's server signed with `secret`.
fn vouch(claims: &Value, secret: &str) -> String {
    let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), claims, &key).unwrap()
}

/// A customer is known for the life of the session, by whatever opens it, and without a good token is nobody.
#[tokio::test]
async fn a_customer_is_known_by_the_word_of_the_shop() {
    let secret = "Lk8pQz3sVt6xCw1nBy4mHd7gRf2jTa5e";
    let edge = Edge::new(&["--identity-secret", secret, "--stream-max-age", "50ms"]);
    let now = time::now().as_secs();
    let claims = json!({"sub": "c-1", "aud": "default", "exp": now + 300, "name": "Ada", "role": "admin"});
    let create = async |edge: &Edge, token: Value| {
        edge.create(&json!({"fingerprint": FINGERPRINT, "parent_origin": SHOP, "identity_token": token,
            "metadata": {"identity": {"sub": "claimed"}}}))
            .await
    };
    let created = create(&edge, json!(vouch(&claims, secret))).await.json();
    let ada = json!({"sub": "c-1", "name": "Ada"});
    assert_eq!((&created["identity"], created.get("identity_error")), (&ada, None));
    let token = created["token"].as_str().unwrap();
    let valid = edge.send(by(get("/api/v1/session/validate", &[]), token)).await.json();
    assert_eq!(valid["identity"], ada);
    let refresh = |token: &str| by(request("POST", "/api/v1/session/refresh", &[("origin", SHOP)], ""), token);
    let renewed = edge.send(refresh(token)).await.json();
    assert_eq!((&renewed["identity"], renewed.get("identity_error")), (&ada, None));
    let again = edge.send(refresh(renewed["token"].as_str().unwrap())).await.json();
    assert_eq!(again["identity"], ada);

    // What goes to the worker: by token, and by ticket.
    let session = SessionId::new(created["session_id"].as_str().unwrap()).unwrap();
    let said = async || {
        let pending = edge.state.bus.pending(&session).await.unwrap().expect("it waits for a worker");
        edge.state.bus.withdraw(&pending).await.unwrap();
        serde_json::to_value(&pending.message).unwrap()
    };
    let mut say =
        by(post("/api/v1/chat/message", &json!({"message": "hi", "context": {"identity": "claimed"}})), token);
    say.headers_mut().insert("accept", "application/json".parse().unwrap());
    assert_eq!(edge.send(say).await.status, 202);
    assert_eq!(said().await["identity"], ada);
    let ticket = by(request("POST", "/api/v1/chat/ticket", &[("origin", SHOP)], ""), token);
    let ticket = edge.send(ticket).await.json()["ticket"].as_str().unwrap().to_owned();
    let ask = format!("/api/v1/chat/stream/{session}?ticket={ticket}&message=hi&message_id=message-2");
    assert_eq!(edge.send(get(&ask, &[])).await.status, 200);
    assert_eq!(said().await["identity"], ada);

    // Nobody vouched.
    let check = async |edge: &Edge, token: Value, error: Option<&str>| {
        let answer = create(edge, token.clone()).await;
        let body = answer.json();
        let told = body.get("identity_error").and_then(Value::as_str);
        assert_eq!((answer.status, &body["identity"], told), (200, &Value::Null, error), "{token}");
        let valid = edge.send(by(get("/api/v1/session/validate", &[]), body["token"].as_str().unwrap())).await;
        assert!(valid.json()["identity"].is_null());
    };
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        json!(vouch(&claims, secret))
    };
    check(&edge, Value::Null, None).await;
    check(&edge, json!(""), Some("invalid")).await;
    check(&edge, json!("x".repeat(5000)), Some("invalid")).await;
    check(&edge, json!(vouch(&claims, SECRET)), Some("invalid")).await;
    check(&edge, json!(token), Some("invalid")).await;
    check(&edge, with("exp", json!(now - 1)), Some("expired")).await;
    check(&edge, with("exp", json!(now + 3600)), Some("too_long_lived")).await;
    check(&edge, with("aud", json!("another")), Some("wrong_audience")).await;
    check(&edge, with("nbf", json!(now + 120)), Some("not_yet_valid")).await;
    check(&Edge::new(&[]), json!(vouch(&claims, secret)), Some("not_configured")).await;
    let off = Edge::new(&["--identity", "off", "--identity-secret", secret]);
    check(&off, json!(vouch(&claims, secret)), Some("not_configured")).await;
    let count = |result| edge.state.metrics.identity_tokens.get_or_create(&IdentityToken { result }).get();
    assert_eq!((count("verified"), count("invalid"), count("expired")), (1, 4, 1));

    // The session's own token is no identity, and an identity is no session.
    let identity = vouch(&claims, secret);
    assert_eq!(edge.send(by(get("/api/v1/session/validate", &[]), &identity)).await.code().0, 401);
}

#[tokio::test]
async fn where_customers_must_be_known_nobody_else_gets_a_session() {
    let secret = "Lk8pQz3sVt6xCw1nBy4mHd7gRf2jTa5e";
    let edge = Edge::new(&["--identity", "required", "--identity-secret", secret]);
    let now = time::now().as_secs();
    let create =
        async |token: Option<String>| edge.create(&json!({"fingerprint": FINGERPRINT, "identity_token": token})).await;
    let claims = |exp: u64| json!({"sub": "c-1", "aud": "default", "exp": exp});
    let good = create(Some(vouch(&claims(now + 60), secret))).await;
    assert_eq!((good.status, &good.json()["identity"]), (200, &json!({"sub": "c-1"})));
    let check = async |token: Option<String>, code: &str, error: Option<&str>, timed: bool| {
        let answer = create(token).await;
        let body = answer.json();
        assert_eq!(answer.code(), (401, code.to_owned()));
        assert!(answer.headers.contains_key("www-authenticate"));
        assert_eq!(
            (body.get("identity_error").and_then(Value::as_str), body["server_time"].is_string()),
            (error, timed)
        );
    };
    check(None, "unauthorized", None, false).await;
    check(Some("x".into()), "token_invalid", Some("invalid"), false).await;
    check(Some(vouch(&claims(now - 1), secret)), "token_expired", Some("expired"), true).await;
    check(Some(vouch(&claims(now + 3600), secret)), "token_invalid", Some("too_long_lived"), true).await;
    assert_eq!(edge.state.metrics.sessions_created.get(), 1);
}

#[tokio::test]
async fn a_bad_creation_names_the_field() {
    let edge = Edge::new(&["--rate-limit-per-minute", "0"]);
    let check = async |with: Value, field: &str| {
        let mut body = json!({"fingerprint": FINGERPRINT});
        body.as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
        let answer = edge.create(&body).await;
        assert_eq!(
            (answer.code(), answer.json()["field"].as_str()),
            ((400, "invalid_request".into()), Some(field)),
            "{with}"
        );
    };
    check(json!({"fingerprint": "short"}), "fingerprint").await;
    check(json!({"fingerprint": 5}), "fingerprint").await;
    check(json!({"fingerprint": "0123456789abcde\u{e9}"}), "fingerprint").await;
    check(json!({"site": "elsewhere"}), "site").await;
    check(json!({"site": "a b"}), "site").await;
    check(json!({"site": 1}), "site").await;
    let long = format!("https://{}.shop.example", "a.".repeat(150));
    check(json!({"parent_origin": long}), "parent_origin").await;
    check(json!({"metadata": [1]}), "metadata").await;
    check(json!({"metadata": {"a": "x".repeat(1024)}}), "metadata").await;
    check(json!({"page": "x"}), "page").await;
    check(json!({"page": {"url": 1}}), "page.url").await;
    check(json!({"page": {"url": "x".repeat(5000)}}), "page.url").await;
    check(json!({"page": {"title": "x".repeat(2000)}}), "page.title").await;
    check(json!({"locale": "x".repeat(36)}), "locale").await;
    check(json!({"locale": "<b>"}), "locale").await;
    check(json!({"timezone": "a b"}), "timezone").await;
    check(json!({"public_key": "x"}), "public_key").await;
    check(json!({"public_key": {"kty": "EC"}}), "public_key.crv").await;
    check(json!({"identity_token": {}}), "identity_token").await;
    let none = edge.create(&json!({})).await;
    assert_eq!(none.json()["field"], "fingerprint");
}

#[tokio::test]
async fn who_is_no_visitor_is_told_why() {
    let edge = Edge::new(&["--rate-limit-per-minute", "0"]);
    let (_, token) = edge.begin().await;
    let check = async |headers: &[(&str, &str)], code: &str| {
        let answer = edge.send(get("/api/v1/session/validate", headers)).await;
        assert_eq!(answer.code(), (401, code.to_owned()), "{headers:?}");
        assert!(answer.headers.contains_key("www-authenticate"));
    };
    let bearer = format!("Bearer {token}");
    let fingerprint = ("x-fingerprint", FINGERPRINT);
    check(&[], "unauthorized").await;
    check(&[fingerprint], "unauthorized").await;
    check(&[("authorization", &token), fingerprint], "unauthorized").await;
    check(&[("authorization", "Basic YTpi"), fingerprint], "unauthorized").await;
    check(&[("authorization", &bearer), ("authorization", &bearer), fingerprint], "unauthorized").await;
    check(&[("authorization", "Bearer x.y.z"), fingerprint], "token_invalid").await;
    check(&[("authorization", "Bearer "), fingerprint], "token_invalid").await;
    check(&[("authorization", &bearer)], "fingerprint_mismatch").await;
    check(&[("authorization", &bearer), ("x-fingerprint", "fedcba9876543210")], "fingerprint_mismatch").await;
    check(&[("authorization", &bearer), ("x-fingerprint", "")], "fingerprint_mismatch").await;

    let old = |age: u64| {
        let now = time::now();
        let grant = Grant {
            session: SessionId::mint(now.as_secs() - age, 1),
            site: SiteId::new("default").unwrap(),
            origin: None,
            metadata: None,
            locale: None,
            key: None,
            identity: None,
        };
        edge.state.tokens.mint(grant, FINGERPRINT, now - std::time::Duration::from_secs(age)).0
    };
    let expired = edge.send(by(get("/api/v1/session/validate", &[]), &old(3601))).await;
    assert_eq!(expired.code(), (401, "token_expired".into()));
    assert!(expired.json()["server_time"].as_str().unwrap().ends_with('Z'));
    let ended = edge.send(by(get("/api/v1/session/validate", &[]), &old(86_401))).await;
    assert_eq!(ended.code(), (410, "session_ended".into()));
}

#[tokio::test]
async fn a_stream_is_for_its_own_session() {
    let edge = Edge::new(&["--stream-max-age", "50ms"]);
    let (session, token) = edge.begin().await;
    let own = format!("/api/v1/chat/stream/{session}");
    let other = "/api/v1/chat/stream/sess_1767168909_9f86d081884c7d65";
    assert_eq!(edge.send(by(get(other, &[]), &token)).await.code(), (403, "session_mismatch".into()));
    assert_eq!(edge.send(by(get("/api/v1/chat/stream/x", &[]), &token)).await.code().0, 403);
    assert_eq!(edge.send(get(&own, &[])).await.code(), (401, "unauthorized".into()));

    let answer = edge.send(by(request("POST", "/api/v1/chat/ticket", &[("origin", SHOP)], ""), &token)).await;
    assert_eq!((answer.status, answer.header("cache-control")), (200, "no-store"));
    assert_eq!(answer.json()["expires_in"], 60);
    let ticket = answer.json()["ticket"].as_str().unwrap().to_owned();
    assert_eq!(edge.send(get(&format!("{own}?ticket={ticket}"), &[])).await.status, 200, "a ticket needs nothing else");
    assert_eq!(edge.send(get(&format!("{other}?ticket={ticket}"), &[])).await.code().0, 403);
    // What is no text at all is no session of this visitor's either, and no file.
    let odd = edge.send(by(get("/api/v1/chat/stream/%ff", &[]), &token)).await;
    assert_eq!(odd.code(), (403, "session_mismatch".into()));
    assert_eq!(edge.send(get("/api/v1/chat/stream/%ff", &[])).await.code().0, 401);
    assert_eq!(edge.send(get("/widget/%ff", &[])).await.code(), (404, "not_found".into()));
    assert_eq!(edge.send(get(&format!("{own}?ticket=x"), &[])).await.code(), (401, "token_invalid".into()));
    assert_eq!(edge.send(get(&format!("{own}?ticket={token}"), &[])).await.code(), (401, "token_invalid".into()));
    assert_eq!(edge.send(by(get("/api/v1/session/validate", &[]), &ticket)).await.code().0, 401);
}

/// A ticket that leaked from an address is worth nothing after its minute: only an id that a stream gave reopens one.
#[tokio::test]
async fn an_old_ticket_opens_nothing_new() {
    let edge = Edge::new(&["--stream-max-age", "50ms"]);
    let (session, token) = edge.begin().await;
    let claims = edge.state.tokens.verify(&token, Some(FINGERPRINT), time::now()).unwrap();
    let an_hour_ago = time::now() - std::time::Duration::from_secs(600);
    let (ticket, _) = edge.state.tokens.ticket(&claims, an_hour_ago);
    let ask = format!("/api/v1/chat/stream/{session}?ticket={ticket}&message=hi&message_id=message-1");
    let check = async |headers: &[(&str, &str)], status| {
        assert_eq!(edge.send(get(&ask, headers)).await.status, status, "{headers:?}");
    };
    check(&[], 401).await;
    check(&[("last-event-id", "")], 401).await;
    check(&[("last-event-id", "rubbish")], 401).await;
    check(&[("last-event-id", "message-0:b")], 200).await;
    assert!(edge.state.bus.pending(&claims.sub).await.unwrap().is_none(), "and a reconnect asks nothing");

    // Neither does a HEAD.
    let head = request("HEAD", &ask.replace(&ticket, &edge.state.tokens.ticket(&claims, time::now()).0), &[], "");
    edge.send(head).await;
    assert!(edge.state.bus.pending(&claims.sub).await.unwrap().is_none());
}

#[tokio::test]
async fn pages_may_call_by_their_origin() {
    let edge = Edge::new(&["--rate-limit-per-minute", "0", "--rate-limit-create-per-minute", "0"]);
    let json = ("content-type", "application/json");
    let body = || json!({"fingerprint": FINGERPRINT}).to_string();
    let check = async |origin: Option<&str>, allowed: bool| {
        let origin_header = origin.map(|origin| ("origin", origin));
        let headers: Vec<(&str, &str)> = origin_header.into_iter().chain([json]).collect();
        let answer = edge.send(request("POST", "/api/v1/session/create", &headers, body())).await;
        assert_eq!(answer.header("vary"), "Origin");
        if allowed {
            assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, origin.unwrap()));
            let exposed = answer.header("access-control-expose-headers");
            assert!(
                ["X-Request-Id", "RateLimit", "RateLimit-Policy", "Retry-After"]
                    .iter()
                    .all(|name| exposed.contains(name))
            );
        } else {
            assert_eq!(answer.code(), (403, "origin_not_allowed".into()), "{origin:?}");
            assert!(!answer.headers.contains_key("access-control-allow-origin"));
        }
        assert!(!answer.headers.contains_key("access-control-allow-credentials"));
    };
    check(Some(SHOP), true).await;
    check(Some("https://www.shop.example"), true).await;
    check(Some("http://chat.example"), true).await;
    check(Some("https://chat.example"), false).await;
    check(Some("http://shop.example"), false).await;
    check(Some("https://evil.example"), false).await;
    check(Some("https://shop.example.evil.example"), false).await;
    check(Some("null"), false).await;
    check(Some(""), false).await;
    check(Some("*"), false).await;
    check(None, false).await;

    let foreign = [("origin", "https://evil.example")];
    for path in ["/api/v1/session/validate", "/api/v1/chat/stream/x", "/api/v1/nothing"] {
        assert_eq!(edge.send(get(path, &foreign)).await.code().0, 403, "{path}");
    }
    // Errors can be read by the page, too.
    let error = edge.send(get("/api/v1/session/validate", &[("origin", SHOP)])).await;
    assert_eq!((error.status, error.header("access-control-allow-origin")), (401, SHOP));
    assert_eq!(edge.send(get("/api/v1/session/validate", &[])).await.status, 401, "a GET needs no origin");

    let parent = edge.create(&json!({"fingerprint": FINGERPRINT, "parent_origin": "https://evil.example"})).await;
    assert_eq!(parent.code(), (403, "origin_not_allowed".into()));
    let server = Edge::new(&["--allow-no-origin", "true"]);
    assert_eq!(server.send(request("POST", "/api/v1/session/create", &[json], body())).await.status, 200);
    let public = Edge::new(&["--public-url", "https://chat.shop.test"]);
    let own = [("origin", "https://chat.shop.test"), json];
    assert_eq!(public.send(request("POST", "/api/v1/session/create", &own, body())).await.status, 200);
    let host = [("origin", "http://chat.example"), json];
    assert_eq!(public.send(request("POST", "/api/v1/session/create", &host, body())).await.status, 403);
}

#[tokio::test]
async fn a_preflight_is_answered_in_one_round_trip() {
    let edge = Edge::new(&[]);
    let asks = |origin| {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization,x-fingerprint"),
        ];
        request("OPTIONS", "/api/v1/chat/message", &headers, "")
    };
    for _ in 0..100 {
        let answer = edge.send(asks(SHOP)).await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (204, SHOP), "never counted");
        assert!(answer.body.is_empty() && answer.header("access-control-max-age") == "7200");
        let allowed = answer.header("access-control-allow-headers");
        for name in [
            "authorization",
            "content-type",
            "x-fingerprint",
            "x-challenge-response",
            "last-event-id",
            "dpop",
            "traceparent",
            "tracestate",
        ] {
            assert!(allowed.contains(name), "{name}");
        }
        assert!(answer.header("access-control-allow-methods").contains("DELETE"));
    }
    assert_eq!(edge.send(asks("https://evil.example")).await.code(), (403, "origin_not_allowed".into()));
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems_too() {
    let edge = Edge::new(&[]);
    let check = async |method: &str, path: &str, status: u16, allow: &str| {
        let answer = edge.send(request(method, path, &[("origin", SHOP)], "")).await;
        assert_eq!((answer.status, answer.header("allow")), (status, allow), "{method} {path}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
    };
    check("GET", "/nothing", 404, "").await;
    check("GET", "/", 404, "").await;
    check("GET", "/api/v1/nothing", 404, "").await;
    check("GET", "/widget/nothing.js", 404, "").await;
    check("GET", "/docs/nothing", 404, "").await;
    check("GET", "/api/v1/session/create", 405, "POST").await;
    check("DELETE", "/api/v1/chat/message", 405, "POST").await;
    check("POST", "/api/v1/session/validate", 405, "GET,HEAD").await;
    check("OPTIONS", "/api/v1/session/validate", 405, "GET,HEAD").await;
    check("PUT", "/widget/embed.js", 405, "GET,HEAD").await;
    check("BREW", "/health", 405, "GET,HEAD").await;
}

#[tokio::test]
async fn bodies_have_a_type_and_a_size() {
    let edge = Edge::new(&["--rate-limit-per-minute", "0", "--body-max-bytes", "1000"]);
    let path = "/api/v1/session/create";
    let check = async |headers: &[(&str, &str)], body: Body, expected: (u16, &str)| {
        let headers: Vec<(&str, &str)> = headers.iter().copied().chain([("origin", SHOP)]).collect();
        let answer = edge.send(request("POST", path, &headers, body)).await;
        assert_eq!(answer.code(), (expected.0, expected.1.to_owned()), "{headers:?}");
    };
    let json = ("content-type", "application/json");
    check(&[], Body::from("{}"), (415, "unsupported_media_type")).await;
    check(&[("content-type", "text/plain")], Body::from("{}"), (415, "unsupported_media_type")).await;
    check(&[json], Body::from("{"), (400, "invalid_request")).await;
    check(&[json], Body::empty(), (400, "invalid_request")).await;
    check(&[json], Body::from("x".repeat(1001)), (413, "payload_too_large")).await;
    check(&[json, ("content-length", "1001")], Body::from("x".repeat(1001)), (413, "payload_too_large")).await;
    check(&[json, ("content-length", "99999999999")], Body::empty(), (413, "payload_too_large")).await;
    let pieces = || futures_util::stream::iter((0..11).map(|_| Ok::<_, std::io::Error>("x".repeat(100))));
    check(&[json], Body::from_stream(pieces()), (413, "payload_too_large")).await;
    let endless = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>("x".repeat(10_000)));
    check(&[json], Body::from_stream(endless), (413, "payload_too_large")).await;
    check(&[json], Body::from(format!("{{\"fingerprint\":{}", "[".repeat(900))), (400, "invalid_request")).await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_is_not_waited_for() {
    let edge = Edge::new(&[]);
    let never = futures_util::stream::pending::<Result<String, std::io::Error>>();
    let headers = [("origin", SHOP), ("content-type", "application/json")];
    let answer = edge.send(request("POST", "/api/v1/session/create", &headers, Body::from_stream(never))).await;
    assert_eq!(answer.code(), (400, "invalid_request".into()));
    assert!(answer.json()["detail"].as_str().unwrap().contains("10 seconds"));
}

#[tokio::test]
async fn limits_are_told_and_kept() {
    let edge = Edge::new(&["--rate-limit-per-minute", "5", "--rate-limit-create-per-minute", "2"]);
    let first = edge.create(&json!({"fingerprint": FINGERPRINT})).await;
    assert_eq!(
        (first.header("ratelimit-policy"), first.header("ratelimit")),
        (r#""create";q=2;w=60"#, r#""create";r=1;t=30"#)
    );
    edge.begin().await;
    let third = edge.create(&json!({"fingerprint": FINGERPRINT})).await;
    assert_eq!(third.code(), (429, "rate_limited".into()));
    assert_eq!((&third.json()["scope"], third.header("retry-after")), (&json!("create"), "30"));
    assert_eq!((third.header("ratelimit"), &third.json()["retry_after"]), (r#""create";r=0;t=30"#, &json!(30)));
    assert_eq!(third.header("access-control-allow-origin"), SHOP);
    let fourth = edge.send(get("/api/v1/session/validate", &[])).await;
    assert_eq!((fourth.status, fourth.header("ratelimit-policy")), (401, r#""ip";q=5;w=60"#));
    edge.send(get("/api/v1/session/validate", &[])).await;
    let sixth = edge.send(get("/api/v1/session/validate", &[])).await;
    assert_eq!((sixth.code().0, &sixth.json()["scope"]), (429, &json!("ip")));
    assert_eq!(edge.send_from("192.0.2.8:1", get("/api/v1/session/validate", &[])).await.status, 401);
    let health = edge.send(get("/health/live", &[])).await;
    assert_eq!((health.status, health.header("ratelimit")), (200, ""), "not of the API, not counted");

    let off = Edge::new(&["--rate-limit-per-minute", "0", "--rate-limit-create-per-minute", "0"]);
    for _ in 0..100 {
        assert_eq!(off.create(&json!({"fingerprint": FINGERPRINT})).await.header("ratelimit"), "");
    }
}

#[tokio::test]
async fn messages_are_checked_before_they_go_anywhere() {
    let edge = Edge::new(&["--rate-limit-session-per-minute", "9", "--message-max-chars", "5"]);
    let (_, token) = edge.begin().await;
    let say = |body: Value| {
        let mut request = by(post("/api/v1/chat/message", &body), &token);
        // No worker is here: the reply would take as long as the queue's limit.
        request.headers_mut().insert("accept", "application/json".parse().unwrap());
        request
    };
    let check = async |body: Value, code: &str, member: &str, value: Value| {
        let answer = edge.send(say(body.clone())).await;
        assert_eq!((answer.code(), &answer.json()[member]), ((400, code.to_owned()), &value), "{body}");
    };
    check(json!({}), "invalid_request", "field", json!("message")).await;
    check(json!({"message": 5}), "invalid_request", "field", json!("message")).await;
    check(json!({"message": "hi", "message_id": "short"}), "invalid_request", "field", json!("message_id")).await;
    check(
        json!({"message": "hi", "history": [{"role": "system", "content": ""}]}),
        "invalid_request",
        "field",
        json!("history[0].role"),
    )
    .await;
    check(json!({"message": "hi", "context": {"a": "x".repeat(4096)}}), "invalid_request", "field", json!("context"))
        .await;
    check(json!({"message": " <b></b> "}), "message_rejected", "reason", json!("empty")).await;
    check(json!({"message": "123456"}), "message_rejected", "max_chars", json!(5)).await;
    let cleaned = edge.send(say(json!({"message": "<b>ünïcö</b>"}))).await;
    assert_eq!(cleaned.status, 202, "characters are counted, after cleaning");
    let id = cleaned.json()["message_id"].as_str().unwrap().to_owned();
    let busy = edge.send(say(json!({"message": "hi"}))).await;
    assert_eq!((busy.code(), &busy.json()["running"]), ((409, "session_busy".into()), &json!(id)));
    let again = edge.send(say(json!({"message": "ünïcö", "message_id": id}))).await;
    assert_eq!((again.status, &again.json()["message_id"]), (202, &json!(id)), "a repeat is the same message");
    let other = edge.send(say(json!({"message": "other", "message_id": id}))).await;
    assert_eq!(other.code(), (409, "message_conflict".into()));
    let mut last = cleaned;
    for _ in 0..9 {
        last = edge.send(say(json!({"message": "hi"}))).await;
    }
    assert_eq!((last.code(), &last.json()["scope"]), ((429, "rate_limited".into()), &json!("session")));
    assert_eq!(last.header("ratelimit-policy"), r#""session";q=9;w=60"#);
}

/// What goes to a worker is clean, wherever it stood, and otherwise as it was written.
#[tokio::test]
async fn everything_that_is_said_is_cleaned() {
    let edge = Edge::new(&[]);
    let metadata = json!({"fingerprint": FINGERPRINT, "metadata": {"cart\u{202e}": "a\u{200b}b"}});
    let created = edge.create(&metadata).await.json();
    let say = r#"{"message":"<b>hi\u202e</b>","history":[{"role":"user","content":"<i>a\u0000b</i>"},
        {"role":"assistant","content":"\u200b"},{"role":"assistant","content":"c\u2066d"}],
        "page":{"url":"https://shop.example/\u0007","title":"<b>Sale\u202e</b>","referrer":"\ufeff"},
        "context":{"sum":1.50,"a\u0000":["<b>b\u202e</b>"]}}"#;
    let headers = [("origin", SHOP), ("content-type", "application/json"), ("accept", "application/json")];
    let said = request("POST", "/api/v1/chat/message", &headers, say);
    assert_eq!(edge.send(by(said, created["token"].as_str().unwrap())).await.status, 202);
    let session = SessionId::new(created["session_id"].as_str().unwrap()).unwrap();
    let message = edge.state.bus.pending(&session).await.unwrap().unwrap().message;
    assert_eq!(message.text, "hi");
    let history: Vec<&str> = message.history.iter().map(|turn| turn.content.as_str()).collect();
    assert_eq!(history, ["ab", "cd"]);
    let page = message.page.as_ref().unwrap();
    assert_eq!((page.url.as_deref(), page.title.as_deref()), (Some("https://shop.example/"), Some("<b>Sale</b>")));
    assert_eq!(page.referrer.as_deref(), Some(""));
    assert_eq!(message.context.as_ref().unwrap().get(), r#"{"sum":1.50,"a":["<b>b</b>"]}"#);
    assert_eq!(message.metadata.as_ref().unwrap().get(), r#"{"cart":"ab"}"#);
}

#[tokio::test]
async fn a_request_id_is_kept_from_a_trusted_proxy_only() {
    let edge = Edge::new(&["--trusted-proxies", "10.0.0.0/8"]);
    let check = async |peer: &str, id: &str, kept: bool| {
        let answer = edge.send_from(peer, get("/health/live", &[("x-request-id", id)])).await;
        let given = answer.header("x-request-id");
        assert_eq!(given == id, kept, "{peer} {id}");
        assert!(kept || (given.len() == 32 && given.bytes().all(|b| b.is_ascii_hexdigit())));
    };
    check("10.0.0.1:1", "from-the-proxy_1", true).await;
    check("10.0.0.1:1", "short", false).await;
    check("10.0.0.1:1", "has spaces in it", false).await;
    check("192.0.2.7:1", "from-the-visitor", false).await;
}

#[tokio::test]
async fn the_widget_and_the_pages_have_their_own_policies() {
    let edge = Edge::of(Config { demo: true, ..config(&[]) });
    let page = edge.send(get("/widget/modern-widget.html", &[])).await;
    assert_eq!(
        (page.status, page.header("content-type"), page.header("x-frame-options")),
        (200, "text/html; charset=utf-8", "")
    );
    assert!(page.header("content-security-policy").contains("frame-ancestors 'self' https://shop.example"));
    assert_eq!(page.header("vary"), "Accept-Encoding");
    // Of a site that nobody knows only our own pages may frame it.
    let unknown = edge.send(get("/widget/modern-widget.html?site=other", &[])).await;
    assert!(unknown.header("content-security-policy").ends_with("frame-ancestors 'self'"));
    let named = edge.send(get("/widget/modern-widget.html?color=x&site=default", &[])).await;
    assert_eq!(named.header("content-security-policy"), page.header("content-security-policy"));
    let demo = edge.send(get("/", &[])).await;
    assert_eq!(demo.status, 200);
    assert!(demo.header("content-security-policy").contains("frame-src 'self'"));
    let script = edge.send(get("/widget/embed.js", &[("origin", SHOP), ("accept-encoding", "gzip")])).await;
    assert_eq!((script.status, script.header("access-control-allow-origin")), (200, SHOP));
    assert_eq!(
        (script.header("content-encoding"), script.header("cross-origin-resource-policy")),
        ("gzip", "cross-origin")
    );
    let foreign = edge.send(get("/widget/embed.js", &[("origin", "https://evil.example")])).await;
    assert_eq!((foreign.status, foreign.header("access-control-allow-origin")), (200, ""));
    let hash = runtime::asset::hex(&Sha256::digest(crate::assets::embed()));
    let pinned = format!("/widget/v/{hash}/embed.js");
    for origin in [SHOP, "https://evil.example"] {
        let script = edge.send(get(&pinned, &[("origin", origin)])).await;
        let headers = (script.header("access-control-allow-origin"), script.header("vary"));
        assert_eq!((script.status, headers), (200, ("*", "Accept-Encoding")));
    }
    let head = edge.send(request("HEAD", "/widget/embed.js", &[], "")).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert!(head.header("content-length").parse::<usize>().unwrap() > 100);
    for path in [
        "/widget/../Cargo.toml",
        "/widget/%2e%2e/Cargo.toml",
        "/widget/..%2f..%2fCargo.toml",
        "/widget/js/%2e%2e/embed.js",
        "/widget//etc/passwd",
        "/widget/%00",
        "/widget/",
        "/widget",
    ] {
        assert_eq!(edge.send(get(path, &[])).await.status, 404, "{path}");
    }
    for (path, kind) in [
        ("/docs", "text/html; charset=utf-8"),
        ("/docs/docs.js", "text/javascript; charset=utf-8"),
        ("/docs/docs.css", "text/css; charset=utf-8"),
        ("/openapi.json", "application/json"),
    ] {
        let answer = edge.send(get(path, &[])).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, kind), "{path}");
        let text = String::from_utf8(answer.body).unwrap();
        assert!(path == "/openapi.json" || !text.contains("://"), "{path} names no other host");
    }
}

#[tokio::test]
async fn health_metrics_and_live() {
    let edge = Edge::new(&[]);
    assert_eq!(edge.send(get("/health/live", &[])).await.json(), json!({"status": "ok"}));
    edge.state.draining.cancel();
    let ready = edge.send(get("/health/ready", &[])).await;
    assert_eq!((ready.status, ready.json()), (503, json!({"status": "draining"})));
    assert_eq!(edge.send(get("/metrics", &[])).await.status, 403);
    edge.send(get("/made/up/path", &[])).await;
    let metrics = edge.send_from("127.0.0.1:1", get("/metrics", &[])).await;
    let text = String::from_utf8(metrics.body).unwrap();
    let line = r#"frontdesk_edge_http_requests_total{route="none",method="GET",status="404"} 1"#;
    assert!(text.contains(line), "{text}");
    assert!(
        text.contains("frontdesk_edge_panics_total 0") && text.contains("frontdesk_edge_first_chunk_seconds"),
        "{text}"
    );
}

/// What hyper and our reading of bodies make of unkind clients, over a real socket.
#[tokio::test]
async fn heads_and_bodies_over_a_real_socket() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let edge = Edge::new(&[]);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tasks, stop) = (tokio_util::task::TaskTracker::new(), CancellationToken::new());
    tasks.spawn(runtime::http::serve(listener, edge.app.clone(), edge.state.config.listener_limits(), stop.clone()));
    let ask = async |text: String| {
        let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
        socket.write_all(text.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    };
    let close = "host: chat.example\r\nconnection: close\r\n";
    assert!(ask(format!("GET /health/live HTTP/1.1\r\n{close}\r\n")).await.starts_with("HTTP/1.1 200 "));
    let many: String = (0..100).map(|n| format!("x-{n}: 1\r\n")).collect();
    assert!(ask(format!("GET / HTTP/1.1\r\n{close}{many}\r\n")).await.starts_with("HTTP/1.1 431 "));
    let large = format!("x-large: {}\r\n", "x".repeat(40_000));
    assert!(ask(format!("GET / HTTP/1.1\r\n{close}{large}\r\n")).await.starts_with("HTTP/1.1 431 "));
    let head =
        format!("POST /api/v1/session/create HTTP/1.1\r\n{close}origin: {SHOP}\r\ncontent-type: application/json\r\n");
    // Our answer is there to read although the client sent all of it first.
    let size = 500_000;
    let told = ask(format!("{head}content-length: {size}\r\n\r\n{}", "x".repeat(size))).await;
    assert!(told.starts_with("HTTP/1.1 413 ") && told.contains("payload_too_large"), "{told}");
    let chunk = format!("{:x}\r\n{}\r\n", size, "x".repeat(size));
    let told = ask(format!("{head}transfer-encoding: chunked\r\n\r\n{chunk}0\r\n\r\n")).await;
    assert!(told.starts_with("HTTP/1.1 413 ") && told.contains("payload_too_large"), "{told}");
    stop.cancel();
    tasks.close();
    tasks.wait().await;
}

/// A panic in one request is a 500 for that one and is counted.
#[tokio::test]
async fn a_panic_is_a_problem_of_one_request() {
    let mut edge = Edge::new(&[]);
    let layer = axum::middleware::from_fn_with_state(edge.state.clone(), crate::request::around);
    let boom = axum::routing::get(async || -> StatusCode { panic!("boom") });
    edge.app = Router::new().route("/boom", boom).layer(layer).with_state(edge.state.clone());
    let answer = edge.send(get("/boom", &[])).await;
    assert_eq!(answer.code(), (500, "internal".into()));
    assert!(!String::from_utf8(answer.body).unwrap().contains("boom"));
    assert_eq!(edge.state.metrics.panics.get(), 1);
}
