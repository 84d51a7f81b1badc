//! A whole Frontdesk for tests: real executables on free ports, a scripted n8n, and a real nats-server where it is
//! spread out. Everything is gone when it is dropped.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use bus::{Config, testing::NatsServer};
use worker::demo::Demo;

use crate::visitor::Visitor;

/// Longer than anything here takes: a test that hangs fails.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

const JWT_SECRET: &str = "wq3rJm1v8Zt5yBn2Kx7cPd4fGh6jLs9a";
const SESSION_SECRET: &str = "Tn5bVx2cRk8mWq4zHj7sLp1dFy6gAe3u";

/// One running executable.
pub(crate) struct Process {
    child: Child,
    role: String,
    /// Where it listens.
    pub(crate) url: String,
    log: tempfile::NamedTempFile,
}

impl Process {
    /// Starts `frontdesk <role>` and waits until it says where it listens.
    pub(crate) fn start(role: &[&str], settings: &[(&str, &str)]) -> Self {
        let log = tempfile::NamedTempFile::new().expect("a temporary file");
        let mut child = Command::new(env!("CARGO_BIN_EXE_frontdesk"))
            .args(role)
            .env_clear()
            .env("LOG_LEVEL", "debug")
            .envs(settings.iter().copied())
            // A `.env` of the developer is not for tests.
            .current_dir(std::env::temp_dir())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.reopen().expect("the file is ours"))
            .spawn()
            .expect("the executable starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("it is UTF-8");
        let url = line.trim().strip_prefix("listening on ").map(str::to_owned);
        let mut process = Self { child, role: role.join(" "), url: String::new(), log };
        match url {
            Some(url) => process.url = url,
            None => panic!("{role:?} said {line:?} and logged {}", process.log()),
        }
        process
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap_or_default()
    }

    /// Shows what led to a failure.
    #[expect(clippy::print_stderr, reason = "a failed test is read by people")]
    fn tell(&self) {
        let log = self.log();
        let mut tail: Vec<&str> = log.lines().rev().take(40).collect();
        tail.reverse();
        // In one piece: others may be telling, too.
        eprintln!("--- {} {} ---\n{}", self.role, self.url, tail.join("\n"));
    }

    /// The status of its readiness; 0 where nobody answers.
    pub(crate) async fn readiness(&self) -> u16 {
        crate::visitor::use_ring();
        let client = reqwest::Client::builder().no_proxy().timeout(LIMIT).build().expect("a client");
        let answer = client.get(format!("{}/health/ready", self.url)).send().await;
        answer.map_or(0, |answer| answer.status().as_u16())
    }

    /// Asks until the readiness is that; how long that took.
    pub(crate) async fn until_readiness(&self, status: u16) -> Duration {
        let began = Instant::now();
        while self.readiness().await != status {
            assert!(began.elapsed() < LIMIT, "it does not become {status}:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        began.elapsed()
    }

    /// Its metrics.
    pub(crate) async fn metrics(&self) -> String {
        crate::visitor::use_ring();
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let answer = client.get(format!("{}/metrics", self.url)).send().await.expect("it answers");
        answer.text().await.expect("text")
    }

    /// The same in the format that links values to traces.
    pub(crate) async fn open_metrics(&self) -> String {
        crate::visitor::use_ring();
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let asked = client.get(format!("{}/metrics", self.url)).header("accept", "application/openmetrics-text");
        asked.send().await.expect("it answers").text().await.expect("text")
    }

    /// The sum of all samples of a metric; 0 where there are none.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let metrics = self.metrics().await;
        let samples = metrics.lines().filter_map(|line| line.strip_prefix(name)?.rsplit_once(' '));
        let samples = samples.filter(|(labels, _)| labels.is_empty() || labels.starts_with('{'));
        samples.filter_map(|(_, value)| value.parse::<f64>().ok()).sum()
    }

    /// Waits until its log holds this.
    pub(crate) async fn until_log(&self, text: &str) {
        let until = Instant::now() + LIMIT;
        while !self.log().contains(text) {
            assert!(Instant::now() < until, "it does not say {text:?}:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it was running");
        self.child.wait().expect("it was ours");
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.id(), name);
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let until = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is ours") {
                return status;
            }
            assert!(Instant::now() < until, "it does not end:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Sends a process a signal by name.
pub(crate) fn signal(id: u32, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &id.to_string()]).status();
    assert!(sent.expect("kill can be run").success());
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            self.tell();
        }
    }
}

/// See the module.
pub(crate) struct Desk {
    pub(crate) n8n: Arc<Demo>,
    pub(crate) nats: Option<NatsServer>,
    pub(crate) edges: Vec<Process>,
    pub(crate) workers: Vec<Process>,
    pub(crate) analytics: Option<Process>,
    /// Whether each role has its own NATS user.
    guarded: bool,
    settings: Vec<(String, String)>,
}

impl Desk {
    /// Everything in one process.
    pub(crate) async fn all_in_one(settings: &[(&str, &str)]) -> Self {
        let mut desk = Self::empty(settings).await;
        desk.edges.push(desk.launch(&[]));
        desk
    }

    /// Over NATS: so many edges and workers, and analytics.
    pub(crate) async fn spread(edges: usize, workers: usize, settings: &[(&str, &str)]) -> Self {
        Self::over(NatsServer::start().await, false, edges, workers, settings).await
    }

    /// The same with the shipped configuration of nats-server, each role as its own user.
    pub(crate) async fn guarded(edges: usize, workers: usize, settings: &[(&str, &str)]) -> Self {
        Self::over(NatsServer::start_guarded().await, true, edges, workers, settings).await
    }

    async fn over(nats: NatsServer, guarded: bool, edges: usize, workers: usize, settings: &[(&str, &str)]) -> Self {
        let mut desk = Self::beside(nats, guarded, settings).await;
        desk.fill(edges, workers);
        desk
    }

    /// Only what stands beside the processes: n8n, and NATS with its streams.
    pub(crate) async fn beside(nats: NatsServer, guarded: bool, settings: &[(&str, &str)]) -> Self {
        nats.set_up(&Config::default()).await;
        let mut desk = Self::at(nats, settings).await;
        desk.guarded = guarded;
        desk
    }

    /// At this server, with nobody there yet.
    pub(crate) async fn at(nats: NatsServer, settings: &[(&str, &str)]) -> Self {
        let mut desk = Self::empty(settings).await;
        desk.settings.push(("NATS_URL".into(), nats.url()));
        desk.nats = Some(nats);
        desk
    }

    /// Starts so many edges and workers, and analytics.
    pub(crate) fn fill(&mut self, edges: usize, workers: usize) {
        let desk = self;
        for _ in 0..edges {
            desk.edges.push(desk.launch(&["edge"]));
        }
        for _ in 0..workers {
            desk.add_worker();
        }
        desk.analytics = Some(desk.launch(&["analytics"]));
    }

    async fn empty(settings: &[(&str, &str)]) -> Self {
        crate::visitor::use_ring();
        let n8n = Demo::scripted(([127, 0, 0, 1], 0).into()).await.expect("a free port");
        let mut all: Vec<(String, String)> = [
            ("N8N_WEBHOOK_URL", n8n.url().as_str()),
            ("N8N_API_KEY", "a-key"),
            ("JWT_SECRET_KEY", JWT_SECRET),
            ("SESSION_SECRET_KEY", SESSION_SECRET),
            ("API_HOST", "127.0.0.1"),
            ("API_PORT", "0"),
            ("WORKER_ADDR", "127.0.0.1:0"),
            ("ANALYTICS_ADDR", "127.0.0.1:0"),
            ("ALLOW_NO_ORIGIN", "true"),
            ("RATE_LIMIT_PER_MINUTE", "0"),
            ("RATE_LIMIT_SESSION_PER_MINUTE", "0"),
            ("RATE_LIMIT_SITE_PER_MINUTE", "0"),
            ("RATE_LIMIT_CREATE_PER_MINUTE", "0"),
            ("RATE_LIMIT_LATE_PER_MINUTE", "0"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let folder = tempfile::tempdir().expect("a temporary folder").keep();
        all.push(("ANALYTICS_DB_PATH".into(), folder.join("facts.redb").display().to_string()));
        all.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        Self {
            n8n: Arc::new(n8n),
            nats: None,
            edges: vec![],
            workers: vec![],
            analytics: None,
            guarded: false,
            settings: all,
        }
    }

    /// The database of analytics.
    pub(crate) fn database(&self) -> &str {
        // A test's own setting comes after ours.
        let path = self.settings.iter().rev().find(|(name, _)| name == "ANALYTICS_DB_PATH");
        path.map(|(_, path)| path.as_str()).expect("every desk has one")
    }

    pub(crate) fn launch(&self, role: &[&str]) -> Process {
        self.launch_with(role, &[])
    }

    /// Starts a role with other settings than all have.
    pub(crate) fn launch_with(&self, role: &[&str], other: &[(&str, &str)]) -> Process {
        let password;
        let mut settings: Vec<(&str, &str)> =
            self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        if self.guarded {
            password = bus::testing::password(role[0]);
            settings.extend([("NATS_USER", role[0]), ("NATS_PASSWORD", &password)]);
        }
        settings.extend(other);
        Process::start(role, &settings)
    }

    /// NATS, for a test that looks into it.
    pub(crate) async fn jetstream(&self) -> async_nats::jetstream::Context {
        let nats = self.nats.as_ref().expect("it is spread out");
        async_nats::jetstream::new(async_nats::connect(nats.url()).await.expect("it is there"))
    }

    pub(crate) fn add_worker(&mut self) {
        self.workers.push(self.launch(&["worker"]));
    }

    /// A visitor with a session, at the first edge.
    pub(crate) async fn visitor(&self) -> Visitor {
        Visitor::begin(&self.edges[0].url).await
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let folder = self.settings.iter().find(|(name, _)| name == "ANALYTICS_DB_PATH");
        if let Some(folder) = folder.and_then(|(_, path)| std::path::Path::new(path).parent()) {
            std::fs::remove_dir_all(folder).ok();
        }
    }
}
