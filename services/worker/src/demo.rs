//! A stand-in for n8n on a loopback port: it speaks n8n's line format over real HTTP.
//!
//! - [`Demo::friendly`] is the upstream of the all-in-one mode: it explains Frontdesk to whoever tries it. It keeps
//!   nothing
//!   of what visitors say.
//! - [`Demo::scripted`] is for tests and benches: each request gets the next [`Script`], or one by a word in the
//!   visitor's
//!   text, or does what `[[markers]]` in the text say. It remembers the requests.
//!
//! Everything happens at once or when a test opens a [`Gate`]; nothing has to be slept for.

mod answers;
mod markers;
mod script;
mod server;

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::http::{HeaderMap, Uri};
use bytes::Bytes;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;

pub use script::{Gate, Script};

/// Requests remembered at most; the oldest go first.
const REMEMBERED: usize = 1000;

/// The path of the one webhook; any other works too.
const PATH: &str = "/webhook/demo";

/// A running stand-in. Dropping it stops it.
#[derive(Debug)]
pub struct Demo {
    url: Url,
    shared: Arc<Shared>,
    tasks: TaskTracker,
}

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Path and query.
    pub uri: Uri,
    /// All headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Seen {
    /// The body as JSON; null when it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// How often something happened, for those who wait for it.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    asked: u64,
    left: u64,
}

#[derive(Debug)]
struct Shared {
    scripted: bool,
    stop: CancellationToken,
    counts: watch::Sender<Counts>,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    seen: VecDeque<Seen>,
    next: VecDeque<Script>,
    by_word: Vec<(String, Script)>,
}

impl Demo {
    /// Starts the friendly one. Port 0 means any free one.
    pub async fn friendly(addr: SocketAddr) -> io::Result<Self> {
        Self::start(addr, false).await
    }

    /// Starts the scripted one. Port 0 means any free one.
    ///
    /// A request that no script is for does what markers in its text say:
    ///
    /// | marker | answer |
    /// | --- | --- |
    /// | `[[n=20]]` | so many tokens, `tok1 tok2 ..` (3 without) |
    /// | `[[delay=50]]` | so many milliseconds before each |
    /// | `[[size=200000]]` | one token of so many characters instead |
    /// | `[[die=3]]`, `[[reset=3]]`, `[[hang=3]]` | so many tokens, then cut, reset, or silent for ever |
    /// | `[[error=3]]` | so many tokens, then an `error` line and the end |
    /// | `[[error]]` | an `error` line and nothing else |
    /// | `[[status=500]]` | that status, with n8n's JSON error |
    /// | `[[json]]`, `[[html]]`, `[[starting]]`, `[[empty]]` | JSON, a proxy's page, n8n's start page, no body |
    pub async fn scripted(addr: SocketAddr) -> io::Result<Self> {
        Self::start(addr, true).await
    }

    async fn start(addr: SocketAddr, scripted: bool) -> io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        let url = format!("http://{}{PATH}", listener.local_addr()?);
        let url = Url::parse(&url).map_err(io::Error::other)?;
        let shared = Arc::new(Shared {
            scripted,
            stop: CancellationToken::new(),
            counts: watch::Sender::default(),
            memory: Mutex::default(),
        });
        let tasks = TaskTracker::new();
        tasks.spawn(server::serve(listener, shared.clone()));
        Ok(Self { url, shared, tasks })
    }

    /// What to set `N8N_WEBHOOK_URL` to.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// How many requests came: how many runs of the workflow there would have been.
    pub fn asked(&self) -> u64 {
        self.shared.counts.borrow().asked
    }

    /// Waits until that many requests came.
    pub async fn asked_at_least(&self, requests: u64) {
        // The sender is ours, so this can't fail.
        let _ = self.shared.counts.subscribe().wait_for(|counts| counts.asked >= requests).await;
    }

    /// Waits until that many clients closed their connection in the middle of an answer.
    pub async fn left_at_least(&self, clients: u64) {
        let _ = self.shared.counts.subscribe().wait_for(|counts| counts.left >= clients).await;
    }

    /// The requests, oldest first (the last 1,000; none when friendly).
    pub fn requests(&self) -> Vec<Seen> {
        self.shared.memory().seen.iter().cloned().collect()
    }

    /// Answers the next request that no other script is for.
    pub fn will(&self, script: Script) -> &Self {
        self.shared.memory().next.push_back(script);
        self
    }

    /// Answers every request whose `chatInput` has this word.
    pub fn when(&self, word: &str, script: Script) -> &Self {
        self.shared.memory().by_word.push((word.to_owned(), script));
        self
    }

    /// Closes the port and cuts all answers, then waits until that is done.
    pub async fn stop(&self) {
        self.shared.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

impl Shared {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        // Nothing in it can be half done: each use is one push, pop or clone.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers the request and decides what it gets.
    fn answer(&self, seen: Seen) -> Script {
        let body = seen.json();
        let text = body.get("chatInput").and_then(serde_json::Value::as_str).unwrap_or_default();
        let script = if self.scripted {
            let mut memory = self.memory();
            while memory.seen.len() >= REMEMBERED {
                memory.seen.pop_front();
            }
            memory.seen.push_back(seen);
            let by_word = memory.by_word.iter().find(|(word, _)| text.contains(word.as_str()));
            let by_word = by_word.map(|(_, script)| script.clone());
            by_word.or_else(|| memory.next.pop_front()).unwrap_or_else(|| markers::script(text))
        } else {
            answers::friendly(text)
        };
        // Last, so that who waited for it finds the request.
        self.counts.send_modify(|counts| counts.asked += 1);
        script
    }
}
