//! Strikes down processes of a deployment under load, and then reads the books: was anything lost, doubled or hung?

use std::{
    any::Any,
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
    thread::{self, ScopedJoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::{
    clock::Stop,
    dice::Dice,
    fleet::{Blow, Fleet, Role},
    http::Connection,
    ledger::{Account, Facts, Ledger},
    regular::{HEARTBEAT, Regular},
    targets::Frontdesk,
    tell,
    upstream::{Book, Script, Then},
};

/// What both kinds of runs are given.
#[derive(clap::Args)]
pub(crate) struct Common {
    /// The executable to run.
    #[arg(long, value_name = "FILE")]
    pub(crate) frontdesk: PathBuf,
    /// Edges, and as many workers.
    #[arg(long, default_value_t = 2)]
    pub(crate) pairs: usize,
    /// Where logs and stores are kept; without, a temporary folder that is kept only if something was wrong.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) folder: Option<PathBuf>,
    /// Write what came out to this file as well.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// The same seed, the same messages and the same blows; what they meet differs.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

/// Kills processes at random under load, and reads the books afterwards.
#[derive(clap::Args)]
pub(crate) struct Chaos {
    #[command(flatten)]
    common: Common,
    /// How long messages are sent and processes struck.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Visitors at once.
    #[arg(long, default_value_t = 60)]
    visitors: usize,
    /// A message must have its end this long after it was accepted.
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration)]
    bound: Duration,
    /// The mean time between two blows.
    #[arg(long, default_value = "3s", value_parser = humantime::parse_duration)]
    every: Duration,
    /// Strike nobody.
    #[arg(long)]
    peace: bool,
}

/// No more are away at once: an orchestrator replaces what is gone within seconds.
const AWAY: usize = 3;
/// A new conversation after so many messages.
const MESSAGES: std::ops::Range<usize> = 3..12;
/// One message in so many is heard again while its record is kept.
const AGAIN: usize = 8;
/// How long analytics gets to store what is in the stream, once everything is quiet.
const FACTS_WITHIN: Duration = Duration::from_secs(60);

/// Replies that a worker runs at once.
const CONCURRENCY: (usize, &str) = (64, "64");

/// By it analytics is asked what it counted.
const ADMIN_TOKEN: &str = "Hs7vLk2pQz9sVt4xCw6nBy1mRd3fGj8a";

/// Settings of such a deployment: short drains, so that a deploy's blows come often, and heartbeats by which a visitor
/// finds out soon that an edge is frozen.
pub(crate) const SETTINGS: &[(&str, &str)] = &[
    ("SSE_HEARTBEAT", HEARTBEAT),
    ("DRAIN_TIMEOUT", "12s"),
    ("WORKER_CONCURRENCY", CONCURRENCY.1),
    ("LOG_LEVEL", "info"),
    ("ADMIN_TOKEN", ADMIN_TOKEN),
    // Each visitor here says a hundred things a minute from one address.
    ("BOT_RULES", "shadow"),
];

/// Says whether the books are in order.
pub(crate) fn run(chaos: &Chaos) -> anyhow::Result<bool> {
    let time = Duration::from_secs_f64(chaos.minutes * 60.0);
    let stop = Stop::listen(time * 2 + chaos.bound * 4 + Duration::from_secs(180))?;
    in_folder(chaos.common.folder.as_deref(), |folder| hold(chaos, time, &stop, folder))
}

fn hold(chaos: &Chaos, time: Duration, stop: &Stop, folder: &Path) -> anyhow::Result<bool> {
    let (book, upstream) = Book::serve()?;
    let frontdesk = Frontdesk::new(Some(&chaos.common.frontdesk), upstream, stop)?;
    let pairs = (chaos.common.pairs, chaos.common.pairs);
    let mut fleet = Fleet::start(frontdesk, folder, pairs, SETTINGS, stop)?;
    let (edges, begun) = (fleet.edges(), Instant::now());
    let until = begun + time;
    let ledger = Mutex::new(Ledger::default());
    let shared = Shared { edges: &edges, book: &book, ledger: &ledger, stop, begun, until, bound: chaos.bound };

    let (blows, healed) = shared.crowd(chaos.visitors, chaos.common.seed, |all_left| {
        let mut blows = strike(chaos, &mut fleet, &shared)?;
        blows.push(json!({"at": begun.elapsed().as_secs_f64(), "what": "peace"}));
        // Whoever is still answered needs everybody back, and watched over.
        while !all_left() {
            fleet.step()?;
            thread::sleep(Duration::from_millis(50));
        }
        Ok((blows, begun.elapsed()))
    })?;

    fleet.heal()?;
    let mut ledger = ledger.into_inner().expect("nothing panics while holding it");
    ledger.faults.append(&mut fleet.faults);
    ledger.facts = Some(facts(&mut fleet, &ledger, stop)?);
    drop(fleet);
    ledger.audit(interruptible(&blows, chaos.common.pairs, chaos.visitors), book.late());

    let strikes = blows.len() - 1;
    crate::show(&format!("{}{}", ledger.table(), summary(&blows, strikes, healed)));
    if let Some(file) = &chaos.common.json {
        let report = json!({"seed": chaos.common.seed, "minutes": chaos.minutes, "visitors": chaos.visitors,
            "bound_s": chaos.bound.as_secs_f64(), "ledger": ledger.json(), "strikes": strikes, "blows": blows});
        fs::write(file, format!("{report:#}\n"))?;
    }
    Ok(ledger.is_clean())
}

/// How many replies can have been lost in all: all that ran at a worker that was struck, or at all of them when it was
/// NATS that they have in common. A visitor waits for one at a time.
fn interruptible(blows: &[Value], pairs: usize, visitors: usize) -> u64 {
    let of = |blow: &Value| match blow["role"].as_str() {
        Some(role) if role == Role::Worker.name() => CONCURRENCY.0.min(visitors),
        Some(role) if role == Role::Nats.name() => (CONCURRENCY.0 * pairs).min(visitors),
        _ => 0,
    };
    blows.iter().map(|blow| of(blow) as u64).sum()
}

/// What all visitors share.
pub(crate) struct Shared<'a> {
    pub(crate) edges: &'a [std::net::SocketAddr],
    pub(crate) book: &'a Book,
    pub(crate) ledger: &'a Mutex<Ledger>,
    pub(crate) stop: &'a Stop,
    pub(crate) begun: Instant,
    pub(crate) until: Instant,
    pub(crate) bound: Duration,
}

/// Small, because there are many visitors.
const STACK: usize = 512 * 1024;

impl Shared<'_> {
    /// Lets so many visitors in, does something meanwhile, which can ask whether all have left, and waits until they have.
    /// A visitor who fails or panics is a fault.
    pub(crate) fn crowd<T>(
        &self,
        visitors: usize,
        seed: u64,
        meanwhile: impl FnOnce(&dyn Fn() -> bool) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        thread::scope(|scope| {
            let enter = |number: usize| {
                let dice = Dice::new(seed << 20 | number as u64);
                thread::Builder::new().stack_size(STACK).spawn_scoped(scope, move || self.visit(number, dice))
            };
            let entered: Result<Vec<_>, _> = (0..visitors).map(enter).collect();
            // The scope waits for all, so nobody may go on after a failure.
            let entered = entered.inspect_err(|_| self.stop.now())?;
            let done = meanwhile(&|| entered.iter().all(ScopedJoinHandle::is_finished));
            if done.is_err() {
                self.stop.now();
            }
            for visitor in entered {
                let wrong = match visitor.join() {
                    Ok(Ok(())) => continue,
                    Ok(Err(error)) => format!("a visitor: {error:#}"),
                    Err(panic) => format!("a visitor panicked: {}", panic_text(&*panic)),
                };
                self.ledger.lock().expect("nothing panics while holding it").faults.push(wrong);
            }
            done
        })
    }

    /// One visitor after the other, until the time is over.
    pub(crate) fn visit(&self, number: usize, mut dice: Dice) -> anyhow::Result<()> {
        let mut said = 0_usize;
        while Instant::now() < self.until {
            let mut visitor = Regular::new(self.edges, dice.clone(), self.stop, self.begun);
            // Who finds nobody at the very end has asked nothing yet.
            if let Err(error) = visitor.arrive(self.until + self.bound * 2) {
                self.stop.check()?;
                return Err(error);
            }
            let many = MESSAGES.start + dice.below(MESSAGES.len());
            for _ in 0..many {
                said += 1;
                let message_id = format!("m{number:04}-{said:06}");
                let mut account = visitor.ask(message_id, script(&mut dice), self.bound)?;
                let again = account.accepted && account.end.is_some() && dice.below(AGAIN) == 0;
                if again {
                    let second = visitor.hear_again(&account, self.bound)?;
                    account.compare(&second);
                }
                self.enter(account, again);
                if Instant::now() >= self.until {
                    break;
                }
                thread::sleep(dice.between(Duration::from_millis(50), Duration::from_millis(1_500)));
            }
            // Another one comes next.
            dice.below(2);
        }
        Ok(())
    }

    /// After it was heard again, which must not have made it run again.
    fn enter(&self, mut account: Account, again: bool) {
        // Who is frozen between its claim and its call makes that call when it wakes up: still one.
        let runs = self.book.close(&account.message_id, account.is_interrupted());
        account.settle(&runs);
        let mut ledger = self.ledger.lock().expect("nothing panics while holding it");
        ledger.enter(&account, &runs);
        if again {
            ledger.heard_again();
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text")
}

/// Replies of all shapes.
fn script(dice: &mut Dice) -> Script {
    let ms = Duration::from_millis;
    let (chunks, pause, then) = match dice.below(20) {
        0..10 => (1 + dice.below(20), ms(0), Then::End),
        10..13 => (20 + dice.below(60), ms(20), Then::End),
        13..16 => (200, ms(5), Then::End),
        16..18 => (20 + dice.below(20), ms(150), Then::End),
        18 => (1_000, ms(0), Then::End),
        _ => (1 + dice.below(40), ms(10), Then::Cut),
    };
    Script { chunks: u32::try_from(chunks).unwrap_or(1), pause, then }
}

/// Strikes until the time is over; what was done, and when.
fn strike(chaos: &Chaos, fleet: &mut Fleet<'_>, shared: &Shared<'_>) -> anyhow::Result<Vec<Value>> {
    let mut dice = Dice::new(chaos.common.seed);
    let mut blows = Vec::new();
    let pause = |dice: &mut Dice| dice.between(chaos.every / 2, chaos.every * 3 / 2);
    let (mut next, mut told) = (Instant::now() + pause(&mut dice), Instant::now());
    while Instant::now() < shared.until {
        shared.stop.check()?;
        fleet.step()?;
        if told.elapsed() > Duration::from_secs(15) {
            told = Instant::now();
            let ledger = shared.ledger.lock().expect("nothing panics while holding it");
            let seconds = shared.begun.elapsed().as_secs();
            tell(&format!(
                "{seconds} s: {} blows, {} messages, {} accepted, {} ended",
                blows.len(),
                ledger.messages,
                ledger.accepted,
                ledger.ended
            ));
        }
        if !chaos.peace && Instant::now() >= next {
            let targets = fleet.targets(AWAY);
            // One role after the other, so that two edges aren't struck twice as often as the one nats-server.
            let mut roles: Vec<Role> = targets.iter().map(|&at| fleet.members[at].role).collect();
            roles.dedup();
            if let Some(&role) = dice.pick(&roles) {
                let of: Vec<usize> = targets.into_iter().filter(|&at| fleet.members[at].role == role).collect();
                let at = *dice.pick(&of).context("there was one")?;
                let blow = match dice.below(3) {
                    0 => Blow::Kill,
                    1 => Blow::Term,
                    _ => Blow::Freeze(dice.between(Duration::from_secs(1), Duration::from_secs(15))),
                };
                fleet.strike(at, blow, dice.between(Duration::from_millis(100), Duration::from_secs(2)))?;
                let name = fleet.members[at].name.clone();
                let at = shared.begun.elapsed().as_secs_f64();
                blows.push(json!({"at": at, "whom": name, "role": role.name(), "how": blow.name(),
                    "what": format!("{name}: {blow}")}));
                next = Instant::now() + pause(&mut dice);
            }
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(blows)
}

fn summary(blows: &[Value], strikes: usize, took: Duration) -> String {
    let mut counts: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    for blow in blows {
        if let (Some(role), Some(how)) = (blow["role"].as_str(), blow["how"].as_str()) {
            *counts.entry((role, how)).or_default() += 1;
        }
    }
    let mut text = format!("\n| {strikes} blows in {:.0} s | |\n| --- | ---: |\n", took.as_secs_f64());
    for ((role, how), count) in counts {
        text += &format!("| {how} {role} | {count} |\n");
    }
    text
}

/// What analytics says by its API, once it has all.
fn facts(fleet: &mut Fleet<'_>, ledger: &Ledger, stop: &Stop) -> anyhow::Result<Facts> {
    // Edges and workers first, so that they have told all they know; analytics stores what is in the stream.
    fleet.end(Role::Edge);
    fleet.end(Role::Worker);
    let (since, wanted) = (Instant::now(), Facts { accepted: ledger.accepted, done: ledger.ended });
    loop {
        thread::sleep(Duration::from_secs(2));
        let told = ask(fleet, stop)?;
        if told == wanted || since.elapsed() > FACTS_WITHIN {
            return Ok(told);
        }
        fleet.step()?;
    }
}

fn ask(fleet: &Fleet<'_>, stop: &Stop) -> anyhow::Result<Facts> {
    let mut analytics = Connection::open(fleet.analytics().context("it runs")?, stop)?;
    let request = format!(
        "GET /api/v1/analytics/summary?range=30d HTTP/1.1\r\nHost: localhost\r\n\
         Authorization: Bearer {ADMIN_TOKEN}\r\n\r\n"
    );
    let status = analytics.send(request.as_bytes())?;
    ensure!(status == 200, "analytics answered {status}");
    let summary: Value = serde_json::from_slice(&analytics.rest()?)?;
    let count = |name: &str| summary[name].as_u64().unwrap_or(0);
    let failed = summary["failed"].as_object().into_iter().flatten().filter_map(|(_, n)| n.as_u64());
    Ok(Facts { accepted: count("messages"), done: count("ended") + count("cancelled") + failed.sum::<u64>() })
}

/// Gives a run a folder for its files, which stays unless it is temporary and all went well.
pub(crate) fn in_folder(
    wanted: Option<&Path>,
    run: impl FnOnce(&Path) -> anyhow::Result<bool>,
) -> anyhow::Result<bool> {
    let path = match wanted {
        Some(path) => {
            fs::create_dir_all(path)?;
            path.canonicalize()?
        }
        None => tempfile::tempdir()?.keep(),
    };
    let done = run(&path);
    if !matches!(done, Ok(true)) {
        tell(&format!("logs are in {}", path.display()));
    } else if wanted.is_none() {
        fs::remove_dir_all(path)?;
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::End;

    #[test]
    fn only_who_is_struck_interrupts() {
        let check = |roles: &[Role], visitors: usize, expected: u64| {
            let blows: Vec<Value> = roles.iter().map(|role| json!({"role": role.name()})).collect();
            assert_eq!(interruptible(&blows, 2, visitors), expected, "{roles:?}");
        };
        check(&[], 60, 0);
        check(&[Role::Edge, Role::Analytics], 60, 0);
        check(&[Role::Worker, Role::Worker], 60, 120);
        check(&[Role::Worker, Role::Nats], 200, 64 + 128);
    }

    /// Whoever asks what happened finds the logs.
    #[test]
    fn only_a_clean_run_leaves_no_folder() {
        let check = |outcome: anyhow::Result<bool>, stays: bool| {
            let mut at = PathBuf::new();
            let expected = outcome.as_ref().ok().copied();
            let done = in_folder(None, |folder| {
                folder.clone_into(&mut at);
                outcome
            });
            assert_eq!((done.ok(), at.exists()), (expected, stays));
            let _ = fs::remove_dir_all(at);
        };
        check(Ok(true), false);
        check(Ok(false), true);
        check(Err(anyhow::anyhow!("no nats-server")), true);
    }

    #[test]
    fn a_visitor_who_fails_or_panics_is_a_fault() {
        let check = |edges: &[std::net::SocketAddr], stopped: bool, expected: &str| {
            let (ledger, book, stop, begun) = (Mutex::default(), Book::default(), Stop::default(), Instant::now());
            if stopped {
                stop.now();
            }
            let (until, bound) = (begun + Duration::from_secs(60), Duration::from_secs(1));
            let shared = Shared { edges, book: &book, ledger: &ledger, stop: &stop, begun, until, bound };
            shared.crowd(2, 1, |_| Ok(())).unwrap();
            let faults = ledger.into_inner().unwrap().faults;
            assert_eq!(faults.iter().filter(|fault| fault.contains(expected)).count(), 2, "{faults:?}");
        };
        check(&[([127, 0, 0, 1], 1).into()], true, "a visitor: stopped");
        // There is no next of no edges.
        check(&[], false, "a visitor panicked: attempt to calculate the remainder");
    }

    /// A call after the end of an interrupted message is its first, and one more is a fault.
    #[test]
    fn the_book_is_closed_with_the_account() {
        let book = Book::default();
        let (ledger, stop, begun, bound) = (Mutex::default(), Stop::default(), Instant::now(), Duration::ZERO);
        let shared = Shared { edges: &[], book: &book, ledger: &ledger, stop: &stop, begun, until: begun, bound };
        for (id, code) in [("message-1", "interrupted"), ("message-2", "queue_timeout")] {
            let mut account = Account::new(id.to_owned(), Script::default(), begun);
            account.end = Some(End::Failed(code.to_owned()));
            shared.enter(account, false);
            book.begin(id);
        }
        let late = book.late();
        assert_eq!((late.first, late.whose), (1, vec!["message-2".to_owned()]));
    }
}
