//! One cell of the matrix: who, what, when; what must come of it.

use std::{
    fmt,
    time::{Duration, Instant},
};

use crate::{
    shopper::{Shopper, Told},
    stage::{Process, Stage},
    visitor::{Event, check_reply, names, text},
};

/// What n8n says; the gate of a script that stops in the middle is after two of them.
pub(crate) const WORDS: [&str; 4] = ["one ", "two ", "three ", "four"];
/// How many of them come before that gate.
pub(crate) const BEFORE_GATE: usize = 2;

/// A reply has its end this long after the message was sent, whatever died: the queue's 10 seconds, and room for a busy
/// machine. The promise to visitors; the longest that a cell takes is in the docs.
const NO_HANG: Duration = Duration::from_secs(30);
/// How long a frozen process stays so. Just beyond the queue's `ack_wait`.
const FROZEN: Duration = Duration::from_secs(10);

/// Who is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Victim {
    Edge,
    Worker,
    Analytics,
    Nats,
}

/// By what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGKILL.
    Kill,
    /// SIGTERM.
    Term,
    /// SIGSTOP, then SIGCONT.
    Freeze,
}

/// In which moment of the message's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// The edge has the request; NATS has not heard of it.
    BeforeAccept,
    /// NATS holds the message, a worker has it, and nobody has claimed it. An edge that is hit does not know yet that it
    /// was accepted.
    AfterAccept,
    /// It is claimed; the request to n8n is on its way.
    BeforeN8n,
    /// n8n has the request and says nothing.
    BeforeChunk,
    /// Two of four words are with the visitor.
    MidReply,
    /// The whole text is with the visitor, its end in the record. The worker does not know yet that it is there: nobody
    /// was told, and the message is still in the queue. When analytics is hit: the visitor has the end, and analytics has
    /// stored that and not acknowledged it.
    AtEnd,
}

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) victim: Victim,
    pub(crate) fault: Fault,
    pub(crate) moment: Moment,
}

/// What the visitor had of a reply in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Whole,
    /// A part, then `failed` with `interrupted`.
    Part,
    /// No text, then `failed` with `interrupted`.
    Nothing,
}

/// What came of a cell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) seen: Seen,
    pub(crate) asked: u64,
    pub(crate) took: Duration,
}

impl Victim {
    pub(crate) const ALL: [Self; 4] = [Self::Edge, Self::Worker, Self::Analytics, Self::Nats];
}

impl Moment {
    pub(crate) const ALL: [Self; 6] =
        [Self::BeforeAccept, Self::AfterAccept, Self::BeforeN8n, Self::BeforeChunk, Self::MidReply, Self::AtEnd];
}

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Edge => "edge",
            Self::Worker => "worker",
            Self::Analytics => "analytics",
            Self::Nats => "NATS",
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "kill",
            Self::Term => "stop",
            Self::Freeze => "freeze",
        })
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BeforeAccept => "before it is accepted",
            Self::AfterAccept => "after it is accepted",
            Self::BeforeN8n => "before n8n is called",
            Self::BeforeChunk => "n8n is called, no text yet",
            Self::MidReply => "in the middle of the reply",
            Self::AtEnd => "at the end",
        })
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.victim, self.fault, self.moment)
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Whole => "the whole reply",
            Self::Part => "what had come, then `interrupted`",
            Self::Nothing => "`interrupted`",
        })
    }
}

impl Cell {
    pub(crate) fn all(fault: Fault) -> Vec<Self> {
        let cells = |victim| Moment::ALL.map(|moment| Self { victim, fault, moment });
        Victim::ALL.into_iter().flat_map(cells).collect()
    }

    /// Whether its name has all of these words.
    pub(crate) fn is_called(&self, words: &str) -> bool {
        let name = self.to_string();
        words.split_whitespace().all(|word| name.contains(word))
    }

    /// What must be seen, and how often n8n must have been called. Only who loses the worker that called n8n loses a
    /// reply: nobody else may ask for it again.
    fn promised(&self) -> (Seen, u64) {
        match (self.victim, self.fault, self.moment) {
            (Victim::Worker, Fault::Kill, Moment::BeforeN8n) => (Seen::Nothing, 0),
            // The network delivers what the frozen worker has sent.
            (Victim::Worker, Fault::Freeze, Moment::BeforeN8n) => (Seen::Nothing, 1),
            (Victim::Worker, Fault::Kill | Fault::Freeze, Moment::BeforeChunk) => (Seen::Nothing, 1),
            (Victim::Worker, Fault::Kill | Fault::Freeze, Moment::MidReply) => (Seen::Part, 1),
            _ => (Seen::Whole, 1),
        }
    }

    /// Runs the cell to the end and checks every promise.
    pub(crate) async fn run(self) -> Outcome {
        let mut stage = Stage::set(self).await;
        let mut shopper = Shopper::enter(&stage).await;
        stage.prepare(self).await;
        let began = Instant::now();
        let reply = shopper.ask("message-1", "the first one");
        let victim = stage.reach(self, &reply).await;
        stage.hit(self, victim).await;
        let told = match self.fault {
            Fault::Freeze => {
                // The fault itself lasts this long.
                tokio::time::sleep(FROZEN).await;
                // Whoever loses a worker must not need it any more: it wakes up after the end.
                let told = match victim {
                    Process::Worker(_) => Some(end_of(reply.finished(), began).await),
                    _ => None,
                };
                stage.thaw(victim);
                match told {
                    Some(told) => told,
                    None => end_of(reply.finished(), began).await,
                }
            }
            _ => end_of(reply.finished(), began).await,
        };
        let took = told.ended_at.duration_since(began);
        stage.restore(self, victim).await;
        let (seen, asked) = (check(&told.events), stage.asked());
        assert_eq!((seen, asked), self.promised(), "seen and calls of n8n; the visitor had {:?}", told.events);

        // The session is free, and says the same to whoever comes back.
        let more = shopper.ask("message-2", "the second one");
        let more = end_of(more.finished(), Instant::now()).await;
        assert_eq!(text(&more.events), "more", "{more:?}");
        assert!(!more.refused.contains(&409), "the session is not free: {more:?}");
        for edge in stage.serving() {
            let replay = shopper.hear_again(&edge, "message-1").await;
            let last = replay.last().expect("there is an end");
            assert_eq!(last.name, told.events.last().expect("there is an end").name, "again: {replay:?}");
            assert_eq!(check(&replay) == Seen::Whole, seen == Seen::Whole);
        }
        assert_eq!(stage.asked(), asked + 1, "nothing ran again");
        stage.settle(seen).await;
        // Once more, when nobody is left who could call.
        assert_eq!(stage.asked(), asked + 1, "nothing ran late");
        Outcome { seen, asked, took }
    }
}

/// Waits for the end of a reply, but not for ever.
async fn end_of(reply: impl Future<Output = Told>, since: Instant) -> Told {
    let left = NO_HANG.saturating_sub(since.elapsed());
    match tokio::time::timeout(left, reply).await {
        Ok(told) => told,
        Err(_) => panic!("it hangs: no end after {NO_HANG:?}"),
    }
}

/// Checks all events of a reply, over however many connections they came.
fn check(events: &[Event]) -> Seen {
    check_reply(events, 0);
    let all = names(events);
    assert!(!all.contains(&"gap"), "{all:?}");
    let told: Vec<&str> = all.iter().copied().filter(|name| *name != "queued").collect();
    let text = text(events);
    let last = events.last().expect("there is an end");
    match told.as_slice() {
        ["begin", "chunk", "end"] => {
            assert_eq!((text.as_str(), &last.data["finish_reason"]), (WORDS.concat().as_str(), &"stop".into()));
            Seen::Whole
        }
        ["begin", "chunk", "failed"] | ["begin", "failed"] | ["failed"] => {
            assert!(WORDS.concat().starts_with(&text), "{text:?}");
            assert_eq!((&last.data["code"], &last.data["retryable"]), (&"interrupted".into(), &true.into()));
            if text.is_empty() { Seen::Nothing } else { Seen::Part }
        }
        _ => panic!("not the events of one reply: {all:?}"),
    }
}
