//! The executable as an operator meets it.

use std::process::{Command, Output};

use crate::desk::{Desk, Process};

fn run(args: &[&str], settings: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_frontdesk"))
        .args(args)
        .env_clear()
        .envs(settings.iter().copied())
        .current_dir(std::env::temp_dir())
        .output()
        .expect("the executable starts")
}

fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A production role does not start without good secrets, and says how to make them.
#[test]
fn weak_secrets_stop_a_role() {
    let url = ("N8N_WEBHOOK_URL", "http://127.0.0.1:9/webhook/x");
    let check = |args: &[&str], settings: &[(&str, &str)], name: &str| {
        let output = run(args, settings);
        assert!(!output.status.success(), "{args:?}");
        let said = error(&output);
        assert!(said.contains(name) && said.contains("frontdesk keys"), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    };
    check(&["edge"], &[], "JWT_SECRET_KEY");
    check(&["edge"], &[("JWT_SECRET_KEY", "")], "JWT_SECRET_KEY");
    check(&["edge"], &[("JWT_SECRET_KEY", "hunter2")], "JWT_SECRET_KEY");
    check(&["edge"], &[("JWT_SECRET_KEY", "your-super-secret-hunter2-change-this-please")], "JWT_SECRET_KEY");
    check(&["worker"], &[url], "SESSION_SECRET_KEY");
    check(&["analytics"], &[("ADMIN_TOKEN", "hunter2")], "ADMIN_TOKEN");
    check(&["analytics"], &[("SITE_TOKENS", "shoes=hunter2")], "SITE_TOKENS");
    check(&[], &[("ADMIN_TOKEN", "hunter2"), ("API_PORT", "0")], "ADMIN_TOKEN");
    let no_url = run(&["worker"], &[("SESSION_SECRET_KEY", "Tn5bVx2cRk8mWq4zHj7sLp1dFy6gAe3u")]);
    assert!(!no_url.status.success() && error(&no_url).contains("N8N_WEBHOOK_URL"));
}

/// A secret may stand in a file, which is how containers get one. What is wrong with the file is told, its content never.
#[test]
fn secrets_are_read_from_files() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).expect("it can be written");
        path.to_str().expect("text").to_owned()
    };
    let good = file("good", "wq3rJm1v8Zt5yBn2Kx7cPd4fGh6jLs9a\n");
    let (weak, large, empty) =
        (file("weak", "hunter2\n"), file("large", &"hunter2".repeat(10_000)), file("empty", "\n"));
    let check = |settings: &[(&str, &str)], words: &[&str]| {
        // Whoever gets as far as the secret of another role, or this port, has taken the first one.
        let output =
            run(&["edge"], &[settings, &[("API_HOST", "192.0.2.1"), ("NATS_URL", "nats://127.0.0.1:9")]].concat());
        let said = error(&output);
        assert!(!output.status.success() && words.iter().all(|word| said.contains(word)), "{words:?}: {said}");
        assert!(!said.contains("hunter2") && !said.contains("wq3rJm1v8Zt"), "{said}");
    };
    check(&[("JWT_SECRET_KEY_FILE", &good)], &["can't listen on 192.0.2.1"]);
    check(&[("JWT_SECRET_KEY_FILE", &weak)], &["JWT_SECRET_KEY has 7 bytes"]);
    check(&[("JWT_SECRET_KEY_FILE", &large)], &["JWT_SECRET_KEY_FILE", "too large"]);
    check(&[("JWT_SECRET_KEY_FILE", &empty)], &["JWT_SECRET_KEY_FILE", "is empty"]);
    check(&[("JWT_SECRET_KEY_FILE", "/nowhere/secret")], &["JWT_SECRET_KEY_FILE: /nowhere/secret", "can't be read"]);
    check(
        &[("JWT_SECRET_KEY_FILE", ""), ("JWT_SECRET_KEY", &"hunter2hunter2".repeat(3))],
        &["JWT_SECRET_KEY is a placeholder"],
    );
    check(
        &[("JWT_SECRET_KEY_FILE", &good), ("JWT_SECRET_KEY", "wq3rJm1v8Zt5yBn2Kx7cPd4fGh6jLs9a")],
        &["JWT_SECRET_KEY and JWT_SECRET_KEY_FILE are both set"],
    );
}

/// A bad value stops the start with a sentence.
#[test]
fn bad_settings_are_told() {
    let check = |name: &str, value: &str, word: &str| {
        let output = run(&[], &[(name, value), ("API_PORT", "0")]);
        assert!(!output.status.success() && error(&output).contains(word), "{name}: {}", error(&output));
    };
    check("SESSION_TTL", "soon", "duration");
    check("BODY_MAX_BYTES", "big", "size");
    check("ALLOWED_ORIGINS", "shop.example/path", "rigin");
    check("LOG_LEVEL", "=[", "LOG_LEVEL");
    check("N8N_WEBHOOK_URL", "ftp://x", "http");
}

/// Settings that only make sense together are told by both names.
#[test]
fn settings_that_contradict_each_other_are_told() {
    let check = |role: &[&str], settings: &[(&str, &str)], names: [&str; 2]| {
        let rest = [
            ("JWT_SECRET_KEY", "wq3rJm1v8Zt5yBn2Kx7cPd4fGh6jLs9a"),
            ("SESSION_SECRET_KEY", "Tn5bVx2cRk8mWq4zHj7sLp1dFy6gAe3u"),
            ("N8N_WEBHOOK_URL", "http://127.0.0.1:9/webhook/x"),
            ("API_PORT", "0"),
        ];
        let output = run(role, &[&rest, settings].concat());
        let said = error(&output);
        assert!(!output.status.success() && names.iter().all(|name| said.contains(name)), "{role:?}: {said}");
    };
    let claims = [("RESUME_WINDOW", "1m"), ("N8N_TOTAL_TIMEOUT", "2m")];
    check(&[], &claims, ["RESUME_WINDOW", "N8N_TOTAL_TIMEOUT"]);
    check(&["worker"], &claims, ["RESUME_WINDOW", "N8N_TOTAL_TIMEOUT"]);
    let ends = [("SESSION_MAX_AGE", "25h")];
    check(&[], &ends, ["ENDED_MAX_AGE", "SESSION_MAX_AGE"]);
    check(&["edge"], &ends, ["ENDED_MAX_AGE", "SESSION_MAX_AGE"]);
}

/// The keys are in `.env` form, fresh each time, and good enough for the roles.
#[test]
fn keys_can_be_used() {
    let printed = |output: &Output| String::from_utf8(output.stdout.clone()).expect("text");
    let (one, two) = (run(&["keys"], &[]), run(&["keys"], &[]));
    assert_ne!(printed(&one), printed(&two));
    let keys = printed(&one);
    let key = |name: &str| {
        let line = keys.lines().find_map(|line| line.strip_prefix(name)).expect("it is printed");
        line.trim_start_matches('=').to_owned()
    };
    let weak = run(&["worker"], &[("SESSION_SECRET_KEY", &key("SESSION_SECRET_KEY"))]);
    assert!(error(&weak).contains("N8N_WEBHOOK_URL"), "the key is taken: {}", error(&weak));
    assert!(key("JWT_SECRET_KEY").len() >= 43 && key("N8N_API_KEY").len() >= 43 && key("ADMIN_TOKEN").len() >= 43);
}

/// The all-in-one mode needs nothing, answers the health check, and stops cleanly.
#[tokio::test]
async fn all_in_one_lives_and_ends() {
    let mut desk = Desk::all_in_one(&[]).await;
    let url = desk.edges[0].url.clone();
    let port = url.rsplit(':').next().expect("a port").to_owned();
    assert!(run(&["healthcheck"], &[("API_PORT", &port)]).status.success());
    let visitor = desk.visitor().await;
    for (path, kind) in [("/", "text/html"), ("/docs", "text/html"), ("/openapi.json", "application/json")] {
        let page = visitor.get_plain(path).send().await.expect("the edge answers");
        assert_eq!(page.status(), 200, "{path}");
        assert!(page.headers()["content-type"].to_str().expect("text").starts_with(kind), "{path}");
    }
    desk.edges[0].signal("TERM");
    assert_eq!(desk.edges[0].ended().await.code(), Some(0));
    let down = run(&["healthcheck"], &[("API_PORT", &port)]);
    assert_eq!(down.status.code(), Some(1));
}

/// Every role is ready over NATS, tells the edge so, and stops cleanly.
#[tokio::test]
async fn roles_live_and_end() {
    let mut desk = Desk::spread(1, 1, &[]).await;
    let visitor = desk.visitor().await;
    let health = loop {
        let health: serde_json::Value =
            visitor.get_plain("/health").send().await.expect("it answers").json().await.expect("JSON");
        if health["checks"]["workers"]["count"] == 1 && health["mode"] == "analytics" {
            break health;
        }
    };
    assert_eq!(health["status"], "ok", "{health}");
    for role in [&desk.workers[0], desk.analytics.as_ref().expect("it was started")] {
        let other = visitor.at(&role.url);
        assert_eq!(other.get_plain("/health/ready").send().await.expect("it answers").status(), 200);
        let metrics = other.get_plain("/metrics").send().await.expect("it answers").text().await.expect("text");
        assert!(metrics.contains("frontdesk_build_info"), "{metrics}");
    }
    let mut processes = std::mem::take(&mut desk.edges);
    processes.append(&mut desk.workers);
    processes.extend(desk.analytics.take());
    for mut process in processes {
        process.signal("TERM");
        assert_eq!(process.ended().await.code(), Some(0), "{}", process.log());
    }
}

/// The shop beside a deployment: its page has the tag of the chat's own address, and the demo answers in n8n's form.
#[tokio::test]
async fn the_demo_shop_shows_the_chat_of_a_deployment() {
    let settings = [
        ("DEMO_SHOP_ADDR", "127.0.0.1:0"),
        ("DEMO_N8N_ADDR", "127.0.0.1:0"),
        ("PUBLIC_URL", "https://chat.shop.example"),
    ];
    let mut shop = Process::start(&["demo-shop"], &settings);
    crate::visitor::use_ring();
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let get = async |path: &str| client.get(format!("{}{path}", shop.url)).send().await.expect("it answers");
    let page = get("/").await;
    let policy = page.headers()["content-security-policy"].to_str().expect("text").to_owned();
    assert!(policy.contains("frame-src https://chat.shop.example;"), "{policy}");
    assert!(page.text().await.expect("text").contains(r#"src="https://chat.shop.example/widget/embed.js""#));
    for (path, status) in [("/widget/demo.css", 200), ("/widget/demo.js", 200), ("/widget/embed.js", 404)] {
        assert_eq!(get(path).await.status(), status, "{path}");
    }
    let log = shop.log();
    let n8n = log.split("in the place of n8n, ").nth(1).and_then(|rest| rest.split_whitespace().next());
    let n8n = n8n.unwrap_or_else(|| panic!("it does not say where: {log}"));
    let answer = client.post(n8n).body(r#"{"chatInput":"hello"}"#).send().await.expect("it answers");
    assert!(answer.text().await.expect("text").contains(r#""type":"item""#));
    shop.signal("TERM");
    assert_eq!(shop.ended().await.code(), Some(0));
}
