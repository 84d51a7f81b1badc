//! A report for people: tables and sparklines of 80 columns.

use std::{collections::BTreeMap, fmt::Write as _};

use analytics::{
    Report,
    query::{Bucket, Metric, Times},
};

/// Widest sparkline; more steps are put together.
const WIDTH: usize = 60;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Longest page and code that is shown.
const LONGEST: usize = 60;

pub(super) fn of(report: &Report, colour: bool) -> String {
    let mut out = Out { text: String::new(), colour };
    let overview = &report.summary;
    let all = overview.site.as_ref().map_or_else(|| "all sites".to_owned(), |site| format!("site {site}"));
    out.title(&format!("{all}, {} to {} UTC", minute(overview.from.0), minute(overview.until.0)));
    if overview.demo {
        out.alarm("made-up data of `frontdesk analytics demo`");
    }
    let figures = &overview.summary;
    let failed: u64 = sum(&figures.failed);
    let replies = figures.ended.saturating_add(figures.cancelled).saturating_add(failed);
    out.blank();
    out.row("sessions", figures.sessions, &format!("{} signed in", count(figures.identified)));
    out.row("live now", overview.live_sessions, "");
    out.row("messages", figures.messages, "");
    out.row("whole replies", figures.ended, &share(figures.ended, replies));
    out.row("stopped", figures.cancelled, &share(figures.cancelled, replies));
    out.row("failed", failed, &share(failed, replies));
    out.row("sent later", figures.pushed, "");
    out.row("rated helpful", figures.rated_up, &format!("{} not helpful", count(figures.rated_down)));
    out.row("calls refused", sum(&figures.refused), "");
    out.times("first word", &figures.first_chunk_ms);
    out.times("whole reply", &figures.duration_ms);

    let step = match report.timeseries.bucket {
        Bucket::Minute => "minute",
        Bucket::Hour => "hour",
        Bucket::Day => "day",
    };
    out.blank();
    for (metric, name) in [(Metric::Messages, "messages"), (Metric::Sessions, "sessions"), (Metric::Failed, "failed")] {
        let values = squeeze(report.series(metric), |a, b| a.saturating_add(b));
        let most = values.iter().flatten().max().copied().unwrap_or(0);
        out.line(&format!("{name} by {step}"), &values, &format!("up to {}", count(most)));
    }
    let values = squeeze(report.series(Metric::FirstChunkMsP95), u64::max);
    let most = values.iter().flatten().max().copied();
    out.line("first word, p95", &values, &most.map_or_else(String::new, |most| format!("up to {}", took(most))));

    let pages: Vec<(&str, u64)> = report.pages.pages.iter().map(|page| (page.path.as_str(), page.sessions)).collect();
    let others = [("all others", report.pages.other)];
    let others = others.iter().filter(|(_, sessions)| *sessions > 0 && !pages.is_empty());
    out.table("sessions by page", pages.iter().chain(others).copied());
    out.table("failures", by_count(&figures.failed));
    out.table("refusals", by_count(&figures.refused));
    out.text
}

/// Text from elsewhere, such as a page's path: nothing in it can steer the terminal.
pub(crate) fn plain(text: &str) -> String {
    let mut plain: String = text
        .chars()
        .map(|c| if c.is_control() || is_direction(c) { '\u{fffd}' } else { c })
        .take(LONGEST + 1)
        .collect();
    if plain.chars().count() > LONGEST {
        plain.pop();
        plain.pop();
        plain.push('…');
    }
    plain
}

/// What turns the direction of text around.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

struct Out {
    text: String,
    colour: bool,
}

// Writing to a String does not fail.
impl Out {
    fn blank(&mut self) {
        self.text.push('\n');
    }

    fn title(&mut self, text: &str) {
        let text = self.painted("1", text);
        let _ = writeln!(self.text, "{text}");
    }

    fn alarm(&mut self, text: &str) {
        let text = self.painted("33", text);
        let _ = writeln!(self.text, "{text}");
    }

    fn painted(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn row(&mut self, name: &str, value: u64, beside: &str) {
        let line = format!("  {name:<16}{:>12}   {beside}", count(value));
        let _ = writeln!(self.text, "{}", line.trim_end());
    }

    fn times(&mut self, name: &str, times: &Times) {
        let shown = |time: Option<u64>| time.map_or_else(|| "-".to_owned(), took);
        let _ = writeln!(self.text, "  {name:<16}{:>12}   median, {} p95", shown(times.p50), shown(times.p95));
    }

    fn line(&mut self, name: &str, values: &[Option<u64>], beside: &str) {
        let bars = self.painted("36", &sparkline(values));
        let _ = writeln!(self.text, "{}", format!("  {name:<18}{bars}  {beside}").trim_end());
    }

    fn table<'a>(&mut self, name: &str, rows: impl IntoIterator<Item = (&'a str, u64)>) {
        let mut rows = rows.into_iter().peekable();
        if rows.peek().is_none() {
            return;
        }
        self.blank();
        self.title(name);
        for (word, value) in rows {
            let _ = writeln!(self.text, "  {:>10}  {}", count(value), plain(word));
        }
    }
}

/// From the lowest bar, which is 0, to the highest, which is the largest value. What was not measured is a gap.
fn sparkline(values: &[Option<u64>]) -> String {
    let most = values.iter().flatten().max().copied().unwrap_or(0);
    let top = BARS.len() as u64 - 1;
    let bar = |value: u64| {
        // Whatever is more than nothing is seen to be.
        let height = if most == 0 { 0 } else { (u128::from(value) * u128::from(top)).div_ceil(u128::from(most)) };
        BARS[usize::try_from(height).unwrap_or(0)]
    };
    values.iter().map(|value| value.map_or(' ', bar)).collect()
}

/// At most [`WIDTH`] values out of any number.
fn squeeze(values: &[Option<u64>], put: impl Fn(u64, u64) -> u64) -> Vec<Option<u64>> {
    let size = values.len().div_ceil(WIDTH).max(1);
    values.chunks(size).map(|chunk| chunk.iter().flatten().copied().reduce(&put)).collect()
}

fn by_count(counts: &BTreeMap<String, u64>) -> Vec<(&str, u64)> {
    let mut rows: Vec<(&str, u64)> = counts.iter().map(|(word, count)| (word.as_str(), *count)).collect();
    rows.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    rows
}

fn sum(counts: &BTreeMap<String, u64>) -> u64 {
    counts.values().fold(0, |sum, count| sum.saturating_add(*count))
}

/// `1,234,567`.
fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Tenths of a percent.
fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return String::new();
    }
    let tenths = (u128::from(part) * 1000 + u128::from(whole) / 2) / u128::from(whole);
    format!("{}.{} %", tenths / 10, tenths % 10)
}

/// `420 ms`, `1.9 s`, `2 min 5 s`.
fn took(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        _ => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
    }
}

/// `2026-01-31 10:00`.
fn minute(unix_ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(unix_ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let text = format!("{time:.0}");
    text.get(..16).unwrap_or(&text).replace('T', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_rise_from_nothing_to_the_most() {
        let check = |values: &[Option<u64>], expected: &str| assert_eq!(sparkline(values), expected, "{values:?}");
        check(&[], "");
        check(&[Some(0), Some(0)], "▁▁");
        check(&[Some(0), Some(1), None, Some(700)], "▁▂ █");
        check(&[Some(u64::MAX), Some(u64::MAX / 2), Some(0)], "█▅▁");
        check(&(0..8).map(Some).collect::<Vec<_>>(), "▁▂▃▄▅▆▇█");
    }

    #[test]
    fn many_steps_are_put_together() {
        let year: Vec<Option<u64>> = (0..365).map(|_| Some(1)).collect();
        let line = squeeze(&year, |a, b| a + b);
        assert!(line.len() <= WIDTH);
        assert_eq!(line.iter().flatten().sum::<u64>(), 365);
        assert_eq!(squeeze(&[None, Some(3)], u64::max), [None, Some(3)]);
    }

    #[test]
    fn numbers_are_readable() {
        let check = |number: u64, expected: &str| assert_eq!(count(number), expected);
        check(0, "0");
        check(999, "999");
        check(1_000, "1,000");
        check(1_234_567, "1,234,567");
        assert_eq!((share(0, 0), share(1, 3), share(2, 2)), (String::new(), "33.3 %".into(), "100.0 %".into()));
        assert_eq!((took(420), took(1_950), took(125_000)), ("420 ms".into(), "1.9 s".into(), "2 min 5 s".into()));
        assert_eq!(minute(1_767_168_909_005), "2025-12-31 08:15");
    }

    #[test]
    fn text_of_visitors_can_not_steer_the_terminal() {
        let check = |text: &str, expected: &str| assert_eq!(plain(text), expected, "{text:?}");
        check("/größe", "/größe");
        check("/\x1b[2J\x07a", "/\u{fffd}[2J\u{fffd}a");
        check("/a\u{202e}b\u{9b}c\nd", "/a\u{fffd}b\u{fffd}c\u{fffd}d");
        assert_eq!(plain(&"x".repeat(100)).chars().count(), LONGEST);
    }

    /// A whole report, as it is shown.
    #[test]
    fn a_report_says_what_happened() {
        let report: Report = serde_json::from_value(serde_json::json!({
            "summary": {
                "site": null, "from": 1_767_168_000_000_i64, "until": 1_767_340_800_000_i64, "demo": true,
                "live_sessions": 3, "sessions": 1200, "identified": 100, "messages": 4000, "ended": 3800,
                "cancelled": 100, "failed": {"upstream_timeout": 70, "interrupted": 30}, "pushed": 5, "chunks": 90_000,
                "rated_up": 12, "rated_down": 3, "refused": {"limit_session_minute": 9},
                "first_chunk_ms": {"count": 3900, "p50": 420, "p90": 1500, "p95": 1900, "p99": 4000},
                "duration_ms": {"count": 3900, "p50": 3200, "p90": 8000, "p95": 9000, "p99": 12_000}
            },
            "timeseries": {
                "from": 1_767_168_000_000_i64, "until": 1_767_340_800_000_i64, "bucket": "day",
                "t": [1_767_139_200, 1_767_225_600],
                "series": {"messages": [1000, 3000], "sessions": [400, 800], "failed": [0, 100],
                    "first_chunk_ms_p95": [null, 1900]}
            },
            "pages": {"pages": [{"path": "/\u{1b}[31mshoes", "sessions": 900}], "other": 300}
        }))
        .unwrap();
        let expected = "\
all sites, 2025-12-31 08:00 to 2026-01-02 08:00 UTC
made-up data of `frontdesk analytics demo`

  sessions               1,200   100 signed in
  live now                   3
  messages               4,000
  whole replies          3,800   95.0 %
  stopped                  100   2.5 %
  failed                   100   2.5 %
  sent later                 5
  rated helpful             12   3 not helpful
  calls refused              9
  first word            420 ms   median, 1.9 s p95
  whole reply            3.2 s   median, 9.0 s p95

  messages by day   ▄█  up to 3,000
  sessions by day   ▅█  up to 800
  failed by day     ▁█  up to 100
  first word, p95    █  up to 1.9 s

sessions by page
         900  /\u{fffd}[31mshoes
         300  all others

failures
          70  upstream_timeout
          30  interrupted

refusals
           9  limit_session_minute
";
        assert_eq!(of(&report, false), expected);
        let coloured = of(&report, true);
        assert!(coloured.contains("\x1b[1m") && !coloured.contains("\x1b[31m"), "{coloured}");
    }
}
