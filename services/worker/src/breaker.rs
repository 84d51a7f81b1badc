//! The circuit breaker before an upstream: when too many calls fail, none is made for a while.
//!
//! *Closed*: every call is made, and counted in a sliding window. *Open*: none is. *Half-open*: a few at a time try
//! whether the upstream is back; the first success closes the circuit, a failure opens it again for twice as long.
//!
//! A [`Breaker`] is one upstream's. Whoever is admitted holds a [`Call`], and says how it went; dropped without a word,
//! as by a visitor who cancels, it decides nothing and only makes room. Time is tokio's, so that tests can pause it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bus::Circuit;
use runtime::settings;
use tokio::{sync::watch, time::Instant};

/// When a circuit opens, and how it closes again.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub struct Config {
    /// Percent of calls to n8n that must fail before none is made for a while; 0 = never stop calling.
    #[arg(
        id = "breaker_failure_rate",
        value_name = "BREAKER_FAILURE_RATE",
        long = "breaker-failure-rate",
        env = "BREAKER_FAILURE_RATE",
        default_value_t = 50,
        value_parser = clap::value_parser!(u8).range(0..=100)
    )]
    pub failure_rate: u8,
    /// With fewer calls than this in the window nothing is concluded.
    #[arg(
        id = "breaker_min_calls",
        value_name = "BREAKER_MIN_CALLS",
        long = "breaker-min-calls",
        env = "BREAKER_MIN_CALLS",
        default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(1..=100_000)
    )]
    pub min_calls: u32,
    /// Calls are counted for this long.
    #[arg(
        id = "breaker_window",
        value_name = "BREAKER_WINDOW",
        long = "breaker-window",
        env = "BREAKER_WINDOW",
        default_value = "30s",
        value_parser = settings::some_time
    )]
    pub window: Duration,
    /// n8n isn't called for this long, then a call tries; twice as long each time that one fails, less up to half of it
    /// at random.
    #[arg(
        id = "breaker_open_for",
        value_name = "BREAKER_OPEN_FOR",
        long = "breaker-open-for",
        env = "BREAKER_OPEN_FOR",
        default_value = "5s",
        value_parser = settings::some_time
    )]
    pub open_for: Duration,
    /// But for no longer than this.
    #[arg(
        id = "breaker_open_max",
        value_name = "BREAKER_OPEN_MAX",
        long = "breaker-open-max",
        env = "BREAKER_OPEN_MAX",
        default_value = "60s",
        value_parser = settings::some_time
    )]
    pub open_max: Duration,
    /// Calls at a time that try whether n8n is back.
    #[arg(
        id = "breaker_probes",
        value_name = "BREAKER_PROBES",
        long = "breaker-probes",
        env = "BREAKER_PROBES",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=1000)
    )]
    pub probes: u32,
}

/// The breaker of one upstream. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Breaker(Arc<Inner>);

struct Inner {
    machine: Mutex<Machine>,
    /// Changes with the circuit.
    changed: watch::Sender<()>,
    /// Is told of every change, in order.
    told: Box<dyn Fn(Circuit) + Send + Sync>,
}

impl Breaker {
    /// A closed one. `told` is called at each change, under a lock: it must be quick, and not ask the breaker.
    pub(crate) fn new(config: &Config, told: impl Fn(Circuit) + Send + Sync + 'static) -> Self {
        let machine = Mutex::new(Machine::new(config.clone(), Instant::now()));
        Self(Arc::new(Inner { machine, changed: watch::Sender::default(), told: Box::new(told) }))
    }

    /// Asks for leave to call. `None`: not now.
    pub(crate) fn admit(&self) -> Option<Call> {
        let ticket = self.with(Machine::admit)?;
        Some(Call { breaker: self.clone(), ticket: Some(ticket) })
    }

    /// How the circuit is now.
    pub(crate) fn circuit(&self) -> Circuit {
        self.with(Machine::look).0
    }

    /// The same in the words of `/health`: `unknown` while the last call failed, or before the first one.
    pub(crate) fn word(&self) -> &'static str {
        self.with(|machine, now| match machine.look(now).0 {
            Circuit::Open => "open",
            Circuit::HalfOpen => "half_open",
            Circuit::Closed if machine.answers => "ok",
            Circuit::Closed => "unknown",
        })
    }

    /// Waits until the circuit is not as it was. Cancel-safe.
    pub(crate) async fn changed(&self, from: Circuit) -> Circuit {
        let mut changed = self.0.changed.subscribe();
        loop {
            let (circuit, until) = self.with(Machine::look);
            if circuit != from {
                return circuit;
            }
            match until {
                // Nobody else may ask meanwhile, and edges must hear that messages may pass again.
                Some(until) => {
                    tokio::select! { _ = changed.changed() => {}, () = tokio::time::sleep_until(until) => {} }
                }
                None => drop(changed.changed().await),
            }
        }
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        // Each use of it is a few assignments: nothing can be half done.
        self.0.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, act: impl FnOnce(&mut Machine, Instant) -> T) -> T {
        let mut machine = self.machine();
        let before = machine.epoch;
        let result = act(&mut machine, Instant::now());
        if machine.epoch != before {
            (self.0.told)(machine.circuit());
            self.0.changed.send_replace(());
        }
        result
    }
}

/// Leave for one call.
pub(crate) struct Call {
    breaker: Breaker,
    /// `None` once it is decided.
    ticket: Option<Ticket>,
}

impl Call {
    /// The upstream has begun to answer. For a probe that is enough: the whole answer may take minutes.
    pub(crate) fn answering(&mut self) {
        if self.ticket.is_some_and(|ticket| ticket.probe) {
            self.decide(false);
        }
    }

    /// It is over.
    pub(crate) fn over(mut self, failed: bool) {
        self.decide(failed);
    }

    fn decide(&mut self, failed: bool) {
        if let Some(ticket) = self.ticket.take() {
            let jitter = rand::random_range(0.5..=1.0);
            self.breaker.with(|machine, now| machine.decide(now, ticket, failed, jitter));
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.breaker.machine().release(ticket);
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Ticket {
    /// The machine's when it was given out.
    epoch: u64,
    probe: bool,
}

/// The breaker without clock, lock and chance.
#[derive(Debug)]
struct Machine {
    config: Config,
    phase: Phase,
    /// Counts the changes: how a call of an earlier phase went says nothing in this one.
    epoch: u64,
    /// Probes that failed since the circuit was closed.
    failed_probes: u32,
    /// Whether the last call that was decided got an answer.
    answers: bool,
}

#[derive(Debug)]
enum Phase {
    Closed(Window),
    OpenUntil(Instant),
    /// So many probes are under way.
    HalfOpen(u32),
}

impl Machine {
    fn new(config: Config, now: Instant) -> Self {
        let phase = Phase::Closed(Window::new(config.window, now));
        Self { config, phase, epoch: 0, failed_probes: 0, answers: false }
    }

    fn circuit(&self) -> Circuit {
        match self.phase {
            Phase::Closed(_) => Circuit::Closed,
            Phase::OpenUntil(_) => Circuit::Open,
            Phase::HalfOpen(_) => Circuit::HalfOpen,
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.epoch += 1;
    }

    /// How it is, and when an open circuit becomes half-open.
    fn look(&mut self, now: Instant) -> (Circuit, Option<Instant>) {
        match self.phase {
            Phase::OpenUntil(until) if until <= now => self.enter(Phase::HalfOpen(0)),
            Phase::OpenUntil(until) => return (Circuit::Open, Some(until)),
            Phase::Closed(_) | Phase::HalfOpen(_) => {}
        }
        (self.circuit(), None)
    }

    fn admit(&mut self, now: Instant) -> Option<Ticket> {
        self.look(now);
        let probe = match &mut self.phase {
            Phase::Closed(_) => false,
            Phase::HalfOpen(probes) if *probes < self.config.probes => {
                *probes += 1;
                true
            }
            Phase::HalfOpen(_) | Phase::OpenUntil(_) => return None,
        };
        Some(Ticket { epoch: self.epoch, probe })
    }

    /// `jitter` is the part of a longer wait that is kept.
    fn decide(&mut self, now: Instant, ticket: Ticket, failed: bool, jitter: f64) {
        self.answers = !failed;
        if ticket.epoch != self.epoch {
            return;
        }
        match &mut self.phase {
            Phase::Closed(window) => {
                let count = window.add(now, failed);
                if self.config.opens_at(count) {
                    self.enter(Phase::OpenUntil(now + self.config.open_for));
                }
            }
            Phase::HalfOpen(_) if failed => {
                self.failed_probes = self.failed_probes.saturating_add(1);
                self.enter(Phase::OpenUntil(now + self.config.wait(self.failed_probes).mul_f64(jitter)));
            }
            Phase::HalfOpen(_) => {
                self.failed_probes = 0;
                self.enter(Phase::Closed(Window::new(self.config.window, now)));
            }
            // Nobody is admitted in this phase.
            Phase::OpenUntil(_) => {}
        }
    }

    /// A call that was given up: it makes room.
    fn release(&mut self, ticket: Ticket) {
        if let Phase::HalfOpen(probes) = &mut self.phase
            && ticket.epoch == self.epoch
        {
            *probes = probes.saturating_sub(1);
        }
    }
}

impl Config {
    fn opens_at(&self, count: Count) -> bool {
        let (failures, calls) = (u64::from(count.failures) * 100, u64::from(count.calls));
        self.failure_rate > 0 && count.calls >= self.min_calls && failures >= calls * u64::from(self.failure_rate)
    }

    /// How long a circuit stays open after so many failed probes, before jitter.
    fn wait(&self, failed_probes: u32) -> Duration {
        let longest = self.open_max.max(self.open_for);
        self.open_for.saturating_mul(2_u32.saturating_pow(failed_probes)).min(longest)
    }
}

/// A window slides by a tenth of itself.
const BUCKETS: usize = 10;

/// Calls of the last while.
#[derive(Debug)]
struct Window {
    began: Instant,
    bucket: Duration,
    /// The number of the newest bucket since `began`.
    newest: u64,
    buckets: [Count; BUCKETS],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    calls: u32,
    failures: u32,
}

impl Window {
    fn new(length: Duration, now: Instant) -> Self {
        let bucket = (length / BUCKETS as u32).max(Duration::from_millis(1));
        Self { began: now, bucket, newest: 0, buckets: [Count::default(); BUCKETS] }
    }

    /// Counts a call; what the window holds then.
    fn add(&mut self, now: Instant, failed: bool) -> Count {
        let number = now.saturating_duration_since(self.began).as_nanos() / self.bucket.as_nanos();
        let number = u64::try_from(number).unwrap_or(u64::MAX);
        let gone = number.saturating_sub(self.newest).min(BUCKETS as u64);
        for back in 0..gone {
            self.buckets[Self::place(number - back)] = Count::default();
        }
        self.newest = self.newest.max(number);
        let bucket = &mut self.buckets[Self::place(self.newest)];
        bucket.calls = bucket.calls.saturating_add(1);
        bucket.failures = bucket.failures.saturating_add(u32::from(failed));
        self.buckets.iter().fold(Count::default(), |sum, bucket| Count {
            calls: sum.calls.saturating_add(bucket.calls),
            failures: sum.failures.saturating_add(bucket.failures),
        })
    }

    fn place(number: u64) -> usize {
        (number % BUCKETS as u64) as usize
    }
}

#[cfg(test)]
mod tests;
