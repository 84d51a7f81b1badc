//! What stands between the visitor and the upstream: nothing, nginx, or Frontdesk in one process or several.

use std::{
    env, fs,
    io::Read as _,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use clap::ValueEnum;
use tempfile::TempDir;

use crate::{clock::Stop, http::Connection, process::Process, sink, visitor::Door};

/// A kind of target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// The visitor calls the upstream itself.
    Direct,
    /// nginx as a plain unbuffered proxy.
    Nginx,
    /// Frontdesk in one process.
    AllInOne,
    /// Frontdesk over NATS: an edge, a worker, analytics.
    Nats,
    /// Two edges and two workers.
    NatsTwo,
    /// An edge, a worker, analytics, none of which makes spans.
    Spanless,
    /// The same with traces of which none is kept.
    Unkept,
    /// The same with traces of which all are kept and sent.
    Kept,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Nginx => "nginx",
            Self::AllInOne => "all-in-one",
            Self::Nats => "NATS 1+1",
            Self::NatsTwo => "NATS 2+2",
            Self::Spanless => "no spans",
            Self::Unkept => "none kept",
            Self::Kept => "all kept",
        }
    }

    pub(crate) fn needs_frontdesk(self) -> bool {
        !matches!(self, Self::Direct | Self::Nginx)
    }

    /// What a target about traces is started with beside the usual.
    fn settings(self) -> anyhow::Result<Vec<(&'static str, String)>> {
        let traced = |share: &str| -> anyhow::Result<_> {
            let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", sink::start()?);
            Ok(vec![endpoint, ("OTEL_TRACES_SAMPLER_ARG", share.to_owned())])
        };
        match self {
            Self::Spanless => Ok(vec![("OTEL_SDK_DISABLED", "true".to_owned())]),
            Self::Unkept => traced("0"),
            Self::Kept => traced("1"),
            _ => Ok(Vec::new()),
        }
    }
}

/// Whose process it is, for the accounts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Visitors are connected to it.
    Front,
    /// Worker and analytics.
    Behind,
    /// nats-server.
    Nats,
}

/// The upstream, in a process of its own so that its CPU is nobody else's.
pub(crate) struct Upstream {
    process: Process,
    address: SocketAddr,
    _folder: TempDir,
}

impl Upstream {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut command = Command::new(env::current_exe()?);
        command.arg("upstream");
        let mut process = Process::start("the upstream", command, folder.path())?;
        let (address, _) = process.wait_for(listening)?;
        Ok(Self { process, address, _folder: folder })
    }
}

impl Upstream {
    /// CPU time so far.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        self.process.cpu()
    }
}

/// A running target. Its processes end and its files go when it is dropped.
pub(crate) struct Target {
    pub(crate) kind: Kind,
    /// Where visitors come in.
    pub(crate) doors: Vec<Door>,
    /// From the start of the process that visitors talk to, to its line that it listens.
    pub(crate) start: Option<Duration>,
    processes: Vec<(Part, Process)>,
    folder: TempDir,
}

impl Target {
    pub(crate) fn start(
        kind: Kind,
        frontdesk: Option<&Path>,
        upstream: &Upstream,
        stop: &Stop,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut target = Self { kind, doors: Vec::new(), start: None, processes: Vec::new(), folder };
        match kind {
            Kind::Direct => target.doors.push(Door::Plain(upstream.address)),
            Kind::Nginx => target.nginx(upstream)?,
            Kind::AllInOne => target.all_in_one(&Frontdesk::new(frontdesk, upstream.address, stop)?)?,
            Kind::NatsTwo => target.nats(&Frontdesk::new(frontdesk, upstream.address, stop)?, 2)?,
            Kind::Nats | Kind::Spanless | Kind::Unkept | Kind::Kept => {
                let frontdesk = Frontdesk::new(frontdesk, upstream.address, stop)?;
                target.nats(&Frontdesk { more: kind.settings()?, ..frontdesk }, 1)?;
            }
        }
        Ok(target)
    }

    /// CPU time so far of the target's processes, or of nats-server.
    pub(crate) fn cpu(&self, wanted: fn(Part) -> bool) -> anyhow::Result<Duration> {
        self.of(wanted).map(Process::cpu).sum()
    }

    /// Resident bytes of the target's processes.
    pub(crate) fn memory(&self, wanted: fn(Part) -> bool) -> anyhow::Result<u64> {
        self.of(wanted).map(Process::memory).sum()
    }

    pub(crate) fn has(&self, part: Part) -> bool {
        self.processes.iter().any(|(of, _)| *of == part)
    }

    /// What its processes of ours and nginx complained about: they are started with logs of warnings only.
    pub(crate) fn complaints(&self) -> anyhow::Result<Vec<String>> {
        let mut complaints = Vec::new();
        for process in self.of(|part| part != Part::Nats) {
            let said = process.said()?;
            let said = said.lines().filter(|line| !line.starts_with("listening on "));
            complaints.extend(said.map(|line| format!("{}: {line}", process.name())));
        }
        Ok(complaints)
    }

    fn of(&self, wanted: fn(Part) -> bool) -> impl Iterator<Item = &Process> {
        self.processes.iter().filter(move |(part, _)| wanted(*part)).map(|(_, process)| process)
    }

    fn nginx(&mut self, upstream: &Upstream) -> anyhow::Result<()> {
        let address = free_address()?;
        let config = self.folder.path().join("nginx.conf");
        fs::write(&config, nginx_config(address, upstream.address))?;
        let mut command = Command::new("nginx");
        // With an error log of its own from the first moment: the built-in one is not ours to write to.
        command.arg("-p").arg(self.folder.path()).arg("-c").arg(&config).args(["-e", "stderr"]);
        let mut process = Process::start("nginx", command, self.folder.path())?;
        process.wait_for(|_| TcpStream::connect(address).ok())?;
        self.processes.push((Part::Front, process));
        self.doors.push(Door::Plain(address));
        Ok(())
    }

    fn all_in_one(&mut self, frontdesk: &Frontdesk<'_>) -> anyhow::Result<()> {
        self.front("frontdesk", frontdesk.command(&[]), frontdesk.stop)
    }

    fn nats(&mut self, frontdesk: &Frontdesk<'_>, pairs: usize) -> anyhow::Result<()> {
        let address = free_address()?;
        let mut command = Command::new("nats-server");
        command.args(["-a", "127.0.0.1", "-p", &address.port().to_string(), "-js", "-sd"]).arg(self.folder.path());
        let mut process = Process::start("nats-server", command, self.folder.path())?;
        process.wait_for(|_| TcpStream::connect(address).ok())?;
        self.processes.push((Part::Nats, process));

        let url = format!("nats://{address}");
        let command = |role| {
            let mut command = frontdesk.command(&[role]);
            command.env("NATS_URL", &url);
            command
        };
        let mut setup = command("nats-setup");
        let done = setup.current_dir(self.folder.path()).output().context("can't run frontdesk nats-setup")?;
        ensure!(done.status.success(), "nats-setup failed: {}", String::from_utf8_lossy(&done.stderr).trim());
        for role in ["analytics"].into_iter().chain(std::iter::repeat_n("worker", pairs)) {
            let mut process = Process::start(role, command(role), self.folder.path())?;
            process.wait_for(listening)?;
            self.processes.push((Part::Behind, process));
        }
        for _ in 0..pairs {
            self.front("edge", command("edge"), frontdesk.stop)?;
        }
        Ok(())
    }

    fn front(&mut self, name: &str, command: Command, stop: &Stop) -> anyhow::Result<()> {
        let mut process = Process::start(name, command, self.folder.path())?;
        let (address, start) = process.wait_for(listening)?;
        self.start = Some(start);
        // It listens before it has reached NATS and heard of a worker.
        let mut health = Connection::open(address, stop)?;
        process.wait_for(|_| {
            let ready =
                health.send(b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n").is_ok_and(|status| status == 200);
            health.rest().ok().filter(|_| ready)
        })?;
        self.processes.push((Part::Front, process));
        self.doors.push(Door::Frontdesk(address));
        Ok(())
    }
}

/// How each of its processes is started.
pub(crate) struct Frontdesk<'a> {
    executable: PathBuf,
    upstream: SocketAddr,
    secret: String,
    more: Vec<(&'static str, String)>,
    stop: &'a Stop,
}

impl<'a> Frontdesk<'a> {
    pub(crate) fn new(executable: Option<&Path>, upstream: SocketAddr, stop: &'a Stop) -> anyhow::Result<Self> {
        let executable = executable.context("--frontdesk is needed for this target")?;
        // Each target runs in a folder of its own.
        let executable = executable.canonicalize().with_context(|| format!("no {}", executable.display()))?;
        let mut random = [0; 32];
        fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
        let secret = random.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { executable, upstream, secret, more: Vec::new(), stop })
    }

    /// `frontdesk` with these arguments and without limits; settings that are added to it win.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.executable);
        let any = "127.0.0.1:0";
        // Settings of whoever runs this must not change what is measured.
        command.args(arguments).env_clear().envs([
            ("API_HOST", "127.0.0.1"),
            ("API_PORT", "0"),
            ("WORKER_ADDR", any),
            ("ANALYTICS_ADDR", any),
            ("LOG_LEVEL", "warn"),
            ("ALLOW_NO_ORIGIN", "true"),
            ("JWT_SECRET_KEY", &self.secret),
            // Frontdesk wants two that differ.
            ("SESSION_SECRET_KEY", &self.secret.chars().rev().collect::<String>()),
            ("N8N_WEBHOOK_URL", &format!("http://{}/webhook/bench", self.upstream)),
            // More than replies at once: what waits for a permit would be counted as our delay.
            ("WORKER_CONCURRENCY", "1024"),
            ("DRAIN_TIMEOUT", "1s"),
            ("RATE_LIMIT_PER_MINUTE", "0"),
            ("RATE_LIMIT_SESSION_PER_MINUTE", "0"),
            ("RATE_LIMIT_SITE_PER_MINUTE", "0"),
            ("RATE_LIMIT_CREATE_PER_MINUTE", "0"),
            ("MESSAGES_PER_DAY_SESSION", "0"),
            ("MESSAGES_PER_DAY_IP", "0"),
            ("MESSAGES_PER_DAY_SITE", "0"),
            ("STREAMS_PER_SESSION", "0"),
            ("STREAMS_PER_IP", "0"),
        ]);
        command.envs(self.more.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// The address in `listening on http://…`.
pub(crate) fn listening(said: &str) -> Option<SocketAddr> {
    let line = said.split_inclusive('\n').find(|line| line.starts_with("listening on ") && line.ends_with('\n'))?;
    line.trim_end().rsplit('/').next()?.parse().ok()
}

/// A port that was free a moment ago, for those who can't choose one themselves.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn nginx_config(address: SocketAddr, upstream: SocketAddr) -> String {
    let temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|of| format!("  {of}_temp_path {of};\n"));
    let temp = temp.concat();
    format!(
        "daemon off;
worker_processes 2;
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections 8192; }}
http {{
  access_log off;
{temp}  keepalive_requests 1000000;
  upstream scripted {{ server {upstream}; keepalive 256; keepalive_requests 1000000; }}
  server {{
    listen {address} backlog=4096;
    location / {{
      proxy_pass http://scripted;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_buffering off;
      proxy_read_timeout 10m;
    }}
  }}
}}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_line_tells_the_address() {
        let address = "127.0.0.1:4321".parse().ok();
        assert_eq!(listening("WARN no\nlistening on http://127.0.0.1:4321\n"), address);
        assert_eq!(listening("listening on http://127.0.0.1:43"), None);
    }
}
