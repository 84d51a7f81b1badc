//! A visitor who comes through: says something, and holds on to it over as many connections and edges as it takes.
//!
//! As the widget does: the same `message_id` until an edge has taken the message, then the stream of that reply from the
//! last event seen. Pauses are shorter than the widget's, so that more happens in a run. What comes is checked on the
//! spot, each chunk once and in order.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::{
    clock::Stop,
    dice::Dice,
    http::Connection,
    ledger::{Account, End},
    upstream::{Marked, Script},
    visitor::{FINGERPRINT, post},
};

/// A stream carries a heartbeat every two seconds here; one that is silent for longer is at a dead or frozen edge.
pub(crate) const HEARTBEAT: &str = "2s";
const PATIENCE: Duration = Duration::from_secs(6);
/// Between tries: doubled from the first to the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// After a `gap` a reply that the edge hears of only late is heard of within this time, as in the widget.
const UNKNOWN: Duration = Duration::from_secs(3);

/// One conversation, at whichever edge answers.
pub(crate) struct Regular<'a> {
    edges: &'a [SocketAddr],
    at: usize,
    connection: Option<Connection>,
    session: Session,
    dice: Dice,
    stop: &'a Stop,
    /// When the run began, for the accounts.
    begun: Instant,
}

#[derive(Default)]
struct Session {
    id: String,
    token: String,
}

/// Why a try brought no end.
enum Lost {
    /// The connection, or the whole edge.
    Line(anyhow::Error),
    /// The edge said no.
    Refused { status: u16, code: String, wait: Option<Duration> },
}

impl From<anyhow::Error> for Lost {
    fn from(error: anyhow::Error) -> Self {
        Self::Line(error)
    }
}

impl<'a> Regular<'a> {
    pub(crate) fn new(edges: &'a [SocketAddr], dice: Dice, stop: &'a Stop, begun: Instant) -> Self {
        let mut dice = dice;
        Self { edges, at: dice.below(edges.len()), connection: None, session: Session::default(), dice, stop, begun }
    }

    /// Begins a conversation, however often that has to be tried until `give_up`.
    pub(crate) fn arrive(&mut self, give_up: Instant) -> anyhow::Result<()> {
        let mut tries = 0;
        loop {
            let error = match self.create() {
                Ok(session) => {
                    self.session = session;
                    return Ok(());
                }
                Err(error) => error,
            };
            self.stop.check()?;
            ensure!(Instant::now() < give_up, "no session: {error:#}");
            self.move_on(tries, None);
            tries += 1;
        }
    }

    fn create(&mut self) -> anyhow::Result<Session> {
        let body = format!("{{\"fingerprint\":\"{FINGERPRINT}\"}}");
        let connection = self.connection()?;
        let status = connection.send(post("/api/v1/session/create", "", "application/json", &body).as_bytes())?;
        let body = connection.rest()?;
        ensure!(status == 200, "session create: {status} {}", String::from_utf8_lossy(&body));
        let body: Value = serde_json::from_slice(&body)?;
        let text = |name: &str| body[name].as_str().map(str::to_owned).with_context(|| format!("no {name}"));
        Ok(Session { id: text("session_id")?, token: text("token")? })
    }

    /// Says something and holds on until the reply has its end, or `bound` is over. Who was not told within it whether
    /// the message was taken asks for as long again.
    pub(crate) fn ask(&mut self, message_id: String, script: Script, bound: Duration) -> anyhow::Result<Account> {
        let mut account = Account::new(message_id, script, self.begun);
        let (since, mut accepted_at, mut tries) = (Instant::now(), None, 0);
        loop {
            self.stop.check()?;
            let lost = match self.follow(&mut account, &mut accepted_at) {
                Ok(()) => {
                    account.took = accepted_at.unwrap_or(since).elapsed();
                    return Ok(account);
                }
                Err(lost) => lost,
            };
            let wait = match lost {
                Lost::Line(error) => {
                    account.note(&format!("lost the line at edge {}: {error:#}", self.at + 1));
                    None
                }
                Lost::Refused { status, code, wait } => {
                    account.note(&format!("edge {} said {status} {code}", self.at + 1));
                    account.refusals += 1;
                    // What will not change: only an edge that can't, or a session whose last reply is just ending.
                    if !matches!(status, 409 | 429 | 500..) {
                        account.end = Some(End::Refused(code));
                        return Ok(account);
                    }
                    wait
                }
            };
            let limit = if accepted_at.is_some() { bound } else { bound * 2 };
            if accepted_at.unwrap_or(since).elapsed() > limit {
                account.took = accepted_at.unwrap_or(since).elapsed();
                return Ok(account);
            }
            self.move_on(tries, wait);
            tries += 1;
        }
    }

    /// The same message once more, as a page that was reloaded in the middle would. It never runs again.
    pub(crate) fn hear_again(&mut self, first: &Account, bound: Duration) -> anyhow::Result<Account> {
        self.at = self.dice.below(self.edges.len());
        self.connection = None;
        self.ask(first.message_id.clone(), first.script, bound)
    }

    /// One connection's part of a reply.
    fn follow(&mut self, account: &mut Account, accepted_at: &mut Option<Instant>) -> Result<(), Lost> {
        let Session { id, token } = &self.session;
        let proof = format!("Authorization: Bearer {token}\r\nX-Fingerprint: {FINGERPRINT}\r\n");
        let message_id = &account.message_id;
        let request = if accepted_at.is_some() {
            let last = account.last_id.as_ref().map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
            format!(
                "GET /api/v1/chat/stream/{id}?message_id={message_id} HTTP/1.1\r\nHost: localhost\r\n{proof}{last}Accept: \
                 text/event-stream\r\n\r\n",
            )
        } else {
            let body = format!("{{\"message\":\"{message_id} {}\",\"message_id\":\"{message_id}\"}}", account.script);
            post("/api/v1/chat/message", &proof, "text/event-stream", &body)
        };
        let connection = self.connection()?;
        let status = connection.send(request.as_bytes())?;
        if status != 200 {
            let said: Value = serde_json::from_slice(&connection.rest()?).unwrap_or_default();
            let code = said["code"].as_str().unwrap_or("none").to_owned();
            return Err(Lost::Refused { status, code, wait: said["retry_after"].as_u64().map(Duration::from_secs) });
        }
        if accepted_at.is_none() {
            *accepted_at = Some(Instant::now());
            account.accepted = true;
            account.note(&format!("accepted by edge {}", self.at + 1));
        } else {
            account.resumes += 1;
        }
        let mut events = Events::default();
        let mut unknown = None;
        let connection = self.connection.as_mut().context("no connection")?;
        loop {
            for event in events.by_ref() {
                if event.name == "gap" {
                    account.gaps += 1;
                    account.note("gap");
                    unknown = Some(Instant::now());
                } else if event.data["message_id"] == account.message_id.as_str() {
                    unknown = None;
                    account.hear(&event);
                }
                if account.end.is_some() {
                    // A stream of the session goes on after it, and a reply's own is read to its last byte.
                    self.connection = None;
                    return Ok(());
                }
            }
            if unknown.is_some_and(|since| since.elapsed() > UNKNOWN) {
                return Err(Lost::Line(anyhow::anyhow!("the edge does not know the reply")));
            }
            if connection.part(&mut events.received)?.is_none() {
                return Err(Lost::Line(anyhow::anyhow!("the stream ended")));
            }
        }
    }

    fn connection(&mut self) -> anyhow::Result<&mut Connection> {
        if self.connection.is_none() {
            let edge = self.edges.get(self.at).context("no such edge")?;
            self.connection = Some(Connection::open(*edge, self.stop)?.with_patience(PATIENCE));
        }
        self.connection.as_mut().context("just opened")
    }

    /// To the next edge, after a pause.
    fn move_on(&mut self, tries: u32, wait: Option<Duration>) {
        self.connection = None;
        self.at = (self.at + 1) % self.edges.len();
        let pause = wait.unwrap_or(PAUSES.0 * 2_u32.saturating_pow(tries.min(10))).min(PAUSES.1);
        std::thread::sleep(self.dice.between(pause.mul_f64(0.6), pause));
    }
}

/// One event of a stream.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) id: Option<String>,
    pub(crate) data: Value,
}

/// Takes events out of what came.
#[derive(Default)]
struct Events {
    received: Vec<u8>,
}

impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        loop {
            let end = self.received.windows(2).position(|two| two == b"\n\n")?;
            let block = String::from_utf8_lossy(&self.received[..end]).into_owned();
            self.received.drain(..end + 2);
            let field = |wanted: &str| {
                let mut fields = block.lines().filter_map(|line| line.split_once(": "));
                fields.find(|(name, _)| *name == wanted).map(|(_, value)| value.to_owned())
            };
            // Heartbeats and `retry` are no events.
            if let (Some(name), Some(data)) = (field("event"), field("data")) {
                return Some(Event { name, id: field("id"), data: serde_json::from_str(&data).unwrap_or_default() });
            }
        }
    }
}

/// The chunks that are in a text, as they were written upstream; an error tells of anything else in it.
pub(crate) fn marks(text: &str, message_id: &str, next: u32) -> Result<u32, String> {
    let mut next = next;
    for word in text.split_whitespace() {
        let expected = Marked { message_id, index: next }.to_string();
        if word != expected.trim_end() {
            return Err(format!("heard {word:?} where {:?} was due", expected.trim_end()));
        }
        next += 1;
    }
    Ok(next)
}
