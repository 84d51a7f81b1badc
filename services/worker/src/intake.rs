//! Takes messages off the bus as fast as it can hand them on: to a run, into the queue of their site, or to their end.
//!
//! One task. It never stops taking because of one site's flood, and waits for nothing but the bus and its own runs, of
//! which it hears by [`Freed`].

use std::{sync::Arc, time::Duration};

use bus::{Delivery, Messages, Read};
use protocol::{FailureCode, Millis};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Worker,
    admission::{Admission, Arrival},
    claim::CLOCK_SKEW,
    run::{self, PROGRESS},
};

/// Messages that are ended without a run at once. While so many are, no more are taken: each is a write to the record.
const ENDINGS: usize = 64;
/// Messages that a worker without room asks for at once.
const SPARE: usize = 16;
/// How often a worker in which a message has waited for [`PATIENT`] looks for another one with room.
const LOOK_FOR_ROOM: Duration = Duration::from_millis(250);
/// In a burst all workers fill up within this time; before, others only seem to have room.
const PATIENT: Duration = Duration::from_secs(1);

/// What the intake hears of the tasks that it began.
enum Freed {
    /// A run's place, of this site, is free.
    Place(usize),
    /// A message was ended.
    Ending,
    /// A message that came again turned out to be in nobody's hands: it is to be run after all.
    Unclaimed(Box<Delivery>),
    /// A message that came again only waits for what its workflow sends late: n8n isn't called for it.
    Late(Box<Delivery>),
    /// Whether another worker has room.
    Elsewhere(bool),
}

/// A run's place. It is given back early, when only latecomers are still to be answered.
pub(crate) struct Room {
    /// `None`: it took none.
    site: Option<usize>,
    freed: mpsc::Sender<Freed>,
}

#[cfg(test)]
impl Room {
    /// No place of any intake.
    pub(crate) fn none() -> Self {
        Self { site: None, freed: mpsc::channel(1).0 }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(site) = self.site {
            // Never full: there is room for all that may run and end at once.
            self.freed.try_send(Freed::Place(site)).ok();
        }
    }
}

/// See the module.
pub(crate) struct Intake {
    worker: Arc<Worker>,
    admission: Admission<Delivery>,
    endings: usize,
    looking: bool,
    /// Some were just given up: no more are taken without room until another worker had the time to.
    resting: bool,
    freed: (mpsc::Sender<Freed>, mpsc::Receiver<Freed>),
    runs: TaskTracker,
    cut: CancellationToken,
}

impl Intake {
    /// `runs` gets every task; `cut` ends those that run.
    pub(crate) fn new(worker: Arc<Worker>, capacity: usize, runs: TaskTracker, cut: CancellationToken) -> Self {
        let admission = Admission::new(capacity, worker.upstreams.iter().map(|upstream| upstream.share));
        // For every run, every ending, and one look for room.
        let freed = mpsc::channel(capacity + ENDINGS + 1);
        Self { worker, admission, endings: 0, looking: false, resting: false, freed, runs, cut }
    }

    /// Messages that run.
    pub(crate) fn running(&self) -> usize {
        self.admission.running()
    }

    /// Takes messages until `stop`, then gives back what waits. `tick` is called every second.
    pub(crate) async fn run(&mut self, messages: Messages, stop: &CancellationToken, mut tick: impl FnMut(&Self)) {
        let worker = Arc::clone(&self.worker);
        let mut second = tokio::time::interval(crate::ANNOUNCE);
        let mut progress = tokio::time::interval(PROGRESS);
        let mut look = tokio::time::interval(LOOK_FOR_ROOM);
        for interval in [&mut progress, &mut look] {
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        let mut messages = Some(messages);
        loop {
            // A worker that alone is cut off from n8n must not draw messages to itself by being done with them so
            // quickly. It doesn't ask for any until a circuit is half-open, or nobody else is there; the next second
            // looks.
            let leaves = worker.leaves_all();
            messages = match messages {
                Some(messages) if leaves => {
                    messages.close().await;
                    None
                }
                None if !leaves => self.worker.bus.messages().await.ok(),
                same => same,
            };
            let deadline = self.admission.deadline();
            let free = self.admission.free();
            // A pull of our own would look like that of a worker with room.
            let take = self.endings < ENDINGS && (free > 0 || !(self.resting || self.looking));
            tokio::select! {
                delivery = async { next(messages.as_mut().expect("asked only while there are any"), free).await },
                    if take && messages.is_some() => self.came(delivery),
                Some(freed) = self.freed.1.recv() => self.freed(freed, stop).await,
                () = async { tokio::time::sleep_until(deadline.expect("asked only when there is one")).await },
                    if deadline.is_some() && self.endings < ENDINGS => self.end_late(),
                _ = progress.tick(), if deadline.is_some() => self.show_life().await,
                _ = look.tick(), if deadline.is_some() || self.resting => {
                    self.resting = false;
                    let patient = self.worker.queue_timeout.saturating_sub(PATIENT);
                    let waited = deadline.is_some_and(|deadline| deadline <= Instant::now() + patient);
                    if waited && !self.looking && messages.as_ref().is_some_and(|messages| !messages.has_asked()) {
                        self.look_for_room();
                    }
                }
                _ = second.tick() => tick(self),
                // At once: until edges know, they hand on what will only fail, or refuse what would be answered.
                () = worker.upstreams.changed() => tick(self),
                () = stop.cancelled() => break,
            }
        }
        if let Some(messages) = messages {
            messages.close().await;
        }
        for delivery in self.admission.drain() {
            delivery.give_back().await;
        }
        // Of what comes later its task gives it back itself.
        self.freed.1.close();
        while let Ok(freed) = self.freed.1.try_recv() {
            if let Freed::Unclaimed(delivery) | Freed::Late(delivery) = freed {
                delivery.give_back().await;
            }
        }
        for upstream in self.worker.upstreams.iter() {
            upstream.waiting.set(0);
        }
    }

    fn came(&mut self, delivery: Delivery) {
        let Some(site) = self.worker.upstreams.find(&delivery.message.site) else {
            self.worker.metrics.unknown_site.inc();
            tracing::error!(
                site = %delivery.message.site, message.id = %delivery.message.message_id,
                "a message is for a site that this worker has no settings for (N8N_SITES_FILE)"
            );
            return self.end(delivery, FailureCode::UpstreamUnreachable);
        };
        // Most likely its worker died in the middle: then its visitor waits to be told, not for a place.
        if delivery.attempt > 1 && !self.admission.has_room(site) {
            return self.look_up(delivery);
        }
        self.admit(site, delivery);
    }

    fn admit(&mut self, site: usize, delivery: Delivery) {
        let until = Instant::now() + self.patience(&delivery);
        match self.admission.arrive(site, delivery, until) {
            Arrival::Runs(delivery) => self.start(site, delivery),
            Arrival::Waits => {
                self.worker.upstreams[site].waiting.inc();
            }
            Arrival::Refused(delivery) => {
                self.worker.upstreams[site].refused.inc();
                self.end(delivery, FailureCode::QueueTimeout);
            }
        }
    }

    /// How long a message may still wait. Its edge ends it at `QUEUE_TIMEOUT` by its own clock; here the clock of the
    /// queue counts, which may differ from ours.
    fn patience(&self, delivery: &Delivery) -> Duration {
        let limit = self.worker.queue_timeout;
        limit.min((limit + CLOCK_SKEW).saturating_sub(delivery.queued_at.age_at(Millis::now())))
    }

    fn start(&mut self, site: usize, delivery: Delivery) {
        self.worker.upstreams[site].running.inc();
        self.run_in(Some(site), site, delivery);
    }

    fn run_in(&mut self, place: Option<usize>, site: usize, delivery: Delivery) {
        let room = Room { site: place, freed: self.freed.0.clone() };
        let (worker, cut) = (Arc::clone(&self.worker), self.cut.clone());
        self.runs.spawn(async move { run::run(&worker, &worker.upstreams[site], delivery, room, &cut).await });
    }

    /// Ends a message without running it.
    fn end(&mut self, delivery: Delivery, code: FailureCode) {
        self.endings += 1;
        let (worker, freed) = (Arc::clone(&self.worker), self.freed.0.clone());
        self.runs.spawn(async move {
            run::refuse(&worker, &delivery, code).await;
            freed.try_send(Freed::Ending).ok();
        });
    }

    /// Ends a message that came again if somebody had begun with it.
    fn look_up(&mut self, delivery: Delivery) {
        self.endings += 1;
        let (worker, freed) = (Arc::clone(&self.worker), self.freed.0.clone());
        self.runs.spawn(async move {
            let message = &delivery.message;
            let stored = worker.bus.record(&message.session, Read::Exact).await;
            let record = stored.map(|stored| stored.record).ok();
            let reply = record.as_ref().and_then(|record| record.find(&message.message_id));
            let hand_on = if reply.is_some_and(|reply| reply.terminal.is_none() && reply.waiting_until.is_some()) {
                Freed::Late(Box::new(delivery))
            } else if record.is_some_and(|record| record.ended || record.knows(&message.message_id)) {
                run::refuse(&worker, &delivery, FailureCode::Interrupted).await;
                Freed::Ending
            } else {
                Freed::Unclaimed(Box::new(delivery))
            };
            if let Err(not_sent) = freed.try_send(hand_on)
                && let Freed::Unclaimed(delivery) | Freed::Late(delivery) = not_sent.into_inner()
            {
                delivery.give_back().await;
            }
        });
    }

    async fn freed(&mut self, freed: Freed, stop: &CancellationToken) {
        match freed {
            Freed::Place(site) => {
                self.admission.left(site);
                self.worker.upstreams[site].running.dec();
                while let Some((site, delivery)) = self.admission.next() {
                    self.worker.upstreams[site].waiting.dec();
                    self.start(site, delivery);
                }
            }
            Freed::Ending => self.endings -= 1,
            Freed::Late(delivery) => {
                self.endings -= 1;
                match self.worker.upstreams.find(&delivery.message.site) {
                    Some(site) if !stop.is_cancelled() => self.run_in(None, site, *delivery),
                    _ => delivery.give_back().await,
                }
            }
            Freed::Elsewhere(has_room) => {
                self.looking = false;
                if has_room {
                    self.give_up_some().await;
                }
            }
            Freed::Unclaimed(delivery) => {
                self.endings -= 1;
                match self.worker.upstreams.find(&delivery.message.site) {
                    Some(site) if !stop.is_cancelled() => self.admit(site, *delivery),
                    _ => delivery.give_back().await,
                }
            }
        }
    }

    /// Ends those that waited too long, as many as may be ended at once.
    fn end_late(&mut self) {
        let now = Instant::now();
        while self.endings < ENDINGS
            && let Some((site, delivery)) = self.admission.expired(now)
        {
            let upstream = &self.worker.upstreams[site];
            upstream.waiting.dec();
            upstream.timed_out.inc();
            self.end(delivery, FailureCode::QueueTimeout);
        }
    }

    fn look_for_room(&mut self) {
        self.looking = true;
        let (bus, freed) = (self.worker.bus.clone(), self.freed.0.clone());
        self.runs.spawn(async move {
            freed.try_send(Freed::Elsewhere(bus.has_idle_worker().await)).ok();
        });
    }

    /// Lets another worker, which has just begun or whose own sites are quiet, run what would wait here. Each message
    /// once: the queue counts how often it was handed out.
    async fn give_up_some(&mut self) {
        self.resting = true;
        let given = self.admission.give_up(SPARE, |delivery| delivery.attempt == 1);
        for (site, delivery) in given {
            self.worker.upstreams[site].waiting.dec();
            self.worker.metrics.given_up.inc();
            delivery.give_back().await;
        }
    }

    async fn show_life(&self) {
        for delivery in self.admission.waiting() {
            delivery.progress().await;
        }
    }
}

/// With room, whatever comes; without, what no worker with room would take.
async fn next(messages: &mut Messages, free: usize) -> Delivery {
    if free > 0 { messages.next(free).await } else { messages.next_spare(SPARE).await }
}
