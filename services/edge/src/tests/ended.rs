//! Sessions that their visitors end.

use super::*;

const VALIDATE: &str = "/api/v1/session/validate";

fn end(token: &str) -> Request<Body> {
    by(request("DELETE", "/api/v1/session", &[("origin", SHOP)], ""), token)
}

async fn ticket(edge: &Edge, token: &str) -> String {
    let answer = edge.send(by(request("POST", "/api/v1/chat/ticket", &[("origin", SHOP)], ""), token)).await;
    answer.json()["ticket"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_ended_session_is_over_for_every_call_on_every_edge() {
    let edge = Edge::new(&["--rate-limit-per-minute", "0"]);
    let other = Edge::on(edge.state.bus.clone(), config(&["--rate-limit-per-minute", "0"]));
    let (session, token) = edge.begin().await;
    let (_, innocent) = edge.begin().await;
    let ticket = ticket(&edge, &token).await;
    assert_eq!(other.send(by(get(VALIDATE, &[]), &token)).await.status, 200);

    let ended = edge.send(end(&token)).await;
    assert_eq!((ended.status, ended.body.len(), ended.header("cache-control")), (204, 0, "no-store"));
    while !other.state.ended.has(&SessionId::new(&session).unwrap()) {
        tokio::task::yield_now().await;
    }
    // An edge that starts later has heard of it as well.
    let later = Edge::on(edge.state.bus.clone(), config(&[]));
    for edge in [&edge, &other, &later] {
        let stream = format!("/api/v1/chat/stream/{session}");
        for request in [
            by(get(VALIDATE, &[]), &token),
            by(request("POST", "/api/v1/session/refresh", &[("origin", SHOP)], ""), &token),
            by(request("POST", "/api/v1/chat/ticket", &[("origin", SHOP)], ""), &token),
            by(post("/api/v1/chat/message", &json!({"message": "hi"})), &token),
            by(post("/api/v1/chat/cancel", &json!({"message_id": "message-1"})), &token),
            by(get(&stream, &[]), &token),
            get(&format!("{stream}?ticket={ticket}"), &[]),
            get(&format!("{stream}?ticket={ticket}"), &[("last-event-id", "message-0:b")]),
            end(&token),
        ] {
            let what = format!("{} {}", request.method(), request.uri().path());
            assert_eq!(edge.send(request).await.code(), (410, "session_ended".into()), "{what}");
        }
        assert_eq!(edge.send(by(get(VALIDATE, &[]), &innocent)).await.status, 200);
    }
    assert_eq!(edge.state.metrics.sessions_ended.get(), 1);
    // Without its fingerprint a token tells nothing, not even that.
    let stranger =
        get(VALIDATE, &[("authorization", &format!("Bearer {token}")), ("x-fingerprint", "fedcba9876543210")]);
    assert_eq!(edge.send(stranger).await.code(), (401, "fingerprint_mismatch".into()));
}

/// What runs is shown as cancelled, then its stream closes; nothing is left of it on the bus.
#[tokio::test]
async fn the_streams_of_an_ended_session_close() {
    let edge = Edge::new(&[]);
    let (session, token) = edge.begin().await;
    let id = SessionId::new(&session).unwrap();
    let say = by(post("/api/v1/chat/message", &json!({"message": "hi", "message_id": "message-1"})), &token);
    let listen = by(get(&format!("/api/v1/chat/stream/{session}"), &[]), &token);
    let story = async {
        while edge.state.bus.pending(&id).await.unwrap().is_none() || edge.state.metrics.sse_open.get() < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(edge.send(end(&token)).await.status, 204);
    };
    let (said, heard, ()) = tokio::join!(edge.send(say), edge.send(listen), story);
    for stream in [said, heard] {
        let text = String::from_utf8(stream.body).unwrap();
        assert!(text.contains("event: end") && text.contains(r#""finish_reason":"cancelled""#), "{text}");
    }
    assert!(edge.state.bus.pending(&id).await.unwrap().is_none(), "nothing waits");
    let record = edge.state.bus.record(&id, bus::Read::Exact).await.unwrap().record;
    assert_eq!(record, protocol::Record::ended(id));
    let mut facts = edge.state.bus.facts();
    let told = facts.next_batch(100).await.facts;
    assert_eq!(told.last().map(|fact| fact.kind.name()), Some("session_ended"));
}

/// The answer is the same whether the other session runs, was ended, or never was.
#[tokio::test]
async fn another_session_is_not_confirmed() {
    let edge = Edge::new(&[]);
    let (_, token) = edge.begin().await;
    let (running, _) = edge.begin().await;
    let (ended, its_token) = edge.begin().await;
    assert_eq!(edge.send(end(&its_token)).await.status, 204);
    let mut answers = Vec::new();
    for other in [&running, &ended, "sess_1767168909_9f86d081884c7d65"] {
        let answer = edge.send(by(get(&format!("/api/v1/chat/stream/{other}"), &[]), &token)).await;
        assert_eq!(answer.code(), (403, "session_mismatch".into()));
        let mut problem = answer.json();
        problem.as_object_mut().unwrap().remove("request_id");
        answers.push(problem);
    }
    assert!(answers.windows(2).all(|two| two[0] == two[1]), "{answers:?}");
}

#[tokio::test]
async fn a_foreign_page_ends_nothing() {
    let edge = Edge::new(&[]);
    let (_, token) = edge.begin().await;
    for headers in [&[][..], &[("origin", "https://evil.example")]] {
        let refused = edge.send(by(request("DELETE", "/api/v1/session", headers, ""), &token)).await;
        assert_eq!(refused.code(), (403, "origin_not_allowed".into()));
    }
    let unproved = edge.send(request("DELETE", "/api/v1/session", &[("origin", SHOP)], "")).await;
    assert_eq!(unproved.code(), (401, "unauthorized".into()));
    assert_eq!(edge.send(by(get(VALIDATE, &[]), &token)).await.status, 200);
}
