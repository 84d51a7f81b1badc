//! A scripted n8n: says what the visitor's text tells it to, at exact times, in n8n's line format.
//!
//! A thread a connection and blocking sockets: a sleeping thread wakes within some 50 µs, while the timers of an async
//! runtime tick in milliseconds, so that chunks of many replies would come in clumps and be cheaper to relay than real
//! ones.

use std::{
    fmt,
    io::{self, Read as _, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    str::FromStr,
    thread,
    time::Duration,
};

use crate::clock;

/// Small, because thousands of held connections have one each.
const STACK: usize = 128 * 1024;
const MAX_REQUEST: usize = 256 * 1024;

/// What to answer. Its text stands in the visitor's message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Script {
    /// How many chunks.
    pub(crate) chunks: u32,
    /// How long before each but the first. Zero: all at once, in one write.
    pub(crate) pause: Duration,
    /// Stay silent after the last one until the client leaves.
    pub(crate) hold: bool,
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[[{} {} {}]]", self.chunks, self.pause.as_micros(), self.hold)
    }
}

impl FromStr for Script {
    type Err = ();

    /// Finds the script in a text.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (_, script) = text.split_once("[[").ok_or(())?;
        let (script, _) = script.split_once("]]").ok_or(())?;
        let mut words = script.split(' ');
        let mut word = || words.next().ok_or(());
        Ok(Self {
            chunks: word()?.parse().map_err(drop)?,
            pause: Duration::from_micros(word()?.parse().map_err(drop)?),
            hold: word()?.parse().map_err(drop)?,
        })
    }
}

/// Serves until standard input ends, which it also does when whoever started this dies.
pub(crate) fn serve() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut out = io::stdout();
    writeln!(out, "listening on http://{}", listener.local_addr()?)?;
    out.flush()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that leaves is no matter for us: whoever measures sees what is missing. Without a thread the
            // connection is closed, which is seen as well.
            let serve = move || drop(Connection { stream, received: Vec::new() }.serve());
            drop(thread::Builder::new().stack_size(STACK).spawn(serve));
        }
    });
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Connection {
    fn serve(mut self) -> io::Result<()> {
        self.stream.set_nodelay(true)?;
        let mut out = Vec::new();
        while let Some(script) = self.request()? {
            self.answer(script, &mut out)?;
            if script.hold {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The script of the next request; none when the client left.
    fn request(&mut self) -> io::Result<Option<Script>> {
        loop {
            if let Some((script, length)) = parse(&self.received)? {
                self.received.drain(..length);
                return Ok(Some(script));
            }
            if self.received.len() > MAX_REQUEST {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            if self.read()? == 0 {
                return Ok(None);
            }
        }
    }

    fn read(&mut self) -> io::Result<usize> {
        let mut part = [0; 4096];
        let read = self.stream.read(&mut part)?;
        self.received.extend_from_slice(&part[..read]);
        Ok(read)
    }

    fn answer(&mut self, script: Script, out: &mut Vec<u8>) -> io::Result<()> {
        out.clear();
        out.extend_from_slice(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nCache-Control: no-cache\r\n\
              Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n",
        );
        line(out, "begin", None)?;
        let begun = clock::now();
        for index in 0..script.chunks {
            if index > 0 && !script.pause.is_zero() {
                self.stream.write_all(out)?;
                out.clear();
                let pause = u64::try_from(script.pause.as_nanos()).unwrap_or(u64::MAX);
                clock::sleep_until(begun.saturating_add(pause.saturating_mul(index.into())));
            }
            line(out, "item", Some(&Token { index, sent: clock::now() }))?;
        }
        if script.hold {
            self.stream.write_all(out)?;
            while self.read()? > 0 {}
            return Ok(());
        }
        line(out, "end", None)?;
        out.extend_from_slice(b"0\r\n\r\n");
        self.stream.write_all(out)
    }
}

/// What a chunk says: which one it is, and when it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) index: u32,
    pub(crate) sent: u64,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} ", self.index, self.sent)
    }
}

impl FromStr for Token {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        let (index, sent) = word.split_once(':').ok_or(())?;
        Ok(Self { index: index.parse().map_err(drop)?, sent: sent.parse().map_err(drop)? })
    }
}

/// One line of n8n, which is also one chunk of HTTP.
fn line(out: &mut Vec<u8>, kind: &str, content: Option<&Token>) -> io::Result<()> {
    let content = content.map(|token| format!("\"content\":\"{token}\",")).unwrap_or_default();
    let line = format!(
        "{{\"type\":\"{kind}\",{content}\"metadata\":{{\"nodeId\":\"7b1a8c1e-3f0a-4b43-9d3e-6d1f6f1f2a10\",\
         \"nodeName\":\"AI Agent\",\"itemIndex\":0,\"runIndex\":0,\"timestamp\":1767168909000}}}}\n"
    );
    write!(out, "{:x}\r\n{line}\r\n", line.len())
}

/// The script and the length of the request, once all of it is there.
fn parse(received: &[u8]) -> io::Result<Option<(Script, usize)>> {
    let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = str::from_utf8(&received[..end]).map_err(io::Error::other)?;
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok())
        .ok_or_else(|| io::Error::other("a request without Content-Length"))?;
    let length = end + 4 + length;
    let Some(body) = received.get(end + 4..length) else { return Ok(None) };
    let body = str::from_utf8(body).map_err(io::Error::other)?;
    let script = body.parse().map_err(|()| io::Error::other("a request without a script"))?;
    Ok(Some((script, length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_found_in_a_text() {
        let script = Script { chunks: 50, pause: Duration::from_millis(20), hold: true };
        assert_eq!(format!("{{\"chatInput\":\"bench {script}\"}}").parse(), Ok(script));
        assert_eq!("hello".parse::<Script>(), Err(()));
    }

    #[test]
    fn a_request_is_whole_or_awaited() {
        let request = b"POST / HTTP/1.1\r\ncontent-length: 13\r\n\r\n[[2 0 false]]POST";
        let script = Script { chunks: 2, ..Script::default() };
        assert_eq!(parse(request).unwrap(), Some((script, request.len() - 4)));
        assert_eq!(parse(&request[..request.len() - 5]).unwrap(), None);
    }
}
