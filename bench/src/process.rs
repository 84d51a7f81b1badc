//! Processes that this run has started: what they cost, and that they end with it.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

const START_LIMIT: Duration = Duration::from_secs(20);
const STOP_LIMIT: Duration = Duration::from_secs(8);

/// A child, ended when dropped.
pub(crate) struct Process {
    child: Child,
    name: String,
    output: File,
    started: Instant,
}

impl Process {
    /// Starts it with what it prints going to a file in `folder`, which is also its working folder.
    pub(crate) fn start(name: &str, command: Command, folder: &Path) -> anyhow::Result<Self> {
        Self::start_into(name, command, folder, tempfile::tempfile_in(folder)?)
    }

    /// The same with what it prints going to this file.
    pub(crate) fn start_into(name: &str, mut command: Command, folder: &Path, output: File) -> anyhow::Result<Self> {
        let started = Instant::now();
        let child = command
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output.try_clone()?)
            .spawn()
            .with_context(|| format!("can't start {name}"))?;
        Ok(Self { child, name: name.to_owned(), output, started })
    }

    /// Waits for `found` to give something, and says how long after its start that was. Fails with the process's own
    /// words when it ends before.
    pub(crate) fn wait_for<T>(&mut self, mut found: impl FnMut(&str) -> Option<T>) -> anyhow::Result<(T, Duration)> {
        loop {
            let said = self.said()?;
            if let Some(found) = found(&said) {
                return Ok((found, self.started.elapsed()));
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended ({status}): {}", self.name, said.trim());
            }
            if self.started.elapsed() > START_LIMIT {
                bail!("{} did not start in time: {}", self.name, said.trim());
            }
            thread::sleep(Duration::from_micros(500));
        }
    }

    /// What it has printed.
    pub(crate) fn said(&self) -> anyhow::Result<String> {
        // Through /proc the file is opened anew, so that reading does not move the place where the child writes.
        use std::os::fd::AsRawFd as _;
        let mut said = Vec::new();
        File::open(format!("/proc/self/fd/{}", self.output.as_raw_fd()))?.read_to_end(&mut said)?;
        Ok(String::from_utf8_lossy(&said).into_owned())
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Sends it a signal. It was not waited for yet, so its number is still its own.
    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("no pid")?;
        Ok(kill_process(pid, signal)?)
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Open files, and threads.
    pub(crate) fn files_and_threads(&self) -> anyhow::Result<(usize, usize)> {
        let count = |of: &str| Ok::<_, io::Error>(fs::read_dir(format!("/proc/{}/{of}", self.child.id()))?.count());
        Ok((count("fd")?, count("task")?))
    }

    /// Time on a CPU so far, in user and kernel, children included.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        self.pids()?.into_iter().map(cpu_of).sum()
    }

    /// Resident memory in bytes, children included.
    pub(crate) fn memory(&self) -> anyhow::Result<u64> {
        let mut kib = 0;
        for pid in self.pids()? {
            let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
            kib += line.trim_end_matches("kB").trim().parse::<u64>()?;
        }
        Ok(kib * 1024)
    }

    /// It and its children (nginx works in those).
    fn pids(&self) -> anyhow::Result<Vec<u32>> {
        let own = self.child.id();
        let mut pids = vec![own];
        for entry in fs::read_dir("/proc")?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // A process that ended meanwhile is none of ours.
            if Stat::read(pid).and_then(|stat| stat.number(PARENT).ok()) == Some(own.into()) {
                pids.push(pid);
            }
        }
        Ok(pids)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let since = Instant::now();
        let mut gone = self.signal(Signal::TERM).is_err();
        // One that was stopped hears nothing else.
        let _ = self.signal(Signal::CONT);
        while !gone && since.elapsed() < STOP_LIMIT {
            gone = !matches!(self.child.try_wait(), Ok(None));
            thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Time on a CPU of everything on this machine, and the hypervisor's other guests where it tells of them.
pub(crate) fn machine_cpu() -> anyhow::Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    let fields = stat.lines().next().context("an empty /proc/stat")?.split_whitespace().skip(1);
    let fields: Vec<u64> = fields.map(str::parse).collect::<Result<_, _>>()?;
    // user nice system (idle iowait) irq softirq steal
    from_ticks([0, 1, 2, 5, 6, 7].iter().filter_map(|&field| fields.get(field)).sum())
}

/// Time on a CPU of this process.
pub(crate) fn own_cpu() -> anyhow::Result<Duration> {
    cpu_of(std::process::id())
}

fn cpu_of(pid: u32) -> anyhow::Result<Duration> {
    let stat = Stat::read(pid).context("a measured process is gone")?;
    from_ticks(stat.number(UTIME)? + stat.number(STIME)?)
}

fn from_ticks(ticks: u64) -> anyhow::Result<Duration> {
    Ok(Duration::from_secs(ticks) / u32::try_from(rustix::param::clock_ticks_per_second())?)
}

/// Positions in `/proc/<pid>/stat` after the name, which may hold anything.
const PARENT: usize = 1;
const UTIME: usize = 11;
const STIME: usize = 12;

struct Stat(String);

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        fs::read_to_string(format!("/proc/{pid}/stat")).ok().map(Self)
    }

    fn number(&self, position: usize) -> anyhow::Result<u64> {
        let (_, fields) = self.0.rsplit_once(')').context("no name in stat")?;
        Ok(fields.split_whitespace().nth(position).context("a short stat")?.parse()?)
    }
}
