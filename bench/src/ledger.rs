//! The books of a run: each message with what became of it, and whether all of that may be.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    regular::{Event, marks},
    upstream::{Late, Run, Script, Then},
};

/// Lines that are kept of a message's history.
const HISTORY: usize = 60;

/// The code of a reply that was lost with its worker.
const INTERRUPTED: &str = "interrupted";

/// How a message ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The whole reply came.
    Whole,
    /// `failed` with this code.
    Failed(String),
    /// It was never taken, and the edge said why.
    Refused(String),
}

/// One message as its visitor saw it.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) message_id: String,
    pub(crate) script: Script,
    /// An edge answered its POST with 200 and a stream. A POST that broke before that was repeated until one did.
    pub(crate) accepted: bool,
    /// None: nothing came within the bound.
    pub(crate) end: Option<End>,
    /// What the upstream wrote and the visitor read.
    pub(crate) chunks: u32,
    /// Chunk events, which may carry several of those.
    events: u32,
    pub(crate) last_id: Option<String>,
    pub(crate) resumes: u32,
    pub(crate) refusals: u32,
    pub(crate) gaps: u32,
    /// From the moment that it was accepted.
    pub(crate) took: Duration,
    /// What may not be.
    pub(crate) wrong: Vec<String>,
    pub(crate) history: Vec<String>,
    begun: Instant,
}

impl Account {
    pub(crate) fn new(message_id: String, script: Script, begun: Instant) -> Self {
        Self {
            message_id,
            script,
            accepted: false,
            end: None,
            chunks: 0,
            events: 0,
            last_id: None,
            resumes: 0,
            refusals: 0,
            gaps: 0,
            took: Duration::ZERO,
            wrong: Vec::new(),
            history: Vec::new(),
            begun,
        }
    }

    pub(crate) fn note(&mut self, line: &str) {
        if self.history.len() < HISTORY {
            self.history.push(format!("{:8.3} s: {line}", self.begun.elapsed().as_secs_f64()));
        }
    }

    /// Takes an event of this message's reply.
    pub(crate) fn hear(&mut self, event: &Event) {
        match event.name.as_str() {
            "chunk" => {
                let index = event.data["index"].as_u64();
                if index != Some(self.events.into()) {
                    self.fault(format!("chunk {index:?} came where {} was due", self.events));
                }
                self.events += 1;
                let content = event.data["content"].as_str().unwrap_or_default();
                match marks(content, &self.message_id, self.chunks) {
                    Ok(next) => self.chunks = next,
                    Err(wrong) => self.fault(wrong),
                }
            }
            "end" => {
                if event.data["chunks"].as_u64() != Some(self.events.into()) {
                    self.fault(format!("the end says {} chunks, {} came", event.data["chunks"], self.events));
                }
                self.note(&format!("end after {} chunks", self.chunks));
                self.end = Some(End::Whole);
            }
            "failed" => {
                let code = event.data["code"].as_str().unwrap_or("none").to_owned();
                self.note(&format!("failed as {code} after {} chunks", self.chunks));
                self.end = Some(End::Failed(code));
            }
            _ => {}
        }
        if event.id.is_some() {
            self.last_id.clone_from(&event.id);
        }
    }

    fn fault(&mut self, wrong: String) {
        self.note(&wrong);
        self.wrong.push(wrong);
    }

    /// Looks at what the upstream wrote down of it.
    pub(crate) fn settle(&mut self, runs: &[Run]) {
        let mut wrong = Vec::new();
        if runs.len() > 1 {
            wrong.push(format!("n8n was called {} times", runs.len()));
        }
        let run = runs.first().copied().unwrap_or_default();
        match &self.end {
            Some(End::Whole) => {
                if self.chunks != self.script.chunks || !run.finished || run.sent != self.chunks {
                    wrong.push(format!("an end after {} chunks of {run:?}", self.chunks));
                }
                if self.script.then == Then::Cut {
                    wrong.push("an end of a reply that was cut".to_owned());
                }
            }
            Some(End::Failed(code)) => {
                if self.chunks > run.sent {
                    wrong.push(format!("heard {} chunks of {run:?}", self.chunks));
                }
                let may = match code.as_str() {
                    // How many is asked once it is known how often somebody was struck.
                    INTERRUPTED => true,
                    "queue_timeout" => runs.is_empty(),
                    "upstream_error" => self.script.then == Then::Cut,
                    _ => false,
                };
                if !may {
                    wrong.push(format!("failed as {code} with {runs:?}"));
                }
            }
            // An edge that can't take it for now was asked again; nothing here may be refused for good.
            Some(End::Refused(code)) => wrong.push(format!("refused as {code} with {runs:?}")),
            None if self.accepted => wrong.push(format!("no end within {:.0} s", self.took.as_secs_f64())),
            None => wrong.push(format!("after {:.0} s nobody says whether it was taken", self.took.as_secs_f64())),
        }
        for wrong in wrong {
            self.fault(wrong);
        }
    }

    /// Compares with what another page got of the same message later: the same end, and of a whole reply the same text.
    /// Of a failed one a page that comes later may hold less.
    pub(crate) fn compare(&mut self, again: &Self) {
        for wrong in &again.wrong {
            self.fault(format!("heard again: {wrong}"));
        }
        let whole = self.end == Some(End::Whole);
        if again.end != self.end || whole && again.chunks != self.chunks {
            let line = format!("heard again: {:?} after {} chunks", again.end, again.chunks);
            self.fault(line);
            self.history.extend(again.history.iter().map(|line| format!("  again {line}")));
        }
    }

    /// Whether its reply was lost with a worker.
    pub(crate) fn is_interrupted(&self) -> bool {
        matches!(&self.end, Some(End::Failed(code)) if code == INTERRUPTED)
    }

    fn json(&self, runs: &[Run]) -> Value {
        json!({
            "message_id": self.message_id, "script": self.script.to_string(), "accepted": self.accepted,
            "end": self.end.as_ref().map(ToString::to_string), "chunks": self.chunks, "took_s": self.took.as_secs_f64(),
            "n8n": runs.iter().map(|run| json!({"sent": run.sent, "finished": run.finished})).collect::<Vec<_>>(),
            "wrong": self.wrong, "history": self.history,
        })
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => f.write_str("end"),
            Self::Failed(code) => write!(f, "failed {code}"),
            Self::Refused(code) => write!(f, "refused {code}"),
        }
    }
}

/// What analytics has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) accepted: u64,
    pub(crate) done: u64,
}

/// All messages of a run, as sums; those that are not in order are kept whole.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) messages: u64,
    pub(crate) accepted: u64,
    pub(crate) ended: u64,
    hung: u64,
    unknown: u64,
    calls: u64,
    chunks_sent: u64,
    chunks_seen: u64,
    resumes: u64,
    refusals: u64,
    gaps: u64,
    again: u64,
    interrupted: u64,
    late: Late,
    by_end: BTreeMap<String, u64>,
    longest: Duration,
    bad: Vec<Value>,
    /// What is wrong beside any message.
    pub(crate) faults: Vec<String>,
    /// None where nobody was asked.
    pub(crate) facts: Option<Facts>,
}

impl Ledger {
    /// Enters a settled account.
    pub(crate) fn enter(&mut self, account: &Account, runs: &[Run]) {
        self.messages += 1;
        self.accepted += u64::from(account.accepted);
        self.calls += runs.len() as u64;
        self.chunks_sent += runs.iter().map(|run| u64::from(run.sent)).sum::<u64>();
        self.chunks_seen += u64::from(account.chunks);
        self.resumes += u64::from(account.resumes);
        self.refusals += u64::from(account.refusals);
        self.gaps += u64::from(account.gaps);
        self.interrupted += u64::from(account.is_interrupted());
        self.longest = self.longest.max(account.took);
        match &account.end {
            Some(end) => {
                self.ended += u64::from(account.accepted);
                *self.by_end.entry(end.to_string()).or_default() += 1;
            }
            None if account.accepted => self.hung += 1,
            None => self.unknown += 1,
        }
        if !account.wrong.is_empty() {
            self.bad.push(account.json(runs));
        }
    }

    /// One was heard again.
    pub(crate) fn heard_again(&mut self) {
        self.again += 1;
    }

    /// Once nobody can call n8n any more: what is wrong with the whole of it, where no more than so many replies can have
    /// been lost with their workers.
    pub(crate) fn audit(&mut self, interruptible: u64, late: Late) {
        if self.messages == 0 {
            self.faults.push("no message was said".to_owned());
        }
        if self.interrupted > interruptible {
            let line = format!("{} replies were interrupted, where {interruptible} could be", self.interrupted);
            self.faults.push(line);
        }
        if late.wrong > 0 {
            self.faults.push(format!("{} late calls of n8n, as for {}", late.wrong, late.whose.join(", ")));
        }
        self.late = late;
    }

    pub(crate) fn is_clean(&self) -> bool {
        let facts = self.facts.is_none_or(|facts| facts == Facts { accepted: self.accepted, done: self.ended });
        self.bad.is_empty() && self.faults.is_empty() && self.accepted == self.ended && facts
    }

    fn rows(&self) -> Vec<(&'static str, String)> {
        let mut rows = vec![
            ("messages", self.messages.to_string()),
            ("accepted", self.accepted.to_string()),
            ("ended, exactly once each", self.ended.to_string()),
            ("hung", self.hung.to_string()),
            ("unknown to their visitor", self.unknown.to_string()),
            ("calls of n8n", self.calls.to_string()),
            ("… late, and the only one", self.late.first.to_string()),
            ("… late, and wrong", self.late.wrong.to_string()),
            ("chunks sent by n8n", self.chunks_sent.to_string()),
            ("chunks seen", self.chunks_seen.to_string()),
            ("resumed connections", self.resumes.to_string()),
            ("tries that an edge refused", self.refusals.to_string()),
            ("gaps that were told", self.gaps.to_string()),
            ("heard again, the same", self.again.to_string()),
            ("longest, s", format!("{:.1}", self.longest.as_secs_f64())),
        ];
        if let Some(Facts { accepted, done }) = self.facts {
            rows.push(("facts of analytics: accepted", accepted.to_string()));
            rows.push(("facts of analytics: done", done.to_string()));
        }
        rows.push(("messages not in order", self.bad.len().to_string()));
        rows
    }

    pub(crate) fn table(&self) -> String {
        let mut table = "| ledger | |\n| --- | ---: |\n".to_owned();
        for (name, figure) in self.rows() {
            table += &format!("| {name} | {figure} |\n");
        }
        for (end, count) in &self.by_end {
            table += &format!("| {end} | {count} |\n");
        }
        for bad in self.bad.iter().take(20) {
            table += &format!("\n{bad:#}\n");
        }
        for fault in &self.faults {
            table += &format!("\nfault: {fault}\n");
        }
        table
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "clean": self.is_clean(),
            "figures": self.rows().into_iter().collect::<BTreeMap<_, _>>(),
            "ends": self.by_end, "faults": self.faults, "bad": self.bad,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "message-1";

    fn event(name: &str, data: Value) -> Event {
        Event { name: name.to_owned(), id: Some("x".to_owned()), data }
    }

    fn chunk(index: u32, content: &str) -> Event {
        event("chunk", json!({"index": index, "content": content}))
    }

    /// What is wrong with a reply of two chunks of which this was heard and that was sent.
    fn check(heard: &[Event], runs: &[Run], expected: &str) {
        let script = Script { chunks: 2, ..Script::default() };
        let mut account = Account::new(ID.to_owned(), script, Instant::now());
        account.accepted = true;
        heard.iter().for_each(|event| account.hear(event));
        account.settle(runs);
        let mut ledger = Ledger::default();
        ledger.enter(&account, runs);
        assert_eq!(ledger.is_clean(), expected.is_empty(), "{:?}", account.wrong);
        assert!(account.wrong.join("; ").contains(expected), "{:?} and not {expected}", account.wrong);
    }

    #[test]
    fn only_what_may_be_is_clean() {
        let whole = [Run { sent: 2, finished: true }];
        let part = [Run { sent: 1, finished: false }];
        let (end, failed) = (|n| event("end", json!({"chunks": n})), |c| event("failed", json!({"code": c})));
        check(&[chunk(0, "message-1.0 "), chunk(1, "message-1.1 "), end(2)], &whole, "");
        check(&[chunk(0, "message-1.0 message-1.1 "), end(1)], &whole, "");
        check(&[chunk(0, "message-1.0 "), failed("interrupted")], &whole, "");
        check(&[failed("interrupted")], &[], "");
        check(&[failed("queue_timeout")], &[], "");

        check(&[chunk(0, "message-1.0 "), end(1)], &whole, "an end after 1 chunks");
        check(&[chunk(0, "message-1.0 "), chunk(2, "message-1.1 "), end(2)], &whole, "where 1 was due");
        check(&[chunk(0, "message-1.0 "), chunk(1, "message-1.0 "), end(2)], &whole, "where \"message-1.1\" was due");
        check(&[chunk(0, "message-2.0 "), failed("interrupted")], &part, "where \"message-1.0\" was due");
        check(&[chunk(0, "message-1.0 message-1.1 "), failed("interrupted")], &part, "heard 2 chunks");
        check(&[failed("interrupted")], &[part[0], part[0]], "called 2 times");
        check(&[failed("queue_timeout")], &part, "failed as queue_timeout");
        check(&[failed("upstream_error")], &whole, "failed as upstream_error");
        check(&[chunk(0, "message-1.0 ")], &part, "no end within");
    }

    #[test]
    fn a_refusal_for_good_is_a_fault() {
        let mut account = Account::new(ID.to_owned(), Script::default(), Instant::now());
        account.end = Some(End::Refused("invalid_request".to_owned()));
        account.settle(&[]);
        assert_eq!(account.wrong, ["refused as invalid_request with []"]);
    }

    #[test]
    fn the_whole_is_audited() {
        let check = |interrupted: usize, interruptible: u64, late: Late, expected: &str| {
            let mut ledger = Ledger::default();
            for _ in 0..interrupted {
                let mut account = Account::new(ID.to_owned(), Script::default(), Instant::now());
                account.accepted = true;
                account.hear(&event("failed", json!({"code": "interrupted"})));
                account.settle(&[]);
                ledger.enter(&account, &[]);
            }
            ledger.audit(interruptible, late);
            assert_eq!(ledger.is_clean(), expected.is_empty(), "{:?}", ledger.faults);
            assert!(ledger.faults.join("; ").contains(expected), "{:?} and not {expected}", ledger.faults);
        };
        let late = |first, wrong| Late { first, wrong, whose: vec![ID.to_owned()] };
        check(2, 2, Late::default(), "");
        check(2, 2, late(1, 0), "");

        check(0, 2, Late::default(), "no message");
        check(2, 1, Late::default(), "2 replies were interrupted, where 1 could be");
        check(1, 0, Late::default(), "where 0 could be");
        check(1, 1, late(0, 3), "3 late calls of n8n, as for message-1");
    }

    #[test]
    fn facts_must_be_exact() {
        let mut ledger = Ledger { accepted: 2, ended: 2, ..Ledger::default() };
        ledger.facts = Some(Facts { accepted: 2, done: 2 });
        assert!(ledger.is_clean());
        ledger.facts = Some(Facts { accepted: 2, done: 1 });
        assert!(!ledger.is_clean());
    }
}
