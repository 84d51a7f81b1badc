//! The store with made-up data of 90 days: how fast facts go in, what a session costs on the disk, how long questions
//! take. `cargo bench -p analytics --bench store -- 1000000 /tmp` makes as many sessions in a file in that folder, and
//! removes it; without a number it does nothing. docs/analytics-store.md has the figures.
#![expect(clippy::print_stdout, reason = "what a bench is for")]

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use analytics::{
    Expiry, Pace, Store,
    query::{Bucket, Filter, Metric, Range},
};
use protocol::{
    BotClass, Device, Fact, FactKind, FailureCode, FinishReason, MessageId, Millis, Rating, SessionId, SiteId, Visit,
};

const DAYS: i64 = 90;
const DAY_MS: i64 = 86_400_000;
const BATCH: usize = 1_000;

/// SplitMix64: the same data each time.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// Below `n`, the small ones often.
    fn rarely(&mut self, n: u64) -> u64 {
        let at = self.below(n) * self.below(n) / n;
        at * self.below(n) / n
    }
}

/// Facts in the order of their time, as the bus brings them.
struct Source {
    dice: Dice,
    sites: Vec<SiteId>,
    begins: i64,
    sessions: i64,
    made: i64,
    coming: BinaryHeap<Reverse<(i64, u64, Told)>>,
}

#[derive(PartialEq, Eq)]
struct Told(Fact);

impl PartialOrd for Told {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Told {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

impl Source {
    fn new(sessions: i64, now: Millis) -> Self {
        let sites = ["default", "shoes", "hats", "gloves"].map(|site| SiteId::new(site).expect("a word"));
        Self {
            dice: Dice(7),
            sites: sites.into(),
            begins: now.0 - DAYS * DAY_MS,
            sessions,
            made: 0,
            coming: BinaryHeap::new(),
        }
    }

    /// The next batch; empty at the end.
    fn batch(&mut self) -> Vec<Fact> {
        let mut batch = Vec::with_capacity(BATCH);
        while batch.len() < BATCH {
            let next_session = self.begins + self.made * DAYS * DAY_MS / self.sessions;
            match self.coming.peek() {
                Some(Reverse((at, ..))) if *at <= next_session || self.made == self.sessions => {
                    batch.extend(self.coming.pop().map(|Reverse((_, _, Told(fact)))| fact));
                }
                _ if self.made < self.sessions => self.session(next_session),
                _ => break,
            }
        }
        batch
    }

    fn session(&mut self, at: i64) {
        self.made += 1;
        let dice = &mut self.dice;
        let site = self.sites[dice.rarely(4) as usize].clone();
        let id = SessionId::mint(at as u64 / 1_000, dice.next());
        let visit = Visit {
            page_path: Some(format!("/category-{}/product-{}", dice.rarely(20), dice.rarely(60))),
            locale: Some(["de", "en-GB", "fr", "it"][dice.rarely(4) as usize].into()),
            device: Some([Device::Phone, Device::Desktop, Device::Tablet][dice.rarely(3) as usize]),
            country: Some(["DE", "CH", "AT", "FR", "GB"][dice.rarely(5) as usize].into()),
            customer: (dice.below(5) == 0).then(|| format!("{:032x}", dice.below(1_000_000))),
            bot: Some(BotClass::Clear),
        };
        let mut tell = |at: i64, kind: FactKind| {
            let fact = Fact { at: Millis(at), ..Fact::now(&site, &id, kind) };
            self.coming.push(Reverse((at, dice_free_order(&fact), Told(fact))));
        };
        tell(at, FactKind::SessionStarted(visit));
        let mut at = at;
        for _ in 0..1 + dice.rarely(8) + dice.below(2) {
            at += 4_000 + dice.rarely(120_000) as i64;
            let uuid = format!("{:032x}", u128::from(dice.next()) << 64 | u128::from(dice.next()));
            let uuid = [&uuid[..8], &uuid[8..12], &uuid[12..16], &uuid[16..20], &uuid[20..]].join("-");
            let message_id = MessageId::new(&uuid).expect("a word");
            tell(at, FactKind::MessageAccepted { message_id: message_id.clone(), chars: 10 + dice.rarely(300) as u32 });
            let first = 150 + dice.rarely(4_000);
            let duration_ms = first + 200 + dice.rarely(12_000);
            at += duration_ms as i64;
            tell(
                at,
                match dice.below(50) {
                    0 => FactKind::ReplyFailed {
                        message_id: message_id.clone(),
                        chunks: 0,
                        code: FailureCode::ALL[dice.below(10) as usize],
                        duration_ms,
                    },
                    outcome => FactKind::ReplyEnded {
                        message_id: message_id.clone(),
                        chunks: 5 + dice.rarely(200) as u32,
                        finish_reason: if outcome == 1 { FinishReason::Cancelled } else { FinishReason::Stop },
                        first_chunk_ms: Some(first),
                        duration_ms,
                    },
                },
            );
            if dice.below(12) == 0 {
                let rating = if dice.below(4) == 0 { Rating::Down } else { Rating::Up };
                tell(at + 2_000, FactKind::ReplyRated { message_id, rating, comment: None });
            }
        }
    }
}

/// Of facts of one moment the order is that of their ids' ends: any, but the same each time.
fn dice_free_order(fact: &Fact) -> u64 {
    fact.id.as_str().bytes().fold(0, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte)))
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let Some(sessions) = arguments.next().and_then(|number| number.parse::<i64>().ok()) else {
        return println!("no number of sessions, nothing to do");
    };
    let folder = arguments.next().unwrap_or_else(|| ".".to_owned());
    let path = Path::new(&folder).join("frontdesk-bench.redb");
    run(sessions, &path);
    std::fs::remove_file(&path).ok();
}

fn run(sessions: i64, path: &Path) {
    std::fs::remove_file(path).ok();
    let now = Millis::now();
    let store = Store::open(path).expect("a new file");
    println!("{sessions} sessions in {DAYS} days, batches of {BATCH} facts");
    write(&store, sessions, now);
    drop(store);
    let bytes = std::fs::metadata(path).expect("it is there").len();
    println!("file: {} MB, {} bytes a session", bytes / 1_000_000, bytes / sessions as u64);
    let began = Instant::now();
    let store = Store::open(path).expect("it was closed");
    println!("open, all checksums compared: {:?}", began.elapsed());
    ask(&store, now);
    care(&store, now);
    println!("memory at most: {} MB", peak_kb() / 1_000);
}

fn write(store: &Store, sessions: i64, now: Millis) {
    let mut source = Source::new(sessions, now);
    let (mut facts, mut times) = (0, Vec::new());
    let mut told = Instant::now();
    loop {
        let batch = source.batch();
        let Some(last) = batch.last() else { break };
        let began = Instant::now();
        store.apply_at(&batch, last.at).expect("there is room");
        times.push(began.elapsed());
        facts += batch.len();
        if told.elapsed() > Duration::from_secs(30) {
            told = Instant::now();
            println!("  {} of {sessions} sessions, {:.0} facts/s", source.made, rate(facts, &times));
        }
    }
    let speed = rate(facts, &times);
    let late = rate(BATCH * times.len().min(1_000), &times[times.len().saturating_sub(1_000)..]);
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    println!("{facts} facts: {speed:.0} facts/s, the last million {late:.0}");
    println!("a batch: p50 {:?}, p99 {:?}, max {:?}", at(50), at(99), at(100));
}

fn rate(facts: usize, times: &[Duration]) -> f64 {
    facts as f64 / times.iter().sum::<Duration>().as_secs_f64()
}

fn ask(store: &Store, now: Millis) {
    let site = SiteId::new("default").expect("a word");
    let days = |days: i64| Range { from: Millis(now.0 - days * DAY_MS), until: now };
    let all = [
        Metric::Messages,
        Metric::Sessions,
        Metric::Failed,
        Metric::Refused,
        Metric::FirstChunkMsP50,
        Metric::FirstChunkMsP95,
    ];
    measure("summary, 24 hours, a site", || drop(store.summary(Some(&site), days(1))));
    measure("summary, 30 days, a site", || drop(store.summary(Some(&site), days(30))));
    measure("summary, 30 days, all sites", || drop(store.summary(None, days(30))));
    measure("summary, 365 days, all sites", || drop(store.summary(None, days(365))));
    measure("6 series, 24 hours by minute", || drop(store.timeseries(None, days(1), Bucket::Minute, &all)));
    measure("6 series, 30 days by hour", || drop(store.timeseries(None, days(30), Bucket::Hour, &all)));
    measure("6 series, 365 days by day", || drop(store.timeseries(None, days(365), Bucket::Day, &all)));
    measure("busy hours, 90 days", || drop(store.busy_hours(None, days(90), 60)));
    measure("20 pages, 30 days", || drop(store.pages(None, days(30), 20)));
    measure("20 pages, 365 days", || drop(store.pages(None, days(365), 20)));
    measure("live sessions", || drop(store.live(None, now)));
    let any = Filter::default();
    measure("50 sessions, the newest", || drop(store.sessions(None, days(90), &any, None, 50)));
    let middle = Range { until: Millis(now.0 - 45 * DAY_MS), ..days(90) };
    measure("50 sessions, from the middle", || drop(store.sessions(Some(&site), middle, &any, None, 50)));
    let rare = Filter { outcome: Some("too_large".into()), rating: Some(Rating::Down), ..Filter::default() };
    measure("sessions that hardly pass a filter", || drop(store.sessions(None, days(90), &rare, None, 50)));
    let some = store.sessions(None, middle, &any, None, 1).expect("it is open").sessions;
    for row in &some {
        measure("one session", || drop(store.session(&row.site, &row.id)));
    }
}

/// What looks after the file: copies, the clean-up of half of all sessions, and what writes notice of that.
#[expect(clippy::disallowed_methods, reason = "no runtime here")]
fn care(store: &Store, now: Millis) {
    let seconds = |began: Instant| began.elapsed().as_secs_f64();
    let began = Instant::now();
    let live = store.live_bytes().expect("it is open");
    println!("counting the live bytes, {} MB: {:.2} s", live / 1_000_000, seconds(began));
    let began = Instant::now();
    let copied = store.copy().expect("there is room");
    println!("a copy of {} MB, with its SHA-256: {:.1} s", copied.bytes / 1_000_000, seconds(began));
    drop(copied);

    let (mut expiry, mut steps, mut removed) = (Expiry::of(Millis(now.0 - DAYS * DAY_MS / 2)), Vec::new(), 0);
    let (done, mut writes) = (AtomicBool::new(false), Vec::new());
    std::thread::scope(|threads| {
        let writer = threads.spawn(|| {
            let (mut source, mut times) = (Source::new(100_000, now), Vec::new());
            while !done.load(Ordering::Acquire) {
                let batch = source.batch();
                let began = Instant::now();
                store.apply_at(&batch, now).expect("there is room");
                times.push(began.elapsed());
            }
            times
        });
        // As the process does it.
        let mut pace = Pace::default();
        while !expiry.is_over() && steps.len() < 5_000 {
            let step = store.expire(&mut expiry, pace.rows()).expect("it is open");
            if step.removed > 0 {
                pace.took(step.took);
                steps.push(step.took);
            }
            removed += step.removed;
            std::thread::sleep(step.took);
        }
        done.store(true, Ordering::Release);
        writes = writer.join().expect("it does not panic");
    });
    for (what, mut times) in [("a step of the clean-up", steps), ("a batch meanwhile", writes)] {
        times.sort();
        let at = |percent: usize| times.get((times.len().max(1) - 1) * percent / 100).copied().unwrap_or_default();
        println!("{what}, {} of them: p50 {:?}, p99 {:?}, max {:?}", times.len(), at(50), at(99), at(100));
    }
    println!("{removed} sessions removed");
    let rewritten = store.rewrite().expect("there is room");
    let (before, after) = (rewritten.bytes_before / 1_000_000, rewritten.bytes_after / 1_000_000);
    let speed = rewritten.rows * 1_000 / rewritten.took_ms.max(1);
    println!("a rewrite, {before} to {after} MB: {} ms, {speed} rows/s", rewritten.took_ms);
}

/// The first time, with what redb kept in memory of the questions before, and the median of 21.
fn measure(what: &str, ask: impl Fn()) {
    let time = || {
        let began = Instant::now();
        ask();
        began.elapsed()
    };
    let first = time();
    let mut times: Vec<Duration> = (0..21).map(|_| time()).collect();
    times.sort();
    println!("{what}: {:.2} ms, the first time {:.2} ms", ms(times[10]), ms(first));
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

fn peak_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
