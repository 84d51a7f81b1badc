//! The fence before n8n: a message is run by whoever writes it into the session's record, and by nobody after that.

use std::{pin::pin, time::Duration};

use bus::{Ask, Delivery, PutError, Read, Stored};
use protocol::{FailureCode, FinishReason, Message, Millis, Record, Reply, State, Terminal};

use tokio::time::Instant;

use crate::Worker;

/// From this delivery on the message has been in so many hands that something about it is wrong: it is ended. Many more
/// than stops of workers, pauses of NATS and moves to a worker with room can take in `QUEUE_TIMEOUT`.
pub(crate) const LAST_ATTEMPT: u32 = 20;
/// Clocks of the queue's machine and ours may differ by this much before a message is refused as too old.
pub(crate) const CLOCK_SKEW: Duration = Duration::from_secs(5);
/// How long the claim is tried to be written while the bus is away: through a pause of NATS in which the queue takes
/// this worker for dead. The fence is the record, not the time.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);
/// Who has claimed a message listens to asks within this time.
const LISTENS_WITHIN: Duration = Duration::from_millis(600);
/// The same when NATS is just back, and workers find the way to it one after the other: a try to connect takes two
/// seconds at most, the pause before it half a one.
const LISTENS_AGAIN_WITHIN: Duration = Duration::from_secs(3);
/// NATS is just back for so long.
const LATELY: Duration = Duration::from_secs(10);

/// What the record said of a message.
pub(crate) enum Claim {
    /// It is ours to run: the record holds its reply as running, at this revision.
    Ours(Box<Ours>),
    /// It is over; the record holds how, perhaps `just_now` decided. There is nothing to run. `erased`: its visitor ended
    /// the session, and nothing is told of it.
    Over { terminal: Terminal, just_now: bool, erased: bool },
    /// Another worker runs it, or the record can't be read or written now. Nothing was decided: the queue gives it out
    /// again if need be.
    Later,
}

/// A claimed message.
pub(crate) struct Ours {
    pub(crate) record: Record,
    pub(crate) revision: u64,
    pub(crate) reply: Reply,
}

/// Decides about one delivery. `verdict`: how a message that may be run is ended instead, if it is.
pub(crate) async fn claim(worker: &Worker, delivery: &Delivery, verdict: Option<FailureCode>) -> Claim {
    let run = format!("{:016x}", rand::random::<u64>());
    let mut known = None;
    if delivery.attempt == 1 {
        match claim_unread(worker, delivery, &run, verdict).await {
            Ok(claim) => return claim,
            Err(read) => known = read,
        }
    }
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        let stored = match known.take() {
            Some(stored) => stored,
            // What became of an earlier try must be known: what may be a moment old won't do.
            None => match worker.bus.record(&delivery.message.session, Read::Exact).await {
                Ok(stored) => stored,
                Err(error) => {
                    tracing::debug!(%error, message.id = %delivery.message.message_id, "can't read a session's record");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            },
        };
        if let Some(claim) = decide(worker, delivery, &run, verdict, stored).await {
            return claim;
        }
        tokio::time::sleep(PAUSE).await;
    }
    tracing::warn!(message.id = %delivery.message.message_id, "a message can't be claimed now and is left to the queue");
    Claim::Later
}

/// Writes the claim upon what the record most likely is, which saves waiting for it to be read: what this worker left
/// there, or nothing, as for the first message of a session. The compare-and-set finds out who guessed wrong; the
/// record that was read meanwhile is then handed back, where there is one.
async fn claim_unread(
    worker: &Worker,
    delivery: &Delivery,
    run: &str,
    verdict: Option<FailureCode>,
) -> Result<Claim, Option<Stored>> {
    let session = &delivery.message.session;
    if let Some(left) = worker.take_left(session) {
        return decide(worker, delivery, run, verdict, left).await.ok_or(None);
    }
    let nothing = Stored { record: Record::new(session.clone()), revision: 0 };
    let mut guess = pin!(decide(worker, delivery, run, verdict, nothing));
    let mut read = pin!(worker.bus.record(session, Read::Quick));
    let read = tokio::select! {
        biased;
        claim = &mut guess => match claim {
            Some(claim) => return Ok(claim),
            None => read.await,
        },
        read = &mut read => match guess.await {
            Some(claim) => return Ok(claim),
            None => read,
        },
    };
    Err(read.ok())
}

/// Decides by the record, and writes the decision upon it. `None`: it moved, or was not written.
async fn decide(
    worker: &Worker,
    delivery: &Delivery,
    run: &str,
    verdict: Option<FailureCode>,
    stored: Stored,
) -> Option<Claim> {
    let message = &delivery.message;
    let Stored { mut record, revision } = stored;
    // Nobody waits for it, and whoever would hear of it was told already.
    if record.ended {
        let terminal = Terminal::End { chunks: 0, finish_reason: FinishReason::Cancelled, duration_ms: 0 };
        return Some(Claim::Over { terminal, just_now: false, erased: true });
    }
    let decided = match record.find(&message.message_id) {
        // Perhaps by this very call, whose answer got lost: it is to be told of all the same.
        Some(Reply { terminal: Some(terminal), run: by, .. }) => {
            return Some(Claim::Over { terminal: terminal.clone(), just_now: by == run, erased: false });
        }
        // Written by this very call, whose answer got lost.
        Some(ours) if ours.run == run => {
            let reply = ours.clone();
            return Some(Claim::Ours(Box::new(Ours { reply, revision, record })));
        }
        // This delivery is the older one: it lay somewhere while another worker was given the message. That one runs.
        Some(other) if other.attempt > delivery.attempt => return Some(Claim::Later),
        // The queue took its worker for dead because NATS stood still, or heard of it too late. An ended run would be
        // the visitor's loss; who is really gone does not answer. Whoever only waits may be relieved at any time.
        Some(other) if other.waiting_until.is_none() && is_running(worker, message).await.ok()? => {
            tracing::info!(message.id = %message.message_id, "another worker runs a message that came again");
            return Some(Claim::Later);
        }
        // In our name from now on: a worker that was only frozen must see that it lost.
        Some(cut) => {
            let cut = Reply { run: run.to_owned(), attempt: delivery.attempt, ..cut.clone() };
            // One that only waits for its workflow can wait here: n8n isn't asked again.
            if cut.waiting_until.is_some() { cut } else { failed(cut, FailureCode::Interrupted) }
        }
        // So old that its text is gone: it is over, and that is all that can be said.
        None if record.knows(&message.message_id) => {
            let terminal = Terminal::Failed { chunks: 0, code: FailureCode::Interrupted };
            return Some(Claim::Over { terminal, just_now: false, erased: false });
        }
        // The store may have lost the claim of a run that goes on, or the end of one that is just over.
        None if may_have_been_claimed(worker, delivery) && is_running(worker, message).await.ok()? => {
            tracing::info!(message.id = %message.message_id, "a message whose claim is lost is in another's hands");
            return Some(Claim::Later);
        }
        None => new_reply(worker, delivery, run, verdict),
    };
    end_what_was_left_running(&mut record, message, run);
    record.put(&decided);
    match worker.bus.put_record(&record, revision).await {
        Ok(revision) => Some(match decided.terminal {
            Some(terminal) => Claim::Over { terminal, just_now: true, erased: false },
            None => Claim::Ours(Box::new(Ours { record, revision, reply: decided })),
        }),
        Err(PutError::Lost) => None,
        Err(PutError::Bus(error)) => {
            tracing::debug!(%error, message.id = %message.message_id, "can't write a session's record");
            None
        }
    }
}

/// Whether somebody runs the message. Asked again for a while: who runs it may not listen yet, or not again.
async fn is_running(worker: &Worker, message: &Message) -> Result<bool, bus::Error> {
    let is_back = worker.bus.back_for().is_some_and(|time| time < LATELY);
    let patience = if is_back { LISTENS_AGAIN_WITHIN } else { LISTENS_WITHIN };
    let until = Instant::now() + patience;
    loop {
        if answers(worker, message).await? {
            return Ok(true);
        }
        if Instant::now() >= until {
            return Ok(false);
        }
        tokio::time::sleep(2 * PAUSE).await;
    }
}

/// Whether somebody may have had a message of which the record knows nothing: it comes again, or was queued before NATS
/// was away, which forgets how often it handed something out when it is killed.
fn may_have_been_claimed(worker: &Worker, delivery: &Delivery) -> bool {
    let queued_for = delivery.queued_at.age_at(Millis::now());
    delivery.attempt > 1 || worker.bus.back_for().is_some_and(|time| time < LATELY && time < queued_for + CLOCK_SKEW)
}

/// Whether a worker answers for the message.
async fn answers(worker: &Worker, message: &Message) -> Result<bool, bus::Error> {
    // No text is wanted.
    let ask = Ask { message_id: Some(message.message_id.clone()), from: u32::MAX };
    Ok(worker.bus.ask(&message.session, &ask).await?.is_some())
}

fn new_reply(worker: &Worker, delivery: &Delivery, run: &str, verdict: Option<FailureCode>) -> Reply {
    let message = &delivery.message;
    let mut reply = Reply::new(message.message_id.clone(), message.digest.clone(), delivery.attempt, run.to_owned());
    reply.traceparent.clone_from(&message.traceparent);
    // Usually an edge has said so long ago; this is for a message whose edge died.
    if delivery.queued_at.age_at(Millis::now()) > worker.queue_timeout + CLOCK_SKEW {
        return failed(reply, FailureCode::QueueTimeout);
    }
    if delivery.attempt >= LAST_ATTEMPT {
        return failed(reply, FailureCode::Interrupted);
    }
    match verdict {
        Some(code) => failed(reply, code),
        None => reply,
    }
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

#[cfg(test)]
mod tests {
    use bus::{Bus, Circuit, Config, Messages, Request};
    use clap::Parser as _;
    use prometheus_client::metrics::counter::Counter;
    use protocol::{MessageId, SessionId, SiteId};

    use super::*;
    use crate::{intake::Room, metrics::Metrics, records, upstream::Upstreams};

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        worker: crate::Config,
    }

    fn worker(bus: &Bus) -> Worker {
        // Another test may have been quicker.
        rustls::crypto::ring::default_provider().install_default().ok();
        let url = "http://127.0.0.1:9/webhook/none";
        let secret = "Tn5bVx2cRk8mWq4zHj7sLp1dFy6gAe3u";
        let given = ["worker", "--n8n-webhook-url", url, "--session-secret-key", secret, "--breaker-open-for", "60s"];
        let cli = Cli::parse_from(given);
        let metrics = Metrics::new(&runtime::metrics::Metrics::new(None), 10);
        Worker {
            id: "here".into(),
            bus: bus.clone(),
            upstreams: Upstreams::new(&cli.worker, &metrics).unwrap(),
            stopper: crate::stopper::Stopper::new(metrics.stops.clone()),
            metrics,
            queue_timeout: Duration::from_secs(30),
            late_reply_ttl: Duration::ZERO,
            reply_max_bytes: 1024,
            waiting: std::sync::Arc::new(tokio::sync::Semaphore::new(1)),
            stopping: tokio_util::sync::CancellationToken::new(),
            left: records(Counter::default()),
        }
    }

    fn site() -> SiteId {
        SiteId::new("default").unwrap()
    }

    /// The one session of these tests.
    fn session() -> SessionId {
        SessionId::new("sess_1767168909_9f86d081884c7d65").unwrap()
    }

    /// A message of it, as the queue hands it out.
    async fn deliver(bus: &Bus, messages: &mut Messages, id: &str) -> Delivery {
        let message = serde_json::json!({"v":1,"site":"default","session":session(),
            "message_id":id,"text":"hi","digest":"d","accepted_at":Millis::now()});
        bus.submit(&serde_json::from_value(message).unwrap()).await.unwrap();
        messages.next(1).await
    }

    async fn claim_it(worker: &Worker, delivery: &Delivery) -> Ours {
        match claim(worker, delivery, None).await {
            Claim::Ours(ours) => *ours,
            Claim::Over { terminal, .. } => panic!("it is over: {terminal:?}"),
            Claim::Later => panic!("it can't be claimed"),
        }
    }

    /// Ends a claimed reply as a run does.
    async fn finish(worker: &Worker, delivery: &Delivery, mut ours: Ours) {
        ours.reply.finish(Terminal::Failed { chunks: 0, code: FailureCode::UpstreamEmpty });
        ours.record.put(&ours.reply);
        let revision = worker.bus.put_record(&ours.record, ours.revision).await.unwrap();
        delivery.ack().await;
        worker.leave(&Stored { record: ours.record, revision }, worker.bus.epoch());
    }

    /// A worker that has run and left `message-1`.
    async fn after_one_message() -> (Bus, Worker, Messages) {
        let bus = Bus::local(&Config::default());
        let worker = worker(&bus);
        let mut messages = bus.messages().await.unwrap();
        let delivery = deliver(&bus, &mut messages, "message-1").await;
        let ours = claim_it(&worker, &delivery).await;
        finish(&worker, &delivery, ours).await;
        (bus, worker, messages)
    }

    async fn recorded(bus: &Bus, delivery: &Delivery) -> Vec<MessageId> {
        let stored = bus.record(&delivery.message.session, Read::Exact).await.unwrap();
        stored.record.replies.iter().map(|reply| reply.message_id.clone()).collect()
    }

    /// Whoever wrote the record last, a claim by guess never drops what stands there.
    #[tokio::test]
    async fn a_claim_keeps_what_others_recorded() {
        let bus = Bus::local(&Config::default());
        let (here, there) = (worker(&bus), worker(&bus));
        let mut messages = bus.messages().await.unwrap();
        let mut expected = Vec::new();
        // In turn: nothing there; as left by this worker; unknown to the other one; changed since this one left it.
        for (worker, id) in [(&here, "message-1"), (&here, "message-2"), (&there, "message-3"), (&here, "message-4")] {
            let delivery = deliver(&bus, &mut messages, id).await;
            let ours = claim_it(worker, &delivery).await;
            expected.push(MessageId::new(id).unwrap());
            assert_eq!(recorded(&bus, &delivery).await, expected);
            finish(worker, &delivery, ours).await;
        }
    }

    /// NATS was away, and the queue gives a message again while its run goes on: it is left alone. Once nobody answers for
    /// it, it ends as interrupted.
    #[tokio::test(start_paused = true)]
    async fn what_comes_again_is_cut_only_when_nobody_runs_it() {
        let bus = Bus::local(&Config::default());
        let worker = worker(&bus);
        let mut messages = bus.messages().await.unwrap();
        let first = deliver(&bus, &mut messages, "message-1").await;
        let ours = claim_it(&worker, &first).await;
        let mut requests = bus.requests(&session()).await.unwrap();
        let answers = async {
            loop {
                if let Request::Ask(_, to) = requests.next().await {
                    to.send(ours.reply.clone());
                }
            }
        };
        let again = messages.next(1).await;
        assert_eq!(again.attempt, 2);
        tokio::select! {
            claim = claim(&worker, &again, None) => assert!(matches!(claim, Claim::Later)),
            () = answers => {}
        }
        drop(requests);
        let again = messages.next(1).await;
        let Claim::Over { terminal, just_now: true, .. } = claim(&worker, &again, None).await else {
            panic!("it is not over")
        };
        assert_eq!(terminal, Terminal::Failed { chunks: 0, code: FailureCode::Interrupted });
    }

    /// A store that lost everything gives the same revisions again: what was left before a reconnect is not built upon.
    #[tokio::test]
    async fn what_was_left_before_a_reconnect_is_not_used() {
        let (bus, worker, mut messages) = after_one_message().await;

        let session = session();
        let revision = bus.record(&session, Read::Exact).await.unwrap().revision;
        let stored = Stored { record: Record::new(session), revision };
        worker.leave(&stored, bus.epoch() + 1);
        let second = deliver(&bus, &mut messages, "message-2").await;
        claim_it(&worker, &second).await;
        assert_eq!(recorded(&bus, &second).await, ["message-1", "message-2"].map(|id| MessageId::new(id).unwrap()));
    }

    /// A message that comes again is ended only if nobody runs it.
    #[tokio::test(start_paused = true)]
    async fn a_run_that_answers_is_left_alone() {
        let bus = Bus::local(&Config::default());
        let (here, there) = (worker(&bus), worker(&bus));
        let mut messages = bus.messages().await.unwrap();
        let first = deliver(&bus, &mut messages, "message-1").await;
        let ours = claim_it(&here, &first).await;
        let mut requests = bus.requests(&session()).await.unwrap();
        first.give_back().await;
        let again = messages.next(1).await;
        assert_eq!(again.attempt, 2);

        let answer = async {
            if let bus::Request::Ask(ask, to) = requests.next().await {
                to.send(ours.reply.part_from(ask.from, bus::ASK_PART));
            }
        };
        let (claim_of_running, ()) = tokio::join!(claim(&there, &again, None), answer);
        assert!(matches!(claim_of_running, Claim::Later));

        drop(requests);
        let Claim::Over { terminal, just_now: true, .. } = claim(&there, &again, None).await else {
            panic!("it is not over")
        };
        assert_eq!(terminal, Terminal::Failed { chunks: 0, code: FailureCode::Interrupted });
    }

    /// An edge ended the message while it was queued, and this worker still holds the record from before.
    #[tokio::test]
    async fn what_was_ended_meanwhile_is_not_claimed_by_guess() {
        let (bus, worker, mut messages) = after_one_message().await;

        let second = deliver(&bus, &mut messages, "message-2").await;
        let mut stored = bus.record(&second.message.session, Read::Exact).await.unwrap();
        let mut ended = Reply::new(second.message.message_id.clone(), "d".into(), 0, "edge".into());
        ended.finish(Terminal::Failed { chunks: 0, code: FailureCode::QueueTimeout });
        stored.record.put(&ended);
        bus.put_record(&stored.record, stored.revision).await.unwrap();

        let Claim::Over { terminal, just_now: false, .. } = claim(&worker, &second, None).await else {
            panic!("it was claimed")
        };
        assert_eq!(terminal, Terminal::Failed { chunks: 0, code: FailureCode::QueueTimeout });
    }

    /// A verdict ends what would be run, once: whoever gets the message again finds that end, whatever it would say.
    #[tokio::test]
    async fn a_verdict_ends_a_message_that_may_be_run() {
        let (bus, worker, mut messages) = after_one_message().await;
        let open = Terminal::Failed { chunks: 0, code: FailureCode::CircuitOpen };

        let second = deliver(&bus, &mut messages, "message-2").await;
        for (verdict, first) in [(Some(FailureCode::CircuitOpen), true), (None, false)] {
            let Claim::Over { terminal, just_now, .. } = claim(&worker, &second, verdict).await else {
                panic!("it runs")
            };
            assert_eq!((&terminal, just_now), (&open, first));
        }
        assert_eq!(recorded(&bus, &second).await, ["message-1", "message-2"].map(|id| MessageId::new(id).unwrap()));
        second.ack().await;

        // Of what was claimed before it says nothing: that run was cut.
        let mut third = deliver(&bus, &mut messages, "message-3").await;
        claim_it(&worker, &third).await;
        third.attempt = 2;
        let verdict = Some(FailureCode::CircuitOpen);
        let Claim::Over { terminal, .. } = claim(&worker, &third, verdict).await else { panic!("it runs") };
        assert_eq!(terminal, Terminal::Failed { chunks: 0, code: FailureCode::Interrupted });
    }

    /// A status of another worker, and whether messages are left to it.
    #[tokio::test]
    async fn messages_are_left_only_to_whom_may_call() {
        let check = |id: &str, circuit: Option<Circuit>, expected: bool| {
            let bus = Bus::local(&Config::default());
            let sites = circuit.into_iter().map(|circuit| (site(), circuit)).collect();
            let said = bus::Status { id: id.into(), capacity: 1, running: 0, n8n: "ok".into(), sites };
            bus.announce_worker(&said);
            assert_eq!(worker(&bus).another_may_call(&site()), expected, "{said:?}");
        };
        check("there", Some(Circuit::Closed), true);
        check("there", Some(Circuit::HalfOpen), true);
        check("there", None, true);
        check("there", Some(Circuit::Open), false);
        check("here", Some(Circuit::Closed), false);
    }

    /// A worker that doesn't call n8n leaves a message to one that does, for a while; then it ends it.
    #[tokio::test(start_paused = true)]
    async fn a_message_is_not_left_to_others_for_ever() {
        let bus = Bus::local(&Config::default());
        let worker = worker(&bus);
        (0..10).for_each(|_| worker.upstreams[0].breaker.admit().unwrap().over(true));
        let another_is_there = || {
            let sites = [(site(), Circuit::Closed)].into();
            bus.announce_worker(&bus::Status { id: "there".into(), capacity: 1, running: 0, n8n: "ok".into(), sites });
        };
        let mut messages = bus.messages().await.unwrap();
        let mut delivery = deliver(&bus, &mut messages, "message-1").await;
        let run = async |delivery| {
            another_is_there();
            let (room, cut) = (Room::none(), tokio_util::sync::CancellationToken::new());
            crate::run::run(&worker, &worker.upstreams[0], delivery, room, &cut).await;
        };
        for attempt in 1..=crate::run::LEAVE_UNTIL {
            assert_eq!(delivery.attempt, attempt);
            run(delivery).await;
            assert_eq!(bus.record(&session(), Read::Exact).await.unwrap().revision, 0, "nothing was decided");
            delivery = messages.next(1).await;
        }
        run(delivery).await;
        let record = bus.record(&session(), Read::Exact).await.unwrap().record;
        let expected = Terminal::Failed { chunks: 0, code: FailureCode::CircuitOpen };
        assert_eq!(record.replies[0].terminal, Some(expected));
        assert!(bus.pending(&session()).await.unwrap().is_none(), "the session is free");
    }

    /// A message that must not be run ends by the same fence, with its code, and only once.
    #[tokio::test]
    async fn what_is_not_to_be_run_is_ended_in_the_record() {
        let bus = Bus::local(&Config::default());
        let (here, there) = (worker(&bus), worker(&bus));
        let mut messages = bus.messages().await.unwrap();
        let delivery = deliver(&bus, &mut messages, "message-1").await;
        let expected = Terminal::Failed { chunks: 0, code: FailureCode::QueueTimeout };
        for (worker, first) in [(&here, true), (&there, false)] {
            let claim = claim(worker, &delivery, Some(FailureCode::QueueTimeout)).await;
            let Claim::Over { terminal, just_now, .. } = claim else { panic!("it was claimed") };
            assert_eq!((terminal, just_now), (expected.clone(), first));
        }
        let Claim::Over { terminal, just_now: false, .. } = claim(&there, &delivery, None).await else {
            panic!("it was claimed")
        };
        assert_eq!(terminal, expected);
    }
}
