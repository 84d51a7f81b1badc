//! Strikes down processes of a deployment under load, and then reads the books: was anything lost, doubled or hung?

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use redb::{ReadableDatabase as _, ReadableTable as _, TableDefinition};
use serde_json::{Value, json};

use crate::{
    clock::Stop,
    dice::Dice,
    fleet::{Blow, Fleet, Role},
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

/// Settings of such a deployment: short drains, so that a deploy's blows come often, and heartbeats by which a visitor
/// finds out soon that an edge is frozen.
pub(crate) const SETTINGS: &[(&str, &str)] = &[
    ("SSE_HEARTBEAT", HEARTBEAT),
    ("DRAIN_TIMEOUT", "12s"),
    ("WORKER_CONCURRENCY", "64"),
    ("LOG_LEVEL", "info"),
    // Each visitor here says a hundred things a minute from one address.
    ("BOT_RULES", "shadow"),
];

/// Says whether the books are in order.
pub(crate) fn run(chaos: &Chaos) -> anyhow::Result<bool> {
    let time = Duration::from_secs_f64(chaos.minutes * 60.0);
    let stop = Stop::listen(time * 2 + chaos.bound * 4 + Duration::from_secs(180))?;
    let folder = Folder::new(chaos.common.folder.as_deref())?;
    let (book, upstream) = Book::serve()?;
    let frontdesk = Frontdesk::new(Some(&chaos.common.frontdesk), upstream, &stop)?;
    let pairs = (chaos.common.pairs, chaos.common.pairs);
    let mut fleet = Fleet::start(frontdesk, &folder.path, pairs, SETTINGS, &stop)?;
    let (edges, begun) = (fleet.edges(), Instant::now());
    let until = begun + time;
    let ledger = Mutex::new(Ledger::default());
    let shared = Shared { edges: &edges, book: &book, ledger: &ledger, stop: &stop, begun, until, bound: chaos.bound };

    let (blows, healed) = thread::scope(|scope| {
        let visitors: Vec<_> = (0..chaos.visitors)
            .map(|number| {
                let dice = Dice::new(chaos.common.seed << 20 | number as u64);
                let shared = &shared;
                thread::Builder::new().stack_size(512 * 1024).spawn_scoped(scope, move || shared.visit(number, dice))
            })
            .collect::<Result<_, _>>()?;
        let struck = strike(chaos, &mut fleet, &shared);
        if struck.is_err() {
            stop.now();
        }
        let mut blows = struck?;
        blows.push(json!({"at": begun.elapsed().as_secs_f64(), "what": "peace"}));
        // Whoever is still answered needs everybody back, and watched over.
        while visitors.iter().any(|visitor| !visitor.is_finished()) {
            if let Err(error) = fleet.step() {
                stop.now();
                return Err(error);
            }
            thread::sleep(Duration::from_millis(50));
        }
        for visitor in visitors {
            if let Ok(Err(error)) = visitor.join() {
                ledger.lock().expect("nothing panics while holding it").faults.push(format!("a visitor: {error:#}"));
            }
        }
        Ok::<_, anyhow::Error>((blows, begun.elapsed()))
    })
    .inspect_err(|_| folder.keep())?;

    fleet.heal().inspect_err(|_| folder.keep())?;
    let mut ledger = ledger.into_inner().expect("nothing panics while holding it");
    ledger.faults.append(&mut fleet.faults);
    ledger.facts = Some(facts(&mut fleet, &ledger)?);
    drop(fleet);

    let strikes = blows.len() - 1;
    crate::show(&format!("{}{}", ledger.table(), summary(&blows, strikes, healed)));
    if let Some(file) = &chaos.common.json {
        let report = json!({"seed": chaos.common.seed, "minutes": chaos.minutes, "visitors": chaos.visitors,
            "bound_s": chaos.bound.as_secs_f64(), "ledger": ledger.json(), "strikes": strikes, "blows": blows});
        fs::write(file, format!("{report:#}\n"))?;
    }
    let clean = ledger.is_clean();
    if !clean {
        folder.keep();
    }
    Ok(clean)
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

impl Shared<'_> {
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
                let runs = self.book.runs(&account.message_id);
                account.settle(&runs);
                let again = account.accepted && account.end.is_some() && dice.below(AGAIN) == 0;
                if again {
                    let second = visitor.hear_again(&account, self.bound)?;
                    account.compare(&second);
                }
                // Once more: what was heard again must not have run again.
                let runs = self.book.runs(&account.message_id);
                if runs.len() > 1 && account.wrong.is_empty() {
                    account.settle(&runs);
                }
                self.enter(&account, again);
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

    fn enter(&self, account: &Account, again: bool) {
        let runs = self.book.runs(&account.message_id);
        let mut ledger = self.ledger.lock().expect("nothing panics while holding it");
        ledger.enter(account, &runs);
        if again {
            ledger.heard_again();
        }
        drop(ledger);
        self.book.forget(&account.message_id);
    }
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

/// What analytics has stored, once it has all: it is asked to end, and its file is read.
fn facts(fleet: &mut Fleet<'_>, ledger: &Ledger) -> anyhow::Result<Facts> {
    // Edges and workers first, so that they have told all they know; analytics stores what is in the stream.
    fleet.end(Role::Edge);
    fleet.end(Role::Worker);
    let (since, wanted) = (Instant::now(), Facts { accepted: ledger.accepted, done: ledger.ended });
    let database = fleet.database();
    let copy = database.with_extension("copy");
    loop {
        thread::sleep(Duration::from_secs(2));
        // A copy, because the file is locked; one that was taken in mid-write is repaired by redb as after a kill.
        fs::copy(&database, &copy)?;
        if read(&copy).is_ok_and(|facts| facts == wanted) {
            break;
        }
        if since.elapsed() > FACTS_WITHIN {
            break;
        }
        fleet.step()?;
    }
    fleet.end(Role::Analytics);
    read(&database)
}

fn read(file: &Path) -> anyhow::Result<Facts> {
    const TOTALS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("totals");
    let database = redb::Database::open(file)?;
    let totals = database.begin_read()?.open_table(TOTALS)?;
    let mut facts = Facts::default();
    for row in totals.iter()? {
        let (_, row) = row?;
        let row: Value = serde_json::from_slice(row.value())?;
        let tally = &row["tally"];
        let count = |name: &str| tally[name].as_u64().unwrap_or(0);
        facts.accepted += count("messages");
        facts.done += count("ended") + count("cancelled");
        facts.done += tally["failed"].as_object().into_iter().flatten().filter_map(|(_, n)| n.as_u64()).sum::<u64>();
    }
    Ok(facts)
}

/// Where a run's files are.
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
    temporary: std::cell::RefCell<Option<tempfile::TempDir>>,
}

impl Folder {
    pub(crate) fn new(wanted: Option<&Path>) -> anyhow::Result<Self> {
        if let Some(path) = wanted {
            fs::create_dir_all(path)?;
            return Ok(Self { path: path.canonicalize()?, temporary: None.into() });
        }
        let folder = tempfile::tempdir()?;
        Ok(Self { path: folder.path().to_owned(), temporary: Some(folder).into() })
    }

    /// Leaves it for whoever wants to know why.
    pub(crate) fn keep(&self) {
        if let Some(folder) = self.temporary.take() {
            let _ = folder.keep();
        }
        tell(&format!("logs are in {}", self.path.display()));
    }
}
