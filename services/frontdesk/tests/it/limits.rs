//! Stories of those who want too much.

use std::time::{Duration, Instant};

use reqwest::Response;
use serde_json::{Value, json};
use worker::demo::Script;

use crate::{
    desk::{Desk, LIMIT},
    visitor::{Visitor, check_reply},
};

/// Says something; a reply is read to its end.
async fn say(visitor: &Visitor, message_id: &str) -> Result<(), Value> {
    let reply = visitor.say(message_id, "hi").await;
    if reply.status == 200 {
        check_reply(&reply.rest().await, 0);
        return Ok(());
    }
    Err(reply.problem().await)
}

async fn validate(visitor: &Visitor, headers: &[(&str, &str)]) -> Response {
    let asks = visitor.get("/api/v1/session/validate");
    let asks = headers.iter().fold(asks, |asks, (name, value)| asks.header(*name, *value));
    asks.send().await.expect("the edge answers")
}

fn refused(problem: &Value) -> (&str, &str, &str) {
    let text = |member: &str| problem[member].as_str().unwrap_or_default();
    (text("code"), text("scope"), text("limit"))
}

/// The value of a line of /metrics; 0 where there is none.
async fn metric(visitor: &Visitor, line: &str) -> u64 {
    let text = visitor.get_plain("/metrics").send().await.expect("an answer").text().await.expect("text");
    let value = text.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok());
    value.unwrap_or_default()
}

/// Waits until a metric is at least so much.
async fn until(visitor: &Visitor, line: &str, least: u64) {
    let began = Instant::now();
    while metric(visitor, line).await < least {
        assert!(began.elapsed() < LIMIT, "{line} stays below {least}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

const HEARD: &str = r#"frontdesk_edge_limit_charges_total{what="heard"}"#;
const DROPPED: &str = r#"frontdesk_edge_limit_charges_total{what="dropped"}"#;

/// What was used up at one edge is used up at the other: of a session, and of an address.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_edge_gives_nothing_more() {
    let desk = Desk::spread(2, 1, &[("MESSAGES_PER_DAY_SESSION", "3"), ("MESSAGES_PER_DAY_IP", "5")]).await;
    desk.n8n.will(Script::says(["Hello"]));
    // It listens to others before it is ready, and may miss what they count until then.
    desk.edges[1].until_readiness(200).await;
    desk.edges[0].until_readiness(200).await;
    let visitor = desk.visitor().await;
    let elsewhere = visitor.at(&desk.edges[1].url);
    for id in ["message-1", "message-2", "message-3"] {
        assert_eq!(say(&visitor, id).await, Ok(()));
    }
    assert_eq!(say(&visitor, "message-1").await, Ok(()), "a repeat is not of the budget");
    let problem = say(&visitor, "message-4").await.unwrap_err();
    assert_eq!(refused(&problem), ("rate_limited", "session", "day"));
    let wait = problem["retry_after"].as_u64().unwrap();
    assert!((86_000..=86_400).contains(&wait), "{problem}");
    // Three messages, each of the session's and of the address' budget.
    until(&elsewhere, HEARD, 6).await;
    assert_eq!(say(&elsewhere, "message-1").await, Ok(()), "what the session's record knows was paid for");
    let problem = say(&elsewhere, "message-4").await.unwrap_err();
    assert_eq!(refused(&problem), ("rate_limited", "session", "day"));

    let other = Visitor::begin(&desk.edges[1].url).await;
    assert_eq!((say(&other, "message-1").await, say(&other, "message-2").await), (Ok(()), Ok(())));
    assert_eq!(refused(&say(&other, "message-3").await.unwrap_err()), ("rate_limited", "ip", "day"));
    until(&visitor, HEARD, 4).await;
    let third = desk.visitor().await;
    assert_eq!(refused(&say(&third, "message-1").await.unwrap_err()), ("rate_limited", "ip", "day"));
    assert_eq!(desk.n8n.asked(), 5);
}

/// Without NATS each edge limits by itself; with it again they share.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_nats_an_edge_limits_alone() {
    let mut desk = Desk::spread(2, 0, &[("RATE_LIMIT_PER_MINUTE", "300")]).await;
    let visitor = desk.visitor().await;
    let elsewhere = visitor.at(&desk.edges[1].url);
    desk.nats.as_mut().unwrap().kill().await;
    for at in [&visitor, &elsewhere] {
        let mut calls = 0;
        while validate(at, &[]).await.status() != 429 {
            calls += 1;
            // 300, and what comes back meanwhile.
            assert!(calls < 3000, "nobody is refused");
        }
        until(at, DROPPED, 100).await;
    }
    let before = metric(&elsewhere, HEARD).await;
    desk.nats.as_mut().unwrap().restart(true).await;
    let began = Instant::now();
    while metric(&elsewhere, HEARD).await == before {
        assert!(began.elapsed() < LIMIT, "the edges don't share again");
        validate(&visitor, &[]).await;
    }
}

/// The shadow refuses nobody, tells nobody, and counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shadow_only_counts() {
    let settings = [("LIMITS_MODE", "shadow"), ("RATE_LIMIT_SESSION_PER_MINUTE", "1"), ("STREAMS_PER_SESSION", "1")];
    let desk = Desk::all_in_one(&settings).await;
    desk.n8n.will(Script::says(["Hello"]));
    let visitor = desk.visitor().await;
    let tabs = [visitor.listen("", None).await, visitor.listen("", None).await];
    assert!(tabs.iter().all(|tab| tab.status == 200));
    for id in ["message-1", "message-2", "message-3"] {
        assert_eq!(say(&visitor, id).await, Ok(()));
    }
    let answer = validate(&visitor, &[]).await;
    assert!(answer.status() == 200 && !answer.headers().contains_key("ratelimit"));
    let of = |limit| format!(r#"frontdesk_edge_rate_limited_total{{scope="session",limit="{limit}",mode="shadow"}}"#);
    assert!(metric(&visitor, &of("minute")).await >= 1);
    assert!(metric(&visitor, &of("streams")).await >= 1);
}

/// One stream too many is refused before it costs anything, and there is room when one ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_too_many_waits_for_room() {
    let desk = Desk::all_in_one(&[("STREAMS_PER_SESSION", "2"), ("STREAMS_PER_IP", "3")]).await;
    desk.n8n.will(Script::says(["Hello"]));
    let visitor = desk.visitor().await;
    let (one, two) = (visitor.listen("", None).await, visitor.listen("", None).await);
    assert_eq!((one.status, two.status), (200, 200));
    let third = visitor.get(&format!("/api/v1/chat/stream/{}", visitor.session)).send().await.unwrap();
    assert_eq!((third.status().as_u16(), third.headers()["retry-after"].to_str().unwrap()), (429, "5"));
    let problem: Value = third.json().await.unwrap();
    assert_eq!((refused(&problem), &problem["retry_after"]), (("rate_limited", "session", "streams"), &json!(5)));
    // A reply that would be streamed too, and nothing is asked; one that is read elsewhere needs no place.
    assert_eq!(refused(&say(&visitor, "message-1").await.unwrap_err()), ("rate_limited", "session", "streams"));
    assert_eq!(desk.n8n.asked(), 0);
    let other = desk.visitor().await;
    let _tab = other.listen("", None).await;
    assert_eq!(refused(&say(&other, "message-1").await.unwrap_err()), ("rate_limited", "ip", "streams"));
    drop(one);
    let began = Instant::now();
    while let Err(problem) = say(&visitor, "message-1").await {
        assert_eq!(refused(&problem), ("rate_limited", "session", "streams"));
        assert!(began.elapsed() < LIMIT, "its place was not freed");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(desk.n8n.asked(), 1);
}

/// Addresses that a visitor makes up change nothing; those that a trusted proxy notes are who is counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn made_up_addresses_change_nothing() {
    let made_up = async |desk: &Desk, nearest: &str| {
        let visitor = desk.visitor().await;
        for n in 0..1000 {
            let (listed, element) =
                (format!("198.51.{}.{}{nearest}", n / 250, n % 250), format!("for=198.51.100.{}", n % 250));
            let headers =
                [("x-forwarded-for", listed.as_str()), ("forwarded", &element), ("x-real-ip", "198.51.100.1")];
            if validate(&visitor, &headers).await.status() == 429 {
                return n;
            }
        }
        1000
    };
    let open = Desk::all_in_one(&[("RATE_LIMIT_PER_MINUTE", "60")]).await;
    assert!(made_up(&open, "").await < 1000);
    let behind = Desk::all_in_one(&[("RATE_LIMIT_PER_MINUTE", "60"), ("TRUSTED_PROXIES", "127.0.0.1")]).await;
    assert!(made_up(&behind, ", 203.0.113.7").await < 1000, "what stands left of the proxy's word is made up");
    assert_eq!(made_up(&behind, "").await, 1000, "each is a visitor of their own");
}

/// Who hangs up in the middle of a message has sent it all the same, if a worker has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hanging_up_gives_nothing_back() {
    let desk = Desk::spread(1, 1, &[("MESSAGES_PER_DAY_SESSION", "3")]).await;
    desk.n8n.will(Script::says(["Hello"]));
    let visitor = desk.visitor().await;
    // Each holds out a little longer, so that some leave between the hand-off and the answer.
    for n in 0..120_u64 {
        let says = json!({"message": "hi", "message_id": format!("hasty-{n:03}")});
        let asks = visitor.post("/api/v1/chat/message", &says).send();
        tokio::time::timeout(Duration::from_micros(40 * n), asks).await.ok();
    }
    for n in 0.. {
        match say(&visitor, &format!("patient-{n:03}")).await {
            Err(problem) if refused(&problem) == ("rate_limited", "session", "day") => break,
            Err(problem) => assert_eq!(problem["code"], "session_busy", "{problem}"),
            Ok(()) => {}
        }
    }
    let began = Instant::now();
    while desk.n8n.asked() < 3 {
        assert!(began.elapsed() < LIMIT, "a message that was paid for is not run");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(desk.n8n.asked(), 3);
}
