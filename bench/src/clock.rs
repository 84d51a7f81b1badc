//! One clock for all processes of a run.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds on `CLOCK_MONOTONIC`, which all processes of a machine share: what the upstream wrote into a chunk can
/// be subtracted from what the visitor reads here.
pub(crate) fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// Sleeps until [`now`] is at least `due`.
pub(crate) fn sleep_until(due: u64) {
    let left = due.saturating_sub(now());
    if left > 0 {
        std::thread::sleep(Duration::from_nanos(left));
    }
}

/// Whether the run should end early: a signal came, or its time is over.
#[derive(Clone, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Listens for SIGINT and SIGTERM, and ends the run after `limit`.
    pub(crate) fn listen(limit: Duration) -> anyhow::Result<Self> {
        let stop = Self::default();
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&stop.0))?;
        }
        let timer = stop.clone();
        std::thread::spawn(move || {
            std::thread::sleep(limit);
            timer.0.store(true, Ordering::Relaxed);
        });
        Ok(stop)
    }

    /// Ends the run, after somebody failed.
    pub(crate) fn now(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Fails when the run should end.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(!self.0.load(Ordering::Relaxed), "stopped by a signal or by --time-limit");
        Ok(())
    }
}
