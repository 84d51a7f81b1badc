//! `frontdesk doctor` at workflows that are wrong in each known way.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::{api_key, setting};

/// What the doctor finds at `$N8N_URL/webhook/PATH` with these settings.
fn findings(path: &str, args: &[&str], more: &[(&str, &str)]) -> Vec<Value> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let own = [
        ("N8N_WEBHOOK_URL".to_owned(), format!("{}/{path}", setting("N8N_URL"))),
        ("N8N_API_KEY".to_owned(), setting("N8N_API_KEY")),
        ("SESSION_SECRET_KEY".to_owned(), setting("N8N_JWT_SECRET")),
    ];
    let output = Command::new(env!("CARGO_BIN_EXE_frontdesk"))
        .args(["doctor", "--json"])
        .args(args)
        .env_clear()
        .envs(own)
        .envs(more.iter().copied())
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .expect("the executable starts");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    assert_eq!(output.status.code(), Some(i32::from(document["healthy"] == false)), "{document}");
    document["findings"].as_array().expect("a list").clone()
}

/// Those about n8n that are neither fine nor only not looked at.
fn faults(findings: &[Value]) -> Vec<(&str, &str)> {
    let of_n8n =
        findings.iter().filter(|finding| finding["check"].as_str().is_some_and(|check| check.starts_with("n8n.")));
    let bad =
        of_n8n.filter(|finding| ["warning", "problem"].contains(&finding["severity"].as_str().unwrap_or_default()));
    bad.filter_map(|finding| Some((finding["check"].as_str()?, finding["says"].as_str()?))).collect()
}

fn check(path: &str, more: &[(&str, &str)], expected: &[(&str, &str)]) {
    let findings = findings(path, &[], more);
    let faults = faults(&findings);
    assert_eq!(faults.len(), expected.len(), "{path}: {findings:#?}");
    for ((check, says), (name, word)) in faults.iter().zip(expected) {
        assert!(check == name && says.contains(word), "{path}: {check} {says}");
    }
}

/// The users' workflows have no fault: it streams, wants the key, and refuses a forged token.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs n8n: scripts/n8n.sh run -- …"]
async fn the_shipped_workflows_are_well() {
    for path in ["webhook/frontdesk-support", "webhook/frontdesk-support-memory"] {
        let found = findings(path, &[], &[]);
        assert_eq!(faults(&found), [], "{found:#?}");
        for check in ["n8n.webhook", "n8n.key", "n8n.answer", "n8n.streaming", "n8n.first_text", "n8n.token", "clock"] {
            let finding = found.iter().find(|finding| finding["check"] == check).expect("it was looked at");
            assert_eq!(finding["severity"], "ok", "{path}: {finding}");
        }
    }
    // It answers late, by reply_url, and that is how it should be.
    check("webhook/frontdesk-late", &[("LATE_REPLY_TTL", "10m")], &[]);
}

/// Without leave to call it is seen whether the webhook is there. That nothing runs shows the scripted n8n, which counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs n8n: scripts/n8n.sh run -- …"]
async fn a_webhook_is_seen_without_a_call() {
    for (path, severity, word) in [
        ("webhook/fd-stream", "ok", "takes POST"),
        ("webhook/fd-chat/chat", "ok", "takes POST"),
        ("webhook/fd-wrong-not-active", "problem", "not active"),
        ("webhook/fd-wrong-method", "problem", "takes GET"),
    ] {
        let found = findings(path, &["--no-call"], &[]);
        let finding = found.iter().find(|finding| finding["check"] == "n8n.webhook").expect("it was looked at");
        let says = finding["says"].as_str().expect("a sentence");
        assert!(finding["severity"] == severity && says.contains(word), "{path}: {finding}");
    }
}

/// One fault each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs n8n: scripts/n8n.sh run -- …"]
async fn each_known_fault_is_named() {
    let ignores_token = ("n8n.token", "forged");
    // Not there.
    check("webhook/fd-no-such-path", &[], &[("n8n.webhook", "knows no such webhook")]);
    check("webhook/fd-wrong-not-active", &[], &[("n8n.webhook", "not active")]);
    check("webhook/fd-wrong-method", &[], &[("n8n.webhook", "takes GET")]);
    check("webhook-test/fd-stream", &[], &[("n8n.address", "editor"), ("n8n.webhook", "")]);
    // Whom it lets in.
    check("webhook/fd-stream", &[("N8N_API_KEY", "not-the-key")], &[("n8n.key", "refuses the key")]);
    check("webhook/fd-stream", &[("N8N_API_KEY", "")], &[("n8n.key", "N8N_API_KEY is not set")]);
    check("webhook/fd-wrong-no-key", &[], &[ignores_token, ("n8n.key", "without the key")]);
    check("webhook/fd-wrong-no-key", &[("N8N_API_KEY", "")], &[("n8n.key", "asks for no key"), ignores_token]);
    check("webhook/fd-chat/chat", &[("N8N_API_KEY", "")], &[("n8n.key", "asks for no key"), ignores_token]);
    // What it does with the token.
    check("webhook/fd-stream", &[], &[ignores_token]);
    check("webhook/fd-wrong-refusal-in-words", &[], &[("n8n.token", "says its refusal to visitors")]);
    let other = "Qz8nXw3vLk5tRy2mHb9cFd6gSj4pAe7u";
    check("webhook/frontdesk-support", &[("SESSION_SECRET_KEY", other)], &[("n8n.answer", "fails")]);
    // How it answers.
    check("webhook/fd-last", &[], &[("n8n.streaming", "in one piece"), ignores_token]);
    check("webhook/fd-wrong-answers-at-once", &[], &[("n8n.answer", "only says that it has started")]);
    check("webhook/fd-wrong-agent-does-not-stream", &[], &[("n8n.streaming", "no node of the workflow does")]);
}

/// n8n's API with keys that may do all, half, or nothing of what is needed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs n8n: scripts/n8n.sh run -- …"]
async fn the_key_of_the_api_is_tried() {
    let api = format!("{}/api/v1", setting("N8N_URL"));
    let state = |token: &str| {
        let found = findings("webhook/fd-stream", &["--no-call"], &[("N8N_API_URL", &api), ("N8N_API_TOKEN", token)]);
        found.into_iter().find(|finding| finding["check"] == "n8n.api").expect("it was looked at")
    };
    let good = state(&api_key(&["execution:list", "execution:stop"]).await);
    assert_eq!(good["severity"], "ok", "{good}");
    let half = state(&api_key(&["execution:list"]).await);
    assert!(half["says"].as_str().is_some_and(|says| says.contains("execution:stop")), "{half}");
    let none = state("not-a-key");
    assert!(none["says"].as_str().is_some_and(|says| says.contains("does not know")), "{none}");
}
