//! What an open stream takes: of visitors who wait, who have read a running reply, and who don't read it.

use std::{fs, path::Path, thread, time::Duration};

use anyhow::{Context as _, ensure};

use crate::{
    chaos::{Common, in_folder},
    clock::Stop,
    fleet::{Fleet, Role},
    http::Connection,
    targets::Frontdesk,
    upstream::{Book, Script, Then},
    visitor::{Door, Visitor, post},
};

/// Measures the memory of open streams at one edge: idle ones, readers of a running reply, and slow readers of it.
#[derive(clap::Args)]
pub(crate) struct Streams {
    #[command(flatten)]
    common: Common,
    /// Streams on which nothing happens.
    #[arg(long, default_value_t = 2000)]
    idle: usize,
    /// Sessions in mid-reply, each with one reader who has read all of it, and then with a slow one as well.
    #[arg(long, default_value_t = 500)]
    slow: usize,
    /// Chunks of each of those replies; in a stream each takes some 120 bytes.
    #[arg(long, default_value_t = 2000)]
    chunks: u32,
}

/// What a slow reader's socket takes.
const SMALL: usize = 4096;

/// What is measured at once.
#[derive(Clone, Copy)]
struct Memory {
    edge: u64,
    worker: u64,
    /// All TCP buffers of this machine, both ends.
    kernel: u64,
}

impl Memory {
    /// Once everything has come to rest.
    fn read(fleet: &Fleet<'_>) -> anyhow::Result<Self> {
        thread::sleep(Duration::from_secs(2));
        let of = |role| -> anyhow::Result<u64> {
            let member = fleet.members.iter().find(|member| member.role == role).context("no such role")?;
            member.process.as_ref().context("it is gone")?.memory()
        };
        let stat = fs::read_to_string("/proc/net/sockstat")?;
        let tcp = stat.lines().find(|line| line.starts_with("TCP:")).context("no TCP in sockstat")?;
        let pages = tcp.split_whitespace().last().and_then(|pages| pages.parse::<u64>().ok()).context("no pages")?;
        Ok(Self { edge: of(Role::Edge)?, worker: of(Role::Worker)?, kernel: pages * 4096 })
    }

    fn row(self, since: Self, what: &str, count: usize) -> String {
        let each = |now: u64, before: u64| (now as f64 - before as f64) / 1024.0 / count as f64;
        format!(
            "| {what} | {count} | {:.1} | {:.1} | {:.1} |\n",
            each(self.edge, since.edge),
            each(self.worker, since.worker),
            each(self.kernel, since.kernel)
        )
    }
}

pub(crate) fn run(streams: &Streams) -> anyhow::Result<bool> {
    let stop = Stop::listen(Duration::from_secs(600))?;
    in_folder(streams.common.folder.as_deref(), |folder| hold(streams, &stop, folder))
}

fn hold(streams: &Streams, stop: &Stop, folder: &Path) -> anyhow::Result<bool> {
    let (_book, upstream) = Book::serve()?;
    let frontdesk = Frontdesk::new(Some(&streams.common.frontdesk), upstream, stop)?;
    // Nobody is to be cut while it is measured.
    let settings = [("SEND_TIMEOUT", "10m"), ("BOT_RULES", "off"), ("N8N_IDLE_TIMEOUT", "10m")];
    let fleet = Fleet::start(frontdesk, folder, (1, 1), &settings, stop)?;
    let edge = *fleet.edges().first().context("no edge")?;
    let mut open = Vec::new();
    let mut table = "| KB each | streams | edge | worker | TCP buffers, both ends |\n\
                     | --- | ---: | ---: | ---: | ---: |\n"
        .to_owned();

    // What the first connections take once is none of theirs.
    for _ in 0..50 {
        open.push(Visitor::arrive(Door::Frontdesk(edge), stop)?.listen()?);
    }
    let fresh = Memory::read(&fleet)?;
    for _ in 0..streams.idle {
        open.push(Visitor::arrive(Door::Frontdesk(edge), stop)?.listen()?);
    }
    let idle = Memory::read(&fleet)?;
    table += &idle.row(fresh, "idle", streams.idle);

    let mut sessions = Vec::new();
    for number in 0..streams.slow {
        stop.check()?;
        let visitor = Visitor::arrive(Door::Frontdesk(edge), stop)?;
        let (proof, stream_url) = visitor.credentials().context("no session")?;
        let message_id = format!("streams-{number:06}");
        let script = Script { chunks: streams.chunks, pause: Duration::ZERO, then: Then::Hold };
        let body = format!("{{\"message\":\"{message_id} {script}\",\"message_id\":\"{message_id}\"}}");
        let mut connection = visitor.into_connection();
        let status = connection.send(post("/api/v1/chat/message", &proof, "text/event-stream", &body).as_bytes())?;
        ensure!(status == 200, "message: {status}");
        let (last, mut seen) = (format!("{message_id}.{} ", streams.chunks - 1), Vec::new());
        while !seen.windows(last.len()).any(|window| window == last.as_bytes()) {
            ensure!(connection.part(&mut seen)?.is_some(), "the stream ended");
            seen.drain(..seen.len().saturating_sub(32 * 1024));
        }
        open.push(connection);
        sessions.push((proof, stream_url, message_id));
    }
    let reading = Memory::read(&fleet)?;
    table += &reading.row(idle, "in mid-reply, read", streams.slow);

    for (proof, stream_url, message_id) in &sessions {
        let mut connection = Connection::open(edge, stop)?;
        rustix::net::sockopt::set_socket_recv_buffer_size(connection.stream(), SMALL)?;
        let request = format!(
            "GET {stream_url}?message_id={message_id} HTTP/1.1\r\nHost: localhost\r\n{proof}Accept: \
             text/event-stream\r\n\r\n"
        );
        let status = connection.send(request.as_bytes())?;
        ensure!(status == 200, "stream: {status}");
        open.push(connection);
    }
    let slow = Memory::read(&fleet)?;
    table += &slow.row(reading, "one more of it, not read", streams.slow);
    let closed = open.iter().filter(|connection| connection.closed()).count();
    ensure!(closed == 0, "{closed} streams were closed meanwhile");
    crate::show(&format!("{table}\nThe edge has {:.1} MB in all.", slow.edge as f64 / 1e6));
    if let Some(file) = &streams.common.json {
        let all = |memory: Memory| serde_json::json!([memory.edge, memory.worker, memory.kernel]);
        let report = serde_json::json!({"idle_streams": streams.idle, "slow_streams": streams.slow,
            "bytes_edge_worker_kernel": {"fresh": all(fresh), "idle": all(idle), "read": all(reading), "slow": all(slow)}});
        fs::write(file, format!("{report:#}\n"))?;
    }
    drop(open);
    Ok(true)
}
