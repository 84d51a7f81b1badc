//! A deployment whose processes can be struck down and come back where they were, as an orchestrator brings them back.

use std::{
    env, fmt,
    fs::{self, OpenOptions},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use rustix::process::Signal;

use crate::{clock::Stop, dice::Dice, http::Connection, process::Process, targets::Frontdesk};

/// Ports below those that the system gives to clients: one that is free while its process is down stays free.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// An orchestrator kills what has not ended this long after SIGTERM. It is longer than any drain here.
const GRACE: Duration = Duration::from_secs(30);
/// Whoever is not ready this long after its start, NATS frozen meanwhile included, is broken.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// What a process is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Nats,
    Edge,
    Worker,
    Analytics,
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nats => "nats-server",
            Self::Edge => "edge",
            Self::Worker => "worker",
            Self::Analytics => "analytics",
        }
    }
}

/// What is done to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Blow {
    /// kill -9, and a new one after a moment.
    Kill,
    /// SIGTERM, and a new one once it has ended.
    Term,
    /// SIGSTOP for so long, then SIGCONT.
    Freeze(Duration),
}

impl Blow {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill -9",
            Self::Term => "SIGTERM",
            Self::Freeze(_) => "SIGSTOP",
        }
    }
}

impl fmt::Display for Blow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Freeze(time) => write!(f, "SIGSTOP for {:.1} s", time.as_secs_f64()),
            other => f.write_str(other.name()),
        }
    }
}

/// How a process is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Ready,
    /// Until then it does not run.
    Frozen(Instant),
    /// Asked to end.
    Ending(Instant),
    /// It is started then.
    Down(Instant),
    Starting(Instant),
}

/// One place in the deployment, whoever fills it.
pub(crate) struct Member {
    pub(crate) role: Role,
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    pub(crate) process: Option<Process>,
    state: State,
    settings: Vec<(String, String)>,
}

/// The deployment.
pub(crate) struct Fleet<'a> {
    pub(crate) members: Vec<Member>,
    frontdesk: Frontdesk<'a>,
    folder: PathBuf,
    stop: &'a Stop,
    /// Endings that were not as they should be, such as an exit code after SIGTERM.
    pub(crate) faults: Vec<String>,
}

impl<'a> Fleet<'a> {
    /// Starts nats-server, makes the streams, and starts so many edges and workers and one analytics. Logs and stores
    /// are in `folder`.
    pub(crate) fn start(
        frontdesk: Frontdesk<'a>,
        folder: &Path,
        (edges, workers): (usize, usize),
        settings: &[(&str, &str)],
        stop: &'a Stop,
    ) -> anyhow::Result<Self> {
        let mut dice = Dice::new(u64::from(std::process::id()));
        let mut fleet = Self { members: Vec::new(), frontdesk, folder: folder.to_owned(), stop, faults: Vec::new() };
        let nats = fleet.add(Role::Nats, "nats-server", &[], &mut dice)?;
        let url = format!("nats://{nats}");
        let mut common = vec![("NATS_URL", url.as_str())];
        common.extend_from_slice(settings);
        let mut setup = fleet.frontdesk.command(&["nats-setup"]);
        setup.envs(common.iter().copied());
        let done = setup.current_dir(folder).output().context("can't run frontdesk nats-setup")?;
        ensure!(done.status.success(), "nats-setup failed: {}", String::from_utf8_lossy(&done.stderr).trim());
        fleet.add(Role::Analytics, "analytics", &common, &mut dice)?;
        for (role, count) in [(Role::Worker, workers), (Role::Edge, edges)] {
            for number in 1..=count {
                fleet.add(role, &format!("{}-{number}", role.name()), &common, &mut dice)?;
            }
        }
        Ok(fleet)
    }

    fn add(
        &mut self,
        role: Role,
        name: &str,
        settings: &[(&str, &str)],
        dice: &mut Dice,
    ) -> anyhow::Result<SocketAddr> {
        let address = quiet_address(dice)?;
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let state = State::Down(Instant::now());
        self.members.push(Member { role, name: name.to_owned(), address, process: None, state, settings });
        while !self.all_ready() {
            self.stop.check()?;
            self.step()?;
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(address)
    }

    /// Where visitors come in.
    pub(crate) fn edges(&self) -> Vec<SocketAddr> {
        self.members.iter().filter(|member| member.role == Role::Edge).map(|member| member.address).collect()
    }

    /// Where analytics is asked.
    pub(crate) fn analytics(&self) -> Option<SocketAddr> {
        self.members.iter().find(|member| member.role == Role::Analytics).map(|member| member.address)
    }

    pub(crate) fn all_ready(&self) -> bool {
        self.members.iter().all(|member| member.state == State::Ready)
    }

    /// Those that may be struck: whole themselves, not the last of their role where there are several, and no more than
    /// `most` are away at once.
    pub(crate) fn targets(&self, most: usize) -> Vec<usize> {
        let ready = |role: Role| self.members.iter().filter(|m| m.role == role && m.state == State::Ready).count();
        if self.members.iter().filter(|member| member.state != State::Ready).count() >= most {
            return Vec::new();
        }
        let may = |member: &Member| {
            let needed = if matches!(member.role, Role::Edge | Role::Worker) { 2 } else { 1 };
            member.state == State::Ready && ready(member.role) >= needed
        };
        (0..self.members.len()).filter(|&at| may(&self.members[at])).collect()
    }

    /// Strikes one; a killed one is started again after `pause`.
    pub(crate) fn strike(&mut self, at: usize, blow: Blow, pause: Duration) -> anyhow::Result<()> {
        let member = &mut self.members[at];
        let process = member.process.as_mut().context("it is not there")?;
        let now = Instant::now();
        member.state = match blow {
            Blow::Kill => {
                process.signal(Signal::KILL)?;
                member.process = None;
                State::Down(now + pause)
            }
            Blow::Term => {
                process.signal(Signal::TERM)?;
                State::Ending(now)
            }
            Blow::Freeze(time) => {
                process.signal(Signal::STOP)?;
                State::Frozen(now + time)
            }
        };
        Ok(())
    }

    /// Brings back who is due, and looks after all others.
    pub(crate) fn step(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        for at in 0..self.members.len() {
            let state = self.members[at].state;
            let next = match state {
                State::Frozen(until) if now >= until => {
                    self.process(at)?.signal(Signal::CONT)?;
                    // It may have to find its way back to NATS first.
                    State::Starting(now)
                }
                State::Ending(since) => match self.process(at)?.ended()? {
                    Some(status) => {
                        let member = &mut self.members[at];
                        member.process = None;
                        // nats-server says 1 at SIGTERM.
                        if member.role != Role::Nats && status.code() != Some(0) {
                            self.faults.push(format!("{} ended with {status} after SIGTERM", member.name));
                        }
                        State::Down(now)
                    }
                    None if now > since + GRACE => {
                        self.faults.push(format!("{} did not end within {GRACE:?} of SIGTERM", self.members[at].name));
                        self.members[at].process = None;
                        State::Down(now)
                    }
                    None => state,
                },
                State::Down(due) if now >= due => {
                    let process = self.launch(at)?;
                    self.members[at].process = Some(process);
                    State::Starting(now)
                }
                State::Starting(since) => {
                    if let Some(status) = self.process(at)?.ended()? {
                        let member = &self.members[at];
                        bail!("{} ended by itself ({status}); see {}.log", member.name, member.name);
                    }
                    if self.is_ready(at) {
                        State::Ready
                    } else {
                        ensure!(now < since + READY_WITHIN, "{} does not get ready", self.members[at].name);
                        state
                    }
                }
                State::Ready => {
                    if let Some(status) = self.process(at)?.ended()? {
                        let name = &self.members[at].name;
                        self.faults.push(format!("{name} ended by itself ({status})"));
                        self.members[at].process = None;
                        State::Down(now)
                    } else {
                        state
                    }
                }
                state => state,
            };
            self.members[at].state = next;
        }
        Ok(())
    }

    /// Brings everybody back.
    pub(crate) fn heal(&mut self) -> anyhow::Result<()> {
        while !self.all_ready() {
            self.stop.check()?;
            self.step()?;
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Ends one for good, in order.
    pub(crate) fn end(&mut self, role: Role) {
        for member in self.members.iter_mut().filter(|member| member.role == role) {
            member.process = None;
        }
        self.members.retain(|member| member.role != role);
    }

    fn process(&mut self, at: usize) -> anyhow::Result<&mut Process> {
        self.members[at].process.as_mut().context("a process is missing")
    }

    fn is_ready(&self, at: usize) -> bool {
        let Member { role, address, .. } = self.members[at];
        if role == Role::Nats {
            return TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok();
        }
        let asked = || -> anyhow::Result<bool> {
            let connection = Connection::open(address, self.stop)?;
            let mut connection = connection.with_patience(Duration::from_millis(300));
            Ok(connection.send(b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n")? == 200)
        };
        asked().unwrap_or(false)
    }

    fn launch(&self, at: usize) -> anyhow::Result<Process> {
        let member = &self.members[at];
        let log =
            OpenOptions::new().create(true).append(true).open(self.folder.join(format!("{}.log", member.name)))?;
        let address = member.address.to_string();
        let port = member.address.port().to_string();
        let command = match member.role {
            Role::Nats => {
                let mut command = Command::new("nats-server");
                let store = self.folder.join("nats");
                fs::create_dir_all(&store)?;
                command.args(["-a", "127.0.0.1", "-p", &port, "-js", "-sd"]).arg(store);
                command
            }
            role => {
                let mut command = self.frontdesk.command(&[role.name()]);
                command.envs(member.settings.iter().map(|(name, value)| (name, value)));
                command.env("API_PORT", &port).env("WORKER_ADDR", &address).env("ANALYTICS_ADDR", &address);
                command.env("ANALYTICS_DB_PATH", self.folder.join("analytics.redb"));
                command
            }
        };
        // nats-server reads it for nothing but where to find it.
        let mut command = command;
        if let Some(path) = env::var_os("PATH") {
            command.env("PATH", path);
        }
        Process::start_into(&member.name, command, &self.folder, log)
    }
}

/// A port that is free, and that no client is given by the system.
fn quiet_address(dice: &mut Dice) -> anyhow::Result<SocketAddr> {
    for _ in 0..1_000 {
        let port = PORTS.start + u16::try_from(dice.below(PORTS.len())).unwrap_or(0);
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return Ok(listener.local_addr()?);
        }
    }
    bail!("no free port in {PORTS:?}")
}

impl Drop for Fleet<'_> {
    fn drop(&mut self) {
        // In the direction of the flow: visitors' side first, nats-server last.
        while self.members.pop().is_some() {}
    }
}
