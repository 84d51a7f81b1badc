//! Stories of visitors who end their session.

use std::time::{Duration, Instant};

use bus::{Config, Read};
use protocol::{Record, SessionId, SiteId};
use serde_json::Value;
use worker::demo::Script;

use crate::{
    desk::{Desk, LIMIT, Process},
    visitor::{Visitor, check_reply, text},
};

/// Well above the second that is promised, for a machine that is busy; the figure itself is measured, not tested.
const SOON: Duration = Duration::from_secs(5);

async fn validate(visitor: &Visitor) -> (u16, String) {
    let answer = visitor.get("/api/v1/session/validate").send().await.expect("the edge answers");
    let status = answer.status().as_u16();
    let body: Value = answer.json().await.expect("JSON");
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

fn gone() -> (u16, String) {
    (410, "session_ended".to_owned())
}

async fn until(what: &str, limit: Duration, reached: impl AsyncFn() -> bool) {
    let late = Instant::now() + limit;
    while !reached().await {
        assert!(Instant::now() < late, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn metric(visitor: &Visitor, process: &Process, line: &str) -> bool {
    let metrics = visitor.at(&process.url).get_plain("/metrics").send().await.expect("it answers");
    metrics.text().await.expect("text").contains(&format!("{line}\n"))
}

/// A visitor ends the session while n8n answers: streams everywhere show the reply as cancelled and close, n8n is left,
/// and every call is refused.
async fn ends_in_mid_reply(desk: &Desk, visitor: &Visitor) {
    desk.n8n.will(Script::lines().begin().items(["one ", "two "]).hang());
    let other = visitor.at(&desk.edges.last().expect("there is an edge").url);
    let mut listening = other.listen("", None).await;
    let mut reply = visitor.say("message-1", "hi").await;
    let mut events = reply.chunks(2).await;
    let mut heard = listening.chunks(2).await;

    assert_eq!(visitor.delete("/api/v1/session").send().await.expect("the edge answers").status(), 204);
    assert_eq!(validate(visitor).await, gone(), "at once where it was ended");
    until("the other edge does not know of the end", SOON, async || validate(&other).await == gone()).await;
    events.extend(reply.rest().await);
    heard.extend(listening.rest().await);
    let heard: Vec<_> = heard.into_iter().filter(|event| event.name != "ready").collect();
    for events in [&events, &heard] {
        check_reply(events, 0);
        assert_eq!(text(events), "one two ");
        assert_eq!(events.last().expect("there is an end").data["finish_reason"], "cancelled");
    }
    desk.n8n.left_at_least(1).await;
    assert_eq!(visitor.delete("/api/v1/session").send().await.expect("the edge answers").status(), 410);
    assert_eq!(desk.n8n.asked(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_ends_all_in_one() {
    let desk = Desk::all_in_one(&[]).await;
    ends_in_mid_reply(&desk, &desk.visitor().await).await;
}

/// The same over NATS; the worker that ran the reply does not bring its record back, analytics erases the session's
/// row, and neither a restart of an edge nor one of NATS brings the session back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_ends_everywhere_and_stays_so() {
    let mut desk = Desk::spread(2, 1, &[]).await;
    let (visitor, innocent) = (desk.visitor().await, desk.visitor().await);
    let (id, site) = (SessionId::new(&visitor.session).unwrap(), SiteId::new("default").unwrap());
    ends_in_mid_reply(&desk, &visitor).await;

    let worker = &desk.workers[0];
    let left = async || metric(&visitor, worker, "frontdesk_worker_taken_over_total 1").await;
    until("the worker does not let go", LIMIT, left).await;
    let bus = desk.nats.as_ref().expect("spread").bus(&Config::default(), "edge").await;
    assert_eq!(bus.record(&id, Read::Exact).await.unwrap().record, Record::ended(id.clone()));
    assert!(bus.pending(&id).await.unwrap().is_none());

    let mut analytics = desk.analytics.take().expect("spread");
    let line = r#"frontdesk_analytics_facts_total{kind="session_ended",outcome="applied"} 1"#;
    until("analytics was not told", LIMIT, async || metric(&visitor, &analytics, line).await).await;
    analytics.signal("TERM");
    analytics.ended().await;
    let store = analytics::Store::open(desk.database().as_ref()).unwrap();
    assert_eq!(store.session(&site, &id).unwrap(), None);
    assert!(store.session(&site, &SessionId::new(&innocent.session).unwrap()).unwrap().is_some());

    desk.nats.as_mut().expect("spread").restart(true).await;
    desk.edges[1].kill();
    desk.edges.push(desk.launch(&["edge"]));
    let (visitor, innocent) = (visitor.at(&desk.edges[2].url), innocent.at(&desk.edges[2].url));
    // Not before it knows who is out does it let anybody in.
    until("the new edge lets nobody in", LIMIT, async || validate(&innocent).await.0 != 503).await;
    assert_eq!(validate(&innocent).await.0, 200);
    assert_eq!(validate(&visitor).await, gone());
}

/// A message that waits for a worker when its session ends is never run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_when_the_session_ends_is_never_run() {
    let mut desk = Desk::spread(1, 0, &[]).await;
    desk.n8n.will(Script::says(["Hello"]));
    let (visitor, other) = (desk.visitor().await, desk.visitor().await);
    let mut reply = visitor.say("message-1", "hi").await;
    reply.until("queued").await;
    assert_eq!(visitor.delete("/api/v1/session").send().await.expect("the edge answers").status(), 204);
    let events = reply.rest().await;
    assert_eq!(events.last().unwrap().data["finish_reason"], "cancelled");
    desk.add_worker();
    assert_eq!(text(&other.hear("message-1", "hi").await), "Hello");
    assert_eq!(desk.n8n.asked(), 1, "only the other visitor's");
}
