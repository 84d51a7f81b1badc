//! Looks after the file: lets old sessions go, and rewrites it when it has bytes to lose.
//!
//! It is rewritten
//! - half an hour (`ERASED_WAITS`) after the first erase since the last time, so that nothing of what was
//!   erased is left in its bytes within an hour, and not more often however many are erased;
//! - a week (`EXPIRED_WAITS`) after the first session went by its age;
//! - when more than half of it, and more than [`FREE_BYTES`], is free; looked at once a [`DAY`].

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use protocol::Millis;
use tokio::{task, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::{
    Error, Rewritten,
    metrics::Metrics,
    store::{EXPIRED_WAITS, Expiry, Store},
};

/// How often it is looked whether there is something to do.
const LOOK: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// After a start the file is left alone for this long: whoever restarts a process wants it to work.
const SETTLE: Duration = Duration::from_secs(10 * 60);
/// After a rewrite that failed, mostly for want of room.
const AGAIN: Duration = Duration::from_secs(30 * 60);
/// After a start nothing is removed for its age for this long: a machine that starts with a wrong clock has it set by then.
pub(crate) const CLOCK: Duration = Duration::from_secs(2 * 60);
/// Less than this is not worth a rewrite.
const FREE_BYTES: u64 = 64 << 20;

/// What a step of the clean-up should take at most. A write that comes meanwhile waits for it: promised are 50 ms, and
/// the other half is for a disk that is slower this once.
const GOAL: Duration = Duration::from_millis(25);
/// Rows in a step: the first, and the most.
const ROWS: (usize, usize) = (16, 1_000);

pub(crate) struct Caretaker {
    pub(crate) store: Arc<Store>,
    pub(crate) metrics: Metrics,
    /// How old sessions get; without, they stay.
    pub(crate) retention: Option<Duration>,
    /// How long the clock has to be set, after a start.
    pub(crate) clock: Duration,
}

impl Caretaker {
    /// Until `stop`, which also ends a copy that is being made.
    pub(crate) async fn run(&self, stop: &CancellationToken) {
        stop.run_until_cancelled(self.work()).await;
        self.store.stop_copies();
    }

    /// Never ends.
    async fn work(&self) {
        let mut every = tokio::time::interval(LOOK);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut pace, mut expiry, mut failing) = (Pace::default(), None, false);
        let clean_from = Instant::now() + self.clock;
        let (mut next_look, mut next_try) = (Instant::now() + SETTLE, Instant::now());
        loop {
            every.tick().await;
            if Instant::now() >= clean_from {
                let cleaned = self.clean_up(&mut pace, &mut expiry, LOOK).await;
                if let Err(error) = &cleaned
                    && !failing
                {
                    tracing::error!(%error, "old sessions can't be removed; it is tried again each minute");
                }
                failing = cleaned.is_err();
            }
            if Instant::now() < next_try {
                continue;
            }
            let look = Instant::now() >= next_look;
            if look {
                next_look = Instant::now() + DAY;
            }
            match self.rewrite_if_due(look).await {
                // Somebody makes a copy just now.
                Ok(_) | Err(Error::Copying | Error::Stopping) => {}
                Err(error) => {
                    self.metrics.rewrites_failed.inc();
                    tracing::error!(%error, "the database can't be rewritten; it is tried again in half an hour");
                    next_try = Instant::now() + AGAIN;
                }
            }
        }
    }

    /// Takes out what is old enough, in small steps, each followed by a pause as long as itself: writes come in between.
    /// After so long it leaves the rest for the next time, so that it is also looked whether a rewrite is due.
    async fn clean_up(&self, pace: &mut Pace, unfinished: &mut Option<Expiry>, most: Duration) -> Result<(), Error> {
        let Some(retention) = self.retention else { return Ok(()) };
        let age = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
        let begin = || Expiry::of(Millis(Millis::now().0.saturating_sub(age)));
        let mut expiry = unfinished.take().unwrap_or_else(begin);
        let (mut sessions, began) = (0, Instant::now());
        loop {
            let rows = pace.rows();
            let step;
            (expiry, step) = self
                .blocking(move |store| {
                    let step = store.expire(&mut expiry, rows)?;
                    Ok((expiry, step))
                })
                .await?;
            self.metrics.sessions_expired.inc_by(step.removed as u64);
            sessions += step.removed;
            // One that removed nothing says nothing of the disk.
            if step.removed > 0 {
                pace.took(step.took);
            }
            tokio::time::sleep(step.took).await;
            if expiry.is_over() || began.elapsed() >= most {
                break;
            }
        }
        if expiry.is_over() {
            self.metrics.last_clean_up.set(Millis::now().0 / 1_000);
        } else {
            *unfinished = Some(expiry);
        }
        if sessions > 0 {
            tracing::info!(sessions, "removed old sessions");
        }
        Ok(())
    }

    /// `look`: whether much of the file is free, which means to read it.
    async fn rewrite_if_due(&self, look: bool) -> Result<Option<Rewritten>, Error> {
        let rewritten = self
            .blocking(move |store| {
                let (kept, now) = (store.kept()?, Millis::now());
                let (due, lately) = (is_due(kept.rewrite_by, now), is_lately(kept.rewritten_at, now));
                let worth = || Ok::<_, Error>(look && !lately && is_mostly_free(store.bytes()?, store.live_bytes()?));
                if due || worth()? { store.rewrite().map(Some) } else { Ok(None) }
            })
            .await?;
        self.metrics.file_bytes.set(i64::try_from(self.store.bytes()?).unwrap_or(i64::MAX));
        if let Some(Rewritten { bytes_before, bytes_after, rows, took_ms, .. }) = &rewritten {
            self.metrics.rewrites.inc();
            tracing::info!(bytes_before, bytes_after, rows, took_ms, "rewrote the database");
        }
        Ok(rewritten)
    }

    /// On a thread that may wait for the disk.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let store = Arc::clone(&self.store);
        let done = task::spawn_blocking(move || work(&store)).await;
        done.unwrap_or_else(|_| {
            self.store.close();
            Err(Error::Panicked)
        })
    }
}

/// What is due later than anything is ever put off was put off while the clock was ahead.
fn is_due(rewrite_by: Option<Millis>, now: Millis) -> bool {
    rewrite_by.is_some_and(|by| by <= now || by > now.after(EXPIRED_WAITS))
}

/// Within a [`DAY`]. What is still to come was not.
fn is_lately(rewritten_at: Option<Millis>, now: Millis) -> bool {
    rewritten_at.is_some_and(|at| at <= now && now < at.after(DAY))
}

fn is_mostly_free(bytes: u64, live: u64) -> bool {
    let free = bytes.saturating_sub(live);
    free > FREE_BYTES && free > bytes / 2
}

/// How many rows a step takes, by how long the last one took.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Pace(usize);

impl Default for Pace {
    fn default() -> Self {
        Self(ROWS.0)
    }
}

impl Pace {
    /// As many as the next step may look at.
    pub fn rows(self) -> usize {
        self.0
    }

    /// Half as many after a step that was too long; twice as many where that can't be too long.
    pub fn took(&mut self, took: Duration) {
        if took > GOAL {
            self.0 = (self.0 / 2).max(1);
        } else if took < GOAL / 2 {
            self.0 = (self.0 * 2).min(ROWS.1);
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::{Fact, FactKind, SessionId, SiteId, Visit};

    use super::*;

    /// Steps that cost a fixed time and some for each row: how long the longest is once the pace is found.
    fn longest(fixed_us: u64, row_us: u64) -> Duration {
        let cost = |rows: usize| Duration::from_micros(fixed_us + row_us * rows as u64);
        let mut pace = Pace::default();
        let steps = (0..100).map(|_| {
            let took = cost(pace.rows());
            pace.took(took);
            took
        });
        steps.skip(10).max().unwrap_or_default()
    }

    #[test]
    fn steps_stay_below_the_goal_on_any_disk() {
        let check = |fixed_us, row_us| {
            let longest = longest(fixed_us, row_us);
            assert!(longest <= GOAL, "{fixed_us} + {row_us} a row: {longest:?}");
        };
        check(100, 1);
        check(100, 10);
        check(2_000, 100);
        check(5_000, 1_000);
        check(12_000, 200);
        check(0, 12_500);
        // Where a single row takes longer, no step is shorter.
        assert_eq!(longest(0, 40_000), Duration::from_millis(40));
    }

    #[test]
    fn a_pace_has_bounds() {
        let mut pace = Pace::default();
        for _ in 0..20 {
            pace.took(Duration::ZERO);
        }
        assert_eq!(pace.rows(), 1_000);
        pace.took(Duration::from_secs(1));
        assert_eq!(pace.rows(), 500);
        for _ in 0..20 {
            pace.took(Duration::from_secs(1));
        }
        assert_eq!(pace.rows(), 1);
    }

    /// At the first look: a session is too old, and another one was ended more than half an hour ago.
    #[tokio::test]
    async fn old_sessions_go_and_the_file_is_rewritten_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(&folder.path().join("facts.redb")).unwrap());
        // Read once: the ids are made of their second.
        let (site, now) = (SiteId::new("default").unwrap(), Millis::now());
        let (hour_ago, ago) = (Millis(now.0 - 3_600_000), |days: i64| Millis(now.0 - days * 86_400_000));
        let session = |days| SessionId::mint(u64::try_from(ago(days).0 / 1_000).unwrap(), 1);
        let told = |days, kind| Fact { at: ago(days), ..Fact::now(&site, &session(days), kind) };
        let started = |days| told(days, FactKind::SessionStarted(Visit::default()));
        store.apply_at(&[started(1), started(89), started(91)], hour_ago).unwrap();
        store.apply_at(&[told(1, FactKind::SessionEnded)], hour_ago).unwrap();
        assert!(store.kept().unwrap().rewrite_by.is_some_and(|by| by < Millis::now()));

        let metrics = Metrics::new(&runtime::metrics::Metrics::new(None));
        let retention = Some(90 * DAY);
        let caretaker =
            Caretaker { store: Arc::clone(&store), metrics: metrics.clone(), retention, clock: Duration::ZERO };
        let stop = CancellationToken::new();
        let looked = async {
            while metrics.rewrites.get() == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            stop.cancel();
        };
        let both = async { tokio::join!(caretaker.run(&stop), looked) };
        tokio::time::timeout(Duration::from_secs(20), both).await.expect("it comes about");
        assert_eq!((metrics.sessions_expired.get(), metrics.rewrites_failed.get()), (1, 0));
        assert!(metrics.last_clean_up.get() > 0 && metrics.file_bytes.get() > 0);
        let known = [1, 89, 91].map(|days| store.session(&site, &session(days)).unwrap().is_some());
        assert_eq!(known, [false, true, false]);
        assert_eq!(store.kept().unwrap().rewrite_by, None);
        assert!(matches!(store.copy(), Err(Error::Stopping)), "no copy holds up the end of the process");
    }

    fn store_with(sessions: impl Iterator<Item = i64>) -> Arc<Store> {
        let (store, site, now) = (Store::in_memory().unwrap(), SiteId::new("default").unwrap(), Millis::now());
        let facts = sessions.enumerate().map(|(n, days)| {
            let at = Millis(now.0 - days * 86_400_000);
            let id = SessionId::mint(u64::try_from(at.0 / 1_000).unwrap(), n as u64);
            Fact { at, ..Fact::now(&site, &id, FactKind::SessionStarted(Visit::default())) }
        });
        store.apply(&facts.collect::<Vec<_>>()).unwrap();
        Arc::new(store)
    }

    fn caretaker(store: &Arc<Store>, clock: Duration) -> Caretaker {
        let metrics = Metrics::new(&runtime::metrics::Metrics::new(None));
        Caretaker { store: Arc::clone(store), metrics, retention: Some(90 * DAY), clock }
    }

    /// Looks that find nothing cost the disk nothing, and make no step longer.
    #[tokio::test]
    async fn a_pace_goes_by_what_was_removed() {
        let store = store_with([89; 500].into_iter());
        let (caretaker, mut pace) = (caretaker(&store, Duration::ZERO), Pace::default());
        caretaker.clean_up(&mut pace, &mut None, LOOK).await.unwrap();
        assert_eq!(pace.rows(), 16);
        let store = store_with([91; 500].into_iter());
        let caretaker = Caretaker { store: Arc::clone(&store), ..caretaker };
        caretaker.clean_up(&mut pace, &mut None, LOOK).await.unwrap();
        assert_eq!(caretaker.metrics.sessions_expired.get(), 500);
        assert_ne!(pace.rows(), 16);
    }

    /// A step that waits for a batch is not a long one.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "no runtime here, and the time is what is tested")]
    fn a_step_does_not_count_its_waiting() {
        let store = store_with([91; 3].into_iter());
        let alone = store.writing().unwrap();
        let step = std::thread::scope(|threads| {
            let step = threads.spawn(|| {
                let mut expiry = Expiry::of(Millis(Millis::now().0 - 90 * 86_400_000));
                store.expire(&mut expiry, 16).unwrap()
            });
            std::thread::sleep(Duration::from_millis(400));
            drop(alone);
            step.join().unwrap()
        });
        assert_eq!(step.removed, 3);
        assert!(step.took > Duration::ZERO && step.took < Duration::from_millis(300), "{:?}", step.took);
    }

    /// A clean-up that is not done in its time goes on the next time, and in between a rewrite may be due.
    #[tokio::test]
    async fn a_long_clean_up_goes_on_the_next_time() {
        let store = store_with([91; 100].into_iter());
        let caretaker = caretaker(&store, Duration::ZERO);
        let (mut pace, mut expiry, mut times) = (Pace(1), None, 0);
        while caretaker.metrics.last_clean_up.get() == 0 {
            caretaker.clean_up(&mut pace, &mut expiry, Duration::from_micros(1)).await.unwrap();
            times += 1;
            assert!(times < 1_000, "it gets on");
        }
        assert!(times > 2 && expiry.is_none(), "{times}");
        assert_eq!(caretaker.metrics.sessions_expired.get(), 100);
    }

    /// Whoever starts a machine whose clock is ahead finds all sessions again when it is set.
    #[tokio::test]
    async fn nothing_goes_before_the_clock_can_be_set() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(&folder.path().join("facts.redb")).unwrap());
        let caretaker = caretaker(&store, CLOCK);
        let stop = CancellationToken::new();
        let looked = async {
            // Comes behind the clean-up.
            while caretaker.metrics.file_bytes.get() == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            stop.cancel();
        };
        tokio::join!(caretaker.run(&stop), looked);
        assert_eq!(caretaker.metrics.last_clean_up.get(), 0);
    }

    #[test]
    fn a_time_that_is_to_come_is_of_a_wrong_clock() {
        let now = Millis(1_767_168_909_000);
        let in_days = |days: i64| Some(Millis(now.0 + days * 86_400_000));
        let due = |at| is_due(at, now);
        assert_eq!((due(None), due(in_days(-1)), due(in_days(0)), due(in_days(7))), (false, true, true, false));
        assert!(due(in_days(8)) && due(in_days(365)));
        let lately = |at| is_lately(at, now);
        assert_eq!((lately(None), lately(in_days(-1)), lately(in_days(0))), (false, false, true));
        assert!(!lately(in_days(1)) && !lately(in_days(365)));
    }

    #[test]
    fn what_is_mostly_free_is_worth_a_rewrite() {
        let check = |bytes: u64, live: u64, worth| assert_eq!(is_mostly_free(bytes << 20, live << 20), worth);
        check(200, 90, true);
        check(200, 110, false);
        check(60, 1, false);
        check(64, 0, false);
        check(66, 1, true);
        check(0, 10, false);
    }
}
