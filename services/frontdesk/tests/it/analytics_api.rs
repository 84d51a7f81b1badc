//! Stories of a shop's owner: what visitors did is seen on the dashboard's API, in the terminal and in copies, by who has
//! a token.

use std::{net::TcpListener, path::Path, process::Command, time::Duration};

use base64::Engine as _;
use reqwest::{Client, Response};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::desk::{Desk, LIMIT, Process};

const ADMIN: &str = "mK4vQ9tYx2Zr7LpWc5Nd8HsJf3GbTa6e";
const OTHER: &str = "Rb7nXw3kVq9mTz5cLd2hJs8fGp4yAe6u";
const API: &str = "/api/v1/analytics";

/// Where the dashboard of an all-in-one process is, by its own word.
async fn dashboard(process: &Process) -> String {
    process.until_log("dashboard on http://").await;
    let log = process.log();
    let (_, rest) = log.split_once("dashboard on ").expect("it says so");
    let url = rest.split(['/', ',']).take(3).collect::<Vec<_>>().join("/");
    while ask(&url, "/health/ready", "").await.status() != 200 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    url
}

async fn ask(url: &str, path: &str, token: &str) -> Response {
    crate::visitor::use_ring();
    let client = Client::builder().no_proxy().timeout(LIMIT).build().expect("a client");
    let asking = client.get(format!("{url}{path}")).bearer_auth(token);
    asking.send().await.expect("analytics answers")
}

async fn json(url: &str, path: &str, token: &str) -> Value {
    let answer = ask(url, &format!("{API}/{path}"), token).await;
    assert_eq!(answer.status(), 200, "{path}");
    answer.json().await.expect("JSON")
}

/// Waits until that many replies are counted.
async fn until_ended(url: &str, token: &str, replies: u64) {
    let counted = async {
        while json(url, "summary", token).await["ended"] != replies {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, counted).await.expect("it is counted");
}

/// `frontdesk analytics report`: whether it went well, and what it said.
fn report(args: &[&str], settings: &[(&str, &str)]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_frontdesk"))
        .args(["analytics", "report"])
        .args(args)
        .env_clear()
        .envs(settings.iter().copied())
        .current_dir(std::env::temp_dir())
        .output()
        .expect("the executable starts");
    let said = if output.status.success() { output.stdout } else { output.stderr };
    (output.status.success(), String::from_utf8(said).expect("text"))
}

/// A visitor talks, and the owner looks: on the page's API, in the terminal while it runs and after it, in a copy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_sees_what_visitors_did() {
    let mut desk = Desk::all_in_one(&[("ADMIN_TOKEN", ADMIN), ("SITE_TOKENS", &format!("shoes={OTHER}"))]).await;
    let url = dashboard(&desk.edges[0]).await;
    let page = ask(&url, "/", "").await;
    assert!(page.status() == 200 && page.headers()["content-security-policy"].to_str().unwrap().contains("'none'"));

    let visitor = desk.visitor().await;
    for n in 0..2 {
        visitor.hear(&format!("message-{n}"), "hi").await;
    }
    until_ended(&url, ADMIN, 2).await;
    let summary = json(&url, "summary?range=1h", ADMIN).await;
    assert_eq!((&summary["sessions"], &summary["messages"]), (&Value::from(1), &Value::from(2)), "{summary}");
    let list = json(&url, "sessions?site=default", ADMIN).await;
    assert_eq!(list["sessions"][0]["id"], visitor.session);
    let detail = json(&url, &format!("sessions/{}", visitor.session), ADMIN).await;
    assert!(detail["timeline"].as_array().unwrap().len() >= 5, "{detail}");
    let csv = ask(&url, &format!("{API}/export?what=sessions"), ADMIN).await.text().await.unwrap();
    assert_eq!(csv.lines().count(), 2);
    assert!(csv.contains(&visitor.session), "{csv}");

    let mine = json(&url, "summary", OTHER).await;
    assert_eq!((&mine["site"], &mine["sessions"]), (&Value::from("shoes"), &Value::from(0)));
    assert_eq!(ask(&url, &format!("{API}/summary?site=default"), OTHER).await.status(), 403);
    assert_eq!(ask(&url, &format!("{API}/summary"), &ADMIN.to_lowercase()).await.status(), 401);

    let address = url.strip_prefix("http://").unwrap();
    let running = [("ADMIN_TOKEN", ADMIN), ("ANALYTICS_ADDR", address), ("ANALYTICS_DB_PATH", desk.database())];
    let (well, said) = report(&["--range", "24h"], &running);
    assert!(well && said.contains("all sites") && said.contains("whole replies") && !said.contains('\x1b'), "{said}");
    let (well, said) = report(&["--json", "--site", "default"], &running);
    let figures: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"));
    assert!(well);
    assert_eq!(
        (&figures["summary"]["messages"], &figures["timeseries"]["bucket"]),
        (&Value::from(2), &Value::from("day"))
    );
    let check = |args: &[&str], settings: &[(&str, &str)], word: &str| {
        let (well, said) = report(args, settings);
        assert!(!well && said.contains(word) && !said.contains(ADMIN), "{args:?}: {said}");
    };
    check(&[], &running[1..], "set ADMIN_TOKEN");
    check(&["--url", &url], &[], "ADMIN_TOKEN");
    check(&["--url", &url], &[("ADMIN_TOKEN", &OTHER.to_lowercase())], "401");
    check(&["--url", &url, "--site", "nowhere"], &running, "Nothing is known of this site");
    check(&["--range", "1y"], &running, "15m, 1h");
    check(&["--url", "http://127.0.0.1:9"], &running, "no answer from http://127.0.0.1:9");

    let copy = ask(&url, &format!("{API}/backup"), ADMIN).await;
    let digest = copy.headers()["repr-digest"].to_str().unwrap().to_owned();
    let copy = copy.bytes().await.unwrap();
    let sum = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(&copy));
    assert_eq!(digest, format!("sha-256=:{sum}:"));

    desk.edges[0].signal("TERM");
    assert_eq!(desk.edges[0].ended().await.code(), Some(0));
    let log = desk.edges[0].log();
    assert!(!log.contains(ADMIN) && !log.contains(OTHER), "{log}");
    let folder = tempfile::tempdir().unwrap();
    let copied = folder.path().join("copy.redb");
    std::fs::write(&copied, &copy).unwrap();
    for file in [desk.database(), copied.to_str().unwrap()] {
        let (well, said) = report(&["--json"], &[("ANALYTICS_DB_PATH", file)]);
        let figures: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"));
        assert!(well && figures["summary"]["messages"] == 2, "{said}");
    }
    let (well, said) = report(&[], &[("ANALYTICS_DB_PATH", "/nowhere/facts.redb")]);
    assert!(!well && said.contains("is not there"), "{said}");
    assert!(!Path::new("/nowhere").exists());
}

/// A visitor wants to be forgotten: the receipt says what went, and then nobody knows them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_can_have_a_session_erased() {
    let desk = Desk::all_in_one(&[("ADMIN_TOKEN", ADMIN)]).await;
    let url = dashboard(&desk.edges[0]).await;
    let visitor = desk.visitor().await;
    visitor.hear("message-1", "hi").await;
    until_ended(&url, ADMIN, 1).await;
    let path = format!("{url}{API}/sessions/{}", visitor.session);
    let erase = || Client::builder().no_proxy().build().unwrap().delete(&path).bearer_auth(ADMIN).send();
    let receipt = erase().await.unwrap();
    assert_eq!(receipt.status(), 200);
    assert_eq!(erase().await.unwrap().status(), 404, "of which site, nobody knows any more");
    assert_eq!(ask(&url, &format!("{API}/sessions/{}", visitor.session), ADMIN).await.status(), 404);
    assert_eq!(json(&url, "summary", ADMIN).await["messages"], 1, "the sums stay");
}

/// Who only tries it out has a token for the run, in the log and nowhere else.
#[tokio::test]
async fn who_tries_it_out_finds_a_token_in_the_log() {
    let desk = Desk::all_in_one(&[]).await;
    let url = dashboard(&desk.edges[0]).await;
    let log = desk.edges[0].log();
    let (_, rest) = log.split_once("token for this run: ").expect("it is there");
    let token = rest.split(' ').next().unwrap();
    assert!(token.len() >= 43);
    assert_eq!(json(&url, "sites", token).await, serde_json::json!({"sites": []}));
    assert_eq!(ask(&url, &format!("{API}/sites"), ADMIN).await.status(), 401);
}

/// A port that is taken costs a sentence: the start, where it was asked for; another port, where it was not.
#[tokio::test]
async fn a_taken_port_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_frontdesk"))
        .env_clear()
        .envs([("API_PORT", "0"), ("ANALYTICS_ADDR", &address)])
        .current_dir(std::env::temp_dir())
        .output()
        .expect("the executable starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("ANALYTICS_ADDR") && said.contains(&address), "{said}");

    // If somebody else has it, it is taken as well.
    let _usual = TcpListener::bind("127.0.0.1:8002");
    let desk = Desk::all_in_one(&[("ANALYTICS_ADDR", "127.0.0.1:8002"), ("ADMIN_TOKEN", ADMIN)]).await;
    let url = dashboard(&desk.edges[0]).await;
    assert_ne!(url, "http://127.0.0.1:8002");
    assert!(desk.edges[0].log().contains("127.0.0.1:8002 is taken"));
    assert_eq!(ask(&url, "/health/ready", ADMIN).await.status(), 200);
}

/// Spread out it is the same, and without a token there is health alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_of_a_role_needs_a_token_to_be_there() {
    let mut desk = Desk::spread(1, 1, &[]).await;
    let visitor = desk.visitor().await;
    visitor.hear("message-1", "hi").await;
    let mut off = desk.analytics.take().unwrap();
    let answer = ask(&off.url, &format!("{API}/summary"), ADMIN).await;
    let problem: Value = answer.json().await.unwrap();
    assert_eq!((&problem["status"], &problem["code"]), (&Value::from(404), &Value::from("api_disabled")));
    assert!(off.log().contains("the analytics API and the dashboard are off"));
    off.until_readiness(200).await;
    off.signal("TERM");
    assert_eq!(off.ended().await.code(), Some(0));

    let on = desk.launch_with(&["analytics"], &[("ADMIN_TOKEN", ADMIN)]);
    on.until_readiness(200).await;
    until_ended(&on.url, ADMIN, 1).await;
    assert_eq!(json(&on.url, "sites", ADMIN).await, serde_json::json!({"sites": ["default"]}));
    assert!(!on.log().contains(ADMIN));
}
