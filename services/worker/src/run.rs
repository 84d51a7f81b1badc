//! The life of one message: claim it, ask n8n, tell what comes, record how it ended, acknowledge.
//!
//! One task, no locks: reading n8n, answering edges, heartbeats and record writes take turns in one `select!`. Nothing
//! in it waits for the bus while n8n has something to say: events are sent without waiting, the record is written by a
//! future that runs beside the reading, and what could not be sent is in the buffer, which is the truth.

use std::{borrow::Cow, pin::Pin, time::Duration};

use bus::{
    Answer as AskAnswer, Ask, Cancel, Delivery, LateAnswer, PutError, Read, Request, Requests, Sender, Stored, Taken,
};
use protocol::{Event, Fact, FactKind, FailureCode, FinishReason, Message, Millis, Record, Reply, Terminal, What};
use runtime::trace::{self, Exemplar};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, Interval, MissedTickBehavior, interval_at},
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

use crate::{
    Worker,
    breaker::Call,
    claim::{Claim, Ours, claim},
    intake::Room,
    lines::Piece,
    n8n::{self, Read as Step},
    upstream::Upstream,
};

/// Tells edges that the run lives and how far it is, so that a lost last event is noticed.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// How often a growing reply is recorded. A tab that was away may hold this much less, never a hole.
const RECORD_EVERY: Duration = Duration::from_secs(1);
/// A sign of life for the queue, three in every `ack_wait`.
pub(crate) const PROGRESS: Duration = Duration::from_secs(3);
/// After the end the buffer answers edges that are late for so long.
const LINGER: Duration = Duration::from_secs(2);
/// The same from when NATS is back.
const LINGER_AFTER_OUTAGE: Duration = Duration::from_secs(10);
/// Between two looks whether it is.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// How long the end of a reply is tried to be recorded while the bus is away.
const RECORD_END_WITHIN: Duration = Duration::from_secs(60);
/// The same when the process is to end.
const RECORD_END_WHEN_CUT: Duration = Duration::from_secs(3);

/// Up to this delivery a worker that doesn't call n8n leaves a message to one that does: not for long, and not so often
/// that the message is taken for a bad one ([`LAST_ATTEMPT`](crate::claim::LAST_ATTEMPT)).
pub(crate) const LEAVE_UNTIL: u32 = 10;
/// Before it is handed out again. Without a pause it would come back here: who is done with messages so quickly asks for
/// more than the others do.
const LEAVE_FOR: Duration = Duration::from_millis(500);

/// Ends one delivery that is not to be run.
pub(crate) async fn refuse(worker: &Worker, delivery: &Delivery, code: FailureCode) {
    let span = worker.process(delivery);
    refuse_it(worker, delivery, code).instrument(span).await;
}

async fn refuse_it(worker: &Worker, delivery: &Delivery, code: FailureCode) {
    match claim(worker, delivery, Some(code)).await {
        Claim::Over { terminal, just_now, erased } => tell_over(worker, delivery, &terminal, just_now, erased).await,
        // It began to wait for its workflow in between: there will be somebody to wait.
        Claim::Ours(_) => delivery.give_back().await,
        Claim::Later => {}
    }
}

/// Tells the end of a reply that was not run here.
async fn tell_over(worker: &Worker, delivery: &Delivery, terminal: &Terminal, just_now: bool, erased: bool) {
    let message = &delivery.message;
    tracing::info!(message.id = %message.message_id, attempt = delivery.attempt, ?terminal, "nothing to run");
    note_end(terminal);
    // From a later attempt: edges show it over what they know.
    let what = What::Done(terminal.clone());
    let event = Event { message_id: message.message_id.clone(), attempt: delivery.attempt, what };
    worker.bus.sender(&message.session).send(&event);
    if just_now {
        if matches!(terminal, Terminal::Failed { code: FailureCode::CircuitOpen, .. }) {
            worker.metrics.circuit_refused.get_or_create(&worker.metrics.site(&message.site)).inc();
        }
        worker.count(message, terminal, None);
    } else if !erased {
        // Whoever wrote it may have died before it told. Told twice, it counts once.
        worker.tell(message, terminal, None);
    }
    delivery.ack().await;
}

/// Runs one delivery to its end. `cut` ends it as `interrupted`.
pub(crate) async fn run(worker: &Worker, upstream: &Upstream, delivery: Delivery, room: Room, cut: &CancellationToken) {
    let epoch = worker.bus.epoch();
    let span = worker.process(&delivery);
    // In a place of its own, which is given back while latecomers are answered.
    let over = Box::pin(to_the_end(worker, upstream, &delivery, room, cut).instrument(span)).await;
    let Some((mut run, requests, terminal)) = over else { return };
    // Past the acknowledgement, and out of the span: what an edge shows of the reply then lasts longer than that.
    run.tell_end(terminal);
    run.room = None;
    worker.leave(&Stored { record: run.record, revision: run.revision }, epoch);
    let reply = run.reply;
    answer_latecomers(worker, &delivery, &reply, requests, cut).await;
}

/// Runs one delivery until its end is recorded and acknowledged; what is left to do then. The breaker is asked before the
/// claim, so that a message that n8n is not called for costs one write.
async fn to_the_end<'a>(
    worker: &'a Worker,
    upstream: &'a Upstream,
    delivery: &'a Delivery,
    room: Room,
    cut: &CancellationToken,
) -> Option<(Run<'a>, Requests, Terminal)> {
    let message = &delivery.message;
    let call = upstream.breaker.admit();
    if call.is_none() && delivery.attempt <= LEAVE_UNTIL && worker.another_may_call(&message.site) {
        worker.metrics.circuit_given_back.get_or_create(&worker.metrics.site(&message.site)).inc();
        delivery.give_back_after(LEAVE_FOR).await;
        return None;
    }
    let verdict = if call.is_none() { Some(FailureCode::CircuitOpen) } else { None };
    // Left to the queue when the process must go.
    let claimed = cut.run_until_cancelled(claim(worker, delivery, verdict)).await?;
    let Ours { record, revision, reply } = match claimed {
        Claim::Ours(ours) => *ours,
        Claim::Over { terminal, just_now, erased } => {
            tell_over(worker, delivery, &terminal, just_now, erased).await;
            return None;
        }
        Claim::Later => return None,
    };
    let mut requests = worker.bus.requests(&message.session).await.ok()?;
    worker.metrics.in_flight.inc();
    let mut run = Run {
        worker,
        upstream,
        message,
        sender: worker.bus.sender(&message.session),
        record,
        revision,
        reply,
        first_text: None,
        saved: 0,
        save_at: None,
        saving: None,
        waiting: None,
        cancel_asked: false,
        last_late: None,
        room: Some(room),
        seat: None,
        recorded_waiting: None,
    };
    let ended = run.through(delivery, call, &mut requests, cut).await;
    worker.metrics.in_flight.dec();
    match ended {
        Ok(Ended::Over(terminal)) => Some((run, requests, terminal)),
        Ok(Ended::HandedOver) => {
            tracing::info!(message.id = %message.message_id, "left a reply that waits to another worker");
            None
        }
        Err(TakenOver) => {
            worker.metrics.taken_over.inc();
            trace::failed(&Span::current(), "taken_over");
            tracing::warn!(message.id = %message.message_id, "another worker took over, or the visitor ended the session; saying nothing more");
            None
        }
    }
}

/// How it ended, for the trace.
fn note_end(terminal: &Terminal) {
    let span = Span::current();
    match terminal {
        Terminal::End { finish_reason, .. } => trace::note(&span, "frontdesk.outcome", finish_reason.as_str()),
        Terminal::Failed { code, .. } => {
            trace::note(&span, "frontdesk.outcome", code.as_str());
            trace::failed(&span, code.as_str());
        }
    }
}

/// One running reply.
pub(crate) struct Run<'a> {
    pub(crate) worker: &'a Worker,
    upstream: &'a Upstream,
    pub(crate) message: &'a Message,
    sender: Sender,
    pub(crate) record: Record,
    revision: u64,
    /// The buffer: everything that was said.
    pub(crate) reply: Reply,
    /// From the message's acceptance.
    first_text: Option<Duration>,
    /// How many chunks the last record write holds.
    saved: u32,
    save_at: Option<Instant>,
    saving: Option<Saving>,
    /// n8n is read no more, and the workflow may send the rest until then.
    pub(crate) waiting: Option<Instant>,
    /// The visitor stopped the reply while something was being recorded.
    pub(crate) cancel_asked: bool,
    /// What ended the reply came late, and is answered once that is recorded: whose answer, and its first chunk.
    pub(crate) last_late: Option<(LateAnswer, u32)>,
    /// While it waits, what bounds how many do.
    pub(crate) seat: Option<OwnedSemaphorePermit>,
    /// Its place in the worker, as long as n8n is read.
    pub(crate) room: Option<Room>,
    /// How many chunks the record held when it last said that the reply waits.
    pub(crate) recorded_waiting: Option<u32>,
}

/// A record write on its way.
type Saving = Pin<Box<dyn Future<Output = Result<u64, PutError>> + Send>>;

/// What a turn of the loop brought.
enum Turn {
    Read(Step),
    Asked(Request),
    Beat,
    Progress,
    SaveDue,
    Saved(Result<u64, PutError>),
    /// Nothing came late, in all the time there was.
    TooLate,
    /// The worker stops, and another one can wait as well.
    HandOver,
    Cut,
}

/// Somebody else holds the message.
pub(crate) struct TakenOver;

/// How this worker's part in a message went.
enum Ended {
    /// The end is recorded, and to be told.
    Over(Terminal),
    /// Another worker goes on waiting.
    HandedOver,
}

impl Run<'_> {
    /// Asks n8n, unless that was done before, and tells what comes, to the recorded and published end.
    async fn through(
        &mut self,
        delivery: &Delivery,
        mut call: Option<Call>,
        requests: &mut Requests,
        cut: &CancellationToken,
    ) -> Result<Ended, TakenOver> {
        let (mut beat, mut progress) = (every(HEARTBEAT), every(PROGRESS));
        // Edges learn that the message is taken.
        self.send(What::Heartbeat { next: self.reply.next, begun: self.reply.begun_at.is_some() });
        let mut answer = None;
        match self.reply.waiting_until {
            Some(until) => {
                // n8n is not called: another message may try.
                call = None;
                self.wait(until);
            }
            None => answer = Some(self.upstream.client.ask(self.message)),
        }
        let terminal = loop {
            match self.turn(&mut answer, requests, &mut beat, &mut progress, cut).await {
                Turn::Read(Step::More) => {
                    if self.first_text.is_some() {
                        call.as_mut().map(Call::answering);
                    }
                    self.want_save();
                }
                Turn::Read(Step::End(result)) => {
                    let answer = answer.take();
                    let may_go_on = answer.as_ref().is_some_and(|answer| self.read_to_its_end(answer));
                    let waits = result.is_err() && may_go_on && self.takes_late();
                    if let Some((call, answer)) = call.take().zip(answer)
                        && (!waits || answer.is_away())
                    {
                        call.over(answer.is_outage());
                    }
                    match result {
                        Ok(()) => break self.end(FinishReason::Stop),
                        Err(_) if waits => self.wait(Millis::now().after(self.worker.late_reply_ttl)),
                        Err(code) => break self.failed(code),
                    }
                }
                Turn::Asked(Request::Ask(ask, to)) => answer_ask(&self.reply, &ask, to),
                Turn::Asked(Request::Cancel(Cancel { message_id })) if message_id == self.reply.message_id => {
                    trace::event(&Span::current(), "cancel");
                    break self.end(FinishReason::Cancelled);
                }
                Turn::Asked(Request::Cancel(_)) => {}
                Turn::Asked(Request::Late(late, to)) => {
                    self.take_late(*late, to, delivery, requests).await?;
                    if self.cancel_asked {
                        break self.end(FinishReason::Cancelled);
                    }
                    if self.last_late.is_some() {
                        break self.end(FinishReason::Stop);
                    }
                }
                Turn::Beat => {
                    self.send(What::Heartbeat { next: self.reply.next, begun: self.reply.begun_at.is_some() });
                }
                Turn::Progress => delivery.progress().await,
                Turn::SaveDue => self.start_save(),
                Turn::Saved(result) => {
                    let written = result.is_ok();
                    if let Err(lost) = self.saved(result).await {
                        if self.record.ended {
                            self.stop_execution(answer.as_ref());
                        }
                        return Err(lost);
                    }
                    self.keep_recorded(written);
                }
                Turn::TooLate => break self.failed(FailureCode::UpstreamTimeout),
                Turn::HandOver => {
                    let recorded = self.hand_over(delivery, requests).await?;
                    if self.cancel_asked {
                        break self.end(FinishReason::Cancelled);
                    }
                    if recorded {
                        delivery.give_back().await;
                        return Ok(Ended::HandedOver);
                    }
                    break self.failed(FailureCode::Interrupted);
                }
                Turn::Cut => break self.failed(FailureCode::Interrupted),
            }
        };
        // One that was cancelled or cut says nothing of n8n, and another may try.
        drop(call);
        // Closes the connection where the answer was not read to its end.
        let answer = answer.take();
        if let Some(answer) = &answer {
            self.read_to_its_end(answer);
        }
        if matches!(terminal, Terminal::End { finish_reason: FinishReason::Cancelled, .. }) {
            self.stop_execution(answer.as_ref());
        }
        drop(answer);
        note_end(&terminal);
        tracing::info!(message.id = %self.message.message_id, site = %self.message.site, ?terminal, "a reply is over");
        self.reply.finish(terminal.clone());
        if !self.record_end(delivery, requests, cut).await? {
            tracing::error!(message.id = %self.message.message_id, "the end of a reply could not be recorded");
            return Err(TakenOver);
        }
        // Before the message is gone: nobody else would tell it.
        self.worker.count(self.message, &terminal, self.first_text);
        // Before the end is told, so that whoever answers it at once finds the session free.
        delivery.ack().await;
        Ok(Ended::Over(terminal))
    }

    /// Tells the end, which is recorded, and whoever brought it.
    fn tell_end(&mut self, terminal: Terminal) {
        if let Some((to, first)) = self.last_late.take() {
            self.tell_from(first);
            to.send(Taken::Now);
        }
        self.send(What::Done(terminal));
    }

    /// Counts what n8n's answer was like, and says whether its workflow may go on.
    fn read_to_its_end(&self, answer: &n8n::Answer) -> bool {
        self.worker.metrics.node_errors.inc_by(answer.errors().into());
        self.worker.metrics.odd_lines.inc_by(answer.odd_lines().into());
        self.worker.metrics.retries.inc_by(answer.tries().saturating_sub(1).into());
        self.worker.metrics.retries_refused.inc_by(answer.out_of_budget().into());
        tracing::info!(
            message.id = %self.message.message_id, site = %self.message.site,
            upstream.status = answer.status(), upstream.tries = answer.tries(), "n8n is read no more"
        );
        answer.may_go_on()
    }

    async fn turn(
        &mut self,
        answer: &mut Option<n8n::Answer>,
        requests: &mut Requests,
        beat: &mut Interval,
        progress: &mut Interval,
        cut: &CancellationToken,
    ) -> Turn {
        let Self { worker, message, sender, reply, first_text, save_at, saving, waiting, .. } = self;
        let may_leave = waiting.is_some() && worker.bus.outlives_process();
        let mut tell = |piece: Piece<'_>| {
            let what = match piece {
                Piece::Begun => {
                    let at = Millis::now();
                    reply.begun_at = Some(at);
                    What::Begin { at }
                }
                Piece::Text(content) => {
                    first_text.get_or_insert_with(|| message.accepted_at.age_at(Millis::now()));
                    worker.metrics.chunks.inc();
                    What::Chunk { index: reply.push(content.to_owned()), content: Cow::Borrowed(content) }
                }
                Piece::Alive | Piece::ErrorSeen => return,
            };
            sender.send(&Event { message_id: reply.message_id.clone(), attempt: reply.attempt, what });
        };
        tokio::select! {
            step = async { answer.as_mut().expect("asked only while there is one").read(&mut tell).await },
                if answer.is_some() => Turn::Read(step),
            request = requests.next() => Turn::Asked(request),
            _ = beat.tick() => Turn::Beat,
            _ = progress.tick() => Turn::Progress,
            result = async { saving.as_mut().expect("asked only while there is one").await }, if saving.is_some() => {
                Turn::Saved(result)
            }
            () = async { tokio::time::sleep_until(save_at.expect("asked only when set")).await },
                if save_at.is_some() && saving.is_none() => Turn::SaveDue,
            () = async { tokio::time::sleep_until(waiting.expect("asked only when set")).await },
                if waiting.is_some() => Turn::TooLate,
            () = worker.stopping.cancelled(), if may_leave => Turn::HandOver,
            () = cut.cancelled() => Turn::Cut,
        }
    }

    /// The visitor wants no more of it: n8n need not go on either.
    fn stop_execution(&self, answer: Option<&n8n::Answer>) {
        let may_run = self.waiting.is_some() || answer.is_some_and(n8n::Answer::may_have_begun);
        if let Some(executions) = self.upstream.executions.as_ref().filter(|_| may_run) {
            self.worker.stopper.stop(executions, self.message);
        }
    }

    pub(crate) fn send(&self, what: What<'_>) {
        let (message_id, attempt) = (self.reply.message_id.clone(), self.reply.attempt);
        self.sender.send(&Event { message_id, attempt, what });
    }

    fn end(&self, finish_reason: FinishReason) -> Terminal {
        let duration_ms = millis(self.message.accepted_at.age_at(Millis::now()));
        Terminal::End { chunks: self.reply.next, finish_reason, duration_ms }
    }

    fn failed(&self, code: FailureCode) -> Terminal {
        Terminal::Failed { chunks: self.reply.next, code }
    }

    /// When text first came is known by whoever brings it.
    pub(crate) fn note_text(&mut self) {
        self.first_text.get_or_insert_with(|| self.message.accepted_at.age_at(Millis::now()));
    }

    /// Records it at that time, if not earlier.
    pub(crate) fn save_by(&mut self, at: Instant) {
        self.save_at = Some(self.save_at.map_or(at, |known| known.min(at)));
    }

    /// The first chunk is recorded at once, what follows every second.
    fn want_save(&mut self) {
        if self.save_at.is_none() && self.reply.next > self.saved {
            let wait = if self.saved == 0 { Duration::ZERO } else { RECORD_EVERY };
            self.save_at = Some(Instant::now() + wait);
        }
    }

    fn start_save(&mut self) {
        self.save_at = None;
        self.saved = self.reply.next;
        self.reply.at = Millis::now();
        self.record.put(&self.reply);
        let (bus, record, revision) = (self.worker.bus.clone(), self.record.clone(), self.revision);
        self.saving = Some(Box::pin(async move { bus.put_record(&record, revision).await }));
    }

    async fn saved(&mut self, result: Result<u64, PutError>) -> Result<(), TakenOver> {
        self.saving = None;
        match result {
            Ok(revision) => {
                self.revision = revision;
                Ok(())
            }
            Err(PutError::Bus(error)) => {
                self.worker.metrics.records_unwritten.inc();
                tracing::debug!(%error, "a record was not written; the buffer holds it");
                Ok(())
            }
            Err(PutError::Lost) => self.is_still_ours().await,
        }
    }

    /// A refused write may follow an own one whose answer got lost, or the loss of the whole store.
    async fn is_still_ours(&mut self) -> Result<(), TakenOver> {
        match self.worker.bus.record(&self.message.session, Read::Exact).await {
            Ok(stored) => match stored.record.find(&self.reply.message_id) {
                Some(held) if held.run == self.reply.run && held.terminal.is_none() => {
                    self.revision = stored.revision;
                    // What others wrote beside it stays.
                    self.record = stored.record;
                    Ok(())
                }
                // Our own end, whose answer got lost: the next write says the same again.
                Some(held) if held.run == self.reply.run && held.terminal == self.reply.terminal => {
                    self.revision = stored.revision;
                    self.record = stored.record;
                    Ok(())
                }
                // The store lost the claim, or all of it. Whoever took the message from us would have left it there.
                None if !stored.record.ended && !stored.record.knows(&self.reply.message_id) => {
                    self.revision = stored.revision;
                    self.record = stored.record;
                    Ok(())
                }
                _ => {
                    self.record = stored.record;
                    Err(TakenOver)
                }
            },
            // Not known yet: the next write will tell.
            Err(_) => Ok(()),
        }
    }

    /// Records the end. When the process must go, there is less time for that.
    async fn record_end(
        &mut self,
        delivery: &Delivery,
        requests: &mut Requests,
        cut: &CancellationToken,
    ) -> Result<bool, TakenOver> {
        let over = |held: &Reply| held.terminal.is_some();
        let in_time = cut.run_until_cancelled(self.record(delivery, requests, RECORD_END_WITHIN, over)).await;
        match in_time {
            Some(recorded) => recorded,
            None => self.record(delivery, requests, RECORD_END_WHEN_CUT, over).await,
        }
    }

    /// Writes the reply into the record until what is there `holds`, through an outage of the bus if it must; edges are
    /// answered meanwhile. `false` when that did not work out within `limit`.
    pub(crate) async fn record(
        &mut self,
        delivery: &Delivery,
        requests: &mut Requests,
        limit: Duration,
        holds: impl Fn(&Reply) -> bool,
    ) -> Result<bool, TakenOver> {
        let until = Instant::now() + limit;
        let (mut progress, mut pause) = (every(PROGRESS), Duration::from_millis(20));
        loop {
            if self.saving.is_none() {
                self.start_save();
            }
            // An earlier write may still be on its way; what is new needs one of its own after it.
            let is_new = self.record.find(&self.reply.message_id).is_some_and(&holds);
            let saving = self.saving.as_mut().expect("just started");
            let result = tokio::select! {
                result = saving => result,
                request = requests.next() => {
                    match request {
                        Request::Ask(ask, to) => self.answer_unfinished(&ask, to),
                        Request::Cancel(Cancel { message_id }) => {
                            self.cancel_asked |= message_id == self.reply.message_id;
                        }
                        // Its edge tries again.
                        Request::Late(..) => {}
                    }
                    continue;
                }
                _ = progress.tick() => {
                    delivery.progress().await;
                    continue;
                }
            };
            let written = result.is_ok();
            self.saved(result).await?;
            if written && is_new {
                return Ok(true);
            }
            if !written {
                if Instant::now() > until {
                    return Ok(false);
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(1));
            }
        }
    }

    /// The end may be told only once the record holds it: until then the reply is still running for others.
    fn answer_unfinished(&self, ask: &Ask, to: AskAnswer) {
        if ask.message_id.as_ref().is_none_or(|id| *id == self.reply.message_id) {
            let mut part = self.reply.part_from(ask.from, bus::ASK_PART);
            (part.terminal, part.state) = (None, protocol::State::Running);
            to.send(part);
        }
    }
}

/// Answers an edge from the buffer. A run speaks only of its own message.
fn answer_ask(reply: &Reply, ask: &Ask, to: AskAnswer) {
    if ask.message_id.as_ref().is_none_or(|id| *id == reply.message_id) {
        to.send(reply.part_from(ask.from, bus::ASK_PART));
    }
}

/// Answers edges, and workers that are given the message again, for a while after the end: for longer when NATS was away
/// meanwhile, which may have forgotten that end.
async fn answer_latecomers(
    worker: &Worker,
    delivery: &Delivery,
    reply: &Reply,
    mut requests: Requests,
    cut: &CancellationToken,
) {
    let (mut until, mut epoch) = (Instant::now() + LINGER, worker.bus.epoch());
    loop {
        tokio::select! {
            request = requests.next() => {
                match request {
                    Request::Ask(ask, to) => answer_ask(reply, &ask, to),
                    Request::Late(_, to) => to.send(Taken::Over),
                    Request::Cancel(_) => {}
                }
            }
            () = tokio::time::sleep_until(until) => {
                if worker.bus.epoch() != epoch && restore(worker, delivery, reply).await {
                    epoch = worker.bus.epoch();
                }
                if worker.bus.back_for().is_none_or(|time| time > LINGER_AFTER_OUTAGE) {
                    return;
                }
                until = Instant::now() + LOOK_AGAIN;
            }
            () = cut.cancelled() => return,
        }
    }
}

/// Writes an end once more that NATS has forgotten; `false` when that is not known.
async fn restore(worker: &Worker, delivery: &Delivery, reply: &Reply) -> bool {
    let Ok(stored) = worker.bus.record(&delivery.message.session, Read::Exact).await else { return false };
    let mut record = stored.record;
    let is_ours = record.find(&reply.message_id).is_some_and(|held| held.run == reply.run && held.terminal.is_none());
    if record.ended || !is_ours && record.knows(&reply.message_id) {
        return true;
    }
    tracing::warn!(message.id = %reply.message_id, "NATS has forgotten the end of a reply: it is recorded once more");
    record.put(reply);
    let written = worker.bus.put_record(&record, stored.revision).await.is_ok();
    if written {
        delivery.ack().await;
    }
    written
}

impl Worker {
    /// Counts how a reply ended, and tells the fact.
    fn count(&self, message: &Message, terminal: &Terminal, first_text: Option<Duration>) {
        let duration = message.accepted_at.age_at(Millis::now());
        self.metrics.ended(&message.site, terminal);
        let exemplar = Exemplar::of(&Span::current());
        if let Some(first) = first_text {
            self.metrics.first_text_seconds.observe(first.as_secs_f64(), exemplar.clone(), None);
        }
        self.metrics.reply_seconds.observe(duration.as_secs_f64(), exemplar, None);
        self.tell(message, terminal, first_text);
    }

    /// Tells the fact how a reply ended, before what is said next.
    fn tell(&self, message: &Message, terminal: &Terminal, first_text: Option<Duration>) {
        let took = millis(message.accepted_at.age_at(Millis::now()));
        let kind = FactKind::of_end(message.message_id.clone(), terminal, first_text.map(millis), took);
        let fact = Fact::now(&message.site, &message.session, kind);
        self.bus.tell_first(fact.traced(trace::sampled_traceparent(&Span::current())));
    }

    /// The span of one delivery.
    fn process(&self, delivery: &Delivery) -> Span {
        let Delivery { message, attempt, .. } = delivery;
        let (site, id) = (message.site.as_str(), message.message_id.as_str());
        trace::process(self.bus.system(), site, id, *attempt, message.traceparent.as_deref())
    }
}

fn every(period: Duration) -> Interval {
    let mut interval = interval_at(Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
