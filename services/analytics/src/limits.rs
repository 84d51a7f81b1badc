//! What edges count against limits, kept so that it outlives them: after a restart of all edges, and of analytics, who
//! was limited is still limited.
//!
//! Edges tell each other what they let through; this listens, too, and answers edges that start. In memory it is a table
//! of fixed size (`table`); what changed of it is stored once in [`EVERY`], in one transaction, so that a process that is
//! killed forgets no more than that. Here are keyed hashes and numbers: who a caller is, only the edges know.

mod table;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bus::{Keeper, ToKeeper};
use futures_util::FutureExt as _;
use protocol::Millis;
use tokio::{
    task::{self, JoinHandle},
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;

use crate::{Error, Store, metrics::LimitMetrics as Metrics};
use table::Table;

pub(crate) use table::{Block, Caller};

/// What changed is stored this often.
const EVERY: Duration = Duration::from_secs(1);
/// Blocks in one transaction, 1.3 MB of rows: facts that come meanwhile wait some ms. More wait for the next.
const MOST: usize = 512;
/// At the stop it is stored for no longer than this.
const DRAIN: Duration = Duration::from_secs(5);
/// Of that, what is here is heard for no longer than this: some ms, unless somebody sends it faster than it is heard.
const HEARD: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) struct Limits {
    table: Table,
    store: Arc<Store>,
    metrics: Metrics,
    /// What is being stored.
    writing: Option<Writing>,
    failing: bool,
}

struct Writing {
    blocks: Arc<Vec<Block>>,
    written: JoinHandle<Result<(), Error>>,
}

impl Limits {
    /// Reads what is stored. Waits for the disk.
    pub(crate) fn load(store: Arc<Store>, max_callers: usize, metrics: Metrics) -> Result<Self, Error> {
        let (mut table, now) = (Table::new(max_callers), Millis::now());
        if table.load(&store.limits()?, now) {
            store.replace_limits(&table.all())?;
        }
        let limits = Self { table, store, metrics, writing: None, failing: false };
        limits.show();
        Ok(limits)
    }

    /// Hears and answers until `stop`, then stores what was heard.
    pub(crate) async fn run(mut self, mut keeper: Keeper, stop: &CancellationToken) {
        let mut every = tokio::time::interval(EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                said = keeper.next() => self.hear(said),
                _ = every.tick() => {
                    self.table.sweep(Millis::now());
                    self.write();
                }
                written = written(&mut self.writing), if self.writing.is_some() => self.written(written),
                () = stop.cancelled() => break,
            }
        }
        let stopped = Instant::now();
        while stopped.elapsed() < HEARD
            && let Some(said) = task::coop::unconstrained(keeper.next()).now_or_never()
        {
            self.hear(said);
        }
        let until = stopped + DRAIN;
        while Instant::now() < until {
            self.write();
            if self.writing.is_none() {
                break;
            }
            let written = written(&mut self.writing).await;
            self.written(written);
            if self.failing {
                tracing::warn!("stopping with counts of limits that could not be stored");
                break;
            }
        }
        // Closing may write to the disk as well.
        task::spawn_blocking(move || drop(self)).await.ok();
    }

    fn hear(&mut self, said: ToKeeper) {
        match said {
            ToKeeper::Charges(charges) if charges.v == 1 => {
                self.table.add(&charges, Millis::now());
                self.metrics.charges.inc_by(charges.units());
            }
            // Of a newer edge: left out.
            ToKeeper::Charges(_) => {}
            ToKeeper::Asked(ask, answer) => {
                answer.send(self.table.part(&ask, Millis::now()));
                self.metrics.parts.inc();
            }
        }
        self.show();
    }

    fn show(&self) {
        let writing = self.writing.as_ref().map_or(0, |writing| writing.blocks.len());
        self.metrics.show(self.table.kept(), self.table.forgotten(), self.table.changed() + writing);
    }

    /// Begins to store what changed, unless that is under way.
    fn write(&mut self) {
        if self.writing.is_some() {
            return;
        }
        let blocks = Arc::new(self.table.take_changed(MOST));
        if blocks.is_empty() {
            return;
        }
        let (store, to_write) = (Arc::clone(&self.store), Arc::clone(&blocks));
        let written = task::spawn_blocking(move || store.keep_limits(&to_write));
        self.writing = Some(Writing { blocks, written });
    }

    fn written(&mut self, result: Result<(), Error>) {
        let Some(Writing { blocks, .. }) = self.writing.take() else { return };
        match result {
            Ok(()) if self.failing => {
                self.failing = false;
                tracing::info!("the counts of limits are stored again");
            }
            Ok(()) => {}
            Err(error) => {
                if matches!(error, Error::Panicked) {
                    self.store.close();
                }
                self.metrics.store_errors.inc();
                self.table.put_back(&blocks);
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(%error, "the counts of limits can't be stored: it is tried again");
                }
            }
        }
        self.show();
    }
}

/// Waits for what is being stored. Cancel-safe.
async fn written(writing: &mut Option<Writing>) -> Result<(), Error> {
    match writing {
        Some(writing) => (&mut writing.written).await.unwrap_or(Err(Error::Panicked)),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use bus::Bus;
    use protocol::{Charges, Key, Tier};

    use super::*;
    use crate::store::tests::Disk;

    /// Waits for something that another task brings about.
    async fn until(what: impl Fn() -> bool) {
        let wait = async {
            while !what() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.expect("it comes about");
    }

    fn charge(bus: &Bus, key: u64) {
        let charges = vec![(Key(key), 3)];
        let charges = Charges { v: 1, edge: "e".into(), tier: Tier::IpDay, charges, resets: vec![80_000_000] };
        assert!(bus.charge(&charges));
    }

    fn used(store: &Store) -> Vec<u32> {
        let mut callers: Vec<Caller> = store.limits().unwrap().into_iter().flat_map(|block| block.callers).collect();
        callers.sort_by_key(|caller| caller.key);
        callers.iter().map(|caller| caller.used).collect()
    }

    /// The disk fills up: what is counted meanwhile is stored when there is room again, and what was heard is stored at
    /// the stop.
    #[tokio::test]
    async fn counts_wait_for_the_disk() {
        let (disk, bus, stop) = (Disk::default(), Bus::local(&bus::Config::default()), CancellationToken::new());
        let (store, metrics) = (Arc::new(disk.store()), Metrics::default());
        let load = || Limits::load(Arc::clone(&store), 1_000, metrics.clone()).unwrap();
        let story = async {
            charge(&bus, 1);
            until(|| used(&store) == [3]).await;
            disk.broken.store(true, Ordering::Release);
            charge(&bus, 1);
            charge(&bus, 2);
            until(|| metrics.store_errors.get() > 1).await;
            disk.broken.store(false, Ordering::Release);
            until(|| used(&store) == [6, 3]).await;
            charge(&bus, 3);
            stop.cancel();
        };
        tokio::join!(load().run(bus.keep_counts().await.unwrap(), &stop), story);
        assert_eq!(used(&store), [6, 3, 3]);
        assert_eq!(load().table.kept(), 3);
    }

    /// What a full table costs. Not a check: run it alone, with `--release --ignored --nocapture`.
    #[test]
    #[ignore = "measures"]
    fn a_full_table_in_figures() {
        let rss = || {
            let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
            statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096 / 1024
        };
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("limits.redb");
        let store = Arc::new(Store::open(&file).unwrap());
        let mut table = Table::new(100_000);
        println!("nobody yet: {} KiB", rss());
        let began = Instant::now();
        for n in 0..1_000_u64 {
            for tier in Tier::ALL {
                let key = |k: u64| Key((n * 1_000 + k).wrapping_mul(0x9e37_79b9_7f4a_7c15));
                let charges: Vec<_> = (0..1_000).map(|k| (key(k), 1)).collect();
                let resets = vec![60_000; charges.len()];
                table.add(&Charges { v: 1, edge: "e".into(), tier, charges, resets }, Millis::now());
            }
        }
        println!("8,000,000 charges: {:?}, {} callers kept, {} KiB", began.elapsed(), table.kept(), rss());
        let (mut parts, mut longest, mut bytes) = (0, Duration::ZERO, 0);
        let began = Instant::now();
        for tier in Tier::ALL {
            let mut from = Some(0);
            while let Some(at) = from {
                let one = Instant::now();
                let part = table.part(&protocol::CountsAsk { v: 1, tier, from: at }, Millis::now());
                bytes += serde_json::to_vec(&part).unwrap().len();
                longest = longest.max(one.elapsed());
                (parts, from) = (parts + 1, part.next);
            }
        }
        println!("{parts} parts: {:?}, the longest {longest:?}, {bytes} bytes", began.elapsed());
        let (began, mut longest, mut writes) = (Instant::now(), Duration::ZERO, 0);
        while table.changed() > 0 {
            let one = Instant::now();
            store.keep_limits(&table.take_changed(MOST)).unwrap();
            longest = longest.max(one.elapsed());
            writes += 1;
        }
        let size = std::fs::metadata(&file).unwrap().len() / 1024;
        println!("{writes} transactions: {:?}, the longest {longest:?}; a file of {size} KiB", began.elapsed());
        let (began, mut again) = (Instant::now(), Table::new(100_000));
        assert!(!again.load(&store.limits().unwrap(), Millis::now()));
        println!("read: {:?}, {} callers", began.elapsed(), again.kept());
    }

    /// An edge that was taken over sends faster than can be heard: the stop comes to its end all the same.
    #[tokio::test]
    async fn a_flood_does_not_hold_up_the_stop() {
        let (bus, stop, over) =
            (Bus::local(&bus::Config::default()), CancellationToken::new(), CancellationToken::new());
        let (store, keeper) = (Arc::new(Disk::default().store()), bus.keep_counts().await.unwrap());
        let limits = Limits::load(store, 1_000, Metrics::default()).unwrap();
        let flood = task::spawn_blocking({
            let (bus, over) = (bus.clone(), over.clone());
            move || {
                let charges = (1..1_000).map(|n| (Key(n * (u64::MAX / 1_000)), 1)).collect();
                let charges = Charges { v: 1, edge: "e".into(), tier: Tier::IpDay, charges, resets: vec![] };
                let began = Instant::now();
                while !over.is_cancelled() && began.elapsed() < Duration::from_secs(30) {
                    bus.charge(&charges);
                }
            }
        });
        until(|| bus.losses().unread > 0).await;
        stop.cancel();
        let began = Instant::now();
        limits.run(keeper, &stop).await;
        let took = began.elapsed();
        over.cancel();
        flood.await.unwrap();
        assert!(took < Duration::from_secs(15), "{took:?}");
    }

    /// More than fits into one transaction, in the last moment.
    #[tokio::test]
    async fn the_stop_leaves_no_counts_behind() {
        let (disk, bus, stop) = (Disk::default(), Bus::local(&bus::Config::default()), CancellationToken::new());
        let (store, keeper) = (Arc::new(disk.store()), bus.keep_counts().await.unwrap());
        let limits = Limits::load(Arc::clone(&store), 100_000, Metrics::default()).unwrap();
        // Each in another block.
        for n in 0..781 {
            charge(&bus, n * (u64::MAX / 781) + u64::MAX / 2_000);
        }
        stop.cancel();
        limits.run(keeper, &stop).await;
        assert!(used(&store).len() == 781 && store.limits().unwrap().len() > MOST);
    }
}
