//! Sessions that are bound to a key.

use std::time::Duration;

use super::*;
use crate::{proof::tests::Browser, token::Grant};

const BASE: &str = "http://chat.example";
const VALIDATE: &str = "/api/v1/session/validate";

/// An edge, a session on it that is bound to the browser's key, and that key.
struct Bound {
    edge: Edge,
    browser: Browser,
    session: String,
    token: String,
}

impl Bound {
    async fn new(args: &[&str]) -> Self {
        Self::on(Edge::new(args)).await
    }

    async fn on(edge: Edge) -> Self {
        let browser = Browser::new(7);
        let created = edge.create(&json!({"fingerprint": FINGERPRINT, "public_key": browser.jwk()})).await;
        assert_eq!((created.status, &created.json()["token_type"]), (200, &json!("DPoP")), "{created:?}");
        let (session, token) = (created.json()["session_id"].clone(), created.json()["token"].clone());
        Self { edge, browser, session: session.as_str().unwrap().into(), token: token.as_str().unwrap().into() }
    }

    fn proof(&self, method: &str, path: &str, body: &str) -> String {
        self.browser.proof(method, &format!("{BASE}{path}"), &self.token, body)
    }

    /// A request with the token and these proofs.
    fn shown(&self, mut request: Request<Body>, proofs: &[&str]) -> Request<Body> {
        let headers = request.headers_mut();
        headers.insert("authorization", format!("DPoP {}", self.token).parse().unwrap());
        headers.insert("x-fingerprint", FINGERPRINT.parse().unwrap());
        headers.insert("origin", SHOP.parse().unwrap());
        headers.insert("accept", "application/json".parse().unwrap());
        for proof in proofs {
            headers.append("dpop", proof.parse().unwrap());
        }
        request
    }

    async fn validate(&self, proofs: &[&str]) -> Answer {
        self.edge.send(self.shown(get(VALIDATE, &[]), proofs)).await
    }

    /// A request signed as a browser would.
    async fn signed(&self, method: &str, path: &str, body: &str) -> Answer {
        let proof = self.proof(method, path.split('?').next().unwrap(), body);
        let json = [("content-type", "application/json")];
        self.edge.send(self.shown(request(method, path, &json, body.to_owned()), &[&proof])).await
    }
}

fn is(answer: &Answer, code: &str) {
    assert_eq!(answer.code(), (401, code.to_owned()));
    assert!(answer.header("www-authenticate").starts_with("DPoP "), "{answer:?}");
}

#[tokio::test]
async fn every_call_of_a_bound_session_is_signed() {
    let bound = Bound::new(&["--stream-max-age", "50ms"]).await;
    let stream = format!("/api/v1/chat/stream/{}", bound.session);
    let calls = [
        ("GET", VALIDATE, "", 200),
        ("HEAD", VALIDATE, "", 200),
        ("POST", "/api/v1/session/refresh", "", 200),
        ("POST", "/api/v1/session/refresh", "{}", 200),
        ("POST", "/api/v1/chat/ticket", "{}", 200),
        ("POST", "/api/v1/chat/feedback", r#"{"message_id": "message-1", "rating": "up"}"#, 202),
        ("GET", &stream, "", 200),
        ("POST", "/api/v1/chat/message", r#"{"message": "hi"}"#, 202),
        ("GET", &format!("{stream}?last_event_id=x"), "", 200),
        ("POST", "/api/v1/chat/cancel", r#"{"message_id": "message-1"}"#, 202),
        ("DELETE", "/api/v1/session", "", 204),
    ];
    for (method, path, body, status) in calls {
        let json = [("content-type", "application/json")];
        let bare = bound.edge.send(bound.shown(request(method, path, &json, body), &[])).await;
        assert_eq!(bare.status, 401, "{method} {path}");
        assert!(method == "HEAD" || bare.code().1 == "proof_required", "{bare:?}");
        let signed = bound.signed(method, path, body).await;
        assert_eq!(signed.status, status, "{method} {path}: {signed:?}");
    }
    assert_eq!(bound.signed("GET", VALIDATE, "").await.code(), (410, "session_ended".into()));
}

#[tokio::test]
async fn a_renewed_session_is_bound_to_the_same_key() {
    let mut bound = Bound::new(&[]).await;
    let renewed = bound.signed("POST", "/api/v1/session/refresh", "").await.json();
    assert_eq!(renewed["token_type"], "DPoP");
    let old = std::mem::replace(&mut bound.token, renewed["token"].as_str().unwrap().into());
    is(&bound.edge.send(by(get(VALIDATE, &[]), &bound.token)).await, "proof_required");
    assert_eq!(bound.signed("GET", VALIDATE, "").await.status, 200);
    let for_old = bound.browser.proof("GET", &format!("{BASE}{VALIDATE}"), &old, "");
    is(&bound.validate(&[&for_old]).await, "proof_invalid");
}

/// Who comes back when the token has expired can have deleted what is left of the session, and nothing else is done for
/// them.
#[tokio::test]
async fn an_expired_token_ends_its_session_and_does_nothing_else() {
    const HOUR: u64 = 3600;
    const END: &str = "/api/v1/session";
    /// A session that is as old as that, with the token it began with.
    fn aged(mut bound: Bound, hours: u64) -> Bound {
        let tokens = &bound.edge.state.tokens;
        let claims = tokens.verify(&bound.token, Some(FINGERPRINT), time::now()).unwrap();
        let then = time::now() - Duration::from_secs(hours * HOUR);
        let session = SessionId::mint(then.as_secs(), 7);
        let (token, _) = tokens.mint(Grant { session, ..claims.into() }, FINGERPRINT, then);
        bound.token = token;
        bound
    }
    let check = async |args: &[&str], hours: u64, expected: (u16, &str)| {
        let bound = aged(Bound::new(args).await, hours);
        let other = bound.signed("POST", "/api/v1/session/refresh", "").await;
        assert_eq!(other.code().1, if hours < 24 { "token_expired" } else { "session_ended" }, "{hours}");
        let ended = bound.signed("DELETE", END, "").await;
        if expected.0 == 204 {
            assert_eq!(ended.status, 204, "{hours}: {ended:?}");
            let told = bound.edge.state.bus.facts().next_batch(9).await.facts;
            let end = told.iter().find(|fact| fact.kind == protocol::FactKind::SessionEnded).unwrap();
            let age = time::now().as_secs() - end.session.as_ref().unwrap().began();
            assert!((hours * HOUR..hours * HOUR + 60).contains(&age), "{age}");
        } else {
            assert_eq!(ended.code(), (expected.0, expected.1.to_owned()), "{hours}");
        }
    };
    check(&[], 2, (204, "")).await;
    check(&[], 29 * 24, (204, "")).await;
    check(&[], 31 * 24, (410, "session_ended")).await;
    check(&["--session-end-within", "0s"], 2, (401, "token_expired")).await;

    let bound = aged(Bound::new(&["--rate-limit-per-minute", "0"]).await, 2);
    let end = async |proofs: &[&str]| bound.edge.send(bound.shown(request("DELETE", END, &[], ""), proofs)).await;
    is(&end(&[]).await, "proof_required");
    let thief = Browser::new(8).proof("DELETE", &format!("{BASE}{END}"), &bound.token, "");
    is(&end(&[&thief]).await, "proof_invalid");
    let good = bound.proof("DELETE", END, "");
    assert_eq!(end(&[&good]).await.status, 204);
    assert_eq!(end(&[&bound.proof("DELETE", END, "")]).await.code(), (410, "session_ended".into()));

    // Of a session without a key a token is all there is, and it may have been anybody's for long.
    let edge = Edge::new(&[]);
    let (_, token) = edge.begin().await;
    let claims = edge.state.tokens.verify(&token, Some(FINGERPRINT), time::now()).unwrap();
    let then = time::now() - Duration::from_secs(2 * HOUR);
    let (token, _) = edge.state.tokens.mint(claims.into(), FINGERPRINT, then);
    let refused = edge.send(by(request("DELETE", END, &[("origin", SHOP)], ""), &token)).await;
    assert_eq!(refused.code(), (401, "token_expired".into()));
}

#[tokio::test]
async fn what_was_not_signed_is_refused() {
    let bound = Bound::new(&["--rate-limit-per-minute", "0"]).await;
    let good = || bound.proof("GET", VALIDATE, "");
    is(&bound.validate(&[]).await, "proof_required");
    is(&bound.validate(&[&good(), &good()]).await, "proof_invalid");
    is(&bound.validate(&[""]).await, "proof_invalid");
    is(&bound.validate(&["not.a.proof"]).await, "proof_invalid");
    is(&bound.validate(&[&format!("{}, {}", good(), good())]).await, "proof_invalid");
    is(&bound.validate(&[&bound.proof("POST", VALIDATE, "")]).await, "proof_invalid");
    is(&bound.validate(&[&bound.proof("GET", "/api/v1/session/refresh", "")]).await, "proof_invalid");
    is(&bound.validate(&[&bound.proof("GET", VALIDATE, "{}")]).await, "proof_invalid");
    let elsewhere = bound.browser.proof("GET", &format!("https://chat.example{VALIDATE}"), &bound.token, "");
    is(&bound.validate(&[&elsewhere]).await, "proof_invalid");
    let thief = Browser::new(8).proof("GET", &format!("{BASE}{VALIDATE}"), &bound.token, "");
    is(&bound.validate(&[&thief]).await, "proof_invalid");

    // As a bearer token it is worth nothing, with or without a proof.
    let mut bearer = bound.shown(get(VALIDATE, &[]), &[&good()]);
    bearer.headers_mut().insert("authorization", format!("Bearer {}", bound.token).parse().unwrap());
    is(&bound.edge.send(bearer).await, "proof_required");

    let path = "/api/v1/chat/message";
    let proof = bound.proof("POST", path, r#"{"message":"hi"}"#);
    let json = [("content-type", "application/json")];
    let edited = bound.shown(request("POST", path, &json, r#"{"message":"ho"}"#), &[&proof]);
    is(&bound.edge.send(edited).await, "proof_invalid");
    // What was refused was not used up.
    let signed = bound.shown(request("POST", path, &json, r#"{"message":"hi"}"#), &[&proof]);
    assert_eq!(bound.edge.send(signed).await.status, 202);

    let counted = |result| bound.edge.state.metrics.proofs.get_or_create(&crate::metrics::Shown { result }).get();
    assert_eq!((counted("accepted"), counted("missing"), counted("invalid")), (1, 2, 10));
}

#[tokio::test]
async fn a_proof_is_good_once_on_all_edges() {
    let bound = Bound::new(&[]).await;
    let other = Edge::on(bound.edge.state.bus.clone(), config(&[]));
    let proof = bound.proof("GET", VALIDATE, "");
    assert_eq!(bound.validate(&[&proof]).await.status, 200);
    is(&bound.validate(&[&proof]).await, "proof_replayed");
    is(&other.send(bound.shown(get(VALIDATE, &[]), &[&proof])).await, "proof_replayed");
}

/// The answer tells the server's time, so that a browser with a wrong clock can correct itself.
#[tokio::test]
async fn a_wrong_clock_is_told_the_time() {
    let bound = Bound::new(&[]).await;
    let claims = |iat: u64| {
        let fresh = bound.proof("GET", VALIDATE, "");
        let claims = fresh.split('.').nth(1).unwrap().to_owned();
        let claims = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, claims).unwrap();
        let mut claims: Value = serde_json::from_slice(&claims).unwrap();
        claims["iat"] = json!(iat);
        bound.browser.sign(&bound.browser.header(), &claims)
    };
    for iat in [time::now().as_secs() - 300, time::now().as_secs() + 300] {
        let refused = bound.validate(&[&claims(iat)]).await;
        is(&refused, "proof_invalid");
        let told: jiff::Timestamp = refused.json()["server_time"].as_str().unwrap().parse().unwrap();
        let corrected = u64::try_from(told.as_second()).unwrap();
        assert_eq!(bound.validate(&[&claims(corrected)]).await.status, 200);
    }
    let otherwise_wrong = bound.validate(&[&bound.proof("POST", VALIDATE, "")]).await;
    assert!(otherwise_wrong.json().get("server_time").is_none());
}

/// A ticket is made by a signed call, and needs no proof of its own.
#[tokio::test]
async fn a_ticket_opens_a_stream_without_a_proof() {
    let bound = Bound::new(&["--stream-max-age", "50ms"]).await;
    let ticket = bound.signed("POST", "/api/v1/chat/ticket", "").await.json()["ticket"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/chat/stream/{}", bound.session);
    assert_eq!(bound.edge.send(get(&format!("{path}?ticket={ticket}"), &[])).await.status, 200);
    is(&bound.edge.send(bound.shown(get(&path, &[]), &[])).await, "proof_required");
}

#[tokio::test]
async fn a_bad_key_is_named_and_a_private_one_refused() {
    let edge = Edge::new(&["--rate-limit-per-minute", "0"]);
    let check = async |jwk: Value| {
        let answer = edge.create(&json!({"fingerprint": FINGERPRINT, "public_key": jwk})).await;
        assert_eq!(answer.code(), (400, "invalid_request".into()), "{jwk}");
        assert_eq!(answer.json()["field"], "public_key", "{jwk}");
    };
    let with = |name: &str, value: Value| {
        let mut jwk = Browser::new(7).jwk();
        jwk[name] = value;
        jwk
    };
    check(json!({"kty": "EC", "crv": "P-256", "x": "a", "y": "b"})).await;
    check(with("kty", json!("RSA"))).await;
    check(with("crv", json!("P-521"))).await;
    check(with("d", json!("x".repeat(43)))).await;
    check(with("y", json!("A".repeat(43)))).await;
    check(json!("x")).await;
}

#[tokio::test]
async fn signatures_can_be_off_or_required() {
    let bound = Bound::new(&[]).await;
    let key = json!({"fingerprint": FINGERPRINT, "public_key": bound.browser.jwk()});

    let off = Edge::on(bound.edge.state.bus.clone(), config(&["--request-signatures", "off"]));
    let created = off.create(&key).await.json();
    assert_eq!(created["token_type"], "Bearer");
    let free = created["token"].as_str().unwrap();
    assert_eq!(off.send(by(get(VALIDATE, &[]), free)).await.status, 200);
    is(&off.send(by(get(VALIDATE, &[]), &bound.token)).await, "proof_required");
    // The scheme is for tokens that are bound.
    let mut dressed_up = bound.shown(get(VALIDATE, &[]), &[&bound.proof("GET", VALIDATE, "")]);
    dressed_up.headers_mut().insert("authorization", format!("DPoP {free}").parse().unwrap());
    is(&off.send(dressed_up).await, "proof_invalid");
    let ticket = off.send(by(request("POST", "/api/v1/chat/ticket", &[("origin", SHOP)], ""), free)).await;
    let ticket = ticket.json()["ticket"].as_str().unwrap().to_owned();

    let required = Edge::on(bound.edge.state.bus.clone(), config(&["--request-signatures", "required"]));
    is(&required.create(&json!({"fingerprint": FINGERPRINT})).await, "proof_required");
    assert_eq!(required.create(&key).await.json()["token_type"], "DPoP");
    is(&required.send(by(get(VALIDATE, &[]), free)).await, "proof_required");
    let stream = format!("/api/v1/chat/stream/{}", created["session_id"].as_str().unwrap());
    is(&required.send(get(&format!("{stream}?ticket={ticket}"), &[])).await, "proof_required");
    let signed = bound.shown(get(VALIDATE, &[]), &[&bound.proof("GET", VALIDATE, "")]);
    assert_eq!(required.send(signed).await.status, 200);
}

/// No memory for one more proof: the call is refused, and no used proof is good again.
#[tokio::test]
async fn no_proof_is_taken_that_can_not_be_remembered() {
    let bus = bus::Bus::local(&bus::Config { proofs_max: 1, ..bus::Config::default() });
    let bound = Bound::on(Edge::on(bus, config(&[]))).await;
    let proof = bound.proof("GET", VALIDATE, "");
    assert_eq!(bound.validate(&[&proof]).await.status, 200);
    let full = bound.signed("GET", VALIDATE, "").await;
    assert_eq!(full.code(), (503, "overloaded".into()));
    assert_eq!(full.header("retry-after"), "2");
    is(&bound.validate(&[&proof]).await, "proof_replayed");
}

/// Behind a proxy the address is the one that the visitor sees.
#[tokio::test]
async fn the_address_is_the_visitors() {
    let check = async |args: &[&str], peer: &str, headers: &[(&'static str, &str)], url: &str| {
        let bound = Bound::new(args).await;
        let proof = bound.browser.proof("GET", &format!("{url}{VALIDATE}"), &bound.token, "");
        let mut request = bound.shown(get(VALIDATE, &[]), &[&proof]);
        headers.iter().for_each(|(name, value)| drop(request.headers_mut().insert(*name, value.parse().unwrap())));
        let answer = bound.edge.send_from(peer, request).await;
        assert_eq!(answer.status, 200, "{args:?} {headers:?} {url}: {answer:?}");
    };
    let (proxy, proto) = ("10.0.0.1:1", [("x-forwarded-proto", "https")]);
    check(&[], "192.0.2.7:1", &[], "http://chat.example").await;
    check(&[], "192.0.2.7:1", &proto, "http://chat.example").await;
    check(&["--trusted-proxies", "10.0.0.0/8"], proxy, &proto, "https://chat.example").await;
    check(&["--public-url", "https://chat.shop.test"], "192.0.2.7:1", &[], "https://chat.shop.test").await;
}
