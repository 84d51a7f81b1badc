//! How much a bucket lets through: arithmetic on one number and the time.
//!
//! The time is nanoseconds since the edge started, by a clock that can't be set: nobody is let in or kept out because
//! somebody put the machine's date right.

use std::{num::NonZeroU32, time::Duration};

/// Nanoseconds since the edge started.
pub(crate) type Nanos = u64;

/// What was used of a bucket, in a form that only [`Quota`] reads. 0 is a bucket that nobody used.
pub(crate) type Level = u64;

const SECOND: Nanos = 1_000_000_000;

/// So many units in a window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quota {
    size: NonZeroU32,
    window: Duration,
    refill: Refill,
}

/// How units come back.
#[derive(Clone, Copy, Debug)]
enum Refill {
    /// One after another (GCRA): a quiet caller may send a burst, a loud one gets the average. The level is the time at
    /// which the bucket will be full again.
    Evenly { unit: Nanos },
    /// All of them, a window after the first was taken: a budget that must not be exceeded in any window that begins with
    /// its first use. The level is the second at which that is (upper half) and the units that were taken.
    AtOnce,
}

/// How a bucket is after a unit was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) units: u32,
    /// Until all of the quota is there again.
    pub(crate) reset: Duration,
}

impl Quota {
    /// `size` units a minute, coming back one after another; `None` when it is 0.
    pub(crate) fn per_minute(size: u32) -> Option<Self> {
        let (size, window) = (NonZeroU32::new(size)?, Duration::from_secs(60));
        Some(Self { size, window, refill: Refill::Evenly { unit: 60 * SECOND / u64::from(size.get()) } })
    }

    /// `size` units in 24 hours, coming back together; `None` when it is 0.
    pub(crate) fn per_day(size: u32) -> Option<Self> {
        let (size, window) = (NonZeroU32::new(size)?, Duration::from_secs(24 * 60 * 60));
        Some(Self { size, window, refill: Refill::AtOnce })
    }

    pub(crate) fn size(&self) -> u32 {
        self.size.get()
    }

    pub(crate) fn window(&self) -> Duration {
        self.window
    }

    /// Units that are not there now; one that is coming back isn't there yet.
    pub(crate) fn used(&self, level: Level, now: Nanos) -> u32 {
        match self.refill {
            Refill::Evenly { unit } => u32::try_from(level.saturating_sub(now).div_ceil(unit)).unwrap_or(u32::MAX),
            Refill::AtOnce => window(level, now).map_or(0, |(_, used)| used),
        }
    }

    /// How much is in the way of the bucket's being forgotten: more is worse. Comparable between buckets of one quota.
    pub(crate) fn weight(&self, level: Level, now: Nanos) -> u64 {
        match self.refill {
            Refill::Evenly { .. } => level.saturating_sub(now),
            Refill::AtOnce => u64::from(self.used(level, now)),
        }
    }

    /// Whether nothing is left.
    pub(crate) fn is_exhausted(&self, level: Level, now: Nanos) -> bool {
        self.used(level, now) >= self.size()
    }

    /// Takes a unit; where there is none, how long until there is.
    pub(crate) fn take(&self, level: &mut Level, now: Nanos) -> Result<Left, Duration> {
        if self.is_exhausted(*level, now) {
            return Err(self.wait(*level, now));
        }
        self.add(level, 1, now);
        Ok(Left { units: self.size().saturating_sub(self.used(*level, now)), reset: self.reset(*level, now) })
    }

    /// Takes what somebody else let through, as far as there is something to take: never more than all of the quota.
    pub(crate) fn add(&self, level: &mut Level, units: u32, now: Nanos) {
        if units == 0 {
            return;
        }
        *level = match self.refill {
            Refill::Evenly { unit } => {
                let most = now + unit * u64::from(self.size());
                ((*level).max(now) + unit * u64::from(units.min(self.size()))).min(most)
            }
            Refill::AtOnce => {
                let (end, used) = window(*level, now).unwrap_or((now / SECOND + self.window.as_secs(), 0));
                pack(end, used.saturating_add(units).min(self.size()))
            }
        };
    }

    /// Gives a unit back.
    pub(crate) fn give_back(&self, level: &mut Level, now: Nanos) {
        *level = match self.refill {
            Refill::Evenly { unit } => level.saturating_sub(unit),
            // With its only use given back, the window has not begun.
            Refill::AtOnce => {
                window(*level, now).map_or(0, |(end, used)| if used > 1 { pack(end, used - 1) } else { 0 })
            }
        };
    }

    /// Counts what was used before this edge began, by the word of who kept it: as far as more is known there than
    /// here. So it may be told any number of times, and what is told again changes nothing. `used` are the units of a
    /// window that ends after `left`; where units come back evenly, `left` says it all.
    pub(crate) fn restore(&self, level: &mut Level, used: u32, left: Duration, now: Nanos) {
        let left = u64::try_from(left.min(self.window).as_nanos()).expect("a window is short");
        let back = now + left;
        match self.refill {
            Refill::Evenly { .. } => *level = (*level).max(back),
            Refill::AtOnce if used == 0 || left == 0 => {}
            Refill::AtOnce => {
                let (end, used) = (back.div_ceil(SECOND), used.min(self.size()));
                // Two that know of one window began it at the same first use: the later end is of who heard of it late.
                let (end, used) = window(*level, now).map_or((end, used), |(e, u)| (end.min(e), used.max(u)));
                *level = pack(end, used);
            }
        }
    }

    /// Until all of the quota is there.
    pub(crate) fn reset(&self, level: Level, now: Nanos) -> Duration {
        let at = match self.refill {
            Refill::Evenly { .. } => level,
            Refill::AtOnce => window(level, now).map_or(0, |(end, _)| end * SECOND),
        };
        Duration::from_nanos(at.saturating_sub(now))
    }

    /// Until a unit more is there than the exhausted bucket has.
    pub(crate) fn wait(&self, level: Level, now: Nanos) -> Duration {
        match self.refill {
            Refill::Evenly { unit } => {
                let spare = unit * u64::from(self.size() - 1);
                Duration::from_nanos(level.saturating_sub(now).saturating_sub(spare))
            }
            Refill::AtOnce => self.reset(level, now),
        }
    }
}

/// The end of the running window in seconds, and what was taken in it; `None` when none runs.
fn window(level: Level, now: Nanos) -> Option<(u64, u32)> {
    let (end, used) = (level >> 32, u32::try_from(level & u64::from(u32::MAX)).expect("32 bits"));
    (end * SECOND > now).then_some((end, used))
}

fn pack(end: u64, used: u32) -> Level {
    // 32 bits of seconds since the start are 136 years.
    end << 32 | u64::from(used)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    const START: Nanos = 5 * SECOND;

    fn seconds(duration: Duration) -> u64 {
        duration.as_millis().div_ceil(1000).try_into().unwrap()
    }

    #[test]
    fn a_minutes_worth_then_the_average() {
        let quota = Quota::per_minute(20).unwrap();
        let mut level = 0;
        for n in 1..=20 {
            let left = quota.take(&mut level, START).unwrap();
            assert_eq!((left.units, left.reset.as_secs()), (20 - n, 3 * u64::from(n)));
        }
        assert_eq!(quota.take(&mut level, START), Err(Duration::from_secs(3)));
        assert_eq!(quota.take(&mut level, START + 2 * SECOND), Err(Duration::from_secs(1)));
        assert_eq!(quota.take(&mut level, START + 3 * SECOND).unwrap().units, 0);
        assert_eq!(quota.take(&mut level, START + 63 * SECOND).unwrap().units, 19);
    }

    #[test]
    fn a_budget_is_kept_for_a_whole_day() {
        const DAY: u64 = 86_400;
        let quota = Quota::per_day(3).unwrap();
        let now = START + SECOND / 2;
        let mut level = 0;
        for n in 1..=3 {
            let left = quota.take(&mut level, now).unwrap();
            assert_eq!((left.units, seconds(left.reset)), (3 - n, DAY));
        }
        assert_eq!(quota.take(&mut level, now).map_err(seconds), Err(DAY));
        assert_eq!(quota.take(&mut level, now + (DAY - 1) * SECOND).map_err(seconds), Err(1));
        assert_eq!(quota.take(&mut level, now + DAY * SECOND).unwrap().units, 2, "all come back together");
    }

    #[test]
    fn odd_quotas_are_exact_too() {
        for size in [1, 7, 60, 6000, 999_999_999, u32::MAX] {
            let quota = Quota::per_minute(size).unwrap();
            let mut level = 0;
            assert_eq!(quota.take(&mut level, START).unwrap().units, size - 1);
            quota.add(&mut level, size.saturating_sub(2), START);
            assert_eq!(quota.used(level, START), (size - 1).max(1), "{size}");
        }
    }

    #[test]
    fn zero_is_off() {
        assert!(Quota::per_minute(0).is_none() && Quota::per_day(0).is_none());
    }

    #[test]
    fn what_others_let_through_exhausts_and_no_more() {
        for quota in [Quota::per_minute(5).unwrap(), Quota::per_day(5).unwrap()] {
            let mut level = 0;
            quota.add(&mut level, 4, START);
            assert_eq!(quota.take(&mut level, START).unwrap().units, 0);
            let full = level;
            quota.add(&mut level, u32::MAX, START);
            assert_eq!(level, full, "an exhausted bucket is not deeper for it");
            quota.give_back(&mut level, START);
            assert!(quota.take(&mut level, START).is_ok() && quota.take(&mut level, START).is_err());
        }
    }

    /// An edge that stops and one that starts, by another clock: who was refused is refused, for as long.
    #[test]
    fn what_was_used_outlives_the_edge() {
        const LATER: Nanos = 900 * SECOND;
        for quota in [Quota::per_minute(20).unwrap(), Quota::per_day(20).unwrap()] {
            for taken in 0..=20 {
                let mut before = 0;
                for _ in 0..taken {
                    quota.take(&mut before, START).unwrap();
                }
                let (used, reset) = (quota.used(before, START), quota.reset(before, START));
                let mut after = 0;
                // Told twice, it counts once.
                for _ in 0..2 {
                    quota.restore(&mut after, used, reset, LATER);
                }
                assert_eq!((quota.used(after, LATER), quota.reset(after, LATER)), (used, reset));
            }
        }
    }

    #[test]
    fn of_two_words_the_stricter_one_counts_and_no_more_than_all() {
        let day = Duration::from_secs(86_400);
        let budget = Quota::per_day(5).unwrap();
        let check = |told: &[(u32, u64)], used: u32, reset: u64| {
            let mut level = 0;
            told.iter().for_each(|(u, left)| budget.restore(&mut level, *u, Duration::from_secs(*left), START));
            assert_eq!((budget.used(level, START), seconds(budget.reset(level, START))), (used, reset), "{told:?}");
        };
        check(&[(3, 50_000)], 3, 50_000);
        check(&[(3, 50_000), (2, 40_000)], 3, 40_000);
        check(&[(2, 40_000), (3, 50_000)], 3, 40_000);
        check(&[(u32::MAX, u64::MAX)], 5, day.as_secs());
        check(&[(0, 50_000), (3, 0)], 0, 0);
        let minute = Quota::per_minute(5).unwrap();
        let mut level = 0;
        minute.restore(&mut level, 0, day, START);
        assert_eq!((minute.used(level, START), minute.reset(level, START)), (5, Duration::from_secs(60)));
        minute.restore(&mut level, 0, Duration::ZERO, START);
        assert_eq!(minute.used(level, START), 5, "nobody is freed by it");
    }

    /// The same as lists: of the times at which units come back, or of those at which they were taken.
    struct Model {
        size: usize,
        evenly: bool,
        back: VecDeque<Nanos>,
    }

    impl Model {
        fn used(&mut self, now: Nanos) -> usize {
            self.back.retain(|back| *back > now);
            self.back.len()
        }

        fn unit(&self) -> Nanos {
            60 * SECOND / self.size as u64
        }

        /// More than is there takes all, what is on its way back included.
        fn hear(&mut self, units: usize, now: Nanos) {
            if self.evenly && units > 0 && self.used(now) + units > self.size {
                self.back = (1..=self.size as u64).map(|n| now + n * self.unit()).collect();
            } else {
                self.add(units, now);
            }
        }

        fn add(&mut self, units: usize, now: Nanos) {
            for _ in 0..units {
                if self.used(now) >= self.size {
                    return;
                }
                let back = if self.evenly {
                    self.back.back().map_or(now, |last| *last) + self.unit()
                } else {
                    self.back.front().map_or((now / SECOND + 86_400) * SECOND, |first| *first)
                };
                self.back.push_back(back);
            }
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Take,
        Hear(u32),
        Wait(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => Just(Step::Take),
            1 => (0_u32..30).prop_map(Step::Hear),
            3 => (0_u64..90_000).prop_map(|ms| Step::Wait(ms * 1_000_000)),
            1 => (0_u64..90_000).prop_map(|s| Step::Wait(s * SECOND)),
        ];
        prop::collection::vec(step, 1..200)
    }

    proptest! {
        #[test]
        fn it_counts_like_a_list(size in 1_u32..25, evenly: bool, steps in steps()) {
            let quota = if evenly { Quota::per_minute(size) } else { Quota::per_day(size) }.unwrap();
            let mut model = Model { size: size as usize, evenly, back: VecDeque::new() };
            let (mut level, mut now) = (0, START);
            for step in steps {
                match step {
                    Step::Wait(time) => now += time,
                    Step::Hear(units) => {
                        quota.add(&mut level, units, now);
                        model.hear(units as usize, now);
                    }
                    Step::Take => {
                        let free = model.used(now) < model.size;
                        model.add(1, now);
                        match quota.take(&mut level, now) {
                            Ok(left) => {
                                prop_assert!(free);
                                // Right to the digit: exactly so many more pass now.
                                let mut rest = level;
                                for _ in 0..left.units {
                                    prop_assert!(quota.take(&mut rest, now).is_ok());
                                }
                                prop_assert!(quota.take(&mut rest, now).is_err());
                                prop_assert_eq!(quota.used(level, now + u64::try_from(left.reset.as_nanos()).unwrap()), 0);
                            }
                            Err(wait) => {
                                prop_assert!(!free && wait > Duration::ZERO);
                                let then = now + u64::try_from(wait.as_nanos()).unwrap();
                                prop_assert!(quota.take(&mut level.clone(), then).is_ok());
                                prop_assert!(quota.take(&mut level.clone(), then - 1).is_err());
                            }
                        }
                    }
                }
                prop_assert_eq!(quota.used(level, now) as usize, model.used(now));
                prop_assert!(quota.used(level, now) <= size);
            }
        }
    }
}
