//! Someone who asks and reads the whole answer, through whichever door.

use std::{net::SocketAddr, sync::atomic::AtomicU64, sync::atomic::Ordering};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use crate::{
    clock::{self, Stop},
    http::Connection,
    upstream::{Script, Then, Token},
};

pub(crate) const FINGERPRINT: &str = "bench-visitor-0000000001";

/// Where a visitor comes in.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Door {
    /// The upstream's own protocol, at the upstream or through a proxy.
    Plain(SocketAddr),
    /// Frontdesk's edge.
    Frontdesk(SocketAddr),
}

impl Door {
    fn address(self) -> SocketAddr {
        let (Self::Plain(address) | Self::Frontdesk(address)) = self;
        address
    }
}

/// A visitor on one keep-alive connection.
pub(crate) struct Visitor {
    door: Door,
    connection: Connection,
    session: Option<Session>,
}

struct Session {
    token: String,
    stream_url: String,
}

/// When the visitor asked, and each chunk on its way: written by the upstream, read by the visitor.
pub(crate) struct Reply {
    pub(crate) asked: u64,
    pub(crate) chunks: Vec<Times>,
}

#[derive(Clone, Copy)]
pub(crate) struct Times {
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

impl Visitor {
    /// Connects, and has a session where there are sessions.
    pub(crate) fn arrive(door: Door, stop: &Stop) -> anyhow::Result<Self> {
        let connection = Connection::open(door.address(), stop)?;
        let mut visitor = Self { door, connection, session: None };
        visitor.renew()?;
        Ok(visitor)
    }

    /// A new session on the same connection.
    pub(crate) fn renew(&mut self) -> anyhow::Result<()> {
        if matches!(self.door, Door::Plain(_)) {
            return Ok(());
        }
        let body = format!("{{\"fingerprint\":\"{FINGERPRINT}\"}}");
        let request = post("/api/v1/session/create", "", "application/json", &body);
        let status = self.connection.send(request.as_bytes())?;
        let body = self.connection.rest()?;
        ensure!(status == 200, "session create: {status} {}", String::from_utf8_lossy(&body));
        let body: Value = serde_json::from_slice(&body)?;
        let text = |name: &str| body[name].as_str().map(str::to_owned).with_context(|| format!("no {name}"));
        self.session = Some(Session { token: text("token")?, stream_url: text("stream_url")? });
        Ok(())
    }

    /// Asks, and reads to the end. Fails unless every chunk comes once and in order, and the end after them.
    pub(crate) fn ask(&mut self, script: Script) -> anyhow::Result<Reply> {
        let request = self.question(script);
        let mut hearing = Hearing { asked_for: script.chunks, ..Hearing::default() };
        hearing.chunks.reserve(script.chunks as usize);
        let asked = clock::now();
        let status = self.connection.send(request.as_bytes())?;
        if status != 200 {
            bail!("{status} {}", String::from_utf8_lossy(&self.connection.rest()?));
        }
        let mut text = Vec::new();
        while let Some(received) = self.connection.part(&mut text)? {
            let whole = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
            for line in str::from_utf8(&text[..whole])?.lines() {
                match self.door {
                    Door::Plain(_) => hearing.line(line, received)?,
                    Door::Frontdesk(_) => hearing.field(line, received)?,
                }
            }
            text.drain(..whole);
        }
        ensure!(hearing.ended, "the reply stopped after {} chunks without an end", hearing.chunks.len());
        Ok(Reply { asked, chunks: hearing.chunks })
    }

    /// The header lines that prove who asks, and where the session's stream is.
    pub(crate) fn credentials(&self) -> Option<(String, String)> {
        let session = self.session.as_ref()?;
        let proof = format!("Authorization: Bearer {}\r\nX-Fingerprint: {FINGERPRINT}\r\n", session.token);
        Some((proof, session.stream_url.clone()))
    }

    /// The connection alone.
    pub(crate) fn into_connection(self) -> Connection {
        self.connection
    }

    /// Becomes an open stream on which nothing happens.
    pub(crate) fn listen(mut self) -> anyhow::Result<Connection> {
        let request = match &self.session {
            // A reply that goes on and is silent is what a proxy without sessions can hold.
            None => self.question(Script { chunks: 1, then: Then::Hold, ..Script::default() }),
            Some(session) => format!(
                "GET {} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nX-Fingerprint: {FINGERPRINT}\r\n\
                 Accept: text/event-stream\r\n\r\n",
                session.stream_url, session.token
            ),
        };
        let status = self.connection.send(request.as_bytes())?;
        ensure!(status == 200, "stream: {status} {}", String::from_utf8_lossy(&self.connection.rest()?));
        self.connection.part(&mut Vec::new())?;
        Ok(self.connection)
    }

    fn question(&self, script: Script) -> String {
        static ASKED: AtomicU64 = AtomicU64::new(0);
        match &self.session {
            None => {
                let body =
                    format!("{{\"action\":\"sendMessage\",\"chatInput\":\"bench {script}\",\"sessionId\":\"bench\"}}");
                post("/webhook/bench", "", "text/plain", &body)
            }
            Some(session) => {
                let id = ASKED.fetch_add(1, Ordering::Relaxed);
                let body = format!("{{\"message\":\"bench {script}\",\"message_id\":\"bench-{id:08}\"}}");
                let proof = format!("Authorization: Bearer {}\r\nX-Fingerprint: {FINGERPRINT}\r\n", session.token);
                post("/api/v1/chat/message", &proof, "text/event-stream", &body)
            }
        }
    }
}

/// A POST in one piece; `headers` are whole lines.
pub(crate) fn post(path: &str, headers: &str, accept: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Accept: {accept}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Follows one reply and is strict about it.
#[derive(Default)]
struct Hearing {
    asked_for: u32,
    chunks: Vec<Times>,
    /// Chunk events of Frontdesk, which may carry several of the upstream's chunks.
    events: u32,
    event: String,
    ended: bool,
}

impl Hearing {
    /// A line of n8n.
    fn line(&mut self, line: &str, received: u64) -> anyhow::Result<()> {
        if line.starts_with("{\"type\":\"item\"") {
            self.content(line, received)?;
        } else if line.starts_with("{\"type\":\"end\"") {
            self.end()?;
        }
        Ok(())
    }

    /// A line of an event stream.
    fn field(&mut self, line: &str, received: u64) -> anyhow::Result<()> {
        let Some((name, value)) = line.split_once(':') else { return Ok(()) };
        let value = value.strip_prefix(' ').unwrap_or(value);
        match (name, self.event.as_str()) {
            ("event", _) => {
                self.event.clear();
                self.event.push_str(value);
            }
            ("data", "chunk") => {
                let index = number(value, "\"index\":").context("a chunk without index")?;
                ensure!(index == self.events, "chunk {index} came where {} was due", self.events);
                self.events += 1;
                self.content(value, received)?;
            }
            ("data", "end") => {
                let chunks = number(value, "\"chunks\":").context("an end without chunks")?;
                ensure!(chunks == self.events, "the end counts {chunks} chunks, {} came", self.events);
                self.end()?;
            }
            ("data", "failed" | "gap") => bail!("{}: {value}", self.event),
            _ => {}
        }
        Ok(())
    }

    /// Tokens as the upstream wrote them. No JSON is decoded: they hold nothing that is escaped.
    fn content(&mut self, json: &str, received: u64) -> anyhow::Result<()> {
        let (_, content) = json.split_once("\"content\":\"").context("a chunk without content")?;
        let (content, _) = content.split_once('"').context("a chunk that is cut")?;
        for word in content.split_whitespace() {
            let Ok(Token { index, sent }) = word.parse() else { bail!("{word:?} was never sent") };
            ensure!(!self.ended, "chunk {index} came after the end");
            ensure!(index as usize == self.chunks.len(), "token {index} came where {} was due", self.chunks.len());
            self.chunks.push(Times { sent, received });
        }
        Ok(())
    }

    fn end(&mut self) -> anyhow::Result<()> {
        ensure!(!self.ended, "a second end");
        ensure!(self.chunks.len() == self.asked_for as usize, "the end after {} chunks", self.chunks.len());
        self.ended = true;
        Ok(())
    }
}

/// The number after `name`.
fn number(json: &str, name: &str) -> Option<u32> {
    let (_, rest) = json.split_once(name)?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(asked_for: u32, wire: &str) -> anyhow::Result<Hearing> {
        let mut hearing = Hearing { asked_for, ..Hearing::default() };
        for line in wire.lines() {
            hearing.field(line, 9)?;
        }
        Ok(hearing)
    }

    #[test]
    fn a_whole_reply_is_heard() {
        let wire = "event: begin\ndata: {}\n\nid: m:0\nevent: chunk\ndata: {\"index\":0,\"content\":\"0:7 1:8 \"}\n\n\
                    event: end\ndata: {\"chunks\":1}\n\n";
        let hearing = hear(2, wire).unwrap();
        assert!(hearing.ended);
        assert_eq!(hearing.chunks.iter().map(|times| times.sent).collect::<Vec<_>>(), [7, 8]);
    }

    #[test]
    fn a_hole_a_repeat_and_a_failure_are_errors() {
        let first = "event: chunk\ndata: {\"index\":0,\"content\":\"0:7 \"}\n\n";
        for wrong in [
            "event: chunk\ndata: {\"index\":2,\"content\":\"1:8 \"}\n\n",
            "event: chunk\ndata: {\"index\":1,\"content\":\"2:8 \"}\n\n",
            first,
            "event: end\ndata: {\"chunks\":1}\n\n",
            "event: failed\ndata: {\"code\":\"interrupted\"}\n\n",
        ] {
            assert!(hear(2, &format!("{first}{wrong}")).is_err(), "{wrong}");
        }
    }
}
