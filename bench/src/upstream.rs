//! A scripted n8n: says what the visitor's text tells it to, at exact times, in n8n's line format.
//!
//! A thread a connection and blocking sockets: a sleeping thread wakes within some 50 µs, while the timers of an async
//! runtime tick in milliseconds, so that chunks of many replies would come in clumps and be cheaper to relay than real
//! ones.

use std::{
    collections::HashMap,
    fmt,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::{self, Read as _, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard},
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
    /// After the last one.
    pub(crate) then: Then,
}

/// What comes after the last chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Then {
    /// The end, as it should be.
    #[default]
    End,
    /// Nothing, until the client leaves.
    Hold,
    /// The connection is closed in the middle of the body, as a killed n8n does.
    Cut,
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let then = match self.then {
            Then::End => "end",
            Then::Hold => "hold",
            Then::Cut => "cut",
        };
        write!(f, "[[{} {} {then}]]", self.chunks, self.pause.as_micros())
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
            then: match word()? {
                "end" => Then::End,
                "hold" => Then::Hold,
                "cut" => Then::Cut,
                _ => return Err(()),
            },
        })
    }
}

/// Serves until standard input ends, which it also does when whoever started this dies.
pub(crate) fn serve() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut out = io::stdout();
    writeln!(out, "listening on http://{}", listener.local_addr()?)?;
    out.flush()?;
    thread::spawn(move || accept(&listener, None));
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

fn accept(listener: &TcpListener, book: Option<&Book>) {
    for stream in listener.incoming().flatten() {
        let book = book.cloned();
        // A client that leaves is no matter for us: whoever measures sees what is missing. Without a thread the
        // connection is closed, which is seen as well.
        let serve = move || drop(Connection { stream, received: Vec::new(), book }.serve());
        drop(thread::Builder::new().stack_size(STACK).spawn(serve));
    }
}

/// What an upstream in this process was asked and what it said, by message. Its chunks say whose they are and which,
/// not when they were sent.
#[derive(Clone, Default)]
pub(crate) struct Book(Arc<Mutex<Entries>>);

#[derive(Default)]
struct Entries {
    open: HashMap<String, Vec<Run>>,
    /// Messages whose visitor has the end, and whether a first call may still come. By a hash: a long run grows by a few
    /// bytes for each.
    closed: HashMap<u64, bool>,
    late: Late,
}

/// Calls for messages whose visitor had the end already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Late {
    /// The only call for an interrupted message: its worker was frozen when it was about to make it.
    pub(crate) first: u64,
    /// A second call, or one for a message whose visitor was told that it did not run.
    pub(crate) wrong: u64,
    /// Messages of the wrong ones, the first few.
    pub(crate) whose: Vec<String>,
}

/// How many [`Late::whose`] are kept.
const WHOSE: usize = 20;

/// One run of the workflow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Run {
    /// Chunks that were written.
    pub(crate) sent: u32,
    /// Whether everything of the script was.
    pub(crate) finished: bool,
}

impl Book {
    /// Serves from threads of this process, for as long as it lives.
    pub(crate) fn serve() -> io::Result<(Self, SocketAddr)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let (book, address) = (Self::default(), listener.local_addr()?);
        let served = book.clone();
        thread::spawn(move || accept(&listener, Some(&served)));
        Ok((book, address))
    }

    /// Closes a message that is over: its runs, oldest first. What is called for it from now on is late; one call is no
    /// fault where `may_run`, if there was none before.
    pub(crate) fn close(&self, message_id: &str, may_run: bool) -> Vec<Run> {
        let mut entries = self.lock();
        let runs = entries.open.remove(message_id).unwrap_or_default();
        entries.closed.insert(hash(message_id), may_run && runs.is_empty());
        runs
    }

    /// The late calls so far.
    pub(crate) fn late(&self) -> Late {
        self.lock().late.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().expect("nothing panics while holding it")
    }

    pub(crate) fn begin(&self, message_id: &str) -> usize {
        let mut entries = self.lock();
        let Entries { open, closed, late } = &mut *entries;
        match closed.get_mut(&hash(message_id)) {
            None => {
                let runs = open.entry(message_id.to_owned()).or_default();
                runs.push(Run::default());
                return runs.len() - 1;
            }
            Some(may_run) if *may_run => {
                *may_run = false;
                late.first += 1;
            }
            Some(_) => {
                late.wrong += 1;
                if late.whose.len() < WHOSE {
                    late.whose.push(message_id.to_owned());
                }
            }
        }
        0
    }

    /// Of a late run nothing is noted.
    fn note(&self, message_id: &str, run: usize, sent: u32, finished: bool) {
        if let Some(run) = self.lock().open.get_mut(message_id).and_then(|runs| runs.get_mut(run)) {
            *run = Run { sent, finished };
        }
    }
}

fn hash(message_id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    message_id.hash(&mut hasher);
    hasher.finish()
}

struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    book: Option<Book>,
}

/// One request.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    script: Script,
    /// `Idempotency-Key`, empty for who sends none.
    message_id: String,
}

impl Connection {
    fn serve(mut self) -> io::Result<()> {
        self.stream.set_nodelay(true)?;
        let mut out = Vec::new();
        while let Some(asked) = self.request()? {
            let run = self.book.as_ref().map_or(0, |book| book.begin(&asked.message_id));
            self.answer(&asked, run, &mut out)?;
            if asked.script.then != Then::End {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The next request; none when the client left.
    fn request(&mut self) -> io::Result<Option<Asked>> {
        loop {
            if let Some((asked, length)) = parse(&self.received)? {
                self.received.drain(..length);
                return Ok(Some(asked));
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

    fn answer(&mut self, asked: &Asked, run: usize, out: &mut Vec<u8>) -> io::Result<()> {
        let script = asked.script;
        out.clear();
        out.extend_from_slice(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nCache-Control: no-cache\r\n\
              Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n",
        );
        line(out, "begin", None)?;
        let begun = clock::now();
        for index in 0..script.chunks {
            if index > 0 && !script.pause.is_zero() {
                self.write(asked, run, index, false, out)?;
                let pause = u64::try_from(script.pause.as_nanos()).unwrap_or(u64::MAX);
                clock::sleep_until(begun.saturating_add(pause.saturating_mul(index.into())));
            }
            match &self.book {
                None => line(out, "item", Some(&Token { index, sent: clock::now() }))?,
                Some(_) => line(out, "item", Some(&Marked { message_id: &asked.message_id, index }))?,
            }
        }
        if script.then == Then::End {
            line(out, "end", None)?;
            out.extend_from_slice(b"0\r\n\r\n");
        }
        self.write(asked, run, script.chunks, true, out)?;
        if script.then == Then::Hold {
            while self.read()? > 0 {}
        }
        Ok(())
    }

    /// Writes what has gathered. What was said is known before the client can have read it.
    fn write(&mut self, asked: &Asked, run: usize, sent: u32, finished: bool, out: &mut Vec<u8>) -> io::Result<()> {
        if let Some(book) = &self.book {
            book.note(&asked.message_id, run, sent, finished);
        }
        self.stream.write_all(out)?;
        out.clear();
        Ok(())
    }
}

/// What a chunk says where a [`Book`] is kept: whose it is, and which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marked<'a> {
    pub(crate) message_id: &'a str,
    pub(crate) index: u32,
}

impl fmt::Display for Marked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} ", self.message_id, self.index)
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
fn line(out: &mut Vec<u8>, kind: &str, content: Option<&dyn fmt::Display>) -> io::Result<()> {
    let content = content.map(|token| format!("\"content\":\"{token}\",")).unwrap_or_default();
    let line = format!(
        "{{\"type\":\"{kind}\",{content}\"metadata\":{{\"nodeId\":\"7b1a8c1e-3f0a-4b43-9d3e-6d1f6f1f2a10\",\
         \"nodeName\":\"AI Agent\",\"itemIndex\":0,\"runIndex\":0,\"timestamp\":1767168909000}}}}\n"
    );
    write!(out, "{:x}\r\n{line}\r\n", line.len())
}

/// A request and its length, once all of it is there.
fn parse(received: &[u8]) -> io::Result<Option<(Asked, usize)>> {
    let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = str::from_utf8(&received[..end]).map_err(io::Error::other)?;
    let header = |wanted: &str| {
        let mut headers = head.lines().filter_map(|line| line.split_once(':'));
        headers.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
    };
    let length = header("content-length")
        .and_then(|value| value.parse::<usize>().ok())
        .ok_or_else(|| io::Error::other("a request without Content-Length"))?;
    let length = end + 4 + length;
    let Some(body) = received.get(end + 4..length) else { return Ok(None) };
    let body = str::from_utf8(body).map_err(io::Error::other)?;
    let script = body.parse().map_err(|()| io::Error::other("a request without a script"))?;
    Ok(Some((Asked { script, message_id: header("idempotency-key").unwrap_or_default().to_owned() }, length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_found_in_a_text() {
        let script = Script { chunks: 50, pause: Duration::from_millis(20), then: Then::Hold };
        assert_eq!(format!("{{\"chatInput\":\"bench {script}\"}}").parse(), Ok(script));
        assert_eq!("hello".parse::<Script>(), Err(()));
    }

    #[test]
    fn a_call_after_the_end_is_late() {
        let check = |before: usize, may_run: bool, after: usize, (first, wrong): (u64, u64)| {
            let book = Book::default();
            for run in 0..before {
                assert_eq!(book.begin("message-1"), run);
            }
            book.note("message-1", 0, 2, true);
            let runs = book.close("message-1", may_run);
            assert_eq!(runs.len(), before);
            assert!(runs.first().is_none_or(|run| *run == Run { sent: 2, finished: true }));
            for _ in 0..after {
                let run = book.begin("message-1");
                book.note("message-1", run, 1, false);
            }
            book.begin("message-2");
            let whose = vec!["message-1".to_owned(); usize::try_from(wrong).unwrap()];
            assert_eq!(book.late(), Late { first, wrong, whose }, "{before} before, {after} after");
            assert_eq!(book.lock().open.len(), 1, "only what is open is kept whole");
        };
        check(1, false, 0, (0, 0));
        check(1, false, 1, (0, 1));
        check(1, true, 1, (0, 1));
        check(0, true, 1, (1, 0));
        check(0, true, 2, (1, 1));
        check(0, false, 1, (0, 1));
    }

    #[test]
    fn a_request_is_whole_or_awaited() {
        let request = b"POST / HTTP/1.1\r\ncontent-length: 11\r\nIdempotency-Key: message-1\r\n\r\n[[2 0 end]]POST";
        let script = Script { chunks: 2, ..Script::default() };
        let asked = Asked { script, message_id: "message-1".to_owned() };
        assert_eq!(parse(request).unwrap(), Some((asked, request.len() - 4)));
        assert_eq!(parse(&request[..request.len() - 5]).unwrap(), None);
    }
}
