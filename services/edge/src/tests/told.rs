//! What analytics is told.

use protocol::{BotClass, Device, Fact, FactKind, MessageId, Rating, Visit};

use super::*;
use crate::refusals;

const IDENTITY: &str = "Lk8pQz3sVt6xCw1nBy4mHd7gRf2jTa5e";
const PHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                     Version/16.5 Mobile/15E148 Safari/604.1";

impl Edge {
    /// All facts that were told and not looked at yet, and those that wait to be told.
    async fn facts(&self) -> Vec<Fact> {
        let stop = CancellationToken::new();
        stop.cancel();
        refusals::tell(self.state.refusals.clone(), self.state.bus.clone(), stop).await;
        let mut facts = self.state.bus.facts();
        let mut all = Vec::new();
        while let Some(batch) = futures_util::FutureExt::now_or_never(facts.next_batch(100)) {
            all.extend(batch.facts.iter().cloned());
            batch.ack().await;
        }
        all
    }

    /// Refusals by site and reason since the last time.
    async fn refused(&self) -> Vec<(String, String, u64)> {
        let facts = self.facts().await;
        let refused = facts.into_iter().filter_map(|fact| match fact.kind {
            FactKind::CallsRefused { reason, count } => Some((fact.site.to_string(), reason, count)),
            _ => None,
        });
        refused.collect()
    }
}

/// A new session tells the kinds of things it came by, and none of the things themselves.
#[tokio::test]
async fn a_visit_is_told_in_kinds() {
    let edge = Edge::new(&[
        "--identity-secret",
        IDENTITY,
        "--country-header",
        "CF-IPCountry",
        "--trusted-proxies",
        "10.0.0.0/8",
        "--bot-rules",
        "shadow",
    ]);
    let check = async |peer: &str, agent: &str, customer: Option<&str>, expected: Visit| {
        let now = time::now().as_secs();
        let claims = |sub| json!({"sub": sub, "aud": "default", "exp": now + 60});
        let body = json!({"fingerprint": FINGERPRINT, "locale": "de",
            "page": {"url": "https://shop.example/shoes?email=a@b.c"},
            "identity_token": customer.map(|sub| vouch(&claims(sub), IDENTITY))});
        let mut create = post("/api/v1/session/create", &body);
        create.headers_mut().insert("user-agent", agent.parse().unwrap());
        create.headers_mut().insert("accept-language", "de".parse().unwrap());
        create.headers_mut().insert("cf-ipcountry", "CH".parse().unwrap());
        assert_eq!(edge.send_from(peer, create).await.status, 200);
        let facts = edge.facts().await;
        let (page_path, locale) = (Some("/shoes".to_owned()), Some("de".to_owned()));
        let expected = FactKind::SessionStarted(Visit { page_path, locale, ..expected });
        assert_eq!(facts.iter().map(|fact| &fact.kind).collect::<Vec<_>>(), [&expected], "{peer} {agent}");
    };
    let visit = |device, country: Option<&str>, bot| Visit {
        device: Some(device),
        country: country.map(str::to_owned),
        bot: Some(bot),
        ..Visit::default()
    };
    check("10.0.0.1:1", PHONE, None, visit(Device::Phone, Some("CH"), BotClass::Clear)).await;
    // Its own word, where no proxy of ours stands between.
    check("192.0.2.7:1", PHONE, None, visit(Device::Phone, None, BotClass::Clear)).await;
    check("192.0.2.7:1", "curl/8.5.0", None, visit(Device::Other, None, BotClass::Doubtful)).await;
    let driven = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 HeadlessChrome/126.0.0.0 Safari/537.36";
    let enforced = visit(Device::Other, None, BotClass::Doubtful);
    check("192.0.2.7:1", driven, None, enforced).await;
    let customer = Some(runtime::customer::hash("default", "customer-7"));
    let known = Visit { customer, ..visit(Device::Phone, None, BotClass::Clear) };
    check("192.0.2.7:1", PHONE, Some("customer-7"), known).await;
}

/// A rating is one more thing that a session says: proved, checked and limited like a message.
#[tokio::test]
async fn a_rating_is_told_and_limited() {
    let edge = Edge::new(&["--rate-limit-session-per-minute", "3"]);
    let (session, token) = edge.begin().await;
    edge.facts().await;
    let rate = async |body: Value| edge.send(by(post("/api/v1/chat/feedback", &body), &token)).await;
    let told = rate(json!({"message_id": "message-1", "rating": "up", "more": [1]})).await;
    assert_eq!((told.status, told.json()), (202, json!({"message_id": "message-1", "rating": "up"})));
    assert_eq!((told.header("cache-control"), told.header("access-control-allow-origin")), ("no-store", SHOP));
    assert_eq!(rate(json!({"message_id": "message-1", "rating": "down"})).await.status, 202);
    let facts = edge.facts().await;
    assert!(facts.iter().all(|fact| fact.session.as_ref().unwrap().as_str() == session));
    let rated =
        |rating| FactKind::ReplyRated { message_id: MessageId::new("message-1").unwrap(), rating, comment: None };
    assert_eq!(facts.into_iter().map(|fact| fact.kind).collect::<Vec<_>>(), [rated(Rating::Up), rated(Rating::Down)]);

    let check = async |body: Value, field: &str| {
        let answer = rate(body.clone()).await;
        assert_eq!(
            (answer.code(), &answer.json()["field"]),
            ((400, "invalid_request".into()), &json!(field)),
            "{body}"
        );
    };
    check(json!({"message_id": "message-1"}), "rating").await;
    check(json!({"message_id": "message-1", "rating": "sideways"}), "rating").await;
    check(json!({"message_id": "short", "rating": "up"}), "message_id").await;
    let good = json!({"message_id": "message-2", "rating": "up"});
    assert_eq!(edge.send(post("/api/v1/chat/feedback", &good)).await.code(), (401, "unauthorized".into()));
    assert_eq!(rate(good.clone()).await.status, 202);
    let fourth = rate(good).await;
    assert_eq!((fourth.code(), &fourth.json()["scope"]), ((429, "rate_limited".into()), &json!("session")));
}

/// What a visitor writes with a rating is cleaned like a message, and no longer than the shop wants it.
#[tokio::test]
async fn a_comment_is_cleaned_and_bounded() {
    let check = async |max: &str, comment: Value, expected: Result<Option<&str>, &str>| {
        let edge = Edge::new(&["--feedback-comment-max", max]);
        let (_, token) = edge.begin().await;
        edge.facts().await;
        let body = json!({"message_id": "message-1", "rating": "down", "comment": comment});
        let answer = edge.send(by(post("/api/v1/chat/feedback", &body), &token)).await;
        let told: Vec<FactKind> = edge.facts().await.into_iter().map(|fact| fact.kind).collect();
        match expected {
            Ok(text) => {
                assert_eq!(answer.json(), json!({"message_id": "message-1", "rating": "down"}), "{comment}");
                let comment = text.map(|text| protocol::Comment(text.to_owned()));
                let message_id = MessageId::new("message-1").unwrap();
                assert_eq!(told, [FactKind::ReplyRated { message_id, rating: Rating::Down, comment }]);
            }
            Err(word) => {
                let problem = answer.json();
                assert_eq!((answer.code(), &problem["field"]), ((400, "invalid_request".into()), &json!("comment")));
                assert!(problem["detail"].as_str().unwrap().contains(word), "{problem}");
                let rated = told.iter().any(|kind| matches!(kind, FactKind::ReplyRated { .. }));
                assert!(!problem.to_string().contains("zebra") && !rated, "{problem} {told:?}");
            }
        }
    };
    check("500", json!("  <b>Too</b>\r\nlong \u{202e}"), Ok(Some("Too\nlong"))).await;
    check("500", json!(" <p></p>\u{200b}"), Ok(None)).await;
    check("500", Value::Null, Ok(None)).await;
    check("5", json!("<i>zebra</i>"), Ok(Some("zebra"))).await;
    check("5", json!("zebras"), Err("may have 5 characters")).await;
    check("0", json!("zebra"), Err("turned off")).await;
    check("0", json!(""), Ok(None)).await;
    check("500", json!(["zebra"]), Err("expected a string")).await;
}

/// Each refused call counts for its site, for one reason, and all of a reason are one fact.
#[tokio::test]
async fn refused_calls_are_counted_by_site_and_reason() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let sites = r#"[{"id":"shoes","allowed_origins":["https://shoes.example"]}]"#;
    std::fs::write(file.path(), sites).unwrap();
    let edge = Edge::new(&["--sites-file", file.path().to_str().unwrap(), "--rate-limit-session-per-minute", "1"]);
    let (session, token) = edge.begin().await;
    assert_eq!(edge.refused().await, []);

    let create = |origin: &str, body: Value| {
        let headers = [("origin", origin), ("content-type", "application/json")];
        request("POST", "/api/v1/session/create", &headers, body.to_string())
    };
    let check = async |request: Request<Body>, status: u16, expected: Option<(&str, &str)>| {
        let path = request.uri().clone();
        assert_eq!(edge.send(request).await.status, status, "{path}");
        let expected: Vec<_> = expected.iter().map(|(site, why)| ((*site).into(), (*why).into(), 1)).collect();
        assert_eq!(edge.refused().await, expected, "{path}");
    };
    let good = json!({"fingerprint": FINGERPRINT});
    check(create("https://evil.example", good.clone()), 403, Some(("default", "origin"))).await;
    check(create("https://shoes.example", good.clone()), 403, Some(("default", "origin"))).await;
    // By its own word, and by its page's origin where it didn't come to say it.
    check(create(SHOP, json!({"fingerprint": FINGERPRINT, "site": "shoes"})), 403, Some(("shoes", "origin"))).await;
    check(create("https://shoes.example", json!({})), 400, Some(("shoes", "invalid"))).await;
    check(create(SHOP, json!({"fingerprint": FINGERPRINT, "site": "nobody"})), 400, Some(("default", "invalid"))).await;
    let honeypot = json!({"fingerprint": FINGERPRINT, "site": "shoes", "signals": {"honeypot": "x"}});
    check(create("https://shoes.example", honeypot), 403, Some(("shoes", "bot_refuse"))).await;
    check(by(get("/api/v1/session/validate", &[]), "made.up.token"), 401, Some(("default", "token"))).await;
    check(by(get("/api/v1/chat/stream/sess_1_0123456789abcdef", &[]), &token), 403, Some(("default", "token"))).await;
    let say = |id: &str| {
        let mut say = by(post("/api/v1/chat/message", &json!({"message": "hi", "message_id": id})), &token);
        say.headers_mut().insert("accept", "application/json".parse().unwrap());
        say
    };
    check(say("message-1"), 202, None).await;
    check(say("message-2"), 429, Some(("default", "limit_session_minute"))).await;
    // Nothing was refused to them, or it is nobody's business.
    check(get("/api/v1/nothing", &[]), 404, None).await;
    check(get("/metrics", &[]), 403, None).await;
    check(post("/api/v1/chat/reply/made-up", &json!({})), 401, None).await;
    assert!(session.starts_with("sess_"));

    for _ in 0..500 {
        edge.state.refusals.count(None, &crate::problem::ApiError::OriginNotAllowed);
    }
    assert_eq!(edge.refused().await, [("default".into(), "origin".into(), 500)], "a flood is one fact");
    let mut ids: Vec<String> = Vec::new();
    for _ in 0..2 {
        edge.state.refusals.count(None, &crate::problem::ApiError::OriginNotAllowed);
        ids.extend(edge.facts().await.into_iter().map(|fact| fact.id.to_string()));
    }
    assert!(ids.len() == 2 && ids[0] != ids[1] && ids[0].starts_with("refused-"), "{ids:?}");
}
