//! `frontdesk doctor`, as an operator meets it: the real executable at a real nats-server, with a scripted n8n.

use std::{process::Output, time::Duration};

use bus::{Config, testing::NatsServer};
use serde_json::Value;
use worker::demo::{Demo, Script};

const JWT: &str = "wq3rJm1v8Zt5yBn2Kx7cPd4fGh6jLs9a";
const SESSION: &str = "Tn5bVx2cRk8mWq4zHj7sLp1dFy6gAe3u";
const KEY: &str = "Qz8nXw3vLk5tRy2mHb9cFd6gSj4pAe7u";

/// What runs the executable in a folder of its own, so that nobody's `.env` is read.
struct Doctor {
    folder: tempfile::TempDir,
    settings: Vec<(String, String)>,
}

impl Doctor {
    fn with(settings: &[(&str, &str)]) -> Self {
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { folder: tempfile::tempdir().expect("a temporary folder"), settings }
    }

    async fn run(&self, args: &[&str]) -> Output {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_frontdesk"));
        command.arg("doctor").args(args).env_clear().envs(self.settings.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.folder.path()).stdin(std::process::Stdio::null());
        let output = tokio::time::timeout(crate::desk::LIMIT, command.output()).await.expect("it ends in time");
        let output = output.expect("the executable starts");
        let all = [&output.stdout[..], &output.stderr].concat();
        let all = String::from_utf8_lossy(&all);
        for (name, value) in self.settings.iter().filter(|(name, _)| is_secret(name)) {
            assert!(!all.contains(value.as_str()), "{name} is shown: {all}");
        }
        output
    }

    /// The findings, and whether it calls itself well.
    async fn findings(&self, args: &[&str]) -> (Vec<Value>, bool) {
        let output = self.run(&[args, &["--json"]].concat()).await;
        let document: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
        let healthy = document["healthy"].as_bool().expect("it says so");
        assert_eq!(output.status.code(), Some(i32::from(!healthy)), "{document}");
        (document["findings"].as_array().expect("a list").clone(), healthy)
    }
}

fn is_secret(name: &str) -> bool {
    ["_KEY", "_TOKEN", "_PASSWORD"].iter().any(|end| name.ends_with(end))
}

/// All that is neither fine nor only not looked at.
fn faults(findings: &[Value]) -> Vec<&Value> {
    findings.iter().filter(|finding| finding["severity"] == "warning" || finding["severity"] == "problem").collect()
}

fn is(findings: &[Value], check: &str, severity: &str, word: &str) {
    let found = findings.iter().filter(|finding| finding["check"] == check);
    let found: Vec<&Value> =
        found.filter(|finding| finding["says"].as_str().is_some_and(|says| says.contains(word))).collect();
    assert!(found.iter().any(|finding| finding["severity"] == severity), "{check} {severity} {word}: {findings:#?}");
    assert!(found.iter().all(|finding| finding["fix"].is_string() != (severity == "ok")), "{found:?}");
}

fn good_n8n(n8n: &Demo) {
    let pause = Duration::from_millis(150);
    n8n.will(Script::of(204, "").header("access-control-allow-methods", "OPTIONS, POST"));
    n8n.will(Script::lines().begin().items(["One. "]).pause(pause).items(["Two."]).end());
    n8n.will(Script::lines().error(""));
    n8n.will(Script::of(403, "").bytes("Authorization data is wrong!"));
}

/// A deployment as the README has it: each role, with its own user, has no fault.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_deployment_has_no_fault() {
    let (nats, n8n) =
        (NatsServer::start_guarded().await, Demo::scripted(([127, 0, 0, 1], 0).into()).await.expect("a port"));
    nats.set_up_with(&Config::default(), 1 << 30).await;
    let url = nats.url();
    for role in bus::testing::ROLES {
        let password = bus::testing::password(role);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("facts.redb").display().to_string();
        let user = [("NATS_URL", url.as_str()), ("NATS_USER", role), ("NATS_PASSWORD", &password)];
        let of_role: &[(&str, &str)] = match role {
            "edge" => &[("JWT_SECRET_KEY", JWT), ("ALLOWED_ORIGINS", "https://shop.example")],
            "worker" => {
                &[("SESSION_SECRET_KEY", SESSION), ("N8N_WEBHOOK_URL", n8n.url().as_str()), ("N8N_API_KEY", KEY)]
            }
            "analytics" => &[("ANALYTICS_DB_PATH", &file), ("ADMIN_TOKEN", JWT)],
            _ => &[],
        };
        if role == "worker" {
            good_n8n(&n8n);
        }
        let (findings, healthy) = Doctor::with(&[&user, of_role].concat()).findings(&[]).await;
        // The password of the tests is short, and a disk may be nearly full.
        let known = |finding: &&Value| finding["check"] == "secrets.strength" || finding["check"] == "analytics.disk";
        let faults: Vec<&Value> = faults(&findings).into_iter().filter(|finding| !known(finding)).collect();
        assert!(healthy && faults.is_empty(), "{role}: {faults:#?}");
        is(&findings, "nats.rights", "ok", "allows all");
        is(&findings, "nats.streams", "ok", "are there");
    }
    assert_eq!(n8n.asked(), 4);
}

/// Secrets that stand in files are looked at as a role would read them; what is wrong with one is told, its content never.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_in_files_are_looked_at() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).expect("it can be written");
        path.to_str().expect("text").to_owned()
    };
    let (jwt, weak, headers) = (file("jwt", JWT), file("weak", "hunter2\n"), file("headers", "x-key=zebra%20key\n"));
    let collector = Demo::scripted(([127, 0, 0, 1], 0).into()).await.expect("a port");
    collector.will(Script::of(200, "application/x-protobuf"));
    let endpoint = format!("http://{}", collector.url().socket_addrs(|| None).expect("an address")[0]);
    let look = async |settings: &[(&str, &str)]| {
        let rest = [("ALLOWED_ORIGINS", "https://shop.example"), ("NATS_URL", "nats://127.0.0.1:9")];
        let doctor = Doctor::with(&[&rest, settings].concat());
        let text = doctor.run(&["--role", "edge", "--timeout", "1s"]).await;
        let text = String::from_utf8_lossy(&[text.stdout, text.stderr].concat()).into_owned();
        assert!(!["hunter2", JWT, "zebra"].iter().any(|secret| text.contains(secret)), "{text}");
        doctor.findings(&["--role", "edge", "--timeout", "1s"]).await.0
    };
    let good = [
        ("JWT_SECRET_KEY_FILE", jwt.as_str()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ("OTEL_EXPORTER_OTLP_HEADERS_FILE", &headers),
    ];
    let findings = look(&good).await;
    is(&findings, "settings", "ok", "go together");
    is(&findings, "secrets.strength", "ok", "no two are the same");
    assert!(findings.iter().all(|finding| finding["check"] != "settings.unknown"), "{findings:#?}");
    let asked = collector.requests();
    assert!(!asked.is_empty() && asked.iter().all(|seen| seen.headers["x-key"] == "zebra key"));

    is(&look(&[good[0], ("METRICS_TOKEN_FILE", &jwt)]).await, "secrets.reuse", "problem", "the same secret");
    let findings = look(&[("JWT_SECRET_KEY_FILE", &weak), ("RATE_LIMIT_PER_MINUTE", "some")]).await;
    is(&findings, "settings", "problem", "7 bytes");
    is(&findings, "settings", "problem", "rate-limit-per-minute");
    let bad = |findings: &[Value]| findings.iter().filter(|finding| finding["check"] == "settings").count();
    assert_eq!(bad(&findings), 2, "each is told once: {findings:#?}");
    let nowhere = "/nowhere/secret";
    is(&look(&[("JWT_SECRET_KEY_FILE", nowhere)]).await, "settings", "problem", "JWT_SECRET_KEY_FILE: /nowhere/secret");
    let both = look(&[good[0], ("JWT_SECRET_KEY", JWT)]).await;
    is(&both, "settings", "problem", "JWT_SECRET_KEY and JWT_SECRET_KEY_FILE are both set");
    collector.stop().await;
}

/// Every setting that is wrong is told at once, also those that a role would tell one after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_is_wrong_with_settings_is_told_at_once() {
    let doctor = Doctor::with(&[
        ("SESSION_TTL", "soon"),
        ("BODY_MAX_BYTES", "big"),
        ("JWT_SECRET_KEY", "hunter2"),
        ("N8N_WEBHOK_URL", "https://n8n.example/webhook/x"),
        ("N8N_API_KEY", SESSION),
        ("ADMIN_TOKEN", SESSION),
    ]);
    std::fs::write(doctor.folder.path().join(".env"), "SHOP_COLOUR=red\nSESSION_MAX_AGE=25h\n").expect("it is ours");
    let (findings, healthy) = doctor.findings(&["--role", "edge"]).await;
    assert!(!healthy);
    for (check, severity, word) in [
        ("settings", "problem", "SESSION_TTL"),
        ("settings", "problem", "BODY_MAX_BYTES"),
        ("settings", "problem", "JWT_SECRET_KEY has 7 bytes"),
        ("settings.unknown", "warning", "N8N_WEBHOK_URL"),
        ("settings.unknown", "warning", "SHOP_COLOUR"),
        ("secrets.reuse", "problem", "ADMIN_TOKEN and N8N_API_KEY"),
        ("secrets.file", "warning", ".env"),
        ("nats.server", "not_checked", "can't be read"),
    ] {
        let word = if word == "SESSION_TTL" { "session-ttl" } else { word };
        let word = if word == "BODY_MAX_BYTES" { "body-max-bytes" } else { word };
        is(&findings, check, severity, word);
    }
    assert!(!format!("{findings:?}").contains("hunter2"));
    let doctor = Doctor::with(&[("JWT_SECRET_KEY", JWT), ("SESSION_MAX_AGE", "25h")]);
    let (findings, _) = doctor.findings(&["--role", "edge"]).await;
    is(&findings, "settings.together", "problem", "ENDED_MAX_AGE");
    is(&findings, "settings.together", "warning", "ALLOWED_ORIGINS");
}

/// Nobody is there: each is named, and it takes no longer for that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_away_is_named() {
    let settings = [
        ("NATS_URL", "nats://127.0.0.1:9"),
        ("SESSION_SECRET_KEY", SESSION),
        ("N8N_WEBHOOK_URL", "http://127.0.0.1:9/webhook/x"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9"),
    ];
    let (findings, healthy) = Doctor::with(&settings).findings(&["--role", "worker"]).await;
    assert!(!healthy);
    is(&findings, "nats.server", "problem", "can't be reached");
    is(&findings, "n8n.webhook", "problem", "refuses the connection");
    is(&findings, "telemetry", "problem", "Nobody answers");
}

/// All-in-one without any setting is well, in words for people; and its help teaches.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_can_read_it() {
    let doctor = Doctor::with(&[]);
    let output = doctor.run(&[]).await;
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.starts_with("Looked at all-in-one") && said.contains("with a problem."), "{said}");
    assert!(
        said.contains("n8n.webhook (site default): N8N_WEBHOOK_URL is not set") && !said.contains('\u{1b}'),
        "{said}"
    );
    let usage = doctor.run(&["--role", "janitor"]).await;
    assert_eq!(usage.status.code(), Some(2));
    let help = doctor.run(&["--help"]).await;
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(help.contains("Exit code: 0") && help.contains("--no-call"), "{help}");
}

/// Who runs a workflow is told before, and may leave it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workflow_is_run_only_with_leave() {
    let n8n = Demo::scripted(([127, 0, 0, 1], 0).into()).await.expect("a port");
    let doctor = Doctor::with(&[("N8N_WEBHOOK_URL", n8n.url().as_str()), ("N8N_API_KEY", KEY)]);
    n8n.will(Script::of(204, "").header("access-control-allow-methods", "OPTIONS, POST"));
    let (findings, healthy) = doctor.findings(&["--no-call"]).await;
    assert!(healthy && n8n.asked() == 1, "{findings:?}");
    good_n8n(&n8n);
    let output = doctor.run(&["--json"]).await;
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("calls the n8n workflow of default up to three times"), "{told}");
    assert_eq!(n8n.asked(), 5);
}
