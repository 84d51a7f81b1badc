//! A real nats-server for tests: on a free port of the loopback, with a store of its own, gone when dropped.

use std::{
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use async_nats::jetstream::context::GetStreamErrorKind;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::{
    Bus, Config, NatsConfig, Setup,
    nats::{Heard, connect},
    setup,
};

/// The configuration that is shipped.
pub const SHIPPED: &str = include_str!("../../../nats/nats-server.conf");
/// One that asks nobody who they are.
const OPEN: &str = "jetstream { store_dir: $NATS_STORE_DIR }";
/// The users in the shipped one.
pub const ROLES: [&str; 4] = ["edge", "worker", "analytics", "admin"];

/// See the module.
pub struct NatsServer {
    child: Option<Child>,
    port: u16,
    /// The network namespace in which it runs, and its address there.
    namespace: Option<&'static str>,
    host: &'static str,
    folder: TempDir,
    /// How `admin` gets in.
    admin: NatsConfig,
}

impl NatsServer {
    /// Starts one and waits until it listens. Fails with a sentence when there is no nats-server to start.
    pub async fn start() -> Self {
        Self::start_with(OPEN, NatsConfig::default()).await
    }

    /// Starts one with the users of the shipped configuration.
    pub async fn start_guarded() -> Self {
        Self::start_with(SHIPPED, user("admin")).await
    }

    /// Starts one with this configuration, into which `admin` gets that way.
    pub async fn start_with(config: &str, admin: NatsConfig) -> Self {
        Self::launched(config, admin, None, "127.0.0.1").await
    }

    /// Starts one that asks nobody who they are, in this network namespace and with this address.
    pub async fn start_in(namespace: &'static str, host: &'static str) -> Self {
        Self::launched(OPEN, NatsConfig::default(), Some(namespace), host).await
    }

    async fn launched(config: &str, admin: NatsConfig, namespace: Option<&'static str>, host: &'static str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("conf"), config).expect("the folder is ours");
        let mut server = Self { child: None, port: 0, namespace, host, folder, admin };
        server.launch("-1").await;
        server
    }

    /// Has it take another configuration while it runs.
    pub fn reload(&self, config: &str) {
        std::fs::write(self.folder.path().join("conf"), config).expect("the folder is ours");
        self.signal("HUP");
    }

    /// Sends it a signal by name.
    pub fn signal(&self, name: &str) {
        let id = self.child.as_ref().and_then(Child::id).expect("it runs").to_string();
        let sent = std::process::Command::new("kill").args([&format!("-{name}"), &id]).status();
        assert!(sent.expect("kill can be run").success());
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("nats://{}:{}", self.host, self.port)
    }

    /// kill -9.
    pub async fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().await.expect("the server was running");
        }
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.as_ref().and_then(Child::id).expect("it runs")
    }

    /// Waits for its end, which somebody else brought about.
    pub async fn ended(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.wait().await.expect("it is ours");
        }
    }

    /// Starts it again where it was; without `keep` its store is gone.
    pub async fn restart(&mut self, keep: bool) {
        self.kill().await;
        if !keep {
            std::fs::remove_dir_all(self.store()).expect("the store is ours");
        }
        self.launch(&self.port.to_string()).await;
    }

    /// Connection settings for it, of `admin` where there are users.
    pub fn config(&self) -> NatsConfig {
        self.at(self.admin.clone())
    }

    /// These connection settings with its address.
    pub fn at(&self, nats: NatsConfig) -> NatsConfig {
        NatsConfig { nats_url: self.url(), ..nats }
    }

    /// Makes the streams, as `frontdesk nats-setup` does.
    pub async fn set_up(&self, config: &Config) -> Vec<String> {
        self.set_up_with(config, 64 << 20).await
    }

    /// The same with this much room for facts.
    pub async fn set_up_with(&self, config: &Config, facts_max_bytes: u64) -> Vec<String> {
        let facts_max_bytes = bytesize::ByteSize::b(facts_max_bytes);
        let wanted = Setup { nats_replicas: 1, snapshots_on_disk: true, facts_max_bytes };
        setup(config, &self.config(), &wanted).await.expect("the streams can be made")
    }

    /// A bus over it.
    pub async fn bus(&self, config: &Config, role: &'static str) -> Bus {
        let bus = Bus::nats(config, &self.config(), role).await.expect("the server is there");
        let until = Instant::now() + Duration::from_secs(10);
        while bus.ping().await.is_err() {
            assert!(Instant::now() < until, "the bus does not answer");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        bus
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    async fn launch(&mut self, port: &str) {
        let ports = self.folder.path().join("ports");
        std::fs::remove_dir_all(&ports).ok();
        std::fs::create_dir(&ports).expect("the folder is ours");
        let mut command = match self.namespace {
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace, "nats-server"]);
                command
            }
            None => Command::new("nats-server"),
        };
        let child = command
            .args(["-a", self.host, "-p", port, "-c"])
            .arg(self.folder.path().join("conf"))
            .env("NATS_STORE_DIR", self.store())
            .envs(ROLES.map(|role| (format!("NATS_{}_PASSWORD", role.to_uppercase()), password(role))))
            .arg("--ports_file_dir")
            .arg(&ports)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("nats-server can be started (Debian: apt-get install nats-server)");
        let file = ports.join(format!("nats-server_{}.ports", child.id().expect("it runs")));
        self.child = Some(child);
        let until = Instant::now() + Duration::from_secs(20);
        self.port = loop {
            if let Some(port) = std::fs::read_to_string(&file).ok().as_deref().and_then(port_in) {
                break port;
            }
            assert!(Instant::now() < until, "nats-server did not start");
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        // JetStream recovers its store after the port is open. Until then nobody answers for it.
        let client = connect(&self.config(), "admin", "test", Duration::from_secs(2), &Heard::default())
            .await
            .expect("it listens");
        let js = async_nats::jetstream::new(client);
        while !matches!(js.get_stream("REQ").await.map_err(|e| e.kind()), Ok(_) | Err(GetStreamErrorKind::JetStream(_)))
        {
            assert!(Instant::now() < until, "JetStream did not start");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// The connection settings of a user of the shipped configuration; without an address.
pub fn user(role: &str) -> NatsConfig {
    let password = Some(password(role).into());
    NatsConfig { nats_user: Some(role.to_owned()), nats_password: password, ..NatsConfig::default() }
}

/// Its password.
pub fn password(role: &str) -> String {
    format!("pw-of-{role}")
}

/// The client port in what nats-server wrote.
fn port_in(text: &str) -> Option<u16> {
    let ports: serde_json::Value = serde_json::from_str(text).ok()?;
    ports["nats"][0].as_str()?.rsplit(':').next()?.parse().ok()
}
