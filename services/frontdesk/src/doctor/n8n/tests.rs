//! Each way in which n8n can be wrong, by a scripted one on the loopback. `tests/real_n8n.rs` has the same with a real n8n.

use clap::Parser as _;
use worker::demo::{Demo, Script};

use super::{super::finding::Severity, *};

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    config: worker::Config,
}

const PATIENCE: Duration = Duration::from_secs(20);

/// A site at this address, with these settings besides.
fn site(url: &str, more: &[&str]) -> Site {
    rustls::crypto::ring::default_provider().install_default().ok();
    let line = ["worker", "--n8n-webhook-url", url, "--session-secret-key", "wq3rJm1v8Zt5yBn2Kx7cPd4fGh6jLs9a"];
    let config = Cli::parse_from(line.iter().chain(more)).config;
    config.for_doctor().unwrap().remove(0)
}

const KEY: &[&str] = &["--n8n-api-key", "a-key"];

fn preflight(methods: &str) -> Script {
    Script::of(204, "").header("access-control-allow-methods", methods)
}

/// A reply that takes its time.
fn streams() -> Script {
    let pause = Duration::from_millis(120);
    Script::lines().begin().items(["One. "]).pause(pause).items(["Two. "]).pause(pause).items(["Three."]).end()
}

fn unauthorized() -> Script {
    Script::of(403, "").bytes("Authorization data is wrong!")
}

/// A workflow that refuses: one error line, no text.
fn refuses() -> Script {
    Script::lines().error("")
}

async fn look(more: &[&str], scripts: impl IntoIterator<Item = Script>) -> (Vec<Finding>, Demo) {
    let n8n = Demo::scripted(([127, 0, 0, 1], 0).into()).await.unwrap();
    n8n.will(preflight("OPTIONS, POST"));
    for script in scripts {
        n8n.will(script);
    }
    let findings = examine(&site(n8n.url().as_str(), more), true, PATIENCE).await;
    (findings, n8n)
}

fn of(findings: &[Finding], check: Check) -> &Finding {
    findings.iter().find(|finding| finding.check == check).unwrap_or_else(|| panic!("{check:?} in {findings:#?}"))
}

fn is(findings: &[Finding], check: Check, severity: Severity, word: &str) {
    let finding = of(findings, check);
    assert!(finding.severity == severity && finding.says.contains(word), "{finding:?}");
    assert_eq!(finding.fix.is_some(), severity != Severity::Ok, "{finding:?}");
}

/// All is as it should be: nothing but good news, three marked calls, and a real token only in the first.
#[tokio::test]
async fn a_good_workflow_has_no_fault() {
    let (findings, n8n) = look(KEY, [streams(), refuses(), unauthorized()]).await;
    for finding in &findings {
        let fine = finding.severity == Severity::Ok || finding.check == Check::N8nKeepalive;
        assert!(fine, "{finding:?}");
    }
    is(&findings, Check::N8nStreaming, Severity::Ok, "while n8n still wrote");
    is(&findings, Check::N8nToken, Severity::Ok, "refuses");
    is(&findings, Check::N8nKey, Severity::Ok, "refuses who has none");
    assert!(of(&findings, Check::N8nFirstText).took.is_some());
    let calls = &n8n.requests()[1..];
    assert_eq!(calls.len(), 3);
    // The second is signed by another key, and who verifies it with ours refuses it: `worker` has that as a test.
    let token = |seen: &worker::demo::Seen| seen.json()["jwt_token"].as_str().unwrap().to_owned();
    assert!(token(&calls[0]) != token(&calls[1]) && token(&calls[1]).split('.').count() == 3);
    assert!(calls.iter().all(|call| call.json()["metadata"]["context"]["frontdesk_doctor"] == true));
    let keys: Vec<bool> = calls.iter().map(|call| call.headers.contains_key("x-api-key")).collect();
    assert_eq!(keys, [true, true, false]);
    assert!(!format!("{findings:?}").contains("a-key"));
}

#[tokio::test]
async fn nothing_runs_without_leave() {
    let n8n = Demo::scripted(([127, 0, 0, 1], 0).into()).await.unwrap();
    n8n.will(preflight("OPTIONS, POST"));
    let findings = examine(&site(n8n.url().as_str(), KEY), false, PATIENCE).await;
    assert_eq!(n8n.asked(), 1);
    is(&findings, Check::N8nWebhook, Severity::Ok, "takes POST");
    is(&findings, Check::N8nStreaming, Severity::NotChecked, "not called");
}

/// What is seen before any workflow runs.
#[tokio::test]
async fn a_webhook_that_is_not_there_is_not_called() {
    let n8n = Demo::scripted(([127, 0, 0, 1], 0).into()).await.unwrap();
    let check = async |script: Script, word: &str| {
        let before = n8n.asked();
        n8n.will(script);
        let findings = examine(&site(n8n.url().as_str(), KEY), true, PATIENCE).await;
        is(&findings, Check::N8nWebhook, Severity::Problem, word);
        assert_eq!(n8n.asked(), before + 1, "{word}");
    };
    check(preflight("OPTIONS, GET"), "takes GET").await;
    check(Script::of(500, "text/html").header("access-control-allow-methods", "OPTIONS"), "knows no such webhook")
        .await;
    check(Script::starting(), "not yet ready").await;
    n8n.stop().await;
    let findings = examine(&site(n8n.url().as_str(), KEY), true, PATIENCE).await;
    is(&findings, Check::N8nWebhook, Severity::Problem, "refuses the connection");
    let findings = examine(&site("http://n8n.invalid/webhook/x", KEY), true, PATIENCE).await;
    is(&findings, Check::N8nWebhook, Severity::Problem, "can't be resolved");
    is(&findings, Check::N8nTls, Severity::Warning, "without TLS");
}

/// A proxy answers OPTIONS by itself; what n8n says to the message tells more.
#[tokio::test]
async fn the_first_call_tells_what_the_knock_could_not() {
    let n8n = Demo::scripted(([127, 0, 0, 1], 0).into()).await.unwrap();
    let check = async |script: Script, check: Check, word: &str| {
        n8n.will(Script::of(405, "")).will(script);
        let findings = examine(&site(n8n.url().as_str(), KEY), true, PATIENCE).await;
        is(&findings, check, Severity::Problem, word);
    };
    let json = "application/json; charset=utf-8";
    let told = |text: &str| Script::of(404, json).bytes(format!("{{\"code\":404,\"message\":\"{text}\"}}"));
    check(told("The requested webhook \\\"POST x\\\" is not registered."), Check::N8nWebhook, "not active").await;
    let get = "This webhook is not registered for POST requests. Did you mean to make a GET request?";
    check(told(get), Check::N8nWebhook, "takes GET").await;
    check(Script::of(404, ""), Check::N8nWebhook, "not public").await;
    check(Script::not_loaded(), Check::N8nWebhook, "not yet ready").await;
    check(Script::of(418, "text/plain"), Check::N8nWebhook, "418").await;
    check(unauthorized(), Check::N8nKey, "refuses the key").await;
    check(refuses(), Check::N8nAnswer, "fails").await;
    check(Script::of(500, json).bytes("{\"message\":\"Error in workflow\"}"), Check::N8nAnswer, "fails").await;
    check(Script::json("{\"message\":\"Workflow was started\"}"), Check::N8nAnswer, "only says that it has started")
        .await;
    check(Script::lines(), Check::N8nStreaming, "no node of the workflow does").await;
    check(Script::json(""), Check::N8nAnswer, "empty").await;
    check(Script::text("<!doctype html><html>"), Check::N8nAnswer, "no reply").await;
    check(Script::lines().begin().items(["a"]).cut(), Check::N8nAnswer, "broke off").await;
}

#[tokio::test]
async fn what_hangs_is_told_in_time() {
    let n8n = Demo::scripted(([127, 0, 0, 1], 0).into()).await.unwrap();
    n8n.will(preflight("OPTIONS, POST")).will(Script::lines().begin().items(["a"]).hang());
    let findings = examine(&site(n8n.url().as_str(), KEY), true, Duration::from_millis(300)).await;
    is(&findings, Check::N8nAnswer, Severity::Problem, "in time");
    // n8n's time limit: an error, and then nothing for ever.
    n8n.will(preflight("OPTIONS, POST")).will(Script::lines().begin().error("").hang());
    let limit = [KEY, &["--n8n-error-idle-timeout", "100ms"]].concat();
    let findings = examine(&site(n8n.url().as_str(), &limit), true, PATIENCE).await;
    is(&findings, Check::N8nAnswer, Severity::Problem, "fails");
}

/// Nobody is asked for a key, or for a token that is good.
#[tokio::test]
async fn an_open_door_is_told() {
    let (findings, n8n) = look(&[], [streams(), streams()]).await;
    is(&findings, Check::N8nKey, Severity::Warning, "asks for no key");
    is(&findings, Check::N8nToken, Severity::Warning, "forged");
    assert_eq!(n8n.asked(), 3, "without a key, calling without one says nothing new");
    let (findings, _) = look(KEY, [streams(), refuses(), refuses()]).await;
    is(&findings, Check::N8nKey, Severity::Warning, "without the key");
    let (findings, _) = look(&[], [unauthorized()]).await;
    is(&findings, Check::N8nKey, Severity::Problem, "N8N_API_KEY is not set");
}

#[tokio::test]
async fn how_a_reply_comes_is_told() {
    let (findings, _) = look(&[], [Script::json("{\"output\":\"all at once\"}"), refuses()]).await;
    is(&findings, Check::N8nStreaming, Severity::Warning, "in one piece");
    let (findings, _) = look(&[], [Script::says(["short"]), refuses()]).await;
    is(&findings, Check::N8nStreaming, Severity::NotChecked, "too short");
    // Written over 800 ms, and all there at once.
    let line = |at: u32| format!("{{\"type\":\"item\",\"content\":\"a \",\"metadata\":{{\"timestamp\":{at}}}}}\n");
    let held = Script::lines().begin().bytes([line(1_000), line(1_400), line(1_800)].concat()).end();
    let (findings, _) = look(&[], [held, refuses()]).await;
    is(&findings, Check::N8nStreaming, Severity::Problem, "came at once");
    let (findings, _) =
        look(&[], [Script::lines().begin().keepalive().items(["a"]).error("").begin().items(["b"]).end(), refuses()])
            .await;
    is(&findings, Check::N8nKeepalive, Severity::Ok, "1 signs of life");
    is(&findings, Check::N8nAnswer, Severity::Warning, "tells of an error");
    let late = Script::lines().pause(Duration::from_millis(120)).begin().items(["a"]).end();
    let (findings, _) = look(&["--n8n-first-token-timeout", "200ms"], [late, refuses()]).await;
    is(&findings, Check::N8nFirstText, Severity::Warning, "N8N_FIRST_TOKEN_TIMEOUT");
}

#[tokio::test]
async fn settings_that_hurt_are_told() {
    let settings = |url: &str, more: &[&str]| by_settings("site default", &site(url, more));
    let findings = settings("http://127.0.0.1:5678/webhook-test/x", &["--n8n-idle-timeout", "20s"]);
    is(&findings, Check::N8nAddress, Severity::Problem, "editor");
    is(&findings, Check::N8nTls, Severity::Ok, "on this machine");
    is(&findings, Check::N8nKeepalive, Severity::Warning, "20s");
    let findings = settings("https://n8n.example/webhook/x", &[]);
    assert!(findings.iter().all(|finding| finding.severity == Severity::Ok), "{findings:?}");
    let started = Script::json("{\"message\":\"Workflow was started\"}");
    let (findings, _) = look(&["--late-reply-ttl", "10m"], [started]).await;
    is(&findings, Check::N8nAnswer, Severity::Ok, "reply_url");
}

/// n8n's API: listed, stopped, or not.
#[tokio::test]
async fn the_api_is_tried() {
    let n8n = Demo::scripted(([127, 0, 0, 1], 0).into()).await.unwrap();
    let api = n8n.url().join("/api/v1").unwrap().to_string();
    let check = async |scripts: &[u16], severity: Severity, word: &str| {
        for status in scripts {
            n8n.will(Script::of(*status, "application/json"));
        }
        n8n.will(preflight("OPTIONS, POST"));
        let more = ["--n8n-api-url", &api, "--n8n-api-token", "a-token"];
        let findings = examine(&site(n8n.url().as_str(), &more), false, PATIENCE).await;
        is(&findings, Check::N8nApi, severity, word);
    };
    check(&[200, 404], Severity::Ok, "would stop").await;
    check(&[401], Severity::Problem, "N8N_API_TOKEN").await;
    check(&[403], Severity::Problem, "execution:list").await;
    check(&[200, 403], Severity::Problem, "execution:stop").await;
    check(&[404], Severity::Problem, "404").await;
    let stopped = n8n.requests().into_iter().find(|seen| seen.uri.path().ends_with("/stop")).unwrap();
    assert_eq!(stopped.uri.path(), "/api/v1/executions/0/stop", "an execution that nobody has");
}
