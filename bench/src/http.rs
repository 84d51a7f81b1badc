//! As much of an HTTP client as measuring needs, so that the measured side costs more than ours.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};

use crate::clock::{self, Stop};

/// How often a waiting read looks whether the run should end.
const LOOK: Duration = Duration::from_millis(200);
/// Longer silence is an error. Heartbeats come every 15 s.
const PATIENCE: Duration = Duration::from_secs(20);

/// One keep-alive connection.
pub(crate) struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    /// When the newest of `received` was read.
    read_at: u64,
    body: Body,
    patience: Duration,
    stop: Stop,
}

/// What is still to come of a response's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    /// So many bytes.
    Sized(usize),
    /// The size of a chunk.
    ChunkSize,
    /// So many bytes of a chunk, then its line end.
    Chunk(usize),
    Over,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr, stop: &Stop) -> anyhow::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).context("can't connect")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LOOK))?;
        let (received, stop) = (Vec::new(), stop.clone());
        Ok(Self { stream, received, read_at: 0, body: Body::Over, patience: PATIENCE, stop })
    }

    /// Another silence than the usual one is an error.
    pub(crate) fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The socket.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends a request in one write and reads the status of its response.
    pub(crate) fn send(&mut self, request: &[u8]) -> anyhow::Result<u16> {
        self.stream.write_all(request)?;
        let end = loop {
            if let Some(end) = self.received.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
            self.read()?;
        };
        let head = str::from_utf8(&self.received[..end])?;
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("no status")?.parse()?;
        self.body = Body::Sized(0);
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            if name.eq_ignore_ascii_case("content-length") {
                self.body = Body::Sized(value.trim().parse()?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                self.body = Body::ChunkSize;
            }
        }
        self.received.drain(..end + 4);
        Ok(status)
    }

    /// Appends the next part of the body to `out`, and says when it was read; none at the end.
    pub(crate) fn part(&mut self, out: &mut Vec<u8>) -> anyhow::Result<Option<u64>> {
        let before = out.len();
        loop {
            let used = self.body.take(&self.received, out)?;
            self.received.drain(..used);
            if out.len() > before {
                return Ok(Some(self.read_at));
            }
            if self.body == Body::Over || self.body == Body::Sized(0) {
                return Ok(None);
            }
            self.read()?;
        }
    }

    /// All of the body.
    pub(crate) fn rest(&mut self) -> anyhow::Result<Vec<u8>> {
        let mut body = Vec::new();
        while self.part(&mut body)?.is_some() {}
        Ok(body)
    }

    /// Whether the server has closed it.
    pub(crate) fn closed(&self) -> bool {
        let open = self.stream.set_nonblocking(true).and_then(|()| self.stream.peek(&mut [0]));
        match open {
            Ok(bytes) => bytes == 0,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        }
    }

    fn read(&mut self) -> anyhow::Result<()> {
        let since = clock::now();
        let mut part = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut part) {
                Ok(0) => bail!("the connection was closed in the middle"),
                Ok(read) => {
                    self.read_at = clock::now();
                    self.received.extend_from_slice(&part[..read]);
                    return Ok(());
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    self.stop.check()?;
                    let silent = Duration::from_nanos(clock::now() - since);
                    ensure!(silent < self.patience, "silent for too long");
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Body {
    /// Moves what `received` holds of the body to `out`; says how much was used.
    fn take(&mut self, received: &[u8], out: &mut Vec<u8>) -> anyhow::Result<usize> {
        let mut used = 0;
        loop {
            let rest = &received[used..];
            match *self {
                Self::Sized(left) => {
                    let now = left.min(rest.len());
                    out.extend_from_slice(&rest[..now]);
                    *self = Self::Sized(left - now);
                    return Ok(used + now);
                }
                Self::ChunkSize => {
                    let Some(end) = rest.windows(2).position(|two| two == b"\r\n") else { return Ok(used) };
                    let size = usize::from_str_radix(str::from_utf8(&rest[..end])?, 16).context("no chunk size")?;
                    if size > 0 {
                        used += end + 2;
                        *self = Self::Chunk(size);
                    } else if rest.len() >= end + 4 {
                        *self = Self::Over;
                        return Ok(used + end + 4);
                    } else {
                        return Ok(used);
                    }
                }
                Self::Chunk(0) => {
                    if rest.len() < 2 {
                        return Ok(used);
                    }
                    used += 2;
                    *self = Self::ChunkSize;
                }
                Self::Chunk(left) => {
                    let now = left.min(rest.len());
                    if now == 0 {
                        return Ok(used);
                    }
                    out.extend_from_slice(&rest[..now]);
                    used += now;
                    *self = Self::Chunk(left - now);
                }
                Self::Over => return Ok(used),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However the network cuts it, the same body comes out, and nothing of the next response is touched.
    #[test]
    fn chunks_are_put_together() {
        let wire = b"5\r\nhello\r\n10\r\n, chunked world!\r\n0\r\n\r\nHTTP";
        for step in 1..wire.len() {
            let (mut body, mut out, mut held, mut rest) = (Body::ChunkSize, Vec::new(), Vec::new(), &wire[..]);
            while !rest.is_empty() {
                let (now, later) = rest.split_at(step.min(rest.len()));
                held.extend_from_slice(now);
                rest = later;
                let used = body.take(&held, &mut out).unwrap();
                held.drain(..used);
            }
            assert_eq!(
                (body, out.as_slice(), held.as_slice()),
                (Body::Over, &b"hello, chunked world!"[..], &b"HTTP"[..])
            );
        }
    }
}
