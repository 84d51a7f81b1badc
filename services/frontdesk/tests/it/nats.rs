//! Stories with the shipped configuration of nats-server: each role has its own user, with the rights of its job.

use std::{
    process::{Command, Output, Stdio},
    time::Instant,
};

use bus::testing::{NatsServer, SHIPPED, password};
use worker::demo::{Gate, Script};

use crate::{
    desk::{Desk, LIMIT},
    visitor::{check_reply, names, text},
};

/// The metrics of a process.
async fn metrics(url: &str) -> String {
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    client.get(format!("{url}/metrics")).send().await.expect("it answers").text().await.expect("text")
}

/// Messages, repeats, resume and cancels: nothing that any role does is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_role_does_its_job_as_its_own_user() {
    let desk = Desk::guarded(2, 1, &[("WORKER_CONCURRENCY", "1")]).await;
    let visitor = desk.visitor().await;
    let elsewhere = visitor.at(&desk.edges[1].url);

    // A message, followed in a second tab, cut, resumed at the other edge, and repeated there.
    let gate = Gate::new();
    desk.n8n.will(Script::lines().begin().items(["one ", "two "]).wait(&gate).items(["three"]).end());
    let mut tab = elsewhere.listen("", None).await;
    let mut reply = visitor.say("message-1", "hi").await;
    let seen = reply.chunks(2).await;
    assert_eq!(text(&tab.chunks(2).await), "one two ");
    drop(reply);
    let mut resumed = elsewhere.listen("", seen.last().unwrap().id.as_deref()).await;
    resumed.next().await;
    gate.open();
    let rest = resumed.until("end").await;
    check_reply(&rest, 2);
    assert_eq!(text(&rest), "three");
    let (here, there) = tokio::join!(visitor.hear("message-1", "hi"), elsewhere.hear("message-1", "hi"));
    assert_eq!((text(&here).as_str(), text(&there).as_str()), ("one two three", "one two three"));

    // One that runs is cancelled at the other edge; one that waits behind it as well.
    desk.n8n.will(Script::lines().begin().items(["long "]).hang());
    let mut runs = visitor.say("message-2", "hi").await;
    runs.chunks(1).await;
    let second = desk.visitor().await;
    let mut waits = second.say("message-1", "hi").await;
    waits.until("queued").await;
    second.at(&desk.edges[1].url).cancel("message-1").await;
    let waited = waits.rest().await;
    assert_eq!(waited.last().unwrap().data["finish_reason"], "cancelled", "{:?}", names(&waited));
    elsewhere.cancel("message-2").await;
    assert_eq!(runs.rest().await.last().unwrap().data["finish_reason"], "cancelled");
    assert_eq!(desk.n8n.asked(), 2, "no repeat ran, nor what was cancelled in time");

    // Analytics has heard of all of it.
    let analytics = desk.analytics.as_ref().unwrap();
    let until = Instant::now() + LIMIT;
    for fact in [
        r#"frontdesk_analytics_facts_total{kind="session_started",outcome="applied"} 2"#,
        r#"frontdesk_analytics_facts_total{kind="message_accepted",outcome="applied"} 3"#,
        r#"frontdesk_analytics_facts_total{kind="reply_ended",outcome="applied"} 3"#,
    ] {
        while !metrics(&analytics.url).await.contains(fact) {
            assert!(Instant::now() < until, "no {fact} in {}", metrics(&analytics.url).await);
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    // A session that is ended at one edge is over at the other.
    let ended = elsewhere.delete("/api/v1/session").send().await.unwrap();
    assert_eq!(ended.status(), 204);
    while visitor.get("/api/v1/session/validate").send().await.unwrap().status() != 410 {
        assert!(Instant::now() < until, "it is not over");
    }
    for process in desk.edges.iter().chain(&desk.workers).chain([analytics]) {
        assert!(metrics(&process.url).await.contains("frontdesk_nats_refusals_total 0\n"), "{}", process.log());
        assert!(!process.log().contains("Permissions Violation"), "{}", process.log());
    }
}

fn frontdesk(arguments: &[&str], settings: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_frontdesk"))
        .args(arguments)
        .env_clear()
        .envs(settings.iter().copied())
        .current_dir(std::env::temp_dir())
        .stdin(Stdio::null())
        .output()
        .expect("the executable starts")
}

/// Who is not known to NATS, or has another role's user, does not start, and says why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_without_its_user_does_not_start() {
    let nats = NatsServer::start_guarded().await;
    let url = nats.url();
    let check = |role: &str, user: &str, password: &str, expected: &str| {
        let settings = [
            ("NATS_URL", url.as_str()),
            ("NATS_USER", user),
            ("NATS_PASSWORD", password),
            ("JWT_SECRET_KEY", "wq3rJm1v8Zt5yBn2Kx7cPd4fGh6jLs9a"),
            ("API_PORT", "0"),
            ("ANALYTICS_ADDR", "127.0.0.1:0"),
        ];
        let ended = frontdesk(&[role], &settings);
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{said}");
        assert!(said.lines().last().unwrap().contains(expected), "{said}");
        assert!(!said.contains(password), "{said}");
    };
    check("edge", "edge", &password("worker"), "does not know this user");
    check("nats-setup", "admin", &password("edge"), "does not know this user");
    check("edge", "worker", &password("worker"), "NATS refuses what the edge needs");
    check("analytics", "edge", &password("edge"), "NATS refuses what the analytics needs");
}

/// nats-server reads the passwords that `frontdesk keys --nats` makes, and the key that `--nkey` makes.
#[test]
fn made_keys_fit_the_configuration() {
    let (folder, made) = (tempfile::tempdir().unwrap(), frontdesk(&["keys", "--nats"], &[]));
    let made = String::from_utf8(made.stdout).unwrap();
    let passwords: Vec<(&str, &str)> = made.lines().filter_map(|line| line.split_once('=')).collect();
    let passwords = &passwords[passwords.len() - 4..];
    let names: Vec<&str> = passwords.iter().map(|(name, _)| *name).collect();
    let expected = ["NATS_EDGE_PASSWORD", "NATS_WORKER_PASSWORD", "NATS_ANALYTICS_PASSWORD", "NATS_ADMIN_PASSWORD"];
    assert_eq!(names, expected);
    let nkey = String::from_utf8(frontdesk(&["keys", "--nkey"], &[]).stdout).unwrap();
    let public = nkey.split_once("nkey: ").unwrap().1.split(',').next().unwrap();
    let with_nkey = SHIPPED.replace("user: \"edge\", password: $NATS_EDGE_PASSWORD", &format!("nkey: {public}"));
    for (config, rest) in [(SHIPPED, passwords), (with_nkey.as_str(), &passwords[1..])] {
        let file = folder.path().join("conf");
        std::fs::write(&file, config).unwrap();
        let mut server = Command::new("nats-server");
        server.arg("-t").arg("-c").arg(&file).env("NATS_STORE_DIR", folder.path()).envs(rest.iter().copied());
        let said = server.output().unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    }
}
