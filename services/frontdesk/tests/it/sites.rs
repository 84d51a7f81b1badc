//! Several sites in one deployment: whose flood is whose.

#![expect(clippy::unwrap_used, reason = "a story that can't go on should stop")]

use std::{path::Path, sync::Arc};

use serde_json::json;
use worker::demo::{Gate, Script};

use crate::{
    desk::{Desk, LIMIT, Process},
    visitor::{Stream, Visitor, check_reply, names, text},
};

/// Files of sites for edges and workers, gone with it.
struct Files(tempfile::TempDir);

impl Files {
    /// Two shops beside `default`; without fields of their own: they are as the settings say.
    fn two_shops() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        for name in ["edge.json", "worker.json"] {
            std::fs::write(files.0.path().join(name), r#"[{"id":"loud"},{"id":"quiet"}]"#).unwrap();
        }
        files
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    async fn desk(&self, edges: usize, workers: usize, settings: &[(&str, &str)]) -> Desk {
        let (edge, worker) = (self.path("edge.json"), self.path("worker.json"));
        let settings = [settings, &[("SITES_FILE", &edge), ("N8N_SITES_FILE", &worker)]].concat();
        if edges == 0 { Desk::all_in_one(&settings).await } else { Desk::spread(edges, workers, &settings).await }
    }
}

/// A value of the metrics at `url`; 0 where there is none.
async fn metric(url: &str, name: &str) -> u64 {
    crate::visitor::use_ring();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let text = client.get(format!("{url}/metrics")).send().await.unwrap().text().await.unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value.unwrap_or(0)
}

/// Waits until all these processes together have the value.
async fn metrics_say(processes: &[Process], name: &str, expected: u64) {
    let until = std::time::Instant::now() + LIMIT;
    loop {
        let mut sum = 0;
        for process in processes {
            sum += metric(&process.url, name).await;
        }
        if sum == expected {
            return;
        }
        assert!(std::time::Instant::now() < until, "{name} is {sum}, not {expected}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// Where the workers' metrics are.
fn workers(desk: &Desk) -> &[Process] {
    if desk.workers.is_empty() { &desk.edges } else { &desk.workers }
}

/// One message each of so many visitors of a site, all accepted when this returns.
async fn flood(desk: &Desk, site: &str, messages: usize) -> Vec<Stream> {
    let says = (0..messages).map(|n| async move {
        let visitor = Visitor::begin_at(&desk.edges[n % desk.edges.len()].url, site).await;
        visitor.say("message-1", "flood").await
    });
    futures_util::future::join_all(says).await
}

fn code(events: &[crate::visitor::Event]) -> &serde_json::Value {
    &events.last().expect("there is an end").data["code"]
}

/// One shop floods its n8n, which hangs: the other one's visitor is answered while all of the flood still hangs or waits.
async fn a_flood_delays_nobody_else(edges: usize, workers_: usize) {
    let files = Files::two_shops();
    let desk = files.desk(edges, workers_, &[("WORKER_CONCURRENCY", "8"), ("SITE_QUEUE", "300")]).await;
    let gate = Gate::new();
    desk.n8n.when("flood", Script::lines().wait(&gate).begin().items(["late"]).end());
    desk.n8n.when("hello", Script::says(["at once"]));
    let flood = flood(&desk, "loud", 200).await;
    // Half of each worker's places.
    let places = 4 * workers(&desk).len() as u64;
    desk.n8n.asked_at_least(places).await;
    metrics_say(workers(&desk), r#"frontdesk_worker_site_waiting{site="loud"}"#, 200 - places).await;
    for message in ["message-1", "message-2", "message-3"] {
        let visitor = Visitor::begin_at(&desk.edges[0].url, "quiet").await;
        let events = visitor.hear(message, "hello").await;
        assert_eq!((names(&events), text(&events).as_str()), (vec!["begin", "chunk", "end"], "at once"));
    }
    assert_eq!(desk.n8n.asked(), places + 3, "no more than its share of the flood is with n8n");
    gate.open();
    for reply in flood {
        let events = reply.rest().await;
        check_reply(&events, 0);
        assert_eq!(text(&events), "late");
    }
    assert_eq!(desk.n8n.asked(), 203, "each ran once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_delays_nobody_else_all_in_one() {
    a_flood_delays_nobody_else(0, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_delays_nobody_else_spread() {
    a_flood_delays_nobody_else(2, 2).await;
}

/// A burst spreads over all workers: while one has room, nothing waits in another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_fills_all_workers() {
    let desk = Desk::spread(1, 2, &[("WORKER_CONCURRENCY", "6")]).await;
    let gate = Gate::new();
    desk.n8n.when("flood", Script::lines().wait(&gate).begin().items(["late"]).end());
    let replies = flood(&desk, "default", 12).await;
    desk.n8n.asked_at_least(12).await;
    gate.open();
    for reply in replies {
        assert_eq!(text(&reply.rest().await), "late");
    }
}

/// The queue is full: the next one fails at once, the others when their time is up, and none of them gets to n8n.
async fn a_full_queue_and_a_long_wait(edges: usize) {
    let files = Files::two_shops();
    let settings = [("SITE_CONCURRENCY", "1"), ("SITE_QUEUE", "2"), ("QUEUE_TIMEOUT", "3s")];
    let desk = files.desk(edges, 1, &settings).await;
    let gate = Gate::new();
    desk.n8n.will(Script::lines().begin().items(["first "]).wait(&gate).items(["last"]).end());
    let mut runs = Visitor::begin_at(&desk.edges[0].url, "loud").await.say("message-1", "hi").await;
    runs.chunks(1).await;
    let mut waits = flood(&desk, "loud", 2).await;
    metrics_say(workers(&desk), r#"frontdesk_worker_site_waiting{site="loud"}"#, 2).await;
    let refused = flood(&desk, "loud", 1).await.remove(0).rest().await;
    check_reply(&refused, 0);
    assert_eq!((names(&refused), code(&refused)), (vec!["failed"], &json!("queue_timeout")));
    assert_eq!(waits[0].next().await.unwrap().name, "queued", "those before it still wait");
    for reply in waits {
        let events = reply.rest().await;
        check_reply(&events, 0);
        assert_eq!((events.last().unwrap().name.as_str(), code(&events)), ("failed", &json!("queue_timeout")));
    }
    gate.open();
    assert_eq!(text(&runs.rest().await), "last");
    assert_eq!(desk.n8n.asked(), 1, "n8n heard of the first one only");
    metrics_say(workers(&desk), r#"frontdesk_worker_site_refused_total{site="loud"}"#, 1).await;
    metrics_say(workers(&desk), r#"frontdesk_worker_site_timed_out_total{site="loud"}"#, 2).await;
    metrics_say(workers(&desk), r#"frontdesk_worker_site_waiting{site="loud"}"#, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_and_a_long_wait_all_in_one() {
    a_full_queue_and_a_long_wait(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_and_a_long_wait_spread() {
    a_full_queue_and_a_long_wait(1).await;
}

/// The edge that accepted a waiting message dies: the worker in which it waits ends it in time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_message_ends_without_its_edge() {
    let mut desk = Desk::spread(2, 1, &[("WORKER_CONCURRENCY", "1"), ("QUEUE_TIMEOUT", "2s")]).await;
    desk.n8n.will(Script::lines().begin().items(["first "]).hang());
    let mut runs = desk.visitor().await.say("message-1", "hi").await;
    runs.chunks(1).await;
    let visitor = desk.visitor().await;
    let waits = visitor.say("message-1", "hi").await;
    metrics_say(&desk.workers, r#"frontdesk_worker_site_waiting{site="default"}"#, 1).await;
    desk.edges[0].kill();
    drop(waits);
    metrics_say(&desk.workers, r#"frontdesk_worker_site_timed_out_total{site="default"}"#, 1).await;
    let events = visitor.at(&desk.edges[1].url).hear("message-1", "hi").await;
    check_reply(&events, 0);
    assert_eq!(code(&events), "queue_timeout");
    assert_eq!(desk.n8n.asked(), 1);
}

/// A waiting message that is cancelled, or whose session ends, is not run when its turn comes, and holds up nobody.
async fn who_leaves_the_queue_is_not_run(edges: usize) {
    let files = Files::two_shops();
    let desk = files.desk(edges, 1, &[("SITE_CONCURRENCY", "1")]).await;
    let gate = Gate::new();
    desk.n8n.will(Script::lines().begin().items(["first "]).wait(&gate).items(["last"]).end());
    desk.n8n.will(Script::says(["for the third"]));
    let begin = || Visitor::begin_at(&desk.edges[0].url, "loud");
    let mut runs = begin().await.say("message-1", "one").await;
    runs.chunks(1).await;
    let (cancels, leaves, stays) = (begin().await, begin().await, begin().await);
    let cancelled = cancels.say("message-2", "two").await;
    let left = leaves.say("message-3", "three").await;
    let last = stays.say("message-4", "four").await;
    metrics_say(workers(&desk), r#"frontdesk_worker_site_waiting{site="loud"}"#, 3).await;
    cancels.cancel("message-2").await;
    assert_eq!(cancelled.rest().await.last().unwrap().data["finish_reason"], "cancelled");
    assert_eq!(leaves.delete("/api/v1/session").send().await.unwrap().status(), 204);
    drop(left);
    gate.open();
    assert_eq!(text(&runs.rest().await), "last");
    assert_eq!(text(&last.rest().await), "for the third");
    let asked: Vec<_> = desk.n8n.requests().iter().map(|seen| seen.json()["message_id"].clone()).collect();
    assert_eq!(asked, ["message-1", "message-4"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_the_queue_is_not_run_all_in_one() {
    who_leaves_the_queue_is_not_run(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_the_queue_is_not_run_spread() {
    who_leaves_the_queue_is_not_run(1).await;
}

/// SIGTERM to a worker: what waits in it goes to the other one at once, and each runs once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_goes_to_another_worker() {
    let mut desk = Desk::spread(1, 1, &[("WORKER_CONCURRENCY", "1")]).await;
    let gate = Gate::new();
    desk.n8n.will(Script::lines().begin().items(["first "]).wait(&gate).items(["last"]).end());
    desk.n8n.when("flood", Script::says(["elsewhere"]));
    let mut runs = desk.visitor().await.say("message-1", "hi").await;
    runs.chunks(1).await;
    let waits = flood(&desk, "default", 20).await;
    metrics_say(&desk.workers, r#"frontdesk_worker_site_waiting{site="default"}"#, 20).await;
    desk.add_worker();
    desk.workers[0].signal("TERM");
    // While the first one still runs what it has.
    for reply in waits {
        let events = reply.rest().await;
        check_reply(&events, 0);
        assert_eq!(text(&events), "elsewhere");
    }
    gate.open();
    assert_eq!(text(&runs.rest().await), "last");
    assert_eq!(desk.workers[0].ended().await.code(), Some(0));
    assert_eq!(desk.n8n.asked(), 21);
}

/// A worker that comes later gets what waits in another one, which keeps what it runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_worker_helps() {
    let mut desk = Desk::spread(1, 1, &[("WORKER_CONCURRENCY", "1")]).await;
    let gate = Gate::new();
    desk.n8n.will(Script::lines().begin().items(["first "]).wait(&gate).items(["last"]).end());
    desk.n8n.when("flood", Script::says(["elsewhere"]));
    let mut runs = desk.visitor().await.say("message-1", "hi").await;
    runs.chunks(1).await;
    let waits = flood(&desk, "default", 20).await;
    metrics_say(&desk.workers, r#"frontdesk_worker_site_waiting{site="default"}"#, 20).await;
    desk.add_worker();
    for reply in waits {
        let events = reply.rest().await;
        check_reply(&events, 0);
        assert_eq!(text(&events), "elsewhere");
    }
    gate.open();
    assert_eq!(text(&runs.rest().await), "last");
    assert_eq!(desk.n8n.asked(), 21);
}

/// A worker dies in mid-reply while its site is full at the other one: its visitor is told, and does not wait for a place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_reply_does_not_wait_for_a_place() {
    let mut desk = Desk::spread(1, 1, &[("WORKER_CONCURRENCY", "1")]).await;
    desk.n8n.when("cut", Script::lines().begin().items(["one "]).hang());
    desk.n8n.when("hold", Script::lines().begin().items(["two "]).hang());
    let mut cut = desk.visitor().await.say("message-1", "cut").await;
    cut.chunks(1).await;
    desk.add_worker();
    let mut hold = desk.visitor().await.say("message-1", "hold").await;
    hold.chunks(1).await;
    desk.workers[0].kill();
    let events = cut.rest().await;
    assert_eq!((names(&events), code(&events)), (vec!["failed"], &json!("interrupted")));
    assert_eq!(desk.n8n.asked(), 2);
}

/// Each site has its own webhook and key, its own limits, and its own pages.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_site_has_its_own_settings() {
    let files = Files::two_shops();
    let own = worker::demo::Demo::scripted(([127, 0, 0, 1], 0).into()).await.unwrap();
    own.when("hi", Script::says(["from its own n8n"]));
    let worker =
        json!([{"id": "quiet", "webhook_url": own.url().as_str(), "api_key": "its-key", "api_key_header": "X-Its"}]);
    std::fs::write(files.path("worker.json"), worker.to_string()).unwrap();
    let edge = json!([
        {"id": "loud", "allowed_origins": ["https://loud.example"]},
        {"id": "quiet", "allowed_origins": ["https://quiet.example"], "message_max_chars": 5, "messages_per_minute": 2}
    ]);
    std::fs::write(files.path("edge.json"), edge.to_string()).unwrap();
    let desk = files.desk(1, 1, &[]).await;
    desk.n8n.when("hi", Script::says(["from the settings' n8n"]));

    let quiet = Visitor::begin_at(&desk.edges[0].url, "quiet").await;
    assert_eq!(text(&quiet.hear("message-1", "hi").await), "from its own n8n");
    assert_eq!(own.requests()[0].headers["x-its"], "its-key");
    assert_eq!(text(&desk.visitor().await.hear("message-1", "hi").await), "from the settings' n8n");
    assert_eq!(desk.n8n.requests()[0].headers["x-api-key"], "a-key");
    assert_eq!(quiet.say("message-2", "too long").await.problem().await["code"], "message_rejected");
    quiet.hear("message-3", "hi").await;
    assert_eq!(quiet.say("message-4", "hi").await.status, 429);

    // A page of one shop has no business with the other.
    let create = |site: &str, origin: &str| {
        let body = json!({"fingerprint": crate::visitor::FINGERPRINT, "site": site});
        let request = reqwest::Client::builder().no_proxy().build().unwrap();
        request.post(format!("{}/api/v1/session/create", desk.edges[0].url)).header("origin", origin).json(&body)
    };
    for (site, origin, status) in [
        ("quiet", "https://quiet.example", 200),
        ("quiet", "https://loud.example", 403),
        ("loud", "https://loud.example", 200),
        ("loud", "https://other.example", 403),
    ] {
        assert_eq!(create(site, origin).send().await.unwrap().status(), status, "{site} from {origin}");
    }
    let unknown = create("unknown", "https://loud.example").send().await.unwrap();
    assert_eq!(unknown.status(), 400);
    let unknown: serde_json::Value = unknown.json().await.unwrap();
    assert_eq!((&unknown["code"], &unknown["field"]), (&json!("invalid_request"), &json!("site")));
    let from_loud =
        quiet.post("/api/v1/chat/message", &json!({"message": "hi"})).header("origin", "https://loud.example");
    assert_eq!(from_loud.send().await.unwrap().status(), 403, "a token is for its own site's pages");

    // The worker's file lacks this one.
    let lost = Visitor::begin_at(&desk.edges[0].url, "loud").await.hear("message-1", "hi").await;
    assert_eq!((names(&lost), code(&lost)), (vec!["failed"], &json!("upstream_unreachable")));
    assert!(desk.workers[0].log().lines().any(|line| line.contains("ERROR") && line.contains("site=loud")));
}

/// Whoever cancels a reply, replaces it or ends the session stops n8n's run of it, and no other; the reply does not wait
/// for that.
async fn a_cancelled_reply_stops_its_execution(edges: usize, on_busy: &str) {
    let api = worker::demo::Demo::scripted(([127, 0, 0, 1], 0).into()).await.unwrap();
    let base = api.url().join("/api/v1").unwrap();
    let settings = [("N8N_API_URL", base.as_str()), ("N8N_API_TOKEN", "the-token"), ("ON_BUSY", on_busy)];
    let files = Files::two_shops();
    let desk = files.desk(edges, 1, &settings).await;
    desk.n8n.when("hang", Script::lines().begin().items(["one "]).hang());
    desk.n8n.when("hi", Script::says(["done"]));
    let visitor = desk.visitor().await;
    let execution = |id: &str, session: &str, message: &str| {
        let body = json!({"json": {"body": {"sessionId": session, "message_id": message}}});
        json!({"id": id, "mode": "webhook", "data": {"executionData": {"nodeExecutionStack": [{"data": {"main": [[body]]}}]}}})
    };
    let mut stopped = 0;
    for (message, id) in [("message-1", "41"), ("message-2", "42"), ("message-3", "43")] {
        let gate = Gate::new();
        let list =
            [execution("7", "sess_1767168909_0000000000000000", message), execution(id, &visitor.session, message)];
        api.will(Script::json(&json!({"data": list, "nextCursor": null}).to_string()).hold(&gate));
        api.will(Script::json("{}"));
        let mut reply = visitor.say(message, "hang").await;
        reply.chunks(1).await;
        match message {
            "message-1" => visitor.cancel(message).await,
            "message-2" if on_busy == "replace" => {
                assert_eq!(text(&visitor.hear("message-9", "hi").await), "done");
            }
            "message-2" => visitor.cancel(message).await,
            _ => assert_eq!(visitor.delete("/api/v1/session").send().await.unwrap().status(), 204),
        }
        let rest = reply.rest().await;
        assert_eq!(rest.last().unwrap().data["finish_reason"], "cancelled");
        // The reply is over, and the connection closed, before the API has answered.
        desk.n8n.left_at_least(stopped + 1).await;
        gate.open();
        stopped += 1;
        api.asked_at_least(2 * stopped).await;
        let asked = api.requests();
        let last = asked.last().unwrap();
        assert_eq!(
            (last.uri.path(), &last.headers["x-n8n-api-key"]),
            (&*format!("/api/v1/executions/{id}/stop"), &"the-token".parse().unwrap())
        );
    }
    metrics_say(workers(&desk), r#"frontdesk_worker_execution_stops_total{result="stopped"}"#, 3).await;
    // One that n8n has finished meanwhile.
    let finished = desk.visitor().await;
    assert_eq!(text(&finished.hear("message-1", "hi").await), "done");
    assert_eq!(api.asked(), 6, "what came to its end is not stopped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_reply_stops_its_execution_all_in_one() {
    a_cancelled_reply_stops_its_execution(0, "reject").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_reply_stops_its_execution_spread() {
    a_cancelled_reply_stops_its_execution(1, "replace").await;
}

/// The files that are shipped as examples work.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_are_good() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/sites");
    let path = |name: &str| docs.join(name).display().to_string();
    let (edge, worker) = (path("edge.json"), path("worker.json"));
    let desk = Arc::new(Desk::all_in_one(&[("SITES_FILE", &edge), ("N8N_SITES_FILE", &worker)]).await);
    for site in ["lamps", "garden", "default"] {
        Visitor::begin_at(&desk.edges[0].url, site).await;
        let running = metric(&desk.edges[0].url, &format!(r#"frontdesk_worker_site_running{{site="{site}"}}"#)).await;
        assert_eq!(running, 0);
    }
}

/// A file with the other role's fields stops the start, and nothing of it is shown.
#[test]
fn each_role_refuses_the_others_file() {
    let files = Files::two_shops();
    let check = |role: &str, setting: &str, field: &str, expected: &str| {
        std::fs::write(files.path("bad.json"), json!([{"id": "shop", field: "hidden-7"}]).to_string()).unwrap();
        let frontdesk = std::process::Command::new(env!("CARGO_BIN_EXE_frontdesk"))
            .arg(role)
            .env_clear()
            .envs([("JWT_SECRET_KEY", "wq3rJm1v8Zt5yBn2Kx7cPd4fGh6jLs9a"), (setting, &files.path("bad.json"))])
            .env("SESSION_SECRET_KEY", "Tn5bVx2cRk8mWq4zHj7sLp1dFy6gAe3u")
            .env("N8N_WEBHOOK_URL", "https://n8n.example/webhook/one")
            .current_dir(files.0.path())
            .output()
            .unwrap();
        let said = String::from_utf8(frontdesk.stderr).unwrap();
        assert_eq!(frontdesk.status.code(), Some(1), "{said}");
        let sentence =
            format!("frontdesk: {setting} can't be used: {}: site `shop`: {expected}", files.path("bad.json"));
        assert_eq!(said.lines().last(), Some(sentence.as_str()));
        assert!(!said.contains("hidden-7"));
    };
    let place = "does not belong here, but into";
    check("edge", "SITES_FILE", "webhook_url", &format!("`webhook_url` {place} N8N_SITES_FILE of the worker"));
    check("edge", "SITES_FILE", "api_token", &format!("`api_token` {place} N8N_SITES_FILE of the worker"));
    check("worker", "N8N_SITES_FILE", "on_busy", &format!("`on_busy` {place} SITES_FILE of the edge"));
}
