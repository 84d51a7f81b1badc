//! The measurements. Each leaves what it saw in a [`Round`], and what went wrong in [`Failures`].

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::ensure;

use crate::{
    clock::{self, Stop},
    http::Connection,
    process::{machine_cpu, own_cpu},
    samples::Samples,
    targets::{Part, Target, Upstream},
    upstream::Script,
    visitor::{Reply, Visitor},
};

/// Connections that are opened before memory is read the first time: what a process sets up once is not per connection.
const FIRST_CONNECTIONS: usize = 50;
/// Uncounted messages at the start of a measurement: pools and caches fill.
const WARM_UP: usize = 10;
/// Enough to know that something is wrong.
const MAX_FAILURES: usize = 20;

/// How much is measured in a round.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Plan {
    /// Messages one after the other, for the time to the first chunk.
    #[arg(long, default_value_t = 200)]
    messages: usize,
    /// Of those, how many in each session.
    #[arg(long, default_value_t = 10)]
    per_session: usize,
    /// How long after a reply the next message is sent, as a visitor does, in ms.
    #[arg(long, default_value_t = 5)]
    gap: u64,
    /// How long the replies of a load last, in seconds.
    #[arg(long, default_value_t = 8)]
    seconds: u32,
    /// Chunks a second of each reply.
    #[arg(long, default_value_t = 50)]
    rate: u32,
    /// Replies at once for the chunk delay at low load; 0 leaves it out.
    #[arg(long, default_value_t = 10)]
    low: u32,
    /// Replies at once for chunk delay and CPU under load; 0 leaves it out.
    #[arg(long, default_value_t = 100)]
    high: u32,
    /// Short messages for their CPU.
    #[arg(long, default_value_t = 1000)]
    short: usize,
    /// Chunks of a short message, all at once.
    #[arg(long, default_value_t = 20)]
    short_chunks: u32,
    /// Short messages a second.
    #[arg(long, default_value_t = 200)]
    short_rate: u32,
}

/// What a round saw of one target.
#[derive(Clone, Default)]
pub(crate) struct Round {
    /// To the first chunk, all messages.
    pub(crate) first: Samples,
    /// Of those the first of each session.
    pub(crate) cold: Samples,
    /// Of the time to the first chunk: until the upstream had it,
    pub(crate) ask: Samples,
    /// and the chunk's way back.
    pub(crate) back: Samples,
    /// Creating a session.
    pub(crate) create: Samples,
    /// Delay of each chunk at low load, and under load.
    pub(crate) low: Samples,
    pub(crate) high: Samples,
    /// CPU for these, and for short messages.
    pub(crate) low_cpu: Cpu,
    pub(crate) high_cpu: Cpu,
    pub(crate) short_cpu: Cpu,
    pub(crate) footprint: Option<Footprint>,
    /// What others took of the machine meanwhile: CPU time, of how much there was.
    pub(crate) others: (Duration, Duration),
}

impl Round {
    pub(crate) fn add(&mut self, other: &Self) {
        self.first.add(&other.first);
        self.cold.add(&other.cold);
        self.ask.add(&other.ask);
        self.back.add(&other.back);
        self.create.add(&other.create);
        self.low.add(&other.low);
        self.high.add(&other.high);
        self.low_cpu.add(other.low_cpu);
        self.high_cpu.add(other.high_cpu);
        self.short_cpu.add(other.short_cpu);
        self.others.0 += other.others.0;
        self.others.1 += other.others.1;
        self.footprint = other.footprint.or(self.footprint);
    }
}

/// CPU time for so many chunks or messages.
#[derive(Clone, Copy, Default)]
pub(crate) struct Cpu {
    pub(crate) own: Duration,
    pub(crate) nats: Option<Duration>,
    pub(crate) of: usize,
}

impl Cpu {
    fn read(target: &Target) -> anyhow::Result<Self> {
        let nats = target.has(Part::Nats).then(|| target.cpu(|part| part == Part::Nats)).transpose()?;
        Ok(Self { own: target.cpu(|part| part != Part::Nats)?, nats, of: 0 })
    }

    /// What was used since.
    fn since(self, target: &Target) -> anyhow::Result<Self> {
        let now = Self::read(target)?;
        let nats = now.nats.zip(self.nats).map(|(now, then)| now.saturating_sub(then));
        Ok(Self { own: now.own.saturating_sub(self.own), nats, of: 0 })
    }

    fn add(&mut self, other: Self) {
        self.own += other.own;
        self.nats = self.nats.map_or(other.nats, |nats| Some(nats + other.nats.unwrap_or_default()));
        self.of += other.of;
    }
}

/// What a target costs when nothing happens.
#[derive(Clone, Copy)]
pub(crate) struct Footprint {
    /// Until it listens; the middle of several starts.
    pub(crate) start: Option<Duration>,
    /// Resident bytes of what visitors talk to, fresh.
    pub(crate) memory: u64,
    /// Resident bytes for each open stream: there, and in nats-server.
    pub(crate) connection: Option<f64>,
    pub(crate) nats_connection: Option<f64>,
}

/// What went wrong with one target.
#[derive(Clone, Default)]
pub(crate) struct Failures {
    pub(crate) count: usize,
    pub(crate) first: Vec<String>,
}

impl Failures {
    fn note(&mut self, at: &str, error: &anyhow::Error) -> anyhow::Result<()> {
        if self.count < 3 {
            self.first.push(format!("{at}: {error:#}"));
        }
        self.count += 1;
        ensure!(self.count < MAX_FAILURES, "too many failures, the last one at {at}: {error:#}");
        Ok(())
    }
}

/// One target in the middle of a run.
pub(crate) struct Bench<'a> {
    pub(crate) target: &'a Target,
    pub(crate) upstream: &'a Upstream,
    pub(crate) plan: &'a Plan,
    pub(crate) stop: &'a Stop,
    pub(crate) failures: &'a mut Failures,
}

impl Bench<'_> {
    pub(crate) fn round(&mut self) -> anyhow::Result<Round> {
        let mut round = Round::default();
        let (since, before) = (Instant::now(), self.others()?);
        self.first_chunk(&mut round)?;
        (round.low, round.low_cpu) = self.load("low load", self.plan.low)?;
        (round.high, round.high_cpu) = self.load("load", self.plan.high)?;
        round.short_cpu = self.short_messages()?;
        let cores = u32::try_from(thread::available_parallelism()?.get())?;
        round.others = (self.others()?.saturating_sub(before), since.elapsed() * cores);
        Ok(round)
    }

    /// CPU time so far of all that this measurement doesn't use itself.
    fn others(&self) -> anyhow::Result<Duration> {
        let ours = own_cpu()? + self.upstream.cpu()? + self.target.cpu(|_| true)?;
        Ok(machine_cpu()?.saturating_sub(ours))
    }

    /// Messages one after the other; the upstream answers at once.
    fn first_chunk(&mut self, round: &mut Round) -> anyhow::Result<()> {
        let script = Script { chunks: 3, ..Script::default() };
        let per_session = self.plan.per_session.max(1);
        let mut visitor = self.visitor(0)?;
        for number in 0..WARM_UP + self.plan.messages {
            self.stop.check()?;
            let cold = number % per_session == 0;
            let since = clock::now();
            if cold {
                visitor.renew()?;
            }
            let created = clock::now() - since;
            thread::sleep(Duration::from_millis(self.plan.gap));
            let reply = match visitor.ask(script) {
                Ok(reply) => reply,
                Err(error) => {
                    self.failures.note("first chunk", &error)?;
                    visitor = self.visitor(number)?;
                    continue;
                }
            };
            if number < WARM_UP {
                continue;
            }
            let first = reply.chunks[0];
            let whole = first.received - reply.asked;
            round.first.push(whole);
            round.ask.push(first.sent - reply.asked);
            round.back.push(first.received - first.sent);
            if cold {
                round.cold.push(whole);
                round.create.push(created);
            }
        }
        Ok(())
    }

    /// So many replies at once, each of them steady, begun evenly spread so that their chunks come so as well.
    fn load(&mut self, at: &str, replies: u32) -> anyhow::Result<(Samples, Cpu)> {
        if replies == 0 {
            return Ok(Default::default());
        }
        let pause = Duration::from_secs(1) / self.plan.rate;
        let script = Script { chunks: self.plan.rate * self.plan.seconds, pause, ..Script::default() };
        let step = nanoseconds(pause) / u64::from(replies);
        let (seen, mut cpu) = self.crowd(at, replies as usize, |number, visitor, start| {
            clock::sleep_until(start + step * number as u64);
            vec![visitor.ask(script)]
        })?;
        let mut delays = Samples::default();
        seen.iter().flat_map(|reply| &reply.chunks).for_each(|times| delays.push(times.received - times.sent));
        cpu.of = delays.len();
        Ok((delays, cpu))
    }

    /// A few visitors who ask at a steady rate and get everything at once.
    fn short_messages(&mut self) -> anyhow::Result<Cpu> {
        const VISITORS: usize = 8;
        let (count, stop) = (self.plan.short, self.stop);
        if count == 0 {
            return Ok(Cpu::default());
        }
        let script = Script { chunks: self.plan.short_chunks, ..Script::default() };
        let step = 1_000_000_000 / u64::from(self.plan.short_rate);
        let (seen, mut cpu) = self.crowd("short messages", VISITORS, |number, visitor, start| {
            let mut results = Vec::new();
            for message in (number..count).step_by(VISITORS) {
                clock::sleep_until(start + step * message as u64);
                results.push(stop.check().and_then(|()| visitor.ask(script)));
                if results.last().is_some_and(Result::is_err) {
                    break;
                }
            }
            results
        })?;
        cpu.of = seen.len();
        Ok(cpu)
    }

    /// Lets visitors, each in a thread, do something from `start` on; gives their replies and the target's CPU time.
    fn crowd(
        &mut self,
        at: &str,
        visitors: usize,
        act: impl Fn(usize, &mut Visitor, u64) -> Vec<anyhow::Result<Reply>> + Sync,
    ) -> anyhow::Result<(Vec<Reply>, Cpu)> {
        let mut crowd = Vec::with_capacity(visitors);
        for number in 0..visitors {
            let mut visitor = self.visitor(number)?;
            visitor.ask(Script { chunks: 1, ..Script::default() })?;
            crowd.push(visitor);
        }
        // What follows a reply (acknowledgements, facts) is not of this load.
        thread::sleep(Duration::from_millis(500));
        let before = Cpu::read(self.target)?;
        let (start, act) = (clock::now() + 20_000_000, &act);
        let results: Vec<_> = thread::scope(|scope| {
            let threads = crowd.iter_mut().enumerate();
            let threads: Vec<_> =
                threads.map(|(number, visitor)| scope.spawn(move || act(number, visitor, start))).collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("a visitor does not panic")).collect()
        });
        let cpu = before.since(self.target)?;
        self.stop.check()?;
        let mut replies = Vec::with_capacity(results.len());
        for result in results {
            match result {
                Ok(reply) => replies.push(reply),
                Err(error) => self.failures.note(at, &error)?,
            }
        }
        Ok((replies, cpu))
    }

    /// What it costs to be there. To be called with a target that has done nothing yet.
    pub(crate) fn footprint(&mut self, idle: usize, starts: &[Duration]) -> anyhow::Result<Footprint> {
        thread::sleep(Duration::from_secs(1));
        let front = |target: &Target| target.memory(|part| part == Part::Front);
        let nats = |target: &Target| target.memory(|part| part == Part::Nats);
        let memory = front(self.target)?;
        let mut starts = starts.to_vec();
        starts.sort_unstable();
        let start = starts.get(starts.len() / 2).copied();
        let mut footprint = Footprint { start, memory, connection: None, nats_connection: None };
        if idle == 0 {
            return Ok(footprint);
        }
        let mut open = Vec::with_capacity(FIRST_CONNECTIONS + idle);
        self.listen(FIRST_CONNECTIONS, &mut open)?;
        let before = (front(self.target)?, nats(self.target)?);
        self.listen(idle, &mut open)?;
        let after = (front(self.target)?, nats(self.target)?);
        let each = |before: u64, after: u64| (after as f64 - before as f64) / idle as f64;
        footprint.connection = Some(each(before.0, after.0));
        footprint.nats_connection = self.target.has(Part::Nats).then(|| each(before.1, after.1));
        let closed = open.iter().filter(|stream| stream.closed()).count();
        if closed > 0 {
            self.failures.note("idle", &anyhow::anyhow!("{closed} open streams were closed"))?;
        }
        Ok(footprint)
    }

    /// Opens idle streams and lets the target come to rest.
    fn listen(&mut self, count: usize, open: &mut Vec<Connection>) -> anyhow::Result<()> {
        let since = Instant::now();
        for number in 0..count {
            self.stop.check()?;
            open.push(self.visitor(number)?.listen()?);
            ensure!(since.elapsed() < Duration::from_secs(60), "only {number} streams could be opened in a minute");
        }
        thread::sleep(Duration::from_secs(1));
        Ok(())
    }

    /// Visitors spread over the doors.
    fn visitor(&self, number: usize) -> anyhow::Result<Visitor> {
        let door = self.target.doors[number % self.target.doors.len()];
        Visitor::arrive(door, self.stop)
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Starts a target several times for its start times; gives the last one, fresh.
pub(crate) fn start_often(
    times: usize,
    mut start: impl FnMut() -> anyhow::Result<Target>,
) -> anyhow::Result<(Target, Vec<Duration>)> {
    let mut last = start()?;
    let mut starts: Vec<Duration> = last.start.into_iter().collect();
    for _ in 1..times {
        // The old one ends first: two would disturb each other.
        drop(last);
        last = start()?;
        starts.extend(last.start);
    }
    Ok((last, starts))
}
