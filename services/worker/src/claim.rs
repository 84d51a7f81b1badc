//! The fence before n8n: a message is run by whoever writes it into the session's record, and by nobody after that.

use std::time::Duration;

use bus::{Delivery, PutError, Read};
use protocol::{FailureCode, Message, Millis, Record, Reply, State, Terminal};

use crate::Worker;

/// From this delivery on the message has been in so many hands that something about it is wrong: it is ended.
const LAST_ATTEMPT: u32 = 4;
/// Clocks of the queue's machine and ours may differ by this much before a message is refused as too old.
const CLOCK_SKEW: Duration = Duration::from_secs(5);
/// Tries to write the claim: with their pauses and time limits together under the queue's `ack_wait`.
const TRIES: u32 = 4;

/// What the record said of a message.
pub(crate) enum Claim {
    /// It is ours to run: the record holds its reply as running, at this revision.
    Ours(Box<Ours>),
    /// It is over; the record holds how, perhaps `just_now` decided. There is nothing to run.
    Over { terminal: Terminal, just_now: bool },
    /// The record can't be read or written now. Nothing was decided: the queue gives it out again.
    Later,
}

/// A claimed message.
pub(crate) struct Ours {
    pub(crate) record: Record,
    pub(crate) revision: u64,
    pub(crate) reply: Reply,
}

/// Decides about one delivery.
pub(crate) async fn claim(worker: &Worker, delivery: &Delivery) -> Claim {
    let message = &delivery.message;
    let run = format!("{:016x}", rand::random::<u64>());
    let mut read = if delivery.attempt == 1 { Read::Quick } else { Read::Exact };
    for try_ in 0..TRIES {
        if try_ > 0 {
            tokio::time::sleep(Duration::from_millis(50 << try_)).await;
        }
        let stored = match worker.bus.record(&message.session, read).await {
            Ok(stored) => stored,
            Err(error) => {
                tracing::warn!(%error, message.id = %message.message_id, "can't read a session's record");
                continue;
            }
        };
        // Whatever follows a failed try must know what became of it.
        read = Read::Exact;
        let mut record = stored.record;
        let decided = match record.find(&message.message_id) {
            Some(Reply { terminal: Some(terminal), .. }) => {
                return Claim::Over { terminal: terminal.clone(), just_now: false };
            }
            // Written by this very call, whose answer got lost.
            Some(ours) if ours.run == run => {
                let reply = ours.clone();
                return Claim::Ours(Box::new(Ours { reply, revision: stored.revision, record }));
            }
            // This delivery is the older one: it lay somewhere while another worker was given the message. That one runs.
            Some(other) if other.attempt > delivery.attempt => return Claim::Later,
            // In our name from now on: a worker that was only frozen must see that it lost.
            Some(cut) => {
                let cut = Reply { run: run.clone(), attempt: delivery.attempt, ..cut.clone() };
                failed(cut, FailureCode::Interrupted)
            }
            // So old that its text is gone: it is over, and that is all that can be said.
            None if record.knows(&message.message_id) => {
                let terminal = Terminal::Failed { chunks: 0, code: FailureCode::Interrupted };
                return Claim::Over { terminal, just_now: false };
            }
            None => new_reply(worker, delivery, &run),
        };
        end_what_was_left_running(&mut record, message, &run);
        record.put(&decided);
        match worker.bus.put_record(&record, stored.revision).await {
            Ok(revision) => {
                return match decided.terminal {
                    Some(terminal) => Claim::Over { terminal, just_now: true },
                    None => Claim::Ours(Box::new(Ours { record, revision, reply: decided })),
                };
            }
            Err(PutError::Lost) => {}
            Err(PutError::Bus(error)) => {
                tracing::warn!(%error, message.id = %message.message_id, "can't write a session's record");
            }
        }
    }
    Claim::Later
}

fn new_reply(worker: &Worker, delivery: &Delivery, run: &str) -> Reply {
    let message = &delivery.message;
    let reply = Reply::new(message.message_id.clone(), message.digest.clone(), delivery.attempt, run.to_owned());
    if delivery.attempt >= LAST_ATTEMPT {
        return failed(reply, FailureCode::Interrupted);
    }
    // Usually an edge has said so long ago; this is for a message whose edge died.
    if delivery.attempt == 1 && delivery.queued_at.age_at(Millis::now()) > worker.queue_timeout + CLOCK_SKEW {
        return failed(reply, FailureCode::QueueTimeout);
    }
    reply
}

fn failed(mut reply: Reply, code: FailureCode) -> Reply {
    reply.finish(Terminal::Failed { chunks: reply.next, code });
    reply
}

/// A session has one message at a time: another one that the record shows as running has lost its worker for good.
fn end_what_was_left_running(record: &mut Record, message: &Message, run: &str) {
    for reply in &mut record.replies {
        if reply.state == State::Running && reply.message_id != message.message_id {
            let chunks = reply.next;
            run.clone_into(&mut reply.run);
            reply.finish(Terminal::Failed { chunks, code: FailureCode::Interrupted });
        }
    }
}
