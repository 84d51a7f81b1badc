//! The buckets of one limit: a fixed piece of memory, whoever comes.
//!
//! It is a set-associative table, as a processor's cache is one: a key belongs to one small set and to no other place.
//! A newcomer who finds the set full takes the place of the one who used least, which is mostly somebody whose bucket is
//! full again; one who used up the quota is never forgotten for a newcomer. Where all of a set have, newcomers to the
//! set share one bucket. So a flood of keys costs the same few steps a call and no memory, forgets those who hardly
//! asked, and never lets an attacker start anew. Nobody can aim at a set, because keys are hashed under a secret.

use std::{
    ops::Range,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use super::quota::{Left, Level, Nanos, Quota};

/// Places in a set. With 16, and half of all places in use, one set in 200 is full.
const WAYS: usize = 16;
/// Marks a place that nobody has.
const NOBODY: u64 = 0;

/// See the module.
pub(crate) struct Table {
    quota: Quota,
    sets: Mutex<Sets>,
}

/// Plain zeros at first: the OS gives the memory when it is used.
struct Sets {
    keys: Vec<u64>,
    levels: Vec<Level>,
    /// Of each set the bucket of those who find no place in it.
    shared: Vec<Level>,
    /// How often somebody who had used something was forgotten for a newcomer.
    forgotten: u64,
}

enum Place {
    Own(usize),
    Shared(usize),
}

impl Table {
    pub(crate) fn new(quota: Quota, max_keys: usize) -> Self {
        let sets = max_keys.div_ceil(WAYS).max(1);
        let sets =
            Sets { keys: vec![NOBODY; sets * WAYS], levels: vec![0; sets * WAYS], shared: vec![0; sets], forgotten: 0 };
        Self { quota, sets: Mutex::new(sets) }
    }

    pub(crate) fn quota(&self) -> &Quota {
        &self.quota
    }

    /// Takes a unit of the key's bucket; where there is none, how long until there is.
    pub(crate) fn take(&self, key: u64, now: Nanos) -> Result<Left, Duration> {
        let mut sets = self.sets();
        let place = sets.place(&self.quota, key, now);
        self.quota.take(sets.level(&place), now)
    }

    /// How long until the key's own bucket has a unit, if it has none now. Takes nothing.
    pub(crate) fn exhausted(&self, key: u64, now: Nanos) -> Option<Duration> {
        let sets = self.sets();
        let level = sets.levels[sets.find(key)?];
        self.quota.is_exhausted(level, now).then(|| self.quota.wait(level, now))
    }

    /// Gives a unit back. A shared bucket gets nothing back: whose it was is not known.
    pub(crate) fn give_back(&self, key: u64, now: Nanos) {
        let mut sets = self.sets();
        if let Some(place) = sets.find(key) {
            self.quota.give_back(&mut sets.levels[place], now);
        }
    }

    /// Counts what another edge let through. It never goes into a shared bucket: that is for those who come here.
    pub(crate) fn add(&self, key: u64, units: u32, now: Nanos) {
        let mut sets = self.sets();
        let place = sets.place(&self.quota, key, now);
        if let Place::Own(_) = place {
            self.quota.add(sets.level(&place), units, now);
        }
    }

    /// Counts what the key used before this edge began. No more into a shared bucket than [`add`](Self::add).
    pub(crate) fn restore(&self, key: u64, used: u32, left: Duration, now: Nanos) {
        let mut sets = self.sets();
        let place = sets.place(&self.quota, key, now);
        if let Place::Own(_) = place {
            self.quota.restore(sets.level(&place), used, left, now);
        }
    }

    /// Until all of the key's quota is there; nothing for one that has no bucket of its own.
    pub(crate) fn reset(&self, key: u64, now: Nanos) -> Duration {
        let sets = self.sets();
        sets.find(key).map_or(Duration::ZERO, |place| self.quota.reset(sets.levels[place], now))
    }

    /// How many keys have used something that didn't come back yet.
    pub(crate) fn in_use(&self, now: Nanos) -> usize {
        self.sets().levels.iter().filter(|level| self.quota.used(**level, now) > 0).count()
    }

    /// How many keys were forgotten before their bucket was full again.
    pub(crate) fn forgotten(&self) -> u64 {
        self.sets().forgotten
    }

    fn sets(&self) -> MutexGuard<'_, Sets> {
        self.sets.lock().expect("nothing panics while holding it")
    }
}

impl Sets {
    fn set(&self, key: u64) -> usize {
        // The upper half of the product spreads evenly over any number of sets.
        ((u128::from(key) * self.shared.len() as u128) >> 64) as usize
    }

    fn places(&self, key: u64) -> Range<usize> {
        let set = self.set(key);
        set * WAYS..(set + 1) * WAYS
    }

    fn find(&self, key: u64) -> Option<usize> {
        let key = key.max(NOBODY + 1);
        self.places(key).find(|place| self.keys[*place] == key)
    }

    fn place(&mut self, quota: &Quota, key: u64, now: Nanos) -> Place {
        let key = key.max(NOBODY + 1);
        if let Some(place) = self.find(key) {
            return Place::Own(place);
        }
        let least = self.places(key).min_by_key(|place| quota.weight(self.levels[*place], now));
        let place = least.expect("a set has places");
        if quota.is_exhausted(self.levels[place], now) {
            return Place::Shared(self.set(key));
        }
        self.forgotten += u64::from(quota.used(self.levels[place], now) > 0);
        self.keys[place] = key;
        self.levels[place] = 0;
        Place::Own(place)
    }

    fn level(&mut self, place: &Place) -> &mut Level {
        match *place {
            Place::Own(place) => &mut self.levels[place],
            Place::Shared(set) => &mut self.shared[set],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = 1_000_000_000;

    fn key(n: u64) -> u64 {
        // Spreads as a hash does (the finalizer of MurmurHash3).
        let n = (n ^ n >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
        let n = (n ^ n >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        n ^ n >> 33
    }

    fn table(quota: Option<Quota>, max_keys: usize) -> Table {
        Table::new(quota.unwrap(), max_keys)
    }

    #[test]
    fn everybody_has_a_bucket() {
        let table = table(Quota::per_minute(2), 1000);
        for n in 0..100 {
            assert_eq!(table.take(key(n), SECOND).unwrap().units, 1);
        }
        for n in 0..100 {
            assert!(table.take(key(n), SECOND).is_ok() && table.take(key(n), SECOND).is_err());
        }
        assert_eq!((table.in_use(SECOND), table.in_use(61 * SECOND)), (100, 0));
        table.give_back(key(7), SECOND);
        assert!(table.take(key(7), SECOND).is_ok());
    }

    /// A million strangers come by: who is refused stays refused, for a minute's limit and for a day's.
    #[test]
    fn a_flood_of_keys_does_not_free_the_attackers() {
        for quota in [Quota::per_minute(20), Quota::per_day(200)] {
            let table = table(quota, 100_000);
            let attackers: Vec<u64> = (0..1000).map(|n| key(u64::MAX - n)).collect();
            for attacker in &attackers {
                while table.take(*attacker, SECOND).is_ok() {}
            }
            for n in 0..1_000_000 {
                assert!(table.take(key(n), SECOND).is_ok(), "a stranger is let in");
            }
            for attacker in &attackers {
                assert!(table.take(*attacker, SECOND).is_err());
            }
            let places = 100_000_usize.div_ceil(WAYS) * WAYS;
            assert_eq!(table.in_use(SECOND), places, "all places are taken");
            assert!(table.forgotten() > 900_000 - places as u64, "{}", table.forgotten());
            assert_eq!(table.sets().keys.len(), places, "and none is added");
        }
    }

    /// Who asks again and again is remembered although strangers press: they take each other's places.
    #[test]
    fn the_loud_are_remembered_before_the_quiet() {
        let table = table(Quota::per_minute(20), WAYS);
        let loud = key(u64::MAX);
        assert!(table.take(loud, 0).is_ok() && table.take(loud, 0).is_ok());
        for n in 0..1000 {
            assert!(table.take(key(n), n).is_ok());
        }
        assert_eq!(table.take(loud, 1000).unwrap().units, 17);
    }

    #[test]
    fn newcomers_share_a_bucket_only_where_all_are_exhausted() {
        let table = table(Quota::per_minute(2), WAYS);
        for n in 0..WAYS as u64 {
            while table.take(key(n), SECOND).is_ok() {}
        }
        assert!(table.take(key(100), SECOND).is_ok() && table.take(key(101), SECOND).is_ok());
        assert!(table.take(key(102), SECOND).is_err(), "the shared bucket is empty");
        table.add(key(103), 1, SECOND);
        assert!(table.take(key(0), SECOND).is_err(), "and nobody lost a place");
        let later = SECOND + 31 * SECOND;
        assert!(table.take(key(102), later).is_ok() && table.take(key(102), later).is_ok());
        assert!(table.take(key(102), later).is_err(), "there is room for one's own again");
    }

    #[test]
    fn what_others_count_is_counted_here() {
        let table = table(Quota::per_day(3), 100);
        table.add(key(1), 2, SECOND);
        assert_eq!(table.take(key(1), SECOND).unwrap().units, 0);
        table.add(key(2), 9, SECOND);
        assert!(table.take(key(2), SECOND).is_err());
    }

    #[test]
    fn what_was_used_before_is_counted_here() {
        let (before, after) = (table(Quota::per_day(3), 100), table(Quota::per_day(3), 100));
        assert!(before.take(key(1), SECOND).is_ok() && before.take(key(1), SECOND).is_ok());
        assert_eq!((before.reset(key(1), SECOND).as_secs(), before.reset(key(2), SECOND)), (86_400, Duration::ZERO));
        after.restore(key(1), 2, before.reset(key(1), 101 * SECOND), 7 * SECOND);
        assert_eq!(after.take(key(1), 7 * SECOND).unwrap().units, 0);
        assert_eq!(after.take(key(1), 7 * SECOND), Err(Duration::from_secs(86_300)), "the window is the same one");
    }

    #[test]
    fn the_key_that_marks_nobody_is_somebody() {
        let table = table(Quota::per_minute(1), 100);
        assert!(table.take(0, SECOND).is_ok() && table.take(0, SECOND).is_err());
    }
}
