//! Whether lines came as they were written, or all at once.
//!
//! n8n writes into each line when it wrote it. Lines that were written over a second and arrive within a few
//! milliseconds were held back on the way.

use std::time::Duration;

use serde::Deserialize;

/// A longer line is not looked at; text of a few words is shorter.
const LINE_BYTES: usize = 256 * 1024;
/// What was written in less time could have come at once without anybody's doing.
const WRITTEN_OVER: Duration = Duration::from_millis(300);
/// What came over so much time surely came as it was written.
const CAME_OVER: Duration = Duration::from_millis(100);

/// How lines came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// As they were written.
    Streams,
    /// At once, though they were written over this time.
    HeldBack(Duration),
    /// Too little, or too fast, to tell.
    Unknown,
}

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    timestamp: Option<i64>,
}

/// Looks at lines as they come.
#[derive(Debug, Default)]
pub(super) struct Lines {
    carry: Vec<u8>,
    any: bool,
    written: Option<(i64, i64)>,
    came: Option<(Duration, Duration)>,
}

impl Lines {
    /// Takes the next bytes, which came at this time.
    pub(super) fn feed(&mut self, bytes: &[u8], at: Duration) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.carry.len() + part.len() <= LINE_BYTES {
                self.carry.extend_from_slice(part);
            }
            if part.ends_with(b"\n") {
                self.line(at);
                self.carry.clear();
            }
        }
    }

    fn line(&mut self, at: Duration) {
        let Ok(line) = serde_json::from_slice::<Line>(&self.carry) else { return };
        self.any |= ["begin", "item", "end", "error", "keepalive"].contains(&line.kind.as_str());
        if line.kind != "item" {
            return;
        }
        self.came = Some(self.came.map_or((at, at), |(first, _)| (first, at)));
        if let Some(written) = line.metadata.timestamp {
            self.written = Some(self.written.map_or((written, written), |(first, _)| (first, written)));
        }
    }

    /// Whether there was any line of n8n's.
    pub(super) fn any(&self) -> bool {
        self.any
    }

    /// What can be said in the end.
    pub(super) fn flow(&self) -> Flow {
        let came = self.came.map_or(Duration::ZERO, |(first, last)| last.saturating_sub(first));
        let written = self.written.map_or(0, |(first, last)| last.saturating_sub(first));
        let written = Duration::from_millis(u64::try_from(written).unwrap_or(0));
        if came >= CAME_OVER && came.saturating_mul(4) >= written {
            Flow::Streams
        } else if written >= WRITTEN_OVER && came.saturating_mul(4) < written {
            Flow::HeldBack(written)
        } else {
            Flow::Unknown
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines as (written at, came at), in milliseconds.
    fn check(lines: &[(i64, u64)], expected: Flow) {
        let mut seen = Lines::default();
        for (written, came) in lines {
            let line = format!("{{\"type\":\"item\",\"content\":\"a\",\"metadata\":{{\"timestamp\":{written}}}}}\n");
            let (head, tail) = line.split_at(20);
            seen.feed(head.as_bytes(), Duration::from_millis(*came));
            seen.feed(tail.as_bytes(), Duration::from_millis(*came));
        }
        assert_eq!((seen.any(), seen.flow()), (!lines.is_empty(), expected), "{lines:?}");
    }

    #[test]
    fn what_is_held_back_is_seen() {
        check(&[], Flow::Unknown);
        check(&[(5_000, 10)], Flow::Unknown);
        check(&[(5_000, 10), (5_050, 60)], Flow::Unknown);
        check(&[(5_000, 10), (5_200, 210), (5_400, 410)], Flow::Streams);
        check(&[(5_000, 900), (5_400, 900), (5_800, 901)], Flow::HeldBack(Duration::from_millis(800)));
        // A slow network is no proxy that collects.
        check(&[(5_000, 10), (5_010, 900)], Flow::Streams);
        // A clock that went back.
        check(&[(5_000, 10), (4_000, 10)], Flow::Unknown);
    }

    #[test]
    fn what_is_no_line_is_none() {
        let mut seen = Lines::default();
        seen.feed(b"{\"output\":\"hello\"}", Duration::ZERO);
        seen.feed(&[b'x'; 2 * LINE_BYTES], Duration::ZERO);
        seen.feed(b"\n{\"type\":\"keepalive\"}\n", Duration::ZERO);
        assert_eq!((seen.any(), seen.flow()), (true, Flow::Unknown));
        assert!(seen.carry.capacity() <= LINE_BYTES);
    }
}
