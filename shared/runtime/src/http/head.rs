//! What a request's head must look like before it is read as HTTP at all (RFC 9112, read strictly).
//!
//! Two readers that find different ends of one message are how a request is smuggled past a proxy. So nothing here is
//! repaired or guessed: a head that could be read in two ways is refused, and its connection is closed.

use http::{StatusCode, uri::PathAndQuery};

/// Bytes of the request line that are not its target: the longest method that is taken, spaces and version.
const LINE_BESIDE_TARGET: usize = MAX_METHOD + 11;
const MAX_METHOD: usize = 24;
/// A DNS name has 253 bytes at most; with a colon and a port.
const MAX_HOST: usize = 259;

/// How much of it is taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Bytes of the whole head.
    pub(crate) head: usize,
    /// Bytes of the request's target.
    pub(crate) target: usize,
    /// Header lines.
    pub(crate) lines: usize,
}

/// Where a message ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// With its head.
    Empty,
    /// So many bytes after it.
    Length(u64),
    /// With its last chunk.
    Chunked,
}

/// Why a request is not looked at any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Not HTTP, or HTTP that can be read in two ways. A sentence for a developer.
    Malformed(&'static str),
    TargetTooLong,
    HeadTooLarge,
    Version,
    /// The head was not there in time.
    Slow,
}

impl Refusal {
    /// Status, code, title and detail of the problem document.
    pub(crate) fn face(self) -> (StatusCode, &'static str, &'static str, &'static str) {
        match self {
            Self::Malformed(detail) => (StatusCode::BAD_REQUEST, "invalid_request", "Invalid request", detail),
            Self::TargetTooLong => {
                (StatusCode::URI_TOO_LONG, "uri_too_long", "URI too long", "The address is over the limit.")
            }
            Self::HeadTooLarge => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "headers_too_large",
                "Headers too large",
                "The headers are too many or too long.",
            ),
            Self::Version => (
                StatusCode::HTTP_VERSION_NOT_SUPPORTED,
                "version_not_supported",
                "Version not supported",
                "Speak HTTP/1.1.",
            ),
            Self::Slow => (
                StatusCode::REQUEST_TIMEOUT,
                "request_timeout",
                "Request timeout",
                "The request's headers had not arrived in time.",
            ),
        }
    }
}

/// Looks for the end of a head in bytes that come piece by piece, each byte once.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    seen: usize,
    line: usize,
    asked: bool,
}

impl Scan {
    /// The head's length once it is whole. Refuses as soon as it is plain that it will never be good.
    pub(crate) fn look(&mut self, bytes: &[u8], bounds: &Bounds) -> Result<Option<usize>, Refusal> {
        while let Some(&byte) = bytes.get(self.seen) {
            let after_cr = self.seen > self.line && bytes[self.seen - 1] == b'\r';
            match (byte, after_cr) {
                (b'\n', true) => {
                    let line = &bytes[self.line..self.seen - 1];
                    if !self.asked {
                        check_request_line(line, bounds)?;
                        self.asked = true;
                    } else if line.is_empty() {
                        return if self.seen < bounds.head {
                            Ok(Some(self.seen + 1))
                        } else {
                            Err(Refusal::HeadTooLarge)
                        };
                    }
                    self.line = self.seen + 1;
                }
                (b'\n', false) | (_, true) => return Err(Refusal::Malformed("Lines must end in CRLF.")),
                (0, _) => return Err(Refusal::Malformed("There is a NUL in the head.")),
                _ => {}
            }
            self.seen += 1;
            if !self.asked && self.seen > bounds.target + LINE_BESIDE_TARGET {
                return Err(Refusal::TargetTooLong);
            }
            if self.seen > bounds.head {
                return Err(Refusal::HeadTooLarge);
            }
        }
        Ok(None)
    }
}

fn check_request_line(line: &[u8], bounds: &Bounds) -> Result<(), Refusal> {
    let bad = Refusal::Malformed("The request line must be `METHOD /path HTTP/1.1`.");
    let mut parts = line.split(|&byte| byte == b' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(bad);
    };
    if method.is_empty() || method.len() > MAX_METHOD || !method.iter().copied().all(is_token) {
        return Err(bad);
    }
    match version {
        b"HTTP/1.1" | b"HTTP/1.0" => {}
        other if other.starts_with(b"HTTP/") => return Err(Refusal::Version),
        _ => return Err(bad),
    }
    if target.len() > bounds.target {
        return Err(Refusal::TargetTooLong);
    }
    // No proxy, so no absolute form and no CONNECT; a fragment never leaves a browser.
    let plain = target.first() == Some(&b'/') && target.iter().all(|byte| matches!(byte, 0x21..=0x7e) && *byte != b'#');
    if !plain || method == b"CONNECT" || PathAndQuery::try_from(target).is_err() {
        return Err(Refusal::Malformed("The request's target must be a path and a query."));
    }
    Ok(())
}

/// Checks a whole head, whose lines a [`Scan`] has seen, and says where its message ends.
pub(crate) fn check(head: &[u8], bounds: &Bounds) -> Result<Framing, Refusal> {
    let mut lines = head.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let old = lines.next().is_some_and(|line| line.ends_with(b"HTTP/1.0"));
    let (mut count, mut host, mut length, mut coding) = (0, None, None, None);
    for line in lines.take_while(|line| !line.is_empty()) {
        count += 1;
        if count > bounds.lines {
            return Err(Refusal::HeadTooLarge);
        }
        let (name, value) = field(line)?;
        let place = if name.eq_ignore_ascii_case(b"host") {
            &mut host
        } else if name.eq_ignore_ascii_case(b"content-length") {
            &mut length
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            &mut coding
        } else {
            continue;
        };
        if place.replace(value).is_some() {
            return Err(Refusal::Malformed("Host, Content-Length and Transfer-Encoding may come only once."));
        }
    }
    match host {
        Some(host) if is_host(host) => {}
        // HTTP/1.0 knows no Host: load balancers that only ask for health use it so.
        None if old => {}
        _ => return Err(Refusal::Malformed("There must be one Host header with a host in it.")),
    }
    match (length, coding) {
        (None, None) => Ok(Framing::Empty),
        (Some(length), None) => parse_length(length),
        (None, Some(coding)) if coding.eq_ignore_ascii_case(b"chunked") && !old => Ok(Framing::Chunked),
        (None, Some(_)) => Err(Refusal::Malformed("The only transfer coding is `chunked`, in HTTP/1.1.")),
        (Some(_), Some(_)) => {
            Err(Refusal::Malformed("Content-Length and Transfer-Encoding can't both say where the body ends."))
        }
    }
}

/// Name and value of a header line.
fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    let bad = Refusal::Malformed("A header line must be `name: value`, without folding or control characters.");
    let colon = line.iter().position(|&byte| byte == b':').ok_or(bad)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    let clean = value.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f));
    if name.is_empty() || !name.iter().copied().all(is_token) || !clean {
        return Err(bad);
    }
    // Only spaces: a tab around `chunked` is what one reader trims and another does not.
    let start = value.iter().position(|&byte| byte != b' ').unwrap_or(value.len());
    let end = value.iter().rposition(|&byte| byte != b' ').map_or(start, |last| last + 1);
    Ok((name, &value[start..end]))
}

/// Digits alone: no sign, no list, and no leading zero, which some read as octal.
fn parse_length(value: &[u8]) -> Result<Framing, Refusal> {
    let plain = value.iter().all(u8::is_ascii_digit) && (value == b"0" || value.first().is_some_and(|b| *b != b'0'));
    let length = std::str::from_utf8(value).ok().filter(|_| plain).and_then(|text| text.parse().ok());
    match length {
        Some(0) => Ok(Framing::Empty),
        Some(length) => Ok(Framing::Length(length)),
        None => Err(Refusal::Malformed("Content-Length must be a plain number.")),
    }
}

/// A name or address, with a port or without. What only a URL's author would write (user names, percent signs) is no
/// host that anybody reaches us under.
fn is_host(value: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(value) else { return false };
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, after)) if address.parse::<std::net::Ipv6Addr>().is_ok() => ("address", after),
            _ => return false,
        },
        None => text.find(':').map_or((text, ""), |colon| text.split_at(colon)),
    };
    let named = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    let port = port.is_empty() || port.strip_prefix(':').is_some_and(|port| is_port(port.as_bytes()));
    text.len() <= MAX_HOST && named && port
}

fn is_port(text: &[u8]) -> bool {
    (1..=5).contains(&text.len()) && text.iter().all(u8::is_ascii_digit)
}

/// A character of a token (RFC 9110, section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Follows a chunked body to its end. No extensions and no trailers: nobody who talks to us has a use for them, and
/// they are where readers differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chunks {
    Size { digits: u8, size: u64 },
    SizeEnd(u64),
    Data(u64),
    DataCr,
    DataLf,
    LastCr,
    LastLf,
    Over,
}

/// A chunk's size has this many digits at most: 4 GiB, and no body is that long.
const MAX_DIGITS: u8 = 8;

impl Default for Chunks {
    fn default() -> Self {
        Self::Size { digits: 0, size: 0 }
    }
}

impl Chunks {
    /// How many of `bytes` belong to this body; fewer than all only when it is over. `Err` when they are no chunks.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<usize, ()> {
        let mut at = 0;
        while at < bytes.len() && *self != Self::Over {
            if let Self::Data(left) = *self {
                let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - at);
                at += here;
                let left = left - here as u64;
                *self = if left == 0 { Self::DataCr } else { Self::Data(left) };
                continue;
            }
            *self = match (*self, bytes[at]) {
                (Self::Size { digits, size }, byte) if byte.is_ascii_hexdigit() && digits < MAX_DIGITS => {
                    let digit = char::from(byte).to_digit(16).ok_or(())?;
                    Self::Size { digits: digits + 1, size: size * 16 + u64::from(digit) }
                }
                (Self::Size { digits: 1.., size }, b'\r') => Self::SizeEnd(size),
                (Self::SizeEnd(0), b'\n') => Self::LastCr,
                (Self::SizeEnd(size), b'\n') => Self::Data(size),
                (Self::DataCr, b'\r') => Self::DataLf,
                (Self::DataLf, b'\n') => Self::default(),
                (Self::LastCr, b'\r') => Self::LastLf,
                (Self::LastLf, b'\n') => Self::Over,
                _ => return Err(()),
            };
            at += 1;
        }
        Ok(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { head: 1000, target: 100, lines: 8 };

    fn read(text: &[u8]) -> Result<Option<Framing>, Refusal> {
        // Byte by byte and at once must be the same.
        let whole = Scan::default().look(text, &BOUNDS);
        let mut scan = Scan::default();
        let piecemeal = (1..=text.len()).map(|end| scan.look(&text[..end], &BOUNDS)).find(|found| *found != Ok(None));
        assert_eq!(piecemeal.unwrap_or(Ok(None)), whole, "{}", text.escape_ascii());
        match whole? {
            Some(end) => check(&text[..end], &BOUNDS).map(Some),
            None => Ok(None),
        }
    }

    #[test]
    fn good_heads_say_where_the_message_ends() {
        let check = |text: &str, expected: Option<Framing>| {
            assert_eq!(read(text.as_bytes()), Ok(expected), "{text:?}");
        };
        check("GET / HTTP/1.1\r\nHost: x\r\n\r\n", Some(Framing::Empty));
        check("GET /a?b=c%20d HTTP/1.1\r\nhost:chat.example:8000\r\nx: \tä\r\n\r\nnext", Some(Framing::Empty));
        check("GET / HTTP/1.1\r\nHost: [::1]:80\r\nX:\r\n\r\n", Some(Framing::Empty));
        check("GET / HTTP/1.0\r\n\r\n", Some(Framing::Empty));
        check("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", Some(Framing::Empty));
        check("POST / HTTP/1.1\r\nHost: x\r\nCONTENT-LENGTH: 17 \r\n\r\n", Some(Framing::Length(17)));
        check("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n", Some(Framing::Chunked));
        check("GET / HTTP/1.1\r\nHost: x\r\n", None);
        check("GE", None);
        check("", None);
    }

    /// Everything that could be read in two ways, one table. The same goes over real sockets in the executable's tests.
    #[test]
    fn a_head_with_two_readings_is_refused() {
        let bad = |text: &str| {
            let refused = read(text.as_bytes());
            assert!(matches!(refused, Err(Refusal::Malformed(_))), "{text:?}: {refused:?}");
        };
        let get = |lines: &str| bad(&format!("GET / HTTP/1.1\r\nHost: x\r\n{lines}\r\n\r\n"));
        for lines in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 5",
            "Content-Length: 5\r\nContent-Length: 6",
            "Content-Length: 5\r\nContent-Length: 5",
            "Content-Length: 5, 5",
            "Content-Length: -5",
            "Content-Length: +5",
            "Content-Length: 05",
            "Content-Length: 5 5",
            "Content-Length: 0x5",
            "Content-Length:",
            "Content-Length: 99999999999999999999999",
            "Content-Length: \t5",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding: chunked, identity",
            "Transfer-Encoding: identity, chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
            "Transfer-Encoding:\tchunked",
            "Transfer-Encoding: chunked\t",
            "Transfer-Encoding: \"chunked\"",
            "Transfer-Encoding: gzip",
            "Transfer-Encoding:",
            "Transfer-Encoding : chunked",
            "Transfer-Encoding\t: chunked",
            "Content-Length : 5",
            " Content-Length: 5",
            "X: y\r\n folded",
            "X: y\r\n\tfolded",
            "X: a\0b",
            "X: a\u{1}b",
            "X: a\u{7f}b",
            "X\0: a",
            "X y: a",
            ": a",
            "no colon",
            "X: a\nContent-Length: 5",
            "X: a\rContent-Length: 5",
            "X: a\n",
        ] {
            get(lines);
        }
        for text in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost:\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: user@a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a:\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a:123456\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: [x]\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: \u{e9}\r\n\r\n",
            "GET / HTTP/1.1\nHost: x\n\n",
            "GET / HTTP/1.1\r\nHost: x\n\r\n",
            "\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET /\r\n",
            "GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET / HTTP/1.1 \r\nHost: x\r\n\r\n",
            "GET\t/\tHTTP/1.1\r\nHost: x\r\n\r\n",
            "GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n",
            "CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n",
            "CONNECT / HTTP/1.1\r\nHost: x\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET /#x HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET /\u{e9} HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n",
            "G(T / HTTP/1.1\r\nHost: x\r\n\r\n",
            " / HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET / http/1.1\r\nHost: x\r\n\r\n",
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            "\u{16}\u{3}\u{1}\0\u{5}",
        ] {
            bad(text);
        }
    }

    #[test]
    fn bounds_and_versions_have_their_own_answers() {
        let check = |text: String, expected: Refusal| assert_eq!(read(text.as_bytes()), Err(expected), "{text:?}");
        let tail = "HTTP/1.1\r\nHost: x\r\n\r\n";
        assert_eq!(read(format!("GET /{} {tail}", "a".repeat(99)).as_bytes()), Ok(Some(Framing::Empty)));
        check(format!("GET /{} {tail}", "a".repeat(100)), Refusal::TargetTooLong);
        check(format!("GET /{}", "a".repeat(900)), Refusal::TargetTooLong);
        check(format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}", "a".repeat(1000)), Refusal::HeadTooLarge);
        check(format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(8)), Refusal::HeadTooLarge);
        check("GET / HTTP/2.0\r\n".into(), Refusal::Version);
        check("GET / HTTP/1.2\r\n".into(), Refusal::Version);
        check("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), Refusal::Version);
        // The last byte counts as well.
        let full = |size: usize| {
            let start = "GET / HTTP/1.1\r\nHost: x\r\nX: ";
            format!("{start}{}\r\n\r\n", "a".repeat(size - start.len() - 4))
        };
        assert_eq!(read(full(1000).as_bytes()), Ok(Some(Framing::Empty)));
        check(full(1001), Refusal::HeadTooLarge);
    }

    #[test]
    fn chunks_end_in_one_place() {
        let check = |text: &str, expected: Result<(usize, bool), ()>| {
            let mut whole = Chunks::default();
            let taken = whole.take(text.as_bytes()).map(|taken| (taken, whole == Chunks::Over));
            assert_eq!(taken, expected, "{text:?}");
            let mut chunks = Chunks::default();
            let piecemeal: Result<Vec<usize>, ()> = text.bytes().map(|byte| chunks.take(&[byte])).collect();
            let piecemeal = piecemeal.map(|taken| (taken.iter().sum(), chunks == Chunks::Over));
            assert_eq!(piecemeal, expected, "{text:?} byte by byte");
        };
        check("0\r\n\r\n", Ok((5, true)));
        check("0\r\n\r\nGET /", Ok((5, true)));
        check("5\r\nhello\r\n0\r\n\r\n", Ok((15, true)));
        check("000a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", Ok((38, true)));
        check("5\r\nhel", Ok((6, false)));
        check("", Ok((0, false)));
        for bad in [
            "\r\n",
            "x\r\n",
            "-1\r\n",
            "+1\r\n",
            "0x1\r\n",
            " 1\r\n",
            "1 \r\n",
            "1;a=b\r\n",
            "1\nx\r\n",
            "1\rx",
            "1\r\nxy",
            "1\r\nx\ny",
            "0\r\nTrailer: x\r\n\r\n",
            "0\r\n\n",
            "123456789\r\n",
            "ffffffffffffffff1\r\n",
        ] {
            check(bad, Err(()));
        }
    }
}
